//! Parameters of headers and URIs (RFC 3261 §25.1 `generic-param`, §19.1.1 `uri-parameters`): `;name`, `;name=value`, `;name="quoted"`.

use std::fmt;

use super::scan::{cut_unquoted, quoted_end, trim, utf8};

/// The text after the first `;`, read on demand. Names are compared without regard to case. A parameter that is not UTF-8, or whose quotes do not stand
/// around its whole value, is unreadable and passed over everywhere.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Params<'a> {
    raw: &'a [u8],
}

impl<'a> Params<'a> {
    /// `raw`: with or without the leading `;`.
    pub fn new(raw: &'a str) -> Params<'a> {
        Params::from_bytes(raw.as_bytes())
    }

    pub fn from_bytes(raw: &'a [u8]) -> Params<'a> {
        let raw = trim(raw);
        Params { raw: raw.strip_prefix(b";").unwrap_or(raw) }
    }

    /// The value of the first readable parameter of this name: `Some("")` if it has none, without its quotes if it is quoted (escapes stay as they are).
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.raw_pairs().filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes())).find_map(|(_, v)| readable(v).map(unquote))
    }

    pub fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Name and value of each readable one, in order, values as [`Params::get`] gives them.
    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.raw_pairs().filter_map(|(n, v)| Some((readable_name(n)?, unquote(readable(v)?))))
    }

    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// As written, without the leading `;`.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.raw
    }

    fn raw_pairs(&self) -> RawPairs<'a> {
        RawPairs { rest: self.raw }
    }
}

fn readable_name(name: &[u8]) -> Option<&str> {
    utf8(name).filter(|name| !name.contains('"'))
}

/// UTF-8, and quoted as a whole or not at all; an absent value reads as an empty one.
fn readable(text: Option<&[u8]>) -> Option<&str> {
    let text = text.unwrap_or_default();
    match memchr::memchr(b'"', text) {
        Some(at) if at > 0 || quoted_end(text) != Some(text.len()) => None,
        _ => utf8(text),
    }
}

/// Without the quotes of a quoted string.
fn unquote(value: &str) -> &str {
    value.strip_prefix('"').and_then(|inner| inner.strip_suffix('"')).unwrap_or(value)
}

struct RawPairs<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RawPairs<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let (one, rest) = cut_unquoted(self.rest, b';').unwrap_or((self.rest, &[]));
            self.rest = rest;
            let (name, value) = match super::scan::cut(one, b'=') {
                Some((name, value)) => (trim(name), Some(trim(value))),
                None => (trim(one), None),
            };
            if !name.is_empty() {
                return Some((name, value));
            }
        }
        None
    }
}

impl fmt::Debug for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// Writes each readable one as `;name=value`, quotes kept: an unclosed quote would swallow what is written after it.
impl fmt::Display for Params<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in self.raw_pairs() {
            let (Some(name), Some(text)) = (readable_name(name), readable(value)) else { continue };
            match value {
                None => write!(f, ";{name}")?,
                Some(_) => write!(f, ";{name}={text}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_name_in_any_case() {
        let p = Params::new(";Tag=abc; lr ;expires = 60;x=\"a;b\\\"c\";y=a=b");
        assert_eq!(p.get("tag"), Some("abc"));
        assert_eq!(p.get("LR"), Some(""));
        assert_eq!(p.get("expires"), Some("60"));
        assert_eq!(p.get("x"), Some("a;b\\\"c"));
        assert_eq!(p.get("y"), Some("a=b"));
        assert_eq!(p.get("a"), None);
        assert_eq!(p.iter().count(), 5);
    }

    #[test]
    fn empty_and_broken_ones_do_no_harm() {
        assert!(Params::new("").is_empty());
        assert!(Params::new(";;; ;").is_empty());
        assert_eq!(Params::new(";=x;a").iter().collect::<Vec<_>>(), [("a", "")]);
        assert_eq!(Params::new("a=\"unclosed;b=c").get("b"), None);
        assert_eq!(Params::new("a=\"").get("a"), None);
        assert!(!Params::new("a=x\"y\"").has("a"));
        assert_eq!(Params::from_bytes(b"a=\xff;b=1").iter().collect::<Vec<_>>(), [("b", "1")]);
    }

    /// Found by fuzzing: a tag that was none became one when its bytes were replaced.
    #[test]
    fn what_cannot_be_written_as_it_was_is_not_written() {
        let written = |raw: &[u8]| Params::from_bytes(raw).to_string();
        assert_eq!(written(b"a ; tag=1\xff;b = \"x;y\\\"\";\xfe;c="), ";a;b=\"x;y\\\"\";c=");
        assert_eq!(written(b"a;b=\"x;tag=1"), ";a");
        assert_eq!(written(b"a;b=x\"y;tag=1"), ";a");
        assert_eq!(written(b"\"a;b\""), "");
        assert_eq!(written(b""), "");
    }

    #[test]
    fn the_first_of_two_counts() {
        assert_eq!(Params::new("a=1;a=2").get("a"), Some("1"));
        // Found by fuzzing: the first one that can be read, as iterating gives it.
        assert_eq!(Params::from_bytes(b"a=\xff;a=2").get("a"), Some("2"));
    }
}
