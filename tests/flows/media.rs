//! What is agreed of sound, and what the media plane is told of it: codecs by policy, payload types of each leg, early media before and after ringing, and
//! both address families.

use std::sync::Arc;

use portcullis::media::control::{Command, Configuration, Side};
use portcullis::policy::settings::{Peer, PolicySet};
use portcullis::policy::sound::{Codec, Sound};
use portcullis::policy::verdict::Reason;
use portcullis::sip::Method;

use crate::lab::{Lab, Party, Scene, hang_up, invited};

/// The peer with these wishes.
fn wanting(set: &mut PolicySet, party: Party, change: impl Fn(&mut Sound)) {
    for peer in set.peers.iter_mut().filter(|peer| &*peer.name == party.name()) {
        let mut changed = Peer::clone(peer);
        change(&mut changed.sound);
        *peer = Arc::new(changed);
    }
}

fn codecs(names: &[&str]) -> Vec<Codec> {
    names.iter().map(|name| Codec::parse(name).unwrap()).collect()
}

/// What was told last of a side.
fn told(lab: &Lab, of: Side) -> &Configuration {
    let last = lab.media.iter().rev().find_map(|command| match command {
        Command::Configure { side, set, .. } if *side == of => Some(set),
        _ => None,
    });
    last.expect("the side is configured")
}

fn audio_line(sdp: &str) -> &str {
    sdp.lines().find_map(|line| line.strip_prefix("m=audio ")).and_then(|line| line.split_once("AVP ")).map_or("", |(_, formats)| formats)
}

#[test]
fn policy_orders_the_codecs_a_server_is_offered() {
    let change = |_: &Scene, set: &mut PolicySet| wanting(set, Party::Router, |sound| sound.codecs = codecs(&["PCMU", "PCMA"]));
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(Scene { change, ..scene });
        let (mut caller, callee) = invited(&mut lab, "");
        assert_eq!(audio_line(&callee.invite.sdp()), "0 8 101");
        let answer = lab.sdp(Party::Router, 6000).replace(" 8 0 101", " 0 96").replace("101 ", "96 ");
        callee.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        assert_eq!(audio_line(&accepted.sdp()), "0 101", "in the caller's own numbers");
        assert!(accepted.sdp().contains("a=rtpmap:101 telephone-event/8000\r\n") && !accepted.sdp().contains(":96"), "{}", accepted.sdp());
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        let payloads = told(&lab, Side::A).payloads.clone().unwrap();
        assert_eq!((payloads.outgoing(101), payloads.outgoing(0), payloads.outgoing(8)), (Some(96), Some(0), None));
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records()[0].a.codec.as_deref(), Some("PCMU/8000"));
    }
}

#[test]
fn a_caller_with_no_codec_that_policy_allows_is_refused_and_the_record_says_why() {
    let change = |_: &Scene, set: &mut PolicySet| wanting(set, Party::Router, |sound| sound.codecs = codecs(&["opus/48000"]));
    let mut lab = Lab::new(Scene { change, ..Scene::default() });
    let mut caller = crate::lab::Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    let invite = caller.request(&mut lab, "INVITE", "", &offer);
    lab.receive(Party::Trunk, &invite);
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::CodecRefused);
}

/// Early media by a 183, with a 180 without a description behind it: the sound of the 183 stays open (RFC 3261 §13.2.1, RFC 3960 §3.2), and the 2xx settles it.
#[test]
fn early_media_opens_with_the_183_and_stays_open_under_a_180() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, "");
        assert_eq!(told(&lab, Side::B).remote, None, "nothing goes to the called side before it has said where");
        let early = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 183, "", &early);
        let progress = lab.response_to(Party::Trunk, 183);
        assert!(progress.sdp().contains("m=audio"));
        let open = told(&lab, Side::B).clone();
        assert_eq!(open.remote.flatten().map(|at| at.rtp.port()), Some(6000));
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        assert_eq!(told(&lab, Side::B), &open, "a 180 shuts nothing");
        callee.answer(&mut lab, 200, "", &early);
        lab.request_to(Party::Router, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        assert_eq!(told(&lab, Side::B), &open);
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn early_media_after_a_180_opens_with_the_183() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    assert_eq!(told(&lab, Side::B).remote, None);
    let early = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 183, "", &early);
    assert!(lab.response_to(Party::Trunk, 183).sdp().contains("m=audio"));
    assert_eq!(told(&lab, Side::B).remote.flatten().map(|at| at.rtp.port()), Some(6000));
    // Another description in the 2xx is another place: media follows it.
    let other = lab.sdp(Party::Router, 6010);
    callee.answer(&mut lab, 200, "", &other);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    assert_eq!(told(&lab, Side::B).remote.flatten().map(|at| at.rtp.port()), Some(6010));
    hang_up(&mut lab, &mut caller, &callee);
}
