//! Typed headers, read on demand from a [`super::Message`] (RFC 3261 §20 and extensions), one file per family.

mod addresses;
mod capabilities;
pub(super) mod content;
mod events;
mod history;
mod reasons;
mod reliability;
mod request;
mod session;
mod transfer;

pub use events::{Event, SubscriptionState};
pub use history::{Diversion, HistoryEntry};
pub use reasons::{Reason, Warning};
pub use reliability::RAck;
pub use request::CSeq;
pub use session::{Refresher, SessionExpires};
pub use transfer::Replaces;

use super::HeaderError;
use super::HeaderName;
use super::scan::{number, trim};

/// A number that must fit 32 bits, with nothing beside it.
fn number_32(name: HeaderName, value: &[u8]) -> Result<u32, HeaderError> {
    let wide = number(trim(value)).ok_or(HeaderError::malformed(name, "no number"))?;
    u32::try_from(wide).map_err(|_| HeaderError::malformed(name, "number too large"))
}

#[cfg(test)]
mod tests;
