//! How a call ends: BYE from either side, CANCEL, refusal, timers, silence, the drain's end (RFC 3261 §15, §9). Whoever ends it, both legs end, the
//! media plane lets go, and one record is filed.

use crate::media::control::{Command, Report, Side, StreamId};
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Attempt, Call, ClientOwner, Exchange, Leg, ServerRequest, Stage, Waiting};
use crate::signaling::b2bua::transfer::{self, Session};
use crate::signaling::b2bua::{answer, digits, lingering, reinvite, relayed};
use crate::signaling::border::{Border, Timer};
use crate::signaling::branch;
use crate::signaling::fact::{CallId, ReleasedBy, What};
use crate::signaling::transaction::ServerKey;
use crate::sip::Method;
use crate::time::Time;

/// The peer of `side` hung up.
pub fn by_peer(border: &mut Border, now: Time, call: &mut Call, side: Side, bye: &ServerRequest) {
    border.reply(now, (&bye.key, &bye.message, &bye.flow), 200, None, |_| {});
    match (&call.stage, side) {
        (Stage::Over { .. }, _) | (Stage::Hunting(_), Side::B) => {}
        (Stage::Transferring(transfer), side) if transfer.by == side => transfer::transferor_left(border, now, call),
        (Stage::Transferring(_), side) => {
            let id = call.id;
            if let Some(leg) = call.leg(side) {
                leave(border, now, id, leg);
            }
            transfer::abandon(border, now, call, 487);
            hang_up_side(border, now, call, side.other());
            let by = if side == Side::A { ReleasedBy::Caller } else { ReleasedBy::Called };
            end(border, now, call, by, Reason::NormalClearing);
        }
        // A BYE in the early dialog (§15): as good as a CANCEL.
        (_, Side::A) if call.caller_waits() => given_up_by_caller(border, now, call),
        (_, Side::B) if call.caller_waits() => refuse_caller(border, now, call, 480, Reason::Rejected, ReleasedBy::Called),
        _ => {
            let id = call.id;
            relayed::abandoned(border, now, call, Some(side));
            if let Some(leg) = call.leg(side) {
                leave(border, now, id, leg);
            }
            hang_up_side(border, now, call, side.other());
            let by = if side == Side::A { ReleasedBy::Caller } else { ReleasedBy::Called };
            end(border, now, call, by, Reason::NormalClearing);
        }
    }
}

/// The border ends the call.
pub fn by_border(border: &mut Border, now: Time, call: &mut Call, reason: Reason) {
    if call.is_over() {
        return;
    }
    transfer::abandon(border, now, call, 503);
    relayed::abandoned(border, now, call, None);
    stop_hunt(border, now, call);
    hang_up_side(border, now, call, Side::B);
    if call.caller_waits() {
        return refuse_caller(border, now, call, reason.status().unwrap_or(480), reason, ReleasedBy::Border);
    }
    hang_up_side(border, now, call, Side::A);
    end(border, now, call, ReleasedBy::Border, reason);
}

/// The caller takes its INVITE back before the final response.
fn given_up_by_caller(border: &mut Border, now: Time, call: &mut Call) {
    stop_hunt(border, now, call);
    hang_up_side(border, now, call, Side::B);
    refuse_caller(border, now, call, 487, Reason::Cancelled, ReleasedBy::Caller);
}

/// The media plane could not open the call's stream, or not with these keys.
pub fn without_media(border: &mut Border, now: Time, call: &mut Call, stream: StreamId, error: String) {
    let decision = Decision::refused("media", "the stream's sockets and keys", Reason::MediaPorts).comparing("error", error);
    border.decided(now, call.id, decision);
    match call.media.stream() == Some(stream) || call.transfer().is_none() {
        true => by_border(border, now, call, Reason::MediaPorts),
        // The call has its sound; it is the one it was to have with a transfer's target that is missing.
        false => transfer::failed(border, now, call, 503, Reason::MediaPorts),
    }
}

/// Nothing was heard from either side for the configured time. A call on hold is meant to be silent.
pub fn silent(border: &mut Border, now: Time, call: &mut Call) {
    if call.transfer().is_some() {
        return;
    }
    if !call.media.held(Side::A) && !call.media.held(Side::B) {
        by_border(border, now, call, Reason::MediaSilent);
    }
}

/// CANCEL for the INVITE of `invite` (§9.2); its own 200 has been sent.
pub fn cancelled(border: &mut Border, now: Time, call: &mut Call, invite: Option<ServerKey>) {
    let holds = |leg: &Leg| matches!(&leg.exchange, Exchange::Asked(asked) if Some(asked.request.key) == invite);
    if call.caller_waits() && holds(&call.a) {
        return given_up_by_caller(border, now, call);
    }
    // A re-INVITE is taken back on the other leg too. What becomes of it there is then told here, so that both legs stay of one mind even if the
    // CANCEL comes too late.
    for side in [Side::A, Side::B] {
        let Some((leg, other)) = call.legs(side) else { return };
        if let (true, Exchange::Asking { client, .. }) = (holds(leg), &other.exchange) {
            border.transactions.cancel(now, *client);
        }
    }
}

/// A response of ours could not be delivered. Over a datagram transport another copy may; over a stream there is no call without the answer.
pub fn reply_lost(border: &mut Border, now: Time, call: &mut Call, key: ServerKey) {
    if call.a.flow.transport.is_reliable() {
        forsaken(border, now, call, key);
    }
}

/// The caller's INVITE will not be answered in its transaction any more: it is refused all the same, for what that is worth, and the call ends.
pub fn forsaken(border: &mut Border, now: Time, call: &mut Call, key: ServerKey) {
    match &call.a.exchange {
        Exchange::Asked(asked) if asked.request.key == key => by_border(border, now, call, Reason::CallerGone),
        Exchange::Answered(answered) if answered.key == key => {
            call.a.exchange = Exchange::Idle;
            by_border(border, now, call, Reason::CallerGone);
        }
        _ => {}
    }
}

/// A 2xx of ours was not acknowledged yet: again, or the end (§13.3.1.4).
pub fn answer_timer(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    let given_up = match (side, &mut call.stage) {
        (Side::A, _) => answer::answer_timer(border, now, id, &mut call.a),
        (Side::B, Stage::Up(leg)) => answer::answer_timer(border, now, id, leg),
        (Side::B, Stage::Transferring(transfer)) => answer::answer_timer(border, now, id, &mut transfer.b),
        (Side::B, _) => false,
    };
    if !given_up {
        return;
    }
    if call.is_over() {
        return acknowledged_late(border, now, call);
    }
    if let Some(leg) = call.leg(side) {
        leg.exchange = Exchange::Idle;
    }
    by_border(border, now, call, Reason::AckMissing);
}

/// The A leg's dialog was answered but not acknowledged when the call ended: now its BYE may go (§15).
pub fn acknowledged_late(border: &mut Border, now: Time, call: &mut Call) {
    call.a.exchange = Exchange::Idle;
    call.byes_due += 1;
    border.request(now, &mut call.a, Method::Bye, ClientOwner::Bye { call: call.id }, |_| {});
}

/// The caller's INVITE gets its final refusal and the call is over.
pub fn refuse_caller(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason, by: ReleasedBy) {
    let retry_after = border.settings.retry_after;
    answer::refuse(border, now, call.id, &mut call.a, status, |reply| {
        if status == 503 {
            reply.header_fmt("Retry-After", format_args!("{retry_after}"));
        }
    });
    call.record.status = Some(status);
    end(border, now, call, by, reason);
}

/// The B side's INVITE is cancelled; whatever answer it still gives is turned away.
pub fn stop_hunt(border: &mut Border, now: Time, call: &mut Call) {
    let Some(hunt) = call.hunt() else { return };
    hunt.queue.clear();
    match std::mem::replace(&mut hunt.attempt, Attempt::Idle) {
        Attempt::Inviting { client, .. } => border.transactions.cancel(now, client),
        Attempt::Locating { id, .. } => {
            border.locates.remove(&id);
        }
        Attempt::Idle => {}
    }
}

/// BYE on one leg that is up; if our 2xx on it is not acknowledged yet, when it is.
pub fn hang_up_side(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    let Some(leg) = call.leg(side).filter(|leg| leg.confirmed) else { return };
    if let (Side::A, Exchange::Answered(answered)) = (side, &mut leg.exchange) {
        answered.then_bye = true;
        return;
    }
    leave(border, now, id, leg);
    border.request(now, leg, Method::Bye, ClientOwner::Bye { call: id }, |_| {});
    call.byes_due += 1;
}

/// Closes the INVITE usage of a leg that ends: what the peer waits for is answered (§15.1.2), what we asked for is taken back.
pub fn leave(border: &mut Border, now: Time, call: CallId, leg: &mut Leg) {
    match &leg.exchange {
        Exchange::Asked(_) => answer::refuse(border, now, call, leg, 487, |_| {}),
        Exchange::Asking { client, cseq, .. } => {
            let (client, cseq) = (*client, *cseq);
            border.transactions.cancel(now, client);
            // Should it be accepted all the same, the 2xx finds its ACK ready when the leg is gone.
            let ack = border.acknowledgement(leg, cseq, None);
            reinvite::remember_ack(border, client, "", ack);
        }
        Exchange::Accepting { cseq, client } => {
            // The 2xx must have its ACK before the BYE, answer or not.
            let (cseq, client) = (*cseq, *client);
            let ack = border.acknowledge(leg, cseq, None);
            let tag = leg.dialog.remote_tag.clone();
            reinvite::remember_ack(border, client, &tag, ack);
        }
        Exchange::Answered(_) | Exchange::Idle => {}
    }
    leg.exchange = Exchange::Idle;
}

/// What was asked on a side of one who is no longer there concerns nobody any more, least of all the one who comes after him; and what he was asked
/// for by the other leg is not answered by him.
pub fn disown(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    for owner in border.clients.values_mut().filter(|owner| owner.leg() == Some((id, side))) {
        if matches!(owner, ClientOwner::Digit { .. }) {
            digits::disowned(call);
        }
        if matches!(owner, ClientOwner::Update { .. } | ClientOwner::Relayed { .. } | ClientOwner::Digit { .. }) {
            *owner = ClientOwner::Forgotten;
        }
    }
    for Waiting { request, .. } in call.waiting.drain(..) {
        border.reply(now, (&request.key, &request.message, &request.flow), 491, None, |_| {});
    }
}

/// A BYE of ours was answered, or never will be.
pub fn bye_done(call: &mut Call) {
    call.byes_due = call.byes_due.saturating_sub(1);
}

/// Both legs are done for; what remains is the media plane's report, and perhaps an ACK.
pub fn end(border: &mut Border, now: Time, call: &mut Call, by: ReleasedBy, reason: Reason) {
    if call.is_over() {
        return;
    }
    conclude(border, now, call, by, reason);
}

/// What ends with a call, whatever its stage.
pub fn conclude(border: &mut Border, now: Time, call: &mut Call, by: ReleasedBy, reason: Reason) {
    call.relay = None;
    call.note_media();
    call.record.ended(now, by, reason);
    branch::ended(border, now, call, reason);
    for timer in [
        Timer::NoResponse(call.id),
        Timer::TimerC(call.id),
        Timer::Reliable(call.id),
        Timer::Answer(call.id, Side::B),
        Timer::Hunt(call.id),
        Timer::SourceParty(call.id),
        Timer::EarlySign(call.id),
        Timer::Hold(call.id),
        Timer::Transfer(call.id),
    ] {
        border.timers.cancel(timer);
    }
    for side in [Side::A, Side::B] {
        border.timers.cancel(Timer::Session(call.id, side));
    }
    digits::disowned(call);
    border.rerouting.ended(call.id);
    transfer::leaving_overdue(border, now, call);
    border.load.ended(now, &call.admitted.peer.name, call.admitted.plan.as_ref().map(|plan| &plan.name));
    for Waiting { request, .. } in call.waiting.drain(..) {
        border.reply(now, (&request.key, &request.message, &request.flow), 487, None, |_| {});
    }
    if call.media.stream().is_none() {
        // Lent for an offer that failed before its stream was opened.
        for pair in [Side::A, Side::B].into_iter().filter_map(|side| call.media.addresses(side)) {
            border.release_ports(now, &pair);
        }
    }
    let commands = call.media.close();
    let closed = |command: &Command| if let Command::Close { stream } = command { Some(*stream) } else { None };
    let reports_due = commands.iter().filter_map(closed).collect();
    border.media(call.id, commands);
    let b_end = call.end(Side::B);
    match std::mem::replace(&mut call.stage, Stage::Over { reports_due }) {
        Stage::Hunting(hunt) => call.past.push((hunt.tag, hunt.call_id)),
        Stage::Up(leg) => call.past.push((leg.dialog.local_tag, leg.dialog.call_id)),
        Stage::Transferring(transfer) => {
            let transfer = *transfer;
            call.past.push((transfer.b.dialog.local_tag, transfer.b.dialog.call_id));
            let (Session::Ahead(other) | Session::Behind(other)) = transfer.session;
            let due = other.stream();
            transfer::discard(border, now, call.id, other);
            if let Stage::Over { reports_due } = &mut call.stage {
                reports_due.extend(due);
            }
        }
        Stage::Over { .. } => {}
    }
    call.b_end = b_end;
}

/// A stream of the call has been closed by the media plane. One that was not asked to close is lost, and with it the call: it would go on
/// without a sound.
pub fn reported(border: &mut Border, now: Time, call: &mut Call, stream: StreamId, report: Report) {
    call.record.media(report);
    let lost = call.media.stream() == Some(stream);
    let lost_to_transfer = call.transfer().is_some_and(|transfer| transfer.stream() == Some(stream));
    match &mut call.stage {
        Stage::Over { reports_due } => reports_due.retain(|due| *due != stream),
        _ if lost => {
            // What is gone need not be closed.
            call.media.close();
            let decision = Decision::refused("media", "the media plane gave the stream up", Reason::MediaWorker);
            border.decided(now, call.id, decision);
            by_border(border, now, call, Reason::MediaWorker);
        }
        // The one the call was to have with a transfer's target.
        _ if lost_to_transfer => transfer::failed(border, now, call, 503, Reason::MediaWorker),
        _ => {}
    }
}

/// Ends a call without waiting for anything any more, and files its record.
pub fn finish(border: &mut Border, now: Time, mut call: Box<Call>) {
    by_border(border, now, &mut call, Reason::Shutdown);
    file(border, now, *call);
}

/// The last thing done for a call.
pub fn file(border: &mut Border, now: Time, call: Call) {
    let mut call_ids = vec![call.a.dialog.call_id];
    border.tags.remove(&call.a.dialog.local_tag);
    for (tag, call_id) in call.past {
        border.tags.remove(&tag);
        call_ids.push(call_id);
    }
    border.timers.cancel(Timer::Answer(call.id, Side::A));
    lingering::ended(border, now, call.id);
    border.forget_later(now, call.id, call_ids);
    let record = call.record.file(call.id, now);
    border.fact(now, Some(call.id), What::CallEnded(Box::new(record)));
}
