//! The implicit subscription of a REFER (RFC 3515 §2.4, RFC 6665, RFC 4488, RFC 7647): NOTIFYs whose sipfrag (RFC 3420) says how the transfer stands.
//! One NOTIFY at a time, so that none overtakes another; of what could not be told meanwhile the newest counts.

use crate::signaling::b2bua::call::{Call, ClientOwner, Leg};
use crate::signaling::border::Border;
use crate::signaling::fact::{CallId, TransferEvent, What};
use crate::signaling::transport;
use crate::sip::{HeaderName, Message, Method, phrase};
use crate::time::Time;

/// How long the subscription lives at most, seconds: longer than a target is ever looked for.
pub const EXPIRES: u32 = 660;

/// What the status of a transfer is told by.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The REFER's CSeq, where it is not the dialog's first (RFC 3515 §2.4.6).
    id: Option<u32>,
    /// A NOTIFY waits for its answer.
    awaiting: bool,
    held: Option<u16>,
    /// The last thing has been said.
    terminated: bool,
}

impl Subscription {
    pub fn new(id: Option<u32>) -> Subscription {
        Subscription { id, awaiting: false, held: None, terminated: false }
    }
}

/// Whether the REFER asks not to be told (RFC 4488 §4).
pub fn is_declined(refer: &Message) -> bool {
    refer.text(HeaderName::ReferSub).is_some_and(|value| value.split(';').next().is_some_and(|value| value.trim().eq_ignore_ascii_case("false")))
}

/// Tells the one who referred; a final status ends the subscription.
pub fn notify(border: &mut Border, now: Time, call: CallId, leg: &mut Leg, status: u16) {
    let Some(subscription) = &mut leg.subscription else { return };
    if subscription.terminated {
        return;
    }
    if subscription.awaiting {
        subscription.held = Some(status);
        return;
    }
    subscription.awaiting = true;
    subscription.terminated = status >= 200;
    let state = if status >= 200 { "terminated;reason=noresource".to_owned() } else { format!("active;expires={EXPIRES}") };
    let event = subscription.id.map_or("refer".to_owned(), |id| format!("refer;id={id}"));
    let contact = transport::contact(&leg.listener);
    let owner = ClientOwner::Notify { call, tag: leg.dialog.local_tag.clone(), peer: leg.peer.name.clone() };
    border.request(now, leg, Method::Notify, owner, |notify| {
        notify.header("Event", event).header("Subscription-State", state).header("Contact", contact);
        notify.body("message/sipfrag;version=2.0", format!("SIP/2.0 {status} {}\r\n", phrase(status)).as_bytes());
    });
}

/// A NOTIFY was answered, or will never be. One that says there is no such subscription ends it; the dialog and the transfer go on.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, tag: &str, status: u16) {
    if status < 200 {
        return;
    }
    let id = call.id;
    let Some(leg) = call.leg_of(tag) else { return };
    let Some(subscription) = &mut leg.subscription else { return };
    subscription.awaiting = false;
    let held = subscription.held.take();
    if subscription.terminated || status >= 300 {
        leg.subscription = None;
        let peer = leg.peer.name.clone();
        if status >= 300 {
            border.fact(now, Some(id), What::Transfer(TransferEvent::Unheard { peer, status }));
        }
        return;
    }
    if let Some(status) = held {
        notify(border, now, id, leg, status);
    }
}
