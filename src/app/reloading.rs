//! What of a policy set a reload takes into force, and what waits for the next start.

use std::sync::Arc;

use crate::app::diff;
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

/// What a reload cannot carry out, by part and key.
pub fn restart_needed(old: &config::Settings, new: &config::Settings) -> Vec<String> {
    diff::waits(old, new)
}
