//! What DNS may say of a peer: an answer from a zone that somebody else runs must not make this machine, or one beside it, a trusted peer (rebinding,
//! poisoning).
//!
//! The blocks are those of the IANA special-purpose address registries (RFC 6890), with RFC 1918, 4193, 6598, 5737, 3849, 9637 and 6052. What the
//! operator writes in `hosts` himself is not judged.
//!
//! | scope | lets in |
//! |---|---|
//! | `public` | addresses that are reached over the Internet |
//! | `private` | these, and RFC 1918, unique local and shared (CGNAT) addresses |
//! | `any` | all: for laboratories |

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::policy::settings::PeerKind;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressScope {
    Public,
    Private,
    Any,
}

/// What an address is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressKind {
    Public,
    /// RFC 1918, RFC 4193 (unique local), RFC 8215 (NAT64 of a site).
    Private,
    /// RFC 6598, between a carrier's NAT and its customers.
    Shared,
    Loopback,
    /// RFC 3927, RFC 4291 §2.5.6.
    LinkLocal,
    Multicast,
    Unspecified,
    Broadcast,
    /// RFC 5737, 3849, 9637: for texts.
    Documentation,
    /// RFC 2544, 5180: for measurements.
    Benchmarking,
    /// Reserved, discard-only, of protocols that carry no calls, or not assigned.
    Reserved,
}

impl AddressScope {
    /// The default of a peer that says nothing: a carrier is outside, all others are often in the same network.
    pub const fn of_kind(kind: PeerKind) -> AddressScope {
        match kind {
            PeerKind::Trunk => AddressScope::Public,
            PeerKind::Gateway | PeerKind::Pbx | PeerKind::Mediation | PeerKind::Fax | PeerKind::UmRouter | PeerKind::UmServer => AddressScope::Private,
        }
    }

    /// As the policy set writes it.
    pub const fn word(self) -> &'static str {
        match self {
            AddressScope::Public => "public",
            AddressScope::Private => "private",
            AddressScope::Any => "any",
        }
    }

    /// Whether an answer of DNS may give a peer of this scope that address.
    pub const fn admits(self, address: IpAddr) -> bool {
        match (self, kind(address)) {
            (AddressScope::Any, _) | (_, AddressKind::Public) | (AddressScope::Private, AddressKind::Private | AddressKind::Shared) => true,
            (AddressScope::Public, AddressKind::Private | AddressKind::Shared) => false,
            (
                AddressScope::Public | AddressScope::Private,
                AddressKind::Loopback
                | AddressKind::LinkLocal
                | AddressKind::Multicast
                | AddressKind::Unspecified
                | AddressKind::Broadcast
                | AddressKind::Documentation
                | AddressKind::Benchmarking
                | AddressKind::Reserved,
            ) => false,
        }
    }
}

impl AddressKind {
    pub const fn word(self) -> &'static str {
        match self {
            AddressKind::Public => "public",
            AddressKind::Private => "private",
            AddressKind::Shared => "shared",
            AddressKind::Loopback => "loopback",
            AddressKind::LinkLocal => "link-local",
            AddressKind::Multicast => "multicast",
            AddressKind::Unspecified => "unspecified",
            AddressKind::Broadcast => "broadcast",
            AddressKind::Documentation => "documentation",
            AddressKind::Benchmarking => "benchmarking",
            AddressKind::Reserved => "reserved",
        }
    }
}

/// An IPv4 address inside an IPv6 one (mapped, NAT64, 6to4) is judged for itself.
pub const fn kind(address: IpAddr) -> AddressKind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

const fn kind_v4(address: Ipv4Addr) -> AddressKind {
    match address.octets() {
        [0, 0, 0, 0] => AddressKind::Unspecified,
        [255, 255, 255, 255] => AddressKind::Broadcast,
        [127, ..] => AddressKind::Loopback,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => AddressKind::Private,
        [100, 64..=127, ..] => AddressKind::Shared,
        [169, 254, ..] => AddressKind::LinkLocal,
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => AddressKind::Documentation,
        [198, 18..=19, ..] => AddressKind::Benchmarking,
        [224..=239, ..] => AddressKind::Multicast,
        // This network, IETF protocol assignments, 6to4 relays (RFC 7526), class E.
        [0, ..] | [192, 0, 0, _] | [192, 88, 99, _] | [240..=255, ..] => AddressKind::Reserved,
        _ => AddressKind::Public,
    }
}

const fn kind_v6(address: Ipv6Addr) -> AddressKind {
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressKind::Unspecified,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressKind::Loopback,
        // Mapped (RFC 4291 §2.5.5.2), and RFC 6052's well-known prefix.
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => kind_v4(inside(high, low)),
        // RFC 8215.
        [0x64, 0xff9b, 1, ..] => AddressKind::Private,
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => kind_v4(inside(high, low)),
        [0xff00..=0xffff, ..] => AddressKind::Multicast,
        [0xfe80..=0xfebf, ..] => AddressKind::LinkLocal,
        [0xfc00..=0xfdff, ..] => AddressKind::Private,
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0x0fff, ..] => AddressKind::Documentation,
        [0x2001, 2, 0, ..] => AddressKind::Benchmarking,
        // IETF protocol assignments, Teredo among them.
        [0x2001, 0..=0x1ff, ..] => AddressKind::Reserved,
        // The only block that is given out for the Internet.
        [0x2000..=0x3fff, ..] => AddressKind::Public,
        _ => AddressKind::Reserved,
    }
}

const fn inside(high: u16, low: u16) -> Ipv4Addr {
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Ipv4Addr::new(a, b, c, d)
}
