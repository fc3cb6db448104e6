//! REFER handed to the peer of the other leg (peer key `refer = "relay"`; RFC 3515, RFC 5589 §6 with the peer as transferee): it calls the target itself, and
//! both legs end when it has it. Nothing of UM's REFER crosses but the number, as the peer knows it, and who referred, as at our host.
//!
//! The one who refers hears 202 when the peer has said so, or when the border has taken it upon itself: because the peer will not, or after
//! [`PATIENCE`], well before his own transaction ends. Until the peer's REFER has failed for good nothing else is called, lest a target be called twice.
//! What NOTIFYs of the peer say goes to the one who referred as a status of our own writing; each is answered at once, and the newest counts.

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::screening::Admitted;
use crate::policy::settings::PeerHost;
use crate::policy::topology_hiding::{self, Crossing};
use crate::policy::transfer::{Kind, Wanted};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::attended::{self, Splice};
use crate::signaling::b2bua::call::{Call, ClientOwner, Leg, ServerRequest, Waiting};
use crate::signaling::b2bua::{modify, release, subscription, transfer};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{Back, TransferEvent, What};
use crate::signaling::transaction::ServerKey;
use crate::signaling::transport;
use crate::sip::{HeaderName, Message, Method, NameAddr, Replaces, Uri};
use crate::time::Time;

/// How long the one who refers waits for the peer's word: his transaction ends after 32 s (RFC 3261 §17.1.2.2).
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the peer's subscription lives, as ours does.
const LONGEST: Duration = Duration::from_secs(subscription::EXPIRES as u64);

/// A REFER the peer of the other leg was handed.
pub struct Relay {
    /// The side of the one who refers.
    by: Side,
    refer: Message,
    wanted: Wanted,
    otherwise: Otherwise,
    /// His REFER, while it waits in `Call::waiting`.
    due: Option<ServerKey>,
    /// CSeq of our REFER.
    cseq: u32,
    /// The peer does it.
    taken: bool,
}

/// What the border does itself if the peer will not.
pub enum Otherwise {
    Call(Kind, Box<Admitted>),
    /// The dialog to be replaced, as the one who refers named it.
    Splice(String),
}

impl Otherwise {
    fn kind(&self) -> Kind {
        match self {
            Otherwise::Call(kind, _) => *kind,
            Otherwise::Splice(_) => Kind::Attended,
        }
    }
}

/// Where the peer is to find a number: at home.
pub fn number_at(leg: &Leg, number: &str) -> String {
    let host = leg.peer.hosts.iter().find_map(|host| match host {
        PeerHost::Address(address) => Some(address.to_string()),
        PeerHost::Name(name) => Some(name.to_string()),
        PeerHost::Network(_) => None,
    });
    match host {
        Some(host) => topology_hiding::request_uri(number, &host, leg.peer.port, leg.peer.transport),
        None => topology_hiding::request_uri(number, leg.listener.host(), None, leg.peer.transport),
    }
}

/// The peer's own other dialog with us, as it knows it (RFC 3891 §3: `to-tag` is the tag of who is asked).
pub fn dialog_of(leg: &Leg) -> Option<String> {
    let contact = Uri::parse(&leg.dialog.remote_target).ok()?;
    let dialog = &leg.dialog;
    let replaces = Replaces { call_id: &dialog.call_id, to_tag: &dialog.remote_tag, from_tag: &dialog.local_tag, early_only: false };
    Some(format!("{}?Replaces={}", Uri { headers: None, password: None, ..contact }, replaces.escaped()))
}

/// Hands the REFER on. Its sender has no answer yet.
pub fn begin(border: &mut Border, now: Time, call: &mut Call, by: Side, request: ServerRequest, wanted: Wanted, way: (Otherwise, String)) {
    let (id, (otherwise, refer_to)) = (call.id, way);
    let ours = call.leg(by.other()).map(|leg| leg.listener.host().to_owned()).unwrap_or_default();
    let referred_by = referred_by(call, by, &request.message, &ours);
    let Some((_, leg)) = call.legs(by) else { return modify::refuse(border, now, &request, Reason::TransferPending) };
    let (peer, cseq, contact) = (leg.peer.name.clone(), leg.dialog.last_seq().saturating_add(1), transport::contact(&leg.listener));
    border.request(now, leg, Method::Refer, ClientOwner::Refer { call: id, cseq, peer: peer.clone() }, |refer| {
        refer.header("Contact", contact).header_fmt("Refer-To", format_args!("<{refer_to}>"));
        if let Some(uri) = referred_by {
            refer.header_fmt("Referred-By", format_args!("<{uri}>"));
        }
    });
    border.fact(now, Some(id), What::Transfer(TransferEvent::Relayed { side: by.other(), peer }));
    border.timers.set(Timer::Transfer(id), now + PATIENCE);
    border.servers.insert(request.key, id);
    let (refer, due) = (request.message.clone(), Some(request.key));
    call.relay = Some(Box::new(Relay { by, refer, wanted, otherwise, due, cseq, taken: false }));
    call.waiting.push(Waiting { request, session: None });
}

/// Who referred, as the other side may know him.
fn referred_by(call: &mut Call, by: Side, refer: &Message, ours: &str) -> Option<String> {
    let plan = call.admitted.plan.clone();
    let called = call.admitted.called.clone();
    let (leg, other) = call.legs(by)?;
    let crossing = Crossing { from: &leg.peer, to: &other.peer, ours, plan: plan.as_deref(), called: &called };
    let written = refer.text(HeaderName::ReferredBy)?;
    topology_hiding::uri(&crossing, &NameAddr::parse(written.as_bytes()).ok()?.parsed_uri().ok()?)
}

/// REFER with Replaces. The peer can only be told of a dialog of its own; any other two calls are made one here. `None`: the border holds no such.
pub fn spliced(border: &mut Border, now: Time, call: &mut Call, splice: &Splice, asked: (ServerKey, Wanted), other: Option<(&mut Call, Side)>) {
    let (key, wanted) = asked;
    let Some(Waiting { request, .. }) = call.take_waiting(key) else { return };
    let fits = match &other {
        Some((other, theirs)) => attended::fits(border, now, call, splice, other, *theirs),
        None => Err(attended::unknown(border)),
    };
    let (by, to) = (splice.side, wanted.uri.clone());
    match (fits, other) {
        (Err((_, reason)), _) => transfer::refused(border, now, call, by, &request, to, reason),
        (Ok(()), None) => {}
        (Ok(()), Some((other, theirs))) => {
            let name = call.peer(by.other()).map(|peer| peer.name.clone());
            let dialog = other.leg(theirs.other()).filter(|leg| Some(&leg.peer.name) == name.as_ref()).and_then(|leg| dialog_of(leg));
            match dialog {
                Some(refer_to) => begin(border, now, call, by, request, wanted, (Otherwise::Splice(splice.replaces.clone()), refer_to)),
                None => {
                    transfer::accepted(border, now, call, by, &request, &wanted, Kind::Attended);
                    attended::join(border, now, call, by, other, theirs);
                }
            }
        }
    }
}

/// The one who refers hears that it is being done, by whomever.
fn accepted(border: &mut Border, now: Time, call: &mut Call) {
    let Some((by, due, wanted, kind)) = call.relay.as_mut().map(|relay| (relay.by, relay.due.take(), relay.wanted.clone(), relay.otherwise.kind())) else {
        return;
    };
    let Some(Waiting { request, .. }) = due.and_then(|key| call.take_waiting(key)) else { return };
    transfer::accepted(border, now, call, by, &request, &wanted, kind);
    if let Some(record) = call.record.transfers.last_mut() {
        record.relayed = true;
    }
}

fn taken(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    accepted(border, now, call);
    if let Some(relay) = call.relay.as_mut().filter(|relay| !relay.taken) {
        relay.taken = true;
        border.timers.set(Timer::Transfer(id), now + LONGEST);
    }
}

/// The peer's answer to our REFER; 0: none came, and none will.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, cseq: u32, status: u16) {
    let id = call.id;
    let Some(relay) = call.relay.as_ref().filter(|relay| relay.cseq == cseq && !relay.taken) else { return };
    match status {
        1..=199 => {}
        200..=299 => taken(border, now, call),
        481 => release::by_border(border, now, call, Reason::DialogGone),
        _ => {
            let by = relay.by;
            accepted(border, now, call);
            border.timers.cancel(Timer::Transfer(id));
            let Some(relay) = call.relay.take() else { return };
            let peer = call.peer(by.other()).map(|peer| peer.name.clone()).unwrap_or_default();
            border.fact(now, Some(id), What::Transfer(TransferEvent::Declined { peer, status }));
            if let Some(record) = call.record.transfers.last_mut() {
                record.relayed = false;
            }
            match relay.otherwise {
                Otherwise::Call(_, way) => transfer::begin(border, now, call, by, &relay.refer, *way),
                Otherwise::Splice(replaces) => border.splices.push_back(Splice { call: id, side: by, replaces, asked: None }),
            }
        }
    }
}

/// NOTIFY in the dialog the peer was handed a REFER in.
pub fn notified(border: &mut Border, now: Time, call: &mut Call, side: Side, request: &ServerRequest) {
    let notify = &request.message;
    let Some(by) = call.relay.as_ref().filter(|relay| relay.by != side && notify.is_about_refer(relay.cseq)).map(|relay| relay.by) else {
        return modify::refuse(border, now, request, Reason::NoSuchDialog);
    };
    let said = notify.sipfrag_status();
    let is_over = notify.is_subscription_terminated();
    if said.is_none() && !is_over {
        return modify::refuse(border, now, request, Reason::Malformed);
    }
    border.reply(now, (&request.key, notify, &request.flow), 200, None, |_| {});
    // It may overtake the 202.
    taken(border, now, call);
    match said {
        Some(status @ 200..) => over(border, now, call, status, if status < 300 { Reason::Transferred } else { Reason::Rejected }),
        _ if is_over => over(border, now, call, 408, Reason::NoAnswer),
        Some(status) => {
            let id = call.id;
            if let Some(leg) = call.leg(by) {
                subscription::notify(border, now, id, leg, status);
            }
        }
        None => {}
    }
}

/// The last is known. After a success the one who refers hangs up; after a failure the call goes on.
fn over(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason) {
    let id = call.id;
    let Some(relay) = call.relay.take() else { return };
    border.timers.cancel(Timer::Transfer(id));
    let is_done = status < 300;
    if let Some(record) = call.record.transfers.last_mut() {
        (record.status, record.reason) = (Some(status), (!is_done).then_some(reason));
    }
    if let Some(leg) = call.leg(relay.by) {
        subscription::notify(border, now, id, leg, status);
    }
    let peer = call.peer(relay.by.other()).map(|peer| peer.name.clone()).unwrap_or_default();
    border.fact(
        now,
        Some(id),
        What::Transfer(match is_done {
            true => TransferEvent::DoneThere { peer },
            false => TransferEvent::Failed { side: relay.by, status, reason, back: Back::Transferor },
        }),
    );
}

/// The peer takes its time.
pub fn overdue(border: &mut Border, now: Time, call: &mut Call) {
    match call.relay.as_ref().map(|relay| relay.taken) {
        Some(true) => over(border, now, call, 408, Reason::NoAnswer),
        Some(false) => accepted(border, now, call),
        None => {}
    }
}

/// The call ends, by `by`'s BYE or ours. Who refers and is still there hears the last before it.
pub fn abandoned(border: &mut Border, now: Time, call: &mut Call, by: Option<Side>) {
    let Some(relay) = call.relay.take() else { return };
    border.timers.cancel(Timer::Transfer(call.id));
    // Before 202 there is nothing to tell: the REFER itself is answered with the call's end.
    if relay.due.is_some() {
        return;
    }
    let id = call.id;
    // Left by who asked for it, the peer goes on by itself; what becomes of that nobody hears.
    if by == Some(relay.by) {
        return;
    }
    if let Some(record) = call.record.transfers.last_mut() {
        (record.status, record.reason) = (Some(487), Some(Reason::Cancelled));
    }
    if let Some(leg) = call.leg(relay.by) {
        subscription::notify(border, now, id, leg, 487);
    }
}
