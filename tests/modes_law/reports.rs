//! What operators are shown: the record's line, the metrics and the head of the ladder name the mode each leg had on the wire.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use portcullis::adapters::telemetry::{Anchor, Outlets, Settings, Telemetry, records};
use portcullis::time::Time;

use crate::play::{self, Way, each_call};
use crate::profiles::{Answer, Avp, NoAudio, Offer, Savp};
use crate::stage::{Stage, Tally};
use crate::world::{Kind, Secured, SecurityMode, Tls, Unsecured, most_legs};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Course {
    Answered,
    Declined,
    /// The called side's answer is of the wrong profile.
    WrongAnswer,
    /// The offer is of the wrong profile, so that no other leg is opened.
    WrongOffer,
    NoMedia,
}

const COURSES: [Course; 5] = [Course::Answered, Course::Declined, Course::WrongAnswer, Course::WrongOffer, Course::NoMedia];

fn named(mode: SecurityMode) -> &'static str {
    match mode {
        Unsecured => "unsecured",
        SecurityMode::SipSecured => "sip-secured",
        Secured => "secured",
    }
}

fn anchor() -> Anchor {
    Anchor { time: Time::from_millis(0), wall: SystemTime::UNIX_EPOCH }
}

/// Complete: 50 pairs of legs x 5 courses of the call.
#[test]
fn records_metrics_and_ladders_name_the_mode_of_each_leg() {
    let mut tally = Tally::new("reports");
    let (sink, telemetry) = Telemetry::start(Settings::default(), Outlets::default(), anchor()).unwrap();
    let mut counted: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    each_call(most_legs(), |way, a, b, snapshot| {
        for course in COURSES {
            let what = || format!("{way:?}, A {a:?}, B {b:?}, {course:?}");
            let mut stage = Stage::new(snapshot);
            let has_b = play_course(&mut stage, way, (a, b), course);
            stage.finish();
            let mode_b = if has_b { named(b.mode) } else { "none" };
            *counted.entry((named(a.mode), mode_b)).or_default() += 1;
            let record = stage.records()[0].clone();
            let line: serde_json::Value = serde_json::from_str(&records::line(&record, &anchor())).unwrap();
            let ladder = stage.ladder();
            let mut head = ladder.lines();
            for (leg, name, is_there) in [(a, "a", true), (b, "b", has_b)] {
                let in_record = &line[name];
                if !is_there {
                    tally.expect(in_record.is_null() && !head.clone().any(|line| line.starts_with("leg B")), &stage, || format!("a B leg: {}", what()));
                    continue;
                }
                let protected = course == Course::Answered && leg.mode == Secured;
                let first = head.next().unwrap_or_default();
                let shown = first.contains(&format!(": {}, {}", named(leg.mode), leg.transport))
                    && first.contains("SRTP AES_CM_128_HMAC_SHA1_80") == protected
                    && (leg.transport != Tls || first.contains("TLSv1.3 TLS13_AES_256_GCM_SHA384"));
                tally.expect(shown, &stage, || format!("head of the ladder: {first:?}: {}", what()));
                let written = in_record["mode"] == named(leg.mode)
                    && in_record["transport"] == leg.transport.uri_token()
                    && in_record["srtp_suite"].is_string() == protected
                    && in_record["tls"]["version"].is_string() == (leg.transport == Tls);
                tally.expect(written, &stage, || format!("record: {in_record}: {}", what()));
            }
            stage.facts.iter().for_each(|fact| sink.put(fact.clone()));
            assert!(telemetry.flush(Duration::from_secs(10)));
            tally.up += u64::from(record.answered.is_some());
            tally.state(stage, what);
        }
    });
    let exposition = telemetry.metrics().exposition();
    for ((mode_a, mode_b), calls) in counted {
        let sample = format!("portcullis_calls_total{{mode_a=\"{mode_a}\",mode_b=\"{mode_b}\"}} {calls}\n");
        assert!(exposition.contains(&sample), "{sample} is not in\n{exposition}");
    }
    tally.finish(250, 90);
}

/// True: the called side was asked.
fn play_course(stage: &mut Stage, way: Way, (a, _): (Kind, Kind), course: Course) -> bool {
    let offer = match course {
        Course::WrongOffer => [Savp, Avp][usize::from(a.mode == Secured)],
        Course::NoMedia => NoAudio,
        _ => Offer::proper(a),
    };
    let Ok(ringing) = play::call(stage, way, offer) else { return false };
    let answer = match course {
        Course::Declined => Answer::Declined,
        Course::WrongAnswer => Answer::DtlsSrtp,
        _ => Answer::Good,
    };
    let text = ringing.answer_text(stage, answer);
    drop(ringing.answered(stage, &text));
    true
}
