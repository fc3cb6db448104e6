//! A laboratory for call flows: the signalling core with virtual time between two scripted parties. Nothing here opens a socket or sleeps; what
//! the core sends is looked at as text and answered as text, by code that shares nothing with the core but the message parser.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis::media::control::{self, Command, Report, StreamId};
use portcullis::policy::branch::Branch;
use portcullis::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity, TlsRefusal};
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{AdmissionLimits, DialPlan, HuntGroup, Peer, PeerHost, PeerKind, PolicySet, Reroute, SecurityMode, UmPool, UriType};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::companion::Bequest;
use portcullis::signaling::core::{Core, Holdings};
use portcullis::signaling::event::{Action, Event, Route, TransportError};
use portcullis::signaling::fact::{CallRecord, Fact, What};
use portcullis::signaling::settings::{Listener, MediaSettings, RemovedPeers, SessionTimer, Settings, Timers};
use portcullis::sip::{HeaderName, Limits, Message, Method, Transport};
use portcullis::time::Time;

pub use crate::script::*;

/// Who talks to the border.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Party {
    /// The trunk, 192.0.2.10.
    Trunk,
    /// The UM call router, 198.51.100.20.
    Router,
    /// A UM server, 198.51.100.30.
    Server,
    /// A second call router, 198.51.100.21.
    Spare,
    /// A gateway to the PSTN, 192.0.2.40, where the scene has one.
    Pstn,
    /// A fax server, 192.0.2.50, where the scene has one.
    Fax,
    /// Nobody the border knows, 203.0.113.66.
    Stranger,
}

pub const PARTIES: [Party; 7] = [Party::Trunk, Party::Router, Party::Server, Party::Spare, Party::Stranger, Party::Pstn, Party::Fax];

impl Party {
    pub fn address(self) -> IpAddr {
        match self {
            Party::Trunk => [192, 0, 2, 10].into(),
            Party::Router => [198, 51, 100, 20].into(),
            Party::Server => [198, 51, 100, 30].into(),
            Party::Spare => [198, 51, 100, 21].into(),
            Party::Pstn => [192, 0, 2, 40].into(),
            Party::Fax => [192, 0, 2, 50].into(),
            Party::Stranger => [203, 0, 113, 66].into(),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Party::Trunk => "trunk",
            Party::Router => "router",
            Party::Server => "server",
            Party::Spare => "spare",
            Party::Fax => "fax",
            Party::Pstn => "pstn",
            Party::Stranger => "stranger",
        }
    }
}

/// One message of the border, as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: Party,
    pub route: Route,
    pub message: Message,
    pub id: portcullis::signaling::event::TransmitId,
}

impl Sent {
    pub fn status(&self) -> u16 {
        self.message.status().unwrap_or(0)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.message.bytes()).into_owned()
    }

    pub fn header(&self, name: HeaderName) -> String {
        self.message.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
    }

    pub fn sdp(&self) -> String {
        String::from_utf8_lossy(self.message.body()).into_owned()
    }
}

pub struct Lab {
    pub core: Core,
    pub now: Time,
    pub sent: VecDeque<Sent>,
    pub media: Vec<Command>,
    /// The table the doors go by, as last told.
    pub doors: Option<Arc<PeerTable>>,
    /// What is another process's.
    pub handed: Vec<(Arc<Flow>, Bytes)>,
    pub bequest: Option<Bequest>,
    /// Listeners that were taken out and are used no more.
    pub unused: Vec<ListenerId>,
    pub facts: Vec<Fact>,
    pub locates: Vec<(portcullis::signaling::event::LocateId, portcullis::signaling::event::LocateQuery)>,
    pub transport: Transport,
    pub mode: SecurityMode,
    pub settings: Arc<Settings>,
    /// The media plane answers Close with a report at once.
    pub media_answers: bool,
    next_branch: u64,
}

/// How a laboratory is set up.
#[derive(Clone)]
pub struct Scene {
    pub transport: Transport,
    pub mode: SecurityMode,
    pub routers: Vec<&'static str>,
    pub session_timer: SessionTimer,
    pub admission: AdmissionLimits,
    /// Outward calls of UM go to the trunk.
    pub outcalls: bool,
    /// The routers are known by name, to be located.
    pub router_by_name: bool,
    /// Media ports of ours.
    pub ports: (u16, u16),
    /// The routers and the trunk are asked for signs of life at this interval.
    pub probe: Option<Duration>,
    pub removed_peers: RemovedPeers,
    /// What else the policy set says.
    pub change: fn(&Scene, &mut PolicySet),
    /// There is a gateway to the PSTN, of this mode, the plan reroutes to it (see [`AUTO_ATTENDANT`]), and missed calls are told: a branch.
    pub pstn: Option<SecurityMode>,
    /// What the trunk is: a carrier, or a Mediation Server, which brings habits of its own.
    pub trunk: PeerKind,
}

/// What the plan reroutes calls to that would leave a message, and those that dialled pilot 5000 to hear theirs.
pub const AUTO_ATTENDANT: &str = "+14255550190";
pub const SUBSCRIBER_ACCESS: &str = "+14255550191";

impl Default for Scene {
    fn default() -> Scene {
        Scene {
            transport: Transport::Udp,
            mode: SecurityMode::Unsecured,
            routers: vec!["router"],
            session_timer: SessionTimer::default(),
            admission: AdmissionLimits::default(),
            outcalls: true,
            router_by_name: false,
            ports: (20_000, 20_999),
            probe: None,
            removed_peers: RemovedPeers::KeepCalls,
            change: |_, _| {},
            pstn: None,
            trunk: PeerKind::Trunk,
        }
    }
}

impl Scene {
    pub fn secured() -> Scene {
        Scene { transport: Transport::Tls, mode: SecurityMode::Secured, ..Scene::default() }
    }

    pub fn tcp() -> Scene {
        Scene { transport: Transport::Tcp, ..Scene::default() }
    }

    /// Over every transport: UDP, TCP, TLS with plain media, TLS with SRTP.
    pub fn everywhere() -> [Scene; 4] {
        let tls = Scene { transport: Transport::Tls, mode: SecurityMode::SipSecured, ..Scene::default() };
        [Scene::default(), Scene::tcp(), tls, Scene::secured()]
    }

    pub fn with_routers(self, routers: &[&'static str]) -> Scene {
        Scene { routers: routers.to_vec(), ..self }
    }
}

pub fn peer(scene: &Scene, party: Party, kind: PeerKind) -> Arc<Peer> {
    Arc::new(Peer {
        hosts: if scene.router_by_name && kind == PeerKind::UmRouter {
            vec![PeerHost::Name(format!("{}.test", party.name()).into())]
        } else {
            vec![PeerHost::Address(party.address())]
        },
        port: Some(if scene.transport == Transport::Tls { 5061 } else { 5060 }),
        tls_names: vec![format!("{}.test", party.name()).into()],
        diversion_trusted: true,
        identity_trusted: true,
        probe: scene.probe.filter(|_| kind != PeerKind::UmServer),
        ..Peer::new(party.name(), kind, scene.transport, scene.mode)
    })
}

pub fn policy_set(scene: &Scene) -> PolicySet {
    let mut peers = vec![
        peer(scene, Party::Trunk, scene.trunk),
        peer(scene, Party::Router, PeerKind::UmRouter),
        peer(scene, Party::Spare, PeerKind::UmRouter),
        peer(scene, Party::Server, PeerKind::UmServer),
    ];
    if let Some(mode) = scene.pstn {
        let gateway = peer(scene, Party::Pstn, PeerKind::Gateway);
        peers.push(Arc::new(Peer { mode, probe: None, ..(*gateway).clone() }));
    }
    let routers = scene.routers.iter().map(|name| (*name).into()).collect();
    let pool = Arc::new(UmPool { servers: vec!["server".into()], ..UmPool::new("um", routers) });
    let plan = Arc::new(DialPlan {
        gateways: if scene.outcalls { vec!["trunk".into()] } else { Vec::new() },
        reroute: scene.pstn.map(|_| Reroute {
            gateways: vec!["pstn".into()],
            auto_attendant: Some(AUTO_ATTENDANT.into()),
            subscriber_access: Some(SUBSCRIBER_ACCESS.into()),
            limit: 2,
        }),
        ..DialPlan::new("plan", UriType::Extension, 4, scene.mode, pool.clone())
    });
    let pilot = |pilot: &str| Arc::new(HuntGroup { name: "access".into(), peer: "trunk".into(), pilot: Some(pilot.into()), plan: plan.clone() });
    let group = Arc::new(HuntGroup { name: "default".into(), peer: "trunk".into(), pilot: None, plan: plan.clone() });
    let groups = scene.pstn.map(|_| pilot("5000")).into_iter().chain([group]).collect::<Vec<_>>();
    PolicySet {
        number: 1,
        peers,
        um_pools: vec![pool],
        dial_plans: vec![plan],
        hunt_groups: groups.into(),
        branch: scene.pstn.map(|_| Branch { um_pool: "um".into() }),
        missed_calls: scene.pstn.is_some(),
        admission: scene.admission.clone(),
        ..PolicySet::default()
    }
}

/// As DNS would have it: each name is that of its party.
pub fn peer_table(number: u64, set: &PolicySet) -> PeerTable {
    PeerTable::build(number, set, &|name| PARTIES.iter().filter(|party| name == format!("{}.test", party.name())).map(|party| party.address()).collect())
}

impl Lab {
    pub fn new(scene: Scene) -> Lab {
        Lab::with(scene, |_| {})
    }

    /// With a policy set of the scene that is changed a little.
    pub fn with(scene: Scene, change: impl FnOnce(&mut PolicySet)) -> Lab {
        Lab::seeded(scene, [42; 32], change)
    }

    /// Another process of the same border.
    pub fn seeded(scene: Scene, seed: [u8; 32], change: impl FnOnce(&mut PolicySet)) -> Lab {
        let mut set = policy_set(&scene);
        (scene.change)(&scene, &mut set);
        change(&mut set);
        let set = Arc::new(set);
        let table = Arc::new(peer_table(1, &set));
        let listener = Listener {
            id: ListenerId(0),
            name: "main".into(),
            transport: scene.transport,
            bound: SocketAddr::from(([192, 0, 2, 1], 5060)),
            advertised: "192.0.2.1:5060".into(),
        };
        let settings = Arc::new(Settings {
            listeners: vec![listener],
            media: MediaSettings {
                outside: vec![[192, 0, 2, 1].into()],
                inside: vec![[198, 51, 100, 1].into()],
                ports: scene.ports,
                silence: Some(Duration::from_secs(60)),
            },
            timers: Timers::default(),
            session_timer: scene.session_timer,
            product: "Portcullis".into(),
            drain: Duration::from_secs(30),
            retry_after: 30,
            removed_peers: scene.removed_peers,
        });
        Lab {
            core: Core::new(settings.clone(), set, table, seed),
            settings,
            now: Time::from_millis(1_000_000),
            sent: VecDeque::new(),
            media: Vec::new(),
            doors: None,
            handed: Vec::new(),
            bequest: None,
            unused: Vec::new(),
            facts: Vec::new(),
            locates: Vec::new(),
            transport: scene.transport,
            mode: scene.mode,
            media_answers: true,
            next_branch: 0,
        }
    }

    /// A description as `party` writes it under the scene's mode, with a key of its own for each port.
    pub fn sdp(&self, party: Party, port: u16) -> String {
        self.sdp_saying(party, port, "a=sendrecv\n")
    }

    pub fn sdp_saying(&self, party: Party, port: u16, attributes: &str) -> String {
        describe(self.mode, party, port, attributes)
    }

    /// Silence until everything has timed out: then every call has its record and nothing is held.
    pub fn finish(&mut self) {
        self.pass(Duration::from_secs(900));
        let began = self.facts.iter().filter(|fact| matches!(fact.what, What::CallBegan { .. })).count();
        assert_eq!(self.records().len(), began, "one record for each call\n{}", self.ladder());
        assert_eq!(self.core.holdings(), Holdings::default(), "something is left\n{}", self.ladder());
        self.sent.clear();
    }

    /// Everything sent to `party` until now.
    pub fn drain_to(&mut self, party: Party) -> Vec<Sent> {
        let (taken, kept) = std::mem::take(&mut self.sent).into_iter().partition(|sent| sent.to == party);
        self.sent = kept;
        Vec::from_iter::<VecDeque<Sent>>(taken)
    }

    pub fn nothing_to(&self, party: Party) {
        let sent: Vec<String> = self.sent.iter().filter(|sent| sent.to == party).map(Sent::text).collect();
        assert!(sent.is_empty(), "sent to {party:?}: {sent:?}\n{}", self.ladder());
    }

    /// The border's request to `party` could not be sent.
    pub fn fails(&mut self, sent: &Sent, error: TransportError) {
        self.handle(Event::TransportFailed { id: sent.id, error });
    }

    pub fn open_streams(&self) -> usize {
        let opened = self.media.iter().filter(|command| matches!(command, Command::Open { .. })).count();
        opened - self.media.iter().filter(|command| matches!(command, Command::Close { .. })).count()
    }

    pub fn flow(&self, party: Party) -> Arc<Flow> {
        let tls = (self.transport == Transport::Tls).then(|| {
            Arc::new(TlsIdentity {
                version: "TLSv1.3".into(),
                cipher: "TLS13_AES_256_GCM_SHA384".into(),
                backend: Default::default(),
                names: vec![format!("{}.test", party.name())],
                trusted_for: vec![party.name().into()],
            })
        });
        let index = PARTIES.iter().position(|other| *other == party).unwrap_or(0) as u64;
        Arc::new(Flow {
            id: FlowId(100 + index),
            transport: self.transport,
            listener: ListenerId(0),
            local: SocketAddr::from(([192, 0, 2, 1], 5060)),
            remote: SocketAddr::new(party.address(), 5060),
            tls,
        })
    }

    pub fn handle(&mut self, event: Event) {
        self.core.handle(self.now, event);
        self.collect();
    }

    fn collect(&mut self) {
        let mut closed: Vec<StreamId> = Vec::new();
        while let Some(action) = self.core.poll() {
            match action {
                Action::Transmit { id, route, bytes } => {
                    let remote = match &route {
                        Route::Datagram { remote, .. } => Some(remote.ip()),
                        Route::Connect(connect) => Some(connect.remote.ip()),
                        Route::Flow { id, otherwise } => PARTIES
                            .iter()
                            .enumerate()
                            .find(|(index, _)| FlowId(100 + *index as u64) == *id)
                            .map(|(_, party)| party.address())
                            .or(otherwise.as_ref().map(|connect| connect.remote.ip())),
                    };
                    let to = PARTIES.into_iter().find(|party| Some(party.address()) == remote).expect("sent to somebody unknown");
                    let message = Message::parse(bytes, &Limits::default()).expect("the border wrote something that is not SIP");
                    self.sent.push_back(Sent { to, route, message, id });
                }
                Action::Media(command) => {
                    if let Command::Close { stream } = command
                        && self.media_answers
                    {
                        closed.push(stream);
                    }
                    self.media.push(command);
                }
                Action::Locate { id, query } => self.locates.push((id, query)),
                Action::Fact(fact) => self.facts.push(fact),
                Action::Doors(table) => self.doors = Some(table),
                Action::HandOver { flow, bytes } => self.handed.push((flow, bytes)),
                Action::Bequeath(bequest) => self.bequest = Some(bequest),
                Action::FlowOver(_) => {}
                Action::Unused(listener) => self.unused.push(listener),
            }
        }
        for stream in closed {
            self.core.handle(self.now, Event::Media(control::Event::Closed { stream, report: Box::new(Report::default()) }));
            self.collect();
        }
    }

    /// Lets time pass, waking the core at each of its deadlines.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.handle(Event::Tick);
        }
        self.now = end;
    }

    /// Text from a party; line ends are made CRLF and Content-Length is written.
    pub fn receive(&mut self, from: Party, text: &str) {
        let flow = self.flow(from);
        self.handle(Event::Received { flow, bytes: wire(text) });
    }

    pub fn receive_message(&mut self, from: Party, bytes: Bytes) {
        let flow = self.flow(from);
        self.handle(Event::Received { flow, bytes });
    }

    pub fn branch(&mut self) -> String {
        self.next_branch += 1;
        format!("z9hG4bKlab{}", self.next_branch)
    }

    /// The next message of the border to `party`; panics with the ladder if it is another.
    pub fn next_to(&mut self, party: Party) -> Sent {
        let index = self.sent.iter().position(|sent| sent.to == party);
        match index {
            Some(index) => self.sent.remove(index).expect("it was just found"),
            None => panic!("nothing was sent to {party:?}\n{}", self.ladder()),
        }
    }

    pub fn request_to(&mut self, party: Party, method: Method) -> Sent {
        let sent = self.next_to(party);
        assert_eq!(sent.message.method(), Some(&method), "to {party:?}:\n{}\n{}", sent.text(), self.ladder());
        sent
    }

    /// The first request of this method to `party`, whatever else went there before.
    pub fn request_to_skipping(&mut self, party: Party, method: Method) -> Sent {
        let index = self.sent.iter().position(|sent| sent.to == party && sent.message.method() == Some(&method));
        index.and_then(|index| self.sent.remove(index)).unwrap_or_else(|| panic!("no {method:?} was sent to {party:?}\n{}", self.ladder()))
    }

    pub fn response_to(&mut self, party: Party, status: u16) -> Sent {
        let sent = self.next_to(party);
        assert_eq!(sent.message.status(), Some(status), "to {party:?}:\n{}\n{}", sent.text(), self.ladder());
        sent
    }

    pub fn nothing_sent(&self) {
        assert!(self.sent.is_empty(), "sent besides: {:?}\n{}", self.sent.iter().map(Sent::text).collect::<Vec<_>>(), self.ladder());
    }

    /// The call records filed so far.
    pub fn records(&self) -> Vec<&CallRecord> {
        self.facts.iter().filter_map(|fact| if let What::CallEnded(record) = &fact.what { Some(&**record) } else { None }).collect()
    }

    pub fn ladder(&self) -> String {
        portcullis::adapters::telemetry::ladder::render(&self.facts)
    }

    /// Answers a request the border sent to `party`: Via, From, To (with `tag`), Call-ID and CSeq are copied.
    pub fn answer(&mut self, party: Party, request: &Sent, status: u16, tag: &str, extra: &str, body: &str) {
        let text = response_text(&request.message, party, self.transport, status, tag, extra, body);
        self.receive(party, &text);
    }
}

/// A target whose certificate did not verify.
pub fn refused_certificate() -> TransportError {
    TlsRefusal::new(Reason::TlsExpired, "its certificate expired 3 days ago").comparing("held against", "certs/ca.pem").into()
}

/// A target that speaks no TLS of ours.
pub fn refused_handshake() -> TransportError {
    TlsRefusal::new(Reason::TlsNothingShared, "it offers only cipher suites that we do not speak").into()
}
