//! What is done with any bytes at all, for everything that strangers' bytes reach: each `run` panics where an invariant does not hold. libFuzzer calls them
//! by way of `fuzz_targets`, and `tests/fuzz_targets.rs` with seeds and what it makes of them, so that they keep compiling and holding.

pub mod dtls;
pub mod ice;
pub mod pieces;
pub mod relay;
pub mod rtcp;
pub mod sdp;
pub mod sip_framer;
pub mod sip_message;
pub mod srtp_unprotect;
pub mod udptl;
