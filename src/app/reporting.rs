//! How the media of calls does that are up, at an interval, for who gets copies (HOMER draws it over the time of a call).

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::watch;

use crate::adapters::clock::Clock;
use crate::adapters::media::MediaPlane;
use crate::adapters::telemetry::{MediaNow, Sink};
use crate::app::api::calls::Calls;

/// Calls are told of in turn, those of one number in the same second each time, so that thousands make no burst.
const TURN: Duration = Duration::from_secs(1);

/// Ends when it is dropped.
pub struct Reporting(watch::Sender<Duration>);

impl Reporting {
    /// Within a tokio runtime. `every`: in whole seconds; zero: not at all.
    pub fn start(every: Duration, calls: Calls, media: Weak<MediaPlane>, sink: Sink, clock: Clock) -> Reporting {
        let (say, mut said) = watch::channel(every);
        tokio::spawn(async move {
            let mut turns = tokio::time::interval(TURN);
            turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            for turn in 0u64.. {
                if said.wait_for(|every| !every.is_zero()).await.is_err() {
                    return;
                }
                tokio::select! {
                    _ = turns.tick() => {}
                    changed = said.changed() => if changed.is_err() { return },
                }
                let every = said.borrow_and_update().as_secs();
                let Some(plane) = media.upgrade() else { return };
                for (call, stream) in calls.talking(|call| is_turn_of(call.0, turn, every)) {
                    let sink = sink.clone();
                    plane.inspected(stream, move |view| {
                        if let Some(view) = view {
                            let [a, b] = view.ours;
                            sink.put_media(MediaNow { call, at: clock.now(), ours: [a.rtp, b.rtp], report: view.report });
                        }
                    });
                }
            }
        });
        Reporting(say)
    }

    /// From the next turn on.
    pub fn take(&self, every: Duration) {
        self.0.send_if_modified(|before| std::mem::replace(before, every) != every);
    }
}

fn is_turn_of(call: u64, turn: u64, every: u64) -> bool {
    every > 0 && call % every == turn % every
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_has_one_turn_in_each_interval() {
        for every in [1, 5, 20, 600] {
            for call in [0, 1, 19, 20, 123_456_789] {
                assert_eq!((1000..1000 + every).filter(|turn| is_turn_of(call, *turn, every)).count(), 1, "{call} every {every}");
            }
        }
        assert!(!(0..100).any(|turn| is_turn_of(turn, turn, 0)));
    }
}
