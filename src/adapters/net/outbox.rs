//! What waits to be written on one connection: bounded, ended once, and answerable for every message it took (RFC 3261 §18.4).

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::signaling::event::TransmitId;

/// A message unanswered for longer is no longer reported when its connection ends: its transaction is over (64*T1, RFC 3261 §17).
const ANSWERABLE: Duration = Duration::from_secs(32);

/// Most written messages remembered until the other end is heard again.
const REMEMBERED: usize = 1_024;

pub struct Outgoing {
    /// `None`: ours (keep-alive), nobody is told of its fate.
    pub id: Option<TransmitId>,
    pub bytes: Bytes,
}

/// Why a message was not taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    Full,
    /// The connection has ended; another may be made.
    Ended,
}

pub struct Outbox {
    state: Mutex<State>,
    wake: Notify,
    most_messages: usize,
    most_bytes: usize,
    /// Connections we made carry mostly requests: those written when the other end closes without a word more have failed. On connections made
    /// to us it is answers, and a written answer is done with.
    remembers: bool,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Outgoing>,
    waiting_bytes: usize,
    /// Taken by the writer, not yet handed whole to the system.
    in_flight: Vec<TransmitId>,
    unanswered: VecDeque<(Instant, TransmitId)>,
    ended: bool,
}

impl Outbox {
    pub fn new(most_messages: usize, most_bytes: usize, remembers: bool) -> Outbox {
        Outbox { state: Mutex::default(), wake: Notify::new(), most_messages, most_bytes, remembers }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, outgoing: Outgoing) -> Result<(), (Refusal, Outgoing)> {
        let mut state = self.state();
        if state.ended {
            return Err((Refusal::Ended, outgoing));
        }
        // One message is always taken, however long.
        let full = state.waiting.len() >= self.most_messages || state.waiting_bytes.saturating_add(outgoing.bytes.len()) > self.most_bytes;
        if full && !state.waiting.is_empty() {
            return Err((Refusal::Full, outgoing));
        }
        state.waiting_bytes += outgoing.bytes.len();
        state.waiting.push_back(outgoing);
        drop(state);
        self.wake.notify_one();
        Ok(())
    }

    /// Takes what waits, up to about `most_bytes`, in order. False: nothing waits.
    pub fn take(&self, batch: &mut Vec<Bytes>, most_bytes: usize) -> bool {
        let mut state = self.state();
        let mut taken = 0;
        while let Some(next) = state.waiting.front() {
            if taken > 0 && taken + next.bytes.len() > most_bytes {
                break;
            }
            taken += next.bytes.len();
            let Some(outgoing) = state.waiting.pop_front() else { break };
            state.in_flight.extend(outgoing.id);
            batch.push(outgoing.bytes);
        }
        state.waiting_bytes = state.waiting_bytes.saturating_sub(taken);
        taken > 0
    }

    /// Everything taken has been handed to the system.
    pub fn written(&self) {
        let mut state = self.state();
        let State { in_flight, unanswered, .. } = &mut *state;
        if self.remembers {
            let now = Instant::now();
            unanswered.extend(in_flight.iter().map(|id| (now, *id)));
            let surplus = unanswered.len().saturating_sub(REMEMBERED);
            unanswered.drain(..surplus);
        }
        in_flight.clear();
    }

    /// The other end is alive and reading, as far as anyone can tell.
    pub fn heard(&self) {
        if self.remembers {
            self.state().unanswered.clear();
        }
    }

    /// Resolves once something may wait.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Takes no more if nothing waits and all that was taken has been handed to the system; false: there is still something.
    pub fn end_if_empty(&self) -> bool {
        let mut state = self.state();
        state.ended |= state.waiting.is_empty() && state.in_flight.is_empty();
        state.ended
    }

    /// The connection is over. Returns those messages that were not sent or to which nothing came back; each is returned once.
    pub fn end(&self) -> Vec<TransmitId> {
        let mut state = self.state();
        state.ended = true;
        let mut lost = std::mem::take(&mut state.in_flight);
        lost.extend(std::mem::take(&mut state.unanswered).into_iter().filter(|(at, _)| at.elapsed() < ANSWERABLE).map(|(_, id)| id));
        lost.extend(std::mem::take(&mut state.waiting).into_iter().filter_map(|outgoing| outgoing.id));
        state.waiting_bytes = 0;
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: u64, length: usize) -> Outgoing {
        Outgoing { id: Some(TransmitId(id)), bytes: Bytes::from(vec![b'x'; length]) }
    }

    fn refusal(outbox: &Outbox, id: u64, length: usize) -> Option<Refusal> {
        outbox.push(message(id, length)).err().map(|(refusal, _)| refusal)
    }

    #[test]
    fn is_bounded_by_messages_and_bytes() {
        let outbox = Outbox::new(2, 100, true);
        assert_eq!(refusal(&outbox, 1, 500), None);
        assert_eq!(refusal(&outbox, 2, 1), Some(Refusal::Full));
        let mut batch = Vec::new();
        assert!(outbox.take(&mut batch, 10));
        assert_eq!((refusal(&outbox, 3, 50), refusal(&outbox, 4, 50), refusal(&outbox, 5, 0)), (None, None, Some(Refusal::Full)));
    }

    #[test]
    fn every_message_is_lost_once_at_most() {
        let outbox = Outbox::new(10, 1_000, true);
        for id in 1..=4 {
            assert_eq!(refusal(&outbox, id, 10), None);
        }
        let mut batch = Vec::new();
        outbox.take(&mut batch, 20); // 1 and 2
        outbox.written();
        outbox.take(&mut batch, 10); // 3
        assert_eq!(outbox.end(), [3, 1, 2, 4].map(TransmitId));
        assert_eq!(outbox.end(), []);
        assert_eq!(refusal(&outbox, 5, 1), Some(Refusal::Ended));
    }

    #[test]
    fn what_was_followed_by_an_answer_is_not_lost() {
        for (remembers, heard) in [(true, true), (false, false)] {
            let outbox = Outbox::new(10, 1_000, remembers);
            assert_eq!(refusal(&outbox, 1, 10), None);
            outbox.take(&mut Vec::new(), 100);
            outbox.written();
            if heard {
                outbox.heard();
            }
            assert_eq!(outbox.end(), []);
        }
    }
}
