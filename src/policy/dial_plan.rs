//! A UM dial plan's view of a number: URI type, digits, and the one form in which a called user goes to UM.
//!
//! From Exchange 2010 on, a URI that does not fit the plan's type makes UM refuse the whole call (event 1021), so it is refused here first, with the
//! rule named. What fits:
//!
//! | type | fits | becomes |
//! |---|---|---|
//! | extension | a number: `+` allowed, up to 20 digits, visual separators of RFC 3966 §3 allowed | digits, `+` kept |
//! | E.164 | a number with `+` and up to 15 digits; or a local number with a global `phone-context` | `+` and digits |
//! | SIP URI | any user part | unchanged |

use std::borrow::Cow;

use crate::policy::settings::{DialPlan, UriType, number_of};
use crate::policy::verdict::{Decision, Reason};

/// ITU-T E.164 §6: country code, destination code and subscriber number together.
const E164_DIGITS: usize = 15;
/// Exchange's limit of a number in a UM dial plan.
const NUMBER_DIGITS: usize = 20;

/// Whether the called user (decoded; it may carry RFC 3966 parameters such as `;phone-context=+1`) fits, and the form in which it goes to UM.
pub fn called(plan: &DialPlan, user: &str) -> (Decision, Option<String>) {
    match fit(plan.uri_type, user) {
        Some(form) => {
            let decision = Decision::passed("dial_plan", rule(plan)).comparing("called", form.clone());
            (decision, Some(form))
        }
        None => {
            let decision = Decision::refused("dial_plan", rule(plan), Reason::PlanMismatch)
                .comparing("called", String::from(user))
                .comparing("digits", plan.digits.to_string())
                .comparing("wanted", wanted(plan.uri_type));
            (decision, None)
        }
    }
}

fn rule(plan: &DialPlan) -> Cow<'static, str> {
    let uri_type = match plan.uri_type {
        UriType::Extension => "extension",
        UriType::SipUri => "sip-uri",
        UriType::E164 => "e164",
    };
    Cow::Owned(format!("dial plan \"{}\" ({uri_type})", plan.name))
}

const fn wanted(uri_type: UriType) -> &'static str {
    match uri_type {
        UriType::Extension => "an extension or a telephone number of up to 20 digits",
        UriType::SipUri => "a user part",
        UriType::E164 => "+ and up to 15 digits",
    }
}

fn fit(uri_type: UriType, user: &str) -> Option<String> {
    match uri_type {
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
