//! contract
pub mod media;
