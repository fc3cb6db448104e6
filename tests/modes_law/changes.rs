//! What happens in a call that is up: re-INVITE and UPDATE from either side with every offer and every answer, hold, and refreshes of the session.

use std::time::Duration;

use crate::play::{self, Up, Way, each_call, is_protected};
use crate::profiles::{ANSWERS, Answer, Delayed, OFFERS, Offer, held};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, Snapshot, most_legs};

pub const METHODS: [&str; 2] = ["INVITE", "UPDATE"];

/// Complete: 50 pairs of legs x re-INVITE or UPDATE x side x 15 offers x, where the offer goes on, 13 answers.
#[test]
fn no_change_of_a_session_lowers_a_leg() {
    let mut tally = Tally::new("changes");
    each_call(most_legs(), |way, a, b, snapshot| {
        for method in METHODS {
            for by_a in [true, false] {
                for offer in OFFERS {
                    for answer in ANSWERS {
                        if !one(&mut tally, snapshot, (way, a, b), (method, by_a), offer, answer) {
                            break;
                        }
                    }
                }
            }
        }
    });
    tally.finish(15_240, 5544);
}

/// False: the offer was not carried on, so that no answer matters.
pub fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), (method, by_a): (&str, bool), offer: Offer, answer: Answer) -> bool {
    let what = || format!("{way:?}, A {a:?}, B {b:?}, {method} by {}, {offer:?}, {answer:?}", if by_a { "A" } else { "B" });
    let mut stage = Stage::new(snapshot);
    let mut call = play::up(&mut stage, way);
    let (mine, theirs) = if by_a { (a, b) } else { (b, a) };
    let (asker, other) = call.side(by_a);
    let number = stage.number();
    let offered = offer.text(asker.party, number);
    asker.say(&mut stage, method, "", &offered);
    let Some(carried) = stage.request_to(other.party, method) else {
        // An UPDATE without a description, or one that repeats what was said, is answered here.
        let status = stage.final_to(asker.party).map_or(0, |sent| sent.status());
        let expected = if offer == Delayed { status == 200 && method == "UPDATE" } else { status == 488 && !offer.is_lawful(mine) };
        tally.expect(expected, &stage, || format!("status {status}: {}", what()));
        tally.expect(is_protected(&stage, a, b), &stage, || format!("media after a refusal: {}", what()));
        tally.state(stage, what);
        return false;
    };
    // A stream once agreed may be switched off.
    let allowed = offer.is_lawful(mine) || offer == Offer::Off;
    tally.expect(allowed, &stage, || format!("an unlawful offer went on: {}", what()));
    let number = stage.number();
    let body = match offer {
        Delayed => answer_as_offer(answer, theirs).text(other.party, number),
        _ => answer.text(other.party, theirs, carried.body(), number),
    };
    let other = other.clone();
    other.reply(&mut stage, &carried, 200, "", &body);
    let answered = stage.final_to(asker.party);
    if let (Some(answered), "INVITE") = (&answered, method) {
        let mut asker = asker.clone();
        let number = stage.number();
        let body = if offer == Delayed { Answer::Good.text(asker.party, mine, answered.body(), number) } else { String::new() };
        asker.ack(&mut stage, &body);
    }
    let went_well = answered.is_some_and(|sent| sent.status() == 200);
    let still_up = stage.records().is_empty() && stage.calls() == 1 && stage.sent.iter().all(|sent| sent.method() != "BYE");
    if offer != Delayed {
        tally.expect(went_well == answer.is_lawful(theirs) && went_well == still_up, &stage, || format!("200: {went_well}, up: {still_up}: {}", what()));
    }
    if still_up {
        tally.up += 1;
        let is_off = offer == Offer::Off || answer == Answer::Declined;
        tally.expect(is_off || is_protected(&stage, a, b), &stage, || format!("media after a change: {:?}: {}", stage.observer.sides(), what()));
    }
    tally.state(stage, what);
    true
}

/// An empty re-INVITE is answered with an offer: as many of them as there are answers.
fn answer_as_offer(answer: Answer, leg: Kind) -> Offer {
    let index = ANSWERS.iter().position(|other| *other == answer).unwrap_or(0);
    if index == 0 { Offer::proper(leg) } else { OFFERS[index] }
}

/// What was before, so that the next change starts from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Before {
    Hold,
    SwitchedOff,
    Refused,
    Glare,
    OtherKeys,
}

const BEFORES: [Before; 5] = [Before::Hold, Before::SwitchedOff, Before::Refused, Before::Glare, Before::OtherKeys];

/// Complete, over most legs: what was before x its side x re-INVITE or UPDATE x side x 8 offers, answered well.
#[test]
fn one_change_after_another_lowers_no_leg() {
    let mut tally = Tally::new("changes after changes");
    let next = [Offer::Avp, Offer::Savp, Offer::SavpManyLines, Offer::AvpWithKey, Offer::AvpThenSavp, Offer::SavpThenAvp, Offer::Off, Delayed];
    each_call(most_legs(), |way, a, b, snapshot| {
        for before in BEFORES {
            for first_by_a in [true, false] {
                for method in METHODS {
                    for by_a in [true, false] {
                        for offer in next {
                            let what = || format!("{way:?}, A {a:?}, B {b:?}, {before:?} by A {first_by_a}, then {method} by A {by_a}: {offer:?}");
                            let mut stage = Stage::new(snapshot);
                            let mut call = play::up(&mut stage, way);
                            set_out(&mut stage, &mut call, before, first_by_a, (a, b));
                            exchange(&mut stage, &mut call, method, by_a, (a, b), offer, 200);
                            tally.up += u64::from(stage.calls() == 1);
                            tally.state(stage, what);
                        }
                    }
                }
            }
        }
    });
    tally.finish(16_000, 5760);
}

fn set_out(stage: &mut Stage, call: &mut Up, before: Before, by_a: bool, legs: (Kind, Kind)) {
    let mine = if by_a { legs.0 } else { legs.1 };
    match before {
        Before::Hold => {
            let party = if by_a { call.a.party } else { call.b.party };
            let number = stage.number();
            let text = held(&Offer::proper(mine).text(party, number));
            say_and_answer(stage, call, "INVITE", by_a, legs, &text, 200);
        }
        Before::SwitchedOff => exchange(stage, call, "INVITE", by_a, legs, Offer::Off, 200),
        Before::Refused => exchange(stage, call, "INVITE", by_a, legs, Offer::proper(mine), 488),
        Before::Glare => exchange(stage, call, "UPDATE", by_a, legs, Offer::proper(mine), 491),
        Before::OtherKeys => exchange(stage, call, "INVITE", by_a, legs, Offer::proper(mine), 200),
    }
}

/// One offer and, where it goes on, a good answer (or the refusal `status`).
fn exchange(stage: &mut Stage, call: &mut Up, method: &str, by_a: bool, legs: (Kind, Kind), offer: Offer, status: u16) {
    let party = if by_a { call.a.party } else { call.b.party };
    let number = stage.number();
    let text = offer.text(party, number);
    say_and_answer(stage, call, method, by_a, legs, &text, status);
}

fn say_and_answer(stage: &mut Stage, call: &mut Up, method: &str, by_a: bool, legs: (Kind, Kind), text: &str, status: u16) {
    let (mine, theirs) = if by_a { legs } else { (legs.1, legs.0) };
    let (asker, other) = call.side(by_a);
    asker.say(stage, method, "", text);
    if let Some(carried) = stage.request_to(other.party, method) {
        let number = stage.number();
        let body = match (status, text.is_empty()) {
            (200, true) => Offer::proper(theirs).text(other.party, number),
            (200, false) => Answer::Good.text(other.party, theirs, carried.body(), number),
            _ => String::new(),
        };
        other.reply(stage, &carried, status, "", &body);
    }
    let Some(answered) = stage.final_to(asker.party) else { return };
    if method != "INVITE" {
        return;
    }
    if answered.status() >= 300 {
        return asker.ack_refusal(stage, &answered);
    }
    let number = stage.number();
    let body = if text.is_empty() { Answer::Good.text(asker.party, mine, answered.body(), number) } else { String::new() };
    asker.ack(stage, &body);
    stage.request_to(other.party, "ACK");
}

/// Complete: 50 pairs of legs x refresh by UPDATE or re-INVITE of ours x both sides x 13 answers, over an open connection or a new one.
#[test]
fn a_refresh_of_the_session_says_what_was_agreed() {
    let mut tally = Tally::new("refreshes");
    each_call(most_legs(), |way, a, b, snapshot| {
        for updates in [true, false] {
            for at_a in [true, false] {
                for is_closed in [false, true] {
                    for answer in ANSWERS {
                        if updates && answer != Answer::Good && answer != Answer::Rtp {
                            continue;
                        }
                        let what = || format!("{way:?}, A {a:?}, B {b:?}, refresh at A {at_a}, UPDATE {updates}, {answer:?}, closed {is_closed}");
                        let mut stage = Stage::new(snapshot);
                        refresh(&mut stage, way, (a, b), updates, at_a, is_closed, answer);
                        let is_up = stage.calls() == 1 && stage.records().is_empty() && stage.sent.iter().all(|sent| sent.method() != "BYE");
                        tally.up += u64::from(is_up);
                        // An answer to an UPDATE without a description means nothing; what cannot be read of one to a re-INVITE neither.
                        let lawful = updates || answer == Answer::NoBody || answer.is_lawful(if at_a { a } else { b });
                        tally.expect(is_up == lawful, &stage, || format!("up: {is_up}: {}", what()));
                        let fine = !is_up || answer == Answer::Declined || is_protected(&stage, a, b);
                        tally.expect(fine, &stage, || format!("media after a refresh: {:?}: {}", stage.observer.sides(), what()));
                        tally.state(stage, what);
                    }
                }
            }
        }
    });
    tally.finish(3000, 1080);
}

fn refresh(stage: &mut Stage, way: Way, legs: (Kind, Kind), updates: bool, at_a: bool, is_closed: bool, answer: Answer) {
    let flow = stage.flow(way.caller());
    let mut a = Talk::caller(stage, &flow, way.caller());
    let few = "Allow: INVITE, ACK, CANCEL, BYE\r\n";
    if !updates {
        a.extra = few.into();
    }
    // Either peer leaves refreshing to us.
    let asks = "Supported: timer\r\nSession-Expires: 1800;refresher=uas\r\n";
    let mut ringing = play::call_by(stage, a, way, Offer::proper(legs.0), asks).unwrap_or_else(|status| panic!("refused, {status}"));
    if !updates {
        ringing.b.extra = few.into();
    }
    let text = ringing.answer_text(stage, Answer::Good);
    let agrees = "Require: timer\r\nSession-Expires: 1800;refresher=uac\r\n";
    let Ok(mut call) = ringing.answered_with(stage, agrees, &text) else { panic!("not answered\n{}", stage.ladder()) };
    if is_closed {
        let flow = if at_a { call.a.flow.clone() } else { call.b.flow.clone() };
        stage.close(&flow);
    }
    stage.pass(Duration::from_secs(905));
    let leg = if at_a { legs.0 } else { legs.1 };
    let (this, _) = call.side(at_a);
    let request = stage.request_to(this.party, if updates { "UPDATE" } else { "INVITE" });
    let request = request.unwrap_or_else(|| panic!("no refresh\n{}", stage.ladder()));
    let number = stage.number();
    let body = answer.text(this.party, leg, request.body(), number);
    this.reply(stage, &request, 200, agrees, &body);
}
