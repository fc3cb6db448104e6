//! SRTP under what networks and attackers do: loss, reordering, duplication, replay, forgery, wrap, new keys, spent keys.

mod packets;

use packets::*;
use portcullis::media::control::SrtpParameters;
use portcullis::media::srtp::{Receiver, Refusal, Sender};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::time::Time;
use proptest::prelude::*;
use std::time::Duration;

/// What the network does to one packet.
#[derive(Clone, Debug)]
enum Fate {
    Deliver,
    Lose,
    Duplicate,
    /// Held back until so many more have been delivered.
    Delay(usize),
    /// One bit flipped, somewhere.
    Corrupt(usize),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Deliver),
        2 => Just(Fate::Lose),
        2 => Just(Fate::Duplicate),
        2 => (1usize..60).prop_map(Fate::Delay),
        2 => any::<usize>().prop_map(Fate::Corrupt),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_authentic_packet_is_accepted_exactly_once(start in 0u16.., fates in prop::collection::vec(fate(), 1..400), suite in prop::sample::select(&Suite::ALL[..])) {
        let mut sender = Sender::new(&parameters(suite, 5)).unwrap();
        let mut receiver = Receiver::new(&parameters(suite, 5)).unwrap();
        let mut late: Vec<(usize, u16, Vec<u8>, Vec<u8>)> = Vec::new();
        // The first is delivered, so that both agree on where the stream starts.
        let first = voice(1, start, 0);
        let sealed = protect(&mut sender, &first).unwrap();
        prop_assert_eq!(unprotect(&mut receiver, &sealed), Ok(first));
        prop_assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Replay));
        for (n, fate) in fates.iter().enumerate() {
            let packet = voice(1, start.wrapping_add(1 + n as u16), n as u32);
            let sealed = protect(&mut sender, &packet).unwrap();
            match fate {
                Fate::Lose => {}
                Fate::Deliver => prop_assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet)),
                Fate::Duplicate => {
                    prop_assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet));
                    prop_assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Replay));
                }
                Fate::Delay(by) => late.push((n + by, n as u16, packet, sealed)),
                Fate::Corrupt(at) => {
                    let mut forged = sealed.clone();
                    let bit = at % (sealed.len() * 8);
                    forged[bit / 8] ^= 1 << (bit % 8);
                    prop_assert!(unprotect(&mut receiver, &forged).is_err());
                    prop_assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet), "a forgery spoils nothing");
                }
            }
            for (_, _, packet, sealed) in late.extract_if(.., |(due, ..)| *due <= n) {
                prop_assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet), "late, within the window");
            }
        }
    }

    #[test]
    fn no_bytes_make_it_panic_or_pass(bytes in prop::collection::vec(any::<u8>(), 0..300), rtcp: bool) {
        let mut receiver = receiver(1);
        let mut bytes = bytes;
        if let [first, second, ..] = &mut bytes[..] {
            *first = *first & 0x3f | 0x80;
            *second = if rtcp { 200 } else { *second & 0x3f };
        }
        prop_assert!(unprotect(&mut receiver, &bytes).is_err());
    }
}

#[test]
fn a_replay_from_before_the_wrap_is_refused() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    let sealed: Vec<_> = (0..40u16).map(|n| protect(&mut sender, &voice(1, 65_520u16.wrapping_add(n), 0)).unwrap()).collect();
    for packet in &sealed {
        unprotect(&mut receiver, packet).unwrap();
    }
    for packet in &sealed {
        assert_eq!(unprotect(&mut receiver, packet), Err(Refusal::Replay));
    }
}

#[test]
fn the_replay_list_is_on_the_whole_index_not_the_sequence_number() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    let first = protect(&mut sender, &voice(1, 10, 0)).unwrap();
    unprotect(&mut receiver, &first).unwrap();
    for sequence in [20_000, 40_000, 60_000] {
        let sealed = protect(&mut sender, &voice(1, sequence, 0)).unwrap();
        unprotect(&mut receiver, &sealed).unwrap();
    }
    let again = protect(&mut sender, &voice(1, 10, 0)).unwrap();
    let next = protect(&mut sender, &voice(1, 50, 0)).unwrap();
    unprotect(&mut receiver, &next).unwrap();
    assert_eq!(unprotect(&mut receiver, &first), Err(Refusal::Authentication), "an old packet is judged under the present ROC");
    unprotect(&mut receiver, &again).expect("the same sequence numbers come again every 2^16");
}

#[test]
fn forgeries_near_the_wrap_do_not_move_the_roc() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    let sealed = protect(&mut sender, &voice(1, 65_000, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
    for n in 0..2_000u16 {
        let forged = [voice(1, n.wrapping_mul(33), 0), vec![n as u8; 10]].concat();
        assert!(unprotect(&mut receiver, &forged).is_err());
    }
    let sealed = protect(&mut sender, &voice(1, 65_001, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
    let sealed = protect(&mut sender, &voice(1, 3, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
}

#[test]
fn a_stream_whose_first_packet_came_after_a_wrap_is_understood() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    protect(&mut sender, &voice(1, 65_535, 0)).unwrap();
    let sealed = protect(&mut sender, &voice(1, 0, 160)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
    let sealed = protect(&mut sender, &voice(1, 1, 320)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
}

#[test]
fn many_forged_sources_drive_out_no_real_one() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    for sequence in [65_535, 0] {
        let sealed = protect(&mut sender, &voice(1, sequence, 0)).unwrap();
        unprotect(&mut receiver, &sealed).unwrap();
    }
    for ssrc in 2..500 {
        assert_eq!(unprotect(&mut receiver, &[voice(ssrc, 7, 0), vec![0; 10]].concat()), Err(Refusal::Authentication));
    }
    let sealed = protect(&mut sender, &voice(1, 1, 0)).unwrap();
    unprotect(&mut receiver, &sealed).expect("its ROC of 1 is still known");
}

#[test]
fn a_sender_never_uses_an_index_twice() {
    let mut sender = sender(1);
    protect(&mut sender, &voice(1, 100, 0)).unwrap();
    assert_eq!(protect(&mut sender, &rtp(1, 100, 0, b"other words")), Err(Refusal::Replay));
    protect(&mut sender, &voice(1, 101, 0)).unwrap();
    assert_eq!(protect(&mut sender, &voice(1, 100, 0)), Err(Refusal::Replay));
    // A source that had to leave the table does not come back under the same key.
    for ssrc in 2..=9 {
        protect(&mut sender, &voice(ssrc, 1, 0)).unwrap();
    }
    assert_eq!(protect(&mut sender, &voice(1, 100, 0)), Err(Refusal::TooManySources));
    let accepted = (1_000..2_000).filter(|ssrc| protect(&mut sender, &voice(*ssrc, 1, 0)).is_ok()).count();
    assert_eq!(accepted, 55, "and after 64 sources there is no room to remember more");
}

#[test]
fn the_same_key_under_a_new_name_goes_on_where_it_was() {
    let mut sender = sender(1);
    protect(&mut sender, &voice(1, 100, 0)).unwrap();
    let mut renamed = parameters(Suite::AesCm128HmacSha1_80, 1);
    renamed.keys[0].mki = Some(vec![7]);
    sender.rekey(&renamed).unwrap();
    assert_eq!(protect(&mut sender, &voice(1, 100, 0)), Err(Refusal::Replay));
    sender.rekey(&parameters(Suite::AesCm128HmacSha1_80, 2)).unwrap();
    protect(&mut sender, &voice(1, 100, 0)).expect("another key, another keystream");
}

/// A re-INVITE that changed our key early and then failed brings the key of before back.
#[test]
fn a_key_that_comes_back_goes_on_where_it_was() {
    let index_of = |sealed: &[u8]| u32::from_be_bytes(sealed[sealed.len() - 14..sealed.len() - 10].try_into().unwrap()) & 0x7fff_ffff;
    let key = |fill| parameters(Suite::AesCm128HmacSha1_80, fill);
    for between in [&[2][..], &[2, 3], &[2, 3, 2, 4]] {
        let mut sender = sender(1);
        for sequence in 100..110 {
            protect(&mut sender, &voice(1, sequence, 0)).unwrap();
        }
        assert_eq!(index_of(&protect(&mut sender, &report(1)).unwrap()), 0);
        for (n, fill) in (0..).zip(between) {
            sender.rekey(&key(*fill)).unwrap();
            protect(&mut sender, &voice(1, 200 + n, 0)).unwrap();
        }
        sender.rekey(&key(1)).unwrap();
        assert_eq!(protect(&mut sender, &rtp(1, 105, 0, b"other words")), Err(Refusal::Replay), "{between:?}");
        protect(&mut sender, &voice(1, 110, 0)).unwrap();
        assert_eq!(index_of(&protect(&mut sender, &report(1)).unwrap()), 1, "{between:?}: SRTCP has a key stream too");
    }
    // The same key under another suite has the same key stream.
    let mut sender = sender(1);
    protect(&mut sender, &voice(1, 7, 0)).unwrap();
    sender.rekey(&key(2)).unwrap();
    sender.rekey(&parameters(Suite::AesCm128HmacSha1_32, 1)).unwrap();
    assert_eq!(protect(&mut sender, &rtp(1, 7, 0, b"other words")), Err(Refusal::Replay));
}

#[test]
fn more_changes_of_key_than_are_remembered_are_refused() {
    let mut sender = sender(0);
    let key = |fill| parameters(Suite::AesCm128HmacSha1_80, fill);
    let done = (1..100).take_while(|fill| sender.rekey(&key(*fill)).is_ok()).count();
    assert_eq!(done, 16);
    assert_eq!(sender.parameters(), &key(16), "as before");
    protect(&mut sender, &voice(1, 7, 0)).unwrap();
    sender.rekey(&key(3)).expect("one that is remembered may come back");
}

/// Whoever restarts its numbers under one SSRC, or goes on unseen during a hold, is heard again from the second packet on, without a gap in the indices.
#[test]
fn a_source_out_of_reach_goes_on_where_it_was() {
    for (last, next) in [(40_000u16, 20_000u16), (40_000, 5), (300, 40_000), (300, 65_000), (50_000, 40_000), (65_535, 65_000)] {
        let (mut sender, mut receiver) = (sender(1), receiver(1));
        for sequence in [last.wrapping_sub(2), last.wrapping_sub(1), last] {
            unprotect(&mut receiver, &protect(&mut sender, &voice(1, sequence, 0)).unwrap()).unwrap();
        }
        let is_in_reach = next.wrapping_sub(last) <= 30_000;
        for n in (0..40).chain((40..70_000u32).step_by(61)) {
            let packet = voice(1, next.wrapping_add(n as u16), 0);
            match protect(&mut sender, &packet) {
                Err(refusal) => assert_eq!((n, refusal, is_in_reach), (0, Refusal::Replay, false), "{last} {next}"),
                Ok(sealed) => {
                    let mut heard = unprotect(&mut receiver, &sealed).unwrap_or_else(|refusal| panic!("{last} {next} {n} {refusal:?}"));
                    let number = if is_in_reach { next } else { last.wrapping_add(1) };
                    assert_eq!(heard[2..4], number.wrapping_add(n as u16).to_be_bytes());
                    heard[2..4].copy_from_slice(&packet[2..4]);
                    assert_eq!(heard, packet, "all else is as it was");
                }
            }
        }
    }
}

/// Strays and copies are no restart, however many there are.
#[test]
fn strays_and_copies_do_not_renumber_a_source() {
    let mut sender = sender(1);
    for n in 0..1_000u16 {
        let number = 30_000 + n;
        let sealed = protect(&mut sender, &voice(1, number, 0)).unwrap();
        assert_eq!(sealed[2..4], number.to_be_bytes());
        // Each packet comes twice, and behind every second one comes one of those long gone.
        assert_eq!(protect(&mut sender, &voice(1, number, 0)), Err(Refusal::Replay));
        if n % 2 == 1 {
            assert_eq!(protect(&mut sender, &voice(1, 10_000 + n / 2, 0)), Err(Refusal::Replay));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Zeros encrypted are the key stream: no two packets ever have the same, whatever numbers come and however the keys change.
    #[test]
    fn no_key_stream_is_ever_used_twice(steps in prop::collection::vec((0u8..12, any::<u16>(), 1u32..3), 1..600)) {
        let mut sender = sender(1);
        let mut number = [0u16; 3];
        let mut seen = std::collections::HashSet::new();
        for (what, value, ssrc) in steps {
            let at = &mut number[ssrc as usize];
            match what {
                0 => sender.rekey(&parameters(Suite::AesCm128HmacSha1_80, 1 + (value % 4) as u8)).unwrap(),
                1 => *at = value,
                2 => *at = at.wrapping_sub(value % 300),
                3 => *at = at.wrapping_add(value),
                _ => *at = at.wrapping_add(1),
            }
            if let Ok(sealed) = protect(&mut sender, &rtp(ssrc, *at, 0, &[0; 16])) {
                prop_assert!(seen.insert(sealed[12..28].to_vec()), "{what} {value} {ssrc}");
            }
        }
    }
}

/// A peer that changes its key in the middle of a call: what it sent before is on its way still, and comes in disorder with the first of the new.
#[test]
fn a_new_key_of_the_same_peer_loses_no_packet() {
    for (old, new) in Suite::ALL.into_iter().flat_map(|old| Suite::ALL.map(|new| (old, new))) {
        let (mut before, mut after) = (Sender::new(&parameters(old, 1)).unwrap(), Sender::new(&parameters(new, 2)).unwrap());
        let mut receiver = Receiver::new(&parameters(old, 1)).unwrap();
        let accept = |receiver: &mut Receiver, sender: &mut Sender, sequence: u16| {
            let packet = voice(1, sequence, 0);
            let sealed = protect(sender, &packet).unwrap();
            assert_eq!(unprotect(receiver, &sealed), Ok(packet), "{old:?} {new:?} {sequence}");
            assert_eq!(unprotect(receiver, &sealed).err(), Some(Refusal::Replay), "{old:?} {new:?} {sequence}");
        };
        for sequence in [65_533, 65_534] {
            accept(&mut receiver, &mut before, sequence);
        }
        receiver.rekey(T0, &parameters(new, 2), true).unwrap();
        accept(&mut receiver, &mut before, 65_535);
        let late = protect(&mut before, &voice(1, 0, 0)).unwrap();
        for sequence in [1, 2] {
            accept(&mut receiver, &mut after, sequence);
        }
        assert_eq!(unprotect(&mut receiver, &late), Ok(voice(1, 0, 0)), "overtaken by two of the new key");
        let compound = protect(&mut before, &report(1)).unwrap();
        assert_eq!(unprotect(&mut receiver, &compound), Ok(report(1)));
    }
}

#[test]
fn the_former_key_is_good_for_a_second_after_the_new_one_and_for_ten_at_most() {
    let attempt = |receiver: &mut Receiver, sealed: &[u8], at: Time| {
        let mut packet = sealed.to_vec();
        let header = portcullis::media::rtp::Header::parse(&packet).unwrap();
        receiver.unprotect_rtp(at, &mut packet, &header).map(drop)
    };
    for new_is_heard in [true, false] {
        let (mut before, mut after) = (sender(1), sender(2));
        let mut receiver = receiver(1);
        let old: Vec<_> = (0..4).map(|sequence| protect(&mut before, &voice(1, sequence, 0)).unwrap()).collect();
        let new: Vec<_> = (4..9).map(|sequence| protect(&mut after, &voice(1, sequence, 0)).unwrap()).collect();
        attempt(&mut receiver, &old[0], T0).unwrap();
        receiver.rekey(T0, &parameters(Suite::AesCm128HmacSha1_80, 2), true).unwrap();
        if new_is_heard {
            attempt(&mut receiver, &new[0], T0 + Duration::from_secs(3)).unwrap();
            attempt(&mut receiver, &old[1], T0 + Duration::from_millis(3_999)).unwrap();
            attempt(&mut receiver, &new[1], T0 + Duration::from_millis(3_999)).unwrap();
            assert_eq!(attempt(&mut receiver, &old[2], T0 + Duration::from_secs(4)), Err(Refusal::Authentication));
        } else {
            attempt(&mut receiver, &old[1], T0 + Duration::from_millis(9_999)).unwrap();
            assert_eq!(attempt(&mut receiver, &old[2], T0 + Duration::from_secs(10)), Err(Refusal::Authentication));
        }
        attempt(&mut receiver, &new[2], T0 + Duration::from_secs(20)).unwrap();
    }
}

/// Another peer's keys (another fork, the next target) are not to be heard with the last one's besides.
#[test]
fn the_key_of_another_peer_shuts_the_former_one_out_at_once() {
    let (mut before, mut receiver) = (sender(1), receiver(1));
    let sealed = protect(&mut before, &voice(1, 1, 0)).unwrap();
    receiver.rekey(T0, &parameters(Suite::AesCm128HmacSha1_80, 2), false).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Authentication));
}

/// What was heard under a key is not heard again because another key was in force meanwhile.
#[test]
fn a_key_that_comes_back_brings_its_replay_list() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    let sealed = protect(&mut sender, &voice(1, 7, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
    for fill in [2, 1] {
        receiver.rekey(T0, &parameters(Suite::AesCm128HmacSha1_80, fill), true).unwrap();
    }
    assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Replay));
    unprotect(&mut receiver, &protect(&mut sender, &voice(1, 8, 0)).unwrap()).unwrap();
}

/// Before the first wrap a number that seems to lie before the beginning is far ahead: the sender was on hold meanwhile.
#[test]
fn a_jump_ahead_before_the_first_wrap_is_followed() {
    let (mut peer, mut receiver) = (sender(1), receiver(1));
    unprotect(&mut receiver, &protect(&mut peer, &voice(1, 100, 0)).unwrap()).unwrap();
    // A sender that chooses its numbers itself has missed none of them.
    let mut elsewhere = sender(1);
    let sealed = protect(&mut elsewhere, &voice(1, 40_000, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
}

/// A peer that is transferred keeps its key, and with it its ROC, which is not in the packets.
#[test]
fn in_another_stream_a_kept_key_goes_on_where_it_was() {
    for suite in Suite::ALL {
        let mut sender = Sender::new(&parameters(suite, 1)).unwrap();
        let mut elder = Receiver::new(&parameters(suite, 1)).unwrap();
        let mut last = Vec::new();
        for n in 0..10u32 {
            last = protect(&mut sender, &voice(1, (n * 20_000) as u16, 0)).unwrap();
            unprotect(&mut elder, &last).unwrap();
        }
        let compound = protect(&mut sender, &report(1)).unwrap();
        unprotect(&mut elder, &compound).unwrap();
        let mut heir = Receiver::new(&parameters(suite, 1)).unwrap();
        let next = protect(&mut sender, &voice(1, (9 * 20_000 + 1) as u32 as u16, 0)).unwrap();
        assert_eq!(unprotect(&mut heir, &next), Err(Refusal::Authentication), "{suite:?}: nobody knows the ROC");
        heir.succeed(&elder.twin().unwrap());
        assert_eq!(unprotect(&mut heir, &last), Err(Refusal::Replay), "{suite:?}: heard in the other stream");
        assert_eq!(unprotect(&mut heir, &compound), Err(Refusal::Replay), "{suite:?}: heard in the other stream");
        unprotect(&mut heir, &next).unwrap_or_else(|error| panic!("{suite:?} {error:?}"));
        let mut stranger = Receiver::new(&parameters(suite, 2)).unwrap();
        stranger.succeed(&elder.twin().unwrap());
        let fresh = protect(&mut Sender::new(&parameters(suite, 2)).unwrap(), &voice(1, 5, 0)).unwrap();
        unprotect(&mut stranger, &fresh).expect("another key begins anew");
    }
}

#[test]
fn after_a_new_key_the_roc_may_start_again_or_go_on() {
    for restarts in [true, false] {
        let (mut sender, mut receiver) = (sender(1), receiver(1));
        for sequence in [65_534, 65_535, 0, 1] {
            let sealed = protect(&mut sender, &voice(1, sequence, 0)).unwrap();
            unprotect(&mut receiver, &sealed).unwrap();
        }
        let new = parameters(Suite::AesCm128HmacSha1_80, 2);
        receiver.rekey(T0, &new, false).unwrap();
        let mut peer = Sender::new(&new).unwrap();
        if !restarts {
            protect(&mut peer, &voice(1, 65_535, 0)).unwrap();
        }
        for sequence in 2..20 {
            let sealed = protect(&mut peer, &voice(1, sequence, 0)).unwrap();
            unprotect(&mut receiver, &sealed).unwrap_or_else(|e| panic!("{restarts} {sequence} {e:?}"));
            assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Replay));
        }
    }
}

#[test]
fn on_another_peers_new_key_the_replay_list_starts_anew() {
    let (mut old, mut receiver) = (sender(1), receiver(1));
    let sealed = protect(&mut old, &voice(1, 500, 0)).unwrap();
    unprotect(&mut receiver, &sealed).unwrap();
    receiver.rekey(T0, &parameters(Suite::AesCm128HmacSha1_80, 2), false).unwrap();
    let mut new = packets::sender(2);
    let fresh = protect(&mut new, &voice(1, 500, 0)).unwrap();
    unprotect(&mut receiver, &fresh).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Replay), "the old key's packet: its index is taken");
    let stale = protect(&mut old, &voice(1, 501, 0)).unwrap();
    assert_eq!(unprotect(&mut receiver, &stale), Err(Refusal::Authentication), "the old key is gone");
}

fn with_mki(suite: Suite, fill: u8, mki: &[u8], lifetime: Option<u64>) -> MasterKey {
    let mut key = master_of(suite, fill);
    (key.mki, key.lifetime) = (Some(mki.to_vec()), lifetime);
    key
}

#[test]
fn the_mki_stands_before_the_tag_and_names_the_key() {
    for (suite, tag) in Suite::ALL.into_iter().filter(|suite| !suite.is_aead()).map(|suite| (suite, suite.rtp_tag())) {
        let both = SrtpParameters { suite, keys: vec![with_mki(suite, 1, &[0, 1], None), with_mki(suite, 2, &[0, 2], None)] };
        let mut receiver = Receiver::new(&both).unwrap();
        for (fill, mki, sequence) in [(1, [0, 1], 10), (2, [0, 2], 11), (1, [0, 1], 12)] {
            let mut sender = Sender::new(&SrtpParameters { suite, keys: vec![with_mki(suite, fill, &mki, None)] }).unwrap();
            let packet = voice(1, sequence, 0);
            let sealed = protect(&mut sender, &packet).unwrap();
            assert_eq!(sealed.len(), packet.len() + 2 + tag);
            assert_eq!(sealed[packet.len()..packet.len() + 2], mki);
            assert_eq!(unprotect(&mut receiver, &sealed), Ok(packet));
            let compound = report(u32::from(sequence));
            let sealed = protect(&mut sender, &compound).unwrap();
            assert_eq!(sealed[compound.len() + 4..compound.len() + 6], mki);
            assert_eq!(unprotect(&mut receiver, &sealed), Ok(compound));
        }
        let mut stranger = Sender::new(&SrtpParameters { suite, keys: vec![with_mki(suite, 1, &[0, 3], None)] }).unwrap();
        let sealed = protect(&mut stranger, &voice(1, 20, 0)).unwrap();
        assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Authentication), "no key of that name");
        let sealed = protect(&mut Sender::new(&parameters(suite, 1)).unwrap(), &voice(1, 20, 0)).unwrap();
        assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::Authentication), "no MKI at all");
    }
}

#[test]
fn a_lifetime_is_honoured_on_both_ends_for_rtp_and_rtcp_alone() {
    let mut limited = parameters(Suite::AesCm128HmacSha1_80, 1);
    limited.keys[0].lifetime = Some(4);
    let (mut bounded, mut unbounded) = (Sender::new(&limited).unwrap(), sender(1));
    let (mut receiver, mut patient) = (Receiver::new(&limited).unwrap(), receiver(1));
    for sequence in 0..4 {
        let sealed = protect(&mut bounded, &voice(1, sequence, 0)).unwrap();
        assert_eq!(sealed, protect(&mut unbounded, &voice(1, sequence, 0)).unwrap());
        unprotect(&mut receiver, &sealed).unwrap();
        unprotect(&mut patient, &sealed).unwrap();
    }
    assert_eq!(protect(&mut bounded, &voice(1, 4, 0)), Err(Refusal::KeySpent));
    let sealed = protect(&mut unbounded, &voice(1, 4, 0)).unwrap();
    assert_eq!(unprotect(&mut receiver, &sealed), Err(Refusal::KeySpent));
    for _ in 0..4 {
        let sealed = protect(&mut bounded, &report(1)).unwrap();
        unprotect(&mut receiver, &sealed).unwrap();
    }
    assert_eq!(protect(&mut bounded, &report(1)), Err(Refusal::KeySpent));
    // Configured again with the same key, what is spent stays spent.
    let mut longer = limited.clone();
    longer.keys[0].lifetime = Some(5);
    bounded.rekey(&longer).unwrap();
    protect(&mut bounded, &voice(1, 4, 0)).unwrap();
    assert_eq!(protect(&mut bounded, &voice(1, 5, 0)), Err(Refusal::KeySpent));
}

#[test]
fn a_spent_key_gives_way_to_the_next_with_its_own_mki() {
    let suite = Suite::AesCm128HmacSha1_80;
    let keys = SrtpParameters { suite, keys: vec![with_mki(suite, 1, &[1], Some(2)), with_mki(suite, 2, &[2], None)] };
    let (mut sender, mut receiver) = (Sender::new(&keys).unwrap(), Receiver::new(&keys).unwrap());
    let names: Vec<u8> = (0..4)
        .map(|sequence| {
            let sealed = protect(&mut sender, &voice(1, 65_534u16.wrapping_add(sequence), 0)).unwrap();
            unprotect(&mut receiver, &sealed).unwrap();
            sealed[172]
        })
        .collect();
    assert_eq!(names, [1, 1, 2, 2]);
}

#[test]
fn rtcp_is_accepted_once_and_in_the_clear_only_if_authentic() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    let first = protect(&mut sender, &report(1)).unwrap();
    assert_eq!(first[report(1).len()..][..4], [0x80, 0, 0, 0], "E flag, index 0");
    let second = protect(&mut sender, &report(1)).unwrap();
    unprotect(&mut receiver, &second).unwrap();
    unprotect(&mut receiver, &first).expect("reordered");
    assert_eq!(unprotect(&mut receiver, &first), Err(Refusal::Replay));
    let mut forged = protect(&mut sender, &report(1)).unwrap();
    let end = report(1).len();
    forged[end] ^= 0x80;
    assert_eq!(unprotect(&mut receiver, &forged), Err(Refusal::Authentication), "the E flag is authenticated");
}

#[test]
fn too_short_for_its_trailer_is_refused_at_every_length() {
    let (mut sender, mut receiver) = (sender(1), receiver(1));
    for packet in [rtp(1, 1, 0, b"hi"), report(1)] {
        let sealed = protect(&mut sender, &packet).unwrap();
        for length in 12..sealed.len() {
            assert!(unprotect(&mut receiver, &sealed[..length]).is_err());
        }
        unprotect(&mut receiver, &sealed).unwrap();
    }
    let header = portcullis::media::rtp::Header::parse(&voice(1, 2, 0)).unwrap();
    let mut buffer = voice(1, 2, 0);
    buffer.extend_from_slice(&[0; 9]);
    assert_eq!(sender.protect_rtp(T0, &mut buffer, 172, &header), Err(Refusal::NoRoom));
    assert_eq!(buffer[..172], voice(1, 2, 0), "left as it was");
}
