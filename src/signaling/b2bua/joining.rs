//! The last part of a transfer: the one who was referred is connected with the target by a re-INVITE in his own dialog, early where the target lets
//! something be heard early, or else led back to the one who refers (RFC 5589 §6, RFC 3725 §4).

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Call, Exchange, Leg, Purpose, Stage};
use crate::signaling::b2bua::transfer::{self, Aim, Join, Session, Transferor};
use crate::signaling::b2bua::{lingering, modify, referral, reinvite, release, subscription};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{TransferEvent, What};
use crate::sip::Message;
use crate::time::Time;

/// One who refers and has heard that it is done hangs up by himself within this, or we do.
const LEAVING: Duration = Duration::from_secs(5);
/// The leg of the one referred is busy with something else: again after this.
const BUSY: Duration = Duration::from_millis(500);
/// Together half a minute, as long as any transaction takes.
const MOST_DELAYS: u32 = 64;

/// What the target says of its media.
pub fn described(border: &mut Border, _now: Time, call: &mut Call, message: &Message) -> Result<(), Reason> {
    let id = call.id;
    let description = modify::described(message)?.ok_or(Reason::MediaUnacceptable)?;
    let Some(by) = call.transfer().map(|transfer| transfer.by) else { return Err(Reason::NoSuchDialog) };
    let session = call.target_session().ok_or(Reason::NoSuchDialog)?;
    let (is_new, commands) = session.partner_answered(by, &description).map_err(|refusal| refusal.0)?;
    border.media(id, commands);
    if let Some(transfer) = call.transfer() {
        transfer.join = match transfer.join {
            Join::Asked { again } => Join::Asked { again: again || is_new },
            Join::Done if !is_new => Join::Done,
            Join::NotDue | Join::Due | Join::Done => Join::Due,
        };
    }
    Ok(())
}

/// Asks the one referred, if that is due and he is not busy.
pub fn ask(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    let Some((stays, by, target)) = call.transfer().filter(|transfer| transfer.join == Join::Due).map(|t| (t.stays(), t.by, t.target().cloned())) else {
        return;
    };
    if !is_free(border, now, call, stays) {
        return;
    }
    let inside = target.map_or(call.inside(), |target| referral::inside(call, by, &target));
    if let Stage::Transferring(transfer) = &mut call.stage
        && let Session::Ahead(ahead) = &mut transfer.session
    {
        ahead.keep_up(stays, &call.media);
    }
    let Some(session) = call.target_session() else { return };
    let offer = session.offer_stayer(stays, &mut border.supply(now, inside));
    let (Some(leg), Ok(offer)) = (call.leg(stays), offer) else { return transfer::failed(border, now, call, 488, Reason::MediaUnacceptable) };
    reinvite::send(border, now, id, leg, Some(&offer), Purpose::Join);
    if let Some(transfer) = call.transfer() {
        transfer.join = Join::Asked { again: false };
    }
}

/// Whether a re-INVITE can go out on `side` now; if not, it is tried again soon, though not for ever.
fn is_free(border: &mut Border, now: Time, call: &mut Call, side: Side) -> bool {
    let id = call.id;
    if call.leg(side).is_some_and(|leg| matches!(leg.exchange, Exchange::Idle)) {
        return true;
    }
    let Some(transfer) = call.transfer() else { return false };
    transfer.delays += 1;
    match transfer.delays {
        ..=MOST_DELAYS => border.timers.set(Timer::Transfer(id), now + BUSY),
        _ => release::by_border(border, now, call, Reason::TransferFailed),
    }
    false
}

/// His 2xx. It has been acknowledged.
pub fn accepted(border: &mut Border, now: Time, call: &mut Call, side: Side, purpose: Purpose, message: &Message) {
    let id = call.id;
    let description = modify::described(message).and_then(|description| description.ok_or(Reason::MediaUnacceptable));
    if purpose == Purpose::TakeBack {
        return taken_back(border, now, call, side, message);
    }
    let Some(session) = call.target_session() else { return };
    let joined = description.and_then(|description| session.joined(side, &description).map_err(|refusal| refusal.0));
    let commands = match joined {
        Ok(commands) => commands,
        Err(reason) => return unjoined(border, now, call, reason),
    };
    border.media(id, commands);
    let Stage::Transferring(transfer) = &mut call.stage else { return };
    let again = matches!(transfer.join, Join::Asked { again: true });
    transfer.join = if again { Join::Due } else { Join::Done };
    if let Session::Ahead(ahead) = &mut transfer.session {
        // What the other still says is not to be heard besides.
        let quiet = call.media.quiet(side);
        std::mem::swap(ahead, &mut call.media);
        let behind = ahead.clone();
        transfer.session = Session::Behind(behind);
        border.media(id, quiet);
    }
    let (is_answered, is_over) = (matches!(transfer.aim, Aim::Answered(_)), matches!(transfer.aim, Aim::TakingBack));
    modify::agreed(border, now, call);
    match (is_over, is_answered) {
        (true, _) => take_back(border, now, call),
        (false, _) if again => ask(border, now, call),
        (false, true) => complete(border, now, call),
        (false, false) => {}
    }
}

/// He would not be connected, or what he answered cannot be used.
fn unjoined(border: &mut Border, now: Time, call: &mut Call, reason: Reason) {
    let Some(transfer) = call.transfer() else { return };
    transfer.join = Join::NotDue;
    match (&transfer.aim, &transfer.session) {
        (Aim::Answered(_), _) => transfer::failed(border, now, call, 488, reason),
        (Aim::TakingBack, Session::Ahead(_)) => transfer::gone_back(border, now, call),
        (Aim::TakingBack, Session::Behind(_)) => take_back(border, now, call),
        _ => {}
    }
}

/// His refusal of a re-INVITE of ours.
pub fn refused(border: &mut Border, now: Time, call: &mut Call, side: Side, purpose: Purpose, status: u16, message: Option<&Message>) {
    let id = call.id;
    if status == 481 || status == 408 {
        return release::by_border(border, now, call, Reason::DialogGone);
    }
    let min_se = message.and_then(|message| message.min_se().ok().flatten());
    let is_our_call_id = side == Side::B || call.invite.call_id().map_or(true, |id| id != call.a.dialog.call_id);
    let again = match status {
        // RFC 3261 §14.1: after glare the side that made the Call-ID waits longer.
        491 if !is_our_call_id => Some(Duration::from_millis(10 * border.mint.below(201))),
        491 => Some(Duration::from_millis(2100 + 10 * border.mint.below(191))),
        422 if call.leg(side).is_some_and(|leg| leg.timer.on_too_small(min_se)) => Some(Duration::ZERO),
        500 => Some(BUSY),
        _ => None,
    };
    let Some(transfer) = call.transfer() else { return };
    transfer.delays += 1;
    match (again, purpose) {
        (Some(wait), _) if transfer.delays <= MOST_DELAYS => {
            if purpose == Purpose::Join {
                transfer.join = Join::Due;
            }
            border.timers.set(Timer::Transfer(id), now + wait);
        }
        (_, Purpose::TakeBack) => release::by_border(border, now, call, Reason::TransferFailed),
        (_, _) => unjoined(border, now, call, Reason::MediaUnacceptable),
    }
}

/// The session he had is offered to him again.
pub fn take_back(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    let Some(stays) = call.transfer().map(|transfer| transfer.stays()) else { return };
    if !is_free(border, now, call, stays) {
        return;
    }
    let Stage::Transferring(transfer) = &mut call.stage else { return };
    let Session::Behind(behind) = &mut transfer.session else { return };
    let offer = behind.take_back(stays, &call.media);
    let (Some(leg), Some(offer)) = (call.leg(stays), offer) else { return release::by_border(border, now, call, Reason::TransferFailed) };
    reinvite::send(border, now, id, leg, Some(&offer), Purpose::TakeBack);
}

fn taken_back(border: &mut Border, now: Time, call: &mut Call, side: Side, message: &Message) {
    let id = call.id;
    let Stage::Transferring(transfer) = &mut call.stage else { return };
    let Session::Behind(behind) = &mut transfer.session else { return };
    let answer = modify::described(message).and_then(|answer| answer.ok_or(Reason::MediaUnacceptable));
    match answer.and_then(|answer| behind.refreshed(side, &answer).map_err(|refusal| refusal.0)) {
        Ok(commands) => {
            std::mem::swap(behind, &mut call.media);
            let ahead = behind.clone();
            transfer.session = Session::Ahead(ahead);
            transfer.join = Join::NotDue;
            border.media(id, commands);
            modify::agreed(border, now, call);
            transfer::gone_back(border, now, call);
        }
        Err(reason) => release::by_border(border, now, call, reason),
    }
}

/// The two are connected: the target's leg is the call's, the one who refers is told and goes.
pub fn complete(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    let stage = std::mem::replace(&mut call.stage, Stage::Over { reports_due: Vec::new() });
    let Stage::Transferring(transfer) = stage else {
        call.stage = stage;
        return;
    };
    let transfer = *transfer;
    let Aim::Answered(target) = transfer.aim else { return };
    for timer in [Timer::Hunt(id), Timer::Transfer(id), Timer::NoResponse(id), Timer::TimerC(id)] {
        border.timers.cancel(timer);
    }
    let by = transfer.by;
    border.set_session_timer(id, by, &target.timer);
    let peer = target.peer.name.clone();
    let transferor = match by {
        Side::A => {
            let transferor = std::mem::replace(&mut call.a, *target);
            call.stage = Stage::Up(Box::new(transfer.b));
            transferor
        }
        Side::B => {
            call.stage = Stage::Up(target);
            transfer.b
        }
    };
    call.admitted = transfer.way;
    release::disown(border, now, call, by);
    if let Some(record) = call.record.transfers.last_mut() {
        record.status = Some(200);
    }
    let (Session::Ahead(other) | Session::Behind(other)) = transfer.session;
    transfer::discard(border, now, id, other);
    dismiss(border, now, call, transferor, transfer.transferor);
    call.note_media();
    border.fact(now, Some(id), What::Transfer(TransferEvent::Done { side: by, peer }));
    lingering::moved(border, now, call);
}

/// The one who refers hears that it is done; he is given a moment to hang up by himself.
fn dismiss(border: &mut Border, now: Time, call: &mut Call, mut leg: Leg, transferor: Transferor) {
    let id = call.id;
    border.timers.cancel(Timer::Answer(id, leg.side));
    release::leave(border, now, id, &mut leg);
    subscription::notify(border, now, id, &mut leg, 200);
    match transferor {
        Transferor::Here => {
            // Another who has not gone yet has had his time.
            transfer::leaving_overdue(border, now, call);
            call.leaving = Some(Box::new(leg));
            border.timers.set(Timer::Leaving(id), now + LEAVING);
        }
        Transferor::Left => call.past.push((leg.dialog.local_tag, leg.dialog.call_id)),
    }
}
