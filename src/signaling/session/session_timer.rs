//! The session timer of one leg, RFC 4028, in both roles: who asks in INVITE and UPDATE (§7), who answers (§9), who refreshes, when it ends (§10).
//!
//! A leg without agreement has no expiration; so it is with a peer that does not know session timers, unless a proxy on its way asked for one (then
//! we refresh, §9).

use std::time::Duration;

use crate::signaling::settings::SessionTimer;
use crate::sip::{Refresher, SessionExpires};
use crate::time::Time;

/// §4: no Session-Expires may be shorter, seconds.
const SHORTEST: u32 = 90;
/// §10: the end comes at most this long before the expiration.
const EARLIEST_END: Duration = Duration::from_secs(32);
/// How often a session's interval is raised for a 422: one per proxy on the way.
const MOST_RAISES: u8 = 3;
/// Between refreshes.
const QUICKEST: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub struct SessionExpiry {
    expires: u32,
    min_se: u32,
    /// The largest Min-SE the other side has shown; 0: none.
    heard: u32,
    /// 422s followed.
    raised: u8,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing agreed: the session does not expire.
    Off,
    /// We refresh. `refresh` is `None` while one is under way.
    Refreshing { refresh: Option<Time>, end: Time },
    /// The other side refreshes.
    Watching { end: Time },
    /// `Expired` has been said.
    Expired,
}

/// What an INVITE or UPDATE of ours carries, beside `Supported: timer`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Asked {
    pub session_expires: SessionExpires,
    /// Min-SE, seconds.
    pub min_se: Option<u32>,
}

/// What a received INVITE or UPDATE is to be answered with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reply {
    /// 422 with this Min-SE, seconds.
    TooSmall(u32),
    /// In its 2xx. Call `answered` when that is sent.
    Answer(Answer),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `None`: no Session-Expires, the session does not expire.
    pub session_expires: Option<SessionExpires>,
    /// Write `Require: timer`.
    pub require: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionTimeout {
    Nothing,
    /// Send an UPDATE or a re-INVITE carrying `ask()`.
    Refresh,
    /// No refresh came in time: end the session by BYE. Once.
    Expired,
}

impl SessionExpiry {
    pub fn new(settings: &SessionTimer) -> SessionExpiry {
        let min_se = settings.min_se.max(SHORTEST);
        SessionExpiry { expires: settings.expires.max(min_se), min_se, heard: 0, raised: 0, state: State::Off }
    }

    /// What to write into an INVITE or UPDATE. Within a session the roles are kept (§7.4); at first the other side chooses.
    pub fn ask(&self) -> Asked {
        let refresher = match self.state {
            State::Off | State::Expired => None,
            State::Refreshing { .. } => Some(Refresher::Uac),
            State::Watching { .. } => Some(Refresher::Uas),
        };
        let min_se = self.min_se.max(self.heard);
        Asked {
            session_expires: SessionExpires { seconds: self.expires.max(self.heard), refresher },
            min_se: (min_se > SHORTEST || self.heard > 0).then_some(min_se),
        }
    }

    /// A 2xx to our INVITE or UPDATE. Without Session-Expires there is no expiration, also where there was one before (§7.2).
    pub fn on_answer(&mut self, now: Time, answered: Option<SessionExpires>) {
        self.state = match answered {
            None => State::Off,
            Some(agreed) => start(now, agreed.seconds, agreed.refresher != Some(Refresher::Uas)),
        };
    }

    /// A 422 with its Min-SE. True: ask once more, by `ask()`. False: it names nothing higher than was asked for, or it is the fourth of its kind, so
    /// asking again is of no use.
    pub fn on_too_small(&mut self, min_se: Option<u32>) -> bool {
        match min_se {
            Some(min_se) if min_se > self.expires.max(self.heard) && self.raised < MOST_RAISES => {
                self.raised += 1;
                self.heard = min_se;
                true
            }
            _ => false,
        }
    }

    /// An INVITE or UPDATE from the other side: its Session-Expires, its Min-SE, and whether it says `Supported: timer` (§9, table 2).
    pub fn on_request(&mut self, asked: Option<SessionExpires>, min_se: Option<u32>, supports_timer: bool) -> Reply {
        const NONE: Reply = Reply::Answer(Answer { session_expires: None, require: false });
        self.heard = self.heard.max(min_se.unwrap_or(0));
        let floor = min_se.unwrap_or(0).max(SHORTEST);
        let refresher = match (supports_timer, asked.and_then(|asked| asked.refresher)) {
            (false, _) => Refresher::Uas,
            (true, Some(refresher)) => refresher,
            // The roles stay; at first the side that asks refreshes.
            (true, None) if matches!(self.state, State::Refreshing { .. }) => Refresher::Uas,
            (true, None) => Refresher::Uac,
        };
        let seconds = match asked {
            Some(asked) if asked.seconds < self.min_se && supports_timer => return Reply::TooSmall(self.min_se),
            // It would not understand 422, and shorter than our Min-SE is not for us to keep.
            Some(asked) if asked.seconds < self.min_se => return NONE,
            // It may be made shorter, never longer (§9).
            Some(asked) => self.expires.max(floor).min(asked.seconds),
            None if supports_timer => self.expires.max(floor),
            None => return NONE,
        };
        let session_expires = Some(SessionExpires { seconds, refresher: Some(refresher) });
        Reply::Answer(Answer { session_expires, require: refresher == Refresher::Uac })
    }

    /// The 2xx with `answer` has been sent.
    pub fn answered(&mut self, now: Time, answer: &Answer) {
        self.state = match answer.session_expires {
            None => State::Off,
            Some(agreed) => start(now, agreed.seconds, agreed.refresher == Some(Refresher::Uas)),
        };
    }

    /// A refresh was refused with something that leaves the session standing (491, 500 …): again after `wait`. (408 and 481 end the dialog.)
    pub fn refresh_refused(&mut self, now: Time, wait: Duration) {
        if let State::Refreshing { refresh, .. } = &mut self.state {
            *refresh = Some(now + wait);
        }
    }

    /// We are the refresher.
    pub fn is_refresher(&self) -> bool {
        matches!(self.state, State::Refreshing { .. })
    }

    pub fn deadline(&self) -> Option<Time> {
        match self.state {
            State::Off | State::Expired => None,
            State::Refreshing { refresh, end } => Some(refresh.map_or(end, |refresh| refresh.min(end))),
            State::Watching { end } => Some(end),
        }
    }

    pub fn timeout(&mut self, now: Time) -> SessionTimeout {
        match &mut self.state {
            State::Refreshing { end, .. } | State::Watching { end } if now >= *end => {
                self.state = State::Expired;
                SessionTimeout::Expired
            }
            State::Refreshing { refresh, .. } if refresh.is_some_and(|refresh| now >= refresh) => {
                *refresh = None;
                SessionTimeout::Refresh
            }
            _ => SessionTimeout::Nothing,
        }
    }
}

/// §10: refresh at half; end min(32 s, a third) before the expiration. A peer that agrees to less than §4 allows is refreshed in its own time, though
/// not faster than `QUICKEST`, and is not given up before the shortest lawful session would be.
fn start(now: Time, seconds: u32, we_refresh: bool) -> State {
    let said = Duration::from_secs(u64::from(seconds));
    let whole = Duration::from_secs(u64::from(seconds.max(SHORTEST)));
    let end = now + whole.saturating_sub((whole / 3).min(EARLIEST_END));
    if we_refresh { State::Refreshing { refresh: Some(now + (said / 2).max(QUICKEST)), end } } else { State::Watching { end } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expiry(expires: u32, min_se: u32) -> SessionExpiry {
        SessionExpiry::new(&SessionTimer { expires, min_se })
    }

    fn se(seconds: u32, refresher: Option<Refresher>) -> Option<SessionExpires> {
        Some(SessionExpires { seconds, refresher })
    }

    fn at(seconds: u64) -> Time {
        Time::from_millis(seconds * 1000)
    }

    fn answer(reply: Reply) -> Answer {
        match reply {
            Reply::Answer(answer) => answer,
            Reply::TooSmall(min_se) => panic!("422 with {min_se}"),
        }
    }

    #[test]
    fn asks_first_without_a_role_and_min_se_only_above_90() {
        assert_eq!(expiry(1800, 90).ask(), Asked { session_expires: SessionExpires { seconds: 1800, refresher: None }, min_se: None });
        assert_eq!(expiry(1800, 120).ask().min_se, Some(120));
        assert_eq!(expiry(10, 20).ask().session_expires.seconds, 90);
    }

    #[test]
    fn uac_refreshes_at_half_and_ends_32_s_before() {
        let mut expiry = expiry(1800, 90);
        expiry.on_answer(at(10), se(1800, Some(Refresher::Uac)));
        assert!(expiry.is_refresher());
        assert_eq!(expiry.deadline(), Some(at(910)));
        assert_eq!(expiry.timeout(at(909)), SessionTimeout::Nothing);
        assert_eq!(expiry.timeout(at(910)), SessionTimeout::Refresh);
        assert_eq!(expiry.ask().session_expires.refresher, Some(Refresher::Uac));
        assert_eq!(expiry.timeout(at(911)), SessionTimeout::Nothing);
        assert_eq!(expiry.deadline(), Some(at(1778)));
        expiry.on_answer(at(912), se(1800, Some(Refresher::Uac)));
        assert_eq!(expiry.deadline(), Some(at(1812)));
    }

    #[test]
    fn uas_as_refresher_is_watched_and_a_short_session_ends_a_third_before() {
        let mut expiry = expiry(1800, 90);
        expiry.on_answer(at(0), se(90, Some(Refresher::Uas)));
        assert!(!expiry.is_refresher());
        assert_eq!(expiry.ask().session_expires.refresher, Some(Refresher::Uas));
        assert_eq!(expiry.deadline(), Some(at(60)));
        assert_eq!(expiry.timeout(at(60)), SessionTimeout::Expired);
        assert_eq!((expiry.timeout(at(61)), expiry.deadline()), (SessionTimeout::Nothing, None));
    }

    #[test]
    fn an_answer_without_session_expires_turns_the_timer_off() {
        let mut expiry = expiry(1800, 90);
        expiry.on_answer(at(0), se(1800, None));
        assert!(expiry.is_refresher());
        expiry.on_answer(at(900), None);
        assert_eq!(expiry.deadline(), None);
    }

    #[test]
    fn too_small_is_asked_again_with_the_other_sides_min_se() {
        let mut expiry = expiry(600, 90);
        assert!(expiry.on_too_small(Some(900)));
        let asked = expiry.ask();
        assert_eq!((asked.session_expires.seconds, asked.min_se), (900, Some(900)));
        assert!(!expiry.on_too_small(Some(900)), "the same again would loop for ever");
        assert!(!expiry.on_too_small(None));
        assert!(expiry.on_too_small(Some(1200)));
        assert!(expiry.on_too_small(Some(1300)));
        assert!(!expiry.on_too_small(Some(1400)), "one that always wants more");
    }

    #[test]
    fn a_request_below_our_min_se_is_refused_only_where_422_is_understood() {
        let mut expiry = expiry(1800, 120);
        assert_eq!(expiry.on_request(se(100, None), None, true), Reply::TooSmall(120));
        assert_eq!(answer(expiry.on_request(se(100, None), None, false)).session_expires, None);
        assert_eq!(answer(expiry.on_request(se(120, None), None, true)).session_expires, se(120, Some(Refresher::Uac)));
    }

    /// RFC 4028 table 2, each row.
    #[test]
    fn refresher_is_chosen_by_table_2() {
        use Refresher::{Uac, Uas};
        for (supports, asked, chosen) in
            [(false, None, Uas), (false, Some(Uac), Uas), (false, Some(Uas), Uas), (true, None, Uac), (true, Some(Uac), Uac), (true, Some(Uas), Uas)]
        {
            let answer = answer(expiry(1800, 90).on_request(se(1800, asked), None, supports));
            assert_eq!(answer.session_expires, se(1800, Some(chosen)), "{supports} {asked:?}");
            assert_eq!(answer.require, chosen == Uac);
        }
    }

    #[test]
    fn the_answer_is_never_longer_than_asked_nor_shorter_than_the_askers_min_se() {
        let mut expiry = expiry(600, 90);
        assert_eq!(answer(expiry.on_request(se(300, None), None, true)).session_expires.map(|s| s.seconds), Some(300));
        assert_eq!(answer(expiry.on_request(se(1800, None), None, true)).session_expires.map(|s| s.seconds), Some(600));
        assert_eq!(answer(expiry.on_request(se(1800, None), Some(900), true)).session_expires.map(|s| s.seconds), Some(900));
        assert_eq!(answer(expiry.on_request(None, Some(900), true)).session_expires.map(|s| s.seconds), Some(900));
    }

    #[test]
    fn a_peer_without_timers_gets_none_unless_a_proxy_asked() {
        let mut expiry = expiry(1800, 90);
        assert_eq!(expiry.on_request(None, None, false), Reply::Answer(Answer { session_expires: None, require: false }));
        let proxied = answer(expiry.on_request(se(1800, None), None, false));
        assert_eq!(proxied, Answer { session_expires: se(1800, Some(Refresher::Uas)), require: false });
        expiry.answered(at(0), &proxied);
        assert_eq!((expiry.is_refresher(), expiry.deadline()), (true, Some(at(900))));
    }

    #[test]
    fn roles_stay_when_a_later_request_names_none() {
        let mut expiry = expiry(1800, 90);
        let first = answer(expiry.on_request(se(1800, Some(Refresher::Uas)), None, true));
        expiry.answered(at(0), &first);
        assert!(expiry.is_refresher());
        let again = answer(expiry.on_request(se(1800, None), None, true));
        assert_eq!(again.session_expires, se(1800, Some(Refresher::Uas)));
    }

    #[test]
    fn a_refused_refresh_is_tried_again_until_the_end() {
        let mut expiry = expiry(1800, 90);
        expiry.on_answer(at(0), se(1800, Some(Refresher::Uac)));
        assert_eq!(expiry.timeout(at(900)), SessionTimeout::Refresh);
        expiry.refresh_refused(at(901), Duration::from_secs(3));
        assert_eq!(expiry.timeout(at(904)), SessionTimeout::Refresh);
        assert_eq!(expiry.timeout(at(1768)), SessionTimeout::Expired);
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        let mut expiry = expiry(u32::MAX, u32::MAX);
        expiry.on_answer(Time::from_nanos(u64::MAX - 5), se(u32::MAX, None));
        assert!(expiry.deadline().is_some());
    }

    #[test]
    fn an_answer_below_90_s_neither_ends_the_call_nor_makes_a_storm() {
        let mut expiry = expiry(1800, 90);
        expiry.on_answer(at(0), se(0, None));
        assert_eq!(expiry.timeout(at(4)), SessionTimeout::Nothing);
        assert_eq!(expiry.timeout(at(5)), SessionTimeout::Refresh);
        assert_eq!(expiry.deadline(), Some(at(60)));
    }
}
