//! The media of calls that are up, as `show media` tells it: who talks to whom comes from the core's facts, all else from the worker that carries the
//! stream, asked at this moment.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::Desk;
use crate::adapters::control::Refused;
use crate::adapters::media::{MediaPlane, StreamView, Way};
use crate::adapters::telemetry::Anchor;
use crate::adapters::telemetry::sound::{Direction, told};
use crate::media::control::{Side, StreamId};
use crate::media::shortcut::WhyNot;
use crate::media::verdict::Talk;
use crate::signaling::fact::{CallId, Fact, What};
use crate::time::Time;

/// Calls told of at once: the first this many, by number.
const CALLS: usize = 1000;

/// How long all workers together may take to answer. One that does not carries nothing either.
const PATIENCE: Duration = Duration::from_secs(2);

/// Calls that are up or being set up, as the core tells of them. As many as admission lets in.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<BTreeMap<CallId, Up>>>);

/// One of them.
#[derive(Clone, Default)]
struct Up {
    a: Arc<str>,
    b: Arc<str>,
    answered: Option<Time>,
    /// The last opened; those before are closed, or about to be.
    stream: Option<StreamId>,
}

impl Calls {
    pub fn note(&self, fact: &Fact) {
        let Some(call) = fact.call else { return };
        let change: Box<dyn FnOnce(&mut Up)> = match &fact.what {
            What::CallBegan { peer, .. } => {
                let up = Up { a: Arc::clone(peer), b: "-".into(), ..Up::default() };
                self.held().insert(call, up);
                return;
            }
            What::CallEnded(_) => {
                self.held().remove(&call);
                return;
            }
            What::LegOpened { side: Side::A, peer, .. } => Box::new(|up| up.a = Arc::clone(peer)),
            What::LegOpened { side: Side::B, peer, .. } => Box::new(|up| up.b = Arc::clone(peer)),
            What::CallAnswered => Box::new(|up| up.answered = Some(fact.at)),
            What::MediaOpened { stream } => Box::new(|up| up.stream = Some(*stream)),
            _ => return,
        };
        if let Some(up) = self.held().get_mut(&call) {
            change(up);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, BTreeMap<CallId, Up>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call, or the first of all; second: how many there are.
    fn of(&self, call: Option<u64>) -> (Vec<(CallId, Up)>, usize) {
        let held = self.held();
        let chosen = held.iter().filter(|(id, _)| call.is_none_or(|call| id.0 == call)).take(CALLS);
        (chosen.map(|(id, up)| (*id, up.clone())).collect(), held.len())
    }
}

impl Desk {
    pub(super) async fn media(&self, call: Option<u64>) -> Result<Value, Refused> {
        let plane = self.media.upgrade().ok_or_else(|| Refused { status: 503, detail: "the border is stopping".into() })?;
        let (calls, up) = self.calls.of(call);
        if let (Some(call), true) = (call, calls.is_empty()) {
            let detail = format!("no call {call} is up; of one that has ended the record tells, in its last field, audio");
            return Err(Refused { status: 404, detail });
        }
        let now = self.clock.now();
        let asked: Vec<_> = calls.into_iter().map(|(id, held)| (id, held.stream.map(|stream| plane.inspection(stream)), held)).collect();
        let mut shown = Vec::new();
        let limit = tokio::time::Instant::now() + PATIENCE;
        for (id, answer, held) in asked {
            let view = match answer {
                Some(answer) => tokio::time::timeout_at(limit, answer).await.ok().and_then(Result::ok).flatten(),
                None => None,
            };
            shown.push(describe(id, &held, view.as_ref(), now, &self.anchor));
        }
        Ok(json!({ "ways": ways(&plane), "up": up, "calls": shown }))
    }
}

/// What trying each way of packets at the start has shown.
fn ways(plane: &MediaPlane) -> Vec<Value> {
    let probe = |outcome: &Result<String, String>| match outcome {
        Ok(detail) => (true, detail.clone()),
        Err(why) => (false, why.clone()),
    };
    let tell = |way: &Way, (used, detail): (bool, String)| json!({ "way": way.to_string(), "used": used, "detail": detail });
    plane.probes().iter().map(|tried| tell(&tried.way, probe(&tried.outcome))).collect()
}

fn describe(id: CallId, up: &Up, view: Option<&StreamView>, now: Time, anchor: &Anchor) -> Value {
    let seconds = up.answered.map(|answered| now.since(answered).as_secs());
    let mut call = json!({ "call": id, "a": up.a, "b": up.b, "answered": up.answered.map(|at| anchor.rfc3339(at)), "answered_seconds": seconds });
    let Some(view) = view else { return call };
    let report = &view.report;
    let [a, b] = &view.ours;
    let [from_a, from_b] = told(report, &up.a, &up.b, &Talk { answered: up.answered, until: now }, anchor);
    let way = |(way, why): (Way, Option<WhyNot>)| json!({ "way": way.to_string(), "why_not_shorter": why.map(|why| why.to_string()) });
    call["stream"] = json!({
        "number": view.stream.0,
        "worker": view.worker,
        "bytes": view.bytes,
        "ours": { "a": a.rtp, "b": b.rtp },
        "a_to_b": { "carried": way(view.ways[0]), "counted": Direction::of(&report.a, &report.b, None, anchor), "audio": from_a },
        "b_to_a": { "carried": way(view.ways[1]), "counted": Direction::of(&report.b, &report.a, None, anchor), "audio": from_b },
    });
    call
}
