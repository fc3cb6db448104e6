//! The firewall and a real kernel, each test in a network namespace of its own: what the kernel holds, that nothing else is touched, that it is
//! mended when others break it, and that whatever fails is told of and leaves the border running.

mod nft_rig;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nft_rig::{holds, inside, nft};
use portcullis::adapters::clock::Clock;
use portcullis::adapters::nft::{Change, Firewall, Mode, Ours, Place, Refused, Settings, Tell};
use portcullis::media::control::StreamId;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{Peer, PeerHost, PeerKind, PolicySet, SecurityMode};
use portcullis::signaling::fact::{FirewallEvent, What};
use portcullis::sip::Transport;

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<FirewallEvent>>>);

impl Told {
    fn all(&self) -> Vec<FirewallEvent> {
        self.0.lock().unwrap().clone()
    }

    fn any(&self, is: impl Fn(&FirewallEvent) -> bool) -> bool {
        self.all().iter().any(is)
    }
}

fn table(number: u64, hosts: &[&str]) -> Arc<PeerTable> {
    let host = |host: &&str| host.parse().map_or_else(|_| PeerHost::Network(host.parse().unwrap()), PeerHost::Address);
    let peer = Peer { hosts: hosts.iter().map(host).collect(), ..Peer::new("carrier", PeerKind::Trunk, Transport::Udp, SecurityMode::Unsecured) };
    Arc::new(PeerTable::build(number, &PolicySet { peers: vec![Arc::new(peer)], ..PolicySet::default() }, &|_| Vec::new()))
}

fn on() -> Settings {
    Settings { mode: Mode::On, check: Duration::from_millis(300), ..Settings::default() }
}

async fn attempt(settings: Settings, hosts: &[&str], place: Place) -> (Result<Firewall, Refused>, Told) {
    let told = Told::default();
    let keep = told.clone();
    let ours = Ours {
        listeners: vec![(Transport::Udp, "192.0.2.1:5060".parse().unwrap()), (Transport::Tls, "[2001:db8::1]:5061".parse().unwrap())],
        media: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
        ports: (20_000, 29_999),
        name_servers: vec![5353],
    };
    let report = move |what| match what {
        What::Firewall(event) => keep.0.lock().unwrap().push(event),
        other => panic!("{other:?}"),
    };
    (Firewall::start(settings, &ours, Clock::start(), table(1, hosts), place, report).await, told)
}

async fn start(settings: Settings, hosts: &[&str]) -> (Firewall, Told) {
    let (firewall, told) = attempt(settings, hosts, Place::Ours).await;
    (firewall.unwrap_or_else(|refused| panic!("{refused}")), told)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(10), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn port(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn in_force(told: &Told) -> bool {
    told.any(|event| matches!(event, FirewallEvent::InForce { .. }))
}

fn rebuilt(told: &Told) -> Vec<String> {
    told.all().into_iter().filter_map(|event| if let FirewallEvent::Rebuilt { missing, .. } = event { Some(missing) } else { None }).collect()
}

#[tokio::test]
async fn the_kernel_holds_the_peers_and_follows_them() {
    if !inside("the_kernel_holds_the_peers_and_follows_them") {
        return;
    }
    let (firewall, told) = start(on(), &["198.51.100.1", "10.0.0.0/24", "2001:db8:7::/48"]).await;
    assert!(in_force(&told) && firewall.status().kernel.in_force, "{:?}", told.all());
    assert!(holds("udp4", "198.51.100.1") && holds("udp4_nets", "10.0.0.255") && holds("udp6_nets", "2001:db8:7::9"));
    assert_eq!(nft("list chain inet portcullis media6").matches("udp sport").count(), 2, "answers of name servers on either port");
    let next = table(2, &["198.51.100.2", "10.0.0.128/25", "10.0.1.0/24", "0.0.0.0/32"]);
    firewall.admit(next.clone()).await;
    assert!(holds("udp4", "198.51.100.1") && holds("udp4", "198.51.100.2") && holds("udp4", "0.0.0.0"), "added, none removed");
    assert!(holds("udp4_nets", "10.0.0.1") && holds("udp4_nets", "10.0.1.255"));
    firewall.retire(next).await;
    assert!(!holds("udp4", "198.51.100.1") && holds("udp4", "198.51.100.2"), "exactly the table");
    assert!(!holds("udp4_nets", "10.0.0.127") && holds("udp4_nets", "10.0.0.128") && holds("udp4_nets", "10.0.1.255") && !holds("udp4_nets", "10.0.2.0"));
    assert!(!nft("list set inet portcullis udp6_nets").contains("elements"));
    // The edges of the address space, where an interval has no end.
    let all = table(3, &["0.0.0.0/0", "::/0"]);
    firewall.admit(all.clone()).await;
    firewall.retire(all).await;
    for (set, address) in
        [("udp4_nets", "0.0.0.0"), ("udp4_nets", "255.255.255.255"), ("udp6_nets", "::"), ("udp6_nets", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")]
    {
        assert!(holds(set, address), "{set} {address}");
    }
    assert_eq!(rebuilt(&told), Vec::<String>::new(), "all of it by transactions that the kernel took");
}

#[tokio::test]
async fn a_thousand_addresses_change_in_one_transaction() {
    if !inside("a_thousand_addresses_change_in_one_transaction") {
        return;
    }
    // Every second address, so that none touch and each is an element of its own.
    let spread = |third: u8| -> Vec<String> { (0..1_000).map(|n| format!("10.{third}.{}.{}", n / 125, n % 125 * 2)).collect() };
    let (before, after) = (spread(1), spread(2));
    let (firewall, told) = start(on(), &before.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let held = || nft("list set inet portcullis udp4").matches("10.").count();
    assert_eq!(held(), 1_000);
    let next = table(2, &after.iter().map(String::as_str).collect::<Vec<_>>());
    firewall.admit(next.clone()).await;
    assert_eq!(held(), 2_000);
    firewall.retire(next).await;
    assert_eq!((held(), holds("udp4", "10.2.7.248"), holds("udp4", "10.1.7.248")), (1_000, true, false));
    assert_eq!(rebuilt(&told), Vec::<String>::new());
}

#[tokio::test]
async fn what_others_have_in_the_kernel_is_not_touched() {
    if !inside("what_others_have_in_the_kernel_is_not_touched") {
        return;
    }
    nft("add table inet other; add set inet other good { type ipv4_addr; }; add element inet other good { 192.0.2.9 }; \
         add chain inet other input { type filter hook input priority 0; policy accept; }; add rule inet other input ip saddr @good counter accept; \
         add table ip portcullis; add chain ip portcullis mine");
    let others = || nft("list table inet other") + &nft("list table ip portcullis");
    let before = others();
    let (firewall, _told) = start(on(), &["198.51.100.1"]).await;
    firewall.ban("203.0.113.0/24".parse().unwrap(), "", "ada", None).await.unwrap();
    firewall.admit(table(2, &["198.51.100.2"])).await;
    firewall.retire(table(2, &["198.51.100.2"])).await;
    nft("delete table inet portcullis");
    until("rebuilt", || firewall.status().kernel.rebuilt == 1).await;
    assert_eq!(others(), before);
    firewall.stop().await;
    assert_eq!(others(), before);
    assert_eq!(nft("list tables").lines().count(), 2, "ours is gone");
}

#[tokio::test]
async fn a_foreign_flush_is_repaired_with_everything_in_it() {
    if !inside("a_foreign_flush_is_repaired_with_everything_in_it") {
        return;
    }
    let settings = Settings { check: Duration::from_secs(3600), ..on() };
    let (firewall, told) = start(settings, &["198.51.100.1", "10.0.0.0/8"]).await;
    firewall.ban("203.0.113.0/24".parse().unwrap(), "", "ada", None).await.unwrap();
    firewall.media_opened(StreamId(1), vec![port("192.0.2.1:20000"), port("[2001:db8::1]:20002")]);
    // As the kernel's own rule would.
    nft("add element inet portcullis scan4 { 192.0.2.66 timeout 10m expires 5m }");
    until("the kernel's ban is seen", || firewall.bans().iter().any(|ban| ban.owner == "kernel" && ban.net == "192.0.2.66/32" && ban.cause == "scan")).await;
    let flushed = Instant::now();
    nft("flush ruleset");
    until("repaired", || rebuilt(&told) == ["the whole table"]).await;
    eprintln!("repaired {:?} after the flush", flushed.elapsed());
    assert!(holds("udp4", "198.51.100.1") && holds("udp4_nets", "10.9.9.9") && holds("ban4", "203.0.113.77"));
    assert!(holds("media4", "192.0.2.1 . 20000") && holds("media6", "2001:db8::1 . 20002"));
    let listed = nft("list set inet portcullis scan4");
    assert!(listed.contains("192.0.2.66") && listed.contains("expires 4m"), "with the time it had left: {listed}");
}

#[tokio::test]
async fn rules_and_elements_taken_out_by_others_come_back() {
    if !inside("rules_and_elements_taken_out_by_others_come_back") {
        return;
    }
    let (firewall, told) = start(on(), &["198.51.100.1", "198.51.100.9"]).await;
    nft("flush chain inet portcullis input");
    until("the rules", || rebuilt(&told) == ["some of its chains or rules"]).await;
    assert!(nft("list chain inet portcullis input").contains("jump udp4"));
    nft("delete element inet portcullis udp4 { 198.51.100.9 }; add element inet portcullis udp4 { 192.0.2.77 }");
    until("the elements", || rebuilt(&told).len() == 2).await;
    assert_eq!(rebuilt(&told)[1], "udp4: 1 missing, 1 too many");
    assert!(holds("udp4", "198.51.100.9") && !holds("udp4", "192.0.2.77"));
    nft("add table inet portcullis { flags dormant; }");
    until("it is awake", || rebuilt(&told).len() == 3).await;
    assert!(!nft("list table inet portcullis").contains("dormant"));
    // An element that is to be removed is gone already: the transaction fails, and everything is loaded anew.
    nft("delete element inet portcullis udp4 { 198.51.100.9 }");
    firewall.retire(table(2, &["198.51.100.1"])).await;
    assert!(holds("udp4", "198.51.100.1") && firewall.status().kernel.in_force);
}

#[tokio::test]
async fn media_ports_are_open_while_their_stream_is() {
    if !inside("media_ports_are_open_while_their_stream_is") {
        return;
    }
    let (firewall, told) = start(on(), &["198.51.100.1"]).await;
    for n in 0..300u16 {
        firewall.media_opened(StreamId(u64::from(n)), (0..4).map(|k| port(&format!("192.0.2.1:{}", 20_000 + n * 4 + k))).collect());
    }
    until("all are open", || nft("list set inet portcullis media4").matches("192.0.2.1 .").count() == 1_200).await;
    for n in 0..300u16 {
        firewall.media_closed(StreamId(u64::from(n)));
    }
    firewall.media_closed(StreamId(7_777));
    until("all are shut", || !nft("list set inet portcullis media4").contains("elements")).await;
    assert_eq!(rebuilt(&told), Vec::<String>::new());
    // Somebody took an open port out: it comes back, and closing it later is no trouble.
    firewall.media_opened(StreamId(1), vec![port("192.0.2.1:20000")]);
    until("open", || holds("media4", "192.0.2.1 . 20000")).await;
    nft("flush set inet portcullis media4");
    until("open again", || holds("media4", "192.0.2.1 . 20000")).await;
    firewall.media_closed(StreamId(1));
    until("shut", || !holds("media4", "192.0.2.1 . 20000")).await;
}

#[tokio::test]
async fn bans_reach_the_kernel_and_leave_it() {
    if !inside("bans_reach_the_kernel_and_leave_it") {
        return;
    }
    let (firewall, told) = start(on(), &["198.51.100.0/24"]).await;
    assert!(firewall.ban("198.51.100.7/32".parse().unwrap(), "", "ada", None).await.is_err());
    firewall.ban("203.0.113.0/24".parse().unwrap(), "toll fraud", "ada", None).await.unwrap();
    firewall.ban("2001:db8:bad::/48".parse().unwrap(), "", "ada", Some(Duration::from_millis(1_500))).await.unwrap();
    assert!(holds("ban4", "203.0.113.255") && holds("ban6", "2001:db8:bad::1") && !holds("ban4", "198.51.100.7"));
    until("over by itself", || !holds("ban6", "2001:db8:bad::1")).await;
    assert!(holds("ban4", "203.0.113.255"));
    firewall.unban("203.0.113.0/24".parse().unwrap(), "ada").await.unwrap();
    assert!(!holds("ban4", "203.0.113.255"));
    // Of the kernel's making: lifted in every set, and gone where a peer comes to live.
    nft(
        "add element inet portcullis scan4 { 192.0.2.66, 192.0.2.67 }; add element inet portcullis flood6 { 2001:db8:5:: }; add element inet portcullis knocks4 { 192.0.2.66 }",
    );
    until("seen", || firewall.bans().len() == 3).await;
    assert_eq!(firewall.unban("192.0.2.66/32".parse().unwrap(), "ada").await.unwrap()[0].owner, "kernel");
    assert_eq!(firewall.unban("2001:db8:5::77/128".parse().unwrap(), "ada").await.unwrap()[0].cause, "handshake_flood");
    assert!(!holds("scan4", "192.0.2.66") && !holds("knocks4", "192.0.2.66") && !holds("flood6", "2001:db8:5::"));
    assert!(firewall.unban("192.0.2.66/32".parse().unwrap(), "ada").await.is_err());
    firewall.admit(table(2, &["198.51.100.0/24", "192.0.2.67"])).await;
    assert!(!holds("scan4", "192.0.2.67") && firewall.bans().is_empty());
    assert!(told.any(|event| matches!(event, FirewallEvent::Unbanned { why, .. } if why == "peer \"carrier\" lives there now")));
}

/// A program in nft's place, written by another process: one that a test here forks meanwhile would keep it from being run.
fn program(folder: &Path, script: &str) -> PathBuf {
    let path = folder.join("nft");
    let write = "printf '%s\\n' '#!/bin/sh' \"$2\" >\"$1.new\" && chmod 755 \"$1.new\" && mv \"$1.new\" \"$1\"";
    assert!(Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(script).status().unwrap().success());
    path
}

#[tokio::test]
async fn a_broken_nft_is_told_of_and_tried_again() {
    if !inside("a_broken_nft_is_told_of_and_tried_again") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for script in ["cat >/dev/null; echo 'Error: set: File exists' >&2; exit 1", "kill -9 $$", "exit 0"] {
        let settings = Settings { program: Some(program(folder.path(), script)), ..on() };
        let (firewall, told) = start(settings, &["198.51.100.1"]).await;
        assert!(told.any(|event| matches!(event, FirewallEvent::NotInForce { retry: Some(_), .. })), "{script}: {:?}", told.all());
        assert!(!firewall.status().kernel.in_force && firewall.status().kernel.last_error.is_some());
        // The border goes on: what is asked meanwhile is done where it can be, and is in the kernel once that works.
        firewall.ban("203.0.113.0/24".parse().unwrap(), "", "ada", None).await.unwrap();
        firewall.admit(table(2, &["198.51.100.2"])).await;
        firewall.media_opened(StreamId(1), vec![port("192.0.2.1:20000")]);
        assert_eq!(firewall.bans().len(), 1);
        program(folder.path(), "exec nft \"$@\"");
        until("in force", || in_force(&told)).await;
        assert!(holds("udp4", "198.51.100.2") && holds("ban4", "203.0.113.1") && holds("media4", "192.0.2.1 . 20000"));
    }
}

/// A table that an earlier, killed process has left would drop today's peers, if it can be neither replaced nor kept in step.
#[tokio::test]
async fn a_stale_table_is_taken_out_where_no_new_one_can_be_loaded() {
    if !inside("a_stale_table_is_taken_out_where_no_new_one_can_be_loaded") {
        return;
    }
    nft("add table inet portcullis; add chain inet portcullis input { type filter hook input priority 0; policy drop; }");
    let (firewall, told) = start(Settings { program: Some("/nowhere/nft".into()), ..on() }, &["198.51.100.1"]).await;
    assert!(!nft("list tables").contains("portcullis"));
    let why = told.all();
    assert!(matches!(&why[0], FirewallEvent::NotInForce { remedy, .. } if remedy.starts_with("install nftables")), "{why:?}");
    drop(firewall);
}

/// It was loaded once; then it is lost, and cannot be loaded again.
#[tokio::test]
async fn a_lost_table_that_cannot_be_rebuilt_is_told_of_and_comes_back_later() {
    if !inside("a_lost_table_that_cannot_be_rebuilt_is_told_of_and_comes_back_later") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { program: Some(program(folder.path(), "exec nft \"$@\"")), ..on() };
    let (firewall, told) = start(settings, &["198.51.100.1"]).await;
    program(folder.path(), "exit 1");
    nft("flush ruleset");
    until("told", || told.any(|event| matches!(event, FirewallEvent::NotInForce { .. }))).await;
    assert!(!firewall.status().kernel.in_force);
    program(folder.path(), "exec nft \"$@\"");
    until("back", || firewall.status().kernel.in_force).await;
    assert!(holds("udp4", "198.51.100.1"));
}

#[tokio::test]
async fn required_refuses_what_on_goes_without() {
    if !inside("required_refuses_what_on_goes_without") {
        return;
    }
    let required = Settings { mode: Mode::Required, program: Some("/nowhere/nft".into()), ..on() };
    let (refused, told) = attempt(required, &["198.51.100.1"], Place::Ours).await;
    let refused = refused.err().map(|refused| refused.to_string()).unwrap_or_default();
    assert!(refused.contains("mode = \"required\"") && refused.contains("/nowhere/nft") && refused.contains("install nftables"), "{refused}");
    assert_eq!(told.all(), []);
    let (firewall, told) = start(Settings { mode: Mode::Required, ..on() }, &["198.51.100.1"]).await;
    assert!(in_force(&told));
    firewall.stop().await;
    assert_eq!(nft("list tables"), "");
}

#[tokio::test]
async fn the_table_leaves_with_the_border_unless_it_is_to_stay() {
    if !inside("the_table_leaves_with_the_border_unless_it_is_to_stay") {
        return;
    }
    let (firewall, told) = start(on(), &["198.51.100.1"]).await;
    let clone = firewall.clone();
    drop(firewall);
    assert!(holds("udp4", "198.51.100.1"), "somebody has it still");
    drop(clone);
    assert_eq!(nft("list tables"), "", "dropped without a stop");
    assert!(told.any(|event| matches!(event, FirewallEvent::Removed { .. })));
    let (firewall, _told) = start(Settings { keep_on_stop: true, table: "kept".into(), ..on() }, &["198.51.100.1"]).await;
    firewall.stop().await;
    drop(firewall);
    assert_eq!(nft("list tables"), "table inet kept\n");
}

#[tokio::test]
async fn a_reload_changes_the_structure() {
    if !inside("a_reload_changes_the_structure") {
        return;
    }
    let (firewall, _told) = start(on(), &["198.51.100.1"]).await;
    firewall.media_opened(StreamId(1), vec![port("192.0.2.1:20000")]);
    let ours = Ours {
        listeners: vec![(Transport::Tcp, port("192.0.2.1:5070"))],
        media: vec!["192.0.2.5".parse().unwrap()],
        ports: (30_000, 30_999),
        ..Ours::default()
    };
    firewall.reload(&Settings { notrack: true, ..on() }, &ours).await;
    let listed = nft("list table inet portcullis");
    assert!(listed.contains("ip daddr 192.0.2.5 udp dport 30000-30999 jump media4") && listed.contains("notrack"), "{listed}");
    assert!(!listed.contains("5060") && holds("udp4", "198.51.100.1") && holds("media4", "192.0.2.1 . 20000"));
}

#[tokio::test]
async fn two_borders_with_one_table_end_their_quarrel() {
    if !inside("two_borders_with_one_table_end_their_quarrel") {
        return;
    }
    let (one, told_one) = start(on(), &["198.51.100.1"]).await;
    let (two, told_two) = start(on(), &["198.51.100.2"]).await;
    let gave_up = |told: &Told| told.any(|event| matches!(event, FirewallEvent::NotInForce { remedy, .. } if remedy.contains("table = ")));
    until("one of them leaves it to the other", || gave_up(&told_one) || gave_up(&told_two)).await;
    assert!(rebuilt(&told_one).len() <= 5 && rebuilt(&told_two).len() <= 5, "{:?} {:?}", told_one.all(), told_two.all());
    until("which has it", || one.status().kernel.in_force != two.status().kernel.in_force).await;
    let holder = if one.status().kernel.in_force { "198.51.100.1" } else { "198.51.100.2" };
    until("whole", || holds("udp4", holder)).await;
    // Who has given up takes nothing out when it stops.
    let (holding, other) = if one.status().kernel.in_force { (one, two) } else { (two, one) };
    other.stop().await;
    assert!(holds("udp4", holder));
    holding.stop().await;
    assert_eq!(nft("list tables"), "");
}

/// What a process that has left tells, carried to the one that keeps the table.
fn carried(to: &Firewall) -> Tell {
    let to = to.clone();
    Arc::new(move |changes: &[Change]| {
        to.let_others(changes.to_vec());
        true
    })
}

#[tokio::test]
async fn one_process_takes_the_table_of_another_and_lets_in_what_its_calls_need() {
    if !inside("one_process_takes_the_table_of_another_and_lets_in_what_its_calls_need") {
        return;
    }
    let (old, old_told) = start(on(), &["198.51.100.1", "10.0.0.0/25"]).await;
    old.media_opened(StreamId(1), vec![port("192.0.2.1:20000")]);
    old.media_opened(StreamId(2), vec![port("192.0.2.1:20004")]);
    old.ban("203.0.113.0/24".parse().unwrap(), "toll fraud", "ada", None).await.unwrap();
    nft("add element inet portcullis flood4 { 192.0.2.66 timeout 10m expires 5m }");
    until("its ports", || holds("media4", "192.0.2.1 . 20004")).await;
    // But for the time that is left of bans.
    let listed = || nft("list table inet portcullis").lines().filter(|line| !line.contains("expires")).map(str::to_owned).collect::<Vec<_>>();
    let before = listed();

    // The peers of the new process are others, and so is its table's name.
    let settings = Settings { table: "second".into(), ..on() };
    let (new, new_told) = attempt(settings, &["198.51.100.2", "10.0.0.128/25"], Place::Anothers).await;
    let new = new.unwrap();
    new.media_opened(StreamId(1), vec![port("192.0.2.1:20008")]);
    assert!(!in_force(&new_told) && nft("list tables").lines().count() == 1, "it looks on");
    assert_eq!(listed(), before);

    let bans = old.leave(Some(carried(&new))).await;
    assert_eq!(listed(), before, "whoever leaves leaves it as it is");
    assert_eq!(old.bans(), []);
    new.take(Some("portcullis".into()), bans).await;
    assert_eq!(nft("list tables").trim(), "table inet second");
    let has = |set: &str, element: &str| {
        Command::new("nft").args(["get", "element", "inet", "second", set, &format!("{{ {element} }}")]).output().unwrap().status.success()
    };
    assert!(has("udp4", "198.51.100.1") && has("udp4", "198.51.100.2") && has("udp4_nets", "10.0.0.0-10.0.0.255"), "the peers of either");
    assert!(has("media4", "192.0.2.1 . 20000") && has("media4", "192.0.2.1 . 20004") && has("media4", "192.0.2.1 . 20008"), "the ports of either");
    assert!(has("ban4", "203.0.113.9") && has("flood4", "192.0.2.66"), "operators' bans and the kernel's");
    let listed = new.bans();
    assert!(listed.iter().any(|ban| ban.net == "203.0.113.0/24" && ban.why == "toll fraud" && ban.owner == "operator ada"), "{listed:?}");
    assert!(listed.iter().any(|ban| ban.net == "192.0.2.66/32" && ban.owner == "kernel" && ban.left_seconds.is_some_and(|left| left <= 300)), "{listed:?}");

    // A call of the old process ends, another one of its calls gets new ports.
    old.media_closed(StreamId(1));
    old.media_opened(StreamId(3), vec![port("192.0.2.1:20012")]);
    until("its ports follow", || has("media4", "192.0.2.1 . 20012") && !has("media4", "192.0.2.1 . 20000")).await;
    // A peer that only the old process knows goes for the old process too.
    old.retire(table(2, &["10.0.0.0/25"])).await;
    until("its peers follow", || !has("udp4", "198.51.100.1")).await;
    new.unban("203.0.113.0/24".parse().unwrap(), "ada").await.unwrap();
    old.stop().await;
    assert!(!has("ban4", "203.0.113.9") && has("media4", "192.0.2.1 . 20012"), "the one that has left takes nothing away");
    new.be_alone();
    until("the old process's needs end with it", || !has("media4", "192.0.2.1 . 20012") && !has("media4", "192.0.2.1 . 20004")).await;
    assert!(has("media4", "192.0.2.1 . 20008") && !has("udp4_nets", "10.0.0.1") && has("udp4_nets", "10.0.0.129"));
    assert_eq!((rebuilt(&old_told), rebuilt(&new_told)), (Vec::new(), Vec::new()), "neither took the other for a stranger");
}

#[tokio::test]
async fn a_process_that_had_left_takes_the_table_back() {
    if !inside("a_process_that_had_left_takes_the_table_back") {
        return;
    }
    let (old, _) = start(on(), &["198.51.100.1"]).await;
    old.ban("203.0.113.0/24".parse().unwrap(), "", "ada", None).await.unwrap();
    let (new, _) = attempt(on(), &["198.51.100.2"], Place::Anothers).await;
    let new = new.unwrap();
    let bans = old.leave(Some(carried(&new))).await;
    new.take(Some("portcullis".into()), bans).await;
    assert!(holds("udp4", "198.51.100.1") && holds("udp4", "198.51.100.2"));
    old.media_opened(StreamId(1), vec![port("192.0.2.1:20000")]);
    until("told", || holds("media4", "192.0.2.1 . 20000")).await;
    // It ends as a program does that was told to: the table goes with it.
    new.stop().await;
    assert!(!holds("udp4", "198.51.100.1"));
    old.come_back().await;
    assert!(holds("udp4", "198.51.100.1") && !holds("udp4", "198.51.100.2") && holds("media4", "192.0.2.1 . 20000") && holds("ban4", "203.0.113.9"));
    assert_eq!(old.bans().len(), 1);
    // Where the new process is to do without a firewall, the table goes.
    old.leave(None).await;
    assert_eq!(nft("list tables").trim(), "");
}

#[tokio::test]
async fn a_process_that_could_not_keep_the_table_does_not_take_it() {
    if !inside("a_process_that_could_not_keep_the_table_does_not_take_it") {
        return;
    }
    let (_old, _) = start(on(), &["198.51.100.1"]).await;
    let settings = Settings { program: Some("/nowhere/nft".into()), ..on() };
    let (new, _) = attempt(settings, &["198.51.100.2"], Place::Anothers).await;
    let refused = new.err().map(|refused| refused.to_string()).unwrap_or_default();
    assert!(refused.contains("is to be taken over") && refused.contains("nft"), "{refused}");
    assert!(holds("udp4", "198.51.100.1"));
}
