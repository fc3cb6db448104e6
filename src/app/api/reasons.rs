//! Every reason code the border knows, as `explain` tells them.

use std::sync::Arc;

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Desk;
use crate::policy::verdict::{Fault, Reason};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(reasons))
}

#[derive(Serialize, ToSchema)]
struct Known {
    #[schema(value_type = String)]
    code: Reason,
    #[schema(value_type = String)]
    fault: Fault,
    /// What the other end gets; null: nothing.
    status: Option<u16>,
    meaning: &'static str,
    /// What an operator does about it.
    remedy: &'static str,
    /// Events under which Exchange's Unified Messaging tells of the same.
    exchange_events: &'static [u16],
}

/// Why calls end and requests are refused: every code, who is at fault, what it means.
#[utoipa::path(get, path = "/v1/reasons", tag = "policy", responses((status = 200, body = Vec<Known>)))]
async fn reasons() -> Json<Vec<Known>> {
    let known = |reason: &Reason| Known {
        code: *reason,
        fault: reason.fault(),
        status: reason.status(),
        meaning: reason.meaning(),
        remedy: reason.remedy(),
        exchange_events: reason.exchange_events(),
    };
    Json(Reason::ALL.iter().map(known).collect())
}
