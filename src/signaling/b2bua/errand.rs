//! Requests of ours outside any call: NOTIFY (RFC 6665 §8.1.1), MESSAGE (RFC 3428), each through client transactions of its own (RFC 3261 §17.1.2).
//!
//! An errand goes to one peer: its hosts are located as for a call, its addresses tried in the order of their liveness, the next one on silence,
//! transport failure, 408 or 503 (RFC 3263 §4.3). Its owner hears of the outcome exactly once, at the latest at `by`. So many at most are under way;
//! one more is refused at once, so that whoever asks for many cannot make memory grow.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::policy::settings::{Peer, PeerHost};
use crate::policy::topology_hiding;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Candidate, ClientOwner};
use crate::signaling::b2bua::message_waiting::{self, Notice};
use crate::signaling::b2bua::{failover, missed_call, setup};
use crate::signaling::border::{Border, Timer};
use crate::signaling::event::{Action, LocateError, LocateId, LocateQuery, Target, TransportError};
use crate::signaling::fact::What;
use crate::signaling::liveness;
use crate::signaling::settings::Listener;
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{Builder, Message, Method};
use crate::time::Time;

/// Under way at once.
const MOST: usize = 1000;

/// One address that does not answer in this time is given up: as with calls, the 10 s rule.
const NO_ANSWER: Duration = Duration::from_secs(10);

/// Whoever asked waits for 64*T1, 32 s, at most: an outcome after that is of no use to them.
pub const LONGEST: Duration = Duration::from_secs(28);

/// Never names another one later.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ErrandId(u64);

pub struct Errand {
    pub peer: Arc<Peer>,
    pub request_uri: RequestUri,
    /// User part of From, at our own host; not escaped. Empty: our host alone.
    pub from_user: String,
    /// NOTIFY or MESSAGE.
    pub method: Method,
    /// Besides Via, Max-Forwards, From, To, Call-ID, CSeq, Contact, User-Agent and the body's own.
    pub headers: Vec<(&'static str, String)>,
    /// Content-Type and content.
    pub body: Option<(&'static str, Vec<u8>)>,
    /// The owner hears of the outcome until then; see [`LONGEST`].
    pub by: Time,
    pub owner: ErrandOwner,
}

pub enum RequestUri {
    /// This user, not escaped, at each of the peer's hosts.
    User(String),
    /// As it stands, whichever of the peer's addresses it is sent to.
    Whole(String),
}

/// Who hears of the outcome.
pub enum ErrandOwner {
    MessageWaiting(Box<Notice>),
    /// The notice of this id.
    MissedCall {
        id: Arc<str>,
        peer: Arc<str>,
    },
}

/// What became of an errand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The final response's, or the one that stands for what happened instead: 408 for silence, 503 for no way there.
    pub status: u16,
    /// `Answered` for a 2xx.
    pub reason: Reason,
    /// Who answered, or was tried last.
    pub target: Option<SocketAddr>,
}

impl Outcome {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

#[derive(Default)]
pub struct Errands {
    under_way: HashMap<ErrandId, UnderWay>,
    locates: HashMap<LocateId, ErrandId>,
    next: u64,
}

impl Errands {
    pub fn len(&self) -> usize {
        self.under_way.len()
    }

    pub fn is_empty(&self) -> bool {
        self.under_way.is_empty()
    }

    pub fn locates(&self) -> usize {
        self.locates.len()
    }
}

struct UnderWay {
    id: ErrandId,
    errand: Errand,
    queue: VecDeque<Candidate>,
    step: Step,
    /// What the owner is told if nothing better comes.
    worst: Outcome,
    call_id: String,
    tag: String,
    seq: u32,
}

enum Step {
    Idle,
    Locating { id: LocateId, candidate: Candidate },
    Asking { client: ClientKey, candidate: Candidate, address: SocketAddr },
}

/// Begins an errand. Where nothing can be sent at all the owner hears of it before this returns.
pub fn send(border: &mut Border, now: Time, errand: Errand) {
    let none = Outcome { status: 503, reason: Reason::NoRoute, target: None };
    if border.errands.len() >= MOST {
        return report(border, now, errand.owner, &Outcome { reason: Reason::Overload, ..none });
    }
    let id = ErrandId(border.errands.next);
    border.errands.next += 1;
    let queue = candidates(&errand);
    let (call_id, tag) = (border.mint.call_id(), border.mint.tag());
    next(border, now, UnderWay { id, errand, queue, step: Step::Idle, worst: none, call_id, tag, seq: 0 });
}

/// One candidate per host of the peer, in order.
fn candidates(errand: &Errand) -> VecDeque<Candidate> {
    let peer = &errand.peer;
    let place = |host: &PeerHost| {
        let (host, address) = match host {
            PeerHost::Address(address) => (address.to_string(), Some(*address)),
            PeerHost::Name(name) => (name.to_string(), None),
            // A network says from where a peer may come, not where it is.
            PeerHost::Network(_) => return None,
        };
        let uri = match &errand.request_uri {
            RequestUri::User(user) => topology_hiding::request_uri(user, &host, peer.port, peer.transport),
            RequestUri::Whole(uri) => uri.clone(),
        };
        let port = peer.port.unwrap_or(peer.transport.default_port());
        let address = address.map(|address| SocketAddr::new(address, port));
        let (transport, names) = (peer.transport, peer.tls_names.clone());
        Some(Candidate { peer: peer.clone(), uri, host, port: peer.port, transport, names, address })
    };
    peer.hosts.iter().filter_map(place).collect()
}

fn next(border: &mut Border, now: Time, mut under_way: UnderWay) {
    loop {
        let left = under_way.errand.by.since(now);
        let candidate = if left.is_zero() { None } else { failover::best(border, now, &mut under_way.queue).map(|best| best.candidate) };
        let Some(candidate) = candidate else {
            border.timers.cancel(Timer::Errand(under_way.id));
            let UnderWay { errand, worst, .. } = under_way;
            return report(border, now, errand.owner, &worst);
        };
        let outcome = match (failover::takes_calls(&border.table, &candidate), candidate.address) {
            (Ok(()), Some(address)) => ask(border, now, &mut under_way, &candidate, address).map(|client| Step::Asking { client, candidate, address }),
            (Ok(()), None) => Ok(locate(border, under_way.id, candidate)),
            (Err(reason), _) => Err(reason),
        };
        match outcome {
            Ok(step) => {
                under_way.step = step;
                border.timers.set(Timer::Errand(under_way.id), now + NO_ANSWER.min(left));
                border.errands.under_way.insert(under_way.id, under_way);
                return;
            }
            Err(reason) => under_way.worst = Outcome { status: 503, reason, target: None },
        }
    }
}

fn locate(border: &mut Border, errand: ErrandId, candidate: Candidate) -> Step {
    let id = border.new_locate_id();
    border.errands.locates.insert(id, errand);
    let query =
        LocateQuery { host: candidate.host.clone().into(), port: candidate.port, transport: Some(candidate.transport), allowed: vec![candidate.transport] };
    border.act(Action::Locate { id, query });
    Step::Locating { id, candidate }
}

/// The answer to a question of this chapter's; false: it was not one.
pub fn located(border: &mut Border, now: Time, id: LocateId, targets: &Result<Vec<Target>, LocateError>) -> bool {
    let Some(errand) = border.errands.locates.remove(&id) else { return false };
    let Some(mut under_way) = taken(border, errand) else { return true };
    match std::mem::replace(&mut under_way.step, Step::Idle) {
        Step::Locating { id: asked, candidate } if asked == id => {
            let places = setup::places(border, &candidate, targets.clone());
            if places.is_empty() {
                under_way.worst = Outcome { status: 503, reason: Reason::LocateFailed, target: None };
            }
            for place in places.into_iter().rev() {
                under_way.queue.push_front(Candidate { address: Some(place.address), transport: place.transport, ..candidate.clone() });
            }
            next(border, now, under_way);
        }
        step => {
            under_way.step = step;
            border.errands.under_way.insert(errand, under_way);
        }
    }
    true
}

fn taken(border: &mut Border, id: ErrandId) -> Option<UnderWay> {
    border.errands.under_way.remove(&id)
}

/// A response to the request of `key`.
pub fn answered(border: &mut Border, now: Time, id: ErrandId, key: ClientKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 {
        return;
    }
    let Some((mut under_way, candidate, address)) = asking(border, id, key) else { return };
    border.timers.cancel(Timer::Errand(id));
    match status {
        408 | 503 => {
            let reason = if status == 503 { Reason::TargetUnavailable } else { Reason::TargetTimeout };
            given_up(border, now, under_way, &candidate, Outcome { status, reason, target: Some(address) });
        }
        _ => {
            liveness::alive(border, now, &candidate.peer.name, address);
            let reason = if status < 300 { Reason::Answered } else { Reason::RequestRefused };
            under_way.step = Step::Idle;
            report(border, now, under_way.errand.owner, &Outcome { status, reason, target: Some(address) });
        }
    }
}

/// The request of `key` could not be sent, or was not answered in its transaction's time.
pub fn failed(border: &mut Border, now: Time, id: ErrandId, key: ClientKey, error: Option<TransportError>) {
    let Some((under_way, candidate, address)) = asking(border, id, key) else { return };
    let reason = error.as_ref().map_or(Reason::TargetTimeout, failover::unreachable);
    given_up(border, now, under_way, &candidate, Outcome { status: reason.status().unwrap_or(503), reason, target: Some(address) });
}

/// The present step takes too long.
pub fn due(border: &mut Border, now: Time, id: ErrandId) {
    let Some(mut under_way) = taken(border, id) else { return };
    match std::mem::replace(&mut under_way.step, Step::Idle) {
        Step::Asking { client, candidate, address } => {
            border.transactions.abandon(now, client);
            given_up(border, now, under_way, &candidate, Outcome { status: 408, reason: Reason::TargetTimeout, target: Some(address) });
        }
        Step::Locating { id, .. } => {
            border.errands.locates.remove(&id);
            under_way.worst = Outcome { status: 503, reason: Reason::LocateFailed, target: None };
            next(border, now, under_way);
        }
        Step::Idle => next(border, now, under_way),
    }
}

/// The errand that waits for the answer of `key`, taken out.
fn asking(border: &mut Border, id: ErrandId, key: ClientKey) -> Option<(UnderWay, Candidate, SocketAddr)> {
    let waits = |under_way: &UnderWay| matches!(&under_way.step, Step::Asking { client, .. } if *client == key);
    border.errands.under_way.get(&id).filter(|under_way| waits(under_way))?;
    let mut under_way = taken(border, id)?;
    match std::mem::replace(&mut under_way.step, Step::Idle) {
        Step::Asking { candidate, address, .. } => Some((under_way, candidate, address)),
        Step::Idle | Step::Locating { .. } => None,
    }
}

fn given_up(border: &mut Border, now: Time, mut under_way: UnderWay, candidate: &Candidate, outcome: Outcome) {
    if let Some(target) = outcome.target {
        liveness::suspected(border, now, &candidate.peer.name, target);
        if !under_way.queue.is_empty() {
            border.fact(now, None, What::FailedOver { peer: candidate.peer.name.clone(), target, why: outcome.reason });
        }
    }
    under_way.worst = outcome;
    next(border, now, under_way);
}

/// An error means that this address cannot be had at all.
fn ask(border: &mut Border, now: Time, under_way: &mut UnderWay, candidate: &Candidate, address: SocketAddr) -> Result<ClientKey, Reason> {
    let peer = &candidate.peer;
    let listener = border.listener_for(peer, candidate.transport, address).ok_or(Reason::NoRoute)?;
    let branch = border.mint.branch();
    let bytes = compose(border, under_way, candidate, &listener, &branch);
    let route = transport::request_route(&listener, peer, address, &candidate.names);
    let client = border.transactions.request(now, &under_way.errand.method, &branch, route, bytes);
    border.clients.insert(client, ClientOwner::Errand { errand: under_way.id, peer: peer.name.clone() });
    Ok(client)
}

fn compose(border: &Border, under_way: &mut UnderWay, candidate: &Candidate, listener: &Listener, branch: &str) -> Bytes {
    under_way.seq += 1;
    let errand = &under_way.errand;
    let to = match &errand.request_uri {
        RequestUri::User(user) => topology_hiding::to_value(user, &candidate.host),
        RequestUri::Whole(uri) => format!("<{uri}>"),
    };
    let from = match errand.from_user.as_str() {
        "" => format!("<sip:{}>", listener.host()),
        user => topology_hiding::to_value(user, listener.host()),
    };
    let mut request = Builder::request(&errand.method, &candidate.uri);
    request.header("Via", transport::via(listener, branch)).header("Max-Forwards", "70");
    request.header_fmt("From", format_args!("{from};tag={}", under_way.tag)).header("To", to).header("Call-ID", &under_way.call_id);
    request.header_fmt("CSeq", format_args!("{} {}", under_way.seq, errand.method.as_str()));
    // RFC 3428 §4: a MESSAGE carries none.
    if errand.method != Method::Message {
        request.header("Contact", transport::contact(listener));
    }
    for (name, value) in &errand.headers {
        request.header(name, value);
    }
    request.header("User-Agent", border.settings.product.as_bytes());
    if let Some((content_type, body)) = &errand.body {
        request.body(content_type, body);
    }
    request.finish()
}

fn report(border: &mut Border, now: Time, owner: ErrandOwner, outcome: &Outcome) {
    match owner {
        ErrandOwner::MessageWaiting(notice) => message_waiting::reported(border, now, *notice, outcome),
        ErrandOwner::MissedCall { id, peer } => missed_call::reported(border, now, id, peer, outcome.status, outcome.reason),
    }
}
