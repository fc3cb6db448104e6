//! contract
pub mod certs;
pub mod handshakes;
