//! contract
pub mod admin;
pub mod dns;
pub mod media;
pub mod net;
pub mod telemetry;
pub mod tls;
