//! What the two processes say to each other.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::estate::Item;
use crate::adapters::net::Foreign;
use crate::adapters::nft::Change;
use crate::adapters::store::Notice;
use crate::policy::ban::{Ban, Cause, Owner};
use crate::policy::flow::{Flow, FlowId, ListenerId, Presented, Proof, TlsBackend, TlsIdentity};
use crate::signaling::companion::Bequest;
use crate::sip::Transport;
use crate::time::Time;

/// Of these words and their order. Another number is refused: then the border is stopped and started.
pub const VERSION: u32 = 3;

/// For what a socket listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Use {
    Datagrams,
    Connections,
    Admin,
    Api,
}

/// The first word: the old process's sockets, which come in this order.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Offer {
    pub version: String,
    pub pid: u32,
    pub sockets: Vec<(Use, SocketAddr)>,
    /// It has the kernel's firewall do its part.
    pub keeps_firewall: bool,
    /// Where it keeps missed calls.
    pub missed_calls: Option<NoticeStore>,
}

/// A store of missed calls.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct NoticeStore {
    pub path: PathBuf,
    /// How it is written; a program that knows lower ones only cannot read it.
    pub format: u64,
}

/// What of the old process's, beside its place, is to be the new one's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claims {
    /// The kernel's firewall is to do its part.
    pub keeps_firewall: bool,
    /// It keeps missed calls where the old one does, and opens that store when it is free.
    pub awaits_store: bool,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "word", rename_all = "snake_case")]
pub enum Word {
    /// Of the new process: it only waits for `Go`.
    Ready(Claims),
    /// It cannot go on.
    Refused { why: String },
    /// Of the old process: from here on the place is the other's.
    Go { bequest: Bequest },
    /// A connection, before the first message from it.
    Connection(Box<Connection>),
    /// A message from a connection of the sender's; the body.
    Message { flow: u64 },
    /// A datagram that the sender has read; the body.
    Datagram { local: SocketAddr, remote: SocketAddr },
    /// The body is to be sent on a connection of the receiver's.
    Send { flow: u64, id: u64 },
    /// … and was not.
    Failed { id: u64 },
    /// The body is to be sent on a connection that was the sender's, and by this number, and is the receiver's. `id`: of the receiver's, if the message is.
    Carry { flow: u64, id: Option<u64> },
    /// A plain connection of the sender's is the receiver's from here on; its socket comes along, and the body has been read of it.
    Moved { connection: Box<Connection>, outbound: bool },
    /// A connection of the sender's has ended.
    Closed { flow: u64 },
    /// Of the old process: what its calls need of the kernel's firewall changes.
    Guard { changes: Vec<Change> },
    /// Of the old process: its table in the kernel, and its bans, are the other's from here on.
    Keep { table: Option<String>, bans: Vec<HandedBan> },
    /// Of either, every second. `calls`: so many are up there.
    Alive { calls: u64 },
    /// Of the old process: what operators have made of it.
    Estate(Box<Item>),
    /// Of the old process: the ladder of a call of its that has ended; the body, a drawing in JSON.
    Ladder { call: u64 },
    /// Of the new process: nothing of what traces have gathered is to be kept any longer.
    ForgetTraces,
    /// Of the old process: it has closed its store of missed calls.
    StoreFree,
    /// A missed call, for the store of the receiver.
    Missed(Notice),
    /// … which is on disk there.
    Kept { id: String },
    /// Of the old process: it has no call any more, reads nothing any more, and ends.
    Done,
}

/// A connection of the sender's.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Connection {
    number: u64,
    listener: SocketAddr,
    tls: Option<Tls>,
    local: SocketAddr,
    remote: SocketAddr,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Tls {
    version: String,
    cipher: String,
    by_openssl: bool,
    names: Vec<String>,
    trusted_for: Vec<String>,
    /// DER in base64, the end's own certificate first.
    chain: Vec<String>,
    /// The peer that was called and under which names, where we called.
    called: Option<(String, Vec<String>)>,
}

impl From<Foreign> for Connection {
    fn from(Foreign { number, listener, flow, presented }: Foreign) -> Connection {
        let chain = |presented: &Presented| presented.chain.iter().map(|der| STANDARD.encode(der)).collect();
        let called = presented.as_deref().and_then(|presented| match &presented.proves {
            Proof::Client(_) => None,
            Proof::Server { peer, names } => Some((peer.to_string(), names.iter().map(ToString::to_string).collect())),
        });
        let tls = flow.tls.as_deref().map(|identity| Tls {
            version: identity.version.clone(),
            cipher: identity.cipher.clone(),
            by_openssl: identity.backend == TlsBackend::OpenSsl,
            names: identity.names.clone(),
            trusted_for: identity.trusted_for.iter().map(ToString::to_string).collect(),
            chain: presented.as_deref().map(chain).unwrap_or_default(),
            called,
        });
        Connection { number, listener, tls, local: flow.local, remote: flow.remote }
    }
}

impl Connection {
    /// As the network takes it; its listener and its number are not of ours yet. `None`: it makes no sense.
    pub fn foreign(self) -> Option<Foreign> {
        let transport = if self.tls.is_some() { Transport::Tls } else { Transport::Tcp };
        let (tls, presented) = match self.tls {
            None => (None, None),
            Some(tls) => {
                let chain: Option<Vec<Bytes>> = tls.chain.iter().map(|der| Some(Bytes::from(STANDARD.decode(der).ok()?))).collect();
                let proves = match tls.called {
                    Some((peer, names)) => Proof::Server { peer: peer.into(), names: names.into_iter().map(Arc::from).collect() },
                    None => Proof::Client(Vec::new()),
                };
                let identity = TlsIdentity {
                    version: tls.version,
                    cipher: tls.cipher,
                    backend: if tls.by_openssl { TlsBackend::OpenSsl } else { TlsBackend::Rustls },
                    names: tls.names,
                    trusted_for: tls.trusted_for.into_iter().map(Arc::from).collect(),
                };
                (Some(Arc::new(identity)), Some(Arc::new(Presented { chain: chain?, proves })))
            }
        };
        let flow = Flow { id: FlowId(0), transport, listener: ListenerId(0), local: self.local, remote: self.remote, tls };
        Some(Foreign { number: self.number, listener: self.listener, flow, presented })
    }
}

/// A ban of the sender's. The other process's clock is another.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HandedBan {
    net: String,
    cause: HandedCause,
    old: Duration,
    left: Option<Duration>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum HandedCause {
    Scan,
    HandshakeFlood,
    Ordered { why: String, operator: String },
}

impl HandedBan {
    /// As of `now`. `None`: one of the kernel's, which stays there.
    pub fn of(ban: &Ban, now: Time) -> Option<HandedBan> {
        let cause = match (&ban.cause, &ban.owner) {
            (Cause::Ordered(why), Owner::Operator(operator)) => HandedCause::Ordered { why: why.to_string(), operator: operator.to_string() },
            (Cause::Scan, Owner::Border) => HandedCause::Scan,
            (Cause::HandshakeFlood, Owner::Border) => HandedCause::HandshakeFlood,
            _ => return None,
        };
        Some(HandedBan { net: ban.net.to_string(), cause, old: now.since(ban.since), left: ban.left(now) })
    }

    /// As the receiver has it, whose clock says `now`; one made before that began was made when it began. `None`: it makes no sense.
    pub fn since(self, now: Time) -> Option<Ban> {
        let (cause, owner) = match self.cause {
            HandedCause::Scan => (Cause::Scan, Owner::Border),
            HandedCause::HandshakeFlood => (Cause::HandshakeFlood, Owner::Border),
            HandedCause::Ordered { why, operator } => (Cause::Ordered(why.into()), Owner::Operator(operator.into())),
        };
        let old = u64::try_from(self.old.as_nanos()).unwrap_or(u64::MAX);
        let since = Time::from_nanos(now.as_nanos().saturating_sub(old));
        Some(Ban { net: self.net.parse().ok()?, cause, owner, since, until: self.left.map(|left| now + left) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_keeps_the_time_it_has_left() {
        let (here, there) = (Time::from_nanos(50_000_000_000), Time::from_nanos(3_000_000_000));
        let ban = |cause, owner, until: Option<u64>| Ban {
            net: "203.0.113.0/24".parse().unwrap(),
            cause,
            owner,
            since: Time::from_nanos(49_000_000_000),
            until: until.map(Time::from_nanos),
        };
        let ordered = ban(Cause::Ordered("toll fraud".into()), Owner::Operator("anna".into()), None);
        let scan = ban(Cause::Scan, Owner::Border, Some(60_000_000_000));
        for (given, left) in [(&ordered, None), (&scan, Some(Duration::from_secs(10)))] {
            let text = serde_json::to_vec(&HandedBan::of(given, here).unwrap()).unwrap();
            let taken = serde_json::from_slice::<HandedBan>(&text).unwrap().since(there).unwrap();
            assert_eq!((&taken.cause, &taken.owner, taken.net), (&given.cause, &given.owner, given.net));
            assert_eq!((taken.left(there), there.since(taken.since)), (left, Duration::from_secs(1)));
        }
        assert_eq!(HandedBan::of(&ban(Cause::Scan, Owner::Kernel, None), here), None);
    }

    #[test]
    fn a_connection_comes_across_as_it_was() {
        let identity = TlsIdentity {
            version: "TLSv1.3".into(),
            cipher: "TLS13_AES_256_GCM_SHA384".into(),
            backend: TlsBackend::OpenSsl,
            names: vec!["um.example".into()],
            trusted_for: vec!["um".into()],
        };
        let flow = |tls: Option<TlsIdentity>| Flow {
            id: FlowId(0),
            transport: if tls.is_some() { Transport::Tls } else { Transport::Tcp },
            listener: ListenerId(0),
            local: "192.0.2.1:5061".parse().unwrap(),
            remote: "[2001:db8::1]:40000".parse().unwrap(),
            tls: tls.map(Arc::new),
        };
        let presented = |proves| Presented { chain: vec![Bytes::from_static(&[0, 255, 3])], proves };
        let server = presented(Proof::Server { peer: "um".into(), names: vec!["um.example".into()] });
        for (tls, presented) in [(None, None), (Some(identity.clone()), Some(server)), (Some(identity), Some(presented(Proof::Client(Vec::new()))))] {
            let foreign = Foreign { number: 7, listener: "0.0.0.0:5061".parse().unwrap(), flow: flow(tls), presented: presented.map(Arc::new) };
            let word = Word::Connection(Box::new(foreign.clone().into()));
            let text = serde_json::to_vec(&word).unwrap();
            let Word::Connection(heard) = serde_json::from_slice(&text).unwrap() else { panic!("another word") };
            assert_eq!(heard.foreign(), Some(foreign));
        }
    }
}
