//! Comma-separated header values (RFC 3261 §7.3.1): commas inside quotes and angle brackets separate nothing.

use super::scan::{quoted_end, trim};

/// The elements of a comma-separated value, trimmed, empty ones left out. An unclosed quote or bracket takes the rest of the line.
pub fn split_list(value: &[u8]) -> List<'_> {
    List { rest: value }
}

pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for List<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while !self.rest.is_empty() {
            let end = element_end(self.rest);
            let element = trim(&self.rest[..end]);
            self.rest = self.rest.get(end + 1..).unwrap_or_default();
            if !element.is_empty() {
                return Some(element);
            }
        }
        None
    }
}

/// Index of the comma that ends the first element, or the length of `text`.
fn element_end(text: &[u8]) -> usize {
    // Most lines hold one element: no comma, nothing to walk.
    if memchr::memchr(b',', text).is_none() {
        return text.len();
    }
    let mut in_brackets = false;
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b',' if !in_brackets => return i,
            b'<' => in_brackets = true,
            b'>' => in_brackets = false,
            b'"' if !in_brackets => match quoted_end(&text[i..]) {
                Some(n) => {
                    i += n;
                    continue;
                }
                None => return text.len(),
            },
            _ => {}
        }
        i += 1;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<&str> {
        split_list(text.as_bytes()).map(|v| std::str::from_utf8(v).unwrap()).collect()
    }

    #[test]
    fn splits_at_commas_only_outside_quotes_and_brackets() {
        assert_eq!(split("a, b ,c"), ["a", "b", "c"]);
        assert_eq!(split(r#""Doe, Jane" <sip:a@b>, <sip:c,d@e>;x="1,2""#), [r#""Doe, Jane" <sip:a@b>"#, r#"<sip:c,d@e>;x="1,2""#]);
        assert_eq!(split(r#""a\", b" <sip:x>,y"#), [r#""a\", b" <sip:x>"#, "y"]);
    }

    #[test]
    fn empty_elements_vanish() {
        assert_eq!(split(" , ,a,, "), ["a"]);
        assert!(split("").is_empty());
        assert!(split(" \t").is_empty());
    }

    #[test]
    fn unclosed_quote_or_bracket_takes_the_rest() {
        assert_eq!(split(r#"a,"b,c"#), ["a", r#""b,c"#]);
        assert_eq!(split("a,<b,c"), ["a", "<b,c"]);
    }

    #[test]
    fn a_quote_inside_brackets_is_no_quote() {
        assert_eq!(split("<sip:a\"b@c>, d"), ["<sip:a\"b@c>", "d"]);
    }
}
