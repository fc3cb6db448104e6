//! Mailboxes on the premises and hosted, of one dial plan and one SIP address space: each call goes where its mailbox lives.

use std::sync::Arc;

use portcullis::policy::mailboxes::{MailboxRule, MailboxTable};
use portcullis::policy::number_pattern::NumberPattern;
use portcullis::policy::settings::{DialPlan, Hosted, HuntGroup, Peer, PolicySet, SecurityMode, UmPool, UmVersion};
use portcullis::policy::verdict::{Decision, Reason};
use portcullis::signaling::event::Event;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method, Transport};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, Sent, describe, policy_set};

const DIVERTED_1000: &str = "Diversion: <sip:1000@192.0.2.10>;reason=no-answer\n";
const DIVERTED_1001: &str = "Diversion: <sip:1001@192.0.2.10>;reason=no-answer\n";

/// The table's rows: 1000 is hosted, 1001 is here.
fn table(rows: &[(&str, &Arc<UmPool>)]) -> Option<Arc<MailboxTable>> {
    let mut table = MailboxTable::new("mailboxes.csv");
    for (line, (mailbox, pool)) in rows.iter().enumerate() {
        table.insert(mailbox, pool, line as u32 + 1).unwrap();
    }
    Some(Arc::new(table))
}

fn online() -> Arc<UmPool> {
    Arc::new(UmPool::new("online", vec!["spare".into()]))
}

/// The plan's pool is on the premises (router); hosted ones are at the spare router.
fn mixed(set: &mut PolicySet) {
    let online = online();
    let here = set.um_pools[0].clone();
    set.mailboxes.table = table(&[("1000", &online), ("1001", &here), ("2002", &online)]);
    set.um_pools.push(online);
}

fn calls(lab: &mut Lab, from: &str, extra: &str) -> Caller {
    let mut caller = Caller::new(lab, Party::Trunk, "5000");
    caller.from = format!("<sip:{from}@192.0.2.10>");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    caller
}

fn goes_to(lab: &mut Lab, party: Party) -> Sent {
    let invite = lab.request_to(party, Method::Invite);
    lab.nothing_sent();
    invite
}

fn routing(lab: &Lab) -> Vec<&Decision> {
    let decided = lab.facts.iter().filter_map(|fact| if let What::Decided(made) = &fact.what { Some(made) } else { None });
    decided.flatten().filter(|decision| decision.stage == "routing").collect()
}

fn decided_by(lab: &Lab, rule: &str) -> bool {
    routing(lab).iter().any(|decision| decision.rule == rule)
}

fn busy(lab: &mut Lab, invite: Sent) {
    let party = invite.to;
    Callee::new(party, invite, "um").answer(lab, 486, "", "");
    lab.request_to(party, Method::Ack);
    lab.response_to(Party::Trunk, 486);
}

#[test]
fn a_deposit_goes_where_the_diverted_mailbox_lives_over_every_transport() {
    for scene in Scene::everywhere() {
        for (diversion, party, rule) in [(DIVERTED_1000, Party::Spare, "mailboxes.csv:1"), (DIVERTED_1001, Party::Router, "mailboxes.csv:2")] {
            let mut lab = Lab::with(scene.clone(), mixed);
            let mut caller = calls(&mut lab, "2001", diversion);
            let invite = goes_to(&mut lab, party);
            assert!(invite.header(HeaderName::Diversion).contains(&diversion[16..20]), "{}", invite.text());
            assert!(decided_by(&lab, rule), "{:?}", routing(&lab));
            busy(&mut lab, invite);
            caller.ack_refusal(&mut lab);
            lab.finish();
        }
    }
}

#[test]
fn subscriber_access_goes_by_the_calling_extension_and_the_rest_by_the_plan() {
    for (from, party, rule) in [
        ("2002", Party::Spare, "mailboxes.csv:3"),
        ("2001", Party::Router, "default of dial plan \"plan\""),
        ("+15550100", Party::Router, "default of dial plan \"plan\""),
        ("anonymous", Party::Router, "default of dial plan \"plan\""),
    ] {
        let mut lab = Lab::with(Scene::default(), mixed);
        let mut caller = calls(&mut lab, from, "");
        let invite = goes_to(&mut lab, party);
        assert!(decided_by(&lab, rule), "{from}: {:?}", routing(&lab));
        busy(&mut lab, invite);
        caller.ack_refusal(&mut lab);
        lab.finish();
    }
}

#[test]
fn a_row_decides_before_the_rule_and_the_longer_rule_before_the_shorter() {
    let rule = |name: &str, pattern: &str, um_pool: &Arc<UmPool>| MailboxRule {
        name: name.into(),
        mailboxes: vec![NumberPattern::parse(pattern).unwrap()],
        plans: vec!["plan".into()],
        um_pool: um_pool.clone(),
    };
    let set = |set: &mut PolicySet| {
        mixed(set);
        let (here, online) = (set.um_pools[0].clone(), set.um_pools[1].clone());
        set.mailboxes.rules = vec![rule("all", "1*", &online), rule("tens", "101*", &here), rule("tens again", "101*", &online)];
    };
    for (mailbox, party, rule) in [
        ("1001", Party::Router, "mailboxes.csv:2"),
        ("1012", Party::Router, "mailbox rule \"tens\" (101*)"),
        ("1212", Party::Spare, "mailbox rule \"all\" (1*)"),
        ("2222", Party::Router, "default of dial plan \"plan\""),
    ] {
        let mut lab = Lab::with(Scene::default(), set);
        let mut caller = calls(&mut lab, "+15550100", &format!("Diversion: <sip:{mailbox}@192.0.2.10>;reason=no-answer\n"));
        let invite = goes_to(&mut lab, party);
        assert!(decided_by(&lab, rule), "{mailbox}: {:?}", routing(&lab));
        busy(&mut lab, invite);
        caller.ack_refusal(&mut lab);
        lab.finish();
    }
}

/// A forged Diversion must not choose a pool any more than a mailbox.
#[test]
fn a_diversion_that_is_not_believed_routes_nothing() {
    let mut lab = Lab::with(Scene::default(), |set| {
        mixed(set);
        let trunk = Peer { diversion_trusted: false, ..Peer::clone(&set.peers[0]) };
        set.peers[0] = Arc::new(trunk);
    });
    calls(&mut lab, "+15550100", DIVERTED_1000);
    goes_to(&mut lab, Party::Router);
    lab.sent.clear();
}

#[test]
fn another_table_holds_for_new_calls_and_leaves_those_that_are_up() {
    let mut lab = Lab::with(Scene::default(), mixed);
    let mut caller = calls(&mut lab, "2001", DIVERTED_1000);
    let callee = Callee::new(Party::Spare, goes_to(&mut lab, Party::Spare), "um");
    let answer = lab.sdp(Party::Spare, 6000);
    callee.answer(&mut lab, 200, ALLOW, &answer);
    lab.request_to(Party::Spare, Method::Ack);
    let accepted = lab.response_to(Party::Trunk, 200);
    caller.learn(&accepted);
    caller.ack(&mut lab, "");
    let mut moved = policy_set(&Scene::default());
    mixed(&mut moved);
    let here = moved.um_pools[0].clone();
    moved.mailboxes.table = table(&[("1000", &here)]);
    lab.handle(Event::Policies(Arc::new(moved), lab.settings.clone()));
    lab.nothing_sent();
    let mut second = calls(&mut lab, "2001", DIVERTED_1000);
    let invite = goes_to(&mut lab, Party::Router);
    busy(&mut lab, invite);
    second.ack_refusal(&mut lab);
    caller.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(Party::Spare, Method::Bye);
    lab.answer(Party::Spare, &bye, 200, "", "", "");
    lab.finish();
}

/// Hosted UM wants SRTP; the plan, and so the caller's leg, has plain RTP over TLS.
fn hosted(set: &mut PolicySet) {
    mixed(set);
    let hosted = Some(Hosted { name: "0a1b.um.outlook.com".into(), destination: None, organization: None });
    let online = Arc::new(UmPool { version: UmVersion::Hosted, hosted, ..UmPool::clone(&online()) });
    set.mailboxes.table = table(&[("1000", &online)]);
    set.um_pools[1] = online;
}

/// The plan names the trunk in interwork.
fn serving_the_trunk(set: &mut PolicySet) {
    let plan = Arc::new(DialPlan { interwork: vec!["trunk".into()], ..DialPlan::clone(&set.dial_plans[0]) });
    set.dial_plans[0] = plan.clone();
    let groups = set.hunt_groups.iter().map(|group| Arc::new(HuntGroup { plan: plan.clone(), ..HuntGroup::clone(group) })).collect::<Vec<_>>();
    set.hunt_groups = groups.into();
}

#[test]
fn a_hosted_leg_is_secured_whatever_the_plan_and_never_weaker_than_either() {
    let scene = Scene { transport: Transport::Tls, mode: SecurityMode::SipSecured, ..Scene::default() };
    // Its sound would come in clear into a secured leg: only where the plan says that is meant.
    let mut lab = Lab::with(scene.clone(), hosted);
    let mut caller = calls(&mut lab, "2001", DIVERTED_1000);
    assert_eq!(lab.next_to(Party::Trunk).status(), 403, "{}", lab.ladder());
    lab.nothing_to(Party::Spare);
    caller.ack_refusal(&mut lab);
    lab.finish();
    let mut lab = Lab::with(scene, |set| {
        hosted(set);
        serving_the_trunk(set);
    });
    let mut caller = calls(&mut lab, "2001", DIVERTED_1000);
    let invite = goes_to(&mut lab, Party::Spare);
    assert!(invite.sdp().contains("RTP/SAVP") && invite.sdp().contains("a=crypto:"), "{}", invite.sdp());
    assert!(invite.header(HeaderName::To).contains("sip:5000@0a1b.um.outlook.com"), "{}", invite.text());
    assert!(invite.message.request_uri().is_some_and(|uri| uri.starts_with("sip:5000@0a1b.um.outlook.com:5061;transport=tls")), "{}", invite.text());
    // Plain RTP in its answer is below the leg's mode.
    let callee = Callee::new(Party::Spare, invite, "um");
    callee.answer(&mut lab, 200, ALLOW, &describe(SecurityMode::SipSecured, Party::Spare, 6000, "a=sendrecv\n"));
    lab.request_to(Party::Spare, Method::Ack);
    assert!(lab.sent.iter().all(|sent| sent.to != Party::Trunk || sent.status() >= 300), "{}", lab.ladder());
    lab.sent.clear();
    caller.ack_refusal(&mut lab);
    lab.finish();
    let mut lab = Lab::with(Scene::tcp(), |set| {
        hosted(set);
        serving_the_trunk(set);
    });
    let mut caller = calls(&mut lab, "2001", DIVERTED_1000);
    // Over TCP there is no way to hosted UM: the call is refused, not lowered.
    let refused = lab.next_to(Party::Trunk);
    assert_eq!(refused.status(), 403, "{}", refused.text());
    lab.nothing_to(Party::Spare);
    lab.nothing_to(Party::Router);
    caller.ack_refusal(&mut lab);
    lab.finish();
}

#[test]
fn um_of_the_other_side_calls_out_by_the_same_plan() {
    // The server is of the hosted pool alone, to which only the table leads.
    let mut lab = Lab::with(Scene::default(), |set| {
        let here = Arc::new(UmPool { servers: Vec::new(), ..UmPool::clone(&set.um_pools[0]) });
        let online = Arc::new(UmPool { servers: vec!["server".into()], ..UmPool::clone(&online()) });
        set.dial_plans[0] = Arc::new(DialPlan { um_pool: here.clone(), ..DialPlan::clone(&set.dial_plans[0]) });
        set.mailboxes.table = table(&[("1000", &online)]);
        set.um_pools = vec![here, online];
    });
    let mut caller = Caller::new(&mut lab, Party::Server, "2001");
    caller.from = "<sip:5000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, ALLOW, &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    assert!(invite.message.request_uri().is_some_and(|uri| uri.starts_with("sip:2001@192.0.2.10")), "{}", invite.text());
    lab.sent.clear();
}

#[test]
fn a_sip_uri_of_the_shared_domain_never_reaches_a_trunk() {
    let shared = |set: &mut PolicySet| {
        mixed(set);
        set.mailboxes.shared_domains = vec!["contoso.com".into()];
    };
    let asks = |uri: &str| {
        let mut lab = Lab::with(Scene::default(), shared);
        let mut caller = Caller::new(&mut lab, Party::Server, "2001");
        caller.target = uri.to_owned();
        let offer = lab.sdp(Party::Server, 6000);
        caller.invite(&mut lab, ALLOW, &offer);
        lab.response_to(Party::Server, 100);
        lab
    };
    for uri in ["sip:bob@contoso.com", "sip:2001@Contoso.com", "sips:2001@contoso.com"] {
        let mut lab = asks(uri);
        assert_eq!(lab.next_to(Party::Server).status(), 404, "{uri}");
        lab.nothing_to(Party::Trunk);
        assert!(routing(&lab).iter().any(|decision| decision.refused == Some(Reason::SharedDomain)), "{uri}: {:?}", routing(&lab));
        lab.sent.clear();
    }
    for uri in ["sip:2001@contoso.com;user=phone", "sip:2001@192.0.2.1"] {
        let mut lab = asks(uri);
        lab.request_to(Party::Trunk, Method::Invite);
        lab.sent.clear();
    }
}
