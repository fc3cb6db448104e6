//! `access_control.rs`, `admission.rs`, `dial_plan.rs`: the questions with a few facts each.

use std::sync::Arc;

use portcullis::policy::admission::{Load, admission};
use portcullis::policy::settings::{AdmissionLimits, DialPlan, PeerKind, PeerStatus, UriType};
use portcullis::policy::{access_control, dial_plan};
use portcullis::sip::Method;

use super::{Failures, cases, code, peer, set};

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
                (peer.kind, peer.status) = (kind, case.status);
                let method = Method::parse(name).unwrap();
                let verdict = |in_dialog| code(access_control::method(&peer, &method, in_dialog).refused);
                failures.expect(&format!("{name} from {kind:?} ({:?})", case.status), (verdict(false), verdict(true)), (&case.outside, &case.inside));
            }
        }
    }
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
        let limits = AdmissionLimits { calls, calls_per_peer, rate };
        let load = Load { calls: case.load[0], calls_of_peer: case.load[1], rate: case.load[2], draining: case.draining };
        failures.expect(&case.name, code(admission(&limits, load).refused), &case.verdict);
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
