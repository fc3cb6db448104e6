//! What becomes of a call when Unified Messaging cannot be had: it goes over the PSTN to UM at another way in, as Lync's voice mail rerouting does
//! (New-CsVoicemailReroutingConfiguration; LS Exchange Unified Messaging Routing, event 44009, ms-diagnostics 15030).
//!
//! | the call | goes to |
//! |---|---|
//! | was diverted, as far as the peer it came from is believed in that | the auto attendant's number: a message is to be left |
//! | dialled the number its hunt group is for, and was not diverted | the subscriber access number: messages are to be heard |
//! | anything else | the auto attendant's number |
//!
//! UM cannot be had where none of the call's targets is known to take calls, or where all were tried and failed by silence, by being out of reach or
//! by 503. A call that UM refused is never rerouted. What must not happen is a call that goes round: one that dials a reroute number itself stays
//! here, whatever has become of UM; calls to one number are bounded, and the same caller does not get there twice within [`BOUNCE`].

use std::time::Duration;

use crate::policy::dial_plan::{dialled_number, subscriber};
use crate::policy::liveness::Board;
use crate::policy::peer::PeerTable;
use crate::policy::routing;
use crate::policy::screening::Admitted;
use crate::policy::settings::{DialPlan, Peer, PolicySet, Reroute, pilot_key};
use crate::policy::toll::{self, TollCaller};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{HeaderName, Message, NameAddr, Uri};

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
    /// Who calls, in the form in which callers are compared; `None`: nobody can tell.
    pub caller: Option<String>,
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
    record(came_round(question))?;
    let (wanted, by) = wanted(question, settings);
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
    let caller = caller(question.invite);
    record(bounded(question, settings, number, caller.as_deref()))?;
    // Who writes the plan writes the toll rules: none need allow its number, but one that denies it is obeyed.
    toll::denies(question.set, plan, TollCaller::Reroute, number).map_or(Ok(()), &mut record)?;
    let (decision, targets) = routing::towards_pstn(question.table, question.liveness, plan, settings);
    record(decision)?;
    let (decision, admitted) = question.admitted.rerouted(String::from(number), targets);
    record(decision)?;
    let admitted = admitted.ok_or(Reason::NoRoute)?;
    Ok(Way { admitted, wanted, number: String::from(number), caller })
}

/// A call that dials a reroute number, was diverted by one, or has been diverted too often stays where it is.
fn came_round(question: &Question<'_>) -> Decision {
    let numbers: Vec<&str> = question.set.dial_plans.iter().filter_map(|plan| plan.reroute.as_ref()).flat_map(Reroute::numbers).collect();
    let own = |user: &str| numbers.iter().find(|number| is_same(number, user)).map(|number| String::from(*number));
    let to = question.invite.to().ok();
    let dialled = [question.invite.request_uri().and_then(|uri| Uri::parse(uri).ok()), to.as_ref().and_then(|to| to.parsed_uri().ok())];
    let diversions = diversions(question.invite);
    let found = dialled
        .iter()
        .flatten()
        .find_map(|uri| own(&uri.user_decoded()).map(|number| ("dialled", number)))
        .or_else(|| diversions.iter().find_map(|diversion| own(&diversion.user).map(|number| ("diverted by", number))));
    if let Some((how, number)) = found {
        return Decision::refused("reroute", "a call that is for a reroute number is not rerouted", Reason::RerouteLoop).comparing(how, number);
    }
    let count: u32 = diversions.iter().map(|diversion| diversion.counter).fold(0, u32::saturating_add);
    let decision = match count >= MOST_DIVERSIONS {
        true => Decision::refused("reroute", "the call was diverted too often", Reason::RerouteLoop),
        false => Decision::passed("reroute", "the call has not come round"),
    };
    decision.comparing("diversions", count.to_string())
}

fn bounded(question: &Question<'_>, settings: &Reroute, number: &str, caller: Option<&str>) -> Decision {
    let under_way = (question.under_way)(number);
    let bounced = caller.is_some_and(|caller| (question.bounced)(caller, number));
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
fn wanted(question: &Question<'_>, settings: &Reroute) -> (Wanted, &'static str) {
    if mailbox(&question.admitted.peer, question.invite).is_some() {
        return (Wanted::Deposit, "it was diverted");
    }
    let is_called = |number: &str| is_same(number, &question.admitted.called);
    let access = question.admitted.hunt_group.as_ref().and_then(|group| group.pilot.as_deref());
    match access {
        Some(pilot) if is_called(pilot.split('@').next().unwrap_or_default()) => (Wanted::Retrieval, "the subscriber access number was dialled"),
        _ if settings.subscriber_access.as_deref().is_some_and(is_called) => (Wanted::Retrieval, "the subscriber access number was dialled"),
        _ => (Wanted::Deposit, "another number was dialled"),
    }
}

/// The mailbox a call was diverted from, where the peer is believed in that: the user part of the most recent diversion.
pub fn mailbox(peer: &Peer, invite: &Message) -> Option<String> {
    if !peer.diversion_trusted {
        return None;
    }
    let user = diversions(invite).into_iter().next()?.user;
    (!user.is_empty()).then(|| String::from(subscriber(&user)))
}

struct Diversion {
    user: String,
    counter: u32,
}

/// The diversions of a request, the most recent first, from the first of the headers that has one (the order of UM's own stack).
fn diversions(message: &Message) -> Vec<Diversion> {
    for name in [HeaderName::Diversion, HeaderName::CcDiversion] {
        let found: Vec<Diversion> = message.values(name).take(20).filter_map(diversion).collect();
        if !found.is_empty() {
            return found;
        }
    }
    // RFC 7044: the oldest first, and those that were diverted carry a Reason.
    let mut found: Vec<Diversion> = message.values(HeaderName::HistoryInfo).take(20).filter_map(history).collect();
    found.reverse();
    found
}

fn diversion(value: &[u8]) -> Option<Diversion> {
    let address = NameAddr::parse(value).ok()?;
    let uri = Uri::parse(address.uri).ok()?;
    let counter = address.params.get("counter").and_then(|counter| counter.trim().parse().ok()).unwrap_or(1);
    Some(Diversion { user: uri.user_decoded().into_owned(), counter })
}

fn history(value: &[u8]) -> Option<Diversion> {
    let address = NameAddr::parse(value).ok()?;
    let uri = Uri::parse(address.uri).ok()?;
    let is_diverted = uri.headers.is_some_and(|headers| headers.to_ascii_lowercase().contains("reason="));
    is_diverted.then(|| Diversion { user: uri.user_decoded().into_owned(), counter: 1 })
}

/// Who calls, as far as that tells callers apart.
pub fn caller(invite: &Message) -> Option<String> {
    let from = invite.from().ok()?;
    let uri = from.parsed_uri().ok()?;
    let user = pilot_key(subscriber(&uri.user_decoded()));
    let hidden = user.is_empty() || user == "anonymous" || uri.host.eq_ignore_ascii_case("anonymous.invalid");
    (!hidden).then_some(user)
}

/// Whether two user parts are one number, with or without country code.
fn is_same(number: &str, user: &str) -> bool {
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
