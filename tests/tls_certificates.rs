//! Mutual TLS by real handshakes: which certificates prove a peer, which do not, in both directions; and what a reload changes.

mod net_border;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::adapters::tls::{self, CredentialStore, Credentials, KeyPairFiles};
use portcullis::app::certs::{Authority, Eku, Issued, Leaf, authority, authority_between, self_signed};
use portcullis::policy::flow::{ListenerId, Proof};
use portcullis::policy::settings::{Peer, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Route, TransportError};
use portcullis::sip::Transport::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const BORDER: &str = "sbc.example.org";
const PEER: &str = "um.example.org";

/// A border with one TLS listener and one TLS peer, whose certificates come from `theirs`.
struct Laboratory {
    folder: tempfile::TempDir,
    ours: Authority,
    theirs: Authority,
}

impl Laboratory {
    fn new() -> Laboratory {
        Laboratory { folder: tempfile::tempdir().unwrap(), ours: authority("ours", MONTH).unwrap(), theirs: authority("theirs", MONTH).unwrap() }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    }

    fn own(&self) -> KeyPairFiles {
        put(self.path(), "sbc", &self.ours.issue(&Leaf::named(BORDER)).unwrap())
    }

    async fn border(&self, peer_ca: &str) -> Border {
        let ca = self.write("peer-ca.pem", peer_ca);
        Border::with(&[(Tls, V4)], &[peer("um", Tls, V4, &[PEER])], Limits::default(), tls_settings(self.own(), &[("um", ca)])).await
    }
}

/// Every way a peer's certificate can be, and why it does not prove the peer as a client and as a server, if it does not.
fn specimens(lab: &Laboratory) -> Vec<(&'static str, Issued, Option<Reason>, Option<Reason>)> {
    let now = OffsetDateTime::now_utc();
    let good = Leaf::named(PEER);
    let issue = |leaf: Leaf| lab.theirs.issue(&leaf).unwrap();
    let names = |dns: &[&str], uris: &[&str]| Leaf {
        dns: dns.iter().map(|name| (*name).to_owned()).collect(),
        uris: uris.iter().map(|uri| (*uri).to_owned()).collect(),
        ..good.clone()
    };
    let stranger = authority("theirs", MONTH).unwrap(); // same name, other key
    let expired = authority_between("expired", now - 2 * MONTH, now - MONTH).unwrap();
    let intermediate = lab.theirs.intermediate("intermediate", MONTH).unwrap().issue(&good).unwrap();
    let without_intermediate = Issued {
        certificate: intermediate.certificate.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned(),
        key: intermediate.key.clone(),
    };
    vec![
        ("good", issue(good.clone()), None, None),
        ("good, another case", issue(names(&["UM.Example.ORG"], &[])), None, None),
        ("good among others", issue(names(&["other.example.org", PEER], &[])), None, None),
        ("SIP domain", issue(names(&[], &["sip:um.example.org"])), None, None),
        ("through an intermediate", intermediate, None, None),
        ("intermediate missing", without_intermediate, Some(Reason::TlsUnknownIssuer), Some(Reason::TlsUnknownIssuer)),
        (
            "expired",
            issue(Leaf { not_before: now - MONTH, not_after: now - Duration::from_secs(60), ..good.clone() }),
            Some(Reason::TlsExpired),
            Some(Reason::TlsExpired),
        ),
        (
            "not yet valid",
            issue(Leaf { not_before: now + Duration::from_secs(600), ..good.clone() }),
            Some(Reason::TlsNotYetValid),
            Some(Reason::TlsNotYetValid),
        ),
        ("wrong CA", lab.ours.issue(&good).unwrap(), Some(Reason::TlsUnknownIssuer), Some(Reason::TlsUnknownIssuer)),
        ("CA of the same name", stranger.issue(&good).unwrap(), Some(Reason::TlsBadCertificate), Some(Reason::TlsBadCertificate)),
        ("expired CA", expired.issue(&good).unwrap(), Some(Reason::TlsUnknownIssuer), Some(Reason::TlsUnknownIssuer)),
        ("wrong name", issue(names(&["um.example.com"], &[])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("name only as common name", issue(names(&[], &[])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("wildcard", issue(names(&["*.example.org"], &[])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("sips domain", issue(names(&[], &["sips:um.example.org"])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("SIP user", issue(names(&[], &["sip:um@um.example.org"])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("name with a suffix", issue(names(&["um.example.org.example.com"], &[])), Some(Reason::TlsName), Some(Reason::TlsName)),
        ("self-signed", self_signed(&good).unwrap(), Some(Reason::TlsUnknownIssuer), Some(Reason::TlsUnknownIssuer)),
        ("server only", issue(Leaf { ekus: vec![Eku::ServerAuth], ..good.clone() }), Some(Reason::TlsUsage), None),
        ("client only", issue(Leaf { ekus: vec![Eku::ClientAuth], ..good.clone() }), None, Some(Reason::TlsUsage)),
        ("no usage stated", issue(Leaf { ekus: Vec::new(), ..good }), Some(Reason::TlsUsage), Some(Reason::TlsUsage)),
    ]
}

fn chain(issued: &Issued) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    (chain, PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap())
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(pem: &str) -> Arc<rustls::RootCertStore> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    Arc::new(roots)
}

type ClientStream = tokio_rustls::client::TlsStream<TcpStream>;

/// An ordinary TLS client. The TCP connection and its own view of the handshake succeed even where TLS 1.3 then refuses its certificate.
async fn client(
    lab: &Laboratory,
    to: SocketAddr,
    shows: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> std::io::Result<ClientStream> {
    let builder = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(versions).unwrap();
    let builder = builder.with_root_certificates(roots(lab.ours.certificate()));
    let config = match shows {
        Some(issued) => {
            let (chain, key) = chain(issued);
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let stream = TcpStream::connect(to).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(BORDER).unwrap(), stream).await
}

/// Whether a request on a new connection that shows this certificate reaches the border.
async fn gets_in(
    lab: &Laboratory,
    border: &mut Border,
    shows: Option<&Issued>,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> Result<(), Option<Reason>> {
    let stream = client(lab, border.address(0), shows, versions).await;
    let mut stream = match stream {
        Ok(mut stream) => {
            let _ = stream.write_all(&request(1)).await;
            let _ = stream.flush().await;
            Some(stream)
        }
        Err(_) => None,
    };
    loop {
        match border.event().await {
            NetEvent::Received { flow, bytes } => {
                assert_eq!(bytes, request(1));
                let identity = flow.tls.as_ref().unwrap();
                assert_eq!(identity.trusted_for, ["um".into()]);
                assert!(identity.names.contains(&PEER.to_owned()), "{:?}", identity.names);
                return Ok(());
            }
            NetEvent::Stranger { decision, .. } => {
                assert!(decision.compared.iter().any(|(name, _)| *name == "handshake"), "refused in the handshake, not after it: {decision:?}");
                if let Some(stream) = &mut stream {
                    let mut rest = Vec::new();
                    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed");
                    assert!(rest.is_empty(), "a stranger is told nothing");
                }
                return Err(decision.refused);
            }
            NetEvent::FlowClosed { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Past the sample of strangers told of each second.
async fn next_second() {
    tokio::time::sleep(Duration::from_millis(1_050)).await;
}

#[tokio::test]
async fn clients_prove_themselves_or_stay_outside() {
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    for (version, other) in [(&rustls::version::TLS13, "TLS 1.3"), (&rustls::version::TLS12, "TLS 1.2")] {
        for (n, (what, issued, as_client, _)) in specimens(&lab).iter().enumerate() {
            if n % 8 == 0 {
                next_second().await;
            }
            let result = gets_in(&lab, &mut border, Some(issued), &[version]).await;
            assert_eq!(result.err(), as_client.map(Some), "{what}, {other}");
        }
        next_second().await;
        assert_eq!(gets_in(&lab, &mut border, None, &[version]).await, Err(Some(Reason::TlsNoCertificate)), "no certificate, {other}");
    }
}

/// TLS without mutual: an unsecured peer may call in without a certificate, known by its address alone; one it shows must still be its own.
#[tokio::test]
async fn an_unsecured_peer_may_come_without_a_certificate() {
    let lab = Laboratory::new();
    let ca = lab.write("peer-ca.pem", lab.theirs.certificate());
    let um = Peer { mutual: false, mode: SecurityMode::Unsecured, ..peer("um", Tls, V4, &[PEER]) };
    let mut border = Border::with(&[(Tls, V4)], &[um], Limits::default(), tls_settings(lab.own(), &[("um", ca)])).await;
    let both = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut stream = client(&lab, border.address(0), None, &both).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    match border.event().await {
        NetEvent::Received { flow, .. } => {
            let identity = flow.tls.as_ref().unwrap();
            assert!(identity.names.is_empty() && identity.trusted_for.is_empty() && identity.version.starts_with("TLS"), "{identity:?}");
        }
        other => panic!("{other:?}"),
    }
    let wrong = lab.theirs.issue(&Leaf::named("other.example.org")).unwrap();
    assert_eq!(gets_in(&lab, &mut border, Some(&wrong), &both).await, Err(Some(Reason::TlsName)));
}

/// A server that shows this certificate, demands none, and answers one request. Returns what it has read.
async fn serve_once(listener: &TcpListener, shows: &Issued) -> std::io::Result<Vec<u8>> {
    let (chain, key) = chain(shows);
    let config = rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (stream, _) = listener.accept().await?;
    let mut stream = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream).await?;
    let mut buffer = vec![0; request(1).len()];
    stream.read_exact(&mut buffer).await?;
    stream.write_all(&response(1)).await?;
    stream.flush().await?;
    let _ = stream.read(&mut [0; 1]).await;
    Ok(buffer)
}

#[tokio::test]
async fn servers_prove_themselves_or_are_sent_nothing() {
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    for (what, issued, _, as_server) in &specimens(&lab) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = connect(Tls, listener.local_addr().unwrap(), "um", &[PEER]);
        border.send(1, Route::Connect(to), &request(1));
        let exchange = async {
            let event = border.event().await;
            let outcome = match event {
                NetEvent::Received { flow, bytes } => {
                    assert_eq!(bytes, response(1));
                    assert_eq!(flow.tls.as_ref().unwrap().trusted_for, ["um".into()], "{what}");
                    Ok(())
                }
                NetEvent::TransportFailed { id, error: TransportError::Certificate(refusal) } => {
                    assert_eq!(id.0, 1);
                    Err(refusal.reason)
                }
                other => panic!("{what}: {other:?}"),
            };
            assert_eq!(outcome.err(), *as_server, "{what}");
        };
        tokio::select! {
            biased;
            () = exchange => {}
            served = serve_once(&listener, issued) => panic!("{what}: {served:?}"),
        }
        // The connection made in this round has ended by now, or ends.
        while let Ok(Some(event)) = timeout(Duration::from_millis(30), border.events.recv()).await {
            assert!(matches!(event, NetEvent::FlowClosed { .. }), "{what}: {event:?}");
        }
    }
}

#[tokio::test]
async fn a_refused_certificate_of_ours_is_reported_as_such() {
    // In TLS 1.3 our handshake is over before the server has looked at our certificate: the request has gone out when the refusal comes.
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    let (chain, key) = chain(&lab.theirs.issue(&Leaf::named(PEER)).unwrap());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots(lab.theirs.certificate()), provider()).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let config = config.with_client_cert_verifier(verifier).with_single_cert(chain.clone(), key.clone_key()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = connect(Tls, listener.local_addr().unwrap(), "um", &[PEER]);
        for n in 0..5 {
            border.send(n, Route::Connect(to.clone()), &request(n));
        }
        let (stream, _) = listener.accept().await.unwrap();
        let accepting = tokio_rustls::TlsAcceptor::from(Arc::new(config)).accept(stream);
        let (failures, refused) = tokio::join!(border.refusals(5), accepting);
        assert!(refused.is_err());
        assert_eq!(failures, [0, 1, 2, 3, 4].map(|id| (id, Reason::TlsOursRefused)));
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_trusted_where_it_is_pinned_and_vouches_for_nothing_else() {
    let lab = Laboratory::new();
    let pinned = self_signed(&Leaf::named(PEER)).unwrap();
    let mut border = lab.border(&pinned.certificate).await;
    assert_eq!(gets_in(&lab, &mut border, Some(&pinned), &[&rustls::version::TLS13]).await, Ok(()));
    // The pinned key may not play CA.
    let forger = Authority::from_pem(pinned.certificate.clone(), pinned.key.clone()).unwrap();
    let forged = forger.issue(&Leaf::named(PEER)).unwrap();
    assert!(gets_in(&lab, &mut border, Some(&forged), &[&rustls::version::TLS13]).await.is_err());
    let elsewhere = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    assert!(gets_in(&lab, &mut border, Some(&elsewhere), &[&rustls::version::TLS13]).await.is_err());
}

#[tokio::test]
async fn each_peer_is_held_to_its_own_ca_and_name() {
    // Two peers at one address: the certificate tells them apart, and neither can be the other.
    let lab = Laboratory::new();
    let other = authority("other", MONTH).unwrap();
    let settings = tls_settings(lab.own(), &[("um", lab.write("um-ca.pem", lab.theirs.certificate())), ("pbx", lab.write("pbx-ca.pem", other.certificate()))]);
    let peers = [peer("um", Tls, V4, &[PEER]), peer("pbx", Tls, V4, &["pbx.example.org"])];
    let mut border = Border::with(&[(Tls, V4)], &peers, Limits::default(), settings).await;
    let cases = [(&lab.theirs, PEER, Some("um")), (&other, "pbx.example.org", Some("pbx")), (&lab.theirs, "pbx.example.org", None), (&other, PEER, None)];
    for (authority, name, expected) in cases {
        let issued = authority.issue(&Leaf::named(name)).unwrap();
        if let Ok(mut stream) = client(&lab, border.address(0), Some(&issued), &[&rustls::version::TLS13]).await {
            let _ = stream.write_all(&request(1)).await;
            let trusted = loop {
                match border.event().await {
                    NetEvent::Received { flow, .. } => break flow.tls.as_ref().unwrap().trusted_for.first().cloned(),
                    NetEvent::Stranger { .. } => break None,
                    _ => {}
                }
            };
            assert_eq!(trusted.as_deref(), expected, "{name}");
        }
    }
}

#[tokio::test]
async fn a_reload_changes_new_handshakes_and_leaves_open_connections_alone() {
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    let issued = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let leaf = |stream: &ClientStream| stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let mut old = client(&lab, border.address(0), Some(&issued), &[&rustls::version::TLS13]).await.unwrap();
    old.write_all(&request(1)).await.unwrap();
    let first = border.received().await.0;
    // A broken set changes nothing.
    let missing = KeyPairFiles { certificate: lab.path().join("none.pem"), key: lab.path().join("none.key") };
    assert!(Credentials::load(&tls_settings(missing, &[])).is_err());
    let settings = tls_settings(lab.own(), &[("um", lab.path().join("peer-ca.pem"))]);
    border.credentials.swap(Credentials::load(&settings).unwrap());
    let mut new = client(&lab, border.address(0), Some(&issued), &[&rustls::version::TLS13]).await.unwrap();
    assert_ne!(leaf(&old), leaf(&new));
    new.write_all(&request(2)).await.unwrap();
    assert_ne!(border.received().await.0.id, first.id);
    old.write_all(&request(3)).await.unwrap();
    let (flow, bytes) = border.received().await;
    assert_eq!((flow.id, bytes.as_ref()), (first.id, &*request(3)));
    // The peer's CA is exchanged: its old certificate no longer opens a connection.
    lab.write("peer-ca.pem", authority("next", MONTH).unwrap().certificate());
    border.credentials.swap(Credentials::load(&settings).unwrap());
    assert_eq!(gets_in(&lab, &mut border, Some(&issued), &[&rustls::version::TLS13]).await, Err(Some(Reason::TlsUnknownIssuer)));
}

/// Its files may be gone: calls over it may still need a connection made by it.
#[tokio::test]
async fn a_listener_that_left_the_set_shows_its_certificate_until_it_is_released() {
    let lab = Laboratory::new();
    let ca = lab.write("peer-ca.pem", lab.theirs.certificate());
    let settings = tls_settings(lab.own(), &[("um", ca)]);
    let store = CredentialStore::new(Credentials::load(&settings).unwrap());
    let candidates = vec![Arc::new(peer("um", Tls, V4, &[PEER]))];
    let issued = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let without = tls::Settings { listeners: Vec::new(), ..settings };
    let versions = [&rustls::version::TLS13];
    for (released, expected) in [(false, true), (false, true), (true, false)] {
        if released {
            store.release_listener(ListenerId(0));
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let accepting = async {
            let (stream, _) = listener.accept().await.unwrap();
            store.accept(ListenerId(0), candidates.clone(), stream).await.is_ok()
        };
        let (shaken, _client) = tokio::join!(accepting, client(&lab, listener.local_addr().unwrap(), Some(&issued), &versions));
        assert_eq!(shaken, expected);
        // Over every load to come, until it is closed.
        store.swap(Credentials::load(&without).unwrap());
        store.swap(Credentials::load(&without).unwrap());
    }
}

#[tokio::test]
async fn what_was_presented_can_be_asked_again_of_the_credentials_in_force() {
    let lab = Laboratory::new();
    let (ca, next) = (lab.write("peer-ca.pem", lab.theirs.certificate()), authority("next", MONTH).unwrap());
    let settings = tls_settings(lab.own(), &[("um", ca.clone()), ("spare", ca)]);
    let store = CredentialStore::new(Credentials::load(&settings).unwrap());
    let candidates: Vec<Arc<Peer>> = [("um", PEER), ("spare", "spare.example.org")].map(|(name, tls_name)| Arc::new(peer(name, Tls, V4, &[tls_name]))).into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issued = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let versions = [&rustls::version::TLS13];
    let accepting = async {
        let (stream, _) = listener.accept().await.unwrap();
        store.accept(ListenerId(0), candidates.clone(), stream).await.map_err(|refusal| refusal.to_string()).unwrap()
    };
    let (secured, _client) = tokio::join!(accepting, client(&lab, listener.local_addr().unwrap(), Some(&issued), &versions));
    // Of the two that share a CA it is known to be the one whose name it carries.
    assert_eq!(secured.presented.proves, Proof::Client(vec![Arc::clone(&candidates[0])]));
    assert_eq!(store.recheck(&secured.presented), Ok(()));
    let reason = |store: &CredentialStore| store.recheck(&secured.presented).unwrap_err().reason;
    // Old and new CA both trusted for a while; then the new one alone, though the spare still trusts the old one.
    lab.write("peer-ca.pem", &(next.certificate().to_owned() + lab.theirs.certificate()));
    store.swap(Credentials::load(&settings).unwrap());
    assert_eq!(store.recheck(&secured.presented), Ok(()));
    let old = lab.write("old-ca.pem", lab.theirs.certificate());
    lab.write("peer-ca.pem", next.certificate());
    let settings = tls_settings(lab.own(), &[("um", lab.path().join("peer-ca.pem")), ("spare", old)]);
    store.swap(Credentials::load(&settings).unwrap());
    assert_eq!(reason(&store), Reason::TlsUnknownIssuer);
    // Who leaves the set is held to what he was trusted by, through later loads, until nobody is concerned with him.
    store.swap(Credentials::load(&tls_settings(lab.own(), &[("um", lab.path().join("old-ca.pem"))])).unwrap());
    for _ in 0..2 {
        store.swap(Credentials::load(&tls_settings(lab.own(), &[])).unwrap());
        store.release(|name| name == "um");
        assert_eq!(store.recheck(&secured.presented), Ok(()));
    }
    store.release(|_| false);
    assert_eq!(reason(&store), Reason::TlsUnprepared);
}

#[tokio::test]
async fn a_refusal_says_what_was_compared() {
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    let now = OffsetDateTime::now_utc();
    let old =
        Leaf { not_before: now - MONTH, not_after: now - Duration::from_secs(3 * 86_400 + 60), common_name: "um\nlevel=error".into(), ..Leaf::named(PEER) };
    let _ = client(&lab, border.address(0), Some(&lab.theirs.issue(&old).unwrap()), &[&rustls::version::TLS13]).await;
    let NetEvent::Stranger { decision, .. } = border.event().await else { panic!("it was let in") };
    let value = |wanted: &str| decision.compared.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_string()).expect(wanted);
    assert_eq!(decision.refused, Some(Reason::TlsExpired));
    assert!(value("handshake").starts_with("its certificate expired 3 days ago (20"), "{}", value("handshake"));
    assert_eq!(value("certificate of"), "CN=um?level=error");
    assert_eq!((value("certificate names"), value("issued by")), (PEER.to_owned(), "CN=theirs".to_owned()));
    assert!(value("valid").ends_with('Z') && value("held against").ends_with("/peer-ca.pem"), "{decision:?}");
}

#[tokio::test]
async fn sessions_are_not_resumed() {
    // The same client configuration, with its own session store, comes twice: both times its certificate is looked at.
    let lab = Laboratory::new();
    let mut border = lab.border(lab.theirs.certificate()).await;
    let (chain, key) = chain(&lab.theirs.issue(&Leaf::named(PEER)).unwrap());
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let config = rustls::ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[version]).unwrap();
        let config = Arc::new(config.with_root_certificates(roots(lab.ours.certificate())).with_client_auth_cert(chain.clone(), key.clone_key()).unwrap());
        for _ in 0..2 {
            let stream = TcpStream::connect(border.address(0)).await.unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(Arc::clone(&config)).connect(ServerName::try_from(BORDER).unwrap(), stream).await.unwrap();
            stream.write_all(&request(1)).await.unwrap();
            let flow = loop {
                if let NetEvent::Received { flow, .. } = border.event().await {
                    break flow;
                }
            };
            // An answer, so that tickets, if there were any, have arrived.
            border.send(1, Route::Flow { id: flow.id, otherwise: None }, &response(1));
            stream.read_exact(&mut vec![0; response(1).len()]).await.unwrap();
            assert_eq!(stream.get_ref().1.handshake_kind(), Some(rustls::HandshakeKind::Full));
        }
    }
}

#[test]
fn every_problem_of_every_file_is_named_at_once() {
    let lab = Laboratory::new();
    let now = OffsetDateTime::now_utc();
    let good = lab.own();
    let other = put(lab.path(), "other", &lab.ours.issue(&Leaf::named(BORDER)).unwrap());
    let old = Leaf { not_before: now - MONTH, not_after: now - Duration::from_secs(3 * 86_400 + 60), ..Leaf::named(BORDER) };
    let expired = put(lab.path(), "expired", &lab.ours.issue(&old).unwrap());
    let future = put(lab.path(), "future", &lab.ours.issue(&Leaf { not_before: now + Duration::from_secs(7_300), ..Leaf::named(BORDER) }).unwrap());
    let open = put(lab.path(), "open", &lab.ours.issue(&Leaf::named(BORDER)).unwrap());
    std::fs::set_permissions(&open.key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let ca = lab.write("ca.pem", lab.theirs.certificate());
    let pair = |certificate: &Path, key: &Path| KeyPairFiles { certificate: certificate.to_owned(), key: key.to_owned() };
    let listeners = [
        pair(&good.certificate, &other.key),
        expired.clone(),
        future.clone(),
        open.clone(),
        pair(&lab.path().join("missing.pem"), &lab.path().join("missing.key")),
        pair(&lab.write("rubbish.pem", "no certificate here"), &good.key),
        pair(&good.key, &lab.write_key("swapped.key", &std::fs::read_to_string(&good.certificate).unwrap())),
        pair(&ca, &good.key),
    ];
    let certificate = |(n, own): (usize, &KeyPairFiles)| tls::ListenerCertificate { listener: ListenerId(n as u16), name: "tls".into(), own: own.clone() };
    let foreign = lab.theirs.issue(&Leaf::named(PEER)).unwrap();
    let expired_ca = authority_between("expired", now - 2 * MONTH, now - MONTH).unwrap();
    let peers = [
        ("no file", lab.path().join("nowhere.pem")),
        ("a leaf of somebody", lab.write("leaf.pem", &foreign.certificate)),
        ("expired CA", lab.write("expired-ca.pem", expired_ca.certificate())),
    ];
    let settings = tls::Settings {
        listeners: listeners.iter().enumerate().map(certificate).collect(),
        peers: peers.iter().map(|(name, ca)| tls::PeerCertificates::new(name, vec![ca.clone()])).collect(),
        ..tls::Settings::default()
    };
    let problems: Vec<String> = Credentials::load(&settings).unwrap_err().iter().map(ToString::to_string).collect();
    let expected = [
        ("other.key", "does not belong to the certificate in"),
        ("expired.pem", "expired 3 days ago"),
        ("future.pem", "not valid for another 2 hours"),
        ("open.key", "chmod 600"),
        ("missing.pem", "no such file"),
        ("missing.key", "no such file"),
        ("rubbish.pem", "holds no certificate"),
        ("sbc.key", "holds no certificate"),
        ("swapped.key", "holds no usable private key"),
        ("ca.pem", "the first certificate is a CA's"),
        ("nowhere.pem", "no such file"),
        ("leaf.pem", "neither a CA's nor self-signed"),
        ("expired-ca.pem", "every certificate in it has expired"),
    ];
    for (file, what) in expected {
        assert!(problems.iter().any(|problem| problem.contains(&format!("/{file}: ")) && problem.contains(what)), "{file} {what}\n{problems:#?}");
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    assert!(problems.iter().all(|problem| !problem.contains("-----") && problem.contains("; ")));
    assert!(Credentials::load(&tls_settings(good, &[("um", ca)])).is_ok());
}

impl Laboratory {
    fn write_key(&self, name: &str, pem: &str) -> PathBuf {
        let path = self.path().join(name);
        portcullis::app::certs::write_whole(&path, pem.as_bytes(), 0o600).unwrap();
        path
    }
}
