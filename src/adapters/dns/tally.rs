//! What lookups came to, by how they ended. One question for one type of record each; what a cache or the hosts file answers counts as well.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// By the word for how they ended: a few, all our own.
#[derive(Debug, Default)]
pub(super) struct Tally(Mutex<BTreeMap<&'static str, u64>>);

impl Tally {
    pub fn count(&self, ended: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(ended).or_default() += 1;
    }

    /// Those that happened, by word.
    pub fn each(&self) -> Vec<(&'static str, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|(word, count)| (*word, *count)).collect()
    }
}
