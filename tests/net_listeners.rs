//! Listeners that come and go while the network is open: opened before anything changes, put in force together, closed when nothing uses them.

mod net_border;

use std::net::SocketAddr;

use net_border::*;
use portcullis::adapters::net::{Gates, ListenerSettings, NetEvent, Part, Prepared};
use portcullis::policy::flow::ListenerId;
use portcullis::signaling::event::{Route, TransportError};
use portcullis::sip::Transport::{self, Tcp, Udp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::{Duration, timeout};

/// Not where the first ones are.
const ANY: &str = "127.0.0.2:0";

fn wanted(transport: Transport, address: SocketAddr, name: &str) -> ListenerSettings {
    ListenerSettings { id: ListenerId(0), name: name.into(), transport, address }
}

impl Border {
    /// Numbered as they are, or are to be.
    fn numbered(&self, listeners: Vec<ListenerSettings>) -> Vec<ListenerSettings> {
        let numbers = self.network.number(&listeners).unwrap();
        numbers.into_iter().zip(listeners).map(|(id, listener)| ListenerSettings { id, ..listener }).collect()
    }

    fn prepared(&self, listeners: Vec<ListenerSettings>) -> Prepared {
        self.network.prepare(&self.numbered(listeners)).unwrap()
    }

    /// With exactly these from now on; their numbers, in order.
    fn takes(&self, listeners: Vec<ListenerSettings>) -> Vec<u16> {
        let prepared = self.prepared(listeners);
        let numbers = prepared.addresses().iter().map(|(id, ..)| id.0).collect();
        self.network.take_force(prepared);
        numbers
    }
}

async fn ended(stream: &mut TcpStream) -> bool {
    matches!(timeout(PATIENCE, stream.read(&mut [0; 64])).await.expect("in time"), Ok(0) | Err(_))
}

/// Waits until nobody accepts there.
async fn shut(address: SocketAddr) {
    let until = async { while TcpStream::connect(address).await.is_ok() {} };
    timeout(PATIENCE, until).await.expect("in time");
}

#[tokio::test]
async fn a_listener_that_is_taken_out_keeps_its_connections_until_it_is_closed() {
    let mut border = Border::open(&[(Tcp, V4)], &[peer("pbx", Tcp, V4, &[])]).await;
    let first = border.address(0);
    let mut stream = TcpStream::connect(first).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    let (flow, _) = border.received().await;
    assert_eq!(border.takes(vec![wanted(Tcp, ANY.parse().unwrap(), "second")]), [1]);
    let standing = border.network.listeners();
    assert_eq!(standing.iter().map(|one| (one.id.0, one.leaving, one.connections)).collect::<Vec<_>>(), [(0, true, 1), (1, false, 0)]);
    // Nobody new, while both ways go on over what is open.
    shut(first).await;
    stream.write_all(&request(2)).await.unwrap();
    assert_eq!(border.received().await.1, request(2));
    border.send(3, Route::Flow { id: flow.id, otherwise: None }, &response(2));
    let mut buffer = vec![0; 1000];
    let length = timeout(PATIENCE, stream.read(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(&buffer[..length], response(2));
    let mut other = TcpStream::connect(border.address(1)).await.unwrap();
    other.write_all(&request(4)).await.unwrap();
    assert_eq!(border.received().await.0.listener, ListenerId(1));
    // The one that is in force is not closed by mistake.
    assert!(border.network.close_unused(ListenerId(1)).is_none());
    assert_eq!(border.network.close_unused(ListenerId(0)).unwrap().connections, 1);
    assert!(ended(&mut stream).await);
    assert!(matches!(border.event().await, NetEvent::FlowClosed { flow: closed } if closed == flow.id));
    assert_eq!(border.network.listeners().len(), 1);
    assert!(border.network.close_unused(ListenerId(0)).is_none());
    other.write_all(&request(5)).await.unwrap();
    assert_eq!(border.received().await.1, request(5));
}

#[tokio::test]
async fn a_udp_listener_that_is_taken_out_is_read_and_sent_by_until_it_is_closed_and_its_port_is_free_then() {
    let mut border = Border::open(&[(Udp, V4)], &[peer("pbx", Udp, V4, &[])]).await;
    let first = border.address(0);
    let pbx = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    border.takes(vec![wanted(Udp, ANY.parse().unwrap(), "second")]);
    // Also while another process takes over: that one has it not.
    border.network.gate(Gates { connections: false, datagrams: false, part: Part::InPauses });
    pbx.send_to(&request(1), first).await.unwrap();
    assert_eq!(border.received().await.0.listener, ListenerId(0));
    pbx.send_to(&request(2), border.address(1)).await.unwrap();
    border.quiet().await;
    border.network.gate(Gates::OPEN);
    assert_eq!(border.received().await.1, request(2));
    let back = Route::Datagram { listener: ListenerId(0), remote: pbx.local_addr().unwrap() };
    border.send(3, back.clone(), &response(1));
    let mut buffer = vec![0; 1000];
    let (_, from) = timeout(PATIENCE, pbx.recv_from(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(from, first);
    assert!(UdpSocket::bind(first).await.is_err());
    border.network.close_unused(ListenerId(0)).unwrap();
    border.send(4, back, &response(1));
    assert_eq!(border.failures(1).await, [(4, TransportError::Socket)]);
    timeout(PATIENCE, async {
        while UdpSocket::bind(first).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_listener_that_cannot_be_opened_changes_nothing() {
    let border = Border::open(&[(Tcp, V4), (Udp, V4)], &[peer("pbx", Tcp, V4, &[])]).await;
    let somebody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = vec![
        wanted(Tcp, border.address(0), "kept"),
        wanted(Tcp, ANY.parse().unwrap(), "good"),
        wanted(Tcp, somebody.local_addr().unwrap(), "taken"),
        wanted(Udp, SocketAddr::from(([0, 0, 0, 0], border.address(1).port())), "wide"),
    ];
    let problems: Vec<String> = border.network.prepare(&border.numbered(listeners)).err().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("\"taken\"") && problems[0].contains("another program"), "{}", problems[0]);
    assert!(problems[1].contains("\"wide\"") && problems[1].contains("listener \"listener 1\" has this port"), "{}", problems[1]);
    assert_eq!(border.network.listeners().iter().map(|one| (one.id.0, one.leaving)).collect::<Vec<_>>(), [(0, false), (1, false)]);
    TcpStream::connect(border.address(0)).await.unwrap();
}

#[tokio::test]
async fn a_number_is_never_anothers() {
    let border = Border::open(&[(Tcp, V4)], &[]).await;
    let (first, any) = (border.address(0), ANY.parse().unwrap());
    assert_eq!(border.takes(vec![wanted(Udp, any, "a"), wanted(Tcp, first, "renamed")]), [1, 0]);
    assert_eq!(&*border.network.listeners()[0].name, "renamed");
    assert_eq!(border.takes(vec![wanted(Tcp, first, "b")]), [0]);
    border.network.close_unused(ListenerId(1)).unwrap();
    assert_eq!(border.takes(vec![wanted(Tcp, first, "b"), wanted(Udp, any, "a")]), [0, 2]);
}

/// It may be asked for again before the last call over it has ended.
#[tokio::test]
async fn a_listener_that_comes_back_while_it_leaves_is_the_same_and_takes_everything_again() {
    let mut border = Border::open(&[(Tcp, V4), (Udp, V4)], &[peer("pbx", Tcp, V4, &[]), peer("box", Udp, V4, &[])]).await;
    let [tcp, udp] = [border.address(0), border.address(1)];
    let mut stream = TcpStream::connect(tcp).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    border.received().await;
    let other = || wanted(Tcp, ANY.parse().unwrap(), "other");
    border.takes(vec![other()]);
    shut(tcp).await;
    let prepared = border.prepared(vec![wanted(Udp, udp, "udp"), wanted(Tcp, tcp, "tcp")]);
    assert_eq!(prepared.addresses().iter().map(|(id, ..)| id.0).collect::<Vec<_>>(), [1, 0]);
    // Nobody uses it, was found out a moment ago: too late.
    assert!(border.network.close_unused(ListenerId(1)).is_none() && border.network.close_unused(ListenerId(0)).is_none());
    border.network.take_force(prepared);
    stream.write_all(&request(2)).await.unwrap();
    assert_eq!(border.received().await.1, request(2));
    let mut second = TcpStream::connect(tcp).await.unwrap();
    second.write_all(&request(3)).await.unwrap();
    assert_eq!(border.received().await.1, request(3));
    let pbx = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    pbx.send_to(&request(4), udp).await.unwrap();
    assert_eq!(border.received().await.1, request(4));
}

/// As when a set turns TCP into TLS at the same place: the port is never without somebody who accepts.
#[tokio::test]
async fn another_protocol_at_the_same_place_takes_the_accepting_socket_over() {
    let mut border = Border::open(&[(Tcp, V4)], &[peer("pbx", Tcp, V4, &[])]).await;
    let place = border.address(0);
    assert_eq!(border.takes(vec![wanted(Transport::Tls, place, "secured")]), [1]);
    // Over TLS it is a stranger, and told so by the transport.
    let mut stream = TcpStream::connect(place).await.unwrap();
    assert!(ended(&mut stream).await);
    assert!(matches!(border.event().await, NetEvent::Stranger { transport: Transport::Tls, .. }));
    assert_eq!(border.takes(vec![wanted(Tcp, place, "plain")]), [0], "the one that was taken out");
    let mut stream = TcpStream::connect(place).await.unwrap();
    stream.write_all(&request(1)).await.unwrap();
    assert_eq!(border.received().await.0.listener, ListenerId(0));
}
