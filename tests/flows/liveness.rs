//! Peers asked for signs of life: what is asked, which answers count, how a state comes about and goes, and how calls follow it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::liveness::{Doubt, Liveness};
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PeerStatus, PolicySet, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::core::{Core, Holdings};
use portcullis::signaling::event::{Action, Command, Event, LocateError, Route, Target, TransportError};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Limits, Message, Method, Transport};
use portcullis::time::Time;

use crate::lab::{Callee, Caller, Lab, Party, Scene, Sent, peer_table, policy_set, refused_certificate, refused_handshake, response_text};

const INTERVAL: Duration = Duration::from_secs(30);
/// Within which every peer of a laboratory has been asked for the first time.
const FIRST: Duration = Duration::from_millis(100);

fn watched(scene: Scene) -> Lab {
    let mut lab = Lab::new(Scene { probe: Some(INTERVAL), ..scene });
    lab.pass(FIRST);
    lab
}

/// Nothing is asked any more: what is left over would be a leak.
fn finish(mut lab: Lab, scene: Scene) {
    let set = policy_set(&Scene { probe: None, ..scene });
    lab.handle(Event::Peers(Arc::new(peer_table(99, &set))));
    lab.sent.clear();
    lab.finish();
}

/// The state last told of a party.
fn told(lab: &Lab, party: Party) -> Option<Liveness> {
    let of = |what: &What| match what {
        What::PeerLiveness { peer, state, .. } if &**peer == party.name() => Some(*state),
        _ => None,
    };
    lab.facts.iter().rev().find_map(|fact| of(&fact.what))
}

fn word(lab: &Lab, party: Party) -> &'static str {
    told(lab, party).map_or("nothing told", Liveness::word)
}

/// Every reason told of a party, in order.
fn reasons(lab: &Lab, party: Party) -> Vec<Reason> {
    let facts = lab.facts.iter().filter_map(|fact| if let What::PeerLiveness { peer, why, .. } = &fact.what { Some((peer, *why)) } else { None });
    facts.filter(|(peer, _)| &***peer == party.name()).map(|(_, why)| why).collect()
}

fn asked(lab: &mut Lab, party: Party) -> Sent {
    lab.request_to_skipping(party, Method::Options)
}

/// Answers the question that was asked, or the next one, and lets nothing pass that was asked of others.
fn answers(lab: &mut Lab, party: Party, status: u16, extra: &str) {
    next_question(lab, party);
    let question = asked(lab, party);
    lab.answer(party, &question, status, "life", extra, "");
}

/// Lets time pass until `party` is asked; all others are well meanwhile.
fn next_question(lab: &mut Lab, party: Party) {
    let end = lab.now + INTERVAL * 12;
    while !lab.sent.iter().any(|sent| sent.to == party && sent.message.method() == Some(&Method::Options)) {
        let next = lab.core.deadline().expect("somebody is to be asked");
        assert!(next <= end, "{party:?} is not asked any more");
        lab.pass(next.since(lab.now));
        all_well_but(lab, party);
    }
}

/// Every other party answers what it is asked.
fn all_well_but(lab: &mut Lab, party: Party) {
    let questions: Vec<Sent> = lab.sent.iter().filter(|sent| sent.to != party && sent.message.method() == Some(&Method::Options)).cloned().collect();
    lab.sent.retain(|sent| sent.to == party || sent.message.method() != Some(&Method::Options));
    for question in questions {
        lab.answer(question.to, &question, 200, "well", "", "");
    }
}

/// `party` is not to be reached until it is known to be down.
fn goes_down(lab: &mut Lab, party: Party) {
    for _ in 0..4 {
        if word(lab, party) == "down" {
            return;
        }
        next_question(lab, party);
        let question = asked(lab, party);
        lab.fails(&question, TransportError::Refused);
    }
    panic!("{party:?} is {:?}", told(lab, party));
}

#[test]
fn a_peer_is_asked_by_a_request_that_says_nothing_of_the_other_side() {
    for scene in Scene::everywhere() {
        let mut lab = watched(scene.clone());
        let question = asked(&mut lab, Party::Router);
        let transport = scene.transport.uri_token();
        let port = if scene.transport == Transport::Tls { 5061 } else { 5060 };
        assert_eq!(question.message.request_uri(), Some(format!("sip:198.51.100.20:{port};transport={transport}").as_str()));
        assert_eq!(question.header(HeaderName::MaxForwards), "70");
        assert_eq!(question.header(HeaderName::CSeq), "1 OPTIONS");
        assert!(question.header(HeaderName::Via).starts_with(&format!("SIP/2.0/{} 192.0.2.1:5060;branch=z9hG4bK", scene.transport.via_token())));
        assert!(question.header(HeaderName::From).starts_with("<sip:192.0.2.1>;tag="), "{}", question.text());
        assert!(question.header(HeaderName::Contact).contains("sip:192.0.2.1:5060"));
        assert!(!question.text().contains("192.0.2.10"), "nothing of the trunk is told to UM");
        match &question.route {
            Route::Connect(connect) => assert_eq!((connect.remote.port(), &*connect.peer, &*connect.names[0]), (port, "router", "router.test")),
            Route::Datagram { remote, .. } => assert_eq!(remote.port(), port),
            route => panic!("{route:?}"),
        }
        asked(&mut lab, Party::Trunk);
        asked(&mut lab, Party::Spare);
        lab.nothing_to(Party::Server);
        finish(lab, scene);
    }
}

/// So what proves the one proves the other: address, certificate, and that the connection stands.
#[test]
fn a_question_and_a_call_share_one_connection() {
    for scene in [Scene::tcp(), Scene::secured()] {
        let mut lab = watched(scene.clone());
        let question = asked(&mut lab, Party::Router);
        lab.sent.clear();
        let (_, _, invite) = called(&mut lab);
        assert_eq!(question.route, invite.route);
        lab.answer(Party::Router, &invite, 486, "busy", "", "");
        finish(lab, scene);
    }
}

#[test]
fn without_probe_nobody_is_asked() {
    let mut lab = Lab::new(Scene::default());
    lab.pass(Duration::from_secs(3600));
    lab.nothing_sent();
    assert_eq!(lab.core.deadline(), None);
}

#[test]
fn which_answers_are_signs_of_life() {
    let scene = Scene::tcp();
    for status in [200, 202, 302, 400, 401, 403, 404, 405, 420, 481, 483, 486, 501, 603] {
        let mut lab = watched(scene.clone());
        answers(&mut lab, Party::Router, status, "");
        assert_eq!(word(&lab, Party::Router), "up", "{status}");
        finish(lab, scene.clone());
    }
    for status in [408, 500, 502, 504] {
        let mut lab = watched(scene.clone());
        answers(&mut lab, Party::Router, status, "");
        assert_eq!(word(&lab, Party::Router), "probing", "{status}");
        for _ in 0..2 {
            answers(&mut lab, Party::Router, status, "");
        }
        assert!(matches!(told(&lab, Party::Router), Some(Liveness::Down { why: Reason::LivenessStatus, .. })), "{status}");
        finish(lab, scene.clone());
    }
}

#[test]
fn a_provisional_answer_alone_is_no_sign_of_life() {
    let mut lab = watched(Scene::tcp());
    let question = asked(&mut lab, Party::Router);
    lab.answer(Party::Router, &question, 100, "", "", "");
    assert_eq!(word(&lab, Party::Router), "probing");
    lab.pass(Duration::from_secs(5));
    let last = lab.facts.iter().rev().find_map(|fact| if let What::Probed { answer, .. } = &fact.what { Some(*answer) } else { None });
    assert_eq!(last, Some(Err(Reason::LivenessTimeout)));
    finish(lab, Scene::tcp());
}

#[test]
fn silence_makes_a_peer_down_within_half_a_minute_and_two_answers_bring_it_back() {
    for scene in Scene::everywhere() {
        let mut lab = watched(scene.clone());
        answers(&mut lab, Party::Router, 200, "");
        assert_eq!(word(&lab, Party::Router), "up");
        next_question(&mut lab, Party::Router);
        let (silent_from, repeated) = (lab.now, scene.transport == Transport::Udp);
        while word(&lab, Party::Router) != "down" {
            lab.pass(Duration::from_millis(100));
            all_well_but(&mut lab, Party::Router);
            assert!(lab.now.since(silent_from) < Duration::from_secs(30), "{:?}", told(&lab, Party::Router));
        }
        let questions = lab.drain_to(Party::Router);
        assert_eq!(questions.len(), if repeated { 3 * 4 } else { 3 }, "three questions, over UDP each repeated until it is given up");
        assert!(matches!(told(&lab, Party::Router), Some(Liveness::Down { why: Reason::LivenessTimeout, .. })));
        answers(&mut lab, Party::Router, 200, "");
        assert_eq!(reasons(&lab, Party::Router).last(), Some(&Reason::LivenessRecovering));
        answers(&mut lab, Party::Router, 200, "");
        assert_eq!(word(&lab, Party::Router), "up");
        finish(lab, scene);
    }
}

#[test]
fn what_keeps_a_peer_from_being_reached_is_told() {
    for (error, why) in [
        (TransportError::Refused, Reason::LivenessUnreachable),
        (TransportError::Closed, Reason::LivenessUnreachable),
        (refused_handshake(), Reason::TlsNothingShared),
        (TransportError::TimedOut, Reason::LivenessTimeout),
        (refused_certificate(), Reason::TlsExpired),
    ] {
        let mut lab = watched(Scene::secured());
        for _ in 0..3 {
            next_question(&mut lab, Party::Router);
            let question = asked(&mut lab, Party::Router);
            lab.fails(&question, error.clone());
        }
        assert!(matches!(told(&lab, Party::Router), Some(Liveness::Down { why: told, .. }) if told == why), "{:?}", told(&lab, Party::Router));
        finish(lab, Scene::secured());
    }
}

#[test]
fn a_peer_that_answers_503_drains_and_is_left_alone_for_as_long_as_it_says() {
    let mut lab = watched(Scene::tcp());
    answers(&mut lab, Party::Router, 200, "");
    answers(&mut lab, Party::Router, 503, "Retry-After: 120\n");
    let until = lab.now + Duration::from_secs(120);
    assert!(matches!(told(&lab, Party::Router), Some(Liveness::Draining { until: told, .. }) if told == until));
    next_question(&mut lab, Party::Router);
    assert!(lab.now >= until && lab.now <= until + Duration::from_secs(24), "{:?} {until:?}", lab.now);
    for _ in 0..8 {
        answers(&mut lab, Party::Router, 503, "Retry-After: 120\n");
        let asked = lab.now;
        next_question(&mut lab, Party::Router);
        assert!(lab.now.since(asked) >= Duration::from_secs(120), "{:?}", lab.now.since(asked));
    }
    answers(&mut lab, Party::Router, 200, "");
    assert_eq!(word(&lab, Party::Router), "up");
    assert_eq!(reasons(&lab, Party::Router), [Reason::LivenessUnknown, Reason::LivenessUp, Reason::LivenessDraining, Reason::LivenessUp]);
    finish(lab, Scene::tcp());
}

#[test]
fn a_peer_that_comes_and_goes_is_held_back_and_that_is_told() {
    let mut lab = watched(Scene::tcp());
    answers(&mut lab, Party::Router, 200, "");
    for _ in 0..2 {
        goes_down(&mut lab, Party::Router);
        while word(&lab, Party::Router) == "down" {
            answers(&mut lab, Party::Router, 200, "");
        }
        if reasons(&lab, Party::Router).last() == Some(&Reason::LivenessRecovering) {
            answers(&mut lab, Party::Router, 200, "");
            assert_eq!(word(&lab, Party::Router), "up");
        }
    }
    assert_eq!(reasons(&lab, Party::Router).last(), Some(&Reason::LivenessDamped));
    let began = lab.now;
    while word(&lab, Party::Router) != "up" {
        answers(&mut lab, Party::Router, 200, "");
    }
    assert!(lab.now.since(began) >= Duration::from_secs(30), "{:?}", lab.now.since(began));
    finish(lab, Scene::tcp());
}

/// What the caller hears of is not of interest here: who gets the INVITE is.
fn called(lab: &mut Lab) -> (Party, Caller, Sent) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, "", &offer);
    let invited = lab.sent.iter().find(|sent| sent.message.method() == Some(&Method::Invite)).map(|sent| sent.to).expect("somebody is called");
    let invite = lab.request_to_skipping(invited, Method::Invite);
    (invited, caller, invite)
}

/// Who gets the INVITE of a call that is then refused.
fn called_in_vain(lab: &mut Lab) -> Party {
    let (party, _, invite) = called(lab);
    lab.answer(party, &invite, 486, "busy", "", "");
    lab.sent.retain(|sent| sent.message.method() == Some(&Method::Options));
    party
}

fn liveness_decisions(lab: &Lab) -> Vec<String> {
    let decided = lab.facts.iter().filter_map(|fact| if let What::Decided(decisions) = &fact.what { Some(decisions) } else { None });
    let compared = decided.flatten().flat_map(|decision| decision.compared.iter().map(move |(name, value)| (decision.stage, *name, value)));
    compared.filter(|(stage, name, _)| *stage == "liveness" || *name == "liveness").map(|(stage, name, value)| format!("{stage} {name}: {value}")).collect()
}

#[test]
fn calls_go_to_the_next_target_while_the_first_is_down_and_back_when_it_is_up() {
    for scene in Scene::everywhere() {
        let scene = scene.with_routers(&["router", "spare"]);
        let mut lab = watched(scene.clone());
        all_well_but(&mut lab, Party::Stranger);
        assert_eq!(called_in_vain(&mut lab), Party::Router);
        goes_down(&mut lab, Party::Router);
        assert_eq!(called_in_vain(&mut lab), Party::Spare);
        let decisions = liveness_decisions(&lab);
        assert!(decisions.contains(&"routing liveness: spare up, router down (liveness.unreachable)".into()), "{decisions:?}");
        for _ in 0..2 {
            answers(&mut lab, Party::Router, 200, "");
        }
        assert_eq!(called_in_vain(&mut lab), Party::Router);
        finish(lab, scene);
    }
}

#[test]
fn a_draining_target_is_put_off_like_one_that_is_down_but_before_it() {
    let scene = Scene::tcp().with_routers(&["router", "spare"]);
    let mut lab = watched(scene.clone());
    answers(&mut lab, Party::Router, 200, "");
    goes_down(&mut lab, Party::Router);
    answers(&mut lab, Party::Spare, 503, "");
    let (first, _, invite) = called(&mut lab);
    assert_eq!(first, Party::Spare, "it answers at least");
    lab.answer(Party::Spare, &invite, 503, "busy", "", "");
    assert!(lab.sent.iter().any(|sent| sent.to == Party::Router && sent.message.method() == Some(&Method::Invite)), "then what is down all the same");
    let decisions = liveness_decisions(&lab);
    assert!(decisions.contains(&"liveness target: 198.51.100.20:5060 down (liveness.unreachable)".into()), "{decisions:?}");
    lab.handle(Event::Command(Command::ReleaseAll));
    finish(lab, scene);
}

#[test]
fn a_name_with_one_address_down_is_called_at_the_other() {
    let scene = Scene { router_by_name: true, probe: Some(INTERVAL), ..Scene::tcp() };
    let mut lab = Lab::new(scene.clone());
    let both = |name: &str| if name == "router.test" { vec![Party::Router.address(), Party::Spare.address()] } else { Vec::new() };
    let set = policy_set(&Scene { routers: vec!["router"], ..scene.clone() });
    let set = PolicySet { peers: set.peers.iter().filter(|peer| &*peer.name != "spare").cloned().collect(), ..set };
    lab.handle(Event::Peers(Arc::new(portcullis::policy::peer::PeerTable::build(2, &set, &both))));
    lab.pass(FIRST);
    for _ in 0..3 {
        next_question(&mut lab, Party::Router);
        let question = asked(&mut lab, Party::Router);
        lab.fails(&question, TransportError::Refused);
        let others = lab.drain_to(Party::Spare);
        others.iter().for_each(|question| lab.answer(Party::Router, question, 200, "x", "", ""));
    }
    lab.sent.clear();
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "", &offer);
    let (id, _) = lab.locates.pop().expect("a name is located");
    let targets = [Party::Router, Party::Spare].map(|party| Target { transport: Transport::Tcp, address: (party.address(), 5060).into() });
    lab.handle(Event::Located { id, targets: Ok(targets.to_vec()) });
    assert!(lab.sent.iter().any(|sent| sent.to == Party::Spare && sent.message.method() == Some(&Method::Invite)), "{}", lab.ladder());
    let decisions = liveness_decisions(&lab);
    assert!(decisions.iter().any(|decision| decision.starts_with("liveness put off: 198.51.100.20:5060 down")), "{decisions:?}");
    lab.handle(Event::Command(Command::ReleaseAll));
    finish(lab, scene);
}

#[test]
fn a_call_that_meets_silence_has_the_address_asked_at_once() {
    let scene = Scene::tcp().with_routers(&["router", "spare"]);
    let mut lab = watched(scene.clone());
    all_well_but(&mut lab, Party::Stranger);
    lab.pass(Duration::from_secs(5));
    let (first, ..) = called(&mut lab);
    assert_eq!(first, Party::Router);
    lab.pass(Duration::from_millis(10_000));
    let after = lab.drain_to(Party::Router);
    assert_eq!(after.iter().filter(|sent| sent.message.method() == Some(&Method::Options)).count(), 1, "{}", lab.ladder());
    lab.handle(Event::Command(Command::ReleaseAll));
    finish(lab, scene);
}

/// The question under way is not given up for it, nor another one asked beside it.
#[test]
fn a_call_that_fails_while_its_address_is_being_asked_changes_nothing() {
    let scene = Scene::tcp().with_routers(&["router", "spare"]);
    let mut lab = watched(scene.clone());
    let question = asked(&mut lab, Party::Router);
    let (_, _, invite) = called(&mut lab);
    lab.fails(&invite, TransportError::Closed);
    assert!(!lab.facts.iter().any(|fact| matches!(fact.what, What::Probed { .. })), "{}", lab.ladder());
    assert!(!lab.sent.iter().any(|sent| sent.to == Party::Router && sent.message.method() == Some(&Method::Options)));
    lab.answer(Party::Router, &question, 200, "x", "", "");
    assert_eq!(word(&lab, Party::Router), "up");
    lab.handle(Event::Command(Command::ReleaseAll));
    finish(lab, scene);
}

#[test]
fn a_call_that_is_answered_is_a_sign_of_life() {
    let scene = Scene::tcp();
    let mut lab = watched(scene.clone());
    answers(&mut lab, Party::Router, 200, "");
    goes_down(&mut lab, Party::Router);
    for _ in 0..2 {
        let (first, _, invite) = called(&mut lab);
        assert_eq!(first, Party::Router, "nothing else is left");
        let callee = Callee::new(Party::Router, invite, "um1");
        callee.answer(&mut lab, 486, "", "");
    }
    assert_eq!(word(&lab, Party::Router), "up");
    finish(lab, scene);
}

#[test]
fn only_the_peer_that_was_asked_can_answer() {
    let mut lab = watched(Scene::tcp());
    let question = asked(&mut lab, Party::Router);
    let text = response_text(&question.message, Party::Router, Transport::Tcp, 200, "x", "", "");
    lab.receive(Party::Trunk, &text);
    assert_eq!(word(&lab, Party::Router), "probing");
    assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::Malformed { reason: Reason::NotAllowedHere, .. })));
    lab.receive(Party::Router, &text);
    assert_eq!(word(&lab, Party::Router), "up");
    finish(lab, Scene::tcp());
}

#[test]
fn an_address_that_leaves_the_table_while_it_is_asked_is_forgotten() {
    for scene in Scene::everywhere() {
        let mut lab = watched(scene.clone());
        let question = asked(&mut lab, Party::Router);
        let mut set = policy_set(&Scene { probe: Some(INTERVAL), ..scene.clone() });
        set.peers.retain(|peer| &*peer.name != "router");
        lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
        assert_eq!((word(&lab, Party::Router), lab.core.holdings().watched), ("unwatched", 2));
        let facts = lab.facts.len();
        lab.answer(Party::Router, &question, 200, "late", "", "");
        lab.fails(&question, TransportError::Closed);
        assert!(!lab.facts[facts..].iter().any(|fact| matches!(fact.what, What::PeerLiveness { .. } | What::Probed { .. })));
        finish(lab, scene);
    }
}

#[test]
fn a_reload_takes_a_new_interval_and_a_new_status_into_force() {
    let scene = Scene::tcp();
    let mut lab = watched(scene.clone());
    all_well_but(&mut lab, Party::Stranger);
    let reload = |lab: &mut Lab, number, change: &dyn Fn(&mut Peer)| {
        let mut set = policy_set(&Scene { probe: Some(INTERVAL), ..scene.clone() });
        for peer in set.peers.iter_mut().filter(|peer| &*peer.name == "router") {
            change(Arc::make_mut(peer));
        }
        lab.handle(Event::Peers(Arc::new(peer_table(number, &set))));
    };
    reload(&mut lab, 2, &|peer| peer.probe = Some(Duration::from_secs(5)));
    let began = lab.now;
    next_question(&mut lab, Party::Router);
    assert!(lab.now.since(began) <= Duration::from_secs(5), "{:?}", lab.now.since(began));
    assert_eq!(word(&lab, Party::Router), "up", "what is known stays known");
    // What answered behind another certificate was another service.
    reload(&mut lab, 3, &|peer| peer.tls_names = vec!["other.test".into()]);
    assert_eq!(told(&lab, Party::Router), Some(Liveness::Probing(Doubt::NotKnown { failures: 0 })));
    reload(&mut lab, 3, &|_| {});
    lab.sent.clear();
    reload(&mut lab, 3, &|peer| peer.status = PeerStatus::NoNewCalls);
    answers(&mut lab, Party::Router, 200, "");
    assert_eq!(word(&lab, Party::Router), "up", "it is asked as before");
    reload(&mut lab, 4, &|peer| peer.status = PeerStatus::Disabled);
    assert_eq!((told(&lab, Party::Router), lab.core.holdings().watched), (Some(Liveness::Disabled), 2));
    lab.sent.clear();
    let end = lab.now + INTERVAL * 3;
    while lab.now < end {
        lab.pass(Duration::from_secs(1));
        lab.nothing_to(Party::Router);
        all_well_but(&mut lab, Party::Router);
    }
    reload(&mut lab, 5, &|_| {});
    assert_eq!(told(&lab, Party::Router), Some(Liveness::Probing(Doubt::NotKnown { failures: 0 })));
    lab.pass(FIRST);
    answers(&mut lab, Party::Router, 200, "");
    assert_eq!(word(&lab, Party::Router), "up");
    finish(lab, scene);
}

/// A peer known by a name without a port lives at the ports its SRV records name (RFC 3263 §4.2).
#[test]
fn a_name_without_a_port_is_asked_where_its_srv_records_lead() {
    let (mut lab, scene) = by_srv();
    lab.nothing_sent();
    let at = |port| vec![Target { transport: Transport::Tcp, address: (Party::Router.address(), port).into() }];
    let (id, query) = lab.locates.pop().expect("a name is located");
    assert_eq!((&*query.host, query.port), ("router.test", None));
    lab.handle(Event::Located { id, targets: Ok(at(5070)) });
    let port = |sent: &Sent| if let Route::Connect(connect) = &sent.route { connect.remote.port() } else { 0 };
    for _ in 0..3 {
        next_question(&mut lab, Party::Router);
        let question = asked(&mut lab, Party::Router);
        assert_eq!((port(&question), question.message.request_uri()), (5070, Some("sip:router.test;transport=tcp")));
        lab.fails(&question, TransportError::Refused);
    }
    assert_eq!(word(&lab, Party::Router), "down");
    let (id, _) = lab.locates.pop().expect("down, it is located anew");
    assert!(lab.locates.is_empty(), "one question at a time");
    lab.handle(Event::Located { id, targets: Ok(at(5080)) });
    assert_eq!(lab.core.holdings().watched, 1);
    next_question(&mut lab, Party::Router);
    assert_eq!(port(&asked(&mut lab, Party::Router)), 5080);
    finish(lab, scene);
}

fn by_srv() -> (Lab, Scene) {
    let scene = Scene { router_by_name: true, probe: Some(INTERVAL), ..Scene::tcp() };
    let mut set = policy_set(&scene);
    set.peers.retain(|peer| matches!(&*peer.name, "router" | "trunk"));
    for peer in &mut set.peers {
        let peer = Arc::make_mut(peer);
        (peer.port, peer.probe) = (None, peer.probe.filter(|_| &*peer.name == "router"));
    }
    let mut lab = Lab::new(Scene { probe: None, ..scene.clone() });
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
    (lab, scene)
}

fn located_at(lab: &mut Lab, port: Option<u16>) {
    let (id, _) = lab.locates.pop().expect("a name is located");
    let target = |port| vec![Target { transport: Transport::Tcp, address: (Party::Router.address(), port).into() }];
    lab.handle(Event::Located { id, targets: port.map(target).ok_or(LocateError::Failed) });
}

fn asked_port(lab: &mut Lab) -> u16 {
    next_question(lab, Party::Router);
    let question = asked(lab, Party::Router);
    lab.answer(Party::Router, &question, 200, "x", "", "");
    if let Route::Connect(connect) = &question.route { connect.remote.port() } else { 0 }
}

/// Something else may answer at the transport's own port.
#[test]
fn ports_that_could_not_be_located_are_located_again() {
    let (mut lab, scene) = by_srv();
    located_at(&mut lab, None);
    assert_eq!(asked_port(&mut lab), 5060);
    located_at(&mut lab, Some(5070));
    assert_eq!(asked_port(&mut lab), 5070);
    assert!(lab.locates.is_empty());
    finish(lab, scene);
}

/// The old port still answers: a drained instance, somebody else.
#[test]
fn ports_that_answer_are_located_again_now_and_then() {
    let (mut lab, scene) = by_srv();
    located_at(&mut lab, Some(5070));
    let began = lab.now;
    while lab.locates.is_empty() {
        assert_eq!(asked_port(&mut lab), 5070);
        assert!(lab.now.since(began) < Duration::from_secs(400));
    }
    assert!(lab.now.since(began) >= Duration::from_secs(300));
    located_at(&mut lab, Some(5080));
    assert_eq!(asked_port(&mut lab), 5080);
    finish(lab, scene);
}

/// A thousand peers, half of them silent: what that costs a second is bounded, and nobody is asked twice at once.
#[test]
fn a_thousand_peers_are_asked_in_turn() {
    const PEERS: u16 = 1000;
    let peer = |index: u16| {
        let address = [10, 0, (index / 250) as u8, (index % 250) as u8 + 1];
        Arc::new(Peer {
            hosts: vec![PeerHost::Address(address.into())],
            probe: Some(INTERVAL),
            ..Peer::new(&format!("peer{index}"), PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured)
        })
    };
    let lab = Lab::new(Scene::default());
    let set = Arc::new(PolicySet { peers: (0..PEERS).map(peer).collect(), ..PolicySet::default() });
    let table = Arc::new(peer_table(1, &set));
    let mut core = Core::new(lab.settings.clone(), set.clone(), table, [7; 32]);
    let flow = lab.flow(Party::Trunk);
    let (mut by_second, mut open, mut first) = (BTreeMap::<u64, usize>::new(), HashMap::new(), HashMap::new());
    let began = Time::from_millis(5_000);
    let end = began + Duration::from_secs(300);
    let mut actions = 0;
    let mut now = began;
    while let Some(deadline) = core.deadline().filter(|deadline| *deadline <= end) {
        now = now.max(deadline);
        core.handle(now, Event::Tick);
        let mut answers = Vec::new();
        while let Some(action) = core.poll() {
            actions += 1;
            let Action::Transmit { route: Route::Datagram { remote, .. }, bytes, .. } = action else { continue };
            let message = Message::parse(bytes, &Limits::default()).unwrap();
            let branch = message.call_id().unwrap().to_owned();
            if open.get(&remote).is_some_and(|(known, _)| *known == branch) {
                continue;
            }
            let before = open.insert(remote, (branch, now));
            assert!(before.is_none_or(|(_, at)| now.since(at) >= Duration::from_secs(5)), "{remote} is asked while it is being asked");
            first.entry(remote).or_insert(now);
            *by_second.entry(now.since(began).as_secs()).or_default() += 1;
            if u16::from(remote.to_string().len() as u8 & 1) == 0 {
                let text = response_text(&message, Party::Trunk, Transport::Udp, 200, "x", "", "");
                answers.push((remote, crate::lab::wire(&text)));
            }
        }
        for (remote, bytes) in answers {
            open.remove(&remote);
            let flow = Arc::new(portcullis::policy::flow::Flow { remote, ..(*flow).clone() });
            core.handle(now, Event::Received { flow, bytes });
            while core.poll().is_some() {
                actions += 1;
            }
        }
    }
    assert_eq!(first.len(), usize::from(PEERS));
    let busiest = by_second.values().max().copied().unwrap_or(0);
    assert!(busiest <= 200, "{busiest} questions in one second");
    let last = first.values().max().map_or(Duration::ZERO, |last| last.since(began));
    assert!(last <= Duration::from_secs(10), "all asked once within ten seconds, not {last:?}");
    let questions: usize = by_second.values().sum();
    assert!((9_000..16_000).contains(&questions), "{questions} questions in five minutes");
    assert!(actions < questions * 12, "{actions} actions for {questions} questions");
    assert_eq!(core.holdings().watched, usize::from(PEERS));
    assert!(core.holdings().client_transactions < 1000, "{:?}", core.holdings());
    core.handle(now, Event::Peers(Arc::new(peer_table(2, &PolicySet::default()))));
    core.handle(now + Duration::from_secs(60), Event::Tick);
    assert_eq!(core.holdings(), Holdings::default());
}
