//! The media of calls that are up, as `show media` tells it: who talks to whom comes from the core's facts, all else from the worker that carries the
//! stream, asked at this moment.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calls::{Up, not_up};
use super::{Answered, Behind, Desk, stopping};
use crate::adapters::api::Problem;
use crate::adapters::media::{MediaPlane, StreamView, Way};
use crate::adapters::telemetry::Anchor;
use crate::adapters::telemetry::sound::{Direction, told};
use crate::media::shortcut::WhyNot;
use crate::media::verdict::Talk;
use crate::signaling::fact::CallId;
use crate::time::Time;

/// Calls told of at once: the first this many, by number.
const CALLS: usize = 1000;

/// How long all workers together may take to answer. One that does not carries nothing either.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(media)).routes(routes!(media_of))
}

/// The media of calls that are up: how it travels, what is heard, and in one sentence for each direction why it is or is not.
#[utoipa::path(get, path = "/v1/media", tag = "calls", responses((status = 200, body = Object)))]
async fn media(State(desk): Behind) -> Answered<Value> {
    tell(&desk, None).await.map(Json)
}

/// The media of one call.
#[utoipa::path(get, path = "/v1/media/{call}", tag = "calls", params(("call" = u64, Path)), responses((status = 200, body = Object)))]
async fn media_of(State(desk): Behind, Path(call): Path<u64>) -> Answered<Value> {
    tell(&desk, Some(call)).await.map(Json)
}

async fn tell(desk: &Desk, call: Option<u64>) -> Result<Value, Problem> {
    let (calls, up) = desk.calls.of(|id, _| call.is_none_or(|call| id.0 == call), CALLS);
    if let (Some(call), true) = (call, calls.is_empty()) {
        return Err(not_up(call));
    }
    let now = desk.clock.now();
    // Not held while the workers think about it: a border that stops waits for nobody who looks.
    let (ways, asked) = {
        let plane = desk.media.upgrade().ok_or_else(stopping)?;
        let asked: Vec<_> = calls.into_iter().map(|(id, held)| (id, held.stream.map(|stream| plane.inspection(stream)), held)).collect();
        (ways(&plane), asked)
    };
    let mut shown = Vec::new();
    let limit = tokio::time::Instant::now() + PATIENCE;
    for (id, answer, held) in asked {
        let view = match answer {
            Some(answer) => tokio::time::timeout_at(limit, answer).await.ok().and_then(Result::ok).flatten(),
            None => None,
        };
        shown.push(describe(id, &held, view.as_ref(), now, &desk.anchor));
    }
    Ok(json!({ "ways": ways, "up": up, "calls": shown }))
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
    let mut call = json!({ "call": id, "a": up.a.peer, "b": up.b(), "answered": up.answered.map(|at| anchor.rfc3339(at)), "answered_seconds": seconds });
    let Some(view) = view else { return call };
    let report = &view.report;
    let [a, b] = &view.ours;
    let [from_a, from_b] = told(report, &up.a.peer, &up.b(), &Talk { answered: up.answered, until: now }, anchor);
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
