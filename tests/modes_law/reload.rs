//! The policy set changes under a call: its peer is set to another mode or transport, its plan is raised or lowered. What the call was admitted as,
//! it stays; a peer that now comes by a weaker way is not heard on a stronger leg, and nothing of that leg goes to it.

use std::sync::Arc;

use portcullis::policy::flow::Flow;
use portcullis::signaling::settings::{RemovedPeers, Settings};

use crate::intrusion::{PHASES, Phase, Say, Scene};
use crate::play::{WAYS, Way, each_call};
use crate::profiles::Offer;
use crate::stage::{Stage, Tally};
use crate::world::{Kind, Proof, Snapshot, TRANSPORTS, Tls, Unsecured, kind, most_legs, new_kinds, settings};

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

/// Complete, over most legs: both sides x 10 new kinds (where not everything is played, 6) of that side's peer (on the UM side with the plan) x moment x way x what can be said then.
#[test]
fn a_call_keeps_what_it_was_admitted_as() {
    let mut tally = Tally::new("reloads");
    each_call(most_legs(), |way, a, b, snapshot| {
        for is_a in [true, false] {
            for new in new_kinds().into_iter().chain([Kind { mutual: false, ..kind(Unsecured, Tls) }]) {
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
    tally.finish(42_000, 9360);
}

/// A leg that moved from TCP to UDP sent datagrams from the TCP listener, and one that moved to TLS showed another listener's certificate.
#[test]
fn a_leg_that_moves_speaks_from_the_listener_of_its_transport() {
    let mut tally = Tally::new("moves");
    for way in WAYS {
        for is_a in [true, false] {
            for before in TRANSPORTS {
                for now in TRANSPORTS {
                    let (old, new) = (kind(Unsecured, before), kind(Unsecured, now));
                    let snapshot = Snapshot::new(1, way.world(old, old));
                    let mut stage = Stage::new(&snapshot);
                    let scene = Scene::set(&mut stage, way, Phase::Up);
                    let mut world = (*snapshot.world).clone();
                    world.set_kind(scene.party(is_a), new);
                    stage.reload(&Snapshot::new(2, world));
                    let (mut mover, mut other) = if is_a { (scene.a, scene.b) } else { (scene.b, scene.a) };
                    mover.flow = stage.flow(mover.party);
                    mover.say(&mut stage, "UPDATE", "", "");
                    stage.close(&mover.flow);
                    other.say(&mut stage, "INFO", "", "");
                    let what = || format!("{way:?}: side A {is_a} moves from {before} to {now}");
                    let asked = stage.request_to(mover.party, "INFO").map(|sent| sent.flow.transport);
                    tally.expect(asked == Some(now), &stage, || format!("asked over {asked:?}: {}", what()));
                    tally.up += 1;
                    tally.state(stage, what);
                }
            }
        }
    }
    tally.finish(36, 36);
}

/// What becomes of the entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    Is(Kind),
    Disabled,
}

/// Complete, over most legs: both sides x what becomes of that side's peer x moment x calls kept or released. Whatever is said to either leg then, it is
/// said by its own way.
#[test]
fn a_peer_that_goes_takes_no_leg_down_to_its_new_mode() {
    let mut tally = Tally::new("removed peers");
    let entries: Vec<Entry> = new_kinds().into_iter().map(Entry::Is).chain([Entry::Disabled]).collect();
    each_call(most_legs(), |way, a, b, snapshot| {
        for is_a in [true, false] {
            for entry in &entries {
                for phase in PHASES {
                    for removed_peers in [RemovedPeers::KeepCalls, RemovedPeers::ReleaseCalls] {
                        let what = || format!("{way:?}, A {a:?}, B {b:?}: side A {is_a} becomes {entry:?}, {phase:?}, {removed_peers:?}");
                        let mut stage = Stage::with(Arc::new(Settings { removed_peers, ..(*settings()).clone() }), snapshot);
                        let scene = Scene::set(&mut stage, way, phase);
                        let party = scene.party(is_a);
                        let mut world = (*snapshot.world).clone();
                        match entry {
                            Entry::Is(new) => world.set_kind(party, *new),
                            Entry::Disabled => world.disabled = vec![party],
                        }
                        stage.reload(&Snapshot::new(2, world));
                        tally.up += u64::from(scene.goes_on(&mut stage));
                        tally.state(stage, what);
                    }
                }
            }
        }
    });
    tally.finish(8000, 1728);
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
