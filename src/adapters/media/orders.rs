//! How a worker is told what to do: its inbox, the bell that ends its wait, and what is answered where no worker is left.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::mpsc::UnboundedSender;

use crate::media::control::{Command, Event, Side, StreamId};
use crate::media::srtp::Receiver;

use super::Counters;
use super::counters::Tally;
use super::path::StreamView;
use super::system::Bell;

/// What a worker is told.
#[allow(clippy::large_enum_variant)] // Nearly all are the large one, and each is moved once.
pub(super) enum Order {
    Carry(Command),
    /// Show a stream as it is. An order that is dropped unanswered answers too: the other end is gone.
    Inspect(StreamId, Answer),
    /// Hand out what `side` of a stream knows of its peer's packets.
    Bequeath(StreamId, Side, Legacy),
    /// Let `side` of a stream go on from there.
    Inherit(StreamId, Side, Box<Receiver>),
    Stop,
}

/// Where the answer to [`Order::Inspect`] goes.
pub(super) type Answer = Box<dyn FnOnce(Option<StreamView>) + Send>;

/// Where the answer to [`Order::Bequeath`] goes: to another worker, maybe.
pub(super) type Legacy = Box<dyn FnOnce(Box<Receiver>) + Send>;

/// What a worker shares with the plane: the bell, whether it has been rung, and the counters it publishes.
pub(super) struct Shared {
    pub(super) bell: Bell,
    /// Set by who rings, cleared by the worker before it looks into its inbox: so a burst of commands rings once.
    pub(super) rung: AtomicBool,
    pub(super) tally: Tally,
    /// The worker carries streams. Not while it is between two runs.
    pub(super) up: AtomicBool,
    /// How many runs have ended by a fault.
    pub(super) faults: AtomicU64,
}

impl Shared {
    pub(super) fn new() -> std::io::Result<Shared> {
        Ok(Shared { bell: Bell::new()?, rung: AtomicBool::new(false), tally: Tally::default(), up: AtomicBool::new(true), faults: AtomicU64::new(0) })
    }

    pub(super) fn wake(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.bell.ring();
        }
    }

    pub(super) fn is_rung(&self) -> bool {
        self.rung.load(Ordering::Acquire)
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Acquire)
    }

    pub(super) fn counters(&self) -> Counters {
        self.tally.read()
    }
}

/// Answers a command no worker will carry out.
pub(super) fn refuse(events: &UnboundedSender<Event>, command: Command) {
    let _ = match command {
        Command::Open { stream, .. } => events.send(Event::OpenFailed { stream, error: "the media worker has ended".to_owned() }),
        Command::Close { stream } => events.send(Event::Closed { stream, report: Box::default() }),
        Command::Configure { .. } | Command::Carry { .. } | Command::KeepRtcp { .. } | Command::Succeed { .. } | Command::Digit { .. } => Ok(()),
    };
}
