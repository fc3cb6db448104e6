//! `portcullis certs init`: a throw-away CA and certificates of it, for quickstart, laboratories and tests. Never for production: the CA's key lies
//! beside its certificate.

use std::fs;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use time::OffsetDateTime;
use zeroize::Zeroizing;

use super::authority::{Authority, Leaf, VALIDITY, authority};
use super::files::write_whole;
use super::layout;
use super::of_rcgen;
use super::report::{Outcome, Report, Style};

/// The command line of `certs init`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// Where to put them.
    pub folder: PathBuf,
    /// A host name; becomes NAME.pem and NAME.key. May be given several times.
    #[arg(long = "name", default_value = "sbc.example.test")]
    pub names: Vec<String>,
    /// Days the certificates are good for.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    pub days: u32,
    /// Make everything anew.
    #[arg(long)]
    pub overwrite: bool,
    #[command(flatten)]
    pub style: Style,
}

/// Exit status 0: made, or there already.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    layout::refuse_generation(&arguments.folder)?;
    let validity = Duration::from_secs(u64::from(arguments.days) * 86_400);
    let written = init(&arguments.folder, &Init { names: arguments.names.clone(), validity, overwrite: arguments.overwrite })?;
    let mut report = Report::new("init", if written.is_empty() { Outcome::Nothing } else { Outcome::Done });
    if written.is_empty() {
        report.tell("everything is there already");
    }
    for path in &written {
        report.tell(path.display().to_string());
    }
    report.put("written", &written);
    report.print(&arguments.style, out)
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
        write_pair(&ca_pem, &ca_key, authority.certificate(), authority.key(), &mut written)?;
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

fn write_pair(certificate_path: &Path, key_path: &Path, certificate: &str, key: &str, written: &mut Vec<PathBuf>) -> io::Result<()> {
    write_whole(key_path, key.as_bytes(), 0o600)?;
    written.push(key_path.to_path_buf());
    write_whole(certificate_path, certificate.as_bytes(), 0o644)?;
    written.push(certificate_path.to_path_buf());
    Ok(())
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
