//! Pitfalls of this border as a UM IP gateway: its name, its address, its certificate.

use std::collections::BTreeMap;

use super::finding;
use crate::app::certs::facts::Facts;
use crate::app::integration::{Gateway, Subject};
use crate::config::finding::{At, Warning};
use crate::policy::settings::SecurityMode;
use crate::sip::Transport;

/// More UM IP gateways on one dial plan, and Exchange's UM service does not start.
const MOST_GATEWAYS: usize = 200;

/// Each name of this border inside once, with the strongest mode of the plans it serves.
fn gateways<'s>(subject: &Subject<'s>) -> Vec<(Gateway<'s>, SecurityMode)> {
    let mut all: BTreeMap<usize, (Gateway<'s>, SecurityMode)> = BTreeMap::new();
    for (_, plan) in subject.exchange_plans() {
        for gateway in subject.gateways(plan) {
            let entry = all.entry(gateway.position).or_insert((gateway, plan.mode));
            entry.1 = entry.1.max(plan.mode);
        }
    }
    all.into_values().collect()
}

fn advertised(subject: &Subject<'_>, gateway: &Gateway<'_>) -> At {
    subject.places.of("listener", gateway.position, "advertised")
}

pub fn by_address(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, mode) in gateways(subject) {
        if gateway.is_address() && mode > SecurityMode::Unsecured {
            let what = format!(
                "listener \"{}\" goes by the address {}: Exchange wants the UM IP gateway of a plan with TLS by name, since it compares that with the certificate",
                gateway.listener.name,
                gateway.host()
            );
            found.push(finding(advertised(subject, &gateway), what, "write advertised = \"sbc.corp.example.com\", a name that leads to this address"));
        }
    }
}

pub fn names_share_address(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let gateways = gateways(subject);
    for (index, (gateway, _)) in gateways.iter().enumerate() {
        let earlier = gateways.iter().take(index).map(|(other, _)| other);
        let mut same_place =
            earlier.filter(|other| other.listener.bound.ip() == gateway.listener.bound.ip() && !other.host().eq_ignore_ascii_case(gateway.host()));
        if let Some(other) = same_place.next() {
            let what = format!(
                "this border is two UM IP gateways at {}, {} and {}: Exchange takes neither for the other and logs event 1175",
                gateway.listener.bound.ip(),
                other.host(),
                gateway.host()
            );
            found.push(finding(advertised(subject, gateway), what, "give each listener an address of its own, or both one name"));
        }
    }
}

pub fn port(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, _) in gateways(subject) {
        let wrong = match gateway.listener.transport {
            Transport::Tls => gateway.port() == 5060,
            Transport::Tcp => gateway.port() == 5061,
            Transport::Udp => {
                let at = subject.places.of("listener", gateway.position, "transport");
                found.push(finding(
                    at,
                    format!("listener \"{}\" is UDP, which Exchange does not speak", gateway.listener.name),
                    "write transport = \"tls\" or \"tcp\"",
                ));
                continue;
            }
        };
        if wrong {
            let (transport, port) = (gateway.listener.transport, gateway.port());
            let what = format!("listener \"{}\" speaks {transport} on {port}, which everybody takes for the other transport's port", gateway.listener.name);
            let at = subject.places.of("listener", gateway.position, "address");
            found.push(finding(at, what, format!("write port {}, Exchange's for {transport}", transport.default_port())));
        }
    }
}

/// The gateways whose certificate is there, with it.
fn certified<'s, 'f>(subject: &'f Subject<'s>) -> Vec<(Gateway<'s>, &'f Facts, At)> {
    let tls = gateways(subject).into_iter().filter(|(gateway, _)| gateway.listener.transport == Transport::Tls);
    tls.filter_map(|(gateway, _)| {
        let at = subject.places.of("listener", gateway.position, "certificate");
        subject.certificate(&gateway).map(|facts| (gateway, facts, at))
    })
    .collect()
}

pub fn certificate_wildcard(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, facts, at) in certified(subject) {
        if let Some(name) = facts.common_names.iter().find(|name| name.contains('*')) {
            let what = format!(
                "the certificate of listener \"{}\" has the common name {name}: UM and Lync know a trusted SIP peer by its subject, without wildcards",
                gateway.listener.name
            );
            found.push(finding(at, what, format!("have one issued with the common name {}", gateway.host())));
        }
    }
}

pub fn certificate_case(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, facts, at) in certified(subject) {
        let names = || facts.names.iter().filter_map(|name| name.host()).chain(facts.common_names.iter().map(String::as_str));
        let same = |name: &&str| name.eq_ignore_ascii_case(gateway.host());
        if names().any(|name| name == gateway.host()) {
            continue;
        }
        if let Some(name) = names().find(same) {
            let what = format!(
                "the certificate of listener \"{}\" says {name}, the listener {}: Exchange compares upper and lower case",
                gateway.listener.name,
                gateway.host()
            );
            found.push(finding(at, what, format!("write advertised = \"{name}\", and the same as the gateway's Address")));
        }
    }
}

pub fn certificate_name(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, facts, at) in certified(subject) {
        if gateway.is_address() {
            continue;
        }
        let has = |name: &str| name.eq_ignore_ascii_case(gateway.host());
        let in_alternatives = facts.names.iter().filter_map(|name| name.host()).any(has);
        let in_subject = facts.common_names.iter().any(|name| has(name) || name.contains('*'));
        let missing = match (in_subject, in_alternatives) {
            (true, true) => continue,
            (false, true) => "among its alternative names, but not as common name: Exchange and Lync look at the subject",
            (true, false) => "as common name, but not among its alternative names, where everybody else looks",
            (false, false) => "nowhere",
        };
        let what = format!("the certificate of listener \"{}\" has {} {missing}", gateway.listener.name, gateway.host());
        found.push(finding(at, what, format!("have one issued for {}, as common name and subject alternative name", gateway.host())));
    }
}

pub fn certificate_usage(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (gateway, facts, at) in certified(subject) {
        if !(facts.server_auth && facts.client_auth) {
            let missing = if facts.server_auth { "client" } else { "server" };
            let what = format!(
                "the certificate of listener \"{}\" is not for {missing} authentication: TLS with Exchange is mutual, and Exchange both calls and is called",
                gateway.listener.name
            );
            found.push(finding(at, what, "have one issued with the usages serverAuth and clientAuth"));
        }
    }
}

pub fn certificate_self_signed(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for peer in subject.settings.policy.peers.iter().filter(|peer| peer.kind == crate::policy::settings::PeerKind::Mediation) {
        let Some(gateway) = subject.listener_of(peer).filter(|gateway| gateway.listener.transport == Transport::Tls) else { continue };
        if subject.certificate(&gateway).is_some_and(|facts| facts.self_issued) {
            let what =
                format!("listener \"{}\" shows Mediation Server \"{}\" a self-signed certificate, which Lync does not take", gateway.listener.name, peer.name);
            let at = subject.places.of("listener", gateway.position, "certificate");
            found.push(finding(at, what, "have one issued by a CA that the Mediation Server trusts"));
        }
    }
}

pub fn address_family(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let inside = &subject.settings.signaling.media.inside;
    for (gateway, _) in gateways(subject) {
        let is_ipv6 = gateway.listener.bound.is_ipv6();
        if !inside.iter().any(|address| address.is_ipv6() == is_ipv6) {
            let (signalling, media) = if is_ipv6 { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
            let what = format!(
                "listener \"{}\" is {signalling}, yet media inside is {media} only: a UM IP gateway has one address family for both",
                gateway.listener.name
            );
            found.push(finding(subject.places.key("border.toml", "media", "inside"), what, format!("add an {signalling} address to [media] inside")));
        }
    }
}

pub fn too_many(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, plan) in subject.exchange_plans() {
        let mut peers: Vec<&str> = subject.hunt_groups(plan).iter().map(|(_, group)| &*group.peer).collect();
        peers.sort_unstable();
        peers.dedup();
        if peers.len() > MOST_GATEWAYS {
            let what = format!(
                "dial plan \"{}\" is linked with {} peers: Exchange's UM service does not start where a plan has more than {MOST_GATEWAYS} UM IP gateways",
                plan.name,
                peers.len()
            );
            let at = subject.places.of("dial_plan", position, "name");
            found.push(finding(at, what, "register this border alone with Exchange, not the peers behind it, or divide the plan"));
        }
    }
}
