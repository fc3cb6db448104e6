//! The one pass over a message's header section (RFC 3261 §7): start line, header lines as spans, Content-Length.

use smallvec::SmallVec;

use super::scan::{is_token, is_token_byte, number, trim, trim_end, trim_start, utf8};
use super::{HeaderName, Limits, Method, ParseError};

/// Half-open range of bytes in the header section.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

impl Span {
    fn new(start: usize, end: usize) -> Span {
        // The header section is never longer than `Limits::HEADER_BYTES_MOST`.
        Span { start: start as u16, end: end as u16 }
    }

    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }

    pub(super) fn of_mut(self, bytes: &mut [u8]) -> &mut [u8] {
        bytes.get_mut(usize::from(self.start)..usize::from(self.end)).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpan {
    pub(super) name: HeaderName,
    pub(super) raw_name: Span,
    /// Trimmed; folds still in it.
    pub(super) value: Span,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum StartLine {
    Request { method: Method, uri: Span },
    Response { status: u16, phrase: Span },
}

impl FieldSpan {
    /// Takes in a folded line that stands at `at`. Whether the value now has a line break inside.
    fn extend(&mut self, line: &[u8], at: usize) -> bool {
        let text = trim(line);
        if text.is_empty() {
            return false;
        }
        let start = at + line.len() - trim_start(line).len();
        let first = self.value.start == self.value.end;
        let value = Span::new(start, start + text.len());
        self.value = if first { value } else { Span { start: self.value.start, end: value.end } };
        !first
    }
}

/// Holds the header lines of nearly every message without allocating.
pub(super) type Fields = SmallVec<[FieldSpan; 32]>;

#[derive(Debug)]
pub(super) struct Index {
    pub(super) start: StartLine,
    pub(super) fields: Fields,
    /// Where the body begins.
    pub(super) head_len: usize,
    /// Some value holds line breaks that must become spaces (RFC 3261 §7.3.1).
    pub(super) broken: bool,
    pub(super) content_length: Option<usize>,
}

/// How strictly to read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    Strict,
    /// Whatever can be used of a message that is refused anyway: bad lines, surplus lines and the version are passed over.
    Salvage,
}

/// Indexes `buf`, which begins with the start line.
pub(super) fn index(buf: &[u8], limits: &Limits, reading: Reading) -> Result<Index, ParseError> {
    let most = limits.header_bytes.min(Limits::HEADER_BYTES_MOST);
    let head = &buf[..buf.len().min(most)];
    let whole = head.len() == buf.len();
    let unterminated = if whole { ParseError::Unterminated } else { ParseError::HeaderTooLarge };
    let strict = reading == Reading::Strict;

    let line_end = memchr::memchr(b'\n', head).ok_or(unterminated)?;
    let (line, mut ended_by_crlf) = strip_cr(&head[..line_end]);
    let start = start_line(line, reading)?;
    let mut index = Index { start, fields: Fields::new(), head_len: head.len(), broken: false, content_length: None };
    let mut at = line_end + 1;
    let mut line_number = 1;
    // Whether a line that begins with a blank has a header to continue.
    let mut open = false;
    loop {
        line_number += 1;
        let Some(end) = memchr::memchr(b'\n', &head[at..]).map(|n| at + n) else {
            return if strict { Err(unterminated) } else { Ok(index) };
        };
        let (line, crlf) = strip_cr(&head[at..end]);
        ended_by_crlf += crlf;
        if line.is_empty() {
            index.head_len = end + 1;
            break;
        }
        if matches!(line[0], b' ' | b'\t') {
            match index.fields.last_mut() {
                Some(field) if open => {
                    index.broken |= field.extend(line, at);
                }
                _ if strict => return Err(ParseError::HeaderLine(line_number)),
                _ => {}
            }
        } else {
            let read = field(line, at);
            open = read.is_some();
            match read {
                Some(_) if index.fields.len() >= limits.fields => {
                    return if strict { Err(ParseError::TooManyFields) } else { Ok(index) };
                }
                Some(field) => index.fields.push(field),
                None if strict => return Err(ParseError::HeaderLine(line_number)),
                None => {}
            }
        }
        at = end + 1;
    }
    let carriage_returns = memchr::memchr_iter(b'\r', &head[..index.head_len]).count();
    if strict && carriage_returns != ended_by_crlf {
        return Err(ParseError::BareCarriageReturn);
    }
    index.content_length = match content_length(head, &index.fields) {
        Err(e) if strict => return Err(e),
        other => other.unwrap_or(None),
    };
    Ok(index)
}

/// The line without its CR, and how many (0 or 1) it had.
fn strip_cr(line: &[u8]) -> (&[u8], usize) {
    match line {
        [line @ .., b'\r'] => (line, 1),
        _ => (line, 0),
    }
}

/// `line` stands at `at`. `None` if it is no header line.
fn field(line: &[u8], at: usize) -> Option<FieldSpan> {
    let name_len = line.iter().position(|&b| !is_token_byte(b))?;
    let mut colon = name_len;
    while matches!(line.get(colon)?, b' ' | b'\t') {
        colon += 1;
    }
    if name_len == 0 || line[colon] != b':' {
        return None;
    }
    let mut start = colon + 1;
    while start < line.len() && matches!(line[start], b' ' | b'\t') {
        start += 1;
    }
    let mut end = line.len();
    while end > start && matches!(line[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    let name = HeaderName::from_bytes(&line[..name_len]);
    Some(FieldSpan { name, raw_name: Span::new(at, at + name_len), value: Span::new(at + start, at + end) })
}

/// One value, however often it is given (RFC 3261 §20.14).
fn content_length(head: &[u8], fields: &Fields) -> Result<Option<usize>, ParseError> {
    let mut found = None;
    for field in fields.iter().filter(|f| f.name == HeaderName::ContentLength) {
        let value = number(trim(field.value.of(head))).ok_or(ParseError::ContentLength("no number"))?;
        let value = usize::try_from(value).unwrap_or(usize::MAX);
        if found.is_some_and(|earlier| earlier != value) {
            return Err(ParseError::ContentLength("given twice with different values"));
        }
        found = Some(value);
    }
    Ok(found)
}

fn start_line(line: &[u8], reading: Reading) -> Result<StartLine, ParseError> {
    if line.len() >= 4 && line[..4].eq_ignore_ascii_case(b"SIP/") {
        return status_line(line, reading);
    }
    let text = trim_end(line);
    let method_len = memchr::memchr(b' ', text).ok_or(ParseError::StartLine("no request line"))?;
    let uri_end = memchr::memrchr(b' ', text).ok_or(ParseError::StartLine("no request line"))?;
    if !is_token(&text[..method_len]) {
        return Err(ParseError::StartLine("malformed method"));
    }
    check_version(&text[uri_end + 1..], reading)?;
    let uri = text.get(method_len + 1..uri_end).ok_or(ParseError::StartLine("no Request-URI"))?;
    if uri.is_empty() || utf8(uri).is_none() || uri.iter().any(|&b| b <= b' ' || b == 0x7f) {
        return Err(ParseError::StartLine("malformed Request-URI"));
    }
    let method = Method::from_bytes(&text[..method_len]).ok_or(ParseError::StartLine("malformed method"))?;
    Ok(StartLine::Request { method, uri: Span::new(method_len + 1, uri_end) })
}

fn status_line(line: &[u8], reading: Reading) -> Result<StartLine, ParseError> {
    let version_len = memchr::memchr(b' ', line).ok_or(ParseError::StartLine("no status code"))?;
    check_version(&line[..version_len], reading)?;
    let rest = &line[version_len + 1..];
    // The blank before an empty reason phrase is required, and often left out.
    let (code, phrase) = rest.split_at(rest.len().min(3));
    if !matches!(phrase.first(), None | Some(b' ')) {
        return Err(ParseError::StartLine("malformed status code"));
    }
    let status = number(code).filter(|n| (100..=699).contains(n)).ok_or(ParseError::StartLine("malformed status code"))?;
    let phrase_start = line.len().min(version_len + 5);
    Ok(StartLine::Response { status: status as u16, phrase: Span::new(phrase_start, phrase_start.max(trim_end(line).len())) })
}

/// RFC 3261 §7.1: in any case.
fn check_version(text: &[u8], reading: Reading) -> Result<(), ParseError> {
    if text.eq_ignore_ascii_case(b"SIP/2.0") {
        return Ok(());
    }
    if text.len() < 4 || !text[..4].eq_ignore_ascii_case(b"SIP/") {
        return Err(ParseError::StartLine("no SIP version"));
    }
    let number = text[4..].iter().all(|b| b.is_ascii_digit() || *b == b'.') && text[4..].contains(&b'.');
    match (number, reading) {
        (true, Reading::Strict) => Err(ParseError::Version),
        (true, Reading::Salvage) => Ok(()),
        (false, _) => Err(ParseError::StartLine("malformed SIP version")),
    }
}
