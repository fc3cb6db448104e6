//! One question and its answer: an OPTIONS outside any dialog (RFC 3261 §11.1) through a client transaction of its own.

use std::time::Duration;

use bytes::Bytes;

use super::health::Evidence;
use super::{Asking, WatchId, Watched, heard, interval, locate_if_stale};
use crate::policy::liveness::Liveness;
use crate::policy::topology_hiding;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::ClientOwner;
use crate::signaling::border::{Border, Timer};
use crate::signaling::event::TransportError;
use crate::signaling::fact::What;
use crate::signaling::settings::Listener;
use crate::signaling::transaction::ClientKey;
use crate::signaling::transport;
use crate::sip::{Builder, Message, Method};
use crate::time::Time;

/// An answer that takes longer is no sign of life: calls could not wait for it.
const LIMIT: Duration = Duration::from_secs(5);

/// An address's time has come: to be asked, or, if it has been, to be given up.
pub fn due(border: &mut Border, now: Time, id: WatchId) {
    let Some(watched) = border.watch.watched.get_mut(&id) else { return };
    match watched.asking.take() {
        None => ask(border, now, id),
        Some(asking) => {
            border.transactions.abandon(now, asking.client);
            over(border, now, id, asking.since, Err(Reason::LivenessTimeout));
        }
    }
}

/// A response to the question of `key`.
pub fn answered(border: &mut Border, now: Time, id: WatchId, key: ClientKey, message: &Message) {
    let status = message.status().unwrap_or(500);
    if status < 200 {
        return;
    }
    if let Some(since) = taken(border, id, key) {
        let retry_after = message.retry_after().ok().flatten().map(|seconds| Duration::from_secs(u64::from(seconds)));
        over(border, now, id, since, Ok((status, retry_after)));
    }
}

/// The question of `key` could not be sent, or was not answered in its transaction's time.
pub fn failed(border: &mut Border, now: Time, id: WatchId, key: ClientKey, error: Option<TransportError>) {
    if let Some(since) = taken(border, id, key) {
        let why = match error {
            None | Some(TransportError::TimedOut) => Reason::LivenessTimeout,
            Some(TransportError::Certificate(refusal) | TransportError::Handshake(refusal)) => refusal.reason,
            Some(TransportError::Refused | TransportError::Closed | TransportError::Socket) => Reason::LivenessUnreachable,
        };
        over(border, now, id, since, Err(why));
    }
}

/// When the question was asked, if it is still the one waited for.
fn taken(border: &mut Border, id: WatchId, key: ClientKey) -> Option<Time> {
    let asking = &mut border.watch.watched.get_mut(&id)?.asking;
    asking.take_if(|asking| asking.client == key).map(|asking| asking.since)
}

fn ask(border: &mut Border, now: Time, id: WatchId) {
    let Some(watched) = border.watch.watched.get(&id) else { return };
    let (peer, address) = (watched.peer.clone(), watched.address);
    let Some(listener) = border.listener_for(&peer, peer.transport, address) else {
        return over(border, now, id, now, Err(Reason::LivenessUnreachable));
    };
    let branch = border.mint.branch();
    let bytes = options(border, id, &listener, &branch);
    let route = transport::request_route(&listener, &peer, address, &peer.tls_names);
    let client = border.transactions.request(now, &Method::Options, &branch, route, bytes);
    border.clients.insert(client, ClientOwner::Probe { watch: id, peer: peer.name.clone() });
    let limit = LIMIT.min(border.settings.timers.t1 * 64).min(interval(&peer) / 2);
    border.timers.set(Timer::Watch(id), now + limit);
    if let Some(watched) = border.watch.watched.get_mut(&id) {
        watched.asking = Some(Asking { client, since: now });
    }
}

fn options(border: &mut Border, id: WatchId, listener: &Listener, branch: &str) -> Bytes {
    let Some(Watched { peer, host, .. }) = border.watch.watched.get(&id) else { return Bytes::new() };
    let uri = topology_hiding::peer_uri(host, peer.port, peer.transport);
    let (tag, call_id) = (border.mint.tag(), border.mint.call_id());
    let mut options = Builder::request(&Method::Options, &uri);
    options.header("Via", transport::via(listener, branch)).header("Max-Forwards", "70");
    options.header_fmt("From", format_args!("<sip:{}>;tag={tag}", listener.host())).header_fmt("To", format_args!("<{uri}>"));
    options.header("Call-ID", call_id).header("CSeq", "1 OPTIONS").header("Contact", transport::contact(listener));
    options.header("Accept", "application/sdp").header("User-Agent", border.settings.product.as_bytes());
    options.finish()
}

/// The question asked at `since` has come to an end: what that says of the address, and when it is asked again.
fn over(border: &mut Border, now: Time, id: WatchId, since: Time, outcome: Result<(u16, Option<Duration>), Reason>) {
    let Some(watched) = border.watch.watched.get_mut(&id) else { return };
    watched.asked = Some(now);
    let (peer, address) = (watched.peer.clone(), watched.address);
    let evidence = match outcome {
        Ok((503, retry_after)) => Evidence::Draining(retry_after),
        Ok((status, _)) if shows_life(status) => Evidence::Alive,
        Ok(_) => Evidence::Failed(Reason::LivenessStatus),
        Err(why) => Evidence::Failed(why),
    };
    let answer = outcome.map(|(status, _)| status);
    border.fact(now, None, What::Probed { peer: peer.name.clone(), address, answer, took: now.since(since) });
    heard(border, now, id, evidence);
    let Some(watched) = border.watch.watched.get(&id) else { return };
    let pause = watched.health.pause(now, interval(&peer));
    let (is_down, drains) = (matches!(watched.health.state(), Liveness::Down { .. }), matches!(watched.health.state(), Liveness::Draining { .. }));
    let host = watched.host.clone();
    // A tenth more or less, so that those that began together drift apart; never less than a Retry-After.
    let tenth = pause / 10;
    let lot = Duration::from_millis(border.mint.below(u64::try_from(tenth.as_millis()).unwrap_or(u64::MAX).saturating_mul(2)));
    border.timers.set(Timer::Watch(id), now + (pause - if drains { Duration::ZERO } else { tenth }) + lot);
    if peer.port.is_none() {
        locate_if_stale(border, now, &peer, &host, is_down);
    }
}

/// Any final answer does, whatever it thinks of the question, but those that say that nobody was there to answer.
pub fn shows_life(status: u16) -> bool {
    match status {
        408 | 500 | 502..=504 => false,
        200..=699 => true,
        _ => false,
    }
}
