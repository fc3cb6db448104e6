//! Traces to an OpenTelemetry receiver, by OTLP over HTTP (OpenTelemetry Protocol 1.x: `ExportTraceServiceRequest` as protobuf).
//!
//! [`Otlp::put`] never waits: traces wait in a bounded queue, one thread gathers and sends them, and what finds the queue full, or the receiver away for too
//! long, is lost and counted. How a body gets there is the [`Carrier`]'s. A body is sent again as long as the receiver says that it may be taken later, which
//! it says how long it wants to be left alone for (OTLP/HTTP, "Retryable response codes", "Throttling"); of one it took in part, the rest is counted.

#[cfg(test)]
mod tests;
mod wire;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Traces that may wait, and their spans.
pub const WAITING: usize = 1024;
const WAITING_SPANS: u64 = 65_536;
/// Spans sent at once.
const TOGETHER: usize = 2048;
/// How long the first trace of a body waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// The receiver is asked again for the same body, after a pause that doubles: about a minute in all.
const ATTEMPTS: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What a receiver may ask for.
const LONGEST_ASKED: Duration = Duration::from_secs(300);
/// Between two lines that say what of a body was not taken.
const TOLD_AGAIN: Duration = Duration::from_secs(60);

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
    pub kind: Kind,
    /// Where it stands in `spans`; `None`: the root.
    pub parent: Option<usize>,
    pub began: SystemTime,
    pub ended: SystemTime,
    pub values: Vec<(String, Value)>,
    pub notes: Vec<Note>,
    /// The status is error, with this message.
    pub failed: Option<String>,
}

/// As `SpanKind` of the definitions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// What somebody asked of us.
    Server,
    /// What we asked of another.
    Client,
    Internal,
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
    /// Where it leads, as operators read it: nothing secret.
    fn to(&self) -> String;
    /// Blocks until it is known what came of it, which must be within a bounded time.
    fn carry(&mut self, body: Vec<u8>) -> Carried;
}

/// What came of one body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    /// With the answer's body, which may say that some of it was not.
    Taken(Vec<u8>),
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
    /// Spans that found the queue full, or a receiver that was away or busy for too long.
    pub lost: u64,
    /// Spans the receiver would not have: of bodies it refused, or took in part.
    pub refused: u64,
    /// The last body was taken.
    pub up: bool,
    /// Traces that wait, or are being sent.
    pub waiting: u64,
}

/// Why a body was not taken, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub at: SystemTime,
    pub why: String,
}

#[derive(Default)]
struct Counted {
    sent: AtomicU64,
    lost: AtomicU64,
    refused: AtomicU64,
    up: AtomicBool,
    /// Traces put and not yet sent or lost, and their spans.
    under_way: AtomicU64,
    spans_under_way: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// Cheap to clone. The thread ends when all have gone and what waited is sent or lost; a receiver that takes nothing then is asked for each body once.
#[derive(Clone)]
pub struct Otlp {
    queue: SyncSender<Trace>,
    counted: Arc<Counted>,
    receiver: Arc<str>,
}

impl Otlp {
    /// Starts the thread. `service`: the border's name; `seed`: random, so that no other process makes the same traces' names.
    pub fn start(service: &str, seed: [u8; 16], carrier: Box<dyn Carrier>) -> Result<Otlp, String> {
        let (queue, traces) = sync_channel(WAITING);
        let (counted, receiver) = (Arc::<Counted>::default(), Arc::from(carrier.to()));
        let delivery = Delivery { service: service.to_owned(), seed, carrier, counted: Arc::clone(&counted), told: None, told_partly: None };
        let started = std::thread::Builder::new().name("otlp".into()).spawn(move || delivery.run(&traces));
        started.map_err(|error| format!("no thread for [otlp]: {error}"))?;
        Ok(Otlp { queue, counted, receiver })
    }

    /// Never waits.
    pub fn put(&self, trace: Trace) {
        let spans = trace.spans.len() as u64;
        self.counted.under_way.fetch_add(1, Ordering::Relaxed);
        let before = self.counted.spans_under_way.fetch_add(spans, Ordering::Relaxed);
        if before + spans > WAITING_SPANS || self.queue.try_send(trace).is_err() {
            self.counted.under_way.fetch_sub(1, Ordering::Relaxed);
            self.counted.spans_under_way.fetch_sub(spans, Ordering::Relaxed);
            self.counted.lost.fetch_add(spans, Ordering::Relaxed);
        }
    }

    pub fn status(&self) -> Status {
        let Counted { sent, lost, refused, up, under_way, .. } = &*self.counted;
        let [sent, lost, refused, waiting] = [sent, lost, refused, under_way].map(|count| count.load(Ordering::Relaxed));
        Status { sent, lost, refused, up: up.load(Ordering::Relaxed), waiting }
    }

    /// Where the traces go.
    pub fn receiver(&self) -> &str {
        &self.receiver
    }

    /// The last body that was not taken, though others have been since.
    pub fn failure(&self) -> Option<Failure> {
        self.counted.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
    /// When the log last said that a body was taken in part.
    told_partly: Option<Instant>,
}

/// What became of a body's spans in the end.
enum Ended {
    Taken { rejected: u64 },
    Refused,
    Away,
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
            let (ended, spans) = (self.deliver(&wire::request(&self.service, &self.seed, &together)), spans as u64);
            let Counted { sent, lost, refused, under_way, spans_under_way, .. } = &*self.counted;
            match ended {
                Ended::Taken { rejected } => {
                    let rejected = rejected.min(spans);
                    sent.fetch_add(spans - rejected, Ordering::Relaxed);
                    refused.fetch_add(rejected, Ordering::Relaxed);
                }
                Ended::Refused => drop(refused.fetch_add(spans, Ordering::Relaxed)),
                Ended::Away => drop(lost.fetch_add(spans, Ordering::Relaxed)),
            }
            spans_under_way.fetch_sub(spans, Ordering::Relaxed);
            under_way.fetch_sub(together.len() as u64, Ordering::Relaxed);
        }
    }

    fn deliver(&mut self, body: &[u8]) -> Ended {
        let mut pause = FIRST_PAUSE;
        for attempt in 1..=ATTEMPTS {
            match self.carrier.carry(body.to_vec()) {
                Carried::Taken(answer) => {
                    self.tell(None);
                    return Ended::Taken { rejected: wire::partial(&answer).map_or(0, |(rejected, why)| self.partly(rejected, &why)) };
                }
                Carried::Refused(why) => {
                    self.tell(Some(&why));
                    return Ended::Refused;
                }
                Carried::Later(why, after) => {
                    self.tell(Some(&why));
                    // Nobody is left who could put more, nor who would wait for it.
                    if Arc::strong_count(&self.counted) == 1 {
                        return Ended::Away;
                    }
                    if attempt < ATTEMPTS {
                        std::thread::sleep(after.map_or(pause, |after| after.min(LONGEST_ASKED)));
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                }
            }
        }
        Ended::Away
    }

    /// Says so now and then; returns how many spans were not taken.
    fn partly(&mut self, rejected: u64, why: &str) -> u64 {
        if self.told_partly.is_none_or(|told| told.elapsed() >= TOLD_AGAIN) {
            self.told_partly = Some(Instant::now());
            tracing::warn!(rejected, why, "the OpenTelemetry receiver took a body, but not all of its spans, or has something to say of it");
        }
        rejected
    }

    /// One line for each change.
    fn tell(&mut self, failure: Option<&str>) {
        let up = failure.is_none();
        self.counted.up.store(up, Ordering::Relaxed);
        if let Some(why) = failure {
            let failure = Failure { at: SystemTime::now(), why: why.to_owned() };
            *self.counted.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        if self.told.replace(up) == Some(up) {
            return;
        }
        match failure {
            None => tracing::info!("traces of calls go to the OpenTelemetry receiver"),
            Some(why) => tracing::warn!(why, "the OpenTelemetry receiver takes no traces; calls are not touched; see [otlp] and whether it runs"),
        }
    }
}
