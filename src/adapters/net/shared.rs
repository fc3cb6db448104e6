//! What listeners, connections and the sender have in common.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{Notify, mpsc, watch};

use super::borrowed::Borrowed;
use super::counts::{Counters, count};
use super::doors::{Companion, Gates};
use super::handshake_threads::HandshakeThreads;
use super::listeners::Listeners;
use super::outbox::Outbox;
use super::shaken;
use super::standing::Party;
use super::turnstile::Turnstile;
use super::{Guard, Handshakes, Limits, NetEvent};
use crate::policy::flow::FlowId;
use crate::policy::peer::PeerTable;
use crate::policy::verdict::Decision;
use crate::signaling::event::{Connect, TransmitId, TransportError};
use crate::sip::Transport;

/// Of what others can cause at will, so much is told per second; the rest is only counted.
const TOLD: u32 = 10;

/// Lets the first few of every second through.
#[derive(Default)]
struct Sample(Mutex<(Option<Instant>, u32)>);

impl Sample {
    fn admits(&self) -> bool {
        let mut sample = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, told) = &mut *sample;
        match since {
            Some(began) if began.elapsed() < Duration::from_secs(1) => *told = told.saturating_add(1),
            _ => (*since, *told) = (Some(Instant::now()), 1),
        }
        *told <= TOLD
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Life {
    Open,
    /// Nothing new is taken in; what is queued goes out.
    Closing,
    /// Everything stops where it is.
    Over,
}

pub struct Shared {
    pub limits: Limits,
    pub handshakes: Arc<dyn Handshakes>,
    pub table: Arc<ArcSwap<PeerTable>>,
    pub events: mpsc::Sender<NetEvent>,
    pub counters: Counters,
    pub shaken: shaken::Tally,
    pub life: watch::Receiver<Life>,
    pub gates: watch::Receiver<Gates>,
    /// Another process of this border, while there is one.
    pub companion: RwLock<Option<Arc<dyn Companion>>>,
    pub borrowed: Borrowed,
    pub listeners: ArcSwap<Listeners>,
    /// Held while listeners are changed.
    changing: Mutex<()>,
    /// Never full: at most one entry for each message handed to us.
    failures: mpsc::UnboundedSender<(TransmitId, TransportError)>,
    /// `None`: nobody is banned.
    pub guard: OnceLock<Arc<dyn Guard>>,
    next_flow: AtomicU64,
    connections: Mutex<Connections>,
    strangers: Sample,
    refusals: Sample,
    runtime: Handle,
    pub turnstile: Turnstile,
    /// None before the first listener that speaks TLS.
    pub threads: OnceLock<HandshakeThreads>,
    /// Counts the reasons there were to ask whether open connections are still those of peers.
    epoch: AtomicU64,
    ask: Notify,
    /// A clone goes with every task: when all are gone, all tasks have ended. `None`: no new tasks.
    alive: Mutex<Option<mpsc::Sender<()>>>,
}

#[derive(Default)]
pub struct Connections {
    pub flows: HashMap<FlowId, Open>,
    /// Those we made, being made ones included.
    pub pool: HashMap<Connect, (FlowId, Arc<Outbox>)>,
    /// Those we made whose other end is no longer trusted: for what ends things, while they last.
    pub leaving: HashMap<Connect, (FlowId, Arc<Outbox>)>,
    total: usize,
    by_source: HashMap<IpAddr, usize>,
}

pub struct Open {
    pub outbox: Arc<Outbox>,
    /// `None` while it is being made.
    pub party: Option<Arc<Party>>,
}

/// A place among the connections, given back when dropped.
pub struct Place {
    shared: Arc<Shared>,
    source: Option<IpAddr>,
}

/// Our half of a `Shared` that `Network` keeps.
pub struct Ends {
    pub failures: mpsc::UnboundedReceiver<(TransmitId, TransportError)>,
    pub all_gone: mpsc::Receiver<()>,
    pub life: watch::Sender<Life>,
    pub gates: watch::Sender<Gates>,
}

impl Shared {
    pub fn new(limits: Limits, handshakes: Arc<dyn Handshakes>, table: Arc<ArcSwap<PeerTable>>, events: mpsc::Sender<NetEvent>) -> (Arc<Shared>, Ends) {
        let (failures, failed) = mpsc::unbounded_channel();
        let (alive, all_gone) = mpsc::channel(1);
        let (life, living) = watch::channel(Life::Open);
        let (gates_in, gates) = watch::channel(Gates::OPEN);
        let shared = Shared {
            turnstile: Turnstile::new(&limits),
            threads: OnceLock::new(),
            limits,
            handshakes,
            table,
            events,
            counters: Counters::default(),
            shaken: shaken::Tally::default(),
            life: living,
            gates,
            companion: RwLock::default(),
            borrowed: Borrowed::default(),
            listeners: ArcSwap::default(),
            changing: Mutex::default(),
            failures,
            guard: OnceLock::new(),
            next_flow: AtomicU64::new(1),
            connections: Mutex::default(),
            strangers: Sample::default(),
            refusals: Sample::default(),
            runtime: Handle::current(),
            epoch: AtomicU64::new(0),
            ask: Notify::new(),
            alive: Mutex::new(Some(alive)),
        };
        (Arc::new(shared), Ends { failures: failed, all_gone, life, gates: gates_in })
    }

    pub fn flow_id(&self) -> FlowId {
        FlowId(self.next_flow.fetch_add(1, Ordering::Relaxed))
    }

    pub fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// There is a reason to ask whether open connections are still those of peers.
    pub fn recheck(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.ask.notify_one();
    }

    pub async fn reason_to_ask(&self) {
        self.ask.notified().await;
    }

    /// To be given to `open`, taken before the other end is first looked at.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Puts a connection among the open ones. If what it was let in by may have changed since `epoch`, it is asked of at once.
    pub fn open(&self, outbox: &Arc<Outbox>, party: &Arc<Party>, epoch: u64) {
        self.connections().flows.insert(party.flow.id, Open { outbox: Arc::clone(outbox), party: Some(Arc::clone(party)) });
        if self.epoch() != epoch {
            self.ask.notify_one();
        }
    }

    pub fn fail(&self, id: TransmitId, error: TransportError) {
        count(&self.counters.transmissions_failed);
        let _ = self.failures.send((id, error));
    }

    pub fn outbox(&self, remembers: bool) -> Arc<Outbox> {
        Arc::new(Outbox::new(self.limits.queue_messages, self.limits.queue_bytes, remembers))
    }

    /// Runs a task that ends by itself when the network's life is over. False: it is closing, nothing was started.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> bool {
        let Some(alive) = self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone() else { return false };
        self.runtime.spawn(async move {
            task.await;
            drop(alive);
        });
        true
    }

    pub fn refuse_tasks(&self) {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Resolves when life has come so far. (Also when nobody owns the network any more.)
    pub async fn reached(&self, stage: Life) {
        let _ = self.life.clone().wait_for(|life| *life >= stage).await;
    }

    /// A stranger: counted always, told of now and then, unless banned. The decision is only made where it is told.
    pub fn stranger(&self, transport: Transport, remote: SocketAddr, decide: impl FnOnce() -> Decision) {
        if self.guard.get().is_some_and(|guard| guard.turns_away(&self.table.load(), transport, remote.ip())) {
            return count(&self.counters.banned);
        }
        count(match transport {
            Transport::Udp => &self.counters.strangers_udp,
            Transport::Tcp => &self.counters.strangers_tcp,
            Transport::Tls => &self.counters.strangers_tls,
        });
        if self.strangers.admits() {
            let _ = self.events.try_send(NetEvent::Stranger { transport, remote, decision: decide() });
        }
    }

    /// What TLS was refused on a connection we made, told of now and then.
    pub fn tls_refused(&self, to: &Connect, error: &TransportError) {
        if let TransportError::Certificate(refusal) | TransportError::Handshake(refusal) = error
            && self.refusals.admits()
        {
            let _ = self.events.try_send(NetEvent::TlsRefused { peer: Arc::clone(&to.peer), remote: to.remote, refusal: Arc::clone(refusal) });
        }
    }

    /// A place for one more connection, from `source` if it is inbound.
    pub fn place(self: &Arc<Shared>, source: Option<IpAddr>) -> Option<Place> {
        let mut connections = self.connections();
        if connections.total >= self.limits.connections {
            return None;
        }
        if let Some(source) = source {
            if connections.by_source.get(&source).is_some_and(|count| *count >= self.limits.connections_per_source) {
                return None;
            }
            *connections.by_source.entry(source).or_default() += 1;
        }
        connections.total += 1;
        Some(Place { shared: Arc::clone(self), source })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connections = self.shared.connections();
        connections.total = connections.total.saturating_sub(1);
        if let Some(source) = self.source
            && let Some(count) = connections.by_source.get_mut(&source)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                connections.by_source.remove(&source);
            }
        }
    }
}
