//! Calls from a UM server out to the trunk: message playback on a phone, find-me. The same chapters the other way round.

use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::numbering::NumberRule;
use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene};

fn dialled(lab: &mut Lab) -> (Caller, Callee) {
    let mut caller = Caller::new(lab, Party::Server, "2001");
    caller.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(lab, ALLOW, &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    (caller, Callee::new(Party::Trunk, invite, "phone"))
}

#[test]
fn um_calls_a_phone_and_either_side_hangs_up() {
    for scene in Scene::everywhere() {
        for phone_hangs_up in [true, false] {
            let mut lab = Lab::new(scene.clone());
            let (mut caller, mut callee) = dialled(&mut lab);
            assert!(callee.invite.message.request_uri().is_some_and(|uri| uri.starts_with("sip:2001@192.0.2.10")));
            assert!(!callee.invite.text().contains("198.51.100"), "nothing of the inside is seen outside\n{}", callee.invite.text());
            callee.answer(&mut lab, 180, "", "");
            lab.response_to(Party::Server, 180);
            let answer = lab.sdp(Party::Trunk, 4000);
            callee.answer(&mut lab, 200, ALLOW, &answer);
            lab.request_to(Party::Trunk, Method::Ack);
            let accepted = lab.response_to(Party::Server, 200);
            assert!(accepted.sdp().contains("198.51.100.1") && !accepted.sdp().contains("192.0.2"), "media inside is on the inside address");
            caller.learn(&accepted);
            caller.ack(&mut lab, "");
            lab.nothing_sent();
            let (from, to) = if phone_hangs_up { (Party::Trunk, Party::Server) } else { (Party::Server, Party::Trunk) };
            if phone_hangs_up {
                callee.next(&mut lab, "BYE", "", "")
            } else {
                caller.next(&mut lab, "BYE", "", "")
            }
            lab.response_to(from, 200);
            let bye = lab.request_to(to, Method::Bye);
            lab.answer(to, &bye, 200, "", "", "");
            lab.finish();
            assert_eq!((&*lab.records()[0].a.peer, lab.records()[0].reason), ("server", Reason::NormalClearing));
        }
    }
}

#[test]
fn a_phone_may_ring_longer_than_a_um_server() {
    let mut lab = Lab::new(Scene::default());
    let (_, callee) = dialled(&mut lab);
    lab.pass(Duration::from_secs(20));
    lab.nothing_to(Party::Server);
    lab.sent.clear();
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Server, 180);
    lab.pass(Duration::from_secs(100));
    lab.nothing_sent();
    callee.answer(&mut lab, 486, "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    assert!(lab.response_to(Party::Server, 486).header(HeaderName::Reason).is_empty());
    lab.finish();
}

#[test]
fn without_a_gateway_there_is_no_way_out() {
    let mut lab = Lab::new(Scene { outcalls: false, ..Scene::default() });
    let mut caller = Caller::new(&mut lab, Party::Server, "2001");
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Server, 100);
    lab.response_to(Party::Server, 404);
    lab.finish();
}

#[test]
fn a_call_router_places_no_calls() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Router, "2001");
    let offer = lab.sdp(Party::Router, 6000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Router, 100);
    lab.response_to(Party::Router, 403);
    lab.finish();
}

#[test]
fn a_number_that_no_toll_rule_allows_is_refused_and_nobody_is_called() {
    let mut lab = Lab::new(Scene::default());
    for number in ["+442079460000", "0039061234", "20011"] {
        let mut caller = Caller::new(&mut lab, Party::Server, number);
        let offer = lab.sdp(Party::Server, 6000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Server, 100);
        lab.response_to(Party::Server, 403);
        lab.nothing_to(Party::Trunk);
    }
    lab.finish();
    assert!(lab.records().iter().all(|record| record.reason == Reason::TollNoRule));
}

#[test]
fn the_trunk_sees_an_extension_by_its_outward_number_and_other_callers_as_they_are() {
    let rules = vec![
        NumberRule { prefix: "1".into(), lengths: Some((4, 4)), prepend: "+1425555".into(), ..NumberRule::default() },
        NumberRule { prefix: "+1".into(), strip: 0, prepend: "9".into(), ..NumberRule::default() },
    ];
    for (from, seen) in [
        ("<sip:1000@198.51.100.30;user=phone>", "<sip:+14255551000@192.0.2.1;user=phone>"),
        ("\"Voice Mail\" <sip:1000@198.51.100.30>", "\"Voice Mail\" <sip:+14255551000@192.0.2.1>"),
        ("<sip:+14255550100@198.51.100.30>", "<sip:+14255550100@192.0.2.1>"),
        ("<sip:anonymous@anonymous.invalid>", "<sip:anonymous@anonymous.invalid>"),
    ] {
        let mut lab = Lab::with(Scene::default(), |set| {
            for plan in &mut set.dial_plans {
                Arc::make_mut(plan).numbering.outward = rules.clone();
            }
        });
        let mut caller = Caller::new(&mut lab, Party::Server, "2001");
        caller.from = from.into();
        let offer = lab.sdp(Party::Server, 6000);
        caller.invite(&mut lab, "P-Asserted-Identity: <sip:1001@um.corp.example>\n", &offer);
        lab.response_to(Party::Server, 100);
        let invite = lab.request_to(Party::Trunk, Method::Invite);
        assert!(invite.header(HeaderName::From).starts_with(seen), "{}", invite.text());
        assert!(invite.text().contains("P-Asserted-Identity: <sip:+14255551001@192.0.2.1>"), "{}", invite.text());
        lab.answer(Party::Trunk, &invite, 486, "busy", "", "");
        lab.sent.clear();
        lab.finish();
    }
}
