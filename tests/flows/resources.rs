//! When something runs out or falls silent: media ports and sockets, silence, budgets, the graceful stop.

use std::sync::Arc;
use std::time::Duration;

use portcullis::media::control::{self, Command as MediaCommand, Report, StreamId};
use portcullis::media::ports::QUARANTINE;
use portcullis::policy::admission::CallLimits;
use portcullis::policy::settings::{AdmissionLimits, DialPlan, HuntGroup, Peer, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Command, Event, Measured};
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Caller, Lab, Party, Scene, Sent, established, hang_up, invited};

fn stream(lab: &Lab) -> StreamId {
    lab.media.iter().find_map(|command| if let MediaCommand::Open { stream, .. } = command { Some(*stream) } else { None }).expect("a stream was opened")
}

#[test]
fn media_sockets_that_cannot_be_opened() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = invited(&mut lab, "");
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        let stream = stream(&lab);
        lab.handle(Event::Media(control::Event::OpenFailed { stream, error: "in use".into() }));
        lab.request_to(Party::Router, Method::Cancel);
        assert_eq!(lab.response_to(Party::Trunk, 503).header(HeaderName::RetryAfter), "30");
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::MediaPorts);
    }
}

#[test]
fn no_media_ports_left_and_none_lost() {
    let mut lab = Lab::new(Scene { ports: (20_000, 20_003), ..Scene::default() });
    let (mut first, one) = established(&mut lab);
    let (mut second, two) = established(&mut lab);
    for _ in 0..5 {
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
        lab.response_to(Party::Trunk, 503);
        lab.nothing_sent();
    }
    assert_eq!(lab.core.holdings().ports, 4);
    second.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(two.party, Method::Bye);
    lab.answer(two.party, &bye, 200, "", "", "");
    hang_up(&mut lab, &mut first, &one);
}

/// What is held, as whoever watches is told of it.
#[test]
fn a_census_tells_of_ports_dialogs_and_transactions() {
    let mut lab = Lab::new(Scene { ports: (20_000, 20_009), ..Scene::default() });
    let census = |lab: &mut Lab| {
        lab.handle(Event::Census);
        let told = lab.facts.iter().rev().find_map(|fact| if let What::Census(census) = &fact.what { Some(census.clone()) } else { None });
        let census = told.expect("it was asked");
        let ports: Vec<_> = census.ports.iter().map(|ports| (ports.used, ports.resting, ports.free, ports.elsewhere)).collect();
        (ports, census.dialogs, census.transactions)
    };
    let (ports, dialogs, transactions) = census(&mut lab);
    assert!(!ports.is_empty() && ports.iter().all(|ports| *ports == (0, 0, 5, 0)), "nothing was handed out yet: {ports:?}");
    assert_eq!((dialogs, transactions), Default::default());
    let (mut caller, callee) = invited(&mut lab, "");
    let (_, dialogs, transactions) = census(&mut lab);
    assert!(dialogs.early >= 1 && dialogs.confirmed == 0, "{dialogs:?}");
    assert_eq!((transactions.invite_client, transactions.invite_server), (1, 1), "{transactions:?}");
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(&mut lab, 200, "", &answer);
    lab.request_to(Party::Router, Method::Ack);
    let answer = lab.response_to(Party::Trunk, 200);
    caller.learn(&answer);
    caller.ack(&mut lab, "");
    let (ports, dialogs, _) = census(&mut lab);
    assert_eq!((ports.iter().map(|ports| ports.0).sum::<usize>(), dialogs.confirmed, dialogs.early), (2, 2, 0), "a pair and a dialog for each leg");
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(callee.party, Method::Bye);
    let (_, _, transactions) = census(&mut lab);
    assert!(transactions.non_invite_client == 1 && transactions.non_invite_server == 1, "{transactions:?}");
    lab.answer(callee.party, &bye, 200, "", "", "");
    let (ports, ..) = census(&mut lab);
    assert_eq!(ports.iter().map(|ports| ports.1).sum::<usize>(), 2, "they rest");
    lab.finish();
    let (ports, dialogs, transactions) = census(&mut lab);
    assert!(ports.iter().all(|ports| *ports == (0, 0, 5, 0)), "{ports:?}");
    assert_eq!((dialogs, transactions), Default::default());
}

/// Late packets of one call must not reach the next that has its ports.
#[test]
fn ports_rest_before_another_call_has_them() {
    let mut lab = Lab::new(Scene { ports: (20_000, 20_001), ..Scene::default() });
    let (mut caller, callee) = established(&mut lab);
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(callee.party, Method::Bye);
    lab.answer(callee.party, &bye, 200, "", "", "");
    assert_eq!(lab.core.holdings().ports, 0, "given back");
    let attempt = |lab: &mut Lab| {
        let mut caller = Caller::new(lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
    };
    lab.pass(QUARANTINE - Duration::from_millis(1));
    attempt(&mut lab);
    lab.response_to(Party::Trunk, 503);
    lab.nothing_sent();
    lab.pass(Duration::from_millis(1));
    attempt(&mut lab);
    lab.request_to(Party::Router, Method::Invite);
}

#[test]
fn a_silent_call_is_released_but_not_one_on_hold() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = established(&mut lab);
        let stream = stream(&lab);
        let hold = lab.sdp_saying(Party::Trunk, 4000, "a=sendonly\n");
        caller.next(&mut lab, "UPDATE", "", &hold);
        let carried = lab.request_to(Party::Router, Method::Update);
        let answer = lab.sdp_saying(Party::Router, 6000, "a=recvonly\n");
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.response_to(Party::Trunk, 200);
        let since = lab.now;
        lab.handle(Event::Media(control::Event::Silent { stream, since }));
        lab.nothing_sent();
        let resume = lab.sdp(Party::Trunk, 4000);
        caller.next(&mut lab, "UPDATE", "", &resume);
        let carried = lab.request_to(Party::Router, Method::Update);
        let answer = lab.sdp(Party::Router, 6000);
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.response_to(Party::Trunk, 200);
        lab.handle(Event::Media(control::Event::Silent { stream, since }));
        lab.request_to(Party::Trunk, Method::Bye);
        lab.request_to(callee.party, Method::Bye);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::MediaSilent);
    }
}

#[test]
fn a_call_whose_media_thread_has_ended_is_released_and_says_so() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = established(&mut lab);
        let stream = stream(&lab);
        let mut report = Report::default();
        report.a.received = 50;
        lab.handle(Event::Media(control::Event::Closed { stream, report: Box::new(report) }));
        lab.handle(Event::Media(control::Event::WorkerEnded { worker: 0, fault: "panic: here".into(), streams: 1 }));
        lab.request_to(Party::Trunk, Method::Bye);
        lab.request_to(callee.party, Method::Bye);
        lab.finish();
        let record = &lab.records()[0];
        assert_eq!((record.reason, record.media.as_ref().map(|media| media.a.received)), (Reason::MediaWorker, Some(50)));
        assert!(lab.facts.iter().any(|fact| matches!(&fact.what, What::MediaWorkerEnded { streams: 1, .. })));
    }
}

#[test]
fn the_record_waits_for_the_media_planes_report() {
    let mut lab = Lab::new(Scene::default());
    lab.media_answers = false;
    let (mut caller, _) = established(&mut lab);
    let stream = stream(&lab);
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(Party::Router, Method::Bye);
    lab.answer(Party::Router, &bye, 200, "", "", "");
    assert!(lab.records().is_empty());
    assert_eq!(lab.core.holdings().ports, 2);
    let report = control::Report { a: control::SideReport { received: 7, ..Default::default() }, ..Default::default() };
    lab.handle(Event::Media(control::Event::Closed { stream, report: Box::new(report) }));
    assert_eq!(lab.records()[0].media.as_ref().map(|report| report.a.received), Some(7));
    lab.finish();
}

fn limited(change: impl FnOnce(&mut PolicySet), reason: Reason) {
    let mut lab = Lab::with(Scene::default(), change);
    let (mut first, callee) = established(&mut lab);
    refused(&mut lab);
    hang_up(&mut lab, &mut first, &callee);
    assert_eq!(lab.records()[0].reason, reason);
    // There is room again.
    let (mut third, callee) = established(&mut lab);
    hang_up(&mut lab, &mut third, &callee);
}

/// A call that there is no room for.
fn refused(lab: &mut Lab) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    assert_eq!(lab.response_to(Party::Trunk, 503).header(HeaderName::RetryAfter), "30");
    lab.nothing_sent();
}

#[test]
fn budgets_of_calls_and_rate() {
    let of_all = |limits: AdmissionLimits| move |set: &mut PolicySet| set.admission = limits;
    limited(of_all(AdmissionLimits { calls: Some(1), ..Default::default() }), Reason::CallLimit);
    limited(of_all(AdmissionLimits { calls_per_peer: Some(1), ..Default::default() }), Reason::PeerCallLimit);
    limited(of_all(AdmissionLimits { rate: Some(1), ..Default::default() }), Reason::RateLimit);
    limited(of_all(AdmissionLimits { rate_per_peer: Some(1), ..Default::default() }), Reason::PeerRateLimit);
}

#[test]
fn a_peer_and_a_plan_have_budgets_of_their_own() {
    let of_peer = |limits: CallLimits| {
        move |set: &mut PolicySet| {
            // What is written for everybody does not hold for it.
            set.admission = AdmissionLimits { calls_per_peer: Some(0), rate_per_peer: Some(0), ..Default::default() };
            let own = CallLimits { calls: limits.calls.or(Some(100)), rate: limits.rate.or(Some(100)) };
            set.peers = set.peers.iter().map(|peer| Arc::new(Peer { limits: own, ..Peer::clone(peer) })).collect();
        }
    };
    limited(of_peer(CallLimits { calls: Some(1), rate: None }), Reason::PeerCallLimit);
    limited(of_peer(CallLimits { calls: None, rate: Some(1) }), Reason::PeerRateLimit);
    let of_plan = |limits: CallLimits| {
        move |set: &mut PolicySet| {
            let plan = Arc::new(DialPlan { limits, ..DialPlan::clone(&set.dial_plans[0]) });
            set.dial_plans = vec![plan.clone()];
            set.hunt_groups = vec![Arc::new(HuntGroup { name: "default".into(), peer: "trunk".into(), pilot: None, plan })].into();
        }
    };
    limited(of_plan(CallLimits { calls: Some(1), rate: None }), Reason::PlanCallLimit);
    limited(of_plan(CallLimits { calls: None, rate: Some(1) }), Reason::PlanRateLimit);
}

#[test]
fn a_border_without_time_or_memory_refuses_new_calls_and_serves_those_that_are_up() {
    let full = Measured { memory: 64 << 20, ..Measured::default() };
    let busy = Measured { occupied: 1000, ..Measured::default() };
    for (measured, reason) in [(full, Reason::MemorySpent), (busy, Reason::Occupied)] {
        let admission = AdmissionLimits { memory: Some(64 << 20), occupancy: Some(500), ..Default::default() };
        let mut lab = Lab::new(Scene { admission, ..Scene::default() });
        let (mut first, callee) = established(&mut lab);
        for _ in 0..20 {
            lab.handle(Event::Measured(measured));
        }
        let told = lab.facts.iter().filter(|fact| matches!(fact.what, What::Overloaded { .. })).count();
        assert_eq!(told, 1, "{reason}");
        refused(&mut lab);
        first.next(&mut lab, "UPDATE", "", "");
        lab.response_to(Party::Trunk, 200);
        for _ in 0..100 {
            lab.handle(Event::Measured(Measured::default()));
        }
        assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::Relieved { refused: 1, .. })), "{reason}");
        hang_up(&mut lab, &mut first, &callee);
        assert_eq!(lab.records()[0].reason, reason);
        let (mut second, other) = established(&mut lab);
        hang_up(&mut lab, &mut second, &other);
    }
}

#[test]
fn a_drain_without_end_leaves_calls_alone_and_can_be_taken_back() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut staying, before) = established(&mut lab);
        lab.handle(Event::Command(Command::Drain { release_after: Some(Duration::from_secs(30)) }));
        lab.handle(Event::Command(Command::Drain { release_after: None }));
        lab.pass(Duration::from_secs(60));
        staying.next(&mut lab, "UPDATE", "", "");
        lab.response_to(Party::Trunk, 200);
        lab.handle(Event::Command(Command::Resume));
        let (new, callee) = established(&mut lab);
        for (mut caller, party) in [(staying, before.party), (new, callee.party)] {
            caller.next(&mut lab, "BYE", "", "");
            lab.response_to(Party::Trunk, 200);
            let bye = lab.request_to(party, Method::Bye);
            lab.answer(party, &bye, 200, "", "", "");
        }
        assert!(!lab.facts.iter().any(|fact| matches!(fact.what, What::Drained)), "it was taken back before the last call ended");
        lab.finish();
    }
}

#[test]
fn an_operator_ends_one_call_and_no_other() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = established(&mut lab);
        let ended = lab.facts.iter().find_map(|fact| matches!(fact.what, What::CallAnswered).then_some(fact.call)).flatten().expect("a call");
        let (mut staying, other) = established(&mut lab);
        lab.handle(Event::Command(Command::Release(ended)));
        let byes = [lab.request_to(Party::Trunk, Method::Bye), lab.request_to(callee.party, Method::Bye)];
        lab.answer(Party::Trunk, &byes[0], 200, "", "", "");
        lab.answer(callee.party, &byes[1], 200, "", "", "");
        let reason = lab.facts.iter().find_map(|fact| if let What::CallEnded(record) = &fact.what { Some((fact.call, record.reason)) } else { None });
        assert_eq!(reason, Some((Some(ended), Reason::Operator)));
        staying.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(other.party, Method::Bye);
        lab.answer(other.party, &bye, 200, "", "", "");
        lab.finish();
    }
}

#[test]
fn a_graceful_stop_lets_calls_end_and_then_ends_them() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut staying, _) = established(&mut lab);
        let (mut leaving, callee) = established(&mut lab);
        let (_, ringing) = invited(&mut lab, "");
        lab.handle(Event::Command(Command::Drain { release_after: Some(Duration::from_secs(30)) }));
        let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
        assert_eq!(lab.response_to(Party::Trunk, 503).header(HeaderName::RetryAfter), "30");
        // What is up goes on: it may change, and it may end.
        staying.next(&mut lab, "UPDATE", "", "");
        lab.response_to(Party::Trunk, 200);
        ringing.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        leaving.next(&mut lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(callee.party, Method::Bye);
        lab.answer(callee.party, &bye, 200, "", "", "");
        lab.sent.clear();
        lab.pass(Duration::from_secs(29));
        lab.sent.clear();
        lab.pass(Duration::from_millis(1100));
        let to_trunk: Vec<Sent> = lab.drain_to(Party::Trunk);
        assert!(to_trunk.iter().any(|sent| sent.message.method() == Some(&Method::Bye)), "the call that stayed");
        assert!(to_trunk.iter().any(|sent| sent.status() == 503), "the call that rang");
        let to_router = lab.drain_to(Party::Router);
        let said = |method: Method| to_router.iter().any(|sent| sent.message.method() == Some(&method));
        assert!(said(Method::Bye) && said(Method::Cancel));
        lab.finish();
        assert_eq!(lab.facts.iter().filter(|fact| matches!(fact.what, What::Drained)).count(), 1);
        assert_eq!(lab.records().iter().filter(|record| record.reason == Reason::Shutdown).count(), 2);
    }
}

#[test]
fn every_call_released_at_once() {
    let mut lab = Lab::new(Scene::default());
    for _ in 0..3 {
        established(&mut lab);
    }
    lab.handle(Event::Command(Command::ReleaseAll));
    let byes = lab.sent.iter().filter(|sent| sent.message.method() == Some(&Method::Bye)).count();
    assert_eq!(byes, 6);
    lab.finish();
}
