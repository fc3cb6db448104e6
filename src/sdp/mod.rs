//! Part I, the language: session descriptions (RFC 8866, 3264, 4568, 8122, 8839).

pub mod crypto;
pub mod description;
pub mod direction;
pub mod fingerprint;
pub mod ice;
pub mod media;
mod parse;
pub mod rtcp;
pub mod rtpmap;
pub mod t38;
mod write;

pub use description::{Attribute, Connection, Description, Line, Origin, SdpError, Text};
pub use direction::Direction;
pub use media::{Media, Proto};

#[cfg(test)]
mod tests;
