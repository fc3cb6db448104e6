//! Part II, the border: decisions only. Facts in, a verdict out, with the rule that decided and the values compared.

pub mod admission;
pub mod dial_plan;
pub mod flow;
pub mod hunt_group;
pub mod peer;
pub mod routing;
pub mod screening;
pub mod security_mode;
pub mod settings;
pub mod verdict;
