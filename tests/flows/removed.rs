//! Peers that leave an address, are taken out or disabled while calls with them are up: the calls go on or are released, and none begin there.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::peer::{PeerTable, recognise};
use portcullis::policy::settings::{Peer, PeerHost, PeerStatus, PolicySet, SecurityMode};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Event, Route};
use portcullis::signaling::fact::{ReleasedBy, What};
use portcullis::signaling::settings::RemovedPeers;
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established, hang_up, invited, peer_table, policy_set};

/// The scene's set with one peer changed, or taken out.
fn changed(scene: &Scene, name: &str, change: impl Fn(&mut Peer) -> bool) -> PolicySet {
    let mut set = policy_set(scene);
    for peer in &mut set.peers {
        if &*peer.name == name && !change(Arc::make_mut(peer)) {
            Arc::make_mut(peer).name = "".into();
        }
    }
    set.peers.retain(|peer| !peer.name.is_empty());
    set
}

fn take(lab: &mut Lab, number: u64, set: &PolicySet) {
    lab.handle(Event::Peers(Arc::new(peer_table(number, set))));
}

fn take_out(lab: &mut Lab, scene: &Scene, name: &str) {
    take(lab, 2, &changed(scene, name, |_| false));
}

/// Whether the doors let `party` in.
fn let_in(lab: &Lab, party: Party) -> bool {
    let doors = lab.doors.as_deref().expect("a table was told");
    let flow = lab.flow(party);
    assert_eq!(doors.expected(party.address(), lab.transport).is_empty(), recognise(doors, &flow).is_err(), "door and core are of one mind");
    recognise(doors, &flow).is_ok()
}

/// (peer, calls) of every change of who lingers.
fn told(lab: &Lab) -> Vec<(String, usize)> {
    let of = |what: &What| if let What::PeerLingers { peer, calls, .. } = what { Some((peer.to_string(), *calls)) } else { None };
    lab.facts.iter().filter_map(|fact| of(&fact.what)).collect()
}

#[test]
fn a_call_with_a_peer_that_was_taken_out_goes_on_and_either_side_ends_it() {
    for scene in Scene::everywhere() {
        for removed_hangs_up in [true, false] {
            let mut lab = Lab::new(scene.clone());
            let (mut caller, mut callee) = established(&mut lab);
            take_out(&mut lab, &scene, "router");
            assert!(let_in(&lab, Party::Router));
            assert_eq!((told(&lab), lab.core.holdings().lingering), (vec![("router".to_string(), 1)], 1));
            lab.nothing_sent();
            // It refreshes and changes its session as before.
            callee.next(&mut lab, "UPDATE", "", "");
            lab.response_to(Party::Router, 200);
            let hold = lab.sdp_saying(Party::Router, 6000, "a=sendonly\n");
            callee.next(&mut lab, "UPDATE", "", &hold);
            let carried = lab.request_to(Party::Trunk, Method::Update);
            let answer = lab.sdp_saying(Party::Trunk, 4000, "a=recvonly\n");
            lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
            lab.response_to(Party::Router, 200);
            if removed_hangs_up {
                callee.next(&mut lab, "BYE", "", "");
                lab.response_to(Party::Router, 200);
                let bye = lab.request_to(Party::Trunk, Method::Bye);
                lab.answer(Party::Trunk, &bye, 200, "", "", "");
            } else {
                caller.next(&mut lab, "BYE", "", "");
                lab.response_to(Party::Trunk, 200);
                let bye = lab.request_to(Party::Router, Method::Bye);
                assert!(lab.records().is_empty(), "the answer to BYE is still heard");
                lab.answer(Party::Router, &bye, 200, "", "", "");
            }
            assert_eq!(lab.records()[0].reason, Reason::NormalClearing);
            assert!(!let_in(&lab, Party::Router), "a stranger now");
            assert_eq!(told(&lab), [("router".to_string(), 1), ("router".to_string(), 0)]);
            lab.finish();
        }
    }
}

/// Its BYE crosses ours, and its answer to ours comes late: both are heard.
#[test]
fn a_peer_that_is_taken_out_while_its_call_ends_is_heard_to_the_end() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, mut callee) = established(&mut lab);
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Router, Method::Bye);
        take_out(&mut lab, &scene, "router");
        assert!(let_in(&lab, Party::Router));
        callee.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        assert!(lab.records().is_empty());
        lab.answer(Party::Router, &bye, 200, "", "", "");
        assert_eq!(lab.records().len(), 1);
        assert!(!let_in(&lab, Party::Router));
        lab.finish();
    }
}

/// As a UM IP gateway that is disabled without `-Immediate`.
#[test]
fn a_call_with_a_peer_that_was_disabled_goes_on() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = established(&mut lab);
        let set = changed(&scene, "trunk", |peer| {
            peer.status = PeerStatus::Disabled;
            true
        });
        take(&mut lab, 2, &set);
        caller.next(&mut lab, "UPDATE", "", "");
        lab.response_to(Party::Trunk, 200);
        hang_up(&mut lab, &mut caller, &callee);
        assert!(!let_in(&lab, Party::Trunk));
    }
}

#[test]
fn no_new_call_comes_from_or_goes_to_an_address_that_was_left() {
    for scene in Scene::everywhere() {
        let scene = scene.with_routers(&["router", "spare"]);
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = established(&mut lab);
        take(&mut lab, 2, &changed(&scene, "router", |_| false));
        let (mut other, second) = {
            let mut other = Caller::new(&mut lab, Party::Trunk, "1000");
            let offer = lab.sdp(Party::Trunk, 4000);
            other.invite(&mut lab, ALLOW, &offer);
            lab.response_to(Party::Trunk, 100);
            let invite = lab.request_to(Party::Spare, Method::Invite);
            (other, Callee::new(Party::Spare, invite, "um2"))
        };
        lab.nothing_to(Party::Router);
        second.answer(&mut lab, 486, "", "");
        lab.request_to(Party::Spare, Method::Ack);
        let refusal = lab.response_to(Party::Trunk, 486);
        other.learn(&refusal);
        other.ack_refusal(&mut lab);
        take(&mut lab, 3, &changed(&scene, "trunk", |_| false));
        let mut new = Caller::new(&mut lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        new.invite(&mut lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
        lab.response_to(Party::Trunk, 503);
        new.ack_refusal(&mut lab);
        hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records().iter().filter(|record| record.reason == Reason::PeerNoNewCalls).count(), 1);
    }
}

#[test]
fn released_calls_end_on_both_legs_at_once() {
    for scene in Scene::everywhere() {
        let scene = Scene { removed_peers: RemovedPeers::ReleaseCalls, ..scene };
        let mut lab = Lab::new(scene.clone());
        established(&mut lab);
        take_out(&mut lab, &scene, "router");
        let bye = lab.request_to(Party::Router, Method::Bye);
        lab.answer(Party::Router, &bye, 200, "", "", "");
        let bye = lab.request_to(Party::Trunk, Method::Bye);
        lab.answer(Party::Trunk, &bye, 200, "", "", "");
        lab.nothing_sent();
        assert_eq!((lab.records()[0].reason, lab.records()[0].released_by), (Reason::PeerRemoved, ReleasedBy::Border));
        assert!(!let_in(&lab, Party::Router));
        lab.finish();
    }
}

#[test]
fn only_the_calls_of_the_removed_peer_are_released() {
    let scene = Scene { removed_peers: RemovedPeers::ReleaseCalls, ..Scene::default() };
    let mut lab = Lab::new(scene.clone());
    let (mut caller, callee) = established(&mut lab);
    take_out(&mut lab, &scene, "spare");
    lab.nothing_sent();
    assert_eq!(told(&lab), []);
    hang_up(&mut lab, &mut caller, &callee);
    assert_eq!(lab.records()[0].reason, Reason::NormalClearing);
}

#[test]
fn a_call_that_still_rings_is_kept_or_its_next_target_is_tried() {
    for removed_peers in [RemovedPeers::KeepCalls, RemovedPeers::ReleaseCalls] {
        let scene = Scene { removed_peers, ..Scene::default().with_routers(&["router", "spare"]) };
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = invited(&mut lab, ALLOW);
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        take_out(&mut lab, &scene, "router");
        let callee = match removed_peers {
            RemovedPeers::KeepCalls => callee,
            RemovedPeers::ReleaseCalls => {
                let cancel = lab.request_to(Party::Router, Method::Cancel);
                lab.answer(Party::Router, &cancel, 200, "", "", "");
                callee.answer(&mut lab, 487, "", "");
                lab.request_to(Party::Router, Method::Ack);
                let invite = lab.request_to(Party::Spare, Method::Invite);
                Callee::new(Party::Spare, invite, "um2")
            }
        };
        let answer = lab.sdp(callee.party, 6000);
        callee.answer(&mut lab, 200, ALLOW, &answer);
        lab.request_to(callee.party, Method::Ack);
        let answer = lab.response_to(Party::Trunk, 200);
        caller.learn(&answer);
        caller.ack(&mut lab, "");
        hang_up(&mut lab, &mut caller, &callee);
    }
}

#[test]
fn a_caller_that_is_removed_while_it_waits_may_still_cancel_or_is_refused() {
    for removed_peers in [RemovedPeers::KeepCalls, RemovedPeers::ReleaseCalls] {
        let scene = Scene { removed_peers, ..Scene::tcp() };
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = invited(&mut lab, "");
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        take_out(&mut lab, &scene, "trunk");
        if removed_peers == RemovedPeers::KeepCalls {
            caller.cancel(&mut lab);
            lab.response_to(Party::Trunk, 200);
            lab.response_to(Party::Trunk, 487);
        } else {
            lab.response_to(Party::Trunk, 503);
        }
        caller.ack_refusal(&mut lab);
        lab.request_to(Party::Router, Method::Cancel);
        lab.sent.clear();
        lab.finish();
    }
}

/// A target whose turn comes after it was taken out, disabled or told to take no more calls.
#[test]
fn a_target_is_looked_at_again_when_its_turn_comes() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    for (change, reason) in
        [(None, Reason::PeerRemoved), (Some(PeerStatus::Disabled), Reason::PeerDisabled), (Some(PeerStatus::NoNewCalls), Reason::PeerNoNewCalls)]
    {
        let mut lab = Lab::new(scene.clone());
        let (_, callee) = invited(&mut lab, "");
        let set = changed(&scene, "spare", |peer| change.map(|status| peer.status = status).is_some());
        take(&mut lab, 2, &set);
        callee.answer(&mut lab, 503, "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_to(Party::Spare);
        lab.response_to(Party::Trunk, reason.status().unwrap());
        lab.finish();
    }
}

/// The INVITE would be written for the peer as it was: too weak a leg, or to nobody.
#[test]
fn a_target_that_was_changed_meanwhile_is_not_called_as_it_was() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    let changes: [&dyn Fn(&mut Peer); 4] =
        [&|peer| peer.mode = SecurityMode::Secured, &|peer| peer.transport = Transport::Tcp, &|peer| peer.port = Some(5070), &|peer| {
            peer.tls_names = vec!["other.test".into()]
        }];
    for change in changes {
        let mut lab = Lab::new(scene.clone());
        let (_, callee) = invited(&mut lab, "");
        let set = changed(&scene, "spare", |peer| {
            change(peer);
            true
        });
        take(&mut lab, 2, &set);
        callee.answer(&mut lab, 503, "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_to(Party::Spare);
        lab.response_to(Party::Trunk, 503);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::PeerRemoved);
    }
}

/// Every answer from there would be dropped as a stranger's.
#[test]
fn a_target_that_nothing_tells_from_another_is_passed_over() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    let mut lab = Lab::new(scene.clone());
    let set = changed(&scene, "router", |peer| {
        peer.hosts.push(PeerHost::Address(Party::Spare.address()));
        true
    });
    take(&mut lab, 2, &set);
    let (_, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 503, "", "");
    lab.request_to(Party::Router, Method::Ack);
    lab.nothing_to(Party::Spare);
    lab.response_to(Party::Trunk, 503);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::PeerAmbiguous);
}

#[test]
fn a_peer_that_moves_is_followed_and_its_old_place_is_a_strangers_from_then_on() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, mut callee) = established(&mut lab);
        // The router is now where a stranger was.
        let set = changed(&scene, "router", |peer| {
            peer.hosts = vec![PeerHost::Address(Party::Stranger.address())];
            peer.tls_names = vec!["stranger.test".into(), "router.test".into()];
            true
        });
        take(&mut lab, 2, &set);
        callee.next(&mut lab, "OPTIONS", "", "");
        lab.response_to(Party::Router, 200);
        callee.party = Party::Stranger;
        let (flow, text) = from_new_place(&mut lab, &mut callee);
        lab.handle(Event::Received { flow, bytes: crate::lab::wire(&text) });
        lab.response_to(Party::Stranger, 200);
        assert!(!let_in(&lab, Party::Router));
        caller.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Stranger, Method::Bye);
        match bye.route {
            Route::Datagram { remote, .. } => assert_eq!(remote.ip(), Party::Stranger.address()),
            Route::Flow { .. } | Route::Connect(_) => {}
        }
        lab.pass(Duration::from_secs(40));
        lab.sent.clear();
        lab.finish();
    }
}

#[test]
fn one_side_that_moves_does_not_end_the_others_lingering() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    let (mut caller, mut callee) = established(&mut lab);
    let mut set = changed(&scene, "router", |peer| {
        peer.hosts = vec![PeerHost::Address(Party::Stranger.address())];
        true
    });
    set.peers.retain(|peer| &*peer.name != "trunk");
    take(&mut lab, 2, &set);
    assert_eq!(told(&lab).len(), 2);
    callee.party = Party::Stranger;
    callee.next(&mut lab, "OPTIONS", "", "");
    lab.response_to(Party::Stranger, 200);
    assert_eq!((let_in(&lab, Party::Router), let_in(&lab, Party::Trunk)), (false, true));
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(Party::Stranger, Method::Bye);
    lab.answer(Party::Stranger, &bye, 200, "", "", "");
    lab.finish();
}

/// An OPTIONS in the callee's dialog, from the new address but with the peer's own certificate.
fn from_new_place(lab: &mut Lab, callee: &mut Callee) -> (Arc<portcullis::policy::flow::Flow>, String) {
    callee.cseq += 1;
    callee.branch = lab.branch();
    let text = callee.text(lab, "OPTIONS", callee.cseq, "", "");
    let mut flow = (*lab.flow(Party::Stranger)).clone();
    flow.tls = lab.flow(Party::Router).tls.clone();
    (Arc::new(flow), text)
}

#[test]
fn an_address_that_comes_back_while_calls_are_up_is_its_peers_again() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    let (mut caller, callee) = established(&mut lab);
    take_out(&mut lab, &scene, "router");
    take(&mut lab, 3, &policy_set(&scene));
    assert_eq!((told(&lab).len(), lab.core.holdings().lingering), (2, 0));
    let (mut other, second) = established(&mut lab);
    other.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(Party::Router, Method::Bye);
    lab.answer(Party::Router, &bye, 200, "", "", "");
    assert_eq!(second.party, Party::Router);
    hang_up(&mut lab, &mut caller, &callee);
}

/// Somebody else who lives there now is heard as himself, and has no part in the call.
#[test]
fn a_new_owner_of_the_address_has_no_part_in_the_call() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    let (mut caller, mut callee) = established(&mut lab);
    let mut set = changed(&scene, "router", |_| false);
    for peer in set.peers.iter_mut().filter(|peer| &*peer.name == "trunk") {
        Arc::make_mut(peer).hosts.push(PeerHost::Address(Party::Router.address()));
    }
    take(&mut lab, 2, &set);
    callee.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Router, 481);
    assert!(lab.records().is_empty());
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn several_calls_keep_a_peer_until_the_last_is_over() {
    let scene = Scene::default();
    let mut lab = Lab::new(scene.clone());
    let mut calls: Vec<_> = (0..3).map(|_| established(&mut lab)).collect();
    take_out(&mut lab, &scene, "router");
    assert_eq!(told(&lab), [("router".to_string(), 3)]);
    while let Some((_, mut callee)) = calls.pop() {
        assert!(let_in(&lab, Party::Router));
        callee.next(&mut lab, "BYE", "", "");
        assert_eq!(lab.response_to(Party::Router, 200).header(HeaderName::CSeq), "1 BYE");
        let bye = lab.request_to(Party::Trunk, Method::Bye);
        lab.answer(Party::Trunk, &bye, 200, "", "", "");
    }
    assert!(!let_in(&lab, Party::Router));
    assert_eq!(told(&lab).len(), 2);
    lab.finish();
}

/// The doors' table has an edition of its own each time, or what they remember of a flow would outlast the table.
#[test]
fn every_table_the_doors_get_can_be_told_from_the_one_before() {
    let scene = Scene::default();
    let mut lab = Lab::new(scene.clone());
    let mut editions = Vec::new();
    let mut note = |lab: &Lab| editions.push(lab.doors.as_deref().map(PeerTable::edition));
    let (mut caller, callee) = established(&mut lab);
    note(&lab);
    take_out(&mut lab, &scene, "router");
    note(&lab);
    hang_up(&mut lab, &mut caller, &callee);
    note(&lab);
    take(&mut lab, 3, &policy_set(&scene));
    note(&lab);
    for (index, edition) in editions.iter().enumerate() {
        assert!(!editions[..index].contains(edition), "{editions:?}");
    }
}
