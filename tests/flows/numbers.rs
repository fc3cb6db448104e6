//! What UM is told of called, calling and diverting users: every URI of the INVITE fits the dial plan, or the call is refused before UM can.

use std::sync::Arc;

use portcullis::policy::caller::{ExtensionCallers, UnfitCaller};
use portcullis::policy::diversion::{DiversionPolicy, Form, Keep, Unfit};
use portcullis::policy::number_pattern::NumberPattern;
use portcullis::policy::numbering::NumberRule;
use portcullis::policy::settings::{DialPlan, HuntGroup, Peer, PolicySet, UmPool, UriType};
use portcullis::policy::toll::{TollAction, TollRule};
use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Caller, Lab, Party, Scene, Sent};

/// The set's only plan, changed, with a default hunt group of the trunk.
fn plan(set: &mut PolicySet, change: impl FnOnce(&mut DialPlan)) {
    let mut plan = DialPlan::clone(&set.dial_plans[0]);
    change(&mut plan);
    let plan = Arc::new(plan);
    set.dial_plans = vec![plan.clone()];
    set.hunt_groups = vec![Arc::new(HuntGroup { name: "default".into(), peer: "trunk".into(), pilot: None, plan })].into();
}

fn diversion(set: &mut PolicySet, diversion: DiversionPolicy) {
    plan(set, |plan| plan.um_pool = Arc::new(UmPool { diversion, ..UmPool::clone(&plan.um_pool) }));
}

/// The trunk's word on identity counts for nothing.
fn distrust(set: &mut PolicySet) {
    set.peers[0] = Arc::new(Peer { identity_trusted: false, ..Peer::clone(&set.peers[0]) });
}

fn caller(lab: &mut Lab, from: &str) -> Caller {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    caller.from = from.into();
    caller
}

/// The INVITE that UM gets for one of the trunk with this From and these headers.
fn told(lab: &mut Lab, from: &str, extra: &str) -> Sent {
    let mut caller = caller(lab, from);
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    lab.request_to(Party::Router, Method::Invite)
}

/// The call is refused with this status, and UM hears nothing of it.
fn refused(lab: &mut Lab, from: &str, extra: &str, status: u16, reason: Reason) {
    let mut caller = caller(lab, from);
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    let refusal = lab.response_to(Party::Trunk, status);
    assert!(!refusal.text().contains(reason.code()), "the reason is nobody's business outside");
    caller.ack_refusal(lab);
    lab.nothing_sent();
    assert_eq!(lab.records().last().map(|record| record.reason), Some(reason), "{}", lab.ladder());
    lab.finish();
}

fn values(sent: &Sent, name: HeaderName) -> Vec<String> {
    sent.message.fields().filter(|field| field.name == name).map(|field| String::from_utf8_lossy(field.value).into_owned()).collect()
}

const EXTENSION: &str = "<sip:2001@192.0.2.10>";

#[test]
fn a_from_with_letters_is_refused_before_um_can() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        refused(&mut lab, "<sip:user@192.168.1.101>", "", 403, Reason::CallerUnfit);
    }
}

#[test]
fn a_from_with_letters_is_anonymous_where_the_plan_says_so() {
    let mut lab = Lab::with(Scene::default(), |set| plan(set, |plan| plan.unfit_caller = UnfitCaller::Anonymous));
    let invite = told(&mut lab, "\"User\" <sip:user@192.168.1.101>", "");
    assert!(invite.header(HeaderName::From).starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{}", invite.text());
    assert!(!invite.text().contains("user@") && !invite.text().contains("User\""), "{}", invite.text());
}

#[test]
fn a_believed_identity_stands_in_for_a_from_with_letters() {
    let mut lab = Lab::new(Scene::default());
    let invite = told(&mut lab, "<sip:john.doe@pbx.example>", "P-Asserted-Identity: \"John\" <tel:+1-425-555-0123>\n");
    assert!(invite.header(HeaderName::From).starts_with("\"John\" <sip:+14255550123@192.0.2.1;user=phone>"), "{}", invite.text());
    let mut lab = Lab::with(Scene::default(), distrust);
    refused(&mut lab, "<sip:john.doe@pbx.example>", "P-Asserted-Identity: <tel:+14255550123>\n", 403, Reason::CallerUnfit);
}

#[test]
fn anonymity_stays_anonymity() {
    let asserted = "P-Asserted-Identity: <sip:2001@192.0.2.10>\nRemote-Party-ID: <sip:2001@192.0.2.10>;party=calling\n";
    for (from, extra) in [
        ("\"anonymous\" <sip:anonymous@anonymous.invalid>", ""),
        ("Anonymous <sip:Anonymous@192.0.2.10>", ""),
        ("<tel:anonymous>", ""),
        (EXTENSION, "Privacy: id\n"),
        (EXTENSION, "PRIVACY: header;User\n"),
        (EXTENSION, "Remote-Party-ID: <sip:2001@192.0.2.10>;privacy=full\n"),
    ] {
        let mut lab = Lab::new(Scene::default());
        let invite = told(&mut lab, from, &format!("{extra}{asserted}"));
        assert!(invite.header(HeaderName::From).starts_with("\"Anonymous\" <sip:anonymous@anonymous.invalid>;tag="), "{from} {extra}\n{}", invite.text());
        assert!(!invite.text().contains("2001"), "{from} {extra}\n{}", invite.text());
    }
}

/// Outlook Voice Access asks for the PIN alone where the caller is an extension.
#[test]
fn a_forged_extension_does_not_skip_the_prompt_for_it() {
    let mut lab = Lab::with(Scene::default(), distrust);
    let invite = told(&mut lab, EXTENSION, "P-Asserted-Identity: <sip:2001@192.0.2.10>\n");
    assert!(!invite.text().contains("2001"), "{}", invite.text());
    assert!(lab.ladder().contains("anonymous"), "{}", lab.ladder());
    let mut lab = Lab::with(Scene::default(), distrust);
    let invite = told(&mut lab, "<sip:+4930123456@192.0.2.10>", "");
    assert!(invite.header(HeaderName::From).contains("sip:+4930123456@"), "a telephone number is no extension\n{}", invite.text());
    let mut lab = Lab::with(Scene::default(), |set| {
        plan(set, |plan| plan.extension_callers = ExtensionCallers::Refuse);
        distrust(set);
    });
    refused(&mut lab, EXTENSION, "", 403, Reason::CallerUnproven);
    let mut lab = Lab::with(Scene::default(), |set| {
        plan(set, |plan| plan.own_numbers = vec!["+4930555".into()]);
        distrust(set);
    });
    let invite = told(&mut lab, "<sip:4930555-2001@192.0.2.10>", "");
    assert!(!invite.text().contains("2001"), "with or without +, a user's own number is as good as the extension\n{}", invite.text());
    let mut lab = Lab::with(Scene::default(), |set| {
        plan(set, |plan| plan.extension_callers = ExtensionCallers::Believe);
        distrust(set);
    });
    assert!(told(&mut lab, EXTENSION, "").header(HeaderName::From).contains("sip:2001@"));
}

/// On a SIP URI plan the user crosses as it was written, and UM unescapes it.
#[test]
fn an_escaped_extension_is_an_extension() {
    for from in ["<sip:%32001@192.0.2.10>", "<sip:2%3001@192.0.2.10>", "<sip:200%31%3Bx@192.0.2.10>", "<sip:%2B2001@192.0.2.10>", "<sip:+2001@192.0.2.10>"] {
        for uri_type in [UriType::Extension, UriType::SipUri] {
            let mut lab = Lab::with(Scene::default(), |set| {
                plan(set, |plan| plan.uri_type = uri_type);
                distrust(set);
            });
            let invite = told(&mut lab, from, "");
            assert!(invite.header(HeaderName::From).starts_with("\"Anonymous\" <sip:anonymous@"), "{uri_type:?} {from}\n{}", invite.text());
        }
    }
    let mut lab = Lab::with(Scene::default(), |set| plan(set, |plan| plan.uri_type = UriType::SipUri));
    let invite = told(&mut lab, "<sip:j%c3%b6rg%20b@corp.example>", "Diversion: <sip:j%c3%b6@corp.example>\nDiversion: <sip:j%C3%B6@CORP.example>\n");
    assert!(invite.header(HeaderName::From).starts_with("<sip:j%C3%B6rg%20b@corp.example>"), "{}", invite.text());
    assert_eq!(values(&invite, HeaderName::Diversion), ["<sip:j%C3%B6@corp.example>"]);
}

#[test]
fn a_called_extension_has_exactly_the_plans_digits() {
    for (called, goes) in [("1000", true), ("100", false), ("10001", true), ("+49301000", true), ("123456789012345678901", false), ("jane", false)] {
        let mut lab = Lab::new(Scene::default());
        let mut caller = Caller::new(&mut lab, Party::Trunk, called);
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
        if goes {
            let invite = lab.request_to(Party::Router, Method::Invite);
            assert!(invite.message.request_uri().unwrap_or_default().contains(called) && invite.header(HeaderName::To).contains(called));
        } else {
            lab.response_to(Party::Trunk, 404);
            assert_eq!(lab.records()[0].reason, Reason::PlanMismatch, "{called}");
        }
    }
}

/// Whoever is in the plan's context dials no pilot by that: only what is one has digits of its own.
#[test]
fn the_plans_context_makes_no_pilot_of_a_short_number() {
    for (called, goes) in [("12;phone-context=plan", false), ("2001;phone-context=plan", true), ("50;phone-context=plan", true), ("50", true), ("51", false)] {
        let mut lab = Lab::with(Scene::default(), |set| {
            plan(set, |plan| plan.access_numbers = vec!["50".into()]);
            let group = HuntGroup { pilot: Some("PLAN".into()), ..HuntGroup::clone(&set.hunt_groups[0]) };
            set.hunt_groups = vec![Arc::new(group)].into();
        });
        let mut caller = Caller::new(&mut lab, Party::Trunk, called);
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(&mut lab, "", &offer);
        lab.response_to(Party::Trunk, 100);
        if goes {
            lab.request_to(Party::Router, Method::Invite);
        } else {
            lab.response_to(Party::Trunk, 404);
        }
    }
}

#[test]
fn the_plans_name_is_called_by_its_access_number() {
    let mut lab = Lab::with(Scene::default(), |set| {
        plan(set, |plan| plan.access_numbers = vec!["50".into()]);
        let group = HuntGroup { pilot: Some("plan".into()), ..HuntGroup::clone(&set.hunt_groups[0]) };
        set.hunt_groups = vec![Arc::new(group)].into();
    });
    let mut caller = Caller::new(&mut lab, Party::Trunk, "Plan");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(invite.message.request_uri().unwrap_or_default().starts_with("sip:50@"), "{}", invite.text());
}

#[test]
fn number_rules_reach_every_uri_of_the_invite() {
    let rule = NumberRule { prefix: "+49305".into(), lengths: Some((9, 9)), strip: 5, prepend: "".into() };
    let mut lab = Lab::with(Scene::default(), |set| plan(set, |plan| plan.numbering.inward = vec![rule]));
    let mut caller = Caller::new(&mut lab, Party::Trunk, "+493051000");
    caller.from = "<tel:+49-30-5-2001>".into();
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "Diversion: <sip:+49305(2002)@192.0.2.10>;reason=no-answer\nP-Asserted-Identity: <tel:+493052001>\n", &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(invite.message.request_uri().unwrap_or_default().starts_with("sip:1000@"), "{}", invite.text());
    assert!(invite.header(HeaderName::To).starts_with("<sip:1000@") && invite.header(HeaderName::From).starts_with("<sip:2001@"), "{}", invite.text());
    assert_eq!(invite.header(HeaderName::PAssertedIdentity), "<tel:2001>");
    assert_eq!(values(&invite, HeaderName::Diversion), ["<sip:2002@192.0.2.1>;reason=no-answer"]);
    assert!(!invite.text().contains("4930"), "{}", invite.text());
    assert!(lab.ladder().matches("inward rule 1").count() >= 3, "called, calling, diverting\n{}", lab.ladder());
}

#[test]
fn numbers_um_calls_take_the_gateways_form() {
    let rules = vec![NumberRule { prefix: "9".into(), lengths: Some((4, 20)), strip: 1, prepend: "".into() }];
    let mut lab = Lab::with(Scene::default(), |set| plan(set, |plan| plan.numbering.outward = rules));
    let mut um = Caller::new(&mut lab, Party::Server, "9777");
    um.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 4000);
    um.invite(&mut lab, "", &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    assert!(invite.message.request_uri().unwrap_or_default().starts_with("sip:777@"), "{}", invite.text());
    assert!(invite.header(HeaderName::From).starts_with("<sip:1000@"), "{}", invite.text());
    assert!(lab.ladder().contains("outward rule 1"), "{}", lab.ladder());
}

/// A carrier takes no extension for a caller.
#[test]
fn um_calls_from_numbers_in_the_gateways_form() {
    let rules = vec![NumberRule { prefix: "".into(), lengths: Some((4, 4)), strip: 0, prepend: "+4930555".into() }];
    let mut lab = Lab::with(Scene::default(), |set| {
        plan(set, |plan| plan.numbering.outward = rules);
        set.toll = vec![toll("all", "*", TollAction::Allow)];
    });
    let mut um = Caller::new(&mut lab, Party::Server, "+14255550123");
    um.from = "\"Voice mail\" <sip:1000@198.51.100.30;transport=Tcp;ms-opaque=7>".into();
    let offer = lab.sdp(Party::Server, 4000);
    um.invite(&mut lab, "P-Asserted-Identity: <sip:1000@198.51.100.30>, <tel:2001>\n", &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    assert!(invite.header(HeaderName::From).starts_with("\"Voice mail\" <sip:+49305551000@192.0.2.1>"), "{}", invite.text());
    assert_eq!(values(&invite, HeaderName::PAssertedIdentity), ["<sip:+49305551000@192.0.2.1>", "<tel:+49305552001>"]);
    assert!(lab.ladder().contains("outward rule 1"), "{}", lab.ladder());
}

/// A rule for an outside line, or for what carriers are dialled, is none for callers.
#[test]
fn a_rule_for_what_is_dialled_changes_no_caller() {
    for rule in [
        NumberRule { prefix: "1".into(), strip: 1, ..NumberRule::default() },
        NumberRule { lengths: Some((3, 20)), prepend: "72".into(), ..NumberRule::default() },
    ] {
        let mut lab = Lab::with(Scene::default(), |set| {
            plan(set, |plan| plan.numbering.outward = vec![rule]);
            set.toll = vec![toll("all", "*", TollAction::Allow)];
        });
        let mut um = Caller::new(&mut lab, Party::Server, "1777");
        um.from = "<sip:1000@198.51.100.30>".into();
        let offer = lab.sdp(Party::Server, 4000);
        um.invite(&mut lab, "P-Asserted-Identity: <tel:1000>\n", &offer);
        lab.response_to(Party::Server, 100);
        let invite = lab.request_to(Party::Trunk, Method::Invite);
        assert!(!invite.message.request_uri().unwrap_or_default().starts_with("sip:1777@"), "{}", invite.text());
        assert!(invite.header(HeaderName::From).starts_with("<sip:1000@"), "{}", invite.text());
        assert_eq!(invite.header(HeaderName::PAssertedIdentity), "<tel:1000>");
    }
}

/// Toll rules allow what was asked for; one that denies sees what would be dialled.
#[test]
fn a_number_rule_leads_around_no_toll_rule() {
    let rules = vec![NumberRule { prefix: "9".into(), lengths: None, strip: 1, prepend: "".into() }];
    for (number, status) in [("919005550100", 403), ("914255550100", 100)] {
        let mut lab = Lab::with(Scene::default(), |set| {
            plan(set, |plan| plan.numbering.outward = rules.clone());
            set.toll = vec![toll("outside line", "9*", TollAction::Allow), toll("premium", "1900*", TollAction::Deny)];
        });
        let mut um = Caller::new(&mut lab, Party::Server, number);
        um.from = "<sip:1000@198.51.100.30>".into();
        let offer = lab.sdp(Party::Server, 4000);
        um.invite(&mut lab, "", &offer);
        lab.response_to(Party::Server, 100);
        if status == 403 {
            lab.response_to(Party::Server, 403);
            lab.nothing_to(Party::Trunk);
        } else {
            let invite = lab.request_to(Party::Trunk, Method::Invite);
            assert!(invite.message.request_uri().unwrap_or_default().starts_with("sip:14255550100@"), "{}", invite.text());
        }
    }
}

fn toll(name: &str, number: &str, action: TollAction) -> Arc<TollRule> {
    Arc::new(TollRule { name: name.into(), plans: Vec::new(), numbers: vec![NumberPattern::parse(number).unwrap()], action })
}

/// What Exchange 2010 refuses whole with event 1021, "Invalid Route header: mismatched character".
#[test]
fn a_diversion_with_a_broken_quote_never_costs_the_call() {
    let mut lab = Lab::new(Scene::default());
    let extra = "DIVERSION: \"Example, Jane\"<sip:2002@192.0.2.10>;privacy=off;reason=no-answer;screen=yes\n\
                 Diversion: \" Jane\" \"<sip:2002@192.0.2.10>;privacy=off;reason=no-answer;screen=yes\n\
                 Diversion: \"\n";
    let invite = told(&mut lab, EXTENSION, extra);
    assert_eq!(values(&invite, HeaderName::Diversion), ["\"Example, Jane\" <sip:2002@192.0.2.1>;reason=no-answer;privacy=off;screen=yes"]);
}

#[test]
fn doubled_lines_and_names_in_capitals_are_one_diversion() {
    let mut lab = Lab::new(Scene::default());
    let line = "DIVERSION: <sip:2002@192.0.2.10;user=phone>;Reason=NO-ANSWER\n";
    let invite = told(&mut lab, EXTENSION, &format!("{line}{line}diversion: <sip:2002@pbx:5060;user=phone>;reason=no-answer;counter=1\n"));
    assert_eq!(values(&invite, HeaderName::Diversion), ["<sip:2002@192.0.2.1;user=phone>;reason=no-answer"]);
}

const THREE: &str = "Diversion: <sip:2002@x>;reason=no-answer, <sip:2003@x>;reason=unconditional\nDiversion: <sip:2004@x>;reason=deflection\n";

#[test]
fn of_several_diversions_the_pool_says_which_um_is_told() {
    for (keep, users) in [(Keep::All, vec!["2002", "2003", "2004"]), (Keep::First, vec!["2002"]), (Keep::Last, vec!["2004"])] {
        let mut lab = Lab::with(Scene::default(), |set| diversion(set, DiversionPolicy { keep, ..DiversionPolicy::default() }));
        let invite = told(&mut lab, EXTENSION, THREE);
        let lines = values(&invite, HeaderName::Diversion);
        assert!(lines.len() == users.len() && lines.iter().zip(&users).all(|(line, user)| line.contains(user)), "{keep:?} {lines:?}");
    }
}

#[test]
fn after_an_auto_attendant_the_mailbox_answers() {
    let mut lab = Lab::with(Scene::default(), |set| plan(set, |plan| plan.auto_attendants = vec!["2004".into()]));
    let invite = told(&mut lab, EXTENSION, "Diversion: <sip:2002@x>;reason=no-answer\nDiversion: <sip:2004@x>;reason=deflection\n");
    assert_eq!(values(&invite, HeaderName::Diversion), ["<sip:2002@192.0.2.1>;reason=no-answer"]);
}

#[test]
fn history_info_as_microsofts_tool_sends_it() {
    let extra = "History-Info: <sip:2002@10.1.1.1;user=phone?Reason=SIP%3Bcause%3D487%3Btext%3DTimeout>;index=1, <sip:1000@10.1.1.1;user=phone>;index=1.1\n";
    let mut lab = Lab::new(Scene::default());
    let invite = told(&mut lab, EXTENSION, extra);
    assert_eq!(
        values(&invite, HeaderName::HistoryInfo),
        ["<sip:2002@192.0.2.1;user=phone?Reason=SIP%3Bcause%3D487>;index=1", "<sip:1000@192.0.2.1;user=phone>;index=1.1"]
    );
    let mut lab = Lab::with(Scene::default(), |set| diversion(set, DiversionPolicy { form: Form::Diversion, ..DiversionPolicy::default() }));
    let invite = told(&mut lab, EXTENSION, extra);
    assert_eq!(values(&invite, HeaderName::Diversion), ["<sip:2002@192.0.2.1;user=phone>;reason=no-answer"]);
    assert!(values(&invite, HeaderName::HistoryInfo).is_empty());
    let mut lab = Lab::with(Scene::default(), |set| diversion(set, DiversionPolicy { form: Form::HistoryInfo, ..DiversionPolicy::default() }));
    let invite = told(&mut lab, EXTENSION, "Diversion: <sip:2002@x>;reason=no-answer;privacy=full\n");
    assert_eq!(
        values(&invite, HeaderName::HistoryInfo),
        ["<sip:2002@192.0.2.1?Reason=SIP%3Bcause%3D487%3Btext%3DTimeout&Privacy=history>;index=1", "<sip:1000@192.0.2.1;user=phone>;index=1.1"]
    );
}

#[test]
fn a_diverting_user_that_is_no_extension_is_event_1109() {
    for user in ["200", "20022", "+49301234567", "jane", "anonymous"] {
        let mut lab = Lab::new(Scene::default());
        refused(&mut lab, EXTENSION, &format!("Diversion: <sip:{user}@x>;reason=no-answer\n"), 404, Reason::DiversionUnfit);
        assert_eq!(Reason::DiversionUnfit.exchange_events(), [1109]);
        let mut lab = Lab::with(Scene::default(), |set| diversion(set, DiversionPolicy { unfit: Unfit::Drop, ..DiversionPolicy::default() }));
        let invite = told(&mut lab, EXTENSION, &format!("Diversion: <sip:{user}@x>;reason=no-answer\n"));
        assert!(values(&invite, HeaderName::Diversion).is_empty(), "{}", invite.text());
    }
}

#[test]
fn a_peer_not_believed_diverts_nothing_and_breaks_nothing() {
    let untrusted = |set: &mut PolicySet| set.peers[0] = Arc::new(Peer { diversion_trusted: false, ..Peer::clone(&set.peers[0]) });
    let mut lab = Lab::with(Scene::default(), untrusted);
    let invite =
        told(&mut lab, EXTENSION, "Diversion: <sip:jane@x>\nCC-Diversion: <sip:2002@x>\nHistory-Info: <sip:2002@x?Reason=SIP%3Bcause%3D486>;index=1\n");
    for name in [HeaderName::Diversion, HeaderName::CcDiversion, HeaderName::HistoryInfo] {
        assert!(values(&invite, name).is_empty(), "{}", invite.text());
    }
    assert!(!invite.text().contains("2002"), "{}", invite.text());
}

/// Redirects and failover send the INVITE anew: nothing of this is lost on the way.
#[test]
fn every_hop_of_a_redirect_is_told_the_same() {
    let mut lab = Lab::new(Scene::default());
    let first =
        told(&mut lab, "\"Kim\" <sip:2001@192.0.2.10>", "Diversion: <sip:2002@192.0.2.10>;reason=user-busy\nP-Asserted-Identity: <sip:2001@192.0.2.10>\n");
    lab.answer(Party::Router, &first, 302, "r", "Contact: <sip:1000@198.51.100.30:5065;transport=udp>\n", "");
    lab.request_to(Party::Router, Method::Ack);
    let second = lab.request_to(Party::Server, Method::Invite);
    for name in [HeaderName::From, HeaderName::Diversion, HeaderName::PAssertedIdentity] {
        assert_eq!(first.header(name), second.header(name));
        assert!(!first.header(name).is_empty());
    }
}
