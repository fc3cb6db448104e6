//! The account of what operators changed, and the count of what was asked.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::adapters::api::{CLASSES, Counts, DOORS, Entry};
use crate::app::vitals::head;

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

/// What was asked at all doors, in Prometheus' text exposition.
pub fn asked(counts: &Counts) -> String {
    let mut text = head("portcullis_api_requests_total", "counter", "Requests at the API's doors, by the status of the answer");
    for (class, count) in CLASSES.iter().zip(counts.answered).skip(1) {
        // Writing into a String does not fail.
        let _ = writeln!(text, "portcullis_api_requests_total{{status=\"{class}\"}} {count}");
    }
    text += &head("portcullis_api_credentials_refused_total", "counter", "Requests with a token or certificate that is not known");
    let _ = writeln!(text, "portcullis_api_credentials_refused_total {}", counts.unknown);
    text += &head("portcullis_api_connections", "gauge", "Connections of operators that are open");
    for (door, open) in DOORS.iter().zip(counts.connections) {
        let _ = writeln!(text, "portcullis_api_connections{{door=\"{door}\"}} {open}");
    }
    text += &head("portcullis_api_connections_closed_total", "counter", "Connections of operators closed to make room for others");
    for (door, closed) in DOORS.iter().zip(counts.made_room) {
        let _ = writeln!(text, "portcullis_api_connections_closed_total{{door=\"{door}\"}} {closed}");
    }
    text
}
