//! A long call: SRTP to SRTP under other keys, both ways, with loss, duplicates and reordering, every payload that comes out checked. A million
//! packets in release, fewer in debug.

mod packets;

use packets::*;
use portcullis::media::control::{LatchPolicy, Side};
use portcullis::media::relay::DropReason;
use portcullis::media::srtp::Refusal;

const PACKETS: u32 = if cfg!(debug_assertions) { 12_000 } else { 500_000 };

#[test]
fn every_payload_of_a_long_call_arrives_as_it_was_sent() {
    let mut stream = stream(true, true, LatchPolicy::SignalledAddress);
    let mut ways = [(Side::A, A, sender(1), receiver(4), 0xaaaa_0001u32), (Side::B, B, sender(3), receiver(2), 0xbbbb_0002)];
    let (mut sent, mut arrived, mut lost, mut replayed) = (0u64, 0u64, [0u64; 2], 0u64);
    let mut state = 7u64;
    for n in 0..PACKETS {
        for (way, (side, from, peer, far, ssrc)) in ways.iter_mut().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let timestamp = n.wrapping_mul(160);
            let packet = voice(*ssrc, (64_000 + n) as u16, timestamp);
            let sealed = protect(peer, &packet).unwrap();
            sent += 1;
            let luck = state >> 56;
            if luck < 3 && n > 0 && n + 1 < PACKETS {
                lost[way] += 1;
                continue;
            }
            let (_, out) = through(&mut stream, *side, from, &sealed).unwrap();
            assert_ne!(out[12..172], sealed[12..172], "another key, another ciphertext");
            assert_eq!(unprotect(far, &out).unwrap(), packet);
            arrived += 1;
            if luck > 250 {
                assert_eq!(through(&mut stream, *side, from, &sealed), Err(DropReason::Replay));
                assert_eq!(unprotect(far, &out), Err(Refusal::Replay));
                replayed += 1;
            }
        }
    }
    let report = stream.report();
    assert_eq!(sent, arrived + lost[0] + lost[1]);
    assert_eq!([report.a.lost, report.b.lost], lost);
    assert_eq!(report.a.received + report.b.received, arrived);
    assert_eq!(report.a.sent + report.b.sent, arrived);
    assert_eq!(report.a.refused_replay + report.b.refused_replay, replayed);
    assert!(lost[0] > 50 && replayed > 50);
}
