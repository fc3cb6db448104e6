//! The sound of a call, one direction at a time, as call records and `show media` have it: what was counted, how good it was, and the verdict.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::wall::Anchor;
use crate::media::control::{Icmp, LatchPolicy, Report, Side, SideReport, Signalled, Unreachable};
use crate::media::e_model::{self, Score};
use crate::media::verdict::{self, Cause, Names, Talk};
use crate::signaling::fact::{CallRecord, LegRecord};

/// One direction: what came in on one leg and went out on the other.
#[derive(Serialize)]
pub struct Direction {
    received: u64,
    received_bytes: u64,
    sent: u64,
    /// Of `received` what the kernel carried without us.
    #[serde(skip_serializing_if = "is_zero")]
    kernel: u64,
    /// How its packets travelled last; and in one word why by no shorter way, where one was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path_why: Option<&'static str>,
    /// `shared`: the packets went on as they came, under a key that both peers have.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<&'static str>,
    /// Of RTP: the first packet accepted, the last, and the last sent on.
    first: Option<String>,
    last: Option<String>,
    last_sent: Option<String>,
    lost: u64,
    loss_percent: f64,
    jitter_ms: f64,
    /// Between us and the one who speaks, and back.
    round_trip_ms: Option<f64>,
    /// ITU-T G.107; null where too little came or the codec has no values in G.113.
    mos: Option<f64>,
    /// What the listener's RTCP says it has not got of it, percent of its last interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost_beyond_percent: Option<f64>,
    rtcp_received: u64,
    rtcp_sent: u64,
    /// Of those sent, the ones made here because the other side sent none.
    #[serde(skip_serializing_if = "is_zero")]
    rtcp_made: u64,
    /// UDPTL of T.38.
    #[serde(skip_serializing_if = "Option::is_none")]
    fax: Option<FaxDatagrams>,
    /// Where the speaker said it is, and where it was really heard, by which rule.
    signalled: Option<SocketAddr>,
    from: Option<SocketAddr>,
    latch: LatchPolicy,
    #[serde(skip_serializing_if = "is_zero")]
    relatched: u64,
    refused: Refused,
    /// ICMP errors about what was sent to the listener; of RTCP apart, which says nothing about what is heard.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable: Option<Undelivered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtcp_unreachable: Option<Undelivered>,
    #[serde(skip_serializing_if = "is_zero")]
    send_failed: u64,
}

#[derive(Serialize)]
struct FaxDatagrams {
    received: u64,
    sent: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Refused {
    source: u64,
    /// The last of the addresses they came from.
    #[serde(skip_serializing_if = "Option::is_none")]
    elsewhere: Option<SocketAddr>,
    authentication: u64,
    replay: u64,
    malformed: u64,
    /// Of the malformed ones: DTLS, STUN, RTP on the RTCP port or the reverse, longer than any we relay.
    #[serde(skip_serializing_if = "is_zero")]
    dtls: u64,
    #[serde(skip_serializing_if = "is_zero")]
    stun: u64,
    #[serde(skip_serializing_if = "is_zero")]
    wrong_port: u64,
    #[serde(skip_serializing_if = "is_zero")]
    oversized: u64,
    not_ready: u64,
    /// Of those not ready: on hold, under a spent key.
    #[serde(skip_serializing_if = "is_zero")]
    on_hold: u64,
    #[serde(skip_serializing_if = "is_zero")]
    key_spent: u64,
    /// Packets under a payload type nobody agreed to, and the last such type.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_type: Option<(u64, u8)>,
}

#[derive(Serialize)]
struct Undelivered {
    errors: u64,
    icmp: &'static str,
    by: Option<IpAddr>,
    to: Option<SocketAddr>,
    last: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Direction {
    pub fn of(from: &SideReport, to: &SideReport, codec: Option<&str>, anchor: &Anchor) -> Direction {
        let loss = loss(from);
        let at = |time: Option<crate::time::Time>| time.map(|time| anchor.rfc3339(time));
        Direction {
            received: from.received,
            received_bytes: from.received_bytes,
            sent: to.sent,
            kernel: from.absorbed,
            path: from.path.map(|(way, _)| way.to_string()),
            path_why: from.path.and_then(|(_, why)| why).map(|why| why.code()),
            keys: from.opaque.then_some("shared"),
            first: at(from.first),
            last: at(from.last_rtp),
            last_sent: at(to.last_sent),
            lost: from.lost,
            loss_percent: hundredths(loss),
            jitter_ms: f64::from(from.jitter_us) / 1000.0,
            round_trip_ms: from.round_trip_us.map(|us| f64::from(us) / 1000.0),
            mos: score(from, to, codec).map(|score| hundredths(score.mos)),
            lost_beyond_percent: to.told.map(|told| hundredths(f64::from(told.fraction_lost) * 100.0 / 256.0)),
            rtcp_received: from.rtcp_received,
            rtcp_sent: to.rtcp_sent,
            rtcp_made: to.rtcp_made,
            fax: (from.fax_received + to.fax_sent > 0).then_some(FaxDatagrams { received: from.fax_received, sent: to.fax_sent, lost: from.fax_lost }),
            signalled: if let Signalled::At(address) = from.signalled { Some(address) } else { None },
            from: from.latched,
            latch: from.latch,
            relatched: from.relatched,
            refused: Refused::of(from),
            unreachable: to.unreachable.map(|what| undelivered(what, anchor)),
            rtcp_unreachable: to.rtcp_unreachable.map(|what| undelivered(what, anchor)),
            send_failed: to.send_failed,
        }
    }
}

impl Refused {
    fn of(side: &SideReport) -> Refused {
        Refused {
            source: side.refused_source,
            elsewhere: side.foreign.map(|foreign| foreign.from),
            authentication: side.refused_authentication,
            replay: side.refused_replay,
            malformed: side.refused_malformed,
            dtls: side.refused_dtls,
            stun: side.refused_stun,
            wrong_port: side.refused_channel,
            oversized: side.refused_oversized,
            not_ready: side.refused_not_ready,
            on_hold: side.refused_on_hold,
            key_spent: side.refused_key_spent,
            payload_type: side.wrong_type.map(|what| (what.packets, what.payload_type)),
        }
    }
}

fn undelivered(what: Unreachable, anchor: &Anchor) -> Undelivered {
    let icmp = match what.icmp {
        Icmp::Port => "port",
        Icmp::Host => "host",
        Icmp::Network => "network",
        Icmp::Prohibited => "prohibited",
        Icmp::TooBig => "too_big",
        Icmp::Other { .. } => "other",
    };
    Undelivered { errors: what.errors, icmp, by: what.by, to: what.to, last: anchor.rfc3339(what.last) }
}

/// Percent of what should have come.
fn loss(from: &SideReport) -> f64 {
    let expected = from.received.saturating_add(from.lost);
    if expected == 0 { 0.0 } else { 100.0 * from.lost as f64 / expected as f64 }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

pub(super) fn score(from: &SideReport, to: &SideReport, codec: Option<&str>) -> Option<Score> {
    // What really came says more than what was agreed first.
    let codec = from.payload_type.and_then(e_model::codec_of_type).or_else(|| codec.and_then(e_model::codec))?;
    e_model::score(from, to, codec)
}

/// Why a direction is heard, or is not.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Told {
    /// Stable, such as `source.nothing`.
    pub cause: &'static str,
    /// It ought to be heard and is not, or not well.
    pub fault: bool,
    /// One sentence.
    pub says: String,
}

/// Both directions, A to B first, of a call between peers of these names.
pub fn told(report: &Report, a: &str, b: &str, talk: &Talk, anchor: &Anchor) -> [Told; 2] {
    let (a, b) = if a == b { (format!("{a}(caller)"), format!("{b}(called)")) } else { (String::from(a), String::from(b)) };
    let clock = |at| anchor.clock(at).split('.').next().unwrap_or_default().to_owned();
    let tell = |from: &SideReport, to: &SideReport, names: Names| {
        let cause: Cause = verdict::explain(from, to, talk);
        Told { cause: cause.code(), fault: cause.is_fault(), says: cause.sentence(&names, &clock) }
    };
    [tell(&report.a, &report.b, Names { from: &a, to: &b }), tell(&report.b, &report.a, Names { from: &b, to: &a })]
}

/// Of a call that is over.
pub(super) fn of_record(record: &CallRecord, anchor: &Anchor) -> Option<[Told; 2]> {
    let talk = Talk { answered: record.answered, until: record.ended };
    let name = |side| leg_at_end(record, side).map_or("-", |leg| &*leg.peer);
    record.media.as_ref().map(|report| told(report, name(Side::A), name(Side::B), &talk, anchor))
}

/// Who was on a side when the call ended: after a transfer its target.
pub(super) fn leg_at_end(record: &CallRecord, side: Side) -> Option<&LegRecord> {
    let transferred = record.transfers.iter().rev().find(|transfer| transfer.side == side && transfer.is_done());
    match (transferred.and_then(|transfer| transfer.target.as_ref()), side) {
        (Some(leg), _) => Some(leg),
        (None, Side::A) => Some(&record.a),
        (None, Side::B) => record.b.as_ref(),
    }
}

/// The codec that was agreed, the same on both legs.
pub(super) fn codec_at_end(record: &CallRecord) -> Option<&str> {
    [Side::B, Side::A].into_iter().find_map(|side| leg_at_end(record, side)?.codec.as_deref())
}
