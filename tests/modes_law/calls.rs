//! Two calls at once: neither has a key of the other, whatever is changed in them.

use crate::play::{self, Up, each_call, is_protected};
use crate::profiles::{Answer, Offer};
use crate::stage::{Stage, Tally};
use crate::world::{Kind, most_legs};

/// Complete, over most legs: which of the calls changes, and on which side.
#[test]
fn calls_share_no_key() {
    let mut tally = Tally::new("two calls");
    each_call(most_legs(), |way, a, b, snapshot| {
        for first_changes in [true, false] {
            for by_a in [true, false] {
                let what = || format!("{way:?}, A {a:?}, B {b:?}: the first changes: {first_changes}, by A {by_a}");
                let mut stage = Stage::new(snapshot);
                let mut first = play::up(&mut stage, way);
                let mut second = play::up(&mut stage, way);
                let call = if first_changes { &mut first } else { &mut second };
                change(&mut stage, call, by_a, (a, b));
                tally.up += u64::from(stage.calls() == 2);
                tally.expect(stage.calls() == 2 && is_protected(&stage, a, b), &stage, what);
                tally.state(stage, what);
            }
        }
    });
    tally.finish(200, 72);
}

fn change(stage: &mut Stage, call: &mut Up, by_a: bool, (a, b): (Kind, Kind)) {
    let (mine, theirs) = if by_a { (a, b) } else { (b, a) };
    let (asker, other) = call.side(by_a);
    let number = stage.number();
    let offer = Offer::proper(mine).text(asker.party, number);
    asker.say(stage, "UPDATE", "", &offer);
    let Some(carried) = stage.request_to(other.party, "UPDATE") else { return };
    let number = stage.number();
    let answer = Answer::Good.text(other.party, theirs, carried.body(), number);
    other.reply(stage, &carried, 200, "", &answer);
}
