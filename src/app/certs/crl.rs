//! `portcullis certs crl`: the revocation list (RFC 5280 §5) of a private or laboratory CA. A list that is there already is carried on: what it revokes
//! stays revoked, and its number counts up.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevocationReason, RevokedCertParams, SerialNumber};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, ParsedExtension, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::facts::{Facts, hexadecimal};
use super::files::{self, wrong};
use super::issue::Ca;
use super::layout::{self, Lock};
use super::of_rcgen;
use super::report::{Outcome, Report, Style};

/// The command line of `certs crl`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The list, as PEM: made, or carried on.
    pub file: PathBuf,
    /// The CA's certificate.
    #[arg(long)]
    pub ca: PathBuf,
    /// The CA's private key.
    #[arg(long)]
    pub ca_key: PathBuf,
    /// The certificate to revoke, as PEM: the first in the file. May be given several times; without it the list is renewed.
    #[arg(long, value_name = "CERT")]
    pub revoke: Vec<PathBuf>,
    /// Why those are revoked.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    pub reason: Reason,
    /// Days until the next list is due: what a border asks of a list that is older is `stale_crl` (peers.toml).
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=3_650))]
    pub days: u32,
    #[command(flatten)]
    pub style: Style,
}

/// RFC 5280 §5.3.1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Reason {
    Unspecified,
    KeyCompromise,
    AffiliationChanged,
    Superseded,
    CessationOfOperation,
    PrivilegeWithdrawn,
}

impl Reason {
    fn code(self) -> Option<RevocationReason> {
        match self {
            Reason::Unspecified => None,
            Reason::KeyCompromise => Some(RevocationReason::KeyCompromise),
            Reason::AffiliationChanged => Some(RevocationReason::AffiliationChanged),
            Reason::Superseded => Some(RevocationReason::Superseded),
            Reason::CessationOfOperation => Some(RevocationReason::CessationOfOperation),
            Reason::PrivilegeWithdrawn => Some(RevocationReason::PrivilegeWithdrawn),
        }
    }
}

/// Exit status 0: written, or all in it already and not due for a while.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let folder = arguments.file.parent().unwrap_or(Path::new(""));
    layout::refuse_generation(folder)?;
    let now = OffsetDateTime::now_utc();
    let ca = Ca::load(&arguments.ca, &arguments.ca_key)?;
    // From reading to writing: what another run revokes meanwhile would be lost.
    let _lock = Lock::of(folder, layout::PATIENCE)?;
    let mut list = if arguments.file.exists() { Earlier::read(&arguments.file, &ca)? } else { Earlier::default() };
    let mut added = Vec::new();
    for file in &arguments.revoke {
        let serial = serial(file, &arguments.ca, &ca)?;
        if list.revoked.iter().any(|entry| same(entry.serial_number.as_ref(), &serial)) {
            continue;
        }
        added.push(hexadecimal(&serial, ""));
        list.revoked.push(RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial),
            revocation_time: now,
            reason_code: arguments.reason.code(),
            invalidity_date: None,
        });
    }
    let validity = Duration::from_secs(86_400) * arguments.days;
    let mut report = Report::new("crl", Outcome::Nothing);
    report.put("list", &arguments.file);
    report.put("added", &added);
    report.put("revoked", list.revoked.len());
    let due = list.next_update.is_none_or(|next| next - now < validity / 2);
    if added.is_empty() && !due {
        report.tell(format!("{}: up to date, {} revoked", arguments.file.display(), list.revoked.len()));
        return report.print(&arguments.style, out);
    }
    let number = list.number.checked_add(1).ok_or_else(|| wrong(&arguments.file, "its number cannot count on; begin a list with a new CA"))?;
    let count = list.revoked.len();
    let made = CertificateRevocationListParams {
        this_update: now,
        next_update: now + validity,
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: list.revoked,
        key_identifier_method: key_identifier(&ca.facts),
    };
    let made = made.signed_by(&ca.issuer).and_then(|list| list.pem()).map_err(of_rcgen)?;
    files::write_whole(&arguments.file, made.as_bytes(), 0o644)?;
    report.outcome = Outcome::Done;
    report.put("number", number);
    report.tell(format!("{}: number {number}, {count} revoked ({} added), next due in {} days", arguments.file.display(), added.len(), arguments.days));
    report.print(&arguments.style, out)
}

/// What the list that is there says.
#[derive(Default)]
struct Earlier {
    revoked: Vec<RevokedCertParams>,
    number: u64,
    next_update: Option<OffsetDateTime>,
}

impl Earlier {
    fn read(file: &Path, ca: &Ca) -> io::Result<Earlier> {
        let contents = files::contents(file)?;
        let unreadable = || wrong(file, "it holds no revocation list that can be read; move it away to begin a new one");
        let der = contents.lists.first().ok_or_else(unreadable)?;
        let others = contents.lists.len() + contents.certificates.len() + contents.keys.len() + contents.requests.len() - 1;
        if others > 0 {
            let what = format!("it holds {others} more lists, certificates or keys, which would be lost; give this CA's list a file of its own");
            return Err(wrong(file, what));
        }
        let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| unreadable())?;
        let (_, issuer) = X509Certificate::from_der(&ca.facts.der).map_err(|_| unreadable())?;
        if list.issuer().as_raw() != issuer.subject().as_raw() || list.verify_signature(issuer.public_key()).is_err() {
            return Err(wrong(file, "it is the list of another CA; name another file, or that CA"));
        }
        let revoked = list.iter_revoked_certificates().map(|entry| RevokedCertParams {
            serial_number: SerialNumber::from_slice(entry.raw_serial()),
            revocation_time: entry.revocation_date.to_datetime(),
            reason_code: entry.reason_code().and_then(|(_, code)| reason(code.0)),
            invalidity_date: None,
        });
        let number = list.crl_number().map_or(Some(0), |number| u64::try_from(number.clone()).ok()).ok_or_else(unreadable)?;
        Ok(Earlier { revoked: revoked.collect(), number, next_update: list.next_update().map(|time| time.to_datetime()) })
    }
}

fn reason(code: u8) -> Option<RevocationReason> {
    use RevocationReason::*;
    [KeyCompromise, CaCompromise, AffiliationChanged, Superseded, CessationOfOperation, CertificateHold, RemoveFromCrl, PrivilegeWithdrawn, AaCompromise]
        .into_iter()
        .find(|reason| *reason as u8 == code)
}

/// The serial number of a certificate of this CA.
fn serial(file: &Path, ca_file: &Path, ca: &Ca) -> io::Result<Vec<u8>> {
    let contents = files::contents(file)?;
    let facts = contents.certificates.first().and_then(Facts::read).ok_or_else(|| wrong(file, "it holds no certificate that can be read"))?;
    if !facts.signed_by(&ca.facts) {
        return Err(wrong(file, format!("this certificate was not issued by {}; only its own CA can revoke it", ca_file.display())));
    }
    Ok(facts.raw_serial)
}

/// Serial numbers are integers: leading zero octets do not count.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.iter().skip_while(|octet| **octet == 0).eq(b.iter().skip_while(|octet| **octet == 0))
}

/// The CA's own identifier of its key, so that the list is found to be its.
fn key_identifier(ca: &Facts) -> KeyIdMethod {
    let stated = X509Certificate::from_der(&ca.der).ok().and_then(|(_, x509)| {
        x509.extensions().iter().find_map(|extension| match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(identifier) => Some(identifier.0.to_vec()),
            _ => None,
        })
    });
    stated.map_or(KeyIdMethod::Sha256, KeyIdMethod::PreSpecified)
}
