//! The media plane's sockets and threads: what carries packets between the wire and [`crate::media::relay::Stream`].
//!
//! Each worker is one thread that owns its streams whole: their four UDP sockets (RTP and RTCP on both sides), their SRTP state and their
//! counters. Nothing is shared between workers, so the packet path takes no lock. Commands reach a worker through its inbox and an eventfd;
//! events go back through one channel. A stream lives on the worker its [`StreamId`] points to, for all its life.

mod silence;
mod sockets;
mod system;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::media::control::{Command, Event, StreamId};

use self::worker::{Order, Shared, Worker};

/// How the media plane is laid out. The defaults suit a machine that does little else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Threads that carry media, at least 1. Two fewer than the cores leaves room for signalling.
    pub workers: usize,
    /// Packets taken from one socket before the next one has its turn, 1..=64.
    pub batch: usize,
    /// Asked of the kernel as each socket's receive buffer. Unit: bytes.
    pub receive_buffer: usize,
    /// Differentiated services code point of everything sent; 46 is Expedited Forwarding (RFC 3246).
    pub dscp: u8,
    /// A worker that is woken more often than this sleeps so long between wakes, so that several packets share one. It adds
    /// about so much delay; it saves much on a core that other work wants too, and little on one that is the worker's alone. Zero: never.
    pub gather: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { workers: 1, batch: 8, receive_buffer: 64 * 1024, dscp: 46, gather: Duration::from_micros(100) }
    }
}

/// What all workers counted since the start, besides what each stream's report holds. Read at any time, from any thread.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Streams open now.
    pub streams: u64,
    pub received: u64,
    pub forwarded: u64,
    pub dropped: u64,
    /// Datagrams the kernel would not take from us: no route, full queue, an ICMP error of an earlier one.
    pub send_failed: u64,
    /// Errors while receiving, mostly ICMP errors handed over by the kernel (RFC 1122 §4.1.3.3). The stream goes on.
    pub receive_failed: u64,
    /// Datagrams longer than any we relay.
    pub oversized: u64,
    pub wakes: u64,
}

impl Counters {
    /// Every counter by its name but `streams`, which goes down as well.
    pub fn each(&self) -> [(&'static str, u64); 7] {
        [
            ("received", self.received),
            ("forwarded", self.forwarded),
            ("dropped", self.dropped),
            ("send_failed", self.send_failed),
            ("receive_failed", self.receive_failed),
            ("oversized", self.oversized),
            ("wakes", self.wakes),
        ]
    }

    fn plus(self, other: Counters) -> Counters {
        Counters {
            streams: self.streams + other.streams,
            received: self.received + other.received,
            forwarded: self.forwarded + other.forwarded,
            dropped: self.dropped + other.dropped,
            send_failed: self.send_failed + other.send_failed,
            receive_failed: self.receive_failed + other.receive_failed,
            oversized: self.oversized + other.oversized,
            wakes: self.wakes + other.wakes,
        }
    }
}

/// The running media plane. Dropping it closes every stream and waits for the workers to end.
pub struct MediaPlane {
    workers: Vec<Desk>,
    events: UnboundedSender<Event>,
}

/// One worker as the plane sees it.
struct Desk {
    orders: Sender<Order>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl MediaPlane {
    /// Starts the workers, and raises the process's limit on descriptors as far as it may: a stream takes four. `anchor` is where the process's [`crate::time::Time`] line begins: the same one the driver uses. Events arrive on
    /// `events`; the channel is unbounded, but a stream yields at most one `OpenFailed`, one `Closed`, and one `Silent` per silence.
    ///
    /// Errors: what the kernel said when a worker's epoll, eventfd or thread could not be made.
    pub fn start(settings: Settings, anchor: Instant, events: UnboundedSender<Event>) -> io::Result<MediaPlane> {
        system::raise_descriptor_limit();
        let mut plane = MediaPlane { workers: Vec::new(), events: events.clone() };
        for number in 0..settings.workers.max(1) {
            let (orders, inbox) = mpsc::channel();
            let shared = Arc::new(Shared::new()?);
            let worker = Worker::new(settings.clone(), anchor, events.clone(), inbox, Arc::clone(&shared))?;
            let thread = thread::Builder::new().name(format!("media-{number}")).spawn(move || worker.run())?;
            plane.workers.push(Desk { orders, shared, thread: Some(thread) });
        }
        Ok(plane)
    }

    /// Hands a command to the worker that owns its stream. Never blocks. Commands for one stream are carried out in the order given. Every
    /// `Close` is answered by one `Closed`, with an empty report if the stream was not open (say, after `OpenFailed`); a `Configure` for such a
    /// stream is ignored.
    pub fn command(&self, command: Command) {
        let at = stream_of(&command).0 % self.workers.len().max(1) as u64;
        let Some(desk) = self.workers.get(at as usize) else { return worker::refuse(&self.events, command) };
        match desk.orders.send(Order::Carry(command)) {
            Ok(()) => desk.shared.wake(),
            Err(mpsc::SendError(Order::Carry(command))) => worker::refuse(&self.events, command),
            Err(mpsc::SendError(Order::Stop)) => {}
        }
    }

    /// What the workers counted up to their last wake.
    pub fn counters(&self) -> Counters {
        self.workers.iter().map(|desk| desk.shared.counters()).fold(Counters::default(), Counters::plus)
    }

    /// Closes every stream (each yields its `Event::Closed`), ends the workers and waits for them.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for MediaPlane {
    fn drop(&mut self) {
        for desk in &self.workers {
            let _ = desk.orders.send(Order::Stop);
            desk.shared.wake();
        }
        for desk in &mut self.workers {
            if let Some(thread) = desk.thread.take() {
                let _ = thread.join();
            }
        }
    }
}

fn stream_of(command: &Command) -> StreamId {
    match command {
        Command::Open { stream, .. }
        | Command::Configure { stream, .. }
        | Command::Carry { stream, .. }
        | Command::KeepRtcp { stream, .. }
        | Command::Close { stream } => *stream,
    }
}
