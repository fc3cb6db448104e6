//! What the other side of a policy set must have, and what the documents of Exchange and Lync say goes wrong: the border's answer to their integration
//! tool, printed by `portcullis check`. Pure but for reading the certificates that are there.

pub mod exchange;
pub mod lync;
mod pitfalls;
mod powershell;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::app::certs::{contents, facts::Facts};
use crate::config::Settings;
use crate::config::finding::Warning;
use crate::config::places::Places;
use crate::policy::settings::{DialPlan, HuntGroup, Peer, PeerHost, PeerKind, UmVersion};
use crate::signaling::settings::Listener;

pub use pitfalls::PITFALLS;

/// A policy set with all that findings about its other side need.
pub struct Subject<'s> {
    pub settings: &'s Settings,
    pub places: &'s Places,
    /// What the listeners' certificates say, by the listener's name; those that are there.
    certificates: HashMap<Arc<str>, Facts>,
}

/// What came of the integration check.
pub struct Integration {
    /// What the documents say goes wrong, each with the name of its pitfall.
    pub findings: Vec<(&'static str, Warning)>,
    /// Commands for the other side, as a script with comments. Empty where no dial plan leads to Exchange and no peer is Lync's or Teams'.
    pub script: String,
}

pub fn integration(settings: &Settings, places: &Places) -> Integration {
    let certificates = settings.tls.listeners.iter().filter_map(|listener| {
        let contents = contents(&listener.own.certificate).ok()?;
        Some((Arc::clone(&listener.name), Facts::read(contents.certificates.first()?)?))
    });
    let subject = Subject { settings, places, certificates: certificates.collect() };
    let mut script = exchange::script(&subject);
    script.push_str(&lync::script(&subject));
    Integration { findings: pitfalls::find(&subject), script }
}

/// The border as Exchange sees it: a UM IP gateway for each name it goes by inside.
pub struct Gateway<'s> {
    /// Its position among the set's listeners.
    pub position: usize,
    pub listener: &'s Listener,
}

impl Gateway<'_> {
    /// As written: Exchange compares it with the certificate's name, case and all.
    pub fn host(&self) -> &str {
        self.listener.host().trim_start_matches('[').trim_end_matches(']')
    }

    pub fn port(&self) -> u16 {
        let port = self.listener.advertised.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.unwrap_or_else(|| self.listener.bound.port())
    }

    pub fn is_address(&self) -> bool {
        self.host().parse::<IpAddr>().is_ok()
    }
}

impl<'s> Subject<'s> {
    /// Dial plans whose UM is an Exchange on premises, with their positions: those with a listener that others than this machine can reach.
    pub fn exchange_plans(&self) -> impl Iterator<Item = (usize, &'s Arc<DialPlan>)> {
        let plans = self.settings.policy.dial_plans.iter().enumerate();
        let is_exchange = |plan: &DialPlan| !matches!(plan.um_pool.version, UmVersion::Generic | UmVersion::Hosted);
        plans.filter(move |(_, plan)| is_exchange(plan) && self.gateways(plan).iter().any(|gateway| !gateway.listener.bound.ip().is_loopback()))
    }

    /// Routers and servers of a plan's pool, with their positions among the peers.
    pub fn members(&self, plan: &DialPlan) -> Vec<(usize, &'s Arc<Peer>)> {
        let names = plan.um_pool.routers.iter().chain(&plan.um_pool.servers);
        let mut members: Vec<(usize, &Arc<Peer>)> = names.filter_map(|name| self.peer(name)).collect();
        members.sort_by_key(|(position, _)| *position);
        members.dedup_by_key(|(position, _)| *position);
        members
    }

    pub fn peer(&self, name: &str) -> Option<(usize, &'s Arc<Peer>)> {
        self.settings.policy.peers.iter().enumerate().find(|(_, peer)| &*peer.name == name)
    }

    pub fn listener_of(&self, peer: &Peer) -> Option<Gateway<'s>> {
        let listeners = self.settings.signaling.listeners.iter().enumerate();
        let mut fitting = listeners.filter(|(_, listener)| match &peer.listener {
            Some(name) => listener.name == *name,
            None => listener.transport == peer.transport,
        });
        fitting.next().map(|(position, listener)| Gateway { position, listener })
    }

    /// The UM IP gateways this border is to a plan.
    pub fn gateways(&self, plan: &DialPlan) -> Vec<Gateway<'s>> {
        let mut gateways: Vec<Gateway<'s>> = self.members(plan).into_iter().filter_map(|(_, peer)| self.listener_of(peer)).collect();
        gateways.sort_by_key(|gateway| gateway.position);
        gateways.dedup_by_key(|gateway| gateway.position);
        gateways
    }

    pub fn certificate(&self, gateway: &Gateway<'_>) -> Option<&Facts> {
        self.certificates.get(&gateway.listener.name)
    }

    /// The hunt groups that lead to a plan, with their positions.
    pub fn hunt_groups(&self, plan: &DialPlan) -> Vec<(usize, &'s Arc<HuntGroup>)> {
        self.settings.policy.hunt_groups.iter().enumerate().filter(|(_, group)| group.plan.name == plan.name).collect()
    }

    /// Mediation Servers that call a plan or are called by it.
    pub fn mediation(&self, plan: &DialPlan) -> Vec<(usize, &'s Arc<Peer>)> {
        let groups = self.hunt_groups(plan);
        let peers = self.settings.policy.peers.iter().enumerate();
        let linked = |peer: &Peer| groups.iter().any(|(_, group)| group.peer == peer.name) || plan.gateways.contains(&peer.name);
        peers.filter(|(_, peer)| peer.kind == PeerKind::Mediation && linked(peer)).collect()
    }
}

/// The peer's host names, as they are asked for.
pub fn names(peer: &Peer) -> impl Iterator<Item = &str> {
    peer.hosts.iter().filter_map(|host| if let PeerHost::Name(name) = host { Some(&**name) } else { None })
}
