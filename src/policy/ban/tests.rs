//! Bans under virtual time.

use super::*;
use crate::policy::settings::{PeerHost, PeerKind, PolicySet, SecurityMode};
use crate::sip::Transport;
use std::net::Ipv4Addr;

const T0: Time = Time::from_millis(1_000_000);

fn table(hosts: &[(&str, &str, PeerStatus)]) -> PeerTable {
    let peers = hosts.iter().map(|(name, host, status)| {
        let host = host.parse().map_or_else(|_| PeerHost::Network(host.parse().unwrap()), PeerHost::Address);
        let peer = Peer::new(name, PeerKind::Trunk, Transport::Tls, SecurityMode::Unsecured);
        Arc::new(Peer { status: *status, hosts: vec![host], ..peer })
    });
    PeerTable::build(1, &PolicySet { peers: peers.collect(), ..PolicySet::default() }, &|_| Vec::new())
}

fn carrier() -> PeerTable {
    table(&[("carrier", "198.51.100.0/24", PeerStatus::Enabled), ("old", "203.0.113.9", PeerStatus::Disabled)])
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

fn seconds(n: u64) -> Time {
    T0 + Duration::from_secs(n)
}

/// How many of `count` knocks, `apart` from one another, went by before the ban.
fn knocks_until_banned(bans: &mut Bans, address: &str, knock: Knock, apart: Duration, count: u32) -> Option<u32> {
    let mut now = T0;
    for n in 0..count {
        match bans.knock(&carrier(), ip(address), knock, now) {
            Answer::Stranger => now = now + apart,
            Answer::BannedNow(_) | Answer::Banned => return Some(n),
        }
    }
    None
}

#[test]
fn a_scan_is_banned_and_a_slow_stranger_is_not() {
    let mut bans = Bans::new(Rules::default());
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.1", Knock::Datagram, Duration::ZERO, 100), Some(20));
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.2", Knock::Datagram, Duration::from_secs(3), 10_000), None);
    assert!(knocks_until_banned(&mut bans, "192.0.2.3", Knock::Datagram, Duration::from_millis(2_900), 10_000).is_some());
    let list = bans.list(T0);
    assert_eq!((list[0].net, &list[0].cause, &list[0].owner), (net("192.0.2.1/32"), &Cause::Scan, &Owner::Border));
    assert_eq!(list[0].left(seconds(60)), Some(Duration::from_secs(540)));
}

#[test]
fn connections_in_quick_succession_are_a_flood() {
    let mut bans = Bans::new(Rules::default());
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.1", Knock::Connection, Duration::from_millis(5), 100), Some(10));
    assert_eq!(bans.list(T0)[0].cause, Cause::HandshakeFlood);
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.2", Knock::Connection, Duration::from_millis(500), 100), Some(23), "too slow for a flood: a scan");
    assert_eq!(bans.list(T0)[1].cause, Cause::Scan);
}

#[test]
fn nothing_is_banned_for_what_is_switched_off() {
    let mut bans = Bans::new(Rules { scan: None, flood: None, ..Rules::default() });
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.1", Knock::Connection, Duration::ZERO, 1_000), None);
}

#[test]
fn a_trusted_source_is_never_banned_however_it_knocks() {
    let mut bans = Bans::new(Rules::default());
    assert_eq!(knocks_until_banned(&mut bans, "198.51.100.7", Knock::Connection, Duration::ZERO, 1_000), None);
    assert!(knocks_until_banned(&mut bans, "203.0.113.9", Knock::Connection, Duration::ZERO, 1_000).is_some(), "a disabled peer is a stranger");
}

#[test]
fn a_ban_ends_by_itself_and_the_counting_begins_anew() {
    let mut bans = Bans::new(Rules::default());
    for _ in 0..21 {
        bans.knock(&carrier(), ip("192.0.2.1"), Knock::Datagram, T0);
    }
    assert!(bans.of(ip("192.0.2.1"), seconds(599)).is_some());
    assert_eq!(bans.knock(&carrier(), ip("192.0.2.1"), Knock::Datagram, seconds(599)), Answer::Banned);
    assert!(bans.of(ip("192.0.2.1"), seconds(600)).is_none());
    assert_eq!(bans.knock(&carrier(), ip("192.0.2.1"), Knock::Datagram, seconds(600)), Answer::Stranger);
}

#[test]
fn a_source_of_ipv6_is_its_64() {
    let mut bans = Bans::new(Rules::default());
    for n in 0..21 {
        bans.knock(&carrier(), ip(&format!("2001:db8::{n:x}")), Knock::Datagram, T0);
    }
    assert_eq!(bans.list(T0)[0].net, net("2001:db8::/64"));
    assert!(bans.of(ip("2001:db8::ffff"), T0).is_some());
    assert!(bans.of(ip("2001:db8:0:1::1"), T0).is_none());
    assert_eq!(bans.lift(net("2001:db8::5/128"), T0).unwrap().len(), 1, "by any of its addresses");
}

#[test]
fn an_operator_bans_a_net_until_a_time_or_for_good() {
    let mut bans = Bans::new(Rules::default());
    bans.order(&carrier(), net("192.0.2.77/24"), "toll fraud\n", "ada", Some(seconds(60)), T0).unwrap();
    bans.order(&carrier(), net("2001:db8::/32"), "", "ada", None, T0).unwrap();
    let list = bans.list(T0);
    assert_eq!(list[0].cause, Cause::Ordered("toll fraud".into()));
    assert_eq!((list[0].net, list[0].owner.to_string()), (net("192.0.2.0/24"), "operator ada".to_owned()));
    assert_eq!((bans.next_end(T0), list[1].left(T0)), (Some(seconds(60)), None));
    assert_eq!(bans.of(ip("::ffff:192.0.2.9"), T0).map(|ban| ban.net), Some(net("192.0.2.0/24")), "IPv4 however it is written");
    assert!(bans.of(ip("192.0.2.9"), seconds(60)).is_none() && bans.of(ip("2001:db8:5::1"), seconds(600_000)).is_some());
    assert_eq!(bans.ordered(seconds(60)).len(), 1);
}

#[test]
fn no_order_touches_a_trusted_address_and_the_refusal_names_the_peer() {
    let mut bans = Bans::new(Rules::default());
    for wide in ["198.51.100.7/32", "198.51.0.0/16", "0.0.0.0/0", "::ffff:198.51.100.7/128"] {
        let refusal = bans.order(&carrier(), net(wide), "", "ada", None, T0).unwrap_err();
        assert!(refusal.to_string().contains("peer \"carrier\" lives there"), "{wide}: {refusal}");
        assert_eq!(refusal.decision().refused, Some(Reason::BanTrusted));
    }
    assert!(bans.list(T0).is_empty());
    bans.order(&carrier(), net("203.0.113.9/32"), "", "ada", None, T0).unwrap();
}

#[test]
fn a_ban_makes_way_for_a_peer() {
    let mut bans = Bans::new(Rules::default());
    bans.order(&carrier(), net("192.0.2.0/24"), "", "ada", None, T0).unwrap();
    bans.order(&carrier(), net("192.0.3.0/24"), "", "ada", None, T0).unwrap();
    for _ in 0..21 {
        bans.knock(&carrier(), ip("192.0.2.1"), Knock::Datagram, T0);
        bans.knock(&carrier(), ip("192.0.9.1"), Knock::Datagram, T0);
    }
    let next = table(&[("new", "192.0.2.1", PeerStatus::Enabled)]);
    let lifted = bans.make_way(&next);
    assert!(lifted.iter().all(|(_, peer)| &*peer.name == "new"));
    assert_eq!(lifted.len(), 1, "the operator's; there was no other, since it was banned already");
    assert!(bans.of(ip("192.0.2.1"), T0).is_none());
    assert_eq!(bans.list(T0).iter().map(|ban| ban.net).collect::<Vec<_>>(), [net("192.0.3.0/24"), net("192.0.9.1/32")]);
}

#[test]
fn only_what_is_banned_is_unbanned_and_the_answer_says_what_covers_it() {
    let mut bans = Bans::new(Rules::default());
    bans.order(&carrier(), net("192.0.2.0/24"), "", "ada", None, T0).unwrap();
    assert_eq!(bans.lift(net("192.0.2.7/32"), T0).unwrap_err().to_string(), "192.0.2.7/32 is banned as part of 192.0.2.0/24: unban that");
    assert_eq!(bans.lift(net("10.0.0.0/8"), T0).unwrap_err().to_string(), "10.0.0.0/8 is not banned");
    assert_eq!(bans.lift(net("192.0.2.9/24"), T0).unwrap().len(), 1);
    assert!(bans.of(ip("192.0.2.7"), T0).is_none());
}

/// One who was unbanned by hand gets a fresh start, not the next ban at the next packet.
#[test]
fn who_is_unbanned_is_counted_from_nothing() {
    let mut bans = Bans::new(Rules::default());
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.1", Knock::Datagram, Duration::ZERO, 100), Some(20));
    bans.lift(net("192.0.2.1/32"), T0).unwrap();
    assert_eq!(knocks_until_banned(&mut bans, "192.0.2.1", Knock::Datagram, Duration::ZERO, 100), Some(20));
}

#[test]
fn ordered_bans_become_disjoint_ranges() {
    let mut bans = Bans::new(Rules::default());
    for wide in ["192.0.2.0/25", "192.0.2.128/25", "192.0.3.0/32", "192.0.2.7/32", "10.0.0.0/8", "10.2.0.0/16", "255.255.255.255/32", "2001:db8::/32"] {
        bans.order(&carrier(), net(wide), "", "ada", None, T0).unwrap();
    }
    let shown: Vec<String> = bans.ordered(T0).iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["10.0.0.0-10.255.255.255", "192.0.2.0-192.0.3.0", "255.255.255.255", "2001:db8::-2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"]);
}

#[test]
fn forged_sources_fill_no_memory_and_orders_have_their_limit() {
    let mut bans = Bans::new(Rules { scan: Some(Rate { count: 1, per: Duration::from_secs(60) }), ..Rules::default() });
    for n in 0..20_000u32 {
        for _ in 0..2 {
            bans.knock(&carrier(), Ipv4Addr::from_bits(0x0a00_0000 + n).into(), Knock::Datagram, T0);
        }
    }
    assert_eq!(bans.automatic.len(), MOST);
    assert!(bans.scans.recent.len() + bans.scans.older.len() <= 2 * COUNTED);
    let later = seconds(600);
    for _ in 0..2 {
        bans.knock(&carrier(), ip("192.0.2.1"), Knock::Datagram, later);
    }
    assert_eq!(bans.list(later).len(), 1, "room is made when bans are over");
    for n in 0..MOST as u32 {
        bans.order(&carrier(), IpNet::from(IpAddr::from(Ipv4Addr::from_bits(0x0b00_0000 + n))), "", "ada", None, later).unwrap();
    }
    assert_eq!(bans.order(&carrier(), net("192.0.2.8/32"), "", "ada", None, later), Err(Refusal::Full));
    bans.order(&carrier(), net("11.0.0.0/32"), "again", "ada", None, later).unwrap();
}
