//! Part I, the language: session descriptions (RFC 8866, 3264, 4568).

pub mod crypto;
