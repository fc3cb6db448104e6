//! The streams of one worker, and what happens to a packet whichever way it came: [`Streams::packet`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::media::control::{Event, Report, Side, SideReport, StreamId, Unreachable};
use crate::media::packet::Channel;
use crate::media::relay::{Stream, Verdict};
use crate::media::shortcut::WhyNot;
use crate::time::Time;

use super::Counters;
use super::association::Claims;
use super::digits::Turns;
use super::handshakes::{Handshakes, Input};
use super::path::{StreamView, Way};
use super::silence::Looks;
use super::sockets::{Place, Sockets};
use super::system::{self, Returned};

/// The time between two packets of a stream of voice that is neither behind nor new: 10 to 40 ms of speech in each, with some jitter.
const PACE: std::ops::Range<Duration> = Duration::from_millis(8)..Duration::from_millis(50);

/// ICMP errors taken from one socket in one turn.
const ERRORS: usize = 16;

/// One open stream.
pub(super) struct Open {
    pub(super) id: StreamId,
    /// Where [`Streams::at`] finds it, as long as it is open.
    pub(super) slot: usize,
    pub(super) stream: Stream,
    pub(super) sockets: Sockets,
    pub(super) silence: Option<Duration>,
    /// Who shakes hands on the A and the B side, where DTLS keys it.
    pub(super) claims: [Option<Box<Claims>>; 2],
    /// How packets from A and from B travel now; kept by the fronts.
    pub(super) ways: [(Way, Option<WhyNot>); 2],
    /// The same before the fronts let go of it at its end.
    pub(super) at_end: Option<[(Way, Option<WhyNot>); 2]>,
    /// How its sockets are served: the way of what goes by no front.
    pub(super) bound: Way,
    /// Packets a front carried without `Streams::packet`, not yet in the worker's counters.
    pub(super) elsewhere: u64,
    /// Entries in the kernel that would not be deleted, not yet in the worker's counters.
    pub(super) undeleted: u64,
    /// When the next look for silence is due; any other look at this stream is out of date.
    planned: Option<Time>,
    /// When it is to have its next turn for digits; any other is out of date.
    pub(super) turn: Option<Time>,
    /// The silence last told of, so that each is told of once.
    told: Option<Time>,
    /// When each socket last had its turn, by [`Place`].
    turns: [Time; 4],
    /// What the sockets of A's side and B's met.
    faults: [Faults; 2],
}

/// What a side's sockets met that no packet tells of; part of its report.
#[derive(Default)]
struct Faults {
    /// Datagrams longer than any we relay, of `refused_malformed`.
    oversized: u64,
    send_failed: u64,
    /// Boxed: most streams never meet one.
    unreachable: Option<Box<Unreachable>>,
    /// The same of RTCP, for which many a listener has no port.
    rtcp_unreachable: Option<Box<Unreachable>>,
}

impl Faults {
    fn returned(&mut self, now: Time, channel: Channel, error: Returned) {
        let seen = match channel {
            Channel::Rtp => &mut self.unreachable,
            Channel::Rtcp => &mut self.rtcp_unreachable,
        };
        let (errors, first) = seen.as_ref().map_or((0, now), |before| (before.errors, before.first));
        *seen = Some(Box::new(Unreachable { errors: errors + 1, first, last: now, icmp: error.icmp, to: error.to, by: error.by }));
    }

    fn report(&self, side: &mut SideReport) {
        side.refused_malformed += self.oversized;
        side.refused_oversized += self.oversized;
        side.send_failed += self.send_failed;
        side.unreachable = self.unreachable.as_deref().copied().or(side.unreachable);
        side.rtcp_unreachable = self.rtcp_unreachable.as_deref().copied().or(side.rtcp_unreachable);
    }
}

impl Open {
    /// How many datagrams to ask a socket for. A stream on its pace has one; one that comes sooner or later than that may have more waiting.
    pub(super) fn expect(&mut self, now: Time, place: Place, batch: usize) -> usize {
        let Some(turn) = self.turns.get_mut(place.index()) else { return 1 };
        let since = now.since(std::mem::replace(turn, now));
        if PACE.contains(&since) { 1 } else { batch }
    }

    /// Something about the stream has changed: the next look may be due sooner.
    pub(super) fn plan(&mut self, looks: &mut Looks) {
        if let Some(at) = self.next_look(None) {
            looks.advance(self.id, &mut self.planned, at);
        }
    }

    /// When there is something to do without a packet. `silence`: where one was told of already, when it may have begun again.
    fn next_look(&self, silence: Option<Time>) -> Option<Time> {
        [silence.or(self.stream.deadline()), self.stream.next_upkeep(), self.handshake_due()].into_iter().flatten().min()
    }

    fn faults(&mut self, side: Side) -> &mut Faults {
        let [a, b] = &mut self.faults;
        match side {
            Side::A => a,
            Side::B => b,
        }
    }

    pub(super) fn report(&self) -> Report {
        let mut report = self.stream.report();
        self.faults[0].report(&mut report.a);
        self.faults[1].report(&mut report.b);
        let [from_a, from_b] = self.at_end.unwrap_or(self.ways);
        (report.a.path, report.b.path) = (Some(from_a), Some(from_b));
        report
    }
}

/// A datagram to be sent, where the one it was made of lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Departure {
    /// Which of the stream's sockets it goes out of, or looks as if it did.
    pub(super) from: Place,
    pub(super) to: SocketAddr,
    pub(super) len: usize,
}

/// Everything one worker knows of its streams, with what it counts and whom it tells.
pub(super) struct Streams {
    /// By slot. Boxed: growing the table must not copy ten thousand streams in the middle of their packets.
    table: Vec<Option<Box<Open>>>,
    free: Vec<usize>,
    slots: HashMap<StreamId, usize>,
    pub(super) looks: Looks,
    pub(super) turns: Turns,
    pub(super) counters: Counters,
    pub(super) handshakes: Handshakes,
    events: UnboundedSender<Event>,
    worker: usize,
}

impl Streams {
    pub(super) fn new(worker: usize, events: UnboundedSender<Event>, handshakes: Handshakes) -> Streams {
        Streams {
            table: Vec::new(),
            free: Vec::new(),
            slots: HashMap::new(),
            looks: Looks::default(),
            turns: Turns::default(),
            counters: Counters::default(),
            handshakes,
            events,
            worker,
        }
    }

    /// The stream in a slot, if there is one now.
    pub(super) fn at(&mut self, slot: usize) -> Option<&mut Open> {
        self.table.get_mut(slot).and_then(Option::as_deref_mut)
    }

    pub(super) fn of(&mut self, id: StreamId) -> Option<&mut Open> {
        let slot = *self.slots.get(&id)?;
        self.at(slot)
    }

    /// The same, together with what its next look is planned in.
    pub(super) fn with_looks(&mut self, id: StreamId) -> Option<(&mut Open, &mut Looks)> {
        let slot = *self.slots.get(&id)?;
        Some((self.table.get_mut(slot).and_then(Option::as_deref_mut)?, &mut self.looks))
    }

    pub(super) fn slot_of(&self, id: StreamId) -> Option<usize> {
        self.slots.get(&id).copied()
    }

    /// A stream together with what it shakes hands by.
    pub(super) fn with_handshakes(&mut self, slot: usize) -> (Option<&mut Open>, &mut Handshakes) {
        (self.table.get_mut(slot).and_then(Option::as_deref_mut), &mut self.handshakes)
    }

    /// A stream together with what is counted of all.
    pub(super) fn with_counters(&mut self, slot: usize) -> Option<(&mut Open, &mut Counters)> {
        Some((self.table.get_mut(slot).and_then(Option::as_deref_mut)?, &mut self.counters))
    }

    /// The next look at a stream may be due sooner than planned.
    pub(super) fn replan(&mut self, slot: usize) {
        if let Some(open) = self.table.get_mut(slot).and_then(Option::as_deref_mut) {
            open.plan(&mut self.looks);
        }
    }

    pub(super) fn has(&self, id: StreamId) -> bool {
        self.slots.contains_key(&id)
    }

    /// All of them, in no order that means anything.
    pub(super) fn each(&mut self) -> impl Iterator<Item = &mut Open> {
        self.table.iter_mut().filter_map(Option::as_deref_mut)
    }

    /// Takes a stream in.
    pub(super) fn admit(&mut self, now: Time, id: StreamId, sockets: Sockets, silence: Option<Duration>, way: Way) -> Option<&mut Open> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.table.push(None);
            self.table.len() - 1
        });
        self.slots.insert(id, slot);
        self.counters.streams += 1;
        let open = Open {
            id,
            slot,
            stream: Stream::new(id, silence, now),
            sockets,
            silence,
            claims: [None, None],
            ways: [(way, None); 2],
            at_end: None,
            bound: way,
            elsewhere: 0,
            undeleted: 0,
            planned: None,
            turn: None,
            told: None,
            turns: [Time::ZERO; 4],
            faults: Default::default(),
        };
        self.table.get_mut(slot).map(|cell| &mut **cell.insert(Box::new(open)))
    }

    /// Lets a stream go.
    pub(super) fn dismiss(&mut self, id: StreamId) -> Option<Box<Open>> {
        let slot = self.slots.remove(&id)?;
        let open = self.table.get_mut(slot)?.take()?;
        self.free.push(slot);
        self.counters.streams -= 1;
        Some(open)
    }

    /// Lets go of what is left, whatever it has come to: a table in which a fault has left nothing to rely on.
    pub(super) fn begin_anew(&mut self) {
        let Streams { events, worker, .. } = self;
        let fresh = Streams::new(*worker, events.clone(), self.handshakes.begin_anew());
        let counters = Counters { streams: 0, ..self.counters };
        *self = Streams { counters, ..fresh };
    }

    /// All streams by their names.
    pub(super) fn ids(&self) -> Vec<StreamId> {
        self.slots.keys().copied().collect()
    }

    /// Any stream, to be let go.
    pub(super) fn any(&mut self) -> Option<StreamId> {
        self.each().next().map(|open| open.id)
    }

    /// The packet that arrived for `place` of the stream in `slot`, in `buffer[..len]`; rewritten in place, counted, and to be sent if there is an answer.
    /// Whichever way packets come, they come here. The buffer should have `TAIL_ROOM` bytes behind `len`.
    pub(super) fn packet(&mut self, now: Time, slot: usize, place: Place, from: SocketAddr, buffer: &mut [u8], len: usize) -> Option<Departure> {
        let open = self.table.get_mut(slot).and_then(Option::as_deref_mut)?;
        self.counters.received += 1;
        let verdict = open.stream.packet(now, place.side(), place.channel(), from, buffer, len);
        if let Some(side) = open.stream.take_fax_tone() {
            let _ = self.events.send(Event::FaxTone { stream: open.id, side });
        }
        if open.stream.converts_digits() {
            self.digits(now, slot);
        }
        match verdict {
            Verdict::Forward { to, len, channel } => Some(Departure { from: Place::of(place.side().other(), channel), to, len }),
            Verdict::Reply { len } => {
                self.shake(now, slot, place.side(), Input::Begin);
                Some(Departure { from: place, to: from, len })
            }
            Verdict::Handshake => {
                self.shake(now, slot, place.side(), Input::Datagram(from, buffer.get(..len).unwrap_or_default()));
                None
            }
            Verdict::Heard => None,
            Verdict::Drop(_) => {
                self.counters.dropped += 1;
                None
            }
        }
    }

    /// A datagram longer than any we relay came for `place`: counted, and gone.
    pub(super) fn oversized(&mut self, slot: usize, place: Place) {
        self.counters.received += 1;
        self.counters.oversized += 1;
        if let Some(open) = self.at(slot) {
            open.faults(place.side()).oversized += 1;
        }
    }

    /// The kernel would not take `count` datagrams from us that were to leave by `place`'s socket and had been counted as forwarded.
    pub(super) fn send_failed(&mut self, slot: usize, place: Place, count: u64) {
        self.counters.forwarded -= count;
        self.counters.send_failed += count;
        if let Some(open) = self.at(slot) {
            open.faults(place.side()).send_failed += count;
        }
    }

    /// Something on `place`'s socket failed: takes the ICMP errors the kernel kept for it (RFC 1122 §4.1.3.3) to the side whose peer they are about. The
    /// socket is as good as before.
    #[cold]
    pub(super) fn failed(&mut self, now: Time, slot: usize, place: Place) {
        let Some(open) = self.table.get_mut(slot).and_then(Option::as_deref_mut) else { return };
        for _ in 0..ERRORS {
            let Ok(error) = system::returned(open.sockets.at(place)) else { return };
            self.counters.receive_failed += 1;
            if let Some(error) = error {
                open.faults(place.side()).returned(now, place.channel(), error);
            }
        }
    }

    /// Looks at the streams whose time has come and tells of new silences. `read` has what was counted elsewhere told to the stream; `send` makes and sends RTCP of our own where it is due.
    pub(super) fn look(&mut self, now: Time, mut read: impl FnMut(&mut Open), mut send: impl FnMut(&mut Open, Place, &mut Counters)) {
        while let Some((at, id)) = self.looks.take(now) {
            let Some(open) = self.slots.get(&id).and_then(|slot| self.table.get_mut(*slot)).and_then(Option::as_deref_mut) else { continue };
            if open.planned != Some(at) {
                continue;
            }
            read(open);
            self.counters.add_elsewhere(open);
            for place in [Place::A_RTCP, Place::B_RTCP] {
                send(open, place, &mut self.counters);
            }
            let slot = open.slot;
            self.handshakes_due(now, slot);
            let Some(open) = self.table.get_mut(slot).and_then(Option::as_deref_mut) else { continue };
            let since = open.stream.silent_since(now);
            // Told of already, it may end and begin again: look once more. Not counting at all: the next `Configure` plans the next look.
            let again = since.and(open.silence).map(|silence| now + silence);
            open.planned = open.next_look(again).map(|at| self.looks.plan(id, at.max(now + Duration::from_nanos(1))));
            if let Some(since) = since
                && open.told.replace(since) != Some(since)
            {
                let _ = self.events.send(Event::Silent { stream: id, since });
            }
        }
    }

    /// The counters take over what the fronts of a stream have carried.
    pub(super) fn add_elsewhere(&mut self, slot: usize) {
        if let Some(open) = self.table.get_mut(slot).and_then(Option::as_deref_mut) {
            self.counters.add_elsewhere(open);
        }
    }

    /// The stream as it is now.
    pub(super) fn view(&mut self, id: StreamId) -> Option<StreamView> {
        let worker = self.worker;
        let open = self.of(id)?;
        let bytes = size_of::<Open>() + open.stream.heap_bytes();
        let ours = [open.sockets.side(Side::A), open.sockets.side(Side::B)];
        Some(StreamView { stream: id, ours, report: open.report(), ways: open.ways, worker, bytes })
    }

    /// From 0.
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    pub(super) fn events(&self) -> &UnboundedSender<Event> {
        &self.events
    }

    /// A receiver that is gone is the driver ending: nobody is left to tell.
    pub(super) fn tell(&self, event: Event) {
        let _ = self.events.send(event);
    }
}
