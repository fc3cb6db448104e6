//! Messages as they were, keys and all, of calls an operator has asked to be traced. Nothing is kept so unless the policy set allows it; then only of so many
//! calls, of one peer where one is named, until a time, in bounded room; and an hour after that time, or when the trace is stopped, it is wiped from memory.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::signaling::fact::{CallId, Fact, What};
use crate::time::Time;

/// How long after the end of a trace what it has gathered may be fetched.
const HOLD: Duration = Duration::from_secs(3600);
/// Room for the messages of all calls traced. What finds none is not kept.
const ROOM: usize = 16 << 20;
/// Calls that may turn out to be the peer's.
const GUESSES: usize = 1000;

/// Which calls are to be traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Only calls with a leg of this peer; `None`: the next, whosever they are.
    pub peer: Option<Arc<str>>,
    /// So many.
    pub calls: u32,
    /// None that begins later.
    pub until: Time,
}

/// How it stands with tracing.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Standing {
    /// What was last asked for, and until when what it gathers is held.
    pub order: Option<(Order, Time)>,
    /// Calls whose messages are held with their keys.
    pub held: Vec<CallId>,
}

#[derive(Default)]
pub(super) struct Tracing {
    order: Option<Order>,
    calls: BTreeMap<CallId, Traced>,
    bytes: usize,
}

struct Traced {
    /// Which of the call's facts, and its message as it was.
    messages: Vec<(usize, Zeroizing<Vec<u8>>)>,
    /// It is of the peer that is meant.
    wanted: bool,
}

impl Tracing {
    /// What was gathered before is wiped.
    pub fn start(&mut self, order: Order) {
        *self = Tracing { order: Some(order), ..Tracing::default() };
    }

    pub fn stop(&mut self) {
        *self = Tracing::default();
    }

    pub fn standing(&mut self, now: Time) -> Standing {
        self.expire(now);
        let held = self.calls.iter().filter(|(_, traced)| traced.wanted).map(|(call, _)| *call).collect();
        Standing { order: self.order.clone().map(|order| (order.clone(), order.until + HOLD)), held }
    }

    /// The call's facts with their messages as they were; `None`: it is not traced.
    pub fn restored(&mut self, call: CallId, mut facts: Vec<Fact>, now: Time) -> Option<Vec<Fact>> {
        self.expire(now);
        let traced = self.calls.get(&call).filter(|traced| traced.wanted)?;
        for (index, secret) in &traced.messages {
            if let Some(What::Received { bytes, .. } | What::Sent { bytes, .. }) = facts.get_mut(*index).map(|fact| &mut fact.what) {
                *bytes = Bytes::copy_from_slice(secret);
            }
        }
        Some(facts)
    }

    /// Of a fact that is about to be kept as the call's `index`th, before its keys are blotted out.
    pub fn note(&mut self, call: CallId, fact: &Fact, index: usize) {
        let Some(order) = &self.order else { return };
        if !self.calls.contains_key(&call) {
            let taken = self.calls.values().filter(|traced| traced.wanted).count();
            let is_new = index == 0 && matches!(fact.what, What::Received { .. });
            if !is_new || fact.at >= order.until || taken >= order.calls as usize || self.calls.len() >= taken + GUESSES {
                self.expire(fact.at);
                return;
            }
            self.calls.insert(call, Traced { messages: Vec::new(), wanted: false });
        }
        let taken = self.calls.values().filter(|traced| traced.wanted).count();
        let Some(traced) = self.calls.get_mut(&call) else { return };
        match &fact.what {
            What::Received { bytes, .. } | What::Sent { bytes, .. } if self.bytes + bytes.len() <= ROOM => {
                self.bytes += bytes.len();
                traced.messages.push((index, Zeroizing::new(bytes.to_vec())));
            }
            What::CallBegan { peer, .. } | What::LegOpened { peer, .. } => {
                let meant = order.peer.as_ref().is_none_or(|wanted| wanted == peer);
                traced.wanted |= meant && taken < order.calls as usize;
            }
            // Never one of those that are meant: an exchange outside calls, or another peer's call.
            What::CallEnded(_) | What::Standalone { .. } if !traced.wanted => self.forget(call),
            _ => {}
        }
    }

    pub fn forget(&mut self, call: CallId) {
        if let Some(traced) = self.calls.remove(&call) {
            self.bytes -= traced.messages.iter().map(|(_, message)| message.len()).sum::<usize>();
        }
    }

    fn expire(&mut self, now: Time) {
        if self.order.as_ref().is_some_and(|order| now >= order.until + HOLD) {
            self.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::flow::{Flow, FlowId, ListenerId};
    use crate::sip::Transport;

    const KEY: &[u8] = b"INVITE inline:secret";

    fn received(call: u64, at: Time) -> Fact {
        let (local, remote) = (([127, 0, 0, 1], 5061).into(), ([127, 0, 0, 2], 5061).into());
        let flow = Arc::new(Flow { id: FlowId(1), transport: Transport::Tls, listener: ListenerId(0), local, remote, tls: None });
        Fact { at, call: Some(CallId(call)), what: What::Received { leg: None, flow, bytes: Bytes::from_static(KEY), retransmission: false } }
    }

    fn began(call: u64, at: Time, peer: &str) -> Fact {
        Fact { at, call: Some(CallId(call)), what: What::CallBegan { peer: peer.into(), from: String::new(), to: String::new() } }
    }

    fn call(tracing: &mut Tracing, call: u64, at: Time, peer: &str) {
        tracing.note(CallId(call), &received(call, at), 0);
        tracing.note(CallId(call), &began(call, at, peer), 1);
    }

    fn order(peer: Option<&str>, calls: u32) -> Order {
        Order { peer: peer.map(Arc::from), calls, until: Time::from_millis(60_000) }
    }

    #[test]
    fn only_what_was_asked_for_is_kept_and_only_for_its_time() {
        let (mut tracing, soon) = (Tracing::default(), Time::from_millis(1));
        call(&mut tracing, 1, soon, "trunk");
        assert_eq!(tracing.standing(soon), Standing::default(), "nobody has asked");
        tracing.start(order(Some("trunk"), 2));
        call(&mut tracing, 2, soon, "other");
        call(&mut tracing, 3, soon, "trunk");
        tracing.note(CallId(9), &received(9, soon), 5);
        call(&mut tracing, 4, Time::from_millis(60_000), "trunk");
        call(&mut tracing, 5, soon, "trunk");
        call(&mut tracing, 6, soon, "trunk");
        assert_eq!(tracing.standing(soon).held, [CallId(3), CallId(5)], "of the peer, begun in time and whole, and no more than two");
        let mut redacted = received(3, soon);
        if let What::Received { bytes, .. } = &mut redacted.what {
            *bytes = Bytes::from_static(b"INVITE inline:******");
        }
        assert!(tracing.restored(CallId(2), vec![redacted.clone()], soon).is_none(), "another peer's");
        let restored = tracing.restored(CallId(3), vec![redacted.clone()], soon).unwrap();
        assert!(matches!(&restored[0].what, What::Received { bytes, .. } if *bytes == KEY));
        assert!(tracing.restored(CallId(3), vec![redacted], Time::from_millis(3_660_000)).is_none(), "its hour is over");
        assert_eq!((tracing.standing(soon), tracing.bytes), (Standing::default(), 0));
    }

    #[test]
    fn a_stop_wipes_and_the_room_is_bounded() {
        let (mut tracing, soon) = (Tracing::default(), Time::from_millis(1));
        tracing.start(order(None, 1));
        call(&mut tracing, 1, soon, "any");
        let fact = received(1, soon);
        (2..2_000_000).step_by(20_000).for_each(|index| tracing.note(CallId(1), &fact, index));
        let mut large = fact.clone();
        if let What::Received { bytes, .. } = &mut large.what {
            *bytes = Bytes::from(vec![b'x'; ROOM]);
        }
        tracing.note(CallId(1), &large, 3);
        assert!(tracing.bytes <= ROOM && tracing.bytes > 100, "{}", tracing.bytes);
        tracing.forget(CallId(1));
        assert_eq!(tracing.bytes, 0);
        tracing.stop();
        assert_eq!(tracing.standing(soon), Standing::default());
    }
}
