//! Peers, bans and media ports as elements, and the changes between.

use super::*;
use crate::policy::settings::{Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use std::sync::Arc;

fn table(peers: &[(&str, Transport, &[&str])]) -> PeerTable {
    let peer = |(name, transport, hosts): &(&str, Transport, &[&str])| {
        let host = |host: &&str| host.parse().map_or_else(|_| PeerHost::Network(host.parse().unwrap()), PeerHost::Address);
        let peer = Peer::new(name, PeerKind::Trunk, *transport, SecurityMode::Unsecured);
        Arc::new(Peer { hosts: hosts.iter().map(host).collect(), ..peer })
    };
    PeerTable::build(1, &PolicySet { peers: peers.iter().map(peer).collect(), ..PolicySet::default() }, &|_| Vec::new())
}

fn shown(contents: &Contents) -> Vec<String> {
    let element = |element: &Element| match element {
        Element::Address(address) => address.to_string(),
        Element::Range(range) => range.to_string(),
        Element::Port(port) => port.to_string(),
    };
    Set::ours().flat_map(|set| contents.of(set).map(move |found| format!("{} {}", set.name(), element(found))).collect::<Vec<_>>()).collect()
}

#[test]
fn a_table_becomes_a_set_for_each_transport_and_family() {
    let table = table(&[
        ("a", Transport::Udp, &["192.0.2.1", "10.0.0.0/8", "2001:db8::1"]),
        ("b", Transport::Tls, &["192.0.2.1", "2001:db8:1::/48"]),
        ("c", Transport::Tcp, &["192.0.2.8", "192.0.2.9"]),
    ]);
    assert_eq!(
        shown(&Contents::of_peers(&table)),
        [
            "udp4 192.0.2.1",
            "udp6 2001:db8::1",
            "udp4_nets 10.0.0.0-10.255.255.255",
            "tcp4_nets 192.0.2.8-192.0.2.9",
            "tls4 192.0.2.1",
            "tls6_nets 2001:db8:1::-2001:db8:1:ffff:ffff:ffff:ffff:ffff",
        ]
    );
}

#[test]
fn admitting_adds_and_retiring_leaves_exactly_the_table() {
    let before = table(&[("a", Transport::Udp, &["192.0.2.1", "10.0.0.0/24"])]);
    let after = table(&[("a", Transport::Udp, &["192.0.2.3", "10.0.1.0/24", "10.0.0.128/25"])]);
    let mut held = Contents::of_peers(&before);
    held.open("192.0.2.100:20000".parse().unwrap());
    held.set_bans(&[Range::from("203.0.113.0/24".parse::<ipnet::IpNet>().unwrap())]);
    let both = held.with_peers_of(&after);
    let others = ["ban4 203.0.113.0-203.0.113.255", "media4 192.0.2.100:20000"];
    assert_eq!(shown(&both), [["udp4 192.0.2.1", "udp4 192.0.2.3", "udp4_nets 10.0.0.0-10.0.1.255"].as_slice(), &others].concat());
    let changes: Vec<String> = held.changes(&both).iter().map(|change| format!("{} -{} +{}", change.set.name(), change.out.len(), change.into.len())).collect();
    assert_eq!(changes, ["udp4 -0 +1", "udp4_nets -1 +1"]);
    let retired = both.with_only_peers_of(&after);
    assert_eq!(shown(&retired), [["udp4 192.0.2.3", "udp4_nets 10.0.0.128-10.0.1.255"].as_slice(), &others].concat());
    assert_eq!(retired.changes(&retired), []);
}

#[test]
fn applying_the_changes_leads_to_what_is_wanted() {
    let wanted = Contents::of_peers(&table(&[("a", Transport::Tcp, &["192.0.2.1", "2001:db8::/32"])]));
    let mut held = Contents::of_peers(&table(&[("b", Transport::Udp, &["192.0.2.9"])]));
    held.apply(&held.changes(&wanted));
    assert_eq!(held.changes(&wanted), []);
    assert_eq!(held.total(), 2);
}

#[test]
fn ports_change_without_a_look_at_anything_else() {
    let port = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (mut held, mut wanted) = (Contents::default(), Contents::of_peers(&table(&[("a", Transport::Tcp, &["192.0.2.1"])])));
    let all = [port("192.0.2.1:20000"), port("[2001:db8::1]:20002"), port("192.0.2.1:20004")];
    all.iter().for_each(|port| wanted.open(*port));
    // Opened and closed before the kernel heard of it.
    wanted.close(all[2]);
    let changes = held.changes_of_ports(|port| wanted.is_open(port), &[all[0], all[1], all[2], all[0]]);
    assert_eq!(changes.iter().map(|change| (change.set.name(), change.into.len(), change.out.len())).collect::<Vec<_>>(), [("media4", 1, 0), ("media6", 1, 0)]);
    held.apply(&changes);
    wanted.close(all[0]);
    let changes = held.changes_of_ports(|port| wanted.is_open(port), &[all[0]]);
    assert_eq!(changes.iter().map(|change| (change.set.name(), change.into.len(), change.out.len())).collect::<Vec<_>>(), [("media4", 0, 1)]);
}

#[test]
fn every_set_has_a_name_of_its_own() {
    let names: BTreeSet<&str> = Set::ours().chain(Set::kernels()).map(Set::name).collect();
    assert_eq!(names.len(), 20);
}
