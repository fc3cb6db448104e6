//! How calls begin: every mode on every transport for trunk and UM side, every plan, with and without interwork, every offer, both directions.

use crate::play::{self, WAYS, Way, is_protected};
use crate::profiles::{Answer, OFFERS};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, MODES, Proof, Snapshot, Tls, Trunk, Unsecured, World, kind, kinds};

/// Complete: 9 trunk kinds x 3 plans x 9 UM kinds x interwork x direction x offer.
#[test]
fn calls_begin_only_where_both_legs_can_be_what_is_demanded() {
    let mut tally = Tally::new("setup");
    for trunk in kinds() {
        for plan in MODES {
            for um in kinds() {
                for interwork in [false, true] {
                    let world = World { interwork: if interwork { vec![Trunk] } else { Vec::new() }, ..World::of(trunk, plan, um) };
                    let snapshot = Snapshot::new(1, world);
                    for way in WAYS {
                        for offer in OFFERS {
                            let what = || format!("trunk {trunk:?}, plan {plan:?}, UM {um:?}, interwork {interwork}, {way:?}, {offer:?}");
                            let mut stage = Stage::new(&snapshot);
                            let world = stage.world.clone();
                            let leg = |party| Kind { mode: world.demanded(party), ..world.kind(party) };
                            let (a, b) = (leg(way.caller()), leg(way.called()));
                            // A UM server that demands more than the plan cannot serve it; calling out, it only raises its own leg.
                            let um_fits = way == Way::Out || um.mode <= plan;
                            let lawful =
                                world.can_carry(way.caller()) && world.can_carry(way.called()) && world.may_meet(Trunk) && um_fits && offer.is_lawful(a);
                            let came_up = play(&mut stage, way, offer);
                            tally.expect(came_up == lawful, &stage, || format!("came up: {came_up}, lawful: {lawful}: {}", what()));
                            if came_up {
                                tally.up += 1;
                                tally.expect(is_protected(&stage, a, b), &stage, || {
                                    format!("media of a call that is up: {:?}: {}", stage.observer.sides(), what())
                                });
                            }
                            tally.state(stage, what);
                        }
                    }
                }
            }
        }
    }
    tally.finish(14_580, 14_580);
}

/// Complete: callers that need no certificate, with the right one, a wrong one and none x both directions x 3 plans x 9 kinds of the other side x 15
/// offers. A plan above Unsecured gives UM's leg its mode, whatever UM is set to.
#[test]
fn who_shows_no_certificate_has_no_protected_leg() {
    let mut tally = Tally::new("certificates");
    let unproven = Kind { mutual: false, ..kind(Unsecured, Tls) };
    for way in WAYS {
        for plan in MODES {
            for other in kinds() {
                let interwork = vec![Trunk];
                let world = match way {
                    Way::In => World { interwork, ..World::of(unproven, plan, other) },
                    Way::Out => World { interwork, ..World::of(other, plan, unproven) },
                };
                let snapshot = Snapshot::new(1, world);
                for proof in [Proof::Of(way.caller()), Proof::None, Proof::WrongCa(way.caller())] {
                    for offer in OFFERS {
                        let what = || format!("{way:?}, plan {plan:?}, other side {other:?}, {proof:?}, {offer:?}");
                        let mut stage = Stage::new(&snapshot);
                        let world = stage.world.clone();
                        let leg = |party| Kind { mode: world.demanded(party), ..world.kind(party) };
                        let known = proof == Proof::Of(way.caller()) || (proof == Proof::None && world.demanded(way.caller()) == Unsecured);
                        let fits = way == Way::Out || other.mode <= plan;
                        let lawful = known && fits && world.can_carry(way.called()) && offer.is_lawful(leg(way.caller()));
                        let flow = stage.flow_by(Tls, way.caller(), proof);
                        let caller = Talk::caller(&mut stage, &flow, way.caller());
                        let came_up = match play::call_by(&mut stage, caller, way, offer, "") {
                            Ok(ringing) => {
                                let answer = ringing.answer_text(&mut stage, Answer::Good);
                                ringing.answered(&mut stage, &answer).is_ok()
                            }
                            Err(_) => false,
                        };
                        tally.expect(came_up == lawful, &stage, || format!("came up: {came_up}, lawful: {lawful}: {}", what()));
                        tally.up += u64::from(came_up);
                        tally.state(stage, what);
                    }
                }
            }
        }
    }
    tally.finish(2430, 2430);
}

pub fn play(stage: &mut Stage, way: Way, offer: crate::profiles::Offer) -> bool {
    let Ok(ringing) = play::call(stage, way, offer) else { return false };
    let answer = ringing.answer_text(stage, Answer::Good);
    ringing.answered(stage, &answer).is_ok()
}
