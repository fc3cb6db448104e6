//! Several enabled peers of one transport at one place (Exchange's event 1175): what tells them apart, and since when they share it.
//!
//! | transport | decides |
//! |---|---|
//! | TLS | the certificate's name, if no name is accepted for two of them |
//! | UDP, TCP | `prefer`, where exactly one of them has it |
//! | any, else | nothing: each is a stranger there |

use std::sync::Arc;

use ipnet::IpNet;

use crate::policy::settings::Peer;
use crate::policy::verdict::Decision;
use crate::sip::Transport;

#[derive(Clone, PartialEq, Debug)]
pub struct Shared {
    pub place: IpNet,
    pub transport: Transport,
    /// In the set's order, two at least.
    pub peers: Vec<Arc<Peer>>,
    /// As the clock on the wall said when it was first seen, where somebody has looked.
    pub since: Option<Arc<str>>,
}

/// What decides who it is that comes from a shared place.
#[derive(Clone, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Certificate,
    /// This peer has it alone.
    Preferred(Arc<str>),
    Rejected,
}

impl Resolution {
    pub const fn word(&self) -> &'static str {
        match self {
            Resolution::Certificate => "certificate",
            Resolution::Preferred(_) => "preferred",
            Resolution::Rejected => "rejected",
        }
    }
}

impl Shared {
    pub fn resolution(&self) -> Resolution {
        match self.transport {
            Transport::Tls if self.told_apart_by_certificate() => Resolution::Certificate,
            Transport::Tls => Resolution::Rejected,
            Transport::Udp | Transport::Tcp => {
                let preferred = preferred(self.peers.iter().map(|peer| &**peer));
                preferred.map_or(Resolution::Rejected, |peer| Resolution::Preferred(Arc::clone(&peer.name)))
            }
        }
    }

    /// Whether certificates tell them apart: TLS, no name is accepted for two of them, and one at most may come without a certificate.
    pub fn told_apart_by_certificate(&self) -> bool {
        let names: Vec<&Arc<str>> = self.peers.iter().flat_map(|peer| &peer.tls_names).collect();
        let unproved = self.peers.iter().filter(|peer| !peer.mutual).count();
        self.transport == Transport::Tls && unproved < 2 && names.iter().enumerate().all(|(index, name)| !names[..index].contains(name))
    }

    /// The same place and the same peers, whatever else has changed of them.
    pub fn is_same(&self, other: &Shared) -> bool {
        let names = |shared: &Shared| shared.peers.iter().map(|peer| Arc::clone(&peer.name)).collect::<Vec<_>>();
        (self.place, self.transport) == (other.place, other.transport) && names(self) == names(other)
    }

    pub fn names(&self) -> Vec<Arc<str>> {
        self.peers.iter().map(|peer| Arc::clone(&peer.name)).collect()
    }
}

/// The only one of these that has `prefer`.
pub fn preferred<'a>(peers: impl Iterator<Item = &'a Peer>) -> Option<&'a Peer> {
    let mut preferring = peers.filter(|peer| peer.prefer);
    preferring.next().filter(|_| preferring.next().is_none())
}

/// What an operator must know of it, beside the place.
pub fn compare(decision: Decision, shared: &Shared) -> Decision {
    let list = |wanted: fn(&Peer) -> bool| {
        let names: Vec<&str> = shared.peers.iter().filter(|peer| wanted(peer)).map(|peer| &*peer.name).collect();
        if names.is_empty() { String::from("none") } else { names.join(", ") }
    };
    let decision = decision
        .comparing("shared place", shared.place.to_string())
        .comparing("shared by", list(|_| true))
        .comparing("shared since", shared.since.as_deref().map_or_else(|| String::from("the policy set says so"), String::from));
    if shared.transport == Transport::Tls { decision } else { decision.comparing("prefer", list(|peer| peer.prefer)) }
}
