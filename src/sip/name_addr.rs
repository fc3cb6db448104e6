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
    if uri.iter().any(|&b| b <= b' ' || matches!(b, 0x7f | b'<' | b'>' | b'"')) {
        return Err("space, control character, quote or bracket in the URI");
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> NameAddr<'_> {
        NameAddr::parse(text.as_bytes()).unwrap_or_else(|what| panic!("{text}: {what}"))
    }

    #[test]
    fn every_shape() {
        for (text, display, uri, tag) in [
            ("\"Doe, Jane\" <sip:j@h;x=1>;tag=a", Some("Doe, Jane"), "sip:j@h;x=1", Some("a")),
            ("Jane  Doe<sip:j@h> ; tag = a ", Some("Jane  Doe"), "sip:j@h", Some("a")),
            ("<sip:j@h>", None, "sip:j@h", None),
            ("\"\" <sip:j@h>;tag=", None, "sip:j@h", None),
            ("sip:j@h;tag=a;x", None, "sip:j@h", Some("a")),
            ("sip:j@h ;tag=a", None, "sip:j@h", Some("a")),
            ("< sip:j@h\t>", None, "sip:j@h", None),
            ("\"a \\\"b\\\\ \\<c\" <tel:+1>", Some("a \"b\\ <c"), "tel:+1", None),
            ("\"<sip:evil@x>\" <sip:j@h>", Some("<sip:evil@x>"), "sip:j@h", None),
            ("192.0.2.1 <sip:j@h>", Some("192.0.2.1"), "sip:j@h", None),
            ("sip:j@h;+sip.instance=\"<urn:uuid:1>\";tag=a", None, "sip:j@h", Some("a")),
            ("<sip:a,b@h?x=y>", None, "sip:a,b@h?x=y", None),
        ] {
            let address = read(text);
            assert_eq!((address.display.as_deref(), address.uri, address.tag()), (display, uri, tag), "{text}");
        }
    }

    #[test]
    fn without_brackets_parameters_are_the_headers() {
        assert_eq!(read("sip:j@h;transport=tls").params.get("transport"), Some("tls"));
        assert_eq!(read("sip:j@h;transport=tls").parsed_uri().unwrap().transport(), None);
        assert_eq!(read("<sip:j@h;transport=tls>").parsed_uri().unwrap().transport(), Some("tls"));
    }

    #[test]
    fn what_is_refused() {
        for bad in [
            "",
            "*",
            "\"unclosed <sip:j@h>",
            "\"a\" sip:j@h",
            "\"a\" \"<sip:j@h>",
            "\"",
            "\"\\",
            "a \"b\" <sip:j@h>",
            "<sip:j@h",
            "sip:j@h>",
            "<sip:j@h> tag=a",
            "<sip:j@h>x;tag=a",
            "<>",
            "<j>",
            "sip:j@h?a=b",
            "sip:a@h,sip:b@h",
            "<sip:j @h>",
            "<sip:a<b@h>",
            "Jane sip:j@h",
            "<sip:j@h>, <sip:k@h>",
        ] {
            assert!(NameAddr::parse(bad.as_bytes()).is_err(), "{bad:?} gives {:?}", NameAddr::parse(bad.as_bytes()));
        }
        assert!(NameAddr::parse(b"<sip:\xff@h>").is_err());
    }

    #[test]
    fn display_names_that_are_not_utf8_cost_only_themselves() {
        let address = NameAddr::parse(b"\"J\xfcrgen\" <sip:j@h>;tag=1;x=\xfc").unwrap();
        assert_eq!(address.display.as_deref(), Some("J\u{fffd}rgen"));
        assert_eq!((address.uri, address.tag()), ("sip:j@h", Some("1")));
        assert_eq!(NameAddr::parse(b"J\xfcrgen <sip:j@h>").unwrap().display.as_deref(), Some("J\u{fffd}rgen"));
        assert_eq!(NameAddr::parse(b"\"\\\xfc\" <sip:j@h>").unwrap().display.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn written_it_reads_back_the_same() {
        for text in ["\"a \\\"b\\\\\" <sip:j@h;x=1>;tag=a;y=\"q;r\"", "<tel:+1>", "Jane <sip:j@h>"] {
            let address = read(text);
            let written = address.to_string();
            assert_eq!(read(&written), address, "{written}");
        }
        let hostile = NameAddr { display: Some("a\r\nX: \"y".into()), uri: "sip:j@h", params: Params::default() };
        assert_eq!(hostile.to_string(), "\"a  X: \\\"y\" <sip:j@h>");
    }
}
