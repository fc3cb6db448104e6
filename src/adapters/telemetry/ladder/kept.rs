//! The last calls' facts in bounded memory, for the ladder. Keys and credentials are blotted out before anything is kept.

use std::collections::{HashMap, VecDeque};

use super::Settings;
use crate::adapters::telemetry::redact::redact;
use crate::signaling::fact::{CallId, Fact, What};

/// What a fact without a message takes, about.
const NOTE_BYTES: usize = 512;

pub(in crate::adapters::telemetry) struct Ladders {
    settings: Settings,
    calls: HashMap<CallId, Kept>,
    /// Oldest first.
    order: VecDeque<CallId>,
    bytes: usize,
}

#[derive(Default)]
struct Kept {
    facts: Vec<Fact>,
    bytes: usize,
}

impl Ladders {
    pub fn new(settings: Settings) -> Ladders {
        Ladders { settings, calls: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }

    /// Facts of no call are not kept.
    pub fn keep(&mut self, mut fact: Fact) {
        let Some(call) = fact.call else { return };
        if self.settings.calls == 0 {
            return;
        }
        let kept = self.calls.entry(call).or_insert_with(|| {
            self.order.push_back(call);
            Kept::default()
        });
        // The end of a call is worth more than one message more.
        if kept.facts.len() >= self.settings.entries && !matches!(fact.what, What::CallEnded(_)) {
            return;
        }
        let mut size = NOTE_BYTES;
        if let What::Received { bytes, .. } | What::Sent { bytes, .. } = &mut fact.what {
            // A copy: the original may be a slice of a large receive buffer.
            *bytes = redact(bytes);
            size += bytes.len();
        }
        kept.facts.push(fact);
        kept.bytes += size;
        self.bytes += size;
        while self.order.len() > self.settings.calls || (self.bytes > self.settings.bytes && !self.order.is_empty()) {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some(gone) = self.calls.remove(&oldest) {
                self.bytes = self.bytes.saturating_sub(gone.bytes);
            }
        }
    }

    pub fn facts(&self, call: CallId) -> Option<Vec<Fact>> {
        self.calls.get(&call).map(|kept| kept.facts.clone())
    }

    pub fn calls(&self) -> Vec<CallId> {
        self.order.iter().copied().collect()
    }
}
