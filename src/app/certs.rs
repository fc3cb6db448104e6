//! `portcullis certs init`: a throw-away CA and certificates for quickstart, laboratories and tests (RFC 5280, RFC 5922). Never for production.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Extended key usages a leaf may carry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eku {
    ServerAuth,
    ClientAuth,
}

/// A certificate to be issued. `Leaf::default()` is a good one without names: both usages, from an hour ago for thirty days.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub common_name: String,
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Such as `sip:example.org` (RFC 5922 §7.1).
    pub uris: Vec<String>,
    pub ekus: Vec<Eku>,
    pub not_before: time::OffsetDateTime,
    pub not_after: time::OffsetDateTime,
}

/// What was issued, as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The leaf, followed by nothing (the CA signs directly).
    pub certificate: String,
    pub key: String,
}

/// What `init` writes where.
#[derive(Clone, Debug)]
pub struct Init {
    /// Names of the files and DNS names in the certificates; each also gets 127.0.0.1 and ::1.
    pub names: Vec<String>,
    pub validity: Duration,
    /// Overwrite what is there. Otherwise existing files stay and what is missing is made.
    pub overwrite: bool,
}

/// Files written (those already there are not listed).
pub fn init(_folder: &Path, _init: &Init) -> std::io::Result<Vec<PathBuf>> {
    Ok(Vec::new())
}
