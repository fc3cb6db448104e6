//! `reroute` of a dial plan as meant: numbers of Lync's form that nothing else goes by, and gateways that may carry the plan's calls.

use std::sync::Arc;

use super::plans::{Known, interwork_instead, names_of, weaker};
use crate::config::finding::{Findings, Written};
use crate::config::written;
use crate::policy::reroute::is_number;
use crate::policy::security_mode::{between, interworks, leg_plan, mode_name};
use crate::policy::settings::{DialPlan, Reroute, SecurityMode};

/// `None` where a problem told of leaves nothing to go by.
pub fn reroute(plan: &DialPlan, written: &written::Reroute, known: &Known<'_>, findings: &Findings) -> Option<Reroute> {
    let gateways = names_of(known, &written.gateways, false, findings);
    check_gateways(plan, written, known, findings);
    let number =
        |written: &Option<Written<String>>| written.as_ref().filter(|written| is_fit(plan, written, findings)).map(|written| Arc::from(&*written.value));
    let (auto_attendant, subscriber_access) = (number(&written.auto_attendant), number(&written.subscriber_access));
    if written.auto_attendant.is_none() && written.subscriber_access.is_none() {
        let instead = "add auto_attendant = \"+14255550190\" for calls that would leave a message, subscriber_access for those that would hear them";
        findings.problem(written.at, "reroute has neither auto_attendant nor subscriber_access: no call has anywhere to go", instead);
    }
    let unwatched: Vec<&str> =
        plan.um_pool.routers.iter().filter(|name| known.peers.iter().any(|peer| peer.name == **name && peer.probe.is_none())).map(|name| &**name).collect();
    if !unwatched.is_empty() {
        let what =
            format!("dial plan \"{}\" has reroute, but nobody asks whether \"{}\" is there: each call waits for it first", plan.name, unwatched.join("\", \""));
        findings.warning(written.at, what, "add probe = \"30s\" to those peers");
    }
    (!gateways.is_empty()).then_some(Reroute { gateways, auto_attendant, subscriber_access, limit: written.limit })
}

fn check_gateways(plan: &DialPlan, written: &written::Reroute, known: &Known<'_>, findings: &Findings) {
    for name in &written.gateways {
        let Some(gateway) = known.peers.iter().find(|peer| *peer.name == *name.value && !peer.kind.is_um()) else { continue };
        if between(gateway.mode, plan.mode, interworks(&plan.interwork, &gateway.name)).is_err() {
            findings.problem(name.at, weaker(gateway, plan), interwork_instead(gateway, plan));
        } else if !leg_plan(SecurityMode::Unsecured, gateway).permits(gateway.transport) {
            let what = format!("peer \"{}\" is {} but speaks {}", gateway.name, mode_name(gateway.mode), gateway.transport.uri_token());
            findings.problem(name.at, what, "write transport = \"tls\" for that peer");
        }
    }
}

fn is_fit(plan: &DialPlan, written: &Written<String>, findings: &Findings) -> bool {
    let number = &written.value;
    if !is_number(number) {
        let what = format!("\"{number}\" is no number that can be dialled over the PSTN");
        findings.problem(written.at, what, "write digits alone, the first not 0, with or without + (Lync: ^\\+?[1-9]\\d*$), 15 at most, without an extension");
        return false;
    }
    if !number.starts_with('+') && number.len() <= usize::from(plan.digits) {
        let what = format!("\"{number}\" is as long as an extension of dial plan \"{}\"", plan.name);
        findings.problem(written.at, what, "write the whole number as the PSTN has it, such as \"+14255550190\"");
        return false;
    }
    true
}

/// A number for leaving messages is nowhere one for hearing them.
pub fn check_unique(plans: &[written::DialPlan], findings: &Findings) {
    let reroutes = || plans.iter().filter_map(|plan| plan.reroute.as_ref());
    let key = |number: &str| String::from(number.trim_start_matches('+'));
    for access in reroutes().filter_map(|reroute| reroute.subscriber_access.as_ref()) {
        let attends = reroutes().filter_map(|reroute| reroute.auto_attendant.as_ref()).any(|number| key(&number.value) == key(&access.value));
        if attends {
            let what = format!("\"{}\" is an auto attendant's number and a subscriber access number", access.value);
            findings.problem(access.at, what, "write a number of its own for each: UM tells by the number what a call is for");
        }
    }
}
