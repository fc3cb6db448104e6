//! What the certificate files hold, as one short value: two looks that give the same one have found the same contents.
//!
//! Contents, not times or inode numbers: a symbolic link that is pointed elsewhere (Kubernetes' `..data`), a rename, a file written in place and a
//! copy with its times kept all look alike to it, also over NFS. The files are few and small.

use aws_lc_rs::digest;

use super::{Settings, crl, files};

/// SHA-256 over every file's path and contents. Nothing can be told of a key from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of any bytes; for tests.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        let mut value = [0; 32];
        value.iter_mut().zip(digest::digest(&digest::SHA256, bytes).as_ref()).for_each(|(to, from)| *to = *from);
        Fingerprint(value)
    }
}

/// Reads every file the settings name; a file that cannot be read counts by what is wrong with it. Blocks on the disk.
pub fn fingerprint(settings: &Settings) -> Fingerprint {
    let mut all = Vec::new();
    for file in settings.files() {
        let path = file.as_os_str().as_encoded_bytes();
        let (kind, digest) = match files::read_up_to(file, crl::LARGEST as u64, "PEM or CRL") {
            Ok(contents) => (b'c', Fingerprint::of(&contents)),
            Err(problem) => (b'p', Fingerprint::of(problem.what.as_bytes())),
        };
        all.extend_from_slice(&path.len().to_be_bytes());
        all.extend_from_slice(path);
        all.push(kind);
        all.extend_from_slice(&digest.0);
    }
    Fingerprint::of(&all)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::adapters::tls::{KeyPairFiles, PeerCertificates};

    #[test]
    fn is_a_plain_sha_256() {
        // FIPS 180-2, B.1
        assert_eq!(Fingerprint::of(b"abc").0[..4], [0xba, 0x78, 0x16, 0xbf]);
    }

    /// As a kubelet does it: the files are links through `..data`, which is pointed to a new folder by a rename.
    #[test]
    fn sees_contents_however_they_were_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..1", "one"), ("..2", "two"), ("..3", "one")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("tls.crt"), text).unwrap();
        }
        symlink("..1", at("..data")).unwrap();
        symlink("..data/tls.crt", at("tls.crt")).unwrap();
        fs::write(at("tls.key"), "key").unwrap();
        let own = KeyPairFiles { certificate: at("tls.crt"), key: at("tls.key") };
        let settings = Settings { peers: vec![PeerCertificates { own: Some(own), ..PeerCertificates::new("um", vec![at("ca.pem")]) }], ..Settings::default() };
        let swap = |to: &str| {
            symlink(to, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
            fingerprint(&settings)
        };
        let first = fingerprint(&settings);
        assert_eq!(fingerprint(&settings), first);
        assert_ne!(swap("..2"), first);
        assert_eq!(swap("..3"), first, "the same contents in another place are no change");
        // A file that was missing comes, is written in place with its times kept, and goes.
        fs::write(at("ca.pem"), "A").unwrap();
        let came = fingerprint(&settings);
        let times = fs::metadata(at("ca.pem")).unwrap();
        fs::write(at("ca.pem"), "B").unwrap();
        fs::File::options().write(true).open(at("ca.pem")).unwrap().set_modified(times.modified().unwrap()).unwrap();
        let written = fingerprint(&settings);
        assert!(came != first && written != came);
        fs::remove_file(at("ca.pem")).unwrap();
        assert_eq!(fingerprint(&settings), first);
    }
}
