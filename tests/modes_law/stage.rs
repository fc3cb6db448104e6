//! The core on a stage: virtual time, no sockets, and the observer looking on. What breaks a rule is kept, so that one run tells all of it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use portcullis::media::control::{self, Command, Report, StreamId};
use portcullis::policy::flow::{Flow, FlowId};
use portcullis::sdp::fingerprint::{Fingerprint, HashFunction};
use portcullis::signaling::core::Core;
use portcullis::signaling::event::{Action, Connect, Event, LocateId, LocateQuery, Route, TransmitId, TransportError};
use portcullis::signaling::fact::{CallRecord, Fact, What};
use portcullis::signaling::settings::Settings;
use portcullis::sip::Transport;
use portcullis::time::Time;

use crate::observer::{Broken, Observer, Rule};
use crate::world::{Party, Proof, Snapshot, World, flow, plays_all, settings};

/// One message of the border, as it left.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: Party,
    pub id: TransmitId,
    pub text: String,
    /// Over which an answer would come.
    pub flow: Arc<Flow>,
}

impl Sent {
    pub fn status(&self) -> u16 {
        self.text.strip_prefix("SIP/2.0 ").and_then(|rest| rest.get(..3)?.parse().ok()).unwrap_or(0)
    }

    pub fn method(&self) -> &str {
        if self.status() > 0 { "" } else { self.text.split(' ').next().unwrap_or_default() }
    }

    pub fn body(&self) -> &str {
        self.text.split_once("\r\n\r\n").map_or("", |(_, body)| body)
    }

    pub fn field(&self, name: &str) -> &str {
        crate::observer::wire::field(self.text.split("\r\n\r\n").next().unwrap_or_default(), name)
    }
}

pub struct Stage {
    core: Core,
    settings: Arc<Settings>,
    pub world: Arc<World>,
    pub now: Time,
    pub observer: Observer,
    pub sent: VecDeque<Sent>,
    pub facts: Vec<Fact>,
    pub locates: Vec<(LocateId, LocateQuery)>,
    pub broken: Vec<Broken>,
    /// Events given to the core.
    pub steps: u64,
    flows: HashMap<FlowId, Arc<Flow>>,
    connections: HashMap<Connect, FlowId>,
    next_flow: u64,
    serial: u64,
}

impl Stage {
    pub fn new(snapshot: &Snapshot) -> Stage {
        Stage::with(settings(), snapshot)
    }

    pub fn with(settings: Arc<Settings>, snapshot: &Snapshot) -> Stage {
        let mut core = Core::new(settings.clone(), snapshot.set.clone(), snapshot.table.clone(), [42; 32]);
        let certificate = |byte: u8| Fingerprint { hash: HashFunction::Sha256, digest: vec![byte; 32] };
        core.handle(Time::ZERO, Event::Media(control::Event::Certificates(vec![certificate(0xc0), certificate(0xc1)])));
        Stage {
            core,
            settings,
            world: snapshot.world.clone(),
            now: Time::from_millis(1_000_000),
            observer: Observer::new(snapshot.world.clone()),
            sent: VecDeque::new(),
            facts: Vec::new(),
            locates: Vec::new(),
            broken: Vec::new(),
            steps: 0,
            flows: HashMap::new(),
            connections: HashMap::new(),
            next_flow: 1,
            serial: 0,
        }
    }

    /// A number not given out before.
    pub fn number(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// A new way from a party's address to us.
    pub fn flow_by(&mut self, transport: Transport, party: Party, proof: Proof) -> Arc<Flow> {
        let made = flow(self.next_flow, transport, party.address(), proof);
        self.next_flow += 1;
        self.flows.insert(made.id, made.clone());
        made
    }

    /// The way the policy set has for this party.
    pub fn flow(&mut self, party: Party) -> Arc<Flow> {
        let transport = self.world.kind(party).transport;
        self.flow_by(transport, party, Proof::Of(party))
    }

    /// A party speaks.
    pub fn say(&mut self, flow: &Arc<Flow>, text: &str) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        self.observer.received(flow, &bytes);
        self.handle(Event::Received { flow: flow.clone(), bytes });
    }

    pub fn fail(&mut self, sent: &Sent, error: TransportError) {
        self.observer.time_passes();
        self.handle(Event::TransportFailed { id: sent.id, error });
    }

    pub fn close(&mut self, flow: &Flow) {
        self.observer.closed(flow.id);
        self.connections.retain(|_, id| *id != flow.id);
        self.flows.remove(&flow.id);
        self.handle(Event::FlowClosed { flow: flow.id });
    }

    /// The core learns of another policy set, the peers first.
    pub fn reload(&mut self, snapshot: &Snapshot) {
        self.world = snapshot.world.clone();
        self.observer.reloaded(snapshot.world.clone());
        self.handle(Event::Peers(snapshot.table.clone()));
        self.handle(Event::Policies(snapshot.set.clone(), self.settings.clone()));
    }

    pub fn tell(&mut self, event: Event) {
        self.observer.time_passes();
        self.handle(event);
    }

    /// Lets time pass, waking the core at each of its deadlines.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            self.tell(Event::Tick);
        }
        self.now = end;
    }

    fn handle(&mut self, event: Event) {
        self.steps += 1;
        self.core.handle(self.now, event);
        let closed = self.collect();
        self.observer.settled();
        self.broken.append(&mut self.observer.take_broken());
        for stream in closed {
            self.tell(Event::Media(control::Event::Closed { stream, report: Box::new(Report::default()) }));
        }
    }

    fn collect(&mut self) -> Vec<StreamId> {
        let mut closed = Vec::new();
        while let Some(action) = self.core.poll() {
            self.observer.acted(&action);
            match action {
                Action::Transmit { id, route, bytes } => {
                    let flow = self.way_back(&route);
                    let to = flow.as_ref().and_then(|flow| Party::at(flow.remote.ip()));
                    let text = String::from_utf8_lossy(&bytes).into_owned();
                    if let (Some(flow), Some(to)) = (flow, to) {
                        self.sent.push_back(Sent { to, id, text, flow });
                    }
                }
                Action::Media(Command::Close { stream }) => closed.push(stream),
                Action::Media(_) | Action::Doors(_) | Action::HandOver { .. } | Action::FlowOver(_) | Action::Bequeath(_) | Action::Unused(_) => {}
                Action::Locate { id, query } => self.locates.push((id, query)),
                Action::Fact(fact) => self.facts.push(fact),
            }
        }
        closed
    }

    /// The flow over which the receiver of a route's bytes would answer.
    fn way_back(&mut self, route: &Route) -> Option<Arc<Flow>> {
        match route {
            Route::Datagram { remote, .. } => Party::at(remote.ip()).map(|party| self.flow_by(Transport::Udp, party, Proof::None)),
            Route::Flow { id, .. } if self.flows.contains_key(id) => self.flows.get(id).cloned(),
            Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => {
                if let Some(id) = self.connections.get(connect) {
                    return self.flows.get(id).cloned();
                }
                let party = Party::at(connect.remote.ip())?;
                let made = self.flow_by(connect.transport, party, Proof::Of(party));
                self.connections.insert(connect.clone(), made.id);
                Some(made)
            }
            Route::Flow { otherwise: None, .. } => None,
        }
    }

    /// Every call ends here and now: its last messages go out and its record is filed.
    pub fn finish(&mut self) {
        self.tell(Event::Command(portcullis::signaling::event::Command::Finish));
    }

    /// The first message to a party that fits.
    pub fn take(&mut self, to: Party, fits: impl Fn(&Sent) -> bool) -> Option<Sent> {
        let index = self.sent.iter().position(|sent| sent.to == to && fits(sent))?;
        self.sent.remove(index)
    }

    pub fn request_to(&mut self, to: Party, method: &str) -> Option<Sent> {
        self.take(to, |sent| sent.method() == method)
    }

    pub fn final_to(&mut self, to: Party) -> Option<Sent> {
        self.take(to, |sent| sent.status() >= 200)
    }

    pub fn records(&self) -> Vec<&CallRecord> {
        self.facts.iter().filter_map(|fact| if let What::CallEnded(record) = &fact.what { Some(&**record) } else { None }).collect()
    }

    pub fn calls(&self) -> usize {
        self.core.calls()
    }

    /// Whether the last call that was begun had both legs up.
    pub fn is_answered(&self) -> bool {
        self.facts.iter().any(|fact| matches!(fact.what, What::CallAnswered))
    }

    pub fn ladder(&self) -> String {
        portcullis::adapters::telemetry::ladder::render(&self.facts)
    }
}

/// What was seen over one product of axes.
pub struct Tally {
    name: &'static str,
    pub states: u64,
    pub steps: u64,
    pub looks: u64,
    /// States in which both legs came up.
    pub up: u64,
    broken: BTreeMap<Rule, (u64, String)>,
    unexpected: Vec<String>,
}

/// Over all products of this run.
static STATES: AtomicU64 = AtomicU64::new(0);
static STEPS: AtomicU64 = AtomicU64::new(0);

impl Tally {
    pub fn new(name: &'static str) -> Tally {
        Tally { name, states: 0, steps: 0, looks: 0, up: 0, broken: BTreeMap::new(), unexpected: Vec::new() }
    }

    /// One state was played to its end.
    pub fn state(&mut self, mut stage: Stage, what: impl Fn() -> String) {
        stage.finish();
        self.states += 1;
        self.steps += stage.steps;
        self.looks += stage.observer.looks;
        for broken in &stage.broken {
            let seen = self.broken.entry(broken.rule).or_insert_with(|| (0, format!("{}\n  in: {}\n{}", broken.what, what(), stage.ladder())));
            seen.0 += 1;
        }
    }

    /// What the definitions expect is not what came out.
    pub fn expect(&mut self, right: bool, stage: &Stage, what: impl FnOnce() -> String) {
        if !right && self.unexpected.len() < 4 {
            self.unexpected.push(format!("{}\n{}", what(), stage.ladder()));
        }
    }

    /// `all` and `most`: the states there must be where everything is played, and where only the marked legs are.
    pub fn finish(self, all: u64, most: u64) {
        let floor = if plays_all() { all } else { most };
        let states = STATES.fetch_add(self.states, Ordering::Relaxed) + self.states;
        let steps = STEPS.fetch_add(self.steps, Ordering::Relaxed) + self.steps;
        println!(
            "modes: {}: {} states ({} with both legs up), {} steps, {} messages looked at; so far in all {states} states, {steps} steps",
            self.name, self.states, self.up, self.steps, self.looks
        );
        let broken: Vec<String> = self.broken.iter().map(|(rule, (count, first))| format!("{rule:?} broken {count} times, first: {first}")).collect();
        assert!(broken.is_empty() && self.unexpected.is_empty(), "{}: {}\n{}", self.name, broken.join("\n"), self.unexpected.join("\n"));
        assert!(self.states >= floor, "{}: {} states, {floor} expected: an axis has shrunk", self.name, self.states);
    }
}
