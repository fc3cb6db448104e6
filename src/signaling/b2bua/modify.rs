//! What happens inside a call that is up: ACK, re-INVITE and hold, UPDATE (RFC 3311), session refreshes (RFC 4028), INFO and the like, carried from
//! one leg to the other; glare is answered with 491 (RFC 3261 §14.2).

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::signaling::b2bua::answer::{self, Acknowledged};
use crate::signaling::b2bua::call::{Asked, Call, ClientOwner, Exchange, Leg, Purpose, ServerRequest, Stage};
use crate::signaling::b2bua::{lifetime, release, standalone};
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::signaling::session::session_timer::SessionTimeout;
use crate::signaling::transaction::{ClientKey, ServerKey};
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// A refresh refused with something that leaves the session standing is tried again after this.
const REFRESH_AGAIN: Duration = Duration::from_secs(3);

/// An ACK to a 2xx of ours.
pub fn acknowledged(border: &mut Border, now: Time, call: &mut Call, side: Side, ack: &Message) {
    let id = call.id;
    let done = match (side, &mut call.stage) {
        (Side::A, _) => answer::acknowledged(border, id, &mut call.a, ack),
        (Side::B, Stage::Up(leg)) => answer::acknowledged(border, id, leg, ack),
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
    let id = call.id;
    let sdp = carry_answer(border, now, call, side, ack);
    let Some((_, other)) = call.legs(side) else { return };
    if let Exchange::Accepting { cseq, client } = other.exchange {
        let sent = border.acknowledge(other, cseq, sdp.as_deref().ok());
        other.exchange = Exchange::Idle;
        let tag = other.dialog.remote_tag.clone();
        remember_ack(border, client, &tag, sent);
    }
    call.note_media();
    match sdp {
        Ok(_) => held(border, now, call),
        Err(reason) => {
            let _ = id;
            release::by_border(border, now, call, reason);
        }
    }
}

fn remember_ack(border: &mut Border, client: ClientKey, tag: &str, sent: (crate::signaling::event::Route, bytes::Bytes)) {
    match border.clients.get_mut(&client) {
        Some(ClientOwner::Invite(_)) => super::forking::acknowledged(border, client, tag, sent),
        Some(ClientOwner::Reinvite { ack, .. }) => *ack = Some(sent),
        _ => {}
    }
}

fn carry_answer(border: &mut Border, now: Time, call: &mut Call, from: Side, message: &Message) -> Result<Vec<u8>, Reason> {
    let sdp = message.sdp().ok_or(Reason::MediaUnacceptable)?;
    let description = Description::parse(sdp).map_err(|_| Reason::MediaMalformed)?;
    let inside = call.inside();
    let outcome = call.media.answer(from, &description, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(call.id, outcome.commands);
    Ok(outcome.sdp)
}

fn carry_offer(border: &mut Border, now: Time, call: &mut Call, from: Side, message: &Message) -> Result<Vec<u8>, Reason> {
    let sdp = message.sdp().ok_or(Reason::MediaUnacceptable)?;
    let description = Description::parse(sdp).map_err(|_| Reason::MediaMalformed)?;
    let inside = call.inside();
    let outcome = call.media.offer(from, &description, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(call.id, outcome.commands);
    Ok(outcome.sdp)
}

/// The answer to an offer that says what was agreed: nothing need be asked of the other side.
fn answer_repeated(border: &mut Border, now: Time, call: &mut Call, side: Side, offer: Option<&Description>) -> Option<Vec<u8>> {
    let inside = call.inside();
    let outcome = call.media.answer_here(side, offer?, &mut border.supply(now, inside)).ok()?;
    border.media(call.id, outcome.commands);
    Some(outcome.sdp)
}

/// A request in a dialog of this call.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    if call.is_over() {
        let status = if request.message.method() == Some(&Method::Bye) { 200 } else { 481 };
        return border.reply(now, (&request.key, &request.message, &request.flow), status, None, |_| {});
    }
    let early = matches!(call.stage, Stage::Hunting(_));
    let Some(leg) = call.leg(side) else { return early_request(border, now, &request) };
    if !leg.dialog.matches(&request.message) {
        return border.reply(now, (&request.key, &request.message, &request.flow), 481, None, |_| {});
    }
    let number = request.message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    if leg.dialog.accept(number).is_err() {
        return border.reply(now, (&request.key, &request.message, &request.flow), 500, None, |_| {});
    }
    leg.flow = request.flow.clone();
    if !standalone::unsupported(&request.message).is_empty() {
        let names = standalone::unsupported(&request.message);
        return border.reply(now, (&request.key, &request.message, &request.flow), 420, None, |reply| {
            reply.header("Unsupported", names);
        });
    }
    match request.message.method() {
        Some(Method::Bye) => release::by_peer(border, now, call, side, &request),
        Some(Method::Prack) => answer::prack(border, now, call.id, &mut call.a, &request),
        Some(Method::Invite) => reinvite(border, now, call, side, request),
        Some(Method::Update) => update(border, now, call, side, request),
        Some(Method::Info) if !early => relay(border, now, call, side, request, Method::Info),
        Some(Method::Options) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |reply| standalone::capabilities(reply));
        }
        _ => border.reply(now, (&request.key, &request.message, &request.flow), 405, None, |reply| {
            reply.header("Allow", standalone::ALLOW);
        }),
    }
}

/// The B side asks something while the caller still waits: only its end can be taken.
fn early_request(border: &mut Border, now: Time, request: &ServerRequest) {
    let status = match request.message.method() {
        Some(Method::Bye) | Some(Method::Options) => 200,
        Some(Method::Update) | Some(Method::Invite) => 491,
        _ => 481,
    };
    border.reply(now, (&request.key, &request.message, &request.flow), status, None, |_| {});
}

/// The other leg as an owner of requests of ours that carry this leg's.
fn reinvite(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    let id = call.id;
    let offer = match parsed(&request.message) {
        Ok(offer) => offer,
        Err(reason) => return refuse_request(border, now, &request, reason),
    };
    let can_offer = call.media.can_offer(side);
    let refresh = offer.as_ref().is_some_and(|offer| call.media.is_refresh(side, offer));
    let repeated = if refresh { answer_repeated(border, now, call, side, offer.as_ref()) } else { None };
    let Some((leg, other)) = call.legs(side) else { return refuse_request(border, now, &request, Reason::ServerBusy) };
    if matches!(leg.exchange, Exchange::Asked(_)) {
        return refuse_request(border, now, &request, Reason::ServerBusy);
    }
    let settled = |leg: &Leg| matches!(leg.exchange, Exchange::Idle);
    if !settled(leg) || !settled(other) || !can_offer {
        return refuse_request(border, now, &request, Reason::GlareRetry);
    }
    let Ok(session) = lifetime::judge(&mut leg.timer, &request.message) else {
        return refuse_request(border, now, &request, Reason::IntervalTooSmall);
    };
    leg.dialog.refresh_target(&request.message);
    border.servers.insert(request.key, id);
    border.reply(now, (&request.key, &request.message, &request.flow), 100, None, |_| {});
    leg.exchange = Exchange::Asked(Box::new(Asked { request, session, reliable: None, held: None }));
    if refresh {
        // RFC 4028: nothing changes, so nothing need be asked of the other side.
        return answer::accept(border, now, id, leg, repeated, false);
    }
    carry_reinvite(border, now, call, side, offer);
}

fn carry_reinvite(border: &mut Border, now: Time, call: &mut Call, side: Side, offer: Option<Description>) {
    let id = call.id;
    let sdp = match &offer {
        None => Ok(None),
        Some(offer) => {
            let inside = call.inside();
            call.media.offer(side, offer, &mut border.supply(now, inside)).map_err(|refusal| refusal.0).map(|outcome| {
                border.media(id, outcome.commands);
                Some(outcome.sdp)
            })
        }
    };
    let Some((leg, other)) = call.legs(side) else { return };
    match sdp {
        Err(reason) => answer::refuse(border, now, id, leg, reason.status().unwrap_or(488), |_| {}),
        Ok(sdp) => send_reinvite(border, now, id, other, sdp.as_deref(), Purpose::Relay),
    }
}

/// A re-INVITE of ours on `leg`.
fn send_reinvite(border: &mut Border, now: Time, call: crate::signaling::fact::CallId, leg: &mut Leg, sdp: Option<&[u8]>, purpose: Purpose) {
    let contact = transport::contact(&leg.listener);
    let owner = ClientOwner::Reinvite { call, side: leg.side, ack: None };
    let asked = leg.timer.ask();
    let client = border.request(now, leg, Method::Invite, owner, |request| {
        request.header("Contact", contact).header("Allow", standalone::ALLOW).header("Supported", "100rel, timer");
        lifetime::write_request(request, &asked);
        if let Some(sdp) = sdp {
            request.body("application/sdp", sdp);
        }
    });
    leg.exchange = Exchange::Asking { client, purpose };
}

/// A response to a re-INVITE of ours on `side`.
pub fn reinvite_answered(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    let waited = call.leg(side).is_some_and(|leg| matches!(leg.exchange, Exchange::Asking { client, .. } if client == key));
    if !waited {
        if (200..300).contains(&status) {
            acknowledge_again(border, call, side, key, message);
        }
        return;
    }
    match status {
        ..=199 => {}
        200..=299 => reinvite_accepted(border, now, call, side, key, message),
        _ => reinvite_refused(border, now, call, side, status),
    }
}

/// A 2xx to a re-INVITE that was acknowledged before, or that nobody waits for any more.
fn acknowledge_again(border: &mut Border, call: &mut Call, side: Side, key: ClientKey, message: &Message) {
    if let Some(ClientOwner::Reinvite { ack: Some((route, bytes)), .. }) = border.clients.get(&key) {
        let (route, bytes) = (route.clone(), bytes.clone());
        return border.transactions.send_ack(route, bytes);
    }
    let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    if let Some(leg) = call.leg(side) {
        let waits = matches!(leg.exchange, Exchange::Accepting { client, .. } if client == key);
        if !waits {
            let sent = border.acknowledge(leg, seq, None);
            remember_ack(border, key, "", sent);
        }
    }
}

fn reinvite_accepted(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey, message: &Message) {
    let id = call.id;
    let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    let Some(leg) = call.leg(side) else { return };
    let Exchange::Asking { purpose, .. } = leg.exchange else { return };
    leg.dialog.refresh_target(message);
    leg.timer.on_answer(now, message.session_expires().ok().flatten());
    border.set_session_timer(id, side, &leg.timer);
    let asked_with_offer = call.legs(side).is_some_and(|(_, other)| match &other.exchange {
        Exchange::Asked(asked) => !asked.request.message.body().is_empty(),
        _ => true,
    });
    if purpose == Purpose::Refresh || asked_with_offer {
        let Some(leg) = call.leg(side) else { return };
        let sent = border.acknowledge(leg, seq, None);
        leg.exchange = Exchange::Idle;
        remember_ack(border, key, "", sent);
    }
    if purpose == Purpose::Refresh {
        return;
    }
    let sdp = if asked_with_offer {
        carry_answer(border, now, call, side, message)
    } else {
        if let Some(leg) = call.leg(side) {
            leg.exchange = Exchange::Accepting { cseq: seq, client: key };
        }
        carry_offer(border, now, call, side, message)
    };
    match sdp {
        Ok(sdp) => {
            if let Some((_, other)) = call.legs(side) {
                answer::accept(border, now, id, other, Some(sdp), !asked_with_offer);
            }
            call.media.settled();
            call.note_media();
            held(border, now, call);
        }
        Err(reason) => release::by_border(border, now, call, reason),
    }
}

fn reinvite_refused(border: &mut Border, now: Time, call: &mut Call, side: Side, status: u16) {
    let id = call.id;
    let Some((leg, other)) = call.legs(side) else { return };
    let Exchange::Asking { purpose, .. } = std::mem::replace(&mut leg.exchange, Exchange::Idle) else { return };
    if purpose == Purpose::Relay {
        // RFC 3261 §14.1: the session stays what it was.
        answer::refuse(border, now, id, other, shown(status), |_| {});
        let commands = call.media.rejected(side);
        border.media(id, commands);
    }
    if status == 481 || status == 408 {
        release::by_border(border, now, call, Reason::DialogGone);
    }
}

/// No answer to a re-INVITE at all (§14.1: as good as 408).
pub fn reinvite_failed(border: &mut Border, now: Time, call: &mut Call, side: Side, key: ClientKey) {
    let waited = call.leg(side).is_some_and(|leg| matches!(leg.exchange, Exchange::Asking { client, .. } if client == key));
    if waited {
        reinvite_refused(border, now, call, side, 408);
    }
}

/// UPDATE: a refresh is answered here, an offer carried to the other leg.
fn update(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    let offer = match parsed(&request.message) {
        Ok(offer) => offer,
        Err(reason) => return refuse_request(border, now, &request, reason),
    };
    let id = call.id;
    let can_offer = call.media.can_offer(side);
    let refresh = offer.as_ref().is_none_or(|offer| call.media.is_refresh(side, offer));
    if refresh {
        let repeated = answer_repeated(border, now, call, side, offer.as_ref());
        let Some(leg) = call.leg(side) else { return refuse_request(border, now, &request, Reason::ServerBusy) };
        let Ok(session) = lifetime::judge(&mut leg.timer, &request.message) else {
            return refuse_request(border, now, &request, Reason::IntervalTooSmall);
        };
        leg.dialog.refresh_target(&request.message);
        leg.timer.answered(now, &session);
        border.set_session_timer(id, side, &leg.timer);
        let contact = transport::contact(&leg.listener);
        return border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |reply| {
            reply.header("Contact", contact);
            lifetime::write_answer(reply, &session);
            if let Some(sdp) = repeated {
                reply.body("application/sdp", &sdp);
            }
        });
    }
    let idle = call.legs(side).is_some_and(|(leg, other)| matches!((&leg.exchange, &other.exchange), (Exchange::Idle, Exchange::Idle)) && other.allows_update);
    if !idle || !can_offer {
        // RFC 3311 §5.2.
        return refuse_request(border, now, &request, Reason::GlareRetry);
    }
    match carry_offer(border, now, call, side, &request.message) {
        Err(reason) => refuse_request(border, now, &request, reason),
        Ok(sdp) => {
            border.servers.insert(request.key, id);
            let Some((_, other)) = call.legs(side) else { return };
            let contact = transport::contact(&other.listener);
            let owner = ClientOwner::Update { call: id, side: other.side, reply: Some(request.key) };
            border.request(now, other, Method::Update, owner, |update| {
                update.header("Contact", contact).header("Allow", standalone::ALLOW).body("application/sdp", &sdp);
            });
            call.waiting.push(request);
        }
    }
}

pub fn update_answered(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: Option<ServerKey>, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 {
        return;
    }
    let Some(reply) = reply else { return refreshed(border, now, call, side, message) };
    let Some(request) = call.take_waiting(reply) else { return };
    if status >= 300 {
        let commands = call.media.rejected(side);
        border.media(call.id, commands);
        return border.reply(now, (&request.key, &request.message, &request.flow), shown(status), None, |_| {});
    }
    if let Some(leg) = call.leg(side) {
        leg.dialog.refresh_target(message);
    }
    let id = call.id;
    match carry_answer(border, now, call, side, message) {
        Err(reason) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 488, None, |_| {});
            release::by_border(border, now, call, reason);
        }
        Ok(sdp) => {
            let Some(leg) = call.leg(side.other()) else { return };
            leg.dialog.refresh_target(&request.message);
            let session = lifetime::judge(&mut leg.timer, &request.message).ok();
            if let Some(session) = &session {
                leg.timer.answered(now, session);
                border.set_session_timer(id, leg.side, &leg.timer);
            }
            let contact = transport::contact(&leg.listener);
            border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |reply| {
                reply.header("Contact", contact);
                if let Some(session) = &session {
                    lifetime::write_answer(reply, session);
                }
                reply.body("application/sdp", &sdp);
            });
            call.media.settled();
            call.note_media();
            held(border, now, call);
        }
    }
}

pub fn update_failed(border: &mut Border, now: Time, call: &mut Call, side: Side, reply: Option<ServerKey>) {
    if let Some(request) = reply.and_then(|reply| call.take_waiting(reply)) {
        let commands = call.media.rejected(side);
        border.media(call.id, commands);
        border.reply(now, (&request.key, &request.message, &request.flow), 408, None, |_| {});
    }
    release::by_border(border, now, call, Reason::DialogGone);
}

/// Our own refresh was answered (RFC 4028 §10).
fn refreshed(border: &mut Border, now: Time, call: &mut Call, side: Side, message: &Message) {
    match message.status().unwrap_or(500) {
        200..=299 => {
            let id = call.id;
            if let Some(Ok(description)) = message.sdp().map(Description::parse) {
                match call.media.refreshed(side, &description) {
                    Ok(commands) => border.media(id, commands),
                    Err(refusal) => return release::by_border(border, now, call, refusal.0),
                }
            }
            if let Some(leg) = call.leg(side) {
                leg.timer.on_answer(now, message.session_expires().ok().flatten());
                border.set_session_timer(id, side, &leg.timer);
            }
        }
        408 | 481 => release::by_border(border, now, call, Reason::DialogGone),
        _ => {
            let id = call.id;
            if let Some(leg) = call.leg(side) {
                leg.timer.refresh_refused(now, REFRESH_AGAIN);
                border.set_session_timer(id, side, &leg.timer);
            }
        }
    }
}

/// INFO and the like: carried with their body, answered with the other side's status.
fn relay(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest, method: Method) {
    let id = call.id;
    let Some((_, other)) = call.legs(side) else { return refuse_request(border, now, &request, Reason::NoSuchDialog) };
    let owner = ClientOwner::Relayed { call: id, side: other.side, method: method.clone(), reply: request.key };
    let kind = request.message.content_type().map(str::to_owned);
    border.request(now, other, method, owner, |relayed| {
        if let Some(kind) = kind {
            relayed.body(&kind, request.message.body());
        }
    });
    border.servers.insert(request.key, id);
    call.waiting.push(request);
}

pub fn relayed_answered(border: &mut Border, now: Time, call: &mut Call, _side: Side, reply: ServerKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 {
        return;
    }
    if let Some(request) = call.take_waiting(reply) {
        border.reply(now, (&request.key, &request.message, &request.flow), shown(status), None, |_| {});
    }
    if status == 481 || status == 408 {
        release::by_border(border, now, call, Reason::DialogGone);
    }
}

pub fn relayed_failed(border: &mut Border, now: Time, call: &mut Call, _side: Side, reply: ServerKey) {
    if let Some(request) = call.take_waiting(reply) {
        border.reply(now, (&request.key, &request.message, &request.flow), 408, None, |_| {});
    }
}

/// RFC 4028 §7.2, §10: time to refresh, or the peer did not.
pub fn session_timer(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    let last_sent = call.media.last_sent(side).map(Description::write);
    let Some(leg) = call.leg(side) else { return };
    match leg.timer.timeout(now) {
        SessionTimeout::Nothing => {}
        SessionTimeout::Expired => return release::by_border(border, now, call, Reason::SessionExpired),
        SessionTimeout::Refresh if leg.allows_update => {
            let contact = transport::contact(&leg.listener);
            let asked = leg.timer.ask();
            let owner = ClientOwner::Update { call: id, side, reply: None };
            border.request(now, leg, Method::Update, owner, |update| {
                update.header("Contact", contact).header("Supported", "100rel, timer");
                lifetime::write_request(update, &asked);
            });
        }
        SessionTimeout::Refresh if matches!(leg.exchange, Exchange::Idle) => {
            send_reinvite(border, now, id, leg, last_sent.as_deref(), Purpose::Refresh);
        }
        SessionTimeout::Refresh => {}
    }
    if let Some(leg) = call.leg(side) {
        border.set_session_timer(id, side, &leg.timer);
    }
}

fn parsed(message: &Message) -> Result<Option<Description>, Reason> {
    if message.body().is_empty() {
        return Ok(None);
    }
    let sdp = message.sdp().ok_or(Reason::MediaType)?;
    Description::parse(sdp).map(Some).map_err(|_| Reason::MediaMalformed)
}

fn refuse_request(border: &mut Border, now: Time, request: &ServerRequest, reason: Reason) {
    let status = reason.status().unwrap_or(500);
    let min_se = border.settings.session_timer.min_se;
    let wait = border.mint.below(10);
    border.reply(now, (&request.key, &request.message, &request.flow), status, None, |reply| {
        match reason {
            Reason::IntervalTooSmall => reply.header_fmt("Min-SE", format_args!("{min_se}")),
            // §14.2: an INVITE before the last is answered.
            Reason::ServerBusy => reply.header_fmt("Retry-After", format_args!("{wait}")),
            _ => reply,
        };
    });
}

/// What the asker hears of the other side's refusal.
fn shown(status: u16) -> u16 {
    match status {
        401 | 407 | 420 | 421 | 422 | 423 | 482 | 483 => 488,
        status => status.clamp(400, 699),
    }
}

/// Tells when a side has put the call on hold, or took it off.
fn held(border: &mut Border, now: Time, call: &mut Call) {
    for side in [Side::A, Side::B] {
        let held = call.media.held(side);
        let index = usize::from(side == Side::B);
        if call.held[index] != held {
            call.held[index] = held;
            border.fact(now, Some(call.id), What::Held { by: side, held });
        }
    }
}
