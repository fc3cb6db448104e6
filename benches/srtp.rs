//! Nanoseconds to protect and to unprotect one 172-byte packet under each suite, with one stream and with 1,000 streams in turn (each packet then finds its keys
//! out of the nearest cache), beside libsrtp2 and rtc-srtp in the same run; and for a whole packet through a stream with SRTP on both sides.
//!
//! `cargo bench --bench srtp`; `cargo bench --bench srtp -- table` prints the first part alone, in half a minute.

#[path = "../tests/libsrtp/mod.rs"]
mod libsrtp;

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use portcullis::media::control::{Addresses, Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::media::relay::{Channel, Stream, TAIL_ROOM, Verdict};
use portcullis::media::rtp::Header;
use portcullis::media::srtp::authentication::Authenticator;
use portcullis::media::srtp::cipher::Cipher;
use portcullis::media::srtp::{Receiver, Sender};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::time::Time;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

const LENGTH: usize = 172;

fn parameters(stream: usize) -> SrtpParameters {
    parameters_of(Suite::AesCm128HmacSha1_80, stream)
}

fn parameters_of(suite: Suite, stream: usize) -> SrtpParameters {
    let key_and_salt = (0..suite.key_length() + suite.salt_length()).map(|n| (stream * 31 + n * 7) as u8).collect();
    SrtpParameters { suite, keys: vec![MasterKey { key_and_salt, lifetime: None, mki: None }] }
}

fn voice(sequence: u16) -> [u8; LENGTH + TAIL_ROOM] {
    let mut packet = [0x55; LENGTH + TAIL_ROOM];
    packet[..4].copy_from_slice(&[0x80, 0, (sequence >> 8) as u8, sequence as u8]);
    packet[8..12].copy_from_slice(&[1, 2, 3, 4]);
    packet
}

const BATCH: usize = 1_000;

type Batch = Vec<([u8; LENGTH + TAIL_ROOM], usize)>;

/// Packets of `streams` streams in turn, made outside the measured time: sealed if there are senders.
fn batch(sequence: &mut u16, streams: usize, mut senders: Option<&mut [Sender]>) -> Batch {
    (0..BATCH)
        .map(|n| {
            if n % streams == 0 {
                *sequence = sequence.wrapping_add(1);
            }
            let mut buffer = voice(*sequence);
            let header = Header::parse(&buffer[..LENGTH]).unwrap();
            let len = match &mut senders {
                Some(senders) => senders[n % streams].protect_rtp(Time::ZERO, &mut buffer, LENGTH, &header).unwrap(),
                None => LENGTH,
            };
            (buffer, len)
        })
        .collect()
}

/// One direction of one implementation: a packet in place, its length in and out.
type Transform = Box<dyn FnMut(&mut [u8; LENGTH + TAIL_ROOM], usize) -> usize>;

fn ours(suite: Suite, stream: usize) -> [Transform; 2] {
    let parameters = parameters_of(suite, stream);
    let (mut sender, mut receiver) = (Sender::new(&parameters).unwrap(), Receiver::new(&parameters).unwrap());
    [
        Box::new(move |buffer, len| {
            let header = Header::parse(&buffer[..len]).unwrap();
            sender.protect_rtp(Time::ZERO, buffer, len, &header).unwrap()
        }),
        Box::new(move |buffer, len| {
            let header = Header::parse(&buffer[..len]).unwrap();
            receiver.unprotect_rtp(Time::ZERO, &mut buffer[..len], &header).unwrap()
        }),
    ]
}

fn libsrtp2(suite: Suite, stream: usize) -> [Transform; 2] {
    let key = parameters_of(suite, stream).keys[0].key_and_salt.clone();
    let (mut sender, mut receiver) = (libsrtp::Context::sender(suite, &key), libsrtp::Context::receiver(suite, &key));
    [Box::new(move |buffer, len| sender.protect(buffer, len).unwrap()), Box::new(move |buffer, len| receiver.unprotect(&mut buffer[..len]).unwrap())]
}

fn rtc_srtp(suite: Suite, stream: usize) -> [Transform; 2] {
    let profile = match suite {
        Suite::AesCm128HmacSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Suite::Aes256CmHmacSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        Suite::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        _ => ProtectionProfile::AeadAes256Gcm,
    };
    let key = parameters_of(suite, stream).keys[0].key_and_salt.clone();
    let context = || {
        let (key, salt) = key.split_at(suite.key_length());
        Context::new(key, salt, profile, None, None, rtc_srtp::crypto::default_provider().unwrap().crypto()).unwrap()
    };
    let (mut sender, mut receiver) = (context(), context());
    [
        // Not in place: what comes out is another buffer.
        Box::new(move |buffer, len| {
            let sealed = sender.encrypt_rtp(&buffer[..len]).unwrap();
            buffer[..sealed.len()].copy_from_slice(&sealed);
            sealed.len()
        }),
        Box::new(move |buffer, len| receiver.decrypt_rtp(&buffer[..len]).unwrap().len()),
    ]
}

/// The table: median nanoseconds of rounds in which all implementations take turns, so that a neighbour's load falls on all alike.
fn table() {
    const SUITES: [Suite; 4] = [Suite::AesCm128HmacSha1_80, Suite::Aes256CmHmacSha1_80, Suite::AeadAes128Gcm, Suite::AeadAes256Gcm];
    type Make = fn(Suite, usize) -> [Transform; 2];
    const MAKERS: [(&str, Make); 3] = [("portcullis", ours), ("libsrtp2", libsrtp2), ("rtc-srtp", rtc_srtp)];
    println!("ns per 172-byte packet, protect / unprotect, medians of 15 rounds; in brackets: times as fast as libsrtp2");
    for streams in [1usize, 1_000] {
        for suite in SUITES {
            let mut all: Vec<Vec<[Transform; 2]>> = MAKERS.iter().map(|(_, make)| (0..streams).map(|stream| make(suite, stream)).collect()).collect();
            let mut times: [[Vec<f64>; 2]; MAKERS.len()] = Default::default();
            for round in 0..15u16 {
                for (contexts, times) in all.iter_mut().zip(&mut times) {
                    let per_stream = (4_000 / streams) as u16;
                    let mut packets: Vec<_> =
                        (0..per_stream).flat_map(|n| std::iter::repeat_n(voice(round * per_stream + n), streams)).map(|packet| (packet, LENGTH)).collect();
                    for (direction, times) in times.iter_mut().enumerate() {
                        let start = std::time::Instant::now();
                        for (n, (buffer, len)) in packets.iter_mut().enumerate() {
                            *len = contexts[n % streams][direction](buffer, *len);
                        }
                        times.push(start.elapsed().as_nanos() as f64 / packets.len() as f64);
                    }
                    assert!(black_box(&packets).iter().all(|(_, len)| *len == LENGTH));
                }
            }
            let medians: Vec<[f64; 2]> = times
                .iter_mut()
                .map(|both| {
                    std::array::from_fn(|at| {
                        both[at].sort_by(f64::total_cmp);
                        both[at][both[at].len() / 2]
                    })
                })
                .collect();
            let line: Vec<String> = MAKERS
                .iter()
                .zip(&medians)
                .map(|((name, _), [seal, open])| format!("{name} {seal:.0} / {open:.0} ({:.1} / {:.1})", medians[1][0] / seal, medians[1][1] / open))
                .collect();
            println!("{streams:5} stream{} {:<24} {}", if streams == 1 { " " } else { "s" }, suite.name(), line.join("; "));
        }
    }
}

fn transforms(criterion: &mut Criterion, streams: usize) {
    let name = format!("1,000 packets, {streams} stream{}", if streams == 1 { "" } else { "s in turn" });
    let make_senders = || -> Vec<Sender> { (0..streams).map(|n| Sender::new(&parameters(n)).unwrap()).collect() };
    let mut senders = make_senders();
    let mut sequence = 0u16;
    let mut group = criterion.benchmark_group("protect");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(&name, |bench| {
        bench.iter_batched_ref(
            || batch(&mut sequence, streams, None),
            |batch| {
                for ((buffer, len), sender) in batch.iter_mut().zip((0..).map(|n| n % streams)) {
                    let header = Header::parse(&buffer[..*len]).unwrap();
                    senders[sender].protect_rtp(Time::ZERO, buffer, *len, &header).unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    let mut senders = make_senders();
    let mut receivers: Vec<Receiver> = (0..streams).map(|n| Receiver::new(&parameters(n)).unwrap()).collect();
    let mut sequence = 0u16;
    let mut group = criterion.benchmark_group("unprotect");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function(&name, |bench| {
        bench.iter_batched_ref(
            || batch(&mut sequence, streams, Some(&mut senders)),
            |batch| {
                for (n, (buffer, len)) in batch.iter_mut().enumerate() {
                    let header = Header::parse(&buffer[..*len]).unwrap();
                    receivers[n % streams].unprotect_rtp(Time::ZERO, &mut buffer[..*len], &header).unwrap();
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Everything between receive and send: latch, header, unprotect, counters, protect under another key.
fn relay(criterion: &mut Criterion) {
    let address: SocketAddr = "192.0.2.1:4000".parse().unwrap();
    let cells = [("RTP to RTP", false, false), ("RTP to SRTP", false, true), ("SRTP to RTP", true, false), ("SRTP to SRTP", true, true)];
    let mut group = criterion.benchmark_group("Stream::packet, 1,000 packets");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, secured_in, secured_out) in cells {
        let protection = |secured: bool, key| if secured { Protection::Srtp(parameters(key)) } else { Protection::Plain };
        let mut stream = Stream::new(StreamId(1), Some(Duration::from_secs(60)), Time::ZERO);
        for (side, secured, key) in [(Side::A, secured_in, 1), (Side::B, secured_out, 2)] {
            let remote = Some(Some(Addresses { rtp: address, rtcp: address }));
            let (receive, transmit) = (Some(protection(secured, key)), Some(protection(secured, key)));
            stream.configure(Time::ZERO, side, Configuration::new(remote, LatchPolicy::SignalledAddress, receive, transmit)).unwrap();
        }
        let mut peer = Sender::new(&parameters(1)).unwrap();
        let mut sequence = 0u16;
        group.bench_function(name, |bench| {
            bench.iter_batched_ref(
                || batch(&mut sequence, 1, secured_in.then_some(std::slice::from_mut(&mut peer))),
                |batch| {
                    for (buffer, len) in batch.iter_mut() {
                        let verdict = stream.packet(Time::from_millis(20), Side::A, Channel::Rtp, address, buffer, *len);
                        assert!(matches!(verdict, Verdict::Forward { .. }));
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// What the transforms are made of, and an independent implementation in the same run: only ratios of one run count.
fn yardsticks(criterion: &mut Criterion) {
    let mut buffer = voice(1);
    let cipher = Cipher::new(&[7; 16], &[9; 14]).unwrap();
    criterion.bench_function("AES-CM alone, 160 bytes", |bench| bench.iter(|| cipher.apply(1, 2, black_box(&mut buffer[12..LENGTH]))));
    let authenticator = Authenticator::new(&[3; 20]);
    criterion.bench_function("HMAC-SHA1 alone, 172 + 4 bytes", |bench| bench.iter(|| authenticator.code(black_box(&buffer[..LENGTH]), Some(0))));
    let context = || {
        let key = parameters(1).keys[0].key_and_salt.clone();
        let provider = rtc_srtp::crypto::default_provider().unwrap();
        Context::new(&key[..16], &key[16..], ProtectionProfile::Aes128CmHmacSha1_80, None, None, provider.crypto()).unwrap()
    };
    let (mut theirs, mut sequence) = (context(), 0);
    criterion.bench_function("rtc-srtp protect", |bench| {
        bench.iter_batched(
            || batch(&mut sequence, 1, None),
            |batch| batch.iter().map(|(buffer, len)| theirs.encrypt_rtp(&buffer[..*len]).unwrap().len()).sum::<usize>(),
            BatchSize::PerIteration,
        );
    });
    let (mut theirs, mut sequence, mut sender) = (context(), 0, Sender::new(&parameters(1)).unwrap());
    criterion.bench_function("rtc-srtp unprotect", |bench| {
        bench.iter_batched(
            || batch(&mut sequence, 1, Some(std::slice::from_mut(&mut sender))),
            |batch| batch.iter().map(|(buffer, len)| theirs.decrypt_rtp(&buffer[..*len]).unwrap().len()).sum::<usize>(),
            BatchSize::PerIteration,
        );
    });
}

fn benches(criterion: &mut Criterion) {
    table();
    if std::env::args().any(|argument| argument == "table") {
        return;
    }
    transforms(criterion, 1);
    transforms(criterion, 1_000);
    relay(criterion);
    yardsticks(criterion);
}

criterion_group! {
    name = srtp;
    config = Criterion::default().measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(500)).sample_size(30);
    targets = benches
}
criterion_main!(srtp);
