//! Another server of the UM pool may speak in a call's dialog, for UM moves calls among its servers; but not one that asks for more than the leg is,
//! and not by a weaker way.

use crate::intrusion::{PHASES, Phase, Say, Scene};
use crate::play::{Way, each_call};
use crate::stage::{Stage, Tally};
use crate::world::{Kind, Proof, Router, Server, Snapshot, kinds, most_legs};

/// Complete, over most legs: 9 kinds of colleague x moment x what can be said then.
#[test]
fn a_colleague_neither_weakens_nor_joins_a_weaker_leg() {
    let mut tally = Tally::new("colleagues");
    each_call(most_legs(), |way, a, b, snapshot| {
        // The UM side is called inward, and calls outward.
        let (is_a, colleague) = if way == Way::In { (false, Server) } else { (true, Router) };
        for own in kinds() {
            let mut world = (*snapshot.world).clone();
            world.set_kind(colleague, own);
            let snapshot = Snapshot::new(1, world);
            for phase in PHASES {
                for say in phase.sayings(is_a) {
                    if *say != Say::NewInvite {
                        one(&mut tally, &snapshot, (way, a, b), is_a, own, phase, *say);
                    }
                }
            }
        }
    });
    tally.finish(8775, 3159);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), is_a: bool, own: Kind, phase: Phase, say: Say) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: a colleague of kind {own:?} says {say:?}, {phase:?}");
    let mut stage = Stage::new(snapshot);
    let scene = Scene::set(&mut stage, way, phase);
    let colleague = if is_a { Router } else { Server };
    let flow = stage.flow_by(own.transport, colleague, Proof::Of(colleague));
    let words = scene.words(&mut stage, is_a, say, &flow);
    stage.say(&flow, &words);
    tally.up += u64::from(scene.goes_on(&mut stage));
    tally.state(stage, what);
}
