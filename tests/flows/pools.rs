//! UM pools: which router a call goes to first, what a failure does to the next calls, and where redirects lead as versions of Exchange have it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::flow::ListenerId;
use portcullis::policy::peer::PeerTable;
use portcullis::policy::settings::{AddressFamily, Peer, PeerHost, PolicySet, UmPool, UmVersion};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::core::Core;
use portcullis::signaling::event::{Action, Event, Route, Target, TransportError};
use portcullis::signaling::fact::What;
use portcullis::signaling::settings::Listener;
use portcullis::sip::{Method, Transport};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, Sent, established, hang_up, invited, peer_table, policy_set};

/// The scene's set with its pool, and peers, changed.
fn lab_with(scene: &Scene, pool: impl Fn(&mut UmPool), peer: impl Fn(&mut Peer)) -> Lab {
    let mut lab = Lab::new(scene.clone());
    let mut set: PolicySet = policy_set(scene);
    for known in &mut set.peers {
        peer(Arc::make_mut(known));
    }
    let mut changed = UmPool::clone(&set.um_pools[0]);
    pool(&mut changed);
    let changed = Arc::new(changed);
    set.um_pools = vec![changed.clone()];
    for plan in &mut set.dial_plans {
        Arc::make_mut(plan).um_pool = changed.clone();
    }
    let plan = set.dial_plans[0].clone();
    let groups: Vec<_> =
        set.hunt_groups.iter().map(|group| Arc::new(portcullis::policy::settings::HuntGroup { plan: plan.clone(), ..(**group).clone() })).collect();
    set.hunt_groups = groups.into();
    let set = Arc::new(set);
    lab.handle(Event::Policies(set.clone(), lab.settings.clone()));
    lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
    lab
}

fn pool(scene: &Scene, change: impl Fn(&mut UmPool)) -> Lab {
    lab_with(scene, change, |_| {})
}

fn two() -> Scene {
    Scene::default().with_routers(&["router", "spare"])
}

/// A new call from the trunk: who is asked first.
fn first_asked(lab: &mut Lab) -> (Caller, Sent) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.sent.pop_front().unwrap_or_else(|| panic!("nobody is asked\n{}", lab.ladder()));
    assert_eq!(invite.message.method(), Some(&Method::Invite));
    (caller, invite)
}

/// Whoever has the INVITE refuses the call for good.
fn refused(lab: &mut Lab, caller: &mut Caller, invite: &Sent) {
    lab.answer(invite.to, invite, 486, "busy", "", "");
    lab.request_to(invite.to, Method::Ack);
    lab.response_to(Party::Trunk, 486);
    caller.ack_refusal(lab);
    lab.sent.clear();
}

/// Fails with 503; the next one asked comes back.
fn unavailable(lab: &mut Lab, invite: &Sent) -> Sent {
    lab.answer(invite.to, invite, 503, "down", "", "");
    lab.request_to(invite.to, Method::Ack);
    lab.sent.pop_front().unwrap_or_else(|| panic!("nobody else is asked\n{}", lab.ladder()))
}

fn port_of(sent: &Sent) -> u16 {
    match &sent.route {
        Route::Datagram { remote, .. } => remote.port(),
        Route::Connect(connect) => connect.remote.port(),
        Route::Flow { otherwise, .. } => otherwise.as_ref().map_or(0, |connect| connect.remote.port()),
    }
}

fn redirect(lab: &mut Lab, invite: &Sent, status: u16, contacts: &str) {
    let text = crate::lab::response_text(&invite.message, invite.to, lab.transport, status, "r", contacts, "");
    lab.receive(invite.to, &text);
    lab.request_to(invite.to, Method::Ack);
}

fn contact(lab: &Lab, party: Party, port: u16, q: &str) -> String {
    format!("Contact: <sip:1000@{}:{port};transport={}>{q}\n", party.address(), lab.transport.uri_token())
}

#[test]
fn a_router_that_failed_is_put_off_and_taken_back() {
    let mut lab = pool(&two(), |_| {});
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Router);
    let invite = unavailable(&mut lab, &invite);
    assert_eq!(invite.to, Party::Spare);
    refused(&mut lab, &mut caller, &invite);
    // For 32 s nobody waits for it again.
    for seconds in [0, 20, 11] {
        lab.pass(Duration::from_secs(seconds));
        lab.sent.clear();
        let (mut caller, invite) = first_asked(&mut lab);
        assert_eq!(invite.to, Party::Spare, "after {seconds} s more\n{}", lab.ladder());
        refused(&mut lab, &mut caller, &invite);
    }
    lab.pass(Duration::from_secs(2));
    lab.sent.clear();
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Router, "its time is over");
    refused(&mut lab, &mut caller, &invite);
    lab.finish();
}

#[test]
fn silence_puts_a_router_off_as_well() {
    let mut lab = pool(&two(), |pool| pool.greylist = Duration::from_secs(60));
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Router);
    lab.pass(Duration::from_secs(10));
    lab.drain_to(Party::Router);
    let invite = lab.request_to(Party::Spare, Method::Invite);
    refused(&mut lab, &mut caller, &invite);
    lab.pass(Duration::from_secs(40));
    lab.sent.clear();
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Spare, "for the pool's own time");
    let decided = lab.facts.iter().rev().any(|fact| matches!(&fact.what, What::Decided(trail) if trail.iter().any(|decision| decision.compared.iter().any(|(_, value)| value.contains("failed lately")))));
    assert!(decided, "and it is told why\n{}", lab.ladder());
    refused(&mut lab, &mut caller, &invite);
    lab.finish();
}

#[test]
fn a_router_that_is_put_off_is_tried_when_nothing_else_is_left_and_forgiven_when_it_answers() {
    let mut lab = pool(&two(), |_| {});
    let (mut caller, invite) = first_asked(&mut lab);
    let invite = unavailable(&mut lab, &invite);
    refused(&mut lab, &mut caller, &invite);
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Spare);
    let invite = unavailable(&mut lab, &invite);
    assert_eq!(invite.to, Party::Router, "never left out");
    refused(&mut lab, &mut caller, &invite);
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Router, "it has answered");
    refused(&mut lab, &mut caller, &invite);
    lab.finish();
}

#[test]
fn without_a_greylist_every_call_begins_in_order() {
    let mut lab = pool(&two(), |pool| pool.greylist = Duration::ZERO);
    for _ in 0..3 {
        let (mut caller, invite) = first_asked(&mut lab);
        assert_eq!(invite.to, Party::Router);
        let invite = unavailable(&mut lab, &invite);
        refused(&mut lab, &mut caller, &invite);
    }
    lab.finish();
}

#[test]
fn weights_share_calls_among_routers() {
    let shares = |weights: [u32; 2]| {
        let mut lab = pool(&two(), |pool| {
            let names = ["router", "spare"];
            pool.weights = names.into_iter().zip(weights).filter(|(_, weight)| *weight > 0).map(|(name, weight)| (name.into(), weight)).collect();
        });
        let mut first = [0, 0];
        for _ in 0..200 {
            let (mut caller, invite) = first_asked(&mut lab);
            first[usize::from(invite.to == Party::Spare)] += 1;
            refused(&mut lab, &mut caller, &invite);
        }
        lab.finish();
        first
    };
    let [router, spare] = shares([3, 1]);
    assert!((120..=180).contains(&router) && spare > 20, "{router} to {spare}");
    assert_eq!(shares([3, 1]), [router, spare], "the same seed draws the same lots");
    let [router, spare] = shares([1, 1]);
    assert!((70..=130).contains(&router) && router + spare == 200, "{router} to {spare}");
    assert_eq!(shares([0, 7]), [0, 200], "a router without weight stands by");
}

#[test]
fn a_router_without_weight_takes_the_calls_the_others_cannot() {
    let mut lab = pool(&two(), |pool| pool.weights = vec![("spare".into(), 7)]);
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!(invite.to, Party::Spare);
    let invite = unavailable(&mut lab, &invite);
    assert_eq!(invite.to, Party::Router);
    refused(&mut lab, &mut caller, &invite);
    lab.finish();
}

#[test]
fn worker_ports_change_from_call_to_call_and_each_is_its_own_target() {
    for (service, workers) in [(5062, [5065, 5067]), (5063, [5066, 5068])] {
        let mut lab = pool(&Scene::tcp(), |_| {});
        for worker in workers {
            let (mut caller, invite) = first_asked(&mut lab);
            let to = contact(&lab, Party::Server, service, "");
            redirect(&mut lab, &invite, 302, &to);
            let invite = lab.request_to(Party::Server, Method::Invite);
            assert_eq!(port_of(&invite), service);
            let to = contact(&lab, Party::Server, worker, "");
            redirect(&mut lab, &invite, 302, &to);
            let invite = lab.request_to(Party::Server, Method::Invite);
            assert_eq!(port_of(&invite), worker);
            refused(&mut lab, &mut caller, &invite);
        }
        // The old worker drains, and the service knows it: the call goes where the second Contact leads.
        let (mut caller, invite) = first_asked(&mut lab);
        let to = contact(&lab, Party::Server, workers[0], ";q=0.9") + &contact(&lab, Party::Server, workers[1], ";q=0.5");
        redirect(&mut lab, &invite, 302, &to);
        let invite = lab.request_to(Party::Server, Method::Invite);
        assert_eq!(port_of(&invite), workers[0]);
        let invite = unavailable(&mut lab, &invite);
        assert_eq!(port_of(&invite), workers[1]);
        refused(&mut lab, &mut caller, &invite);
        // And the next one does not wait for it.
        let (mut caller, invite) = first_asked(&mut lab);
        redirect(&mut lab, &invite, 302, &to);
        let invite = lab.request_to(Party::Server, Method::Invite);
        assert_eq!(port_of(&invite), workers[1], "the worker that failed is put off");
        refused(&mut lab, &mut caller, &invite);
        lab.finish();
    }
}

#[test]
fn any_3xx_with_a_contact_is_followed_in_the_order_of_q() {
    for status in [300, 301, 302, 305] {
        let mut lab = pool(&Scene::default(), |_| {});
        let (mut caller, invite) = first_asked(&mut lab);
        let to = contact(&lab, Party::Server, 5065, ";q=0.1") + &contact(&lab, Party::Spare, 5067, ";q=1.0") + &contact(&lab, Party::Server, 5067, ";q=0.7");
        redirect(&mut lab, &invite, status, &to);
        // The spare router is no member of this pool.
        lab.nothing_to(Party::Spare);
        let invite = lab.request_to(Party::Server, Method::Invite);
        assert_eq!(port_of(&invite), 5067, "{status}");
        let invite = unavailable(&mut lab, &invite);
        assert_eq!(port_of(&invite), 5065);
        refused(&mut lab, &mut caller, &invite);
        lab.finish();
    }
    let mut lab = pool(&Scene::default(), |_| {});
    let (mut caller, invite) = first_asked(&mut lab);
    let to = contact(&lab, Party::Server, 5065, "");
    redirect(&mut lab, &invite, 380, &to);
    lab.nothing_to(Party::Server);
    lab.response_to(Party::Trunk, 502);
    caller.ack_refusal(&mut lab);
    lab.finish();
}

#[test]
fn a_305_names_a_proxy_and_not_who_is_called() {
    for (status, user) in [(302, "9999"), (305, "1000")] {
        let mut lab = pool(&Scene::default(), |_| {});
        let (mut caller, invite) = first_asked(&mut lab);
        redirect(&mut lab, &invite, status, &format!("Contact: <sip:9999@{}:5065;transport=udp>\n", Party::Server.address()));
        let invite = lab.request_to(Party::Server, Method::Invite);
        assert!(invite.message.request_uri().is_some_and(|uri| uri.starts_with(&format!("sip:{user}@"))), "{}", invite.text());
        refused(&mut lab, &mut caller, &invite);
        lab.finish();
    }
}

#[test]
fn maddr_says_where_a_redirect_leads_and_only_members_may_be_there() {
    let mut lab = pool(&Scene::default(), |_| {});
    let (mut caller, invite) = first_asked(&mut lab);
    let maddr = |party: Party| format!("Contact: <sip:1000@um.example:5065;transport=udp;maddr={}>\n", party.address());
    redirect(&mut lab, &invite, 302, &maddr(Party::Server));
    let invite = lab.request_to(Party::Server, Method::Invite);
    assert_eq!(port_of(&invite), 5065);
    refused(&mut lab, &mut caller, &invite);
    for stranger in [Party::Stranger, Party::Trunk, Party::Spare] {
        let (mut caller, invite) = first_asked(&mut lab);
        redirect(&mut lab, &invite, 302, &maddr(stranger));
        lab.nothing_to(stranger_of(stranger));
        lab.drain_to(Party::Trunk);
        caller.ack_refusal(&mut lab);
        assert_eq!(lab.records().last().map(|record| record.reason), Some(Reason::RedirectUntrusted));
    }
    lab.finish();
}

/// Where nothing may go; what the trunk is told of its own call is looked at elsewhere.
fn stranger_of(party: Party) -> Party {
    if party == Party::Trunk { Party::Server } else { party }
}

#[test]
fn exchange_2010_redirects_once_and_no_more_than_its_version_makes_is_followed() {
    assert_eq!((UmVersion::Exchange2007.redirects(), UmVersion::Exchange2010.redirects(), UmVersion::Exchange2016.redirects()), (2, 2, 5));
    let mut lab = pool(&Scene::default().with_routers(&["server"]), |pool| {
        pool.version = UmVersion::Exchange2010;
        pool.max_redirects = pool.version.redirects();
        pool.servers.clear();
    });
    // The UM role is router and server at once: a single redirect, to its own worker.
    let (mut caller, invite) = first_asked(&mut lab);
    assert_eq!((invite.to, port_of(&invite)), (Party::Server, 5060));
    let to = contact(&lab, Party::Server, 5065, "");
    redirect(&mut lab, &invite, 302, &to);
    let invite = lab.request_to(Party::Server, Method::Invite);
    assert_eq!(port_of(&invite), 5065);
    refused(&mut lab, &mut caller, &invite);
    // A third in a row is no Exchange's.
    let (mut caller, mut invite) = first_asked(&mut lab);
    for port in [5067, 5068] {
        let to = contact(&lab, Party::Server, port, "");
        redirect(&mut lab, &invite, 302, &to);
        invite = lab.request_to(Party::Server, Method::Invite);
    }
    let to = contact(&lab, Party::Server, 5069, "");
    redirect(&mut lab, &invite, 302, &to);
    lab.nothing_to(Party::Server);
    lab.response_to(Party::Trunk, 502);
    caller.ack_refusal(&mut lab);
    lab.finish();
    assert_eq!(lab.records().last().map(|record| record.reason), Some(Reason::RedirectTooDeep));
}

#[test]
fn a_server_that_is_its_pools_router_calls_out_as_any_server() {
    let mut lab = pool(&Scene::default().with_routers(&["server"]), |pool| pool.servers.clear());
    let mut caller = Caller::new(&mut lab, Party::Server, "2001");
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, ALLOW, &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    let callee = Callee::new(Party::Trunk, invite, "phone");
    callee.answer(&mut lab, 486, "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    lab.response_to(Party::Server, 486);
    lab.finish();
}

#[test]
fn a_call_that_names_nobody_is_held_back_where_the_gateway_may_learn_more() {
    let mut lab = lab_with(&Scene::default(), |_| {}, |peer| peer.delayed_source_party = &*peer.name == "trunk");
    let nobody = "<sip:anonymous@anonymous.invalid>";
    let call = |lab: &mut Lab, from: &str, extra: &str| {
        let mut caller = Caller::new(lab, Party::Trunk, "1000");
        caller.from = from.into();
        let offer = lab.sdp(Party::Trunk, 4000);
        caller.invite(lab, extra, &offer);
        lab.response_to(Party::Trunk, 100);
        caller
    };
    // The gateway has learnt more: UM never hears of the first try.
    let mut first = call(&mut lab, nobody, "");
    lab.pass(Duration::from_millis(1_500));
    lab.nothing_to(Party::Router);
    first.cancel(&mut lab);
    lab.response_to(Party::Trunk, 200);
    lab.response_to(Party::Trunk, 487);
    first.ack_refusal(&mut lab);
    lab.pass(Duration::from_secs(5));
    lab.nothing_to(Party::Router);
    // It has not: after two seconds the call goes on as it came.
    let mut second = call(&mut lab, nobody, "");
    lab.pass(Duration::from_millis(1_999));
    lab.nothing_to(Party::Router);
    lab.pass(Duration::from_millis(1));
    let invite = lab.request_to(Party::Router, Method::Invite);
    assert!(invite.text().contains("anonymous.invalid"), "nobody is made up");
    refused(&mut lab, &mut second, &invite);
    // Who names caller or diversion, or asks for privacy, is not waited for.
    for (from, extra) in [("<sip:2001@192.0.2.10>", ""), (nobody, "Diversion: <sip:2001@192.0.2.10>;reason=no-answer\n"), (nobody, "Privacy: id\n")] {
        let mut caller = call(&mut lab, from, extra);
        let invite = lab.request_to(Party::Router, Method::Invite);
        refused(&mut lab, &mut caller, &invite);
    }
    lab.finish();
}

#[test]
fn a_call_of_a_test_client_is_marked_in_its_record() {
    for simulator in [false, true] {
        let mut lab = lab_with(&Scene::default(), |_| {}, |peer| peer.simulator = simulator && &*peer.name == "trunk");
        let (mut caller, callee) = established(&mut lab);
        hang_up(&mut lab, &mut caller, &callee);
        let record = lab.records()[0];
        assert_eq!((record.a.simulator, record.b.as_ref().unwrap().simulator), (simulator, false));
    }
}

#[test]
fn a_gateway_without_outcalls_gets_none() {
    let mut lab = lab_with(&Scene::default(), |_| {}, |peer| peer.outcalls = &*peer.name != "trunk");
    let mut caller = Caller::new(&mut lab, Party::Server, "2001");
    let offer = lab.sdp(Party::Server, 6000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Server, 100);
    lab.response_to(Party::Server, 403);
    lab.nothing_to(Party::Trunk);
    // Calls the other way are not its business.
    let _ = invited(&mut lab, "");
    lab.pass(Duration::from_secs(40));
    lab.sent.clear();
    lab.finish();
    assert!(lab.records().iter().any(|record| record.reason == Reason::OutcallsRefused));
}

/// Where the trunk is called in turn, by name, when it lives at these addresses and none of them takes the call.
fn called_at(family: AddressFamily, addresses: &[&str]) -> Vec<String> {
    let lab = Lab::new(Scene::default());
    // A second listener, for the other family.
    let mut settings = (*lab.settings).clone();
    let ipv6 = Listener {
        id: ListenerId(1),
        name: "ipv6".into(),
        bound: "[2001:db8::1]:5060".parse().unwrap(),
        advertised: "[2001:db8::1]:5060".into(),
        ..settings.listeners[0].clone()
    };
    settings.listeners.push(ipv6);
    settings.media.outside.push("2001:db8::1".parse().unwrap());
    let settings = Arc::new(settings);
    let mut set = policy_set(&Scene::default());
    for peer in &mut set.peers {
        if &*peer.name == "trunk" {
            let peer = Arc::make_mut(peer);
            peer.hosts = vec![PeerHost::Name("trunk.test".into())];
            peer.address_family = family;
        }
    }
    let set = Arc::new(set);
    let places: Vec<IpAddr> = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let table = PeerTable::build(3, &set, &|name| if name == "trunk.test" { places.clone() } else { Vec::new() });
    let mut core = Core::new(settings, set, Arc::new(table), [7; 32]);
    let invite = "INVITE sip:2001@192.0.2.1 SIP/2.0\nVia: SIP/2.0/UDP 198.51.100.30:5060;branch=z9hG4bKfamily\nMax-Forwards: 70\nFrom: <sip:1000@198.51.100.30>;tag=f\n\
                  To: <sip:2001@192.0.2.1>\nCall-ID: family\nCSeq: 1 INVITE\nContact: <sip:um@198.51.100.30>\nContent-Type: application/sdp\n\n";
    let bytes = crate::lab::wire(&format!("{invite}{}", lab.sdp(Party::Server, 6000)));
    core.handle(lab.now, Event::Received { flow: lab.flow(Party::Server), bytes });
    let mut called = Vec::new();
    while let Some(action) = core.poll() {
        match action {
            Action::Locate { id, .. } => {
                let targets = places.iter().map(|address| Target { transport: Transport::Udp, address: (*address, 5060).into() }).collect();
                core.handle(lab.now, Event::Located { id, targets: Ok(targets) });
            }
            Action::Transmit { id, route: Route::Datagram { remote, .. }, bytes } if bytes.starts_with(b"INVITE") => {
                called.push(remote.ip().to_string());
                core.handle(lab.now, Event::TransportFailed { id, error: TransportError::Socket });
            }
            _ => {}
        }
    }
    called
}

#[test]
fn addresses_are_called_ipv6_first_and_of_no_family_that_is_not_meant() {
    let both = ["192.0.2.10", "2001:db8::a", "192.0.2.11", "2001:db8::b"];
    assert_eq!(called_at(AddressFamily::Any, &both), ["2001:db8::a", "2001:db8::b", "192.0.2.10", "192.0.2.11"]);
    assert_eq!(called_at(AddressFamily::Ipv4, &both), ["192.0.2.10", "192.0.2.11"]);
    assert_eq!(called_at(AddressFamily::Ipv6, &both), ["2001:db8::a", "2001:db8::b"]);
    assert_eq!(called_at(AddressFamily::Ipv6, &["192.0.2.10"]), [""; 0], "none at all rather than another family");
}
