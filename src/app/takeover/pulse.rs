//! Whether the other process still lives: each says so every second, and what is silent for long hangs. A process that has ended needs none of this, since its end of the link closes.
//!
//! | silent | the new process, of the old one | the old process, of the new one |
//! |---|---|---|
//! | for [`SILENT`] seconds | says so; reads datagrams itself, which only the old one did, until that is heard of again | says so: new calls are answered by nobody |
//! | for [`HOPELESS`] seconds | leaves it: the sound of its calls may well go on | ends it, and takes its place again |

use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::time::{MissedTickBehavior, interval};

use super::between::Between;
use super::words::Word;

/// Seconds, as counted here: while this process is stopped itself it counts none.
const SILENT: u32 = 5;
const HOPELESS: u32 = 12;

/// What has come to be known of the other process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    Silent,
    Hopeless,
    /// It was silent, and is not any more.
    Back,
}

#[derive(Default)]
struct Silence(u32);

impl Silence {
    /// A second has passed. `heard`: and something was heard in it.
    fn second(&mut self, heard: bool) -> Option<Sign> {
        let before = self.0;
        self.0 = if heard { 0 } else { before.saturating_add(1) };
        match self.0 {
            0 if before >= SILENT => Some(Sign::Back),
            SILENT => Some(Sign::Silent),
            HOPELESS => Some(Sign::Hopeless),
            _ => None,
        }
    }
}

/// Says that this process lives and watches that the other does, until there is no other.
pub async fn keep(between: Arc<Between>, mut tell: impl FnMut(Sign)) {
    let mut clock = interval(Duration::from_secs(1));
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::default();
    let round = between.round();
    between.was_heard();
    loop {
        clock.tick().await;
        if round.is_none() || between.round() != round {
            return;
        }
        between.say_in_turn(Word::Alive { calls: between.calls() });
        if let Some(missed_calls) = between.missed_calls() {
            missed_calls.hand_again();
        }
        if let Some(sign) = silence.second(between.was_heard()) {
            tell(sign);
        }
    }
}

/// A process as such: its number may be another's one day, this never is.
pub struct Handle(rustix::fd::OwnedFd);

impl Handle {
    /// `None`: it is not seen from here (another PID namespace), or is gone.
    pub fn of(pid: Option<i32>) -> Option<Handle> {
        pidfd_open(Pid::from_raw(pid?)?, PidfdFlags::empty()).ok().map(Handle)
    }

    /// False: it may not be ended, or has ended.
    pub fn end(&self) -> bool {
        pidfd_send_signal(&self.0, Signal::KILL).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sign_is_given_once_and_again_after_it_was_heard() {
        let mut silence = Silence::default();
        let mut all = |heard: bool, seconds: u32| (0..seconds).filter_map(|_| silence.second(heard)).collect::<Vec<_>>();
        assert_eq!(all(true, 5), []);
        assert_eq!(all(false, SILENT - 1), []);
        assert_eq!(all(true, 1), [], "a short silence is none");
        assert_eq!(all(false, SILENT), [Sign::Silent]);
        assert_eq!(all(true, 3), [Sign::Back]);
        assert_eq!(all(false, HOPELESS + 100), [Sign::Silent, Sign::Hopeless]);
        assert_eq!(all(true, 1), [Sign::Back]);
    }

    #[test]
    fn a_process_is_ended_by_its_handle() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        assert!(Handle::of(Some(child.id() as i32)).unwrap().end());
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
        assert!(Handle::of(None).is_none());
    }
}
