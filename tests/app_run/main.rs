//! The program as it is run: real processes on loopback, a simulated trunk and UM beside them.

mod api;
mod calls;
mod commands;
mod control;
mod hep;
mod hosted;
mod listeners;
mod liveness;
mod missed_calls;
mod mixed;
mod no_audio;
mod numbers;
mod otlp;
mod policy;
#[path = "../ports/mod.rs"]
mod ports;
mod process;
mod quickstart;
mod receivers;
mod reload;
mod reload_parts;
mod remote;
mod removed;
mod rotation;
mod simulate;
mod statuses;
mod stop;
mod supervised;
mod takeover;
