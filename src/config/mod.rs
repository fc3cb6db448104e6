//! From a policy set's text to settings, in two steps: what was written ([`written`], with the place of every value) and what it means
//! ([`meaning`], names resolved and contradictions found). All problems of all files come out at once.
//!
//! A set is a folder of the [`FILES`], each with `version = 1`. A missing file means its safe default, an unknown key is an error, `${NAME}` in a
//! text stands for an environment variable, and paths are relative to the folder.

pub mod finding;
pub mod mailboxes;
mod meaning;
mod near_miss;
pub mod places;
#[allow(clippy::disallowed_methods)]
pub mod source;
mod table;
mod written;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::{admin, api, dns, hep, history, media, net, nft, postgres, store, telemetry, tls, webhook};
use crate::policy::settings::PolicySet;
use crate::signaling;
use crate::signaling::b2bua::missed_call::By;

use finding::{At, Findings};
pub use finding::{Problem, Problems, Warning};
pub use near_miss::nearest;
use source::{Folder, Source};
pub use table::duration;

/// The files of a policy set, in the order in which their problems are listed.
pub const FILES: [&str; 9] =
    ["border.toml", "peers.toml", "um_pools.toml", "dial_plans.toml", "hunt_groups.toml", "admission.toml", "toll.toml", "routing.toml", "branch.toml"];

/// Everything the program is told by a policy set.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// What the operator calls this border.
    pub name: Arc<str>,
    pub policy: Arc<PolicySet>,
    pub signaling: signaling::settings::Settings,
    pub net: net::Settings,
    pub tls: tls::Settings,
    pub certificates: tls::Upkeep,
    pub dns: dns::Settings,
    pub firewall: nft::Settings,
    pub telemetry: telemetry::Settings,
    /// The store of call records; `None`: there is none.
    pub history: Option<history::Settings>,
    /// The PostgreSQL server that gets them as well; `None`: there is none.
    pub postgres: Option<postgres::Settings>,
    /// The server that gets copies of what passes; `None`: there is none.
    pub hep: Option<hep::Settings>,
    /// The receiver of traces; `None`: there is none.
    pub otlp: Option<Otlp>,
    pub admin: admin::Settings,
    pub api: api::Settings,
    pub media: media::Settings,
    pub policy_sets: PolicySets,
    /// The table of mailboxes, read again when it changes.
    pub mailboxes: Option<mailboxes::TableFile>,
    /// Where calls go that nobody answered; `None`: nobody is told of them.
    pub missed_calls: Option<MissedCalls>,
}

/// `[otlp]`: who gets traces of calls, and of which.
#[derive(Clone, PartialEq, Debug)]
pub struct Otlp {
    pub to: webhook::Settings,
    pub calls: telemetry::Traced,
}

/// `[policy_sets]`: those that were in force before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PolicySets {
    /// Where they are kept over a restart; `None`: in memory alone.
    pub folder: Option<PathBuf>,
    /// So many.
    pub keep: usize,
}

impl PolicySets {
    pub const MOST: usize = 100;
}

impl Default for PolicySets {
    fn default() -> PolicySets {
        PolicySets { folder: None, keep: 10 }
    }
}

/// `[missed_calls]`: notices on disk, and who gets them.
#[derive(Clone, PartialEq, Debug)]
pub struct MissedCalls {
    pub store: store::Settings,
    pub target: Target,
}

/// Who gets notices of missed calls.
#[derive(Clone, PartialEq, Debug)]
pub enum Target {
    Webhook(webhook::Settings),
    Sip(SipTarget),
}

/// A receiver that speaks SIP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SipTarget {
    pub peer: Arc<str>,
    pub uri: Arc<str>,
    pub by: By,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Webhook(webhook) => write!(f, "{}", webhook.url),
            Target::Sip(sip) => write!(f, "{} {} by peer {}", sip.by.method().as_str(), sip.uri, sip.peer),
        }
    }
}

/// Reads a policy set. Its number is 1; a reload counts up (see [`Settings::numbered`]).
pub fn load(folder: &Path) -> Result<(Settings, Vec<Warning>), Problems> {
    if !folder.is_dir() {
        let what = format!("{} is no folder that can be read", folder.display());
        return Err(Problems(vec![Problem { file: "border.toml", line: 1, column: 1, what, instead: "name the folder of a policy set".into() }]));
    }
    load_from(&Folder(folder))
}

/// Where everything of a set is written.
pub fn places(folder: &Path) -> places::Places {
    places::Places::read(&Folder(folder))
}

/// As [`load`], from any source of text.
pub fn load_from(source: &dyn Source) -> Result<(Settings, Vec<Warning>), Problems> {
    let findings = Findings::default();
    let written = written::read(source, &findings);
    note_strange_files(source, written.routing.table.as_ref().map(|table| table.value.as_str()), &findings);
    let settings = meaning::settings(written, source, &findings);
    let (problems, warnings) = findings.into_parts();
    match settings {
        Some(settings) if problems.is_empty() => Ok((settings, warnings)),
        _ => Err(Problems(problems)),
    }
}

/// A file with an unknown name would be silently without effect.
fn note_strange_files(source: &dyn Source, table: Option<&str>, findings: &Findings) {
    for file in source.files().into_iter().filter(|file| !FILES.contains(&file.as_str()) && table != Some(file)) {
        let instead = match near_miss::nearest(&file, &FILES) {
            Some(known) => format!("rename it {known}"),
            None => format!("remove it (known: {})", FILES.join(", ")),
        };
        findings.problem(At { file: FILES[0], line: 1, column: 1 }, format!("the folder has {file}, which is not read"), instead);
    }
}

impl Settings {
    /// The same settings as load number `number`, which logs and `explain` print.
    pub fn numbered(mut self, number: u64) -> Settings {
        let policy = PolicySet { number, ..PolicySet::clone(&self.policy) };
        self.policy = Arc::new(policy);
        self
    }
}
