//! SIP's transports on the wire (RFC 3261 §18, RFC 5923, RFC 5626 §3.5.1 keep-alives): UDP, TCP and mutual TLS listeners and the pool of outbound
//! connections, IPv4 and IPv6.
//!
//! Strangers stop here, before the parser: a datagram from an address where no peer lives is dropped in silence, a connection from one is closed
//! at accept. TLS configurations come from a [`Handshakes`] that `app` wires to the TLS adapter; this folder never sees a key.

mod batch;
mod connection;
mod counts;
mod datagram;
mod network;
mod outbox;
mod pool;
mod settings;
mod shared;
mod sockets;
mod stream_listener;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::policy::flow::{Flow, FlowId, ListenerId, TlsIdentity};
use crate::policy::settings::Peer;
use crate::policy::verdict::Decision;
use crate::signaling::event::{Connect, TransmitId, TransportError};
use crate::sip::Transport;

pub use counts::Counts;
pub use network::Network;
pub use settings::{Limits, ListenerSettings, Settings};

/// What the network tells the driver.
#[derive(Clone, Debug)]
pub enum NetEvent {
    /// One datagram, or one framed message of a stream, from a peer's address.
    Received { flow: Arc<Flow>, bytes: Bytes },
    /// A stream connection that had carried, or could have carried, messages has ended.
    FlowClosed { flow: FlowId },
    /// What was given to `transmit` under this id was not sent, or the connection ended before anything came back on it. Once per id.
    TransportFailed { id: TransmitId, error: TransportError },
    /// Somebody who is no peer knocked. A sample: at most a few a second; all are counted.
    Stranger { transport: Transport, remote: SocketAddr, decision: Decision },
}

/// Where TLS configurations and verified identities come from.
pub trait Handshakes: Send + Sync + 'static {
    /// For a connection from an address where `candidates` (TLS peers, never empty) live. `None`: this listener has no certificate.
    fn server(&self, listener: ListenerId, candidates: &[Arc<Peer>]) -> Option<Arc<rustls::ServerConfig>>;

    /// `None`: no certificate for the listener, no CA for the peer, or no name to verify.
    fn client(&self, to: &Connect) -> Option<(Arc<rustls::ClientConfig>, rustls::pki_types::ServerName<'static>)>;

    /// Whom an inbound handshake showed. `trusted_for` is empty where the chain no longer verifies for any candidate.
    fn accepted(&self, candidates: &[Arc<Peer>], connection: &rustls::CommonState) -> TlsIdentity;

    /// Whom an outbound handshake showed.
    fn connected(&self, to: &Connect, connection: &rustls::CommonState) -> TlsIdentity;
}

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
