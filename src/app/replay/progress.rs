//! How far a replay is, on a terminal's standard error; nowhere else does it say anything. The first time through the recording is for names, and counts it.

use std::cell::Cell;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::heard::{Heard, Recording};

/// So often is it told.
const TELL: Duration = Duration::from_millis(200);

/// A recording that tells how far it is read.
pub struct Watched<'a> {
    recording: &'a dyn Recording,
    /// Known once it has been gone through.
    total: Cell<Option<u64>>,
    shown: bool,
}

impl<'a> Watched<'a> {
    pub fn new(recording: &'a dyn Recording) -> Watched<'a> {
        Watched { recording, total: Cell::new(None), shown: io::stderr().is_terminal() }
    }
}

impl Recording for Watched<'_> {
    fn each(&self, with: &mut dyn FnMut(Heard) -> bool) -> Result<(), String> {
        let (began, mut told, mut count) = (Instant::now(), Instant::now(), 0_u64);
        let mut counting = |heard| {
            count += 1;
            if self.shown && told.elapsed() >= TELL {
                told = Instant::now();
                // Nobody may look any more.
                let _ = write!(io::stderr(), "\r\x1b[2K{}", line(count, self.total.get(), began.elapsed()));
            }
            with(heard)
        };
        let done = self.recording.each(&mut counting);
        if self.shown {
            let _ = write!(io::stderr(), "\r\x1b[2K");
        }
        self.total.set(Some(count));
        done
    }

    fn remarks(&self) -> Vec<String> {
        self.recording.remarks()
    }
}

fn line(count: u64, total: Option<u64>, elapsed: Duration) -> String {
    match total {
        None => format!("reading {count} calls"),
        Some(total) => {
            let left = elapsed.as_secs_f64() * (total.saturating_sub(count)) as f64 / count.max(1) as f64;
            format!("replay {count} of {total} ({} s left)", left.round() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_reckoned_once_the_whole_is_known() {
        assert_eq!(line(500, None, Duration::from_secs(1)), "reading 500 calls");
        assert_eq!(line(250, Some(1000), Duration::from_secs(4)), "replay 250 of 1000 (12 s left)");
        assert_eq!(line(0, Some(0), Duration::ZERO), "replay 0 of 0 (0 s left)");
    }
}
