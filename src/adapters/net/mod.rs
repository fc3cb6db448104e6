//! SIP's transports on the wire (RFC 3261 §18, RFC 5923, RFC 5626 §3.5.1 keep-alives): UDP, TCP and mutual TLS listeners and the pool of outbound
//! connections, IPv4 and IPv6.
//!
//! Strangers stop here, before the parser: a datagram from an address where no peer lives is dropped in silence, a connection from one is closed
//! at accept. TLS comes from a [`Handshakes`] that `app` wires to the TLS adapter; this folder never sees a key.

mod batch;
mod borrowed;
mod connection;
mod counts;
mod datagram;
mod doors;
mod handshake_threads;
mod listeners;
mod moving;
mod network;
mod outbox;
mod pool;
mod settings;
mod shaken;
mod shared;
mod sockets;
mod standing;
mod stream_listener;
mod turnstile;
mod under_way;

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::policy::flow::{Flow, FlowId, ListenerId, Presented, TlsIdentity, TlsRefusal};
use crate::policy::peer::PeerTable;
use crate::policy::settings::Peer;
use crate::policy::verdict::Decision;
use crate::signaling::event::{Connect, TransmitId, TransportError};
use crate::sip::Transport;

pub use counts::Counts;
pub use doors::{Companion, Foreign, Gates, Inherited, Moved, Part};
pub use listeners::{Changed, Prepared, Standing};
pub use moving::Carriage;
pub use network::Network;
pub use settings::{Limits, ListenerSettings, Settings};
pub use shaken::Shaken;

/// What the network tells the driver.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// One datagram, or one framed message of a stream, from a peer's address.
    Received {
        flow: Arc<Flow>,
        bytes: Bytes,
    },
    /// The same, from another process of this border: it is nobody's but ours.
    Handed {
        flow: Arc<Flow>,
        bytes: Bytes,
    },
    /// A stream connection that had carried, or could have carried, messages has ended.
    FlowClosed {
        flow: FlowId,
    },
    /// What was given to `transmit` under this id was not sent, or the connection ended before anything came back on it. Once per id.
    TransportFailed {
        id: TransmitId,
        error: TransportError,
    },
    /// A connection to a peer failed in TLS, or was ended by it. A sample like that of strangers; what was to be sent is reported besides.
    TlsRefused {
        peer: Arc<str>,
        remote: SocketAddr,
        refusal: Arc<TlsRefusal>,
    },
    /// Somebody who is no peer knocked. A sample: at most a few a second; all are counted.
    Stranger {
        transport: Transport,
        remote: SocketAddr,
        decision: Decision,
    },
    /// The other end of an open connection is no longer trusted. It carries what ends things for a while; `Parted` says that it has been closed.
    Untrusted {
        party: Parting,
        decision: Decision,
    },
    Parted {
        party: Parting,
    },
    /// Handshakes come faster from a peer's address than is allowed; how many were made to wait and refused since this was last told.
    HandshakesHeld {
        source: IpAddr,
        delayed: u64,
        refused: u64,
        decision: Decision,
    },
}

/// Whose connection ends, and how long it was open.
#[derive(Clone, Debug)]
pub struct Parting {
    pub flow: Arc<Flow>,
    pub peer: Arc<str>,
    /// Made by us.
    pub outbound: bool,
    pub age: Duration,
}

/// Who keeps strangers out that are banned, and hears of all others, so that it may ban them.
pub trait Guard: Send + Sync + 'static {
    /// Somebody at this address was not let in at a door of this transport. True: it is banned, and nothing is told of it. `table` is the one it was
    /// not found in; over TLS it may also be a peer's address with a certificate that is not the peer's.
    fn turns_away(&self, table: &PeerTable, transport: Transport, address: IpAddr) -> bool;
}

/// Where TLS comes from: handshakes, verified identities, and whether they still hold. This folder knows nothing of the library behind it.
pub trait Handshakes: Send + Sync + 'static {
    /// The server's side, towards an address where `candidates` (TLS peers, never empty) live. Limited in time by whoever awaits it.
    fn accept(&self, listener: ListenerId, candidates: Vec<Arc<Peer>>, stream: TcpStream) -> Shaking<'_>;

    /// The client's side.
    fn connect<'a>(&'a self, to: &'a Connect, stream: TcpStream) -> Shaking<'a>;

    /// Whether what a connection presented would still prove the same by the certificates, CRLs and the time of now.
    fn recheck(&self, presented: &Presented) -> Result<(), TlsRefusal>;
}

pub type Shaking<'a> = Pin<Box<dyn Future<Output = Result<Secured, TlsRefusal>> + Send + 'a>>;

/// A connection that has come through its handshake. Errors of its stream that are TLS's own carry a `TlsRefusal` inside.
pub struct Secured {
    pub stream: Box<dyn Stream>,
    pub identity: TlsIdentity,
    pub presented: Arc<Presented>,
}

pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A listener that could not be opened.
#[derive(Clone, Debug)]
pub struct BindError {
    pub listener: Arc<str>,
    pub transport: Transport,
    pub address: SocketAddr,
    /// What the system said, and what to do about it.
    pub what: String,
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "listener \"{}\" ({} {}): {}", self.listener, self.transport, self.address, self.what)
    }
}
