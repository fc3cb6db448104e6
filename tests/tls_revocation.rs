//! Revocation (RFC 5280 §5, §6.3): what lists say of whole chains, what is done where they say nothing, and how they are kept fresh over HTTP while
//! others tamper with them.

mod net_border;
mod ports;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::adapters::tls::{self, CredentialStore, Credentials, CrlSource, HttpAddress, PeerCertificates, StaleCrl, keep_crls_fresh};
use portcullis::app::certs::{Authority, Eku, Issued, Leaf};
use portcullis::policy::flow::{Presented, Proof};
use portcullis::policy::settings::Peer;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Route;
use portcullis::signaling::fact::{CrlState, What};
use portcullis::sip::Transport::Tls;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const PEER: &str = "um.example.org";

/// A CA that can also sign lists.
struct Ca {
    authority: Authority,
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, and those above it but the root.
    chain: String,
}

impl Ca {
    fn new(name: &str) -> Ca {
        Ca::made(name, |params, pair| params.self_signed(pair).unwrap().pem())
    }

    fn below(&self, name: &str) -> Ca {
        let mut ca = Ca::made(name, |params, pair| params.signed_by(pair, &self.issuer).unwrap().pem());
        ca.chain = ca.authority.certificate().to_owned() + &self.chain;
        ca
    }

    fn made(name: &str, sign: impl FnOnce(CertificateParams, &KeyPair) -> String) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        (params.not_before, params.not_after) = (OffsetDateTime::now_utc() - HOUR, OffsetDateTime::now_utc() + 30 * DAY);
        let pair = KeyPair::generate().unwrap();
        let pem = sign(params, &pair);
        let authority = Authority::from_pem(pem.clone(), Zeroizing::new(pair.serialize_pem())).unwrap();
        Ca { authority, issuer: Issuer::from_ca_cert_pem(&pem, pair).unwrap(), chain: String::new() }
    }

    fn pem(&self) -> &str {
        self.authority.certificate()
    }

    fn leaf(&self) -> Issued {
        self.issue(Leaf::named(PEER))
    }

    fn issue(&self, leaf: Leaf) -> Issued {
        let issued = self.authority.issue(&leaf).unwrap();
        Issued { certificate: issued.certificate + &self.chain, key: issued.key }
    }

    /// A list from `age` ago for `validity`, PEM.
    fn list(&self, revoked: &[&str], age: Duration, validity: Duration) -> String {
        let made = OffsetDateTime::now_utc() - age;
        let revoked =
            revoked.iter().map(|pem| RevokedCertParams { serial_number: serial(pem).into(), revocation_time: made, reason_code: None, invalidity_date: None });
        let params = CertificateRevocationListParams {
            this_update: made,
            next_update: made + validity,
            crl_number: 1.into(),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn current(&self, revoked: &[&str]) -> String {
        self.list(revoked, HOUR, DAY)
    }
}

fn serial(pem: &str) -> Vec<u8> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    X509Certificate::from_der(&der).unwrap().1.raw_serial().to_vec()
}

fn der(pem: &str) -> Vec<u8> {
    rustls::pki_types::CertificateRevocationListDer::from_pem_slice(pem.as_bytes()).unwrap().as_ref().to_vec()
}

/// A policy set's certificates: one peer "um", and our own that nobody looks at here.
struct Set {
    folder: tempfile::TempDir,
    settings: tls::Settings,
}

impl Set {
    fn new(ca: &str) -> Set {
        let folder = tempfile::tempdir().unwrap();
        let own = put(folder.path(), "sbc", &Ca::new("ours").issue(Leaf::named("sbc.example.org")));
        std::fs::write(folder.path().join("peer-ca.pem"), ca).unwrap();
        let settings = tls_settings(own, &[("um", folder.path().join("peer-ca.pem"))]);
        Set { folder, settings }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    fn peer(&mut self) -> &mut PeerCertificates {
        &mut self.settings.peers[0]
    }

    fn crl_files(&mut self, files: &[PathBuf]) {
        self.peer().crl = files.iter().cloned().map(CrlSource::File).collect();
    }

    fn store(&self) -> Arc<CredentialStore> {
        Arc::new(CredentialStore::new(Credentials::load(&self.settings).unwrap()))
    }
}

fn presented(issued: &Issued, proves: Proof) -> Presented {
    let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).map(|der| Bytes::copy_from_slice(&der.unwrap())).collect();
    Presented { chain, proves }
}

fn as_client() -> Proof {
    Proof::Client(vec![Arc::new(peer("um", Tls, V4, &[PEER]))])
}

fn as_server() -> Proof {
    Proof::Server { peer: "um".into(), names: vec![PEER.into()] }
}

/// What both directions say, which is the same.
fn asked(store: &CredentialStore, issued: &Issued) -> Result<(), Reason> {
    let [client, server] = [as_client(), as_server()].map(|proves| store.recheck(&presented(issued, proves)).map_err(|refusal| refusal.reason));
    assert_eq!(client, server);
    client
}

#[test]
fn every_certificate_of_a_chain_is_held_against_its_own_issuers_list() {
    let root = Ca::new("root");
    let (middle, other) = (root.below("middle"), root.below("other"));
    let (good, bad, direct) = (middle.leaf(), middle.leaf(), root.leaf());
    let mut set = Set::new(root.pem());
    let files = [set.write("root.crl", root.current(&[])), set.write("middle.crl", der(&middle.current(&[&bad.certificate])))];
    set.crl_files(&files);
    let store = set.store();
    assert_eq!(asked(&store, &good), Ok(()));
    assert_eq!(asked(&store, &direct), Ok(()));
    assert_eq!(asked(&store, &bad), Err(Reason::TlsRevoked));
    // Of the CA "other" there is no list.
    assert_eq!(asked(&store, &other.leaf()), Err(Reason::TlsRevocationUnknown));
    // Its intermediate revoked, everything below goes with it. Both lists in one PEM file.
    let both = root.current(&[middle.pem()]) + &middle.current(&[]);
    let files = [set.write("both.crl", both)];
    set.crl_files(&files);
    let store = set.store();
    assert_eq!(asked(&store, &good), Err(Reason::TlsRevoked));
    assert_eq!(asked(&store, &direct), Ok(()));
    let refusal = store.recheck(&presented(&good, as_client())).unwrap_err();
    assert!(refusal.detail.starts_with("an intermediate CA certificate of its chain was revoked by CN=root on 20"), "{refusal}");
    // A peer without crl is not asked about revocation at all.
    set.crl_files(&[]);
    assert_eq!(asked(&set.store(), &good), Ok(()));
}

#[test]
fn what_is_done_without_a_current_list_is_the_peers_setting() {
    let root = Ca::new("root");
    let (good, bad) = (root.leaf(), root.leaf());
    let mut set = Set::new(root.pem());
    let unreachable = CrlSource::Http(HttpAddress::parse("http://127.0.0.1:1/ca.crl").unwrap());
    let ended = set.write("ended.crl", root.list(&[&bad.certificate], 3 * DAY, DAY));
    let current = set.write("current.crl", root.current(&[&bad.certificate]));
    for (what, sources, refuse, accept) in [
        ("ended", vec![CrlSource::File(ended.clone())], Err(Reason::TlsRevocationUnknown), Ok(())),
        ("never fetched", vec![unreachable.clone()], Err(Reason::TlsRevocationUnknown), Ok(())),
        ("ended, but another is current", vec![CrlSource::File(ended.clone()), CrlSource::File(current.clone())], Ok(()), Ok(())),
        ("current, and another never fetched", vec![unreachable, CrlSource::File(current)], Ok(()), Ok(())),
    ] {
        for (stale, expected) in [(StaleCrl::Refuse, refuse), (StaleCrl::Accept, accept)] {
            set.peer().crl = sources.clone();
            set.peer().stale_crl = stale;
            assert_eq!(asked(&set.store(), &good), expected, "{what}, {stale:?}");
        }
    }
    // What an ended list revokes stays revoked where ended lists count.
    set.crl_files(&[ended]);
    set.peer().stale_crl = StaleCrl::Accept;
    assert_eq!(asked(&set.store(), &bad), Err(Reason::TlsRevoked));
    set.peer().stale_crl = StaleCrl::Refuse;
    let refusal = set.store().recheck(&presented(&good, as_client())).unwrap_err();
    assert!(refusal.detail.contains("the CRL it is held against ended 2 days ago") && refusal.detail.contains("stale_crl"), "{refusal}");
    assert!(refusal.compared.iter().any(|(name, value)| *name == "crl" && value.contains("ended.crl")), "{refusal:?}");
}

#[test]
fn a_pinned_certificate_is_revoked_by_nobody_but_the_operator() {
    let pinned = portcullis::app::certs::self_signed(&Leaf::named(PEER)).unwrap();
    let mut set = Set::new(&pinned.certificate);
    let files = [set.write("other.crl", Ca::new("other").current(&[]))];
    set.crl_files(&files);
    assert_eq!(asked(&set.store(), &pinned), Ok(()));
}

#[test]
fn a_bad_list_in_a_file_refuses_the_load_and_says_what_to_do() {
    let (root, twin) = (Ca::new("root"), Ca::new("root"));
    let mut set = Set::new(root.pem());
    let list = root.current(&[]);
    for (what, contents, says) in [
        ("garbage", b"garbage".to_vec(), "neither DER nor"),
        ("empty", Vec::new(), "it is empty"),
        ("half", list.as_bytes()[..list.len() / 2].to_vec(), "half written"),
        ("half DER", der(&list)[..100].to_vec(), "half written"),
        ("a certificate", root.pem().as_bytes().to_vec(), "holds no CRL"),
        ("signed by another of that name", twin.current(&[]).into_bytes(), "is not that of CN=root"),
        ("huge", vec![b'x'; 16 * 1024 * 1024 + 1], "too many"),
    ] {
        let files = [set.write("ca.crl", contents)];
        set.crl_files(&files);
        let problems: Vec<String> = Credentials::load(&set.settings).unwrap_err().iter().map(ToString::to_string).collect();
        assert!(problems.len() == 1 && problems[0].contains("/ca.crl: ") && problems[0].contains(says) && problems[0].contains("; "), "{what}: {problems:?}");
    }
    set.crl_files(&[set.path().join("none.crl")]);
    assert!(Credentials::load(&set.settings).unwrap_err()[0].what.contains("no such file"));
}

#[test]
fn a_large_list_is_read_and_asked() {
    let root = Ca::new("root");
    let (good, bad) = (root.leaf(), root.leaf());
    let mut set = Set::new(root.pem());
    let made = OffsetDateTime::now_utc();
    let others = (0u64..20_000).map(|n| (0x7000_0000_0000_0000 + n).to_be_bytes().to_vec()).chain([serial(&bad.certificate)]);
    let revoked_certs =
        others.map(|serial| RevokedCertParams { serial_number: serial.into(), revocation_time: made, reason_code: None, invalidity_date: None });
    let params = CertificateRevocationListParams {
        this_update: made,
        next_update: made + DAY,
        crl_number: 7.into(),
        issuing_distribution_point: None,
        revoked_certs: revoked_certs.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let files = [set.write("ca.crl", params.signed_by(&root.issuer).unwrap().der())];
    set.crl_files(&files);
    let store = set.store();
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Err(Reason::TlsRevoked)));
    assert_eq!(store.status().crls[0].lists[0].revoked, 20_001);
}

/// An HTTP server that answers every request with what it is told at the time.
struct Web {
    address: SocketAddr,
    answer: Arc<Mutex<Vec<u8>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    async fn open() -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let web = Web { address: listener.local_addr().unwrap(), answer: Arc::default(), asked: Arc::default() };
        let (answer, asked) = (Arc::clone(&web.answer), Arc::clone(&web.asked));
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (answer, asked) = (Arc::clone(&answer), Arc::clone(&asked));
                tokio::spawn(async move {
                    let mut request = Vec::new();
                    while !request.ends_with(b"\r\n\r\n") {
                        let Ok(octet) = stream.read_u8().await else { return };
                        request.push(octet);
                    }
                    asked.lock().unwrap().push(String::from_utf8_lossy(&request).into_owned());
                    let bytes = answer.lock().unwrap().clone();
                    let _ = stream.write_all(&bytes).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        web
    }

    fn source(&self) -> CrlSource {
        CrlSource::Http(HttpAddress::parse(&format!("http://{}/ca.crl", self.address)).unwrap())
    }

    fn says(&self, head: &str, body: impl AsRef<[u8]>) {
        let mut bytes = format!("HTTP/1.1 {head}\r\n\r\n").into_bytes();
        bytes.extend_from_slice(body.as_ref());
        *self.answer.lock().unwrap() = bytes;
    }

    fn gives(&self, list: impl AsRef<[u8]>) {
        self.says(&format!("200 OK\r\nContent-Length: {}", list.as_ref().len()), list);
    }
}

/// Asks for the list now. `Ok(changed)`, or the error told.
async fn refreshed(store: &CredentialStore, source: &CrlSource) -> Result<bool, String> {
    match store.refresh_crl(source).await.0 {
        None => Ok(false),
        Some(What::Crl { state: CrlState::Fresh { .. }, .. }) => Ok(true),
        Some(What::Crl { state: CrlState::Kept { error, .. }, .. }) => Err(error),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_fetched_list_counts_at_once_and_nothing_worse_takes_its_place() {
    let (root, twin, stranger) = (Ca::new("root"), Ca::new("root"), Ca::new("stranger"));
    let (good, bad) = (root.leaf(), root.leaf());
    let web = Web::open().await;
    let mut set = Set::new(root.pem());
    set.peer().crl = vec![web.source()];
    let store = set.store();
    let source = web.source();
    assert_eq!(asked(&store, &good), Err(Reason::TlsRevocationUnknown));
    web.gives(der(&root.list(&[], 2 * HOUR, DAY)));
    assert_eq!(refreshed(&store, &source).await, Ok(true));
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Ok(())));
    assert_eq!(refreshed(&store, &source).await, Ok(false), "the same again is no change");
    let generation = store.generation();
    web.gives(root.current(&[&bad.certificate]));
    assert_eq!(refreshed(&store, &source).await, Ok(true));
    assert!(store.generation() > generation);
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Err(Reason::TlsRevoked)));
    let generation = store.generation();
    let mut altered = der(&root.list(&[], Duration::ZERO, DAY));
    *altered.last_mut().unwrap() ^= 1;
    let newer = root.list(&[], Duration::ZERO, DAY);
    for (head, body, says) in [
        ("200 OK".to_owned(), b"<html>login</html>".to_vec(), "neither DER nor"),
        ("200 OK".to_owned(), Vec::new(), "it is empty"),
        (format!("200 OK\r\nContent-Length: {}", newer.len()), newer.as_bytes()[..newer.len() / 2].to_vec(), "did not come whole"),
        ("200 OK".to_owned(), der(&newer)[..200].to_vec(), "half written"),
        ("200 OK".to_owned(), altered, "is not that of CN=root"),
        ("200 OK".to_owned(), twin.list(&[], Duration::ZERO, DAY).into_bytes(), "is not that of CN=root"),
        ("200 OK".to_owned(), stranger.current(&[]).into_bytes(), "a CA that is in no ca file"),
        ("200 OK".to_owned(), root.list(&[], 2 * HOUR, DAY).into_bytes(), "older than the one held"),
        ("200 OK".to_owned(), root.list(&[], Duration::ZERO, DAY).replace("X509 CRL", "CERTIFICATE").into_bytes(), "no CRL"),
        ("404 Not Found".to_owned(), Vec::new(), "404"),
        ("200 OK\r\nContent-Length: 99999999".to_owned(), b"x".to_vec(), "larger than"),
        ("200 OK".to_owned(), vec![b'x'; 17 * 1024 * 1024], "larger than"),
        ("302 Found\r\nLocation: https://crl.example/ca.crl".to_owned(), Vec::new(), "something else than plain HTTP"),
        (format!("302 Found\r\nLocation: http://{}/again", web.address), Vec::new(), "more than 3 times"),
        ("302 Found".to_owned(), Vec::new(), "without saying where"),
        ("no HTTP".to_owned(), Vec::new(), "no answer"),
    ] {
        web.says(&head, body);
        let told = refreshed(&store, &source).await.expect_err(says);
        assert!(told.contains(says), "{says}: {told}");
    }
    assert_eq!(store.generation(), generation);
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Err(Reason::TlsRevoked)));
    let status = store.status();
    assert_eq!((status.crls[0].state, status.crls[0].lists.len()), ("current", 1));
    assert!(status.crls[0].last_error.is_some() && status.crls[0].peers[0].peer == "um", "{status:?}");
    // And it mends itself.
    web.gives(&newer);
    assert_eq!(refreshed(&store, &source).await, Ok(true));
    assert_eq!(asked(&store, &bad), Ok(()));
    assert_eq!(store.status().crls[0].last_error, None);
    let requests = web.asked.lock().unwrap();
    assert!(
        requests[0].starts_with("GET /ca.crl HTTP/1.1\r\n") && requests[0].to_lowercase().contains(&format!("host: {}\r\n", web.address)),
        "{}",
        requests[0]
    );
}

/// A list of an intermediate CA cannot be proven before its certificate has come by; one that proves forged then is given up, the next is taken.
#[tokio::test]
async fn a_forged_list_of_an_intermediate_is_found_out_when_its_chain_comes() {
    let root = Ca::new("root");
    let (middle, forger) = (root.below("middle"), Ca::new("middle"));
    let (good, bad) = (middle.leaf(), middle.leaf());
    let web = Web::open().await;
    let mut set = Set::new(root.pem());
    let file = set.write("root.crl", root.current(&[]));
    set.peer().crl = vec![web.source(), CrlSource::File(file)];
    let store = set.store();
    web.gives(forger.current(&[&good.certificate]));
    assert_eq!(refreshed(&store, &web.source()).await, Ok(true), "nobody can tell yet");
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Err(Reason::TlsRevocationUnknown), Err(Reason::TlsRevocationUnknown)));
    web.gives(middle.list(&[&bad.certificate], 2 * HOUR, DAY));
    assert_eq!(refreshed(&store, &web.source()).await, Ok(true), "older than the forged one, but true");
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Err(Reason::TlsRevoked)));
    web.gives(forger.list(&[], Duration::ZERO, DAY));
    assert!(refreshed(&store, &web.source()).await.unwrap_err().contains("is not that of CN=middle"));
    // New credentials keep what was fetched and who was seen.
    store.swap(Credentials::load(&set.settings).unwrap());
    assert_eq!((asked(&store, &good), asked(&store, &bad)), (Ok(()), Err(Reason::TlsRevoked)));
    assert!(refreshed(&store, &web.source()).await.unwrap_err().contains("is not that of CN=middle"));
}

/// A peer whose calls go on though it was taken out of the set: its lists go on to be asked for.
#[tokio::test]
async fn a_peer_that_has_left_can_still_be_revoked() {
    let root = Ca::new("root");
    let bad = root.leaf();
    let web = Web::open().await;
    let mut set = Set::new(root.pem());
    set.peer().crl = vec![web.source()];
    let store = set.store();
    web.gives(root.list(&[], 2 * HOUR, DAY));
    assert_eq!(refreshed(&store, &web.source()).await, Ok(true));
    set.settings.peers.clear();
    for _ in 0..2 {
        store.swap(Credentials::load(&set.settings).unwrap());
        assert_eq!(asked(&store, &bad), Ok(()));
    }
    web.gives(root.current(&[&bad.certificate]));
    assert_eq!(refreshed(&store, &web.source()).await, Ok(true));
    assert_eq!(asked(&store, &bad), Err(Reason::TlsRevoked));
}

#[tokio::test]
async fn fetched_lists_outlive_a_restart_where_they_are_kept() {
    let root = Ca::new("root");
    let bad = root.leaf();
    let web = Web::open().await;
    let mut set = Set::new(root.pem());
    set.peer().crl = vec![web.source()];
    set.settings.crl_cache = Some(set.path().join("kept"));
    std::fs::create_dir(set.path().join("kept")).unwrap();
    web.gives(root.current(&[&bad.certificate]));
    assert_eq!(refreshed(&set.store(), &web.source()).await, Ok(true));
    let restarted = set.store();
    assert_eq!(asked(&restarted, &bad), Err(Reason::TlsRevoked));
    // Half written, as no writer of ours leaves it, it counts for nothing; nor does a forged one.
    let kept = std::fs::read_dir(set.path().join("kept")).unwrap().next().unwrap().unwrap().path();
    for contents in [std::fs::read(&kept).unwrap()[..100].to_vec(), Ca::new("root").current(&[]).into_bytes()] {
        std::fs::write(&kept, contents).unwrap();
        assert_eq!(asked(&set.store(), &bad), Err(Reason::TlsRevocationUnknown));
    }
    // Where it cannot be kept, that is told, and the list counts all the same.
    set.settings.crl_cache = Some(set.path().join("nowhere"));
    let store = set.store();
    match store.refresh_crl(&web.source()).await.0 {
        Some(What::Crl { state: CrlState::NotCached { error }, .. }) => assert!(error.contains("nowhere"), "{error}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(asked(&store, &bad), Err(Reason::TlsRevoked));
}

#[tokio::test]
async fn lists_are_kept_fresh_and_changes_are_announced() {
    let root = Ca::new("root");
    let bad = root.leaf();
    let (web, mute) = (Web::open().await, TcpListener::bind("127.0.0.1:0").await.unwrap());
    let mut set = Set::new(root.pem());
    // A source that never answers holds up no other.
    let silent = CrlSource::Http(HttpAddress::parse(&format!("http://{}/", mute.local_addr().unwrap())).unwrap());
    let file = set.write("ca.crl", root.list(&[], 2 * HOUR, DAY));
    set.peer().crl = vec![silent, web.source(), CrlSource::File(file.clone())];
    set.settings.crl_refresh = Duration::from_millis(50);
    web.gives(root.list(&[], 2 * HOUR, DAY));
    let store = set.store();
    let told: Arc<Mutex<Vec<What>>> = Arc::default();
    let report = Arc::clone(&told);
    let task = tokio::spawn(keep_crls_fresh(Arc::downgrade(&store), Arc::new(move |what| report.lock().unwrap().push(what))));
    let mut generations = store.generations();
    assert_eq!(asked(&store, &bad), Ok(()));
    tokio::time::timeout(PATIENCE, generations.changed()).await.expect("the first fetch").unwrap();
    web.gives(root.current(&[&bad.certificate]));
    tokio::time::timeout(PATIENCE, generations.wait_for(|_| asked(&store, &bad) == Err(Reason::TlsRevoked))).await.expect("announced").unwrap();
    // A changed file too, once it is whole.
    web.says("500 Oops", "");
    let next = root.list(&[], Duration::from_secs(60), DAY);
    std::fs::write(&file, &next.as_bytes()[..100]).unwrap();
    let failed = || {
        told.lock().unwrap().iter().any(|what| matches!(what, What::Crl { source, state: CrlState::Kept { usable: true, .. } } if source.ends_with("/ca.crl") && !source.starts_with("http")))
    };
    tokio::time::timeout(PATIENCE, async {
        while !failed() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("told of the half-written file");
    assert_eq!(asked(&store, &bad), Err(Reason::TlsRevoked));
    drop(store);
    drop(generations);
    tokio::time::timeout(PATIENCE, task).await.expect("it ends with the store").unwrap();
}

#[tokio::test]
async fn a_server_certificate_is_a_clients_only_where_the_peer_says_so() {
    let root = Ca::new("root");
    let of = |ekus: &[Eku]| root.issue(Leaf { ekus: ekus.to_vec(), ..Leaf::named(PEER) });
    let (server, client, none) = (of(&[Eku::ServerAuth]), of(&[Eku::ClientAuth]), of(&[]));
    let mut set = Set::new(root.pem());
    for (allowed, as_a_client) in [(false, Err(Reason::TlsUsage)), (true, Ok(()))] {
        set.peer().server_certificate_as_client = allowed;
        let store = set.store();
        let asked = |issued: &Issued, proves: Proof| store.recheck(&presented(issued, proves)).map_err(|refusal| refusal.reason);
        assert_eq!(asked(&server, as_client()), as_a_client);
        assert_eq!((asked(&client, as_client()), asked(&server, as_server())), (Ok(()), Ok(())));
        // Nothing else is loosened by it.
        assert_eq!((asked(&none, as_client()), asked(&client, as_server())), (Err(Reason::TlsUsage), Err(Reason::TlsUsage)));
    }
}

/// By real handshakes, both ways.
#[tokio::test]
async fn a_revoked_peer_neither_gets_in_nor_is_called() {
    let root = Ca::new("root");
    let bad = root.leaf();
    let mut set = Set::new(root.pem());
    let files = [set.write("ca.crl", root.current(&[&bad.certificate]))];
    set.crl_files(&files);
    let um: Peer = peer("um", Tls, V4, &[PEER]);
    let mut border = Border::with(&[(Tls, V4)], &[um], Limits::default(), set.settings.clone()).await;
    let files = put(set.path(), "um", &bad);
    let address = border.address(0).to_string();
    let run = |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("openssl");
        command.args(arguments).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.kill_on_drop(true).spawn().expect("openssl is installed (Debian package openssl)")
    };
    let (certificate, key) = (files.certificate.to_str().unwrap(), files.key.to_str().unwrap());
    let _client = run(&["s_client", "-connect", &address, "-cert", certificate, "-key", key, "-quiet"]);
    match border.event().await {
        NetEvent::Stranger { decision, .. } => assert_eq!(decision.refused, Some(Reason::TlsRevoked), "{decision:?}"),
        other => panic!("{other:?}"),
    }
    // A port that was free may be another test's by the time the server takes it: then it ends, and takes another.
    let listening = async {
        loop {
            let port = ports::free_port();
            let mut server = run(&["s_server", "-accept", &port.to_string(), "-cert", certificate, "-key", key, "-quiet"]);
            let remote = SocketAddr::new(V4, port);
            while server.try_wait().unwrap().is_none() {
                if TcpStream::connect(remote).await.is_ok() {
                    return (server, remote);
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let (_server, remote) = tokio::time::timeout(PATIENCE, listening).await.unwrap();
    border.send(1, Route::Connect(connect(Tls, remote, "um", &[PEER])), &request(1));
    assert_eq!(border.refusals(1).await, [(1, Reason::TlsRevoked)]);
    assert_eq!(border.told, [("um".to_owned(), Reason::TlsRevoked)]);
}

/// A whole border: the list in a file changes, nothing else is asked of it.
#[tokio::test]
async fn an_open_connection_ends_when_its_certificate_is_revoked_and_another_goes_on() {
    let (ours, theirs) = (Ca::new("ours"), Ca::new("theirs"));
    let (good, bad) = (theirs.leaf(), theirs.leaf());
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put(folder.path(), "sbc", &ours.issue(Leaf::named("sbc.example.org")));
    write("ca.pem", theirs.pem());
    write("ca.crl", &theirs.list(&[], 2 * HOUR, DAY));
    write(
        "border.toml",
        "version = 1\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\nadvertised = \"sbc.example.org\"\n\
         certificate = \"sbc.pem\"\nkey = \"sbc.key\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n",
    );
    write(
        "peers.toml",
        "version = 1\n[[peer]]\nname = \"um\"\nkind = \"trunk\"\nhosts = \"127.0.0.1\"\ntls_names = \"um.example.org\"\ntransport = \"tls\"\nca = \"ca.pem\"\ncrl = \"ca.crl\"\n",
    );
    let (mut settings, _) = portcullis::config::load(folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
    settings.net.listeners[0].address.set_port(0);
    settings.net.limits.leave_quiet = Duration::from_millis(100);
    settings.tls.crl_refresh = Duration::from_millis(100);
    let border = portcullis::app::border::Border::start(settings).await.unwrap();
    let to = border.bound()[0].1;
    let (mut by_good, mut by_bad) = (dialled(to, &ours, &good).await.unwrap(), dialled(to, &ours, &bad).await.unwrap());
    let pings = async |stream: &mut tokio_rustls::client::TlsStream<TcpStream>| {
        stream.write_all(b"\r\n\r\n").await.is_ok() && tokio::time::timeout(PATIENCE, stream.read_exact(&mut [0; 2])).await.expect("in time").is_ok()
    };
    assert!(pings(&mut by_good).await && pings(&mut by_bad).await);
    // Renamed into place, as it should be.
    write("ca.crl.new", &theirs.current(&[&bad.certificate]));
    std::fs::rename(folder.path().join("ca.crl.new"), folder.path().join("ca.crl")).unwrap();
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, by_bad.read_to_end(&mut rest)).await.expect("closed, long before the next look of a minute");
    assert!(pings(&mut by_good).await);
    let again = dialled(to, &ours, &bad).await;
    assert!(again.is_err() || !pings(&mut again.unwrap()).await);
    border.stop().await;
}

/// A client with this certificate. In TLS 1.3 its handshake succeeds even where its certificate is then refused.
async fn dialled(to: SocketAddr, server: &Ca, shows: &Issued) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(server.pem().as_bytes()).unwrap()).unwrap();
    let chain = CertificateDer::pem_slice_iter(shows.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
    let key = rustls::pki_types::PrivateKeyDer::from_pem_slice(shows.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
    let name = rustls::pki_types::ServerName::try_from("sbc.example.org").unwrap();
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, TcpStream::connect(to).await?).await
}

/// Over plain HTTP whoever is on the way chooses the answer: a genuine list of another CA that is known must not take the place of what is held.
#[tokio::test]
async fn an_answer_without_the_list_that_is_held_is_refused() {
    let (root, other) = (Ca::new("root"), Ca::new("other"));
    let bad = root.leaf();
    let web = Web::open().await;
    let mut set = Set::new(&(root.pem().to_owned() + other.pem()));
    set.peer().crl = vec![web.source()];
    let store = set.store();
    web.gives(root.current(&[&bad.certificate]) + &other.current(&[]));
    assert_eq!(refreshed(&store, &web.source()).await, Ok(true));
    for answer in [other.current(&[]), root.current(&[&bad.certificate])] {
        web.gives(answer);
        assert!(refreshed(&store, &web.source()).await.unwrap_err().contains("is not among it"));
        assert_eq!(asked(&store, &bad), Err(Reason::TlsRevoked));
    }
}

/// A CA that has renewed its key keeps its name and publishes a list under each key, as Microsoft's does.
#[test]
fn a_renewed_cas_lists_are_asked_each_under_its_own_key() {
    let (old, new) = (Ca::new("root"), Ca::new("root"));
    let (bad, good, newer, newly_bad) = (old.leaf(), old.leaf(), new.leaf(), new.leaf());
    let mut set = Set::new(&(old.pem().to_owned() + new.pem()));
    let files = [set.write("ca.crl", old.list(&[&bad.certificate], 2 * HOUR, DAY)), set.write("ca1.crl", new.current(&[&newly_bad.certificate]))];
    set.crl_files(&files);
    let store = set.store();
    assert_eq!((asked(&store, &good), asked(&store, &newer)), (Ok(()), Ok(())));
    assert_eq!((asked(&store, &bad), asked(&store, &newly_bad)), (Err(Reason::TlsRevoked), Err(Reason::TlsRevoked)));
}
