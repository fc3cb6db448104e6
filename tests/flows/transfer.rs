//! REFER executed by the border (RFC 3515, RFC 5589 §6): blind transfer by UM that comes to its end.

use std::sync::Arc;
use std::time::Duration;

use portcullis::media::control::{Command, Side};
use portcullis::policy::settings::{DialPlan, HuntGroup, PeerKind, PolicySet};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::fact::{TransferEvent, What};
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, Sent, established, peer};

/// Two gateways and a fax server besides the trunk and UM.
pub fn world(scene: &Scene, set: &mut PolicySet) {
    set.peers.push(peer(scene, Party::Pstn, PeerKind::Gateway));
    set.peers.push(peer(scene, Party::Fax, PeerKind::Fax));
    let with_plan = |plan: DialPlan| DialPlan { gateways: vec!["pstn".into(), "trunk".into()], fax_server: Some("fax".into()), ..plan };
    change_plan(set, with_plan);
}

pub fn change_plan(set: &mut PolicySet, change: impl Fn(DialPlan) -> DialPlan) {
    let plan = Arc::new(change((*set.dial_plans[0]).clone()));
    set.dial_plans = vec![plan.clone()];
    let groups: Vec<Arc<HuntGroup>> = set.hunt_groups.iter().map(|group| Arc::new(HuntGroup { plan: plan.clone(), ..(**group).clone() })).collect();
    set.hunt_groups = groups.into();
}

pub fn scene() -> Scene {
    Scene { change: world, ..Scene::default() }
}

pub fn everywhere(flow: impl Fn(&mut Lab, Caller, Callee)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(Scene { change: world, ..scene });
        let (caller, callee) = established(&mut lab);
        flow(&mut lab, caller, callee);
        lab.finish();
        assert_eq!(lab.open_streams(), 0);
    }
}

pub const REFER_TO: &str = "Refer-To: <sip:2002@192.0.2.1>\nReferred-By: <sip:1000@198.51.100.20>\n";

/// UM refers the caller; what came of it up to the INVITE to the trunk.
pub fn referred(lab: &mut Lab, um: &mut Callee) -> Callee {
    um.next(lab, "REFER", REFER_TO, "");
    lab.response_to(Party::Router, 202);
    notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    Callee::new(Party::Trunk, invite, "target")
}

/// The NOTIFY to `party`, answered 200.
pub fn notified(lab: &mut Lab, party: Party, says: &str, state: &str) -> Sent {
    let notify = lab.request_to(party, Method::Notify);
    assert_eq!(notify.sdp().trim(), says, "{}", lab.ladder());
    assert!(notify.text().contains(&format!("Subscription-State: {state}")), "{}", notify.text());
    assert!(notify.text().contains("Event: refer\r\n"), "{}", notify.text());
    lab.answer(party, &notify, 200, "", "", "");
    notify
}

/// The target answers and the caller is connected with it.
pub fn connected(lab: &mut Lab, target: &Callee) -> (Sent, Sent) {
    let answer = lab.sdp(target.party, 4600);
    target.answer(lab, 200, ALLOW, &answer);
    let ack = lab.request_to(target.party, Method::Ack);
    assert!(ack.sdp().is_empty());
    let reinvite = lab.request_to(Party::Trunk, Method::Invite);
    let answer = lab.sdp(Party::Trunk, 4000);
    lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
    lab.request_to(Party::Trunk, Method::Ack);
    (ack, reinvite)
}

pub fn bye(lab: &mut Lab, party: Party) {
    let bye = lab.request_to(party, Method::Bye);
    lab.answer(party, &bye, 200, "", "", "");
}

pub fn events(lab: &Lab) -> Vec<TransferEvent> {
    lab.facts.iter().filter_map(|fact| if let What::Transfer(event) = &fact.what { Some(event.clone()) } else { None }).collect()
}

#[test]
fn um_transfers_the_caller_and_hangs_up_when_it_hears_that_it_is_done() {
    everywhere(|lab, mut caller, mut um| {
        let mut target = referred(lab, &mut um);
        assert!(target.invite.message.request_uri().is_some_and(|uri| uri.starts_with("sip:2002@192.0.2.10")), "{}", target.invite.text());
        assert_eq!(target.invite.header(HeaderName::ReferredBy), "<sip:1000@192.0.2.1>");
        assert!(target.invite.header(HeaderName::From).starts_with("\"Alice\" <sip:2001@"), "{}", target.invite.text());
        assert!(!target.invite.text().contains("198.51.100"), "nothing of the inside is seen outside");
        let (_, reinvite) = connected(lab, &target);
        assert!(reinvite.sdp().contains("IN IP4 192.0.2.1") && reinvite.sdp().contains("a=sendrecv"));
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated;reason=noresource");
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.nothing_sent();
        assert_eq!(lab.core.calls(), 1);
        target.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        let bye = lab.request_to(Party::Trunk, Method::Bye);
        assert_eq!(bye.header(HeaderName::CallId), caller.call_id);
        lab.answer(Party::Trunk, &bye, 200, "", "", "");
        caller.next(lab, "OPTIONS", "", "");
        let record = lab.records()[0];
        assert_eq!((record.reason, record.transfers.len(), record.transfers[0].status), (Reason::NormalClearing, 1, Some(200)));
        assert_eq!(record.transfers[0].target.as_ref().map(|leg| &*leg.peer), Some("trunk"));
        lab.sent.clear();
    });
}

/// A peer may keep its SRTP key when it is transferred, and then keeps its packet indices: the media plane is told in time where to find them.
#[test]
fn the_caller_goes_on_with_its_packet_indices() {
    let mut lab = Lab::new(Scene { change: world, ..Scene::secured() });
    let (_, mut um) = established(&mut lab);
    let old = lab.media.iter().find_map(|command| if let Command::Open { stream, .. } = command { Some(*stream) } else { None }).unwrap();
    let target = referred(&mut lab, &mut um);
    connected(&mut lab, &target);
    notified(&mut lab, Party::Router, "SIP/2.0 200 OK", "terminated;reason=noresource");
    let at = |wanted: &dyn Fn(&Command) -> bool| lab.media.iter().rposition(wanted);
    let told = at(&|command| matches!(command, Command::Succeed { side: Side::A, of, .. } if *of == (old, Side::A)));
    let closed = at(&|command| matches!(command, Command::Close { stream } if *stream == old));
    let keyed = at(&|command| matches!(command, Command::Configure { side: Side::A, stream, .. } if *stream != old));
    assert!(told.is_some() && told < keyed && keyed < closed, "{told:?} {keyed:?} {closed:?}");
}

#[test]
fn our_bye_ends_the_leg_of_one_who_does_not_hang_up() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        connected(lab, &target);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        lab.pass(Duration::from_secs(4));
        lab.nothing_sent();
        lab.pass(Duration::from_secs(1));
        bye(lab, Party::Router);
        lab.nothing_sent();
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Trunk);
    });
}

#[test]
fn one_who_leaves_at_once_leaves_the_transfer_under_way() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.nothing_sent();
        connected(lab, &target);
        // The subscription outlives the call it was made in (RFC 5057 §3.2).
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        lab.pass(Duration::from_secs(20));
        lab.nothing_sent();
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Trunk);
        assert!(events(lab).contains(&TransferEvent::TransferorLeft { by: Side::B }));
    });
}

#[test]
fn early_media_of_the_target_is_heard_by_the_caller() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        let early = lab.sdp(Party::Trunk, 4600);
        target.answer(lab, 183, "", &early);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        assert_eq!(reinvite.header(HeaderName::CallId), caller.call_id);
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        lab.nothing_sent();
        // The answer says the same again: there is nothing more to ask.
        target.answer(lab, 200, ALLOW, &early);
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        lab.nothing_sent();
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Trunk);
        lab.sent.clear();
    });
}

#[test]
fn glare_with_the_callers_own_re_invite_is_waited_out() {
    everywhere(|lab, mut caller, mut um| {
        let target = referred(lab, &mut um);
        let answer = lab.sdp(Party::Trunk, 4600);
        target.answer(lab, 200, ALLOW, &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        lab.answer(Party::Trunk, &reinvite, 491, "", "", "");
        lab.request_to(Party::Trunk, Method::Ack);
        // The caller's own comes first; when that is over he is asked again.
        let hold = lab.sdp_saying(Party::Trunk, 4000, "a=inactive\n").replace(" 71 1 ", " 71 2 ");
        caller.next(lab, "INVITE", "", &hold);
        lab.response_to(Party::Trunk, 100);
        let carried = lab.request_to(Party::Router, Method::Invite);
        lab.pass(Duration::from_millis(2500));
        lab.drain_to(Party::Router);
        lab.nothing_sent();
        let answer = lab.sdp_saying(Party::Router, 6000, "a=inactive\n");
        lab.answer(Party::Router, &carried, 200, "", "", &answer);
        lab.request_to(Party::Router, Method::Ack);
        lab.response_to(Party::Trunk, 200);
        caller.ack(lab, "");
        lab.pass(Duration::from_millis(600));
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        assert!(reinvite.sdp().contains("a=sendrecv"));
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
    });
}

#[test]
fn an_outcall_is_transferred_by_um_who_called() {
    let mut lab = Lab::new(scene());
    let mut um = Caller::new(&mut lab, Party::Server, "2001");
    um.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6000);
    um.invite(&mut lab, ALLOW, &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    let mut phone = Callee::new(Party::Pstn, invite, "phone");
    let answer = lab.sdp(Party::Pstn, 4000);
    phone.answer(&mut lab, 200, ALLOW, &answer);
    lab.request_to(Party::Pstn, Method::Ack);
    let answer = lab.response_to(Party::Server, 200);
    um.learn(&answer);
    um.ack(&mut lab, "");
    um.next(&mut lab, "REFER", "Refer-To: <sip:2002@192.0.2.1>\n", "");
    lab.response_to(Party::Server, 202);
    notified(&mut lab, Party::Server, "SIP/2.0 100 Trying", "active");
    let invite = lab.request_to(Party::Pstn, Method::Invite);
    assert!(invite.header(HeaderName::From).starts_with("<sip:2001@192.0.2.1>"), "{}", invite.text());
    let mut target = Callee::new(Party::Pstn, invite, "target");
    let answer = lab.sdp(Party::Pstn, 4600);
    target.answer(&mut lab, 200, ALLOW, &answer);
    lab.request_to(Party::Pstn, Method::Ack);
    let reinvite = lab.request_to(Party::Pstn, Method::Invite);
    assert_eq!(reinvite.header(HeaderName::CallId), phone.invite.header(HeaderName::CallId));
    let answer = lab.sdp(Party::Pstn, 4000);
    lab.answer(Party::Pstn, &reinvite, 200, "", "", &answer);
    lab.request_to(Party::Pstn, Method::Ack);
    notified(&mut lab, Party::Server, "SIP/2.0 200 OK", "terminated");
    um.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Server, 200);
    // What is said in the call goes between phone and target now.
    target.next(&mut lab, "INFO", "", "");
    let info = lab.request_to(Party::Pstn, Method::Info);
    assert_eq!(info.header(HeaderName::CallId), phone.invite.header(HeaderName::CallId));
    lab.answer(Party::Pstn, &info, 200, "", "", "");
    lab.response_to(Party::Pstn, 200);
    phone.next(&mut lab, "BYE", "", "");
    lab.response_to(Party::Pstn, 200);
    bye(&mut lab, Party::Pstn);
    lab.finish();
}

#[test]
fn a_fax_is_referred_to_the_partner_fax_server() {
    everywhere(|lab, mut caller, mut um| {
        let host = Party::Fax.address();
        um.next(lab, "REFER", &format!("Refer-To: <sip:{host}:5060;transport=tcp>\n"), "");
        lab.response_to(Party::Router, 202);
        notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        let invite = lab.request_to(Party::Fax, Method::Invite);
        assert!(invite.message.request_uri().is_some_and(|uri| uri.starts_with("sip:192.0.2.50")), "{}", invite.text());
        connected(lab, &Callee::new(Party::Fax, invite, "fax"));
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        caller.next(lab, "BYE", "", "");
        lab.response_to(Party::Trunk, 200);
        bye(lab, Party::Fax);
        assert_eq!(lab.records()[0].transfers[0].kind, portcullis::policy::transfer::Kind::Fax);
    });
}

#[test]
fn um_refers_to_another_server_of_its_pool_which_redirects_within_it() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    um.next(&mut lab, "REFER", "Refer-To: <sip:1000@198.51.100.21>\n", "");
    // The spare router is no member of this pool: its number is dialled outside, and the host never called.
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    let invite = lab.request_to(Party::Trunk, Method::Invite);
    lab.answer(Party::Trunk, &invite, 486, "x", "", "");
    lab.request_to(Party::Trunk, Method::Ack);
    notified(&mut lab, Party::Router, "SIP/2.0 486 Busy Here", "terminated");
    um.next(&mut lab, "REFER", "Refer-To: <sip:1000@198.51.100.20>\n", "");
    lab.response_to(Party::Router, 202);
    let notify = lab.request_to(Party::Router, Method::Notify);
    assert!(notify.text().contains("Event: refer;id="), "a second REFER in the dialog has an id of its own");
    lab.answer(Party::Router, &notify, 200, "", "", "");
    let invite = lab.request_to(Party::Router, Method::Invite);
    lab.answer(Party::Router, &invite, 302, "y", "Contact: <sip:1000@198.51.100.30:5060>\n", "");
    lab.request_to(Party::Router, Method::Ack);
    let invite = lab.request_to(Party::Server, Method::Invite);
    connected(&mut lab, &Callee::new(Party::Server, invite, "um2"));
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}
