//! Locating SIP servers: from a host name to an ordered list of (transport, address, port), RFC 3263 §4, with RFC 2782's selection by weight
//! and RFC 7984's dual stack (of each host IPv6 first, then IPv4).
//!
//! A pure machine: it says which records to ask for next, takes the answers in any order, and ends with the targets in the order to try them.
//! Asking is `adapters/dns`' business.
//!
//! What a domain may make us do is bounded: so many records of each answer are looked at, so many hosts asked for, so many targets returned.
//! One broken record is passed over; it does not spoil its neighbours.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::policy::settings::domain_of;
use crate::signaling::event::{LocateError, LocateQuery, Target};
use crate::sip::Transport;

/// NAPTR records of one answer that are looked at, after sorting.
pub const NAPTR_RECORDS: usize = 16;
/// SRV records of one answer that are looked at, by priority.
pub const SRV_RECORDS: usize = 32;
/// Hosts whose addresses are asked for in one location.
pub const HOSTS: usize = 32;
/// Addresses of one family taken of one host.
pub const ADDRESSES: usize = 16;
/// Targets of one location.
pub const TARGETS: usize = 64;

/// One question to the domain name system.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// Lower case, without the final dot.
    pub name: Arc<str>,
    pub kind: RecordKind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordKind {
    Naptr,
    Srv,
    /// AAAA
    Ipv6,
    /// A
    Ipv4,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
    /// The name does not exist, or has no record of this kind.
    None,
    /// No server answered in time, or the answer was broken.
    Failed,
}

/// RFC 3403 §4.1, as far as RFC 3263 uses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    /// Such as `SIPS+D2T`.
    pub services: String,
    pub regexp: String,
    pub replacement: String,
}

/// RFC 2782.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What locating came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    /// Never empty.
    pub targets: Result<Vec<Target>, LocateError>,
    /// Every question got an answer: what is not among the targets does not exist.
    pub complete: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Questions still open; they may all be asked at once.
    Ask(Vec<Question>),
    Done(Located),
}

/// A host to ask addresses of, and what the targets made of it will be.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Host {
    name: Arc<str>,
    transport: Transport,
    port: u16,
}

/// A name that may have SRV records, and the transport they are for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Service {
    name: Arc<str>,
    transport: Transport,
}

enum Stage {
    /// RFC 3263 §4.1: which transports does the domain offer?
    Naptr,
    /// RFC 3263 §4.2: which hosts and ports? Without any: the addresses of the domain itself, by `otherwise`; none where a service was named.
    Srv {
        services: Vec<Service>,
        otherwise: Option<Transport>,
    },
    Addresses {
        hosts: Vec<Host>,
    },
    Done(Located),
}

/// The machine for one `LocateQuery`.
pub struct Locating {
    query: LocateQuery,
    /// State of the pseudo-random numbers.
    random: u64,
    stage: Stage,
    open: Vec<Question>,
    answers: HashMap<Question, Answer>,
    complete: bool,
}

impl Locating {
    /// `seed`: randomness for the selection among SRV records of one priority.
    pub fn new(query: LocateQuery, seed: u64) -> Locating {
        let query = LocateQuery { host: normal(&query.host), ..query };
        let mut machine = Locating { query, random: seed, stage: Stage::Naptr, open: Vec::new(), answers: HashMap::new(), complete: true };
        if domain_of(&machine.query.host).is_some() {
            match machine.query.transport.or_else(|| by_default(&machine.query.allowed)) {
                Some(transport) => machine.ask_services(vec![Service { name: machine.query.host.clone(), transport }], None),
                None => machine.done(Err(LocateError::NotFound)),
            }
            return machine;
        }
        match (machine.query.transport, machine.query.port) {
            (Some(transport), Some(port)) => machine.ask_domain(transport, port),
            (None, Some(port)) => match by_default(&machine.query.allowed) {
                Some(transport) => machine.ask_domain(transport, port),
                None => machine.done(Err(LocateError::NotFound)),
            },
            (Some(transport), None) => machine.ask_services(vec![machine.query_service(transport)], Some(transport)),
            (None, None) if machine.query.allowed.is_empty() => machine.done(Err(LocateError::NotFound)),
            (None, None) => machine.open = vec![Question { name: machine.query.host.clone(), kind: RecordKind::Naptr }],
        }
        machine
    }

    pub fn step(&self) -> Step {
        match &self.stage {
            Stage::Done(located) => Step::Done(located.clone()),
            Stage::Naptr | Stage::Srv { .. } | Stage::Addresses { .. } => Step::Ask(self.open.clone()),
        }
    }

    /// The answer to an open question; one that was not asked is ignored.
    pub fn answer(&mut self, question: &Question, answer: Answer) {
        let Some(position) = self.open.iter().position(|open| open == question) else { return };
        self.open.swap_remove(position);
        // An answer of another kind than was asked for is a broken answer.
        let answer = match (question.kind, answer) {
            (_, kept @ (Answer::None | Answer::Failed)) => kept,
            (RecordKind::Naptr, kept @ Answer::Naptr(_)) => kept,
            (RecordKind::Srv, kept @ Answer::Srv(_)) => kept,
            (RecordKind::Ipv6, Answer::Addresses(all)) => Answer::Addresses(few(all, IpAddr::is_ipv6)),
            (RecordKind::Ipv4, Answer::Addresses(all)) => Answer::Addresses(few(all, IpAddr::is_ipv4)),
            (_, Answer::Naptr(_) | Answer::Srv(_) | Answer::Addresses(_)) => Answer::Failed,
        };
        self.complete &= answer != Answer::Failed;
        self.answers.insert(question.clone(), answer);
        if self.open.is_empty() {
            match std::mem::replace(&mut self.stage, Stage::Naptr) {
                Stage::Naptr => self.naptr_answered(),
                Stage::Srv { services, otherwise } => self.srv_answered(&services, otherwise),
                Stage::Addresses { hosts } => self.addresses_answered(&hosts),
                done @ Stage::Done(_) => self.stage = done,
            }
        }
    }

    /// RFC 3263 §4.1: NAPTR records we can use, in the domain's order; without any, SRV for each transport in our order. A NAPTR that
    /// could not be had is passed over: servers that choke on the type are many.
    fn naptr_answered(&mut self) {
        let mut records = match self.answers.drain().next() {
            Some((_, Answer::Naptr(records))) => records,
            _ => Vec::new(),
        };
        records.sort_by_key(|record| (record.order, record.preference));
        let mut services: Vec<Service> = Vec::new();
        for record in records.into_iter().take(NAPTR_RECORDS) {
            // RFC 3263 §4.1: the flag is "s", the replacement names the SRV records; regular expressions have no part in this.
            let usable = record.flags.eq_ignore_ascii_case("s") && record.regexp.is_empty() && !normal(&record.replacement).is_empty();
            let transport = service_transport(&record.services).filter(|transport| self.query.allowed.contains(transport));
            if let (true, Some(transport)) = (usable, transport) {
                let service = Service { name: normal(&record.replacement), transport };
                if !services.contains(&service) {
                    services.push(service);
                }
            }
        }
        if let Some(first) = services.first() {
            let otherwise = Some(first.transport);
            return self.ask_services(services, otherwise);
        }
        let services = self.query.allowed.iter().map(|transport| self.query_service(*transport)).collect();
        match by_default(&self.query.allowed) {
            Some(otherwise) => self.ask_services(services, Some(otherwise)),
            None => self.done(Err(LocateError::NotFound)),
        }
    }

    /// RFC 3263 §4.2 and RFC 2782.
    fn srv_answered(&mut self, services: &[Service], otherwise: Option<Transport>) {
        let mut hosts: Vec<Host> = Vec::new();
        let (mut failed, mut denied) = (false, false);
        for service in services {
            match self.answers.remove(&Question { name: service.name.clone(), kind: RecordKind::Srv }) {
                Some(Answer::Srv(records)) => {
                    // RFC 2782: a single "." means the service is decidedly not available at this domain.
                    denied |= records.len() == 1 && records.iter().all(|record| normal(&record.target).is_empty());
                    // A port that was asked for with a service's own name stands above the record's.
                    let port = self.query.port;
                    hosts.extend(self.in_order(records).into_iter().map(|record| Host {
                        name: normal(&record.target),
                        transport: service.transport,
                        port: port.unwrap_or(record.port),
                    }));
                }
                Some(Answer::Failed) => failed = true,
                _ => {}
            }
        }
        hosts.truncate(HOSTS);
        match (hosts.is_empty(), failed, otherwise.filter(|_| !denied)) {
            (false, _, _) => self.ask_hosts(hosts),
            // Not known whether there are SRV records: the domain's own address may be quite another machine.
            (true, true, _) => self.done(Err(LocateError::Failed)),
            (true, false, None) => self.done(Err(LocateError::NotFound)),
            (true, false, Some(otherwise)) => self.ask_domain(otherwise, otherwise.default_port()),
        }
    }

    fn addresses_answered(&mut self, hosts: &[Host]) {
        let mut targets: Vec<Target> = Vec::new();
        for host in hosts {
            for address in self.addresses(&host.name) {
                let target = Target { transport: host.transport, address: SocketAddr::new(address, host.port) };
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        targets.truncate(TARGETS);
        self.done(match (targets.is_empty(), self.complete) {
            (false, _) => Ok(targets),
            (true, true) => Err(LocateError::NotFound),
            (true, false) => Err(LocateError::Failed),
        });
    }

    /// RFC 7984: IPv6, then IPv4, each in the order of the answer.
    fn addresses(&self, name: &Arc<str>) -> Vec<IpAddr> {
        if let Ok(literal) = name.parse() {
            return vec![literal];
        }
        let mut all = Vec::new();
        for kind in [RecordKind::Ipv6, RecordKind::Ipv4] {
            if let Some(Answer::Addresses(addresses)) = self.answers.get(&Question { name: name.clone(), kind }) {
                all.extend_from_slice(addresses);
            }
        }
        all
    }

    fn query_service(&self, transport: Transport) -> Service {
        Service { name: service_name(&self.query.host, transport), transport }
    }

    fn ask_services(&mut self, services: Vec<Service>, otherwise: Option<Transport>) {
        self.open.clear();
        for service in &services {
            self.open_question(&service.name, RecordKind::Srv);
        }
        self.stage = Stage::Srv { services, otherwise };
    }

    fn ask_domain(&mut self, transport: Transport, port: u16) {
        self.ask_hosts(vec![Host { name: self.query.host.clone(), transport, port }]);
    }

    fn ask_hosts(&mut self, hosts: Vec<Host>) {
        self.open.clear();
        for host in &hosts {
            if host.name.parse::<IpAddr>().is_err() {
                self.open_question(&host.name, RecordKind::Ipv6);
                self.open_question(&host.name, RecordKind::Ipv4);
            }
        }
        match self.open.is_empty() {
            true => self.addresses_answered(&hosts),
            false => self.stage = Stage::Addresses { hosts },
        }
    }

    fn open_question(&mut self, name: &Arc<str>, kind: RecordKind) {
        let question = Question { name: name.clone(), kind };
        if !self.open.contains(&question) {
            self.open.push(question);
        }
    }

    fn done(&mut self, targets: Result<Vec<Target>, LocateError>) {
        self.open.clear();
        self.answers.clear();
        self.stage = Stage::Done(Located { targets, complete: self.complete });
    }

    /// RFC 2782, page 3: by priority; within one, each next is drawn with a probability in proportion to its weight.
    fn in_order(&mut self, mut records: Vec<Srv>) -> Vec<Srv> {
        records.retain(|record| record.port != 0 && !normal(&record.target).is_empty());
        // Servers rotate their records: the target breaks ties, so that it is always the same ones that are left out.
        records.sort_by(|a, b| (a.priority, b.weight, &a.target, a.port).cmp(&(b.priority, a.weight, &b.target, b.port)));
        records.truncate(SRV_RECORDS);
        // Those of weight 0 stand first in their priority, so that they are drawn seldom but not never.
        records.sort_by_key(|record| (record.priority, record.weight));
        let mut ordered = Vec::with_capacity(records.len());
        while let Some(priority) = records.first().map(|record| record.priority) {
            let group = records.iter().take_while(|record| record.priority == priority);
            let sum: u64 = group.map(|record| u64::from(record.weight)).sum();
            let drawn = self.draw(sum);
            let mut running = 0;
            let chosen = records.iter().position(|record| {
                running += u64::from(record.weight);
                running >= drawn
            });
            ordered.push(records.remove(chosen.unwrap_or(0)));
        }
        ordered
    }

    /// A number in 0..=`most`, by SplitMix64.
    fn draw(&mut self, most: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // `most` is at most 32 * 65535, so the remainder's bias is below one in 2^42.
        (z ^ (z >> 31)) % (most + 1)
    }
}

/// Addresses of one family, in the order of the answer. Of more than are taken always the same ones, whatever order the server gives them in.
fn few(mut all: Vec<IpAddr>, of_family: fn(&IpAddr) -> bool) -> Vec<IpAddr> {
    all.retain(of_family);
    if all.len() > ADDRESSES {
        all.sort_unstable();
        all.dedup();
        all.truncate(ADDRESSES);
    }
    all
}

/// RFC 3263 §4.1 and §4.2: where the domain does not say, a SIP URI goes by UDP; by the next that policy allows where it forbids that.
fn by_default(allowed: &[Transport]) -> Option<Transport> {
    [Transport::Udp, Transport::Tcp, Transport::Tls].into_iter().find(|transport| allowed.contains(transport))
}

/// RFC 3263 §4.1; services we do not speak (SCTP, WebSocket) are `None`.
fn service_transport(services: &str) -> Option<Transport> {
    [("SIP+D2U", Transport::Udp), ("SIP+D2T", Transport::Tcp), ("SIPS+D2T", Transport::Tls)]
        .into_iter()
        .find_map(|(service, transport)| services.eq_ignore_ascii_case(service).then_some(transport))
}

/// RFC 3263 §4.1: where no NAPTR record names the SRV records.
fn service_name(host: &str, transport: Transport) -> Arc<str> {
    let prefix = match transport {
        Transport::Udp => "_sip._udp",
        Transport::Tcp => "_sip._tcp",
        Transport::Tls => "_sips._tcp",
    };
    format!("{prefix}.{host}").into()
}

fn normal(name: &str) -> Arc<str> {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into()
}

#[cfg(test)]
mod tests;
