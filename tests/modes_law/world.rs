//! Who is in the world: peers with their modes and transports, one dial plan, one UM pool. A `World` is what the policy set says, in the few words
//! the law is about; the observer judges by it, the core is given the policy set made from it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use portcullis::policy::peer::PeerTable;
pub use portcullis::policy::settings::SecurityMode;
use portcullis::policy::settings::{DialPlan, HuntGroup, Keying, Peer, PeerHost, PeerKind, PeerStatus, PolicySet, Refer, UmPool, UriType};
use portcullis::signaling::settings::{Listener, MediaSettings, RemovedPeers, SessionTimer, Settings, Timers};
pub use portcullis::sip::Transport;

pub use SecurityMode::{Secured, SipSecured, Unsecured};
pub use Transport::{Tcp, Tls, Udp};

pub const MODES: [SecurityMode; 3] = [Unsecured, SipSecured, Secured];
pub const TRANSPORTS: [Transport; 3] = [Udp, Tcp, Tls];

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Party {
    /// Calls in, and is the first gateway of calls out.
    Trunk,
    /// The second gateway.
    Second,
    /// Where calls to UM begin.
    Router,
    /// The pool's second router.
    Spare,
    /// Where redirects lead; it makes UM's calls out.
    Server,
    /// A UM server of another pool.
    Foreign,
    /// Nobody the border knows.
    Stranger,
}

pub use Party::*;

pub const PEERS: [Party; 6] = [Trunk, Second, Router, Spare, Server, Foreign];

impl Party {
    pub fn address(self) -> IpAddr {
        match self {
            Trunk => [192, 0, 2, 10].into(),
            Second => [192, 0, 2, 11].into(),
            Router => [198, 51, 100, 20].into(),
            Spare => [198, 51, 100, 21].into(),
            Server => [198, 51, 100, 30].into(),
            Foreign => [198, 51, 100, 40].into(),
            Stranger => [203, 0, 113, 66].into(),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Trunk => "trunk",
            Second => "second",
            Router => "router",
            Spare => "spare",
            Server => "server",
            Foreign => "foreign",
            Stranger => "stranger",
        }
    }

    pub fn host(self) -> &'static str {
        match self {
            Trunk => "trunk.test",
            Second => "second.test",
            Router => "router.test",
            Spare => "spare.test",
            Server => "server.test",
            Foreign => "foreign.test",
            Stranger => "stranger.test",
        }
    }

    pub fn is_um(self) -> bool {
        matches!(self, Router | Spare | Server | Foreign)
    }

    pub fn at(address: IpAddr) -> Option<Party> {
        PEERS.into_iter().find(|party| party.address() == address)
    }
}

/// What the policy set says of one peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind {
    pub mode: SecurityMode,
    pub transport: Transport,
    /// It must show a certificate when it calls in over TLS.
    pub mutual: bool,
    /// What keys its SRTP where SRTP is demanded.
    pub keying: Keying,
    /// It may share its SRTP keys with a peer that may as well.
    pub shares: bool,
}

pub const fn kind(mode: SecurityMode, transport: Transport) -> Kind {
    Kind { mode, transport, mutual: true, keying: Keying::Sdes, shares: false }
}

/// A Secured leg keyed by DTLS.
pub const DTLS: Kind = Kind { keying: Keying::Dtls, ..kind(Secured, Tls) };

/// A Secured leg that may share its keys.
pub const SHARING: Kind = Kind { shares: true, ..kind(Secured, Tls) };

impl Kind {
    pub fn is_dtls(self) -> bool {
        self.mode == Secured && self.keying == Keying::Dtls
    }

    pub fn port(self) -> u16 {
        if self.transport == Tls { 5061 } else { 5060 }
    }
}

/// What a leg may be: each mode on each transport that carries it.
pub const LEGS: [Kind; 5] = [kind(Unsecured, Udp), kind(Unsecured, Tcp), kind(Unsecured, Tls), kind(SipSecured, Tls), kind(Secured, Tls)];

/// The legs that differ in what the modes are about; a run without optimisation makes do with these where a product says so.
pub const MARKED_LEGS: [Kind; 3] = [kind(Unsecured, Udp), kind(SipSecured, Tls), kind(Secured, Tls)];

/// Whether everything is played: in an optimised run, or where `MODES_LAW=all` asks for it.
pub fn plays_all() -> bool {
    static ALL: OnceLock<bool> = OnceLock::new();
    *ALL.get_or_init(|| !cfg!(debug_assertions) || std::env::var_os("MODES_LAW").is_some_and(|asked| asked == "all"))
}

/// All legs where everything is played, else the marked ones.
pub fn most_legs() -> &'static [Kind] {
    if plays_all() { &LEGS } else { &MARKED_LEGS }
}

/// What a peer may become: every mode on every transport where everything is played, else what can work.
pub fn new_kinds() -> Vec<Kind> {
    if plays_all() { kinds().collect() } else { LEGS.to_vec() }
}

/// Every mode on every transport, also those that cannot work.
pub fn kinds() -> impl Iterator<Item = Kind> + Clone {
    MODES.into_iter().flat_map(|mode| TRANSPORTS.into_iter().map(move |transport| kind(mode, transport)))
}

#[derive(Clone, PartialEq, Debug)]
pub struct World {
    pub trunk: Kind,
    pub second: Kind,
    pub router: Kind,
    pub spare: Kind,
    pub server: Kind,
    pub foreign: Kind,
    pub plan: SecurityMode,
    pub interwork: Vec<Party>,
    pub routers: Vec<Party>,
    pub gateways: Vec<Party>,
    /// The routers are known by name, to be located.
    pub by_name: bool,
    /// Peers whose status is disabled.
    pub disabled: Vec<Party>,
    /// What becomes of REFER, whoever sends it.
    pub refer: Refer,
}

impl World {
    /// A trunk and a UM side of one kind each.
    pub fn of(trunk: Kind, plan: SecurityMode, um: Kind) -> World {
        World {
            trunk,
            second: trunk,
            router: um,
            spare: um,
            server: um,
            foreign: um,
            plan,
            interwork: Vec::new(),
            routers: vec![Router],
            gateways: vec![Trunk],
            by_name: false,
            disabled: Vec::new(),
            refer: Refer::Refuse,
        }
    }

    /// In which a call between legs of these two kinds can be made: the trunk's, and UM's with the plan's mode.
    pub fn between(trunk: Kind, um: Kind) -> World {
        World { interwork: if trunk.mode < um.mode { vec![Trunk, Second] } else { Vec::new() }, ..World::of(trunk, um.mode, um) }
    }

    pub fn kind(&self, party: Party) -> Kind {
        match party {
            Trunk => self.trunk,
            Second => self.second,
            Router => self.router,
            Spare => self.spare,
            Server => self.server,
            Foreign => self.foreign,
            Stranger => kind(Unsecured, Udp),
        }
    }

    pub fn set_kind(&mut self, party: Party, kind: Kind) {
        match party {
            Trunk => self.trunk = kind,
            Second => self.second = kind,
            Router => self.router = kind,
            Spare => self.spare = kind,
            Server => self.server = kind,
            Foreign => self.foreign = kind,
            Stranger => {}
        }
    }

    /// The plan's pool: its routers and its one server.
    pub fn in_pool(&self, party: Party) -> bool {
        party == Server || self.routers.contains(&party)
    }

    /// The mode the definitions demand of a leg with this party.
    pub fn demanded(&self, party: Party) -> SecurityMode {
        let own = self.kind(party).mode;
        if party.is_um() { own.max(self.plan) } else { own }
    }

    /// Whether a trunk or gateway may be in a call of the plan.
    pub fn may_meet(&self, outside: Party) -> bool {
        self.kind(outside).mode >= self.plan || self.interwork.contains(&outside)
    }

    /// Whether a leg with this party can be what is demanded of it.
    pub fn can_carry(&self, party: Party) -> bool {
        self.demanded(party) == Unsecured || self.kind(party).transport == Tls
    }

    pub fn policy_set(&self, number: u64) -> PolicySet {
        let names = |parties: &[Party]| parties.iter().map(|party| party.name().into()).collect::<Vec<Arc<str>>>();
        let peers = PEERS.into_iter().map(|party| self.peer(party)).collect();
        let pool = |name: &str, routers, servers| Arc::new(UmPool { servers, ..UmPool::new(name, routers) });
        let um = pool("um", names(&self.routers), names(&[Server]));
        let foreign = pool("foreign", names(&[Foreign]), Vec::new());
        let plan = Arc::new(DialPlan {
            interwork: names(&self.interwork),
            gateways: names(&self.gateways),
            ..DialPlan::new("plan", UriType::Extension, 4, self.plan, um.clone())
        });
        let group = |party: Party| Arc::new(HuntGroup { name: "all".into(), peer: party.name().into(), pilot: None, plan: plan.clone() });
        let groups = vec![group(Trunk), group(Second)];
        PolicySet { number, peers, um_pools: vec![um, foreign], dial_plans: vec![plan], hunt_groups: groups.into(), ..PolicySet::default() }
    }

    fn peer(&self, party: Party) -> Arc<Peer> {
        let kind = self.kind(party);
        let role = match party {
            Router | Spare => PeerKind::UmRouter,
            Server | Foreign => PeerKind::UmServer,
            Second => PeerKind::Gateway,
            Trunk | Stranger => PeerKind::Trunk,
        };
        let by_name = matches!(party, Server | Foreign) || (self.by_name && role == PeerKind::UmRouter);
        Arc::new(Peer {
            hosts: vec![if by_name { PeerHost::Name(party.host().into()) } else { PeerHost::Address(party.address()) }],
            port: Some(kind.port()),
            tls_names: vec![party.host().into()],
            mutual: kind.mutual,
            keying: kind.keying,
            srtp_passthrough: kind.shares,
            status: if self.disabled.contains(&party) { PeerStatus::Disabled } else { PeerStatus::Enabled },
            diversion_trusted: true,
            identity_trusted: true,
            refer: self.refer,
            ..Peer::new(party.name(), role, kind.transport, kind.mode)
        })
    }
}

/// As DNS would have it: each name is that of its party.
pub fn peer_table(number: u64, set: &PolicySet) -> PeerTable {
    PeerTable::build(number, set, &|name| PEERS.iter().filter(|party| name == party.host()).map(|party| party.address()).collect())
}

/// A world as the core is told of it.
#[derive(Clone)]
pub struct Snapshot {
    pub world: Arc<World>,
    pub set: Arc<PolicySet>,
    pub table: Arc<PeerTable>,
}

impl Snapshot {
    pub fn new(number: u64, world: World) -> Snapshot {
        let set = world.policy_set(number);
        let table = peer_table(number, &set);
        Snapshot { world: Arc::new(world), set: Arc::new(set), table: Arc::new(table) }
    }
}

/// Our address on every listener; their ids are `TRANSPORTS`' places.
pub const OURS: [u8; 4] = [192, 0, 2, 1];

pub fn listener_of(transport: Transport) -> ListenerId {
    ListenerId(TRANSPORTS.iter().position(|other| *other == transport).unwrap_or(0) as u16)
}

pub fn settings() -> Arc<Settings> {
    static SETTINGS: OnceLock<Arc<Settings>> = OnceLock::new();
    let listener = |transport: Transport| Listener {
        id: listener_of(transport),
        name: transport.uri_token().into(),
        transport,
        bound: SocketAddr::from((OURS, transport.default_port())),
        advertised: format!("192.0.2.1:{}", transport.default_port()).into(),
    };
    let make = || {
        Arc::new(Settings {
            listeners: TRANSPORTS.into_iter().map(listener).collect(),
            media: MediaSettings { outside: vec![OURS.into()], inside: vec![[198, 51, 100, 1].into()], ports: (20_000, 20_039), silence: None },
            timers: Timers::default(),
            session_timer: SessionTimer::default(),
            product: "Portcullis".into(),
            drain: Duration::from_secs(30),
            retry_after: 30,
            removed_peers: RemovedPeers::KeepCalls,
        })
    };
    SETTINGS.get_or_init(make).clone()
}

/// Who stands behind a connection or a datagram.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proof {
    /// The certificate of this party, chained to the CA set for it.
    Of(Party),
    /// No certificate was shown.
    None,
    /// The right name, by a CA that is not trusted for the party.
    WrongCa(Party),
    /// A certificate by the right CA, under another name.
    WrongName(Party),
}

impl Proof {
    pub fn identity(self) -> TlsIdentity {
        let (names, trusted_for) = match self {
            Proof::Of(party) => (vec![party.host().to_owned()], vec![party.name().into()]),
            Proof::None => (Vec::new(), Vec::new()),
            Proof::WrongCa(party) => (vec![party.host().to_owned()], vec!["somebody".into()]),
            Proof::WrongName(party) => (vec!["other.test".to_owned()], vec![party.name().into()]),
        };
        TlsIdentity { backend: Default::default(), version: "TLSv1.3".into(), cipher: "TLS13_AES_256_GCM_SHA384".into(), names, trusted_for }
    }
}

/// A connection, or a datagram's way, to us from `address`.
pub fn flow(id: u64, transport: Transport, address: IpAddr, proof: Proof) -> Arc<Flow> {
    Arc::new(Flow {
        id: FlowId(id),
        transport,
        listener: listener_of(transport),
        local: SocketAddr::from((OURS, transport.default_port())),
        remote: SocketAddr::new(address, transport.default_port()),
        tls: (transport == Tls).then(|| Arc::new(proof.identity())),
    })
}
