//! One target after another (RFC 3263 §4.3): timeout, transport failure, certificate, 503, 408; and when all have failed.

use std::time::Duration;

use portcullis::policy::peer::PeerTable;
use portcullis::policy::verdict::{Decision, Reason};
use portcullis::signaling::event::{Event, LocateError, Route, Target, TransportError};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{Callee, Caller, Lab, Party, Scene, hang_up, invited, policy_set, refused_certificate, refused_handshake};

/// The first router fails by `how`; the spare answers.
fn fails_over(how: impl Fn(&mut Lab, &Callee), why: Reason) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.with_routers(&["router", "spare"]));
        let (mut caller, callee) = invited(&mut lab, "");
        how(&mut lab, &callee);
        lab.drain_to(Party::Router);
        let invite = lab.request_to(Party::Spare, Method::Invite);
        assert_eq!(invite.header(HeaderName::CallId), callee.invite.header(HeaderName::CallId), "the same call");
        assert_eq!(invite.header(HeaderName::CSeq), "2 INVITE");
        lab.nothing_to(Party::Trunk);
        assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::FailedOver { why: told, .. } if told == why)), "{}", lab.ladder());
        let spare = Callee::new(Party::Spare, invite, "um9");
        let answer = lab.sdp(Party::Spare, 6000);
        spare.answer(&mut lab, 200, "", &answer);
        lab.request_to(Party::Spare, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        hang_up(&mut lab, &mut caller, &spare);
        assert_eq!(&*lab.records()[0].b.as_ref().unwrap().peer, "spare");
    }
}

#[test]
fn on_503_and_408() {
    fails_over(|lab, callee| callee.answer(lab, 503, "Retry-After: 120\n", ""), Reason::TargetUnavailable);
    fails_over(|lab, callee| callee.answer(lab, 408, "", ""), Reason::TargetTimeout);
}

#[test]
fn on_a_transport_failure() {
    for (error, reason) in [
        (TransportError::Refused, Reason::TargetUnreachable),
        (TransportError::TimedOut, Reason::TargetTimeout),
        (refused_certificate(), Reason::TargetCertificate),
        (refused_handshake(), Reason::TargetUnreachable),
        (TransportError::Closed, Reason::TargetUnreachable),
    ] {
        fails_over(|lab, callee| lab.fails(&callee.invite, error.clone()), reason);
    }
}

#[test]
fn an_operator_sees_what_was_wrong_with_the_certificate() {
    let mut lab = Lab::new(Scene::secured().with_routers(&["router", "spare"]));
    let (_, callee) = invited(&mut lab, "");
    lab.fails(&callee.invite, refused_certificate());
    let decisions: Vec<&Decision> =
        lab.facts.iter().filter_map(|fact| if let What::Decided(made) = &fact.what { Some(made) } else { None }).flatten().collect();
    let told = decisions.iter().find(|decision| decision.stage == "failover").expect("the failure is told");
    assert_eq!(told.refused, Some(Reason::TargetCertificate));
    for expected in [("connection", "its certificate expired 3 days ago"), ("tls", "tls.expired"), ("held against", "certs/ca.pem")] {
        assert!(told.compared.iter().any(|(name, value)| (*name, &**value) == expected), "{expected:?} in {told:?}");
    }
    lab.request_to(Party::Spare, Method::Invite);
    lab.finish();
}

#[test]
fn after_ten_seconds_without_a_word() {
    fails_over(|lab, _| lab.pass(Duration::from_millis(10_001)), Reason::TargetTimeout);
}

#[test]
fn after_early_media_the_next_target_gets_keys_of_its_own() {
    fails_over(
        |lab, callee| {
            let early = lab.sdp(Party::Router, 6000);
            callee.answer(lab, 183, "", &early);
            lab.response_to(Party::Trunk, 183);
            callee.answer(lab, 503, "", "");
        },
        Reason::TargetUnavailable,
    );
    let mut lab = Lab::new(Scene::secured().with_routers(&["router", "spare"]));
    let (_, callee) = invited(&mut lab, "");
    let early = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 183, "", &early);
    callee.answer(&mut lab, 503, "", "");
    lab.drain_to(Party::Router);
    let invite = lab.request_to(Party::Spare, Method::Invite);
    let keys = |text: String| -> Vec<String> { text.lines().filter_map(|line| line.split("inline:").nth(1).map(String::from)).collect() };
    let (old, new) = (keys(callee.invite.sdp()), keys(invite.sdp()));
    assert!(!new.is_empty() && new.iter().all(|key| !old.contains(key)), "{old:?} {new:?}");
}

#[test]
fn when_all_have_failed_the_caller_hears_of_the_last() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.with_routers(&["router", "spare"]));
        let (mut caller, callee) = invited(&mut lab, "");
        lab.fails(&callee.invite, TransportError::Refused);
        let invite = lab.request_to(Party::Spare, Method::Invite);
        lab.answer(Party::Spare, &invite, 503, "x", "", "");
        lab.request_to(Party::Spare, Method::Ack);
        let refusal = lab.response_to(Party::Trunk, 503);
        assert_eq!(refusal.header(HeaderName::RetryAfter), "30");
        caller.learn(&refusal);
        caller.ack(&mut lab, "");
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::TargetUnavailable);
        assert_eq!(lab.facts.iter().filter(|fact| matches!(fact.what, What::FailedOver { .. })).count(), 1, "only one was followed by another");
    }
}

#[test]
fn a_final_refusal_is_not_failed_over() {
    let mut lab = Lab::new(Scene::default().with_routers(&["router", "spare"]));
    let (_, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 486, "", "");
    lab.response_to(Party::Trunk, 486);
    lab.nothing_to(Party::Spare);
    lab.finish();
}

#[test]
fn the_given_up_target_answers_late_and_is_turned_away() {
    let mut lab = Lab::new(Scene::default().with_routers(&["router", "spare"]));
    let (mut caller, callee) = invited(&mut lab, "");
    lab.pass(Duration::from_millis(10_001));
    lab.drain_to(Party::Router);
    let invite = lab.request_to(Party::Spare, Method::Invite);
    let late = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 180, "", "");
    lab.request_to(Party::Router, Method::Cancel);
    callee.answer(&mut lab, 200, "", &late);
    lab.request_to(Party::Router, Method::Ack);
    let bye = lab.request_to(Party::Router, Method::Bye);
    lab.answer(Party::Router, &bye, 200, "", "", "");
    let spare = Callee::new(Party::Spare, invite, "um9");
    let answer = lab.sdp(Party::Spare, 6000);
    spare.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Spare, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    hang_up(&mut lab, &mut caller, &spare);
}

#[test]
fn early_media_of_one_target_is_no_answer_of_the_next() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.with_routers(&["router", "spare"]));
        let (_, callee) = invited(&mut lab, "");
        let early = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 183, "", &early);
        lab.response_to(Party::Trunk, 183);
        callee.answer(&mut lab, 503, "", "");
        let invite = lab.request_to(Party::Spare, Method::Invite);
        lab.answer(Party::Spare, &invite, 200, "um9", "", "");
        lab.request_to(Party::Spare, Method::Ack);
        lab.request_to(Party::Spare, Method::Bye);
        lab.response_to(Party::Trunk, 488);
        lab.finish();
    }
}

fn by_name() -> (Lab, Caller) {
    let mut lab = Lab::new(Scene { router_by_name: true, ..Scene::secured() });
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    (lab, caller)
}

#[test]
fn the_addresses_of_a_name_are_tried_in_their_order() {
    let (mut lab, _) = by_name();
    two_addresses(&mut lab);
    let (id, query) = lab.locates.pop().expect("a name is located");
    assert_eq!((query.transport, &*query.host), (Some(Transport::Tls), "router.test"));
    let targets = [Party::Router, Party::Spare].map(|party| Target { transport: Transport::Tls, address: (party.address(), 5061).into() });
    lab.handle(Event::Located { id, targets: Ok(targets.to_vec()) });
    let first = lab.request_to(Party::Router, Method::Invite);
    match &first.route {
        Route::Connect(connect) => assert_eq!(connect.names, [std::sync::Arc::from("router.test")]),
        route => panic!("{route:?}"),
    }
    lab.fails(&first, refused_certificate());
    lab.request_to(Party::Spare, Method::Invite);
    lab.finish();
}

/// The call router's name has two addresses, the second being also the spare's.
fn two_addresses(lab: &mut Lab) {
    let set = policy_set(&Scene { router_by_name: true, ..Scene::secured() });
    let both = |name: &str| if name == "router.test" { vec![Party::Router.address(), Party::Spare.address()] } else { Vec::new() };
    lab.handle(Event::Peers(std::sync::Arc::new(PeerTable::build(2, &set, &both))));
}

/// Whoever answers from an address the peer table does not know is a stranger: an INVITE there could only time out.
#[test]
fn a_name_located_elsewhere_than_the_peer_table_has_it_goes_where_the_table_says() {
    let (mut lab, _) = by_name();
    let (id, _) = lab.locates.pop().expect("a name is located");
    let elsewhere = Target { transport: Transport::Tls, address: ([198, 51, 100, 99], 5061).into() };
    lab.handle(Event::Located { id, targets: Ok(vec![elsewhere]) });
    match lab.request_to(Party::Router, Method::Invite).route {
        Route::Connect(connect) => assert_eq!(connect.remote, (Party::Router.address(), 5061).into()),
        route => panic!("{route:?}"),
    }
    lab.finish();
}

#[test]
fn a_name_that_leads_to_another_transport_than_its_peers_is_not_called() {
    for transport in [Transport::Udp, Transport::Tcp] {
        let (mut lab, _) = by_name();
        let (id, _) = lab.locates.pop().expect("a name is located");
        let weaker = Target { transport, address: (Party::Router.address(), 5060).into() };
        lab.handle(Event::Located { id, targets: Ok(vec![weaker]) });
        lab.nothing_to(Party::Router);
        lab.response_to(Party::Trunk, 503);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::LocateFailed);
    }
}

/// The grace is over: the call router's name has no address.
fn nowhere(lab: &mut Lab) {
    let set = policy_set(&Scene { router_by_name: true, ..Scene::secured() });
    lab.handle(Event::Peers(std::sync::Arc::new(PeerTable::build(2, &set, &|_| Vec::new()))));
}

#[test]
fn a_name_no_server_answers_for_is_called_where_it_lived_last() {
    let (mut lab, _) = by_name();
    let (id, _) = lab.locates.pop().expect("a name is located");
    lab.handle(Event::Located { id, targets: Err(LocateError::Failed) });
    match lab.request_to(Party::Router, Method::Invite).route {
        Route::Connect(connect) => assert_eq!(connect.remote, (Party::Router.address(), 5061).into()),
        route => panic!("{route:?}"),
    }
    lab.finish();
}

#[test]
fn a_name_that_cannot_be_resolved_or_is_never_answered_for() {
    for answers in [Some(Err(LocateError::NotFound)), Some(Err(LocateError::Failed)), Some(Ok(Vec::new())), None] {
        let (mut lab, _) = by_name();
        nowhere(&mut lab);
        let (id, _) = lab.locates.pop().expect("a name is located");
        match answers {
            Some(targets) => lab.handle(Event::Located { id, targets }),
            None => lab.pass(Duration::from_secs(33)),
        }
        lab.response_to(Party::Trunk, 503);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::LocateFailed);
    }
}

#[test]
fn a_caller_whose_connection_is_gone_is_no_target_that_is_unreachable() {
    let mut lab = Lab::new(Scene::secured().with_routers(&["router"]));
    let (_caller, callee) = invited(&mut lab, "");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    let accepted = lab.response_to(Party::Trunk, 200);
    lab.request_to(Party::Router, Method::Ack);
    lab.fails(&accepted, TransportError::Refused);
    let byes = [Party::Router, Party::Trunk].map(|party| lab.request_to(party, Method::Bye));
    lab.answer(Party::Router, &byes[0], 200, "", "", "");
    lab.fails(&byes[1], TransportError::Refused);
    let records = lab.records();
    assert_eq!(records.iter().map(|record| record.reason).collect::<Vec<_>>(), [Reason::CallerGone], "{}", lab.ladder());
}
