//! What of a policy set a reload takes into force, and what waits for the next start.

use std::sync::Arc;

use crate::config;
use crate::policy::settings::PolicySet;

/// What is to be done about those.
pub const AT_NEXT_START: &str = "takes effect with `portcullis run SET --take-over`, which loses no call, or at the next start";

/// With the parts that a reload cannot change as they run, so that the next reload compares with what is in force.
pub fn as_running(mut settings: config::Settings, running: &config::Settings) -> config::Settings {
    settings.net.limits = running.net.limits.clone();
    settings.media = running.media.clone();
    settings.firewall.as_running(&running.firewall);
    settings.api.socket = running.api.socket.clone();
    settings.missed_calls = running.missed_calls.clone();
    if settings.policy.missed_calls != running.missed_calls.is_some() {
        settings.policy = Arc::new(PolicySet { missed_calls: running.missed_calls.is_some(), ..PolicySet::clone(&settings.policy) });
    }
    settings
}

/// Parts whose change a reload cannot carry out.
pub fn restart_needed(old: &config::Settings, new: &config::Settings) -> Vec<&'static str> {
    let mut parts = Vec::new();
    if old.net.limits != new.net.limits {
        parts.push("limits of connections");
    }
    if old.media != new.media {
        parts.push("media threads");
    }
    if old.api.socket != new.api.socket {
        parts.push("control socket");
    }
    if old.firewall.needs_restart(&new.firewall) {
        parts.push("firewall mode, table or program");
    }
    if old.missed_calls != new.missed_calls {
        parts.push("[missed_calls]");
    }
    parts
}
