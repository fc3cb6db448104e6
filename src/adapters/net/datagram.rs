//! One UDP listener (RFC 3261 §18): received by the batch, sent straight from the caller's thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::{Notify, watch};

use super::NetEvent;
use super::batch::Batch;
use super::counts::count;
use super::doors::{self, Gates, Inherited};
use super::listeners::Stage;
use super::shared::{Life, Shared};
use crate::policy::flow::{Flow, ListenerId};
use crate::policy::peer::{Edition, identify};
use crate::policy::verdict::Decision;
use crate::signaling::event::{TransmitId, TransportError};
use crate::sip::Transport;

/// The most UDP carries over IPv4 (65,535 less the two headers).
pub const LARGEST: usize = 65_507;

/// Remote addresses whose flow is remembered, twice over.
const REMEMBERED: usize = 4_096;

pub struct Datagrams {
    listener: ListenerId,
    socket: UdpSocket,
    local: SocketAddr,
    /// What the socket would not take yet, in order.
    waiting: Mutex<VecDeque<(TransmitId, SocketAddr, Bytes)>>,
    wake: Notify,
    flows: Mutex<Flows>,
    stage: watch::Receiver<Stage>,
}

impl Datagrams {
    pub fn new(listener: ListenerId, socket: UdpSocket, local: SocketAddr, stage: watch::Receiver<Stage>) -> Datagrams {
        Datagrams { listener, socket, local, waiting: Mutex::default(), wake: Notify::new(), flows: Mutex::default(), stage }
    }

    fn is_over(&self) -> bool {
        *self.stage.borrow() == Stage::Over
    }

    /// The socket once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<Inherited> {
        Ok(Inherited { is_datagram: true, address: self.local, socket: self.socket.as_fd().try_clone_to_owned()? })
    }

    fn flow(&self, shared: &Shared, remote: SocketAddr) -> Flow {
        Flow { id: shared.flow_id(), transport: Transport::Udp, listener: self.listener, local: self.local, remote, tls: None }
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<(TransmitId, SocketAddr, Bytes)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends at once; where the socket would block, queues up to the limit.
    pub fn send(&self, shared: &Shared, id: TransmitId, remote: SocketAddr, bytes: Bytes) {
        if bytes.len() > LARGEST || remote.port() == 0 {
            return shared.fail(id, TransportError::Socket);
        }
        let mut waiting = self.waiting();
        let sent = if waiting.is_empty() { self.try_send(remote, &bytes) } else { Err(io::ErrorKind::WouldBlock.into()) };
        match sent {
            Ok(()) => count(&shared.counters.datagrams_sent),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && waiting.len() < shared.limits.queue_datagrams => {
                waiting.push_back((id, remote, bytes));
                drop(waiting);
                count(&shared.counters.datagrams_queued);
                self.wake.notify_one();
            }
            Err(error) => shared.fail(id, refusal(&error)),
        }
    }

    /// Not through the runtime: its idea of readiness belongs to the task that sends what waits.
    fn try_send(&self, remote: SocketAddr, bytes: &[u8]) -> io::Result<()> {
        let socket = SockRef::from(&self.socket);
        let remote = remote.into();
        loop {
            match socket.send_to(bytes, &remote) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                result => return result.map(|_| ()),
            }
        }
    }

    /// Sends what waits whenever the socket takes it, until closing, or nothing uses the listener any more, and empty.
    pub async fn send_waiting(self: Arc<Datagrams>, shared: Arc<Shared>) {
        loop {
            while !self.waiting().is_empty() {
                tokio::select! {
                    ready = self.socket.writable() => if ready.is_err() { return },
                    () = shared.reached(Life::Over) => return self.drop_waiting(&shared),
                }
                let mut waiting = self.waiting();
                while let Some((id, remote, bytes)) = waiting.front() {
                    match self.socket.try_io(Interest::WRITABLE, || self.try_send(*remote, bytes)) {
                        Ok(()) => count(&shared.counters.datagrams_sent),
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) => shared.fail(*id, refusal(&error)),
                    }
                    waiting.pop_front();
                }
            }
            if *shared.life.borrow() >= Life::Closing || self.is_over() {
                return;
            }
            tokio::select! {
                () = self.wake.notified() => {}
                () = doors::until(&shared.gates, &self.stage, |_, stage| stage == Stage::Over) => {}
                () = shared.reached(Life::Closing) => {}
            }
        }
    }

    fn drop_waiting(&self, shared: &Shared) {
        self.waiting().drain(..).for_each(|(id, ..)| shared.fail(id, TransportError::Closed));
    }

    /// Whose flow a datagram is of; `None`: there is nothing to be made of it, and that was counted.
    pub fn admit(&self, shared: &Shared, remote: SocketAddr, bytes: &Bytes) -> Option<Arc<Flow>> {
        let known = self.flows.lock().unwrap_or_else(PoisonError::into_inner).of(self, shared, remote);
        let flow = match known {
            Ok(flow) => flow,
            Err(_) if shared.datagram_to_companion(self.local, remote, bytes) => return None,
            Err(decision) => {
                let decide = || decision.unwrap_or_else(|| identify(&shared.table.load(), &self.flow(shared, remote)).0);
                shared.stranger(Transport::Udp, remote, decide);
                return None;
            }
        };
        if bytes.iter().all(|b| matches!(b, b'\r' | b'\n' | b'\0')) {
            count(&shared.counters.keep_alives);
            return None;
        }
        count(&shared.counters.datagrams_received);
        Some(flow)
    }

    /// One that was taken out is ours alone: another process that takes over does not read it.
    pub async fn receive(self: Arc<Datagrams>, shared: Arc<Shared>) {
        let mut batch = Batch::new();
        let closing = shared.reached(Life::Closing);
        tokio::pin!(closing);
        loop {
            tokio::select! {
                () = doors::until(&shared.gates, &self.stage, |gates, stage| gates.datagrams || stage != Stage::Open) => {}
                () = &mut closing => return,
            }
            if self.is_over() {
                return;
            }
            let shut = |gates: Gates, stage| stage == Stage::Over || stage == Stage::Open && !gates.datagrams;
            let received = tokio::select! {
                received = self.socket.async_io(Interest::READABLE, || batch.receive(&self.socket)) => received,
                () = doors::until(&shared.gates, &self.stage, shut) => continue,
                () = &mut closing => return,
            };
            if received.is_err() {
                count(&shared.counters.socket_errors);
                // An error queued on the socket is taken by reporting it; anything lasting must not spin.
                tokio::task::yield_now().await;
                continue;
            }
            for (remote, bytes) in batch.received.drain(..) {
                let Some(flow) = self.admit(&shared, remote, &bytes) else { continue };
                if shared.events.send(NetEvent::Received { flow, bytes }).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn refusal(error: &io::Error) -> TransportError {
    match error.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => TransportError::Refused,
        _ => TransportError::Socket,
    }
}

/// The flow of each remote address of a peer, with the edition of the peer table it was last identified by. Strangers are never remembered.
#[derive(Default)]
struct Flows {
    recent: HashMap<SocketAddr, (Edition, Arc<Flow>)>,
    /// Half of what is remembered is forgotten at once when `recent` is full; what is in use moves over.
    older: HashMap<SocketAddr, (Edition, Arc<Flow>)>,
}

impl Flows {
    /// An error: a stranger, and why, if that is known already.
    fn of(&mut self, datagrams: &Datagrams, shared: &Shared, remote: SocketAddr) -> Result<Arc<Flow>, Option<Decision>> {
        let table = shared.table.load();
        let now = table.edition();
        if let Some((then, flow)) = self.recent.get(&remote)
            && *then == now
        {
            return Ok(Arc::clone(flow));
        }
        let known = self.recent.remove(&remote).or_else(|| self.older.remove(&remote));
        if let Some((then, flow)) = &known
            && *then == now
        {
            return Ok(self.remember(now, Arc::clone(flow)));
        }
        if table.expected(remote.ip(), Transport::Udp).is_empty() {
            return Err(None);
        }
        // A flow keeps its identity when the table changes.
        let flow = known.map_or_else(|| Arc::new(datagrams.flow(shared, remote)), |(_, flow)| flow);
        let (decision, peer) = identify(&table, &flow);
        if peer.is_none() {
            return Err(Some(decision));
        }
        Ok(self.remember(now, flow))
    }

    fn remember(&mut self, edition: Edition, flow: Arc<Flow>) -> Arc<Flow> {
        if self.recent.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(flow.remote, (edition, Arc::clone(&flow)));
        flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::net::{Handshakes, Limits, Shaking};
    use crate::policy::flow::{Presented, TlsRefusal};
    use crate::policy::peer::PeerTable;
    use crate::policy::settings::Peer;
    use crate::policy::verdict::Reason;
    use crate::signaling::event::Connect;
    use arc_swap::ArcSwap;
    use std::time::Duration;
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    struct NoTls;

    impl Handshakes for NoTls {
        fn accept(&self, _: ListenerId, _: Vec<Arc<Peer>>, _: TcpStream) -> Shaking<'_> {
            Box::pin(async { Err(TlsRefusal::new(Reason::TlsUnprepared, "no TLS here")) })
        }

        fn connect<'a>(&'a self, _: &'a Connect, _: TcpStream) -> Shaking<'a> {
            Box::pin(async { Err(TlsRefusal::new(Reason::TlsUnprepared, "no TLS here")) })
        }

        fn recheck(&self, _: &Presented) -> Result<(), TlsRefusal> {
            Ok(())
        }
    }

    /// No socket blocks on loopback, so the first datagram is put into the queue by hand: what follows must not overtake it.
    #[tokio::test]
    async fn what_the_socket_does_not_take_waits_in_order_up_to_the_limit() {
        let (events, _keep) = mpsc::channel(1);
        let limits = Limits { queue_datagrams: 20, ..Limits::default() };
        let table = Arc::new(ArcSwap::from_pointee(PeerTable::default()));
        let (shared, mut ends) = Shared::new(limits, Arc::new(NoTls), table, events);
        let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let remote = receiver.local_addr().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let local = socket.local_addr().unwrap();
        let datagrams = Arc::new(Datagrams::new(ListenerId(0), socket, local, watch::Sender::new(Stage::Open).subscribe()));
        datagrams.waiting().push_back((TransmitId(0), remote, Bytes::from_static(&[0; 1_000])));
        for n in 1..30u64 {
            datagrams.send(&shared, TransmitId(n), remote, Bytes::from(vec![n as u8; 1_000]));
        }
        for n in 20..30 {
            assert_eq!(ends.failures.try_recv().unwrap(), (TransmitId(n), TransportError::Socket));
        }
        assert!(ends.failures.try_recv().is_err());
        shared.spawn(Arc::clone(&datagrams).send_waiting(Arc::clone(&shared)));
        let mut buffer = [0; 2_000];
        for n in 0..20 {
            let length = tokio::time::timeout(Duration::from_secs(5), receiver.recv(&mut buffer)).await.unwrap().unwrap();
            assert_eq!((length, buffer[0]), (1_000, n));
        }
        // Empty again: straight from the caller's thread.
        datagrams.send(&shared, TransmitId(30), remote, Bytes::from_static(b"direct"));
        assert_eq!(shared.counters.snapshot().datagrams_sent, 21);
        let counts = shared.counters.snapshot();
        assert_eq!((counts.datagrams_queued, counts.transmissions_failed), (19, 10));
    }
}
