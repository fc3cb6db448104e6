//! What the network adapter is told at start: where to listen and how much to bear.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::ListenerId;
use crate::sip::{self, Transport};

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    pub listeners: Vec<ListenerSettings>,
    pub limits: Limits,
}

/// One bound address. IPv6 sockets take IPv6 only (IPV6_V6ONLY), so a dual-stack border has two listeners.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerSettings {
    pub id: ListenerId,
    /// As the policy set calls it; used in messages to the operator.
    pub name: Arc<str>,
    pub transport: Transport,
    /// Port 0 lets the system choose (tests); `Network::bound` says what was chosen.
    pub address: SocketAddr,
}

/// Bounds on what peers can make us hold. Every one of them is enforced, none can be switched off.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Stream connections in all, both directions, handshakes included.
    pub connections: usize,
    /// Inbound stream connections from one address.
    pub connections_per_source: usize,
    /// TCP connect, and TLS handshake after it on the way out.
    pub connect: Duration,
    /// TLS handshake on the way in.
    pub handshake: Duration,
    /// Threads on which TLS handshakes on the way in are made; 0: where everything else is done.
    pub handshake_threads: usize,
    /// TLS handshakes on the way in that go on at once.
    pub handshakes: usize,
    /// Of these, from one address.
    pub handshakes_per_source: usize,
    /// Handshakes a second from one address, in the long run; twice as many at once.
    pub handshake_rate: u32,
    /// From the first byte of a message to its last.
    pub partial_message: Duration,
    /// A connection on which nothing was received or sent for so long is closed.
    pub idle: Duration,
    /// A write that the other end's window holds up for so long ends the connection.
    pub write: Duration,
    /// How long a connection whose other end is no longer trusted may still carry what ends things …
    pub leave: Duration,
    /// … and how long nothing must have crossed it, and nothing be under way, to be closed before that.
    pub leave_quiet: Duration,
    /// Messages that may wait on one connection.
    pub queue_messages: usize,
    /// Bytes that may wait on one connection.
    pub queue_bytes: usize,
    /// Datagrams that may wait on one UDP listener while its socket would block.
    pub queue_datagrams: usize,
    /// Of one message on a stream.
    pub message: sip::Limits,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 10_000,
            connections_per_source: 1_000,
            connect: Duration::from_secs(4),
            handshake: Duration::from_secs(5),
            handshake_threads: 1,
            handshakes: 256,
            handshakes_per_source: 64,
            handshake_rate: 50,
            partial_message: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            write: Duration::from_secs(10),
            // 64*T1: by then every transaction but an INVITE's is over (RFC 3261 §17).
            leave: Duration::from_secs(32),
            leave_quiet: Duration::from_secs(4),
            queue_messages: 4_096,
            queue_bytes: 8 * 1024 * 1024,
            queue_datagrams: 4_096,
            message: sip::Limits::default(),
        }
    }
}

impl Limits {
    /// With every time short enough to be added to a clock reading.
    pub(super) fn bounded(self) -> Limits {
        let year = Duration::from_secs(365 * 24 * 3600);
        Limits {
            connect: self.connect.min(year),
            handshake: self.handshake.min(year),
            partial_message: self.partial_message.min(year),
            idle: self.idle.min(year),
            write: self.write.min(year),
            leave: self.leave.min(year),
            leave_quiet: self.leave_quiet.min(year),
            ..self
        }
    }
}
