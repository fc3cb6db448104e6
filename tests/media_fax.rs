//! A stream that carries a fax, and RTCP of our own making, in virtual time: what passes, what does not, what is counted, and what each peer hears.

mod packets;

use std::time::Duration;

use packets::*;
use portcullis::media::control::{Configuration, Content, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{DropReason, Stream, TAIL_ROOM, Verdict};
use portcullis::media::rtcp;
use portcullis::media::srtp::{Receiver, Sender};
use portcullis::media::upkeep::LONGEST;
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::time::Time;

const EVENTS: Content = Content::Rtp { events: 1 << 101 };

/// A UDPTL datagram with the indicator before it as its recovery.
fn udptl(sequence: u16) -> Vec<u8> {
    let mut bytes = sequence.to_be_bytes().to_vec();
    bytes.extend([1, 0x06, 0, 1, 1, 0x04]);
    bytes
}

fn datagram(stream: &mut Stream, now: Time, side: Side, from: &str, packet: &[u8]) -> Result<String, DropReason> {
    let mut buffer = [packet, &[0; TAIL_ROOM]].concat();
    match stream.packet(now, side, Channel::Rtp, at(from), &mut buffer, packet.len()) {
        Verdict::Forward { to, len, .. } => {
            assert_eq!(&buffer[..len], packet, "UDPTL goes through as it is");
            Ok(to.to_string())
        }
        Verdict::Drop(reason) => Err(reason),
        other => panic!("a fax is answered: {other:?}"),
    }
}

#[test]
fn a_fax_takes_the_place_of_the_sound_and_gives_it_back() {
    let mut stream = stream(false, false, LatchPolicy::SignalledAddress);
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(0)), Err(DropReason::NotMedia), "sound is carried");
    stream.carry(T0, Content::Udptl);
    for n in 0..100u16 {
        assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(n)).unwrap(), B);
        assert_eq!(datagram(&mut stream, T0, Side::B, B, &udptl(7 * n)).unwrap(), A);
    }
    // Three times over, as signals are sent; and one lost.
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(99)).unwrap(), B);
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(101)).unwrap(), B);
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &voice(1, 1, 160)), Err(DropReason::Malformed), "sound that was still under way");
    assert_eq!(through(&mut stream, Side::A, "192.0.2.1:4001", &report(1)), Err(DropReason::WrongChannel), "the RTCP port is idle");
    let report = stream.report();
    assert_eq!((report.a.fax_received, report.b.fax_sent, report.a.fax_lost), (102, 102, 1));
    assert_eq!((report.b.fax_received, report.a.fax_sent, report.b.fax_lost), (100, 100, 594));
    assert_eq!((report.a.received, report.a.refused_malformed, report.a.latched), (0, 3, Some(at(A))));
    stream.carry(T0, EVENTS);
    through(&mut stream, Side::A, A, &voice(1, 2, 320)).unwrap();
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(102)), Err(DropReason::NotMedia));
    assert_eq!(stream.report().a.fax_lost, 1, "kept");
}

#[test]
fn the_latch_holds_for_a_fax_as_for_sound() {
    for (policy, from, taken) in [
        (LatchPolicy::Strict, A, true),
        (LatchPolicy::Strict, "192.0.2.1:4002", false),
        (LatchPolicy::SignalledAddress, "192.0.2.1:4444", true),
        (LatchPolicy::SignalledAddress, "203.0.113.66:4000", false),
        (LatchPolicy::Nat, "203.0.113.66:4000", true),
    ] {
        let mut stream = stream(false, false, policy);
        stream.carry(T0, Content::Udptl);
        assert_eq!(
            datagram(&mut stream, T0, Side::A, "203.0.113.66:1", &[0x80; 40]).unwrap_err(),
            if policy == LatchPolicy::Nat { DropReason::Malformed } else { DropReason::Source }
        );
        assert_eq!(datagram(&mut stream, T0, Side::A, from, &udptl(0)).is_ok(), taken, "{policy:?} {from}");
        assert_eq!(stream.report().a.latched, taken.then(|| at(from)), "what is refused never latches");
        if taken {
            assert_eq!(datagram(&mut stream, T0, Side::A, "198.51.100.66:9", &udptl(1)), Err(DropReason::Source));
        }
    }
}

/// Whatever signalling says: UDPTL never passes where a side has SRTP, in or out.
#[test]
fn nothing_of_a_fax_passes_a_side_with_srtp() {
    for (a, b) in [(true, false), (false, true), (true, true)] {
        let mut stream = stream(a, b, LatchPolicy::SignalledAddress);
        stream.carry(T0, Content::Udptl);
        assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(0)), Err(DropReason::NotReady));
        assert_eq!(datagram(&mut stream, T0, Side::B, B, &udptl(0)), Err(DropReason::NotReady));
        let sealed = protect(&mut sender(1), &voice(1, 1, 0)).unwrap();
        assert!(datagram(&mut stream, T0, Side::A, A, &sealed).is_err());
        assert_eq!((stream.report().a.latched, stream.report().b.fax_sent), (None, 0));
    }
}

#[test]
fn a_number_out_of_the_run_is_refused_until_it_is_confirmed() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.carry(T0, Content::Udptl);
    for (number, passes) in [(10, true), (11, true), (30_000, false), (12, true), (40_000, false), (40_001, true), (40_002, true), (13, false)] {
        assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(number)).is_ok(), passes, "{number}");
    }
    assert_eq!(stream.report().a.refused_malformed, 3);
}

#[test]
fn on_hold_a_fax_is_held() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.carry(T0, Content::Udptl);
    stream.configure(T0, Side::B, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
    assert_eq!(datagram(&mut stream, T0, Side::A, A, &udptl(0)), Err(DropReason::OnHold));
}

#[test]
fn a_fax_may_be_silent_for_a_minute() {
    let limit = Duration::from_secs(30);
    let mut stream = Stream::new(StreamId(1), Some(limit), T0);
    for (side, address) in [(Side::A, A), (Side::B, B)] {
        stream
            .configure(T0, side, Configuration::new(Some(Some(remote(address))), LatchPolicy::Strict, Some(Protection::Plain), Some(Protection::Plain)))
            .unwrap();
    }
    stream.carry(T0, Content::Udptl);
    let heard = T0 + Duration::from_secs(5);
    datagram(&mut stream, heard, Side::A, A, &udptl(0)).unwrap();
    assert_eq!(stream.deadline(), Some(heard + Duration::from_secs(60)));
    stream.carry(heard, EVENTS);
    assert_eq!(stream.deadline(), Some(heard + limit));
}

/// RFC 4733 §2.3: event, end and volume, duration.
fn event(payload_type: u8, event: [u8; 4]) -> Vec<u8> {
    let mut packet = rtp(1, 1, 0, &event);
    packet[1] = payload_type;
    packet
}

#[test]
fn the_calling_tone_is_noticed_once_among_the_events_alone() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.carry(T0, EVENTS);
    // A digit; the tone under another payload type; one with the reserved bit; one that has not lasted; voice that begins alike.
    let mut voice = rtp(1, 7, 0, &[36; 160]);
    voice[1] = 101;
    for packet in [event(101, [5, 10, 1, 0]), event(96, [36, 10, 1, 0]), event(101, [36, 0x4a, 1, 0]), event(101, [36, 10, 0, 0]), voice] {
        through(&mut stream, Side::A, A, &packet).unwrap();
        assert_eq!(stream.take_fax_tone(), None, "{:?}", &packet[12..]);
    }
    for _ in 0..5 {
        let (_, out) = through(&mut stream, Side::B, B, &event(101 | 0x80, [36, 10, 1, 0])).unwrap();
        assert_eq!(out[12..], [36, 10, 1, 0], "it goes on to the other side");
    }
    assert_eq!(stream.take_fax_tone(), Some(Side::B));
    through(&mut stream, Side::A, A, &event(101, [36, 10, 1, 0])).unwrap();
    assert_eq!(stream.take_fax_tone(), None, "once");
}

#[test]
fn the_tone_is_noticed_under_srtp_too() {
    let mut stream = stream(true, true, LatchPolicy::Strict);
    stream.carry(T0, EVENTS);
    through(&mut stream, Side::A, A, &protect(&mut sender(1), &event(101, [36, 10, 0, 160])).unwrap()).unwrap();
    assert_eq!(stream.take_fax_tone(), Some(Side::A));
}

const EVERY: Duration = Duration::from_secs(25);

/// What is due for a side, in clear.
fn made(stream: &mut Stream, now: Time, side: Side) -> Option<Vec<u8>> {
    let mut buffer = [0; LONGEST + TAIL_ROOM];
    let (_, to, len) = stream.upkeep(now, side, &mut buffer)?;
    assert_eq!(to, if side == Side::A { at("192.0.2.1:4001") } else { at("198.51.100.1:6001") });
    Some(buffer[..len].to_vec())
}

fn kinds(compound: &[u8]) -> Vec<(u8, u8)> {
    rtcp::check(compound).unwrap();
    rtcp::packets(compound).map(|packet| packet.map(|packet| (packet.kind, packet.count)).unwrap()).collect()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

#[test]
fn a_peer_hears_rtcp_of_ours_every_25_seconds_also_when_nobody_speaks() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 0xabcd_0123);
    let (mut now, mut heard) = (T0, Vec::new());
    while now < T0 + Duration::from_secs(300) {
        now = now + Duration::from_millis(250);
        assert_eq!(made(&mut stream, now, Side::B), None, "nobody asked for it there");
        heard.extend(made(&mut stream, now, Side::A).map(|compound| (now, compound)));
    }
    assert_eq!(heard.len(), 12);
    assert!(heard.windows(2).all(|two| two[1].0.since(two[0].0) == EVERY));
    for (_, compound) in &heard {
        assert_eq!(kinds(compound), [(201, 0), (202, 1)], "a receiver report and a source description");
        assert_eq!((word(compound, 4), &compound[16..26]), (0xabcd_0123, &b"\x01\x08abcd0123"[..]), "a CNAME that says nothing");
    }
    assert_eq!((stream.report().a.rtcp_sent, stream.report().a.rtcp_made, stream.report().b.rtcp_made), (12, 12, 0));
}

#[test]
fn what_the_other_side_sends_itself_silences_ours() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 1);
    let mut now = T0;
    for n in 0..20 {
        now = now + Duration::from_secs(5);
        let packet = report(9);
        let mut buffer = [&packet[..], &[0; TAIL_ROOM]].concat();
        let verdict = stream.packet(now, Side::B, Channel::Rtcp, at("198.51.100.1:6001"), &mut buffer, packet.len());
        assert!(matches!(verdict, Verdict::Forward { .. }));
        assert_eq!((made(&mut stream, now, Side::A), stream.next_upkeep()), (None, Some(now + EVERY)), "{n}");
    }
    // Its RTCP ends: ours begins.
    assert_eq!(made(&mut stream, now + (EVERY - Duration::from_millis(1)), Side::A), None);
    assert!(made(&mut stream, now + EVERY, Side::A).is_some());
    // Its packets that are refused do not count.
    let (packet, later) = (report(9), now + EVERY + Duration::from_secs(20));
    let mut buffer = [&packet[..], &[0; TAIL_ROOM]].concat();
    assert_eq!(stream.packet(later, Side::B, Channel::Rtcp, at("203.0.113.1:1"), &mut buffer, packet.len()), Verdict::Drop(DropReason::Source));
    assert!(made(&mut stream, now + EVERY * 2, Side::A).is_some());
}

#[test]
fn our_report_says_how_the_peer_is_heard() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 1);
    let receive = |stream: &mut Stream, now: Time, channel: Channel, packet: Vec<u8>| {
        let from = if channel == Channel::Rtp { A } else { "192.0.2.1:4001" };
        let mut buffer = [&packet[..], &[0; TAIL_ROOM]].concat();
        assert!(matches!(stream.packet(now, Side::A, channel, at(from), &mut buffer, packet.len()), Verdict::Forward { .. }));
    };
    // Every fourth of a hundred is lost, across a wrap.
    for n in (0..100u16).filter(|n| n % 4 != 3) {
        receive(&mut stream, T0 + Duration::from_millis(20 * u64::from(n)), Channel::Rtp, voice(0xfeed, 65_500u16.wrapping_add(n), u32::from(n) * 160));
    }
    let sender_report = report(0xfeed);
    receive(&mut stream, T0 + Duration::from_secs(20), Channel::Rtcp, sender_report.clone());
    let first = made(&mut stream, T0 + EVERY, Side::A).unwrap();
    assert_eq!(kinds(&first), [(201, 1), (202, 1)]);
    assert_eq!(word(&first, 8), 0xfeed);
    assert_eq!((first[12], word(&first, 12) & 0xff_ffff), (62, 24), "24 of 99 expected, in 256ths");
    assert_eq!(word(&first, 16), 1 << 16 | u32::from(65_500u16.wrapping_add(98)), "one wrap");
    let middle =
        u32::from(u16::from_be_bytes([sender_report[10], sender_report[11]])) << 16 | u32::from(u16::from_be_bytes([sender_report[12], sender_report[13]]));
    assert_eq!((word(&first, 24), word(&first, 28)), (middle, 5 * 65_536), "its last report, five seconds ago");
    // Nothing came since: nothing was lost since.
    let second = made(&mut stream, T0 + EVERY * 2, Side::A).unwrap();
    assert_eq!((second[12], word(&second, 12) & 0xff_ffff), (0, 24));
}

#[test]
fn under_srtp_it_is_srtcp_in_one_run_of_indices_with_what_is_relayed() {
    let mut stream = stream(true, true, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 0xabcd_0123);
    let (mut far, mut peer) = (receiver(2), sender(3));
    let mut now = T0;
    for n in 0..10u32 {
        now = now + EVERY;
        let sealed = made(&mut stream, now, Side::A).unwrap();
        let index = word(&sealed, sealed.len() - 14);
        assert_eq!(index, 1 << 31 | (2 * n), "the E flag, and the next index of the context");
        let clear = unprotect(&mut far, &sealed).unwrap();
        assert_eq!(kinds(&clear), [(201, 0), (202, 1)]);
        let relayed = protect(&mut peer, &report(9)).unwrap();
        let (_, out) = through(&mut stream, Side::B, "198.51.100.1:6001", &relayed).unwrap();
        assert_eq!(unprotect(&mut far, &out).unwrap(), report(9));
    }
}

#[test]
fn on_hold_by_direction_it_goes_on_and_without_an_address_it_rests() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 1);
    // The other side is on hold at 0.0.0.0: this one still hears.
    stream.configure(T0, Side::B, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
    assert!(made(&mut stream, T0 + EVERY, Side::A).is_some());
    stream.configure(T0, Side::A, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
    assert_eq!((made(&mut stream, T0 + EVERY * 9, Side::A), stream.next_upkeep()), (None, None), "it has said to send it nothing");
    stream.configure(T0, Side::A, Configuration::new(Some(Some(remote(A))), LatchPolicy::Strict, None, None)).unwrap();
    assert!(made(&mut stream, T0 + EVERY * 9, Side::A).is_some(), "it is overdue");
    stream.carry(T0, Content::Udptl);
    assert_eq!(stream.next_upkeep(), None, "a fax has no RTCP");
    stream.carry(T0, EVENTS);
    stream.keep_rtcp(T0, Side::A, None, 1);
    assert_eq!(stream.next_upkeep(), None);
}

#[test]
fn before_the_leg_is_configured_there_is_nothing_to_send_under() {
    let mut stream = Stream::new(StreamId(1), None, T0);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 1);
    assert_eq!(stream.next_upkeep(), None);
    stream.configure(T0, Side::A, Configuration::new(Some(Some(remote(A))), LatchPolicy::Strict, Some(srtp(1)), None)).unwrap();
    assert_eq!((stream.next_upkeep(), made(&mut stream, T0 + EVERY, Side::A)), (None, None), "never in clear on a leg that has no key yet");
}

#[test]
fn our_ssrc_is_nobody_elses() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 7);
    let first = made(&mut stream, T0 + EVERY, Side::A).unwrap();
    assert_eq!(word(&first, 4), 7);
    // Both peers now send as 7, and one as what would be next.
    for (side, from, ssrc) in [(Side::A, A, 7), (Side::B, B, 7), (Side::B, B, 7u32.wrapping_add(0x9e37_79b9))] {
        through(&mut stream, side, from, &voice(ssrc, 1, 0)).unwrap();
    }
    let next = made(&mut stream, T0 + EVERY * 2, Side::A).unwrap();
    let ours = word(&next, 4);
    assert!(ours != 7 && ours != 7u32.wrapping_add(0x9e37_79b9));
    assert_eq!(word(&made(&mut stream, T0 + EVERY * 3, Side::A).unwrap(), 4), ours, "and stays");
}

fn with_mki(fill: u8) -> SrtpParameters {
    let key = MasterKey { key_and_salt: master(fill).key_and_salt.clone(), mki: Some(vec![1]), lifetime: Some(1 << 31) };
    SrtpParameters { suite: Suite::AesCm128HmacSha1_80, keys: vec![key] }
}

/// Lync's `|2^31|1:1`: one byte between payload and tag, both ways, in what is relayed and in what is made.
#[test]
fn an_mki_stands_in_every_packet_both_ways() {
    let mut stream = stream(false, false, LatchPolicy::Strict);
    let protection = |fill| Some(Protection::Srtp(with_mki(fill)));
    stream.configure(T0, Side::A, Configuration::new(Some(Some(remote(A))), LatchPolicy::Strict, protection(1), protection(2))).unwrap();
    stream.keep_rtcp(T0, Side::A, Some(EVERY), 5);
    let (mut lync_sends, mut lync_hears) = (Sender::new(&with_mki(1)).unwrap(), Receiver::new(&with_mki(2)).unwrap());
    for n in 0..50u16 {
        let clear = voice(0xa, n, u32::from(n) * 160);
        let sealed = protect(&mut lync_sends, &clear).unwrap();
        assert_eq!((sealed.len(), sealed[172]), (172 + 1 + 10, 1));
        assert_eq!(through(&mut stream, Side::A, A, &sealed).unwrap().1, clear, "the MKI does not cross");
        let mut named_otherwise = protect(&mut lync_sends, &voice(0xc, n, 0)).unwrap();
        named_otherwise[172] = 2;
        assert_eq!(through(&mut stream, Side::A, A, &named_otherwise), Err(DropReason::Authentication));
        let (_, out) = through(&mut stream, Side::B, B, &voice(0xb, n, u32::from(n))).unwrap();
        assert_eq!((out.len(), out[172]), (172 + 1 + 10, 1));
        assert_eq!(unprotect(&mut lync_hears, &out).unwrap(), voice(0xb, n, u32::from(n)));
    }
    let (_, out) = through(&mut stream, Side::B, "198.51.100.1:6001", &report(0xb)).unwrap();
    assert_eq!((out.len(), out[out.len() - 11]), (report(0xb).len() + 4 + 1 + 10, 1));
    assert_eq!(unprotect(&mut lync_hears, &out).unwrap(), report(0xb));
    let ours = made(&mut stream, T0 + EVERY, Side::A).unwrap();
    assert_eq!(ours[ours.len() - 11], 1);
    assert_eq!(kinds(&unprotect(&mut lync_hears, &ours).unwrap())[0], (201, 1));
}
