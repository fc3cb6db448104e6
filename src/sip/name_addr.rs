//! `name-addr` and `addr-spec` with header parameters (RFC 3261 §20.10, §25.1): From, To, Contact, Route, Diversion and their kin.

use std::borrow::Cow;
use std::fmt;

use super::params::Params;
use super::scan::{quoted_end, trim, trim_start, utf8};
use super::uri::{Uri, UriError};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameAddr<'a> {
    /// Without quotes and escapes; bytes that are not UTF-8 are replaced. `None` if absent or empty.
    pub display: Option<Cow<'a, str>>,
    /// As written, without brackets. Not yet known to be a well-formed URI: see [`NameAddr::parsed_uri`].
    pub uri: &'a str,
    /// The header's parameters, never the URI's.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// One element of a list header, or the value of From and To. The error says what is wrong.
    pub fn parse(value: &'a [u8]) -> Result<NameAddr<'a>, &'static str> {
        let value = trim(value);
        if value.first() == Some(&b'"') {
            let end = quoted_end(value).ok_or("unclosed quote")?;
            let display = unescape(&value[1..end - 1]);
            return after_display(display, trim_start(&value[end..]));
        }
        match memchr::memchr2(b'<', b'"', value) {
            Some(at) if value[at] == b'<' => {
                let display = String::from_utf8_lossy(trim(&value[..at]));
                after_display(display, &value[at..])
            }
            Some(at) if !value[..at].contains(&b';') => Err("quote inside an unquoted display name"),
            _ => addr_spec(value),
        }
    }

    /// The `tag` parameter, if it has a value.
    pub fn tag(&self) -> Option<&'a str> {
        self.params.get("tag").filter(|tag| !tag.is_empty())
    }

    pub fn parsed_uri(&self) -> Result<Uri<'a>, UriError> {
        Uri::parse(self.uri)
    }
}

/// `rest` begins where the bracket must open.
fn after_display<'a>(display: Cow<'a, str>, rest: &'a [u8]) -> Result<NameAddr<'a>, &'static str> {
    let inner = rest.strip_prefix(b"<").ok_or("no < after the display name")?;
    let end = memchr::memchr(b'>', inner).ok_or("unclosed <")?;
    let params = trim_start(&inner[end + 1..]);
    if !params.is_empty() && params[0] != b';' {
        return Err("text after the >");
    }
    let uri = check_uri(trim(&inner[..end]))?;
    Ok(NameAddr { display: Some(display).filter(|d| !d.is_empty()), uri, params: Params::from_bytes(params) })
}

/// RFC 3261 §20.10: without brackets, parameters are the header's, and neither `?` nor `,` may stand in the URI.
fn addr_spec(value: &[u8]) -> Result<NameAddr<'_>, &'static str> {
    let end = memchr::memchr(b';', value).unwrap_or(value.len());
    let (uri, params) = value.split_at(end);
    if memchr::memchr2(b'?', b',', uri).is_some() {
        return Err("? or , in a URI without brackets");
    }
    Ok(NameAddr { display: None, uri: check_uri(trim(uri))?, params: Params::from_bytes(params) })
}

fn check_uri(uri: &[u8]) -> Result<&str, &'static str> {
    if uri.iter().any(|&b| b <= b' ' || b == 0x7f || b == b'<') {
        return Err("space or control character in the URI");
    }
    if !uri.contains(&b':') {
        return Err("no URI");
    }
    utf8(uri).ok_or("URI is not UTF-8")
}

/// Resolves `\x` of a quoted string.
fn unescape(inner: &[u8]) -> Cow<'_, str> {
    if !inner.contains(&b'\\') {
        return String::from_utf8_lossy(inner);
    }
    let mut plain = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let [first, tail @ ..] = rest {
        (plain, rest) = match (first, tail) {
            (b'\\', [escaped, tail @ ..]) => (push(plain, *escaped), tail),
            _ => (push(plain, *first), tail),
        };
    }
    Cow::Owned(String::from_utf8(plain).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned()))
}

fn push(mut bytes: Vec<u8>, b: u8) -> Vec<u8> {
    bytes.push(b);
    bytes
}

/// Writes the display name quoted and escaped, the URI in brackets, the parameters as written.
impl fmt::Display for NameAddr<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            f.write_str("\"")?;
            for c in display.chars() {
                match c {
                    '"' | '\\' => write!(f, "\\{c}")?,
                    '\r' | '\n' => f.write_str(" ")?,
                    _ => write!(f, "{c}")?,
                }
            }
            f.write_str("\" ")?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}
