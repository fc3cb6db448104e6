//! Speaking to a leg whose INVITE we hold: provisional responses (reliable where the peer wants them, RFC 3262), the 2xx with its retransmission
//! until the ACK (RFC 3261 §13.3.1.4), refusals.

use crate::signaling::b2bua::call::{Answered, Asked, Exchange, Held, Leg, ServerRequest};
use crate::signaling::b2bua::{lifetime, standalone};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::CallId;
use crate::signaling::session::answer::{AnswerTimeout, UnacknowledgedAnswer};
use crate::signaling::session::reliability::{Prack, ReliableServer, ReliableTimeout};
use crate::signaling::transport;
use crate::sip::{Builder, HeaderName, Message};
use crate::time::Time;

/// Passes ringing or progress on. A response that must wait for the PRACK of the one before is held; the newest wins.
pub fn provisional(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, status: u16, sdp: Option<Vec<u8>>) {
    let Exchange::Asked(asked) = &mut leg.exchange else { return };
    let Asked { request, reliable, held, answered, .. } = &mut **asked;
    // RFC 3261 §21.1: what is not known of a 1xx is treated as 183.
    let status = if matches!(status, 180 | 181 | 182 | 183 | 199) { status } else { 183 };
    let wanted = request.message.requires("100rel") || (request.message.supports("100rel") && sdp.is_some());
    // With a delayed offer the first reliable response would have to carry our offer, which only the 2xx brings.
    if !wanted || request.message.body().is_empty() {
        if !request.message.requires("100rel") {
            let (tag, contact, allow) = (leg.dialog.local_tag.clone(), transport::contact(&leg.listener), standalone::allow(&leg.peer));
            border.reply(now, (&request.key, &request.message, &request.flow), status, Some(&tag), |reply| {
                dialog_headers(reply, &request.message, (&contact, allow), sdp.as_deref());
            });
        }
        return;
    }
    let timers = border.settings.timers;
    let cseq = request.message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    let start = border.mint.rseq();
    let server = reliable.get_or_insert_with(|| ReliableServer::new(start, cseq, &timers));
    if !server.ready() {
        let sdp = match held.take() {
            Some(Held::Provisional { sdp: earlier, .. }) => sdp.or(earlier),
            Some(answer @ Held::Answer { .. }) => {
                *held = Some(answer);
                return;
            }
            None => sdp,
        };
        *held = Some(Held::Provisional { status, sdp });
        return;
    }
    let mut reply = transport::response(&request.message, &request.flow, status, Some(&leg.dialog.local_tag));
    reply.header("Require", "100rel").header_fmt("RSeq", format_args!("{}", server.rseq()));
    reply.header("Server", border.settings.product.as_bytes());
    dialog_headers(&mut reply, &request.message, (&transport::contact(&leg.listener), standalone::allow(&leg.peer)), sdp.as_deref());
    *answered |= sdp.is_some();
    let bytes = reply.finish();
    border.transactions.respond(now, request.key, status, bytes.clone());
    server.sent(now, bytes);
    arm(border, call, server);
}

/// Our answer has gone out in a reliable response.
pub fn is_given(leg: &Leg) -> bool {
    matches!(&leg.exchange, Exchange::Asked(asked) if asked.answered)
}

/// Answers the INVITE we hold with 200. False: it waits for a PRACK, as RFC 3262 §3 says (or there is no such INVITE).
pub fn accept(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, sdp: Option<Vec<u8>>, awaits_answer: bool) -> bool {
    let Exchange::Asked(asked) = &mut leg.exchange else { return false };
    let Asked { request, session, reliable, held, .. } = &mut **asked;
    if reliable.as_ref().is_some_and(|reliable| !reliable.ready()) {
        *held = Some(Held::Answer { sdp, awaits_answer });
        return false;
    }
    border.timers.cancel(Timer::Reliable(call));
    let mut reply = transport::response(&request.message, &request.flow, 200, Some(&leg.dialog.local_tag));
    lifetime::write_answer(&mut reply, session);
    leg.timer.answered(now, session);
    reply.header("Supported", "100rel, timer").header("Server", border.settings.product.as_bytes());
    dialog_headers(&mut reply, &request.message, (&transport::contact(&leg.listener), standalone::allow(&leg.peer)), sdp.as_deref());
    let bytes = reply.finish();
    let (key, cseq) = (request.key, request.message.cseq().map(|cseq| cseq.number).unwrap_or(0));
    border.transactions.respond(now, key, 200, bytes.clone());
    let waiting = UnacknowledgedAnswer::new(now, &border.settings.timers, bytes);
    if let Some(deadline) = waiting.deadline() {
        border.timers.set(Timer::Answer(call, leg.side), deadline);
    }
    leg.exchange = Exchange::Answered(Box::new(Answered { key, cseq, waiting, awaits_answer, then_bye: false }));
    leg.confirmed = true;
    border.set_session_timer(call, leg.side, &leg.timer);
    true
}

/// Refuses the INVITE we hold; the dialog stays as it was.
pub fn refuse(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, status: u16, extra: impl FnOnce(&mut Builder)) {
    if let Exchange::Asked(asked) = std::mem::replace(&mut leg.exchange, Exchange::Idle) {
        border.timers.cancel(Timer::Reliable(call));
        let request = &asked.request;
        border.reply(now, (&request.key, &request.message, &request.flow), status, Some(&leg.dialog.local_tag), extra);
    }
}

/// PRACK from a peer whose INVITE we hold. What waited for it comes out.
pub fn prack(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, prack: &ServerRequest) -> Option<Held> {
    let Exchange::Asked(asked) = &mut leg.exchange else {
        border.reply(now, (&prack.key, &prack.message, &prack.flow), 481, None, |_| {});
        return None;
    };
    let verdict = match (&mut asked.reliable, prack.message.rack()) {
        (Some(reliable), Ok(Some(rack))) => reliable.on_prack(&rack),
        _ => Prack::Unmatched,
    };
    let status = match verdict {
        Prack::Unmatched => 481,
        // An offer in PRACK would have to be carried to a B leg that is only ringing.
        Prack::Acknowledged | Prack::Repeated if !prack.message.body().is_empty() => 488,
        Prack::Acknowledged | Prack::Repeated => 200,
    };
    border.reply(now, (&prack.key, &prack.message, &prack.flow), status, None, |_| {});
    if verdict != Prack::Acknowledged {
        return None;
    }
    border.timers.cancel(Timer::Reliable(call));
    asked.held.take()
}

/// Sends a reliable provisional response again. True: the peer never acknowledged it.
pub fn reliable_timer(border: &mut Border, now: Time, call: CallId, leg: &mut Leg) -> bool {
    let Exchange::Asked(asked) = &mut leg.exchange else { return false };
    let Some(reliable) = &mut asked.reliable else { return false };
    match reliable.timeout(now) {
        ReliableTimeout::Nothing => {}
        // Which provisional it is makes no difference to the transaction.
        ReliableTimeout::Retransmit(bytes) => border.transactions.respond(now, asked.request.key, 183, bytes),
        ReliableTimeout::GiveUp => return true,
    }
    arm(border, call, reliable);
    false
}

/// Sends the 2xx again. True: it was never acknowledged.
pub fn answer_timer(border: &mut Border, now: Time, call: CallId, leg: &mut Leg) -> bool {
    let side = leg.side;
    let Exchange::Answered(answered) = &mut leg.exchange else { return false };
    match answered.waiting.timeout(now) {
        AnswerTimeout::Nothing => {}
        AnswerTimeout::Retransmit(bytes) => border.transactions.respond(now, answered.key, 200, bytes),
        AnswerTimeout::GiveUp => return true,
    }
    if let Some(deadline) = answered.waiting.deadline() {
        border.timers.set(Timer::Answer(call, side), deadline);
    }
    false
}

/// What the ACK of this leg's peer ended.
pub enum Acknowledged {
    /// A repeated ACK, or one for another INVITE.
    Nothing,
    Done {
        /// The ACK has to bring the answer to our offer.
        awaits_answer: bool,
        then_bye: bool,
    },
}

pub fn acknowledged(border: &mut Border, call: CallId, leg: &mut Leg, ack: &Message) -> Acknowledged {
    if !leg.dialog.matches(ack) {
        return Acknowledged::Nothing;
    }
    let Exchange::Answered(answered) = &mut leg.exchange else { return Acknowledged::Nothing };
    if ack.cseq().is_ok_and(|cseq| cseq.number != answered.cseq) || !answered.waiting.on_ack() {
        return Acknowledged::Nothing;
    }
    let done = Acknowledged::Done { awaits_answer: answered.awaits_answer, then_bye: answered.then_bye };
    border.timers.cancel(Timer::Answer(call, leg.side));
    leg.exchange = Exchange::Idle;
    done
}

fn arm(border: &mut Border, call: CallId, reliable: &ReliableServer) {
    match reliable.deadline() {
        Some(deadline) => border.timers.set(Timer::Reliable(call), deadline),
        None => border.timers.cancel(Timer::Reliable(call)),
    };
}

/// What a response that makes a dialog carries (RFC 3261 §12.1.1).
fn dialog_headers(reply: &mut Builder, request: &Message, (contact, allow): (&str, &str), sdp: Option<&[u8]>) {
    for route in request.values(HeaderName::RecordRoute) {
        reply.header("Record-Route", route);
    }
    reply.header("Contact", contact).header("Allow", allow);
    if let Some(sdp) = sdp {
        reply.body("application/sdp", sdp);
    }
}
