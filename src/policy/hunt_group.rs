//! (peer, pilot identifier) to dial plan, as a UM hunt group.
//!
//! The pilot is looked for in the Request-URI's user, then in To's; each as a user alone, then as `user@host` for pilots that are SIP URIs. A pilot that
//! is the dial plan's name stands for the plan's access numbers and auto attendants as well, and for users whose `phone-context` is that name. Where
//! none matches, the peer's default hunt group (the one without a pilot) catches the call; where there is none, 404.

use std::borrow::Cow;
use std::sync::Arc;

use crate::policy::dial_plan::{dialled_number, subscriber};
use crate::policy::settings::{HuntGroup, PolicySet, pilot_key};
use crate::policy::verdict::{Decision, Reason};

/// Where a number was dialled: a URI's user (decoded, without parameters of RFC 3966) and host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Dialled<'a> {
    /// `Request-URI` or `To`.
    pub place: &'static str,
    pub user: Cow<'a, str>,
    pub host: &'a str,
}

/// The hunt group found, and which of the places it was found by.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Found<'s> {
    pub group: &'s Arc<HuntGroup>,
    /// Index into `dialled`.
    pub dialled: usize,
}

/// The first hunt group that matches, in the order of `dialled`.
pub fn find<'s>(set: &'s PolicySet, peer: &str, dialled: &[Dialled<'_>]) -> (Decision, Option<Found<'s>>) {
    for (index, at) in dialled.iter().enumerate().filter(|(_, at)| !at.user.is_empty()) {
        let key = pilot_key(subscriber(&at.user));
        let global = || set.hunt_groups.with_pilot(peer, &pilot_key(&dialled_number(&at.user)));
        let found = set.hunt_groups.with_pilot(peer, &key).or_else(|| if at.user.contains(';') { global() } else { None }).or_else(|| {
            let uri = format!("{}@{}", at.user, at.host).to_ascii_lowercase();
            set.hunt_groups.with_pilot(peer, &uri).or_else(|| of_context(set, peer, &at.user))
        });
        if let Some(group) = found {
            let decision = Decision::passed("hunt_group", format!("hunt group \"{}\"", group.name)).comparing(at.place, key);
            return (decision, Some(Found { group, dialled: index }));
        }
    }
    let decision = match set.hunt_groups.default_of(peer) {
        Some(group) => {
            let decision = Decision::passed("hunt_group", format!("default hunt group \"{}\"", group.name));
            let index = dialled.iter().position(|at| !at.user.is_empty()).unwrap_or_default();
            return (listing(decision, dialled), Some(Found { group, dialled: index }));
        }
        None => Decision::refused("hunt_group", "no pilot matches and the peer has no default hunt group", Reason::NoHuntGroup),
    };
    (listing(decision.comparing("peer", String::from(peer)).comparing("pilots", pilots(set, peer)), dialled), None)
}

/// The group whose pilot is the plan that a number's `phone-context` names (RFC 3966 §5.1.5; the plan's own name is what Exchange writes there).
fn of_context<'s>(set: &'s PolicySet, peer: &str, user: &str) -> Option<&'s Arc<HuntGroup>> {
    let context = user.split(';').skip(1).filter_map(|parameter| parameter.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("phone-context"))?.1;
    set.hunt_groups.with_pilot(peer, &context.to_ascii_lowercase()).filter(|group| group.is_by_plan_name())
}

/// As many pilots of the peer as are told in a refusal.
const PILOTS_TOLD: usize = 5;

fn pilots(set: &PolicySet, peer: &str) -> String {
    let mut pilots = set.hunt_groups.iter().filter(|group| &*group.peer == peer).filter_map(|group| group.pilot.as_deref());
    let told: Vec<&str> = pilots.by_ref().take(PILOTS_TOLD).collect();
    let more = if pilots.next().is_some() { " and more" } else { "" };
    if told.is_empty() { String::from("none") } else { format!("{}{more}", told.join(", ")) }
}

fn listing(decision: Decision, dialled: &[Dialled<'_>]) -> Decision {
    dialled.iter().fold(decision, |decision, at| decision.comparing(at.place, String::from(&*at.user)))
}
