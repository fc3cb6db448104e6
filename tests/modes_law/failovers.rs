//! One target after another: what the first has heard and said must not lower, or be known to, the second.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use portcullis::policy::flow::TlsRefusal;
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Event, Target, TransportError};

use crate::play::{self, Ringing, Way, is_protected};
use crate::profiles::{Answer, Offer};
use crate::redirects::plans_with_routers;
use crate::stage::{Sent, Stage, Tally};
use crate::talk::{Talk, response};
use crate::world::{Kind, LEGS, MODES, Party, Router, Second, Server, Snapshot, Spare, Stranger, TRANSPORTS, Trunk, World, kind, kinds, most_legs, plays_all};

/// How the first target goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Unavailable,
    TimedOut,
    Unreachable,
    WrongCertificate,
    Silent,
    /// After an early answer with keys and ports.
    EarlyThenUnavailable,
    EarlyReliableThenUnavailable,
    /// A redirect to a stranger.
    LeadsAstray,
    /// It wants another session interval, and is asked once more before it is unavailable.
    AsksAgain,
    /// Silent, and then it answers when the second has been asked.
    AnswersLate,
}

const ENDS: [End; 10] = [
    End::Unavailable,
    End::TimedOut,
    End::Unreachable,
    End::WrongCertificate,
    End::Silent,
    End::EarlyThenUnavailable,
    End::EarlyReliableThenUnavailable,
    End::LeadsAstray,
    End::AsksAgain,
    End::AnswersLate,
];

const THENS: [Answer; 4] = [Answer::Good, Answer::Rtp, Answer::Srtp, Answer::Declined];

/// Complete, over most legs of the trunk: 8 plans with routers x 9 kinds of second router x 10 ends of the first x 4 answers of the second.
#[test]
fn the_next_router_is_no_weaker() {
    let mut tally = Tally::new("failover towards UM");
    for trunk in most_legs() {
        for (plan, router) in plans_with_routers() {
            for spare in kinds() {
                let interwork = if trunk.mode < plan { vec![Trunk] } else { Vec::new() };
                let snapshot = Snapshot::new(1, World { spare, interwork, routers: vec![Router, Spare], ..World::of(*trunk, plan, router) });
                let can = spare.mode <= plan && snapshot.world.can_carry(Spare);
                for end in ENDS {
                    for then in THENS {
                        if !one(&mut tally, &snapshot, Way::In, Spare, can, end, then) {
                            break;
                        }
                    }
                }
            }
        }
    }
    tally.finish(6900, 4140);
}

/// Complete: plan x kinds of both gateways (those a leg may be; all in an optimised run) x interwork of either x 10 ends x 4 answers.
#[test]
fn the_next_gateway_is_no_weaker() {
    let mut tally = Tally::new("failover towards gateways");
    let gateways: Vec<Kind> = if !plays_all() { LEGS.to_vec() } else { kinds().collect() };
    let named: &[&[Party]] = if !plays_all() { &[&[], &[Trunk, Second]] } else { &[&[], &[Trunk], &[Second], &[Trunk, Second]] };
    for plan in MODES {
        for first in &gateways {
            for second in &gateways {
                for interwork in named {
                    let um = kind(plan, crate::world::Tls);
                    let world = World { second: *second, interwork: interwork.to_vec(), gateways: vec![Trunk, Second], ..World::of(*first, plan, um) };
                    let usable = |party| world.may_meet(party) && world.can_carry(party);
                    // Where the first cannot be had at all there is nothing to fail over from.
                    if !usable(Trunk) {
                        continue;
                    }
                    let can = usable(Second);
                    let snapshot = Snapshot::new(1, world);
                    for end in ENDS {
                        for then in THENS {
                            if !one(&mut tally, &snapshot, Way::Out, Second, can, end, then) {
                                break;
                            }
                        }
                    }
                }
            }
        }
    }
    tally.finish(9690, 4300);
}

/// False: the second was not asked.
fn one(tally: &mut Tally, snapshot: &Snapshot, way: Way, next: Party, can: bool, end: End, then: Answer) -> bool {
    let world = snapshot.world.clone();
    let what = || format!("{way:?}, {world:?}, {end:?}, {then:?}");
    let mut stage = Stage::new(snapshot);
    let leg = |party| Kind { mode: world.demanded(party), ..world.kind(party) };
    let caller = leg(way.caller());
    let flow = stage.flow(way.caller());
    let a = Talk::caller(&mut stage, &flow, way.caller());
    let extra = if end == End::EarlyReliableThenUnavailable { "Supported: 100rel\r\n" } else { "" };
    let ringing = play::call_by(&mut stage, a, way, Offer::proper(caller), extra);
    let ringing = ringing.unwrap_or_else(|status| panic!("refused, {status}: {}\n{}", what(), stage.ladder()));
    let first = ringing.invite.clone();
    give_up(&mut stage, &ringing, end);
    let Some(invite) = stage.request_to(next, "INVITE") else {
        tally.expect(!can, &stage, || format!("a second target that could be had was not asked: {}", what()));
        tally.state(stage, what);
        return false;
    };
    tally.expect(can, &stage, || format!("a second target was asked that must not: {}", what()));
    if end == End::AnswersLate {
        let text = ringing.answer_text(&mut stage, Answer::Good);
        ringing.b.reply(&mut stage, &first, 200, "", &text);
        if let Some(bye) = stage.request_to(first.to, "BYE") {
            ringing.b.reply(&mut stage, &bye, 200, "", "");
        }
    }
    let ringing = Ringing { b: Talk::callee(&invite, "n1"), invite, ..ringing };
    let text = ringing.answer_text(&mut stage, then);
    let up = ringing.answered(&mut stage, &text).is_ok();
    tally.expect(up == then.is_lawful(leg(next)), &stage, || format!("up: {up}: {}", what()));
    tally.up += u64::from(up);
    let fine = !up || then == Answer::Declined || is_protected(&stage, caller, leg(next));
    tally.expect(fine, &stage, || format!("media: {:?}: {}", stage.observer.sides(), what()));
    tally.state(stage, what);
    true
}

fn give_up(stage: &mut Stage, ringing: &Ringing, end: End) {
    let invite = &ringing.invite;
    let answer = |stage: &mut Stage, invite: &Sent, status: u16, extra: &str| {
        let text = response(invite, status, "f1", extra, "");
        stage.say(&invite.flow.clone(), &text);
    };
    match end {
        End::Unavailable => answer(stage, invite, 503, ""),
        End::TimedOut => answer(stage, invite, 408, ""),
        End::Unreachable => stage.fail(invite, TransportError::Refused),
        End::WrongCertificate => {
            let refusal = TlsRefusal::new(Reason::TargetCertificate, "another name");
            stage.fail(invite, TransportError::Certificate(Arc::new(refusal)));
        }
        // Where no pool sets a limit, the transaction's own.
        End::Silent | End::AnswersLate => {
            answer(stage, invite, 100, "");
            let limit = if invite.to == Router { 11 } else { 182 };
            if invite.to == Router {
                stage.pass(Duration::from_secs(limit));
            }
            if stage.request_to(Spare, "INVITE").map(|sent| stage.sent.push_front(sent)).is_none() {
                answer(stage, invite, 503, "");
            }
        }
        End::EarlyThenUnavailable => {
            let text = ringing.answer_text(stage, Answer::Good);
            ringing.b.reply(stage, invite, 183, "", &text);
            answer(stage, invite, 503, "");
        }
        End::EarlyReliableThenUnavailable => {
            let text = ringing.answer_text(stage, Answer::Good);
            ringing.b.reply(stage, invite, 183, "Require: 100rel\r\nRSeq: 7\r\n", &text);
            if let Some(prack) = stage.request_to(invite.to, "PRACK") {
                ringing.b.reply(stage, &prack, 200, "", "");
            }
            if let Some(early) = stage.take(ringing.a.party, |sent| sent.status() == 183) {
                let mut a = ringing.a.clone();
                a.learn(&early);
                a.say(stage, "PRACK", &format!("RAck: {} 1 INVITE\r\n", early.field("RSeq")), "");
                stage.final_to(a.party);
            }
            answer(stage, invite, 503, "");
        }
        End::LeadsAstray => {
            answer(stage, invite, 302, "Contact: <sip:1000@203.0.113.66>\r\n");
        }
        End::AsksAgain => {
            answer(stage, invite, 422, "Min-SE: 3600\r\n");
            if let Some(again) = stage.request_to(invite.to, "INVITE") {
                answer(stage, &again, 503, "");
            }
        }
    }
}

/// Complete, over most legs of the trunk: 8 plans with routers known by name x 3 transports DNS leads to x 3 addresses.
#[test]
fn a_name_leads_nowhere_but_to_its_peer_by_its_transport() {
    let mut tally = Tally::new("locating");
    for trunk in most_legs() {
        for (plan, router) in plans_with_routers() {
            let interwork = if trunk.mode < plan { vec![Trunk] } else { Vec::new() };
            let snapshot = Snapshot::new(1, World { interwork, by_name: true, ..World::of(*trunk, plan, router) });
            for transport in TRANSPORTS {
                for place in [Router, Server, Stranger] {
                    let what = || format!("trunk {trunk:?}, plan {plan:?}, router {router:?}, located at {place:?} by {transport}");
                    let mut stage = Stage::new(&snapshot);
                    assert!(play::call(&mut stage, Way::In, Offer::proper(*trunk)).is_err());
                    let Some((id, query)) = stage.locates.pop() else { panic!("nothing to locate: {}\n{}", what(), stage.ladder()) };
                    assert!(query.allowed == [router.transport] && &*query.host == "router.test");
                    let address = SocketAddr::new(place.address(), transport.default_port());
                    stage.tell(Event::Located { id, targets: Ok(vec![Target { transport, address }]) });
                    let asked = stage.sent.iter().filter(|sent| sent.method() == "INVITE").count();
                    let at_router = stage.sent.iter().any(|sent| sent.method() == "INVITE" && sent.to == Router && sent.flow.transport == router.transport);
                    tally.expect(asked == usize::from(at_router), &stage, || format!("asked elsewhere, or by another transport: {}", what()));
                    tally.up += u64::from(at_router);
                    tally.state(stage, what);
                }
            }
        }
    }
    tally.finish(360, 216);
}
