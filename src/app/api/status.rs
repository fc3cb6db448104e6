//! The border as a whole: since when, by which rules, how much is under way, whether it takes calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::signaling::fact::{Fact, What};
use crate::time::Time;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(status))
}

/// Whether new calls are taken, as the core has told, and whether the process is about to end.
#[derive(Default)]
pub struct Standing {
    draining: Mutex<Option<Option<Time>>>,
    stopping: AtomicBool,
    policies: Mutex<u64>,
}

impl Standing {
    pub fn note(&self, fact: &Fact) {
        match &fact.what {
            What::Draining { release_at, .. } => *self.held() = Some(*release_at),
            What::Resumed => *self.held() = None,
            What::PoliciesChanged { number } => *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = *number,
            _ => {}
        }
    }

    /// The process is about to end, so there is no way back.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    pub fn draining(&self) -> bool {
        self.stopping() || self.held().is_some()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Option<Time>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize, ToSchema)]
struct Status {
    /// The border's name in its policy set.
    #[schema(value_type = String)]
    name: Arc<str>,
    version: &'static str,
    /// RFC 3339, UTC.
    started: String,
    uptime_seconds: u64,
    /// Calls up or being set up.
    calls: usize,
    /// Null: new calls are taken.
    drain: Option<Drain>,
    /// Numbers that count up with each change since the start.
    policy_set: u64,
    peer_table: u64,
    certificates: u64,
    /// Every peer's name has been asked for.
    names_settled: bool,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Drain {
    /// Still up.
    pub calls: usize,
    /// Until those are ended by BYE; null: they end by themselves.
    pub release_in_seconds: Option<u64>,
}

/// Since when the border runs, by which rules, and how much is under way.
#[utoipa::path(get, path = "/v1/status", tag = "border", responses((status = 200, body = Status)))]
async fn status(State(desk): Behind) -> Json<Status> {
    let now = desk.clock.now();
    let draining = *desk.standing.held();
    let drain = draining.map(|release_at| Drain { calls: desk.calls.up(), release_in_seconds: release_at.map(|at| at.since(now).as_secs()) });
    Json(Status {
        name: Arc::clone(&desk.name),
        version: env!("CARGO_PKG_VERSION"),
        started: desk.anchor.rfc3339(Time::ZERO),
        uptime_seconds: now.since(Time::ZERO).as_secs(),
        calls: desk.calls.up(),
        drain,
        policy_set: (*desk.standing.policies.lock().unwrap_or_else(PoisonError::into_inner)).max(1),
        peer_table: desk.resolver.tables().borrow().number,
        certificates: desk.rotation.store().generation(),
        names_settled: desk.resolver.is_settled(),
    })
}
