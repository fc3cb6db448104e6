//! Attacks on the address a stream takes its media from, and the moves of a peer that must not be taken for one: RTP bleed, injection with a guessed or
//! overheard SSRC, a late takeover, NATs that change their port (RFC 7362 §5, RFC 4961).

mod packets;

use std::time::Duration;

use packets::*;
use portcullis::media::control::{LatchPolicy, Report, Side};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{DropReason, Stream, TAIL_ROOM, Verdict};
use portcullis::time::Time;

const POLICIES: [LatchPolicy; 3] = [LatchPolicy::Strict, LatchPolicy::SignalledAddress, LatchPolicy::Nat];
const ATTACKER: &str = "203.0.113.66:4000";
/// The peer's own address, another port.
const OTHER_PORT: &str = "192.0.2.1:4444";

fn ms(n: u64) -> Time {
    T0 + Duration::from_millis(n)
}

fn deliver(stream: &mut Stream, now: Time, from: &str, packet: &[u8]) -> Result<(), DropReason> {
    let channel = if (192..=223).contains(&packet[1]) { Channel::Rtcp } else { Channel::Rtp };
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TAIL_ROOM, 0);
    match stream.packet(now, Side::A, channel, at(from), &mut buffer, packet.len()) {
        Verdict::Forward { .. } => Ok(()),
        Verdict::Drop(reason) => Err(reason),
        other => panic!("no side is keyed by DTLS: {other:?}"),
    }
}

/// A second of speech: packets 0 to 49, the last at 980 ms.
fn second_of_speech(stream: &mut Stream, from: &str) {
    for n in 0..50u16 {
        deliver(stream, ms(u64::from(n) * 20), from, &voice(7, n, u32::from(n) * 160)).unwrap();
    }
}

/// Where the far side's voice goes.
fn destination(stream: &mut Stream) -> std::net::SocketAddr {
    through(stream, Side::B, B, &voice(9, 1, 0)).unwrap().0
}

fn refused(report: &Report) -> u64 {
    report.a.refused_source
}

/// An attacker who has overheard everything, SSRC and numbers, and speaks while the peer does, is neither heard nor sent to; under no rule.
#[test]
fn who_knows_ssrc_and_numbers_cannot_take_over_while_the_peer_speaks() {
    for policy in POLICIES {
        for from in [ATTACKER, OTHER_PORT] {
            let mut stream = stream(false, false, policy);
            for n in 0..200u16 {
                let now = ms(u64::from(n) * 20);
                deliver(&mut stream, now, A, &voice(7, n, u32::from(n) * 160)).unwrap();
                // Ahead of the peer's next packet, by one, by some.
                for ahead in [1, 2, 30] {
                    assert_eq!(deliver(&mut stream, now, from, &voice(7, n + ahead, 0)), Err(DropReason::Source), "{policy:?} {from} {n}");
                }
            }
            assert_eq!(destination(&mut stream), at(A));
            let report = stream.report();
            assert_eq!((refused(&report), report.a.received, report.a.relatched), (600, 200, 0));
            assert_eq!(report.a.foreign.map(|foreign| foreign.from), Some(at(from)));
        }
    }
}

/// A peer that has fallen silent cannot be replaced by who guesses: not with another SSRC, not with numbers from anywhere, not from a foreign address
/// where the rule knows the peer's.
#[test]
fn a_silent_peer_is_not_replaced_by_who_guesses() {
    for policy in POLICIES {
        let mut stream = stream(false, false, policy);
        second_of_speech(&mut stream, A);
        let late = ms(60_000);
        for guess in 0..2_000u32 {
            assert_eq!(deliver(&mut stream, late, ATTACKER, &voice(guess.wrapping_mul(2_654_435_769) | 8, 50, 0)), Err(DropReason::Source), "another SSRC");
        }
        // The SSRC is known to him, the numbers are not: those long gone, those far ahead.
        for number in (0..50u16).chain((4_000..65_500).step_by(97)) {
            for from in [ATTACKER, OTHER_PORT] {
                assert_eq!(deliver(&mut stream, late, from, &voice(7, number, 0)), Err(DropReason::Source), "{policy:?} {number}");
            }
        }
        assert_eq!(deliver(&mut stream, late, ATTACKER, &voice(7, 50, 0)), Err(DropReason::Source), "{policy:?}: right in all but the address");
        assert_eq!(destination(&mut stream), at(A));
    }
}

/// RTCP in the clear proves nothing, so it moves nothing.
#[test]
fn a_report_from_elsewhere_moves_nothing() {
    for policy in POLICIES {
        let mut stream = stream(false, false, policy);
        second_of_speech(&mut stream, A);
        deliver(&mut stream, ms(1_000), "192.0.2.1:4001", &report(7)).unwrap();
        for from in ["192.0.2.1:4999", "203.0.113.66:4001"] {
            assert_eq!(deliver(&mut stream, ms(90_000), from, &report(7)), Err(DropReason::Source), "{policy:?} {from}");
        }
    }
}

/// Whoever has overheard SSRC and numbers takes over nobody in the clear, for as long as he tries, and the peer he waited for is heard when it speaks again.
#[test]
fn under_nat_an_eavesdropper_on_another_host_never_takes_over_a_silent_peer() {
    let mut stream = stream(false, false, LatchPolicy::Nat);
    second_of_speech(&mut stream, A);
    for n in 0..3_000u16 {
        assert_eq!(deliver(&mut stream, ms(1_000 + u64::from(n) * 20), ATTACKER, &voice(7, 50 + n, u32::from(n) * 160)), Err(DropReason::Source));
    }
    assert_eq!(destination(&mut stream), at(A));
    deliver(&mut stream, ms(70_000), A, &voice(7, 50, 0)).unwrap();
    let report = stream.report();
    assert_eq!((refused(&report), report.a.relatched), (3_000, 0));
}

/// Under `nat` the RTCP port is open to the first who sends there; that must not shut the peer's voice out, nor keep its reports out.
#[test]
fn under_nat_a_strangers_report_does_not_shut_the_peer_out() {
    let mut stream = stream(false, false, LatchPolicy::Nat);
    deliver(&mut stream, ms(0), ATTACKER, &report(66)).unwrap();
    second_of_speech(&mut stream, A);
    deliver(&mut stream, ms(1_000), "192.0.2.1:4001", &report(7)).unwrap();
    assert_eq!(deliver(&mut stream, ms(1_001), ATTACKER, &report(66)), Err(DropReason::Source));
}

/// A NAT that gives the peer another port, or another address, in the middle of the call: the voice goes on, and the far side's follows.
#[test]
fn a_peer_whose_nat_has_changed_is_followed_once_the_old_address_is_silent() {
    for (policy, to, followed) in [
        (LatchPolicy::Strict, OTHER_PORT, false),
        (LatchPolicy::SignalledAddress, OTHER_PORT, true),
        (LatchPolicy::SignalledAddress, "203.0.113.9:7000", false),
        (LatchPolicy::Nat, OTHER_PORT, true),
        (LatchPolicy::Nat, "203.0.113.9:7000", false),
    ] {
        let mut stream = stream(false, false, policy);
        second_of_speech(&mut stream, A);
        let mut taken = Vec::new();
        for n in 50..100u16 {
            if deliver(&mut stream, ms(u64::from(n) * 20), to, &voice(7, n, u32::from(n) * 160)).is_ok() {
                taken.push(n);
            }
        }
        let report = stream.report();
        if followed {
            assert!(taken.first().is_some_and(|first| (65..=75).contains(first)) && taken.len() > 20, "{policy:?} {to}: {taken:?}");
            assert_eq!((report.a.relatched, report.a.latched, destination(&mut stream)), (1, Some(at(to)), at(to)));
            assert_eq!(deliver(&mut stream, ms(2_000), A, &voice(7, 100, 0)), Err(DropReason::Source), "and back only in the same manner");
        } else {
            assert_eq!((taken.len(), report.a.relatched, destination(&mut stream)), (0, 0, at(A)), "{policy:?} {to}");
        }
    }
}

/// Under SRTP the tag is the proof, so a move takes no silence; what was overheard and is sent on from elsewhere is a copy and moves nothing.
#[test]
fn under_srtp_a_move_is_proven_by_the_tag_and_by_nothing_else() {
    for (policy, to) in [(LatchPolicy::SignalledAddress, OTHER_PORT), (LatchPolicy::Nat, "203.0.113.9:7000")] {
        let mut stream = stream(true, false, policy);
        let mut peer = sender(1);
        let sealed: Vec<Vec<u8>> = (0..60u16).map(|n| protect(&mut peer, &voice(7, n, u32::from(n) * 160)).unwrap()).collect();
        for n in (0..20).filter(|n| *n != 15) {
            deliver(&mut stream, ms(20 * n as u64), A, &sealed[n]).unwrap();
        }
        for copy in &sealed[..15] {
            assert_eq!(deliver(&mut stream, ms(400), to, copy), Err(DropReason::Replay), "heard before");
        }
        assert_eq!(deliver(&mut stream, ms(400), to, &sealed[15]), Err(DropReason::Source), "held back by an attacker until it was old: moves nothing");
        let forged = [voice(7, 20, 3_200), vec![0; 10]].concat();
        assert_eq!(deliver(&mut stream, ms(60_000), to, &forged), Err(DropReason::Authentication));
        assert_eq!(stream.report().a.latched, Some(at(A)));
        deliver(&mut stream, ms(400), to, &sealed[20]).unwrap();
        let report = stream.report();
        assert_eq!((report.a.latched, report.a.relatched), (Some(at(to)), 1));
        // Two who send the same stream by turns are one peer with two ways: the newest packet says which.
        deliver(&mut stream, ms(420), A, &sealed[21]).unwrap();
        assert_eq!(stream.report().a.latched, Some(at(A)));
    }
    let mut strict = stream(true, false, LatchPolicy::Strict);
    let sealed = protect(&mut sender(1), &voice(7, 1, 0)).unwrap();
    assert_eq!(deliver(&mut strict, T0, OTHER_PORT, &sealed), Err(DropReason::Source));
    assert_eq!(deliver(&mut strict, ms(60_000), OTHER_PORT, &sealed), Err(DropReason::Source));
}

/// The first packet under `nat` decides, and only its host may then send RTCP: half of a stream is not to be had either.
#[test]
fn nobody_else_gets_the_other_half_of_a_stream() {
    let mut stream = stream(false, false, LatchPolicy::Nat);
    deliver(&mut stream, T0, "203.0.113.5:9000", &voice(7, 1, 0)).unwrap();
    assert_eq!(deliver(&mut stream, T0, ATTACKER, &report(7)), Err(DropReason::Source));
    deliver(&mut stream, T0, "203.0.113.5:12345", &report(7)).unwrap();
}

/// What passes in RTCP tells the way to each peer (RFC 3550 §6.4.1) and what the listener misses.
#[test]
fn reports_that_pass_tell_the_round_trip_and_what_the_listener_misses() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    second_of_speech(&mut stream, A);
    // A's sender report: middle of its NTP time 0x5555_6666.
    let mut sent = vec![0x80, 200, 0, 6, 0, 0, 0, 7];
    sent.extend([0x44, 0x44, 0x55, 0x55, 0x66, 0x66, 0x77, 0x77]);
    sent.extend([0; 12]);
    deliver(&mut stream, ms(1_000), "192.0.2.1:4001", &sent).unwrap();
    // B answers 580 ms later, having waited half a second; 64 of 256 were lost, 13 in all.
    let mut answer = vec![0x81, 201, 0, 7, 0, 0, 0, 9, 0, 0, 0, 7, 64, 0, 0, 13, 0, 0, 0, 50, 0, 0, 0, 80];
    answer.extend([0x55, 0x55, 0x66, 0x66, 0, 0, 0x80, 0]);
    let say = |stream: &mut Stream, now: Time, packet: &[u8]| {
        let mut buffer = packet.to_vec();
        stream.packet(now, Side::B, Channel::Rtcp, at("198.51.100.1:6001"), &mut buffer, packet.len())
    };
    assert!(matches!(say(&mut stream, ms(1_580), &answer), Verdict::Forward { .. }));
    let report = stream.report().b;
    assert_eq!(report.round_trip_us, Some(80_000), "from us to B and back");
    assert_eq!(report.told.map(|told| (told.at, told.fraction_lost, told.lost, told.jitter)), Some((ms(1_580), 64, 13, 80)));
    assert_eq!(stream.report().a.round_trip_us, None);
    // An answer to a report nobody sent, one about a source nobody heard, one that claims to have waited longer than it took.
    for (at, byte) in [(24, 0xff), (8, 1), (29, 9)] {
        let mut lie = answer.clone();
        lie[at] = byte;
        say(&mut stream, ms(1_600), &lie);
        assert_eq!(stream.report().b.round_trip_us, Some(80_000), "{at}");
    }
}
