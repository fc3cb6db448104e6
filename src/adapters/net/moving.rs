//! Plain connections that go from one process of this border to the next as they stand: the socket, and what was read of it and is no whole message yet. Their other ends notice nothing.
//!
//! The state of TLS cannot be given away: such a connection is closed between two messages, and what its other end sent before it knew of that is still read, and answered on a connection
//! to it (RFC 3261 §18.2.2).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::{Direction, Ended, Parting, carry};
use super::counts::count;
use super::doors::{Foreign, Moved};
use super::outbox::{Outbox, Outgoing};
use super::shared::Shared;
use super::standing::Party;
use super::stream_listener::{Wire, serve};
use super::{NetEvent, Network};
use crate::policy::flow::{Flow, FlowId, Presented};
use crate::policy::peer::identify;
use crate::signaling::event::{TransmitId, TransportError};

/// What became of a message of the other process's for a connection of ours.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carriage {
    Sent,
    /// The connection is the other process's by now, which is to send it itself.
    Moved(Bytes),
    Failed,
}

/// A connection over TLS, until it ends.
pub async fn carry_secured(shared: &Shared, stream: impl AsyncRead + AsyncWrite + Unpin, party: &Party, outbox: &Outbox) -> TransportError {
    match carry(shared, stream, party, outbox, &[], Parting::Closes).await {
        Ended::Over(error) => error,
        Ended::AtRest { .. } => TransportError::Closed,
    }
}

/// A plain connection, until it ends. `None`: it has not, and is another process's.
pub async fn carry_plain(shared: &Shared, stream: TcpStream, party: &Party, outbox: &Outbox, first: &[u8]) -> Option<TransportError> {
    match carry(shared, stream, party, outbox, first, Parting::Moves).await {
        Ended::Over(error) => Some(error),
        Ended::AtRest { stream, rest } => (!shared.move_over(party, stream, rest)).then_some(TransportError::Closed),
    }
}

impl Shared {
    /// A connection of ours as the other process is told of it. `None`: its listener is gone.
    pub(super) fn foreign(&self, flow: &Flow, presented: Option<Arc<Presented>>) -> Option<Foreign> {
        let listener: SocketAddr = self.listeners.load().get(&flow.listener)?.local;
        Some(Foreign { number: flow.id.0, listener, flow: flow.clone(), presented })
    }

    /// False: nobody takes it.
    fn move_over(&self, party: &Party, stream: TcpStream, rest: Bytes) -> bool {
        let companion = self.companion.read().unwrap_or_else(PoisonError::into_inner).clone();
        let (Some(companion), Some(foreign), Ok(socket)) = (companion, self.foreign(&party.flow, None), stream.into_std()) else { return false };
        // What is sent from now on goes after it.
        self.borrowed.has_moved(party.flow.id);
        let moved = Moved { foreign, outbound: party.direction == Direction::Outbound, rest, socket: OwnedFd::from(socket) };
        let taken = companion.adopt(moved);
        if taken {
            count(&self.counters.connections_moved);
        } else {
            self.borrowed.has_not_moved(party.flow.id);
        }
        taken
    }
}

impl Network {
    /// A connection of the other process's is ours from here on. Whoever is behind it must be a peer by our own table too.
    pub async fn adopt(&self, moved: Moved) {
        let Moved { foreign, outbound, rest, socket } = moved;
        let known = self.shared.borrowed.adopted(foreign.number);
        let Some(listener) = self.shared.listener_at(foreign.flow.transport, foreign.listener) else { return };
        let id = known.unwrap_or_else(|| self.shared.flow_id());
        let flow = Flow { id, listener, ..foreign.flow };
        if !self.resume(foreign.number, flow, outbound, rest, socket) && known.is_some() {
            let _ = self.shared.events.send(NetEvent::FlowClosed { flow: id }).await;
        }
    }

    /// False: it is closed.
    fn resume(&self, number: u64, flow: Flow, outbound: bool, rest: Bytes, socket: OwnedFd) -> bool {
        let Ok(stream) = TcpStream::from_std(socket.into()) else { return false };
        let (decision, peer) = identify(&self.shared.table.load(), &flow);
        let Some(peer) = peer else {
            self.shared.stranger(flow.transport, flow.remote, || decision);
            return false;
        };
        let Some(place) = self.shared.place((!outbound).then_some(flow.remote.ip())) else {
            count(&self.shared.counters.connections_refused);
            return false;
        };
        let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
        self.shared.borrowed.adopt(number, flow.id);
        let epoch = self.shared.epoch();
        let party = Party::new(Arc::new(flow), peer.name.clone(), direction, None, None);
        self.shared.spawn(serve(Arc::clone(&self.shared), Wire::Plain(stream, rest), party, place, epoch))
    }

    /// Sends for the other process, on a connection of ours.
    pub fn transmit_for_companion(&self, flow: u64, bytes: Bytes) -> Carriage {
        let flow = FlowId(flow);
        let outbox = self.shared.connections().flows.get(&flow).map(|open| Arc::clone(&open.outbox));
        let refused = match outbox {
            Some(outbox) => match outbox.push(Outgoing { id: None, bytes }) {
                Ok(()) => return Carriage::Sent,
                Err((_, refused)) => refused.bytes,
            },
            None => bytes,
        };
        if self.shared.borrowed.is_moved(flow) { Carriage::Moved(refused) } else { Carriage::Failed }
    }

    /// Sends on a connection that was the other process's, which called it so. `id`: ours, if the message is.
    pub fn carry_on(&self, number: u64, id: Option<TransmitId>, bytes: Bytes) {
        let flow = self.shared.borrowed.adopted_as(number);
        let outbox = flow.and_then(|flow| self.shared.connections().flows.get(&flow).map(|open| Arc::clone(&open.outbox)));
        let sent = outbox.is_some_and(|outbox| outbox.push(Outgoing { id, bytes }).is_ok());
        if let Some(id) = id.filter(|_| !sent) {
            self.companion_failed(id);
        }
    }
}
