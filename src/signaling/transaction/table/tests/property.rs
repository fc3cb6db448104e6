//! Random sequences of requests, responses, timers and failures; what must hold after each step and in the silence after all.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Request { invite: bool, reliable: bool },
    Response { client: usize, status: u16, tag: u8 },
    Cancel(usize),
    Abandon(usize),
    Incoming { which: u8, method: u8, branch: u8 },
    Respond { server: usize, status: u16 },
    Wait(u64),
    Failure(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop_oneof![Just(100), Just(180), Just(183), Just(200), Just(202), Just(302), Just(408), Just(486), Just(503), Just(699)];
    let step = prop_oneof![
        3 => (any::<bool>(), any::<bool>()).prop_map(|(invite, reliable)| Step::Request { invite, reliable }),
        6 => (any::<usize>(), status.clone(), 0u8..3).prop_map(|(client, status, tag)| Step::Response { client, status, tag }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Abandon),
        5 => (0u8..4, 0u8..5, 0u8..3).prop_map(|(which, method, branch)| Step::Incoming { which, method, branch }),
        4 => (any::<usize>(), status).prop_map(|(server, status)| Step::Respond { server, status }),
        6 => prop_oneof![0u64..50, 400u64..600, 3_000u64..5_000, 30_000u64..33_000].prop_map(Step::Wait),
        1 => any::<usize>().prop_map(Step::Failure),
    ];
    prop::collection::vec(step, 1..120)
}

/// Watches what the table says and checks it.
#[derive(Default)]
struct Watch {
    clients: Vec<(ClientKey, bool, String)>,
    finals: HashMap<ClientKey, u32>,
    servers: HashSet<ServerKey>,
    ended_clients: HashSet<ClientKey>,
    ended_servers: HashSet<ServerKey>,
    told: HashSet<ClientKey>,
    sent: Vec<TransmitId>,
    requests: HashMap<Bytes, Time>,
}

impl Watch {
    fn drain(&mut self, now: Time, table: &mut Transactions) {
        while let Some(output) = table.poll() {
            match output {
                Output::Transmit { id, bytes, route, retransmission } => {
                    assert!(!self.sent.contains(&id), "an id twice");
                    self.sent.push(id);
                    assert!(!bytes.is_empty());
                    let ours = bytes.starts_with(b"INVITE") || bytes.starts_with(b"OPTIONS");
                    if ours && let Some(before) = self.requests.insert(bytes, now) {
                        assert!(retransmission && route.is_datagram());
                        assert!(now.since(before) >= Duration::from_millis(500), "faster than T1");
                    }
                }
                Output::ClientTimeout(key) | Output::ClientTransportFailed(key, _) => {
                    assert!(self.told.insert(key), "told twice");
                    assert!(!self.ended_clients.contains(&key));
                }
                Output::ClientEnded(key) => assert!(self.ended_clients.insert(key), "ended twice"),
                Output::ServerTransportFailed(key, _) | Output::ServerTimeout(key) => assert!(!self.ended_servers.contains(&key)),
                Output::ServerEnded(key) => assert!(self.servers.contains(&key) && self.ended_servers.insert(key), "ended twice"),
            }
        }
    }
}

fn our_request(number: usize, method: &str) -> String {
    INVITE.replace("INVITE", method).replace("branch1", &format!("mine{number}"))
}

fn their_request(which: u8, method: u8, branch: u8) -> String {
    let (text, method) = match method {
        0 => (THEIR_INVITE.to_owned(), "INVITE"),
        1 => (ack_of(THEIR_INVITE), "ACK"),
        2 => (with_method(THEIR_INVITE, "CANCEL"), "CANCEL"),
        3 => (OPTIONS.to_owned(), "OPTIONS"),
        _ => (OPTIONS.replace("OPTIONS", "BYE"), "BYE"),
    };
    assert!(text.starts_with(method));
    let text = text.replace("call-9", &format!("call-{which}")).replace("options-1", &format!("options-{which}"));
    match branch {
        0 => text,
        1 => text.replace("z9hG4bK", "z9hG4bKother"),
        _ => text.replace("z9hG4bK", "old"),
    }
}

fn step(world: &mut World, watch: &mut Watch, now: &mut Time, step: Step) {
    match step {
        Step::Request { invite, reliable } => {
            let number = watch.clients.len();
            let (method, name) = if invite { (Method::Invite, "INVITE") } else { (Method::Options, "OPTIONS") };
            let text = our_request(number, name);
            let route = if reliable { tcp() } else { udp() };
            let key = world.table.request(*now, &method, &format!("z9hG4bKmine{number}"), route, Bytes::from(text.clone()));
            watch.clients.push((key, invite, text));
        }
        Step::Response { client, status, tag } if !watch.clients.is_empty() => {
            let (key, invite, text) = watch.clients[client % watch.clients.len()].clone();
            let heard = world.table.received_response(*now, &answer(&text, status, &format!("tag{tag}")), &world.flow.clone());
            assert!(heard.is_none() || (heard == Some(key) && !watch.ended_clients.contains(&key)));
            if heard.is_some() && status >= 200 {
                let finals = watch.finals.entry(key).or_default();
                *finals += 1;
                assert!(*finals == 1 || (invite && status < 300), "two finals passed");
            }
        }
        Step::Cancel(client) if !watch.clients.is_empty() => world.table.cancel(*now, watch.clients[client % watch.clients.len()].0),
        Step::Abandon(client) if !watch.clients.is_empty() => world.table.abandon(*now, watch.clients[client % watch.clients.len()].0),
        Step::Incoming { which, method, branch } => {
            let message = parse(&their_request(which, method, branch));
            match world.table.received_request(*now, &message, PEER, &world.flow.clone(), udp()) {
                Incoming::New(key) | Incoming::Merged(key) | Incoming::Cancel { cancel: key, .. } => assert!(watch.servers.insert(key), "a key twice"),
                Incoming::Absorbed | Incoming::Confirmed | Incoming::Ack | Incoming::Overload => {}
                Incoming::Malformed => panic!("none of these is"),
            }
        }
        Step::Respond { server, status } if !watch.servers.is_empty() => {
            let mut keys: Vec<_> = watch.servers.iter().copied().collect();
            keys.sort();
            world.respond(now.as_millis(), keys[server % keys.len()], status);
        }
        Step::Wait(millis) => {
            let until = *now + Duration::from_millis(millis);
            while let Some(at) = world.table.deadline().filter(|&at| at <= until) {
                assert!(at >= *now, "a deadline in the past");
                *now = at;
                world.table.timeout(at);
                watch.drain(at, &mut world.table);
            }
            *now = until;
        }
        Step::Failure(which) if !watch.sent.is_empty() => {
            world.table.transport_failed(*now, watch.sent[which % watch.sent.len()], TransportError::Closed);
        }
        _ => {}
    }
    watch.drain(*now, &mut world.table);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_and_silence_empties_the_table(sequence in steps()) {
        let (mut world, mut watch, mut now) = (World::limited(60), Watch::default(), Time::ZERO);
        for next in sequence {
            step(&mut world, &mut watch, &mut now, next);
            let (clients, servers) = world.table.counts();
            prop_assert!(servers <= 75 && world.table.by_request.len() == servers && world.table.by_response.len() <= clients);
            prop_assert!(world.table.by_origin.len() <= servers && world.table.deadlines.len() <= clients + servers);
        }
        // Nobody says anything any more, not even the core.
        step(&mut world, &mut watch, &mut now, Step::Wait(500_000));
        prop_assert_eq!(world.table.counts(), (0, 0));
        prop_assert_eq!(world.table.deadline(), None);
        prop_assert!(world.table.by_request.is_empty() && world.table.by_response.is_empty() && world.table.by_origin.is_empty());
        prop_assert_eq!(watch.ended_clients.len(), watch.clients.len());
        prop_assert_eq!(watch.ended_servers, watch.servers);
    }
}
