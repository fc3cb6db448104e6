//! Clients that open a connection, are heard on it, and close it; and one that stays and asks.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, StreamOwned};

use super::server::Lab;

const PATIENCE: Duration = Duration::from_secs(20);

/// What is at the other end.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
    /// Answers CRLF CRLF by CRLF.
    Border,
    /// Answers a line by the same reversed.
    Reversing { resumed: bool },
}

#[derive(Clone)]
pub struct Client {
    config: Arc<ClientConfig>,
    from: IpAddr,
    to: SocketAddr,
    kind: Kind,
}

#[derive(Default)]
pub struct Done {
    pub handshakes: u64,
    pub resumed: u64,
    pub failed: u64,
}

impl Client {
    pub fn new(lab: &Lab, from: &str, to: SocketAddr, kind: Kind) -> Client {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![rustls::crypto::aws_lc_rs::kx_group::X25519];
        provider.cipher_suites = vec![rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256];
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(lab.file("ca.pem")).expect("the CA")).expect("the CA");
        let chain = CertificateDer::pem_file_iter(lab.file("peer.example.test.pem")).expect("a certificate").collect::<Result<Vec<_>, _>>().expect("a chain");
        let key = PrivateKeyDer::from_pem_file(lab.file("peer.example.test.key")).expect("a key");
        let config = ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS13]).expect("TLS 1.3");
        let mut config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).expect("our certificate");
        if kind != (Kind::Reversing { resumed: true }) {
            config.resumption = Resumption::disabled();
        }
        Client { config: Arc::new(config), from: from.parse().expect("an address"), to, kind }
    }

    fn open(&self) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(self.from, 0).into())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_tcp_nodelay(true)?;
        // Closed by reset: otherwise a minute of these fills the range of ports.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.connect(&self.to.into())?;
        let name = ServerName::try_from("sbc.example.test").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)?;
        Ok(StreamOwned::new(connection, socket.into()))
    }

    /// One connection from its first byte to its last. Whether it was resumed.
    fn once(&self) -> io::Result<bool> {
        let mut stream = self.open()?;
        let (says, hears) = match self.kind {
            Kind::Border => (&b"\r\n\r\n"[..], 2),
            Kind::Reversing { .. } => (&b"abc\n"[..], 4),
        };
        stream.write_all(says)?;
        stream.read_exact(&mut vec![0; hears])?;
        Ok(stream.conn.handshake_kind() == Some(HandshakeKind::Resumed))
    }
}

/// So many clients, one connection after another each, for so long.
pub fn flood(client: &Client, clients: usize, time: Duration) -> Done {
    let until = Instant::now() + time;
    let one = |client: Client| {
        move || {
            pin(0, 10);
            let mut done = Done::default();
            while Instant::now() < until {
                match client.once() {
                    Ok(resumed) => {
                        done.handshakes += 1;
                        done.resumed += u64::from(resumed);
                    }
                    Err(_) => done.failed += 1,
                }
            }
            done
        }
    };
    let threads: Vec<_> = (0..clients).map(|_| std::thread::spawn(one(client.clone()))).collect();
    threads.into_iter().map(|thread| thread.join().expect("a client")).fold(Done::default(), |sum, done| Done {
        handshakes: sum.handshakes + done.handshakes,
        resumed: sum.resumed + done.resumed,
        failed: sum.failed + done.failed,
    })
}

/// Milliseconds from an OPTIONS to its answer, one every 5 ms, on a connection that stays open.
pub fn latencies(client: &Client, time: Duration) -> Vec<f64> {
    pin(0, -15);
    let mut stream = client.open().expect("a connection");
    let until = Instant::now() + time;
    let mut delays = Vec::new();
    let mut buffer = vec![0; 4096];
    for n in 0.. {
        let request = format!(
            "OPTIONS sip:sbc.example.test SIP/2.0\r\nVia: SIP/2.0/TLS peer.example.test;branch=z9hG4bK{n}\r\nFrom: <sip:peer.example.test>;tag={n}\r\n\
             To: <sip:sbc.example.test>\r\nCall-ID: {n}@peer.example.test\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
        );
        let asked = Instant::now();
        stream.write_all(request.as_bytes()).expect("a connection that stays");
        let mut answer = Vec::new();
        while !answer.windows(4).any(|end| end == b"\r\n\r\n") {
            let length = stream.read(&mut buffer).expect("an answer");
            assert!(length > 0, "the border closed the connection");
            answer.extend_from_slice(&buffer[..length]);
        }
        assert!(answer.starts_with(b"SIP/2.0 200"), "{}", String::from_utf8_lossy(&answer));
        delays.push(asked.elapsed().as_secs_f64() * 1_000.0);
        if Instant::now() >= until {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    delays
}

/// This thread on one core, before or behind others there (where we may).
fn pin(core: usize, nice: i32) {
    // SAFETY: the set is a plain bit field, zeroed and then written by the library's own macro-like functions; both calls take this thread (0) and
    // only read what they are given. Failures leave the thread where it was.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set);
        libc::setpriority(libc::PRIO_PROCESS, 0, nice);
    }
}
