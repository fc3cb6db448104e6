//! The core under random events built from what it says itself: responses to its requests, requests in its dialogs, bent and out of order; timers,
//! transport failures, media events, reloads. It never panics, and after enough silence it holds nothing and every call has its record.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use portcullis::media::control::{self, Command as MediaCommand, StreamId};
use portcullis::signaling::event::{Command, Event, LocateError, Target, TransportError};
use portcullis::sip::{HeaderName, Method};
use proptest::prelude::*;

use crate::lab::{Caller, Lab, PARTIES, Party, Scene, Sent, describe, peer_table, policy_set, refused_certificate, refused_handshake, response_text, wire};

/// What happens next; the numbers choose among what is there at the time.
#[derive(Clone, Debug)]
enum Step {
    /// A call that is set up as it should be, with or without the last ACK.
    Up {
        caller: usize,
        callee: usize,
        acknowledged: bool,
    },
    Call {
        party: usize,
        extra: usize,
        offer: bool,
    },
    Answer {
        which: usize,
        status: usize,
        tag: usize,
        extra: usize,
        body: usize,
        from: usize,
    },
    /// A request in one of the dialogs the border has spoken in.
    Inside {
        which: usize,
        method: usize,
        cseq: u32,
        extra: usize,
        body: usize,
        from: usize,
    },
    /// Something said before, again, perhaps by another party.
    Again {
        which: usize,
        from: usize,
    },
    /// Something said before with bytes changed.
    Bent {
        which: usize,
        at: usize,
        byte: u8,
        from: usize,
    },
    Wait {
        millis: u64,
    },
    Fail {
        which: usize,
        error: usize,
    },
    Located {
        which: usize,
        targets: usize,
    },
    Silent {
        which: usize,
    },
    OpenFailed {
        which: usize,
    },
    FlowClosed {
        party: usize,
    },
    Reload,
    Peers {
        gone: bool,
    },
    Drain,
    ReleaseAll,
}

const STATUSES: [u16; 24] = [100, 180, 183, 183, 199, 200, 200, 200, 202, 302, 380, 401, 408, 422, 481, 486, 487, 488, 491, 500, 503, 504, 600, 699];
const METHODS: [&str; 13] = ["ACK", "ACK", "BYE", "BYE", "CANCEL", "INVITE", "INVITE", "PRACK", "UPDATE", "UPDATE", "INFO", "OPTIONS", "REFER"];
const EXTRAS: [&str; 12] = [
    "",
    "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK\n",
    "Supported: 100rel, timer\n",
    "Require: 100rel\nRSeq: 1\n",
    "Require: 100rel\nRSeq: 2\nAllow: UPDATE\n",
    "Session-Expires: 90;refresher=uac\nSupported: timer\n",
    "Session-Expires: 90;refresher=uas\n",
    "Session-Expires: 30\nSupported: timer\n",
    "Min-SE: 3600\n",
    "Contact: <sip:1000@198.51.100.30:5062>;q=0.5, <sip:198.51.100.21>\n",
    "RAck: 1 1 INVITE\n",
    "Record-Route: <sip:203.0.113.66;lr>\nMax-Forwards: 0\n",
];

fn step() -> impl Strategy<Value = Step> {
    let index = 0..64usize;
    prop_oneof![
        4 => (0..EXTRAS.len(), 0..EXTRAS.len(), prop::bool::weighted(0.8)).prop_map(|(caller, callee, acknowledged)| Step::Up { caller, callee, acknowledged }),
        6 => (0..12usize, 0..EXTRAS.len(), prop::bool::weighted(0.8)).prop_map(|(party, extra, offer)| Step::Call { party, extra, offer }),
        16 => (index.clone(), 0..STATUSES.len(), 0..3usize, 0..EXTRAS.len(), 0..5usize, 0..12usize)
            .prop_map(|(which, status, tag, extra, body, from)| Step::Answer { which, status, tag, extra, body, from }),
        12 => (index.clone(), 0..METHODS.len(), 0..6u32, 0..EXTRAS.len(), 0..5usize, 0..12usize)
            .prop_map(|(which, method, cseq, extra, body, from)| Step::Inside { which, method, cseq, extra, body, from }),
        4 => (index.clone(), 0..12usize).prop_map(|(which, from)| Step::Again { which, from }),
        2 => (index.clone(), any::<usize>(), any::<u8>(), 0..12usize).prop_map(|(which, at, byte, from)| Step::Bent { which, at, byte, from }),
        6 => prop_oneof![8 => 0..600u64, 3 => 0..40_000u64, 1 => 0..200_000u64].prop_map(|millis| Step::Wait { millis }),
        2 => (index.clone(), 0..6usize).prop_map(|(which, error)| Step::Fail { which, error }),
        2 => (index.clone(), 0..4usize).prop_map(|(which, targets)| Step::Located { which, targets }),
        1 => index.clone().prop_map(|which| Step::Silent { which }),
        1 => index.prop_map(|which| Step::OpenFailed { which }),
        1 => (0..PARTIES.len()).prop_map(|party| Step::FlowClosed { party }),
        1 => Just(Step::Reload),
        1 => prop::bool::weighted(0.3).prop_map(|gone| Step::Peers { gone }),
        1 => prop_oneof![18 => Just(Step::Wait { millis: 1 }), 1 => Just(Step::Drain), 1 => Just(Step::ReleaseAll)],
    ]
}

struct Chaos {
    lab: Lab,
    scene: Scene,
    /// Everything the border sent.
    said: Vec<Sent>,
    /// Everything it heard.
    heard: Vec<(Party, Bytes)>,
    serial: usize,
}

impl Chaos {
    fn new(scene: Scene) -> Chaos {
        Chaos { lab: Lab::new(scene.clone()), scene, said: Vec::new(), heard: Vec::new(), serial: 0 }
    }

    fn hear(&mut self, party: Party, bytes: Bytes) {
        self.heard.push((party, bytes.clone()));
        self.lab.receive_message(party, bytes);
        self.said.extend(self.lab.sent.drain(..));
    }

    /// The latest are the likeliest.
    fn said(&self, which: usize, request: bool) -> Option<Sent> {
        let is_ack = |sent: &Sent| sent.message.method() == Some(&Method::Ack);
        let wanted: Vec<&Sent> = self.said.iter().rev().filter(|sent| sent.message.is_request() == request && !is_ack(sent)).take(24).collect();
        wanted.get(which * which * wanted.len() / 4096).map(|sent| (*sent).clone())
    }

    fn speaker(&self, own: Party, from: usize) -> Party {
        // Mostly who it should be.
        if from < PARTIES.len() { PARTIES[from] } else { own }
    }

    fn body(&self, party: Party, body: usize) -> String {
        match body {
            0 => String::new(),
            1 => "v=0\n".into(),
            2 => describe(self.scene.mode, party, 7000, "a=sendonly\n"),
            _ => describe(self.scene.mode, party, 7000 + 2 * body as u16, "a=sendrecv\n"),
        }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Up { caller, callee, acknowledged } => self.up(EXTRAS[caller], EXTRAS[callee], acknowledged),
            Step::Call { party, extra, offer } => {
                let party = self.speaker(Party::Trunk, party);
                let mut caller = Caller::new(&mut self.lab, party, if party == Party::Server { "2001" } else { "1000" });
                let body = if offer { self.lab.sdp(party, 4000) } else { String::new() };
                let text = caller.request(&mut self.lab, "INVITE", EXTRAS[extra], &body);
                self.hear(party, wire(&text));
            }
            Step::Answer { which, status, tag, extra, body, from } => {
                let Some(request) = self.said(which, true) else { return };
                let party = self.speaker(request.to, from);
                let body = self.body(party, body);
                let text = response_text(&request.message, party, self.scene.transport, STATUSES[status], ["a", "b", ""][tag], EXTRAS[extra], &body);
                self.hear(party, wire(&text));
            }
            Step::Inside { which, method, cseq, extra, body, from } => self.inside(which, METHODS[method], cseq, EXTRAS[extra], body, from),
            Step::Again { which, from } => {
                let Some((own, bytes)) = self.heard.iter().rev().nth(which % self.heard.len().max(1)).cloned() else { return };
                let party = self.speaker(own, from);
                self.hear(party, bytes);
            }
            Step::Bent { which, at, byte, from } => {
                let Some((own, bytes)) = self.heard.iter().rev().nth(which % self.heard.len().max(1)).cloned() else { return };
                let mut bytes = bytes.to_vec();
                let at = at % bytes.len().max(1);
                bytes[at] = byte;
                let party = self.speaker(own, from);
                self.hear(party, bytes.into());
            }
            Step::Wait { millis } => self.lab.pass(Duration::from_millis(millis)),
            Step::Fail { which, error } => {
                let errors = [
                    TransportError::Refused,
                    TransportError::TimedOut,
                    refused_certificate(),
                    refused_handshake(),
                    TransportError::Closed,
                    TransportError::Socket,
                ];
                let Some(sent) = self.said.iter().rev().nth(which % self.said.len().max(1)).cloned() else { return };
                self.lab.fails(&sent, errors[error].clone());
            }
            Step::Located { which, targets } => {
                let Some((id, _)) = self.lab.locates.iter().rev().nth(which % self.lab.locates.len().max(1)).cloned() else { return };
                let at = |party: Party| Target { transport: self.scene.transport, address: (party.address(), 5060).into() };
                let targets = match targets {
                    0 => Err(LocateError::NotFound),
                    1 => Ok(Vec::new()),
                    _ => Ok(vec![at(Party::Router), at(Party::Spare)]),
                };
                self.lab.handle(Event::Located { id, targets });
            }
            Step::Silent { which } => {
                let stream = StreamId(which as u64 % 8);
                self.lab.handle(Event::Media(control::Event::Silent { stream, since: self.lab.now }));
            }
            Step::OpenFailed { which } => {
                let stream = StreamId(which as u64 % 8);
                self.lab.handle(Event::Media(control::Event::OpenFailed { stream, error: "in use".into() }));
            }
            Step::FlowClosed { party } => {
                let flow = self.lab.flow(PARTIES[party]).id;
                self.lab.handle(Event::FlowClosed { flow });
            }
            Step::Reload => {
                let settings = self.lab.settings.clone();
                self.lab.handle(Event::Policies(Arc::new(policy_set(&self.scene)), settings));
            }
            Step::Peers { gone } => {
                let mut set = policy_set(&self.scene);
                if gone {
                    set.peers.retain(|peer| &*peer.name != "router");
                }
                self.lab.handle(Event::Peers(Arc::new(peer_table(2, &set))));
            }
            Step::Drain => self.lab.handle(Event::Command(Command::Drain { release_after: Some(Duration::from_secs(30)) })),
            Step::ReleaseAll => self.lab.handle(Event::Command(Command::ReleaseAll)),
        }
        self.said.extend(self.lab.sent.drain(..));
    }

    fn up(&mut self, caller_says: &str, callee_says: &str, acknowledged: bool) {
        let mut caller = Caller::new(&mut self.lab, Party::Trunk, "1000");
        let offer = self.lab.sdp(Party::Trunk, 4000);
        let invite = caller.request(&mut self.lab, "INVITE", caller_says, &offer);
        self.hear(Party::Trunk, wire(&invite));
        let is_ours = |sent: &&Sent| sent.to == Party::Router && sent.message.method() == Some(&Method::Invite);
        let Some(invite) = self.said.iter().rev().find(is_ours).cloned() else { return };
        let answer = self.lab.sdp(Party::Router, 6000);
        let answer = response_text(&invite.message, Party::Router, self.scene.transport, 200, "a", callee_says, &answer);
        self.hear(Party::Router, wire(&answer));
        let accepted = self.said.iter().rev().find(|sent| sent.to == Party::Trunk && sent.status() == 200).cloned();
        if let (Some(accepted), true) = (accepted, acknowledged) {
            caller.learn(&accepted);
            let ack = caller.text(&self.lab, "ACK", caller.cseq, "", "");
            self.hear(Party::Trunk, wire(&ack));
        }
    }

    /// A request in the dialog of something the border said, seen from the other end.
    fn inside(&mut self, which: usize, method: &str, cseq: u32, extra: &str, body: usize, from: usize) {
        let request = which.is_multiple_of(2);
        let Some(said) = self.said(which, request) else { return };
        let party = self.speaker(said.to, from);
        self.serial += 1;
        let (ours, theirs) = if request { (HeaderName::From, HeaderName::To) } else { (HeaderName::To, HeaderName::From) };
        let mut from_value = said.header(theirs);
        if !from_value.contains(";tag=") {
            from_value.push_str(";tag=a");
        }
        let via = if matches!(method, "CANCEL" | "ACK") && !request && cseq.is_multiple_of(2) {
            format!("Via: {}\n", said.header(HeaderName::Via))
        } else {
            format!("Via: SIP/2.0/{} {}:5060;branch=z9hG4bKinside{}\n", self.scene.transport.via_token(), party.address(), self.serial)
        };
        let number =
            if matches!(method, "CANCEL" | "ACK") { said.message.cseq().map(|cseq| cseq.number).unwrap_or(1) } else { 1 + cseq + self.serial as u32 / 2 };
        let body = self.body(party, body);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        let text = format!(
            "{method} sip:192.0.2.1:5060 SIP/2.0\n{via}Max-Forwards: 70\nFrom: {from_value}\nTo: {}\nCall-ID: {}\nCSeq: {number} {method}\nContact: <sip:{}:5060>\n{extra}{kind}\n{body}",
            said.header(ours),
            said.header(HeaderName::CallId),
            party.address()
        );
        self.hear(party, wire(&text));
    }

    /// The media plane reports what is still open, then silence.
    fn rest(mut self) {
        let mut open: Vec<StreamId> = Vec::new();
        for command in &self.lab.media {
            match command {
                MediaCommand::Open { stream, .. } => open.push(*stream),
                MediaCommand::Close { stream } => open.retain(|known| known != stream),
                MediaCommand::Configure { stream, .. }
                | MediaCommand::Carry { stream, .. }
                | MediaCommand::KeepRtcp { stream, .. }
                | MediaCommand::Digit { stream, .. }
                | MediaCommand::Succeed { stream, .. } => {
                    assert!(open.contains(stream), "configured after it was closed");
                }
            }
        }
        // Calls that are up stay up; they are ended as an operator would.
        self.lab.pass(Duration::from_secs(900));
        self.lab.handle(Event::Command(Command::ReleaseAll));
        self.lab.finish();
        assert_eq!(self.lab.open_streams(), 0);
    }
}

fn scene(which: usize) -> Scene {
    match which {
        4 => Scene { router_by_name: true, ..Scene::secured() },
        5 => Scene::default().with_routers(&["router", "spare"]),
        which => Scene::everywhere()[which].clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_everything_ends(which in 0..6usize, steps in prop::collection::vec(step(), 1..80)) {
        let mut chaos = Chaos::new(scene(which));
        for step in &steps {
            chaos.take(step);
        }
        chaos.rest();
    }
}
