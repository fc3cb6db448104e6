//! Streams that the kernel forwards by nftables, between network namespaces: what goes by its elements, what does not, that elements are there no longer
//! than signalling and routes have it so, and what can be told of packets nobody has seen. Needs `nft` besides what the network needs, to look from outside.

mod kernel_rig;

use std::net::UdpSocket;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use kernel_rig::*;
use portcullis::adapters::media::Settings;
use portcullis::adapters::media::kernel::{self, Mode};
use portcullis::adapters::media::path::Way;
use portcullis::media::control::{Command as Media, Content, Event, KernelKind, Side, StreamId};
use portcullis::media::shortcut::WhyNot;

const OURS: [&str; 2] = ["10.1.0.1:20000", "10.2.0.1:20002"];
const PEERS: [&str; 2] = ["10.1.0.2:4000", "10.2.0.2:4000"];
const NFT: Way = Way::Kernel(KernelKind::Nft);

fn with(mode: Mode) -> Settings {
    let settings = settings();
    Settings { kernel: kernel::Settings { mode, ..settings.kernel }, ..settings }
}

fn works() -> Plane {
    let plane = Plane::start(with(Mode::Nft));
    let probe = plane.plane.probes().iter().find(|probe| probe.way == NFT).expect("it was tried");
    assert_eq!(probe.outcome.as_deref(), Ok("va, vb"));
    plane
}

/// A stream from A to B; one packet has been through the sockets.
fn open(plane: &Plane, ours: [&str; 2], peers: [&str; 2]) -> [UdpSocket; 2] {
    let sockets = [peer(Side::A, peers[0]), peer(Side::B, peers[1])];
    plane.open(1, ours, None);
    plane.peer(1, Side::A, Some(peers[0]));
    plane.peer(1, Side::B, Some(peers[1]));
    until("the first packet", || {
        sockets[0].send_to(&voice(7, 1), ours[0]).unwrap();
        take(&sockets[1]).is_some()
    });
    sockets
}

/// The same, whose direction from A is in the kernel.
fn established(plane: &Plane, ours: [&str; 2], peers: [&str; 2]) -> [UdpSocket; 2] {
    let sockets = open(plane, ours, peers);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    sockets
}

fn pass(from: &UdpSocket, to: &UdpSocket, ours: [&str; 2], sequences: std::ops::RangeInclusive<u16>) {
    for sequence in sequences {
        from.send_to(&voice(7, sequence), ours[0]).unwrap();
        let (packet, source) = take(to).unwrap_or_else(|| panic!("packet {sequence} is lost"));
        assert_eq!((packet, source.to_string()), (voice(7, sequence), ours[1].to_owned()));
    }
}

fn absorbed(plane: &Plane) -> u64 {
    plane.report(1).a.absorbed
}

fn tables() -> String {
    run("nft list tables")
}

#[test]
fn a_plain_stream_is_forwarded_in_either_family_without_routing() {
    if !inside("a_plain_stream_is_forwarded_in_either_family_without_routing") {
        return;
    }
    network();
    run("for side in a b; do for ip in ipv4 ipv6; do echo 0 >/proc/sys/net/$ip/conf/v$side/forwarding; done; done");
    let six = (["[fd01::1]:20000", "[fd02::1]:20002"], ["[fd01::2]:4000", "[fd02::2]:4000"]);
    for (ours, peers) in [(OURS, PEERS), six] {
        let mut plane = works();
        let [a, b] = established(&plane, ours, peers);
        let before = plane.report(1);
        pass(&a, &b, ours, 2..=101);
        let report = plane.report(1);
        assert_eq!((report.a.received - before.a.received, report.b.sent - before.b.sent), (100, 100), "{ours:?}");
        assert_eq!((report.a.received_bytes - before.a.received_bytes, report.a.absorbed, report.a.lost), (17_200, 100, 0));
        assert!(report.a.last > before.a.last && report.b.last_sent == report.a.last);
        assert!(run("nft list ruleset").contains("streams4"), "others can read the rules");
        assert!(!plane.is_in_kernel(1, Side::B), "nothing has come from there");
        pass(&b, &a, [ours[1], ours[0]], 1..=1);
        until("both ways", || plane.is_in_kernel(1, Side::B));
        pass(&b, &a, [ours[1], ours[0]], 2..=11);
        // Not asked in between: what is taken out tells what it has counted.
        plane.plane.command(Media::Close { stream: StreamId(1) });
        let Some(Event::Closed { report, .. }) = plane.event(Duration::from_secs(2)) else { panic!("not closed") };
        assert_eq!((report.b.received, report.a.sent, report.b.absorbed, plane.in_kernel()), (11, 11, 10, 110));
        assert_eq!(report.a.path, Some((NFT, None)), "the way it had to its end");
        assert!(!run("nft list table netdev portcullis_media").contains("elements"), "and nothing is left of it");
        drop(plane);
        assert!(!tables().contains("portcullis_media"));
    }
}

/// Over veth a sender leaves the sum unfinished, which XDP must leave to the sockets.
#[test]
fn checksums_are_right_whether_finished_or_not() {
    if !inside("checksums_are_right_whether_finished_or_not") {
        return;
    }
    network();
    run("ip netns exec pc-kernel-a ethtool -K ea tx on");
    let plane = works();
    let [a, b] = established(&plane, OURS, PEERS);
    pass(&a, &b, OURS, 2..=31);
    run("ip netns exec pc-kernel-a ethtool -K ea tx off");
    pass(&a, &b, OURS, 32..=61);
    assert_eq!(absorbed(&plane), 60);
    assert!(!run("ip netns exec pc-kernel-b nstat -az UdpInCsumErrors").contains(" 1"), "none is wrong");
}

#[test]
fn what_fits_no_element_comes_to_the_sockets() {
    if !inside("what_fits_no_element_comes_to_the_sockets") {
        return;
    }
    network();
    run("ip link set vb mtu 1300");
    let plane = works();
    let [a, b] = open(&plane, OURS, PEERS);
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Rtp { events: 1 << 101 } });
    pass(&a, &b, OURS, 2..=2);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    let (start, kernel) = (plane.report(1).a, absorbed(&plane));
    let mut event = voice(7, 3);
    event[1] = 101;
    let mut extended = voice(7, 4);
    extended[0] |= 0x10;
    extended[12..16].copy_from_slice(&[0xbe, 0xde, 0, 1]);
    let mut long = voice(7, 5);
    long.resize(1_400, 0xd5);
    for packet in [&event, &extended, &long, &voice(8, 1)] {
        a.send_to(packet, OURS[0]).unwrap();
        assert_eq!(take(&b).map(|(packet, _)| packet).as_ref(), Some(packet));
    }
    assert_eq!((plane.report(1).a.received - start.received, absorbed(&plane)), (4, kernel));
    pass(&a, &b, OURS, 6..=9);
    until("it goes on in the kernel", || absorbed(&plane) > kernel);
    // Bleed: another port, another host, and what is not RTP at all.
    let refused = plane.report(1).a.refused_source;
    for stranger in [peer(Side::A, "10.1.0.2:4002"), peer(Side::A, "10.1.0.3:4000")] {
        stranger.send_to(&voice(7, 10), OURS[0]).unwrap();
    }
    a.send_to(b"hello", OURS[0]).unwrap();
    assert_eq!(take(&b), None);
    let report = plane.report(1).a;
    assert_eq!((report.refused_source - refused, report.refused_malformed), (2, 1));
}

#[test]
fn an_element_is_gone_before_signalling_takes_effect() {
    if !inside("an_element_is_gone_before_signalling_takes_effect") {
        return;
    }
    network();
    let mut plane = works();
    let [a, b] = established(&plane, OURS, PEERS);
    pass(&a, &b, OURS, 2..=4);
    // B moves.
    let moved = peer(Side::B, "10.2.0.3:5000");
    plane.peer(1, Side::B, Some("10.2.0.3:5000"));
    plane.report(1);
    pass(&a, &moved, OURS, 5..=9);
    assert!(plane.is_in_kernel(1, Side::A), "and in the kernel at once, since A is where it was");
    assert_eq!(take(&b), None);
    // A moves: what comes from its old place is refused.
    let other = peer(Side::A, "10.1.0.3:4000");
    plane.peer(1, Side::A, Some("10.1.0.3:4000"));
    let refused = plane.report(1).a.refused_source;
    a.send_to(&voice(7, 10), OURS[0]).unwrap();
    assert_eq!(take(&moved), None);
    assert_eq!(plane.report(1).a.refused_source, refused + 1);
    pass(&other, &moved, OURS, 10..=12);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    // Hold, and fax.
    plane.peer(1, Side::B, None);
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::NotReady));
    other.send_to(&voice(7, 13), OURS[0]).unwrap();
    assert_eq!(take(&moved), None);
    plane.peer(1, Side::B, Some("10.2.0.3:5000"));
    plane.report(1);
    pass(&other, &moved, OURS, 14..=16);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Udptl });
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::Fax));
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::default() });
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    plane.plane.command(Media::Close { stream: StreamId(1) });
    assert!(matches!(plane.event(Duration::from_secs(2)), Some(Event::Closed { .. })));
    other.send_to(&voice(7, 17), OURS[0]).unwrap();
    assert_eq!(take(&moved), None);
}

#[test]
fn losses_are_seen_when_a_packet_comes_to_the_socket() {
    if !inside("losses_are_seen_when_a_packet_comes_to_the_socket") {
        return;
    }
    network();
    let plane = works();
    let [a, b] = open(&plane, OURS, PEERS);
    plane.plane.command(Media::Carry { stream: StreamId(1), content: Content::Rtp { events: 1 << 101 } });
    pass(&a, &b, OURS, 2..=2);
    until("in the kernel", || plane.is_in_kernel(1, Side::A));
    pass(&a, &b, OURS, 3..=50);
    pass(&a, &b, OURS, 56..=99);
    let report = plane.report(1).a;
    assert_eq!((report.received, report.lost), (1 + 1 + 48 + 44, 0), "nobody has seen the numbers");
    let mut event = voice(7, 100);
    event[1] = 101;
    a.send_to(&event, OURS[0]).unwrap();
    take(&b).unwrap();
    assert_eq!(plane.report(1).a.lost, 5);
    pass(&a, &b, OURS, 101..=120);
    let report = plane.report(1).a;
    assert_eq!((report.received, report.lost), (115, 5));
}

#[test]
fn silence_is_noticed_and_not_while_nftables_forwards() {
    if !inside("silence_is_noticed_and_not_while_nftables_forwards") {
        return;
    }
    network();
    let mut plane = works();
    let [a, b] = PEERS.map(|at| peer(if at == PEERS[0] { Side::A } else { Side::B }, at));
    plane.open(1, OURS, Some(Duration::from_millis(600)));
    plane.peer(1, Side::A, Some(PEERS[0]));
    plane.peer(1, Side::B, Some(PEERS[1]));
    plane.report(1);
    let began = Instant::now();
    let mut sequence = 0;
    while began.elapsed() < Duration::from_millis(3_000) {
        sequence += 1;
        pass(&a, &b, OURS, sequence..=sequence);
        thread::sleep(Duration::from_millis(20));
    }
    assert!(plane.events.try_recv().is_err(), "it was never silent");
    let Some(Event::Silent { .. }) = plane.event(Duration::from_secs(3)) else { panic!("not noticed") };
    assert!(absorbed(&plane) > 50);
}

#[test]
fn what_leaves_is_as_if_our_socket_had_sent_it() {
    if !inside("what_leaves_is_as_if_our_socket_had_sent_it") {
        return;
    }
    network();
    let plane = works();
    let [a, b] = established(&plane, OURS, PEERS);
    let mut seen = Vec::new();
    for (ssrc, sequence) in [(7, 2), (8, 1)] {
        let watch = Command::new("ip")
            .args(["netns", "exec", "pc-kernel-b", "timeout", "5", "tcpdump", "-nvvi", "eb", "--immediate-mode", "-c1", "udp", "and", "dst", "port", "4000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(500));
        a.send_to(&voice(ssrc, sequence), OURS[0]).unwrap();
        assert!(take(&b).is_some());
        let text = String::from_utf8_lossy(&watch.wait_with_output().unwrap().stdout).into_owned();
        assert!(text.contains("udp sum ok") || ssrc == 8, "{text}");
        let field = |name: &str| text.split(name).nth(1).and_then(|rest| rest.split(',').next()).unwrap_or_default().trim().to_owned();
        seen.push((field("tos"), field("ttl"), field("flags")));
    }
    assert_eq!(seen[0], seen[1], "by the kernel, and by the socket");
    assert_eq!((seen[0].0.as_str(), absorbed(&plane)), ("0xb8", 1));
}

#[test]
fn an_element_follows_the_routes() {
    if !inside("an_element_follows_the_routes") {
        return;
    }
    network();
    run("ip netns exec pc-kernel-b ip addr add 10.9.0.2/32 dev eb && ip route add 10.9.0.2 via 10.2.0.2");
    let plane = works();
    let [a, b] = established(&plane, OURS, [PEERS[0], "10.9.0.2:4000"]);
    pass(&a, &b, OURS, 2..=5);
    assert_eq!(absorbed(&plane), 4);
    run("ip route replace 10.9.0.2 via 10.2.0.3");
    until("by the other hop", || {
        run("nft list map netdev portcullis_media streams4").contains("10.9.0.2") && run("nft list map netdev portcullis_media streams4").contains("10.2.0.3")
    });
    pass(&a, &b, OURS, 6..=9);
    run("ip route del 10.9.0.2");
    until("out of the kernel", || !plane.is_in_kernel(1, Side::A));
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::Refused));
    run("ip route add 10.9.0.2 via 10.2.0.2");
    let mut sequence = 9;
    until("back in the kernel", || {
        sequence += 1;
        pass(&a, &b, OURS, sequence..=sequence);
        plane.is_in_kernel(1, Side::A)
    });
}

#[test]
fn why_nftables_forwards_nothing_is_told_and_what_auto_falls_to() {
    if !inside("why_nftables_forwards_nothing_is_told_and_what_auto_falls_to") {
        return;
    }
    network();
    // The one place for an XDP program is taken.
    let xdp = Plane::start(with(Mode::Xdp));
    let plane = Plane::start(with(Mode::Auto));
    let outcomes: Vec<_> =
        plane.plane.probes().iter().filter(|probe| matches!(probe.way, Way::Kernel(_))).map(|probe| (probe.way, probe.outcome.is_ok())).collect();
    assert_eq!(outcomes, [(Way::Kernel(KernelKind::Xdp), false), (NFT, true)]);
    let [a, b] = established(&plane, OURS, PEERS);
    pass(&a, &b, OURS, 2..=5);
    assert_eq!(absorbed(&plane), 4);
    drop(xdp);
    let second = Plane::start(with(Mode::Nft));
    let why = second.plane.probes().iter().find(|probe| probe.way == NFT).and_then(|probe| probe.outcome.clone().err()).unwrap();
    assert!(why.contains("no other Portcullis has it in this network namespace"), "{why}");
    drop((second, plane, a, b));
    // Between families the sockets carry on.
    let plane = works();
    let ours = [OURS[0], "[fd02::1]:20002"];
    let [a, b] = open(&plane, ours, [PEERS[0], "[fd02::2]:4000"]);
    pass(&a, &b, ours, 2..=5);
    assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::OtherFamily));
    assert_eq!(absorbed(&plane), 0);
}

const DOOMED: &str = "PORTCULLIS_TEST_DOOMED";

#[test]
fn the_table_does_not_outlive_us() {
    if !inside("the_table_does_not_outlive_us") {
        return;
    }
    if std::env::var_os(DOOMED).is_some() {
        let plane = works();
        let [a, b] = established(&plane, OURS, PEERS);
        pass(&a, &b, OURS, 2..=5);
        assert!(tables().contains("portcullis_media"));
        // As a crash would: nothing is dropped, nothing is closed in order.
        std::process::abort();
    }
    network();
    let program = std::env::current_exe().unwrap();
    let doomed = Command::new(program).args(["the_table_does_not_outlive_us", "--exact", "--nocapture"]).env(DOOMED, "1").output().unwrap();
    let text = String::from_utf8_lossy(&doomed.stderr).into_owned();
    assert!(!doomed.status.success() && !text.contains("panicked"), "{text}");
    until("the table is gone", || !tables().contains("portcullis_media"));
}
