//! What the log and the metrics say where the border holds new calls back because it cannot carry them (RFC 6357).

use tracing::{info, warn};

use crate::policy::admission::Pressure;
use crate::policy::verdict::Reason;
use crate::signaling::fact::What;

/// The label of the metric.
pub(super) fn resource(pressure: Pressure) -> &'static str {
    match pressure {
        Pressure::Occupancy { .. } => "occupancy",
        Pressure::Memory { .. } => "memory",
    }
}

pub(super) fn told(what: &What) {
    match what {
        What::Overloaded { pressure: Pressure::Occupancy { occupied, ceiling } } => {
            warn!(reason = %Reason::Occupied, occupied, ceiling, "overloaded: signalling has no time for all that comes, and of new calls a share is refused with 503; \
                see who calls so much (show limits), limit it in admission.toml or peers.toml, or give the border a faster core");
        }
        What::Overloaded { pressure: Pressure::Memory { used, ceiling } } => {
            warn!(reason = %Reason::MemorySpent, used, ceiling, "the process holds as much memory as it may, and new calls are refused with 503; \
                raise memory in admission.toml or what the container is granted, or lower calls");
        }
        What::Relieved { lasted, refused } => info!(lasted_ms = lasted.as_millis() as u64, refused, "every call is taken again"),
        _ => {}
    }
}
