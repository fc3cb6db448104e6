//! CANCEL in every state of a call, and its races (RFC 3261 §9).

use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::Target;
use portcullis::signaling::fact::ReleasedBy;
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Caller, Lab, Party, Scene, established, invited};

fn everywhere(flow: impl Fn(&mut Lab)) {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        flow(&mut lab);
        lab.finish();
        let record = lab.records()[0];
        assert_eq!((record.reason, record.released_by, record.status), (Reason::Cancelled, ReleasedBy::Caller, Some(487)), "{}", lab.ladder());
    }
}

/// CANCEL by the caller and what it hears: 200 and 487 of one tag.
fn cancel(lab: &mut Lab, caller: &mut Caller) {
    caller.cancel(lab);
    let accepted = lab.response_to(Party::Trunk, 200);
    assert!(accepted.header(HeaderName::CSeq).ends_with("CANCEL"));
    let refusal = lab.response_to(Party::Trunk, 487);
    assert_eq!(accepted.header(HeaderName::To), refusal.header(HeaderName::To), "§9.2: one tag");
    caller.learn(&refusal);
    let branch = caller.branch.clone();
    let ack = caller.text(lab, "ACK", caller.cseq, "", "");
    assert_eq!(branch, caller.branch);
    lab.receive(Party::Trunk, &ack);
}

#[test]
fn while_ringing() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        callee.answer(lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        cancel(lab, &mut caller);
        let cancel = lab.request_to(Party::Router, Method::Cancel);
        assert_eq!(cancel.header(HeaderName::Via), callee.invite.header(HeaderName::Via));
        lab.answer(Party::Router, &cancel, 200, "um1", "", "");
        callee.answer(lab, 487, "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_sent();
    });
}

#[test]
fn before_any_provisional_it_waits_for_one() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        cancel(lab, &mut caller);
        lab.nothing_sent();
        callee.answer(lab, 100, "", "");
        let cancel = lab.request_to(Party::Router, Method::Cancel);
        lab.answer(Party::Router, &cancel, 200, "", "", "");
        callee.answer(lab, 487, "", "");
        lab.request_to(Party::Router, Method::Ack);
        lab.nothing_sent();
    });
}

#[test]
fn crossing_the_200_of_the_called_side() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        callee.answer(lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        cancel(lab, &mut caller);
        lab.request_to(Party::Router, Method::Cancel);
        let answer = lab.sdp(Party::Router, 6000);
        callee.answer(lab, 200, "", &answer);
        let ack = lab.request_to(Party::Router, Method::Ack);
        let bye = lab.request_to(Party::Router, Method::Bye);
        assert_eq!(ack.header(HeaderName::To), bye.header(HeaderName::To));
        // The 200 again gets the ACK again, and no second BYE.
        callee.answer(lab, 200, "", &answer);
        let again = lab.request_to(Party::Router, Method::Ack);
        assert_eq!(ack.message.bytes(), again.message.bytes());
        lab.answer(Party::Router, &bye, 200, "um1", "", "");
        lab.nothing_sent();
    });
}

#[test]
fn crossing_the_487_of_nobody_the_called_side_never_answers() {
    everywhere(|lab| {
        let (mut caller, callee) = invited(lab, "");
        callee.answer(lab, 183, "", "");
        lab.response_to(Party::Trunk, 183);
        cancel(lab, &mut caller);
    });
}

#[test]
fn after_our_200_it_changes_nothing() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = established(&mut lab);
        caller.cancel(&mut lab);
        lab.response_to(Party::Trunk, 200);
        lab.nothing_sent();
        crate::lab::hang_up(&mut lab, &mut caller, &callee);
        assert_eq!(lab.records()[0].reason, Reason::NormalClearing);
    }
}

#[test]
fn by_somebody_else_it_is_not_known() {
    let mut lab = Lab::new(Scene::default().with_routers(&["router"]));
    let (caller, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    let cancel = caller.text(&lab, "CANCEL", caller.cseq, "", "");
    lab.receive(Party::Spare, &cancel);
    lab.response_to(Party::Spare, 481);
    lab.nothing_sent();
    callee.answer(&mut lab, 486, "", "");
    lab.finish();
}

#[test]
fn of_an_unknown_invite_is_told_so() {
    let mut lab = Lab::new(Scene::default());
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 481);
    lab.finish();
}

#[test]
fn while_the_target_is_being_located() {
    let mut lab = Lab::new(Scene { router_by_name: true, ..Scene::default() });
    let mut caller = Caller::new(&mut lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(&mut lab, "", &offer);
    lab.response_to(Party::Trunk, 100);
    let (id, query) = lab.locates.pop().expect("a name is located");
    assert_eq!(&*query.host, "router.test");
    cancel(&mut lab, &mut caller);
    let address = (Party::Router.address(), 5060).into();
    lab.handle(portcullis::signaling::event::Event::Located { id, targets: Ok(vec![Target { transport: lab.transport, address }]) });
    lab.nothing_sent();
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::Cancelled);
}

#[test]
fn repeated_it_is_answered_again() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = invited(&mut lab, "");
    callee.answer(&mut lab, 180, "", "");
    lab.response_to(Party::Trunk, 180);
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 200);
    lab.response_to(Party::Trunk, 487);
    lab.request_to(Party::Router, Method::Cancel);
    caller.cancel(&mut lab);
    lab.response_to(Party::Trunk, 200);
    lab.nothing_sent();
    lab.finish();
}
