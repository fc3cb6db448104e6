//! When changed certificate files are tried: once they have rested for one period, and a content that failed not again and again.

use std::time::Duration;

use crate::adapters::tls::Fingerprint;
use crate::time::Time;

/// A content that was refused is tried again in silence after this: dates come, permissions are mended without a change of content.
const AGAIN: Duration = Duration::from_secs(300);

/// What is in force, and what has been seen since.
#[derive(Clone, Debug)]
pub struct Watch {
    in_force: Fingerprint,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// The files hold what is in force.
    Settled,
    /// They hold something else, which may be half written.
    Changing { to: Fingerprint, since: Time },
    /// They hold something that cannot be used, and why has been told.
    Refused { content: Fingerprint, why: Vec<String>, again: Time },
}

impl Watch {
    pub fn new(in_force: Fingerprint) -> Watch {
        Watch { in_force, state: State::Settled }
    }

    /// Something else was put in force, by whomever.
    pub fn in_force(&mut self, content: Fingerprint) {
        *self = Watch::new(content);
    }

    /// The files were looked at. True: try what they hold now, and say how it went with [`Watch::refused`] or [`Watch::in_force`].
    pub fn look(&mut self, now: Time, period: Duration, seen: Fingerprint) -> bool {
        match &self.state {
            _ if seen == self.in_force => {
                self.state = State::Settled;
                false
            }
            State::Changing { to, since } if *to == seen => now.since(*since) >= period,
            State::Refused { content, again, .. } if *content == seen => now >= *again,
            State::Settled | State::Changing { .. } | State::Refused { .. } => {
                self.state = State::Changing { to: seen, since: now };
                false
            }
        }
    }

    /// What was tried cannot be used. True: say so; this content has not been refused for these reasons yet.
    pub fn refused(&mut self, now: Time, content: Fingerprint, why: &[String]) -> bool {
        let known = matches!(&self.state, State::Refused { content: before, why: said, .. } if *before == content && said == why);
        self.state = State::Refused { content, why: why.to_vec(), again: now + AGAIN };
        !known
    }

    /// What was to be tried changed while it was being read.
    pub fn unsteady(&mut self, now: Time, seen: Fingerprint) {
        self.state = State::Changing { to: seen, since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_secs(10);

    fn content(text: &str) -> Fingerprint {
        Fingerprint::of(text.as_bytes())
    }

    /// One look each period from second 0; 'true' at the looks that lead to a try.
    fn looks(watch: &mut Watch, from: u64, contents: &[&str]) -> Vec<bool> {
        (0..).zip(contents).map(|(n, text)| watch.look(Time::from_millis((from + n) * 10_000), PERIOD, content(text))).collect()
    }

    #[test]
    fn nothing_is_tried_before_it_has_rested_for_a_period() {
        let mut watch = Watch::new(content("old"));
        assert_eq!(looks(&mut watch, 0, &["old", "half", "whole", "whole"]), [false, false, false, true]);
        // Looked at twice in a hurry, it has not rested.
        let mut watch = Watch::new(content("old"));
        assert!(!watch.look(Time::from_millis(0), PERIOD, content("new")));
        assert!(!watch.look(Time::from_millis(9_999), PERIOD, content("new")));
        assert!(watch.look(Time::from_millis(10_000), PERIOD, content("new")));
    }

    #[test]
    fn what_is_in_force_is_not_tried_again() {
        let mut watch = Watch::new(content("old"));
        assert_eq!(looks(&mut watch, 0, &["new", "new"]), [false, true]);
        watch.in_force(content("new"));
        assert_eq!(looks(&mut watch, 2, &["new", "new", "new"]), [false, false, false]);
        // Changed and taken back.
        assert_eq!(looks(&mut watch, 5, &["other", "new", "other", "new"]), [false, false, false, false]);
        // By somebody else's reload.
        assert_eq!(looks(&mut watch, 9, &["third"]), [false]);
        watch.in_force(content("third"));
        assert_eq!(looks(&mut watch, 10, &["third", "third"]), [false, false]);
    }

    #[test]
    fn a_refused_content_is_told_of_once_and_tried_again_now_and_then() {
        let mut watch = Watch::new(content("old"));
        let why = ["sbc.key: this key does not belong".to_owned()];
        let (mut tries, mut told) = (0, 0);
        for second in 0..3_600 {
            let now = Time::from_millis(second * 1_000);
            if watch.look(now, PERIOD, content("bad")) {
                tries += 1;
                told += u32::from(watch.refused(now, content("bad"), &why));
            }
        }
        assert_eq!((tries, told), (12, 1));
        // The same content for another reason, another content, and the first again: each is told.
        let later = Time::from_millis(4_000_000);
        assert!(watch.refused(later, content("bad"), &["expired".to_owned()]));
        assert!(watch.refused(later, content("worse"), &why));
        assert!(watch.refused(later, content("bad"), &why));
        assert!(!watch.refused(later, content("bad"), &why));
    }

    #[test]
    fn a_mended_file_waits_one_period_only() {
        let mut watch = Watch::new(content("old"));
        assert_eq!(looks(&mut watch, 0, &["bad", "bad"]), [false, true]);
        watch.refused(Time::from_millis(10_000), content("bad"), &[]);
        assert_eq!(looks(&mut watch, 2, &["good", "good"]), [false, true]);
        watch.unsteady(Time::from_millis(30_000), content("better"));
        assert_eq!(looks(&mut watch, 4, &["better"]), [true]);
    }
}
