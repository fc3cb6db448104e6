//! Faxes: a call that turns to T.38 and back (T.38 Annex D; RFC 3264 §8.3.3), UM's hold in answer to it, refusals that leave the sound as it was, the
//! calling tone, and calls that begin as a fax.

use std::sync::Arc;
use std::time::Duration;

use portcullis::media::control::{self, Command, Content, Side};
use portcullis::policy::settings::{DialPlan, Fax, Peer, PeerKind, PolicySet, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::{FaxRecord, What};
use portcullis::sip::Method;

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established, established_with, hang_up};
use crate::transfer;

const PARAMETERS: &str = "a=T38FaxVersion:0\na=T38MaxBitRate:14400\na=T38FaxRateManagement:transferredTCF\na=T38FaxMaxBuffer:2000\na=T38FaxMaxDatagram:400\na=T38FaxUdpEC:t38UDPRedundancy\n";

/// As a gateway writes it, with what is its own.
fn fax(party: Party, port: u16, extra: &str) -> String {
    let address = party.address();
    format!(
        "v=0\no=secretuser 71 2 IN IP4 {address}\ns=secret session\nc=IN IP4 {address}\nt=0 0\nm=image {port} udptl t38\n{PARAMETERS}a=T38VendorInfo:secret box\n{extra}"
    )
}

fn fax_beside(party: Party, port: u16) -> String {
    fax(party, port, "").replace("m=image", "m=audio 0 RTP/AVP 8 0\nm=image")
}

/// Scenes whose legs may carry T.38: UDP, TCP, and TLS with plain media.
fn in_clear() -> Vec<Scene> {
    Scene::everywhere().into_iter().take(3).collect()
}

fn carried(lab: &Lab) -> Vec<Content> {
    lab.media.iter().filter_map(|command| if let Command::Carry { content, .. } = command { Some(*content) } else { None }).collect()
}

fn switches(lab: &Lab) -> Vec<bool> {
    lab.facts.iter().filter_map(|fact| if let What::FaxSwitched { t38 } = fact.what { Some(t38) } else { None }).collect()
}

fn record_of_fax(lab: &Lab) -> FaxRecord {
    lab.records()[0].fax
}

/// The caller re-INVITEs, the called side answers; what each of them got.
fn from_caller(lab: &mut Lab, caller: &mut Caller, offer: &str, answer: &str) -> (String, String) {
    caller.next(lab, "INVITE", "", offer);
    lab.response_to(Party::Trunk, 100);
    let carried = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &carried, 200, "", "", answer);
    lab.request_to(Party::Router, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.ack(lab, "");
    lab.nothing_sent();
    (carried.sdp(), accepted.sdp())
}

fn from_callee(lab: &mut Lab, callee: &mut Callee, offer: &str, answer: &str) -> (String, String) {
    callee.next(lab, "INVITE", "", offer);
    lab.response_to(Party::Router, 100);
    let carried = lab.request_to(Party::Trunk, Method::Invite);
    lab.answer(Party::Trunk, &carried, 200, "", "", answer);
    lab.request_to(Party::Trunk, Method::Ack);
    let accepted = lab.response_to(Party::Router, 200);
    callee.ack(lab, "");
    lab.nothing_sent();
    (carried.sdp(), accepted.sdp())
}

fn lines(sdp: &str) -> Vec<String> {
    let words = |line: &str| line.split(' ').enumerate().filter(|(index, _)| *index != 1).map(|(_, word)| word.to_owned()).collect::<Vec<_>>().join(" ");
    sdp.split("\r\n").filter(|line| line.starts_with("m=")).map(words).collect()
}

#[test]
fn a_gateway_turns_the_call_to_t38_and_back() {
    for scene in in_clear() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = established(&mut lab);
        let (offer, answer) = (fax(Party::Trunk, 4002, ""), fax(Party::Router, 6002, ""));
        let (offered, answered) = from_caller(&mut lab, &mut caller, &offer, &answer);
        for sdp in [&offered, &answered] {
            assert_eq!(lines(sdp), ["m=image udptl t38"]);
            assert!(sdp.ends_with(&PARAMETERS.replace('\n', "\r\n")) && !sdp.contains("secret"), "{sdp}");
        }
        assert_eq!(carried(&lab).last(), Some(&Content::Udptl));
        // The called side ends the fax.
        let (offer, answer) = (lab.sdp(Party::Router, 6000).replace(" 71 1 ", " 71 3 "), lab.sdp(Party::Trunk, 4000).replace(" 71 1 ", " 71 3 "));
        let (offered, _) = from_callee(&mut lab, &mut callee, &offer, &answer);
        assert_eq!(lines(&offered), ["m=audio RTP/AVP 8 0 101"]);
        assert_eq!(carried(&lab).last(), Some(&Content::Rtp { events: 1 << 101 }));
        assert_eq!(switches(&lab), [true, false]);
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(record_of_fax(&lab), FaxRecord { tone: None, t38: true });
    }
}

#[test]
fn the_called_side_turns_the_call_to_t38_and_the_caller_has_two_lines() {
    for scene in in_clear() {
        let mut lab = Lab::new(scene);
        let (mut caller, mut callee) = established(&mut lab);
        let (offered, answered) = from_callee(&mut lab, &mut callee, &fax_beside(Party::Router, 6002), &fax(Party::Trunk, 4002, ""));
        assert_eq!(lines(&offered), ["m=image udptl t38"], "the line it had");
        assert_eq!(lines(&answered), ["m=audio RTP/AVP 8 0", "m=image udptl t38"], "as many as it offered");
        hang_up(&mut lab, &mut caller, &callee);
    }
}

/// What UM does before it refers the caller to the fax server.
#[test]
fn um_answers_the_fax_with_a_hold_which_the_gateway_hears() {
    for (extra, expected) in [("a=inactive\n", "a=inactive\r\n"), ("a=sendonly\n", "a=sendonly\r\n"), ("c=IN IP4 0.0.0.0\n", "a=sendonly\r\n")] {
        let mut lab = Lab::new(Scene::tcp());
        let (mut caller, callee) = established(&mut lab);
        let (_, answered) = from_caller(&mut lab, &mut caller, &fax(Party::Trunk, 4002, ""), &fax(Party::Router, 6002, extra));
        assert!(answered.ends_with(expected), "{answered}");
        let held: Vec<_> = lab.facts.iter().filter_map(|fact| if let What::Held { by, held } = fact.what { Some((by, held)) } else { None }).collect();
        assert_eq!(held, [(Side::B, true)]);
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn a_fax_that_um_refuses_leaves_the_sound_as_it_was() {
    for status in [488, 415, 501] {
        let mut lab = Lab::new(Scene::tcp());
        let (mut caller, callee) = established(&mut lab);
        caller.next(&mut lab, "INVITE", "", &fax(Party::Trunk, 4002, ""));
        lab.response_to(Party::Trunk, 100);
        let carried_on = lab.request_to(Party::Router, Method::Invite);
        lab.answer(Party::Router, &carried_on, status, "", "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, status);
        caller.ack_refusal(&mut lab);
        assert!(!carried(&lab).contains(&Content::Udptl) && lab.core.calls() == 1);
        // The fax goes on as sound: echo cancellation and silence suppression off, in the gateway's words.
        let (offer, answer) =
            (lab.sdp_saying(Party::Trunk, 4000, "a=silenceSupp:off - - - -\na=sendrecv\n").replace(" 71 1 ", " 71 3 "), lab.sdp(Party::Router, 6000));
        let (offered, _) = from_caller(&mut lab, &mut caller, &offer, &answer);
        assert_eq!(lines(&offered), ["m=audio RTP/AVP 8 0 101"]);
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(record_of_fax(&lab), FaxRecord::default());
    }
}

#[test]
fn a_protected_call_refuses_t38_and_says_why_to_the_operator_alone() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, mut callee) = established(&mut lab);
    caller.next(&mut lab, "INVITE", "", &fax(Party::Trunk, 4002, ""));
    lab.response_to(Party::Trunk, 100);
    let refusal = lab.response_to(Party::Trunk, 488);
    assert!(refusal.sdp().is_empty() && !refusal.text().contains("Warning"));
    caller.ack_refusal(&mut lab);
    callee.next(&mut lab, "UPDATE", "", &fax(Party::Router, 6002, ""));
    lab.response_to(Party::Router, 488);
    lab.nothing_sent();
    let reasons = |lab: &Lab| {
        let decisions = lab.facts.iter().filter_map(|fact| if let What::Decided(trail) = &fact.what { Some(trail.clone()) } else { None });
        decisions.flatten().filter_map(|decision| decision.refused).collect::<Vec<_>>()
    };
    assert_eq!(reasons(&lab), [Reason::FaxUnprotected, Reason::FaxUnprotected]);
    assert!(!carried(&lab).contains(&Content::Udptl));
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn a_mediation_server_is_offered_no_t38_and_its_own_is_declined() {
    for scene in in_clear() {
        let mut lab = Lab::new(Scene { trunk: PeerKind::Mediation, ..scene });
        let (mut caller, mut callee) = established(&mut lab);
        callee.next(&mut lab, "INVITE", "", &fax(Party::Router, 6002, ""));
        lab.response_to(Party::Router, 100);
        lab.response_to(Party::Router, 488);
        callee.ack_refusal(&mut lab);
        caller.next(&mut lab, "INVITE", "", &fax(Party::Trunk, 4002, ""));
        lab.response_to(Party::Trunk, 100);
        lab.response_to(Party::Trunk, 488);
        caller.ack_refusal(&mut lab);
        lab.nothing_sent();
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn a_call_may_begin_as_a_fax_where_that_needs_no_protection() {
    for scene in in_clear() {
        let mut lab = Lab::new(scene);
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        caller.invite(&mut lab, ALLOW, &fax(Party::Trunk, 4002, ""));
        lab.response_to(Party::Trunk, 100);
        let invite = lab.request_to(Party::Router, Method::Invite);
        assert_eq!(lines(&invite.sdp()), ["m=image udptl t38"]);
        let callee = Callee::new(Party::Router, invite, "um1");
        callee.answer(&mut lab, 200, ALLOW, &fax(Party::Router, 6002, ""));
        lab.request_to(Party::Router, Method::Ack);
        let answer = lab.response_to(Party::Trunk, 200);
        caller.learn(&answer);
        caller.ack(&mut lab, "");
        assert_eq!((carried(&lab), switches(&lab)), (vec![Content::Udptl], vec![true]));
        hang_up(&mut lab, &mut caller, &callee);
    }
    let mut lab = Lab::new(Scene::secured());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, ALLOW, &fax(Party::Trunk, 4002, ""));
    lab.response_to(Party::Trunk, 100);
    lab.response_to(Party::Trunk, 488);
    caller.ack_refusal(&mut lab);
    lab.nothing_sent();
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::FaxUnprotected);
}

/// UM is there and may not have this call: that is no reason to send it over the PSTN, as for a UM that cannot be had.
#[test]
fn a_fax_um_may_not_have_is_refused_before_anybody_is_asked() {
    let refused = |change: fn(&Scene, &mut PolicySet), reason: Reason| {
        let mode = SecurityMode::SipSecured;
        let mut lab = Lab::new(Scene { mode, pstn: Some(mode), change, ..Scene::secured() });
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        caller.invite(&mut lab, ALLOW, &fax(Party::Trunk, 4002, ""));
        lab.response_to(Party::Trunk, 100);
        lab.response_to(Party::Trunk, 488);
        caller.ack_refusal(&mut lab);
        lab.nothing_sent();
        lab.finish();
        assert_eq!(lab.records()[0].reason, reason);
    };
    let secured = |_: &Scene, set: &mut PolicySet| {
        transfer::change_plan(set, |plan| DialPlan { mode: SecurityMode::Secured, interwork: vec!["trunk".into()], ..plan });
    };
    refused(secured, Reason::FaxUnprotected);
    let declining = |_: &Scene, set: &mut PolicySet| {
        set.peers = set.peers.iter().map(|peer| Arc::new(Peer { fax: if peer.kind.is_um() { Fax::Off } else { peer.fax }, ..(**peer).clone() })).collect();
    };
    refused(declining, Reason::FaxDeclined);
}

#[test]
fn the_calling_tone_is_told_of_once_and_stands_in_the_record() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = established(&mut lab);
    let stream = lab.media.iter().find_map(|command| if let Command::Open { stream, .. } = command { Some(*stream) } else { None }).unwrap();
    for _ in 0..2 {
        lab.handle(Event::Media(control::Event::FaxTone { stream, side: Side::A }));
    }
    let told = lab.facts.iter().filter(|fact| matches!(fact.what, What::FaxTone { side: Side::A })).count();
    assert_eq!(told, 1);
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(record_of_fax(&lab), FaxRecord { tone: Some(Side::A), t38: false });
    assert!(lab.ladder().contains("a fax calls on leg A"), "{}", lab.ladder());
}

/// The session timer's refresh of a call that is a fax says the fax again.
#[test]
fn a_refresh_during_a_fax_is_of_the_fax() {
    let mut lab = Lab::new(Scene::tcp());
    // Neither side takes UPDATE, and the caller leaves refreshing to us.
    let few = "Allow: INVITE, ACK, CANCEL, BYE\nSupported: timer\nSession-Expires: 1800;refresher=uas\n";
    let (mut caller, callee) = established_with(&mut lab, few, "Allow: INVITE, ACK, CANCEL, BYE\n");
    caller.next(&mut lab, "INVITE", few, &fax(Party::Trunk, 4002, ""));
    lab.response_to(Party::Trunk, 100);
    let asked = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &asked, 200, "", "Allow: INVITE, ACK, CANCEL, BYE\n", &fax(Party::Router, 6002, ""));
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 200);
    caller.ack(&mut lab, "");
    lab.pass(Duration::from_secs(905));
    let refresh = lab.request_to_skipping(Party::Trunk, Method::Invite);
    assert_eq!(lines(&refresh.sdp()), ["m=image udptl t38"]);
    lab.answer(Party::Trunk, &refresh, 200, "", "", &fax(Party::Trunk, 4002, "").replace(" 71 2 ", " 71 3 "));
    lab.sent.clear();
    assert_eq!(lab.core.calls(), 1);
    assert_eq!(carried(&lab).last(), Some(&Content::Udptl));
    hang_up(&mut lab, &mut caller, &callee);
}

/// UM holds the gateway that offered a fax and refers it to the fax server (RFC 3515), which is offered the fax.
#[test]
fn the_fax_server_that_um_refers_to_is_offered_the_fax() {
    for scene in in_clear() {
        let mut lab = Lab::new(Scene { change: transfer::world, ..scene });
        let (mut caller, mut um) = established(&mut lab);
        from_caller(&mut lab, &mut caller, &fax_beside(Party::Trunk, 4002), &fax(Party::Router, 6002, "a=inactive\n"));
        let server = Party::Fax.address();
        um.next(&mut lab, "REFER", &format!("Refer-To: <sip:1000@{server}>\n"), "");
        lab.response_to(Party::Router, 202);
        transfer::notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
        let invite = lab.request_to(Party::Fax, Method::Invite);
        assert_eq!(lines(&invite.sdp()), ["m=image udptl t38"]);
        assert!(!invite.sdp().contains("inactive") && !invite.sdp().contains("secret"), "{}", invite.sdp());
        let target = Callee::new(Party::Fax, invite, "fax1");
        target.answer(&mut lab, 200, ALLOW, &fax(Party::Fax, 6044, ""));
        lab.request_to(Party::Fax, Method::Ack);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        assert_eq!(lines(&reinvite.sdp()), ["m=audio RTP/AVP 8 0", "m=image udptl t38"], "on the lines the gateway knows");
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &fax_beside(Party::Trunk, 4002));
        lab.request_to(Party::Trunk, Method::Ack);
        transfer::notified(&mut lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        assert_eq!(carried(&lab).last(), Some(&Content::Udptl), "in a stream of its own");
        um.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        transfer::bye(&mut lab, Party::Fax);
        lab.sent.clear();
        lab.finish();
        assert!(lab.records()[0].fax.t38);
    }
}

/// A silence that falls into a transfer is not forgotten when the transfer fails: both sides are configured anew, from which the media plane counts again.
#[test]
fn after_a_failed_transfer_silence_counts_again() {
    let mut lab = Lab::new(transfer::scene());
    let (_, mut um) = established(&mut lab);
    let stream = lab.media.iter().find_map(|command| if let Command::Open { stream, .. } = command { Some(*stream) } else { None }).unwrap();
    let target = transfer::referred(&mut lab, &mut um);
    lab.handle(Event::Media(control::Event::Silent { stream, since: lab.now }));
    assert_eq!(lab.core.calls(), 1, "a transfer may be silent");
    lab.media.clear();
    target.answer(&mut lab, 486, "", "");
    let again = |side: Side| lab.media.iter().any(|command| matches!(command, Command::Configure { stream: of, side: at, .. } if *of == stream && *at == side));
    assert!(again(Side::A) && again(Side::B), "{:?}", lab.media);
}
