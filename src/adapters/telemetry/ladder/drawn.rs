//! A drawing, made of a call's facts: who stands where, what passed, what was decided and by which rule, what became of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;

use super::canvas;
use super::drawing::{Class, Compared, Drawing, Mark, Passed, Row};
use super::head;
use crate::adapters::telemetry::redact::{clean, redact};
use crate::adapters::telemetry::summary::read;
use crate::adapters::telemetry::wall::Anchor;
use crate::media::control::{Report, Side, SideReport};
use crate::policy::flow::{Flow, FlowId};
use crate::policy::security_mode::mode_name;
use crate::policy::verdict::Decision;
use crate::sdp::Description;
use crate::signaling::fact::{CallRecord, Fact, ReleasedBy, TransferEvent, What};
use crate::sip::{Message, Transport};
use crate::time::Time;

/// What media has counted of a call: at its end, or so far.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'a> {
    pub at: Time,
    /// Where the legs are, by their signalling.
    pub a: SocketAddr,
    pub b: Option<SocketAddr>,
    pub report: &'a Report,
    /// The call is up.
    pub so_far: bool,
}

impl Drawing {
    /// Of these facts, one call's as a rule, in any order. Keys and credentials are blotted out.
    pub fn of(facts: &[Fact], anchor: &Anchor) -> Drawing {
        Drawing::showing(facts, anchor, |bytes| redact(bytes), None)
    }

    /// The same of a call that is up, with what media has counted so far. What its facts say of its end goes before that.
    pub fn so_far(facts: &[Fact], anchor: &Anchor, counted: &Counted<'_>) -> Drawing {
        Drawing::showing(facts, anchor, |bytes| redact(bytes), Some(counted))
    }

    /// The same with messages as they are.
    pub fn with_secrets(facts: &[Fact], anchor: &Anchor) -> Drawing {
        Drawing::showing(facts, anchor, Bytes::clone, None)
    }

    /// Of facts out of whose messages keys and credentials are gone already.
    pub(super) fn of_kept(facts: &[Fact], anchor: &Anchor) -> Drawing {
        Drawing::showing(facts, anchor, Bytes::clone, None)
    }

    fn showing(facts: &[Fact], anchor: &Anchor, shown: fn(&Bytes) -> Bytes, mut so_far: Option<&Counted<'_>>) -> Drawing {
        let mut facts: Vec<&Fact> = facts.iter().collect();
        facts.sort_by_key(|fact| fact.at);
        let ours = Ours::of(&facts);
        let columns = Columns::of(&facts, &ours);
        let mut drawing = Drawing { legs: head::lines(&facts), columns: columns.labels(), border: columns.border(), ..Drawing::default() };
        for fact in facts {
            let at = anchor.micros(fact.at);
            match &fact.what {
                What::Received { leg, flow, bytes, retransmission } => {
                    let (far, named) = columns.at(*leg, flow.remote);
                    let bytes = shown(bytes);
                    let passed = Passed::new(at, (flow.remote, flow.local), flow.transport.uri_token(), &bytes);
                    drawing.pass(passed, (far, columns.border()), named, &bytes, *retransmission);
                }
                What::Sent { leg, transport, remote, over, bytes, retransmission } => {
                    let remote = ours.far_end(*over, *remote);
                    let (far, named) = columns.at(*leg, remote);
                    let (from, bytes) = (ours.towards(remote, bytes), shown(bytes));
                    let passed = Passed::new(at, (from, remote), transport.uri_token(), &bytes);
                    drawing.pass(passed, (columns.border(), far), named, &bytes, *retransmission);
                }
                What::CallEnded(record) => {
                    drawing.rows.push(row(at, ended(record)));
                    so_far = None;
                    if let Some(report) = &record.media {
                        let b = record.b.as_ref().map(|leg| leg.remote);
                        drawing.media(&Counted { at: fact.at, a: record.a.remote, b, report, so_far: false }, &columns, anchor);
                    }
                }
                what => drawing.rows.extend(marks(what).into_iter().map(|mark| row(at, mark))),
            }
        }
        if let Some(counted) = so_far {
            drawing.media(counted, &columns, anchor);
        }
        drawing.in_order();
        drawing
    }

    /// `named`: who it is, where the column does not say so. It stands first: what is too long is cut off at its end.
    fn pass(&mut self, passed: Passed, (from, to): (usize, usize), named: Option<SocketAddr>, bytes: &Bytes, again: bool) {
        let message = read(bytes);
        let label = message.as_ref().map_or_else(|| format!("unreadable, {} bytes", bytes.len()), label);
        let label = named.map_or_else(|| label.clone(), |far| format!("{far} {label}"));
        let class = message.as_ref().map_or(Class::Unreadable, |message| Class::of(message.status()));
        let description = message.as_ref().filter(|_| !again).and_then(description);
        self.rows.push(row(passed.at, Mark::Arrow { from, to, label, class, again, description, message: self.messages.len() }));
        self.messages.push(passed);
    }

    /// A bar for each leg and direction in which something went, and what was counted of each direction.
    fn media(&mut self, counted: &Counted<'_>, columns: &Columns, anchor: &Anchor) {
        let Counted { report, so_far, .. } = *counted;
        let at = anchor.micros(counted.at);
        let border = columns.border();
        let a = columns.at(Some(Side::A), counted.a);
        let b = counted.b.map_or((border + 1, None), |remote| columns.at(Some(Side::B), remote));
        for (side, (peer, named)) in [(&report.a, a), (&report.b, b)] {
            let bars = [
                (peer, border, side.received, Some(side.lost), side.first, side.last_rtp.or(side.last)),
                (border, peer, side.sent, None, side.first_sent, side.last_sent),
            ];
            for (from, to, packets, lost, first, last) in bars {
                if let (Some(first), Some(last), 1..) = (first, last, packets) {
                    let far = named.map(|far| far.to_string());
                    self.rows.push(row(anchor.micros(first), Mark::Media { from, to, packets, lost, last: anchor.micros(last), so_far, far }));
                }
            }
        }
        let counted = |name: &str, from: &SideReport, to: &SideReport| {
            let jitter = f64::from(from.jitter_us) / 1000.0;
            let far = if so_far { " so far" } else { "" };
            let text = format!("media {name}{far}: {} received, {} lost, jitter {jitter:.1} ms, {} sent", from.received, from.lost, to.sent);
            row(at, Mark::Note { text, trouble: false })
        };
        self.rows.push(counted("A to B", &report.a, &report.b));
        self.rows.push(counted("B to A", &report.b, &report.a));
    }

    /// Bars were found at the end, and stand where they began.
    fn in_order(&mut self) {
        self.rows.sort_by_key(|row| row.at);
        let mut before = self.rows.first().map_or(0, |row| row.at);
        for row in &mut self.rows {
            row.after_us = u64::try_from(row.at.saturating_sub(before)).unwrap_or(0);
            before = row.at;
        }
    }
}

fn row(at: i64, mark: Mark) -> Row {
    Row { at, after_us: 0, mark }
}

/// Our own addresses, which facts of sent messages do not name.
struct Ours(Vec<Arc<Flow>>);

impl Ours {
    fn of(facts: &[&Fact]) -> Ours {
        let of = |fact: &&Fact| if let What::Received { flow, .. } = &fact.what { Some(flow.clone()) } else { None };
        Ours(facts.iter().filter_map(of).collect())
    }

    /// What goes back on a connection that something came by has gone to its far end, whatever port a Via or Contact names.
    fn far_end(&self, over: Option<FlowId>, remote: SocketAddr) -> SocketAddr {
        self.0.iter().find(|flow| Some(flow.id) == over).map_or(remote, |flow| flow.remote)
    }

    /// Where the other end was heard; else what our Via says; else nowhere, of its family.
    fn towards(&self, remote: SocketAddr, bytes: &Bytes) -> SocketAddr {
        let heard = self.0.iter().find(|flow| flow.remote == remote).map(|flow| flow.local);
        let said = || {
            let message = read(bytes).filter(|message| message.is_request())?;
            let via = message.top_via().ok()?;
            let address: IpAddr = via.host.trim_matches(['[', ']']).parse().ok()?;
            (address.is_ipv4() == remote.is_ipv4()).then(|| SocketAddr::new(address, via.port.unwrap_or(5060)))
        };
        let nowhere = if remote.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0; 16]) };
        heard.or_else(said).unwrap_or(SocketAddr::new(nowhere, 5060))
    }
}

/// Who stands where. The border is a column of its own between the two sides. Those who find no room in a side share its outermost column.
struct Columns {
    left: Vec<(SocketAddr, Transport)>,
    right: Vec<(SocketAddr, Transport)>,
    /// How many share the first and the last column.
    others: (usize, usize),
}

impl Columns {
    fn of(facts: &[&Fact], ours: &Ours) -> Columns {
        let mut columns = Columns { left: Vec::new(), right: Vec::new(), others: (0, 0) };
        for fact in facts {
            let (leg, remote, transport) = match &fact.what {
                What::Received { leg, flow, .. } => (*leg, flow.remote, flow.transport),
                What::Sent { leg, remote, transport, over, .. } => (*leg, ours.far_end(*over, *remote), *transport),
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
        columns.others.0 = folded(&mut columns.left, canvas::COLUMNS / 2);
        let room = canvas::COLUMNS - 1 - columns.border();
        columns.others.1 = folded(&mut columns.right, room);
        columns
    }

    fn border(&self) -> usize {
        self.left.len() + usize::from(self.others.0 > 0)
    }

    fn labels(&self) -> Vec<String> {
        let label = |(address, transport): &(SocketAddr, Transport)| format!("{} {address}", transport.uri_token());
        let others = |count: usize| (count > 0).then(|| format!("{count} others"));
        let left = others(self.others.0).into_iter().chain(self.left.iter().map(label));
        left.chain(std::iter::once("portcullis".to_owned())).chain(self.right.iter().map(label)).chain(others(self.others.1)).collect()
    }

    /// The column, and the address where that column does not name it.
    fn at(&self, leg: Option<Side>, remote: SocketAddr) -> (usize, Option<SocketAddr>) {
        let border = self.border();
        let first = usize::from(self.others.0 > 0);
        let left = self.left.iter().position(|(address, _)| *address == remote).map(|at| at + first);
        let right = || self.right.iter().position(|(address, _)| *address == remote).map(|at| at + border + 1);
        let outermost = if leg == Some(Side::A) { 0 } else { border + self.right.len() + usize::from(self.others.1 > 0) };
        left.or_else(right).map_or((outermost, Some(remote)), |at| (at, None))
    }
}

/// How many find no room; one column is theirs then.
fn folded(side: &mut Vec<(SocketAddr, Transport)>, room: usize) -> usize {
    if side.len() <= room {
        return 0;
    }
    let kept = room.saturating_sub(1);
    let others = side.len() - kept;
    side.truncate(kept);
    others
}

fn marks(what: &What) -> Vec<Mark> {
    let note = |text: String| vec![Mark::Note { text, trouble: false }];
    let trouble = |text: String| vec![Mark::Note { text, trouble: true }];
    match what {
        What::Decided(decisions) => decisions.iter().map(decision).collect(),
        What::Malformed { reason, detail, .. } => trouble(format!("malformed, {reason}: {detail}")),
        What::CallBegan { peer, from, to } => note(format!("call from {peer}: {} to {}", clean(from), clean(to))),
        What::LegOpened { side, peer, mode, transport, .. } => note(format!("leg {side} to be {}: {peer} by {transport}", mode_name(*mode))),
        What::CallAnswered => note("answered".to_owned()),
        What::Redirected { hop } => {
            let rule = format!("{} from {} followed to {} {}", hop.status, clean(&hop.from), clean(&hop.to), hop.transport);
            vec![decision(&Decision::passed("redirection", rule))]
        }
        What::CallMissed(missed) => trouble(format!("missed call of mailbox {}: {}", missed.mailbox, missed.missed.word())),
        What::MissedCallCarried { id, peer, status, reason } => note(format!("notice {id} of a missed call to {peer}: {status}, {reason}")),
        What::Wan { pool, state, .. } => trouble(format!("the WAN to {pool} is {}", state.word())),
        What::Rerouted { wanted, number, why, .. } => trouble(format!("rerouted over the PSTN to {number} ({}), {why}: {}", wanted.word(), why.meaning())),
        What::FailedOver { peer, target, why } => trouble(format!("failover: {peer} {target} given up, {why}: {}", why.meaning())),
        What::FaxTone { side } => note(format!("a fax calls on leg {side} (telephone-event 36)")),
        What::FaxSwitched { t38 } => note(String::from(if *t38 { "a fax over T.38 from here" } else { "sound again, no T.38" })),
        What::DigitRefused { side, status } => note(format!("leg {side} refused a digit by INFO: {status}")),
        What::MediaKeyed { side, suite } => note(format!("media of leg {side} keyed by DTLS: {}", suite.name())),
        What::Held { by, held } => note(format!("{} by leg {by}", if *held { "held" } else { "resumed" })),
        What::Transfer(event) => vec![transfer(event)],
        What::MessageWaiting { server, gateway, status, reason, .. } => {
            note(format!("waiting messages from {server} to {}: {status}, {reason}", gateway.as_deref().unwrap_or("nobody")))
        }
        What::Standalone { method, peer, status, reason } => note(format!("{} from {peer}: {status}, {reason}", clean(method))),
        What::Received { .. }
        | What::Sent { .. }
        | What::CallEnded(_)
        | What::Screened(_)
        | What::CallProgressed { .. }
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
        | What::Census(_)
        | What::Drained => Vec::new(),
    }
}

fn decision(decision: &Decision) -> Mark {
    Mark::Decision {
        stage: decision.stage.to_owned(),
        rule: clean(&decision.rule),
        refused: decision.refused.map(|reason| reason.code().to_owned()),
        meaning: decision.refused.map(|reason| reason.meaning().to_owned()),
        values: decision.compared.iter().map(|(name, value)| Compared { name: (*name).to_owned(), value: clean(value) }).collect(),
    }
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
fn description(message: &Message) -> Option<String> {
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

fn transfer(event: &TransferEvent) -> Mark {
    let text = match event {
        TransferEvent::Began { by, to, kind, .. } => format!("transfer by leg {by} to {} ({})", clean(to), kind.word()),
        TransferEvent::Refused { by, to, reason, .. } => format!("transfer by leg {by} to {} refused, {reason}: {}", clean(to), reason.meaning()),
        TransferEvent::TransferorLeft { by } => format!("leg {by} has hung up, the transfer goes on"),
        TransferEvent::Done { side, peer } => format!("transfer done: leg {side} is {peer} now"),
        TransferEvent::Failed { status, reason, back, .. } => format!("transfer failed with {status}, {reason}: {}; {back:?}", reason.meaning()),
        TransferEvent::Relayed { side, peer } => format!("transfer handed to {peer} on leg {side}"),
        TransferEvent::Declined { peer, status: 0 } => format!("{peer} says nothing to the transfer: it is executed here"),
        TransferEvent::Declined { peer, status } => format!("{peer} does not transfer ({status}): it is executed here"),
        TransferEvent::DoneThere { peer } => format!("transfer done by {peer}"),
        TransferEvent::Unheard { peer, status } => format!("{peer} takes no news of the transfer ({status})"),
    };
    let trouble = matches!(event, TransferEvent::Refused { .. } | TransferEvent::Failed { .. });
    Mark::Note { text, trouble }
}

fn ended(record: &CallRecord) -> Mark {
    let by = match record.released_by {
        ReleasedBy::Caller => "the caller",
        ReleasedBy::Called => "the called",
        ReleasedBy::Border => "the border",
    };
    let status = record.status.map_or_else(String::new, |status| format!(", status {status}"));
    Mark::Note { text: format!("ended by {by}, {}: {}{status}", record.reason, record.reason.meaning()), trouble: false }
}
