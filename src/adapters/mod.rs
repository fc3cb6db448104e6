//! contract
pub mod admin;
pub mod dns;
pub mod media;
pub mod telemetry;
