//! Whether the other ends of open connections are still peers: asked again whenever the peer table, certificates, CAs or revocation lists have
//! changed, and now and then because time passes. All are asked at once, off the connections' own tasks: one that is in order notices nothing.
//!
//! Who is no longer trusted is not cut off in the middle of a word. The connection is at once closed to new requests, ours and theirs; for a while
//! it still carries responses and the requests that end things, then it is closed.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::connection::Direction;
use super::counts::count;
use super::shared::{Life, Shared};
use super::under_way::UnderWay;
use super::{Handshakes, NetEvent};
use crate::policy::flow::{Flow, Presented, Proof, TlsRefusal};
use crate::policy::peer::{PeerTable, identify};
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::event::Connect;
use crate::signaling::transport;
use crate::sip::{Message, Method};

/// Who is at the other end of an open connection, and by what that was proven.
pub struct Party {
    pub flow: Arc<Flow>,
    pub peer: Arc<str>,
    pub direction: Direction,
    /// The certificates shown; over TCP there are none.
    pub presented: Option<Arc<Presented>>,
    /// Under which key a connection of our own making is pooled.
    pub pooled: Option<Connect>,
    pub since: Instant,
    pub under_way: UnderWay,
    /// When a whole message last crossed, in milliseconds after `since`.
    spoke: AtomicU64,
    leaving: AtomicBool,
    asked: Notify,
}

impl Party {
    pub fn new(flow: Arc<Flow>, peer: Arc<str>, direction: Direction, presented: Option<Arc<Presented>>, pooled: Option<Connect>) -> Party {
        Party {
            flow,
            peer,
            direction,
            presented,
            pooled,
            since: Instant::now(),
            under_way: UnderWay::default(),
            spoke: AtomicU64::new(0),
            leaving: AtomicBool::new(false),
            asked: Notify::new(),
        }
    }

    /// A whole message has crossed.
    pub fn spoke(&self) {
        self.spoke.store(self.since.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Nothing is under way, and nothing has crossed for so long.
    pub fn is_quiet(&self, quiet: Duration) -> bool {
        let spoke = self.since + Duration::from_millis(self.spoke.load(Ordering::Relaxed));
        self.under_way.nothing() && spoke.elapsed() >= quiet
    }

    /// Whether nothing new may be begun on its connection.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Resolves when the connection is to be wound up. One task may wait.
    pub async fn leaving(&self) {
        while !self.is_leaving() {
            self.asked.notified().await;
        }
    }

    /// False: it was leaving already.
    fn leave(&self) -> bool {
        let first = !self.leaving.swap(true, Ordering::AcqRel);
        self.asked.notify_one();
        first
    }
}

/// Asks of every open connection, each time there is reason to, until the network closes.
pub async fn keep_asking(shared: Arc<Shared>) {
    let closing = shared.reached(Life::Closing);
    tokio::pin!(closing);
    loop {
        tokio::select! {
            () = shared.reason_to_ask() => {}
            () = &mut closing => return,
        }
        let parties: Vec<Arc<Party>> = shared.connections().flows.values().filter_map(|open| open.party.clone()).filter(|party| !party.is_leaving()).collect();
        if parties.is_empty() {
            continue;
        }
        let (table, handshakes) = (shared.table.load_full(), Arc::clone(&shared.handshakes));
        // Signatures are verified anew: not on the thread that signals.
        let judged = tokio::task::spawn_blocking(move || judge(parties, &table, &*handshakes));
        for (party, decision) in judged.await.unwrap_or_default() {
            part(&shared, party, decision).await;
        }
    }
}

/// A chain, which way and by which peer it was shown, and under which names the peer was called.
type Shown = (Vec<Bytes>, Direction, Arc<str>, Vec<Arc<str>>);

/// Those that are no longer trusted, and why.
fn judge(parties: Vec<Arc<Party>>, table: &PeerTable, handshakes: &dyn Handshakes) -> Vec<(Arc<Party>, Decision)> {
    // Many connections of a peer show the same certificates.
    let mut known: HashMap<Shown, Result<(), TlsRefusal>> = HashMap::new();
    let mut verdict = |party: &Party| {
        let (decision, peer) = identify(table, &party.flow);
        let Some(peer) = peer else { return Err(decision) };
        if peer.name != party.peer {
            let decision = Decision::refused("peer", "an open connection stays with the peer it was opened by", Reason::StrangerCertificate);
            return Err(decision.comparing("opened by", String::from(&*party.peer)).comparing("now", String::from(&*peer.name)));
        }
        let Some(presented) = &party.presented else { return Ok(()) };
        let names = party.pooled.as_ref().map(|connect| connect.names.clone()).unwrap_or_default();
        let key = (presented.chain.clone(), party.direction, Arc::clone(&peer.name), names);
        let result = known.entry(key).or_insert_with_key(|(chain, ..)| {
            // By the peer as the table has it now.
            let proves = match &presented.proves {
                Proof::Client(_) => Proof::Client(vec![Arc::clone(&peer)]),
                server => server.clone(),
            };
            handshakes.recheck(&Presented { chain: chain.clone(), proves })
        });
        result.clone().map_err(|refusal| refused(party, refusal))
    };
    let judged: Vec<_> = parties.iter().map(|party| verdict(party).err()).collect();
    parties.into_iter().zip(judged).filter_map(|(party, decision)| Some((party, decision?))).collect()
}

fn refused(party: &Party, refusal: TlsRefusal) -> Decision {
    let mut decision = Decision::refused("peer", "an open connection is held to the certificates of now", refusal.reason)
        .comparing("source", party.flow.remote.to_string())
        .comparing("certificate", refusal.detail);
    decision.compared.extend(refusal.compared);
    decision
}

/// Closes a connection to everything new: first out of the pool, then told.
async fn part(shared: &Arc<Shared>, party: Arc<Party>, decision: Decision) {
    {
        let mut connections = shared.connections();
        let id = party.flow.id;
        // It may have ended while it was being judged.
        let Some(outbox) = connections.flows.get(&id).map(|open| Arc::clone(&open.outbox)) else { return };
        if !party.leave() {
            return;
        }
        if let Some(connect) = &party.pooled {
            if connections.pool.get(connect).is_some_and(|(pooled, _)| *pooled == id) {
                connections.pool.remove(connect);
            }
            connections.leaving.insert(connect.clone(), (id, outbox));
        }
    }
    count(&shared.counters.connections_untrusted);
    let _ = shared.events.send(NetEvent::Untrusted { party: told(&party), decision }).await;
}

pub fn told(party: &Party) -> super::Parting {
    super::Parting {
        flow: Arc::clone(&party.flow),
        peer: Arc::clone(&party.peer),
        outbound: party.direction == Direction::Outbound,
        age: party.since.elapsed(),
    }
}

/// What is said to a new request on a connection that is leaving; `None`: nothing can be. Nothing of it is remembered: asked again, it is said again.
pub fn refusal(message: Bytes, flow: &Flow, limits: &crate::sip::Limits) -> Option<Bytes> {
    let message = Message::parse(message, limits).ok()?;
    if !message.is_request() || message.method() == Some(&Method::Ack) || message.top_via().is_err() {
        return None;
    }
    let tag = format!("leaving-{}", flow.id.0);
    Some(transport::response(&message, flow, 403, Some(&tag)).finish())
}

/// How often it is looked whether a connection that is leaving has fallen quiet.
pub const GLANCE: Duration = Duration::from_millis(200);
