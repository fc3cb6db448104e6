//! Capabilities that are permitted but not in effect, as those of a program's file are (`setcap …=+p`).

use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

/// Puts those of `wanted` that are permitted into effect, in the calling thread alone. Where one is not permitted, the kernel says so to whoever needs it.
pub(super) fn raise(wanted: CapabilitySet) {
    let Ok(mut sets) = capabilities(None) else { return };
    sets.effective |= sets.permitted & wanted;
    let _ = set_capabilities(None, sets);
}
