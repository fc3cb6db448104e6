//! Everything the documents of Exchange and Lync say goes wrong between them and a gateway, and that a policy set shows beforehand. One line each in
//! [`PITFALLS`]; a test provokes each.

mod gateway;
mod number;
mod pool;

use super::Subject;
use crate::config::finding::{At, Warning};

/// One thing that goes wrong: its name, stable, and who looks for it.
pub struct Pitfall {
    pub name: &'static str,
    pub(super) find: fn(&Subject<'_>, &mut Vec<Warning>),
}

pub const PITFALLS: [Pitfall; 28] = [
    Pitfall { name: "gateway-by-address", find: gateway::by_address },
    Pitfall { name: "gateway-names-share-address", find: gateway::names_share_address },
    Pitfall { name: "gateway-port", find: gateway::port },
    Pitfall { name: "certificate-wildcard", find: gateway::certificate_wildcard },
    Pitfall { name: "certificate-case", find: gateway::certificate_case },
    Pitfall { name: "certificate-name", find: gateway::certificate_name },
    Pitfall { name: "certificate-usage", find: gateway::certificate_usage },
    Pitfall { name: "certificate-self-signed", find: gateway::certificate_self_signed },
    Pitfall { name: "address-family", find: gateway::address_family },
    Pitfall { name: "too-many-gateways", find: gateway::too_many },
    Pitfall { name: "name-with-space", find: number::name_with_space },
    Pitfall { name: "hunt-group-name", find: number::hunt_group_name },
    Pitfall { name: "no-hunt-group", find: number::no_hunt_group },
    Pitfall { name: "pilot-missing", find: number::pilot_missing },
    Pitfall { name: "pilot-length", find: number::pilot_length },
    Pitfall { name: "pilot-digits", find: number::pilot_digits },
    Pitfall { name: "pilot-is-uri", find: number::pilot_is_uri },
    Pitfall { name: "number-in-two-plans", find: number::in_two_plans },
    Pitfall { name: "no-diversion", find: number::no_diversion },
    Pitfall { name: "no-outcall-gateway", find: number::no_outcall_gateway },
    Pitfall { name: "outcall-gateways-of-lync", find: number::outcall_gateways_of_lync },
    Pitfall { name: "too-few-redirects", find: pool::too_few_redirects },
    Pitfall { name: "redirects-lead-nowhere", find: pool::redirects_lead_nowhere },
    Pitfall { name: "server-by-address", find: pool::server_by_address },
    Pitfall { name: "server-port", find: pool::server_port },
    Pitfall { name: "start-up-mode", find: pool::start_up_mode },
    Pitfall { name: "media-ports", find: pool::media_ports },
    Pitfall { name: "slow-failover-for-lync", find: pool::slow_failover_for_lync },
];

/// In the order of the table, each with its pitfall's name.
pub fn find(subject: &Subject<'_>) -> Vec<(&'static str, Warning)> {
    let mut all = Vec::new();
    for pitfall in &PITFALLS {
        let mut found = Vec::new();
        (pitfall.find)(subject, &mut found);
        all.extend(found.into_iter().map(|warning| (pitfall.name, warning)));
    }
    all
}

fn finding(at: At, what: impl Into<String>, instead: impl Into<String>) -> Warning {
    Warning { file: at.file, line: at.line, column: at.column, what: what.into(), instead: instead.into() }
}
