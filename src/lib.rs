//! Portcullis: a session border controller for voicemail and Unified Messaging.
//!
//! Five pure folders speak, one folder acts. Read the names down and you have the book:
//!
//! | folder | part | what it is |
//! |---|---|---|
//! | [`sip`], [`sdp`] | I the language | messages and descriptions, as values over the received bytes |
//! | [`policy`] | II the border | decisions only: who may talk, how, to whom |
//! | [`signaling`] | III the signalling plane | transactions, dialogs, the back-to-back user agent |
//! | [`media`] | IV the media plane | one packet in, one verdict out, in the same buffer |
//! | [`adapters`] | V the rim | sockets, files, clocks, processes |
//!
//! [`config`] turns a policy set's text into settings, [`app`] composes everything, [`simulator`] is a UM server and a trunk to talk to.
//!
//! Who may import whom (kept by `tests/laws.rs`):
//! `sip`, `sdp` nothing · `policy` sip, sdp, media's control vocabulary · `media` sdp's crypto vocabulary · `signaling` sip, sdp, policy, media's
//! control vocabulary and ports · `adapters` the five planes, never one another · `config` settings types · `app` everything. [`time`] is everyone's.

// What clippy.toml forbids, and why; the folders that exist to do it are set free one by one.
#![warn(clippy::disallowed_methods)]

#[allow(clippy::disallowed_methods)]
pub mod adapters;
#[allow(clippy::disallowed_methods)]
pub mod app;
pub mod config;
pub mod media;
pub mod policy;
pub mod sdp;
pub mod signaling;
#[allow(clippy::disallowed_methods)]
pub mod simulator;
pub mod sip;
pub mod time;
