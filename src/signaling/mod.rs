//! Part III, the signalling plane: pure state machines. A few events in, a few actions out.

pub mod event;
pub mod fact;
pub mod locating;
pub mod session;
pub mod settings;
pub mod timers;
pub mod transaction;
