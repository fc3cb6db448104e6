//! What the body is: Content-Type, Content-Encoding, and the SDP within (RFC 3261 §20.12, §20.15, RFC 5621).

use crate::sip::{HeaderName, Message, Parts};

/// How deep multipart bodies may nest.
const DEPTH: usize = 3;

pub(in crate::sip) fn sdp(message: &Message) -> Option<&[u8]> {
    let encoded = message.first(HeaderName::ContentEncoding).is_some_and(|encoding| !encoding.eq_ignore_ascii_case(b"identity"));
    if encoded {
        return None;
    }
    sdp_within(message.content_type()?, message.body(), DEPTH)
}

fn sdp_within<'a>(content_type: &'a str, body: &'a [u8], depth: usize) -> Option<&'a [u8]> {
    if is_media_type(content_type, "application", "sdp") {
        return Some(body);
    }
    if depth == 0 {
        return None;
    }
    Parts::of(content_type, body)?.find_map(|part| sdp_within(part.content_type()?, part.body, depth - 1))
}

/// Compares the type and subtype, in any case, blanks around the slash allowed, parameters left aside.
fn is_media_type(content_type: &str, family: &str, kind: &str) -> bool {
    let media = content_type.split(';').next().unwrap_or_default();
    media.split_once('/').is_some_and(|(f, k)| f.trim().eq_ignore_ascii_case(family) && k.trim().eq_ignore_ascii_case(kind))
}

impl Message {
    /// Whether the body is of this media type, such as `("application", "sdp")`.
    pub fn is_content(&self, family: &str, kind: &str) -> bool {
        self.content_type().is_some_and(|content_type| is_media_type(content_type, family, kind))
    }
}
