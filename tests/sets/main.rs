//! Every shipped policy set is called through, on the pure core, with the set's own peers: each hunt group by a call of its peer to its pilot, as far as
//! the worker of its UM, and explained.

mod calls;
mod explained;
mod stage;
