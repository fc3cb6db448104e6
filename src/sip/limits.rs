//! How much of a message is read before it is refused (RFC 3261 §21.4.11, §21.5.7).

/// Bounds on one message. Units: bytes and header lines. A message at the bound is accepted, one beyond it is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Start line and header lines together, blank line included; beyond it 513. Never taken as more than [`Limits::HEADER_BYTES_MOST`].
    pub header_bytes: usize,
    /// The body; beyond it 413.
    pub body_bytes: usize,
    /// Header lines; beyond it 513.
    pub fields: usize,
}

impl Limits {
    /// Spans into the header section are 16 bits wide.
    pub const HEADER_BYTES_MOST: usize = u16::MAX as usize;
}

impl Default for Limits {
    /// 16 KiB of headers, 64 KiB of body, 128 header lines.
    fn default() -> Limits {
        Limits { header_bytes: 16 * 1024, body_bytes: 64 * 1024, fields: 128 }
    }
}
