//! A peer's status as a UM IP gateway's: enabled, no-new-calls, disabled; on every path a call can take, at start and after a reload.

use std::sync::Arc;

use portcullis::policy::settings::{PeerStatus, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established, hang_up, invited, peer_table, policy_set};

fn with_status(scene: &Scene, peer: &str, status: PeerStatus) -> PolicySet {
    let mut set = policy_set(scene);
    for known in set.peers.iter_mut().filter(|known| &*known.name == peer) {
        Arc::make_mut(known).status = status;
    }
    set
}

/// A reload brings the status into force.
fn reload(lab: &mut Lab, scene: &Scene, peer: &str, status: PeerStatus) {
    let set = Arc::new(with_status(scene, peer, status));
    lab.handle(Event::Policies(set.clone(), lab.settings.clone()));
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
}

fn invite(lab: &mut Lab, party: Party) -> Caller {
    let mut caller = Caller::new(lab, party, "1000");
    let offer = lab.sdp(party, 4000);
    caller.invite(lab, "", &offer);
    caller
}

#[test]
fn a_peer_that_takes_no_new_calls_gets_503_for_its_invite_and_its_options() {
    for scene in Scene::everywhere() {
        for party in [Party::Trunk, Party::Server] {
            let mut lab = Lab::new(scene.clone());
            reload(&mut lab, &scene, party.name(), PeerStatus::NoNewCalls);
            let mut caller = invite(&mut lab, party);
            lab.response_to(party, 100);
            assert_eq!(lab.response_to(party, 503).header(HeaderName::RetryAfter), "30");
            caller.ack_refusal(&mut lab);
            let mut asking = Caller::new(&mut lab, party, "ping");
            asking.next(&mut lab, "OPTIONS", "", "");
            assert_eq!(lab.response_to(party, 503).header(HeaderName::RetryAfter), "30", "so that it goes elsewhere");
            lab.nothing_sent();
            lab.finish();
            assert_eq!(lab.records()[0].reason, Reason::PeerNoNewCalls);
        }
    }
}

#[test]
fn calls_of_a_peer_that_takes_no_new_ones_go_on_to_their_end() {
    for scene in Scene::everywhere() {
        for peer in ["trunk", "router"] {
            let mut lab = Lab::new(scene.clone());
            let (mut caller, mut callee) = established(&mut lab);
            reload(&mut lab, &scene, peer, PeerStatus::NoNewCalls);
            caller.next(&mut lab, "OPTIONS", "", "");
            lab.response_to(Party::Trunk, 200);
            callee.next(&mut lab, "UPDATE", "", "");
            lab.response_to(Party::Router, 200);
            let hold = lab.sdp_saying(Party::Trunk, 4000, "a=sendonly\n");
            caller.next(&mut lab, "INVITE", "", &hold);
            lab.response_to(Party::Trunk, 100);
            let carried = lab.request_to(Party::Router, Method::Invite);
            let answer = lab.sdp_saying(Party::Router, 6000, "a=recvonly\n");
            lab.answer(Party::Router, &carried, 200, "", ALLOW, &answer);
            lab.request_to(Party::Router, Method::Ack);
            lab.response_to(Party::Trunk, 200);
            caller.ack(&mut lab, "");
            hang_up(&mut lab, &mut caller, &callee);
            assert!(!lab.facts.iter().any(|fact| matches!(fact.what, What::PeerLingers { .. })), "it is where it was");
        }
    }
}

#[test]
fn a_disabled_peer_is_a_stranger() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        reload(&mut lab, &scene, "trunk", PeerStatus::Disabled);
        invite(&mut lab, Party::Trunk);
        let mut asking = Caller::new(&mut lab, Party::Trunk, "ping");
        asking.next(&mut lab, "OPTIONS", "", "");
        lab.nothing_sent();
        let refused = |what: &What| matches!(what, What::Stranger { decision, .. } if decision.refused == Some(Reason::PeerDisabled));
        assert_eq!(lab.facts.iter().filter(|fact| refused(&fact.what)).count(), 2);
        lab.finish();
    }
}

#[test]
fn no_call_goes_out_to_a_peer_that_takes_none() {
    for scene in Scene::everywhere() {
        for status in [PeerStatus::NoNewCalls, PeerStatus::Disabled] {
            // To UM: the next router is called.
            let towards_um = scene.clone().with_routers(&["router", "spare"]);
            let mut lab = Lab::new(towards_um.clone());
            reload(&mut lab, &towards_um, "router", status);
            invite(&mut lab, Party::Trunk);
            lab.response_to(Party::Trunk, 100);
            let invite_to_spare = lab.request_to(Party::Spare, Method::Invite);
            Callee::new(Party::Spare, invite_to_spare, "um").answer(&mut lab, 486, "", "");
            lab.nothing_to(Party::Router);
            lab.finish();
            // From UM: the plan's only gateway.
            let mut lab = Lab::new(scene.clone());
            reload(&mut lab, &scene, "trunk", status);
            invite(&mut lab, Party::Server);
            lab.response_to(Party::Server, 100);
            lab.response_to(Party::Server, 404);
            lab.nothing_to(Party::Trunk);
            lab.finish();
            assert_eq!(lab.records()[0].reason, Reason::NoRoute);
        }
    }
}

#[test]
fn no_redirect_leads_to_a_peer_that_takes_no_calls() {
    for scene in Scene::everywhere() {
        for status in [PeerStatus::NoNewCalls, PeerStatus::Disabled] {
            let mut lab = Lab::new(scene.clone());
            let (_, callee) = invited(&mut lab, "");
            reload(&mut lab, &scene, "server", status);
            let contact = format!("Contact: <sip:1000@198.51.100.30:5066;transport={}>\n", scene.transport.uri_token());
            callee.answer(&mut lab, 302, &contact, "");
            lab.request_to(Party::Router, Method::Ack);
            lab.nothing_to(Party::Server);
            lab.response_to(Party::Trunk, 502);
            lab.finish();
            assert_eq!(lab.records()[0].reason, Reason::RedirectUntrusted);
        }
    }
}

/// A redirect followed already, its target's turn still to come.
#[test]
fn a_redirects_other_target_is_looked_at_again() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    let (_, callee) = invited(&mut lab, "");
    let contacts = "Contact: <sip:1000@198.51.100.30:5066;transport=tcp>\nContact: <sip:1000@198.51.100.30:5068;transport=tcp>;q=0.5\n";
    callee.answer(&mut lab, 302, contacts, "");
    lab.request_to(Party::Router, Method::Ack);
    let first = lab.request_to(Party::Server, Method::Invite);
    reload(&mut lab, &scene, "server", PeerStatus::NoNewCalls);
    lab.answer(Party::Server, &first, 503, "w", "", "");
    lab.request_to(Party::Server, Method::Ack);
    lab.nothing_to(Party::Server);
    lab.response_to(Party::Trunk, 503);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::PeerNoNewCalls);
}

#[test]
fn an_enabled_peer_is_so_again_after_the_next_reload() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    for status in [PeerStatus::Disabled, PeerStatus::NoNewCalls] {
        reload(&mut lab, &scene, "trunk", status);
        reload(&mut lab, &scene, "trunk", PeerStatus::Enabled);
        let mut asking = Caller::new(&mut lab, Party::Trunk, "ping");
        asking.next(&mut lab, "OPTIONS", "", "");
        lab.response_to(Party::Trunk, 200);
        let (mut caller, callee) = established(&mut lab);
        hang_up(&mut lab, &mut caller, &callee);
    }
}
