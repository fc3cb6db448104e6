//! Where a call goes: from the trunk side to the routers of the plan's UM pool, from the UM side to the plan's gateways.

use std::sync::Arc;

use crate::policy::peer::PeerTable;
use crate::policy::settings::{DialPlan, Peer, PeerStatus};
use crate::policy::verdict::{Decision, Reason};

/// The UM pool's routers that take new calls, in the pool's order.
pub fn towards_um(table: &PeerTable, plan: &DialPlan) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, &plan.um_pool.routers, || format!("UM pool \"{}\"", plan.um_pool.name))
}

/// The plan's gateways that take new calls, in the plan's order.
pub fn towards_gateways(table: &PeerTable, plan: &DialPlan) -> (Decision, Vec<Arc<Peer>>) {
    choose(table, &plan.gateways, || format!("gateways of dial plan \"{}\"", plan.name))
}

/// A peer that is disabled or takes no new calls gets none from us either.
fn choose(table: &PeerTable, names: &[Arc<str>], rule: impl Fn() -> String) -> (Decision, Vec<Arc<Peer>>) {
    let targets: Vec<Arc<Peer>> = names.iter().filter_map(|name| table.peer(name)).filter(|peer| peer.status == PeerStatus::Enabled).map(Arc::clone).collect();
    if targets.is_empty() {
        let decision = Decision::refused("routing", rule(), Reason::NoRoute).comparing("configured", names.join(", ")).comparing("enabled", "none");
        return (decision, targets);
    }
    let list: Vec<&str> = targets.iter().map(|peer| &*peer.name).collect();
    (Decision::passed("routing", rule()).comparing("targets", list.join(", ")), targets)
}
