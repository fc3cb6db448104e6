//! What of a call's verdict would be another, and why: two judgements of one INVITE side by side.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::heard::Judged;
use crate::adapters::telemetry::invites::Decided;
use crate::policy::outcome::{Course, Outcome};
use crate::policy::security_mode::mode_name;

/// How a verdict changes, in the order of how much it matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Let in before, refused after.
    Refused,
    /// Refused before, let in after.
    Admitted,
    /// Refused both times, for another reason.
    OtherReason,
    /// Let in both times, on another way: another plan, pool, target, mode or number.
    OtherWay,
}

impl Kind {
    pub const fn words(self) -> &'static str {
        match self {
            Kind::Refused => "let in before, refused now",
            Kind::Admitted => "refused before, let in now",
            Kind::OtherReason => "refused for another reason",
            Kind::OtherWay => "let in, but on another way",
        }
    }
}

/// One value that would be another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    pub of: String,
    pub before: String,
    pub after: String,
}

/// The decisions of one stage, where they are not the same.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, ToSchema)]
pub struct Why {
    pub stage: String,
    pub before: Vec<String>,
    pub after: Vec<String>,
}

/// What would change for one call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub kind: Kind,
    pub differences: Vec<Difference>,
    pub why: Vec<Why>,
}

/// `None`: nothing would change.
pub fn compare(before: &Judged, after: &Judged) -> Option<Change> {
    let (kind, mut differences) = match (&before.outcome, &after.outcome) {
        (Outcome::Refused { reason: before }, Outcome::Refused { reason: after }) => (Kind::OtherReason, different("reason", before, after)),
        (Outcome::Admitted(_), Outcome::Refused { reason }) => (Kind::Refused, different("reason", "", reason)),
        (Outcome::Refused { reason }, Outcome::Admitted(_)) => (Kind::Admitted, different("reason", reason, "")),
        // Which of several targets come first depends on who gave signs of life then, which a recording does not keep.
        (Outcome::Admitted(old), Outcome::Admitted(new)) => (Kind::OtherWay, ways(old, new, before.sent.is_some() && after.sent.is_some())),
    };
    if let (Kind::OtherWay, Some(old), Some(new)) = (kind, &before.sent, &after.sent) {
        differences.extend(sent(old, new));
    }
    let is_other = !differences.is_empty();
    is_other.then(|| Change { kind, differences, why: why(kind, &before.decisions, &after.decisions) })
}

fn different(of: &str, before: &str, after: &str) -> Vec<Difference> {
    if before == after { Vec::new() } else { vec![Difference { of: String::from(of), before: String::from(before), after: String::from(after) }] }
}

fn ways(old: &Course, new: &Course, in_order: bool) -> Vec<Difference> {
    let name = |name: &Option<std::sync::Arc<str>>| name.as_deref().unwrap_or("none").to_owned();
    let targets = |course: &Course| {
        let mut targets: Vec<&str> = course.targets.iter().map(|target| &**target).collect();
        if !in_order {
            targets.sort_unstable();
        }
        targets.join(", ")
    };
    let pairs = [
        ("dial plan", name(&old.dial_plan), name(&new.dial_plan)),
        ("hunt group", name(&old.hunt_group), name(&new.hunt_group)),
        ("UM pool", name(&old.um_pool), name(&new.um_pool)),
        ("targets", targets(old), targets(new)),
        ("called", old.called.clone(), new.called.clone()),
        ("A leg's mode", String::from(mode_name(old.a_mode)), String::from(mode_name(new.a_mode))),
        ("B leg's mode", String::from(mode_name(old.b_mode)), String::from(mode_name(new.b_mode))),
    ];
    pairs.iter().flat_map(|(of, before, after)| different(of, before, after)).collect()
}

/// By name, in order: what one has and the other has not, or has otherwise.
fn sent(old: &[(String, String)], new: &[(String, String)]) -> Vec<Difference> {
    let mut names: Vec<&str> = Vec::new();
    for (name, _) in old.iter().chain(new) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let all = |fields: &[(String, String)], wanted: &str| {
        let values: Vec<&str> = fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect();
        values.join(", ")
    };
    names.iter().flat_map(|name| different(name, &all(old, name), &all(new, name))).collect()
}

/// The stages that decided otherwise, in the order in which they are asked. Of a verdict that is a refusal on one side, those that were asked on both, and the one
/// that refused: what one side never came to says nothing.
fn why(kind: Kind, before: &[Decided], after: &[Decided]) -> Vec<Why> {
    let mut stages: Vec<&str> = Vec::new();
    for decided in before.iter().chain(after) {
        if !stages.contains(&&*decided.stage) {
            stages.push(&decided.stage);
        }
    }
    let of = |all: &[Decided], stage: &str| -> Vec<String> { all.iter().filter(|decided| decided.stage == stage).map(line).collect() };
    stages
        .into_iter()
        .map(|stage| Why { stage: String::from(stage), before: of(before, stage), after: of(after, stage) })
        .filter(|why| why.before != why.after && ((kind == Kind::OtherWay && why.stage != WHO) || is_told(why)))
        .collect()
}

fn is_told(why: &Why) -> bool {
    let refuses = |lines: &[String]| lines.iter().any(|line| line.starts_with(REFUSED));
    (!why.before.is_empty() && !why.after.is_empty()) || refuses(&why.before) || refuses(&why.after)
}

const REFUSED: &str = "refused, ";
/// Who the caller is is found before screening, and a recording does not keep how.
const WHO: &str = "peer";

/// A decision in one line: rule, values, and where it refused the reason.
fn line(decided: &Decided) -> String {
    let values: Vec<String> = decided.compared.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let values = if values.is_empty() { String::new() } else { format!(" [{}]", values.join(" ")) };
    let refused = decided.refused.as_ref().map(|reason| format!("{REFUSED}{reason}: ")).unwrap_or_default();
    format!("{refused}{}{values}", decided.rule)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::SecurityMode;
    use crate::policy::verdict::{Decision, Reason};

    fn admitted(targets: &[&str]) -> Judged {
        let course = Course {
            dial_plan: Some("main".into()),
            hunt_group: Some("voicemail".into()),
            um_pool: Some("um".into()),
            targets: targets.iter().map(|target| (*target).into()).collect(),
            called: "5000".into(),
            a_mode: SecurityMode::Secured,
            b_mode: SecurityMode::Secured,
        };
        Judged { outcome: Outcome::Admitted(course), decisions: vec![Decided::from(&Decision::passed("routing", "pool"))], sent: None }
    }

    fn refused(reason: Reason) -> Judged {
        let decision = Decision::refused("hunt_group", "no pilot", reason).comparing("Request-URI", "5000");
        Judged { outcome: Outcome::refused(reason), decisions: vec![Decided::from(&decision)], sent: None }
    }

    #[test]
    fn a_call_refused_now_says_which_stage_refused_it_and_by_which_values() {
        let change = compare(&admitted(&["um1"]), &refused(Reason::NoHuntGroup)).unwrap();
        assert_eq!(change.kind, Kind::Refused);
        assert_eq!(change.why.len(), 1, "what was not come to says nothing: {change:?}");
        assert_eq!(change.why[0].after, ["refused, hunt_group.none: no pilot [Request-URI=5000]"]);
        assert_eq!(compare(&refused(Reason::NoHuntGroup), &admitted(&["um1"])).unwrap().kind, Kind::Admitted);
        assert_eq!(compare(&refused(Reason::NoHuntGroup), &refused(Reason::PlanMismatch)).unwrap().kind, Kind::OtherReason);
    }

    #[test]
    fn the_same_verdict_by_other_rules_is_no_change() {
        let mut other = admitted(&["um1"]);
        other.decisions.clear();
        assert_eq!(compare(&admitted(&["um1"]), &other), None);
        assert_eq!(compare(&refused(Reason::NoHuntGroup), &refused(Reason::NoHuntGroup)), None);
    }

    #[test]
    fn the_order_of_targets_counts_only_where_both_were_judged_alike() {
        let (mut one, mut other) = (admitted(&["um1", "um2"]), admitted(&["um2", "um1"]));
        assert_eq!(compare(&one, &other), None, "a recording has it as it was that moment");
        (one.sent, other.sent) = (Some(Vec::new()), Some(Vec::new()));
        let change = compare(&one, &other).unwrap();
        assert_eq!((change.kind, change.differences.len()), (Kind::OtherWay, 1));
        assert_eq!(compare(&admitted(&["um1"]), &admitted(&["um3"])).unwrap().differences[0].after, "um3");
    }

    #[test]
    fn a_number_carried_otherwise_is_a_change() {
        let (mut one, mut other) = (admitted(&["um1"]), admitted(&["um1"]));
        one.sent = Some(vec![("From".into(), "<sip:100@x>".into()), ("Diversion".into(), "<sip:200@x>".into())]);
        other.sent = Some(vec![("From".into(), "<sip:+49100@x>".into())]);
        let differences = compare(&one, &other).unwrap().differences;
        let told: Vec<_> = differences.iter().map(|one| (one.of.as_str(), one.before.as_str(), one.after.as_str())).collect();
        assert_eq!(told, [("From", "<sip:100@x>", "<sip:+49100@x>"), ("Diversion", "<sip:200@x>", "")]);
    }
}
