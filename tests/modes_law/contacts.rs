//! Where a dialog's next request goes: a Contact or a Record-Route may name any place, but a leg stays with its peer and on its transport.

use crate::play::{self, Way, each_call};
use crate::profiles::{Answer, Offer};
use crate::stage::{Stage, Tally};
use crate::talk::{ALLOW, Talk};
use crate::world::{Kind, Snapshot, most_legs};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    StrangersName,
    StrangersAddress,
    /// Another peer's.
    PeersAddress,
    OtherPort,
    Sips,
    OverUdp,
    OverTcp,
    Maddr,
    RecordRouteStranger,
    RecordRoutePeer,
    RecordRouteStrict,
}

const PLACES: [Place; 11] = [
    Place::StrangersName,
    Place::StrangersAddress,
    Place::PeersAddress,
    Place::OtherPort,
    Place::Sips,
    Place::OverUdp,
    Place::OverTcp,
    Place::Maddr,
    Place::RecordRouteStranger,
    Place::RecordRoutePeer,
    Place::RecordRouteStrict,
];

impl Place {
    fn put(self, talk: &mut Talk) {
        let own = talk.party.address();
        let contact = match self {
            Place::StrangersName => "<sip:x@stranger.test;transport=udp>".into(),
            Place::StrangersAddress => "<sip:x@203.0.113.66:5060>".into(),
            Place::PeersAddress => "<sip:x@192.0.2.11:5060>".into(),
            Place::OtherPort => format!("<sip:x@{own}:7000>"),
            Place::Sips => format!("<sips:x@{own}>"),
            Place::OverUdp => format!("<sip:x@{own};transport=udp>"),
            Place::OverTcp => format!("<sip:x@{own};transport=tcp>"),
            Place::Maddr => format!("<sip:x@{own};maddr=203.0.113.66>"),
            Place::RecordRouteStranger | Place::RecordRoutePeer | Place::RecordRouteStrict => {
                let route = match self {
                    Place::RecordRouteStranger => "<sip:203.0.113.66;lr>",
                    Place::RecordRoutePeer => "<sip:192.0.2.11;lr;transport=udp>",
                    _ => "<sip:203.0.113.66>",
                };
                talk.extra = format!("{ALLOW}Record-Route: {route}\r\n");
                return;
            }
        };
        talk.contact = contact;
    }
}

/// Complete, over most legs: both sides x 11 places x named at the beginning or by a re-INVITE x connection open or gone.
#[test]
fn no_contact_leads_a_leg_astray() {
    let mut tally = Tally::new("contacts");
    each_call(most_legs(), |way, a, b, snapshot| {
        for is_a in [true, false] {
            for place in PLACES {
                for later in [false, true] {
                    for is_closed in [false, true] {
                        one(&mut tally, snapshot, (way, a, b), is_a, place, later, is_closed);
                    }
                }
            }
        }
    });
    tally.finish(4400, 1584);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), is_a: bool, place: Place, later: bool, is_closed: bool) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: side A {is_a} names {place:?}, later {later}, closed {is_closed}");
    let mut stage = Stage::new(snapshot);
    let flow = stage.flow(way.caller());
    let mut caller = Talk::caller(&mut stage, &flow, way.caller());
    if is_a && !later {
        place.put(&mut caller);
    }
    let mut ringing = play::call_by(&mut stage, caller, way, Offer::proper(a), "").unwrap_or_else(|status| panic!("refused, {status}: {}", what()));
    if !is_a && !later {
        place.put(&mut ringing.b);
    }
    let text = ringing.answer_text(&mut stage, Answer::Good);
    let Ok(mut call) = ringing.answered(&mut stage, &text) else { panic!("not answered: {}\n{}", what(), stage.ladder()) };
    if later {
        place.put(call.side(is_a).0);
        change(&mut stage, &mut call, is_a, if is_a { a } else { b }, if is_a { b } else { a });
    }
    if is_closed {
        let flow = call.side(is_a).0.flow.clone();
        stage.close(&flow);
    }
    // Now this side is to be reached: by a re-INVITE, and at the end by a BYE.
    change(&mut stage, &mut call, !is_a, if is_a { b } else { a }, if is_a { a } else { b });
    tally.up += u64::from(stage.calls() == 1);
    tally.expect(stage.calls() == 1, &stage, || format!("the call has ended: {}", what()));
    tally.state(stage, what);
}

fn change(stage: &mut Stage, call: &mut play::Up, by_a: bool, mine: Kind, theirs: Kind) {
    let (asker, other) = call.side(by_a);
    let number = stage.number();
    let offer = Offer::proper(mine).text(asker.party, number);
    asker.say(stage, "INVITE", "", &offer);
    if let Some(carried) = stage.request_to(other.party, "INVITE") {
        let number = stage.number();
        let answer = Answer::Good.text(other.party, theirs, carried.body(), number);
        other.reply(stage, &carried, 200, "", &answer);
    }
    if stage.final_to(asker.party).is_some() {
        asker.ack(stage, "");
    }
}
