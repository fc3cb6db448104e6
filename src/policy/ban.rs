//! Bans: strangers whose packets are dropped before anything else is asked, with who banned them, why, and until when.
//!
//! | cause | made by | of |
//! |---|---|---|
//! | `scan` | the kernel, or the border where the kernel does nothing | a stranger that knocks at SIP ports more often than [`Rules::scan`] |
//! | `handshake_flood` | the same | a stranger that opens connections faster than [`Rules::flood`] |
//! | `ordered` | an operator | an address or a network, with a text saying why |
//!
//! No ban touches a trusted address: an order is refused ([`Refusal::Trusted`]), automation passes over it, and a ban ends when a peer comes to
//! live where it lies ([`Bans::make_way`]). A source of IPv6 is its /64, of which whoever has one address has them all.
//!
//! Sources can be forged, above all over UDP. So automation's bans shut SIP ports, where strangers have no business anyway, and never media
//! ports, at which a carrier's gateway may send from an address that is no peer's. Only an operator's ban shuts those too.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::ground::{Inhabited, Range, inhabitant, join};
use super::peer::PeerTable;
use super::settings::{Peer, PeerStatus};
use super::verdict::{Decision, Reason};
use crate::time::Time;

/// Bans of each kind, ordered and automatic, held at once.
pub const MOST: usize = 4096;

/// Sources whose knocks are counted at once, twice over.
const COUNTED: usize = 4096;

/// How often room may be made for more automatic bans.
const CLEARING: Duration = Duration::from_secs(1);

/// Characters of an order's text and of an operator's name that are kept.
const TEXT: usize = 200;

/// So many within so much time, and no more; so many at once are nevertheless let pass.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    pub count: u32,
    pub per: Duration,
}

/// What automation bans for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// Packets and connections of one stranger at SIP ports. `None`: never banned for it.
    pub scan: Option<Rate>,
    /// Connections of one stranger.
    pub flood: Option<Rate>,
    /// How long a ban by automation lasts.
    pub length: Duration,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            scan: Some(Rate { count: 20, per: Duration::from_secs(60) }),
            flood: Some(Rate { count: 10, per: Duration::from_secs(1) }),
            length: Duration::from_secs(600),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cause {
    Scan,
    HandshakeFlood,
    /// An operator's words.
    Ordered(Arc<str>),
}

impl Cause {
    /// Stable: stands in logs, metrics and listings.
    pub const fn code(&self) -> &'static str {
        match self {
            Cause::Scan => "scan",
            Cause::HandshakeFlood => "handshake_flood",
            Cause::Ordered(_) => "ordered",
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    /// A rule of ours in the kernel's firewall.
    Kernel,
    /// The doors of this process.
    Border,
    Operator(Arc<str>),
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Owner::Kernel => f.write_str("kernel"),
            Owner::Border => f.write_str("border"),
            Owner::Operator(name) => write!(f, "operator {name}"),
        }
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ban {
    pub net: IpNet,
    pub cause: Cause,
    pub owner: Owner,
    pub since: Time,
    /// `None`: until it is lifted, or the border stops.
    pub until: Option<Time>,
}

impl Ban {
    pub fn is_over(&self, now: Time) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    /// `None`: for as long as the border runs.
    pub fn left(&self, now: Time) -> Option<Duration> {
        self.until.map(|until| until.since(now))
    }
}

/// Why there is no such ban, or none to lift. Every one says what to do instead.
#[derive(Clone, PartialEq, Debug)]
pub enum Refusal {
    /// A peer lives there.
    Trusted {
        net: IpNet,
        at: IpAddr,
        peer: Arc<Peer>,
    },
    Full,
    NotBanned {
        net: IpNet,
        within: Option<IpNet>,
    },
}

impl Refusal {
    /// For `explain`, the log and whoever ordered it.
    pub fn decision(&self) -> Decision {
        let refused = |rule: &'static str, reason: Reason| Decision::refused("ban", rule, reason);
        match self {
            Refusal::Trusted { net, at, peer } => refused("no ban touches a trusted address", Reason::BanTrusted)
                .comparing("net", net.to_string())
                .comparing("peer", String::from(&*peer.name))
                .comparing("lives at", at.to_string()),
            Refusal::Full => refused("so many bans are held at once", Reason::BanFull).comparing("limit", MOST.to_string()),
            Refusal::NotBanned { net, within } => refused("only what is banned can be unbanned", Reason::BanUnknown)
                .comparing("net", net.to_string())
                .comparing("banned as part of", within.map_or_else(|| "nothing".to_owned(), |within| within.to_string())),
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Trusted { net, at, peer } => {
                write!(f, "{net} is not banned: peer \"{}\" lives there, at {at}; set that peer's status = \"disabled\" instead, or ban less", peer.name)
            }
            Refusal::Full => write!(f, "there are {MOST} bans already; lift some, or ban a network instead of its addresses"),
            Refusal::NotBanned { net, within: None } => write!(f, "{net} is not banned"),
            Refusal::NotBanned { net, within: Some(within) } => write!(f, "{net} is banned as part of {within}: unban that"),
        }
    }
}

/// How a stranger showed itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knock {
    Datagram,
    Connection,
}

/// What becomes of a stranger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Dropped, counted and told of as any stranger.
    Stranger,
    /// Dropped without a word.
    Banned,
    /// This knock was one too many: banned from now on.
    BannedNow(Ban),
}

/// All bans of this process, and the knocks that may lead to more. Bounded, whatever strangers do.
#[derive(Debug)]
pub struct Bans {
    rules: Rules,
    ordered: HashMap<IpNet, Ban>,
    /// Prefix lengths among the ordered ones, IPv4 told by `true`: a lookup probes each once.
    lengths: BTreeSet<(bool, u8)>,
    /// Counts the changes of the ordered ones.
    changes: u64,
    /// By source, as [`source`] gives it.
    automatic: HashMap<IpNet, Ban>,
    /// When room was last made among the automatic ones.
    cleared: Time,
    scans: Counts,
    floods: Counts,
}

impl Bans {
    pub fn new(rules: Rules) -> Bans {
        Bans {
            rules,
            ordered: HashMap::new(),
            lengths: BTreeSet::new(),
            changes: 0,
            automatic: HashMap::new(),
            cleared: Time::ZERO,
            scans: Counts::default(),
            floods: Counts::default(),
        }
    }

    /// After a reload. Bans that are there keep their time.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether this address is banned. On the way of strangers only: no peer is ever asked for here.
    pub fn of(&self, address: IpAddr, now: Time) -> Option<&Ban> {
        let address = address.to_canonical();
        let nets = self.lengths.iter().filter(|(v4, _)| *v4 == address.is_ipv4()).filter_map(|(_, length)| IpNet::new(address, *length).ok());
        let mut found = nets.filter_map(|net| self.ordered.get(&net.trunc())).chain(self.automatic.get(&source(address)));
        found.find(|ban| !ban.is_over(now))
    }

    /// A stranger at a door of ours, and what becomes of it. Whoever lives at an address for another transport is a stranger here, and never
    /// banned.
    pub fn knock(&mut self, table: &PeerTable, address: IpAddr, knock: Knock, now: Time) -> Answer {
        if table.at(address).iter().any(|peer| peer.status != PeerStatus::Disabled) {
            return Answer::Stranger;
        }
        if self.of(address, now).is_some() {
            return Answer::Banned;
        }
        let net = source(address.to_canonical());
        let flood = knock == Knock::Connection && self.rules.flood.is_some_and(|rate| self.floods.is_over(net, rate, now));
        let scan = self.rules.scan.is_some_and(|rate| self.scans.is_over(net, rate, now));
        if !flood && !scan {
            return Answer::Stranger;
        }
        if !self.has_room(now) {
            return Answer::Stranger;
        }
        let cause = if flood { Cause::HandshakeFlood } else { Cause::Scan };
        let ban = Ban { net, cause, owner: Owner::Border, since: now, until: Some(now + self.rules.length) };
        self.automatic.insert(net, ban.clone());
        Answer::BannedNow(ban)
    }

    /// An operator's ban. A second one of the same net takes the place of the first.
    pub fn order(&mut self, table: &PeerTable, net: IpNet, why: &str, operator: &str, until: Option<Time>, now: Time) -> Result<Ban, Refusal> {
        let net = canonical(net);
        may_ban(table, net)?;
        self.forget_over(now);
        if self.ordered.len() >= MOST && !self.ordered.contains_key(&net) {
            return Err(Refusal::Full);
        }
        let text = |text: &str| text.chars().filter(|c| !c.is_control()).take(TEXT).collect::<String>().into();
        let ban = Ban { net, cause: Cause::Ordered(text(why)), owner: Owner::Operator(text(operator)), since: now, until };
        self.ordered.insert(net, ban.clone());
        self.measure();
        Ok(ban)
    }

    /// A ban that another process of this border had made. Passed over where it is over by now, a peer lives there, or there are too many.
    pub fn adopt(&mut self, table: &PeerTable, ban: Ban, now: Time) {
        if ban.is_over(now) || may_ban(table, ban.net).is_err() {
            return;
        }
        match ban.owner {
            Owner::Operator(_) if self.ordered.len() < MOST => drop(self.ordered.insert(ban.net, ban)),
            Owner::Border if self.has_room(now) => drop(self.automatic.insert(ban.net, ban)),
            Owner::Operator(_) | Owner::Border | Owner::Kernel => {}
        }
        self.measure();
    }

    /// Ends every ban of exactly this net (of an IPv6 address: also automation's of its /64).
    pub fn lift(&mut self, net: IpNet, now: Time) -> Result<Vec<Ban>, Refusal> {
        let net = canonical(net);
        self.forget_over(now);
        let automatic = if net.prefix_len() == net.max_prefix_len() { source(net.addr()) } else { net };
        let lifted: Vec<Ban> = self.ordered.remove(&net).into_iter().chain(self.automatic.remove(&automatic)).collect();
        self.measure();
        if !lifted.is_empty() {
            // What was counted would ban it again at the next knock.
            self.scans.forget(automatic);
            self.floods.forget(automatic);
            return Ok(lifted);
        }
        let within = self.ordered.keys().filter(|ban| ban.contains(&net)).max_by_key(|ban| ban.prefix_len()).copied();
        Err(Refusal::NotBanned { net, within })
    }

    /// Ends the bans that lie where a peer of this table lives, whichever way they came to be; with the peer in whose way they were.
    pub fn make_way(&mut self, table: &PeerTable) -> Vec<(Ban, Arc<Peer>)> {
        let (mut lifted, inhabited) = (Vec::new(), Inhabited::of(table));
        for bans in [&mut self.ordered, &mut self.automatic] {
            bans.retain(|net, ban| match inhabited.within(*net) {
                // A /64 is banned for one address in it: a peer in it goes first at every door, and the ban may stand.
                Some((at, _)) if ban.owner == Owner::Border && at.is_ipv6() => true,
                Some((_, peer)) => {
                    lifted.push((ban.clone(), peer));
                    false
                }
                None => true,
            });
        }
        self.measure();
        lifted
    }

    /// Bans in force, the operators' first, each kind by its net.
    pub fn list(&self, now: Time) -> Vec<Ban> {
        let mut list: Vec<Ban> = self.ordered.values().chain(self.automatic.values()).filter(|ban| !ban.is_over(now)).cloned().collect();
        list.sort_by_key(|ban| (ban.owner == Owner::Border, ban.net));
        list
    }

    /// Addresses of the operators' bans in force: disjoint, not touching, in order.
    pub fn ordered(&self, now: Time) -> Vec<Range> {
        join(self.ordered.values().filter(|ban| !ban.is_over(now)).map(|ban| Range::from(ban.net)).collect())
    }

    /// Another number whenever the operators' bans may be others, but for their ending by themselves.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// When the next of the operators' bans ends by itself.
    pub fn next_end(&self, now: Time) -> Option<Time> {
        self.ordered.values().filter_map(|ban| ban.until).filter(|until| *until > now).min()
    }

    fn forget_over(&mut self, now: Time) {
        self.ordered.retain(|_, ban| !ban.is_over(now));
        self.automatic.retain(|_, ban| !ban.is_over(now));
        self.measure();
    }

    fn measure(&mut self) {
        self.changes += 1;
        self.lengths = self.ordered.keys().map(|net| (net.addr().is_ipv4(), net.prefix_len())).collect();
    }

    /// Room for one more automatic ban. Looking for it is not cheap, and forged sources could ask for it with every packet.
    fn has_room(&mut self, now: Time) -> bool {
        if self.automatic.len() >= MOST && now.since(self.cleared) >= CLEARING {
            self.cleared = now;
            self.automatic.retain(|_, ban| !ban.is_over(now));
        }
        self.automatic.len() < MOST
    }
}

/// Refused where a peer that is not disabled lives within `net`.
pub fn may_ban(table: &PeerTable, net: IpNet) -> Result<(), Refusal> {
    match inhabitant(table, net) {
        Some((at, peer)) => Err(Refusal::Trusted { net, at, peer }),
        None => Ok(()),
    }
}

/// What automation counts and bans as one: an IPv4 address, an IPv6 /64.
pub fn source(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::from(address),
        // 64 is a length that IPv6 has.
        IpAddr::V6(_) => IpNet::new(address, 64).map_or(IpNet::from(address), |net| net.trunc()),
    }
}

/// Without host bits, and IPv4 as IPv4 however it was written.
fn canonical(net: IpNet) -> IpNet {
    let mapped = match net {
        IpNet::V6(six) if six.prefix_len() >= 96 => six.addr().to_ipv4_mapped().and_then(|four| IpNet::new(four.into(), six.prefix_len() - 96).ok()),
        _ => None,
    };
    mapped.unwrap_or(net).trunc()
}

/// For each source the time up to which its knocks so far fill the rate: one number instead of a list of times. When `recent` is full, what has not
/// knocked since the last time that happened is forgotten.
#[derive(Debug, Default)]
struct Counts {
    recent: HashMap<IpNet, Time>,
    older: HashMap<IpNet, Time>,
}

impl Counts {
    /// Counts one knock; true where it is one too many.
    fn is_over(&mut self, net: IpNet, rate: Rate, now: Time) -> bool {
        let step = rate.per / rate.count.max(1);
        let filled = self.recent.remove(&net).or_else(|| self.older.remove(&net)).unwrap_or(now).max(now);
        let is_over = (filled + step).since(now) > rate.per;
        if self.recent.len() >= COUNTED {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(net, if is_over { filled } else { filled + step });
        is_over
    }

    fn forget(&mut self, net: IpNet) {
        self.recent.remove(&net);
        self.older.remove(&net);
    }
}

#[cfg(test)]
mod tests;
