//! From one process of a border to the next: listening sockets (`SCM_RIGHTS`, unix(7)), then words and SIP messages, over one Unix stream socket.
//!
//! A frame is two lengths of four octets, big-endian, a head of JSON and a body as it is. What the words are, `app` knows.

mod descriptors;
mod link;

pub use link::{Heard, Link, Opening, ask};
