//! Reading a description (RFC 8866 §9), tolerantly: CRLF, LF or CR end a line, mandatory lines may be missing, lines may come in any order within their
//! section, a session identifier may be any token, `s=` may be Latin-1, and what is unknown or unreadable is kept as it came. Only an m-line must be
//! readable, for an answer has to have as many of them as its offer (RFC 3264 §6).

use super::description::{Attribute, Connection, Description, Line, Origin, SdpError, Text};
use super::media::{Media, Proto};

/// Far above what is seen: an offer with two dozen ICE candidates on three m-lines has some 150 lines.
const MAX_LINES: usize = 2000;
const MAX_MEDIA: usize = 64;

impl Description {
    /// Reads one description. Its length is bounded by the message that carried it; here lines and m-lines are.
    pub fn parse(bytes: &[u8]) -> Result<Description, SdpError> {
        let mut description = Description::default();
        let mut seen_version = false;
        for (number, line) in bytes.split(|b| matches!(b, b'\r' | b'\n')).map(<[u8]>::trim_ascii_start).filter(|line| !line.is_empty()).enumerate() {
            if number >= MAX_LINES {
                return Err(SdpError::TooLong);
            }
            let (kind, value) = match line {
                [kind, b'=', value @ ..] if kind.is_ascii_alphabetic() => (*kind, value),
                _ if number == 0 => return Err(SdpError::NotADescription),
                _ => (0, line),
            };
            match kind {
                b'm' => {
                    if description.media.len() >= MAX_MEDIA {
                        return Err(SdpError::TooLong);
                    }
                    description.media.push(media_line(value).ok_or(SdpError::MediaLine)?);
                }
                b'v' if !seen_version && description.media.is_empty() => {
                    seen_version = true;
                    if value.trim_ascii() != b"0" {
                        return Err(SdpError::Version);
                    }
                }
                _ => match description.media.last_mut() {
                    Some(media) => media_level(media, kind, value),
                    None => session_level(&mut description, kind, value),
                },
            }
        }
        if !seen_version && description.origin.is_none() && description.media.is_empty() {
            return Err(SdpError::NotADescription);
        }
        description.other.sort_by_key(Line::rank);
        description.media.iter_mut().for_each(|media| media.other.sort_by_key(Line::rank));
        Ok(description)
    }
}

impl Line {
    /// Where RFC 8866 §5 puts the line among those kept whole: before `c=`, before `a=`, and the unknown at the end.
    pub(super) fn rank(&self) -> u8 {
        match self.kind {
            b'i' | b'u' | b'e' | b'p' => 0,
            b'k' => 1,
            _ => 2,
        }
    }
}

fn session_level(description: &mut Description, kind: u8, value: &[u8]) {
    match kind {
        b'o' if description.origin.is_none() => {
            if let Some(origin) = origin(value) {
                description.origin = Some(origin);
                return;
            }
        }
        b's' if description.name.is_none() => {
            description.name = Some(Text::new(value));
            return;
        }
        b't' | b'r' | b'z' => {
            description.timing.push(Line { kind, value: Text::new(value) });
            return;
        }
        _ => {
            if either_level(&mut description.connection, &mut description.bandwidth, &mut description.attributes, kind, value) {
                return;
            }
        }
    }
    description.other.push(Line { kind, value: Text::new(value) });
}

fn media_level(media: &mut Media, kind: u8, value: &[u8]) {
    if !either_level(&mut media.connection, &mut media.bandwidth, &mut media.attributes, kind, value) {
        media.other.push(Line { kind, value: Text::new(value) });
    }
}

/// The lines that mean the same on both levels. Says whether the line was one of them and readable.
fn either_level(held: &mut Option<Connection>, bandwidth: &mut Vec<Text>, attributes: &mut Vec<Attribute>, kind: u8, value: &[u8]) -> bool {
    match kind {
        b'c' if held.is_none() => {
            *held = connection(value);
            held.is_some()
        }
        b'b' => {
            bandwidth.push(Text::new(value));
            true
        }
        b'a' => match attribute(value) {
            Some(attribute) => {
                attributes.push(attribute);
                true
            }
            None => false,
        },
        _ => false,
    }
}

fn tokens(value: &[u8]) -> Option<std::str::SplitAsciiWhitespace<'_>> {
    std::str::from_utf8(value).ok().map(str::split_ascii_whitespace)
}

/// Taken from its end, so that a user name with spaces in it does no harm.
fn origin(value: &[u8]) -> Option<Origin> {
    let mut rest = value.trim_ascii_end();
    let mut fields: [&str; 5] = [""; 5];
    for field in fields.iter_mut().rev() {
        let start = rest.iter().rposition(u8::is_ascii_whitespace)?;
        *field = std::str::from_utf8(rest.get(start + 1..)?).ok()?;
        rest = rest.get(..start)?.trim_ascii_end();
    }
    let [session_id, session_version, network, family, address] = fields.map(str::to_owned);
    Some(Origin { username: Text::new(rest.trim_ascii_start()), session_id, session_version, network, family, address })
}

fn connection(value: &[u8]) -> Option<Connection> {
    let mut tokens = tokens(value)?;
    let (network, family, address) = (tokens.next()?, tokens.next()?, tokens.next()?);
    tokens.next().is_none().then(|| Connection { network: network.into(), family: family.into(), address: address.into() })
}

fn attribute(value: &[u8]) -> Option<Attribute> {
    let (name, value) = match value.iter().position(|b| *b == b':') {
        Some(colon) => (value.get(..colon)?, Some(Text::new(value.get(colon + 1..)?))),
        None => (value, None),
    };
    let name = std::str::from_utf8(name).ok()?;
    Some(Attribute { name: name.into(), value })
}

fn media_line(value: &[u8]) -> Option<Media> {
    let mut tokens = tokens(value)?;
    let (kind, port, proto) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let (port, port_count) = match port.split_once('/') {
        Some((port, count)) => (port, Some(count.parse().ok()?)),
        None => (port, None),
    };
    Some(Media {
        kind: kind.into(),
        port: port.parse().ok()?,
        port_count,
        proto: Proto::parse(proto),
        formats: tokens.map(str::to_owned).collect(),
        connection: None,
        bandwidth: Vec::new(),
        attributes: Vec::new(),
        other: Vec::new(),
    })
}
