//! Traces to an OpenTelemetry receiver, by OTLP over HTTP (OpenTelemetry Protocol 1.x: `ExportTraceServiceRequest` as protobuf).
//!
//! [`Otlp::put`] never waits: traces wait in a bounded queue, one thread gathers and sends them, and what finds the queue full, or the receiver away for too
//! long, is lost and counted. How a body gets there is the [`Carrier`]'s.

#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

/// Traces that may wait.
const WAITING: usize = 1024;
/// Spans sent at once.
const TOGETHER: usize = 2048;
/// How long the first trace of a body waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// The receiver is asked again for the same body, after a pause that doubles: about a minute in all.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The spans of one call, which become one trace.
#[derive(Clone, PartialEq, Debug)]
pub struct Trace {
    /// Unique in the process's life.
    pub call: u64,
    /// Every parent stands before its children.
    pub spans: Vec<Span>,
    /// Left out for want of room; told at the first span.
    pub left_out: u32,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Span {
    pub name: String,
    /// Where it stands in `spans`; `None`: the root.
    pub parent: Option<usize>,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub values: Vec<(String, Value)>,
    pub notes: Vec<Note>,
    /// The status is error, with this message.
    pub failed: Option<String>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Note {
    pub at: SystemTime,
    pub name: String,
    pub values: Vec<(String, Value)>,
}

#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Text(String),
    Whole(i64),
    Real(f64),
    Flag(bool),
}

/// The way to the receiver.
pub trait Carrier: Send {
    /// Blocks until it is known what came of it, which must be within a bounded time.
    fn carry(&mut self, body: Vec<u8>) -> Carried;
}

/// What came of one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    Taken,
    /// It would be refused again.
    Refused(String),
    /// It may be taken later (429, 502, 503, 504, no answer), after so long where the receiver says that.
    Later(String, Option<Duration>),
}

/// How it stands with the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Spans taken.
    pub sent: u64,
    /// Spans that found the queue full, or that the receiver did not take.
    pub lost: u64,
    /// The last body was taken.
    pub up: bool,
}

#[derive(Default)]
struct Counted {
    sent: AtomicU64,
    lost: AtomicU64,
    up: AtomicBool,
    /// Traces put and not yet sent or lost.
    under_way: AtomicU64,
}

/// Cheap to clone. The thread ends when all have gone and what waited is sent or lost; a receiver that takes nothing then is asked for each body once.
#[derive(Clone)]
pub struct Otlp {
    queue: SyncSender<Trace>,
    counted: Arc<Counted>,
}

impl Otlp {
    /// Starts the thread. `service`: the border's name; `seed`: random, so that no other process makes the same traces' names.
    pub fn start(service: &str, seed: [u8; 16], carrier: Box<dyn Carrier>) -> Result<Otlp, String> {
        let (queue, traces) = sync_channel(WAITING);
        let counted = Arc::<Counted>::default();
        let delivery = Delivery { service: service.to_owned(), seed, carrier, counted: Arc::clone(&counted), told: None };
        let started = std::thread::Builder::new().name("otlp".into()).spawn(move || delivery.run(&traces));
        started.map_err(|error| format!("no thread for [otlp]: {error}"))?;
        Ok(Otlp { queue, counted })
    }

    /// Never waits.
    pub fn put(&self, trace: Trace) {
        let spans = trace.spans.len() as u64;
        self.counted.under_way.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(trace).is_err() {
            self.counted.under_way.fetch_sub(1, Ordering::Relaxed);
            self.counted.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }

    pub fn status(&self) -> Status {
        let Counted { sent, lost, up, .. } = &*self.counted;
        Status { sent: sent.load(Ordering::Relaxed), lost: lost.load(Ordering::Relaxed), up: up.load(Ordering::Relaxed) }
    }

    /// Waits until all that was put has been sent or lost, at most `limit`; says whether it was. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let began = Instant::now();
        while self.counted.under_way.load(Ordering::Relaxed) > 0 {
            if began.elapsed() >= limit {
                return false;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        true
    }
}

/// The thread's own.
struct Delivery {
    service: String,
    seed: [u8; 16],
    carrier: Box<dyn Carrier>,
    counted: Arc<Counted>,
    /// What the log last said: up or not. `None`: nothing yet.
    told: Option<bool>,
}

impl Delivery {
    fn run(mut self, traces: &Receiver<Trace>) {
        while let Ok(first) = traces.recv() {
            let mut together = vec![first];
            let mut spans = together[0].spans.len();
            let until = Instant::now() + GATHER;
            while spans < TOGETHER {
                match traces.recv_timeout(until.saturating_duration_since(Instant::now())) {
                    Ok(trace) => {
                        spans += trace.spans.len();
                        together.push(trace);
                    }
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
            let taken = self.deliver(&wire::request(&self.service, &self.seed, &together));
            let count = if taken { &self.counted.sent } else { &self.counted.lost };
            count.fetch_add(spans as u64, Ordering::Relaxed);
            self.counted.under_way.fetch_sub(together.len() as u64, Ordering::Relaxed);
        }
    }

    /// Whether the body was taken in the end.
    fn deliver(&mut self, body: &[u8]) -> bool {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.carrier.carry(body.to_vec()) {
                Carried::Taken => {
                    self.tell(None);
                    return true;
                }
                Carried::Refused(why) => {
                    self.tell(Some(&why));
                    return false;
                }
                Carried::Later(why, after) => {
                    self.tell(Some(&why));
                    // Nobody is left who could put more, nor who would wait for it.
                    if Arc::strong_count(&self.counted) == 1 {
                        return false;
                    }
                    if attempt < ATTEMPTS {
                        std::thread::sleep(after.unwrap_or(pause).min(LONGEST_PAUSE));
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
        false
    }

    /// One line for each change.
    fn tell(&mut self, failure: Option<&str>) {
        let up = failure.is_none();
        self.counted.up.store(up, Ordering::Relaxed);
        if self.told.replace(up) == Some(up) {
            return;
        }
        match failure {
            None => tracing::info!("traces of calls go to the OpenTelemetry receiver"),
            Some(why) => tracing::warn!(why, "the OpenTelemetry receiver takes no traces; calls are not touched; see [otlp] and whether it runs"),
        }
    }
}
