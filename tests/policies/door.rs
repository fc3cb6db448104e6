//! `peer.rs`: who is behind a flow.

use std::sync::Arc;

use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::peer::{PeerTable, identify};
use portcullis::policy::settings::PolicySet;
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
    let shared = over_tls.shared();
    assert_eq!(shared.len(), 1);
    assert!(shared[0].told_apart_by_certificate());

    let mut peers = set.peers.clone();
    let mut twin = (*peers[1]).clone();
    twin.name = "twin".into();
    peers.push(Arc::new(twin));
    let set = PolicySet { peers, ..PolicySet::clone(set) };
    let over_udp = PeerTable::build(1, &set, &super::resolved);
    let (decision, peer) = identify(&over_udp, &flow("198.51.100.2", Transport::Udp, &[], None));
    assert_eq!((code(decision.refused), peer), ("peer.ambiguous", None));
    assert!(!over_udp.shared()[0].told_apart_by_certificate());
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
