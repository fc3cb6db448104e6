//! Numbers as rules name them: whole (`+14255550100`), or by their beginning (`+1*`, `9011*`, `*`).
//!
//! Numbers are compared without visual separators (RFC 3966 §3), `+` kept. What is no number (a SIP URI's user, a feature code) is compared as it
//! stands, in lower case.

use crate::policy::settings::number_of;

/// A number, or the beginning of one. Make it with [`NumberPattern::parse`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NumberPattern {
    /// In the form of [`compared`].
    digits: Box<str>,
    /// Written with `*` at its end.
    beginning: bool,
}

impl NumberPattern {
    /// `None`: it is empty. A `*` counts as anything only at the end.
    pub fn parse(text: &str) -> Option<NumberPattern> {
        let text = text.trim();
        let (digits, beginning) = match text.strip_suffix('*') {
            Some("") => return Some(NumberPattern { digits: "".into(), beginning: true }),
            Some("+") => return Some(NumberPattern { digits: "+".into(), beginning: true }),
            Some(digits) => (digits, true),
            None => (text, false),
        };
        (!digits.is_empty()).then(|| NumberPattern { digits: compared(digits).into(), beginning })
    }

    /// `number`: in the form of [`compared`].
    pub fn matches(&self, number: &str) -> bool {
        if self.beginning { number.starts_with(&*self.digits) } else { *number == *self.digits }
    }

    /// Characters it fixes: of two that match the longer one says more.
    pub fn length(&self) -> usize {
        self.digits.len()
    }
}

impl std::fmt::Display for NumberPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.digits, if self.beginning { "*" } else { "" })
    }
}

/// The form in which numbers are compared.
pub fn compared(text: &str) -> String {
    number_of(text).unwrap_or_else(|| text.to_ascii_lowercase())
}
