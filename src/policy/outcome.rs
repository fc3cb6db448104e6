//! What screening came to, as plain values: what a recorder keeps of a call's screening, and what two policy sets are compared by.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::policy::screening::Admitted;
use crate::policy::settings::SecurityMode;
use crate::policy::verdict::Reason;

/// Let in, and on which way; or refused, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Outcome {
    Admitted(Course),
    /// By its code, since one that a later version knows no more must still be read.
    Refused {
        reason: String,
    },
}

/// Everything policy chose for an admitted call, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Course {
    pub dial_plan: Option<Arc<str>>,
    pub hunt_group: Option<Arc<str>>,
    pub um_pool: Option<Arc<str>>,
    /// Peers, in the order in which they would be tried.
    pub targets: Vec<Arc<str>>,
    /// The user part for the other leg.
    pub called: String,
    pub a_mode: SecurityMode,
    /// Of the first target.
    pub b_mode: SecurityMode,
}

impl Outcome {
    pub fn refused(reason: Reason) -> Outcome {
        Outcome::Refused { reason: String::from(reason.code()) }
    }

    pub fn of(screened: Result<&Admitted, Reason>) -> Outcome {
        screened.map_or_else(Outcome::refused, |admitted| Outcome::Admitted(Course::of(admitted)))
    }
}

impl Course {
    pub fn of(admitted: &Admitted) -> Course {
        Course {
            dial_plan: admitted.plan.as_ref().map(|plan| Arc::clone(&plan.name)),
            hunt_group: admitted.hunt_group.as_ref().map(|group| Arc::clone(&group.name)),
            um_pool: admitted.pool.as_ref().map(|pool| Arc::clone(&pool.name)),
            targets: admitted.targets.iter().map(|peer| Arc::clone(&peer.name)).collect(),
            called: admitted.called.clone(),
            a_mode: admitted.a.mode(),
            b_mode: admitted.b.mode(),
        }
    }
}
