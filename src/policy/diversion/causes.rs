//! Why a call was diverted, as Diversion says it and as History-Info does (RFC 7544 §3.3 and §3.4, RFC 4458 §2).
//!
//! | Diversion | History-Info | note |
//! |---|---|---|
//! | unconditional | 302 | |
//! | user-busy | 486 | |
//! | no-answer | 408 | Microsoft: 487 |
//! | deflection | 480, 487 while ringing | |
//! | unavailable | 503 | |
//! | everything else | 404 | unknown |

use super::Cause487;

/// What a cause was written in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Protocol {
    Sip,
    Q850,
}

impl Protocol {
    pub const fn token(self) -> &'static str {
        match self {
            Protocol::Sip => "SIP",
            Protocol::Q850 => "Q.850",
        }
    }
}

/// The `reason` of Diversion for a cause.
pub const fn reason(protocol: Protocol, cause: u16, cause_487: Cause487) -> &'static str {
    match (protocol, cause, cause_487) {
        (Protocol::Sip, 302, _) => "unconditional",
        (Protocol::Sip, 486, _) | (Protocol::Q850, 17, _) => "user-busy",
        (Protocol::Sip, 408, _) | (Protocol::Sip, 487, Cause487::NoAnswer) | (Protocol::Q850, 18 | 19, _) => "no-answer",
        (Protocol::Sip, 480, _) | (Protocol::Sip, 487, Cause487::Deflection) => "deflection",
        (Protocol::Sip, 503, _) => "unavailable",
        _ => "unknown",
    }
}

/// The cause for the `reason` of Diversion, with the text Microsoft writes beside it.
pub fn cause(reason: Option<&str>, cause_487: Cause487) -> (u16, Option<&'static str>) {
    match reason {
        Some("unconditional") => (302, None),
        Some("user-busy") => (486, None),
        Some("no-answer") if cause_487 == Cause487::NoAnswer => (487, Some("Timeout")),
        Some("no-answer") => (408, None),
        Some("deflection") => (480, None),
        Some("unavailable") => (503, None),
        _ => (404, None),
    }
}
