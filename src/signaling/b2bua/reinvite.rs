//! re-INVITE (RFC 3261 §14): hold, resume and every other change of the session, carried from one leg to the other. A refresh that changes nothing
//! is answered here. Glare gets 491, a refusal leaves the session standing.

use bytes::Bytes;

use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::signaling::b2bua::call::{Asked, Call, ClientOwner, Exchange, Leg, Purpose, ServerRequest};
use crate::signaling::b2bua::modify::{agreed, answer_here, carry_answer, carry_offer, described, not_carried, refuse, shown};
use crate::signaling::b2bua::{answer, attended, forking, joining, lifetime, refresh, release, standalone};
use crate::signaling::border::Border;
use crate::signaling::event::Route;
use crate::signaling::fact::CallId;
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// The peer of `side` asks for a change.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    let id = call.id;
    let offer = match described(&request.message) {
        Ok(offer) => offer,
        Err(reason) => return refuse(border, now, &request, reason),
    };
    let can_offer = call.media.can_offer(side);
    let is_refresh = offer.as_ref().is_some_and(|offer| call.media.is_refresh(side, offer));
    let settled = |leg: &Leg| matches!(leg.exchange, Exchange::Idle);
    // While a transfer is under way there may be no other leg; a refresh needs none.
    let other_settled = match call.legs(side) {
        Some((_, other)) => settled(other),
        None => is_refresh,
    };
    let Some(leg) = call.leg(side) else { return refuse(border, now, &request, Reason::ServerBusy) };
    if matches!(leg.exchange, Exchange::Asked(_)) {
        return refuse(border, now, &request, Reason::ServerBusy);
    }
    if !settled(leg) || !other_settled || !can_offer {
        return refuse(border, now, &request, Reason::GlareRetry);
    }
    let Ok(session) = lifetime::judge(&mut leg.timer, &request.message) else {
        return refuse(border, now, &request, Reason::IntervalTooSmall);
    };
    leg.dialog.refresh_target(&request.message);
    border.servers.insert(request.key, id);
    border.reply(now, (&request.key, &request.message, &request.flow), 100, None, |_| {});
    leg.exchange = Exchange::Asked(Box::new(Asked { request, session, reliable: None, held: None, answered: false }));
    match offer {
        Some(offer) if is_refresh => {
            let sdp = answer_here(border, now, call, side, &offer);
            let Some(leg) = call.leg(side) else { return };
            match sdp {
                Ok(sdp) => drop(answer::accept(border, now, id, leg, Some(sdp), false)),
                Err(reason) => answer::refuse(border, now, id, leg, reason.status().unwrap_or(488), |_| {}),
            }
        }
        offer => carry(border, now, call, side, offer),
    }
}

fn carry(border: &mut Border, now: Time, call: &mut Call, side: Side, offer: Option<Description>) {
    let id = call.id;
    let sdp = offer.map(|offer| carry_offer(border, now, call, side, &offer)).transpose();
    let Some((leg, other)) = call.legs(side) else { return };
    match sdp {
        Err(reason) => {
            answer::refuse(border, now, id, leg, reason.status().unwrap_or(488), |_| {});
            not_carried(border, now, id, side, reason);
        }
        Ok(sdp) => send(border, now, id, other, sdp.as_deref(), Purpose::Relay),
    }
}

/// A re-INVITE of ours on `leg`.
pub fn send(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, sdp: Option<&[u8]>, purpose: Purpose) {
    let contact = transport::contact(&leg.listener);
    let owner = ClientOwner::Reinvite { call, side: leg.side, peer: leg.peer.name.clone(), ack: None };
    let (asked, allow) = (leg.timer.ask(), standalone::allow(&leg.peer));
    let client = border.request(now, leg, Method::Invite, owner, |request| {
        request.header("Contact", contact).header("Allow", allow).header("Supported", "timer");
        lifetime::write_request(request, &asked);
        if let Some(sdp) = sdp {
            request.body("application/sdp", sdp);
        }
    });
    leg.exchange = Exchange::Asking { client, cseq: leg.dialog.last_seq(), purpose };
}

/// A response to a re-INVITE of ours on `side`.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey, message: &Message) {
    if attended::is_asked(call, key) {
        return attended::answered(border, now, call, key, Some(message));
    }
    let status = message.status().unwrap_or(500);
    let awaited = call.leg(side).and_then(|leg| match leg.exchange {
        Exchange::Asking { client, purpose, .. } if client == key => Some(purpose),
        _ => None,
    });
    match (status, awaited) {
        (..=199, _) => {}
        (200..=299, Some(purpose)) => accepted(border, now, call, side, key, purpose, message),
        (200..=299, None) => late_answer(border, key, message),
        (_, Some(purpose)) => refused(border, now, call, side, purpose, status, Some(message)),
        (_, None) => {}
    }
}

/// A 2xx that has been acknowledged before, or that comes when the leg is gone. One that still waits for the other leg's answer has no ACK yet.
pub fn late_answer(border: &mut Border, key: ClientKey, message: &Message) {
    if let Some(ClientOwner::Reinvite { ack: Some((route, bytes)), .. }) = border.clients.get(&key)
        && message.status().is_some_and(|status| (200..300).contains(&status))
    {
        let (route, bytes) = (route.clone(), bytes.clone());
        border.transactions.send_ack(route, bytes);
    }
}

/// Keeps the ACK to a 2xx of `client`, to send it again.
pub fn remember_ack(border: &mut Border, client: ClientKey, tag: &str, sent: (Route, Bytes)) {
    match border.clients.get_mut(&client) {
        Some(ClientOwner::Invite(_)) => forking::acknowledged(border, client, tag, sent),
        Some(ClientOwner::Reinvite { ack, .. }) => *ack = Some(sent),
        _ => {}
    }
}

fn accepted(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey, purpose: Purpose, message: &Message) {
    let id = call.id;
    let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    let offered = call.media.pending(side.other());
    let Some(leg) = call.leg(side) else { return };
    leg.dialog.refresh_target(message);
    leg.timer.on_answer(now, message.session_expires().ok().flatten());
    border.set_session_timer(id, side, &leg.timer);
    if purpose == Purpose::Relay && !offered {
        leg.exchange = Exchange::Accepting { cseq: seq, client: key };
        return delayed_offer(border, now, call, side, message);
    }
    let sent = border.acknowledge(leg, seq, None);
    leg.exchange = Exchange::Idle;
    remember_ack(border, key, "", sent);
    if purpose == Purpose::Refresh {
        return refresh::described(border, now, call, side, message);
    }
    if matches!(purpose, Purpose::Join | Purpose::TakeBack | Purpose::Splice) {
        return joining::accepted(border, now, call, side, purpose, message);
    }
    match carry_answer(border, now, call, side, message) {
        Ok(sdp) => {
            if let Some((_, other)) = call.legs(side) {
                answer::accept(border, now, id, other, Some(sdp), false);
            }
            agreed(border, now, call);
        }
        Err(reason) => release::by_border(border, now, call, reason),
    }
}

/// The 2xx brings the offer (§14.1 with §13.2.1): the asker's 2xx carries it on, and its ACK will bring the answer.
fn delayed_offer(border: &mut Border, now: Time, call: &mut Call, side: Side, message: &Message) {
    let id = call.id;
    let offer = described(message).and_then(|offer| offer.ok_or(Reason::MediaUnacceptable));
    match offer.and_then(|offer| carry_offer(border, now, call, side, &offer)) {
        Ok(sdp) => {
            if let Some((_, other)) = call.legs(side) {
                answer::accept(border, now, id, other, Some(sdp), true);
            }
        }
        Err(reason) => release::by_border(border, now, call, reason),
    }
}

/// §14.1: the session stays what it was, but for 481 and 408, which say that there is none.
fn refused(border: &mut Border, now: Time, call: &mut Call, side: Side, purpose: Purpose, status: u16, message: Option<&Message>) {
    let id = call.id;
    if status == 422 && matches!(purpose, Purpose::Relay | Purpose::Refresh) && ask_again(border, now, call, side, purpose, message) {
        return;
    }
    let Some(leg) = call.leg(side) else { return };
    leg.exchange = Exchange::Idle;
    match purpose {
        Purpose::Relay => {
            if let Some((_, other)) = call.legs(side) {
                answer::refuse(border, now, id, other, shown(status), |_| {});
            }
            let commands = call.media.rejected(side);
            border.media(id, commands);
        }
        Purpose::Refresh => refresh::refused(border, now, id, leg, status),
        Purpose::Join | Purpose::TakeBack | Purpose::Splice => return joining::refused(border, now, call, side, purpose, status, message),
    }
    if status == 481 || status == 408 {
        release::by_border(border, now, call, Reason::DialogGone);
    }
}

/// RFC 4028 §7.3: once more, with the interval the peer wants.
fn ask_again(border: &mut Border, now: Time, call: &mut Call, side: Side, purpose: Purpose, message: Option<&Message>) -> bool {
    let id = call.id;
    let with_offer = purpose == Purpose::Refresh || call.media.pending(side.other());
    let sdp = call.media.last_sent(side).filter(|_| with_offer).map(Description::write);
    let min_se = message.and_then(|message| message.min_se().ok().flatten());
    let Some(leg) = call.leg(side) else { return false };
    if !leg.timer.on_too_small(min_se) {
        return false;
    }
    send(border, now, id, leg, sdp.as_deref(), purpose);
    true
}

/// No answer to a re-INVITE at all (§14.1: as good as 408).
pub fn failed(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey) {
    if attended::is_asked(call, key) {
        return attended::answered(border, now, call, key, None);
    }
    let awaited = call.leg(side).and_then(|leg| match leg.exchange {
        Exchange::Asking { client, purpose, .. } if client == key => Some(purpose),
        _ => None,
    });
    if let Some(purpose) = awaited {
        refused(border, now, call, side, purpose, 408, None);
    }
}
