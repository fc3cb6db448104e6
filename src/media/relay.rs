//! The path of one packet through a stream, as a short list of named steps.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::media::control::{Addresses, LatchPolicy, Protection, Report, Side, StreamId};
use crate::time::Time;

/// Bytes a packet may grow by on its way through: room the caller leaves behind it in the buffer.
pub const TAIL_ROOM: usize = 160;

/// On which of a side's two sockets a packet arrived.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Channel {
    Rtp,
    Rtcp,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Send `buffer[..len]` to `to`, out of the other side's socket of the same channel.
    Forward { to: SocketAddr, len: usize },
    Drop(DropReason),
}

/// Why a packet goes no further.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DropReason {
    /// Neither RTP nor RTCP: STUN, DTLS, keep-alive bytes, junk (RFC 7983).
    NotMedia,
    /// RTP on the RTCP port or the other way round: rtcp-mux is never negotiated.
    WrongChannel,
    /// A header, an extension, padding or an RTCP length that does not fit the packet.
    Malformed,
    /// From an address the latch does not take.
    Source,
    /// The authentication tag is wrong, or no key has the packet's MKI.
    Authentication,
    /// Seen before, or older than the replay list reaches.
    Replay,
    /// Every master key has protected as many packets as it may.
    KeySpent,
    /// More synchronisation sources than one key may serve.
    TooManySources,
    /// The side it came from or the one it goes to is not configured yet.
    NotReady,
    /// One of the two sides is on hold.
    OnHold,
    /// The buffer has no room for the tag.
    NoRoom,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DropReason::NotMedia => "not RTP or RTCP",
            DropReason::WrongChannel => "RTP and RTCP ports confused",
            DropReason::Malformed => "malformed",
            DropReason::Source => "unexpected source address",
            DropReason::Authentication => "authentication failed",
            DropReason::Replay => "replayed or too old",
            DropReason::KeySpent => "master key lifetime spent",
            DropReason::TooManySources => "too many SSRCs",
            DropReason::NotReady => "other side not ready",
            DropReason::OnHold => "on hold",
            DropReason::NoRoom => "no tail room",
        })
    }
}

/// A protection that cannot be set up: the negotiation let something through that it should not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KeyError {
    /// No key at all, or more than sixteen.
    Count,
    /// Key and salt together are not as long as the suite wants.
    Length,
    /// Several keys, and one without an MKI, or MKIs of different lengths, or the same MKI twice, or one not of 1 to 128 bytes.
    Mki,
}

/// One m-line of a call: two sides, each with RTP and RTCP.
#[derive(Debug)]
pub struct Stream {
    id: StreamId,
    silence: Option<Duration>,
    opened: Time,
}

impl Stream {
    /// `silence`: see `silent_since`.
    pub fn new(stream: StreamId, silence: Option<Duration>, now: Time) -> Stream {
        Stream { id: stream, silence, opened: now }
    }

    pub fn id(&self) -> StreamId {
        self.id
    }

    /// Carries out `control::Command::Configure`. A protection equal to the present one keeps its packet index and replay list; a new remote opens
    /// the latch again. On an error nothing is changed.
    pub fn configure(
        &mut self,
        _now: Time,
        _side: Side,
        _remote: Option<Option<Addresses>>,
        _latch: LatchPolicy,
        _receive: Option<Protection>,
        _transmit: Option<Protection>,
    ) -> Result<(), KeyError> {
        Ok(())
    }

    /// The packet that arrived on `side`'s RTP or RTCP socket, in `buffer[..len]`; rewritten in place. The buffer should have `TAIL_ROOM` bytes behind it.
    pub fn packet(&mut self, _now: Time, _side: Side, _channel: Channel, _from: SocketAddr, _buffer: &mut [u8], _len: usize) -> Verdict {
        Verdict::Drop(DropReason::NotReady)
    }

    /// Since when nothing was accepted from either side, once that has lasted as long as `silence` allows. Counts only while both sides are
    /// configured and neither is on hold; a `configure` starts it again. Stays `Some` until a packet is accepted: the caller reports it once.
    pub fn silent_since(&self, now: Time) -> Option<Time> {
        (now.since(self.opened) >= self.silence?).then_some(self.opened)
    }

    /// When `silent_since` will become `Some` if nothing is accepted until then. `None`: no limit, or not counting.
    pub fn deadline(&self) -> Option<Time> {
        Some(self.opened + self.silence?)
    }

    /// Everything counted so far.
    pub fn report(&self) -> Report {
        Report::default()
    }
}
