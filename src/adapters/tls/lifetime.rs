//! Until when what trust rests on holds: our own certificates, peers' CAs, revocation lists.

use std::path::{Path, PathBuf};

use super::certificate::Certificate;
use crate::signaling::fact::CertificateKind;

/// One certificate or list of a load. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    pub kind: CertificateKind,
    pub file: PathBuf,
    /// Its subject, or a list's issuer.
    pub name: String,
    pub not_before: u64,
    pub not_after: u64,
    /// SHA-256 of a certificate, to be told from another of the same name and dates. A list has none.
    pub fingerprint: Option<[u8; 32]>,
}

pub(super) fn of(kind: CertificateKind, file: &Path, facts: &Certificate) -> Lifetime {
    Lifetime {
        kind,
        file: file.to_path_buf(),
        name: facts.subject.clone(),
        not_before: facts.not_before.as_secs(),
        not_after: facts.not_after.as_secs(),
        fingerprint: Some(facts.fingerprint),
    }
}
