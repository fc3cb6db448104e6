//! Call and rate budgets: whether there is room for one more call. Refusals are 503 with the border's Retry-After (RFC 3261 §21.5.4).
//!
//! Asked in this order: a graceful stop, all calls, this peer's calls, the rate. Zero admits none, absent means no limit.

use crate::policy::settings::AdmissionLimits;
use crate::policy::verdict::{Decision, Reason};

/// How loaded the border is, as the core counts it before the call in question.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    pub calls: u32,
    pub calls_of_peer: u32,
    /// New calls admitted in the last second.
    pub rate: u32,
    pub draining: bool,
}

pub fn admission(limits: &AdmissionLimits, load: Load) -> Decision {
    if load.draining {
        return Decision::refused("admission", "graceful stop", Reason::Draining);
    }
    let budgets = [
        ("calls", limits.calls, load.calls, Reason::CallLimit),
        ("calls-per-peer", limits.calls_per_peer, load.calls_of_peer, Reason::PeerCallLimit),
        ("rate", limits.rate, load.rate, Reason::RateLimit),
    ];
    match budgets.into_iter().find(|(_, limit, used, _)| limit.is_some_and(|limit| *used >= limit)) {
        Some((budget, limit, used, reason)) => {
            Decision::refused("admission", budget, reason).comparing("used", used.to_string()).comparing("limit", limit.unwrap_or_default().to_string())
        }
        None => Decision::passed("admission", "within every budget"),
    }
}
