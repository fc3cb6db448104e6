//! The media plane's sockets and threads: what carries packets between the wire and [`crate::media::relay::Stream`].
//!
//! Each worker is one thread that owns its streams whole: their four UDP sockets (RTP and RTCP on both sides), their SRTP state and their
//! counters. Nothing is shared between workers, so the packet path takes no lock. Commands reach a worker through its inbox and an eventfd;
//! events go back through one channel. A stream lives on one worker for all its life: the one its [`StreamId`] points to, unless that one was between two
//! runs when it was opened. A worker that ends by a fault begins anew (`life`).

pub mod association;
mod counters;
pub mod digits;
pub mod frames;
mod gather;
mod handshakes;
mod io;
pub mod kernel;
mod life;
mod maps;
mod orders;
pub mod path;
mod privilege;
mod silence;
mod sockets;
mod streams;
mod system;
mod uring;
mod worker;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use crate::media::control::{Command, Event, IDENTITIES, Side, StreamId};
use crate::sdp::fingerprint::Fingerprint;

use self::association::Identity;
use self::frames::Frames;
use self::handshakes::Handshakes;
use self::kernel::Kernel;
use self::orders::{Order, Shared};
use self::path::Front;
pub use self::path::{KernelKind, Probe, StreamView, Way};
use self::streams::Streams;
use self::worker::Worker;

pub use self::counters::Counters;
pub use self::io::IoChoice;

/// How the media plane is laid out. The defaults suit a machine that does little else.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Threads that carry media, at least 1. Two fewer than the cores leaves room for signalling.
    pub workers: usize,
    /// How sockets are waited for, read and written.
    pub io: IoChoice,
    /// Packets taken from one socket before the next one has its turn, 1..=64.
    pub batch: usize,
    /// Asked of the kernel as each socket's receive buffer. Unit: bytes.
    pub receive_buffer: usize,
    /// Differentiated services code point of everything sent; 46 is Expedited Forwarding (RFC 3246).
    pub dscp: u8,
    /// The longest a worker puts off its wakes so that several packets share one: not at all while it has time to spare, and so long when it has none
    /// left. It adds about so much delay then. Zero: never.
    pub gather: Duration,
    /// Whether streams share sockets.
    pub frames: frames::Settings,
    /// What the kernel is to forward in our place.
    pub kernel: kernel::Settings,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            workers: 1,
            io: IoChoice::Auto,
            batch: 8,
            receive_buffer: 64 * 1024,
            dscp: 46,
            gather: Duration::from_micros(200),
            frames: frames::Settings::default(),
            kernel: kernel::Settings::default(),
        }
    }
}

/// The running media plane. Dropping it closes every stream and waits for the workers to end.
pub struct MediaPlane {
    workers: Vec<Desk>,
    /// Streams that were opened while the worker they point to was between two runs: on which one they are, and its faults when they came there.
    moved: Mutex<HashMap<StreamId, (usize, u64)>>,
    events: UnboundedSender<Event>,
    probes: Vec<Probe>,
    fingerprints: Vec<Fingerprint>,
}

/// How long [`MediaPlane::inspect`] waits for a worker, which answers at its next wake.
const PATIENCE: Duration = Duration::from_millis(200);

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
    /// Errors: what the kernel said when a worker's epoll or io_uring, eventfd or thread could not be made, or why there is no certificate for DTLS.
    pub fn start(settings: Settings, anchor: Instant, events: UnboundedSender<Event>) -> std::io::Result<MediaPlane> {
        MediaPlane::start_with(settings, anchor, events, |_| Vec::new())
    }

    /// The same with other fronts before those that the settings ask for: by worker, from 0.
    fn start_with(
        settings: Settings,
        anchor: Instant,
        events: UnboundedSender<Event>,
        mut first: impl FnMut(usize) -> Vec<Box<dyn Front>>,
    ) -> std::io::Result<MediaPlane> {
        system::raise_descriptor_limit();
        let (io, probes) = io::choose(settings.io);
        let identities = (0..IDENTITIES).map(|_| Identity::generate().map(Arc::new)).collect::<Result<Arc<[_]>, _>>().map_err(std::io::Error::other)?;
        let fingerprints = identities.iter().map(|identity| identity.fingerprint().clone()).collect();
        let mut plane = MediaPlane { workers: Vec::new(), moved: Mutex::default(), events: events.clone(), probes: probes.to_vec(), fingerprints };
        let kernel = Kernel::start(&settings.kernel, settings.dscp, anchor, &mut plane.probes);
        let mut frames = Frames::start(&settings, &mut plane.probes);
        for number in 0..settings.workers.max(1) {
            let mut fronts = first(number);
            if let Some(kernel) = &kernel {
                fronts.push(Box::new(kernel.front(settings.dscp)));
            }
            // Last: what the kernel carries is not theirs.
            fronts.extend(frames.iter_mut().flat_map(|frames| frames.fronts(settings.dscp, kernel.is_some())));
            let (orders, inbox) = mpsc::channel();
            let shared = Arc::new(Shared::new()?);
            let (settings, theirs) = (settings.clone(), Arc::clone(&shared));
            let streams = Streams::new(number, events.clone(), Handshakes::new(Arc::clone(&identities), anchor));
            let (say, said) = mpsc::sync_channel(1);
            let run = move || match Worker::new(settings, io, anchor, streams, (inbox, theirs), fronts) {
                Ok(worker) => {
                    let _ = say.send(Ok(()));
                    worker.live();
                }
                Err(error) => drop(say.send(Err(error))),
            };
            let thread = thread::Builder::new().name(format!("media-{number}")).spawn(run)?;
            said.recv().map_err(std::io::Error::other)??;
            plane.workers.push(Desk { orders, shared, thread: Some(thread) });
        }
        Ok(plane)
    }

    /// Hands a command to the worker that owns its stream. Never blocks. Commands for one stream are carried out in the order given. Every
    /// `Close` is answered by one `Closed`, with an empty report if the stream was not open (say, after `OpenFailed`); a `Configure` for such a
    /// stream is ignored.
    pub fn command(&self, command: Command) {
        let stream = stream_of(&command);
        match command {
            Command::Succeed { stream, side, of } => return self.hand_over(stream, side, of),
            Command::Open { .. } => self.place(stream),
            _ => {}
        }
        let Some(desk) = self.desk(stream) else { return orders::refuse(&self.events, command) };
        if matches!(command, Command::Close { .. }) {
            self.moved().remove(&stream);
        }
        match desk.orders.send(Order::Carry(command)) {
            Ok(()) => desk.shared.wake(),
            Err(mpsc::SendError(Order::Carry(command))) => orders::refuse(&self.events, command),
            Err(_) => {}
        }
    }

    /// What one stream knows of a peer's packets goes to another, from worker to worker.
    fn hand_over(&self, stream: StreamId, side: Side, (elder, its_side): (StreamId, Side)) {
        let (Some(from), Some(to)) = (self.desk(elder), self.desk(stream)) else { return };
        let (orders, shared) = (to.orders.clone(), Arc::clone(&to.shared));
        let legacy = Box::new(move |receiver| {
            if orders.send(Order::Inherit(stream, side, receiver)).is_ok() {
                shared.wake();
            }
        });
        if from.orders.send(Order::Bequeath(elder, its_side, legacy)).is_ok() {
            from.shared.wake();
        }
    }

    /// Of the certificates of our own that DTLS shows, in the order of `control::DtlsParameters::identity`.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.fingerprints
    }

    /// Which ways of packets were tried at the start, what came of it, and why.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// A stream as it is now. `None`: it is not open, or its worker did not answer in a fifth of a second. Waits for the worker's next wake, which is
    /// at once: for threads that may wait; others have [`MediaPlane::inspection`].
    pub fn inspect(&self, stream: StreamId) -> Option<StreamView> {
        let (answer, answered) = mpsc::sync_channel(1);
        self.ask(stream, Box::new(move |view| drop(answer.try_send(view))));
        answered.recv_timeout(PATIENCE).ok().flatten()
    }

    /// The same without waiting: the view comes through the channel, which closes empty where no worker is left to answer.
    pub fn inspection(&self, stream: StreamId) -> oneshot::Receiver<Option<StreamView>> {
        let (answer, answered) = oneshot::channel();
        self.ask(stream, Box::new(move |view| drop(answer.send(view))));
        answered
    }

    /// The same, for whoever waits for nothing: `answer` is called on the worker's thread, between packets, and must not wait either. Where no worker is
    /// left it is dropped.
    pub fn inspected(&self, stream: StreamId, answer: impl FnOnce(Option<StreamView>) + Send + 'static) {
        self.ask(stream, Box::new(answer));
    }

    fn ask(&self, stream: StreamId, answer: orders::Answer) {
        if let Some(desk) = self.desk(stream)
            && desk.orders.send(Order::Inspect(stream, answer)).is_ok()
        {
            desk.shared.wake();
        }
    }

    /// Whose stream it is: the worker's it points to, unless that one was not there when it was opened.
    fn desk(&self, stream: StreamId) -> Option<&Desk> {
        let moved = self.moved().get(&stream).map(|(worker, _)| *worker);
        self.workers.get(moved.unwrap_or_else(|| self.pointed(stream)))
    }

    fn pointed(&self, stream: StreamId) -> usize {
        (stream.0 % self.workers.len().max(1) as u64) as usize
    }

    /// A stream is about to be opened: not on a worker that is between two runs, if there is another.
    fn place(&self, stream: StreamId) {
        let own = self.pointed(stream);
        if self.workers.get(own).is_none_or(|desk| desk.shared.is_up()) {
            return;
        }
        let faults = |desk: &Desk| desk.shared.faults.load(Ordering::Acquire);
        let others = (own + 1..self.workers.len()).chain(0..own);
        let Some((worker, desk)) = others.filter_map(|at| Some((at, self.workers.get(at)?))).find(|(_, desk)| desk.shared.is_up()) else { return };
        let mut moved = self.moved();
        // Streams that ended with their worker are closed by nobody.
        moved.retain(|_, (worker, before)| self.workers.get(*worker).is_some_and(|desk| faults(desk) == *before));
        moved.insert(stream, (worker, faults(desk)));
    }

    fn moved(&self) -> MutexGuard<'_, HashMap<StreamId, (usize, u64)>> {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether every worker carries streams. One that has ended by a fault does not for a moment, or for as long as it cannot be started anew.
    pub fn is_whole(&self) -> bool {
        self.workers.iter().all(|desk| desk.shared.is_up())
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
        | Command::Succeed { stream, .. }
        | Command::Digit { stream, .. }
        | Command::Close { stream } => *stream,
    }
}
