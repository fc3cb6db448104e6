//! A network of a test's own: a namespace for the border, two more for the peers of either side, joined by veth pairs. Needs root, `unshare`
//! (util-linux), `ip` (iproute2), `ethtool`.
//!
//! The border has va 10.1.0.1, fd01::1 and vb 10.2.0.1, fd02::1; the peers .2 and ::2, and on A's side a stranger .3.
// No test needs all of it.
#![allow(dead_code)]

use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use portcullis::adapters::media::kernel::{self, Mode};
use portcullis::adapters::media::path::Way;
use portcullis::adapters::media::{MediaPlane, Settings};
use portcullis::media::control::{Addresses, Command as Media, Configuration, Event, LatchPolicy, Protection, Report, Side, StreamId};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const INSIDE: &str = "PORTCULLIS_TEST_NAMESPACE";

/// True inside the network. Outside, runs the test of this name there, fails as it does, and gives false. Where root cannot make one, that is a
/// failure; others are told what is needed.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {test}: needs root, unshare, ip and ethtool to make a network of its own");
        return false;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new("unshare")
        .args(["--net", "--mount", "timeout", "60"])
        .arg(program)
        .args([test, "--exact", "--nocapture", "--test-threads", "1"])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

pub fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Builds the network.
pub fn network() {
    run("mount -t tmpfs none /run && ip link set lo up && ip netns add pc-kernel-a && ip netns add pc-kernel-b");
    for (side, number) in [("a", 1), ("b", 2)] {
        run(&format!("ip link add v{side} type veth peer name e{side} netns pc-kernel-{side}"));
        run(&format!("ip addr add 10.{number}.0.1/24 dev v{side} && ip addr add fd0{number}::1/64 dev v{side} nodad && ip link set v{side} up"));
        run(&format!(
            "ip netns exec pc-kernel-{side} sh -c 'ip link set lo up && ip addr add 10.{number}.0.2/24 dev e{side} && ip addr add 10.{number}.0.3/24 dev e{side} && \
             ip addr add fd0{number}::2/64 dev e{side} nodad && ip link set e{side} up && ethtool -K e{side} tx off >/dev/null'"
        ));
        run(&format!("echo 1 >/proc/sys/net/ipv4/conf/v{side}/forwarding && echo 1 >/proc/sys/net/ipv6/conf/v{side}/forwarding"));
    }
}

/// A socket in a peer's namespace.
pub fn peer(side: Side, address: &str) -> UdpSocket {
    let namespace = File::open(format!("/run/netns/pc-kernel-{}", side.to_string().to_lowercase())).expect("the network is built");
    let address: SocketAddr = address.parse().unwrap();
    let socket = thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        UdpSocket::bind(address).unwrap()
    });
    let socket = socket.join().unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    socket
}

pub fn settings() -> Settings {
    let addresses = ["10.1.0.1", "10.2.0.1", "fd01::1", "fd02::1"].map(|address| address.parse().unwrap()).to_vec();
    Settings { kernel: kernel::Settings { mode: Mode::Xdp, addresses, ..kernel::Settings::default() }, ..Settings::default() }
}

pub struct Plane {
    pub plane: MediaPlane,
    pub events: UnboundedReceiver<Event>,
}

impl Plane {
    pub fn start(settings: Settings) -> Plane {
        let (tell, events) = unbounded_channel();
        Plane { plane: MediaPlane::start(settings, Instant::now(), tell).unwrap(), events }
    }

    pub fn event(&mut self, within: Duration) -> Option<Event> {
        let began = Instant::now();
        while began.elapsed() < within {
            if let Ok(event) = self.events.try_recv() {
                return Some(event);
            }
            thread::sleep(Duration::from_millis(5));
        }
        None
    }

    /// A stream between `ours` of either side.
    pub fn open(&self, stream: u64, ours: [&str; 2], silence: Option<Duration>) {
        let [a, b] = ours.map(addresses);
        self.plane.command(Media::Open { stream: StreamId(stream), a, b, silence });
    }

    /// One side's peer, in the clear.
    pub fn peer(&self, stream: u64, side: Side, remote: Option<&str>) {
        let plain = Some(Protection::Plain);
        let (stream, remote) = (StreamId(stream), Some(remote.map(addresses)));
        let set = Configuration::new(remote, LatchPolicy::SignalledAddress, plain.clone(), plain);
        self.plane.command(Media::Configure { stream, side, set });
    }

    pub fn report(&self, stream: u64) -> Report {
        self.plane.inspect(StreamId(stream)).expect("it is open").report
    }

    pub fn is_in_kernel(&self, stream: u64, side: Side) -> bool {
        let ways = self.plane.inspect(StreamId(stream)).expect("it is open").ways;
        let (way, why) = ways[usize::from(side == Side::B)];
        assert_eq!(matches!(way, Way::Kernel(_)), why.is_none(), "{way} {why:?}");
        matches!(way, Way::Kernel(_))
    }

    pub fn in_kernel(&self) -> u64 {
        self.plane.counters().in_kernel
    }
}

fn addresses(rtp: &str) -> Addresses {
    let rtp: SocketAddr = rtp.parse().unwrap();
    Addresses { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1) }
}

/// Voice: 160 bytes that tell one packet from another.
pub fn voice(ssrc: u32, sequence: u16) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..160u32).map(|n| (n * 31 + u32::from(sequence)) as u8));
    packet
}

/// What comes, and from where.
pub fn take(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    let mut buffer = [0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    Some((buffer[..length].to_vec(), from))
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(5), "not in time: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
