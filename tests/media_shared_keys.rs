//! SRTP under keys that both peers have (RFC 3711): not a byte is changed, nothing of ours is ever under them, and yet only what is authentic and new passes.
//! Both ends are libsrtp2, which knows nothing of us.

mod libsrtp;
mod packets;

use std::time::Duration;

use packets::*;
use portcullis::media::control::{Configuration, LatchPolicy, Protection, Side, StreamId};
use portcullis::media::payloads::Payloads;
use portcullis::media::relay::{DropReason, KeyError, Stream};
use portcullis::media::shortcut::{Carried, WhyNot};
use portcullis::sdp::crypto::Suite;
use portcullis::time::Time;

const SUITES: [Suite; 3] = [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];

/// A's peer protects by the key of this fill, B's by that one.
const KEYS: [u8; 2] = [1, 3];

fn side(remote_of: &str, receive: Protection, transmit: Protection) -> Configuration {
    Configuration::new(Some(Some(remote(remote_of))), LatchPolicy::SignalledAddress, Some(receive), Some(transmit))
}

fn shared(suite: Suite) -> Stream {
    let mut stream = Stream::new(StreamId(1), None, T0);
    let key = |fill| parameters(suite, fill);
    stream.configure(T0, Side::A, side(A, Protection::Srtp(key(KEYS[0])), Protection::Shared(key(KEYS[1])))).unwrap();
    stream.configure(T0, Side::B, side(B, Protection::Srtp(key(KEYS[1])), Protection::Shared(key(KEYS[0])))).unwrap();
    stream
}

/// A peer's own implementation: what it sends, and what it makes of the other's.
struct Peer {
    sender: libsrtp::Context,
    receiver: libsrtp::Context,
}

fn peers(suite: Suite) -> [Peer; 2] {
    let peer = |own: u8, other: u8| Peer {
        sender: libsrtp::Context::sender(suite, &master_of(suite, own).key_and_salt),
        receiver: libsrtp::Context::receiver(suite, &master_of(suite, other).key_and_salt),
    };
    [peer(KEYS[0], KEYS[1]), peer(KEYS[1], KEYS[0])]
}

impl Peer {
    fn rtp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + libsrtp::ROOM, 0);
        let len = self.sender.protect(&mut buffer, packet.len()).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        buffer.resize(packet.len() + libsrtp::ROOM, 0);
        let len = self.sender.protect_rtcp(&mut buffer, packet.len()).unwrap();
        buffer.truncate(len);
        buffer
    }

    fn reads(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        let len = self.receiver.unprotect(&mut buffer).expect("authentic at the other end");
        buffer.truncate(len);
        buffer
    }

    fn reads_rtcp(&mut self, packet: &[u8]) -> Vec<u8> {
        let mut buffer = packet.to_vec();
        let len = self.receiver.unprotect_rtcp(&mut buffer).expect("authentic at the other end");
        buffer.truncate(len);
        buffer
    }
}

#[test]
fn every_byte_crosses_as_it_came_and_the_other_peer_reads_it() {
    for suite in SUITES {
        let (mut stream, [mut a, mut b]) = (shared(suite), peers(suite));
        for n in 0..300u16 {
            // With losses, and across the wrap of the sequence number.
            if n % 17 == 5 {
                continue;
            }
            let voice = voice(0xa, 65_400u16.wrapping_add(n), u32::from(n) * 160);
            let sent = a.rtp(&voice);
            let (to, out) = through(&mut stream, Side::A, A, &sent).unwrap();
            assert_eq!((to, &out), (at(B), &sent), "{suite:?}: not a byte is ours");
            assert_eq!(b.reads(&out), voice);
        }
        let sent = b.rtcp(&report(0xb));
        let (to, out) = through(&mut stream, Side::B, "198.51.100.1:6001", &sent).unwrap();
        assert_eq!((to, &out), (at("192.0.2.1:4001"), &sent));
        assert_eq!(a.reads_rtcp(&out), report(0xb));
        let counted = stream.report();
        assert_eq!((counted.a.received, counted.a.lost, counted.a.gaps, counted.b.rtcp_received), (282, 18, 18, 1), "{suite:?}");
        assert!(counted.a.opaque && counted.b.opaque);
    }
}

#[test]
fn what_is_forged_altered_or_old_goes_no_further() {
    for suite in SUITES {
        let (mut stream, [mut a, _]) = (shared(suite), peers(suite));
        let first = a.rtp(&voice(0xa, 7, 0));
        through(&mut stream, Side::A, A, &first).unwrap();
        assert_eq!(through(&mut stream, Side::A, A, &first), Err(DropReason::Replay), "{suite:?}");
        let next = a.rtp(&voice(0xa, 8, 160));
        for at in [1, 5, 20, next.len() - 1] {
            let mut altered = next.clone();
            altered[at] ^= 1;
            assert_eq!(through(&mut stream, Side::A, A, &altered), Err(DropReason::Authentication), "{suite:?} byte {at}");
        }
        assert_eq!(through(&mut stream, Side::A, A, &voice(0xa, 9, 320)), Err(DropReason::Authentication), "in the clear");
        let mut reports = a.rtcp(&report(0xa));
        let last = reports.len() - 1;
        reports[last] ^= 1;
        assert_eq!(through(&mut stream, Side::A, "192.0.2.1:4001", &reports), Err(DropReason::Authentication));
        // Elsewhere than the latch says, and not authentic: the latch stays.
        let mut elsewhere = next.clone();
        elsewhere[30] ^= 1;
        assert!(through(&mut stream, Side::A, "192.0.2.1:4444", &elsewhere).is_err());
        through(&mut stream, Side::A, A, &next).unwrap();
        assert_eq!(stream.report().a.latched, Some(at(A)));
    }
}

/// SRTCP whose E flag is not set is authentic, and in the clear: as SRTP is demanded, it stays here.
#[test]
fn rtcp_that_its_peer_did_not_encrypt_is_not_passed_on() {
    let suite = SUITES[0];
    let mut stream = shared(suite);
    // With the tag of one whose first bit of the index word is off: made by clearing it fails the tag, so it is refused either way.
    let [mut a, _] = peers(suite);
    let mut packet = a.rtcp(&report(0xa));
    let word = packet.len() - 10 - 4;
    packet[word] &= 0x7f;
    assert_eq!(through(&mut stream, Side::A, "192.0.2.1:4001", &packet), Err(DropReason::Authentication));
}

#[test]
fn nothing_of_ours_is_ever_sent_under_a_peer_s_key() {
    let mut stream = shared(SUITES[0]);
    let [mut a, _] = peers(SUITES[0]);
    through(&mut stream, Side::A, A, &a.rtp(&voice(0xa, 1, 0))).unwrap();
    for side in [Side::A, Side::B] {
        stream.keep_rtcp(T0, side, Some(Duration::from_secs(5)), 0x77);
    }
    assert_eq!(stream.next_upkeep(), None, "RTCP of ours is not even planned");
    assert_eq!(stream.upkeep(Time::from_millis(60_000), Side::A, &mut [0; 512]), None);
    // A number that would have to change is a packet that would have to be sealed anew.
    let payloads = Some(Payloads::of([(0, 8)]));
    stream.configure(T0, Side::A, Configuration { payloads, latch: LatchPolicy::SignalledAddress, ..Configuration::default() }).unwrap();
    assert_eq!(through(&mut stream, Side::A, A, &a.rtp(&voice(0xa, 2, 160))), Err(DropReason::Payload(0)));
    // And the media plane refuses to protect by a key that it knows to be a peer's.
    let own = Configuration { transmit: Some(srtp(KEYS[0])), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    assert_eq!(stream.configure(T0, Side::B, own), Err(KeyError::Shared));
}

#[test]
fn between_two_keys_nothing_passes() {
    let suite = SUITES[0];
    let (mut stream, [mut a, _]) = (shared(suite), peers(suite));
    through(&mut stream, Side::A, A, &a.rtp(&voice(0xa, 1, 0))).unwrap();
    let new = Configuration { receive: Some(srtp(9)), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    stream.configure(T0, Side::A, new).unwrap();
    let mut later = libsrtp::Context::sender(suite, &master_of(suite, 9).key_and_salt);
    let mut packet = voice(0xa, 2, 160);
    packet.resize(packet.len() + libsrtp::ROOM, 0);
    let len = later.protect(&mut packet, 172).unwrap();
    packet.truncate(len);
    assert_eq!(through(&mut stream, Side::A, A, &packet), Err(DropReason::NotReady), "B's peer does not have this key yet");
    assert_eq!(stream.shortcut(Side::A), Err(WhyNot::Transformed));
    let told = Configuration { transmit: Some(Protection::Shared(parameters(suite, 9))), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    stream.configure(T0, Side::B, told).unwrap();
    let mut packet = voice(0xa, 3, 320);
    packet.resize(packet.len() + libsrtp::ROOM, 0);
    let len = later.protect(&mut packet, 172).unwrap();
    packet.truncate(len);
    assert_eq!(through(&mut stream, Side::A, A, &packet).unwrap().1, packet);
}

/// Keys of ours take over from shared ones: the receiving contexts go on, and what is sent is under another key.
#[test]
fn leaving_shared_keys_loses_no_packet() {
    let suite = SUITES[0];
    let (mut stream, [mut a, _]) = (shared(suite), peers(suite));
    for n in 0..50 {
        through(&mut stream, Side::A, A, &a.rtp(&voice(0xa, n, u32::from(n) * 160))).unwrap();
    }
    let ours = Configuration { transmit: Some(srtp(8)), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
    stream.configure(T0, Side::B, ours).unwrap();
    let mut b = receiver(8);
    for n in 50..100 {
        let clear = voice(0xa, n, u32::from(n) * 160);
        let sent = a.rtp(&clear);
        let (_, out) = through(&mut stream, Side::A, A, &sent).unwrap();
        assert_ne!(out, sent);
        assert_eq!(unprotect(&mut b, &out).unwrap(), clear);
    }
    assert!(!stream.report().a.opaque);
}

/// Packets the kernel carries are not seen here: their ROC must be followed all the same, or the next one that is seen would fail.
#[test]
fn the_rollover_counter_follows_what_went_past_us() {
    for suite in SUITES {
        let (mut stream, [mut a, mut b]) = (shared(suite), peers(suite));
        let first = a.rtp(&voice(0xa, 60_000, 0));
        through(&mut stream, Side::A, A, &first).unwrap();
        b.reads(&first);
        assert_eq!(stream.shortcut(Side::A).map(|shortcut| (shortcut.from, shortcut.to, shortcut.ssrc)), Ok((at(A), at(B), 0xa)));
        // 150,000 packets, more than two wraps, told of now and then as the kernel counts them.
        let (mut sequence, mut old) = (60_000u64, Vec::new());
        while sequence < 210_000 {
            let mut pace = stream.pace(Side::A, 0xa).unwrap();
            for _ in 0..30_000 {
                sequence += 1;
                let packet = a.rtp(&voice(0xa, sequence as u16, sequence as u32 * 160));
                b.reads(&packet);
                if sequence == 100_000 {
                    old = packet;
                }
            }
            pace.highest += 30_000;
            stream.absorb(Side::A, 0xa, &Carried { packets: 30_000, bytes: 30_000 * 182, last: T0, pace, ..Carried::default() });
        }
        sequence += 1;
        let next = a.rtp(&voice(0xa, sequence as u16, 0));
        assert_eq!(through(&mut stream, Side::A, A, &next).map(|(_, out)| out), Ok(next.clone()), "{suite:?}");
        assert_eq!(b.reads(&next).len(), 172);
        assert_eq!(through(&mut stream, Side::A, A, &next), Err(DropReason::Replay));
        // Somebody sends on what he has overheard long ago: the counter does not follow him.
        assert!(through(&mut stream, Side::A, A, &old).is_err(), "{suite:?}");
        sequence += 1;
        let next = a.rtp(&voice(0xa, sequence as u16, 0));
        assert!(through(&mut stream, Side::A, A, &next).is_ok(), "{suite:?}");
    }
}

/// Whoever can put packets into the kernel's count (he knows the five-tuple, the SSRC and the sequence) spoils a guess, and not the stream.
#[test]
fn a_count_that_was_led_astray_does_not_shut_the_peer_out() {
    let suite = SUITES[0];
    let (mut stream, [mut a, _]) = (shared(suite), peers(suite));
    through(&mut stream, Side::A, A, &a.rtp(&voice(0xa, 10, 0))).unwrap();
    let mut pace = stream.pace(Side::A, 0xa).unwrap();
    pace.highest += 200_000;
    stream.absorb(Side::A, 0xa, &Carried { packets: 70, bytes: 70, last: T0, pace, ..Carried::default() });
    let next = a.rtp(&voice(0xa, 11, 160));
    assert!(through(&mut stream, Side::A, A, &next).is_ok());
}
