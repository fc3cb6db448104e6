//! UDP, TCP and TLS between two borders on loopback, IPv4 and IPv6: who gets through, what is reported, what is bounded.

mod net_border;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use net_border::*;
use portcullis::adapters::net::{Limits, ListenerSettings, NetEvent, Network, Settings};
use portcullis::adapters::tls;
use portcullis::app::certs::{Init, init};
use portcullis::app::handshakes::Handshakes;
use portcullis::policy::flow::ListenerId;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Route, TransportError};
use portcullis::sip::Transport::{self, Tcp, Tls, Udp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

fn to(transport: Transport, remote: SocketAddr, peer: &str, name: &str) -> Route {
    match transport {
        Udp => Route::Datagram { listener: ListenerId(0), remote },
        _ => Route::Connect(connect(transport, remote, peer, &[name])),
    }
}

#[tokio::test]
async fn a_request_and_its_answer_cross_on_every_transport() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &Init::new(["one.example.org", "two.example.org"])).unwrap();
    let file = |name: &str| folder.path().join(name);
    let own = |name: &str| tls::KeyPairFiles { certificate: file(&format!("{name}.pem")), key: file(&format!("{name}.key")) };
    for transport in [Udp, Tcp, Tls] {
        for ip in [V4, V6] {
            let peers = |name: &str, tls: &str| [peer(name, transport, ip, &[tls])];
            let mut one = Border::with(
                &[(transport, ip)],
                &peers("two", "two.example.org"),
                Limits::default(),
                tls_settings(own("one.example.org"), &[("two", file("ca.pem"))]),
            )
            .await;
            let mut two = Border::with(
                &[(transport, ip)],
                &peers("one", "one.example.org"),
                Limits::default(),
                tls_settings(own("two.example.org"), &[("one", file("ca.pem"))]),
            )
            .await;
            for n in 1..=3 {
                one.send(n, to(transport, two.address(0), "two", "two.example.org"), &request(n));
                let (flow, bytes) = two.received().await;
                assert_eq!(bytes, request(n), "{transport} {ip}");
                assert_eq!((flow.transport, flow.remote.ip(), flow.local), (transport, ip, two.address(0)));
                let back = match transport {
                    Udp => Route::Datagram { listener: ListenerId(0), remote: flow.remote },
                    _ => Route::Flow { id: flow.id, otherwise: None },
                };
                two.send(n, back, &response(n));
                let (flow, bytes) = one.received().await;
                assert_eq!(bytes, response(n), "{transport} {ip}");
                let identity = flow.tls.as_ref().map(|identity| (identity.names[0].clone(), identity.trusted_for.clone(), identity.version.clone()));
                let expected = (transport == Tls).then(|| ("two.example.org".to_owned(), vec!["two".into()], "TLSv1.3".to_owned()));
                assert_eq!(identity, expected);
            }
            if transport != Udp {
                assert_eq!((one.network.counts().connections_made, two.network.counts().connections_accepted), (1, 1));
            }
            one.quiet().await;
            one.network.close().await;
        }
    }
}

#[tokio::test]
async fn ipv6_listeners_leave_ipv4_alone() {
    for transport in [Udp, Tcp] {
        let six = Border::open(&[(transport, IpAddr::V6(Ipv6Addr::UNSPECIFIED))], &[]).await;
        let listener = ListenerSettings {
            id: ListenerId(7),
            name: "four".into(),
            transport,
            address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), six.address(0).port()),
        };
        let settings = Settings { listeners: vec![listener], limits: Limits::default() };
        let (events, _keep) = tokio::sync::mpsc::channel(1);
        let handshakes = Arc::new(Handshakes(Arc::clone(&six.credentials)));
        assert!(Network::bind(settings, handshakes, Arc::clone(&six.table), events).await.is_ok(), "{transport}");
    }
}

#[tokio::test]
async fn all_listeners_that_cannot_open_are_named() {
    let taken = Border::open(&[(Tcp, V4), (Udp, V4)], &[]).await;
    let listener = |id: u16, transport, address| ListenerSettings { id: ListenerId(id), name: format!("trunk {id}").into(), transport, address };
    let listeners = vec![listener(0, Tcp, taken.address(0)), listener(1, Udp, taken.address(1)), listener(2, Tcp, "198.51.100.7:5060".parse().unwrap())];
    let (events, _keep) = tokio::sync::mpsc::channel(1);
    let handshakes = Arc::new(Handshakes(Arc::clone(&taken.credentials)));
    let bound = Network::bind(Settings { listeners, limits: Limits::default() }, handshakes, Arc::clone(&taken.table), events).await;
    let problems: Vec<String> = bound.err().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 3);
    assert!(problems[0].contains("\"trunk 0\"") && problems[0].contains("another program"), "{}", problems[0]);
    assert!(problems[2].contains("no such address"), "{}", problems[2]);
}

#[tokio::test]
async fn strangers_datagrams_vanish() {
    let mut border = Border::open(&[(Udp, V4)], &[peer("pbx", Udp, "127.0.0.9".parse().unwrap(), &[])]).await;
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for n in 0..50 {
        stranger.send_to(&request(n), border.address(0)).await.unwrap();
    }
    let mut told = 0;
    while border.network.counts().strangers_udp < 50 || told < 1 {
        match border.event().await {
            NetEvent::Stranger { transport: Udp, remote, decision } => {
                assert_eq!((remote, decision.refused), (stranger.local_addr().unwrap(), Some(Reason::StrangerAddress)));
                told += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(told <= 10, "a flood of strangers is a sample of events: {told}");
    // Once the table knows the address, the same socket is heard; and no longer when it forgets it.
    border.table.store(Arc::new(table(2, &[peer("pbx", Udp, V4, &[])])));
    stranger.send_to(&request(51), border.address(0)).await.unwrap();
    let flow = loop {
        if let NetEvent::Received { flow, bytes } = border.event().await {
            assert_eq!(bytes, request(51));
            break flow;
        }
    };
    stranger.send_to(&request(52), border.address(0)).await.unwrap();
    assert_eq!(border.received().await.0.id, flow.id);
    border.table.store(Arc::new(table(3, &[])));
    stranger.send_to(&request(53), border.address(0)).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    assert_eq!(border.network.counts().datagrams_received, 2);
    assert_eq!(border.network.counts().strangers_udp, 51);
}

/// What the other end sees of a connection on which it said nothing we wanted: an end, not an answer.
async fn ended(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 64];
    match timeout(PATIENCE, stream.read(&mut buffer)).await.expect("closed in time") {
        Ok(length) => length == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[tokio::test]
async fn strangers_connections_are_closed_at_accept() {
    // The same address with another transport is a stranger too: a TLS peer cannot come in over TCP.
    let mut border = Border::open(&[(Tcp, V4), (Tls, V4)], &[peer("pbx", Udp, V4, &[])]).await;
    for (listener, transport) in [(0, Tcp), (1, Tls)] {
        let mut stream = TcpStream::connect(border.address(listener)).await.unwrap();
        let _ = stream.write_all(&request(1)).await;
        assert!(ended(&mut stream).await);
        match border.event().await {
            NetEvent::Stranger { transport: seen, decision, .. } => assert_eq!((seen, decision.refused), (transport, Some(Reason::ModeTransport))),
            other => panic!("{other:?}"),
        }
    }
    let counts = border.network.counts();
    assert_eq!((counts.strangers_tcp, counts.strangers_tls, counts.connections_accepted, counts.handshakes_failed), (1, 1, 0, 0));
    border.quiet().await;
}

#[tokio::test]
async fn a_silent_client_does_not_hold_a_tls_listener() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &Init::new(["sbc"])).unwrap();
    let own = tls::KeyPairFiles { certificate: folder.path().join("sbc.pem"), key: folder.path().join("sbc.key") };
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let peers = [peer("trunk", Tls, V4, &["trunk"])];
    let border = Border::with(&[(Tls, V4)], &peers, limits, tls_settings(own, &[("trunk", folder.path().join("ca.pem"))])).await;
    let mut silent = TcpStream::connect(border.address(0)).await.unwrap();
    assert!(ended(&mut silent).await);
    assert_eq!(border.network.counts().handshakes_failed, 1);
}

async fn tcp_border(limits: Limits) -> Border {
    Border::with(&[(Tcp, V4)], &[peer("pbx", Tcp, V4, &[])], limits, tls::Settings::default()).await
}

#[tokio::test]
async fn messages_arrive_whole_however_they_are_cut() {
    let mut border = tcp_border(Limits::default()).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request(1) {
        stream.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let (first, bytes) = border.received().await;
    assert_eq!(bytes, request(1));
    let many: Vec<u8> = (2..40).flat_map(request).collect();
    stream.write_all(&many).await.unwrap();
    for n in 2..40 {
        let (flow, bytes) = border.received().await;
        assert_eq!((flow.id, bytes.as_ref()), (first.id, &*request(n)));
    }
    drop(stream);
    assert!(matches!(border.event().await, NetEvent::FlowClosed { flow } if flow == first.id));
    assert_eq!(border.network.connections(), 0);
}

#[tokio::test]
async fn half_a_message_is_waited_for_and_then_no_longer() {
    let mut border = tcp_border(Limits { partial_message: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    assert_eq!(border.received().await.1, request(1));
    // No partial message: no limit but the idle one.
    sleep(Duration::from_millis(500)).await;
    let began = Instant::now();
    // A byte now and then does not extend the wait.
    let half = request(2);
    for byte in &half[..40] {
        if stream.write_all(&[*byte]).await.is_err() {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    assert!(ended(&mut stream).await);
    assert!((Duration::from_millis(290)..Duration::from_secs(3)).contains(&began.elapsed()));
    assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));
    assert_eq!(border.network.counts().partial_messages, 1);
}

#[tokio::test]
async fn idle_connections_end() {
    let mut border = tcp_border(Limits { idle: Duration::from_millis(300), ..Limits::default() }).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    for n in 1..4 {
        sleep(Duration::from_millis(200)).await;
        stream.write_all(&request(n)).await.unwrap();
        border.received().await;
    }
    assert!(ended(&mut stream).await);
}

#[tokio::test]
async fn pings_are_answered_and_kept_from_the_core() {
    let mut border = tcp_border(Limits::default()).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    stream.write_all(b"\r\n\r\n").await.unwrap();
    let mut pong = [0; 2];
    timeout(PATIENCE, stream.read_exact(&mut pong)).await.unwrap().unwrap();
    assert_eq!(&pong, b"\r\n");
    stream.write_all(&request(1)).await.unwrap();
    assert_eq!(border.received().await.1, request(1));
    border.quiet().await;
}

#[tokio::test]
async fn a_stream_without_sense_is_passed_on_once_and_closed() {
    let mut border = tcp_border(Limits::default()).await;
    let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
    let endless = [&b"OPTIONS sip:a@b SIP/2.0\r\nX: "[..], &vec![b'x'; 80_000]].concat();
    let _ = stream.write_all(&endless).await;
    let (flow, head) = border.received().await;
    assert!(head.starts_with(b"OPTIONS ") && head.len() <= 65_536);
    // The core's answer (513) still goes out.
    border.send(1, Route::Flow { id: flow.id, otherwise: None }, &response(1));
    let mut answer = vec![0; response(1).len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, response(1));
    assert!(ended(&mut stream).await);
    assert!(matches!(border.event().await, NetEvent::FlowClosed { .. }));
}

#[tokio::test]
async fn all_that_is_sent_while_connecting_shares_one_connection() {
    let mut border = tcp_border(Limits::default()).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = to(Tcp, server.local_addr().unwrap(), "pbx", "");
    for n in 0..100 {
        border.send(n, route.clone(), &request(n));
    }
    let (mut stream, _) = server.accept().await.unwrap();
    let expected: Vec<u8> = (0..100).flat_map(request).collect();
    let mut got = vec![0; expected.len()];
    timeout(PATIENCE, stream.read_exact(&mut got)).await.unwrap().unwrap();
    assert!(got == expected);
    // A request on a connection we made comes in like any other, and its flow can be answered on.
    stream.write_all(&request(7)).await.unwrap();
    let (flow, _) = border.received().await;
    border.send(200, Route::Flow { id: flow.id, otherwise: None }, &response(7));
    let mut answer = vec![0; response(7).len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert!(timeout(Duration::from_millis(100), server.accept()).await.is_err(), "a second connection");
    // When it is gone, the flow is reported closed and the same route makes a new one.
    stream.write_all(b"\r\n").await.unwrap();
    sleep(Duration::from_millis(50)).await;
    drop(stream);
    assert!(matches!(border.event().await, NetEvent::FlowClosed { flow: closed } if closed == flow.id));
    border.send(201, Route::Flow { id: flow.id, otherwise: None }, &response(8));
    assert_eq!(border.failures(1).await, [(201, TransportError::Closed)]);
    let Route::Connect(again) = route else { unreachable!() };
    border.send(202, Route::Flow { id: flow.id, otherwise: Some(again) }, &response(9));
    let (mut stream, _) = timeout(PATIENCE, server.accept()).await.unwrap().unwrap();
    let mut answer = vec![0; response(9).len()];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer, response(9));
}

#[tokio::test]
async fn a_refused_connection_is_reported_once_for_each_message() {
    let mut border = tcp_border(Limits::default()).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for n in 0..20 {
        border.send(n, to(Tcp, gone, "pbx", ""), &request(n));
    }
    let expected: Vec<_> = (0..20).map(|n| (n, TransportError::Refused)).collect();
    assert_eq!(border.failures(20).await, expected);
    border.quiet().await;
    assert_eq!(border.network.connections(), 0);
}

#[tokio::test]
async fn a_handshake_that_never_comes_is_given_up() {
    let folder = tempfile::tempdir().unwrap();
    init(folder.path(), &Init::new(["sbc"])).unwrap();
    let own = tls::KeyPairFiles { certificate: folder.path().join("sbc.pem"), key: folder.path().join("sbc.key") };
    let limits = Limits { connect: Duration::from_millis(300), ..Limits::default() };
    let settings = tls_settings(own, &[("um", folder.path().join("ca.pem"))]);
    let mut border = Border::with(&[(Tls, V4)], &[peer("um", Tls, V4, &["um"])], limits, settings).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let remote = server.local_addr().unwrap();
    border.send(1, to(Tls, remote, "um", "um"), &request(1));
    border.send(2, to(Tls, remote, "um", "um"), &request(2));
    assert_eq!(border.refusals(2).await, [(1, Reason::TlsTimeout), (2, Reason::TlsTimeout)]);
    // Without a name to verify, or a CA to verify by, there is no connection.
    border.send(3, Route::Connect(connect(Tls, remote, "um", &[])), &request(3));
    border.send(4, Route::Connect(connect(Tls, remote, "nobody", &["um"])), &request(4));
    assert_eq!(border.refusals(2).await, [(3, Reason::TlsUnprepared), (4, Reason::TlsUnprepared)]);
    border.quiet().await;
}

#[tokio::test]
async fn what_was_not_answered_when_the_other_end_closes_has_failed() {
    let mut border = tcp_border(Limits::default()).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = to(Tcp, server.local_addr().unwrap(), "pbx", "");
    border.send(1, route.clone(), &request(1));
    let (mut stream, _) = server.accept().await.unwrap();
    let mut got = vec![0; request(1).len()];
    stream.read_exact(&mut got).await.unwrap();
    stream.write_all(&response(1)).await.unwrap();
    border.received().await;
    border.send(2, route.clone(), &request(2));
    border.send(3, route, &request(3));
    stream.read_exact(&mut got).await.unwrap();
    drop(stream);
    let mut failed = Vec::new();
    let mut closed = 0;
    while failed.len() < 2 || closed < 1 {
        match border.event().await {
            NetEvent::TransportFailed { id, error: TransportError::Closed } => failed.push(id.0),
            NetEvent::FlowClosed { .. } => closed += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((failed, closed), (vec![2, 3], 1));
    border.quiet().await;
}

#[tokio::test]
async fn an_end_that_does_not_read_costs_a_bounded_queue_and_all_is_reported() {
    let limits = Limits { queue_messages: 50, write: Duration::from_millis(400), ..Limits::default() };
    let mut border = tcp_border(limits).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = to(Tcp, server.local_addr().unwrap(), "pbx", "");
    let large = vec![b'x'; 1_000_000];
    for n in 0..100 {
        border.send(n, route.clone(), &large);
    }
    let _unread = server.accept().await.unwrap();
    let failures = border.failures(100).await;
    assert!(failures.iter().enumerate().all(|(n, (id, _))| *id == n as u64), "each once");
    let full = failures.iter().filter(|(_, error)| *error == TransportError::Closed).count();
    assert!((50..=95).contains(&full), "{full} refused by a queue of 50");
    assert!(failures.iter().any(|(_, error)| *error == TransportError::TimedOut));
    border.quiet().await;
}

#[tokio::test]
async fn connections_are_bounded_for_each_source_and_in_all() {
    let limits = Limits { connections: 3, connections_per_source: 2, ..Limits::default() };
    let border = tcp_border(limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(border.address(0)).await.unwrap();
        stream.write_all(b"\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 2]).await.unwrap();
        held.push(stream);
    }
    assert!(ended(&mut TcpStream::connect(border.address(0)).await.unwrap()).await);
    held.pop();
    sleep(Duration::from_millis(100)).await;
    let mut again = TcpStream::connect(border.address(0)).await.unwrap();
    again.write_all(b"\r\n\r\n").await.unwrap();
    again.read_exact(&mut [0; 2]).await.unwrap();
    assert_eq!(border.network.counts().connections_refused, 1);
}

#[tokio::test]
async fn datagrams_that_cannot_be_sent_are_reported() {
    let mut border = Border::open(&[(Udp, V4), (Tcp, V4)], &[]).await;
    let remote = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let datagram = |listener: u16, remote: SocketAddr| Route::Datagram { listener: ListenerId(listener), remote };
    border.send(1, datagram(0, remote.local_addr().unwrap()), &vec![b'x'; 65_508]);
    border.send(2, datagram(1, remote.local_addr().unwrap()), &request(2));
    border.send(3, datagram(9, remote.local_addr().unwrap()), &request(3));
    border.send(4, datagram(0, "[::1]:5060".parse().unwrap()), &request(4));
    let failures = border.failures(4).await;
    assert_eq!(failures, [1, 2, 3, 4].map(|n| (n, TransportError::Socket)));
    border.send(5, datagram(0, remote.local_addr().unwrap()), &vec![b'x'; 65_507]);
    let mut buffer = vec![0; 70_000];
    assert_eq!(timeout(PATIENCE, remote.recv(&mut buffer)).await.unwrap().unwrap(), 65_507);
    border.quiet().await;
}

#[tokio::test]
async fn a_burst_of_datagrams_is_received_whole_and_in_order() {
    let mut border = Border::open(&[(Udp, V4)], &[peer("pbx", Udp, V4, &[])]).await;
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for n in 0..200 {
        sender.send_to(&request(n), border.address(0)).unwrap();
    }
    sender.send_to(b"\r\n\r\n", border.address(0)).unwrap();
    for n in 0..200 {
        assert_eq!(border.received().await.1, request(n));
    }
    border.quiet().await;
    assert_eq!(border.network.counts().keep_alives, 1);
}

#[tokio::test]
async fn closing_lets_the_queue_out_and_ends_every_connection() {
    let mut border = tcp_border(Limits::default()).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = to(Tcp, server.local_addr().unwrap(), "pbx", "");
    let mut inbound = TcpStream::connect(border.address(0)).await.unwrap();
    inbound.write_all(&request(0)).await.unwrap();
    border.received().await;
    for n in 0..500 {
        border.send(n, route.clone(), &request(n));
    }
    let network = Arc::clone(&border.network);
    let closing = tokio::spawn(async move { network.close().await });
    let (mut stream, _) = server.accept().await.unwrap();
    let mut got = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut got)).await.unwrap().unwrap();
    assert!(got == (0..500).flat_map(request).collect::<Vec<u8>>());
    assert!(ended(&mut inbound).await);
    drop(stream);
    // While it closes, its events are still taken, as the driver does.
    let address = border.address(0);
    let events = async { while border.events.recv().await.is_some() {} };
    tokio::select! { _ = closing => {}, () = events => {} }
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_threads_and_an_unsteady_end_lose_no_report() {
    let mut border = tcp_border(Limits::default()).await;
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let route = to(Tcp, server.local_addr().unwrap(), "pbx", "");
    // Never answers, reads a little, closes: so every message has failed in the end, one way or another.
    let unsteady = tokio::spawn(async move {
        loop {
            let Ok((mut stream, _)) = server.accept().await else { return };
            let _ = stream.read(&mut [0; 2_000]).await;
        }
    });
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let (network, route) = (Arc::clone(&border.network), route.clone());
            std::thread::spawn(move || {
                for n in 0..100 {
                    network.transmit(portcullis::signaling::event::TransmitId(thread * 100 + n), route.clone(), request(n).into());
                    std::thread::sleep(Duration::from_micros(300));
                }
            })
        })
        .collect();
    let failures = border.failures(400).await;
    assert_eq!(failures.iter().map(|(id, _)| *id).collect::<Vec<_>>(), (0..400).collect::<Vec<_>>());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    sleep(Duration::from_millis(100)).await;
    while let Ok(event) = border.events.try_recv() {
        assert!(matches!(event, NetEvent::FlowClosed { .. }), "{event:?}");
    }
    unsteady.abort();
}
