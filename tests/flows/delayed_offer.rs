//! The caller makes no offer: the called side's 2xx brings one, and the answer travels in the ACKs (RFC 3261 §13.2.1, RFC 3264 §4).

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::sip::Method;

use crate::lab::{Callee, Caller, Lab, Party, Scene, hang_up};

fn asked(lab: &mut Lab, extra: &str) -> (Caller, Callee) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    caller.invite(lab, extra, "");
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(invite.sdp().is_empty());
    assert!(!invite.message.supports("100rel"), "an offer in a reliable 18x is not asked for");
    (caller, Callee::new(Party::Router, invite, "um1"))
}

#[test]
fn the_offer_comes_in_the_200_and_the_answer_in_the_ack() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = asked(&mut lab, "");
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        let offer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &offer);
        let carried = lab.response_to(Party::Trunk, 200);
        assert!(carried.sdp().contains("m=audio 2"), "{}", carried.text());
        lab.nothing_sent();
        // The called side repeats its 200 while the caller thinks: neither ACK nor BYE yet.
        callee.answer(&mut lab, 200, "", &offer);
        lab.nothing_sent();
        caller.learn(&carried);
        let answer = lab.sdp(Party::Trunk, 4000);
        caller.ack(&mut lab, &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert!(ack.sdp().contains("m=audio 2"), "{}", ack.text());
        callee.answer(&mut lab, 200, "", &offer);
        let again = lab.request_to(Party::Router, Method::Ack);
        assert_eq!(ack.message.bytes(), again.message.bytes());
        lab.nothing_sent();
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records()[0].a.codec.as_deref(), Some("PCMA/8000"));
    }
}

#[test]
fn an_ack_without_the_answer_ends_the_call_on_both_sides() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = asked(&mut lab, "");
        let offer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &offer);
        let carried = lab.response_to(Party::Trunk, 200);
        caller.learn(&carried);
        caller.ack(&mut lab, "");
        lab.request_to(Party::Router, Method::Ack);
        lab.request_to(Party::Router, Method::Bye);
        lab.request_to(Party::Trunk, Method::Bye);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::MediaUnacceptable);
    }
}

#[test]
fn an_ack_that_never_comes_ends_the_call_and_the_called_side_gets_its_own() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = asked(&mut lab, "");
        let offer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &offer);
        lab.pass(Duration::from_secs(33));
        let to_router = lab.drain_to(Party::Router);
        assert_eq!(to_router[0].message.method(), Some(&Method::Ack));
        assert_eq!(to_router[1].message.method(), Some(&Method::Bye));
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::AckMissing);
    }
}

#[test]
fn a_200_without_an_offer_is_acknowledged_and_ended() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = asked(&mut lab, "");
        callee.answer(&mut lab, 200, "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.request_to(Party::Router, Method::Bye);
        lab.response_to(Party::Trunk, 488);
        lab.finish();
    }
}

#[test]
fn the_called_side_hangs_up_before_the_answer() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = asked(&mut lab, "");
        let offer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, "", &offer);
        let carried = lab.response_to(Party::Trunk, 200);
        callee.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_sent();
        caller.learn(&carried);
        let answer = lab.sdp(Party::Trunk, 4000);
        caller.ack(&mut lab, &answer);
        lab.request_to(Party::Trunk, Method::Bye);
        lab.nothing_sent();
        lab.finish();
    }
}

#[test]
fn early_media_before_an_offer_is_not_passed_on() {
    let mut lab = Lab::new(Scene::default());
    let (_, callee) = asked(&mut lab, "Supported: 100rel\n");
    let offer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 183, "", &offer);
    let progress = lab.response_to(Party::Trunk, 183);
    assert!(progress.sdp().is_empty());
    lab.finish();
}
