//! CAP_NET_ADMIN for the calling thread, and for the `nft` it starts.
//!
//! A capability from a file (`setcap cap_net_admin=+p portcullis`) is only permitted: it has no effect until it is raised, and a program started
//! from here would not have it. What is raised here is so in the calling thread alone; the border's other threads stay without.

use rustix::thread::{CapabilitySet, capabilities, configure_capability_in_ambient_set, set_capabilities};

/// Raises it if it is permitted, and does nothing if it is not: the kernel then says so when it is needed.
pub fn raise() {
    let Ok(mut sets) = capabilities(None) else { return };
    if !sets.permitted.contains(CapabilitySet::NET_ADMIN) {
        return;
    }
    sets.effective |= CapabilitySet::NET_ADMIN;
    sets.inheritable |= CapabilitySet::NET_ADMIN;
    // Where it may not be handed on, this thread can still use it.
    if set_capabilities(None, sets).is_ok() {
        let _ = configure_capability_in_ambient_set(CapabilitySet::NET_ADMIN, true);
    }
}

/// Whether this thread may change the firewall, or could give itself leave to.
pub fn held() -> bool {
    capabilities(None).is_ok_and(|sets| sets.permitted.contains(CapabilitySet::NET_ADMIN))
}
