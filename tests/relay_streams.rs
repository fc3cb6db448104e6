//! The media plane on real loopback sockets: what goes in comes out on the other side, protected as each leg wants it.

pub mod relay_rig;

use std::net::{IpAddr, Ipv6Addr, UdpSocket};
use std::time::Duration;

use portcullis::adapters::media::{IoChoice, Settings};
use portcullis::media::control::{Command, Configuration, Content, Event, LatchPolicy, Side};
use portcullis::sdp::crypto::Suite::{AeadAes128Gcm as Gcm, AesCm128HmacSha1_32 as Short, AesCm128HmacSha1_80 as Long};
use relay_rig::{Call, Leg, PATIENCE, Plane, QUIET, exchange, own_address, until};

/// Another test binary has the same tests by the other way, and says so in its own.
#[allow(dead_code)]
pub const IO: IoChoice = IoChoice::Epoll;

fn settings() -> Settings {
    Settings { io: crate::IO, ..Settings::default() }
}

#[test]
fn plain_to_plain() {
    let plane = Plane::start(settings());
    Call::open(&plane, &Leg::Plain, &Leg::Plain).talk();
}

#[test]
fn plain_to_srtp() {
    let plane = Plane::start(settings());
    Call::open(&plane, &Leg::Plain, &Leg::Srtp(Long)).talk();
}

#[test]
fn srtp_to_plain() {
    let plane = Plane::start(settings());
    Call::open(&plane, &Leg::Srtp(Long), &Leg::Plain).talk();
}

#[test]
fn srtp_to_srtp_with_other_keys_and_other_suite() {
    let plane = Plane::start(settings());
    Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long)).talk();
    Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Short)).talk();
}

#[test]
fn srtp_under_keys_that_both_peers_have_crosses_as_it_came() {
    let mut plane = Plane::start(settings());
    for suite in [Long, Gcm] {
        let mut call = Call::sharing(&plane, suite);
        call.talk();
        for _ in 0..40 {
            exchange(&mut call.a, &mut call.b);
        }
        let (wire, _) = call.a.next_rtp();
        for packet in [&wire, &wire] {
            call.a.rtp.send_to(packet, call.a.relay.rtp).unwrap();
        }
        let mut buffer = [0; 2048];
        let length = call.b.rtp.recv(&mut buffer).expect("arrives");
        assert_eq!(buffer[..length], wire, "not a byte is changed");
        let mut forged = call.a.next_rtp().0;
        forged[40] ^= 1;
        call.a.rtp.send_to(&forged, call.a.relay.rtp).unwrap();
        assert!(call.b.take_rtp(QUIET).is_none(), "neither the same again nor a forgery");
        let report = plane.close(call.stream);
        assert_eq!((report.a.refused_replay, report.a.refused_authentication, report.a.received), (1, 1, 44), "{suite:?}");
        assert!(report.a.opaque && report.b.opaque);
    }
}

#[test]
fn ipv6_is_carried_like_ipv4() {
    let plane = Plane::start(settings());
    let host = IpAddr::V6(Ipv6Addr::LOCALHOST);
    Call::open_with(&plane, &Leg::Srtp(Long), &Leg::Plain, host, LatchPolicy::SignalledAddress, None).talk();
}

#[test]
fn a_leg_of_ipv4_and_one_of_ipv6_are_joined() {
    let plane = Plane::start(settings());
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    for (a, b) in [(Leg::Plain, Leg::Plain), (Leg::Srtp(Long), Leg::Plain), (Leg::Srtp(Long), Leg::Srtp(Long))] {
        Call::between(&plane, (&a, own_address()), (&b, v6)).talk();
        Call::between(&plane, (&a, v6), (&b, own_address())).talk();
    }
}

/// One address inside, another outside: each peer hears from the address and port it was told, and from no other of ours, and neither is heard at the
/// other's.
#[test]
fn each_leg_has_its_own_address_of_ours() {
    let mut plane = Plane::start(settings());
    let mut call = Call::between(&plane, (&Leg::Plain, own_address()), (&Leg::Srtp(Long), own_address()));
    call.talk();
    assert_ne!(call.a.relay.rtp.ip(), call.b.relay.rtp.ip());
    let (wire, _) = call.a.next_rtp();
    call.a.rtp.send_to(&wire, call.b.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none() && call.a.take_rtp(QUIET).is_none());
    let report = plane.close(call.stream);
    assert_eq!((report.b.refused_source, report.a.refused_source), (1, 0));
}

/// RFC 5761, as agreed with one leg of the two.
#[test]
fn rtcp_comes_and_goes_by_the_port_of_rtp_where_that_was_agreed() {
    for leg in [Leg::Plain, Leg::Srtp(Long)] {
        let mut plane = Plane::start(settings());
        let mut call = Call::open(&plane, &Leg::Plain, &leg);
        let Command::Configure { stream, side, set } = call.b.configure(call.stream, LatchPolicy::SignalledAddress) else { unreachable!() };
        plane.plane.command(Command::Configure { stream, side, set: Configuration { mux: Some(true), ..set } });
        call.b.rtcp = call.b.rtp.try_clone().unwrap();
        call.b.relay.rtcp = call.b.relay.rtp;
        call.talk();
        let report = plane.close(call.stream);
        assert_eq!((report.a.rtcp_received, report.a.rtcp_sent, report.b.rtcp_received, report.b.rtcp_sent), (3, 3, 3, 3));
    }
}

#[test]
fn the_sequence_number_may_wrap_under_srtp() {
    let plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long));
    for _ in 0..40 {
        exchange(&mut call.a, &mut call.b);
    }
    assert!(call.a.sequence < 100, "the test went past the wrap");
}

#[test]
fn a_burst_is_carried_whole_and_in_order() {
    let plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long));
    exchange(&mut call.a, &mut call.b);
    let sent: Vec<_> = (0..60).map(|_| call.a.send_rtp()).collect();
    for clear in sent {
        assert_eq!(call.b.take_rtp(PATIENCE).expect("arrives").expect("authenticates"), clear);
    }
}

#[test]
fn a_stranger_on_the_port_is_refused_and_counted() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    let stranger = UdpSocket::bind((own_address(), 0)).unwrap();
    for n in 0..5 {
        stranger.send_to(&relay_rig::rtp(99, n, 1), call.a.relay.rtp).unwrap();
    }
    assert!(call.b.take_rtp(QUIET).is_none());
    call.talk();
    let report = plane.close(call.stream);
    assert_eq!(report.a.refused_source, 5);
    assert_eq!(report.b.refused_source, 0);
    assert_eq!(report.a.latched, Some(call.a.addresses().rtp));
}

#[test]
fn forged_and_replayed_srtp_is_refused_and_counted() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Plain);
    call.talk();
    let (mut wire, clear) = call.a.next_rtp();
    call.a.rtp.send_to(&wire, call.a.relay.rtp).unwrap();
    assert_eq!(call.b.take_rtp(PATIENCE).unwrap().unwrap(), clear);
    call.a.rtp.send_to(&wire, call.a.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none(), "a replay does not pass");
    wire = call.a.next_rtp().0;
    wire[20] ^= 1;
    call.a.rtp.send_to(&wire, call.a.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none(), "a forgery does not pass");
    let report = plane.close(call.stream);
    assert_eq!((report.a.refused_replay, report.a.refused_authentication), (1, 1));
}

#[test]
fn hold_stops_the_packets_and_resume_lets_them_go_on() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long));
    call.talk();
    let hold = Command::Configure { stream: call.stream, side: Side::B, set: Configuration::new(Some(None), LatchPolicy::SignalledAddress, None, None) };
    plane.plane.command(hold);
    std::thread::sleep(QUIET);
    call.a.send_rtp();
    assert!(call.b.take_rtp(QUIET).is_none());
    plane.plane.command(call.b.configure(call.stream, LatchPolicy::SignalledAddress));
    std::thread::sleep(QUIET);
    call.talk();
    assert!(plane.close(call.stream).a.refused_not_ready >= 1);
}

#[test]
fn re_keying_takes_the_new_keys_and_what_was_on_its_way_under_the_old() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Long));
    call.talk();
    let old = call.a.next_rtp().0;
    call.a.rekey(Long, 50);
    plane.plane.command(call.a.configure(call.stream, LatchPolicy::SignalledAddress));
    std::thread::sleep(QUIET);
    call.talk();
    call.a.rtp.send_to(&old, call.a.relay.rtp).unwrap();
    call.b.take_rtp(PATIENCE).expect("arrives").expect("authentic");
    call.a.rtp.send_to(&old, call.a.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none());
    assert_eq!(plane.close(call.stream).a.refused_replay, 1);
}

/// After a transfer the peer goes on in another stream, maybe on another worker: key, SSRC, sequence numbers and the ROC, which is in no packet, stay.
#[test]
fn a_peer_that_keeps_its_key_in_another_stream_keeps_its_roc() {
    for workers in [1, 2] {
        let mut plane = Plane::start(Settings { workers, ..Settings::default() });
        let mut first = Call::open(&plane, &Leg::Srtp(Long), &Leg::Plain);
        for next in [20_000, 45_000, 5_000, 25_000, 45_001] {
            first.talk();
            first.a.sequence = next;
        }
        for told in [true, false] {
            // On the other worker, if there is one: other tests draw numbers as well.
            let mut second = loop {
                let call = Call::open(&plane, &Leg::Srtp(Long), &Leg::Plain);
                if workers == 1 || call.stream.0 % 2 != first.stream.0 % 2 {
                    break call;
                }
                plane.close(call.stream);
            };
            if told {
                plane.plane.command(Command::Succeed { stream: second.stream, side: Side::A, of: (first.stream, Side::A) });
                std::thread::sleep(QUIET);
            }
            // Same contexts and sockets, the other stream's ports.
            first.a.relay = second.a.relay;
            plane.plane.command(first.a.configure(second.stream, LatchPolicy::SignalledAddress));
            std::thread::sleep(QUIET);
            let clear = first.a.send_rtp();
            match told {
                true => assert_eq!(second.b.take_rtp(PATIENCE).unwrap().unwrap(), clear),
                false => assert!(second.b.take_rtp(QUIET).is_none(), "or else the test shows nothing"),
            }
            plane.close(second.stream);
        }
    }
}

#[test]
fn nothing_is_forwarded_before_both_sides_are_configured() {
    let mut plane = Plane::start(settings());
    let mut call = Call::silent(&plane, &Leg::Plain, &Leg::Plain, own_address(), None);
    plane.plane.command(call.a.configure(call.stream, LatchPolicy::SignalledAddress));
    std::thread::sleep(QUIET);
    call.a.send_rtp();
    assert!(call.b.take_rtp(QUIET).is_none());
    plane.plane.command(call.b.configure(call.stream, LatchPolicy::SignalledAddress));
    std::thread::sleep(QUIET);
    call.talk();
    assert_eq!(plane.close(call.stream).a.refused_not_ready, 1);
}

#[test]
fn the_report_counts_both_sides() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Srtp(Long));
    call.talk();
    call.a.sequence = call.a.sequence.wrapping_add(4);
    call.talk();
    let report = plane.close(call.stream);
    assert_eq!((report.a.received, report.a.rtcp_received, report.a.sent, report.a.rtcp_sent), (6, 6, 6, 6));
    assert_eq!((report.b.received, report.b.rtcp_received, report.b.sent, report.b.rtcp_sent), (6, 6, 6, 6));
    assert_eq!((report.a.lost, report.b.lost), (4, 0));
    assert!(report.a.first.is_some() && report.a.last > report.a.first);
    until(|| plane.plane.counters().forwarded == 24);
    let counters = plane.plane.counters();
    assert_eq!((counters.received, counters.dropped, counters.send_failed), (24, 0, 0));
}

#[test]
fn a_datagram_too_long_to_relay_is_counted_as_malformed() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    let mut long = relay_rig::rtp(call.a.ssrc, call.a.sequence, 0);
    long.resize(3000, 0);
    call.a.rtp.send_to(&long, call.a.relay.rtp).unwrap();
    assert!(call.b.take_rtp(QUIET).is_none());
    call.talk();
    assert_eq!(plane.close(call.stream).a.refused_malformed, 1);
    until(|| plane.plane.counters().oversized == 1);
}

#[test]
fn a_peer_that_closed_its_port_does_not_end_the_stream() {
    let plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    let address = call.b.addresses().rtp;
    let elsewhere = std::mem::replace(&mut call.b.rtp, UdpSocket::bind((own_address(), 0)).unwrap());
    drop(elsewhere);
    for _ in 0..5 {
        call.a.send_rtp();
    }
    std::thread::sleep(QUIET);
    call.b.rtp = UdpSocket::bind(address).expect("the peer comes back");
    call.talk();
}

#[test]
fn silence_is_told_once_and_speech_ends_it() {
    let mut plane = Plane::start(settings());
    let silence = Duration::from_millis(300);
    let mut call = Call::open_with(&plane, &Leg::Plain, &Leg::Plain, own_address(), LatchPolicy::SignalledAddress, Some(silence));
    call.talk();
    let Event::Silent { stream, since } = plane.event() else { panic!("silence is told") };
    assert_eq!(stream, call.stream);
    plane.no_event(Duration::from_millis(900));
    call.talk();
    let Event::Silent { since: again, .. } = plane.event() else { panic!("the next silence is told too") };
    assert!(again > since);
    plane.close(call.stream);
}

#[test]
fn silence_is_not_told_while_packets_come() {
    let mut plane = Plane::start(settings());
    let silence = Some(Duration::from_millis(300));
    let mut call = Call::open_with(&plane, &Leg::Plain, &Leg::Plain, own_address(), LatchPolicy::SignalledAddress, silence);
    for _ in 0..20 {
        exchange(&mut call.a, &mut call.b);
        std::thread::sleep(Duration::from_millis(60));
    }
    assert!(plane.events.try_recv().is_err());
}

#[test]
fn the_protection_of_one_stream_does_not_touch_another() {
    let plane = Plane::start(Settings { workers: 2, ..settings() });
    let mut calls: Vec<_> = (0..8).map(|_| Call::open(&plane, &Leg::Srtp(Long), &Leg::Srtp(Short))).collect();
    for call in &mut calls {
        call.talk();
    }
    for call in &mut calls {
        assert!(call.a.take_rtp(Duration::from_millis(5)).is_none());
        assert!(call.b.take_rtp(Duration::from_millis(5)).is_none());
    }
    until(|| plane.plane.counters().streams == 8);
}

/// RTCP of our own on the wire, under the leg's protection, and no more of it once the other side sends its own.
#[test]
fn a_peer_that_must_hear_rtcp_hears_ours() {
    for leg in [Leg::Plain, Leg::Srtp(Long)] {
        let mut plane = Plane::start(settings());
        let mut call = Call::open(&plane, &leg, &Leg::Plain);
        let keep = Command::KeepRtcp { stream: call.stream, side: Side::A, every: Some(Duration::from_millis(500)), ssrc: 0xabcd_0123 };
        plane.plane.command(keep);
        exchange(&mut call.a, &mut call.b);
        for _ in 0..2 {
            let heard = call.a.take_rtcp(PATIENCE).expect("RTCP comes").expect("and authenticates");
            assert_eq!((heard[1], &heard[4..8]), (201, &[0xab, 0xcd, 0x01, 0x23][..]));
            assert_eq!(&heard[8..12], call.a.ssrc.to_be_bytes(), "it reports on the one it is sent to");
        }
        // The other side's takes its place.
        for _ in 0..6 {
            let clear = call.b.send_rtcp();
            assert_eq!(call.a.take_rtcp(PATIENCE).unwrap().unwrap(), clear);
            std::thread::sleep(QUIET);
        }
        let report = plane.close(call.stream);
        assert!((2..=3).contains(&report.a.rtcp_made), "{}", report.a.rtcp_made);
        assert_eq!((report.a.rtcp_sent, report.b.rtcp_made), (report.a.rtcp_made + 6, 0));
    }
}

#[test]
fn a_fax_is_relayed_and_its_tone_is_told_of() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    plane.plane.command(Command::Carry { stream: call.stream, content: Content::Rtp { events: 1 << 101 } });
    exchange(&mut call.a, &mut call.b);
    let tone = [&[0x80, 101, 0xff, 0xf1, 0, 0, 0, 0][..], &call.a.ssrc.to_be_bytes(), &[36, 10, 1, 0]].concat();
    for _ in 0..3 {
        call.a.rtp.send_to(&tone, call.a.relay.rtp).unwrap();
        assert_eq!(call.b.take_rtp(PATIENCE).unwrap().unwrap(), tone);
    }
    assert!(matches!(plane.event(), Event::FaxTone { stream, side: Side::A } if stream == call.stream));
    plane.plane.command(Command::Carry { stream: call.stream, content: Content::Udptl });
    std::thread::sleep(QUIET);
    for n in 0..20u8 {
        let datagram = [0, n, 1, 6, 0, 1, 1, 4];
        call.a.rtp.send_to(&datagram, call.a.relay.rtp).unwrap();
        assert_eq!(call.b.take_rtp(PATIENCE).unwrap().unwrap(), datagram);
        call.b.rtp.send_to(&datagram, call.b.relay.rtp).unwrap();
        assert_eq!(call.a.take_rtp(PATIENCE).unwrap().unwrap(), datagram);
    }
    call.a.send_rtp();
    assert!(call.b.take_rtp(QUIET).is_none(), "no sound meanwhile");
    plane.plane.command(Command::Carry { stream: call.stream, content: Content::default() });
    std::thread::sleep(QUIET);
    call.talk();
    let report = plane.close(call.stream);
    assert_eq!((report.a.fax_received, report.b.fax_received, report.b.fax_sent, report.a.refused_malformed), (20, 20, 20, 1));
}

/// A gateway's fax may have a port of its own: from the re-INVITE on datagrams go there and come from there only, and afterwards sound has its own again.
#[test]
fn a_fax_has_the_port_its_description_names() {
    let mut plane = Plane::start(settings());
    let mut call = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    call.talk();
    let fax = UdpSocket::bind((call.b.addresses().rtp.ip(), 0)).unwrap();
    let sound = std::mem::replace(&mut call.b.rtp, fax);
    plane.plane.command(call.b.configure(call.stream, LatchPolicy::Strict));
    plane.plane.command(Command::Carry { stream: call.stream, content: Content::Udptl });
    std::thread::sleep(QUIET);
    let datagram = |n: u8| [0, n, 1, 6, 0, 1, 1, 4];
    for n in 0..5 {
        call.a.rtp.send_to(&datagram(n), call.a.relay.rtp).unwrap();
        assert_eq!(call.b.take_rtp(PATIENCE).unwrap().unwrap(), datagram(n));
        call.b.rtp.send_to(&datagram(n), call.b.relay.rtp).unwrap();
        assert_eq!(call.a.take_rtp(PATIENCE).unwrap().unwrap(), datagram(n));
    }
    sound.send_to(&datagram(5), call.b.relay.rtp).unwrap();
    call.b.rtcp.send_to(&datagram(6), call.b.relay.rtcp).unwrap();
    assert!(call.a.take_rtp(QUIET).is_none() && call.a.take_rtcp(QUIET).is_none());
    call.b.rtp = sound;
    plane.plane.command(call.b.configure(call.stream, LatchPolicy::SignalledAddress));
    plane.plane.command(Command::Carry { stream: call.stream, content: Content::default() });
    std::thread::sleep(QUIET);
    call.talk();
    let report = plane.close(call.stream);
    assert_eq!((report.a.fax_received, report.b.fax_received, report.b.refused_source), (5, 5, 1));
}
