//! Taking the border out of service and back: no new calls, while those that are up go on. OPTIONS are answered with 503, so that peers move away.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::status::Drain;
use super::{Answered, Behind, Desk, stopping};
use crate::adapters::api::Problem;
use crate::adapters::driver::Input;
use crate::signaling::event::{Command, Event};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(drain, resume))
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = DrainOrder)]
struct Order {
    /// After so long, calls that are still up are ended by BYE; null: they end by themselves.
    #[schema(minimum = 1, maximum = 86_400)]
    seconds: Option<u64>,
}

const LONGEST: u64 = 86_400;

/// No new calls from now on. Asked again, the time given last holds.
#[utoipa::path(post, path = "/v1/drain", tag = "border", request_body = Order, responses((status = 200, body = Drain)))]
async fn drain(State(desk): Behind, body: Result<Json<Order>, JsonRejection>) -> Answered<Drain> {
    let wrong = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
    let Json(Order { seconds }) = body.map_err(|rejection| wrong(rejection.body_text()))?;
    if seconds.is_some_and(|seconds| seconds == 0 || seconds > LONGEST) {
        return Err(wrong("calls are ended after one second to 24 hours, or null: never".into()));
    }
    command(&desk, Command::Drain { release_after: seconds.map(Duration::from_secs) })?;
    Ok(Json(Drain { calls: desk.calls.up(), release_in_seconds: seconds }))
}

/// New calls are taken again.
#[utoipa::path(delete, path = "/v1/drain", tag = "border", responses((status = 204)))]
async fn resume(State(desk): Behind) -> Result<StatusCode, Problem> {
    if desk.standing.stopping() {
        return Err(stopping());
    }
    command(&desk, Command::Resume)?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) fn command(desk: &Desk, command: Command) -> Result<(), Problem> {
    desk.commands.send(Input::Event(Event::Command(command))).map_err(|_| stopping())
}
