//! Answers nobody waits for any more: a 2xx of another fork, after CANCEL, or after the call was given up gets its ACK and then a BYE
//! (RFC 3261 §13.2.2.4, §9.1); a repeated 2xx gets its ACK again.

use std::sync::Arc;

use crate::policy::flow::Flow;
use crate::signaling::b2bua::call::{ClientOwner, InviteOwner};
use crate::signaling::border::Border;
use crate::signaling::dialog::Dialog;
use crate::signaling::event::{Connect, Route};
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{Message, Method};
use crate::time::Time;

/// Repeats the ACK if this 2xx was acknowledged before; says whether it was.
pub fn repeated(border: &mut Border, key: ClientKey, message: &Message) -> bool {
    let Some(ClientOwner::Invite(owner)) = border.clients.get(&key) else { return false };
    let tag = message.to().ok().and_then(|to| to.tag().map(str::to_owned)).unwrap_or_default();
    let Some((_, route, bytes)) = owner.acks.iter().find(|(known, ..)| *known == tag) else { return false };
    let (route, bytes) = (route.clone(), bytes.clone());
    border.transactions.send_ack(route, bytes);
    true
}

/// Forks of one INVITE that are told apart, early or answered: what a Mediation Server may make (MaxEarlyDialogs), which forks to every device of a user.
/// What is beyond is not passed on, and a 2xx not worth an ACK and a BYE.
pub const FORKS: usize = 20;

/// Remembers the ACK that went out for the 2xx with this remote tag.
pub fn acknowledged(border: &mut Border, key: ClientKey, remote_tag: &str, ack: (Route, bytes::Bytes)) {
    if let Some(ClientOwner::Invite(owner)) = border.clients.get_mut(&key) {
        owner.acks.push((remote_tag.to_owned(), ack.0, ack.1));
    }
}

/// A 2xx that opens no leg.
pub fn turn_away(border: &mut Border, now: Time, key: ClientKey, flow: &Arc<Flow>, message: &Message) {
    if repeated(border, key, message) {
        return;
    }
    let Some(ClientOwner::Invite(owner)) = border.clients.get(&key).filter(|owner| !has_many_forks(owner)).cloned() else { return };
    let Ok(mut dialog) = Dialog::client(&owner.invite, message) else { return };
    let route = back(flow, &owner);
    let seq = dialog.last_seq();
    let ack = dialog.ack(seq, &transport::via(&owner.listener, &border.mint.branch())).finish();
    border.transactions.send_ack(route.clone(), ack.clone());
    acknowledged(border, key, &dialog.remote_tag, (route.clone(), ack));
    let branch = border.mint.branch();
    let mut bye = dialog.request(&Method::Bye, &transport::via(&owner.listener, &branch));
    bye.header("User-Agent", border.settings.product.as_bytes());
    let bye = border.transactions.request(now, &Method::Bye, &branch, route, bye.finish());
    border.clients.insert(bye, ClientOwner::Forgotten);
}

fn has_many_forks(owner: &ClientOwner) -> bool {
    matches!(owner, ClientOwner::Invite(owner) if owner.acks.len() >= FORKS)
}

fn back(flow: &Flow, owner: &InviteOwner) -> Route {
    if !flow.transport.is_reliable() {
        return Route::Datagram { listener: owner.listener.id, remote: flow.remote };
    }
    let connect =
        Connect { transport: flow.transport, remote: flow.remote, listener: owner.listener.id, peer: owner.peer.name.clone(), names: owner.names.clone() };
    Route::Flow { id: flow.id, otherwise: Some(connect) }
}
