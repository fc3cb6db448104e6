//! Number rules of a dial plan: what a number looks like on the other side of the border (ITU-T E.164 §6, E.123; RFC 3966 for reading).
//!
//! Inward is towards UM, outward towards gateways. Ordered rules come first, and the first that matches is the only one applied: by prefix and number of
//! digits, some digits are taken from the front and others put there. Where none matches, country code and prefixes speak: inward they make
//! a national or international number global on E.164 plans, the only ones that want it so; outward they write the form the plan asks for.
//! An extension, a number of exactly the plan's digits, is changed by rules alone.

use std::borrow::Cow;
use std::sync::Arc;

use crate::policy::dial_plan::{dialled_number, is_extension};
use crate::policy::settings::{DialPlan, UriType, number_of};
use crate::policy::verdict::Decision;

/// How numbers without a rule of their own are written towards gateways.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutwardForm {
    /// As UM dialled them: its dialling rules have been through them already.
    #[default]
    AsDialled,
    /// `+`, country code, number.
    E164,
    /// With national or international prefix, as dialled on a telephone.
    National,
}

/// One rule: which numbers, and what becomes of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct NumberRule {
    /// The number begins so; `+` is part of it. Empty: any number.
    pub prefix: Arc<str>,
    /// Least and most digits the number has, `+` not counted. `None`: any.
    pub lengths: Option<(u8, u8)>,
    /// Digits taken from the front; a `+` goes with them.
    pub strip: u8,
    /// Put in front of what is left; a `+` that was there gives way.
    pub prepend: Arc<str>,
}

/// What a dial plan knows of numbers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Numbering {
    /// Digits, without `+`.
    pub country_code: Option<Arc<str>>,
    /// What stands before a national number; empty: national numbers come with nothing before them.
    pub national_prefix: Option<Arc<str>>,
    pub international_prefix: Option<Arc<str>>,
    pub inward: Vec<NumberRule>,
    pub outward: Vec<NumberRule>,
    pub outward_form: OutwardForm,
}

/// The user (decoded; RFC 3966 parameters allowed) as UM is to see it. What is no number comes back as it is.
pub fn inward(plan: &DialPlan, user: &str) -> (Decision, String) {
    let Some(number) = number_of(&dialled_number(user)) else { return unchanged("no number", String::from(user)) };
    if let Some(done) = by_rules("inward", &plan.numbering.inward, &number) {
        return done;
    }
    if plan.uri_type == UriType::E164
        && let Some((rule, global)) = global(plan, &number)
    {
        return changed(Cow::Borrowed(rule), &number, global);
    }
    unchanged("no number rule matches", number)
}

/// The number UM dialled as gateways are to see it. What is no number comes back as it is.
pub fn outward(plan: &DialPlan, number: &str) -> (Decision, String) {
    let Some(number) = number_of(&dialled_number(number)) else { return unchanged("no number", String::from(number)) };
    if let Some(done) = by_rules("outward", &plan.numbering.outward, &number) {
        return done;
    }
    let formed = match plan.numbering.outward_form {
        OutwardForm::AsDialled => None,
        OutwardForm::E164 => global(plan, &number),
        OutwardForm::National => national(plan, &number),
    };
    match formed {
        Some((rule, formed)) => changed(Cow::Borrowed(rule), &number, formed),
        None => unchanged("no number rule matches", number),
    }
}

/// An extension or pilot UM calls from, as gateways are to see it: as it stands it says nothing to a trunk, and may be somebody else's number there. Rules
/// are for what is dialled; one made for numbers of exactly its length speaks of it as well, and no other (a prefix for an outside line makes no caller's
/// number better). `None`: it stays.
pub fn outward_caller(plan: &DialPlan, user: &str) -> Option<(Decision, String)> {
    let number = number_of(&dialled_number(user)).filter(|number| is_extension(plan, number) || plan.is_pilot(number))?;
    let digits = number.trim_start_matches('+').len();
    let of_length = |rule: &NumberRule| rule.lengths.is_some_and(|(least, most)| usize::from(least) == digits && usize::from(most) == digits);
    let (index, rule) = plan.numbering.outward.iter().enumerate().find(|(_, rule)| of_length(rule) && apply(rule, &number).is_some())?;
    Some(changed(Cow::Owned(format!("outward rule {} of the caller", index + 1)), &number, apply(rule, &number)?))
}

fn by_rules(direction: &str, rules: &[NumberRule], number: &str) -> Option<(Decision, String)> {
    let (index, made) = rules.iter().enumerate().find_map(|(index, rule)| Some((index, apply(rule, number)?)))?;
    Some(changed(Cow::Owned(format!("{direction} rule {}", index + 1)), number, made))
}

/// What the rule makes of a number; `None` where it does not match, or would leave nothing.
fn apply(rule: &NumberRule, number: &str) -> Option<String> {
    if !number.starts_with(&*rule.prefix) {
        return None;
    }
    let digits = number.trim_start_matches('+');
    if rule.lengths.is_some_and(|(least, most)| !(usize::from(least)..=usize::from(most)).contains(&digits.len())) {
        return None;
    }
    let rest = digits.get(usize::from(rule.strip)..).filter(|rest| !rest.is_empty())?;
    let plus = if rule.strip == 0 && rule.prepend.is_empty() && number.starts_with('+') { "+" } else { "" };
    Some(format!("{plus}{}{rest}", rule.prepend))
}

/// The number with `+`, where the plan's country code and prefixes tell how.
fn global(plan: &DialPlan, number: &str) -> Option<(&'static str, String)> {
    let numbering = &plan.numbering;
    if number.starts_with('+') || is_extension(plan, number) {
        return None;
    }
    if let Some(rest) = numbering.international_prefix.as_deref().and_then(|prefix| number.strip_prefix(prefix)).filter(|rest| !rest.is_empty()) {
        return Some(("the international prefix becomes +", format!("+{rest}")));
    }
    let rest = number.strip_prefix(numbering.national_prefix.as_deref()?).filter(|rest| !rest.is_empty())?;
    Some(("the country code stands for the national prefix", format!("+{}{rest}", numbering.country_code.as_deref()?)))
}

/// A global number as it is dialled on a telephone of the plan's country.
fn national(plan: &DialPlan, number: &str) -> Option<(&'static str, String)> {
    let numbering = &plan.numbering;
    let digits = number.strip_prefix('+')?;
    let home = numbering.country_code.as_deref().and_then(|code| digits.strip_prefix(code)).filter(|rest| !rest.is_empty());
    match (home, numbering.national_prefix.as_deref(), numbering.international_prefix.as_deref()) {
        (Some(rest), Some(prefix), _) => Some(("the national prefix stands for the country code", format!("{prefix}{rest}"))),
        (_, _, Some(prefix)) => Some(("the international prefix stands for +", format!("{prefix}{digits}"))),
        _ => None,
    }
}

fn changed(rule: Cow<'static, str>, number: &str, made: String) -> (Decision, String) {
    (Decision::passed("numbering", rule).comparing("number", String::from(number)).comparing("becomes", made.clone()), made)
}

fn unchanged(rule: &'static str, number: String) -> (Decision, String) {
    (Decision::passed("numbering", rule).comparing("number", number.clone()), number)
}

/// Whether a decision of this file says that something became something else: such are worth a line in the trail.
pub fn applied(decision: &Decision) -> bool {
    decision.compared.iter().any(|(name, _)| *name == "becomes")
}
