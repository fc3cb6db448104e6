//! Notices of missed calls: what waits, what was put aside and why, and how it stands with the WAN.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk};
use crate::adapters::api::Problem;
use crate::app::missed_calls::{Described, MissedCalls};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(missed_calls)).routes(routes!(retry))
}

fn of(desk: &Desk) -> Result<&MissedCalls, Problem> {
    let detail = "this border tells nobody of missed calls: its policy set has no [missed_calls] in branch.toml";
    desk.missed_calls.as_ref().ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, detail))
}

/// What waits to be told, and what was put aside.
#[utoipa::path(get, path = "/v1/missed-calls", tag = "calls", responses((status = 200, body = Described)))]
async fn missed_calls(State(desk): Behind) -> Answered<Described> {
    Ok(Json(of(&desk)?.describe().await))
}

#[derive(Serialize, ToSchema)]
#[schema(as = QueuedAgain)]
struct Queued {
    queued: u64,
}

/// Has the ones put aside delivered again.
#[utoipa::path(post, path = "/v1/missed-calls/retry", tag = "calls", responses((status = 200, body = Queued)))]
async fn retry(State(desk): Behind) -> Answered<Queued> {
    let queued = of(&desk)?.unpark().await;
    queued.map(|queued| Json(Queued { queued })).map_err(|error| Problem::new(StatusCode::CONFLICT, error.to_string()))
}
