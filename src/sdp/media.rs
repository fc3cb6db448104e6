//! One m-line and what belongs to it (RFC 8866 §5.14).

use super::description::{Attribute, Connection, Line, Text};
use std::fmt;

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
