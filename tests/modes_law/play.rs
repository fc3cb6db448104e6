//! Pieces of calls that the products put together.

use crate::observer::{Guard, SideSeen};
use crate::profiles::{Answer, Offer};
use crate::stage::{Sent, Stage};
use crate::talk::Talk;
use crate::world::{Kind, Party, Router, Secured, Server, Snapshot, Trunk, World};

/// Which side of the border calls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Way {
    /// A trunk calls UM.
    In,
    /// UM calls out.
    Out,
}

pub const WAYS: [Way; 2] = [Way::In, Way::Out];

impl Way {
    pub fn caller(self) -> Party {
        if self == Way::In { Trunk } else { Server }
    }

    pub fn called(self) -> Party {
        if self == Way::In { Router } else { Trunk }
    }

    /// A world in which a call this way has legs of these kinds.
    pub fn world(self, a: Kind, b: Kind) -> World {
        match self {
            Way::In => World::between(a, b),
            Way::Out => World::between(b, a),
        }
    }
}

/// A call whose INVITE has gone on to the called side.
pub struct Ringing {
    pub a: Talk,
    pub b: Talk,
    /// As the called side got it.
    pub invite: Sent,
    /// The caller's INVITE, as it was sent.
    pub asked: String,
    pub offered: bool,
}

/// A call with both legs up.
pub struct Up {
    pub a: Talk,
    pub b: Talk,
}

/// Calls, and finds the INVITE on the other side. `Err`: the status of the refusal.
pub fn call(stage: &mut Stage, way: Way, offer: Offer) -> Result<Ringing, u16> {
    let flow = stage.flow(way.caller());
    let a = Talk::caller(stage, &flow, way.caller());
    call_by(stage, a, way, offer, "")
}

/// The same by a caller with headers of its own.
pub fn call_by(stage: &mut Stage, mut a: Talk, way: Way, offer: Offer, extra: &str) -> Result<Ringing, u16> {
    let flow = a.flow.clone();
    let number = stage.number();
    let body = offer.text(way.caller(), number);
    let asked = a.request(stage, "INVITE", extra, &body);
    stage.say(&flow, &asked);
    let invite = stage.request_to(way.called(), "INVITE");
    match invite {
        Some(invite) => {
            let b = Talk::callee(&invite, "b1");
            Ok(Ringing { a, b, invite, asked, offered: !body.is_empty() })
        }
        None => {
            let refusal = stage.final_to(way.caller());
            let status = refusal.as_ref().map_or(0, Sent::status);
            if let Some(refusal) = refusal {
                a.ack_refusal(stage, &refusal);
            }
            Err(status)
        }
    }
}

impl Ringing {
    /// The body of the called side's 2xx: an answer, or where none was offered an offer.
    pub fn answer_text(&self, stage: &mut Stage, answer: Answer) -> String {
        let number = stage.number();
        let kind = stage.world.kind(self.b.party);
        let leg = Kind { mode: stage.world.demanded(self.b.party), ..kind };
        if self.offered { answer.text(self.b.party, leg, self.invite.body(), number) } else { Offer::proper(leg).text(self.b.party, number) }
    }

    /// The called side answers 200 with `body`, the caller acknowledges. `Err`: the status the caller got instead.
    pub fn answered(self, stage: &mut Stage, body: &str) -> Result<Up, u16> {
        self.answered_with(stage, "", body)
    }

    pub fn answered_with(self, stage: &mut Stage, extra: &str, body: &str) -> Result<Up, u16> {
        self.b.reply(stage, &self.invite.clone(), 200, extra, body);
        self.accepted(stage)
    }

    /// After the called side's 200.
    pub fn accepted(mut self, stage: &mut Stage) -> Result<Up, u16> {
        let answer = stage.final_to(self.a.party);
        match answer {
            Some(answer) if answer.status() == 200 => {
                self.a.learn(&answer);
                let number = stage.number();
                let leg = Kind { mode: stage.world.demanded(self.a.party), ..stage.world.kind(self.a.party) };
                let body = if self.offered { String::new() } else { Answer::Good.text(self.a.party, leg, answer.body(), number) };
                self.a.ack(stage, &body);
                stage.request_to(self.b.party, "ACK");
                Ok(Up { a: self.a, b: self.b })
            }
            other => {
                let status = other.as_ref().map_or(0, Sent::status);
                if let Some(refusal) = other {
                    self.a.ack_refusal(stage, &refusal);
                }
                Err(status)
            }
        }
    }
}

/// A call that came up as it should.
pub fn up(stage: &mut Stage, way: Way) -> Up {
    let leg = Kind { mode: stage.world.demanded(way.caller()), ..stage.world.kind(way.caller()) };
    let ringing = call(stage, way, Offer::proper(leg)).unwrap_or_else(|status| panic!("refused, {status}\n{}", stage.ladder()));
    let answer = ringing.answer_text(stage, Answer::Good);
    ringing.answered(stage, &answer).unwrap_or_else(|status| panic!("not answered, {status}\n{}", stage.ladder()))
}

impl Up {
    pub fn side(&mut self, is_a: bool) -> (&mut Talk, &mut Talk) {
        if is_a { (&mut self.a, &mut self.b) } else { (&mut self.b, &mut self.a) }
    }
}

/// Once a call is up each side takes and sends what its leg's mode says, in both directions.
pub fn is_protected(stage: &Stage, a: Kind, b: Kind) -> bool {
    let shares = a.shares && b.shares;
    let fits = |side: &SideSeen, leg: Kind| {
        [&side.receive, &side.transmit].into_iter().all(|guard| match leg.mode {
            Secured if leg.is_dtls() => matches!(guard, Guard::Dtls(fingerprints) if !fingerprints.is_empty()),
            // What is shared goes out as it came, and what comes in is held against its key in any case.
            Secured if shares && *guard == side.transmit => matches!(guard, Guard::Srtp(_) | Guard::Shared(_)),
            Secured => matches!(guard, Guard::Srtp(_)),
            _ => *guard == Guard::Plain,
        })
    };
    stage.observer.sides().is_some_and(|sides| fits(&sides[0], a) && fits(&sides[1], b))
}

/// Each kind of A leg with each kind of B leg, both directions: 50 calls that can be made with all legs, 18 with the marked ones.
pub fn each_call(legs: &[Kind], mut visit: impl FnMut(Way, Kind, Kind, &Snapshot)) {
    for way in WAYS {
        for a in legs {
            for b in legs {
                visit(way, *a, *b, &Snapshot::new(1, way.world(*a, *b)));
            }
        }
    }
}
