//! One m-line and what belongs to it (RFC 8866 §5.14).

use std::fmt;

use super::crypto::{Crypto, CryptoError};
use super::description::{Attribute, Connection, Line, Text};
use super::direction::Direction;
use super::rtcp::Rtcp;
use super::rtpmap::{self, RtpMap};

/// The transport protocol of an m-line. Written in capitals; read in any letter case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Proto {
    /// `RTP/AVP`
    Avp,
    /// `RTP/SAVP` (RFC 3711)
    Savp,
    /// `RTP/AVPF` (RFC 4585)
    Avpf,
    /// `RTP/SAVPF` (RFC 5124)
    Savpf,
    /// `UDP/TLS/RTP/SAVP` (RFC 5764)
    TlsSavp,
    /// `UDP/TLS/RTP/SAVPF` (RFC 5764)
    TlsSavpf,
    /// `udptl` (T.38)
    Udptl,
    Other(String),
}

impl Proto {
    pub fn name(&self) -> &str {
        match self {
            Proto::Avp => "RTP/AVP",
            Proto::Savp => "RTP/SAVP",
            Proto::Avpf => "RTP/AVPF",
            Proto::Savpf => "RTP/SAVPF",
            Proto::TlsSavp => "UDP/TLS/RTP/SAVP",
            Proto::TlsSavpf => "UDP/TLS/RTP/SAVPF",
            Proto::Udptl => "udptl",
            Proto::Other(name) => name,
        }
    }

    pub fn parse(name: &str) -> Proto {
        [Proto::Avp, Proto::Savp, Proto::Avpf, Proto::Savpf, Proto::TlsSavp, Proto::TlsSavpf, Proto::Udptl]
            .into_iter()
            .find(|proto| proto.name().eq_ignore_ascii_case(name))
            .unwrap_or_else(|| Proto::Other(name.into()))
    }

    /// RTP without protection.
    pub const fn is_plain_rtp(&self) -> bool {
        matches!(self, Proto::Avp | Proto::Avpf)
    }

    /// RTP with SRTP's protection, however it is keyed.
    pub const fn is_srtp(&self) -> bool {
        matches!(self, Proto::Savp | Proto::Savpf | Proto::TlsSavp | Proto::TlsSavpf)
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One m-line with its own lines.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Media {
    /// `audio`, `image`, …, as written.
    pub kind: String,
    /// 0: the stream is refused or switched off.
    pub port: u16,
    /// `m=audio 49170/2`: the number of port pairs.
    pub port_count: Option<u16>,
    pub proto: Proto,
    /// Payload types (RTP) or format names, in order of preference.
    pub formats: Vec<String>,
    pub connection: Option<Connection>,
    /// `b=` lines, value only.
    pub bandwidth: Vec<Text>,
    pub attributes: Vec<Attribute>,
    /// As `Description::other`.
    pub other: Vec<Line>,
}

impl Media {
    pub fn is_audio(&self) -> bool {
        self.kind.eq_ignore_ascii_case("audio")
    }

    pub fn is_image(&self) -> bool {
        self.kind.eq_ignore_ascii_case("image")
    }

    /// T.38 fax over UDPTL, the only form of an image line that is spoken.
    pub fn is_fax(&self) -> bool {
        self.is_image() && self.proto == Proto::Udptl && self.formats.iter().any(|format| format.eq_ignore_ascii_case("t38"))
    }

    /// Attributes of this name in their order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.is(name))
    }

    /// The m-line's own direction, the first if it has several.
    pub fn direction(&self) -> Option<Direction> {
        self.attributes.iter().find_map(Attribute::direction)
    }

    /// Where the peer wants RTCP if it says so (RFC 3605).
    pub fn rtcp(&self) -> Option<Rtcp<'_>> {
        self.named("rtcp").find_map(|attribute| Rtcp::parse(attribute.text()?))
    }

    pub fn rtpmaps(&self) -> impl Iterator<Item = RtpMap<'_>> {
        self.named("rtpmap").filter_map(|attribute| RtpMap::parse(attribute.text()?))
    }

    /// What the format is called: by its `rtpmap`, else by the static table of RFC 3551.
    pub fn rtpmap_of<'a>(&'a self, format: &str) -> Option<RtpMap<'a>> {
        let payload: u8 = format.parse().ok()?;
        self.rtpmaps().find(|map| map.payload == payload).or_else(|| rtpmap::fixed(payload))
    }

    /// Milliseconds of media per packet (RFC 8866 §6.4).
    pub fn ptime(&self) -> Option<u32> {
        self.named("ptime").find_map(|attribute| attribute.text()?.trim().parse().ok())
    }

    /// The `a=crypto` lines in their order; those that cannot be read are errors, not gaps.
    pub fn cryptos(&self) -> impl Iterator<Item = Result<Crypto, CryptoError>> {
        self.named("crypto").map(|attribute| Crypto::parse(attribute.text().unwrap_or_default()))
    }
}
