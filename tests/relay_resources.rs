//! The media plane's sockets, ports and ends: what is opened is closed, and every stream is reported once.

mod relay_rig;

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::media::control::{Addresses, Command, Event, LatchPolicy, Report, StreamId};
use portcullis::sdp::crypto::Suite::AesCm128HmacSha1_80;
use relay_rig::{Call, Leg, Plane, free_ports, next_stream, own_address, until};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// One test, since the descriptors counted are the whole process's.
#[test]
fn descriptors_and_ports_come_back() {
    for io in [IoChoice::Epoll, IoChoice::IoUring] {
        come_back(io);
    }
}

fn come_back(io: IoChoice) {
    let before = descriptors();
    let mut plane = Plane::start(Settings { workers: 2, io, ..Settings::default() });
    let (soft, hard) = descriptor_limits();
    assert_eq!(soft, hard, "raised as far as it may be");
    let host = own_address();
    let open = |plane: &Plane, n: u16| {
        let stream = next_stream();
        let at = |port: u16| SocketAddr::new(host, 20_000 + n * 4 + port);
        let (a, b) = (Addresses { rtp: at(0), rtcp: at(1) }, Addresses { rtp: at(2), rtcp: at(3) });
        plane.plane.command(Command::Open { stream, a, b, silence: Some(Duration::from_secs(30)) });
        stream
    };
    // A worker that has carried something has opened what it needs for itself.
    for n in 0..2 {
        let stream = open(&plane, n);
        until(|| plane.plane.counters().streams == 1);
        plane.close(stream);
    }
    let started = descriptors();
    for round in 0..3 {
        let streams: HashSet<StreamId> = (0..500).map(|n| open(&plane, n)).collect();
        until(|| plane.plane.counters().streams == 500);
        assert_eq!(descriptors(), started + 2000, "round {round}: four sockets each");
        for stream in &streams {
            plane.plane.command(Command::Close { stream: *stream });
        }
        let closed: HashSet<StreamId> = (0..500)
            .map(|_| match plane.event() {
                Event::Closed { stream, .. } => stream,
                other => panic!("unexpected {other:?}"),
            })
            .collect();
        assert_eq!(closed, streams);
        assert_eq!(descriptors(), started, "round {round}: all closed");
    }
    a_port_in_use_fails_the_open_and_nothing_else(&mut plane);
    closing_what_is_not_open_is_answered(&mut plane);
    calls_leave_descriptors_to_others(&mut plane, &open);
    let started_again = descriptors();
    assert_eq!(started_again, started);

    // The end: open streams are reported, once each.
    let streams: HashSet<StreamId> = (0..20).map(|n| open(&plane, n)).collect();
    let mut events = std::mem::replace(&mut plane.events, tokio::sync::mpsc::unbounded_channel().1);
    drop(plane);
    let mut closed = HashSet::new();
    while let Ok(event) = events.try_recv() {
        match event {
            Event::Closed { stream, .. } => assert!(closed.insert(stream), "twice"),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(closed, streams);
    assert_eq!(descriptors(), before);
}

fn a_port_in_use_fails_the_open_and_nothing_else(plane: &mut Plane) {
    let host = own_address();
    let first = free_ports(host);
    let taken = UdpSocket::bind((host, first + 3)).unwrap();
    let at = |port| SocketAddr::new(host, port);
    let (a, b) = (Addresses { rtp: at(first), rtcp: at(first + 1) }, Addresses { rtp: at(first + 2), rtcp: at(first + 3) });
    let stream = next_stream();
    plane.plane.command(Command::Open { stream, a, b, silence: None });
    match plane.event() {
        Event::OpenFailed { stream: failed, error } => {
            assert_eq!(failed, stream);
            assert!(error.contains(&at(first + 3).to_string()), "the message names the address: {error}");
        }
        other => panic!("unexpected {other:?}"),
    }
    // The three that could be bound are free again, and with the fourth the stream opens.
    drop(taken);
    let stream = next_stream();
    plane.plane.command(Command::Open { stream, a, b, silence: None });
    until(|| plane.plane.counters().streams == 1);
    let mut report = plane.close(stream);
    for side in [&mut report.a, &mut report.b] {
        assert!(side.path.take().is_some(), "a way it would have taken");
    }
    assert_eq!(report, Report::default());
    let mut call = Call::open_with(plane, &Leg::Plain, &Leg::Srtp(AesCm128HmacSha1_80), host, LatchPolicy::Strict, None);
    call.talk();
    plane.close(call.stream);
}

fn closing_what_is_not_open_is_answered(plane: &mut Plane) {
    let stream = next_stream();
    assert_eq!(plane.close(stream), Report::default());
}

/// Operators were answered a tenth of a second late, and new connections not at all, once calls had taken every descriptor.
fn calls_leave_descriptors_to_others(plane: &mut Plane, open: &dyn Fn(&Plane, u16) -> StreamId) {
    let before = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(512), ..before }).unwrap();
    let streams: Vec<StreamId> = (0..200).map(|n| open(plane, n)).collect();
    let mut refused = HashSet::new();
    until(|| {
        while let Ok(event) = plane.events.try_recv() {
            match event {
                Event::OpenFailed { stream, error } => {
                    assert!(error.contains("of 512 descriptors 32 are left") && error.contains("LimitNOFILE"), "{error}");
                    refused.insert(stream);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        plane.plane.counters().streams as usize + refused.len() == streams.len()
    });
    assert!((90..120).contains(&(streams.len() - refused.len())), "{} are open", streams.len() - refused.len());
    let others: Vec<_> = (0..32).map(|_| std::fs::File::open("/dev/null").expect("what is left to others")).collect();
    drop(others);
    setrlimit(Resource::Nofile, before).unwrap();
    for stream in streams.into_iter().filter(|stream| !refused.contains(stream)) {
        plane.close(stream);
    }
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Soft and hard, as proc(5) writes them.
fn descriptor_limits() -> (String, String) {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut fields = line.split_whitespace().map(str::to_owned);
    (fields.next().unwrap(), fields.next().unwrap())
}
