//! A call to UM that UM cannot take goes over the PSTN instead, once (`policy/reroute` says where and whether).
//!
//! Asked twice at most: when the search begins, where liveness knows that nothing in UM takes calls; else when every target has been tried.

use std::collections::{HashMap, VecDeque};

use crate::media::control::Side;
use crate::policy::reroute::{self, BOUNCE, Question, Way};
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Call, Exchange, Rerouted, Stage};
use crate::signaling::b2bua::setup;
use crate::signaling::border::Border;
use crate::signaling::fact::{CallId, What};
use crate::signaling::session::offer_answer::{SessionMedia, Terms};
use crate::sip::Message;
use crate::time::Time;

/// Reroutes remembered for the sake of callers that come round: more in ten seconds are bounded by other means.
const REMEMBERED: usize = 4096;

/// Calls that are under way over the PSTN, and who was sent where just now.
#[derive(Default)]
pub struct Rerouting {
    under_way: HashMap<CallId, String>,
    /// When, who, to which number.
    lately: VecDeque<(Time, String, String)>,
}

impl Rerouting {
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    fn to(&self, number: &str) -> u32 {
        self.under_way.values().filter(|held| *held == number).count() as u32
    }

    fn begins(&mut self, now: Time, call: CallId, way: &Way) {
        self.under_way.insert(call, way.number.clone());
        while self.lately.front().is_some_and(|(at, _, _)| now.since(*at) >= BOUNCE) || self.lately.len() >= REMEMBERED {
            self.lately.pop_front();
        }
        self.lately.push_back((now, way.caller.clone(), way.number.clone()));
    }

    fn was_lately(&self, now: Time, caller: &str, number: &str) -> bool {
        self.lately.iter().any(|(at, who, to)| now.since(*at) < BOUNCE && reroute::is_same(who, caller) && to == number)
    }

    /// A call is over, wherever it went.
    pub fn ended(&mut self, call: CallId) {
        self.under_way.remove(&call);
    }
}

/// The search begins: where nothing in UM is known to take calls, it begins on the PSTN.
pub fn at_once(border: &mut Border, now: Time, call: &mut Call) {
    if reroute::is_um_out(&border.watch.board, &call.admitted) {
        ask(border, now, call, None);
    }
}

/// No target is left. True: the PSTN's are tried now. Otherwise what the caller is told is in the hunt's failure.
pub fn at_last(border: &mut Border, now: Time, call: &mut Call) -> bool {
    let Some(hunt) = call.hunt() else { return false };
    let (status, reason) = *hunt.failure.get_or_insert((503, Reason::TargetsExhausted));
    match hunt.rerouted {
        // It may have been asked before; the answer, once it is known that UM really is out of reach, is what the caller hears.
        Rerouted::Refused(why @ (Reason::RerouteLoop | Reason::RerouteLimit)) if hunt.barred.is_none() => {
            hunt.failure = Some((why.status().unwrap_or(status), why));
            return false;
        }
        Rerouted::Refused(_) | Rerouted::Done => return false,
        Rerouted::NotAsked => {}
    }
    // UM has been heard by the caller, or refused the call: it was there.
    let heard = hunt.answer.is_some();
    if heard || hunt.barred.is_some() {
        return false;
    }
    ask(border, now, call, Some(reason));
    let Some(hunt) = call.hunt() else { return false };
    match hunt.rerouted {
        Rerouted::Done => true,
        Rerouted::Refused(why @ (Reason::RerouteLoop | Reason::RerouteLimit)) => {
            hunt.failure = Some((why.status().unwrap_or(status), why));
            false
        }
        Rerouted::Refused(_) | Rerouted::NotAsked => false,
    }
}

fn ask(border: &mut Border, now: Time, call: &mut Call, failure: Option<Reason>) {
    let Some(invite) = invite(call) else { return };
    let (set, table) = (border.set.clone(), border.table.clone());
    let rerouting = &border.rerouting;
    let asked = reroute::reroute(Question {
        set: &set,
        table: &table,
        liveness: &border.watch.board,
        admitted: &call.admitted,
        invite: &invite,
        failure,
        under_way: &|number| rerouting.to(number),
        bounced: &|caller, number| rerouting.was_lately(now, caller, number),
    });
    let Some(asked) = asked else { return };
    border.fact(now, Some(call.id), What::Decided(asked.trail));
    match asked.outcome {
        Ok(way) => take(border, now, call, way, failure.unwrap_or(Reason::UmUnavailable)),
        Err(why) => {
            if let Some(hunt) = call.hunt() {
                hunt.rerouted = Rerouted::Refused(why);
            }
        }
    }
}

fn invite(call: &Call) -> Option<Message> {
    match &call.a.exchange {
        Exchange::Asked(asked) => Some(asked.request.message.clone()),
        _ => None,
    }
}

/// The call's targets are the PSTN's from now on, and its session is made anew: UM's side of it lay inside, the PSTN's lies outside.
fn take(border: &mut Border, now: Time, call: &mut Call, way: Way, why: Reason) {
    border.rerouting.begins(now, call.id, &way);
    let plan = way.admitted.plan.as_ref().map(|plan| plan.name.clone()).unwrap_or_else(|| "".into());
    border.fact(now, Some(call.id), What::Rerouted { plan, wanted: way.wanted, number: way.number.clone(), why });
    call.admitted = way.admitted;
    renew_session(border, now, call);
    let queue = setup::candidates(&call.admitted);
    let Stage::Hunting(hunt) = &mut call.stage else { return };
    hunt.queue = queue;
    hunt.offered = false;
    hunt.rerouted = Rerouted::Done;
}

fn renew_session(border: &mut Border, now: Time, call: &mut Call) {
    let Some(first) = call.admitted.targets.first() else { return };
    let flow = &call.a.flow;
    let a = Terms { plan: call.admitted.a.clone(), transport: flow.transport, latch: call.a.peer.latch, peer: Some(flow.remote.ip()) };
    let b = Terms { plan: call.admitted.b.clone(), transport: first.transport, latch: first.latch, peer: None };
    if call.media.stream().is_none() {
        for pair in [Side::A, Side::B].into_iter().filter_map(|side| call.media.addresses(side)) {
            border.release_ports(now, &pair);
        }
    }
    // The old stream's report is not waited for: nothing was heard on it.
    let commands = call.media.close();
    border.media(call.id, commands);
    call.media = SessionMedia::new(a, b, border.settings.media.silence);
}

/// A target could not be had or was none: whether UM was there after all, for the question whether the call may go over the PSTN.
pub fn note(call: &mut Call, reason: Reason) {
    if let Some(hunt) = call.hunt().filter(|_| !reroute::is_unavailability(reason)) {
        hunt.barred.get_or_insert(reason);
    }
}

/// For a decision of the search's end: what kept the call from the PSTN.
pub fn barred(call: &mut Call) -> Option<Decision> {
    let reroutes = call.admitted.pool.is_some() && call.admitted.plan.as_ref().is_some_and(|plan| plan.reroute.is_some());
    let hunt = call.hunt().filter(|hunt| reroutes && matches!(hunt.rerouted, Rerouted::NotAsked))?;
    let rule = "not over the PSTN: not for want of UM alone did the call fail";
    Some(Decision::passed("reroute", rule).comparing("failed by", hunt.barred.map_or("UM was heard already", Reason::code)))
}
