//! How a call ends: BYE from either side, CANCEL, refusal, timers, silence, the drain's end (RFC 3261 §15, §9). Whoever ends it, both legs end, the
//! media plane lets go, and one record is filed.

use crate::media::control::{Report, Side};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::answer;
use crate::signaling::b2bua::call::{Attempt, Call, ClientOwner, Exchange, ServerRequest, Stage};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{ReleasedBy, What};
use crate::signaling::transaction::ServerKey;
use crate::sip::Method;
use crate::time::Time;

/// The peer of `side` hung up.
pub fn by_peer(border: &mut Border, now: Time, call: &mut Call, side: Side, bye: &ServerRequest) {
    border.reply(now, (&bye.key, &bye.message, &bye.flow), 200, None, |_| {});
    if call.is_over() {
        return;
    }
    if let Stage::Hunting(_) = call.stage {
        // A BYE in the early dialog (§15): as good as a CANCEL.
        if side == Side::A {
            stop_hunt(border, now, call);
            refuse_caller(border, now, call, 487, Reason::Cancelled, ReleasedBy::Caller);
        }
        return;
    }
    let id = call.id;
    if let Some(leg) = call.leg(side) {
        // §15.1.2: what the peer still waits for in this dialog is answered.
        answer::refuse(border, now, id, leg, 487, |_| {});
        leg.exchange = Exchange::Idle;
    }
    hang_up_side(border, now, call, side.other());
    let by = if side == Side::A { ReleasedBy::Caller } else { ReleasedBy::Called };
    end(border, now, call, by, Reason::NormalClearing);
}

/// The border ends the call.
pub fn by_border(border: &mut Border, now: Time, call: &mut Call, reason: Reason) {
    match call.stage {
        Stage::Over { .. } => {}
        Stage::Hunting(_) => {
            stop_hunt(border, now, call);
            let status = reason.status().unwrap_or(480);
            refuse_caller(border, now, call, status, reason, ReleasedBy::Border);
        }
        Stage::Up(_) => {
            hang_up_side(border, now, call, Side::A);
            hang_up_side(border, now, call, Side::B);
            end(border, now, call, ReleasedBy::Border, reason);
        }
    }
}

/// Nothing was heard from either side for the configured time. A call on hold is meant to be silent.
pub fn silent(border: &mut Border, now: Time, call: &mut Call) {
    if !call.media.held(Side::A) && !call.media.held(Side::B) {
        by_border(border, now, call, Reason::MediaSilent);
    }
}

/// CANCEL for the INVITE of `invite` (§9.2); its own 200 has been sent.
pub fn cancelled(border: &mut Border, now: Time, call: &mut Call, invite: Option<ServerKey>) {
    let holds = |leg: &crate::signaling::b2bua::call::Leg| matches!(&leg.exchange, Exchange::Asked(asked) if Some(asked.request.key) == invite);
    if matches!(call.stage, Stage::Hunting(_)) && holds(&call.a) {
        stop_hunt(border, now, call);
        return refuse_caller(border, now, call, 487, Reason::Cancelled, ReleasedBy::Caller);
    }
    // A re-INVITE is taken back: so is ours on the other leg.
    let id = call.id;
    for side in [Side::A, Side::B] {
        let Some((leg, other)) = call.legs(side) else { return };
        if holds(leg) {
            if let Exchange::Asking { client, .. } = other.exchange {
                border.transactions.cancel(now, client);
            }
            return answer::refuse(border, now, id, leg, 487, |_| {});
        }
    }
}

/// A response of ours could not be delivered: without the answer there is no call.
pub fn reply_lost(border: &mut Border, now: Time, call: &mut Call, key: ServerKey) {
    let lost = |leg: &crate::signaling::b2bua::call::Leg| match &leg.exchange {
        Exchange::Asked(asked) => asked.request.key == key,
        Exchange::Answered(answered) => answered.key == key,
        _ => false,
    };
    let hunting = matches!(call.stage, Stage::Hunting(_));
    if lost(&call.a) && hunting {
        stop_hunt(border, now, call);
        call.a.exchange = Exchange::Idle;
        end(border, now, call, ReleasedBy::Border, Reason::TargetUnreachable);
    } else if lost(&call.a) {
        call.a.exchange = Exchange::Idle;
        by_border(border, now, call, Reason::TargetUnreachable);
    }
}

/// A 2xx of ours was not acknowledged yet: again, or the end (§13.3.1.4).
pub fn answer_timer(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    let given_up = match (side, &mut call.stage) {
        (Side::A, _) => answer::answer_timer(border, now, id, &mut call.a),
        (Side::B, Stage::Up(leg)) => answer::answer_timer(border, now, id, leg),
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
    let Some(leg) = call.leg(side) else { return };
    match &mut leg.exchange {
        Exchange::Answered(answered) if side == Side::A => {
            answered.then_bye = true;
            return;
        }
        Exchange::Asked(_) => answer::refuse(border, now, id, leg, 487, |_| {}),
        Exchange::Asking { client, .. } => {
            let client = *client;
            border.transactions.cancel(now, client);
        }
        Exchange::Accepting { cseq, client } => {
            // The 2xx must have its ACK before the BYE, answer or not.
            let (cseq, client) = (*cseq, *client);
            let ack = border.acknowledge(leg, cseq, None);
            let tag = leg.dialog.remote_tag.clone();
            super::forking::acknowledged(border, client, &tag, ack);
        }
        Exchange::Answered(_) | Exchange::Idle => {}
    }
    leg.exchange = Exchange::Idle;
    border.request(now, leg, Method::Bye, ClientOwner::Bye { call: id }, |_| {});
    call.byes_due += 1;
}

/// A BYE of ours was answered, or never will be.
pub fn bye_done(call: &mut Call) {
    call.byes_due = call.byes_due.saturating_sub(1);
}

/// Both legs are done for; what remains is the media plane's report, and perhaps an ACK.
fn end(border: &mut Border, now: Time, call: &mut Call, by: ReleasedBy, reason: Reason) {
    if call.is_over() {
        return;
    }
    call.note_media();
    call.record.ended(now, by, reason);
    for timer in [Timer::NoResponse(call.id), Timer::TimerC(call.id), Timer::Reliable(call.id), Timer::Answer(call.id, Side::B)] {
        border.timers.cancel(timer);
    }
    for side in [Side::A, Side::B] {
        border.timers.cancel(Timer::Session(call.id, side));
    }
    border.load.ended(&call.a.peer.name);
    let commands = call.media.close();
    let reports_due = commands.iter().filter(|command| matches!(command, crate::media::control::Command::Close { .. })).count();
    border.media(call.id, commands);
    let b_tag = match std::mem::replace(&mut call.stage, Stage::Over { reports_due }) {
        Stage::Hunting(hunt) => Some((hunt.tag, hunt.call_id)),
        Stage::Up(leg) => Some((leg.dialog.local_tag.clone(), leg.dialog.call_id.clone())),
        Stage::Over { .. } => None,
    };
    call.b_names = b_tag;
}

/// A stream of the call has been closed by the media plane.
pub fn reported(call: &mut Call, report: Report) {
    call.record.media(report);
    if let Stage::Over { reports_due } = &mut call.stage {
        *reports_due = reports_due.saturating_sub(1);
    }
}

/// The last thing done for a call.
pub fn file(border: &mut Border, now: Time, call: Call) {
    border.tags.remove(&call.a.dialog.local_tag);
    border.call_ids.remove(&call.a.dialog.call_id);
    if let Some((tag, call_id)) = &call.b_names {
        border.tags.remove(tag);
        border.call_ids.remove(call_id);
    }
    border.timers.cancel(Timer::Answer(call.id, Side::A));
    let record = call.record.file(call.id, now);
    border.fact(now, Some(call.id), What::CallEnded(Box::new(record)));
}
