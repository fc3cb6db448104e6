//! What a simulated party has to say of its decisions: a line each, kept for tests and handed on to whoever shows them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// Lines kept; the oldest go first.
const KEPT: usize = 10_000;

type Teller = Arc<dyn Fn(&str) + Send + Sync>;

/// Clones write to the same log.
#[derive(Clone, Default)]
pub struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    teller: Option<Teller>,
}

impl Log {
    /// Kept and handed to `teller`, line by line.
    pub fn told(teller: impl Fn(&str) + Send + Sync + 'static) -> Log {
        Log { lines: Arc::default(), teller: Some(Arc::new(teller)) }
    }

    pub fn say(&self, line: impl Into<String>) {
        // A caller's bytes must not forge lines.
        let line: String = line.into().chars().map(|character| if character.is_control() { ' ' } else { character }).collect();
        if let Some(teller) = &self.teller {
            teller(&line);
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= KEPT {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    pub fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Whether a line has all of these words in it.
    pub fn tells(&self, words: &[&str]) -> bool {
        self.lines().iter().any(|line| words.iter().all(|word| line.contains(word)))
    }
}
