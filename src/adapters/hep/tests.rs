//! Packets to servers on real sockets, read by a reader of the test's own.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Instant, SystemTime};

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

fn settings(port: u16, transport: Transport) -> Settings {
    Settings { host: "127.0.0.1".into(), port, transport, ca: None, capture_id: 42, password: Some("sesame".into()), reports: Duration::ZERO }
}

fn put(hep: &Hep, text: &str) {
    let (from, to): (SocketAddr, SocketAddr) = ("192.0.2.7:40000".parse().unwrap(), "192.0.2.1:5061".parse().unwrap());
    hep.put(&Captured { kind: Kind::Sip, at: SystemTime::now(), is_datagram: false, from, to, correlation: "call-1", payload: text.as_bytes() });
}

/// Chunks by type.
fn chunks(packet: &[u8]) -> HashMap<u16, Vec<u8>> {
    let number = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    assert_eq!(&packet[..4], b"HEP3");
    assert_eq!(usize::from(number(4)), packet.len());
    let (mut at, mut chunks) = (6, HashMap::new());
    while at < packet.len() {
        assert_eq!(number(at), 0, "a vendor of its own");
        let end = at + usize::from(number(at + 4));
        assert!(chunks.insert(number(at + 2), packet[at + 6..end].to_vec()).is_none(), "a chunk twice");
        at = end;
    }
    chunks
}

fn next(stream: &mut impl Read) -> HashMap<u16, Vec<u8>> {
    let mut head = [0; 6];
    stream.read_exact(&mut head).unwrap();
    let mut packet = head.to_vec();
    packet.resize(usize::from(u16::from_be_bytes([head[4], head[5]])), 0);
    stream.read_exact(&mut packet[6..]).unwrap();
    chunks(&packet)
}

fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let until = Instant::now() + PATIENCE;
    let (stream, _) = loop {
        match listener.accept() {
            Ok(accepted) => break accepted,
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => panic!("nobody came: {error}"),
        }
    };
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn settled(hep: &Hep, wanted: impl Fn(Status) -> bool) -> Status {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = hep.status();
        if wanted(status) || Instant::now() > until {
            return status;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn local() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()
}

#[test]
fn datagrams_arrive_one_packet_each() {
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let hep = Hep::start(&settings(server.local_addr().unwrap().port(), Transport::Udp)).unwrap();
    for text in ["INVITE", "BYE"] {
        put(&hep, text);
        let mut packet = vec![0; 2048];
        let length = server.recv(&mut packet).unwrap();
        let chunks = chunks(&packet[..length]);
        assert_eq!((&*chunks[&15], &*chunks[&17], &*chunks[&14], &*chunks[&12]), (text.as_bytes(), &b"call-1"[..], &b"sesame"[..], &[0, 0, 0, 42][..]));
    }
    let status = settled(&hep, |status| status.sent == 2);
    assert_eq!(status, Status { sent: 2, lost: 0, up: true, waiting: 0 });
}

#[test]
fn a_connection_the_server_closed_is_made_again_and_no_packet_is_lost() {
    let server = local();
    let hep = Hep::start(&settings(server.local_addr().unwrap().port(), Transport::Tcp)).unwrap();
    put(&hep, "INVITE");
    put(&hep, "ACK");
    let mut first = accept(&server);
    assert_eq!((&*next(&mut first)[&15], &*next(&mut first)[&15]), (&b"INVITE"[..], &b"ACK"[..]));
    settled(&hep, |status| status.sent == 2);
    drop(first);
    put(&hep, "BYE");
    let mut second = accept(&server);
    assert_eq!(&*next(&mut second)[&15], b"BYE");
    assert_eq!(settled(&hep, |status| status.sent == 3), Status { sent: 3, lost: 0, up: true, waiting: 0 });
    assert_eq!(hep.failure(), None, "to connect anew is no trouble");
}

#[test]
fn a_server_that_is_away_costs_copies_and_no_time() {
    // Bound and gone: nobody listens there.
    let port = local().local_addr().unwrap().port();
    let hep = Hep::start(&settings(port, Transport::Tcp)).unwrap();
    let began = Instant::now();
    let text = "x".repeat(2000);
    for _ in 0..20_000 {
        put(&hep, &text);
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let status = hep.status();
    assert!(status.lost >= 11_000 && status.sent == 0 && !status.up, "{status:?}");
    assert!(hep.counted.bytes.load(Ordering::Relaxed) <= WAITING_BYTES);
}

/// Its pauses would be days together.
#[test]
fn a_server_that_is_away_and_left_is_not_waited_for() {
    let port = local().local_addr().unwrap().port();
    let hep = Hep::start(&settings(port, Transport::Tcp)).unwrap();
    (0..1000).for_each(|_| put(&hep, "INVITE"));
    let counted = Arc::downgrade(&hep.counted);
    drop(hep);
    let until = Instant::now() + PATIENCE;
    while counted.strong_count() > 0 {
        assert!(Instant::now() < until, "the thread goes on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn tls_server(name: &str) -> (tempfile::TempDir, ServerConfig) {
    let issued = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ca.pem"), issued.cert.pem()).unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(issued.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    (folder, config.with_single_cert(vec![issued.cert.der().clone()], key).unwrap())
}

#[test]
fn tls_verifies_the_server_and_carries_packets() {
    let (folder, config) = tls_server("127.0.0.1");
    let server = local();
    let port = server.local_addr().unwrap().port();
    let hep = Hep::start(&Settings { ca: Some(folder.path().join("ca.pem")), ..settings(port, Transport::Tls) }).unwrap();
    put(&hep, "INVITE");
    put(&hep, "BYE");
    let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), accept(&server));
    assert_eq!((&*next(&mut stream)[&15], &*next(&mut stream)[&15]), (&b"INVITE"[..], &b"BYE"[..]));
    assert_eq!(settled(&hep, |status| status.sent == 2), Status { sent: 2, lost: 0, up: true, waiting: 0 });
}

#[test]
fn a_server_with_another_name_or_issuer_gets_nothing() {
    let (right, other_name) = tls_server("homer.example");
    let (_another, other_issuer) = tls_server("127.0.0.1");
    for config in [other_name, other_issuer] {
        let server = local();
        let port = server.local_addr().unwrap().port();
        let hep = Hep::start(&Settings { ca: Some(right.path().join("ca.pem")), ..settings(port, Transport::Tls) }).unwrap();
        put(&hep, "INVITE");
        let mut stream = StreamOwned::new(ServerConnection::new(Arc::new(config)).unwrap(), accept(&server));
        let mut taken = Vec::new();
        assert!(stream.read_to_end(&mut taken).is_err() && taken.is_empty());
        drop(stream.flush());
        drop((stream, server));
        let status = settled(&hep, |status| status.lost == 1);
        assert_eq!(status, Status { sent: 0, lost: 1, up: false, waiting: 0 });
        let failure = hep.failure().expect("why");
        assert!(!failure.why.is_empty() && failure.at.elapsed().unwrap() < PATIENCE, "{failure:?}");
        assert_eq!(hep.server(), format!("127.0.0.1:{port}"));
    }
    let nowhere = Settings { ca: Some("/nonexistent/ca.pem".into()), ..settings(1, Transport::Tls) };
    assert!(Hep::start(&nowhere).err().is_some_and(|error| error.contains("[hep] ca /nonexistent/ca.pem")));
}
