//! What a change in the kernel's firewall costs: `cargo bench --bench nft`, as root, with `nft` installed. It runs itself in a network namespace of
//! its own, where nothing else is touched.
//!
//! Elements by netlink, as the border does it, beside the program `nft`, which it runs to load the structure; then the border's own way from an
//! order to the kernel, and what 200 calls a second cost that open and shut four media ports each. Each line: median and 99th percentile.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use portcullis::adapters::clock::Clock;
use portcullis::adapters::nft::contents::{Element, Family, Kind, Set};
use portcullis::adapters::nft::netlink::{Netlink, watch};
use portcullis::adapters::nft::{Firewall, Mode, Ours, Place, Settings, process, ruleset_of};
use portcullis::media::control::StreamId;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::sip::Transport;
use serde_json::json;

const INSIDE: &str = "PORTCULLIS_BENCH_NAMESPACE";
const TABLE: &str = "portcullis";

fn main() {
    if std::env::var_os(INSIDE).is_none() {
        let program = std::env::current_exe().expect("a program knows where it is");
        let status = Command::new("unshare").arg("--net").arg(program).env(INSIDE, "1").status();
        assert!(status.is_ok_and(|status| status.success()), "needs root, unshare and nft");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an event loop");
    runtime.block_on(async {
        elements().await;
        whole_tables().await;
        orders().await;
        calls().await;
    });
}

/// Sorted times of so many runs; `prepare` is not counted.
fn timed(runs: usize, mut prepare: impl FnMut(), mut run: impl FnMut()) -> Vec<Duration> {
    let mut times: Vec<Duration> = (0..runs)
        .map(|_| {
            prepare();
            let began = Instant::now();
            run();
            began.elapsed()
        })
        .collect();
    times.sort_unstable();
    times
}

fn show(what: &str, times: &[Duration]) {
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    println!("{what:<70} {:>9.3} ms   p99 {:>9.3} ms   ({} runs)", at(50), at(99), times.len());
}

/// Addresses that do not touch one another.
fn addresses(third: u8, count: u32) -> Vec<IpAddr> {
    (0..count).map(|n| Ipv4Addr::from_bits(u32::from_be_bytes([10, third, 0, 0]) + n * 2).into()).collect()
}

fn peers(number: u64, addresses: &[IpAddr]) -> Arc<PeerTable> {
    let hosts = addresses.iter().map(|address| PeerHost::Address(*address)).collect();
    let peer = Peer { hosts, ..Peer::new("carrier", PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured) };
    Arc::new(PeerTable::build(number, &PolicySet { peers: vec![Arc::new(peer)], ..PolicySet::default() }, &|_| Vec::new()))
}

fn settings() -> (Settings, Ours) {
    let ours = Ours {
        listeners: vec![(Transport::Udp, SocketAddr::from(([192, 0, 2, 1], 5060)))],
        media: vec![Ipv4Addr::new(192, 0, 2, 1).into()],
        ports: (20_000, 29_999),
        name_servers: Vec::new(),
    };
    (Settings { mode: Mode::Required, ..Settings::default() }, ours)
}

async fn firewall(addresses: &[IpAddr]) -> Firewall {
    let (settings, ours) = settings();
    let started = Firewall::start(settings, &ours, Clock::start(), peers(1, addresses), Place::Ours, |_| {}).await;
    started.unwrap_or_else(|refused| panic!("{refused}"))
}

/// One transaction each, beside one process each.
async fn elements() {
    let program = process::find().expect("nft is installed");
    let set = Set { kind: Kind::Peers(Transport::Udp), family: Family::V4 };
    for held in [0, 1_000, 50_000] {
        // Nobody keeps this table: what is not a peer's would be taken out of it.
        let (settings, ours) = settings();
        let whole = ruleset_of(&settings, &ours, &peers(1, &addresses(1, held)));
        process::load(&program, &whole).await.unwrap_or_else(|failure| panic!("{failure}"));
        let mut netlink = Netlink::open().expect("netlink");
        println!("\nin a set of {held}");
        for count in [1, 1_000] {
            let new = addresses(200, count);
            let elements: Vec<Element> = new.iter().map(|address| Element::Address(*address)).collect();
            let (mut added, mut removed) = (Vec::new(), Vec::new());
            for _ in 0..if count == 1 { 2_000 } else { 200 } {
                let began = Instant::now();
                netlink.commit(|batch| batch.add(TABLE, set.name(), &elements)).expect("added");
                added.push(began.elapsed());
                let began = Instant::now();
                netlink.commit(|batch| batch.remove(TABLE, set.name(), &elements)).expect("removed");
                removed.push(began.elapsed());
            }
            for (what, mut times) in [("adds", added), ("removes", removed)] {
                times.sort_unstable();
                show(&format!("netlink {what} {count}"), &times);
            }
            let texts: Vec<String> = new.iter().map(ToString::to_string).collect();
            let change = |what: &str| json!({"nftables": [{what: {"element": {"family": "inet", "table": TABLE, "name": set.name(), "elem": texts}}}]});
            let (mut added, mut removed) = (Vec::new(), Vec::new());
            for _ in 0..30 {
                for (what, times) in [("add", &mut added), ("delete", &mut removed)] {
                    let began = Instant::now();
                    process::load(&program, &change(what)).await.unwrap_or_else(|failure| panic!("{failure}"));
                    times.push(began.elapsed());
                }
            }
            for (what, mut times) in [("adds", added), ("removes", removed)] {
                times.sort_unstable();
                show(&format!("a process of nft {what} {count}"), &times);
            }
        }
        if held == 1_000 {
            let elements: Vec<Element> = addresses(200, 1_000).into_iter().map(Element::Address).collect();
            let listening = watch().expect("a watch");
            let mut add_and_remove = || {
                netlink.commit(|batch| batch.add(TABLE, set.name(), &elements)).expect("added");
                netlink.commit(|batch| batch.remove(TABLE, set.name(), &elements)).expect("removed");
            };
            show("netlink adds and removes 1000, a socket watching for changes", &timed(200, || {}, &mut add_and_remove));
            drop(listening);
        }
    }
}

/// The whole table, as at the start and after a flush by others.
async fn whole_tables() {
    println!();
    for held in [0, 1_000, 10_000] {
        let hosts = addresses(1, held);
        let mut times = Vec::new();
        for _ in 0..10 {
            let began = Instant::now();
            let firewall = firewall(&hosts).await;
            times.push(began.elapsed());
            firewall.stop().await;
        }
        times.sort_unstable();
        show(&format!("the whole table with {held} peers, by nft, thread and all"), &times);
    }
}

/// From an order given to the kernel holding it, as the border's task for peer tables sees it.
async fn orders() {
    println!();
    for held in [1, 1_000] {
        let (one, other) = (addresses(1, held), addresses(2, held));
        let firewall = firewall(&one).await;
        let tables = [peers(2, &other), peers(3, &one)];
        let (mut admitted, mut agreed) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let next = tables[n % 2].clone();
            let began = Instant::now();
            firewall.admit(next.clone()).await;
            admitted.push(began.elapsed());
            firewall.retire(next).await;
            agreed.push(began.elapsed());
        }
        for (what, mut times) in [("new ones let in", admitted), ("and old ones out", agreed)] {
            times.sort_unstable();
            show(&format!("a peer table in which all of {held} addresses change: {what}"), &times);
        }
        firewall.stop().await;
    }
}

/// CPU time of the firewall's thread, user and system. Unit: clock ticks of 10 ms.
fn ticks() -> u64 {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("proc").filter_map(Result::ok) {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, rest)) = stat.rsplit_once(") ")
            && name.ends_with("(firewall")
        {
            let field = |n: usize| rest.split(' ').nth(n).and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
            sum += field(11) + field(12);
        }
    }
    sum
}

async fn calls() {
    let firewall = firewall(&addresses(1, 1_000)).await;
    let ports = |n: u64| (0..4).map(|k| SocketAddr::from(([192, 0, 2, 1], 20_000 + (n * 4 + k) as u16 % 10_000))).collect::<Vec<_>>();
    let (rate, seconds) = (200, 10);
    let (before, mut costs) = (ticks(), Vec::new());
    let mut pace = tokio::time::interval(Duration::from_secs(1) / rate);
    for n in 0..u64::from(rate) * seconds {
        pace.tick().await;
        let began = Instant::now();
        firewall.media_opened(StreamId(n), black_box(ports(n)));
        // Calls of a second.
        if let Some(old) = n.checked_sub(u64::from(rate)) {
            firewall.media_closed(StreamId(old));
        }
        costs.push(began.elapsed());
    }
    let used = (ticks() - before) as f64 * 10.0;
    costs.sort_unstable();
    println!();
    show("200 calls a second: what opening and closing cost the signalling thread", &costs);
    println!("200 calls a second, 1,000 peers: the firewall's thread used {used:.0} ms of CPU in {seconds} s, {:.2} %", used / seconds as f64 / 10.0);
    firewall.stop().await;
}
