//! What keeping peers' names fresh costs: CPU share with many names of one TTL, from a change in DNS to the new peer table, the table and the
//! snapshot by themselves.
//!
//!     cargo bench --bench names [-- PEERS TTL SECONDS]        1000 peers, TTL 30 s, 60 s of it, unless said otherwise
//!
//! The name server is a process of its own (this program again), so that its CPU does not count. Every peer is without port, so each name's SRV
//! and AAAA records are asked for as well, and do not exist.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis::adapters::dns::{PeerResolver, Settings};
use portcullis::policy::address_scope::AddressScope;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::sip::Transport;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_some_and(|first| first == "serve") {
        return serve(arguments[1].parse().expect("a TTL"));
    }
    let number = |index: usize, otherwise: u64| arguments.get(index).map_or(otherwise, |text| text.parse().expect("a number"));
    let (peers, ttl, seconds) = (number(0, 1000), number(1, 30), number(2, 60));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    if cfg!(debug_assertions) {
        println!("not optimised: these figures are upper bounds");
    }
    runtime.block_on(steady(peers as usize, ttl, seconds));
    runtime.block_on(changes(peers as usize));
    table(peers as usize);
}

/// CPU of the whole process while nothing changes.
async fn steady(peers: usize, ttl: u64, seconds: u64) {
    let (mut server, address) = server_process(ttl);
    let resolver = resolver(address, peers, Settings { floor: Duration::from_secs(1), ..Settings::default() }).await;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let (took, used) = (began.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let fresh = resolver.names().iter().filter(|name| name.last_error.is_none() && !name.addresses.is_empty()).count();
    let began = Instant::now();
    for _ in 0..100 {
        std::hint::black_box(resolver.names());
    }
    let snapshot = began.elapsed().as_secs_f64() / 100.0;
    let tables = resolver.tables().borrow().number;
    drop(resolver);
    drop(server.stdin.take());
    let mut told = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut told).unwrap();
    server.wait().unwrap();
    println!("{peers} names, TTL {ttl} s, {took:.0} s: {:.2} % of a core, {fresh} fresh, {tables} tables", 100.0 * used / took);
    println!("questions in all, the first round included: {}", told.trim());
    println!("snapshot of all names: {:.0} µs", snapshot * 1e6);
}

/// From the moment the zone has another address, and from the first answer that says so, to the table that has it.
async fn changes(peers: usize) {
    let zone = Arc::new(Zone::default());
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let of_server = Arc::clone(&zone);
    std::thread::spawn(move || answer(&socket, 1, &of_server));
    let resolver = resolver(address, peers, Settings { floor: Duration::from_secs(1), ..Settings::default() }).await;
    let mut tables = resolver.tables();
    let (mut in_all, mut own) = (Vec::new(), Vec::new());
    for round in 0..60u64 {
        let peer = (round * 7919 % peers as u64) as usize;
        let new = IpAddr::from(Ipv4Addr::from(0x0b00_0000 + round as u32));
        let changed = Instant::now();
        zone.change(peer as u64, new);
        let name = format!("p{peer}");
        tokio::time::timeout(Duration::from_secs(10), tables.wait_for(|table| table.addresses(&name) == [new])).await.expect("no new table").unwrap();
        in_all.push(changed.elapsed());
        own.push(zone.said.lock().unwrap().take().expect("an answer").elapsed());
    }
    let line = |all: &mut Vec<Duration>| {
        all.sort_unstable();
        format!("median {:.1} ms, longest {:.1} ms", all[all.len() / 2].as_secs_f64() * 1e3, all[all.len() - 1].as_secs_f64() * 1e3)
    };
    println!("{peers} names, TTL 1 s: change in the zone to new table: {}", line(&mut in_all));
    println!("answer that says so to new table: {}", line(&mut own));
}

fn table(peers: usize) {
    let set = set(peers);
    let resolved = |name: &str| vec![address_of(name[1..name.find('.').unwrap()].parse().unwrap())];
    let began = Instant::now();
    for number in 0..20 {
        std::hint::black_box(PeerTable::build(number, &set, &resolved));
    }
    println!("a table of {peers} peers: {:.0} µs", began.elapsed().as_secs_f64() / 20.0 * 1e6);
}

async fn resolver(server: SocketAddr, peers: usize, settings: Settings) -> PeerResolver {
    let resolver = PeerResolver::start(Settings { servers: vec![server], hosts_file: None, ..settings }, Arc::new(set(peers)), |_| {}).unwrap();
    tokio::time::timeout(Duration::from_secs(60), resolver.settled()).await.expect("the names are not settled");
    resolver
}

fn set(peers: usize) -> PolicySet {
    let peer = |number: usize| {
        let hosts = vec![PeerHost::Name(format!("p{number}.bench.test").into())];
        Arc::new(Peer { hosts, addresses: AddressScope::Any, ..Peer::new(&format!("p{number}"), PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured) })
    };
    PolicySet { peers: (0..peers).map(peer).collect(), ..PolicySet::default() }
}

fn address_of(number: u64) -> IpAddr {
    IpAddr::from(Ipv4Addr::from(0x0a00_0000 + number as u32))
}

fn cpu_seconds() -> f64 {
    // SAFETY: `usage` is as long as the call may write, and all zeros are a value of it.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    assert_eq!(unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) }, 0);
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn server_process(ttl: u64) -> (Child, SocketAddr) {
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).args(["serve", &ttl.to_string()]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    // Nothing is said before standard input ends, so nothing is lost in the buffer.
    child.stdout = Some(out.into_inner());
    (child, line.trim().parse().unwrap())
}

fn serve(ttl: u32) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    println!("{}", socket.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let zone = Arc::new(Zone::default());
    let of_server = Arc::clone(&zone);
    std::thread::spawn(move || answer(&socket, ttl, &of_server));
    // Until whoever started this is done with it, or gone.
    let _ = std::io::stdin().read_line(&mut String::new());
    println!("{}", zone.asked.load(Ordering::Relaxed));
}

/// One name with another address than its number says.
#[derive(Default)]
struct Zone {
    changed: Mutex<Vec<(u64, IpAddr)>>,
    /// When the last change was first told.
    said: Mutex<Option<Instant>>,
    asked: AtomicU64,
}

impl Zone {
    fn change(&self, number: u64, address: IpAddr) {
        *self.said.lock().unwrap() = None;
        let mut changed = self.changed.lock().unwrap();
        changed.retain(|(known, _)| *known != number);
        changed.push((number, address));
    }
}

/// Answers for pN.bench.test: its A record, and that there is nothing else (RFC 1035 §4.1 written by hand: it must cost little).
fn answer(socket: &UdpSocket, ttl: u32, zone: &Zone) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        zone.asked.fetch_add(1, Ordering::Relaxed);
        let Some(end) = buffer[12..length].iter().position(|byte| *byte == 0).map(|at| 12 + at + 1) else { continue };
        let (question, kind) = (&buffer[12..end + 4], u16::from_be_bytes([buffer[end], buffer[end + 1]]));
        let first = &buffer[13..13 + usize::from(buffer[12])];
        let number: Option<u64> = std::str::from_utf8(first).ok().and_then(|label| label.strip_prefix('p')).and_then(|digits| digits.parse().ok());
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&buffer[..2]);
        let found = number.filter(|_| kind == 1);
        out.extend_from_slice(&[0x85, 0x80, 0, 1, 0, u8::from(found.is_some()), 0, u8::from(found.is_none()), 0, 0]);
        out.extend_from_slice(question);
        match found {
            Some(number) => {
                let changed = zone.changed.lock().unwrap();
                let new = changed.last().filter(|(known, _)| *known == number);
                if new.is_some() {
                    zone.said.lock().unwrap().get_or_insert_with(Instant::now);
                }
                let IpAddr::V4(address) = changed.iter().find(|(known, _)| *known == number).map_or(address_of(number), |(_, address)| *address) else {
                    continue;
                };
                out.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1]);
                out.extend_from_slice(&ttl.to_be_bytes());
                out.extend_from_slice(&[0, 4]);
                out.extend_from_slice(&address.octets());
            }
            None => {
                // The SOA record of bench.test: what does not exist does not for five minutes.
                out.extend_from_slice(b"\x05bench\x04test\x00\x00\x06\x00\x01\x00\x00\x01\x2c\x00\x16\x00\x00");
                for number in [1u32, 60, 60, 60, 300] {
                    out.extend_from_slice(&number.to_be_bytes());
                }
            }
        }
        let _ = socket.send_to(&out, from);
    }
}
