//! Traces: calls whose messages are kept with their keys for a while, for the capture file of somebody who must look into them. Whoever starts one, stops one, or
//! takes keys out, is in the audit.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk, ladder};
use crate::adapters::api::Problem;
use crate::adapters::telemetry::ladder::{Order, Standing};
use crate::signaling::fact::CallId;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(trace, start, stop)).routes(routes!(keys))
}

const CALLS: u32 = 1000;
const SECONDS: u64 = 86_400;

#[derive(Serialize, ToSchema)]
#[schema(as = TraceStanding)]
struct Shown {
    /// The policy set allows traces.
    allowed: bool,
    /// What was asked for; null: no trace.
    trace: Option<Asked>,
    /// Calls whose messages are held with their keys.
    calls: Vec<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = TraceAsked)]
struct Asked {
    peer: Option<String>,
    calls: u32,
    /// RFC 3339, UTC: no call that begins later is traced.
    until: String,
    /// Then all of it is wiped.
    held_until: String,
}

/// What to trace.
#[derive(Deserialize, ToSchema)]
#[schema(as = TraceOrder)]
#[serde(deny_unknown_fields)]
struct Start {
    /// Only calls with a leg of this peer.
    peer: Option<String>,
    /// The next so many.
    #[schema(minimum = 1, maximum = 1000)]
    calls: u32,
    /// For so long.
    #[schema(minimum = 1, maximum = 86_400)]
    seconds: u64,
}

/// How it stands with traces.
#[utoipa::path(get, path = "/v1/trace", tag = "calls", responses((status = 200, body = Shown)))]
async fn trace(State(desk): Behind) -> Json<Shown> {
    Json(shown(&desk))
}

/// Has the messages of the next calls kept with their keys. What a trace before it gathered is wiped.
#[utoipa::path(post, path = "/v1/trace", tag = "calls", request_body = Start, responses((status = 200, body = Shown)))]
async fn start(State(desk): Behind, asked: Result<Json<Start>, JsonRejection>) -> Answered<Shown> {
    let Json(Start { peer, calls, seconds }) = asked.map_err(|rejection| Problem::new(StatusCode::BAD_REQUEST, rejection.body_text()))?;
    if !desk.telemetry.may_trace() {
        let detail =
            "this border keeps no keys: write traces = true under [ladder] in border.toml and reload, if messages may be kept with their keys for a while";
        return Err(Problem::new(StatusCode::CONFLICT, detail));
    }
    if !(1..=CALLS).contains(&calls) || !(1..=SECONDS).contains(&seconds) {
        return Err(Problem::new(StatusCode::BAD_REQUEST, format!("write 1 to {CALLS} calls and 1 to {SECONDS} seconds")));
    }
    let until = desk.clock.now() + Duration::from_secs(seconds);
    // What another process of this border still holds of traces as well.
    desk.between.forget_traces();
    desk.telemetry.trace(Order { peer: peer.map(Arc::from), calls, until });
    Ok(Json(shown(&desk)))
}

/// Ends a trace and wipes what it gathered.
#[utoipa::path(delete, path = "/v1/trace", tag = "calls", responses((status = 200, body = Shown)))]
async fn stop(State(desk): Behind) -> Json<Shown> {
    desk.between.forget_traces();
    Json(shown(&desk))
}

/// The capture file of a traced call, with its keys. Needs the role operate, and is in the audit.
#[utoipa::path(post, path = "/v1/calls/{call}/keys", tag = "calls", params(("call" = u64, Path)),
    responses((status = 200, body = Vec<u8>, content_type = "application/vnd.tcpdump.pcap")))]
async fn keys(State(desk): Behind, Path(call): Path<u64>) -> Result<Response, Problem> {
    desk.telemetry.drawing(CallId(call)).ok_or_else(|| ladder::not_held(&desk, call))?;
    let detail = format!(
        "call {call} was not traced, so its keys were blotted out as it passed; portcullis trace start keeps those of the next calls, where [ladder] traces allows it"
    );
    let drawing = desk.telemetry.drawing_with_secrets(CallId(call), desk.clock.now()).ok_or_else(|| Problem::new(StatusCode::CONFLICT, detail))?;
    Ok(([(header::CONTENT_TYPE, ladder::CAPTURE)], drawing.capture()).into_response())
}

fn shown(desk: &Desk) -> Shown {
    let Standing { order, held } = desk.telemetry.traced(desk.clock.now());
    let trace = order.map(|(order, held_until)| Asked {
        peer: order.peer.map(|peer| String::from(&*peer)),
        calls: order.calls,
        until: desk.anchor.rfc3339(order.until),
        held_until: desk.anchor.rfc3339(held_until),
    });
    Shown { allowed: desk.telemetry.may_trace(), trace, calls: held.into_iter().map(|call| call.0).collect() }
}
