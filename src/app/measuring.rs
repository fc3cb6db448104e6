//! How the process does, several times a second, for the core to hold calls back in time (RFC 6357): how busy the thread of signalling is, and how much memory is held.
//!
//! Busy is the time in which the thread was not waiting for something to happen, whether it ran or was made to wait for its core by others: both delay calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::adapters::driver::Input;
use crate::app::api::Limits;
use crate::app::footprint;
use crate::signaling::event::{Event, Measured};

const INTERVAL: Duration = Duration::from_millis(100);

/// Memory is looked at every so many intervals.
const MEMORY_EVERY: u32 = 10;

/// What the core holds is counted every so many.
const CENSUS_EVERY: u32 = 50;

/// Within the runtime that signals. Ends when nobody takes the measurements any more.
pub fn start(commands: mpsc::UnboundedSender<Input>, limits: Arc<Limits>) {
    tokio::spawn(async move {
        let metrics = tokio::runtime::Handle::current().metrics();
        let granted = granted();
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut at, mut busy) = (Instant::now(), metrics.worker_total_busy_duration(0));
        let mut measured = Measured { memory_granted: granted, ..Measured::default() };
        for round in 0u32.. {
            ticks.tick().await;
            if round % MEMORY_EVERY == 0 {
                measured.memory = footprint::memory().unwrap_or_default();
            }
            if round % CENSUS_EVERY == 0 && commands.send(Input::Event(Event::Census)).is_err() {
                return;
            }
            let (now, total) = (Instant::now(), metrics.worker_total_busy_duration(0));
            let Some(occupied) = per_mille(total.saturating_sub(busy), now - at) else { continue };
            (at, busy) = (now, total);
            measured.occupied = occupied;
            limits.measured(&measured);
            if commands.send(Input::Event(Event::Measured(measured))).is_err() {
                return;
            }
        }
    });
}

/// `None`: no time has passed.
fn per_mille(busy: Duration, passed: Duration) -> Option<u16> {
    let share = (busy.as_micros() * 1000).checked_div(passed.as_micros())?;
    // A turn that began before the interval counts as a whole where it ends.
    Some(share.min(1000) as u16)
}

/// What the process's control group grants it: the least of its own and those above it, of version 2. `None`: no limit, or none that can be read.
fn granted() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mut folder = std::path::Path::new("/sys/fs/cgroup").join(path);
    let mut least = None;
    while folder.starts_with("/sys/fs/cgroup") {
        let limit = std::fs::read_to_string(folder.join("memory.max")).ok().and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if !folder.pop() {
            break;
        }
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_a_share_of_the_time_that_passed() {
        let share = |busy, passed| per_mille(Duration::from_millis(busy), Duration::from_millis(passed));
        assert_eq!([share(25, 100), share(130, 100), share(0, 100), share(1, 0)], [Some(250), Some(1000), Some(0), None]);
    }
}
