//! Changes inside a call: hold and resume (RFC 5359 §2.1, §2.2), re-INVITE and UPDATE both ways, refreshes, glare, refusals, INFO.

use std::time::Duration;

use portcullis::media::control::{Command, Configuration, Side};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established, established_with, hang_up};

fn everywhere(flow: impl Fn(&mut Lab, &mut Caller, &mut Callee)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = established(&mut lab);
        flow(&mut lab, &mut caller, &mut callee);
        if lab.core.calls() > 0 {
            hang_up(&mut lab, &mut caller, &callee);
        }
        lab.finish();
    }
}

fn held(lab: &Lab) -> Vec<(Side, bool)> {
    lab.facts.iter().filter_map(|fact| if let What::Held { by, held } = fact.what { Some((by, held)) } else { None }).collect()
}

/// The caller re-INVITEs with `offer`; the called side answers with `answer`.
fn reinvite_from_caller(lab: &mut Lab, caller: &mut Caller, offer: &str, answer: &str) -> (String, String) {
    caller.next(lab, "INVITE", "", offer);
    lab.response_to(Party::Trunk, 100);
    let carried = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &carried, 200, "", "", answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.ack(lab, "");
    lab.nothing_sent();
    (carried.sdp(), accepted.sdp())
}

#[test]
fn the_caller_holds_and_resumes() {
    everywhere(|lab, caller, _| {
        for (offered, answered) in
            [("a=sendonly\n", "a=recvonly\n"), ("a=sendrecv\n", "a=sendrecv\n"), ("a=inactive\n", "a=inactive\n"), ("a=sendrecv\n", "a=sendrecv\n")]
        {
            let offer = lab.sdp_saying(Party::Trunk, 4000, offered).replace(" 71 1 ", " 71 2 ");
            let answer = lab.sdp_saying(Party::Router, 6000, answered);
            let (carried, accepted) = reinvite_from_caller(lab, caller, &offer, &answer);
            assert!(carried.contains(offered.trim()) && accepted.contains(answered.trim()), "{carried}\n{accepted}");
        }
        assert_eq!(held(lab), [(Side::A, true), (Side::A, false), (Side::A, true), (Side::B, true), (Side::A, false), (Side::B, false)]);
    });
}

#[test]
fn the_called_side_holds_and_resumes() {
    everywhere(|lab, _, callee| {
        for (offered, answered) in [("a=sendonly\n", "a=recvonly\n"), ("a=sendrecv\n", "a=sendrecv\n")] {
            let offer = lab.sdp_saying(Party::Router, 6000, offered).replace(" 71 1 ", " 71 2 ");
            callee.next(lab, "INVITE", "", &offer);
            lab.response_to(Party::Router, 100);
            let carried = lab.request_to(Party::Trunk, Method::Invite);
            assert!(carried.sdp().contains(offered.trim()));
            let answer = lab.sdp_saying(Party::Trunk, 4000, answered);
            lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
            lab.request_to(Party::Trunk, Method::Ack);
            lab.response_to(Party::Router, 200);
            callee.ack(lab, "");
            lab.nothing_sent();
            let told = lab.media.iter().rev().find_map(|command| match command {
                Command::Configure { side: Side::B, set, .. } => set.direction.map(|direction| format!("a={}\n", direction.name())),
                _ => None,
            });
            assert_eq!(told.as_deref(), Some(offered), "what is said is what media does");
        }
        assert_eq!(held(lab), [(Side::B, true), (Side::B, false)]);
    });
}

#[test]
fn a_consultation_one_call_on_hold_while_another_is_made() {
    everywhere(|lab, caller, _| {
        let say = |lab: &Lab, attributes: &str, version: &str| lab.sdp_saying(Party::Trunk, 4000, attributes).replace(" 71 1 ", &format!(" 71 {version} "));
        let (offer, answer) = (say(lab, "a=sendonly\n", "2"), lab.sdp_saying(Party::Router, 6000, "a=recvonly\n"));
        reinvite_from_caller(lab, caller, &offer, &answer);
        let (mut second, other) = established(lab);
        second.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Router, Method::Bye);
        assert_eq!(bye.header(HeaderName::CallId), other.invite.header(HeaderName::CallId));
        lab.answer(Party::Router, &bye, 200, "", "", "");
        let (offer, answer) = (say(lab, "a=sendrecv\n", "3"), lab.sdp(Party::Router, 6000));
        reinvite_from_caller(lab, caller, &offer, &answer);
        assert_eq!(held(lab), [(Side::A, true), (Side::A, false)]);
    });
}

#[test]
fn info_without_end_is_not_carried_without_end() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = established(&mut lab);
    for _ in 0..40 {
        caller.next(&mut lab, "INFO", "", "");
    }
    assert_eq!(lab.drain_to(Party::Router).len(), 16);
    assert_eq!(lab.drain_to(Party::Trunk).len(), 24);
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn hold_of_the_old_kind_with_no_address() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = established(&mut lab);
    let offer = lab.sdp(Party::Trunk, 4000).replace("c=IN IP4 192.0.2.10", "c=IN IP4 0.0.0.0").replace(" 71 1 ", " 71 2 ");
    let answer = lab.sdp(Party::Router, 6000);
    reinvite_from_caller(&mut lab, &mut caller, &offer, &answer);
    let stopped =
        lab.media.iter().rev().any(|command| matches!(command, Command::Configure { side: Side::A, set: Configuration { remote: Some(None), .. }, .. }));
    assert!(stopped, "nothing is sent to a caller without an address");
    assert_eq!(held(&lab), [(Side::A, true)]);
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_re_invite_without_an_offer_asks_the_other_side_for_one() {
    everywhere(|lab, caller, _| {
        caller.next(lab, "INVITE", "", "");
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        assert!(carried.sdp().is_empty());
        let offer = lab.sdp(Party::Router, 6010);
        lab.answer(Party::Router, &carried, 200, "", "", &offer);
        let offered = lab.response_to(Party::Trunk, 200);
        assert!(offered.sdp().contains("m=audio"));
        lab.answer(Party::Router, &carried, 200, "", "", &offer);
        lab.nothing_sent();
        let answer = lab.sdp(Party::Trunk, 4000);
        caller.ack(lab, &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert!(ack.sdp().contains("m=audio"));
        lab.answer(Party::Router, &carried, 200, "", "", &offer);
        assert_eq!(lab.request_to(Party::Router, Method::Ack).message.bytes(), ack.message.bytes());
        lab.nothing_sent();
    });
}

#[test]
fn a_refresh_is_answered_without_asking_the_other_side() {
    everywhere(|lab, caller, callee| {
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 100);
        let answer = lab.response_to(Party::Trunk, 200);
        assert!(answer.sdp().contains("m=audio"));
        caller.ack(lab, "");
        lab.nothing_sent();
        let repeated = lab.sdp(Party::Router, 6000);
        callee.next(lab, "INVITE", "", &repeated);
        lab.response_to(Party::Router, 100);
        lab.response_to(Party::Router, 200);
        callee.ack(lab, "");
        callee.next(lab, "UPDATE", "", &repeated);
        assert!(lab.response_to(Party::Router, 200).sdp().contains("m=audio"));
        callee.next(lab, "UPDATE", "", "");
        assert!(lab.response_to(Party::Router, 200).sdp().is_empty());
        lab.nothing_sent();
    });
}

#[test]
fn refused_the_session_stays_what_it_was() {
    everywhere(|lab, caller, _| {
        let commands = lab.media.len();
        for status in [488, 491, 500, 603] {
            let offer = lab.sdp_saying(Party::Trunk, 4002, "a=sendonly\n").replace(" 71 1 ", " 71 2 ");
            caller.next(lab, "INVITE", "", &offer);
            lab.response_to(Party::Trunk, 100);
            let carried = lab.request_to(Party::Router, Method::Invite);
            lab.answer(Party::Router, &carried, status, "", "", "");
            lab.request_to(Party::Router, Method::Ack);
            lab.response_to(Party::Trunk, status);
            caller.ack_refusal(lab);
        }
        assert_eq!(lab.media.len(), commands, "nothing was changed in the media plane: {:?}", &lab.media[commands..]);
        // And a change is still possible.
        let offer = lab.sdp_saying(Party::Trunk, 4002, "a=sendonly\n").replace(" 71 1 ", " 71 3 ");
        let answer = lab.sdp_saying(Party::Router, 6000, "a=recvonly\n");
        reinvite_from_caller(lab, caller, &offer, &answer);
    });
}

#[test]
fn an_offer_below_the_mode_is_refused_here() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, mut callee) = established(&mut lab);
    let plain = crate::lab::sdp(Party::Trunk, 4000);
    caller.next(&mut lab, "INVITE", "", &plain);
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    let plain = crate::lab::sdp(Party::Router, 6000);
    callee.next(&mut lab, "UPDATE", "", &plain);
    lab.response_to(Party::Router, 488);
    lab.nothing_sent();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_dialog_the_other_side_no_longer_knows_ends_the_call() {
    for status in [481, 408] {
        everywhere(|lab, caller, _| {
            let offer = lab.sdp(Party::Trunk, 4002);
            caller.next(lab, "INVITE", "", &offer);
            lab.response_to(Party::Trunk, 100);
            let carried = lab.request_to(Party::Router, Method::Invite);
            lab.answer(Party::Router, &carried, status, "", "", "");
            lab.request_to(Party::Router, Method::Ack);
            lab.response_to(Party::Trunk, status);
            lab.request_to(Party::Trunk, Method::Bye);
            lab.request_to(Party::Router, Method::Bye);
            lab.finish();
            assert_eq!(lab.records()[0].reason, Reason::DialogGone);
        });
    }
}

#[test]
fn glare_the_border_is_asked_by_both_sides_at_once() {
    everywhere(|lab, caller, callee| {
        let offer = lab.sdp(Party::Trunk, 4002);
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        // The called side asks before it has seen ours: it gets 491, and gives us one.
        let other = lab.sdp(Party::Router, 6002);
        callee.next(lab, "INVITE", "", &other);
        lab.response_to(Party::Router, 491);
        callee.ack_refusal(lab);
        callee.next(lab, "UPDATE", "", &other);
        lab.response_to(Party::Router, 491);
        lab.answer(Party::Router, &carried, 491, "", "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, 491);
        caller.ack_refusal(lab);
        // The owner of the Call-ID waits longer; the other's turn comes first.
        callee.next(lab, "INVITE", "", &other);
        lab.response_to(Party::Router, 100);
        let carried = lab.request_to(Party::Trunk, Method::Invite);
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        lab.response_to(Party::Router, 200);
        callee.ack(lab, "");
        lab.nothing_sent();
    });
}

#[test]
fn a_second_request_of_the_same_side_is_told_to_wait() {
    everywhere(|lab, caller, _| {
        let offer = lab.sdp(Party::Trunk, 4002);
        caller.next(lab, "UPDATE", "", &offer);
        let carried = lab.request_to(Party::Router, Method::Update);
        let another = lab.sdp(Party::Trunk, 4004);
        caller.next(lab, "UPDATE", "", &another);
        let busy = lab.response_to(Party::Trunk, 500);
        assert!(!busy.header(HeaderName::RetryAfter).is_empty());
        let answer = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.response_to(Party::Trunk, 200);
        let another = lab.sdp(Party::Trunk, 4006);
        caller.next(lab, "INVITE", "", &another);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        let first = caller.branch.clone();
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 500);
        caller.ack_refusal(lab);
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, 200);
        caller.cseq -= 1;
        caller.branch = first;
        caller.ack(lab, "");
        caller.cseq += 1;
        lab.nothing_sent();
    });
}

#[test]
fn update_both_ways() {
    everywhere(|lab, caller, callee| {
        let offer = lab.sdp_saying(Party::Trunk, 4000, "a=sendonly\n").replace(" 71 1 ", " 71 2 ");
        caller.next(lab, "UPDATE", "", &offer);
        let carried = lab.request_to(Party::Router, Method::Update);
        assert!(carried.sdp().contains("a=sendonly") && !carried.header(HeaderName::Contact).is_empty());
        let answer = lab.sdp_saying(Party::Router, 6000, "a=recvonly\n");
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        assert!(lab.response_to(Party::Trunk, 200).sdp().contains("a=recvonly"));
        let offer = lab.sdp(Party::Router, 6000).replace(" 71 1 ", " 71 2 ");
        callee.next(lab, "UPDATE", "", &offer);
        let carried = lab.request_to(Party::Trunk, Method::Update);
        lab.answer(Party::Trunk, &carried, 488, "", "", "");
        lab.response_to(Party::Router, 488);
        callee.next(lab, "UPDATE", "", &offer.replace(" 71 2 ", " 71 3 "));
        let carried = lab.request_to(Party::Trunk, Method::Update);
        let answer = lab.sdp(Party::Trunk, 4000).replace(" 71 1 ", " 71 3 ");
        lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
        lab.response_to(Party::Router, 200);
        lab.nothing_sent();
    });
}

#[test]
fn an_update_the_other_side_cannot_take_is_refused() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = established_with(&mut lab, ALLOW, "Allow: INVITE, ACK, BYE\n");
    let offer = lab.sdp(Party::Trunk, 4002);
    caller.next(&mut lab, "UPDATE", "", &offer);
    lab.response_to(Party::Trunk, 488);
    lab.nothing_sent();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_re_invite_taken_back_is_taken_back_on_the_other_side_too() {
    everywhere(|lab, caller, _| {
        let offer = lab.sdp_saying(Party::Trunk, 4000, "a=sendonly\n").replace(" 71 1 ", " 71 2 ");
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        lab.answer(Party::Router, &carried, 180, "", "", "");
        caller.cancel(lab);
        lab.response_to(Party::Trunk, 200);
        let cancel = lab.request_to(Party::Router, Method::Cancel);
        lab.answer(Party::Router, &cancel, 200, "", "", "");
        lab.answer(Party::Router, &carried, 487, "", "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, 487);
        caller.ack_refusal(lab);
        lab.nothing_sent();
        // Too late this time: the other side accepts, so the asker is told that it holds.
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        lab.answer(Party::Router, &carried, 100, "", "", "");
        caller.cancel(lab);
        lab.response_to(Party::Trunk, 200);
        lab.request_to(Party::Router, Method::Cancel);
        let answer = lab.sdp_saying(Party::Router, 6000, "a=recvonly\n");
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, 200);
        caller.ack(lab, "");
        lab.nothing_sent();
    });
}

#[test]
fn a_re_invite_accepted_after_the_call_ended_gets_its_ack() {
    everywhere(|lab, caller, callee| {
        let offer = lab.sdp(Party::Trunk, 4002);
        caller.next(lab, "INVITE", "", &offer);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        caller.next(lab, "BYE", "", "");
        let sent = lab.drain_to(Party::Trunk);
        assert_eq!(sent.iter().map(|sent| sent.status()).collect::<Vec<_>>(), [200, 487]);
        let bye = lab.request_to(callee.party, Method::Bye);
        let answer = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        assert_eq!(ack.header(HeaderName::CSeq).split(' ').next(), carried.header(HeaderName::CSeq).split(' ').next());
        lab.answer(Party::Router, &bye, 200, "", "", "");
        assert_eq!(lab.core.calls(), 0);
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.request_to(Party::Router, Method::Ack);
    });
}

#[test]
fn info_is_carried_with_its_body_and_status() {
    everywhere(|lab, caller, callee| {
        let digit = "Signal=5\nDuration=160\n";
        caller.cseq += 1;
        let text = caller.request(lab, "INFO", "Content-Type: application/dtmf-relay\nX-Secret: 1\n", "");
        lab.receive(Party::Trunk, &(text + digit));
        let carried = lab.request_to(Party::Router, Method::Info);
        assert!(carried.sdp().starts_with("Signal=5") && !carried.text().contains("Secret"), "{}", carried.text());
        assert_eq!(carried.header(HeaderName::ContentType), "application/dtmf-relay");
        lab.answer(Party::Router, &carried, 200, "", "", "");
        lab.response_to(Party::Trunk, 200);
        callee.next(lab, "INFO", "", "");
        let carried = lab.request_to(Party::Trunk, Method::Info);
        lab.answer(Party::Trunk, &carried, 415, "", "", "");
        lab.response_to(Party::Router, 415);
        // The call ends while one is under way.
        callee.next(lab, "INFO", "", "");
        lab.request_to(Party::Trunk, Method::Info);
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Router, Method::Bye);
        lab.response_to(Party::Router, 487);
        lab.answer(Party::Router, &bye, 200, "", "", "");
        lab.pass(Duration::from_secs(33));
        lab.sent.clear();
    });
}

#[test]
fn requests_that_do_not_fit_the_dialog_change_nothing() {
    everywhere(|lab, caller, _| {
        // An old CSeq.
        let cseq = caller.cseq;
        caller.cseq = 0;
        caller.next(lab, "INFO", "", "");
        lab.response_to(Party::Trunk, 500);
        caller.cseq = cseq;
        // A tag that is not the caller's.
        let tag = std::mem::replace(&mut caller.tag, "other".into());
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 481);
        caller.tag = tag;
        // Another Call-ID.
        let call_id = std::mem::replace(&mut caller.call_id, "other".into());
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 481);
        caller.call_id = call_id;
        // The right names out of the wrong mouth.
        for thief in [Party::Router, Party::Server] {
            caller.next(lab, "OPTIONS", "", "");
            lab.response_to(Party::Trunk, 200);
            let bye = caller.request(lab, "BYE", "", "");
            lab.receive(thief, &bye);
            lab.response_to(thief, 481);
        }
        caller.next(lab, "REFER", "Refer-To: <sip:2@192.0.2.10>\n", "");
        assert!(!lab.response_to(Party::Trunk, 405).header(HeaderName::Allow).is_empty());
        caller.next(lab, "INFO", "Require: x-unknown\n", "");
        assert_eq!(lab.response_to(Party::Trunk, 420).header(HeaderName::Unsupported), "x-unknown");
        caller.next(lab, "PRACK", "RAck: 1 1 INVITE\n", "");
        lab.response_to(Party::Trunk, 481);
        lab.nothing_sent();
    });
}

#[test]
fn another_server_of_the_pool_may_speak_for_the_called_side() {
    everywhere(|lab, caller, callee| {
        callee.party = Party::Server;
        callee.next(lab, "OPTIONS", "", "");
        lab.response_to(Party::Server, 200);
        // But what the border says still goes to whom it called.
        callee.party = Party::Router;
        hang_up(lab, caller, callee);
    });
}

#[test]
fn no_answer_to_a_re_invite_ends_the_call() {
    everywhere(|lab, caller, _| {
        let offer = lab.sdp(Party::Trunk, 4002);
        caller.next(lab, "INVITE", "", &offer);
        lab.pass(Duration::from_secs(33));
        let sent: Vec<u16> = lab.drain_to(Party::Trunk).iter().map(|sent| sent.status()).collect();
        assert_eq!(sent[..2], [100, 408]);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::DialogGone);
    });
}
