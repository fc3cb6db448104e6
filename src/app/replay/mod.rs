//! `portcullis replay POLICYSET --from RECORDS|CAPTURE`: which recorded calls another policy set would decide otherwise, and why, before it is in force.
//!
//! Each INVITE goes through the set by the functions `run` decides with; no socket is opened but the one to a running border where its peer table is asked for.
//! What a recording cannot say is not compared: who gave signs of life, how many calls were up. So calls refused for load then are left out, and
//! everybody is taken to be there.

mod capture;
pub mod compare;
pub mod heard;
pub mod names;
mod progress;
mod records;
pub mod report;

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::capture::Capture;
use self::heard::{Before, Heard, Judged, Recording, judge};
use self::names::Names;
use self::report::Report;
use crate::adapters::api;
use crate::adapters::history::Chosen;
use crate::adapters::telemetry::invites::Then;
use crate::app::explain::deciding::Ground;
use crate::config::{self, Settings};
use crate::policy::liveness::Board;
use crate::policy::outcome::Outcome;
use crate::policy::peer::PeerTable;

pub use records::Records;

/// Says which recorded calls another policy set would decide otherwise, and why.
#[derive(clap::Args, Clone, Debug)]
pub struct Replay {
    /// The folder of the set that is to be.
    pub policy_set: PathBuf,
    /// The border's store of call records (`[records] store`), or a capture of packets (pcap, pcapng).
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Of the newest so many calls alone.
    #[arg(long, value_name = "N")]
    pub last: Option<u64>,
    /// Of calls begun since then: a time such as 2026-11-22T13:00:00Z, or how long ago, such as 12h.
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Compare with what this set would decide, instead of what was decided then; a capture needs it.
    #[arg(long, value_name = "OLDSET")]
    pub against: Option<PathBuf>,
    /// Where a host name of the sets lives; stands above what the recording shows.
    #[arg(long, value_name = "NAME=ADDR")]
    pub resolve: Vec<String>,
    /// Ask the running border where the names of its peers live now, at its control socket.
    #[arg(long, value_name = "SOCKET", num_args = 0..=1, default_missing_value = api::DEFAULT)]
    pub live: Option<PathBuf>,
    /// List so many of the calls that would change.
    #[arg(long, default_value_t = 1000)]
    pub limit: usize,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// Exit status: no verdict would change.
pub const SAME: u8 = 0;
/// Exit status: some would.
pub const DIFFERENT: u8 = 1;
/// Exit status: the sets, the recording or the arguments cannot be used.
pub const UNUSABLE: u8 = 2;

/// Prints what would change and returns the exit status.
///
/// # Errors
///
/// It cannot be printed.
pub fn replay(arguments: &Replay, out: &mut dyn Write) -> io::Result<u8> {
    match asked(arguments) {
        Ok(report) => {
            if arguments.json {
                writeln!(out, "{:#}", serde_json::to_value(&report)?)?;
            } else {
                report.print(out)?;
            }
            Ok(if report.changing == 0 { SAME } else { DIFFERENT })
        }
        Err(trouble) => {
            writeln!(out, "{trouble}")?;
            Ok(UNUSABLE)
        }
    }
}

fn asked(arguments: &Replay) -> Result<Report, String> {
    let load = |folder: &Path| {
        config::load(folder)
            .map(|(settings, _)| settings)
            .map_err(|problems| format!("{} has problems (see `portcullis check`):\n{problems}", folder.display()))
    };
    let candidate = load(&arguments.policy_set)?;
    let old = arguments.against.as_deref().map(load).transpose()?;
    let since = arguments.since.as_deref().map(time_of).transpose()?;
    let mut names = Names::told(&arguments.resolve)?;
    if let Some(socket) = &arguments.live {
        learn_live(socket, &mut names)?;
    }
    let recording: Box<dyn Recording> = if is_store(&arguments.from)? {
        Box::new(Records::new(arguments.from.clone(), Chosen { last: arguments.last, since }))
    } else {
        if !capture::is_capture(&arguments.from)? {
            let what = "is neither a store of call records ([records] store) nor a capture of packets (pcap, pcapng)";
            return Err(format!("--from {} {what}", arguments.from.display()));
        }
        if old.is_none() {
            let what = "does not say what the border decided: name the set in force with --against";
            return Err(format!("{}: a capture {what}", arguments.from.display()));
        }
        let own: Vec<SocketAddr> =
            candidate.signaling.listeners.iter().flat_map(|listener| [Some(listener.bound), listener.advertised.parse().ok()]).flatten().collect();
        Box::new(Capture::read(&arguments.from, &own, arguments.last, since)?)
    };
    let against = arguments.against.as_ref().map(|folder| format!("what {} decides", folder.display()));
    let recording = progress::Watched::new(&*recording);
    DryRun { recording: &recording, candidate: &candidate, old: old.as_ref(), against, limit: arguments.limit }.run(names)
}

/// A recording, the set that is to be, and what it is compared with.
pub struct DryRun<'a> {
    pub recording: &'a dyn Recording,
    pub candidate: &'a Settings,
    /// `None`: what was decided then.
    pub old: Option<&'a Settings>,
    /// What that is, in words.
    pub against: Option<String>,
    pub limit: usize,
}

impl DryRun<'_> {
    /// Goes through the recording twice: for the names it shows, and for the verdicts. Blocks the thread.
    ///
    /// # Errors
    ///
    /// The recording cannot be read.
    pub fn run(&self, mut names: Names) -> Result<Report, String> {
        self.recording.each(&mut |heard| {
            names.learn(&heard);
            true
        })?;
        let (table, unknown) = names.table(&self.candidate.policy);
        let old = self.old.map(|settings| (settings, names.table(&settings.policy).0));
        let board = Board::default();
        let new = Ground { settings: self.candidate, table: &table, liveness: &board };
        let old = old.as_ref().map(|(settings, table)| Ground { settings, table, liveness: &board });
        let against = self.against.clone().unwrap_or_else(|| String::from("what was decided when they came"));
        let mut report = Report { against, ..Report::default() };
        let (mut left_out, mut by_certificate) = (BTreeMap::new(), false);
        self.recording.each(&mut |heard| {
            match before(&heard, old.as_ref()) {
                Ok(before) => {
                    let after = judge(&new, &heard);
                    by_certificate |= heard.transport.is_encrypted();
                    report.compared += 1;
                    if let Some(change) = compare::compare(&before, &after) {
                        report.add(self.limit, &heard, &before, &after, change);
                    }
                }
                Err(why) => *left_out.entry(why).or_insert(0) += 1,
            }
            true
        })?;
        report.leave_out(left_out);
        let name = |name: &String| {
            format!("{name} lives at a stand-in address, since nobody knows another (say where with --resolve {name}=ADDR, or ask with --live)")
        };
        report.assumed = unknown.iter().map(name).collect();
        if by_certificate {
            report.assumed.push(String::from("certificates that were trusted are trusted by whoever lives at their address now: CAs are not compared"));
        }
        report.assumed.extend(self.recording.remarks());
        Ok(report)
    }
}

/// What the verdict is compared with; `Err`: why it is with nothing.
fn before(heard: &Heard, old: Option<&Ground<'_>>) -> Result<Judged, String> {
    match (&heard.before, old) {
        (Before::Unasked { reason }, _) => Err(format!("refused before any policy was asked ({reason}); so they would be under any set")),
        (Before::Screened(_) | Before::Unknown, Some(ground)) => Ok(judge(ground, heard)),
        (Before::Screened(then), None) => match &then.outcome {
            Outcome::Refused { reason } if is_for_load(then) => Err(format!("refused for load then ({reason}), which a recording does not keep")),
            _ => Ok(Judged::then(then)),
        },
        (Before::Unknown, None) => Err(String::from("the recording does not say what was decided")),
    }
}

fn is_for_load(then: &Then) -> bool {
    then.decisions.iter().any(|decided| decided.refused.is_some() && decided.stage == "admission")
}

fn is_store(file: &Path) -> Result<bool, String> {
    let named = |error: io::Error| format!("--from {}: {error}", file.display());
    let mut magic = Vec::new();
    std::fs::File::open(file).map_err(named)?.take(16).read_to_end(&mut magic).map_err(named)?;
    if magic.starts_with(b"{") {
        let what = "holds call records as lines of JSON, which have no INVITE in them: name the border's store ([records] store), or a capture of packets";
        return Err(format!("--from {}: {what}", file.display()));
    }
    Ok(magic == b"SQLite format 3\0")
}

/// A point in time, or how long ago, as milliseconds since 1970.
fn time_of(text: &str) -> Result<i64, String> {
    if let Ok(time) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX));
    }
    let ago: Duration = config::duration(text).ok_or_else(|| format!("--since {text}: write a time as 2026-11-22T13:00:00Z, or how long ago, as 12h"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(i64::try_from(now.saturating_sub(ago).as_millis()).unwrap_or(i64::MAX))
}

/// What a running border knows of its peers' names.
fn learn_live(socket: &Path, names: &mut Names) -> Result<(), String> {
    let failed = |error: &dyn std::fmt::Display| format!("--live {}: {error}", socket.display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| failed(&error))?;
    let answer = runtime.block_on(api::ask(socket, "GET", "/v1/peers", None)).map_err(|error| failed(&error))?;
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for name in list(&answer.body, "peers").iter().flat_map(|peer| list(peer, "names")) {
        for address in list(&name, "addresses") {
            if let (Some(name), Some(Ok(address))) = (name["name"].as_str(), address["address"].as_str().map(str::parse)) {
                names.know(name, address);
            }
        }
    }
    Ok(())
}

/// The peer table in force, for a dry run within the running border.
pub fn names_in_force(table: &PeerTable) -> Names {
    let mut names = Names::default();
    names.learn_table(table);
    names
}

#[cfg(test)]
mod tests;
