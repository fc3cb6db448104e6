//! Attended transfer (RFC 5589 §7): UM has called the target itself, and refers the caller to that very dialog. Two calls become one.

use portcullis::media::control::Command;
use portcullis::policy::verdict::Reason;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{ALLOW, Callee, Caller, Lab, Party, Scene, established};
use crate::transfer::{bye, everywhere, notified, scene};

fn consulted(lab: &mut Lab) -> (Caller, Callee) {
    consulted_by(lab, Party::Pstn)
}

/// UM calls somebody by this gateway: its own dialog, and the one with him.
pub fn consulted_by(lab: &mut Lab, gateway: Party) -> (Caller, Callee) {
    let mut um = Caller::new(lab, Party::Server, "2001");
    um.from = "<sip:1000@198.51.100.30>".into();
    let offer = lab.sdp(Party::Server, 6400);
    um.invite(lab, ALLOW, &offer);
    lab.response_to(Party::Server, 100);
    let invite = lab.request_to(gateway, Method::Invite);
    let phone = Callee::new(gateway, invite, "phone");
    let answer = lab.sdp(gateway, 4800);
    phone.answer(lab, 200, ALLOW, &answer);
    lab.request_to(gateway, Method::Ack);
    let answer = lab.response_to(Party::Server, 200);
    um.learn(&answer);
    um.ack(lab, "");
    lab.nothing_sent();
    (um, phone)
}

pub fn tag(value: &str) -> String {
    value.split(";tag=").nth(1).unwrap_or_default().to_owned()
}

pub fn refer_to(call_id: &str, to_tag: &str, from_tag: &str) -> String {
    let call_id = call_id.replace('@', "%40");
    format!("Refer-To: <sip:2001@192.0.2.1?Replaces={call_id}%3Bto-tag%3D{to_tag}%3Bfrom-tag%3D{from_tag}>\n")
}

fn key(sdp: &str) -> Option<String> {
    sdp.lines().find(|line| line.starts_with("a=crypto")).map(str::to_owned)
}

#[test]
fn two_calls_of_um_become_one() {
    everywhere(|lab, mut caller, mut um| {
        let (second, mut phone) = consulted(lab);
        um.next(lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
        lab.response_to(Party::Router, 202);
        notified(lab, Party::Router, "SIP/2.0 100 Trying", "active");
        // UM's leg of the second call ends, its party is asked for its side of the new session.
        bye(lab, Party::Server);
        let asked = lab.request_to(Party::Pstn, Method::Invite);
        assert_eq!(asked.header(HeaderName::CallId), phone.invite.header(HeaderName::CallId));
        assert!(key(&asked.sdp()).is_none() || key(&asked.sdp()) != key(&phone.invite.sdp()), "no key protects two streams");
        let answer = lab.sdp(Party::Pstn, 4800);
        lab.answer(Party::Pstn, &asked, 200, "", "", &answer);
        lab.request_to(Party::Pstn, Method::Ack);
        let reinvite = lab.request_to(Party::Trunk, Method::Invite);
        assert_eq!(reinvite.header(HeaderName::CallId), caller.call_id);
        let answer = lab.sdp(Party::Trunk, 4000);
        lab.answer(Party::Trunk, &reinvite, 200, "", "", &answer);
        lab.request_to(Party::Trunk, Method::Ack);
        notified(lab, Party::Router, "SIP/2.0 200 OK", "terminated");
        um.next(lab, "BYE", "", "");
        lab.response_to(Party::Router, 200);
        lab.nothing_sent();
        assert_eq!((lab.core.calls(), lab.open_streams()), (1, 1));
        // Who comes from the second call was on its A or B side, and its stream was still open when the new one was to go on from there.
        let mut closed = Vec::new();
        let mut handed = Vec::new();
        for command in &lab.media {
            match command {
                Command::Close { stream } => closed.push(*stream),
                Command::Succeed { of, .. } if !closed.contains(&of.0) => handed.push(of.0),
                _ => {}
            }
        }
        handed.dedup();
        assert!(closed.iter().all(|stream| handed.contains(stream)), "{handed:?} {closed:?}");
        assert_eq!(lab.records()[0].reason, Reason::Transferred, "the second call's record says where it went");
        // What the two say goes between them.
        caller.next(lab, "INFO", "", "");
        let info = lab.request_to(Party::Pstn, Method::Info);
        lab.answer(Party::Pstn, &info, 200, "", "", "");
        lab.response_to(Party::Trunk, 200);
        phone.next(lab, "BYE", "", "");
        lab.response_to(Party::Pstn, 200);
        bye(lab, Party::Trunk);
        let record = lab.records()[1];
        assert_eq!(record.transfers[0].status, Some(200));
        assert_eq!(record.transfers[0].target.as_ref().map(|leg| &*leg.peer), Some("pstn"));
    });
}

#[test]
fn a_dialog_that_is_none_of_this_peers_is_not_replaced() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let (mut second, phone) = consulted(&mut lab);
    let ours = tag(&second.to);
    let from_phone = tag(&phone.invite.header(HeaderName::From));
    for refer_to in [
        refer_to("nobody@nowhere", "a", "b"),
        refer_to(&second.call_id, &ours, "another"),
        refer_to("another@call", &ours, &second.tag),
        // The phone's dialog with the border is not UM's to give away.
        refer_to(&phone.invite.header(HeaderName::CallId), &from_phone, "phone"),
        "Refer-To: <sip:2001@192.0.2.1?Replaces=broken>\n".into(),
        format!("Refer-To: <sip:2001@192.0.2.1?Replaces={}>\n", "a".repeat(2000)),
    ] {
        um.next(&mut lab, "REFER", &refer_to, "");
        if refer_to.len() > 1500 {
            lab.response_to(Party::Router, 400);
            break;
        }
        lab.response_to(Party::Router, 202);
        let first = lab.request_to(Party::Router, Method::Notify);
        lab.answer(Party::Router, &first, 200, "", "", "");
        let last = lab.request_to(Party::Router, Method::Notify);
        assert!(last.sdp().starts_with("SIP/2.0 481 "), "{}", last.text());
        lab.answer(Party::Router, &last, 200, "", "", "");
        lab.nothing_sent();
        assert_eq!(lab.core.calls(), 2);
    }
    caller.next(&mut lab, "BYE", "", "");
    second.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_party_that_will_not_come_costs_the_transfer_and_the_caller_stays_with_um() {
    let mut lab = Lab::new(scene());
    let (mut caller, mut um) = established(&mut lab);
    let (second, _) = consulted(&mut lab);
    um.next(&mut lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
    lab.response_to(Party::Router, 202);
    notified(&mut lab, Party::Router, "SIP/2.0 100 Trying", "active");
    bye(&mut lab, Party::Server);
    let asked = lab.request_to(Party::Pstn, Method::Invite);
    lab.answer(Party::Pstn, &asked, 488, "", "", "");
    lab.request_to(Party::Pstn, Method::Ack);
    bye(&mut lab, Party::Pstn);
    notified(&mut lab, Party::Router, "SIP/2.0 488 Not Acceptable Here", "terminated");
    assert_eq!((lab.core.calls(), lab.open_streams()), (1, 1));
    caller.next(&mut lab, "BYE", "", "");
    lab.finish();
}

#[test]
fn a_caller_who_hangs_up_meanwhile_ends_it_for_all() {
    let mut lab = Lab::new(Scene { ..scene() });
    let (mut caller, mut um) = established(&mut lab);
    let (second, _) = consulted(&mut lab);
    um.next(&mut lab, "REFER", &refer_to(&second.call_id, &tag(&second.to), &second.tag), "");
    lab.sent.clear();
    caller.next(&mut lab, "BYE", "", "");
    for party in [Party::Pstn, Party::Router] {
        assert!(lab.sent.iter().any(|sent| sent.to == party && sent.message.method() == Some(&Method::Bye)), "{party:?}\n{}", lab.ladder());
    }
    lab.finish();
    assert_eq!(lab.open_streams(), 0);
}
