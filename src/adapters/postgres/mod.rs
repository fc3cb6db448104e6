//! Call records to a PostgreSQL server: what `[records.postgres]` names, for reports over many borders and for keeping longer than a border should.
//!
//! [`Postgres::keep`] never waits: records wait in a bounded queue, one thread sends them by batches, each a statement of its own. A server that is away is asked
//! again after a pause that grows, and what it did not take is sent again; a record that arrived twice is stored once (`schema`). What finds the queue full is
//! lost and counted. Whether the network, the password or the certificate fails, calls are not touched.

mod link;
mod schema;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use self::link::{Link, Refused};

/// Records that may wait: minutes of many calls.
const WAITING: usize = 8192;
/// Sent at once.
const BATCH: usize = 500;
/// What has gathered is sent so soon after the first of it came.
const GATHER: Duration = Duration::from_millis(500);
/// For one batch.
const PATIENCE: Duration = Duration::from_secs(15);
/// Until a server that failed is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A server that goes on refusing is told of so often.
const TELL: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub server: Server,
    pub user: String,
    pub database: String,
    /// Read for each connection, so that it may be changed at any time; `None`: the server asks for none.
    pub password_file: Option<PathBuf>,
    /// What the records say they are from: several borders may share a database.
    pub border: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Server {
    /// The folder of its Unix socket, and its port, which is in the socket's name.
    Socket { folder: PathBuf, port: u16 },
    /// Host: an address without brackets, or a name.
    Network { host: String, port: u16, tls: Tls },
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tls {
    Off,
    /// The server's certificate chains to one of this file (PEM) and carries its name.
    Verified {
        ca: PathBuf,
    },
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Server::Socket { folder, port } => write!(f, "{}/.s.PGSQL.{port}", folder.display()),
            Server::Network { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Server::Network { host, port, .. } => write!(f, "{host}:{port}"),
        }
    }
}

/// One record to be sent.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// Milliseconds since 1970.
    pub began: i64,
    /// Of this process.
    pub call: u64,
    pub caller: String,
    pub called: String,
    pub a_peer: String,
    pub b_peer: Option<String>,
    pub reason: &'static str,
    pub fault: &'static str,
    pub status: Option<u16>,
    pub answered: bool,
    pub total_ms: u64,
    pub talk_ms: Option<u64>,
    pub audio_fault: bool,
    /// A line of JSON.
    pub record: String,
    pub ladder: Option<String>,
}

/// How it stands with the server.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Status {
    /// Of this process: stored there, and lost because it was away for too long or took them for wrong.
    pub written: u64,
    pub lost: u64,
    pub waiting: u64,
    /// Why it takes none; `None`: it takes them, or was not asked yet.
    pub error: Option<String>,
}

#[derive(Default)]
struct Counted {
    written: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    error: Mutex<Option<String>>,
}

enum Order {
    Keep(Box<Kept>),
    /// Everything before it is stored.
    Flush(std::sync::mpsc::SyncSender<()>),
}

/// Cheap to clone. The thread ends when all have gone.
#[derive(Clone)]
pub struct Postgres {
    queue: mpsc::Sender<Order>,
    counted: Arc<Counted>,
}

impl Postgres {
    /// Starts the thread. `started`: when this process did, milliseconds since 1970; with the border's name and the call's number it makes a record one of a kind.
    /// A server that is away is no error.
    pub fn start(settings: &Settings, started: i64) -> std::io::Result<Postgres> {
        let (queue, orders) = mpsc::channel(WAITING);
        let counted = Arc::<Counted>::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let sending = Sending { settings: settings.clone(), started, counted: Arc::clone(&counted), orders, told: None, was_up: false };
        // The log that holds for the caller's thread holds for this one as well.
        let dispatch = tracing::dispatcher::get_default(Clone::clone);
        let run = move || tracing::dispatcher::with_default(&dispatch, || runtime.block_on(sending.run()));
        std::thread::Builder::new().name("postgres".into()).spawn(run)?;
        Ok(Postgres { queue, counted })
    }

    /// Clones of one are.
    pub fn is_same(&self, other: &Postgres) -> bool {
        Arc::ptr_eq(&self.counted, &other.counted)
    }

    /// Never waits.
    pub fn keep(&self, record: Kept) {
        self.counted.waiting.fetch_add(1, Ordering::Relaxed);
        if self.queue.try_send(Order::Keep(Box::new(record))).is_err() {
            self.counted.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counted.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything kept before is stored, at most `limit`; says whether it is. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let (done, flushed) = std::sync::mpsc::sync_channel(1);
        let mut order = Order::Flush(done);
        while let Err(full) = self.queue.try_send(order) {
            let mpsc::error::TrySendError::Full(back) = full else { return false };
            if Instant::now() >= end {
                return false;
            }
            order = back;
            std::thread::sleep(Duration::from_millis(1));
        }
        flushed.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
    }

    pub fn status(&self) -> Status {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counted { written, lost, waiting, error } = &*self.counted;
        Status { written: count(written), lost: count(lost), waiting: count(waiting), error: error.lock().unwrap_or_else(PoisonError::into_inner).clone() }
    }
}

/// The thread's own.
struct Sending {
    settings: Settings,
    started: i64,
    counted: Arc<Counted>,
    orders: mpsc::Receiver<Order>,
    /// What was told last, and when.
    told: Option<(Instant, String)>,
    was_up: bool,
}

impl Sending {
    async fn run(mut self) {
        let (mut batch, mut flushed) = (Vec::new(), Vec::new());
        let (mut link, mut pause) = (None, FIRST_PAUSE);
        loop {
            // Without records as well: a wrong password is told of at the start, not with the first call.
            match self.send(&mut link, &batch).await {
                Ok(()) => {
                    self.counted.waiting.fetch_sub(batch.len() as u64, Ordering::Relaxed);
                    batch.clear();
                    self.well();
                    pause = FIRST_PAUSE;
                }
                Err(refused) => {
                    link = None;
                    self.ill(&refused);
                    // Nobody is left who could wait for it but the process, which is about to end.
                    if Arc::strong_count(&self.counted) == 1 {
                        return;
                    }
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    continue;
                }
            }
            // Whoever waited may have left.
            for done in flushed.drain(..) {
                let done: std::sync::mpsc::SyncSender<()> = done;
                let _ = done.try_send(());
            }
            if !self.gather(&mut batch, &mut flushed).await {
                return;
            }
        }
    }

    /// On a connection from before, and once more on a new one where that has gone meanwhile.
    async fn send(&self, link: &mut Option<Link>, batch: &[Kept]) -> Result<(), Refused> {
        if let Some(open) = link
            && self.stored(open, batch).await.is_ok()
        {
            return Ok(());
        }
        *link = None;
        let open = timeout(PATIENCE, Link::open(&self.settings)).await.unwrap_or_else(|_| Err(Refused::silent(PATIENCE)))?;
        self.stored(link.insert(open), batch).await
    }

    async fn stored(&self, link: &mut Link, batch: &[Kept]) -> Result<(), Refused> {
        if batch.is_empty() {
            return Ok(());
        }
        let stored = timeout(PATIENCE, link.store(&self.settings.border, self.started, batch)).await.unwrap_or_else(|_| Err(Refused::silent(PATIENCE)))?;
        self.counted.written.fetch_add(stored, Ordering::Relaxed);
        self.counted.lost.fetch_add(batch.len() as u64 - stored.min(batch.len() as u64), Ordering::Relaxed);
        Ok(())
    }

    /// Waits for the first and then a little for others. `false`: there will be none.
    async fn gather(&mut self, batch: &mut Vec<Kept>, flushed: &mut Vec<std::sync::mpsc::SyncSender<()>>) -> bool {
        let Some(order) = self.orders.recv().await else { return false };
        let mut take = |order| match order {
            Order::Keep(record) => batch.push(*record),
            Order::Flush(done) => flushed.push(done),
        };
        take(order);
        let mut taken = 1;
        let end = tokio::time::Instant::now() + GATHER;
        while taken < BATCH && !matches!(self.counted.waiting.load(Ordering::Relaxed), 0) {
            let Ok(Some(order)) = tokio::time::timeout_at(end, self.orders.recv()).await else { break };
            taken += 1;
            let last = matches!(order, Order::Flush(_));
            take(order);
            if last {
                break;
            }
        }
        true
    }

    fn well(&mut self) {
        self.counted.error.lock().unwrap_or_else(PoisonError::into_inner).take();
        if !std::mem::replace(&mut self.was_up, true) {
            self.told = None;
            let Settings { server, database, user, .. } = &self.settings;
            let (waiting, lost) = (self.counted.waiting.load(Ordering::Relaxed), self.counted.lost.load(Ordering::Relaxed));
            tracing::info!(%server, %database, %user, waiting, lost, "call records go to PostgreSQL");
        }
    }

    fn ill(&mut self, refused: &Refused) {
        self.was_up = false;
        let why = refused.to_string();
        *self.counted.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
        if self.told.as_ref().is_none_or(|(at, told)| *told != why || at.elapsed() >= TELL) {
            self.told = Some((Instant::now(), why.clone()));
            let (waiting, lost) = (self.counted.waiting.load(Ordering::Relaxed), self.counted.lost.load(Ordering::Relaxed));
            let Settings { server, database, user, .. } = &self.settings;
            tracing::error!(%server, %database, %user, why, waiting, lost, "PostgreSQL takes no call records, calls go on; {WAITING} wait in memory and those after them are lost");
        }
    }
}
