//! Pitfalls of UM servers: redirects, ports, start-up mode, media.

use super::finding;
use crate::app::integration::{Subject, names};
use crate::config::finding::Warning;
use crate::policy::settings::{PeerHost, PeerKind, SecurityMode, UmPool, UmVersion};
use crate::sip::Transport;

/// Redirects a version makes: call router to UM service, UM service to worker; a single UM role only the latter.
fn redirects(version: UmVersion) -> u8 {
    if matches!(version, UmVersion::Exchange2007 | UmVersion::Exchange2010) { 1 } else { 2 }
}

/// Calls a Mailbox server takes unless told otherwise (MaxCallsAllowed).
const CALLS_OF_SERVER: u32 = 100;
/// A call takes two ports on each side.
const PORTS_OF_CALL: u32 = 4;
/// Without an answer for so long, a Mediation Server goes to its next trunk.
const LYNC_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// The pools of plans that can lead to an Exchange, with their positions.
fn pools<'s>(subject: &Subject<'s>) -> Vec<(usize, &'s UmPool)> {
    let pools = subject.settings.policy.um_pools.iter().enumerate().map(|(position, pool)| (position, &**pool));
    pools.filter(|(_, pool)| subject.exchange_plans().any(|(_, plan)| plan.um_pool.name == pool.name)).collect()
}

pub fn too_few_redirects(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, pool) in pools(subject).into_iter().filter(|(_, pool)| pool.max_redirects < redirects(pool.version)) {
        let what = format!(
            "UM pool \"{}\" follows {} redirect: Exchange 2013 and 2016 make two, from call router to UM service to worker",
            pool.name, pool.max_redirects
        );
        found.push(finding(subject.places.of("um_pool", position, "max_redirects"), what, "write max_redirects = 5, or leave it out"));
    }
}

pub fn redirects_lead_nowhere(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, pool) in pools(subject) {
        let mut members = pool.routers.iter().chain(&pool.servers).filter_map(|name| subject.peer(name));
        if !members.any(|(_, peer)| peer.kind == PeerKind::UmServer) {
            let what =
                format!("UM pool \"{}\" has no peer of kind um-server: call routers redirect to Mailbox servers, and no redirect would be followed", pool.name);
            let at = subject.places.of("um_pool", position, "routers");
            found.push(finding(at, what, "add servers = [\"mbx1\"], a peer of kind \"um-server\" for each Mailbox server"));
        }
    }
}

/// The members of those pools, once each, with their positions among the peers.
fn members<'s>(subject: &Subject<'s>) -> Vec<(usize, &'s std::sync::Arc<crate::policy::settings::Peer>)> {
    let mut members: Vec<_> = subject.exchange_plans().flat_map(|(_, plan)| subject.members(plan)).collect();
    members.sort_by_key(|(position, _)| *position);
    members.dedup_by_key(|(position, _)| *position);
    members
}

pub fn server_by_address(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, peer) in members(subject) {
        let by_address = peer.hosts.iter().all(|host| matches!(host, PeerHost::Address(_)));
        if peer.kind == PeerKind::UmServer && by_address && peer.tls_names.is_empty() {
            let what = format!(
                "UM server \"{}\" is known by address alone: Exchange redirects to servers by their full names, which would not be followed",
                peer.name
            );
            found.push(finding(subject.places.of("peer", position, "hosts"), what, "write its full name, as Exchange knows it, in hosts"));
        }
    }
}

pub fn server_port(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, peer) in members(subject) {
        let Some(port) = peer.port else { continue };
        let (others, right): (&[u16], u16) = match peer.transport {
            Transport::Tls => (&[5060, 5062], 5061),
            Transport::Tcp | Transport::Udp => (&[5061, 5063], 5060),
        };
        if others.contains(&port) {
            let what = format!("UM peer \"{}\" is called over {} on {port}, where Exchange speaks the other transport", peer.name, peer.transport);
            found.push(finding(subject.places.of("peer", position, "port"), what, format!("write port = {right}, or leave it out")));
        } else if (5065..=5068).contains(&port) {
            let what = format!("UM peer \"{}\" is called on {port}, a worker's port, which changes whenever workers are recycled", peer.name);
            found.push(finding(subject.places.of("peer", position, "port"), what, format!("write port = {right}, where calls begin")));
        }
    }
}

pub fn start_up_mode(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, pool) in pools(subject) {
        let Some(start_up) = pool.start_up else { continue };
        for (_, plan) in subject.exchange_plans().filter(|(_, plan)| plan.um_pool.name == pool.name) {
            let secured = plan.mode > SecurityMode::Unsecured;
            if !start_up.serves(secured) {
                let (serves, listens) = if secured { ("plans with TLS", "5061") } else { ("plans without TLS", "5060") };
                let what = format!(
                    "UM pool \"{}\" starts up in mode {}, so its servers do not listen on {listens}: dial plan \"{}\" needs one that serves {serves}",
                    pool.name,
                    start_up.word(),
                    plan.name
                );
                let instead = "run Set-UMService and Set-UMCallRouterSettings with -UMStartupMode Dual, restart both services, and write start_up = \"dual\"";
                found.push(finding(subject.places.of("um_pool", position, "start_up"), what, instead));
            }
        }
    }
}

pub fn media_ports(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    let Some(calls) = subject.settings.policy.admission.calls else { return };
    let (first, last) = subject.settings.signaling.media.ports;
    let possible = (u32::from(last) - u32::from(first) + 1) / PORTS_OF_CALL;
    if calls > possible {
        let what = format!("{calls} calls are admitted, but the media ports {first} to {last} are enough for {possible}");
        let instead = format!("write calls = {possible} in admission.toml, or a wider range, on both sides' firewalls too");
        found.push(finding(subject.places.key("border.toml", "media", "ports"), what, instead));
    }
    let servers = members(subject).iter().map(|(_, peer)| names(peer).count().max(1)).sum::<usize>() as u32;
    let taken = servers * CALLS_OF_SERVER;
    if servers > 0 && calls > taken {
        let what = format!("{calls} calls are admitted, but {servers} UM servers take {taken} unless MaxCallsAllowed says otherwise");
        found.push(finding(
            subject.places.key("admission.toml", "", "calls"),
            what,
            format!("write calls = {taken}, or raise it with Set-UMService -MaxCallsAllowed"),
        ));
    }
}

pub fn slow_failover_for_lync(subject: &Subject<'_>, found: &mut Vec<Warning>) {
    for (position, pool) in pools(subject).into_iter().filter(|(_, pool)| pool.no_answer >= LYNC_PATIENCE && pool.routers.len() > 1) {
        let mut plans = subject.exchange_plans().filter(|(_, plan)| plan.um_pool.name == pool.name);
        if plans.any(|(_, plan)| !subject.mediation(plan).is_empty()) {
            let what = format!(
                "UM pool \"{}\" waits {} s for a silent server: a Mediation Server has gone to its next trunk by then",
                pool.name,
                pool.no_answer.as_secs()
            );
            found.push(finding(subject.places.of("um_pool", position, "no_answer"), what, "write no_answer = \"4s\""));
        }
    }
}
