//! `access_control.rs`, `address_scope.rs`, `admission.rs`, `dial_plan.rs`, `routing.rs` with `liveness.rs`: the questions with a few facts each.

use std::collections::HashMap;
use std::sync::Arc;

use portcullis::policy::address_scope::{self, AddressKind, AddressScope};
use portcullis::policy::admission::{Load, Used, admission};
use portcullis::policy::liveness::{Board, Doubt, Liveness};
use portcullis::policy::settings::{AdmissionLimits, DialPlan, PeerKind, PeerStatus, Refer, UmPool, UriType};
use portcullis::policy::verdict::Reason;
use portcullis::policy::{access_control, dial_plan, routing};
use portcullis::sip::Method;
use portcullis::time::Time;

use super::{Failures, cases, code, peer, set, table};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AccessCase {
    kinds: Vec<PeerKind>,
    #[serde(default)]
    status: PeerStatus,
    methods: Vec<String>,
    /// Verdict of a request without a To tag, and with one.
    outside: String,
    inside: String,
}

#[test]
fn access_control_cases() {
    let mut failures = Failures::default();
    for case in cases::<AccessCase>("access_control.toml") {
        for kind in case.kinds {
            for name in &case.methods {
                let mut peer = (**peer("carrier")).clone();
                (peer.kind, peer.status, peer.refer) = (kind, case.status, Refer::of_kind(kind));
                let method = Method::parse(name).unwrap();
                let verdict = |in_dialog| code(access_control::method(&peer, &method, in_dialog).refused);
                failures.expect(&format!("{name} from {kind:?} ({:?})", case.status), (verdict(false), verdict(true)), (&case.outside, &case.inside));
            }
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeCase {
    kind: AddressKind,
    lets_in: Vec<AddressScope>,
    addresses: Vec<std::net::IpAddr>,
}

#[test]
fn address_scope_cases() {
    let mut failures = Failures::default();
    for case in cases::<ScopeCase>("address_scope.toml") {
        for address in case.addresses {
            let admitting: Vec<AddressScope> =
                [AddressScope::Public, AddressScope::Private, AddressScope::Any].into_iter().filter(|scope| scope.admits(address)).collect();
            failures.expect(&address.to_string(), (address_scope::kind(address), admitting), (case.kind, case.lets_in.clone()));
        }
    }
    let kinds = [PeerKind::Trunk, PeerKind::Gateway, PeerKind::Pbx, PeerKind::UmRouter, PeerKind::UmServer];
    let outside: Vec<PeerKind> = kinds.into_iter().filter(|kind| AddressScope::of_kind(*kind) == AddressScope::Public).collect();
    assert_eq!(outside, [PeerKind::Trunk]);
    assert!(!kinds.iter().any(|kind| AddressScope::of_kind(*kind) == AddressScope::Any), "anything goes only where somebody wrote it");
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct AdmissionCase {
    name: String,
    limits: [i64; 3],
    load: [u32; 3],
    #[serde(default)]
    draining: bool,
    verdict: String,
}

#[test]
fn admission_cases() {
    let mut failures = Failures::default();
    for case in cases::<AdmissionCase>("admission.toml") {
        // -1 stands for no limit.
        let [calls, calls_per_peer, rate] = case.limits.map(|limit| u32::try_from(limit).ok());
        let limits = AdmissionLimits { calls, calls_per_peer, rate, ..AdmissionLimits::default() };
        let [calls, calls_of_peer, rate] = case.load;
        let load = Load { total: Used { calls, rate }, peer: Used { calls: calls_of_peer, rate }, draining: case.draining, ..Load::default() };
        failures.expect(&case.name, code(admission(&limits, super::peer("carrier"), &load).refused), &case.verdict);
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct DialPlanCase {
    uri_type: UriType,
    called: String,
    /// Absent: refused.
    becomes: Option<String>,
}

#[test]
fn dial_plan_cases() {
    let mut failures = Failures::default();
    for case in cases::<DialPlanCase>("dial_plan.toml") {
        let plan = DialPlan { uri_type: case.uri_type, ..DialPlan::clone(&Arc::clone(&set().dial_plans[0])) };
        let (decision, becomes) = dial_plan::called(&plan, &case.called);
        failures.expect(&format!("{:?} {}", case.uri_type, case.called), (decision.refused.is_some(), becomes), (case.becomes.is_none(), case.becomes));
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct RoutingCase {
    name: String,
    /// Of each address of a peer.
    states: HashMap<String, Vec<String>>,
    targets: Vec<String>,
    /// What the decision says of the targets' liveness; absent: nothing.
    compared: Option<String>,
}

fn liveness(word: &str) -> Liveness {
    let (since, why) = (Time::ZERO, Reason::LivenessTimeout);
    match word {
        "up" => Liveness::Up { since },
        "down" => Liveness::Down { since, why },
        "draining" => Liveness::Draining { since, until: since },
        "unknown" => Liveness::Probing(Doubt::NotKnown { failures: 2 }),
        "doubted" => Liveness::Probing(Doubt::Doubted { since, failures: 2, why }),
        "recovering" => Liveness::Probing(Doubt::Recovering { since, answers: 1, damped: None }),
        other => panic!("no such state: {other}"),
    }
}

/// The same for the routers of a pool and the gateways of a plan.
#[test]
fn routing_cases() {
    let names = || ["router", "mbx1", "mbx2", "elsewhere"].map(Into::into).to_vec();
    let plan = &set().dial_plans[0];
    let pool = Arc::new(UmPool { routers: names(), ..UmPool::clone(&plan.um_pool) });
    let plan = DialPlan { um_pool: pool, gateways: names(), ..DialPlan::clone(plan) };
    let mut failures = Failures::default();
    for case in cases::<RoutingCase>("routing.toml") {
        let mut board = Board::default();
        for (peer, states) in &case.states {
            for (index, state) in states.iter().enumerate() {
                board.set(&peer.as_str().into(), ([10, 0, 0, index as u8], 5061).into(), liveness(state));
            }
        }
        for (decision, targets) in [routing::towards_um(&table(), &board, &plan), routing::towards_gateways(&table(), &board, &plan)] {
            let compared = decision.compared.iter().find(|(name, _)| *name == "liveness").map(|(_, value)| value.to_string());
            let targets: Vec<String> = targets.iter().map(|peer| peer.name.to_string()).collect();
            failures.expect(&case.name, (targets, compared), (case.targets.clone(), case.compared.clone()));
        }
    }
}
