//! What was counted on a stream, and what is known of its two sides: the material of call records, metrics and `media::verdict`.

use std::net::{IpAddr, SocketAddr};

use super::{LatchPolicy, Way};
use crate::media::shortcut::WhyNot;
use crate::time::Time;

/// Everything counted on one stream, both sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub a: SideReport,
    pub b: SideReport,
}

/// One side as seen by us: `received` is from that side's peer, `sent` is to it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideReport {
    pub received: u64,
    pub received_bytes: u64,
    pub sent: u64,
    /// Of `received` those the kernel carried without us.
    pub absorbed: u64,
    /// How its packets travelled last, and why by no shorter way where one was asked for. `None`: no stream was open.
    pub path: Option<(Way, Option<WhyNot>)>,
    /// Its packets go on as they came, encrypted, under a key that the other side's peer has as well.
    pub opaque: bool,
    pub rtcp_received: u64,
    pub rtcp_sent: u64,
    /// Of `rtcp_sent` those we made ourselves.
    pub rtcp_made: u64,
    /// Digits the peer sent as telephone-events, that signalling was told; those sent to it as such; those that were too many, or came on hold.
    pub digits_heard: u64,
    pub digits_sent: u64,
    pub digits_lost: u64,
    /// UDPTL datagrams of T.38 fax.
    pub fax_received: u64,
    pub fax_sent: u64,
    /// UDPTL datagrams that never came, by their sequence numbers; their content may have come with a later one.
    pub fax_lost: u64,
    /// Packets that never came, by RTP sequence numbers (RFC 3550 A.3): expected minus received, not below zero.
    pub lost: u64,
    /// Runs of packets that never came: how many gaps `lost` was lost in.
    pub gaps: u64,
    /// Of the last RTP that was no event or the like: a static one (RFC 3551 §6).
    pub payload_type: Option<u8>,
    /// Interarrival jitter, RFC 3550 A.8, in microseconds at the payload's clock.
    pub jitter_us: u32,
    /// Between us and the peer and back, RFC 3550 §6.4.1, in microseconds; `None`: its RTCP has not told yet.
    pub round_trip_us: Option<u32>,
    /// The source heard last, as a report block of RFC 3550 §6.4.1 would tell of it from its first packet on.
    pub heard: Option<Heard>,
    /// What the peer's RTCP says of what it gets from us.
    pub told: Option<Told>,
    pub refused_source: u64,
    pub refused_authentication: u64,
    pub refused_replay: u64,
    pub refused_malformed: u64,
    /// Of `refused_malformed`: DTLS handshakes, STUN, RTP on the RTCP port or the reverse, datagrams too long to relay.
    pub refused_dtls: u64,
    pub refused_stun: u64,
    pub refused_channel: u64,
    pub refused_oversized: u64,
    /// Packets that came before the other side could take them, or while it was on hold, or under a key that may protect no more.
    pub refused_not_ready: u64,
    /// Of `refused_not_ready`: while one of the sides was on hold; under a spent key or from more sources than a key may serve.
    pub refused_on_hold: u64,
    pub refused_key_spent: u64,
    /// RTP under a payload type nobody agreed to.
    pub wrong_type: Option<WrongType>,
    /// The first and the last packet accepted, RTP or RTCP or UDPTL.
    pub first: Option<Time>,
    pub last: Option<Time>,
    /// The last RTP packet accepted.
    pub last_rtp: Option<Time>,
    /// The first and the last RTP packet sent to the peer.
    pub first_sent: Option<Time>,
    pub last_sent: Option<Time>,
    /// Where the peer's description says it is.
    pub signalled: Signalled,
    /// By which rule its packets are taken.
    pub latch: LatchPolicy,
    /// The address packets are accepted from, once known.
    pub latched: Option<SocketAddr>,
    /// Times that address changed in the middle, to one that proved to be the same sender.
    pub relatched: u64,
    /// The peer's description says that it takes no media now (it has the other side on hold), or sends none.
    pub takes_none: bool,
    pub sends_none: bool,
    /// Packets from elsewhere than the latch allows.
    pub foreign: Option<Foreign>,
    /// Packets that fail authentication, and those that came before or too late, since the last that was taken.
    pub failing: Option<Run>,
    pub replaying: Option<Run>,
    /// The key its packets are held against, where SRTP was agreed.
    pub rekeyed: Option<Rekeyed>,
    /// What the network said of packets sent to the peer: of RTP and what goes to its port, and of RTCP sent to a port of its own.
    pub unreachable: Option<Unreachable>,
    pub rtcp_unreachable: Option<Unreachable>,
    /// Packets for the peer that this machine would not send.
    pub send_failed: u64,
}

impl SideReport {
    /// So many digits that were to be sent were not.
    pub(crate) fn digits_gone(&mut self, count: u64) {
        self.digits_sent = self.digits_sent.saturating_sub(count);
        self.digits_lost += count;
    }
}

/// Where the peer of a side is by its description.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Signalled {
    /// It has not said yet.
    #[default]
    Nothing,
    /// On hold by an unspecified address, or switched off.
    Held,
    /// Where it takes RTP.
    At(SocketAddr),
}

/// Packets one after the other that share a fate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub packets: u64,
    pub first: Time,
    pub last: Time,
}

impl Run {
    /// What is left of a run once something else came at `broken`.
    pub fn unbroken(self, broken: Option<Time>) -> Option<Run> {
        broken.is_none_or(|broken| broken <= self.last).then_some(self)
    }

    /// One more at `now`. `broken`: when something else came last; a run from before that is over.
    pub fn more(run: Option<Run>, now: Time, broken: Option<Time>) -> Run {
        match run.and_then(|run| run.unbroken(broken)) {
            Some(run) => Run { packets: run.packets.saturating_add(1), last: now, ..run },
            None => Run { packets: 1, first: now, last: now },
        }
    }
}

/// Packets refused for where they came from: the last address, and how many came from it in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Foreign {
    pub from: SocketAddr,
    pub run: Run,
}

/// How often the key of a side has been set, and when last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rekeyed {
    /// 1: the one the call began with.
    pub number: u32,
    pub at: Time,
}

/// RTP under payload types that the answer does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WrongType {
    pub packets: u64,
    /// Of the last one.
    pub payload_type: u8,
    pub last: Time,
}

/// ICMP errors in answer to what was sent to the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreachable {
    pub errors: u64,
    pub first: Time,
    /// The last one: what, about packets to where, said by whom.
    pub last: Time,
    pub icmp: Icmp,
    pub to: Option<SocketAddr>,
    pub by: Option<IpAddr>,
}

/// What an ICMP or ICMPv6 error says (RFC 792, RFC 1122 §3.2.2.1, RFC 4443 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Icmp {
    /// Nobody listens on the port.
    Port,
    Host,
    Network,
    /// A firewall says so.
    Prohibited,
    TooBig,
    Other {
        kind: u8,
        code: u8,
    },
}

/// What was received of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heard {
    pub ssrc: u32,
    /// In 256ths.
    pub fraction_lost: u8,
    pub lost: u32,
    /// Cycles and sequence number.
    pub highest: u32,
    /// Units of the payload's clock.
    pub jitter: u32,
}

/// The last report block of the peer about what we send it (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Told {
    pub at: Time,
    /// Of the packets since the report before, in 256ths.
    pub fraction_lost: u8,
    pub lost: u32,
    /// Units of the payload's clock.
    pub jitter: u32,
}
