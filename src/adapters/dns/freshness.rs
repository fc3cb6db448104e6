//! The state of one host name: when to ask again, what holds meanwhile, how long the last good answer is kept.
//!
//! | answer | what holds |
//! |---|---|
//! | addresses, complete | these; asked again when nine tenths of the TTL are over, between floor and ceiling |
//! | addresses, but a question failed | these and the last good ones, for the grace; then these |
//! | none came in time | the last good ones, for the grace; then none |
//! | the name does not exist | the last good ones, until a second question a floor later says so again; then none |
//!
//! A failing name is asked again after the floor, then after twice that, up to a minute.

use std::net::IpAddr;
use std::time::Duration;

use super::Settings;
use crate::signaling::event::LocateError;
use crate::signaling::fact::NameState;
use crate::time::Time;

/// The longest a failing name waits to be asked again (the floor, where that is longer).
const RETRY: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Answered {
    pub addresses: Result<Vec<IpAddr>, LocateError>,
    pub complete: bool,
    pub ttl: Option<Duration>,
}

#[derive(Clone, PartialEq, Debug)]
enum State {
    /// Never answered.
    New,
    Fresh,
    /// Not answered any more. At `until` only `then` is left.
    Kept {
        until: Time,
        then: Vec<IpAddr>,
        error: LocateError,
    },
    Gone,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Freshness {
    state: State,
    addresses: Vec<IpAddr>,
    /// When to ask; `None` while a question is under way.
    due: Option<Time>,
    failures: u32,
}

impl Freshness {
    pub fn new(now: Time) -> Freshness {
        Freshness { state: State::New, addresses: Vec::new(), due: Some(now), failures: 0 }
    }

    /// What the name stands for now.
    pub fn addresses(&self) -> &[IpAddr] {
        &self.addresses
    }

    /// Answered, or failed, at least once.
    pub fn is_settled(&self) -> bool {
        self.state != State::New
    }

    /// Whether to ask now; if so, the question counts as under way.
    pub fn take_due(&mut self, now: Time) -> bool {
        let due = self.due.is_some_and(|due| due <= now);
        if due {
            self.due = None;
        }
        due
    }

    pub fn deadline(&self) -> Option<Time> {
        let until = match &self.state {
            State::Kept { until, .. } => Some(*until),
            State::New | State::Fresh | State::Gone => None,
        };
        [self.due, until].into_iter().flatten().min()
    }

    /// The question under way came to an end. Says what is worth telling.
    pub fn answered(&mut self, now: Time, answered: Answered, settings: &Settings) -> Option<NameState> {
        let floor = settings.floor.max(Duration::from_millis(10));
        match answered.addresses {
            Ok(addresses) if answered.complete => {
                self.failures = 0;
                let ttl = answered.ttl.unwrap_or(settings.ceiling);
                self.due = Some(now + (ttl * 9 / 10).min(settings.ceiling).max(floor));
                self.accept(addresses)
            }
            Ok(addresses) => {
                self.retry(now, floor);
                self.keep_beside(now, addresses, settings)
            }
            Err(error) => {
                self.retry(now, floor);
                self.keep(now, error, settings)
            }
        }
    }

    /// The grace may be over. Says what is worth telling.
    pub fn expire(&mut self, now: Time) -> Option<NameState> {
        match &mut self.state {
            State::Kept { until, then, error } if *until <= now => {
                let (then, error) = (std::mem::take(then), *error);
                if then.is_empty() { Some(self.give_up(error)) } else { self.accept(then) }
            }
            State::New | State::Fresh | State::Kept { .. } | State::Gone => None,
        }
    }

    fn retry(&mut self, now: Time, floor: Duration) {
        let wait = floor.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        self.due = Some(now + wait.min(RETRY).max(floor));
    }

    fn accept(&mut self, addresses: Vec<IpAddr>) -> Option<NameState> {
        // Servers rotate their records: another order is no change.
        let same = same_set(&addresses, &self.addresses);
        let was_fresh = std::mem::replace(&mut self.state, State::Fresh) == State::Fresh;
        if same && was_fresh {
            return None;
        }
        if !same {
            self.addresses = addresses;
        }
        Some(NameState::Fresh { addresses: self.addresses.clone() })
    }

    fn keep_beside(&mut self, now: Time, then: Vec<IpAddr>, settings: &Settings) -> Option<NameState> {
        let unseen = self.addresses.iter().any(|address| !then.contains(address));
        if !unseen {
            return self.accept(then);
        }
        self.addresses.extend(then.iter().filter(|address| !self.addresses.contains(address)).copied().collect::<Vec<_>>());
        match &mut self.state {
            State::Kept { then: before, .. } => {
                *before = then;
                None
            }
            State::New | State::Fresh | State::Gone => {
                self.state = State::Kept { until: now + settings.grace, then, error: LocateError::Failed };
                Some(NameState::Kept { error: LocateError::Failed, grace: settings.grace })
            }
        }
    }

    fn keep(&mut self, now: Time, error: LocateError, settings: &Settings) -> Option<NameState> {
        match &mut self.state {
            State::Fresh if !self.addresses.is_empty() => {
                self.state = State::Kept { until: now + settings.grace, then: Vec::new(), error };
                Some(NameState::Kept { error, grace: settings.grace })
            }
            State::Kept { error: before, .. } => {
                let confirmed = *before == LocateError::NotFound && error == LocateError::NotFound;
                *before = error;
                confirmed.then(|| self.give_up(error))
            }
            State::New | State::Fresh => Some(self.give_up(error)),
            State::Gone => None,
        }
    }

    fn give_up(&mut self, error: LocateError) -> NameState {
        self.state = State::Gone;
        self.addresses.clear();
        NameState::Gone { error }
    }
}

fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    a.len() == b.len() && a.iter().all(|address| b.contains(address))
}

#[cfg(test)]
mod tests;
