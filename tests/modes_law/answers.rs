//! How the called side answers: every answer to every lawful offer, at every moment, on every pair of legs.

use crate::play::{self, Ringing, Way, each_call, is_protected};
use crate::profiles::{ANSWERS, Answer, Delayed, OFFERS, Offer};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, Snapshot, most_legs};

/// When the answer in question comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    InThe200,
    InA183AndThe200,
    /// A good one in a 183, the one in question in the 200 of another fork.
    InThe200OfAFork,
    /// The other way round.
    InA183OfAFork,
    /// Reliably, with PRACK on both legs.
    InAReliable183,
    /// The caller has taken its INVITE back meanwhile.
    InALate200,
}

pub const MOMENTS: [Moment; 6] =
    [Moment::InThe200, Moment::InA183AndThe200, Moment::InThe200OfAFork, Moment::InA183OfAFork, Moment::InAReliable183, Moment::InALate200];

/// Complete: 50 pairs of legs x lawful offer x 13 answers x 6 moments.
#[test]
fn whatever_is_answered_neither_leg_falls() {
    let mut tally = Tally::new("answers");
    each_call(most_legs(), |way, a, b, snapshot| {
        for offer in OFFERS.into_iter().filter(|offer| offer.is_lawful(a) && *offer != Delayed) {
            for answer in ANSWERS {
                for moment in MOMENTS {
                    one(&mut tally, snapshot, (way, a, b), offer, answer, moment);
                }
            }
        }
    });
    tally.finish(14_040, 5148);
}

pub fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), offer: Offer, answer: Answer, moment: Moment) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}, {offer:?}, {answer:?} {moment:?}");
    let mut stage = Stage::new(snapshot);
    let Ok(ringing) = play::call(&mut stage, way, offer) else { panic!("a lawful call was refused: {}\n{}", what(), stage.ladder()) };
    answer_at(&mut stage, ringing, answer, moment);
    let up = stage.is_answered();
    if moment == Moment::InThe200 {
        tally.expect(up == answer.is_lawful(b), &stage, || format!("up: {up}: {}", what()));
    }
    if up {
        tally.up += 1;
        let is_off = answer == Answer::Declined;
        tally.expect(is_off || is_protected(&stage, a, b), &stage, || format!("media of a call that is up: {:?}: {}", stage.observer.sides(), what()));
    }
    tally.state(stage, what);
}

fn answer_at(stage: &mut Stage, ringing: Ringing, answer: Answer, moment: Moment) {
    let text = ringing.answer_text(stage, answer);
    let good = ringing.answer_text(stage, Answer::Good);
    let invite = ringing.invite.clone();
    let fork = Talk::callee(&invite, "b2");
    match moment {
        Moment::InThe200 => drop(ringing.answered(stage, &text)),
        Moment::InA183AndThe200 => {
            ringing.b.reply(stage, &invite, 183, "", &text);
            drop(ringing.answered(stage, &text));
        }
        Moment::InThe200OfAFork => {
            ringing.b.reply(stage, &invite, 183, "", &good);
            fork.reply(stage, &invite, 200, "", &text);
            drop(ringing.accepted(stage));
        }
        Moment::InA183OfAFork => {
            fork.reply(stage, &invite, 183, "", &text);
            drop(ringing.answered(stage, &good));
        }
        Moment::InAReliable183 => {
            ringing.b.reply(stage, &invite, 183, "Require: 100rel\r\nRSeq: 7\r\n", &text);
            if let Some(prack) = stage.request_to(invite.to, "PRACK") {
                ringing.b.reply(stage, &prack, 200, "", "");
            }
            drop(ringing.answered(stage, &text));
        }
        Moment::InALate200 => {
            let mut a = ringing.a.clone();
            a.say(stage, "CANCEL", "", "");
            ringing.b.reply(stage, &invite, 200, "", &text);
        }
    }
}

/// Complete: 50 pairs of legs x 14 offers of the called side x 13 answers in the caller's ACK.
#[test]
fn a_late_offer_and_its_answer_are_held_to_the_same() {
    let mut tally = Tally::new("delayed offers");
    each_call(most_legs(), |way, a, b, snapshot| {
        for offer in OFFERS.into_iter().filter(|offer| *offer != Delayed) {
            for answer in ANSWERS {
                let what = || format!("{way:?}, A {a:?}, B {b:?}, late {offer:?}, {answer:?}");
                let mut stage = Stage::new(snapshot);
                let Ok(ringing) = play::call(&mut stage, way, Delayed) else { panic!("a lawful call was refused: {}", what()) };
                let number = stage.number();
                let body = offer.text(way.called(), number);
                ringing.b.reply(&mut stage, &ringing.invite.clone(), 200, "", &body);
                let Some(accepted) = stage.take(way.caller(), |sent| sent.status() == 200) else {
                    tally.expect(!offer.is_lawful(b), &stage, || format!("a lawful late offer was refused: {}", what()));
                    tally.state(stage, what);
                    continue;
                };
                tally.expect(offer.is_lawful(b), &stage, || format!("an unlawful late offer went on: {}", what()));
                let mut caller = ringing.a.clone();
                caller.learn(&accepted);
                let number = stage.number();
                let body = answer.text(way.caller(), a, accepted.body(), number);
                caller.ack(&mut stage, &body);
                let goes_on = stage.sent.iter().all(|sent| sent.method() != "BYE");
                tally.expect(goes_on == answer.is_lawful(a), &stage, || format!("goes on: {goes_on}: {}", what()));
                if goes_on {
                    tally.up += 1;
                    let fine = answer == Answer::Declined || is_protected(&stage, a, b);
                    tally.expect(fine, &stage, || format!("media of a call that is up: {:?}: {}", stage.observer.sides(), what()));
                }
                tally.state(stage, what);
            }
        }
    });
    tally.finish(9100, 3276);
}
