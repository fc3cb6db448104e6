//! What waits for the thread that writes. Whoever adds never waits, and wakes that thread only where it rests: a record that comes while others gather costs no
//! change of threads.

use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::file::Kept;

/// Records that may wait for the disk: some seconds of many calls.
pub(super) const WAITING: usize = 8192;
/// So many at once.
pub(super) const BATCH: usize = 1024;

#[derive(Default)]
pub(super) struct Queue {
    held: Mutex<Held>,
    woken: Condvar,
}

#[derive(Default)]
struct Held {
    records: Vec<Kept>,
    /// Those who wait until everything before is on disk.
    flushes: Vec<SyncSender<()>>,
    sweep: bool,
    closed: bool,
}

/// What the thread is to do next.
#[derive(Default)]
pub(super) struct Taken {
    pub records: Vec<Kept>,
    /// To be told when these records are on disk.
    pub flushes: Vec<SyncSender<()>>,
    /// What is too old or too much is to be looked for now.
    pub sweep: bool,
    /// Nothing more will come.
    pub closed: bool,
}

impl Queue {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room for it.
    pub fn keep(&self, record: Kept) -> bool {
        let mut held = self.held();
        if held.records.len() >= WAITING {
            return false;
        }
        held.records.push(record);
        let wakes = matches!(held.records.len(), 1 | BATCH);
        drop(held);
        if wakes {
            self.woken.notify_one();
        }
        true
    }

    pub fn flush(&self, done: SyncSender<()>) {
        self.held().flushes.push(done);
        self.woken.notify_one();
    }

    pub fn sweep(&self) {
        self.held().sweep = true;
        self.woken.notify_one();
    }

    fn close(&self) {
        self.held().closed = true;
        self.woken.notify_one();
    }

    /// Waits for something to do, at most until then; and once there is a record, so long for others.
    pub fn take(&self, until: Instant, gather: Duration) -> Taken {
        let mut held = self.held();
        while held.records.is_empty() && held.flushes.is_empty() && !held.sweep && !held.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Taken::default();
            }
            held = self.woken.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let due = Instant::now() + gather;
        while held.flushes.is_empty() && !held.sweep && !held.closed && held.records.len() < BATCH {
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            held = self.woken.wait_timeout(held, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let some = held.records.len().min(BATCH);
        let records = if some == held.records.len() { std::mem::take(&mut held.records) } else { held.records.drain(..some).collect() };
        let all = held.records.is_empty();
        // A flush waits for what came before it, which may be more than is taken at once.
        let flushes = if all { std::mem::take(&mut held.flushes) } else { Vec::new() };
        Taken { records, flushes, sweep: std::mem::take(&mut held.sweep), closed: held.closed && all }
    }
}

/// Closes the queue when the last of those who add has gone.
pub(super) struct Inlet(pub Arc<Queue>);

impl Drop for Inlet {
    fn drop(&mut self) {
        self.0.close();
    }
}
