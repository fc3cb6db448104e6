//! The border as a whole: since when, by which rules, how much is under way, whether it takes calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::elsewhere::ShownBefore;
use super::{Behind, Desk};
use crate::app::receivers::Receiver;
use crate::app::recording::Place;
use crate::app::vitals::head;
use crate::app::writing::{self, Written};
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
    /// When the peer table in force came.
    peers: Mutex<Time>,
    begun: Mutex<Minute>,
    not_in_force: Mutex<Vec<String>>,
    refused: Mutex<Option<RefusedReload>>,
}

/// The last reload changed nothing, and neither the folder nor the set in force has been mended since.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, ToSchema)]
pub struct RefusedReload {
    /// RFC 3339, UTC.
    pub at: String,
    /// Who asked for it.
    pub by: String,
    /// What was wrong, a line each.
    pub problems: Vec<String>,
}

/// Calls begun in each of the last sixty seconds, by the second modulo sixty.
struct Minute([(u64, u32); 60]);

impl Default for Minute {
    fn default() -> Minute {
        Minute([(0, 0); 60])
    }
}

impl Minute {
    fn add(&mut self, now: Time) {
        let second = now.as_millis() / 1000;
        let place = &mut self.0[(second % 60) as usize];
        *place = if place.0 == second { (second, place.1 + 1) } else { (second, 1) };
    }

    fn sum(&self, now: Time) -> u32 {
        let second = now.as_millis() / 1000;
        self.0.iter().filter(|(then, _)| second - (*then).min(second) < 60).map(|(_, count)| count).sum()
    }
}

impl Standing {
    pub fn note(&self, fact: &Fact) {
        match &fact.what {
            What::Draining { release_at, .. } => *self.held() = Some(*release_at),
            What::CallBegan { .. } => self.begun.lock().unwrap_or_else(PoisonError::into_inner).add(fact.at),
            What::Resumed => *self.held() = None,
            What::PeersChanged { .. } => *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = fact.at,
            What::PoliciesChanged { number } => *self.policies.lock().unwrap_or_else(PoisonError::into_inner) = *number,
            _ => {}
        }
    }

    /// Parts of the policy set in force that are not, a line each, with the remedy.
    pub fn put_not_in_force(&self, parts: Vec<String>) {
        *self.not_in_force.lock().unwrap_or_else(PoisonError::into_inner) = parts;
    }

    /// `None`: what was last asked for is in force.
    pub fn put_refused(&self, refused: Option<RefusedReload>) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    pub fn refused(&self) -> Option<RefusedReload> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        let successful = u8::from(self.refused().is_none());
        let what = "1 unless the last reload was refused: the set before it is in force, and the next start may fail";
        head("portcullis_last_reload_successful", "gauge", what) + &format!("portcullis_last_reload_successful {successful}\n")
    }

    /// The process is about to end, so there is no way back.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub fn stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// New calls are refused by an order; the time at which those that are left are ended, if one was given.
    pub fn drained(&self) -> Option<Option<Time>> {
        *self.held()
    }

    pub fn draining(&self) -> bool {
        self.stopping() || self.held().is_some()
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Option<Option<Time>>> {
        self.draining.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = BorderStatus)]
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
    /// Calls begun in the last minute, refused ones too.
    calls_per_minute: u32,
    /// Null: new calls are taken.
    drain: Option<Drain>,
    /// The process this one has taken over from, while it still has calls.
    before: Option<ShownBefore>,
    /// Numbers that count up with each change since the start.
    policy_set: u64,
    peer_table: u64,
    /// For so long this peer table, the trust table, has been in force. How old the DNS answers behind it are stands with each name of `/v1/peers`.
    peer_table_seconds: u64,
    certificates: u64,
    /// Parts of that policy set that are not in force, and what to do: they wait for another process, or could not be had.
    not_in_force: Vec<String>,
    /// Null where the last reload was taken. Else the set before it is in force, and a border that is started anew reads what was refused.
    refused_reload: Option<RefusedReload>,
    /// Every peer's name has been asked for.
    names_settled: bool,
    /// Where call records go, and whether each place takes them.
    records: Vec<Place>,
    /// What else is written, and whether its place takes it.
    writing: Vec<Written>,
    /// Who gets copies of SIP messages (HEP) and traces of calls (OpenTelemetry), and whether each takes them.
    receivers: Vec<Receiver>,
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
        name: Arc::clone(&desk.policy_sets.settings().name),
        version: env!("CARGO_PKG_VERSION"),
        started: desk.anchor.rfc3339(Time::ZERO),
        uptime_seconds: now.since(Time::ZERO).as_secs(),
        calls: desk.calls.up(),
        calls_per_minute: desk.standing.begun.lock().unwrap_or_else(PoisonError::into_inner).sum(now),
        drain,
        before: desk.between.before().map(|before| ShownBefore::of(before, desk.between.calls_there())),
        policy_set: (*desk.standing.policies.lock().unwrap_or_else(PoisonError::into_inner)).max(1),
        not_in_force: desk.standing.not_in_force.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        refused_reload: desk.standing.refused(),
        peer_table: desk.resolver.tables().borrow().number,
        peer_table_seconds: now.since(*desk.standing.peers.lock().unwrap_or_else(PoisonError::into_inner)).as_secs(),
        certificates: desk.rotation.store().generation(),
        names_settled: desk.resolver.is_settled(),
        records: desk.outlets.recording.places(),
        writing: writing::places(&desk.audit, desk.missed_calls.as_ref(), &desk.policy_sets),
        receivers: desk.outlets.receivers(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_forgets_what_is_older() {
        let mut minute = Minute::default();
        for second in [1, 1, 30, 59] {
            minute.add(Time::from_millis(second * 1000 + 5));
        }
        assert_eq!(minute.sum(Time::from_millis(60_000)), 4);
        assert_eq!(minute.sum(Time::from_millis(61_500)), 2);
        minute.add(Time::from_millis(61_500));
        assert_eq!(minute.sum(Time::from_millis(62_000)), 3);
        assert_eq!(minute.sum(Time::from_millis(600_000)), 0);
    }
}
