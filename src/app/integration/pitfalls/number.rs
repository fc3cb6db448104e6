//! Pitfalls of names and numbers: dial plans, hunt groups, pilots, and where UM's own calls go.

use super::finding;
use crate::app::integration::Subject;
use crate::app::integration::exchange::exchange_pilot;
use crate::config::finding::Warning;
use crate::policy::settings::{DialPlan, PeerKind, UriType, pilot_key};

/// What Exchange allows in no name, and how long the name of a hunt group may be.
const FORBIDDEN: &str = "\"/\\[]:;|=,+*?<>";
const LONGEST_NAME: usize = 64;
/// Of an access number: what the shell takes, and what the administration centre does.
const LONGEST_PILOT: usize = 32;
/// From so many digits on a pilot of an extension plan is a telephone number, not an extension.
const TELEPHONE_NUMBER: usize = 7;

fn meets_lync(subject: &Subject<'_>, plan: &DialPlan) -> bool {
    plan.uri_type == UriType::SipUri || !subject.mediation(plan).is_empty()
}

pub fn name_with_space(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, plan) in subject.exchange_plans().filter(|(_, plan)| meets_lync(subject, plan)) {
        if plan.name.chars().any(char::is_whitespace) {
            let what = format!("dial plan \"{}\" has a space in its name and meets Lync, which finds no plan with one", plan.name);
            let at = subject.places.of("dial_plan", position, "name");
            found.push(finding(at, what, "write a name without spaces, here and in New-UMDialPlan"));
        }
    }
}

pub fn hunt_group_name(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, group) in subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)) {
        let at = subject.places.of("hunt_group", position, "name");
        if let Some(bad) = group.name.chars().find(|character| FORBIDDEN.contains(*character) || character.is_control()) {
            found.push(finding(at, format!("hunt group \"{}\" has {bad:?} in its name, which Exchange allows in none", group.name), "write a name without it"));
        }
        let length = group.name.chars().count();
        if length > LONGEST_NAME {
            found.push(finding(at, format!("the name of hunt group \"{}\" has {length} characters", group.name), format!("write at most {LONGEST_NAME}")));
        }
    }
}

pub fn no_hunt_group(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, plan) in subject.exchange_plans().filter(|(_, plan)| subject.hunt_groups(plan).is_empty()) {
        let what = format!("no hunt group leads to dial plan \"{}\": nobody can call it, and Exchange needs one for each plan and gateway", plan.name);
        let at = subject.places.of("dial_plan", position, "name");
        found.push(finding(at, what, format!("add [[hunt_group]] with dial_plan = \"{}\" to hunt_groups.toml", plan.name)));
    }
}

/// A group without pilot is Exchange's default hunt group: it catches every number, also those meant for another plan of the same gateway.
pub fn pilot_missing(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let groups: Vec<_> = subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)).collect();
    for (position, group) in groups.iter().filter(|(_, group)| group.pilot.is_none()) {
        let shares = |other: &&DialPlan| {
            let of = |plan: &DialPlan| subject.gateways(plan).iter().map(|gateway| gateway.position).collect::<Vec<_>>();
            of(other).iter().any(|gateway| of(&group.plan).contains(gateway))
        };
        let other_plan = groups.iter().map(|(_, other)| &*other.plan).filter(|plan| plan.name != group.plan.name).find(shares);
        let with_pilot = groups.iter().find(|(_, other)| other.plan.name == group.plan.name && other.peer == group.peer && other.pilot.is_some());
        let what = match (other_plan, with_pilot) {
            (Some(other), _) => format!(
                "hunt group \"{}\" has no pilot, so to Exchange every number of this border is dial plan \"{}\"'s, those of \"{}\" too",
                group.name, group.plan.name, other.name
            ),
            (None, Some((_, other))) => format!(
                "hunt group \"{}\" has no pilot and takes every number, so \"{}\" with its pilot adds nothing to Exchange: it wants a default group or pilots",
                group.name, other.name
            ),
            (None, None) => continue,
        };
        found.push(finding(subject.places.of("hunt_group", *position, "name"), what, "add pilot, one hunt group for each number"));
    }
}

pub fn pilot_length(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, group) in subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)) {
        let Some(pilot) = group.pilot.as_deref().map(exchange_pilot) else { continue };
        let length = pilot.chars().count();
        if length > LONGEST_PILOT {
            let what = format!("pilot \"{pilot}\" has {length} characters, more than an access number of Exchange may have");
            found.push(finding(subject.places.of("hunt_group", position, "pilot"), what, format!("write one of at most {LONGEST_PILOT}")));
        }
    }
}

pub fn pilot_digits(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, group) in subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)) {
        let Some(pilot) = group.pilot.as_deref().map(pilot_key).filter(|pilot| pilot.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit())) else {
            continue;
        };
        let digits = pilot.trim_start_matches('+').len();
        let wanted = usize::from(group.plan.digits);
        let what = match group.plan.uri_type {
            UriType::Extension if digits < TELEPHONE_NUMBER && digits != wanted => {
                format!("pilot \"{pilot}\" has {digits} digits, extensions of dial plan \"{}\" {wanted}", group.plan.name)
            }
            UriType::E164 | UriType::SipUri if digits >= TELEPHONE_NUMBER && wanted > digits => {
                format!("extensions of dial plan \"{}\" have {wanted} digits, more than its number {pilot} as a whole", group.plan.name)
            }
            _ => continue,
        };
        found.push(finding(subject.places.of("hunt_group", position, "pilot"), what, "make pilot and digits agree with NumberOfDigitsInExtension of the plan"));
    }
}

pub fn pilot_is_uri(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, group) in subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)) {
        let Some(pilot) = group.pilot.as_deref().filter(|_| group.plan.uri_type != UriType::SipUri) else { continue };
        if pilot.contains('@') || pilot.trim().get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("sip:")) {
            let kind = if group.plan.uri_type == UriType::E164 { "E164" } else { "TelExtn" };
            let what = format!(
                "pilot \"{pilot}\" is a SIP URI, and dial plan \"{}\" is of type {kind}: Exchange compares numbers there and never finds it",
                group.plan.name
            );
            found.push(finding(subject.places.of("hunt_group", position, "pilot"), what, "write the number alone"));
        }
    }
}

pub fn in_two_plans(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let groups: Vec<_> = subject.exchange_plans().flat_map(|(_, plan)| subject.hunt_groups(plan)).collect();
    for (index, (position, group)) in groups.iter().enumerate() {
        let Some(pilot) = &group.pilot else { continue };
        let key = pilot_key(pilot);
        let same = |other: &&(usize, &std::sync::Arc<crate::policy::settings::HuntGroup>)| {
            other.1.plan.name != group.plan.name && other.1.pilot.as_deref().is_some_and(|pilot| pilot_key(pilot) == key)
        };
        if let Some((_, other)) = groups.iter().take(index).find(same) {
            let what = format!(
                "pilot \"{pilot}\" leads to dial plan \"{}\" and, for peer \"{}\", to \"{}\": Exchange sees one gateway for both, and a number belongs to one plan only",
                group.plan.name, other.peer, other.plan.name
            );
            found.push(finding(subject.places.of("hunt_group", *position, "pilot"), what, "give each plan numbers of its own"));
        }
    }
}

pub fn no_diversion(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, plan) in subject.exchange_plans() {
        let groups = subject.hunt_groups(plan);
        let believed = groups.iter().filter_map(|(_, group)| subject.peer(&group.peer)).any(|(_, peer)| peer.diversion_trusted);
        if !groups.is_empty() && !believed {
            let what = format!(
                "no peer of dial plan \"{}\" has diversion = true: calls nobody answered reach no mailbox, all are taken for Outlook Voice Access",
                plan.name
            );
            let at = subject.places.of("dial_plan", position, "name");
            found.push(finding(at, what, "write diversion = true for the PBX, gateway or carrier that diverts calls and answers for what it says"));
        }
    }
}

pub fn no_outcall_gateway(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let takes = |name: &str| subject.peer(name).is_some_and(|(_, peer)| peer.outcalls);
    for (position, plan) in subject.exchange_plans().filter(|(_, plan)| !plan.gateways.iter().any(|name| takes(name))) {
        let what = format!("dial plan \"{}\" has no gateway with outcalls allowed: Play on Phone and find-me lead nowhere", plan.name);
        let at = subject.places.of("dial_plan", position, "name");
        found.push(finding(at, what, "add gateways = [\"carrier\"], or leave it so and OutcallsAllowed $false in Exchange"));
    }
}

pub fn outcall_gateways_of_lync(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, plan) in subject.exchange_plans() {
        let lync: Vec<usize> = (0..plan.gateways.len())
            .filter(|index| {
                plan.gateways.get(*index).and_then(|name| subject.peer(name)).is_some_and(|(_, peer)| peer.kind == PeerKind::Mediation && peer.outcalls)
            })
            .collect();
        if let Some(second) = lync.get(1).filter(|_| plan.uri_type == UriType::SipUri) {
            let what = format!(
                "dial plan \"{}\" calls out by {} Mediation Servers: with Lync exactly one gateway of a SIP URI plan may have outcalls allowed",
                plan.name,
                lync.len()
            );
            found.push(finding(subject.places.item("dial_plan", position, "gateways", *second), what, "leave one, which leads to no Director"));
        }
    }
}
