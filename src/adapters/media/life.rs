//! The life of a worker's thread: one run after another. A run ends when it is told to stop, or by a fault: a panic, or a wait for packets that fails.
//! Then each of its streams is reported closed, so that signalling ends their calls, and the next run begins with none. A thread that ended with its
//! first fault would leave the calls that come to it without sound for as long as the process lives; a process that ended would take the other workers'
//! calls along.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use crate::media::control::{Event, Report, StreamId};
use crate::time::Time;

use super::io::SocketIo;
use super::orders::{Order, refuse};
use super::path::Io;
use super::worker::Worker;

/// A run that ends sooner than this is not followed by the next one at once.
const YOUNG: Duration = Duration::from_secs(1);

/// How long the next one waits then.
const PAUSE: Duration = Duration::from_secs(1);

impl Worker {
    /// Runs until told to stop or until the plane is gone, however often it has to begin anew.
    pub(super) fn live(mut self) {
        loop {
            let born = Instant::now();
            let fault = match catch_unwind(AssertUnwindSafe(|| self.run())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("waiting for packets failed: {error}"),
                Err(panic) => said(panic.as_ref()),
            };
            self.shared.up.store(false, Ordering::Release);
            self.shared.faults.fetch_add(1, Ordering::AcqRel);
            let streams = self.bury();
            self.streams.tell(Event::WorkerEnded { worker: self.streams.worker(), fault, streams });
            if !self.rise(born) {
                return;
            }
            self.shared.up.store(true, Ordering::Release);
        }
    }

    /// Reports every stream and lets go of it. What a fault has left of them may fault again: then its report is empty. How many there were.
    fn bury(&mut self) -> u64 {
        let (now, ids) = (self.clock(), self.streams.ids());
        for id in &ids {
            let report = catch_unwind(AssertUnwindSafe(|| self.last_words(now, *id))).unwrap_or_default();
            self.streams.tell(Event::Closed { stream: *id, report });
        }
        self.streams.begin_anew();
        self.shared.tally.write(&self.streams.counters);
        ids.len() as u64
    }

    fn last_words(&mut self, now: Time, id: StreamId) -> Box<Report> {
        // One by one: what one front cannot do any more the next may.
        for at in 0..self.fronts.len() {
            let _ = catch_unwind(AssertUnwindSafe(|| {
                if let (Some(front), Some(open)) = (self.fronts.get_mut(at), self.streams.of(id)) {
                    front.closing(now, open);
                }
            }));
        }
        self.streams.of(id).map(|open| Box::new(open.report())).unwrap_or_default()
    }

    /// Makes ready for the next run. False: told to stop meanwhile.
    fn rise(&mut self, born: Instant) -> bool {
        let mut wait = born.elapsed() < YOUNG;
        loop {
            if wait && !self.bide() {
                return false;
            }
            match self.renew() {
                Ok(()) => return true,
                Err(_) => wait = true,
            }
        }
    }

    /// Answers orders for a while, as one who can carry nothing. False: told to stop.
    fn bide(&mut self) -> bool {
        let end = Instant::now() + PAUSE;
        loop {
            match self.inbox.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(Order::Carry(command)) => refuse(self.streams.events(), command),
                Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return false,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => return true,
            }
        }
    }

    /// With what a run needs made new. What failed may have been io_uring itself: without it there is epoll.
    fn renew(&mut self) -> std::io::Result<()> {
        let batch = self.settings.batch;
        self.io = SocketIo::new(self.io.io(), batch).or_else(|_| SocketIo::new(Io::Epoll, batch))?;
        self.begin_listening()
    }
}

/// The words of a panic.
fn said(panic: &(dyn Any + Send)) -> String {
    let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned()).or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", words.as_deref().unwrap_or("without words"))
}

#[cfg(test)]
mod tests;
