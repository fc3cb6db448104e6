//! One question of the locating machine, put to the hosts file or to DNS (RFC 1035, 2782, 3403), and the machine run to its end.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::proto::rr::rdata::CNAME;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::hosts_file::HostsFile;
use super::records;
use super::servers::{Said, Servers};
use super::status::Signed;
use super::tally::Tally;
use super::{Dnssec, Settings};
use crate::signaling::event::LocateQuery;
use crate::signaling::fact::NameError;
use crate::signaling::locating::{Answer, Located, Locating, Question, RecordKind, Step};

/// Questions of one location asked at the same time.
const AT_ONCE: usize = 16;
/// CNAME records followed to find out whether they lead in a circle.
const CHAIN: usize = 16;
/// Absent records remembered.
const ABSENT: usize = 16_384;

/// Lines of the hosts file have no TTL; a change is seen within this.
const HOSTS_TTL: Duration = Duration::from_secs(60);

/// An answer and how long it holds: records by their TTL, absence by the SOA's (RFC 2308). Failures hold for no time.
struct Found {
    answer: Answer,
    ttl: Option<Duration>,
    /// Why the answer is [`Answer::Failed`].
    error: Option<NameError>,
    /// Records given and kept, where that is fewer.
    too_many: Option<(usize, usize)>,
    unasked: usize,
    from_hosts_file: bool,
    /// Of no records: because the name is there for nothing (NXDOMAIN).
    no_domain: bool,
    signed: Signed,
}

impl Found {
    fn new(answer: Answer, ttl: Option<Duration>) -> Found {
        Found { answer, ttl, error: None, too_many: None, unasked: 0, from_hosts_file: false, no_domain: false, signed: Signed::Unchecked }
    }

    fn failed(error: NameError) -> Found {
        Found { error: Some(error), ..Found::new(Answer::Failed, None) }
    }

    /// The stable word for how the lookup ended, by what the servers answered: NOERROR with records or without, NXDOMAIN, or a failure.
    fn ended(&self) -> &'static str {
        match (self.error, &self.answer) {
            (Some(error), _) => error.code(),
            (None, _) if self.from_hosts_file => "hosts_file",
            (None, Answer::Failed) => NameError::ServerFailed.code(),
            (None, Answer::None) if self.no_domain => "no_domain",
            (None, Answer::None) => "no_data",
            (None, _) => "answered",
        }
    }
}

/// What a location came to, with what the machine does not need to know.
pub(super) struct Outcome {
    pub located: Located,
    /// The shortest TTL of all records it rests on.
    pub ttl: Option<Duration>,
    /// The shortest time for which something does not exist.
    pub absent: Option<Duration>,
    /// Of each address, with what led to it.
    pub ttls: HashMap<IpAddr, Duration>,
    /// What tells most, where a question failed.
    pub error: Option<NameError>,
    pub too_many: Option<(usize, usize)>,
    pub unasked: usize,
    /// The hosts file knows the name itself that was to be located, not only one that DNS led to.
    pub from_hosts_file: bool,
    /// What DNSSEC says of the weakest answer it rests on.
    pub signed: Signed,
}

pub(super) struct Lookup {
    servers: Servers,
    hosts: Option<HostsFile>,
    /// Records that do not exist, until when (RFC 2308): a name without AAAA records need not be asked for them each time its A record ends.
    absent: Option<Mutex<HashMap<Question, Instant>>>,
    ceiling: Duration,
    dnssec: Dnssec,
    tally: Tally,
}

impl Lookup {
    /// `cache`: answers are kept for their TTL, within the settings' ceiling; else only what does not exist beside what does. A border whose peers
    /// are addresses needs no name server: without any, every question fails that the hosts file does not answer.
    pub fn new(settings: &Settings, cache: bool) -> io::Result<Lookup> {
        Ok(Lookup::with(Servers::new(settings, cache)?, settings, cache))
    }

    fn with(servers: Servers, settings: &Settings, cache: bool) -> Lookup {
        let absent = (!cache).then(Mutex::default);
        Lookup {
            servers,
            hosts: settings.hosts_file.clone().map(HostsFile::new),
            absent,
            ceiling: settings.ceiling,
            dnssec: settings.dnssec,
            tally: Tally::default(),
        }
    }

    /// How many ended in which way.
    pub fn tally(&self) -> Vec<(&'static str, u64)> {
        self.tally.each()
    }

    /// What does not exist is asked for again.
    pub fn forget(&self) {
        if let Some(absent) = &self.absent {
            absent.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    async fn ask(&self, question: &Question) -> Found {
        let Some(name) = query_name(&question.name) else { return Found::new(Answer::None, None) };
        if let Some(answer) = self.hosts.as_ref().and_then(|file| file.answer(&name, question.kind)) {
            return Found { from_hosts_file: true, ..Found::new(answer, Some(HOSTS_TTL)) };
        }
        if self.is_absent(question) {
            return Found::new(Answer::None, None);
        }
        let mut absent = Found::new(Answer::None, None);
        for name in self.servers.complete(&name) {
            let found = self.ask_servers(&name, question.kind).await;
            if found.answer != Answer::None {
                return found;
            }
            absent.no_domain = found.no_domain;
            absent.ttl = [absent.ttl, found.ttl].into_iter().flatten().min();
        }
        absent
    }

    async fn ask_servers(&self, name: &Name, kind: RecordKind) -> Found {
        let record_type = match kind {
            RecordKind::Naptr => RecordType::NAPTR,
            RecordKind::Srv => RecordType::SRV,
            RecordKind::Ipv6 => RecordType::AAAA,
            RecordKind::Ipv4 => RecordType::A,
        };
        match self.servers.ask(name, record_type).await {
            Ok(Said::Records { lookup, checked }) => {
                let Some(read) = records::read(name, kind, lookup.answers()) else { return Found::failed(NameError::Loop) };
                let signed = match (checked, read.signed) {
                    (false, _) => Signed::Unchecked,
                    (true, None) => return Found::failed(NameError::Bogus),
                    (true, Some(Signed::Secure)) => Signed::Secure,
                    (true, Some(_)) if self.dnssec == Dnssec::Require => return Found::failed(NameError::Unsigned),
                    (true, Some(signed)) => signed,
                };
                let too_many = (read.given > read.kept).then_some((read.given, read.kept));
                Found { too_many, unasked: read.unasked, signed, ..Found::new(read.answer, read.ttl) }
            }
            Ok(Said::Nothing { vouched: false, whole_name: false, .. }) if self.is_circle(name).await => Found::failed(NameError::Loop),
            Ok(Said::Nothing { ttl, whole_name, .. }) => Found { no_domain: whole_name, ..Found::new(Answer::None, ttl) },
            // A server that does not know the type has none of them.
            Err(NameError::NotUnderstood) if matches!(kind, RecordKind::Naptr | RecordKind::Srv) => Found::new(Answer::None, None),
            Err(error) => Found::failed(error),
        }
    }

    /// Whether the CNAME records of a name lead nowhere: in a circle, or on and on.
    async fn is_circle(&self, name: &Name) -> bool {
        let mut at = name.clone();
        for _ in 0..CHAIN {
            let Ok(Said::Records { lookup, .. }) = self.servers.ask(&at, RecordType::CNAME).await else { return false };
            let next = lookup.answers().iter().find_map(|record| match &record.data {
                RData::CNAME(CNAME(target)) if record.name == at => Some(target.clone()),
                _ => None,
            });
            let Some(next) = next else { return false };
            if next == *name {
                return true;
            }
            at = next;
        }
        true
    }

    fn is_absent(&self, question: &Question) -> bool {
        let until = self.absent.as_ref().and_then(|absent| absent.lock().unwrap_or_else(PoisonError::into_inner).get(question).copied());
        until.is_some_and(|until| until > Instant::now())
    }

    fn remember_absent(&self, questions: Vec<(Question, Duration)>) {
        let Some(absent) = &self.absent else { return };
        let mut absent = absent.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if absent.len() + questions.len() > ABSENT {
            absent.retain(|_, until| *until > now);
        }
        let room = ABSENT.saturating_sub(absent.len());
        absent.extend(questions.into_iter().take(room).map(|(question, ttl)| (question, now + ttl.min(self.ceiling))));
    }
}

/// Runs the machine to its end, by `deadline` at the latest: what is not answered then has failed.
pub(super) async fn locate(lookup: &Arc<Lookup>, query: LocateQuery, seed: u64, deadline: Instant) -> Outcome {
    let mut notes = Notes { host: Arc::clone(&query.host), ..Notes::default() };
    let mut machine = Locating::new(query, seed);
    loop {
        let questions = match machine.step() {
            Step::Done(located) => return notes.outcome(lookup, located),
            Step::Ask(questions) => questions,
        };
        for some in questions.chunks(AT_ONCE) {
            let mut asked = JoinSet::new();
            for question in some.iter().cloned() {
                let lookup = Arc::clone(lookup);
                asked.spawn(async move {
                    let found = tokio::time::timeout_at(deadline, lookup.ask(&question)).await;
                    let found = found.unwrap_or_else(|_| Found::failed(NameError::Timeout));
                    lookup.tally.count(found.ended());
                    (question, found)
                });
            }
            while let Some(done) = asked.join_next().await {
                if let Ok((question, found)) = done {
                    notes.note(&question, &found);
                    machine.answer(&question, found.answer);
                }
            }
            // A question whose task died has failed as well.
            for question in some {
                machine.answer(question, Answer::Failed);
            }
        }
    }
}

/// Gathered while the machine runs.
#[derive(Default)]
struct Notes {
    /// What is to be located.
    host: Arc<str>,
    ttl: Option<Duration>,
    /// Of the records that led to the hosts.
    way: Option<Duration>,
    ttls: HashMap<IpAddr, Duration>,
    absent: Vec<(Question, Duration)>,
    error: Option<NameError>,
    too_many: Option<(usize, usize)>,
    unasked: usize,
    from_hosts_file: bool,
    signed: Option<Signed>,
}

impl Notes {
    fn note(&mut self, question: &Question, found: &Found) {
        let least = |a: Option<Duration>, b: Option<Duration>| [a, b].into_iter().flatten().min();
        self.error = [self.error, found.error].into_iter().flatten().min();
        self.too_many = self.too_many.max(found.too_many);
        self.unasked += found.unasked;
        self.from_hosts_file |= found.from_hosts_file && question.name.eq_ignore_ascii_case(&self.host);
        if !matches!(found.answer, Answer::None | Answer::Failed) {
            self.signed = Some(self.signed.map_or(found.signed, |signed| signed.min(found.signed)));
        }
        match &found.answer {
            Answer::None => self.absent.extend(found.ttl.map(|ttl| (question.clone(), ttl))),
            Answer::Failed => {}
            Answer::Naptr(_) | Answer::Srv(_) => {
                self.ttl = least(self.ttl, found.ttl);
                self.way = least(self.way, found.ttl);
            }
            Answer::Addresses(all) => {
                self.ttl = least(self.ttl, found.ttl);
                if let Some(ttl) = least(found.ttl, self.way) {
                    for address in all {
                        self.ttls.entry(*address).and_modify(|known| *known = (*known).min(ttl)).or_insert(ttl);
                    }
                }
            }
        }
    }

    fn outcome(mut self, lookup: &Lookup, located: Located) -> Outcome {
        let absent = self.absent.iter().map(|(_, ttl)| *ttl).min();
        // Only beside what does exist: the word that all of it is gone is asked for twice.
        if located.targets.is_ok() {
            lookup.remember_absent(std::mem::take(&mut self.absent));
        }
        let Notes { ttl, ttls, error, too_many, unasked, from_hosts_file, signed, .. } = self;
        Outcome { located, ttl, absent, ttls, error, too_many, unasked, from_hosts_file, signed: signed.unwrap_or(Signed::Unchecked) }
    }
}

/// A name with a dot in it is complete; only a single label is looked for in the domains of /etc/resolv.conf. `None`: no DNS name at all.
fn query_name(host: &str) -> Option<Name> {
    let mut name = Name::from_ascii(host).ok()?;
    let labels = host.trim_end_matches('.').split('.').skip_while(|label| label.starts_with('_')).count();
    name.set_fqdn(labels > 1 || host.ends_with('.'));
    Some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use hickory_resolver::config::{ResolverConfig, ResolverOpts};
    use hickory_resolver::proto::op::{Message, ResponseCode};
    use hickory_resolver::proto::rr::Record;
    use hickory_resolver::proto::rr::rdata::{A, SOA};

    use super::*;
    use crate::sip::Transport;

    async fn ask(lookup: &Lookup, name: &str, kind: RecordKind) -> Answer {
        lookup.ask(&Question { name: name.into(), kind }).await.answer
    }

    #[tokio::test]
    async fn without_any_server_the_hosts_file_still_answers_and_all_else_fails_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "127.0.0.9 um.test # lab\nrubbish\n999.1.1.1 x\n").unwrap();
        let settings = Settings { hosts_file: Some(path), ..Settings::default() };
        let lookup =
            Lookup::with(Servers::with(ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default(), &settings, false).unwrap(), &settings, false);
        let began = Instant::now();
        assert_eq!(ask(&lookup, "um.test", RecordKind::Ipv4).await, Answer::Addresses(vec!["127.0.0.9".parse().unwrap()]));
        assert_eq!(ask(&lookup, "um.test", RecordKind::Ipv6).await, Answer::None);
        assert_eq!(ask(&lookup, "_sips._tcp.um.test", RecordKind::Srv).await, Answer::None);
        assert_eq!(ask(&lookup, "elsewhere.test", RecordKind::Ipv4).await, Answer::Failed);
        assert!(began.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test]
    async fn what_is_no_name_does_not_exist() {
        let lookup =
            Lookup::new(&Settings { servers: vec!["127.0.0.1:9".parse().unwrap()], timeout: Duration::from_millis(100), ..Settings::default() }, false)
                .unwrap();
        for name in ["", "a..b", &"x".repeat(64), &"x.".repeat(200)] {
            assert!(matches!(ask(&lookup, name, RecordKind::Ipv4).await, Answer::None | Answer::Failed), "{name}");
        }
    }

    /// A server that knows um.test's A record only, or after `gone` nothing at all; all it says holds for an hour. Counts what it is asked.
    async fn server(gone: Arc<AtomicBool>) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
        let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (address, asked) = (socket.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                count.fetch_add(1, Ordering::Relaxed);
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let zone = Name::from_ascii("test.").unwrap();
                let mut answer = Message::response(query.id, query.op_code);
                answer.add_queries(query.queries.clone());
                let gone = gone.load(Ordering::Relaxed);
                if query.queries[0].query_type() == RecordType::A && !gone {
                    answer.add_answer(Record::from_rdata(query.queries[0].name().clone(), 3600, RData::A(A([192, 0, 2, 1].into()))));
                } else {
                    answer.metadata.response_code = if gone { ResponseCode::NXDomain } else { ResponseCode::NoError };
                    answer.add_authority(Record::from_rdata(zone.clone(), 3600, RData::SOA(SOA::new(zone.clone(), zone, 1, 1, 1, 1, 3600))));
                }
                socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
            }
        });
        (address, asked)
    }

    #[tokio::test]
    async fn what_does_not_exist_beside_what_does_is_remembered_but_never_that_all_is_gone() {
        let gone = Arc::<AtomicBool>::default();
        let (address, asked) = server(Arc::clone(&gone)).await;
        let settings = Settings { servers: vec![address], hosts_file: None, ..Settings::default() };
        let lookup = Arc::new(Lookup::new(&settings, false).unwrap());
        let query = LocateQuery { host: "um.test".into(), port: Some(5060), transport: Some(Transport::Udp), allowed: Vec::new() };
        // Questions of one location more, each time.
        let mut before = 0;
        let mut located = async || {
            let outcome = locate(&lookup, query.clone(), 0, Instant::now() + Duration::from_secs(5)).await;
            let all = asked.load(Ordering::Relaxed);
            (outcome.located.targets.is_ok(), outcome.absent, all - std::mem::replace(&mut before, all))
        };
        let hour = Some(Duration::from_secs(3600));
        assert_eq!(located().await, (true, hour, 2));
        assert_eq!(located().await, (true, None, 1), "no AAAA record for an hour");
        lookup.forget();
        assert_eq!(located().await, (true, hour, 2), "but after a reload it is looked for");
        gone.store(true, Ordering::Relaxed);
        assert_eq!(located().await, (false, hour, 1));
        assert_eq!(located().await, (false, hour, 1), "the second word is the server's, not ours");
    }

    #[test]
    fn only_a_single_label_is_looked_for_in_the_domains_of_the_machine() {
        for (host, complete) in [("um1", false), ("_sips._tcp.um1", false), ("um1.", true), ("um1.example.test", true), ("_sip._udp.example.test", true)] {
            assert_eq!(query_name(host).map(|name| name.is_fqdn()), Some(complete), "{host}");
        }
    }
}
