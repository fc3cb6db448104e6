//! The INVITE to a transfer's target: in whose name it is made, who referred him (RFC 3892), and what it offers.

use crate::media::control::Side;
use crate::policy::caller;
use crate::policy::settings::Peer;
use crate::policy::topology_hiding::{self, Carried, Crossing};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Call, Candidate, Leg};
use crate::signaling::b2bua::transfer::{Aim, Join, Transfer};
use crate::signaling::border::Border;
use crate::signaling::session::offer_answer::Terms;
use crate::signaling::settings::Listener;
use crate::sip::NameAddr;
use crate::time::Time;

/// What an INVITE to the target says of the one who is transferred, and of who refers him (RFC 3892 §2.1).
pub struct Letter {
    pub from: String,
    pub referred_by: Option<String>,
    pub carried: Carried,
    pub hops: u32,
}

pub fn letter(call: &Call, transfer: &Transfer, candidate: &Candidate, listener: &Listener) -> Option<Letter> {
    let Aim::Hunting(hunt) = &transfer.aim else { return None };
    let tag = &hunt.tag;
    let stays = if transfer.by == Side::A { &transfer.b } else { &call.a };
    let transferor = if transfer.by == Side::A { &call.a } else { &transfer.b };
    let crossing = Crossing { from: &stays.peer, to: &candidate.peer, ours: listener.host(), plan: transfer.way.plan.as_deref(), called: &transfer.way.called };
    let is_caller = call.invite.call_id().is_ok_and(|id| id == stays.dialog.call_id);
    let (from, carried) = if is_caller {
        (topology_hiding::from_value(&crossing, &call.invite, tag), topology_hiding::carry(&crossing, &call.invite))
    } else {
        (remote_value(&crossing, stays, tag), Carried::default())
    };
    let referrer = Crossing { from: &transferor.peer, ..crossing };
    let written = transfer.referred_by.as_ref().and_then(|value| NameAddr::parse(value.as_bytes()).ok());
    let referred_by = written.and_then(|address| topology_hiding::uri(&referrer, &address.parsed_uri().ok()?)).map(|uri| format!("<{uri}>"));
    Some(Letter { from, referred_by, carried, hops: transfer.hops })
}

/// From for one who did not call us: as he was called.
fn remote_value(crossing: &Crossing<'_>, leg: &Leg, tag: &str) -> String {
    let remote = leg.dialog.remote_value();
    let address = NameAddr::parse(remote).ok();
    let uri = match crossing.plan.filter(|_| crossing.to.kind.is_um()) {
        // UM refuses whom its plan does not know the form of, and asks an extension for no more than the PIN.
        Some(plan) => address.and_then(|address| {
            let user = caller::of_user(plan, crossing.from, &address.parsed_uri().ok()?.user_decoded())?;
            Some(format!("sip:{}@{}", topology_hiding::escaped(&user), crossing.ours))
        }),
        None => address.and_then(|address| topology_hiding::uri(crossing, &address.parsed_uri().ok()?)),
    };
    match uri {
        Some(uri) => format!("<{uri}>;tag={tag}"),
        None => format!("\"Anonymous\" <{}>;tag={tag}", topology_hiding::ANONYMOUS),
    }
}

/// The session description for one target, as its leg's plan wants it, with keys no other has seen.
pub fn offer(border: &mut Border, now: Time, call: &mut Call, candidate: &Candidate, terms: Terms) -> Result<Vec<u8>, Reason> {
    let id = call.id;
    let Some(by) = call.transfer().map(|transfer| transfer.by) else { return Err(Reason::NoRoute) };
    let inside = inside(call, by, &candidate.peer);
    if let Some(transfer) = call.transfer().filter(|transfer| transfer.join == Join::Due) {
        // That was said by another.
        transfer.join = Join::NotDue;
    }
    let Some(session) = call.target_session() else { return Err(Reason::NoRoute) };
    session.next_partner(by, terms);
    let outcome = session.offer_partner(by, &mut border.supply(now, inside)).map_err(|refusal| refusal.0)?;
    border.media(id, outcome.commands);
    Ok(outcome.sdp)
}

/// Which sides of the session with the target face UM.
pub fn inside(call: &Call, by: Side, target: &Peer) -> [bool; 2] {
    let mut inside = call.inside();
    inside[usize::from(by == Side::B)] = target.kind.is_um();
    inside
}
