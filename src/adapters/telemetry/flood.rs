//! Keeps a flood from filling the disk: so many lines a minute of one kind, the rest is counted and summed up.

use std::time::Duration;

use crate::time::Time;

const WINDOW: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Flood {
    limit: u32,
    began: Time,
    told: u32,
    untold: u64,
}

impl Flood {
    pub fn new(limit: u32) -> Flood {
        Flood { limit, began: Time::ZERO, told: 0, untold: 0 }
    }

    /// Whether there is room for one more line now.
    pub fn admits(&mut self) -> bool {
        if self.told < self.limit {
            self.told += 1;
            return true;
        }
        self.untold = self.untold.saturating_add(1);
        false
    }

    /// To be asked first: when a minute is over, how many lines were left out in it.
    pub fn turn(&mut self, now: Time) -> Option<u64> {
        if now.since(self.began) < WINDOW {
            return None;
        }
        self.began = now;
        self.told = 0;
        let untold = std::mem::take(&mut self.untold);
        (untold > 0).then_some(untold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_a_minute_and_the_rest_is_summed_up() {
        let mut flood = Flood::new(3);
        let at = |second: u64| Time::from_millis(second * 1000);
        assert_eq!(flood.turn(at(100)), None, "nothing was left out yet");
        let told = (0..1000).filter(|_| flood.admits()).count();
        assert_eq!(told, 3);
        assert_eq!(flood.turn(at(159)), None);
        assert_eq!(flood.turn(at(160)), Some(997));
        assert!(flood.admits());
        assert_eq!(flood.turn(at(220)), None);
    }
}
