//! Whether a direction of a stream may be carried by a shorter way than through us.

use std::fmt;

/// Why it may not, or is not yet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WhyNot {
    /// A side is not configured, or on hold.
    NotReady,
    /// The packets are changed on their way: SRTP on a side, RTCP made by us, fax.
    Transformed,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            WhyNot::NotReady => "a side is not configured or on hold",
            WhyNot::Transformed => "the packets are changed on their way",
        })
    }
}
