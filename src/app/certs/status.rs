//! `portcullis certs status`: which generation is in force, what is in it and for how long, and whether the running border has the same. For alarms:
//! exit status 3 where something runs out within the time asked about.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;

use super::examine::{self, Yardstick, written};
use super::files::wrong;
use super::fitness::{Files, Held};
use super::layout::{Generation, Layout, Link, name_in_current};
use super::report::{Finding, Outcome, Report, Style};
use super::running::{Border, Door, ask_for_certificates};
use super::set::{Set, Use};
use super::span;

/// The command line of `certs status`.
#[derive(clap::Args, Clone, Debug)]
pub struct Arguments {
    /// The folder rotation works on; or any folder of certificate files, as a mounted Secret.
    pub folder: PathBuf,
    /// Say what this policy set uses the files for.
    #[arg(long, value_name = "POLICYSET")]
    pub set: Option<PathBuf>,
    /// End with exit status 3 where something runs out within this time.
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = span)]
    pub within: Duration,
    /// CA certificates our chains may end at, beside those in the folder and those of this machine.
    #[arg(long)]
    pub ca: Vec<PathBuf>,
    /// Ask the running border over this control socket which files it has. Without it: the one of --set, or the default one, if it is there.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    #[command(flatten)]
    pub style: Style,
}

/// A file and what in it runs out first.
#[derive(Debug, Serialize)]
struct Entry {
    file: String,
    holds: &'static str,
    names: Vec<String>,
    #[serde(with = "time::serde::rfc3339::option")]
    not_after: Option<OffsetDateTime>,
    days_left: Option<i64>,
    fingerprint: Option<String>,
    used_by: Vec<Use>,
}

/// Exit status: 0 all is well, 1 something is wrong, 2 the folder cannot be read, 3 something runs out soon.
pub fn run(arguments: &Arguments, out: &mut dyn Write) -> io::Result<u8> {
    let set = arguments.set.as_deref().map(Set::load).transpose()?;
    let now = OffsetDateTime::now_utc();
    let layout = Layout::at(&arguments.folder);
    let mut report = Report::new("status", Outcome::Nothing);
    let folder = in_force(&layout, &mut report)?;
    let Some(folder) = folder else {
        report.outcome = Outcome::Findings;
        let what = "no generation is current, so the policy set's files are not there";
        report.findings.push(Finding::problem("no-current", &arguments.folder, what, "stage files and activate them"));
        return report.print(&arguments.style, out);
    };
    let mut yardstick = Yardstick::new(now, arguments.within);
    arguments.ca.iter().for_each(|file| yardstick.learn(file));
    let (files, findings) = Files::read(&folder)?;
    report.findings = findings;
    // A set is held against the folder's generations only: of a folder without them, files are told of one by one.
    let by_set = set.as_ref().filter(|_| layout.exists()).map(|set| (set, arguments.folder.as_path()));
    report.findings.extend(files.examine(by_set, &mut yardstick));
    let entries: Vec<Entry> = files.iter().map(|(name, held)| entry(name, held, &folder, &arguments.folder, set.as_ref(), now)).collect();
    if entries.is_empty() && report.findings.is_empty() {
        return Err(wrong(&folder, "it holds no certificate files"));
    }
    for line in table(&entries) {
        report.tell(line);
    }
    let first = entries.iter().filter(|entry| entry.not_after.is_some()).min_by_key(|entry| entry.not_after);
    if let Some(first) = first {
        report.tell(format!("first to run out: {}, in {} days", first.file, first.days_left.unwrap_or_default()));
        report.put("first_to_run_out", first);
    }
    compare(arguments, set.as_ref(), &files, &folder, &mut report);
    report.put("files", &entries);
    report.outcome = if report.findings.iter().any(Finding::is_problem) {
        Outcome::Findings
    } else if report.findings.iter().any(|finding| finding.code == "expiring") {
        Outcome::DueSoon
    } else {
        Outcome::Nothing
    };
    report.print(&arguments.style, out)
}

/// The folder whose files are in force; `None`: there are generations, but none is current.
fn in_force(layout: &Layout, report: &mut Report) -> io::Result<Option<PathBuf>> {
    if !layout.exists() {
        report.tell(format!("{}: a folder of files, without generations", layout.root().display()));
        report.put("layout", "files");
        return Ok(Some(layout.root().to_path_buf()));
    }
    let [current, staged, previous] = [Link::Current, Link::Staged, Link::Previous].map(|link| layout.get(link));
    let (current, staged, previous) = (current?, staged?, previous?);
    let shown = |generation: Option<Generation>| generation.map_or_else(|| String::from("none"), |generation| generation.to_string());
    report.tell(format!("current {}, staged {}, previous {}", shown(current), shown(staged), shown(previous)));
    if staged.is_some() && staged == current {
        report.tell("an activation ended half way; run `portcullis certs activate` again");
    }
    report.put("layout", "generations");
    report.put("current", current);
    report.put("staged", staged);
    report.put("previous", previous);
    report.put("generations", layout.generations()?);
    Ok(current.map(|current| layout.folder(current)))
}

fn entry(name: &str, held: &Held, folder: &Path, root: &Path, set: Option<&Set>, now: OffsetDateTime) -> Entry {
    let first = held.certificates.iter().min_by_key(|facts| facts.not_after);
    let lists = held.contents.lists.iter().filter_map(|der| examine::list(Path::new(name), der, &Yardstick::new(now, Duration::ZERO)).ok());
    let next_list = lists.filter_map(|(list, _)| list.next_update).min();
    let holds = match (&held.certificates[..], held.contents.keys.is_empty(), held.contents.lists.is_empty()) {
        ([first, ..], _, _) if first.is_ca => "ca",
        ([_, ..], _, _) => "certificate",
        ([], false, _) => "key",
        ([], true, false) => "crl",
        ([], true, true) => "request",
    };
    let not_after = first.map(|facts| facts.not_after).or(next_list);
    let used_by = set.map(|set| match set.names_in(root) {
        named if named.is_empty() => set.uses_of(&folder.join(name)),
        named => named.into_iter().filter(|(other, _)| other == name).map(|(_, used)| used).collect(),
    });
    Entry {
        file: name.to_owned(),
        holds,
        names: held.certificates.first().map(|facts| facts.names.iter().map(ToString::to_string).collect()).unwrap_or_default(),
        not_after,
        days_left: not_after.map(|not_after| (not_after - now).whole_seconds().div_euclid(86_400)),
        fingerprint: held.certificates.first().map(|facts| facts.fingerprint.clone()),
        used_by: used_by.unwrap_or_default(),
    }
}

fn table(entries: &[Entry]) -> Vec<String> {
    let width = entries.iter().map(|entry| entry.file.chars().count()).max().unwrap_or(0);
    let line = |entry: &Entry| {
        let mut line = format!("{:<width$}  {:<11}", entry.file, entry.holds);
        // Writing into a String does not fail.
        if let (Some(not_after), Some(days)) = (entry.not_after, entry.days_left) {
            let _ = write!(line, "  {} ({days} days left)", written(not_after));
        }
        for used in &entry.used_by {
            let _ = write!(line, "  {used}");
        }
        line.trim_end().to_owned()
    };
    entries.iter().map(line).collect()
}

/// Whether the running border has the certificates that lie here.
fn compare(arguments: &Arguments, set: Option<&Set>, files: &Files, folder: &Path, report: &mut Report) {
    let border = Border { socket: arguments.socket.clone(), ..Border::default() };
    let socket = match border.door(set) {
        Ok(Door::Socket(socket)) => socket,
        Ok(_) => {
            report.put("border", Value::Null);
            return;
        }
        // A border nobody asked about, which this user may not ask.
        Err(error) if arguments.socket.is_none() => {
            report.tell(format!("the running border was not asked: {error}"));
            return;
        }
        Err(error) => return silent(arguments, &error, report),
    };
    let said = match ask_for_certificates(&socket) {
        Ok(said) => said,
        Err(error) => return silent(arguments, &error, report),
    };
    let mut theirs: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for held in said["held"].as_array().into_iter().flatten() {
        let Some(path) = held["file"].as_str().map(Path::new) else { continue };
        let Some(name) = name_in_current(&arguments.folder, path).or_else(|| name_in(folder, path)) else { continue };
        theirs.entry(name).or_default().push(held);
    }
    let has = |name: &str| files.iter().find(|(other, _)| *other == name).map(|(_, held)| held);
    let (alike, differ): (Vec<String>, Vec<String>) = theirs.keys().cloned().partition(|name| has(name).is_some_and(|ours| same(ours, &theirs[name])));
    report.put("border", serde_json::json!({ "socket": socket, "same": alike, "differs": differ }));
    if differ.is_empty() {
        report.tell(match alike.len() {
            0 => String::from("the running border uses none of these files"),
            _ => format!("the running border has the same: {}", alike.join(", ")),
        });
    }
    for name in differ {
        let what = "the running border has something else than this file holds";
        let remedy = "have it rotate (`portcullis rotate`, or SIGHUP); where it refuses, its log says why";
        report.findings.push(Finding::problem("border-differs", &folder.join(name), what, remedy));
    }
}

fn silent(arguments: &Arguments, error: &io::Error, report: &mut Report) {
    report.findings.push(Finding::problem("border-silent", &arguments.folder, error.to_string(), "see whether the border runs"));
}

fn name_in(folder: &Path, file: &Path) -> Option<String> {
    let same = file.parent()?.canonicalize().ok()? == folder.canonicalize().ok()?;
    file.file_name().filter(|_| same)?.to_str().map(str::to_owned)
}

/// By fingerprints, or where the border tells none, by the moments they begin and end.
fn same(ours: &Held, theirs: &[&Value]) -> bool {
    let plain = |text: &str| text.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_ascii_uppercase();
    let told: Option<BTreeSet<String>> = theirs.iter().map(|held| held["fingerprint"].as_str().map(plain)).collect();
    if let Some(told) = told {
        return told == ours.certificates.iter().map(|facts| plain(&facts.fingerprint)).collect();
    }
    let told: BTreeSet<_> = theirs.iter().map(|held| (held["not_before"].as_i64(), held["not_after"].as_i64())).collect();
    let moment = |moment: OffsetDateTime| Some(moment.unix_timestamp());
    let here = ours.certificates.iter().map(|facts| (moment(facts.not_before), moment(facts.not_after)));
    let yardstick = Yardstick::new(OffsetDateTime::now_utc(), Duration::ZERO);
    let lists = ours.contents.lists.iter().filter_map(|der| examine::list(Path::new(""), der, &yardstick).ok());
    told == here.chain(lists.map(|(list, _)| (moment(list.this_update), list.next_update.and_then(moment)))).collect()
}
