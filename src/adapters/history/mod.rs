//! Call records in SQLite: what `[records] store` names, searchable by number, peer, time and reason.
//!
//! One thread owns the file for writing: what has gathered is committed at once, at the latest a second after it came (write-ahead log, so that a killed
//! process loses no more than that and leaves nothing half-written). Nobody waits for it: while the disk refuses, records wait in the queue and are tried again,
//! and what finds the queue full is lost and counted. Readers have a connection of their own and a limit of time.

mod file;
mod invites;
mod packed;
mod place;
mod queue;
mod search;
mod tables;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

pub use file::{Class, Fields, Kept};
pub use invites::{Chosen, Invite, Recorded, recorded};
pub use search::{MOST, Page, Place, Query, Sought};

use self::file::{File, Swept};
use self::place::Lying;
use self::queue::{Inlet, Queue, Taken, WAITING};

/// What has gathered is committed so soon after the first of it came: the longer, the fewer pages of the file are written for a record.
const GATHER: Duration = Duration::from_millis(500);
/// How often what is too old or too much is looked for.
const SWEEP: Duration = Duration::from_secs(60);
/// Taking out rests for as long as a step of it took, and at least so long.
const REST: Duration = Duration::from_millis(2);
/// A disk that refuses is asked again so soon, and told of so often.
const AGAIN: Duration = Duration::from_secs(1);
const TELL: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub path: PathBuf,
    /// Records older than this are taken out; zero: none are for their age.
    pub days: u32,
    /// The oldest are taken out when the file is larger, bytes; zero: it may grow.
    pub size: u64,
    /// A border does not start without it.
    pub is_required: bool,
}

/// How it stands with the file.
#[derive(Clone, PartialEq, Debug, Default, serde::Serialize, utoipa::ToSchema)]
#[schema(as = StoreStatus)]
pub struct Status {
    /// Records held.
    pub held: u64,
    /// Bytes of the file and its log.
    pub size: u64,
    /// Of this process: written, and lost because the disk was too slow or refused for too long.
    pub written: u64,
    pub lost: u64,
    /// In memory, until the disk takes them.
    pub waiting: u64,
    /// What the disk last said, while it refuses.
    pub error: Option<String>,
}

#[derive(Default)]
struct Counted {
    written: AtomicU64,
    lost: AtomicU64,
    waiting: AtomicU64,
    held: AtomicU64,
    size: AtomicU64,
    error: Mutex<Option<String>>,
}

/// Who searches; `None`: the file is to be opened for it.
type Reading = Arc<Mutex<Option<search::Reader>>>;

/// Cheap to clone. The thread commits what it has and ends when all are gone.
#[derive(Clone)]
pub struct History {
    inlet: Arc<Inlet>,
    counted: Arc<Counted>,
    settings: Arc<ArcSwap<Settings>>,
    reader: Reading,
    highest: u64,
}

impl History {
    /// Opens the file, or makes it. Errors say what to do.
    pub fn open(settings: &Settings) -> io::Result<History> {
        let (file, highest) = opened(settings)?;
        History::with(settings, Some(file), highest, None)
    }

    /// The same where calls must not wait for it: a disk that takes nothing now, and any refusal of a store nobody asked for, are told of as while it runs, and
    /// the file is opened as soon as it can be. Only a store of the policy set that cannot be meant is an error.
    pub fn open_or_wait(settings: &Settings) -> io::Result<History> {
        match opened(settings) {
            Ok((file, highest)) => History::with(settings, Some(file), highest, None),
            Err(error) if !settings.is_required || passes(&error, &settings.path) => History::with(settings, None, 0, Some(&error)),
            Err(error) => Err(error),
        }
    }

    fn with(settings: &Settings, file: Option<File>, highest: u64, refusal: Option<&io::Error>) -> io::Result<History> {
        let queue = Arc::<Queue>::default();
        let counted = Arc::<Counted>::default();
        let settings = Arc::new(ArcSwap::from_pointee(settings.clone()));
        let (of_keeper, now) = (Arc::clone(&settings), Instant::now());
        let reader = Arc::default();
        let mut keeper = Keeper {
            lying: Lying::at(&settings.load().path),
            file,
            settings: of_keeper,
            counted: Arc::clone(&counted),
            reader: Arc::clone(&reader),
            told: None,
            full: false,
            sweep: now,
            sweeping: false,
            gone: (0, 0),
        };
        if let Some(refusal) = refusal {
            keeper.ill(refusal);
        }
        let of_thread = Arc::clone(&queue);
        std::thread::Builder::new().name("history".into()).spawn(move || keeper.run(&of_thread))?;
        Ok(History { inlet: Arc::new(Inlet(queue)), counted, settings, reader, highest })
    }

    /// The highest number of a call in the file when it was opened; zero: it was empty.
    pub fn highest(&self) -> u64 {
        self.highest
    }

    /// Never waits.
    pub fn keep(&self, record: Kept) {
        self.counted.waiting.fetch_add(1, Ordering::Relaxed);
        if !self.inlet.0.keep(record) {
            self.counted.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counted.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Another bound in days and size, from now on; the file stays the one it is.
    pub fn retain(&self, days: u32, size: u64) {
        self.settings.rcu(|settings| Settings { days, size, ..Settings::clone(settings) });
        self.inlet.0.sweep();
    }

    /// Clones of one are.
    pub fn is_same(&self, other: &History) -> bool {
        Arc::ptr_eq(&self.counted, &other.counted)
    }

    pub fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Waits until everything kept before is on disk, at most `limit`; says whether it is. Blocks the thread.
    pub fn flush(&self, limit: Duration) -> bool {
        let (done, flushed) = sync_channel(1);
        self.inlet.0.flush(done);
        flushed.recv_timeout(limit).is_ok()
    }

    pub fn status(&self) -> Status {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Status {
            held: count(&self.counted.held),
            size: count(&self.counted.size),
            written: count(&self.counted.written),
            lost: count(&self.counted.lost),
            waiting: count(&self.counted.waiting),
            error: self.counted.error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }

    /// Newest first. Blocks the thread; a question that takes too long is given up.
    pub fn search(&self, query: &Query) -> io::Result<Page> {
        self.reading(|reader| reader.search(query))
    }

    /// One record, by its number in the store. Blocks the thread.
    pub fn one(&self, number: i64) -> io::Result<Option<Sought>> {
        self.reading(|reader| reader.one(number))
    }

    /// INVITEs of recorded calls, newest first, each given to `with` until that says `false`. Blocks the thread.
    pub fn invites(&self, chosen: &Chosen, with: &mut dyn FnMut(Recorded) -> bool) -> io::Result<()> {
        recorded(&self.settings.load().path, chosen, with)
    }

    fn reading<T>(&self, ask: impl FnOnce(&mut search::Reader) -> io::Result<T>) -> io::Result<T> {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        if reader.is_none() {
            let opened = search::Reader::open(&self.settings.load().path);
            // Why it is not there, rather than that it is not.
            *reader = Some(opened.map_err(|error| self.status().error.map_or(error, io::Error::other))?);
        }
        let answer = reader.as_mut().map(ask).unwrap_or_else(|| Err(io::ErrorKind::NotConnected.into()));
        if answer.is_err() {
            // The file may have been replaced.
            *reader = None;
        }
        answer
    }
}

fn opened(settings: &Settings) -> io::Result<(File, u64)> {
    let file = File::open(settings)?;
    let highest = file.highest()?;
    Ok((file, highest))
}

/// Whether the same path may do once somebody has seen to the disk.
fn passes(error: &io::Error, path: &Path) -> bool {
    let is_of_disk =
        |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy);
    // Of a disk that can only be read SQLite says that it cannot open the file.
    is_of_disk(error.kind()) || std::fs::File::options().append(true).create(true).open(path).is_err_and(|error| is_of_disk(error.kind()))
}

/// The thread's own.
struct Keeper {
    /// `None`: it could not be opened so far.
    file: Option<File>,
    lying: Lying,
    settings: Arc<ArcSwap<Settings>>,
    counted: Arc<Counted>,
    reader: Reading,
    told: Option<Instant>,
    /// The last refusal was for want of room.
    full: bool,
    /// When what is too old or too much is looked for again.
    sweep: Instant,
    /// The last look found some; it goes on by steps.
    sweeping: bool,
    /// Taken out since it was last told of: for their age, and because the file was too large.
    gone: (u64, u64),
}

impl Keeper {
    fn run(mut self, queue: &Queue) {
        self.measure();
        loop {
            let rest = if self.file.is_none() { Instant::now() + AGAIN } else { self.sweep };
            let Taken { mut records, flushes, sweep, closed } = queue.take(rest, if self.sweeping { REST } else { GATHER });
            if self.file.is_none() {
                self.reopen();
            }
            if sweep {
                self.sweep = Instant::now();
            }
            while !self.is_in_place() || !self.commit(&mut records) {
                // Nobody is left who could wait for it but the process, which is about to end.
                if Arc::strong_count(&self.counted) == 1 {
                    return;
                }
                std::thread::sleep(AGAIN);
                self.reopen();
            }
            for done in flushes {
                // Whoever waited may have left.
                let _ = done.try_send(());
            }
            if closed {
                return;
            }
            if self.file.is_some() && self.sweep <= Instant::now() && self.is_in_place() {
                self.sweep();
            }
        }
    }

    /// Whether the batch is done with: on disk, or such that no disk would take it.
    fn commit(&mut self, batch: &mut Vec<Kept>) -> bool {
        if batch.is_empty() {
            return true;
        }
        let count = batch.len() as u64;
        let Some(file) = &mut self.file else { return false };
        match file.append(batch) {
            Ok(()) => {
                self.counted.written.fetch_add(count, Ordering::Relaxed);
                self.counted.held.fetch_add(count, Ordering::Relaxed);
                self.well();
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                self.counted.lost.fetch_add(count, Ordering::Relaxed);
                self.ill(&error);
            }
            Err(error) => {
                self.ill(&error);
                return false;
            }
        }
        self.counted.waiting.fetch_sub(count, Ordering::Relaxed);
        batch.clear();
        true
    }

    /// A file that was put right is another one; one on a full disk is the same.
    fn reopen(&mut self) {
        if !self.full || self.file.is_none() {
            self.open();
        }
    }

    /// Whether the file that is open is the one at its path. One that was moved away, or removed, is left as it is, whole, and a new one begun in its place.
    fn is_in_place(&mut self) -> bool {
        let path = self.settings.load().path.clone();
        let Some(file) = &mut self.file else { return self.open() };
        if Lying::at(&path) == self.lying {
            return true;
        }
        // What is in the log beside it goes into the file it belongs to: a new file of this name would take that log away.
        file.settle();
        let held = self.counted.held.load(Ordering::Relaxed);
        let is_open = self.open();
        if is_open {
            tracing::warn!(store = %path.display(), held, "the store of call records was moved away or removed while it was open: a new one is begun, and the records held so far are in the old file, if that is still anywhere; stop the border before its files are changed");
            self.measure();
        }
        is_open
    }

    fn open(&mut self) -> bool {
        let settings = self.settings.load();
        match File::open(&settings) {
            Ok(file) => {
                let is_first = self.file.replace(file).is_none();
                self.lying = Lying::at(&settings.path);
                // Who searches does so in the same file.
                *self.reader.lock().unwrap_or_else(PoisonError::into_inner) = None;
                if is_first {
                    self.well();
                    self.measure();
                }
                true
            }
            Err(error) => {
                self.ill(&error);
                false
            }
        }
    }

    /// A step of it.
    fn sweep(&mut self) {
        let Some(file) = &mut self.file else { return };
        let began = Instant::now();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64);
        self.sweeping = match file.sweep(&self.settings.load(), now) {
            Ok(Swept { aged, crowded, more }) => {
                self.gone = (self.gone.0 + aged, self.gone.1 + crowded);
                more
            }
            Err(error) => {
                self.ill(&error);
                false
            }
        };
        self.sweep = Instant::now() + if self.sweeping { began.elapsed().max(REST) } else { SWEEP };
        if !self.sweeping {
            self.measure();
            self.tell_of_gone();
        }
    }

    /// Once for each sweep that has taken out some.
    fn tell_of_gone(&mut self) {
        let (aged, crowded) = std::mem::take(&mut self.gone);
        if aged + crowded == 0 {
            return;
        }
        let settings = self.settings.load();
        let (store, held) = (settings.path.display(), self.counted.held.load(Ordering::Relaxed));
        let (days, megabytes) = (settings.days, settings.size >> 20);
        tracing::info!(
            %store, aged, crowded, held, days, megabytes,
            "the oldest call records were taken out: {aged} were older than [records] keep_days, for {crowded} the store was larger than keep_megabytes"
        );
    }

    fn measure(&mut self) {
        let Some(file) = &mut self.file else { return };
        match file.measure() {
            Ok((held, size)) => {
                self.counted.held.store(held, Ordering::Relaxed);
                self.counted.size.store(size, Ordering::Relaxed);
            }
            Err(error) => self.ill(&error),
        }
    }

    fn well(&mut self) {
        let was_ill = self.counted.error.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
        if was_ill {
            self.told = None;
            let lost = self.counted.lost.load(Ordering::Relaxed);
            tracing::info!(store = %self.settings.load().path.display(), lost, "call records are stored again");
        }
    }

    fn ill(&mut self, error: &io::Error) {
        self.full = error.kind() == io::ErrorKind::StorageFull;
        *self.counted.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
        if self.told.is_none_or(|told| told.elapsed() >= TELL) {
            self.told = Some(Instant::now());
            let (waiting, lost) = (self.counted.waiting.load(Ordering::Relaxed), self.counted.lost.load(Ordering::Relaxed));
            let settings = self.settings.load();
            let store = settings.path.display();
            tracing::error!(%store, %error, waiting, lost, "call records are not stored, calls go on; {WAITING} wait in memory and those after them are lost: make room on the disk, or look at the file's rights");
        }
    }
}

#[cfg(test)]
mod tests;
