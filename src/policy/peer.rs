//! Flow and DNS snapshot to trusted peer or stranger.

use std::net::IpAddr;
use std::sync::Arc;

use crate::policy::flow::Flow;
use crate::policy::settings::{Peer, PolicySet};
use crate::policy::verdict::Decision;

/// The numbered, immutable snapshot of who lives where. Policy and firewall read the same one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct PeerTable {
    pub number: u64,
}

impl PeerTable {
    /// `resolved`: the addresses DNS gave for each host name of the set.
    pub fn build(number: u64, _set: &PolicySet, _resolved: &dyn Fn(&str) -> Vec<IpAddr>) -> PeerTable {
        PeerTable { number }
    }

    /// Peers that live at this address, whatever their transport.
    pub fn at(&self, _address: IpAddr) -> Vec<Arc<Peer>> {
        Vec::new()
    }

    /// Addresses of this peer, in order.
    pub fn addresses(&self, _peer: &str) -> Vec<IpAddr> {
        Vec::new()
    }
}

/// The trusted peer behind a flow, or a stranger.
pub fn identify(_table: &PeerTable, _flow: &Flow) -> (Decision, Option<Arc<Peer>>) {
    unreachable!("contract only")
}
