//! Part II, the border: decisions only. Facts in, a verdict out, with the rule that decided and the values compared.

pub mod access_control;
pub mod address_scope;
pub mod admission;
pub mod ban;
pub mod caller;
pub mod capability;
pub mod dial_plan;
pub mod diversion;
pub mod flow;
pub mod ground;
pub mod hunt_group;
pub mod identity;
pub mod liveness;
pub mod number_pattern;
pub mod numbering;
pub mod overlap;
pub mod peer;
pub mod redirection;
pub mod reroute;
pub mod routing;
pub mod screening;
pub mod security_mode;
pub mod settings;
pub mod toll;
pub mod topology_hiding;
pub mod verdict;
