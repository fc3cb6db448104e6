//! Descriptions of a leg keyed by DTLS: what is announced, who begins, which association is meant, and that nothing falls below.

use std::sync::Arc;

use super::*;
use crate::media::control::{DtlsParameters, DtlsRole};
use crate::sdp::fingerprint::{HashFunction, Setup};

fn dtls() -> Terms {
    let terms = secured();
    Terms { plan: terms.plan.dtls_for_test(), ..terms }
}

/// `a=fingerprint` of thirty-two equal bytes.
fn fingerprint(byte: u8) -> Fingerprint {
    Fingerprint { hash: HashFunction::Sha256, digest: vec![byte; 32] }
}

fn announced(byte: u8, setup: &str, rest: &str) -> String {
    format!("a=fingerprint:{}\r\na=setup:{setup}\r\n{rest}", fingerprint(byte).value())
}

const ICE: &str = "a=ice-ufrag:them\r\na=ice-pwd:theirtheirtheirtheirtheir\r\na=candidate:1 1 UDP 2130706431 192.0.2.9 4000 typ host\r\n";
const MUX: &str = "a=rtcp-mux\r\n";

fn theirs(version: u32, extra: &str) -> String {
    sdp("192.0.2.9", version, "UDP/TLS/RTP/SAVP", extra)
}

/// What the media plane is told last of how a side is keyed; both directions alike.
fn told(commands: &[Command], side: Side) -> Arc<DtlsParameters> {
    match (configured(commands, side).receive, configured(commands, side).transmit) {
        (Some(Protection::Dtls(receive)), Some(Protection::Dtls(transmit))) => {
            assert_eq!(receive, transmit);
            receive
        }
        other => panic!("not keyed by DTLS: {other:?}"),
    }
}

fn value<'a>(out: &'a Out, name: &'a str) -> Option<&'a str> {
    out.audio().named(name).next().and_then(|attribute| attribute.text())
}

#[test]
fn an_offer_to_a_dtls_peer_and_its_answer() {
    let mut call = Call::between(plain(), dtls());
    let offer = call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert!(offer.text.contains("m=audio 30002 UDP/TLS/RTP/SAVP 8 0 101\r\n"), "{}", offer.text);
    assert!(!offer.text.contains("crypto"), "{}", offer.text);
    assert_eq!(Fingerprint::of(&offer.sdp, offer.audio()), vec![Counted::certificate(0)]);
    assert_eq!(Setup::of(&offer.sdp, offer.audio()), Some(Setup::ActPass));
    assert!(offer.text.contains("\r\na=ice-lite\r\n") && offer.text.contains("a=rtcp-mux\r\n"));
    assert_eq!(value(&offer, "candidate"), Some("1 1 UDP 2130706431 10.0.0.1 30002 typ host"));
    assert!(value(&offer, "ice-pwd").is_some_and(|password| password.len() >= 22));
    let before = told(&offer.commands, Side::B);
    assert_eq!((before.role, before.fingerprints.len()), (None, 0), "nothing is settled before the answer");
    assert!(before.ice.as_ref().is_some_and(|ice| ice.peer.is_none()));

    let answer = call.answer(Side::B, &theirs(1, &(announced(7, "active", ICE) + MUX)));
    assert!(answer.text.contains("RTP/AVP 8") && !answer.text.contains("fingerprint") && !answer.text.contains("ice-"), "{}", answer.text);
    let after = told(&answer.commands, Side::B);
    assert_eq!((after.role, after.fingerprints.as_slice()), (Some(DtlsRole::Passive), &[fingerprint(7)][..]));
    assert!(after.ice.as_ref().is_some_and(|ice| ice.is_checked && ice.peer.as_deref() == Some("them")));
    assert_eq!(call.media.current_suite(Side::B), None, "a handshake is still to come");
    call.media.keyed(Side::B, SUITES[0]);
    assert_eq!(call.media.current_suite(Side::B), Some(SUITES[0]));
}

#[test]
fn an_offer_of_a_dtls_peer_is_answered_by_who_begins() {
    for (setup, ours, role) in [
        ("actpass", Setup::Active, Some(DtlsRole::Active)),
        ("passive", Setup::Active, Some(DtlsRole::Active)),
        ("active", Setup::Passive, Some(DtlsRole::Passive)),
    ] {
        let mut call = Call::between(dtls(), plain());
        call.offer(Side::A, &theirs(1, &announced(7, setup, "")));
        let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
        assert!(answer.text.contains("UDP/TLS/RTP/SAVP"), "{}", answer.text);
        assert_eq!(Setup::of(&answer.sdp, answer.audio()), Some(ours), "{setup}");
        assert!(!answer.text.contains("ice") && !answer.text.contains("rtcp-mux"), "what was not offered is not answered: {}", answer.text);
        let told = told(&answer.commands, Side::A);
        assert_eq!((told.role, &told.ice), (role, &None));
    }
    let mut call = Call::between(dtls(), plain());
    call.offer(Side::A, &theirs(1, &(announced(7, "actpass", ICE) + MUX)));
    let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert!(answer.text.contains("a=ice-lite\r\n") && answer.text.contains("a=rtcp-mux\r\n"), "{}", answer.text);
    assert_eq!(value(&answer, "rtcp"), Some("20000"), "RTCP shares the port");
    let Some(Command::Configure { set, .. }) = answer.commands.iter().find(|command| matches!(command, Command::Configure { side: Side::A, .. })) else {
        panic!()
    };
    assert_eq!(set.mux, Some(true));
}

#[test]
fn a_re_invite_keeps_the_association_and_the_parts() {
    let mut call = Call::between(dtls(), dtls());
    call.offer(Side::A, &theirs(1, &announced(7, "actpass", ICE)));
    let first = call.answer(Side::B, &theirs(1, &announced(8, "active", ICE)));
    call.media.settled();
    let (a, b) = (told(&first.commands, Side::A), told(&first.commands, Side::B));
    // Hold by the callee, who now offers actpass; both parts stay as they were.
    let hold = call.offer(Side::B, &theirs(2, &announced(8, "actpass", &(ICE.to_owned() + "a=sendonly\r\n"))));
    assert!(hold.commands.is_empty());
    let answer = call.answer(Side::A, &theirs(2, &announced(7, "passive", &(ICE.to_owned() + "a=recvonly\r\n"))));
    assert_eq!(Setup::of(&answer.sdp, answer.audio()), Some(Setup::Passive), "as before: the callee began");
    assert_eq!(told(&answer.commands, Side::A), a);
    assert_eq!(told(&answer.commands, Side::B), b);
    // Another certificate is another association, on that leg alone.
    call.media.settled();
    call.offer(Side::B, &theirs(3, &announced(9, "actpass", ICE)));
    let answer = call.answer(Side::A, &theirs(3, &announced(7, "passive", ICE)));
    assert_eq!(told(&answer.commands, Side::A), a);
    let renewed = told(&answer.commands, Side::B);
    assert!(!renewed.is_same_association(&b) && renewed.fingerprints == [fingerprint(9)]);
    assert_eq!(call.media.current_suite(Side::B), None);
}

#[test]
fn an_ice_restart_is_no_other_association() {
    let mut call = Call::between(dtls(), plain());
    call.offer(Side::A, &theirs(1, &announced(7, "actpass", ICE)));
    let first = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    call.media.settled();
    let before = told(&first.commands, Side::A);
    call.offer(Side::A, &theirs(2, &announced(7, "actpass", &ICE.replace("them", "they"))));
    let second = call.answer(Side::B, &sdp("198.51.100.7", 2, "RTP/AVP", ""));
    let after = told(&second.commands, Side::A);
    assert!(after.is_same_association(&before));
    assert_ne!(value(&first, "ice-ufrag"), value(&second, "ice-ufrag"), "RFC 8445 section 9: both sides change theirs");
    assert_eq!(after.ice.as_ref().and_then(|ice| ice.peer.as_deref()), Some("they"));
}

#[test]
fn what_proves_nothing_is_refused() {
    for (proto, extra, reason) in [
        ("UDP/TLS/RTP/SAVP", String::new(), Reason::MediaFingerprint),
        (
            "UDP/TLS/RTP/SAVP",
            "a=setup:actpass\r\na=fingerprint:sha-1 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33\r\n".into(),
            Reason::MediaFingerprint,
        ),
        ("UDP/TLS/RTP/SAVP", announced(7, "holdconn", ""), Reason::MediaFingerprint),
        ("RTP/SAVP", line(1, 1, ""), Reason::ModeMedia),
        ("RTP/AVP", announced(7, "actpass", ""), Reason::ModeMedia),
    ] {
        let mut call = Call::between(dtls(), plain());
        assert_eq!(call.try_offer(Side::A, &theirs(1, &extra).replace("UDP/TLS/RTP/SAVP", proto)).err(), Some(reason), "{proto} {extra}");
    }
    for (proto, extra, reason) in [
        ("UDP/TLS/RTP/SAVP", String::new(), Reason::MediaFingerprint),
        ("UDP/TLS/RTP/SAVP", announced(7, "actpass", ""), Reason::MediaFingerprint),
        ("RTP/SAVP", line(1, 1, ""), Reason::ModeMedia),
        ("RTP/AVP", announced(7, "active", ""), Reason::ModeMedia),
    ] {
        let mut call = Call::between(plain(), dtls());
        call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
        assert_eq!(call.try_answer(Side::B, &theirs(1, &extra).replace("UDP/TLS/RTP/SAVP", proto)).err(), Some(reason), "{proto} {extra}");
    }
}

#[test]
fn dtls_where_sdes_is_written_down_is_refused() {
    let mut call = Call::between(secured(), plain());
    assert_eq!(call.try_offer(Side::A, &theirs(1, &announced(7, "actpass", ""))).err(), Some(Reason::ModeMedia));
}

#[test]
fn never_over_signalling_in_clear() {
    let clear = Terms { transport: Transport::Tcp, ..dtls() };
    let mut call = Call::between(plain(), clear.clone());
    assert_eq!(call.try_offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", "")).err(), Some(Reason::ModeTransport));
    let mut call = Call::between(clear, plain());
    assert_eq!(call.try_offer(Side::A, &theirs(1, &announced(7, "actpass", ""))).err(), Some(Reason::ModeTransport));
}

#[test]
fn another_fork_is_another_association_and_the_next_target_begins_anew() {
    let mut call = Call::between(plain(), dtls());
    let first = call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    let one = told(&call.answer(Side::B, &theirs(1, &announced(7, "active", ""))).commands, Side::B);
    let two = told(&call.answer(Side::B, &theirs(1, &announced(8, "passive", ""))).commands, Side::B);
    assert!(!two.is_same_association(&one));
    assert_eq!((two.role, two.fingerprints.as_slice()), (Some(DtlsRole::Active), &[fingerprint(8)][..]));
    let next = call.reoffer(Side::B);
    assert_eq!(told(&next.commands, Side::B).role, None, "nothing of the last target's holds");
    assert_ne!(value(&first, "ice-pwd"), value(&next, "ice-pwd"));
    assert_ne!(value(&first, "tls-id"), value(&next, "tls-id"));
}

#[test]
fn in_another_stream_the_other_certificate_is_shown() {
    let mut call = Call::between(dtls(), plain());
    call.offer(Side::A, &theirs(1, &announced(7, "actpass", "")));
    let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    call.media.settled();
    assert_eq!(Fingerprint::of(&answer.sdp, answer.audio()), vec![Counted::certificate(0)]);
    let mut with = call.media.with_partner(Side::A, plain());
    with.offer_partner(Side::B, &mut call.supply).unwrap();
    with.partner_answered(Side::B, &Description::parse(sdp("198.51.100.8", 1, "RTP/AVP", "").as_bytes()).unwrap()).unwrap();
    let offer = Description::parse(&with.offer_stayer(Side::A, &mut call.supply).unwrap()).unwrap();
    assert_eq!(Fingerprint::of(&offer, &offer.media[0]), vec![Counted::certificate(1)]);
}

/// A trickling peer names no address (RFC 8840): its checks will. That was taken for a hold, and the call had no sound.
#[test]
fn an_address_left_to_ice_is_no_hold() {
    let trickle = |setup: &str, ice: &str| {
        let text = sdp("0.0.0.0", 1, "UDP/TLS/RTP/SAVP", &(announced(7, setup, ice) + MUX + "a=ice-options:trickle\r\n"));
        let port = text.split("m=audio ").nth(1).unwrap().split(' ').next().unwrap().to_owned();
        text.replace(&format!("m=audio {port} "), "m=audio 9 ")
    };
    let credentials = "a=ice-ufrag:them\r\na=ice-pwd:theirtheirtheirtheirtheir\r\n";
    let mut call = Call::between(dtls(), plain());
    let offer = call.offer(Side::A, &trickle("actpass", credentials));
    assert!(offer.text.contains("a=sendrecv"), "{}", offer.text);
    let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert!(answer.text.contains("a=sendrecv") && answer.text.contains("a=candidate"), "{}", answer.text);
    assert_eq!(configured(&answer.commands, Side::A).remote, Some(Some(crate::media::control::SOUGHT)));
    let mut call = Call::between(plain(), dtls());
    call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    let answer = call.answer(Side::B, &trickle("active", credentials));
    assert!(answer.text.contains("a=sendrecv"), "{}", answer.text);
    assert_eq!(configured(&answer.commands, Side::B).remote, Some(Some(crate::media::control::SOUGHT)));
    // Without checks to come it is what it always was.
    for without in ["", "a=ice-mismatch\r\na=ice-ufrag:them\r\na=ice-pwd:theirtheirtheirtheirtheir\r\n"] {
        let mut call = Call::between(dtls(), plain());
        let offer = call.offer(Side::A, &trickle("actpass", without));
        assert!(!offer.text.contains("a=sendrecv"), "{}", offer.text);
    }
}

#[test]
fn what_stands_above_the_m_lines_holds_for_them() {
    let text = sdp("192.0.2.9", 1, "UDP/TLS/RTP/SAVPF", "");
    let head = announced(7, "passive", "a=ice-ufrag:them\r\na=ice-pwd:theirtheirtheirtheirtheir\r\na=group:BUNDLE 0\r\n");
    let mut call = Call::between(dtls(), plain());
    call.offer(Side::A, &text.replace("m=audio", &format!("{head}m=audio")));
    let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert!(answer.text.contains("UDP/TLS/RTP/SAVPF") && !answer.text.contains("BUNDLE"), "{}", answer.text);
    let told = told(&answer.commands, Side::A);
    assert_eq!((told.role, told.fingerprints.as_slice()), (Some(DtlsRole::Active), &[fingerprint(7)][..]));
    assert!(told.ice.as_ref().is_some_and(|ice| ice.peer.as_deref() == Some("them")));
}

/// RFC 8829 section 5.1.2 has the older profiles taken where there is a fingerprint; with a key beside it nobody can say what is meant.
#[test]
fn the_older_profile_with_a_fingerprint_is_keyed_by_dtls() {
    let older = |version: u32, extra: &str| theirs(version, extra).replace("UDP/TLS/RTP/SAVP", "RTP/SAVPF");
    let mut call = Call::between(dtls(), plain());
    call.offer(Side::A, &older(1, &announced(7, "actpass", "")));
    let answer = call.answer(Side::B, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert!(answer.text.contains(" RTP/SAVPF ") && answer.text.contains("a=fingerprint:sha-256"), "{}", answer.text);
    assert_eq!(told(&answer.commands, Side::A).role, Some(DtlsRole::Active));
    call.media.settled();
    call.offer(Side::B, &sdp("198.51.100.7", 2, "RTP/AVP", "a=sendonly\r\n"));
    let again = call.answer(Side::A, &older(2, &announced(7, "passive", "a=recvonly\r\n")));
    assert!(again.text.contains("RTP/AVP"), "{}", again.text);
    let mut call = Call::between(plain(), dtls());
    call.offer(Side::A, &sdp("198.51.100.7", 1, "RTP/AVP", ""));
    assert_eq!(told(&call.answer(Side::B, &older(1, &announced(7, "active", ""))).commands, Side::B).role, Some(DtlsRole::Passive));
    for (terms, extra) in [(dtls(), announced(7, "actpass", &line(1, 1, ""))), (secured(), announced(7, "actpass", "")), (plain(), announced(7, "actpass", ""))]
    {
        let mut call = Call::between(terms, plain());
        assert!(call.try_offer(Side::A, &older(1, &extra)).is_err(), "{extra}");
    }
}
