//! Listeners that a reload takes out: the calls over them go on and end as ever, nothing new begins there, and each is told of once when nothing uses it.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::flow::ListenerId;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::What;
use portcullis::signaling::settings::{Listener, Settings};
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established, invited, policy_set};

const FIRST: ListenerId = ListenerId(0);

/// Over a stream: a look, and one more.
const AT_ONCE: Duration = Duration::from_secs(2);

/// Longer than any transaction lasts: 64*T1 of a UDP server's (timer J), and T4 of a client's (timer K).
const LAST_TRANSACTION: Duration = Duration::from_secs(40);

/// With a listener on port 5070 in the place of the one there was, or beside it.
fn moved(lab: &Lab, keep: bool) -> Settings {
    let first = lab.settings.listeners[0].clone();
    let second = Listener { id: ListenerId(1), bound: "192.0.2.1:5070".parse().unwrap(), advertised: "192.0.2.1:5070".into(), ..first.clone() };
    let kept = keep.then_some(first);
    Settings { listeners: [second].into_iter().chain(kept).collect(), ..Settings::clone(&lab.settings) }
}

fn take(lab: &mut Lab, scene: &Scene, settings: Settings) {
    lab.handle(Event::Policies(Arc::new(policy_set(scene)), Arc::new(settings)));
}

fn told_of_removal(lab: &Lab) -> usize {
    let is_it = |what: &What| match what {
        What::Stranger { decision, .. } => decision.refused == Some(Reason::ListenerRemoved),
        What::Standalone { reason, status, .. } => (*reason, *status) == (Reason::ListenerRemoved, 503),
        _ => false,
    };
    lab.facts.iter().filter(|fact| is_it(&fact.what)).count()
}

/// A question and a call, both new: silence over UDP, 503 on a connection. Said again, answered again.
fn nothing_begins(lab: &mut Lab) {
    let before = told_of_removal(lab);
    let calls = lab.core.calls();
    for method in ["OPTIONS", "INVITE"] {
        let branch = lab.branch();
        let via = lab.transport.via_token();
        let body = if method == "INVITE" { lab.sdp(Party::Trunk, 4000) } else { String::new() };
        lab.receive(
            Party::Trunk,
            &format!(
                "{method} sip:5000@192.0.2.1 SIP/2.0\nVia: SIP/2.0/{via} 192.0.2.10:5060;branch={branch}\nMax-Forwards: 70\nFrom: <sip:2001@192.0.2.10>;tag={branch}\n\
                 To: <sip:5000@192.0.2.1>\nCall-ID: {branch}\nCSeq: 1 {method}\nContact: <sip:2001@192.0.2.10>\nContent-Type: application/sdp\n\n{body}"
            ),
        );
        if lab.transport == Transport::Udp {
            lab.nothing_to(Party::Trunk);
        } else {
            lab.response_to(Party::Trunk, 503);
        }
    }
    assert_eq!((told_of_removal(lab), lab.core.calls()), (before + 2, calls));
}

/// The caller hangs up, and no time passes.
fn ended(lab: &mut Lab, caller: &mut Caller, callee: &Callee) {
    caller.next(lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(callee.party, Method::Bye);
    lab.answer(callee.party, &bye, 200, "", "", "");
}

#[test]
fn a_call_over_a_listener_that_is_taken_out_goes_on_until_it_ends() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, mut callee) = established(&mut lab);
        let settings = moved(&lab, false);
        take(&mut lab, &scene, settings);
        lab.pass(LAST_TRANSACTION);
        nothing_begins(&mut lab);
        // Within the call all is as before, both ways, under the address both sides know.
        let hold = lab.sdp_saying(Party::Router, 6000, "a=sendonly\n");
        callee.next(&mut lab, "UPDATE", "", &hold);
        let carried = lab.request_to(Party::Trunk, Method::Update);
        assert!(carried.header(HeaderName::Via).contains("192.0.2.1:5060"), "{}", carried.text());
        let answer = lab.sdp_saying(Party::Trunk, 4000, "a=recvonly\n");
        lab.answer(Party::Trunk, &carried, 200, "", "", &answer);
        lab.response_to(Party::Router, 200);
        lab.pass(Duration::from_secs(60));
        assert_eq!(lab.unused, [], "it is still used");
        ended(&mut lab, &mut caller, &callee);
        if lab.transport == Transport::Udp {
            // The BYE may come again, and has its answer again.
            lab.pass(Duration::from_secs(20));
            assert_eq!(lab.unused, []);
            lab.pass(LAST_TRANSACTION);
        }
        lab.pass(AT_ONCE);
        assert_eq!(lab.unused, [FIRST], "told once");
        nothing_begins(&mut lab);
        lab.finish();
        assert_eq!(lab.unused, [FIRST]);
    }
}

#[test]
fn a_listener_that_nothing_uses_is_told_of_at_once() {
    let scene = Scene::tcp();
    let mut lab = Lab::new(scene.clone());
    let settings = moved(&lab, false);
    take(&mut lab, &scene, settings);
    lab.pass(Duration::from_secs(2));
    assert_eq!(lab.unused, [FIRST]);
    lab.finish();
}

#[test]
fn a_listener_that_comes_back_takes_calls_as_if_it_had_never_been_taken_out() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = established(&mut lab);
        let (without, with) = (moved(&lab, false), moved(&lab, true));
        take(&mut lab, &scene, without);
        nothing_begins(&mut lab);
        take(&mut lab, &scene, with);
        ended(&mut lab, &mut caller, &callee);
        lab.pass(LAST_TRANSACTION);
        assert_eq!(lab.unused, []);
        let (mut caller, callee) = established(&mut lab);
        ended(&mut lab, &mut caller, &callee);
        lab.finish();
        assert_eq!((lab.unused.len(), told_of_removal(&lab)), (0, 2));
    }
}

/// Whoever is being called was asked from the old address, and answers there.
#[test]
fn a_call_that_rings_while_its_listener_is_taken_out_is_answered_and_ended_there() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = invited(&mut lab, ALLOW);
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        let settings = moved(&lab, false);
        take(&mut lab, &scene, settings);
        lab.pass(Duration::from_secs(40));
        assert_eq!(lab.unused, []);
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(&mut lab, 200, ALLOW, &answer);
        lab.request_to(Party::Router, Method::Ack);
        let answer = lab.response_to(Party::Trunk, 200);
        assert!(answer.header(HeaderName::Contact).contains("192.0.2.1:5060"), "{}", answer.text());
        caller.learn(&answer);
        caller.ack(&mut lab, "");
        ended(&mut lab, &mut caller, &callee);
        lab.finish();
        assert_eq!(lab.unused, [FIRST]);
    }
}

/// However many calls: the last one counts.
#[test]
fn a_listener_is_used_until_the_last_of_its_calls_has_ended() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene.clone());
        let (mut caller, callee) = established(&mut lab);
        let settings =
            Settings { listeners: [lab.settings.listeners[0].clone()].into_iter().chain(moved(&lab, false).listeners).collect(), ..moved(&lab, false) };
        take(&mut lab, &scene, settings);
        let (mut second, other) = established(&mut lab);
        let settings = moved(&lab, false);
        take(&mut lab, &scene, settings);
        ended(&mut lab, &mut second, &other);
        lab.pass(LAST_TRANSACTION);
        assert_eq!(lab.unused, []);
        ended(&mut lab, &mut caller, &callee);
        lab.finish();
        assert_eq!(lab.unused, [FIRST]);
    }
}
