//! Reliable provisional answers, RFC 3262: the side that sends them (§3) and the side that acknowledges them (§4).

use std::time::Duration;

use bytes::Bytes;

use crate::signaling::settings::Timers;
use crate::sip::{Method, RAck};
use crate::time::Time;

/// The answering side of one INVITE. One reliable provisional is in the air at a time: while `ready` says no, the core keeps the newest of what
/// it wants to say.
#[derive(Clone, Debug)]
pub struct ReliableServer {
    /// The RSeq the next answer carries.
    rseq: u32,
    /// The CSeq number of the INVITE.
    cseq: u32,
    t1: Duration,
    unacknowledged: Option<Unacknowledged>,
    /// The highest RSeq a PRACK came for.
    acknowledged: Option<u32>,
}

#[derive(Clone, Debug)]
struct Unacknowledged {
    bytes: Bytes,
    /// `None` after the final answer: sent no more, its PRACK is still welcome.
    schedule: Option<Schedule>,
}

#[derive(Clone, Copy, Debug)]
struct Schedule {
    next: Time,
    interval: Duration,
    end: Time,
}

/// What a received PRACK is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Prack {
    /// Answer 200 (with the answer to its offer, if it has one).
    Acknowledged,
    /// It names an answer acknowledged before (a second PRACK with a new CSeq): answer 200, change nothing.
    Repeated,
    /// It matches nothing unacknowledged: 481.
    Unmatched,
}

#[derive(Clone, PartialEq, Debug)]
pub enum ReliableTimeout {
    Nothing,
    /// Send again by `respond` on the INVITE's transaction.
    Retransmit(Bytes),
    /// No PRACK in 64*T1: refuse the INVITE with a 5xx (§3). Once.
    GiveUp,
}

impl ReliableServer {
    /// `start`: a random number, brought into 1..2^31-1 (§3). `cseq`: the INVITE's CSeq number.
    pub fn new(start: u32, cseq: u32, timers: &Timers) -> ReliableServer {
        ReliableServer {
            rseq: (start & 0x7fff_ffff).clamp(1, 0x7fff_fffe),
            cseq,
            t1: timers.t1.max(Duration::from_millis(1)),
            unacknowledged: None,
            acknowledged: None,
        }
    }

    /// Another reliable provisional may be sent, and a 2xx may be sent whose offer/answer depends on an earlier one.
    pub fn ready(&self) -> bool {
        self.unacknowledged.is_none()
    }

    /// What to write into RSeq of the next reliable provisional.
    pub fn rseq(&self) -> u32 {
        self.rseq
    }

    /// `bytes`, carrying `rseq()`, has been sent for the first time. Only when `ready()`.
    pub fn sent(&mut self, now: Time, bytes: Bytes) {
        debug_assert!(self.ready());
        self.rseq = self.rseq.saturating_add(1);
        let schedule = Schedule { next: now + self.t1, interval: self.t1, end: now + self.t1 * 64 };
        self.unacknowledged = Some(Unacknowledged { bytes, schedule: Some(schedule) });
    }

    /// A PRACK with this RAck (§7.2).
    pub fn on_prack(&mut self, rack: &RAck) -> Prack {
        if rack.cseq != self.cseq || rack.method != Method::Invite {
            return Prack::Unmatched;
        }
        if self.unacknowledged.is_some() && rack.rseq == self.rseq - 1 {
            self.unacknowledged = None;
            self.acknowledged = Some(rack.rseq);
            return Prack::Acknowledged;
        }
        if self.acknowledged == Some(rack.rseq) { Prack::Repeated } else { Prack::Unmatched }
    }

    /// A final answer has been sent: no more retransmissions (§3); a PRACK under way is still recognised.
    pub fn finished(&mut self) {
        if let Some(unacknowledged) = &mut self.unacknowledged {
            unacknowledged.schedule = None;
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        let schedule = self.unacknowledged.as_ref()?.schedule?;
        Some(schedule.next.min(schedule.end))
    }

    pub fn timeout(&mut self, now: Time) -> ReliableTimeout {
        let Some(Unacknowledged { bytes, schedule: slot }) = &mut self.unacknowledged else { return ReliableTimeout::Nothing };
        let Some(schedule) = slot else { return ReliableTimeout::Nothing };
        if now >= schedule.end {
            *slot = None;
            return ReliableTimeout::GiveUp;
        }
        if now < schedule.next {
            return ReliableTimeout::Nothing;
        }
        // §3: doubles without T2's ceiling.
        schedule.interval *= 2;
        schedule.next = now + schedule.interval;
        ReliableTimeout::Retransmit(bytes.clone())
    }
}

/// The asking side: one per early dialog (each To tag counts by itself, §4).
#[derive(Clone, Copy, Debug, Default)]
pub struct ReliableClient {
    last: Option<u32>,
}

/// What a received reliable provisional (Require: 100rel and an RSeq) is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ReliableProvisional {
    /// Take it, and send PRACK with this RSeq in its RAck.
    Acknowledge(u32),
    /// It came before: nothing to do, the PRACK's own transaction sees to its arrival.
    Repeated,
    /// A gap, or RSeq 0: not to be acknowledged, not to be processed (§4).
    OutOfOrder,
}

impl ReliableClient {
    pub fn new() -> ReliableClient {
        ReliableClient::default()
    }

    pub fn on_provisional(&mut self, rseq: u32) -> ReliableProvisional {
        match self.last {
            _ if rseq == 0 => ReliableProvisional::OutOfOrder,
            Some(last) if rseq <= last => ReliableProvisional::Repeated,
            Some(last) if rseq != last.saturating_add(1) => ReliableProvisional::OutOfOrder,
            _ => {
                self.last = Some(rseq);
                ReliableProvisional::Acknowledge(rseq)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rack(rseq: u32, cseq: u32, method: Method) -> RAck {
        RAck { rseq, cseq, method }
    }

    fn server() -> ReliableServer {
        ReliableServer::new(7, 314, &Timers::default())
    }

    #[test]
    fn start_is_within_1_and_2_to_the_31() {
        assert_eq!(ReliableServer::new(0, 1, &Timers::default()).rseq(), 1);
        assert_eq!(ReliableServer::new(u32::MAX, 1, &Timers::default()).rseq(), 0x7fff_fffe);
    }

    #[test]
    fn retransmits_doubling_without_ceiling_and_gives_up_after_64_t1() {
        let mut server = server();
        server.sent(Time::ZERO, Bytes::from_static(b"183"));
        let mut sent = Vec::new();
        let end = loop {
            let at = server.deadline().expect("armed until given up");
            match server.timeout(at) {
                ReliableTimeout::Retransmit(bytes) => {
                    assert_eq!(&bytes[..], b"183");
                    sent.push(at.as_millis());
                }
                ReliableTimeout::GiveUp => break at.as_millis(),
                ReliableTimeout::Nothing => panic!("a deadline with nothing to do"),
            }
        };
        assert_eq!(sent, [500, 1500, 3500, 7500, 15500, 31500]);
        assert_eq!(end, 32_000);
        assert_eq!(server.deadline(), None);
        assert_eq!(server.timeout(Time::from_millis(99_000)), ReliableTimeout::Nothing);
    }

    #[test]
    fn prack_must_name_rseq_cseq_and_method() {
        let mut server = server();
        server.sent(Time::ZERO, Bytes::new());
        assert!(!server.ready());
        assert_eq!(server.on_prack(&rack(8, 314, Method::Invite)), Prack::Unmatched);
        assert_eq!(server.on_prack(&rack(7, 315, Method::Invite)), Prack::Unmatched);
        assert_eq!(server.on_prack(&rack(7, 314, Method::Update)), Prack::Unmatched);
        assert_eq!(server.on_prack(&rack(7, 314, Method::Invite)), Prack::Acknowledged);
        assert_eq!(server.on_prack(&rack(7, 314, Method::Invite)), Prack::Repeated);
        assert!(server.ready());
        assert_eq!((server.rseq(), server.deadline()), (8, None));
    }

    #[test]
    fn a_prack_before_anything_was_sent_is_unmatched() {
        let mut server = server();
        assert_eq!(server.on_prack(&rack(6, 314, Method::Invite)), Prack::Unmatched);
        assert_eq!(server.on_prack(&rack(7, 314, Method::Invite)), Prack::Unmatched);
    }

    #[test]
    fn after_the_final_answer_nothing_is_repeated_but_prack_is_known() {
        let mut server = server();
        server.sent(Time::ZERO, Bytes::new());
        server.finished();
        assert_eq!(server.deadline(), None);
        assert_eq!(server.timeout(Time::from_millis(500)), ReliableTimeout::Nothing);
        assert_eq!(server.on_prack(&rack(7, 314, Method::Invite)), Prack::Acknowledged);
    }

    #[test]
    fn client_takes_answers_in_order_only() {
        let mut client = ReliableClient::new();
        assert_eq!(client.on_provisional(0), ReliableProvisional::OutOfOrder);
        assert_eq!(client.on_provisional(100), ReliableProvisional::Acknowledge(100));
        assert_eq!(client.on_provisional(100), ReliableProvisional::Repeated);
        assert_eq!(client.on_provisional(102), ReliableProvisional::OutOfOrder);
        assert_eq!(client.on_provisional(101), ReliableProvisional::Acknowledge(101));
        assert_eq!(client.on_provisional(102), ReliableProvisional::Acknowledge(102));
        assert_eq!(client.on_provisional(99), ReliableProvisional::Repeated);
    }
}
