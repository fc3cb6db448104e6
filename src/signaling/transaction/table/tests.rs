//! The table and its machines by virtual time, with whole messages.

mod client;
mod property;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::policy::flow::{Flow, FlowId, ListenerId};
use crate::signaling::event::Connect;
use crate::signaling::transaction::Incoming;
use crate::sip::{Limits, Message, Method, Transport};

const INVITE: &str = "INVITE sip:5000@um.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP sbc.example:5060;branch=z9hG4bKbranch1;rport\r\n\
    Route: <sip:edge.example;lr>, <sip:core.example;lr>\r\n\
    Max-Forwards: 69\r\n\
    From: <sip:100@trunk.example>;tag=ours\r\n\
    To: <sip:5000@um.example>\r\n\
    Call-ID: call-1@sbc.example\r\n\
    CSeq: 7 INVITE\r\n\
    Contact: <sip:sbc.example>\r\n\
    Content-Length: 0\r\n\r\n";

struct World {
    table: Transactions,
    flow: Arc<Flow>,
}

fn ms(millis: u64) -> Time {
    Time::from_millis(millis)
}

fn remote() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 5070))
}

/// Whose requests these are.
const PEER: &str = "trunk";

fn udp() -> Route {
    Route::Datagram { listener: ListenerId(0), remote: remote() }
}

fn tcp() -> Route {
    Route::Connect(Connect { transport: Transport::Tcp, remote: remote(), listener: ListenerId(1), peer: "um".into(), names: Vec::new() })
}

fn parse(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), &Limits::default()).expect("a test's own message")
}

/// A response to a request whose text is given, with a To tag where it is not 100.
fn answer(request: &str, status: u16, to_tag: &str) -> Message {
    let request = parse(request);
    let mut text = format!("SIP/2.0 {status} Whatever\r\n");
    for field in request.fields() {
        let value = std::str::from_utf8(field.value).expect("text");
        match field.raw_name {
            "Via" | "From" | "Call-ID" | "CSeq" => text += &format!("{}: {}\r\n", field.raw_name, value),
            "To" if status == 100 || value.contains(";tag=") => text += &format!("To: {value}\r\n"),
            "To" => text += &format!("To: {value};tag={to_tag}\r\n"),
            _ => {}
        }
    }
    parse(&(text + "Content-Length: 0\r\n\r\n"))
}

impl World {
    fn new() -> World {
        World::limited(1000)
    }

    fn limited(limit: usize) -> World {
        let flow = Flow {
            id: FlowId(1),
            transport: Transport::Udp,
            listener: ListenerId(0),
            local: SocketAddr::from(([192, 0, 2, 1], 5060)),
            remote: remote(),
            tls: None,
        };
        World { table: Transactions::new(Timers::default(), limit, [1, 2]), flow: Arc::new(flow) }
    }

    fn invite(&mut self, now: u64, route: Route) -> ClientKey {
        self.table.request(ms(now), &Method::Invite, "z9hG4bKbranch1", route, Bytes::from_static(INVITE.as_bytes()))
    }

    fn hear(&mut self, now: u64, response: &Message) -> Option<ClientKey> {
        let flow = self.flow.clone();
        self.table.received_response(ms(now), response, &flow)
    }

    fn take(&mut self, now: u64, request: &str) -> Incoming {
        let flow = self.flow.clone();
        self.table.received_request(ms(now), &parse(request), PEER, &flow, udp())
    }

    fn take_new(&mut self, now: u64, request: &str) -> ServerKey {
        match self.take(now, request) {
            Incoming::New(key) => key,
            other => panic!("expected a new transaction: {other:?}"),
        }
    }

    fn respond(&mut self, now: u64, key: ServerKey, status: u16) {
        let bytes = Bytes::from(format!("SIP/2.0 {status} From the core\r\n\r\n"));
        self.table.respond(ms(now), key, status, bytes);
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.table.poll()).collect()
    }

    /// First lines of what is sent, everything else in words.
    fn said(&mut self) -> Vec<String> {
        self.outputs().iter().map(said).collect()
    }

    /// Lets time go on, tick by tick, to `until`; what is said at which millisecond.
    fn run(&mut self, until: u64) -> Vec<(u64, String)> {
        let mut log = Vec::new();
        while let Some(at) = self.table.deadline().filter(|&at| at <= ms(until)) {
            self.table.timeout(at);
            log.extend(self.said().into_iter().map(|words| (at.as_millis(), words)));
        }
        log
    }

    fn last_sent(&mut self) -> (TransmitId, Bytes) {
        let sent = self.outputs().into_iter().filter_map(|output| match output {
            Output::Transmit { id, bytes, .. } => Some((id, bytes)),
            _ => None,
        });
        sent.last().expect("something was sent")
    }
}

fn said(output: &Output) -> String {
    match output {
        Output::Transmit { bytes, retransmission, .. } => {
            let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
            let words: Vec<&str> = std::str::from_utf8(line).expect("text").split(' ').collect();
            let word = if words[0] == "SIP/2.0" { words[1] } else { words[0] };
            format!("{}{word}", if *retransmission { "again " } else { "" })
        }
        Output::ClientTimeout(_) => "client timeout".into(),
        Output::ClientTransportFailed(_, error) => format!("client {error:?}"),
        Output::ClientEnded(_) => "client ended".into(),
        Output::ServerTransportFailed(_, error) => format!("server {error:?}"),
        Output::ServerTimeout(_) => "server timeout".into(),
        Output::ServerEnded(_) => "server ended".into(),
    }
}

fn times(log: &[(u64, String)], words: &str) -> Vec<u64> {
    log.iter().filter(|(_, said)| said == words).map(|(at, _)| *at).collect()
}

/// RFC 3261 table 4, as amended by RFC 6026: every timer, on both kinds of transport.
#[test]
fn timers_are_those_of_table_4() {
    let doubling: &[u64] = &[500, 1500, 3500, 7500, 15500, 31500];
    let capped: &[u64] = &[500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500];
    for (route, reliable) in [(udp(), false), (tcp(), true)] {
        let none: &[u64] = &[];
        // A and B.
        let mut world = World::new();
        world.invite(0, route.clone());
        let log = world.run(100_000);
        assert_eq!(times(&log, "again INVITE"), if reliable { none } else { doubling });
        assert_eq!(times(&log, "client timeout"), [32_000]);
        // D.
        let mut world = World::new();
        world.invite(0, route.clone());
        world.hear(0, &answer(INVITE, 486, "x"));
        assert_eq!(world.said().contains(&"client ended".to_owned()), reliable);
        assert_eq!(times(&world.run(100_000), "client ended"), if reliable { none } else { &[32_000] });
        // M.
        let mut world = World::new();
        world.invite(0, route.clone());
        world.hear(0, &answer(INVITE, 200, "x"));
        assert_eq!(times(&world.run(100_000), "client ended"), [32_000]);
        // E and F, then K.
        let options = OPTIONS.replace("from-them", "ours");
        let mut world = World::new();
        world.table.request(ms(0), &Method::Options, "z9hG4bKoptions", route.clone(), Bytes::from(options.clone()));
        let log = world.run(100_000);
        assert_eq!(times(&log, "again OPTIONS"), if reliable { none } else { capped });
        assert_eq!(times(&log, "client timeout"), [32_000]);
        let mut world = World::new();
        world.table.request(ms(0), &Method::Options, "z9hG4bKoptions", route.clone(), Bytes::from(options.clone()));
        world.hear(0, &answer(&options, 200, "x"));
        assert_eq!(times(&world.run(100_000), "client ended"), if reliable { none } else { &[5_000] });
        // G and H, then I, L and J.
        let request = |world: &mut World, text: &str| match world.table.received_request(ms(0), &parse(text), PEER, &world.flow.clone(), route.clone()) {
            Incoming::New(key) => key,
            other => panic!("{other:?}"),
        };
        let mut world = World::new();
        let key = request(&mut world, THEIR_INVITE);
        world.respond(0, key, 486);
        let log = world.run(100_000);
        assert_eq!(times(&log, "again 486"), if reliable { none } else { capped });
        assert_eq!(times(&log, "server timeout"), [32_000]);
        let mut world = World::new();
        let key = request(&mut world, THEIR_INVITE);
        world.respond(0, key, 486);
        world.take(0, &ack_of(THEIR_INVITE));
        assert_eq!(times(&world.run(100_000), "server ended"), if reliable { none } else { &[5_000] });
        let mut world = World::new();
        let key = request(&mut world, THEIR_INVITE);
        world.respond(0, key, 200);
        assert_eq!(times(&world.run(100_000), "server ended"), [32_000]);
        let mut world = World::new();
        let key = request(&mut world, OPTIONS);
        world.respond(0, key, 200);
        assert_eq!(times(&world.run(100_000), "server ended"), if reliable { none } else { &[32_000] });
        assert_eq!(world.table.counts(), (0, 0));
    }
}

/// What one transaction costs beside its message bytes and index entries.
#[test]
fn a_transaction_is_small() {
    assert!(size_of::<Client>() <= 192, "{}", size_of::<Client>());
    assert!(size_of::<Server>() <= 208, "{}", size_of::<Server>());
}

/// Requests of a peer of ours.
const OPTIONS: &str = "OPTIONS sip:sbc.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP peer.example:5070;rport;branch=z9hG4bKoptions\r\n\
    Via: SIP/2.0/TCP behind.example;branch=z9hG4bKfar\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:peer.example>;tag=from-them\r\n\
    To: <sip:sbc.example>\r\n\
    Call-ID: options-1@peer.example\r\n\
    CSeq: 1 OPTIONS\r\n\
    Content-Length: 0\r\n\r\n";

const THEIR_INVITE: &str = "INVITE sip:5000@sbc.example SIP/2.0\r\n\
    Via: SIP/2.0/UDP Peer.example:5070;branch=z9hG4bKtheirs\r\n\
    Max-Forwards: 70\r\n\
    From: <sip:100@peer.example>;tag=from-them\r\n\
    To: <sip:5000@sbc.example>\r\n\
    Call-ID: call-9@peer.example\r\n\
    CSeq: 3 INVITE\r\n\
    Content-Length: 0\r\n\r\n";

/// The ACK or CANCEL that belongs into the INVITE's transaction.
fn ack_of(invite: &str) -> String {
    with_method(invite, "ACK").replace("To: <sip:5000@sbc.example>", "To: <sip:5000@sbc.example>;tag=ours")
}

fn with_method(invite: &str, method: &str) -> String {
    invite.replacen("INVITE", method, 1).replace("3 INVITE", &format!("3 {method}"))
}
