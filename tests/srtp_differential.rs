//! Our SRTP against two independent implementations, both ways: rtc-srtp and libsrtp2, the reference implementation in C (Debian's `libsrtp2-dev`).

mod libsrtp;
mod packets;

use packets::*;
use portcullis::media::srtp::{Receiver, Sender};
use portcullis::sdp::crypto::Suite;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{RTCCryptoProvider, default_provider};
use rtc_srtp::protection_profile::ProtectionProfile;

/// `None`: rtc-srtp knows no keys of 192 bits.
fn theirs(suite: Suite, fill: u8) -> Option<Context> {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Suite::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        Suite::Aes256CmHmacSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Suite::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
        Suite::Aes192CmHmacSha1_80 | Suite::Aes192CmHmacSha1_32 => return None,
    };
    let key = master_of(suite, fill).key_and_salt.clone();
    let (key, salt) = key.split_at(suite.key_length());
    let provider: std::sync::Arc<dyn RTCCryptoProvider> = default_provider().unwrap();
    Some(Context::new(key, salt, profile, None, None, provider.crypto()).unwrap())
}

fn known_to_both() -> impl Iterator<Item = Suite> {
    Suite::ALL.into_iter().filter(|suite| theirs(*suite, 0).is_some())
}

/// All but the suites with keys of 192 bits: see `libsrtp_still_derives_keys_of_192_bits_in_its_own_way`.
fn known_to_libsrtp() -> impl Iterator<Item = Suite> {
    Suite::ALL.into_iter().filter(|suite| suite.key_length() != 24)
}

/// Through libsrtp2, in place.
fn c_protect(context: &mut libsrtp::Context, packet: &[u8], rtcp: bool) -> Vec<u8> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + libsrtp::ROOM, 0);
    let len = if rtcp { context.protect_rtcp(&mut buffer, packet.len()) } else { context.protect(&mut buffer, packet.len()) };
    buffer.truncate(len.unwrap());
    buffer
}

fn c_unprotect(context: &mut libsrtp::Context, packet: &[u8], rtcp: bool) -> Result<Vec<u8>, std::ffi::c_int> {
    let mut buffer = packet.to_vec();
    let len = if rtcp { context.unprotect_rtcp(&mut buffer)? } else { context.unprotect(&mut buffer)? };
    buffer.truncate(len);
    Ok(buffer)
}

/// Plain voice, contributing sources, a header extension, padding, an event, an empty payload, a large one.
fn shapes(ssrc: u32, sequence: u16) -> Vec<u8> {
    let timestamp = u32::from(sequence) * 160;
    match sequence % 7 {
        0 => {
            let mut packet = rtp(ssrc, sequence, timestamp, &[0, 0, 0, 1, 0, 0, 0, 2, 7, 7, 7]);
            packet[0] |= 2;
            packet
        }
        1 => {
            let mut packet = rtp(ssrc, sequence, timestamp, &[0xbe, 0xde, 0, 1, 0x10, 0x55, 0, 0, 1, 2, 3]);
            packet[0] |= 0x10;
            packet
        }
        2 => {
            let mut packet = rtp(ssrc, sequence, timestamp, &[1, 2, 3, 0, 0, 0, 4]);
            packet[0] |= 0x20;
            packet
        }
        3 => {
            let mut packet = rtp(ssrc, sequence, timestamp, &[5, 0x8a, 3, 0x20]);
            packet[1] = 0x80 | 101;
            packet
        }
        4 => rtp(ssrc, sequence, timestamp, &[]),
        5 => rtp(ssrc, sequence, timestamp, &vec![0x5a; 1_300]),
        _ => voice(ssrc, sequence, timestamp),
    }
}

#[test]
fn rtp_agrees_bit_for_bit_across_two_wraps() {
    for suite in known_to_both() {
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (theirs(suite, 9).unwrap(), theirs(suite, 9).unwrap());
        for n in 0..1_500u64 {
            // In strides that pass 2^16 twice.
            let sequence = (65_000 + n * 97) as u16;
            let packet = shapes(0xcafe_f00d, sequence);
            let ours = protect(&mut our_sender, &packet).unwrap();
            let their = their_sender.encrypt_rtp(&packet).unwrap();
            assert_eq!(ours[..], their[..], "{suite:?} packet {n}");
            assert_eq!(their_receiver.decrypt_rtp(&ours).unwrap()[..], packet[..], "{suite:?} packet {n}");
            assert_eq!(unprotect(&mut our_receiver, &their).unwrap(), packet, "{suite:?} packet {n}");
        }
    }
}

#[test]
fn rtcp_agrees_both_ways() {
    for suite in known_to_both() {
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (theirs(suite, 9).unwrap(), theirs(suite, 9).unwrap());
        for n in 0..300u32 {
            let packet = report(0x1000_0000 + n % 3);
            let ours = protect(&mut our_sender, &packet).unwrap();
            assert_eq!(ours.len(), packet.len() + 4 + suite.rtcp_tag(), "an 80-bit tag in all suites with HMAC");
            assert_eq!(their_receiver.decrypt_rtcp(&ours).unwrap()[..], packet[..], "{suite:?} packet {n}");
            let their = their_sender.encrypt_rtcp(&packet).unwrap();
            assert_eq!(unprotect(&mut our_receiver, &their).unwrap(), packet, "{suite:?} packet {n}");
        }
    }
}

#[test]
fn several_sources_under_one_key() {
    let suite = Suite::AesCm128HmacSha1_80;
    let (mut ours, mut their) = (Sender::new(&parameters(suite, 3)).unwrap(), theirs(suite, 3).unwrap());
    for n in 0..400u32 {
        let packet = voice(n % 5, (65_500 + n / 5) as u16, n * 160);
        assert_eq!(protect(&mut ours, &packet).unwrap()[..], their.encrypt_rtp(&packet).unwrap()[..], "packet {n}");
    }
}

#[test]
fn rtp_agrees_with_libsrtp_bit_for_bit_across_two_wraps() {
    for suite in known_to_libsrtp() {
        let key = master_of(suite, 9).key_and_salt.clone();
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (libsrtp::Context::sender(suite, &key), libsrtp::Context::receiver(suite, &key));
        for n in 0..1_500u64 {
            let packet = shapes(0xcafe_f00d, (65_000 + n * 97) as u16);
            let ours = protect(&mut our_sender, &packet).unwrap();
            let their = c_protect(&mut their_sender, &packet, false);
            assert_eq!(ours, their, "{suite:?} packet {n}");
            assert_eq!(c_unprotect(&mut their_receiver, &ours, false).unwrap(), packet, "{suite:?} packet {n}");
            assert_eq!(unprotect(&mut our_receiver, &their).unwrap(), packet, "{suite:?} packet {n}");
        }
    }
}

#[test]
fn rtcp_agrees_with_libsrtp_both_ways() {
    for suite in known_to_libsrtp() {
        let key = master_of(suite, 9).key_and_salt.clone();
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (libsrtp::Context::sender(suite, &key), libsrtp::Context::receiver(suite, &key));
        for n in 0..300u32 {
            let packet = report(0x1000_0000 + n % 3);
            let ours = protect(&mut our_sender, &packet).unwrap();
            assert_eq!(c_unprotect(&mut their_receiver, &ours, true).unwrap(), packet, "{suite:?} packet {n}");
            let their = c_protect(&mut their_sender, &packet, true);
            assert_eq!(their.len(), ours.len());
            assert_eq!(unprotect(&mut our_receiver, &their).unwrap(), packet, "{suite:?} packet {n}");
        }
    }
}

#[test]
fn an_mki_lies_where_libsrtp_has_it() {
    for suite in known_to_libsrtp() {
        let mut named = parameters(suite, 5);
        named.keys[0].mki = Some(vec![1, 2, 3, 4]);
        let key = named.keys[0].key_and_salt.clone();
        let (mut ours, mut our_receiver) = (Sender::new(&named).unwrap(), Receiver::new(&named).unwrap());
        let mut their = libsrtp::Context::sender_with_mki(suite, &key, &[1, 2, 3, 4]);
        let mut their_receiver = libsrtp::Context::receiver_with_mki(suite, &key, &[1, 2, 3, 4]);
        for (packet, rtcp) in (0..20).map(|n| (voice(7, n, 160 * u32::from(n)), false)).chain((0..3).map(|_| (report(7), true))) {
            // libsrtp2 2.5 looks for SRTCP's MKI before a tag of SRTP's length, which is another one with the short tags.
            if rtcp && suite.rtp_tag() < suite.rtcp_tag() {
                continue;
            }
            let sealed = protect(&mut ours, &packet).unwrap();
            assert_eq!(c_unprotect(&mut their_receiver, &sealed, rtcp).as_ref(), Ok(&packet), "{suite:?}");
            let sealed = c_protect(&mut their, &packet, rtcp);
            assert_eq!(unprotect(&mut our_receiver, &sealed).as_ref(), Ok(&packet), "{suite:?}");
        }
    }
}

/// The two refuse and accept the same packets of a lossy, reordering, repeating network.
#[test]
fn what_libsrtp_accepts_we_accept_and_nothing_else() {
    for suite in known_to_libsrtp() {
        let key = master_of(suite, 2).key_and_salt.clone();
        let mut sender = Sender::new(&parameters(suite, 2)).unwrap();
        let (mut ours, mut their) = (Receiver::new(&parameters(suite, 2)).unwrap(), libsrtp::Context::receiver(suite, &key));
        let sealed: Vec<_> = (0..3_000u32).map(|n| protect(&mut sender, &voice(1, (64_000 + n) as u16, n)).unwrap()).collect();
        let (mut state, mut accepted) = (7u64, 0);
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut at = 0usize;
        while at < sealed.len() {
            // Mostly in order, sometimes one of the last 300 again, sometimes a gap, sometimes a flipped bit.
            let n = if draw(5) == 0 { at.saturating_sub(draw(300) as usize) } else { at };
            let mut packet = sealed[n].clone();
            if draw(20) == 0 {
                let bit = draw(packet.len() as u64 * 8) as usize;
                packet[bit / 8] ^= 1 << (bit % 8);
            }
            let (mine, theirs) = (unprotect(&mut ours, &packet), c_unprotect(&mut their, &packet, false));
            assert_eq!(mine.as_ref().ok(), theirs.as_ref().ok(), "{suite:?} packet {n} at {at}: {mine:?} {theirs:?}");
            accepted += usize::from(mine.is_ok());
            at += 1 + if draw(40) == 0 { draw(200) as usize } else { 0 };
        }
        assert!(accepted > 500, "{accepted}");
    }
}

/// libsrtp2 2.5 runs the key derivation of 192-bit master keys by AES-256 over key, salt and zeros. RFC 6188 §3 has AES-192, and its vectors are tests beside
/// the code. Whoever must speak these suites with a peer on libsrtp hears noise: so they are never on by default. The day this fails it has been mended.
#[test]
fn libsrtp_still_derives_keys_of_192_bits_in_its_own_way() {
    for suite in [Suite::Aes192CmHmacSha1_80, Suite::Aes192CmHmacSha1_32] {
        let sealed = protect(&mut Sender::new(&parameters(suite, 9)).unwrap(), &voice(1, 1, 1)).unwrap();
        assert!(c_unprotect(&mut libsrtp::Context::receiver(suite, &master_of(suite, 9).key_and_salt), &sealed, false).is_err());
    }
}

/// A plain source that restarts its numbers under one SSRC, or went on during a hold: independent receivers hear it from its second packet on.
#[test]
fn a_source_that_begins_anew_is_heard_by_libsrtp_and_rtc_srtp() {
    for suite in known_to_both() {
        for (last, next) in [(40_000u16, 20_000u16), (300, 40_000), (50_000, 40_000)] {
            let mut ours = Sender::new(&parameters(suite, 9)).unwrap();
            let (mut rust, mut c) = (theirs(suite, 9).unwrap(), libsrtp::Context::receiver(suite, &master_of(suite, 9).key_and_salt));
            let mut hear = |ours: &mut Sender, number: u16| {
                let Ok(sealed) = protect(ours, &voice(5, number, 0)) else { return false };
                let by_c = c_unprotect(&mut c, &sealed, false).unwrap_or_else(|error| panic!("libsrtp {suite:?} {last} {next} {number}: {error}"));
                let by_rust = rust.decrypt_rtp(&sealed).unwrap_or_else(|error| panic!("rtc-srtp {suite:?} {last} {next} {number}: {error}"));
                assert_eq!((&by_c[12..], &by_rust[12..]), (&voice(5, number, 0)[12..], &voice(5, number, 0)[12..]));
                true
            };
            assert!(hear(&mut ours, last - 1) && hear(&mut ours, last));
            assert!(!hear(&mut ours, next), "one may be a stray");
            for n in (1..20).chain((20..70_000u32).step_by(97)) {
                assert!(hear(&mut ours, next.wrapping_add(n as u16)), "{suite:?} {last} {next} {n}");
            }
        }
    }
}
