//! Part I, the language: SIP messages as values over the received bytes (RFC 3261 §7, §18.3, §19, §20, §25).
//!
//! [`Message::parse`] indexes the header lines once, without copying; every typed header is read on demand from its own bytes, so one bad header
//! spoils only itself. [`Builder`] writes, [`Framer`] cuts a byte stream into messages.

mod builder;
mod error;
mod framing;
mod header_name;
pub mod headers;
mod index;
mod limits;
mod list;
mod message;
mod method;
mod multipart;
mod name_addr;
mod params;
mod phrase;
mod scan;
mod transport;
mod uri;
mod via;

pub use builder::Builder;
pub use error::{HeaderError, HeaderProblem, ParseError};
pub use framing::{Frame, FrameError, Framer};
pub use header_name::HeaderName;
pub use headers::{CSeq, Diversion, Event, HistoryEntry, RAck, Reason, Refresher, Replaces, SessionExpires, SubscriptionState, Warning};
pub use limits::Limits;
pub use list::split_list;
pub use message::{Field, Message};
pub use method::Method;
pub use multipart::{Part, Parts};
pub use name_addr::NameAddr;
pub use params::Params;
pub use phrase::phrase;
pub use transport::Transport;
pub use uri::{Scheme, Uri, UriError};
pub use via::Via;

#[cfg(test)]
mod tests;
