//! What a datagram on a media socket is, by its first bytes (RFC 7983 §7, RFC 5761 §4).

use crate::media::packet::Channel;

/// The protocols that meet on media ports.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    Rtp,
    Rtcp,
    Stun,
    Zrtp,
    Dtls,
    TurnChannel,
    /// Nothing with a name: keep-alive bytes, noise.
    Junk,
}

/// Judges by the first byte, and for RTP and RTCP by the second. Never looks further, so it may still be malformed.
pub fn classify(datagram: &[u8]) -> Kind {
    let Some(&first) = datagram.first() else { return Kind::Junk };
    match first {
        0..=3 => match datagram.get(4..8) {
            // All-zero keep-alives are no STUN: it has its cookie here (RFC 8489 §5).
            Some([0x21, 0x12, 0xa4, 0x42]) => Kind::Stun,
            _ => Kind::Junk,
        },
        16..=19 => Kind::Zrtp,
        20..=63 => Kind::Dtls,
        64..=79 => Kind::TurnChannel,
        128..=191 => match datagram.get(1) {
            Some(192..=223) => Kind::Rtcp,
            Some(_) => Kind::Rtp,
            None => Kind::Junk,
        },
        _ => Kind::Junk,
    }
}

impl Channel {
    /// Whether a datagram of this kind belongs on the channel.
    pub fn carries(self, kind: Kind) -> bool {
        matches!((self, kind), (Channel::Rtp, Kind::Rtp) | (Channel::Rtcp, Kind::Rtcp))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranges_of_rfc_7983() {
        assert_eq!(classify(&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42]), Kind::Stun);
        assert_eq!(classify(&[0, 0, 0, 0]), Kind::Junk);
        assert_eq!(classify(&[]), Kind::Junk);
        for (first, kind) in [
            (4, Kind::Junk),
            (15, Kind::Junk),
            (16, Kind::Zrtp),
            (19, Kind::Zrtp),
            (20, Kind::Dtls),
            (63, Kind::Dtls),
            (64, Kind::TurnChannel),
            (79, Kind::TurnChannel),
            (80, Kind::Junk),
            (127, Kind::Junk),
            (128, Kind::Rtp),
            (191, Kind::Rtp),
            (192, Kind::Junk),
        ] {
            assert_eq!(classify(&[first, 0]), kind, "{first}");
        }
    }

    #[test]
    fn rtcp_is_told_by_its_packet_type() {
        assert_eq!(classify(&[0x80, 200]), Kind::Rtcp);
        assert_eq!(classify(&[0x80, 0x80 | 101]), Kind::Rtp);
        assert_eq!(classify(&[0x80, 191]), Kind::Rtp);
        assert_eq!(classify(&[0x80, 224]), Kind::Rtp);
        assert_eq!(classify(&[0x80]), Kind::Junk);
    }
}
