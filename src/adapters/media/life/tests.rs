//! Workers that end by a fault made for the purpose, and what becomes of their streams and of those that come after.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::adapters::media::path::Front;
use crate::adapters::media::streams::{Open, Streams};
use crate::adapters::media::{IoChoice, MediaPlane, Settings};
use crate::media::control::{Addresses, Command, Configuration, LatchPolicy, Protection, Report, Side};

/// Stands before a worker's sockets and panics at its next wake.
struct Faulty {
    due: Arc<AtomicBool>,
    /// And again for each stream that is being closed.
    for_good: bool,
}

impl Front for Faulty {
    fn look(&mut self, _now: Time, _streams: &mut Streams) {
        assert!(!self.due.swap(false, Ordering::AcqRel), "a fault made for a test");
    }

    fn closing(&mut self, _now: Time, _open: &mut Open) {
        assert!(!self.for_good, "a fault that goes on");
    }
}

struct World {
    plane: MediaPlane,
    events: UnboundedReceiver<Event>,
    /// By worker: has it panic.
    due: Vec<Arc<AtomicBool>>,
}

struct Call {
    stream: StreamId,
    ours: [SocketAddr; 2],
    peers: [UdpSocket; 2],
    sequence: u16,
}

impl World {
    fn start(io: IoChoice, workers: usize, for_good: bool) -> World {
        let (sender, events) = unbounded_channel();
        let mut due = Vec::new();
        let settings = Settings { io, workers, ..Settings::default() };
        let fronts = |_| {
            let faulty = Faulty { due: Arc::default(), for_good };
            due.push(Arc::clone(&faulty.due));
            vec![Box::new(faulty) as Box<dyn Front>]
        };
        let plane = MediaPlane::start_with(settings, Instant::now(), sender, fronts).unwrap();
        World { plane, events, due }
    }

    /// A stream that is open.
    fn call(&self, stream: u64, ours: [SocketAddr; 4]) -> Call {
        let call = self.ask(stream, ours);
        let end = Instant::now() + Duration::from_secs(10);
        while self.plane.inspect(call.stream).is_none() {
            assert!(Instant::now() < end, "it does not open");
        }
        call
    }

    fn ask(&self, stream: u64, ours: [SocketAddr; 4]) -> Call {
        let [a, a_rtcp, b, b_rtcp] = ours;
        let stream = StreamId(stream);
        let pair = |rtp, rtcp| Addresses { rtp, rtcp };
        self.plane.command(Command::Open { stream, a: pair(a, a_rtcp), b: pair(b, b_rtcp), silence: None });
        let peers = [(); 2].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        for (side, peer) in [Side::A, Side::B].into_iter().zip(&peers) {
            peer.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            let at = peer.local_addr().unwrap();
            let set = Configuration::new(Some(Some(pair(at, at))), LatchPolicy::Strict, Some(Protection::Plain), Some(Protection::Plain));
            self.plane.command(Command::Configure { stream, side, set });
        }
        Call { stream, ours: [a, b], peers, sequence: 0 }
    }

    /// Has a worker panic, at the wake that an order for `stream` brings it.
    fn break_worker(&mut self, worker: usize, stream: StreamId) {
        self.due[worker].store(true, Ordering::Release);
        let _ = self.plane.inspect(stream);
    }

    fn event(&mut self) -> Event {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            match self.events.try_recv() {
                Ok(event) => return event,
                Err(_) => assert!(Instant::now() < end, "no event came"),
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn closed(&mut self) -> (StreamId, Report) {
        match self.event() {
            Event::Closed { stream, report } => (stream, *report),
            other => panic!("expected a report, got {other:?}"),
        }
    }

    fn ended(&mut self) -> (usize, String, u64) {
        match self.event() {
            Event::WorkerEnded { worker, fault, streams } => (worker, fault, streams),
            other => panic!("expected the worker's end, got {other:?}"),
        }
    }

    fn until_whole(&self) {
        let end = Instant::now() + Duration::from_secs(10);
        while !self.plane.is_whole() {
            assert!(Instant::now() < end, "the worker does not come back");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Call {
    /// A packet each way arrives.
    fn talk(&mut self) {
        for (from, to) in [(0, 1), (1, 0)] {
            self.sequence += 1;
            let mut packet = [0x55; 172];
            packet[..2].copy_from_slice(&[0x80, 0]);
            packet[2..4].copy_from_slice(&self.sequence.to_be_bytes());
            packet[11] = from as u8;
            self.peers[from].send_to(&packet, self.ours[from]).unwrap();
            let mut bytes = [0; 200];
            assert_eq!(self.peers[to].recv(&mut bytes).expect("it arrives"), packet.len());
        }
    }
}

fn free() -> [SocketAddr; 4] {
    let held = [(); 4].map(|()| UdpSocket::bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)).unwrap());
    held.each_ref().map(|socket| socket.local_addr().unwrap())
}

const BOTH: [IoChoice; 2] = [IoChoice::Epoll, IoChoice::IoUring];

#[test]
fn a_worker_that_panics_reports_its_streams_and_begins_anew_on_the_same_ports() {
    for io in BOTH {
        let mut world = World::start(io, 1, false);
        let (first, second) = (free(), free());
        let (mut one, mut two) = (world.call(1, first), world.call(2, second));
        one.talk();
        two.talk();
        // Long enough alive to begin anew at once.
        std::thread::sleep(YOUNG);
        world.break_worker(0, StreamId(1));
        let mut closed = [world.closed(), world.closed()];
        closed.sort_by_key(|(stream, _)| stream.0);
        for (stream, report) in &closed {
            assert_eq!((report.a.received, report.b.received), (1, 1), "{io:?}: {stream:?}");
        }
        assert_eq!(world.ended(), (0, "panic: a fault made for a test".to_owned(), 2), "{io:?}");
        world.until_whole();
        let mut three = world.call(3, first);
        three.talk();
        three.talk();
        world.plane.command(Command::Close { stream: StreamId(1) });
        assert_eq!(world.closed(), (StreamId(1), Report::default()), "asked to close one that is gone");
        world.plane.command(Command::Close { stream: three.stream });
        let (stream, report) = world.closed();
        assert_eq!((stream, report.a.received), (three.stream, 2), "{io:?}");
        let counters = world.plane.counters();
        assert_eq!((counters.streams, counters.forwarded), (0, 8), "the counters go on");
    }
}

#[test]
fn no_stream_lands_on_a_worker_that_is_not_back_yet() {
    for io in BOTH {
        let mut world = World::start(io, 2, false);
        // Streams with even numbers are the first worker's. It ends soon after its beginning, so its next run has to wait.
        let mut other = world.call(1, free());
        other.talk();
        world.break_worker(0, StreamId(2));
        assert_eq!(world.ended().0, 0);
        assert!(!world.plane.is_whole());
        let mut moved = world.call(4, free());
        moved.talk();
        assert_eq!(world.plane.inspect(moved.stream).map(|view| view.worker), Some(1), "{io:?}");
        world.until_whole();
        // It stays where it is, and the next one goes where it points to.
        moved.talk();
        let mut back = world.call(6, free());
        back.talk();
        let worker = |stream| world.plane.inspect(stream).map(|view| view.worker);
        assert_eq!((worker(moved.stream), worker(back.stream)), (Some(1), Some(0)), "{io:?}");
        world.plane.command(Command::Close { stream: moved.stream });
        assert_eq!(world.closed().1.a.received, 2);
        assert!(world.plane.moved().is_empty());
        other.talk();
    }
}

#[test]
fn what_a_fault_has_spoilt_does_not_keep_the_worker_from_coming_back() {
    let mut world = World::start(IoChoice::Auto, 1, true);
    let mut call = world.call(1, free());
    call.talk();
    world.break_worker(0, StreamId(1));
    assert_eq!(world.closed().1.a.received, 1, "what else there was to tell is told");
    assert_eq!(world.ended().2, 1);
    // Meanwhile the only worker is not there: whoever asks is answered.
    let refused = world.ask(2, free());
    match world.event() {
        Event::OpenFailed { stream, error } => assert_eq!((stream, error.as_str()), (refused.stream, "the media worker has ended")),
        other => panic!("{other:?}"),
    }
    world.until_whole();
    world.call(3, free()).talk();
}

#[test]
fn a_plane_ends_while_a_worker_is_not_back_yet() {
    let mut world = World::start(IoChoice::Auto, 1, false);
    world.break_worker(0, StreamId(1));
    world.ended();
    let begun = Instant::now();
    drop(world.plane);
    assert!(begun.elapsed() < PAUSE / 2, "it does not wait for the next run");
}
