//! RFC 3665 §3, the flows in which a back-to-back user agent has a part, over every transport.

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::{ReleasedBy, What};
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Caller, Lab, Party, Scene, established, hang_up, invited};

fn everywhere(flow: impl Fn(&mut Lab)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        flow(&mut lab);
        lab.finish();
    }
}

#[test]
fn f3_1_a_call_is_set_up_and_ended_by_either_side() {
    everywhere(|lab| {
        let (mut caller, mut callee) = established(lab);
        callee.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        let bye = lab.request_to(Party::Trunk, Method::Bye);
        assert_eq!(bye.header(HeaderName::CallId), caller.call_id);
        assert_eq!(bye.header(HeaderName::From), caller.to, "our side of the caller's dialog");
        lab.answer(Party::Trunk, &bye, 200, "", "", "");
        assert_eq!((lab.records()[0].released_by, lab.records()[0].reason), (ReleasedBy::Called, Reason::NormalClearing));
        (caller, callee) = established(lab);
        hang_up(lab, &mut caller, &callee);
        assert_eq!(lab.records()[1].released_by, ReleasedBy::Caller);
    });
}

#[test]
fn f3_2_early_media_is_passed_on_before_the_answer() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        let early = lab.sdp(Party::Router, 6000);
        callee.answer(lab, 183, "", &early);
        let progress = lab.response_to(Party::Trunk, 183);
        assert!(progress.sdp().contains("m=audio"), "{}", progress.text());
        assert!(progress.header(HeaderName::Require).is_empty(), "the caller knows nothing of 100rel");
        callee.answer(lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        // The final answer has no description: the early one was it.
        callee.answer(lab, 200, "", "");
        lab.request_to(Party::Router, Method::Ack);
        let answer = lab.response_to(Party::Trunk, 200);
        assert_eq!(answer.sdp(), progress.sdp());
        caller.learn(&answer);
        caller.ack(lab, "");
        assert_eq!(lab.facts.iter().filter(|fact| matches!(fact.what, What::CallProgressed { .. })).count(), 1);
        hang_up(lab, &mut caller, &callee);
        assert!(lab.records()[0].progressed.is_some());
    });
}

#[test]
fn f3_8_busy_unavailable_and_declined_reach_the_caller_bare() {
    for (status, shown) in [(486, 486), (480, 480), (603, 603), (404, 404), (488, 488), (401, 480), (407, 480), (500, 500), (504, 504), (600, 600)] {
        everywhere(|lab| {
            let (mut caller, callee) = invited(lab, "");
            callee.answer(lab, 180, "", "");
            lab.response_to(Party::Trunk, 180);
            callee.answer(lab, status, "Warning: 399 secret.example \"secret\"\nReason: Q.850;cause=17;text=\"secret\"\n", "");
            lab.request_to(Party::Router, Method::Ack);
            let refusal = lab.response_to(Party::Trunk, shown);
            assert!(!refusal.text().contains("secret"), "{}", refusal.text());
            caller.learn(&refusal);
            caller.ack(lab, "");
            lab.finish();
            let record = lab.records()[0];
            assert_eq!((record.status, record.released_by), (Some(shown), ReleasedBy::Called));
            assert!(record.answered.is_none());
        });
    }
}

#[test]
fn f3_9_nobody_answers_at_all() {
    everywhere(|lab| {
        let (mut caller, _callee) = invited(lab, "");
        lab.pass(Duration::from_secs(11));
        lab.drain_to(Party::Router);
        let refusal = lab.response_to(Party::Trunk, 408);
        caller.learn(&refusal);
        caller.ack(lab, "");
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::TargetTimeout);
    });
}

#[test]
fn it_rings_too_long() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        callee.answer(lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        lab.pass(Duration::from_secs(100));
        // Each sign of ringing starts timer C anew (RFC 3261 §16.7).
        callee.answer(lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        lab.pass(Duration::from_secs(180));
        lab.nothing_sent();
        lab.pass(Duration::from_millis(1200));
        let cancel = lab.request_to(Party::Router, Method::Cancel);
        lab.answer(Party::Router, &cancel, 200, "um1", "", "");
        callee.answer(lab, 487, "", "");
        lab.request_to(Party::Router, Method::Ack);
        let refusal = lab.response_to(Party::Trunk, 408);
        caller.learn(&refusal);
        caller.ack(lab, "");
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::NoAnswer);
    });
}

#[test]
fn any_provisional_even_100_is_a_sign_of_life() {
    everywhere(|lab| {
        let (_, callee) = invited(lab, "");
        callee.answer(lab, 100, "", "");
        lab.pass(Duration::from_secs(60));
        lab.nothing_sent();
    });
}

#[test]
fn f3_10_the_answer_comes_back_though_the_caller_repeats_its_invite() {
    let mut lab = Lab::new(Scene::default());
    let (caller, callee) = invited(&mut lab, "");
    let invite = caller.invite.clone();
    lab.receive(Party::Trunk, &invite);
    lab.response_to(Party::Trunk, 100);
    lab.nothing_to(Party::Router);
    callee.answer(&mut lab, 486, "", "");
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 486);
    lab.receive(Party::Trunk, &invite);
    lab.response_to(Party::Trunk, 486);
    lab.finish();
}

#[test]
fn provisional_answers_we_do_not_know_become_183() {
    let mut lab = Lab::new(Scene::default());
    let (_, callee) = invited(&mut lab, "");
    for (status, shown) in [(181, 181), (182, 182), (199, 199), (150, 183), (188, 183)] {
        callee.answer(&mut lab, status, "", "");
        lab.response_to(Party::Trunk, shown);
    }
    lab.finish();
}

#[test]
fn each_leg_has_its_own_names_and_record_route_is_given_back() {
    everywhere(|lab| {
        let mut caller = Caller::new(lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(lab, &format!("{ALLOW}Record-Route: <sip:192.0.2.10;lr;id=7>\n"), &offer);
        lab.response_to(Party::Trunk, 100);
        let invite = lab.request_to(Party::Router, Method::Invite);
        assert!(!invite.text().contains("id=7"));
        assert_eq!(invite.header(HeaderName::MaxForwards), "69");
        let answer = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &invite, 180, "um1", "Record-Route: <sip:198.51.100.20;lr;id=8>\n", "");
        let ringing = lab.response_to(Party::Trunk, 180);
        assert!(ringing.header(HeaderName::RecordRoute).contains("id=7"), "{}", ringing.text());
        lab.answer(Party::Router, &invite, 200, "um1", "Record-Route: <sip:198.51.100.20;lr;id=9>\n", &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert!(ack.header(HeaderName::Route).contains("id=9"), "the 2xx fixes the route set: {}", ack.text());
        let accepted = lab.response_to(Party::Trunk, 200);
        assert!(accepted.header(HeaderName::RecordRoute).contains("id=7"));
        caller.learn(&accepted);
        caller.ack(lab, "");
        caller.next(lab, "BYE", "", "");
        let bye = lab.drain_to(Party::Router).pop().expect("BYE goes on");
        assert!(bye.header(HeaderName::Route).contains("id=9"), "{}", bye.text());
    });
}
