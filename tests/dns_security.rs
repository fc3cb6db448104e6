//! DNSSEC (RFC 4035) against a zone signed here: what is signed holds, what is forged, stripped or expired is a failure with a name of its own, and
//! zones that are not signed are taken, refused or excepted as the settings say.

mod name_server;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::dnssec::NxProofKind;
use hickory_server::net::runtime::Time as ServerTime;
use hickory_server::proto::dnssec::crypto::Ed25519SigningKey;
use hickory_server::proto::dnssec::rdata::{DNSKEY, DNSSECRData, RRSIG};
use hickory_server::proto::dnssec::{DnssecSigner, PublicKey, SigningKey};
use hickory_server::proto::rr::rdata::{A, CNAME, NS, SOA, SRV};
use hickory_server::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType, RrKey};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo, Server};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, DnssecZoneHandler, ZoneHandler, ZoneType};
use name_server::{Told, a, ip, names_told, resolver, set, table};
use portcullis::adapters::dns::{Dnssec, NameStateWord, NameStatus, PeerResolver, Settings, Signed};
use portcullis::policy::address_scope::AddressScope;
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, SecurityMode};
use portcullis::signaling::fact::{NameError, NameState};
use portcullis::sip::Transport;
use time::OffsetDateTime;

const SOON: Duration = Duration::from_secs(8);
const DAY: Duration = Duration::from_secs(86_400);

/// Serves signed.test, signed by `key`, and below it plain.signed.test, which is delegated unsigned.
struct Signer {
    settings: Settings,
    zone: Arc<InMemoryZoneHandler>,
    key: Vec<u8>,
    _server: Server<Cut>,
    _folder: tempfile::TempDir,
}

/// DS records are the parent's to say (RFC 4035 §3.1.4.1), though the child is served here as well.
struct Cut {
    all: Catalog,
    parent: Catalog,
}

impl RequestHandler for Cut {
    fn handle_request<'a, 'b, 't, R, T>(&'a self, request: &'b Request, response: R) -> Pin<Box<dyn Future<Output = ResponseInfo> + Send + 't>>
    where
        'a: 't,
        'b: 't,
        R: ResponseHandler + 't,
        T: ServerTime + 't,
    {
        let for_parent = request.request_info().is_ok_and(|info| info.query.query_type() == RecordType::DS);
        if for_parent { self.parent.handle_request::<R, T>(request, response) } else { self.all.handle_request::<R, T>(request, response) }
    }
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn zone(origin: &str, kind: Option<NxProofKind>, records: &[(&str, u32, RData)]) -> InMemoryZoneHandler {
    let origin = name(origin);
    let soa = SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 1);
    let all = [("", 60, RData::SOA(soa)), ("", 60, RData::NS(NS(origin.clone())))];
    let mut sets = BTreeMap::new();
    for (owner, ttl, data) in all.iter().chain(records) {
        let owner = if owner.is_empty() { origin.clone() } else { name(owner).append_domain(&origin).unwrap() };
        let set = sets.entry(RrKey::new(owner.clone().into(), data.record_type())).or_insert_with(|| RecordSet::new(owner.clone(), data.record_type(), 1));
        set.insert(Record::from_rdata(owner, *ttl, data.clone()), 1);
    }
    InMemoryZoneHandler::new(origin, sets, ZoneType::Primary, AxfrPolicy::Deny, kind).unwrap()
}

fn signer(key: &[u8], lasts: Duration) -> DnssecSigner {
    let key = Ed25519SigningKey::from_pkcs8(&key.to_vec().into()).unwrap();
    let dnskey = DNSKEY::from_key(&key.to_public_key().unwrap());
    DnssecSigner::new(dnskey, Box::new(key), name("signed.test."), lasts)
}

impl Signer {
    async fn start(dnssec: Dnssec) -> Signer {
        let key = Ed25519SigningKey::generate_pkcs8().unwrap().secret_pkcs8_der().to_vec();
        let srv = |target: &str| RData::SRV(SRV::new(1, 1, 5061, name(target)));
        let records = [
            ("good", 0, a("192.0.2.1")),
            ("other", 0, a("192.0.2.2")),
            ("alias", 0, RData::CNAME(CNAME(name("good.signed.test.")))),
            ("out", 0, RData::CNAME(CNAME(name("host.plain.signed.test.")))),
            ("_sips._tcp.um", 0, srv("good.signed.test.")),
            ("_sips._tcp.mixed", 0, srv("host.plain.signed.test.")),
            ("plain", 60, RData::NS(NS(name("plain.signed.test.")))),
        ];
        let signed = zone("signed.test.", Some(NxProofKind::Nsec), &records);
        signed.add_zone_signing_key(signer(&key, DAY)).await.unwrap();
        signed.secure_zone().await.unwrap();
        let plain = zone("plain.signed.test.", None, &[("host", 0, a("192.0.2.9"))]);
        let zone = Arc::new(signed);
        let (mut all, mut parent) = (Catalog::new(), Catalog::new());
        all.upsert(name("signed.test.").into(), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        all.upsert(name("plain.signed.test.").into(), vec![Arc::new(plain)]);
        parent.upsert(name("signed.test.").into(), vec![Arc::clone(&zone) as Arc<dyn ZoneHandler>]);
        let mut server = Server::new(Cut { all, parent });
        let (udp, tcp) = name_server::same_port().await;
        let address = udp.local_addr().unwrap();
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(2), 64);
        let folder = tempfile::tempdir().unwrap();
        let anchor = folder.path().join("anchor.key");
        std::fs::write(&anchor, anchor_line(&key).trim_end()).unwrap();
        let settings = Settings {
            servers: vec![address],
            hosts_file: None,
            timeout: Duration::from_millis(800),
            limit: Duration::from_secs(3),
            floor: Duration::from_millis(200),
            grace: Duration::from_secs(60),
            dnssec,
            trust_anchor: Some(anchor),
            ..Settings::default()
        };
        Signer { settings, zone, key, _server: server, _folder: folder }
    }

    /// Changes the set of these records, signatures and all.
    async fn change(&self, owner: &str, kind: RecordType, change: impl FnOnce(&mut RecordSet)) {
        let mut records = self.zone.records_mut().await;
        let set = records.get_mut(&RrKey::new(name(owner).into(), kind)).expect("no such records");
        change(Arc::make_mut(set));
    }
}

fn anchor_line(key: &[u8]) -> String {
    let key = Ed25519SigningKey::from_pkcs8(&key.to_vec().into()).unwrap().to_public_key().unwrap();
    format!("signed.test. 3600 IN DNSKEY 257 3 15 {}\n", base64::Engine::encode(&base64::engine::general_purpose::STANDARD, key.public_bytes()))
}

fn peer(host: &str, port: Option<u16>) -> Arc<Peer> {
    let hosts = vec![PeerHost::Name(host.into())];
    Arc::new(Peer { hosts, port, addresses: AddressScope::Any, ..Peer::new(host, PeerKind::Trunk, Transport::Tls, SecurityMode::Secured) })
}

/// Asks for each of these names once. What became of each, in the order given.
async fn ask(settings: Settings, peers: Vec<Arc<Peer>>) -> (PeerResolver, Vec<NameStatus>, Told) {
    let names: Vec<Arc<str>> = peers.iter().map(|peer| Arc::clone(&peer.name)).collect();
    let (resolver, _, told) = resolver(settings, set(peers));
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    let all = resolver.names();
    let found = names.iter().map(|name| all.iter().find(|status| status.name == *name).cloned().unwrap()).collect();
    (resolver, found, told)
}

fn addresses(status: &NameStatus) -> Vec<std::net::IpAddr> {
    status.addresses.iter().map(|one| one.address).collect()
}

fn word(status: &NameStatus) -> &str {
    status.last_error.as_deref().and_then(|error| error.split_once(':')).map_or("", |(word, _)| word)
}

#[tokio::test]
async fn what_is_signed_holds_through_cname_and_srv_records() {
    for dnssec in [Dnssec::Validate, Dnssec::Require] {
        let server = Signer::start(dnssec).await;
        let peers = vec![
            peer("good.signed.test", Some(5061)),
            peer("alias.signed.test", Some(5061)),
            peer("um.signed.test", None),
            peer("_sips._tcp.um.signed.test", None),
        ];
        let (_resolver, found, _) = ask(server.settings.clone(), peers).await;
        for status in &found {
            assert_eq!((status.state, status.dnssec, addresses(status)), (NameStateWord::Fresh, Some(Signed::Secure), vec![ip("192.0.2.1")]), "{status:?}");
        }
    }
}

#[tokio::test]
async fn that_a_name_does_not_exist_must_be_signed_too() {
    for dnssec in [Dnssec::Validate, Dnssec::Require] {
        let server = Signer::start(dnssec).await;
        let (_resolver, found, told) = ask(server.settings.clone(), vec![peer("nobody.signed.test", Some(5061)), peer("good.signed.test", Some(5061))]).await;
        assert_eq!((word(&found[0]), found[1].state), ("absent", NameStateWord::Fresh), "{found:?}");
        assert!(found[0].next_question_in_seconds.is_some_and(|seconds| seconds <= 2), "by the SOA record's minimum, a second: {:?}", found[0]);
        assert!(names_told(&told).contains(&NameState::Unresolved { error: NameError::Absent }));
    }
}

/// The same server without DNSSEC gives the forged address: it is the signature that is missed.
#[tokio::test]
async fn a_tampered_answer_is_bogus_and_the_last_good_one_is_kept() {
    let server = Signer::start(Dnssec::Validate).await;
    let peers = || vec![peer("good.signed.test", Some(5061)), peer("other.signed.test", Some(5061))];
    let (resolver, found, told) = ask(server.settings.clone(), peers()).await;
    assert_eq!(found[0].state, NameStateWord::Fresh);
    server
        .change("good.signed.test.", RecordType::A, |set| {
            let signatures: Vec<Record> = set.rrsigs().to_vec();
            *set = RecordSet::new(set.name().clone(), RecordType::A, 1);
            set.insert(Record::from_rdata(name("good.signed.test."), 0, RData::A(A("203.0.113.66".parse().unwrap()))), 1);
            signatures.into_iter().for_each(|signature| set.insert_rrsig(signature));
        })
        .await;
    tokio::time::timeout(SOON, async {
        while resolver.names()[0].state == NameStateWord::Fresh {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("the forged answer is noticed");
    let now = resolver.names();
    assert_eq!((word(&now[0]), addresses(&now[0]), now[0].state), ("bogus", vec![ip("192.0.2.1")], NameStateWord::Stale), "{now:?}");
    assert_eq!((now[1].state, now[1].dnssec), (NameStateWord::Fresh, Some(Signed::Secure)), "the name beside it is fresh");
    assert!(names_told(&told).iter().any(|state| matches!(state, NameState::Stale { error: NameError::Bogus, .. })));
    assert!(resolver.tables().borrow().at(ip("203.0.113.66")).is_empty());
    let (_resolver, found, _) = ask(Settings { dnssec: Dnssec::Off, ..server.settings.clone() }, peers()).await;
    assert_eq!((addresses(&found[0]), found[0].dnssec), (vec![ip("203.0.113.66")], Some(Signed::Unchecked)));
}

#[tokio::test]
async fn an_expired_signature_and_one_of_another_key_are_bogus() {
    let server = Signer::start(Dnssec::Validate).await;
    let sign = |set: &mut RecordSet, signer: DnssecSigner, began: OffsetDateTime| {
        let signature = RRSIG::from_rrset(set, DNSClass::IN, began, &signer).unwrap();
        set.clear_rrsigs();
        set.insert_rrsig(Record::from_rdata(set.name().clone(), set.ttl(), RData::DNSSEC(DNSSECRData::RRSIG(signature))));
    };
    let now = OffsetDateTime::now_utc();
    server.change("good.signed.test.", RecordType::A, |set| sign(set, signer(&server.key, DAY), now - 2 * DAY)).await;
    let stranger = Ed25519SigningKey::generate_pkcs8().unwrap().secret_pkcs8_der().to_vec();
    server.change("other.signed.test.", RecordType::A, |set| sign(set, signer(&stranger, DAY), now - DAY / 2)).await;
    let (_resolver, found, _) = ask(server.settings.clone(), vec![peer("good.signed.test", Some(5061)), peer("other.signed.test", Some(5061))]).await;
    assert_eq!((word(&found[0]), word(&found[1])), ("bogus", "bogus"), "{found:?}");
    // The same, signed in time by the zone's own key.
    server.change("good.signed.test.", RecordType::A, |set| sign(set, signer(&server.key, DAY), now - DAY / 2)).await;
    let (_resolver, found, _) = ask(server.settings.clone(), vec![peer("good.signed.test", Some(5061))]).await;
    assert_eq!((found[0].state, found[0].dnssec), (NameStateWord::Fresh, Some(Signed::Secure)));
}

#[tokio::test]
async fn a_signature_that_is_taken_away_is_missed() {
    let server = Signer::start(Dnssec::Validate).await;
    server.change("good.signed.test.", RecordType::A, RecordSet::clear_rrsigs).await;
    let (_resolver, found, _) = ask(server.settings.clone(), vec![peer("good.signed.test", Some(5061)), peer("other.signed.test", Some(5061))]).await;
    assert_eq!((word(&found[0]), found[1].dnssec), ("bogus", Some(Signed::Secure)), "{found:?}");
}

#[tokio::test]
async fn a_zone_that_is_not_signed_is_taken_refused_or_excepted() {
    let all = || {
        ["host.plain.signed.test", "out.signed.test"]
            .into_iter()
            .map(|host| peer(host, Some(5061)))
            .chain([peer("mixed.signed.test", None)])
            .collect::<Vec<_>>()
    };
    let server = Signer::start(Dnssec::Validate).await;
    let (_resolver, found, _) = ask(server.settings.clone(), all()).await;
    for status in &found {
        assert_eq!((status.dnssec, addresses(status)), (Some(Signed::Insecure), vec![ip("192.0.2.9")]), "{status:?}");
    }
    let strict = Settings { dnssec: Dnssec::Require, ..server.settings.clone() };
    let (_resolver, found, told) = ask(strict.clone(), all()).await;
    for status in &found {
        assert_eq!((word(status), addresses(status).len()), ("unsigned", 0), "{status:?}");
    }
    assert!(names_told(&told).contains(&NameState::Unresolved { error: NameError::Unsigned }));
    let excepted = Settings { unsigned: vec!["plain.signed.test".into()], ..strict };
    let (_resolver, found, _) = ask(excepted, all()).await;
    assert_eq!((found[0].dnssec, addresses(&found[0])), (Some(Signed::Unchecked), vec![ip("192.0.2.9")]), "{found:?}");
    assert_eq!(word(&found[1]), "unsigned", "a signed zone that leads out of itself is not excepted");
    assert_eq!(found[2].dnssec, Some(Signed::Unchecked), "the weakest of all it rests on");
}

#[tokio::test]
async fn without_an_anchor_above_it_nothing_is_believed() {
    let server = Signer::start(Dnssec::Validate).await;
    let others = Signer::start(Dnssec::Validate).await;
    let settings = Settings { trust_anchor: others.settings.trust_anchor.clone(), ..server.settings.clone() };
    let (_resolver, found, _) = ask(settings, vec![peer("good.signed.test", Some(5061))]).await;
    assert_eq!((word(&found[0]), addresses(&found[0]).len()), ("bogus", 0));
}

#[tokio::test]
async fn a_trust_anchor_that_cannot_be_read_is_told_at_start() {
    let server = Signer::start(Dnssec::Validate).await;
    let broken = server._folder.path().join("broken.key");
    std::fs::write(&broken, "signed.test. 3600 IN DNSKEY garbage\n").unwrap();
    let empty = server._folder.path().join("empty.key");
    std::fs::write(&empty, "; nothing but a comment\n").unwrap();
    for file in [broken, empty, PathBuf::from("/nowhere/anchor.key")] {
        let settings = Settings { trust_anchor: Some(file.clone()), ..server.settings.clone() };
        let error = PeerResolver::start(settings, set(Vec::new()), |_| {}).err().unwrap().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("DNSKEY"), "{error}");
    }
}

#[tokio::test]
async fn the_table_follows_a_signed_zone() {
    let server = Signer::start(Dnssec::Require).await;
    let (_resolver, mut tables, _) = resolver(server.settings.clone(), set(vec![peer("good.signed.test", Some(5061))]));
    table(&mut tables, SOON, |table| table.addresses("good.signed.test") == [ip("192.0.2.1")]).await;
    server
        .change("good.signed.test.", RecordType::A, |set| {
            *set = RecordSet::new(set.name().clone(), RecordType::A, 1);
            set.insert(Record::from_rdata(name("good.signed.test."), 0, a("192.0.2.4")), 1);
            let signature = RRSIG::from_rrset(set, DNSClass::IN, OffsetDateTime::now_utc() - DAY / 2, &signer(&server.key, DAY)).unwrap();
            set.insert_rrsig(Record::from_rdata(set.name().clone(), set.ttl(), RData::DNSSEC(DNSSECRData::RRSIG(signature))));
        })
        .await;
    table(&mut tables, SOON, |table| table.addresses("good.signed.test") == [ip("192.0.2.4")]).await;
}
