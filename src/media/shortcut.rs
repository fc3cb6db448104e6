//! Whether a direction of a stream may be carried by a shorter way than through us, what that way must know, and how what it counted comes back.
//!
//! Whoever carries packets in our place (the kernel) judges them by less than we do: the exact five-tuple of the source the latch has settled on, one
//! synchronisation source (RFC 3550 §5.1), payload types that hold nothing we listen for. All else still comes to us. So a shortcut exists only where
//! `Stream::packet` would have forwarded the same bytes to the same place: of plain RTP, and of SRTP under a key that both peers have, which the one who
//! gets it authenticates.

use std::fmt;
use std::net::SocketAddr;

use crate::media::control::Side;
use crate::media::packet::Channel;
use crate::media::relay::Stream;
use crate::time::Time;

/// Payload types that no RTP has where RTCP might stand on the same port (RFC 5761 §4): with the marker bit they look like RTCP.
const LIKE_RTCP: u128 = 0xffff_ffff << 64;

/// What another way must know to carry one direction: RTP only, RTCP always comes to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shortcut {
    /// Where the packets come from: the address the latch has settled on.
    pub from: SocketAddr,
    /// Where they go to.
    pub to: SocketAddr,
    pub ssrc: u32,
    /// One bit for each payload type that may pass.
    pub payload_types: u128,
    /// RTP timestamp units per second, for the jitter.
    pub clock: u32,
}

/// How far one source has come: what counting goes on from (RFC 3550 A.1, A.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Pace {
    /// Cycles and highest sequence number.
    pub highest: u32,
    /// Of the last packet that had one of its own.
    pub timestamp: u32,
    /// Arrival minus timestamp of that packet, timestamp units, modulo 2^32.
    pub transit: u32,
    /// Sixteen times the jitter, timestamp units.
    pub jitter: u32,
}

/// What was carried without us since it was last asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Carried {
    pub packets: u64,
    /// Of RTP, header and payload.
    pub bytes: u64,
    /// When the last of them came.
    pub last: Time,
    /// Runs of packets that were skipped.
    pub gaps: u32,
    pub pace: Pace,
}

/// Why a direction goes through us.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WhyNot {
    /// A side is not configured, or on hold.
    NotReady,
    /// The packets are changed on their way.
    Transformed,
    /// No packet has come from that side yet, so its source is not known.
    NoSource,
    Fax,
    /// One side says digits by telephone-events, the other by INFO.
    Digits,
    /// The way is at its limit of streams.
    Full,
    /// No interface that takes part holds one of our addresses, or the kernel would not take the entry.
    Refused,
    /// One side speaks IPv4 and the other IPv6, and the way does not translate.
    OtherFamily,
}

impl WhyNot {
    /// The same in one word, for records and metrics.
    pub fn code(self) -> &'static str {
        match self {
            WhyNot::NotReady => "not-ready",
            WhyNot::Transformed => "transformed",
            WhyNot::NoSource => "no-source",
            WhyNot::Fax => "fax",
            WhyNot::Digits => "digits",
            WhyNot::Full => "full",
            WhyNot::Refused => "refused",
            WhyNot::OtherFamily => "other-family",
        }
    }
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyNot::NotReady => "a side is not set up yet, or on hold",
            WhyNot::Transformed => "the packets are changed on their way, as with SRTP on a side under keys of our own",
            WhyNot::NoSource => "no packet has come from that side yet, so where from is not settled",
            WhyNot::Fax => "a fax (T.38) is carried, whose datagrams are checked one by one",
            WhyNot::Digits => "digits are converted between telephone-events and INFO, which takes every packet",
            WhyNot::Full => "as many streams as fit are carried that way already",
            WhyNot::Refused => "the kernel would not take the entry, or has no route by an interface that takes part",
            WhyNot::OtherFamily => "one side speaks IPv4 and the other IPv6, between which nftables does not translate",
        })
    }
}

impl Stream {
    /// Where RTP of `side`'s peer comes from: the address the latch has settled on.
    pub fn source(&self, side: Side) -> Result<SocketAddr, WhyNot> {
        let (near, _, _) = self.way(side);
        if !near.latch.is_ready() {
            return Err(WhyNot::NotReady);
        }
        near.latch.latched().ok_or(WhyNot::NoSource)
    }

    /// How RTP from `from`'s peer may be carried without us, as things stand; to be asked again after each packet and each command.
    pub fn shortcut(&self, from: Side) -> Result<Shortcut, WhyNot> {
        let (near, far, path) = self.way(from);
        if !path.is_plain() && !path.is_opaque() {
            return Err(if path.is_open() { WhyNot::Transformed } else { WhyNot::NotReady });
        }
        if path.is_held {
            return Err(WhyNot::NotReady);
        }
        if self.fax.t38.is_some() {
            return Err(WhyNot::Fax);
        }
        if self.converts_digits() {
            return Err(WhyNot::Digits);
        }
        let to = far.latch.destination(Channel::Rtp).map_err(|_| WhyNot::NotReady)?;
        if !near.latch.is_ready() {
            return Err(WhyNot::NotReady);
        }
        let source = near.latch.latched().ok_or(WhyNot::NoSource)?;
        let ssrc = path.reception.current().ok_or(WhyNot::NoSource)?;
        // Where they are encrypted for another there is nothing to listen to.
        let listened = if path.is_opaque() { 0 } else { self.fax.events() };
        let payload_types = path.payloads.unchanged() & !(listened | LIKE_RTCP);
        if payload_types == 0 {
            return Err(WhyNot::Transformed);
        }
        Ok(Shortcut { from: source, to, ssrc, payload_types, clock: path.reception.clock() })
    }

    /// Where counting a source that came from `from`'s peer has got to.
    pub fn pace(&self, from: Side, ssrc: u32) -> Option<Pace> {
        self.way(from).2.reception.pace_of(ssrc)
    }

    /// Takes in what was carried without us of `ssrc` from `from`'s peer, as if it had come through us.
    pub fn absorb(&mut self, from: Side, ssrc: u32, carried: &Carried) {
        if carried.packets == 0 {
            return;
        }
        let (near, far, path) = match from {
            Side::A => (&mut self.a, &mut self.b, &mut self.from_a),
            Side::B => (&mut self.b, &mut self.a, &mut self.from_b),
        };
        near.counts.received += carried.packets;
        near.counts.received_bytes += carried.bytes;
        near.counts.absorbed += carried.packets;
        near.counts.first.get_or_insert(carried.last);
        near.counts.last = near.counts.last.max(Some(carried.last));
        far.counts.sent += carried.packets;
        far.counts.first_sent.get_or_insert(carried.last);
        far.counts.last_sent = far.counts.last_sent.max(Some(carried.last));
        path.went_past(ssrc, carried.pace.highest);
        path.reception.absorb(ssrc, carried);
        self.heard = self.heard.max(carried.last);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::control::{Addresses, Configuration, Content, LatchPolicy, Protection, Report, StreamId};
    use crate::media::payloads::Payloads;
    use crate::media::relay::Verdict;
    use crate::sdp::direction::Direction;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn addresses(ip: &str) -> Addresses {
        Addresses { rtp: at(&format!("{ip}:4000")), rtcp: at(&format!("{ip}:4001")) }
    }

    fn ready(stream: &mut Stream, side: Side, ip: &str) {
        let plain = Some(Protection::Plain);
        stream.configure(Time::ZERO, side, Configuration::new(Some(Some(addresses(ip))), LatchPolicy::SignalledAddress, plain.clone(), plain)).unwrap();
    }

    fn stream() -> Stream {
        let mut stream = Stream::new(StreamId(1), Some(Duration::from_secs(5)), Time::ZERO);
        ready(&mut stream, Side::A, "192.0.2.1");
        ready(&mut stream, Side::B, "192.0.2.2");
        stream
    }

    fn packet(stream: &mut Stream, now: Time, sequence: u16, timestamp: u32) -> Verdict {
        let mut bytes = vec![0x80, 0];
        bytes.extend_from_slice(&sequence.to_be_bytes());
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&7u32.to_be_bytes());
        bytes.resize(172 + 160, 0xd5);
        stream.packet(now, Side::A, Channel::Rtp, at("192.0.2.1:4444"), &mut bytes, 172)
    }

    fn tick(n: u32) -> Time {
        // Every third packet is late by 3 ms.
        Time::from_millis(20 * u64::from(n) + if n.is_multiple_of(3) { 3 } else { 0 })
    }

    #[test]
    fn only_a_settled_plain_source_has_one() {
        let mut stream = stream();
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::NoSource));
        packet(&mut stream, tick(0), 5, 0);
        let shortcut = stream.shortcut(Side::A).unwrap();
        assert_eq!((shortcut.from, shortcut.to, shortcut.ssrc), (at("192.0.2.1:4444"), at("192.0.2.2:4000"), 7));
        assert_eq!(stream.shortcut(Side::B), Err(WhyNot::NoSource), "each direction for itself");
    }

    #[test]
    fn none_while_new_held_or_carrying_fax() {
        let mut stream = stream();
        packet(&mut stream, tick(0), 5, 0);
        ready(&mut stream, Side::A, "192.0.2.1");
        assert!(stream.shortcut(Side::A).is_ok(), "a refresh changes nothing");
        stream.configure(Time::ZERO, Side::B, Configuration::new(Some(None), LatchPolicy::Strict, None, None)).unwrap();
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::NotReady));
        ready(&mut stream, Side::B, "192.0.2.9");
        assert_eq!(stream.shortcut(Side::A).unwrap().to, at("192.0.2.9:4000"));
        let direction = |direction| Configuration { direction: Some(direction), latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
        stream.configure(Time::ZERO, Side::B, direction(Direction::SendOnly)).unwrap();
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::NotReady), "B takes nothing now");
        stream.configure(Time::ZERO, Side::B, direction(Direction::SendRecv)).unwrap();
        stream.carry(Time::ZERO, Content::Udptl);
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::Fax));
        stream.carry(Time::ZERO, Content::default());
        ready(&mut stream, Side::A, "192.0.2.8");
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::NoSource), "a new remote opens the latch");
        assert_eq!(Stream::new(StreamId(2), None, Time::ZERO).shortcut(Side::A), Err(WhyNot::NotReady));
    }

    #[test]
    fn what_we_listen_for_and_what_looks_like_rtcp_stays_with_us() {
        let mut stream = stream();
        stream.carry(Time::ZERO, Content::Rtp { events: 1 << 101 });
        packet(&mut stream, tick(0), 5, 0);
        let passes = |payload_type: u32| stream.shortcut(Side::A).unwrap().payload_types >> payload_type & 1 == 1;
        assert!(passes(0) && passes(8) && passes(63) && passes(96) && passes(127));
        assert!(!passes(101) && !passes(64) && !passes(72) && !passes(95));
    }

    #[test]
    fn a_payload_type_that_changes_or_stops_stays_with_us() {
        let mut stream = stream();
        let payloads = Some(Payloads::of([(0, 0), (97, 111), (98, 98)]));
        stream.configure(Time::ZERO, Side::A, Configuration { payloads, latch: LatchPolicy::SignalledAddress, ..Configuration::default() }).unwrap();
        packet(&mut stream, tick(0), 5, 0);
        assert_eq!(stream.shortcut(Side::A).unwrap().payload_types, 1 | 1 << 98);
    }

    #[test]
    fn a_payload_type_that_changes_its_number_or_was_not_agreed_stays_with_us() {
        let mut stream = stream();
        let agree = |stream: &mut Stream, pairs: &[(u8, u8)]| {
            let payloads = Some(Payloads::of(pairs.iter().copied()));
            let set = Configuration { payloads, latch: LatchPolicy::SignalledAddress, ..Configuration::default() };
            stream.configure(Time::ZERO, Side::A, set).unwrap();
        };
        packet(&mut stream, tick(0), 5, 0);
        agree(&mut stream, &[(0, 0), (8, 18), (101, 96)]);
        assert_eq!(stream.shortcut(Side::A).unwrap().payload_types, 1);
        agree(&mut stream, &[(0, 8)]);
        assert_eq!(stream.shortcut(Side::A), Err(WhyNot::Transformed));
    }

    /// What the kernel's program does (ebpf/relay.bpf.c), for packets it would take.
    struct Elsewhere {
        carried: Carried,
    }

    impl Elsewhere {
        fn packet(&mut self, now: Time, sequence: u16, timestamp: u32) {
            let Carried { packets, bytes, last, gaps, pace } = &mut self.carried;
            (*packets, *bytes, *last) = (*packets + 1, *bytes + 172, now);
            let ahead = sequence.wrapping_sub(pace.highest as u16);
            if ahead < 3000 {
                *gaps += u32::from(ahead > 1);
                pace.highest += u32::from(ahead);
            }
            let transit = ((now.as_nanos() / 1000 * 8000 / 1_000_000) as u32).wrapping_sub(timestamp);
            let step = (transit.wrapping_sub(pace.transit) as i32).unsigned_abs();
            (pace.timestamp, pace.transit) = (timestamp, transit);
            pace.jitter = pace.jitter + step - ((pace.jitter + 8) >> 4);
        }
    }

    #[test]
    fn it_counts_the_same_whichever_way_packets_went() {
        let (mut direct, mut short) = (stream(), stream());
        let mut kernel: Option<Elsewhere> = None;
        // With losses, two packets the wrong way round, and across the wrap of the sequence number.
        let order = (0..400u32).filter(|n| n % 37 != 5).map(|n| {
            if n == 200 {
                201
            } else if n == 201 {
                200
            } else {
                n
            }
        });
        for n in order {
            let (now, sequence, timestamp) = (tick(n), (65_400 + n) as u16, n * 160);
            packet(&mut direct, now, sequence, timestamp);
            // By turns: some packets through us, then many without us.
            if n % 100 < 10 {
                if let Some(elsewhere) = kernel.take() {
                    short.absorb(Side::A, 7, &elsewhere.carried);
                }
                packet(&mut short, now, sequence, timestamp);
            } else {
                let pace = short.pace(Side::A, 7).unwrap();
                kernel.get_or_insert(Elsewhere { carried: Carried { pace, ..Carried::default() } }).packet(now, sequence, timestamp);
            }
        }
        short.absorb(Side::A, 7, &kernel.unwrap().carried);
        let (direct, mut short): (Report, Report) = (direct.report(), short.report());
        assert_eq!(std::mem::take(&mut short.a.absorbed), 351, "which the record shows");
        assert_eq!(direct, short);
        assert!(direct.a.lost == 11 && direct.a.jitter_us > 1_000 && direct.a.received == 389, "{direct:?}");
    }

    #[test]
    fn silence_counts_from_the_last_packet_whichever_way_it_went() {
        let mut stream = stream();
        packet(&mut stream, tick(0), 5, 0);
        let pace = stream.pace(Side::A, 7).unwrap();
        let last = Time::from_millis(9_000);
        stream.absorb(Side::A, 7, &Carried { packets: 400, bytes: 400 * 172, last, pace, ..Carried::default() });
        assert_eq!(stream.silent_since(Time::from_millis(13_999)), None);
        assert_eq!(stream.silent_since(Time::from_millis(14_000)), Some(last));
        assert_eq!(stream.report().a.last, Some(last));
        stream.absorb(Side::A, 7, &Carried { last: Time::from_millis(99_000), ..Carried::default() });
        assert_eq!(stream.report().a.last, Some(last), "nothing carried, nothing heard");
    }
}
