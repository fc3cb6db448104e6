//! The policy set: everything the border decides by, as meant (not as written; `config` turns one into the other).
//!
//! A `PolicySet` is immutable and shared; a reload makes a new one. Calls keep the `Arc`s they were admitted by.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::media::control::LatchPolicy;
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

/// Exchange's VoIP security modes of a UM dial plan, in order of strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// SIP over TCP (or UDP towards trunks), RTP.
    Unsecured,
    /// SIP over mutual TLS, RTP.
    SipSecured,
    /// SIP over mutual TLS, SRTP with SDES keys.
    Secured,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerKind {
    /// A carrier's trunk.
    Trunk,
    /// A VoIP gateway: a UM IP gateway in Exchange's words.
    Gateway,
    /// An IP-PBX.
    Pbx,
    /// A UM call router (Client Access server): answers INVITE with a redirect, carries no media.
    UmRouter,
    /// A UM server (Mailbox server): the UM service and its workers.
    UmServer,
}

impl PeerKind {
    /// Whether the peer is on the UM side of the border.
    pub const fn is_um(self) -> bool {
        matches!(self, PeerKind::UmRouter | PeerKind::UmServer)
    }
}

/// As a UM IP gateway's status.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerStatus {
    #[default]
    Enabled,
    NoNewCalls,
    Disabled,
}

/// Where a peer lives, as configured.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PeerHost {
    Address(IpAddr),
    Network(IpNet),
    /// Lower case, resolved by DNS and kept fresh.
    Name(Arc<str>),
}

#[derive(Clone, PartialEq, Debug)]
pub struct Peer {
    pub name: Arc<str>,
    pub kind: PeerKind,
    pub status: PeerStatus,
    pub hosts: Vec<PeerHost>,
    pub transport: Transport,
    /// Where we send to. Where absent, RFC 3263 finds it (SRV) or the transport's default holds.
    pub port: Option<u16>,
    pub mode: SecurityMode,
    /// Names one of which the peer's certificate must carry (SAN), lower case. Never empty for TLS: `config` defaults it to the host names.
    pub tls_names: Vec<Arc<str>>,
    /// The listener whose address and certificate we use towards this peer.
    pub listener: Option<Arc<str>>,
    pub latch: LatchPolicy,
    /// SRTP suites offered and accepted, best first. Used only where the mode says SRTP.
    pub suites: Vec<Suite>,
    /// Diversion, CC-Diversion and History-Info are believed from this peer.
    pub diversion_trusted: bool,
    /// P-Asserted-Identity is believed from, and sent to, this peer (RFC 3325 trust domain).
    pub identity_trusted: bool,
    /// OPTIONS interval; `None`: not probed.
    pub probe: Option<Duration>,
}

/// What a user part must look like on the way to UM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UriType {
    /// TelExtn: digits of the plan's length, a phone number, or anonymous.
    Extension,
    SipUri,
    E164,
}

#[derive(Clone, PartialEq, Debug)]
pub struct DialPlan {
    pub name: Arc<str>,
    pub uri_type: UriType,
    /// 1..=20.
    pub digits: u8,
    pub mode: SecurityMode,
    pub um_pool: Arc<UmPool>,
    /// Peers weaker than the plan that it nevertheless serves, by name.
    pub interwork: Vec<Arc<str>>,
    /// Where UM's outward calls of this plan go, in order (peer names).
    pub gateways: Vec<Arc<str>>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct UmPool {
    pub name: Arc<str>,
    /// Where a call is first sent, in order of preference (peers of kind um-router, or um-server where there is no router).
    pub routers: Vec<Arc<str>>,
    /// Peers to which a redirect may lead, besides the routers.
    pub servers: Vec<Arc<str>>,
    /// 3xx hops followed before giving up: 1..=5.
    pub max_redirects: u8,
    /// Next target if no response at all came in this time (Mediation's and Exchange's 10 s rule).
    pub no_answer: Duration,
}

/// (peer, pilot identifier) -> dial plan, as a UM hunt group.
#[derive(Clone, PartialEq, Debug)]
pub struct HuntGroup {
    pub name: Arc<str>,
    pub peer: Arc<str>,
    /// `None`: the default hunt group of this peer, which catches every number.
    pub pilot: Option<Arc<str>>,
    pub plan: Arc<DialPlan>,
}

/// Budgets of `admission.toml`. Zero means none are admitted; `None` means no limit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdmissionLimits {
    pub calls: Option<u32>,
    pub calls_per_peer: Option<u32>,
    /// New calls a second, all peers together, with a burst of one second.
    pub rate: Option<u32>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct PolicySet {
    /// Counts up with every load, for logs and `explain`.
    pub number: u64,
    pub peers: Vec<Arc<Peer>>,
    pub um_pools: Vec<Arc<UmPool>>,
    pub dial_plans: Vec<Arc<DialPlan>>,
    pub hunt_groups: Vec<Arc<HuntGroup>>,
    pub admission: AdmissionLimits,
}

impl PolicySet {
    pub fn peer(&self, name: &str) -> Option<&Arc<Peer>> {
        self.peers.iter().find(|peer| &*peer.name == name)
    }
}
