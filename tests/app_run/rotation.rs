//! Certificate files that change under a running border: taken by themselves once they have rested, refused without harm.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use portcullis::app::certs::{Authority, Issued, Leaf, authority};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::process::{Border, PATIENCE, Set, um};

const BORDER: &str = "sbc.example.org";
const PHONE: &str = "phone.example.org";

/// A border with a TLS listener more, whose certificate and whose peer's CA are watched, as Kubernetes mounts a secret.
struct Watched {
    border: Border,
    port: u16,
    ours: Authority,
    theirs: Authority,
    phone: Issued,
    versions: u32,
}

impl Watched {
    async fn start() -> Watched {
        let um = um().await;
        let port = crate::ports::free_port();
        let tables = format!(
            "[certificates]\nwatch = \"1s\"\n[[listener]]\nname = \"tls\"\ntransport = \"tls\"\naddress = \"127.0.0.1:{port}\"\nadvertised = \"{BORDER}\"\n\
             certificate = \"certs/tls.crt\"\nkey = \"certs/tls.key\"\n"
        );
        let set = Set::new(&um, "", &tables);
        let peers = fs::read_to_string(set.path().join("peers.toml")).unwrap();
        let phone = format!(
            "[[peer]]\nname = \"phone\"\nkind = \"pbx\"\nhosts = \"127.0.0.1\"\ntransport = \"tls\"\ntls_names = \"{PHONE}\"\nca = \"certs/ca.crt\"\nmode = \"sip-secured\"\n"
        );
        set.write("peers.toml", &(peers + &phone));
        let (ours, theirs) = (authority("ours", portcullis::app::certs::VALIDITY).unwrap(), authority("theirs", portcullis::app::certs::VALIDITY).unwrap());
        fs::create_dir(set.path().join("certs")).unwrap();
        for file in ["tls.crt", "tls.key", "ca.crt"] {
            symlink(format!("..data/{file}"), set.path().join("certs").join(file)).unwrap();
        }
        let phone = theirs.issue(&Leaf::named(PHONE)).unwrap();
        let mut versions = 0;
        let first = ours.issue(&Leaf::named(BORDER)).unwrap();
        swap(set.path(), &mut versions, &first.certificate, &first.key, theirs.certificate());
        Watched { border: set.run(), port, ours, theirs, phone, versions }
    }

    /// Puts other contents in place as a kubelet does: a new folder, and one rename of a link to it.
    fn swap(&mut self, certificate: &str, key: &str) {
        swap(self.border.set.path(), &mut self.versions, certificate, key, self.theirs.certificate());
    }

    /// The certificate the border shows, in a handshake in which the phone is let in.
    fn shown(&self) -> CertificateDer<'static> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.ours.certificate().as_bytes()).unwrap()).unwrap();
        let chain = CertificateDer::pem_slice_iter(self.phone.certificate.as_bytes()).collect::<Result<Vec<_>, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(self.phone.key.as_bytes()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots).with_client_auth_cert(chain, key).unwrap();
        let connection = rustls::ClientConnection::new(Arc::new(config), ServerName::try_from(BORDER).unwrap()).unwrap();
        let stream = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        stream.write_all(b"\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 2]).unwrap();
        stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn swap(set: &Path, versions: &mut u32, certificate: &str, key: &str, ca: &str) {
    *versions += 1;
    let (certs, version) = (set.join("certs"), format!("..{versions}"));
    let folder = certs.join(&version);
    fs::create_dir(&folder).unwrap();
    portcullis::app::certs::write_whole(&folder.join("tls.key"), key.as_bytes(), 0o600).unwrap();
    fs::write(folder.join("tls.crt"), certificate).unwrap();
    fs::write(folder.join("ca.crt"), ca).unwrap();
    symlink(&version, certs.join("..data_tmp")).unwrap();
    fs::rename(certs.join("..data_tmp"), certs.join("..data")).unwrap();
}

fn leaf(issued: &Issued) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(issued.certificate.as_bytes()).unwrap()
}

const GENERATION: &str = "portcullis_certificates_generation";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watched_files_are_taken_by_themselves_and_bad_ones_change_nothing() {
    let mut watched = Watched::start().await;
    let (first, generation) = (watched.shown(), watched.border.metric(GENERATION));
    assert_eq!(generation, Some(1.0));
    let next = watched.ours.issue(&Leaf::named(BORDER)).unwrap();
    assert_ne!(first, leaf(&next));

    // The new certificate with the key of another: told once, however often it is looked at.
    let other = watched.ours.issue(&Leaf::named(BORDER)).unwrap();
    watched.swap(&next.certificate, &other.key);
    watched.border.until("told of the wrong key", |border| border.log().contains("changed certificate files refused"));
    tokio::time::sleep(std::time::Duration::from_secs(3)).await;
    let log = watched.border.log();
    assert_eq!(log.matches("changed certificate files refused").count(), 1, "{log}");
    assert!(log.contains("tls.key: this key does not belong"), "{log}");
    assert_eq!((watched.shown(), watched.border.metric("portcullis_certificates_refused_total")), (first, Some(1.0)));

    watched.swap(&next.certificate, &next.key);
    watched.border.until("renewed", |border| border.metric(GENERATION) == Some(2.0));
    assert_eq!(watched.shown(), leaf(&next));
    watched.border.until("told that it ends in a month", |border| border.log().contains("our certificate ends in "));

    // Asked for by an operator it does not wait.
    let last = watched.ours.issue(&Leaf::named(BORDER)).unwrap();
    watched.swap(&last.certificate, &last.key);
    watched.border.signal("HUP");
    watched.border.until("reloaded", |border| border.log().contains("policy set reloaded"));
    assert_eq!(watched.shown(), leaf(&last));
}
