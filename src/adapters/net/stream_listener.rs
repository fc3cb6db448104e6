//! Accepting connections: who may come in at all is decided before a byte is read, and for TLS again by the certificate.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::connection::Direction;
use super::counts::count;
use super::doors;
use super::listeners::Stage;
use super::moving::{carry_plain, carry_secured};
use super::shaken;
use super::shared::{Life, Place, Shared};
use super::sockets;
use super::standing::Party;
use super::turnstile::Held;
use super::{NetEvent, Stream};
use crate::policy::flow::{Flow, ListenerId, TlsRefusal};
use crate::policy::peer::identify;
use crate::policy::settings::Peer;
use crate::policy::verdict::{Decision, Reason};
use crate::sip::Transport;

/// After a failed accept (out of file descriptors, mostly): others are to give some back meanwhile.
const BREATH: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
pub struct Door {
    pub listener: ListenerId,
    pub transport: Transport,
    pub local: SocketAddr,
}

/// Until the network closes, or the listener is taken out.
pub async fn accept(shared: Arc<Shared>, listener: Arc<TcpListener>, door: Door, stage: watch::Receiver<Stage>) {
    let closing = shared.reached(Life::Closing);
    tokio::pin!(closing);
    loop {
        tokio::select! {
            () = doors::until(&shared.gates, &stage, |gates, stage| gates.connections || stage != Stage::Open) => {}
            () = &mut closing => return,
        }
        if *stage.borrow() != Stage::Open {
            return;
        }
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = doors::until(&shared.gates, &stage, |gates, stage| !gates.connections || stage != Stage::Open) => continue,
            () = &mut closing => return,
        };
        match accepted {
            Ok((stream, remote)) => enter(&shared, stream, remote, door),
            Err(_) => {
                count(&shared.counters.socket_errors);
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Closes the connection at once, by dropping it, unless a peer may be behind it and there is room.
fn enter(shared: &Arc<Shared>, stream: TcpStream, remote: SocketAddr, door: Door) {
    let local = stream.local_addr().unwrap_or(door.local);
    let epoch = shared.epoch();
    let flow = Flow { id: shared.flow_id(), transport: door.transport, listener: door.listener, local, remote, tls: None };
    let table = shared.table.load();
    let candidates: Vec<Arc<Peer>> = table.expected(remote.ip(), door.transport).into_iter().cloned().collect();
    // Without a certificate the address must already say who it is.
    let known = if door.transport == Transport::Tls { None } else { identify(&table, &flow).1 };
    if candidates.is_empty() || (door.transport != Transport::Tls && known.is_none()) {
        return shared.stranger(door.transport, remote, || identify(&table, &flow).0);
    }
    let Some(place) = shared.place(Some(remote.ip())) else {
        return count(&shared.counters.connections_refused);
    };
    sockets::tune(&stream, shared.limits.write * 2);
    let task_shared = Arc::clone(shared);
    shared.spawn(async move {
        match known {
            None => secure(task_shared, stream, flow, candidates, place, epoch).await,
            Some(peer) => {
                let party = Party::new(Arc::new(flow), Arc::clone(&peer.name), Direction::Inbound, None, None);
                serve(task_shared, Wire::Plain(stream, Bytes::new()), party, place, epoch).await;
            }
        }
    });
}

async fn secure(shared: Arc<Shared>, stream: TcpStream, flow: Flow, candidates: Vec<Arc<Peer>>, place: Place, epoch: u64) {
    let limit = shared.limits.handshake;
    let pass = tokio::select! {
        pass = shared.turnstile.enter(flow.remote.ip(), limit) => pass,
        () = shared.reached(Life::Closing) => return,
    };
    if pass.as_ref().is_none_or(|pass| pass.delayed) {
        held_up(&shared, &flow, &candidates, pass.is_none());
    }
    let Some(pass) = pass else { return };
    let (handshakes, listener, expected) = (Arc::clone(&shared.handshakes), flow.listener, candidates.clone());
    let handshake = async move { handshakes.accept(listener, expected, stream).await };
    let threads = shared.threads.get();
    let shaking = timeout(limit, async move {
        match threads {
            Some(threads) => threads.run(handshake).await,
            None => Some(handshake.await),
        }
    });
    let shaken = tokio::select! {
        shaken = shaking => shaken,
        () = shared.reached(Life::Closing) => return,
    };
    drop(pass);
    let secured = match shaken.map_or_else(|_| Err(TlsRefusal::too_slow(limit)), |shaken| shaken.unwrap_or_else(|| Err(given_up()))) {
        Ok(secured) => secured,
        Err(refusal) => {
            count(&shared.counters.handshakes_failed);
            let expected = if let [only] = &candidates[..] { Arc::clone(&only.name) } else { "several".into() };
            shared.shaken.count(Direction::Inbound, &expected, refusal.reason.code());
            return shared.stranger(Transport::Tls, flow.remote, || refused(&flow, &candidates, refusal));
        }
    };
    // It was taken out meanwhile.
    if !shared.takes_connections(flow.listener) {
        return;
    }
    let flow = Flow { tls: Some(Arc::new(secured.identity)), ..flow };
    let (decision, peer) = identify(&shared.table.load(), &flow);
    match peer {
        Some(peer) => {
            shared.shaken.count(Direction::Inbound, &peer.name, shaken::DONE);
            let party = Party::new(Arc::new(flow), Arc::clone(&peer.name), Direction::Inbound, Some(secured.presented), None);
            serve(shared, Wire::Secured(secured.stream), party, place, epoch).await;
        }
        None => {
            shared.shaken.count(Direction::Inbound, &"none".into(), decision.refused.map_or(shaken::DONE, Reason::code));
            shared.stranger(Transport::Tls, flow.remote, || decision);
        }
    }
}

/// A handshake came too fast: counted always, told of now and then.
fn held_up(shared: &Shared, flow: &Flow, candidates: &[Arc<Peer>], refused: bool) {
    count(if refused { &shared.counters.handshakes_refused } else { &shared.counters.handshakes_delayed });
    let source = flow.remote.ip();
    let Some(Held { delayed, refused }) = shared.turnstile.held(Instant::now(), source, refused) else { return };
    let expected: Vec<&str> = candidates.iter().map(|peer| &*peer.name).collect();
    let limits = &shared.limits;
    let decision = Decision::refused("peer", "TLS handshakes are limited for each address and in all", Reason::TlsHandshakeRate)
        .comparing("peers at this address", expected.join(", "))
        .comparing("handshake_rate", limits.handshake_rate.to_string())
        .comparing("handshakes_per_source", limits.handshakes_per_source.to_string())
        .comparing("handshakes", limits.handshakes.to_string());
    let _ = shared.events.try_send(NetEvent::HandshakesHeld { source, delayed, refused, decision });
}

fn given_up() -> TlsRefusal {
    TlsRefusal::new(Reason::TlsBroken, "we gave up its handshake by a fault of our own: see the lines before this one")
}

fn refused(flow: &Flow, candidates: &[Arc<Peer>], refusal: TlsRefusal) -> Decision {
    let expected: Vec<&str> = candidates.iter().map(|peer| &*peer.name).collect();
    let mut decision = Decision::refused("peer", "a TLS connection proves its peer by certificate", refusal.reason)
        .comparing("source", flow.remote.to_string())
        .comparing("peers at this address", expected.join(", "))
        .comparing("handshake", refusal.detail);
    decision.compared.extend(refusal.compared);
    decision
}

/// An open connection; of a plain one also what has been read of it already.
pub enum Wire {
    Plain(TcpStream, Bytes),
    Secured(Box<dyn Stream>),
}

/// From when the other end is known: what is sent on the connection is taken at once. Until it has ended, or has gone to another process.
pub fn serve(shared: Arc<Shared>, wire: Wire, party: Party, place: Place, epoch: u64) -> impl Future<Output = ()> + Send {
    let id = party.flow.id;
    let party = Arc::new(party);
    let outbox = shared.outbox(party.direction == Direction::Outbound);
    shared.open(&outbox, &party, epoch);
    count(&shared.counters.connections_accepted);
    async move {
        let ended = match wire {
            Wire::Plain(stream, first) => carry_plain(&shared, stream, &party, &outbox, &first).await,
            Wire::Secured(stream) => Some(carry_secured(&shared, stream, &party, &outbox).await),
        };
        shared.connections().flows.remove(&id);
        let left = outbox.end();
        drop(place);
        if let Some(error) = ended {
            left.into_iter().for_each(|id| shared.fail(id, error.clone()));
            let _ = shared.events.send(NetEvent::FlowClosed { flow: id }).await;
        }
    }
}
