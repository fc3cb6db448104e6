//! Flows that are connections of another process of this border: messages come from there one by one, and go there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;

use super::counts::count;
use super::doors::{Companion, Foreign, Gates};
use super::outbox::Outgoing;
use super::shared::Shared;
use super::{NetEvent, Network, Parting};
use crate::policy::flow::{Flow, FlowId, Presented, Proof, TlsRefusal};
use crate::policy::peer::identify;
use crate::policy::verdict::Decision;
use crate::signaling::event::{TransmitId, TransportError};

/// Connections of the other process, known here by flows of our own.
#[derive(Default)]
pub struct Borrowed(Mutex<Both>);

#[derive(Default)]
struct Both {
    ours: HashMap<u64, Arc<Flow>>,
    theirs: HashMap<FlowId, u64>,
}

impl Borrowed {
    fn both(&self) -> MutexGuard<'_, Both> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the other process calls a flow, if it is its connection.
    pub fn theirs(&self, flow: FlowId) -> Option<u64> {
        self.both().theirs.get(&flow).copied()
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
            let numbers: Vec<u64> = self.shared.borrowed.both().ours.keys().copied().collect();
            for number in numbers {
                self.returned(number).await;
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
        let listener = self.shared.addresses.get(&flow.listener).copied()?;
        Some(Foreign { number: flow.id.0, listener, flow: flow.clone(), presented })
    }

    /// From now on messages may come from there. Whoever it is must be a peer by our own table and certificates too.
    pub fn borrow(&self, foreign: Foreign) {
        let listener = self.bound.iter().find(|(_, address)| *address == foreign.listener).map(|(id, _)| *id);
        let Some(listener) = listener else { return };
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
        let listener = self.bound.iter().find(|(id, address)| *address == local && self.datagrams.contains_key(id));
        let Some(datagrams) = listener.and_then(|(id, _)| self.datagrams.get(id)) else { return };
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

    /// Sends for the other process, on a connection of ours. False: it has ended, or has too much to carry.
    pub fn transmit_for_companion(&self, flow: u64, bytes: Bytes) -> bool {
        let outbox = self.shared.connections().flows.get(&FlowId(flow)).map(|open| Arc::clone(&open.outbox));
        outbox.is_some_and(|outbox| outbox.push(Outgoing { id: None, bytes }).is_ok())
    }

    /// What was to be sent by the other process was not.
    pub fn companion_failed(&self, id: TransmitId) {
        self.shared.fail(id, TransportError::Closed);
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
    /// False: it is no connection of the other process, or that one is gone.
    pub fn send_by_companion(&self, flow: FlowId, id: TransmitId, bytes: &Bytes) -> bool {
        let Some(theirs) = self.borrowed.theirs(flow) else { return false };
        let companion = self.companion.read().unwrap_or_else(PoisonError::into_inner).clone();
        companion.is_some_and(|companion| companion.send(theirs, id, bytes))
    }

    /// False: there is no other process that would know the source.
    pub fn datagram_to_companion(&self, local: std::net::SocketAddr, remote: std::net::SocketAddr, bytes: &Bytes) -> bool {
        let companion = self.companion.read().unwrap_or_else(PoisonError::into_inner).clone();
        companion.is_some_and(|companion| companion.datagram(local, remote, bytes))
    }
}
