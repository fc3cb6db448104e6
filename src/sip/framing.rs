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

    /// What was pushed and is no frame yet. Pushed to another framer before anything else, the stream goes on there as it would here; a half ping is then reported as a pong again.
    pub fn into_rest(self) -> Bytes {
        let half: &[u8] = if self.half_ping { b"\r\n" } else { b"" };
        [half, &self.buffer].concat().into()
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
        match *self.buffer {
            [] | [b'\r'] => return Ok(None),
            [b'\r', ..] => return Err(ParseError::BareCarriageReturn),
            _ => {}
        }
        self.half_ping = false;
        let most = self.limits.header_bytes.min(Limits::HEADER_BYTES_MOST);
        let from = self.scanned;
        if from < OPENING {
            check_opening(&self.buffer)?;
        }
        match end_of_headers(&self.buffer, from) {
            Some(_) => index(&self.buffer, &self.limits, Reading::Strict).map(Some),
            None if self.buffer.len() > most => Err(ParseError::HeaderTooLarge),
            None => {
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

/// No method is longer.
const OPENING: usize = 64;

/// What cannot be a method or a version (a TLS greeting) is refused at its first bytes, not at the header limit.
fn check_opening(bytes: &[u8]) -> Result<(), ParseError> {
    let word = bytes.iter().position(|&b| b == b' ').map_or(bytes, |n| &bytes[..n]);
    let fits = |b: u8| super::scan::is_token_byte(b) || b == b'/';
    if word.len() > OPENING || !word.iter().all(|&b| fits(b)) {
        return Err(ParseError::StartLine("not SIP"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYE: &[u8] = b"BYE sip:a@h SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 3\r\n\r\nabc";

    fn framer() -> Framer {
        Framer::new(Limits { header_bytes: 200, body_bytes: 100, fields: 5 })
    }

    fn all(framer: &mut Framer) -> Vec<Frame> {
        std::iter::from_fn(|| framer.next().unwrap()).collect()
    }

    fn message(bytes: &'static [u8]) -> Frame {
        Frame::Message(Bytes::from_static(bytes))
    }

    #[test]
    fn a_stream_goes_on_in_another_framer_wherever_it_is_cut() {
        let stream = [b"\r\n\r\n", BYE, b"\r\n", BYE, b"\r\n\r\n"].concat();
        // A half ping at the cut is told of twice, as a pong.
        let without_pongs = |frames: Vec<Frame>| frames.into_iter().filter(|frame| *frame != Frame::Pong).collect::<Vec<_>>();
        let mut whole = framer();
        whole.push(&stream);
        let wanted = without_pongs(all(&mut whole));
        for cut in 0..=stream.len() {
            let (mut first, mut second) = (framer(), framer());
            first.push(&stream[..cut]);
            let mut frames = all(&mut first);
            second.push(&first.into_rest());
            frames.extend(all(&mut second));
            second.push(&stream[cut..]);
            frames.extend(all(&mut second));
            assert_eq!(without_pongs(frames), wanted, "cut at {cut}");
        }
    }

    #[test]
    fn one_byte_at_a_time_and_all_at_once_give_the_same() {
        let stream = [b"\r\n\r\n", BYE, BYE, b"\r\n", BYE].concat();
        let wanted = [Frame::Ping, message(BYE), message(BYE), Frame::Pong, message(BYE)];
        let mut at_once = framer();
        at_once.push(&stream);
        assert_eq!(all(&mut at_once), wanted);
        let mut byte_by_byte = framer();
        let mut frames = Vec::new();
        for b in &stream {
            byte_by_byte.push(&[*b]);
            frames.extend(all(&mut byte_by_byte));
        }
        // A ping that comes in halves is first taken for a pong.
        assert_eq!(frames, [&[Frame::Pong], &wanted[..]].concat());
        assert!(!at_once.is_partial() && !byte_by_byte.is_partial());
    }

    #[test]
    fn keep_alives() {
        let mut f = framer();
        f.push(b"\r\n");
        assert_eq!(all(&mut f), [Frame::Pong]);
        f.push(b"\r\n");
        assert_eq!(all(&mut f), [Frame::Ping]);
        f.push(b"\r\n\r\n\r\n");
        assert_eq!(all(&mut f), [Frame::Ping, Frame::Pong]);
        f.push(BYE);
        f.push(b"\r\n");
        assert_eq!(all(&mut f), [message(BYE), Frame::Pong]);
        f.push(b"\r");
        assert_eq!(all(&mut f), []);
        assert!(!f.is_partial());
    }

    #[test]
    fn partial_until_whole() {
        let mut f = framer();
        assert!(!f.is_partial());
        for cut in [3, 30, BYE.len() - 1] {
            f.push(&BYE[f.buffered()..cut]);
            assert_eq!(f.next(), Ok(None));
            assert!(f.is_partial());
        }
        f.push(&BYE[BYE.len() - 1..]);
        assert_eq!(all(&mut f), [message(BYE)]);
        assert!(!f.is_partial());
    }

    #[test]
    fn lf_only_and_compact_length() {
        let mut f = framer();
        f.push(b"BYE sip:a@h SIP/2.0\nl:\t2\n\nab\nBYE sip:a@h SIP/2.0\nL : 0\n\n");
        assert_eq!(all(&mut f), [message(b"BYE sip:a@h SIP/2.0\nl:\t2\n\nab"), Frame::Pong, message(b"BYE sip:a@h SIP/2.0\nL : 0\n\n")]);
    }

    fn error(bytes: &[u8]) -> ParseError {
        let mut f = framer();
        f.push(bytes);
        let first = f.next().unwrap_err();
        f.push(BYE);
        assert_eq!(f.next().unwrap_err(), first, "final");
        assert_eq!(f.buffered(), 0, "nothing is kept after an error");
        assert!(!f.is_partial());
        first.error
    }

    #[test]
    fn what_ends_a_stream() {
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\n\r\n"), ParseError::NoContentLength);
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\nl: 101\r\n\r\n"), ParseError::BodyTooLarge);
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\nl: 99999999999999999999999\r\n\r\n"), ParseError::BodyTooLarge);
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\nl: 1\r\nl: 2\r\n\r\n"), ParseError::ContentLength("given twice with different values"));
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\nl: -1\r\n\r\n"), ParseError::ContentLength("no number"));
        assert_eq!(error(b"BYE sip:a@h SIP/3.0\r\nl: 0\r\n\r\n"), ParseError::Version);
        assert_eq!(error(&[b"BYE sip:a@h SIP/2.0\r\nX: ".as_slice(), &[b'x'; 200]].concat()), ParseError::HeaderTooLarge);
        assert_eq!(error(&[b"BYE sip:a@h SIP/2.0\r\nX: ".as_slice(), &[b'x'; 200], b"\r\n\r\n"].concat()), ParseError::HeaderTooLarge);
        assert_eq!(error(b"BYE sip:a@h SIP/2.0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\n\r\n"), ParseError::TooManyFields);
        assert_eq!(error(b"\rBYE"), ParseError::BareCarriageReturn);
        assert_eq!(error(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").status(), 400);
    }

    #[test]
    fn other_protocols_are_refused_at_their_first_bytes() {
        assert_eq!(error(b"\x16\x03\x01\x02\x00\x01"), ParseError::StartLine("not SIP"));
        assert_eq!(error(b"{\"a\":"), ParseError::StartLine("not SIP"));
        assert_eq!(error(&[b'A'; 80]), ParseError::StartLine("not SIP"));
    }

    /// Found by fuzzing: the opening was looked at in the first read only.
    #[test]
    fn a_greeting_in_pieces_is_refused_as_one_at_once() {
        let mut f = framer();
        f.push(b"INV");
        assert_eq!(f.next(), Ok(None));
        f.push(b"I\"TE");
        assert_eq!(f.next().unwrap_err().error, ParseError::StartLine("not SIP"));
        assert_eq!(error(format!("{} sip:a@h SIP/2.0\r\nl: 0\r\n\r\n", "A".repeat(65)).as_bytes()), ParseError::StartLine("not SIP"));
    }

    #[test]
    fn the_head_is_handed_back_to_be_answered() {
        let mut f = framer();
        f.push(b"INVITE sip:a@h SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 101\r\n\r\nv=0");
        let error = f.next().unwrap_err();
        assert_eq!(error.error.status(), 413);
        let message = crate::sip::Message::salvage(error.head, &Limits::default()).unwrap();
        assert_eq!(message.call_id(), Ok("1"));
    }

    #[test]
    fn a_message_at_the_limits_passes() {
        let mut f = framer();
        let head = format!("BYE sip:a@h SIP/2.0\r\nContent-Length: 100\r\nX: {}\r\n\r\n", "x".repeat(200 - 49));
        assert_eq!(head.len(), 200);
        f.push(head.as_bytes());
        assert_eq!(f.next(), Ok(None));
        f.push(&[b'b'; 100]);
        assert!(matches!(f.next(), Ok(Some(Frame::Message(m))) if m.len() == 300));
    }
}
