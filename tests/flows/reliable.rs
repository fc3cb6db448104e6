//! Reliable provisional responses on both legs, each by itself (RFC 3262).

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::ReleasedBy;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Caller, Lab, Party, Scene, Sent, hang_up, invited};

fn everywhere(flow: impl Fn(&mut Lab)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        flow(&mut lab);
        lab.finish();
    }
}

/// PRACK for `response` by the caller.
fn prack(lab: &mut Lab, caller: &mut Caller, response: &Sent) {
    caller.learn(response);
    let rack = format!("RAck: {} {}\n", response.header(HeaderName::RSeq), response.header(HeaderName::CSeq));
    let cseq = caller.cseq;
    caller.cseq += 10;
    let branch = caller.branch.clone();
    caller.next(lab, "PRACK", &rack, "");
    lab.response_to(Party::Trunk, 200);
    (caller.cseq, caller.branch) = (cseq, branch);
}

fn reliably(sent: &Sent) -> bool {
    sent.header(HeaderName::Require) == "100rel" && sent.message.rseq().ok().flatten().is_some()
}

#[test]
fn both_legs_acknowledge_early_media_each_by_itself() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "Supported: 100rel\n");
        assert!(callee.invite.header(HeaderName::Supported).contains("100rel"));
        let early = lab.sdp(Party::Router, 6000);
        callee.answer(lab, 183, "Require: 100rel\nRSeq: 700\n", &early);
        let ours = lab.request_to(Party::Router, Method::Prack);
        assert_eq!(ours.header(HeaderName::RAck), "700 1 INVITE");
        lab.answer(Party::Router, &ours, 200, "", "", "");
        let progress = lab.response_to(Party::Trunk, 183);
        assert!(reliably(&progress) && progress.header(HeaderName::RSeq) != "700");
        // Repeated by the called side: acknowledged already, so nothing happens.
        callee.answer(lab, 183, "Require: 100rel\nRSeq: 700\n", &early);
        lab.nothing_sent();
        // Out of order: neither acknowledged nor passed on.
        callee.answer(lab, 180, "Require: 100rel\nRSeq: 702\n", "");
        lab.nothing_sent();
        prack(lab, &mut caller, &progress);
        // Ringing after media: told plainly, and without the answer again.
        callee.answer(lab, 180, "Require: 100rel\nRSeq: 701\n", "");
        let ours = lab.request_to(Party::Router, Method::Prack);
        assert_eq!(ours.header(HeaderName::RAck), "701 1 INVITE");
        let ringing = lab.response_to(Party::Trunk, 180);
        assert!(!reliably(&ringing) && ringing.sdp().is_empty());
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(lab, 200, "", &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert_eq!(ack.header(HeaderName::CSeq), "1 ACK");
        let accepted = lab.response_to(Party::Trunk, 200);
        assert_eq!(accepted.sdp(), progress.sdp(), "the answer given reliably stands");
        caller.ack(lab, "");
        hang_up_after_prack(lab, &mut caller, &callee);
    });
}

/// The PRACKs counted the CSeq up.
fn hang_up_after_prack(lab: &mut Lab, caller: &mut Caller, callee: &Callee) {
    caller.cseq += 20;
    hang_up(lab, caller, callee);
}

#[test]
fn required_every_provisional_is_reliable_and_the_next_waits() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "Require: 100rel\n");
        callee.answer(lab, 180, "", "");
        let ringing = lab.response_to(Party::Trunk, 180);
        assert!(reliably(&ringing));
        let early = lab.sdp(Party::Router, 6000);
        callee.answer(lab, 183, "", &early);
        callee.answer(lab, 180, "", "");
        callee.answer(lab, 200, "", &early);
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_to(Party::Trunk);
        assert!(lab.records().is_empty());
        prack(lab, &mut caller, &ringing);
        let accepted = lab.response_to(Party::Trunk, 200);
        assert!(accepted.sdp().contains("m=audio"));
        caller.ack(lab, "");
        hang_up_after_prack(lab, &mut caller, &callee);
        assert_eq!(lab.records()[0].status, Some(200));
    });
}

#[test]
fn what_waited_for_the_prack_goes_out_after_it_with_its_media() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "Require: 100rel\n");
    callee.answer(&mut lab, 180, "", "");
    let ringing = lab.response_to(Party::Trunk, 180);
    let early = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 183, "", &early);
    callee.answer(&mut lab, 182, "", "");
    lab.nothing_sent();
    prack(&mut lab, &mut caller, &ringing);
    let queued = lab.response_to(Party::Trunk, 182);
    assert!(reliably(&queued) && queued.sdp().contains("m=audio"));
    assert_ne!(queued.header(HeaderName::RSeq), ringing.header(HeaderName::RSeq));
    lab.finish();
}

#[test]
fn unacknowledged_it_is_repeated_and_in_the_end_the_call_is_refused() {
    everywhere(|lab| {
        let (_, callee) = invited(lab, "Require: 100rel\n");
        callee.answer(lab, 180, "", "");
        lab.pass(Duration::from_secs(31));
        let copies = lab.drain_to(Party::Trunk);
        assert_eq!(copies.len(), 6, "at 0, 0.5, 1.5, 3.5, 7.5 and 15.5 s");
        assert!(copies.iter().all(|copy| copy.message.bytes() == copies[0].message.bytes()));
        lab.nothing_sent();
        lab.pass(Duration::from_millis(1100));
        let last: Vec<u16> = lab.drain_to(Party::Trunk).iter().map(Sent::status).collect();
        assert_eq!(last, [180, 504]);
        lab.request_to(Party::Router, Method::Cancel);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::PrackMissing);
    });
}

/// The called side has answered, the caller's 2xx waits for a PRACK.
fn answered_but_held(lab: &mut Lab) -> (Caller, Callee) {
    let (caller, callee) = invited(lab, "Require: 100rel\n");
    callee.answer(lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    lab.nothing_sent();
    (caller, callee)
}

#[test]
fn the_prack_never_comes_though_the_called_side_answered() {
    everywhere(|lab| {
        answered_but_held(lab);
        lab.pass(Duration::from_secs(33));
        assert_eq!(lab.drain_to(Party::Trunk).iter().map(Sent::status).find(|status| *status >= 200), Some(504));
        lab.request_to(Party::Router, Method::Bye);
        lab.finish();
        let record = lab.records()[0];
        assert_eq!((record.reason, record.status, record.answered), (Reason::PrackMissing, Some(504), None));
    });
}

#[test]
fn cancelled_while_the_answer_waits() {
    everywhere(|lab| {
        let (mut caller, _) = answered_but_held(lab);
        caller.cancel(lab);
        lab.response_to(Party::Trunk, 200);
        lab.response_to(Party::Trunk, 487);
        lab.request_to(Party::Router, Method::Bye);
        lab.nothing_sent();
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::Cancelled);
    });
}

#[test]
fn the_called_side_hangs_up_while_its_answer_waits() {
    everywhere(|lab| {
        let (_, mut callee) = answered_but_held(lab);
        callee.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.response_to(Party::Trunk, 480);
        lab.nothing_sent();
        lab.finish();
        assert_eq!(lab.records()[0].released_by, ReleasedBy::Called);
    });
}

#[test]
fn a_prack_for_something_else_is_not_known() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "Require: 100rel\n");
    callee.answer(&mut lab, 180, "", "");
    let ringing = lab.response_to(Party::Trunk, 180);
    caller.learn(&ringing);
    for rack in ["RAck: 1 1 INVITE\n", "RAck: 1 1 BYE\n", "RAck: x\n", ""] {
        caller.next(&mut lab, "PRACK", rack, "");
        lab.response_to(Party::Trunk, 481);
    }
    lab.finish();
}

#[test]
fn an_answer_given_reliably_stands_though_another_fork_answers() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "Supported: 100rel\n");
        let early = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &callee.invite, 183, "um1", "", &early);
        let progress = lab.response_to(Party::Trunk, 183);
        prack(lab, &mut caller, &progress);
        let other = lab.sdp(Party::Router, 6002).replace(" 8 0 101", " 0").replace("a=rtpmap:8 PCMA/8000\n", "");
        lab.answer(Party::Router, &callee.invite, 183, "um2", "", &other);
        let again = lab.response_to(Party::Trunk, 183);
        assert!(again.sdp().is_empty(), "{}", again.text());
        let callee = Callee::new(Party::Router, callee.invite, "um2");
        callee.answer(lab, 200, "", &other);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        assert_eq!(accepted.sdp(), progress.sdp());
        caller.ack(lab, "");
        hang_up_after_prack(lab, &mut caller, &callee);
    });
}

#[test]
fn a_caller_that_can_be_told_nothing_is_not_held_for_ever() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "Require: 100rel\n", "");
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    for _ in 0..4 {
        lab.answer(Party::Router, &invite, 180, "um1", "", "");
        lab.pass(Duration::from_secs(100));
    }
    lab.request_to(Party::Router, Method::Cancel);
    assert_eq!(lab.records().len(), 1);
    lab.finish();
}

#[test]
fn with_a_delayed_offer_and_100rel_required_only_the_200_is_told() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "Require: 100rel\n", "");
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 180, "um1", "", "");
    lab.nothing_sent();
    lab.finish();
}
