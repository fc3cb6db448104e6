//! What metrics and logs say of a message: its method and status, nothing that its sender could make grow.

use bytes::Bytes;

use crate::sip::{Limits, Message, Method};

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    /// Of the request, or of the request answered (CSeq). `None`: it names none.
    pub method: Option<Method>,
    /// `None`: a request.
    pub status: Option<u16>,
}

impl Summary {
    /// Nearly all messages are of peers or our own, and say it where it is looked for first; any other is parsed.
    pub fn of(bytes: &Bytes) -> Option<Summary> {
        at_a_glance(bytes).or_else(|| {
            let message = read(bytes)?;
            let method = message.method().cloned().or_else(|| message.cseq().ok().map(|cseq| cseq.method));
            Some(Summary { method, status: message.status() })
        })
    }

    pub fn method(&self) -> &str {
        self.method.as_ref().map_or("", Method::as_str)
    }
}

/// Of a message written as RFC 3261 has it, with a method that is known.
fn at_a_glance(bytes: &[u8]) -> Option<Summary> {
    let start = &bytes[..memchr::memchr(b'\r', bytes)?];
    match start.strip_prefix(b"SIP/2.0 ") {
        Some([hundreds @ b'1'..=b'6', tens @ b'0'..=b'9', units @ b'0'..=b'9', b' ', ..]) => {
            let digit = |digit: &u8| u16::from(digit - b'0');
            let cseq = memchr::memmem::find(bytes, b"\r\nCSeq: ").filter(|at| memchr::memmem::find(&bytes[..*at], b"\r\n\r\n").is_none())?;
            let value = &bytes[cseq + 8..];
            let method = value[..memchr::memchr(b'\r', value)?].split(|byte| *byte == b' ').next_back()?;
            Some(Summary { method: Some(known(method)?), status: Some(digit(hundreds) * 100 + digit(tens) * 10 + digit(units)) })
        }
        Some(_) => None,
        None => start
            .ends_with(b" SIP/2.0")
            .then_some(())
            .and_then(|()| known(&start[..memchr::memchr(b' ', start)?]))
            .map(|method| Summary { method: Some(method), status: None }),
    }
}

fn known(token: &[u8]) -> Option<Method> {
    Method::from_bytes(token).filter(|method| !matches!(method, Method::Other(_)))
}

/// The message, or what can be used of it.
pub(super) fn read(bytes: &Bytes) -> Option<Message> {
    let limits = Limits::default();
    Message::parse(bytes.clone(), &limits).ok().or_else(|| Message::salvage(bytes.clone(), &limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(start: &str, cseq: &str) -> Bytes {
        format!("{start}\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: c\r\n{cseq}\r\nContent-Length: 0\r\n\r\n")
            .into()
    }

    #[test]
    fn a_glance_sees_what_parsing_finds() {
        for (start, cseq, method, status) in [
            ("INVITE sip:b@h SIP/2.0", "CSeq: 1 INVITE", "INVITE", None),
            ("XYZ sip:b@h SIP/2.0", "CSeq: 1 XYZ", "XYZ", None),
            ("SIP/2.0 200 OK", "CSeq: 1 BYE", "BYE", Some(200)),
            ("SIP/2.0 486 ", "cseq:  2   UPDATE", "UPDATE", Some(486)),
            ("SIP/2.0 699 What\u{e9}ver", "CSeq: 3 NEW", "NEW", Some(699)),
        ] {
            let bytes = message(start, cseq);
            let summary = Summary::of(&bytes).unwrap();
            assert_eq!((summary.method(), summary.status), (method, status), "{start}");
            let parsed = read(&bytes).unwrap();
            let of_request = parsed.method().cloned().or_else(|| parsed.cseq().ok().map(|cseq| cseq.method));
            assert_eq!(summary, Summary { method: of_request, status: parsed.status() });
        }
    }

    #[test]
    fn what_a_body_says_is_no_summary() {
        let bytes = Bytes::from_static(b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP h\r\nContent-Length: 20\r\n\r\nx\r\nCSeq: 1 INVITE\r\n");
        assert_eq!(Summary::of(&bytes).map(|summary| summary.method().to_owned()).unwrap_or_default(), "");
        for noise in ["", "\r", "SIP/2.0 2", "\u{1}\r\n", "GET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(at_a_glance(noise.as_bytes()), None, "{noise:?}");
        }
    }
}
