//! What a call's legs were told, and told, of their media, in the form HOMER keeps RTCP in: the JSON of captagent and rtpengine (RFC 3550 §6.4.2, a receiver
//! report each). Made while the call is up, each over the time since the one before, and once more when it is over.

use std::net::SocketAddr;

use serde::Serialize;

use crate::media::control::{Heard, Report, Side, SideReport, Signalled};
use crate::time::Time;

/// One report.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct MediaReport {
    /// With whose peer.
    pub side: Side,
    /// Where its media is.
    pub peer: SocketAddr,
    /// Of the border to the peer about what came from it, or the other way round.
    pub is_ours: bool,
    pub json: String,
}

/// What was reported of a call last, by its A and its B side.
#[derive(Clone, Default, Debug)]
pub(super) struct Reported {
    heard: [Option<Heard>; 2],
    told: [Option<Time>; 2],
}

#[derive(Serialize)]
struct ReceiverReport {
    /// Who reports; 0: nobody was heard there.
    ssrc: u32,
    r#type: u8,
    report_count: u8,
    report_blocks: [Block; 1],
}

#[derive(Serialize)]
struct Block {
    /// Who is reported on.
    source_ssrc: u32,
    fraction_lost: u8,
    packets_lost: u32,
    highest_seq_no: u32,
    ia_jitter: u32,
    lsr: u32,
    dlsr: u32,
}

const RECEIVER_REPORT: u8 = 201;

/// At most two for each leg: what we heard of its peer, and what that said of what it heard of us, unless that was reported before.
pub(super) fn of(media: &Report, before: &mut Reported) -> Vec<MediaReport> {
    let mut reports = Vec::new();
    for (side, near, far) in [(Side::A, &media.a, &media.b), (Side::B, &media.b, &media.a)] {
        let Some(peer) = peer(near) else { continue };
        let at = usize::from(side == Side::B);
        // What goes out to a leg is the other's stream, under its own SSRC.
        let (theirs, ours) = (near.heard.map_or(0, |heard| heard.ssrc), far.heard.map_or(0, |heard| heard.ssrc));
        if let Some(heard) = near.heard {
            let block = Block {
                source_ssrc: heard.ssrc,
                fraction_lost: fraction_since(before.heard[at].replace(heard), heard),
                packets_lost: heard.lost,
                highest_seq_no: heard.highest,
                ia_jitter: heard.jitter,
                lsr: 0,
                dlsr: 0,
            };
            reports.push(MediaReport { side, peer, is_ours: true, json: json(ours, block) });
        }
        if let Some(told) = near.told.filter(|told| before.told[at] != Some(told.at)) {
            before.told[at] = Some(told.at);
            let block = Block {
                source_ssrc: ours,
                fraction_lost: told.fraction_lost,
                packets_lost: told.lost,
                highest_seq_no: 0,
                ia_jitter: told.jitter,
                lsr: 0,
                dlsr: 0,
            };
            reports.push(MediaReport { side, peer, is_ours: false, json: json(theirs, block) });
        }
    }
    reports
}

/// In 256ths, of the packets expected since the report before (RFC 3550 A.3), or from the source's first one on.
fn fraction_since(before: Option<Heard>, now: Heard) -> u8 {
    let Some(before) = before.filter(|before| before.ssrc == now.ssrc) else { return now.fraction_lost };
    let (expected, lost) = (now.highest.wrapping_sub(before.highest), now.lost.saturating_sub(before.lost));
    // A source that begins anew lower down expects nothing of the kind; all of them lost is told as 255.
    if expected == 0 || expected > u32::MAX / 2 { 0 } else { u8::try_from(u64::from(lost) * 256 / u64::from(expected)).unwrap_or(u8::MAX) }
}

fn peer(side: &SideReport) -> Option<SocketAddr> {
    let signalled = if let Signalled::At(address) = side.signalled { Some(address) } else { None };
    side.latched.or(signalled)
}

fn json(ssrc: u32, block: Block) -> String {
    // Numbers cannot fail to be JSON.
    serde_json::to_string(&ReceiverReport { ssrc, r#type: RECEIVER_REPORT, report_count: 1, report_blocks: [block] }).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::control::Told;

    fn heard(highest: u32, lost: u32) -> Heard {
        Heard { ssrc: 7, fraction_lost: 1, lost, highest, jitter: 0 }
    }

    fn lost(report: &MediaReport) -> u64 {
        serde_json::from_str::<serde_json::Value>(&report.json).unwrap()["report_blocks"][0]["fraction_lost"].as_u64().unwrap()
    }

    #[test]
    fn each_report_tells_of_the_time_since_the_one_before() {
        let (mut media, mut before) = (Report::default(), Reported::default());
        media.a.latched = Some("192.0.2.7:4000".parse().unwrap());
        media.a.heard = Some(heard(1000, 10));
        media.a.told = Some(Told { at: Time::from_millis(5), fraction_lost: 9, lost: 3, jitter: 1 });
        let first = of(&media, &mut before);
        assert_eq!(first.iter().map(|report| (report.is_ours, lost(report))).collect::<Vec<_>>(), [(true, 1), (false, 9)]);
        media.a.heard = Some(heard(1100, 60));
        let second = of(&media, &mut before);
        assert_eq!(
            second.iter().map(|report| (report.is_ours, lost(report))).collect::<Vec<_>>(),
            [(true, 128)],
            "half of a hundred; the peer has said nothing new"
        );
        media.a.told = Some(Told { at: Time::from_millis(9), fraction_lost: 0, lost: 3, jitter: 1 });
        assert_eq!(of(&media, &mut before).iter().map(lost).collect::<Vec<_>>(), [0, 0], "nothing was expected since");
    }

    #[test]
    fn odd_numbers_are_no_loss_and_no_panic() {
        for (before, now, fraction) in [((100, 0), (200, 100), 255), ((200, 5), (100, 0), 0), ((0, 9), (10, 4), 0), ((u32::MAX, 0), (9, 5), 128)] {
            assert_eq!(fraction_since(Some(heard(before.0, before.1)), heard(now.0, now.1)), fraction, "{before:?} {now:?}");
        }
        assert_eq!(fraction_since(Some(Heard { ssrc: 8, ..heard(900, 0) }), heard(1000, 0)), 1, "another source: since its first packet");
    }
}
