//! The back-to-back user agent (RFC 7092 §3.1.3, RFC 5853): one file per chapter of a call's life.
//!
//! `setup` lets a call in and looks for its B leg · `failover` tries one target after another · `redirect` follows a 3xx inside ·
//! `progress` brings the B side's responses to the caller · `forking` deals with answers nobody waits for any more · `answer` speaks to a leg
//! whose INVITE we hold · `lifetime` writes its session timer · `modify` carries re-INVITE, UPDATE and other requests across · `release` ends a call · `record` writes it down ·
//! `standalone` is everything outside a call.

pub mod answer;
pub mod call;
pub mod failover;
pub mod forking;
pub mod lifetime;
pub mod modify;
pub mod progress;
pub mod record;
pub mod redirect;
pub mod release;
pub mod setup;
pub mod standalone;
