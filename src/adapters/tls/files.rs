//! Reading certificate and key files, with everything that can be wrong with them said in the operator's terms.

use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use zeroize::Zeroizing;

use super::certificate::Certificate;
use super::crl::{self, Crl};
use super::dates::span;
use super::trust::Anchors;
use super::{KeyPairFiles, Problem};

/// A file larger than this is no certificate file.
const LARGEST: u64 = 4 * 1024 * 1024;

/// Our own certificate with its key, checked to belong together.
#[derive(Debug)]
pub struct OwnCertificate {
    pub key: Arc<CertifiedKey>,
    pub facts: Certificate,
    /// `None`: OpenSSL cannot read it.
    #[cfg(feature = "legacy-tls")]
    pub legacy: Option<openssl::pkey::PKey<openssl::pkey::Private>>,
}

pub fn problem(file: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem { file: file.to_path_buf(), what: what.into(), remedy: remedy.into() }
}

pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, Problem> {
    read_up_to(file, LARGEST, "PEM")
}

/// A file of at most so many bytes.
pub fn read_up_to(file: &Path, largest: u64, kind: &str) -> Result<Zeroizing<Vec<u8>>, Problem> {
    let unreadable = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => problem(file, "there is no such file", "put it there, or correct the path in the policy set"),
        io::ErrorKind::PermissionDenied => problem(file, "we may not read it", "give the user we run as read access to it and to its folder"),
        _ => problem(file, format!("it cannot be read ({error})"), "see that it is a regular file on a working disk"),
    };
    let opened = fs::File::open(file).map_err(unreadable)?;
    let length = opened.metadata().map_err(unreadable)?.len();
    if length > largest {
        return Err(problem(file, format!("it has {length} bytes, too many for a {kind} file"), format!("name the {kind} file instead")));
    }
    // All of it reserved beforehand: a key must not be left behind in a buffer that grew.
    let mut contents = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    opened.take(largest).read_to_end(&mut contents).map_err(unreadable)?;
    Ok(contents)
}

/// At least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let contents = read(file)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&contents).collect();
    let found = found.map_err(|error| problem(file, format!("it is not well-formed PEM ({error})"), "export the certificate again as PEM (Base64)"))?;
    if found.is_empty() {
        return Err(problem(
            file,
            "it holds no certificate",
            "it must hold at least one BEGIN CERTIFICATE block; DER and PKCS#12 files must be converted to PEM",
        ));
    }
    Ok(found)
}

/// One `ca` file of a peer.
pub fn anchors(file: &Path, now: UnixTime) -> Result<Anchors, Problem> {
    let mut anchors = Anchors::of(file);
    let all = certificates(file)?;
    let spent = |der: &CertificateDer<'_>| Certificate::read(der).is_some_and(|facts| facts.not_after.as_secs() < now.as_secs());
    // An old CA's beside its successor's is the end of an overlap: nothing chains to it any more, and no other peer may suffer for it.
    if all.iter().all(spent) {
        return Err(problem(file, "every certificate in it has expired", "put the peer's current CA certificate there"));
    }
    for der in all {
        anchors.add(der).map_err(|what| problem(file, what, "put the peer's CA certificates there, or its own self-signed one, as PEM"))?;
    }
    Ok(anchors)
}

/// One `crl` file of a peer, PEM or DER.
pub fn crls(file: &Path) -> Result<Vec<Crl>, Problem> {
    let contents = read_up_to(file, crl::LARGEST as u64, "CRL")?;
    crl::read_all(&contents).map_err(|what| problem(file, what, "put the CA's current CRL there, PEM or DER, by renaming it into place"))
}

/// Our own certificate and key, as peers take them.
pub fn own(files: &KeyPairFiles, provider: &CryptoProvider, now: UnixTime) -> Result<OwnCertificate, Vec<Problem>> {
    pair(files, provider, |facts| misfit(&files.certificate, facts, now))
}

/// A certificate with the key it belongs to. `misfit`: what else is wrong with the certificate.
pub fn pair(files: &KeyPairFiles, provider: &CryptoProvider, misfit: impl Fn(&Certificate) -> Option<Problem>) -> Result<OwnCertificate, Vec<Problem>> {
    let mut problems = Vec::new();
    let chain = certificates(&files.certificate).map_err(|found| problems.push(found)).ok();
    let key = private_key(&files.key).map_err(|found| problems.push(found)).ok();
    let facts = chain.as_ref().and_then(|chain| chain.first()).and_then(|leaf| {
        let facts = Certificate::read(leaf);
        match &facts {
            None => problems.push(problem(&files.certificate, "its first certificate cannot be read", "export the certificate again as PEM (Base64)")),
            Some(facts) => problems.extend(misfit(facts)),
        }
        facts
    });
    let (Some(chain), Some(key), Some(facts)) = (chain, key, facts) else { return Err(problems) };
    if !problems.is_empty() {
        return Err(problems);
    }
    #[cfg(feature = "legacy-tls")]
    let legacy = super::legacy::key(&key);
    match CertifiedKey::from_der(chain, key, provider) {
        Ok(key) => Ok(OwnCertificate {
            key: Arc::new(key),
            facts,
            #[cfg(feature = "legacy-tls")]
            legacy,
        }),
        Err(rustls::Error::InconsistentKeys(_)) => Err(vec![problem(
            &files.key,
            format!("this key does not belong to the certificate in {}", files.certificate.display()),
            "name the key the certificate was requested with; the certificate file must begin with our own certificate, not with a CA's",
        )]),
        Err(error) => {
            Err(vec![problem(&files.key, format!("the key cannot be used ({error})"), "use an RSA (2048 bits or more), ECDSA P-256/P-384 or Ed25519 key")])
        }
    }
}

fn misfit(file: &Path, facts: &Certificate, now: UnixTime) -> Option<Problem> {
    if facts.not_after.as_secs() < now.as_secs() {
        return Some(problem(file, format!("our certificate expired {} ago", span(now.as_secs() - facts.not_after.as_secs())), "renew it"));
    }
    if facts.not_before.as_secs() > now.as_secs() {
        let wait = span(facts.not_before.as_secs() - now.as_secs());
        return Some(problem(file, format!("our certificate is not valid for another {wait}"), "check this machine's clock, or wait"));
    }
    facts.is_ca.then(|| {
        problem(file, "the first certificate is a CA's", "put our own certificate first, then the intermediates; never the CA's own certificate as ours")
    })
}

fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, Problem> {
    closed(file)?;
    let contents = read(file)?;
    PrivateKeyDer::from_pem_slice(&contents).map_err(|error| {
        let encrypted = contents.windows(9).any(|window| window == b"ENCRYPTED");
        let what = if encrypted { String::from("the key is protected by a passphrase") } else { format!("it holds no usable private key ({error})") };
        problem(file, what, "it must hold one PEM block BEGIN PRIVATE KEY, BEGIN EC PRIVATE KEY or BEGIN RSA PRIVATE KEY, not encrypted")
    })
}

/// Refuses a key that others can read, or that the group can replace. Reading by a group is how several services share one key.
#[cfg(unix)]
fn closed(file: &Path) -> Result<(), Problem> {
    use std::os::unix::fs::PermissionsExt;
    let Ok(metadata) = fs::metadata(file) else { return Ok(()) }; // said better when it is read
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o027 == 0 {
        return Ok(());
    }
    Err(problem(file, format!("this private key is open to others (mode {mode:04o})"), format!("run: chmod 600 {}", file.display())))
}

#[cfg(not(unix))]
fn closed(_: &Path) -> Result<(), Problem> {
    Ok(())
}
