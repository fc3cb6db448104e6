//! Who may have the border call which number outward: UM's outcalls, transfers, calls rerouted over the PSTN (RFC 5853 §3.2, toll fraud).
//!
//! Rules name numbers ([`NumberPattern`]) and allow or deny them. Of all rules of the plan that
//! match, the one with the longest number decides, and of several of the same length one that denies. Where none matches, an extension of the
//! plan's digits may be called and nothing else: a set without rules lets UM ring desks, and spends no money.
//!
//! A number is compared as it was asked for, before the gateway's own form is made of it; RFC 3966 parameters do not count, but for a `phone-context`.

use std::sync::Arc;

use crate::policy::dial_plan::dialled_number;
use crate::policy::number_pattern::{NumberPattern, compared};
use crate::policy::settings::{DialPlan, PolicySet};
use crate::policy::verdict::{Decision, Reason};

/// On whose behalf a call goes outward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TollCaller {
    /// UM itself: Play on Phone, find-me.
    Outcall,
    /// REFER: whoever transfers names the number.
    Transfer,
    /// UM is out of reach, and the border calls a number of the set's.
    Reroute,
}

impl TollCaller {
    const fn word(self) -> &'static str {
        match self {
            TollCaller::Outcall => "outcall",
            TollCaller::Transfer => "transfer",
            TollCaller::Reroute => "reroute",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TollAction {
    Allow,
    Deny,
}

/// One rule of `toll.toml`.
#[derive(Clone, PartialEq, Debug)]
pub struct TollRule {
    pub name: Arc<str>,
    /// Names of the plans it is of; empty: of all.
    pub plans: Vec<Arc<str>>,
    pub numbers: Vec<NumberPattern>,
    pub action: TollAction,
}

/// Whether a call of this plan may go to this number (a user part, decoded) outward.
pub fn permits(set: &PolicySet, plan: &DialPlan, caller: TollCaller, number: &str) -> Decision {
    let number = compared(&dialled_number(number));
    let decision = match decisive(set, plan, &number) {
        Some((rule, matched)) => {
            let name = format!("toll rule \"{}\"", rule.name);
            let decision = match rule.action {
                TollAction::Allow => Decision::passed("toll", name),
                TollAction::Deny => Decision::refused("toll", name, Reason::TollDenied),
            };
            decision.comparing("matched", matched.to_string())
        }
        None if is_extension(plan, &number) => Decision::passed("toll", "an extension of the plan needs no toll rule"),
        None => Decision::refused("toll", "no toll rule allows it, and it is no extension of the plan", Reason::TollNoRule)
            .comparing("digits of an extension", plan.digits.to_string()),
    };
    decision.comparing("number", number).comparing("for", caller.word()).comparing("plan", String::from(&*plan.name))
}

/// The rule that denies this number in the form in which it would go to the gateway, if there is one: what was allowed as it was asked for must not
/// become what is denied.
pub fn denies(set: &PolicySet, plan: &DialPlan, caller: TollCaller, outward: &str) -> Option<Decision> {
    let number = compared(&dialled_number(outward));
    let (rule, matched) = decisive(set, plan, &number).filter(|(rule, _)| rule.action == TollAction::Deny)?;
    let decision = Decision::refused("toll", format!("toll rule \"{}\"", rule.name), Reason::TollDenied).comparing("matched", matched.to_string());
    Some(decision.comparing("number as the gateway gets it", number).comparing("for", caller.word()).comparing("plan", String::from(&*plan.name)))
}

fn decisive<'s>(set: &'s PolicySet, plan: &DialPlan, number: &str) -> Option<(&'s TollRule, &'s NumberPattern)> {
    let of_plan = set.toll.iter().filter(|rule| rule.plans.is_empty() || rule.plans.contains(&plan.name));
    let matching = of_plan.flat_map(|rule| rule.numbers.iter().map(move |pattern| (&**rule, pattern))).filter(|(_, pattern)| pattern.matches(number));
    // The first of those that are equal, so that the rule named is the one an operator meets first.
    matching.rev().max_by_key(|(rule, pattern)| (pattern.length(), rule.action == TollAction::Deny))
}

fn is_extension(plan: &DialPlan, number: &str) -> bool {
    number.len() == usize::from(plan.digits) && number.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::{SecurityMode, UmPool, UriType};

    fn plan(name: &str, digits: u8) -> DialPlan {
        DialPlan::new(name, UriType::Extension, digits, SecurityMode::Secured, Arc::new(UmPool::new("um", Vec::new())))
    }

    fn set(rules: &[(&str, &[&str], &[&str], TollAction)]) -> PolicySet {
        let rule = |(name, plans, numbers, action): &(&str, &[&str], &[&str], TollAction)| {
            let numbers = numbers.iter().map(|number| NumberPattern::parse(number).unwrap()).collect();
            Arc::new(TollRule { name: (*name).into(), plans: plans.iter().map(|plan| (*plan).into()).collect(), numbers, action: *action })
        };
        PolicySet { toll: rules.iter().map(rule).collect(), ..PolicySet::default() }
    }

    fn reason(set: &PolicySet, plan: &DialPlan, number: &str) -> Option<Reason> {
        permits(set, plan, TollCaller::Outcall, number).refused
    }

    #[test]
    fn without_rules_only_extensions_of_the_plans_digits_are_called() {
        let (set, plan) = (PolicySet::default(), plan("main", 4));
        assert_eq!(reason(&set, &plan, "2001"), None);
        for number in ["200", "20011", "+2001", "+14255550100", "00141", "2001;phone-context=+1425555", "*721", "abcd", "", "٢٠٠١"] {
            assert_eq!(reason(&set, &plan, number), Some(Reason::TollNoRule), "{number}");
        }
    }

    #[test]
    fn the_longest_number_decides_and_a_tie_is_denied() {
        use TollAction::{Allow, Deny};
        let rules: &[(&str, &[&str], &[&str], TollAction)] = &[
            ("home", &[], &["+1*"], Allow),
            ("premium", &[], &["+1900*", "+1 (976)*"], Deny),
            ("our own", &[], &["+19005550100"], Allow),
            ("one", &[], &["+44*"], Allow),
            ("other", &[], &["+44*"], Deny),
            ("desk", &[], &["9*"], Deny),
        ];
        let (set, plan) = (set(rules), plan("main", 4));
        assert_eq!(reason(&set, &plan, "+1 425 555-0100"), None);
        assert_eq!(reason(&set, &plan, "+19005550101"), Some(Reason::TollDenied));
        assert_eq!(reason(&set, &plan, "+1.900.555.0101"), Some(Reason::TollDenied), "separators change nothing");
        assert_eq!(reason(&set, &plan, "9005550101;phone-context=+1"), Some(Reason::TollDenied), "nor does a context");
        assert_eq!(reason(&set, &plan, "+19765550101"), Some(Reason::TollDenied));
        assert_eq!(reason(&set, &plan, "+19005550100"), None);
        assert_eq!(reason(&set, &plan, "+442079460000"), Some(Reason::TollDenied));
        assert_eq!(reason(&set, &plan, "+492079460000"), Some(Reason::TollNoRule));
        assert_eq!(reason(&set, &plan, "9001"), Some(Reason::TollDenied), "a rule may deny extensions");
        assert_eq!(reason(&set, &plan, "2001"), None);
    }

    #[test]
    fn a_rule_of_one_plan_is_nothing_to_another() {
        let set = set(&[("branch", &["branch"], &["*"], TollAction::Allow)]);
        assert_eq!(reason(&set, &plan("branch", 4), "+390612345"), None);
        assert_eq!(reason(&set, &plan("branch", 4), "alice"), None);
        assert_eq!(reason(&set, &plan("main", 4), "+390612345"), Some(Reason::TollNoRule));
    }

    #[test]
    fn what_is_allowed_as_asked_may_be_denied_as_it_goes_out() {
        let set = set(&[("home", &[], &["+*"], TollAction::Allow), ("abroad", &[], &["9011*"], TollAction::Deny)]);
        let plan = plan("main", 4);
        assert_eq!(reason(&set, &plan, "+442079460000"), None);
        let denied = denies(&set, &plan, TollCaller::Outcall, "9011442079460000");
        assert_eq!(denied.and_then(|decision| decision.refused), Some(Reason::TollDenied));
        assert_eq!(denies(&set, &plan, TollCaller::Outcall, "+442079460000"), None);
    }

    #[test]
    fn a_star_is_anything_only_at_the_end() {
        let set = set(&[("codes", &[], &["*67*", "#31"], TollAction::Allow)]);
        let plan = plan("main", 4);
        assert_eq!(reason(&set, &plan, "*67123"), None);
        assert_eq!(reason(&set, &plan, "#31"), None);
        assert_eq!(reason(&set, &plan, "167123"), Some(Reason::TollNoRule));
        assert_eq!(NumberPattern::parse("  "), None);
    }
}
