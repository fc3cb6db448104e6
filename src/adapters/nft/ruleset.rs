//! The structure of our table, and what its sets hold, as JSON for `nft -j -f -`: one transaction that makes or replaces the table
//! `inet NAME` and touches nothing else.
//!
//! ```text
//! input (a little before `filter`, policy accept)
//!   from loopback                                   accept
//!   to a media address of ours, a media port        jump media4      signalled, or an answer of DNS? return. else count media_closed, drop
//!   to a listener                                   jump udp4        a peer of this transport? accept. else goto strangers4
//! strangers4
//!   a peer of another transport                     count transport, drop: never banned
//!   banned                                          count banned, drop
//!   connects too fast, knocks too often             into flood4 or scan4 for a while
//!                                                   count stranger, drop
//! ```
//!
//! Whatever is not for a listener or a media port of ours is none of our business. `accept` here does not overrule another table's `drop`.
//!
//! An answer of DNS is let through to media ports, since resolvers, ours among them, ask from any port above 1023.

use std::collections::{BTreeSet, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nftables::batch::Batch;
use nftables::expr::{Elem, Expression, NamedExpression};
use nftables::schema::{Chain, Counter as CounterObject, NfListObject, Set as SetObject, SetFlag, SetType, SetTypeValue, Table};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};
use serde_json::Value;

use super::contents::{Contents, Element, Family, Form, Set};
use super::rules;
use crate::policy::ban::Rules;
use crate::policy::ground::Range;
use crate::sip::Transport;

/// Before filter chains (0), so that nobody else spends time on what is dropped here; after conntrack and mangle.
const BEFORE_FILTER: i32 = -10;
/// Before conntrack.
const RAW: i32 = -300;

/// Sources that are counted at once, of one family: what forged sources can make the kernel hold.
const COUNTED: u32 = 65_535;

/// Sources that are banned at once, in one set. They are listed every second.
const BANNED: u32 = 4096;

/// Of packets dropped, each with the reason of that name (`firewall.stranger`, …).
pub const COUNTERS: [&str; 4] = ["stranger", "transport", "banned", "media_closed"];

/// What the structure is made of.
#[derive(Clone, PartialEq, Debug)]
pub struct Layout {
    pub table: Arc<str>,
    pub listeners: Vec<(Transport, SocketAddr)>,
    pub media: Vec<IpAddr>,
    /// First and last, inclusive.
    pub ports: (u16, u16),
    /// Ports of name servers, whose answers come to any port of ours.
    pub name_servers: BTreeSet<u16>,
    /// Media ports that no stream uses are shut.
    pub shut_media: bool,
    /// Neither SIP nor media is followed by connection tracking.
    pub notrack: bool,
    pub rules: Rules,
}

/// A ban that the kernel had made, to be put back with the time it had left.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Timed {
    pub set: Set,
    pub source: IpAddr,
    pub left: Duration,
}

/// The whole table.
pub fn render(layout: &Layout, contents: &Contents, bans: &[Timed]) -> Value {
    let mut out = Writer { layout, batch: Batch::new() };
    // Deleting what is not there is an error: so it is made first.
    out.batch.add(out.table());
    out.batch.delete(out.table());
    out.batch.add(out.table());
    for counter in COUNTERS {
        let counter = CounterObject { family: NfFamily::INet, table: out.name(), name: counter.into(), ..CounterObject::default() };
        out.batch.add(NfListObject::Counter(counter));
    }
    Set::ours().for_each(|set| out.filled(set, contents));
    Set::kernels().for_each(|set| out.timed(set, bans));
    for family in Family::BOTH {
        for (name, per) in rules::counted(&layout.rules, family) {
            out.dynamic(name, family, per * 2, COUNTED, Vec::new());
        }
    }
    // A jump needs its chain to be there.
    for family in Family::BOTH {
        rules::CHAINS.iter().for_each(|chain| out.chain(&rules::chain(chain, family), None));
    }
    out.chain(rules::INPUT, Some((NfHook::Input, BEFORE_FILTER)));
    if layout.notrack {
        out.chain(rules::UNTRACKED_IN, Some((NfHook::Prerouting, RAW)));
        out.chain(rules::UNTRACKED_OUT, Some((NfHook::Output, RAW)));
    }
    let mut value = serde_json::to_value(out.batch.to_nftables()).unwrap_or_default();
    if let Some(objects) = value.get_mut("nftables").and_then(Value::as_array_mut) {
        objects.extend(rules::all(layout));
    }
    without_nulls(&mut value);
    value
}

/// The crate writes what an element or a counter does not have as null, which nft takes for something it has.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_nulls),
        Value::Object(members) => members.iter_mut().for_each(|(name, member)| match member {
            Value::Object(elem) if name == "elem" || name == "counter" => elem.retain(|_, value| !value.is_null()),
            other => without_nulls(other),
        }),
        _ => {}
    }
}

struct Writer<'l> {
    layout: &'l Layout,
    batch: Batch<'l>,
}

impl<'l> Writer<'l> {
    fn name(&self) -> std::borrow::Cow<'l, str> {
        self.layout.table.as_ref().into()
    }

    fn table(&self) -> NfListObject<'l> {
        NfListObject::Table(Table { family: NfFamily::INet, name: self.name(), handle: None })
    }

    fn filled(&mut self, set: Set, contents: &Contents) {
        let elements: Vec<Expression<'l>> = contents.of(set).map(element).collect();
        let flags = (set.form() == Form::Ranges).then(|| HashSet::from([SetFlag::Interval]));
        self.set(set.name().into(), set_type(set.form(), set.family), flags, None, elements);
    }

    fn timed(&mut self, set: Set, bans: &[Timed]) {
        let elements = bans.iter().filter(|ban| ban.set == set).map(|ban| {
            let seconds = ban.left.as_secs().max(1) as u32;
            let elem = Elem { val: Box::new(text(ban.source)), timeout: Some(self.length()), expires: Some(seconds.min(self.length())), ..Elem::default() };
            Expression::Named(NamedExpression::Elem(elem))
        });
        let elements = elements.collect();
        self.dynamic(set.name().to_owned(), set.family, self.layout.rules.length, BANNED, elements);
    }

    fn length(&self) -> u32 {
        self.layout.rules.length.as_secs().clamp(1, u64::from(u32::MAX)) as u32
    }

    /// A set that rules add to. (That makes it dynamic; nft's JSON has no word for it before 1.0.9.)
    fn dynamic(&mut self, name: String, family: Family, timeout: Duration, size: u32, elements: Vec<Expression<'l>>) {
        let seconds = timeout.as_secs().clamp(1, u64::from(u32::MAX)) as u32;
        self.set(name, set_type(Form::Addresses, family), Some(HashSet::from([SetFlag::Timeout])), Some((seconds, size)), elements);
    }

    fn set(&mut self, name: String, set_type: SetTypeValue<'l>, flags: Option<HashSet<SetFlag>>, bounds: Option<(u32, u32)>, elements: Vec<Expression<'l>>) {
        let set = SetObject {
            family: NfFamily::INet,
            table: self.name(),
            name: name.into(),
            set_type,
            flags,
            timeout: bounds.map(|(timeout, _)| timeout),
            size: bounds.map(|(_, size)| size),
            elem: (!elements.is_empty()).then(|| elements.into()),
            ..SetObject::default()
        };
        self.batch.add(NfListObject::Set(Box::new(set)));
    }

    fn chain(&mut self, name: &str, hook: Option<(NfHook, i32)>) {
        let chain = Chain {
            family: NfFamily::INet,
            table: self.name(),
            name: name.to_owned().into(),
            _type: hook.map(|_| NfChainType::Filter),
            hook: hook.map(|(hook, _)| hook),
            prio: hook.map(|(_, priority)| priority),
            policy: hook.map(|_| NfChainPolicy::Accept),
            ..Chain::default()
        };
        self.batch.add(NfListObject::Chain(chain));
    }
}

fn set_type<'l>(form: Form, family: Family) -> SetTypeValue<'l> {
    let address = if family == Family::V4 { SetType::Ipv4Addr } else { SetType::Ipv6Addr };
    match form {
        Form::Addresses | Form::Ranges => SetTypeValue::Single(address),
        Form::Ports => SetTypeValue::Concatenated(vec![address, SetType::InetService].into()),
    }
}

fn text<'l>(address: IpAddr) -> Expression<'l> {
    Expression::String(address.to_string().into())
}

fn element<'l>(element: &Element) -> Expression<'l> {
    match *element {
        Element::Address(address) => text(address),
        Element::Range(Range { first, last }) => range(text(first), text(last)),
        Element::Port(port) => Expression::Named(NamedExpression::Concat(vec![text(port.ip()), Expression::Number(port.port().into())])),
    }
}

fn range<'l>(first: Expression<'l>, last: Expression<'l>) -> Expression<'l> {
    Expression::Range(Box::new(nftables::expr::Range { range: [first, last] }))
}

#[cfg(test)]
mod tests;
