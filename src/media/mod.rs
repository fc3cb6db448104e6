//! Part IV, the media plane: one packet in, one verdict out, in the same buffer.

pub mod control;
pub mod ports;
pub mod relay;
