//! Legs keyed by DTLS, with every kind of other leg: they count as SRTP, are never keyed otherwise, and never over signalling in clear. What `setup`,
//! `answers` and `changes` play, with the offers more that such a leg takes, or might.

use crate::answers::{self, MOMENTS};
use crate::changes::{self, METHODS};
use crate::play::{self, Way, is_protected};
use crate::profiles::{ANSWERS, Delayed, DtlsOlder, DtlsOlderWithKey, DtlsSound, OFFERS, Offer};
use crate::setup;
use crate::stage::{Stage, Tally};
use crate::world::{DTLS, Kind, Secured, SipSecured, Snapshot, Tls, Udp, Unsecured, kind};

const LEGS: [Kind; 4] = [kind(Unsecured, Udp), kind(SipSecured, Tls), kind(Secured, Tls), DTLS];

fn offers() -> impl Iterator<Item = Offer> {
    OFFERS.into_iter().chain([DtlsSound, DtlsOlder, DtlsOlderWithKey])
}

/// The seven pairs with such a leg, both directions.
fn each_call(mut visit: impl FnMut(Way, Kind, Kind, &Snapshot)) {
    play::each_call(&LEGS, |way, a, b, snapshot| {
        if a.is_dtls() || b.is_dtls() {
            visit(way, a, b, snapshot);
        }
    });
}

/// Complete: 14 pairs of legs x 18 offers.
#[test]
fn a_leg_keyed_by_dtls_takes_no_other_offer() {
    let mut tally = Tally::new("dtls, offers");
    each_call(|way, a, b, snapshot| {
        for offer in offers() {
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
    tally.finish(252, 252);
}

/// Complete: 14 pairs of legs x lawful offer x 13 answers x 6 moments.
#[test]
fn a_leg_keyed_by_dtls_takes_no_other_answer() {
    let mut tally = Tally::new("dtls, answers");
    each_call(|way, a, b, snapshot| {
        for offer in offers().filter(|offer| offer.is_lawful(a) && *offer != Delayed) {
            for answer in ANSWERS {
                for moment in MOMENTS {
                    answers::one(&mut tally, snapshot, (way, a, b), offer, answer, moment);
                }
            }
        }
    });
    tally.finish(2000, 2000);
}

/// Complete: 14 pairs of legs x re-INVITE or UPDATE x side x 18 offers x, where the offer goes on, 13 answers.
#[test]
fn no_change_of_a_session_takes_dtls_away() {
    let mut tally = Tally::new("dtls, changes");
    each_call(|way, a, b, snapshot| {
        for method in METHODS {
            for by_a in [true, false] {
                for offer in offers() {
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
