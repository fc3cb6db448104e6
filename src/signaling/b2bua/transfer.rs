//! REFER (RFC 3515, RFC 5589), executed by the border: the one referred keeps his leg, a target is looked for as for every call, and when it has
//! answered the two are connected (`joining`). Who refers is told how it goes (`subscription`); he may hang up at any time. If nothing comes of it the
//! one referred is where he was; if there is nobody any more, policy has him taken back to UM.
//!
//! While this goes on the call is `Stage::Transferring`. The target takes the side of the one who refers.

use std::sync::Arc;

use crate::media::control::{Side, StreamId};
use crate::policy::screening::Admitted;
use crate::policy::settings::Peer;
use crate::policy::transfer::{self as policy, Kind, Question, Wanted};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Call, ClientOwner, Exchange, Hunt, Leg, Rerouted, ServerRequest, Stage};
use crate::signaling::b2bua::relayed::{self, Otherwise};
use crate::signaling::b2bua::subscription::{self, Subscription};
use crate::signaling::b2bua::{attended, failover, forking, joining, modify, release, setup};
use crate::signaling::border::{Border, Timer};
use crate::signaling::fact::{Back, CallId, TransferEvent, TransferRecord, What};
use crate::signaling::session::offer_answer::{SessionMedia, Terms};
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{HeaderName, Message, Method};
use crate::time::Time;

/// A transfer under way.
pub struct Transfer {
    /// The side of the one who refers.
    pub by: Side,
    pub transferor: Transferor,
    /// The B leg, whichever of the two it is of.
    pub b: Leg,
    /// Where policy lets it go.
    pub way: Admitted,
    pub aim: Aim,
    pub session: Session,
    pub join: Join,
    /// Referred-By as the REFER has it.
    pub referred_by: Option<String>,
    /// Max-Forwards of the INVITEs to come.
    pub hops: u32,
    /// How often the one referred was too busy to be asked.
    pub delays: u32,
    /// He is on his way back to UM.
    pub is_call_back: bool,
}

impl Transfer {
    /// Of the other session.
    pub fn stream(&self) -> Option<StreamId> {
        let (Session::Ahead(other) | Session::Behind(other)) = &self.session;
        other.stream()
    }
}

/// Whether the one who refers is still in the call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transferor {
    Here,
    Left,
}

/// What is being done.
pub enum Aim {
    /// A target is looked for.
    Hunting(Box<Hunt>),
    /// An attended transfer: the target has a leg already, and is asked for its side of the session.
    Splicing(Box<Leg>),
    /// It has answered; the one referred is still to be connected with it.
    Answered(Box<Leg>),
    /// It was not to be had; the one referred had heard it already and is led back.
    TakingBack,
}

/// The two sessions: the call's own is always the one the person referred is in. This is the other.
pub enum Session {
    /// The one he is to have.
    Ahead(SessionMedia),
    /// The one he had, with the person who refers.
    Behind(SessionMedia),
}

/// How it stands with his re-INVITE.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Join {
    /// The target has said nothing yet.
    NotDue,
    Due,
    /// `again`: the target has said something else meanwhile.
    Asked {
        again: bool,
    },
    Done,
}

impl Transfer {
    pub fn stays(&self) -> Side {
        self.by.other()
    }

    pub fn has_left(&self, side: Side) -> bool {
        side == self.by && self.transferor == Transferor::Left
    }

    /// Both of the call's legs are there, and in one session.
    pub fn is_together(&self) -> bool {
        self.transferor == Transferor::Here && matches!(self.session, Session::Ahead(_)) && matches!(self.join, Join::NotDue | Join::Due)
    }

    pub fn aims_by(&self, tag: &str) -> bool {
        match &self.aim {
            Aim::Hunting(hunt) => hunt.tag == tag,
            Aim::Splicing(leg) | Aim::Answered(leg) => leg.dialog.local_tag == tag,
            Aim::TakingBack => false,
        }
    }

    /// The target's leg, once it has one.
    pub fn target_leg(&self) -> Option<&Leg> {
        if let Aim::Splicing(leg) | Aim::Answered(leg) = &self.aim { Some(leg) } else { None }
    }

    pub fn target(&self) -> Option<&Arc<Peer>> {
        match &self.aim {
            Aim::Hunting(hunt) => hunt.peer(),
            Aim::Splicing(leg) | Aim::Answered(leg) => Some(&leg.peer),
            Aim::TakingBack => None,
        }
    }
}

impl Call {
    /// The leg with this tag of ours, if it is still there.
    pub fn leg_of(&mut self, tag: &str) -> Option<&mut Leg> {
        let b = match &mut self.stage {
            Stage::Up(leg) => Some(&mut **leg),
            Stage::Transferring(transfer) => Some(&mut transfer.b),
            Stage::Hunting(_) | Stage::Over { .. } => None,
        };
        [Some(&mut self.a), b, self.leaving.as_deref_mut()].into_iter().flatten().find(|leg| leg.dialog.local_tag == tag)
    }

    /// The session with the target.
    pub fn target_session(&mut self) -> Option<&mut SessionMedia> {
        match &mut self.stage {
            Stage::Transferring(transfer) => match &mut transfer.session {
                Session::Ahead(session) => Some(session),
                Session::Behind(_) => Some(&mut self.media),
            },
            _ => None,
        }
    }
}

/// REFER inside a call.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) {
    let wanted = match policy::wanted(&request.message) {
        Ok(wanted) => wanted,
        Err(reason) => return refused(border, now, call, side, &request, String::new(), reason),
    };
    let to = wanted.uri.clone();
    if let Err(reason) = may_begin(border, call, side) {
        return refused(border, now, call, side, &request, to, reason);
    }
    if let Some(replaces) = wanted.replaces.clone() {
        return attended::requested(border, now, call, side, request, wanted, replaces);
    }
    let (set, table) = (border.set.clone(), border.table.clone());
    let Some((leg, other)) = call.legs(side) else { return modify::refuse(border, now, &request, Reason::TransferPending) };
    let (transferor, transferee, stays) = (leg.peer.clone(), other.peer.clone(), other.plan.mode());
    let question =
        Question { set: &set, table: &table, liveness: &border.watch.board, admitted: &call.admitted, transferor: &transferor, transferee: &transferee, stays };
    let verdict = policy::decide(question, &wanted);
    border.fact(now, Some(call.id), What::Decided(verdict.trail));
    match verdict.outcome {
        Err(reason) => refused(border, now, call, side, &request, to, reason),
        Ok((kind, way)) => {
            if let Some(decision) = policy::relayed(&transferor, &transferee, kind)
                && let Some(refer_to) = call.leg(side.other()).map(|leg| relayed::number_at(leg, &way.called))
            {
                border.decided(now, call.id, decision);
                return relayed::begin(border, now, call, side, request, wanted, (Otherwise::Call(kind, Box::new(way)), refer_to));
            }
            accepted(border, now, call, side, &request, &wanted, kind);
            begin(border, now, call, side, &request.message, way);
        }
    }
}

/// Whether the call is one that can be transferred now.
fn may_begin(border: &Border, call: &mut Call, side: Side) -> Result<(), Reason> {
    let is_up = matches!(call.stage, Stage::Up(_));
    let transfers = call.record.transfers.len();
    let is_relayed = call.relay.is_some();
    match call.leg(side) {
        None => Err(Reason::NoSuchDialog),
        Some(leg) if !is_up || is_relayed || leg.subscription.is_some() || !leg.confirmed => Err(Reason::TransferPending),
        Some(_) if transfers >= policy::MOST_TRANSFERS => Err(Reason::TransferLimit),
        Some(_) if border.draining => Err(Reason::Draining),
        Some(_) => Ok(()),
    }
}

pub fn refused(border: &mut Border, now: Time, call: &mut Call, side: Side, request: &ServerRequest, to: String, reason: Reason) {
    modify::refuse(border, now, request, reason);
    let peer = call.peer(side).map_or_else(|| Arc::from(""), |peer| peer.name.clone());
    border.fact(now, Some(call.id), What::Transfer(TransferEvent::Refused { by: side, peer, to, reason }));
}

/// 202, the subscription where it is wanted, and the first NOTIFY (RFC 3515 §2.4.4: at once).
pub fn accepted(border: &mut Border, now: Time, call: &mut Call, side: Side, request: &ServerRequest, wanted: &Wanted, kind: Kind) {
    let id = call.id;
    let is_first = call.record.transfers.iter().all(|transfer| transfer.side != side);
    let number = request.message.cseq().map(|cseq| cseq.number).ok().filter(|_| !is_first);
    let is_declined = subscription::is_declined(&request.message);
    let Some(leg) = call.leg(side) else { return };
    let contact = transport::contact(&leg.listener);
    border.reply(now, (&request.key, &request.message, &request.flow), 202, None, |reply| {
        reply.header("Contact", contact);
        if is_declined {
            reply.header("Refer-Sub", "false");
        }
    });
    let peer = leg.peer.name.clone();
    border.fact(now, Some(id), What::Transfer(TransferEvent::Began { by: side, peer: peer.clone(), to: wanted.uri.clone(), kind }));
    if !is_declined {
        leg.subscription = Some(Subscription::new(number));
        subscription::notify(border, now, id, leg, 100);
    }
    call.record.transfers.push(TransferRecord { side, by: peer, to: wanted.uri.clone(), kind, status: None, reason: None, relayed: false, target: None });
}

/// The call becomes one with a transfer under way, and the search begins.
pub fn begin(border: &mut Border, now: Time, call: &mut Call, by: Side, refer: &Message, way: Admitted) {
    let first = &way.targets[0];
    let terms = Terms { plan: way.b.clone(), transport: first.transport, latch: first.latch, peer: None };
    let ahead = call.media.with_partner(by.other(), terms);
    let aim = Aim::Hunting(Box::new(hunt(border, now, call.id, by, &way)));
    let referred_by = refer.text(HeaderName::ReferredBy).map(str::to_owned);
    // A transfer that comes round to us must come to an end.
    let hops = [refer, &call.invite].into_iter().map(|message| message.max_forwards().ok().flatten().unwrap_or(70)).min().unwrap_or(70).saturating_sub(1);
    open(call, by, way, aim, ahead);
    if let Some(transfer) = call.transfer() {
        (transfer.referred_by, transfer.hops) = (referred_by, u32::from(hops));
    }
    failover::next(border, now, call);
}

/// From `Up` to `Transferring`.
pub fn open(call: &mut Call, by: Side, way: Admitted, aim: Aim, ahead: SessionMedia) {
    match std::mem::replace(&mut call.stage, Stage::Over { reports_due: Vec::new() }) {
        Stage::Up(b) => {
            call.stage = Stage::Transferring(Box::new(Transfer {
                by,
                transferor: Transferor::Here,
                b: *b,
                way,
                aim,
                session: Session::Ahead(ahead),
                join: Join::NotDue,
                referred_by: None,
                hops: 69,
                delays: 0,
                is_call_back: false,
            }));
        }
        other => call.stage = other,
    }
}

fn hunt(border: &mut Border, now: Time, call: CallId, side: Side, way: &Admitted) -> Hunt {
    // Where a transfer leads is not a call to UM that the PSTN could take instead.
    let hunt = failover::search(border, side, setup::candidates(way), None, Rerouted::Done);
    border.tags.insert(hunt.tag.clone(), (call, side));
    border.call_ids.insert(hunt.call_id.clone(), (call, side));
    border.timers.set(Timer::Hunt(call), now + setup::LONGEST_HUNT);
    hunt
}

/// The one who refers hung up: what he asked for goes on without him.
pub fn transferor_left(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    let Some(by) = call.transfer().map(|transfer| transfer.by) else { return };
    if let Some(leg) = call.leg(by) {
        release::leave(border, now, id, leg);
    }
    release::disown(border, now, call, by);
    // What the one who stays has asked of him, or was asked by him, has no answer any more.
    if let Some(leg) = call.leg(by.other()).filter(|leg| matches!(leg.exchange, Exchange::Asked(_) | Exchange::Accepting { .. })) {
        release::leave(border, now, id, leg);
    }
    let commands = match &mut call.stage {
        Stage::Transferring(transfer) => {
            transfer.transferor = Transferor::Left;
            let session = if let Session::Behind(behind) = &mut transfer.session { behind } else { &mut call.media };
            let mut commands = session.rejected(by);
            commands.extend(session.quiet(by));
            commands
        }
        _ => Vec::new(),
    };
    border.media(id, commands);
    border.fact(now, Some(id), What::Transfer(TransferEvent::TransferorLeft { by }));
}

/// No target is left, or this one's answer is final: the one who refers is told, and the one referred goes back.
pub fn failed(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason) {
    let id = call.id;
    stop(border, now, call);
    let Some(transfer) = call.transfer() else { return };
    let (by, is_here) = (transfer.by, transfer.transferor == Transferor::Here);
    let status = status.clamp(400, 699);
    tell(border, now, call, by, status, reason);
    if !is_here {
        return call_back(border, now, call, status, reason);
    }
    border.fact(now, Some(id), What::Transfer(TransferEvent::Failed { side: by, status, reason, back: Back::Transferor }));
    let Some(transfer) = call.transfer() else { return };
    transfer.delays = 0;
    match (&transfer.session, transfer.join) {
        // What he answers decides where he is to be taken back from.
        (_, Join::Asked { .. }) => {}
        (Session::Behind(_), _) => joining::take_back(border, now, call),
        (Session::Ahead(_), _) => as_before(border, now, call),
    }
}

/// After a transfer that failed the one referred is in his old session; the other may have left it meanwhile.
pub fn gone_back(border: &mut Border, now: Time, call: &mut Call) {
    match call.transfer().map(|transfer| transfer.transferor) {
        Some(Transferor::Here) => as_before(border, now, call),
        Some(Transferor::Left) => call_back(border, now, call, 480, Reason::TransferFailed),
        None => {}
    }
}

/// The final NOTIFY, and the line in the record.
fn tell(border: &mut Border, now: Time, call: &mut Call, by: Side, status: u16, reason: Reason) {
    let id = call.id;
    if let Some(record) = call.record.transfers.last_mut() {
        (record.status, record.reason) = (Some(status), Some(reason));
    }
    let leg = match &mut call.stage {
        Stage::Transferring(transfer) if by == Side::B => &mut transfer.b,
        _ => &mut call.a,
    };
    subscription::notify(border, now, id, leg, status);
}

/// The two legs are in their session again, and nothing else is left.
fn as_before(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    match std::mem::replace(&mut call.stage, Stage::Over { reports_due: Vec::new() }) {
        Stage::Transferring(transfer) => {
            let transfer = *transfer;
            call.stage = Stage::Up(Box::new(transfer.b));
            let (Session::Ahead(session) | Session::Behind(session)) = transfer.session;
            discard(border, now, id, session);
            // A silence that was told of meanwhile went unheeded, and would not be told of again.
            let commands = call.media.restated();
            border.media(id, commands);
        }
        other => call.stage = other,
    }
    border.timers.cancel(Timer::Transfer(id));
    // A silence that was told meanwhile was nobody's; one that lasts is to be told again.
    let commands = call.media.again();
    border.media(id, commands);
}

/// Nobody is left to go back to: UM is called again, or the one referred is released.
fn call_back(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason) {
    let id = call.id;
    let Some(by) = call.transfer().map(|transfer| transfer.by) else { return };
    let verdict = match (call.transfer().is_some_and(|transfer| transfer.is_call_back), by) {
        (false, Side::B) => {
            let (set, table) = (border.set.clone(), border.table.clone());
            let (peer, stays) = (call.a.peer.clone(), call.a.plan.mode());
            let liveness = &border.watch.board;
            policy::back(Question { set: &set, table: &table, liveness, admitted: &call.admitted, transferor: &peer, transferee: &peer, stays })
        }
        _ => None,
    };
    let way = verdict.and_then(|verdict| {
        border.fact(now, Some(id), What::Decided(verdict.trail));
        verdict.outcome.ok()
    });
    let back = if way.is_some() { Back::CalledBack } else { Back::Released };
    border.fact(now, Some(id), What::Transfer(TransferEvent::Failed { side: by, status, reason, back }));
    let Some((_, way)) = way else { return release::by_border(border, now, call, Reason::TransferFailed) };
    let next = hunt(border, now, id, by, &way);
    if let Some(transfer) = call.transfer() {
        transfer.way = way;
        transfer.aim = Aim::Hunting(Box::new(next));
        transfer.referred_by = None;
        transfer.is_call_back = true;
        transfer.delays = 0;
    }
    let (by_whom, to) = (call.admitted.peer.name.clone(), call.admitted.dialled().to_owned());
    call.record.transfers.push(TransferRecord { side: by, by: by_whom, to, kind: Kind::CallBack, status: None, reason: None, relayed: false, target: None });
    failover::next(border, now, call);
}

/// Nobody is called any more: an INVITE is taken back, a target that has answered is hung up on.
pub fn stop(border: &mut Border, now: Time, call: &mut Call) {
    let id = call.id;
    release::stop_hunt(border, now, call);
    for timer in [Timer::NoResponse(id), Timer::TimerC(id), Timer::Hunt(id), Timer::Transfer(id)] {
        border.timers.cancel(timer);
    }
    let Some(transfer) = call.transfer() else { return };
    match std::mem::replace(&mut transfer.aim, Aim::TakingBack) {
        Aim::Hunting(hunt) => call.past.push((hunt.tag, hunt.call_id)),
        Aim::Splicing(leg) | Aim::Answered(leg) => hang_up(border, now, call, *leg),
        Aim::TakingBack => {}
    }
}

/// BYE on a leg that is no longer the call's.
pub fn hang_up(border: &mut Border, now: Time, call: &mut Call, mut leg: Leg) {
    let id = call.id;
    release::leave(border, now, id, &mut leg);
    border.request(now, &mut leg, Method::Bye, ClientOwner::Bye { call: id }, |_| {});
    call.byes_due += 1;
    call.past.push((leg.dialog.local_tag, leg.dialog.call_id));
}

/// A session nobody is in: its stream is closed, or what was lent for it given back.
pub fn discard(border: &mut Border, now: Time, call: CallId, mut session: SessionMedia) {
    if session.stream().is_none() {
        for pair in [Side::A, Side::B].into_iter().filter_map(|side| session.addresses(side)) {
            border.release_ports(now, &pair);
        }
    }
    border.media(call, session.close());
}

/// The call ends while a transfer is under way: who refers hears of it, the target is let go.
pub fn abandon(border: &mut Border, now: Time, call: &mut Call, status: u16) {
    let Some(transfer) = call.transfer() else { return };
    let (by, is_here) = (transfer.by, transfer.transferor == Transferor::Here);
    stop(border, now, call);
    if is_here {
        tell(border, now, call, by, status, Reason::Cancelled);
    } else if let Some(record) = call.record.transfers.last_mut().filter(|record| record.status.is_none()) {
        (record.status, record.reason) = (Some(status), Some(Reason::Cancelled));
    }
}

/// The target's provisional response: what it lets be heard early, the one referred is connected with.
pub fn ringing(border: &mut Border, now: Time, call: &mut Call, message: &Message) {
    if message.sdp().is_some() && joining::described(border, now, call, message).is_ok() {
        joining::ask(border, now, call);
    }
}

/// The target answered.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, key: ClientKey, leg: Leg, message: &Message) {
    let id = call.id;
    let seq = message.cseq().map(|cseq| cseq.number).unwrap_or(1);
    let ack = border.acknowledge(&leg, seq, None);
    forking::acknowledged(border, key, &leg.dialog.remote_tag, ack);
    border.timers.cancel(Timer::Hunt(id));
    let early = call.transfer().is_some_and(|transfer| transfer.join != Join::NotDue);
    let said = if message.sdp().is_none() && early { Ok(()) } else { joining::described(border, now, call, message) };
    if let Some(transfer) = call.transfer() {
        transfer.aim = Aim::Answered(Box::new(leg));
    }
    match said {
        Err(reason) => failed(border, now, call, reason.status().unwrap_or(488), reason),
        Ok(()) if call.transfer().is_some_and(|transfer| transfer.join == Join::Done) => joining::complete(border, now, call),
        Ok(()) => joining::ask(border, now, call),
    }
}

/// Timer C, or the whole search took too long.
pub fn rang_too_long(border: &mut Border, now: Time, call: &mut Call) {
    failed(border, now, call, 408, Reason::NoAnswer);
}

/// The target has answered, and hangs up before the one referred is connected with it.
pub fn target_requested(border: &mut Border, now: Time, call: &mut Call, request: &ServerRequest) {
    let id = call.id;
    let Some(Aim::Splicing(leg) | Aim::Answered(leg)) = call.transfer().map(|transfer| &mut transfer.aim) else {
        return modify::refuse(border, now, request, Reason::NoSuchDialog);
    };
    if !leg.dialog.matches(&request.message) || request.message.method() != Some(&Method::Bye) {
        return modify::refuse(border, now, request, Reason::GlareRetry);
    }
    release::leave(border, now, id, leg);
    let names = (leg.dialog.local_tag.clone(), leg.dialog.call_id.clone());
    border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |_| {});
    if let Some(transfer) = call.transfer() {
        transfer.aim = Aim::TakingBack;
    }
    call.past.push(names);
    failed(border, now, call, 480, Reason::Rejected);
}

/// A request in the dialog of one who has transferred the call.
pub fn leaving_requested(border: &mut Border, now: Time, call: &mut Call, request: &ServerRequest) {
    let Some(leg) = call.leaving.as_mut().filter(|leg| leg.dialog.matches(&request.message)) else {
        return modify::refuse(border, now, request, Reason::NoSuchDialog);
    };
    let number = request.message.cseq().map(|cseq| cseq.number).unwrap_or(0);
    if leg.dialog.accept(number).is_err() {
        return border.reply(now, (&request.key, &request.message, &request.flow), 500, None, |_| {});
    }
    match request.message.method() {
        Some(Method::Bye) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |_| {});
            border.timers.cancel(Timer::Leaving(call.id));
            forget_leaving(call);
        }
        Some(Method::Options) => {
            border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |_| {});
        }
        _ => modify::refuse(border, now, request, Reason::NoSuchDialog),
    }
}

fn forget_leaving(call: &mut Call) {
    if let Some(leg) = call.leaving.take() {
        call.past.push((leg.dialog.local_tag, leg.dialog.call_id));
    }
}

/// He was told, and does not hang up: we do.
pub fn leaving_overdue(border: &mut Border, now: Time, call: &mut Call) {
    border.timers.cancel(Timer::Leaving(call.id));
    if let Some(leg) = call.leaving.take() {
        hang_up(border, now, call, *leg);
    }
}

/// The retry of what had to wait.
pub fn due(border: &mut Border, now: Time, call: &mut Call) {
    let Some(transfer) = call.transfer() else { return relayed::overdue(border, now, call) };
    match (&transfer.aim, &transfer.session) {
        (Aim::TakingBack, Session::Ahead(_)) => gone_back(border, now, call),
        (Aim::TakingBack, Session::Behind(_)) => joining::take_back(border, now, call),
        _ => joining::ask(border, now, call),
    }
}
