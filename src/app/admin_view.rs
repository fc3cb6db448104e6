//! What the admin door tells of a running border: all its metrics, its troubles, whether it is ready.

use std::sync::{Arc, Weak};
use std::time::SystemTime;

use crate::adapters::admin::View;
use crate::adapters::api::Audit;
use crate::adapters::dns::{Locator, PeerResolver};
use crate::adapters::media::MediaPlane;
use crate::adapters::net::Network;
use crate::adapters::nft::Firewall;
use crate::adapters::telemetry::Metrics;
use crate::adapters::tls::CredentialStore;
use crate::app::api::{self, Limits, Standing};
use crate::app::census::{Held, Queues};
use crate::app::firewall;
use crate::app::footprint;
use crate::app::listening;
use crate::app::missed_calls::MissedCalls;
use crate::app::outlets::Outlets;
use crate::app::policy_sets::PolicySets;
use crate::app::takeover::Between;
use crate::app::vitals;
use crate::app::writing::{self, Written};

/// It must not keep alive what `Border::stop` ends.
pub struct State {
    pub began: SystemTime,
    pub standing: Arc<Standing>,
    pub metrics: Metrics,
    pub resolver: Arc<PeerResolver>,
    pub network: Weak<Network>,
    pub media: Weak<MediaPlane>,
    pub firewall: Firewall,
    pub credentials: Arc<CredentialStore>,
    pub missed_calls: Option<MissedCalls>,
    pub outlets: Outlets,
    pub limits: Arc<Limits>,
    pub audit: Audit,
    pub policy_sets: Arc<PolicySets>,
    pub locator: Arc<Locator>,
    pub between: Arc<Between>,
    pub held: Held,
    pub queues: Queues,
}

impl State {
    fn written(&self) -> Vec<Written> {
        writing::places(&self.audit, self.missed_calls.as_ref(), &self.policy_sets)
    }
}

impl View for State {
    fn metrics(&self) -> String {
        let (network, media) = (self.network.upgrade(), self.media.upgrade());
        let handshakes = network.as_ref().map(|network| network.handshakes()).unwrap_or_default();
        let listeners = network.as_ref().map(|network| network.listeners()).unwrap_or_default();
        let (counts, counters) = (network.map(|network| network.counts()), media.map(|media| media.counters()));
        self.metrics.exposition()
            + &footprint::exposition(self.began)
            + &vitals::names(&self.resolver.names())
            + &vitals::lookups(&[("peers", self.resolver.lookups()), ("calls", self.locator.lookups())])
            + &vitals::handshakes(&handshakes)
            + &listening::exposition(&listeners)
            + &self.held.exposition()
            + &self.queues.exposition(&self.outlets.queues())
            + &firewall::exposition(&self.firewall.status())
            + &vitals::exposition(counts.as_ref(), counters.as_ref(), &self.credentials.current().lifetimes())
            + &self.missed_calls.as_ref().map(MissedCalls::exposition).unwrap_or_default()
            + &self.outlets.exposition()
            + &writing::exposition(&self.written())
            + &self.limits.exposition()
            + &vitals::calls_before(self.between.before().map_or(0, |_| self.between.calls_there()))
            + &self.standing.exposition()
            + &api::asked(&self.audit.counts())
    }

    fn troubles(&self) -> Vec<String> {
        let refused = self.standing.refused().map(|refused| {
            format!(
                "the reload of {} was refused and the set before it is in force; the next start would fail as well: {}",
                refused.at,
                refused.problems.join("; ")
            )
        });
        let mut troubles = self.outlets.recording.troubles();
        troubles.extend(writing::troubles(&self.written()));
        troubles.extend(refused);
        troubles
    }

    fn ready(&self) -> Result<(), &'static str> {
        if self.standing.draining() {
            return Err("draining");
        }
        if self.media.upgrade().is_some_and(|media| !media.is_whole()) {
            return Err("a media thread has ended by a fault and is not back yet");
        }
        if self.resolver.is_settled() { Ok(()) } else { Err("peers' names are not resolved yet") }
    }
}
