//! How a call begins: the caller's INVITE is screened, the session planned, and the search for the B leg started (RFC 3261 §13.3).

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::media::control::Side;
use crate::policy::outcome::Outcome;
use crate::policy::peer::PeerTable;
use crate::policy::screening::{Admitted, Load, Question, screen};
use crate::policy::settings::{Peer, PeerHost};
use crate::policy::verdict::{Decision, Reason};
use crate::policy::{delayed_source_party, hosted, routing};
use crate::sdp::Description;
use crate::signaling::b2bua::call::{Asked, Attempt, Call, Candidate, Exchange, Leg, Rerouted, ServerRequest, Stage};
use crate::signaling::b2bua::digits::Digits;
use crate::signaling::b2bua::record::{self, Draft};
use crate::signaling::b2bua::{failover, lifetime, progress, release, reroute, standalone, transfer};
use crate::signaling::border::{Border, Timer};
use crate::signaling::branch;
use crate::signaling::dialog::Dialog;
use crate::signaling::event::{LocateError, LocateId, Target};
use crate::signaling::fact::{CallId, ReleasedBy, Screened, What};
use crate::signaling::session::offer_answer::{SessionMedia, Terms};
use crate::signaling::session::session_timer::SessionExpiry;
use crate::sip::{HeaderName, Message, Method, Via};
use crate::time::Time;

/// A B leg is looked for, and may ring, for so long in all; timer C alone begins again with every 1xx.
pub const LONGEST_HUNT: Duration = Duration::from_secs(600);

/// Reads the INVITE in the border's order of questions; a call comes out, or the caller has been refused.
pub fn begin(border: &mut Border, now: Time, id: CallId, peer: &Arc<Peer>, request: ServerRequest) -> Option<Box<Call>> {
    note_caller(border, now, id, peer, &request);
    trying(border, now, &request);
    if came_from_us(border, &request.message) {
        return refuse(border, now, id, peer, request, Reason::Loop);
    }
    let offer = match readable(&request.message) {
        Ok(offer) => offer,
        Err(reason) => return refuse(border, now, id, peer, request, reason),
    };
    let load = Load { draining: border.draining, pressure: border.throttle.holds(), ..border.load.seen_by(now, &peer.name, &border.set) };
    let (set, table) = (border.set.clone(), border.table.clone());
    let liveness = &border.watch.board;
    let question = Question { set: &set, table: &table, liveness, load: &load, flow: &request.flow, peer, invite: &request.message, offer: offer.as_ref() };
    let screening = screen(question);
    border.fact(now, Some(id), What::Decided(screening.trail));
    let host = table.name_at(&peer.name, request.flow.remote.ip()).cloned();
    let outcome = Outcome::of(screening.outcome.as_ref().map_err(|reason| *reason));
    border.fact(now, Some(id), What::Screened(Box::new(Screened { policy_set: set.number, peer_table: table.number, host, outcome })));
    let admitted = match screening.outcome {
        Ok(admitted) => admitted,
        Err(reason) => return refuse(border, now, id, peer, request, reason),
    };
    let admitted = drawn(border, now, id, admitted);
    if let Some(decision) = not_taken_over(&request.message) {
        border.decided(now, id, decision);
    }
    open(border, now, id, admitted, request, offer)
}

/// RFC 3891 §3: to whoever does not support it an INVITE with Replaces is one without. Ours names no `replaces` in Supported, so it is a peer that does not look.
fn not_taken_over(invite: &Message) -> Option<Decision> {
    let named = invite.first(HeaderName::Replaces)?;
    let rule = "Replaces is not followed: this is a new call, and the one it names goes on";
    Some(Decision::passed("transfer", rule).comparing("Replaces", String::from_utf8_lossy(named).into_owned()))
}

/// Among routers of a pool with weights the first is drawn by lot.
fn drawn(border: &mut Border, now: Time, id: CallId, admitted: Admitted) -> Admitted {
    let Some(pool) = admitted.pool.as_ref().filter(|pool| !pool.weights.is_empty()) else { return admitted };
    let lot = border.mint.below(u64::MAX);
    let board = &border.watch.board;
    let Some((decision, order)) = routing::draw(pool, |peer| board.of(&peer.name).rank(), &admitted.targets, lot) else { return admitted };
    border.decided(now, id, decision);
    admitted.reordered(order)
}

/// Starts the search.
pub fn hunt(border: &mut Border, now: Time, call: &mut Call) {
    progress::promise_sign(border, now, call);
    let invite = if let Exchange::Asked(asked) = &call.a.exchange { Some(&asked.request.message) } else { None };
    if let Some(decision) = invite.and_then(|invite| delayed_source_party::holds(&call.a.peer, invite)) {
        border.decided(now, call.id, decision);
        border.timers.set(Timer::SourceParty(call.id), now + delayed_source_party::HOLD);
        return;
    }
    hunt_on(border, now, call);
}

/// As [`hunt`], once the caller has had time to say more of itself.
pub fn hunt_on(border: &mut Border, now: Time, call: &mut Call) {
    reroute::at_once(border, now, call);
    failover::next(border, now, call);
}

/// The names are resolved: the targets are tried in their order.
pub fn located(border: &mut Border, now: Time, call: &mut Call, id: LocateId, targets: Result<Vec<Target>, LocateError>) {
    let Some(hunt) = call.hunt() else { return };
    let candidate = match std::mem::replace(&mut hunt.attempt, Attempt::Idle) {
        Attempt::Locating { id: asked, candidate } if asked == id => candidate,
        other => {
            hunt.attempt = other;
            return;
        }
    };
    failover::stop_waiting(border, call);
    let Some(hunt) = call.hunt() else { return };
    let targets = places(border, &candidate, targets);
    match targets.is_empty() {
        false => {
            for target in targets.into_iter().rev() {
                let located = Candidate { address: Some(target.address), transport: target.transport, ..candidate.clone() };
                hunt.queue.push_front(located);
            }
        }
        true => {
            hunt.failure.get_or_insert((503, Reason::LocateFailed));
            let decision = Decision::refused("locating", format!("peer \"{}\"", candidate.peer.name), Reason::LocateFailed);
            border.decided(now, call.id, decision.comparing("host", candidate.host));
        }
    }
    failover::next(border, now, call);
}

/// Where a candidate that had to be located is called, in order: at addresses of its own that its `address_family` and our listeners admit, IPv6
/// first (Exchange's IPAddressFamily, RFC 6724 §2.1).
pub fn places(border: &Border, candidate: &Candidate, targets: Result<Vec<Target>, LocateError>) -> Vec<Target> {
    let mut targets = match targets {
        Ok(targets) => known(&border.table, candidate, targets),
        // No server answers. Where the peer lived last holds for the grace, for calls to it as for calls from it.
        Err(LocateError::Failed) => remembered(&border.table, candidate, candidate.port.unwrap_or(candidate.transport.default_port())),
        Err(LocateError::NotFound) => Vec::new(),
    };
    let peer = &candidate.peer;
    targets.retain(|target| peer.address_family.admits(target.address.ip()) && border.listener_for(peer, target.transport, target.address).is_some());
    targets.sort_by_key(|target| target.address.is_ipv4());
    targets
}

/// Targets of the candidate's own transport at addresses the peer table knows as its: whoever answers from elsewhere, or by another, would be a
/// stranger. DNS may have given the table another answer than this one (rotation, a change not seen yet); then what the table knows is tried.
fn known(table: &PeerTable, candidate: &Candidate, mut targets: Vec<Target>) -> Vec<Target> {
    targets.retain(|target| target.transport == candidate.transport);
    let Some(port) = targets.first().map(|target| target.address.port()) else { return targets };
    targets.retain(|target| table.at(target.address.ip()).iter().any(|peer| peer.name == candidate.peer.name));
    if targets.is_empty() { remembered(table, candidate, port) } else { targets }
}

/// Where the peer table has the candidate's name.
fn remembered(table: &PeerTable, candidate: &Candidate, port: u16) -> Vec<Target> {
    let at = |address: &IpAddr| Target { transport: candidate.transport, address: SocketAddr::new(*address, port) };
    table.addresses_of_name(&candidate.peer.name, &candidate.host).iter().map(at).collect()
}

fn note_caller(border: &mut Border, now: Time, id: CallId, peer: &Peer, request: &ServerRequest) {
    let message = &request.message;
    if let Ok(call_id) = message.call_id() {
        border.call_ids.insert(call_id.to_owned(), (id, Side::A));
    }
    border.servers.insert(request.key, id);
    let received = What::Received { leg: Some(Side::A), flow: request.flow.clone(), bytes: message.bytes().clone(), retransmission: false };
    border.fact(now, Some(id), received);
    let (from, to) = parties(message);
    border.fact(now, Some(id), What::CallBegan { peer: peer.name.clone(), from, to });
}

/// RFC 3261 §16.3 step 4: a Via of ours says that the request has gone out here before.
fn came_from_us(border: &Border, message: &Message) -> bool {
    message.values(HeaderName::Via).filter_map(|via| Via::parse(via).ok()).any(|via| via.branch().is_some_and(|branch| border.mint.is_ours(branch)))
}

/// Caller and called as the A leg wrote them.
fn parties(message: &Message) -> (String, String) {
    let from = message.from().map(|from| from.uri.to_owned()).unwrap_or_default();
    (from, message.request_uri().unwrap_or_default().to_owned())
}

/// §8.2.6.1: at once, so that the caller stops retransmitting whatever screening and locating take.
fn trying(border: &mut Border, now: Time, request: &ServerRequest) {
    border.reply(now, (&request.key, &request.message, &request.flow), 100, None, |_| {});
}

/// What must hold before policy is asked: extensions we know, a body we can read.
pub fn readable(message: &Message) -> Result<Option<Description>, Reason> {
    if !standalone::unsupported(message).is_empty() {
        return Err(Reason::ExtensionRequired);
    }
    if message.body().is_empty() {
        return Ok(None);
    }
    match message.sdp() {
        Some(sdp) => Description::parse(sdp).map(Some).map_err(|_| Reason::MediaMalformed),
        None => Err(Reason::MediaType),
    }
}

fn refuse(border: &mut Border, now: Time, id: CallId, peer: &Peer, request: ServerRequest, reason: Reason) -> Option<Box<Call>> {
    let tag = border.mint.tag();
    let status = standalone::refusal(border, now, &request, reason, &tag);
    let (from, to) = parties(&request.message);
    let leg = record::refused_leg(peer, &request);
    let mut draft = Draft::new(now, from, to, None, leg);
    draft.seen_on(Side::A, &request.flow);
    draft.status = Some(status);
    draft.ended(now, ReleasedBy::Border, reason);
    border.forget_later(now, id, vec![draft.a.call_id.clone()]);
    border.fact(now, Some(id), What::CallEnded(Box::new(draft.file(id, now))));
    None
}

/// Everything is decided: the A leg, its session, and the list of targets.
fn open(border: &mut Border, now: Time, id: CallId, admitted: Admitted, request: ServerRequest, offer: Option<Description>) -> Option<Box<Call>> {
    let peer = admitted.peer.clone();
    let tag = border.mint.tag();
    let (Some(listener), Ok(dialog)) = (border.listener(&request.flow), Dialog::server(&request.message, tag)) else {
        return refuse(border, now, id, &peer, request, Reason::Malformed);
    };
    let mut timer = SessionExpiry::new(&border.settings.session_timer);
    let Ok(session) = lifetime::judge(&mut timer, &request.message) else {
        return refuse(border, now, id, &peer, request, Reason::IntervalTooSmall);
    };
    let (from, to) = parties(&request.message);
    let mut record = Draft::new(
        now,
        from,
        to,
        admitted.plan.as_ref().map(|plan| plan.name.clone()),
        record::leg(&peer, &admitted.a, &dialog.call_id, request.flow.transport, request.flow.remote),
    );
    record.seen_on(Side::A, &request.flow);
    let a_terms = Terms { plan: admitted.a.clone(), transport: request.flow.transport, latch: peer.latch, peer: Some(request.flow.remote.ip()) };
    let b_terms = Terms { plan: admitted.b.clone(), transport: admitted.targets[0].transport, latch: admitted.targets[0].latch, peer: None };
    border.tags.insert(dialog.local_tag.clone(), (id, Side::A));
    border.fact(now, Some(id), record::opened(Side::A, &record.a));
    let plan = admitted.plan.as_ref().map(|plan| &plan.name);
    border.load.admitted(now, &peer.name, plan);
    border.fact(now, Some(id), What::CallAdmitted { plan: plan.cloned() });
    border.timers.set(Timer::Hunt(id), now + LONGEST_HUNT);
    let hunt = failover::search(border, Side::B, candidates(&admitted), offer, Rerouted::NotAsked);
    border.tags.insert(hunt.tag.clone(), (id, Side::B));
    border.call_ids.insert(hunt.call_id.clone(), (id, Side::B));
    let allows_update = request.message.allows(&Method::Update);
    let invite = request.message.clone();
    let a = Leg {
        side: Side::A,
        called: false,
        plan: admitted.a.clone(),
        listener,
        flow: request.flow.clone(),
        dialog,
        exchange: Exchange::Asked(Box::new(Asked { request, session, reliable: None, held: None, answered: false })),
        timer,
        allows_update,
        confirmed: false,
        subscription: None,
        peer,
    };
    let media = SessionMedia::new(a_terms, b_terms, border.settings.media.silence);
    Some(Box::new(Call {
        diverted: branch::diverted(border, &admitted, &invite),
        id,
        admitted,
        media,
        a,
        stage: Stage::Hunting(Box::new(hunt)),
        record,
        byes_due: 0,
        waiting: Vec::new(),
        digits: Digits::default(),
        held: [false; 2],
        invite,
        leaving: None,
        relay: None,
        past: Vec::new(),
        b_end: None,
        counted: Vec::new(),
    }))
}

/// One candidate per host of each target peer, in order.
pub fn candidates(admitted: &Admitted) -> VecDeque<Candidate> {
    let mut queue = VecDeque::new();
    for peer in &admitted.targets {
        for host in &peer.hosts {
            let (host, address) = match host {
                PeerHost::Address(address) if !peer.address_family.admits(*address) => continue,
                PeerHost::Address(address) => (address.to_string(), Some(*address)),
                PeerHost::Name(name) => (name.to_string(), None),
                // A network says from where a peer may come, not where it is.
                PeerHost::Network(_) => continue,
            };
            let port = peer.port.unwrap_or(peer.transport.default_port());
            queue.push_back(Candidate {
                uri: match admitted.called.as_str() {
                    // A fax server may be called as a host alone.
                    "" => crate::policy::topology_hiding::peer_uri(&host, peer.port, peer.transport),
                    called => hosted::request_uri(admitted.pool.as_deref(), called, &host, peer.port, peer.transport),
                },
                host,
                port: peer.port,
                transport: peer.transport,
                names: peer.tls_names.clone(),
                address: address.map(|address| (address, port).into()),
                peer: peer.clone(),
            });
        }
    }
    queue
}

/// No target is left; UM may yet be had over the PSTN.
pub fn given_up(border: &mut Border, now: Time, call: &mut Call) {
    if call.transfer().is_some() {
        let (status, reason) = call.hunt().and_then(|hunt| hunt.failure).unwrap_or((503, Reason::TargetsExhausted));
        return transfer::failed(border, now, call, status, reason);
    }
    if reroute::at_last(border, now, call) {
        return failover::next(border, now, call);
    }
    if let Some(decision) = reroute::barred(call) {
        border.decided(now, call.id, decision);
    }
    let (status, reason) = call.hunt().and_then(|hunt| hunt.failure).unwrap_or((503, Reason::TargetsExhausted));
    release::refuse_caller(border, now, call, status, reason, ReleasedBy::Called);
}
