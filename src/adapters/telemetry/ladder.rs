//! The ladder: both legs of a call on one canvas, with us in the middle.

use super::Anchor;
use crate::signaling::fact::Fact;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Calls kept; zero: none.
    pub calls: usize,
    /// Messages and notes kept of one call.
    pub entries: usize,
    /// Bytes kept of all calls together.
    pub bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { calls: 64, entries: 200, bytes: 8 << 20 }
    }
}

/// The ladder of these facts, plain text, at most 140 columns. Times are on the process's line.
pub fn render(_facts: &[Fact]) -> String {
    String::new()
}

/// The same with wall-clock times (UTC).
pub fn render_at(_facts: &[Fact], _anchor: &Anchor) -> String {
    String::new()
}
