//! Why a packet goes no further, and how that is counted on the side it came from.

use std::fmt;
use std::net::SocketAddr;

use crate::media::control::{Foreign, Run, SideReport, WrongType};
use crate::media::demux::Kind;
use crate::media::latch::Refused;
use crate::media::packet::Malformed;
use crate::time::Time;

/// Why a packet goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// Neither RTP nor RTCP: STUN, DTLS, keep-alive bytes, junk (RFC 7983).
    NotMedia,
    /// RTP on the RTCP port, or the other way round where rtcp-mux was not negotiated.
    WrongChannel,
    /// A header, an extension, padding or an RTCP length that does not fit the packet.
    Malformed,
    /// From an address the latch does not take.
    Source,
    /// The authentication tag is wrong, or no key has the packet's MKI.
    Authentication,
    /// Seen before, or older than the replay list reaches.
    Replay,
    /// Every master key has protected as many packets as it may.
    KeySpent,
    /// More synchronisation sources than one key may serve.
    TooManySources,
    /// The side it came from or the one it goes to is not configured yet.
    NotReady,
    /// One of the two sides is on hold.
    OnHold,
    /// A payload type that the other side's peer has not said it takes.
    Payload(u8),
    /// Not refused: a digit is heard in it, or goes in its place (`Verdict::Heard`).
    Digit,
    /// The buffer has no room for the tag.
    NoRoom,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::NotMedia => "not RTP or RTCP",
            DropReason::WrongChannel => "RTP and RTCP ports confused",
            DropReason::Malformed => "malformed",
            DropReason::Source => "unexpected source address",
            DropReason::Authentication => "authentication failed",
            DropReason::Replay => "replayed or too old",
            DropReason::KeySpent => "master key lifetime spent",
            DropReason::TooManySources => "too many SSRCs",
            DropReason::NotReady => "other side not ready",
            DropReason::OnHold => "on hold",
            DropReason::Payload(_) => "payload type not agreed",
            DropReason::Digit => "a digit, carried otherwise",
            DropReason::NoRoom => "no tail room",
        })
    }
}

impl From<Malformed> for DropReason {
    fn from(_: Malformed) -> DropReason {
        DropReason::Malformed
    }
}

impl From<Refused> for DropReason {
    fn from(refused: Refused) -> DropReason {
        match refused {
            Refused::NotReady => DropReason::NotReady,
            Refused::OnHold => DropReason::OnHold,
            Refused::Source => DropReason::Source,
        }
    }
}

/// Counts a refused packet on the side it came from, with what will explain it.
#[cold]
pub(super) fn refuse(now: Time, counts: &mut SideReport, reason: DropReason, from: SocketAddr, kind: Kind) {
    match reason {
        DropReason::NotMedia | DropReason::WrongChannel | DropReason::Malformed | DropReason::NoRoom => {
            counts.refused_malformed += 1;
            match (reason, kind) {
                (DropReason::WrongChannel, _) => counts.refused_channel += 1,
                (_, Kind::Dtls) => counts.refused_dtls += 1,
                (_, Kind::Stun) => counts.refused_stun += 1,
                _ => {}
            }
        }
        DropReason::Source => {
            counts.refused_source += 1;
            // RTCP from a port beside it would hide where the sound comes from.
            if kind == Kind::Rtcp && counts.foreign.is_some_and(|foreign| foreign.from != from) {
                return;
            }
            let before = counts.foreign.filter(|foreign| foreign.from == from).map(|foreign| foreign.run);
            counts.foreign = Some(Foreign { from, run: Run::more(before, now, counts.last) });
        }
        DropReason::Authentication => {
            counts.refused_authentication += 1;
            counts.failing = Some(Run::more(counts.failing, now, counts.last));
        }
        DropReason::Replay => {
            counts.refused_replay += 1;
            counts.replaying = Some(Run::more(counts.replaying, now, counts.last));
        }
        DropReason::Payload(payload_type) => {
            let packets = counts.wrong_type.map_or(0, |wrong| wrong.packets).saturating_add(1);
            counts.wrong_type = Some(WrongType { packets, payload_type, last: now });
        }
        DropReason::Digit => {}
        DropReason::NotReady => counts.refused_not_ready += 1,
        DropReason::OnHold => {
            counts.refused_not_ready += 1;
            counts.refused_on_hold += 1;
        }
        DropReason::KeySpent | DropReason::TooManySources => {
            counts.refused_not_ready += 1;
            counts.refused_key_spent += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rtcp_beside_it_does_not_hide_where_the_sound_comes_from() {
        let [rtp, rtcp] = ["203.0.113.67:10038", "203.0.113.67:10039"].map(|address| address.parse::<SocketAddr>().unwrap());
        let mut counts = SideReport::default();
        refuse(Time::ZERO, &mut counts, DropReason::Source, rtcp, Kind::Rtcp);
        assert_eq!(counts.foreign.map(|foreign| foreign.from), Some(rtcp), "all there is so far");
        (0..390).for_each(|_| refuse(Time::ZERO, &mut counts, DropReason::Source, rtp, Kind::Rtp));
        refuse(Time::ZERO, &mut counts, DropReason::Source, rtcp, Kind::Rtcp);
        assert_eq!(counts.foreign.map(|foreign| (foreign.from, foreign.run.packets)), Some((rtp, 390)));
        assert_eq!(counts.refused_source, 392);
    }
}
