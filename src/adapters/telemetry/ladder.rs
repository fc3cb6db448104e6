//! The ladder: both legs of a call on one canvas, with us in the middle.
//!
//! Above stands a line for each leg: its mode, what TLS came to, the SRTP suite. Columns are the caller, the border, and the addresses of the called side in the
//! order of first sight. Each message is an arrow with its time and the time since the row before; decisions stand between the arrows with their rule and the values
//! compared, and media as bars where they began. One [`Drawing`] holds all of it, and each form is made from that: text of at most 140 columns, a picture (SVG),
//! a capture file (pcapng), JSON. No key and no credential is in it,
//! but for calls that an operator has asked to be traced, where that is allowed.

mod canvas;
mod capture;
mod drawing;
mod drawn;
mod head;
mod kept;
mod picture;
mod text;
mod trace;

pub use self::drawing::{Class, Compared, Drawing, Mark, Passed, Row};
pub use self::drawn::Counted;
pub(super) use self::kept::Ladders;
pub use self::kept::{Held, Load, Stage, Who};
pub use self::picture::STYLE;
pub use self::text::{Drawn, Look, Stamp, clock};
pub use self::trace::{Order, Standing};
use super::wall::Anchor;
use crate::signaling::fact::Fact;
use crate::time::Time;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Calls kept; zero: none.
    pub calls: usize,
    /// Messages and notes kept of one call.
    pub entries: usize,
    /// Bytes kept of all calls together.
    pub bytes: usize,
    /// Operators may have messages kept with their keys for a while.
    pub traces: bool,
}

impl Default for Settings {
    /// A call of two legs, one of them redirected, takes about 20 KB as these bytes are reckoned.
    fn default() -> Settings {
        Settings { calls: 2000, entries: 200, bytes: 64 << 20, traces: false }
    }
}

/// The ladder of these facts, one call's as a rule, as text. Times are on the process's line.
pub fn render(facts: &[Fact]) -> String {
    render_at(facts, &Anchor { time: Time::ZERO, wall: std::time::UNIX_EPOCH })
}

/// The same with wall-clock times (UTC).
pub fn render_at(facts: &[Fact], anchor: &Anchor) -> String {
    Drawing::of(facts, anchor).page()
}
