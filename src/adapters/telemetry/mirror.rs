//! Copies of the signalling as it passes, for a capture server: every message of calls and of exchanges outside calls, without its secrets, both legs
//! under one name, how their media does while they are up, and each call's record when it is over.

use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::brief::brief;
use super::ended::Ended;
use super::redact::redact;
use super::reports::{self, Reported};
use super::summary::read;
use super::wall::Anchor;
use crate::media::control::{Report, Side};
use crate::signaling::fact::{CallId, Fact, What};
use crate::signaling::settings::Listener;
use crate::sip::Transport;
use crate::time::Time;

/// Where copies go. Must not wait.
pub trait Mirror: Send + Sync {
    fn show(&self, seen: &Seen<'_>);
}

/// What passed, and between whom.
#[derive(Clone, PartialEq, Debug)]
pub struct Seen<'a> {
    /// No two are of the same microsecond, and a later one is never earlier: capture servers put copies in order by it.
    pub at: SystemTime,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub transport: Transport,
    /// The Call-ID of the caller's leg, on both legs.
    pub correlation: &'a str,
    pub what: Copied<'a>,
}

/// Free of keys, credentials, and digits sent in INFO.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Copied<'a> {
    Message(&'a [u8]),
    /// What a leg was told, or told, of its media: RTCP as JSON.
    Rtcp(&'a str),
    /// One line of JSON, as in the file of records, or shorter.
    Record(&'a str),
}

/// A mirror, and our own addresses, which facts of sent messages do not name.
pub struct Mirrored {
    pub to: Arc<dyn Mirror>,
    pub listeners: Vec<Listener>,
}

/// The media of a call that is up, as it was at a moment.
#[derive(Clone, PartialEq, Debug)]
pub struct MediaNow {
    pub call: CallId,
    pub at: Time,
    /// Our addresses for RTP, towards A's peer and B's.
    pub ours: [SocketAddr; 2],
    pub report: Report,
}

/// Exchanges that may be over at any time: their names are kept for what still comes of them.
const PASSING: usize = 4096;
/// Names in all; only calls whose end was lost could make more.
const NAMES: usize = 262_144;

/// The telemetry thread's own.
pub(super) struct Mirroring {
    mirrored: Mirrored,
    order: Order,
    calls: HashMap<CallId, Known>,
    /// Those that are no call, and ended calls.
    passing: VecDeque<CallId>,
}

/// The time of the last copy. What one message brought about bears its time: without more, a server could not tell what came first.
struct Order(Cell<SystemTime>);

impl Default for Order {
    fn default() -> Order {
        Order(Cell::new(SystemTime::UNIX_EPOCH))
    }
}

impl Order {
    fn next(&self, at: SystemTime) -> SystemTime {
        let at = at.max(self.0.get() + Duration::from_micros(1));
        self.0.set(at);
        at
    }
}

struct Known {
    correlation: Arc<str>,
    /// The caller's leg, or the one that came first.
    caller: (SocketAddr, Transport),
    /// Our addresses towards each remote one.
    ours: Vec<(SocketAddr, SocketAddr)>,
    /// A call that has not ended.
    up: bool,
    /// Our addresses for RTP, once they were told, and what was reported of the media since.
    media: Option<[SocketAddr; 2]>,
    reported: Reported,
}

impl Mirroring {
    pub fn new(mirrored: Mirrored) -> Mirroring {
        Mirroring { mirrored, order: Order::default(), calls: HashMap::new(), passing: VecDeque::new() }
    }

    /// To another server; calls keep their names.
    pub fn to(self, mirrored: Mirrored) -> Mirroring {
        Mirroring { mirrored, ..self }
    }

    pub fn note(&mut self, fact: &Fact, anchor: &Anchor) {
        let Some(call) = fact.call else { return };
        match &fact.what {
            What::Received { leg, flow, bytes, .. } => {
                let Some(known) = self.known(call, *leg, (flow.remote, flow.transport), bytes) else { return };
                known.ours.retain(|(remote, _)| *remote != flow.remote);
                known.ours.push((flow.remote, flow.local));
                let correlation = known.correlation.clone();
                self.show(anchor.wall(fact.at), (flow.remote, flow.local), flow.transport, &correlation, bytes);
            }
            What::Sent { leg, transport, remote, bytes, .. } => {
                let Some(known) = self.known(call, *leg, (*remote, *transport), bytes) else { return };
                if let Some(way) = known.way_back(*transport, *remote, bytes) {
                    let correlation = known.correlation.clone();
                    return self.show(anchor.wall(fact.at), way, *transport, &correlation, bytes);
                }
                let (correlation, known_ours) = (known.correlation.clone(), known.ours_towards(*remote));
                let ours = known_ours.unwrap_or_else(|| ours(&self.mirrored.listeners, *transport, *remote, bytes));
                if let Some(known) = self.calls.get_mut(&call).filter(|_| known_ours.is_none()) {
                    known.ours.push((*remote, ours));
                }
                self.show(anchor.wall(fact.at), (ours, *remote), *transport, &correlation, bytes);
            }
            What::CallBegan { .. } => {
                if let Some(known) = self.calls.get_mut(&call) {
                    known.up = true;
                }
            }
            _ => {}
        }
    }

    /// The call is over, its record made. Its last messages may still come.
    pub fn ended(&mut self, ended: &Ended<'_>) {
        let (record, anchor) = (ended.record, ended.anchor);
        let Some(known) = self.calls.get_mut(&record.call) else { return };
        known.up = false;
        let (remote, transport) = known.caller;
        let ours = known.ours_towards(remote).unwrap_or_else(|| nothing(remote));
        let at = anchor.wall(record.ended);
        if let Some(media) = &record.media {
            // Which ports of ours it was is not known where it was not told while the call was up.
            let towards = |remote| SocketAddr::new(known.ours_towards(remote).unwrap_or_else(|| nothing(remote)).ip(), 0);
            let here = known.media.unwrap_or([towards(remote), record.b.as_ref().map_or(nothing(remote), |leg| towards(leg.remote))]);
            self.mirrored.reports(&self.order, at, here, media, known);
        }
        let what = Copied::Record(&brief(ended.line()));
        self.mirrored.to.show(&Seen { at: self.order.next(at), from: remote, to: ours, transport, correlation: &known.correlation, what });
        self.passes(record.call);
    }

    /// How the media of a call does that is still up.
    pub fn media(&mut self, now: &MediaNow, anchor: &Anchor) {
        if let Some(known) = self.calls.get_mut(&now.call).filter(|known| known.up) {
            known.media = Some(now.ours);
            self.mirrored.reports(&self.order, anchor.wall(now.at), now.ours, &now.report, known);
        }
    }

    /// What is known of the call, from its first message on. `None`: not SIP enough to have a Call-ID.
    fn known(&mut self, call: CallId, leg: Option<Side>, remote: (SocketAddr, Transport), bytes: &bytes::Bytes) -> Option<&mut Known> {
        if !self.calls.contains_key(&call) {
            let correlation = read(bytes)?.call_id().ok()?.into();
            if self.calls.len() >= NAMES {
                self.calls.clear();
                self.passing.clear();
            }
            let up = leg == Some(Side::B);
            self.calls.insert(call, Known { correlation, caller: remote, ours: Vec::new(), up, media: None, reported: Reported::default() });
            self.passes(call);
        }
        self.calls.get_mut(&call)
    }

    fn passes(&mut self, call: CallId) {
        self.passing.push_back(call);
        if self.passing.len() > PASSING
            && let Some(oldest) = self.passing.pop_front()
            && self.calls.get(&oldest).is_some_and(|known| !known.up)
        {
            self.calls.remove(&oldest);
        }
    }

    fn show(&self, at: SystemTime, (from, to): (SocketAddr, SocketAddr), transport: Transport, correlation: &str, bytes: &[u8]) {
        let (clean, at) = (redact(bytes), self.order.next(at));
        self.mirrored.to.show(&Seen { at, from, to, transport, correlation, what: Copied::Message(&clean) });
    }
}

impl Mirrored {
    /// Of both legs, what there is to report since the last time.
    fn reports(&self, order: &Order, at: SystemTime, here: [SocketAddr; 2], media: &Report, known: &mut Known) {
        for report in reports::of(media, &mut known.reported) {
            let (here, peer) = (here[usize::from(report.side == Side::B)], report.peer);
            let (from, to) = if report.is_ours { (here, peer) } else { (peer, here) };
            let what = Copied::Rtcp(&report.json);
            self.to.show(&Seen { at: order.next(at), from, to, transport: Transport::Udp, correlation: &known.correlation, what });
        }
    }
}

impl Known {
    fn ours_towards(&self, remote: SocketAddr) -> Option<SocketAddr> {
        self.ours.iter().find(|(known, _)| *known == remote).map(|(_, ours)| *ours)
    }

    /// Of a response over a connection, which goes back on the one its request came by (RFC 3261 §18.2.2), though Via names the port the peer listens on.
    fn way_back(&self, transport: Transport, remote: SocketAddr, bytes: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        if transport == Transport::Udp || !bytes.starts_with(b"SIP/2.0 ") || self.ours_towards(remote).is_some() {
            return None;
        }
        self.ours.iter().rev().find(|(known, _)| known.ip() == remote.ip()).map(|(known, ours)| (*ours, *known))
    }
}

/// Our address for a message nothing came before: the listener our Via names, or one of its transport and family. Where we have called over TCP or
/// TLS the port is that listener's, not the connection's.
fn ours(listeners: &[Listener], transport: Transport, remote: SocketAddr, bytes: &bytes::Bytes) -> SocketAddr {
    let message = read(bytes);
    let via = message.as_ref().filter(|message| message.is_request()).and_then(|message| message.top_via().ok());
    let fits = |listener: &&Listener| listener.transport == transport && listener.bound.is_ipv4() == remote.is_ipv4();
    let named = via.and_then(|via| {
        let sent_by = |listener: &Listener| listener.host() == via.host && via.port.is_none_or(|port| listener.advertised.ends_with(&format!(":{port}")));
        listeners.iter().filter(fits).find(|listener| sent_by(listener))
    });
    named.or_else(|| listeners.iter().find(fits)).map_or_else(|| nothing(remote), |listener| listener.bound)
}

/// No address, of the other one's family.
fn nothing(remote: SocketAddr) -> SocketAddr {
    let address = if remote.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    SocketAddr::new(address, 0)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;

    use super::*;
    use crate::policy::flow::{Flow, FlowId, ListenerId};
    use crate::time::Time;

    #[derive(Default)]
    struct Kept(Mutex<Vec<(SocketAddr, SocketAddr, String, String)>>, Mutex<Vec<SystemTime>>);

    impl Mirror for Kept {
        fn show(&self, seen: &Seen<'_>) {
            let text = match seen.what {
                Copied::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Copied::Rtcp(json) => json.to_owned(),
                Copied::Record(line) => line.to_owned(),
            };
            self.1.lock().unwrap().push(seen.at);
            self.0.lock().unwrap().push((seen.from, seen.to, seen.correlation.to_owned(), text));
        }
    }

    const CALLER: &str = "192.0.2.7:40000";
    const UM: &str = "198.51.100.5:5061";

    fn listener(id: u16, bound: &str, advertised: &str) -> Listener {
        Listener { id: ListenerId(id), name: "x".into(), transport: Transport::Tls, bound: bound.parse().unwrap(), advertised: advertised.into() }
    }

    fn mirroring() -> (Mirroring, Arc<Kept>) {
        let kept = Arc::<Kept>::default();
        let listeners = vec![listener(0, "192.0.2.1:5061", "out.example:5061"), listener(1, "198.51.100.1:5061", "in.example:5061")];
        (Mirroring::new(Mirrored { to: kept.clone(), listeners }), kept)
    }

    fn invite(call_id: &str, via: &str, body: &str) -> Bytes {
        format!(
            "INVITE sip:1@um SIP/2.0\r\nVia: SIP/2.0/TLS {via};branch=z9hG4bK1\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:1@um>\r\nCall-ID: {call_id}\r\n\
             CSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into()
    }

    fn received(call: u64, leg: Option<Side>, remote: &str, local: &str, bytes: Bytes) -> Fact {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let flow = Arc::new(Flow { id: FlowId(1), transport: Transport::Tls, listener: ListenerId(0), local, remote, tls: None });
        Fact { at: Time::ZERO, call: Some(CallId(call)), what: What::Received { leg, flow, bytes, retransmission: false } }
    }

    fn sent(call: u64, leg: Side, remote: &str, bytes: Bytes) -> Fact {
        let what = What::Sent { leg: Some(leg), transport: Transport::Tls, remote: remote.parse().unwrap(), over: None, bytes, retransmission: false };
        Fact { at: Time::ZERO, call: Some(CallId(call)), what }
    }

    fn anchor() -> Anchor {
        Anchor { time: Time::ZERO, wall: SystemTime::UNIX_EPOCH }
    }

    fn began(call: u64) -> Fact {
        Fact { at: Time::ZERO, call: Some(CallId(call)), what: What::CallBegan { peer: "p".into(), from: String::new(), to: String::new() } }
    }

    #[test]
    fn both_legs_bear_the_callers_call_id_and_no_key_leaves() {
        let (mut mirroring, kept) = mirroring();
        let offer = "v=0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0\r\n";
        mirroring.note(&received(1, None, CALLER, "192.0.2.1:5061", invite("a-leg", "192.0.2.7", offer)), &anchor());
        mirroring.note(&began(1), &anchor());
        mirroring.note(&sent(1, Side::B, UM, invite("b-leg", "in.example:5061", offer)), &anchor());
        mirroring.note(&sent(1, Side::A, "192.0.2.7:5061", Bytes::from_static(b"SIP/2.0 100 Trying\r\nCall-ID: a-leg\r\n\r\n")), &anchor());
        mirroring.note(&received(1, Some(Side::B), UM, "198.51.100.1:49152", Bytes::from_static(b"SIP/2.0 180 Ringing\r\n\r\n")), &anchor());
        let times: Vec<_> = kept.1.lock().unwrap().iter().map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros()).collect();
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "what came of one message is in its order: {times:?}");
        let kept = kept.0.lock().unwrap();
        let ways: Vec<_> = kept.iter().map(|(from, to, correlation, _)| (from.to_string(), to.to_string(), correlation.as_str())).collect();
        let way = |from: &str, to: &str| (from.to_owned(), to.to_owned(), "a-leg");
        assert_eq!(ways, [way(CALLER, "192.0.2.1:5061"), way("198.51.100.1:5061", UM), way("192.0.2.1:5061", CALLER), way(UM, "198.51.100.1:49152")]);
        assert!(kept.iter().all(|(.., text)| !text.contains("c2VjcmV0")), "{kept:?}");
        assert!(kept[1].3.contains("Call-ID: b-leg") && kept[1].3.contains("inline:****"));
    }

    #[test]
    fn the_media_of_a_call_is_told_while_it_is_up_and_not_after() {
        let (mut mirroring, kept) = mirroring();
        mirroring.note(&received(1, None, CALLER, "192.0.2.1:5061", invite("a-leg", "192.0.2.7", "")), &anchor());
        let mut report = Report::default();
        report.b.latched = Some("198.51.100.5:7000".parse().unwrap());
        report.b.heard = Some(crate::media::control::Heard { ssrc: 0xb, fraction_lost: 0, lost: 2, highest: 50, jitter: 8 });
        let ours = ["192.0.2.1:40000".parse().unwrap(), "198.51.100.1:40004".parse().unwrap()];
        let now = MediaNow { call: CallId(1), at: Time::ZERO, ours, report };
        mirroring.media(&now, &anchor());
        assert_eq!(kept.0.lock().unwrap().len(), 1, "not before it is a call");
        mirroring.note(&began(1), &anchor());
        mirroring.media(&now, &anchor());
        let (from, to, correlation, json) = kept.0.lock().unwrap().pop().unwrap();
        assert_eq!((from, to, correlation.as_str()), (ours[1], "198.51.100.5:7000".parse().unwrap(), "a-leg"), "of the border, about what it heard");
        assert!(json.contains("\"source_ssrc\":11") && json.contains("\"packets_lost\":2"), "{json}");
        mirroring.media(&MediaNow { call: CallId(2), ..now }, &anchor());
        assert_eq!(kept.0.lock().unwrap().len(), 1, "nothing is known of that one");
    }

    #[test]
    fn a_long_call_keeps_its_name_while_thousands_of_exchanges_pass() {
        let (mut mirroring, kept) = mirroring();
        mirroring.note(&received(1, None, CALLER, "192.0.2.1:5061", invite("long", "192.0.2.7", "")), &anchor());
        mirroring.note(&began(1), &anchor());
        for call in 2..20_000 {
            mirroring.note(&received(call, None, CALLER, "192.0.2.1:5061", invite("ping", "192.0.2.7", "")), &anchor());
        }
        assert!(mirroring.calls.len() <= PASSING + 1, "{}", mirroring.calls.len());
        mirroring.note(&sent(1, Side::B, UM, invite("b-leg", "in.example:5061", "")), &anchor());
        assert_eq!(kept.0.lock().unwrap().last().unwrap().2, "long");
    }
}
