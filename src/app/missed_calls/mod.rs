//! Missed calls from the core to the owners of mailboxes: each is written to disk, then delivered in order, the next one only when the last is settled
//! on disk too.

mod delivery;
mod keeping;
mod sip;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedSender, WeakUnboundedSender};
use tokio::sync::{Notify, watch};

use crate::adapters::driver::Input;
use crate::adapters::store::{Held as HeldNotice, Listing, Notice, Status, Store};
use crate::adapters::telemetry::Anchor;
use crate::config::{self, Target};
use crate::policy::branch::Wan;
use crate::signaling::fact::{Fact, MissedCall, What};

use delivery::Progress;
pub use keeping::{Heir, Kept};
use keeping::{Here, Keeping, StorePlace};
use sip::Awaited;

/// Notices an operator is shown of each kind.
const SHOWN: usize = 100;

#[derive(Clone)]
pub struct MissedCalls(Arc<Held>);

/// What operators see.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = MissedCalls)]
pub struct Described {
    /// Who is told.
    target: String,
    #[schema(value_type = String)]
    wan: Wan,
    /// Where the store is, while one process of this border follows another.
    store: StorePlace,
    status: Status,
    /// What the receiver last said, while it refuses.
    last_error: Option<String>,
    /// At the notice that is being delivered.
    attempts: u32,
    /// The oldest of those that wait.
    queued: Vec<HeldNotice>,
    /// The oldest of those put aside.
    parked: Vec<HeldNotice>,
}

struct Held {
    settings: config::MissedCalls,
    keeping: Mutex<Keeping>,
    /// One process gives the store away or takes it at a time, and one after the other.
    turn: tokio::sync::Mutex<()>,
    confirmed: Notify,
    /// Lost for want of room in memory.
    dropped: AtomicU64,
    closing: AtomicBool,
    /// The border's name, for receivers that serve several.
    border: Arc<str>,
    anchor: Anchor,
    awaited: Awaited,
    wan: watch::Sender<Wan>,
    progress: Arc<Mutex<Progress>>,
    /// To the core, which ends when nobody is left to tell it anything.
    commands: WeakUnboundedSender<Input>,
}

impl Held {
    fn keeping(&self) -> MutexGuard<'_, Keeping> {
        self.keeping.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A store that is open in another process is taken later, by [`MissedCalls::take_store`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Opening {
    Now,
    Later,
}

impl MissedCalls {
    /// Within a tokio runtime. What an earlier process left in the store is delivered first. `commands`: to the core.
    pub fn start(
        settings: &config::MissedCalls,
        opening: Opening,
        border: &Arc<str>,
        anchor: Anchor,
        commands: &UnboundedSender<Input>,
    ) -> io::Result<MissedCalls> {
        let missed_calls = MissedCalls(Arc::new(Held {
            settings: settings.clone(),
            keeping: Mutex::new(Keeping::Awaited(VecDeque::new())),
            turn: tokio::sync::Mutex::default(),
            confirmed: Notify::new(),
            dropped: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            border: border.clone(),
            anchor,
            awaited: Awaited::default(),
            wan: watch::Sender::new(Wan::Unknown),
            progress: Arc::default(),
            commands: commands.downgrade(),
        }));
        if opening == Opening::Later {
            return Ok(missed_calls);
        }
        let store = Store::open(&settings.store)?;
        let left = store.status();
        if left.queued + left.parked > 0 {
            tracing::info!(queued = left.queued, parked = left.parked, "missed calls of an earlier run are in the store; see `portcullis show missed-calls`");
        }
        let here = missed_calls.begin(store);
        *missed_calls.0.keeping() = Keeping::Here(here);
        Ok(missed_calls)
    }

    /// Delivers what a store holds.
    fn begin(&self, store: Store) -> Here {
        let held = &self.0;
        let (stop, stop_in) = watch::channel(false);
        let (kept, wan, progress) = (store.clone(), held.wan.subscribe(), held.progress.clone());
        let delivering = match (&held.settings.target, held.commands.upgrade()) {
            (Target::Webhook(webhook), _) => Some(tokio::spawn(delivery::run(kept, delivery::Webhook(webhook.clone()), wan, progress, stop_in))),
            (Target::Sip(target), Some(commands)) => {
                let carrier = sip::OverSip { target: target.clone(), commands, awaited: held.awaited.clone() };
                Some(tokio::spawn(delivery::run(kept, carrier, wan, progress, stop_in)))
            }
            // The border is stopping.
            (Target::Sip(_), None) => None,
        };
        Here { store, stop, delivering }
    }

    /// Takes what of the core's facts is about missed calls. Never blocks.
    pub fn note(&self, fact: &Fact) {
        match &fact.what {
            What::CallMissed(missed) => self.keep(self.notice(missed), None),
            What::MissedCallCarried { id, status, reason, .. } => self.0.awaited.answer(id, *status, *reason),
            What::Wan { state, .. } => drop(self.0.wan.send_replace(*state)),
            _ => {}
        }
    }

    fn notice(&self, missed: &MissedCall) -> Notice {
        let time = self.0.anchor.rfc3339(missed.at);
        let body = json!({
            "type": "missed-call",
            "version": 1,
            "id": missed.id,
            "time": time,
            "caller": missed.caller.as_deref().unwrap_or("anonymous"),
            "mailbox": missed.mailbox,
            "dial_plan": missed.plan,
            "why": missed.missed,
            "reason": missed.reason,
            "call_id": missed.call_id,
            "border": self.0.border,
        });
        Notice { id: missed.id.clone(), mailbox: missed.mailbox.clone(), time, body: body.to_string() }
    }

    /// Delivers nothing more, the second time as the first. Returns when what was on its way is settled and everything noted so far is on disk, or the disk has refused it.
    pub async fn close(&self) {
        self.0.closing.store(true, Ordering::Relaxed);
        self.stop_delivering().await;
        if let Some(store) = self.store() {
            store.list(0).await;
        }
        let lost = self.0.keeping().in_memory();
        if lost > 0 {
            tracing::error!(lost, "missed calls are lost: no process of this border has them on disk");
        }
    }

    /// What is on its way is settled, which takes as long as the receiver does.
    async fn stop_delivering(&self) {
        let delivering = match &mut *self.0.keeping() {
            Keeping::Here(here) => {
                here.stop.send_replace(true);
                here.delivering.take()
            }
            Keeping::Awaited(_) | Keeping::Elsewhere { .. } => None,
        };
        if let Some(delivering) = delivering {
            // It ends by itself.
            let _ = delivering.await;
        }
    }

    fn store(&self) -> Option<Store> {
        match &*self.0.keeping() {
            Keeping::Here(here) => Some(here.store.clone()),
            Keeping::Awaited(_) | Keeping::Elsewhere { .. } => None,
        }
    }

    /// How it stands with what waits to be told.
    pub fn status(&self) -> Status {
        let dropped = self.0.dropped.load(Ordering::Relaxed);
        match &*self.0.keeping() {
            Keeping::Here(here) => {
                let status = here.store.status();
                Status { dropped: status.dropped + dropped, ..status }
            }
            other => Status { unwritten: other.in_memory() as u64, dropped, ..Status::default() },
        }
    }

    /// For operators.
    pub async fn describe(&self) -> Described {
        let listing = match self.store() {
            Some(store) => store.list(SHOWN).await,
            None => Listing::default(),
        };
        let progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Each by itself: a guard that is made in the literal is held until all of it is made, and `status` takes the same one.
        let place = self.0.keeping().place();
        let status = self.status();
        Described {
            target: self.0.settings.target.to_string(),
            wan: *self.0.wan.borrow(),
            store: place,
            status,
            last_error: progress.last_error,
            attempts: progress.attempts,
            queued: listing.queued,
            parked: listing.parked,
        }
    }

    /// Parked ones are delivered again, in their old places.
    pub async fn unpark(&self) -> io::Result<u64> {
        match self.store() {
            Some(store) => store.unpark().await,
            None => Err(io::Error::other("another process of this border has the store of missed calls: ask that one, or again when the take-over is over")),
        }
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        let status = self.status();
        let mut text = String::from("# HELP portcullis_notices Notices of missed calls on disk\n# TYPE portcullis_notices gauge\n");
        for (state, count) in [("queued", status.queued), ("parked", status.parked), ("unwritten", status.unwritten)] {
            // Writing into a String does not fail.
            let _ = writeln!(text, "portcullis_notices{{state=\"{state}\"}} {count}");
        }
        text.push_str("# HELP portcullis_notices_total What became of notices of missed calls\n# TYPE portcullis_notices_total counter\n");
        for (outcome, count) in [("delivered", status.delivered), ("overflowed", status.overflowed), ("dropped", status.dropped)] {
            let _ = writeln!(text, "portcullis_notices_total{{outcome=\"{outcome}\"}} {count}");
        }
        text
    }
}
