//! How calls end: BYE crossing BYE, BYE before the ACK, lost ACKs and answers, lost connections (RFC 3261 §15, RFC 5407).

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Event, Route, TransportError};
use portcullis::signaling::fact::ReleasedBy;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{Lab, Party, Scene, established, hang_up, invited};

#[test]
fn bye_crosses_bye() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = established(&mut lab);
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let ours = lab.request_to(Party::Router, Method::Bye);
        callee.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.answer(Party::Router, &ours, 481, "", "", "");
        lab.nothing_sent();
        lab.finish();
        assert_eq!(lab.records()[0].released_by, ReleasedBy::Caller);
    }
}

#[test]
fn the_called_side_hangs_up_before_the_callers_ack() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = invited(&mut lab, "");
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        callee.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        // §15: no BYE on a dialog whose 2xx is not acknowledged; the 2xx goes on being repeated.
        lab.nothing_sent();
        lab.pass(Duration::from_millis(600));
        lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        let bye = lab.request_to(Party::Trunk, Method::Bye);
        lab.answer(Party::Trunk, &bye, 200, "", "", "");
        lab.finish();
        assert_eq!((lab.records()[0].released_by, lab.records()[0].reason), (ReleasedBy::Called, Reason::NormalClearing));
    }
}

#[test]
fn the_callers_ack_never_comes_and_the_called_side_has_hung_up() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, mut callee) = invited(&mut lab, "");
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        callee.next(&mut lab, "BYE", "", "");
        lab.sent.clear();
        lab.pass(Duration::from_secs(33));
        assert!(lab.sent.iter().any(|sent| sent.to == Party::Trunk && sent.message.method() == Some(&Method::Bye)));
        lab.finish();
    }
}

#[test]
fn the_caller_hangs_up_instead_of_acknowledging() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Router, Method::Bye);
        lab.answer(Party::Router, &bye, 200, "", "", "");
        lab.pass(Duration::from_secs(40));
        lab.nothing_sent();
        lab.finish();
    }
}

#[test]
fn the_caller_hangs_up_in_the_early_dialog() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        callee.answer(&mut lab, 180, "", "");
        let ringing = lab.response_to(Party::Trunk, 180);
        caller.learn(&ringing);
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        lab.response_to(Party::Trunk, 487);
        let cancel = lab.request_to(Party::Router, Method::Cancel);
        lab.answer(Party::Router, &cancel, 200, "", "", "");
        let again = lab.facts.iter().any(|fact| matches!(fact.what, What::Received { retransmission: true, .. }));
        assert!(!again, "the only answer to a CANCEL is none that was sent again\n{}", lab.ladder());
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::Cancelled);
    }
}

#[test]
fn a_lost_ack_is_made_good_by_the_200_again() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    lab.pass(Duration::from_secs(2));
    let again = lab.drain_to(Party::Trunk);
    assert!(again.len() == 2 && again.iter().all(|copy| copy.message.bytes() == accepted.message.bytes()));
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    lab.pass(Duration::from_secs(40));
    lab.nothing_sent();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn somebody_elses_ack_is_no_ack() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    let ack = caller.text(&lab, "ACK", caller.cseq, "", "");
    lab.receive(Party::Router, &ack);
    lab.receive(Party::Trunk, &ack.replace(&caller.tag, "other"));
    lab.receive(Party::Trunk, &ack.replace("CSeq: 1 ACK", "CSeq: 2 ACK"));
    lab.pass(Duration::from_millis(600));
    lab.response_to(Party::Trunk, 200);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn an_answer_that_cannot_be_delivered_ends_the_call() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = invited(&mut lab, "");
        callee.answer(&mut lab, 180, "", "");
        let ringing = lab.response_to(Party::Trunk, 180);
        lab.fails(&ringing, TransportError::Closed);
        if lab.transport == Transport::Udp {
            // Another copy may arrive.
            lab.nothing_sent();
            continue;
        }
        lab.response_to(Party::Trunk, 503);
        lab.request_to(Party::Router, Method::Cancel);
        lab.finish();
    }
    for scene in [Scene::tcp(), Scene::secured()] {
        let mut lab = Lab::new(scene);
        let (_, callee) = invited(&mut lab, "");
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        lab.fails(&accepted, TransportError::Closed);
        lab.request_to(Party::Router, Method::Bye);
        lab.finish();
    }
}

#[test]
fn over_a_closed_connection_the_next_request_opens_another() {
    for scene in [Scene::tcp(), Scene::secured()] {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = established(&mut lab);
        let flow = lab.flow(Party::Router).id;
        lab.handle(Event::FlowClosed { flow });
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Router, Method::Bye);
        match &bye.route {
            Route::Connect(connect) => {
                assert_eq!((connect.remote.ip(), &*connect.peer), (Party::Router.address(), "router"));
                assert_eq!(connect.transport, lab.transport);
            }
            route => panic!("{route:?}"),
        }
        lab.answer(Party::Router, &bye, 200, "", "", "");
        assert_eq!(callee.cseq, 0);
        lab.finish();
    }
}

#[test]
fn a_contact_never_leads_us_to_a_foreign_address() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        let answer = lab.sdp(Party::Router, 6000);
        let text = crate::lab::response_text(&callee.invite.message, Party::Router, lab.transport, 200, "um1", "", &answer);
        let foreign = format!("sip:{}:5060", Party::Stranger.address());
        lab.receive(Party::Router, &text.replace("sip:198.51.100.20:5060", &foreign));
        // The Request-URI is the peer's to choose, the address is not.
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert!(ack.message.request_uri().is_some_and(|uri| uri.starts_with(&foreign)));
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        let offer = lab.sdp(Party::Trunk, 4002);
        caller.next(&mut lab, "UPDATE", &format!("Record-Route: <{foreign};lr>\n"), &offer);
        lab.sent.clear();
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn responses_of_a_peer_that_was_not_asked_are_not_heard() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        let text = crate::lab::response_text(&callee.invite.message, Party::Router, lab.transport, 486, "x", "", "");
        lab.receive(Party::Server, &text);
        lab.receive(Party::Trunk, &text);
        lab.nothing_sent();
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        assert!(callee.invite.header(HeaderName::Contact).contains("192.0.2.1:5060"));
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn the_call_is_still_in_the_ladder_when_late_messages_come() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 486, "", "");
    lab.request_to(Party::Router, Method::Ack);
    let refusal = lab.response_to(Party::Trunk, 486);
    assert_eq!(lab.core.calls(), 0);
    lab.pass(Duration::from_millis(100));
    caller.learn(&refusal);
    caller.ack_refusal(&mut lab);
    assert!(lab.facts.last().is_some_and(|fact| fact.call.is_some()));
    lab.finish();
}
