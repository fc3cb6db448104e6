//! Digits between a trunk that says them by INFO and a UM server that says them by telephone-events, and the reverse: what each is offered, what becomes of an
//! INFO and of a digit heard, one at a time, and what is told and recorded: how many, never which.

use std::sync::Arc;
use std::time::Duration;

use portcullis::media::control::{self, Command, Conversion, Digit, Side, StreamId};
use portcullis::policy::sound::Dtmf;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::{DigitRecord, What};
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Caller, Lab, Party, Scene, hang_up};

fn lab(scene: Scene, by_info: &[Party]) -> Lab {
    Lab::with(scene, |set| {
        for peer in set.peers.iter_mut().filter(|peer| by_info.iter().any(|party| party.name() == &*peer.name)) {
            Arc::make_mut(peer).sound.dtmf = Dtmf::Info;
        }
    })
}

/// As a peer without telephone-events writes it.
fn without_events(sdp: String) -> String {
    sdp.replace(" 8 0 101", " 8 0").replace("a=rtpmap:101 telephone-event/8000\n", "").replace("a=fmtp:101 0-15\n", "")
}

fn formats(sdp: &str) -> &str {
    sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).and_then(|line| line.split_once("AVP ")).map_or("", |(_, formats)| formats)
}

/// The call is up; what the router was offered, and what the trunk was answered.
fn up(lab: &mut Lab, trunk: &str, router: &str) -> (Caller, Callee, [String; 2]) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    caller.invite(lab, "", trunk);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let offered = invite.sdp();
    let callee = Callee::new(Party::Router, invite, "b1");
    callee.answer(lab, 200, "", router);
    let answer = lab.response_to(Party::Trunk, 200);
    lab.request_to(Party::Router, Method::Ack);
    caller.learn(&answer);
    caller.ack(lab, "");
    (caller, callee, [offered, answer.sdp()])
}

fn stream(lab: &Lab) -> StreamId {
    lab.media.iter().find_map(|command| if let Command::Open { stream, .. } = command { Some(*stream) } else { None }).expect("one is open")
}

/// What was told last of a side's digits.
fn conversion(lab: &Lab, of: Side) -> Option<Conversion> {
    let last = lab.media.iter().rev().find_map(|command| match command {
        Command::Configure { side, set, .. } if *side == of => set.digits,
        _ => None,
    });
    last.expect("the side is configured")
}

fn pressed(lab: &Lab) -> Vec<(Side, char, u128)> {
    let one = |command: &Command| match command {
        Command::Digit { side, digit, lasting, .. } => Some((*side, digit.char(), lasting.as_millis())),
        _ => None,
    };
    lab.media.iter().filter_map(one).collect()
}

fn heard(lab: &mut Lab, side: Side, key: char, ms: u64) {
    let stream = stream(lab);
    let digit = Digit::of_char(key).unwrap();
    lab.handle(Event::Media(control::Event::Digit { stream, side, digit, lasting: Duration::from_millis(ms) }));
}

fn info(lab: &mut Lab, caller: &mut Caller, kind: &str, body: &str) {
    caller.cseq += 1;
    let text = caller.request(lab, "INFO", &format!("Content-Type: {kind}\n"), "");
    let text = format!("{text}{body}");
    lab.receive(Party::Trunk, &text);
}

#[test]
fn a_trunk_with_info_alone_and_um_with_events_understand_each_other() {
    for scene in Scene::everywhere() {
        let mut lab = lab(scene, &[Party::Trunk]);
        let (trunk, router) = (without_events(lab.sdp(Party::Trunk, 4000)), lab.sdp(Party::Router, 6000));
        let (mut caller, mut callee, [offered, answered]) = up(&mut lab, &trunk, &router);
        assert_eq!((formats(&offered), formats(&answered)), ("8 0 101", "8 0"), "events are offered to UM alone");
        assert!(offered.contains("a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\n"), "{offered}");
        assert_eq!((conversion(&lab, Side::A), conversion(&lab, Side::B)), (None, Conversion::of(1 << 101, [(101, 8_000)])));
        info(&mut lab, &mut caller, "application/dtmf-relay", "Signal=5\nDuration=250\n");
        lab.response_to(Party::Trunk, 200);
        info(&mut lab, &mut caller, "application/dtmf", "#");
        lab.response_to(Party::Trunk, 200);
        lab.nothing_to(Party::Router);
        assert_eq!(pressed(&lab), [(Side::B, '5', 250), (Side::B, '#', 160)]);
        // What UM presses (no UM does, but a colleague it transfers to may) comes as INFO, one after the other.
        for (key, ms) in [('1', 80), ('*', 100), ('D', 5)] {
            heard(&mut lab, Side::B, key, ms);
        }
        for expected in ["Signal=1\r\nDuration=80\r\n", "Signal=*\r\nDuration=100\r\n", "Signal=D\r\nDuration=40\r\n"] {
            let told = lab.request_to(Party::Trunk, Method::Info);
            assert_eq!((told.sdp().as_str(), told.header(HeaderName::ContentType).as_str()), (expected, "application/dtmf-relay"));
            lab.nothing_to(Party::Trunk);
            lab.answer(Party::Trunk, &told, 200, "", "", "");
        }
        lab.nothing_sent();
        // UM's own INFO crosses as it is, and so does what is no digit.
        callee.next(&mut lab, "INFO", "", "");
        let crossed = lab.request_to(Party::Trunk, Method::Info);
        lab.answer(Party::Trunk, &crossed, 200, "", "", "");
        lab.response_to(Party::Router, 200);
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records()[0].digits, DigitRecord { by_info: 2, by_events: 3, lost: 0 });
        let told: Vec<_> = lab.facts.iter().filter(|fact| !matches!(fact.what, What::Received { .. } | What::Sent { .. })).collect();
        assert!(!format!("{told:?}").contains("Digit('"), "which digits they were is told nowhere");
        assert!(!format!("{:?}", lab.media).contains("digit: 5") && format!("{:?}", lab.media).contains("Digit(_)"));
    }
}

#[test]
fn a_server_with_info_alone_is_offered_no_events_and_the_trunk_has_them() {
    let mut lab = lab(Scene::default(), &[Party::Router]);
    let (trunk, router) = (lab.sdp(Party::Trunk, 4000).replace("101", "96"), without_events(lab.sdp(Party::Router, 6000)));
    let (mut caller, callee, [offered, answered]) = up(&mut lab, &trunk, &router);
    assert_eq!((formats(&offered), formats(&answered)), ("8 0", "8 0 96"), "in the trunk's own number");
    assert_eq!(conversion(&lab, Side::A), Conversion::of(1 << 96, [(96, 8_000)]));
    heard(&mut lab, Side::A, '7', 120);
    let told = lab.request_to(Party::Router, Method::Info);
    assert_eq!(told.sdp(), "Signal=7\r\nDuration=120\r\n");
    lab.answer(Party::Router, &told, 200, "", "", "");
    // A refresh of the caller's changes nothing of it.
    caller.next(&mut lab, "INVITE", "", &trunk);
    let refreshed = lab.drain_to(Party::Trunk).into_iter().find(|sent| sent.status() == 200).expect("it is answered");
    assert_eq!(formats(&refreshed.sdp()), "8 0 96");
    caller.ack(&mut lab, "");
    assert_eq!(conversion(&lab, Side::A), Conversion::of(1 << 96, [(96, 8_000)]));
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(lab.records()[0].digits, DigitRecord { by_info: 0, by_events: 1, lost: 0 });
}

#[test]
fn nothing_is_converted_where_both_sides_say_digits_alike() {
    for (by_info, expected) in [(&[][..], "8 0 101"), (&[Party::Trunk, Party::Router][..], "8 0")] {
        let mut lab = lab(Scene::default(), by_info);
        let (trunk, router) = (lab.sdp(Party::Trunk, 4000), lab.sdp(Party::Router, 6000));
        let (mut caller, callee, [offered, answered]) = up(&mut lab, &trunk, &router);
        assert_eq!((formats(&offered), formats(&answered)), (expected, expected));
        assert_eq!((conversion(&lab, Side::A), conversion(&lab, Side::B)), (None, None));
        info(&mut lab, &mut caller, "application/dtmf-relay", "Signal=5\nDuration=250\n");
        let crossed = lab.request_to(Party::Router, Method::Info);
        assert_eq!(crossed.sdp(), "Signal=5\r\nDuration=250\r\n");
        lab.answer(Party::Router, &crossed, 200, "", "", "");
        lab.response_to(Party::Trunk, 200);
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!((pressed(&lab).len(), lab.records()[0].digits), (0, DigitRecord::default()));
    }
}

#[test]
fn where_the_other_side_has_no_events_either_info_crosses() {
    let mut lab = lab(Scene::default(), &[Party::Trunk]);
    let (trunk, router) = (without_events(lab.sdp(Party::Trunk, 4000)), without_events(lab.sdp(Party::Router, 6000)));
    let (mut caller, callee, _) = up(&mut lab, &trunk, &router);
    assert_eq!(conversion(&lab, Side::B), None);
    info(&mut lab, &mut caller, "application/dtmf-relay", "Signal=5\nDuration=250\n");
    let crossed = lab.request_to(Party::Router, Method::Info);
    lab.answer(Party::Router, &crossed, 200, "", "", "");
    lab.response_to(Party::Trunk, 200);
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_peer_that_refuses_digits_is_told_of_once_and_the_call_goes_on() {
    let mut lab = lab(Scene::default(), &[Party::Trunk]);
    let (trunk, router) = (without_events(lab.sdp(Party::Trunk, 4000)), lab.sdp(Party::Router, 6000));
    let (mut caller, callee, _) = up(&mut lab, &trunk, &router);
    for key in ['1', '2', '3'] {
        heard(&mut lab, Side::B, key, 80);
    }
    for _ in 0..3 {
        let told = lab.request_to(Party::Trunk, Method::Info);
        lab.answer(Party::Trunk, &told, 415, "", "", "");
    }
    let refusals = lab.facts.iter().filter(|fact| matches!(fact.what, What::DigitRefused { side: Side::A, status: 415 })).count();
    assert_eq!(refusals, 1);
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(lab.records()[0].digits, DigitRecord { by_info: 0, by_events: 3, lost: 3 });
}

#[test]
fn digits_that_cannot_be_said_are_bounded_and_a_dead_dialog_ends_the_call() {
    let mut lab = lab(Scene::default(), &[Party::Trunk]);
    let (trunk, router) = (without_events(lab.sdp(Party::Trunk, 4000)), lab.sdp(Party::Router, 6000));
    up(&mut lab, &trunk, &router);
    for _ in 0..100 {
        heard(&mut lab, Side::B, '1', 80);
    }
    let told = lab.request_to(Party::Trunk, Method::Info);
    lab.nothing_to(Party::Trunk);
    lab.answer(Party::Trunk, &told, 481, "", "", "");
    for party in [Party::Trunk, Party::Router] {
        let bye = lab.request_to(party, Method::Bye);
        lab.answer(party, &bye, 200, "", "", "");
    }
    heard(&mut lab, Side::B, '1', 80);
    lab.finish();
    let records = lab.records();
    let record = records[0];
    assert_eq!((record.reason, record.digits.by_events), (Reason::DialogGone, 100));
    assert_eq!(record.digits.lost, 100, "one was refused, 32 waited, the rest were too many");
}
