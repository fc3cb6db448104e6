//! Writing diversions: one header a line, hosts ours, parameters in one order (RFC 5806 §4, RFC 7044 §5.1, RFC 7544).

use super::causes::{self, Protocol};
use super::reading::{Diverter, Family};
use super::{DiversionPolicy, Form, is_by_domain};
use crate::policy::numbering;
use crate::policy::settings::{DialPlan, number_of};
use crate::policy::topology_hiding::{self, Carried, Crossing};
use crate::sip::{HeaderName, Scheme};

/// Levels of an index that counters may make.
const MOST_LEVELS: usize = 30;

/// `diverters`: the latest first, all of one header.
pub fn write(crossing: &Crossing<'_>, plan: &DialPlan, diverters: &[Diverter<'_>], carried: &mut Carried) {
    let Some(first) = diverters.first() else { return };
    let policy = plan.um_pool.diversion;
    let header = match policy.form {
        Form::AsReceived => first.family.header(),
        Form::Diversion => HeaderName::Diversion,
        Form::HistoryInfo => HeaderName::HistoryInfo,
    };
    if header == HeaderName::HistoryInfo {
        carried.headers.extend(history(crossing, plan, policy, diverters).into_iter().map(|value| (header, value)));
    } else {
        carried.headers.extend(diverters.iter().map(|diverter| (header, diversion(crossing, plan, diverter))));
    }
}

fn address(crossing: &Crossing<'_>, plan: &DialPlan, diverter: &Diverter<'_>) -> String {
    let host = if is_by_domain(plan) { topology_hiding::domain(crossing, &diverter.uri) } else { None };
    let is_phone = diverter.uri.scheme == Scheme::Tel || diverter.uri.params.get("user").is_some_and(|user| user.eq_ignore_ascii_case("phone"));
    // Gateways that are told know numbers in their own form.
    let user = if crossing.to.kind.is_um() { diverter.user.clone() } else { numbering::outward(plan, &diverter.user).1 };
    topology_hiding::address(&topology_hiding::escaped(&user), host.unwrap_or(crossing.ours), is_phone)
}

fn diversion(crossing: &Crossing<'_>, plan: &DialPlan, diverter: &Diverter<'_>) -> String {
    let mut line = format!("{}<{}>", diverter.display, address(crossing, plan, diverter));
    let counter = diverter.counter.map(|counter| counter.to_string());
    let limit = diverter.limit.map(|limit| limit.to_string());
    let parameters = [
        ("reason", diverter.reason.as_deref()),
        ("privacy", diverter.privacy),
        ("screen", diverter.screen),
        ("counter", counter.as_deref()),
        ("limit", limit.as_deref()),
    ];
    for (name, value) in parameters {
        if let Some(value) = value {
            line.push_str(&format!(";{name}={value}"));
        }
    }
    line
}

/// The earliest first; last, as the one who has the call now, the pilot. Each level of the index is one diversion.
fn history(crossing: &Crossing<'_>, plan: &DialPlan, policy: DiversionPolicy, diverters: &[Diverter<'_>]) -> Vec<String> {
    let mut index = String::from("1");
    let mut lines = Vec::with_capacity(diverters.len() + 1);
    for diverter in diverters.iter().rev() {
        let address = address(crossing, plan, diverter);
        let private = diverter.privacy.is_some_and(|privacy| privacy != "off");
        let private = if private { "&Privacy=history" } else { "" };
        lines.push(format!("{}<{address}?Reason={}{private}>;index={index}", diverter.display, escaped_reason(diverter, policy)));
        let levels = usize::from(diverter.counter.unwrap_or(1).max(1));
        // One level at least for each that follows.
        let left = MOST_LEVELS.saturating_sub(index.split('.').count()).max(1);
        index.push_str(&".1".repeat(levels.min(left)));
    }
    let target = topology_hiding::address(&topology_hiding::escaped(crossing.called), crossing.ours, number_of(crossing.called).is_some());
    lines.push(format!("<{target}>;index={index}"));
    lines
}

/// As received where it was received so, else by the map.
fn escaped_reason(diverter: &Diverter<'_>, policy: DiversionPolicy) -> String {
    let (protocol, cause, text) = match diverter.cause {
        Some((protocol, cause)) if diverter.family == Family::HistoryInfo => (protocol, cause, None),
        _ => {
            let (cause, text) = causes::cause(diverter.reason.as_deref(), policy.cause_487);
            (Protocol::Sip, cause, text)
        }
    };
    let text = text.map(|text| format!("%3Btext%3D{text}")).unwrap_or_default();
    format!("{}%3Bcause%3D{cause}{text}", protocol.token())
}
