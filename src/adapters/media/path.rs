//! The ways a packet can take through this machine, and the boundary behind which all but the sockets live.
//!
//! Every stream has its four bound sockets, whatever else there is. A [`Front`] is something that stands before them: it may take a stream's
//! packets where the kernel would otherwise queue them for a socket (packets arriving in memory of ours), or carry a direction without us
//! (entries in the kernel). What a front does not take reaches the socket, so falling back is doing nothing. Each worker has fronts of its own, as
//! it has streams of its own, and calls them on its one thread: nothing here locks.

use std::os::fd::BorrowedFd;

use crate::media::control::{Addresses, Report, StreamId};
pub use crate::media::control::{Io, KernelKind, Way};
use crate::media::shortcut::WhyNot;
use crate::time::Time;

use super::streams::{Open, Streams};

/// What trying a way at the start has shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub way: Way,
    /// What is used, in a few words; or why this way is not, with what to do about it where something can be done.
    pub outcome: Result<String, String>,
}

/// One stream as it is now.
#[derive(Clone, PartialEq, Debug)]
pub struct StreamView {
    pub stream: StreamId,
    /// Our addresses towards A's peer and B's.
    pub ours: [Addresses; 2],
    pub report: Report,
    /// How packets from A's peer travel and those from B's peer, each with the reason why by no shorter way, where one was asked for.
    pub ways: [(Way, Option<WhyNot>); 2],
    /// The worker that owns it, from 0.
    pub worker: usize,
    /// What the stream occupies in memory, kernel's buffers not included. Unit: bytes.
    pub bytes: usize,
}

/// A way before the sockets of one worker's streams. All methods are called on the worker's thread, between packets, and must not wait.
pub(super) trait Front: Send {
    /// Readable when there is something for `ready`. `None`: never.
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// A stream's sockets are bound: `open.sockets.side(side)` says where, `open.slot` is how `Streams::at` finds it until `closing`.
    fn opened(&mut self, _now: Time, _open: &mut Open) {}

    /// Signalling is about to change a side of it (`Configure`, `Carry`): what was learnt of the stream holds no longer.
    fn changing(&mut self, _now: Time, _open: &mut Open) {}

    /// Signalling has changed a side of it (`Configure`, `Carry`): what was learnt of the stream is to be asked again.
    fn changed(&mut self, _now: Time, _open: &mut Open) {}

    /// It ends after this: what was counted for it goes into its report now, and nothing may refer to it any more.
    fn closing(&mut self, _now: Time, _open: &mut Open) {}

    /// The stream is about to be asked what it has counted: what was counted here is told to it first.
    fn reading(&mut self, _open: &mut Open) {}

    /// One of its sockets is about to have its turn: what was counted here is told to the stream first. Anybody can send to a socket, and a wake may bring
    /// many turns, so again in the same wake this must cost next to nothing.
    fn arriving(&mut self, _now: Time, _open: &mut Open) {}

    /// One of its sockets has had its turn: the stream may have learnt where its peers are.
    fn served(&mut self, _now: Time, _open: &mut Open) {}

    /// `descriptor` was readable: packets go to `Streams::packet`, and from there out of this front, in the same buffer.
    fn ready(&mut self, _now: Time, _streams: &mut Streams) {}

    /// When `look` is to be called at the latest. `None`: not by the clock.
    fn due(&self) -> Option<Time> {
        None
    }

    /// Called once per wake of the worker: to be over at once if nothing is due.
    fn look(&mut self, _now: Time, _streams: &mut Streams) {}
}
