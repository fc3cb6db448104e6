//! The same keys on both legs: whose key goes where, and when there are keys of ours instead.

use super::*;
use crate::signaling::session::offer_answer::{Apart, SrtpKeys};

fn sharing() -> Terms {
    Terms { plan: secured().plan.sharing(), ..secured() }
}

fn shared(byte: u8) -> Option<Protection> {
    Some(Protection::Shared(SrtpParameters { suite: SUITES[0], keys: vec![key(byte)] }))
}

fn protected(byte: u8) -> Option<Protection> {
    Some(srtp(SUITES[0], key(byte)))
}

fn keyed(version: u32, byte: u8) -> String {
    sdp("192.0.2.9", version, "RTP/SAVP", &line(7, byte, ""))
}

fn answered(byte: u8) -> String {
    sdp("10.9.9.9", 1, "RTP/SAVP", &line(1, byte, ""))
}

/// A's peer protects by 0xaa, B's by 0xbb, and each has the other's key.
fn up() -> Call {
    let mut call = Call::between(sharing(), sharing());
    call.offer(Side::A, &keyed(1, 0xaa));
    call.answer(Side::B, &answered(0xbb));
    call.media.settled();
    call
}

#[test]
fn each_peer_is_given_the_other_s_key() {
    let mut call = Call::between(sharing(), sharing());
    let offer = call.offer(Side::A, &keyed(1, 0xaa));
    let [lent] = offer.lines().try_into().unwrap();
    assert_eq!((lent.tag, lent.usable(), lent.keys), (1, Ok(SUITES[0]), vec![key(0xaa)]));
    assert_eq!(configured(&offer.commands, Side::B).transmit, None, "before the answer nothing passes");
    let answer = call.answer(Side::B, &answered(0xbb));
    let [back] = answer.lines().try_into().unwrap();
    assert_eq!((back.tag, back.keys), (7, vec![key(0xbb)]));
    let (on_a, on_b) = (configured(&answer.commands, Side::A), configured(&answer.commands, Side::B));
    assert_eq!((on_a.receive, on_a.transmit), (protected(0xaa), shared(0xbb)));
    assert_eq!((on_b.receive, on_b.transmit), (protected(0xbb), shared(0xaa)));
    assert_eq!((call.media.srtp_keys(), call.supply.keys), (Some(SrtpKeys::Shared), 0), "no key of ours was even made");
    assert_eq!(call.media.current_suite(Side::A), Some(SUITES[0]));
}

#[test]
fn one_peer_s_consent_is_not_enough() {
    for (a, b) in [(sharing(), secured()), (secured(), sharing()), (secured(), secured())] {
        let mut call = Call::between(a, b);
        let offer = call.offer(Side::A, &keyed(1, 0xaa));
        assert!(offer.lines().iter().all(|line| line.keys != [key(0xaa)]));
        let answer = call.answer(Side::B, &answered(0xbb));
        assert!(answer.lines().iter().all(|line| line.keys != [key(0xbb)]));
        for side in [Side::A, Side::B] {
            assert!(matches!(configured(&answer.commands, side).transmit, Some(Protection::Srtp(_))));
        }
        assert_eq!(call.media.srtp_keys(), None);
    }
}

#[test]
fn what_could_not_cross_unchanged_has_keys_of_ours_from_the_beginning() {
    let other_suite = Terms { plan: terms(SecurityMode::Secured, Transport::Tls, &[SUITES[1]]).plan.sharing(), ..secured() };
    let mki = line(7, 0xaa, "|2^20|1:4");
    for (b, lines, why) in [(other_suite, line(7, 0xaa, ""), Apart::Suite), (sharing(), mki, Apart::KeyNames)] {
        let suite = b.plan.suites()[0];
        let mut call = Call::between(sharing(), b);
        let offer = call.offer(Side::A, &sdp("192.0.2.9", 1, "RTP/SAVP", &lines));
        assert!(offer.lines().iter().all(|line| line.keys[0].key_and_salt != key(0xaa).key_and_salt));
        let body = answered(0xbb).replace("AES_CM_128_HMAC_SHA1_80", suite.name());
        let answer = call.answer(Side::B, &body);
        assert!(matches!(configured(&answer.commands, Side::A).transmit, Some(Protection::Srtp(_))));
        assert_eq!(call.media.srtp_keys(), Some(SrtpKeys::Apart(why)));
    }
}

#[test]
fn an_answer_that_would_have_packets_changed_is_refused() {
    let numbers = answered(0xbb).replace(" 101", " 98").replace(":101", ":98");
    let own_key = answered(0xaa);
    let mki = answered(0xbb).replace(&line(1, 0xbb, ""), &line(1, 0xbb, "|2^20|1:4"));
    for (what, answer) in [("other numbers", numbers), ("the key it was lent", own_key), ("a key with a name", mki)] {
        let mut call = Call::between(sharing(), sharing());
        call.offer(Side::A, &keyed(1, 0xaa));
        assert_eq!(call.try_answer(Side::B, &answer).map(|out| out.text), Err(Reason::MediaSharedKeys), "{what}");
        assert_eq!(call.media.srtp_keys(), None, "{what}");
    }
}

#[test]
fn a_key_that_changes_in_the_call_changes_on_the_other_leg() {
    let mut call = up();
    let offer = call.offer(Side::A, &keyed(2, 0xac));
    assert_eq!(offer.lines()[0].keys, [key(0xac)]);
    let answer = call.answer(Side::B, &answered(0xbb).replace("7 1 IN", "7 2 IN"));
    assert_eq!(answer.lines()[0].keys, [key(0xbb)]);
    let (on_a, on_b) = (configured(&answer.commands, Side::A), configured(&answer.commands, Side::B));
    assert_eq!((on_a.receive, on_a.transmit, on_b.transmit), (protected(0xac), shared(0xbb), shared(0xac)));
    // Refused, everything is as it was.
    call.media.settled();
    call.offer(Side::A, &keyed(3, 0xad));
    call.media.rejected(Side::B);
    let commands = call.media.restated();
    assert_eq!((configured(&commands, Side::A).receive, configured(&commands, Side::B).transmit), (protected(0xac), shared(0xac)));
}

#[test]
fn a_key_that_changes_behind_the_other_peer_s_back_is_refused() {
    let mut call = up();
    let changed = Description::parse(answered(0xbf).as_bytes()).unwrap();
    assert_eq!(call.media.refreshed(Side::B, &changed).map(|commands| commands.len()), Err(MediaRefusal(Reason::MediaSharedKeys)));
    let same = Description::parse(answered(0xbb).as_bytes()).unwrap();
    let commands = call.media.refreshed(Side::B, &same).unwrap();
    assert_eq!(configured(&commands, Side::B).transmit, shared(0xaa));
}

#[test]
fn once_apart_each_leg_has_a_fresh_key_of_ours_and_stays_apart() {
    let mut call = up();
    let offer = call.offer(Side::A, &sdp("192.0.2.9", 2, "RTP/SAVP", &line(7, 0xaa, "|2^20|1:4")));
    let [fresh] = <[Crypto; 1]>::try_from(offer.lines().into_iter().take(1).collect::<Vec<_>>()).unwrap();
    assert_ne!(fresh.keys[0].key_and_salt, key(0xaa).key_and_salt);
    let answer = call.answer(Side::B, &answered(0xbb).replace("7 1 IN", "7 2 IN"));
    for (side, lent) in [(Side::A, 0xbb), (Side::B, 0xaa)] {
        let Some(Protection::Srtp(parameters)) = configured(&answer.commands, side).transmit else { panic!("{side} is not protected by us") };
        assert_ne!(parameters.keys[0].key_and_salt, key(lent).key_and_salt, "never under a peer's key");
    }
    assert_eq!(call.media.srtp_keys(), Some(SrtpKeys::Apart(Apart::KeyNames)));
    call.media.settled();
    let again = call.offer(Side::A, &keyed(3, 0xae));
    assert_ne!(again.lines()[0].keys, [key(0xae)]);
    call.answer(Side::B, &answered(0xbb).replace("7 1 IN", "7 3 IN"));
    assert_eq!(call.media.srtp_keys(), Some(SrtpKeys::Apart(Apart::Before)));
}

#[test]
fn the_next_target_is_lent_the_key_too_unless_the_caller_has_another_s() {
    let mut call = Call::between(sharing(), sharing());
    call.offer(Side::A, &keyed(1, 0xaa));
    call.media.rejected(Side::B);
    assert_eq!(call.reoffer(Side::B).lines()[0].keys, [key(0xaa)]);
    // It answers early, and then goes away: the caller has its key.
    call.answer(Side::B, &answered(0xb1));
    call.media.rejected(Side::B);
    let next = call.reoffer(Side::B);
    assert_ne!(next.lines()[0].keys, [key(0xaa)]);
    let answer = call.answer(Side::B, &answered(0xb2));
    let Some(Protection::Srtp(to_a)) = configured(&answer.commands, Side::A).transmit else { panic!("A is not protected by us") };
    assert!([key(0xb1), key(0xb2), key(0xaa)].iter().all(|known| to_a.keys[0] != *known));
    assert_eq!(call.media.srtp_keys(), Some(SrtpKeys::Apart(Apart::EarlierTarget)));
}

#[test]
fn a_transfer_has_keys_of_ours() {
    let mut call = up();
    let mut next = call.media.with_partner(Side::A, sharing());
    let offer = Out::of(next.offer_partner(Side::B, &mut call.supply).unwrap());
    assert!(offer.lines().iter().all(|line| ![key(0xaa), key(0xbb)].contains(&line.keys[0])));
    let answer = Description::parse(answered(0xbc).as_bytes()).unwrap();
    next.partner_answered(Side::B, &answer).unwrap();
    let stayer = String::from_utf8(next.offer_stayer(Side::A, &mut call.supply).unwrap()).unwrap();
    assert!(![0xaa, 0xbb, 0xbc].iter().any(|byte| stayer.contains(&inline(*byte))), "{stayer}");
    let commands = next.joined(Side::A, &Description::parse(sdp("192.0.2.9", 2, "RTP/SAVP", &line(1, 0xaa, "")).as_bytes()).unwrap()).unwrap();
    for side in [Side::A, Side::B] {
        assert!(matches!(configured(&commands, side).transmit, Some(Protection::Srtp(_))));
    }
}
