//! Locating and peer tables against a real name server on loopback: NAPTR, SRV, both address families, CNAME, TTL, absence, silence.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::net::runtime::Time as ServerTime;
use hickory_server::proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode};
use hickory_server::proto::rr::rdata::{A, AAAA, CNAME, NAPTR, SOA, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use portcullis::adapters::dns::{Locator, PeerResolver, Settings};
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{AdmissionLimits, Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::signaling::event::{LocateError, LocateQuery};
use portcullis::signaling::fact::{NameState, What};
use portcullis::sip::Transport;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// A name server for example.test that can be made deaf to some names.
struct NameServer {
    address: SocketAddr,
    zone: Arc<InMemoryZoneHandler>,
    deaf_to: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
    _server: Server<Gate>,
}

struct Gate {
    catalog: Catalog,
    deaf_to: Arc<Mutex<Vec<String>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl RequestHandler for Gate {
    fn handle_request<'a, 'b, 't, R, T>(&'a self, request: &'b Request, response: R) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 't>>
    where
        'a: 't,
        'b: 't,
        R: ResponseHandler + 't,
        T: ServerTime + 't,
    {
        let query = request.request_info().map(|info| format!("{} {}", info.query.query_type(), info.query.name())).unwrap_or_default();
        let deaf = self.deaf_to.lock().unwrap().iter().any(|name| query.contains(name.as_str()));
        self.asked.lock().unwrap().push(query);
        if deaf {
            let metadata = Metadata::new(0, MessageType::Response, OpCode::Query);
            return Box::pin(async move { ResponseInfo::from(Header { metadata, counts: HeaderCounts::default() }) });
        }
        self.catalog.handle_request::<R, T>(request, response)
    }
}

impl NameServer {
    async fn start() -> NameServer {
        let origin = Name::from_str("example.test.").unwrap();
        let soa = SOA::new(Name::from_str("ns.example.test.").unwrap(), Name::from_str("root.example.test.").unwrap(), 1, 60, 60, 60, 1);
        let mut records = BTreeMap::new();
        let mut set = RecordSet::new(origin.clone(), RecordType::SOA, 1);
        set.insert(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        records.insert(RrKey::new(origin.clone().into(), RecordType::SOA), set);
        let zone = Arc::new(InMemoryZoneHandler::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny).unwrap());
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        let (deaf_to, asked) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut server = Server::new(Gate { catalog, deaf_to: Arc::clone(&deaf_to), asked: Arc::clone(&asked) });
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(TcpListener::bind(address).await.unwrap(), Duration::from_secs(2), 64);
        NameServer { address, zone, deaf_to, asked, _server: server }
    }

    async fn add(&self, name: &str, ttl: u32, data: RData) {
        assert!(self.zone.upsert(Record::from_rdata(full(name), ttl, data), 0).await, "{name}");
    }

    async fn remove(&self, name: &str, kind: RecordType) {
        self.zone.records_mut().await.remove(&RrKey::new(full(name).into(), kind)).expect("nothing to remove");
    }

    fn deafen(&self, names: &[&str]) {
        *self.deaf_to.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    fn asked(&self, text: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|query| query.contains(text)).count()
    }

    fn settings(&self) -> Settings {
        Settings {
            servers: vec![self.address],
            hosts_file: None,
            timeout: Duration::from_millis(250),
            limit: Duration::from_millis(700),
            floor: Duration::from_millis(50),
            ceiling: Duration::from_secs(3600),
            grace: Duration::from_secs(2),
        }
    }
}

fn full(name: &str) -> Name {
    Name::from_str(&format!("{name}.example.test.")).unwrap()
}

fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA(address.parse().unwrap()))
}

fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, full(target)))
}

fn naptr(order: u16, service: &str, replacement: &str) -> RData {
    RData::NAPTR(NAPTR::new(order, 1, Box::from(&b"s"[..]), Box::from(service.as_bytes()), Box::from(&b""[..]), full(replacement)))
}

fn query(host: &str, port: Option<u16>, transport: Option<Transport>) -> LocateQuery {
    LocateQuery { host: format!("{host}.example.test").into(), port, transport, allowed: vec![Transport::Tls, Transport::Tcp, Transport::Udp] }
}

async fn located(locator: &Locator, query: LocateQuery) -> Vec<String> {
    let targets = locator.locate(query).await.expect("targets");
    targets.iter().map(|target| format!("{} {}", target.transport, target.address)).collect()
}

#[tokio::test]
async fn naptr_leads_to_srv_and_srv_to_addresses_of_both_families() {
    let server = NameServer::start().await;
    server.add("um", 60, naptr(20, "SIP+D2U", "_sip._udp.um")).await;
    server.add("um", 60, naptr(10, "SIPS+D2T", "_sips._tcp.um")).await;
    server.add("_sips._tcp.um", 60, srv(20, 0, 5063, "b")).await;
    server.add("_sips._tcp.um", 60, srv(10, 0, 5061, "a")).await;
    server.add("_sip._udp.um", 60, srv(1, 0, 5060, "b")).await;
    server.add("a", 60, a("192.0.2.1")).await;
    server.add("a", 60, aaaa("2001:db8::1")).await;
    server.add("b", 60, RData::CNAME(CNAME(full("c")))).await;
    server.add("c", 60, a("192.0.2.2")).await;
    let locator = Locator::new(server.settings()).unwrap();
    assert_eq!(located(&locator, query("um", None, None)).await, ["TLS [2001:db8::1]:5061", "TLS 192.0.2.1:5061", "TLS 192.0.2.2:5063", "UDP 192.0.2.2:5060"]);
    assert_eq!(located(&locator, query("um", None, Some(Transport::Tls))).await[0], "TLS [2001:db8::1]:5061");
    assert_eq!(located(&locator, query("B", Some(5070), Some(Transport::Tcp))).await, ["TCP 192.0.2.2:5070"], "through a CNAME");
    assert_eq!(located(&locator, query("a", None, Some(Transport::Tls))).await, ["TLS [2001:db8::1]:5061", "TLS 192.0.2.1:5061"], "no SRV: the default port");
}

#[tokio::test]
async fn srv_weights_spread_calls_and_zero_weight_is_seldom_first() {
    let server = NameServer::start().await;
    for (weight, name, address) in [(90, "heavy", "192.0.2.90"), (10, "light", "192.0.2.10"), (0, "spare", "192.0.2.100")] {
        server.add("_sip._udp.pool", 60, srv(1, weight, 5060, name)).await;
        server.add(name, 60, a(address)).await;
    }
    let locator = Locator::new(server.settings()).unwrap();
    let mut first = BTreeMap::<String, u32>::new();
    for _ in 0..300 {
        let all = located(&locator, query("pool", None, Some(Transport::Udp))).await;
        assert_eq!(all.len(), 3);
        *first.entry(all[0].clone()).or_default() += 1;
    }
    // Expected 267; the bounds are nine standard deviations away.
    let heavy = first.get("UDP 192.0.2.90:5060").copied().unwrap_or(0);
    assert!((215..300).contains(&heavy), "{first:?}");
    assert!(server.asked("SRV _sip._udp.pool") < 5, "answers are cached for their TTL");
}

#[tokio::test]
async fn absence_and_silence_are_told_apart_and_silence_ends_in_time() {
    let server = NameServer::start().await;
    server.add("mute", 60, a("192.0.2.1")).await;
    server.deafen(&["mute"]);
    let locator = Locator::new(server.settings()).unwrap();
    assert_eq!(locator.locate(query("nobody", Some(5060), Some(Transport::Udp))).await, Err(LocateError::NotFound));
    let began = std::time::Instant::now();
    assert_eq!(locator.locate(query("mute", Some(5060), Some(Transport::Udp))).await, Err(LocateError::Failed));
    assert!(began.elapsed() < Duration::from_millis(1500), "{:?}", began.elapsed());
    // A server that refuses has not said that the name does not exist.
    let elsewhere = LocateQuery { host: "host.elsewhere.test".into(), ..query("x", Some(5060), Some(Transport::Udp)) };
    assert_eq!(locator.locate(elsewhere).await, Err(LocateError::Failed));
    // No server at all.
    let nowhere = Settings { servers: vec!["127.0.0.1:9".parse().unwrap()], ..server.settings() };
    assert_eq!(Locator::new(nowhere).unwrap().locate(query("mute", None, None)).await, Err(LocateError::Failed));
}

#[tokio::test]
async fn names_in_the_hosts_file_are_answered_from_it_alone() {
    let server = NameServer::start().await;
    server.add("_sips._tcp.lab", 60, srv(1, 1, 5099, "elsewhere")).await;
    server.add("elsewhere", 60, a("192.0.2.9")).await;
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("hosts");
    std::fs::write(&path, "127.0.0.7 lab.example.test lab\n::7 lab.example.test\n").unwrap();
    let locator = Locator::new(Settings { hosts_file: Some(path.clone()), ..server.settings() }).unwrap();
    assert_eq!(located(&locator, query("LAB", None, Some(Transport::Tls))).await, ["TLS [::7]:5061", "TLS 127.0.0.7:5061"]);
    assert_eq!(server.asked("lab"), 0);
    let short = LocateQuery { host: "lab".into(), ..query("x", Some(5070), Some(Transport::Tcp)) };
    assert_eq!(located(&locator, short).await, ["TCP 127.0.0.7:5070"]);
    // A change of the file is seen.
    std::fs::write(&path, "").unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::SystemTime::now() + Duration::from_secs(5)).unwrap();
    assert_eq!(located(&locator, query("lab", None, Some(Transport::Tls))).await, ["TLS 192.0.2.9:5099"]);
}

fn peer(name: &str, host: &str, port: Option<u16>, transport: Transport) -> Arc<Peer> {
    let host = match host.parse() {
        Ok(address) => PeerHost::Address(address),
        Err(_) => PeerHost::Name(format!("{host}.example.test").into()),
    };
    Arc::new(Peer { hosts: vec![host], port, ..Peer::new(name, PeerKind::Trunk, transport, SecurityMode::Unsecured) })
}

fn set(peers: Vec<Arc<Peer>>) -> Arc<PolicySet> {
    let admission = AdmissionLimits::default();
    Arc::new(PolicySet { number: 1, peers, um_pools: Vec::new(), dial_plans: Vec::new(), hunt_groups: Vec::new().into(), admission })
}

type Told = Arc<Mutex<Vec<What>>>;

fn resolver(settings: Settings, set: Arc<PolicySet>) -> (PeerResolver, watch::Receiver<Arc<PeerTable>>, Told) {
    let told = Told::default();
    let report = {
        let told = Arc::clone(&told);
        move |what| told.lock().unwrap().push(what)
    };
    let resolver = PeerResolver::start(settings, set, report).unwrap();
    let tables = resolver.tables();
    (resolver, tables, told)
}

/// The first table for which `wanted` holds, within `limit`.
async fn table(tables: &mut watch::Receiver<Arc<PeerTable>>, limit: Duration, wanted: impl FnMut(&Arc<PeerTable>) -> bool) -> Arc<PeerTable> {
    let found = tokio::time::timeout(limit, tables.wait_for(wanted)).await;
    found.expect("no such table in time").expect("the resolver has gone").clone()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn names_told(told: &Told) -> Vec<NameState> {
    told.lock().unwrap().iter().filter_map(|what| if let What::PeerName { state, .. } = what { Some(state.clone()) } else { None }).collect()
}

const SOON: Duration = Duration::from_secs(5);

#[tokio::test]
async fn literal_addresses_are_there_at_once_and_names_as_they_are_answered() {
    let server = NameServer::start().await;
    server.add("_sips._tcp.carrier", 60, srv(1, 1, 5061, "edge1")).await;
    server.add("_sips._tcp.carrier", 60, srv(2, 1, 5061, "edge2")).await;
    server.add("edge1", 60, a("192.0.2.1")).await;
    server.add("edge2", 60, aaaa("2001:db8::2")).await;
    server.add("carrier", 60, a("203.0.113.80")).await;
    let peers = vec![
        peer("fixed", "198.51.100.1", None, Transport::Udp),
        peer("carrier", "carrier", None, Transport::Tls),
        peer("pbx", "carrier", Some(5070), Transport::Tcp),
    ];
    let (resolver, mut tables, told) = resolver(server.settings(), set(peers));
    assert_eq!(tables.borrow().addresses("fixed"), [ip("198.51.100.1")]);
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    let now = table(&mut tables, SOON, |table| table.addresses("carrier").len() == 3).await;
    assert_eq!(now.addresses("carrier"), [ip("203.0.113.80"), ip("192.0.2.1"), ip("2001:db8::2")]);
    assert!(now.number > 1);
    assert_eq!(names_told(&told).len(), 2);
}

#[tokio::test]
async fn a_ttl_that_ends_brings_the_new_address_and_another_number() {
    let server = NameServer::start().await;
    server.add("moving", 1, a("192.0.2.1")).await;
    let (_resolver, mut tables, _) = resolver(server.settings(), set(vec![peer("moving", "moving", Some(5060), Transport::Udp)]));
    let before = table(&mut tables, SOON, |table| table.addresses("moving") == [ip("192.0.2.1")]).await;
    server.remove("moving", RecordType::A).await;
    server.add("moving", 60, a("192.0.2.2")).await;
    let after = table(&mut tables, SOON, |table| table.addresses("moving") == [ip("192.0.2.2")]).await;
    assert!(after.number > before.number);
    assert!(after.at(ip("192.0.2.1")).is_empty(), "who stays at the old address is a stranger");
    // The new answer holds for its TTL: nobody asks every floor.
    let asked = server.asked("A moving");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(server.asked("A moving"), asked);
}

#[tokio::test]
async fn when_servers_fall_silent_the_last_good_answer_is_kept_and_then_gone() {
    let server = NameServer::start().await;
    server.add("fading", 0, a("192.0.2.1")).await;
    let (_resolver, mut tables, told) = resolver(server.settings(), set(vec![peer("fading", "fading", Some(5060), Transport::Udp)]));
    table(&mut tables, SOON, |table| !table.addresses("fading").is_empty()).await;
    server.deafen(&["fading"]);
    let fell_silent = std::time::Instant::now();
    table(&mut tables, SOON, |table| table.addresses("fading").is_empty()).await;
    assert!(fell_silent.elapsed() >= Duration::from_millis(1900), "kept for {:?} of 2 s", fell_silent.elapsed());
    let failed = LocateError::Failed;
    assert_eq!(
        names_told(&told),
        [
            NameState::Fresh { addresses: vec![ip("192.0.2.1")] },
            NameState::Kept { error: failed, grace: Duration::from_secs(2) },
            NameState::Gone { error: failed }
        ]
    );
    // And it comes back.
    server.deafen(&[]);
    table(&mut tables, SOON, |table| !table.addresses("fading").is_empty()).await;
}

#[tokio::test]
async fn a_name_that_ceases_to_exist_goes_long_before_the_grace_is_over() {
    let server = NameServer::start().await;
    server.add("leaving", 0, a("192.0.2.1")).await;
    let settings = Settings { grace: Duration::from_secs(600), ..server.settings() };
    let (_resolver, mut tables, told) = resolver(settings, set(vec![peer("leaving", "leaving", Some(5060), Transport::Udp)]));
    table(&mut tables, SOON, |table| !table.addresses("leaving").is_empty()).await;
    server.remove("leaving", RecordType::A).await;
    table(&mut tables, SOON, |table| table.addresses("leaving").is_empty()).await;
    assert_eq!(names_told(&told).last(), Some(&NameState::Gone { error: LocateError::NotFound }));
}

#[tokio::test]
async fn one_silent_name_delays_no_other() {
    let server = NameServer::start().await;
    server.add("lively", 60, a("192.0.2.1")).await;
    server.deafen(&["mute"]);
    let settings = Settings { timeout: Duration::from_secs(3), limit: Duration::from_secs(4), ..server.settings() };
    let mut peers: Vec<_> = (0..50).map(|n| peer(&format!("mute{n}"), &format!("mute{n}"), Some(5060), Transport::Udp)).collect();
    peers.push(peer("lively", "lively", Some(5060), Transport::Udp));
    let (resolver, mut tables, _) = resolver(settings, set(peers));
    table(&mut tables, Duration::from_millis(1500), |table| !table.addresses("lively").is_empty()).await;
    assert!(!resolver.is_settled(), "the silent ones are still being asked for");
}

#[tokio::test]
async fn a_reload_keeps_known_names_and_asks_for_new_ones() {
    let server = NameServer::start().await;
    server.add("old", 3600, a("192.0.2.1")).await;
    server.add("new", 3600, a("192.0.2.1")).await;
    let old = peer("old", "old", Some(5060), Transport::Udp);
    let (resolver, mut tables, told) = resolver(server.settings(), set(vec![Arc::clone(&old)]));
    table(&mut tables, SOON, |table| !table.addresses("old").is_empty()).await;
    server.deafen(&["old"]);
    resolver.policies(set(vec![old, peer("new", "new", Some(5060), Transport::Udp)]));
    let now = table(&mut tables, SOON, |table| !table.addresses("new").is_empty()).await;
    assert_eq!(now.addresses("old"), [ip("192.0.2.1")], "not asked for again");
    // Exchange's event 1175.
    let shared = told.lock().unwrap().iter().filter(|what| matches!(what, What::PeersShareAddress { told_apart: false, .. })).count();
    assert_eq!(shared, 1);
    resolver.policies(set(Vec::new()));
    table(&mut tables, SOON, |table| table.peers().next().is_none()).await;
}
