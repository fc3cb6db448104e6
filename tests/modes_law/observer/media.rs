//! The media plane as the observer keeps it in mind: what each side of a stream takes and sends.

use std::collections::HashSet;

use base64::Engine as _;
use portcullis::media::control::{Command, Configuration, Content, Protection, Side, SrtpParameters};

use super::{Observer, Rule};
use crate::world::Secured;

#[derive(Clone, PartialEq, Debug, Default)]
pub enum Guard {
    #[default]
    Unset,
    Plain,
    /// The keys, as they stand in descriptions.
    Srtp(Vec<String>),
    /// As it came from the other side, whose peer protects it under these keys.
    Shared(Vec<String>),
    /// Nothing until a handshake with one who has a certificate of these fingerprints; none yet: nothing at all.
    Dtls(Vec<String>),
}

#[derive(Clone, Debug, Default)]
pub struct SideSeen {
    /// Media is taken and sent: the peer's address is known, and it is not on hold.
    pub is_open: bool,
    pub receive: Guard,
    pub transmit: Guard,
}

#[derive(Debug)]
pub struct StreamSeen {
    call: usize,
    /// Call-ID of the B side's leg: the call's when that side was first told anything. A transfer gives the call another leg, and another stream.
    b: Option<String>,
    sides: [SideSeen; 2],
}

fn index(side: Side) -> usize {
    usize::from(side == Side::B)
}

fn guard(protection: &Protection) -> Guard {
    match protection {
        Protection::Plain => Guard::Plain,
        Protection::Dtls(parameters) => {
            let digest = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":");
            Guard::Dtls(parameters.fingerprints.iter().map(|fingerprint| digest(&fingerprint.digest)).collect())
        }
        Protection::Srtp(parameters) => Guard::Srtp(written(parameters)),
        Protection::Shared(parameters) => Guard::Shared(written(parameters)),
    }
}

fn written(parameters: &SrtpParameters) -> Vec<String> {
    parameters.keys.iter().map(|key| base64::engine::general_purpose::STANDARD.encode(&key.key_and_salt)).collect()
}

impl Observer {
    pub(super) fn commanded(&mut self, command: &Command) {
        match command {
            Command::Open { stream, .. } => {
                if let Some(call) = self.current() {
                    self.streams.insert(*stream, StreamSeen { call, b: None, sides: Default::default() });
                }
            }
            Command::Close { stream } => drop(self.streams.remove(stream)),
            // UDPTL has no protection: none of it may be carried for a leg that must have some.
            Command::Carry { stream, content: Content::Udptl } => {
                let Some(call) = self.streams.get(stream).map(|seen| seen.call) else { return };
                for call_id in [Some(self.calls[call].a.clone()), self.calls[call].b.clone()].into_iter().flatten() {
                    let Some(party) = self.dialogs.get(&call_id).map(|dialog| dialog.party) else { continue };
                    if self.leg(&call_id, party, None).is_some_and(|leg| leg.low == Secured) {
                        self.breaks(Rule::MediaUnprotected, format!("a fax over UDPTL, with {party:?} on one side"));
                    }
                }
            }
            Command::Carry { content: Content::Rtp { .. }, .. } | Command::KeepRtcp { .. } | Command::Digit { .. } | Command::Succeed { .. } => {}
            Command::Configure { stream, side, set: Configuration { remote, receive, transmit, .. } } => {
                let Some(seen) = self.streams.get_mut(stream) else { return };
                if *side == Side::B && seen.b.is_none() {
                    seen.b = self.calls[seen.call].b.clone();
                }
                let now = &mut seen.sides[index(*side)];
                now.is_open = remote.map_or(now.is_open, |remote| remote.is_some());
                if let Some(receive) = receive {
                    now.receive = guard(receive);
                }
                if let Some(transmit) = transmit {
                    now.transmit = guard(transmit);
                }
                let (call, now) = (seen.call, now.clone());
                let b = seen.b.clone();
                let told: Vec<Guard> = receive.iter().chain(transmit).map(guard).collect();
                self.judge_side((call, b), *side, &now, &told);
            }
        }
    }

    fn judge_side(&mut self, (call, b): (usize, Option<String>), side: Side, now: &SideSeen, told: &[Guard]) {
        let call_id = match side {
            Side::A => Some(self.calls[call].a.clone()),
            Side::B => b,
        };
        let Some((call_id, party)) = call_id.and_then(|id| self.dialogs.get(&id).map(|dialog| (id.clone(), dialog.party))) else {
            return self.breaks(Rule::MediaUnprotected, format!("a side without a leg is configured: {now:?}"));
        };
        let Some((low, high)) = self.leg(&call_id, party, None).map(|leg| (leg.low, leg.high)) else { return };
        let either = [&now.receive, &now.transmit];
        if low == Secured && (told.contains(&Guard::Plain) || (now.is_open && either.contains(&&Guard::Plain))) {
            self.breaks(Rule::MediaUnprotected, format!("side {side}, with {party:?}: {now:?}"));
        }
        let is_srtp = |guard: &Guard| matches!(guard, Guard::Srtp(_) | Guard::Shared(_) | Guard::Dtls(_));
        if high < Secured && (told.iter().any(is_srtp) || (now.is_open && either.into_iter().any(is_srtp))) {
            self.breaks(Rule::SrtpToPlain, format!("media of side {side}, with {party:?}: {now:?}"));
        }
        if let (true, true, Some(leg)) =
            (now.is_open, either.into_iter().all(|guard| matches!(guard, Guard::Srtp(_) | Guard::Shared(_))), self.leg(&call_id, party, None))
        {
            leg.ran_srtp = true;
        }
        if told.is_empty() {
            return;
        }
        let heard: HashSet<String> = self.dialogs[&call_id].legs.iter().flat_map(|leg| leg.heard_keys.iter().cloned()).collect();
        if let Guard::Dtls(fingerprints) = &now.receive
            && (now.receive != now.transmit || !fingerprints.iter().all(|fingerprint| heard.contains(fingerprint)))
        {
            self.breaks(Rule::KeyCrossed, format!("side {side} is to shake hands with one {party:?} never announced"));
        }
        if matches!(now.receive, Guard::Shared(_)) {
            self.breaks(Rule::KeyCrossed, format!("side {side}: what comes from {party:?} is held against nothing"));
        }
        if let Guard::Shared(keys) = &now.transmit
            && now.is_open
        {
            // Its own peer was told it, and it is the other's, who consents.
            if !keys.iter().all(|key| self.keys.get(key).is_some_and(|seen| !seen.ours && self.consent(&call_id, party, seen))) {
                self.breaks(Rule::KeyCrossed, format!("side {side} is to go on under a key that {party:?} does not share"));
            }
        }
        if let Guard::Srtp(keys) = &now.receive
            && now.is_open
            && !keys.iter().all(|key| heard.contains(key))
        {
            self.breaks(Rule::KeyCrossed, format!("side {side} is to take packets under a key {party:?} never sent"));
        }
        if let Guard::Srtp(keys) = &now.transmit
            && now.is_open
        {
            let ours = |key: &String| self.keys.get(key).is_some_and(|seen| seen.ours && seen.call_id == call_id && seen.party == party);
            if !keys.iter().all(ours) {
                self.breaks(Rule::KeyCrossed, format!("side {side} is to send under a key {party:?} was never told"));
            }
        }
    }

    /// What the sides of the last call's stream are: the A and the B side; `None`: there is no stream.
    pub fn sides(&self) -> Option<&[SideSeen; 2]> {
        let call = self.current()?;
        self.streams.values().find(|stream| stream.call == call).map(|stream| &stream.sides)
    }
}
