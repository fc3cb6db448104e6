//! `Stream::packet` allocates nothing, in none of the four cells, for good packets and bad, whatever the source; nor where payload types change, keys come by
//! DTLS, or RTCP shares the port of RTP.

mod packets;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use packets::*;
use portcullis::media::control::{Configuration, Content, Conversion, Digit, DtlsParameters, DtlsRole, LatchPolicy, Payloads, Protection, Side, StreamId};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{Claimant, DIGIT, Stream, TAIL_ROOM, Verdict};
use portcullis::media::upkeep::LONGEST;
use portcullis::sdp::crypto::Suite;

/// Counts what this thread asks for. Every call goes to the system's allocator unchanged.
struct Counting;

thread_local! {
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: each method hands its arguments on to `System`, whose contract is the caller's, and only counts beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_packet_costs_no_allocation() {
    for (a, b) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut stream = stream(a, b, LatchPolicy::SignalledAddress);
        let mut peer = sender(1);
        let mut packets: Vec<(Channel, Vec<u8>)> = Vec::new();
        for n in 0..3_000u16 {
            // Twelve sources: more than any table holds.
            let clear = voice(u32::from(n % 12), n, u32::from(n));
            packets.push((Channel::Rtp, if a { protect(&mut peer, &clear).unwrap_or(clear) } else { clear }));
            if n % 50 == 0 {
                let clear = report(u32::from(n));
                packets.push((Channel::Rtcp, if a { protect(&mut peer, &clear).unwrap() } else { clear }));
                packets.push((Channel::Rtp, vec![0x80; 200]));
                packets.push((Channel::Rtcp, vec![0x80, 201, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8]));
                packets.push((Channel::Rtp, vec![]));
            }
        }
        let mut buffers: Vec<_> = packets.iter().map(|(channel, packet)| (*channel, [&packet[..], &[0; TAIL_ROOM]].concat())).collect();
        let (from, rtcp) = (at(A), at("192.0.2.1:4001"));
        let mut forwarded = 0;
        let before = ASKED.get();
        for (channel, buffer) in &mut buffers {
            let len = buffer.len() - TAIL_ROOM;
            let from = if *channel == Channel::Rtp { from } else { rtcp };
            if let Verdict::Forward { .. } = stream.packet(T0, Side::A, *channel, from, buffer, len) {
                forwarded += 1;
            }
        }
        let asked = ASKED.get() - before;
        assert_eq!(asked, 0, "SRTP in {a}, out {b}");
        assert!(forwarded > 500, "{forwarded} forwarded with SRTP in {a}, out {b}");
    }
}

#[test]
fn neither_a_fax_nor_rtcp_of_our_own_costs_an_allocation() {
    for secured in [false, true] {
        let mut stream = stream(secured, secured, LatchPolicy::SignalledAddress);
        stream.keep_rtcp(T0, Side::A, Some(Duration::from_secs(25)), 7);
        let mut peer = sender(1);
        let tone = rtp(3, 1, 0, &[36, 10, 1, 0]);
        let mut packets: Vec<Vec<u8>> = (0..200u16).map(|n| voice(u32::from(n % 9), n, u32::from(n))).chain([tone]).collect();
        if secured {
            packets = packets.iter().map(|packet| protect(&mut peer, packet).unwrap_or_else(|_| packet.clone())).collect();
        }
        let mut buffers: Vec<_> = packets.iter().map(|packet| [&packet[..], &[0; TAIL_ROOM]].concat()).collect();
        let mut made = [0; LONGEST + TAIL_ROOM];
        let mut sent = 0;
        let before = ASKED.get();
        for (n, buffer) in buffers.iter_mut().enumerate() {
            let (now, len) = (T0 + Duration::from_secs(n as u64), buffer.len() - TAIL_ROOM);
            stream.packet(now, Side::A, Channel::Rtp, at(A), buffer, len);
            sent += u32::from(stream.upkeep(now, Side::A, &mut made).is_some());
        }
        assert_eq!((ASKED.get() - before, sent), (0, 8), "SRTP {secured}");
    }
    let mut stream = stream(false, false, LatchPolicy::SignalledAddress);
    stream.carry(T0, Content::Udptl);
    let mut forwarded = 0;
    let before = ASKED.get();
    for n in 0..1_000u16 {
        let [high, low] = n.to_be_bytes();
        let mut buffer = [high, low, 1, 6, 0, (n % 3 == 0) as u8, 1, 4, 0, 0];
        let verdict = stream.packet(T0, Side::A, Channel::Rtp, at(A), &mut buffer, 8);
        forwarded += u32::from(matches!(verdict, Verdict::Forward { .. }));
    }
    assert_eq!((ASKED.get() - before, forwarded), (0, 334), "those that add up");
}

/// A is keyed by DTLS with RTCP on the port of RTP, B is as trunks are, and their numbers differ.
fn between_a_dtls_peer_and_a_trunk(suite: Suite) -> Stream {
    let mut stream = Stream::new(StreamId(1), None, T0);
    let role = Some(DtlsRole::Passive);
    let dtls = DtlsParameters { association: 1, identity: 0, role, fingerprints: Vec::new(), suites: vec![suite], ice: None };
    let dtls = Some(Protection::Dtls(Arc::new(dtls)));
    let policy = LatchPolicy::SignalledAddress;
    let a = Configuration::new(Some(Some(remote(A))), policy, dtls.clone(), dtls);
    let a = Configuration { payloads: Some(Payloads::of([(0, 8), (101, 96)])), mux: Some(true), ..a };
    let b = Configuration::new(Some(Some(remote(B))), policy, Some(Protection::Plain), Some(Protection::Plain));
    let b = Configuration { payloads: Some(Payloads::of([(8, 0), (96, 101)])), ..b };
    stream.configure(T0, Side::A, a).unwrap();
    stream.configure(T0, Side::B, b).unwrap();
    stream.keyed(T0, Side::A, (1, Claimant::At(at(A))), parameters(suite, 1), parameters(suite, 2)).unwrap();
    stream
}

#[test]
fn neither_other_numbers_nor_keys_by_dtls_nor_one_port_for_both_cost_an_allocation() {
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut stream = between_a_dtls_peer_and_a_trunk(suite);
        let mut peer = portcullis::media::srtp::Sender::new(&parameters(suite, 1)).unwrap();
        let with_room = |packet: &[u8]| [packet, &[0; TAIL_ROOM]].concat();
        let mut packets: Vec<(Side, Channel, Vec<u8>, u8)> = Vec::new();
        for n in 0..500u16 {
            packets.push((Side::A, Channel::Rtp, with_room(&protect(&mut peer, &voice(7, n, u32::from(n))).unwrap()), 8));
            let mut answer = voice(8, n, u32::from(n));
            answer[1] = 8;
            packets.push((Side::B, Channel::Rtp, with_room(&answer), 0));
            if n % 50 == 0 {
                packets.push((Side::A, Channel::Rtp, with_room(&protect(&mut peer, &report(7)).unwrap()), 200 & 0x7f));
                packets.push((Side::B, Channel::Rtcp, with_room(&report(8)), 200 & 0x7f));
            }
        }
        let (a, b, b_rtcp) = (at(A), at(B), remote(B).rtcp);
        let (mut forwarded, mut shared) = (0, 0);
        let before = ASKED.get();
        for (side, channel, buffer, number) in &mut packets {
            let from = match (*side, *channel) {
                (Side::A, _) => a,
                (Side::B, Channel::Rtp) => b,
                (Side::B, Channel::Rtcp) => b_rtcp,
            };
            let len = buffer.len() - TAIL_ROOM;
            if let Verdict::Forward { channel: exit, .. } = stream.packet(T0, *side, *channel, from, buffer, len) {
                forwarded += usize::from(buffer[1] & 0x7f == *number);
                shared += usize::from(exit != *channel);
            }
        }
        assert_eq!(ASKED.get() - before, 0, "{suite:?}");
        assert_eq!((forwarded, shared), (packets.len(), 20), "{suite:?}");
    }
}

/// Digits heard, digits in the sound, digits without it.
#[test]
fn neither_does_a_digit() {
    for secured in [false, true] {
        let mut stream = stream(secured, secured, LatchPolicy::SignalledAddress);
        let digits = Some(Conversion::of(1 << 101, [(101, 8_000)]));
        stream.configure(T0, Side::B, Configuration { digits, latch: LatchPolicy::SignalledAddress, ..Configuration::default() }).unwrap();
        let (mut a, mut b) = (sender(1), sender(3));
        let mut seal = |n: u16, of_b: bool, clear: Vec<u8>| {
            let sender = if of_b { &mut b } else { &mut a };
            let packet = if secured { protect(sender, &clear).unwrap() } else { clear };
            (n, of_b, packet.len(), [&packet[..], &[0; TAIL_ROOM]].concat())
        };
        let mut packets = Vec::new();
        for n in 0..400u16 {
            packets.push(seal(n, false, voice(7, n, u32::from(n) * 160)));
            let mut event = rtp(9, n, u32::from(n / 5) * 800, &[(n / 5 % 16) as u8, if n % 5 == 4 { 0x8a } else { 10 }, 0, 160]);
            event[1] = 101;
            packets.push(seal(n, true, event));
        }
        let mut own = [0; DIGIT + TAIL_ROOM];
        let (mut told, mut made) = (0, 0);
        let before = ASKED.get();
        for (n, of_b, len, buffer) in &mut packets {
            let now = T0 + Duration::from_millis(20 * u64::from(*n));
            if *n % 16 == 0 && !*of_b {
                stream.press(Side::B, Digit::of_event(5).unwrap(), Duration::from_millis(60), 99);
            }
            let (side, from) = if *of_b { (Side::B, at(B)) } else { (Side::A, at(A)) };
            // By turns with sound and without.
            if *of_b || *n / 50 % 2 == 0 {
                stream.packet(now, side, Channel::Rtp, from, buffer, *len);
            }
            told += u32::from(stream.take_digit().is_some());
            made += u32::from(stream.digit(now, &mut own).is_some());
        }
        assert_eq!((ASKED.get() - before, told), (0, 80), "SRTP {secured}");
        assert!(made > 20 && stream.report().b.digits_sent == 25, "{made}");
    }
}

#[test]
fn the_count_counts() {
    let before = ASKED.get();
    std::hint::black_box(vec![1u8; 100]);
    assert_eq!(ASKED.get() - before, 2);
}
