//! A UM dial plan's view of a number: URI type, digits, and the one form in which a user goes to UM.
//!
//! From Exchange 2010 on, a URI that does not fit the plan's type makes UM refuse the whole call (event 1021), so it is refused here first, with the
//! rule named. Numbers are those of RFC 3966 (`+` allowed, visual separators of §3 gone), after the plan's number rules ([`crate::policy::numbering`]):
//!
//! | type | called | diverting (event 1109) | calling |
//! |---|---|---|---|
//! | extension | an extension, exactly the plan's digits; or a telephone number, longer, up to 20 digits; or a pilot of the plan | an extension | up to 20 digits |
//! | E.164 | `+` and up to 15 digits | the same | the same |
//! | SIP URI | any user part | any user part | any user part |
//!
//! An anonymous caller fits everywhere ([`crate::policy::caller`]).

use std::borrow::Cow;

use crate::policy::settings::{DialPlan, UriType, number_of, pilot_key};
use crate::policy::verdict::{Decision, Reason};

/// ITU-T E.164 §6: country code, destination code and subscriber number together.
const E164_DIGITS: usize = 15;
/// Exchange's limit of a number in a UM dial plan.
const NUMBER_DIGITS: usize = 20;

/// Whether the called user (decoded; it may carry RFC 3966 parameters such as `;phone-context=+1`) fits, and the form in which it goes to UM.
pub fn called(plan: &DialPlan, user: &str) -> (Decision, Option<String>) {
    let is_pilot = plan.is_pilot(&pilot_key(subscriber(user)));
    judged(plan, user, fit(plan, user).filter(|form| is_pilot || is_long_enough(plan, form)))
}

/// The same of a user that a hunt group's pilot has found, or that is to become one: UM knows its own pilots, so they may have any number of digits.
pub fn called_pilot(plan: &DialPlan, user: &str) -> (Decision, Option<String>) {
    judged(plan, user, fit(plan, user))
}

fn judged(plan: &DialPlan, user: &str, form: Option<String>) -> (Decision, Option<String>) {
    match form {
        Some(form) => {
            let decision = Decision::passed("dial_plan", rule(plan)).comparing("called", form.clone());
            (decision, Some(form))
        }
        None => {
            let decision = Decision::refused("dial_plan", rule(plan), Reason::PlanMismatch)
                .comparing("called", String::from(user))
                .comparing("digits", plan.digits.to_string())
                .comparing("wanted", wanted(plan));
            (decision, None)
        }
    }
}

/// The form of a caller; `None` if UM would refuse it. Telephone numbers of other places may be shorter than an extension of this plan.
pub fn calling(plan: &DialPlan, user: &str) -> Option<String> {
    fit(plan, user)
}

/// The form of a diverting user, which names a mailbox and nothing else; `None` if it cannot be one of this plan.
pub fn diverting(plan: &DialPlan, user: &str) -> Option<String> {
    fit(plan, user).filter(|form| plan.uri_type != UriType::Extension || is_extension(plan, form))
}

/// Exactly the plan's digits, without `+`.
pub fn is_extension(plan: &DialPlan, number: &str) -> bool {
    number.len() == usize::from(plan.digits) && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// A short number that is no extension is nobody's.
fn is_long_enough(plan: &DialPlan, form: &str) -> bool {
    plan.uri_type != UriType::Extension || form.starts_with('+') || digits(form) >= usize::from(plan.digits)
}

fn rule(plan: &DialPlan) -> Cow<'static, str> {
    let uri_type = match plan.uri_type {
        UriType::Extension => "extension",
        UriType::SipUri => "sip-uri",
        UriType::E164 => "e164",
    };
    Cow::Owned(format!("dial plan \"{}\" ({uri_type})", plan.name))
}

/// What a called number must be.
pub fn wanted(plan: &DialPlan) -> Cow<'static, str> {
    match plan.uri_type {
        UriType::Extension => Cow::Owned(format!("an extension of {} digits, or a longer telephone number of up to 20 digits", plan.digits)),
        UriType::SipUri => Cow::Borrowed("a user part"),
        UriType::E164 => Cow::Borrowed("+ and up to 15 digits"),
    }
}

/// What a diverting user must be.
pub fn wanted_of_diverting(plan: &DialPlan) -> Cow<'static, str> {
    match plan.uri_type {
        UriType::Extension => Cow::Owned(format!("an extension of {} digits", plan.digits)),
        UriType::SipUri | UriType::E164 => wanted(plan),
    }
}

/// What a caller must be.
pub const fn wanted_of_calling(uri_type: UriType) -> &'static str {
    match uri_type {
        UriType::Extension => "up to 20 digits, or anonymous",
        UriType::SipUri => "a user part, or anonymous",
        UriType::E164 => "+ and up to 15 digits, or anonymous",
    }
}

fn fit(plan: &DialPlan, user: &str) -> Option<String> {
    match plan.uri_type {
        UriType::SipUri => (!user.is_empty()).then(|| String::from(user)),
        UriType::Extension => number_of(subscriber(user)).filter(|number| digits(number) <= NUMBER_DIGITS),
        UriType::E164 => global(user).filter(|number| number.starts_with('+') && (1..=E164_DIGITS).contains(&digits(number))),
    }
}

fn digits(number: &str) -> usize {
    number.trim_start_matches('+').len()
}

/// The number of an RFC 3966 telephone-subscriber, its parameters left out.
pub fn subscriber(user: &str) -> &str {
    user.split_once(';').map_or(user, |(number, _)| number)
}

/// The user with its number made global where an RFC 3966 `phone-context` allows it; otherwise the number alone.
pub fn dialled_number(user: &str) -> Cow<'_, str> {
    if !user.contains(';') {
        return Cow::Borrowed(user);
    }
    global(user).map_or(Cow::Borrowed(subscriber(user)), Cow::Owned)
}

/// RFC 3966 §5.1.5: a local number with a global context is that context's digits followed by the number.
fn global(user: &str) -> Option<String> {
    let number = number_of(subscriber(user))?;
    if number.starts_with('+') {
        return Some(number);
    }
    let context = user.split(';').skip(1).filter_map(|parameter| parameter.split_once('=')).find(|(name, _)| name.eq_ignore_ascii_case("phone-context"))?.1;
    let context = number_of(context).filter(|context| context.starts_with('+'))?;
    Some(context + &number)
}
