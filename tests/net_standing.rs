//! Open connections of peers that are peers no longer: what still crosses them, what no longer does, and that they end; all others go on.

mod net_border;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use net_border::stage::{Handshakes, Stage};
use net_border::*;
use portcullis::adapters::net::{Limits, ListenerSettings, NetEvent, Network, Settings};
use portcullis::policy::flow::{Flow, ListenerId};
use portcullis::policy::settings::{Peer, PeerStatus};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Route, TransmitId};
use portcullis::sip::Transport::{Tcp, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

const QUIET: Duration = Duration::from_millis(300);

fn limits() -> Limits {
    Limits { leave: Duration::from_secs(3), leave_quiet: QUIET, ..Limits::default() }
}

async fn tcp_border(limits: Limits) -> Border {
    Border::with(&[(Tcp, V4)], &[peer("pbx", Tcp, V4, &[])], limits, portcullis::adapters::tls::Settings::default()).await
}

fn message(n: u64, method: &str) -> Vec<u8> {
    format!(
        "{method} sip:um@example.org SIP/2.0\r\nVia: SIP/2.0/TCP pbx.example.org;branch=z9hG4bK{n}\r\nFrom: <sip:pbx@example.org>;tag={n}\r\nTo: <sip:um@example.org>\r\n\
         Call-ID: {n}@example.org\r\nCSeq: {n} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
    .into_bytes()
}

async fn reads(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut buffer = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").unwrap_or(0);
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

impl Border {
    /// The table as it is from now on, and every open connection held to it.
    fn takes(&self, number: u64, peers: &[Peer]) {
        self.table.store(Arc::new(table(number, peers)));
        self.network.recheck();
    }
}

async fn untrusted(events: &mut mpsc::Receiver<NetEvent>) -> (Arc<Flow>, bool, Option<Reason>) {
    match timeout(PATIENCE, events.recv()).await.expect("in time").expect("open") {
        NetEvent::Untrusted { party, decision } => (party.flow, party.outbound, decision.refused),
        other => panic!("{other:?}"),
    }
}

/// That this connection is closed, and nothing else happens.
async fn parted(events: &mut mpsc::Receiver<NetEvent>, of: &Flow) {
    for closed in [false, true] {
        match timeout(PATIENCE, events.recv()).await.expect("in time").expect("open") {
            NetEvent::Parted { party } if !closed => assert_eq!(party.flow.id, of.id),
            NetEvent::FlowClosed { flow } if closed => assert_eq!(flow, of.id),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_idle_connection_of_a_removed_peer_is_closed() {
    let mut border = tcp_border(limits()).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    let flow = border.received().await.0;
    border.send(1, Route::Flow { id: flow.id, otherwise: None }, &response(1));
    assert!(reads(&mut stream).await.starts_with("SIP/2.0 200"));
    border.takes(2, &[peer("other", Tcp, V6, &[])]);
    let (left, outbound, reason) = untrusted(&mut border.events).await;
    assert_eq!((left.id, outbound, reason), (flow.id, false, Some(Reason::StrangerAddress)));
    // Not a byte has to be sent for it.
    assert_eq!(reads(&mut stream).await, "");
    parted(&mut border.events, &flow).await;
    assert_eq!(border.network.connections(), 0);
}

#[tokio::test]
async fn a_connection_we_made_to_a_removed_peer_is_closed_and_another_is_not() {
    let mut border =
        Border::with(&[(Tcp, V4)], &[peer("pbx", Tcp, V4, &[]), peer("other", Tcp, "127.0.0.9".parse().unwrap(), &[])], limits(), Default::default()).await;
    let servers = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.9:0").await.unwrap()];
    let mut streams = Vec::new();
    for (n, (server, name)) in (1..).zip(servers.iter().zip(["pbx", "other"])) {
        border.send(n, Route::Connect(connect(Tcp, server.local_addr().unwrap(), name, &[])), &request(n));
        let mut stream = server.accept().await.unwrap().0;
        assert!(reads(&mut stream).await.starts_with("OPTIONS"));
        stream.write_all(&response(n)).await.unwrap();
        border.received().await;
        streams.push(stream);
    }
    // Disabled is as good as gone.
    let disabled = Peer { status: PeerStatus::Disabled, ..peer("pbx", Tcp, V4, &[]) };
    border.takes(2, &[disabled, peer("other", Tcp, "127.0.0.9".parse().unwrap(), &[])]);
    let (left, outbound, reason) = untrusted(&mut border.events).await;
    assert_eq!((left.remote, outbound, reason), (servers[0].local_addr().unwrap(), true, Some(Reason::PeerDisabled)));
    assert_eq!(reads(&mut streams[0]).await, "");
    parted(&mut border.events, &left).await;
    border.send(9, Route::Connect(connect(Tcp, servers[1].local_addr().unwrap(), "other", &[])), &request(9));
    assert!(reads(&mut streams[1]).await.contains("9@example.org"));
    assert_eq!(border.network.counts().connections_made, 2);
}

#[tokio::test]
async fn what_ends_things_still_crosses_a_connection_that_is_left() {
    let mut border = tcp_border(Limits { leave: Duration::from_secs(20), ..limits() }).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.write_all(&message(1, "INVITE")).await.unwrap();
    let flow = border.received().await.0;
    border.takes(2, &[]);
    untrusted(&mut border.events).await;

    // Nothing new of theirs.
    stream.write_all(&message(2, "INVITE")).await.unwrap();
    let refused = reads(&mut stream).await;
    assert!(refused.starts_with("SIP/2.0 403") && refused.contains("2@example.org") && refused.contains(";tag="), "{refused}");
    assert_eq!(border.network.counts().requests_while_leaving, 1);
    // What ends things does cross, though the peer is a stranger by now: the core has the last word.
    for method in ["CANCEL", "BYE", "PRACK", "ACK"] {
        stream.write_all(&message(1, method)).await.unwrap();
        assert!(border.received().await.1.starts_with(method.as_bytes()), "{method}");
    }
    // Nothing new of ours: it would go on another connection, of which there is none.
    let on_flow = || Route::Flow { id: flow.id, otherwise: None };
    border.send(7, on_flow(), &message(7, "UPDATE"));
    assert_eq!(border.failures(1).await[0].0, 7);
    for method in ["BYE", "ACK"] {
        border.send(8, on_flow(), &message(8, method));
        assert!(reads(&mut stream).await.starts_with(method));
    }
    stream.write_all(&response(8)).await.unwrap();
    border.received().await;
    // The INVITE is under way: quiet alone does not end it. Its answer, and those of the CANCEL, the BYE and the PRACK, do.
    tokio::time::sleep(QUIET * 3).await;
    assert_eq!(border.network.connections(), 1);
    for n in 0..4 {
        border.send(20 + n, on_flow(), &response(1));
    }
    let mut rest = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("closed in time").unwrap();
    assert_eq!(String::from_utf8(rest).unwrap().matches("SIP/2.0 200").count(), 4);
    parted(&mut border.events, &flow).await;
}

#[tokio::test]
async fn what_is_never_answered_holds_a_left_connection_for_its_limit_only() {
    let mut border = tcp_border(Limits { leave: Duration::from_secs(1), ..limits() }).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.write_all(&message(1, "INVITE")).await.unwrap();
    let flow = border.received().await.0;
    border.takes(2, &[]);
    untrusted(&mut border.events).await;
    assert_eq!(reads(&mut stream).await, "");
    parted(&mut border.events, &flow).await;
}

fn tls_peers() -> [Peer; 2] {
    [peer("um", Tls, V4, &["um.example.org"]), peer("pbx", Tls, "127.0.0.9".parse().unwrap(), &["pbx.example.org"])]
}

async fn staged(stage: &Arc<Stage>) -> (Network, mpsc::Receiver<NetEvent>) {
    let listener = ListenerSettings { id: ListenerId(0), name: "tls".into(), transport: Tls, address: "127.0.0.1:0".parse().unwrap() };
    let settings = Settings { listeners: vec![listener], limits: limits() };
    let (sender, events) = mpsc::channel(64);
    let table = Arc::new(ArcSwap::from_pointee(table(1, &tls_peers())));
    (Network::bind(settings, Arc::new(Handshakes(stage.clone())), table, sender).await.unwrap(), events)
}

/// Inbound from 127.0.0.1 and .9, outbound to them: two peers with a connection each way and one more inbound.
#[tokio::test]
async fn exactly_the_connections_whose_proof_no_longer_holds_end_both_ways() {
    let stage = Arc::new(Stage::default());
    let (network, mut events) = staged(&stage).await;
    let mut inbound = Vec::new();
    for from in ["127.0.0.1", "127.0.0.9", "127.0.0.1"] {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(network.bound()[0].1).await.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        assert_eq!(reads(&mut stream).await, "\r\n");
        inbound.push(stream);
    }
    let mut outbound = Vec::new();
    for (name, at) in [("um", "127.0.0.1:0"), ("pbx", "127.0.0.9:0")] {
        let server = TcpListener::bind(at).await.unwrap();
        let to = connect(Tls, server.local_addr().unwrap(), name, &[&format!("{name}.example.org")]);
        network.transmit(TransmitId(1), Route::Connect(to.clone()), request(1).into());
        let mut stream = server.accept().await.unwrap().0;
        assert!(reads(&mut stream).await.starts_with("OPTIONS"));
        stream.write_all(&response(1)).await.unwrap();
        assert!(matches!(events.recv().await, Some(NetEvent::Received { .. })));
        outbound.push((server, to, stream));
    }

    // All is well: each certificate is looked at once for each use, however many connections it has, and nothing happens.
    network.recheck();
    while stage.asked.load(Ordering::SeqCst) < 4 {
        tokio::task::yield_now().await;
    }
    assert!(timeout(QUIET * 2, events.recv()).await.is_err());
    assert_eq!((stage.asked.load(Ordering::SeqCst), network.connections()), (4, 5));

    // Something is under way on one of those that will end.
    let (server, to, old) = &mut outbound[0];
    network.transmit(TransmitId(5), Route::Connect(to.clone()), request(5).into());
    assert!(reads(old).await.starts_with("OPTIONS"));
    stage.spent.lock().unwrap().insert("um".to_owned());
    network.recheck();
    let mut ways = Vec::new();
    for _ in 0..3 {
        let (flow, outbound, reason) = untrusted(&mut events).await;
        assert_eq!((flow.remote.ip(), reason), (V4, Some(Reason::TlsRevoked)));
        ways.push(outbound);
    }
    ways.sort_unstable();
    assert_eq!(ways, [false, false, true]);

    // Out of the pool at once: a new request makes a new connection; what ends things takes the old one only while there is no other.
    network.transmit(TransmitId(2), Route::Connect(to.clone()), message(2, "BYE").into());
    assert!(reads(old).await.starts_with("BYE"));
    network.transmit(TransmitId(3), Route::Connect(to.clone()), message(3, "INVITE").into());
    let mut new = timeout(PATIENCE, server.accept()).await.expect("another connection").unwrap().0;
    assert!(reads(&mut new).await.starts_with("INVITE"));
    network.transmit(TransmitId(4), Route::Connect(to.clone()), message(4, "CANCEL").into());
    assert!(reads(&mut new).await.starts_with("CANCEL"));
    for n in [2, 5] {
        old.write_all(&response(n)).await.unwrap();
    }
    assert_eq!(reads(old).await, "");
    for n in [0, 2] {
        assert_eq!(reads(&mut inbound[n]).await, "");
    }
    // The others never noticed.
    inbound[1].write_all(b"\r\n\r\n").await.unwrap();
    assert_eq!(reads(&mut inbound[1]).await, "\r\n");
    assert_eq!(network.counts().connections_untrusted, 3);
}

#[tokio::test]
async fn a_handshake_that_ends_after_a_change_is_held_to_it() {
    let curtain = Arc::new(Semaphore::new(0));
    let stage = Arc::new(Stage { curtain: Some(curtain.clone()), ..Stage::default() });
    let (network, mut events) = staged(&stage).await;
    let mut stream = TcpStream::connect(network.bound()[0].1).await.unwrap();
    // It has begun by the old certificates; they change; it ends.
    tokio::time::sleep(Duration::from_millis(50)).await;
    stage.spent.lock().unwrap().insert("um".to_owned());
    network.recheck();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(stage.asked.load(Ordering::SeqCst), 0, "nothing was open yet");
    curtain.add_permits(1);
    assert_eq!(untrusted(&mut events).await.2, Some(Reason::TlsRevoked));
    assert_eq!(reads(&mut stream).await, "");
}
