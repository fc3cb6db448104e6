//! Cutting a byte stream into messages (RFC 3261 §7.5, §18.3) and keep-alives (RFC 5626 §3.5.1, §4.4.1).

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::index::{Index, Reading, index};
use super::{Limits, ParseError};

/// What a stream holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Frame {
    /// One whole message, for [`super::Message::parse`].
    Message(Bytes),
    /// CRLF CRLF: answer with CRLF.
    Ping,
    /// CRLF: the answer to a ping.
    Pong,
}

/// The stream can no longer be cut into messages: answer if `head` can be salvaged, then close.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FrameError {
    pub error: ParseError,
    /// The header section as far as it was received, for [`super::Message::salvage`].
    pub head: Bytes,
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for FrameError {}

/// Push what was received, then take frames until there are none. Holds at most one message at the limits and what was pushed last.
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    /// How much of `buffer` is known to hold no end of a header section.
    scanned: usize,
    /// Length of the message at the front, once its headers are in.
    whole: Option<usize>,
    /// The last frame was a lone CRLF: another one right after it makes them a ping.
    half_ping: bool,
    broken: Option<FrameError>,
}

impl Framer {
    pub fn new(limits: Limits) -> Framer {
        Framer { limits, buffer: BytesMut::new(), scanned: 0, whole: None, half_ping: false, broken: None }
    }

    /// After an error, what is pushed is thrown away.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.broken.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    #[allow(clippy::should_implement_trait)]
    /// `Ok(None)`: more bytes are needed. An error is final, and given again each time.
    pub fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let result = self.cut();
        result.map_err(|error| {
            let most = self.limits.header_bytes.min(Limits::HEADER_BYTES_MOST);
            let mut head = std::mem::take(&mut self.buffer);
            head.truncate(most);
            let error = FrameError { error, head: head.freeze() };
            self.broken = Some(error.clone());
            error
        })
    }

    /// Whether a message has begun and is not yet whole: the wait for the rest is to be bounded.
    pub fn is_partial(&self) -> bool {
        self.broken.is_none() && self.buffer.iter().any(|b| !matches!(b, b'\r' | b'\n'))
    }

    /// Bytes held.
    pub fn buffered(&self) -> usize {
        self.buffer.len()
    }

    fn cut(&mut self) -> Result<Option<Frame>, ParseError> {
        if self.whole.is_none() {
            if let Some(frame) = self.keep_alive() {
                return Ok(Some(frame));
            }
            let Some(found) = self.header_section()? else { return Ok(None) };
            let body = found.content_length.ok_or(ParseError::NoContentLength)?;
            if body > self.limits.body_bytes {
                return Err(ParseError::BodyTooLarge);
            }
            self.whole = Some(found.head_len + body);
        }
        match self.whole {
            Some(length) if self.buffer.len() >= length => {
                self.whole = None;
                self.scanned = 0;
                Ok(Some(Frame::Message(self.buffer.split_to(length).freeze())))
            }
            _ => Ok(None),
        }
    }

    /// Takes line ends from the front: two are a ping, one a pong. A pong that the next bytes complete to a ping is then reported as that too.
    fn keep_alive(&mut self) -> Option<Frame> {
        let first = line_end(&self.buffer)?;
        let second = self.buffer.get(first..).and_then(line_end);
        self.buffer.advance(first + second.unwrap_or(0));
        self.scanned = 0;
        let ping = second.is_some() || self.half_ping;
        self.half_ping = !ping;
        Some(if ping { Frame::Ping } else { Frame::Pong })
    }

    fn header_section(&mut self) -> Result<Option<Index>, ParseError> {
        if matches!(self.buffer.first(), None | Some(b'\r')) {
            return Ok(None);
        }
        self.half_ping = false;
        let most = self.limits.header_bytes.min(Limits::HEADER_BYTES_MOST);
        let from = self.scanned;
        match end_of_headers(&self.buffer, from) {
            Some(_) => index(&self.buffer, &self.limits, Reading::Strict).map(Some),
            None if self.buffer.len() > most => Err(ParseError::HeaderTooLarge),
            None => {
                if from == 0 {
                    check_opening(&self.buffer)?;
                }
                // The blank line may straddle this push and the next.
                self.scanned = self.buffer.len().saturating_sub(3);
                Ok(None)
            }
        }
    }
}

/// Length of the CRLF (or LF) at the front.
fn line_end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [b'\r', b'\n', ..] => Some(2),
        [b'\n', ..] => Some(1),
        _ => None,
    }
}

/// Where the blank line that begins at or after `from` ends.
fn end_of_headers(bytes: &[u8], from: usize) -> Option<usize> {
    let tail = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', tail).find_map(|at| {
        let after = tail.get(at + 1..)?;
        line_end(after).map(|n| from + at + 1 + n)
    })
}

/// Another protocol's greeting (TLS, HTTP) is refused at its first bytes, not at the header limit.
fn check_opening(bytes: &[u8]) -> Result<(), ParseError> {
    let word = bytes.iter().position(|&b| b == b' ').map_or(bytes, |n| &bytes[..n]);
    let fits = |b: u8| super::scan::is_token_byte(b) || b == b'/';
    if word.len() > 64 || !word.iter().all(|&b| fits(b)) {
        return Err(ParseError::StartLine("not SIP"));
    }
    Ok(())
}
