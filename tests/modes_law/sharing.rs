//! Legs that may share their SRTP keys, with every kind of other leg: a key crosses where both may, and nowhere else; what is protected stays so, whatever is
//! offered, answered or changed. What `setup`, `answers` and `changes` play.

use crate::answers::{self, MOMENTS};
use crate::changes::{self, METHODS};
use crate::observer::Guard;
use crate::play::{self, Way, is_protected, up};
use crate::profiles::{ANSWERS, Delayed, OFFERS};
use crate::setup;
use crate::stage::{Stage, Tally};
use crate::world::{DTLS, Kind, SHARING, Secured, SipSecured, Snapshot, Tls, Udp, Unsecured, kind};

const LEGS: [Kind; 5] = [kind(Unsecured, Udp), kind(SipSecured, Tls), kind(Secured, Tls), DTLS, SHARING];

/// The nine pairs with such a leg, both directions.
fn each_call(mut visit: impl FnMut(Way, Kind, Kind, &Snapshot)) {
    play::each_call(&LEGS, |way, a, b, snapshot| {
        if a.shares || b.shares {
            visit(way, a, b, snapshot);
        }
    });
}

#[test]
fn keys_are_shared_where_both_peers_may_and_nowhere_else() {
    let mut tally = Tally::new("sharing, calls");
    each_call(|way, a, b, snapshot| {
        let what = || format!("{way:?}, A {a:?}, B {b:?}");
        let mut stage = Stage::new(snapshot);
        up(&mut stage, way);
        let shared = stage.observer.sides().is_some_and(|sides| sides.iter().all(|side| matches!(side.transmit, Guard::Shared(_))));
        tally.expect(shared == (a.shares && b.shares), &stage, || format!("shared {shared}: {}", what()));
        tally.state(stage, what);
    });
    tally.finish(18, 18);
}

/// Complete: 18 pairs of legs x 15 offers.
#[test]
fn a_leg_that_may_share_takes_no_other_offer() {
    let mut tally = Tally::new("sharing, offers");
    each_call(|way, a, b, snapshot| {
        for offer in OFFERS {
            let what = || format!("{way:?}, A {a:?}, B {b:?}, {offer:?}");
            let mut stage = Stage::new(snapshot);
            let came_up = setup::play(&mut stage, way, offer);
            tally.expect(came_up == offer.is_lawful(a), &stage, || format!("came up: {came_up}: {}", what()));
            if came_up {
                tally.up += 1;
                tally.expect(is_protected(&stage, a, b), &stage, || format!("media of a call that is up: {:?}: {}", stage.observer.sides(), what()));
            }
            tally.state(stage, what);
        }
    });
    tally.finish(270, 270);
}

/// Complete: 18 pairs of legs x lawful offer x 13 answers x 6 moments.
#[test]
fn a_leg_that_may_share_takes_no_other_answer() {
    let mut tally = Tally::new("sharing, answers");
    each_call(|way, a, b, snapshot| {
        for offer in OFFERS.into_iter().filter(|offer| offer.is_lawful(a) && *offer != Delayed) {
            for answer in ANSWERS {
                for moment in MOMENTS {
                    answers::one(&mut tally, snapshot, (way, a, b), offer, answer, moment);
                }
            }
        }
    });
    tally.finish(2000, 2000);
}

/// Complete: 18 pairs of legs x re-INVITE or UPDATE x side x 15 offers x, where the offer goes on, 13 answers.
#[test]
fn no_change_of_a_session_takes_protection_away() {
    let mut tally = Tally::new("sharing, changes");
    each_call(|way, a, b, snapshot| {
        for method in METHODS {
            for by_a in [true, false] {
                for offer in OFFERS {
                    for answer in ANSWERS {
                        if !changes::one(&mut tally, snapshot, (way, a, b), (method, by_a), offer, answer) {
                            break;
                        }
                    }
                }
            }
        }
    });
    tally.finish(2000, 2000);
}
