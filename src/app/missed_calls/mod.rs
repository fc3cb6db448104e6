//! Missed calls from the core to the owners of mailboxes: each is written to disk, then delivered in order, the next one only when the last is settled
//! on disk too.

mod delivery;
mod sip;

use std::fmt::Write as _;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::adapters::driver::Input;
use crate::adapters::store::{Held as HeldNotice, Notice, Status, Store};
use crate::adapters::telemetry::Anchor;
use crate::config::{self, Target};
use crate::policy::branch::Wan;
use crate::signaling::fact::{Fact, MissedCall, What};

use delivery::Progress;
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
    store: Store,
    /// The border's name, for receivers that serve several.
    border: Arc<str>,
    anchor: Anchor,
    target: String,
    awaited: Awaited,
    wan: watch::Sender<Wan>,
    progress: Arc<Mutex<Progress>>,
    stop: watch::Sender<bool>,
    delivering: Mutex<Option<JoinHandle<()>>>,
}

impl MissedCalls {
    /// Within a tokio runtime. What an earlier process left in the store is delivered first. `commands`: to the core.
    pub fn start(settings: &config::MissedCalls, border: &Arc<str>, anchor: Anchor, commands: &UnboundedSender<Input>) -> io::Result<MissedCalls> {
        let store = Store::open(&settings.store)?;
        let (wan, wan_in) = watch::channel(Wan::Unknown);
        let progress = Arc::new(Mutex::new(Progress::default()));
        let (stop, stop_in) = watch::channel(false);
        let awaited = Awaited::default();
        let kept = (store.clone(), progress.clone());
        let delivering = match &settings.target {
            Target::Webhook(webhook) => tokio::spawn(delivery::run(kept.0, delivery::Webhook(webhook.clone()), wan_in, kept.1, stop_in)),
            Target::Sip(target) => {
                let carrier = sip::OverSip { target: target.clone(), commands: commands.clone(), awaited: awaited.clone() };
                tokio::spawn(delivery::run(kept.0, carrier, wan_in, kept.1, stop_in))
            }
        };
        let delivering = Mutex::new(Some(delivering));
        let target = settings.target.to_string();
        let left = store.status();
        if left.queued + left.parked > 0 {
            tracing::info!(queued = left.queued, parked = left.parked, "missed calls of an earlier run are in the store; see `portcullis show missed-calls`");
        }
        Ok(MissedCalls(Arc::new(Held { store, border: border.clone(), anchor, target, awaited, wan, progress, stop, delivering })))
    }

    /// Takes what of the core's facts is about missed calls. Never blocks.
    pub fn note(&self, fact: &Fact) {
        match &fact.what {
            // Told in status and log if it could not be kept; nobody waits for it here.
            What::CallMissed(missed) => drop(self.0.store.queue(self.notice(missed))),
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
        self.0.stop.send_replace(true);
        let delivering = self.0.delivering.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(delivering) = delivering {
            // It ends by itself.
            let _ = delivering.await;
        }
        self.0.store.list(0).await;
    }

    /// For operators.
    pub async fn describe(&self) -> Described {
        let listing = self.0.store.list(SHOWN).await;
        let progress = self.0.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Described {
            target: self.0.target.clone(),
            wan: *self.0.wan.borrow(),
            status: self.0.store.status(),
            last_error: progress.last_error,
            attempts: progress.attempts,
            queued: listing.queued,
            parked: listing.parked,
        }
    }

    /// Parked ones are delivered again, in their old places.
    pub async fn unpark(&self) -> io::Result<u64> {
        self.0.store.unpark().await
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        let status = self.0.store.status();
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
