//! `portcullis certs inspect`: everything a certificate file says, what is wrong with it, who in a policy set uses it, and who would accept it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use time::OffsetDateTime;

use super::examine::{self, List, Top, Yardstick, written};
use super::facts::{Facts, San};
use super::files;
use super::report::{Finding, Outcome, Report, Style};
use super::set::{AsPeer, Role, Set, Use};
use super::span;

/// The command line of `certs inspect`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// PEM files: certificates, CA certificates, keys, requests, revocation lists.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// The key that should belong to the first certificate of the first file.
    #[arg(long)]
    pub key: Option<PathBuf>,
    /// CA certificates a chain may end at, beside those of the other files, of the policy set and of this machine.
    #[arg(long)]
    pub ca: Vec<PathBuf>,
    /// Say who in this policy set uses the files, and which peers' they would be accepted as.
    #[arg(long, value_name = "POLICYSET")]
    pub set: Option<PathBuf>,
    /// Warn of what runs out within this time.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = span)]
    pub within: Duration,
    #[command(flatten)]
    pub style: Style,
}

/// One file, read.
#[derive(Debug, Default, Serialize)]
struct Sheet {
    file: PathBuf,
    certificates: Vec<Facts>,
    chain: Option<Top>,
    /// A private key: its mode, and the certificate file it belongs to.
    key: Option<Key>,
    requests: usize,
    lists: Vec<List>,
    used_by: Vec<Use>,
    /// Each TLS peer of the set: would it be accepted as that peer's?
    as_peer: Vec<AsPeer>,
}

#[derive(Debug, Serialize)]
struct Key {
    file: PathBuf,
    mode: String,
    belongs_to: Option<PathBuf>,
}

/// Exit status: 0 nothing found, 1 findings, 2 a file, or the policy set, cannot be read.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let set = arguments.set.as_deref().map(Set::load).transpose()?;
    let now = OffsetDateTime::now_utc();
    let mut yardstick = Yardstick::new(now, arguments.within);
    arguments.files.iter().chain(&arguments.ca).for_each(|file| yardstick.learn(file));
    let authorities: Vec<Use> = set.iter().flat_map(Set::uses).filter(|used| used.role == Role::Ca).collect();
    authorities.iter().for_each(|used| yardstick.learn(&used.file));
    let mut report = Report::new("inspect", Outcome::Done);
    let mut sheets = Vec::new();
    for (index, file) in arguments.files.iter().enumerate() {
        let key = arguments.key.as_deref().filter(|_| index == 0);
        let (sheet, findings) = sheet(file, key, set.as_ref(), &yardstick, &arguments.files)?;
        report.findings.extend(findings);
        sheets.push(sheet);
    }
    for sheet in &sheets {
        text(sheet, now).lines().for_each(|line| report.tell(line));
    }
    if !report.findings.is_empty() {
        report.outcome = Outcome::Findings;
    }
    report.put("files", &sheets);
    report.print(&arguments.style, out)
}

fn sheet(file: &Path, key: Option<&Path>, set: Option<&Set>, yardstick: &Yardstick, all: &[PathBuf]) -> io::Result<(Sheet, Vec<Finding>)> {
    let contents = files::contents(file)?;
    let certificates: Vec<Facts> = contents.certificates.iter().filter_map(Facts::read).collect();
    if certificates.len() < contents.certificates.len() {
        return Err(files::wrong(file, "one of its certificates cannot be read; export it again as PEM"));
    }
    let mut sheet = Sheet { file: file.to_path_buf(), requests: contents.requests.len(), ..Sheet::default() };
    let mut found = Vec::new();
    sheet.used_by = set.map(|set| set.uses_of(file)).unwrap_or_default();
    let has_key = key.is_some() || !contents.keys.is_empty();
    if is_authorities(&certificates, &sheet.used_by, has_key) {
        found.extend(examine::authorities(file, &certificates, yardstick));
    } else if let Some(leaf) = certificates.first() {
        found.extend(examine::leaf(file, &certificates, yardstick));
        sheet.chain = examine::top(&certificates, yardstick);
        if let Some(set) = set {
            found.extend(in_set(file, leaf, &sheet.used_by, set));
            sheet.as_peer = set.as_peers(&certificates);
            found.extend(accepted_by_nobody(file, &sheet));
        }
    }
    let key_file = key.or_else(|| has_key.then_some(file));
    if let Some(key_file) = key_file {
        let leaf = certificates.first();
        found.extend(examine::key(key_file, leaf.map(|leaf| (file, leaf))));
        sheet.key = Some(described(key_file, all.iter().chain(leaf.map(|_| &sheet.file)))?);
    }
    for der in &contents.lists {
        match examine::list(file, der, yardstick) {
            Ok((list, findings)) => {
                sheet.lists.push(list);
                found.extend(findings);
            }
            Err(finding) => found.push(finding),
        }
    }
    sheet.certificates = certificates;
    Ok((sheet, found))
}

/// Whether a file is looked at as what others are trusted by, not as somebody's own certificate.
fn is_authorities(certificates: &[Facts], used_by: &[Use], has_key: bool) -> bool {
    let trusted_by = used_by.iter().any(|used| used.role == Role::Ca);
    let shown = has_key || used_by.iter().any(|used| used.role == Role::Certificate);
    !shown && (trusted_by || (!certificates.is_empty() && certificates.iter().all(|facts| facts.is_ca)))
}

/// The names the set knows us by where the file is our own, and peers' names written in another case.
fn in_set(file: &Path, leaf: &Facts, used_by: &[Use], set: &Set) -> Vec<Finding> {
    let mut found = Vec::new();
    let shown = used_by.iter().any(|used| used.role == Role::Certificate);
    let uses_it = |own: &super::set::Own| set.uses_of(file).iter().any(|used| used.file == own.files.certificate);
    for own in set.own().iter().filter(|own| shown && uses_it(own)) {
        found.extend(own.known_as.iter().filter_map(|(name, whose)| examine::names(file, leaf, name, whose)));
    }
    for (name, peer) in set.peer_names() {
        let otherwise = |san: &&San| san.host().is_some_and(|host| host.eq_ignore_ascii_case(&name) && host != name);
        if let Some(san) = leaf.names.iter().find(otherwise) {
            let what = format!("it carries {san}, the policy set knows peer \"{peer}\" as {name}: another case");
            found.push(Finding::warning("name-case", file, what, "write both alike: some servers compare letter by letter, this border does not"));
        }
    }
    found
}

fn accepted_by_nobody(file: &Path, sheet: &Sheet) -> Option<Finding> {
    let accepted = sheet.as_peer.iter().any(|peer| peer.calls_in.accepted || peer.is_called.accepted);
    let nobodys = sheet.used_by.is_empty() && !accepted && !sheet.as_peer.is_empty();
    nobodys.then(|| {
        let what = "the policy set does not use it, and it would be accepted as no peer's";
        Finding::warning(
            "not-accepted",
            file,
            what,
            "compare the reasons at each peer: another CA in its ca file, another name in tls_names, or another certificate",
        )
    })
}

fn described<'a>(key: &Path, certificates: impl Iterator<Item = &'a PathBuf>) -> io::Result<Key> {
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(key)?.permissions().mode() & 0o777;
    let public = files::contents(key).ok().and_then(|contents| examine::public_key(&contents).ok());
    let belongs = |file: &&PathBuf| {
        let first = files::contents(file).ok().and_then(|contents| contents.certificates.first().and_then(Facts::read));
        first.is_some_and(|facts| Some(&facts.public_key_info) == public.as_ref())
    };
    let mut certificates = certificates;
    Ok(Key { file: key.to_path_buf(), mode: format!("{mode:04o}"), belongs_to: certificates.find(belongs).cloned() })
}

/// As people read it.
fn text(sheet: &Sheet, now: OffsetDateTime) -> String {
    let mut text = format!("{}\n", sheet.file.display());
    // Writing into a String does not fail.
    for (index, facts) in sheet.certificates.iter().enumerate() {
        let kind = match (facts.is_ca, facts.self_issued) {
            (true, true) => "a root CA's",
            (true, false) => "an intermediate CA's",
            (false, true) => "self-signed",
            (false, false) => "a server's or client's",
        };
        let _ = writeln!(text, "  certificate {} of {}: {kind}", index + 1, sheet.certificates.len());
        let _ = writeln!(text, "    subject  {}", facts.subject);
        let _ = writeln!(text, "    issuer   {}", facts.issuer);
        let _ = writeln!(text, "    serial   {}", facts.serial);
        if !facts.names.is_empty() {
            let names: Vec<String> = facts.names.iter().map(ToString::to_string).collect();
            let _ = writeln!(text, "    names    {}", names.join(", "));
        }
        let left = match facts.days_left(now) {
            days if days < 0 => String::from("expired"),
            days => format!("{days} days left"),
        };
        let _ = writeln!(text, "    valid    {} to {} ({left})", written(facts.not_before), written(facts.not_after));
        let _ = writeln!(text, "    key      {}, signed with {}", facts.key, facts.signature);
        if !facts.is_ca {
            let _ = writeln!(text, "    usage    {}", facts.usages());
        }
        let _ = writeln!(text, "    SHA-256  {}", facts.fingerprint);
    }
    if let Some(top) = &sheet.chain {
        let _ = writeln!(text, "  chain    {top}");
    }
    if let Some(key) = &sheet.key {
        let belongs =
            key.belongs_to.as_ref().map_or_else(|| String::from("belongs to none of these certificates"), |file| format!("belongs to {}", file.display()));
        let _ = writeln!(text, "  key      {}, mode {}, {belongs}", key.file.display(), key.mode);
    }
    if sheet.requests > 0 {
        let _ = writeln!(text, "  {} certificate request; sign it with `portcullis certs issue`, or send it to a CA", sheet.requests);
    }
    for list in &sheet.lists {
        let next = list.next_update.map_or_else(|| String::from("unsaid"), written);
        let _ = writeln!(text, "  revocation list of {}: {} revoked, of {}, next due {next}", list.issuer, list.revoked, written(list.this_update));
    }
    for used in &sheet.used_by {
        let _ = writeln!(text, "  used as  {used}");
    }
    for peer in &sheet.as_peer {
        let _ = writeln!(text, "  as peer \"{}\" that calls us: {}", peer.peer, peer.calls_in);
        let _ = writeln!(text, "  as peer \"{}\" that we call: {}", peer.peer, peer.is_called);
    }
    text
}
