//! How much the core holds, as it was told last, and how full the queues around it are: for operators and in Prometheus' text exposition.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::adapters::net::NetEvent;
use crate::adapters::telemetry::Sink;
use crate::app::vitals::head;
use crate::signaling::census::Census;
use crate::signaling::fact::{Fact, What};

/// All clones are one.
#[derive(Clone, Default)]
pub struct Held(Arc<Mutex<Census>>);

impl Held {
    pub fn note(&self, fact: &Fact) {
        if let What::Census(census) = &fact.what {
            (*self.0.lock().unwrap_or_else(PoisonError::into_inner)).clone_from(census);
        }
    }

    /// Nothing before the core was first asked.
    pub fn exposition(&self) -> String {
        let census = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if census.ports.is_empty() {
            return String::new();
        }
        let mut text = head("portcullis_transactions", "gauge", "Transactions standing, by the figures of RFC 3261 section 17");
        // Writing into a String does not fail.
        for (kind, count) in census.transactions.each() {
            let _ = writeln!(text, "portcullis_transactions{{kind=\"{kind}\"}} {count}");
        }
        text += &head("portcullis_dialogs", "gauge", "Dialogs of calls, by how it stands with their call");
        for (state, count) in census.dialogs.each() {
            let _ = writeln!(text, "portcullis_dialogs{{state=\"{state}\"}} {count}");
        }
        text += &head("portcullis_under_way", "gauge", "What the core waits for: names that calls are to go to, answers to requests of ours outside calls");
        let _ = writeln!(text, "portcullis_under_way{{what=\"location\"}} {}\nportcullis_under_way{{what=\"request\"}} {}", census.locating, census.errands);
        text += &head("portcullis_media_ports", "gauge", "Pairs of media ports at each of our addresses, by state");
        for ports in &census.ports {
            for (state, count) in ports.each() {
                let _ = writeln!(text, "portcullis_media_ports{{address=\"{}\",state=\"{state}\"}} {count}", ports.address);
            }
        }
        text
    }
}

/// Queues whose other end is elsewhere.
pub struct Queues {
    /// Not kept open for this.
    pub network: mpsc::WeakSender<NetEvent>,
    pub telemetry: Sink,
}

impl Queues {
    /// `more`: of others, by their name: what waits, and how much may.
    pub fn exposition(&self, more: &[(&str, u64, u64)]) -> String {
        let network = self.network.upgrade().map(|queue| ("network", (queue.max_capacity() - queue.capacity()) as u64, queue.max_capacity() as u64));
        let (waiting, places) = self.telemetry.waiting();
        let all: Vec<_> = network.into_iter().chain([("telemetry", waiting, places)]).chain(more.iter().copied()).collect();
        let mut text = head("portcullis_queue_waiting", "gauge", "What waits in a queue; what finds it full is lost, or has to wait outside");
        for (queue, waiting, _) in &all {
            let _ = writeln!(text, "portcullis_queue_waiting{{queue=\"{queue}\"}} {waiting}");
        }
        text += &head("portcullis_queue_places", "gauge", "How much may wait in it");
        for (queue, _, places) in &all {
            let _ = writeln!(text, "portcullis_queue_places{{queue=\"{queue}\"}} {places}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signaling::census::{ByKind, Dialogs, Ports};
    use crate::time::Time;

    #[test]
    fn what_was_told_last_can_be_scraped() {
        let held = Held::default();
        assert_eq!(held.exposition(), "");
        let ports = Ports { address: "2001:db8::1".parse().unwrap(), used: 3, resting: 1, free: 96, elsewhere: 0 };
        let transactions = ByKind { invite_client: 5, ..ByKind::default() };
        let dialogs = Dialogs { confirmed: 6, ..Dialogs::default() };
        let census = Census { transactions, dialogs, locating: 2, errands: 0, ports: vec![ports] };
        held.note(&Fact { at: Time::ZERO, call: None, what: What::Census(Box::new(census)) });
        let text = held.exposition();
        for line in [
            "portcullis_transactions{kind=\"invite_client\"} 5",
            "portcullis_dialogs{state=\"confirmed\"} 6",
            "portcullis_under_way{what=\"location\"} 2",
            "portcullis_media_ports{address=\"2001:db8::1\",state=\"free\"} 96",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
    }
}
