//! One worker: the thread that owns some of the streams and carries their packets.
//!
//! A wake is: read the clock, carry out a bounded number of commands, give every ready socket one bounded turn (receive a few datagrams, have
//! the stream judge and rewrite each, send them out of the other side's socket), then look for silences that are due. Commands come first, so
//! that a packet sent after a command was given finds it done. A ready token may then name a slot whose stream was closed, or another one's
//! since: the turn is taken on whatever socket the slot has now, and at worst finds nothing to read.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::media::control::{Command, Event, Report, Side, StreamId};
use crate::media::relay::{Stream, Verdict};
use crate::time::Time;

use super::silence::Looks;
use super::sockets::{Place, Sockets};
use super::system::{Batch, Bell, Epoll, Ready};
use super::{Counters, Settings};

/// Sockets served in one wake.
const READY: usize = 256;

/// Commands carried out in one wake; each may cost tens of microseconds (four sockets, key derivation).
const COMMANDS: usize = 32;

/// The time between two packets of a stream of voice that is neither behind nor new: 10 to 40 ms of speech in each, with some jitter.
const PACE: std::ops::Range<Duration> = Duration::from_millis(8)..Duration::from_millis(50);

/// Sockets ready in one wake from which on waiting for more gains nothing.
const ENOUGH: usize = 16;

/// The bell's token; streams' tokens are slot and place, far below.
const BELL: u64 = u64::MAX;

/// What a worker is told.
pub(super) enum Order {
    Carry(Command),
    Stop,
}

/// What a worker shares with the plane: the bell, whether it has been rung, and the counters it publishes.
pub(super) struct Shared {
    pub(super) bell: Bell,
    /// Set by who rings, cleared by the worker before it looks into its inbox: so a burst of commands rings once.
    pub(super) rung: AtomicBool,
    tally: Tally,
}

impl Shared {
    pub(super) fn new() -> std::io::Result<Shared> {
        Ok(Shared { bell: Bell::new()?, rung: AtomicBool::new(false), tally: Tally::default() })
    }

    pub(super) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    pub(super) fn counters(&self) -> Counters {
        self.tally.read()
    }
}

/// The worker's counters as others may read them: written by one thread, once per wake.
#[derive(Default)]
struct Tally([AtomicU64; 8]);

impl Tally {
    fn write(&self, counters: &Counters) {
        let values = [
            counters.streams,
            counters.received,
            counters.forwarded,
            counters.dropped,
            counters.send_failed,
            counters.receive_failed,
            counters.oversized,
            counters.wakes,
        ];
        for (cell, value) in self.0.iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    fn read(&self) -> Counters {
        let [streams, received, forwarded, dropped, send_failed, receive_failed, oversized, wakes] = std::array::from_fn(|i| self.0[i].load(Ordering::Relaxed));
        Counters { streams, received, forwarded, dropped, send_failed, receive_failed, oversized, wakes }
    }
}

/// One open stream.
struct Open {
    id: StreamId,
    stream: Stream,
    sockets: Sockets,
    silence: Option<Duration>,
    /// When the next look for silence is due; any other look at this stream is out of date.
    planned: Option<Time>,
    /// The silence last told of, so that each is told of once.
    told: Option<Time>,
    /// When each socket last had its turn, by [`Place`].
    turns: [Time; 4],
    /// Datagrams longer than any we relay, per side; part of the report's `refused_malformed`.
    oversized: [u64; 2],
}

impl Open {
    /// How many datagrams to ask a socket for. A stream on its pace has one; one that comes sooner or later than that may have more waiting.
    fn expect(&mut self, now: Time, place: Place, batch: usize) -> usize {
        let Some(turn) = self.turns.get_mut(place.index()) else { return 1 };
        let since = now.since(std::mem::replace(turn, now));
        if PACE.contains(&since) { 1 } else { batch }
    }

    /// Something about the stream has changed: the next look may be due sooner.
    fn plan(&mut self, looks: &mut Looks) {
        if let Some(at) = self.next_look(None)
            && self.planned.is_none_or(|planned| at < planned)
        {
            self.planned = Some(looks.plan(self.id, at));
        }
    }

    /// When there is something to do without a packet. `silence`: where one was told of already, when it may have begun again.
    fn next_look(&self, silence: Option<Time>) -> Option<Time> {
        [silence.or(self.stream.deadline()), self.stream.next_upkeep()].into_iter().flatten().min()
    }

    fn report(&self) -> Report {
        let mut report = self.stream.report();
        report.a.refused_malformed += self.oversized[0];
        report.b.refused_malformed += self.oversized[1];
        report
    }
}

pub(super) struct Worker {
    settings: Settings,
    anchor: Instant,
    events: UnboundedSender<Event>,
    inbox: Receiver<Order>,
    shared: Arc<Shared>,
    epoll: Epoll,
    batch: Batch,
    /// By slot, the token's upper bits. Boxed: growing the table must not copy ten thousand streams in the middle of their packets.
    table: Vec<Option<Box<Open>>>,
    free: Vec<usize>,
    slots: HashMap<StreamId, usize>,
    looks: Looks,
    counters: Counters,
    /// The inbox may hold more than the last wake carried out.
    unread: bool,
}

impl Worker {
    pub(super) fn new(
        settings: Settings,
        anchor: Instant,
        events: UnboundedSender<Event>,
        inbox: Receiver<Order>,
        shared: Arc<Shared>,
    ) -> std::io::Result<Worker> {
        let epoll = Epoll::new()?;
        epoll.add(shared.bell.fd(), BELL)?;
        let batch = Batch::new(settings.batch);
        Ok(Worker {
            settings,
            anchor,
            events,
            inbox,
            shared,
            epoll,
            batch,
            table: Vec::new(),
            free: Vec::new(),
            slots: HashMap::new(),
            looks: Looks::default(),
            counters: Counters::default(),
            unread: false,
        })
    }

    /// Carries packets until told to stop or until the plane is gone.
    pub(super) fn run(mut self) {
        let mut ready = Ready::new(READY);
        let mut now = self.clock();
        loop {
            let Ok(count) = self.epoll.wait(&mut ready, self.patience(now)) else { return };
            let last = std::mem::replace(&mut now, self.clock());
            if (self.unread || self.shared.rung.load(Ordering::Acquire)) && !self.obey(now) {
                return;
            }
            for token in (0..count).filter_map(|i| ready.token(i)) {
                if token == BELL { self.shared.bell.silence() } else { self.serve(now, token) }
            }
            self.look(now);
            self.counters.wakes += 1;
            self.shared.tally.write(&self.counters);
            // Packets come faster than one per gathering: a wake costs as much as a packet, so let a few of them share the next one.
            if (1..ENOUGH).contains(&count) && now.since(last) < self.settings.gather * 2 {
                std::thread::sleep(self.settings.gather);
            }
        }
    }

    fn clock(&self) -> Time {
        Time::from_nanos(self.anchor.elapsed().as_nanos() as u64)
    }

    /// How long to wait for packets. Unit: ms, -1 for ever.
    fn patience(&self, now: Time) -> i32 {
        // Asked again here: a ring that came between the look into the inbox and the bell's silencing would otherwise be slept through.
        if self.unread || self.shared.rung.load(Ordering::Acquire) {
            return 0;
        }
        match self.looks.next() {
            Some(at) => i32::try_from(at.since(now).as_millis() + 1).unwrap_or(i32::MAX),
            None => -1,
        }
    }

    /// One socket's turn.
    fn serve(&mut self, now: Time, token: u64) {
        let place = Place::from_token(token);
        let Some(open) = usize::try_from(token >> 2).ok().and_then(|slot| self.table.get_mut(slot)).and_then(Option::as_deref_mut) else { return };
        let limit = open.expect(now, place, self.settings.batch);
        let count = match self.batch.receive(open.sockets.at(place), limit) {
            Ok(count) => count,
            Err(error) => {
                // An ICMP error the kernel kept for us is cleared by being read: the socket is as good as before.
                if error.kind() != std::io::ErrorKind::WouldBlock {
                    self.counters.receive_failed += 1;
                }
                return;
            }
        };
        self.counters.received += count as u64;
        let mut staged = 0;
        for i in 0..count {
            let Some(datagram) = self.batch.datagram(i) else { continue };
            if datagram.oversized {
                self.counters.oversized += 1;
                open.oversized[usize::from(place.side() == Side::B)] += 1;
                continue;
            }
            let Some(from) = datagram.from else { continue };
            match open.stream.packet(now, place.side(), place.channel(), from, datagram.buffer, datagram.len) {
                Verdict::Forward { to, len } => {
                    self.batch.stage(i, len, to);
                    staged += 1;
                }
                Verdict::Drop(_) => self.counters.dropped += 1,
            }
        }
        if let Some(side) = open.stream.take_fax_tone() {
            let _ = self.events.send(Event::FaxTone { stream: open.id, side });
        }
        if staged > 0 {
            let flushed = self.batch.flush(open.sockets.at(place.opposite()));
            self.counters.forwarded += flushed.sent as u64;
            self.counters.send_failed += flushed.failed as u64;
        }
    }

    /// Carries out what is in the inbox, a bounded part of it. False: stop.
    fn obey(&mut self, now: Time) -> bool {
        // Cleared before the inbox is read: whoever adds to it after our last look rings again.
        self.shared.rung.swap(false, Ordering::AcqRel);
        self.unread = true;
        for _ in 0..COMMANDS {
            match self.inbox.try_recv() {
                Ok(Order::Carry(command)) => self.carry(now, command),
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => {
                    self.unread = false;
                    return true;
                }
            }
        }
        true
    }

    fn carry(&mut self, now: Time, command: Command) {
        match command {
            Command::Open { stream, a, b, silence } => {
                let opened = if self.slots.contains_key(&stream) {
                    Err(format!("stream {} is open already", stream.0))
                } else {
                    Sockets::open(a, b, &self.settings)
                        .map_err(|(address, error)| format!("cannot bind the media address {address}: {error}"))
                        .and_then(|sockets| self.admit(now, stream, sockets, silence))
                };
                if let Err(error) = opened {
                    self.tell(Event::OpenFailed { stream, error });
                }
            }
            Command::Configure { stream, side, remote, latch, receive, transmit } => {
                let Some(open) = self.slots.get(&stream).and_then(|slot| self.table.get_mut(*slot)).and_then(Option::as_deref_mut) else { return };
                if let Err(error) = open.stream.configure(now, side, remote, latch, receive, transmit) {
                    let error = format!("cannot set up protection on side {side} of the stream: {error:?}");
                    self.tell(Event::OpenFailed { stream, error });
                } else {
                    open.plan(&mut self.looks);
                }
            }
            Command::Carry { stream, content } => {
                let Some(open) = self.slots.get(&stream).and_then(|slot| self.table.get_mut(*slot)).and_then(Option::as_deref_mut) else { return };
                open.stream.carry(now, content);
                open.plan(&mut self.looks);
            }
            Command::KeepRtcp { stream, side, every, ssrc } => {
                let Some(open) = self.slots.get(&stream).and_then(|slot| self.table.get_mut(*slot)).and_then(Option::as_deref_mut) else { return };
                open.stream.keep_rtcp(now, side, every, ssrc);
                open.plan(&mut self.looks);
            }
            Command::Close { stream } => {
                let report = self.dismiss(stream).unwrap_or_default();
                self.tell(Event::Closed { stream, report: Box::new(report) });
            }
        }
    }

    /// Takes a stream in and listens to its sockets.
    fn admit(&mut self, now: Time, id: StreamId, sockets: Sockets, silence: Option<Duration>) -> Result<(), String> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        for place in Place::ALL {
            if let Err(error) = self.epoll.add(sockets.at(place), (slot as u64) << 2 | place.bits()) {
                self.free.push(slot);
                return Err(format!("cannot watch a media socket: {error}"));
            }
        }
        if let Some(cell) = self.table.get_mut(slot) {
            *cell = Some(Box::new(Open {
                id,
                stream: Stream::new(id, silence, now),
                sockets,
                silence,
                planned: None,
                told: None,
                turns: [Time::ZERO; 4],
                oversized: [0; 2],
            }));
        }
        self.slots.insert(id, slot);
        self.counters.streams += 1;
        Ok(())
    }

    /// Lets a stream go: its sockets close here.
    fn dismiss(&mut self, id: StreamId) -> Option<Report> {
        let slot = self.slots.remove(&id)?;
        let open = self.table.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.counters.streams -= 1;
        Some(open.report())
    }

    /// Looks at the streams whose time has come and tells of new silences.
    fn look(&mut self, now: Time) {
        while let Some((at, id)) = self.looks.take(now) {
            let Some(open) = self.slots.get(&id).and_then(|slot| self.table.get_mut(*slot)).and_then(Option::as_deref_mut) else { continue };
            if open.planned != Some(at) {
                continue;
            }
            for place in [Place::A_RTCP, Place::B_RTCP] {
                if let Some((to, len)) = open.stream.upkeep(now, place.side(), self.batch.blank()) {
                    self.batch.stage(0, len, to);
                    let flushed = self.batch.flush(open.sockets.at(place));
                    self.counters.send_failed += flushed.failed as u64;
                }
            }
            let since = open.stream.silent_since(now);
            // Told of already, it may end and begin again: look once more. Not counting at all: the next `Configure` plans the next look.
            let again = since.and(open.silence).map(|silence| now + silence);
            open.planned = open.next_look(again).map(|at| self.looks.plan(id, at.max(now + Duration::from_nanos(1))));
            if let Some(since) = since
                && open.told.replace(since) != Some(since)
            {
                self.tell(Event::Silent { stream: id, since });
            }
        }
    }

    /// A receiver that is gone is the driver ending: nobody is left to tell.
    fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}

/// However the worker ends, each of its streams is reported and what waits in the inbox is answered.
impl Drop for Worker {
    fn drop(&mut self) {
        for open in self.table.iter_mut().filter_map(Option::take) {
            let _ = self.events.send(Event::Closed { stream: open.id, report: Box::new(open.report()) });
        }
        while let Ok(order) = self.inbox.try_recv() {
            if let Order::Carry(command) = order {
                refuse(&self.events, command);
            }
        }
        self.counters.streams = 0;
        self.shared.tally.write(&self.counters);
    }
}

/// Answers a command no worker will carry out.
pub(super) fn refuse(events: &UnboundedSender<Event>, command: Command) {
    let _ = match command {
        Command::Open { stream, .. } => events.send(Event::OpenFailed { stream, error: "the media worker has ended".to_owned() }),
        Command::Close { stream } => events.send(Event::Closed { stream, report: Box::default() }),
        Command::Configure { .. } | Command::Carry { .. } | Command::KeepRtcp { .. } => Ok(()),
    };
}
