//! The signalling plane's whole boundary: a few events in, a few actions out.
//!
//! `core.handle(now, event)`, then `core.poll()` until it is empty, then `core.deadline()`; nothing else touches the core.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::media::control;
use crate::policy::flow::{Flow, FlowId, ListenerId, TlsRefusal};
use crate::policy::peer::PeerTable;
use crate::policy::settings::PolicySet;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::missed_call::Carriage;
use crate::signaling::companion::{Bequest, Change};
use crate::signaling::fact::{CallId, Fact};
use crate::signaling::settings::Settings;
use crate::sip::Transport;

#[derive(Clone, Debug)]
pub enum Event {
    /// One datagram, or one framed message of a stream, from an admitted source.
    Received {
        flow: Arc<Flow>,
        bytes: Bytes,
    },
    /// The same, from another process of this border, which has nothing it belongs to.
    Handed {
        flow: Arc<Flow>,
        bytes: Bytes,
    },
    /// Another process of this border takes over from us, or we from it; or it is gone.
    Companion(Change),
    /// A stream connection ended.
    FlowClosed {
        flow: FlowId,
    },
    /// What was given to `Transmit` under this id could not be sent (RFC 3261 §18.4).
    TransportFailed {
        id: TransmitId,
        error: TransportError,
    },
    /// The answer to `Action::Locate`: targets in the order to try them.
    Located {
        id: LocateId,
        targets: Result<Vec<Target>, LocateError>,
    },
    Media(control::Event),
    Peers(Arc<PeerTable>),
    /// A reload took effect.
    Policies(Arc<PolicySet>, Arc<Settings>),
    Command(Command),
    /// How the process does, several times a second.
    Measured(Measured),
    /// Tell how much is held.
    Census,
    /// The deadline has come.
    Tick,
}

/// What the rim has measured of the process since it did last.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Measured {
    /// How much of the time the thread of signalling was busy, per mille.
    pub occupied: u16,
    /// Bytes the process holds.
    pub memory: u64,
    /// Bytes its container grants it, where it says.
    pub memory_granted: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Command {
    /// Refuse new calls; end what is left after so long, or leave it to end by itself. Asked again, the time given last holds.
    Drain { release_after: Option<Duration> },
    /// Take new calls again.
    Resume,
    /// BYE this call now, if it is up.
    Release(CallId),
    /// BYE every call now.
    ReleaseAll,
    /// File every call record now, whatever is still awaited. The last thing asked of a core.
    Finish,
    /// Calls to come have this number or higher ones, as what keeps their records has numbers already.
    NumberCalls { from: u64 },
    /// Bring a notice of a missed call to its receiver; `What::MissedCallCarried` says what came of it, exactly once.
    Carry(Box<Carriage>),
}

#[derive(Clone, Debug)]
pub enum Action {
    Transmit {
        id: TransmitId,
        route: Route,
        bytes: Bytes,
    },
    Locate {
        id: LocateId,
        query: LocateQuery,
    },
    Media(control::Command),
    Fact(Fact),
    /// Not ours, but the other process's: it goes there as it came.
    HandOver {
        flow: Arc<Flow>,
        bytes: Bytes,
    },
    /// Nothing more comes from this flow.
    FlowOver(FlowId),
    /// What the successor is to know.
    Bequeath(Bequest),
    /// The table the core goes by from now on: a new one, or the same with others lingering. Whom it does not know gets no answer any more, so
    /// doors and firewalls may shut him out; whom it knows they must not.
    Doors(Arc<PeerTable>),
    /// Nothing goes over this listener any more, which a reload took out: its socket and its connections can be closed.
    Unused(ListenerId),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TransmitId(pub u64);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocateId(pub u64);

/// Where bytes go.
#[derive(Clone, PartialEq, Debug)]
pub enum Route {
    Datagram {
        listener: ListenerId,
        remote: SocketAddr,
    },
    /// On an open connection; if it has gone, `otherwise` a new one (RFC 3261 §18.2.2), else `TransportFailed`.
    Flow {
        id: FlowId,
        otherwise: Option<Connect>,
    },
    /// On any open connection we made to this (transport, remote, peer), or a new one (RFC 5923).
    Connect(Connect),
}

impl Route {
    /// The listener whose socket, or address and certificate, are used; `None`: only the connection says.
    pub fn listener(&self) -> Option<ListenerId> {
        match self {
            Route::Datagram { listener, .. } => Some(*listener),
            Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => Some(connect.listener),
            Route::Flow { otherwise: None, .. } => None,
        }
    }

    /// The open connection bytes are to go by.
    pub fn flow(&self) -> Option<FlowId> {
        if let Route::Flow { id, .. } = self { Some(*id) } else { None }
    }

    /// The transport bytes will travel by, where the route itself says so.
    pub fn is_datagram(&self) -> bool {
        matches!(self, Route::Datagram { .. })
    }

    /// Whether an answer to what went this way may come over `flow`, which is of the peer named: the very connection, or another by the same transport,
    /// over TLS with the same proof.
    pub fn is_answered_over(&self, flow: &Flow, peer: &str) -> bool {
        match self {
            Route::Datagram { .. } => flow.transport == Transport::Udp,
            Route::Flow { id, .. } if *id == flow.id => true,
            Route::Flow { otherwise: Some(connect), .. } | Route::Connect(connect) => {
                *connect.peer == *peer && connect.transport == flow.transport && (!flow.transport.is_encrypted() || flow.is_mutual_tls())
            }
            Route::Flow { otherwise: None, .. } => false,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Connect {
    /// `Tcp` or `Tls`.
    pub transport: Transport,
    pub remote: SocketAddr,
    /// The listener whose certificate and address family we use.
    pub listener: ListenerId,
    /// The peer by whose CA the certificate is verified.
    pub peer: Arc<str>,
    /// One of these must be in the certificate (TLS); the first that is a host name is also sent as SNI.
    pub names: Vec<Arc<str>>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum TransportError {
    /// Refused, reset, unreachable.
    Refused,
    /// No connection within the connect limit.
    TimedOut,
    /// The other end's certificate did not verify, or it refused ours.
    Certificate(Arc<TlsRefusal>),
    /// TLS failed for another reason.
    Handshake(Arc<TlsRefusal>),
    /// The connection closed before or while sending, or its queue is full.
    Closed,
    /// A datagram was too big or the socket refused it.
    Socket,
}

impl std::fmt::Display for TransportError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransportError::Refused => f.write_str("the connection was refused, or the host is unreachable"),
            TransportError::TimedOut => f.write_str("no connection in time"),
            TransportError::Certificate(refusal) | TransportError::Handshake(refusal) => f.write_str(&refusal.detail),
            TransportError::Closed => f.write_str("the connection closed, or its queue is full"),
            TransportError::Socket => f.write_str("the system would not send it"),
        }
    }
}

impl From<TlsRefusal> for TransportError {
    fn from(refusal: TlsRefusal) -> TransportError {
        match refusal.reason {
            Reason::TlsNothingShared | Reason::TlsTimeout | Reason::TlsBroken => TransportError::Handshake(Arc::new(refusal)),
            _ => TransportError::Certificate(Arc::new(refusal)),
        }
    }
}

/// RFC 3263 §4: what is to be located.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct LocateQuery {
    /// A host name (never a literal address: those need no locating).
    pub host: Arc<str>,
    pub port: Option<u16>,
    /// Fixed by policy or by `;transport=`; `None`: NAPTR, then SRV, may choose among `allowed`.
    pub transport: Option<Transport>,
    /// Transports policy allows, strongest first.
    pub allowed: Vec<Transport>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Target {
    pub transport: Transport,
    pub address: SocketAddr,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LocateError {
    /// The name does not exist, or has no usable record.
    NotFound,
    /// No server answered in time, or the answer was broken.
    Failed,
}
