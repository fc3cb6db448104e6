//! The policy set: everything the border decides by, as meant (not as written; `config` turns one into the other).
//!
//! A `PolicySet` is immutable and shared; a reload makes a new one. Calls keep the `Arc`s they were admitted by.

mod hunt_groups;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::media::control::LatchPolicy;
use crate::policy::address_scope::AddressScope;
use crate::policy::admission::CallLimits;
use crate::policy::branch::Branch;
use crate::policy::caller::{ExtensionCallers, UnfitCaller};
use crate::policy::diversion::DiversionPolicy;
use crate::policy::mailboxes::Mailboxes;
use crate::policy::number_pattern::NumberPattern;
use crate::policy::numbering::Numbering;
use crate::policy::sound::Sound;
use crate::policy::toll::TollRule;
pub use crate::policy::transfer::{FailedTransfer, Refer};
use crate::sdp::crypto::Suite;
use crate::sip::Transport;

pub use hunt_groups::{HuntGroup, HuntGroups, number_of, pilot_key};

/// Exchange's VoIP security modes of a UM dial plan, in order of strength.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SecurityMode {
    /// SIP over TCP (or UDP towards trunks), RTP.
    Unsecured,
    /// SIP over mutual TLS, RTP.
    SipSecured,
    /// SIP over mutual TLS, SRTP keyed by SDES or DTLS.
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
    /// A Lync or Skype for Business Mediation Server: a trunk that refers, and drops calls without RTCP.
    Mediation,
    /// A partner fax server: where UM refers calls that turn out to be faxes. It takes calls and makes none.
    Fax,
}

impl PeerKind {
    /// Whether the peer is on the UM side of the border.
    pub const fn is_um(self) -> bool {
        matches!(self, PeerKind::UmRouter | PeerKind::UmServer)
    }

    /// Whether calls come from such a peer towards UM.
    pub const fn calls_um(self) -> bool {
        matches!(self, PeerKind::Trunk | PeerKind::Gateway | PeerKind::Pbx | PeerKind::Mediation)
    }

    /// Whether such a peer is told of waiting messages unless the set says otherwise: where users' telephones hang. A carrier has no use for who has mail.
    pub const fn takes_mwi(self) -> bool {
        matches!(self, PeerKind::Gateway | PeerKind::Pbx | PeerKind::Mediation)
    }
}

/// How faxes travel to and from a peer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fax {
    /// T.38 (UDPTL) where the leg is plain RTP, and G.711.
    #[default]
    T38,
    /// As sound in G.711 only: T.38 is declined, whoever offers it, and the fax stays what it was.
    G711,
    /// Not expected at all. T.38 is declined; of a fax that comes as sound the border cannot know before it has begun.
    Off,
}

/// Lync drops a call on which it has heard no RTCP for 30 s, on hold as well.
pub const RTCP_KEEPALIVE: Option<Duration> = Some(Duration::from_secs(25));

impl Fax {
    /// Faxes over T.38 are not supported with Mediation Servers.
    pub const fn of_kind(kind: PeerKind) -> Fax {
        match kind {
            PeerKind::Mediation => Fax::G711,
            _ => Fax::T38,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Fax::T38 => "t38",
            Fax::G711 => "g711",
            Fax::Off => "off",
        }
    }
}

/// How a peer's SRTP gets its keys where the mode demands SRTP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Keying {
    /// In the descriptions, `a=crypto` (RFC 4568): what Exchange, Lync and most gateways speak.
    #[default]
    Sdes,
    /// By a DTLS handshake on the media path (RFC 5763, 5764), whose certificates the descriptions name by fingerprint.
    Dtls,
}

impl Keying {
    pub const fn name(self) -> &'static str {
        match self {
            Keying::Sdes => "sdes",
            Keying::Dtls => "dtls",
        }
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

/// As a UM IP gateway's IPAddressFamily: which addresses of a peer are called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressFamily {
    Ipv4,
    Ipv6,
    /// IPv6 first, then IPv4.
    #[default]
    Any,
}

impl AddressFamily {
    pub const fn word(self) -> &'static str {
        match self {
            AddressFamily::Ipv4 => "ipv4",
            AddressFamily::Ipv6 => "ipv6",
            AddressFamily::Any => "any",
        }
    }

    pub const fn admits(self, address: IpAddr) -> bool {
        match self {
            AddressFamily::Ipv4 => address.is_ipv4(),
            AddressFamily::Ipv6 => address.is_ipv6(),
            AddressFamily::Any => true,
        }
    }
}

/// Where a peer lives, as configured.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum PeerHost {
    Address(IpAddr),
    Network(IpNet),
    /// Lower case, resolved by DNS and kept fresh: a host's name, or the owner of SRV records (see [`domain_of`]).
    Name(Arc<str>),
}

/// The domain of a service's own name (RFC 2782): `example.com` of `_sips._tcp.example.com`. Such a name owns SRV records and has no addresses.
/// `None`: it is a host's name.
pub fn domain_of(name: &str) -> Option<&str> {
    let (service, rest) = name.split_once('.')?;
    let (protocol, domain) = rest.split_once('.')?;
    let is_underscored = |label: &str| label.len() > 1 && label.starts_with('_');
    (is_underscored(service) && is_underscored(protocol) && !domain.is_empty()).then_some(domain)
}

#[derive(Clone, PartialEq, Debug)]
pub struct Peer {
    pub name: Arc<str>,
    pub kind: PeerKind,
    pub status: PeerStatus,
    pub hosts: Vec<PeerHost>,
    /// What DNS may say of its host names.
    pub addresses: AddressScope,
    /// At a place it shares with another peer of its transport, UDP or TCP, it is this one that is meant.
    pub prefer: bool,
    pub transport: Transport,
    /// Where we send to. Where absent, RFC 3263 finds it (SRV) or the transport's default holds.
    pub port: Option<u16>,
    pub mode: SecurityMode,
    /// Names one of which the peer's certificate must carry (SAN), lower case. Never empty for TLS: `config` defaults it to the host names.
    pub tls_names: Vec<Arc<str>>,
    /// The peer must show its certificate when it calls in over TLS. Only an unsecured peer may do without, and is then known by its address alone.
    pub mutual: bool,
    /// The listener whose address and certificate we use towards this peer.
    pub listener: Option<Arc<str>>,
    pub latch: LatchPolicy,
    /// SRTP suites offered, best first. Used only where the mode says SRTP.
    pub suites: Vec<Suite>,
    /// Those taken where the peer offers them, best first.
    pub suites_taken: Vec<Suite>,
    pub keying: Keying,
    /// It may be given the SRTP key of the peer on the other leg, and that one its key, where that one may as well: never of itself.
    pub srtp_passthrough: bool,
    /// RTCP on the port of RTP (RFC 5761) is offered to it and accepted from it. Never set for UM; a peer keyed by DTLS has it in any case.
    pub rtcp_mux: bool,
    /// Diversion, CC-Diversion and History-Info are believed from this peer.
    pub diversion_trusted: bool,
    /// P-Asserted-Identity is believed from, and sent to, this peer (RFC 3325 trust domain).
    pub identity_trusted: bool,
    /// It is told who diverted a call that is rerouted to it; UM always is.
    pub diversion_sent: bool,
    /// Its addresses are asked for signs of life at this interval, 5 s or more.
    pub probe: Option<Duration>,
    /// UM's own calls (Play on Phone, find-me) may go to it: a UM IP gateway's OutcallsAllowed. It does not govern transfers.
    pub outcalls: bool,
    /// It is told of waiting messages: a UM IP gateway's MessageWaitingIndicatorAllowed.
    pub mwi: bool,
    /// Mailboxes whose waiting messages it is told of; empty: all of its plans.
    pub mwi_accounts: Vec<NumberPattern>,
    /// Its INVITEs may come without a calling party and without diversion, to be told of these later: a UM IP gateway's DelayedSourcePartyInfoEnabled.
    pub delayed_source_party: bool,
    pub address_family: AddressFamily,
    /// It is a test client: marked in records, and left out of what is shown unless asked for.
    pub simulator: bool,
    pub fax: Fax,
    /// The peer hears RTCP at least so often, made by us where the other side sends none: 5 s to 30 s.
    pub rtcp_keepalive: Option<Duration>,
    pub refer: Refer,
    pub sound: Sound,
    /// Of calls that it begins; what is absent here is as for every peer.
    pub limits: CallLimits,
    /// Of calls that go to it.
    pub limits_towards: CallLimits,
}

/// What is offered where nothing is said: the one suite that everybody has, Exchange and Lync nothing else (but its short tag). Each further one is a line of
/// 80 to 100 bytes with a key, and old stacks stumble over names they do not know.
pub const OFFERED: [Suite; 1] = [Suite::AesCm128HmacSha1_80];

/// What is taken where nothing is said, of what a peer offers: AEAD first, which costs half as much as HMAC-SHA1 and has the longer tag. No tag of 32 bits,
/// and no key of 192, which libsrtp derives otherwise than RFC 6188.
pub const TAKEN: [Suite; 4] = [Suite::AeadAes128Gcm, Suite::AeadAes256Gcm, Suite::AesCm128HmacSha1_80, Suite::Aes256CmHmacSha1_80];

impl Peer {
    /// An enabled peer with the safest value of everything else: no hosts yet, the suite every peer knows, mutual proof, trusted in nothing it says
    /// of others.
    pub fn new(name: &str, kind: PeerKind, transport: Transport, mode: SecurityMode) -> Peer {
        Peer {
            name: name.into(),
            kind,
            status: PeerStatus::Enabled,
            hosts: Vec::new(),
            addresses: AddressScope::of_kind(kind),
            prefer: false,
            transport,
            port: None,
            mode,
            tls_names: Vec::new(),
            mutual: true,
            listener: None,
            latch: LatchPolicy::default(),
            suites: OFFERED.to_vec(),
            suites_taken: TAKEN.to_vec(),
            keying: Keying::default(),
            srtp_passthrough: false,
            rtcp_mux: false,
            diversion_trusted: false,
            diversion_sent: false,
            identity_trusted: false,
            probe: None,
            outcalls: kind != PeerKind::Fax,
            mwi: kind.takes_mwi(),
            mwi_accounts: Vec::new(),
            delayed_source_party: false,
            address_family: AddressFamily::Any,
            simulator: false,
            fax: Fax::of_kind(kind),
            rtcp_keepalive: RTCP_KEEPALIVE.filter(|_| kind == PeerKind::Mediation),
            refer: Refer::of_kind(kind),
            sound: Sound::default(),
            limits: CallLimits::default(),
            limits_towards: CallLimits::default(),
        }
    }
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
    pub numbering: Numbering,
    /// Numbers of Outlook Voice Access, also called subscriber access or pilots; SIP URIs allowed. None is another plan's.
    pub access_numbers: Vec<Arc<str>>,
    /// Numbers of auto attendants, as the access numbers.
    pub auto_attendants: Vec<Arc<str>>,
    /// What becomes of a call whose caller is named in a way UM would refuse.
    pub unfit_caller: UnfitCaller,
    /// What becomes of a caller's extension that nobody vouches for.
    pub extension_callers: ExtensionCallers,
    /// Beginnings of the plan's users' telephone numbers: such a number says as much as an extension.
    pub own_numbers: Vec<Arc<str>>,
    /// Where its calls to UM go when UM cannot be had.
    pub reroute: Option<Reroute>,
    /// The partner fax server (a peer of kind fax): where UM may refer a call that turns out to be a fax.
    pub fax_server: Option<Arc<str>>,
    pub failed_transfer: FailedTransfer,
    pub limits: CallLimits,
}

/// The way to UM over the PSTN (Lync's CsVoicemailReroutingConfiguration). At least one number is there.
#[derive(Clone, PartialEq, Debug)]
pub struct Reroute {
    /// Where the PSTN is reached, in order (peer names); never empty.
    pub gateways: Vec<Arc<str>>,
    /// The number of an auto attendant that takes messages, for calls that would leave one.
    pub auto_attendant: Option<Arc<str>>,
    /// The number at which users hear their messages.
    pub subscriber_access: Option<Arc<str>>,
    /// Calls that may be under way to one of the numbers at once.
    pub limit: u32,
}

/// Calls under way to a reroute number unless the plan says otherwise.
pub const REROUTE_LIMIT: u32 = 20;

impl Reroute {
    /// The numbers that are there.
    pub fn numbers(&self) -> impl Iterator<Item = &str> {
        [&self.auto_attendant, &self.subscriber_access].into_iter().flatten().map(|number| &**number)
    }
}

/// What the servers of a pool are, by which they differ in how calls reach them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UmVersion {
    /// One UM role: a single redirect, from the UM service to its worker.
    #[serde(rename = "exchange-2007")]
    Exchange2007,
    #[serde(rename = "exchange-2010")]
    Exchange2010,
    /// Two successive redirects: call router, UM service, worker.
    #[default]
    #[serde(rename = "exchange-2013")]
    Exchange2013,
    #[serde(rename = "exchange-2016")]
    Exchange2016,
    /// Exchange UM behind Lync or Skype for Business.
    Lync,
    /// Another voicemail server.
    Generic,
    /// Hosted UM, as Exchange Online's was.
    Hosted,
}

impl UmVersion {
    pub const fn word(self) -> &'static str {
        match self {
            UmVersion::Exchange2007 => "exchange-2007",
            UmVersion::Exchange2010 => "exchange-2010",
            UmVersion::Exchange2013 => "exchange-2013",
            UmVersion::Exchange2016 => "exchange-2016",
            UmVersion::Lync => "lync",
            UmVersion::Generic => "generic",
            UmVersion::Hosted => "hosted",
        }
    }

    /// Redirects of one call that are followed unless the pool says otherwise: what the version makes, and room for coexistence of versions.
    pub const fn redirects(self) -> u8 {
        match self {
            UmVersion::Exchange2007 | UmVersion::Exchange2010 => 2,
            UmVersion::Exchange2013 | UmVersion::Exchange2016 | UmVersion::Lync | UmVersion::Generic | UmVersion::Hosted => MAX_REDIRECTS,
        }
    }
}

/// A target that failed is put off for so long unless the pool says otherwise (reference value of MX-ONE).
pub const GREYLIST: Duration = Duration::from_secs(32);

/// Redirects followed unless the pool says otherwise: two of Exchange's own, and room for coexistence of versions.
pub const MAX_REDIRECTS: u8 = 5;

/// Mediation Server's and Exchange's limit for any response at all.
pub const NO_ANSWER: Duration = Duration::from_secs(10);

/// UMStartupMode of the servers of a pool: what they listen for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StartUp {
    /// Exchange's default.
    Tcp,
    Tls,
    Dual,
}

impl StartUp {
    /// As a policy set writes it.
    pub const fn word(self) -> &'static str {
        match self {
            StartUp::Tcp => "tcp",
            StartUp::Tls => "tls",
            StartUp::Dual => "dual",
        }
    }

    /// Whether servers started so take calls with TLS, or without.
    pub const fn serves(self, tls: bool) -> bool {
        match self {
            StartUp::Tcp => !tls,
            StartUp::Tls => tls,
            StartUp::Dual => true,
        }
    }
}

impl UmPool {
    /// A pool of these routers alone.
    pub fn new(name: &str, routers: Vec<Arc<str>>) -> UmPool {
        UmPool {
            name: name.into(),
            routers,
            servers: Vec::new(),
            max_redirects: MAX_REDIRECTS,
            no_answer: NO_ANSWER,
            version: UmVersion::default(),
            weights: Vec::new(),
            greylist: GREYLIST,
            start_up: None,
            diversion: DiversionPolicy::default(),
            hosted: None,
        }
    }
}

/// What hosted UM is called by (see [`crate::policy::hosted`]).
#[derive(Clone, PartialEq, Debug)]
pub struct Hosted {
    /// The forwarding address, `<guid>.um.outlook.com`: the host of To and of the Request-URI.
    pub name: Arc<str>,
    /// Of the hosted voice mail policy: where it is routed, and the tenant's domains.
    pub destination: Option<Arc<str>>,
    pub organization: Option<Arc<str>>,
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
    /// As the operator says, for `check`; `None`: not said.
    pub start_up: Option<StartUp>,
    /// What its servers are told of diversions.
    pub diversion: DiversionPolicy,
    pub version: UmVersion,
    /// Of routers among which the first is drawn by lot for each call, by name; those without go in their order, after these. Empty: all go in order.
    pub weights: Vec<(Arc<str>, u32)>,
    /// A target that did not answer, could not be reached or answered 503 is tried last for so long, whatever its answers to OPTIONS. Zero: never put off.
    pub greylist: Duration,
    /// Of version `Hosted`, and of no other.
    pub hosted: Option<Hosted>,
}

impl UmPool {
    /// The least a leg to its servers is, whatever the plan: hosted UM takes no call without TLS and SRTP.
    pub const fn floor(&self) -> SecurityMode {
        match self.version {
            UmVersion::Hosted => SecurityMode::Secured,
            _ => SecurityMode::Unsecured,
        }
    }

    pub fn has(&self, peer: &str) -> bool {
        self.routers.iter().chain(&self.servers).any(|name| **name == *peer)
    }
}

impl DialPlan {
    /// A plan that serves no peer weaker than itself and calls nobody.
    pub fn new(name: &str, uri_type: UriType, digits: u8, mode: SecurityMode, um_pool: Arc<UmPool>) -> DialPlan {
        DialPlan {
            name: name.into(),
            uri_type,
            digits,
            mode,
            um_pool,
            interwork: Vec::new(),
            gateways: Vec::new(),
            numbering: Numbering::default(),
            access_numbers: Vec::new(),
            auto_attendants: Vec::new(),
            unfit_caller: UnfitCaller::default(),
            extension_callers: ExtensionCallers::default(),
            own_numbers: Vec::new(),
            reroute: None,
            fax_server: None,
            failed_transfer: FailedTransfer::default(),
            limits: CallLimits::default(),
        }
    }

    /// Whether a number or SIP URI, in the form of [`pilot_key`], is one of UM's own in this plan: no mailbox, and of any length.
    pub fn is_pilot(&self, key: &str) -> bool {
        let rerouted = self.reroute.iter().flat_map(Reroute::numbers);
        self.access_numbers.iter().chain(&self.auto_attendants).map(|pilot| &**pilot).chain(rerouted).any(|pilot| pilot_key(pilot) == key)
    }
}

/// Budgets of `admission.toml`. Zero means none are admitted; `None` means no limit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AdmissionLimits {
    pub calls: Option<u32>,
    pub calls_per_peer: Option<u32>,
    /// New calls a second, all peers together, with a burst of one second.
    pub rate: Option<u32>,
    /// The same of one peer.
    pub rate_per_peer: Option<u32>,
    /// How much of its thread's time signalling may take before new calls are held back (per mille). `None`: however much.
    pub occupancy: Option<u16>,
    /// Bytes the process may hold before new calls are held back. `None`: what its container is granted, less a tenth.
    pub memory: Option<u64>,
}

#[derive(Clone, PartialEq, Debug, Default)]
pub struct PolicySet {
    /// Counts up with every load, for logs and `explain`.
    pub number: u64,
    pub peers: Vec<Arc<Peer>>,
    pub um_pools: Vec<Arc<UmPool>>,
    pub dial_plans: Vec<Arc<DialPlan>>,
    pub hunt_groups: HuntGroups,
    pub admission: AdmissionLimits,
    /// `None`: UM is not across a WAN, or it matters to nobody.
    pub branch: Option<Branch>,
    /// Calls that nobody answered are told to the owners of mailboxes.
    pub missed_calls: bool,
    /// Which numbers may be called outward, in the order written.
    pub toll: Vec<Arc<TollRule>>,
    pub mailboxes: Mailboxes,
}

impl PolicySet {
    pub fn peer(&self, name: &str) -> Option<&Arc<Peer>> {
        self.peers.iter().find(|peer| &*peer.name == name)
    }

    pub fn dial_plan(&self, name: &str) -> Option<&Arc<DialPlan>> {
        self.dial_plans.iter().find(|plan| &*plan.name == name)
    }
}
