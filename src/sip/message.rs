//! A message as received: one block of bytes and the spans of its parts (RFC 3261 §7).

use std::fmt;

use bytes::Bytes;

use super::headers::content;
use super::index::{Fields, Index, Reading, StartLine, index};
use super::list::{List, split_list};
use super::scan::utf8;
use super::{HeaderError, HeaderName, Limits, Method, ParseError};

/// Cheap to clone: the bytes are shared. Folded lines are unfolded, everything else is as received.
#[derive(Clone)]
pub struct Message {
    /// From the first byte of the start line to the last of the body.
    bytes: Bytes,
    start: StartLine,
    fields: Fields,
    head_len: usize,
}

/// One header line.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub name: HeaderName,
    /// As written.
    pub raw_name: &'a str,
    /// Trimmed and unfolded; not split at commas.
    pub value: &'a [u8],
}

impl Message {
    /// Reads a datagram or one framed message. Line ends before the start line are skipped, bytes beyond Content-Length left out; without
    /// Content-Length the body is the rest (RFC 3261 §18.3). LF alone ends a line as well.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Message, ParseError> {
        let bytes = skip_line_ends(bytes)?;
        let found = index(&bytes, limits, Reading::Strict)?;
        let present = bytes.len() - found.head_len;
        let body_len = found.content_length.unwrap_or(present);
        if body_len > limits.body_bytes {
            return Err(ParseError::BodyTooLarge);
        }
        if body_len > present {
            return Err(ParseError::BodyTruncated { declared: body_len, present });
        }
        Ok(Message::assemble(bytes, found, body_len))
    }

    /// What can be used of a message that [`Message::parse`] refused, so that the refusal can be sent: the start line must be readable in shape,
    /// bad header lines and the body are left out. `None` if not even that; nothing is then answered.
    pub fn salvage(bytes: Bytes, limits: &Limits) -> Option<Message> {
        let bytes = skip_line_ends(bytes).ok()?;
        let mut found = index(&bytes, limits, Reading::Salvage).ok()?;
        found.broken = true;
        Some(Message::assemble(bytes, found, 0))
    }

    fn assemble(bytes: Bytes, found: Index, body_len: usize) -> Message {
        let mut bytes = bytes;
        bytes.truncate(found.head_len.saturating_add(body_len));
        if found.broken {
            bytes = without_breaks(&bytes, &found);
        }
        Message { bytes, start: found.start, fields: found.fields, head_len: found.head_len }
    }

    /// The whole message, from the start line to the end of the body.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn is_request(&self) -> bool {
        matches!(self.start, StartLine::Request { .. })
    }

    /// `None` in a response.
    pub fn method(&self) -> Option<&Method> {
        match &self.start {
            StartLine::Request { method, .. } => Some(method),
            StartLine::Response { .. } => None,
        }
    }

    /// As written, not yet known to be a well-formed URI. `None` in a response.
    pub fn request_uri(&self) -> Option<&str> {
        match self.start {
            StartLine::Request { uri, .. } => utf8(uri.of(&self.bytes)),
            StartLine::Response { .. } => None,
        }
    }

    /// 100 to 699. `None` in a request.
    pub fn status(&self) -> Option<u16> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { status, .. } => Some(status),
        }
    }

    /// May be empty, may be anything but a line end. `None` in a request.
    pub fn reason_phrase(&self) -> Option<&[u8]> {
        match self.start {
            StartLine::Request { .. } => None,
            StartLine::Response { phrase, .. } => Some(phrase.of(&self.bytes)),
        }
    }

    /// The header lines in their order.
    pub fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.fields.iter().map(|f| Field { name: f.name, raw_name: utf8(f.raw_name.of(&self.bytes)).unwrap_or_default(), value: f.value.of(&self.bytes) })
    }

    /// The values of every line of this name, in order: list headers (see [`HeaderName::is_list`]) split at their commas and without empty elements,
    /// others one per line. Nothing for [`HeaderName::Other`]: use [`Message::named`].
    pub fn values(&self, name: HeaderName) -> Values<'_> {
        Values { message: self, name, next: 0, list: None }
    }

    /// The first of [`Message::values`].
    pub fn first(&self, name: HeaderName) -> Option<&[u8]> {
        self.values(name).next()
    }

    /// The first value, if it is UTF-8.
    pub fn text(&self, name: HeaderName) -> Option<&str> {
        self.first(name).and_then(utf8)
    }

    /// The values of every line whose name is spelt so, in any case, one per line: for headers without a [`HeaderName`].
    pub fn named<'a>(&'a self, raw_name: &'a str) -> impl Iterator<Item = &'a [u8]> + 'a {
        self.fields.iter().filter(move |f| f.raw_name.of(&self.bytes).eq_ignore_ascii_case(raw_name.as_bytes())).map(|f| f.value.of(&self.bytes))
    }

    pub fn body(&self) -> &[u8] {
        self.bytes.get(self.head_len..).unwrap_or_default()
    }

    /// The media type with its parameters, as written.
    pub fn content_type(&self) -> Option<&str> {
        self.text(HeaderName::ContentType)
    }

    /// The body if it is `application/sdp`, or the first such part of a multipart body. `None` if it is encoded (Content-Encoding).
    pub fn sdp(&self) -> Option<&[u8]> {
        content::sdp(self)
    }

    /// The only line of this name; `Ok(None)` if there is none.
    pub(super) fn at_most_one(&self, name: HeaderName) -> Result<Option<&[u8]>, HeaderError> {
        let mut lines = self.fields.iter().filter(|f| f.name == name);
        match (lines.next(), lines.next()) {
            (None, _) => Ok(None),
            (Some(field), None) => Ok(Some(field.value.of(&self.bytes))),
            _ => Err(HeaderError::repeated(name)),
        }
    }

    pub(super) fn exactly_one(&self, name: HeaderName) -> Result<&[u8], HeaderError> {
        self.at_most_one(name)?.ok_or(HeaderError::missing(name))
    }
}

/// See [`Message::values`].
pub struct Values<'a> {
    message: &'a Message,
    name: HeaderName,
    next: usize,
    list: Option<List<'a>>,
}

impl<'a> Iterator for Values<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.name == HeaderName::Other {
            return None;
        }
        loop {
            if let Some(value) = self.list.as_mut().and_then(Iterator::next) {
                return Some(value);
            }
            self.list = None;
            let at = self.next + self.message.fields.get(self.next..)?.iter().position(|f| f.name == self.name)?;
            self.next = at + 1;
            let value = self.message.fields.get(at)?.value.of(&self.message.bytes);
            if !self.name.is_list() {
                return Some(value);
            }
            self.list = Some(split_list(value));
        }
    }
}

fn skip_line_ends(mut bytes: Bytes) -> Result<Bytes, ParseError> {
    let skip = bytes.iter().position(|b| !matches!(b, b'\r' | b'\n')).ok_or(ParseError::Empty)?;
    Ok(if skip == 0 { bytes } else { bytes.split_off(skip) })
}

/// A copy in which the line breaks inside values are spaces: same length, same spans.
fn without_breaks(bytes: &[u8], found: &Index) -> Bytes {
    let mut copy = bytes.to_vec();
    for field in &found.fields {
        for b in field.value.of_mut(&mut copy) {
            if matches!(b, b'\r' | b'\n') {
                *b = b' ';
            }
        }
    }
    Bytes::from(copy)
}

/// The start line and the number of headers and bytes: bodies may hold keys.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.start {
            StartLine::Request { method, .. } => write!(f, "{method} {}", self.request_uri().unwrap_or_default())?,
            StartLine::Response { status, .. } => write!(f, "{status}")?,
        }
        write!(f, " ({} headers, {} bytes of body)", self.fields.len(), self.body().len())
    }
}
