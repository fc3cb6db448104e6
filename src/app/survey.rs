//! What DNS says of a policy set's names now, for `check`: names that do not resolve, addresses that are refused, peers that would share a place.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::adapters::dns::{self, PeerResolver};
use crate::config::Settings;
use crate::policy::address_scope;
use crate::policy::overlap::{Resolution, Shared};
use crate::policy::settings::{PeerHost, PolicySet};
use crate::signaling::fact::{NameOddity, What};

/// All questions together take no longer.
const LIMIT: Duration = Duration::from_secs(6);
/// One name, all its questions and servers.
const LIMIT_OF_NAME: Duration = Duration::from_secs(5);

/// One line for each finding, in the order of the names; each says what to do. Asks all names at the same time and ends within [`LIMIT`].
pub fn survey(settings: &Settings) -> Vec<String> {
    if !settings.policy.peers.iter().flat_map(|peer| &peer.hosts).any(|host| matches!(host, PeerHost::Name(_))) {
        return Vec::new();
    }
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return vec![String::from("names were not asked for: no runtime could be made")];
    };
    let dns = dns::Settings { timeout: settings.dns.timeout.min(LIMIT_OF_NAME / 2), limit: LIMIT_OF_NAME, ..settings.dns.clone() };
    runtime.block_on(ask(dns, settings.policy.clone()))
}

async fn ask(settings: dns::Settings, set: Arc<PolicySet>) -> Vec<String> {
    let any_servers = dns::are_any_servers(&settings);
    let told = Arc::<Mutex<Vec<What>>>::default();
    let report = {
        let told = Arc::clone(&told);
        move |what| told.lock().unwrap_or_else(PoisonError::into_inner).push(what)
    };
    let resolver = match PeerResolver::start(settings, set, report) {
        Ok(resolver) => resolver,
        Err(error) => return vec![format!("names were not asked for: {error}")],
    };
    // What has not answered by then is told as it is.
    let _ = tokio::time::timeout(LIMIT, resolver.settled()).await;
    let mut lines = Vec::new();
    let mut unasked = 0;
    for status in resolver.names().iter().filter(|status| status.addresses.is_empty()) {
        let why = status.last_error.as_deref().unwrap_or("timeout: no name server answered in time");
        if any_servers {
            let peers: Vec<String> = status.peers.iter().map(|peer| format!("\"{peer}\"")).collect();
            lines.push(format!("peers.toml: {} of peer {} does not resolve: {why}", status.name, peers.join(" and ")));
        } else {
            unasked += 1;
        }
    }
    if unasked > 0 {
        lines.push(format!(
            "{unasked} names were not asked for, since no name server is known: write [dns] servers, or set up /etc/resolv.conf; --offline asks for none"
        ));
    }
    let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    lines.extend(told.iter().filter_map(refused));
    lines.extend(resolver.tables().borrow().shared().iter().filter_map(shared));
    lines
}

fn refused(what: &What) -> Option<String> {
    let What::PeerNameOdd { name, oddity: NameOddity::Refused { scope, addresses } } = what else { return None };
    let list: Vec<String> = addresses.iter().map(|address| format!("{address} ({})", address_scope::kind(*address).word())).collect();
    Some(format!(
        "peers.toml: DNS gives {name} {}, which addresses = \"{}\" refuses; widen it if that is meant, else look at who runs the zone",
        list.join(", "),
        scope.word()
    ))
}

fn shared(shared: &Shared) -> Option<String> {
    let peers: Vec<String> = shared.peers.iter().map(|peer| format!("\"{}\"", peer.name)).collect();
    let verdict = match shared.resolution() {
        Resolution::Certificate => return None,
        Resolution::Preferred(peer) => format!("\"{peer}\" is preferred, the others cannot call from there"),
        Resolution::Rejected => {
            String::from("nothing tells them apart, so each is a stranger there; give them addresses of their own, or write prefer = true for one")
        }
    };
    Some(format!("peers.toml: peers {} are all at {} on {} now: {verdict} (event 1175)", peers.join(" and "), shared.place, shared.transport))
}
