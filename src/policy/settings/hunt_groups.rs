//! Hunt groups, and the one form in which pilots are compared.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use super::DialPlan;

/// (peer, pilot identifier) -> dial plan, as a UM hunt group.
#[derive(Clone, PartialEq, Debug)]
pub struct HuntGroup {
    pub name: Arc<str>,
    pub peer: Arc<str>,
    /// `None`: the default hunt group of this peer, which catches every number.
    pub pilot: Option<Arc<str>>,
    pub plan: Arc<DialPlan>,
}

impl HuntGroup {
    /// The pilot is the dial plan's name.
    pub fn is_by_plan_name(&self) -> bool {
        self.pilot.as_ref().is_some_and(|pilot| pilot.eq_ignore_ascii_case(&self.plan.name))
    }
}

/// The hunt groups in the order written, with an index by (peer, pilot), so that a verdict costs two hash lookups however many there are.
///
/// Make one with `HuntGroups::from(vec)`; read it as a slice. Pilots are compared in the form of [`pilot_key`].
#[derive(Clone, Debug, Default)]
pub struct HuntGroups {
    groups: Vec<Arc<HuntGroup>>,
    of_peer: HashMap<Arc<str>, PilotsOfPeer>,
}

#[derive(Clone, Debug, Default)]
struct PilotsOfPeer {
    pilots: HashMap<Box<str>, u32>,
    default: Option<u32>,
}

impl HuntGroups {
    /// The group of this peer with this pilot, given in the form of [`pilot_key`].
    pub fn with_pilot(&self, peer: &str, key: &str) -> Option<&Arc<HuntGroup>> {
        self.of_peer.get(peer)?.pilots.get(key).and_then(|index| self.groups.get(*index as usize))
    }

    /// The group of this peer that catches every number.
    pub fn default_of(&self, peer: &str) -> Option<&Arc<HuntGroup>> {
        self.of_peer.get(peer)?.default.and_then(|index| self.groups.get(index as usize))
    }
}

/// Of two groups with the same peer and pilot the first counts (`config` refuses such a set).
impl From<Vec<Arc<HuntGroup>>> for HuntGroups {
    fn from(groups: Vec<Arc<HuntGroup>>) -> HuntGroups {
        let mut of_peer: HashMap<Arc<str>, PilotsOfPeer> = HashMap::new();
        for (index, group) in groups.iter().enumerate() {
            let pilots = of_peer.entry(Arc::clone(&group.peer)).or_default();
            match &group.pilot {
                Some(pilot) => {
                    pilots.pilots.entry(pilot_key(pilot).into()).or_insert(index as u32);
                }
                None => {
                    pilots.default.get_or_insert(index as u32);
                }
            }
        }
        // The plan's name, which Exchange's script for Lync writes as pilot, stands for every number of UM's own in it. Such as are pilots themselves
        // come first.
        for (index, group) in groups.iter().enumerate().filter(|(_, group)| group.is_by_plan_name()) {
            let Some(pilots) = of_peer.get_mut(&group.peer) else { continue };
            for number in group.plan.access_numbers.iter().chain(&group.plan.auto_attendants) {
                pilots.pilots.entry(pilot_key(number).into()).or_insert(index as u32);
            }
        }
        HuntGroups { groups, of_peer }
    }
}

impl Deref for HuntGroups {
    type Target = [Arc<HuntGroup>];
    fn deref(&self) -> &[Arc<HuntGroup>] {
        &self.groups
    }
}

impl PartialEq for HuntGroups {
    fn eq(&self, other: &HuntGroups) -> bool {
        self.groups == other.groups
    }
}

/// The one form in which pilots are compared: visual separators gone from numbers (RFC 3966 §3), other pilots in lower case, a leading `sip:` dropped.
pub fn pilot_key(pilot: &str) -> String {
    let pilot = pilot.trim();
    let pilot = pilot.strip_prefix("sip:").or_else(|| pilot.strip_prefix("sips:")).unwrap_or(pilot);
    number_of(pilot).unwrap_or_else(|| pilot.to_ascii_lowercase())
}

/// A telephone number without its visual separators: digits, with `+` kept in front. `None` if it is not a number.
pub fn number_of(user: &str) -> Option<String> {
    let mut number = String::with_capacity(user.len());
    for (index, character) in user.chars().enumerate() {
        match character {
            '0'..='9' => number.push(character),
            '+' if index == 0 => number.push('+'),
            '-' | '.' | '(' | ')' | ' ' => {}
            _ => return None,
        }
    }
    number.ends_with(|last: char| last.is_ascii_digit()).then_some(number)
}
