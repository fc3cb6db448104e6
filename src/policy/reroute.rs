//! What becomes of a call when Unified Messaging cannot be had: it goes over the PSTN to UM at another way in, as Lync's voice mail rerouting does
//! (New-CsVoicemailReroutingConfiguration; LS Exchange Unified Messaging Routing, event 44009, ms-diagnostics 15030).
//!
//! | the call | goes to |
//! |---|---|
//! | was diverted, as far as the peer it came from is believed in that | the auto attendant's number: a message is to be left |
//! | dialled one of the plan's access numbers (its hunt group's pilot, where the plan has none) | the subscriber access number: messages are to be heard |
//! | anything else | the auto attendant's number |
//!
//! UM cannot be had where none of the call's targets is known to take calls, or where all were tried and failed by silence, by being out of reach or
//! by 503. A call that UM refused is never rerouted. What must not happen is a call that goes round: one that dials a reroute number itself stays
//! here, whatever has become of UM; calls to one number are bounded, and the same caller does not get there twice within [`BOUNCE`].

use std::sync::Arc;
use std::time::Duration;

use crate::policy::caller::is_nobody;
use crate::policy::dial_plan::{dialled_number, subscriber};
use crate::policy::diversion;
use crate::policy::diversion::reading::{self, Diverter, Family};
use crate::policy::liveness::Board;
use crate::policy::numbering;
use crate::policy::peer::PeerTable;
use crate::policy::routing;
use crate::policy::screening::Admitted;
use crate::policy::settings::{DialPlan, Peer, PolicySet, Reroute, pilot_key};
use crate::policy::toll::{self, TollCaller};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{Message, Uri};

/// The same caller is not sent to the same number again within this time: what comes back so soon has come round.
pub const BOUNCE: Duration = Duration::from_secs(10);

/// A call diverted so often in all (RFC 5806 §5.2, `counter`) is not sent on.
const MOST_DIVERSIONS: u32 = 5;

/// Two numbers of at least so many digits are the same if one ends with the other: carriers deliver numbers with and without country code.
const SAME_DIGITS: usize = 7;

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub set: &'a PolicySet,
    pub table: &'a PeerTable,
    pub liveness: &'a Board,
    pub admitted: &'a Admitted,
    /// The caller's INVITE.
    pub invite: &'a Message,
    /// Why UM cannot be had; `None`: none of its targets is known to take calls.
    pub failure: Option<Reason>,
    /// Calls under way to this number by a reroute.
    pub under_way: &'a dyn Fn(&str) -> u32,
    /// Whether this caller was sent to this number within [`BOUNCE`].
    pub bounced: &'a dyn Fn(&str, &str) -> bool,
}

/// Where a call goes instead of to UM.
#[derive(Clone, PartialEq, Debug)]
pub struct Way {
    pub admitted: Admitted,
    pub wanted: Wanted,
    /// The number as written in the plan.
    pub number: String,
    /// Who calls, to be compared by [`is_same`].
    pub caller: String,
}

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// A message is to be left.
    Deposit,
    /// Messages are to be heard.
    Retrieval,
}

impl Wanted {
    pub const fn word(self) -> &'static str {
        match self {
            Wanted::Deposit => "deposit",
            Wanted::Retrieval => "retrieval",
        }
    }
}

pub struct Rerouting {
    pub trail: Vec<Decision>,
    /// The error: why the call stays as it is. `RerouteLoop` and `RerouteLimit` are then what the caller is refused for.
    pub outcome: Result<Way, Reason>,
}

/// Whether a target that failed so could not be had, as opposed to: refused the call, or was not one to be called.
pub const fn is_unavailability(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::TargetTimeout
            | Reason::TargetUnreachable
            | Reason::TargetUnavailable
            | Reason::TargetCertificate
            | Reason::LocateFailed
            | Reason::TargetsExhausted
    )
}

/// Whether none of a call's targets in UM is known to take calls.
pub fn is_um_out(liveness: &Board, admitted: &Admitted) -> bool {
    admitted.pool.is_some() && admitted.targets.iter().all(|target| !liveness.of(&target.name).is_usable())
}

/// Where the call goes over the PSTN, if it may. `None`: its plan has no `reroute`, or it is not on its way to UM.
pub fn reroute(question: Question<'_>) -> Option<Rerouting> {
    let plan = question.admitted.plan.as_ref().filter(|_| question.admitted.pool.is_some())?;
    let settings = plan.reroute.as_ref()?;
    let mut trail = vec![unavailable(&question, plan)];
    let outcome = deliberate(&question, plan, settings, &mut trail);
    Some(Rerouting { trail, outcome })
}

fn unavailable(question: &Question<'_>, plan: &DialPlan) -> Decision {
    let names = question.admitted.targets.iter().map(|target| &*target.name);
    let decision = Decision::passed("reroute", format!("UM pool \"{}\" cannot be had", plan.um_pool.name)).comparing(
        "why",
        match question.failure {
            Some(reason) => reason.code(),
            None => Reason::UmUnavailable.code(),
        },
    );
    let states = question.liveness.compared(names);
    if states.is_empty() { decision } else { decision.comparing("liveness", states) }
}

fn deliberate(question: &Question<'_>, plan: &DialPlan, settings: &Reroute, trail: &mut Vec<Decision>) -> Result<Way, Reason> {
    let mut record = |decision: Decision| {
        let refused = decision.refused;
        trail.push(decision);
        refused.map_or(Ok(()), Err)
    };
    record(came_round(question, plan))?;
    let (wanted, by) = wanted(question, plan);
    let number = match wanted {
        Wanted::Deposit => settings.auto_attendant.as_deref(),
        Wanted::Retrieval => settings.subscriber_access.as_deref(),
    };
    let rule = format!("reroute of dial plan \"{}\"", plan.name);
    let Some(number) = number else {
        record(Decision::refused("reroute", rule, Reason::RerouteNowhere).comparing("wanted", wanted.word()).comparing("by", by))?;
        return Err(Reason::RerouteNowhere);
    };
    record(Decision::passed("reroute", rule).comparing("wanted", wanted.word()).comparing("by", by).comparing("number", String::from(number)))?;
    let caller = caller(question, plan);
    record(bounded(question, settings, number, &caller))?;
    // Who writes the plan writes the toll rules: none need allow its number, but one that denies it is obeyed.
    toll::denies(question.set, plan, TollCaller::Reroute, number).map_or(Ok(()), &mut record)?;
    let (decision, outward) = numbering::outward(plan, number);
    if numbering::applied(&decision) {
        record(decision)?;
        toll::denies(question.set, plan, TollCaller::Reroute, &outward).map_or(Ok(()), &mut record)?;
    }
    let (decision, targets) = routing::towards_pstn(question.table, question.liveness, plan, settings);
    record(decision)?;
    let (decision, admitted) = question.admitted.rerouted(outward, targets);
    record(decision)?;
    let admitted = admitted.ok_or(Reason::NoRoute)?;
    Ok(Way { admitted, wanted, number: String::from(number), caller })
}

/// A call that dials a reroute number, was diverted by one, or has been diverted too often stays where it is.
fn came_round(question: &Question<'_>, plan: &DialPlan) -> Decision {
    let numbers: Vec<&str> = question.set.dial_plans.iter().filter_map(|plan| plan.reroute.as_ref()).flat_map(Reroute::numbers).collect();
    let own = |user: &str| numbers.iter().find(|number| is_same(number, user)).map(|number| String::from(*number));
    let to = question.invite.to().ok();
    let dialled = [question.invite.request_uri().and_then(|uri| Uri::parse(uri).ok()), to.as_ref().and_then(|to| to.parsed_uri().ok())];
    let diverters = diverters(plan, question.invite);
    let found = dialled
        .iter()
        .flatten()
        .find_map(|uri| own(&uri.user_decoded()).map(|number| ("dialled", number)))
        .or_else(|| diverters.iter().find_map(|diverter| own(&diverter.uri.user_decoded()).map(|number| ("diverted by", number))));
    if let Some((how, number)) = found {
        return Decision::refused("reroute", "a call that is for a reroute number is not rerouted", Reason::RerouteLoop).comparing(how, number);
    }
    let count: u32 = diverters.iter().map(|diverter| u32::from(diverter.counter.unwrap_or(1))).fold(0, u32::saturating_add);
    let decision = match count >= MOST_DIVERSIONS {
        true => Decision::refused("reroute", "the call was diverted too often", Reason::RerouteLoop),
        false => Decision::passed("reroute", "the call has not come round"),
    };
    decision.comparing("diversions", count.to_string())
}

fn bounded(question: &Question<'_>, settings: &Reroute, number: &str, caller: &str) -> Decision {
    let under_way = (question.under_way)(number);
    let bounced = (question.bounced)(caller, number);
    let decision = if bounced {
        Decision::refused("reroute", "the same caller was sent there just now", Reason::RerouteLoop).comparing("within", format!("{} s", BOUNCE.as_secs()))
    } else if under_way >= settings.limit {
        Decision::refused("reroute", "as many calls go there as may", Reason::RerouteLimit)
    } else {
        Decision::passed("reroute", "few enough calls go there")
    };
    decision.comparing("under way", under_way.to_string()).comparing("limit", settings.limit.to_string())
}

/// What the call is for, and what says so.
fn wanted(question: &Question<'_>, plan: &DialPlan) -> (Wanted, &'static str) {
    let admitted = question.admitted;
    if mailbox(plan, &admitted.peer, question.invite).is_some() {
        return (Wanted::Deposit, "it was diverted");
    }
    let is_called = |number: &Arc<str>| is_same(number.split('@').next().unwrap_or_default(), &admitted.called);
    if plan.auto_attendants.iter().any(is_called) {
        return (Wanted::Deposit, "an auto attendant's number was dialled");
    }
    let pilot = admitted.hunt_group.as_ref().and_then(|group| group.pilot.as_ref()).filter(|_| plan.access_numbers.is_empty());
    if plan.access_numbers.iter().chain(pilot).any(is_called) {
        return (Wanted::Retrieval, "the subscriber access number was dialled");
    }
    (Wanted::Deposit, "another number was dialled")
}

/// The mailbox a call was diverted from, as UM would be told of it; `None` where the peer is not believed in that.
pub fn mailbox(plan: &DialPlan, peer: &Peer, invite: &Message) -> Option<String> {
    let chosen = diversion::choose(plan, peer, invite)?;
    chosen.foremost(false).map(|diverter| diverter.user.clone()).filter(|user| !user.is_empty())
}

/// All who diverted the call, believed or not: for what must not go round that makes no odds.
fn diverters<'m>(plan: &DialPlan, invite: &'m Message) -> Vec<Diverter<'m>> {
    let read = |family: &Family| reading::read(invite, *family, plan.um_pool.diversion.cause_487).0;
    Family::ALL.iter().map(read).find(|diverters| !diverters.is_empty()).unwrap_or_default()
}

/// Who calls, as far as that tells callers apart: of those who are nobody, each mailbox's or number's are one.
fn caller(question: &Question<'_>, plan: &DialPlan) -> String {
    let from = question.invite.from().ok();
    let uri = from.as_ref().and_then(|from| from.parsed_uri().ok()).filter(|uri| !is_nobody(plan, uri));
    match uri {
        Some(uri) => pilot_key(subscriber(&uri.user_decoded())),
        None => {
            let called = mailbox(plan, &question.admitted.peer, question.invite).unwrap_or_else(|| question.admitted.called.clone());
            format!("anonymous for {called}")
        }
    }
}

/// Whether two user parts are one number, with or without country code.
pub fn is_same(number: &str, user: &str) -> bool {
    let key = |user: &str| pilot_key(&dialled_number(user));
    let (one, other) = (key(number), key(user));
    let (one, other) = (one.trim_start_matches('+'), other.trim_start_matches('+'));
    let digits = |text: &str| text.len() >= SAME_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit());
    one == other && !one.is_empty() || digits(one) && digits(other) && (one.ends_with(other) || other.ends_with(one))
}

/// Lync's pattern of a reroute number, `^\+?[1-9]\d*$`, and no longer than E.164 allows.
pub fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('+').unwrap_or(text);
    (1..=15).contains(&digits.len()) && !digits.starts_with('0') && digits.bytes().all(|byte| byte.is_ascii_digit())
}
