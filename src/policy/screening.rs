//! The order in which the border asks its questions of an INVITE, and the one value that proves they were all answered.

use std::sync::Arc;

pub use crate::policy::admission::Load;
use crate::policy::flow::Flow;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::MediaPlan;
use crate::policy::settings::{DialPlan, Peer, PolicySet, UmPool};
use crate::policy::verdict::{Decision, Reason};

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub set: &'a PolicySet,
    pub table: &'a PeerTable,
    pub load: Load,
    pub flow: &'a Flow,
    pub peer: &'a Arc<Peer>,
    // pub invite: &'a Message,
    // pub offer: Option<&'a Description>,
}

/// A call that screening let in. Only `screen` makes one.
#[derive(Clone, Debug, PartialEq)]
pub struct Admitted {
    pub peer: Arc<Peer>,
    /// `None` for a UM server's outward call that no plan governs.
    pub plan: Option<Arc<DialPlan>>,
    pub pool: Option<Arc<UmPool>>,
    /// Peers to try for the B leg, in order; never empty.
    pub targets: Vec<Arc<Peer>>,
    pub a: MediaPlan,
    pub b: MediaPlan,
    /// User part for the B leg's Request-URI and To, as the dial plan wants it.
    pub called: String,
    _screened: (),
}

pub struct Screening {
    pub trail: Vec<Decision>,
    pub outcome: Result<Admitted, Reason>,
}
