//! What becomes of the caller when a transfer comes to nothing (RFC 5589 §6.1): he stays with UM, is led back to it, or is released.

use std::time::Duration;

use portcullis::media::control::Command;
use portcullis::policy::settings::{DialPlan, FailedTransfer, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Lab, Party, Scene, established};
use crate::transfer::{REFER_TO, bye, change_plan, connected, everywhere, notified, referred, scene, world};

#[test]
fn a_busy_target_leaves_the_caller_with_um() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        target.answer(lab, 486, "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated;reason=noresource");
        lab.nothing_sent();
        // The session is as it was: a hold goes from leg to leg.
        let hold = lab.sdp_saying(Party::Router, 6000, "a=sendonly\n").replace(" 71 1 ", " 71 2 ");
        um.next(lab, "INVITE", "", &hold);
        lab.response_to(Party::Router, 100);
        let carried = lab.request_to(Party::Trunk, Method::Invite);
        assert_eq!(carried.header(HeaderName::CallId), caller.call_id);
        let answer = lab.sdp_saying(Party::Trunk, 4000, "a=recvonly\n");
        lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        lab.response_to(Party::Router, 200);
        um.ack(lab, "");
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Router);
        assert_eq!((lab.records()[0].transfers[0].status, lab.records()[0].reason), (Some(486), Reason::NormalClearing));
    });
}

#[test]
fn when_um_has_left_a_caller_whose_transfer_failed_is_called_back_to_um() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        target.answer(lab, 480, "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 480 Temporarily Unavailable", "terminated");
        let again = lab.request_to(Party::Router, Method::Invite);
        assert!(again.message.request_uri().is_some_and(|uri| uri.starts_with("sip:1000@198.51.100.20")));
        assert!(again.header(HeaderName::ReferredBy).is_empty());
        let back = Callee::new(Party::Router, again, "um2");
        let answer = lab.sdp(Party::Router, 6200);
        back.answer(lab, 200, ALLOW, &answer);
        lab.request_to(Party::Router, Method::Ack);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        lab.nothing_sent();
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Router);
        let statuses: Vec<_> = lab.records()[0].transfers.iter().map(|transfer| transfer.status).collect();
        assert_eq!(statuses, [Some(480), Some(200)]);
    });
}

#[test]
fn or_released_where_the_plan_says_so() {
    let release: fn(&Scene, &mut PolicySet) = |scene, set| {
        world(scene, set);
        change_plan(set, |plan| DialPlan { failed_transfer: FailedTransfer::Release, ..plan });
    };
    let mut lab = Lab::new(Scene { change: release, ..Scene::default() });
    let (_, mut um) = established(&mut lab);
    let target = referred(&mut lab, &mut um);
    um.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Router, 200);
    target.answer(&mut lab, 603, "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    bye(&mut lab, Party::Trunk);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::TransferFailed);
}

#[test]
fn a_caller_who_hangs_up_ends_everything_whenever_he_does() {
    for moment in 0..5 {
        everywhere(|lab, mut caller, mut um| {
            um.next(lab, "REFER", REFER_TO, "");
            lab.response_to(Party::Router, 202);
            if moment > 0 {
                notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
            }
            let invite = lab.request_to(Party::Trunk, Method::Invite);
            let target = Callee::new(Party::Trunk, invite, "target");
            if moment > 1 {
                target.answer(lab, 180, "", "");
            }
            if moment > 2 {
                let answer = lab.sdp(Party::Trunk, 4600);
                target.answer(lab, 200, ALLOW, &answer);
                lab.request_to(Party::Trunk, Method::Ack);
            }
            let reinvite = (moment > 2).then(|| lab.request_to(Party::Trunk, Method::Invite));
            if let (4, Some(reinvite)) = (moment, &reinvite) {
                let answer = lab.sdp(Party::Trunk, 4000);
                lab.answer(Party::Trunk, reinvite, 200, "", "", &answer);
                lab.request_to(Party::Trunk, Method::Ack);
            }
            caller.next(lab, "BYE", "", "");
            lab.response_to(Party::Trunk, 200);
            if moment == 2 {
                lab.request_to_skipping(Party::Trunk, Method::Cancel);
            }
            if moment > 2 {
                let byes = lab.sent.iter().filter(|sent| sent.message.method() == Some(&Method::Bye)).count();
                assert_eq!(byes, 2, "the target and UM\n{}", lab.ladder());
            }
            assert!(lab.sent.iter().any(|sent| sent.to == Party::Router && sent.message.method() == Some(&Method::Bye)), "{}", lab.ladder());
        });
    }
}

#[test]
fn another_target_is_tried_when_the_first_cannot_be_had() {
    everywhere(|lab, mut caller, mut um| {
        let first = referred(lab, &mut um);
        let key = |sdp: &str| sdp.lines().find(|line| line.starts_with("a=crypto")).map(str::to_owned);
        first.answer(lab, 503, "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        let invite = lab.request_to(Party::Pstn, Method::Invite);
        assert!(key(&invite.sdp()).is_none() || key(&invite.sdp()) != key(&first.invite.sdp()), "each target has keys of its own");
        let second = Callee::new(Party::Pstn, invite, "other");
        connected(lab, &second);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Pstn);
    });
}

#[test]
fn nobody_answers() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let target = referred(&mut lab, &mut um);
    target.answer(&mut lab, 180, "", "");
    lab.pass(Duration::from_secs(182));
    lab.request_to(Party::Trunk, Method::Cancel);
    notified(&mut lab, Party::Router, "SIP/2.0 408 Request Timeout", "terminated");
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    lab.finish();
}

#[test]
fn after_early_media_a_failure_leads_the_caller_back_to_um() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        let early = lab.sdp(Party::Trunk, 4600);
        target.answer(lab, 183, "", &early);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        target.answer(lab, 486, "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        let back = lab.request_to(Party::Trunk, Method::Invite);
        let version = |sdp: String| sdp.lines().find(|line| line.starts_with("o=")).and_then(|line| line.split(' ').nth(2)?.parse::<u64>().ok());
        assert!(version(back.sdp()) > version(reinvite.sdp()), "{}\n{}", reinvite.sdp(), back.sdp());
        lab.answer(Party::Trunk, &back, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated");
        lab.nothing_sent();
        assert_eq!(lab.open_streams(), 1);
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Router);
    });
}

#[test]
fn a_caller_who_will_not_be_connected_stays_with_um() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let target = referred(&mut lab, &mut um);
    let answer = lab.sdp(Party::Trunk, 4600);
    target.answer(&mut lab, 200, ALLOW, &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    let reinvite = lab.request_to(Party::Trunk, Method::Invite);
    lab.answer(Party::Trunk, &reinvite, 488, "", "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    bye(&mut lab, Party::Trunk);
    notified(&mut lab, Party::Router, "SIP/2.0 488 Not Acceptable Here", "terminated");
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    bye(&mut lab, Party::Router);
    lab.finish();
}

#[test]
fn a_stream_of_the_transfer_that_cannot_be_opened_costs_the_transfer_and_not_the_call() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let _target = referred(&mut lab, &mut um);
    let opened = lab.media.iter().rev().find_map(|command| if let Command::Open { stream, .. } = command { Some(*stream) } else { None });
    let stream = opened.expect("a second stream");
    lab.handle(portcullis::signaling::event::Event::Media(portcullis::media::control::Event::OpenFailed { stream, error: "no".into() }));
    notified(&mut lab, Party::Router, "SIP/2.0 503 Service Unavailable", "terminated");
    assert_eq!(lab.core.calls(), 1);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_target_refused_while_the_caller_is_asked_too_does_not_hold_the_call_for_ever() {
    // Whatever the caller answers to the re-INVITE for early media, when the target has refused meanwhile.
    for status in [488, 491, 500] {
        let mut lab = Lab::new(scene());
        let (mut caller, mut um) = established(&mut lab);
        let target = referred(&mut lab, &mut um);
        let early = lab.sdp(Party::Trunk, 4600);
        target.answer(&mut lab, 183, "", &early);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        target.answer(&mut lab, 486, "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        notified(&mut lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated");
        lab.answer(Party::Trunk, &reinvite, status, "", "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        lab.pass(Duration::from_secs(5));
        assert_eq!(lab.open_streams(), 1, "{status}");
        um.next(&mut lab, "REFER", REFER_TO, "");
        lab.response_to(Party::Router, 202);
        lab.sent.clear();
        caller.next(&mut lab, "BYE", "", "");
        lab.finish();
    }
}

#[test]
fn a_caller_who_refuses_a_change_of_early_media_is_led_back_all_the_same() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let target = referred(&mut lab, &mut um);
    let early = lab.sdp(Party::Trunk, 4600);
    target.answer(&mut lab, 183, "", &early);
    let reinvite = lab.request_to(Party::Trunk, Method::Invite);
    let answer = lab.sdp(Party::Trunk, 4000);
    lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    target.answer(&mut lab, 183, "", &early.replace("a=sendrecv", "a=sendonly"));
    let changed = lab.request_to(Party::Trunk, Method::Invite);
    target.answer(&mut lab, 486, "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    notified(&mut lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated");
    lab.answer(Party::Trunk, &changed, 488, "", "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    let back = lab.request_to(Party::Trunk, Method::Invite);
    lab.answer(Party::Trunk, &back, 200, "", "", &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    assert_eq!(lab.open_streams(), 1);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_target_who_hangs_up_before_the_caller_is_connected_is_no_success() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let mut target = referred(&mut lab, &mut um);
    let answer = lab.sdp(Party::Trunk, 4600);
    target.answer(&mut lab, 200, ALLOW, &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    let reinvite = lab.request_to(Party::Trunk, Method::Invite);
    target.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    notified(&mut lab, Party::Router, "SIP/2.0 480 Temporarily Unavailable", "terminated");
    let answer = lab.sdp(Party::Trunk, 4000);
    lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    let back = lab.request_to(Party::Trunk, Method::Invite);
    lab.answer(Party::Trunk, &back, 200, "", "", &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    lab.nothing_sent();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}
