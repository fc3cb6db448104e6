//! The name servers there are, asked one after the other until one has an answer, or word that there is none (RFC 1034 §5.3.3).
//!
//! A server that refuses, fails, or refers us elsewhere has not answered: the next is asked. One that has been silent several times in a row is
//! asked last for a while, so that a dead first server does not cost every question its timeout.
//!
//! With DNSSEC (RFC 4035) each answer is checked here, from a trust anchor down; who runs a name server, or sits before it, can then withhold
//! answers but not make them up. Zones that are known not to be signed are excepted (RFC 7646).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{DnssecSummary, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use hickory_resolver::proto::serialize::txt::{ParseError, trust_anchor};
use hickory_resolver::system_conf::read_system_conf;
use tokio::time::Instant;

use super::{Dnssec, Settings};
use crate::signaling::fact::NameError;

/// Silences in a row after which a server is asked last.
const SILENCES: u32 = 3;
/// For how long.
const ASIDE: Duration = Duration::from_secs(30);
/// So long a server that is silent is looked at for a datagram that says "truncated".
const SIGHT: Duration = Duration::from_millis(300);
/// Answers kept of servers whose answers are kept at all.
const CACHE: u64 = 4096;
/// Questions at the same time on one TCP connection.
const AT_ONCE: usize = 256;

/// What a server said.
#[derive(Debug)]
pub(super) enum Said {
    /// `checked`: each record says what DNSSEC made of it.
    Records { lookup: Lookup, checked: bool },
    /// There are none, for so long (RFC 2308). `whole_name`: no record of any kind.
    Nothing {
        ttl: Option<Duration>,
        whole_name: bool,
        /// Without an SOA record nobody vouches for it: it may be the end of a CNAME chain that was not followed to its end.
        vouched: bool,
    },
}

pub(super) struct Servers {
    all: Vec<Server>,
    /// Where single labels are looked for.
    domains: Vec<Name>,
    /// Not checked.
    unsigned: Vec<Name>,
    dnssec: Dnssec,
    began: Instant,
}

struct Server {
    resolver: TokioResolver,
    /// The same without DNSSEC, where that is on.
    unchecked: Option<TokioResolver>,
    /// The same without DNSSEC and TCP.
    datagrams: TokioResolver,
    silences: AtomicU32,
    /// Asked last until then. Unit: ms since `began`.
    aside_until: AtomicU64,
}

impl Servers {
    /// Without servers in the settings those of /etc/resolv.conf; without that, none. `cache`: answers kept for their TTL, within the ceiling.
    pub fn new(settings: &Settings, cache: bool) -> io::Result<Servers> {
        let (config, options) = match settings.servers.is_empty() {
            false => (written(settings), ResolverOpts::default()),
            true => read_system_conf().unwrap_or_else(|_| (ResolverConfig::from_name_servers(Vec::new()), ResolverOpts::default())),
        };
        Servers::with(config, options, settings, cache)
    }

    pub fn with(config: ResolverConfig, mut options: ResolverOpts, settings: &Settings, cache: bool) -> io::Result<Servers> {
        options.timeout = settings.timeout;
        // A question is sent again within its timeout; whom to ask then is decided here.
        options.attempts = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns0 = true;
        options.max_active_requests = AT_ONCE;
        // CNAME records stay in the answer: their TTLs count, and so does where they lead.
        options.preserve_intermediates = true;
        options.cache_size = if cache { CACHE } else { 0 };
        if cache {
            options.positive_max_ttl = Some(settings.ceiling);
            options.negative_max_ttl = Some(settings.floor);
        }
        let anchors = anchors(settings).map_err(io::Error::other)?;
        let (domain, search, servers) = config.into_parts();
        let server = |one: NameServerConfig| {
            let mut by_datagrams = one.clone();
            by_datagrams.connections.retain(|connection| matches!(connection.protocol, ProtocolConfig::Udp));
            let unchecked = anchors.is_some().then(|| resolver_of(one.clone(), options.clone(), None)).transpose()?;
            let resolver = resolver_of(one, options.clone(), anchors.clone())?;
            let mut brief = options.clone();
            (brief.cache_size, brief.timeout) = (0, SIGHT);
            let datagrams = resolver_of(by_datagrams, brief, None)?;
            Ok(Server { resolver, unchecked, datagrams, silences: AtomicU32::new(0), aside_until: AtomicU64::new(0) })
        };
        let all = servers.into_iter().map(server).collect::<io::Result<Vec<Server>>>()?;
        let unsigned = settings.unsigned.iter().filter_map(|zone| Name::from_ascii(zone).ok()).map(|mut zone| {
            zone.set_fqdn(true);
            zone
        });
        let domains = domain.into_iter().chain(search).collect();
        Ok(Servers { all, domains, unsigned: unsigned.collect(), dnssec: settings.dnssec, began: Instant::now() })
    }

    pub fn are_any(&self) -> bool {
        !self.all.is_empty()
    }

    /// The names to ask for in turn where the machine's domains are searched: `name` itself where it is complete.
    pub fn complete(&self, name: &Name) -> Vec<Name> {
        let mut names: Vec<Name> = Vec::new();
        if !name.is_fqdn() {
            names.extend(self.domains.iter().filter_map(|domain| name.clone().append_domain(domain).ok()));
        }
        let mut itself = name.clone();
        itself.set_fqdn(true);
        names.push(itself);
        names
    }

    /// The first server's word that is one; without any, what tells most of why not. `name` is complete.
    pub async fn ask(&self, name: &Name, kind: RecordType) -> Result<Said, NameError> {
        let mut error = NameError::Unreachable;
        for server in self.in_order() {
            let (resolver, dnssec) = match &server.unchecked {
                Some(unchecked) if self.unsigned.iter().any(|zone| zone.zone_of(name)) => (unchecked, Dnssec::Off),
                _ => (&server.resolver, self.dnssec),
            };
            match said(resolver.lookup(name.clone(), kind).await, dnssec) {
                Ok(said) => {
                    server.silences.store(0, Ordering::Relaxed);
                    server.aside_until.store(0, Ordering::Relaxed);
                    return Ok(said);
                }
                Err(why) => {
                    error = error.min(why);
                    self.note(server, why);
                }
            }
        }
        match error {
            NameError::Timeout | NameError::Unreachable if self.is_truncated(name, kind).await => Err(NameError::Truncated),
            _ => Err(error),
        }
    }

    /// Whether a datagram would do to say that it does not suffice: then it is TCP that is missing, and not the server.
    async fn is_truncated(&self, name: &Name, kind: RecordType) -> bool {
        for server in &self.all {
            if matches!(server.datagrams.lookup(name.clone(), kind).await, Err(NetError::Truncated)) {
                return true;
            }
        }
        false
    }

    fn in_order(&self) -> Vec<&Server> {
        let now = self.now();
        let mut all: Vec<&Server> = self.all.iter().collect();
        all.sort_by_key(|server| server.aside_until.load(Ordering::Relaxed) > now);
        all
    }

    /// What a server says of one name says nothing about it; that it says nothing several times in a row does.
    fn note(&self, server: &Server, why: NameError) {
        if !matches!(why, NameError::Timeout | NameError::Unreachable) {
            server.silences.store(0, Ordering::Relaxed);
        } else if server.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
            server.aside_until.store(self.now().saturating_add(ASIDE.as_millis() as u64), Ordering::Relaxed);
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Whether there is a name server to ask, in the settings or in /etc/resolv.conf.
pub fn are_any_servers(settings: &Settings) -> bool {
    Servers::new(settings, false).is_ok_and(|servers| servers.are_any())
}

/// The DNSKEY records that are trusted; `None`: DNSSEC is off. The error says which file, why, and what to do.
pub fn anchors(settings: &Settings) -> Result<Option<Arc<TrustAnchors>>, String> {
    if settings.dnssec == Dnssec::Off {
        return Ok(None);
    }
    let Some(file) = &settings.trust_anchor else { return Ok(Some(Arc::default())) };
    let instead = "name a file of DNSKEY records, one a line, such as \"example.com. 3600 IN DNSKEY 257 3 13 mdsswUyr3DPW...\"";
    let refused = |why: &dyn std::fmt::Display| format!("[dns] trust_anchor {}: {why}; {instead}", file.display());
    // The parser takes a last line without its end for no line.
    let text = std::fs::read_to_string(file).map_err(|error| refused(&error))? + "\n";
    // Without a key nothing would ever be believed.
    if trust_anchor::Parser::new(text.as_str()).parse().is_ok_and(|entries| entries.is_empty()) {
        return Err(refused(&"no key in it"));
    }
    Ok(Some(Arc::new(text.parse().map_err(|error: ParseError| refused(&error))?)))
}

fn resolver_of(server: NameServerConfig, options: ResolverOpts, anchors: Option<Arc<TrustAnchors>>) -> io::Result<TokioResolver> {
    let mut builder = TokioResolver::builder_with_config(ResolverConfig::from_name_servers(vec![server]), TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    if let Some(anchors) = anchors {
        builder = builder.with_trust_anchor(anchors);
    }
    builder.build().map_err(io::Error::other)
}

fn written(settings: &Settings) -> ResolverConfig {
    let servers = settings.servers.iter().map(|server| {
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let mut tcp = ConnectionConfig::tcp();
        tcp.port = server.port();
        NameServerConfig::new(server.ip(), true, vec![udp, tcp])
    });
    ResolverConfig::from_parts(None, Vec::new(), servers.collect())
}

fn said(outcome: Result<Lookup, NetError>, dnssec: Dnssec) -> Result<Said, NameError> {
    match outcome {
        Ok(lookup) => Ok(Said::Records { lookup, checked: dnssec != Dnssec::Off }),
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match dnssec {
            Dnssec::Off | Dnssec::Validate => nothing(&none),
            // Who can say unsigned that there is nothing can take a peer's addresses away.
            Dnssec::Require if is_secure(none.authorities.iter().flat_map(|all| all.iter())) => nothing(&none),
            Dnssec::Require => Err(NameError::Unsigned),
        },
        Err(NetError::Dns(DnsError::DnssecBogus | DnsError::Nsec { .. })) => Err(NameError::Bogus),
        Err(NetError::Dns(DnsError::ResponseCode(code))) => Err(of_code(code)),
        Err(NetError::Timeout) => Err(NameError::Timeout),
        Err(NetError::Truncated) => Err(NameError::Truncated),
        Err(NetError::Proto(_) | NetError::ForeignClassRecord { .. }) => Err(NameError::Unreadable),
        Err(NetError::NoConnections | NetError::Io(_) | NetError::Busy) => Err(NameError::Unreachable),
        Err(_) => Err(NameError::ServerFailed),
    }
}

fn is_secure<'a>(records: impl Iterator<Item = &'a Record>) -> bool {
    DnssecSummary::from_records(records) == DnssecSummary::Secure
}

fn nothing(none: &NoRecords) -> Result<Said, NameError> {
    // RFC 2308 §3: the lesser of the SOA record's own TTL and its minimum.
    let ttl = none.soa.as_ref().map(|soa| Duration::from_secs(soa.ttl.min(soa.data.minimum).into()));
    let vouched = none.soa.is_some();
    match none.response_code {
        ResponseCode::NXDomain => Ok(Said::Nothing { ttl, whole_name: true, vouched }),
        // RFC 2308 §2.2: other servers' names instead of an SOA record are a referral, not word that there is nothing.
        ResponseCode::NoError if none.ns.is_some() && !vouched => Err(NameError::Referral),
        ResponseCode::NoError => Ok(Said::Nothing { ttl, whole_name: false, vouched }),
        code => Err(of_code(code)),
    }
}

fn of_code(code: ResponseCode) -> NameError {
    match code {
        ResponseCode::Refused | ResponseCode::NotAuth => NameError::Refused,
        ResponseCode::FormErr | ResponseCode::NotImp => NameError::NotUnderstood,
        _ => NameError::ServerFailed,
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr;

    use hickory_resolver::proto::op::Query;
    use hickory_resolver::proto::rr::rdata::SOA;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_str(text).unwrap()
    }

    fn none(code: ResponseCode, soa: Option<(u32, u32)>) -> NoRecords {
        let mut none = NoRecords::new(Query::query(name("um.example."), RecordType::A), code);
        none.soa = soa.map(|(ttl, minimum)| {
            let data = SOA::new(name("example."), name("example."), 1, 1, 1, 1, minimum);
            Box::new(Record::from_rdata(name("example."), ttl, data))
        });
        none
    }

    #[test]
    fn absence_holds_for_the_lesser_of_the_soa_records_ttl_and_minimum() {
        for (soa, expected) in [(Some((600, 60)), Some(60)), (Some((60, 600)), Some(60)), (None, None)] {
            let Ok(Said::Nothing { ttl, vouched, .. }) = nothing(&none(ResponseCode::NXDomain, soa)) else { panic!("{soa:?}") };
            assert_eq!((ttl, vouched), (expected.map(Duration::from_secs), soa.is_some()));
        }
    }

    #[test]
    fn a_name_that_is_not_there_and_one_without_such_records_are_told_apart() {
        for (code, expected) in [(ResponseCode::NXDomain, true), (ResponseCode::NoError, false)] {
            assert!(matches!(nothing(&none(code, None)), Ok(Said::Nothing { whole_name, .. }) if whole_name == expected), "{code}");
        }
        assert_eq!(nothing(&none(ResponseCode::ServFail, Some((60, 60)))).err(), Some(NameError::ServerFailed));
    }

    #[tokio::test]
    async fn a_single_label_is_looked_for_in_the_machines_domains_first() {
        let config = ResolverConfig::from_parts(Some(name("corp.example.")), vec![name("example.")], Vec::new());
        let servers = Servers::with(config, ResolverOpts::default(), &Settings::default(), false).unwrap();
        let asked = |text: &str, complete: bool| {
            let mut name = name(text);
            name.set_fqdn(complete);
            servers.complete(&name).iter().map(Name::to_ascii).collect::<Vec<_>>()
        };
        assert_eq!(asked("um1", false), ["um1.corp.example.", "um1.example.", "um1."]);
        assert_eq!(asked("um1.test", true), ["um1.test."]);
        assert!(!servers.are_any());
        assert_eq!(servers.ask(&name("um1."), RecordType::A).await.err(), Some(NameError::Unreachable));
    }
}
