//! Counters that each message or each call counts in, looked up once: finding one by its labels takes longer than all else of counting.

use std::sync::{Arc, OnceLock};

use prometheus::{IntCounter, IntCounterVec};

use super::metrics::{METHODS, class_of, known_method};
use super::summary::Summary;
use crate::media::control::SideReport;
use crate::sip::Transport;

const DIRECTIONS: [&str; 2] = ["received", "sent"];
const TRANSPORTS: [Transport; 3] = [Transport::Udp, Transport::Tcp, Transport::Tls];
const CLASSES: [&str; 9] = ["request", "1xx", "2xx", "3xx", "4xx", "5xx", "6xx", "other", "unreadable"];

/// `portcullis_messages_total{direction, transport, method, class}`: those that have been counted once.
#[derive(Clone)]
pub(super) struct Messages {
    counters: IntCounterVec,
    known: Arc<[OnceLock<IntCounter>]>,
}

impl Messages {
    pub fn new(counters: IntCounterVec) -> Messages {
        // One more method: every other.
        let places = DIRECTIONS.len() * TRANSPORTS.len() * (METHODS.len() + 1) * CLASSES.len();
        Messages { counters, known: (0..places).map(|_| OnceLock::new()).collect() }
    }

    /// `summary`: `None`: unreadable.
    pub fn count(&self, sent: bool, transport: Transport, summary: Option<&Summary>) {
        let (method, class) =
            summary.map_or(("unreadable", "unreadable"), |summary| (known_method(summary.method()), summary.status.map_or("request", class_of)));
        let place = |all: &[&str], word: &str| all.iter().position(|known| *known == word).unwrap_or(all.len());
        let carried = TRANSPORTS.iter().position(|known| *known == transport).unwrap_or(0);
        let at = ((usize::from(sent) * TRANSPORTS.len() + carried) * (METHODS.len() + 1) + place(&METHODS, method)) * CLASSES.len() + place(&CLASSES, class);
        let found = || self.counters.with_label_values(&[DIRECTIONS[usize::from(sent)], transport.uri_token(), method, class]);
        match self.known.get(at) {
            Some(known) => known.get_or_init(found).inc(),
            None => found().inc(),
        }
    }
}

/// What was counted of media, by leg, A first.
#[derive(Clone)]
pub(super) struct Media([Leg; 2]);

#[derive(Clone)]
struct Leg {
    received: IntCounter,
    sent: IntCounter,
    fax_received: IntCounter,
    fax_sent: IntCounter,
    rtcp_made: IntCounter,
    lost: IntCounter,
    source: IntCounter,
    authentication: IntCounter,
    replay: IntCounter,
    malformed: IntCounter,
    not_ready: IntCounter,
}

impl Media {
    /// `packets{leg, direction}`, `rtcp_made{leg}`, `lost{leg}`, `refused{leg, cause}`.
    pub fn new(packets: &IntCounterVec, rtcp_made: &IntCounterVec, lost: &IntCounterVec, refused: &IntCounterVec) -> Media {
        Media(["a", "b"].map(|leg| {
            let packets = |direction: &str| packets.with_label_values(&[leg, direction]);
            let refused = |cause: &str| refused.with_label_values(&[leg, cause]);
            Leg {
                received: packets("received"),
                sent: packets("sent"),
                fax_received: packets("fax_received"),
                fax_sent: packets("fax_sent"),
                rtcp_made: rtcp_made.with_label_values(&[leg]),
                lost: lost.with_label_values(&[leg]),
                source: refused("source"),
                authentication: refused("authentication"),
                replay: refused("replay"),
                malformed: refused("malformed"),
                not_ready: refused("not_ready"),
            }
        }))
    }

    pub fn count(&self, a: &SideReport, b: &SideReport) {
        for (leg, side) in self.0.iter().zip([a, b]) {
            leg.received.inc_by(side.received);
            leg.sent.inc_by(side.sent);
            leg.fax_received.inc_by(side.fax_received);
            leg.fax_sent.inc_by(side.fax_sent);
            leg.rtcp_made.inc_by(side.rtcp_made);
            leg.lost.inc_by(side.lost);
            leg.source.inc_by(side.refused_source);
            leg.authentication.inc_by(side.refused_authentication);
            leg.replay.inc_by(side.refused_replay);
            leg.malformed.inc_by(side.refused_malformed);
            leg.not_ready.inc_by(side.refused_not_ready);
        }
    }
}
