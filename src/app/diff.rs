//! `portcullis diff OLD NEW`: what would change from one policy set to another, by what they mean and not by how they are written, and what of it a
//! reload takes and what needs another process. Both sets are checked first. No socket is opened.

mod border;

use std::borrow::Borrow;
use std::fmt::Debug;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

pub use self::border::waits;
use crate::adapters::tls;
use crate::app::reloading::restart_needed;
use crate::config::source::{Folder, Source};
use crate::config::{self, Problem, Settings};
use crate::policy::mailboxes::{MailboxRule, Mailboxes};
use crate::policy::settings::{AdmissionLimits, DialPlan, HuntGroup, Peer, PolicySet, UmPool};
use crate::policy::toll::TollRule;
use crate::signaling::settings::{Listener, MediaSettings};

/// What would change between two policy sets, and what of it needs another process: a take-over, or a restart.
#[derive(clap::Args, Clone, Debug)]
pub struct Diff {
    /// The folder of the set in force.
    pub old: PathBuf,
    /// The folder of the set that is to be.
    pub new: PathBuf,
    /// Print one JSON object instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// Exit status: both mean the same.
pub const SAME: u8 = 0;
/// Exit status: they do not.
pub const DIFFERENT: u8 = 1;
/// Exit status: one of them does not load.
pub const UNUSABLE: u8 = 2;

/// One thing that differs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = PolicyChange)]
pub struct Change {
    /// `peer`, `dial plan`, `[media]` …
    part: &'static str,
    /// Of parts that have names.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(flatten)]
    what: What,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = PolicyChangeKind)]
#[serde(tag = "change", rename_all = "snake_case")]
enum What {
    Added,
    Removed,
    /// Same things, other order, where the order counts.
    Reordered,
    Changed {
        keys: Vec<Key>,
    },
}

/// One value that differs. `None`: not told, since it may be long or secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
#[schema(as = PolicyKey)]
struct Key {
    key: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    values: Option<[String; 2]>,
}

/// The fields in which two differ. Every field is named, or the code does not compile: none can be forgotten. Those after `without` are left out.
macro_rules! fields {
    ($old:expr, $new:expr, $type:ident { $($field:ident),* $(,)? } $(without { $($left_out:ident),* })?) => {{
        let (old, new): (&$type, &$type) = ($old, $new);
        let $type { $($field: _,)* $($($left_out: _,)*)? } = old;
        let mut keys: Vec<Key> = Vec::new();
        $(if old.$field != new.$field {
            keys.push(Key { key: stringify!($field), values: Some([shown(&old.$field), shown(&new.$field)]) });
        })*
        keys
    }};
}

/// Prints the differences and returns the exit status: 0 the same, 1 different, 2 a set does not load.
///
/// # Errors
///
/// They cannot be printed.
pub fn diff(arguments: &Diff, out: &mut dyn Write) -> io::Result<u8> {
    let (old, new) = match (load(&arguments.old), load(&arguments.new)) {
        (Ok(old), Ok(new)) => (old, new),
        (old, new) => return unusable(arguments, old.err().unwrap_or_default(), new.err().unwrap_or_default(), out),
    };
    let changes = changes(&old, &new);
    let restart = restart_needed(&old, &new);
    if arguments.json {
        writeln!(out, "{:#}", json!({ "same": changes.is_empty(), "changes": changes, "restart": restart }))?;
    } else {
        print(&changes, &restart, out)?;
    }
    Ok(if changes.is_empty() { SAME } else { DIFFERENT })
}

fn unusable(arguments: &Diff, old: Vec<Problem>, new: Vec<Problem>, out: &mut dyn Write) -> io::Result<u8> {
    if arguments.json {
        writeln!(out, "{:#}", json!({ "problems": { "old": old, "new": new } }))?;
    } else {
        for (folder, problems) in [(&arguments.old, old), (&arguments.new, new)] {
            for problem in problems {
                writeln!(out, "{}", problem.within(folder))?;
            }
        }
    }
    Ok(UNUSABLE)
}

fn print(changes: &[Change], restart: &[String], out: &mut dyn Write) -> io::Result<()> {
    for line in changes.iter().flat_map(Change::lines) {
        writeln!(out, "{line}")?;
    }
    match (changes.is_empty(), restart.is_empty()) {
        (true, _) => writeln!(out, "both sets mean the same"),
        (false, true) => writeln!(out, "changes: {}; a reload takes all of them", changes.len()),
        (false, false) => writeln!(
            out,
            "changes: {}; a reload does not take these: {}; `portcullis run SET --take-over` does, without losing a call, or a restart",
            changes.len(),
            restart.join("; ")
        ),
    }
}

impl Change {
    /// As people read it.
    pub fn lines(&self) -> Vec<String> {
        let of = self.name.as_ref().map_or_else(|| self.part.to_owned(), |name| format!("{} \"{name}\"", self.part));
        match &self.what {
            What::Added => vec![format!("+ {of}")],
            What::Removed => vec![format!("- {of}")],
            What::Reordered => vec![format!("~ {of}: in another order")],
            What::Changed { keys } => keys
                .iter()
                .map(|Key { key, values }| match values {
                    Some([old, new]) => format!("~ {of}: {key}: {old} -> {new}"),
                    None => format!("~ {of}: {key} is another"),
                })
                .collect(),
        }
    }
}

/// Everything in which the second differs from the first. Empty if and only if they mean the same.
pub fn changes(old: &Settings, new: &Settings) -> Vec<Change> {
    let (before, after): (&PolicySet, &PolicySet) = (&old.policy, &new.policy);
    let mut all = Vec::new();
    named(&mut all, ("peer", Order::Counts), &before.peers, &after.peers, |peer: &Peer| peer.name.to_string(), peer);
    named(&mut all, ("UM pool", Order::Counts), &before.um_pools, &after.um_pools, |pool: &UmPool| pool.name.to_string(), um_pool);
    named(&mut all, ("dial plan", Order::Counts), &before.dial_plans, &after.dial_plans, |plan: &DialPlan| plan.name.to_string(), dial_plan);
    let groups = (&before.hunt_groups, &after.hunt_groups);
    let several = |name: &str| [groups.0, groups.1].into_iter().any(|all| all.iter().filter(|group| &*group.name == name).count() > 1);
    named(&mut all, ("hunt group", Order::Aside), groups.0, groups.1, |group: &HuntGroup| called(group, several(&group.name)), hunt_group);
    named(
        &mut all,
        ("toll rule", Order::Aside),
        &before.toll,
        &after.toll,
        |rule: &TollRule| rule.name.to_string(),
        |old, new| fields!(old, new, TollRule { plans, numbers, action } without { name }),
    );
    rest_of_policy(&mut all, before, after);
    let listeners = (&old.signaling.listeners, &new.signaling.listeners);
    named(
        &mut all,
        ("listener", Order::Counts),
        listeners.0,
        listeners.1,
        |listener: &Listener| listener.name.to_string(),
        |old, new| fields!(old, new, Listener { transport, bound, advertised } without { id, name }),
    );
    changed(&mut all, "[media]", fields!(&old.signaling.media, &new.signaling.media, MediaSettings { outside, inside, ports, silence }));
    tls(&mut all, &old.tls, &new.tls);
    border::rest(&mut all, old, new);
    all
}

/// A set as it would be in any folder: files it names are the same where they are written the same, wherever the two sets lie now.
struct AnyPlace<'p>(Folder<'p>);

impl Source for AnyPlace<'_> {
    fn text(&self, file: &str) -> io::Result<Option<String>> {
        self.0.text(file)
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.0.variable(name)
    }

    fn path(&self, written: &str) -> PathBuf {
        PathBuf::from(written)
    }

    fn files(&self) -> Vec<String> {
        self.0.files()
    }
}

fn load(folder: &Path) -> Result<Settings, Vec<Problem>> {
    let loaded = if folder.is_dir() { config::load_from(&AnyPlace(Folder(folder))) } else { config::load(folder) };
    loaded.map(|(settings, _)| settings).map_err(|problems| problems.0)
}

fn peer(old: &Peer, new: &Peer) -> Vec<Key> {
    fields!(old, new, Peer {
        kind, status, hosts, addresses, prefer, transport, port, mode, tls_names, mutual, listener, latch, suites, suites_taken, keying, srtp_passthrough,
        rtcp_mux, diversion_trusted, identity_trusted, diversion_sent, probe, outcalls, mwi, mwi_accounts, delayed_source_party, address_family, simulator,
        fax, rtcp_keepalive, refer, sound, limits, limits_towards,
    } without { name })
}

fn um_pool(old: &UmPool, new: &UmPool) -> Vec<Key> {
    fields!(old, new, UmPool {
        routers, servers, max_redirects, no_answer, start_up, diversion, version, weights, greylist, hosted,
    } without { name })
}

/// Its pool is compared by name: what changes within a pool is told of the pool.
fn dial_plan(old: &DialPlan, new: &DialPlan) -> Vec<Key> {
    let mut keys = fields!(old, new, DialPlan {
        uri_type, digits, mode, interwork, gateways, numbering, access_numbers, auto_attendants, unfit_caller, extension_callers, own_numbers, reroute,
        fax_server, failed_transfer, limits,
    } without { name, um_pool });
    reference(&mut keys, "um_pool", &old.um_pool.name, &new.um_pool.name);
    keys
}

/// One name may link several peers to one plan, by several pilots: then these tell them apart.
fn called(group: &HuntGroup, several: bool) -> String {
    if several { format!("{}, {} {}", group.name, group.peer, group.pilot.as_deref().unwrap_or("any")) } else { group.name.to_string() }
}

/// Its plan is compared by name.
fn hunt_group(old: &HuntGroup, new: &HuntGroup) -> Vec<Key> {
    let mut keys = fields!(old, new, HuntGroup { peer, pilot } without { name, plan });
    reference(&mut keys, "dial_plan", &old.plan.name, &new.plan.name);
    keys
}

fn mailbox(old: &MailboxRule, new: &MailboxRule) -> Vec<Key> {
    let mut keys = fields!(old, new, MailboxRule { mailboxes, plans } without { name, um_pool });
    reference(&mut keys, "um_pool", &old.um_pool.name, &new.um_pool.name);
    keys
}

fn reference(keys: &mut Vec<Key>, key: &'static str, old: &str, new: &str) {
    if old != new {
        keys.push(Key { key, values: Some([shown(&old), shown(&new)]) });
    }
}

fn rest_of_policy(all: &mut Vec<Change>, old: &PolicySet, new: &PolicySet) {
    let keys = fields!(old, new, PolicySet { branch } without { number, peers, um_pools, dial_plans, hunt_groups, admission, missed_calls, toll, mailboxes });
    changed(all, "branch.toml", keys);
    changed(all, "admission.toml", fields!(&old.admission, &new.admission, AdmissionLimits { calls, calls_per_peer, rate, rate_per_peer, occupancy, memory }));
    let (old, new) = (&old.mailboxes, &new.mailboxes);
    named(all, ("mailbox rule", Order::Counts), &old.rules, &new.rules, |rule: &MailboxRule| rule.name.to_string(), mailbox);
    let mut keys = fields!(old, new, Mailboxes { shared_domains } without { rules, table });
    let same_table = match (&old.table, &new.table) {
        (Some(old), Some(new)) => old.leads_as(new),
        (old, new) => old.is_none() && new.is_none(),
    };
    if !same_table {
        keys.push(Key { key: "table", values: None });
    }
    changed(all, "routing.toml", keys);
}

fn tls(all: &mut Vec<Change>, old: &tls::Settings, new: &tls::Settings) {
    use tls::{ListenerCertificate, PeerCertificates, Settings};
    named(
        all,
        ("listener's certificate", Order::Aside),
        &old.listeners,
        &new.listeners,
        |listener: &ListenerCertificate| listener.name.to_string(),
        |old, new| fields!(old, new, ListenerCertificate { own } without { listener, name }),
    );
    named(
        all,
        ("peer's certificates", Order::Aside),
        &old.peers,
        &new.peers,
        |peer: &PeerCertificates| peer.peer.to_string(),
        |old, new| fields!(old, new, PeerCertificates { ca, own, crl, stale_crl, server_certificate_as_client, backend } without { peer }),
    );
    // Which listeners OpenSSL carries follows from the peers; the door is told of with [api].
    changed(all, "[certificates]", fields!(old, new, Settings { crl_refresh, crl_cache } without { listeners, peers, openssl_listeners, door }));
}

/// Whether it matters which of several is written first.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    Counts,
    Aside,
}

/// Parts that have names: added, removed, changed, and, of those in both, in another order.
fn named<T, P: Borrow<T>>(
    all: &mut Vec<Change>,
    (part, order): (&'static str, Order),
    old: &[P],
    new: &[P],
    name: impl Fn(&T) -> String,
    compare: impl Fn(&T, &T) -> Vec<Key>,
) {
    let names = |of: &[P]| of.iter().map(|item| name(item.borrow())).collect::<Vec<_>>();
    let (before, after) = (names(old), names(new));
    let mut note = |name: Option<&String>, what| all.push(Change { part, name: name.cloned(), what });
    for gone in before.iter().filter(|name| !after.contains(name)) {
        note(Some(gone), What::Removed);
    }
    for (item, name) in new.iter().zip(&after) {
        match before.iter().position(|known| known == name).and_then(|index| old.get(index)) {
            None => note(Some(name), What::Added),
            Some(known) => {
                let keys = compare(known.borrow(), item.borrow());
                if !keys.is_empty() {
                    note(Some(name), What::Changed { keys });
                }
            }
        }
    }
    let kept = |of: &[String], other: &[String]| of.iter().filter(|name| other.contains(name)).cloned().collect::<Vec<_>>();
    if order == Order::Counts && kept(&before, &after) != kept(&after, &before) {
        note(None, What::Reordered);
    }
}

fn changed(all: &mut Vec<Change>, part: &'static str, keys: Vec<Key>) {
    if !keys.is_empty() {
        all.push(Change { part, name: None, what: What::Changed { keys } });
    }
}

/// One that is told of and not shown.
fn secret(key: &'static str) -> Key {
    Key { key, values: None }
}

/// A value as people write it.
fn shown(value: &dyn Debug) -> String {
    let text = format!("{value:?}");
    match text.strip_prefix("Some(").and_then(|inner| inner.strip_suffix(')')).unwrap_or(&text) {
        "None" | "[]" => "nothing".to_owned(),
        word if word.starts_with(|first: char| first.is_ascii_uppercase()) && word.bytes().all(|octet| octet.is_ascii_alphabetic()) => written(word),
        text => text.to_owned(),
    }
}

/// A word of a closed list, whose values are written with hyphens.
fn written(word: &str) -> String {
    let mut written = String::new();
    for (place, letter) in word.chars().enumerate() {
        if letter.is_ascii_uppercase() && place > 0 {
            written.push('-');
        }
        written.push(letter.to_ascii_lowercase());
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_they_are_written() {
        #[derive(Debug)]
        enum Status {
            NoNewCalls,
        }
        assert_eq!(shown(&Status::NoNewCalls), "no-new-calls");
        assert_eq!(shown(&Some(Status::NoNewCalls)), "no-new-calls");
        assert_eq!(shown(&None::<u8>), "nothing");
        assert_eq!(shown(&"A Name"), "\"A Name\"");
        assert_eq!(shown(&Some(std::time::Duration::from_secs(20))), "20s");
    }
}
