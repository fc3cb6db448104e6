//! What the network and the peers do wrong, told of the stream and side it belongs to, by both ways of serving the sockets.

mod relay_rig;

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::media::control::{Icmp, LatchPolicy, Report, StreamId};
use relay_rig::{Call, Leg, Plane, exchange, own_address, until};

const BOTH: [IoChoice; 2] = [IoChoice::Epoll, IoChoice::IoUring];

fn start(io: IoChoice) -> Plane {
    Plane::start(Settings { io, ..Settings::default() })
}

fn report(plane: &Plane, stream: StreamId) -> Report {
    plane.plane.inspect(stream).expect("it is open").report
}

#[test]
fn a_closed_port_is_told_of_the_side_whose_it_is() {
    for io in BOTH {
        for host in [own_address(), IpAddr::V6(Ipv6Addr::LOCALHOST)] {
            let mut plane = start(io);
            let mut call = Call::open_with(&plane, &Leg::Plain, &Leg::Plain, host, LatchPolicy::SignalledAddress, None);
            call.talk();
            let mut other = Call::open(&plane, &Leg::Plain, &Leg::Plain);
            other.talk();
            let gone = call.b.addresses().rtp;
            drop(std::mem::replace(&mut call.b.rtp, std::net::UdpSocket::bind((own_address(), 0)).unwrap()));
            for n in 1..=3 {
                call.a.send_rtp();
                until(|| report(&plane, call.stream).b.unreachable.is_some_and(|seen| seen.errors >= n));
            }
            let seen = report(&plane, call.stream);
            let unreachable = seen.b.unreachable.unwrap();
            assert_eq!((unreachable.icmp, unreachable.to, unreachable.by), (Icmp::Port, Some(gone), Some(gone.ip())), "{io:?}");
            assert!(unreachable.first <= unreachable.last);
            assert_eq!((seen.a.unreachable, report(&plane, other.stream).b.unreachable), (None, None), "nobody else's");
            // The peer comes back, and nothing of the errors stands in its way.
            call.b.rtp = std::net::UdpSocket::bind(gone).expect("the port is free");
            exchange(&mut call.a, &mut call.b);
            exchange(&mut call.b, &mut call.a);
            other.talk();
            let closed = plane.close(call.stream);
            assert_eq!((closed.b.unreachable.map(|seen| seen.icmp), closed.b.send_failed), (Some(Icmp::Port), 0), "{io:?}");
        }
    }
}

#[test]
fn a_datagram_too_long_is_told_of_the_side_that_sent_it() {
    for io in BOTH {
        let mut plane = start(io);
        let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
        call.talk();
        call.a.rtp.send_to(&[0x80; 3000], call.a.relay.rtp).unwrap();
        until(|| plane.plane.counters().oversized == 1);
        call.talk();
        let report = plane.close(call.stream);
        assert_eq!((report.a.refused_oversized, report.a.refused_malformed, report.b.refused_oversized), (1, 1, 0), "{io:?}");
    }
}

#[test]
fn streams_that_say_nothing_wake_nobody() {
    for io in BOTH {
        let plane = start(io);
        let host = own_address();
        let mut calls = Vec::new();
        for _ in 0..200 {
            calls.push(Call::open_with(&plane, &Leg::Plain, &Leg::Plain, host, LatchPolicy::Strict, Some(Duration::from_secs(60))));
        }
        // The last command has been carried out once the worker shows its stream.
        until(|| plane.plane.inspect(calls[199].stream).is_some());
        std::thread::sleep(Duration::from_millis(50));
        let before = plane.plane.counters().wakes;
        std::thread::sleep(Duration::from_millis(1500));
        let wakes = plane.plane.counters().wakes - before;
        assert!(wakes <= 8, "{io:?}: {wakes} wakes in 1.5 s, more than looks for silence need");
    }
}
