//! The account of what operators changed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::adapters::api::Entry;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(audit))
}

#[derive(Serialize, ToSchema)]
struct Account {
    entries: Vec<Entry>,
}

/// Who changed what since the start, and what was refused: the last thousand, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "border", responses((status = 200, body = Account)))]
async fn audit(State(desk): Behind) -> Json<Account> {
    Json(Account { entries: desk.audit.entries() })
}
