//! Where a call goes: from the trunk side to the routers of the plan's UM pool, from the UM side to the plan's gateways.
//!
//! Targets of which no address is known to take calls come last, in the order of [`liveness::Rank`](crate::policy::liveness::Rank): they are tried
//! when nothing else is left, never left out. Among equals the order is the configured one.

use std::sync::Arc;

use crate::policy::liveness::Board;
use crate::policy::peer::PeerTable;
use crate::policy::settings::{DialPlan, Peer, PeerStatus, Reroute};
use crate::policy::verdict::{Decision, Reason};

/// The UM pool's routers that take new calls, in the pool's order.
pub fn towards_um(table: &PeerTable, liveness: &Board, plan: &DialPlan) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, liveness, &plan.um_pool.routers, || format!("UM pool \"{}\"", plan.um_pool.name))
}

/// The plan's gateways that take new calls and have `outcalls`, in the plan's order: where UM's own calls go.
pub fn towards_gateways(table: &PeerTable, liveness: &Board, plan: &DialPlan) -> (Decision, Vec<Arc<Peer>>) {
    let barred = |name: &&Arc<str>| table.peer(name).is_some_and(|peer| !peer.outcalls);
    let without: Vec<&str> = plan.gateways.iter().filter(barred).map(|name| &**name).collect();
    let names: Vec<Arc<str>> = plan.gateways.iter().filter(|name| !barred(name)).cloned().collect();
    let rule = || format!("gateways of dial plan \"{}\"", plan.name);
    if names.is_empty() && !without.is_empty() {
        return (Decision::refused("routing", rule(), Reason::OutcallsRefused).comparing("outcalls = false", without.join(", ")), Vec::new());
    }
    let (decision, targets) = choose(table, liveness, &names, rule);
    (if without.is_empty() { decision } else { decision.comparing("outcalls = false", without.join(", ")) }, targets)
}

/// The gateways of the plan's reroute that take new calls, in its order.
pub fn towards_pstn(table: &PeerTable, liveness: &Board, plan: &DialPlan, reroute: &Reroute) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, liveness, &reroute.gateways, || format!("reroute of dial plan \"{}\"", plan.name))
}

/// A peer that is disabled or takes no new calls gets none from us either.
fn choose(table: &PeerTable, liveness: &Board, names: &[Arc<str>], rule: impl Fn() -> String) -> (Decision, Vec<Arc<Peer>>) {
    let enabled = names.iter().filter_map(|name| table.peer(name)).filter(|peer| peer.status == PeerStatus::Enabled);
    let mut targets: Vec<Arc<Peer>> = enabled.map(Arc::clone).collect();
    if targets.is_empty() {
        let decision = Decision::refused("routing", rule(), Reason::NoRoute).comparing("configured", names.join(", ")).comparing("enabled", "none");
        return (decision, targets);
    }
    targets.sort_by_key(|peer| liveness.of(&peer.name).rank());
    let list: Vec<&str> = targets.iter().map(|peer| &*peer.name).collect();
    let decision = Decision::passed("routing", rule()).comparing("targets", list.join(", "));
    let states = liveness.compared(list);
    (if states.is_empty() { decision } else { decision.comparing("liveness", states) }, targets)
}
