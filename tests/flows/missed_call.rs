//! Notices of missed calls over SIP: one MESSAGE or NOTIFY for each attempt, and the core says exactly once what came of it.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::settings::{Peer, PeerHost, PolicySet, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::b2bua::missed_call::{By, Carriage};
use portcullis::signaling::event::{Command, Event, LocateError, TransportError};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{Lab, Party, Scene, Sent, established, hang_up, peer_table, policy_set};

const URI: &str = "sip:missed-calls@um.corp.example.com";

fn carry(lab: &mut Lab, id: &str, peer: &str, by: By) {
    let body = format!("{{\"type\":\"missed-call\",\"id\":\"{id}\"}}");
    let carriage = Carriage { id: id.into(), peer: peer.into(), uri: URI.into(), by, body };
    lab.handle(Event::Command(Command::Carry(Box::new(carriage))));
}

/// What was told of notices so far: id, status, reason.
fn told(lab: &Lab) -> Vec<(String, u16, Reason)> {
    let of = |what: &What| match what {
        What::MissedCallCarried { id, status, reason, .. } => Some((id.to_string(), *status, *reason)),
        _ => None,
    };
    lab.facts.iter().filter_map(|fact| of(&fact.what)).collect()
}

fn header(sent: &Sent, name: &str) -> String {
    let line = format!("\r\n{name}: ");
    sent.text().split(&line).nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap_or_default().to_owned()
}

/// The set of the scene with its peers changed.
fn changed(scene: &Scene, change: impl Fn(&mut Peer)) -> PolicySet {
    let mut set = policy_set(scene);
    set.peers.iter_mut().for_each(|peer| change(Arc::make_mut(peer)));
    set
}

fn adopt(lab: &mut Lab, set: PolicySet) {
    let set = Arc::new(set);
    lab.handle(Event::Policies(set.clone(), lab.settings.clone()));
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
}

#[test]
fn a_notice_is_one_request_and_its_answer_is_told() {
    for scene in Scene::everywhere() {
        for by in [By::Message, By::Notify] {
            for status in [200, 202] {
                let mut lab = Lab::new(scene.clone());
                carry(&mut lab, "one", "server", by);
                let sent = lab.request_to(Party::Server, by.method());
                assert_eq!(sent.message.request_uri(), Some(URI));
                assert_eq!(header(&sent, "To"), format!("<{URI}>"));
                assert_eq!(header(&sent, "Portcullis-Notice"), "one");
                assert_eq!(header(&sent, "Content-Type"), "application/json");
                assert_eq!(sent.sdp(), "{\"type\":\"missed-call\",\"id\":\"one\"}");
                // RFC 3428 §4: no Contact. RFC 6665 §4.1: what it is of, and that nothing follows.
                let is_notify = by == By::Notify;
                assert_eq!(header(&sent, "Contact").is_empty(), !is_notify);
                assert_eq!(sent.header(HeaderName::Event), if is_notify { "portcullis-missed-call" } else { "" });
                assert_eq!(sent.header(HeaderName::SubscriptionState), if is_notify { "terminated" } else { "" });
                assert_eq!(told(&lab), []);
                lab.answer(Party::Server, &sent, status, "um", "", "");
                assert_eq!(told(&lab), [("one".into(), status, Reason::Answered)]);
                lab.nothing_sent();
                lab.finish();
            }
        }
    }
}

#[test]
fn a_repeat_is_the_same_but_for_its_transaction() {
    let mut lab = Lab::new(Scene::default());
    let mut seen = Vec::new();
    for status in [500, 200] {
        carry(&mut lab, "one", "server", By::Message);
        let sent = lab.request_to(Party::Server, Method::Message);
        lab.answer(Party::Server, &sent, status, "um", "", "");
        seen.push((header(&sent, "Portcullis-Notice"), sent.sdp(), sent.message.request_uri().map(str::to_owned)));
        seen.dedup();
    }
    assert_eq!(seen.len(), 1);
    assert_eq!(told(&lab), [("one".into(), 500, Reason::RequestRefused), ("one".into(), 200, Reason::Answered)]);
    lab.finish();
}

#[test]
fn a_refusal_is_told_as_it_came_and_no_call_feels_it() {
    for status in [302, 400, 401, 404, 415, 481, 489, 501, 603] {
        let mut lab = Lab::new(Scene::default());
        let (mut caller, callee) = established(&mut lab);
        carry(&mut lab, "one", "server", By::Message);
        let sent = lab.request_to(Party::Server, Method::Message);
        lab.answer(Party::Server, &sent, status, "um", "Contact: <sip:elsewhere@203.0.113.66>\n", "");
        assert_eq!(told(&lab), [("one".into(), status, Reason::RequestRefused)]);
        lab.nothing_sent();
        hang_up(&mut lab, &mut caller, &callee);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::NormalClearing);
    }
}

#[test]
fn silence_and_broken_ways_are_told_in_time() {
    let mut lab = Lab::new(Scene::default());
    carry(&mut lab, "one", "server", By::Message);
    let sent = lab.request_to(Party::Server, Method::Message);
    lab.pass(Duration::from_secs(10));
    assert_eq!(told(&lab), [("one".into(), 408, Reason::TargetTimeout)]);
    // An answer that comes too late is told of no more: the notice comes again.
    lab.answer(Party::Server, &sent, 200, "um", "", "");
    assert_eq!(told(&lab).len(), 1);
    lab.sent.clear();
    carry(&mut lab, "one", "server", By::Message);
    let sent = lab.request_to(Party::Server, Method::Message);
    lab.fails(&sent, TransportError::Refused);
    let last = told(&lab).pop();
    assert_eq!(last, Some(("one".into(), 503, Reason::TargetUnreachable)));
    lab.finish();
    let mut lab = Lab::new(Scene::default());
    adopt(
        &mut lab,
        changed(&Scene::default(), |peer| {
            if &*peer.name == "server" {
                peer.hosts = vec![PeerHost::Name("server.test".into())]
            }
        }),
    );
    carry(&mut lab, "one", "server", By::Message);
    let (id, query) = lab.locates.pop().expect("its name is asked for");
    assert_eq!(&*query.host, "server.test");
    lab.handle(Event::Located { id, targets: Err(LocateError::NotFound) });
    assert_eq!(told(&lab), [("one".into(), 503, Reason::LocateFailed)]);
    lab.finish();
}

#[test]
fn a_peer_that_is_gone_is_told_at_once() {
    let mut lab = Lab::new(Scene::default());
    carry(&mut lab, "one", "nobody", By::Message);
    assert_eq!(told(&lab), [("one".into(), 503, Reason::PeerRemoved)]);
    lab.nothing_sent();
    lab.finish();
}

#[test]
fn a_notice_goes_no_way_below_the_plans_mode() {
    // Over TLS as the plan wants it.
    for mode in [SecurityMode::SipSecured, SecurityMode::Secured] {
        let scene = Scene { mode, ..Scene::secured() };
        let mut lab = Lab::new(scene.clone());
        carry(&mut lab, "one", "server", By::Message);
        let sent = lab.request_to(Party::Server, Method::Message);
        assert!(!sent.route.is_datagram() && header(&sent, "Via").starts_with("SIP/2.0/TLS"), "{}", sent.text());
        // The set has become another since this was configured: UM in clear, and a trunk below the plan's mode.
        adopt(
            &mut lab,
            changed(&scene, |peer| match &*peer.name {
                "server" => peer.transport = Transport::Udp,
                "trunk" => peer.mode = SecurityMode::Unsecured,
                _ => {}
            }),
        );
        lab.sent.clear();
        for (peer, reason) in [("server", Reason::ModeTransport), ("trunk", Reason::ModeInterwork)] {
            carry(&mut lab, peer, peer, By::Message);
            let last = told(&lab).pop();
            assert_eq!(last, Some((peer.into(), 503, reason)));
        }
        lab.nothing_sent();
        // … unless the plan names the weaker one.
        let mut set = changed(&scene, |peer| {
            if &*peer.name == "trunk" {
                peer.mode = SecurityMode::Unsecured;
            }
        });
        set.dial_plans.iter_mut().for_each(|plan| Arc::make_mut(plan).interwork = vec!["trunk".into()]);
        adopt(&mut lab, set);
        lab.sent.clear();
        carry(&mut lab, "meant", "trunk", By::Message);
        lab.request_to(Party::Trunk, Method::Message);
    }
}
