//! Any bytes at the ports of a stream, from anywhere, among authentic packets: a stream between sides in the clear, under SRTP or keyed by DTLS, with any latch,
//! as sound or as fax. No panic; nothing goes beyond the buffer or to a stranger; under SRTP nothing passes that its peer has not sealed, and nothing leaves in
//! the clear; a side that waits for keys passes nothing; what is counted adds up, and whatever came of it can be told in a sentence.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::media::control::{
    Addresses, Configuration, Content, DtlsParameters, DtlsRole, IceParameters, LatchPolicy, Payloads, Protection, Side, SrtpParameters, StreamId,
};
use portcullis::media::relay::{Channel, Stream, TAIL_ROOM, Verdict};
use portcullis::media::rtp::Header;
use portcullis::media::srtp::Sender;
use portcullis::media::upkeep::LONGEST;
use portcullis::media::verdict::{Talk, explain};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::sdp::fingerprint::Fingerprint;
use portcullis::sdp::ice::Credentials;
use portcullis::time::Time;

use super::pieces::pieces;

const BUFFER: usize = 2048;

/// How a side is protected, and the peer's own context.
enum Leg {
    Plain,
    Srtp(Box<Sender>),
    Dtls,
}

pub fn run(data: &[u8]) {
    let [shape, more, rest @ ..] = data else { return };
    let latch = [LatchPolicy::Strict, LatchPolicy::SignalledAddress, LatchPolicy::Nat][usize::from(shape >> 4 & 3) % 3];
    let mut now = Time::from_millis(1_000);
    let mut stream = Stream::new(StreamId(1), Some(Duration::from_secs(20)), now);
    let mux = more & 1 != 0;
    let mut legs = [(Side::A, shape & 3), (Side::B, shape >> 2 & 3)].map(|(side, kind)| {
        let (leg, receive, transmit) = leg(side, kind);
        let payloads = (more & 2 != 0).then(|| Payloads::of([(0, 8), (101, 96), (8, 8)]));
        let set = Configuration { payloads, mux: Some(mux), ..Configuration::new(Some(Some(signalled(side))), latch, Some(receive), Some(transmit)) };
        stream.configure(now, side, set).expect("these keys are sound");
        leg
    });
    let is_fax = shape & 0xc0 == 0xc0;
    stream.carry(now, if is_fax { Content::Udptl } else { Content::Rtp { events: 1 << 101 } });
    if more & 4 != 0 {
        stream.keep_rtcp(now, Side::A, Some(Duration::from_secs(5)), 7);
        stream.keep_rtcp(now, Side::B, Some(Duration::from_secs(5)), 8);
    }
    let mut sent = [0u64; 2];
    for (what, piece) in pieces(rest) {
        now = now + Duration::from_millis([0, 20, 700, 7_000][usize::from(what >> 6)]);
        let side = if what & 1 == 0 { Side::A } else { Side::B };
        let channel = if what & 2 == 0 { Channel::Rtp } else { Channel::Rtcp };
        let from = source(side, channel, what >> 2 & 3);
        let [a, b] = &mut legs;
        let (near, far) = if side == Side::A { (a, b) } else { (b, a) };
        let is_authentic = what & 0x10 != 0 && matches!(near, Leg::Srtp(_));
        let packet = match near {
            Leg::Srtp(sender) if is_authentic => sealed(sender, now, channel, piece),
            _ => piece.to_vec(),
        };
        let mut buffer = packet.clone();
        buffer.resize((packet.len() + TAIL_ROOM).max(BUFFER), 0);
        match stream.packet(now, side, channel, from, &mut buffer, packet.len()) {
            Verdict::Forward { to, len, .. } => {
                assert!(len <= buffer.len());
                assert!(is_authentic || matches!(near, Leg::Plain), "nobody's packet passed a protected side");
                assert!(known(side.other(), to, latch), "sent to a stranger at {to}");
                match far {
                    Leg::Plain => {}
                    // Byte by byte: a fuzzer learns what memcmp is given, and would send an authentic packet of its own.
                    Leg::Srtp(_) => assert!(!is_fax && len > packet.len().min(12) && !buffer[..len].iter().eq(&packet), "left in the clear"),
                    Leg::Dtls => panic!("passed before there were keys"),
                }
                sent[usize::from(side == Side::A)] += u64::from(is_fax);
            }
            Verdict::Reply { .. } => panic!("nobody knows the password"),
            Verdict::Handshake => assert!(matches!(near, Leg::Dtls) && channel == Channel::Rtp),
            Verdict::Heard => panic!("no digit was asked for"),
            Verdict::Drop(_) => {}
        }
        for side in [Side::A, Side::B] {
            let mut made = [0; LONGEST + TAIL_ROOM];
            if let Some((_, to, len)) = stream.upkeep(now, side, &mut made) {
                assert!(len <= made.len() && known(side, to, latch));
            }
            let _ = (stream.shortcut(side), stream.source(side), stream.handshake_to(side));
        }
        let _ = (stream.take_fax_tone(), stream.silent_since(now), stream.deadline());
    }
    let report = stream.report();
    if is_fax {
        assert_eq!([report.a.fax_sent, report.b.fax_sent], sent);
    }
    for (from, to) in [(&report.a, &report.b), (&report.b, &report.a)] {
        assert!(to.sent <= from.received && to.rtcp_sent <= from.rtcp_received + to.rtcp_made);
        for answered in [None, Some(Time::from_millis(1_000))] {
            assert!(!explain(from, to, &Talk { answered, until: now }).code().is_empty());
        }
    }
}

fn leg(side: Side, kind: u8) -> (Leg, Protection, Protection) {
    let key = |suite: Suite, fill: u8| {
        let key_and_salt = vec![fill ^ if side == Side::A { 0 } else { 0x80 }; suite.key_length() + suite.salt_length()];
        SrtpParameters { suite, keys: vec![MasterKey { key_and_salt, lifetime: None, mki: None }] }
    };
    let suite = match kind {
        0 => return (Leg::Plain, Protection::Plain, Protection::Plain),
        1 => Suite::AesCm128HmacSha1_80,
        2 => Suite::AeadAes128Gcm,
        _ => {
            let dtls = Protection::Dtls(Arc::new(keyed_by_dtls()));
            return (Leg::Dtls, dtls.clone(), dtls);
        }
    };
    let sender = Sender::new(&key(suite, 1)).expect("a key of its length");
    (Leg::Srtp(Box::new(sender)), Protection::Srtp(key(suite, 1)), Protection::Srtp(key(suite, 2)))
}

fn keyed_by_dtls() -> DtlsParameters {
    let digest = ["AB"; 32].join(":");
    let local = Credentials { ufrag: "ours".to_owned(), password: "asd88fgpdd777uzjYhagZg".to_owned() };
    DtlsParameters {
        association: 1,
        identity: 0,
        role: Some(DtlsRole::Passive),
        fingerprints: vec![Fingerprint::parse(&format!("sha-256 {digest}")).expect("a fingerprint")],
        suites: vec![Suite::AesCm128HmacSha1_80],
        ice: Some(IceParameters { local, peer: None, is_checked: true }),
    }
}

/// The piece as the payload of the peer's next packet; its first bytes say which.
fn sealed(sender: &mut Sender, now: Time, channel: Channel, piece: &[u8]) -> Vec<u8> {
    let byte = |n: usize| piece.get(n).copied().unwrap_or_default();
    let mut clear = match channel {
        Channel::Rtp => vec![0x80 | byte(0) & 0x30, byte(1) & 0x7f, byte(2), byte(3), 0, 0, 0, byte(4), 9, 9, 9, byte(5) & 3],
        Channel::Rtcp => vec![0x80, 200 + (byte(0) & 7), 0, 1, 9, 9, 9, 9],
    };
    clear.extend_from_slice(piece.get(6..).unwrap_or_default());
    let len = clear.len();
    clear.resize(len + TAIL_ROOM, 0);
    let done = match (channel, Header::parse(&clear[..len])) {
        (Channel::Rtp, Ok(header)) => sender.protect_rtp(now, &mut clear, len, &header).ok(),
        (Channel::Rtp, Err(_)) => None,
        (Channel::Rtcp, _) => sender.protect_rtcp(&mut clear, len).ok(),
    };
    clear.truncate(done.unwrap_or(len));
    clear
}

fn signalled(side: Side) -> Addresses {
    let host = if side == Side::A { [192, 0, 2, 1] } else { [198, 51, 100, 1] };
    Addresses { rtp: SocketAddr::from((host, 4000)), rtcp: SocketAddr::from((host, 4001)) }
}

/// Where a packet claims to come from: where it should, another port there, or one of two strangers.
fn source(side: Side, channel: Channel, which: u8) -> SocketAddr {
    let at = signalled(side);
    let at = if channel == Channel::Rtp { at.rtp } else { at.rtcp };
    match which {
        0 => at,
        1 => SocketAddr::new(at.ip(), 5000),
        2 => SocketAddr::from(([203, 0, 113, 9], 666)),
        _ => "[2001:db8::bad]:666".parse().expect("an address"),
    }
}

/// An address of that side's peer, as far as its latch may follow it.
fn known(side: Side, at: SocketAddr, latch: LatchPolicy) -> bool {
    let peer = signalled(side);
    match latch {
        LatchPolicy::Strict => at == peer.rtp || at == peer.rtcp,
        LatchPolicy::SignalledAddress => at.ip() == peer.rtp.ip(),
        LatchPolicy::Nat => [Channel::Rtp, Channel::Rtcp].iter().any(|channel| (0..4).any(|which| source(side, *channel, which) == at)),
    }
}
