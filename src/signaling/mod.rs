//! Part III, the signalling plane: pure state machines. A few events in, a few actions out.

pub mod b2bua;
pub mod border;
pub mod branch;
pub mod census;
pub mod closed_flows;
pub mod companion;
pub mod core;
pub mod dialog;
pub mod event;
pub mod fact;
pub mod identifiers;
pub mod liveness;
pub mod load;
pub mod locating;
pub mod peer_name;
pub mod retired;
pub mod session;
pub mod settings;
pub mod throttle;
pub mod timers;
pub mod transaction;
pub mod transport;
