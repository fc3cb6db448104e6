//! Name servers on loopback: one with a zone of its own that can be made deaf to some names, and what the tests of names share.

// Each test binary uses a part of it.
#![allow(dead_code)]

pub mod script;

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_server::net::runtime::Time as ServerTime;
use hickory_server::proto::op::{Header, HeaderCounts, MessageType, Metadata, OpCode};
use hickory_server::proto::rr::rdata::{A, AAAA, NAPTR, SOA, SRV};
use hickory_server::proto::rr::{Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneHandler, ZoneType};
use portcullis::adapters::dns::{PeerResolver, Settings};
use portcullis::policy::address_scope::AddressScope;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{AdmissionLimits, Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::signaling::fact::{NameState, What};
use portcullis::sip::Transport;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;

/// A name server for example.test that can be made deaf to some names.
pub struct NameServer {
    pub address: SocketAddr,
    pub zone: Arc<InMemoryZoneHandler>,
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

/// A port that is free by both protocols: the one the kernel gives for UDP may be in use by TCP.
pub async fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..50 {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
    panic!("no port is free by UDP and TCP");
}

impl NameServer {
    pub async fn start() -> NameServer {
        let origin = Name::from_str("example.test.").unwrap();
        let soa = SOA::new(Name::from_str("ns.example.test.").unwrap(), Name::from_str("root.example.test.").unwrap(), 1, 60, 60, 60, 1);
        let mut records = BTreeMap::new();
        let mut set = RecordSet::new(origin.clone(), RecordType::SOA, 1);
        set.insert(Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), 1);
        records.insert(RrKey::new(origin.clone().into(), RecordType::SOA), set);
        let zone = Arc::new(InMemoryZoneHandler::new(origin.clone(), records, ZoneType::Primary, AxfrPolicy::Deny, None).unwrap());
        let mut catalog = Catalog::new();
        catalog.upsert(origin.into(), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        let (deaf_to, asked) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let mut server = Server::new(Gate { catalog, deaf_to: Arc::clone(&deaf_to), asked: Arc::clone(&asked) });
        let (udp, tcp) = same_port().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(2), 64);
        NameServer { address, zone, deaf_to, asked, _server: server }
    }

    pub async fn add(&self, name: &str, ttl: u32, data: RData) {
        assert!(self.zone.upsert(Record::from_rdata(full(name), ttl, data), 0).await, "{name}");
    }

    pub async fn remove(&self, name: &str, kind: RecordType) {
        self.zone.records_mut().await.remove(&RrKey::new(full(name).into(), kind)).expect("nothing to remove");
    }

    pub fn deafen(&self, names: &[&str]) {
        *self.deaf_to.lock().unwrap() = names.iter().map(|name| (*name).to_owned()).collect();
    }

    pub fn asked(&self, text: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|query| query.contains(text)).count()
    }

    pub fn settings(&self) -> Settings {
        Settings {
            servers: vec![self.address],
            hosts_file: None,
            timeout: Duration::from_millis(250),
            limit: Duration::from_millis(700),
            floor: Duration::from_millis(50),
            ceiling: Duration::from_secs(3600),
            grace: Duration::from_secs(2),
            ..Settings::default()
        }
    }
}

pub fn full(name: &str) -> Name {
    Name::from_str(&format!("{name}.example.test.")).unwrap()
}

pub fn a(address: &str) -> RData {
    RData::A(A(address.parse().unwrap()))
}

pub fn aaaa(address: &str) -> RData {
    RData::AAAA(AAAA(address.parse().unwrap()))
}

pub fn srv(priority: u16, weight: u16, port: u16, target: &str) -> RData {
    RData::SRV(SRV::new(priority, weight, port, full(target)))
}

pub fn naptr(order: u16, service: &str, replacement: &str) -> RData {
    RData::NAPTR(NAPTR::new(order, 1, Box::from(&b"s"[..]), Box::from(service.as_bytes()), Box::from(&b""[..]), full(replacement)))
}

pub fn peer(name: &str, host: &str, port: Option<u16>, transport: Transport) -> Arc<Peer> {
    let host = match host.parse() {
        Ok(address) => PeerHost::Address(address),
        Err(_) => PeerHost::Name(format!("{host}.example.test").into()),
    };
    // The tests' addresses are those for documentation.
    Arc::new(Peer { hosts: vec![host], port, addresses: AddressScope::Any, ..Peer::new(name, PeerKind::Trunk, transport, SecurityMode::Unsecured) })
}

pub fn set(peers: Vec<Arc<Peer>>) -> Arc<PolicySet> {
    let admission = AdmissionLimits::default();
    Arc::new(PolicySet { number: 1, peers, admission, ..PolicySet::default() })
}

pub type Told = Arc<Mutex<Vec<What>>>;

pub fn resolver(settings: Settings, set: Arc<PolicySet>) -> (PeerResolver, watch::Receiver<Arc<PeerTable>>, Told) {
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
pub async fn table(tables: &mut watch::Receiver<Arc<PeerTable>>, limit: Duration, wanted: impl FnMut(&Arc<PeerTable>) -> bool) -> Arc<PeerTable> {
    let found = tokio::time::timeout(limit, tables.wait_for(wanted)).await;
    found.expect("no such table in time").expect("the resolver has gone").clone()
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn names_told(told: &Told) -> Vec<NameState> {
    told.lock().unwrap().iter().filter_map(|what| if let What::PeerName { state, .. } = what { Some(state.clone()) } else { None }).collect()
}
