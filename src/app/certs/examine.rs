//! What is wrong with a certificate, its chain and its key (RFC 5280 §6, RFC 5922 §7, RFC 8446 §4.4.2), as findings: all of them, not the first.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{KeyPair, PublicKeyData};
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;
use zeroize::Zeroizing;

use super::facts::{Facts, San, printable};
use super::files::{self, Contents};
use super::names;
use super::report::{Finding, Severity};

/// Public roots of this machine, in the places of the usual systems.
const SYSTEM_ROOTS: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// What certificates are held against.
pub struct Yardstick {
    pub now: OffsetDateTime,
    /// Less left than this is worth a warning.
    pub within: Duration,
    /// CA certificates a chain may end at, with the files they are in.
    pub known: Vec<(PathBuf, Facts)>,
}

impl Yardstick {
    pub fn new(now: OffsetDateTime, within: Duration) -> Yardstick {
        Yardstick { now, within, known: Vec::new() }
    }

    /// Takes in the CA certificates of a file; what cannot be read is somebody else's to report.
    pub fn learn(&mut self, file: &Path) {
        if let Ok(contents) = files::contents(file) {
            let facts = contents.certificates.iter().filter_map(Facts::read).filter(|facts| facts.is_ca || facts.self_issued);
            self.known.extend(facts.map(|facts| (file.to_path_buf(), facts)));
        }
    }

    /// Who has signed it.
    fn issuer_of(&self, facts: &Facts) -> Option<(PathBuf, Facts)> {
        let known = self.known.iter().find(|(_, other)| facts.signed_by(other)).cloned();
        known.or_else(|| system_root(facts))
    }
}

fn system_root(facts: &Facts) -> Option<(PathBuf, Facts)> {
    let path = SYSTEM_ROOTS.iter().map(PathBuf::from).find(|path| path.exists())?;
    let contents = files::contents(&path).ok()?;
    let named = contents.certificates.iter().filter(|der| facts.may_be_issued_by(der));
    let root = named.filter_map(Facts::read).find(|root| facts.signed_by(root))?;
    Some((path, root))
}

/// Where a chain ends.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "ends")]
pub enum Top {
    /// With a certificate that signs itself, in the file.
    SelfSigned { subject: String },
    /// Below a root in another file.
    Root { subject: String, file: PathBuf },
    /// Below an intermediate that is not in the file.
    Intermediate { subject: String, file: PathBuf },
    /// Below somebody whose certificate is not known here.
    Unknown { issuer: String },
}

impl std::fmt::Display for Top {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Top::SelfSigned { subject } => write!(f, "ends with {subject}, which signs itself"),
            Top::Root { subject, file } => write!(f, "complete, up to the root {subject} in {}", file.display()),
            Top::Intermediate { subject, file } => write!(f, "incomplete: {subject}, in {}, is missing", file.display()),
            Top::Unknown { issuer } => write!(f, "not known to be complete: signed by {issuer}, whose certificate is not at hand"),
        }
    }
}

/// Walks up from the first certificate.
pub fn top(chain: &[Facts], yardstick: &Yardstick) -> Option<Top> {
    let mut last = chain.first()?;
    for _ in 0..=chain.len() {
        if last.signed_by(last) {
            return Some(Top::SelfSigned { subject: last.subject.clone() });
        }
        let Some(next) = chain.iter().find(|other| !std::ptr::eq(*other, last) && last.signed_by(other)) else { break };
        last = next;
    }
    Some(match yardstick.issuer_of(last) {
        Some((file, facts)) if facts.self_issued => Top::Root { subject: facts.subject, file },
        Some((file, facts)) => Top::Intermediate { subject: facts.subject, file },
        None => Top::Unknown { issuer: last.issuer.clone() },
    })
}

/// A file that begins with a certificate of ours, or of another end: the certificate itself, and what follows it.
pub fn leaf(file: &Path, chain: &[Facts], yardstick: &Yardstick) -> Vec<Finding> {
    let Some(leaf) = chain.first() else { return Vec::new() };
    let mut found: Vec<Finding> = dates(file, leaf, "the certificate", yardstick).into_iter().collect();
    found.extend(strength(file, leaf, true));
    if leaf.is_ca {
        let what = "the first certificate is a CA's (CA:TRUE), which nobody takes for a server's or client's";
        found.push(Finding::problem("ca-as-leaf", file, what, "put our own certificate first; where it is self-signed, make it anew with CA:FALSE"));
    }
    found.extend(usages(file, leaf));
    found.extend(identity(file, leaf));
    for (index, pair) in chain.windows(2).enumerate() {
        if let [below, above] = pair {
            found.extend(dates(file, above, &format!("certificate {} of the chain ({})", index + 2, above.subject), yardstick));
            found.extend(strength(file, above, !above.self_issued));
            found.extend(link(file, index, below, above, chain));
        }
    }
    if let Some(first) = found.iter().position(|finding| finding.code == "chain-order") {
        let mut index = 0;
        found.retain(|finding| {
            index += 1;
            finding.code != "chain-order" || index == first + 1
        });
    }
    found.extend(completeness(file, chain, yardstick));
    found
}

fn dates(file: &Path, facts: &Facts, which: &str, yardstick: &Yardstick) -> Option<Finding> {
    let now = yardstick.now;
    if facts.not_after < now {
        let what = format!("{which} expired on {}", written(facts.not_after));
        return Some(Finding::problem("expired", file, what, "renew it"));
    }
    if facts.not_before > now {
        let what = format!("{which} is not valid before {}", written(facts.not_before));
        return Some(Finding::problem("not-yet-valid", file, what, "see that this machine's clock is right, or wait"));
    }
    (facts.not_after - now < yardstick.within).then(|| {
        let what = format!("{which} expires on {}, in {} days", written(facts.not_after), facts.days_left(now));
        Finding::warning("expiring", file, what, "renew it now")
    })
}

fn strength(file: &Path, facts: &Facts, signature_counts: bool) -> Vec<Finding> {
    let weak = facts.weak_key.iter().map(|what| {
        Finding::problem("weak-key", file, format!("{}: {what}", facts.subject), "make a new key, P-256 or RSA with 2048 bits or more (`portcullis certs csr`)")
    });
    let sha1 = (facts.sha1 && signature_counts).then(|| {
        let what = format!("{}: signed with {}, which TLS stacks refuse", facts.subject, facts.signature);
        Finding::problem("sha1", file, what, "have it issued anew, signed with SHA-256")
    });
    weak.chain(sha1).collect()
}

fn usages(file: &Path, leaf: &Facts) -> Option<Finding> {
    match (leaf.server_auth, leaf.client_auth) {
        (true, true) => None,
        (false, false) => Some(Finding::problem(
            "usage-missing",
            file,
            "it names neither server nor client authentication as its usage: nobody takes it, neither when it is called nor when it calls",
            "have it issued anew with both extended key usages (serverAuth, clientAuth)",
        )),
        (false, true) => Some(Finding::problem(
            "server-auth-missing",
            file,
            "it lacks the usage server authentication: whoever connects to its holder refuses it",
            "have it issued anew with both extended key usages (serverAuth, clientAuth)",
        )),
        (true, false) => Some(Finding::warning(
            "client-auth-missing",
            file,
            "it lacks the usage client authentication: its holder can be called, but those it calls refuse it, Exchange among them",
            "have it issued by a CA that still gives both usages, a private one if need be; a border like this one may take it by server_certificate_as_client",
        )),
    }
}

/// Names in the wrong place, or of a kind that is not compared (RFC 5922 §7.2).
fn identity(file: &Path, leaf: &Facts) -> Vec<Finding> {
    let mut found = Vec::new();
    let give = "have it issued anew with every name in full as a subject alternative name (`portcullis certs csr --name …`)";
    let named = leaf.names.iter().any(|name| name.host().is_some_and(|host| !host.contains('*')));
    let from_subject: Vec<&String> = leaf.common_names.iter().filter(|name| names::is_host_name(name) && name.contains('.')).collect();
    if let (false, Some(name)) = (named, from_subject.first()) {
        found.push(Finding::problem("common-name-only", file, format!("the name {name} stands in the subject only, where nobody looks for it"), give));
    } else if !named {
        found.push(Finding::problem("no-names", file, "it carries no name that can be compared: no host name, address or sip: domain", give));
    }
    for wildcard in leaf.names.iter().map(San::text).chain(leaf.common_names.iter().map(String::as_str)).filter(|name| name.contains('*')) {
        found.push(Finding::warning("wildcard", file, format!("{wildcard} is a wildcard, which SIP peers do not match (RFC 5922 section 7.2)"), give));
    }
    found
}

/// Whether one certificate of the file follows from the one before it.
fn link(file: &Path, index: usize, below: &Facts, above: &Facts, chain: &[Facts]) -> Option<Finding> {
    let (at, after) = (index + 2, index + 1);
    if below.signed_by(above) {
        let misplaced = !above.is_ca;
        return misplaced.then(|| {
            let what = format!("certificate {at} ({}) has signed the one before it, but is no CA's (CA:FALSE)", above.subject);
            Finding::problem("chain-broken", file, what, "get the CA's own intermediates")
        });
    }
    if below.signed_by(below) {
        let what = format!("certificate {at} ({}) follows one that signs itself", above.subject);
        return Some(Finding::problem("chain-extra", file, what, "take it out: nothing comes after a root"));
    }
    if chain.iter().any(|other| below.signed_by(other) || (other.signed_by(above) && !std::ptr::eq(other, above))) {
        let what = String::from("its certificates are out of order, and not every peer sorts them");
        return Some(Finding::problem("chain-order", file, what, "put our own certificate first, then each one's issuer"));
    }
    Some(if below.names_as_issuer(above) {
        let what = format!("certificate {at} ({}) bears the name of the issuer of certificate {after}, but its key has not signed it", above.subject);
        Finding::problem("chain-broken", file, what, "get the CA's current intermediates")
    } else {
        Finding::problem(
            "chain-extra",
            file,
            format!("certificate {at} ({}) has nothing to do with certificate {after}", above.subject),
            "take it out, or put the missing one between them",
        )
    })
}

fn completeness(file: &Path, chain: &[Facts], yardstick: &Yardstick) -> Option<Finding> {
    match top(chain, yardstick)? {
        Top::SelfSigned { .. } if chain.len() == 1 => Some(Finding::warning(
            "self-signed",
            file,
            "it is self-signed: only a peer that has pinned this very certificate takes it",
            "have it issued by a CA the peers trust, or give it to each of them",
        )),
        Top::SelfSigned { .. } | Top::Root { .. } => None,
        Top::Intermediate { subject, file: at } => {
            let what = format!("the intermediate {subject} is missing: peers that know the root only cannot verify us");
            Some(Finding::problem("chain-incomplete", file, what, format!("append it, from {}", at.display())))
        }
        Top::Unknown { issuer } => {
            let what = format!("the chain ends below {issuer}, whose certificate is neither in the file nor known here");
            let remedy = "append the CA's intermediates; if that issuer is itself the root, name its certificate with --ca";
            // With an intermediate in the file, most likely only the root is not at hand.
            let severity = if chain.len() > 1 { Severity::Warning } else { Severity::Problem };
            Some(Finding { severity, ..Finding::problem("chain-incomplete", file, what, remedy) })
        }
    }
}

/// Names that peers look for in a certificate of ours: what is missing, or written otherwise.
pub fn names(file: &Path, leaf: &Facts, wanted: &str, whose: &str) -> Option<Finding> {
    let is_address = wanted.parse::<std::net::IpAddr>().is_ok();
    let same = |name: &&San| name.host().is_some_and(|host| host.eq_ignore_ascii_case(wanted));
    match leaf.names.iter().find(same) {
        Some(name) if name.host() == Some(wanted) => None,
        Some(name) => {
            let what = format!("it carries {name}, the policy set says \"{wanted}\" ({whose}): another case");
            Some(Finding::warning("name-case", file, what, "write both alike, best in lower case: some peers compare letter by letter"))
        }
        None => {
            let carried: Vec<String> = leaf.names.iter().map(ToString::to_string).collect();
            let carried = if carried.is_empty() { String::from("none") } else { carried.join(", ") };
            let what = format!("it lacks the name \"{wanted}\" ({whose}); it carries {carried}");
            let remedy = "have it issued anew with that name, or correct the policy set";
            // By an address we are seldom verified; a name is what peers configure.
            let severity = if is_address { Severity::Warning } else { Severity::Problem };
            Some(Finding { severity, ..Finding::problem("name-missing", file, what, remedy) })
        }
    }
}

/// A file of CA certificates, or of pinned ones.
pub fn authorities(file: &Path, all: &[Facts], yardstick: &Yardstick) -> Vec<Finding> {
    let mut found = Vec::new();
    for facts in all {
        found.extend(dates(file, facts, &format!("the CA certificate {}", facts.subject), yardstick));
        found.extend(strength(file, facts, false));
        if !facts.is_ca && !facts.self_issued {
            let what = format!("{} is neither a CA's certificate nor self-signed, so nothing can be trusted by it", facts.subject);
            found.push(Finding::problem("not-a-ca", file, what, "put the peer's CA certificates there, or its own self-signed one to pin it"));
        }
    }
    found
}

/// A key file: its mode, that it can be read, and whether it belongs to the certificate.
pub fn key(file: &Path, certificate: Option<(&Path, &Facts)>) -> Vec<Finding> {
    let mut found = Vec::new();
    match files::open_to_others(file) {
        Err(error) => return vec![unreadable(file, &error)],
        Ok(Some(mode)) => {
            let what = format!("this private key is open to others (mode {mode:04o}); it may have been read by them");
            found.push(Finding::problem("key-open", file, what, format!("run: chmod 600 {}; better, make a new key and have it certified", file.display())));
        }
        Ok(None) => {}
    }
    let contents = match files::contents(file) {
        Ok(contents) => contents,
        Err(error) => {
            found.push(unreadable(file, &error));
            return found;
        }
    };
    match public_key(&contents) {
        Err(what) => found.push(Finding::problem("key-unusable", file, what, "store one RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519 key as PEM")),
        Ok(public) => {
            if let Some((certificate, facts)) = certificate.filter(|(_, facts)| facts.public_key_info != public) {
                let what = format!("this key does not belong to the certificate in {} ({})", certificate.display(), facts.subject);
                found.push(Finding::problem(
                    "key-mismatch",
                    file,
                    what,
                    "put the key there that the certificate was requested with; both must be renewed together",
                ));
            }
        }
    }
    found
}

/// The public half (DER, SubjectPublicKeyInfo) of the one key in the file.
pub fn public_key(contents: &Contents) -> Result<Vec<u8>, String> {
    let [key] = contents.keys.as_slice() else {
        return Err(format!("it holds {} private keys; it must hold one", contents.keys.len()));
    };
    let pair = KeyPair::try_from(key).map(Zeroizing::new).map_err(|_| String::from("its key is of no kind that is used in TLS"))?;
    Ok(pair.subject_public_key_info())
}

/// What a revocation list says.
#[derive(Clone, Debug, Serialize)]
pub struct List {
    pub issuer: String,
    #[serde(with = "time::serde::rfc3339")]
    pub this_update: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_update: Option<OffsetDateTime>,
    pub revoked: usize,
}

/// `Err`: it cannot be read.
pub fn list(file: &Path, der: &[u8], yardstick: &Yardstick) -> Result<(List, Vec<Finding>), Finding> {
    let broken = || Finding::problem("unreadable", file, "its revocation list cannot be read", "fetch it again");
    let (_, list) = CertificateRevocationList::from_der(der).map_err(|_| broken())?;
    let facts = List {
        issuer: printable(&list.issuer().to_string()),
        this_update: list.last_update().to_datetime(),
        next_update: list.next_update().map(|time| time.to_datetime()),
        revoked: list.iter_revoked_certificates().count(),
    };
    let mut found = Vec::new();
    if let Some(next) = facts.next_update.filter(|next| *next < yardstick.now) {
        let what = format!("the revocation list of {} was to be replaced by {}", facts.issuer, written(next));
        found.push(Finding::warning("crl-stale", file, what, "fetch the current one; until then stale_crl of the peer decides"));
    }
    let signed = |(_, ca): &(PathBuf, Facts)| {
        X509Certificate::from_der(&ca.der)
            .is_ok_and(|(_, ca)| list.issuer().as_raw() == ca.subject().as_raw() && list.verify_signature(ca.public_key()).is_ok())
    };
    if !yardstick.known.iter().any(signed) {
        let what = format!("the revocation list of {} is signed by no CA that is known here", facts.issuer);
        found.push(Finding::warning("crl-foreign", file, what, "keep it beside its CA's certificate, or fetch the list of the CA that is"));
    }
    Ok((facts, found))
}

pub fn unreadable(file: &Path, error: &std::io::Error) -> Finding {
    let text = error.to_string();
    let what = text.strip_prefix(&format!("{}: ", file.display())).unwrap_or(&text).to_owned();
    Finding::problem("unreadable", file, what, "put the whole file there")
}

pub fn written(moment: OffsetDateTime) -> String {
    moment.replace_nanosecond(0).unwrap_or(moment).format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}
