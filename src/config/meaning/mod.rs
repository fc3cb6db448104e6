//! What was written, as meant: names resolved, contradictions found, settings made.

mod api;
mod border;
mod branch;
mod certificates;
mod dns;
mod firewall;
mod hep;
mod hosted;
mod numbers;
mod otlp;
mod peers;
mod plans;
mod records;
mod reroute;
mod routing;
mod toll;

use std::sync::Arc;

use super::finding::{At, Findings, Written};
use super::near_miss::nearest;
use super::source::Source;
use super::written::Set;
use super::{PolicySets, Settings};
use crate::policy::number_pattern::NumberPattern;
use crate::policy::settings::{PolicySet, number_of};

/// `None` where too little is there to make settings of; a problem then says what.
pub fn settings(set: Set, source: &dyn Source, findings: &Findings) -> Option<Settings> {
    if !set.readable {
        return None;
    }
    let listeners = border::listeners(&set.border, findings);
    let peers = peers::peers(&set.peers, &set.um_pools, &listeners, findings);
    set.peers.iter().for_each(|peer| certificates::check(peer, source, findings));
    let known = plans::Known::new(&set, &peers);
    let pools = plans::pools(&set.um_pools, &known, findings);
    let plans = plans::plans(&set.dial_plans, &pools, &known, findings);
    let hunt_groups = plans::hunt_groups(&set.hunt_groups, &plans, &known, findings);
    numbers::check_vouched(&set.dial_plans, &hunt_groups, &peers, findings);
    let toll = toll::rules(&set.toll, &plans, &known, findings);
    let (mailboxes, table) = routing::routing(&set.routing, &pools, &plans, &known, source, findings);
    let admission = plans::admission(&set.admission);
    let missed_calls = branch::missed_calls(&set.branch, &plans, &peers, source, findings);
    let policy = PolicySet {
        number: 1,
        branch: branch::branch(&set.branch, &pools, &plans, &peers, findings),
        missed_calls: missed_calls.is_some(),
        peers,
        um_pools: pools,
        dial_plans: plans,
        hunt_groups: hunt_groups.into(),
        admission,
        toll,
        mailboxes,
    };
    let mut tls = certificates::tls(&set, &policy.peers, &listeners, source, findings);
    let media = border::media(&set.border, &listeners, findings);
    let admin = border::admin(&set.border, &listeners, findings);
    let dns = dns::dns(&set.border, source, findings);
    let mut telemetry = set.border.telemetry.clone();
    telemetry.records = set.border.records.file.as_ref().map(|file| super::written::path(source, file));
    let name: Arc<str> = set.border.name.as_deref().unwrap_or("portcullis").into();
    let history = records::store(&set.border.records, source);
    let postgres = records::postgres(&set.border.records, &name, source, findings);
    let hep = set.border.hep.as_ref().and_then(|written| hep::hep(written, source, findings));
    let otlp = set.border.otlp.as_ref().and_then(|written| otlp::otlp(written, source, findings));
    let api = api::api(&set.border.api, source, findings);
    tls.door = api.listen.as_ref().and_then(|listen| listen.tls.as_ref()).map(certificates::door);
    let media_plane = border::media_plane(&set.border, media.as_ref());
    Some(Settings {
        name,
        signaling: border::signaling(&set, &listeners, media?),
        net: border::net(&set.border, &listeners),
        policy: Arc::new(policy),
        media: media_plane,
        tls,
        certificates: set.border.certificates.clone(),
        dns,
        telemetry,
        history,
        postgres,
        hep,
        otlp,
        policy_sets: PolicySets {
            folder: set.border.policy_sets.kept_in.as_ref().map(|folder| super::written::path(source, folder)),
            keep: set.border.policy_sets.keep.unwrap_or(PolicySets::default().keep),
        },
        admin,
        api,
        firewall: firewall::firewall(&set.border, findings),
        mailboxes: table,
        missed_calls,
    })
}

/// Characters Exchange allows in no name of an object.
const FORBIDDEN: &str = "\"/\\[]:;|=,+*?<>";

/// The name of an entry, checked against Exchange's limits and those before it. `longest`: in characters.
fn name(written: Option<&Written<String>>, kind: &str, longest: usize, seen: &mut Vec<String>, findings: &Findings) -> Option<Arc<str>> {
    let written = written?;
    let name = &written.value;
    if let Some(bad) = name.chars().find(|character| FORBIDDEN.contains(*character) || character.is_control()) {
        findings.problem(
            written.at,
            format!("the name of {kind} \"{name}\" has {bad:?}, which Exchange allows in no name"),
            "write letters, digits, spaces, dots, hyphens or underscores",
        );
    }
    let length = name.chars().count();
    if length > longest {
        findings.problem(written.at, format!("the name of {kind} \"{name}\" has {length} characters"), format!("write at most {longest}"));
    }
    if seen.iter().any(|other| other.eq_ignore_ascii_case(name)) {
        findings.problem(written.at, format!("there is another {kind} \"{name}\" before this one"), "write a name of its own for each");
        return None;
    }
    seen.push(name.clone());
    Some(name.as_str().into())
}

/// Notes that nothing of this kind has this name; `broken`: names of entries that could not be made, of which other problems tell.
fn unknown(written: &Written<String>, kind: &str, file: &str, known: &[&str], broken: &[&str], findings: &Findings) {
    if broken.contains(&written.value.as_str()) {
        return;
    }
    let instead = match nearest(&written.value, known) {
        Some(word) => format!("write \"{word}\" instead"),
        None if known.is_empty() => format!("add one to {file}"),
        None => format!("write one of {} instead, or add it to {file}", known.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")),
    };
    findings.problem(written.at, format!("there is no {kind} \"{}\"", written.value), instead);
}

/// A number of a rule, or its beginning and `*`. `of`: what it is a number of.
fn number_pattern(written: &Written<String>, of: &str, findings: &Findings) -> Option<NumberPattern> {
    let number = NumberPattern::parse(&written.value);
    let inner = written.value.trim();
    let inner = inner.strip_suffix('*').unwrap_or(inner);
    let numeric = inner.starts_with(|first: char| first == '+' || first.is_ascii_digit()) && inner != "+";
    // `+1425555XXXX` or `+1*555` would silently match nothing.
    let strays = if numeric { number_of(inner).is_none() } else { inner.contains(|character: char| character.is_control() || character.is_whitespace()) };
    if number.is_none() || strays {
        findings.problem(
            written.at,
            format!("\"{}\" is no number of {of}", written.value),
            "write a whole number (\"+14255550100\"), or its beginning and * (\"+1*\")",
        );
        return None;
    }
    number
}

/// The place of a key, or of its entry.
fn place<T>(written: Option<&Written<T>>, entry: At) -> At {
    written.map_or(entry, |written| written.at)
}
