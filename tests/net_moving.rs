//! Connections while one process of a border leaves its place: a plain one goes over as it stands, one over TLS is closed without losing what its other end had sent.

mod net_border;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use bytes::Bytes;
use net_border::stage::{Handshakes, Stage};
use net_border::*;
use portcullis::adapters::net::{Companion, Gates, Limits, ListenerSettings, Moved, NetEvent, Network, Part, Settings};
use portcullis::policy::flow::{Flow, ListenerId};
use portcullis::signaling::event::{Route, TransmitId};
use portcullis::sip::Transport::{self, Tcp, Tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;

const PARTING: Gates = Gates { connections: false, datagrams: true, part: Part::InPauses };

async fn network(transport: Transport) -> (Network, mpsc::Receiver<NetEvent>) {
    let listener = ListenerSettings { id: ListenerId(0), name: "listener".into(), transport, address: "127.0.0.1:0".parse().unwrap() };
    let settings = Settings { listeners: vec![listener], limits: Limits::default() };
    let (sender, events) = mpsc::channel(64);
    let names: &[&str] = if transport == Tls { &["pbx.example.org"] } else { &[] };
    let table = Arc::new(ArcSwap::from_pointee(table(1, &[peer("pbx", transport, V4, names)])));
    (Network::bind(settings, Arc::new(Handshakes(Arc::new(Stage::default()))), table, sender).await.unwrap(), events)
}

async fn received(events: &mut mpsc::Receiver<NetEvent>) -> (Arc<Flow>, Bytes) {
    match timeout(PATIENCE, events.recv()).await.expect("in time").expect("open") {
        NetEvent::Received { flow, bytes } => (flow, bytes),
        other => panic!("{other:?}"),
    }
}

async fn reads(stream: &mut TcpStream) -> String {
    let mut buffer = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut buffer)).await.expect("in time").unwrap_or(0);
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

/// What a process gives to the other.
#[derive(Default)]
struct Other {
    moved: Mutex<Vec<Moved>>,
    carried: Mutex<Vec<(u64, Bytes)>>,
}

impl Companion for Other {
    fn send(&self, _: u64, _: TransmitId, _: &Bytes) -> bool {
        false
    }

    fn carry(&self, flow: u64, _: Option<TransmitId>, bytes: &Bytes) -> bool {
        self.carried.lock().unwrap().push((flow, bytes.clone()));
        true
    }

    fn adopt(&self, moved: Moved) -> bool {
        self.moved.lock().unwrap().push(moved);
        true
    }

    fn datagram(&self, _: SocketAddr, _: SocketAddr, _: &Bytes) -> bool {
        false
    }
}

#[tokio::test]
async fn a_plain_connection_goes_over_in_the_middle_of_a_message_with_a_request_under_way() {
    let (old, mut of_old) = network(Tcp).await;
    let (new, mut of_new) = network(Tcp).await;
    let other = Arc::new(Other::default());
    old.accompany(Some(other.clone())).await;
    let mut stream = TcpStream::connect(old.bound()[0].1).await.unwrap();
    let (first, second, third) = (request(1), request(2), request(3));
    stream.write_all(&[&first[..], &second[..30]].concat()).await.unwrap();
    let (flow, bytes) = received(&mut of_old).await;
    assert_eq!(bytes, first);
    // Half of the second has come too by now, or stays in the socket: all the same.
    old.gate(PARTING);
    let mut moved = loop {
        if let Some(moved) = other.moved.lock().unwrap().pop() {
            break moved;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((moved.outbound, moved.foreign.number), (false, flow.id.0));
    assert_eq!(old.connections(), 0);
    // What the old process still has to say on it goes after it.
    old.transmit(TransmitId(1), Route::Flow { id: flow.id, otherwise: None }, response(1).into());
    let carried = other.carried.lock().unwrap().pop().expect("handed to the other process");
    // The other network has the listener elsewhere; in two processes it is the same socket.
    moved.foreign.listener = new.bound()[0].1;
    new.adopt(moved).await;
    new.carry_on(carried.0, None, carried.1);
    assert!(reads(&mut stream).await.starts_with("SIP/2.0 200"));
    stream.write_all(&[&second[30..], &third[..]].concat()).await.unwrap();
    let (flow, bytes) = received(&mut of_new).await;
    assert_eq!(bytes, second);
    assert_eq!(received(&mut of_new).await.1, third);
    new.transmit(TransmitId(2), Route::Flow { id: flow.id, otherwise: None }, response(3).into());
    assert!(reads(&mut stream).await.starts_with("SIP/2.0 200"));
    assert!(of_old.try_recv().is_err(), "to the core of the old process nothing has ended");
    assert_eq!((old.counts().connections_moved, new.connections()), (1, 1));
    // The other process is gone, and the connection with it.
    old.accompany(None).await;
    assert!(matches!(of_old.recv().await, Some(NetEvent::FlowClosed { .. })));
}

#[tokio::test]
async fn what_came_over_tls_before_its_other_end_knew_of_the_close_is_read() {
    let (network, mut events) = network(Tls).await;
    let mut stream = TcpStream::connect(network.bound()[0].1).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    let (flow, _) = received(&mut events).await;
    network.gate(PARTING);
    assert!(timeout(std::time::Duration::from_millis(300), stream.read(&mut [0])).await.is_err(), "a request is under way");
    network.transmit(TransmitId(1), Route::Flow { id: flow.id, otherwise: None }, response(1).into());
    assert!(reads(&mut stream).await.starts_with("SIP/2.0 200"));
    assert_eq!(reads(&mut stream).await, "", "closed in the pause");
    stream.write_all(&request(2)).await.unwrap();
    assert_eq!(received(&mut events).await.1, request(2));
    drop(stream);
    assert!(matches!(timeout(PATIENCE, events.recv()).await, Ok(Some(NetEvent::FlowClosed { .. }))));
}

#[tokio::test]
async fn one_over_tls_that_never_pauses_is_closed_between_two_messages() {
    let (network, mut events) = network(Tls).await;
    let mut stream = TcpStream::connect(network.bound()[0].1).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    received(&mut events).await;
    // It is never answered.
    network.gate(Gates { part: Part::Now, ..PARTING });
    assert_eq!(reads(&mut stream).await, "");
    stream.write_all(&request(2)).await.unwrap();
    assert_eq!(received(&mut events).await.1, request(2));
}
