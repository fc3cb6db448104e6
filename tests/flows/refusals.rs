//! What is not let in, and how it is told: OPTIONS, Max-Forwards, loops, extensions, bodies, broken and over-long messages, strangers.

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Command, Event};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Caller, Lab, Party, Scene, invited, wire};

fn everywhere(flow: impl Fn(&mut Lab)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        flow(&mut lab);
        lab.finish();
    }
}

/// An INVITE of the trunk with `change` made to its text, and the status it gets (after 100 if `tried`).
fn refused(tried: bool, status: u16, change: impl Fn(String) -> String) -> crate::lab::Sent {
    let mut last = None;
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        let invite = change(caller.request(&mut lab, "INVITE", "", &offer));
        lab.receive(Party::Trunk, &invite);
        if tried {
            lab.response_to(Party::Trunk, 100);
        }
        let refusal = lab.response_to(Party::Trunk, status);
        lab.nothing_sent();
        for secret in ["198.51.100", "secret"] {
            assert!(!refusal.text().contains(secret));
        }
        lab.finish();
        assert_eq!(lab.records().len(), usize::from(tried), "one record for each INVITE that could be read");
        last = Some(refusal);
    }
    last.expect("there are scenes")
}

#[test]
fn options_are_answered_and_refused_while_draining() {
    everywhere(|lab| {
        let mut caller = Caller::new(lab, Party::Trunk, "ping");
        caller.next(lab, "OPTIONS", "", "");
        let answer = lab.response_to(Party::Trunk, 200);
        assert!(answer.header(HeaderName::Allow).contains("INVITE") && answer.header(HeaderName::Accept).contains("application/sdp"));
        caller.cseq += 1;
        let options = caller.request(lab, "OPTIONS", "Require: x-secret\n", "");
        lab.receive(Party::Router, &options);
        assert_eq!(lab.response_to(Party::Router, 420).header(HeaderName::Unsupported), "x-secret");
        lab.handle(Event::Command(Command::Drain { release_after: Some(Duration::from_secs(30)) }));
        caller.next(lab, "OPTIONS", "", "");
        assert_eq!(lab.response_to(Party::Trunk, 503).header(HeaderName::RetryAfter), "30");
        lab.handle(Event::Command(Command::Resume));
        caller.next(lab, "OPTIONS", "", "");
        lab.response_to(Party::Trunk, 200);
        lab.nothing_sent();
    });
}

#[test]
fn max_forwards_at_zero_goes_no_further() {
    refused(false, 483, |invite| invite.replace("Max-Forwards: 70", "Max-Forwards: 0"));
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    let invite = caller.request(&mut lab, "INVITE", "", &offer).replace("Max-Forwards: 70", "Max-Forwards: 1");
    lab.receive(Party::Trunk, &invite);
    assert_eq!(lab.request_to(Party::Router, Method::Invite).header(HeaderName::MaxForwards), "0");
    lab.finish();
}

#[test]
fn our_own_request_come_back_is_a_loop() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    caller.branch = lab.branch();
    caller.call_id = "looped".into();
    let ours = callee.invite.header(HeaderName::Via);
    let offer = lab.sdp(Party::Trunk, 4000);
    let looped = caller.text(&lab, "INVITE", 1, &format!("Via: {ours}\n"), &offer);
    lab.receive(Party::Trunk, &looped);
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 482);
    lab.finish();
    assert!(lab.records().iter().any(|record| record.reason == Reason::Loop));
}

#[test]
fn the_same_request_by_two_paths_is_merged() {
    everywhere(|lab| {
        let (caller, _) = invited(lab, "");
        let again = caller.invite.replace(&caller.branch, "z9hG4bKotherpath");
        lab.receive(Party::Trunk, &again);
        lab.response_to(Party::Trunk, 482);
        lab.nothing_sent();
    });
}

#[test]
fn unknown_extensions_bodies_and_methods() {
    let refusal = refused(true, 420, |invite| invite.replace("Max-Forwards", "Require: replaces, x-other\nMax-Forwards"));
    assert!(refusal.text().contains("Unsupported: replaces, x-other\r\n"));
    let refusal = refused(true, 415, |invite| invite.replace("application/sdp", "text/plain"));
    assert_eq!(refusal.header(HeaderName::Accept), "application/sdp");
    refused(true, 488, |invite| format!("{}\n\nm=nonsense\n", invite.split("\n\n").next().unwrap_or_default()));
    everywhere(|lab| {
        for (method, status) in [
            ("REGISTER", 405),
            ("SUBSCRIBE", 405),
            ("MESSAGE", 405),
            ("FROBNICATE", 405),
            ("REFER", 405),
            ("BYE", 481),
            ("UPDATE", 481),
            ("PRACK", 481),
            ("INFO", 481),
        ] {
            let mut caller = Caller::new(lab, Party::Trunk, "1000");
            caller.next(lab, method, "", "");
            let refusal = lab.response_to(Party::Trunk, status);
            assert_eq!(status == 405, !refusal.header(HeaderName::Allow).is_empty());
        }
        let mut caller = Caller::new(lab, Party::Trunk, "1000");
        caller.to.push_str(";tag=nobodys");
        for method in ["BYE", "INVITE", "UPDATE"] {
            caller.next(lab, method, "", "");
            lab.response_to(Party::Trunk, 481);
        }
        caller.ack(lab, "");
        lab.nothing_sent();
    });
}

#[test]
fn messages_that_lack_what_every_message_has() {
    let without = |name: &'static str| {
        move |invite: String| {
            let lines: Vec<&str> = invite.split('\n').filter(|line| !line.starts_with(name)).collect();
            lines.join("\n")
        }
    };
    refused(false, 400, without("Contact:"));
    refused(false, 400, |invite| invite.replace("From: \"Alice\" <sip:2001@192.0.2.10>;tag", "From: \"Alice\" <sip:2001@192.0.2.10>;gat"));
    refused(false, 400, |invite| invite.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"));
    refused(false, 400, |invite| invite.replace("Max-Forwards: 70", "Max-Forwards: many"));
    refused(false, 505, |invite| invite.replace("SIP/2.0\nVia", "SIP/3.0\nVia"));
    refused(true, 416, |invite| invite.replace("INVITE sip:", "INVITE mailto:"));
    // Nothing can be told to whom nothing can be sent.
    for name in ["Via:", "From:", "To:", "Call-ID:", "CSeq:"] {
        let mut lab = Lab::new(Scene::default());
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        let invite = caller.request(&mut lab, "INVITE", "", "");
        lab.receive(Party::Trunk, &without(name)(invite));
        assert!(lab.drain_to(Party::Trunk).iter().all(|sent| sent.status() == 400));
        assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::Malformed { .. })), "{name}");
        lab.finish();
    }
}

#[test]
fn over_long_headers_and_bodies() {
    refused(false, 513, |invite| invite.replace("Max-Forwards", &format!("X-Long: {}\nMax-Forwards", "x".repeat(40_000))));
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let invite = caller.request(&mut lab, "INVITE", "Content-Type: application/sdp\n", "");
    lab.receive(Party::Trunk, &format!("{invite}{}", "a=x\n".repeat(100_000)));
    lab.response_to(Party::Trunk, 413);
    lab.finish();
}

#[test]
fn rubbish_is_counted_and_not_answered() {
    let mut lab = Lab::new(Scene::default());
    for rubbish in [&b""[..], b"\r\n\r\n", b"hello", b"\0\0\0\0", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", &[0xff; 2000]] {
        lab.receive_message(Party::Trunk, bytes::Bytes::copy_from_slice(rubbish));
    }
    lab.nothing_sent();
    lab.finish();
}

#[test]
fn stray_responses_and_acks_are_dropped() {
    everywhere(|lab| {
        let (_, callee) = invited(lab, "");
        let text = crate::lab::response_text(&callee.invite.message, Party::Router, lab.transport, 200, "x", "", "");
        lab.receive(Party::Router, &text.replace("branch=z9hG4bK", "branch=z9hG4bKstray"));
        let mut caller = Caller::new(lab, Party::Trunk, "1000");
        caller.ack(lab, "");
        lab.nothing_sent();
    });
}

#[test]
fn strangers_get_silence() {
    everywhere(|lab| {
        let mut caller = Caller::new(lab, Party::Stranger, "1000");
        for method in ["INVITE", "OPTIONS", "REGISTER", "BYE"] {
            caller.next(lab, method, "", "");
        }
        lab.receive_message(Party::Stranger, wire("rubbish\n\n"));
        lab.nothing_sent();
        assert_eq!(lab.facts.iter().filter(|fact| matches!(fact.what, What::Stranger { .. })).count(), 5);
        assert!(lab.facts.iter().all(|fact| matches!(fact.what, What::Stranger { .. })), "nothing of it is looked at");
    });
}

#[test]
fn a_number_nobody_serves() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "not-a-number");
    caller.invite(&mut lab, "", "");
    lab.response_to(Party::Trunk, 100);
    let refusal = lab.response_to(Party::Trunk, 404);
    caller.learn(&refusal);
    caller.ack_refusal(&mut lab);
    lab.pass(Duration::from_secs(1));
    lab.nothing_sent();
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::PlanMismatch);
}

#[test]
fn an_invite_with_replaces_is_a_new_call_and_one_that_requires_it_is_refused() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "Replaces: 1@a;to-tag=b;from-tag=c\n");
        assert_eq!(callee.invite.header(HeaderName::Replaces), "", "it does not cross");
        let told = lab.facts.iter().any(|fact| match &fact.what {
            What::Decided(trail) => {
                trail.iter().any(|decision| decision.rule.contains("Replaces is not followed") && decision.compared[0].1.contains("to-tag=b"))
            }
            _ => false,
        });
        assert!(told, "{}", lab.ladder());
        callee.answer(&mut lab, 486, "", "");
        lab.drain_to(Party::Router);
        lab.response_to(Party::Trunk, 486);
        caller.ack_refusal(&mut lab);
        lab.finish();
    }
    let refusal = refused(true, 420, |invite| invite.replace("Max-Forwards", "Require: replaces\nReplaces: 1@a;to-tag=b;from-tag=c\nMax-Forwards"));
    assert_eq!(refusal.header(HeaderName::Unsupported), "replaces");
}
