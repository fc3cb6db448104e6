//! SRTP under keys that both peers have rides the kernel's entries (XDP), between network namespaces: both ends are libsrtp2, an implementation that knows
//! nothing of us.

mod kernel_rig;
mod libsrtp;

use std::time::Duration;

use kernel_rig::*;
use portcullis::media::control::{Addresses, Command as Media, Configuration, LatchPolicy, Protection, Side, SrtpParameters, StreamId};
use portcullis::media::shortcut::WhyNot;
use portcullis::sdp::crypto::{MasterKey, Suite};

const OURS: [&str; 2] = ["10.1.0.1:20000", "10.2.0.1:20002"];
const PEERS: [&str; 2] = ["10.1.0.2:4000", "10.2.0.2:4000"];

fn key(suite: Suite, fill: u8) -> MasterKey {
    let key_and_salt = (0..suite.key_length() + suite.salt_length()).map(|n| n as u8 ^ fill).collect();
    MasterKey { key_and_salt, lifetime: None, mki: None }
}

fn parameters(suite: Suite, fill: u8) -> SrtpParameters {
    SrtpParameters { suite, keys: vec![key(suite, fill)] }
}

/// A's peer protects by the key of fill 1, B's by that of 2.
fn configure(plane: &Plane, side: Side, receive: Protection, transmit: Protection) {
    let rtp: std::net::SocketAddr = PEERS[usize::from(side == Side::B)].parse().unwrap();
    let remote = Addresses { rtp, rtcp: std::net::SocketAddr::new(rtp.ip(), rtp.port() + 1) };
    let set = Configuration::new(Some(Some(remote)), LatchPolicy::SignalledAddress, Some(receive), Some(transmit));
    plane.plane.command(Media::Configure { stream: StreamId(1), side, set });
}

fn protect(context: &mut libsrtp::Context, clear: &[u8]) -> Vec<u8> {
    let mut buffer = clear.to_vec();
    buffer.resize(clear.len() + libsrtp::ROOM, 0);
    let length = context.protect(&mut buffer, clear.len()).unwrap();
    buffer.truncate(length);
    buffer
}

#[test]
fn srtp_under_shared_keys_is_forwarded_in_the_kernel_and_read_at_the_other_end() {
    if !inside("srtp_under_shared_keys_is_forwarded_in_the_kernel_and_read_at_the_other_end") {
        return;
    }
    network();
    for suite in [Suite::AesCm128HmacSha1_80, Suite::AeadAes128Gcm] {
        let mut plane = Plane::start(settings());
        let [a, b] = [peer(Side::A, PEERS[0]), peer(Side::B, PEERS[1])];
        plane.open(1, OURS, None);
        let (of_a, of_b) = (parameters(suite, 1), parameters(suite, 2));
        configure(&plane, Side::A, Protection::Srtp(of_a.clone()), Protection::Shared(of_b.clone()));
        configure(&plane, Side::B, Protection::Srtp(of_b), Protection::Shared(of_a));
        // What was told is done when this is answered.
        plane.report(1);
        let mut sender = libsrtp::Context::sender(suite, &key(suite, 1).key_and_salt);
        let mut receiver = libsrtp::Context::receiver(suite, &key(suite, 1).key_and_salt);
        let mut sequence = 65_400u32;
        let mut pass = |plane: &Plane, count: u32| {
            for _ in 0..count {
                sequence += 1;
                let clear = voice(7, sequence as u16);
                let sent = protect(&mut sender, &clear);
                a.send_to(&sent, OURS[0]).unwrap();
                let (mut got, from) = take(&b).unwrap_or_else(|| panic!("{sequence} is lost: {:?}", plane.report(1).a));
                assert_eq!((&got, from.to_string()), (&sent, OURS[1].to_owned()), "not a byte is changed");
                let length = receiver.unprotect(&mut got).expect("authentic at the other end");
                assert_eq!(got[..length], clear, "{suite:?} packet {sequence}");
            }
        };
        pass(&plane, 1);
        until("in the kernel", || plane.is_in_kernel(1, Side::A));
        // Across the wrap of the sequence number, where the rollover counter goes on.
        pass(&plane, 300);
        let report = plane.report(1);
        assert_eq!((plane.in_kernel(), report.a.received, report.a.lost, report.b.sent), (300, 301, 0, 301), "{suite:?}");
        assert!(report.a.opaque && report.a.last > report.a.first);
        // A forgery from elsewhere, and one in the name of the source that fits no entry.
        let stranger = peer(Side::A, "10.1.0.3:4000");
        stranger.send_to(&voice(7, 1), OURS[0]).unwrap();
        a.send_to(&voice(8, 1), OURS[0]).unwrap();
        assert_eq!(take(&b), None);
        let refused = plane.report(1).a;
        assert_eq!((refused.refused_source, refused.refused_authentication), (1, 1));
        // What the kernel carried is known to who authenticates: a packet that comes to the socket, as one with an extension does, is taken as it is.
        let mut extended = voice(7, 500);
        extended[0] |= 0x10;
        extended[12..16].copy_from_slice(&[0xbe, 0xde, 0, 1]);
        let mut other = libsrtp::Context::sender(suite, &key(suite, 1).key_and_salt);
        // The other context is at the same rollover counter by sending across the same wrap.
        for n in (65_400u32..65_536 + 500).step_by(50) {
            protect(&mut other, &voice(7, n as u16));
        }
        let sent = protect(&mut other, &extended);
        a.send_to(&sent, OURS[0]).unwrap();
        assert_eq!(take(&b).map(|(packet, _)| packet), Some(sent), "{suite:?}: {:?}", plane.report(1).a);
        // Keys of ours on one leg: out of the kernel at once.
        configure(&plane, Side::B, Protection::Srtp(parameters(suite, 2)), Protection::Srtp(parameters(suite, 9)));
        assert_eq!(plane.plane.inspect(StreamId(1)).unwrap().ways[0].1, Some(WhyNot::Transformed));
        plane.plane.command(Media::Close { stream: StreamId(1) });
        assert!(plane.event(Duration::from_secs(2)).is_some());
    }
}
