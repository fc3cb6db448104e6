//! Certificates: loading, checking, and deciding in a handshake whom a certificate speaks for (RFC 5922 SIP domain certificates, RFC 5280 §6,
//! RFC 6125). Mutual in both directions; there is no switch to turn verification off.

mod certificate;
mod chain;
mod credentials;
mod dates;
mod files;
mod fingerprint;
mod handshake;
mod lifetime;
mod refusal;
mod stream;
mod trust;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::ListenerId;

pub use credentials::{CredentialStore, Credentials, LoadedCertificate};
pub use fingerprint::{Fingerprint, fingerprint};
pub use handshake::Secured;
pub use lifetime::Lifetime;
pub use stream::Encrypted;

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// One for each TLS listener.
    pub listeners: Vec<ListenerCertificate>,
    /// One for each TLS peer.
    pub peers: Vec<PeerCertificates>,
}

impl Settings {
    /// Every file named, once, in order.
    pub fn files(&self) -> Vec<&Path> {
        let listeners = self.listeners.iter().map(|listener| &listener.own);
        let own = listeners.chain(self.peers.iter().filter_map(|peer| peer.own.as_ref())).flat_map(|own| [&own.certificate, &own.key]);
        let mut files: Vec<&Path> = own.chain(self.peers.iter().flat_map(|peer| &peer.ca)).map(PathBuf::as_path).collect();
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

#[derive(Clone, Debug, PartialEq)]
pub struct PeerCertificates {
    /// The peer's name.
    pub peer: Arc<str>,
    /// PEM files with the CA certificates its certificate must chain to, or with its own self-signed certificate (CA:FALSE), which is then pinned.
    pub ca: Vec<PathBuf>,
    /// Shown to this peer instead of the listener's.
    pub own: Option<KeyPairFiles>,
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
