//! Diversion, CC-Diversion and History-Info: whom to believe, which to keep, and the one form in which they go to UM (RFC 5806, RFC 7044, RFC 7544).
//!
//! By these UM chooses the mailbox, so they are believed only from peers flagged for it and sent only to UM; a forged one would pick any mailbox's
//! greeting. Reading is tolerant ([`reading`]), writing canonical ([`writing`]): a broken display name costs that name, a value without a readable
//! URI is dropped, never the call (Exchange 2010 and later refuse the whole INVITE for one bad value, event 1021).
//!
//! Of the three headers one crosses: the first, in the order in which UM's own stack looks for them, that names a mailbox of the plan. In it are left out,
//! in this order: what cannot be read, repetitions, pilots of the plan (`drop_attendants`), users that do not fit the plan (after its number rules);
//! of the rest `keep` chooses. Where users are named and none of them fits, UM would not answer (event 1109): the pool's `unfit` says whether the call is
//! refused here or goes on as one that was not diverted. So a forwarding telephone outside the plan spoils nothing as long as a mailbox is named too.

pub mod causes;
pub mod reading;
mod writing;

use crate::policy::dial_plan;
use crate::policy::settings::{DialPlan, Peer, UriType, pilot_key};
use crate::policy::topology_hiding::{Carried, Crossing};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::Message;
use reading::{Diverter, Family};

/// Which diverters of several UM is told of. Exchange 2007 SP1 to 2013 go by the first, Exchange Online went by the last.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keep {
    /// The latest: who diverted the call to UM.
    First,
    /// The earliest: who was called in the beginning.
    Last,
    #[default]
    All,
}

/// The header in which UM is told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    Diversion,
    /// As Microsoft's test tool writes it: last the pilot, before it the extension with an escaped Reason.
    HistoryInfo,
    #[default]
    AsReceived,
}

/// What is done where diverting users are named and none of them can have a mailbox.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unfit {
    #[default]
    Refuse,
    /// The call goes on as if it had not been diverted.
    Drop,
}

/// What cause 487 of a History-Info entry says.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause487 {
    /// Microsoft: the INVITE was cancelled because nobody answered.
    #[default]
    NoAnswer,
    /// RFC 7544 §3.3: deflected while ringing.
    Deflection,
}

/// `diversion` of a UM pool.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct DiversionPolicy {
    pub keep: Keep,
    pub form: Form,
    /// Pilots of the plan are left out: after an auto attendant has put a caller through, UM would come back to the attendant and not to the mailbox.
    pub drop_attendants: bool,
    pub cause_487: Cause487,
    pub unfit: Unfit,
}

impl Default for DiversionPolicy {
    fn default() -> DiversionPolicy {
        DiversionPolicy { keep: Keep::default(), form: Form::default(), drop_attendants: true, cause_487: Cause487::default(), unfit: Unfit::default() }
    }
}

/// What of an INVITE's diversions UM is told.
pub struct Chosen<'m> {
    /// Refused where the pool says so of unfit users.
    pub decision: Decision,
    /// The number rules that were applied.
    pub numbering: Vec<Decision>,
    /// The latest first.
    diverters: Vec<Diverter<'m>>,
}

impl<'m> Chosen<'m> {
    /// Of those UM is told of, the one it goes by: the latest, or the earliest.
    pub fn foremost(&self, earliest: bool) -> Option<&Diverter<'m>> {
        if earliest { self.diverters.last() } else { self.diverters.first() }
    }
}

/// What was left out, and why.
#[derive(Default)]
struct Tally {
    unreadable: usize,
    repeated: usize,
    pilots: Vec<String>,
    unfit: Vec<String>,
    chosen_against: usize,
    /// Headers after the one that crosses.
    behind: Vec<&'static str>,
}

/// `None` where the INVITE speaks of no diversion. `peer`: whose INVITE it is; it is one from outside.
pub fn choose<'m>(plan: &DialPlan, peer: &Peer, invite: &'m Message) -> Option<Chosen<'m>> {
    if !is_present(invite) {
        return None;
    }
    if !peer.diversion_trusted {
        return Some(nothing(Decision::passed("diversion", "not believed from this peer").comparing("kept", "0")));
    }
    let policy = plan.um_pool.diversion;
    let (mut tally, mut numbering) = (Tally::default(), Vec::new());
    let mut kept: Vec<Diverter<'m>> = Vec::new();
    for family in Family::ALL {
        if !kept.is_empty() {
            tally.behind.extend(invite.fields().any(|field| field.name == family.header()).then_some(family.header().as_str()));
            continue;
        }
        let (read, unreadable) = reading::read(invite, family, policy.cause_487);
        tally.unreadable += unreadable;
        for diverter in read {
            sift(plan, diverter, &mut kept, &mut tally, &mut numbering);
        }
    }
    let named = kept.len();
    match policy.keep {
        Keep::First => kept.truncate(1),
        Keep::Last => drop(kept.drain(..named.saturating_sub(1))),
        Keep::All => {}
    }
    tally.chosen_against = named - kept.len();
    let decision = verdict(plan, &kept, &tally);
    Some(Chosen { decision, numbering, diverters: kept })
}

fn is_present(message: &Message) -> bool {
    message.is_request() && message.fields().any(|field| Family::ALL.iter().any(|family| family.header() == field.name))
}

fn nothing<'m>(decision: Decision) -> Chosen<'m> {
    Chosen { decision, numbering: Vec::new(), diverters: Vec::new() }
}

/// Where one diverter that was read belongs.
fn sift<'m>(plan: &DialPlan, mut diverter: Diverter<'m>, kept: &mut Vec<Diverter<'m>>, tally: &mut Tally, numbering: &mut Vec<Decision>) {
    let written = diverter.uri.user_decoded().into_owned();
    if plan.um_pool.diversion.drop_attendants && is_pilot(plan, &diverter, &written) {
        tally.pilots.push(written);
        return;
    }
    match fitting(plan, &diverter, numbering) {
        Some(user) if plan.um_pool.diversion.drop_attendants && plan.is_pilot(&pilot_key(&user)) => tally.pilots.push(user),
        Some(user) => {
            diverter.user = user;
            if kept.iter().any(|known| known.is_same(&diverter)) {
                tally.repeated += 1;
            } else {
                kept.push(diverter);
            }
        }
        None => tally.unfit.push(written),
    }
}

fn is_pilot(plan: &DialPlan, diverter: &Diverter<'_>, user: &str) -> bool {
    plan.is_pilot(&pilot_key(dial_plan::subscriber(user))) || plan.is_pilot(&pilot_key(&format!("{user}@{}", diverter.uri.host)))
}

/// The user as UM knows the mailbox. Anonymous users have none.
fn fitting(plan: &DialPlan, diverter: &Diverter<'_>, numbering: &mut Vec<Decision>) -> Option<String> {
    if crate::policy::caller::is_anonymous(&diverter.uri) {
        return None;
    }
    let user = crate::policy::caller::fitting(plan, &diverter.uri, numbering)?;
    dial_plan::diverting(plan, &user)
}

fn verdict(plan: &DialPlan, kept: &[Diverter<'_>], tally: &Tally) -> Decision {
    let policy = plan.um_pool.diversion;
    let unfit = kept.is_empty() && !tally.unfit.is_empty();
    let decision = match (unfit, policy.unfit) {
        (true, Unfit::Refuse) => Decision::refused("diversion", "no diverting user fits the plan, and unfit is refuse", Reason::DiversionUnfit),
        (true, Unfit::Drop) => Decision::passed("diversion", "no diverting user fits the plan, and unfit is drop"),
        (false, _) => Decision::passed("diversion", "believed from this peer"),
    };
    let mut decision = decision.comparing("kept", kept.len().to_string());
    if let Some(first) = kept.first() {
        let users: Vec<&str> = kept.iter().map(|diverter| &*diverter.user).collect();
        decision = decision.comparing("users", users.join(", ")).comparing("header", first.family.header().as_str());
    }
    decision = decision.comparing("unreadable", tally.unreadable.to_string()).comparing("repeated", tally.repeated.to_string());
    if !tally.pilots.is_empty() {
        decision = decision.comparing("pilots left out", tally.pilots.join(", "));
    }
    if !tally.unfit.is_empty() {
        decision = decision.comparing("unfit", tally.unfit.join(", ")).comparing("wanted", dial_plan::wanted_of_diverting(plan));
    }
    if tally.chosen_against > 0 {
        let keep = if policy.keep == Keep::First { "the first" } else { "the last" };
        decision = decision.comparing("keep", keep).comparing("not kept", tally.chosen_against.to_string());
    }
    if !tally.behind.is_empty() {
        decision = decision.comparing("left behind", tally.behind.join(", "));
    }
    decision
}

/// Adds what crosses of a request's diversions.
pub fn carry(crossing: &Crossing<'_>, message: &Message, carried: &mut Carried) {
    if !is_present(message) {
        return;
    }
    if !(crossing.to.kind.is_um() || crossing.to.diversion_sent) {
        carried.trail.push(Decision::passed("diversion", "sent to UM, and where the peer has send_diversion").comparing("kept", "0"));
        return;
    }
    let Some(chosen) = crossing.plan.and_then(|plan| choose(plan, crossing.from, message)) else { return };
    carried.trail.extend(chosen.numbering);
    carried.trail.push(chosen.decision);
    if let Some(plan) = crossing.plan {
        writing::write(crossing, plan, &chosen.diverters, carried);
    }
}

/// On a SIP URI plan the domain is part of who somebody is.
fn is_by_domain(plan: &DialPlan) -> bool {
    plan.uri_type == UriType::SipUri
}
