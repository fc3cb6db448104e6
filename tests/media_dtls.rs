//! DTLS-SRTP on real sockets against OpenSSL (`openssl s_client` and `s_server`, DTLS 1.2): the keys it exports are the keys the media plane protects by,
//! both parts, over a line that loses each message once or any datagram by chance, and with messages in pieces; a peer with another certificate than
//! announced gets nothing, and strangers do not come between.

mod relay_rig;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Read};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::{Child, Command as Program, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use portcullis::adapters::media::Settings;
use portcullis::media::control::{
    Addresses, Command, Configuration, DtlsParameters, DtlsRole, Event, KeyingFailure, LatchPolicy, Protection, Side, SrtpParameters, StreamId,
};
use portcullis::media::relay::{Claimant, Stream};
use portcullis::media::shortcut::WhyNot;
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::sdp::fingerprint::{Fingerprint, HashFunction};
use portcullis::time::Time;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use relay_rig::{Plane, Srtp, free_ports, next_stream, own_address, rtp, until};

const SUITE: Suite = Suite::AesCm128HmacSha1_80;
/// A handshake with all of its flights repeated.
const SHAKE: Duration = Duration::from_secs(31);

/// What lies between OpenSSL and the border.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Sound,
    /// Every handshake message is lost the first time it is sent, in both directions, and arrives from then on.
    Loses,
    /// For its first `LOSSY` each datagram is lost by chance, one in five. OpenSSL splits its messages to fit this MTU, and elsewhere when it repeats them.
    Chance {
        mtu: u16,
        seed: u64,
    },
}

impl Line {
    fn mtu(self) -> Option<u16> {
        match self {
            Line::Sound => None,
            Line::Loses => Some(1400),
            Line::Chance { mtu, .. } => Some(mtu),
        }
    }
}

/// Long enough for the first repetitions of both ends, and so short that OpenSSL, which waits twice as long each time, repeats its flight once more in time.
const LOSSY: Duration = Duration::from_secs(5);

/// What became of the datagrams of one direction.
struct Direction {
    seen: HashSet<[u8; 4]>,
    luck: u64,
    began: Instant,
}

impl Direction {
    fn new(quality: Line, which: u64) -> Direction {
        let seed = if let Line::Chance { seed, .. } = quality { seed } else { 1 };
        Direction { seen: HashSet::new(), luck: (seed * 2 + which).wrapping_mul(0x9e37_79b9_7f4a_7c15), began: Instant::now() }
    }

    fn arrives(&mut self, quality: Line, datagram: &[u8]) -> bool {
        match quality {
            Line::Sound => true,
            Line::Loses => messages(datagram).into_iter().filter(|message| self.seen.insert(*message)).count() == 0,
            Line::Chance { .. } => {
                self.luck ^= self.luck << 13;
                self.luck ^= self.luck >> 7;
                self.luck ^= self.luck << 17;
                self.began.elapsed() > LOSSY || !(self.luck >> 32).is_multiple_of(5)
            }
        }
    }
}

/// A certificate of the peer's, in files.
struct Certificate {
    folder: tempfile::TempDir,
    fingerprint: Fingerprint,
}

impl Certificate {
    fn new() -> Certificate {
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::new(vec!["peer.test".to_owned()]).unwrap().self_signed(&key).unwrap();
        std::fs::write(folder.path().join("cert.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path().join("key.pem"), key.serialize_pem()).unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate.der()).as_ref().to_vec();
        Certificate { folder, fingerprint: Fingerprint { hash: HashFunction::Sha256, digest } }
    }

    fn openssl(&self, program: &str, address: SocketAddr, line: Line) -> Program {
        let mut command = Program::new("openssl");
        let where_to = if program == "s_client" { "-connect" } else { "-accept" };
        command.args([program, "-dtls1_2", where_to, &address.to_string(), "-use_srtp", "SRTP_AES128_CM_SHA1_80"]);
        command.args(["-keymatexport", "EXTRACTOR-dtls_srtp", "-keymatexportlen", "60"]);
        command.arg("-cert").arg(self.folder.path().join("cert.pem")).arg("-key").arg(self.folder.path().join("key.pem"));
        if let Some(mtu) = line.mtu() {
            command.args(["-mtu", &mtu.to_string()]);
        }
        if program == "s_server" {
            command.args(["-verify", "1", "-verify_quiet"]);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    }
}

/// OpenSSL at one end of a line whose other end is the peer's RTP socket: DTLS that comes there goes to it, and back.
struct Openssl {
    child: Child,
    keys: Receiver<Vec<u8>>,
    stop: Arc<AtomicBool>,
    line: Option<JoinHandle<()>>,
}

impl Openssl {
    fn start(part: DtlsRole, certificate: &Certificate, host: IpAddr, rtp: &UdpSocket, relay: SocketAddr, quality: Line) -> Openssl {
        let near = UdpSocket::bind((host, 0)).unwrap();
        near.set_nonblocking(true).unwrap();
        let (mut command, far) = match part {
            // We are passive, so it is the client.
            DtlsRole::Passive => (certificate.openssl("s_client", near.local_addr().unwrap(), quality), None),
            DtlsRole::Active => {
                let address = SocketAddr::new(host, free_ports(host));
                (certificate.openssl("s_server", address, quality), Some(address))
            }
        };
        let mut child = command.spawn().expect("openssl is installed");
        let (send, keys) = channel();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            let mut line = String::new();
            while output.read_line(&mut line).is_ok_and(|read| read > 0) {
                if let Some(hex) = line.trim().strip_prefix("Keying material: ") {
                    let bytes = (0..hex.len() / 2).filter_map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()).collect();
                    let _ = send.send(bytes);
                }
                line.clear();
            }
            let _ = output.read_to_string(&mut line);
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, rtp) = (Arc::clone(&stop), rtp.try_clone().unwrap());
        let line = thread::spawn(move || carry(&near, far, &rtp, relay, quality, &stopped));
        Openssl { child, keys, stop, line: Some(line) }
    }

    fn keys(&self) -> Vec<u8> {
        self.keys.recv_timeout(SHAKE).expect("openssl exports its keys")
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(line) = self.line.take() {
            let _ = line.join();
        }
    }
}

/// What the records of a datagram are (RFC 6347 §4.1): content type and epoch, and of a handshake message in clear its type and number.
fn messages(mut datagram: &[u8]) -> Vec<[u8; 4]> {
    let mut found = Vec::new();
    while let [content, _, _, _, epoch, .., high, low] = datagram.get(..13).unwrap_or_default() {
        let end = datagram.len().min(13 + usize::from(u16::from_be_bytes([*high, *low])));
        let message = if (*content, *epoch) == (22, 0) { [datagram[13], datagram[18]] } else { [0, 0] };
        found.push([*content, *epoch, message[0], message[1]]);
        datagram = &datagram[end..];
    }
    found
}

fn carry(near: &UdpSocket, mut far: Option<SocketAddr>, rtp: &UdpSocket, relay: SocketAddr, quality: Line, stop: &AtomicBool) {
    let mut bytes = [0; 2048];
    let (mut out, mut back) = (Direction::new(quality, 0), Direction::new(quality, 1));
    let began = Instant::now();
    while !stop.load(Ordering::Relaxed) && began.elapsed() < Duration::from_secs(60) {
        if let Ok((len, from)) = near.recv_from(&mut bytes) {
            far = Some(from);
            if out.arrives(quality, &bytes[..len]) {
                rtp.send_to(&bytes[..len], relay).unwrap();
            }
        }
        // Media is left where it is, for the test to take.
        if rtp.peek_from(&mut bytes).is_ok()
            && (20..64).contains(&bytes[0])
            && let Ok((len, _)) = rtp.recv_from(&mut bytes)
            && let Some(far) = far
            && back.arrives(quality, &bytes[..len])
        {
            let _ = near.send_to(&bytes[..len], far);
        }
        thread::sleep(Duration::from_micros(300));
    }
}

fn parameters(role: DtlsRole, fingerprint: &Fingerprint) -> DtlsParameters {
    DtlsParameters { association: 1, identity: 0, role: Some(role), fingerprints: vec![fingerprint.clone()], suites: vec![SUITE], ice: None }
}

/// A plain peer on A, one keyed by DTLS on B.
struct Call {
    plane: Plane,
    stream: StreamId,
    host: IpAddr,
    a: UdpSocket,
    b: UdpSocket,
    relay_a: SocketAddr,
    relay_b: SocketAddr,
}

impl Call {
    fn open() -> Call {
        let plane = Plane::start(Settings::default());
        let (stream, host) = (next_stream(), own_address());
        let pair = |port: u16| Addresses { rtp: (host, port).into(), rtcp: (host, port + 1).into() };
        let socket = || {
            let socket = UdpSocket::bind((host, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let (a, b) = (socket(), socket());
        let (at_a, at_b) = (pair(free_ports(host)), pair(free_ports(host)));
        plane.plane.command(Command::Open { stream, a: at_a, b: at_b, silence: None });
        until(|| plane.plane.counters().streams == 1);
        let remote = Some(Some(Addresses { rtp: a.local_addr().unwrap(), rtcp: a.local_addr().unwrap() }));
        let set = Configuration::new(remote, LatchPolicy::Strict, Some(Protection::Plain), Some(Protection::Plain));
        plane.plane.command(Command::Configure { stream, side: Side::A, set });
        Call { plane, stream, host, a, b, relay_a: at_a.rtp, relay_b: at_b.rtp }
    }

    fn expect(&self, role: DtlsRole, fingerprint: &Fingerprint) {
        self.expect_by(role, fingerprint, LatchPolicy::Strict);
    }

    fn expect_by(&self, role: DtlsRole, fingerprint: &Fingerprint, latch: LatchPolicy) {
        let dtls = Protection::Dtls(Arc::new(parameters(role, fingerprint)));
        let at = self.b.local_addr().unwrap();
        let set = Configuration::new(Some(Some(Addresses { rtp: at, rtcp: at })), latch, Some(dtls.clone()), Some(dtls));
        self.plane.plane.command(Command::Configure { stream: self.stream, side: Side::B, set });
    }

    fn event(&mut self) -> Event {
        let end = Instant::now() + SHAKE;
        loop {
            match self.plane.events.try_recv() {
                Ok(event) => return event,
                Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(2)),
                Err(_) => panic!("the media plane says nothing"),
            }
        }
    }
}

/// The next media datagram; DTLS that is still under way is left to the line.
fn take(socket: &UdpSocket, within: Duration) -> Option<Vec<u8>> {
    let mut bytes = [0; 2048];
    let end = Instant::now() + within;
    while Instant::now() < end {
        if socket.peek_from(&mut bytes).is_ok() && bytes[0] >= 128 {
            let (len, _) = socket.recv_from(&mut bytes).unwrap();
            return Some(bytes[..len].to_vec());
        }
        thread::sleep(Duration::from_micros(300));
    }
    None
}

/// (client's, server's), by RFC 5764 section 4.2.
fn split(material: &[u8]) -> (MasterKey, MasterKey) {
    assert_eq!(material.len(), 60);
    let key = |k: usize, s: usize| MasterKey { key_and_salt: [&material[k..k + 16], &material[s..s + 14]].concat(), lifetime: None, mki: None };
    (key(0, 32), key(16, 46))
}

fn shakes_hands(role: DtlsRole, line: Line) {
    let certificate = Certificate::new();
    let mut call = Call::open();
    let openssl = Openssl::start(role, &certificate, call.host, &call.b, call.relay_b, line);
    if role == DtlsRole::Active {
        // A server that does not listen yet is as one that loses the first flight.
        thread::sleep(Duration::from_millis(100));
    }
    // Before there are keys nothing passes, either way.
    call.expect(role, &certificate.fingerprint);
    call.a.send_to(&rtp(7, 1, 1), call.relay_a).unwrap();
    match call.event() {
        Event::Keyed { stream, side, suite } => assert_eq!((stream, side, suite), (call.stream, Side::B, SUITE)),
        other => panic!("{other:?}"),
    }
    let (client, server) = split(&openssl.keys());
    let (theirs, ours) = if role == DtlsRole::Active { (server, client) } else { (client, server) };
    let (mut protect, mut unprotect) = (Srtp::sender(SUITE, &theirs), Srtp::receiver(SUITE, &ours));
    let mut heard = 0;
    for sequence in 2..12 {
        let packet = rtp(7, sequence, 9);
        call.a.send_to(&packet, call.relay_a).unwrap();
        let got = take(&call.b, SHAKE).expect("what A says reaches B");
        assert_ne!(got, packet, "protected");
        assert_eq!(unprotect.open_rtp(&got).expect("under the keys OpenSSL has"), packet);
        let said = rtp(8, sequence, 5);
        call.b.send_to(&protect.seal_rtp(&said), call.relay_b).unwrap();
        assert_eq!(take(&call.a, SHAKE).expect("what B says reaches A"), said);
        call.b.send_to(&rtp(8, sequence + 100, 5), call.relay_b).unwrap();
        heard += 1;
    }
    drop(openssl);
    until(|| call.plane.plane.inspect(call.stream).is_some_and(|view| view.report.b.refused_authentication == heard));
    let report = call.plane.close(call.stream);
    assert_eq!((report.b.received, report.b.sent), (heard, heard));
    assert_eq!(report.b.refused_authentication, heard, "what is not protected is refused");
    assert_eq!(report.a.refused_not_ready, 1, "the packet before the keys");
}

#[test]
fn openssl_as_client() {
    shakes_hands(DtlsRole::Passive, Line::Sound);
}

#[test]
fn openssl_as_server() {
    shakes_hands(DtlsRole::Active, Line::Sound);
}

#[test]
fn openssl_over_a_line_that_loses_each_message_once() {
    shakes_hands(DtlsRole::Passive, Line::Loses);
    shakes_hands(DtlsRole::Active, Line::Loses);
}

/// OpenSSL's pieces overlap where it repeats what it had to split, and some are lost each time: the library alone never joined them.
#[test]
fn openssl_in_pieces_over_a_line_that_loses_by_chance() {
    thread::scope(|scope| {
        for (i, mtu) in [256, 300, 420, 600].into_iter().enumerate() {
            let role = if i % 2 == 0 { DtlsRole::Passive } else { DtlsRole::Active };
            let other = if i % 2 == 0 { DtlsRole::Active } else { DtlsRole::Passive };
            scope.spawn(move || shakes_hands(role, Line::Chance { mtu, seed: 3 + i as u64 }));
            scope.spawn(move || shakes_hands(other, Line::Chance { mtu, seed: 9 + i as u64 }));
        }
    });
}

/// Under `nat` anybody may be the peer. Strangers send what spoils a handshake, before it, in the middle and from many ports; the peer gets its keys.
#[test]
fn strangers_do_not_come_between_under_nat() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let certificate = Certificate::new();
        let mut call = Call::open();
        let stop = Arc::new(AtomicBool::new(false));
        let flood = {
            let (stop, host, relay) = (Arc::clone(&stop), call.host, call.relay_b);
            let sockets: Vec<UdpSocket> = (0..16).map(|_| UdpSocket::bind((host, 0)).unwrap()).collect();
            thread::spawn(move || {
                let hello = |kind: u8| [&[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 40, kind, 0, 0, 28, 0, 0, 0, 0, 0, 0, 0, 28][..], &[7; 28]].concat();
                let began = Instant::now();
                while !stop.load(Ordering::Relaxed) && began.elapsed() < SHAKE {
                    for socket in &sockets {
                        for datagram in [vec![21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40], hello(2), hello(1), hello(3), hello(11)] {
                            let _ = socket.send_to(&datagram, relay);
                        }
                    }
                    thread::sleep(Duration::from_millis(20));
                }
            })
        };
        call.expect_by(role, &certificate.fingerprint, LatchPolicy::Nat);
        thread::sleep(Duration::from_millis(200));
        let openssl = Openssl::start(role, &certificate, call.host, &call.b, call.relay_b, Line::Sound);
        match call.event() {
            Event::Keyed { stream, side, suite } => assert_eq!((stream, side, suite), (call.stream, Side::B, SUITE)),
            other => panic!("{other:?}"),
        }
        stop.store(true, Ordering::Relaxed);
        flood.join().unwrap();
        let (client, server) = split(&openssl.keys());
        let ours = if role == DtlsRole::Active { client } else { server };
        call.a.send_to(&rtp(7, 2, 9), call.relay_a).unwrap();
        let got = take(&call.b, SHAKE).expect("what A says reaches B");
        assert_eq!(Srtp::receiver(SUITE, &ours).open_rtp(&got).expect("under the keys OpenSSL has"), rtp(7, 2, 9));
        drop(openssl);
        assert!(call.plane.close(call.stream).b.refused_source > 0, "the operator hears of strangers");
    }
}

#[test]
fn a_peer_that_is_not_who_was_announced_gets_nothing() {
    for role in [DtlsRole::Passive, DtlsRole::Active] {
        let (announced, shown) = (Certificate::new(), Certificate::new());
        let mut call = Call::open();
        let openssl = Openssl::start(role, &shown, call.host, &call.b, call.relay_b, Line::Sound);
        thread::sleep(Duration::from_millis(100));
        call.expect(role, &announced.fingerprint);
        match call.event() {
            Event::KeyingFailed { stream, side, failure } => assert_eq!((stream, side, failure), (call.stream, Side::B, KeyingFailure::Fingerprint)),
            other => panic!("{other:?}"),
        }
        call.a.send_to(&rtp(7, 1, 1), call.relay_a).unwrap();
        assert_eq!(take(&call.b, relay_rig::QUIET), None);
        drop(openssl);
        assert_eq!(call.plane.close(call.stream).a.refused_not_ready, 1);
    }
}

#[test]
fn nothing_carries_a_side_keyed_by_dtls_in_our_place() {
    let mut stream = Stream::new(next_stream(), None, Time::ZERO);
    let (at, keys) = ("192.0.2.1:4000".parse().unwrap(), split(&[7; 60]));
    let remote = Some(Some(Addresses { rtp: at, rtcp: at }));
    let keys_of = |key: MasterKey| SrtpParameters { suite: SUITE, keys: vec![key] };
    let plain = Configuration::new(remote, LatchPolicy::Strict, Some(Protection::Plain), Some(Protection::Plain));
    stream.configure(Time::ZERO, Side::A, plain).unwrap();
    let dtls = Protection::Dtls(Arc::new(parameters(DtlsRole::Passive, &Certificate::new().fingerprint)));
    stream.configure(Time::ZERO, Side::B, Configuration::new(remote, LatchPolicy::Strict, Some(dtls.clone()), Some(dtls))).unwrap();
    for side in [Side::A, Side::B] {
        assert_eq!(stream.shortcut(side), Err(WhyNot::NotReady), "there are no keys");
    }
    stream.keyed(Time::ZERO, Side::B, (1, Claimant::At(at)), keys_of(keys.0), keys_of(keys.1)).unwrap();
    for side in [Side::A, Side::B] {
        assert_eq!(stream.shortcut(side), Err(WhyNot::Transformed));
    }
}
