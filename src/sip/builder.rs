//! Writing messages (RFC 3261 §7). No value can begin a header of its own: CR and LF become spaces.

use std::fmt::{self, Write as _};

use bytes::Bytes;

use super::Method;
use super::scan::{is_token, is_token_byte};

/// Writes one message from its start line on. Content-Length is written by [`Builder::finish`] and nobody else.
#[derive(Clone)]
pub struct Builder {
    head: Vec<u8>,
    body: Vec<u8>,
}

/// Room for the headers of a usual message and a short body, so that neither makes it grow.
const HEAD_BYTES: usize = 2048;

impl Builder {
    /// Blanks in `uri` become `%20`.
    pub fn request(method: &Method, uri: &str) -> Builder {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(method.as_str().as_bytes());
        head.push(b' ');
        if uri.bytes().all(|b| b > b' ') {
            head.extend_from_slice(uri.as_bytes());
        } else {
            for b in uri.bytes() {
                match b {
                    0..=b' ' => head.extend_from_slice(b"%20"),
                    b => head.push(b),
                }
            }
        }
        head.extend_from_slice(b" SIP/2.0\r\n");
        Builder { head, body: Vec::new() }
    }

    /// `status` outside 100 to 699 is taken to the nearer of the two.
    pub fn response(status: u16, phrase: &str) -> Builder {
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(b"SIP/2.0 ");
        push_number(&mut head, usize::from(status.clamp(100, 699)));
        head.push(b' ');
        push_clean(&mut head, phrase.as_bytes());
        head.extend_from_slice(b"\r\n");
        Builder { head, body: Vec::new() }
    }

    /// Adds a line. Content-Length is passed over: it is [`Builder::finish`]'s.
    pub fn header(&mut self, name: &str, value: impl AsRef<[u8]>) -> &mut Builder {
        if self.push_name(name) {
            push_clean(&mut self.head, value.as_ref());
            self.head.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Adds a line whose value is formatted: `header_fmt("CSeq", format_args!("{n} {method}"))`.
    pub fn header_fmt(&mut self, name: &str, value: fmt::Arguments<'_>) -> &mut Builder {
        if self.push_name(name) {
            // Writing into a Vec does not fail; a value whose own Display fails is cut short there.
            let _ = Clean(&mut self.head).write_fmt(value);
            self.head.extend_from_slice(b"\r\n");
        }
        self
    }

    /// Sets the body and writes its Content-Type. Called once; a second body replaces the first, its Content-Type is then there twice.
    pub fn body(&mut self, content_type: &str, body: &[u8]) -> &mut Builder {
        self.header("Content-Type", content_type);
        self.body.clear();
        self.body.extend_from_slice(body);
        self
    }

    pub fn finish(self) -> Bytes {
        let Builder { mut head, body } = self;
        head.reserve(body.len() + 32);
        head.extend_from_slice(b"Content-Length: ");
        push_number(&mut head, body.len());
        head.extend_from_slice(b"\r\n\r\n");
        head.extend_from_slice(&body);
        Bytes::from(head)
    }

    /// Whether the line is to be written.
    fn push_name(&mut self, name: &str) -> bool {
        if name.is_empty() || name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("l") {
            return false;
        }
        if is_token(name.as_bytes()) {
            self.head.extend_from_slice(name.as_bytes());
        } else {
            self.head.extend(name.bytes().map(|b| if is_token_byte(b) { b } else { b'-' }));
        }
        self.head.extend_from_slice(b": ");
        true
    }
}

fn push_clean(out: &mut Vec<u8>, value: &[u8]) {
    let from = out.len();
    out.extend_from_slice(value);
    if memchr::memchr2(b'\r', b'\n', value).is_some() {
        for b in out.iter_mut().skip(from).filter(|b| matches!(b, b'\r' | b'\n')) {
            *b = b' ';
        }
    }
}

fn push_number(out: &mut Vec<u8>, mut value: usize) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

struct Clean<'a>(&'a mut Vec<u8>);

impl fmt::Write for Clean<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        push_clean(self.0, text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_a_request_with_a_body() {
        let mut builder = Builder::request(&Method::Invite, "sip:b@h");
        builder.header("Call-ID", "1@h").header_fmt("CSeq", format_args!("{} {}", 7, Method::Invite)).header("Subject", b"\xff");
        builder.body("application/sdp", b"v=0\r\n");
        assert_eq!(
            &builder.finish()[..],
            b"INVITE sip:b@h SIP/2.0\r\nCall-ID: 1@h\r\nCSeq: 7 INVITE\r\nSubject: \xff\r\nContent-Type: application/sdp\r\nContent-Length: 5\r\n\r\nv=0\r\n"
        );
    }

    #[test]
    fn writes_a_response_without_one() {
        assert_eq!(&Builder::response(488, "Not Acceptable Here").finish()[..], b"SIP/2.0 488 Not Acceptable Here\r\nContent-Length: 0\r\n\r\n");
        assert!(Builder::response(7, "").finish().starts_with(b"SIP/2.0 100 \r\n"));
        assert!(Builder::response(u16::MAX, "").finish().starts_with(b"SIP/2.0 699 \r\n"));
    }

    #[test]
    fn nothing_can_begin_a_line_of_its_own() {
        let mut builder = Builder::request(&Method::Bye, "sip:b@h\r\nX-Uri: 1");
        builder.header("A\r\nX-Name", "1\r\nX-Value: 2").header_fmt("B", format_args!("{}{}", "\r", "\nX-Fmt: 3"));
        builder.body("text/plain\r\nX-Type: 4", b"\r\n");
        let text = String::from_utf8(builder.finish().to_vec()).unwrap();
        assert_eq!(
            text,
            "BYE sip:b@h%20%20X-Uri:%201 SIP/2.0\r\nA--X-Name: 1  X-Value: 2\r\nB:   X-Fmt: 3\r\nContent-Type: text/plain  X-Type: 4\r\nContent-Length: 2\r\n\r\n\r\n"
        );
        let phrase = Builder::response(200, "OK\r\nX: y").finish();
        assert!(phrase.starts_with(b"SIP/2.0 200 OK  X: y\r\n"));
    }

    #[test]
    fn content_length_is_written_once_and_true() {
        let mut builder = Builder::response(200, "OK");
        builder.header("Content-Length", "99").header("l", "98").header("", "no name");
        assert_eq!(&builder.finish()[..], b"SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n");
    }
}
