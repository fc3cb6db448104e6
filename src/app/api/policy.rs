//! The policy set in force, and taking its folder's contents into force anew.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, State};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk, Task, Told};
use crate::adapters::api::Operator;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(reload))
}

/// Loads the whole policy set and its certificates anew, as SIGHUP does, all or nothing.
#[utoipa::path(post, path = "/v1/reload", tag = "policy", responses((status = 200, body = Told)))]
async fn reload(State(desk): Behind, Extension(operator): Extension<Operator>) -> Answered<Told> {
    desk.order(operator, Task::Reload).await.map(Json)
}
