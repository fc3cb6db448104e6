//! Requests outside calls and what is answered to them: those of one Call-ID (RFC 3261 §8.1.1.4) get a number in common, so that ladders and capture servers have
//! them as they have calls. OPTIONS, notices of waiting messages, and what a peer sends that no call can be made of.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

use super::summary::read;
use crate::signaling::fact::{CallId, Fact, What};

/// Numbers of exchanges begin here: far beyond those of calls, and exact as a number of JSON (RFC 8259 §6).
const FIRST: u64 = 9_000_000_000_000;
/// Exchanges that may still go on.
const KNOWN: usize = 512;
/// Octets looked at and kept of what is no SIP.
const BROKEN: usize = 16 << 10;

pub(super) struct Exchanges {
    next: u64,
    known: HashMap<Bytes, CallId>,
    oldest: VecDeque<Bytes>,
    /// Of the message that passed last; what is said of it comes next.
    last: Option<CallId>,
}

impl Exchanges {
    pub fn new() -> Exchanges {
        Exchanges { next: FIRST, known: HashMap::new(), oldest: VecDeque::new(), last: None }
    }

    /// Gives a fact of no call the number of its exchange, if it is of one.
    pub fn number(&mut self, fact: &mut Fact) {
        if fact.call.is_some() {
            return;
        }
        fact.call = match &mut fact.what {
            What::Received { bytes, .. } => {
                bytes.truncate(BROKEN);
                self.last = Some(self.of(call_id(bytes)));
                self.last
            }
            What::Sent { bytes, .. } => {
                bytes.truncate(BROKEN);
                let named = call_id(bytes);
                // What answers a message that names no exchange names none either.
                let answers = self.last.filter(|_| named.is_none());
                self.last = Some(answers.unwrap_or_else(|| self.of(named)));
                self.last
            }
            What::Standalone { .. } | What::Malformed { .. } => self.last,
            _ => None,
        };
    }

    fn of(&mut self, named: Option<Bytes>) -> CallId {
        if let Some(known) = named.as_ref().and_then(|id| self.known.get(id)) {
            return *known;
        }
        let number = CallId(self.next);
        self.next += 1;
        // What names none is alone.
        if let Some(id) = named {
            self.oldest.push_back(id.clone());
            self.known.insert(id, number);
        }
        if self.oldest.len() > KNOWN
            && let Some(oldest) = self.oldest.pop_front()
        {
            self.known.remove(&oldest);
        }
        number
    }
}

/// A copy: the message may be a slice of a large receive buffer.
fn call_id(bytes: &Bytes) -> Option<Bytes> {
    let message = read(bytes)?;
    message.call_id().ok().filter(|id| !id.is_empty()).map(|id| Bytes::copy_from_slice(id.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::policy::flow::{Flow, FlowId, ListenerId};
    use crate::policy::verdict::Reason;
    use crate::sip::Transport;
    use crate::time::Time;

    fn sent(text: &str) -> Fact {
        let remote = ([192, 0, 2, 1], 5060).into();
        let what =
            What::Sent { leg: None, transport: Transport::Udp, remote, over: None, bytes: Bytes::copy_from_slice(text.as_bytes()), retransmission: false };
        Fact { at: Time::ZERO, call: None, what }
    }

    fn received(text: &str) -> Fact {
        let (local, remote) = (([192, 0, 2, 2], 5060).into(), ([192, 0, 2, 1], 5060).into());
        let flow = Arc::new(Flow { id: FlowId(1), transport: Transport::Udp, listener: ListenerId(0), local, remote, tls: None });
        said(What::Received { leg: None, flow, bytes: Bytes::copy_from_slice(text.as_bytes()), retransmission: false })
    }

    fn options(id: &str) -> Fact {
        sent(&format!(
            "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: {id}\r\nCSeq: 1 OPTIONS\r\n\r\n"
        ))
    }

    fn said(what: What) -> Fact {
        Fact { at: Time::ZERO, call: None, what }
    }

    fn numbered(exchanges: &mut Exchanges, mut fact: Fact) -> Option<u64> {
        exchanges.number(&mut fact);
        fact.call.map(|call| call.0)
    }

    #[test]
    fn those_of_one_call_id_have_one_number_and_what_is_said_of_them_as_well() {
        let mut exchanges = Exchanges::new();
        let (one, other) = (numbered(&mut exchanges, options("one")), numbered(&mut exchanges, options("other")));
        assert_eq!((one, other), (Some(FIRST), Some(FIRST + 1)));
        let answered = What::Standalone { method: "OPTIONS".into(), peer: "trunk".into(), status: 200, reason: Reason::Answered };
        assert_eq!(numbered(&mut exchanges, said(answered)), other);
        assert_eq!(numbered(&mut exchanges, options("one")), one);
        let of_a_call = Fact { call: Some(CallId(7)), ..options("one") };
        assert_eq!(numbered(&mut exchanges, of_a_call), Some(7), "a call's stays a call's");
        assert_eq!(numbered(&mut exchanges, said(What::CallAnswered)), None);
    }

    #[test]
    fn what_names_no_call_id_is_alone_and_no_flood_of_them_takes_more_memory() {
        let mut exchanges = Exchanges::new();
        let first = numbered(&mut exchanges, received("INVITE sip:a@b SIP/2.0\r\nCall-ID: a\u{1b}[31m\r\n\r\n"));
        let answer = sent("SIP/2.0 400 Bad Request\r\nCall-ID: a\u{1b}[31m\r\n\r\n");
        assert_eq!(numbered(&mut exchanges, answer), first, "but for its answer");
        assert_eq!(numbered(&mut exchanges, received("no SIP at all")), first.map(|number| number + 1));
        for id in 0..5_000 {
            numbered(&mut exchanges, options(&id.to_string()));
        }
        assert_eq!((exchanges.known.len(), exchanges.oldest.len()), (KNOWN, KNOWN));
        let mut long = sent(&"x".repeat(60_000));
        exchanges.number(&mut long);
        assert!(matches!(long.what, What::Sent { bytes, .. } if bytes.len() == BROKEN));
    }
}
