//! What a call's legs were told, and told, of their media, in the form HOMER keeps RTCP in: the JSON of captagent and rtpengine (RFC 3550 §6.4.2, a receiver
//! report each). Made once, when the call is over, over the whole of it.

use std::net::SocketAddr;

use serde::Serialize;

use crate::media::control::{Side, SideReport, Signalled};
use crate::signaling::fact::CallRecord;

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

/// At most two for each leg: what we heard of its peer, and what that said last of what it heard of us.
pub(super) fn of(record: &CallRecord) -> Vec<MediaReport> {
    let Some(media) = &record.media else { return Vec::new() };
    let mut reports = Vec::new();
    for (side, near, far) in [(Side::A, &media.a, &media.b), (Side::B, &media.b, &media.a)] {
        let Some(peer) = peer(near) else { continue };
        // What goes out to a leg is the other's stream, under its own SSRC.
        let (theirs, ours) = (near.heard.map_or(0, |heard| heard.ssrc), far.heard.map_or(0, |heard| heard.ssrc));
        if let Some(heard) = near.heard {
            let block = Block {
                source_ssrc: heard.ssrc,
                fraction_lost: heard.fraction_lost,
                packets_lost: heard.lost,
                highest_seq_no: heard.highest,
                ia_jitter: heard.jitter,
                lsr: 0,
                dlsr: 0,
            };
            reports.push(MediaReport { side, peer, is_ours: true, json: json(ours, block) });
        }
        if let Some(told) = near.told {
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

fn peer(side: &SideReport) -> Option<SocketAddr> {
    let signalled = if let Signalled::At(address) = side.signalled { Some(address) } else { None };
    side.latched.or(signalled)
}

fn json(ssrc: u32, block: Block) -> String {
    // Numbers cannot fail to be JSON.
    serde_json::to_string(&ReceiverReport { ssrc, r#type: RECEIVER_REPORT, report_count: 1, report_blocks: [block] }).unwrap_or_default()
}
