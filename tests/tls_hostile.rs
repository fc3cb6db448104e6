//! What hostile or broken ends send in a handshake: each is refused with a reason that says what it was, and the border goes on.

mod net_border;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::app::certs::{Authority, Issued, Leaf, authority};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Route;
use portcullis::sip::Transport::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const PEER: &str = "um.example.org";

struct Lab {
    folder: tempfile::TempDir,
    ours: Authority,
    theirs: Authority,
}

impl Lab {
    fn new() -> Lab {
        Lab { folder: tempfile::tempdir().unwrap(), ours: authority("ours", MONTH).unwrap(), theirs: authority("theirs", MONTH).unwrap() }
    }

    async fn border(&self) -> Border {
        let own = put(self.folder.path(), "sbc", &self.ours.issue(&Leaf::named("sbc.example.org")).unwrap());
        let ca = self.folder.path().join("peer-ca.pem");
        std::fs::write(&ca, self.theirs.certificate()).unwrap();
        let limits = Limits { handshake: Duration::from_millis(700), connect: Duration::from_secs(3), ..Limits::default() };
        Border::with(&[(Tls, V4)], &[peer("um", Tls, V4, &[PEER])], limits, tls_settings(own, &[("um", ca)])).await
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn chain(issued: &Issued) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap()
}

fn key(issued: &Issued) -> Arc<dyn rustls::sign::SigningKey> {
    provider().key_provider.load_private_key(PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap()).unwrap()
}

/// Shows whatever it was made of, fitting or not.
#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl rustls::client::ResolvesClientCert for Shows {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
    fn has_certs(&self) -> bool {
        true
    }
}

impl rustls::server::ResolvesServerCert for Shows {
    fn resolve(&self, _: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// What may be shown that nobody should take.
fn specimens(lab: &Lab) -> Vec<(&'static str, CertifiedKey, Reason)> {
    let good = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let other = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let leaf = chain(&good)[0].clone();
    let stranger = CertificateDer::from_pem_slice(authority("stranger", MONTH).unwrap().certificate().as_bytes()).unwrap();
    let long: Vec<_> = std::iter::once(leaf.clone()).chain(std::iter::repeat_n(stranger.clone(), 99)).collect();
    assert!(long.iter().map(|der| der.len()).sum::<usize>() < 0xffff, "this one the TLS library would pass on");
    let huge: Vec<_> = std::iter::once(leaf.clone()).chain(std::iter::repeat_n(stranger, 1_000_000 / 400)).collect();
    let bulky = CertificateDer::from(vec![0x30; 1_000_000]);
    let mut altered = leaf.to_vec();
    let last = altered.len() - 1;
    altered[last] ^= 1;
    let nameless = Leaf { dns: Vec::new(), ..Leaf::named(PEER) };
    let nameless = lab.theirs.issue(&nameless).unwrap();
    let shows = |chain: Vec<CertificateDer<'static>>, of: &Issued| CertifiedKey::new(chain, key(of));
    vec![
        ("100 certificates", shows(long, &good), Reason::TlsChainLimit),
        ("a megabyte of certificates", shows(huge, &good), Reason::TlsChainLimit),
        ("one certificate of a megabyte", shows(vec![bulky], &good), Reason::TlsChainLimit),
        ("another's certificate, a key of its own", shows(chain(&good), &other), Reason::TlsBadCertificate),
        ("an altered certificate", shows(vec![altered.into()], &good), Reason::TlsBadCertificate),
        ("half a certificate", shows(vec![leaf[..leaf.len() / 2].to_vec().into()], &good), Reason::TlsBadCertificate),
        ("no certificate at all, but bytes", shows(vec![b"certificate".to_vec().into()], &good), Reason::TlsBadCertificate),
        ("no subjectAltName", shows(chain(&nameless), &nameless), Reason::TlsName),
        ("a CA's certificate", ca_as_leaf(), Reason::TlsUsage),
    ]
}

/// A CA that shows its own certificate, and no peer's.
fn ca_as_leaf() -> CertifiedKey {
    let pair = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![PEER.to_owned()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&pair).unwrap();
    let issued = Issued { certificate: certificate.pem(), key: pair.serialize_pem().into() };
    CertifiedKey::new(chain(&issued), key(&issued))
}

async fn dial(lab: &Lab, to: SocketAddr, shows: CertifiedKey, version: &'static rustls::SupportedProtocolVersion) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(lab.ours.certificate().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
    let config = config.with_root_certificates(roots).with_client_cert_resolver(Arc::new(Shows(Arc::new(shows))));
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("sbc.example.org").unwrap();
    if let Ok(mut stream) = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, stream).await {
        let _ = stream.write_all(&request(1)).await;
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await.expect("closed");
    }
}

fn stranger(event: NetEvent) -> (Reason, String) {
    match event {
        NetEvent::Stranger { decision, .. } => {
            let said = decision.compared.iter().find(|(name, _)| *name == "handshake").expect("what went wrong").1.to_string();
            (decision.refused.unwrap(), said)
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_clients() {
    let lab = Lab::new();
    let mut border = lab.border().await;
    let to = border.address(0);
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        tokio::time::sleep(Duration::from_millis(1_050)).await; // past the sample of strangers told of each second
        for (what, shows, reason) in specimens(&lab) {
            let (event, ()) = tokio::join!(border.event(), dial(&lab, to, shows, version));
            assert_eq!(stranger(event).0, reason, "{what}");
        }
    }
    let good = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let shows = CertifiedKey::new(chain(&good), key(&good));
    tokio::select! {
        biased;
        (_, bytes) = border.received() => assert_eq!(bytes, request(1)),
        () = dial(&lab, to, shows, &rustls::version::TLS13) => panic!("closed"),
    }
}

#[tokio::test]
async fn of_servers() {
    let lab = Lab::new();
    let mut border = lab.border().await;
    for (what, shows, reason) in specimens(&lab) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_cert_resolver(Arc::new(Shows(Arc::new(shows))));
        border.send(1, Route::Connect(connect(Tls, listener.local_addr().unwrap(), "um", &[PEER])), &request(1));
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let _ = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await;
        };
        let (refused, ()) = tokio::join!(border.refusals(1), serve);
        assert_eq!(refused, [(1, reason)], "{what}");
    }
}

#[tokio::test]
async fn of_those_who_speak_something_else() {
    let lab = Lab::new();
    let mut border = lab.border().await;
    let hello = [0x16, 3, 1, 0, 100, 1, 0, 0, 96, 3, 3];
    for (what, bytes, closes, reason) in [
        ("SIP without TLS", &b"OPTIONS sip:a@b SIP/2.0\r\n\r\n"[..], false, Reason::TlsBroken),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n", false, Reason::TlsBroken),
        ("nothing", b"", false, Reason::TlsTimeout),
        ("half a hello", &hello, false, Reason::TlsTimeout),
        ("half a hello, then the end", &hello, true, Reason::TlsBroken),
        ("the end at once", b"", true, Reason::TlsBroken),
        ("zeros", &[0; 100], false, Reason::TlsBroken),
    ] {
        let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
        let _ = stream.write_all(bytes).await;
        if closes {
            stream.shutdown().await.unwrap();
        }
        let (found, said) = stranger(border.event().await);
        assert_eq!(found, reason, "{what}: {said}");
        assert!(said.is_ascii() && !said.contains('\n'), "{said}");
    }
    assert_eq!(border.network.connections(), 0);
    for (what, bytes, reason) in [("SIP without TLS", &b"SIP/2.0 200 OK\r\n\r\n"[..], Reason::TlsBroken), ("the end", b"", Reason::TlsBroken)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        border.send(1, Route::Connect(connect(Tls, listener.local_addr().unwrap(), "um", &[PEER])), &request(1));
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 2_048]).await;
        stream.write_all(bytes).await.unwrap();
        drop(stream);
        assert_eq!(border.refusals(1).await, [(1, reason)], "{what}");
    }
}
