//! `peer.rs`, `overlap.rs`: who is behind a flow.

use std::sync::Arc;

use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::overlap::Resolution;
use portcullis::policy::peer::{PeerTable, identify};
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PeerStatus, PolicySet, SecurityMode};
use portcullis::policy::verdict::Decision;
use portcullis::sip::Transport;

use super::{Failures, cases, code, set, table};

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    from: String,
    transport: Transport,
    #[serde(default)]
    names: Vec<String>,
    /// Peers to whose CA the certificate chains; absent: all of the set.
    trusted_for: Option<Vec<String>>,
    verdict: String,
    #[serde(default)]
    peer: String,
}

pub fn flow(from: &str, transport: Transport, names: &[String], trusted_for: Option<&[String]>) -> Flow {
    let all: Vec<Arc<str>> = set().peers.iter().map(|peer| Arc::clone(&peer.name)).collect();
    let trusted_for = trusted_for.map_or(all, |names| names.iter().map(|name| name.as_str().into()).collect());
    let tls = (transport == Transport::Tls).then(|| Arc::new(TlsIdentity { names: names.to_vec(), trusted_for, ..TlsIdentity::default() }));
    let remote = from.parse().unwrap_or_else(|_| format!("{from}:40000").parse().unwrap());
    Flow { id: FlowId(1), transport, listener: ListenerId(0), local: "192.0.2.1:5061".parse().unwrap(), remote, tls }
}

#[test]
fn peer_cases() {
    let table = table();
    let mut failures = Failures::default();
    for case in cases::<Case>("peer.toml") {
        let flow = flow(&case.from, case.transport, &case.names, case.trusted_for.as_deref());
        let (decision, peer) = identify(&table, &flow);
        failures.expect(&case.name, (code(decision.refused), peer.as_ref().map_or("", |peer| &*peer.name)), (case.verdict.as_str(), case.peer.as_str()));
    }
}

/// The set checker refuses such sets, but DNS can make one at any time (Exchange's event 1175).
#[test]
fn two_names_on_one_address_are_ambiguous_unless_the_certificate_decides() {
    let set = set();
    let one_place = |name: &str| super::resolved(if name == "mbx1.corp.example" { "router.corp.example" } else { name });
    let over_tls = PeerTable::build(1, set, &one_place);
    let shown = |names: &[&str]| flow("10.0.0.10", Transport::Tls, &names.iter().map(|name| String::from(*name)).collect::<Vec<_>>(), None);
    let (decision, peer) = identify(&over_tls, &shown(&["mbx1.corp.example"]));
    assert_eq!((code(decision.refused), peer.map(|peer| peer.name.to_string()).as_deref()), ("passed", Some("mbx1")));
    let (decision, _) = identify(&over_tls, &shown(&["mbx1.corp.example", "router.corp.example"]));
    assert_eq!(code(decision.refused), "peer.ambiguous");
    assert_eq!(compared(&decision, "shared by"), "router, mbx1");
    assert_eq!(over_tls.shared().len(), 1);
    assert_eq!(over_tls.shared()[0].resolution(), Resolution::Certificate);
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OverlapCase {
    name: String,
    transport: Transport,
    peers: Vec<Sharer>,
    /// What a flow shows over TLS.
    #[serde(default)]
    shows: Vec<String>,
    resolution: String,
    verdict: String,
    #[serde(default)]
    peer: String,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Sharer {
    name: String,
    #[serde(default)]
    prefer: bool,
    #[serde(default)]
    status: PeerStatus,
    #[serde(default)]
    tls_names: Vec<String>,
    #[serde(default = "yes")]
    mutual: bool,
    /// Lives in the network around the place instead of at it.
    #[serde(default)]
    around: bool,
}

fn yes() -> bool {
    true
}

#[test]
fn overlap_cases() {
    let mut failures = Failures::default();
    for case in cases::<OverlapCase>("overlap.toml") {
        let peers = case.peers.iter().map(|sharer| {
            let host = if sharer.around { PeerHost::Network("192.0.2.0/24".parse().unwrap()) } else { PeerHost::Name("one.example".into()) };
            let tls_names = sharer.tls_names.iter().map(|name| name.as_str().into()).collect();
            let peer = Peer::new(&sharer.name, PeerKind::Trunk, case.transport, SecurityMode::Unsecured);
            Arc::new(Peer { hosts: vec![host], prefer: sharer.prefer, status: sharer.status, mutual: sharer.mutual, tls_names, ..peer })
        });
        let set = PolicySet { peers: peers.collect(), ..PolicySet::default() };
        let mut table = PeerTable::build(3, &set, &|_| vec!["192.0.2.7".parse().unwrap()]);
        table.date_shared(&PeerTable::default(), &"2026-11-20T13:05:52Z".into());
        let trusted_for: Vec<String> = if case.shows.is_empty() { Vec::new() } else { case.peers.iter().map(|peer| peer.name.clone()).collect() };
        let (decision, peer) = identify(&table, &flow("192.0.2.7", case.transport, &case.shows, Some(&trusted_for)));
        let resolution = table.shared().first().map_or("none", |shared| shared.resolution().word());
        let found = (resolution, code(decision.refused), peer.as_ref().map_or("", |peer| &*peer.name));
        failures.expect(&case.name, found, (case.resolution.as_str(), case.verdict.as_str(), case.peer.as_str()));
        if case.verdict == "peer.ambiguous" {
            failures.expect(&case.name, compared(&decision, "shared since"), String::from("2026-11-20T13:05:52Z"));
        }
    }
}

fn compared(decision: &Decision, name: &str) -> String {
    decision.compared.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string()).unwrap_or_default()
}

/// "Which peers, which address, since when": an operator needs all three, and since when must outlive tables in which nothing of it has changed.
#[test]
fn a_refusal_for_a_shared_place_says_who_shares_it_and_since_when() {
    let of = |name: &str| {
        let host = PeerHost::Name(format!("{name}.example").into());
        Arc::new(Peer { hosts: vec![host], ..Peer::new(name, PeerKind::Gateway, Transport::Udp, SecurityMode::Unsecured) })
    };
    let set = PolicySet { peers: vec![of("berlin"), of("bern"), of("basel")], ..PolicySet::default() };
    let both = |name: &str| vec![if name == "basel.example" { "10.1.1.2" } else { "10.1.1.1" }.parse().unwrap()];
    let all = |_: &str| vec!["10.1.1.1".parse().unwrap()];
    let mut first = PeerTable::build(1, &set, &both);
    first.date_shared(&PeerTable::default(), &"2026-11-20T13:00:00Z".into());
    let mut second = PeerTable::build(2, &set, &both);
    second.date_shared(&first, &"2026-11-20T14:00:00Z".into());
    let from = flow("10.1.1.1", Transport::Udp, &[], None);
    let (decision, _) = identify(&second, &from);
    for (name, value) in [
        ("shared place", "10.1.1.1/32"),
        ("shared by", "berlin, bern"),
        ("shared since", "2026-11-20T13:00:00Z"),
        ("prefer", "none"),
        ("peer table", "2"),
        ("peers at this address", "berlin (UDP), bern (UDP)"),
    ] {
        assert_eq!(compared(&decision, name), value, "{name}");
    }
    let mut third = PeerTable::build(3, &set, &all);
    third.date_shared(&second, &"2026-11-20T15:00:00Z".into());
    assert_eq!(compared(&identify(&third, &from).0, "shared since"), "2026-11-20T15:00:00Z", "with another peer it is another matter");
}

#[test]
fn a_table_is_read_by_name_and_compared_by_place() {
    let table = table();
    assert_eq!(table.addresses("carrier").iter().map(ToString::to_string).collect::<Vec<_>>(), ["198.51.100.1", "198.51.100.11"]);
    assert_eq!(table.addresses_of_name("carrier", "Carrier.Example").len(), 1);
    assert!(table.addresses("nobody").is_empty());
    assert!(table.same_places(&PeerTable::build(8, set(), &super::resolved)));
    assert!(!table.same_places(&PeerTable::build(7, set(), &|_| Vec::new())));
    assert_eq!(table.expected("198.51.100.5".parse().unwrap(), Transport::Udp).len(), 0, "disabled peers are not expected at the door");
    assert_eq!(table.expected("198.51.100.1".parse().unwrap(), Transport::Tls).len(), 1);
}
