//! `portcullis certs init`: a throw-away CA and certificates for quickstart, laboratories and tests (RFC 5280, RFC 5922). Never for production.
//!
//! Dates are always set: the library underneath would make certificates valid from 1975 to 4096.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType};
use time::OffsetDateTime;
use zeroize::Zeroizing;

/// What `init` makes lasts so long: long enough for a laboratory, too short to be mistaken for a real certificate.
pub const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// Clocks differ: certificates begin so long before they are made.
const BACKDATED: Duration = Duration::from_secs(3600);

/// Extended key usages a leaf may carry (RFC 5280 §4.2.1.12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Eku {
    ServerAuth,
    ClientAuth,
}

/// A certificate to be issued. `Leaf::default()` is a good one but for names: both usages, from an hour ago for thirty days.
#[derive(Clone, Debug)]
pub struct Leaf {
    pub common_name: String,
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
    /// Such as `sip:example.org` (RFC 5922 §7.1).
    pub uris: Vec<String>,
    pub ekus: Vec<Eku>,
    pub not_before: OffsetDateTime,
    pub not_after: OffsetDateTime,
}

impl Default for Leaf {
    fn default() -> Leaf {
        let now = OffsetDateTime::now_utc();
        Leaf {
            common_name: String::from("Portcullis laboratory"),
            dns: Vec::new(),
            addresses: Vec::new(),
            uris: Vec::new(),
            ekus: vec![Eku::ServerAuth, Eku::ClientAuth],
            not_before: now - BACKDATED,
            not_after: now + VALIDITY,
        }
    }
}

impl Leaf {
    /// A good leaf for one DNS name.
    pub fn named(name: &str) -> Leaf {
        Leaf { common_name: String::from(name), dns: vec![String::from(name)], ..Leaf::default() }
    }

    fn params(&self) -> Result<CertificateParams, rcgen::Error> {
        let mut params = CertificateParams::default();
        for name in &self.dns {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into()?));
        }
        for uri in &self.uris {
            params.subject_alt_names.push(SanType::URI(uri.as_str().try_into()?));
        }
        params.subject_alt_names.extend(self.addresses.iter().map(|address| SanType::IpAddress(*address)));
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.common_name.as_str());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = self
            .ekus
            .iter()
            .map(|eku| match eku {
                Eku::ServerAuth => ExtendedKeyUsagePurpose::ServerAuth,
                Eku::ClientAuth => ExtendedKeyUsagePurpose::ClientAuth,
            })
            .collect();
        params.not_before = self.not_before;
        params.not_after = self.not_after;
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// What was issued, as PEM.
pub struct Issued {
    /// The leaf, then the certificates between it and the root, if any.
    pub certificate: String,
    pub key: Zeroizing<String>,
}

/// A certificate authority that can issue.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
    key: Zeroizing<String>,
    /// What a leaf's file carries after the leaf: nothing for a root.
    chain: String,
}

fn authority_params(common_name: &str, not_before: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = not_before;
    params.not_after = not_after;
    params
}

/// A new root with a P-256 key, from an hour ago for `validity`.
pub fn authority(common_name: &str, validity: Duration) -> Result<Authority, rcgen::Error> {
    let now = OffsetDateTime::now_utc();
    authority_between(common_name, now - BACKDATED, now + validity)
}

/// A new root with these dates.
pub fn authority_between(common_name: &str, not_before: OffsetDateTime, not_after: OffsetDateTime) -> Result<Authority, rcgen::Error> {
    let pair = KeyPair::generate()?;
    let key = Zeroizing::new(pair.serialize_pem());
    let root = CertifiedIssuer::self_signed(authority_params(common_name, not_before, not_after), pair)?;
    let certificate = root.pem();
    Authority::from_pem(certificate, key)
}

/// A leaf that signs itself (CA:FALSE): to be pinned, or refused.
pub fn self_signed(leaf: &Leaf) -> Result<Issued, rcgen::Error> {
    let pair = KeyPair::generate()?;
    let certificate = leaf.params()?.self_signed(&pair)?;
    Ok(Issued { certificate: certificate.pem(), key: Zeroizing::new(pair.serialize_pem()) })
}

impl Authority {
    /// An authority made earlier.
    pub fn from_pem(certificate: String, key: Zeroizing<String>) -> Result<Authority, rcgen::Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&key)?)?;
        Ok(Authority { issuer, certificate, key, chain: String::new() })
    }

    /// PEM: what goes into a peer's `ca` file.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    pub fn issue(&self, leaf: &Leaf) -> Result<Issued, rcgen::Error> {
        let pair = KeyPair::generate()?;
        let certificate = leaf.params()?.signed_by(&pair, &self.issuer)?;
        Ok(Issued { certificate: certificate.pem() + &self.chain, key: Zeroizing::new(pair.serialize_pem()) })
    }

    /// A subordinate authority; what it issues carries its certificate along.
    pub fn intermediate(&self, common_name: &str, validity: Duration) -> Result<Authority, rcgen::Error> {
        let now = OffsetDateTime::now_utc();
        let pair = KeyPair::generate()?;
        let key = Zeroizing::new(pair.serialize_pem());
        let certificate = authority_params(common_name, now - BACKDATED, now + validity).signed_by(&pair, &self.issuer)?.pem();
        let chain = format!("{certificate}{}", self.chain);
        Ok(Authority { chain, ..Authority::from_pem(certificate, key)? })
    }
}

/// What `init` writes.
#[derive(Clone, Debug)]
pub struct Init {
    /// Names of the files, and DNS names in the certificates; each also gets 127.0.0.1 and ::1.
    pub names: Vec<String>,
    pub validity: Duration,
    /// Make everything anew. Otherwise what is there stays and what is missing is made.
    pub overwrite: bool,
}

impl Init {
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Init {
        Init { names: names.into_iter().map(Into::into).collect(), validity: VALIDITY, overwrite: false }
    }
}

/// Makes `ca.pem`, `ca.key`, and `NAME.pem`, `NAME.key` for each name; keys with mode 0600. Returns the files written; on a second run, none.
pub fn init(folder: &Path, init: &Init) -> io::Result<Vec<PathBuf>> {
    for name in &init.names {
        check_name(name)?;
    }
    fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    let (ca_pem, ca_key) = (folder.join("ca.pem"), folder.join("ca.key"));
    let authority = if present(&ca_pem, &ca_key)? && !init.overwrite {
        Authority::from_pem(fs::read_to_string(&ca_pem)?, Zeroizing::new(fs::read_to_string(&ca_key)?)).map_err(of_rcgen)?
    } else {
        refuse_orphans(folder, init)?;
        let authority = authority("Portcullis throw-away CA", init.validity).map_err(of_rcgen)?;
        write_pair(&ca_pem, &ca_key, &authority.certificate, &authority.key, &mut written)?;
        authority
    };
    for name in &init.names {
        let (pem, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
        if present(&pem, &key)? && !init.overwrite {
            continue;
        }
        let now = OffsetDateTime::now_utc();
        let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        let leaf = Leaf { addresses, not_after: now + init.validity, ..Leaf::named(name) };
        let issued = authority.issue(&leaf).map_err(of_rcgen)?;
        write_pair(&pem, &key, &issued.certificate, &issued.key, &mut written)?;
    }
    Ok(written)
}

/// A name becomes a file name and a DNS name: letters, digits, hyphens and dots, and not the CA's own.
fn check_name(name: &str) -> io::Result<()> {
    let good = |label: &str| !label.is_empty() && label.len() <= 63 && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if name.len() > 200 || name == "ca" || !name.split('.').all(good) {
        let what = format!("\"{name}\" cannot name a certificate: use a host name of letters, digits, hyphens and dots, other than \"ca\"");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(())
}

/// Both files there: true; neither: false; only one: an error, because making it anew would silently replace the other's meaning.
fn present(certificate: &Path, key: &Path) -> io::Result<bool> {
    match (certificate.exists(), key.exists()) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (has_certificate, _) => {
            let (there, missing) = if has_certificate { (certificate, key) } else { (key, certificate) };
            let what = format!("{} is there but {} is missing: remove the former, or put the latter back", there.display(), missing.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
    }
}

/// A new CA would leave certificates of an old one beside it, which no longer verify.
fn refuse_orphans(folder: &Path, init: &Init) -> io::Result<()> {
    let orphan = init.names.iter().map(|name| folder.join(format!("{name}.pem"))).find(|path| path.exists());
    match orphan {
        Some(path) if !init.overwrite => {
            let what = format!("{} is there but its CA is not: remove it, or make everything anew with --overwrite", path.display());
            Err(io::Error::new(io::ErrorKind::AlreadyExists, what))
        }
        _ => Ok(()),
    }
}

fn of_rcgen(error: rcgen::Error) -> io::Error {
    io::Error::other(format!("could not make a certificate: {error}"))
}

fn write_pair(certificate_path: &Path, key_path: &Path, certificate: &str, key: &str, written: &mut Vec<PathBuf>) -> io::Result<()> {
    write_whole(key_path, key.as_bytes(), 0o600)?;
    written.push(key_path.to_path_buf());
    write_whole(certificate_path, certificate.as_bytes(), 0o644)?;
    written.push(certificate_path.to_path_buf());
    Ok(())
}

/// Writes beside and renames, so that a reader sees the old file or the new one, and a key never has a wider mode, even for a moment.
pub fn write_whole(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    let mut file = options.open(&beside)?;
    file.write_all(contents)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_all_files_once_with_closed_keys() {
        let folder = tempfile::tempdir().unwrap();
        let order = Init::new(["sbc.example.org", "um"]);
        let written = init(folder.path(), &order).unwrap();
        assert_eq!(written.len(), 6);
        for file in &written {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions()) & 0o777;
            assert_eq!(mode & 0o077 == 0, file.extension().unwrap() == "key", "{}", file.display());
        }
        let before = fs::read(folder.path().join("um.pem")).unwrap();
        assert_eq!(init(folder.path(), &order).unwrap(), Vec::<PathBuf>::new());
        assert_eq!(fs::read(folder.path().join("um.pem")).unwrap(), before);
        let more = init(folder.path(), &Init::new(["um", "trunk"])).unwrap();
        assert_eq!(more, [folder.path().join("trunk.key"), folder.path().join("trunk.pem")]);
        assert_eq!(init(folder.path(), &Init { overwrite: true, ..order }).unwrap().len(), 6);
        assert_ne!(fs::read(folder.path().join("um.pem")).unwrap(), before);
    }

    #[test]
    fn will_not_mix_two_authorities() {
        let folder = tempfile::tempdir().unwrap();
        init(folder.path(), &Init::new(["um"])).unwrap();
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert!(init(folder.path(), &Init::new(["um"])).unwrap_err().to_string().contains("ca.key is missing"));
        fs::remove_file(folder.path().join("ca.pem")).unwrap();
        assert!(init(folder.path(), &Init::new(["um"])).unwrap_err().to_string().contains("its CA is not"));
    }

    #[test]
    fn names_cannot_leave_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["../x", "", "a/b", "ca", ".", "a..b", "a b"] {
            assert!(init(folder.path(), &Init::new([name])).is_err(), "{name}");
        }
    }

    #[test]
    fn validity_is_thirty_days() {
        let leaf = Leaf::default();
        assert!(leaf.not_after - leaf.not_before < time::Duration::days(31));
    }
}
