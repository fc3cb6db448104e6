//! `redirection.rs`: which 3xx Contacts are followed.

use portcullis::policy::redirection::{Redirect, Tried, follow};
use portcullis::policy::security_mode::leg_plan;
use portcullis::policy::settings::SecurityMode;
use portcullis::sip::Transport;

use super::{Failures, cases, code, message, peer, set, table};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default = "main_pool")]
    pool: String,
    #[serde(default = "tls")]
    transport: Transport,
    #[serde(default = "moved")]
    status: u16,
    #[serde(default)]
    depth: u8,
    /// `host port transport` each.
    #[serde(default)]
    tried: Vec<(String, u16, Transport)>,
    contacts: Vec<String>,
    verdict: String,
    /// `peer host port transport addresses [names] uri` of each, in order.
    #[serde(default)]
    next: Vec<String>,
}

fn main_pool() -> String {
    "main".into()
}

const fn tls() -> Transport {
    Transport::Tls
}

const fn moved() -> u16 {
    302
}

#[test]
fn redirection_cases() {
    let (set, table) = (set(), table());
    let mut failures = Failures::default();
    for case in cases::<Case>("redirection.toml") {
        let pool = set.um_pools.iter().find(|pool| *pool.name == *case.pool).unwrap();
        let mode = if case.transport == Transport::Tls { SecurityMode::Secured } else { SecurityMode::Unsecured };
        let plan = leg_plan(mode, peer(if case.transport == Transport::Tls { "router" } else { "lab-um" }));
        let tried: Vec<Tried> = case.tried.iter().map(|(host, port, transport)| Tried::new(host, *port, *transport)).collect();
        let contacts: String = case.contacts.iter().map(|contact| format!("Contact: {contact}\n")).collect();
        let response = message(&format!(
            "SIP/2.0 {} Moved\nVia: SIP/2.0/TLS sbc.example.com;branch=z9hG4bK1\nFrom: <sip:a@b>;tag=1\nTo: <sip:c@d>;tag=2\nCall-ID: 1\nCSeq: 1 INVITE\n{contacts}Content-Length: 0\n\n",
            case.status
        ));
        let redirect =
            Redirect { table: &table, pool, plan: &plan, transport: case.transport, tried: &tried, depth: case.depth, called: "5000", response: &response };
        let followed = follow(redirect);
        assert!(!followed.trail.is_empty(), "{}: something decided", case.name);
        failures.expect(&case.name, code(followed.outcome.as_ref().err().copied()), &case.verdict);
        let next: Vec<String> = followed
            .outcome
            .iter()
            .flatten()
            .map(|next| {
                let names: Vec<&str> = next.tls_names.iter().map(|name| &**name).collect();
                format!("{} {} {} {} {:?} {} {}", next.peer.name, next.host, next.port, next.transport, next.addresses, names.join(","), next.uri)
            })
            .collect();
        failures.expect(&case.name, next, case.next);
    }
}
