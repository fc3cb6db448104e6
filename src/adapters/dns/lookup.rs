//! One question of the locating machine, put to the hosts file or to DNS (RFC 1035, 2782, 3403), and the machine run to its end.
//!
//! A name the hosts file knows is answered from there alone: it has addresses, and neither NAPTR nor SRV records.

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{Hosts, TokioResolver};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::Settings;
use crate::signaling::event::LocateQuery;
use crate::signaling::locating::{Answer, Located, Locating, Naptr, Question, RecordKind, Srv, Step};

/// Questions of one location asked at the same time.
const AT_ONCE: usize = 16;
/// Records of one answer that are looked at at all; the machine takes fewer.
const RECORDS: usize = 256;

/// Lines of the hosts file have no TTL; a change is seen within this.
const HOSTS_TTL: Duration = Duration::from_secs(60);

/// An answer and how long it holds: records by their TTL, absence by the SOA's (RFC 2308). Failures hold for no time.
pub(super) struct Found {
    pub answer: Answer,
    pub ttl: Option<Duration>,
}

pub(super) struct Lookup {
    resolver: TokioResolver,
    hosts: Option<HostsFile>,
}

impl Lookup {
    /// `cache`: answers kept for their TTL, within the settings' ceiling. Without servers in the settings and in /etc/resolv.conf every question
    /// fails that the hosts file does not answer: a border whose peers are addresses needs no name server.
    pub fn new(settings: &Settings, cache: bool) -> io::Result<Lookup> {
        let (config, options) = match settings.servers.is_empty() {
            false => (servers(settings), ResolverOpts::default()),
            true => read_system_conf().unwrap_or_else(|_| (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())),
        };
        Lookup::with(config, options, settings, cache)
    }

    fn with(config: ResolverConfig, mut options: ResolverOpts, settings: &Settings, cache: bool) -> io::Result<Lookup> {
        options.timeout = settings.timeout;
        options.attempts = 1;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        // CNAME records stay in the answer: their TTLs count.
        options.preserve_intermediates = true;
        options.cache_size = if cache { 4096 } else { 0 };
        options.positive_max_ttl = Some(settings.ceiling);
        options.negative_max_ttl = Some(settings.floor);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(io::Error::other)?;
        Ok(Lookup { resolver, hosts: settings.hosts_file.clone().map(HostsFile::new) })
    }

    pub async fn ask(&self, question: &Question) -> Found {
        let Some(name) = query_name(&question.name) else { return Found { answer: Answer::None, ttl: None } };
        if let Some(answer) = self.hosts.as_ref().and_then(|file| file.answer(&name, question.kind)) {
            return Found { answer, ttl: Some(HOSTS_TTL) };
        }
        let kind = match question.kind {
            RecordKind::Naptr => RecordType::NAPTR,
            RecordKind::Srv => RecordType::SRV,
            RecordKind::Ipv6 => RecordType::AAAA,
            RecordKind::Ipv4 => RecordType::A,
        };
        match self.resolver.lookup(name, kind).await {
            Ok(lookup) => {
                let records = lookup.answers();
                let ttl = records.iter().map(|record| record.ttl).min().map(|seconds| Duration::from_secs(seconds.into()));
                Found { answer: answer(question.kind, records.iter().take(RECORDS).map(|record| &record.data)), ttl }
            }
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError) => {
                Found { answer: Answer::None, ttl: none.negative_ttl.map(|seconds| Duration::from_secs(seconds.into())) }
            }
            // A server that does not know the type has none of them.
            Err(NetError::Dns(DnsError::ResponseCode(ResponseCode::NotImp | ResponseCode::FormErr)))
                if matches!(question.kind, RecordKind::Naptr | RecordKind::Srv) =>
            {
                Found { answer: Answer::None, ttl: None }
            }
            Err(_) => Found { answer: Answer::Failed, ttl: None },
        }
    }
}

/// Runs the machine to its end, by `deadline` at the latest: what is not answered then has failed. The shortest TTL of all answers comes along.
pub(super) async fn locate(lookup: &Arc<Lookup>, query: LocateQuery, seed: u64, deadline: Instant) -> (Located, Option<Duration>) {
    let mut machine = Locating::new(query, seed);
    let mut shortest: Option<Duration> = None;
    loop {
        let questions = match machine.step() {
            Step::Done(located) => return (located, shortest),
            Step::Ask(questions) => questions,
        };
        for some in questions.chunks(AT_ONCE) {
            let mut asked = JoinSet::new();
            for question in some.iter().cloned() {
                let lookup = Arc::clone(lookup);
                asked.spawn(async move {
                    let found = tokio::time::timeout_at(deadline, lookup.ask(&question)).await;
                    (question, found.unwrap_or(Found { answer: Answer::Failed, ttl: None }))
                });
            }
            while let Some(done) = asked.join_next().await {
                if let Ok((question, found)) = done {
                    shortest = [shortest, found.ttl].into_iter().flatten().min();
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

fn servers(settings: &Settings) -> ResolverConfig {
    let servers = settings.servers.iter().map(|server| {
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let mut tcp = ConnectionConfig::tcp();
        tcp.port = server.port();
        NameServerConfig::new(server.ip(), true, vec![udp, tcp])
    });
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}

/// A name with a dot in it is complete; only a single label is looked for in the domains of /etc/resolv.conf. `None`: no DNS name at all.
fn query_name(host: &str) -> Option<Name> {
    let mut name = Name::from_ascii(host).ok()?;
    let labels = host.trim_end_matches('.').split('.').skip_while(|label| label.starts_with('_')).count();
    name.set_fqdn(labels > 1 || host.ends_with('.'));
    Some(name)
}

fn answer<'a>(kind: RecordKind, records: impl Iterator<Item = &'a RData>) -> Answer {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match kind {
        RecordKind::Naptr => Answer::Naptr(
            records
                .filter_map(|data| match data {
                    RData::NAPTR(record) => Some(Naptr {
                        order: record.order,
                        preference: record.preference,
                        flags: text(&record.flags),
                        services: text(&record.services),
                        regexp: text(&record.regexp),
                        replacement: record.replacement.to_ascii(),
                    }),
                    _ => None,
                })
                .collect(),
        ),
        RecordKind::Srv => Answer::Srv(
            records
                .filter_map(|data| match data {
                    RData::SRV(record) => Some(Srv { priority: record.priority, weight: record.weight, port: record.port, target: record.target.to_ascii() }),
                    _ => None,
                })
                .collect(),
        ),
        RecordKind::Ipv6 | RecordKind::Ipv4 => Answer::Addresses(records.filter_map(RData::ip_addr).collect()),
    }
}

/// The hosts file, read again when it has changed.
struct HostsFile {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<Hosts>)>,
}

impl HostsFile {
    fn new(path: PathBuf) -> HostsFile {
        HostsFile { path, read: Mutex::new((None, Arc::new(Hosts::default()))) }
    }

    /// `None`: the file does not know the name.
    fn answer(&self, name: &Name, kind: RecordKind) -> Option<Answer> {
        let hosts = self.hosts();
        let host = match kind {
            RecordKind::Srv => {
                let service = name.iter().take_while(|label| label.starts_with(b"_")).count();
                Name::from_labels(name.iter().skip(service)).ok()?
            }
            RecordKind::Naptr | RecordKind::Ipv6 | RecordKind::Ipv4 => name.clone(),
        };
        let addresses = |kind| -> Vec<IpAddr> {
            let found = hosts.lookup_static_host(&Query::query(host.to_lowercase(), kind));
            found.map_or_else(Vec::new, |lookup| lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
        };
        let (v6, v4) = (addresses(RecordType::AAAA), addresses(RecordType::A));
        if v6.is_empty() && v4.is_empty() {
            return None;
        }
        let wanted = match kind {
            RecordKind::Ipv6 => v6,
            RecordKind::Ipv4 => v4,
            RecordKind::Naptr | RecordKind::Srv => Vec::new(),
        };
        Some(if wanted.is_empty() { Answer::None } else { Answer::Addresses(wanted) })
    }

    fn hosts(&self) -> Arc<Hosts> {
        let changed = std::fs::metadata(&self.path).and_then(|data| data.modified()).ok();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0 != changed {
            let mut hosts = Hosts::default();
            if let Ok(file) = std::fs::File::open(&self.path) {
                // A broken line is passed over; a broken file leaves what was read so far.
                let _ = hosts.read_hosts_conf(file);
            }
            *read = (changed, Arc::new(hosts));
        }
        Arc::clone(&read.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(lookup: &Lookup, name: &str, kind: RecordKind) -> Answer {
        lookup.ask(&Question { name: name.into(), kind }).await.answer
    }

    #[tokio::test]
    async fn without_any_server_the_hosts_file_still_answers_and_all_else_fails_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts");
        std::fs::write(&path, "127.0.0.9 um.test # lab\nrubbish\n999.1.1.1 x\n").unwrap();
        let settings = Settings { hosts_file: Some(path), ..Settings::default() };
        let lookup = Lookup::with(ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default(), &settings, false).unwrap();
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

    #[test]
    fn only_a_single_label_is_looked_for_in_the_domains_of_the_machine() {
        for (host, complete) in [("um1", false), ("_sips._tcp.um1", false), ("um1.", true), ("um1.example.test", true), ("_sip._udp.example.test", true)] {
            assert_eq!(query_name(host).map(|name| name.is_fqdn()), Some(complete), "{host}");
        }
    }
}
