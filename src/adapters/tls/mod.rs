//! Certificates: loading, checking, and deciding in a handshake whom a certificate speaks for (RFC 5922 SIP domain certificates, RFC 5280 §6,
//! RFC 6125). Mutual in both directions; there is no switch to turn verification off.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::policy::flow::ListenerId;

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// One for each TLS listener.
    pub listeners: Vec<ListenerCertificate>,
    /// One for each TLS peer.
    pub peers: Vec<PeerCertificates>,
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

#[derive(Clone, Debug, PartialEq)]
pub struct KeyPairFiles {
    /// PEM: our certificate, then the intermediates towards the root, leaf first.
    pub certificate: PathBuf,
    /// PEM: PKCS#8, SEC1 or PKCS#1; readable by us only.
    pub key: PathBuf,
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

/// All certificates and keys of one load, checked. Immutable; a reload makes a new one.
pub struct Credentials {}

impl Credentials {
    /// All or nothing: every problem of every file at once.
    pub fn load(_settings: &Settings) -> Result<Credentials, Vec<Problem>> {
        Ok(Credentials {})
    }
}

/// The credentials in force. New handshakes use the newest; open connections go on.
pub struct CredentialStore {
    current: ArcSwap<Credentials>,
}

impl CredentialStore {
    pub fn new(credentials: Credentials) -> CredentialStore {
        CredentialStore { current: ArcSwap::from_pointee(credentials) }
    }

    pub fn swap(&self, credentials: Credentials) {
        self.current.store(Arc::new(credentials));
    }

    pub fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }
}
