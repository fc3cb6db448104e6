//! A border in a branch: when the WAN goes and comes back, and which calls make a notice for the mailbox's owner.

use std::time::Duration;

use portcullis::policy::branch::{Missed, Wan};
use portcullis::policy::settings::SecurityMode;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::TransportError;
use portcullis::signaling::fact::{MissedCall, What};
use portcullis::sip::Method;

use crate::lab::{Callee, Caller, Lab, Party, Scene, Sent, describe, hang_up};

const DIVERTED: &str = "Diversion: \"Bob\" <sip:1000@192.0.2.10>;reason=no-answer\n";

fn scene() -> Scene {
    Scene { pstn: Some(SecurityMode::Unsecured), ..Scene::default() }
}

fn calls(lab: &mut Lab, extra: &str) -> Caller {
    calls_from(lab, "<sip:+12065550100@192.0.2.10>", extra)
}

fn calls_from(lab: &mut Lab, from: &str, extra: &str) -> Caller {
    let mut caller = Caller::new(lab, Party::Trunk, "5000");
    caller.from = from.into();
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    caller
}

fn gives_up(lab: &mut Lab, caller: &mut Caller) {
    caller.cancel(lab);
    lab.sent.clear();
    lab.pass(Duration::from_secs(200));
    lab.sent.clear();
}

fn missed(lab: &Lab) -> Vec<MissedCall> {
    lab.facts.iter().filter_map(|fact| if let What::CallMissed(missed) = &fact.what { Some((**missed).clone()) } else { None }).collect()
}

/// Of the one notice there is.
fn why(lab: &Lab) -> Option<(Missed, Reason)> {
    let missed = missed(lab);
    assert!(missed.len() <= 1, "{missed:?}");
    missed.first().map(|missed| (missed.missed, missed.reason))
}

#[test]
fn a_caller_who_gives_up_before_um_answers_is_told_of() {
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 180, "um", "", "");
    let call_id = caller.call_id.clone();
    gives_up(&mut lab, &mut caller);
    let missed = missed(&lab);
    assert_eq!(missed.len(), 1);
    let told = &missed[0];
    assert_eq!((told.caller.as_deref(), &*told.mailbox, &*told.plan, &told.call_id), (Some("+12065550100"), "1000", "plan", &call_id));
    assert_eq!((told.missed, told.reason), (Missed::CallerGaveUp, Reason::Cancelled));
    assert!(told.id.len() >= 20, "{}", told.id);
    lab.finish();
}

#[test]
fn a_call_that_reaches_nobody_is_told_of() {
    let mut lab = Lab::new(scene());
    calls(&mut lab, DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.fails(&invite, TransportError::Refused);
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    assert_eq!(why(&lab), None, "it is under way");
    lab.fails(&invite, TransportError::Refused);
    assert_eq!(why(&lab), Some((Missed::NotDelivered, Reason::TargetUnreachable)));
    // … also where it is the PSTN that refuses it.
    let mut lab = Lab::new(scene());
    calls(&mut lab, DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.fails(&invite, TransportError::Refused);
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    lab.answer(Party::Pstn, &invite, 404, "aa", "", "");
    assert_eq!(why(&lab), Some((Missed::NotDelivered, Reason::Rejected)));
}

#[test]
fn what_um_answered_or_refused_makes_no_notice() {
    // UM answers, and the caller hangs up without a word.
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let callee = Callee::new(Party::Router, invite, "um");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(why(&lab), None);
    // UM refuses.
    for status in [404, 486, 488, 603] {
        let mut lab = Lab::new(scene());
        calls(&mut lab, DIVERTED);
        let invite = lab.request_to(Party::Router, Method::Invite);
        lab.answer(Party::Router, &invite, status, "um", "", "");
        assert_eq!(why(&lab), None);
    }
    // UM's number on the PSTN answers.
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.fails(&invite, TransportError::Refused);
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    let callee = Callee::new(Party::Pstn, invite, "aa");
    callee.answer(&mut lab, 200, "", &describe(SecurityMode::Unsecured, Party::Pstn, 7000, "a=sendrecv\n"));
    lab.request_to(Party::Pstn, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(why(&lab), None);
}

#[test]
fn a_2xx_that_waits_for_a_prack_is_an_answer() {
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, &format!("{DIVERTED}Supported: 100rel\n"));
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 180, "um", "", "");
    let answer = lab.sdp(Party::Router, 6000);
    lab.answer(Party::Router, &invite, 200, "um", "", &answer);
    gives_up(&mut lab, &mut caller);
    assert_eq!(why(&lab), None, "{}", lab.ladder());
}

#[test]
fn only_diverted_calls_of_peers_believed_in_it_make_notices() {
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, "");
    gives_up(&mut lab, &mut caller);
    assert_eq!(why(&lab), None);
    // Where nobody is to be told, nobody is.
    let mut lab = Lab::new(Scene::default());
    let mut caller = calls(&mut lab, DIVERTED);
    gives_up(&mut lab, &mut caller);
    assert_eq!(why(&lab), None);
}

#[test]
fn a_caller_who_withholds_the_number_stays_unknown() {
    for (from, extra) in [
        ("\"Anonymous\" <sip:anonymous@anonymous.invalid>", ""),
        ("<sip:+12065550100@192.0.2.10>", "Privacy: id\n"),
        ("<sip:+12065550100@192.0.2.10>", "Privacy: header;user\nP-Asserted-Identity: <sip:+12065550100@192.0.2.10>\n"),
    ] {
        let mut lab = Lab::new(scene());
        let mut caller = calls_from(&mut lab, from, &format!("{DIVERTED}{extra}"));
        gives_up(&mut lab, &mut caller);
        assert_eq!(missed(&lab)[0].caller, None, "{from} {extra}");
    }
}

#[test]
fn what_a_hostile_caller_writes_is_one_bounded_line() {
    let mut lab = Lab::new(scene());
    let long = "9".repeat(4000);
    let mut caller = Caller::new(&mut lab, Party::Trunk, "5000");
    caller.call_id = long;
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, DIVERTED, &offer);
    gives_up(&mut lab, &mut caller);
    assert_eq!(missed(&lab).len(), 1);
    for told in missed(&lab) {
        for text in [told.caller.unwrap_or_default(), told.mailbox, told.call_id] {
            assert!(text.chars().count() <= 128 && !text.contains(['\r', '\n']), "{text:?}");
        }
    }
}

fn wans(lab: &Lab) -> Vec<Wan> {
    lab.facts.iter().filter_map(|fact| if let What::Wan { state, .. } = &fact.what { Some(*state) } else { None }).collect()
}

#[test]
fn the_wan_is_told_when_it_goes_and_when_it_is_back_for_good() {
    let mut lab = Lab::new(Scene { probe: Some(Duration::from_secs(30)), ..scene() }.with_routers(&["router", "spare"]));
    // Who answers: the router, the spare.
    let live = |lab: &mut Lab, router: bool, spare: bool, seconds: u64| {
        for _ in 0..seconds {
            lab.pass(Duration::from_secs(1));
            let questions: Vec<Sent> = lab.sent.iter().filter(|sent| sent.message.method() == Some(&Method::Options)).cloned().collect();
            lab.sent.clear();
            for question in questions {
                match question.to {
                    Party::Router if !router => lab.fails(&question, TransportError::Refused),
                    Party::Spare if !spare => lab.fails(&question, TransportError::Refused),
                    party => lab.answer(party, &question, 200, "life", "", ""),
                }
            }
        }
    };
    live(&mut lab, true, true, 10);
    assert_eq!(wans(&lab), [Wan::Up]);
    live(&mut lab, false, true, 120);
    assert_eq!(wans(&lab), [Wan::Up], "one of two answers");
    live(&mut lab, false, false, 120);
    assert_eq!(wans(&lab), [Wan::Up, Wan::Down]);
    live(&mut lab, true, true, 60);
    assert_eq!(wans(&lab), [Wan::Up, Wan::Down, Wan::Up]);
}
