//! Whether hosted UM will know this border: by the name in its certificate, letter by letter, as common name and as alternative name.
//!
//! Everybody else compares names case aside and in the alternative names alone; hosted UM answers 403 to every call otherwise. So a set that leads
//! there is not run with a certificate that cannot work.

use std::sync::Arc;

use crate::app::certs::{contents, facts::Facts};
use crate::config::Settings;
use crate::policy::settings::{Peer, UmPool};
use crate::signaling::settings::Listener;

/// One line for each listener whose certificate is there and will not do.
pub fn problems(settings: &Settings) -> Vec<String> {
    let pools = settings.policy.um_pools.iter().filter(|pool| pool.hosted.is_some());
    let mut lines: Vec<String> = pools.flat_map(|pool| members(settings, pool).filter_map(|peer| problem(settings, pool, peer))).collect();
    lines.sort();
    lines.dedup();
    lines
}

fn members<'s>(settings: &'s Settings, pool: &'s UmPool) -> impl Iterator<Item = &'s Arc<Peer>> {
    pool.routers.iter().chain(&pool.servers).filter_map(|name| settings.policy.peer(name))
}

fn problem(settings: &Settings, pool: &UmPool, peer: &Peer) -> Option<String> {
    let listener = settings.signaling.listeners.iter().find(|listener| match &peer.listener {
        Some(name) => listener.name == *name,
        None => listener.transport == peer.transport,
    })?;
    let own = settings.tls.peers.iter().find(|certificates| certificates.peer == peer.name).and_then(|certificates| certificates.own.as_ref());
    let of_listener = settings.tls.listeners.iter().find(|certificate| certificate.name == listener.name).map(|certificate| &certificate.own);
    let file = &own.or(of_listener)?.certificate;
    let facts = Facts::read(contents(file).ok()?.certificates.first()?)?;
    let wrong = wrong(listener, &facts)?;
    Some(format!(
        "{}: {wrong}; UM pool \"{}\" is hosted UM, which would answer 403 to every call: have a certificate issued with exactly {} as common name and as \
         subject alternative name, no wildcard, and the same as Address of the UM IP gateway",
        file.display(),
        pool.name,
        host(listener)
    ))
}

fn host(listener: &Listener) -> &str {
    listener.host().trim_start_matches('[').trim_end_matches(']')
}

fn wrong(listener: &Listener, facts: &Facts) -> Option<String> {
    let host = host(listener);
    let names: Vec<&str> = facts.names.iter().filter_map(|name| name.host()).collect();
    if let Some(wildcard) = facts.common_names.iter().map(String::as_str).chain(names.iter().copied()).find(|name| name.contains('*')) {
        return Some(format!("it has the wildcard {wildcard}"));
    }
    if host.parse::<std::net::IpAddr>().is_ok() {
        return Some(format!("listener \"{}\" goes by the address {host}, no name (write advertised = \"sbc.example.com\")", listener.name));
    }
    if facts.common_names.iter().all(|name| name != host) {
        return Some(format!("its common name is {}, not {host}", facts.common_names.first().map_or("missing", String::as_str)));
    }
    names.iter().all(|name| *name != host).then(|| format!("its alternative names ({}) have no {host}", names.join(" ")))
}
