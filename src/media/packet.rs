//! What every packet of the media plane has in common: its channel, its bounds, and the reading of big-endian fields (RFC 3550 §4).

use std::fmt;

use crate::media::{rtcp, rtp};

/// On which of a side's two sockets a packet arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Channel {
    Rtp,
    Rtcp,
}

/// A field that does not fit the packet it stands in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Malformed {
    /// Shorter than its fixed header.
    Short,
    Version,
    /// The contributing sources reach beyond the end.
    Sources,
    /// The header extension reaches beyond the end (RFC 3550 §5.3.1).
    Extension,
    /// The padding count is zero or larger than what it pads, or padding stands before the last packet of a compound.
    Padding,
    /// An RTCP packet's length reaches beyond the end of the compound, or bytes are left over.
    Length,
    /// Not an RTCP packet type.
    Kind,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Malformed::Short => "shorter than its header",
            Malformed::Version => "not version 2",
            Malformed::Sources => "contributing sources beyond the end",
            Malformed::Extension => "header extension beyond the end",
            Malformed::Padding => "impossible padding",
            Malformed::Length => "RTCP lengths do not add up",
            Malformed::Kind => "not an RTCP packet type",
        })
    }
}

impl std::error::Error for Malformed {}

/// The part of a packet that is in the clear even under SRTP.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum View {
    Rtp(rtp::Header),
    /// The SSRC of the first packet of the compound.
    Rtcp(u32),
}

impl View {
    pub fn parse(channel: Channel, packet: &[u8]) -> Result<View, Malformed> {
        match channel {
            Channel::Rtp => rtp::Header::parse(packet).map(View::Rtp),
            Channel::Rtcp => rtcp::sender(packet).map(View::Rtcp),
        }
    }

    /// Checks what could not be seen before decryption: RTP padding, the whole RTCP compound.
    pub fn check_clear(&self, packet: &[u8]) -> Result<(), Malformed> {
        match self {
            View::Rtp(header) => header.padding(packet).map(drop),
            View::Rtcp(_) => rtcp::check(packet),
        }
    }
}

/// The 16-bit field at `at`; zero beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |field| u16::from_be_bytes(*field))
}

/// The 32-bit field at `at`; zero beyond the end.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |field| u32::from_be_bytes(*field))
}
