//! How many calls there may be and how many there are: in all, of each peer, of each dial plan; and what the border itself can carry just now (RFC 6357).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::calls::Up;
use super::{Behind, Desk};
use crate::app::vitals::head;
use crate::policy::admission::CallLimits;
use crate::policy::settings::PolicySet;
use crate::signaling::event::Measured;
use crate::signaling::fact::{CallId, Fact, What};

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(limits))
}

/// The limits in force, and what was measured last.
pub struct Limits {
    policy: ArcSwap<PolicySet>,
    occupied: AtomicU16,
    memory: AtomicU64,
    /// Zero: nothing is granted, so nothing is limited.
    granted: AtomicU64,
    holds_back: AtomicBool,
}

impl Limits {
    pub fn new(policy: Arc<PolicySet>) -> Limits {
        Limits {
            policy: ArcSwap::new(policy),
            occupied: AtomicU16::new(0),
            memory: AtomicU64::new(0),
            granted: AtomicU64::new(0),
            holds_back: AtomicBool::new(false),
        }
    }

    pub fn take(&self, policy: Arc<PolicySet>) {
        self.policy.store(policy);
    }

    pub fn measured(&self, measured: &Measured) {
        self.occupied.store(measured.occupied, Ordering::Relaxed);
        self.memory.store(measured.memory, Ordering::Relaxed);
        self.granted.store(measured.memory_granted.unwrap_or_default(), Ordering::Relaxed);
    }

    pub fn note(&self, fact: &Fact) {
        match &fact.what {
            What::Overloaded { .. } => self.holds_back.store(true, Ordering::Relaxed),
            What::Relieved { .. } => self.holds_back.store(false, Ordering::Relaxed),
            _ => {}
        }
    }

    /// In Prometheus' text exposition.
    pub fn exposition(&self) -> String {
        let share = f64::from(self.occupied.load(Ordering::Relaxed)) / 1000.0;
        let name = "portcullis_signaling_occupancy_ratio";
        head(name, "gauge", "How much of its thread's time signalling took in the last tenth of a second") + &format!("{name} {share}\n")
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = LimitsShown)]
struct Shown {
    total: Budget,
    /// What holds of each peer that has no limits of its own.
    every_peer: Allowed,
    /// Every peer with calls, and every one with limits of its own.
    peers: Vec<Budget>,
    /// Likewise.
    dial_plans: Vec<Budget>,
    occupancy: Occupancy,
    memory: Memory,
    /// New calls, or a share of them, are refused for occupancy or memory just now.
    holds_back: bool,
}

#[derive(Serialize, ToSchema)]
struct Allowed {
    /// Calls at once; null: no limit.
    calls: Option<u32>,
    /// New calls a second; null: no limit.
    rate: Option<u32>,
}

#[derive(Serialize, ToSchema)]
struct Budget {
    /// Of the peer or the dial plan; null for all together.
    name: Option<String>,
    /// Calls up or being set up that it has begun.
    calls: u32,
    limits: Allowed,
}

#[derive(Serialize, ToSchema)]
struct Occupancy {
    /// Of its thread's time, what signalling took last.
    percent: f64,
    /// Above it new calls are held back; null: never.
    ceiling_percent: Option<f64>,
}

#[derive(Serialize, ToSchema)]
struct Memory {
    /// Held by the process.
    bytes: u64,
    /// From there on new calls are held back; null: never.
    ceiling_bytes: Option<u64>,
}

/// Limits on calls, how much of each is used, and whether the border holds calls back by itself.
#[utoipa::path(get, path = "/v1/limits", tag = "border", responses((status = 200, body = Shown)))]
async fn limits(State(desk): Behind) -> Json<Shown> {
    let set = desk.limits.policy.load_full();
    let (mut peers, mut plans) = (BTreeMap::<Arc<str>, u32>::new(), BTreeMap::<Arc<str>, u32>::new());
    let mut total = 0;
    desk.calls.each(|_: CallId, up: &Up| {
        let Some(plan) = &up.admitted else { return };
        total += 1;
        *peers.entry(Arc::clone(&up.begun_by)).or_default() += 1;
        if let Some(plan) = plan {
            *plans.entry(Arc::clone(plan)).or_default() += 1;
        }
    });
    let of = |limits: CallLimits| Allowed { calls: limits.calls, rate: limits.rate };
    for peer in set.peers.iter().filter(|peer| peer.limits.is_any()) {
        peers.entry(Arc::clone(&peer.name)).or_default();
    }
    for plan in set.dial_plans.iter().filter(|plan| plan.limits.is_any()) {
        plans.entry(Arc::clone(&plan.name)).or_default();
    }
    let everyone = CallLimits { calls: set.admission.calls_per_peer, rate: set.admission.rate_per_peer };
    let of_peer = |name: &str| {
        let own = set.peer(name).map(|peer| peer.limits).unwrap_or_default();
        CallLimits { calls: own.calls.or(everyone.calls), rate: own.rate.or(everyone.rate) }
    };
    let of_plan = |name: &str| set.dial_plan(name).map(|plan| plan.limits).unwrap_or_default();
    let granted = desk.limits.granted.load(Ordering::Relaxed);
    Json(Shown {
        total: Budget { name: None, calls: total, limits: of(CallLimits { calls: set.admission.calls, rate: set.admission.rate }) },
        every_peer: of(everyone),
        peers: peers.into_iter().map(|(name, calls)| Budget { limits: of(of_peer(&name)), name: Some(String::from(&*name)), calls }).collect(),
        dial_plans: plans.into_iter().map(|(name, calls)| Budget { limits: of(of_plan(&name)), name: Some(String::from(&*name)), calls }).collect(),
        occupancy: Occupancy {
            percent: f64::from(desk.limits.occupied.load(Ordering::Relaxed)) / 10.0,
            ceiling_percent: set.admission.occupancy.map(|ceiling| f64::from(ceiling) / 10.0),
        },
        memory: Memory { bytes: desk.limits.memory.load(Ordering::Relaxed), ceiling_bytes: set.admission.memory.or((granted > 0).then_some(granted / 10 * 9)) },
        holds_back: desk.limits.holds_back.load(Ordering::Relaxed),
    })
}
