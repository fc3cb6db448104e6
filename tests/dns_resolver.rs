//! Locating and peer tables against a real name server on loopback: NAPTR, SRV, both address families, CNAME, TTL, absence, silence.

mod name_server;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hickory_server::proto::op::ResponseCode;
use hickory_server::proto::rr::rdata::CNAME;
use hickory_server::proto::rr::{RData, RecordType};
use name_server::script::{self, Script};
use name_server::{NameServer, a, aaaa, full, ip, names_told, naptr, peer, resolver, set, srv, table};
use portcullis::adapters::dns::{Dnssec, Locator, NameStateWord, Settings};
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::Peer;
use portcullis::signaling::event::{LocateError, LocateQuery};
use portcullis::signaling::fact::{NameError, NameState, What};
use portcullis::sip::Transport;

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
    let now = table(&mut tables, SOON, |table| table.addresses("carrier").len() == 2 && !table.addresses("pbx").is_empty()).await;
    assert_eq!(now.addresses("carrier"), [ip("192.0.2.1"), ip("2001:db8::2")]);
    assert_eq!(now.addresses("pbx"), [ip("203.0.113.80")], "each peer lives where its own way of asking leads");
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
    let all = names_told(&told);
    assert_eq!(all[0], NameState::Fresh { addresses: vec![ip("192.0.2.1")] });
    assert!(matches!(all[1], NameState::Stale { error: NameError::Timeout, grace, .. } if grace == Duration::from_secs(2)), "{all:?}");
    assert_eq!(all[2..], [NameState::Unresolved { error: NameError::Timeout }]);
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
    assert_eq!(names_told(&told).last(), Some(&NameState::Unresolved { error: NameError::Absent }));
}

/// More of them than are asked for at the same time.
#[tokio::test]
async fn one_silent_name_delays_no_other() {
    let server = NameServer::start().await;
    server.add("lively", 60, a("192.0.2.1")).await;
    server.deafen(&["mute"]);
    let settings = Settings { timeout: Duration::from_secs(20), limit: Duration::from_secs(30), ..server.settings() };
    let mut peers: Vec<_> = (0..600).map(|n| peer(&format!("mute{n}"), &format!("mute{n}"), Some(5060), Transport::Udp)).collect();
    peers.push(peer("lively", "lively", Some(5060), Transport::Udp));
    let (resolver, mut tables, _) = resolver(settings, set(peers));
    table(&mut tables, Duration::from_secs(10), |table| !table.addresses("lively").is_empty()).await;
    assert!(!resolver.is_settled(), "the silent ones are still being asked for");
}

#[tokio::test]
async fn a_services_own_name_stands_for_all_its_hosts() {
    let server = NameServer::start().await;
    server.add("_sipinternaltls._tcp.um", 60, srv(1, 1, 5061, "mbx1")).await;
    server.add("_sipinternaltls._tcp.um", 60, srv(1, 1, 5061, "mbx2")).await;
    server.add("mbx1", 30, a("192.0.2.1")).await;
    server.add("mbx2", 90, a("192.0.2.2")).await;
    let owner = "_sipinternaltls._tcp.um";
    let peers = vec![peer("um", owner, None, Transport::Tls), peer("um-5071", owner, Some(5071), Transport::Tls)];
    let (resolver, mut tables, _) = resolver(server.settings(), set(peers));
    let now = table(&mut tables, SOON, |table| table.addresses("um").len() == 2 && table.addresses("um-5071").len() == 2).await;
    assert_eq!(now.at(ip("192.0.2.2")).len(), 2);
    let left: Vec<u64> = resolver.names()[0].addresses.iter().filter_map(|one| one.ttl_left_seconds).collect();
    assert!(left.contains(&29) && left.contains(&59), "each address for as long as all that led to it: {left:?}");
    let locator = Locator::new(server.settings()).unwrap();
    let mut all = located(&locator, query(owner, None, Some(Transport::Tls))).await;
    all.sort();
    assert_eq!(all, ["TLS 192.0.2.1:5061", "TLS 192.0.2.2:5061"]);
}

#[tokio::test]
async fn the_snapshot_tells_how_it_stands_with_each_name() {
    let server = NameServer::start().await;
    server.add("good", 300, a("192.0.2.1")).await;
    server.add("fading", 0, a("192.0.2.2")).await;
    let peers = vec![
        peer("one", "good", Some(5060), Transport::Udp),
        peer("two", "good", Some(5070), Transport::Udp),
        peer("three", "fading", None, Transport::Udp),
        peer("four", "nobody", None, Transport::Tcp),
    ];
    let settings = Settings { floor: Duration::from_secs(1), grace: Duration::from_secs(60), ..server.settings() };
    let (resolver, mut tables, _) = resolver(settings, set(peers));
    table(&mut tables, SOON, |table| !table.addresses("three").is_empty()).await;
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    server.deafen(&["fading"]);
    tokio::time::timeout(SOON, async {
        while resolver.names()[0].state != NameStateWord::Stale {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    let all = resolver.names();
    let [fading, good, nobody] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((&*fading.name, fading.service, fading.peers.len()), ("fading.example.test", Some("udp"), 1));
    assert!(fading.last_error.as_deref().is_some_and(|error| error.starts_with("timeout: ")) && fading.grace_left_seconds.is_some(), "{fading:?}");
    assert_eq!(fading.addresses[0].ttl_left_seconds, Some(0));
    assert_eq!((good.state, good.service, &good.peers[..]), (NameStateWord::Fresh, None, &["one".into(), "two".into()][..]));
    assert!(good.addresses[0].ttl_left_seconds.is_some_and(|left| (290..=300).contains(&left)), "{good:?}");
    assert!(good.next_question_in_seconds.is_some_and(|wait| (200..=270).contains(&wait)), "{good:?}");
    assert_eq!((nobody.state, nobody.addresses.len(), nobody.age_seconds), (NameStateWord::Unresolved, 0, None));
    assert!(nobody.last_error.as_deref().is_some_and(|error| error.starts_with("absent: ")), "{nobody:?}");
}

#[tokio::test]
async fn a_server_that_refuses_or_is_dead_is_passed_over_for_one_that_answers() {
    let server = NameServer::start().await;
    server.add("um", 60, a("192.0.2.1")).await;
    let lame = Script::start(|query, _| script::bytes(&script::code(query, ResponseCode::Refused))).await;
    for first in [lame.address, "127.0.0.1:9".parse().unwrap()] {
        let settings = Settings { servers: vec![first, server.address], ..server.settings() };
        let (_resolver, mut tables, told) = resolver(settings, set(vec![peer("um", "um", Some(5060), Transport::Udp)]));
        table(&mut tables, SOON, |table| !table.addresses("um").is_empty()).await;
        assert_eq!(names_told(&told), [NameState::Fresh { addresses: vec![ip("192.0.2.1")] }]);
    }
    assert!(lame.asked("um") > 0, "the lame one was asked first");
}

/// It costs the first questions their timeout, and then nobody anything.
#[tokio::test]
async fn a_silent_first_server_is_asked_last_after_a_while() {
    let server = NameServer::start().await;
    let silent = Script::start(|_, _| Vec::new()).await;
    let hosts: Vec<String> = (0..10).map(|n| format!("h{n}")).collect();
    for host in &hosts {
        server.add(host, 0, a("192.0.2.1")).await;
    }
    let settings =
        Settings { servers: vec![silent.address, server.address], limit: Duration::from_secs(2), floor: Duration::from_millis(200), ..server.settings() };
    let peers = hosts.iter().map(|host| peer(host, host, Some(5060), Transport::Udp)).collect();
    let (resolver, _, told) = resolver(settings, set(peers));
    tokio::time::timeout(SOON, resolver.settled()).await.unwrap();
    let (before, good) = (silent.asked(""), server.asked("A h"));
    assert!(before > 0);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(silent.asked(""), before, "not asked any more");
    assert!(server.asked("A h") >= good + 30, "the other answers at once");
    assert!(names_told(&told).iter().all(|state| matches!(state, NameState::Fresh { .. })), "{:?}", names_told(&told));
}

#[tokio::test]
async fn records_that_do_not_exist_are_asked_for_no_sooner_than_the_zone_says() {
    let server = NameServer::start().await;
    // The zone's SOA record says one second for what does not exist.
    server.add("v4only", 0, a("192.0.2.1")).await;
    let settings = Settings { floor: Duration::from_millis(100), ..server.settings() };
    let (_resolver, mut tables, _) = resolver(settings, set(vec![peer("p", "v4only", Some(5060), Transport::Udp)]));
    table(&mut tables, SOON, |table| !table.addresses("p").is_empty()).await;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let (v4, v6) = (server.asked("A v4only") - server.asked("AAAA v4only"), server.asked("AAAA v4only"));
    assert!(v4 >= 10 && (2..=4).contains(&v6), "{v4} questions for A, {v6} for AAAA");
}

#[tokio::test]
async fn a_reload_keeps_known_names_and_asks_for_new_ones() {
    let server = NameServer::start().await;
    server.add("old", 3600, a("192.0.2.1")).await;
    server.add("new", 3600, a("192.0.2.1")).await;
    let old = peer("old", "old", Some(5060), Transport::Udp);
    let (resolver, mut tables, _) = resolver(server.settings(), set(vec![Arc::clone(&old)]));
    table(&mut tables, SOON, |table| !table.addresses("old").is_empty()).await;
    server.deafen(&["old"]);
    resolver.policies(set(vec![old, peer("new", "new", Some(5060), Transport::Udp)]));
    let now = table(&mut tables, SOON, |table| !table.addresses("new").is_empty()).await;
    assert_eq!(now.addresses("old"), [ip("192.0.2.1")], "not asked for again");
    resolver.policies(set(Vec::new()));
    table(&mut tables, SOON, |table| table.peers().next().is_none()).await;
}

/// Exchange's event 1175: told when it begins, when what decides changes, and when it ends.
#[tokio::test]
async fn an_address_two_names_come_to_share_is_told_from_its_beginning_to_its_end() {
    let server = NameServer::start().await;
    server.add("still", 3600, a("192.0.2.1")).await;
    server.add("moving", 0, a("192.0.2.2")).await;
    let (still, moving) = (peer("still", "still", Some(5060), Transport::Udp), peer("moving", "moving", Some(5060), Transport::Udp));
    let (resolver, mut tables, told) = resolver(server.settings(), set(vec![Arc::clone(&still), Arc::clone(&moving)]));
    table(&mut tables, SOON, |table| !table.addresses("still").is_empty() && !table.addresses("moving").is_empty()).await;
    server.remove("moving", RecordType::A).await;
    server.add("moving", 0, a("192.0.2.1")).await;
    let now = table(&mut tables, SOON, |table| !table.shared().is_empty()).await;
    let since = now.shared()[0].since.clone().unwrap();
    // A reload that says whom it is meant for.
    let preferring = Arc::new(Peer { prefer: true, ..Peer::clone(&moving) });
    resolver.policies(set(vec![still, preferring]));
    let then = table(&mut tables, SOON, |table| table.peer("moving").is_some_and(|peer| peer.prefer)).await;
    assert_eq!(then.shared()[0].since.as_ref(), Some(&since), "for as long as before");
    server.remove("moving", RecordType::A).await;
    server.add("moving", 0, a("192.0.2.3")).await;
    table(&mut tables, SOON, |table| table.shared().is_empty()).await;
    let sharing: Vec<String> = told
        .lock()
        .unwrap()
        .iter()
        .filter_map(|what| match what {
            What::PeersShareAddress { place, peers, resolution, since: told, .. } if *told == since => {
                Some(format!("{place} {} {}", peers.join(","), resolution.word()))
            }
            What::PeersShareNoMore { place, peers, since: told, .. } if *told == since => Some(format!("{place} {} no more", peers.join(","))),
            _ => None,
        })
        .collect();
    assert_eq!(sharing, ["192.0.2.1/32 still,moving rejected", "192.0.2.1/32 still,moving preferred", "192.0.2.1/32 still,moving no more"]);
}

/// A long TTL of the servers that were asked before must not keep those of another set from being heard.
#[tokio::test]
async fn other_servers_are_asked_at_once_and_what_is_known_holds_until_they_answer() {
    let (first, second) = (NameServer::start().await, NameServer::start().await);
    first.add("um", 3600, a("192.0.2.1")).await;
    second.add("um", 3600, a("192.0.2.2")).await;
    let at = |address: &'static str| move |table: &Arc<PeerTable>| table.addresses("um") == [ip(address)];
    let (resolver, mut tables, _) = resolver(first.settings(), set(vec![peer("um", "um", Some(5060), Transport::Tcp)]));
    table(&mut tables, SOON, at("192.0.2.1")).await;
    let locator = Locator::new(first.settings()).unwrap();
    assert_eq!(located(&locator, query("um", Some(5060), Some(Transport::Tcp))).await, ["TCP 192.0.2.1:5060"]);

    assert!(!resolver.take(&first.settings()).unwrap(), "the same");
    second.deafen(&["um"]);
    assert!(resolver.take(&second.settings()).unwrap());
    while second.asked("um") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    table(&mut tables, SOON, at("192.0.2.1")).await;
    second.deafen(&[]);
    table(&mut tables, SOON, at("192.0.2.2")).await;
    locator.take(&second.settings()).unwrap();
    assert_eq!(located(&locator, query("um", Some(5060), Some(Transport::Tcp))).await, ["TCP 192.0.2.2:5060"], "what was answered before is forgotten");

    let nonsense = Settings { dnssec: Dnssec::Validate, trust_anchor: Some("/nonexistent/anchor".into()), ..first.settings() };
    assert!(resolver.take(&nonsense).is_err() && locator.take(&nonsense).is_err());
    assert_eq!(located(&locator, query("um", Some(5060), Some(Transport::Tcp))).await, ["TCP 192.0.2.2:5060"], "as it was");
}
