//! A Lync Mediation Server as the trunk: three keys on one line of sound, of which one has no MKI and one is not for us, codecs nobody else knows,
//! patience of ten seconds, twenty early dialogs, and RTCP it does not do without.

use std::time::Duration;

use portcullis::media::control::{Command, Configuration, Protection, Side};
use portcullis::policy::settings::{PeerKind, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Caller, Lab, Party, Scene, established, hang_up, invited, key_of};

fn lync(scene: Scene) -> Lab {
    Lab::new(Scene { trunk: PeerKind::Mediation, ..scene })
}

/// As Lync writes it; `keys`: which of its three lines are there.
fn offer(profile: &str, keys: &[usize]) -> String {
    let address = Party::Trunk.address();
    let key = key_of(Party::Trunk, 5);
    let lines = [
        format!("a=cryptoscale:1 client AES_CM_128_HMAC_SHA1_80 inline:{key}|2^31|1:1\n"),
        format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^31|1:1\n"),
        format!("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^31\n"),
    ];
    let keys: String = keys.iter().map(|index| lines[*index].clone()).collect();
    format!(
        "v=0\no=- 0 0 IN IP4 {address}\ns=session\nc=IN IP4 {address}\nb=CT:99980\nt=0 0\na=x-devicecaps:audio:send,recv\n\
         m=audio 50052 {profile} 117 104 114 9 112 111 0 8 103 116 115 97 13 118 101\na=x-ssrc-range:2029455532-2029455532\n\
         a=rtcp-fb:* x-message app send:dsh recv:dsh\na=rtcp-rsize\na=label:main-audio\na=x-source:main-audio\na=ice-ufrag:secretU\na=ice-pwd:secretP\n\
         a=candidate:1 1 UDP 2130706431 {address} 50052 typ host \na=candidate:2 1 TCP-PASS 174456319 192.0.2.67 56148 typ relay raddr {address} rport 50024 \n\
         {keys}a=encryption:optional\na=maxptime:200\na=rtcp:50053\na=rtpmap:117 G722/8000/2\na=rtpmap:104 SILK/16000\na=fmtp:104 useinbandfec=1; usedtx=0\n\
         a=rtpmap:114 x-msrta/16000\na=fmtp:114 bitrate=29000\na=rtpmap:111 SIREN/16000\na=fmtp:111 bitrate=16000\na=rtpmap:0 PCMU/8000\na=rtpmap:8 PCMA/8000\n\
         a=rtpmap:97 RED/8000\na=rtpmap:13 CN/8000\na=rtpmap:118 CN/16000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-16\na=rtcp-mux\na=ptime:20\n"
    )
}

/// A call from Lync up to the 200 that it gets, with UM's INVITE.
fn called(lab: &mut Lab, offer: &str) -> (Caller, Callee, String, String) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    caller.invite(lab, "", offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let (offered, callee) = (invite.sdp(), Callee::new(Party::Router, invite, "um1"));
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let answer = lab.response_to(Party::Trunk, 200);
    caller.learn(&answer);
    caller.ack(lab, "");
    (caller, callee, offered, answer.sdp())
}

fn protections(lab: &Lab, of: Side) -> (Protection, Protection) {
    let last = lab.media.iter().rev().find_map(|command| match command {
        Command::Configure { side, set: Configuration { receive: Some(receive), transmit: Some(transmit), .. }, .. } if *side == of => {
            Some((receive.clone(), transmit.clone()))
        }
        _ => None,
    });
    last.expect("the side is configured")
}

fn mki(protection: &Protection) -> Option<Vec<u8>> {
    match protection {
        Protection::Srtp(parameters) => parameters.keys[0].mki.clone(),
        Protection::Plain | Protection::Dtls(_) | Protection::Shared(_) => None,
    }
}

#[test]
fn of_three_keys_the_one_without_an_mki_is_taken_and_none_of_lyncs_habits_crosses() {
    let mut lab = lync(Scene::secured());
    let (mut caller, callee, offered, answered) = called(&mut lab, &offer("RTP/SAVP", &[0, 1, 2]));
    let crypto: Vec<&str> = answered.split("\r\n").filter(|line| line.starts_with("a=crypto")).collect();
    assert_eq!(crypto.len(), 1);
    assert!(crypto[0].starts_with("a=crypto:3 AES_CM_128_HMAC_SHA1_80 inline:") && !crypto[0].contains('|'), "{}", crypto[0]);
    for strange in ["cryptoscale", "candidate", "ice-", "rtcp-mux", "rtcp-fb", "rtcp-rsize", "encryption", "b=", "label", "x-", "secret", "192.0.2.10"] {
        let rest = offered.replace("x-msrta", "");
        assert!(!rest.contains(strange), "{strange} in {offered}");
    }
    assert!(offered.contains(" RTP/SAVP 117 104 114 9 112 111 0 8 103 116 115 97 13 118 101\r\n"), "what is not understood is not ours to take out: {offered}");
    for kept in ["a=rtpmap:97 RED/8000", "a=rtpmap:13 CN/8000", "a=rtpmap:111 SIREN/16000", "a=rtpmap:114 x-msrta/16000", "a=fmtp:101 0-16", "a=maxptime:200"] {
        assert!(offered.contains(kept), "{kept} in {offered}");
    }
    assert!(mki(&protections(&lab, Side::A).0).is_none());
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(lab.records()[0].a.codec.as_deref(), Some("PCMA/8000"));
}

#[test]
fn where_every_key_has_an_mki_ours_has_one_too() {
    let mut lab = lync(Scene::secured());
    let (mut caller, callee, offered, answered) = called(&mut lab, &offer("RTP/SAVP", &[0, 1]));
    let crypto = answered.split("\r\n").find(|line| line.starts_with("a=crypto")).unwrap();
    assert!(crypto.starts_with("a=crypto:2 ") && crypto.ends_with("|2^31|1:1"), "{crypto}");
    let (receive, transmit) = protections(&lab, Side::A);
    assert_eq!((mki(&receive), mki(&transmit)), (Some(vec![1]), Some(vec![1])));
    let Protection::Srtp(parameters) = receive else { panic!() };
    assert_eq!(parameters.keys[0].lifetime, Some(1 << 31), "kept as a bound");
    assert!(!offered.contains('|'), "UM is offered a key as it likes them: {offered}");
    assert_eq!(mki(&protections(&lab, Side::B).1), None);
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn scale_srtp_alone_is_no_key() {
    let mut lab = lync(Scene::secured());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", &offer("RTP/SAVP", &[0]));
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::MediaUnacceptable);
}

/// SRTPMode = Optional: RTP/AVP with keys. A leg has one mode: enough for a plain one, too little for a protected one.
#[test]
fn optional_srtp_is_rtp() {
    let mut lab = lync(Scene { mode: SecurityMode::SipSecured, ..Scene::secured() });
    let (mut caller, callee, offered, answered) = called(&mut lab, &offer("RTP/AVP", &[1, 2]));
    assert!(offered.contains(" RTP/AVP ") && answered.contains(" RTP/AVP ") && !answered.contains("crypto") && !offered.contains("crypto"));
    hang_up(&mut lab, &mut caller, &callee);
    let mut lab = lync(Scene::secured());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", &offer("RTP/AVP", &[1, 2]));
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::ModeMedia);
}

/// SRTPMode is forced to NotSupported on a trunk over TCP; keys that come all the same have been read by whoever listens.
#[test]
fn over_tcp_there_is_rtp_and_keys_are_refused() {
    let mut lab = lync(Scene::tcp());
    let (mut caller, callee, _, answered) = called(&mut lab, &offer("RTP/AVP", &[]));
    assert!(answered.contains(" RTP/AVP "));
    hang_up(&mut lab, &mut caller, &callee);
    let mut lab = lync(Scene::tcp());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", &offer("RTP/AVP", &[2]));
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::KeysInClear);
}

/// Towards Lync: its answer may have two lines, of which one answers ours.
#[test]
fn lync_answers_with_two_keys() {
    for (first, second) in [("|2^31|1:1", "|2^31"), ("|2^31", "|2^31|1:1")] {
        let mut lab = lync(Scene::secured());
        let mut caller = Caller::new(&mut lab, Party::Server, "2001");
        caller.from = "<sip:1000@198.51.100.30>".into();
        let offer = lab.sdp(Party::Server, 6000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Server, 100);
        let invite = lab.request_to(Party::Trunk, Method::Invite);
        let tag = invite.sdp().split("a=crypto:").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        let address = Party::Trunk.address();
        let answer = format!(
            "v=0\no=- 1 1 IN IP4 {address}\ns=session\nc=IN IP4 {address}\nt=0 0\nm=audio 54056 RTP/SAVP 8 0 101 13\na=rtcp:54057\n\
             a=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{}{first}\na=crypto:{tag} AES_CM_128_HMAC_SHA1_80 inline:{}{second}\na=rtpmap:101 telephone-event/8000\n",
            key_of(Party::Trunk, 1),
            key_of(Party::Trunk, 2)
        );
        lab.answer(Party::Trunk, &invite, 200, "ms1", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        lab.response_to(Party::Server, 200);
        let (receive, transmit) = protections(&lab, Side::B);
        assert_eq!((mki(&receive), mki(&transmit)), (None, None), "the line that is like ours: {first} then {second}");
    }
}

#[test]
fn lync_hears_a_183_in_time_however_slow_um_is() {
    let mut lab = lync(Scene::tcp().with_routers(&["router", "spare"]));
    let (mut caller, _) = invited(&mut lab, "");
    lab.pass(Duration::from_millis(4_999));
    lab.nothing_to(Party::Trunk);
    lab.pass(Duration::from_millis(1));
    let sign = lab.response_to(Party::Trunk, 183);
    assert!(sign.sdp().is_empty() && sign.header(HeaderName::To).contains("tag="));
    assert!(lab.ladder().contains("goes elsewhere after 10 s"), "{}", lab.ladder());
    // The first router is given up after 10 s, the second answers; Lync is still there to hear it.
    lab.pass(Duration::from_secs(6));
    let invite = lab.request_to_skipping(Party::Spare, Method::Invite);
    let callee = Callee::new(Party::Spare, invite, "um2");
    let answer = lab.sdp(Party::Spare, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    let answer = lab.response_to(Party::Trunk, 200);
    assert_eq!(answer.header(HeaderName::To), sign.header(HeaderName::To), "one dialog");
    caller.learn(&answer);
    caller.ack(&mut lab, "");
    lab.sent.clear();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_sign_of_our_own_is_for_lync_and_only_where_there_was_none() {
    let mut lab = Lab::new(Scene::tcp());
    invited(&mut lab, "");
    lab.pass(Duration::from_secs(9));
    lab.nothing_to(Party::Trunk);
    let mut lab = lync(Scene::tcp());
    let (_, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    lab.pass(Duration::from_secs(30));
    lab.nothing_to(Party::Trunk);
    let mut lab = lync(Scene::tcp());
    let (mut caller, callee) = established(&mut lab);
    lab.pass(Duration::from_secs(30));
    lab.nothing_sent();
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_caller_that_requires_100rel_gets_the_sign_reliably() {
    let mut lab = lync(Scene::tcp());
    invited(&mut lab, "Require: 100rel\n");
    lab.pass(Duration::from_secs(5));
    let sign = lab.response_to(Party::Trunk, 183);
    assert!(!sign.header(HeaderName::RSeq).is_empty());
}

/// MaxEarlyDialogs is 20 where nobody has changed it: Lync rings every device of a user.
#[test]
fn a_call_to_lync_may_ring_in_twenty_early_dialogs() {
    let mut lab = lync(Scene::tcp());
    let mut caller = Caller::new(&mut lab, Party::Server, "2001");
    caller.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    for fork in 0..30 {
        lab.answer(Party::Trunk, &invite, 180, &format!("fork{fork}"), "", "");
    }
    assert_eq!(lab.drain_to(Party::Server).len(), 20);
    // The last of them answers.
    let answer = lab.sdp(Party::Trunk, 4000);
    lab.answer(Party::Trunk, &invite, 200, "fork19", "", &answer);
    let ack = lab.request_to(Party::Trunk, Method::Ack);
    assert!(ack.header(HeaderName::To).contains("fork19"));
    lab.response_to(Party::Server, 200);
}

#[test]
fn a_mediation_server_is_promised_rtcp_and_a_carrier_is_not() {
    let asked = |lab: &Lab| {
        let keeps = lab.media.iter().filter_map(|command| match command {
            Command::KeepRtcp { side, every, .. } => Some((*side, *every)),
            _ => None,
        });
        keeps.collect::<Vec<_>>()
    };
    let mut lab = lync(Scene::secured());
    established(&mut lab);
    assert_eq!(asked(&lab), [(Side::A, Some(Duration::from_secs(25)))]);
    let mut lab = Lab::new(Scene::secured());
    established(&mut lab);
    assert_eq!(asked(&lab), []);
}

#[test]
fn nothing_of_lyncs_keys_is_told() {
    let mut lab = lync(Scene::secured());
    let (mut caller, callee, ..) = called(&mut lab, &offer("RTP/SAVP", &[0, 1, 2]));
    hang_up(&mut lab, &mut caller, &callee);
    let told: String =
        lab.facts.iter().filter(|fact| !matches!(fact.what, What::Received { .. } | What::Sent { .. })).map(|fact| format!("{:?}", fact.what)).collect();
    assert!(!told.contains(&key_of(Party::Trunk, 5)) && !lab.ladder().contains(&key_of(Party::Trunk, 5)));
}
