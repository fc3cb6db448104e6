//! Calls over a bad network: messages are dropped, doubled, delayed and overtaken both ways, while the parties repeat theirs as transactions do. In the
//! end every call has its record, nothing is held, and no dialog is half open.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use portcullis::sip::{Message, Method, Transport};
use portcullis::time::Time;

use crate::agent::{Agent, Reply, Script, State};
use crate::lab::{Lab, Party, Scene};

/// Deterministic, and nobody's secret.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        (self.roll() >> 11) % bound.max(1)
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn some(&mut self, percent: u64, within: u64) -> Option<Duration> {
        let after = Duration::from_millis(self.below(within));
        self.chance(percent).then_some(after)
    }
}

#[derive(Clone, Copy)]
struct Weather {
    loss: u64,
    doubled: u64,
    /// Most milliseconds on the way; more than the least makes messages overtake one another.
    delay: u64,
}

struct World {
    lab: Lab,
    agents: Vec<Agent>,
    link: BTreeMap<(Time, u64), (Party, Bytes, bool)>,
    dice: Dice,
    weather: Weather,
    serial: u64,
}

impl World {
    fn send(&mut self, party: Party, bytes: Bytes, to_border: bool) {
        let copies = match () {
            _ if self.dice.chance(self.weather.loss) => 0,
            _ if self.dice.chance(self.weather.doubled) => 2,
            _ => 1,
        };
        for _ in 0..copies {
            let delay = 1 + self.dice.below(self.weather.delay.max(1));
            self.serial += 1;
            self.link.insert((self.lab.now + Duration::from_millis(delay), self.serial), (party, bytes.clone(), to_border));
        }
    }

    fn collect(&mut self) {
        while let Some(sent) = self.lab.sent.pop_front() {
            self.send(sent.to, sent.message.bytes().clone(), false);
        }
        for index in 0..self.agents.len() {
            let (party, out) = (self.agents[index].party, std::mem::take(&mut self.agents[index].out));
            for bytes in out {
                self.send(party, bytes, true);
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.lab.now + span;
        loop {
            self.collect();
            let agents = self.agents.iter().filter_map(Agent::deadline).min();
            let arrival = self.link.keys().next().map(|(at, _)| *at);
            let Some(next) = [agents, arrival, self.lab.core.deadline()].into_iter().flatten().min().filter(|next| *next <= end) else { break };
            self.lab.now = self.lab.now.max(next);
            while let Some(entry) = self.link.first_entry().filter(|entry| entry.key().0 <= self.lab.now) {
                let (party, bytes, to_border) = entry.remove();
                if to_border {
                    self.lab.receive_message(party, bytes);
                } else if let Some(agent) = self.agents.iter_mut().find(|agent| agent.party == party) {
                    agent.receive(self.lab.now, &bytes);
                }
            }
            let now = self.lab.now;
            self.agents.iter_mut().for_each(|agent| agent.tick(now));
            if self.lab.core.deadline().is_some_and(|deadline| deadline <= now) {
                self.lab.handle(portcullis::signaling::event::Event::Tick);
            }
        }
        self.lab.now = end;
    }

    /// What must hold once everything has come to rest.
    fn check(&mut self, seed: u64) {
        self.lab.finish();
        for agent in &self.agents {
            for leg in agent.legs.iter().filter(|leg| leg.was_up) {
                let story = || format!("seed {seed}: {:?} {leg:#?}\n{}", agent.party, self.lab.ladder());
                assert!(leg.state == State::Ended && leg.bye, "a dialog is left: {}", story());
                assert!(leg.told || leg.bye_status != 481, "the border had forgotten the dialog without a BYE: {}", story());
                for (cseq, acked) in &leg.accepted {
                    assert!(*acked || leg.bye, "2xx to {cseq} INVITE was neither acknowledged nor ended: {}", story());
                }
            }
        }
    }
}

fn callee(dice: &mut Dice, party: Party, transport: Transport) -> Script {
    let reply = match (party, dice.below(10)) {
        (Party::Router, 0..=3) => Reply::Redirect(format!("sip:1000@198.51.100.30:5062;transport={}", transport.uri_token())),
        (_, 0) => Reply::Refuse(486),
        (_, 1) => Reply::Refuse(503),
        (_, 2) => Reply::Silence,
        _ => Reply::Answer,
    };
    Script {
        ring: dice.some(60, 1000),
        reliable: dice.chance(50),
        reply,
        reply_after: Duration::from_millis(dice.below(4000)),
        hold: dice.some(30, 6000),
        update: dice.some(30, 6000),
        info: dice.some(30, 6000),
        hang_up: dice.some(50, 12_000),
        ..Script::default()
    }
}

fn world(seed: u64, scene: Scene, weather: Weather) -> World {
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..8 {
        dice.roll();
    }
    let (transport, mode) = (scene.transport, scene.mode);
    let caller = Script {
        reliable: dice.chance(50),
        cancel: dice.some(20, 5000),
        delayed_offer: dice.chance(25),
        hold: dice.some(30, 6000),
        update: dice.some(30, 6000),
        info: dice.some(30, 6000),
        hang_up: Some(Duration::from_millis(dice.below(20_000))),
        ..Script::default()
    };
    let mut agents = vec![Agent::new(Party::Trunk, transport, mode, caller)];
    for party in [Party::Router, Party::Spare, Party::Server] {
        let script = callee(&mut dice, party, transport);
        agents.push(Agent::new(party, transport, mode, script));
    }
    let mut lab = Lab::new(scene.with_routers(&["router", "spare"]));
    lab.now = Time::from_millis(1_000_000);
    World { lab, agents, link: BTreeMap::new(), dice, weather, serial: 0 }
}

fn runs(seeds: std::ops::Range<u64>, scene: impl Fn() -> Scene, weather: Weather) -> usize {
    let mut answered = 0;
    for seed in seeds {
        let mut world = world(seed, scene(), weather);
        let now = world.lab.now;
        world.agents[0].call(now);
        world.run(Duration::from_secs(300));
        world.check(seed);
        answered += usize::from(world.lab.records().iter().any(|record| record.answered.is_some()));
    }
    answered
}

#[test]
fn over_a_good_network() {
    for scene in Scene::everywhere() {
        let answered = runs(0..100, || scene.clone(), Weather { loss: 0, doubled: 0, delay: 1 });
        assert!(answered > 30, "the calls are of all kinds: {answered}");
    }
}

#[test]
fn over_udp_with_loss_doubles_and_overtaking() {
    let answered = runs(1000..1200, Scene::default, Weather { loss: 20, doubled: 10, delay: 700 });
    assert!(answered > 50, "{answered}");
}

#[test]
fn over_udp_with_doubles_and_overtaking_only() {
    runs(2000..2200, Scene::default, Weather { loss: 0, doubled: 40, delay: 1500 });
}

#[test]
fn streams_of_different_speed() {
    // Between connections nothing keeps messages in order.
    runs(3000..3100, Scene::secured, Weather { loss: 0, doubled: 0, delay: 900 });
}

#[test]
fn many_calls_at_once() {
    for seed in 4000..4010 {
        let mut world = world(seed, Scene::default(), Weather { loss: 10, doubled: 10, delay: 300 });
        for _ in 0..20 {
            let now = world.lab.now;
            world.agents[0].call(now);
            world.run(Duration::from_millis(150));
        }
        world.run(Duration::from_secs(300));
        world.check(seed);
        assert_eq!(world.lab.records().len(), 20);
    }
}

#[test]
fn nothing_at_all_gets_through_to_the_called_side() {
    let mut world = world(7, Scene::default(), Weather { loss: 0, doubled: 0, delay: 5 });
    world.agents.truncate(1);
    let now = world.lab.now;
    world.agents[0].call(now);
    world.run(Duration::from_secs(300));
    world.check(7);
    assert!(!world.lab.records()[0].redirects.iter().any(|_| true));
    let is_bye = |bytes: &Bytes| Message::parse(bytes.clone(), &Default::default()).is_ok_and(|message| message.method() == Some(&Method::Bye));
    assert!(!world.agents[0].out.iter().any(is_bye));
}
