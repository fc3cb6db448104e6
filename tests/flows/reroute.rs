//! UM cannot be had: calls go over the PSTN to UM's numbers there, none of them round, none in clear that should not; and back to UM when it is back.

use std::time::Duration;

use portcullis::policy::reroute::{BOUNCE, Wanted};
use portcullis::policy::settings::SecurityMode;
use portcullis::policy::verdict::{Decision, Reason};
use portcullis::signaling::event::TransportError;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{AUTO_ATTENDANT, Callee, Caller, Lab, Party, SUBSCRIBER_ACCESS, Scene, Sent, describe, hang_up};

/// Diverted by the mailbox's phone: a message is to be left.
const DIVERTED: &str = "Diversion: \"Bob\" <sip:1000@192.0.2.10>;reason=no-answer\n";

fn scenes() -> Vec<Scene> {
    Scene::everywhere().into_iter().map(|scene| Scene { pstn: Some(scene.mode), ..scene }).collect()
}

fn scene() -> Scene {
    Scene { pstn: Some(SecurityMode::Unsecured), ..Scene::default() }
}

/// A call from the trunk to `called`; what the caller heard of it so far is gone.
fn calls(lab: &mut Lab, from: &str, called: &str, extra: &str) -> Caller {
    let mut caller = Caller::new(lab, Party::Trunk, called);
    caller.from = format!("<sip:{from}@192.0.2.10>");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    caller
}

/// The router cannot be reached by the call that has just gone there.
fn fails_at_um(lab: &mut Lab) {
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.fails(&invite, TransportError::Refused);
}

fn is_rerouted(lab: &mut Lab, number: &str) -> Sent {
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    let uri = invite.message.request_uri().unwrap_or_default().to_owned();
    assert!(uri.starts_with(&format!("sip:{number}@192.0.2.40")), "{uri}\n{}", lab.ladder());
    lab.nothing_to(Party::Trunk);
    invite
}

fn decisions(lab: &Lab) -> Vec<&Decision> {
    lab.facts.iter().filter_map(|fact| if let What::Decided(made) = &fact.what { Some(made) } else { None }).flatten().collect()
}

fn refused_for(lab: &Lab, reason: Reason) -> bool {
    decisions(lab).iter().any(|decision| decision.stage == "reroute" && decision.refused == Some(reason))
}

fn answered(lab: &mut Lab, caller: &mut Caller, invite: Sent, mode: SecurityMode) -> Callee {
    let callee = Callee::new(Party::Pstn, invite, "aa");
    let answer = describe(mode, Party::Pstn, 7000, "a=sendrecv\n");
    callee.answer(lab, 200, "", &answer);
    lab.request_to(Party::Pstn, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(lab, "");
    callee
}

#[test]
fn a_diverted_call_goes_to_the_auto_attendant_over_the_pstn() {
    for scene in scenes() {
        let mode = scene.mode;
        let mut lab = Lab::new(scene);
        let mut caller = calls(&mut lab, "+12065550100", "5000", DIVERTED);
        fails_at_um(&mut lab);
        let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
        assert!(invite.header(HeaderName::Diversion).is_empty(), "the PSTN is not told whose mailbox it is\n{}", invite.text());
        assert!(!invite.text().contains("192.0.2.10") && !invite.sdp().contains("198.51.100"), "its media lies outside\n{}", invite.text());
        let told = lab
            .facts
            .iter()
            .find_map(|fact| if let What::Rerouted { wanted, number, why, .. } = &fact.what { Some((*wanted, number.clone(), *why)) } else { None });
        assert_eq!(told, Some((Wanted::Deposit, AUTO_ATTENDANT.into(), Reason::TargetUnreachable)));
        let callee = answered(&mut lab, &mut caller, invite, mode);
        assert_eq!(lab.core.holdings().rerouted, 1);
        hang_up(&mut lab, &mut caller, &callee);
        let record = lab.records()[0];
        assert_eq!((&*record.b.as_ref().unwrap().peer, record.b.as_ref().unwrap().mode, record.reason), ("pstn", mode, Reason::NormalClearing));
    }
}

#[test]
fn who_dials_voicemail_goes_to_the_subscriber_access_number() {
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, "2001", "5000", "");
    fails_at_um(&mut lab);
    let invite = is_rerouted(&mut lab, SUBSCRIBER_ACCESS);
    let callee = answered(&mut lab, &mut caller, invite, SecurityMode::Unsecured);
    hang_up(&mut lab, &mut caller, &callee);
    // Another number of the plan, not diverted: the attendant.
    let mut lab = Lab::new(scene());
    calls(&mut lab, "2001", "6000", "");
    fails_at_um(&mut lab);
    is_rerouted(&mut lab, AUTO_ATTENDANT);
}

#[test]
fn each_kind_of_unavailability_reroutes_once_all_targets_are_tried() {
    let by: [fn(&mut Lab, &Sent); 4] = [
        |lab, invite| lab.answer(Party::Router, invite, 503, "um", "", ""),
        |lab, invite| lab.answer(Party::Router, invite, 408, "um", "", ""),
        |lab, _| lab.pass(Duration::from_millis(10_001)),
        |lab, invite| lab.fails(invite, TransportError::TimedOut),
    ];
    for fails in by {
        let mut lab = Lab::new(scene().with_routers(&["router", "spare"]));
        calls(&mut lab, "2001", "5000", DIVERTED);
        let invite = lab.request_to(Party::Router, Method::Invite);
        fails(&mut lab, &invite);
        lab.nothing_to(Party::Pstn);
        let invite = lab.request_to(Party::Spare, Method::Invite);
        lab.fails(&invite, TransportError::Refused);
        lab.drain_to(Party::Trunk);
        is_rerouted(&mut lab, AUTO_ATTENDANT);
    }
}

#[test]
fn what_um_refuses_stays_refused() {
    for status in [403, 404, 480, 486, 488, 500, 603] {
        let mut lab = Lab::new(scene());
        calls(&mut lab, "2001", "5000", DIVERTED);
        let invite = lab.request_to(Party::Router, Method::Invite);
        lab.answer(Party::Router, &invite, status, "um", "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_to(Party::Pstn);
        lab.response_to(Party::Trunk, status);
        lab.finish();
    }
}

#[test]
fn a_redirect_that_may_not_be_followed_is_no_want_of_um() {
    let mut lab = Lab::new(scene().with_routers(&["router", "spare"]));
    calls(&mut lab, "2001", "5000", DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 302, "um", "Contact: <sip:1000@203.0.113.66>\n", "");
    lab.request_to(Party::Router, Method::Ack);
    let invite = lab.request_to(Party::Spare, Method::Invite);
    lab.fails(&invite, TransportError::Refused);
    lab.nothing_to(Party::Pstn);
    lab.response_to(Party::Trunk, 503);
    assert!(decisions(&lab).iter().any(|decision| decision.stage == "reroute" && decision.compared.iter().any(|(_, value)| value == "redirection.untrusted")));
    lab.finish();
}

#[test]
fn without_reroute_the_caller_hears_what_it_always_heard() {
    let mut lab = Lab::new(Scene::default());
    calls(&mut lab, "2001", "5000", DIVERTED);
    fails_at_um(&mut lab);
    lab.response_to(Party::Trunk, 503);
    lab.finish();
}

#[test]
fn a_call_for_the_reroute_number_is_never_rerouted() {
    // As carriers deliver it: with +, without, without the country code; and as the number that diverted.
    for (called, extra) in [
        (AUTO_ATTENDANT, ""),
        (SUBSCRIBER_ACCESS, ""),
        ("14255550190", ""),
        ("4255550190", DIVERTED),
        ("5000", "Diversion: <sip:+14255550190@192.0.2.10>;reason=no-answer\n"),
        ("5000", "Diversion: <tel:1000>;reason=no-answer;counter=3, <tel:1001>;counter=2\n"),
    ] {
        let mut lab = Lab::new(scene());
        calls(&mut lab, "2001", called, extra);
        fails_at_um(&mut lab);
        lab.nothing_to(Party::Pstn);
        lab.response_to(Party::Trunk, 482);
        assert!(refused_for(&lab, Reason::RerouteLoop), "{}", lab.ladder());
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::RerouteLoop);
    }
}

#[test]
fn the_same_caller_does_not_come_round_however_carriers_write_the_number() {
    for (again, called, extra) in [("+12065550100", "6000", ""), ("12065550100", "6000", ""), ("2065550100", "5000", DIVERTED)] {
        let mut lab = Lab::new(scene());
        calls(&mut lab, "+12065550100", "5000", DIVERTED);
        fails_at_um(&mut lab);
        is_rerouted(&mut lab, AUTO_ATTENDANT);
        calls(&mut lab, again, called, extra);
        fails_at_um(&mut lab);
        lab.nothing_to(Party::Pstn);
        lab.response_to(Party::Trunk, 482);
        assert!(refused_for(&lab, Reason::RerouteLoop));
        // Somebody else is none of it.
        calls(&mut lab, "+12065550177", "6000", "");
        fails_at_um(&mut lab);
        is_rerouted(&mut lab, AUTO_ATTENDANT);
    }
}

#[test]
fn of_callers_nobody_knows_each_mailbox_has_one() {
    let mut lab = Lab::new(scene());
    for (diverted, goes) in [("1000", true), ("1001", true), ("1000", false)] {
        calls(&mut lab, "anonymous", "5000", &format!("Diversion: <sip:{diverted}@192.0.2.10>;reason=no-answer\n"));
        fails_at_um(&mut lab);
        if goes {
            let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
            lab.answer(Party::Pstn, &invite, 486, "aa", "", "");
            lab.sent.clear();
        } else {
            lab.nothing_to(Party::Pstn);
            lab.response_to(Party::Trunk, 482);
        }
    }
}

#[test]
fn a_caller_who_tries_again_later_is_welcome() {
    let mut lab = Lab::new(scene());
    for _ in 0..3 {
        calls(&mut lab, "+12065550100", "5000", DIVERTED);
        fails_at_um(&mut lab);
        let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
        lab.answer(Party::Pstn, &invite, 486, "aa", "", "");
        lab.request_to(Party::Pstn, Method::Ack);
        lab.response_to(Party::Trunk, 486);
        assert_eq!(lab.core.holdings().rerouted, 0);
        lab.pass(BOUNCE);
        lab.sent.clear();
    }
}

#[test]
fn calls_to_one_number_are_bounded() {
    let mut lab = Lab::new(scene());
    for caller in ["2001", "2002"] {
        calls(&mut lab, caller, "5000", DIVERTED);
        fails_at_um(&mut lab);
        is_rerouted(&mut lab, AUTO_ATTENDANT);
    }
    calls(&mut lab, "2003", "5000", DIVERTED);
    fails_at_um(&mut lab);
    lab.response_to(Party::Trunk, 503);
    assert!(refused_for(&lab, Reason::RerouteLimit), "{}", lab.ladder());
    // The other number has a bound of its own.
    calls(&mut lab, "2003", "5000", "");
    fails_at_um(&mut lab);
    is_rerouted(&mut lab, SUBSCRIBER_ACCESS);
}

#[test]
fn a_secured_plans_call_never_leaves_in_clear() {
    for weaker in [SecurityMode::Unsecured, SecurityMode::SipSecured] {
        let mut lab = Lab::new(Scene { pstn: Some(weaker), ..Scene::secured() });
        calls(&mut lab, "2001", "5000", DIVERTED);
        fails_at_um(&mut lab);
        lab.nothing_to(Party::Pstn);
        lab.response_to(Party::Trunk, 503);
        let refused: Vec<Option<Reason>> = decisions(&lab).iter().map(|decision| decision.refused).collect();
        assert!(refused.contains(&Some(Reason::ModeInterwork)), "{}", lab.ladder());
        lab.finish();
    }
}

#[test]
fn when_the_pstn_fails_too_the_caller_hears_of_it() {
    let mut lab = Lab::new(scene());
    calls(&mut lab, "2001", "5000", DIVERTED);
    fails_at_um(&mut lab);
    let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
    lab.fails(&invite, TransportError::Refused);
    lab.response_to(Party::Trunk, 503);
    lab.finish();
}

#[test]
fn a_caller_who_gives_up_leaves_nothing_on_the_pstn() {
    let mut lab = Lab::new(scene());
    let mut caller = calls(&mut lab, "2001", "5000", DIVERTED);
    fails_at_um(&mut lab);
    let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
    lab.answer(Party::Pstn, &invite, 180, "aa", "", "");
    lab.response_to(Party::Trunk, 180);
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 200);
    lab.response_to(Party::Trunk, 487);
    lab.request_to(Party::Pstn, Method::Cancel);
    lab.finish();
}

#[test]
fn what_um_began_to_answer_is_not_rerouted() {
    let mut lab = Lab::new(scene());
    calls(&mut lab, "2001", "5000", DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    let early = lab.sdp(Party::Router, 6000);
    lab.answer(Party::Router, &invite, 183, "um", "", &early);
    lab.response_to(Party::Trunk, 183);
    lab.answer(Party::Router, &invite, 503, "um", "", "");
    lab.request_to(Party::Router, Method::Ack);
    lab.nothing_to(Party::Pstn);
    lab.response_to(Party::Trunk, 503);
    lab.finish();
}

/// Answers or fails every question that was asked of the router.
fn router_lives(lab: &mut Lab, lives: bool) {
    let questions: Vec<Sent> = lab.sent.iter().filter(|sent| sent.message.method() == Some(&Method::Options)).cloned().collect();
    lab.sent.retain(|sent| sent.message.method() != Some(&Method::Options));
    for question in questions {
        match question.to {
            Party::Router if !lives => lab.fails(&question, TransportError::Refused),
            party => lab.answer(party, &question, 200, "life", "", ""),
        }
    }
}

#[test]
fn while_um_is_known_to_be_down_no_call_waits_for_it_and_when_it_is_back_calls_go_there() {
    let mut lab = Lab::new(Scene { probe: Some(Duration::from_secs(30)), ..scene() });
    let seconds = |lab: &mut Lab, lives: bool, seconds: u64| {
        for _ in 0..seconds {
            lab.pass(Duration::from_secs(1));
            router_lives(lab, lives);
        }
    };
    seconds(&mut lab, false, 20);
    calls(&mut lab, "2001", "5000", DIVERTED);
    lab.nothing_to(Party::Router);
    let invite = is_rerouted(&mut lab, AUTO_ATTENDANT);
    let why = lab.facts.iter().find_map(|fact| if let What::Rerouted { why, .. } = &fact.what { Some(*why) } else { None });
    assert_eq!(why, Some(Reason::UmUnavailable));
    lab.answer(Party::Pstn, &invite, 486, "aa", "", "");
    lab.request_to(Party::Pstn, Method::Ack);
    lab.response_to(Party::Trunk, 486);
    // A call that may not be rerouted tries UM all the same: it may be back.
    calls(&mut lab, "2001", AUTO_ATTENDANT, "");
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 486, "um", "", "");
    lab.request_to(Party::Router, Method::Ack);
    lab.response_to(Party::Trunk, 486);
    seconds(&mut lab, true, 90);
    lab.sent.clear();
    calls(&mut lab, "2001", "5000", DIVERTED);
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(!invite.header(HeaderName::Diversion).is_empty(), "UM learns whose mailbox it is");
    lab.nothing_to(Party::Pstn);
}
