//! The media of calls that are up, as `show media` tells it: who talks to whom comes from the core's facts, all else from the worker that carries the
//! stream, asked at this moment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calls::{Up, not_up};
use super::elsewhere::ShownBefore;
use super::{Answered, Behind, Desk, stopping};
use crate::adapters::api::Problem;
use crate::adapters::media::{MediaPlane, StreamView, Way};
use crate::adapters::telemetry::Anchor;
use crate::adapters::telemetry::sound::{Direction, Told, told};
use crate::media::shortcut::WhyNot;
use crate::media::verdict::Talk;
use crate::signaling::fact::CallId;
use crate::time::Time;

/// Calls told of at once: the first this many, by number.
pub(super) const CALLS: usize = 1000;

/// How long all workers together may take to answer. One that does not carries nothing either.
const PATIENCE: Duration = Duration::from_secs(2);

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(media)).routes(routes!(media_of))
}

#[derive(Serialize, ToSchema)]
struct Media {
    /// What trying each way of packets at the start has shown.
    ways: Vec<Tried>,
    /// Calls up in all; the media of the first thousand is told.
    up: usize,
    calls: Vec<OfCall>,
    /// The process this one has taken over from, while it still has calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<ShownBefore>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaWay)]
struct Tried {
    way: String,
    used: bool,
    /// How it is used, or why it is not.
    detail: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaOfCall)]
struct OfCall {
    call: u64,
    /// The peers.
    #[schema(value_type = String)]
    a: Arc<str>,
    #[schema(value_type = String)]
    b: Arc<str>,
    /// RFC 3339, UTC.
    answered: Option<String>,
    answered_seconds: Option<u64>,
    /// Absent before a stream is opened, or where its worker did not answer in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Stream>,
    /// The process that has it, where that is the one before this.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<u32>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaStream)]
struct Stream {
    number: u64,
    worker: usize,
    /// Of memory that it takes.
    bytes: usize,
    ours: Ours,
    a_to_b: Heard,
    b_to_a: Heard,
}

/// Our addresses for RTP, towards each peer.
#[derive(Serialize, ToSchema)]
#[schema(as = MediaAddresses)]
struct Ours {
    #[schema(value_type = String)]
    a: SocketAddr,
    #[schema(value_type = String)]
    b: SocketAddr,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaDirection)]
struct Heard {
    carried: Carried,
    /// As `media` of a call record: packets, loss, jitter, what was refused, the score.
    #[schema(value_type = Object)]
    counted: Direction,
    audio: Audio,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaCarried)]
struct Carried {
    way: String,
    why_not_shorter: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MediaAudio)]
struct Audio {
    /// A stable code.
    cause: &'static str,
    /// Whether somebody should look.
    fault: bool,
    /// One sentence for people.
    says: String,
}

impl From<Told> for Audio {
    fn from(told: Told) -> Audio {
        Audio { cause: told.cause, fault: told.fault, says: told.says }
    }
}

/// The media of calls that are up: how it travels, what is heard, and in one sentence for each direction why it is or is not.
#[utoipa::path(get, path = "/v1/media", tag = "calls", responses((status = 200, body = Media)))]
async fn media(State(desk): Behind) -> Answered<Media> {
    tell(&desk, None).await.map(Json)
}

/// The media of one call.
#[utoipa::path(get, path = "/v1/media/{call}", tag = "calls", params(("call" = u64, Path)), responses((status = 200, body = Media)))]
async fn media_of(State(desk): Behind, Path(call): Path<u64>) -> Answered<Media> {
    tell(&desk, Some(call)).await.map(Json)
}

async fn tell(desk: &Desk, call: Option<u64>) -> Result<Media, Problem> {
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
    Ok(Media { ways, up, calls: shown, before: None })
}

/// The media of one call as its worker tells it at this moment. `None`: the call is not up, no stream of it is open, or the worker did not answer.
pub(super) async fn view(desk: &Desk, call: u64) -> Option<(Up, StreamView)> {
    let up = desk.calls.one(call)?;
    let asked = desk.media.upgrade()?.inspection(up.stream?);
    let view = tokio::time::timeout(PATIENCE, asked).await.ok()?.ok()??;
    Some((up, view))
}

fn ways(plane: &MediaPlane) -> Vec<Tried> {
    let tell = |way: &Way, outcome: &Result<String, String>| {
        let (used, detail) = match outcome {
            Ok(detail) => (true, detail.clone()),
            Err(why) => (false, why.clone()),
        };
        Tried { way: way.to_string(), used, detail }
    };
    plane.probes().iter().map(|tried| tell(&tried.way, &tried.outcome)).collect()
}

fn describe(id: CallId, up: &Up, view: Option<&StreamView>, now: Time, anchor: &Anchor) -> OfCall {
    OfCall {
        call: id.0,
        a: Arc::clone(&up.a.peer),
        b: up.b(),
        answered: up.answered.map(|at| anchor.rfc3339(at)),
        answered_seconds: up.answered.map(|answered| now.since(answered).as_secs()),
        stream: view.map(|view| stream(up, view, now, anchor)),
        process: None,
    }
}

fn stream(up: &Up, view: &StreamView, now: Time, anchor: &Anchor) -> Stream {
    let report = &view.report;
    let [a, b] = &view.ours;
    let [from_a, from_b] = told(report, &up.a.peer, &up.b(), &Talk { answered: up.answered, until: now }, anchor);
    let carried = |(way, why): (Way, Option<WhyNot>)| Carried { way: way.to_string(), why_not_shorter: why.map(|why| why.to_string()) };
    Stream {
        number: view.stream.0,
        worker: view.worker,
        bytes: view.bytes,
        ours: Ours { a: a.rtp, b: b.rtp },
        a_to_b: Heard { carried: carried(view.ways[0]), counted: Direction::of(&report.a, &report.b, None, anchor), audio: from_a.into() },
        b_to_a: Heard { carried: carried(view.ways[1]), counted: Direction::of(&report.b, &report.a, None, anchor), audio: from_b.into() },
    }
}
