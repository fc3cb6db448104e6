//! `topology_hiding.rs`, `diversion.rs`, `identity.rs`: what crosses, and in what form.

use std::sync::Arc;

use portcullis::policy::diversion::{Cause487, DiversionPolicy, Form, Keep, Unfit};
use portcullis::policy::settings::{UmPool, UriType};
use portcullis::policy::topology_hiding::{self, Crossing, carry, from_value};

use super::{Failures, cases, message, peer, set};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    from: String,
    to: String,
    /// The plan's URI type; absent: extension.
    plan: Option<UriType>,
    #[serde(default = "invite")]
    start: String,
    headers: Vec<String>,
    carried: Vec<String>,
    /// The From value of the other leg, where it is asked about.
    from_value: Option<String>,
    /// Of the UM pool; absent: as the pool has it without a word.
    diversion: Option<Diversion>,
    #[serde(default)]
    auto_attendants: Vec<Arc<str>>,
}

/// As `diversion` of a UM pool is written.
#[derive(serde::Deserialize, Clone, Copy)]
#[serde(deny_unknown_fields)]
struct Diversion {
    keep: Option<Keep>,
    form: Option<Form>,
    drop_attendants: Option<bool>,
    cause_487: Option<Cause487>,
    unfit: Option<Unfit>,
}

impl Diversion {
    fn policy(self) -> DiversionPolicy {
        let default = DiversionPolicy::default();
        DiversionPolicy {
            keep: self.keep.unwrap_or(default.keep),
            form: self.form.unwrap_or(default.form),
            drop_attendants: self.drop_attendants.unwrap_or(default.drop_attendants),
            cause_487: self.cause_487.unwrap_or(default.cause_487),
            unfit: self.unfit.unwrap_or(default.unfit),
        }
    }
}

fn invite() -> String {
    "INVITE sip:5000@sbc.example.com SIP/2.0".into()
}

fn run(file: &str) {
    let mut failures = Failures::default();
    for case in cases::<Case>(file) {
        let mut plan = (*Arc::clone(&set().dial_plans[0])).clone();
        plan.uri_type = case.plan.unwrap_or(UriType::Extension);
        plan.auto_attendants = case.auto_attendants;
        if let Some(diversion) = case.diversion {
            plan.um_pool = Arc::new(UmPool { diversion: diversion.policy(), ..UmPool::clone(&plan.um_pool) });
        }
        let crossing = Crossing { from: peer(&case.from), to: peer(&case.to), ours: "sbc.example.com", plan: Some(&plan), called: "50000" };
        let from = if case.headers.iter().any(|header| header.starts_with("From:")) { "" } else { "From: <sip:+14255550123@carrier.example>;tag=1\n" };
        let text = format!("{}\n{from}To: <sip:5000@sbc.example.com>\nCall-ID: 1\nCSeq: 1 INVITE\n{}\n\n", case.start, case.headers.join("\n"));
        let message = message(&text);
        let carried = carry(&crossing, &message);
        let found: Vec<String> = carried.headers.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        failures.expect(&case.name, found, case.carried);
        if let Some(wanted) = case.from_value {
            failures.expect(&case.name, from_value(&crossing, &message, "t1"), wanted);
        }
    }
}

#[test]
fn diversion_cases() {
    run("diversion.toml");
}

#[test]
fn identity_cases() {
    run("identity.toml");
}

#[test]
fn topology_hiding_cases() {
    run("topology_hiding.toml");
}

#[test]
fn targets_are_written_with_brackets_escapes_and_transport() {
    use portcullis::sip::Transport::{Tcp, Tls};
    assert_eq!(topology_hiding::request_uri("5000", "um.example", Some(5061), Tls), "sip:5000@um.example:5061;transport=tls");
    assert_eq!(topology_hiding::request_uri("+1425", "2001:db8::1", None, Tcp), "sip:+1425@[2001:db8::1];transport=tcp");
    assert_eq!(topology_hiding::to_value("a b@c?d;e", "um.example"), "<sip:a%20b%40c%3Fd%3Be@um.example>");
}

#[test]
fn statuses_about_our_own_request_do_not_cross() {
    for (far, near) in [(486, 486), (401, 480), (407, 480), (420, 480), (481, 480), (488, 488), (502, 500), (503, 503), (699, 603), (302, 500)] {
        assert_eq!(topology_hiding::status_across(far), near, "{far}");
    }
}
