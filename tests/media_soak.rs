//! Long calls with every buffer that comes out checked: through a stream alone, for each pair of protections, with loss, duplicates and sequence
//! numbers that wrap; and through a running media plane, many calls at once, by each way their packets can go through sockets. Millions of packets
//! each where the tests are optimised, fewer where not.

mod packets;
mod relay_rig;

use std::time::Instant;

use packets::{A, B, T0, protect, remote, through, unprotect, voice};
use portcullis::adapters::media::path::{Io, Way};
use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::media::control::{Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::media::relay::{DropReason, Stream};
use portcullis::media::srtp::{Receiver, Refusal, Sender};
use portcullis::sdp::crypto::{MasterKey, Suite};
use relay_rig::{Call, Leg, PATIENCE, Peer, Plane, own_address};

/// Through one pair of protections, both directions together.
const PACKETS: u32 = if cfg!(debug_assertions) { 6_000 } else { 250_000 };
const CALLS: u8 = 40;

#[test]
fn every_payload_of_a_long_call_arrives_as_it_was_sent() {
    let cm80 = Some(Suite::AesCm128HmacSha1_80);
    let mut pairs = vec![(None, None), (cm80, None), (None, cm80)];
    // Each suite to itself under other keys, and to the next one.
    for (n, suite) in Suite::ALL.into_iter().enumerate() {
        pairs.extend([(Some(suite), Some(suite)), (Some(suite), Suite::ALL.get(n + 1).copied().or(cm80))]);
    }
    for pair in pairs {
        long_call(pair);
    }
}

/// One direction as its two ends see it.
struct Direction {
    side: Side,
    from: &'static str,
    ssrc: u32,
    sender: Option<Sender>,
    receiver: Option<Receiver>,
    lost: u64,
    replayed: u64,
}

fn long_call((a, b): (Option<Suite>, Option<Suite>)) {
    let mut stream = Stream::new(StreamId(1), None, T0);
    for (side, at, suite, keys) in [(Side::A, A, a, (1, 2)), (Side::B, B, b, (3, 4))] {
        let protection = |fill| suite.map_or(Protection::Plain, |suite| Protection::Srtp(parameters(suite, fill)));
        let set = Configuration::new(Some(Some(remote(at))), LatchPolicy::SignalledAddress, Some(protection(keys.0)), Some(protection(keys.1)));
        stream.configure(T0, side, set).unwrap();
    }
    let sender = |suite: Option<Suite>, fill| suite.map(|suite| Sender::new(&parameters(suite, fill)).unwrap());
    let receiver = |suite: Option<Suite>, fill| suite.map(|suite| Receiver::new(&parameters(suite, fill)).unwrap());
    let mut directions = [
        Direction { side: Side::A, from: A, ssrc: 0xaaaa_0001, sender: sender(a, 1), receiver: receiver(b, 4), lost: 0, replayed: 0 },
        Direction { side: Side::B, from: B, ssrc: 0xbbbb_0002, sender: sender(b, 3), receiver: receiver(a, 2), lost: 0, replayed: 0 },
    ];
    let (mut arrived, mut state) = (0u64, 7u64);
    for n in 0..PACKETS / 2 {
        for direction in &mut directions {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let luck = if n == 0 || n + 1 == PACKETS / 2 { 100 } else { state >> 56 };
            arrived += direction.carry(&mut stream, n, luck);
        }
    }
    let report = stream.report();
    let [there, back] = &directions;
    assert_eq!([report.a.lost, report.b.lost], [there.lost, back.lost], "{a:?} {b:?}");
    assert_eq!(u64::from(PACKETS), arrived + there.lost + back.lost);
    assert_eq!(report.a.received + report.b.received, arrived);
    assert_eq!(report.a.sent + report.b.sent, arrived);
    assert_eq!([report.a.refused_replay, report.b.refused_replay], [there.replayed, back.replayed]);
    assert!(there.lost > 10 && a.is_none_or(|_| there.replayed > 10), "the walk was not rough enough to prove anything");
}

impl Direction {
    /// The `n`th packet on its way; 1 if it arrived, as it must unless it gets lost before us.
    fn carry(&mut self, stream: &mut Stream, n: u32, luck: u64) -> u64 {
        let clear = voice(self.ssrc, (64_000 + n) as u16, n.wrapping_mul(160));
        let sealed = self.sender.as_mut().map_or_else(|| clear.clone(), |sender| protect(sender, &clear).unwrap());
        if luck < 3 {
            self.lost += 1;
            return 0;
        }
        let (_, out) = through(stream, self.side, self.from, &sealed).unwrap();
        match &mut self.receiver {
            Some(receiver) => {
                assert_ne!(out[12..172], sealed[12..172], "another key, another ciphertext");
                assert_eq!(unprotect(receiver, &out).unwrap(), clear);
            }
            None => assert_eq!(out, clear),
        }
        if luck > 250 && self.sender.is_some() {
            assert_eq!(through(stream, self.side, self.from, &sealed), Err(DropReason::Replay));
            if let Some(receiver) = &mut self.receiver {
                assert_eq!(unprotect(receiver, &out), Err(Refusal::Replay));
            }
            self.replayed += 1;
        }
        1
    }
}

fn parameters(suite: Suite, fill: u8) -> SrtpParameters {
    let key_and_salt = (0..suite.key_length() + suite.salt_length()).map(|n| (n as u8).wrapping_mul(7) ^ fill).collect();
    SrtpParameters { suite, keys: vec![MasterKey { key_and_salt, lifetime: None, mki: None }] }
}

#[test]
fn every_packet_of_many_calls_arrives_whole_through_sockets() {
    for (settings, way) in ways() {
        many_calls(settings, way);
    }
}

/// The ways through sockets there are on this machine: io_uring is forbidden in many containers.
fn ways() -> Vec<(Settings, Way)> {
    let mut ways = vec![(Settings { io: IoChoice::Epoll, ..Settings::default() }, Way::Sockets(Io::Epoll))];
    let unasked = Plane::start(Settings::default());
    let ring = unasked.plane.probes().iter().find(|probe| probe.way == Way::Sockets(Io::IoUring));
    match ring.map(|probe| &probe.outcome) {
        Some(Ok(_)) => ways.push((Settings { io: IoChoice::IoUring, ..Settings::default() }, Way::Sockets(Io::IoUring))),
        refused => eprintln!("not by io_uring: {refused:?}"),
    }
    ways
}

/// Forty calls of all kinds, each of their packets made and checked by an independent SRTP; a packet each way on every call, then all are read.
fn many_calls(settings: Settings, way: Way) {
    let mut plane = Plane::start(settings);
    let host = own_address();
    let mut calls: Vec<Call> = (0..CALLS).map(|n| call(&plane, host, n)).collect();
    let rounds = if cfg!(debug_assertions) { 50 } else { 1_000_000 / (2 * u32::from(CALLS)) };
    let begun = Instant::now();
    for round in 0..rounds {
        let sent: Vec<[Vec<u8>; 2]> = calls.iter_mut().map(|call| [call.a.send_rtp(), call.b.send_rtp()]).collect();
        for (n, (call, [from_a, from_b])) in calls.iter_mut().zip(&sent).enumerate() {
            for (peer, expected) in [(&mut call.b, from_a), (&mut call.a, from_b)] {
                let told = peer.take_rtp(PATIENCE).unwrap_or_else(|| panic!("{way}: nothing on call {n} in round {round}"));
                assert_eq!(told.as_ref(), Ok(expected), "{way}: call {n}, round {round}");
            }
        }
    }
    eprintln!("{way}: {} packets in {:.1} s", rounds * 2 * u32::from(CALLS), begun.elapsed().as_secs_f64());
    for call in calls {
        assert_eq!(plane.plane.inspect(call.stream).map(|view| view.ways.map(|(way, _)| way)), Some([way; 2]));
        let report = plane.close(call.stream);
        for side in [report.a, report.b] {
            assert_eq!((side.received, side.sent, side.lost), (u64::from(rounds), u64::from(rounds), 0), "{way}: {:?}", call.stream);
        }
    }
}

/// Every call has keys, SSRCs and a first sequence number of its own.
fn call(plane: &Plane, host: std::net::IpAddr, n: u8) -> Call {
    let cm80 = Leg::Srtp(Suite::AesCm128HmacSha1_80);
    let gcm = Leg::Srtp(Suite::AeadAes128Gcm);
    let (a, b) = match n % 8 {
        0 => (Leg::Plain, Leg::Plain),
        1 => (cm80, Leg::Plain),
        2 => (Leg::Plain, cm80),
        3 => (cm80, Leg::Srtp(Suite::AesCm128HmacSha1_32)),
        4 => (gcm, Leg::Plain),
        5 => (Leg::Plain, Leg::Srtp(Suite::AeadAes256Gcm)),
        6 => (gcm, Leg::Srtp(Suite::AeadAes256Gcm)),
        _ => (cm80, gcm),
    };
    let mut call = Call::silent(plane, &Leg::Plain, &Leg::Plain, host, None);
    call.a = Peer::new(Side::A, host, call.a.relay, &a, 2 * n);
    call.b = Peer::new(Side::B, host, call.b.relay, &b, 2 * n + 1);
    for peer in [&mut call.a, &mut call.b] {
        peer.sequence = u16::from(n) * 1_500;
        plane.plane.command(peer.configure(call.stream, LatchPolicy::SignalledAddress));
    }
    call
}
