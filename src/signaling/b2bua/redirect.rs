//! A 3xx from the B side is followed here, inside (RFC 3261 §8.1.3.4): the UM call router's redirect to the UM service, and the UM service's to
//! its worker. The caller never sees one.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use crate::policy::redirection::{self, Redirect};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Attempt, Call, Candidate};
use crate::signaling::b2bua::{failover, reroute};
use crate::signaling::border::Border;
use crate::signaling::fact::{Hop, What};
use crate::sip::Message;
use crate::time::Time;

/// The present target answered `message`, a 3xx: its Contacts become the next targets, before any other, if policy trusts them.
pub fn follow(border: &mut Border, now: Time, call: &mut Call, message: &Message) {
    failover::stop_waiting(border, call);
    let status = message.status().unwrap_or(302);
    let admitted = call.way().clone();
    let Some(hunt) = call.hunt() else { return };
    let Attempt::Inviting { candidate, .. } = std::mem::replace(&mut hunt.attempt, Attempt::Idle) else { return };
    // Towards gateways there is no pool, so no redirect that could be trusted.
    let Some(pool) = &admitted.pool else { return refused_redirect(border, now, call, Reason::RedirectUntrusted) };
    let plan = admitted.b_leg(&candidate.peer);
    let followed = redirection::follow(Redirect {
        table: &border.table,
        pool,
        plan: &plan,
        transport: candidate.transport,
        tried: &hunt.tried,
        depth: hunt.hops,
        called: &admitted.called,
        response: message,
    });
    hunt.hops = hunt.hops.saturating_add(1);
    border.fact(now, Some(call.id), What::Decided(followed.trail));
    let next = match followed.outcome {
        Ok(next) => next,
        Err(reason) => return refused_redirect(border, now, call, reason),
    };
    let from = place(&candidate.host, candidate.address.map_or(candidate.transport.default_port(), |address| address.port()));
    let mut targets: VecDeque<Candidate> = next.into_iter().flat_map(candidates_of).collect();
    if let Some(first) = targets.front() {
        let to = place(&first.host, first.port.unwrap_or(first.transport.default_port()));
        let hop = Hop { status, from, to, transport: first.transport };
        call.record.redirects.push(hop.clone());
        border.fact(now, Some(call.id), What::Redirected { hop });
    }
    if let Some(hunt) = call.hunt() {
        targets.append(&mut hunt.queue);
        hunt.queue = targets;
    }
    failover::next(border, now, call);
}

/// The redirect may not be followed: the next of the pool's own targets may do better.
fn refused_redirect(border: &mut Border, now: Time, call: &mut Call, reason: Reason) {
    if let Some(hunt) = call.hunt() {
        hunt.failure = Some((reason.status().unwrap_or(502), reason));
    }
    reroute::note(call, reason);
    failover::next(border, now, call);
}

/// One candidate for each address policy knows of the place a Contact named.
fn candidates_of(next: redirection::Next) -> Vec<Candidate> {
    let at = |address: &IpAddr| Candidate {
        peer: next.peer.clone(),
        uri: next.uri.clone(),
        host: next.host.clone(),
        port: Some(next.port),
        transport: next.transport,
        names: next.tls_names.clone(),
        address: Some(SocketAddr::new(*address, next.port)),
    };
    next.addresses.iter().map(at).collect()
}

/// Host and port as a URI has them (RFC 3986 §3.2.2).
fn place(host: &str, port: u16) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
