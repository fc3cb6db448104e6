//! Forked answers and late 2xx: the first answer is the call, every other one gets its ACK and then a BYE (RFC 3261 §13.2.2.4).

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Lab, Party, Scene, hang_up, invited};

#[test]
fn the_second_fork_to_answer_is_turned_away() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        for tag in ["um1", "um2"] {
            lab.answer(Party::Router, &callee.invite, 180, tag, "", "");
            let ringing = lab.response_to(Party::Trunk, 180);
            assert!(!ringing.header(HeaderName::To).contains("um"), "the caller sees one dialog");
        }
        let second = lab.sdp(Party::Router, 6002);
        lab.answer(Party::Router, &callee.invite, 200, "um2", "", &second);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert!(ack.header(HeaderName::To).contains("um2"));
        let answer = lab.response_to(Party::Trunk, 200);
        caller.learn(&answer);
        caller.ack(&mut lab, "");
        let first = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &callee.invite, 200, "um1", "", &first);
        let turned_away = lab.request_to(Party::Router, Method::Ack);
        assert!(turned_away.header(HeaderName::To).contains("um1"));
        let bye = lab.request_to(Party::Router, Method::Bye);
        assert!(bye.header(HeaderName::To).contains("um1"));
        lab.answer(Party::Router, &bye, 200, "", "", "");
        // Each 200 again: the ACK again, nothing else.
        for (tag, known) in [("um1", &turned_away), ("um2", &ack)] {
            lab.answer(Party::Router, &callee.invite, 200, tag, "", &first);
            assert_eq!(lab.request_to(Party::Router, Method::Ack).message.bytes(), known.message.bytes());
        }
        lab.nothing_sent();
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records().len(), 1);
    }
}

#[test]
fn media_goes_where_the_answering_fork_is() {
    let mut lab = Lab::new(Scene::secured());
    let (_, callee) = invited(&mut lab, "");
    let early = lab.sdp(Party::Router, 6000);
    lab.answer(Party::Router, &callee.invite, 183, "um1", "", &early);
    let answer = lab.sdp(Party::Server, 6004);
    lab.answer(Party::Router, &callee.invite, 200, "um2", "", &answer);
    let last = lab.media.iter().rev().find_map(|command| match command {
        portcullis::media::control::Command::Configure {
            side: portcullis::media::control::Side::B,
            set: portcullis::media::control::Configuration { remote: Some(Some(remote)), .. },
            ..
        } => Some(remote.rtp),
        _ => None,
    });
    assert_eq!(last, Some((Party::Server.address(), 6004).into()));
}

#[test]
fn a_200_long_after_the_call_was_given_up_is_ended() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        // No sign of life for 10 s: given up; then, 5 s later, an answer after all.
        lab.pass(Duration::from_secs(15));
        lab.drain_to(Party::Router);
        let refusal = lab.response_to(Party::Trunk, 408);
        caller.learn(&refusal);
        caller.ack(&mut lab, "");
        assert_eq!(lab.records().len(), 1);
        lab.sent.clear();
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let bye = lab.request_to(Party::Router, Method::Bye);
        lab.answer(Party::Router, &bye, 200, "", "", "");
        lab.nothing_to(Party::Trunk);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::TargetTimeout);
    }
}

#[test]
fn more_forks_than_anybody_needs_are_not_worth_a_bye_each() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    for fork in 0..100 {
        lab.answer(Party::Router, &callee.invite, 200, &format!("fork{fork}"), "", &answer);
    }
    let byes = lab.sent.iter().filter(|sent| sent.message.method() == Some(&Method::Bye)).count();
    assert_eq!(byes, 19);
    lab.sent.clear();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_200_whose_contact_cannot_be_read_still_gets_its_ack() {
    let mut lab = Lab::new(Scene::default());
    let (_, callee) = invited(&mut lab, "");
    let answer = lab.sdp(Party::Router, 6000);
    let text = crate::lab::response_text(&callee.invite.message, Party::Router, lab.transport, 200, "um1", "", &answer);
    let text = text.replace("Contact: <sip:198.51.100.20:5060;transport=udp>", "Contact: \"unclosed <sip:x");
    lab.receive(Party::Router, &text);
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 200);
}

#[test]
fn a_repeated_ringing_is_passed_on_and_forks_are_bounded() {
    let mut lab = Lab::new(Scene::default());
    let (_, callee) = invited(&mut lab, "");
    for fork in 0..40 {
        lab.answer(Party::Router, &callee.invite, 180, &format!("fork{fork}"), "", "");
    }
    assert_eq!(lab.drain_to(Party::Trunk).len(), 20, "as many as a Mediation Server may make");
    lab.answer(Party::Router, &callee.invite, 486, "fork0", "", "");
    lab.response_to(Party::Trunk, 486);
    lab.finish();
}
