//! What goes back and forth while there are two processes of this border: the core's and the network's end of it.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc::UnboundedSender;

use super::estate::{Estate, Item};
use super::words::Word;
use crate::adapters::clock::Clock;
use crate::adapters::driver::Input;
use crate::adapters::handover::{Heard, Link};
use crate::adapters::net::{Carriage, Companion, Moved, Network};
use crate::adapters::nft::Firewall;
use crate::adapters::store::Notice;
use crate::app::api::CALLS;
use crate::app::missed_calls::{Heir, MissedCalls};
use crate::policy::flow::{Flow, FlowId};
use crate::signaling::companion::{Bequest, Companion as Role};
use crate::signaling::event::{Event, TransmitId};
use crate::signaling::fact::CallId;
use crate::sip::Transport;

/// Ladders given at once, and the pause after them: all of them take a second or so.
const LADDERS_AT_ONCE: usize = 16;
const BREATH: Duration = Duration::from_millis(10);

/// One for the life of the process; most of the time there is no other end.
pub struct Between {
    other: Mutex<Option<Other>>,
    handed: AtomicU64,
    taken: AtomicU64,
    commands: UnboundedSender<Input>,
    clock: Clock,
    missed_calls: OnceLock<MissedCalls>,
    estate: OnceLock<Estate>,
    /// Calls that are up in the other process, as it said last.
    theirs: AtomicU64,
    /// Since it was last asked.
    heard: AtomicBool,
    /// Other processes there have been.
    rounds: AtomicU64,
}

struct Other {
    role: Role,
    link: Link,
    /// Connections of ours it has been told of.
    told: HashSet<FlowId>,
    /// What is to be said after the first word; `None`: that has been said.
    later: Option<Vec<Word>>,
    /// Where it is asked for its calls, if it is the one before.
    before: Option<Before>,
}

/// A process that is taken over from, as operators find it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Before {
    pub process: u32,
    pub socket: Option<PathBuf>,
    /// Its calls have lower numbers.
    pub next_call: u64,
}

/// How it came to be that there is no other process any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// It has said so.
    Done,
    Gone,
}

impl Between {
    pub fn new(commands: UnboundedSender<Input>, clock: Clock) -> Arc<Between> {
        let (handed, taken) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Between {
            other: Mutex::default(),
            handed,
            taken,
            commands,
            clock,
            missed_calls: OnceLock::new(),
            estate: OnceLock::new(),
            theirs: AtomicU64::new(0),
            heard: AtomicBool::new(false),
            rounds: AtomicU64::new(0),
        })
    }

    /// Those of this process, once, if it keeps any.
    pub fn knows(&self, missed_calls: &MissedCalls) {
        let _ = self.missed_calls.set(missed_calls.clone());
    }

    /// That of this process, once.
    pub fn has(&self, estate: Estate) {
        let _ = self.estate.set(estate);
    }

    /// Calls that are up in this process.
    pub fn calls(&self) -> u64 {
        self.estate.get().map_or(0, Estate::calls)
    }

    /// Calls that are up in the other process, as it said last.
    pub fn calls_there(&self) -> u64 {
        self.theirs.load(Ordering::Relaxed)
    }

    pub fn missed_calls(&self) -> Option<&MissedCalls> {
        self.missed_calls.get()
    }

    fn other(&self) -> MutexGuard<'_, Option<Other>> {
        self.other.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on there is a process that takes this one's place. Our first word is `Go`.
    pub fn leave_to(&self, link: Link) {
        self.begin(Other { role: Role::Successor, link, told: HashSet::new(), later: Some(Vec::new()), before: None });
    }

    /// From now on there is a process whose place this one has.
    pub fn come_after(&self, before: Before, link: Link) {
        self.begin(Other { role: Role::Predecessor, link, told: HashSet::new(), later: None, before: Some(before) });
    }

    fn begin(&self, other: Other) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        *self.other() = Some(other);
    }

    /// The process before this one, as long as it has calls.
    pub fn before(&self) -> Option<Before> {
        self.other().as_ref().and_then(|other| other.before.clone())
    }

    /// What was queued for it still goes out.
    pub fn end(&self) {
        *self.other() = None;
    }

    /// Another number for each other process.
    pub fn round(&self) -> Option<u64> {
        self.role().map(|_| self.rounds.load(Ordering::Relaxed))
    }

    pub fn role(&self) -> Option<Role> {
        self.other().as_ref().map(|other| other.role)
    }

    pub fn say(&self, word: &Word) -> bool {
        self.other().as_ref().is_some_and(|other| other.link.send(word, Bytes::new()))
    }

    /// As soon as the first word has been said. False: there is nobody to hear it.
    pub fn say_in_turn(&self, word: Word) -> bool {
        self.other().as_mut().is_some_and(|other| match &mut other.later {
            Some(later) => {
                later.push(word);
                true
            }
            None => other.link.send(&word, Bytes::new()),
        })
    }

    fn say_with(&self, word: &Word, body: Bytes) -> bool {
        self.other().as_ref().is_some_and(|other| other.link.send(word, body))
    }

    /// Whether the other process has said anything since this was last asked.
    pub fn was_heard(&self) -> bool {
        self.heard.swap(false, Ordering::Relaxed)
    }

    /// Messages given to other processes, and taken from them.
    pub fn counts(&self) -> (u64, u64) {
        (self.handed.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed))
    }

    /// The first word the successor hears after it has said that it is ready.
    pub fn bequeath(&self, bequest: Bequest) {
        if let Some(other) = self.other().as_mut() {
            let first = std::iter::once(Word::Go { bequest });
            for word in first.chain(other.later.take().unwrap_or_default()) {
                other.link.send(&word, Bytes::new());
            }
        }
    }

    /// A message of the core's that belongs to the other process. Where that is gone by now, it is nobody's but ours.
    pub fn hand_over(&self, network: &Network, flow: Arc<Flow>, bytes: Bytes) {
        let handed = self.other().as_mut().is_some_and(|other| other.hand_over(network, &flow, &bytes));
        if handed {
            self.handed.fetch_add(1, Ordering::Relaxed);
        } else {
            let _ = self.commands.send(Input::Event(Event::Handed { flow, bytes }));
        }
    }

    /// Nothing more comes from a connection of ours.
    pub fn flow_over(&self, flow: FlowId) {
        if let Some(other) = self.other().as_mut().filter(|other| other.told.contains(&flow)) {
            other.told.remove(&flow);
            other.link.send(&Word::Closed { flow: flow.0 }, Bytes::new());
        }
    }

    /// Carries out what the other process says, until it has nothing more to say.
    pub async fn listen(self: &Arc<Between>, network: &Network, firewall: &Firewall, heard: &mut Heard) -> End {
        loop {
            let Some((word, body)) = heard.next::<Word>().await else { return End::Gone };
            self.heard.store(true, Ordering::Relaxed);
            if matches!(word, Word::Message { .. } | Word::Datagram { .. }) {
                self.taken.fetch_add(1, Ordering::Relaxed);
            }
            match word {
                Word::Connection(connection) => drop(connection.foreign().map(|foreign| network.borrow(foreign))),
                Word::Message { flow } => network.handed(flow, body).await,
                Word::Datagram { local, remote } => network.handed_datagram(local, remote, body).await,
                Word::Send { flow, id } => match network.transmit_for_companion(flow, body) {
                    Carriage::Sent => {}
                    Carriage::Moved(body) => {
                        self.say_with(&Word::Carry { flow, id: Some(id) }, body);
                    }
                    Carriage::Failed => {
                        self.say(&Word::Failed { id });
                    }
                },
                Word::Carry { flow, id } => network.carry_on(flow, id.map(TransmitId), body),
                Word::Moved { connection, outbound } => {
                    let Some(socket) = heard.socket().await else { return End::Gone };
                    if let Some(foreign) = connection.foreign() {
                        network.adopt(Moved { foreign, outbound, rest: body, socket }).await;
                    }
                }
                Word::Failed { id } => network.companion_failed(TransmitId(id)),
                Word::Closed { flow } => network.returned(flow).await,
                Word::Guard { changes } => firewall.let_others(changes),
                Word::Keep { table, bans } => {
                    // Messages do not wait for the kernel.
                    let (firewall, bans) = (firewall.clone(), bans.into_iter().filter_map(|ban| ban.since(self.clock.now())).collect());
                    tokio::spawn(async move { firewall.take(table.map(Into::into), bans).await });
                }
                Word::StoreFree | Word::Missed(_) | Word::Kept { .. } => self.missed(word),
                Word::Alive { calls } => self.are_up_there(calls),
                Word::Estate(item) => self.inherit(*item),
                Word::Ladder { call } => self.inherit_ladder(call, body),
                Word::ForgetTraces => self.forget_traces_here(),
                Word::Done => return End::Done,
                // Said at other times.
                Word::Ready(_) | Word::Refused { .. } | Word::Go { .. } => return End::Gone,
            }
        }
    }
}

/// What operators have made of either.
impl Between {
    /// It is the other process's too from now on.
    pub fn hand_estate(&self) {
        for item in self.estate.get().map(Estate::items).unwrap_or_default() {
            if !self.say_in_turn(Word::Estate(Box::new(item))) {
                tracing::warn!("something that was set in this process does not reach the other one: see its show policy, show audit and trace show");
            }
        }
    }

    /// The ladders that are held here are the other process's too from now on. What finds no room on the way is left out, the oldest first.
    pub async fn hand_ladders(&self) {
        let Some(estate) = self.estate.get() else { return };
        for some in estate.telemetry.ended().chunks(LADDERS_AT_ONCE) {
            for call in some {
                let drawing = estate.telemetry.drawing(*call).and_then(|drawing| serde_json::to_vec(&drawing).ok());
                if drawing.is_some_and(|drawing| !self.say_with(&Word::Ladder { call: call.0 }, drawing.into())) && self.role().is_none() {
                    return;
                }
            }
            // The other process has calls to look after.
            tokio::time::sleep(BREATH).await;
        }
    }

    fn inherit_ladder(&self, call: u64, drawing: Bytes) {
        if let Some(estate) = self.estate.get() {
            estate.telemetry.inherit(CallId(call), drawing);
        }
    }

    /// Neither here nor there is anything kept of what traces have gathered.
    pub fn forget_traces(&self) {
        self.forget_traces_here();
        self.say(&Word::ForgetTraces);
    }

    fn forget_traces_here(&self) {
        if let Some(estate) = self.estate.get() {
            estate.telemetry.trace_no_more();
        }
    }

    fn inherit(&self, item: Item) {
        if let Some(estate) = self.estate.get() {
            estate.take(item);
        }
    }

    fn are_up_there(&self, calls: u64) {
        if self.theirs.swap(calls, Ordering::Relaxed) != calls
            && let Some(estate) = self.estate.get()
        {
            estate.changes.tell(CALLS);
        }
    }
}

impl Between {
    fn missed(self: &Arc<Between>, word: Word) {
        // A process without a store says that it awaits none, and is handed nothing.
        let Some(missed_calls) = self.missed_calls.get() else { return };
        match word {
            Word::Missed(notice) => {
                let (between, id) = (self.clone(), notice.id.clone());
                missed_calls.take_in(
                    notice,
                    Box::new(move || {
                        between.say(&Word::Kept { id });
                    }),
                );
            }
            Word::Kept { id } => missed_calls.confirmed(&id),
            _ => {
                let missed_calls = missed_calls.clone();
                tokio::spawn(async move { missed_calls.take_store().await });
            }
        }
    }
}

impl Heir for Between {
    fn store_is_free(&self) -> bool {
        self.say_in_turn(Word::StoreFree)
    }

    fn notice(&self, notice: &Notice) -> bool {
        self.say_in_turn(Word::Missed(notice.clone()))
    }
}

impl Other {
    fn hand_over(&mut self, network: &Network, flow: &Flow, bytes: &Bytes) -> bool {
        if flow.transport == Transport::Udp {
            return self.link.send(&Word::Datagram { local: flow.local, remote: flow.remote }, bytes.clone());
        }
        if !self.told.contains(&flow.id) {
            let Some(foreign) = network.lend(flow) else { return false };
            if !self.link.send(&Word::Connection(Box::new(foreign.into())), Bytes::new()) {
                return false;
            }
            self.told.insert(flow.id);
        }
        self.link.send(&Word::Message { flow: flow.id.0 }, bytes.clone())
    }
}

impl Companion for Between {
    fn send(&self, flow: u64, id: TransmitId, bytes: &Bytes) -> bool {
        self.other().as_ref().is_some_and(|other| other.link.send(&Word::Send { flow, id: id.0 }, bytes.clone()))
    }

    fn carry(&self, flow: u64, id: Option<TransmitId>, bytes: &Bytes) -> bool {
        self.say_with(&Word::Carry { flow, id: id.map(|id| id.0) }, bytes.clone())
    }

    fn adopt(&self, moved: Moved) -> bool {
        let Moved { foreign, outbound, rest, socket } = moved;
        let mut other = self.other();
        let Some(other) = other.as_mut() else { return false };
        other.told.remove(&foreign.flow.id);
        other.link.send_socket(&Word::Moved { connection: Box::new(foreign.into()), outbound }, rest, socket)
    }

    /// The successor's table of peers is the newer one.
    fn datagram(&self, local: SocketAddr, remote: SocketAddr, bytes: &Bytes) -> bool {
        let other = self.other();
        let successor = other.as_ref().filter(|other| other.role == Role::Successor && other.later.is_none() && other.link.has_room());
        successor.is_some_and(|other| other.link.send(&Word::Datagram { local, remote }, bytes.clone()))
    }
}
