//! Certificates that change while the border runs: what is refused before it is put in force, and what then goes on as it was.

mod net_border;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use net_border::*;
use portcullis::adapters::net::{Limits, NetEvent};
use portcullis::adapters::tls::{Credentials, KeyPairFiles};
use portcullis::app::border::Border as Whole;
use portcullis::app::certs::{Authority, Issued, Leaf, authority, authority_between};
use portcullis::config;
use portcullis::policy::verdict::Reason;
use portcullis::sip::Transport::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const MONTH: Duration = Duration::from_secs(30 * 24 * 3600);
const BORDER: &str = "sbc.example.org";

fn blocks(pem: &str) -> Vec<&str> {
    pem.split_inclusive("-----END CERTIFICATE-----\n").collect()
}

fn problems(own: &KeyPairFiles, ca: &Path) -> Vec<String> {
    match Credentials::load(&tls_settings(own.clone(), &[("um", ca.to_owned())])) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_chain_with_a_gap_a_stray_or_an_old_intermediate_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = authority("root", MONTH).unwrap();
    let one = root.intermediate("intermediate one", MONTH).unwrap();
    let two = one.intermediate("intermediate two", MONTH).unwrap();
    let leaf = two.issue(&Leaf::named(BORDER)).unwrap();
    let now = OffsetDateTime::now_utc();
    let old = authority_between("old intermediate", now - 2 * MONTH, now - MONTH).unwrap();
    let under_old = old.issue(&Leaf::named(BORDER)).unwrap();
    let twin = authority("intermediate two", MONTH).unwrap(); // same name, other key
    let stray = authority("stray", MONTH).unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, root.certificate()).unwrap();
    let parts = blocks(&leaf.certificate);
    assert_eq!(parts.len(), 3);
    let file = |name: &str, pem: String, key: &Issued| put(folder.path(), name, &Issued { certificate: pem, key: key.key.clone() });
    let join = |parts: &[&str]| parts.concat();
    let cases = [
        ("whole", join(&parts), None),
        ("with its root", join(&[parts[0], parts[1], parts[2], root.certificate()]), None),
        ("out of order but whole", join(&[parts[0], parts[2], parts[1]]), Some("issued none of those before it")),
        ("gap", join(&[parts[0], parts[2]]), Some("issued none of those before it")),
        ("stray", join(&[parts[0], parts[1], parts[2], stray.certificate()]), Some("issued none of those before it")),
        ("other key", join(&[parts[0], twin.certificate()]), Some("does not verify through the intermediates")),
        ("eleven", parts[0].repeat(11), Some("it holds 11 certificates")),
    ];
    for (name, pem, expected) in cases {
        let found = problems(&file(name, pem, &leaf), &ca);
        match expected {
            None => assert_eq!(found, [""; 0], "{name}"),
            Some(what) => assert!(found.len() == 1 && found[0].contains(what) && found[0].contains("; "), "{name}: {found:?}"),
        }
    }
    let expired = file("expired", under_old.certificate.clone() + old.certificate(), &under_old);
    assert!(problems(&expired, &ca).iter().any(|problem| problem.contains("(CN=old intermediate) expired 30 days ago")), "{:?}", problems(&expired, &ca));
}

#[test]
fn a_chain_that_does_not_reach_the_ca_we_have_of_that_name_is_remarked() {
    let folder = tempfile::tempdir().unwrap();
    let (root, twin) = (authority("root", MONTH).unwrap(), authority("root", 2 * MONTH).unwrap());
    let leaf = root.issue(&Leaf::named(BORDER)).unwrap();
    let own = put(folder.path(), "sbc", &leaf);
    let ca = folder.path().join("ca.pem");
    for (pem, remarks) in [(root.certificate(), 0), (twin.certificate(), 1), (authority("another", MONTH).unwrap().certificate(), 0)] {
        std::fs::write(&ca, pem).unwrap();
        let credentials = Credentials::load(&tls_settings(own.clone(), &[("um", ca.clone())])).unwrap();
        assert_eq!(credentials.remarks().len(), remarks, "{:?}", credentials.remarks());
    }
    // Old and new side by side: the right one is found.
    std::fs::write(&ca, format!("{}{}", twin.certificate(), root.certificate())).unwrap();
    let credentials = Credentials::load(&tls_settings(own, &[("um", ca)])).unwrap();
    assert!(credentials.remarks().is_empty());
    let lifetimes = credentials.lifetimes();
    let kinds: Vec<_> = lifetimes.iter().map(|lifetime| lifetime.name.as_str()).collect();
    assert_eq!(kinds, ["CN=root", "CN=root", "CN=sbc.example.org"]);
}

type Client = tokio_rustls::client::TlsStream<tokio::net::TcpStream>;

/// A connection of a peer that shows this certificate, open and in use.
async fn opened(border: &mut Border, shows: &Issued) -> Client {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let chain = CertificateDer::pem_slice_iter(shows.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_slice(shows.key.as_bytes()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(OURS.get().unwrap().certificate().as_bytes()).unwrap()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap());
    let stream = tokio::net::TcpStream::connect(border.address(0)).await.unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(config).connect(ServerName::try_from(BORDER).unwrap(), stream).await.unwrap();
    assert!(in_use(&mut stream).await);
    stream
}

/// Whether a ping is answered.
async fn in_use(stream: &mut Client) -> bool {
    stream.write_all(b"\r\n\r\n").await.is_ok() && timeout(PATIENCE, stream.read_exact(&mut [0; 2])).await.expect("in time").is_ok()
}

async fn lost(border: &mut Border) -> Option<Reason> {
    loop {
        if let NetEvent::Untrusted { decision, .. } = border.event().await {
            return decision.refused;
        }
    }
}

static OURS: OnceLock<Authority> = OnceLock::new();

/// Old and new CA trusted side by side for a while; a certificate that ends while its connection is open.
#[tokio::test]
async fn an_open_connection_ends_with_the_trust_it_was_opened_by_and_no_other_does() {
    let folder = tempfile::tempdir().unwrap();
    let ours = OURS.get_or_init(|| authority("ours", MONTH).unwrap());
    let (old, new) = (authority("old", MONTH).unwrap(), authority("new", MONTH).unwrap());
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, format!("{}{}", old.certificate(), new.certificate())).unwrap();
    let settings = tls_settings(put(folder.path(), "sbc", &ours.issue(&Leaf::named(BORDER)).unwrap()), &[("um", ca.clone())]);
    let limits = Limits { leave_quiet: Duration::from_millis(100), ..Limits::default() };
    let mut border = Border::with(&[(Tls, V4)], &[peer("um", Tls, V4, &["um.example.org"])], limits, settings.clone()).await;
    let takes = |border: &Border| {
        border.credentials.swap(Credentials::load(&settings).unwrap());
        border.network.recheck();
    };
    let leaf = Leaf::named("um.example.org");
    let mut by_old = opened(&mut border, &old.issue(&leaf).unwrap()).await;
    let mut by_new = opened(&mut border, &new.issue(&leaf).unwrap()).await;
    let short = Leaf { not_after: OffsetDateTime::now_utc() + Duration::from_secs(3), ..leaf };
    let mut by_short = opened(&mut border, &new.issue(&short).unwrap()).await;

    // Our own certificate is renewed: nobody is asked to leave.
    put(folder.path(), "sbc", &ours.issue(&Leaf::named(BORDER)).unwrap());
    takes(&border);
    border.quiet().await;

    std::fs::write(&ca, new.certificate()).unwrap();
    takes(&border);
    assert_eq!(lost(&mut border).await, Some(Reason::TlsUnknownIssuer));
    assert!(!in_use(&mut by_old).await);
    assert!(in_use(&mut by_new).await && in_use(&mut by_short).await);

    // Time alone ends the short one, when it is next asked.
    let reason = loop {
        border.network.recheck();
        if let Ok(reason) = timeout(Duration::from_millis(200), lost(&mut border)).await {
            break reason;
        }
    };
    assert_eq!(reason, Some(Reason::TlsExpired));
    assert!(!in_use(&mut by_short).await && in_use(&mut by_new).await);
    assert_eq!(border.network.counts().connections_untrusted, 2);
}

/// A policy set with one TLS listener and one TLS peer, and its certificates; the border of it.
struct Lab {
    folder: tempfile::TempDir,
    ours: Authority,
}

impl Lab {
    fn new() -> Lab {
        let lab = Lab { folder: tempfile::tempdir().unwrap(), ours: authority("ours", MONTH).unwrap() };
        let border = "version = 1\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:5061\"\nadvertised = \"sbc.example.org\"\n\
             certificate = \"sbc.pem\"\nkey = \"sbc.key\"\n[media]\ninside = \"127.0.0.1\"\noutside = \"127.0.0.1\"\n";
        std::fs::write(lab.path("border.toml"), border).unwrap();
        let peers = "version = 1\n[[peer]]\nname = \"um\"\nkind = \"trunk\"\nhosts = \"127.0.0.1\"\ntls_names = \"um.example.org\"\ntransport = \"tls\"\nca = \"ca.pem\"\n";
        std::fs::write(lab.path("peers.toml"), peers).unwrap();
        std::fs::write(lab.path("ca.pem"), lab.ours.certificate()).unwrap();
        lab.renew(BORDER);
        lab
    }

    fn path(&self, file: &str) -> PathBuf {
        self.folder.path().join(file)
    }

    fn renew(&self, name: &str) -> Issued {
        let issued = self.ours.issue(&Leaf::named(name)).unwrap();
        put(self.folder.path(), "sbc", &issued);
        issued
    }

    async fn start(&self) -> Whole {
        let (mut settings, _) = config::load(self.folder.path()).unwrap_or_else(|problems| panic!("{problems}"));
        settings.net.listeners[0].address.set_port(0);
        Whole::start(settings).await.unwrap()
    }
}

#[tokio::test]
async fn a_rotation_is_whole_or_changes_nothing() {
    let lab = Lab::new();
    let mut border = lab.start().await;
    assert_eq!(border.certificates().generation(), 1);
    let first = border.certificates().current();
    assert_eq!(border.rotate().unwrap(), [""; 0]);
    assert_eq!(border.certificates().generation(), 2);

    // Our new certificate is good, a peer's CA file is not: neither is taken.
    let second = border.certificates().current();
    lab.renew(BORDER);
    std::fs::write(lab.path("ca.pem"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    let error = border.rotate().unwrap_err().to_string();
    assert!(error.contains("ca.pem") && error.contains("; "), "{error}");
    assert_eq!(border.certificates().generation(), 2);
    assert!(Arc::ptr_eq(&border.certificates().current(), &second) && !Arc::ptr_eq(&first, &second));

    // A key of the certificate before.
    std::fs::write(lab.path("ca.pem"), lab.ours.certificate()).unwrap();
    let before = lab.renew(BORDER);
    lab.renew(BORDER);
    std::fs::write(lab.path("sbc.key"), before.key.as_bytes()).unwrap();
    let error = border.rotate().unwrap_err().to_string();
    assert!(error.contains("does not belong to the certificate"), "{error}");

    // Whole again, but for another name: taken, and said.
    lab.renew("other.example.org");
    let told = border.rotate().unwrap();
    assert!(told.len() == 1 && told[0].contains("\"sbc.example.org\"") && told[0].contains("other.example.org"), "{told:?}");
    assert_eq!(border.certificates().generation(), 3);
    border.stop().await;
}
