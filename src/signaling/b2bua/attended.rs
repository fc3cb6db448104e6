//! Attended transfer (RFC 5589 §7, RFC 3891): Refer-To has a Replaces that names another dialog of the one who refers with the border. The two calls
//! become one: who is referred stays in his, the other call's party comes into it, and both legs of the one who refers end.
//!
//! Only dialogs that are up, and are this peer's own, can be named. The party that comes is asked first, by a re-INVITE in its own dialog; from then on it is as with
//! every target that has answered (`joining`).

use std::time::Duration;

use crate::media::control::Side;
use crate::policy::transfer::{self as policy, Kind, Question, Wanted};
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Call, ClientOwner, Exchange, Leg, Part, Purpose, ServerRequest, Stage, Waiting};
use crate::signaling::b2bua::transfer::{self, Aim};
use crate::signaling::b2bua::{joining, referral, reinvite, relayed, release, subscription};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{Back, CallId, ReleasedBy, TransferEvent, What};
use crate::signaling::transaction::{ClientKey, ServerKey};
use crate::sip::{Message, Method, Replaces};
use crate::time::Time;

/// As long as any transaction takes, twice.
const LONGEST: Duration = Duration::from_secs(64);

/// Two calls that are to become one, for who has them both.
#[derive(Clone, Debug)]
pub struct Splice {
    pub call: CallId,
    /// Of the one who refers.
    pub side: Side,
    pub replaces: String,
    /// The REFER, unanswered yet, where the peer of the other leg may be handed it, and what it wants.
    pub asked: Option<(ServerKey, Wanted)>,
}

impl Splice {
    /// The call and side the Replaces names, as far as our tags go.
    pub fn other(&self, border: &Border) -> Option<(CallId, Side)> {
        let replaces = Replaces::parse(self.replaces.as_bytes()).ok()?;
        border.tags.get(replaces.to_tag).copied().filter(|(call, _)| *call != self.call)
    }
}

/// REFER with Replaces.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest, wanted: Wanted, replaces: String) {
    let id = call.id;
    let relay = call.legs(side).and_then(|(leg, other)| policy::relayed(&leg.peer, &other.peer, Kind::Attended));
    let asked = match relay {
        None => {
            transfer::accepted(border, now, call, side, &request, &wanted, Kind::Attended);
            None
        }
        Some(decision) => {
            border.decided(now, id, decision);
            border.servers.insert(request.key, id);
            let key = request.key;
            call.waiting.push(Waiting { request, session: None });
            Some((key, wanted))
        }
    };
    border.splices.push_back(Splice { call: id, side, replaces, asked });
}

/// Makes one of the two calls, or tells the one who refers that they cannot be one. `other`: the call and the side that Replaces names.
pub fn splice(border: &mut Border, now: Time, call: &mut Call, splice: &Splice, other: Option<(&mut Call, Side)>) {
    let side = splice.side;
    if let Some(asked) = splice.asked.clone() {
        return relayed::spliced(border, now, call, splice, asked, other);
    }
    let fits = match &other {
        Some((other, theirs)) => fits(border, now, call, splice, other, *theirs),
        None => Err(unknown(border)),
    };
    match (fits, other) {
        (Ok(()), Some((other, theirs))) => join(border, now, call, side, other, theirs),
        (Err((status, reason)), _) => {
            let decision = Decision::refused("transfer", "the dialog to be replaced must be one of this peer's, and up", reason);
            border.decided(now, call.id, decision.comparing("Replaces", splice.replaces.clone()));
            unfit(border, now, call, side, status, reason);
        }
        (Ok(()), None) => {}
    }
}

/// What the one who refers is told, and why.
pub type Unfit = (u16, Reason);

/// The dialog is none of this process's; while another takes over, it may well be one of that.
pub fn unknown(border: &Border) -> Unfit {
    (481, if border.companion.is_some() { Reason::TransferElsewhere } else { Reason::TransferDialog })
}

pub fn fits(border: &mut Border, now: Time, call: &mut Call, splice: &Splice, other: &Call, theirs: Side) -> Result<(), Unfit> {
    let none = (481, Reason::TransferDialog);
    let replaces = Replaces::parse(splice.replaces.as_bytes()).map_err(|_| none)?;
    let (Stage::Up(_), Stage::Up(b)) = (&call.stage, &other.stage) else { return Err(none) };
    let (named, party) = if theirs == Side::A { (&other.a, &**b) } else { (&**b, &other.a) };
    let is_named = named.dialog.local_tag == replaces.to_tag && named.dialog.remote_tag == replaces.from_tag && named.dialog.call_id == replaces.call_id;
    if !is_named || !call.is_spoken_for_by(Part::Leg(splice.side), &named.peer) {
        return Err(none);
    }
    if replaces.early_only {
        return Err((486, Reason::TransferDialog));
    }
    if other.relay.is_some() {
        return Err((491, Reason::GlareRetry));
    }
    let is_free = |leg: &Leg| leg.confirmed && matches!(leg.exchange, Exchange::Idle);
    let (party_free, party_peer, party_mode) = (is_free(party) && other.media.can_offer(theirs.other()), party.peer.clone(), party.plan.mode());
    let can_offer = call.media.can_offer(splice.side.other());
    let Some(stayer) = call.leg(splice.side.other()).filter(|leg| is_free(leg) && can_offer && party_free) else { return Err((491, Reason::GlareRetry)) };
    let (stayer_peer, stayer_mode) = (stayer.peer.clone(), stayer.plan.mode());
    // Each comes under the other's plan, as if he had called there.
    let (set, table) = (border.set.clone(), border.table.clone());
    for (peer, mode, admitted) in [(&stayer_peer, stayer_mode, &other.admitted), (&party_peer, party_mode, &call.admitted)] {
        let Some(plan) = &admitted.plan else { return Err((403, Reason::TransferTarget)) };
        let question = Question { set: &set, table: &table, liveness: &border.watch.board, admitted, transferor: &named.peer, transferee: peer, stays: mode };
        let decision = policy::stays(&question, plan);
        let refused = decision.refused;
        border.decided(now, call.id, decision);
        if let Some(reason) = refused {
            return Err((403, reason));
        }
    }
    Ok(())
}

pub fn join(border: &mut Border, now: Time, call: &mut Call, side: Side, other: &mut Call, theirs: Side) {
    let id = call.id;
    let Some(peer) = other.leg(theirs.other()).map(|leg| leg.peer.clone()) else { return };
    let mut session = call.media.spliced(side.other(), &other.media, theirs.other());
    let record = other.record.leg_mut(theirs.other()).cloned();
    let inside = referral::inside(call, side, &peer);
    // Before the other call ends: its stream hands on what it knows of the party's packets.
    let offer = session.offer_partner(side, &mut border.supply(now, inside));
    if let Ok(outcome) = &offer {
        border.media(id, outcome.commands.clone());
    }
    let Some(mut party) = taken_out(border, now, other, theirs) else { return transfer::discard(border, now, id, session) };
    party.side = side;
    border.tags.insert(party.dialog.local_tag.clone(), (id, side));
    border.call_ids.insert(party.dialog.call_id.clone(), (id, side));
    if let Some(last) = call.record.transfers.last_mut() {
        last.target = record;
    }
    let way = call.admitted.clone();
    transfer::open(call, side, way, Aim::Splicing(Box::new(party)), session);
    border.timers.set(Timer::Hunt(id), now + LONGEST);
    let Ok(outcome) = offer else { return transfer::failed(border, now, call, 488, Reason::MediaUnacceptable) };
    if let Some(Aim::Splicing(leg)) = call.transfer().map(|transfer| &mut transfer.aim) {
        reinvite::send(border, now, id, leg, Some(&outcome.sdp), Purpose::Splice);
    }
}

/// The party's leg, out of a call that ends with it: the leg of the one who refers gets our BYE.
fn taken_out(border: &mut Border, now: Time, other: &mut Call, theirs: Side) -> Option<Leg> {
    release::disown(border, now, other, theirs.other());
    let stage = std::mem::replace(&mut other.stage, Stage::Over { reports_due: Vec::new() });
    let Stage::Up(b) = stage else {
        other.stage = stage;
        return None;
    };
    let party = if theirs == Side::A { *b } else { std::mem::replace(&mut other.a, *b) };
    other.a.side = Side::A;
    border.tags.insert(other.a.dialog.local_tag.clone(), (other.id, Side::A));
    release::leave(border, now, other.id, &mut other.a);
    border.request(now, &mut other.a, Method::Bye, ClientOwner::Bye { call: other.id }, |_| {});
    other.byes_due += 1;
    release::conclude(border, now, other, ReleasedBy::Border, Reason::Transferred);
    Some(party)
}

/// The REFER was taken, but the two calls cannot become one.
fn unfit(border: &mut Border, now: Time, call: &mut Call, side: Side, status: u16, reason: Reason) {
    let id = call.id;
    if let Some(record) = call.record.transfers.last_mut() {
        (record.status, record.reason) = (Some(status), Some(reason));
    }
    if let Some(leg) = call.leg(side) {
        subscription::notify(border, now, id, leg, status);
    }
    border.fact(now, Some(id), What::Transfer(TransferEvent::Failed { side, status, reason, back: Back::Transferor }));
}

/// Whether a re-INVITE of ours is the one to the party that comes.
pub fn is_asked(call: &mut Call, key: ClientKey) -> bool {
    let Some(Aim::Splicing(leg)) = call.transfer().map(|transfer| &transfer.aim) else { return false };
    matches!(leg.exchange, Exchange::Asking { client, .. } if client == key)
}

/// What the party that comes says of its side of the session; `None`: nothing at all.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, key: ClientKey, message: Option<&Message>) {
    let status = message.and_then(Message::status).unwrap_or(408);
    let Some(transfer) = call.transfer().filter(|_| status >= 200) else { return };
    let Aim::Splicing(mut leg) = std::mem::replace(&mut transfer.aim, Aim::TakingBack) else { return };
    leg.exchange = Exchange::Idle;
    let said = match message.filter(|_| status < 300) {
        Some(message) => {
            leg.dialog.refresh_target(message);
            leg.timer.on_answer(now, message.session_expires().ok().flatten());
            let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
            let sent = border.acknowledge(&leg, seq, None);
            reinvite::remember_ack(border, key, "", sent);
            joining::described(border, now, call, message)
        }
        None => Err(Reason::MediaUnacceptable),
    };
    if let Some(transfer) = call.transfer() {
        transfer.aim = Aim::Answered(leg);
    }
    match said {
        Ok(()) => joining::ask(border, now, call),
        Err(reason) => transfer::failed(border, now, call, if status < 300 { 488 } else { status }, reason),
    }
}
