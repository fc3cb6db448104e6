//! Call flows on the pure core with virtual time: RFC 3665, RFC 5359 and the border's own, as scripts between two parties.

mod agent;
mod basic;
mod cancel;
mod delayed_offer;
mod failover;
mod forking;
mod lab;
mod last;
mod liveness;
mod lossy;
mod lowered;
mod modify;
mod outcalls;
mod random;
mod redirect;
mod refusals;
mod release;
mod reliable;
mod removed;
mod reroute;
mod resources;
mod rfc3665;
mod script;
mod security;
mod session_timer;
mod status;
