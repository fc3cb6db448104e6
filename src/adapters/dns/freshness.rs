//! The state of one host name: when to ask again, what holds meanwhile, how long the last good answer is kept.
//!
//! | answer | what holds | state |
//! |---|---|---|
//! | addresses | these; asked again before their TTL ends | fresh |
//! | addresses, but a question failed | these and the last good ones, for the grace; then these | stale |
//! | none came in time | the last good ones, for the grace; then none | stale, then unresolved |
//! | the name does not exist | the last good ones, until a second question says so again; then none | stale, then unresolved |
//!
//! An unresolved name is asked again when the word that it does not exist ends (RFC 2308), a failing one after the floor, then after twice that.

use std::net::IpAddr;
use std::time::Duration;

use super::status::NameStateWord;
use super::{Settings, asking};
use crate::signaling::fact::{NameError, NameState};
use crate::time::Time;

/// Addresses held at most, also when half answers bring ever new ones.
pub(super) const HELD: usize = 128;

/// One address of an answer, and how long it holds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Address {
    pub ip: IpAddr,
    /// `None`: for ever.
    pub ttl: Option<Duration>,
}

/// What a question came to.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Answered {
    /// Never empty. `ttl`: the shortest of all it rests on.
    Whole {
        addresses: Vec<Address>,
        ttl: Option<Duration>,
    },
    /// Never empty, but some question failed: there may be more.
    Half {
        addresses: Vec<Address>,
        error: NameError,
    },
    /// It does not exist, for so long at least.
    Absent {
        ttl: Option<Duration>,
    },
    Failed(NameError),
}

/// What an answer changed.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    /// What is worth telling.
    pub told: Option<NameState>,
    /// Other addresses hold than before.
    pub addresses: bool,
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    /// Never answered.
    New,
    Fresh,
    /// Not answered any more. At `until` only `then` is left.
    Stale {
        until: Time,
        then: Vec<Held>,
        error: NameError,
    },
    Unresolved {
        error: NameError,
    },
}

/// An address that holds, and when its TTL ends.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Held {
    pub ip: IpAddr,
    pub ends: Option<Time>,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Freshness {
    state: State,
    /// Since when the state is this one.
    since: Time,
    addresses: Vec<Held>,
    /// The last time an answer was whole.
    answered: Option<Time>,
    /// Of the last question.
    error: Option<NameError>,
    /// When to ask; `None` while a question is under way.
    due: Option<Time>,
    failures: u32,
    seed: u64,
}

impl Freshness {
    /// `seed`: the name's own, for [`asking`].
    pub fn new(now: Time, seed: u64) -> Freshness {
        Freshness { state: State::New, since: now, addresses: Vec::new(), answered: None, error: None, due: Some(now), failures: 0, seed }
    }

    /// What the name stands for now.
    pub fn addresses(&self) -> impl ExactSizeIterator<Item = IpAddr> {
        self.addresses.iter().map(|held| held.ip)
    }

    pub fn held(&self) -> &[Held] {
        &self.addresses
    }

    pub fn word(&self) -> NameStateWord {
        match self.state {
            State::Fresh => NameStateWord::Fresh,
            State::Stale { .. } => NameStateWord::Stale,
            State::New | State::Unresolved { .. } => NameStateWord::Unresolved,
        }
    }

    /// Since when the state is what it is.
    pub fn since(&self) -> Time {
        self.since
    }

    pub fn last_answer(&self) -> Option<Time> {
        self.answered
    }

    /// Of the last question, if it failed.
    pub fn last_error(&self) -> Option<NameError> {
        self.error
    }

    pub fn grace_until(&self) -> Option<Time> {
        if let State::Stale { until, .. } = self.state { Some(until) } else { None }
    }

    /// `None`: a question is under way.
    pub fn next_question(&self) -> Option<Time> {
        self.due
    }

    /// Answered, or failed, at least once.
    pub fn is_settled(&self) -> bool {
        self.state != State::New
    }

    /// The last question failed: the next may take long.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Whether to ask now; if so, the question counts as under way.
    pub fn take_due(&mut self, now: Time) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
        }
        due
    }

    /// A name without good addresses is asked for now, whatever its last answer said.
    pub fn hurry(&mut self, now: Time) {
        if !matches!(self.state, State::Fresh) && self.due.is_some() {
            self.due = Some(now);
        }
    }

    /// Asked for now, whatever holds and whatever is under way: others are asked. What holds stays until they have answered.
    pub fn ask_anew(&mut self, now: Time) {
        self.due = Some(now);
    }

    pub fn deadline(&self) -> Option<Time> {
        [self.due, self.grace_until()].into_iter().flatten().min()
    }

    /// The question under way came to an end.
    pub fn answered(&mut self, now: Time, answered: Answered, settings: &Settings) -> Change {
        let held = |all: Vec<Address>| all.into_iter().take(HELD).map(|one| Held { ip: one.ip, ends: one.ttl.map(|ttl| now + ttl) }).collect::<Vec<_>>();
        self.seed = asking::next_seed(self.seed);
        let failures = self.failures;
        let (wait, change) = match answered {
            Answered::Whole { addresses, ttl } => {
                (self.failures, self.error, self.answered) = (0, None, Some(now));
                (asking::after_answer(ttl, settings, self.seed), self.accept(now, held(addresses)))
            }
            Answered::Half { addresses, error } => {
                self.failures = failures.saturating_add(1);
                (asking::after_failure(failures, settings, self.seed), self.keep_beside(now, held(addresses), error, settings))
            }
            Answered::Absent { ttl } => {
                self.failures = failures.saturating_add(1);
                let change = self.keep(now, NameError::Absent, settings);
                let wait = match self.state {
                    State::Stale { .. } => asking::second_word(ttl, settings, self.seed),
                    State::New | State::Fresh | State::Unresolved { .. } => asking::after_absence(ttl, failures, settings, self.seed),
                };
                (wait, change)
            }
            Answered::Failed(error) => {
                self.failures = failures.saturating_add(1);
                (asking::after_failure(failures, settings, self.seed), self.keep(now, error, settings))
            }
        };
        self.due = Some(now + wait);
        change
    }

    /// The grace may be over.
    pub fn expire(&mut self, now: Time) -> Change {
        match &mut self.state {
            State::Stale { until, then, error } if *until <= now => {
                let (then, error) = (std::mem::take(then), *error);
                if then.is_empty() { self.give_up(now, error) } else { self.accept(now, then) }
            }
            State::New | State::Fresh | State::Stale { .. } | State::Unresolved { .. } => Change { told: None, addresses: false },
        }
    }

    fn accept(&mut self, now: Time, addresses: Vec<Held>) -> Change {
        // Servers rotate their records: another order is no change.
        let same = same_set(&addresses, &self.addresses);
        if same {
            let ends = |ip: IpAddr| addresses.iter().find(|held| held.ip == ip).and_then(|held| held.ends);
            self.addresses.iter_mut().for_each(|held| held.ends = ends(held.ip));
        } else {
            self.addresses = addresses;
        }
        if self.state == State::Fresh {
            let told = (!same).then(|| NameState::Fresh { addresses: self.addresses().collect() });
            return Change { told, addresses: !same };
        }
        (self.state, self.since) = (State::Fresh, now);
        Change { told: Some(NameState::Fresh { addresses: self.addresses().collect() }), addresses: !same }
    }

    fn keep_beside(&mut self, now: Time, then: Vec<Held>, error: NameError, settings: &Settings) -> Change {
        self.error = Some(error);
        let is_new = |known: &[Held], one: &Held| !known.iter().any(|held| held.ip == one.ip);
        if !self.addresses.iter().any(|held| is_new(&then, held)) {
            return self.accept(now, then);
        }
        let before = self.addresses.len();
        for one in &then {
            if is_new(&self.addresses, one) && self.addresses.len() < HELD {
                self.addresses.push(*one);
            }
        }
        let addresses = self.addresses.len() != before;
        match &mut self.state {
            State::Stale { then: before, .. } => {
                *before = then;
                Change { told: None, addresses }
            }
            State::New | State::Fresh | State::Unresolved { .. } => Change { told: Some(self.go_stale(now, then, error, settings)), addresses },
        }
    }

    fn keep(&mut self, now: Time, error: NameError, settings: &Settings) -> Change {
        self.error = Some(error);
        match &mut self.state {
            State::Fresh if !settings.grace.is_zero() => Change { told: Some(self.go_stale(now, Vec::new(), error, settings)), addresses: false },
            State::Stale { error: before, .. } => {
                let confirmed = *before == NameError::Absent && error == NameError::Absent;
                *before = error;
                if confirmed { self.give_up(now, error) } else { Change { told: None, addresses: false } }
            }
            State::New | State::Fresh => self.give_up(now, error),
            State::Unresolved { error: before } => {
                *before = error;
                Change { told: None, addresses: false }
            }
        }
    }

    fn go_stale(&mut self, now: Time, then: Vec<Held>, error: NameError, settings: &Settings) -> NameState {
        (self.state, self.since) = (State::Stale { until: now + settings.grace, then, error }, now);
        NameState::Stale { error, age: self.answered.map_or(Duration::ZERO, |answered| now - answered), grace: settings.grace }
    }

    fn give_up(&mut self, now: Time, error: NameError) -> Change {
        (self.state, self.since) = (State::Unresolved { error }, now);
        let addresses = !self.addresses.is_empty();
        self.addresses.clear();
        Change { told: Some(NameState::Unresolved { error }), addresses }
    }
}

fn same_set(a: &[Held], b: &[Held]) -> bool {
    a.len() == b.len() && a.iter().all(|held| b.iter().any(|other| other.ip == held.ip))
}

#[cfg(test)]
mod tests;
