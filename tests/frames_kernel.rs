//! Streams that share sockets, on a real kernel in a network namespace: the media checks of `relay_streams` pass that way, the firewall sees every
//! packet, and what cannot go that way goes by the stream's own sockets.

/// All of its tests, to be run here with shared sockets.
#[path = "relay_streams.rs"]
mod relay_streams;

use std::net::UdpSocket;
use std::process::Command;

use portcullis::adapters::media::path::Way;
use portcullis::adapters::media::{IoChoice, MediaPlane, Settings, frames};
use portcullis::media::control::LatchPolicy;
use portcullis::media::shortcut::WhyNot;
use portcullis::sdp::crypto::Suite::AesCm128HmacSha1_80 as Long;
use relay_streams::relay_rig::{self, Call, Leg, PATIENCE, Plane, QUIET, exchange, own_address, until};
use rustix::thread::{CapabilitySet, CapabilitySets, set_capabilities};

/// What is not shared goes as it does by default.
pub const IO: IoChoice = IoChoice::Auto;

const INSIDE: &str = "PORTCULLIS_TEST_NAMESPACE";

fn run(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().expect("sh");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs tests of this file by their name in a namespace of their own and gives what they print. Only root can.
fn in_namespace(tests: &[&str], settings: &[(&str, &str)]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED {tests:?}: needs root, unshare, ip and nft to make a network of its own");
        return None;
    }
    let program = std::env::current_exe().expect("a test knows its program");
    let output = Command::new("unshare")
        .args(["--net", "sh", "-c", "ip link set lo up && exec timeout 100 \"$@\"", "sh"])
        .arg(program)
        .args(tests)
        .args(["--nocapture", "--test-threads", "4"])
        .env(INSIDE, "1")
        .envs(settings.iter().copied())
        .output()
        .expect("unshare of util-linux");
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains(" passed"), "{text}");
    Some(text)
}

/// True inside a namespace.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    in_namespace(&[test, "--exact"], &[]);
    false
}

/// Whether packets from A and from B come by the shared socket, and why not.
fn ways(plane: &Plane, call: &Call) -> [Result<(), Option<WhyNot>>; 2] {
    plane.plane.inspect(call.stream).expect("it is open").ways.map(|way| match way {
        (Way::Frames, None) => Ok(()),
        (Way::Sockets(_), why) => Err(why),
        other => panic!("{other:?}"),
    })
}

const SHARED: [Result<(), Option<WhyNot>>; 2] = [Ok(()); 2];

#[test]
fn the_media_checks_pass_by_shared_sockets() {
    if std::env::var_os(INSIDE).is_some() {
        return;
    }
    let Some(text) = in_namespace(&["relay_streams::"], &[(relay_rig::SHARE, "1")]) else { return };
    let counts: Vec<(u64, u64)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("shared: ")?.strip_suffix(" packets")?.split_once(" of "))
        .filter_map(|(shared, all)| Some((shared.parse().ok()?, all.parse().ok()?)))
        .collect();
    let (shared, all) = counts.iter().fold((0, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
    // Half of all is RTCP, and each source's first packet settles its latch.
    assert!(counts.len() >= 20 && shared * 4 >= all, "{shared} of {all} in {}: {text}", counts.len());
}

#[test]
fn a_stream_shares_from_its_second_packet_until_it_is_on_hold_or_ends() {
    if !inside("a_stream_shares_from_its_second_packet_until_it_is_on_hold_or_ends") {
        return;
    }
    let mut plane = Plane::sharing(Settings::default());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Plain);
    let own = |why| Err(Some(why));
    until(|| ways(&plane, &call) == [own(WhyNot::NoSource); 2]);
    exchange(&mut call.a, &mut call.b);
    until(|| ways(&plane, &call) == [SHARED[0], own(WhyNot::NoSource)]);
    call.talk();
    until(|| ways(&plane, &call) == SHARED);
    until(|| plane.plane.counters().in_frames >= 4);
    let before = plane.plane.counters().in_frames;
    for _ in 0..10 {
        exchange(&mut call.a, &mut call.b);
    }
    until(|| plane.plane.counters().in_frames == before + 10);
    // A new address of the peer's: the old flow must not be taken any more, the new one is.
    let old = std::mem::replace(&mut call.a.rtp, UdpSocket::bind((own_address(), 0)).unwrap());
    plane.plane.command(call.a.configure(call.stream, LatchPolicy::SignalledAddress));
    until(|| ways(&plane, &call)[0] == own(WhyNot::NoSource));
    old.send_to(&relay_rig::rtp(9, 9, 9), call.a.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none());
    call.talk();
    until(|| ways(&plane, &call) == SHARED);
    let report = plane.close(call.stream);
    assert_eq!((report.a.refused_source, report.a.latched), (1, Some(call.a.addresses().rtp)));
}

#[test]
fn a_port_given_to_another_stream_is_that_streams() {
    if !inside("a_port_given_to_another_stream_is_that_streams") {
        return;
    }
    let mut plane = Plane::sharing(Settings { workers: 2, ..Settings::default() });
    let mut calls: Vec<Call> = (0..6).map(|_| Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long))).collect();
    calls.iter_mut().for_each(Call::talk);
    let ended = calls.remove(0);
    plane.close(ended.stream);
    calls.iter_mut().for_each(Call::talk);
    for _ in 0..3 {
        let mut again = Call::open_with(&plane, &Leg::Plain, &Leg::Plain, ended.a.relay.rtp.ip(), LatchPolicy::SignalledAddress, None);
        again.talk();
        ended.a.rtp.send_to(&relay_rig::rtp(9, 9, 9), again.a.relay.rtp).unwrap();
        assert!(again.b.take_rtp(QUIET).is_none(), "the peer of another call is a stranger");
        let report = plane.close(again.stream);
        assert_eq!((report.a.received, report.a.refused_source), (3, 1));
    }
}

#[test]
fn the_firewall_sees_both_ways_with_the_code_point() {
    if !inside("the_firewall_sees_both_ways_with_the_code_point") {
        return;
    }
    run("nft add table inet t
         nft add chain inet t in '{ type filter hook input priority 0; }'
         nft add chain inet t out '{ type filter hook output priority 0; }'");
    let plane = Plane::sharing(Settings { dscp: 46, ..Settings::default() });
    for host in [own_address(), "::1".parse().unwrap()] {
        let mut call = Call::open_with(&plane, &Leg::Plain, &Leg::Srtp(Long), host, LatchPolicy::Strict, None);
        call.talk();
        until(|| ways(&plane, &call) == SHARED);
        let (taken, left) = (call.a.relay.rtp.port(), call.b.relay.rtp.port());
        let ip = if host.is_ipv4() { "ip" } else { "ip6" };
        run(&format!("nft add rule inet t in udp dport {taken} counter; nft add rule inet t out {ip} dscp ef udp sport {left} counter"));
        let before = plane.plane.counters().in_frames;
        for _ in 0..10 {
            exchange(&mut call.a, &mut call.b);
        }
        until(|| plane.plane.counters().in_frames == before + 10);
        let rules = run("nft list table inet t");
        assert_eq!(rules.matches("packets 10 ").count(), 2, "{rules}");
        // What the firewall drops does not come.
        run(&format!("nft add rule inet t in udp dport {taken} drop"));
        call.a.send_rtp();
        assert!(call.b.take_rtp(QUIET).is_none());
        run("nft flush table inet t");
    }
}

#[test]
fn what_is_longer_than_the_link_comes_in_fragments_and_leaves_by_the_own_socket() {
    if !inside("what_is_longer_than_the_link_comes_in_fragments_and_leaves_by_the_own_socket") {
        return;
    }
    run("ip link set lo mtu 1400");
    let plane = Plane::sharing(Settings::default());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    until(|| ways(&plane, &call) == SHARED);
    let before = plane.plane.counters();
    for length in [1_372, 1_373, 1_800] {
        let mut long = relay_rig::rtp(call.a.ssrc, call.a.sequence, 7);
        call.a.sequence = call.a.sequence.wrapping_add(1);
        long.resize(length, 0x5a);
        call.a.rtp.send_to(&long, call.a.relay.rtp).unwrap();
        assert_eq!(call.b.take_rtp(PATIENCE).expect("it arrives whole").unwrap(), long, "{length}");
    }
    call.talk();
    let after = plane.plane.counters();
    assert!(after.in_frames >= before.in_frames + 3 && after.send_failed == 0, "{after:?}");
}

#[test]
fn a_flood_of_strangers_does_not_reach_the_shared_socket() {
    if !inside("a_flood_of_strangers_does_not_reach_the_shared_socket") {
        return;
    }
    let mut plane = Plane::sharing(Settings::default());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    until(|| ways(&plane, &call) == SHARED);
    until(|| plane.plane.counters().received == 12);
    let before = plane.plane.counters().in_frames;
    let stranger = UdpSocket::bind((own_address(), 0)).unwrap();
    for n in 0..200 {
        stranger.send_to(&relay_rig::rtp(call.a.ssrc, n, 1), call.a.relay.rtp).unwrap();
    }
    assert!(call.b.take_rtp(QUIET).is_none());
    assert_eq!(plane.plane.counters().in_frames, before);
    assert!(plane.close(call.stream).a.refused_source > 0);
}

#[test]
fn without_privilege_the_own_sockets_carry_on_and_it_is_said() {
    if !inside("without_privilege_the_own_sockets_carry_on_and_it_is_said") {
        return;
    }
    let host = own_address();
    let settings = Settings { frames: frames::Settings { mode: frames::Mode::Auto, addresses: vec![host] }, ..Settings::default() };
    let unprivileged = std::thread::spawn(move || {
        let none = CapabilitySet::empty();
        set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none }).unwrap();
        let (sender, events) = tokio::sync::mpsc::unbounded_channel();
        Plane { plane: MediaPlane::start(settings, std::time::Instant::now(), sender).unwrap(), events }
    });
    let plane = unprivileged.join().unwrap();
    let probe = plane.plane.probes().iter().find(|probe| probe.way == Way::Frames).expect("it was tried").clone();
    let why = probe.outcome.unwrap_err();
    assert!(why.ends_with("; it needs CAP_NET_ADMIN, CAP_NET_RAW and CAP_BPF"), "{why}");
    let mut call = Call::open_with(&plane, &Leg::Plain, &Leg::Plain, host, LatchPolicy::SignalledAddress, None);
    call.talk();
    assert_eq!(ways(&plane, &call), [Err(None); 2]);
    assert_eq!(plane.plane.counters().in_frames, 0);
}
