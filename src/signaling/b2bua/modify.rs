//! What happens inside a call that is up. Every request in a dialog comes through here (RFC 3261 §12.2.2) and goes on to its own chapter; ACKs,
//! INFO that crosses and the like are dealt with at once.

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::settings::Peer;
use crate::policy::verdict::{Decision, Reason};
use crate::policy::{access_control, capability};
use crate::sdp::Description;
use crate::signaling::b2bua::answer::{self, Acknowledged};
use crate::signaling::b2bua::call::{Call, ClientOwner, Exchange, Hunt, Part, ServerRequest, Stage, Waiting};
use crate::signaling::b2bua::{digits, fax, lingering, progress, reinvite, relayed, release, standalone, transfer, update};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{CallId, What};
use crate::signaling::transaction::ServerKey;
use crate::sip::{Message, Method};
use crate::time::Time;

/// A request in a dialog of this call, from a peer that has a part in it.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, part: Part, peer: &Peer, request: ServerRequest) {
    if call.is_over() {
        let status = if request.message.method() == Some(&Method::Bye) { 200 } else { 481 };
        return border.reply(now, (&request.key, &request.message, &request.flow), status, None, |_| {});
    }
    let side = match part {
        Part::Leg(side) => side,
        Part::Leaving(_) => return transfer::leaving_requested(border, now, call, &request),
        Part::Target(_) => match call.hunt() {
            Some(hunt) => return early_request(border, now, hunt, &request),
            None => return transfer::target_requested(border, now, call, &request),
        },
    };
    let Some(leg) = call.leg(side) else { return refuse(border, now, &request, Reason::NoSuchDialog) };
    if !leg.dialog.matches(&request.message) {
        return refuse(border, now, &request, Reason::NoSuchDialog);
    }
    let number = request.message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    if leg.dialog.accept(number).is_err() {
        return border.reply(now, (&request.key, &request.message, &request.flow), 500, None, |_| {});
    }
    if let Some(reason) = request.message.method().and_then(|method| access_control::method(peer, method, true).refused) {
        return refuse(border, now, &request, reason);
    }
    if peer.name == leg.peer.name && leg.flow.id != request.flow.id {
        leg.flow = request.flow.clone();
        // After a reload that may be by another transport, which has a listener of its own.
        if let Some(listener) = border.listener(&request.flow) {
            leg.listener = listener;
        }
        lingering::moved(border, now, call);
    }
    if !standalone::unsupported(&request.message).is_empty() {
        return refuse(border, now, &request, Reason::ExtensionRequired);
    }
    let is_up = call.legs(side).is_some();
    match request.message.method() {
        Some(Method::Bye) => release::by_peer(border, now, call, side, &request),
        Some(Method::Prack) if side == Side::A => progress::acknowledged(border, now, call, &request),
        Some(Method::Prack) => refuse(border, now, &request, Reason::NoSuchDialog),
        Some(Method::Invite) => reinvite::requested(border, now, call, side, request),
        Some(Method::Update) => update::requested(border, now, call, side, request),
        Some(Method::Info) if is_up => {
            if let Some(request) = digits::pressed(border, now, call, side, request) {
                relay(border, now, call, side, request, Method::Info);
            }
        }
        Some(Method::Refer) => transfer::requested(border, now, call, side, request),
        Some(Method::Notify) => relayed::notified(border, now, call, side, &request),
        Some(Method::Options) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 200, None, standalone::capabilities);
        }
        _ => refuse(border, now, &request, Reason::MethodNotAllowed),
    }
}

/// The B side asks something while the caller still waits: only its end can be taken.
fn early_request(border: &mut Border, now: Time, hunt: &Hunt, request: &ServerRequest) {
    let known = hunt.forks.iter().any(|fork| fork.dialog.matches(&request.message));
    let status = match request.message.method() {
        Some(Method::Bye | Method::Options) if known => 200,
        Some(Method::Update | Method::Invite) if known => 491,
        _ => 481,
    };
    border.reply(now, (&request.key, &request.message, &request.flow), status, None, |_| {});
}

/// An ACK to a 2xx of ours.
pub fn acknowledged(border: &mut Border, now: Time, call: &mut Call, side: Side, ack: &Message) {
    let id = call.id;
    let done = match (side, &mut call.stage) {
        (Side::A, _) => answer::acknowledged(border, id, &mut call.a, ack),
        (Side::B, Stage::Up(leg)) => answer::acknowledged(border, id, leg, ack),
        (Side::B, Stage::Transferring(transfer)) => answer::acknowledged(border, id, &mut transfer.b, ack),
        (Side::B, _) => Acknowledged::Nothing,
    };
    let Acknowledged::Done { awaits_answer, then_bye } = done else { return };
    if then_bye {
        return release::acknowledged_late(border, now, call);
    }
    if awaits_answer && !call.is_over() {
        answer_in_ack(border, now, call, side, ack);
    }
}

/// Delayed offer: the ACK brings the answer, which the other leg's ACK carries on.
fn answer_in_ack(border: &mut Border, now: Time, call: &mut Call, side: Side, ack: &Message) {
    let sdp = carry_answer(border, now, call, side, ack);
    let Some((_, other)) = call.legs(side) else { return };
    if let Exchange::Accepting { cseq, client } = other.exchange {
        let sent = border.acknowledge(other, cseq, sdp.as_deref().ok());
        other.exchange = Exchange::Idle;
        let tag = other.dialog.remote_tag.clone();
        reinvite::remember_ack(border, client, &tag, sent);
    }
    match sdp {
        Ok(_) => agreed(border, now, call),
        Err(reason) => release::by_border(border, now, call, reason),
    }
}

/// An answer from `from`'s peer, for the other leg.
pub fn carry_answer(border: &mut Border, now: Time, call: &mut Call, from: Side, message: &Message) -> Result<Vec<u8>, Reason> {
    let description = described(message)?.ok_or(Reason::MediaUnacceptable)?;
    let inside = call.inside();
    let outcome = call.media.answer(from, &description, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(call.id, outcome.commands);
    Ok(outcome.sdp)
}

/// An offer from `from`'s peer, for the other leg.
pub fn carry_offer(border: &mut Border, now: Time, call: &mut Call, from: Side, offer: &Description) -> Result<Vec<u8>, Reason> {
    let inside = call.inside();
    let outcome = call.media.offer(from, offer, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(call.id, outcome.commands);
    Ok(outcome.sdp)
}

/// An offer from `from`'s peer that changes nothing: answered without asking the other leg (RFC 3264 §8).
pub fn answer_here(border: &mut Border, now: Time, call: &mut Call, from: Side, offer: &Description) -> Result<Vec<u8>, Reason> {
    let inside = call.inside();
    let outcome = call.media.answer_here(from, offer, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(call.id, outcome.commands);
    Ok(outcome.sdp)
}

/// Why the change `side`'s peer asked for was refused here, which that peer is not told. The call goes on as it was.
pub fn not_carried(border: &mut Border, now: Time, call: CallId, side: Side, reason: Reason) {
    border.decided(now, call, Decision::refused("session", format!("a change of the session asked for on leg {side}"), reason));
}

/// The session description a message brings, if any.
pub fn described(message: &Message) -> Result<Option<Description>, Reason> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let sdp = message.sdp().ok_or(Reason::MediaType)?;
    Description::parse(sdp).map(Some).map_err(|_| Reason::MediaMalformed)
}

/// The answer has gone out in a final response or an ACK: the session is what it says. Tells when a side has put the call on hold, or took it off.
pub fn agreed(border: &mut Border, now: Time, call: &mut Call) {
    call.media.settled();
    call.note_media();
    fax::follow(border, now, call);
    for side in [Side::A, Side::B] {
        let held = call.media.held(side);
        let index = usize::from(side == Side::B);
        if call.held[index] != held {
            call.held[index] = held;
            border.fact(now, Some(call.id), What::Held { by: side, held });
        }
    }
    // Nothing is heard of a call on hold, so nothing else would ever end one whose ends have died.
    match call.held {
        [false, false] => border.timers.cancel(Timer::Hold(call.id)),
        _ => border.timers.set(Timer::Hold(call.id), now + LONGEST_HOLD),
    };
}

/// A call may be on hold for so long, counted from the last change of its session.
const LONGEST_HOLD: Duration = Duration::from_secs(4 * 3600);

/// Requests of one call under way from leg to leg; more at once is no conversation.
const WAITING: usize = 16;

/// INFO: carried with a body that may cross, answered with the other side's status.
fn relay(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest, method: Method) {
    let id = call.id;
    if call.waiting.len() >= WAITING {
        return refuse(border, now, &request, Reason::ServerBusy);
    }
    let body = request.message.body();
    let kind = request.message.content_type().and_then(|kind| capability::info_type(kind, body));
    if kind.is_none() && !body.is_empty() {
        let flow = &request.flow;
        return border.reply(now, (&request.key, &request.message, flow), 415, None, |reply| {
            reply.header("Accept", capability::INFO_ACCEPT);
        });
    }
    let Some((_, other)) = call.legs(side) else { return refuse(border, now, &request, Reason::NoSuchDialog) };
    let owner = ClientOwner::Relayed { call: id, side: other.side, method: method.clone(), reply: request.key };
    border.request(now, other, method, owner, |relayed| {
        if let Some(kind) = kind {
            relayed.body(kind, request.message.body());
        }
    });
    border.servers.insert(request.key, id);
    call.waiting.push(Waiting { request, session: None });
}

pub fn relayed_answered(border: &mut Border, now: Time, call: &mut Call, reply: ServerKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 {
        return;
    }
    if let Some(Waiting { request, .. }) = call.take_waiting(reply) {
        border.reply(now, (&request.key, &request.message, &request.flow), shown(status), None, |_| {});
    }
    if status == 481 || status == 408 {
        release::by_border(border, now, call, Reason::DialogGone);
    }
}

/// No answer at all, which ends the dialog as a 408 does (RFC 5057 §5.1).
pub fn relayed_failed(border: &mut Border, now: Time, call: &mut Call, reply: ServerKey) {
    if let Some(Waiting { request, .. }) = call.take_waiting(reply) {
        border.reply(now, (&request.key, &request.message, &request.flow), 408, None, |_| {});
    }
    release::by_border(border, now, call, Reason::DialogGone);
}

/// Refuses a request in a dialog; the dialog stays as it was.
pub fn refuse(border: &mut Border, now: Time, request: &ServerRequest, reason: Reason) {
    let status = reason.status().unwrap_or(500);
    let min_se = border.settings.session_timer.min_se;
    let wait = border.mint.below(10);
    border.reply(now, (&request.key, &request.message, &request.flow), status, None, |reply| {
        match reason {
            Reason::IntervalTooSmall => reply.header_fmt("Min-SE", format_args!("{min_se}")),
            // §14.2: an INVITE before the last is answered.
            Reason::ServerBusy => reply.header_fmt("Retry-After", format_args!("{wait}")),
            Reason::ExtensionRequired => reply.header("Unsupported", standalone::unsupported(&request.message)),
            Reason::MethodNotAllowed => reply.header("Allow", standalone::ALLOW),
            Reason::MediaType => reply.header("Accept", "application/sdp"),
            _ => reply,
        };
    });
}

/// What the asker hears of the other side's final answer: a 2xx as it is; a refusal that is about our own request as a plain one of the session.
pub fn shown(status: u16) -> u16 {
    match status {
        200..=299 => status,
        300..=399 | 401 | 407 | 420 | 421 | 422 | 423 | 482 | 483 => 488,
        _ => status.clamp(400, 699),
    }
}
