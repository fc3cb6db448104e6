//! The rules of our table's chains, in order; [`super::ruleset`] says what they amount to.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use nftables::expr::{BinaryOperation, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField};
use nftables::stmt::{Counter, JumpTarget, Limit, Match, Operator, Set as SetStatement, SetOp, Statement};
use serde_json::{Value, json};

use super::contents::{Family, Kind, Set, TRANSPORTS};
use super::ruleset::Layout;
use crate::policy::ban::{Rate, Rules};
use crate::sip::Transport;

pub const INPUT: &str = "input";
pub const UNTRACKED_IN: &str = "untracked_in";
pub const UNTRACKED_OUT: &str = "untracked_out";

/// One of each family.
pub const CHAINS: [&str; 6] = ["banned", "strangers", "udp", "tcp", "tls", "media"];

/// Whoever has one IPv6 address has its whole /64.
const SOURCE_OF_V6: &str = "ffff:ffff:ffff:ffff::";

pub fn chain(name: &str, family: Family) -> String {
    match family {
        Family::V4 => format!("{name}4"),
        Family::V6 => format!("{name}6"),
    }
}

/// The sets in which sources are counted, and how long a source is counted.
pub fn counted(rules: &Rules, family: Family) -> Vec<(String, Duration)> {
    let counted = |name: &str, rate: Option<Rate>| rate.map(|rate| (chain(name, family), rate.per));
    [counted("connections", rules.flood), counted("knocks", rules.scan)].into_iter().flatten().collect()
}

pub fn all(layout: &Layout) -> Vec<Value> {
    let mut rules = Writer { layout, all: Vec::new() };
    rules.input();
    for family in Family::BOTH {
        rules.peers(family);
        rules.strangers(family);
        rules.banned(family);
        rules.media(family);
    }
    if layout.notrack {
        rules.untracked();
    }
    rules.all
}

struct Writer<'l> {
    layout: &'l Layout,
    all: Vec<Value>,
}

impl Writer<'_> {
    fn rule(&mut self, chain: &str, expr: Vec<Value>) {
        self.all.push(json!({ "add": { "rule": { "family": "inet", "table": *self.layout.table, "chain": chain, "expr": expr } } }));
    }

    fn input(&mut self) {
        self.rule(INPUT, vec![is(meta(MetaKey::Iifname), word("lo")), accept()]);
        let ports = range(self.layout.ports);
        for address in &self.layout.media {
            let family = Family::of(*address);
            let jump = jump(&chain("media", family));
            self.rule(INPUT, [to_us(*address), vec![is(field("udp", "dport"), ports.clone()), jump]].concat());
        }
        for (transport, address) in self.layout.listeners.iter().filter(|listener| self.layout.shares_its_place(listener)) {
            let family = Family::of(address.ip());
            let port = is(field(protocol(*transport), "dport"), Expression::Number(address.port().into()));
            for kind in [Kind::Peers(*transport), Kind::PeerNets(*transport)] {
                let known = is_in(field(ip(family), "saddr"), Set { kind, family }.name());
                self.rule(INPUT, [to_us(address.ip()), vec![port.clone(), known, accept()]].concat());
            }
        }
        for (transport, address) in &self.layout.listeners {
            let family = Family::of(address.ip());
            let port = is(field(protocol(*transport), "dport"), Expression::Number(address.port().into()));
            self.rule(INPUT, [to_us(address.ip()), vec![port, jump(&chain(transport.uri_token(), family))]].concat());
        }
    }

    fn peers(&mut self, family: Family) {
        for transport in TRANSPORTS {
            let name = chain(transport.uri_token(), family);
            for kind in [Kind::Peers(transport), Kind::PeerNets(transport)] {
                self.rule(&name, vec![is_in(field(ip(family), "saddr"), Set { kind, family }.name()), accept()]);
            }
            self.rule(&name, vec![goto(&chain("strangers", family))]);
        }
    }

    fn strangers(&mut self, family: Family) {
        let name = chain("strangers", family);
        for kind in TRANSPORTS.into_iter().flat_map(|transport| [Kind::Peers(transport), Kind::PeerNets(transport)]) {
            self.rule(&name, vec![is_in(field(ip(family), "saddr"), Set { kind, family }.name()), count("transport"), drop()]);
        }
        self.rule(&name, vec![jump(&chain("banned", family))]);
        for kind in [Kind::Scans, Kind::Floods] {
            self.rule(&name, vec![is_in(source(family), Set { kind, family }.name()), count("banned"), drop()]);
        }
        let flood = [("connections", self.layout.rules.flood, Kind::Floods, vec![is_new_connection()])];
        let scan = [("knocks", self.layout.rules.scan, Kind::Scans, Vec::new())];
        for (counted, rate, kind, matches) in flood.into_iter().chain(scan) {
            let Some(rate) = rate else { continue };
            let bans = [over(&chain(counted, family), family, rate), add(Set { kind, family }.name(), family), count("stranger"), drop()];
            self.rule(&name, [matches, bans.to_vec()].concat());
        }
        self.rule(&name, vec![count("stranger"), drop()]);
    }

    /// By operators, on media ports too.
    fn banned(&mut self, family: Family) {
        let bans = Set { kind: Kind::Bans, family }.name();
        self.rule(&chain("banned", family), vec![is_in(field(ip(family), "saddr"), bans), count("banned"), drop()]);
    }

    fn media(&mut self, family: Family) {
        let name = chain("media", family);
        let shut = self.layout.shut_media;
        if shut {
            let place = Expression::Named(NamedExpression::Concat(vec![field(ip(family), "daddr"), field("udp", "dport")]));
            self.rule(&name, vec![is_in(place, Set { kind: Kind::Media, family }.name()), goto(&chain("banned", family))]);
        }
        self.rule(&name, vec![jump(&chain("banned", family))]);
        if shut {
            for port in &self.layout.name_servers {
                self.rule(&name, vec![is(field("udp", "sport"), Expression::Number((*port).into())), accept()]);
            }
            self.rule(&name, vec![count("media_closed"), drop()]);
        }
    }

    fn untracked(&mut self) {
        let ports = range(self.layout.ports);
        let media = self.layout.media.iter().map(|address| (*address, "udp", ports.clone()));
        let listeners = self
            .layout
            .listeners
            .iter()
            .map(|(transport, address): &(Transport, SocketAddr)| (address.ip(), protocol(*transport), Expression::Number(address.port().into())));
        for (address, protocol, ports) in media.chain(listeners) {
            self.rule(UNTRACKED_IN, [to_us(address), only_here(address), vec![is(field(protocol, "dport"), ports.clone()), notrack()]].concat());
            self.rule(UNTRACKED_OUT, [from_us(address), vec![is(field(protocol, "sport"), ports), notrack()]].concat());
        }
    }
}

impl Layout {
    /// Another transport's packets come there too and look the same: TLS has taken TCP's place, or the other way, and calls still go over what was there. Who is a
    /// peer by either is let in.
    fn shares_its_place(&self, (transport, address): &(Transport, SocketAddr)) -> bool {
        self.listeners.iter().any(|(other, place)| {
            let same_port = protocol(*other) == protocol(*transport) && place.port() == address.port() && place.is_ipv4() == address.is_ipv4();
            let overlaps = place.ip() == address.ip() || place.ip().is_unspecified() || address.ip().is_unspecified();
            other != transport && same_port && overlaps
        })
    }
}

fn ip(family: Family) -> &'static str {
    match family {
        Family::V4 => "ip",
        Family::V6 => "ip6",
    }
}

fn protocol(transport: Transport) -> &'static str {
    match transport {
        Transport::Udp => "udp",
        Transport::Tcp | Transport::Tls => "tcp",
    }
}

/// To this address; every address of the family where it is unspecified.
fn to_us(address: IpAddr) -> Vec<Value> {
    ours(address, "daddr")
}

fn from_us(address: IpAddr) -> Vec<Value> {
    ours(address, "saddr")
}

fn ours(address: IpAddr, which: &str) -> Vec<Value> {
    let family = Family::of(address);
    if address.is_unspecified() {
        return vec![is(meta(MetaKey::Nfproto), word(if family == Family::V4 { "ipv4" } else { "ipv6" }))];
    }
    vec![is(field(ip(family), which), word(&address.to_string()))]
}

/// Before routing, what is for every address of ours must be told from what only passes through.
fn only_here(address: IpAddr) -> Vec<Value> {
    if !address.is_unspecified() {
        return Vec::new();
    }
    let fib = Fib { result: FibResult::Type, flags: HashSet::from([FibFlag::Daddr]) };
    vec![is(Expression::Named(NamedExpression::Fib(fib)), word("local"))]
}

/// What is counted and banned as one: see `policy::ban::source`.
fn source(family: Family) -> Expression<'static> {
    let address = field(ip(family), "saddr");
    match family {
        Family::V4 => address,
        Family::V6 => Expression::BinaryOperation(Box::new(BinaryOperation::AND(address, word(SOURCE_OF_V6)))),
    }
}

fn word(text: &str) -> Expression<'static> {
    Expression::String(text.to_owned().into())
}

fn range((first, last): (u16, u16)) -> Expression<'static> {
    Expression::Range(Box::new(nftables::expr::Range { range: [Expression::Number(first.into()), Expression::Number(last.into())] }))
}

fn field(protocol: &str, field: &str) -> Expression<'static> {
    let field = PayloadField { protocol: protocol.to_owned().into(), field: field.to_owned().into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

fn is(left: Expression<'static>, right: Expression<'static>) -> Value {
    written(Statement::Match(Match { left, right, op: Operator::EQ }))
}

fn is_in(left: Expression<'static>, set: &str) -> Value {
    is(left, word(&format!("@{set}")))
}

/// The first packet of a TCP connection.
fn is_new_connection() -> Value {
    let flags = Expression::List(["fin", "syn", "rst", "ack"].map(word).to_vec());
    is(Expression::BinaryOperation(Box::new(BinaryOperation::AND(field("tcp", "flags"), flags))), word("syn"))
}

/// True for a source that comes more often than this. The crate's set statement has no room for the limit.
fn over(set: &str, family: Family, rate: Rate) -> Value {
    let per = if rate.per <= Duration::from_secs(1) { "second" } else { "minute" };
    let limit = Limit { rate: rate.count, rate_unit: None, per: Some(per.into()), burst: Some(rate.count), burst_unit: None, inv: Some(true) };
    // Updated, not added: a source is forgotten when it has been quiet, not at a fixed time after its first knock.
    let mut statement = put(SetOp::Update, set, family);
    if let Some(members) = statement.get_mut("set").and_then(Value::as_object_mut) {
        members.insert("stmt".into(), json!([written(Statement::Limit(limit))]));
    }
    statement
}

fn add(set: &str, family: Family) -> Value {
    put(SetOp::Add, set, family)
}

fn put(op: SetOp, set: &str, family: Family) -> Value {
    written(Statement::Set(SetStatement { op, elem: source(family), set: format!("@{set}").into() }))
}

fn count(counter: &str) -> Value {
    written(Statement::Counter(Counter::Named(counter.to_owned().into())))
}

fn accept() -> Value {
    written(Statement::Accept(None))
}

fn drop() -> Value {
    written(Statement::Drop(None))
}

fn jump(chain: &str) -> Value {
    written(Statement::Jump(JumpTarget { target: chain.to_owned().into() }))
}

fn goto(chain: &str) -> Value {
    written(Statement::Goto(JumpTarget { target: chain.to_owned().into() }))
}

/// The crate writes it as a text, which nft does not take.
fn notrack() -> Value {
    json!({ "notrack": null })
}

/// These types always have a form in JSON.
fn written(statement: Statement<'_>) -> Value {
    serde_json::to_value(statement).unwrap_or_default()
}
