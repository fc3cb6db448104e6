//! Refreshes of ours (RFC 4028 §10): when one is due, what comes of it, and the end of a session nobody refreshed.

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::verdict::Reason;
use crate::sdp::Description;
use crate::signaling::b2bua::call::{Call, Exchange, Leg, Purpose};
use crate::signaling::b2bua::transfer::Session;
use crate::signaling::b2bua::{modify, reinvite, release, update};
use crate::signaling::border::Border;
use crate::signaling::fact::CallId;
use crate::signaling::session::session_timer::SessionTimeout;
use crate::sip::Message;
use crate::time::Time;

/// A refresh that could not be had now is tried again after this.
const AGAIN: Duration = Duration::from_secs(5);

/// It is time to refresh, or the peer did not.
pub fn session_timer(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    let id = call.id;
    // One whose session is not the call's for now is asked when it is again.
    let elsewhere = call.transfer().is_some_and(|transfer| transfer.by == side && matches!(transfer.session, Session::Behind(_)));
    let last_sent = call.media.last_sent(side).map(Description::write);
    let can_offer = call.media.can_offer(side.other());
    let Some(leg) = call.leg(side) else { return };
    match leg.timer.timeout(now) {
        SessionTimeout::Nothing => {}
        SessionTimeout::Expired => return release::by_border(border, now, call, Reason::SessionExpired),
        SessionTimeout::Refresh if leg.allows_update => update::send(border, now, id, leg, None, None),
        SessionTimeout::Refresh if can_offer && !elsewhere && matches!(leg.exchange, Exchange::Idle) => {
            reinvite::send(border, now, id, leg, last_sent.as_deref(), Purpose::Refresh);
        }
        SessionTimeout::Refresh => leg.timer.refresh_refused(now, AGAIN),
    }
    if let Some(leg) = call.leg(side) {
        border.set_session_timer(id, side, &leg.timer);
    }
}

/// A refresh of ours was refused with something that leaves the session standing.
pub fn refused(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, status: u16) {
    // RFC 3261 §14.1: after glare the side that made the Call-ID waits longer.
    let wait = match (status, leg.side) {
        (491, Side::A) => Duration::from_millis(10 * border.mint.below(201)),
        (491, Side::B) => Duration::from_millis(2100 + 10 * border.mint.below(191)),
        _ => AGAIN,
    };
    leg.timer.refresh_refused(now, wait);
    border.set_session_timer(call, leg.side, &leg.timer);
}

/// The answer to what we offered again: it may move the peer's media.
pub fn described(border: &mut Border, now: Time, call: &mut Call, side: Side, message: &Message) {
    let Ok(Some(answer)) = modify::described(message) else { return };
    match call.media.refreshed(side, &answer) {
        Ok(commands) => border.media(call.id, commands),
        Err(refusal) => release::by_border(border, now, call, refusal.0),
    }
}
