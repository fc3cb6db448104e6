//! What the relay's tests share: a running media plane on loopback, and peers that speak RTP, RTCP, SRTP and SRTCP through libsrtp2, which is
//! independent of ours. No crate but the border and tokio: `tests/optimised` builds this too.
#![allow(dead_code)]

#[path = "../libsrtp/mod.rs"]
mod libsrtp;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use portcullis::adapters::media::path::Way;
use portcullis::adapters::media::{MediaPlane, Settings, frames};
use portcullis::media::control::{Addresses, Command, Configuration, Event, LatchPolicy, Protection, Report, Side, SrtpParameters, StreamId};
use portcullis::sdp::crypto::{MasterKey, Suite};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// Long enough for a loaded machine; reached only when a test fails.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Short enough to keep "nothing arrives" affordable.
pub const QUIET: Duration = Duration::from_millis(150);

static NEXT_HOST: AtomicU32 = AtomicU32::new(1);
static NEXT_STREAM: AtomicU64 = AtomicU64::new(1);

/// Addresses there are where streams share sockets, which are made for addresses known before.
const HOSTS: u8 = 120;

/// Set for a run of tests in which streams share sockets; each plane then says at its end what came by them.
pub const SHARE: &str = "PORTCULLIS_TEST_FRAMES";

fn shares_sockets() -> bool {
    std::env::var_os(SHARE).is_some()
}

/// A loopback address no other test uses: 127.(64 + 6 bits of the process).(14 bits).
pub fn own_address() -> IpAddr {
    host(NEXT_HOST.fetch_add(1, Ordering::Relaxed) as u8)
}

fn host(n: u8) -> IpAddr {
    let process = std::process::id();
    IpAddr::V4(Ipv4Addr::new(127, 64 + (process & 63) as u8, (process >> 6) as u8, n))
}

pub fn next_stream() -> StreamId {
    StreamId(NEXT_STREAM.fetch_add(1, Ordering::Relaxed))
}

pub struct Plane {
    pub plane: MediaPlane,
    pub events: UnboundedReceiver<Event>,
}

impl Plane {
    pub fn start(settings: Settings) -> Plane {
        let (sender, events) = unbounded_channel();
        if shares_sockets() {
            return Plane::sharing(settings);
        }
        Plane { plane: MediaPlane::start(settings, Instant::now(), sender).expect("the media plane starts"), events }
    }

    /// Streams share sockets on every address a test may take.
    pub fn sharing(mut settings: Settings) -> Plane {
        let (sender, events) = unbounded_channel();
        let (mine, last) = (own_address(), (1..=HOSTS).map(host));
        assert!(last.clone().any(|host| host == mine), "more tests than addresses: raise HOSTS");
        let addresses = last.chain([IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)]).collect();
        settings.frames = frames::Settings { mode: frames::Mode::Auto, addresses };
        let plane = MediaPlane::start(settings, Instant::now(), sender).expect("the media plane starts");
        let probe = plane.probes().iter().find(|probe| probe.way == Way::Frames).expect("it was tried");
        assert!(probe.outcome.is_ok(), "{probe:?}");
        Plane { plane, events }
    }

    pub fn event(&mut self) -> Event {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Ok(event) = self.events.try_recv() {
                return event;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        panic!("no event came");
    }

    pub fn no_event(&mut self, within: Duration) {
        std::thread::sleep(within);
        if let Ok(event) = self.events.try_recv() {
            panic!("unexpected {event:?}");
        }
    }

    pub fn close(&mut self, stream: StreamId) -> Report {
        self.plane.command(Command::Close { stream });
        match self.event() {
            Event::Closed { stream: closed, report } if closed == stream => *report,
            other => panic!("expected the report, got {other:?}"),
        }
    }
}

impl Drop for Plane {
    fn drop(&mut self) {
        if shares_sockets() && !std::thread::panicking() {
            std::thread::sleep(Duration::from_millis(20));
            let counters = self.plane.counters();
            println!("\nshared: {} of {} packets", counters.in_frames, counters.received);
        }
    }
}

/// How one leg is protected: nothing, or a key per direction.
pub enum Leg {
    Plain,
    Srtp(Suite),
}

pub fn key(suite: Suite, seed: u8) -> MasterKey {
    let length = (suite.key_length() + suite.salt_length()) as u8;
    MasterKey { key_and_salt: (0..length).map(|i| i.wrapping_mul(7).wrapping_add(seed)).collect(), lifetime: None, mki: None }
}

/// One direction of SRTP and SRTCP as its far end has it.
pub struct Srtp(libsrtp::Context);

impl Srtp {
    pub fn sender(suite: Suite, key: &MasterKey) -> Srtp {
        Srtp(libsrtp::Context::sender(suite, &key.key_and_salt))
    }

    pub fn receiver(suite: Suite, key: &MasterKey) -> Srtp {
        Srtp(libsrtp::Context::receiver(suite, &key.key_and_salt))
    }

    pub fn seal_rtp(&mut self, clear: &[u8]) -> Vec<u8> {
        self.seal(clear, libsrtp::Context::protect)
    }

    pub fn seal_rtcp(&mut self, clear: &[u8]) -> Vec<u8> {
        self.seal(clear, libsrtp::Context::protect_rtcp)
    }

    pub fn open_rtp(&mut self, wire: &[u8]) -> Result<Vec<u8>, String> {
        self.open(wire, libsrtp::Context::unprotect)
    }

    pub fn open_rtcp(&mut self, wire: &[u8]) -> Result<Vec<u8>, String> {
        self.open(wire, libsrtp::Context::unprotect_rtcp)
    }

    fn seal(&mut self, clear: &[u8], by: impl Fn(&mut libsrtp::Context, &mut [u8], usize) -> Result<usize, i32>) -> Vec<u8> {
        let mut wire = clear.to_vec();
        wire.resize(clear.len() + libsrtp::ROOM, 0);
        let length = by(&mut self.0, &mut wire, clear.len()).expect("protects");
        wire.truncate(length);
        wire
    }

    fn open(&mut self, wire: &[u8], by: impl Fn(&mut libsrtp::Context, &mut [u8]) -> Result<usize, i32>) -> Result<Vec<u8>, String> {
        let mut clear = wire.to_vec();
        let length = by(&mut self.0, &mut clear).map_err(|status| format!("libsrtp2 refuses it with status {status}"))?;
        clear.truncate(length);
        Ok(clear)
    }
}

pub fn srtp(suite: Suite, key: MasterKey) -> Protection {
    Protection::Srtp(SrtpParameters { suite, keys: vec![key] })
}

/// One end of the call with its own RTP and RTCP sockets.
pub struct Peer {
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    /// Where the relay listens for this peer.
    pub relay: Addresses,
    pub side: Side,
    protect: Option<Srtp>,
    unprotect: Option<Srtp>,
    /// What the relay is told of this leg.
    pub receive: Protection,
    pub transmit: Protection,
    pub ssrc: u32,
    pub sequence: u16,
}

impl Peer {
    pub fn new(side: Side, host: IpAddr, relay: Addresses, leg: &Leg, seed: u8) -> Peer {
        let rtp = socket(host);
        let rtcp = socket(host);
        let (protect, unprotect, receive, transmit) = match leg {
            Leg::Plain => (None, None, Protection::Plain, Protection::Plain),
            Leg::Srtp(suite) => {
                let (ours, theirs) = (key(*suite, seed), key(*suite, seed.wrapping_add(100)));
                (Some(Srtp::sender(*suite, &ours)), Some(Srtp::receiver(*suite, &theirs)), srtp(*suite, ours), srtp(*suite, theirs))
            }
        };
        Peer { rtp, rtcp, relay, side, protect, unprotect, receive, transmit, ssrc: 0x1000_0000 + u32::from(seed), sequence: 0xfff0 }
    }

    pub fn addresses(&self) -> Addresses {
        Addresses { rtp: self.rtp.local_addr().unwrap(), rtcp: self.rtcp.local_addr().unwrap() }
    }

    pub fn configure(&self, stream: StreamId, latch: LatchPolicy) -> Command {
        Command::Configure {
            stream,
            side: self.side,
            set: Configuration::new(Some(Some(self.addresses())), latch, Some(self.receive.clone()), Some(self.transmit.clone())),
        }
    }

    /// New keys in both directions, as a re-INVITE brings them; what the relay must be told.
    pub fn rekey(&mut self, suite: Suite, seed: u8) {
        let (ours, theirs) = (key(suite, seed), key(suite, seed.wrapping_add(100)));
        self.protect = Some(Srtp::sender(suite, &ours));
        self.unprotect = Some(Srtp::receiver(suite, &theirs));
        (self.receive, self.transmit) = (srtp(suite, ours), srtp(suite, theirs));
    }

    /// The next RTP packet as it goes on the wire, and what it says in clear.
    pub fn next_rtp(&mut self) -> (Vec<u8>, Vec<u8>) {
        let clear = rtp(self.ssrc, self.sequence, self.sequence as u8);
        self.sequence = self.sequence.wrapping_add(1);
        let wire = match &mut self.protect {
            Some(srtp) => srtp.seal_rtp(&clear),
            None => clear.clone(),
        };
        (wire, clear)
    }

    pub fn send_rtp(&mut self) -> Vec<u8> {
        let (wire, clear) = self.next_rtp();
        self.rtp.send_to(&wire, self.relay.rtp).expect("sends");
        clear
    }

    pub fn send_rtcp(&mut self) -> Vec<u8> {
        let clear = sender_report(self.ssrc);
        let wire = match &mut self.protect {
            Some(srtp) => srtp.seal_rtcp(&clear),
            None => clear.clone(),
        };
        self.rtcp.send_to(&wire, self.relay.rtcp).expect("sends");
        clear
    }

    /// What arrived, in clear; `None`: nothing within `within`, an `Err` text: it did not authenticate.
    pub fn take_rtp(&mut self, within: Duration) -> Option<Result<Vec<u8>, String>> {
        let wire = take(&self.rtp, self.relay.rtp, within)?;
        Some(match &mut self.unprotect {
            Some(srtp) => srtp.open_rtp(&wire),
            None => Ok(wire),
        })
    }

    pub fn take_rtcp(&mut self, within: Duration) -> Option<Result<Vec<u8>, String>> {
        let wire = take(&self.rtcp, self.relay.rtcp, within)?;
        Some(match &mut self.unprotect {
            Some(srtp) => srtp.open_rtcp(&wire),
            None => Ok(wire),
        })
    }
}

fn socket(host: IpAddr) -> UdpSocket {
    UdpSocket::bind(SocketAddr::new(host, 0)).expect("a loopback socket")
}

/// The next datagram, which must come from the relay's own port.
fn take(socket: &UdpSocket, from: SocketAddr, within: Duration) -> Option<Vec<u8>> {
    let mut buffer = [0u8; 2048];
    socket.set_read_timeout(Some(within)).unwrap();
    let (len, source) = socket.recv_from(&mut buffer).ok()?;
    assert_eq!(source, from, "sent from the port the peer was told");
    Some(buffer[..len].to_vec())
}

/// A G.711 packet of 20 ms: 12 bytes of header, 160 of `fill`.
pub fn rtp(ssrc: u32, sequence: u16, fill: u8) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend([fill; 160]);
    packet
}

/// RFC 3550 §6.4.1, without report blocks.
pub fn sender_report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 200, 0, 6];
    packet.extend(ssrc.to_be_bytes());
    packet.extend((1u8..=20).collect::<Vec<_>>());
    packet
}

/// A call of two peers through the plane, open and configured.
pub struct Call {
    pub stream: StreamId,
    pub a: Peer,
    pub b: Peer,
}

impl Call {
    pub fn open(plane: &Plane, a: &Leg, b: &Leg) -> Call {
        Call::open_with(plane, a, b, own_address(), LatchPolicy::SignalledAddress, None)
    }

    pub fn open_with(plane: &Plane, a: &Leg, b: &Leg, host: IpAddr, latch: LatchPolicy, silence: Option<Duration>) -> Call {
        let call = Call::silent(plane, a, b, host, silence);
        plane.plane.command(call.a.configure(call.stream, latch));
        plane.plane.command(call.b.configure(call.stream, latch));
        call
    }

    /// Each peer has the other's key, and what they send is to cross as it came.
    pub fn sharing(plane: &Plane, suite: Suite) -> Call {
        let mut call = Call::silent(plane, &Leg::Srtp(suite), &Leg::Srtp(suite), own_address(), None);
        let protections = [call.a.receive.clone(), call.b.receive.clone()];
        for (peer, other, seed) in [(&mut call.a, &protections[1], 2), (&mut call.b, &protections[0], 1)] {
            if let Protection::Srtp(parameters) = other {
                peer.transmit = Protection::Shared(parameters.clone());
            }
            peer.unprotect = Some(Srtp::receiver(suite, &key(suite, seed)));
        }
        plane.plane.command(call.a.configure(call.stream, LatchPolicy::SignalledAddress));
        plane.plane.command(call.b.configure(call.stream, LatchPolicy::SignalledAddress));
        call
    }

    /// Each leg on an address of its own of ours, and configured.
    pub fn between(plane: &Plane, (a, host_a): (&Leg, IpAddr), (b, host_b): (&Leg, IpAddr)) -> Call {
        let stream = next_stream();
        let ours = |host| {
            let first = free_ports(host);
            Addresses { rtp: SocketAddr::new(host, first), rtcp: SocketAddr::new(host, first + 1) }
        };
        let (ours_a, ours_b) = (ours(host_a), ours(host_b));
        let before = plane.plane.counters().streams;
        plane.plane.command(Command::Open { stream, a: ours_a, b: ours_b, silence: None });
        until(|| plane.plane.counters().streams > before);
        let call = Call { stream, a: Peer::new(Side::A, host_a, ours_a, a, 1), b: Peer::new(Side::B, host_b, ours_b, b, 2) };
        plane.plane.command(call.a.configure(stream, LatchPolicy::SignalledAddress));
        plane.plane.command(call.b.configure(stream, LatchPolicy::SignalledAddress));
        call
    }

    /// Open, but neither side configured.
    pub fn silent(plane: &Plane, a: &Leg, b: &Leg, host: IpAddr, silence: Option<Duration>) -> Call {
        let stream = next_stream();
        let first = free_ports(host);
        let at = |port| SocketAddr::new(host, port);
        let (ours_a, ours_b) = (Addresses { rtp: at(first), rtcp: at(first + 1) }, Addresses { rtp: at(first + 2), rtcp: at(first + 3) });
        let before = plane.plane.counters().streams;
        plane.plane.command(Command::Open { stream, a: ours_a, b: ours_b, silence });
        // A packet sent before the sockets are bound would be lost.
        until(|| plane.plane.counters().streams > before);
        Call { stream, a: Peer::new(Side::A, host, ours_a, a, 1), b: Peer::new(Side::B, host, ours_b, b, 2) }
    }

    /// One packet each way on both channels, as it must arrive.
    pub fn talk(&mut self) {
        for _ in 0..3 {
            exchange(&mut self.a, &mut self.b);
            exchange(&mut self.b, &mut self.a);
        }
    }
}

pub fn exchange(from: &mut Peer, to: &mut Peer) {
    let clear = from.send_rtp();
    assert_eq!(to.take_rtp(PATIENCE).expect("RTP arrives").expect("and authenticates"), clear);
    let clear = from.send_rtcp();
    assert_eq!(to.take_rtcp(PATIENCE).expect("RTCP arrives").expect("and authenticates"), clear);
}

/// Four consecutive ports free on `host` now.
pub fn free_ports(host: IpAddr) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let first = 20_000 + (NEXT.fetch_add(4, Ordering::Relaxed) + std::process::id() * 64) % 12_000 / 4 * 4;
        if (0..4).all(|i| UdpSocket::bind(SocketAddr::new(host, first as u16 + i)).is_ok()) {
            return first as u16;
        }
    }
}

pub fn until(mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "it did not happen in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}
