//! One worker: the thread that owns some of the streams and carries their packets.
//!
//! A wake is: read the clock, carry out a bounded number of commands, give every ready socket one bounded turn (receive a few datagrams, have
//! the stream judge and rewrite each, send them out of the other side's socket), then look for silences that are due. Commands come first, so
//! that a packet sent after a command was given finds it done. A ready token may then name a slot whose stream was closed, or another one's
//! since: the turn is taken on whatever socket the slot has now, and at worst finds nothing to read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use crate::media::control::{Command, Event, StreamId};
use crate::media::relay::Channel;
use crate::time::Time;

use super::Settings;
use super::gather::Gathering;
use super::io::SocketIo;
use super::orders::{Order, Shared, refuse};
use super::path::{Front, Io, Way};
use super::sockets::{Place, Sockets};
use super::streams::{Open, Streams};
use super::system::Batch;

/// Commands carried out in one wake; each may cost tens of microseconds (four sockets, key derivation).
const COMMANDS: usize = 32;

/// The bell's token; streams' tokens are slot and place, far below.
const BELL: u64 = u64::MAX;

/// The first front's token; the others' follow.
const FRONTS: u64 = u64::MAX - 256;

pub(super) struct Worker {
    pub(super) settings: Settings,
    anchor: Instant,
    pub(super) inbox: Receiver<Order>,
    pub(super) shared: Arc<Shared>,
    pub(super) io: SocketIo,
    /// For datagrams of our own.
    own: Batch,
    pub(super) streams: Streams,
    pub(super) fronts: Vec<Box<dyn Front>>,
    /// The inbox may hold more than the last wake carried out.
    unread: bool,
    /// Until then an address in use may be one that a run before this has left.
    patience: Instant,
}

/// How long after a run's beginning its streams' addresses may still be held by what was before it.
const SETTLING: Duration = Duration::from_secs(1);

impl Worker {
    /// To be made on the thread that runs it.
    pub(super) fn new(
        settings: Settings,
        io: Io,
        anchor: Instant,
        streams: Streams,
        (inbox, shared): (Receiver<Order>, Arc<Shared>),
        fronts: Vec<Box<dyn Front>>,
    ) -> std::io::Result<Worker> {
        let io = SocketIo::new(io, settings.batch)?;
        let patience = Instant::now() + SETTLING;
        let mut worker = Worker { settings, anchor, inbox, shared, io, own: Batch::new(1), streams, fronts, unread: false, patience };
        worker.begin_listening()?;
        Ok(worker)
    }

    /// To the bell and to the fronts; what is in the inbox already is looked for as well.
    pub(super) fn begin_listening(&mut self) -> std::io::Result<()> {
        self.unread = true;
        self.patience = Instant::now() + SETTLING;
        self.io.watch(self.shared.bell.fd(), BELL)?;
        for (token, front) in (FRONTS..).zip(&self.fronts) {
            if let Some(descriptor) = front.descriptor() {
                self.io.watch(descriptor, token)?;
            }
        }
        Ok(())
    }

    /// Carries packets until told to stop or until the plane is gone. The error: how waiting for packets failed.
    pub(super) fn run(&mut self) -> std::io::Result<()> {
        let mut now = self.clock();
        let mut gathering = Gathering::new(self.settings.gather);
        let (mut count, mut often) = (0, false);
        loop {
            let span = gathering.span(now).filter(|_| often);
            let ready = self.io.wait(self.until_due(now), count, span)?;
            let last = std::mem::replace(&mut now, self.clock());
            (count, often) = (ready, gathering.is_often(now.since(last)));
            if (self.unread || self.shared.is_rung()) && !self.obey(now) {
                return Ok(());
            }
            let mut i = 0;
            while let Some(token) = self.io.token(i) {
                if token < FRONTS {
                    self.serve(now, i)
                } else {
                    self.watched(now, token)
                }
                i += 1;
            }
            self.look(now);
            while let Some(stream) = self.streams.take_renewed() {
                self.changed(now, stream);
            }
            self.streams.counters.wakes += 1;
            self.shared.tally.write(&self.streams.counters);
        }
    }

    pub(super) fn clock(&self) -> Time {
        Time::from_nanos(self.anchor.elapsed().as_nanos() as u64)
    }

    /// How long to wait for packets. Unit: ms, -1 for ever.
    fn until_due(&self, now: Time) -> i32 {
        // Asked again here: a ring that came between the look into the inbox and the bell's silencing would otherwise be slept through.
        if self.unread || self.shared.is_rung() {
            return 0;
        }
        match self.fronts.iter().filter_map(|front| front.due()).chain(self.streams.looks.next()).chain(self.streams.turns.next()).min() {
            Some(at) => i32::try_from(at.since(now).as_millis() + 1).unwrap_or(i32::MAX),
            None => -1,
        }
    }

    /// The bell has rung, or it is a front's turn.
    fn watched(&mut self, now: Time, token: u64) {
        match self.fronts.get_mut((token - FRONTS) as usize) {
            Some(front) => front.ready(now, &mut self.streams),
            None => self.shared.bell.silence(),
        }
        self.io.again(token);
    }

    /// A stream's turn. Fronts that carry packets past us say so before and hear of it after.
    fn serve(&mut self, now: Time, i: usize) {
        let slot = self.io.slot(i);
        self.each_front(slot, |front, open| front.arriving(now, open));
        self.io.serve(now, i, &mut self.streams);
        self.each_front(slot, |front, open| front.served(now, open));
    }

    /// Has every front do something about a stream.
    fn each_front(&mut self, slot: usize, mut act: impl FnMut(&mut dyn Front, &mut Open)) {
        if self.fronts.is_empty() {
            return;
        }
        let Some(open) = self.streams.at(slot) else { return };
        for front in &mut self.fronts {
            act(front.as_mut(), open);
        }
        self.streams.add_elsewhere(slot);
    }

    /// The same for a stream by its name.
    fn each_front_of(&mut self, id: StreamId, act: impl FnMut(&mut dyn Front, &mut Open)) {
        if let Some(slot) = self.streams.of(id).map(|open| open.slot) {
            self.each_front(slot, act);
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
                Ok(Order::Inspect(stream, answer)) => {
                    self.each_front_of(stream, |front, open| front.reading(open));
                    // Whoever looks at a stream finds the counters no older.
                    self.shared.tally.write(&self.streams.counters);
                    answer(self.streams.view(stream));
                }
                Ok(Order::Bequeath(stream, side, legacy)) => {
                    if let Some(receiver) = self.streams.of(stream).and_then(|open| open.stream.bequeath(side)) {
                        legacy(receiver);
                    }
                }
                Ok(Order::Inherit(stream, side, elder)) => {
                    if let Some(open) = self.streams.of(stream) {
                        open.stream.inherit(side, elder);
                    }
                }
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
                let opened = if self.streams.has(stream) {
                    Err(format!("stream {} is open already", stream.0))
                } else {
                    Sockets::open(a, b, &self.settings, self.patience)
                        .map_err(|(address, error)| format!("cannot bind the media address {address}: {error}"))
                        .and_then(|sockets| self.admit(now, stream, sockets, silence))
                };
                if let Err(error) = opened {
                    self.streams.tell(Event::OpenFailed { stream, error });
                }
            }
            Command::Configure { stream, side, set } => {
                self.each_front_of(stream, |front, open| front.changing(now, open));
                let Some((open, looks)) = self.streams.with_looks(stream) else { return };
                if let Err(error) = open.stream.configure(now, side, set) {
                    let error = format!("cannot set up protection on side {side} of the stream: {error:?}");
                    self.streams.tell(Event::OpenFailed { stream, error });
                } else {
                    open.plan(looks);
                    self.streams.associate(now, stream);
                    self.changed(now, stream);
                }
            }
            Command::Carry { stream, content } => {
                self.each_front_of(stream, |front, open| front.changing(now, open));
                let Some((open, looks)) = self.streams.with_looks(stream) else { return };
                open.stream.carry(now, content);
                open.plan(looks);
                self.changed(now, stream);
            }
            Command::KeepRtcp { stream, side, every, ssrc } => {
                let Some((open, looks)) = self.streams.with_looks(stream) else { return };
                open.stream.keep_rtcp(now, side, every, ssrc);
                open.plan(looks);
            }
            Command::Digit { stream, side, digit, lasting, ssrc } => self.streams.press(now, stream, side, (digit, lasting), ssrc),
            // The plane makes two orders of it: the streams may be on two workers.
            Command::Succeed { .. } => {}
            Command::Close { stream } => self.dismiss(now, stream),
        }
    }

    /// The fronts hear of what signalling has changed.
    fn changed(&mut self, now: Time, stream: StreamId) {
        self.each_front_of(stream, |front, open| front.changed(now, open));
    }

    /// Takes a stream in and listens to its sockets.
    fn admit(&mut self, now: Time, id: StreamId, sockets: Sockets, silence: Option<Duration>) -> Result<(), String> {
        let Some(open) = self.streams.admit(now, id, sockets, silence, Way::Sockets(self.io.io())) else { return Ok(()) };
        if let Err(error) = self.io.admit(open.slot, &open.sockets) {
            self.streams.dismiss(id);
            return Err(format!("cannot watch a media socket: {error}"));
        }
        for front in &mut self.fronts {
            front.opened(now, open);
        }
        Ok(())
    }

    /// Lets a stream go and reports it; its sockets close here.
    fn dismiss(&mut self, now: Time, id: StreamId) {
        if let Some(open) = self.streams.of(id) {
            open.at_end = Some(open.ways);
        }
        self.each_front_of(id, |front, open| front.closing(now, open));
        if let Some(open) = self.streams.of(id) {
            self.io.forget(open.slot);
        }
        let report = self.streams.dismiss(id).map(|open| open.report()).unwrap_or_default();
        self.streams.tell(Event::Closed { stream: id, report: Box::new(report) });
    }

    /// What is due without a packet.
    fn look(&mut self, now: Time) {
        let (own, fronts) = (&mut self.own, &mut self.fronts);
        let read = |open: &mut Open| fronts.iter_mut().for_each(|front| front.reading(open));
        self.streams.look(now, read, |open: &mut Open, place, counters| {
            if let Some((channel, to, len)) = open.stream.upkeep(now, place.side(), own.blank()) {
                let place = Place::of(place.side(), channel);
                own.stage(0, len, to);
                counters.send_failed += own.flush(open.sockets.at(place)).failed as u64;
            }
        });
        self.streams.take_turns(now, |open, counters| {
            if let Some((side, to, len)) = open.stream.digit(now, own.blank()) {
                own.stage(0, len, to);
                counters.send_failed += own.flush(open.sockets.at(Place::of(side, Channel::Rtp))).failed as u64;
            }
        });
        for front in &mut self.fronts {
            front.look(now, &mut self.streams);
        }
    }
}

/// However the worker ends, each of its streams is reported and what waits in the inbox is answered.
impl Drop for Worker {
    fn drop(&mut self) {
        let now = self.clock();
        while let Some(id) = self.streams.any() {
            self.dismiss(now, id);
        }
        while let Ok(order) = self.inbox.try_recv() {
            if let Order::Carry(command) = order {
                refuse(self.streams.events(), command);
            }
        }
        self.shared.tally.write(&self.streams.counters);
    }
}
