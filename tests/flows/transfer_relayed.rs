//! REFER of UM handed to a peer of `refer = "relay"` (RFC 3515, RFC 5589 §6): the peer calls the target itself; if it will not, the border does.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::settings::{DialPlan, Peer, PolicySet, Refer};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::TransferEvent;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Caller, Lab, Party, Scene, Sent, established};
use crate::transfer::{REFER_TO, bye, change_plan, connected, events, notified, world};
use crate::transfer_attended::{consulted_by, refer_to, tag};

fn relaying(scene: &Scene, set: &mut PolicySet) {
    world(scene, set);
    set.peers[0] = Arc::new(Peer { refer: Refer::Relay, ..(*set.peers[0]).clone() });
}

fn scene() -> Scene {
    Scene { change: relaying, ..Scene::default() }
}

fn everywhere(flow: impl Fn(&mut Lab, Caller, Callee)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(Scene { change: relaying, ..scene });
        let (caller, um) = established(&mut lab);
        flow(&mut lab, caller, um);
        lab.finish();
        assert_eq!(lab.open_streams(), 0);
    }
}

/// UM refers, the trunk holds our REFER; UM has heard nothing yet.
fn handed(lab: &mut Lab, um: &mut Callee) -> Sent {
    um.next(lab, "REFER", REFER_TO, "");
    let refer = lab.request_to(Party::Trunk, Method::Refer);
    lab.nothing_sent();
    refer
}

/// … which the trunk takes.
fn taken(lab: &mut Lab, um: &mut Callee) -> Sent {
    let refer = handed(lab, um);
    lab.answer(Party::Trunk, &refer, 202, "", "", "");
    lab.response_to(Party::Router, 202);
    notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
    lab.nothing_sent();
    refer
}

fn says(lab: &mut Lab, caller: &mut Caller, state: &str, fragment: &str) {
    let extra = format!("Event: refer\nSubscription-State: {state}\nX-Inside: pbx7.corp.test\nContent-Type: message/sipfrag;version=2.0\n\n{fragment}");
    caller.next(lab, "NOTIFY", &extra, "");
}

fn hang_up(lab: &mut Lab, caller: &mut Caller) {
    caller.next(lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    bye(lab, Party::Router);
}

#[test]
fn a_peer_that_transfers_by_itself_is_handed_the_refer() {
    everywhere(|lab, mut caller, mut um| {
        let refer = taken(lab, &mut um);
        assert_eq!(refer.header(HeaderName::CallId), caller.call_id, "in the peer's own dialog");
        assert!(refer.header(HeaderName::ReferTo).starts_with("<sip:2002@192.0.2.10:"), "{}", refer.text());
        assert_eq!(refer.header(HeaderName::ReferredBy), "<sip:1000@192.0.2.1>");
        says(lab, &mut caller, "active;expires=60", "SIP/2.0 180 Ringing at pbx7\nWarning: 399 pbx7.corp.test \"x\"\n");
        lab.response_to(Party::Trunk, 200);
        let ringing = notified(lab, Party::Router, "SIP/2.0 180 Ringing", "active");
        assert!(!ringing.text().contains("pbx7"), "{}", ringing.text());
        says(lab, &mut caller, "terminated;reason=noresource", "SIP/2.0 200 OK\n");
        lab.response_to(Party::Trunk, 200);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated;reason=noresource");
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        bye(lab, Party::Trunk);
        lab.nothing_sent();
        let record = lab.records()[0];
        assert_eq!((record.reason, record.transfers.len()), (Reason::NormalClearing, 1));
        assert_eq!((record.transfers[0].relayed, record.transfers[0].status), (true, Some(200)));
        assert!(events(lab).contains(&TransferEvent::DoneThere { peer: "trunk".into() }));
    });
}

#[test]
fn a_peer_that_has_the_target_may_hang_up_first() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    taken(&mut lab, &mut um);
    says(&mut lab, &mut caller, "terminated", "SIP/2.0 200 OK\n");
    lab.response_to(Party::Trunk, 200);
    notified(&mut lab, Party::Router, "SIP/2.0 200 OK", "terminated");
    hang_up(&mut lab, &mut caller);
    lab.finish();
}

#[test]
fn nothing_of_the_inside_crosses_with_a_relayed_refer() {
    everywhere(|lab, mut caller, mut um| {
        let inside = "Refer-To: <sip:2002@198.51.100.77;x-um=ex1.corp.test?Subject=ex1.corp.test>\nReferred-By: \"EX1\" <sip:1000@ex1.corp.test>\nUser-Agent: RTCC ex1.corp.test\n";
        um.next(lab, "REFER", inside, "");
        let refer = lab.request_to(Party::Trunk, Method::Refer);
        let text = refer.text().to_ascii_lowercase();
        assert!(!text.contains("198.51.100") && !text.contains("ex1") && !text.contains("subject"), "{text}");
        lab.answer(Party::Trunk, &refer, 202, "", "", "");
        lab.sent.clear();
        caller.next(lab, "BYE", "", "");
        lab.sent.clear();
    });
}

#[test]
fn what_the_peer_will_not_do_the_border_does() {
    for status in [405, 501, 603, 403, 300] {
        everywhere(|lab, mut caller, mut um| {
            let refer = handed(lab, &mut um);
            lab.answer(Party::Trunk, &refer, status, "", "", "");
            lab.response_to(Party::Router, 202);
            notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
            let invite = lab.request_to(Party::Trunk, Method::Invite);
            let target = Callee::new(Party::Trunk, invite, "target");
            connected(lab, &target);
            notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated;reason=noresource");
            um.next(lab, "BYE", "", "");
            lab.response_to(Party::Router, 200);
            caller.next(lab, "BYE", "", "");
            lab.response_to(Party::Trunk, 200);
            bye(lab, Party::Trunk);
            let transfer = &lab.records()[0].transfers[0];
            assert_eq!((transfer.relayed, transfer.status), (false, Some(200)));
            assert!(events(lab).contains(&TransferEvent::Declined { peer: "trunk".into(), status }));
        });
    }
}

#[test]
fn a_peer_that_says_nothing_costs_um_no_more_than_twenty_seconds_and_no_target_two_calls() {
    let mut lab = Lab::new(Scene { change: relaying, ..Scene::tcp() });
    let (mut caller, mut um) = established(&mut lab);
    handed(&mut lab, &mut um);
    lab.pass(Duration::from_secs(19));
    // RFC 4320 §4.1.
    lab.response_to(Party::Router, 100);
    lab.nothing_sent();
    lab.pass(Duration::from_secs(1));
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    // The peer may still take it.
    lab.pass(Duration::from_secs(11));
    lab.nothing_sent();
    lab.pass(Duration::from_secs(2));
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    connected(&mut lab, &Callee::new(Party::Trunk, invite, "target"));
    notified(&mut lab, Party::Router, "SIP/2.0 200 OK", "terminated");
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_busy_target_of_the_peers_leaves_the_call_as_it_was() {
    everywhere(|lab, mut caller, mut um| {
        taken(lab, &mut um);
        says(lab, &mut caller, "terminated;reason=noresource", "SIP/2.0 486 Nobody at pbx7\n");
        lab.response_to(Party::Trunk, 200);
        notified(lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated;reason=noresource");
        lab.nothing_sent();
        um.next(lab, "INFO", "", "");
        let info = lab.request_to(Party::Trunk, Method::Info);
        lab.answer(Party::Trunk, &info, 200, "", "", "");
        lab.response_to(Party::Router, 200);
        // What is over is not told again.
        says(lab, &mut caller, "terminated", "SIP/2.0 200 OK\n");
        lab.response_to(Party::Trunk, 481);
        hang_up(lab, &mut caller);
        assert_eq!((lab.records()[0].transfers[0].status, lab.records()[0].reason), (Some(486), Reason::NormalClearing));
    });
}

#[test]
fn what_policy_refuses_or_leads_inside_never_leaves() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    um.next(&mut lab, "REFER", "Refer-To: <sip:+14255550199@192.0.2.1>\n", "");
    lab.response_to(Party::Router, 403);
    lab.nothing_sent();
    // The fax server is ours to call.
    um.next(&mut lab, "REFER", &format!("Refer-To: <sip:{}>\n", Party::Fax.address()), "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    let invite = lab.request_to(Party::Fax, Method::Invite);
    lab.answer(Party::Fax, &invite, 486, "x", "", "");
    lab.request_to(Party::Fax, Method::Ack);
    lab.sent.clear();
    // So is another server of UM's.
    lab.pass(Duration::from_secs(33));
    lab.sent.clear();
    um.next(&mut lab, "REFER", "Refer-To: <sip:1000@198.51.100.20>\n", "");
    assert!(lab.sent.iter().all(|sent| sent.to == Party::Router), "{}", lab.ladder());
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_second_refer_waits_whoever_sends_it() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let refer = handed(&mut lab, &mut um);
    um.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 491);
    lab.answer(Party::Trunk, &refer, 202, "", "", "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    um.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 491);
    caller.next(&mut lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Trunk, 491);
    lab.nothing_sent();
    // Nor does it go on for ever.
    lab.pass(Duration::from_secs(660));
    notified(&mut lab, Party::Router, "SIP/2.0 408 Request Timeout", "terminated");
    hang_up(&mut lab, &mut caller);
    lab.finish();
}

#[test]
fn whoever_hangs_up_meanwhile_ends_it() {
    for (by_um, is_taken) in [(true, true), (true, false), (false, true), (false, false)] {
        everywhere(|lab, mut caller, mut um| {
            let refer = if is_taken { taken(lab, &mut um) } else { handed(lab, &mut um) };
            let (from, other) = if by_um { (Party::Router, Party::Trunk) } else { (Party::Trunk, Party::Router) };
            if by_um {
                um.next(lab, "BYE", "", "")
            } else {
                caller.next(lab, "BYE", "", "")
            }
            lab.response_to(from, 200);
            match (by_um, is_taken) {
                (false, true) => {
                    notified(lab, Party::Router, "SIP/2.0 487 Request Terminated", "terminated");
                    bye(lab, other);
                }
                (_, true) => bye(lab, other),
                (_, false) => {
                    bye(lab, other);
                    lab.response_to(Party::Router, 487);
                    lab.answer(Party::Trunk, &refer, 202, "", "", "");
                }
            }
            lab.nothing_sent();
        });
    }
}

#[test]
fn a_notify_may_overtake_the_202() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let refer = handed(&mut lab, &mut um);
    says(&mut lab, &mut caller, "active", "SIP/2.0 100 Trying\n");
    lab.response_to(Party::Trunk, 200);
    lab.response_to(Party::Router, 202);
    lab.answer(Party::Trunk, &refer, 202, "", "", "");
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    lab.nothing_sent();
    hang_up_telling(&mut lab, &mut caller);
    lab.finish();
}

fn hang_up_telling(lab: &mut Lab, caller: &mut Caller) {
    caller.next(lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    notified(lab, Party::Router, "SIP/2.0 487 Request Terminated", "terminated");
    bye(lab, Party::Router);
}

#[test]
fn a_notify_of_nothing_that_was_asked_is_refused() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    says(&mut lab, &mut caller, "active", "SIP/2.0 200 OK\n");
    lab.response_to(Party::Trunk, 481);
    taken(&mut lab, &mut um);
    for (extra, status) in [
        ("Event: presence\nSubscription-State: active\nContent-Type: message/sipfrag\n\nSIP/2.0 200 OK\n", 481),
        ("Event: refer;id=99\nSubscription-State: active\nContent-Type: message/sipfrag\n\nSIP/2.0 200 OK\n", 481),
        ("Event: refer\nSubscription-State: active\nContent-Type: text/plain\n\nSIP/2.0 200 OK\n", 400),
        ("Event: refer\nSubscription-State: active\nContent-Type: message/sipfrag\n\nSIP/2.0 2000 OK\n", 400),
    ] {
        caller.next(&mut lab, "NOTIFY", extra, "");
        lab.response_to(Party::Trunk, status);
        lab.nothing_sent();
    }
    // UM is told of REFERs, it does not tell of them.
    um.next(&mut lab, "NOTIFY", "Event: refer\nSubscription-State: active\n", "");
    lab.response_to(Party::Router, 405);
    hang_up_telling(&mut lab, &mut caller);
    lab.finish();
}

fn by_the_trunk_alone(scene: &Scene, set: &mut PolicySet) {
    relaying(scene, set);
    change_plan(set, |plan| DialPlan { gateways: vec!["trunk".into()], ..plan });
}

#[test]
fn replaces_names_the_peers_own_dialog() {
    let mut lab = Lab::new(Scene { change: by_the_trunk_alone, ..Scene::default() });
    let (mut caller, mut um) = established(&mut lab);
    let (mut second, phone) = consulted_by(&mut lab, Party::Trunk);
    um.next(&mut lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
    let refer = lab.request_to(Party::Trunk, Method::Refer);
    assert_eq!(refer.header(HeaderName::CallId), caller.call_id);
    let ours = tag(&phone.invite.header(HeaderName::From));
    let call_id = phone.invite.header(HeaderName::CallId).replace('@', "%40");
    let expected = format!("<sip:192.0.2.10:5060;transport=udp?Replaces={call_id}%3Bto-tag%3Dphone%3Bfrom-tag%3D{ours}>");
    assert_eq!(refer.header(HeaderName::ReferTo), expected);
    lab.answer(Party::Trunk, &refer, 202, "", "", "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    lab.nothing_sent();
    // A dialog the border does not hold, or that is not UM's, is nobody's.
    says(&mut lab, &mut caller, "terminated", "SIP/2.0 503 No\n");
    lab.response_to(Party::Trunk, 200);
    notified(&mut lab, Party::Router, "SIP/2.0 503 Service Unavailable", "terminated");
    for named in [refer_to("nobody@nowhere", "a", "b"), refer_to(&phone.invite.header(HeaderName::CallId), &ours, "phone")] {
        um.next(&mut lab, "REFER", &named, "");
        lab.response_to(Party::Router, 481);
        lab.nothing_sent();
    }
    caller.next(&mut lab, "BYE", "", "");
    second.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn two_calls_the_peer_will_not_join_are_joined_here() {
    let mut lab = Lab::new(Scene { change: by_the_trunk_alone, ..Scene::default() });
    let (mut caller, mut um) = established(&mut lab);
    let (second, phone) = consulted_by(&mut lab, Party::Trunk);
    um.next(&mut lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
    let refer = lab.request_to(Party::Trunk, Method::Refer);
    lab.answer(Party::Trunk, &refer, 501, "", "", "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    bye(&mut lab, Party::Server);
    let asked = lab.request_to(Party::Trunk, Method::Invite);
    assert_eq!(asked.header(HeaderName::CallId), phone.invite.header(HeaderName::CallId));
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
    assert_eq!(lab.open_streams(), 0);
}

/// The other party is another peer's: this one could not name its dialog.
#[test]
fn two_calls_of_different_peers_are_joined_here() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let (second, _) = consulted_by(&mut lab, Party::Pstn);
    um.next(&mut lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    bye(&mut lab, Party::Server);
    lab.request_to(Party::Pstn, Method::Invite);
    lab.nothing_to(Party::Trunk);
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}
