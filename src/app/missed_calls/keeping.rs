//! Whose the store of notices is. One process has it open at a time; while one process of a border takes over from another, it goes from the old one to the
//! new one, and what either has to tell meanwhile gets into it once.
//!
//! | the store is | a notice is | and delivered by |
//! |---|---|---|
//! | here | written to it | this process |
//! | awaited: on its way to this process, or from it | held in memory, and written or handed as soon as it is decided | nobody for so long |
//! | elsewhere | handed to the other process, and held here until that has it on disk | the other process |
//!
//! The old process gives the store away only when the delivery that is under way has been settled, so none goes out twice; and if the new one ends first, the old one opens it again and
//! writes what was not yet confirmed.

use std::collections::{HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Held, MissedCalls};
use crate::adapters::store::{Notice, Store};

/// Notices held in memory; above it they are lost and counted, as in the store.
const MOST: usize = 4096;

/// A store that cannot be opened is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

/// Told that a notice is on disk.
pub type Kept = Box<dyn FnOnce() + Send>;

/// The process that gets the store. Neither may block. False: it does not take it now.
pub trait Heir: Send + Sync {
    /// The store is closed, and whatever comes after this is to be written to it.
    fn store_is_free(&self) -> bool;

    fn notice(&self, notice: &Notice) -> bool;
}

/// A notice in memory.
pub(super) struct Waiting {
    notice: Notice,
    /// Of another process, which wants to know.
    kept: Option<Kept>,
    /// The heir has been handed it.
    handed: bool,
}

pub(super) enum Keeping {
    Here(Here),
    Awaited(VecDeque<Waiting>),
    Elsewhere { unconfirmed: VecDeque<Waiting>, heir: Arc<dyn Heir> },
}

pub(super) struct Here {
    pub store: Store,
    pub stop: watch::Sender<bool>,
    pub delivering: Option<JoinHandle<()>>,
}

/// As operators see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StorePlace {
    Here,
    /// Notices wait in memory until it is.
    Awaited,
    /// Another process of this border has it: ask that one.
    Elsewhere,
}

impl Keeping {
    pub fn place(&self) -> StorePlace {
        match self {
            Keeping::Here(_) => StorePlace::Here,
            Keeping::Awaited(_) => StorePlace::Awaited,
            Keeping::Elsewhere { .. } => StorePlace::Elsewhere,
        }
    }

    /// Notices in memory that are not on disk as far as this process knows.
    pub fn in_memory(&self) -> usize {
        match self {
            Keeping::Here(_) => 0,
            Keeping::Awaited(waiting) | Keeping::Elsewhere { unconfirmed: waiting, .. } => waiting.len(),
        }
    }
}

impl MissedCalls {
    /// Wherever it has to go. Never blocks. `kept`: for whoever handed it to us.
    pub(super) fn keep(&self, notice: Notice, kept: Option<Kept>) {
        let held = &self.0;
        match &mut *held.keeping() {
            Keeping::Here(here) => write(&here.store, notice, kept),
            Keeping::Awaited(waiting) => put(held, waiting, Waiting { notice, kept, handed: false }),
            Keeping::Elsewhere { unconfirmed, heir } => {
                let handed = heir.notice(&notice);
                put(held, unconfirmed, Waiting { notice, kept, handed });
            }
        }
    }

    /// A notice of the other process's calls.
    pub fn take_in(&self, notice: Notice, kept: Kept) {
        self.keep(notice, Some(kept));
    }

    /// The heir has it on disk.
    pub fn confirmed(&self, id: &str) {
        if let Keeping::Elsewhere { unconfirmed, .. } = &mut *self.0.keeping()
            && let Some(at) = unconfirmed.iter().position(|waiting| waiting.notice.id == id)
            && let Some(kept) = unconfirmed.remove(at).and_then(|waiting| waiting.kept)
        {
            kept();
        }
        self.0.confirmed.notify_waiters();
    }

    /// Hands what the heir had no room for.
    pub fn hand_again(&self) {
        if let Keeping::Elsewhere { unconfirmed, heir } = &mut *self.0.keeping() {
            unconfirmed.iter_mut().filter(|waiting| !waiting.handed).for_each(|waiting| waiting.handed = heir.notice(&waiting.notice));
        }
    }

    /// Returns when the store has been given, if it is being, and the heir has all on disk that it was handed.
    pub async fn all_confirmed(&self) {
        drop(self.0.turn.lock().await);
        loop {
            let mut confirmed = std::pin::pin!(self.0.confirmed.notified());
            confirmed.as_mut().enable();
            if !matches!(&*self.0.keeping(), Keeping::Elsewhere { unconfirmed, .. } if !unconfirmed.is_empty()) {
                return;
            }
            confirmed.await;
        }
    }

    /// Gives the store away: what is being delivered is settled first, which takes as long as the receiver does. From then on the heir gets each notice.
    pub async fn give(&self, heir: Arc<dyn Heir>) {
        let _turn = self.0.turn.lock().await;
        self.stop_delivering().await;
        let before = {
            let mut keeping = self.0.keeping();
            std::mem::replace(&mut *keeping, Keeping::Awaited(VecDeque::new()))
        };
        let mut unwritten = VecDeque::new();
        match before {
            Keeping::Here(here) => {
                let left = here.store.close().await;
                unwritten.extend(left.into_iter().map(|notice| Waiting { notice, kept: None, handed: false }));
            }
            Keeping::Awaited(waiting) | Keeping::Elsewhere { unconfirmed: waiting, .. } => unwritten = waiting,
        }
        let mut keeping = self.0.keeping();
        if let Keeping::Awaited(since) = &mut *keeping {
            unwritten.append(since);
        }
        if !heir.store_is_free() {
            tracing::error!("the other process cannot be told that the store of missed calls is free: they wait in memory until it is heard of again");
        }
        unwritten.iter_mut().for_each(|waiting| waiting.handed = heir.notice(&waiting.notice));
        *keeping = Keeping::Elsewhere { unconfirmed: unwritten, heir };
        tracing::info!("missed calls: the store is the other process's from here on; those of calls here are handed to it");
    }

    /// Opens the store, which no other process has any more, and goes on with what it holds. Tries for as long as it takes.
    pub async fn take_store(&self) {
        let _turn = self.0.turn.lock().await;
        if matches!(&*self.0.keeping(), Keeping::Here(_)) {
            return;
        }
        let Some(store) = self.opened().await else { return };
        // A process that had it may have ended between writing one and saying so.
        let there: HashSet<String> = store.list(usize::MAX).await.into_ids().collect();
        let mut keeping = self.0.keeping();
        let (Keeping::Awaited(waiting) | Keeping::Elsewhere { unconfirmed: waiting, .. }) = &mut *keeping else { return };
        for Waiting { notice, kept, .. } in waiting.drain(..) {
            match kept {
                Some(kept) if there.contains(&notice.id) => kept(),
                None if there.contains(&notice.id) => {}
                kept => write(&store, notice, kept),
            }
        }
        let status = store.status();
        tracing::info!(queued = status.queued, parked = status.parked, "missed calls: the store is this process's from here on");
        *keeping = Keeping::Here(self.begin(store));
    }

    /// `None`: the border stops.
    async fn opened(&self) -> Option<Store> {
        let mut told = false;
        while !self.0.closing.load(Ordering::Relaxed) {
            let settings = self.0.settings.store.clone();
            let opened = tokio::task::spawn_blocking(move || Store::open(&settings)).await.unwrap_or_else(|fault| Err(io::Error::other(fault)));
            match opened {
                Ok(store) => return Some(store),
                Err(error) if !told => {
                    tracing::error!(%error, "missed calls: the store cannot be opened after the take-over; they wait in memory, and it is tried every second");
                    told = true;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
        None
    }
}

fn put(held: &Held, waiting: &mut VecDeque<Waiting>, one: Waiting) {
    if waiting.len() < MOST {
        return waiting.push_back(one);
    }
    held.dropped.fetch_add(1, Ordering::Relaxed);
    tracing::error!(id = %one.notice.id, mailbox = %one.notice.mailbox, "a missed call is lost: {MOST} wait in memory for a store that is not there; see the lines before this one");
}

/// Told in status and log if it could not be written; nobody of ours waits for it.
fn write(store: &Store, notice: Notice, kept: Option<Kept>) {
    let queued = store.queue(notice);
    let Some(kept) = kept else { return };
    tokio::spawn(async move {
        // One that a full store refuses is counted there, and nobody else can do more for it.
        if queued.await.is_ok() {
            kept();
        }
    });
}
