//! Who may talk, as operators see it: each peer with what DNS says of its names, where it lives, how it proves itself and whether it answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::adapters::dns::NameStatus;
use crate::policy::access_control::kind_name;
use crate::policy::liveness::{Board, Liveness};
use crate::policy::overlap::{Resolution, Shared};
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{Peer, PeerHost};
use crate::time::Time;

/// Everything at one moment.
pub struct Scene<'a> {
    pub table: &'a PeerTable,
    pub names: &'a [NameStatus],
    pub board: &'a Board,
    pub now: Time,
}

impl Scene<'_> {
    pub fn describe(&self) -> Value {
        // By peer, once: this is done on the thread that signals.
        let mut of_peer: HashMap<&str, Vec<&NameStatus>> = HashMap::new();
        for (peer, name) in self.names.iter().flat_map(|name| name.peers.iter().map(move |peer| (peer, name))) {
            of_peer.entry(peer).or_default().push(name);
        }
        let peers: Vec<Value> = self.table.peers().map(|peer| self.peer(peer, of_peer.get(&*peer.name).map_or(&[], |names| names))).collect();
        let shared: Vec<Value> = self
            .table
            .shared()
            .iter()
            .map(|shared| {
                let peers: Vec<&Arc<str>> = shared.peers.iter().map(|peer| &peer.name).collect();
                json!({ "place": shared.place, "transport": shared.transport.uri_token(), "peers": peers, "resolution": shared.resolution().word(), "preferred": preferred(shared), "since": shared.since })
            })
            .collect();
        json!({ "table": self.table.number, "peers": peers, "shared": shared })
    }

    fn peer(&self, peer: &Peer, names: &[&NameStatus]) -> Value {
        let hosts: Vec<String> = peer.hosts.iter().map(host).collect();
        let addresses: Vec<Value> = self.table.addresses(&peer.name).iter().map(|address| self.address(peer, names, *address)).collect();
        json!({
            "name": peer.name,
            "kind": kind_name(peer.kind),
            "status": peer.status,
            "mode": mode_name(peer.mode),
            "transport": peer.transport.uri_token(),
            "port": peer.port,
            "hosts": hosts,
            "certificate_names": peer.tls_names,
            "names": names,
            "addresses": addresses,
            "liveness": self.board.of(&peer.name).word(),
            "outcalls": peer.outcalls,
            "mwi": peer.mwi,
            "mwi_accounts": peer.mwi_accounts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "delayed_source_party": peer.delayed_source_party,
            "address_family": peer.address_family.word(),
            "simulator": peer.simulator,
        })
    }

    fn address(&self, peer: &Peer, names: &[&NameStatus], address: IpAddr) -> Value {
        let held = names.iter().flat_map(|name| &name.addresses).find(|held| held.address == address);
        let watched: Vec<Value> = self
            .board
            .addresses(&peer.name)
            .iter()
            .filter(|(at, _)| at.ip() == address)
            .map(|(at, state)| json!({ "port": at.port(), "state": state.word(), "reason": state.why(), "since_seconds": since(*state, self.now) }))
            .collect();
        json!({ "address": address, "ttl_left_seconds": held.and_then(|held| held.ttl_left_seconds), "liveness": watched.first(), "ports": watched })
    }
}

fn preferred(shared: &Shared) -> Option<Arc<str>> {
    if let Resolution::Preferred(name) = shared.resolution() { Some(name) } else { None }
}

fn host(host: &PeerHost) -> String {
    match host {
        PeerHost::Address(address) => address.to_string(),
        PeerHost::Network(net) => net.to_string(),
        PeerHost::Name(name) => String::from(&**name),
    }
}

fn since(state: Liveness, now: Time) -> Option<u64> {
    match state {
        Liveness::Up { since } | Liveness::Draining { since, .. } | Liveness::Down { since, .. } => Some(now.since(since).as_secs()),
        Liveness::Unwatched | Liveness::Probing(_) | Liveness::Disabled => None,
    }
}
