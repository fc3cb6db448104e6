//! The media plane's sockets and threads: what carries packets between the wire and [`crate::media::relay::Stream`].
//!
//! Each worker is one thread that owns its streams whole: their four UDP sockets (RTP and RTCP on both sides), their SRTP state and their
//! counters. Nothing is shared between workers, so the packet path takes no lock. Commands reach a worker through its inbox and an eventfd;
//! events go back through one channel. A stream lives on the worker its [`StreamId`] points to, for all its life.

use std::io;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;

use crate::media::control::{Command, Event, StreamId};

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
    /// A worker that was woken with little to do waits this long for more before it works; zero: never. Trades delay for CPU.
    pub gather: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { workers: 1, batch: 8, receive_buffer: 64 * 1024, dscp: 46, gather: Duration::ZERO }
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

/// The running media plane. Dropping it closes every stream and waits for the workers to end.
pub struct MediaPlane {}

impl MediaPlane {
    /// Starts the workers. `anchor` is where the process's [`crate::time::Time`] line begins: the same one the driver uses. Events arrive on
    /// `events`; the channel is unbounded, but a stream yields at most one `OpenFailed`, one `Closed`, and one `Silent` per silence.
    ///
    /// Errors: what the kernel said when a worker's epoll, eventfd or thread could not be made.
    pub fn start(settings: Settings, anchor: Instant, events: UnboundedSender<Event>) -> io::Result<MediaPlane> {
        let _ = (settings, anchor, events);
        Ok(MediaPlane {})
    }

    /// Hands a command to the worker that owns its stream. Never blocks. Commands for one stream are carried out in the order given; those for
    /// a stream that is not open are ignored, but for `Close`, which then yields nothing.
    pub fn command(&self, command: Command) {
        let _ = command;
    }

    /// What the workers counted so far.
    pub fn counters(&self) -> Counters {
        Counters::default()
    }

    /// Closes every stream (each yields its `Event::Closed`), ends the workers and waits for them.
    pub fn close(self) {}
}

#[allow(dead_code)]
fn stream_of(command: &Command) -> StreamId {
    match command {
        Command::Open { stream, .. } | Command::Configure { stream, .. } | Command::Close { stream } => *stream,
    }
}
