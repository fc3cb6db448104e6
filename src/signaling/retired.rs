//! Listeners that a reload took out. What is under way over them, dialogs (RFC 3261 §12) and transactions (§17), goes on; nothing new begins there; one
//! that nothing uses any more is told of by `Action::Unused`.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::{Flow, ListenerId};
use crate::policy::settings::Peer;
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Attempt, Call, Hunt, Leg, Stage};
use crate::signaling::b2bua::transfer::Aim;
use crate::signaling::border::{Border, Timer};
use crate::signaling::companion;
use crate::signaling::event::{Action, Route};
use crate::signaling::fact::{CallId, What};
use crate::signaling::settings::Settings;
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// How often it is looked, while there are any: each look is one at every call.
const GLANCE: Duration = Duration::from_secs(1);

/// Those that are still used, or were when it was last looked.
#[derive(Debug, Default)]
pub struct Retired(Vec<ListenerId>);

/// Before other settings come into force. One that is there again goes on as if it had never been taken out.
pub fn adopt(border: &mut Border, now: Time, settings: &Settings) {
    let stays = |id: ListenerId| settings.listeners.iter().any(|listener| listener.id == id);
    let known = border.settings.listeners.iter().map(|listener| listener.id);
    border.retired.0.extend(known);
    border.retired.0.retain(|id| !stays(*id));
    if border.retired.0.is_empty() {
        border.timers.cancel(Timer::Retired);
    } else {
        border.timers.set(Timer::Retired, now + GLANCE);
    }
}

/// Tells of those that nothing uses any more.
pub fn look(border: &mut Border, now: Time, calls: &HashMap<CallId, Box<Call>>) {
    let is_used = |id: ListenerId| calls.values().any(|call| call.goes_by(id)) || border.transactions.go_by(id);
    let (used, unused): (Vec<ListenerId>, Vec<ListenerId>) = border.retired.0.iter().partition(|id| is_used(**id));
    if !used.is_empty() {
        border.timers.set(Timer::Retired, now + GLANCE);
    }
    border.retired.0 = used;
    unused.into_iter().for_each(|id| border.act(Action::Unused(id)));
}

/// Whether a request begins something by a listener that was taken out. Over UDP that is met as by a closed port; who has a connection open is told to go
/// elsewhere.
pub fn turns_away(border: &mut Border, now: Time, flow: &Arc<Flow>, peer: &Arc<Peer>, message: &Message, route: &Route) -> bool {
    let is_there = border.settings.listeners.iter().any(|listener| listener.id == flow.listener);
    if is_there || companion::is_known(border, flow, peer, message) {
        return false;
    }
    let method = message.method().map(|method| method.as_str().to_owned()).unwrap_or_default();
    if route.is_datagram() {
        let decision = Decision::refused("listener", "a listener that was taken out takes nothing new", Reason::ListenerRemoved)
            .comparing("listener", flow.local.to_string())
            .comparing("peer", String::from(&*peer.name))
            .comparing("request", method);
        border.fact(now, None, What::Stranger { transport: flow.transport, remote: flow.remote, decision });
    } else if message.method() != Some(&Method::Ack) {
        border.fact(now, None, What::Standalone { method, peer: peer.name.clone(), status: 503, reason: Reason::ListenerRemoved });
        let tag = border.mint.tag();
        let reply = transport::response(message, flow, 503, Some(&tag)).finish();
        border.transactions.send_stateless(route.clone(), reply);
    }
    true
}

impl Call {
    /// Whether a leg of it, or one that is being made, speaks by this listener.
    fn goes_by(&self, listener: ListenerId) -> bool {
        let leg = |leg: &Leg| leg.listener.id == listener || leg.flow.listener == listener;
        let target = |hunt: &Hunt| matches!(&hunt.attempt, Attempt::Inviting { listener: by, .. } if by.id == listener);
        let other = match &self.stage {
            Stage::Hunting(hunt) => target(hunt),
            Stage::Up(b) => leg(b),
            Stage::Transferring(transfer) => {
                let aim = match &transfer.aim {
                    Aim::Hunting(hunt) => target(hunt),
                    Aim::Splicing(aimed) | Aim::Answered(aimed) => leg(aimed),
                    Aim::TakingBack => false,
                };
                aim || leg(&transfer.b)
            }
            Stage::Over { .. } => false,
        };
        other || leg(&self.a) || self.leaving.as_deref().is_some_and(leg)
    }
}
