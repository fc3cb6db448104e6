//! Our SRTP against an independent implementation, both ways.

mod packets;

use packets::*;
use portcullis::media::srtp::{Receiver, Sender};
use portcullis::sdp::crypto::Suite;
use rtc_srtp::context::Context;
use rtc_srtp::crypto::{RTCCryptoProvider, default_provider};
use rtc_srtp::protection_profile::ProtectionProfile;

fn theirs(suite: Suite, fill: u8) -> Context {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::AesCm128HmacSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
    };
    let key = master(fill).key_and_salt.clone();
    let provider: std::sync::Arc<dyn RTCCryptoProvider> = default_provider().unwrap();
    Context::new(&key[..16], &key[16..], profile, None, None, provider.crypto()).unwrap()
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
    for suite in Suite::ALL {
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (theirs(suite, 9), theirs(suite, 9));
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
    for suite in Suite::ALL {
        let (mut our_sender, mut our_receiver) = (Sender::new(&parameters(suite, 9)).unwrap(), Receiver::new(&parameters(suite, 9)).unwrap());
        let (mut their_sender, mut their_receiver) = (theirs(suite, 9), theirs(suite, 9));
        for n in 0..300u32 {
            let packet = report(0x1000_0000 + n % 3);
            let ours = protect(&mut our_sender, &packet).unwrap();
            assert_eq!(ours.len(), packet.len() + 4 + 10, "an 80-bit tag in both suites");
            assert_eq!(their_receiver.decrypt_rtcp(&ours).unwrap()[..], packet[..], "{suite:?} packet {n}");
            let their = their_sender.encrypt_rtcp(&packet).unwrap();
            assert_eq!(unprotect(&mut our_receiver, &their).unwrap(), packet, "{suite:?} packet {n}");
        }
    }
}

#[test]
fn several_sources_under_one_key() {
    let suite = Suite::AesCm128HmacSha1_80;
    let (mut ours, mut their) = (Sender::new(&parameters(suite, 3)).unwrap(), theirs(suite, 3));
    for n in 0..400u32 {
        let packet = voice(n % 5, (65_500 + n / 5) as u16, n * 160);
        assert_eq!(protect(&mut ours, &packet).unwrap()[..], their.encrypt_rtp(&packet).unwrap()[..], "packet {n}");
    }
}
