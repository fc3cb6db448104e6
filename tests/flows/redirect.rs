//! The called side redirects: followed inside, hop by hop, only where policy trusts (RFC 3261 §8.1.3.4). The trunk never sees a 3xx.

use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Route;
use portcullis::signaling::fact::What;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Lab, Party, Scene, Sent, hang_up, invited};

fn port_of(sent: &Sent) -> u16 {
    match &sent.route {
        Route::Datagram { remote, .. } => remote.port(),
        Route::Connect(connect) => connect.remote.port(),
        Route::Flow { otherwise, .. } => otherwise.as_ref().map_or(0, |connect| connect.remote.port()),
    }
}

fn key(sent: &Sent) -> String {
    sent.sdp().lines().find_map(|line| line.split("inline:").nth(1).map(String::from)).unwrap_or_default()
}

/// 302 to `invite` of `party`, with these Contacts.
fn redirect(lab: &mut Lab, party: Party, invite: &Sent, contacts: &str) {
    let text = crate::lab::response_text(&invite.message, party, lab.transport, 302, "r", contacts, "");
    lab.receive(party, &text);
    lab.request_to(party, Method::Ack);
}

fn contact(lab: &Lab, party: Party, port: u16, q: &str) -> String {
    format!("Contact: <sip:1000@{}:{port};transport={}>{q}\n", party.address(), lab.transport.uri_token())
}

#[test]
fn router_to_server_to_another_port_of_the_server() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = invited(&mut lab, &format!("{ALLOW}Diversion: <sip:3000@192.0.2.10>;reason=no-answer\n"));
        let first = callee.invite.clone();
        lab.answer(Party::Router, &first, 100, "", "", "");
        let service = contact(&lab, Party::Server, 5062, "");
        redirect(&mut lab, Party::Router, &first, &service);
        let second = lab.request_to(Party::Server, Method::Invite);
        assert_eq!(port_of(&second), 5062);
        let worker = contact(&lab, Party::Server, 5067, "");
        redirect(&mut lab, Party::Server, &second, &worker);
        let third = lab.request_to(Party::Server, Method::Invite);
        assert_eq!(port_of(&third), 5067);
        assert!(third.message.request_uri().is_some_and(|uri| uri.contains("1000@198.51.100.30:5067")));
        for invite in [&first, &second, &third] {
            assert!(invite.header(HeaderName::Diversion).contains("3000"), "{}", invite.text());
            assert!(!invite.text().contains("192.0.2.10"), "{}", invite.text());
        }
        if !key(&first).is_empty() {
            assert!(key(&first) != key(&second) && key(&second) != key(&third) && key(&first) != key(&third), "each target its own key");
        }
        let branches: Vec<String> = [&first, &second, &third].map(|invite| invite.header(HeaderName::Via)).to_vec();
        assert!(branches[0] != branches[1] && branches[1] != branches[2]);
        // The caller has heard nothing but 100 so far.
        lab.nothing_to(Party::Trunk);
        let callee = Callee::new(Party::Server, third, "worker");
        let answer = lab.sdp(Party::Server, 6000);
        callee.answer(&mut lab, 200, ALLOW, &answer);
        lab.request_to(Party::Server, Method::Ack);
        let accepted = lab.response_to(Party::Trunk, 200);
        caller.learn(&accepted);
        caller.ack(&mut lab, "");
        hang_up(&mut lab, &mut caller, &callee);
        let record = lab.records()[0];
        assert_eq!(record.redirects.len(), 2);
        assert_eq!((&*record.redirects[1].to, &*record.b.as_ref().unwrap().peer), ("198.51.100.30:5067", "server"));
        // What was decided about Diversion is written down once, though three INVITEs carried it.
        let told =
            lab.facts.iter().filter(|fact| matches!(&fact.what, What::Decided(trail) if trail.iter().any(|decision| decision.stage == "diversion"))).count();
        assert_eq!(told, 1, "{}", lab.ladder());
    }
}

/// A redirect that may not be followed and has no other target: what the caller hears.
fn refused(scene: &Scene, contacts: impl Fn(&Lab) -> String, reason: Reason) {
    let mut lab = Lab::new(scene.clone());
    let (mut caller, callee) = invited(&mut lab, "");
    let contacts = contacts(&lab);
    redirect(&mut lab, Party::Router, &callee.invite, &contacts);
    let refusal = lab.response_to(Party::Trunk, 502);
    assert!(refusal.header(HeaderName::Contact).is_empty());
    caller.learn(&refusal);
    caller.ack(&mut lab, "");
    lab.finish();
    assert_eq!(lab.records()[0].reason, reason, "{}", lab.ladder());
}

#[test]
fn to_a_stranger_a_weaker_transport_itself_or_nowhere_it_is_not_followed() {
    for scene in Scene::everywhere() {
        refused(&scene, |lab| contact(lab, Party::Stranger, 5060, ""), Reason::RedirectUntrusted);
        refused(&scene, |lab| contact(lab, Party::Trunk, 5060, ""), Reason::RedirectUntrusted);
        refused(&scene, |_| String::new(), Reason::RedirectEmpty);
        refused(&scene, |_| "Contact: <tel:+4930123>\n".into(), Reason::RedirectEmpty);
        let own = if scene.transport == portcullis::sip::Transport::Tls { 5061 } else { 5060 };
        refused(&scene, move |lab| contact(lab, Party::Router, own, ""), Reason::RedirectLoop);
    }
    for weaker in ["tcp", "udp"] {
        refused(&Scene::secured(), |_| format!("Contact: <sip:1000@198.51.100.30:5060;transport={weaker}>\n"), Reason::RedirectDowngrade);
    }
}

#[test]
fn several_contacts_are_tried_by_q_and_loops_end() {
    let mut lab = Lab::new(Scene::secured());
    let (_, callee) = invited(&mut lab, "");
    let contacts = [contact(&lab, Party::Server, 5071, ";q=0.2"), contact(&lab, Party::Server, 5072, ";q=0.9"), contact(&lab, Party::Stranger, 5073, ";q=1.0")];
    redirect(&mut lab, Party::Router, &callee.invite, &contacts.concat());
    let best = lab.request_to(Party::Server, Method::Invite);
    assert_eq!(port_of(&best), 5072);
    lab.answer(Party::Server, &best, 503, "x", "", "");
    lab.request_to(Party::Server, Method::Ack);
    let next = lab.request_to(Party::Server, Method::Invite);
    assert_eq!(port_of(&next), 5071);
    // Back to one tried before: a loop, and nobody else is left.
    let back = contact(&lab, Party::Server, 5072, "");
    redirect(&mut lab, Party::Server, &next, &back);
    lab.response_to(Party::Trunk, 502);
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::RedirectLoop);
}

#[test]
fn deeper_than_the_pool_allows_it_is_not_followed() {
    let mut lab = Lab::new(Scene::secured());
    let (_, callee) = invited(&mut lab, "");
    let mut invite = callee.invite;
    let mut from = Party::Router;
    for hop in 0..5 {
        let contacts = contact(&lab, Party::Server, 5080 + hop, "");
        redirect(&mut lab, from, &invite, &contacts);
        invite = lab.request_to(Party::Server, Method::Invite);
        from = Party::Server;
    }
    let contacts = contact(&lab, Party::Server, 5099, "");
    redirect(&mut lab, from, &invite, &contacts);
    lab.response_to(Party::Trunk, 502);
    lab.finish();
    assert_eq!((lab.records()[0].reason, lab.records()[0].redirects.len()), (Reason::RedirectTooDeep, 5));
}

#[test]
fn after_a_refused_redirect_the_pools_next_router_is_tried() {
    let mut lab = Lab::new(Scene::secured().with_routers(&["router", "spare"]));
    let (_, callee) = invited(&mut lab, "");
    let contacts = contact(&lab, Party::Stranger, 5061, "");
    redirect(&mut lab, Party::Router, &callee.invite, &contacts);
    lab.request_to(Party::Spare, Method::Invite);
    lab.nothing_to(Party::Trunk);
    lab.finish();
}

#[test]
fn cancelled_between_two_redirects() {
    let mut lab = Lab::new(Scene::secured());
    let (mut caller, callee) = invited(&mut lab, "");
    let contacts = contact(&lab, Party::Server, 5062, "");
    redirect(&mut lab, Party::Router, &callee.invite, &contacts);
    let second = lab.request_to(Party::Server, Method::Invite);
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 200);
    lab.response_to(Party::Trunk, 487);
    // The server redirects once more instead: nothing follows.
    let contacts = contact(&lab, Party::Server, 5067, "");
    redirect(&mut lab, Party::Server, &second, &contacts);
    lab.nothing_to(Party::Server);
    lab.finish();
}

#[test]
fn a_trunk_that_redirects_an_outward_call_is_not_followed() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = crate::lab::Caller::new(&mut lab, Party::Server, "2001");
    caller.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    let contacts = contact(&lab, Party::Server, 5062, "");
    redirect(&mut lab, Party::Trunk, &invite, &contacts);
    lab.response_to(Party::Server, 502);
    lab.finish();
}
