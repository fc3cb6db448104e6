//! `toll.toml` as meant: rules with their plans resolved and their numbers in the form numbers are compared in; and, said loudly, what holds without.

use std::sync::Arc;

use super::plans::Known;
use super::{number_pattern, unknown};
use crate::config::finding::{At, Findings, Written};
use crate::config::written;
use crate::policy::settings::DialPlan;
use crate::policy::toll::{TollAction, TollRule};

const NAME_CHARACTERS: usize = 64;

pub fn rules(written: &[written::TollRule], plans: &[Arc<DialPlan>], known: &Known<'_>, findings: &Findings) -> Vec<Arc<TollRule>> {
    let mut seen = Vec::new();
    let mut rules: Vec<Arc<TollRule>> = Vec::new();
    for entry in written {
        let name = super::name(entry.name.as_ref(), "toll rule", NAME_CHARACTERS, &mut seen, findings);
        let of: Vec<Arc<str>> = entry.plans.iter().filter_map(|written| plan(written, plans, known, findings)).collect();
        let numbers = entry.numbers.iter().filter_map(|written| number_pattern(written, "a toll rule", findings)).collect();
        let (Some(name), Some(action)) = (name, &entry.action) else { continue };
        // A rule all of whose plans are misspelt must not become one of every plan.
        if of.is_empty() && !entry.plans.is_empty() {
            continue;
        }
        warn_of_everything(entry, action, findings);
        rules.push(Arc::new(TollRule { name, plans: of, numbers, action: action.value }));
    }
    warn_of_silence(&rules, plans, findings);
    rules
}

fn plan(written: &Written<String>, plans: &[Arc<DialPlan>], known: &Known<'_>, findings: &Findings) -> Option<Arc<str>> {
    let found = plans.iter().find(|plan| *plan.name == *written.value);
    if found.is_none() {
        let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
        unknown(written, "dial plan", "dial_plans.toml", &names, &known.plan_names, findings);
    }
    found.map(|plan| Arc::clone(&plan.name))
}

/// An open door to every number of the world is told whenever the set is read.
fn warn_of_everything(entry: &written::TollRule, action: &Written<TollAction>, findings: &Findings) {
    let everything = entry.numbers.iter().find(|number| matches!(number.value.trim(), "*" | "+*"));
    if let (Some(number), TollAction::Allow) = (everything, action.value) {
        let name = entry.name.as_ref().map(|name| name.value.as_str()).unwrap_or_default();
        findings.warning(
            number.at,
            format!("toll rule \"{name}\" allows calls to every number there is, premium ones too"),
            "write the numbers that are meant, or deny those that cost (\"+1900*\")",
        );
    }
}

/// Without a rule the safe default holds; that must not be found out by the first user whose phone does not ring.
fn warn_of_silence(rules: &[Arc<TollRule>], plans: &[Arc<DialPlan>], findings: &Findings) {
    let at = At { file: "toll.toml", line: 1, column: 1 };
    let ruled = |plan: &DialPlan| rules.iter().any(|rule| rule.plans.is_empty() || rule.plans.contains(&plan.name));
    for plan in plans.iter().filter(|plan| !plan.gateways.is_empty() && !ruled(plan)) {
        findings.warning(
            at,
            format!(
                "dial plan \"{}\" has gateways, but no toll rule: calls out to anything but its extensions of {} digits are refused (403)",
                plan.name, plan.digits
            ),
            "add [[rule]] with name, numbers = [\"+1*\"] and action = \"allow\" for what UM may call, or with action = \"deny\" if that is meant",
        );
    }
}
