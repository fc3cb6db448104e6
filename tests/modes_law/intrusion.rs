//! A call at one moment of its life, and what somebody may say about it who should not: a stranger, another peer, or its own peer by another way.

use std::sync::Arc;

use portcullis::policy::flow::Flow;

use crate::play::{self, Ringing, Way, is_protected};
use crate::profiles::{Answer, Delayed, Offer};
use crate::stage::{Sent, Stage};
use crate::talk::{Talk, response};
use crate::world::{Kind, Party};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// The called side has rung.
    Ringing,
    Up,
    /// The called side has made an offer in its 200; the caller's ACK is to bring the answer.
    LateOffer,
    /// A re-INVITE of the caller has been carried on and waits for its answer.
    Changing,
}

pub const PHASES: [Phase; 4] = [Phase::Ringing, Phase::Up, Phase::LateOffer, Phase::Changing];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Say {
    NewInvite,
    /// The caller's own INVITE, byte for byte; then with another branch.
    SameInvite,
    SameInviteOtherBranch,
    Cancel,
    Prack,
    /// An ACK with an answer in it.
    Ack,
    Bye,
    Reinvite,
    Update,
    Info,
    Refer,
    Options,
    /// Responses to our INVITE.
    Progress,
    Accept,
    Redirect,
    Busy,
}

impl Phase {
    /// What can be said at this moment on a side.
    pub fn sayings(self, is_a: bool) -> &'static [Say] {
        use Say::*;
        match (self, is_a) {
            (Phase::Ringing, true) => &[NewInvite, SameInvite, SameInviteOtherBranch, Cancel, Prack, Bye, Update],
            (Phase::Ringing, false) => &[Progress, Accept, Redirect, Busy, Bye, Update],
            (Phase::Up, _) => &[Bye, Reinvite, Update, Info, Refer, Options, Ack],
            (Phase::LateOffer, true) => &[Ack, SameInvite, Cancel, Bye],
            (Phase::LateOffer, false) => &[Accept, Bye, Update],
            (Phase::Changing, true) => &[Cancel, Bye, Update],
            (Phase::Changing, false) => &[Accept, Busy, Bye],
        }
    }
}

pub struct Scene {
    pub phase: Phase,
    pub way: Way,
    pub a: Talk,
    pub b: Talk,
    legs: (Kind, Kind),
    /// The caller's INVITE, and ours.
    asked: String,
    invite: Sent,
    /// Our 200 to the caller, where it waits for its ACK.
    accepted: Option<Sent>,
    /// Our re-INVITE to the called side.
    carried: Option<Sent>,
}

impl Scene {
    pub fn set(stage: &mut Stage, way: Way, phase: Phase) -> Scene {
        let leg = |stage: &Stage, party| Kind { mode: stage.world.demanded(party), ..stage.world.kind(party) };
        let legs = (leg(stage, way.caller()), leg(stage, way.called()));
        let offer = if phase == Phase::LateOffer { Delayed } else { Offer::proper(legs.0) };
        let ringing = play::call(stage, way, offer).unwrap_or_else(|status| panic!("refused, {status}\n{}", stage.ladder()));
        let (asked, invite) = (ringing.asked.clone(), ringing.invite.clone());
        ringing.b.reply(stage, &invite, 180, "", "");
        let early = stage.take(way.caller(), |sent| sent.status() == 180);
        let mut scene = Scene { phase, way, a: ringing.a.clone(), b: ringing.b.clone(), legs, asked, invite, accepted: None, carried: None };
        if let Some(early) = early {
            scene.a.learn(&early);
        }
        match phase {
            Phase::Ringing => {}
            Phase::LateOffer => {
                let text = ringing.answer_text(stage, Answer::Good);
                ringing.b.reply(stage, &scene.invite.clone(), 200, "", &text);
                scene.accepted = stage.final_to(way.caller());
            }
            Phase::Up | Phase::Changing => {
                let text = ringing.answer_text(stage, Answer::Good);
                let Ok(up) = ringing.answered(stage, &text) else { panic!("not answered\n{}", stage.ladder()) };
                (scene.a, scene.b) = (up.a, up.b);
                if phase == Phase::Changing {
                    let number = stage.number();
                    let offer = Offer::proper(legs.0).text(way.caller(), number);
                    scene.a.say(stage, "INVITE", "", &offer);
                    scene.carried = stage.request_to(way.called(), "INVITE");
                }
            }
        }
        scene
    }

    /// The words, as the party of a side would have said them over `flow`.
    pub fn words(&self, stage: &mut Stage, is_a: bool, say: Say, flow: &Arc<Flow>) -> String {
        let mut talk = if is_a { self.a.clone() } else { self.b.clone() };
        talk.flow = flow.clone();
        talk.cseq += 20;
        let leg = if is_a { self.legs.0 } else { self.legs.1 };
        let number = stage.number();
        let answered = self.carried.as_ref().unwrap_or(&self.invite);
        let answer = || Answer::Good.text(self.b.party, leg, answered.body(), number);
        let offer = || Offer::proper(leg).text(talk.party, number);
        match say {
            Say::NewInvite => {
                let mut caller = Talk::caller(stage, flow, talk.party);
                caller.request(stage, "INVITE", "", &offer())
            }
            Say::SameInvite => self.asked.clone(),
            Say::SameInviteOtherBranch => self.asked.replace("branch=z9hG4bK", "branch=z9hG4bKother"),
            Say::Cancel => {
                // In the INVITE's own transaction.
                let via = self.asked.split("\r\n").nth(1).unwrap_or_default();
                talk.cseq -= 20;
                let text = talk.text("CANCEL", "x", "", "");
                let old = text.split("\r\n").nth(1).unwrap_or_default().to_owned();
                if self.phase == Phase::Changing { self.a.text("CANCEL", &self.a.branch, "", "") } else { text.replacen(&old, via, 1) }
            }
            Say::Prack => talk.request(stage, "PRACK", "RAck: 1 1 INVITE\r\n", ""),
            Say::Ack => {
                talk.cseq -= 20;
                let body = self.accepted.as_ref().map_or_else(String::new, |accepted| Answer::Good.text(talk.party, leg, accepted.body(), number));
                let branch = format!("z9hG4bKack{number}");
                talk.text("ACK", &branch, "", &body)
            }
            Say::Bye => talk.request(stage, "BYE", "", ""),
            Say::Reinvite => talk.request(stage, "INVITE", "", &offer()),
            Say::Update => talk.request(stage, "UPDATE", "", &offer()),
            Say::Info => talk.request(stage, "INFO", "", ""),
            Say::Refer => talk.request(stage, "REFER", "Refer-To: <sip:1001@server.test>\r\n", ""),
            Say::Options => talk.request(stage, "OPTIONS", "", ""),
            Say::Progress => self.b.response(answered, 183, "", &answer()),
            Say::Accept => {
                let body = if self.invite.body().is_empty() { offer() } else { answer() };
                self.b.response(answered, 200, "", &body)
            }
            Say::Redirect => response(answered, 302, "b1", "Contact: <sip:1000@server.test>\r\n", ""),
            Say::Busy => response(answered, 486, "b1", "", ""),
        }
    }

    /// The call goes on as if nothing had been. True: it came up, or stayed so, and each leg is what it has to be.
    pub fn goes_on(mut self, stage: &mut Stage) -> bool {
        match self.phase {
            Phase::Up => {}
            Phase::Ringing => {
                let ringing = Ringing { a: self.a.clone(), b: self.b.clone(), invite: self.invite.clone(), asked: String::new(), offered: true };
                let text = ringing.answer_text(stage, Answer::Good);
                if ringing.answered(stage, &text).is_err() {
                    return false;
                }
            }
            Phase::LateOffer => {
                let Some(accepted) = self.accepted.clone() else { return false };
                self.a.learn(&accepted);
                let number = stage.number();
                let body = Answer::Good.text(self.a.party, self.legs.0, accepted.body(), number);
                self.a.ack(stage, &body);
            }
            Phase::Changing => {
                let Some(carried) = self.carried.clone() else { return false };
                let number = stage.number();
                let body = Answer::Good.text(self.b.party, self.legs.1, carried.body(), number);
                self.b.reply(stage, &carried, 200, "", &body);
                self.a.ack(stage, "");
            }
        }
        let no_bye = stage.sent.iter().all(|sent| !matches!(sent.method(), "BYE" | "CANCEL"));
        stage.calls() == 1 && no_bye && stage.is_answered() && is_protected(stage, self.legs.0, self.legs.1)
    }

    pub fn party(&self, is_a: bool) -> Party {
        if is_a { self.way.caller() } else { self.way.called() }
    }
}
