//! A pool of hosted UM as meant: its name, and what it demands of every way to it.

use std::sync::Arc;

use super::place;
use crate::config::finding::{Findings, Written};
use crate::config::written::{self, is_host_name};
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{Hosted, Peer, SecurityMode, UmVersion};
use crate::sip::Transport;

/// Longest Destination of a hosted voice mail policy.
const DESTINATION_CHARACTERS: usize = 255;

/// `members`: the pool's routers and servers. `None` for pools that are not hosted.
pub fn hosted(entry: &written::UmPool, members: [&[Arc<str>]; 2], peers: &[Arc<Peer>], findings: &Findings) -> Option<Hosted> {
    if entry.version != UmVersion::Hosted {
        for (key, written) in [("hosted_name", &entry.hosted_name), ("destination", &entry.destination), ("organization", &entry.organization)] {
            if let Some(written) = written {
                findings.problem(written.at, format!("{key} on a pool that is not hosted"), "write version = \"hosted\", or remove it");
            }
        }
        return None;
    }
    for member in members.into_iter().flatten().filter_map(|name| peers.iter().find(|peer| peer.name == *name)) {
        if (member.transport, member.mode) != (Transport::Tls, SecurityMode::Secured) {
            let what = format!(
                "\"{}\" of a hosted pool is {} over {}: hosted UM takes nothing but mutual TLS and SRTP (403 or 488 otherwise)",
                member.name,
                mode_name(member.mode),
                member.transport.uri_token()
            );
            findings.problem(place(entry.name.as_ref(), entry.at), what, "write transport = \"tls\" and mode = \"secured\" for that peer");
        }
    }
    let Some(name) = &entry.hosted_name else {
        let instead = "add hosted_name = \"<guid>.um.outlook.com\", the forwarding address Exchange shows of the UM IP gateway";
        findings.problem(place(entry.name.as_ref(), entry.at), "a hosted pool without hosted_name: hosted UM answers 488 to any other host in To", instead);
        return None;
    };
    domain(name, "hosted_name", findings);
    if let Some(destination) = &entry.destination {
        domain(destination, "destination", findings);
        if destination.value.len() > DESTINATION_CHARACTERS {
            findings.problem(destination.at, "destination is too long", format!("write at most {DESTINATION_CHARACTERS} characters"));
        }
    }
    if let Some(organization) = &entry.organization {
        for domain_name in organization.value.split(',') {
            domain(&Written { value: domain_name.trim().to_owned(), at: organization.at }, "organization", findings);
        }
    }
    let text = |written: &Written<String>| -> Arc<str> { written.value.trim().into() };
    Some(Hosted { name: text(name), destination: entry.destination.as_ref().map(text), organization: entry.organization.as_ref().map(text) })
}

fn domain(written: &Written<String>, key: &str, findings: &Findings) {
    let text = written.value.trim();
    if !is_host_name(text) || !text.contains('.') {
        findings.problem(written.at, format!("{key} \"{text}\" is no full host name"), "write it in full, such as \"0a1b2c3d.um.outlook.com\"");
    }
}
