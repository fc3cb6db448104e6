//! Answers that no name server should give, and some do: whatever comes for one name, an event says so and the other names stay fresh.

mod name_server;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::proto::op::{Message, Query, ResponseCode};
use hickory_server::proto::rr::rdata::{CNAME, NS};
use hickory_server::proto::rr::{RData, Record, RecordType};
use name_server::script::{self, Script, bytes, code, name, nothing, records};
use name_server::{Told, a, aaaa, full, ip, names_told, peer, resolver, set, srv, table};
use portcullis::adapters::dns::{NameStateWord, PeerResolver, Settings};
use portcullis::policy::address_scope::AddressScope;
use portcullis::policy::settings::{Peer, PeerKind};
use portcullis::signaling::fact::{NameError, NameOddity, NameState, What};
use portcullis::sip::Transport;

const SOON: Duration = Duration::from_secs(8);

fn settings(server: &Script) -> Settings {
    Settings {
        servers: vec![server.address],
        hosts_file: None,
        timeout: Duration::from_millis(600),
        limit: Duration::from_millis(1500),
        floor: Duration::from_millis(300),
        grace: Duration::from_secs(60),
        ..Settings::default()
    }
}

fn oddities(told: &Told) -> Vec<NameOddity> {
    told.lock().unwrap().iter().filter_map(|what| if let What::PeerNameOdd { oddity, .. } = what { Some(oddity.clone()) } else { None }).collect()
}

/// `good.example.test` is answered as it should, `odd.example.test` as `odd` says. Returns once both were answered or given up.
async fn beside_a_good_name(odd: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static) -> (PeerResolver, Told, Script) {
    let server = Script::start(move |query, tcp| match name(query).as_str() {
        "good.example.test" => bytes(&records(query, &[("good.example.test.", 1, a("192.0.2.1"))], 1)),
        _ => odd(query, tcp),
    })
    .await;
    let peers = vec![peer("good", "good", Some(5060), Transport::Udp), peer("odd", "odd", Some(5060), Transport::Udp)];
    let (resolver, mut tables, told) = resolver(settings(&server), set(peers));
    table(&mut tables, SOON, |table| table.addresses("good") == [ip("192.0.2.1")]).await;
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    (resolver, told, server)
}

/// The odd name failed for that reason; the good one is fresh, and stays so when it is asked for again.
async fn fails_alone(odd: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static, why: NameError) -> Script {
    let (resolver, told, server) = beside_a_good_name(odd).await;
    let asked = server.asked("good");
    tokio::time::timeout(SOON, async {
        while server.asked("good") == asked {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("the good name is asked for again");
    let states = resolver.names();
    assert_eq!((states[0].state, states[0].last_error.as_deref()), (NameStateWord::Fresh, None), "{why}");
    assert_eq!(states[1].state, NameStateWord::Unresolved, "{why}");
    assert!(names_told(&told).contains(&NameState::Unresolved { error: why }), "{why}: {:?}", names_told(&told));
    server
}

#[tokio::test]
async fn lame_servers_each_have_a_name_for_what_is_wrong() {
    fails_alone(|query, _| bytes(&code(query, ResponseCode::Refused)), NameError::Refused).await;
    fails_alone(|query, _| bytes(&code(query, ResponseCode::ServFail)), NameError::ServerFailed).await;
    fails_alone(|query, _| bytes(&code(query, ResponseCode::NotImp)), NameError::NotUnderstood).await;
    fails_alone(|_, _| Vec::new(), NameError::Timeout).await;
    let referral = |query: &Message, _| {
        let mut message = code(query, ResponseCode::NoError);
        message.add_authority(Record::from_rdata(full("x").base_name(), 60, RData::NS(NS(full("ns")))));
        bytes(&message)
    };
    fails_alone(referral, NameError::Referral).await;
}

#[tokio::test]
async fn an_answer_to_another_question_is_no_answer() {
    let other = |query: &Message, _| {
        let mut message = records(query, &[("odd.example.test.", 60, a("192.0.2.66"))], 1);
        message.queries = vec![Query::query(full("other"), RecordType::A)];
        bytes(&message)
    };
    fails_alone(other, NameError::Timeout).await;
    let another_id = |query: &Message, _| {
        let mut message = records(query, &[("odd.example.test.", 60, a("192.0.2.66"))], 1);
        message.metadata.id = message.metadata.id.wrapping_add(1);
        bytes(&message)
    };
    fails_alone(another_id, NameError::Timeout).await;
}

#[tokio::test]
async fn garbage_is_named_as_such_and_breaks_nothing() {
    let id = |query: &Message| query.metadata.id.to_be_bytes();
    fails_alone(move |query, _| vec![[&id(query)[..], &[0xff; 300]].concat()], NameError::Unreadable).await;
    // No header even: as if nothing had come.
    fails_alone(|_, _| vec![Vec::new(), vec![0], vec![0xff; 11]], NameError::Timeout).await;
    // A name that points at itself.
    let circle = move |query: &Message, _| vec![[&id(query)[..], &[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0, 0xc0, 12, 0, 1, 0, 1]].concat()];
    fails_alone(circle, NameError::Unreadable).await;
}

#[tokio::test]
async fn a_truncated_answer_is_fetched_over_tcp_and_without_tcp_it_is_said_so() {
    let truncated = |query: &Message, tcp: bool| {
        let mut message = code(query, ResponseCode::NoError);
        message.metadata.truncation = !tcp;
        if tcp { bytes(&records(query, &[("odd.example.test.", 60, a("192.0.2.7"))], 60)) } else { bytes(&message) }
    };
    let (resolver, _, server) = beside_a_good_name(truncated).await;
    assert_eq!(resolver.names()[1].addresses[0].address, ip("192.0.2.7"));
    assert!(server.asked("TCP A odd") > 0);
    let never_whole = |query: &Message, _| {
        let mut message = code(query, ResponseCode::NoError);
        message.metadata.truncation = true;
        bytes(&message)
    };
    fails_alone(never_whole, NameError::Truncated).await;
    let no_tcp = |query: &Message, tcp: bool| {
        let mut message = code(query, ResponseCode::NoError);
        message.metadata.truncation = true;
        if tcp { Vec::new() } else { bytes(&message) }
    };
    fails_alone(no_tcp, NameError::Truncated).await;
}

#[tokio::test]
async fn cname_loops_are_failures_and_not_absence() {
    let cname = |from: &'static str, to: &str| (from, 60, RData::CNAME(CNAME(full(to))));
    // The whole circle in each answer, and one step in each.
    let whole = move |query: &Message, _| bytes(&records(query, &[cname("odd.example.test.", "b"), cname("b.example.test.", "odd")], 1));
    fails_alone(whole, NameError::Loop).await;
    let step = move |query: &Message, _| {
        bytes(&match name(query).as_str() {
            "odd.example.test" => records(query, &[cname("odd.example.test.", "b")], 1),
            "b.example.test" => records(query, &[cname("b.example.test.", "c")], 1),
            _ => records(query, &[cname("c.example.test.", "b")], 1),
        })
    };
    let server = fails_alone(step, NameError::Loop).await;
    assert!(server.asked("") < 120, "{} questions for two names", server.asked(""));
    // A name that is its own CNAME; a chain without end.
    fails_alone(move |query, _| bytes(&records(query, &[cname("odd.example.test.", "odd")], 1)), NameError::Loop).await;
    let endless = |query: &Message, _| {
        let asked = query.queries[0].name().clone();
        let next = full(&format!(
            "n{}",
            asked.to_ascii().trim_start_matches(|c: char| !c.is_ascii_digit()).split('.').next().map_or(0, |n| n.parse().unwrap_or(0)) + 1
        ));
        let mut message = code(query, ResponseCode::NoError);
        message.add_answer(Record::from_rdata(asked, 60, RData::CNAME(CNAME(next))));
        bytes(&message)
    };
    fails_alone(endless, NameError::Loop).await;
    // A chain that ends where there is nothing is absence.
    let ends = move |query: &Message, _| match name(query).as_str() {
        "odd.example.test" => bytes(&records(query, &[cname("odd.example.test.", "b")], 1)),
        _ => bytes(&nothing(query, ResponseCode::NXDomain, 60)),
    };
    fails_alone(ends, NameError::Absent).await;
}

#[tokio::test]
async fn of_thousands_of_records_always_the_same_few_are_taken_and_it_is_told_once() {
    // Rotated each time, as servers do; written beforehand, since that takes long.
    let rotated = |from: u32| {
        let mut message = Message::response(0, hickory_server::proto::op::OpCode::Query);
        message.add_query(Query::query(full("odd"), RecordType::A));
        let all = (0..2000).map(|n| (n + from) % 2000).map(|n| Record::from_rdata(full("odd"), 0, a(&format!("10.9.{}.{}", n / 250, n % 250))));
        message.add_answers(all.collect::<Vec<_>>());
        message.to_vec().unwrap()
    };
    let written = [0, 1111, 1999].map(rotated);
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let many = move |query: &Message, tcp: bool| {
        if query.queries[0].query_type() != RecordType::A {
            return bytes(&nothing(query, ResponseCode::NoError, 60));
        }
        if !tcp {
            let mut message = code(query, ResponseCode::NoError);
            message.metadata.truncation = true;
            return bytes(&message);
        }
        let mut message = written[turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 3].clone();
        message[..2].copy_from_slice(&query.metadata.id.to_be_bytes());
        vec![message]
    };
    let (resolver, told, server) = beside_a_good_name(many).await;
    let mut seen = BTreeMap::new();
    tokio::time::timeout(SOON, async {
        while server.asked("TCP A odd") < 5 {
            let now: Vec<_> = resolver.names()[1].addresses.iter().map(|one| one.address).collect();
            *seen.entry(now).or_insert(0) += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(seen.len(), 1, "the same ones each time: {:?}", resolver.names()[1]);
    assert!(seen.keys().all(|addresses| addresses.len() == 16 && addresses[0] == ip("10.9.0.0")), "{seen:?} {:?}", resolver.names()[1]);
    let mut odd = oddities(&told);
    odd.sort_by_key(|one| format!("{one:?}"));
    let [NameOddity::TooMany { given: 2000, kept: 16 }, NameOddity::ZeroTtl { .. }] = odd[..] else { panic!("{odd:?}") };
    assert_eq!(names_told(&told).len(), 2, "no change after the first answers: {:?}", names_told(&told));
}

#[tokio::test]
async fn a_ttl_of_nothing_asks_each_floor_and_says_so() {
    let zero = |query: &Message, _| bytes(&records(query, &[("odd.example.test.", 0, a("192.0.2.8"))], 1));
    let (resolver, told, server) = beside_a_good_name(zero).await;
    let asked = server.asked("A odd");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let more = server.asked("A odd") - asked;
    // Every 300 to 360 ms; the name's AAAA records are counted with it.
    assert!((4..=10).contains(&more), "{more} questions in 1.5 s");
    assert_eq!(oddities(&told), [NameOddity::ZeroTtl { floor: Duration::from_millis(300) }]);
    assert_eq!(resolver.names()[1].state, NameStateWord::Fresh);
}

#[tokio::test]
async fn records_of_other_names_in_an_answer_trust_nobody() {
    let poisoned = |query: &Message, _| {
        let data = [("odd.example.test.", 60, a("192.0.2.8")), ("good.example.test.", 60, a("192.0.2.66")), ("evil.test.", 60, a("192.0.2.67"))];
        bytes(&records(query, &data, 1))
    };
    let (resolver, told, _server) = beside_a_good_name(poisoned).await;
    let addresses = |index: usize| resolver.names()[index].addresses.iter().map(|one| one.address).collect::<Vec<_>>();
    assert_eq!((addresses(0), addresses(1)), (vec![ip("192.0.2.1")], vec![ip("192.0.2.8")]));
    assert_eq!(oddities(&told), [NameOddity::Unasked { given: 2 }]);
}

fn scoped(name: &str, host: &str, kind: PeerKind) -> Arc<Peer> {
    let peer = peer(name, host, Some(5060), Transport::Udp);
    Arc::new(Peer { kind, addresses: AddressScope::of_kind(kind), ..Peer::clone(&peer) })
}

/// A zone somebody else runs must not make this machine, or one beside it, a trusted peer.
#[tokio::test]
async fn dns_cannot_make_a_private_address_a_public_peer() {
    let server = Script::start(|query, _| {
        let all = match name(query).as_str() {
            "rebound.example.test" => vec![("rebound.example.test.", 1, a("127.0.0.1")), ("rebound.example.test.", 1, aaaa("::ffff:10.0.0.1"))],
            "mixed.example.test" => vec![("mixed.example.test.", 1, a("8.8.8.8")), ("mixed.example.test.", 1, a("192.168.1.1"))],
            "_sip._udp.led.example.test" => vec![("_sip._udp.led.example.test.", 1, srv(1, 1, 5060, "inner"))],
            "inner.example.test" => vec![("inner.example.test.", 1, a("10.0.0.9")), ("inner.example.test.", 1, a("169.254.169.254"))],
            _ => Vec::new(),
        };
        script::bytes(&records(query, &all, 1))
    })
    .await;
    let mut led = Peer::clone(&scoped("led", "led", PeerKind::UmServer));
    led.port = None;
    let peers = vec![scoped("rebound", "rebound", PeerKind::Trunk), scoped("mixed", "mixed", PeerKind::Trunk), Arc::new(led)];
    let (resolver, mut tables, told) = resolver(settings(&server), set(peers));
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    let now = table(&mut tables, SOON, |table| !table.addresses("mixed").is_empty() && !table.addresses("led").is_empty()).await;
    assert_eq!(now.addresses("mixed"), [ip("8.8.8.8")]);
    assert_eq!(now.addresses("led"), [ip("10.0.0.9")], "a UM server may live in the private network, but not on the link");
    assert!(now.addresses("rebound").is_empty());
    for address in ["127.0.0.1", "10.0.0.1", "192.168.1.1", "169.254.169.254"] {
        assert!(now.at(ip(address)).is_empty(), "{address} is a stranger's");
    }
    assert!(names_told(&told).contains(&NameState::Unresolved { error: NameError::OutOfScope }));
    let refused: Vec<NameOddity> = oddities(&told);
    for (scope, addresses) in
        [(AddressScope::Public, &["127.0.0.1", "::ffff:10.0.0.1"][..]), (AddressScope::Public, &["192.168.1.1"]), (AddressScope::Private, &["169.254.169.254"])]
    {
        let expected = NameOddity::Refused { scope, addresses: addresses.iter().map(|address| ip(address)).collect() };
        assert!(refused.contains(&expected), "{expected:?} in {refused:?}");
    }
}

#[tokio::test]
async fn the_machines_own_hosts_file_is_the_operators_word_but_not_for_names_dns_leads_to() {
    let server = Script::start(|query, _| {
        let all = match name(query).as_str() {
            "_sip._udp.led.example.test" => vec![("_sip._udp.led.example.test.", 1, srv(1, 1, 5060, "lab"))],
            _ => Vec::new(),
        };
        script::bytes(&records(query, &all, 1))
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    std::fs::write(&path, "127.0.0.7 lab.example.test\n").unwrap();
    let mut led = Peer::clone(&scoped("led", "led", PeerKind::UmServer));
    led.port = None;
    let settings = Settings { hosts_file: Some(path), ..settings(&server) };
    let (resolver, mut tables, told) = resolver(settings, set(vec![scoped("lab", "lab", PeerKind::Trunk), Arc::new(led)]));
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    let now = table(&mut tables, SOON, |table| !table.addresses("lab").is_empty()).await;
    assert_eq!((now.addresses("lab"), now.addresses("led").len()), (&[ip("127.0.0.7")][..], 0));
    assert!(names_told(&told).contains(&NameState::Unresolved { error: NameError::OutOfScope }));
}
