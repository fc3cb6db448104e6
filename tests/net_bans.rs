//! Bans at the doors of this process, on loopback: who scans or floods is dropped without a word, a peer never is, operators ban and unban.

mod net_border;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use net_border::*;
use portcullis::adapters::clock::Clock;
use portcullis::adapters::net::NetEvent;
use portcullis::adapters::nft::{Firewall, Ours, Place, Settings};
use portcullis::app::firewall::Doors;
use portcullis::signaling::fact::{FirewallEvent, What};
use portcullis::sip::Transport::{Tcp, Udp};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpSocket, UdpSocket};

type Told = Arc<Mutex<Vec<String>>>;

/// A border with UDP and TCP, one UDP peer, and its firewall; what the firewall tells is kept.
async fn guarded() -> (Border, Firewall, Told) {
    let border = Border::open(&[(Udp, V4), (Tcp, V4)], &[peer("phone", Udp, "127.0.0.1".parse().unwrap(), &[])]).await;
    let told = Told::default();
    let keep = Arc::clone(&told);
    let firewall = Firewall::start(Settings::default(), &Ours::default(), Clock::start(), border.table.load_full(), Place::Ours, move |what| {
        let line = match what {
            What::Firewall(FirewallEvent::Banned(ban)) => format!("banned {} {} {}", ban.net, ban.cause.code(), ban.owner),
            What::Firewall(FirewallEvent::Unbanned { ban, why }) => format!("unbanned {} {why}", ban.net),
            other => format!("{other:?}"),
        };
        keep.lock().unwrap().push(line);
    })
    .await
    .unwrap();
    border.network.guarded_by(Arc::new(Doors(firewall.clone())));
    (border, firewall, told)
}

fn said(told: &Told) -> Vec<String> {
    told.lock().unwrap().clone()
}

async fn datagrams(from: &str, to: SocketAddr, count: u64) {
    let socket = UdpSocket::bind((from.parse::<IpAddr>().unwrap(), 0)).await.unwrap();
    for n in 0..count {
        socket.send_to(&request(n), to).await.unwrap();
    }
}

/// Opens connections that the border closes.
async fn connections(from: &str, to: SocketAddr, count: usize) {
    for _ in 0..count {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from.parse::<IpAddr>().unwrap(), 0).into()).unwrap();
        let mut stream = socket.connect(to).await.unwrap();
        let _ = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("closed in time");
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

#[tokio::test]
async fn who_scans_is_dropped_without_a_word() {
    let (mut border, firewall, told) = guarded().await;
    datagrams("127.0.0.2", border.address(0), 50).await;
    until("all seen", || border.network.counts().strangers_udp + border.network.counts().banned == 50).await;
    assert_eq!(border.network.counts().strangers_udp, 20, "then it was banned");
    assert_eq!(said(&told), ["banned 127.0.0.2/32 scan border"]);
    assert_eq!(firewall.status().bans, 1);
    while let Ok(event) = border.events.try_recv() {
        assert!(matches!(event, NetEvent::Stranger { .. }), "{event:?}");
    }
    connections("127.0.0.2", border.address(1), 2).await;
    until("banned over TCP as well", || border.network.counts().banned == 32).await;
    border.quiet().await;
    assert_eq!(border.network.counts().strangers_tcp, 0);
    let shown = &firewall.bans()[0];
    assert_eq!((shown.net.as_str(), shown.cause, shown.owner.as_str()), ("127.0.0.2/32", "scan", "border"));
    assert!(shown.left_seconds.is_some_and(|left| (590..=600).contains(&left)), "{shown:?}");
}

#[tokio::test]
async fn a_peer_that_scans_as_hard_is_served_on() {
    let (mut border, firewall, told) = guarded().await;
    // At the wrong door it is a stranger, and at its own it is heard after that.
    connections("127.0.0.1", border.address(1), 40).await;
    until("all seen", || border.network.counts().strangers_tcp == 40).await;
    assert_eq!((said(&told), border.network.counts().banned), (Vec::<String>::new(), 0));
    assert_eq!(firewall.bans(), []);
    while border.events.try_recv().is_ok() {}
    datagrams("127.0.0.1", border.address(0), 1).await;
    assert_eq!(border.received().await.1, request(0));
}

#[tokio::test]
async fn connections_in_a_flood_are_banned_as_that() {
    let (border, _firewall, told) = guarded().await;
    connections("127.0.0.3", border.address(1), 12).await;
    until("told", || !said(&told).is_empty()).await;
    assert_eq!(said(&told), ["banned 127.0.0.3/32 handshake_flood border"]);
}

#[tokio::test]
async fn operators_ban_and_unban_but_no_peer() {
    let (border, firewall, told) = guarded().await;
    let refused = firewall.ban("127.0.0.0/8".parse().unwrap(), "", "ada", None).await.unwrap_err();
    assert!(refused.to_string().contains("peer \"phone\" lives there"), "{refused}");
    firewall.ban("127.0.0.4/32".parse().unwrap(), "toll fraud", "ada", None).await.unwrap();
    datagrams("127.0.0.4", border.address(0), 3).await;
    until("dropped", || border.network.counts().banned == 3).await;
    assert_eq!(firewall.bans()[0].why, "toll fraud");
    firewall.unban("127.0.0.4/32".parse().unwrap(), "bob").await.unwrap();
    datagrams("127.0.0.4", border.address(0), 3).await;
    until("a stranger again", || border.network.counts().strangers_udp == 3).await;
    assert_eq!(said(&told), ["banned 127.0.0.4/32 ordered operator ada", "unbanned 127.0.0.4/32 by operator bob"]);
}

#[tokio::test]
async fn who_becomes_a_peer_is_unbanned() {
    let (mut border, firewall, told) = guarded().await;
    datagrams("127.0.0.5", border.address(0), 30).await;
    until("banned", || firewall.status().bans == 1).await;
    let next = Arc::new(table(2, &[peer("new", Udp, "127.0.0.5".parse().unwrap(), &[])]));
    firewall.admit(next.clone()).await;
    border.table.store(next);
    assert_eq!(said(&told).last().map(String::as_str), Some("unbanned 127.0.0.5/32 peer \"new\" lives there now"));
    until("all seen", || border.network.counts().strangers_udp + border.network.counts().banned == 30).await;
    while border.events.try_recv().is_ok() {}
    datagrams("127.0.0.5", border.address(0), 1).await;
    assert_eq!(border.received().await.1, request(0));
}
