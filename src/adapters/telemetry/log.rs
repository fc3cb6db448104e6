//! The log: one line per fact worth telling, for people or as JSON.
//!
//! Neither keys nor credentials nor message bodies are ever given to it, and what others wrote is cut to one bounded line ([`clean`]). Kinds of
//! lines that others can cause at will (strangers, malformed messages, refusals) are limited per minute; what is left out is summed up.

mod output;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tracing::{debug, error, info, warn};
use tracing_subscriber::EnvFilter;

pub(super) use self::output::lost;
pub use self::output::{change, install, standing, subscriber};
pub use super::gathered::Standing;

use super::ended::Ended;
use super::flood::Flood;
use super::pressure;
use super::redact::clean;
use super::summary::Summary;
use crate::media::control::Side;
use crate::policy::address_scope;
use crate::policy::ban::Cause;
use crate::policy::branch::Wan;
use crate::policy::liveness::{Doubt, Liveness};
use crate::policy::overlap::Resolution;
use crate::policy::security_mode::mode_name;
use crate::policy::verdict::{Decision, Fault, Reason};
use crate::signaling::fact::{
    Back, CallRecord, CertificateEnding, CertificateKind, CrlState, Fact, FirewallEvent, Hop, NameOddity, NameState, TransferEvent, What,
};
use crate::sip::Transport;
use crate::time::Time;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Human,
    Json,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub format: Format,
    /// A tracing filter, such as `info` or `portcullis=debug`.
    pub filter: String,
    /// Lines a minute about strangers, about malformed messages and about refusals, each; what is over is counted and summed up in one line.
    pub flood_lines: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { format: Format::default(), filter: "info".to_owned(), flood_lines: 30 }
    }
}

/// Whether a filter says what it seems to: each of its parts a level, or `target=level`. A word that is neither would be taken for the name of a
/// target, and all else would be silent.
pub fn is_filter(text: &str) -> bool {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let says = |part: &str| part.contains('=') || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    text.split(',').map(str::trim).all(says) && EnvFilter::try_new(text).is_ok()
}

/// Tells facts to the process's log.
pub(super) struct Log {
    strangers: Flood,
    malformed: Flood,
    refusals: Flood,
    bans: Flood,
    silent: Flood,
}

impl Log {
    pub fn new(settings: &Settings) -> Log {
        let flood = || Flood::new(settings.flood_lines);
        Log { strangers: flood(), malformed: flood(), refusals: flood(), bans: flood(), silent: flood() }
    }

    /// Sums up what was left out in a minute that is over.
    pub fn turn(&mut self, now: Time) {
        let Log { strangers, malformed, refusals, bans, silent } = self;
        for (kind, flood) in
            [("strangers", strangers), ("malformed messages", malformed), ("refusals", refusals), ("bans", bans), ("calls without sound", silent)]
        {
            if let Some(lines) = flood.turn(now) {
                info!(kind, lines, "lines left out");
            }
        }
    }

    /// `summary`: of the message, where the fact holds one.
    pub fn tell(&mut self, fact: &Fact, summary: Option<&Summary>) {
        self.turn(fact.at);
        let call = fact.call.map(|call| call.0);
        match &fact.what {
            What::Received { leg, flow, bytes, retransmission } => {
                debug!(call, leg = leg.map(side), from = %flow.remote, transport = %flow.transport, sip = %said(summary), bytes = bytes.len(), retransmission, "received");
            }
            What::Sent { leg, transport, remote, bytes, retransmission, .. } => {
                debug!(call, leg = leg.map(side), to = %remote, %transport, sip = %said(summary), bytes = bytes.len(), retransmission, "sent");
            }
            What::Stranger { transport, remote, decision } => {
                if self.strangers.admits() {
                    info!(from = %remote, %transport, reason = reason(decision), rule = %clean(&decision.rule), compared = %compared(decision), "stranger");
                }
            }
            What::ConnectionUntrusted { .. } | What::ConnectionParted { .. } | What::HandshakesHeld { .. } => connection(&fact.what),
            What::Malformed { flow, peer, reason, detail } => {
                if self.malformed.admits() {
                    warn!(call, %peer, from = %flow.remote, transport = %flow.transport, %reason, detail, "malformed message");
                }
            }
            What::Decided(decisions) => decisions.iter().for_each(|decision| self.decision(call, decision)),
            What::Screened(_) => {}
            What::CallBegan { peer, from, to } => info!(call, %peer, from = %clean(from), to = %clean(to), "call began"),
            What::LegOpened { side: of, peer, mode, transport, remote } => {
                debug!(call, leg = side(*of), %peer, mode = mode_name(*mode), %transport, %remote, "leg opened");
            }
            What::CallProgressed { status } => debug!(call, status, "call progressed"),
            What::CallAnswered => info!(call, "call answered"),
            What::Redirected { hop } => redirected(call, hop),
            What::FailedOver { peer, target, why } => warn!(call, %peer, %target, reason = %why, meaning = why.meaning(), "target given up"),
            What::Rerouted { .. } | What::CallMissed(_) => without_um(call, &fact.what),
            What::MediaOpened { .. } | What::FaxTone { .. } | What::FaxSwitched { .. } => fax(call, &fact.what),
            What::Held { .. } | What::MediaKeyed { .. } | What::DigitRefused { .. } => media(call, &fact.what),
            What::Transfer(event) => transfer(call, event),
            What::CallEnded(record) => call_ended(record),
            What::Wan { pool, state, before } => wan(pool, *state, *before),
            What::Standalone { method, peer, status, reason } => {
                if *status < 400 {
                    debug!(call, %peer, method = %clean(method), status, %reason, "request outside a call");
                } else if self.refusals.admits() {
                    info!(call, %peer, method = %clean(method), status, %reason, "request outside a call refused");
                }
            }
            What::MessageWaiting { .. } => self.message_waiting(&fact.what),
            // Whoever keeps the notice tells of what does not go away by itself.
            What::MissedCallCarried { id, peer, status, reason } => debug!(%id, %peer, status, %reason, "notice of a missed call tried over SIP"),
            What::PeerName { name, state } => peer_name(name, state),
            What::PeerNameOdd { name, oddity } => oddly_named(name, oddity),
            What::PeerLiveness { peer, address, state, why } => liveness(peer, *address, *state, *why),
            What::PeerLingers { peer, address, transport, calls, kept } => lingers(peer, *address, *transport, *calls, *kept),
            What::Probed { peer, address, answer, took } => debug!(%peer, %address, ?answer, took_ms = took.as_millis() as u64, "peer asked"),
            What::PeersShareAddress { place, transport, peers, resolution, since } => share(*place, *transport, &peers.join(" "), resolution, since),
            What::PeersShareNoMore { place, transport, peers, since } => {
                info!(%place, %transport, peers = %peers.join(" "), %since, event = 1175, "place no longer shared: each of these peers lives apart again");
            }
            What::Firewall(event) => self.firewall(event),
            What::TlsRefused { peer, remote, refusal } => {
                if self.refusals.admits() {
                    let compared = pairs(&refusal.compared);
                    warn!(%peer, to = %remote, reason = %refusal.reason, %compared, "no TLS with {peer}: {}", clean(&refusal.detail));
                }
            }
            What::Crl { source, state } => crl(source, state),
            What::PeersChanged { .. } | What::PoliciesChanged { .. } | What::CertificatesChanged { .. } => in_force(&fact.what),
            What::CertificatesRefused { problems } => {
                for problem in problems {
                    error!(problem = %clean(problem), "changed certificate files refused, the old ones stay in force; mend the file, it is then taken by itself");
                }
            }
            What::CertificateEnding(ending) => certificate_ending(ending),
            What::MediaWorkerEnded { worker, fault, streams } => media_worker_ended(*worker, fault, *streams),
            What::Draining { .. } | What::Drained | What::Resumed => drain(&fact.what),
            What::Overloaded { .. } | What::Relieved { .. } | What::CallAdmitted { .. } | What::Census(_) => pressure::told(&fact.what),
        }
    }

    /// Why an answered call was not heard, or not well.
    pub fn heard(&mut self, ended: &Ended<'_>) {
        let call = ended.record.call.0;
        for told in ended.told.iter().flatten().filter(|_| ended.record.answered.is_some()) {
            if !told.fault {
                debug!(call, cause = told.cause, "{}", told.says);
            } else if self.silent.admits() {
                warn!(call, cause = told.cause, "{}", told.says);
            }
        }
    }

    fn firewall(&mut self, event: &FirewallEvent) {
        match event {
            FirewallEvent::InForce { table, elements, took } => {
                info!(%table, elements, took_ms = millis(*took), "firewall in force: the kernel drops strangers' packets to our ports");
            }
            FirewallEvent::NotInForce { why, remedy, retry } => {
                let retry_s = retry.map(|retry| retry.as_secs());
                error!(why = %clean(why), remedy = %clean(remedy), retry_s, "firewall not in force in the kernel: strangers reach our sockets and are turned away there");
            }
            FirewallEvent::Rebuilt { table, missing, took } => {
                warn!(%table, missing = %clean(missing), took_ms = millis(*took), event = "firewall.rebuilt", "firewall rebuilt: another program had changed or \
                     removed our table; see who flushes the whole ruleset on this machine");
            }
            FirewallEvent::Late { what, waited } => {
                warn!(
                    what,
                    waited_ms = millis(*waited),
                    "firewall is late: the kernel has not taken the change yet, and we go on without waiting; \
                     see what else changes rules on this machine"
                );
            }
            FirewallEvent::InStep { number, admitted, agreed } => {
                info!(number, admitted_ms = millis(*admitted), agreed_ms = millis(*agreed), "kernel and core go by the same peer table");
            }
            FirewallEvent::Banned(ban) => {
                if self.bans.admits() {
                    let why = if let Cause::Ordered(why) = &ban.cause { clean(why) } else { String::new() };
                    let seconds = ban.until.map(|until| until.since(ban.since).as_secs());
                    info!(net = %ban.net, cause = ban.cause.code(), by = %clean(&ban.owner.to_string()), why, seconds, "banned");
                }
            }
            FirewallEvent::Unbanned { ban, why } => info!(net = %ban.net, cause = ban.cause.code(), why = %clean(why), "unbanned"),
            FirewallEvent::Removed { table } => info!(%table, "firewall removed from the kernel"),
        }
    }

    fn message_waiting(&mut self, what: &What) {
        let What::MessageWaiting { server, gateway, account, waiting, status, reason } = what else { return };
        let (mailbox, gateway) = (clean(account.as_deref().unwrap_or("-")), gateway.as_deref().unwrap_or("-"));
        if *reason == Reason::Answered {
            debug!(%server, gateway, mailbox, waiting, status, "waiting messages told");
        } else if self.refusals.admits() {
            warn!(%server, gateway, mailbox, waiting, status, %reason, event = 1344, "waiting messages not told: the telephone's lamp is as it was, and no call is \
                 touched; see that the gateway takes NOTIFY message-summary for this number, or write mwi = false for it");
        }
    }

    fn decision(&mut self, call: Option<u64>, decision: &Decision) {
        let rule = clean(&decision.rule);
        match decision.refused {
            None => debug!(call, stage = decision.stage, rule, compared = %compared(decision), "passed"),
            Some(reason) => {
                if self.refusals.admits() {
                    info!(call, stage = decision.stage, rule, %reason, meaning = reason.meaning(), compared = %compared(decision), "refused");
                }
            }
        }
    }
}

fn without_um(call: Option<u64>, what: &What) {
    match what {
        What::Rerouted { plan, wanted, number, why } => {
            warn!(call, %plan, wanted = wanted.word(), number = %clean(number), reason = %why, event = 44009, diagnostics = 15030,
                "UM cannot be had, the call goes over the PSTN to UM's number there: see why the plan's UM pool does not answer");
        }
        What::CallMissed(missed) => {
            info!(call, id = %missed.id, mailbox = %clean(&missed.mailbox), plan = %missed.plan, why = missed.missed.word(), reason = %missed.reason,
                "missed call: a notice for the mailbox's owner is queued");
        }
        _ => {}
    }
}

fn wan(pool: &str, state: Wan, before: Wan) {
    match (state, before) {
        (Wan::Down, _) => error!(
            pool,
            "the WAN to the centre is down: no address of the UM pool answers; calls go over the PSTN where their plan has reroute, missed calls are \
             queued; see to the link, nothing else is to be done"
        ),
        (Wan::Up, Wan::Down) => warn!(pool, "the WAN to the centre is up again: calls go to UM, queued missed calls are delivered"),
        (Wan::Up, _) => info!(pool, "the WAN to the centre is up"),
        (Wan::Unknown, _) => warn!(pool, "nobody knows how it stands with the WAN to the centre: no router of the UM pool is asked; give them probe"),
    }
}

fn share(place: IpNet, transport: Transport, peers: &str, resolution: &Resolution, since: &str) {
    match resolution {
        Resolution::Certificate => info!(%place, %transport, peers, since, "peers share a place; their certificates tell them apart"),
        Resolution::Preferred(peer) => {
            warn!(%place, %transport, peers, since, preferred = %peer, event = 1175, "peers share a place: who comes from there is taken for the preferred one; \
                 the others cannot call from there");
        }
        Resolution::Rejected => {
            error!(%place, %transport, peers, since, event = 1175, "peers share a place and nothing tells them apart: who comes from there is a stranger; give them \
                 addresses of their own, TLS with certificate names of their own, or one of them prefer = true");
        }
    }
}

fn oddly_named(name: &str, oddity: &NameOddity) {
    match oddity {
        NameOddity::TooMany { given, kept } => {
            warn!(name, given, kept, "peer name has more records than are used: always the same ones are; name the hosts in peers.toml one by one");
        }
        NameOddity::ZeroTtl { floor } => {
            warn!(name, floor_s = floor.as_secs(), "peer name has TTL 0: it is asked for again after [dns] floor; give its records a TTL");
        }
        NameOddity::Refused { scope, addresses } => {
            let refused: Vec<String> = addresses.iter().map(|address| format!("{address} ({})", address_scope::kind(*address).word())).collect();
            warn!(name, scope = scope.word(), refused = %refused.join(", "), "DNS gives peer name addresses that its scope refuses: they are not trusted; \
                 if they are meant, widen `addresses` of the peer, else look at who runs its zone");
        }
        NameOddity::Unasked { given } => {
            warn!(name, given, "answer for peer name held records of other names, which are not used: look at the name server");
        }
    }
}

/// Of a leg's media.
fn media(call: Option<u64>, what: &What) {
    match what {
        What::MediaKeyed { side: of, suite } => {
            info!(call, leg = side(*of), suite = suite.name(), "media keyed by DTLS: the peer showed the certificate its signalling announced");
        }
        What::DigitRefused { side: of, status } => {
            let leg = side(*of);
            warn!(
                call,
                leg,
                status,
                "the peer refused a digit by INFO (application/dtmf-relay): it does not take what dtmf = \"info\" says it takes, and hears no digits"
            );
        }
        What::Held { by, held } => debug!(call, by = side(*by), held, "hold"),
        _ => {}
    }
}

fn fax(call: Option<u64>, what: &What) {
    match what {
        What::MediaOpened { stream } => debug!(call, stream = stream.0, "media opened"),
        What::FaxTone { side: by } => {
            info!(
                call,
                by = side(*by),
                "a fax machine calls: its tone (telephone-event 36) was heard and passed on; UM answers it with a transfer to the fax server"
            );
        }
        What::FaxSwitched { t38: true } => info!(call, "the call is a fax over T.38 from now on: UDPTL is relayed, unprotected, in the sound's place"),
        _ => info!(call, "the call carries sound again, no T.38"),
    }
}

fn redirected(call: Option<u64>, hop: &Hop) {
    info!(call, status = hop.status, from = %clean(&hop.from), to = %clean(&hop.to), transport = %hop.transport, "redirect followed");
}

fn call_ended(record: &CallRecord) {
    let (call, reason) = (record.call.0, record.reason);
    let setup_ms = record.answered.map(|at| at.since(record.began).as_millis() as u64);
    let talk_ms = record.answered.map(|at| record.ended.since(at).as_millis() as u64);
    let (peer_a, mode_a) = (&record.a.peer, mode_name(record.a.mode));
    let (peer_b, mode_b) = (record.b.as_ref().map(|leg| &*leg.peer), record.b.as_ref().map(|leg| mode_name(leg.mode)));
    let released_by = tracing::field::debug(record.released_by);
    match reason.fault() {
        Fault::None | Fault::Peer => {
            info!(call, %reason, status = record.status, released_by, setup_ms, talk_ms, %peer_a, mode_a, peer_b, mode_b, "call ended");
        }
        fault @ (Fault::Policy | Fault::Resource | Fault::Us) => {
            let meaning = reason.meaning();
            warn!(call, %reason, ?fault, meaning, status = record.status, released_by, setup_ms, talk_ms, %peer_a, mode_a, peer_b, mode_b, "call ended");
        }
    }
}

fn transfer(call: Option<u64>, event: &TransferEvent) {
    let exchange_events = event.exchange_events().iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    match event {
        TransferEvent::Began { by, peer, to, kind } => {
            info!(call, by = side(*by), %peer, to = %clean(to), kind = kind.word(), exchange_events, "transfer began");
        }
        TransferEvent::Refused { by, peer, to, reason } => {
            let meaning = reason.meaning();
            warn!(call, by = side(*by), %peer, to = %clean(to), %reason, meaning, exchange_events, "transfer refused: the call goes on as it was");
        }
        TransferEvent::TransferorLeft { by } => info!(call, by = side(*by), "who transferred the call has hung up, the transfer goes on"),
        TransferEvent::Done { side: of, peer } => info!(call, side = side(*of), %peer, exchange_events, "transfer done"),
        TransferEvent::Failed { side: of, status, reason, back } => {
            let becomes = match back {
                Back::Transferor => "is back with who transferred it",
                Back::CalledBack => "goes back to UM, which is called again",
                Back::Released => "is released: who transferred it has left, and policy knows no way back",
            };
            warn!(call, side = side(*of), status, %reason, meaning = reason.meaning(), exchange_events, "transfer failed: the call {becomes}");
        }
        TransferEvent::Relayed { side: of, peer } => info!(call, side = side(*of), %peer, "transfer handed to the peer: it calls the target itself"),
        TransferEvent::Declined { peer, status } => {
            let what = "the peer with refer = \"relay\" does not do it (status 0: no answer): the transfer is executed here; if it never does, write \"refuse\" or \"execute\"";
            warn!(call, %peer, status, "{what}");
        }
        TransferEvent::DoneThere { peer } => info!(call, %peer, exchange_events, "transfer done by the peer: both legs end when it or UM hangs up"),
        TransferEvent::Unheard { peer, status } => {
            info!(call, %peer, status, "who transferred the call takes no news of it: it is told nothing more");
        }
    }
}

fn peer_name(name: &str, state: &NameState) {
    match state {
        NameState::Fresh { addresses } => info!(%name, ?addresses, "peer name resolved"),
        NameState::Stale { error, age, grace } => {
            let (age_s, grace_s) = (age.as_secs(), grace.as_secs());
            warn!(%name, %error, meaning = error.meaning(), age_s, grace_s, "peer name stale: its last good addresses hold for the grace");
        }
        NameState::Unresolved { error } => {
            error!(%name, %error, meaning = error.meaning(), "peer name unresolved: who comes from there is a stranger");
        }
    }
}

fn crl(source: &str, state: &CrlState) {
    let source = clean(source);
    match state {
        CrlState::Fresh { lists } => info!(%source, lists = %clean(lists), "CRL renewed: handshakes and open connections are held against it from now on"),
        CrlState::Kept { error, held, usable: true, again_in } => {
            let (error, held, again_s) = (clean(error), clean(held), again_in.as_secs());
            warn!(%source, %error, %held, again_s, "CRL not renewed, the one held goes on to count: see to its source before that ends");
        }
        CrlState::Kept { error, held, usable: false, again_in } => {
            let (error, held, again_s) = (clean(error), clean(held), again_in.as_secs());
            error!(%source, %error, %held, again_s, "no current CRL: peers held against it are refused unless their stale_crl is accept; see to its source");
        }
        CrlState::NotCached { error } => warn!(%source, error = %clean(error), "CRL renewed, but not kept for a restart"),
    }
}

fn connection(what: &What) {
    match what {
        What::ConnectionUntrusted { flow, peer, outbound, age, decision } => {
            warn!(%peer, remote = %flow.remote, transport = %flow.transport, outbound, age_s = age.as_secs(), reason = reason(decision),
                compared = %compared(decision), "connection no longer trusted: it takes nothing new, and is closed when what is under way has ended");
        }
        What::ConnectionParted { flow, peer, outbound, age } => {
            info!(%peer, remote = %flow.remote, transport = %flow.transport, outbound, age_s = age.as_secs(), "connection no longer trusted closed");
        }
        What::HandshakesHeld { source, delayed, refused, decision } => {
            warn!(from = %source, delayed, refused, reason = reason(decision), compared = %compared(decision),
                "TLS handshakes come too fast from a peer's address and are slowed; see why it opens so many connections, or raise the limit");
        }
        _ => {}
    }
}

fn media_worker_ended(worker: usize, fault: &str, streams: u64) {
    error!(
        worker,
        fault = %clean(fault),
        streams,
        "a media thread has ended by a fault of this software or the kernel: the calls whose streams it carried are released (media.worker), and it is started \
         anew; please report it with this line"
    );
}

fn in_force(what: &What) {
    match what {
        What::PeersChanged { number } => info!(number, "peer table in force"),
        What::PoliciesChanged { number } => info!(number, "policy set in force"),
        What::CertificatesChanged { generation } => {
            info!(generation, "certificates in force: every handshake from now on uses them; calls and open connections go on");
        }
        _ => {}
    }
}

fn drain(what: &What) {
    match what {
        What::Draining { calls, release_at: Some(_) } => info!(calls, "draining: new calls are refused, and those that are left end with the drain time"),
        What::Draining { calls, .. } => info!(calls, "draining: new calls are refused, and those that are up go on"),
        What::Resumed => info!("new calls are taken again"),
        _ => info!("drained"),
    }
}

fn certificate_ending(ending: &CertificateEnding) {
    let (file, name, days) = (clean(&ending.file), clean(&ending.name), ending.left.as_secs() / 86_400);
    let (what, meaning) = match ending.kind {
        CertificateKind::Own => ("our certificate", "then no peer takes a TLS connection of ours; renew it, put it in place, and reload"),
        CertificateKind::Authority => {
            ("a peer's CA certificate", "then nobody it vouches for gets in, nor is called; ask the peer for its next one and add it to the file")
        }
        CertificateKind::Api => {
            ("the certificate of [api]", "then browsers and `portcullis --url` refuse that door, while calls go on; renew it, put it in place, and reload")
        }
        CertificateKind::ApiAuthority => {
            ("a CA certificate of [api]", "then what it has signed mostly ends too, and those operators are refused; add the CA's next one to the file")
        }
        CertificateKind::RevocationList => ("a revocation list", "then its stale_crl setting decides; fetch a newer one from the CA"),
    };
    match ending.threshold {
        0 => error!(%file, %name, "{what} has ended: {}", meaning.strip_prefix("then ").unwrap_or(meaning)),
        1..=7 => error!(%file, %name, days, "{what} ends in {days} days: {meaning}"),
        8..=14 => warn!(%file, %name, days, "{what} ends in {days} days: {meaning}"),
        _ => info!(%file, %name, days, "{what} ends in {days} days: {meaning}"),
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

/// Exchange's numbers for a gateway that does not answer OPTIONS: 1088 by its older documentation, 1400 by the newer.
const UNANSWERED: &str = "1088 1400";

fn liveness(peer: &str, address: SocketAddr, state: Liveness, why: Reason) {
    let (to, meaning) = (state.word(), why.meaning());
    match state {
        Liveness::Down { .. } => warn!(%peer, %address, state = to, reason = %why, meaning, event = UNANSWERED, "peer is down: calls go there only if nothing \
             else is left; see that it runs, knows this border, and that nothing on the way drops SIP"),
        Liveness::Draining { .. } => warn!(%peer, %address, state = to, reason = %why, meaning, "peer drains: calls go there only if nothing else is left"),
        Liveness::Probing(Doubt::Recovering { damped: Some(_), .. }) => {
            warn!(%peer, %address, state = to, reason = %why, meaning, "peer answers again, but came and went too often: it is held back until it is steady");
        }
        Liveness::Probing(Doubt::Recovering { damped: None, .. }) => info!(%peer, %address, state = to, reason = %why, "peer answers again"),
        Liveness::Probing(Doubt::Doubted { .. }) => {
            info!(%peer, %address, state = to, reason = %why, meaning, "peer missed an answer: it is asked again soon, calls still go there");
        }
        Liveness::Up { .. } => info!(%peer, %address, state = to, "peer is up"),
        Liveness::Probing(Doubt::NotKnown { .. }) | Liveness::Disabled | Liveness::Unwatched => {
            debug!(%peer, %address, state = to, reason = %why, meaning, "peer's liveness");
        }
    }
}

fn lingers(peer: &str, address: IpAddr, transport: Transport, calls: usize, kept: bool) {
    match (calls, kept) {
        (0, _) => info!(%peer, %address, %transport, "the last call with a peer that is no longer there is over: it is a stranger there now"),
        (_, true) => {
            warn!(%peer, %address, %transport, calls, "a peer is no longer there, but calls with it are: they go on until they end, new ones do not begin");
        }
        (_, false) => warn!(%peer, %address, %transport, calls, "a peer is no longer there: its calls are released"),
    }
}

fn side(side: Side) -> &'static str {
    match side {
        Side::A => "A",
        Side::B => "B",
    }
}

fn said(summary: Option<&Summary>) -> String {
    match summary {
        None => "unreadable".to_owned(),
        Some(summary @ Summary { status: None, .. }) => clean(summary.method()),
        Some(summary @ Summary { status: Some(status), .. }) => format!("{status} {}", clean(summary.method())),
    }
}

fn reason(decision: &Decision) -> &'static str {
    decision.refused.map_or("", |reason| reason.code())
}

/// Name and value of all that was compared, on one line.
pub(super) fn compared(decision: &Decision) -> String {
    pairs(&decision.compared)
}

fn pairs(compared: &[(&'static str, Cow<'static, str>)]) -> String {
    let mut text = String::new();
    for (name, value) in compared {
        let space = if text.is_empty() { "" } else { " " };
        // Writing into a String does not fail.
        let _ = write!(text, "{space}{name}={}", clean(value));
    }
    text
}
