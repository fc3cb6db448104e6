//! How many calls a target may have: one that has no room is passed over for the next, and where none has the caller is told when to come again.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::admission::CallLimits;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Callee, Caller, Lab, Party, Scene, peer_table, policy_set};

fn limited(lab: &mut Lab, scene: &Scene, limits: &[(&str, CallLimits)]) {
    let mut set = policy_set(scene);
    for (name, limits) in limits {
        for peer in set.peers.iter_mut().filter(|peer| &*peer.name == *name) {
            Arc::make_mut(peer).limits_towards = *limits;
        }
    }
    let set = Arc::new(set);
    lab.handle(Event::Policies(set.clone(), lab.settings.clone()));
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
}

fn calls(most: u32) -> CallLimits {
    CallLimits { calls: Some(most), rate: None }
}

fn invite(lab: &mut Lab, user: &str) -> Caller {
    let mut caller = Caller::new(lab, Party::Trunk, user);
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    caller
}

fn answered(lab: &mut Lab, caller: &mut Caller, party: Party) -> Callee {
    let callee = Callee::new(party, lab.request_to(party, Method::Invite), "um");
    let answer = lab.sdp(party, 6000);
    callee.answer(lab, 200, "", &answer);
    lab.request_to(party, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(lab, "");
    callee
}

fn hang_up(lab: &mut Lab, caller: &mut Caller, callee: &Callee) {
    caller.next(lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(callee.party, Method::Bye);
    lab.answer(callee.party, &bye, 200, "", "", "");
}

#[test]
fn a_full_target_is_passed_over_until_it_has_room_again() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    let mut lab = Lab::new(scene.clone());
    limited(&mut lab, &scene, &[("router", calls(1))]);
    let mut first = invite(&mut lab, "1000");
    let at_router = answered(&mut lab, &mut first, Party::Router);
    let mut second = invite(&mut lab, "1001");
    let at_spare = answered(&mut lab, &mut second, Party::Spare);
    let told = |lab: &Lab| lab.facts.iter().filter(|fact| matches!(fact.what, What::FailedOver { why: Reason::TargetCallLimit, .. })).count();
    assert_eq!(told(&lab), 1, "{}", lab.ladder());
    let compared = lab.facts.iter().find_map(|fact| match &fact.what {
        What::Decided(trail) => trail.iter().find(|decision| decision.refused == Some(Reason::TargetCallLimit) && decision.stage == "admission"),
        _ => None,
    });
    let compared: Vec<_> = compared.unwrap().compared.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(compared, ["used=1", "limit=1", "target=router"]);
    hang_up(&mut lab, &mut first, &at_router);
    let mut third = invite(&mut lab, "1002");
    let again = answered(&mut lab, &mut third, Party::Router);
    assert_eq!(told(&lab), 1);
    hang_up(&mut lab, &mut second, &at_spare);
    hang_up(&mut lab, &mut third, &again);
    lab.finish();
}

#[test]
fn where_none_has_room_the_caller_gets_503_with_a_time() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    let mut lab = Lab::new(scene.clone());
    limited(&mut lab, &scene, &[("router", calls(0)), ("spare", calls(0))]);
    let mut caller = invite(&mut lab, "1000");
    let refusal = lab.response_to(Party::Trunk, 503);
    assert_eq!(refusal.header(HeaderName::RetryAfter), "30");
    caller.ack_refusal(&mut lab);
    lab.nothing_sent();
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::TargetCallLimit);
}

#[test]
fn a_call_that_is_refused_or_given_up_leaves_its_place() {
    let scene = Scene::default();
    let mut lab = Lab::new(scene.clone());
    limited(&mut lab, &scene, &[("router", calls(1))]);
    let mut refused = invite(&mut lab, "1000");
    Callee::new(Party::Router, lab.request_to(Party::Router, Method::Invite), "um").answer(&mut lab, 486, "", "");
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 486);
    refused.ack_refusal(&mut lab);
    let mut next = invite(&mut lab, "1001");
    let callee = answered(&mut lab, &mut next, Party::Router);
    hang_up(&mut lab, &mut next, &callee);
    lab.finish();
}

#[test]
fn calls_go_to_a_target_no_faster_than_they_may() {
    let scene = Scene::default().with_routers(&["router", "spare"]);
    let mut lab = Lab::new(scene.clone());
    limited(&mut lab, &scene, &[("router", CallLimits { calls: None, rate: Some(1) })]);
    let mut first = invite(&mut lab, "1000");
    let at_router = answered(&mut lab, &mut first, Party::Router);
    let mut second = invite(&mut lab, "1001");
    let at_spare = answered(&mut lab, &mut second, Party::Spare);
    assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::FailedOver { why: Reason::TargetRateLimit, .. })), "{}", lab.ladder());
    lab.pass(Duration::from_secs(1));
    let mut third = invite(&mut lab, "1002");
    let again = answered(&mut lab, &mut third, Party::Router);
    for (mut caller, callee) in [(first, at_router), (second, at_spare), (third, again)] {
        hang_up(&mut lab, &mut caller, &callee);
    }
    lab.finish();
}
