//! The INVITE each call began with, kept until its record is filed: what arrived, where and from whom, and what screening made of it, so that another
//! policy set can be asked about the same call later.
//!
//! Keys and credentials do not stay in it; what stands in their place reads to policy as they did ([`redact_legibly`]). What is held meanwhile is bounded: a call
//! whose INVITE is too long, or that comes while too much is held, is filed without.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::redact::{clean, redact_legibly};
use crate::media::control::Side;
use crate::policy::flow::Flow;
use crate::policy::outcome::Outcome;
use crate::policy::verdict::Decision;
use crate::signaling::fact::{CallId, Fact, Screened, What};

/// The longest INVITE kept, bytes.
const LONGEST: usize = 16 << 10;
/// Held for calls that have not ended, bytes of messages.
const HELD: usize = 64 << 20;

/// As a store wants it.
#[derive(Clone, PartialEq, Debug)]
pub struct Invite {
    /// The message, without secrets.
    pub message: Bytes,
    /// [`Told`], as JSON.
    pub told: String,
}

/// What was known of an INVITE beside its bytes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Told {
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    pub source: SocketAddr,
    pub local: SocketAddr,
    /// Of the certificate: names, and the peers to whose CA it chained. `None`: no TLS.
    pub tls: Option<Certified>,
    pub peer: Arc<str>,
    /// Where it was screened: by what, and what came of it.
    pub screened: Option<Then>,
}

#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Certified {
    pub names: Vec<String>,
    pub trusted_for: Vec<Arc<str>>,
}

/// What was decided when the call came.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Then {
    /// Numbers of the policy set's load and of the peer table.
    pub policy_set: u64,
    pub peer_table: u64,
    /// The host name by which the peer lived at the source.
    pub host: Option<Arc<str>>,
    pub outcome: Outcome,
    pub decisions: Vec<Decided>,
}

/// One decision, as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Decided {
    pub stage: Text,
    pub rule: Text,
    /// A reason's code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Text>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compared: Vec<(Text, Text)>,
}

/// Most of what is said of a decision is always the same.
pub type Text = Cow<'static, str>;

impl From<&Decision> for Decided {
    fn from(decision: &Decision) -> Decided {
        Decided {
            stage: Text::Borrowed(decision.stage),
            rule: said(&decision.rule),
            refused: decision.refused.map(|reason| Text::Borrowed(reason.code())),
            compared: decision.compared.iter().map(|(name, value)| (Text::Borrowed(*name), said(value))).collect(),
        }
    }
}

fn said(text: &Text) -> Text {
    match text {
        // A word of ours has nothing to be cleaned.
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(clean(text)),
    }
}

/// The telemetry thread's own.
#[derive(Default)]
pub(super) struct Invites {
    /// What came last, until it shows whether a call begins with it.
    last: Option<(CallId, Arc<Flow>, Bytes)>,
    held: HashMap<CallId, Held>,
    bytes: usize,
    /// Of the call that has just begun: why it has none. Taken by whoever counts.
    left_out: Option<&'static str>,
}

struct Held {
    message: Bytes,
    flow: Arc<Flow>,
    peer: Arc<str>,
    decisions: Vec<Decided>,
    screened: Option<Screened>,
}

impl Invites {
    pub fn note(&mut self, fact: &Fact) {
        let Some(call) = fact.call else { return };
        match &fact.what {
            What::Received { leg: Some(Side::A), flow, bytes, retransmission: false } => self.last = Some((call, Arc::clone(flow), bytes.clone())),
            What::CallBegan { peer, .. } => self.begin(call, peer),
            What::Decided(trail) => {
                // Screening's comes first; what follows is decided of legs and transfers.
                if let Some(held) = self.held.get_mut(&call).filter(|held| held.decisions.is_empty()) {
                    held.decisions = trail.iter().map(Decided::from).collect();
                }
            }
            What::Screened(screened) => {
                if let Some(held) = self.held.get_mut(&call) {
                    held.screened = Some(Screened::clone(screened));
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, call: CallId, peer: &Arc<str>) {
        let Some((_, flow, bytes)) = self.last.take().filter(|(of, ..)| *of == call) else { return };
        self.left_out = match bytes.len() {
            length if length > LONGEST => Some("long"),
            length if self.bytes + length > HELD => Some("full"),
            _ => None,
        };
        if self.left_out.is_some() {
            return;
        }
        let message = redact_legibly(&bytes);
        self.bytes += message.len();
        let held = Held { message, flow, peer: Arc::clone(peer), decisions: Vec::new(), screened: None };
        if let Some(before) = self.held.insert(call, held) {
            self.bytes -= before.message.len();
        }
    }

    /// Of the fact noted last: why a call is filed without its INVITE, `long` or `full`.
    pub fn left_out(&mut self) -> Option<&'static str> {
        self.left_out.take()
    }

    /// Of a call that has ended.
    pub fn take(&mut self, call: CallId) -> Option<Invite> {
        let Held { message, flow, peer, decisions, screened } = self.held.remove(&call)?;
        self.bytes -= message.len();
        let told = Told {
            transport: String::from(flow.transport.uri_token()),
            source: flow.remote,
            local: flow.local,
            tls: flow.tls.as_ref().map(|identity| Certified { names: identity.names.clone(), trusted_for: identity.trusted_for.clone() }),
            peer,
            screened: screened.map(|Screened { policy_set, peer_table, host, outcome }| Then { policy_set, peer_table, host, outcome, decisions }),
        };
        serde_json::to_string(&told).ok().map(|told| Invite { message, told })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::flow::{FlowId, ListenerId};
    use crate::policy::verdict::Reason;
    use crate::sip::Transport;
    use crate::time::Time;

    fn fact(call: u64, what: What) -> Fact {
        Fact { at: Time::ZERO, call: Some(CallId(call)), what }
    }

    fn received(call: u64, message: &str) -> Fact {
        let (local, remote) = ("192.0.2.1:5060".parse().unwrap(), "192.0.2.9:5060".parse().unwrap());
        let flow = Arc::new(Flow { id: FlowId(1), transport: Transport::Udp, listener: ListenerId(0), local, remote, tls: None });
        fact(call, What::Received { leg: Some(Side::A), flow, bytes: Bytes::copy_from_slice(message.as_bytes()), retransmission: false })
    }

    fn began(call: u64) -> Fact {
        fact(call, What::CallBegan { peer: "trunk".into(), from: String::new(), to: String::new() })
    }

    fn told(invite: &Invite) -> Told {
        serde_json::from_str(&invite.told).unwrap()
    }

    #[test]
    fn a_call_keeps_what_it_began_with_and_what_was_decided_of_it() {
        let mut invites = Invites::default();
        invites.note(&received(1, "INVITE sip:5000@x SIP/2.0\r\n\r\n"));
        invites.note(&began(1));
        let decision = Decision::refused("hunt_group", "no pilot", Reason::NoHuntGroup).comparing("Request-URI", "5000");
        invites.note(&fact(1, What::Decided(vec![decision.clone()])));
        let outcome = Outcome::refused(Reason::NoHuntGroup);
        invites.note(&fact(1, What::Screened(Box::new(Screened { policy_set: 3, peer_table: 4, host: Some("gw.example".into()), outcome: outcome.clone() }))));
        // A change of the session asked for later, and what is decided of it, are not what the call began with.
        invites.note(&received(1, "INVITE sip:other@x SIP/2.0\r\n\r\n"));
        invites.note(&fact(1, What::Decided(vec![Decision::passed("transfer", "later")])));
        let invite = invites.take(CallId(1)).unwrap();
        assert_eq!(&invite.message[..], b"INVITE sip:5000@x SIP/2.0\r\n\r\n");
        let told = told(&invite);
        assert_eq!((told.transport.as_str(), told.source.to_string().as_str(), &*told.peer), ("udp", "192.0.2.9:5060", "trunk"));
        let then = told.screened.unwrap();
        assert_eq!((then.policy_set, then.host.as_deref(), then.outcome), (3, Some("gw.example"), outcome));
        assert_eq!(then.decisions, [Decided::from(&decision)]);
        assert_eq!(invites.bytes, 0, "nothing stays behind");
        assert_eq!(invites.take(CallId(1)), None);
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut invites = Invites::default();
        invites.note(&received(1, &"x".repeat(LONGEST + 1)));
        invites.note(&began(1));
        assert_eq!(invites.take(CallId(1)), None, "too long");
        let long = "x".repeat(LONGEST);
        for call in 0..=(HELD / LONGEST) as u64 {
            invites.note(&received(call, &long));
            invites.note(&began(call));
        }
        assert!(invites.bytes <= HELD && invites.held.len() == HELD / LONGEST, "{} bytes of {} calls", invites.bytes, invites.held.len());
        assert!(invites.take(CallId(0)).is_some());
    }

    #[test]
    fn a_message_of_another_call_is_not_taken_for_it() {
        let mut invites = Invites::default();
        invites.note(&received(1, "OPTIONS sip:x SIP/2.0\r\n\r\n"));
        invites.note(&began(2));
        assert_eq!(invites.take(CallId(2)), None);
    }
}
