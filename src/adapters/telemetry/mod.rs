//! Everything observable, made from the one stream of facts: logs, metrics, call records and ladders.
//!
//! Facts come in by [`Sink::put`], which never waits: what finds the queue full is dropped and counted. The last quarter of the queue is kept
//! for the life of calls, so that a flood of messages or strangers cannot cost a call record. One thread takes the facts out; a slow disk
//! slows that thread and nothing else.

mod brief;
mod change;
mod ended;
mod exchanges;
mod filing;
mod flood;
mod gathered;
mod hearing;
pub mod invites;
pub mod ladder;
pub mod log;
pub mod metrics;
mod mirror;
mod pressure;
pub mod records;
mod redact;
mod reports;
pub mod sound;
mod spans;
mod summary;
mod tallies;
mod wall;
mod watched;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use tokio::sync::mpsc;

pub use change::Change;
pub use filing::{Archive, FileStanding, Filed, LaddersKept, RecordsFile};
pub use metrics::Metrics;
pub use mirror::{Copied, MediaNow, Mirror, Mirrored, Seen};
pub use redact::{clean, redact};
pub use spans::{Kind as SpanKind, Named, Note, Span, Trace, Traced, Tracer, Value};
pub use wall::Anchor;

use self::change::Changes;
use self::ended::Ended;
use self::exchanges::Exchanges;
use self::filing::Filing;
use self::invites::Invites;
use self::ladder::{Counted, Drawing, Held, Ladders, Load, Order, Standing};
use self::log::Log;
use self::mirror::Mirroring;
use self::spans::Tracing;
use self::summary::Summary;
use crate::signaling::fact::{CallId, CallRecord, Fact, FirewallEvent, What};
use crate::time::Time;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub log: log::Settings,
    /// Call records are appended here, one JSON line each; `None`: none are written.
    pub records: Option<PathBuf>,
    /// Whether the INVITE of each call goes into the store of records, where there is one.
    pub invites_kept: bool,
    /// Which ladders go into the store of records, where there is one.
    pub ladders_kept: LaddersKept,
    pub ladder: ladder::Settings,
    /// Facts that may wait, 256 or more.
    pub queue: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            log: log::Settings::default(),
            records: None,
            invites_kept: true,
            ladders_kept: LaddersKept::default(),
            ladder: ladder::Settings::default(),
            queue: 16_384,
        }
    }
}

enum Item {
    Fact(Fact),
    /// Parts have changed.
    Changed,
    Media(Box<MediaNow>),
    /// All that came before has been taken out.
    Flushed(std_mpsc::SyncSender<()>),
}

/// The way in. Cheap to clone, never blocks.
#[derive(Clone)]
pub struct Sink {
    queue: mpsc::Sender<Item>,
    /// Places kept for the life of calls.
    kept: usize,
    lost_traffic: IntCounter,
    lost_calls: IntCounter,
}

impl Sink {
    pub fn put(&self, fact: Fact) {
        if is_vital(&fact.what) {
            if self.queue.try_send(Item::Fact(fact)).is_err() {
                self.lost_calls.inc();
            }
        } else if self.queue.capacity() <= self.kept || self.queue.try_send(Item::Fact(fact)).is_err() {
            self.lost_traffic.inc();
        }
    }
}

impl Sink {
    /// Facts that wait, and how many may.
    pub fn waiting(&self) -> (u64, u64) {
        let places = self.queue.max_capacity();
        ((places - self.queue.capacity()) as u64, places as u64)
    }

    /// For who gets copies; gives way to everything else.
    pub fn put_media(&self, now: MediaNow) {
        if self.queue.capacity() <= self.kept || self.queue.try_send(Item::Media(Box::new(now))).is_err() {
            self.lost_traffic.inc();
        }
    }
}

/// Facts that records and gauges cannot do without; they are few per call.
fn is_vital(what: &What) -> bool {
    match what {
        What::Received { .. }
        | What::Sent { .. }
        | What::TlsRefused { .. }
        | What::Stranger { .. }
        | What::Malformed { .. }
        | What::Standalone { .. }
        | What::MessageWaiting { .. }
        | What::MissedCallCarried { .. }
        | What::CallAdmitted { .. }
        | What::Decided(_)
        | What::Screened(_) => false,
        // Strangers make automation ban as often as they like.
        What::Firewall(FirewallEvent::Banned(_)) => false,
        What::Probed { .. } | What::Census(_) => false,
        What::CallBegan { .. }
        | What::LegOpened { .. }
        | What::CallProgressed { .. }
        | What::CallAnswered
        | What::Redirected { .. }
        | What::FailedOver { .. }
        | What::Rerouted { .. }
        | What::CallMissed(_)
        | What::Wan { .. }
        | What::Held { .. }
        | What::MediaOpened { .. }
        | What::MediaKeyed { .. }
        | What::FaxTone { .. }
        | What::DigitRefused { .. }
        | What::FaxSwitched { .. }
        | What::Transfer(_)
        | What::CallEnded(_)
        | What::PeerName { .. }
        | What::PeerNameOdd { .. }
        | What::PeerLiveness { .. }
        | What::PeerLingers { .. }
        | What::PeersShareAddress { .. }
        | What::PeersShareNoMore { .. }
        | What::Firewall(_)
        | What::Crl { .. }
        | What::PeersChanged { .. }
        | What::PoliciesChanged { .. }
        | What::ConnectionUntrusted { .. }
        | What::ConnectionParted { .. }
        | What::HandshakesHeld { .. }
        | What::CertificatesChanged { .. }
        | What::CertificatesRefused { .. }
        | What::CertificateEnding(_)
        | What::MediaWorkerEnded { .. }
        | What::Draining { .. }
        | What::Drained
        | What::Overloaded { .. }
        | What::Relieved { .. }
        | What::Resumed => true,
    }
}

/// Who else gets what is made of the facts.
#[derive(Default)]
pub struct Outlets {
    pub archive: Option<Arc<dyn Archive>>,
    pub mirror: Option<Mirrored>,
    /// And of which calls.
    pub tracer: Option<(Arc<dyn Tracer>, Traced)>,
}

/// The way out: what was made of the facts. The thread ends when every `Sink` and this have gone.
pub struct Telemetry {
    metrics: Metrics,
    ladders: Arc<Mutex<Ladders>>,
    anchor: Anchor,
    reopen: Arc<AtomicBool>,
    queue: mpsc::Sender<Item>,
    file: Option<FileStanding>,
    changes: Arc<Changes>,
}

impl Telemetry {
    /// Starts the thread. Fails where the records' file cannot be opened. Does not install the log: see [`log::install`].
    pub fn start(settings: Settings, outlets: Outlets, anchor: Anchor) -> io::Result<(Sink, Telemetry)> {
        let file = settings.records.as_deref().map(RecordsFile::open).transpose()?;
        let standing = file.as_ref().map(RecordsFile::standing);
        let invites = (settings.invites_kept && outlets.archive.is_some()).then(Invites::default);
        let filing = Filing::new(file, outlets.archive, settings.ladders_kept);
        let places = settings.queue.max(256);
        let (queue, facts) = mpsc::channel(places);
        let metrics = Metrics::new();
        let ladders = Arc::new(Mutex::new(Ladders::new(settings.ladder.clone())));
        let (reopen, changes) = (Arc::<AtomicBool>::default(), Arc::<Changes>::default());
        let rendering = Rendering {
            log: Log::new(&settings.log),
            metrics: metrics.clone(),
            invites,
            filing,
            mirroring: outlets.mirror.map(Mirroring::new),
            tracing: outlets.tracer.map(|(tracer, which)| Tracing::new(tracer, which)),
            ladders: Arc::clone(&ladders),
            exchanges: Exchanges::new(),
            anchor,
            reopen: Arc::clone(&reopen),
            changes: Arc::clone(&changes),
        };
        // The log that holds for the caller's thread holds for this one as well.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        std::thread::Builder::new().name("telemetry".to_owned()).spawn(move || tracing::dispatcher::with_default(&dispatch, || rendering.run(facts)))?;
        let sink = Sink { queue: queue.clone(), kept: places / 4, lost_traffic: metrics.lost(false), lost_calls: metrics.lost(true) };
        Ok((sink, Telemetry { metrics, ladders, anchor, reopen, queue, file: standing, changes }))
    }

    /// Cheap to clone.
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// How it stands with the file of records it was started with, where there is one.
    pub fn file(&self) -> Option<FileStanding> {
        self.file.clone()
    }

    /// The ladder of one call still held in memory, with wall-clock times.
    pub fn ladder(&self, call: CallId) -> Option<String> {
        self.drawing(call).map(|drawing| drawing.page())
    }

    /// The same for all its forms.
    pub fn drawing(&self, call: CallId) -> Option<Drawing> {
        let (facts, left_out) = self.held_ladders().facts(call)?;
        Some(Drawing { left_out, ..Drawing::of(&facts, &self.anchor) })
    }

    /// Of a call that is up, with what its media has counted so far.
    pub fn drawing_so_far(&self, call: CallId, counted: &Counted<'_>) -> Option<Drawing> {
        let (facts, left_out) = self.held_ladders().facts(call)?;
        Some(Drawing { left_out, ..Drawing::so_far(&facts, &self.anchor, counted) })
    }

    /// With its keys, where the call is traced; see [`Telemetry::trace`].
    pub fn drawing_with_secrets(&self, call: CallId, now: Time) -> Option<Drawing> {
        let (facts, left_out) = self.held_ladders().facts_with_secrets(call, now)?;
        Some(Drawing { left_out, ..Drawing::with_secrets(&facts, &self.anchor) })
    }

    /// Calls that have ended and are held, newest first.
    pub fn ended(&self) -> Vec<CallId> {
        self.held_ladders().ended()
    }

    /// The ladder of a process before this one, a [`Drawing`] in JSON, is held with our own, as long as there is room.
    pub fn inherit(&self, call: CallId, drawing: Bytes) {
        self.held_ladders().inherit(call, drawing);
    }

    /// One that was inherited.
    pub fn inherited(&self, call: CallId) -> Option<Drawing> {
        let drawing = self.held_ladders().inherited(call)?;
        serde_json::from_slice(&drawing).ok()
    }

    /// The settings allow it.
    pub fn may_trace(&self) -> bool {
        self.held_ladders().may_trace()
    }

    /// Has the messages of calls kept with their keys, if the settings allow it.
    pub fn trace(&self, order: Order) {
        self.held_ladders().trace(order);
    }

    /// Wipes what was gathered.
    pub fn trace_no_more(&self) {
        self.held_ladders().trace_no_more();
    }

    pub fn traced(&self, now: Time) -> Standing {
        self.held_ladders().traced(now)
    }

    fn held_ladders(&self) -> MutexGuard<'_, Ladders> {
        self.ladders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls held in memory that are wanted, newest first, at most so many; and how much is held in all.
    pub fn held(&self, wanted: &dyn Fn(&Held) -> bool, most: usize) -> (Vec<Held>, Load) {
        let ladders = self.held_ladders();
        (ladders.held(wanted, most), ladders.load())
    }

    /// Calls held in memory, oldest first.
    pub fn ladders(&self) -> Vec<CallId> {
        self.held_ladders().calls()
    }

    /// The records' file is opened anew before the next record, as after a rotation. Returns at once.
    pub fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Waits until every fact put before this call has been taken out, at most `limit`; says whether it was. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let began = Instant::now();
        let (done, flushed) = std_mpsc::sync_channel(1);
        let mut item = Item::Flushed(done);
        loop {
            match self.queue.try_send(item) {
                Ok(()) => break,
                Err(mpsc::error::TrySendError::Full(back)) if began.elapsed() < limit => {
                    item = back;
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(_) => return false,
            }
        }
        flushed.recv_timeout(limit.saturating_sub(began.elapsed())).is_ok()
    }
}

/// Facts taken out at once.
const BATCH: usize = 256;

/// Facts may gather for so long: waking this thread for each of them would cost the core more than making them.
const GATHER: Duration = Duration::from_millis(20);

/// The thread's own.
struct Rendering {
    log: Log,
    metrics: Metrics,
    filing: Filing,
    /// `None`: none are kept.
    invites: Option<Invites>,
    mirroring: Option<Mirroring>,
    tracing: Option<Tracing>,
    ladders: Arc<Mutex<Ladders>>,
    exchanges: Exchanges,
    anchor: Anchor,
    reopen: Arc<AtomicBool>,
    changes: Arc<Changes>,
}

impl Rendering {
    fn run(mut self, mut facts: mpsc::Receiver<Item>) {
        let _lines = gathered::begin();
        let mut batch = Vec::with_capacity(BATCH);
        while self.take(&mut facts, &mut batch) {
            self.take_changes();
            for item in batch.drain(..) {
                match item {
                    Item::Fact(fact) => self.render(fact),
                    Item::Changed => {}
                    Item::Media(now) => {
                        if let Some(mirroring) = &mut self.mirroring {
                            mirroring.media(&now, &self.anchor);
                        }
                    }
                    Item::Flushed(done) => {
                        self.settle(true);
                        // Whoever waited may have left.
                        let _ = done.try_send(());
                    }
                }
            }
            self.settle(false);
            if facts.is_empty() {
                std::thread::sleep(GATHER);
            }
        }
        self.settle(true);
    }

    fn render(&mut self, mut fact: Fact) {
        let summary = match &fact.what {
            What::Received { bytes, .. } | What::Sent { bytes, .. } => Summary::of(bytes),
            _ => None,
        };
        self.metrics.count(&fact, summary.as_ref());
        self.log.tell(&fact, summary.as_ref());
        if let Some(tracing) = &mut self.tracing {
            tracing.note(&fact);
        }
        if let Some(invites) = &mut self.invites {
            invites.note(&fact);
            if let Some(why) = invites.left_out() {
                self.metrics.invite_left_out(why);
            }
        }
        if let What::CallEnded(record) = &fact.what {
            self.ended(record);
        }
        self.exchanges.number(&mut fact);
        if let Some(mirroring) = &mut self.mirroring {
            mirroring.note(&fact, &self.anchor);
        }
        if fact.call.is_some() {
            self.ladders.lock().unwrap_or_else(PoisonError::into_inner).keep(fact);
        }
    }

    fn ended(&mut self, record: &CallRecord) {
        let ended = Ended::of(record, &self.anchor);
        self.log.heard(&ended);
        if let Some(mirroring) = &mut self.mirroring {
            mirroring.ended(&ended);
        }
        if let Some(tracing) = &mut self.tracing {
            tracing.ended(&ended);
        }
        let invite = self.invites.as_mut().and_then(|invites| invites.take(record.call));
        self.filing.file(ended, invite);
    }

    /// What was gathered leaves this thread. `all`: also what could wait.
    fn settle(&mut self, all: bool) {
        self.filing.settle(&self.reopen, &self.metrics);
        let ladder = |call| self.ladders.lock().unwrap_or_else(PoisonError::into_inner).drawn(call, &self.anchor);
        self.filing.keep_due(all, ladder);
        gathered::settle();
        if let Some(lost) = log::lost() {
            tracing::warn!(lost, "lines of this log were lost, since its place took none; it does again");
        }
    }

    /// Takes facts out, at most a batch of them; waits for the first if there is nothing else to do. `false`: there will be none.
    fn take(&self, facts: &mut mpsc::Receiver<Item>, batch: &mut Vec<Item>) -> bool {
        if !self.filing.is_waiting() {
            return facts.blocking_recv_many(batch, BATCH) > 0;
        }
        while batch.len() < BATCH {
            match facts.try_recv() {
                Ok(item) => batch.push(item),
                Err(mpsc::error::TryRecvError::Empty) => return true,
                Err(mpsc::error::TryRecvError::Disconnected) => return !batch.is_empty(),
            }
        }
        true
    }
}
