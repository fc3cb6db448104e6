//! Digits between telephone-events and signalling: what streams have heard is told, and those that send where no sound flows have their turn.
//!
//! Such packets leave every 20 ms, so their turns are not on the grid of [`super::silence::Looks`]: there are as many as digits under way, not as streams.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::media::control::{Digit, Event, Side, StreamId};
use crate::time::Time;

use super::Counters;
use super::streams::{Open, Streams};

/// Between two turns of one stream at least.
const STEP: Duration = Duration::from_millis(1);

/// Streams by the time of their next turn. An entry outlives its stream until that time comes.
#[derive(Default)]
pub(super) struct Turns(BinaryHeap<Reverse<(Time, StreamId)>>);

impl Turns {
    pub(super) fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    fn take(&mut self, now: Time) -> Option<(Time, StreamId)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

impl Streams {
    /// Carries out `Command::Digit`.
    pub(super) fn press(&mut self, now: Time, id: StreamId, side: Side, (digit, lasting): (Digit, Duration), ssrc: u32) {
        let Some(open) = self.of(id) else { return };
        open.stream.press(side, digit, lasting, ssrc);
        let slot = open.slot;
        self.digits(now, slot);
    }

    /// A stream that converts digits had a packet or a turn: tells what it has heard, and plans its next turn.
    #[cold]
    pub(super) fn digits(&mut self, now: Time, slot: usize) {
        let Some(open) = self.at(slot) else { return };
        let (id, mut heard) = (open.id, Vec::new());
        while let Some((side, digit, lasting)) = open.stream.take_digit() {
            heard.push(Event::Digit { stream: id, side, digit, lasting });
        }
        let due = open.stream.digits_due().map(|due| due.max(now + STEP)).filter(|due| open.turn.is_none_or(|planned| *due < planned));
        open.turn = due.or(open.turn);
        if let Some(due) = due {
            self.turns.0.push(Reverse((due, id)));
        }
        heard.into_iter().for_each(|event| self.tell(event));
    }

    /// Gives those their turn whose time has come: `send` makes and sends a packet of theirs where one is due.
    pub(super) fn take_turns(&mut self, now: Time, mut send: impl FnMut(&mut Open, &mut Counters)) {
        while let Some((at, id)) = self.turns.take(now) {
            let Some(slot) = self.slot_of(id) else { continue };
            let Some((open, counters)) = self.with_counters(slot).filter(|(open, _)| open.turn == Some(at)) else { continue };
            open.turn = None;
            send(open, counters);
            self.digits(now, slot);
        }
    }
}
