//! Session timers on each leg by itself (RFC 4028).

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::settings::SessionTimer;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established_with, hang_up, invited};

const NO_UPDATE: &str = "Allow: INVITE, ACK, BYE\n";

fn scene() -> Scene {
    Scene { session_timer: SessionTimer { expires: 180, min_se: 90 }, ..Scene::default() }
}

fn up(caller_says: &str, callee_says: &str) -> (Lab, Caller, Callee) {
    let mut lab = Lab::new(scene());
    let (caller, callee) = established_with(&mut lab, caller_says, callee_says);
    (lab, caller, callee)
}

#[test]
fn we_ask_for_one_and_refresh_it_by_update() {
    let (mut lab, mut caller, callee) = up("", &format!("{ALLOW}Session-Expires: 180;refresher=uac\n"));
    assert_eq!(callee.invite.header(HeaderName::SessionExpires), "180");
    assert!(callee.invite.message.supports("timer"));
    for _ in 0..3 {
        lab.pass(Duration::from_secs(89));
        lab.nothing_sent();
        lab.pass(Duration::from_millis(1100));
        let update = lab.request_to(Party::Router, Method::Update);
        assert_eq!(update.header(HeaderName::SessionExpires), "180;refresher=uac");
        assert!(update.sdp().is_empty());
        lab.answer(Party::Router, &update, 200, "", "Session-Expires: 180;refresher=uac\n", "");
        lab.nothing_sent();
    }
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn where_update_is_not_taken_by_re_invite_with_what_was_said_last() {
    let (mut lab, mut caller, callee) = up("", &format!("{NO_UPDATE}Session-Expires: 180;refresher=uac\n"));
    for round in 0..3 {
        lab.pass(Duration::from_millis(90_100));
        let refresh = lab.request_to(Party::Router, Method::Invite);
        assert_eq!(refresh.sdp(), callee.invite.sdp(), "the same description, o= line and all");
        let answer = lab.sdp(Party::Router, if round == 1 { 6008 } else { 6000 });
        lab.answer(Party::Router, &refresh, 200, "", "Session-Expires: 180;refresher=uac\n", &answer);
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_sent();
    }
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_refused_refresh_is_tried_again() {
    for says in [ALLOW, NO_UPDATE] {
        let (mut lab, mut caller, callee) = up("", &format!("{says}Session-Expires: 180;refresher=uac\n"));
        lab.pass(Duration::from_millis(90_100));
        for status in [491, 500, 503] {
            let refresh = lab.next_to(Party::Router);
            lab.answer(Party::Router, &refresh, status, "", "", "");
            lab.sent.clear();
            lab.pass(Duration::from_millis(if status == 491 { 4100 } else { 5100 }));
            assert!(!lab.sent.is_empty(), "{says} {status}: nothing more is tried\n{}", lab.ladder());
        }
        let refresh = lab.next_to(Party::Router);
        let body = if refresh.message.method() == Some(&Method::Invite) { lab.sdp(Party::Router, 6000) } else { String::new() };
        lab.answer(Party::Router, &refresh, 200, "", "Session-Expires: 180;refresher=uac\n", &body);
        lab.sent.clear();
        lab.pass(Duration::from_secs(80));
        lab.nothing_sent();
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn a_refresh_too_small_for_the_peer_is_raised_at_once() {
    for says in [ALLOW, NO_UPDATE] {
        let (mut lab, mut caller, callee) = up("", &format!("{says}Session-Expires: 180;refresher=uac\n"));
        lab.pass(Duration::from_millis(90_100));
        let refresh = lab.next_to(Party::Router);
        lab.answer(Party::Router, &refresh, 422, "", "Min-SE: 600\n", "");
        let raised = lab.drain_to(Party::Router).pop().unwrap();
        assert_eq!(raised.message.method(), refresh.message.method());
        assert!(raised.header(HeaderName::SessionExpires).starts_with("600"), "{}", raised.text());
        assert_eq!(raised.header(HeaderName::MinSe), "600");
        let body = if raised.message.method() == Some(&Method::Invite) { raised.sdp() } else { String::new() };
        assert_eq!(body, refresh.sdp());
        let answer = if body.is_empty() { String::new() } else { lab.sdp(Party::Router, 6000) };
        lab.answer(Party::Router, &raised, 200, "", "Session-Expires: 600;refresher=uac\n", &answer);
        lab.sent.clear();
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn the_refresher_over_there_falls_silent_and_both_sides_are_hung_up() {
    for caller_refreshes in [true, false] {
        let (mut lab, ..) = if caller_refreshes {
            up("Supported: timer\nSession-Expires: 180;refresher=uac\n", ALLOW)
        } else {
            up("", &format!("{ALLOW}Session-Expires: 180;refresher=uas\n"))
        };
        lab.pass(Duration::from_secs(147));
        lab.nothing_sent();
        lab.pass(Duration::from_millis(1100));
        lab.request_to(Party::Trunk, Method::Bye);
        lab.request_to(Party::Router, Method::Bye);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::SessionExpired);
    }
}

#[test]
fn the_peers_own_refreshes_keep_the_call() {
    let (mut lab, mut caller, callee) = up("Supported: timer\nSession-Expires: 180;refresher=uac\n", ALLOW);
    for round in 0..6 {
        lab.pass(Duration::from_secs(90));
        lab.nothing_sent();
        let asks = "Supported: timer\nSession-Expires: 180;refresher=uac\n";
        if round % 2 == 0 {
            caller.next(&mut lab, "UPDATE", asks, "");
        } else {
            let offer = lab.sdp(Party::Trunk, 4000);
            caller.next(&mut lab, "INVITE", asks, &offer);
            lab.response_to(Party::Trunk, 100);
            caller.ack(&mut lab, "");
        }
        let answer = lab.response_to(Party::Trunk, 200);
        assert_eq!(answer.header(HeaderName::SessionExpires), "180;refresher=uac");
        assert_eq!(answer.header(HeaderName::Require), "timer");
    }
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_refresher_that_does_not_answer_our_update_ends_the_call() {
    let (mut lab, ..) = up("", &format!("{ALLOW}Session-Expires: 180;refresher=uac\n"));
    lab.pass(Duration::from_secs(90 + 33));
    assert!(lab.drain_to(Party::Trunk).iter().any(|sent| sent.message.method() == Some(&Method::Bye)));
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::DialogGone);
}

#[test]
fn too_small_an_interval_is_refused_with_what_we_take() {
    let mut lab = Lab::new(scene());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "Supported: timer\nSession-Expires: 60\n", &offer);
    lab.response_to(Party::Trunk, 100);
    assert_eq!(lab.response_to(Party::Trunk, 422).header(HeaderName::MinSe), "90");
    lab.nothing_sent();
    lab.finish();
    let (mut lab, mut caller, callee) = up("", ALLOW);
    caller.next(&mut lab, "UPDATE", "Supported: timer\nSession-Expires: 60\n", "");
    assert_eq!(lab.response_to(Party::Trunk, 422).header(HeaderName::MinSe), "90");
    let offer = lab.sdp(Party::Trunk, 4002);
    caller.next(&mut lab, "UPDATE", "Supported: timer\nSession-Expires: 60\n", &offer);
    lab.response_to(Party::Trunk, 422);
    caller.next(&mut lab, "INVITE", "Supported: timer\nSession-Expires: 60\n", &offer);
    lab.response_to(Party::Trunk, 422);
    caller.ack_refusal(&mut lab);
    lab.nothing_sent();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn the_called_side_wants_a_longer_one() {
    let mut lab = Lab::new(scene());
    let (mut caller, callee) = invited(&mut lab, "");
    lab.answer(Party::Router, &callee.invite, 422, "x", "Min-SE: 3600\n", "");
    lab.request_to(Party::Router, Method::Ack);
    let again = lab.request_to(Party::Router, Method::Invite);
    assert_eq!((again.header(HeaderName::SessionExpires), again.header(HeaderName::MinSe)), ("3600".into(), "3600".into()));
    lab.nothing_to(Party::Trunk);
    let callee = Callee::new(Party::Router, again, "um1");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_422_that_asks_for_nothing_more_ends_the_search() {
    let mut lab = Lab::new(scene());
    let (_, callee) = invited(&mut lab, "");
    lab.answer(Party::Router, &callee.invite, 422, "x", "Min-SE: 90\n", "");
    lab.response_to(Party::Trunk, 480);
    lab.finish();
}

#[test]
fn a_change_carried_across_keeps_the_timers_of_both_legs() {
    let (mut lab, mut caller, callee) =
        up(&format!("{ALLOW}Supported: timer\nSession-Expires: 180;refresher=uac\n"), &format!("{ALLOW}Session-Expires: 180;refresher=uac\n"));
    let offer = lab.sdp(Party::Trunk, 4002);
    caller.next(&mut lab, "UPDATE", "Supported: timer\nSession-Expires: 180;refresher=uac\n", &offer);
    let carried = lab.request_to(Party::Router, Method::Update);
    assert_eq!(carried.header(HeaderName::SessionExpires), "180;refresher=uac");
    let answer = lab.sdp(Party::Router, 6000);
    lab.answer(Party::Router, &carried, 200, "", "Session-Expires: 180;refresher=uac\n", &answer);
    assert_eq!(lab.response_to(Party::Trunk, 200).header(HeaderName::SessionExpires), "180;refresher=uac");
    lab.pass(Duration::from_millis(90_100));
    lab.request_to(Party::Router, Method::Update);
    lab.sent.clear();
    hang_up(&mut lab, &mut caller, &callee);
}
