//! T.38 fax: UDPTL has no protection that SDES could key, so it is carried between two legs that need none and nowhere else, whoever offers it, when,
//! and in what form; what is refused leaves the call as it was.

use crate::play::{self, Way, each_call, is_protected};
use crate::profiles::{described, key};
use crate::stage::{Stage, Tally};
use crate::talk::Talk;
use crate::world::{Kind, Party, Secured, Snapshot, most_legs};

/// How a fax is offered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Form {
    InPlace,
    /// On a line of its own, the sound off.
    Beside,
    /// With an `a=crypto` line, as if that protected it.
    WithKey,
    /// Under the name of DTLS, which is not spoken.
    OverDtls,
}

const FORMS: [Form; 4] = [Form::InPlace, Form::Beside, Form::WithKey, Form::OverDtls];

impl Form {
    fn text(self, party: Party, number: u64) -> String {
        let fax = "m=image 4004 udptl t38\r\na=T38FaxVersion:0\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n";
        let lines = match self {
            Form::InPlace => fax.to_owned(),
            Form::Beside => format!("m=audio 0 RTP/AVP 8\r\n{fax}"),
            Form::WithKey => format!("{fax}a=crypto:1 {} inline:{}\r\n", crate::profiles::SUITE_80, key(party, number * 8)),
            Form::OverDtls => fax.replace("udptl", "UDP/TLS/UDPTL"),
        };
        described(party, number, &lines)
    }

    /// Between these legs: `mine` is the offerer's.
    fn is_lawful(self, mine: Kind, theirs: Kind) -> bool {
        let clear = mine.mode < Secured && theirs.mode < Secured;
        clear && (self != Form::WithKey || mine.transport == portcullis::sip::Transport::Tls) && self != Form::OverDtls
    }
}

/// How it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reply {
    Fax,
    /// UM's way before it refers the caller to a fax server.
    Hold,
    Declined,
    Refused,
    /// An answer of another kind is none.
    Sound,
    ProtectedSound,
}

const REPLIES: [Reply; 6] = [Reply::Fax, Reply::Hold, Reply::Declined, Reply::Refused, Reply::Sound, Reply::ProtectedSound];

impl Reply {
    fn text(self, party: Party, number: u64) -> String {
        let lines = match self {
            Reply::Fax => "m=image 6004 udptl t38\r\n".to_owned(),
            Reply::Hold => "m=image 6004 udptl t38\r\na=inactive\r\n".to_owned(),
            Reply::Declined => "m=image 0 udptl t38\r\n".to_owned(),
            Reply::Refused => return String::new(),
            Reply::Sound => "m=audio 6004 RTP/AVP 8\r\n".to_owned(),
            Reply::ProtectedSound => {
                format!("m=audio 6004 RTP/SAVP 8\r\na=crypto:1 {} inline:{}\r\n", crate::profiles::SUITE_80, key(party, number * 8))
            }
        };
        described(party, number, &lines)
    }
}

/// Complete: legs x direction x re-INVITE or UPDATE x side x 4 forms x, where the offer goes on, 6 answers.
#[test]
fn a_fax_lowers_no_leg() {
    let mut tally = Tally::new("faxes");
    each_call(most_legs(), |way, a, b, snapshot| {
        for method in ["INVITE", "UPDATE"] {
            for by_a in [true, false] {
                for form in FORMS {
                    for reply in REPLIES {
                        if !change(&mut tally, snapshot, (way, a, b), (method, by_a), form, reply) {
                            break;
                        }
                    }
                }
            }
        }
    });
    tally.finish(1_520, 520);
}

/// False: the offer was not carried on, so that no answer matters.
fn change(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), (method, by_a): (&str, bool), form: Form, reply: Reply) -> bool {
    let what = || format!("{way:?}, A {a:?}, B {b:?}, {method} by A {by_a}, {form:?}, {reply:?}");
    let mut stage = Stage::new(snapshot);
    let mut call = play::up(&mut stage, way);
    let (mine, theirs) = if by_a { (a, b) } else { (b, a) };
    let (asker, other) = call.side(by_a);
    let number = stage.number();
    asker.say(&mut stage, method, "", &form.text(asker.party, number));
    let Some(carried) = stage.request_to(other.party, method) else {
        let status = stage.final_to(asker.party).map_or(0, |sent| sent.status());
        tally.expect(status == 488 && !form.is_lawful(mine, theirs), &stage, || format!("status {status}: {}", what()));
        tally.expect(stage.calls() == 1 && is_protected(&stage, a, b), &stage, || format!("the sound does not go on: {}", what()));
        tally.up += 1;
        tally.state(stage, what);
        return false;
    };
    tally.expect(form.is_lawful(mine, theirs), &stage, || format!("an unlawful fax went on: {}", what()));
    let number = stage.number();
    let status = if reply == Reply::Refused { 488 } else { 200 };
    let other = other.clone();
    other.reply(&mut stage, &carried, status, "", &reply.text(other.party, number));
    let answered = stage.final_to(asker.party);
    if let (Some(answered), "INVITE") = (&answered, method) {
        let mut asker = asker.clone();
        if answered.status() == 200 { asker.ack(&mut stage, "") } else { asker.ack_refusal(&mut stage, answered) }
    }
    let is_up = stage.records().is_empty() && stage.calls() == 1 && stage.sent.iter().all(|sent| sent.method() != "BYE");
    let no_answer = matches!(reply, Reply::Sound | Reply::ProtectedSound);
    tally.expect(is_up != no_answer, &stage, || format!("up: {is_up}: {}", what()));
    tally.expect(!is_up || is_protected(&stage, a, b), &stage, || format!("media: {:?}: {}", stage.observer.sides(), what()));
    tally.up += u64::from(is_up);
    tally.state(stage, what);
    true
}

/// Complete: legs x direction x 4 forms: a call that begins as a fax.
#[test]
fn a_call_that_begins_as_a_fax_lowers_no_leg() {
    let mut tally = Tally::new("faxes at once");
    each_call(most_legs(), |way, a, b, snapshot| {
        for form in FORMS {
            let what = || format!("{way:?}, A {a:?}, B {b:?}, {form:?}");
            let mut stage = Stage::new(snapshot);
            let flow = stage.flow(way.caller());
            let mut caller = Talk::caller(&mut stage, &flow, way.caller());
            let number = stage.number();
            caller.say(&mut stage, "INVITE", "", &form.text(way.caller(), number));
            match stage.request_to(way.called(), "INVITE") {
                Some(invite) => {
                    tally.expect(form.is_lawful(a, b), &stage, || format!("an unlawful fax went on: {}", what()));
                    let number = stage.number();
                    Talk::callee(&invite, "b1").reply(&mut stage, &invite, 200, "", &Reply::Fax.text(way.called(), number));
                    let status = stage.final_to(way.caller()).map_or(0, |sent| sent.status());
                    tally.expect(status == 200 && is_protected(&stage, a, b), &stage, || format!("status {status}: {}", what()));
                    tally.up += 1;
                }
                None => {
                    let status = stage.final_to(way.caller()).map_or(0, |sent| sent.status());
                    tally.expect(status == 488 && !form.is_lawful(a, b), &stage, || format!("status {status}: {}", what()));
                }
            }
            tally.state(stage, what);
        }
    });
    tally.finish(200, 72);
}
