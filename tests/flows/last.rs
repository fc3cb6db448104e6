//! The last things: a media plane that gives up a stream, and a process that ends before its calls do.

use std::time::Duration;

use portcullis::media::control::{self, Command as MediaCommand, Report, StreamId};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Command, Event};
use portcullis::signaling::fact::{ReleasedBy, What};
use portcullis::sip::{HeaderName, Method};

use crate::lab::{Lab, Party, Scene, established, invited};

fn stream(lab: &Lab) -> StreamId {
    lab.media.iter().find_map(|command| if let MediaCommand::Open { stream, .. } = command { Some(*stream) } else { None }).expect("a stream was opened")
}

/// A stream that closes unasked left its call up for ever, without sound and without a record.
#[test]
fn a_stream_that_is_lost_ends_its_call_once() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = established(&mut lab);
        let stream = stream(&lab);
        lab.handle(Event::Media(control::Event::Closed { stream, report: Box::new(Report::default()) }));
        for party in [Party::Trunk, callee.party] {
            let bye = lab.request_to(party, Method::Bye);
            lab.answer(party, &bye, 200, "", "", "");
        }
        assert!(!lab.media.iter().any(|command| matches!(command, MediaCommand::Close { .. })), "what is gone is not closed");
        let records = lab.records();
        assert_eq!((records.len(), records[0].reason, records[0].released_by), (1, Reason::MediaWorker, ReleasedBy::Border));
        lab.finish();
    }
}

/// The record of a call whose other end never answers the BYE was lost when the process stopped.
#[test]
fn a_process_that_ends_files_every_record() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        established(&mut lab);
        lab.handle(Event::Command(Command::ReleaseAll));
        assert!(lab.records().is_empty(), "the BYEs are not answered yet");
        lab.handle(Event::Command(Command::Finish));
        assert_eq!(lab.records().len(), 1);
        assert!(lab.facts.iter().any(|fact| matches!(fact.what, What::Drained)));
        assert_eq!(lab.core.calls(), 0);
    }
}

/// What the media plane said of its failure stood nowhere.
#[test]
fn why_media_could_not_be_opened_is_told() {
    let mut lab = Lab::new(Scene::default());
    established(&mut lab);
    let stream = stream(&lab);
    lab.handle(Event::Media(control::Event::OpenFailed { stream, error: "too many open files".into() }));
    let told = |fact: &portcullis::signaling::fact::Fact| match &fact.what {
        What::Decided(trail) => trail.iter().any(|decision| decision.compared.iter().any(|(_, value)| value == "too many open files")),
        _ => false,
    };
    assert!(lab.facts.iter().any(told), "{}", lab.ladder());
}

/// INFO carried any body: a session description with the other side's keys went from a Secured leg to a clear one.
#[test]
fn info_carries_digits_and_nothing_else() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (mut caller, callee) = established(&mut lab);
        for (kind, body) in [("application/sdp", "v=0\n"), ("text/plain", "5"), ("application/dtmf-relay", "Signal=\u{7}\n")] {
            caller.cseq += 1;
            let info = caller.request(&mut lab, "INFO", &format!("Content-Type: {kind}\n"), "");
            lab.receive(Party::Trunk, &format!("{}\n\n{body}", info.trim_end()));
            assert!(lab.response_to(Party::Trunk, 415).header(HeaderName::Accept).contains("dtmf-relay"));
        }
        caller.cseq += 1;
        let info = caller.request(&mut lab, "INFO", "Content-Type: application/dtmf-relay;x=secret\n", "");
        lab.receive(Party::Trunk, &format!("{}\n\nSignal=5\nDuration=160\n", info.trim_end()));
        let relayed = lab.request_to(callee.party, Method::Info);
        assert_eq!(relayed.header(HeaderName::ContentType), "application/dtmf-relay");
        lab.answer(callee.party, &relayed, 200, "", "", "");
        lab.response_to(Party::Trunk, 200);
    }
}

/// `explain` refused what `run` did.
#[test]
fn access_control_is_asked_inside_and_outside_of_calls() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, _) = established(&mut lab);
    for method in ["REFER", "NOTIFY", "MESSAGE"] {
        caller.next(&mut lab, method, "", "");
        assert!(lab.response_to(Party::Trunk, 405).header(HeaderName::Allow).contains("INVITE"));
    }
    lab.nothing_sent();
}

/// A B side that rang for ever, saying so every two minutes, was waited for for ever.
#[test]
fn ringing_has_an_end_however_often_it_rings() {
    for scene in Scene::everywhere() {
        let mut lab = Lab::new(scene);
        let (_, callee) = invited(&mut lab, "");
        for _ in 0..4 {
            callee.answer(&mut lab, 180, "", "");
            lab.response_to(Party::Trunk, 180);
            lab.pass(Duration::from_secs(120));
        }
        callee.answer(&mut lab, 180, "", "");
        lab.response_to(Party::Trunk, 180);
        lab.pass(Duration::from_secs(121));
        lab.request_to(callee.party, Method::Cancel);
        lab.response_to(Party::Trunk, 408);
        lab.finish();
        assert_eq!(lab.records()[0].reason, Reason::NoAnswer);
    }
}

/// Nothing ended a call whose two ends died while it was on hold.
#[test]
fn a_hold_has_an_end() {
    let mut lab = Lab::new(Scene::default());
    let (mut caller, callee) = established(&mut lab);
    let hold = lab.sdp(Party::Trunk, 4000).replace("a=sendrecv", "a=sendonly").replace("71 1 IN", "71 2 IN");
    caller.next(&mut lab, "INVITE", "", &hold);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(callee.party, Method::Invite);
    let answer = lab.sdp(callee.party, 6000).replace("a=sendrecv", "a=recvonly");
    lab.answer(callee.party, &invite, 200, "", "", &answer);
    lab.request_to(callee.party, Method::Ack);
    lab.response_to(Party::Trunk, 200);
    caller.ack(&mut lab, "");
    lab.pass(Duration::from_secs(4 * 3600 - 60));
    assert_eq!(lab.core.calls(), 1, "{}", lab.ladder());
    lab.pass(Duration::from_secs(120));
    assert!(lab.sent.iter().any(|sent| sent.message.method() == Some(&Method::Bye)));
    lab.finish();
    assert_eq!(lab.records()[0].reason, Reason::HeldTooLong);
}
