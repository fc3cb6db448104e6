//! Multipart bodies (RFC 2046 §5.1, RFC 5621): the parts between the boundary lines.

use super::params::Params;
use super::scan::{cut, trim, utf8};

/// One part of a multipart body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part<'a> {
    headers: &'a [u8],
    /// Without the line end that belongs to the boundary line after it.
    pub body: &'a [u8],
}

impl<'a> Part<'a> {
    /// The value of the part's header of this name, in any case, if it is UTF-8.
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.split(|&b| b == b'\n').find_map(|line| {
            let (n, value) = cut(line, b':')?;
            trim(n).eq_ignore_ascii_case(name.as_bytes()).then(|| utf8(trim(value))).flatten()
        })
    }

    /// As written; absent means `text/plain` (RFC 2046 §5.1).
    pub fn content_type(&self) -> Option<&'a str> {
        self.header("Content-Type")
    }
}

/// The parts of a multipart body, in order. The last one needs no closing boundary.
pub struct Parts<'a> {
    boundary: &'a [u8],
    /// After a boundary line; `None` when the closing one has been passed.
    rest: Option<&'a [u8]>,
}

impl<'a> Parts<'a> {
    /// `None` unless `content_type` is `multipart/…` with a boundary.
    pub fn of(content_type: &'a str, body: &'a [u8]) -> Option<Parts<'a>> {
        let (kind, params) = content_type.split_once(';')?;
        let (family, _) = kind.split_once('/')?;
        let boundary = Params::new(params).get("boundary").filter(|b| !b.is_empty() && b.len() <= 200)?.as_bytes();
        if !family.trim().eq_ignore_ascii_case("multipart") {
            return None;
        }
        // The preamble is nobody's.
        let rest = next_boundary(body, boundary).and_then(|line| (!line.closing).then_some(line.after));
        Some(Parts { boundary, rest })
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let text = self.rest.take()?;
        let part = match next_boundary(text, self.boundary) {
            Some(line) => {
                self.rest = (!line.closing).then_some(line.after);
                line.before
            }
            None => text,
        };
        let (headers, body) = split_headers(part);
        Some(Part { headers, body })
    }
}

struct BoundaryLine<'a> {
    /// Without the line end before the boundary.
    before: &'a [u8],
    after: &'a [u8],
    closing: bool,
}

/// The next line that is `--boundary` or `--boundary--`, blanks after it allowed.
fn next_boundary<'a>(text: &'a [u8], boundary: &[u8]) -> Option<BoundaryLine<'a>> {
    let mut start = 0;
    while start <= text.len() {
        let end = memchr::memchr(b'\n', &text[start..]).map_or(text.len(), |n| start + n);
        let line = &text[start..end];
        if let Some(tail) = line.strip_prefix(b"--").and_then(|l| l.strip_prefix(boundary)) {
            let tail = trim(tail);
            if tail.is_empty() || tail == b"--" {
                let before = &text[..start];
                let before = before.strip_suffix(b"\n").unwrap_or(before);
                let before = before.strip_suffix(b"\r").unwrap_or(before);
                return Some(BoundaryLine { before, after: text.get(end + 1..).unwrap_or_default(), closing: !tail.is_empty() });
            }
        }
        start = end + 1;
    }
    None
}

/// Headers and body of a part; a part that begins with a blank line has no headers.
fn split_headers(part: &[u8]) -> (&[u8], &[u8]) {
    let mut start = 0;
    while start < part.len() {
        let end = memchr::memchr(b'\n', &part[start..]).map_or(part.len(), |n| start + n);
        if trim(&part[start..end]).is_empty() {
            return (&part[..start], part.get(end + 1..).unwrap_or_default());
        }
        start = end + 1;
    }
    (part, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_keep_their_bytes_exactly() {
        let body = b"--x\r\nContent-Type: a/b\r\n\r\n\x00\xff\r\n--xy\r\n\r\n--x \t\r\n\r\nno headers\r\n--x--\r\n--x\r\nafter the end";
        let parts: Vec<_> = Parts::of("Multipart/Mixed; boundary=x", body).unwrap().collect();
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].content_type(), parts[0].body), (Some("a/b"), &b"\x00\xff\r\n--xy\r\n"[..]));
        assert_eq!((parts[1].content_type(), parts[1].body), (None, &b"no headers"[..]));
    }

    #[test]
    fn unclosed_empty_and_absent() {
        let unclosed: Vec<_> = Parts::of("multipart/mixed;boundary=x", b"--x\n\nbody\n").unwrap().collect();
        assert_eq!(unclosed.iter().map(|p| p.body).collect::<Vec<_>>(), [b"body\n"]);
        assert_eq!(Parts::of("multipart/mixed;boundary=x", b"").unwrap().count(), 0);
        assert_eq!(Parts::of("multipart/mixed;boundary=x", b"--x--").unwrap().count(), 0);
        assert_eq!(Parts::of("multipart/mixed;boundary=x", b"--x").unwrap().count(), 1);
        for none in ["multipart/mixed", "multipart/mixed;boundary=", "text/plain;boundary=x", "multipart;boundary=x", ";boundary=x"] {
            assert!(Parts::of(none, b"--x\n\nbody").is_none(), "{none}");
        }
    }
}
