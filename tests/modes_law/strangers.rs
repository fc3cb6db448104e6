//! Who proves nothing gets nothing: strangers, peers at the wrong address, by the wrong transport or without the right certificate, and peers who
//! have no part in the call, at every moment of it.

use std::sync::Arc;

use portcullis::policy::flow::Flow;

use crate::intrusion::{PHASES, Phase, Say, Scene};
use crate::play::{Way, each_call};
use crate::stage::{Stage, Tally};
use crate::world::{Foreign, Kind, Party, Proof, Second, Snapshot, Spare, Stranger, TRANSPORTS, Tls, Transport, most_legs};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Speaker {
    /// From nowhere known, with this certificate where it is TLS.
    Stranger(Transport, Proof),
    /// From the peer's own address, by this transport (another than the peer's where `Proof` is right).
    AtItsAddress(Transport, Proof),
    /// Another peer, by its proper way.
    Peer(Party),
}

fn speakers(own: Kind, party: Party) -> Vec<Speaker> {
    let mut speakers = vec![
        Speaker::Stranger(Transport::Udp, Proof::None),
        Speaker::Stranger(Transport::Tcp, Proof::None),
        Speaker::Stranger(Tls, Proof::None),
        Speaker::Stranger(Tls, Proof::Of(party)),
    ];
    speakers.extend(TRANSPORTS.into_iter().filter(|transport| *transport != own.transport).map(|other| Speaker::AtItsAddress(other, Proof::Of(party))));
    if own.transport == Tls {
        speakers.extend([Proof::None, Proof::WrongCa(party), Proof::WrongName(party), Proof::Of(Second)].map(|proof| Speaker::AtItsAddress(Tls, proof)));
    }
    speakers.extend([Speaker::Peer(Second), Speaker::Peer(Foreign), Speaker::Peer(Spare)]);
    speakers
}

impl Speaker {
    fn flow(self, stage: &mut Stage, party: Party) -> Arc<Flow> {
        match self {
            Speaker::Stranger(transport, proof) => stage.flow_by(transport, Stranger, proof),
            Speaker::AtItsAddress(transport, proof) => stage.flow_by(transport, party, proof),
            Speaker::Peer(peer) => stage.flow(peer),
        }
    }
}

/// Complete, over most legs: both sides x who may speak in their name (7 to 13) x moment x what can be said then.
#[test]
fn who_proves_nothing_gets_nothing() {
    let mut tally = Tally::new("strangers");
    each_call(most_legs(), |way, a, b, snapshot| {
        for is_a in [true, false] {
            let (own, party) = if is_a { (a, way.caller()) } else { (b, way.called()) };
            for speaker in speakers(own, party) {
                for phase in PHASES {
                    for say in phase.sayings(is_a) {
                        // A call of its own is any peer's good right.
                        if !(matches!(speaker, Speaker::Peer(_)) && *say == Say::NewInvite) {
                            one(&mut tally, snapshot, (way, a, b), is_a, speaker, phase, *say);
                        }
                    }
                }
            }
        }
    });
    tally.finish(22_650, 8346);
}

fn one(tally: &mut Tally, snapshot: &Snapshot, (way, a, b): (Way, Kind, Kind), is_a: bool, speaker: Speaker, phase: Phase, say: Say) {
    let what = || format!("{way:?}, A {a:?}, B {b:?}: {speaker:?} says {say:?} for side A {is_a}, {phase:?}");
    let mut stage = Stage::new(snapshot);
    let scene = Scene::set(&mut stage, way, phase);
    let party = scene.party(is_a);
    let flow = speaker.flow(&mut stage, party);
    let words = scene.words(&mut stage, is_a, say, &flow);
    let before = stage.sent.len();
    stage.say(&flow, &words);
    let silence = matches!(speaker, Speaker::Peer(_)) || stage.sent.len() == before;
    tally.expect(silence, &stage, || format!("a stranger is answered: {}", what()));
    // What the intruder got is not for the call's own parties to take.
    stage.sent.truncate(before);
    let goes_on = scene.goes_on(&mut stage);
    tally.expect(goes_on, &stage, || format!("the call did not go on as it should: {}", what()));
    tally.up += u64::from(goes_on);
    tally.state(stage, what);
}
