//! Security modes in a call's life: nothing below the mode is accepted, nothing is mended by a downgrade, and keys never travel in the clear.

use portcullis::media::control::{Command, Configuration, Protection, Side};
use portcullis::policy::settings::SecurityMode;
use portcullis::policy::verdict::Reason;
use portcullis::sip::{Method, Transport};

use crate::lab::{Caller, Lab, Party, Scene, describe, established, hang_up, invited, key_of, sdp, sdp_with};

fn offered(scene: Scene, offer: &str, status: u16, reason: Reason) {
    let mut lab = Lab::new(scene);
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", offer);
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, status);
    lab.nothing_sent();
    assert!(lab.media.is_empty());
    lab.finish();
    assert_eq!(lab.records()[0].reason, reason);
}

fn with_key(profile: &str) -> String {
    sdp_with(Party::Trunk, 4000, profile, &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\n", key_of(Party::Trunk, 4000)))
}

#[test]
fn offers_that_are_not_what_the_mode_demands() {
    offered(Scene::secured(), &sdp(Party::Trunk, 4000), 488, Reason::ModeMedia);
    offered(Scene::secured(), &with_key("RTP/AVP"), 488, Reason::ModeMedia);
    offered(Scene::secured(), &sdp_with(Party::Trunk, 4000, "RTP/SAVP", ""), 488, Reason::MediaUnacceptable);
    offered(Scene::secured(), &with_key("UDP/TLS/RTP/SAVP"), 488, Reason::ModeMedia);
    let sip_secured = Scene { transport: Transport::Tls, mode: SecurityMode::SipSecured, ..Scene::default() };
    offered(sip_secured, &with_key("RTP/SAVP"), 488, Reason::ModeMedia);
    for clear in [Scene::default(), Scene::tcp()] {
        offered(clear.clone(), &with_key("RTP/SAVP"), 488, Reason::KeysInClear);
        offered(clear, &with_key("RTP/AVP"), 488, Reason::KeysInClear);
    }
}

#[test]
fn an_answer_below_the_mode_ends_the_call() {
    let bad = [sdp(Party::Router, 6000), sdp_with(Party::Router, 6000, "RTP/SAVP", "a=sendrecv\n")];
    for answer in bad {
        for (status, first) in [(200, Method::Ack), (183, Method::Cancel)] {
            let mut lab = Lab::new(Scene::secured());
            let (_, callee) = invited(&mut lab, "");
            callee.answer(&mut lab, status, "", &answer);
            lab.request_to(Party::Router, first);
            if status == 200 {
                lab.request_to(Party::Router, Method::Bye);
            }
            lab.response_to(Party::Trunk, 488);
            lab.finish();
            assert!(matches!(lab.records()[0].reason, Reason::ModeMedia | Reason::MediaUnacceptable));
        }
    }
}

#[test]
fn keys_differ_on_the_legs_and_reach_the_media_plane() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = established(&mut lab);
    let accepted = lab.ladder();
    let theirs = [key_of(Party::Trunk, 4000), key_of(Party::Router, 6000)];
    assert!(!callee.invite.sdp().contains(&theirs[0]));
    for side in [Side::A, Side::B] {
        let protected = lab.media.iter().any(|command| {
            matches!(command, Command::Configure { side: at, set: Configuration { receive: Some(Protection::Srtp(_)), transmit: Some(Protection::Srtp(_)), .. }, .. } if *at == side)
        });
        assert!(protected, "{side} is SRTP both ways");
    }
    let plain = lab.media.iter().any(|command| {
        matches!(
            command,
            Command::Configure { set: Configuration { receive: Some(Protection::Plain), .. } | Configuration { transmit: Some(Protection::Plain), .. }, .. }
        )
    });
    assert!(!plain);
    for key in theirs {
        assert!(!accepted.contains(&key), "no key in the ladder");
    }
    hang_up(&mut lab, &mut caller, &callee);
    let record = lab.records()[0];
    assert_eq!(record.a.suite, Some(portcullis::sdp::crypto::Suite::ALL[0]));
    assert!(record.a.tls.is_some() && record.b.as_ref().is_some_and(|leg| leg.tls.is_some()));
}

/// A key that was made for an answer but never sent was taken for one in force: the record named a suite, and the media plane was given the key.
#[test]
fn a_declined_stream_has_no_key_and_no_suite_in_the_record() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = invited(&mut lab, "");
    let declined = sdp_with(Party::Router, 0, "RTP/SAVP", "");
    callee.answer(&mut lab, 200, "", &declined);
    lab.request_to(Party::Router, Method::Ack);
    let answer = lab.response_to(Party::Trunk, 200);
    assert!(answer.sdp().contains("m=audio 0 ") && !answer.sdp().contains("a=crypto"), "{}", answer.sdp());
    caller.learn(&answer);
    caller.ack(&mut lab, "");
    let under_a_key =
        lab.media.iter().any(|command| matches!(command, Command::Configure { set: Configuration { transmit: Some(Protection::Srtp(_)), .. }, .. }));
    assert!(!under_a_key, "nobody was told a key of ours");
    hang_up(&mut lab, &mut caller, &callee);
    let record = lab.records()[0];
    let legs = [Some(&record.a), record.b.as_ref()];
    assert!(legs.into_iter().flatten().all(|leg| leg.mode == SecurityMode::Secured && leg.suite.is_none() && leg.codec.is_none()), "{record:?}");
    assert!(lab.ladder().contains("TLS13_AES_256_GCM_SHA384, no media"), "{}", lab.ladder());
}

#[test]
fn the_first_offer_again_in_a_call_that_is_up_changes_neither_keys_nor_names() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = established(&mut lab);
    let line = |text: String, start: &str| text.lines().find(|line| line.starts_with(start)).map(|line| line.split(' ').take(3).last().map(String::from));
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix("o=- ")?.split(' ').next().map(String::from));
    let offer = lab.sdp(Party::Trunk, 4000).replace(" 71 1 ", " 71 2 ");
    caller.next(&mut lab, "INVITE", "", &offer);
    lab.response_to(Party::Trunk, 100);
    let carried = lab.request_to(Party::Router, Method::Invite);
    assert_eq!(id(carried.sdp()), id(callee.invite.sdp()));
    assert_eq!(line(carried.sdp(), "a=crypto:1"), line(callee.invite.sdp(), "a=crypto:1"));
    let answer = lab.sdp(Party::Router, 6000);
    lab.answer(Party::Router, &carried, 200, "", "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 200);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_request_in_the_dialog_below_the_plan_is_refused() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = established(&mut lab);
    // A reload moved the peer to TCP: the call's own plan still holds.
    let scene = Scene { mode: SecurityMode::Unsecured, ..Scene::tcp() };
    let set = crate::lab::policy_set(&scene);
    lab.handle(portcullis::signaling::event::Event::Peers(std::sync::Arc::new(crate::lab::peer_table(2, &set))));
    lab.transport = Transport::Tcp;
    caller.next(&mut lab, "UPDATE", "", "");
    lab.response_to(Party::Trunk, 403);
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 403);
    assert_eq!(lab.core.calls(), 1);
    lab.transport = Transport::Tls;
    let set = crate::lab::policy_set(&Scene::secured());
    lab.handle(portcullis::signaling::event::Event::Peers(std::sync::Arc::new(crate::lab::peer_table(3, &set))));
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn what_an_answer_of_the_wrong_shape_does_to_a_re_invite() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, _) = established(&mut lab);
    let offer = describe(SecurityMode::Secured, Party::Trunk, 4010, "a=sendrecv\n");
    caller.next(&mut lab, "INVITE", "", &offer);
    lab.response_to(Party::Trunk, 100);
    let carried = lab.request_to(Party::Router, Method::Invite);
    let plain = sdp(Party::Router, 6000);
    lab.answer(Party::Router, &carried, 200, "", "", &plain);
    lab.request_to(Party::Router, Method::Ack);
    lab.request_to(Party::Router, Method::Bye);
    lab.response_to(Party::Trunk, 487);
    lab.request_to(Party::Trunk, Method::Bye);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::ModeMedia);
}
