//! What goes outward on UM's word: `toll.rs`.

use portcullis::policy::toll::{TollCaller, permits};

use super::{Failures, cases, code, set};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct TollCase {
    plan: String,
    number: String,
    verdict: String,
    rule: String,
}

#[test]
fn toll_cases() {
    let mut failures = Failures::default();
    for case in cases::<TollCase>("toll.toml") {
        let plan = set().dial_plan(&case.plan).unwrap();
        for caller in [TollCaller::Outcall, TollCaller::Transfer, TollCaller::Reroute] {
            let decision = permits(set(), plan, caller, &case.number);
            let found = (code(decision.refused).to_string(), decision.rule.to_string());
            failures.expect(&format!("{} {}", case.plan, case.number), found, (case.verdict.clone(), case.rule.clone()));
        }
    }
}
