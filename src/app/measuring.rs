//! How the process does, several times a second, for the core to hold calls back in time (RFC 6357): how busy the thread of signalling is, and how much memory is held.
//!
//! Busy is the time in which the thread was not waiting for something to happen, whether it ran or was made to wait for its core by others: both delay calls.

use std::path::Path;
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

/// What the process's control group grants it: the least of its own and those above it, as far up as they can be seen. `None`: no limit, or none that can be read.
fn granted() -> Option<u64> {
    granted_by(Path::new("/sys/fs/cgroup"), &std::fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// Version 2 has one tree, version 1 one for memory alone; some machines have both, and memory is then in one of them. In a container its own group is often
/// all that is mounted, at the top: its path, as `groups` has it, leads nowhere, and what is above it is read.
fn granted_by(mounted: &Path, groups: &str) -> Option<u64> {
    let trees = groups.lines().filter_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(":/")?;
        if controllers.is_empty() {
            Some((mounted.to_owned(), path, "memory.max"))
        } else {
            controllers.split(',').any(|controller| controller == "memory").then(|| (mounted.join("memory"), path, "memory.limit_in_bytes"))
        }
    });
    trees.filter_map(|(top, path, file)| least(&top, &top.join(path), file)).min()
}

/// The least in the files of this name in `folder` and above, up to `top`. What version 1 says where there is no limit is more than any machine has.
fn least(top: &Path, folder: &Path, file: &str) -> Option<u64> {
    let limits = folder.ancestors().take_while(|above| above.starts_with(top));
    let limits = limits.filter_map(|above| std::fs::read_to_string(above.join(file)).ok()?.trim().parse().ok());
    limits.filter(|limit| *limit < 1 << 60).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_a_share_of_the_time_that_passed() {
        let share = |busy, passed| per_mille(Duration::from_millis(busy), Duration::from_millis(passed));
        assert_eq!([share(25, 100), share(130, 100), share(0, 100), share(1, 0)], [Some(250), Some(1000), Some(0), None]);
    }
    #[test]
    fn memory_is_granted_by_either_version_of_control_groups() {
        let top = std::env::temp_dir().join(format!("portcullis-granted-{}", std::process::id()));
        let write = |file: &str, text: &str| {
            let path = top.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("memory.max", "max\n");
        write("system/memory.max", "3000\n");
        write("system/border/memory.max", "max\n");
        assert_eq!(granted_by(&top, "0::/system/border\n"), Some(3000));
        assert_eq!(granted_by(&top, "0::/\n"), None);
        // In a container the path is the host's, and only the group itself is mounted.
        write("memory.max", "2000\n");
        assert_eq!(granted_by(&top, "0::/engine/container\n"), Some(2000));
        write("memory.max", "max\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        write("memory/engine/memory.limit_in_bytes", "1000\n");
        let both = "5:devices:/engine\n4:cpu,memory:/engine\n0::/engine\n";
        assert_eq!(granted_by(&top, both), Some(1000));
        assert_eq!(granted_by(&top, "4:memory:/elsewhere\n0::/elsewhere\n"), None);
        std::fs::remove_dir_all(&top).unwrap();
    }
}
