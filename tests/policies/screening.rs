//! `screening.rs`, with `hunt_group.rs`, `routing.rs` and `security_mode.rs`: an INVITE from the door to its targets.

use portcullis::policy::admission::Used;
use portcullis::policy::liveness::Board;
use portcullis::policy::screening::{Load, Question, screen};
use portcullis::policy::security_mode::mode_name;
use portcullis::sdp::Description;

use super::door::flow;
use super::{Failures, cases, message, peer, set, table};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    peer: String,
    request_uri: String,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    from: Option<String>,
    /// Profile of the offered audio stream; absent: no offer.
    offer: Option<String>,
    #[serde(default)]
    keys: bool,
    /// Calls already up.
    #[serde(default)]
    calls: u32,
    /// `passed` or the reason code of the last decision.
    verdict: String,
    /// The stage of the last decision.
    stage: String,
    plan: Option<String>,
    called: Option<String>,
    targets: Option<Vec<String>>,
    /// Modes of the A and the B leg.
    legs: Option<[String; 2]>,
}

fn address_of(peer: &str) -> String {
    table().addresses(peer).first().map_or_else(|| if peer == "branch-7" { "10.8.7.1" } else { "10.8.0.1" }.to_string(), ToString::to_string)
}

#[test]
fn screening_cases() {
    let (set, table) = (set(), table());
    let mut failures = Failures::default();
    for case in cases::<Case>("screening.toml") {
        let peer = peer(&case.peer);
        let names: Vec<String> = peer.tls_names.iter().take(1).map(ToString::to_string).collect();
        let flow = flow(&address_of(&case.peer), peer.transport, &names, None);
        let to = case.to.as_deref().unwrap_or(&case.request_uri);
        let from = case.from.as_deref().unwrap_or("sip:+15550001@caller.example");
        let invite = message(&format!(
            "INVITE {} SIP/2.0\nVia: SIP/2.0/TLS 198.51.100.1;branch=z9hG4bK1\nFrom: <{from}>;tag=1\nTo: <{to}>\nCall-ID: 1\nCSeq: 1 INVITE\nContent-Length: 0\n\n",
            case.request_uri
        ));
        let keys = if case.keys { "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n" } else { "" };
        let offer = case.offer.as_ref().map(|profile| {
            let text = format!("v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\nm=audio 4000 {profile} 0\r\n{keys}");
            Description::parse(text.as_bytes()).unwrap()
        });
        let load = Load { total: Used { calls: case.calls, rate: 0 }, ..Load::default() };
        let screening =
            screen(Question { set, table: &table, liveness: &Board::default(), load: &load, flow: &flow, peer, invite: &invite, offer: offer.as_ref() });
        let last = screening.trail.last().unwrap();
        let refused = screening.outcome.as_ref().err().copied();
        failures.expect(&case.name, (super::code(refused), last.stage), (&case.verdict, &case.stage));
        assert_eq!(last.refused, refused, "{}: the last decision is the one that decided", case.name);
        let Ok(admitted) = screening.outcome else { continue };
        failures.expect(&case.name, admitted.plan.as_ref().map(|plan| plan.name.to_string()), case.plan);
        failures.expect(&case.name, Some(admitted.called.clone()), case.called);
        failures.expect(&case.name, Some(admitted.targets.iter().map(|peer| peer.name.to_string()).collect()), case.targets);
        failures.expect(&case.name, Some([mode_name(admitted.a.mode()).into(), mode_name(admitted.b.mode()).into()]), case.legs);
        assert_eq!(admitted.b, admitted.b_leg(&admitted.targets[0]));
        assert!(admitted.targets.iter().all(|target| admitted.b_leg(target).permits(target.transport)), "{}", case.name);
    }
}

#[test]
fn hunt_group_of_a_tel_uri_with_local_context() {
    let (set, table) = (set(), table());
    let peer = peer("carrier");
    let flow = flow("198.51.100.1", peer.transport, &[peer.tls_names[0].to_string()], None);
    let invite = message("INVITE tel:5550100;phone-context=+1425 SIP/2.0\nFrom: <sip:+14255550123@b>;tag=1\nTo: <sip:other@x>\nCall-ID: 1\nCSeq: 1 INVITE\n\n");
    let screening =
        screen(Question { set, table: &table, liveness: &Board::default(), load: &Load::default(), flow: &flow, peer, invite: &invite, offer: None });
    let admitted = screening.outcome.unwrap();
    assert_eq!((admitted.plan.unwrap().name.to_string(), admitted.called), ("world".to_string(), "+14255550100".to_string()));
}
