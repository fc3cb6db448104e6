//! One target after another for the B leg: the next one on timeout, transport failure or 503 (RFC 3263 §4.3), each with an INVITE of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::media::control::Side;
use crate::policy::flow::{Flow, FlowId, ListenerId};
use crate::policy::liveness::Rank;
use crate::policy::peer::{PeerTable, at_home};
use crate::policy::redirection::Tried;
use crate::policy::settings::{GREYLIST, PeerStatus};
use crate::policy::verdict::{Decision, Reason};
use crate::policy::{admission, hosted, topology_hiding};
use crate::sdp::Description;
use crate::signaling::b2bua::call::{Attempt, Call, Candidate, ClientOwner, Hunt, InviteOwner, Rerouted, Stage};
use crate::signaling::b2bua::referral::{self, Letter};
use crate::signaling::b2bua::{lifetime, record, reroute, setup, standalone};
use crate::signaling::border::{Border, Timer};
use crate::signaling::event::{Action, LocateQuery, TransportError};
use crate::signaling::fact::What;
use crate::signaling::liveness;
use crate::signaling::session::offer_answer::Terms;
use crate::signaling::session::session_timer::SessionExpiry;
use crate::signaling::settings::Listener;
use crate::signaling::transport;
use crate::sip::{Builder, Limits, Message, Method, Transport};
use crate::time::Time;

/// A search among `queue` for the leg on `side`, under names of its own.
pub fn search(border: &mut Border, side: Side, queue: VecDeque<Candidate>, offer: Option<Description>, rerouted: Rerouted) -> Hunt {
    Hunt {
        side,
        queue,
        attempt: Attempt::Idle,
        tried: Vec::new(),
        hops: 0,
        forks: Vec::new(),
        offer,
        call_id: border.mint.call_id(),
        tag: border.mint.tag(),
        seq: 0,
        timer: SessionExpiry::new(&border.settings.session_timer),
        answer: None,
        failure: None,
        offered: false,
        crossed: Vec::new(),
        rerouted,
        barred: None,
    }
}

/// Tries the next target; when none is left, the caller is told.
pub fn next(border: &mut Border, now: Time, call: &mut Call) {
    loop {
        let Some(hunt) = call.hunt() else { return };
        hunt.forks.clear();
        let Some(candidate) = likeliest(border, now, call) else { return setup::given_up(border, now, call) };
        let outcome = match (takes_calls(&border.table, &candidate).and_then(|()| has_room(border, now, call, &candidate)), candidate.address) {
            (Ok(()), Some(address)) => invite(border, now, call, &candidate, address),
            (Ok(()), None) => return locate(border, now, call, candidate),
            (Err(reason), _) => Err(reason),
        };
        match outcome {
            Ok(()) => return,
            Err(reason) => note_failure(border, now, call, &candidate, reason.status().unwrap_or(503), reason, None),
        }
    }
}

/// What routing saw may be past when a target's turn comes: a reload, or an answer of DNS. Whose answers would be a stranger's is not called.
pub fn takes_calls(table: &PeerTable, candidate: &Candidate) -> Result<(), Reason> {
    let then = &candidate.peer;
    let now = table.peer(&then.name).ok_or(Reason::PeerRemoved)?;
    match now.status {
        PeerStatus::Disabled => return Err(Reason::PeerDisabled),
        PeerStatus::NoNewCalls => return Err(Reason::PeerNoNewCalls),
        PeerStatus::Enabled => {}
    }
    // The leg was planned for the peer as it was.
    if (now.transport, now.mode, now.mutual, now.port, &now.tls_names) != (then.transport, then.mode, then.mutual, then.port, &then.tls_names) {
        return Err(Reason::PeerRemoved);
    }
    match candidate.address {
        None => Ok(()),
        Some(address) if candidate.transport == Transport::Tls => {
            let lives_there = table.at(address.ip()).iter().any(|peer| peer.name == then.name);
            if lives_there { Ok(()) } else { Err(Reason::PeerRemoved) }
        }
        Some(address) => {
            let answers = Flow { id: FlowId(0), transport: candidate.transport, listener: ListenerId(0), local: address, remote: address, tls: None };
            match at_home(table, &answers) {
                Ok(peer) if peer.name == then.name => Ok(()),
                Err(Reason::PeerAmbiguous) => Err(Reason::PeerAmbiguous),
                Ok(_) | Err(_) => Err(Reason::PeerRemoved),
            }
        }
    }
}

/// Whether as many calls go to the target as may; the limits are those of now.
fn has_room(border: &mut Border, now: Time, call: &mut Call, candidate: &Candidate) -> Result<(), Reason> {
    let Some(peer) = border.table.peer(&candidate.peer.name).filter(|peer| peer.limits_towards.is_any()) else { return Ok(()) };
    let (name, limited) = (Arc::clone(&peer.name), Arc::clone(peer));
    // The target tried before may be the same peer at another address, and is given up.
    call.count(now, &mut border.load);
    match admission::of_target(&limited, border.load.towards_peer(now, &name)) {
        None => Ok(()),
        Some(decision) => {
            let reason = decision.refused.unwrap_or(Reason::TargetCallLimit);
            border.decided(now, call.id, decision);
            Err(reason)
        }
    }
}

/// The first of those left that is known to be no worse than any other.
fn likeliest(border: &mut Border, now: Time, call: &mut Call) -> Option<Candidate> {
    let id = call.id;
    let Best { candidate, decision } = best(border, now, &mut call.hunt()?.queue)?;
    if let Some(decision) = decision {
        border.decided(now, id, decision);
    }
    Some(candidate)
}

/// A candidate taken out of its queue.
pub struct Best {
    pub candidate: Candidate,
    /// Where liveness or an earlier failure had a say.
    pub decision: Option<Decision>,
}

/// The first of the queue that is known to be no worse than any other, by its liveness and by whether it has failed lately: one that has goes after
/// all that are usable, and before those that give no sign of life.
pub fn best(border: &Border, now: Time, queue: &mut VecDeque<Candidate>) -> Option<Best> {
    let state = |candidate: &Candidate| match candidate.address {
        Some(address) => border.watch.board.at(&candidate.peer.name, address),
        None => border.watch.board.of(&candidate.peer.name),
    };
    let grey: Vec<bool> = queue.iter().map(|candidate| is_put_off(border, now, candidate)).collect();
    let standing = |index: usize, candidate: &Candidate| {
        let is_grey = grey.get(index).copied().unwrap_or_default();
        let rank = state(candidate).rank();
        (if is_grey { rank.max(Rank::Recovering) } else { rank }, is_grey)
    };
    let said = |index: usize, candidate: &Candidate| {
        let is_grey = grey.get(index).copied().unwrap_or_default();
        format!("{} {}{}", candidate.place(), state(candidate), if is_grey { ", failed lately" } else { "" })
    };
    let (index, (rank, _)) = queue.iter().enumerate().map(|(index, candidate)| (index, standing(index, candidate))).min_by_key(|(_, standing)| *standing)?;
    let passed_over: Vec<String> = queue.iter().take(index).enumerate().map(|(index, candidate)| said(index, candidate)).collect();
    let target = said(index, queue.get(index)?);
    let candidate = queue.remove(index)?;
    let decision = if rank != Rank::Usable {
        Some(Decision::passed("liveness", "nothing better is left").comparing("target", target))
    } else if !passed_over.is_empty() {
        Some(Decision::passed("liveness", "others are tried first").comparing("put off", passed_over.join(", ")))
    } else {
        None
    };
    Some(Best { candidate, decision })
}

/// A name is put off when all its addresses are: one that is not may still do.
fn is_put_off(border: &Border, now: Time, candidate: &Candidate) -> bool {
    if border.greylist.is_empty() {
        return false;
    }
    match candidate.address {
        Some(address) => border.greylist.left(now, &candidate.peer.name, address).is_some(),
        None => {
            let addresses = border.table.addresses_of_name(&candidate.peer.name, &candidate.host);
            !addresses.is_empty() && addresses.iter().all(|address| border.greylist.has_host(now, &candidate.peer.name, *address))
        }
    }
}

/// The present target is given up for `reason`; `status` is what the caller gets should no other do better.
pub fn failed(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason) {
    given_up(border, now, call, status, reason, None);
}

/// The present target could not be reached; the decision says what was wrong with the connection.
pub fn unreached(border: &mut Border, now: Time, call: &mut Call, error: &TransportError) {
    let reason = unreachable(error);
    given_up(border, now, call, reason.status().unwrap_or(503), reason, Some(error));
}

fn given_up(border: &mut Border, now: Time, call: &mut Call, status: u16, reason: Reason, error: Option<&TransportError>) {
    stop_waiting(border, call);
    let Some(hunt) = call.hunt() else { return };
    if let Attempt::Inviting { candidate, .. } = std::mem::replace(&mut hunt.attempt, Attempt::Idle) {
        note_failure(border, now, call, &candidate, status, reason, error);
        if let Some(address) = candidate.address {
            let span = call.admitted.pool.as_ref().map_or(GREYLIST, |pool| pool.greylist);
            border.greylist.put_off(now, &candidate.peer.name, address, span);
            liveness::suspected(border, now, &candidate.peer.name, address);
        }
    }
    next(border, now, call);
}

/// How a transport's failure counts.
pub fn unreachable(error: &TransportError) -> Reason {
    match error {
        TransportError::Certificate(_) => Reason::TargetCertificate,
        TransportError::TimedOut => Reason::TargetTimeout,
        TransportError::Handshake(refusal) if matches!(refusal.reason, Reason::TlsTimeout) => Reason::TargetTimeout,
        TransportError::Refused | TransportError::Handshake(_) | TransportError::Closed | TransportError::Socket => Reason::TargetUnreachable,
    }
}

/// The target has answered, or is no longer asked.
pub fn stop_waiting(border: &mut Border, call: &Call) {
    border.timers.cancel(Timer::NoResponse(call.id));
    border.timers.cancel(Timer::TimerC(call.id));
}

fn note_failure(border: &mut Border, now: Time, call: &mut Call, candidate: &Candidate, status: u16, reason: Reason, error: Option<&TransportError>) {
    if let Some(hunt) = call.hunt() {
        hunt.failure = Some((status, reason));
    }
    reroute::note(call, reason);
    let mut decision = Decision::refused("failover", format!("peer \"{}\"", candidate.peer.name), reason).comparing("target", candidate.host.clone());
    if let Some(error) = error {
        decision = decision.comparing("connection", error.to_string());
    }
    if let Some(TransportError::Certificate(refusal) | TransportError::Handshake(refusal)) = error {
        decision = decision.comparing("tls", refusal.reason.code());
        decision.compared.extend(refusal.compared.iter().cloned());
    }
    border.decided(now, call.id, decision);
    let another = call.hunt().is_some_and(|hunt| !hunt.queue.is_empty());
    if let (Some(target), true) = (candidate.address, another) {
        border.fact(now, Some(call.id), What::FailedOver { peer: candidate.peer.name.clone(), target, why: reason });
    }
}

fn locate(border: &mut Border, now: Time, call: &mut Call, candidate: Candidate) {
    // The resolver always answers, and in less; should it not, the call must still end.
    border.timers.set(Timer::NoResponse(call.id), now + border.settings.timers.t1 * 64);
    let id = border.new_locate(call.id);
    let query =
        LocateQuery { host: candidate.host.clone().into(), port: candidate.port, transport: Some(candidate.transport), allowed: vec![candidate.transport] };
    if let Some(hunt) = call.hunt() {
        hunt.attempt = Attempt::Locating { id, candidate };
    }
    border.act(Action::Locate { id, query });
}

/// Sends the INVITE of one attempt. An error means that this target cannot be had at all.
fn invite(border: &mut Border, now: Time, call: &mut Call, candidate: &Candidate, address: SocketAddr) -> Result<(), Reason> {
    let plan = call.way().b_leg(&candidate.peer);
    if !plan.permits(candidate.transport) {
        return Err(Reason::ModeTransport);
    }
    let listener = border.listener_for(&candidate.peer, candidate.transport, address).ok_or(Reason::NoRoute)?;
    let sdp = offer(border, now, call, candidate, address)?;
    let branch = border.mint.branch();
    let bytes = compose(border, now, call, candidate, &listener, &branch, sdp.as_deref())?;
    let invite = Message::parse(bytes.clone(), &Limits::default()).map_err(|_| Reason::Malformed)?;
    let route = transport::request_route(&listener, &candidate.peer, address, &candidate.names);
    let client = border.transactions.request(now, &Method::Invite, &branch, route, bytes);
    let owner = InviteOwner {
        call: call.id,
        invite: invite.clone(),
        listener: listener.clone(),
        peer: candidate.peer.clone(),
        names: candidate.names.clone(),
        acks: Vec::new(),
    };
    border.clients.insert(client, ClientOwner::Invite(Box::new(owner)));
    if let Some(pool) = &call.way().pool {
        border.timers.set(Timer::NoResponse(call.id), now + pool.no_answer);
    }
    border.timers.set(Timer::TimerC(call.id), now + border.settings.timers.c);
    let Some(hunt) = call.hunt() else { return Err(Reason::NoRoute) };
    hunt.tried.push(Tried::new(&candidate.host, address.port(), candidate.transport));
    let leg = record::leg(&candidate.peer, &plan, &hunt.call_id, candidate.transport, address);
    hunt.attempt = Attempt::Inviting { client, invite, candidate: candidate.clone(), listener };
    let side = hunt.side;
    border.fact(now, Some(call.id), record::opened(side, &leg));
    call.record.asked(leg, matches!(call.stage, Stage::Transferring(_)));
    Ok(())
}

/// The session description for this target: the caller's offer as the B leg's plan wants it, with keys no other target has seen.
fn offer(border: &mut Border, now: Time, call: &mut Call, candidate: &Candidate, address: SocketAddr) -> Result<Option<Vec<u8>>, Reason> {
    let plan = call.way().b_leg(&candidate.peer);
    let terms = Terms { plan, transport: candidate.transport, latch: candidate.peer.latch, peer: Some(address.ip()) };
    if let Stage::Transferring(_) = call.stage {
        return referral::offer(border, now, call, candidate, terms).map(Some);
    }
    call.media.set_terms(Side::B, terms);
    let inside = [call.a.peer.kind.is_um(), candidate.peer.kind.is_um()];
    let Stage::Hunting(hunt) = &mut call.stage else { return Err(Reason::NoRoute) };
    let Some(description) = &hunt.offer else { return Ok(None) };
    let mut supply = border.supply(now, inside);
    let outcome = if hunt.offered { call.media.reoffer(Side::B, &mut supply) } else { call.media.offer(Side::A, description, &mut supply) };
    let outcome = outcome.map_err(|refusal| refusal.0)?;
    hunt.offered = true;
    border.media(call.id, outcome.commands);
    Ok(Some(outcome.sdp))
}

/// RFC 3261 §13.2.1: an INVITE of our own, with what policy lets cross from the caller's.
fn compose(
    border: &mut Border,
    now: Time,
    call: &mut Call,
    candidate: &Candidate,
    listener: &Listener,
    branch: &str,
    sdp: Option<&[u8]>,
) -> Result<bytes::Bytes, Reason> {
    let Letter { from, referred_by, carried, hops } = letter(call, candidate, listener)?;
    let (called, pool) = (call.way().called.clone(), call.way().pool.clone());
    let hunt = call.hunt().ok_or(Reason::NoRoute)?;
    hunt.seq += 1;
    let mut invite = Builder::request(&Method::Invite, &candidate.uri);
    invite.header("Via", transport::via(listener, branch)).header_fmt("Max-Forwards", format_args!("{hops}"));
    invite.header("From", from);
    invite.header("To", topology_hiding::to_value(&called, hosted::to_host(pool.as_deref(), &candidate.host))).header("Call-ID", &hunt.call_id);
    invite.header_fmt("CSeq", format_args!("{} INVITE", hunt.seq)).header("Contact", transport::contact(listener));
    for (name, value) in &carried.headers {
        invite.header(name.as_str(), value);
    }
    if let Some(referred_by) = referred_by {
        invite.header("Referred-By", referred_by);
    }
    // A delayed offer would have to come in a reliable provisional response if we allowed them; it comes in the 2xx.
    invite.header("Supported", if sdp.is_some() { "100rel, timer" } else { "timer" }).header("Allow", standalone::allow(&candidate.peer));
    lifetime::write_request(&mut invite, &hunt.timer.ask());
    invite.header("User-Agent", border.settings.product.as_bytes());
    if let Some(sdp) = sdp {
        invite.body("application/sdp", sdp);
    }
    if !carried.trail.is_empty() && hunt.crossed != carried.trail {
        hunt.crossed.clone_from(&carried.trail);
        border.fact(now, Some(call.id), What::Decided(carried.trail));
    }
    Ok(invite.finish())
}

/// What the INVITE says of the caller: from his own INVITE, or of whom a transfer is about.
fn letter(call: &Call, candidate: &Candidate, listener: &Listener) -> Result<Letter, Reason> {
    let hunt = match &call.stage {
        Stage::Hunting(hunt) => hunt,
        Stage::Transferring(transfer) => return referral::letter(call, transfer, candidate, listener).ok_or(Reason::NoRoute),
        Stage::Up(_) | Stage::Over { .. } => return Err(Reason::NoRoute),
    };
    let request = &call.invite;
    let crossing = topology_hiding::Crossing {
        from: &call.a.peer,
        to: &candidate.peer,
        ours: listener.host(),
        plan: call.admitted.plan.as_deref(),
        called: &call.admitted.called,
    };
    Ok(Letter {
        from: topology_hiding::from_value(&crossing, request, &hunt.tag),
        referred_by: None,
        carried: topology_hiding::carry(&crossing, request),
        hops: u32::from(request.max_forwards().ok().flatten().unwrap_or(70).saturating_sub(1)),
    })
}
