//! Flows that are connections of another process of this border: messages come from there one by one, and go there.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::counts::count;
use super::doors::{Companion, Foreign, Gates};
use super::listeners::Opened;
use super::pool;
use super::shared::Shared;
use super::{NetEvent, Network, Parting};
use crate::policy::flow::{Flow, FlowId, Presented, Proof, TlsRefusal};
use crate::policy::peer::identify;
use crate::policy::verdict::Decision;
use crate::signaling::event::{Connect, TransmitId, TransportError};
use crate::sip::Transport;

/// Connections of the other process, known here by flows of our own.
#[derive(Default)]
pub struct Borrowed(Mutex<Both>);

/// Messages given to the other process that are kept for the case that it cannot send them.
const REMEMBERED: usize = 1_024;

#[derive(Default)]
struct Both {
    ours: HashMap<u64, Arc<Flow>>,
    theirs: HashMap<FlowId, u64>,
    /// Connections that were ours and are the other process's.
    moved: HashSet<FlowId>,
    /// Connections that were the other process's, by the number they had there.
    adopted: HashMap<u64, FlowId>,
    /// The latest given to the other process, and the connection to make where it cannot send them.
    given: VecDeque<(TransmitId, Connect, Bytes)>,
}

impl Borrowed {
    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has_moved(&self, flow: FlowId) {
        self.both().moved.insert(flow);
    }

    pub fn has_not_moved(&self, flow: FlowId) {
        self.both().moved.remove(&flow);
    }

    pub fn is_moved(&self, flow: FlowId) -> bool {
        self.both().moved.contains(&flow)
    }

    /// It is no longer a connection of the other process; its flow, if it had one here.
    pub fn adopted(&self, number: u64) -> Option<FlowId> {
        let mut both = self.both();
        let flow = both.ours.remove(&number)?.id;
        both.theirs.remove(&flow);
        Some(flow)
    }

    pub fn adopt(&self, number: u64, flow: FlowId) {
        self.both().adopted.insert(number, flow);
    }

    pub fn adopted_as(&self, number: u64) -> Option<FlowId> {
        self.both().adopted.get(&number).copied()
    }
}

impl Network {
    /// What is taken in from now on.
    pub fn gate(&self, gates: Gates) {
        self.gates.send_replace(gates);
    }

    /// `None`: there is no other process any more; its connections have ended.
    pub async fn accompany(&self, companion: Option<Arc<dyn Companion>>) {
        let gone = companion.is_none();
        *self.shared.companion.write().unwrap_or_else(PoisonError::into_inner) = companion;
        if gone {
            let (numbers, moved) = {
                let mut both = self.shared.borrowed.both();
                both.adopted.clear();
                both.given.clear();
                (both.ours.keys().copied().collect::<Vec<u64>>(), std::mem::take(&mut both.moved))
            };
            for number in numbers {
                self.returned(number).await;
            }
            // They have ended with it.
            for flow in moved {
                let _ = self.shared.events.send(NetEvent::FlowClosed { flow }).await;
            }
        }
    }

    /// A connection of ours, as the other process is told of it before it gets the first message from it. `None`: by now nobody can say how its
    /// other end has proven who it is.
    pub fn lend(&self, flow: &Flow) -> Option<Foreign> {
        let party = self.shared.connections().flows.get(&flow.id).and_then(|open| open.party.clone());
        let presented = party.and_then(|party| party.presented.clone());
        if flow.tls.is_some() && presented.is_none() {
            return None;
        }
        self.shared.foreign(flow, presented)
    }

    /// From now on messages may come from there. Whoever it is must be a peer by our own table and certificates too.
    pub fn borrow(&self, foreign: Foreign) {
        let Some(listener) = self.shared.listener_at(foreign.flow.transport, foreign.listener) else { return };
        let flow = Arc::new(Flow { id: self.shared.flow_id(), listener, ..foreign.flow });
        if let Some(presented) = &foreign.presented
            && let Err((decision, peer)) = self.still_proves(&flow, presented)
        {
            count(&self.shared.counters.connections_untrusted);
            let party = Parting { flow, peer, outbound: matches!(presented.proves, Proof::Server { .. }), age: Duration::ZERO };
            let _ = self.shared.events.try_send(NetEvent::Untrusted { party, decision });
            return;
        }
        let mut both = self.shared.borrowed.both();
        both.theirs.insert(flow.id, foreign.number);
        both.ours.insert(foreign.number, flow);
    }

    fn still_proves(&self, flow: &Flow, presented: &Presented) -> Result<(), (Decision, Arc<str>)> {
        let (decision, peer) = identify(&self.shared.table.load(), flow);
        let Some(peer) = peer else { return Err((decision, "nobody".into())) };
        let proves = match &presented.proves {
            Proof::Client(_) => Proof::Client(vec![Arc::clone(&peer)]),
            server => server.clone(),
        };
        let held = self.shared.handshakes.recheck(&Presented { chain: presented.chain.clone(), proves });
        held.map_err(|refusal| (refused(flow, refusal), Arc::clone(&peer.name)))
    }

    /// A message from a connection of the other process. Waits while the core has too much to do.
    pub async fn handed(&self, number: u64, bytes: Bytes) {
        let flow = self.shared.borrowed.both().ours.get(&number).cloned();
        if let Some(flow) = flow {
            count(&self.shared.counters.messages_received);
            let _ = self.shared.events.send(NetEvent::Handed { flow, bytes }).await;
        }
    }

    /// A datagram that the other process has read from a socket both have.
    pub async fn handed_datagram(&self, local: std::net::SocketAddr, remote: std::net::SocketAddr, bytes: Bytes) {
        let Some(id) = self.shared.listener_at(Transport::Udp, local) else { return };
        let Some(Opened::Udp(datagrams)) = self.shared.listeners.load().get(&id).map(|listener| listener.socket.clone()) else { return };
        if let Some(flow) = datagrams.admit(&self.shared, remote, &bytes) {
            let _ = self.shared.events.send(NetEvent::Handed { flow, bytes }).await;
        }
    }

    /// A connection of the other process has ended.
    pub async fn returned(&self, number: u64) {
        let flow = {
            let mut both = self.shared.borrowed.both();
            let Some(flow) = both.ours.remove(&number) else { return };
            both.theirs.remove(&flow.id);
            flow.id
        };
        let _ = self.shared.events.send(NetEvent::FlowClosed { flow }).await;
    }

    /// What was to be sent by the other process was not: it goes to the same peer on a connection of our own, where one may be made.
    pub fn companion_failed(&self, id: TransmitId) {
        let given = {
            let mut both = self.shared.borrowed.both();
            let at = both.given.iter().position(|(given, ..)| *given == id);
            at.and_then(|at| both.given.remove(at))
        };
        match given {
            Some((id, to, bytes)) => pool::send(&self.shared, id, to, bytes),
            None => self.shared.fail(id, TransportError::Closed),
        }
    }
}

fn refused(flow: &Flow, refusal: TlsRefusal) -> Decision {
    let mut decision = Decision::refused("peer", "a connection taken over is held to the certificates of now", refusal.reason)
        .comparing("source", flow.remote.to_string())
        .comparing("certificate", refusal.detail);
    decision.compared.extend(refusal.compared);
    decision
}

impl Shared {
    /// False: it is no connection of the other process, or that one is gone. `otherwise`: the connection to make if it cannot send.
    pub fn send_by_companion(&self, flow: FlowId, id: TransmitId, otherwise: Option<&Connect>, bytes: &Bytes) -> bool {
        let (theirs, moved) = {
            let mut both = self.borrowed.both();
            let theirs = both.theirs.get(&flow).copied();
            if let Some(otherwise) = otherwise.filter(|_| theirs.is_some()) {
                both.given.truncate(REMEMBERED - 1);
                both.given.push_front((id, otherwise.clone(), bytes.clone()));
            }
            (theirs, both.moved.contains(&flow))
        };
        if theirs.is_none() && !moved {
            return false;
        }
        let companion = self.companion.read().unwrap_or_else(PoisonError::into_inner).clone();
        companion.is_some_and(|companion| match theirs {
            Some(theirs) => companion.send(theirs, id, bytes),
            None => companion.carry(flow.0, None, bytes),
        })
    }

    /// False: there is no other process that would know the source.
    pub fn datagram_to_companion(&self, local: std::net::SocketAddr, remote: std::net::SocketAddr, bytes: &Bytes) -> bool {
        let companion = self.companion.read().unwrap_or_else(PoisonError::into_inner).clone();
        companion.is_some_and(|companion| companion.datagram(local, remote, bytes))
    }
}
