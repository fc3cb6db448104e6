//! Message waiting: UM's NOTIFY outside any dialog, told to the gateway of the mailbox, and answered with what the gateway answered.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::number_pattern::NumberPattern;
use portcullis::policy::numbering::NumberRule;
use portcullis::policy::settings::{DialPlan, Peer, PeerHost, PeerKind, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Event, LocateError, TransportError};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Lab, Party, Scene, Sent, established, hang_up, peer_table, policy_set};

/// The trunk, and the second call router turned into a PBX, both told of waiting messages.
fn set(scene: &Scene, change: impl Fn(&mut Peer)) -> PolicySet {
    let mut set = policy_set(scene);
    for peer in &mut set.peers {
        let peer = Arc::make_mut(peer);
        if &*peer.name == "spare" {
            peer.kind = PeerKind::Pbx;
        }
        peer.mwi = matches!(&*peer.name, "spare" | "trunk");
        change(peer);
    }
    for plan in &mut set.dial_plans {
        let gateways = vec!["spare".into(), "trunk".into()];
        *plan = Arc::new(DialPlan { gateways, ..DialPlan::clone(plan) });
    }
    set
}

fn lab_with(scene: &Scene, change: impl Fn(&mut Peer)) -> Lab {
    let mut lab = Lab::new(scene.clone());
    let set = Arc::new(set(scene, change));
    lab.handle(Event::Policies(set.clone(), lab.settings.clone()));
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
    lab
}

fn lab() -> Lab {
    lab_with(&Scene::default(), |_| {})
}

const EXCHANGE: &str = "Messages-Waiting: yes\nMessage-Account: sip:2001@um1.corp.example\nVoice-Message: 1/0 (0/0)\nX-Server: mbx1.corp.example\n";

/// As Exchange writes it, header names in upper case.
fn notify_of(lab: &mut Lab, party: Party, uri: &str, headers: &str, body: &str) {
    let branch = lab.branch();
    let (address, transport) = (party.address(), lab.transport);
    lab.receive(
        party,
        &format!(
            "NOTIFY {uri} SIP/2.0\nVIA: SIP/2.0/{} {address}:5062;branch={branch}\nMAX-FORWARDS: 70\n\
             FROM: <sip:um1.corp.example:5065;transport=Tcp;ms-opaque=f1e2d3>;tag={branch};epid=1\nTO: <{uri}>\nCALL-ID: mwi-{branch}\nCSEQ: 22 NOTIFY\n\
             CONTACT: <sip:um1.corp.example:5065;transport=Tcp;ms-opaque=f1e2d3>\nUSER-AGENT: RTCC/3.5.0.0 MSExchangeUM/14.01.0218.012\n{headers}\n{body}",
            transport.via_token()
        ),
    );
}

const HEADERS: &str = "EVENT: message-summary\nSUBSCRIPTION-STATE: terminated\nCONTENT-TYPE: application/simple-message-summary\n";

fn notify(lab: &mut Lab) {
    notify_of(lab, Party::Server, "sip:2001@192.0.2.1:5060;User=phone", HEADERS, EXCHANGE);
}

/// What was told of the last notice: to whom, the status, the reason.
fn told(lab: &Lab) -> (Option<String>, u16, Reason) {
    let last = lab.facts.iter().rev().find_map(|fact| match &fact.what {
        What::MessageWaiting { gateway, status, reason, .. } => Some((gateway.as_ref().map(ToString::to_string), *status, *reason)),
        _ => None,
    });
    last.expect("a fact about it")
}

fn told_notify(lab: &mut Lab, party: Party) -> Sent {
    lab.request_to(party, Method::Notify)
}

#[test]
fn a_notice_is_told_to_the_gateway_and_its_answer_to_um() {
    for scene in Scene::everywhere() {
        for status in [200, 202] {
            let mut lab = lab_with(&scene, |_| {});
            notify(&mut lab);
            lab.nothing_to(Party::Server);
            let told_pbx = told_notify(&mut lab, Party::Spare);
            let text = told_pbx.text();
            assert!(told_pbx.message.request_uri().is_some_and(|uri| uri.starts_with("sip:2001@198.51.100.21")), "{text}");
            assert_eq!(told_pbx.header(HeaderName::Event), "message-summary");
            assert_eq!(told_pbx.header(HeaderName::SubscriptionState), "terminated");
            assert_eq!(told_pbx.sdp(), "Messages-Waiting: yes\r\nMessage-Account: sip:2001@198.51.100.21\r\nVoice-Message: 1/0 (0/0)\r\n");
            for secret in ["corp.example", "ms-opaque", "RTCC", "X-Server", "epid", "198.51.100.30"] {
                assert!(!text.contains(secret), "{secret} crossed\n{text}");
            }
            lab.answer(Party::Spare, &told_pbx, status, "pbx", "", "");
            lab.response_to(Party::Server, status);
            lab.nothing_sent();
            assert_eq!(told(&lab), (Some("spare".into()), status, Reason::Answered));
            lab.finish();
        }
    }
}

#[test]
fn a_refusal_goes_back_to_um_and_no_call_feels_it() {
    for (answered, got) in [(405, 405), (481, 481), (404, 404), (489, 489), (500, 500), (401, 480), (302, 500)] {
        let mut lab = lab();
        let (mut caller, callee) = established(&mut lab);
        notify(&mut lab);
        let told_pbx = told_notify(&mut lab, Party::Spare);
        lab.answer(Party::Spare, &told_pbx, answered, "pbx", "", "");
        lab.response_to(Party::Server, got);
        lab.nothing_sent();
        assert_eq!(told(&lab), (Some("spare".into()), answered, Reason::MwiUndelivered));
        hang_up(&mut lab, &mut caller, &callee);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::NormalClearing, "the call went on to its own end");
    }
    assert_eq!(Reason::MwiUndelivered.exchange_events(), [1344]);
}

#[test]
fn the_second_gateway_is_told_when_the_first_cannot_be_reached() {
    for silent in [false, true] {
        let mut lab = lab();
        notify(&mut lab);
        let told_pbx = told_notify(&mut lab, Party::Spare);
        if silent {
            lab.pass(Duration::from_secs(10));
            lab.drain_to(Party::Spare);
        } else {
            lab.answer(Party::Spare, &told_pbx, 503, "pbx", "", "");
        }
        lab.drain_to(Party::Server);
        let told_trunk = told_notify(&mut lab, Party::Trunk);
        lab.answer(Party::Trunk, &told_trunk, 200, "trunk", "", "");
        lab.response_to(Party::Server, 200);
        assert_eq!(told(&lab), (Some("trunk".into()), 200, Reason::Answered));
        lab.finish();
    }
}

#[test]
fn a_refusal_of_the_first_gateway_is_final() {
    let mut lab = lab();
    notify(&mut lab);
    let told_pbx = told_notify(&mut lab, Party::Spare);
    lab.answer(Party::Spare, &told_pbx, 405, "pbx", "", "");
    lab.response_to(Party::Server, 405);
    lab.nothing_to(Party::Trunk);
    lab.finish();
}

#[test]
fn um_is_answered_before_it_gives_up_whatever_the_gateways_do() {
    for broken in [false, true] {
        let mut lab = lab();
        notify(&mut lab);
        if broken {
            for party in [Party::Spare, Party::Trunk] {
                let sent = told_notify(&mut lab, party);
                lab.fails(&sent, TransportError::Socket);
            }
        } else {
            lab.pass(Duration::from_secs(29));
        }
        let answers = lab.drain_to(Party::Server);
        let finals: Vec<u16> = answers.iter().map(Sent::status).filter(|status| *status >= 200).collect();
        assert_eq!(finals, [if broken { 500 } else { 504 }], "{}", lab.ladder());
        assert_eq!(told(&lab).2, Reason::MwiUndelivered);
        lab.sent.clear();
        lab.finish();
    }
}

#[test]
fn the_gateway_that_serves_the_mailbox_is_told() {
    let accounts = |peer: &mut Peer| {
        peer.mwi_accounts = match &*peer.name {
            "spare" => vec![NumberPattern::parse("3*").unwrap()],
            "trunk" => vec![NumberPattern::parse("2001").unwrap()],
            _ => Vec::new(),
        }
    };
    let mut lab = lab_with(&Scene::default(), accounts);
    notify(&mut lab);
    let told_trunk = told_notify(&mut lab, Party::Trunk);
    lab.answer(Party::Trunk, &told_trunk, 200, "trunk", "", "");
    lab.response_to(Party::Server, 200);
    lab.nothing_to(Party::Spare);
    notify_of(&mut lab, Party::Server, "sip:4001@192.0.2.1", HEADERS, EXCHANGE);
    lab.response_to(Party::Server, 404);
    lab.nothing_sent();
    assert_eq!(told(&lab), (None, 404, Reason::MwiNoGateway));
    lab.finish();
}

#[test]
fn a_gateway_without_mwi_is_never_told() {
    let mut lab = lab_with(&Scene::default(), |peer| peer.mwi = false);
    notify(&mut lab);
    lab.response_to(Party::Server, 404);
    lab.nothing_sent();
    lab.finish();
}

#[test]
fn only_um_servers_may_tell_of_waiting_messages() {
    for scene in Scene::everywhere() {
        for party in [Party::Trunk, Party::Router, Party::Spare] {
            let mut lab = lab_with(&scene, |_| {});
            notify_of(&mut lab, party, "sip:2001@192.0.2.1", HEADERS, EXCHANGE);
            let refused = lab.response_to(party, 405);
            assert!(refused.header(HeaderName::Allow).contains("INVITE"));
            lab.nothing_sent();
            lab.finish();
        }
        let mut lab = lab_with(&scene, |_| {});
        notify_of(&mut lab, Party::Stranger, "sip:2001@192.0.2.1", HEADERS, EXCHANGE);
        lab.nothing_sent();
    }
}

#[test]
fn what_is_no_notice_of_waiting_messages_is_refused_with_what_would_be() {
    let mut lab = lab();
    let other = HEADERS.replace("message-summary\nSUB", "refer\nSUB");
    notify_of(&mut lab, Party::Server, "sip:2001@192.0.2.1", &other, EXCHANGE);
    assert!(lab.response_to(Party::Server, 489).text().contains("Allow-Events: message-summary"));
    notify_of(&mut lab, Party::Server, "sip:2001@192.0.2.1", &HEADERS.replace("simple-message-summary", "pidf+xml"), EXCHANGE);
    assert_eq!(lab.response_to(Party::Server, 415).header(HeaderName::Accept), "application/simple-message-summary");
    for broken in ["", "Messages-Waiting: perhaps\n", "Voice-Message: 1/0\n"] {
        notify_of(&mut lab, Party::Server, "sip:2001@192.0.2.1", HEADERS, broken);
        lab.response_to(Party::Server, 400);
    }
    notify_of(&mut lab, Party::Server, "sip:192.0.2.1", HEADERS, EXCHANGE);
    lab.response_to(Party::Server, 400);
    lab.nothing_sent();
    lab.finish();
}

#[test]
fn a_flood_of_notices_is_bounded() {
    let mut lab = lab();
    for _ in 0..300 {
        notify(&mut lab);
    }
    let refused = lab.drain_to(Party::Server);
    assert_eq!(refused.len(), 100, "200 are taken in a second");
    assert!(refused.iter().all(|sent| sent.status() == 480 && sent.header(HeaderName::RetryAfter).is_empty()), "nothing that would have UM shun us");
    assert_eq!(lab.drain_to(Party::Spare).len(), 200);
    assert_eq!(lab.core.holdings().errands, 200);
    lab.pass(Duration::from_secs(1));
    lab.sent.clear();
    notify(&mut lab);
    assert_eq!(lab.drain_to(Party::Spare).iter().filter(|sent| sent.message.method() == Some(&Method::Notify)).count(), 1, "the next second has its own");
    lab.sent.clear();
    lab.finish();
}

#[test]
fn a_notice_under_a_plans_mode_is_refused() {
    // The server is a peer without a mode of its own; the plan is Secured, so what comes without mutual TLS is not believed.
    let scene = Scene::secured();
    let mut lab = lab_with(&scene, |_| {});
    let mut flow = (*lab.flow(Party::Server)).clone();
    flow.tls = None;
    let before = lab.facts.len();
    let text = "NOTIFY sip:2001@192.0.2.1 SIP/2.0\nVia: SIP/2.0/TLS 198.51.100.30:5061;branch=z9hG4bKclear\nMax-Forwards: 70\nFrom: <sip:um>;tag=1\n\
                To: <sip:2001@192.0.2.1>\nCall-ID: clear\nCSeq: 1 NOTIFY\nEvent: message-summary\nContent-Type: application/simple-message-summary\n\nMessages-Waiting: yes\n";
    lab.handle(Event::Received { flow: Arc::new(flow), bytes: crate::lab::wire(text) });
    lab.nothing_to(Party::Spare);
    lab.nothing_to(Party::Trunk);
    assert!(lab.facts.len() > before, "and it is told");
}

#[test]
fn the_gateway_is_told_under_the_number_it_is_called_by() {
    let rules = vec![NumberRule { prefix: "2".into(), prepend: "7".into(), ..NumberRule::default() }];
    let mut lab = Lab::with(Scene::default(), |all| {
        *all = set(&Scene::default(), |_| {});
        for plan in &mut all.dial_plans {
            Arc::make_mut(plan).numbering.outward = rules.clone();
        }
    });
    notify(&mut lab);
    let told_pbx = told_notify(&mut lab, Party::Spare);
    assert!(told_pbx.message.request_uri().is_some_and(|uri| uri.starts_with("sip:72001@198.51.100.21")), "{}", told_pbx.text());
    assert!(told_pbx.header(HeaderName::To).contains("sip:72001@"), "{}", told_pbx.text());
    assert!(told_pbx.sdp().contains("Message-Account: sip:72001@198.51.100.21\r\n"), "{}", told_pbx.sdp());
    lab.answer(Party::Spare, &told_pbx, 200, "pbx", "", "");
    lab.response_to(Party::Server, 200);
    lab.finish();
}

#[test]
fn a_gateway_whose_name_is_not_to_be_had_leaves_no_timer_behind() {
    let mut lab = lab_with(&Scene::default(), |peer| {
        if &*peer.name == "spare" {
            peer.hosts = vec![PeerHost::Name("spare.test".into())];
        }
        peer.mwi = &*peer.name == "spare";
    });
    notify(&mut lab);
    let (id, query) = lab.locates.pop().expect("its name is asked for");
    assert_eq!(&*query.host, "spare.test");
    lab.handle(Event::Located { id, targets: Err(LocateError::NotFound) });
    lab.response_to(Party::Server, 500);
    assert_eq!((lab.core.holdings().timers, lab.core.holdings().errands, lab.core.holdings().locates), (0, 0, 0));
    lab.finish();
}
