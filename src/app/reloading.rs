//! What of a policy set a reload takes into force, and what waits for the next start.

use std::sync::Arc;

use crate::config;
use crate::policy::settings::PolicySet;

/// With the parts that a reload cannot change as they run, so that the next reload compares with what is in force.
pub fn as_running(mut settings: config::Settings, running: &config::Settings) -> config::Settings {
    settings.signaling.listeners = running.signaling.listeners.clone();
    settings.net = running.net.clone();
    settings.media = running.media.clone();
    settings.telemetry = running.telemetry.clone();
    settings.history = running.history.clone();
    settings.postgres = running.postgres.clone();
    settings.hep = running.hep.clone();
    settings.otlp = running.otlp.clone();
    settings.admin = running.admin.clone();
    settings.dns = running.dns.clone();
    settings.firewall.as_running(&running.firewall);
    settings.api = running.api.clone();
    settings.missed_calls = running.missed_calls.clone();
    if settings.policy.missed_calls != running.missed_calls.is_some() {
        settings.policy = Arc::new(PolicySet { missed_calls: running.missed_calls.is_some(), ..PolicySet::clone(&settings.policy) });
    }
    settings
}

/// Parts whose change a reload cannot carry out.
pub fn restart_needed(old: &config::Settings, new: &config::Settings) -> Vec<&'static str> {
    let mut parts = Vec::new();
    if old.net != new.net {
        parts.push("listeners");
    }
    if old.media != new.media {
        parts.push("media threads");
    }
    if old.telemetry != new.telemetry || old.history != new.history || old.postgres != new.postgres {
        parts.push("log, records and ladder");
    }
    if old.admin != new.admin {
        parts.push("admin listener");
    }
    if old.api != new.api {
        parts.push("control socket and [api]");
    }
    if old.firewall.needs_restart(&new.firewall) {
        parts.push("firewall mode, table or program");
    }
    if old.missed_calls != new.missed_calls {
        parts.push("[missed_calls]");
    }
    if old.hep != new.hep {
        parts.push("[hep]");
    }
    if old.otlp != new.otlp {
        parts.push("[otlp]");
    }
    if old.dns != new.dns {
        parts.push("name servers");
    }
    parts
}
