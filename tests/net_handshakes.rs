//! A flood of TLS handshakes from a peer's address: it is slowed, told of, and nobody else has to wait for it.

mod net_border;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use net_border::stage::{Handshakes, Stage};
use net_border::*;
use portcullis::adapters::net::{Limits, ListenerSettings, NetEvent, Network, Settings};
use portcullis::policy::flow::ListenerId;
use portcullis::policy::verdict::Reason;
use portcullis::sip::Transport::Tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};

const FLOODER: &str = "127.0.0.9";

async fn network(stage: &Arc<Stage>, limits: Limits) -> (Network, mpsc::Receiver<NetEvent>) {
    let listener = ListenerSettings { id: ListenerId(0), name: "tls".into(), transport: Tls, address: "127.0.0.1:0".parse().unwrap() };
    let peers = [peer("um", Tls, V4, &["um.example.org"]), peer("pbx", Tls, FLOODER.parse().unwrap(), &["pbx.example.org"])];
    let (sender, events) = mpsc::channel(64);
    let settings = Settings { listeners: vec![listener], limits };
    (Network::bind(settings, Arc::new(Handshakes(stage.clone())), Arc::new(ArcSwap::from_pointee(table(1, &peers))), sender).await.unwrap(), events)
}

async fn comes(network: &Network, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse::<IpAddr>().unwrap(), 0)).unwrap();
    socket.connect(network.bound()[0].1).await.unwrap()
}

/// Whether it gets in, and is answered.
async fn is_answered(stream: &mut TcpStream) -> bool {
    stream.write_all(b"\r\n\r\n").await.is_ok() && timeout(PATIENCE, stream.read_exact(&mut [0; 2])).await.expect("in time").is_ok()
}

#[tokio::test]
async fn a_flood_from_a_peers_address_is_slowed_and_others_do_not_wait() {
    let limits = Limits { handshake_rate: 5, handshake: Duration::from_secs(1), ..Limits::default() };
    let (network, mut events) = network(&Arc::default(), limits).await;
    let mut flood = Vec::new();
    for _ in 0..40 {
        flood.push(comes(&network, FLOODER).await);
    }
    let began = Instant::now();
    let mut other = comes(&network, "127.0.0.1").await;
    assert!(is_answered(&mut other).await && began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let mut answered = 0;
    for stream in &mut flood {
        answered += u64::from(is_answered(stream).await);
    }
    // Two seconds' worth at once and one in line; a moment may have passed between the first and the last.
    assert!((15..=17).contains(&answered), "{answered}");
    let counts = network.counts();
    assert_eq!(counts.connections_accepted, answered + 1);
    assert_eq!((counts.handshakes_delayed + 10, counts.handshakes_refused), (answered, 40 - answered));
    // Told once, as what it is: neither a stranger nor a failed handshake.
    match events.recv().await {
        Some(NetEvent::HandshakesHeld { source, delayed, refused, decision }) => {
            assert_eq!((source.to_string().as_str(), delayed + refused, decision.refused), (FLOODER, 1, Some(Reason::TlsHandshakeRate)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((counts.strangers_tls, counts.handshakes_failed, events.try_recv().is_err()), (0, 0, true));
    // It was never shut out.
    sleep(Duration::from_millis(300)).await;
    assert!(is_answered(&mut comes(&network, FLOODER).await).await);
}

#[tokio::test]
async fn handshakes_that_do_not_end_hold_up_their_own_source_only() {
    // Nobody's handshake ends before it is let.
    let curtain = Arc::new(Semaphore::new(0));
    let stage = Arc::new(Stage { curtain: Some(curtain.clone()), ..Stage::default() });
    for handshake_threads in [0, 2] {
        let limits = Limits { handshakes_per_source: 3, handshakes: 5, handshake: Duration::from_secs(2), handshake_threads, ..Limits::default() };
        let (network, _events) = network(&stage, limits).await;
        let mut flood = Vec::new();
        for _ in 0..6 {
            flood.push(comes(&network, FLOODER).await);
        }
        let mut other = comes(&network, "127.0.0.1").await;
        sleep(Duration::from_millis(100)).await;
        curtain.add_permits(4);
        assert!(is_answered(&mut other).await);
        for stream in &mut flood[..3] {
            assert!(is_answered(stream).await);
        }
        // Their places are free again.
        curtain.add_permits(3);
        for stream in &mut flood[3..] {
            assert!(is_answered(stream).await);
        }
        assert_eq!((network.counts().connections_accepted, network.counts().handshakes_delayed), (7, 3));
        network.close().await;
    }
}
