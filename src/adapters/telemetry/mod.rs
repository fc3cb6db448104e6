//! Everything observable, made from the one stream of facts: logs, metrics, call records and ladders.
//!
//! Facts come in by [`Sink::put`], which never waits: what finds the queue full is dropped and counted. One thread takes them out.

pub mod ladder;
pub mod log;
pub mod metrics;
pub mod records;
mod redact;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use metrics::Metrics;
pub use redact::redact;

use crate::signaling::fact::{CallId, Fact};
use crate::time::Time;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub log: log::Settings,
    /// Call records are appended here, one JSON line each; `None`: none are written.
    pub records: Option<PathBuf>,
    pub ladder: ladder::Settings,
    /// Facts that may wait, 256 or more.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { log: log::Settings::default(), records: None, ladder: ladder::Settings::default(), queue: 16_384 }
    }
}

/// Ties the process's line of time to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    pub time: Time,
    pub wall: SystemTime,
}

impl Anchor {
    /// The wall-clock time of a point on the process's line.
    pub fn wall(&self, at: Time) -> SystemTime {
        if at >= self.time { self.wall + at.since(self.time) } else { self.wall - self.time.since(at) }
    }
}

/// The way in. Cheap to clone, never blocks.
#[derive(Clone)]
pub struct Sink {
    _lost: Arc<std::sync::atomic::AtomicU64>,
}

impl Sink {
    pub fn put(&self, _fact: Fact) {}
}

/// The way out: what was made of the facts.
pub struct Telemetry {
    metrics: Metrics,
}

impl Telemetry {
    /// Starts the thread. Fails where the records' file cannot be opened. Does not install the log: see [`log::install`].
    pub fn start(_settings: Settings, _anchor: Anchor) -> io::Result<(Sink, Telemetry)> {
        Ok((Sink { _lost: Arc::default() }, Telemetry { metrics: Metrics::new() }))
    }

    /// Cheap to clone.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// The ladder of one call still held in memory.
    pub fn ladder(&self, _call: CallId) -> Option<String> {
        None
    }

    /// Calls held in memory, oldest first.
    pub fn ladders(&self) -> Vec<CallId> {
        Vec::new()
    }

    /// The records' file is closed and opened anew, as after a rotation. Returns at once.
    pub fn reopen(&self) {}

    /// Waits until every fact put before this call has been taken out, at most `limit`; says whether it was.
    pub fn flush(&self, _limit: Duration) -> bool {
        true
    }
}
