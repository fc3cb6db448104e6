//! TLS handshakes, by direction, peer and what came of them: all of them, where the log is told of some.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::connection::Direction;

/// Peers counted by name; reloads could bring ever new ones.
const NAMES: usize = 1000;

/// The result where nothing was wrong.
pub(super) const DONE: &str = "done";

/// So many handshakes with a peer came to this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shaken {
    pub inbound: bool,
    /// `several`: more than one lives where it came from; `none`: the certificate is none of theirs; `other`: beyond the first thousand.
    pub peer: Arc<str>,
    /// `done`, or a reason's code.
    pub result: &'static str,
    pub count: u64,
}

#[derive(Default)]
pub(super) struct Tally(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    by: BTreeMap<(bool, Arc<str>, &'static str), u64>,
    names: BTreeSet<Arc<str>>,
}

impl Tally {
    pub fn count(&self, direction: Direction, peer: &Arc<str>, result: &'static str) {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = counted.names.contains(peer) || (counted.names.len() < NAMES && counted.names.insert(Arc::clone(peer)));
        let name = if is_known { Arc::clone(peer) } else { "other".into() };
        *counted.by.entry((direction == Direction::Inbound, name, result)).or_default() += 1;
    }

    pub fn each(&self) -> Vec<Shaken> {
        let counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.by.iter().map(|((inbound, peer, result), count)| Shaken { inbound: *inbound, peer: Arc::clone(peer), result, count: *count }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_nothing_is_left_out() {
        let tally = Tally::default();
        for number in 0..NAMES + 5 {
            tally.count(Direction::Outbound, &format!("peer-{number}").into(), "done");
        }
        tally.count(Direction::Inbound, &"peer-0".into(), "tls.broken");
        let each = tally.each();
        assert_eq!(each.len(), NAMES + 2, "the thousand, the rest, and one inbound");
        assert_eq!(each.iter().map(|shaken| shaken.count).sum::<u64>(), NAMES as u64 + 6);
        assert!(each.contains(&Shaken { inbound: false, peer: "other".into(), result: "done", count: 5 }));
        assert!(each.contains(&Shaken { inbound: true, peer: "peer-0".into(), result: "tls.broken", count: 1 }));
    }
}
