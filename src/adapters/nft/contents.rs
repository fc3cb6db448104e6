//! What the sets of our table hold: from a peer table, bans and open streams to elements, and from one state of affairs to the next.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::policy::ground::{Range, join, trusted};
use crate::policy::peer::PeerTable;
use crate::sip::Transport;

pub const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub const fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

/// What a set is of.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Kind {
    /// Peers' addresses, by the transport they speak.
    Peers(Transport),
    /// Peers' networks, and whatever else is more than one address.
    PeerNets(Transport),
    /// Banned by operators.
    Bans,
    /// Our media ports in use.
    Media,
    /// Banned by the kernel, for scanning.
    Scans,
    /// Banned by the kernel, for connecting too fast.
    Floods,
}

/// How a set's elements look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Addresses,
    Ranges,
    /// Address and port of ours.
    Ports,
}

/// A named set of our table.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Set {
    pub kind: Kind,
    pub family: Family,
}

impl Set {
    /// Those we fill, in the order in which they are made.
    pub fn ours() -> impl Iterator<Item = Set> {
        let peers = TRANSPORTS.into_iter().flat_map(|transport| [Kind::Peers(transport), Kind::PeerNets(transport)]);
        peers.chain([Kind::Bans, Kind::Media]).flat_map(|kind| Family::BOTH.map(|family| Set { kind, family }))
    }

    /// Those the kernel fills by itself: bans that automation makes.
    pub fn kernels() -> impl Iterator<Item = Set> {
        [Kind::Scans, Kind::Floods].into_iter().flat_map(|kind| Family::BOTH.map(|family| Set { kind, family }))
    }

    pub fn form(self) -> Form {
        match self.kind {
            Kind::Peers(_) | Kind::Scans | Kind::Floods => Form::Addresses,
            Kind::PeerNets(_) | Kind::Bans => Form::Ranges,
            Kind::Media => Form::Ports,
        }
    }

    /// In the kernel.
    pub const fn name(self) -> &'static str {
        match (self.kind, self.family) {
            (Kind::Peers(Transport::Udp), Family::V4) => "udp4",
            (Kind::Peers(Transport::Udp), Family::V6) => "udp6",
            (Kind::Peers(Transport::Tcp), Family::V4) => "tcp4",
            (Kind::Peers(Transport::Tcp), Family::V6) => "tcp6",
            (Kind::Peers(Transport::Tls), Family::V4) => "tls4",
            (Kind::Peers(Transport::Tls), Family::V6) => "tls6",
            (Kind::PeerNets(Transport::Udp), Family::V4) => "udp4_nets",
            (Kind::PeerNets(Transport::Udp), Family::V6) => "udp6_nets",
            (Kind::PeerNets(Transport::Tcp), Family::V4) => "tcp4_nets",
            (Kind::PeerNets(Transport::Tcp), Family::V6) => "tcp6_nets",
            (Kind::PeerNets(Transport::Tls), Family::V4) => "tls4_nets",
            (Kind::PeerNets(Transport::Tls), Family::V6) => "tls6_nets",
            (Kind::Bans, Family::V4) => "ban4",
            (Kind::Bans, Family::V6) => "ban6",
            (Kind::Media, Family::V4) => "media4",
            (Kind::Media, Family::V6) => "media6",
            (Kind::Scans, Family::V4) => "scan4",
            (Kind::Scans, Family::V6) => "scan6",
            (Kind::Floods, Family::V4) => "flood4",
            (Kind::Floods, Family::V6) => "flood6",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Element {
    Address(IpAddr),
    Range(Range),
    Port(SocketAddr),
}

/// What the sets that we fill hold. A set that is empty is not listed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Contents {
    sets: BTreeMap<Set, BTreeSet<Element>>,
}

impl Contents {
    /// Whom a peer table lets in.
    pub fn of_peers(table: &PeerTable) -> Contents {
        let mut contents = Contents::default();
        for (transport, range) in trusted(table) {
            let family = Family::of(range.first);
            if range.is_single() {
                contents.insert(Set { kind: Kind::Peers(transport), family }, Element::Address(range.first));
            } else {
                contents.insert(Set { kind: Kind::PeerNets(transport), family }, Element::Range(range));
            }
        }
        contents
    }

    /// Whom either lets in.
    pub fn with_peers_of(&self, table: &PeerTable) -> Contents {
        self.with(&Contents::of_peers(table))
    }

    /// What either holds. Ranges that meet become one, since the kernel takes none that overlap.
    pub fn with(&self, more: &Contents) -> Contents {
        let mut both = self.clone();
        for (set, elements) in &more.sets {
            if set.form() == Form::Ranges {
                let ranges = both.of(*set).chain(elements).filter_map(|element| if let Element::Range(range) = element { Some(*range) } else { None });
                let joined = join(ranges.collect());
                both.replace(*set, joined.into_iter().map(Element::Range).collect());
            } else {
                both.sets.entry(*set).or_default().extend(elements);
            }
        }
        both
    }

    /// Without what operators have banned.
    pub fn without_bans(&self) -> Contents {
        Contents { sets: self.sets.iter().filter(|(set, _)| set.kind != Kind::Bans).map(|(set, elements)| (*set, elements.clone())).collect() }
    }

    /// With these peers instead of its own, and all else as it is.
    pub fn with_only_peers_of(&self, table: &PeerTable) -> Contents {
        let mut next = Contents::of_peers(table);
        next.sets.extend(self.sets.iter().filter(|(set, _)| matches!(set.kind, Kind::Bans | Kind::Media)).map(|(set, elements)| (*set, elements.clone())));
        next
    }

    /// Disjoint ranges that do not touch.
    pub fn set_bans(&mut self, bans: &[Range]) {
        for family in Family::BOTH {
            let of_family = bans.iter().filter(|range| Family::of(range.first) == family).map(|range| Element::Range(*range));
            self.replace(Set { kind: Kind::Bans, family }, of_family.collect());
        }
    }

    pub fn open(&mut self, port: SocketAddr) {
        self.insert(Set { kind: Kind::Media, family: Family::of(port.ip()) }, Element::Port(port));
    }

    pub fn close(&mut self, port: SocketAddr) {
        let set = Set { kind: Kind::Media, family: Family::of(port.ip()) };
        if let Some(elements) = self.sets.get_mut(&set) {
            elements.remove(&Element::Port(port));
        }
    }

    pub fn insert(&mut self, set: Set, element: Element) {
        self.sets.entry(set).or_default().insert(element);
    }

    pub fn replace(&mut self, set: Set, elements: BTreeSet<Element>) {
        self.sets.insert(set, elements);
    }

    pub fn of(&self, set: Set) -> impl Iterator<Item = &Element> {
        self.sets.get(&set).into_iter().flatten()
    }

    pub fn is_open(&self, port: SocketAddr) -> bool {
        let set = Set { kind: Kind::Media, family: Family::of(port.ip()) };
        self.sets.get(&set).is_some_and(|elements| elements.contains(&Element::Port(port)))
    }

    pub fn total(&self) -> usize {
        self.sets.values().map(BTreeSet::len).sum()
    }

    /// What must be taken out and put in to come from here to `next`, set by set.
    pub fn changes(&self, next: &Contents) -> Vec<Change> {
        let nothing = BTreeSet::new();
        let changes = Set::ours().map(|set| {
            let (now, then) = (self.sets.get(&set).unwrap_or(&nothing), next.sets.get(&set).unwrap_or(&nothing));
            Change { set, out: now.difference(then).copied().collect(), into: then.difference(now).copied().collect() }
        });
        changes.filter(|change| !change.out.is_empty() || !change.into.is_empty()).collect()
    }

    /// As `changes`, of these media ports alone: without a look at everything else. `is_open`: whether one is to be open.
    pub fn changes_of_ports(&self, is_open: impl Fn(SocketAddr) -> bool, ports: &[SocketAddr]) -> Vec<Change> {
        let mut changes = Family::BOTH.map(|family| Change { set: Set { kind: Kind::Media, family }, out: Vec::new(), into: Vec::new() });
        for port in ports.iter().copied().collect::<BTreeSet<SocketAddr>>() {
            let [v4, v6] = &mut changes;
            let change = if port.is_ipv4() { v4 } else { v6 };
            match (self.is_open(port), is_open(port)) {
                (true, false) => change.out.push(Element::Port(port)),
                (false, true) => change.into.push(Element::Port(port)),
                _ => {}
            }
        }
        changes.into_iter().filter(|change| !change.out.is_empty() || !change.into.is_empty()).collect()
    }

    pub fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            let elements = self.sets.entry(change.set).or_default();
            for element in &change.out {
                elements.remove(element);
            }
            elements.extend(&change.into);
        }
    }
}

/// What changes in one set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Change {
    pub set: Set,
    pub out: Vec<Element>,
    pub into: Vec<Element>,
}

/// As what was found by others' doing: `udp4: 2 missing, 1 too many`.
impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} missing, {} too many", self.set.name(), self.into.len(), self.out.len())
    }
}

#[cfg(test)]
mod tests;
