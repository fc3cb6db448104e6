//! The transports SIP runs over here (RFC 3261 §18, §26.2.1), as named in Via and in URI parameters.

use std::fmt;

/// In order of strength: `Udp < Tcp < Tls`, so "never to a weaker transport" is a comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

impl Transport {
    /// RFC 3261 §18.2.1: a reliable transport needs no retransmission by the transaction.
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Transport::Udp)
    }

    pub const fn is_encrypted(self) -> bool {
        matches!(self, Transport::Tls)
    }

    /// RFC 3261 §18.1.1, §26.2.2.
    pub const fn default_port(self) -> u16 {
        match self {
            Transport::Udp | Transport::Tcp => 5060,
            Transport::Tls => 5061,
        }
    }

    /// As written in a Via sent-protocol.
    pub const fn via_token(self) -> &'static str {
        match self {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
            Transport::Tls => "TLS",
        }
    }

    /// As written in a `;transport=` URI parameter.
    pub const fn uri_token(self) -> &'static str {
        match self {
            Transport::Udp => "udp",
            Transport::Tcp => "tcp",
            Transport::Tls => "tls",
        }
    }

    /// Case-insensitive, from a Via token or a URI parameter; `None` for one we do not speak.
    pub fn from_token(token: &str) -> Option<Transport> {
        [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().find(|t| t.via_token().eq_ignore_ascii_case(token))
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.via_token())
    }
}
