//! Reading and writing PEM files (RFC 7468) of certificates, requests, lists and keys. A key is wiped from memory when it has been used, and has its
//! mode from the moment its file is made.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use base64::Engine;
use rcgen::KeyPair;
use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::{Zeroize, Zeroizing};

/// A file larger than this is no certificate file. Revocation lists of large CAs come near it.
const LARGEST: u64 = 16 * 1024 * 1024;

/// What a PEM file holds, in its order within each kind. Anything else (parameters, text between the blocks) is skipped.
#[derive(Default)]
pub struct Contents {
    pub certificates: Vec<CertificateDer<'static>>,
    pub keys: Vec<PrivateKeyDer<'static>>,
    /// DER of certification requests (RFC 2986).
    pub requests: Vec<Vec<u8>>,
    /// DER of revocation lists (RFC 5280 §5).
    pub lists: Vec<Vec<u8>>,
}

impl Drop for Contents {
    fn drop(&mut self) {
        self.keys.iter_mut().for_each(Zeroize::zeroize);
    }
}

impl Contents {
    pub fn is_empty(&self) -> bool {
        self.certificates.is_empty() && self.keys.is_empty() && self.requests.is_empty() && self.lists.is_empty()
    }
}

/// An error of ours: `path` and what is wrong with it, with a remedy.
pub fn wrong(path: &Path, what: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{}: {what}", path.display()))
}

/// An error of the system's about `path`, of the same kind. In a container it is mostly about whose the file is.
pub fn named(path: &Path, error: &io::Error) -> io::Error {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("; this runs as uid {}: give that user access to it", rustix::process::geteuid().as_raw())
        }
        _ => String::new(),
    };
    io::Error::new(error.kind(), format!("{}: {error}{remedy}", path.display()))
}

/// The whole file, wiped when dropped.
pub fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let named = |error: io::Error| named(path, &error);
    read_open(fs::File::open(path).map_err(named)?, path).map(|(contents, _)| contents)
}

/// As [`read`], of a file that is open; `path` is for errors. With it, whose this very file is, whatever has its name by now.
pub fn read_open(file: fs::File, path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, fs::Metadata)> {
    let named = |error: io::Error| named(path, &error);
    let metadata = file.metadata().map_err(named)?;
    if !metadata.is_file() {
        return Err(wrong(path, "it is no file; name a PEM file"));
    }
    if metadata.len() > LARGEST {
        return Err(wrong(path, format!("it has {} bytes, too many for a PEM file; name the PEM file instead", metadata.len())));
    }
    // All of it reserved beforehand: a key must not be left behind in a buffer that grew.
    let mut contents = Zeroizing::new(Vec::with_capacity(metadata.len() as usize + 1));
    file.take(LARGEST).read_to_end(&mut contents).map_err(named)?;
    Ok((contents, metadata))
}

/// Everything in a PEM file, or a revocation list as DER, which is how CAs publish it. An error where a block is cut off or is not Base64, or where there
/// is none.
pub fn contents(path: &Path) -> io::Result<Contents> {
    of_text(&read(path)?).map_err(|what| wrong(path, what))
}

/// As [`contents`]; the error says what is wrong and what to do.
pub fn of_text(text: &[u8]) -> Result<Contents, String> {
    let mut contents = Contents::default();
    if CertificateRevocationList::from_der(text).is_ok_and(|(rest, _)| rest.is_empty()) {
        contents.lists.push(text.to_vec());
        return Ok(contents);
    }
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(text) {
        let (kind, der) = section.map_err(|error| format!("it is not well-formed PEM ({error:?}), perhaps half written; copy or export it again, whole"))?;
        match kind {
            SectionKind::Certificate => contents.certificates.push(der.into()),
            SectionKind::Csr => contents.requests.push(der),
            SectionKind::Crl => contents.lists.push(der),
            SectionKind::PrivateKey => contents.keys.push(PrivateKeyDer::Pkcs8(der.into())),
            SectionKind::RsaPrivateKey => contents.keys.push(PrivateKeyDer::Pkcs1(der.into())),
            SectionKind::EcPrivateKey => contents.keys.push(PrivateKeyDer::Sec1(der.into())),
            _ => {}
        }
    }
    if contents.is_empty() {
        let encrypted = text.windows(9).any(|window| window == b"ENCRYPTED");
        let what = if encrypted {
            "its key is protected by a passphrase; store it without one (`openssl pkey -in … -out …`), closed by its mode"
        } else {
            "it holds no certificate, key, request or revocation list as PEM; DER and PKCS#12 files must be converted"
        };
        return Err(what.into());
    }
    Ok(contents)
}

/// Whether this may be a private key, of whatever kind and however it is protected: also one that is not read here.
pub fn may_be_key(text: &[u8]) -> bool {
    const LABEL: &[u8] = b"PRIVATE KEY";
    of_text(text).is_err() || text.windows(LABEL.len()).any(|window| window == LABEL)
}

/// The one private key of a file that is closed to others.
pub fn private_key(path: &Path) -> io::Result<Zeroizing<KeyPair>> {
    key_pair(path).map(Zeroizing::new)
}

/// As [`private_key`], for somebody who keeps it.
pub fn key_pair(path: &Path) -> io::Result<KeyPair> {
    if let Some(mode) = open_to_others(path)? {
        return Err(wrong(path, format!("this private key is open to others (mode {mode:04o}); run: chmod 600 {}", path.display())));
    }
    let contents = contents(path)?;
    let [key] = contents.keys.as_slice() else {
        return Err(wrong(path, format!("it holds {} private keys; it must hold one", contents.keys.len())));
    };
    KeyPair::try_from(key).map_err(|_| wrong(path, "its key is of no kind known here; use RSA, ECDSA P-256, P-384 or P-521, or Ed25519"))
}

/// The mode of a file that others can read, or that its group can replace. Reading by a group is how several services share a key.
pub fn open_to_others(path: &Path) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    let mode = metadata.permissions().mode() & 0o777;
    Ok((mode & 0o027 != 0).then_some(mode))
}

/// A key that was just made, as PKCS#8 PEM, without a copy that stays in memory.
pub fn key_pem(pair: &KeyPair) -> Zeroizing<String> {
    pem("PRIVATE KEY", pair.serialized_der())
}

fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(base64::engine::general_purpose::STANDARD.encode(der));
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + encoded.len() / 64 + 2 * label.len() + 40));
    text.push_str("-----BEGIN ");
    text.push_str(label);
    text.push_str("-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str("-----END ");
    text.push_str(label);
    text.push_str("-----\n");
    text
}

/// Certificates as PEM, one after the other.
pub fn certificates_pem(chain: &[CertificateDer<'_>]) -> String {
    chain.iter().map(|der| String::clone(&pem("CERTIFICATE", der))).collect()
}

/// Writes beside and renames, so that a reader sees the old file or the new one, and a key never has a wider mode, even for a moment. The folder is
/// written through as well: after a power cut the file is there or it is not, never half. Of several at once, each writes beside under a name of its
/// own, and the last one's file stays.
pub fn write_whole(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    let mut number = [0_u8; 8];
    getrandom::fill(&mut number).map_err(|error| io::Error::other(format!("the system gives no randomness: {error}")))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.{:016x}.new", u64::from_ne_bytes(number)));
    let written = create(&beside, contents, mode).and_then(|()| fs::rename(&beside, path)).map_err(named);
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    settle(path.parent().unwrap_or(Path::new("")))
}

/// A new file with this mode from the beginning, whole and on disk. An error where there is one already.
pub fn create(path: &Path, contents: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode & 0o600).open(path)?;
    fill(&mut file, contents, mode)
}

/// Gives a file that was just made its contents and its mode, on disk.
pub fn fill(file: &mut fs::File, contents: &[u8], mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.write_all(contents)?;
    // Not left to the umask, which is 077 in many a job and would shut the border out of its own certificate.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Waits until what was made, renamed or removed in this folder is on disk.
pub fn settle(folder: &Path) -> io::Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_written_as_others_read_it() {
        for pair in [KeyPair::generate().unwrap(), KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap()] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.key");
            write_whole(&path, key_pem(&pair).as_bytes(), 0o600).unwrap();
            assert_eq!(private_key(&path).unwrap().serialized_der(), pair.serialized_der());
            let read = std::process::Command::new("openssl").args(["pkey", "-noout", "-check", "-in"]).arg(&path).output().unwrap();
            assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        }
    }

    #[test]
    fn an_open_key_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.key");
        for (mode, open) in [(0o600, false), (0o640, false), (0o440, false), (0o644, true), (0o660, true), (0o604, true)] {
            write_whole(&path, key_pem(&KeyPair::generate().unwrap()).as_bytes(), mode).unwrap();
            let key = private_key(&path);
            assert_eq!(key.is_err(), open, "{mode:o}");
            if let Err(error) = key {
                assert!(error.to_string().contains("chmod 600"), "{error}");
            }
        }
    }

    /// With one name beside for all, one removed what another was about to rename, or had it put there half.
    #[test]
    fn writers_at_once_do_not_meet_beside_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.pem");
        let texts = [vec![b'a'; 300_000], vec![b'b'; 200_000], vec![b'c'; 100_000]];
        std::thread::scope(|scope| {
            for text in &texts {
                scope.spawn(|| (0..20).for_each(|_| write_whole(&path, text, 0o600).unwrap()));
            }
        });
        assert!(texts.contains(&fs::read(&path).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_is_not_read_is_taken_for_a_key() {
        let certificate = certificates_pem(&[CertificateDer::from(vec![7; 300])]);
        assert!(!may_be_key(certificate.as_bytes()));
        for kind in ["ENCRYPTED ", "DSA ", "OPENSSH ", "EC ", ""] {
            let key = format!("-----BEGIN {kind}PRIVATE KEY-----\nAAAA\n-----END {kind}PRIVATE KEY-----\n");
            assert!(may_be_key(key.as_bytes()), "{kind}");
            assert!(may_be_key(format!("{certificate}{key}").as_bytes()), "{kind}");
        }
        assert!(may_be_key(&[0x30, 0x82, 0x04, 0xbd, 0x02, 0x01, 0x00]), "perhaps a key as DER");
    }

    #[test]
    fn who_may_not_read_a_file_is_told_as_whom_he_tried() {
        let told = |kind: io::ErrorKind| named(Path::new("/new/sbc.key"), &kind.into()).to_string();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(told(io::ErrorKind::PermissionDenied), format!("/new/sbc.key: permission denied; this runs as uid {uid}: give that user access to it"));
        assert_eq!(told(io::ErrorKind::StorageFull), "/new/sbc.key: no storage space");
    }

    #[test]
    fn half_a_file_is_no_file() {
        let whole = certificates_pem(&[CertificateDer::from(vec![7; 300])]);
        assert_eq!(of_text(whole.as_bytes()).unwrap().certificates.len(), 1);
        for cut in [whole.len() - 2, whole.len() / 2, 30] {
            assert!(of_text(&whole.as_bytes()[..cut]).is_err_and(|what| what.contains("half written")), "{cut}");
        }
        assert!(of_text(b"").is_err_and(|what| what.contains("no certificate")));
        assert!(of_text(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n").is_err_and(|what| what.contains("passphrase")));
    }
}
