//! How many calls there may be and how many there are: in all, of each peer, to each peer, of each dial plan; and what the border itself can carry just now (RFC 6357).

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

use super::calls::{Calls, Up};
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
    calls: Calls,
    occupied: AtomicU16,
    memory: AtomicU64,
    /// Zero: nothing is granted, so nothing is limited.
    granted: AtomicU64,
    holds_back: AtomicBool,
}

impl Limits {
    pub fn new(policy: Arc<PolicySet>, calls: Calls) -> Limits {
        Limits {
            policy: ArcSwap::new(policy),
            calls,
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
        let text = head("portcullis_signaling_occupancy_ratio", "gauge", "How much of its thread's time signalling took in the last tenth of a second");
        text + &format!("portcullis_signaling_occupancy_ratio {share}\n") + &self.exposed_budgets()
    }

    /// Of every limit on calls at once that is written: what it is, and what of it is used.
    fn exposed_budgets(&self) -> String {
        let set = self.policy.load_full();
        let under_way = UnderWay::of(&self.calls);
        let mut lines: Vec<(String, u32, u32)> = Vec::new();
        let mut line = |of: &str, name: &str, used: u32, most: Option<u32>| {
            if let Some(most) = most {
                lines.push((format!("{{of=\"{of}\",name=\"{}\"}}", escaped(name)), used, most));
            }
        };
        line("all", "", under_way.total, set.admission.calls);
        for peer in &set.peers {
            let own = of_peer(&set, &peer.name).calls;
            let calls = under_way.from.get(&peer.name).copied().unwrap_or_default();
            line("peer", &peer.name, calls, own.filter(|_| peer.limits.is_any() || calls > 0));
            line("target", &peer.name, under_way.to.get(&peer.name).copied().unwrap_or_default(), peer.limits_towards.calls);
        }
        for plan in &set.dial_plans {
            line("dial plan", &plan.name, under_way.plans.get(&plan.name).copied().unwrap_or_default(), plan.limits.calls);
        }
        let mut text = head("portcullis_limited_calls", "gauge", "Calls up or being set up that a written limit counts");
        lines.iter().for_each(|(labels, used, _)| text += &format!("portcullis_limited_calls{labels} {used}\n"));
        text += &head("portcullis_limited_calls_most", "gauge", "As many as that limit lets be");
        lines.iter().for_each(|(labels, _, most)| text += &format!("portcullis_limited_calls_most{labels} {most}\n"));
        text + &exposed_rates(&set, &under_way)
    }
}

/// Of every limit on calls a second that is written: what it is. What comes is counted with the facts.
fn exposed_rates(set: &PolicySet, under_way: &UnderWay) -> String {
    let mut text = head("portcullis_limited_rate_most", "gauge", "New calls a second that a written limit lets be");
    let mut line = |of: &str, name: &str, most: Option<u32>| {
        if let Some(most) = most {
            text += &format!("portcullis_limited_rate_most{{of=\"{of}\",name=\"{}\"}} {most}\n", escaped(name));
        }
    };
    line("all", "", set.admission.rate);
    for peer in &set.peers {
        let own = of_peer(set, &peer.name).rate;
        line("peer", &peer.name, own.filter(|_| peer.limits.is_any() || under_way.from.contains_key(&peer.name)));
        line("target", &peer.name, peer.limits_towards.rate);
    }
    set.dial_plans.iter().for_each(|plan| line("dial plan", &plan.name, plan.limits.rate));
    text
}

/// A label's value (Prometheus' text exposition).
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Calls that passed the screening and are not over, as limits count them.
#[derive(Default)]
struct UnderWay {
    total: u32,
    from: BTreeMap<Arc<str>, u32>,
    to: BTreeMap<Arc<str>, u32>,
    plans: BTreeMap<Arc<str>, u32>,
}

impl UnderWay {
    fn of(calls: &Calls) -> UnderWay {
        let mut all = UnderWay::default();
        calls.each(|_: CallId, up: &Up| {
            let Some(plan) = &up.admitted else { return };
            all.total += 1;
            *all.from.entry(Arc::clone(&up.begun_by)).or_default() += 1;
            for peer in up.goes_to() {
                *all.to.entry(Arc::clone(peer)).or_default() += 1;
            }
            if let Some(plan) = plan {
                *all.plans.entry(Arc::clone(plan)).or_default() += 1;
            }
        });
        all
    }
}

/// Calls that go to this peer.
pub(super) fn towards(calls: &Calls, peer: &str) -> u32 {
    let mut count = 0;
    calls.each(|_: CallId, up: &Up| count += up.goes_to().filter(|name| ***name == *peer).count() as u32);
    count
}

/// What holds of calls that this peer begins.
fn of_peer(set: &PolicySet, name: &str) -> CallLimits {
    let own = set.peer(name).map(|peer| peer.limits).unwrap_or_default();
    CallLimits { calls: own.calls.or(set.admission.calls_per_peer), rate: own.rate.or(set.admission.rate_per_peer) }
}

#[derive(Serialize, ToSchema)]
#[schema(as = LimitsShown)]
struct Shown {
    total: Budget,
    /// What holds of each peer that has no limits of its own.
    every_peer: Allowed,
    /// Every peer with calls, and every one with limits of its own.
    peers: Vec<Budget>,
    /// Every peer that calls go to, and every one with limits on these.
    targets: Vec<Budget>,
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
    /// Calls up or being set up: that it has begun; of a target, that go there.
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
    let UnderWay { total, from: mut peers, to: mut targets, mut plans } = UnderWay::of(&desk.calls);
    let of = |limits: CallLimits| Allowed { calls: limits.calls, rate: limits.rate };
    for peer in &set.peers {
        if peer.limits.is_any() {
            peers.entry(Arc::clone(&peer.name)).or_default();
        }
        if peer.limits_towards.is_any() {
            targets.entry(Arc::clone(&peer.name)).or_default();
        }
    }
    for plan in set.dial_plans.iter().filter(|plan| plan.limits.is_any()) {
        plans.entry(Arc::clone(&plan.name)).or_default();
    }
    let everyone = CallLimits { calls: set.admission.calls_per_peer, rate: set.admission.rate_per_peer };
    let of_target = |name: &str| set.peer(name).map(|peer| peer.limits_towards).unwrap_or_default();
    let of_plan = |name: &str| set.dial_plan(name).map(|plan| plan.limits).unwrap_or_default();
    let budgets = |calls: BTreeMap<Arc<str>, u32>, limits: &dyn Fn(&str) -> CallLimits| {
        calls.into_iter().map(|(name, calls)| Budget { limits: of(limits(&name)), name: Some(String::from(&*name)), calls }).collect()
    };
    let granted = desk.limits.granted.load(Ordering::Relaxed);
    Json(Shown {
        total: Budget { name: None, calls: total, limits: of(CallLimits { calls: set.admission.calls, rate: set.admission.rate }) },
        every_peer: of(everyone),
        peers: budgets(peers, &|name| of_peer(&set, name)),
        targets: budgets(targets, &of_target),
        dial_plans: budgets(plans, &of_plan),
        occupancy: Occupancy {
            percent: f64::from(desk.limits.occupied.load(Ordering::Relaxed)) / 10.0,
            ceiling_percent: set.admission.occupancy.map(|ceiling| f64::from(ceiling) / 10.0),
        },
        memory: Memory { bytes: desk.limits.memory.load(Ordering::Relaxed), ceiling_bytes: set.admission.memory.or((granted > 0).then_some(granted / 10 * 9)) },
        holds_back: desk.limits.holds_back.load(Ordering::Relaxed),
    })
}
