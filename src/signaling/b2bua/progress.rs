//! The B side's responses to our INVITE, and what of them the caller hears: ringing and early media, the answer, or a refusal
//! (RFC 3261 §13.2.2, RFC 3262 on both legs separately).

use std::sync::Arc;
use std::time::Duration;

use crate::media::control::Side;
use crate::policy::flow::Flow;
use crate::policy::settings::PeerKind;
use crate::policy::topology_hiding;
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Attempt, Call, Candidate, ClientOwner, Exchange, Fork, Held, Leg, ServerRequest, Stage};
use crate::signaling::b2bua::{answer, failover, fax, forking, modify, record, redirect, release, setup, transfer};
use crate::signaling::border::{Border, Timer};
use crate::signaling::dialog::Dialog;
use crate::signaling::event::{LocateError, TransportError};
use crate::signaling::fact::{ReleasedBy, What};
use crate::signaling::liveness;
use crate::signaling::session::reliability::{ReliableClient, ReliableProvisional};
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// A response to the INVITE of `key` arrived.
pub fn invite_answered(border: &mut Border, now: Time, call: &mut Call, key: ClientKey, flow: &Arc<Flow>, message: &Message) {
    let status = message.status().unwrap_or(500);
    let waited_for = is_waited_for(call, key);
    if !waited_for {
        if (200..300).contains(&status) && !accepted_already(call, key, message) {
            forking::turn_away(border, now, key, flow, message);
        }
        return;
    }
    border.timers.cancel(Timer::NoResponse(call.id));
    match call.stage {
        Stage::Transferring(_) => call.record.target_mut().into_iter().for_each(|leg| record::seen(leg, flow)),
        _ => call.record.seen_on(Side::B, flow),
    }
    note_life(border, now, call, status);
    match status {
        ..=100 => {}
        101..=199 => ringing(border, now, call, status, flow, message),
        200..=299 => answered(border, now, call, key, flow, message),
        300..=399 => redirect::follow(border, now, call, message),
        400..=499 if status == 422 => retry_interval(border, now, call, message),
        503 | 408 => failover::failed(border, now, call, status, if status == 503 { Reason::TargetUnavailable } else { Reason::TargetTimeout }),
        _ => refused(border, now, call, status),
    }
}

fn is_waited_for(call: &mut Call, key: ClientKey) -> bool {
    call.hunt().is_some_and(|hunt| matches!(hunt.attempt, Attempt::Inviting { client, .. } if client == key))
}

/// A final answer that is no sign of trouble says of the address what an answer to OPTIONS would.
fn note_life(border: &mut Border, now: Time, call: &mut Call, status: u16) {
    if status >= 200
        && liveness::shows_life(status)
        && let Some(Attempt::Inviting { candidate: Candidate { peer, address: Some(address), .. }, .. }) = call.hunt().map(|hunt| &hunt.attempt)
    {
        border.greylist.forgive(&peer.name, *address);
        liveness::alive(border, now, &peer.name, *address);
    }
}

/// The 2xx that brought the B leg's offer, again: its ACK waits for the caller's answer (RFC 3261 §13.2.2.4).
fn accepted_already(call: &Call, key: ClientKey, message: &Message) -> bool {
    let Stage::Up(leg) = &call.stage else { return false };
    matches!(leg.exchange, Exchange::Accepting { client, .. } if client == key)
        && message.to().is_ok_and(|to| to.tag().unwrap_or_default() == leg.dialog.remote_tag)
}

/// A 2xx for a call that is no longer.
pub fn late_answer(border: &mut Border, now: Time, key: ClientKey, flow: &Arc<Flow>, message: &Message) {
    if message.status().is_some_and(|status| (200..300).contains(&status)) {
        forking::turn_away(border, now, key, flow, message);
    }
}

/// The INVITE timed out (timer B) or could not be sent.
pub fn invite_failed(border: &mut Border, now: Time, call: &mut Call, key: ClientKey, error: Option<TransportError>) {
    if is_waited_for(call, key) {
        match error {
            Some(error) => failover::unreached(border, now, call, &error),
            None => failover::failed(border, now, call, 408, Reason::TargetTimeout),
        }
    }
}

/// Not even a provisional response in the pool's limit: the next target is tried.
pub fn no_sign_of_life(border: &mut Border, now: Time, call: &mut Call) {
    match call.hunt().map(|hunt| &hunt.attempt) {
        Some(Attempt::Inviting { client, .. }) => {
            border.transactions.abandon(now, *client);
            failover::failed(border, now, call, 408, Reason::TargetTimeout);
        }
        Some(Attempt::Locating { id, .. }) => {
            let id = *id;
            border.locates.remove(&id);
            setup::located(border, now, call, id, Err(LocateError::Failed));
        }
        Some(Attempt::Idle) | None => {}
    }
}

/// RFC 3261 §16.8: timer C.
pub fn rang_too_long(border: &mut Border, now: Time, call: &mut Call) {
    if call.transfer().is_some() {
        return transfer::rang_too_long(border, now, call);
    }
    release::stop_hunt(border, now, call);
    release::refuse_caller(border, now, call, 408, Reason::NoAnswer, ReleasedBy::Border);
}

/// The caller did not acknowledge a reliable provisional response in time, or it is to be sent again.
pub fn reliable_timer(border: &mut Border, now: Time, call: &mut Call) {
    if answer::reliable_timer(border, now, call.id, &mut call.a) {
        release::by_border(border, now, call, Reason::PrackMissing);
    }
}

/// A Mediation Server that has heard no 18x for 10 s goes to its next trunk (EnableFastFailoverTimer), whatever the 100 said. A UM that answers at once
/// never needs this; one whose first server is dead, and is given 10 s itself, always would.
const EARLY_SIGN: Duration = Duration::from_secs(5);

/// The search has begun.
pub fn promise_sign(border: &mut Border, now: Time, call: &Call) {
    if call.a.peer.kind == PeerKind::Mediation {
        border.timers.set(Timer::EarlySign(call.id), now + EARLY_SIGN);
    }
}

/// The caller has heard nothing but the 100 yet: a 183 of our own, without a description.
pub fn early_sign(border: &mut Border, now: Time, call: &mut Call) {
    if call.record.progressed.is_none() && call.hunt().is_some() && call.caller_waits() {
        let decision = Decision::passed("progress", "a Mediation Server goes elsewhere after 10 s without an 18x").comparing("sent", "183");
        border.decided(now, call.id, decision);
        answer::provisional(border, now, call.id, &mut call.a, 183, None);
    }
}

fn ringing(border: &mut Border, now: Time, call: &mut Call, status: u16, flow: &Arc<Flow>, message: &Message) {
    border.timers.set(Timer::TimerC(call.id), now + border.settings.timers.c);
    if !in_order(border, now, call, flow, message) {
        return;
    }
    if call.transfer().is_some() {
        return transfer::ringing(border, now, call, message);
    }
    if call.record.progressed.is_none() {
        call.record.progressed = Some(now);
        border.fact(now, Some(call.id), What::CallProgressed { status });
    }
    let sdp = match early_answer(border, now, call, message) {
        Ok(sdp) => sdp,
        Err(reason) => return release::by_border(border, now, call, reason),
    };
    let sdp = if answer::is_given(&call.a) { None } else { sdp };
    if let (Some(sdp), Some(hunt)) = (&sdp, call.hunt()) {
        hunt.answer = Some(sdp.clone());
    }
    answer::provisional(border, now, call.id, &mut call.a, status, sdp);
}

/// RFC 3262 §4: a reliable provisional response is acknowledged in its early dialog. False: a repeated or disordered one, not to be processed.
fn in_order(border: &mut Border, now: Time, call: &mut Call, flow: &Arc<Flow>, message: &Message) -> bool {
    let Some(tag) = message.to().ok().and_then(|to| to.tag().map(str::to_owned)) else { return true };
    let id = call.id;
    let Some(hunt) = call.hunt() else { return false };
    let Attempt::Inviting { invite, listener, candidate, .. } = &hunt.attempt else { return false };
    if !hunt.forks.iter().any(|fork| fork.dialog.remote_tag == tag) {
        if hunt.forks.len() >= forking::FORKS {
            return false;
        }
        let Ok(dialog) = Dialog::client(invite, message) else { return false };
        hunt.forks.push(Fork { dialog, reliable: ReliableClient::new(), flow: flow.clone() });
    }
    let Some(fork) = hunt.forks.iter_mut().find(|fork| fork.dialog.remote_tag == tag) else { return false };
    let Some(rseq) = message.rseq().ok().flatten().filter(|_| message.requires("100rel")) else { return true };
    match fork.reliable.on_provisional(rseq) {
        ReliableProvisional::Acknowledge(rseq) => {
            let seq = invite.cseq().map(|cseq| cseq.number).unwrap_or(1);
            let branch = border.mint.branch();
            let mut prack = fork.dialog.request(&Method::Prack, &transport::via(listener, &branch));
            prack.header_fmt("RAck", format_args!("{rseq} {seq} INVITE"));
            let route = early_route(listener, candidate, &fork.flow);
            let key = border.transactions.request(now, &Method::Prack, &branch, route, prack.finish());
            border.clients.insert(key, ClientOwner::Prack { call: id });
            true
        }
        ReliableProvisional::Repeated | ReliableProvisional::OutOfOrder => false,
    }
}

fn early_route(listener: &crate::signaling::settings::Listener, candidate: &Candidate, flow: &Flow) -> crate::signaling::event::Route {
    use crate::signaling::event::Route;
    match transport::request_route(listener, &candidate.peer, flow.remote, &candidate.names) {
        Route::Connect(connect) => Route::Flow { id: flow.id, otherwise: Some(connect) },
        route => route,
    }
}

/// The description of a response, carried to the caller. `None`: the response has none (or it is not yet ours to use).
fn early_answer(border: &mut Border, now: Time, call: &mut Call, message: &Message) -> Result<Option<Vec<u8>>, Reason> {
    if message.sdp().is_none() || call.hunt().is_none_or(|hunt| hunt.offer.is_none()) {
        return Ok(None);
    }
    modify::carry_answer(border, now, call, Side::B, message).map(Some)
}

/// The 2xx: the B leg is up, and so is the A leg as soon as our own 2xx is acknowledged.
fn answered(border: &mut Border, now: Time, call: &mut Call, key: ClientKey, flow: &Arc<Flow>, message: &Message) {
    failover::stop_waiting(border, call);
    let Some(mut leg) = answering_leg(now, call, flow, message) else {
        if call.transfer().is_some() {
            return transfer::failed(border, now, call, 502, Reason::Malformed);
        }
        release::stop_hunt(border, now, call);
        return release::refuse_caller(border, now, call, 502, Reason::Malformed, ReleasedBy::Called);
    };
    if call.transfer().is_some() {
        return transfer::answered(border, now, call, key, leg, message);
    }
    let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(1);
    let delayed = call.hunt().is_some_and(|hunt| hunt.offer.is_none());
    let sdp = if delayed { delayed_offer(border, now, call, message) } else { early_answer(border, now, call, message) };
    let repeated = call.hunt().and_then(|hunt| hunt.answer.take());
    // What an earlier target answered is nothing to go by.
    let unanswered = call.media.pending(Side::A);
    let sdp = match sdp {
        Ok(_) if !delayed && unanswered => Err(Reason::MediaUnacceptable),
        // An answer given reliably stands, whichever fork brings the 2xx; an early one counts if no other comes (RFC 6337 §3.1.1).
        Ok(new) if !delayed && (new.is_none() || answer::is_given(&call.a)) => repeated.ok_or(Reason::MediaUnacceptable).map(Some),
        Ok(None) => Err(Reason::MediaUnacceptable),
        other => other,
    };
    if delayed && sdp.is_ok() {
        leg.exchange = Exchange::Accepting { cseq: seq, client: key };
    } else {
        let ack = border.acknowledge(&leg, seq, None);
        forking::acknowledged(border, key, &leg.dialog.remote_tag, ack);
    }
    border.timers.cancel(Timer::Hunt(call.id));
    call.stage = Stage::Up(Box::new(leg));
    let sdp = match sdp {
        Ok(sdp) => sdp,
        Err(reason) => {
            release::hang_up_side(border, now, call, Side::B);
            return release::refuse_caller(border, now, call, reason.status().unwrap_or(488), reason, ReleasedBy::Border);
        }
    };
    if let Stage::Up(leg) = &call.stage {
        border.set_session_timer(call.id, Side::B, &leg.timer);
    }
    accept(border, now, call, sdp, delayed);
}

/// The caller's 2xx, unless a PRACK must come first.
fn accept(border: &mut Border, now: Time, call: &mut Call, sdp: Option<Vec<u8>>, awaits_answer: bool) {
    if answer::accept(border, now, call.id, &mut call.a, sdp, awaits_answer) {
        call.record.answered = Some(now);
        call.record.status = Some(200);
        call.media.settled();
        call.note_media();
        border.fact(now, Some(call.id), What::CallAnswered);
        fax::follow(border, now, call);
    }
}

/// PRACK from the caller (RFC 3262 §3): what waited for it goes out.
pub fn acknowledged(border: &mut Border, now: Time, call: &mut Call, prack: &ServerRequest) {
    match answer::prack(border, now, call.id, &mut call.a, prack) {
        Some(Held::Provisional { status, sdp }) => answer::provisional(border, now, call.id, &mut call.a, status, sdp),
        Some(Held::Answer { sdp, awaits_answer }) => accept(border, now, call, sdp, awaits_answer),
        None => {}
    }
}

fn delayed_offer(border: &mut Border, now: Time, call: &mut Call, message: &Message) -> Result<Option<Vec<u8>>, Reason> {
    let offer = modify::described(message)?.ok_or(Reason::MediaUnacceptable)?;
    modify::carry_offer(border, now, call, Side::B, &offer).map(Some)
}

fn answering_leg(now: Time, call: &mut Call, flow: &Arc<Flow>, message: &Message) -> Option<Leg> {
    let admitted = call.way().clone();
    let hunt = call.hunt()?;
    let tag = message.to().ok()?.tag().unwrap_or_default().to_owned();
    let Attempt::Inviting { invite, listener, candidate, .. } = &hunt.attempt else { return None };
    let known = hunt.forks.iter().position(|fork| fork.dialog.remote_tag == tag);
    let mut dialog = match known {
        Some(index) => hunt.forks.swap_remove(index).dialog,
        None => Dialog::client(invite, message).ok()?,
    };
    dialog.confirm(message);
    let mut timer = hunt.timer.clone();
    timer.on_answer(now, message.session_expires().ok().flatten());
    Some(Leg {
        side: hunt.side,
        called: true,
        peer: candidate.peer.clone(),
        plan: admitted.b_leg(&candidate.peer),
        listener: listener.clone(),
        flow: flow.clone(),
        dialog,
        exchange: Exchange::Idle,
        timer,
        allows_update: message.allows(&Method::Update),
        confirmed: true,
        subscription: None,
    })
}

/// RFC 4028 §7.3: the target wants a longer interval than we asked for.
fn retry_interval(border: &mut Border, now: Time, call: &mut Call, message: &Message) {
    let Some(hunt) = call.hunt() else { return };
    match (hunt.timer.on_too_small(message.min_se().ok().flatten()), &hunt.attempt) {
        (true, Attempt::Inviting { candidate, .. }) => {
            let candidate = candidate.clone();
            hunt.queue.push_front(candidate);
            hunt.attempt = Attempt::Idle;
            failover::stop_waiting(border, call);
            failover::next(border, now, call);
        }
        _ => refused(border, now, call, 422),
    }
}

/// Every other final response goes to the caller, bare.
fn refused(border: &mut Border, now: Time, call: &mut Call, status: u16) {
    failover::stop_waiting(border, call);
    let shown = topology_hiding::status_across(status);
    if let Some(hunt) = call.hunt() {
        hunt.attempt = Attempt::Idle;
    }
    if call.transfer().is_some() {
        return transfer::failed(border, now, call, shown, if status == 488 || status == 606 { Reason::MediaUnacceptable } else { Reason::Rejected });
    }
    let reason = if status == 488 || status == 606 { Reason::MediaUnacceptable } else { Reason::Rejected };
    release::refuse_caller(border, now, call, shown, reason, ReleasedBy::Called);
}
