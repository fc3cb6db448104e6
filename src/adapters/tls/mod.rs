//! Certificates: loading, checking, and deciding in a handshake whom a certificate speaks for (RFC 5922 SIP domain certificates, RFC 5280 §6,
//! RFC 6125). Mutual in both directions; there is no switch to turn verification off.

mod certificate;
mod credentials;
mod dates;
mod files;
mod handshake;
mod refusal;
mod stream;
mod trust;
mod verifier;

use std::path::PathBuf;
use std::sync::Arc;

use crate::policy::flow::ListenerId;

pub use credentials::{CredentialStore, Credentials, LoadedCertificate};
pub use handshake::Secured;
pub use stream::Encrypted;

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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
