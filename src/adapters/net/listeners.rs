//! The listeners there are, and how they come and go while the border runs: new ones are opened before anything is changed, all that changes is put in
//! force together, and one that was taken out stays for what is under way over it (RFC 3261 §18.1.1: connections go on, over UDP the socket does) until it is
//! closed.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

use super::datagram::Datagrams;
use super::doors::Inherited;
use super::handshake_threads::HandshakeThreads;
use super::shared::Shared;
use super::stream_listener::{Door, accept};
use super::{BindError, ListenerSettings, Network, sockets};
use crate::policy::flow::ListenerId;
use crate::sip::Transport;

/// What a listener is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    Open,
    /// Taken out: no new connections. Its datagrams and its connections go on, also while another process of this border takes over, which has it not.
    Leaving,
    /// Nothing uses it any more.
    Over,
}

/// One that is in force, or was.
pub struct Listener {
    pub settings: ListenerSettings,
    /// Where it really listens.
    pub local: SocketAddr,
    pub socket: Opened,
    stage: Arc<watch::Sender<Stage>>,
}

#[derive(Clone)]
pub enum Opened {
    Udp(Arc<Datagrams>),
    /// Gone when nobody accepts any more.
    Stream(Weak<TcpListener>),
}

/// All of them, those that are leaving included.
pub type Listeners = BTreeMap<ListenerId, Arc<Listener>>;

enum Socket {
    Udp(UdpSocket),
    Stream(TcpListener),
}

/// One of those to be in force. `socket`: `None`, if it goes on with the one it has.
struct Ready {
    settings: ListenerSettings,
    local: SocketAddr,
    socket: Option<Socket>,
    /// It was not in force before.
    is_new: bool,
}

/// Listeners that are to be in force in the place of all others. Dropped, those opened for it are closed.
pub struct Prepared(Vec<Ready>);

/// What has changed, for whoever is to be told.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changed {
    pub opened: Vec<Standing>,
    pub left: Vec<Standing>,
}

/// How it stands with a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    pub id: ListenerId,
    pub name: Arc<str>,
    pub transport: Transport,
    /// Where it really listens.
    pub address: SocketAddr,
    /// It was taken out, and is closed when nothing uses it any more.
    pub leaving: bool,
    /// Open on it, either way; over UDP none.
    pub connections: usize,
}

impl Listener {
    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    fn standing(&self, connections: usize) -> Standing {
        Standing {
            id: self.settings.id,
            name: Arc::clone(&self.settings.name),
            transport: self.settings.transport,
            address: self.local,
            leaving: self.stage() != Stage::Open,
            connections,
        }
    }

    fn is_at(&self, address: SocketAddr) -> bool {
        [self.settings.address, self.local].contains(&address)
    }

    fn accepts_at(&self, address: SocketAddr) -> Option<Arc<TcpListener>> {
        match &self.socket {
            Opened::Stream(socket) if self.is_at(address) => socket.upgrade(),
            _ => None,
        }
    }

    /// The socket once more, for another process of this border; `None`: it has none any more.
    pub fn bequeath(&self) -> Option<io::Result<Inherited>> {
        match &self.socket {
            Opened::Udp(datagrams) => Some(datagrams.bequeath()),
            Opened::Stream(socket) => {
                let socket = socket.upgrade()?.as_fd().try_clone_to_owned();
                Some(socket.map(|socket| Inherited { is_datagram: false, address: self.local, socket }))
            }
        }
    }
}

impl Prepared {
    /// For a network that is not there yet. `inherited`: what of it can be used is taken out.
    pub fn open(wanted: &[ListenerSettings], inherited: &mut Vec<Inherited>) -> Result<Prepared, Vec<BindError>> {
        let opened = wanted.iter().map(|listener| ready(listener, Inherited::take(inherited, listener.transport, listener.address)));
        all(opened, |listener, error| explain(listener, error, None))
    }

    /// Where they listen, in their order.
    pub fn addresses(&self) -> Vec<(ListenerId, Transport, SocketAddr)> {
        self.0.iter().map(|ready| (ready.settings.id, ready.settings.transport, ready.local)).collect()
    }

    /// Puts them in force. What is not among them leaves.
    pub(super) fn take_force(self, shared: &Arc<Shared>) -> Changed {
        let _changing = shared.changing();
        let before = shared.listeners.load_full();
        let mut changed = Changed::default();
        let mut after = Listeners::new();
        for Ready { settings, local, socket, is_new } in self.0 {
            let known = before.get(&settings.id);
            let stage = known.map_or_else(|| Arc::new(watch::Sender::new(Stage::Open)), |known| Arc::clone(&known.stage));
            stage.send_replace(Stage::Open);
            let id = settings.id;
            let socket = match (socket, known) {
                (Some(Socket::Udp(socket)), _) => Opened::Udp(receive(shared, id, socket, local, &stage)),
                (Some(Socket::Stream(socket)), _) => {
                    Opened::Stream(listen(shared, Door { listener: id, transport: settings.transport, local }, socket, &stage))
                }
                (None, Some(known)) => known.socket.clone(),
                (None, None) => continue,
            };
            let listener = Listener { settings, local, socket, stage };
            if is_new {
                changed.opened.push(listener.standing(0));
            }
            after.insert(id, Arc::new(listener));
        }
        for (id, listener) in before.iter().filter(|(id, _)| !after.contains_key(id)).map(|(id, listener)| (*id, Arc::clone(listener))).collect::<Vec<_>>() {
            if listener.stage.send_replace(Stage::Leaving) == Stage::Open {
                changed.left.push(listener.standing(shared.connections_of(id)));
            }
            after.insert(id, listener);
        }
        shared.listeners.store(Arc::new(after));
        changed
    }
}

fn receive(shared: &Arc<Shared>, id: ListenerId, socket: UdpSocket, local: SocketAddr, stage: &watch::Sender<Stage>) -> Arc<Datagrams> {
    let datagrams = Arc::new(Datagrams::new(id, socket, local, stage.subscribe()));
    shared.spawn(Arc::clone(&datagrams).receive(Arc::clone(shared)));
    shared.spawn(Arc::clone(&datagrams).send_waiting(Arc::clone(shared)));
    datagrams
}

fn listen(shared: &Arc<Shared>, door: Door, socket: TcpListener, stage: &watch::Sender<Stage>) -> Weak<TcpListener> {
    let socket = Arc::new(socket);
    let weak = Arc::downgrade(&socket);
    shared.spawn(accept(Arc::clone(shared), socket, door, stage.subscribe()));
    weak
}

impl Network {
    /// Which numbers listeners of a set get, in their order: one that is there already its own, others numbers that nobody had. `None`: there are none left.
    pub fn number(&self, listeners: &[ListenerSettings]) -> Option<Vec<ListenerId>> {
        let known = self.shared.listeners.load();
        let own = |wanted: &ListenerSettings| {
            let same = |known: &&Arc<Listener>| known.settings.transport == wanted.transport && known.is_at(wanted.address);
            known.values().find(same).map(|known| known.settings.id)
        };
        let fresh = || u16::try_from(self.next_listener.fetch_add(1, Ordering::Relaxed)).ok().map(ListenerId);
        listeners.iter().map(|wanted| own(wanted).or_else(fresh)).collect()
    }

    /// Opens what of these is not open. They are numbered as `number` says. Nothing is taken in by them before `take_force`; refused, nothing has changed.
    pub fn prepare(&self, wanted: &[ListenerSettings]) -> Result<Prepared, Vec<BindError>> {
        let known = self.shared.listeners.load();
        let opened = wanted.iter().map(|listener| match known.get(&listener.id) {
            Some(known) if matches!(known.socket, Opened::Udp(_)) || known.stage() == Stage::Open => {
                Ok(Ready { settings: listener.clone(), local: known.local, socket: None, is_new: known.stage() != Stage::Open })
            }
            _ => {
                // Another protocol at the same place: the socket that accepts is the same.
                let same = known.values().find_map(|known| known.accepts_at(listener.address)).filter(|_| listener.transport != Transport::Udp);
                let same = same.map(|socket| socket.as_fd().try_clone_to_owned()).transpose();
                same.map_err(|error| (listener.clone(), error)).and_then(|same| ready(listener, same))
            }
        });
        let in_the_way = |wanted: &ListenerSettings| {
            let meets = |known: &&Arc<Listener>| {
                let (ours, theirs) = (wanted.address, known.local);
                let same_kind = (known.settings.transport == Transport::Udp) == (wanted.transport == Transport::Udp);
                same_kind && ours.port() == theirs.port() && ours.is_ipv4() == theirs.is_ipv4()
            };
            known.values().find(meets).map(|known| Arc::clone(&known.settings.name))
        };
        let prepared = all(opened, |listener, error| explain(listener, error, in_the_way(listener)))?;
        self.shared.start_handshake_threads(wanted).map_err(|error| vec![error])?;
        // From here on nobody closes one of these as unused.
        for listener in wanted.iter().filter_map(|wanted| known.get(&wanted.id)) {
            listener.stage.send_if_modified(|stage| *stage == Stage::Leaving && std::mem::replace(stage, Stage::Open) == Stage::Leaving);
        }
        Ok(prepared)
    }

    /// Puts them in force. What is not among them leaves.
    pub fn take_force(&self, prepared: Prepared) -> Changed {
        prepared.take_force(&self.shared)
    }

    /// Closes a listener that leaves, with its connections. `None`: it does not leave (any more).
    pub fn close_unused(&self, id: ListenerId) -> Option<Standing> {
        let _changing = self.shared.changing();
        let mut after = Listeners::clone(&self.shared.listeners.load());
        let listener = after.remove(&id)?;
        let leaves = listener.stage.send_if_modified(|stage| *stage == Stage::Leaving && std::mem::replace(stage, Stage::Over) == Stage::Leaving);
        let standing = leaves.then(|| listener.standing(self.shared.connections_of(id)))?;
        self.shared.listeners.store(Arc::new(after));
        Some(standing)
    }

    /// All of them, those that leave included, by number.
    pub fn listeners(&self) -> Vec<Standing> {
        let mut connections: BTreeMap<ListenerId, usize> = BTreeMap::new();
        for open in self.shared.connections().flows.values() {
            if let Some(party) = &open.party {
                *connections.entry(party.flow.listener).or_default() += 1;
            }
        }
        let standing = |(id, listener): (&ListenerId, &Arc<Listener>)| listener.standing(connections.get(id).copied().unwrap_or_default());
        self.shared.listeners.load().iter().map(standing).collect()
    }
}

impl Shared {
    /// Whether new connections of this listener are taken. One nobody knows has not been taken out.
    pub fn takes_connections(&self, id: ListenerId) -> bool {
        self.listeners.load().get(&id).is_none_or(|listener| listener.stage() == Stage::Open)
    }

    /// To be told what becomes of a listener.
    pub fn stage_of(&self, id: ListenerId) -> watch::Receiver<Stage> {
        let known = self.listeners.load().get(&id).map(|listener| listener.stage.subscribe());
        known.unwrap_or_else(|| watch::Sender::new(Stage::Open).subscribe())
    }

    /// The listener of this transport that listens there.
    pub fn listener_at(&self, transport: Transport, address: SocketAddr) -> Option<ListenerId> {
        let is_it = |listener: &&Arc<Listener>| (listener.settings.transport, listener.local) == (transport, address);
        self.listeners.load().values().find(is_it).map(|listener| listener.settings.id)
    }

    fn connections_of(&self, id: ListenerId) -> usize {
        self.connections().flows.values().filter(|open| open.party.as_ref().is_some_and(|party| party.flow.listener == id)).count()
    }

    /// For the first listener that speaks TLS.
    pub fn start_handshake_threads(&self, listeners: &[ListenerSettings]) -> Result<(), BindError> {
        let Some(listener) = listeners.iter().find(|listener| listener.transport == Transport::Tls) else { return Ok(()) };
        if self.threads.get().is_some() {
            return Ok(());
        }
        let threads = HandshakeThreads::start(self.limits.handshake_threads).map_err(|error| BindError {
            listener: Arc::clone(&listener.name),
            transport: listener.transport,
            address: listener.address,
            what: format!("the system gives no thread for TLS handshakes ({error}); raise its limit of threads, or write [limits] handshake_threads = 0"),
        })?;
        let _ = self.threads.set(threads);
        Ok(())
    }
}

type Refused = (ListenerSettings, io::Error);

/// All or none.
fn all(ready: impl Iterator<Item = Result<Ready, Refused>>, explain: impl Fn(&ListenerSettings, &io::Error) -> BindError) -> Result<Prepared, Vec<BindError>> {
    let (mut opened, mut problems) = (Vec::new(), Vec::new());
    for ready in ready {
        match ready {
            Ok(ready) => opened.push(ready),
            Err((listener, error)) => problems.push(explain(&listener, &error)),
        }
    }
    if problems.is_empty() { Ok(Prepared(opened)) } else { Err(problems) }
}

/// `given`: a socket that listens there already.
fn ready(listener: &ListenerSettings, given: Option<OwnedFd>) -> Result<Ready, Refused> {
    let opened = match listener.transport {
        Transport::Udp => given.map_or_else(|| sockets::udp(listener.address), |socket| UdpSocket::from_std(socket.into())).map(Socket::Udp),
        Transport::Tcp | Transport::Tls => {
            given.map_or_else(|| sockets::listen(listener.address), |socket| TcpListener::from_std(socket.into())).map(Socket::Stream)
        }
    };
    let bound = opened.and_then(|socket| {
        let local = match &socket {
            Socket::Udp(socket) => socket.local_addr(),
            Socket::Stream(socket) => socket.local_addr(),
        };
        Ok((local?, socket))
    });
    match bound {
        Ok((local, socket)) => Ok(Ready { settings: listener.clone(), local, socket: Some(socket), is_new: true }),
        Err(error) => Err((listener.clone(), error)),
    }
}

/// `ours`: a listener of the border itself that may be in the way.
fn explain(listener: &ListenerSettings, error: &io::Error, ours: Option<Arc<str>>) -> BindError {
    let advice = match (error.kind(), ours) {
        (io::ErrorKind::AddrInUse, Some(ours)) => format!(
            "listener \"{ours}\" has this port until it is closed: choose another port, or take that one out by a reload of its own, and reload this set when \
             `portcullis show listeners` has it no more"
        ),
        (io::ErrorKind::AddrInUse, None) => {
            "another program, or another listener of this set, has this address and port: stop it or choose another port".into()
        }
        (io::ErrorKind::AddrNotAvailable, _) => "this machine has no such address: correct it, or bring the interface up first".into(),
        (io::ErrorKind::PermissionDenied, _) => "ports below 1024 need CAP_NET_BIND_SERVICE: grant it or choose a higher port".into(),
        _ => "see that the address and the protocol are enabled on this machine".to_owned(),
    };
    BindError { listener: Arc::clone(&listener.name), transport: listener.transport, address: listener.address, what: format!("{error}; {advice}") }
}
