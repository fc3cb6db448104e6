//! An INVITE that a border once got, as a recording has it, and how another policy set is asked about it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::adapters::telemetry::invites::{Certified, Decided, Then};
use crate::app::explain::deciding::{Explanation, Ground, Verdict, decide, leg};
use crate::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use crate::policy::outcome::Outcome;
use crate::policy::verdict::Reason;
use crate::sip::Transport;

/// One INVITE of a recording.
#[derive(Clone, Debug)]
pub struct Heard {
    pub place: Place,
    /// Milliseconds since 1970.
    pub at: Option<i64>,
    pub caller: String,
    pub called: String,
    pub transport: Transport,
    pub source: SocketAddr,
    pub local: SocketAddr,
    /// What its certificate established then; `None`: no TLS, or that is not known.
    pub tls: Option<Certified>,
    pub message: Bytes,
    pub before: Before,
}

/// Where in the recording it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// The record's number in the store, and the call's in its process's life.
    Record { number: i64, call: i64 },
    /// The packet of a capture, from 1, that completed it.
    Packet(u64),
}

/// What became of it when it came.
#[derive(Clone, Debug)]
pub enum Before {
    /// As it was screened.
    Screened(Box<Then>),
    /// Refused for what no policy set decides: not readable, a loop, an extension asked for.
    Unasked { reason: String },
    /// A capture does not say.
    Unknown,
}

/// A recording that can be gone through, more than once.
pub trait Recording {
    /// Gives each to `with`, newest first where it knows, until that says `false`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what to do.
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String>;

    /// What of it could not be used, a line each; known once it has been gone through.
    fn remarks(&self) -> Vec<String>;
}

/// What a policy set makes of an INVITE.
#[derive(Clone, PartialEq, Debug)]
pub struct Judged {
    pub outcome: Outcome,
    pub decisions: Vec<Decided>,
    /// What the first target would be sent, by name; `None`: that was not kept.
    pub sent: Option<Vec<(String, String)>>,
}

impl Judged {
    pub fn then(then: &Then) -> Judged {
        Judged { outcome: then.outcome.clone(), decisions: then.decisions.clone(), sent: None }
    }
}

/// Asks a policy set, by the functions the border itself decides with.
pub fn judge(ground: &Ground<'_>, heard: &Heard) -> Judged {
    let explanation = decide(ground, &flow(ground, heard), Some(&heard.message));
    let outcome = match (&explanation.screened, &explanation.verdict) {
        (Some(outcome), _) => outcome.clone(),
        (None, Verdict::Refused(reason)) => Outcome::refused(*reason),
        // Only what is no new call is allowed without screening; recordings hold new calls alone.
        (None, _) => Outcome::refused(Reason::Malformed),
    };
    let sent = Some(sent(&explanation));
    Judged { outcome, decisions: explanation.trail.iter().map(Decided::from).collect(), sent }
}

fn sent(explanation: &Explanation) -> Vec<(String, String)> {
    let legs = match &explanation.verdict {
        Verdict::Admitted(admitted) => vec![(String::from("A leg"), leg(&admitted.a)), (String::from("B leg"), leg(&admitted.b))],
        _ => Vec::new(),
    };
    let written = explanation.preview.iter().map(|(name, value)| (String::from(*name), value.clone()));
    let carried = explanation.carried.iter().flat_map(|carried| &carried.headers).map(|(name, value)| (String::from(name.as_str()), value.to_string()));
    legs.into_iter().chain(written).chain(carried).collect()
}

/// As the network would have made it under this set.
fn flow(ground: &Ground<'_>, heard: &Heard) -> Flow {
    let listeners = &ground.settings.signaling.listeners;
    let of_transport = || listeners.iter().filter(|listener| listener.transport == heard.transport);
    let listener = of_transport().find(|listener| listener.bound == heard.local).or_else(|| of_transport().next());
    let tls = (heard.transport == Transport::Tls).then(|| {
        let peers = ground.table.expected(heard.source.ip(), Transport::Tls);
        let certified = heard.tls.clone().unwrap_or_else(|| Certified {
            names: peers.iter().flat_map(|peer| &peer.tls_names).map(ToString::to_string).collect(),
            trusted_for: peers.iter().map(|peer| Arc::clone(&peer.name)).collect(),
        });
        // A certificate that was trusted is held to chain to the CA of whoever is expected there now, one that was not, to none.
        let trusted_for = if certified.trusted_for.is_empty() { Vec::new() } else { peers.iter().map(|peer| Arc::clone(&peer.name)).collect() };
        Arc::new(TlsIdentity { names: certified.names, trusted_for, ..TlsIdentity::default() })
    });
    let id = listener.map_or(ListenerId(0), |listener| listener.id);
    Flow { id: FlowId(0), transport: heard.transport, listener: id, local: heard.local, remote: heard.source, tls }
}
