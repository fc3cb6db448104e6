//! The metrics, in Prometheus' text exposition.
//!
//! Every label has a bounded set of values: configured peer names (up to a limit, then `other`), reason codes, known methods, status classes,
//! transports, security modes. Nothing a stranger or a caller writes becomes a label.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{Encoder, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder};

use super::hearing::{self, Hearing};
use super::pressure;
use super::summary::Summary;
use super::tallies::{Media, Messages};
use super::watched::Watched;
use crate::media::control::Side;
use crate::policy::branch::Wan;
use crate::policy::settings::SecurityMode;
use crate::policy::verdict::{Fault, Reason};
use crate::signaling::fact::{CallRecord, CrlState, Fact, FirewallEvent, NameOddity, NameState, ReleasedBy, TransferEvent, What};
use crate::sip::Transport;

/// Distinct values one label with names from the policy set may have.
const NAMES: usize = 1000;

/// Seconds from INVITE to an answer: from a machine on the next switch to 32 s, where a silent target is given up (RFC 3261's timer B), and on to a
/// phone that rings. Doubling keeps a quantile's error the same over the whole range.
const SETUP: [f64; 12] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 180.0];
const TALK: [f64; 10] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 1800.0, 3600.0];

/// Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    named: Arc<Mutex<HashSet<Arc<str>>>>,
    calls: IntGauge,
    began: IntCounterVec,
    admitted: IntCounterVec,
    targets: IntCounterVec,
    ended: IntCounterVec,
    modes: IntCounterVec,
    progress: Histogram,
    setup: Histogram,
    talk: Histogram,
    refusals: IntCounterVec,
    redirects: IntCounterVec,
    failovers: IntCounterVec,
    reroutes: IntCounterVec,
    notices: IntCounterVec,
    transfers: IntCounterVec,
    missed: IntCounterVec,
    carried: IntCounterVec,
    wan: IntGauge,
    standalone: IntCounterVec,
    messages: Messages,
    retransmissions: IntCounterVec,
    strangers: IntCounterVec,
    untrusted: IntCounterVec,
    malformed: IntCounterVec,
    media: Media,
    fax_tones: IntCounterVec,
    digits: IntCounterVec,
    hearing: Hearing,
    peer_names: IntGaugeVec,
    name_oddities: IntCounterVec,
    sharing: IntCounterVec,
    watched: Arc<Mutex<Watched>>,
    lingering: IntGauge,
    peer_table: IntGauge,
    policy_set: IntGauge,
    certificates: IntGauge,
    certificates_refused: IntCounter,
    media_workers_ended: IntCounter,
    tls_refused: IntCounterVec,
    crls: IntCounterVec,
    firewall_in_force: IntGauge,
    firewall_rebuilt: IntCounter,
    bans: IntCounterVec,
    draining: IntGauge,
    overloaded: IntGaugeVec,
    invites_left_out: IntCounterVec,
    lost: IntCounterVec,
    records: IntCounter,
    record_failures: IntCounter,
}

impl Metrics {
    pub fn new() -> Metrics {
        let registry = Registry::new();
        let r = &registry;
        let metrics = Metrics {
            calls: gauge(r, "portcullis_calls", "Calls up or being set up"),
            began: counters(r, "portcullis_calls_began_total", "Calls that began, by the peer that called", &["peer"]),
            admitted: counters(r, "portcullis_calls_admitted_total", "Calls that passed the screening, by the dial plan that governs them", &["dial_plan"]),
            targets: counters(r, "portcullis_targets_total", "Targets that calls were sent to, by peer", &["peer"]),
            ended: counters(r, "portcullis_calls_ended_total", "Calls that ended", &["peer", "answered", "released_by", "reason", "fault"]),
            modes: counters(r, "portcullis_calls_total", "Calls that ended, by the security mode of either leg", &["mode_a", "mode_b"]),
            progress: histogram(r, "portcullis_call_progress_seconds", "Post-dial delay: from INVITE to the first answer above 100 of the called side", &SETUP),
            setup: histogram(r, "portcullis_call_setup_seconds", "Setup delay: from INVITE to 2xx", &SETUP),
            talk: histogram(r, "portcullis_call_talk_seconds", "From 2xx to the end", &TALK),
            refusals: counters(r, "portcullis_refusals_total", "Requests of peers refused by the border itself", &["reason"]),
            redirects: counters(r, "portcullis_redirects_total", "3xx answers followed inside", &["status"]),
            failovers: counters(r, "portcullis_failovers_total", "Targets given up for another", &["peer", "reason"]),
            notices: counters(
                r,
                "portcullis_message_waiting_total",
                "Notices of waiting messages, by the gateway told and what it answered",
                &["peer", "class"],
            ),
            reroutes: counters(r, "portcullis_reroutes_total", "Calls sent over the PSTN because UM could not be had", &["wanted", "reason"]),
            transfers: counters(r, "portcullis_transfers_total", "Transfers, by what became of them", &["outcome", "reason"]),
            carried: counters(r, "portcullis_missed_call_attempts_total", "Attempts to deliver notices of missed calls over SIP", &["peer", "class"]),
            missed: counters(r, "portcullis_missed_calls_total", "Diverted calls that nothing answered", &["why"]),
            wan: gauge(r, "portcullis_wan_up", "1 while the WAN to the centre is up; 0 also where nobody asks"),
            standalone: counters(r, "portcullis_standalone_total", "Requests outside calls", &["peer", "method", "class"]),
            messages: Messages::new(counters(r, "portcullis_messages_total", "SIP messages", &["direction", "transport", "method", "class"])),
            retransmissions: counters(r, "portcullis_retransmissions_total", "SIP messages seen or sent before", &["direction", "transport"]),
            strangers: counters(r, "portcullis_strangers_total", "Datagrams and connections of strangers", &["transport", "reason"]),
            untrusted: counters(r, "portcullis_connections_untrusted_total", "Connections ended as their peer is trusted no longer", &["peer", "reason"]),
            malformed: counters(r, "portcullis_malformed_total", "Messages of peers that are no SIP we can take", &["peer", "reason"]),
            media: media(r),
            fax_tones: counters(r, "portcullis_fax_tones_total", "Calling fax tones heard as telephone-events, once per stream", &["leg"]),
            digits: counters(r, "portcullis_digits_total", "Digits of ended calls converted between INFO and telephone-events", &["way"]),
            hearing: hearing(r),
            peer_names: gauges(r, "portcullis_peer_name_addresses", "Addresses a peer's host name has; stale: of an answer past its time", &["name", "state"]),
            sharing: counters(r, "portcullis_peers_sharing_total", "Times that peers began to share a place, by what decides there", &["resolution"]),
            name_oddities: counters(r, "portcullis_peer_name_oddities_total", "Odd answers of DNS about peers' names, once while they last", &["kind"]),
            watched: Arc::new(Mutex::new(Watched::new(
                gauges(r, "portcullis_peer_up", "Addresses of a watched peer that take calls in their order; 0: none", &["peer"]),
                gauges(r, "portcullis_peer_addresses", "Addresses of a watched peer, by their state", &["peer", "state"]),
                seconds(r, "portcullis_peer_answer_seconds", "How long a watched peer's last answer to OPTIONS took", &["peer"]),
            ))),
            lingering: gauge(r, "portcullis_peers_lingering", "Addresses that peers have left while calls are still up there"),
            peer_table: gauge(r, "portcullis_peer_table_number", "Number of the peer table in force"),
            policy_set: gauge(r, "portcullis_policy_set_number", "Number of the policy set in force"),
            certificates: gauge(r, "portcullis_certificates_generation", "Number of the load of certificates in force, 1 at start"),
            certificates_refused: counter(r, "portcullis_certificates_refused_total", "Changed certificate files that were refused, once for each content"),
            media_workers_ended: counter(r, "portcullis_media_workers_ended_total", "Threads that carry media and have ended by a fault"),
            tls_refused: counters(
                r,
                "portcullis_tls_refused_total",
                "Connections to peers that failed in TLS, a sample where there are many",
                &["peer", "reason"],
            ),
            crls: counters(r, "portcullis_crl_refreshes_total", "CRLs that came anew, and those that could not be had or were refused", &["source", "result"]),
            firewall_in_force: gauge(r, "portcullis_firewall_in_force", "1 while the kernel holds our table"),
            firewall_rebuilt: counter(r, "portcullis_firewall_rebuilt_total", "Times another program had changed or removed our table"),
            bans: counters(r, "portcullis_bans_total", "Bans made by this process", &["cause"]),
            overloaded: gauges(r, "portcullis_overloaded", "1 while new calls are held back because of it: occupancy, memory", &["resource"]),
            invites_left_out: counters(
                r,
                "portcullis_invites_left_out_total",
                "Calls stored without the INVITE they began with: it was long, or memory for them full",
                &["why"],
            ),
            draining: gauge(r, "portcullis_draining", "1 while new calls are refused and old ones may end"),
            lost: counters(r, "portcullis_telemetry_lost_total", "Facts dropped because the queue was full", &["kind"]),
            records: counter(r, "portcullis_call_records_total", "Call records written"),
            record_failures: counter(r, "portcullis_call_record_failures_total", "Call records that could not be written"),
            named: Arc::default(),
            registry: registry.clone(),
        };
        build_info(r);
        metrics.begin();
        metrics
    }

    /// Rare events begin at 0: of a series that is born with its first event, `increase()` never sees that event.
    fn begin(&self) {
        for kind in ODDITIES {
            self.name_oddities.with_label_values(&[kind]);
        }
        for resolution in ["certificate", "preferred", "rejected"] {
            self.sharing.with_label_values(&[resolution]);
        }
        for resource in ["occupancy", "memory"] {
            self.overloaded.with_label_values(&[resource]).set(0);
        }
        for cause in ["scan", "handshake_flood", "ordered"] {
            self.bans.with_label_values(&[cause]);
        }
    }

    /// Prometheus' text exposition, version 0.0.4.
    pub fn exposition(&self) -> String {
        let mut out = Vec::new();
        // Writing into memory does not fail.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut out);
        String::from_utf8(out).unwrap_or_default()
    }

    pub(super) fn lost(&self, vital: bool) -> IntCounter {
        self.lost.with_label_values(&[if vital { "calls" } else { "traffic" }])
    }

    /// `why`: `long`, `full`.
    pub(super) fn invite_left_out(&self, why: &str) {
        self.invites_left_out.with_label_values(&[why]).inc();
    }

    pub(super) fn records_written(&self, well: u64, ill: u64) {
        self.records.inc_by(well);
        self.record_failures.inc_by(ill);
    }

    /// `summary`: of the message, where the fact holds one.
    pub(super) fn count(&self, fact: &Fact, summary: Option<&Summary>) {
        match &fact.what {
            What::Received { flow, retransmission, .. } => self.message(false, flow.transport, *retransmission, summary),
            What::Sent { transport, retransmission, .. } => self.message(true, *transport, *retransmission, summary),
            What::Stranger { transport, decision, .. } => {
                let reason = decision.refused.map_or("", Reason::code);
                self.strangers.with_label_values(&[transport.uri_token(), reason]).inc();
            }
            What::ConnectionUntrusted { peer, decision, .. } => {
                self.untrusted.with_label_values(&[self.name(peer).as_ref(), decision.refused.map_or("", Reason::code)]).inc();
            }
            What::Malformed { peer, reason, .. } => self.malformed.with_label_values(&[self.name(peer).as_ref(), reason.code()]).inc(),
            What::CallBegan { peer, .. } => {
                self.calls.inc();
                self.began.with_label_values(&[self.name(peer).as_ref()]).inc();
            }
            What::CallAdmitted { plan } => self.call_admitted(plan.as_ref()),
            What::LegOpened { side: Side::B, peer, .. } => self.targets.with_label_values(&[self.name(peer).as_ref()]).inc(),
            What::CallEnded(record) => self.call_ended(record),
            What::FaxTone { side } => self.fax_tones.with_label_values(&[if *side == Side::A { "a" } else { "b" }]).inc(),
            What::Redirected { hop } => self.redirects.with_label_values(&[class_of(hop.status)]).inc(),
            What::FailedOver { peer, why, .. } => self.failovers.with_label_values(&[self.name(peer).as_ref(), why.code()]).inc(),
            What::Rerouted { wanted, why, .. } => self.reroutes.with_label_values(&[wanted.word(), why.code()]).inc(),
            What::MessageWaiting { gateway, status, .. } => {
                let peer = gateway.as_ref().map_or("none".into(), |gateway| self.name(gateway));
                self.notices.with_label_values(&[peer.as_ref(), class_of(*status)]).inc();
            }
            What::MissedCallCarried { peer, status, .. } => self.carried.with_label_values(&[self.name(peer).as_ref(), class_of(*status)]).inc(),
            What::CallMissed(missed) => self.missed.with_label_values(&[missed.missed.word()]).inc(),
            What::Wan { state, .. } => self.wan.set(i64::from(*state == Wan::Up)),
            What::Standalone { method, peer, status, reason } => {
                self.standalone.with_label_values(&[self.name(peer).as_ref(), known_method(method), class_of(*status)]).inc();
                if *reason != Reason::Answered {
                    self.refusals.with_label_values(&[reason.code()]).inc();
                }
            }
            What::PeerName { name, state } => self.peer_name(name, state),
            What::PeerLiveness { peer, address, state, .. } => {
                let label = self.name(peer);
                self.watched.lock().unwrap_or_else(PoisonError::into_inner).changed(&label, peer, *address, *state);
            }
            What::Probed { peer, answer: Ok(_), took, .. } => {
                let label = self.name(peer);
                self.watched.lock().unwrap_or_else(PoisonError::into_inner).answered(&label, *took);
            }
            What::Probed { answer: Err(_), .. } => {}
            What::TlsRefused { peer, refusal, .. } => self.tls_refused.with_label_values(&[self.name(peer).as_ref(), refusal.reason.code()]).inc(),
            What::Crl { source, state } => {
                let result = if matches!(state, CrlState::Kept { .. }) { "failed" } else { "renewed" };
                self.crls.with_label_values(&[self.name(source).as_ref(), result]).inc();
            }
            What::PeersChanged { .. } | What::PoliciesChanged { .. } | What::CertificatesChanged { .. } => self.in_force(&fact.what),
            What::CertificatesRefused { .. } => self.certificates_refused.inc(),
            What::MediaWorkerEnded { .. } => self.media_workers_ended.inc(),
            What::Firewall(event) => self.firewall(event),
            What::Draining { .. } | What::Resumed | What::Overloaded { .. } | What::Relieved { .. } => self.holding_back(&fact.what),
            What::PeersShareAddress { resolution, .. } => self.sharing.with_label_values(&[resolution.word()]).inc(),
            What::PeerNameOdd { oddity, .. } => self.name_oddities.with_label_values(&[odd(oddity)]).inc(),
            What::PeerLingers { calls, .. } => self.lingering.add(if *calls == 0 { -1 } else { 1 }),
            What::Transfer(event) => self.transfer(event),
            What::Decided(_)
            | What::Screened(_)
            | What::LegOpened { .. }
            | What::MediaOpened { .. }
            | What::CallProgressed { .. }
            | What::CallAnswered
            | What::Held { .. }
            | What::MediaKeyed { .. }
            | What::DigitRefused { .. }
            | What::FaxSwitched { .. }
            | What::PeersShareNoMore { .. }
            | What::CertificateEnding(_)
            | What::ConnectionParted { .. }
            | What::HandshakesHeld { .. }
            | What::Census(_)
            | What::Drained => {}
        }
    }

    fn in_force(&self, what: &What) {
        match what {
            What::PeersChanged { number } => self.peer_table.set(i64::try_from(*number).unwrap_or(i64::MAX)),
            What::PoliciesChanged { number } => self.policy_set.set(i64::try_from(*number).unwrap_or(i64::MAX)),
            What::CertificatesChanged { generation } => self.certificates.set(i64::try_from(*generation).unwrap_or(i64::MAX)),
            _ => {}
        }
    }

    /// Whether new calls are taken.
    fn holding_back(&self, what: &What) {
        match what {
            What::Draining { .. } => self.draining.set(1),
            What::Resumed => self.draining.set(0),
            What::Overloaded { pressure } => self.overloaded.with_label_values(&[pressure::resource(*pressure)]).set(1),
            What::Relieved { .. } => ["occupancy", "memory"].iter().for_each(|resource| self.overloaded.with_label_values(&[resource]).set(0)),
            _ => {}
        }
    }

    fn firewall(&self, event: &FirewallEvent) {
        match event {
            FirewallEvent::InForce { .. } => self.firewall_in_force.set(1),
            FirewallEvent::NotInForce { .. } | FirewallEvent::Removed { .. } => self.firewall_in_force.set(0),
            FirewallEvent::Rebuilt { .. } => {
                self.firewall_in_force.set(1);
                self.firewall_rebuilt.inc();
            }
            FirewallEvent::Banned(ban) => self.bans.with_label_values(&[ban.cause.code()]).inc(),
            FirewallEvent::Late { .. } | FirewallEvent::InStep { .. } | FirewallEvent::Unbanned { .. } => {}
        }
    }

    fn message(&self, sent: bool, transport: Transport, retransmission: bool, summary: Option<&Summary>) {
        self.messages.count(sent, transport, summary);
        if retransmission {
            let direction = if sent { "sent" } else { "received" };
            self.retransmissions.with_label_values(&[direction, transport.uri_token()]).inc();
        }
    }

    fn call_admitted(&self, plan: Option<&Arc<str>>) {
        let plan = plan.map_or("none".into(), |plan| self.name(plan));
        self.admitted.with_label_values(&[plan.as_ref()]).inc();
    }

    fn call_ended(&self, record: &CallRecord) {
        self.calls.dec();
        let peer = self.name(&record.a.peer);
        let answered = if record.answered.is_some() { "yes" } else { "no" };
        let labels = [peer.as_ref(), answered, released_by(record.released_by), record.reason.code(), fault(record.reason.fault())];
        self.ended.with_label_values(&labels).inc();
        self.modes.with_label_values(&[mode(Some(record.a.mode)), mode(record.b.as_ref().map(|leg| leg.mode))]).inc();
        if let Some(progressed) = record.progressed {
            self.progress.observe(progressed.since(record.began).as_secs_f64());
        }
        match record.answered {
            Some(answered) => {
                self.setup.observe(answered.since(record.began).as_secs_f64());
                self.talk.observe(record.ended.since(answered).as_secs_f64());
            }
            None if record.released_by == ReleasedBy::Border => self.refusals.with_label_values(&[record.reason.code()]).inc(),
            None => {}
        }
        self.digits.with_label_values(&["info_to_events"]).inc_by(u64::from(record.digits.by_info));
        self.digits.with_label_values(&["events_to_info"]).inc_by(u64::from(record.digits.by_events));
        self.digits.with_label_values(&["lost"]).inc_by(super::records::digits_lost(record));
        if let Some(media) = &record.media {
            self.media.count(&media.a, &media.b);
            self.hearing.count(record, media);
        }
    }

    fn peer_name(&self, name: &Arc<str>, state: &NameState) {
        let name = self.name(name);
        let fresh = self.peer_names.with_label_values(&[name.as_ref(), "fresh"]);
        let stale = self.peer_names.with_label_values(&[name.as_ref(), "stale"]);
        match state {
            NameState::Fresh { addresses } => {
                fresh.set(i64::try_from(addresses.len()).unwrap_or(i64::MAX));
                stale.set(0);
            }
            NameState::Stale { .. } => {
                stale.set(fresh.get().max(stale.get()));
                fresh.set(0);
            }
            NameState::Unresolved { .. } => {
                fresh.set(0);
                stale.set(0);
            }
        }
    }

    fn transfer(&self, event: &TransferEvent) {
        let (outcome, reason) = match event {
            TransferEvent::Began { kind, .. } => ("began", kind.word()),
            TransferEvent::Refused { reason, .. } => ("refused", reason.code()),
            TransferEvent::Failed { reason, .. } => ("failed", reason.code()),
            TransferEvent::Done { .. } | TransferEvent::DoneThere { .. } => ("done", ""),
            TransferEvent::Relayed { .. } => ("relayed", ""),
            TransferEvent::Declined { .. } => ("declined", ""),
            TransferEvent::TransferorLeft { .. } | TransferEvent::Unheard { .. } => return,
        };
        self.transfers.with_label_values(&[outcome, reason]).inc();
    }

    /// Names come from the policy set; reloads could still bring ever new ones.
    fn name(&self, name: &Arc<str>) -> Arc<str> {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if named.contains(name) {
            return Arc::clone(name);
        }
        if named.len() >= NAMES {
            return "other".into();
        }
        named.insert(Arc::clone(name));
        Arc::clone(name)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

pub(super) const METHODS: [&str; 15] =
    ["INVITE", "ACK", "BYE", "CANCEL", "OPTIONS", "REGISTER", "PRACK", "UPDATE", "REFER", "NOTIFY", "SUBSCRIBE", "INFO", "MESSAGE", "PUBLISH", "unreadable"];

pub(super) fn known_method(method: &str) -> &'static str {
    METHODS.into_iter().find(|known| *known == method).unwrap_or("other")
}

pub(super) fn class_of(status: u16) -> &'static str {
    match status {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        500..600 => "5xx",
        600..700 => "6xx",
        _ => "other",
    }
}

const ODDITIES: [&str; 4] = ["too_many", "zero_ttl", "refused", "unasked"];

fn odd(oddity: &NameOddity) -> &'static str {
    match oddity {
        NameOddity::TooMany { .. } => "too_many",
        NameOddity::ZeroTtl { .. } => "zero_ttl",
        NameOddity::Refused { .. } => "refused",
        NameOddity::Unasked { .. } => "unasked",
    }
}

fn released_by(by: ReleasedBy) -> &'static str {
    match by {
        ReleasedBy::Caller => "caller",
        ReleasedBy::Called => "called",
        ReleasedBy::Border => "border",
    }
}

fn fault(fault: Fault) -> &'static str {
    match fault {
        Fault::None => "none",
        Fault::Peer => "peer",
        Fault::Policy => "policy",
        Fault::Resource => "resource",
        Fault::Us => "us",
    }
}

fn mode(mode: Option<SecurityMode>) -> &'static str {
    match mode {
        Some(SecurityMode::Unsecured) => "unsecured",
        Some(SecurityMode::SipSecured) => "sip-secured",
        Some(SecurityMode::Secured) => "secured",
        None => "none",
    }
}

fn media(r: &Registry) -> Media {
    Media::new(
        &counters(r, "portcullis_media_packets_total", "RTP packets of ended calls, and UDPTL datagrams of faxes", &["leg", "direction"]),
        &counters(r, "portcullis_rtcp_made_total", "RTCP packets of ended calls made here because the other side sent none", &["leg"]),
        &counters(r, "portcullis_media_lost_total", "RTP packets of ended calls that never came", &["leg"]),
        &counters(r, "portcullis_media_refused_total", "Media packets of ended calls refused", &["leg", "cause"]),
    )
}

fn hearing(r: &Registry) -> Hearing {
    Hearing {
        causes: counters(r, "portcullis_audio_total", "Directions of answered calls that ended, by why they were heard or were not", &["direction", "cause"]),
        scores: histograms(r, "portcullis_media_mos", "Mean opinion scores (ITU-T G.107) of answered calls that ended", &["direction"], &hearing::SCORES),
        losses: histograms(r, "portcullis_media_loss_ratio", "Share of RTP packets that never came, of answered calls that ended", &["leg"], &hearing::RATIOS),
        jitters: histograms(r, "portcullis_media_jitter_seconds", "Interarrival jitter at the end of answered calls", &["leg"], &hearing::SECONDS),
        round_trips: histograms(r, "portcullis_media_round_trip_seconds", "Between us and the leg's peer and back, by its RTCP", &["leg"], &hearing::SECONDS),
    }
}

fn build_info(registry: &Registry) {
    let build = Opts::new("portcullis_build_info", "Always 1").const_label("version", env!("CARGO_PKG_VERSION"));
    if let Ok(build) = IntGauge::with_opts(build) {
        build.set(1);
        registered(registry, build);
    }
}

/// Names and labels are this file's own and distinct, so making and registering them cannot fail; a test scrapes every one.
fn registered<C: prometheus::core::Collector + 'static>(registry: &Registry, collector: C) {
    let done = registry.register(Box::new(collector));
    debug_assert!(done.is_ok(), "{done:?}");
}

fn counter(registry: &Registry, name: &str, help: &str) -> IntCounter {
    let counter = IntCounter::new(name, help).expect("a metric of this file");
    registered(registry, counter.clone());
    counter
}

fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counters = IntCounterVec::new(Opts::new(name, help), labels).expect("a metric of this file");
    registered(registry, counters.clone());
    counters
}

fn gauge(registry: &Registry, name: &str, help: &str) -> IntGauge {
    let gauge = IntGauge::new(name, help).expect("a metric of this file");
    registered(registry, gauge.clone());
    gauge
}

fn gauges(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    let gauges = IntGaugeVec::new(Opts::new(name, help), labels).expect("a metric of this file");
    registered(registry, gauges.clone());
    gauges
}

fn seconds(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    let seconds = GaugeVec::new(Opts::new(name, help), labels).expect("a metric of this file");
    registered(registry, seconds.clone());
    seconds
}

fn histogram(registry: &Registry, name: &str, help: &str, buckets: &[f64]) -> Histogram {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())).expect("a metric of this file");
    registered(registry, histogram.clone());
    histogram
}

fn histograms(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let histograms = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels).expect("a metric of this file");
    registered(registry, histograms.clone());
    histograms
}
