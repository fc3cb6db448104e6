//! One ring on one thread, so that what comes together in one wake is the test's to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::*;
use crate::adapters::media::Settings;
use crate::adapters::media::handshakes::Handshakes;
use crate::adapters::media::path::{Io, Way};
use crate::media::control::{Addresses, Configuration, LatchPolicy, Protection, Side, StreamId};

struct World {
    ring: Ring,
    streams: Streams,
}

/// A call in the clear, and its two peers.
struct Call {
    slot: usize,
    ours: [SocketAddr; 2],
    peers: [UdpSocket; 2],
}

const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

fn packet(sequence: u16) -> [u8; 172] {
    let mut packet = [0x55; 172];
    packet[..2].copy_from_slice(&[0x80, 0]);
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    packet
}

impl World {
    fn new() -> World {
        let (events, _) = tokio::sync::mpsc::unbounded_channel();
        let streams = Streams::new(0, events, Handshakes::new(Arc::from(Vec::new()), Instant::now()));
        World { ring: Ring::new().expect("io_uring is needed to test it"), streams }
    }

    fn call(&mut self, id: u64) -> Call {
        let any = Addresses { rtp: ANY, rtcp: ANY };
        let sockets = Sockets::open(any, any, &Settings::default(), Instant::now()).unwrap();
        let ours = [Place::A_RTP, Place::B_RTP].map(|place| UdpSocket::from(sockets.at(place).try_clone_to_owned().unwrap()).local_addr().unwrap());
        let peers = [(); 2].map(|()| UdpSocket::bind(ANY).unwrap());
        let open = self.streams.admit(Time::ZERO, StreamId(id), sockets, None, Way::Sockets(Io::IoUring)).unwrap();
        for (side, peer) in [Side::A, Side::B].into_iter().zip(&peers) {
            let remote = Addresses { rtp: peer.local_addr().unwrap(), rtcp: ANY };
            let set = Configuration::new(Some(Some(remote)), LatchPolicy::Strict, Some(Protection::Plain), Some(Protection::Plain));
            open.stream.configure(Time::ZERO, side, set).unwrap();
        }
        self.ring.admit(open.slot, &open.sockets);
        let slot = open.slot;
        Call { slot, ours, peers }
    }

    /// One wake: what was made ready leaves, and what has come has its turn. How many completions there were.
    fn wake(&mut self) -> usize {
        let count = self.ring.wait(20, None).unwrap();
        let mut i = 0;
        while self.ring.token(i).is_some() {
            self.ring.serve(Time::from_millis(1), i, &mut self.streams);
            i += 1;
        }
        count
    }

    fn close(&mut self, call: &Call, id: u64) {
        self.ring.forget(call.slot);
        self.streams.dismiss(StreamId(id));
    }
}

#[test]
fn a_send_that_fails_for_an_earlier_one_is_made_again() {
    let mut world = World::new();
    let call = world.call(1);
    world.wake();
    let [a, b] = call.peers;
    let gone = b.local_addr().unwrap();
    drop(b);
    // Both are sent in one call: the answer to the first, that nobody listens, is told to the second.
    a.send_to(&packet(1), call.ours[0]).unwrap();
    a.send_to(&packet(2), call.ours[0]).unwrap();
    world.wake();
    assert_eq!(world.streams.counters.forwarded, 2, "both came in one wake");
    world.wake();
    let b = UdpSocket::bind(gone).unwrap();
    b.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    for _ in 0..4 {
        world.wake();
    }
    let counters = world.streams.counters;
    assert_eq!((counters.forwarded, counters.send_failed), (2, 0));
    assert!(counters.receive_failed > 0, "the answer is told of all the same");
    let mut bytes = [0; 200];
    let len = b.recv(&mut bytes).expect("the second arrives");
    assert_eq!(bytes[..len], packet(2));
}

#[test]
fn more_packets_at_once_than_cells_all_pass_and_receives_wait_for_cells() {
    let mut world = World::new();
    let calls: Vec<Call> = (0..400).map(|id| world.call(id)).collect();
    while !world.ring.owed.is_empty() {
        world.wake();
    }
    for call in &calls {
        call.peers[0].send_to(&packet(7), call.ours[0]).unwrap();
        call.peers[1].set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    }
    let mut told = 0;
    while world.streams.counters.forwarded < 400 {
        told += world.wake();
    }
    world.wake();
    for call in &calls {
        let mut bytes = [0; 200];
        assert_eq!(call.peers[1].recv(&mut bytes).expect("it arrives"), 172);
    }
    // Each packet is told of, and each receive that found no cell once: not again in every wake until there is one.
    assert!(told <= 400 + 400, "{told} completions");
    // Those that ended for want of a cell go on.
    for call in &calls {
        call.peers[0].send_to(&packet(8), call.ours[0]).unwrap();
    }
    while world.streams.counters.forwarded < 800 {
        world.wake();
    }
}

#[test]
fn a_completion_that_comes_late_is_not_the_next_streams() {
    let mut world = World::new();
    let first = world.call(1);
    world.wake();
    let stale = token(first.slot, world.ring.receives[first.slot].generation, Place::A_RTP);
    world.close(&first, 1);
    let second = world.call(2);
    assert_eq!(second.slot, first.slot);
    world.wake();
    let armed = world.ring.receives[second.slot].armed;
    assert_eq!(armed, 0b1111);
    // As if the kernel had answered the cancellation only now.
    world.ring.done.push(Done { token: stale, result: -libc::ECANCELED, flags: 0 });
    let last = world.ring.done.len() - 1;
    world.ring.serve(Time::ZERO, last, &mut world.streams);
    assert_eq!((world.ring.receives[second.slot].armed, world.ring.owed.len()), (armed, 0));
    second.peers[0].send_to(&packet(1), second.ours[0]).unwrap();
    while world.streams.counters.forwarded < 1 {
        world.wake();
    }
}

#[test]
fn a_full_queue_loses_no_request() {
    let mut world = World::new();
    let call = world.call(1);
    // Twice as many as there is room for, none of them shown to the kernel by a wait.
    for n in 0..2 * u64::from(QUEUE) {
        assert!(world.ring.push(opcode::Nop::new().build().user_data(CANCEL | n << 3)), "request {n}");
    }
    call.peers[0].send_to(&packet(1), call.ours[0]).unwrap();
    while world.streams.counters.forwarded < 1 {
        world.wake();
    }
}
