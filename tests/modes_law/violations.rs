//! The observer can fail: for every rule a trace made by hand that breaks it, and beside each one like it that does not.

use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use bytes::Bytes;
use portcullis::media::control::{Addresses, Command, Configuration, Content, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::policy::flow::Flow;
use portcullis::policy::verdict::{Decision, Reason};
use portcullis::sdp::crypto::{MasterKey, Suite};
use portcullis::signaling::event::{Action, Connect, Route, TransmitId};
use portcullis::signaling::fact::{CallId, CallRecord, Fact, LegRecord, ReleasedBy, What};
use portcullis::time::Time;

use crate::observer::{Observer, Rule};
use crate::profiles::{Avp, AvpWithKey, Savp, SavpWithoutKey, key};
use crate::world::{
    Foreign, Kind, Party, Proof, Router, SHARING, Secured, SecurityMode, SipSecured, Stranger, Tcp, Tls, Transport, Trunk, Udp, Unsecured, World, flow, kind,
    listener_of,
};

const SECURED: Kind = kind(Secured, Tls);
const CLEAR: Kind = kind(Unsecured, Udp);

/// A trace under way: the caller's INVITE has come in, ours has gone out.
struct Trace {
    observer: Observer,
    a: Arc<Flow>,
    world: World,
}

fn proof(party: Party) -> Proof {
    Proof::Of(party)
}

fn invite(call_id: &str, body: &str) -> String {
    format!("INVITE sip:1000@x SIP/2.0\r\nTo: <sip:1000@x>\r\nCall-ID: {call_id}\r\n\r\n{body}")
}

fn response(call_id: &str, status: u16, body: &str) -> String {
    format!("SIP/2.0 {status} X\r\nTo: <sip:1000@x>;tag=1\r\nCall-ID: {call_id}\r\n\r\n{body}")
}

fn in_dialog(call_id: &str, method: &str, body: &str) -> String {
    format!("{method} sip:1000@x SIP/2.0\r\nTo: <sip:1000@x>;tag=1\r\nCall-ID: {call_id}\r\n\r\n{body}")
}

fn connect(party: Party, transport: Transport) -> Connect {
    let names = if transport == Tls { vec![party.host().into()] } else { Vec::new() };
    let remote = SocketAddr::new(party.address(), transport.default_port());
    Connect { transport, remote, listener: listener_of(transport), peer: party.name().into(), names }
}

fn to(party: Party, transport: Transport) -> Route {
    match transport {
        Udp => Route::Datagram { listener: listener_of(Udp), remote: SocketAddr::new(party.address(), 5060) },
        _ => Route::Connect(connect(party, transport)),
    }
}

fn fact(what: What) -> Action {
    Action::Fact(Fact { at: Time::from_millis(1), call: Some(CallId(1)), what })
}

impl Trace {
    fn new(trunk: Kind, um: Kind) -> Trace {
        let world = World::between(trunk, um);
        let mut observer = Observer::new(Arc::new(world.clone()));
        let a = flow(1, trunk.transport, Trunk.address(), proof(Trunk));
        let offer = if trunk.mode == Secured { Savp } else { Avp };
        observer.received(&a, invite("a", &offer.text(Trunk, 1)).as_bytes());
        let mut trace = Trace { observer, a, world };
        let ours = if um.mode == Secured { Savp.text(Stranger, 1) } else { Avp.text(Stranger, 1) };
        trace.send(to(Router, um.transport), &invite("b", &ours));
        trace
    }

    fn send(&mut self, route: Route, text: &str) -> &mut Trace {
        self.observer.acted(&Action::Transmit { id: TransmitId(1), route, bytes: Bytes::copy_from_slice(text.as_bytes()) });
        self
    }

    fn back(&mut self, text: &str) -> &mut Trace {
        self.send(Route::Flow { id: self.a.id, otherwise: None }, text)
    }

    fn hear(&mut self, flow: &Arc<Flow>, text: &str) -> &mut Trace {
        self.observer.received(flow, text.as_bytes());
        self
    }

    fn act(&mut self, action: Action) -> &mut Trace {
        self.observer.acted(&action);
        self
    }

    fn open(&mut self) -> &mut Trace {
        let pair = |port| Addresses { rtp: ([192, 0, 2, 1], port).into(), rtcp: ([192, 0, 2, 1], port + 1).into() };
        self.act(Action::Media(Command::Open { stream: StreamId(1), a: pair(20_000), b: pair(20_002), silence: None }))
    }

    fn configure(&mut self, side: Side, receive: Protection, transmit: Protection) -> &mut Trace {
        let remote = Addresses { rtp: ([192, 0, 2, 10], 4000).into(), rtcp: ([192, 0, 2, 10], 4001).into() };
        self.act(Action::Media(Command::Configure {
            stream: StreamId(1),
            side,
            set: Configuration::new(Some(Some(remote)), LatchPolicy::Strict, Some(receive), Some(transmit)),
        }));
        self
    }

    /// The rules broken since the last question, each once.
    fn broken(&mut self) -> Vec<Rule> {
        self.observer.settled();
        let mut rules: Vec<Rule> = self.observer.take_broken().into_iter().map(|broken| broken.rule).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// The trace was lawful so far.
    fn lawful(mut self) -> Trace {
        assert_eq!(self.broken(), []);
        self
    }
}

fn under(key: &str) -> Protection {
    let key_and_salt = base64::engine::general_purpose::STANDARD.decode(key).unwrap();
    Protection::Srtp(SrtpParameters { suite: Suite::AesCm128HmacSha1_80, keys: vec![MasterKey { key_and_salt, lifetime: None, mki: None }] })
}

/// Keys of the descriptions above: number 1 of each party.
fn theirs() -> String {
    key(Trunk, 9)
}

fn ours() -> String {
    key(Stranger, 9)
}

#[test]
fn a_fax_where_a_leg_must_be_protected() {
    let fax = "v=0\r\no=- 1 2 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nt=0 0\r\nm=image 4000 udptl t38\r\n";
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.back(&response("a", 200, fax)).broken(), [Rule::PlainToSecured]);
    let carry = || Action::Media(Command::Carry { stream: StreamId(1), content: Content::Udptl });
    for (trunk, um) in [(SECURED, SECURED), (CLEAR, SECURED), (SECURED, CLEAR)] {
        let mut trace = Trace::new(trunk, um).lawful();
        assert_eq!(trace.open().act(carry()).broken(), [Rule::MediaUnprotected]);
    }
    assert_eq!(Trace::new(CLEAR, CLEAR).lawful().open().act(carry()).broken(), []);
}

#[test]
fn a_secured_leg_that_gets_rtp() {
    for body in [Avp.text(Stranger, 2), SavpWithoutKey.text(Stranger, 2), AvpWithKey.text(Stranger, 2)] {
        let mut trace = Trace::new(SECURED, SECURED).lawful();
        assert_eq!(trace.back(&response("a", 200, &body)).broken(), [Rule::PlainToSecured]);
    }
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.back(&response("a", 200, &Savp.text(Stranger, 2))).broken(), []);
    assert_eq!(trace.send(to(Router, Tls), &in_dialog("b", "UPDATE", &Avp.text(Stranger, 3))).broken(), [Rule::PlainToSecured]);
}

#[test]
fn a_plain_leg_that_gets_srtp() {
    for body in [Savp.text(Stranger, 2), AvpWithKey.text(Stranger, 2)] {
        let mut trace = Trace::new(kind(SipSecured, Tls), SECURED).lawful();
        assert_eq!(trace.back(&response("a", 200, &body)).broken(), [Rule::SrtpToPlain]);
    }
}

#[test]
fn media_of_a_secured_leg_without_keys() {
    let mut trace = Trace::new(SECURED, kind(Unsecured, Tcp)).lawful();
    trace.back(&response("a", 200, &Savp.text(Stranger, 1))).open();
    assert_eq!(trace.configure(Side::A, under(&theirs()), under(&ours())).broken(), []);
    assert_eq!(trace.configure(Side::B, Protection::Plain, Protection::Plain).broken(), []);
    assert_eq!(trace.configure(Side::A, under(&theirs()), Protection::Plain).broken(), [Rule::MediaUnprotected]);
    assert_eq!(trace.configure(Side::A, Protection::Plain, under(&ours())).broken(), [Rule::MediaUnprotected]);
    assert_eq!(trace.configure(Side::B, under(&theirs()), Protection::Plain).broken(), [Rule::SrtpToPlain, Rule::KeyCrossed]);
}

#[test]
fn bytes_of_a_protected_leg_by_another_way() {
    for mode in [SipSecured, Secured] {
        let way = |route: Route| Trace::new(kind(mode, Tls), kind(mode, Tls)).lawful().send(route, &in_dialog("b", "BYE", "")).broken();
        assert_eq!(way(to(Router, Tls)), []);
        assert_eq!(way(to(Router, Tcp)), [Rule::OffMutualTls]);
        assert_eq!(way(to(Router, Udp)), [Rule::OffMutualTls]);
        let any_name = Connect { names: Vec::new(), ..connect(Router, Tls) };
        assert_eq!(way(Route::Connect(any_name.clone())), [Rule::OffMutualTls]);
        assert_eq!(way(Route::Connect(Connect { names: vec!["other.test".into()], ..any_name })), [Rule::OffMutualTls]);
        assert_eq!(way(Route::Connect(Connect { peer: "server".into(), ..connect(Router, Tls) })), [Rule::OffMutualTls]);
        assert_eq!(way(Route::Flow { id: portcullis::policy::flow::FlowId(99), otherwise: None }), [Rule::OffMutualTls]);
    }
    // A bare refusal is no leg.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.send(to(Trunk, Tcp), &response("a", 403, "")).broken(), []);
    assert_eq!(trace.send(to(Trunk, Tcp), &response("a", 180, "")).broken(), [Rule::OffMutualTls]);
}

/// The trunk has been set to another transport, or needs no certificate any more, while its Secured call is up.
#[test]
fn what_comes_in_clear_for_a_protected_leg_has_an_effect() {
    for trunk in [kind(Unsecured, Tcp), Kind { mutual: false, ..kind(Unsecured, Tls) }] {
        let clear = flow(7, trunk.transport, Trunk.address(), Proof::None);
        let mut trace = Trace::new(SECURED, SECURED).lawful();
        trace.observer.reloaded(Arc::new(World { trunk, ..trace.world.clone() }));
        trace.hear(&clear, &in_dialog("a", "BYE", ""));
        assert_eq!(trace.send(to(Router, Tls), &in_dialog("b", "BYE", "")).broken(), [Rule::AcceptedInClear]);
        trace.hear(&clear, &in_dialog("a", "UPDATE", "")).open();
        assert_eq!(trace.broken(), [Rule::AcceptedInClear]);
        trace.hear(&clear, &in_dialog("a", "INFO", "")).act(fact(What::CallAnswered));
        assert_eq!(trace.broken(), [Rule::AcceptedInClear]);
        trace.hear(&clear, &in_dialog("a", "INFO", ""));
        assert_eq!(trace.send(Route::Flow { id: clear.id, otherwise: None }, &response("a", 403, "")).broken(), []);
    }
}

#[test]
fn keys_in_clear() {
    let mut trace = Trace::new(CLEAR, SECURED).lawful();
    assert!(trace.back(&response("a", 200, &AvpWithKey.text(Stranger, 2))).broken().contains(&Rule::KeyInClear));
    // A known key, wherever it stands.
    let mut trace = Trace::new(CLEAR, SECURED).lawful();
    assert!(trace.back(&response("a", 200, &format!("Signal={}", ours()))).broken().contains(&Rule::KeyInClear));
}

#[test]
fn a_key_in_a_fact() {
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    let decided = |text: String| fact(What::Decided(vec![Decision::refused("media", "x", Reason::ModeMedia).comparing("offered", text)]));
    assert_eq!(trace.act(decided("audio RTP/SAVP with keys".into())).broken(), []);
    assert_eq!(trace.act(decided(theirs())).broken(), [Rule::KeyInFact]);
    let received = What::Received { leg: None, flow: trace.a.clone(), bytes: Bytes::from(theirs()), retransmission: false };
    assert_eq!(trace.act(fact(received)).broken(), [], "bytes are blotted where they are rendered");
}

#[test]
fn a_key_that_crosses() {
    // The caller's own key goes to the called side.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.send(to(Router, Tls), &in_dialog("b", "UPDATE", &Savp.text(Trunk, 1))).broken(), [Rule::KeyCrossed]);
    assert_eq!(trace.send(to(Router, Tls), &in_dialog("b", "INFO", &format!("Signal={}", theirs()))).broken(), [Rule::KeyCrossed]);
    // The media plane takes packets under a key the peer never sent, or sends under one it was never told.
    trace.back(&response("a", 200, &Savp.text(Stranger, 2))).open();
    assert_eq!(trace.configure(Side::A, under(&key(Router, 9)), under(&key(Stranger, 17))).broken(), [Rule::KeyCrossed]);
    assert_eq!(trace.configure(Side::A, under(&theirs()), under(&ours())).broken(), [Rule::KeyCrossed]);
    assert_eq!(trace.configure(Side::A, under(&theirs()), under(&key(Stranger, 17))).broken(), []);
}

/// Both peers must be for it: the key of one then goes to the other, and to nobody else.
#[test]
fn a_key_that_is_shared() {
    let carried = |trunk: Kind, router: Kind| {
        let mut trace = Trace::new(trunk, router).lawful();
        trace.send(to(Router, Tls), &in_dialog("b", "UPDATE", &Savp.text(Trunk, 1))).broken()
    };
    assert_eq!(carried(SHARING, SHARING), []);
    assert_eq!(carried(SHARING, SECURED), [Rule::KeyCrossed]);
    assert_eq!(carried(SECURED, SHARING), [Rule::KeyCrossed]);
    let shared = |key: &str| match under(key) {
        Protection::Srtp(parameters) => Protection::Shared(parameters),
        other => other,
    };
    for (router, broken) in [(SHARING, vec![]), (SECURED, vec![Rule::KeyCrossed])] {
        let mut trace = Trace::new(SHARING, router).lawful();
        let answered = flow(2, Tls, Router.address(), proof(Router));
        trace.hear(&answered, &response("b", 200, &Savp.text(Router, 1))).open();
        assert_eq!(trace.configure(Side::B, under(&key(Router, 9)), shared(&theirs())).broken(), broken);
    }
    // Back to its owner, one of ours, or for what comes in.
    let mut trace = Trace::new(SHARING, SHARING).lawful();
    trace.open();
    assert_eq!(trace.configure(Side::A, under(&theirs()), shared(&theirs())).broken(), [Rule::KeyCrossed]);
    assert_eq!(trace.configure(Side::A, under(&theirs()), shared(&ours())).broken(), [Rule::KeyCrossed]);
    assert_eq!(trace.configure(Side::A, shared(&theirs()), shared(&theirs())).broken(), [Rule::KeyCrossed]);
}

#[test]
fn a_key_twice() {
    // Ours of the B leg on the A leg.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.back(&response("a", 200, &Savp.text(Stranger, 1))).broken(), [Rule::KeyReused]);
    // Ours of the first target at the second.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.send(to(crate::world::Server, Tls), &invite("b", &Savp.text(Stranger, 1))).broken(), [Rule::KeyReused]);
    // In two lines.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    let twice = Savp.text(Stranger, 2) + Savp.text(Stranger, 2).split_once("t=0 0\r\n").unwrap().1;
    assert_eq!(trace.back(&response("a", 200, &twice)).broken(), [Rule::KeyReused]);
    // In another call.
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    let another = flow(9, Tls, Trunk.address(), proof(Trunk));
    trace.hear(&another, &invite("c", &Savp.text(Trunk, 3)));
    assert_eq!(trace.send(to(Router, Tls), &invite("d", &Savp.text(Stranger, 1))).broken(), [Rule::KeyReused]);
}

#[test]
fn strangers_that_are_served() {
    let strangers = [
        flow(5, Udp, Stranger.address(), Proof::None),
        flow(5, Tls, Stranger.address(), proof(Trunk)),
        flow(5, Tcp, Trunk.address(), Proof::None),
        flow(5, Tls, Trunk.address(), Proof::None),
        flow(5, Tls, Trunk.address(), Proof::WrongCa(Trunk)),
        flow(5, Tls, Trunk.address(), Proof::WrongName(Trunk)),
        flow(5, Tls, Trunk.address(), proof(Router)),
    ];
    for stranger in strangers {
        let after = |action: fn(&mut Trace)| {
            let mut trace = Trace::new(SECURED, SECURED).lawful();
            trace.hear(&stranger, &invite("z", &Avp.text(Stranger, 1)));
            action(&mut trace);
            trace.broken()
        };
        assert_eq!(
            after(|trace| {
                trace.back(&response("z", 403, ""));
            }),
            [Rule::StrangerServed]
        );
        assert_eq!(
            after(|trace| {
                trace.open();
            }),
            [Rule::StrangerServed]
        );
        assert_eq!(
            after(|trace| {
                trace.act(fact(What::CallAnswered));
            }),
            [Rule::StrangerServed]
        );
        let told = |trace: &mut Trace| {
            let decision = Decision::refused("peer", "x", Reason::StrangerAddress);
            trace.act(fact(What::Stranger { transport: Tls, remote: SocketAddr::new(Stranger.address(), 5060), decision }));
        };
        assert_eq!(after(told), []);
    }
}

#[test]
fn a_message_that_goes_astray() {
    let mut trace = Trace::new(SECURED, SECURED).lawful();
    assert_eq!(trace.send(to(Foreign, Tls), &in_dialog("b", "BYE", "")).broken(), [Rule::Astray]);
    let nowhere = Connect { remote: SocketAddr::new(Stranger.address(), 5061), ..connect(Router, Tls) };
    assert_eq!(trace.send(Route::Connect(nowhere), &in_dialog("b", "BYE", "")).broken(), [Rule::OffMutualTls]);
    let mut trace = Trace::new(CLEAR, CLEAR).lawful();
    let remote = SocketAddr::new(Stranger.address(), 5060);
    assert_eq!(trace.send(Route::Datagram { listener: listener_of(Udp), remote }, &in_dialog("b", "BYE", "")).broken(), [Rule::Astray]);
}

#[test]
fn a_refer_that_does_something() {
    let refer = in_dialog("a", "REFER", "");
    let after = |route: Route, text: &str| {
        let mut trace = Trace::new(SECURED, SECURED).lawful();
        let a = trace.a.clone();
        trace.hear(&a, &refer).send(route, text).broken()
    };
    let back = Route::Flow { id: portcullis::policy::flow::FlowId(1), otherwise: None };
    assert_eq!(after(back.clone(), &response("a", 405, "")), []);
    assert_eq!(after(back, &response("a", 202, "")), [Rule::ReferActed]);
    assert!(after(to(Foreign, Tls), &invite("r", &Savp.text(Stranger, 5))).contains(&Rule::ReferActed));
}

#[test]
fn a_record_of_something_else() {
    let leg = |party: Party, call_id: &str, mode: SecurityMode, transport: Transport, suite: Option<Suite>| LegRecord {
        peer: party.name().into(),
        call_id: call_id.into(),
        transport,
        remote: SocketAddr::new(party.address(), 5061),
        tls: (transport == Tls).then(|| Arc::new(proof(party).identity())),
        mode,
        suite,
        codec: None,
        simulator: false,
    };
    let suite = Some(Suite::AesCm128HmacSha1_80);
    let ended = |a: LegRecord, b: Option<LegRecord>| {
        let mut trace = Trace::new(SECURED, SECURED).lawful();
        trace.back(&response("a", 200, &Savp.text(Stranger, 2))).open();
        let b_flow = flow(3, Tls, Router.address(), proof(Router));
        trace.hear(&b_flow, &response("b", 200, &Savp.text(Router, 1)));
        trace.configure(Side::A, under(&theirs()), under(&key(Stranger, 17))).configure(Side::B, under(&key(Router, 9)), under(&ours()));
        assert_eq!(trace.broken(), []);
        let at = Time::from_millis(1);
        let record = CallRecord {
            call: CallId(1),
            began: at,
            progressed: None,
            answered: Some(at),
            ended: at,
            from: String::new(),
            to: String::new(),
            dial_plan: None,
            a,
            b,
            redirects: Vec::new(),
            transfers: Vec::new(),
            released_by: ReleasedBy::Caller,
            status: Some(200),
            reason: Reason::NormalClearing,
            fax: Default::default(),
            digits: Default::default(),
            srtp_keys: None,
            media: None,
        };
        trace.act(fact(What::CallEnded(Box::new(record)))).broken()
    };
    let a = || leg(Trunk, "a", Secured, Tls, suite);
    let b = || Some(leg(Router, "b", Secured, Tls, suite));
    assert_eq!(ended(a(), b()), []);
    let opened = |side, party: Party, mode, transport: Transport| {
        let remote = SocketAddr::new(party.address(), 5061);
        let what = What::LegOpened { side, peer: party.name().into(), mode, transport, remote };
        Trace::new(SECURED, SECURED).lawful().act(fact(what)).broken()
    };
    assert_eq!(opened(Side::B, Router, Secured, Tls), []);
    assert_eq!(opened(Side::B, Router, SipSecured, Tls), [Rule::Misreported]);
    assert_eq!(opened(Side::A, Trunk, Secured, Tcp), [Rule::Misreported]);
    let wrong = [
        (leg(Trunk, "a", SipSecured, Tls, None), b()),
        (leg(Trunk, "a", Secured, Tcp, suite), b()),
        (leg(Trunk, "a", Secured, Tls, None), b()),
        (leg(Trunk, "a", Secured, Tls, Some(Suite::AesCm128HmacSha1_32)), b()),
        (LegRecord { tls: None, ..a() }, b()),
        (leg(Foreign, "a", Secured, Tls, suite), b()),
        (a(), None),
        (a(), Some(leg(Router, "b", Unsecured, Tls, None))),
        (leg(Trunk, "x", Secured, Tls, suite), b()),
    ];
    for (a, b) in wrong {
        assert_eq!(ended(a, b), [Rule::Misreported]);
    }
}
