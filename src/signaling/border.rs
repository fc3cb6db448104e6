//! What every chapter of a call's life works with: the settings and snapshots in force, the transactions, the timers, and the outbox.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::media::control::{Addresses, Command as MediaCommand, Side, StreamId};
use crate::media::ports::PortPool;
use crate::policy::branch::Wan;
use crate::policy::flow::Flow;
use crate::policy::peer::PeerTable;
use crate::policy::settings::{Peer, PolicySet};
use crate::policy::verdict::Decision;
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sdp::fingerprint::Fingerprint;
use crate::signaling::b2bua::attended::Splice;
use crate::signaling::b2bua::call::{ClientOwner, Leg};
use crate::signaling::b2bua::errand::{ErrandId, Errands};
use crate::signaling::b2bua::greylist::Greylist;
use crate::signaling::b2bua::lingering::Lingering;
use crate::signaling::b2bua::message_waiting;
use crate::signaling::b2bua::reroute::Rerouting;
use crate::signaling::census::Ports;
use crate::signaling::closed_flows::ClosedFlows;
use crate::signaling::companion::{Bequest, Companion};
use crate::signaling::event::{Action, LocateId, Route};
use crate::signaling::fact::{CallId, Fact, What};
use crate::signaling::identifiers::Mint;
use crate::signaling::liveness::{Watch, WatchId};
use crate::signaling::load::LoadCount;
use crate::signaling::retired::Retired;
use crate::signaling::session::offer_answer::Supply;
use crate::signaling::session::session_timer::SessionExpiry;
use crate::signaling::settings::{Listener, Settings};
use crate::signaling::throttle::Throttle;
use crate::signaling::timers::Deadlines;
use crate::signaling::transaction::{ClientKey, ServerKey, Transactions};
use crate::signaling::transport;
use crate::sip::{Builder, Message, Method, Transport};
use crate::time::Time;

/// Transactions at once, both kinds; above it requests are refused without one.
const TRANSACTIONS: usize = 400_000;

/// The transaction table's hash key, so that a peer cannot choose colliding branches.
fn hash_key(seed: &[u8; 32]) -> [u64; 2] {
    let half = |at: usize| seed.iter().skip(at).take(8).fold(0u64, |key, byte| key << 8 | u64::from(*byte));
    [half(0), half(8)]
}

/// Every timer the core itself keeps (the transactions keep their own).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Timer {
    /// A 2xx of ours waits for its ACK.
    Answer(CallId, Side),
    /// A reliable provisional response waits for its PRACK.
    Reliable(CallId),
    /// RFC 3261 §16.6 timer C: it rang too long.
    TimerC(CallId),
    /// The caller has to hear of progress, or goes elsewhere.
    EarlySign(CallId),
    /// The target gave no sign of life.
    NoResponse(CallId),
    /// RFC 4028.
    Session(CallId, Side),
    /// The B leg was looked for too long, however often it rang.
    Hunt(CallId),
    /// The call was on hold too long.
    Hold(CallId),
    /// What a transfer has to ask of a busy leg can be tried again.
    Transfer(CallId),
    /// One who has transferred the call should have hung up.
    Leaving(CallId),
    /// The drain time is over.
    Drain,
    /// The ladder of a call that is over takes no more messages.
    Forget(CallId),
    /// The border has just begun: peers are to be watched.
    Follow,
    /// A watched address is to be asked, or has not answered.
    Watch(WatchId),
    /// The caller had time to say more of itself.
    SourceParty(CallId),
    /// A step of an errand takes too long.
    Errand(ErrandId),
    /// It is to be looked whether listeners that were taken out are still used.
    Retired,
}

pub struct Border {
    pub settings: Arc<Settings>,
    pub set: Arc<PolicySet>,
    pub table: Arc<PeerTable>,
    pub mint: Mint,
    pub transactions: Transactions,
    pub timers: Deadlines<Timer>,
    pub clients: HashMap<ClientKey, ClientOwner>,
    /// Requests of peers that a call must answer: for CANCEL and for failures of the reply's transport.
    pub servers: HashMap<ServerKey, CallId>,
    /// By our tag, which no peer can guess: the dialog a request belongs to.
    pub tags: HashMap<String, (CallId, Side)>,
    /// By Call-ID, for correlating the ladder only.
    pub call_ids: HashMap<String, (CallId, Side)>,
    pub locates: HashMap<LocateId, CallId>,
    /// Of the certificates the media plane shakes hands with.
    pub fingerprints: Vec<Fingerprint>,
    pub streams: HashMap<StreamId, (CallId, [Addresses; 2])>,
    /// Streams whose opening is still to be told.
    pub opened: Vec<(CallId, StreamId)>,
    pub closed_flows: ClosedFlows,
    pub load: LoadCount,
    pub throttle: Throttle,
    pub watch: Watch,
    pub errands: Errands,
    pub greylist: Greylist,
    /// Notices of waiting messages taken lately.
    pub notices: message_waiting::Rate,
    pub lingering: Lingering,
    pub retired: Retired,
    /// Calls that are to become one.
    pub splices: VecDeque<Splice>,
    pub rerouting: Rerouting,
    /// To the centre.
    pub wan: Wan,
    pub draining: bool,
    pub companion: Option<Companion>,
    /// Call-IDs of calls that are over, until `Timer::Forget`.
    past: HashMap<CallId, Vec<String>>,
    ports: HashMap<IpAddr, PortPool>,
    /// RTP ports of pairs that another process of this border keeps.
    kept_elsewhere: Vec<SocketAddr>,
    next_call: u64,
    next_locate: u64,
    next_stream: u64,
    outbox: VecDeque<Action>,
}

impl Border {
    pub fn new(settings: Arc<Settings>, set: Arc<PolicySet>, table: Arc<PeerTable>, seed: [u8; 32]) -> Border {
        Border {
            transactions: Transactions::new(settings.timers, TRANSACTIONS, hash_key(&seed)),
            settings,
            set,
            table,
            mint: Mint::new(seed),
            timers: Deadlines::new(),
            clients: HashMap::new(),
            servers: HashMap::new(),
            tags: HashMap::new(),
            call_ids: HashMap::new(),
            locates: HashMap::new(),
            fingerprints: Vec::new(),
            streams: HashMap::new(),
            opened: Vec::new(),
            closed_flows: ClosedFlows::default(),
            load: LoadCount::default(),
            throttle: Throttle::default(),
            watch: Watch::default(),
            errands: Errands::default(),
            greylist: Greylist::default(),
            notices: message_waiting::Rate::default(),
            lingering: Lingering::default(),
            retired: Retired::default(),
            splices: VecDeque::new(),
            rerouting: Rerouting::default(),
            wan: Wan::Unknown,
            draining: false,
            companion: None,
            past: HashMap::new(),
            ports: HashMap::new(),
            kept_elsewhere: Vec::new(),
            next_call: 1,
            next_locate: 1,
            next_stream: 1,
            outbox: VecDeque::new(),
        }
    }

    pub fn poll(&mut self) -> Option<Action> {
        self.outbox.pop_front()
    }

    pub fn act(&mut self, action: Action) {
        self.outbox.push_back(action);
    }

    /// Hands commands to the media plane; what a stream holds is remembered until it is closed.
    pub fn media(&mut self, call: CallId, commands: impl IntoIterator<Item = MediaCommand>) {
        for command in commands {
            if let MediaCommand::Open { stream, a, b, .. } = &command {
                self.streams.insert(*stream, (call, [*a, *b]));
                self.opened.push((call, *stream));
            }
            self.outbox.push_back(Action::Media(command));
        }
    }

    /// A call that is over keeps its place in the ladder while late messages may still come: ACKs, repeated 2xx, answers to BYE.
    pub fn forget_later(&mut self, now: Time, call: CallId, call_ids: Vec<String>) {
        let timers = &self.settings.timers;
        self.timers.set(Timer::Forget(call), now + timers.t1 * 64 + timers.t4);
        self.past.insert(call, call_ids);
    }

    pub fn forget(&mut self, call: CallId) {
        for call_id in self.past.remove(&call).unwrap_or_default() {
            // The peer may have taken the Call-ID again for another try.
            if self.call_ids.get(&call_id).is_some_and(|(owner, _)| *owner == call) {
                self.call_ids.remove(&call_id);
            }
        }
    }

    /// A reload took effect. Port pools with nothing lent out are made anew from the new range.
    pub fn reconfigure(&mut self, set: Arc<PolicySet>, settings: Arc<Settings>) {
        self.transactions.reconfigure(settings.timers, TRANSACTIONS);
        self.ports.retain(|_, pool| pool.in_use() > 0);
        (self.set, self.settings) = (set, settings);
    }

    /// What a successor is told. No more than `spare` free pairs of each address stay here.
    pub fn bequest(&mut self, spare: usize) -> Bequest {
        let kept = self.ports.iter_mut().flat_map(|(address, pool)| {
            let address = *address;
            pool.keep(spare).into_iter().map(move |port| SocketAddr::new(address, port))
        });
        Bequest { next_call: self.next_call, ports: kept.collect() }
    }

    pub fn number_calls_from(&mut self, first: u64) {
        self.next_call = self.next_call.max(first);
    }

    /// Uses nothing of what the predecessor has used and keeps.
    pub fn inherit(&mut self, bequest: Bequest) {
        self.number_calls_from(bequest.next_call);
        self.kept_elsewhere = bequest.ports;
    }

    /// There is no other process any more: all pairs are ours.
    pub fn inherit_all(&mut self) {
        self.kept_elsewhere.clear();
        self.ports.values_mut().for_each(PortPool::take_back);
    }

    pub fn ports_in_use(&self) -> usize {
        self.ports.values().map(PortPool::in_use).sum()
    }

    /// Of which pairs were given out.
    pub fn media_addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.ports.keys().copied()
    }

    pub fn ports_at(&self, address: IpAddr, now: Time) -> Ports {
        let (first, last) = self.settings.media.ports;
        let untouched = || PortPool::new(first, last).without(&self.kept_elsewhere, address);
        let of = |pool: &PortPool| {
            let [free, resting, elsewhere] = pool.spare(now);
            Ports { address, used: pool.in_use(), resting, free, elsewhere }
        };
        self.ports.get(&address).map_or_else(|| of(&untouched()), of)
    }

    /// Gives a pair back that no stream holds.
    pub fn release_ports(&mut self, now: Time, pair: &Addresses) {
        let address = pair.rtp.ip();
        let (first, last) = self.settings.media.ports;
        let Some(pool) = self.ports.get_mut(&address) else { return };
        pool.release(now, pair.rtp.port());
        // A reload gave another range while calls held ports of the old one.
        if pool.in_use() == 0 && !pool.is_of(first, last) {
            self.ports.remove(&address);
        }
    }

    pub fn fact(&mut self, at: Time, call: Option<CallId>, what: What) {
        self.outbox.push_back(Action::Fact(Fact { at, call, what }));
    }

    /// Tells what was opened while an event was handled.
    pub fn tell_opened(&mut self, at: Time) {
        for (call, stream) in std::mem::take(&mut self.opened) {
            self.fact(at, Some(call), What::MediaOpened { stream });
        }
    }

    pub fn decided(&mut self, at: Time, call: CallId, decision: Decision) {
        self.fact(at, Some(call), What::Decided(vec![decision]));
    }

    pub fn new_call(&mut self) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        id
    }

    pub fn new_locate(&mut self, call: CallId) -> LocateId {
        let id = self.new_locate_id();
        self.locates.insert(id, call);
        id
    }

    pub fn new_locate_id(&mut self) -> LocateId {
        let id = LocateId(self.next_locate);
        self.next_locate += 1;
        id
    }

    /// Answers a request outside or inside a call: headers of ours are added, nothing else crosses.
    pub fn reply(&mut self, now: Time, request: (&ServerKey, &Message, &Flow), status: u16, to_tag: Option<&str>, extra: impl FnOnce(&mut Builder)) {
        let (key, message, flow) = request;
        let mut reply = transport::response(message, flow, status, to_tag);
        reply.header("Server", self.settings.product.as_bytes());
        extra(&mut reply);
        self.transactions.respond(now, *key, status, reply.finish());
    }

    /// Where the next request in a leg's dialog goes: over the peer's open stream, else to the remote target if that is an address of this
    /// very peer, else to where the peer last spoke from. A Contact never makes us send to a host that is not the peer's.
    pub fn route(&self, leg: &Leg) -> Route {
        let flow = &leg.flow;
        let hop = leg.dialog.next_hop();
        let port = hop.as_ref().and_then(|(_, port)| *port);
        let named = hop.and_then(|(host, _)| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
        let own = named.filter(|address| *address == flow.remote.ip() || self.table.addresses(&leg.peer.name).contains(address));
        if !flow.transport.is_reliable() {
            let remote = match own {
                Some(address) => (address, port.unwrap_or(flow.transport.default_port())).into(),
                None => flow.remote,
            };
            return Route::Datagram { listener: leg.listener.id, remote };
        }
        let back = port.or(leg.peer.port).unwrap_or(flow.transport.default_port());
        let mut connect = transport::connect_back(flow, back, &leg.peer);
        if let Some(address) = own {
            connect.remote.set_ip(address);
        }
        connect.listener = leg.listener.id;
        if self.closed_flows.contains(flow.id) { Route::Connect(connect) } else { Route::Flow { id: flow.id, otherwise: Some(connect) } }
    }

    /// Sets the timer of a leg's session anew.
    pub fn set_session_timer(&mut self, call: CallId, side: Side, expiry: &SessionExpiry) {
        match expiry.deadline() {
            Some(deadline) => self.timers.set(Timer::Session(call, side), deadline),
            None => self.timers.cancel(Timer::Session(call, side)),
        };
    }

    /// The transport and address a route leads to, for the ladder.
    pub fn destination(&self, route: &Route) -> (Transport, SocketAddr) {
        match route {
            Route::Datagram { remote, .. } => (Transport::Udp, *remote),
            Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => (connect.transport, connect.remote),
            Route::Flow { otherwise: None, .. } => (Transport::Tcp, SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0)),
        }
    }

    /// Sends a request in a leg's dialog through a client transaction.
    pub fn request(&mut self, now: Time, leg: &mut Leg, method: Method, owner: ClientOwner, extra: impl FnOnce(&mut Builder)) -> ClientKey {
        let branch = self.mint.branch();
        let via = transport::via(&leg.listener, &branch);
        let mut request = leg.dialog.request(&method, &via);
        request.header("User-Agent", self.settings.product.as_bytes());
        extra(&mut request);
        let route = self.route(leg);
        let key = self.transactions.request(now, &method, &branch, route, request.finish());
        self.clients.insert(key, owner);
        key
    }

    /// The ACK to a 2xx in a leg's dialog; what was sent is returned so that it can be repeated.
    pub fn acknowledge(&mut self, leg: &Leg, seq: u32, sdp: Option<&[u8]>) -> (Route, bytes::Bytes) {
        let (route, bytes) = self.acknowledgement(leg, seq, sdp);
        self.transactions.send_ack(route.clone(), bytes.clone());
        (route, bytes)
    }

    /// The same ACK, unsent: for a 2xx that may still come when the leg is gone.
    pub fn acknowledgement(&mut self, leg: &Leg, seq: u32, sdp: Option<&[u8]>) -> (Route, bytes::Bytes) {
        let via = transport::via(&leg.listener, &self.mint.branch());
        let mut ack = leg.dialog.ack(seq, &via);
        if let Some(sdp) = sdp {
            ack.body("application/sdp", sdp);
        }
        (self.route(leg), ack.finish())
    }

    pub fn listener_for(&self, peer: &Peer, transport: Transport, remote: SocketAddr) -> Option<Listener> {
        transport::listener_for(&self.settings, peer, transport, remote).cloned()
    }

    pub fn listener(&self, flow: &Flow) -> Option<Listener> {
        self.settings.listeners.iter().find(|listener| listener.id == flow.listener).cloned()
    }

    /// Lends out ports, keys and numbers for a call's session. `inside`: whether the A and the B side face UM.
    pub fn supply(&mut self, now: Time, inside: [bool; 2]) -> Supplier<'_> {
        Supplier { border: self, now, inside }
    }

    /// The media plane has let go of a stream's sockets.
    pub fn stream_closed(&mut self, now: Time, stream: StreamId) -> Option<CallId> {
        let (call, addresses) = self.streams.remove(&stream)?;
        for pair in &addresses {
            self.release_ports(now, pair);
        }
        Some(call)
    }
}

/// `Supply` for one call: media addresses by side, keys from the mint.
pub struct Supplier<'a> {
    border: &'a mut Border,
    now: Time,
    inside: [bool; 2],
}

impl Supply for Supplier<'_> {
    fn ports(&mut self, side: Side, like: Option<IpAddr>) -> Option<Addresses> {
        let media = &self.border.settings.media;
        let inside = self.inside[usize::from(side == Side::B)];
        let ours = if inside { &media.inside } else { &media.outside };
        let address = *ours.iter().find(|ours| like.is_none_or(|like| like.is_ipv4() == ours.is_ipv4()))?;
        let (first, last) = media.ports;
        let elsewhere = &self.border.kept_elsewhere;
        let pool = self.border.ports.entry(address).or_insert_with(|| PortPool::new(first, last).without(elsewhere, address));
        let port = pool.allocate(self.now)?;
        Some(Addresses { rtp: (address, port).into(), rtcp: (address, port + 1).into() })
    }

    fn key(&mut self, suite: Suite) -> MasterKey {
        self.border.mint.master_key(suite)
    }

    fn fingerprint(&mut self, identity: usize) -> Option<Fingerprint> {
        self.border.fingerprints.get(identity).cloned()
    }

    fn stream(&mut self) -> StreamId {
        let id = StreamId(self.border.next_stream);
        self.border.next_stream += 1;
        id
    }

    fn session_id(&mut self) -> u64 {
        self.border.mint.session_id()
    }

    fn release(&mut self, _side: Side, ports: Addresses) {
        self.border.release_ports(self.now, &ports);
    }
}
