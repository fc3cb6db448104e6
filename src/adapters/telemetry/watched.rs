//! Gauges of watched peers: how many of a peer's addresses are in which state, how many take calls, and how fast the last answer came. A peer that
//! is watched no more has none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{GaugeVec, IntGaugeVec};

use crate::policy::liveness::Liveness;

pub(super) struct Watched {
    /// `portcullis_peer_up{peer}`.
    pub up: IntGaugeVec,
    /// `portcullis_peer_addresses{peer, state}`.
    pub addresses: IntGaugeVec,
    /// `portcullis_peer_answer_seconds{peer}`.
    pub answer: GaugeVec,
    /// By the peer's label: several peers may share one.
    known: HashMap<Arc<str>, States>,
}

type States = HashMap<(Arc<str>, SocketAddr), Liveness>;

impl Watched {
    pub fn new(up: IntGaugeVec, addresses: IntGaugeVec, answer: GaugeVec) -> Watched {
        Watched { up, addresses, answer, known: HashMap::new() }
    }

    pub fn changed(&mut self, label: &Arc<str>, peer: &Arc<str>, address: SocketAddr, state: Liveness) {
        let known = self.known.entry(Arc::clone(label)).or_default();
        let key = (Arc::clone(peer), address);
        if state == Liveness::Unwatched {
            known.remove(&key);
        } else {
            known.insert(key, state);
        }
        if known.is_empty() {
            self.known.remove(label);
            return self.forget(label);
        }
        let count = |holds: &dyn Fn(&Liveness) -> bool| i64::try_from(known.values().filter(|state| holds(state)).count()).unwrap_or(i64::MAX);
        self.up.with_label_values(&[label.as_ref()]).set(count(&|state| state.is_usable()));
        for word in Liveness::WORDS {
            self.addresses.with_label_values(&[label.as_ref(), word]).set(count(&|state| state.word() == word));
        }
    }

    pub fn answered(&self, label: &Arc<str>, took: Duration) {
        if self.known.contains_key(label) {
            self.answer.with_label_values(&[label.as_ref()]).set(took.as_secs_f64());
        }
    }

    /// A series that was never made cannot be removed, which is no harm.
    fn forget(&self, label: &Arc<str>) {
        let _ = self.up.remove_label_values(&[label.as_ref()]);
        let _ = self.answer.remove_label_values(&[label.as_ref()]);
        for word in Liveness::WORDS {
            let _ = self.addresses.remove_label_values(&[label.as_ref(), word]);
        }
    }
}
