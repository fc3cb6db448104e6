//! Our certificates, the CAs and CRLs peers are held against, and loading them anew.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Answered, Behind, Desk};
use crate::adapters::api::Problem;
use crate::adapters::tls::{CertificatesStatus, Lifetime};
use crate::signaling::fact::CertificateKind;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(certificates)).routes(routes!(rotate))
}

#[derive(Serialize, ToSchema)]
struct Certificates {
    #[serde(flatten)]
    status: CertificatesStatus,
    /// Everything that has an end, by fingerprint: what a rotation job compares its files with.
    held: Vec<Held>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = HeldCertificate)]
struct Held {
    #[schema(value_type = String)]
    kind: CertificateKind,
    file: String,
    name: String,
    /// Seconds since 1970.
    not_before: u64,
    not_after: u64,
    /// SHA-256; null of a list.
    fingerprint: Option<String>,
    /// Negative once it has ended.
    days_left: i64,
}

/// Our certificates, that of this door among them, the CAs and CRLs that peers and operators are held against, and how long each is good for.
#[utoipa::path(get, path = "/v1/certs", tag = "trust", responses((status = 200, body = Certificates)))]
async fn certificates(State(desk): Behind) -> Json<Certificates> {
    let store = desk.rotation.store();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let held = store.current().lifetimes().iter().map(|lifetime| held(lifetime, now)).collect();
    Json(Certificates { status: store.status(), held })
}

fn held(held: &Lifetime, now: u64) -> Held {
    Held {
        kind: held.kind,
        file: held.file.display().to_string(),
        name: held.name.clone(),
        not_before: held.not_before,
        not_after: held.not_after,
        fingerprint: held.fingerprint.map(|octets| octets.iter().map(|octet| format!("{octet:02X}")).collect::<Vec<_>>().join(":")),
        days_left: (held.not_after as i64 - now as i64).div_euclid(86_400),
    }
}

#[derive(Serialize, ToSchema)]
struct Rotated {
    told: Vec<String>,
    /// The number of the load now in force.
    generation: u64,
}

/// Loads certificates, keys, CAs and CRLs anew, all or nothing; calls and connections go on.
#[utoipa::path(post, path = "/v1/certs/rotate", tag = "trust", responses((status = 200, body = Rotated)))]
async fn rotate(State(desk): Behind) -> Answered<Rotated> {
    // Off the event loop: a disk may be slow.
    let rotation = Arc::clone(&desk.rotation);
    let outcome = tokio::task::spawn_blocking(move || rotation.rotate().map_err(|error| error.to_string())).await;
    match outcome.map_err(|error| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))? {
        Ok(told) => Ok(Json(Rotated { told, generation: desk.rotation.store().generation() })),
        Err(error) => {
            tracing::error!("certificates not loaded, the old ones stay in force: {error}");
            Err(Problem::new(StatusCode::CONFLICT, error))
        }
    }
}
