//! The basic call and its ends, RFC 3665 §3.

use std::time::Duration;

use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::ReleasedBy;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Caller, Lab, Party, Scene, sdp};

/// Sets up a call; the callee's dialog is that of `invite`.
pub fn established(lab: &mut Lab) -> (Caller, crate::lab::Sent) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    caller.invite(lab, "", &sdp(Party::Trunk, 4000));
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 180, "um1", "", "");
    let ringing = lab.response_to(Party::Trunk, 180);
    assert!(ringing.header(HeaderName::To).contains(";tag="));
    lab.answer(Party::Router, &invite, 200, "um1", "", &sdp(Party::Router, 6000));
    lab.request_to(Party::Router, Method::Ack);
    let answer = lab.response_to(Party::Trunk, 200);
    caller.learn(&answer);
    caller.ack(lab, "");
    lab.nothing_sent();
    (caller, invite)
}

#[test]
fn a_call_is_answered_and_the_caller_hangs_up() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, _) = established(&mut lab);
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(Party::Router, Method::Bye);
    assert!(lab.records().is_empty(), "the record waits for both legs");
    lab.answer(Party::Router, &bye, 200, "um1", "", "");
    let records = lab.records();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].reason, records[0].released_by), (Reason::NormalClearing, ReleasedBy::Caller));
    assert_eq!(records[0].a.codec.as_deref(), Some("PCMA/8000"));
    assert_eq!(lab.core.calls(), 0);
}

#[test]
fn nothing_of_one_side_is_seen_on_the_other() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "User-Agent: secretphone\nX-Secret: 1\n", &sdp(Party::Trunk, 4000));
    let invite = lab.request_to(Party::Router, Method::Invite);
    for secret in ["192.0.2.10", "secret", &caller.call_id, &caller.tag, &caller.branch] {
        assert!(!invite.text().contains(secret), "{secret} in\n{}", invite.text());
    }
    lab.answer(Party::Router, &invite, 200, "um1", "Server: secretserver\n", &sdp(Party::Router, 6000));
    lab.response_to(Party::Trunk, 100);
    let answer = lab.response_to(Party::Trunk, 200);
    for secret in ["198.51.100", "secret", "um1", "Whatever"] {
        assert!(!answer.text().contains(secret), "{secret} in\n{}", answer.text());
    }
}

#[test]
fn the_called_side_hangs_up() {
    let mut lab = Lab::new(Scene::default());
    let (_, invite) = established(&mut lab);
    let branch = lab.branch();
    let bye = format!(
        "BYE sip:192.0.2.1:5060 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.20:5060;branch={branch}\nMax-Forwards: 70\nFrom: {};tag=um1\nTo: {}\nCall-ID: {}\nCSeq: 1 BYE\n\n",
        invite.header(HeaderName::To),
        invite.header(HeaderName::From),
        invite.header(HeaderName::CallId)
    );
    lab.receive(Party::Router, &bye);
    lab.response_to(Party::Router, 200);
    let bye = lab.request_to(Party::Trunk, Method::Bye);
    lab.answer(Party::Trunk, &bye, 200, "", "", "");
    assert_eq!(lab.records()[0].released_by, ReleasedBy::Called);
}

#[test]
fn an_invite_to_a_dead_target_is_repeated_and_given_up() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", &sdp(Party::Trunk, 4000));
    lab.response_to(Party::Trunk, 100);
    lab.pass(Duration::from_millis(9_900));
    let invites = lab.sent.iter().filter(|sent| sent.to == Party::Router).count();
    assert_eq!(invites, 5, "at 0, 0.5, 1.5, 3.5 and 7.5 s");
    lab.sent.clear();
    lab.pass(Duration::from_millis(200));
    let refusal = lab.response_to(Party::Trunk, 408);
    caller.learn(&refusal);
    caller.ack(&mut lab, "");
    lab.pass(Duration::from_secs(64));
    assert_eq!(lab.records()[0].reason, Reason::TargetTimeout);
}

#[test]
fn a_lost_ack_ends_the_call_after_64_t1() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", &sdp(Party::Trunk, 4000));
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 200, "um1", "", &sdp(Party::Router, 6000));
    lab.request_to(Party::Router, Method::Ack);
    lab.pass(Duration::from_secs(33));
    let answers = lab.sent.iter().filter(|sent| sent.to == Party::Trunk && sent.status() == 200).count();
    assert_eq!(answers, 11);
    assert!(lab.sent.iter().any(|sent| sent.to == Party::Trunk && sent.message.method() == Some(&Method::Bye)), "{}", lab.ladder());
    assert!(lab.sent.iter().any(|sent| sent.to == Party::Router && sent.message.method() == Some(&Method::Bye)));
    lab.pass(Duration::from_secs(64));
    assert_eq!(lab.records()[0].reason, Reason::AckMissing);
}
