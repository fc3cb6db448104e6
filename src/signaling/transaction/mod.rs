//! The transaction layer, RFC 3261 §17, with RFC 6026 (Accepted states) and RFC 4320 (non-INVITE).
//!
//! [`Transactions`] is the table the core talks to; the four machines are values without I/O, one file per figure:
//! `invite_client` (figure 5), `non_invite_client` (figure 6), `invite_server` (figure 7), `non_invite_server` (figure 8).
//! `matching` finds the transaction of a message (§17.1.3, §17.2.3, §8.2.2.2), `derived` writes the messages the layer makes by itself: the ACK
//! to a non-2xx (§17.1.1.3), CANCEL (§9.1) and the 100 to a slow non-INVITE (RFC 4320 §4.1).

mod backoff;
mod derived;
mod fingerprint;
pub mod invite_client;
pub mod invite_server;
mod matching;
pub mod non_invite_client;
pub mod non_invite_server;
mod slab;
mod table;

pub use table::Transactions;

use bytes::Bytes;

use crate::signaling::event::{Route, TransmitId, TransportError};

/// A client transaction. Never names another one after this one has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClientKey(pub(super) u64);

/// A server transaction. Never names another one after this one has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServerKey(pub(super) u64);

/// What a received request is to the layer above.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Incoming {
    /// A new request; answer it by `respond`.
    New(ServerKey),
    /// A retransmission, answered from the transaction where it had an answer.
    Absorbed,
    /// The first ACK to an answer that is no 2xx, which the transaction has awaited.
    Confirmed,
    /// An ACK that belongs to no transaction or to one that was answered 2xx: the dialog's.
    Ack,
    /// Answer `cancel` by 200, or by 481 if `invite` is none (§9.2). The INVITE may have its final answer already.
    Cancel { cancel: ServerKey, invite: Option<ServerKey> },
    /// §8.2.2.2: the same request came before by another path; answer it by 482.
    Merged(ServerKey),
    /// The table is full: refuse by `send_stateless` (503) or drop. There is no transaction.
    Overload,
    /// No usable Via, From, To, Call-ID or CSeq, so no transaction can be made: 400 by `send_stateless` where possible, nothing for an ACK.
    Malformed,
}

/// What the layer wants done or has to tell; taken by `Transactions::poll`.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    Transmit {
        id: TransmitId,
        route: Route,
        bytes: Bytes,
        retransmission: bool,
    },
    /// No final answer in time (timers B, F; 64*T1 after a CANCEL; far beyond timer C after the last provisional). `ClientEnded` follows.
    ClientTimeout(ClientKey),
    /// The request could not be sent (§17.1.4). `ClientEnded` follows.
    ClientTransportFailed(ClientKey, TransportError),
    /// The key is void from here on. Exactly once for every client transaction.
    ClientEnded(ClientKey),
    /// An answer could not be sent (§17.2.4). An INVITE's transaction lives on (RFC 6026 §8.4); for others `ServerEnded` follows. At most once.
    ServerTransportFailed(ServerKey, TransportError),
    /// No ACK to a non-2xx came (timer H), or the core has left an INVITE without a word far beyond timer C. `ServerEnded` follows.
    ServerTimeout(ServerKey),
    /// The key is void from here on. Exactly once for every server transaction.
    ServerEnded(ServerKey),
}
