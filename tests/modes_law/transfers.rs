//! REFER: where it is refused it opens no leg and causes no message, whatever it asks for; where it is executed no leg falls below its mode, and no key
//! goes to anybody it is not for.

use portcullis::policy::settings::Refer;

use crate::play::{self, Way, each_call};
use crate::profiles::{ANSWERS, Answer};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, Snapshot, Trunk, World, most_legs};

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

/// Complete: 25 pairs of legs x 13 answers of the target x early or not. UM transfers the caller, outside.
#[test]
fn a_transfer_that_is_executed_lowers_no_leg() {
    let mut tally = Tally::new("executed transfers");
    each_call(most_legs(), |way, a, b, snapshot| {
        if way == Way::Out {
            return;
        }
        let snapshot = Snapshot::new(1, World { refer: Refer::Execute, ..(*snapshot.world).clone() });
        for answer in ANSWERS {
            for early in [false, true] {
                executed(&mut tally, &snapshot, (way, a, b), answer, early);
            }
        }
    });
    tally.finish(650, 234);
}

fn executed(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), answer: Answer, early: bool) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: transferred, {answer:?}, early {early}");
    let mut stage = Stage::new(snapshot);
    let mut call = play::up(&mut stage, way);
    let (um, other) = call.side(way == Way::Out);
    stage.sent.clear();
    um.say(&mut stage, "REFER", "Refer-To: <sip:2002@192.0.2.1>\r\nReferred-By: <sip:1000@198.51.100.20>\r\n", "");
    let invite = stage.request_to(Trunk, "INVITE");
    tally.expect(invite.is_some(), &stage, || format!("no target was called: {}", what()));
    let Some(invite) = invite else { return tally.state(stage, what) };
    let leg = snapshot.world.kind(Trunk);
    let target = Talk::callee(&invite, "t1");
    let number = stage.number();
    let text = answer.text(Trunk, leg, invite.body(), number);
    target.reply(&mut stage, &invite, if early { 183 } else { 200 }, "", &text);
    let asked = stage.request_to(Trunk, "INVITE");
    let lawful = answer.is_lawful(leg) && answer != Answer::Declined;
    tally.expect(asked.is_some() == lawful, &stage, || format!("asked: {}: {}", asked.is_some(), what()));
    if let Some(asked) = asked {
        let number = stage.number();
        let text = Answer::Good.text(Trunk, leg, asked.body(), number);
        other.reply(&mut stage, &asked, 200, "", &text);
    }
    if early {
        target.reply(&mut stage, &invite, 200, "", &text);
    }
    tally.up += u64::from(stage.records().is_empty());
    tally.state(stage, what);
}
