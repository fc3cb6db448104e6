//! The back-to-back user agent (RFC 7092 §3.1.3, RFC 5853): one file per chapter of a call's life.
//!
//! `setup` lets a call in and looks for its B leg · `failover` tries one target after another · `redirect` follows a 3xx inside ·
//! `progress` brings the B side's responses to the caller · `forking` deals with answers nobody waits for any more · `answer` speaks to a leg
//! whose INVITE we hold · `modify` takes the requests inside a call and carries INFO across, `reinvite` and `update` the changes of its session ·
//! `digits` says by INFO what one side presses as telephone-events, and the reverse · `fax` notes what turns out to be one · `lifetime` writes the session timer, `refresh` keeps it · `release` ends a call · `record` writes it down ·
//! `standalone` is everything outside one, `errand` what we ask outside one, `message_waiting` what UM has us tell of mailboxes,
//! `missed_call` what we tell of them ourselves ·
//! `greylist` remembers which targets failed lately.
//! `transfer` executes REFER: `referral` is the INVITE it leads to, `joining` connects the two, `attended` makes two calls one, `subscription` tells of it;
//! `relayed` hands it to the peer of the other leg instead.

pub mod answer;
pub mod attended;
pub mod call;
pub mod digits;
pub mod errand;
pub mod failover;
pub mod fax;
pub mod forking;
pub mod greylist;
pub mod joining;
pub mod keying;
pub mod lifetime;
pub mod lingering;
pub mod message_waiting;
pub mod missed_call;
pub mod modify;
pub mod progress;
pub mod record;
pub mod redirect;
pub mod referral;
pub mod refresh;
pub mod reinvite;
pub mod relayed;
pub mod release;
pub mod reroute;
pub mod setup;
pub mod standalone;
pub mod subscription;
pub mod transfer;
pub mod update;
