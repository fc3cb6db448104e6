//! Parts of the telemetry put in the place of those it runs with. What is gathered of calls that are up is kept where the part stays one of its kind.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::filing::{Archive, LaddersKept, RecordsFile};
use super::invites::Invites;
use super::log::{self, Log};
use super::mirror::{Mirrored, Mirroring};
use super::spans::{Traced, Tracer, Tracing};
use super::{Item, Rendering, Telemetry, ladder};

/// What takes the place of a part; `None`: nothing does.
pub enum Change {
    /// Of the log how many lines others may cause; see [`log::change`] for the rest.
    Log(log::Settings),
    File(Option<RecordsFile>),
    Archive(Option<Arc<dyn Archive>>),
    /// Which of a call goes into the archive, beside its record.
    Kept {
        invites: bool,
        ladders: LaddersKept,
    },
    Mirror(Option<Mirrored>),
    Tracer(Option<(Arc<dyn Tracer>, Traced)>),
}

/// Changes on their way to the thread.
#[derive(Default)]
pub(super) struct Changes {
    are_any: AtomicBool,
    waiting: Mutex<Vec<Change>>,
}

impl Changes {
    fn put(&self, change: Change) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        self.are_any.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Change> {
        if !self.are_any.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Telemetry {
    /// In force for facts that come later, and it may be for some that wait already. Returns at once.
    pub fn take(&self, change: Change) {
        self.changes.put(change);
        // With a full queue the thread is awake as it is.
        let _ = self.queue.try_send(Item::Changed);
    }

    /// Another bound of what is held takes effect at once; what was gathered with keys is wiped where that is not allowed any more.
    pub fn take_ladders(&self, settings: ladder::Settings) {
        self.held_ladders().resize(settings);
    }
}

impl Rendering {
    pub(super) fn take_changes(&mut self) {
        let changes = self.changes.take();
        if !changes.is_empty() {
            // What was gathered goes where it was meant to go.
            self.settle(true);
        }
        for change in changes {
            match change {
                Change::Log(settings) => self.log = Log::new(&settings),
                Change::File(file) => self.filing.put_file(file),
                Change::Archive(archive) => self.filing.put_archive(archive),
                Change::Kept { invites, ladders } => {
                    self.filing.keep_ladders(ladders);
                    if invites != self.invites.is_some() {
                        self.invites = invites.then(Invites::default);
                    }
                }
                Change::Mirror(mirrored) => {
                    self.mirroring = mirrored.map(|mirrored| match self.mirroring.take() {
                        Some(mirroring) => mirroring.to(mirrored),
                        None => Mirroring::new(mirrored),
                    });
                }
                Change::Tracer(tracer) => {
                    self.tracing = tracer.map(|(to, which)| match self.tracing.take() {
                        Some(tracing) => tracing.to(to, which),
                        None => Tracing::new(to, which),
                    });
                }
            }
        }
    }
}
