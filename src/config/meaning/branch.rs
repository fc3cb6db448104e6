//! `branch.toml` as meant: the pool across the WAN, and where missed calls go.

use std::sync::Arc;
use std::time::Duration;

use super::unknown;
use crate::adapters::{store, webhook};
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written;
use crate::config::{MissedCalls, SipTarget, Target};
use crate::policy::branch::{Branch, messenger};
use crate::policy::settings::{DialPlan, Peer, PeerHost, UmPool};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::missed_call::By;
use crate::sip::Uri;

/// For one delivery in all.
const TIMEOUT: Duration = Duration::from_secs(10);

pub fn branch(written: &written::Branch, pools: &[Arc<UmPool>], plans: &[Arc<DialPlan>], peers: &[Arc<Peer>], findings: &Findings) -> Option<Branch> {
    let name = written.um_pool.as_ref()?;
    let Some(pool) = pools.iter().find(|pool| *pool.name == *name.value) else {
        let known: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
        unknown(name, "UM pool", "um_pools.toml", &known, &[], findings);
        return None;
    };
    let is_unwatched = |router: &&Arc<str>| peers.iter().any(|peer| peer.name == **router && peer.probe.is_none());
    if let Some(router) = pool.routers.iter().find(is_unwatched) {
        let what = format!("nobody asks whether \"{router}\" of the central pool is there: that the WAN is down would not be known");
        findings.problem(name.at, what, "add probe = \"30s\" to that peer");
    }
    for plan in plans.iter().filter(|plan| plan.um_pool.name == pool.name && plan.reroute.is_none()) {
        let what = format!("dial plan \"{}\" has no reroute: while the WAN is down its calls reach nobody", plan.name);
        findings.warning(name.at, what, "add reroute to the plan in dial_plans.toml");
    }
    Some(Branch { um_pool: Arc::clone(&pool.name) })
}

/// `None` where nothing is written, or too little.
pub fn missed_calls(branch: &written::Branch, plans: &[Arc<DialPlan>], peers: &[Arc<Peer>], source: &dyn Source, findings: &Findings) -> Option<MissedCalls> {
    let written = branch.missed_calls.as_ref()?;
    if let Some(store) = written.store.as_ref().filter(|_| !peers.iter().any(|peer| peer.diversion_trusted && !peer.kind.is_um())) {
        let what = "no peer is believed in Diversion: no call is known to be for a mailbox, and none is missed";
        findings.warning(store.at, what, "write diversion = true for the PBX or gateway that diverts unanswered calls");
    }
    let webhook = written.target.as_ref().and_then(|written| target(written, "a webhook", source, findings)).map(Target::Webhook);
    let pool = branch.um_pool.as_ref().map(|pool| pool.value.as_str());
    let over_sip = written.sip.as_ref().and_then(|written| sip(written, plans, pool, peers, findings)).map(Target::Sip);
    if let (Some(_), Some(sip)) = (&written.target, &written.sip) {
        findings.problem(sip.at, "target and sip: a notice goes to one receiver, so that it is settled once", "write one of them");
    }
    let target = webhook.or(over_sip)?;
    let store = store::Settings { path: written::path(source, &written.store.as_ref()?.value), most: written.max };
    Some(MissedCalls { store, target })
}

fn sip(written: &written::Sip, plans: &[Arc<DialPlan>], pool: Option<&str>, peers: &[Arc<Peer>], findings: &Findings) -> Option<SipTarget> {
    let (name, text) = (written.peer.as_ref()?, written.uri.as_ref()?);
    let Some(peer) = peers.iter().find(|peer| *peer.name == *name.value) else {
        let known: Vec<&str> = peers.iter().map(|peer| &*peer.name).collect();
        unknown(name, "peer", "peers.toml", &known, &[], findings);
        return None;
    };
    if peer.hosts.iter().all(|host| matches!(host, PeerHost::Network(_))) {
        let what = format!("\"{}\" has only networks for hosts: those say from where it may call, not where it is", peer.name);
        findings.problem(name.at, what, "name a peer with a host name or an address");
    }
    let decision = messenger(plans, pool, peer);
    if let Some(reason) = decision.refused {
        let what = format!("a notice says who called whom, and \"{}\" is below {}: {}", peer.name, decision.rule, reason.meaning());
        let instead = match reason {
            Reason::ModeInterwork => format!("raise the peer's mode, or add \"{}\" to the plan's interwork if that is meant", peer.name),
            _ => String::from("write transport = \"tls\" for the peer"),
        };
        findings.problem(name.at, what, instead);
    }
    let uri = Uri::parse(&text.value).ok().filter(|uri| uri.is_sip() && uri.user.is_some() && uri.headers.is_none());
    if uri.is_none() || !text.value.is_ascii() {
        findings.problem(text.at, format!("\"{}\" is no SIP address of a receiver", text.value), "write it as sip:missed-calls@um.example.com");
        return None;
    }
    Some(SipTarget { peer: Arc::clone(&peer.name), uri: text.value.as_str().into(), by: written.by.as_ref().map_or(By::Message, |by| by.value) })
}

/// `kind`: what is at the other end, with its article.
pub(super) fn target(written: &written::Target, kind: &str, source: &dyn Source, findings: &Findings) -> Option<webhook::Settings> {
    let text = written.url.as_ref()?;
    let url = match webhook::Url::parse(&text.value) {
        Ok(url) => url,
        Err(remedy) => {
            findings.problem(text.at, format!("\"{}\" is no address of {kind}", text.value), remedy);
            return None;
        }
    };
    let allowed = written.allow_http.as_ref().is_some_and(|flag| flag.value);
    if !url.is_tls && !url.is_loopback() {
        let what = format!("\"{url}\" is in clear: who is on the way reads who called whom, and the token");
        match allowed {
            false => findings.problem(text.at, what, "write https://, or allow_http = true if that is meant"),
            true => findings.warning(text.at, what, "write https:// and ca"),
        }
    }
    if url.is_tls && written.ca.is_none() {
        let instead = "add ca = \"certs/ca.pem\", or the system's own file such as \"/etc/ssl/certs/ca-certificates.crt\"";
        findings.problem(text.at, "https without ca: no certificate could ever verify", instead);
    }
    if let Some(ca) = written.ca.as_ref().filter(|_| !url.is_tls) {
        findings.problem(ca.at, format!("ca for {kind} without TLS"), "remove it, or write https://");
    }
    let token = match (&written.token, &written.token_file) {
        (Some(_), Some(file)) => {
            findings.problem(file.at, "token and token_file", "write one of them");
            return None;
        }
        (Some(token), None) => Some(webhook::Token::Text(token.value.clone())),
        (None, Some(file)) => Some(webhook::Token::File(written::path(source, &file.value))),
        (None, None) => None,
    };
    let ca = written.ca.as_ref().map(|file| written::path(source, &file.value));
    Some(webhook::Settings { url, ca, token, timeout: written.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.value) })
}
