//! What dial plans say of numbers, as meant: rules that can match, and pilots of which each belongs to one plan.

use std::collections::HashMap;
use std::sync::Arc;

use crate::config::finding::{Findings, Written};
use crate::config::written;
use crate::config::written::numbers::{Direction, Numbers, Rule};
use crate::policy::dial_plan;
use crate::policy::numbering::{NumberRule, Numbering, OutwardForm, inward};
use crate::policy::settings::{DialPlan, HuntGroup, Peer, UriType, pilot_key};

/// Exchange's limit of an access number, by its cmdlet.
const PILOT_CHARACTERS: usize = 32;

pub fn numbering(written: &Numbers, findings: &Findings) -> Numbering {
    let code = |text: &str| (1..=3).contains(&text.len()) && all_digits(text) && !text.starts_with('0');
    let prefix = |text: &str| text.len() <= 6 && all_digits(text);
    let rules = |direction| written.rules.iter().filter(|rule| rule.direction == Some(direction)).map(|rule| number_rule(rule, findings)).collect();
    let country_code = checked(written.country_code.as_ref(), "country_code", code, "write the country's code alone, such as \"49\"", findings);
    let outward_form = written.outward.as_ref().map_or(OutwardForm::default(), |form| form.value);
    if country_code.is_none() && written.country_code.is_none() {
        let needs = written.national_prefix.as_ref().map(|prefix| ("national_prefix", prefix.at));
        let needs = needs.or_else(|| written.outward.as_ref().filter(|form| form.value != OutwardForm::AsDialled).map(|form| ("outward", form.at)));
        if let Some((key, at)) = needs {
            findings.problem(at, format!("{key} says nothing without country_code"), "add country_code = \"49\", with the country's own");
        }
    }
    Numbering {
        country_code,
        national_prefix: checked(written.national_prefix.as_ref(), "national_prefix", prefix, "write up to six digits", findings),
        international_prefix: checked(
            written.international_prefix.as_ref(),
            "international_prefix",
            |text| !text.is_empty() && prefix(text),
            "write one to six digits",
            findings,
        ),
        inward: rules(Direction::In),
        outward: rules(Direction::Out),
        outward_form,
    }
}

fn all_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// `+` and digits, both optional.
fn is_number_part(text: &str) -> bool {
    text.len() <= 21 && all_digits(text.strip_prefix('+').unwrap_or(text))
}

fn checked(written: Option<&Written<String>>, key: &str, fits: impl Fn(&str) -> bool, instead: &str, findings: &Findings) -> Option<Arc<str>> {
    let written = written?;
    if !fits(&written.value) {
        findings.problem(written.at, format!("{key} = \"{}\" cannot be one", written.value), instead);
        return None;
    }
    Some(written.value.as_str().into())
}

fn number_rule(rule: &Rule, findings: &Findings) -> NumberRule {
    let part = |written: Option<&Written<String>>, key| checked(written, key, is_number_part, "write digits, perhaps with + before them", findings);
    let lengths = match (rule.length, &rule.lengths) {
        (Some(_), Some(lengths)) => {
            findings.problem(lengths.at, "the rule has length and lengths", "write one of them");
            None
        }
        (Some(length), None) => Some((length, length)),
        (None, Some(Written { value: (least, most), at })) => {
            if least > most {
                findings.problem(*at, format!("no number has at least {least} and at most {most} digits"), "write the smaller number first");
            }
            Some((*least as u8, *most as u8))
        }
        (None, None) => None,
    };
    if rule.prefix.is_none() && lengths.is_none() {
        findings.problem(rule.at, "the rule is for every number, so that none after it is ever reached", "add prefix = \"+49\" or length = 5");
    }
    NumberRule {
        prefix: part(rule.prefix.as_ref(), "prefix").unwrap_or_default(),
        lengths,
        strip: rule.strip,
        prepend: part(rule.prepend.as_ref(), "prepend").unwrap_or_default(),
    }
}

/// Beginnings of users' numbers.
pub fn own_numbers(written: &Numbers, findings: &Findings) -> Vec<Arc<str>> {
    let fits = |text: &str| is_number_part(text) && text.len() >= 2;
    written
        .own_numbers
        .iter()
        .filter_map(|own| checked(Some(own), "own_numbers", fits, "write how the users' numbers begin, such as \"+1425555\"", findings))
        .collect()
}

/// Notes access numbers and auto attendants that UM could not have.
pub fn check_pilots(plan: &DialPlan, written: &Numbers, findings: &Findings) {
    for pilot in written.access_numbers.iter().chain(&written.auto_attendants) {
        let length = pilot.value.chars().count();
        if length > PILOT_CHARACTERS {
            findings.problem(pilot.at, format!("\"{}\" has {length} characters", pilot.value), format!("write at most {PILOT_CHARACTERS}, as in Exchange"));
        }
        let user = pilot.value.trim_start_matches("sip:").split('@').next().unwrap_or_default();
        if dial_plan::called_pilot(plan, &inward(plan, user).1).1.is_none() {
            let what = format!("\"{}\" does not fit dial plan \"{}\"", pilot.value, plan.name);
            findings.problem(pilot.at, what, format!("write {}", dial_plan::wanted(plan)));
        }
    }
}

/// As in Exchange, one number never spans plans; and it is either an access number or an auto attendant's.
pub fn check_spans(written: &[written::DialPlan], findings: &Findings) {
    let mut seen: HashMap<String, (&str, &'static str)> = HashMap::new();
    for plan in written {
        let Some(name) = &plan.name else { continue };
        for (list, pilots) in [("access_numbers", &plan.numbers.access_numbers), ("auto_attendants", &plan.numbers.auto_attendants)] {
            for pilot in pilots {
                let key = pilot_key(&pilot.value);
                if let Some((other, of_list)) = seen.get(&key) {
                    let what = format!("\"{}\" is in {of_list} of dial plan \"{other}\" already", pilot.value);
                    findings.problem(pilot.at, what, "write it once: one number never spans dial plans, and is either an access number or an auto attendant's");
                } else {
                    seen.insert(key, (&name.value, list));
                }
            }
        }
    }
}

/// On plans other than extension plans a mailbox's owner is known by a telephone number, which looks like any other: only the set can say which they are.
pub fn check_vouched(written: &[written::DialPlan], groups: &[Arc<HuntGroup>], peers: &[Arc<Peer>], findings: &Findings) {
    for entry in written.iter().filter(|entry| entry.uri_type != UriType::Extension) {
        let Some(name) = &entry.name else { continue };
        if !entry.numbers.own_numbers.is_empty() || entry.numbers.extension_callers.is_some() {
            continue;
        }
        let doubted = |peer: &&Arc<Peer>| !peer.identity_trusted && groups.iter().any(|group| group.peer == peer.name && *group.plan.name == *name.value);
        if let Some(peer) = peers.iter().find(doubted) {
            let what =
                format!("peer \"{}\" is not believed in identities, yet can name a caller by a user's number of dial plan \"{}\"", peer.name, name.value);
            let instead = "add own_numbers = [\"+1425555\"] with how the users' numbers begin, lest UM asks such callers for the PIN alone; or extension_callers = \"believe\" to accept that";
            findings.warning(name.at, what, instead);
        }
    }
}
