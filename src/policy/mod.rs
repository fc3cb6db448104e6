//! Part II, the border: decisions only. Facts in, a verdict out, with the rule that decided and the values compared.

pub mod flow;
pub mod peer;
pub mod screening;
pub mod security_mode;
pub mod settings;
pub mod verdict;
