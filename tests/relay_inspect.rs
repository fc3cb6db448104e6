//! What the media plane shows of itself: which ways of packets there are, and a stream while it runs.

mod relay_rig;

use portcullis::adapters::media::Settings;
use portcullis::adapters::media::path::Way;
use portcullis::sdp::crypto::Suite::AesCm128HmacSha1_80;
use relay_rig::{Call, Leg, Plane, next_stream};

#[test]
fn a_stream_is_shown_while_it_runs_and_not_after() {
    let mut plane = Plane::start(Settings { workers: 2, ..Settings::default() });
    let mut plain = Call::open(&plane, &Leg::Plain, &Leg::Plain);
    let mut secured = Call::open(&plane, &Leg::Srtp(AesCm128HmacSha1_80), &Leg::Srtp(AesCm128HmacSha1_80));
    plain.talk();
    secured.talk();
    for call in [&plain, &secured] {
        let view = plane.plane.inspect(call.stream).expect("it is open");
        assert_eq!((view.stream, view.ours), (call.stream, [call.a.relay, call.b.relay]));
        assert_eq!((view.report.a.received, view.report.b.received, view.report.a.rtcp_received), (3, 3, 3));
        assert_eq!(view.worker as u64, call.stream.0 % 2);
        for (way, why_not) in view.ways {
            assert!(matches!(way, Way::Sockets(_)) && why_not.is_none(), "{way}: {why_not:?}");
        }
    }
    let bytes = |call: &Call| plane.plane.inspect(call.stream).map(|view| view.bytes).unwrap();
    assert!(bytes(&secured) > bytes(&plain), "keys take room");
    let report = plane.close(plain.stream);
    assert_eq!(report.a.received, 3, "being looked at changes nothing");
    assert!(matches!(report.a.path, Some((Way::Sockets(_), None))), "the record has the way it took");
    assert_eq!(plane.plane.inspect(plain.stream), None);
    assert_eq!(plane.plane.inspect(next_stream()), None);
    let view = plane.plane.inspection(secured.stream).blocking_recv().expect("answered");
    assert_eq!(view.map(|view| view.stream), Some(secured.stream));
}

#[test]
fn every_way_says_once_how_its_probe_went() {
    let plane = Plane::start(Settings { workers: 3, ..Settings::default() });
    let probes = plane.plane.probes();
    assert!(probes.iter().any(|probe| matches!(probe.way, Way::Sockets(_)) && probe.outcome.is_ok()), "{probes:?}");
    for (at, probe) in probes.iter().enumerate() {
        assert!(probes[..at].iter().all(|before| before.way != probe.way), "{} twice", probe.way);
        assert!(!probe.outcome.as_ref().unwrap_or_else(|error| error).is_empty());
    }
}
