//! Which Contacts of a 3xx may be followed, and how far (RFC 3261 §8.1.3.4, §13.2.2.2; RFC 5922 §7.3 for whose name is looked for).
//!
//! Only to routers and servers of the call's UM pool, found in the peer table by the Contact's host name or address whatever its port, and only at
//! addresses the table knows: a redirect never causes a name to be looked up. Never over a weaker transport than the one in use or the leg's plan
//! permits, never to a target already tried, never deeper than the pool allows. The trunk sees nothing of it.
//!
//! Departures: a Contact without `transport=` means the transport in use rather than UDP, one without a user keeps the called user, and SRV is not
//! asked for a name without a port (the transport's default port is taken). A URI's `?headers` are never taken over.

use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::peer::PeerTable;
use crate::policy::security_mode::MediaPlan;
use crate::policy::settings::{Peer, PeerHost, PeerStatus, UmPool};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{HeaderName, Message, NameAddr, Scheme, Transport, Uri};

/// Contacts looked at in one 3xx.
pub const MAX_CONTACTS: usize = 10;

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Redirect<'a> {
    pub table: &'a PeerTable,
    pub pool: &'a UmPool,
    /// Of the leg that was redirected.
    pub plan: &'a MediaPlan,
    /// By which the redirecting server was reached.
    pub transport: Transport,
    /// Every target of this call so far, those that failed too.
    pub tried: &'a [Tried],
    /// Redirects followed before this one.
    pub depth: u8,
    /// The called user, not escaped; written where a Contact has no user.
    pub called: &'a str,
    /// The 3xx.
    pub response: &'a Message,
}

/// A target a request was sent to.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Tried {
    /// Host name in lower case, or address in its text form, without brackets.
    pub host: String,
    pub port: u16,
    pub transport: Transport,
}

impl Tried {
    pub fn new(host: &str, port: u16, transport: Transport) -> Tried {
        Tried { host: bare(host), port, transport }
    }
}

/// Where a redirect leads.
#[derive(Clone, PartialEq, Debug)]
pub struct Next {
    pub peer: Arc<Peer>,
    /// For the Request-URI.
    pub uri: String,
    /// What was dialled: host name in lower case, or address, without brackets. With `port` and `transport` the next `Tried`.
    pub host: String,
    pub port: u16,
    pub transport: Transport,
    /// Where that is, in order; never empty.
    pub addresses: Vec<IpAddr>,
    /// Names one of which the certificate must carry: the dialled host name if the peer has it, else all of the peer's. Empty unless TLS.
    pub tls_names: Vec<Arc<str>>,
}

impl Next {
    pub fn tried(&self) -> Tried {
        Tried { host: self.host.clone(), port: self.port, transport: self.transport }
    }
}

pub struct Followed {
    /// One decision for each Contact, best first.
    pub trail: Vec<Decision>,
    /// Targets in the order to try them, never empty; or why the best Contact was refused.
    pub outcome: Result<Vec<Next>, Reason>,
}

pub fn follow(redirect: Redirect<'_>) -> Followed {
    let status = redirect.response.status().unwrap_or_default();
    if redirect.depth >= redirect.pool.max_redirects {
        let decision = Decision::refused("redirection", "max_redirects", Reason::RedirectTooDeep)
            .comparing("followed", redirect.depth.to_string())
            .comparing("allowed", redirect.pool.max_redirects.to_string());
        return Followed { trail: vec![decision], outcome: Err(Reason::RedirectTooDeep) };
    }
    let mut contacts: Vec<(u16, NameAddr<'_>)> = redirect
        .response
        .values(HeaderName::Contact)
        .take(MAX_CONTACTS)
        .filter_map(|value| NameAddr::parse(value).ok())
        .map(|contact| (preference(&contact), contact))
        .collect();
    // 380 offers another service, not another place for this call.
    if contacts.is_empty() || status == 380 {
        let decision = Decision::refused("redirection", "a redirect needs a Contact", Reason::RedirectEmpty).comparing("status", status.to_string());
        return Followed { trail: vec![decision], outcome: Err(Reason::RedirectEmpty) };
    }
    contacts.sort_by_key(|(preference, _)| std::cmp::Reverse(*preference));
    let mut trail = Vec::with_capacity(contacts.len());
    let mut next: Vec<Next> = Vec::new();
    let mut first_refusal = None;
    for (_, contact) in &contacts {
        let (decision, found) = consider(&redirect, contact, &next);
        if let Some(reason) = decision.refused {
            first_refusal.get_or_insert(reason);
        }
        trail.push(decision);
        next.extend(found);
    }
    let outcome = if next.is_empty() { Err(first_refusal.unwrap_or(Reason::RedirectEmpty)) } else { Ok(next) };
    Followed { trail, outcome }
}

/// The q parameter in thousandths; absent or broken: 1.
fn preference(contact: &NameAddr<'_>) -> u16 {
    let Some(q) = contact.params.get("q").and_then(|q| q.parse::<f32>().ok()).filter(|q| q.is_finite()) else { return 1000 };
    (q.clamp(0.0, 1.0) * 1000.0) as u16
}

fn consider(redirect: &Redirect<'_>, contact: &NameAddr<'_>, found: &[Next]) -> (Decision, Option<Next>) {
    match lead(redirect, contact, found) {
        Ok(next) => {
            let decision = Decision::passed("redirection", format!("UM pool \"{}\"", redirect.pool.name))
                .comparing("peer", String::from(&*next.peer.name))
                .comparing("host", next.host.clone())
                .comparing("port", next.port.to_string())
                .comparing("transport", next.transport.via_token());
            (decision, Some(next))
        }
        Err((rule, reason)) => {
            let host = Uri::parse(contact.uri).map(|uri| String::from(uri.host)).unwrap_or_default();
            let decision = Decision::refused("redirection", rule, reason)
                .comparing("host", host)
                .comparing("transport in use", redirect.transport.via_token())
                .comparing("UM pool", String::from(&*redirect.pool.name));
            (decision, None)
        }
    }
}

type Refusal = (&'static str, Reason);

fn lead(redirect: &Redirect<'_>, contact: &NameAddr<'_>, found: &[Next]) -> Result<Next, Refusal> {
    let unusable = ("the Contact must be a sip or sips URI", Reason::RedirectEmpty);
    let uri = Uri::parse(contact.uri).ok().filter(Uri::is_sip).ok_or(unusable)?;
    let transport = transport_of(&uri, redirect.transport).ok_or(("the Contact's transport is not spoken here", Reason::RedirectUntrusted))?;
    if transport < redirect.transport || !redirect.plan.permits(transport) {
        return Err(("never to a weaker transport", Reason::RedirectDowngrade));
    }
    // RFC 3261 §19.1.1: maddr is where the request goes, the host whose name it goes under.
    let maddr = uri.params.get("maddr").filter(|maddr| !maddr.is_empty());
    let host = bare(maddr.unwrap_or(uri.host));
    let members = members(redirect, &host, transport);
    let stranger = ("the host is no enabled router or server of the UM pool on this transport", Reason::RedirectUntrusted);
    let peer = members.iter().find(|peer| uri.port.is_some() && peer.port == uri.port).or(members.first()).ok_or(stranger)?;
    let port = uri.port.unwrap_or(transport.default_port());
    let tried = Tried { host, port, transport };
    if redirect.tried.contains(&tried) || found.iter().any(|next| next.tried() == tried) {
        return Err(("never to a target already tried", Reason::RedirectLoop));
    }
    let addresses = addresses(redirect.table, peer, &tried.host);
    if addresses.is_empty() {
        return Err(("the host's address is not known to the peer table", Reason::RedirectUntrusted));
    }
    let tls_names = if transport == Transport::Tls { names_wanted(peer, &bare(uri.host)) } else { Vec::new() };
    // RFC 3261 §21.3.4: the Contact of a 305 is a proxy, not who is called.
    let user = uri.user.filter(|_| redirect.response.status() != Some(305));
    let uri = request_uri(&uri, user, redirect.called, transport);
    Ok(Next { peer: Arc::clone(peer), uri, host: tried.host, port, transport, addresses, tls_names })
}

/// RFC 3261 §26.2.2: `sips` is TLS, whatever `transport=` says.
fn transport_of(uri: &Uri<'_>, in_use: Transport) -> Option<Transport> {
    match (uri.scheme, uri.transport()) {
        (Scheme::Sips, _) => Some(Transport::Tls),
        (_, Some(token)) => Transport::from_token(token),
        (_, None) => Some(in_use),
    }
}

/// The pool's enabled members that live at this host and speak this transport: servers before routers, each in the pool's order.
fn members<'t>(redirect: &Redirect<'t>, host: &str, transport: Transport) -> Vec<&'t Arc<Peer>> {
    let address: Option<IpAddr> = host.parse().ok();
    let lives_there = |peer: &Peer| match address {
        Some(address) => redirect.table.at(address).iter().any(|there| there.name == peer.name),
        None => is_name_of(peer, host),
    };
    let names = redirect.pool.servers.iter().chain(&redirect.pool.routers);
    names
        .filter_map(|name| redirect.table.peer(name))
        .filter(|peer| peer.status == PeerStatus::Enabled && peer.transport == transport && lives_there(peer))
        .collect()
}

fn is_name_of(peer: &Peer, host: &str) -> bool {
    let is_host = |at: &PeerHost| matches!(at, PeerHost::Name(name) if name.eq_ignore_ascii_case(host));
    peer.hosts.iter().any(is_host) || peer.tls_names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn addresses(table: &PeerTable, peer: &Peer, host: &str) -> Vec<IpAddr> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return vec![address];
    }
    match table.addresses_of_name(&peer.name, host) {
        // A name only the certificate carries: wherever the peer lives.
        [] => table.addresses(&peer.name).to_vec(),
        addresses => addresses.to_vec(),
    }
}

fn names_wanted(peer: &Peer, host: &str) -> Vec<Arc<str>> {
    match peer.tls_names.iter().find(|name| name.eq_ignore_ascii_case(host)) {
        Some(name) => vec![Arc::clone(name)],
        None => peer.tls_names.clone(),
    }
}

/// The Contact's URI as a Request-URI: always `sip`, with a user and the transport named, without `method` and headers (RFC 3261 §19.1.5, table 1).
fn request_uri(uri: &Uri<'_>, user: Option<&str>, called: &str, transport: Transport) -> String {
    let user = user.map(String::from).unwrap_or_else(|| crate::policy::topology_hiding::escaped(called));
    let mut text = format!("sip:{user}@{}", uri.host.to_ascii_lowercase());
    if let Some(port) = uri.port {
        text.push_str(&format!(":{port}"));
    }
    text.push_str(";transport=");
    text.push_str(transport.uri_token());
    for (name, value) in uri.params.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("transport") && !name.eq_ignore_ascii_case("method")) {
        text.push(';');
        text.push_str(name);
        if !value.is_empty() {
            text.push('=');
            text.push_str(value);
        }
    }
    text
}

/// Lower case, without the brackets of an IPv6 reference; addresses in their canonical text form.
fn bare(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    match host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().to_string(),
        Err(_) => host.trim_end_matches('.').to_ascii_lowercase(),
    }
}
