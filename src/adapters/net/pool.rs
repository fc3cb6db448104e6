//! Connections we make, and their reuse (RFC 5923, RFC 3261 §18.1.1): one for each (transport, remote, peer, names, listener), shared by all that
//! is sent there, also while it is being made.

use std::sync::Arc;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::connection::{Direction, fault};
use super::counts::count;
use super::moving::{carry_plain, carry_secured};
use super::outbox::{Outbox, Outgoing, Refusal};
use super::shaken;
use super::shared::{Life, Open, Place, Shared};
use super::sockets;
use super::standing::Party;
use super::under_way::{is_ending, is_request};
use super::{NetEvent, Stream};
use crate::policy::flow::{Flow, FlowId, Presented, TlsRefusal};
use crate::signaling::event::{Connect, TransmitId, TransportError};
use crate::sip::Transport;

/// Sends on an open flow, else on a connection to `otherwise`.
pub fn send_on_flow(shared: &Arc<Shared>, id: TransmitId, flow: FlowId, otherwise: Option<Connect>, bytes: Bytes) {
    if shared.send_by_companion(flow, id, otherwise.as_ref(), &bytes) {
        return;
    }
    let outbox = {
        let connections = shared.connections();
        let open = connections.flows.get(&flow);
        // Where the other end is no longer trusted, a new request finds no connection.
        let closed = |open: &&Open| open.party.as_ref().is_some_and(|party| party.is_leaving()) && is_request(&bytes) && !is_ending(&bytes);
        open.filter(|open| !closed(open)).map(|open| Arc::clone(&open.outbox))
    };
    let outgoing = Outgoing { id: Some(id), bytes };
    let refused = match outbox {
        Some(outbox) => outbox.push(outgoing),
        None => Err((Refusal::Ended, outgoing)),
    };
    match (refused, otherwise) {
        (Ok(()), _) => {}
        (Err((Refusal::Ended, outgoing)), Some(connect)) => send(shared, id, connect, outgoing.bytes),
        (Err(_), _) => shared.fail(id, TransportError::Closed),
    }
}

/// Sends on the pooled connection, which is made if there is none.
pub fn send(shared: &Arc<Shared>, id: TransmitId, to: Connect, bytes: Bytes) {
    let mut outgoing = Outgoing { id: Some(id), bytes };
    let pooled = {
        let connections = shared.connections();
        // What ends things goes where they began, if no other connection has taken its place.
        let leaving = || connections.leaving.get(&to).filter(|_| is_ending(&outgoing.bytes));
        connections.pool.get(&to).or_else(leaving).map(|(_, outbox)| Arc::clone(outbox))
    };
    if let Some(outbox) = pooled {
        outgoing = match outbox.push(outgoing) {
            Ok(()) => return,
            Err((Refusal::Full, _)) => return shared.fail(id, TransportError::Closed),
            Err((Refusal::Ended, outgoing)) => outgoing,
        };
    }
    let Some(place) = shared.place(None) else { return shared.fail(id, TransportError::Closed) };
    let flow = shared.flow_id();
    let outbox = shared.outbox(true);
    if let Err((_, Outgoing { id: Some(id), .. })) = outbox.push(outgoing) {
        return shared.fail(id, TransportError::Closed);
    }
    {
        let mut connections = shared.connections();
        // Two threads may come here at once: the later connection takes the pool's place, the earlier one still carries what it was given.
        connections.pool.insert(to.clone(), (flow, Arc::clone(&outbox)));
        connections.flows.insert(flow, Open { outbox: Arc::clone(&outbox), party: None });
    }
    let task = run(Arc::clone(shared), to.clone(), flow, Arc::clone(&outbox), place);
    if !shared.spawn(task) {
        end(shared, &to, flow, &outbox, TransportError::Closed);
    }
}

async fn run(shared: Arc<Shared>, to: Connect, id: FlowId, outbox: Arc<Outbox>, place: Place) {
    let epoch = shared.epoch();
    let established = tokio::select! {
        established = establish(&shared, &to, id) => established,
        () = shared.reached(Life::Over) => Err(TransportError::Closed),
    };
    let ended = match established {
        Ok(Established { stream, flow, presented }) => {
            count(&shared.counters.connections_made);
            let party = Arc::new(Party::new(Arc::new(flow), Arc::clone(&to.peer), Direction::Outbound, presented, Some(to.clone())));
            shared.open(&outbox, &party, epoch);
            match stream {
                Wire::Plain(stream) => carry_plain(&shared, stream, &party, &outbox, &[]).await,
                Wire::Secured(stream) => Some(carry_secured(&shared, stream, &party, &outbox).await),
            }
        }
        Err(error) => {
            count(&shared.counters.connections_failed);
            shared.tls_refused(&to, &error);
            drop(place);
            return end(&shared, &to, id, &outbox, error);
        }
    };
    drop(place);
    let Some(error) = ended else {
        // It is the other process's, which hears what is answered on it.
        forget(&shared, &to, id);
        outbox.end();
        return;
    };
    shared.tls_refused(&to, &error);
    end(&shared, &to, id, &outbox, error);
    let _ = shared.events.send(NetEvent::FlowClosed { flow: id }).await;
}

/// First out of the pool, then ended: who finds the outbox ended will not find it in the pool again.
fn end(shared: &Shared, to: &Connect, flow: FlowId, outbox: &Outbox, error: TransportError) {
    forget(shared, to, flow);
    outbox.end().into_iter().for_each(|id| shared.fail(id, error.clone()));
}

fn forget(shared: &Shared, to: &Connect, flow: FlowId) {
    let mut connections = shared.connections();
    connections.flows.remove(&flow);
    if connections.pool.get(to).is_some_and(|(pooled, _)| *pooled == flow) {
        connections.pool.remove(to);
    }
    if connections.leaving.get(to).is_some_and(|(leaving, _)| *leaving == flow) {
        connections.leaving.remove(to);
    }
}

enum Wire {
    Plain(TcpStream),
    Secured(Box<dyn Stream>),
}

struct Established {
    stream: Wire,
    flow: Flow,
    presented: Option<Arc<Presented>>,
}

async fn establish(shared: &Shared, to: &Connect, id: FlowId) -> Result<Established, TransportError> {
    let from = shared.listeners.load().get(&to.listener).map(|listener| listener.local.ip());
    if to.transport == Transport::Udp {
        return Err(TransportError::Socket);
    }
    let deadline = Instant::now() + shared.limits.connect;
    let connected = timeout_at(deadline, sockets::connect(from, to.remote)).await.map_err(|_| TransportError::TimedOut)?;
    let stream = connected.map_err(|error| fault(&error))?;
    let local = stream.local_addr().map_err(|error| fault(&error))?;
    let flow = Flow { id, transport: to.transport, listener: to.listener, local, remote: to.remote, tls: None };
    if to.transport == Transport::Tcp {
        return Ok(Established { stream: Wire::Plain(stream), flow, presented: None });
    }
    let shaken = timeout_at(deadline, shared.handshakes.connect(to, stream)).await;
    let secured = shaken.unwrap_or_else(|_| Err(TlsRefusal::too_slow(shared.limits.connect)));
    shared.shaken.count(Direction::Outbound, &to.peer, secured.as_ref().err().map_or(shaken::DONE, |refusal| refusal.reason.code()));
    let secured = secured?;
    let flow = Flow { tls: Some(Arc::new(secured.identity)), ..flow };
    Ok(Established { stream: Wire::Secured(secured.stream), flow, presented: Some(secured.presented) })
}
