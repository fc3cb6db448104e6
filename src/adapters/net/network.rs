//! The network as the driver sees it: opened whole or not at all, sent to from any thread, closed gracefully.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use super::counts::Counts;
use super::datagram::Datagrams;
use super::doors::{Gates, Inherited};
use super::handshake_threads::HandshakeThreads;
use super::shared::{Ends, Life, Shared};
use super::standing::keep_asking;
use super::stream_listener::{Door, accept};
use super::{BindError, Guard, Handshakes, ListenerSettings, NetEvent, Settings, Shaken, pool, sockets};
use crate::policy::flow::ListenerId;
use crate::policy::peer::PeerTable;
use crate::signaling::event::{Route, TransmitId, TransportError};
use crate::sip::Transport;

/// For what is queued to go out, and for the other ends to say goodbye.
const CLOSING: Duration = Duration::from_secs(3);

/// All listeners and connections of the border. Dropping it ends them where they stand; `close` does so gracefully.
pub struct Network {
    pub(super) shared: Arc<Shared>,
    pub(super) datagrams: HashMap<ListenerId, Arc<Datagrams>>,
    /// Gone when the network has closed.
    streams: Vec<(SocketAddr, Weak<TcpListener>)>,
    pub(super) bound: Vec<(ListenerId, SocketAddr)>,
    pub(super) gates: watch::Sender<Gates>,
    life: watch::Sender<Life>,
    all_gone: Mutex<mpsc::Receiver<()>>,
}

enum Opened {
    Udp(UdpSocket),
    Stream(TcpListener),
}

impl Network {
    /// Opens every listener or none. Must be called within a tokio runtime with I/O and time, on which all tasks will run.
    pub async fn bind(
        settings: Settings,
        handshakes: Arc<dyn Handshakes>,
        table: Arc<ArcSwap<PeerTable>>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Network, Vec<BindError>> {
        Network::bind_after(settings, handshakes, table, events, &mut Vec::new(), Gates::OPEN).await
    }

    /// The same, after another process of this border: what of its sockets can be used is taken out of `inherited`, and only the others are opened.
    pub async fn bind_after(
        settings: Settings,
        handshakes: Arc<dyn Handshakes>,
        table: Arc<ArcSwap<PeerTable>>,
        events: mpsc::Sender<NetEvent>,
        inherited: &mut Vec<Inherited>,
        at_first: Gates,
    ) -> Result<Network, Vec<BindError>> {
        let mut problems = Vec::new();
        let mut sockets = Vec::new();
        for listener in &settings.listeners {
            match open(listener, Inherited::take(inherited, listener.transport, listener.address)) {
                Ok((socket, local)) => sockets.push((listener, socket, local)),
                Err(error) => problems.push(explain(listener, &error)),
            }
        }
        let threads = handshake_threads(&settings).map_err(|error| problems.push(error)).ok();
        let Some(threads) = threads.filter(|_| problems.is_empty()) else { return Err(problems) };
        let bound: Vec<_> = sockets.iter().map(|(listener, _, local)| (listener.id, *local)).collect();
        let addresses = bound.iter().copied().collect();
        let (shared, Ends { mut failures, all_gone, life, gates }) =
            Shared::new(settings.limits.bounded(), addresses, handshakes, table, events.clone(), threads);
        gates.send_replace(at_first);
        let (mut datagrams, mut streams) = (HashMap::new(), Vec::new());
        for (listener, socket, local) in sockets {
            match socket {
                Opened::Udp(socket) => {
                    let opened = Arc::new(Datagrams::new(listener.id, socket, local));
                    shared.spawn(Arc::clone(&opened).receive(Arc::clone(&shared)));
                    shared.spawn(Arc::clone(&opened).send_waiting(Arc::clone(&shared)));
                    datagrams.insert(listener.id, opened);
                }
                Opened::Stream(socket) => {
                    let socket = Arc::new(socket);
                    streams.push((local, Arc::downgrade(&socket)));
                    let door = Door { listener: listener.id, transport: listener.transport, local };
                    shared.spawn(accept(Arc::clone(&shared), socket, door));
                }
            }
        }
        shared.spawn(keep_asking(Arc::clone(&shared)));
        // Not among the tasks that closing waits for: it ends when nobody is left to report a failure.
        tokio::spawn(async move {
            while let Some((id, error)) = failures.recv().await {
                if events.send(NetEvent::TransportFailed { id, error }).await.is_err() {
                    return;
                }
            }
        });
        Ok(Network { shared, datagrams, streams, bound, gates, life, all_gone: Mutex::new(all_gone) })
    }

    /// Puts a guard at the doors, once.
    pub fn guarded_by(&self, guard: Arc<dyn Guard>) {
        let _ = self.shared.guard.set(guard);
    }

    /// The listening sockets once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<Vec<Inherited>> {
        let streams = self.streams.iter().filter_map(|(address, socket)| Some((*address, socket.upgrade()?)));
        let streams = streams.map(|(address, socket)| Ok(Inherited { is_datagram: false, address, socket: socket.as_fd().try_clone_to_owned()? }));
        streams.chain(self.datagrams.values().map(|datagrams| datagrams.bequeath())).collect()
    }

    /// Where each listener really listens.
    pub fn bound(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.bound.clone()
    }

    pub fn handshakes(&self) -> Vec<Shaken> {
        self.shared.shaken.each()
    }

    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// Stream connections open or being opened.
    pub fn connections(&self) -> usize {
        self.shared.connections().flows.len()
    }

    /// The peer table, certificates, CAs or revocation lists have changed, or time has passed: every open connection is asked again whether its
    /// other end is still trusted. Returns at once.
    pub fn recheck(&self) {
        self.shared.recheck();
    }

    /// Sends, from any thread, without blocking. Whatever fails is reported once as `NetEvent::TransportFailed`.
    ///
    /// A message for a stream is reported too when its connection, one that we made, ends before anything more came back on it: whoever sent it
    /// would wait for an answer in vain (in TLS 1.3 that is also how we learn that our own certificate was refused).
    pub fn transmit(&self, id: TransmitId, route: Route, bytes: Bytes) {
        match route {
            Route::Datagram { listener, remote } => match self.datagrams.get(&listener) {
                Some(datagrams) => datagrams.send(&self.shared, id, remote, bytes),
                None => self.shared.fail(id, TransportError::Socket),
            },
            Route::Flow { id: flow, otherwise } => pool::send_on_flow(&self.shared, id, flow, otherwise, bytes),
            Route::Connect(connect) => pool::send(&self.shared, id, connect, bytes),
        }
    }

    /// Stops listening, lets what is queued go out (for at most 3 s), closes every connection.
    pub async fn close(&self) {
        self.shared.refuse_tasks();
        self.life.send_replace(Life::Closing);
        let mut all_gone = self.all_gone.lock().await;
        if timeout(CLOSING, all_gone.recv()).await.is_err() {
            self.life.send_replace(Life::Over);
            let _ = timeout(CLOSING, all_gone.recv()).await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.refuse_tasks();
        self.life.send_replace(Life::Over);
    }
}

fn open(listener: &ListenerSettings, inherited: Option<OwnedFd>) -> io::Result<(Opened, SocketAddr)> {
    match listener.transport {
        Transport::Udp => {
            let socket = inherited.map_or_else(|| sockets::udp(listener.address), |socket| UdpSocket::from_std(socket.into()))?;
            let local = socket.local_addr()?;
            Ok((Opened::Udp(socket), local))
        }
        Transport::Tcp | Transport::Tls => {
            let socket = inherited.map_or_else(|| sockets::listen(listener.address), |socket| TcpListener::from_std(socket.into()))?;
            let local = socket.local_addr()?;
            Ok((Opened::Stream(socket), local))
        }
    }
}

/// None where no listener speaks TLS.
fn handshake_threads(settings: &Settings) -> Result<HandshakeThreads, BindError> {
    let tls = settings.listeners.iter().find(|listener| listener.transport == Transport::Tls);
    let Some(listener) = tls else { return Ok(HandshakeThreads::none()) };
    HandshakeThreads::start(settings.limits.handshake_threads).map_err(|error| BindError {
        listener: Arc::clone(&listener.name),
        transport: listener.transport,
        address: listener.address,
        what: format!("the system gives no thread for TLS handshakes ({error}); raise its limit of threads, or write [limits] handshake_threads = 0"),
    })
}

fn explain(listener: &ListenerSettings, error: &io::Error) -> BindError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program, or another listener of this set, has this address and port: stop it or choose another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: correct it, or bring the interface up first",
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a higher port",
        _ => "see that the address and the protocol are enabled on this machine",
    };
    BindError { listener: Arc::clone(&listener.name), transport: listener.transport, address: listener.address, what: format!("{error}; {advice}") }
}
