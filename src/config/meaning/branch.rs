//! `branch.toml` as meant: the pool across the WAN, and where missed calls go.

use std::sync::Arc;
use std::time::Duration;

use super::unknown;
use crate::adapters::{store, webhook};
use crate::config::MissedCalls;
use crate::config::finding::Findings;
use crate::config::source::Source;
use crate::config::written;
use crate::policy::branch::Branch;
use crate::policy::settings::{DialPlan, Peer, UmPool};

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
pub fn missed_calls(written: &written::Branch, peers: &[Arc<Peer>], source: &dyn Source, findings: &Findings) -> Option<MissedCalls> {
    let written = written.missed_calls.as_ref()?;
    if let Some(store) = written.store.as_ref().filter(|_| !peers.iter().any(|peer| peer.diversion_trusted && !peer.kind.is_um())) {
        let what = "no peer is believed in Diversion: no call is known to be for a mailbox, and none is missed";
        findings.warning(store.at, what, "write diversion = true for the PBX or gateway that diverts unanswered calls");
    }
    let target = target(written.target.as_ref()?, source, findings)?;
    let store = store::Settings { path: written::path(source, &written.store.as_ref()?.value), most: written.max };
    Some(MissedCalls { store, target })
}

fn target(written: &written::Target, source: &dyn Source, findings: &Findings) -> Option<webhook::Settings> {
    let text = written.url.as_ref()?;
    let url = match webhook::Url::parse(&text.value) {
        Ok(url) => url,
        Err(remedy) => {
            findings.problem(text.at, format!("\"{}\" is no address of a webhook", text.value), remedy);
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
        findings.problem(ca.at, "ca for a webhook without TLS", "remove it, or write https://");
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
