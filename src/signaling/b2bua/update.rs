//! UPDATE (RFC 3311): a refresh is answered here, an offer carried to the other leg.

use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::signaling::b2bua::call::{Call, ClientOwner, Exchange, Leg, ServerRequest, Waiting};
use crate::signaling::b2bua::modify::{agreed, answer_here, carry_answer, carry_offer, described, not_carried, refuse, shown};
use crate::signaling::b2bua::{lifetime, refresh, release, standalone};
use crate::signaling::border::Border;
use crate::signaling::fact::CallId;
use crate::signaling::session::session_timer::Answer;
use crate::signaling::transaction::ServerKey;
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// The peer of `side` sends UPDATE.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    let offer = match described(&request.message) {
        Ok(offer) => offer,
        Err(reason) => return refuse(border, now, &request, reason),
    };
    let Some(leg) = call.leg(side) else { return refuse(border, now, &request, Reason::ServerBusy) };
    let Ok(session) = lifetime::judge(&mut leg.timer, &request.message) else {
        return refuse(border, now, &request, Reason::IntervalTooSmall);
    };
    match offer {
        None => accept(border, now, call, side, &request, &session, None),
        Some(offer) if call.media.is_refresh(side, &offer) => match answer_here(border, now, call, side, &offer) {
            Ok(sdp) => accept(border, now, call, side, &request, &session, Some(&sdp)),
            Err(reason) => refuse(border, now, &request, reason),
        },
        Some(offer) => carry(border, now, call, side, request, session, &offer),
    }
}

fn accept(border: &mut Border, now: Time, call: &mut Call, side: Side, request: &ServerRequest, session: &Answer, sdp: Option<&[u8]>) {
    let id = call.id;
    let Some(leg) = call.leg(side) else { return };
    leg.dialog.refresh_target(&request.message);
    // The timer runs from the first 2xx on.
    if leg.confirmed {
        leg.timer.answered(now, session);
        border.set_session_timer(id, side, &leg.timer);
    }
    let (contact, allow) = (transport::contact(&leg.listener), standalone::allow(&leg.peer));
    border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |reply| {
        reply.header("Contact", contact).header("Allow", allow).header("Supported", "100rel, timer");
        lifetime::write_answer(reply, session);
        if let Some(sdp) = sdp {
            reply.body("application/sdp", sdp);
        }
    });
}

fn carry(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest, session: Answer, offer: &Description) {
    let id = call.id;
    // §5.2: 500 if the offer that waits is its own, 491 if it is ours.
    let own_waits = call.media.pending(side);
    let idle = |leg: &Leg| matches!(leg.exchange, Exchange::Idle);
    match call.legs(side) {
        _ if own_waits => return refuse(border, now, &request, Reason::ServerBusy),
        Some((leg, other)) if idle(leg) && idle(other) && !other.allows_update => {
            // It would have to be a re-INVITE over there, which a person may be asked about; UPDATE cannot wait for that.
            return refuse(border, now, &request, Reason::MediaUnacceptable);
        }
        Some((leg, other)) if idle(leg) && idle(other) => {}
        _ => return refuse(border, now, &request, Reason::GlareRetry),
    }
    match carry_offer(border, now, call, side, offer) {
        Err(reason) => {
            refuse(border, now, &request, reason);
            not_carried(border, now, id, side, reason);
        }
        Ok(sdp) => {
            border.servers.insert(request.key, id);
            if let Some((_, other)) = call.legs(side) {
                send(border, now, id, other, Some(&sdp), Some(request.key));
            }
            call.waiting.push(Waiting { request, session: Some(session) });
        }
    }
}

/// An UPDATE of ours on `leg`, for the other leg's request `reply` or to refresh the session.
pub fn send(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, sdp: Option<&[u8]>, reply: Option<ServerKey>) {
    let contact = transport::contact(&leg.listener);
    let (asked, allow) = (leg.timer.ask(), standalone::allow(&leg.peer));
    let owner = ClientOwner::Update { call, side: leg.side, reply };
    border.request(now, leg, Method::Update, owner, |update| {
        update.header("Contact", contact).header("Allow", allow).header("Supported", "100rel, timer");
        lifetime::write_request(update, &asked);
        if let Some(sdp) = sdp {
            update.body("application/sdp", sdp);
        }
    });
}

/// A response to an UPDATE of ours on `side`.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: Option<ServerKey>, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 || call.is_over() || (status == 422 && ask_again(border, now, call, side, reply, message)) {
        return;
    }
    let id = call.id;
    if let (200..=299, Some(leg)) = (status, call.leg(side)) {
        leg.dialog.refresh_target(message);
        leg.timer.on_answer(now, message.session_expires().ok().flatten());
        border.set_session_timer(id, side, &leg.timer);
    }
    match reply {
        Some(reply) => carried(border, now, call, side, reply, message),
        None if status < 300 => {}
        None => {
            if let Some(leg) = call.leg(side) {
                refresh::refused(border, now, id, leg, status);
            }
        }
    }
    if status == 481 || status == 408 {
        release::by_border(border, now, call, Reason::DialogGone);
    }
}

/// The other leg's UPDATE has its answer.
fn carried(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: ServerKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    let Some(Waiting { request, session }) = call.take_waiting(reply) else { return };
    if status >= 300 {
        let commands = call.media.rejected(side);
        border.media(call.id, commands);
        return border.reply(now, (&request.key, &request.message, &request.flow), shown(status), None, |_| {});
    }
    match carry_answer(border, now, call, side, message) {
        Err(reason) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 488, None, |_| {});
            release::by_border(border, now, call, reason);
        }
        Ok(sdp) => {
            if let Some(session) = session {
                accept(border, now, call, side.other(), &request, &session, Some(&sdp));
            }
            agreed(border, now, call);
        }
    }
}

/// RFC 4028 §7.3: once more, with the interval the peer wants.
fn ask_again(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: Option<ServerKey>, message: &Message) -> bool {
    let id = call.id;
    let sdp = call.media.last_sent(side).filter(|_| reply.is_some()).map(Description::write);
    let min_se = message.min_se().ok().flatten();
    let Some(leg) = call.leg(side) else { return false };
    if !leg.timer.on_too_small(min_se) {
        return false;
    }
    send(border, now, id, leg, sdp.as_deref(), reply);
    true
}

/// No answer at all, which ends the dialog as a 408 does (RFC 5057 §5.1).
pub fn failed(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: Option<ServerKey>) {
    if let Some(Waiting { request, .. }) = reply.and_then(|reply| call.take_waiting(reply)) {
        let commands = call.media.rejected(side);
        border.media(call.id, commands);
        border.reply(now, (&request.key, &request.message, &request.flow), 408, None, |_| {});
    }
    release::by_border(border, now, call, Reason::DialogGone);
}
