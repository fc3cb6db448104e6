//! Digits through the running media plane on loopback: events heard become `Event::Digit`, `Command::Digit` becomes events, in the sound and without it, by
//! both ways of serving the sockets and with SRTP.

mod relay_rig;

use std::time::Duration;

use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::media::control::{Command, Configuration, Conversion, Digit, Event, LatchPolicy, Side};
use portcullis::sdp::crypto::Suite;
use relay_rig::{Call, Leg, PATIENCE, Plane, QUIET, exchange, until};

const EVENTS: u8 = 101;

fn key(key: char) -> Digit {
    Digit::of_char(key).unwrap()
}

fn start(io: IoChoice, a: &Leg, b: &Leg) -> (Plane, Call) {
    let plane = Plane::start(Settings { io, ..Settings::default() });
    let call = Call::open(&plane, a, b);
    let set = Configuration { digits: Some(Conversion::of(1 << EVENTS, [(EVENTS, 8_000)])), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    plane.plane.command(Command::Configure { stream: call.stream, side: Side::B, set });
    (plane, call)
}

/// (SSRC, payload type, marker, end) of a packet B got.
fn read(packet: &[u8]) -> (u32, u8, bool, bool) {
    let ssrc = u32::from_be_bytes([packet[8], packet[9], packet[10], packet[11]]);
    (ssrc, packet[1] & 0x7f, packet[1] & 0x80 != 0, packet.get(13).is_some_and(|flags| packet.len() == 16 && flags & 0x80 != 0))
}

fn each_way() -> impl Iterator<Item = (IoChoice, bool)> {
    [(IoChoice::Epoll, false), (IoChoice::Epoll, true), (IoChoice::IoUring, false), (IoChoice::IoUring, true)].into_iter()
}

fn leg(secured: bool) -> Leg {
    if secured { Leg::Srtp(Suite::AesCm128HmacSha1_80) } else { Leg::Plain }
}

#[test]
fn digits_go_out_in_the_sound_and_without_it() {
    for (io, secured) in each_way() {
        let (mut plane, mut call) = start(io, &Leg::Plain, &leg(secured));
        let stream = call.stream;
        let press = |plane: &Plane, digit: char| {
            let (digit, lasting) = (key(digit), Duration::from_millis(60));
            plane.plane.command(Command::Digit { stream, side: Side::B, digit, lasting, ssrc: 0xd161_7000 });
        };
        // Nobody speaks: packets of our own, at our pace. A late turn makes a step of the duration longer and the packets fewer.
        press(&plane, '5');
        let first = call.b.take_rtp(PATIENCE).expect("it comes");
        let rest = std::iter::from_fn(|| call.b.take_rtp(QUIET));
        let alone: Vec<_> = std::iter::once(first).chain(rest).map(|packet| read(&packet.expect("it authenticates"))).collect();
        assert!(alone.iter().all(|(ssrc, number, ..)| (*ssrc, *number) == (0xd161_7000, EVENTS)), "{alone:?}");
        assert_eq!(alone.iter().map(|(_, _, marker, _)| *marker).collect::<Vec<_>>()[..2], [true, false]);
        assert_eq!(alone.iter().filter(|(.., end)| *end).count(), 3, "{alone:?}");
        assert!(alone.len() <= 5 && alone.last().is_some_and(|(.., end)| *end), "{alone:?}");
        // In the sound: packet for packet. Where this thread, or the one of the relay, had no turn for 60 ms nobody speaks again, and it is tried once more.
        let mut pressed = 1;
        let in_sound = |call: &mut Call| {
            exchange(&mut call.a, &mut call.b);
            press(&plane, '#');
            let before = plane.plane.counters().wakes;
            until(|| plane.plane.counters().wakes > before);
            let mut events = 0;
            for _ in 0..5 {
                let clear = call.a.send_rtp();
                let got = call.b.take_rtp(PATIENCE).expect("it comes").expect("and authenticates");
                if read(&got).0 == 0xd161_7000 {
                    while call.b.take_rtp(QUIET).is_some() {}
                    return None;
                }
                assert_eq!((got[2..4].to_vec(), read(&got).0), (clear[2..4].to_vec(), call.a.ssrc));
                events += u32::from(read(&got).1 == EVENTS);
            }
            Some(events)
        };
        let events = (0..10).find_map(|_| {
            pressed += 1;
            in_sound(&mut call)
        });
        assert_eq!(events, Some(5), "{io:?}, SRTP {secured}");
        let report = plane.close(call.stream);
        assert_eq!((report.b.digits_sent, report.b.digits_lost), (pressed, 0));
    }
}

#[test]
fn digits_that_are_heard_are_told_and_go_no_further() {
    for (io, secured) in each_way() {
        let (mut plane, mut call) = start(io, &leg(secured), &Leg::Plain);
        exchange(&mut call.b, &mut call.a);
        let say = |sequence: u16, timestamp: u8, report: [u8; 4]| {
            let mut packet = vec![0x80, EVENTS];
            packet.extend(sequence.to_be_bytes());
            packet.extend([0, 0, timestamp, 0]);
            packet.extend(call.b.ssrc.to_be_bytes());
            packet.extend(report);
            call.b.rtp.send_to(&packet, call.b.relay.rtp).unwrap();
        };
        for (n, report) in [[7, 10, 0, 160], [7, 10, 1, 64], [7, 0x8a, 1, 224], [7, 0x8a, 1, 224], [7, 0x8a, 1, 224]].into_iter().enumerate() {
            say(call.b.sequence + n as u16, 9, report);
        }
        // One whose ends are lost is told when nothing more comes.
        say(call.b.sequence + 5, 99, [11, 10, 2, 128]);
        for (expected, lasted) in [('7', 60), ('#', 80)] {
            let Event::Digit { stream, side, digit, lasting } = plane.event() else { panic!("another event") };
            assert_eq!((stream, side, digit, lasting.as_millis()), (call.stream, Side::B, key(expected), lasted), "{io:?}");
        }
        assert_eq!(call.a.take_rtp(QUIET), None);
        let report = plane.close(call.stream);
        assert_eq!((report.b.digits_heard, report.a.sent, plane.plane.counters().dropped), (2, 1, 0));
    }
}
