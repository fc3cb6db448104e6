//! A UM server and a trunk to talk to: used by `quickstart`, by tests, and by operators before the real servers exist.
//!
//! The UM side is what Exchange 2013 and 2016 show a gateway: a call router that answers INVITE with 302, a UM service that answers 302 again, and a
//! worker that takes the call and plays a greeting. It speaks TCP or mutual TLS only, never challenges, and is strict where UM is strict. Both sides
//! are written from what real peers do, on sockets of their own and with rustls' own verifiers; they share with the border only the message
//! parser, the session description and the SRTP transform.

pub mod connection;
pub mod description;
pub mod g711;

pub mod trunk;
pub mod um;
pub mod voice;
