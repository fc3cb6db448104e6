//! Which addresses are trusted, as disjoint ranges: what a firewall in front of us lets through, and what no ban may touch.
//!
//! A peer table answers for one address (the most specific place wins, see [`super::peer`]); a firewall wants all of them at once. Between two
//! neighbouring ends of places the answer is the same for every address, so asking once for each of these stretches gives exactly the table's
//! own answer: whoever is let through here is whom the table expects, and nobody else.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::IpNet;

use super::peer::PeerTable;
use super::settings::{Peer, PeerStatus};
use crate::sip::Transport;

/// Addresses of one family from `first` to `last`, both included.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Range {
    pub first: IpAddr,
    pub last: IpAddr,
}

impl Range {
    pub fn is_single(self) -> bool {
        self.first == self.last
    }

    /// Whether this one, which begins no later, overlaps the other or ends right before it.
    fn reaches(self, other: Range) -> bool {
        self.first.is_ipv4() == other.first.is_ipv4() && number(other.first) <= number(self.last).saturating_add(1)
    }

    pub fn contains(self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }
}

/// Ranges of either family as disjoint ones that do not touch, in order.
pub fn join(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut joined: Vec<Range> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(before) if before.reaches(range) => before.last = before.last.max(range.last),
            _ => joined.push(range),
        }
    }
    joined
}

impl From<IpNet> for Range {
    fn from(net: IpNet) -> Range {
        Range { first: net.network(), last: net.broadcast() }
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.is_single() { write!(f, "{}", self.first) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// From where packets may come, by transport: of each transport disjoint, not touching, in order, IPv4 before IPv6. Exactly the addresses for which
/// [`PeerTable::expected`] is not empty.
pub fn trusted(table: &PeerTable) -> Vec<(Transport, Range)> {
    let mut ranges = Vec::new();
    for v4 in [true, false] {
        family(table, v4, &mut ranges);
    }
    ranges
}

fn family(table: &PeerTable, v4: bool, ranges: &mut Vec<(Transport, Range)>) {
    let edges: Vec<u128> = edges(table.places().filter(|place| place.addr().is_ipv4() == v4)).into_iter().collect();
    let end = if v4 { u128::from(u32::MAX) } else { u128::MAX };
    for transport in [Transport::Udp, Transport::Tcp, Transport::Tls] {
        let mut found: Vec<(u128, u128)> = Vec::new();
        for (index, first) in edges.iter().enumerate() {
            let last = edges.get(index + 1).map_or(end, |next| next - 1);
            if table.expected(address(*first, v4), transport).is_empty() {
                continue;
            }
            match found.last_mut() {
                Some((_, before)) if before.checked_add(1) == Some(*first) => *before = last,
                _ => found.push((*first, last)),
            }
        }
        ranges.extend(found.into_iter().map(|(first, last)| (transport, Range { first: address(first, v4), last: address(last, v4) })));
    }
}

/// Where a place begins, and where the first address after one is.
fn edges(places: impl Iterator<Item = IpNet>) -> BTreeSet<u128> {
    let mut edges = BTreeSet::new();
    for place in places {
        let range = Range::from(place);
        edges.insert(number(range.first));
        let after = number(range.last).checked_add(1).filter(|after| !place.addr().is_ipv4() || *after <= u128::from(u32::MAX));
        edges.extend(after);
    }
    edges
}

/// A peer, not disabled, that lives within `net` whatever its transport, and one of its addresses there: why `net` must not be banned.
pub fn inhabitant(table: &PeerTable, net: IpNet) -> Option<(IpAddr, Arc<Peer>)> {
    Inhabited::of(table).within(net)
}

/// Where peers of one table live, made once for many questions: thousands of bans are held against each new table.
pub struct Inhabited<'a> {
    table: &'a PeerTable,
    /// In order.
    v4: Vec<u128>,
    v6: Vec<u128>,
}

impl<'a> Inhabited<'a> {
    pub fn of(table: &'a PeerTable) -> Inhabited<'a> {
        let family = |v4: bool| edges(table.places().filter(|place| place.addr().is_ipv4() == v4)).into_iter().collect();
        Inhabited { table, v4: family(true), v6: family(false) }
    }

    /// As [`inhabitant`].
    pub fn within(&self, net: IpNet) -> Option<(IpAddr, Arc<Peer>)> {
        let (net, v4) = (Range::from(net), net.addr().is_ipv4());
        let edges = if v4 { &self.v4 } else { &self.v6 };
        let begin = edges.partition_point(|edge| *edge < number(net.first));
        let within = edges.iter().skip(begin).take_while(|edge| **edge <= number(net.last)).map(|edge| address(*edge, v4));
        std::iter::once(net.first)
            .chain(within)
            .find_map(|probe| self.table.at(probe).into_iter().find(|peer| peer.status != PeerStatus::Disabled).map(|peer| (probe, Arc::clone(peer))))
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(number: u128, v4: bool) -> IpAddr {
    // A number of the IPv4 family never exceeds 32 bits: it came from an address, or is the one after it below the end.
    if v4 { Ipv4Addr::from_bits(number as u32).into() } else { Ipv6Addr::from_bits(number).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::settings::{PeerHost, PeerKind, PolicySet, SecurityMode};
    use proptest::prelude::*;

    fn peer(name: &str, transport: Transport, status: PeerStatus, hosts: &[&str]) -> Arc<Peer> {
        let host = |host: &&str| host.parse().map_or_else(|_| PeerHost::Network(host.parse().unwrap()), PeerHost::Address);
        let peer = Peer::new(name, PeerKind::Trunk, transport, SecurityMode::Unsecured);
        Arc::new(Peer { status, hosts: hosts.iter().map(host).collect(), ..peer })
    }

    fn table(peers: Vec<Arc<Peer>>) -> PeerTable {
        PeerTable::build(1, &PolicySet { peers, ..PolicySet::default() }, &|_| Vec::new())
    }

    fn of(table: &PeerTable, transport: Transport) -> Vec<Range> {
        trusted(table).into_iter().filter(|(found, _)| *found == transport).map(|(_, range)| range).collect()
    }

    fn shown(ranges: &[Range]) -> Vec<String> {
        ranges.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_more_specific_place_of_another_transport_is_cut_out_of_a_network() {
        let udp = peer("udp", Transport::Udp, PeerStatus::Enabled, &["10.0.0.0/24", "192.0.2.1"]);
        let tcp = peer("tcp", Transport::Tcp, PeerStatus::Enabled, &["10.0.0.5", "2001:db8::/64"]);
        let off = peer("off", Transport::Udp, PeerStatus::Disabled, &["10.0.0.16/28"]);
        let table = table(vec![udp, tcp, off]);
        assert_eq!(shown(&of(&table, Transport::Udp)), ["10.0.0.0-10.0.0.4", "10.0.0.6-10.0.0.15", "10.0.0.32-10.0.0.255", "192.0.2.1"]);
        assert_eq!(shown(&of(&table, Transport::Tcp)), ["10.0.0.5", "2001:db8::-2001:db8::ffff:ffff:ffff:ffff"]);
        assert!(of(&table, Transport::Tls).is_empty());
    }

    #[test]
    fn who_lingers_at_an_address_is_let_in_there_by_its_transport_alone() {
        let gone = peer("gone", Transport::Udp, PeerStatus::Disabled, &[]);
        let stays = peer("stays", Transport::Tcp, PeerStatus::Enabled, &["10.0.0.0/24"]);
        let table = table(vec![stays]).lingering([("10.0.0.5".parse().unwrap(), gone)], 1);
        assert_eq!(shown(&of(&table, Transport::Udp)), ["10.0.0.5"]);
        assert_eq!(shown(&of(&table, Transport::Tcp)), ["10.0.0.0-10.0.0.255"]);
        assert!(of(&table.lingering([], 2), Transport::Udp).is_empty());
    }

    #[test]
    fn neighbours_and_networks_within_networks_become_one_range() {
        let peers = vec![
            peer("a", Transport::Tls, PeerStatus::Enabled, &["10.0.0.0/25", "10.0.0.64/26"]),
            peer("b", Transport::Tls, PeerStatus::NoNewCalls, &["10.0.0.128/25", "10.0.1.0"]),
        ];
        assert_eq!(shown(&of(&table(peers), Transport::Tls)), ["10.0.0.0-10.0.1.0"]);
    }

    #[test]
    fn the_ends_of_the_address_space_are_no_edge_cases() {
        let peers = vec![peer("all", Transport::Udp, PeerStatus::Enabled, &["0.0.0.0/0", "::/0", "255.255.255.255"])];
        let table = table(peers);
        assert_eq!(shown(&of(&table, Transport::Udp)), ["0.0.0.0-255.255.255.255", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"]);
        assert!(inhabitant(&table, "255.255.255.255/32".parse().unwrap()).is_some());
    }

    #[test]
    fn a_net_has_an_inhabitant_where_a_peer_that_is_not_disabled_lives() {
        let peers = vec![
            peer("carrier", Transport::Udp, PeerStatus::Enabled, &["198.51.100.0/24"]),
            peer("gone", Transport::Udp, PeerStatus::Disabled, &["198.51.100.9", "203.0.113.9"]),
        ];
        let table = table(peers);
        let inhabitant = |net: &str| inhabitant(&table, net.parse().unwrap()).map(|(at, peer)| (at.to_string(), peer.name.to_string()));
        assert_eq!(inhabitant("198.51.100.200/32"), Some(("198.51.100.200".into(), "carrier".into())));
        assert_eq!(inhabitant("198.51.0.0/16"), Some(("198.51.100.0".into(), "carrier".into())));
        assert_eq!(inhabitant("198.51.100.8/30"), Some(("198.51.100.8".into(), "carrier".into())));
        assert_eq!(inhabitant("198.51.100.9/32"), None, "most specific: a disabled peer");
        assert_eq!(inhabitant("203.0.113.0/24"), None);
        assert_eq!(inhabitant("::/0"), None);
    }

    proptest! {
        /// Over small spaces, so that places meet: the ranges are the table's own answer, address by address.
        #[test]
        fn ranges_say_what_the_table_says(places in proptest::collection::vec((0u8..64, 26u8..=32, 0usize..3, 0usize..3), 0..12)) {
            let transports = [Transport::Udp, Transport::Tcp, Transport::Tls];
            let states = [PeerStatus::Enabled, PeerStatus::NoNewCalls, PeerStatus::Disabled];
            let peers = places.iter().enumerate().map(|(index, (low, length, transport, status))| {
                let net = IpNet::new(Ipv4Addr::new(192, 0, 2, *low).into(), *length).unwrap().trunc();
                let host = if *length == 32 { PeerHost::Address(net.addr()) } else { PeerHost::Network(net) };
                let peer = Peer::new(&format!("p{index}"), PeerKind::Trunk, transports[*transport], SecurityMode::Unsecured);
                Arc::new(Peer { status: states[*status], hosts: vec![host], ..peer })
            });
            let table = table(peers.collect());
            for transport in transports {
                let ranges = of(&table, transport);
                for pair in ranges.windows(2) {
                    prop_assert!(number(pair[0].last) + 1 < number(pair[1].first), "{} {}", pair[0], pair[1]);
                }
                for low in 0..=255 {
                    let address = IpAddr::from([192, 0, 2, low]);
                    let expected = !table.expected(address, transport).is_empty();
                    prop_assert_eq!(ranges.iter().any(|range| range.contains(address)), expected, "{} {}", address, transport);
                }
            }
            for low in 0..64u8 {
                for length in [26, 29, 32] {
                    let net = IpNet::new(Ipv4Addr::new(192, 0, 2, low).into(), length).unwrap().trunc();
                    let lives = net.hosts().chain([net.network(), net.broadcast()]).any(|address| table.at(address).iter().any(|peer| peer.status != PeerStatus::Disabled));
                    prop_assert_eq!(inhabitant(&table, net).is_some(), lives, "{}", net);
                }
            }
        }
    }
}
