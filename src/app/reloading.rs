//! What of a policy set a reload takes into force, and what waits for the next start.

use std::sync::Arc;

use crate::adapters::tls;
use crate::config;
use crate::policy::flow::ListenerId;
use crate::policy::settings::PolicySet;
use crate::signaling::settings::Listener;

/// What is to be done about those.
pub const AT_NEXT_START: &str = "takes effect with `portcullis run SET --take-over`, which loses no call, or at the next start";

/// With the parts that a reload cannot change as they run, so that the next reload compares with what is in force.
pub fn as_running(mut settings: config::Settings, running: &config::Settings) -> config::Settings {
    settings.signaling.listeners = running.signaling.listeners.clone();
    settings.net = running.net.clone();
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
    if old.net != new.net {
        parts.push("listeners");
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

/// Certificates go by a listener's number, and the listeners in force keep theirs whatever order a new set writes them in: each gets what the set
/// writes for its name, or, where that is no longer written, keeps what it has.
pub fn certificates_of_running(running: &[Listener], now: &tls::Settings, written: &tls::Settings) -> Vec<tls::ListenerCertificate> {
    let of = |listener: &Listener| {
        let new = written.listeners.iter().find(|certificate| certificate.name == listener.name);
        let certificate = new.or_else(|| now.listeners.iter().find(|certificate| certificate.listener == listener.id))?;
        Some(tls::ListenerCertificate { listener: listener.id, ..certificate.clone() })
    };
    running.iter().filter_map(of).collect()
}

/// A listener on port 0 gets a port from the system: that one is advertised.
pub fn take_bound_addresses(signaling: &mut crate::signaling::settings::Settings, bound: &[(ListenerId, std::net::SocketAddr)]) {
    for listener in &mut signaling.listeners {
        let Some((_, address)) = bound.iter().find(|(id, _)| *id == listener.id) else { continue };
        if listener.bound.port() == 0 {
            listener.advertised = format!("{}:{}", listener.host(), address.port()).into();
        }
        listener.bound = *address;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Transport;

    #[test]
    fn running_listeners_keep_their_own_certificates_whatever_the_new_order() {
        let listener = |id: u16, name: &str| Listener {
            id: ListenerId(id),
            name: name.into(),
            transport: Transport::Tls,
            bound: "127.0.0.1:5061".parse().unwrap(),
            advertised: "127.0.0.1:5061".into(),
        };
        let certificate = |id: u16, name: &str, file: &str| tls::ListenerCertificate {
            listener: ListenerId(id),
            name: name.into(),
            own: tls::KeyPairFiles { certificate: file.into(), key: file.into() },
        };
        let now = tls::Settings { listeners: vec![certificate(0, "outside", "outside-1"), certificate(1, "inside", "inside-1")], ..tls::Settings::default() };
        // One put in front, one renewed, one gone.
        let written = tls::Settings { listeners: vec![certificate(0, "new", "new"), certificate(1, "outside", "outside-2")], ..tls::Settings::default() };
        let kept = certificates_of_running(&[listener(0, "outside"), listener(1, "inside")], &now, &written);
        assert_eq!(kept, [certificate(0, "outside", "outside-2"), certificate(1, "inside", "inside-1")]);
    }
}
