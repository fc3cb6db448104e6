//! Flow and DNS snapshot to trusted peer or stranger. Certificate names as in RFC 5922 §7.
//!
//! A peer lives at the addresses its hosts resolve to. A source address is looked up at the most specific place that names it: an address before
//! a network, a longer prefix before a shorter one. Among the peers of that place the transport decides, and over TLS the certificate. What is
//! left must be exactly one:
//!
//! | found | verdict |
//! |---|---|
//! | nobody lives there | `peer.stranger_address` |
//! | somebody does, but speaks another transport | `security_mode.transport`: the door stays shut, so a TLS peer cannot be impersonated over TCP |
//! | over TLS, no name and CA fit | `peer.stranger_certificate` |
//! | two enabled peers, over UDP and TCP exactly one of them with `prefer` | that one ([`overlap`](super::overlap)) |
//! | two enabled peers | `peer.ambiguous` (Exchange's event 1175) |
//! | one, disabled | `peer.disabled` |
//!
//! Where a peer has left an address, or is disabled, and calls with it are still up there, it *lingers* there until they are over: it is known there as
//! a peer of status no-new-calls, if nobody else lives there now. New calls never go to such an address.
//!
//! Every refusal here means silence (UDP) or a closed connection: nothing of the message is parsed. A disabled peer does not count while an enabled
//! one fits, so an entry can be replaced by disabling the old one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use smallvec::SmallVec;

use crate::policy::flow::{Flow, TlsIdentity};
use crate::policy::overlap::{self, Shared};
use crate::policy::settings::{Peer, PeerHost, PeerStatus, PolicySet};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::Transport;

/// Peers at one place, nearly always one.
pub type PeersAt<'a> = SmallVec<[&'a Arc<Peer>; 4]>;

/// The numbered, immutable snapshot of who lives where. Policy and firewall read the same one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PeerTable {
    pub number: u64,
    homes: Vec<Home>,
    by_name: HashMap<Arc<str>, u32>,
    addresses: HashMap<IpAddr, SmallVec<[u32; 2]>>,
    networks: HashMap<IpNet, SmallVec<[u32; 2]>>,
    /// Prefix lengths in use, longest first, IPv4 and IPv6 apart: a lookup probes each once.
    prefixes_v4: Vec<u8>,
    prefixes_v6: Vec<u8>,
    /// Who lingers where. Their status is no-new-calls.
    lingering: HashMap<IpAddr, SmallVec<[Arc<Peer>; 1]>>,
    /// Counts up with each change of who lingers.
    lingered: u64,
    shared: Vec<Shared>,
}

/// Tells two states of the peer table apart: its number, and how often it has changed since who lingers. Two of the same are the same table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Edition(u64, u64);

#[derive(Clone, PartialEq, Debug)]
struct Home {
    peer: Arc<Peer>,
    /// In the order of the peer's hosts; networks have none.
    addresses: Vec<IpAddr>,
    /// What each host name resolved to.
    names: Vec<(Arc<str>, Vec<IpAddr>)>,
}

impl PeerTable {
    /// `resolved`: the addresses DNS gave for each host name of the set, best first, whichever peer has it.
    pub fn build(number: u64, set: &PolicySet, resolved: &dyn Fn(&str) -> Vec<IpAddr>) -> PeerTable {
        PeerTable::build_with(number, set, &|_, name| resolved(name))
    }

    /// `resolved`: the addresses DNS gave for a host name of this peer, best first.
    pub fn build_with(number: u64, set: &PolicySet, resolved: &dyn Fn(&Peer, &Arc<str>) -> Vec<IpAddr>) -> PeerTable {
        let mut table = PeerTable { number, ..PeerTable::default() };
        for (index, peer) in set.peers.iter().enumerate() {
            table.settle(index as u32, peer, resolved);
        }
        let mut lengths: Vec<(bool, u8)> = table.networks.keys().map(|net| (net.addr().is_ipv4(), net.prefix_len())).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        table.prefixes_v4 = lengths.iter().filter(|(v4, _)| *v4).map(|(_, length)| *length).collect();
        table.prefixes_v6 = lengths.iter().filter(|(v4, _)| !*v4).map(|(_, length)| *length).collect();
        table.shared = table.find_shared();
        table
    }

    /// The same table with these peers lingering, and no others. `lingered` must differ from that of every other such table of this number.
    pub fn lingering(&self, who: impl IntoIterator<Item = (IpAddr, Arc<Peer>)>, lingered: u64) -> PeerTable {
        let mut table = PeerTable { lingering: HashMap::new(), lingered, ..self.clone() };
        for (address, peer) in who {
            let peer = if peer.status == PeerStatus::NoNewCalls { peer } else { Arc::new(Peer { status: PeerStatus::NoNewCalls, ..Peer::clone(&peer) }) };
            table.lingering.entry(address.to_canonical()).or_default().push(peer);
        }
        table
    }

    pub fn edition(&self) -> Edition {
        Edition(self.number, self.lingered)
    }

    fn settle(&mut self, index: u32, peer: &Arc<Peer>, resolved: &dyn Fn(&Peer, &Arc<str>) -> Vec<IpAddr>) {
        let mut home = Home { peer: Arc::clone(peer), addresses: Vec::new(), names: Vec::new() };
        for host in &peer.hosts {
            match host {
                PeerHost::Address(address) => home.addresses.push(address.to_canonical()),
                PeerHost::Network(net) => {
                    let at = self.networks.entry(net.trunc()).or_default();
                    if !at.contains(&index) {
                        at.push(index);
                    }
                }
                PeerHost::Name(name) => {
                    let addresses: Vec<IpAddr> = resolved(peer, name).into_iter().map(|address| address.to_canonical()).collect();
                    home.addresses.extend_from_slice(&addresses);
                    home.names.push((Arc::clone(name), addresses));
                }
            }
        }
        let mut seen = Vec::with_capacity(home.addresses.len());
        home.addresses.retain(|address| !seen.contains(address) && (seen.push(*address), true).1);
        for address in &home.addresses {
            self.addresses.entry(*address).or_default().push(index);
        }
        self.by_name.entry(Arc::clone(&peer.name)).or_insert(index);
        self.homes.push(home);
    }

    /// Peers that live at this address, whatever their transport and status: those of the most specific place, in the set's order.
    pub fn at(&self, address: IpAddr) -> PeersAt<'_> {
        self.indices_at(address.to_canonical()).iter().filter_map(|index| self.homes.get(*index as usize)).map(|home| &home.peer).collect()
    }

    /// Peers that may open a connection, or send a datagram, from this address by this transport; over TLS the certificate still has to choose.
    /// What the door asks before a byte is read.
    pub fn expected(&self, address: IpAddr, transport: Transport) -> PeersAt<'_> {
        let mut peers = self.at(address);
        peers.retain(|peer| peer.transport == transport && peer.status != PeerStatus::Disabled);
        for lingerer in self.lingering_at(address) {
            if lingerer.transport == transport && !peers.iter().any(|peer| peer.name == lingerer.name) {
                peers.push(lingerer);
            }
        }
        peers
    }

    fn lingering_at(&self, address: IpAddr) -> &[Arc<Peer>] {
        // Nearly always nobody lingers anywhere.
        if self.lingering.is_empty() { &[] } else { self.lingering.get(&address.to_canonical()).map_or(&[], |peers| peers) }
    }

    /// Who lingers where.
    pub fn who_lingers(&self) -> impl Iterator<Item = (IpAddr, &Arc<Peer>)> {
        self.lingering.iter().flat_map(|(address, peers)| peers.iter().map(|peer| (*address, peer)))
    }

    /// Addresses of this peer, in order; empty for an unknown peer, for networks, and while its names do not resolve.
    pub fn addresses(&self, peer: &str) -> &[IpAddr] {
        self.home(peer).map_or(&[], |home| &home.addresses)
    }

    /// Addresses one host name of this peer resolved to.
    pub fn addresses_of_name(&self, peer: &str, name: &str) -> &[IpAddr] {
        let names = self.home(peer).map_or(&[][..], |home| &home.names);
        names.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map_or(&[], |(_, addresses)| addresses)
    }

    /// The host name by which this peer lives at this address, the first of its hosts that does.
    pub fn name_at(&self, peer: &str, address: IpAddr) -> Option<&Arc<str>> {
        let address = address.to_canonical();
        self.home(peer)?.names.iter().find(|(_, addresses)| addresses.contains(&address)).map(|(name, _)| name)
    }

    pub fn peer(&self, name: &str) -> Option<&Arc<Peer>> {
        self.home(name).map(|home| &home.peer)
    }

    pub fn peers(&self) -> impl Iterator<Item = &Arc<Peer>> {
        self.homes.iter().map(|home| &home.peer)
    }

    /// Every address and network somebody lives or lingers at, as a network; some may lie within others.
    pub fn places(&self) -> impl Iterator<Item = IpNet> {
        self.addresses.keys().chain(self.lingering.keys()).map(|address| IpNet::from(*address)).chain(self.networks.keys().copied())
    }

    /// Whether the same peers live at the same places, numbers apart.
    pub fn same_places(&self, other: &PeerTable) -> bool {
        self.homes == other.homes
    }

    /// Addresses and networks at which several enabled peers of one transport live, in order.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Says since when places are shared: those that `earlier` has as well since then, all others since `now`, which is what the clock on the wall says.
    pub fn date_shared(&mut self, earlier: &PeerTable, now: &Arc<str>) {
        for shared in &mut self.shared {
            let before = earlier.shared.iter().find(|before| before.is_same(shared));
            shared.since = before.and_then(|before| before.since.clone()).or_else(|| Some(Arc::clone(now)));
        }
    }

    fn find_shared(&self) -> Vec<Shared> {
        let places = self.addresses.iter().map(|(address, at)| (IpNet::from(*address), at)).chain(self.networks.iter().map(|(net, at)| (*net, at)));
        let mut shared: Vec<Shared> = places
            .filter(|(_, at)| at.len() > 1)
            .flat_map(|(place, at)| {
                [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().filter_map(move |transport| {
                    let peers: Vec<Arc<Peer>> = at
                        .iter()
                        .filter_map(|index| self.homes.get(*index as usize))
                        .map(|home| Arc::clone(&home.peer))
                        .filter(|peer| peer.transport == transport && peer.status != PeerStatus::Disabled)
                        .collect();
                    (peers.len() > 1).then_some(Shared { place, transport, peers, since: None })
                })
            })
            .collect();
        shared.sort_by_key(|entry| (entry.place, entry.transport));
        shared
    }

    /// Where several live at the place that answers for this address.
    fn shared_at(&self, address: IpAddr, transport: Transport) -> Option<&Shared> {
        let fits = |shared: &&Shared| shared.transport == transport && shared.place.contains(&address.to_canonical());
        self.shared.iter().filter(fits).max_by_key(|shared| shared.place.prefix_len())
    }

    fn home(&self, peer: &str) -> Option<&Home> {
        self.by_name.get(peer).and_then(|index| self.homes.get(*index as usize))
    }

    fn indices_at(&self, address: IpAddr) -> &[u32] {
        if let Some(at) = self.addresses.get(&address) {
            return at;
        }
        let prefixes = if address.is_ipv4() { &self.prefixes_v4 } else { &self.prefixes_v6 };
        prefixes.iter().filter_map(|length| IpNet::new(address, *length).ok()).find_map(|net| self.networks.get(&net.trunc())).map_or(&[], |at| at)
    }
}

/// The trusted peer behind a flow, or why it is a stranger. No allocation where one peer lives at the address.
pub fn recognise<'a>(table: &'a PeerTable, flow: &Flow) -> Result<&'a Arc<Peer>, Reason> {
    at_home(table, flow).or_else(|reason| lingerer(table, flow).ok_or(reason))
}

/// The peer behind a flow that lingers at its address; none where nothing tells two apart.
fn lingerer<'a>(table: &'a PeerTable, flow: &Flow) -> Option<&'a Arc<Peer>> {
    let fits = |peer: &&Arc<Peer>| peer.transport == flow.transport && (flow.transport != Transport::Tls || is_proved(flow, peer));
    let mut here = table.lingering_at(flow.remote.ip()).iter().filter(fits);
    here.next().filter(|_| here.next().is_none())
}

fn is_proved(flow: &Flow, peer: &Peer) -> bool {
    flow.tls.as_deref().is_some_and(|identity| proves(identity, peer) || needs_no_proof(identity, peer))
}

/// As [`recognise`], whoever lingers.
pub fn at_home<'a>(table: &'a PeerTable, flow: &Flow) -> Result<&'a Arc<Peer>, Reason> {
    let here = table.at(flow.remote.ip());
    if here.is_empty() {
        return Err(Reason::StrangerAddress);
    }
    let mut candidates: PeersAt<'_> = here.into_iter().filter(|peer| peer.transport == flow.transport).collect();
    if candidates.is_empty() {
        return Err(Reason::ModeTransport);
    }
    if flow.transport == Transport::Tls {
        candidates.retain(|peer| is_proved(flow, peer));
        if candidates.is_empty() {
            return Err(Reason::StrangerCertificate);
        }
    }
    let mut enabled = candidates.iter().filter(|peer| peer.status != PeerStatus::Disabled);
    match (enabled.next(), enabled.next()) {
        (Some(peer), None) => Ok(peer),
        (Some(_), Some(_)) => preferred(&candidates, flow.transport).ok_or(Reason::PeerAmbiguous),
        (None, _) => Err(Reason::PeerDisabled),
    }
}

/// Of several enabled ones the one that is to have the place. Over TLS the certificate has decided, or nothing does.
fn preferred<'a>(candidates: &PeersAt<'a>, transport: Transport) -> Option<&'a Arc<Peer>> {
    if transport == Transport::Tls {
        return None;
    }
    let name = &overlap::preferred(candidates.iter().map(|peer| &***peer).filter(|peer| peer.status != PeerStatus::Disabled))?.name;
    candidates.iter().find(|peer| peer.name == *name).copied()
}

/// Whether what the handshake established proves that the other end is this peer: the chain ends at the peer's own CA and the certificate carries
/// one of the peer's names (exact, RFC 5922 §7.2: no wildcards).
pub fn proves(identity: &TlsIdentity, peer: &Peer) -> bool {
    identity.trusted_for.contains(&peer.name) && identity.names.iter().any(|name| peer.tls_names.iter().any(|wanted| wanted.eq_ignore_ascii_case(name)))
}

/// A peer that may call in without a certificate, and did. One that showed a certificate is held to it.
fn needs_no_proof(identity: &TlsIdentity, peer: &Peer) -> bool {
    !peer.mutual && identity.names.is_empty() && identity.trusted_for.is_empty()
}

/// The trusted peer behind a flow, or a stranger; with what was compared.
pub fn identify(table: &PeerTable, flow: &Flow) -> (Decision, Option<Arc<Peer>>) {
    let rule = match flow.transport {
        Transport::Tls => "address, transport and certificate name one peer",
        Transport::Udp | Transport::Tcp => "address and transport name one peer",
    };
    let known = |rule: &'static str, peer: &Arc<Peer>| (Decision::passed("peer", rule).comparing("peer", String::from(&*peer.name)), Some(Arc::clone(peer)));
    match at_home(table, flow) {
        Ok(peer) => {
            let (decision, peer) = known(rule, peer);
            match table.shared_at(flow.remote.ip(), flow.transport).filter(|_| flow.transport != Transport::Tls) {
                Some(shared) => (overlap::compare(decision, shared), peer),
                None => (decision, peer),
            }
        }
        Err(reason) => match lingerer(table, flow) {
            Some(peer) => known("a peer that has left the address lingers there while calls are up", peer),
            None => (compare(Decision::refused("peer", rule, reason), table, flow), None),
        },
    }
}

fn compare(decision: Decision, table: &PeerTable, flow: &Flow) -> Decision {
    let here: Vec<String> = table.at(flow.remote.ip()).iter().map(|peer| format!("{} ({})", peer.name, peer.transport)).collect();
    let decision = decision
        .comparing("source", flow.remote.to_string())
        .comparing("transport", flow.transport.via_token())
        .comparing("peers at this address", if here.is_empty() { String::from("none") } else { here.join(", ") })
        .comparing("peer table", table.number.to_string());
    let shared = table.shared_at(flow.remote.ip(), flow.transport).filter(|_| decision.refused == Some(Reason::PeerAmbiguous));
    let decision = match shared {
        Some(shared) => overlap::compare(decision, shared),
        None => decision,
    };
    match &flow.tls {
        Some(identity) => {
            let wanted: Vec<&str> = table.at(flow.remote.ip()).iter().flat_map(|peer| &peer.tls_names).map(|name| &**name).collect();
            decision
                .comparing("certificate names", identity.names.join(", "))
                .comparing("chains to the CA of", identity.trusted_for.join(", "))
                .comparing("names wanted", wanted.join(", "))
        }
        None => decision,
    }
}
