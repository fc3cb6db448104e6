//! Certificates: loading, checking, and deciding in a handshake whom a certificate speaks for (RFC 5922 SIP domain certificates, RFC 5280 §6,
//! RFC 6125). Mutual in both directions; there is no switch to turn verification off.

mod certificate;
mod chain;
mod credentials;
mod crl;
mod dates;
mod door;
mod fetch;
mod files;
mod fingerprint;
mod handshake;
#[cfg(feature = "legacy-tls")]
mod legacy;
mod lifetime;
mod load;
mod refresh;
mod refusal;
mod remarks;
mod revocation;
mod status;
mod store;
mod stream;
mod trust;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::{ListenerId, TlsBackend};

pub use certificate::names_of;
pub use credentials::{Credentials, LoadedCertificate};
pub use crl::{CrlSource, HttpAddress};
pub use door::Door;
pub use fingerprint::{Fingerprint, fingerprint};
pub use handshake::Secured;
pub use lifetime::Lifetime;
pub use refresh::{Report, keep_crls_fresh};
pub use status::{CaStatus, CertificatesStatus, CrlStatus, ListStatus, OwnStatus, PeerSetting};
pub use store::CredentialStore;
pub use stream::Encrypted;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// One for each TLS listener.
    pub listeners: Vec<ListenerCertificate>,
    /// One for each TLS peer.
    pub peers: Vec<PeerCertificates>,
    /// CRLs are read or fetched again after so long, and before they end.
    pub crl_refresh: Duration,
    /// Names of the listeners to which only UM peers come that OpenSSL carries: on no other does it read a byte.
    pub openssl_listeners: Vec<Arc<str>>,
    /// A folder where fetched CRLs are kept over a restart.
    pub crl_cache: Option<PathBuf>,
    /// The operators' door, if it has TLS.
    pub door: Option<DoorFiles>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            listeners: Vec::new(),
            peers: Vec::new(),
            crl_refresh: Duration::from_secs(3_600),
            openssl_listeners: Vec::new(),
            crl_cache: None,
            door: None,
        }
    }
}

/// What is done where no current CRL says whether a certificate is revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StaleCrl {
    /// Every certificate of a chain, the CA's own excepted, needs a list of its issuer that has not ended.
    #[default]
    Refuse,
    /// What lists say counts, also after their end; where there is none, the certificate passes.
    Accept,
}

impl Settings {
    /// Every file named, once, in order.
    pub fn files(&self) -> Vec<&Path> {
        let listeners = self.listeners.iter().map(|listener| &listener.own);
        let own = listeners.chain(self.peers.iter().filter_map(|peer| peer.own.as_ref())).chain(self.door.iter().map(|door| &door.own));
        let own = own.flat_map(|own| [&own.certificate, &own.key]);
        let authorities = self.peers.iter().flat_map(|peer| &peer.ca).chain(self.door.iter().filter_map(|door| door.client_ca.as_ref()));
        let lists = self.peers.iter().flat_map(|peer| &peer.crl).filter_map(|source| if let CrlSource::File(file) = source { Some(file) } else { None });
        let mut files: Vec<&Path> = own.chain(authorities).chain(lists).map(PathBuf::as_path).collect();
        files.sort_unstable();
        files.dedup();
        files
    }
}

/// The certificate we show on a listener, to those who connect to it and to those we connect to from it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerCertificate {
    pub listener: ListenerId,
    pub name: Arc<str>,
    pub own: KeyPairFiles,
}

/// What the operators' door shows, and the CAs whose certificates are believed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoorFiles {
    pub own: KeyPairFiles,
    /// PEM; `None`: nobody is known by a certificate.
    pub client_ca: Option<PathBuf>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct PeerCertificates {
    /// The peer's name.
    pub peer: Arc<str>,
    /// PEM files with the CA certificates its certificate must chain to, or with its own self-signed certificate (CA:FALSE), which is then pinned.
    pub ca: Vec<PathBuf>,
    /// Shown to this peer instead of the listener's.
    pub own: Option<KeyPairFiles>,
    /// Empty: revocation is not looked at.
    pub crl: Vec<CrlSource>,
    pub stale_crl: StaleCrl,
    /// A certificate for a server alone (serverAuth) is taken from it as a client's.
    pub server_certificate_as_client: bool,
    pub backend: TlsBackend,
}

/// Whether this build can carry TLS by OpenSSL.
pub const OPENSSL_IS_BUILT_IN: bool = cfg!(feature = "legacy-tls");

impl PeerCertificates {
    /// A peer trusted by these CA files, strictly, and shown the listener's certificate.
    pub fn new(peer: &str, ca: Vec<PathBuf>) -> PeerCertificates {
        PeerCertificates {
            peer: peer.into(),
            ca,
            own: None,
            crl: Vec::new(),
            stale_crl: StaleCrl::default(),
            server_certificate_as_client: false,
            backend: TlsBackend::Rustls,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyPairFiles {
    /// PEM: our certificate, then the intermediates towards the root, leaf first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, SEC1 or PKCS#1; readable by us only.
    pub key: PathBuf,
}

/// How certificates are looked after while the border runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upkeep {
    /// How often the files are looked at, and how long a change must have rested before it is taken. `None`: not at all.
    pub watch: Option<Duration>,
    /// How often it is asked again whether open connections would still be let in.
    pub recheck: Duration,
}

impl Default for Upkeep {
    fn default() -> Upkeep {
        Upkeep { watch: None, recheck: Duration::from_secs(60) }
    }
}

/// What is wrong with a file, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub file: PathBuf,
    pub what: String,
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}; {}", self.file.display(), self.what, self.remedy)
    }
}
