//! Where a call goes: from the trunk side to the routers of the plan's UM pool, from the UM side to the plan's gateways.
//!
//! Targets of which no address is known to take calls come last, in the order of [`liveness::Rank`](crate::policy::liveness::Rank): they are tried
//! when nothing else is left, never left out. Among equals the order is the configured one, or, where the pool has weights, one drawn by lot.

use std::sync::Arc;

use crate::policy::liveness::{Board, Rank};
use crate::policy::peer::PeerTable;
use crate::policy::settings::{DialPlan, Peer, PeerStatus, Reroute, UmPool};
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

/// The plan's gateways that take new calls, in the plan's order: where transfers go, which `outcalls` does not govern.
pub fn towards_transfers(table: &PeerTable, liveness: &Board, plan: &DialPlan) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, liveness, &plan.gateways, || format!("gateways of dial plan \"{}\"", plan.name))
}

/// The gateways of the plan's reroute that take new calls, in its order.
pub fn towards_pstn(table: &PeerTable, liveness: &Board, plan: &DialPlan, reroute: &Reroute) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, liveness, &reroute.gateways, || format!("reroute of dial plan \"{}\"", plan.name))
}

/// Puts the targets of a pool with weights in an order drawn by lot: among those of equal rank each comes first as often as its weight says, the
/// next likewise among the rest; those without a weight stand by, after them, in the pool's order. The same `lot` draws the same order. `None`: the
/// pool has no weights, or none of its routers is among the targets.
pub fn draw(pool: &UmPool, rank: impl Fn(&Peer) -> Rank, targets: &[Arc<Peer>], lot: u64) -> Option<(Decision, Vec<Arc<Peer>>)> {
    let weight = |peer: &Arc<Peer>| pool.weights.iter().find(|(name, _)| *name == peer.name).map_or(0, |(_, weight)| *weight);
    if targets.iter().all(|target| weight(target) == 0) {
        return None;
    }
    let mut left = targets.to_vec();
    let mut order: Vec<Arc<Peer>> = Vec::with_capacity(left.len());
    let mut lot = lot;
    while let Some(best) = left.iter().map(|target| rank(target)).min() {
        let equals: Vec<usize> = left.iter().enumerate().filter(|(_, target)| rank(target) == best).map(|(index, _)| index).collect();
        let total: u64 = equals.iter().filter_map(|index| left.get(*index)).map(|target| u64::from(weight(target))).sum();
        // SplitMix64: each draw of one lot is independent of the others.
        lot = lot.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (lot ^ (lot >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let mut point = (mixed ^ (mixed >> 31)).checked_rem(total).unwrap_or(0);
        let drawn = equals.iter().copied().find(|index| {
            let weight = left.get(*index).map_or(0, |target| u64::from(weight(target)));
            let hit = point < weight;
            point = point.saturating_sub(weight);
            hit
        });
        let index = drawn.or(equals.first().copied())?;
        order.push(left.remove(index));
    }
    let weights: Vec<String> = order.iter().map(|target| format!("{} {}", target.name, weight(target))).collect();
    let decision = Decision::passed("routing", format!("weights of UM pool \"{}\"", pool.name)).comparing("drawn", weights.join(", "));
    Some((decision, order))
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
