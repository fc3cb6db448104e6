//! INFO, the one request whose body crosses unread: digits do, keys do not.

use crate::play::{self, Way, each_call};
use crate::profiles::{Savp, key};
use crate::stage::{Stage, Tally};
use crate::world::{Kind, Snapshot, most_legs};

const TYPES: [&str; 5] =
    ["application/dtmf-relay", "application/dtmf", "application/vnd.nortelnetworks.digits", "application/sdp", "multipart/mixed;boundary=b"];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Body {
    Digit,
    /// A line of a description with a key the peer uses.
    CryptoLine,
    /// The key alone.
    BareKey,
    Description,
    Part,
}

const BODIES: [Body; 5] = [Body::Digit, Body::CryptoLine, Body::BareKey, Body::Description, Body::Part];

/// Complete: 50 pairs of legs x side x 5 types x 5 bodies.
#[test]
fn digits_cross_and_no_key_does() {
    let mut tally = Tally::new("digits");
    each_call(most_legs(), |way, a, b, snapshot| {
        for by_a in [true, false] {
            for kind in TYPES {
                for body in BODIES {
                    one(&mut tally, snapshot, (way, a, b), by_a, kind, body);
                }
            }
        }
    });
    tally.finish(2500, 900);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), by_a: bool, kind: &str, body: Body) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: INFO by A {by_a}, {kind}, {body:?}");
    let mut stage = Stage::new(snapshot);
    let mut call = play::up(&mut stage, way);
    let (asker, other) = call.side(by_a);
    let number = stage.number();
    // A key of its own, said over its own leg where that is protected, and so known as one.
    let description = Savp.text(asker.party, number);
    let secret = key(asker.party, number * 8 + 1);
    let text = match body {
        Body::Digit => "Signal=5\r\nDuration=160\r\n".into(),
        Body::CryptoLine => format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{secret}\r\n"),
        Body::BareKey => format!("{secret}\r\n"),
        Body::Description => description.clone(),
        Body::Part => format!("--b\r\nContent-Type: application/sdp\r\n\r\n{description}--b--\r\n"),
    };
    asker.say(&mut stage, "UPDATE", "", &description);
    if let Some(carried) = stage.request_to(other.party, "UPDATE") {
        other.reply(&mut stage, &carried, 488, "", "");
    }
    stage.sent.clear();
    let info = asker.request(&mut stage, "INFO", &format!("Content-Type: {kind}\r\n"), &text).replacen("Content-Type: application/sdp\r\n", "", 1);
    stage.say(&asker.flow.clone(), &info);
    let crossed = stage.request_to(other.party, "INFO").is_some();
    let is_digits = TYPES[..3].contains(&kind) && body == Body::Digit;
    tally.expect(crossed == is_digits, &stage, || format!("crossed: {crossed}: {}", what()));
    tally.up += u64::from(stage.calls() == 1);
    tally.state(stage, what);
}
