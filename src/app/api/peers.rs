//! Who may talk: each peer with what DNS says of its names, where it lives, how it proves itself and whether it answers.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Behind, Desk};
use crate::adapters::dns::NameStatus;
use crate::policy::access_control::kind_name;
use crate::policy::liveness::{Board, Liveness};
use crate::policy::overlap::{self, Resolution};
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::mode_name;
use crate::policy::settings::{self, PeerHost, PeerStatus};
use crate::policy::verdict::Reason;
use crate::signaling::fact::{Fact, What};
use crate::time::Time;

pub(super) fn routes() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::new().routes(routes!(peers))
}

/// The table of who may talk, as it is in force.
#[derive(Serialize, ToSchema)]
struct Peers {
    /// Its number: counts up with each change.
    table: u64,
    peers: Vec<Peer>,
    shared: Vec<Shared>,
}

#[derive(Serialize, ToSchema)]
struct Peer {
    #[schema(value_type = String)]
    name: Arc<str>,
    kind: &'static str,
    #[schema(value_type = String)]
    status: PeerStatus,
    mode: &'static str,
    transport: &'static str,
    port: Option<u16>,
    hosts: Vec<String>,
    #[schema(value_type = Vec<String>)]
    certificate_names: Vec<Arc<str>>,
    names: Vec<NameStatus>,
    addresses: Vec<Address>,
    liveness: &'static str,
    outcalls: bool,
    mwi: bool,
    mwi_accounts: Vec<String>,
    delayed_source_party: bool,
    address_family: &'static str,
    simulator: bool,
}

#[derive(Serialize, ToSchema)]
struct Address {
    #[schema(value_type = String)]
    address: IpAddr,
    /// Null where it never ends.
    ttl_left_seconds: Option<u64>,
    /// Of the first port watched.
    liveness: Option<Watch>,
    ports: Vec<Watch>,
}

#[derive(Clone, Serialize, ToSchema)]
struct Watch {
    port: u16,
    state: &'static str,
    /// A reason code.
    #[schema(value_type = String)]
    reason: Reason,
    since_seconds: Option<u64>,
}

/// A place where several peers live (Exchange's event 1175), and what tells them apart.
#[derive(Serialize, ToSchema)]
struct Shared {
    place: String,
    transport: &'static str,
    #[schema(value_type = Vec<String>)]
    peers: Vec<Arc<str>>,
    resolution: &'static str,
    #[schema(value_type = Option<String>)]
    preferred: Option<Arc<str>>,
    #[schema(value_type = Option<String>)]
    since: Option<Arc<str>>,
}

/// Who may talk.
#[utoipa::path(get, path = "/v1/peers", tag = "trust", responses((status = 200, body = Peers)))]
async fn peers(State(desk): Behind) -> Json<Peers> {
    let tables = desk.resolver.tables();
    let table = tables.borrow().clone();
    let board = desk.watched.0.lock().unwrap_or_else(PoisonError::into_inner);
    Json(Scene { table: &table, names: &desk.resolver.names(), board: &board, now: desk.clock.now() }.describe())
}

/// What the core has told of its peers' liveness, for whoever looks.
#[derive(Clone, Default)]
pub struct Watched(Arc<Mutex<Board>>);

impl Watched {
    /// As it is now.
    pub fn board(&self) -> Board {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn note(&self, fact: &Fact) {
        if let What::PeerLiveness { peer, address, state, .. } = &fact.what {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).set(peer, *address, *state);
        }
    }
}

/// Everything at one moment.
struct Scene<'a> {
    table: &'a PeerTable,
    names: &'a [NameStatus],
    board: &'a Board,
    now: Time,
}

impl Scene<'_> {
    fn describe(&self) -> Peers {
        // By peer, once: this is done on the thread that signals.
        let mut of_peer: HashMap<&str, Vec<&NameStatus>> = HashMap::new();
        for (peer, name) in self.names.iter().flat_map(|name| name.peers.iter().map(move |peer| (peer, name))) {
            of_peer.entry(peer).or_default().push(name);
        }
        let peers = self.table.peers().map(|peer| self.peer(peer, of_peer.get(&*peer.name).map_or(&[], |names| names))).collect();
        Peers { table: self.table.number, peers, shared: self.table.shared().iter().map(shared).collect() }
    }

    fn peer(&self, peer: &settings::Peer, names: &[&NameStatus]) -> Peer {
        Peer {
            name: Arc::clone(&peer.name),
            kind: kind_name(peer.kind),
            status: peer.status,
            mode: mode_name(peer.mode),
            transport: peer.transport.uri_token(),
            port: peer.port,
            hosts: peer.hosts.iter().map(host).collect(),
            certificate_names: peer.tls_names.clone(),
            names: names.iter().copied().cloned().collect(),
            addresses: self.table.addresses(&peer.name).iter().map(|address| self.address(peer, names, *address)).collect(),
            liveness: self.board.of(&peer.name).word(),
            outcalls: peer.outcalls,
            mwi: peer.mwi,
            mwi_accounts: peer.mwi_accounts.iter().map(ToString::to_string).collect(),
            delayed_source_party: peer.delayed_source_party,
            address_family: peer.address_family.word(),
            simulator: peer.simulator,
        }
    }

    fn address(&self, peer: &settings::Peer, names: &[&NameStatus], address: IpAddr) -> Address {
        let held = names.iter().flat_map(|name| &name.addresses).find(|held| held.address == address);
        let watched = self.board.addresses(&peer.name);
        let watched = watched.iter().filter(|(at, _)| at.ip() == address);
        let ports: Vec<Watch> =
            watched.map(|(at, state)| Watch { port: at.port(), state: state.word(), reason: state.why(), since_seconds: since(*state, self.now) }).collect();
        Address { address, ttl_left_seconds: held.and_then(|held| held.ttl_left_seconds), liveness: ports.first().cloned(), ports }
    }
}

fn shared(shared: &overlap::Shared) -> Shared {
    Shared {
        place: shared.place.to_string(),
        transport: shared.transport.uri_token(),
        peers: shared.peers.iter().map(|peer| Arc::clone(&peer.name)).collect(),
        resolution: shared.resolution().word(),
        preferred: if let Resolution::Preferred(name) = shared.resolution() { Some(name) } else { None },
        since: shared.since.clone(),
    }
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
