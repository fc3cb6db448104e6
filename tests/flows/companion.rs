//! Two processes of one border, one taking over from the other: each message ends up where it belongs, whoever got it first, and with none twice.

use portcullis::policy::verdict::Reason;
use portcullis::signaling::b2bua::missed_call::{By, Carriage};
use portcullis::signaling::companion::{Bequest, Change};
use portcullis::signaling::event::{Command, Event};
use portcullis::signaling::fact::{CallId, What};
use portcullis::sip::Method;

use crate::lab::{Caller, Lab, Party, Scene, established, invited};
use crate::transfer_attended::refer_to;

/// The old process and the new one.
fn two(scene: &Scene) -> (Lab, Lab) {
    (Lab::new(scene.clone()), Lab::seeded(scene.clone(), [7; 32], |_| {}))
}

fn take_over(old: &mut Lab, new: &mut Lab) -> Bequest {
    old.handle(Event::Companion(Change::Leave));
    old.handle(Event::Command(Command::Drain { release_after: None }));
    let bequest = old.bequest.take().expect("a bequest");
    new.handle(Event::Companion(Change::Follow(bequest.clone())));
    bequest
}

/// What one process does not take goes to the other, which has to.
fn cross(from: &mut Lab, to: &mut Lab) -> usize {
    let handed = std::mem::take(&mut from.handed);
    let count = handed.len();
    for (flow, bytes) in handed {
        to.handle(Event::Handed { flow, bytes });
    }
    assert!(to.handed.is_empty(), "handed back");
    count
}

#[test]
fn each_keeps_its_calls_whichever_of_them_gets_the_message() {
    for scene in Scene::everywhere() {
        let (mut old, mut new) = two(&scene);
        let (mut caller, callee) = established(&mut old);
        take_over(&mut old, &mut new);

        // A new call comes on a connection of the old process, and all of it.
        let mut second = Caller::new(&mut old, Party::Trunk, "1001");
        let offer = new.sdp(Party::Trunk, 4100);
        second.invite(&mut old, "", &offer);
        old.nothing_sent();
        assert_eq!(cross(&mut old, &mut new), 1);
        new.response_to(Party::Trunk, 100);
        let invite = new.request_to(Party::Router, Method::Invite);
        let answer = new.sdp(Party::Router, 6100);
        new.answer(Party::Router, &invite, 200, "um2", "", &answer);
        new.request_to(Party::Router, Method::Ack);
        let accepted = new.response_to(Party::Trunk, 200);
        second.learn(&accepted);
        second.ack(&mut old, "");
        assert_eq!(cross(&mut old, &mut new), 1, "an ACK that is the other's");
        new.nothing_sent();

        // The old call ends on a connection of the new process.
        caller.next(&mut new, "BYE", "", "");
        new.nothing_sent();
        assert_eq!(cross(&mut new, &mut old), 1);
        old.response_to(Party::Trunk, 200);
        let bye = old.request_to(callee.party, Method::Bye);
        new.answer(callee.party, &bye, 200, "", "", "");
        assert_eq!(cross(&mut new, &mut old), 1, "an answer that is the other's");
        assert!(old.facts.iter().any(|fact| matches!(fact.what, What::Drained)), "the old process knows that it is done");
        assert_eq!((old.records().len(), new.records().len()), (1, 0));

        new.handle(Event::Companion(Change::Alone));
        second.next(&mut new, "BYE", "", "");
        new.response_to(Party::Trunk, 200);
        let bye = new.request_to(Party::Router, Method::Bye);
        new.answer(Party::Router, &bye, 200, "", "", "");
        old.finish();
        new.finish();
    }
}

#[test]
fn a_call_in_its_setup_stays_where_it_began() {
    for scene in Scene::everywhere() {
        let (mut old, mut new) = two(&scene);
        let (mut caller, callee) = invited(&mut old, "");
        take_over(&mut old, &mut new);
        // Its answer comes through the new process.
        let answer = new.sdp(Party::Router, 6000);
        callee.answer(&mut new, 200, "", &answer);
        assert_eq!(cross(&mut new, &mut old), 1);
        old.request_to(Party::Router, Method::Ack);
        let accepted = old.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut new, "");
        assert_eq!(cross(&mut new, &mut old), 1);
        crate::lab::hang_up(&mut old, &mut caller, &callee);
        new.nothing_sent();
    }
}

#[test]
fn a_cancel_finds_its_invite_and_options_find_the_one_that_takes_calls() {
    for scene in Scene::everywhere() {
        let (mut old, mut new) = two(&scene);
        let (mut caller, callee) = invited(&mut old, "");
        old.answer(callee.party, &callee.invite, 180, "um1", "", "");
        old.response_to(Party::Trunk, 180);
        take_over(&mut old, &mut new);
        caller.cancel(&mut new);
        assert_eq!(cross(&mut new, &mut old), 1, "a CANCEL has no tag, and is about something all the same");
        old.response_to(Party::Trunk, 200);
        old.response_to(Party::Trunk, 487);
        old.request_to(Party::Router, Method::Cancel);

        let branch = old.branch();
        let via = old.transport.via_token();
        let options = format!(
            "OPTIONS sip:192.0.2.1 SIP/2.0\nVia: SIP/2.0/{via} 192.0.2.10:5060;branch={branch}\nMax-Forwards: 70\nFrom: <sip:192.0.2.10>;tag=o\nTo: <sip:192.0.2.1>\nCall-ID: o1\nCSeq: 1 OPTIONS\n\n"
        );
        old.receive(Party::Trunk, &options);
        assert_eq!(cross(&mut old, &mut new), 1);
        new.response_to(Party::Trunk, 200);
        // What belongs to nobody is answered once, by the one it was handed to.
        let stray = options.replace("To: <sip:192.0.2.1>", "To: <sip:192.0.2.1>;tag=nobodys").replace(&branch, "z9hG4bKstray");
        old.receive(Party::Trunk, &stray);
        assert_eq!(cross(&mut old, &mut new), 1);
        new.response_to(Party::Trunk, 481);
        old.nothing_to(Party::Trunk);
    }
}

#[test]
fn nothing_is_used_twice() {
    let scene = Scene::default();
    let (mut old, mut new) = two(&scene);
    established(&mut old);
    let bequest = take_over(&mut old, &mut new);
    assert_eq!(bequest.next_call, 2);
    assert!(!bequest.ports.is_empty());
    established(&mut new);
    let began = new.facts.iter().filter(|fact| matches!(fact.what, What::CallBegan { .. })).filter_map(|fact| fact.call);
    assert_eq!(began.collect::<Vec<CallId>>(), [CallId(2)]);
    let used = |lab: &Lab| {
        let opened = lab.media.iter().filter_map(|command| match command {
            portcullis::media::control::Command::Open { a, b, .. } => Some([a.rtp, b.rtp]),
            _ => None,
        });
        opened.flatten().collect::<Vec<_>>()
    };
    assert!(used(&new).iter().all(|port| !bequest.ports.contains(port)), "a pair that the old process has kept");
    assert!(used(&old).iter().all(|port| bequest.ports.contains(port)));
}

#[test]
fn who_is_left_alone_takes_calls_again() {
    for scene in Scene::everywhere() {
        let (mut old, mut new) = two(&scene);
        let (mut caller, callee) = established(&mut old);
        take_over(&mut old, &mut new);
        old.handle(Event::Companion(Change::Alone));
        old.handle(Event::Command(Command::Resume));
        established(&mut old);
        assert!(old.handed.is_empty());
        caller.next(&mut old, "BYE", "", "");
        old.response_to(Party::Trunk, 200);
        old.request_to(callee.party, Method::Bye);
    }
}

#[test]
fn calls_of_two_processes_are_not_joined_and_the_reason_says_why() {
    let scene = crate::transfer::scene();
    let (mut old, mut new) = two(&scene);
    let (first, _) = established(&mut old);
    take_over(&mut old, &mut new);
    let (_, mut um) = established(&mut new);
    um.next(&mut new, "REFER", &refer_to(&first.call_id, "of-the-old", &first.tag), "");
    new.response_to(Party::Router, 202);
    let trying = new.request_to(Party::Router, Method::Notify);
    new.answer(Party::Router, &trying, 200, "", "", "");
    let last = new.request_to(Party::Router, Method::Notify);
    assert!(last.sdp().starts_with("SIP/2.0 481 "), "{}", last.text());
    let told = |what: &What| matches!(what, What::Decided(decisions) if decisions.iter().any(|one| one.refused == Some(Reason::TransferElsewhere)));
    assert!(new.facts.iter().any(|fact| told(&fact.what)));
}

#[test]
fn a_process_that_is_left_is_not_done_before_its_requests_outside_calls_are() {
    let scene = Scene::default();
    let (mut old, mut new) = two(&scene);
    let carriage = Carriage { id: "one".into(), peer: "server".into(), uri: "sip:missed@um".into(), by: By::Message, body: "{}".into() };
    old.handle(Event::Command(Command::Carry(Box::new(carriage))));
    let message = old.request_to(Party::Server, Method::Message);
    take_over(&mut old, &mut new);
    let is_done = |lab: &Lab| lab.facts.iter().any(|fact| matches!(fact.what, What::Drained));
    assert!(!is_done(&old), "a request of its own is under way");
    old.answer(Party::Server, &message, 200, "", "", "");
    assert!(is_done(&old));
}
