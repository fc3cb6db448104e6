//! Digits between telephone-events (RFC 4733) on B and INFO on A, packet by packet and in virtual time: what B presses is heard once and goes no further;
//! what is pressed for B takes the place of A's sound, or has a source of its own where there is none.

mod packets;

use std::net::SocketAddr;
use std::time::Duration;

use packets::*;
use portcullis::media::control::{Configuration, Content, Conversion, Digit, LatchPolicy, Side};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{DIGIT, DropReason, Stream, TAIL_ROOM, Verdict};
use portcullis::media::rtp::Header;
use portcullis::media::shortcut::WhyNot;
use portcullis::media::srtp::Receiver;
use portcullis::sdp::direction::Direction;
use portcullis::time::Time;

/// What each leg has as SRTP.
const CELLS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

/// The number B has for events.
const EVENTS: u8 = 101;

fn key(key: char) -> Digit {
    Digit::of_char(key).unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// After 20 ms each.
fn tick(n: u64) -> Time {
    T0 + ms(20 * n)
}

fn converting(a: bool, b: bool) -> Stream {
    let mut stream = stream(a, b, LatchPolicy::SignalledAddress);
    stream.carry(T0, Content::Rtp { events: 1 << EVENTS });
    convert(&mut stream, Conversion::of(1 << EVENTS, [(EVENTS, 8_000)]));
    stream
}

fn convert(stream: &mut Stream, conversion: Option<Conversion>) {
    for (side, digits) in [(Side::A, None), (Side::B, conversion)] {
        stream.configure(T0, side, Configuration { digits: Some(digits), latch: LatchPolicy::SignalledAddress, ..Configuration::default() }).unwrap();
    }
}

fn give(stream: &mut Stream, now: Time, side: Side, packet: &[u8]) -> (Verdict, Vec<u8>) {
    let mut buffer = [packet, &[0; TAIL_ROOM]].concat();
    let from = at(if side == Side::A { A } else { B });
    let verdict = stream.packet(now, side, Channel::Rtp, from, &mut buffer, packet.len());
    (verdict, buffer)
}

/// As B gets it.
fn forwarded(stream: &mut Stream, now: Time, packet: &[u8]) -> Option<Vec<u8>> {
    match give(stream, now, Side::A, packet) {
        (Verdict::Forward { to, len, channel: Channel::Rtp }, buffer) => {
            assert_eq!(to, at(B));
            Some(buffer[..len].to_vec())
        }
        _ => None,
    }
}

fn alone(stream: &mut Stream, now: Time) -> Option<Vec<u8>> {
    let mut buffer = [0xaa; DIGIT + TAIL_ROOM];
    stream.digit(now, &mut buffer).map(|(side, to, len): (Side, SocketAddr, usize)| {
        assert_eq!((side, to), (Side::B, at(B)));
        buffer[..len].to_vec()
    })
}

fn event(ssrc: u32, sequence: u16, timestamp: u32, report: [u8; 4]) -> Vec<u8> {
    let mut packet = rtp(ssrc, sequence, timestamp, &report);
    packet[1] = EVENTS;
    packet
}

/// (marker, timestamp, key, end, duration) of a packet of an event.
fn read(packet: &[u8]) -> (bool, u32, char, bool, u16) {
    let header = Header::parse(packet).unwrap();
    assert_eq!((header.payload_type, packet.len(), header.padded), (EVENTS, header.length + 4, false));
    let report = &packet[header.length..];
    let digit = Digit::of_event(report[0]).unwrap();
    (header.marker, header.timestamp, digit.char(), report[1] & 0x80 != 0, u16::from_be_bytes([report[2], report[3]]))
}

#[test]
fn a_digit_takes_the_place_of_the_sound_with_its_source_and_numbers() {
    for (a, b) in CELLS {
        let mut stream = converting(a, b);
        let (mut peer, mut far) = (sender(1), receiver(4));
        let mut through = |stream: &mut Stream, n: u64| {
            let clear = voice(7, n as u16, 160 * n as u32);
            let sealed = if a { protect(&mut peer, &clear).unwrap() } else { clear.clone() };
            let out = forwarded(stream, tick(n), &sealed).expect("each packet of sound becomes one packet");
            let out = if b { unprotect(&mut far, &out).expect("under the key of the leg") } else { out };
            let header = Header::parse(&out).unwrap();
            assert_eq!((header.ssrc, header.sequence), (7, n as u16));
            (out == clear, out)
        };
        assert!(through(&mut stream, 1).0);
        stream.press(Side::B, key('5'), ms(100), 99);
        stream.press(Side::B, key('#'), ms(40), 99);
        let digit: Vec<_> = (2..9).map(|n| read(&through(&mut stream, n).1)).collect();
        let expected = [(160, false), (320, false), (480, false), (640, false), (800, true), (800, true), (800, true)];
        let expected: Vec<_> = expected.iter().enumerate().map(|(n, (lasted, end))| (n == 0, 320, '5', *end, *lasted)).collect();
        assert_eq!(digit, expected, "SRTP from A {a}, to B {b}");
        assert!((9..11).all(|n| through(&mut stream, n).0), "digits are told apart by a pause");
        let next: Vec<_> = (11..15).map(|n| read(&through(&mut stream, n).1)).collect();
        assert_eq!(next, [(true, 1760, '#', false, 160), (false, 1760, '#', true, 320), (false, 1760, '#', true, 320), (false, 1760, '#', true, 320)]);
        assert!((15..20).all(|n| through(&mut stream, n).0));
        let report = stream.report();
        assert_eq!((report.b.digits_sent, report.b.digits_lost, report.b.sent, report.a.lost), (2, 0, 19, 0));
        assert_eq!(stream.digits_due(), None);
    }
}

#[test]
fn lost_and_late_packets_of_the_sound_leave_a_digit_as_long_as_it_was_meant() {
    let mut stream = converting(false, false);
    forwarded(&mut stream, tick(0), &voice(7, 0, 0));
    stream.press(Side::B, key('1'), ms(120), 99);
    let mut sent: Vec<_> = Vec::new();
    // 3 and 4 never come, 2 comes after 5, and 0 once more.
    for n in [1u64, 5, 2, 0, 6, 7, 8] {
        let out = forwarded(&mut stream, tick(n.max(5)), &voice(7, n as u16, 160 * n as u32)).unwrap();
        match n {
            0 => assert_eq!(out, voice(7, 0, 0), "sound from before the digit is sound"),
            _ => sent.push(read(&out)),
        }
    }
    assert!(sent.iter().all(|(_, timestamp, digit, ..)| (*timestamp, *digit) == (160, '1')));
    let lasted: Vec<_> = sent.iter().map(|(.., end, lasted)| (*end, *lasted)).collect();
    assert_eq!(lasted[..4], [(false, 160), (false, 800), (false, 800), (true, 960)], "what was said is never taken back");
    assert_eq!(lasted[4..6], [(true, 960); 2]);
}

#[test]
fn a_digit_where_no_sound_flows_has_a_source_and_a_pace_of_its_own() {
    for (a, b) in CELLS {
        let mut stream = converting(a, b);
        let mut far = receiver(4);
        let mut clear = |packet: Vec<u8>| if b { unprotect(&mut far, &packet).unwrap() } else { packet };
        stream.press(Side::B, key('D'), ms(60), 0xfeed_beef);
        stream.press(Side::B, key('0'), ms(60), 0x1234_5678);
        let (mut sent, mut now) = (Vec::new(), T0);
        while let Some(due) = stream.digits_due() {
            now = now.max(due);
            sent.extend(alone(&mut stream, now).map(&mut clear));
            assert!(sent.len() < 20, "it ends");
        }
        let headers: Vec<Header> = sent.iter().map(|packet| Header::parse(packet).unwrap()).collect();
        assert!(headers.iter().all(|header| header.ssrc == 0xfeed_beef), "one source for all of them");
        assert!(headers.windows(2).all(|pair| pair[1].sequence == pair[0].sequence.wrapping_add(1)));
        let read: Vec<_> = sent.iter().map(|packet| read(packet)).collect();
        let said: Vec<_> = read.iter().map(|(marker, _, digit, end, lasted)| (*marker, *digit, *end, *lasted)).collect();
        let one = |digit: char| {
            [(true, digit, false, 160), (false, digit, false, 320), (false, digit, true, 480), (false, digit, true, 480), (false, digit, true, 480)]
        };
        assert_eq!(said, [one('D'), one('0')].concat());
        assert!(read[..5].iter().all(|one| one.1 == read[0].1) && read[5..].iter().all(|one| one.1 == read[5].1));
        assert_eq!(read[5].1.wrapping_sub(read[0].1), 8 * (4 * 20 + 60), "timestamps go on with the time between");
        assert_eq!((stream.report().b.sent, stream.report().b.digits_sent), (10, 2));
    }
}

#[test]
fn sound_that_begins_while_a_digit_goes_alone_waits_for_its_end() {
    let mut stream = converting(false, false);
    stream.press(Side::B, key('9'), ms(40), 99);
    assert!(alone(&mut stream, tick(0)).is_some());
    assert_eq!(give(&mut stream, tick(1), Side::A, &voice(7, 1, 160)).0, Verdict::Heard);
    let rest = (1..5).filter(|n| alone(&mut stream, tick(*n)).is_some()).count();
    assert_eq!(rest, 3, "two ends more, and one before");
    assert_eq!(forwarded(&mut stream, tick(5), &voice(7, 5, 800)), Some(voice(7, 5, 800)));
}

#[test]
fn a_digit_begun_in_a_sound_that_stops_is_not_begun_again_elsewhere() {
    let mut stream = converting(false, false);
    forwarded(&mut stream, tick(0), &voice(7, 0, 0));
    stream.press(Side::B, key('9'), ms(200), 99);
    stream.press(Side::B, key('8'), ms(40), 99);
    assert!(forwarded(&mut stream, tick(1), &voice(7, 1, 160)).is_some_and(|packet| read(&packet).2 == '9'));
    assert_eq!(stream.digits_due(), Some(tick(1) + ms(1_000)));
    assert_eq!(alone(&mut stream, tick(10)), None, "the listener knows that it has begun");
    assert_eq!(alone(&mut stream, tick(51)), None);
    let due = stream.digits_due().unwrap();
    assert_eq!(read(&alone(&mut stream, due).unwrap()).2, '8', "the next one goes alone");
}

#[test]
fn packets_too_short_or_padded_hold_a_digit_as_well() {
    let mut stream = converting(false, false);
    stream.press(Side::B, key('3'), ms(40), 99);
    assert_eq!(read(&forwarded(&mut stream, tick(0), &rtp(7, 0, 0, &[])).unwrap()).4, 160);
    let mut padded = rtp(7, 1, 160, &[1, 2, 3, 4, 5, 0, 0, 3]);
    padded[0] |= 0x20;
    assert_eq!(read(&forwarded(&mut stream, tick(1), &padded).unwrap()).4, 320);
    let mut extended = rtp(7, 2, 320, &[0xbe, 0xde, 0, 1, 1, 2, 3, 4, 9]);
    extended[0] |= 0x10;
    let out = forwarded(&mut stream, tick(2), &extended).unwrap();
    assert_eq!((read(&out).3, &out[12..20]), (true, &extended[12..20]), "the extension stays");
}

#[test]
fn what_is_heard_as_a_digit_is_told_once_and_goes_no_further() {
    for (a, b) in CELLS {
        let mut stream = converting(a, b);
        let mut peer = sender(3);
        let mut sequence = 0;
        let mut say = |stream: &mut Stream, now: Time, timestamp: u32, report: [u8; 4]| {
            sequence += 1;
            let clear = event(9, sequence, timestamp, report);
            let packet = if b { protect(&mut peer, &clear).unwrap() } else { clear };
            give(stream, now, Side::B, &packet).0
        };
        // 5, whose last end is lost; * whose ends are all lost.
        for (n, report) in [[5, 10, 0, 160], [5, 10, 1, 64], [5, 0x8a, 1, 224], [5, 0x8a, 1, 224]].into_iter().enumerate() {
            assert_eq!(say(&mut stream, tick(n as u64), 1_000, report), Verdict::Heard, "SRTP from B {b}");
        }
        let mut told = Vec::new();
        told.extend(std::iter::from_fn(|| stream.take_digit()));
        assert_eq!(told, [(Side::B, key('5'), ms(60))]);
        say(&mut stream, tick(20), 5_000, [10, 10, 3, 32]);
        assert_eq!(stream.take_digit(), None);
        let due = stream.digits_due().expect("its end may be lost");
        assert_eq!(due, tick(20) + ms(200));
        assert_eq!(alone(&mut stream, due), None);
        assert_eq!((stream.take_digit(), stream.digits_due()), (Some((Side::B, key('*'), ms(100))), None));
        let report = stream.report();
        assert_eq!((report.b.digits_heard, report.b.received, report.a.sent, report.b.wrong_type), (2, 5, 0, None));
    }
}

#[test]
fn a_forged_digit_is_not_heard() {
    let mut stream = converting(false, true);
    assert_eq!(give(&mut stream, tick(0), Side::B, &event(9, 1, 0, [5, 0x8a, 3, 32])).0, Verdict::Drop(DropReason::Malformed));
    let sealed = protect(&mut sender(9), &event(9, 1, 0, [5, 0x8a, 3, 32])).unwrap();
    assert_eq!(give(&mut stream, tick(0), Side::B, &sealed).0, Verdict::Drop(DropReason::Authentication));
    let good = protect(&mut sender(3), &event(9, 1, 0, [5, 0x8a, 3, 32])).unwrap();
    assert_eq!(give(&mut stream, tick(0), Side::B, &good).0, Verdict::Heard);
    assert_eq!(give(&mut stream, tick(0), Side::B, &good).0, Verdict::Drop(DropReason::Replay));
    assert_eq!((stream.take_digit().is_some(), stream.take_digit()), (true, None));
}

#[test]
fn on_hold_nothing_is_heard_and_nothing_sent_later() {
    let mut stream = converting(false, false);
    let direction = |direction| Configuration { direction: Some(direction), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    stream.configure(T0, Side::B, direction(Direction::Inactive)).unwrap();
    assert_eq!(give(&mut stream, T0, Side::B, &event(9, 1, 0, [5, 0x8a, 3, 32])).0, Verdict::Drop(DropReason::OnHold));
    stream.press(Side::B, key('1'), ms(100), 99);
    stream.press(Side::B, key('2'), ms(100), 99);
    let due = stream.digits_due().unwrap();
    assert_eq!(alone(&mut stream, due), None);
    stream.configure(T0, Side::B, direction(Direction::SendRecv)).unwrap();
    assert_eq!((stream.digits_due(), forwarded(&mut stream, tick(1), &voice(7, 1, 0))), (None, Some(voice(7, 1, 0))));
    let report = stream.report();
    assert_eq!((report.b.digits_lost, report.b.digits_sent, report.b.digits_heard), (2, 0, 0));
}

#[test]
fn of_too_many_digits_at_once_the_last_are_lost_and_counted() {
    let mut stream = converting(false, false);
    for n in 0..40u8 {
        stream.press(Side::B, Digit::of_event(n % 10).unwrap(), ms(40), 99);
    }
    let mut sent = String::new();
    for n in 0..800u64 {
        let out = forwarded(&mut stream, tick(n), &voice(7, n as u16, 160 * n as u32)).unwrap();
        if out[1] & 0x7f == EVENTS && read(&out).0 {
            sent.push(read(&out).2);
        }
    }
    assert_eq!(sent, "01234567890123456789012345678901");
    assert_eq!((stream.report().b.digits_sent, stream.report().b.digits_lost), (32, 8));
    stream.press(Side::A, key('1'), ms(40), 99);
    assert_eq!(stream.report().a.digits_lost, 1, "a side that has no events");
}

#[test]
fn a_stream_that_converts_takes_no_shortcut_and_one_that_does_so_no_more_may() {
    let mut stream = converting(false, false);
    forwarded(&mut stream, tick(0), &voice(7, 0, 0));
    give(&mut stream, tick(0), Side::B, &voice(9, 0, 0));
    assert_eq!([Side::A, Side::B].map(|side| stream.shortcut(side)), [Err(WhyNot::Digits); 2]);
    stream.press(Side::B, key('1'), ms(100), 99);
    convert(&mut stream, None);
    assert!(stream.shortcut(Side::A).is_ok() && stream.shortcut(Side::B).is_ok());
    assert_eq!(stream.report().b.digits_lost, 1);
    assert!(matches!(give(&mut stream, tick(1), Side::B, &event(9, 1, 0, [5, 0x8a, 3, 32])).0, Verdict::Forward { .. }), "events pass again");
}

/// A key and an index of SRTP are never used for two packets, whatever the sound and the digits do.
#[test]
fn no_index_is_used_twice_whatever_comes_when() {
    let mut stream = converting(false, true);
    let mut far: Receiver = receiver(4);
    let (mut state, mut seen, mut timestamp) = (0x2545_f491_4f6c_dd1du64, std::collections::HashSet::new(), 0u32);
    for n in 0..4_000u64 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let now = tick(n);
        if state.is_multiple_of(40) {
            stream.press(Side::B, Digit::of_event((state >> 32) as u8 & 15).unwrap(), ms(state >> 20 & 255), 0xabcd);
        }
        timestamp = timestamp.wrapping_add(160);
        // The sound comes and goes for a second or two.
        let out = if n / 80 % 2 == 0 { forwarded(&mut stream, now, &voice(7, n as u16, timestamp)) } else { None };
        for packet in out.into_iter().chain(alone(&mut stream, now)) {
            let header = Header::parse(&packet).unwrap();
            assert!(seen.insert((header.ssrc, header.sequence)), "{n}");
            unprotect(&mut far, &packet).unwrap_or_else(|refusal| panic!("{refusal:?} at {n}"));
        }
    }
    assert!(seen.iter().any(|(ssrc, _)| *ssrc == 0xabcd) && stream.report().b.digits_sent > 50);
}
