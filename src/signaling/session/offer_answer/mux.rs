//! RTCP on the port of RTP (RFC 5761, RFC 8858) in one leg's descriptions, for a peer that policy allows it with and that is not keyed by DTLS (for one that
//! is: `dtls`). We offer it with `a=rtcp` beside it, so that a peer without it knows where RTCP goes, and accept it where it is offered.
//!
//! On a shared port RTP of the payload types 64 to 95 looks like RTCP when its marker is set (RFC 5761 §4), so a stream that lists one of them keeps its two ports.

use super::stream::{Kind, Stream};
use crate::policy::security_mode::MediaPlan;
use crate::policy::verdict::Reason;
use crate::sdp::Media;

/// What the description we write last says of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Said {
    #[default]
    Nothing,
    Offered,
    Accepted,
}

/// Whether an offer of ours has it.
pub(super) fn offering(plan: &MediaPlan, stream: &Stream) -> Said {
    if is_allowed(plan, stream) && !looks_like_rtcp(stream) { Said::Offered } else { Said::Nothing }
}

/// Whether an offer's is to be accepted.
///
/// Errors: `MediaMux`, where the peer takes nothing else and it cannot be.
pub(super) fn accepted(plan: &MediaPlan, media: &Media, stream: &Stream) -> Result<bool, Reason> {
    let (offered, insists) = (has(media, "rtcp-mux"), has(media, "rtcp-mux-only"));
    match is_allowed(plan, stream) && (offered || insists) {
        true if looks_like_rtcp(stream) && insists => Err(Reason::MediaMux),
        allowed => Ok(allowed && !looks_like_rtcp(stream)),
    }
}

/// Whether an answer agrees to what we `said`.
///
/// Errors: `MediaMux`, where it does and lists payload types that cannot share a port.
pub(super) fn agreed(said: Said, media: &Media, stream: &Stream) -> Result<bool, Reason> {
    match said != Said::Nothing && !stream.is_off && has(media, "rtcp-mux") {
        true if looks_like_rtcp(stream) => Err(Reason::MediaMux),
        agreed => Ok(agreed),
    }
}

fn is_allowed(plan: &MediaPlan, stream: &Stream) -> bool {
    plan.rtcp_mux() && !plan.is_dtls() && stream.kind == Kind::Audio && !stream.is_off
}

fn looks_like_rtcp(stream: &Stream) -> bool {
    stream.formats.iter().filter_map(|format| format.parse::<u8>().ok()).any(|payload_type| (64..=95).contains(&payload_type))
}

fn has(media: &Media, name: &str) -> bool {
    media.attributes.iter().any(|attribute| attribute.is(name))
}
