//! Call and rate budgets: whether there is room for one more call. Refusals are 503 with the border's Retry-After (RFC 3261 §21.5.4).
//!
//! Asked in this order: a graceful stop, what the border itself can carry just now, all calls, this peer's calls, the rates of both; and once it is known which
//! plan governs the call, that plan's calls and rate. Each target is asked about when its turn comes: one that has as many calls as it may have is passed over for
//! the next. Zero admits none, absent means no limit.

use std::sync::Arc;

use crate::policy::settings::{AdmissionLimits, DialPlan, Peer};
use crate::policy::verdict::{Decision, Reason};

/// How many calls at once, and how many new ones a second, one peer or one plan may have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CallLimits {
    pub calls: Option<u32>,
    pub rate: Option<u32>,
}

impl CallLimits {
    pub fn is_any(&self) -> bool {
        self.calls.is_some() || self.rate.is_some()
    }
}

/// What is under way, before the call in question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    pub calls: u32,
    /// New calls admitted in the running second.
    pub rate: u32,
}

/// How loaded the border is, as the core counts it before the call in question.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Load {
    pub total: Used,
    /// What the peer that calls has begun.
    pub peer: Used,
    /// Of plans that have limits.
    pub plans: Vec<(Arc<str>, Used)>,
    pub draining: bool,
    /// The border cannot carry this call, whatever the budgets say.
    pub pressure: Option<Pressure>,
}

/// Why not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// Signalling takes more of its thread's time than it may, so that a queue grows before it (per mille).
    Occupancy { occupied: u16, ceiling: u16 },
    /// The process holds more memory than it may (bytes).
    Memory { used: u64, ceiling: u64 },
}

impl Pressure {
    pub fn reason(self) -> Reason {
        match self {
            Pressure::Occupancy { .. } => Reason::Occupied,
            Pressure::Memory { .. } => Reason::MemorySpent,
        }
    }

    fn decision(self) -> Decision {
        let (rule, used, limit) = match self {
            Pressure::Occupancy { occupied, ceiling } => ("occupancy", percent(occupied), percent(ceiling)),
            Pressure::Memory { used, ceiling } => ("memory", mebibytes(used), mebibytes(ceiling)),
        };
        Decision::refused("admission", rule, self.reason()).comparing("used", used).comparing("limit", limit)
    }
}

fn percent(per_mille: u16) -> String {
    format!("{}.{} %", per_mille / 10, per_mille % 10)
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// What one rule compares: its name, the limit, what is used of it, and what a call is refused with.
type Budget = (&'static str, Option<u32>, u32, Reason);

pub fn admission(limits: &AdmissionLimits, peer: &Peer, load: &Load) -> Decision {
    if load.draining {
        return Decision::refused("admission", "graceful stop", Reason::Draining);
    }
    if let Some(pressure) = load.pressure {
        return pressure.decision();
    }
    let of_peer = |own: Option<u32>, names: [&'static str; 2], everyones| match own {
        Some(own) => (names[0], Some(own)),
        None => (names[1], everyones),
    };
    let (calls_rule, calls_of_peer) = of_peer(peer.limits.calls, ["calls of the peer", "calls-per-peer"], limits.calls_per_peer);
    let (rate_rule, rate_of_peer) = of_peer(peer.limits.rate, ["rate of the peer", "rate-per-peer"], limits.rate_per_peer);
    let budgets = [
        ("calls", limits.calls, load.total.calls, Reason::CallLimit),
        (calls_rule, calls_of_peer, load.peer.calls, Reason::PeerCallLimit),
        ("rate", limits.rate, load.total.rate, Reason::RateLimit),
        (rate_rule, rate_of_peer, load.peer.rate, Reason::PeerRateLimit),
    ];
    within(&budgets).unwrap_or_else(|| Decision::passed("admission", "within every budget"))
}

/// Whether the plan has room for the call. `None`: the plan has no limits.
pub fn of_plan(plan: &DialPlan, load: &Load) -> Option<Decision> {
    if !plan.limits.is_any() {
        return None;
    }
    let used = load.plans.iter().find(|(name, _)| *name == plan.name).map(|(_, used)| *used).unwrap_or_default();
    let budgets =
        [("calls of the plan", plan.limits.calls, used.calls, Reason::PlanCallLimit), ("rate of the plan", plan.limits.rate, used.rate, Reason::PlanRateLimit)];
    let decision = within(&budgets).unwrap_or_else(|| Decision::passed("admission", "within the budgets of the plan"));
    Some(decision.comparing("dial_plan", String::from(&*plan.name)))
}

/// Why the target gets no more calls just now, by what is under way to it; `None`: it has room.
pub fn of_target(target: &Peer, used: Used) -> Option<Decision> {
    let limits = target.limits_towards;
    let budgets = [
        ("calls_to of the target", limits.calls, used.calls, Reason::TargetCallLimit),
        ("rate_to of the target", limits.rate, used.rate, Reason::TargetRateLimit),
    ];
    within(&budgets).map(|decision| decision.comparing("target", String::from(&*target.name)))
}

/// The refusal of the first budget that is used up.
fn within(budgets: &[Budget]) -> Option<Decision> {
    let (rule, limit, used, reason) = budgets.iter().copied().find(|(_, limit, used, _)| limit.is_some_and(|limit| *used >= limit))?;
    Some(Decision::refused("admission", rule, reason).comparing("used", used.to_string()).comparing("limit", limit.unwrap_or_default().to_string()))
}
