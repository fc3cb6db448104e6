//! The ladder: both legs of a call on one canvas, with us in the middle.
//!
//! First a line for each leg: its mode, what TLS came to, the SRTP suite. Columns are the caller, the border, and the addresses of the called side in the order of first sight. Each message is an arrow with its time
//! and the milliseconds since the line before; decisions stand between the arrows with their rule and the values compared. Plain text of at most
//! 140 columns. No key and no credential appears: of a description only its short form is drawn.

mod canvas;
mod head;
mod kept;

use std::net::SocketAddr;

use bytes::Bytes;

use self::canvas::{Canvas, Line};
pub(super) use self::kept::Ladders;
use super::log::compared;
use super::redact::clean;
use super::summary::read;
use super::wall::Anchor;
use crate::media::control::Side;
use crate::policy::security_mode::mode_name;
use crate::sdp::Description;
use crate::signaling::fact::{CallRecord, Fact, TransferEvent, What};
use crate::sip::{Message, Transport};
use crate::time::Time;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Calls kept; zero: none.
    pub calls: usize,
    /// Messages and notes kept of one call.
    pub entries: usize,
    /// Bytes kept of all calls together.
    pub bytes: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { calls: 64, entries: 200, bytes: 8 << 20 }
    }
}

/// The ladder of these facts, one call's as a rule, in the order of their times. Times are on the process's line.
pub fn render(facts: &[Fact]) -> String {
    draw(facts, &|at| {
        let millis = at.as_millis();
        format!("{:02}:{:02}:{:02}.{:03}", millis / 3_600_000, millis / 60_000 % 60, millis / 1000 % 60, millis % 1000)
    })
}

/// The same with wall-clock times (UTC).
pub fn render_at(facts: &[Fact], anchor: &Anchor) -> String {
    draw(facts, &|at| anchor.clock(at))
}

fn draw(facts: &[Fact], clock: &dyn Fn(Time) -> String) -> String {
    let mut facts: Vec<&Fact> = facts.iter().collect();
    facts.sort_by_key(|fact| fact.at);
    let columns = Columns::of(&facts);
    let mut canvas = Canvas::new(&head::lines(&facts), columns.labels(), columns.border());
    let mut before: Option<Time> = None;
    for fact in facts {
        let lines = lines(fact, &columns);
        if lines.is_empty() {
            continue;
        }
        let delta = fact.at.since(before.unwrap_or(fact.at));
        let stamp = format!("{:>12} {:>+9.1}", clock(fact.at), delta.as_nanos() as f64 / 1e6);
        before = Some(fact.at);
        canvas.lines(&stamp, lines);
    }
    canvas.finish()
}

/// Who stands where. The border is a column of its own between the two sides.
struct Columns {
    left: Vec<(SocketAddr, Transport)>,
    right: Vec<(SocketAddr, Transport)>,
}

impl Columns {
    fn of(facts: &[&Fact]) -> Columns {
        let mut columns = Columns { left: Vec::new(), right: Vec::new() };
        for fact in facts {
            let (leg, remote, transport) = match &fact.what {
                What::Received { leg, flow, .. } => (*leg, flow.remote, flow.transport),
                What::Sent { leg, remote, transport, .. } => (*leg, *remote, *transport),
                _ => continue,
            };
            let known = columns.left.iter().chain(&columns.right).any(|(address, _)| *address == remote);
            // Without a leg, who comes first is the caller.
            let left = match leg {
                Some(side) => side == Side::A,
                None => columns.left.is_empty(),
            };
            match (known, left) {
                (true, _) => {}
                (false, true) => columns.left.push((remote, transport)),
                (false, false) => columns.right.push((remote, transport)),
            }
        }
        columns.left.truncate(canvas::COLUMNS / 2);
        columns.right.truncate(canvas::COLUMNS - 1 - columns.left.len());
        columns
    }

    fn border(&self) -> usize {
        self.left.len()
    }

    fn labels(&self) -> Vec<String> {
        let label = |(address, transport): &(SocketAddr, Transport)| format!("{} {address}", transport.uri_token());
        let left = self.left.iter().map(label);
        left.chain(std::iter::once("portcullis".to_owned())).chain(self.right.iter().map(label)).collect()
    }

    /// An address that found no column stands in the last one of its side.
    fn at(&self, leg: Option<Side>, remote: SocketAddr) -> usize {
        let left = self.left.iter().position(|(address, _)| *address == remote);
        let right = self.right.iter().position(|(address, _)| *address == remote).map(|at| at + self.border() + 1);
        left.or(right).unwrap_or(if leg == Some(Side::A) { 0 } else { self.border() + self.right.len() })
    }
}

fn lines(fact: &Fact, columns: &Columns) -> Vec<Line> {
    let note = |text: String| vec![Line::Note(text)];
    match &fact.what {
        What::Received { leg, flow, bytes, retransmission } => arrow(columns.at(*leg, flow.remote), columns.border(), bytes, *retransmission),
        What::Sent { leg, remote, bytes, retransmission, .. } => arrow(columns.border(), columns.at(*leg, *remote), bytes, *retransmission),
        What::Decided(decisions) => decisions
            .iter()
            .map(|decision| {
                let values = compared(decision);
                let values = if values.is_empty() { values } else { format!(" [{values}]") };
                Line::Note(match decision.refused {
                    None => format!("* {}: {}{values}", decision.stage, clean(&decision.rule)),
                    Some(reason) => format!("! {}: {} refused, {reason}: {}{values}", decision.stage, clean(&decision.rule), reason.meaning()),
                })
            })
            .collect(),
        // Its decisions stand above.
        What::Screened(_) => Vec::new(),
        What::Malformed { reason, detail, .. } => note(format!("! malformed, {reason}: {detail}")),
        What::CallBegan { peer, from, to } => note(format!("= call from {peer}: {} to {}", clean(from), clean(to))),
        What::LegOpened { side, peer, mode, transport, .. } => note(format!("= leg {side} to be {}: {peer} by {transport}", mode_name(*mode))),
        What::CallAnswered => note("= answered".to_owned()),
        What::Redirected { hop } => note(format!("* redirection: {} from {} followed to {} {}", hop.status, clean(&hop.from), clean(&hop.to), hop.transport)),
        What::CallMissed(missed) => note(format!("! missed call of mailbox {}: {}", missed.mailbox, missed.missed.word())),
        What::MissedCallCarried { id, peer, status, reason } => note(format!("= notice {id} of a missed call to {peer}: {status}, {reason}")),
        What::Wan { pool, state, .. } => note(format!("! the WAN to {pool} is {}", state.word())),
        What::Rerouted { wanted, number, why, .. } => note(format!("! rerouted over the PSTN to {number} ({}), {why}: {}", wanted.word(), why.meaning())),
        What::FailedOver { peer, target, why } => note(format!("! failover: {peer} {target} given up, {why}: {}", why.meaning())),
        What::FaxTone { side } => note(format!("= a fax calls on leg {side} (telephone-event 36)")),
        What::FaxSwitched { t38 } => note(format!("= {}", if *t38 { "a fax over T.38 from here" } else { "sound again, no T.38" })),
        What::DigitRefused { side, status } => note(format!("= leg {side} refused a digit by INFO: {status}")),
        What::MediaKeyed { side, suite } => note(format!("= media of leg {side} keyed by DTLS: {}", suite.name())),
        What::Held { by, held } => note(format!("= {} by leg {by}", if *held { "held" } else { "resumed" })),
        What::Transfer(event) => note(transfer(event)),
        What::CallEnded(record) => ended(record),
        What::MessageWaiting { server, gateway, status, reason, .. } => {
            note(format!("= waiting messages from {server} to {}: {status}, {reason}", gateway.as_deref().unwrap_or("nobody")))
        }
        What::Standalone { method, peer, status, reason } => note(format!("= {} from {peer}: {status}, {reason}", clean(method))),
        What::CallProgressed { .. }
        | What::Stranger { .. }
        | What::PeerName { .. }
        | What::PeerNameOdd { .. }
        | What::PeerLiveness { .. }
        | What::PeerLingers { .. }
        | What::Probed { .. }
        | What::PeersShareAddress { .. }
        | What::PeersShareNoMore { .. }
        | What::Firewall(_)
        | What::TlsRefused { .. }
        | What::Crl { .. }
        | What::PeersChanged { .. }
        | What::PoliciesChanged { .. }
        | What::ConnectionUntrusted { .. }
        | What::ConnectionParted { .. }
        | What::HandshakesHeld { .. }
        | What::CertificatesChanged { .. }
        | What::CertificatesRefused { .. }
        | What::CertificateEnding(_)
        | What::MediaWorkerEnded { .. }
        | What::Draining { .. }
        | What::CallAdmitted { .. }
        | What::Overloaded { .. }
        | What::Relieved { .. }
        | What::Resumed
        | What::MediaOpened { .. }
        | What::Drained => Vec::new(),
    }
}

fn arrow(from: usize, to: usize, bytes: &Bytes, again: bool) -> Vec<Line> {
    let Some(message) = read(bytes) else {
        return vec![Line::Arrow { from, to, label: format!("unreadable, {} bytes", bytes.len()), again }];
    };
    let mut lines = vec![Line::Arrow { from, to, label: label(&message), again }];
    if !again && let Some(note) = media_note(&message) {
        lines.push(Line::Beneath { from, to, text: note });
    }
    lines
}

fn label(message: &Message) -> String {
    match message.status() {
        None => message.method().map_or_else(String::new, |method| clean(method.as_str())),
        Some(status) => {
            let phrase = String::from_utf8_lossy(message.reason_phrase().unwrap_or_default()).into_owned();
            let of = message.cseq().map(|cseq| cseq.method.as_str().to_owned()).unwrap_or_default();
            let of = if of == "INVITE" || of.is_empty() { String::new() } else { format!(" ({})", clean(&of)) };
            format!("{status} {}{of}", clean(&phrase)).replace("  ", " ")
        }
    }
}

/// Such as `RTP/SAVP PCMA 127.0.0.1:20000 sendrecv`, m-lines apart by commas; a refused one is `image 0`.
fn media_note(message: &Message) -> Option<String> {
    let description = Description::parse(message.sdp()?).ok()?;
    let notes: Vec<String> = description
        .media
        .iter()
        .take(4)
        .map(|media| {
            if media.port == 0 {
                return format!("{} 0", clean(&media.kind));
            }
            let first = media.formats.first().map_or("", |format| format.as_str());
            let codec = media.rtpmap_of(first).map_or(first, |map| map.encoding);
            let address = description.connection_of(media).map_or("?", |connection| &connection.address);
            let address = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
            let kind = if media.is_audio() { String::new() } else { format!("{} ", media.kind) };
            clean(&format!("{kind}{} {codec} {address}:{} {}", media.proto, media.port, description.direction_of(media).name()))
        })
        .collect();
    (!notes.is_empty()).then(|| notes.join(", "))
}

fn transfer(event: &TransferEvent) -> String {
    match event {
        TransferEvent::Began { by, to, kind, .. } => format!("= transfer by leg {by} to {} ({})", clean(to), kind.word()),
        TransferEvent::Refused { by, to, reason, .. } => format!("! transfer by leg {by} to {} refused, {reason}: {}", clean(to), reason.meaning()),
        TransferEvent::TransferorLeft { by } => format!("= leg {by} has hung up, the transfer goes on"),
        TransferEvent::Done { side, peer } => format!("= transfer done: leg {side} is {peer} now"),
        TransferEvent::Failed { status, reason, back, .. } => format!("! transfer failed with {status}, {reason}: {}; {back:?}", reason.meaning()),
        TransferEvent::Relayed { side, peer } => format!("= transfer handed to {peer} on leg {side}"),
        TransferEvent::Declined { peer, status: 0 } => format!("= {peer} says nothing to the transfer: it is executed here"),
        TransferEvent::Declined { peer, status } => format!("= {peer} does not transfer ({status}): it is executed here"),
        TransferEvent::DoneThere { peer } => format!("= transfer done by {peer}"),
        TransferEvent::Unheard { peer, status } => format!("= {peer} takes no news of the transfer ({status})"),
    }
}

fn ended(record: &CallRecord) -> Vec<Line> {
    let by = match record.released_by {
        crate::signaling::fact::ReleasedBy::Caller => "the caller",
        crate::signaling::fact::ReleasedBy::Called => "the called",
        crate::signaling::fact::ReleasedBy::Border => "the border",
    };
    let status = record.status.map_or_else(String::new, |status| format!(", status {status}"));
    let mut lines = vec![Line::Note(format!("= ended by {by}, {}: {}{status}", record.reason, record.reason.meaning()))];
    if let Some(media) = &record.media {
        let direction = |name: &str, from: &crate::media::control::SideReport, to: &crate::media::control::SideReport| {
            let jitter = f64::from(from.jitter_us) / 1000.0;
            Line::Note(format!("= media {name}: {} received, {} lost, jitter {jitter:.1} ms, {} sent", from.received, from.lost, to.sent))
        };
        lines.push(direction("A to B", &media.a, &media.b));
        lines.push(direction("B to A", &media.b, &media.a));
    }
    lines
}
