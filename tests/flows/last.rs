//! The last things: a media plane that gives up a stream, and a process that ends before its calls do.

use portcullis::media::control::{self, Command as MediaCommand, Report, StreamId};
use portcullis::policy::verdict::Reason;
use portcullis::signaling::event::{Command, Event};
use portcullis::signaling::fact::{ReleasedBy, What};
use portcullis::sip::Method;

use crate::lab::{Lab, Party, Scene, established};

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
        assert_eq!((records.len(), records[0].reason, records[0].released_by), (1, Reason::MediaPorts, ReleasedBy::Border));
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
