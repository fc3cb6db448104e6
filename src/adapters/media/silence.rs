//! When to look at which stream for silence: one entry per stream, looked at once per silence period, not once per packet.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::media::control::StreamId;
use crate::time::Time;

/// Looks are put on a grid this wide, so that ten thousand streams cause a few wakes a second, not ten thousand.
const GRID: Duration = Duration::from_millis(250);

/// Streams by the time of their next look. An entry outlives its stream until that time comes; the caller drops it then.
#[derive(Default)]
pub(super) struct Looks(BinaryHeap<Reverse<(Time, StreamId)>>);

impl Looks {
    /// Looks at `stream` at `at` or up to 250 ms later; says when.
    pub(super) fn plan(&mut self, stream: StreamId, at: Time) -> Time {
        let at = on_grid(at);
        self.0.push(Reverse((at, stream)));
        at
    }

    /// As [`Looks::plan`], for a stream whose next look is at `planned`: nothing is added unless the new one comes before it, however often this is asked.
    pub(super) fn advance(&mut self, stream: StreamId, planned: &mut Option<Time>, at: Time) {
        if planned.is_none_or(|planned| on_grid(at) < planned) {
            *planned = Some(self.plan(stream, at));
        }
    }

    pub(super) fn next(&self) -> Option<Time> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one stream that is due, with the time it was planned for.
    pub(super) fn take(&mut self, now: Time) -> Option<(Time, StreamId)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }
}

fn on_grid(at: Time) -> Time {
    let grid = GRID.as_nanos() as u64;
    Time::from_nanos(at.as_nanos().div_ceil(grid).saturating_mul(grid))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time asked for was compared with the one on the grid, so each packet of a handshake added a look.
    #[test]
    fn asking_again_for_the_same_look_adds_none() {
        let (mut looks, mut planned) = (Looks::default(), None);
        for _ in 0..1_000 {
            looks.advance(StreamId(1), &mut planned, Time::from_millis(901));
        }
        assert_eq!((looks.0.len(), planned), (1, Some(Time::from_millis(1_000))));
        looks.advance(StreamId(1), &mut planned, Time::from_millis(700));
        assert_eq!((looks.0.len(), planned), (2, Some(Time::from_millis(750))));
    }

    #[test]
    fn looks_come_due_on_the_grid_and_in_order() {
        let mut looks = Looks::default();
        assert_eq!(looks.plan(StreamId(1), Time::from_millis(900)), Time::from_millis(1000));
        assert_eq!(looks.plan(StreamId(2), Time::from_millis(100)), Time::from_millis(250));
        assert_eq!(looks.next(), Some(Time::from_millis(250)));
        assert_eq!(looks.take(Time::from_millis(249)), None);
        assert_eq!(looks.take(Time::from_millis(250)), Some((Time::from_millis(250), StreamId(2))));
        assert_eq!(looks.take(Time::from_millis(999)), None);
        assert_eq!(looks.take(Time::from_millis(1000)), Some((Time::from_millis(1000), StreamId(1))));
        assert_eq!(looks.next(), None);
    }
}
