//! A session description as a value (RFC 8866 §5), kept whole: lines this program has no use for stay where they can be written again.
//!
//! Reading is tolerant of what peers are known to send (see `parse`); writing is always canonical: CRLF, the order of RFC 8866 §5.

use std::fmt;
use std::net::IpAddr;

use super::direction::Direction;
use super::media::Media;

/// Free text of one line: bytes without CR or LF, usually UTF-8 but not necessarily (`s=` in Latin-1 is seen in the field).
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// CR and LF become spaces, so that no value can begin a line of its own.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Text {
        let mut bytes = bytes.into();
        bytes.iter_mut().filter(|b| matches!(**b, b'\r' | b'\n')).for_each(|b| *b = b' ');
        Text(bytes)
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// `None` if it is not UTF-8.
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text::new(text.as_bytes())
    }
}

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text::new(text.into_bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&String::from_utf8_lossy(&self.0), f)
    }
}

/// The `o=` line. Identifier and version stay text: they are seen negative and longer than 64 bits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    pub username: Text,
    pub session_id: String,
    pub session_version: String,
    pub network: String,
    pub family: String,
    pub address: String,
}

/// The `c=` line. The address stays text: it may be a host name, or carry a multicast TTL and count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Connection {
    pub network: String,
    pub family: String,
    pub address: String,
}

impl Connection {
    pub fn of(address: IpAddr) -> Connection {
        Connection { network: "IN".into(), family: if address.is_ipv4() { "IP4" } else { "IP6" }.into(), address: address.to_string() }
    }

    /// `None` for a host name or a multicast group with TTL.
    pub fn ip(&self) -> Option<IpAddr> {
        self.address.parse().ok()
    }
}

/// An `a=` line: a property (`value: None`) or a value.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    pub name: String,
    pub value: Option<Text>,
}

impl Attribute {
    pub fn property(name: &str) -> Attribute {
        Attribute { name: name.into(), value: None }
    }

    pub fn new(name: &str, value: impl Into<Text>) -> Attribute {
        Attribute { name: name.into(), value: Some(value.into()) }
    }

    /// Names are compared without regard to letter case: peers are not careful.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value if there is one and it is UTF-8.
    pub fn text(&self) -> Option<&str> {
        self.value.as_ref().and_then(Text::as_str)
    }

    pub fn direction(&self) -> Option<Direction> {
        if self.value.is_none() { Direction::parse(&self.name) } else { None }
    }

    fn is_secret(&self) -> bool {
        ["crypto", "cryptoscale", "key-mgmt", "ice-pwd"].iter().any(|name| self.is(name))
    }
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            _ if self.is_secret() => write!(f, "a={}:…", self.name),
            None => write!(f, "a={}", self.name),
            Some(value) => write!(f, "a={}:{}", self.name, String::from_utf8_lossy(value.as_bytes())),
        }
    }
}

/// A line that is kept but not looked into. `kind` is its letter; 0 is a line that is not of the form `x=…` at all.
#[derive(Clone, PartialEq, Eq)]
pub struct Line {
    pub kind: u8,
    pub value: Text,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            b'k' | b'a' => write!(f, "{}=…", char::from(self.kind)),
            0 => write!(f, "{:?}", self.value),
            kind => write!(f, "{}={:?}", char::from(kind), self.value),
        }
    }
}

/// A whole description. An absent mandatory line is `None` or empty and stays absent in writing, but for `v=`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Description {
    pub origin: Option<Origin>,
    pub name: Option<Text>,
    pub connection: Option<Connection>,
    /// `b=` lines, value only: `AS:64`.
    pub bandwidth: Vec<Text>,
    /// `t=`, `r=` and `z=` lines in their order.
    pub timing: Vec<Line>,
    pub attributes: Vec<Attribute>,
    /// `i=`, `u=`, `e=`, `p=`, `k=`, unknown lines, and known ones that could not be read or came twice.
    pub other: Vec<Line>,
    pub media: Vec<Media>,
}

/// Why bytes are no session description. The sender is at fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SdpError {
    /// No line of the form `x=…` at the beginning.
    NotADescription,
    /// `v=` is something else than 0.
    Version,
    /// An `m=` line without kind, port or protocol, or with a port that is none.
    MediaLine,
    /// More lines or m-lines than any honest description has.
    TooLong,
}

impl fmt::Display for SdpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SdpError::NotADescription => "not a session description",
            SdpError::Version => "a session description of an unknown version",
            SdpError::MediaLine => "an m= line that cannot be read",
            SdpError::TooLong => "more lines than a session description may have",
        })
    }
}

impl std::error::Error for SdpError {}

impl Description {
    pub const CONTENT_TYPE: &'static str = "application/sdp";

    /// Session-level attributes of this name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Attribute> {
        self.attributes.iter().filter(move |attribute| attribute.is(name))
    }

    /// The `c=` line that holds for `media`: its own, else the session's.
    pub fn connection_of<'a>(&'a self, media: &'a Media) -> Option<&'a Connection> {
        media.connection.as_ref().or(self.connection.as_ref())
    }

    /// The direction that holds for `media`: its own, else the session's, else sendrecv (RFC 3264 §5.1).
    pub fn direction_of(&self, media: &Media) -> Direction {
        media.direction().or_else(|| self.attributes.iter().find_map(Attribute::direction)).unwrap_or_default()
    }
}
