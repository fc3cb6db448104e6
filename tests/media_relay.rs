//! A stream as a whole: the four cells of the table, latching, injection, hold, renegotiation, counting.

mod packets;

use std::time::Duration;

use packets::*;
use portcullis::media::control::{Configuration, Foreign, LatchPolicy, Protection, Rekeyed, Run, Side, Signalled, StreamId};
use portcullis::media::packet::Channel;
use portcullis::media::payloads::Payloads;
use portcullis::media::relay::{DropReason, KeyError, Stream, Verdict};
use portcullis::sdp::crypto::Suite;

const CELLS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// As A's peer would send it.
fn from_a(secured: bool, key: &mut portcullis::media::srtp::Sender, packet: &[u8]) -> Vec<u8> {
    if secured { protect(key, packet).unwrap() } else { packet.to_vec() }
}

/// As B's peer would read it.
fn at_b(secured: bool, key: &mut portcullis::media::srtp::Receiver, packet: &[u8]) -> Vec<u8> {
    if secured { unprotect(key, packet).unwrap() } else { packet.to_vec() }
}

#[test]
fn voice_events_and_reports_pass_in_every_cell_both_ways() {
    for (a, b) in CELLS {
        let mut stream = stream(a, b, LatchPolicy::SignalledAddress);
        let (mut peer_a, mut peer_b) = ((sender(1), receiver(2)), (sender(3), receiver(4)));
        for n in 0..200u16 {
            let mut packet = voice(0xa, 65_500u16.wrapping_add(n), u32::from(n) * 160);
            if n % 10 == 0 {
                packet[1] = 0x80 | 101;
            }
            let (to, out) = through(&mut stream, Side::A, A, &from_a(a, &mut peer_a.0, &packet)).unwrap();
            assert_eq!((to, at_b(b, &mut peer_b.1, &out)), (at(B), packet));
            let packet = voice(0xb, 100 + n, u32::from(n) * 160);
            let (to, out) = through(&mut stream, Side::B, B, &from_a(b, &mut peer_b.0, &packet)).unwrap();
            assert_eq!((to, at_b(a, &mut peer_a.1, &out)), (at(A), packet));
        }
        for _ in 0..3 {
            let packet = report(0xa);
            let (to, out) = through(&mut stream, Side::A, "192.0.2.1:4001", &from_a(a, &mut peer_a.0, &packet)).unwrap();
            assert_eq!((to, at_b(b, &mut peer_b.1, &out)), (at("198.51.100.1:6001"), packet));
        }
        let report = stream.report();
        assert_eq!((report.a.received, report.a.received_bytes, report.a.rtcp_received, report.b.rtcp_sent), (200, 200 * 172, 3, 3));
        assert_eq!((report.b.sent, report.b.received, report.a.sent, report.a.lost), (200, 200, 200, 0));
        assert_eq!((report.a.latched, report.a.first, report.a.last), (Some(at(A)), Some(T0), Some(T0)));
    }
}

#[test]
fn what_crosses_in_the_clear_tells_nothing_about_the_other_sides_network() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    let mut compound = report(7);
    let at_name = compound.len() - 10;
    compound[at_name..at_name + 8].copy_from_slice(b"pbx@10.1");
    let (_, out) = through(&mut stream, Side::A, "192.0.2.1:4001", &compound).unwrap();
    assert_eq!(out, report(7));
}

#[test]
fn a_forgery_is_neither_forwarded_nor_latched_nor_counted_as_heard() {
    for policy in [LatchPolicy::SignalledAddress, LatchPolicy::Nat] {
        let mut stream = stream(true, true, policy);
        for n in 0..100u16 {
            let forged = [voice(0xa, n, 0), vec![n as u8; 10]].concat();
            assert_eq!(through(&mut stream, Side::A, "192.0.2.1:5555", &forged), Err(DropReason::Authentication));
            let forged = [report(0xa), vec![0x80, 0, 0, n as u8], vec![n as u8; 10]].concat();
            assert_eq!(through(&mut stream, Side::A, "192.0.2.1:5556", &forged), Err(DropReason::Authentication));
        }
        let before = stream.report();
        assert_eq!((before.a.latched, before.a.received, before.a.first, before.b.sent), (None, 0, None, 0));
        assert_eq!(before.a.refused_authentication, 200);
        let sealed = protect(&mut sender(1), &voice(0xa, 5, 0)).unwrap();
        through(&mut stream, Side::A, "192.0.2.1:4444", &sealed).unwrap();
        assert_eq!(stream.report().a.latched, Some(at("192.0.2.1:4444")), "the first that authenticates latches");
        assert_eq!(through(&mut stream, Side::A, "192.0.2.1:4445", &sealed), Err(DropReason::Replay), "a copy from elsewhere moves nothing");
    }
}

/// The attack RTP bleed: packets to a media port from anywhere, in the hope to be sent the voice, or to be heard.
#[test]
fn rtp_bleed_gains_nothing_under_strict_and_signalled_address() {
    for policy in [LatchPolicy::Strict, LatchPolicy::SignalledAddress] {
        for (a, b) in CELLS {
            let mut stream = stream(a, b, policy);
            for n in 0..20 {
                assert_eq!(through(&mut stream, Side::A, "203.0.113.66:4000", &voice(1, n, 0)), Err(DropReason::Source));
            }
            let packet = if b { protect(&mut sender(3), &voice(2, 1, 0)).unwrap() } else { voice(2, 1, 0) };
            let (to, _) = through(&mut stream, Side::B, B, &packet).unwrap();
            assert_eq!(to, at(A), "the voice goes to the signalled peer, not to who asked for it");
            assert_eq!(stream.report().a.refused_source, 20);
        }
    }
}

#[test]
fn once_latched_nobody_else_is_heard_or_sent_to() {
    for policy in [LatchPolicy::Strict, LatchPolicy::SignalledAddress, LatchPolicy::Nat] {
        let mut stream = stream(false, false, policy);
        through(&mut stream, Side::A, A, &voice(1, 1, 0)).unwrap();
        for attacker in ["192.0.2.1:4002", "203.0.113.66:4000", "[2001:db8::1]:4000"] {
            assert_eq!(through(&mut stream, Side::A, attacker, &voice(1, 2, 0)), Err(DropReason::Source), "{policy:?}");
        }
        let (to, _) = through(&mut stream, Side::B, B, &voice(2, 1, 0)).unwrap();
        assert_eq!(to, at(A));
    }
}

#[test]
fn the_port_is_learnt_where_the_policy_allows_it() {
    for (policy, from, accepted) in [
        (LatchPolicy::Strict, "192.0.2.1:4444", false),
        (LatchPolicy::SignalledAddress, "192.0.2.1:4444", true),
        (LatchPolicy::SignalledAddress, "203.0.113.9:4000", false),
        (LatchPolicy::Nat, "203.0.113.9:4444", true),
    ] {
        let mut stream = stream(false, false, policy);
        assert_eq!(through(&mut stream, Side::A, from, &voice(1, 1, 0)).is_ok(), accepted, "{policy:?} {from}");
        let (to, _) = through(&mut stream, Side::B, B, &voice(2, 1, 0)).unwrap();
        assert_eq!(to, at(if accepted { from } else { A }), "{policy:?} {from}");
    }
}

#[test]
fn a_malformed_packet_never_latches() {
    let mut stream = stream(false, false, LatchPolicy::Nat);
    let mut padded = voice(1, 1, 0);
    (padded[0], *padded.last_mut().unwrap()) = (0xa0, 0);
    let mut extended = voice(1, 1, 0);
    (extended[0], extended[14], extended[15]) = (0x90, 0xff, 0xff);
    for packet in [&padded[..], &extended, &voice(1, 1, 0)[..11]] {
        assert_eq!(through(&mut stream, Side::A, "203.0.113.9:1", packet), Err(DropReason::Malformed));
    }
    for packet in [&[0; 4][..], &[], &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42], &[22, 254, 253]] {
        assert_eq!(through(&mut stream, Side::A, "203.0.113.9:1", packet), Err(DropReason::NotMedia));
    }
    assert_eq!((stream.report().a.refused_malformed, stream.report().a.latched), (7, None));
}

/// What explains a refusal later is kept with it: from where, since when, what it was, and nothing of it outlives the next good packet.
#[test]
fn a_refusal_is_remembered_with_what_explains_it() {
    let mut stream = stream(true, false, LatchPolicy::Strict);
    let mut peer = sender(1);
    for n in 0..3 {
        assert_eq!(through(&mut stream, Side::A, A, &[voice(1, n, 0), vec![0; 10]].concat()), Err(DropReason::Authentication));
    }
    for from in ["203.0.113.66:4000", "203.0.113.67:4000", "203.0.113.67:4000"] {
        assert_eq!(through(&mut stream, Side::A, from, &voice(1, 9, 0)), Err(DropReason::Source));
    }
    assert_eq!(through(&mut stream, Side::B, B, &[22, 254, 253]), Err(DropReason::NotMedia));
    assert_eq!(through(&mut stream, Side::B, B, &[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]), Err(DropReason::NotMedia));
    let report = stream.report();
    let run = |packets| Run { packets, first: T0, last: T0 };
    assert_eq!((report.a.failing, report.a.refused_authentication), (Some(run(3)), 3));
    assert_eq!((report.a.foreign, report.a.refused_source), (Some(Foreign { from: at("203.0.113.67:4000"), run: run(2) }), 3));
    assert_eq!((report.b.refused_dtls, report.b.refused_stun, report.b.refused_malformed), (1, 1, 2));
    assert_eq!((report.a.signalled, report.a.latch, report.a.latched), (Signalled::At(at(A)), LatchPolicy::Strict, None));
    assert_eq!((report.a.rekeyed, report.b.rekeyed), (Some(Rekeyed { number: 1, at: T0 }), None));
    let later = T0 + Duration::from_millis(20);
    let mut good = protect(&mut peer, &voice(1, 5, 0)).unwrap();
    let len = good.len();
    good.resize(len + 160, 0);
    assert!(matches!(stream.packet(later, Side::A, Channel::Rtp, at(A), &mut good, len), Verdict::Forward { .. }));
    let report = stream.report();
    assert_eq!((report.a.failing, report.a.last_rtp), (None, Some(later)), "it proved to have the key");
    assert_eq!((report.b.first_sent, report.b.last_sent), (Some(later), Some(later)));
    stream.configure(later, Side::A, Configuration::new(None, LatchPolicy::Strict, Some(srtp(9)), None)).unwrap();
    stream.configure(later, Side::A, Configuration::new(None, LatchPolicy::Strict, Some(srtp(9)), None)).unwrap();
    assert_eq!(stream.report().a.rekeyed, Some(Rekeyed { number: 2, at: later }));
    stream.configure(later, Side::B, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
    let report = stream.report().b;
    assert_eq!((report.signalled, report.takes_none), (Signalled::Held, true));
}

#[test]
fn rtp_and_rtcp_are_not_taken_on_one_another_s_port() {
    let mut stream = stream(false, false, LatchPolicy::SignalledAddress);
    for (channel, packet) in [(Channel::Rtcp, voice(1, 1, 0)), (Channel::Rtp, report(1))] {
        let mut buffer = packet.clone();
        let verdict = stream.packet(T0, Side::A, channel, at(A), &mut buffer, packet.len());
        assert_eq!(verdict, Verdict::Drop(DropReason::WrongChannel));
    }
}

#[test]
fn until_both_sides_are_set_nothing_passes_and_on_hold_nothing_passes() {
    let mut stream = Stream::new(StreamId(1), None, T0);
    assert_eq!(through(&mut stream, Side::A, A, &voice(1, 1, 0)), Err(DropReason::NotReady));
    let latch = LatchPolicy::SignalledAddress;
    let plain = || Some(Protection::Plain);
    stream.configure(T0, Side::A, Configuration::new(Some(Some(remote(A))), latch, plain(), plain())).unwrap();
    assert_eq!(through(&mut stream, Side::A, A, &voice(1, 2, 0)), Err(DropReason::NotReady));
    stream.configure(T0, Side::B, Configuration::new(Some(Some(remote(B))), latch, plain(), plain())).unwrap();
    through(&mut stream, Side::A, A, &voice(1, 3, 0)).unwrap();
    stream.configure(T0, Side::B, Configuration::new(Some(None), latch, None, None)).unwrap();
    assert_eq!(through(&mut stream, Side::A, A, &voice(1, 4, 0)), Err(DropReason::OnHold));
    assert_eq!(through(&mut stream, Side::B, B, &voice(2, 4, 0)), Err(DropReason::OnHold));
    stream.configure(T0, Side::B, Configuration::new(Some(Some(remote(B))), latch, None, None)).unwrap();
    through(&mut stream, Side::A, A, &voice(1, 5, 0)).unwrap();
    through(&mut stream, Side::B, B, &voice(2, 5, 0)).unwrap();
    assert_eq!((stream.report().a.refused_not_ready, stream.report().b.refused_not_ready), (3, 1));
}

#[test]
fn a_hold_longer_than_a_wrap_loses_neither_roc() {
    let mut stream = stream(true, false, LatchPolicy::SignalledAddress);
    let mut peer = sender(1);
    stream.configure(T0, Side::B, Configuration::new(Some(None), LatchPolicy::SignalledAddress, None, None)).unwrap();
    for n in (0..70_000u32).step_by(100) {
        let sealed = protect(&mut peer, &rtp(1, n as u16, n, b"music")).unwrap();
        assert_eq!(through(&mut stream, Side::A, A, &sealed), Err(DropReason::OnHold));
    }
    stream.configure(T0, Side::B, Configuration::new(Some(Some(remote(B))), LatchPolicy::SignalledAddress, None, None)).unwrap();
    let sealed = protect(&mut peer, &rtp(1, 70_000u32 as u16, 0, b"music")).unwrap();
    through(&mut stream, Side::A, A, &sealed).unwrap();
}

/// RFC 5761: RTCP on the port of RTP where that was agreed, under SRTP or not, and on two ports towards the other leg.
#[test]
fn rtcp_shares_the_port_of_rtp_where_it_was_agreed_and_only_there() {
    for secured in [false, true] {
        let mut stream = stream(secured, false, LatchPolicy::SignalledAddress);
        let (mut says, mut hears) = (sender(1), receiver(2));
        let arrive = |stream: &mut Stream, side, from: &str, channel, packet: &[u8]| {
            let mut buffer = packet.to_vec();
            buffer.resize(packet.len() + portcullis::media::relay::TAIL_ROOM, 0);
            match stream.packet(T0, side, channel, at(from), &mut buffer, packet.len()) {
                Verdict::Forward { to, len, channel } => Ok((to, channel, buffer[..len].to_vec())),
                other => Err(other),
            }
        };
        let compound = from_a(secured, &mut says, &report(7));
        assert_eq!(arrive(&mut stream, Side::A, A, Channel::Rtp, &compound), Err(Verdict::Drop(DropReason::WrongChannel)), "not agreed yet");
        let set = Configuration { latch: LatchPolicy::SignalledAddress, mux: Some(true), ..Configuration::default() };
        stream.configure(T0, Side::A, set).unwrap();
        let (to, channel, _) = arrive(&mut stream, Side::A, A, Channel::Rtp, &compound).unwrap();
        assert_eq!((to, channel), (at("198.51.100.1:6001"), Channel::Rtcp));
        let (to, channel, _) = arrive(&mut stream, Side::A, A, Channel::Rtp, &from_a(secured, &mut says, &voice(7, 1, 0))).unwrap();
        assert_eq!((to, channel), (at(B), Channel::Rtp));
        let (to, channel, out) = arrive(&mut stream, Side::B, "198.51.100.1:6001", Channel::Rtcp, &report(8)).unwrap();
        assert_eq!((to, channel, at_b(secured, &mut hears, &out)[4..8].to_vec()), (at(A), Channel::Rtp, 8u32.to_be_bytes().to_vec()));
        assert_eq!(arrive(&mut stream, Side::B, B, Channel::Rtp, &report(8)), Err(Verdict::Drop(DropReason::WrongChannel)), "each leg for itself");
        let report = stream.report();
        assert_eq!((report.a.rtcp_received, report.a.received, report.a.rtcp_sent, report.b.rtcp_sent), (1, 1, 1, 1));
        let set = Configuration { latch: LatchPolicy::SignalledAddress, mux: Some(false), ..Configuration::default() };
        stream.configure(T0, Side::A, set).unwrap();
        assert!(arrive(&mut stream, Side::A, A, Channel::Rtp, &from_a(secured, &mut says, &packets::report(7))).is_err(), "and no more");
    }
}

/// A plain source that went on during a hold, or begins anew, is heard by the SRTP side at once, whose reports then speak of the source's own numbers.
#[test]
fn a_plain_source_beyond_reach_is_heard_under_srtp_and_told_its_own_numbers() {
    let highest = |compound: &[u8]| u32::from_be_bytes(compound[36..40].try_into().unwrap());
    for next in [40_100u16, 10] {
        let mut stream = stream(false, true, LatchPolicy::SignalledAddress);
        let (mut hears, mut reports) = (receiver(4), sender(3));
        unprotect(&mut hears, &through(&mut stream, Side::A, A, &voice(7, 5_000, 0)).unwrap().1).unwrap();
        let hold = |sends| Configuration {
            latch: LatchPolicy::SignalledAddress,
            direction: Some(portcullis::sdp::Direction::of(sends, true)),
            ..Configuration::default()
        };
        stream.configure(T0, Side::A, hold(false)).unwrap();
        assert_eq!(through(&mut stream, Side::A, A, &voice(7, 5_001, 0)).err(), Some(DropReason::OnHold));
        stream.configure(T0, Side::A, hold(true)).unwrap();
        assert_eq!(through(&mut stream, Side::A, A, &voice(7, next, 0)).err(), Some(DropReason::Replay), "one may be a stray");
        for n in 1..50 {
            let heard = unprotect(&mut hears, &through(&mut stream, Side::A, A, &voice(7, next + n, 0)).unwrap().1).unwrap();
            assert_eq!((&heard[2..4], &heard[12..]), (&(5_001 + n).to_be_bytes()[..], &voice(7, next + n, 0)[12..]));
        }
        let mut compound = report(9);
        compound[28..32].copy_from_slice(&7u32.to_be_bytes());
        compound[36..40].copy_from_slice(&(0x0001_0000 + 5_050u32).to_be_bytes());
        let told = through(&mut stream, Side::B, B, &protect(&mut reports, &compound).unwrap()).unwrap().1;
        assert_eq!(highest(&told) as u16, next + 49);
    }
}

/// SRTP given up and taken up again under the same key: what was sent before must not be sent under the same key stream.
#[test]
fn a_key_that_comes_back_after_none_goes_on_where_it_was() {
    let mut stream = stream(false, true, LatchPolicy::SignalledAddress);
    through(&mut stream, Side::A, A, &voice(7, 100, 0)).unwrap();
    for transmit in [Protection::Plain, srtp(4)] {
        stream.configure(T0, Side::B, Configuration::new(None, LatchPolicy::SignalledAddress, None, Some(transmit))).unwrap();
    }
    assert_eq!(through(&mut stream, Side::A, A, &rtp(7, 100, 0, b"other words")).err(), Some(DropReason::Replay));
    through(&mut stream, Side::A, A, &voice(7, 101, 0)).unwrap();
}

#[test]
fn a_hold_by_direction_stops_sound_and_leaves_rtcp() {
    use portcullis::sdp::Direction;
    let report = [0x80, 201, 0, 1, 0, 0, 0, 9];
    // As each side's peer sees it, and whether sound goes from A, from B.
    for (a, b, from_a, from_b) in [
        (Direction::SendRecv, Direction::SendRecv, true, true),
        (Direction::SendOnly, Direction::RecvOnly, true, false),
        (Direction::RecvOnly, Direction::SendOnly, false, true),
        (Direction::Inactive, Direction::Inactive, false, false),
        (Direction::SendRecv, Direction::Inactive, false, false),
        (Direction::SendRecv, Direction::RecvOnly, true, false),
    ] {
        let mut stream = stream(true, false, LatchPolicy::SignalledAddress);
        let (mut peer, mut n) = (sender(1), 0u16);
        let mut pass = |stream: &mut Stream, expected: [bool; 2]| {
            n += 1;
            let sealed = protect(&mut peer, &voice(1, n, 0)).unwrap();
            let outcomes = [through(stream, Side::A, A, &sealed), through(stream, Side::B, B, &voice(2, n, 0))];
            for (outcome, passes) in outcomes.into_iter().zip(expected) {
                assert_eq!(outcome.err(), (!passes).then_some(DropReason::OnHold), "{a:?} {b:?}");
            }
        };
        for (side, direction) in [(Side::A, a), (Side::B, b)] {
            let set = Configuration { latch: LatchPolicy::SignalledAddress, direction: Some(direction), ..Configuration::default() };
            stream.configure(T0, side, set).unwrap();
        }
        pass(&mut stream, [from_a, from_b]);
        through(&mut stream, Side::B, "198.51.100.1:6001", &report).unwrap();
        // What says nothing of the direction leaves it; the next one that does opens it again, and the key's contexts have not fallen behind.
        stream.configure(T0, Side::A, Configuration::new(None, LatchPolicy::SignalledAddress, None, None)).unwrap();
        pass(&mut stream, [from_a, from_b]);
        for side in [Side::A, Side::B] {
            let set = Configuration { latch: LatchPolicy::SignalledAddress, direction: Some(Direction::SendRecv), ..Configuration::default() };
            stream.configure(T0, side, set).unwrap();
        }
        pass(&mut stream, [true, true]);
    }
}

#[test]
fn payload_types_change_on_the_way_and_those_nobody_takes_stop() {
    for (secured_a, secured_b) in CELLS {
        let mut stream = stream(secured_a, secured_b, LatchPolicy::SignalledAddress);
        let payloads = Some(Payloads::of([(0, 0), (101, 96), (97, 111)]));
        stream.configure(T0, Side::A, Configuration { payloads, latch: LatchPolicy::SignalledAddress, ..Configuration::default() }).unwrap();
        let (mut peer, mut far) = (sender(1), receiver(4));
        let mut sent = |stream: &mut Stream, sequence: u16, marker: u8, payload_type: u8| {
            let mut packet = voice(7, sequence, 160);
            packet[1] = marker | payload_type;
            let sealed = if secured_a { protect(&mut peer, &packet).unwrap() } else { packet.clone() };
            let out = through(stream, Side::A, A, &sealed)?.1;
            let clear = if secured_b { unprotect(&mut far, &out).unwrap() } else { out };
            assert_eq!((clear[0], &clear[2..]), (packet[0], &packet[2..]), "nothing else is touched");
            Ok(clear[1])
        };
        assert_eq!(sent(&mut stream, 1, 0, 0), Ok(0));
        assert_eq!(sent(&mut stream, 2, 0x80, 101), Ok(0x80 | 96));
        assert_eq!(sent(&mut stream, 3, 0, 97), Ok(111));
        assert_eq!(sent(&mut stream, 4, 0, 8), Err(DropReason::Payload(8)));
        assert_eq!(sent(&mut stream, 5, 0, 13), Err(DropReason::Payload(13)));
        let wrong = stream.report().a.wrong_type.unwrap();
        assert_eq!((wrong.packets, wrong.payload_type), (2, 13));
        // The other direction is its own.
        let back = if secured_b { protect(&mut sender(3), &voice(9, 1, 0)).unwrap() } else { voice(9, 1, 0) };
        through(&mut stream, Side::B, B, &back).unwrap();
    }
}

#[test]
fn configured_the_same_again_the_context_stays() {
    let mut stream = stream(true, true, LatchPolicy::SignalledAddress);
    let mut peer = sender(1);
    let mut far = receiver(4);
    let mut last = Vec::new();
    for n in 65_530..=65_540u32 {
        last = protect(&mut peer, &voice(1, n as u16, n)).unwrap();
        let (_, out) = through(&mut stream, Side::A, A, &last).unwrap();
        unprotect(&mut far, &out).unwrap();
    }
    for (side, address, receive, transmit) in [(Side::A, A, 1, 2), (Side::B, B, 3, 4)] {
        stream
            .configure(T0, side, Configuration::new(Some(Some(remote(address))), LatchPolicy::SignalledAddress, Some(srtp(receive)), Some(srtp(transmit))))
            .unwrap();
    }
    assert_eq!(through(&mut stream, Side::A, A, &last), Err(DropReason::Replay));
    let (_, out) = through(&mut stream, Side::A, A, &protect(&mut peer, &voice(1, 10, 9)).unwrap()).unwrap();
    unprotect(&mut far, &out).expect("the ROC of 1 on the way out is kept");
    assert_eq!(stream.report().a.latched, Some(at(A)));
}

#[test]
fn a_new_remote_and_new_keys_take_the_place_of_the_old() {
    let mut stream = stream(true, true, LatchPolicy::SignalledAddress);
    through(&mut stream, Side::A, "192.0.2.1:4444", &protect(&mut sender(1), &voice(1, 1, 0)).unwrap()).unwrap();
    stream
        .configure(T0, Side::A, Configuration::new(Some(Some(remote("192.0.2.7:4000"))), LatchPolicy::SignalledAddress, Some(srtp(11)), Some(srtp(12))))
        .unwrap();
    assert_eq!(stream.report().a.latched, None);
    let old = protect(&mut sender(1), &voice(1, 2, 0)).unwrap();
    assert_eq!(through(&mut stream, Side::A, "192.0.2.1:4444", &old), Err(DropReason::Source));
    assert_eq!(through(&mut stream, Side::A, "192.0.2.7:4000", &old), Err(DropReason::Authentication));
    let new = protect(&mut sender(11), &voice(9, 1, 0)).unwrap();
    through(&mut stream, Side::A, "192.0.2.7:4000", &new).unwrap();
    let (to, out) = through(&mut stream, Side::B, B, &protect(&mut sender(3), &voice(2, 1, 0)).unwrap()).unwrap();
    assert_eq!(to, at("192.0.2.7:4000"));
    unprotect(&mut receiver(12), &out).unwrap();
}

#[test]
fn a_refused_configuration_changes_nothing() {
    let mut stream = stream(true, true, LatchPolicy::SignalledAddress);
    let mut bad = parameters(Suite::AesCm128HmacSha1_32, 9);
    bad.keys.clear();
    let outcome = stream.configure(T0, Side::A, Configuration::new(Some(None), LatchPolicy::Strict, Some(srtp(9)), Some(Protection::Srtp(bad))));
    assert_eq!(outcome, Err(KeyError::Count));
    through(&mut stream, Side::A, A, &protect(&mut sender(1), &voice(1, 1, 0)).unwrap()).unwrap();
}

#[test]
fn silence_counts_from_the_last_accepted_packet_once_both_sides_are_set() {
    let limit = Duration::from_secs(30);
    let mut stream = Stream::new(StreamId(1), Some(limit), T0);
    assert_eq!(stream.deadline(), None, "ringing is not silence");
    let later = T0 + Duration::from_secs(50);
    for (side, address) in [(Side::A, A), (Side::B, B)] {
        stream.configure(later, side, Configuration::new(Some(Some(remote(address))), LatchPolicy::Strict, Some(Protection::Plain), Some(srtp(1)))).unwrap();
    }
    assert_eq!(stream.deadline(), Some(later + limit));
    let heard = later + Duration::from_secs(10);
    let mut buffer = [voice(1, 1, 0), vec![0; 160]].concat();
    assert_eq!(stream.packet(heard, Side::A, Channel::Rtp, at("203.0.113.1:1"), &mut buffer, 172), Verdict::Drop(DropReason::Source));
    assert_eq!(stream.deadline(), Some(later + limit), "what is refused is not heard");
    assert!(matches!(stream.packet(heard, Side::A, Channel::Rtp, at(A), &mut buffer, 172), Verdict::Forward { .. }));
    assert_eq!(stream.silent_since(heard + (limit - Duration::from_nanos(1))), None);
    assert_eq!(stream.silent_since(heard + limit), Some(heard));
    stream.configure(heard, Side::B, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
    assert_eq!(stream.silent_since(heard + limit * 9), None, "on hold");
    stream.configure(heard, Side::B, Configuration::new(Some(Some(remote(B))), LatchPolicy::Strict, None, None)).unwrap();
    assert_eq!(stream.deadline(), Some(heard + limit));
    let inactive = Configuration { latch: LatchPolicy::Strict, direction: Some(portcullis::sdp::Direction::SendOnly), ..Configuration::default() };
    stream.configure(heard, Side::A, inactive).unwrap();
    assert_eq!(stream.deadline(), None, "on hold by direction");
}

#[test]
fn the_state_of_a_stream_is_small() {
    let stream = size_of::<Stream>();
    let receiver = size_of::<portcullis::media::srtp::Receiver>() + size_of::<portcullis::media::srtp::keys::Key>();
    let sender = size_of::<portcullis::media::srtp::Sender>() + size_of::<portcullis::media::srtp::keys::Key>();
    println!("Stream {stream}, one receiving context {receiver}, one sending context {sender}, SRTP on both sides {}", stream + 2 * (receiver + sender));
    assert!(stream + 2 * (receiver + sender) < 10_000);
}
