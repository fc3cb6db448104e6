//! The REFER itself and the news of it (RFC 3515 §2.4): who may refer, what may be asked for, who is told, and in which order.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::settings::{HuntGroup, PolicySet};
use portcullis::signaling::fact::TransferEvent;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Lab, Party, Scene, established};
use crate::transfer::{REFER_TO, bye, connected, events, notified, referred, scene, world};

#[test]
fn a_refer_while_another_is_under_way_is_told_to_wait() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let _target = referred(&mut lab, &mut um);
    um.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 491);
    lab.nothing_sent();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn who_wants_no_news_gets_none() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    um.next(&mut lab, "REFER", &format!("{REFER_TO}Refer-Sub: false\nRequire: norefersub\n"), "");
    let accepted = lab.response_to(Party::Router, 202);
    assert_eq!(accepted.header(HeaderName::ReferSub), "false");
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    connected(&mut lab, &Callee::new(Party::Trunk, invite, "target"));
    lab.nothing_sent();
    lab.pass(Duration::from_secs(5));
    bye(&mut lab, Party::Router);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_peer_that_knows_nothing_of_the_subscription_hears_no_more_and_the_transfer_goes_on() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    um.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 202);
    let notify = lab.request_to(Party::Router, Method::Notify);
    lab.answer(Party::Router, &notify, 481, "", "", "");
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    connected(&mut lab, &Callee::new(Party::Trunk, invite, "target"));
    lab.nothing_sent();
    assert!(events(&lab).iter().any(|event| matches!(event, TransferEvent::Unheard { status: 481, .. })));
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn no_notify_overtakes_another() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    um.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 202);
    let first = lab.request_to(Party::Router, Method::Notify);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    connected(&mut lab, &Callee::new(Party::Trunk, invite, "target"));
    lab.nothing_to(Party::Router);
    lab.answer(Party::Router, &first, 200, "", "", "");
    notified(&mut lab, Party::Router, "SIP/2.0 200 OK", "terminated");
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn what_cannot_be_meant_is_refused_and_the_call_goes_on() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    for (refer_to, status) in [
        ("", 400),
        ("Refer-To: <sip:1@a>\nRefer-To: <sip:2@a>\n", 400),
        ("Refer-To: <sip:2002@192.0.2.1;method=BYE>\n", 403),
        ("Refer-To: <http://example.com/>\n", 416),
        ("Refer-To: <sip:192.0.2.99>\n", 403),
        ("Refer-To: <sip:john.doe@192.0.2.1>\n", 403),
        // No toll rule allows it.
        ("Refer-To: <sip:+14255550199@192.0.2.1>\n", 403),
    ] {
        um.next(&mut lab, "REFER", refer_to, "");
        lab.response_to(Party::Router, status);
        lab.nothing_sent();
    }
    // An outside peer may not send any unless it is configured to.
    caller.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Trunk, 405);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
    assert!(lab.records()[0].transfers.is_empty());
}

/// The trunk may refer; what it gets is what it could have dialled itself.
#[test]
fn a_trunk_that_refers_gets_what_it_could_have_dialled_and_nothing_else() {
    let allow: fn(&Scene, &mut PolicySet) = |scene, set| {
        world(scene, set);
        let trunk = Arc::new(portcullis::policy::settings::Peer { refer: portcullis::policy::settings::Refer::Execute, ..(*set.peers[0]).clone() });
        set.peers[0] = trunk;
        let plan = set.dial_plans[0].clone();
        set.hunt_groups = vec![Arc::new(HuntGroup { name: "one".into(), peer: "trunk".into(), pilot: Some("1000".into()), plan })].into();
    };
    let mut lab = Lab::new(Scene { change: allow, ..Scene::default() });
    let (mut caller, um) = established(&mut lab);
    caller.next(&mut lab, "REFER", "Refer-To: <sip:2002@192.0.2.1>\n", "");
    lab.response_to(Party::Trunk, 404);
    caller.next(&mut lab, "REFER", "Refer-To: <sip:1000@192.0.2.1>\n", "");
    lab.response_to(Party::Trunk, 202);
    notified(&mut lab, Party::Trunk, "SIP/2.0 100 Trying", "active");
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert_ne!(invite.header(HeaderName::CallId), um.invite.header(HeaderName::CallId));
    lab.answer(Party::Router, &invite, 486, "x", "", "");
    lab.request_to(Party::Router, Method::Ack);
    notified(&mut lab, Party::Trunk, "SIP/2.0 486 Busy Here", "terminated");
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn outcalls_does_not_govern_transfers() {
    let without: fn(&Scene, &mut PolicySet) = |scene, set| {
        world(scene, set);
        set.peers = set.peers.iter().map(|peer| Arc::new(portcullis::policy::settings::Peer { outcalls: false, ..(**peer).clone() })).collect();
    };
    let mut lab = Lab::new(Scene { change: without, ..Scene::default() });
    let (mut caller, mut um) = established(&mut lab);
    let _target = referred(&mut lab, &mut um);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}
