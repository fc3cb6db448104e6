//! Streams that the kernel forwards (XDP), between network namespaces: what goes by its entries, what does not, and that entries are there no longer
//! than the latch and signalling have it so.

mod kernel_rig;

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kernel_rig::*;
use portcullis::adapters::media::kernel::{self, Attach, Mode};
use portcullis::adapters::media::path::Way;
use portcullis::adapters::media::{MediaPlane, Settings};
use portcullis::media::control::{Command as Media, Content, Event, KernelKind, Side, StreamId};
use portcullis::media::shortcut::WhyNot;

const OURS_A: &str = "10.1.0.1:20000";
const OURS_B: &str = "10.2.0.1:20002";

/// A stream from A to B whose direction from A is in the kernel: one packet has been through the sockets.
fn established(plane: &Plane, ours: [&str; 2], peers: [&str; 2]) -> [UdpSocket; 2] {
    let sockets = [peer(Side::A, peers[0]), peer(Side::B, peers[1])];
    plane.open(1, ours, None);
    plane.peer(1, Side::A, Some(peers[0]));
    plane.peer(1, Side::B, Some(peers[1]));
    until("the first packet", || {
        sockets[0].send_to(&voice(7, 1), ours[0]).unwrap();
        take(&sockets[1]).is_some()
    });
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    sockets
}

fn works() -> Plane {
    let plane = Plane::start(settings());
    let probe = plane.plane.probes().iter().find(|probe| matches!(probe.way, Way::Kernel(_))).expect("it was tried");
    assert!(probe.outcome.is_ok(), "{probe:?}");
    plane
}

/// `sequences` of A arrive at B as they were sent, from our address there.
fn pass(from: &UdpSocket, to: &UdpSocket, ours: [&str; 2], sequences: std::ops::RangeInclusive<u16>) {
    for sequence in sequences {
        from.send_to(&voice(7, sequence), ours[0]).unwrap();
        let (packet, source) = take(to).unwrap_or_else(|| panic!("packet {sequence} is lost"));
        assert_eq!((packet, source.to_string()), (voice(7, sequence), ours[1].to_owned()));
    }
}

#[test]
fn a_plain_stream_is_forwarded_in_the_kernel_in_either_family() {
    if !inside("a_plain_stream_is_forwarded_in_the_kernel_in_either_family") {
        return;
    }
    network();
    let four = ([OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
    let six = (["[fd01::1]:20000", "[fd02::1]:20002"], ["[fd01::2]:4000", "[fd02::2]:4000"]);
    for (ours, peers) in [four, six, ([four.0[0], six.0[1]], [four.1[0], six.1[1]]), ([six.0[0], four.0[1]], [six.1[0], four.1[1]])] {
        let mut plane = works();
        let [a, b] = established(&plane, ours, peers);
        let before = plane.report(1);
        pass(&a, &b, ours, 2..=101);
        let report = plane.report(1);
        assert_eq!(plane.in_kernel(), 100, "{ours:?}: the kernel's own count");
        assert_eq!((report.a.received - before.a.received, report.b.sent - before.b.sent), (100, 100), "{ours:?}");
        assert_eq!((report.a.received_bytes - before.a.received_bytes, report.a.absorbed, report.a.lost), (17_200, 100, 0));
        assert!(report.a.last > before.a.last && report.b.last_sent == report.a.last);
        assert!(!plane.is_in_kernel(1, Side::B), "nothing has come from there");
        // The other way, once its source is known.
        pass(&b, &a, [ours[1], ours[0]], 1..=1);
        until("both ways", || plane.is_in_kernel(1, Side::B));
        pass(&b, &a, [ours[1], ours[0]], 2..=11);
        plane.plane.command(Media::Close { stream: StreamId(1) });
        let Some(Event::Closed { report, .. }) = plane.event(Duration::from_secs(2)) else { panic!("not closed") };
        assert_eq!((report.b.received, report.a.sent, plane.in_kernel()), (11, 11, 110));
        assert_eq!(report.a.path, Some((Way::Kernel(KernelKind::Xdp), None)), "the way it had to its end");
    }
}

#[test]
fn what_fits_no_entry_comes_to_the_sockets() {
    if !inside("what_fits_no_entry_comes_to_the_sockets") {
        return;
    }
    network();
    let plane = works();
    let [a, b] = established(&plane, [OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Rtp { events: 1 << 101 } });
    pass(&a, &b, [OURS_A, OURS_B], 2..=2);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    let (start, kernel) = (plane.report(1).a, plane.in_kernel());
    let mut event = voice(7, 3);
    event[1] = 101;
    let mut extended = voice(7, 4);
    extended[0] |= 0x10;
    extended[12..16].copy_from_slice(&[0xbe, 0xde, 0, 1]);
    let jump = voice(7, 9_000);
    for packet in [&event, &extended, &voice(8, 1), &jump] {
        a.send_to(packet, OURS_A).unwrap();
        assert_eq!(take(&b).map(|(packet, _)| packet).as_ref(), Some(packet));
    }
    assert_eq!((plane.report(1).a.received - start.received, plane.in_kernel()), (4, kernel));
    // And the stream itself is where it was, though another source was heard meanwhile.
    pass(&a, &b, [OURS_A, OURS_B], 5..=9);
    until("it goes on in the kernel", || {
        plane.report(1);
        plane.in_kernel() > kernel
    });
    // Bleed: another port, another host, and what is not RTP at all.
    let strangers = [peer(Side::A, "10.1.0.2:4002"), peer(Side::A, "10.1.0.3:4000")];
    let refused = plane.report(1).a.refused_source;
    for stranger in &strangers {
        stranger.send_to(&voice(7, 10), OURS_A).unwrap();
    }
    a.send_to(b"hello", OURS_A).unwrap();
    assert_eq!(take(&b), None);
    let report = plane.report(1).a;
    assert_eq!((report.refused_source - refused, report.refused_malformed), (2, 1));
}

#[test]
fn an_entry_is_gone_before_signalling_takes_effect() {
    if !inside("an_entry_is_gone_before_signalling_takes_effect") {
        return;
    }
    network();
    let mut plane = works();
    let [a, b] = established(&plane, [OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
    pass(&a, &b, [OURS_A, OURS_B], 2..=4);
    // B moves: from now on nothing reaches its old place.
    let moved = peer(Side::B, "10.2.0.3:5000");
    plane.peer(1, Side::B, Some("10.2.0.3:5000"));
    plane.report(1);
    pass(&a, &moved, [OURS_A, OURS_B], 5..=9);
    assert!(plane.is_in_kernel(1, Side::A), "and in the kernel at once, since A is where it was");
    // A moves: what comes from its old place is refused.
    let other = peer(Side::A, "10.1.0.3:4000");
    plane.peer(1, Side::A, Some("10.1.0.3:4000"));
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::NoSource));
    let refused = plane.report(1).a.refused_source;
    a.send_to(&voice(7, 10), OURS_A).unwrap();
    assert_eq!(take(&moved), None);
    assert_eq!(plane.report(1).a.refused_source, refused + 1);
    pass(&other, &moved, [OURS_A, OURS_B], 10..=12);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    // Hold.
    plane.peer(1, Side::B, None);
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::NotReady));
    other.send_to(&voice(7, 13), OURS_A).unwrap();
    assert_eq!(take(&moved), None);
    plane.peer(1, Side::B, Some("10.2.0.3:5000"));
    plane.report(1);
    pass(&other, &moved, [OURS_A, OURS_B], 14..=16);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    // Fax.
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Udptl });
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::Fax));
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::default() });
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    // The end.
    plane.plane.command(Media::Close { stream: StreamId(1) });
    assert!(matches!(plane.event(Duration::from_secs(2)), Some(Event::Closed { .. })));
    other.send_to(&voice(7, 17), OURS_A).unwrap();
    assert_eq!(take(&moved), None);
}

#[test]
fn silence_is_noticed_and_not_while_the_kernel_forwards() {
    if !inside("silence_is_noticed_and_not_while_the_kernel_forwards") {
        return;
    }
    network();
    let mut plane = works();
    let [a, b] = [peer(Side::A, "10.1.0.2:4000"), peer(Side::B, "10.2.0.2:4000")];
    plane.open(1, [OURS_A, OURS_B], Some(Duration::from_millis(600)));
    plane.peer(1, Side::A, Some("10.1.0.2:4000"));
    plane.peer(1, Side::B, Some("10.2.0.2:4000"));
    plane.report(1);
    let began = Instant::now();
    let mut sequence = 0;
    while began.elapsed() < Duration::from_millis(2_000) {
        sequence += 1;
        pass(&a, &b, [OURS_A, OURS_B], sequence..=sequence);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(plane.events.try_recv().is_err(), "it was never silent");
    let last = plane.report(1).a.last;
    assert!(plane.in_kernel() > 50);
    let Some(Event::Silent { since, .. }) = plane.event(Duration::from_secs(3)) else { panic!("not noticed") };
    assert_eq!(Some(since), last);
}

#[test]
fn the_kernel_reckons_losses_as_the_sockets_do() {
    if !inside("the_kernel_reckons_losses_as_the_sockets_do") {
        return;
    }
    network();
    // The same packets, with losses and two the wrong way round, across the wrap.
    let order = || {
        (0..300u16)
            .filter(|n| n % 41 != 7)
            .map(|n| {
                if n == 150 {
                    151
                } else if n == 151 {
                    150
                } else {
                    n
                }
            })
            .map(|n| n.wrapping_add(65_400))
    };
    let mut reports = Vec::new();
    for mode in [Mode::Xdp, Mode::Off] {
        let plane = Plane::start(Settings { kernel: kernel::Settings { mode, ..settings().kernel }, ..settings() });
        let [a, b] = [peer(Side::A, "10.1.0.2:4000"), peer(Side::B, "10.2.0.2:4000")];
        plane.open(1, [OURS_A, OURS_B], None);
        plane.peer(1, Side::A, Some("10.1.0.2:4000"));
        plane.peer(1, Side::B, Some("10.2.0.2:4000"));
        plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Rtp { events: 1 << 101 } });
        plane.report(1);
        for (number, sequence) in order().enumerate() {
            // Now and then one that comes to the socket in the middle of the others: an event.
            let mut packet = voice(7, sequence);
            packet[1] = if number % 50 == 49 { 101 } else { 0 };
            a.send_to(&packet, OURS_A).unwrap();
            take(&b).unwrap_or_else(|| panic!("{sequence} is lost"));
            if number == 0 && mode == Mode::Xdp {
                until("in the kernel", || plane.is_in_kernel(1, Side::A));
            }
            if packet[1] == 101 {
                plane.report(1);
            }
        }
        let report = plane.report(1).a;
        assert_eq!(plane.in_kernel() == 292 - 1 - 5, mode == Mode::Xdp, "{}", plane.in_kernel());
        reports.push((report.received, report.received_bytes, report.lost, report.gaps));
    }
    assert_eq!(reports[0], reports[1]);
    assert_eq!(reports[0].2, 8);
}

#[test]
fn what_leaves_is_as_if_our_socket_had_sent_it() {
    if !inside("what_leaves_is_as_if_our_socket_had_sent_it") {
        return;
    }
    network();
    let plane = works();
    let [a, b] = established(&plane, [OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
    let mut seen = Vec::new();
    for sequence in [2, 3] {
        let watch = Command::new("ip")
            .args(["netns", "exec", "pc-kernel-b", "timeout", "5", "tcpdump", "-nvvi", "eb", "--immediate-mode", "-c1", "udp", "and", "dst", "port", "4000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(500));
        if sequence == 3 {
            plane.report(1);
            assert_eq!(plane.in_kernel(), 1);
            // By the sockets: another source.
            a.send_to(&voice(8, 1), OURS_A).unwrap();
        } else {
            pass(&a, &b, [OURS_A, OURS_B], sequence..=sequence);
        }
        let text = String::from_utf8_lossy(&watch.wait_with_output().unwrap().stdout).into_owned();
        assert!(text.contains("udp sum ok") || text.contains("bad udp cksum") && sequence == 3, "{text}");
        let field = |name: &str| text.split(name).nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default().trim().to_owned();
        seen.push((field("tos"), field("ttl"), field("flags")));
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!(seen[0].0, "0xb8");
}

#[test]
fn why_the_kernel_forwards_nothing_is_told() {
    if !inside("why_the_kernel_forwards_nothing_is_told") {
        return;
    }
    network();
    let told = |settings: Settings| {
        let plane = Plane::start(settings);
        let probe = plane.plane.probes().iter().find(|probe| matches!(probe.way, Way::Kernel(_))).cloned();
        (probe.and_then(|probe| probe.outcome.err()).unwrap_or_default(), plane)
    };
    let with = |change: &dyn Fn(&mut kernel::Settings)| {
        let mut all = settings();
        change(&mut all.kernel);
        all
    };
    let (why, _) = told(with(&|kernel| kernel.interfaces = vec!["eth7".to_owned()]));
    assert_eq!(why, "there is no interface \"eth7\" ([media] interfaces)");
    let (why, _) = told(with(&|kernel| kernel.addresses = vec!["192.0.2.1".parse().unwrap()]));
    assert!(why.starts_with("no interface holds a media address"), "{why}");
    // Somebody else's program is there already: ours, of another plane.
    let first = Plane::start(settings());
    let (why, _) = told(settings());
    assert!(why.starts_with("it cannot sit on va"), "{why}");
    drop(first);
    run("echo 0 >/proc/sys/net/ipv6/conf/vb/forwarding");
    let (why, plane) = told(settings());
    assert!(why.contains("sysctl -w net.ipv6.conf.vb.forwarding=1"), "{why}");
    // And the call goes on by the sockets.
    let [a, b] = [peer(Side::A, "10.1.0.2:4000"), peer(Side::B, "10.2.0.2:4000")];
    plane.open(1, [OURS_A, OURS_B], None);
    plane.peer(1, Side::A, Some("10.1.0.2:4000"));
    plane.peer(1, Side::B, Some("10.2.0.2:4000"));
    plane.report(1);
    pass(&a, &b, [OURS_A, OURS_B], 1..=5);
    assert_eq!((plane.report(1).a.received, plane.in_kernel()), (5, 0));
}

#[test]
fn the_driver_s_own_receive_path_forwards_too() {
    if !inside("the_driver_s_own_receive_path_forwards_too") {
        return;
    }
    network();
    // A veth takes what is sent to it past its stack only where it polls.
    run("ip netns exec pc-kernel-a ethtool -K ea gro on && ip netns exec pc-kernel-b ethtool -K eb gro on");
    let plane = Plane::start(Settings { kernel: kernel::Settings { attach: Attach::Driver, ..settings().kernel }, ..settings() });
    let [a, b] = established(&plane, [OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
    pass(&a, &b, [OURS_A, OURS_B], 2..=101);
    plane.report(1);
    assert_eq!(plane.in_kernel(), 100);
}

const DOOMED: &str = "PORTCULLIS_TEST_DOOMED";

#[test]
fn entries_do_not_outlive_us() {
    if !inside("entries_do_not_outlive_us") {
        return;
    }
    if std::env::var_os(DOOMED).is_some() {
        let plane = works();
        let [a, b] = established(&plane, [OURS_A, OURS_B], ["10.1.0.2:4000", "10.2.0.2:4000"]);
        pass(&a, &b, [OURS_A, OURS_B], 2..=5);
        assert!(run("ip link show va").contains("xdp"));
        // As a crash would: nothing is dropped, nothing is closed in order.
        std::process::abort();
    }
    network();
    let program = std::env::current_exe().unwrap();
    let doomed = Command::new(program).args(["entries_do_not_outlive_us", "--exact", "--nocapture"]).env(DOOMED, "1").output().unwrap();
    let text = String::from_utf8_lossy(&doomed.stderr).into_owned();
    assert!(!doomed.status.success() && !text.contains("panicked"), "{text}");
    until("the interfaces are as before", || !run("ip link show").contains("xdp"));
    let [a, b] = [peer(Side::A, "10.1.0.2:4000"), peer(Side::B, "10.2.0.2:4000")];
    a.send_to(&voice(7, 6), OURS_A).unwrap();
    assert_eq!(take(&b), None);
    // Nor an end in order.
    let plane: MediaPlane = works().plane;
    plane.close();
    until("taken off", || !run("ip link show").contains("xdp"));
}
