//! The policy set is changed under a Secured call: its peer is now to come over TCP. What it says there is not heard on the Secured leg, and nothing of
//! that leg, least of all keys, goes there.

use std::sync::Arc;

use portcullis::policy::settings::{Peer, SecurityMode};
use portcullis::signaling::event::{Event, Route};
use portcullis::sip::{Method, Transport};

use crate::lab::{Callee, Caller, Lab, Party, Scene, established, hang_up, invited, peer_table, policy_set};

/// The party's entry says TCP and Unsecured from now on; it speaks so until `mended`.
fn lowered(lab: &mut Lab, party: Party) {
    let mut set = policy_set(&Scene::secured());
    for peer in set.peers.iter_mut().filter(|peer| *peer.name == *party.name()) {
        *peer = Arc::new(Peer { transport: Transport::Tcp, mode: SecurityMode::Unsecured, ..(**peer).clone() });
    }
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
    lab.transport = Transport::Tcp;
}

fn mended(lab: &mut Lab) {
    lab.handle(Event::Peers(Arc::new(peer_table(3, &policy_set(&Scene::secured())))));
    lab.transport = Transport::Tls;
}

fn is_by_tls(route: &Route) -> bool {
    match route {
        Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => connect.transport == Transport::Tls && !connect.names.is_empty(),
        Route::Flow { otherwise: None, .. } | Route::Datagram { .. } => false,
    }
}

/// The call is answered and ended by its proper ways.
fn goes_on(lab: &mut Lab, mut caller: Caller, callee: Callee) {
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(lab, 200, "", &answer);
    assert!(is_by_tls(&lab.request_to(Party::Router, Method::Ack).route));
    let answer = lab.response_to(Party::Trunk, 200);
    assert!(is_by_tls(&answer.route), "{:?}", answer.route);
    caller.learn(&answer);
    caller.ack(lab, "");
    lab.nothing_sent();
    hang_up(lab, &mut caller, &callee);
}

#[test]
fn an_answer_in_clear_is_not_taken() {
    for status in [183, 200, 302, 486, 503] {
        let mut lab = Lab::new(Scene::secured());
        let (caller, callee) = invited(&mut lab, "");
        let configured = lab.media.len();
        lowered(&mut lab, Party::Router);
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, status, "Contact: <sip:1000@server.test>\n", &answer);
        lab.nothing_sent();
        assert_eq!(lab.media.len(), configured, "{status}");
        mended(&mut lab);
        goes_on(&mut lab, caller, callee);
    }
}

/// The answers to a request go where its newest copy came from: a copy in clear drew the 200, and its keys, there.
#[test]
fn a_copy_of_the_invite_in_clear_does_not_draw_the_answer() {
    let mut lab = Lab::new(Scene::secured());
    let (caller, callee) = invited(&mut lab, "");
    lowered(&mut lab, Party::Trunk);
    lab.receive(Party::Trunk, &caller.invite);
    lab.response_to(Party::Trunk, 482);
    mended(&mut lab);
    goes_on(&mut lab, caller, callee);
}

#[test]
fn a_cancel_in_clear_cancels_nothing() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = invited(&mut lab, "");
    lowered(&mut lab, Party::Trunk);
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 481);
    lab.nothing_sent();
    mended(&mut lab);
    goes_on(&mut lab, caller, callee);
}

/// With a delayed offer the ACK holds the answer: keys that came in clear would be taken for good.
#[test]
fn an_answer_in_an_ack_in_clear_is_not_taken() {
    let mut lab = Lab::new(Scene::secured());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.invite(&mut lab, "", "");
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let callee = Callee::new(Party::Router, invite, "um1");
    let offer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &offer);
    let answer = lab.response_to(Party::Trunk, 200);
    caller.learn(&answer);
    let answer = lab.sdp(Party::Trunk, 4000);
    lowered(&mut lab, Party::Trunk);
    caller.ack(&mut lab, &answer);
    lab.nothing_sent();
    mended(&mut lab);
    caller.ack(&mut lab, &answer);
    lab.request_to(Party::Router, Method::Ack);
    hang_up(&mut lab, &mut caller, &callee);
}

#[test]
fn nothing_asked_in_clear_while_it_rings_is_granted() {
    let mut lab = Lab::new(Scene::secured());
    let (caller, mut callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    lowered(&mut lab, Party::Router);
    for method in ["BYE", "UPDATE", "OPTIONS"] {
        callee.next(&mut lab, method, "", "");
        lab.response_to(Party::Router, 403);
    }
    lab.nothing_sent();
    mended(&mut lab);
    goes_on(&mut lab, caller, callee);
}

/// UM may speak from another server of the pool; one that asks for more than the leg is would be given less than it asks for.
#[test]
fn a_server_that_asks_for_more_is_not_heard_on_a_weaker_leg() {
    let scene = Scene { transport: Transport::Tls, mode: SecurityMode::SipSecured, ..Scene::default() };
    for (mode, status) in [(SecurityMode::SipSecured, 200), (SecurityMode::Secured, 481)] {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = established(&mut lab);
        let mut set = policy_set(&scene);
        for peer in set.peers.iter_mut().filter(|peer| *peer.name == *Party::Server.name()) {
            *peer = Arc::new(Peer { mode, ..(**peer).clone() });
        }
        lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
        let mut colleague = Callee { party: Party::Server, invite: callee.invite.clone(), tag: callee.tag.clone(), cseq: 5, branch: String::new() };
        colleague.next(&mut lab, "UPDATE", "", "");
        lab.response_to(Party::Server, status);
        hang_up(&mut lab, &mut caller, &callee);
    }
}
