//! What signalling may ask of the media plane and what it hears back: the only vocabulary the two planes share.
//!
//! One stream is one m-line of a call: two sides (A and B), each with an RTP and an RTCP port of ours. A stream is opened, its sides are
//! configured as offers and answers arrive (again at every re-INVITE), and it is closed; closing always yields one `Report`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use crate::media::payloads::Payloads;
use crate::sdp::crypto::{MasterKey, Suite};
use crate::sdp::direction::Direction;
use crate::sdp::fingerprint::Fingerprint;
use crate::time::Time;

mod clocks;
mod digits;
mod report;
mod way;

pub use crate::media::events::Digit;
pub use crate::media::keying::{DtlsParameters, DtlsRole, IDENTITIES, IceParameters, KeyingFailure, SOUGHT};
pub use clocks::Clocks;
pub use digits::Conversion;
pub use report::{Foreign, Heard, Icmp, Rekeyed, Report, Run, SideReport, Signalled, Told, Unreachable, WrongType};
pub use way::{Io, KernelKind, Way};

/// One m-line of one call, unique in the process's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StreamId(pub u64);

/// Which leg of the call: A called us, B we called.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::A => "A",
            Side::B => "B",
        })
    }
}

/// A pair of transport addresses: ours on one side, or the peer's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Addresses {
    pub rtp: SocketAddr,
    pub rtcp: SocketAddr,
}

/// How packets of one direction on one side are protected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Protection {
    Plain,
    Srtp(SrtpParameters),
    /// By keys a DTLS handshake on the RTP port will bring; nothing passes before. The same for both directions of a side, or for neither.
    Dtls(Arc<DtlsParameters>),
    /// Of `transmit` alone: packets go on as they came, since both sides' peers have this key, by which the other side's protects them. Packets of that side
    /// are only authenticated. Nothing of ours is ever put under a peer's key: what would have to be changed is not sent.
    Shared(SrtpParameters),
}

/// The outcome of one RFC 4568 negotiation for one direction. More than one key only where MKIs tell them apart.
/// `Debug` of the keys never shows them (see `sdp::crypto`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SrtpParameters {
    pub suite: Suite,
    pub keys: Vec<MasterKey>,
}

/// What travels on a stream's RTP ports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// RTP, with RTCP beside it. `events`: one bit per payload type, those that carry telephone-events (RFC 4733), so that a fax tone is noticed.
    Rtp { events: u128 },
    /// T.38 fax over UDPTL (RFC 7345 §1), never protected: nothing passes where a side has SRTP. The RTCP ports are idle.
    Udptl,
}

impl Default for Content {
    fn default() -> Content {
        Content::Rtp { events: 0 }
    }
}

/// From whom packets are taken (RFC 7362 §5 calls it latching).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LatchPolicy {
    /// Only the signalled address and port.
    Strict,
    /// Only the signalled IP address; the port is learnt from the first packet (SRTP: the first that authenticates).
    #[default]
    SignalledAddress,
    /// Any address once, for peers behind a NAT. With SRTP only a packet that authenticates latches.
    Nat,
}

/// What one side of a stream is from now on. `None` leaves that part as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Configuration {
    /// Where the peer takes media. A hold by address (0.0.0.0) is `Some(None)`, a peer that is to be found by its checks (ICE) is at [`SOUGHT`].
    pub remote: Option<Option<Addresses>>,
    pub latch: LatchPolicy,
    /// How packets *from* this side's peer are protected.
    pub receive: Option<Protection>,
    /// How packets *to* this side's peer are protected.
    pub transmit: Option<Protection>,
    /// As this side's peer sees it. RTP passes from one side to the other if the one sends and the other receives; RTCP always does (RFC 3264 §5.1). Both
    /// directions are open when a stream is.
    pub direction: Option<Direction>,
    /// What the peer may send, and under which numbers it goes on. Everything, as it is, when the stream is opened.
    pub payloads: Option<Payloads>,
    /// How fast the timestamps of what this side's peer sends go.
    pub clocks: Option<Clocks>,
    /// The peer sends and takes RTCP on the port of RTP (RFC 5761): negotiated, and not so when the stream is opened.
    pub mux: Option<bool>,
    /// The peer says and hears digits by telephone-events, and the other side's by signalling: they are told by `Event::Digit`, and `Command::Digit` sends
    /// them. `Some(None)`: no more. Nothing is converted when the stream is opened. At most one side of a stream has it.
    pub digits: Option<Option<Conversion>>,
}

impl Configuration {
    /// These four, and everything else as it is.
    pub fn new(remote: Option<Option<Addresses>>, latch: LatchPolicy, receive: Option<Protection>, transmit: Option<Protection>) -> Configuration {
        Configuration { remote, latch, receive, transmit, ..Configuration::default() }
    }
}

/// What signalling asks for. Carried out in order.
#[derive(Clone, Debug)]
pub enum Command {
    /// Bind the four sockets (RTP and RTCP on both sides). `silence`: report `Event::Silent` when nothing was accepted from either side for so long.
    Open {
        stream: StreamId,
        a: Addresses,
        b: Addresses,
        silence: Option<Duration>,
    },
    /// Set what one side is. A side forwards nothing until its remote and both protections are known.
    Configure {
        stream: StreamId,
        side: Side,
        set: Configuration,
    },
    /// What the stream carries from now on, both ways; RTP without events when it is opened.
    Carry {
        stream: StreamId,
        content: Content,
    },
    /// `side`'s peer is to hear RTCP at least so often, while RTP is carried and there is an address to send to: reports of our own under `ssrc` (or another
    /// one, if a source of the stream has it) whenever none of the other side's was relayed for so long. `every`: `None`: no more.
    KeepRtcp {
        stream: StreamId,
        side: Side,
        every: Option<Duration>,
        ssrc: u32,
    },
    /// `side`'s peer goes on here from a side of another stream, as after a transfer: a peer that keeps its key there keeps its packet indices, which no
    /// packet tells in full, and what was heard there is not to be heard again. To be given before that other stream is closed.
    Succeed {
        stream: StreamId,
        side: Side,
        of: (StreamId, Side),
    },
    /// A digit for `side`'s peer, as telephone-events (RFC 4733): in the place of the other side's sound, or where that is silent from a source of its own,
    /// `ssrc`, the same from the first on (another one if a source of the stream has it). One after the other; of too many at once the last are lost, as
    /// all are while the side is on hold. Needs `Configuration::digits`.
    Digit {
        stream: StreamId,
        side: Side,
        digit: Digit,
        lasting: Duration,
        ssrc: u32,
    },
    Close {
        stream: StreamId,
    },
}

/// What the media plane tells signalling.
#[derive(Clone, Debug)]
pub enum Event {
    /// The sockets could not be bound (a resource fault): the call cannot have audio.
    OpenFailed { stream: StreamId, error: String },
    /// Nothing accepted from either side since `since`.
    Silent { stream: StreamId, since: Time },
    /// `side`'s peer sent the tone of a calling fax (RFC 4733 event 36): told once per stream.
    FaxTone { stream: StreamId, side: Side },
    /// `side`'s peer has pressed a key for so long, by telephone-events: told once, when it is over. Where `Configuration::digits` asks for it.
    Digit { stream: StreamId, side: Side, digit: Digit, lasting: Duration },
    /// `side`'s DTLS handshake is done: its media is protected by this suite from now on.
    Keyed { stream: StreamId, side: Side, suite: Suite },
    /// `side`'s DTLS handshake came to nothing, so the call cannot have audio. Told once per association.
    KeyingFailed { stream: StreamId, side: Side, failure: KeyingFailure },
    /// The fingerprints of the certificates the media plane shakes hands with: what descriptions are to announce. Told once, at the start.
    Certificates(Vec<Fingerprint>),
    /// Also unasked, where the worker that carried it has ended by a fault: the call's sound is gone.
    Closed { stream: StreamId, report: Box<Report> },
    /// A worker has ended by a fault, after `Closed` for each of its `streams`. It is started anew.
    WorkerEnded {
        /// From 0.
        worker: usize,
        /// In the words of the kernel, or of the panic.
        fault: String,
        streams: u64,
    },
}
