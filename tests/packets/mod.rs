//! RTP and RTCP packets, keys and streams for the media plane's tests.
#![allow(dead_code)]

use portcullis::media::control::{Addresses, Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::media::packet::Channel;
use portcullis::media::relay::{Stream, TAIL_ROOM, Verdict};
use portcullis::media::rtp::Header;
use portcullis::media::srtp::{Receiver, Refusal, Sender};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::time::Time;
use std::net::SocketAddr;

pub const T0: Time = Time::from_millis(1_000);

/// A G.711 packet of 20 ms: 172 bytes, its payload made from what it is.
pub fn voice(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
    rtp(ssrc, sequence, timestamp, &payload(ssrc, timestamp))
}

pub fn payload(ssrc: u32, timestamp: u32) -> Vec<u8> {
    let mut state = (u64::from(ssrc) << 32 | u64::from(timestamp)) ^ 0x9e37_79b9_7f4a_7c15;
    (0..160)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .collect()
}

pub fn rtp(ssrc: u32, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, 0];
    packet.extend_from_slice(&sequence.to_be_bytes());
    packet.extend_from_slice(&timestamp.to_be_bytes());
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(payload);
    packet
}

/// A sender report with one reception block, and a description whose CNAME is 8 zeros (what concealing leaves of any for SSRC 0).
pub fn report(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x81, 200, 0, 12];
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend((0..44).map(|n| n as u8));
    packet.extend_from_slice(&[0x81, 202, 0, 4]);
    packet.extend_from_slice(&ssrc.to_be_bytes());
    packet.extend_from_slice(b"\x01\x08");
    packet.extend_from_slice(format!("{ssrc:08x}").as_bytes());
    packet.extend_from_slice(&[0, 0]);
    packet
}

pub fn master(fill: u8) -> MasterKey {
    MasterKey { key_and_salt: (0..30).map(|n: u8| n.wrapping_mul(7) ^ fill).collect(), lifetime: None, mki: None }
}

/// A key of the suite's length.
pub fn master_of(suite: Suite, fill: u8) -> MasterKey {
    let length = (suite.key_length() + suite.salt_length()) as u8;
    MasterKey { key_and_salt: (0..length).map(|n| n.wrapping_mul(7) ^ fill).collect(), lifetime: None, mki: None }
}

pub fn parameters(suite: Suite, fill: u8) -> SrtpParameters {
    SrtpParameters { suite, keys: vec![master_of(suite, fill)] }
}

pub fn srtp(fill: u8) -> Protection {
    Protection::Srtp(parameters(Suite::AesCm128HmacSha1_80, fill))
}

/// The protected packet.
pub fn protect(sender: &mut Sender, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TAIL_ROOM, 0xee);
    let len = match Header::parse(packet) {
        Ok(header) if !(192..=223).contains(&packet[1]) => sender.protect_rtp(T0, &mut buffer, packet.len(), &header)?,
        _ => sender.protect_rtcp(&mut buffer, packet.len())?,
    };
    assert!(buffer[len..].iter().all(|byte| *byte == 0xee), "written beyond its end");
    buffer.truncate(len);
    Ok(buffer)
}

/// The packet in the clear.
pub fn unprotect(receiver: &mut Receiver, packet: &[u8]) -> Result<Vec<u8>, Refusal> {
    let mut buffer = packet.to_vec();
    let result = match Header::parse(packet) {
        Ok(header) if !(192..=223).contains(&packet[1]) => receiver.unprotect_rtp(T0, &mut buffer, &header),
        _ => receiver.unprotect_rtcp(T0, &mut buffer),
    };
    if result.is_err() {
        // What AEAD could not open it zeroes, but for the header.
        let kept = if receiver.parameters().suite.is_aead() { packet.len().min(12) } else { packet.len() };
        assert_eq!(buffer[..kept], packet[..kept], "a refused packet is left as it was");
    }
    buffer.truncate(result?);
    Ok(buffer)
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub const A: &str = "192.0.2.1:4000";
pub const B: &str = "198.51.100.1:6000";

pub fn remote(rtp: &str) -> Addresses {
    let rtp = at(rtp);
    Addresses { rtp, rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1) }
}

/// A stream between A and B, each side protected the same in both directions by its own two keys: A receives 1 and sends 2, B receives 3, sends 4.
pub fn stream(a: bool, b: bool, latch: LatchPolicy) -> Stream {
    let mut stream = Stream::new(StreamId(1), None, T0);
    let side = |secured: bool, receive: u8, transmit: u8| match secured {
        true => (Some(srtp(receive)), Some(srtp(transmit))),
        false => (Some(Protection::Plain), Some(Protection::Plain)),
    };
    for (which, address, (receive, transmit)) in [(Side::A, A, side(a, 1, 2)), (Side::B, B, side(b, 3, 4))] {
        stream.configure(T0, which, Configuration::new(Some(Some(remote(address))), latch, receive, transmit)).unwrap();
    }
    stream
}

/// One packet through a stream.
pub fn through(stream: &mut Stream, side: Side, from: &str, packet: &[u8]) -> Result<(SocketAddr, Vec<u8>), portcullis::media::relay::DropReason> {
    let channel = if packet.get(1).is_some_and(|kind| (192..=223).contains(kind)) { Channel::Rtcp } else { Channel::Rtp };
    let mut buffer = packet.to_vec();
    buffer.resize(packet.len() + TAIL_ROOM, 0);
    match stream.packet(T0, side, channel, at(from), &mut buffer, packet.len()) {
        Verdict::Forward { to, len, .. } => Ok((to, buffer[..len].to_vec())),
        Verdict::Drop(reason) => Err(reason),
        other => panic!("a side that is not keyed by DTLS answers nothing: {other:?}"),
    }
}

pub fn sender(fill: u8) -> Sender {
    Sender::new(&parameters(Suite::AesCm128HmacSha1_80, fill)).unwrap()
}

pub fn receiver(fill: u8) -> Receiver {
    Receiver::new(&parameters(Suite::AesCm128HmacSha1_80, fill)).unwrap()
}
