//! The policy set changes under a call: its peer is set to another mode or transport, its plan is raised or lowered. What the call was admitted as,
//! it stays; a peer that now comes by a weaker way is not heard on a stronger leg, and nothing of that leg goes to it.

use std::sync::Arc;

use portcullis::policy::flow::Flow;

use crate::intrusion::{PHASES, Phase, Say, Scene};
use crate::play::{MOST_CALLS, Way, each_call};
use crate::profiles::Offer;
use crate::stage::{Stage, Tally};
use crate::world::{Kind, Proof, Snapshot, Tls, Unsecured, kind, kinds, most_legs};

/// By which way the peer speaks after the change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    /// The connection (or address) it had.
    Before,
    /// The way the policy set has for it now.
    Now,
    /// The same, without a certificate.
    NowUnproven,
}

/// Complete, over most legs: both sides x 10 new kinds of that side's peer (on the UM side with the plan) x moment x way x what can be said then.
#[test]
fn a_call_keeps_what_it_was_admitted_as() {
    let mut tally = Tally::new("reloads");
    each_call(most_legs(), |way, a, b, snapshot| {
        for is_a in [true, false] {
            for new in kinds().chain([Kind { mutual: false, ..kind(Unsecured, Tls) }]) {
                for phase in PHASES {
                    for say in phase.sayings(is_a) {
                        for by in [By::Before, By::Now, By::NowUnproven] {
                            if by != By::NowUnproven || !new.mutual {
                                one(&mut tally, snapshot, (way, a, b), is_a, new, phase, *say, by);
                            }
                        }
                    }
                }
            }
        }
    });
    tally.finish(MOST_CALLS * (21 + 19) * (10 * 2 + 1));
}

#[allow(clippy::too_many_arguments)]
fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), is_a: bool, new: Kind, phase: Phase, say: Say, by: By) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: side A {is_a} becomes {new:?} and says {say:?} by {by:?}, {phase:?}");
    let mut stage = Stage::new(snapshot);
    let scene = Scene::set(&mut stage, way, phase);
    let party = scene.party(is_a);
    let mut world = (*snapshot.world).clone();
    world.set_kind(party, new);
    if party.is_um() {
        world.plan = new.mode;
    }
    stage.reload(&Snapshot::new(2, world));
    let before = if is_a { scene.a.flow.clone() } else { scene.b.flow.clone() };
    let flow: Arc<Flow> = match by {
        By::Before => before,
        By::Now => stage.flow_by(new.transport, party, Proof::Of(party)),
        By::NowUnproven => stage.flow_by(new.transport, party, Proof::None),
    };
    let words = scene.words(&mut stage, is_a, say, &flow);
    stage.say(&flow, &words);
    // Whatever came of it: the call goes on if it can, then the other side speaks and the border has to reach this one again.
    let other_leg = if is_a { b } else { a };
    let mut other = if is_a { scene.b.clone() } else { scene.a.clone() };
    scene.goes_on(&mut stage);
    let number = stage.number();
    let offer = Offer::proper(other_leg).text(other.party, number);
    other.cseq += 40;
    other.say(&mut stage, "INVITE", "", &offer);
    tally.up += u64::from(stage.calls() == 1);
    tally.state(stage, what);
}
