//! REFER: it is not carried, whatever it asks for, so it opens no leg and causes no message. Whoever carries it one day has its targets here.

use crate::play::{self, Way, each_call};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, Snapshot, most_legs};

/// Refer-To, as far as it makes a difference where it leads.
const TARGETS: [(&str, &str); 7] = [
    ("a server of the pool", "<sip:1001@server.test;transport=tls>"),
    ("the same in clear", "<sip:1001@server.test;transport=tcp>"),
    ("a server of another pool", "<sip:1001@foreign.test>"),
    ("the trunk", "<sip:+14255550100@192.0.2.10>"),
    ("a stranger", "<sip:1001@203.0.113.66;transport=udp>"),
    ("sips", "<sips:1001@server.test>"),
    ("a dialog to replace", "<sip:1001@server.test?Replaces=1%40x%3Bto-tag%3Da%3Bfrom-tag%3Db>"),
];

/// Complete: 50 pairs of legs x side x in the call or outside any x 7 targets.
#[test]
fn refer_opens_no_leg_and_causes_no_message() {
    let mut tally = Tally::new("transfers");
    each_call(most_legs(), |way, a, b, snapshot| {
        for by_a in [true, false] {
            for inside in [true, false] {
                for (name, target) in TARGETS {
                    one(&mut tally, snapshot, (way, a, b), by_a, inside, name, target);
                }
            }
        }
    });
    tally.finish(1400, 504);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), by_a: bool, inside: bool, name: &str, target: &str) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: REFER by A {by_a}, in the call {inside}, to {name}");
    let mut stage = Stage::new(snapshot);
    let mut call = play::up(&mut stage, way);
    let (asker, _) = call.side(by_a);
    let mut asker = if inside { asker.clone() } else { Talk::caller(&mut stage, &asker.flow.clone(), asker.party) };
    stage.sent.clear();
    asker.say(&mut stage, "REFER", &format!("Refer-To: {target}\r\n"), "");
    let status = stage.final_to(asker.party).map_or(0, |sent| sent.status());
    tally.expect(status == 405 && stage.sent.is_empty() && stage.locates.is_empty(), &stage, || format!("status {status}: {}", what()));
    tally.up += u64::from(stage.calls() == 1 && stage.records().is_empty());
    tally.state(stage, what);
}
