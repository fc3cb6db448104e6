//! Part I, the language: SIP messages as values over the received bytes (RFC 3261 §7, §18.3, §19, §20, §25).

mod transport;
pub use transport::Transport;
