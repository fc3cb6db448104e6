//! What the signalling plane is told once at start and again at every reload.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::policy::flow::ListenerId;
use crate::sip::Transport;

#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    pub listeners: Vec<Listener>,
    pub media: MediaSettings,
    pub timers: Timers,
    pub session_timer: SessionTimer,
    /// Written into Server and User-Agent; never more than a product name.
    pub product: Arc<str>,
    /// How long a graceful stop lets calls go on.
    pub drain: Duration,
    /// Retry-After of a 503 we make, seconds.
    pub retry_after: u32,
    pub removed_peers: RemovedPeers,
}

/// What becomes of the calls of a peer that is taken out or disabled, or leaves the address it spoke from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RemovedPeers {
    /// They go on until they end; there are no new ones.
    #[default]
    KeepCalls,
    ReleaseCalls,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub id: ListenerId,
    pub name: Arc<str>,
    pub transport: Transport,
    pub bound: SocketAddr,
    /// What we write into Via and Contact on this listener: a host name or address, and a port.
    pub advertised: Arc<str>,
}

impl Listener {
    /// `advertised` without the port; an IPv6 address keeps its brackets.
    pub fn host(&self) -> &str {
        let advertised = &*self.advertised;
        match advertised.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') && (!host.contains(':') || host.ends_with(']')) => host,
            _ => advertised,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct MediaSettings {
    /// Our media addresses; the first of the right family is used. `inside` is towards UM peers, `outside` towards all others.
    pub outside: Vec<IpAddr>,
    pub inside: Vec<IpAddr>,
    /// First and last UDP port, inclusive; even ports carry RTP, the next odd one RTCP.
    pub ports: (u16, u16),
    /// Both directions silent for so long releases the call.
    pub silence: Option<Duration>,
}

/// RFC 3261 §17.1.1.1, table 4.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Timers {
    pub t1: Duration,
    pub t2: Duration,
    pub t4: Duration,
    /// Timer C: how long an INVITE may ring (more than 3 minutes).
    pub c: Duration,
    /// Timer D on UDP (at least 32 s).
    pub d: Duration,
}

impl Default for Timers {
    fn default() -> Timers {
        Timers {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            c: Duration::from_secs(181),
            d: Duration::from_secs(32),
        }
    }
}

/// RFC 4028.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionTimer {
    /// Session-Expires we ask for, seconds.
    pub expires: u32,
    /// Min-SE, seconds, 90 or more.
    pub min_se: u32,
}

impl Default for SessionTimer {
    fn default() -> SessionTimer {
        SessionTimer { expires: 1800, min_se: 90 }
    }
}
