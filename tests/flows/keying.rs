//! A trunk keyed by DTLS calls a UM server keyed by SDES: what each is told, what the record says, and the end where no handshake comes to keys.

use std::sync::Arc;

use portcullis::media::control::{self, Command as MediaCommand, Configuration, DtlsRole, KeyingFailure, Protection, Side, StreamId};
use portcullis::policy::settings::Keying;
use portcullis::policy::verdict::Reason;
use portcullis::sdp::crypto::Suite;
use portcullis::sdp::fingerprint::{Fingerprint, HashFunction};
use portcullis::signaling::event::Event;
use portcullis::sip::Method;

use crate::lab::{Callee, Caller, Lab, Party, Scene, hang_up, sdp_with};

fn certificate(byte: u8) -> Fingerprint {
    Fingerprint { hash: HashFunction::Sha256, digest: vec![byte; 32] }
}

fn lab() -> Lab {
    let mut lab = Lab::with(Scene::secured(), |set| {
        for peer in set.peers.iter_mut().filter(|peer| &*peer.name == Party::Trunk.name()) {
            Arc::make_mut(peer).keying = Keying::Dtls;
        }
    });
    lab.handle(Event::Media(control::Event::Certificates(vec![certificate(1), certificate(2)])));
    lab
}

/// The call is up, as far as signalling goes.
fn up(lab: &mut Lab) -> (Caller, Callee, StreamId) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    let offer = sdp_with(Party::Trunk, 4000, "UDP/TLS/RTP/SAVP", &format!("a=fingerprint:{}\na=setup:actpass\na=rtcp-mux\n", certificate(9).value()));
    caller.invite(lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(invite.sdp().contains("RTP/SAVP") && invite.sdp().contains("a=crypto"), "{}", invite.sdp());
    assert!(!invite.sdp().contains("fingerprint") && !invite.sdp().contains("TLS") && !invite.sdp().contains("mux"), "{}", invite.sdp());
    let callee = Callee::new(Party::Router, invite, "b1");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(lab, 200, "", &answer);
    let answer = lab.response_to(Party::Trunk, 200);
    assert!(answer.sdp().contains(&format!("a=fingerprint:{}\r\na=setup:active\r\n", certificate(1).value())), "{}", answer.sdp());
    assert!(!answer.sdp().contains("crypto"), "{}", answer.sdp());
    caller.learn(&answer);
    caller.ack(lab, "");
    lab.request_to(Party::Router, Method::Ack);
    let stream = lab.media.iter().find_map(|command| if let MediaCommand::Open { stream, .. } = command { Some(*stream) } else { None });
    (caller, callee, stream.expect("a stream was opened"))
}

fn told(lab: &Lab, of: Side) -> Configuration {
    let last = lab.media.iter().rev().find_map(|command| match command {
        MediaCommand::Configure { side, set, .. } if *side == of => Some(set.clone()),
        _ => None,
    });
    last.expect("the side is configured")
}

#[test]
fn the_keys_of_a_handshake_are_in_the_record() {
    let mut lab = lab();
    let (mut caller, callee, stream) = up(&mut lab);
    let a = told(&lab, Side::A);
    let Some(Protection::Dtls(dtls)) = &a.receive else { panic!("{a:?}") };
    assert_eq!((dtls.role, dtls.fingerprints.as_slice(), a.mux), (Some(DtlsRole::Active), &[certificate(9)][..], Some(true)));
    assert_eq!(a.receive, a.transmit);
    assert!(matches!(told(&lab, Side::B).receive, Some(Protection::Srtp(_))));
    lab.handle(Event::Media(control::Event::Keyed { stream, side: Side::A, suite: Suite::AeadAes128Gcm }));
    hang_up(&mut lab, &mut caller, &callee);
    lab.finish();
    assert_eq!(lab.records()[0].a.suite, Some(Suite::AeadAes128Gcm));
}

#[test]
fn without_keys_there_is_no_call() {
    for failure in [KeyingFailure::Fingerprint, KeyingFailure::TimedOut] {
        let mut lab = lab();
        let (_, _, stream) = up(&mut lab);
        lab.handle(Event::Media(control::Event::KeyingFailed { stream, side: Side::A, failure: failure.clone() }));
        for party in [Party::Trunk, Party::Router] {
            let bye = lab.request_to_skipping(party, Method::Bye);
            lab.answer(party, &bye, 200, "", "", "");
        }
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::MediaKeying);
        let told = format!("{:?}", lab.facts);
        assert!(told.contains(&failure.to_string()), "{told}");
    }
}

#[test]
fn before_the_media_plane_has_a_certificate_there_is_none_to_announce() {
    let mut lab = lab();
    lab.handle(Event::Media(control::Event::Certificates(Vec::new())));
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = sdp_with(Party::Trunk, 4000, "UDP/TLS/RTP/SAVP", &format!("a=fingerprint:{}\na=setup:actpass\n", certificate(9).value()));
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let callee = Callee::new(Party::Router, invite, "b1");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    lab.request_to(Party::Router, Method::Bye);
    lab.response_to(Party::Trunk, 503);
}
