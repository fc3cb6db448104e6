//! A UM server, a Lync Mediation Server and a trunk to talk to: used by `quickstart` and `simulate`, by tests, and by operators before the real
//! servers exist.
//!
//! The UM side is what Exchange 2010, 2013, 2016 and its hosted kind show a gateway ([`profile`]). It speaks TCP or mutual TLS only, never
//! challenges, and is strict where UM is strict ([`rules`]). All are written from what real peers do, on sockets of their own and with rustls' own
//! verifiers; they share with the border only the message parser, the session description and the SRTP transform.

pub mod connection;
pub mod description;
pub mod dialog;
pub mod g711;
pub mod log;
pub mod outbound;
pub mod profile;
pub mod rules;
pub mod trunk;
pub mod um;
pub mod voice;
mod worker;
