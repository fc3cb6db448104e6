//! What happened, as values: everything observable (logs, metrics, call records, ladders, audit) is rendered in `adapters` from this one stream.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ipnet::IpNet;

use crate::media::control::{Report, Side, StreamId};
use crate::policy::admission::Pressure;
use crate::policy::ban::Ban;
use crate::policy::branch::Wan;
use crate::policy::flow::{Flow, FlowId, TlsIdentity, TlsRefusal};
use crate::policy::liveness::Liveness;
use crate::policy::outcome::Outcome;
use crate::policy::overlap::Resolution;
use crate::policy::reroute::Wanted;
use crate::policy::settings::SecurityMode;
use crate::policy::transfer::Kind;
use crate::policy::verdict::{Decision, Reason};
use crate::sdp::crypto::Suite;
pub use crate::signaling::branch::MissedCall;
use crate::signaling::census::Census;
pub use crate::signaling::peer_name::{NameError, NameOddity, NameState};
use crate::signaling::session::offer_answer::SrtpKeys;
use crate::sip::Transport;
use crate::time::Time;

/// One call (both legs) or one standalone exchange, unique in the process's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize)]
pub struct CallId(pub u64);

#[derive(Clone, Debug)]
pub struct Fact {
    pub at: Time,
    pub call: Option<CallId>,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Received {
        leg: Option<Side>,
        flow: Arc<Flow>,
        bytes: Bytes,
        retransmission: bool,
    },
    Sent {
        leg: Option<Side>,
        transport: Transport,
        /// Where a new connection would lead; an open one (`over`) leads to its far end.
        remote: SocketAddr,
        over: Option<FlowId>,
        bytes: Bytes,
        retransmission: bool,
    },
    /// Nothing was parsed, nothing is answered.
    Stranger {
        transport: Transport,
        remote: SocketAddr,
        decision: Decision,
    },
    /// The other end of an open connection is no longer trusted: nothing new is begun on it, and it is closed once what was under way has ended,
    /// at the latest after a limit.
    ConnectionUntrusted {
        flow: Arc<Flow>,
        peer: Arc<str>,
        /// Made by us.
        outbound: bool,
        age: Duration,
        decision: Decision,
    },
    /// … and has been closed.
    ConnectionParted {
        flow: Arc<Flow>,
        peer: Arc<str>,
        outbound: bool,
        age: Duration,
    },
    /// TLS handshakes come faster from a peer's address than is allowed. How many were made to wait and refused since this was last told.
    HandshakesHeld {
        source: IpAddr,
        delayed: u64,
        refused: u64,
        decision: Decision,
    },
    /// From a trusted peer, but not SIP we can take. `detail` never holds message text.
    Malformed {
        flow: Arc<Flow>,
        peer: Arc<str>,
        reason: Reason,
        detail: &'static str,
    },
    /// What the border decided for this call, in order.
    Decided(Vec<Decision>),
    /// What screening came to, whose decisions have just been told.
    Screened(Box<Screened>),
    CallBegan {
        peer: Arc<str>,
        from: String,
        to: String,
    },
    /// A leg is to be of this mode, whatever comes: the caller's when it is let in, the called side's with each target that is asked.
    LegOpened {
        side: Side,
        peer: Arc<str>,
        mode: SecurityMode,
        transport: Transport,
        remote: SocketAddr,
    },
    /// First provisional answer above 100 from the B leg.
    CallProgressed {
        status: u16,
    },
    CallAnswered,
    /// A 3xx was followed inside.
    Redirected {
        hop: Hop,
    },
    /// One target was given up, another is tried.
    FailedOver {
        peer: Arc<str>,
        target: SocketAddr,
        why: Reason,
    },
    /// UM cannot be had: the call goes over the PSTN to UM's number there (Lync's event 44009).
    Rerouted {
        plan: Arc<str>,
        wanted: Wanted,
        number: String,
        why: Reason,
    },
    Held {
        by: Side,
        held: bool,
    },
    /// The call's media goes through this stream (and, until that closes, one from before).
    MediaOpened {
        stream: StreamId,
    },
    /// `side`'s peer sent the tone of a calling fax as a telephone-event. Once per stream.
    FaxTone {
        side: Side,
    },
    /// `side`'s peer, which is to take digits by INFO, refused one. Told once per call.
    DigitRefused {
        side: Side,
        status: u16,
    },
    /// The call carries a T.38 fax from now on, or sound again.
    FaxSwitched {
        t38: bool,
    },
    /// The DTLS handshake with `side`'s peer is done: its media is protected by this suite from now on.
    MediaKeyed {
        side: Side,
        suite: Suite,
    },
    Transfer(TransferEvent),
    CallEnded(Box<CallRecord>),
    /// A diverted call ended that nothing answered: the mailbox's owner is to be told.
    CallMissed(Box<MissedCall>),
    /// What came of one attempt to bring a notice of a missed call to its receiver over SIP.
    MissedCallCarried {
        /// The notice's.
        id: Arc<str>,
        peer: Arc<str>,
        /// The receiver's answer, or the one that stands for it: 408 for silence, 503 for no way there.
        status: u16,
        /// `Answered` for a 2xx, `RequestRefused` for another answer, else why there was none.
        reason: Reason,
    },
    /// How it stands with the WAN to the central UM pool is another than before.
    Wan {
        pool: Arc<str>,
        state: Wan,
        before: Wan,
    },
    /// A request outside any call was answered or refused.
    Standalone {
        method: String,
        peer: Arc<str>,
        status: u16,
        reason: Reason,
    },
    /// A UM server's notice of waiting messages was delivered, or not (Exchange's event 1344).
    MessageWaiting {
        server: Arc<str>,
        /// Who was told, or was to be; `None`: there was nobody to tell.
        gateway: Option<Arc<str>>,
        /// As UM names the mailbox.
        account: Option<Arc<str>>,
        waiting: Option<bool>,
        /// The gateway's answer, or the one that stands for it.
        status: u16,
        reason: Reason,
    },
    /// The state of a peer's host name in DNS has changed.
    PeerName {
        name: Arc<str>,
        state: NameState,
    },
    /// An answer of DNS about a peer's host name is odd. Told once for as long as it stays so.
    PeerNameOdd {
        name: Arc<str>,
        oddity: NameOddity,
    },
    /// How it stands with a watched address is another than before. `Unwatched`: it is watched no more (Exchange's events 1088 and 1400 where it is down).
    PeerLiveness {
        peer: Arc<str>,
        address: SocketAddr,
        state: Liveness,
        why: Reason,
    },
    /// A watched address was asked: the status it answered with, or why it did not, and how long that took.
    Probed {
        peer: Arc<str>,
        address: SocketAddr,
        answer: Result<u16, Reason>,
        took: Duration,
    },
    /// A peer has left an address (or is disabled, or was taken out) where so many calls with it are still up; 0: they are over, it is a stranger there.
    PeerLingers {
        peer: Arc<str>,
        address: IpAddr,
        transport: Transport,
        calls: usize,
        /// They go on until they end; else they are being released.
        kept: bool,
    },
    /// Several enabled peers live at one place (Exchange's event 1175), and what decides there. `since`: by the clock on the wall, RFC 3339.
    PeersShareAddress {
        place: IpNet,
        transport: Transport,
        peers: Vec<Arc<str>>,
        resolution: Resolution,
        since: Arc<str>,
    },
    /// They no longer do.
    PeersShareNoMore {
        place: IpNet,
        transport: Transport,
        peers: Vec<Arc<str>>,
        since: Arc<str>,
    },
    /// What became of the firewall in front of the border, and of bans.
    Firewall(FirewallEvent),
    /// A connection we made, or meant to make, failed in TLS. A sample where it happens often.
    TlsRefused {
        peer: Arc<str>,
        remote: SocketAddr,
        refusal: Arc<TlsRefusal>,
    },
    /// A source of CRLs was read or fetched again.
    Crl {
        source: Arc<str>,
        state: CrlState,
    },
    /// A new peer table is in force in the core.
    PeersChanged {
        number: u64,
    },
    PoliciesChanged {
        number: u64,
    },
    /// New certificates, keys, CAs and revocation lists are in force for every handshake from now on. Numbers count up from 1, the start's.
    CertificatesChanged {
        generation: u64,
    },
    /// Watched certificate files have changed, and what they hold now cannot be used. Once for each content; the old ones stay in force.
    CertificatesRefused {
        /// Each with its file and its remedy.
        problems: Vec<String>,
    },
    /// A threshold before the end of something of ours was crossed; at a load, the one that applies.
    CertificateEnding(CertificateEnding),
    /// A thread that carries media has ended by a fault of ours or the kernel's, and so have the calls whose streams it had. It is started anew.
    MediaWorkerEnded {
        worker: usize,
        fault: String,
        streams: u64,
    },
    /// The call passed the screening. `plan`: the dial plan that governs it.
    CallAdmitted {
        plan: Option<Arc<str>>,
    },
    /// The border cannot carry all that comes: from now on new calls are held back, all of them or a share.
    Overloaded {
        pressure: Pressure,
    },
    /// New calls are held back no more. `refused`: how many were.
    Relieved {
        lasted: Duration,
        refused: u64,
    },
    /// How much the core holds; it was asked.
    Census(Box<Census>),
    /// No new calls from now on. `release_at`: when those that are left are ended.
    Draining {
        calls: u32,
        release_at: Option<Time>,
    },
    /// No call is left after that.
    Drained,
    /// New calls are taken again.
    Resumed,
}

#[derive(Clone, Debug, PartialEq)]
pub enum FirewallEvent {
    /// The kernel holds our table, with so many elements in its sets.
    InForce {
        table: Arc<str>,
        elements: usize,
        took: Duration,
    },
    /// It does not: strangers reach our sockets, and are turned away there. `retry`: when it is tried again; `None`: only at the next start.
    NotInForce {
        why: String,
        remedy: String,
        retry: Option<Duration>,
    },
    /// Somebody else had removed the table or changed it. It is whole again.
    Rebuilt {
        table: Arc<str>,
        missing: String,
        took: Duration,
    },
    /// The kernel took a change too late to be waited for.
    Late {
        what: &'static str,
        waited: Duration,
    },
    /// Kernel and core go by the same peer table: how long after it was published the kernel let its new addresses in, and all had agreed.
    InStep {
        number: u64,
        admitted: Duration,
        agreed: Duration,
    },
    Banned(Ban),
    Unbanned {
        ban: Ban,
        why: String,
    },
    /// Our table was taken out of the kernel.
    Removed {
        table: Arc<str>,
    },
}

/// What screening made of a new call, and what it went by.
#[derive(Clone, Debug, PartialEq)]
pub struct Screened {
    /// Numbers of the policy set's load and of the peer table.
    pub policy_set: u64,
    pub peer_table: u64,
    /// The host name by which the peer lives at the source; `None` where it is written as an address or a network.
    pub host: Option<Arc<str>>,
    pub outcome: Outcome,
}

/// What has an end among the files that trust rests on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateKind {
    /// One of our own certificates, or an intermediate shown with it.
    Own,
    /// A certificate that a peer is trusted by.
    Authority,
    /// Its end is the time of the next update.
    RevocationList,
    /// What the operators' door shows.
    Api,
    /// A certificate that operators' certificates are held against.
    ApiAuthority,
}

/// How near the end of a certificate or revocation list is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnding {
    pub kind: CertificateKind,
    pub file: String,
    /// Its subject, or a list's issuer.
    pub name: String,
    /// Days before the end; 0: it has ended.
    pub threshold: u64,
    /// Left of it.
    pub left: Duration,
}

/// How it stands with a source of CRLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CrlState {
    /// New lists are in force.
    Fresh { lists: String },
    /// It could not be had, or was refused: what is held stays. `usable`: and has not ended.
    Kept { error: String, held: String, usable: bool, again_in: Duration },
    /// In force, but not kept for a restart.
    NotCached { error: String },
}

/// One 3xx followed.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Hop {
    pub status: u16,
    /// Host and port that answered, and that was tried next.
    pub from: String,
    pub to: String,
    pub transport: Transport,
}

/// One per call, written when both legs have ended and the media report is in. Times are on the process's line; the renderer turns them into
/// wall-clock times.
#[derive(Clone, Debug)]
pub struct CallRecord {
    pub call: CallId,
    pub began: Time,
    pub progressed: Option<Time>,
    pub answered: Option<Time>,
    pub ended: Time,
    /// The caller and the called, as on the A leg.
    pub from: String,
    pub to: String,
    pub dial_plan: Option<Arc<str>>,
    pub a: LegRecord,
    /// `None` when no B leg was ever tried.
    pub b: Option<LegRecord>,
    pub redirects: Vec<Hop>,
    pub transfers: Vec<TransferRecord>,
    pub released_by: ReleasedBy,
    /// The final status on the A leg's INVITE.
    pub status: Option<u16>,
    pub reason: Reason,
    pub fax: FaxRecord,
    /// Where both peers are for sharing SRTP keys (`srtp_passthrough`): whether the legs shared them, or why not.
    pub srtp_keys: Option<SrtpKeys>,
    pub digits: DigitRecord,
    pub media: Option<Report>,
}

/// What showed that a call was a fax.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaxRecord {
    /// Whose peer sent the calling tone.
    pub tone: Option<Side>,
    /// It went over T.38, for a time at least.
    pub t38: bool,
}

/// Digits converted between INFO and telephone-events: how many, never which.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DigitRecord {
    /// Said by INFO, to be made events.
    pub by_info: u32,
    /// Heard as events, to be said by INFO.
    pub by_events: u32,
    /// Of these, those that could not be said or were refused; the media plane counts its own.
    pub lost: u32,
}

/// What becomes of a transfer. Under each the number of Exchange's event that tells of the same.
#[derive(Clone, Debug, PartialEq)]
pub enum TransferEvent {
    /// 1024: REFER was accepted.
    Began { by: Side, peer: Arc<str>, to: String, kind: Kind },
    /// 1136: REFER was refused; the call goes on as it was.
    Refused { by: Side, peer: Arc<str>, to: String, reason: Reason },
    /// The one who refers hung up without waiting for the outcome.
    TransferorLeft { by: Side },
    /// 1026, 1073: the two are connected.
    Done { side: Side, peer: Arc<str> },
    /// 1025: it was not to be had. `back`: what becomes of the one who was to be transferred.
    Failed { side: Side, status: u16, reason: Reason, back: Back },
    /// REFER was handed to the peer of the other leg, on `side`.
    Relayed { side: Side, peer: Arc<str> },
    /// … which will not do it (0: does not answer): the border does.
    Declined { peer: Arc<str>, status: u16 },
    /// 1026, 1073: the peer says that it has the target.
    DoneThere { peer: Arc<str> },
    /// Who refers no longer knows of it: nothing more is told there.
    Unheard { peer: Arc<str>, status: u16 },
}

impl TransferEvent {
    /// Event numbers under which Exchange's Unified Messaging tells of the same.
    pub const fn exchange_events(&self) -> &'static [u16] {
        match self {
            TransferEvent::Began { .. } => &[1024],
            TransferEvent::Refused { .. } => &[1136],
            TransferEvent::Done { .. } | TransferEvent::DoneThere { .. } => &[1026, 1073],
            TransferEvent::Failed { .. } => &[1025],
            TransferEvent::TransferorLeft { .. } | TransferEvent::Unheard { .. } | TransferEvent::Relayed { .. } | TransferEvent::Declined { .. } => &[],
        }
    }
}

/// Where one whose transfer failed goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Back {
    /// To the one who transferred him, who is still there.
    Transferor,
    /// That one has left: UM is called again.
    CalledBack,
    Released,
}

/// One transfer of a call.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TransferRecord {
    /// Of the one who referred, and then of the target.
    pub side: Side,
    pub by: Arc<str>,
    /// Refer-To as written, without headers.
    pub to: String,
    pub kind: Kind,
    /// The final status told to the one who referred; `None` while under way.
    pub status: Option<u16>,
    pub reason: Option<Reason>,
    /// The peer of the other leg did it, or was doing it when the call ended: no leg of ours came of it.
    pub relayed: bool,
    /// The leg of the last target asked.
    #[serde(skip)]
    pub target: Option<LegRecord>,
}

impl TransferRecord {
    /// The target's leg has become the call's.
    pub fn is_done(&self) -> bool {
        !self.relayed && self.status.is_some_and(|status| (200..300).contains(&status))
    }
}

#[derive(Clone, Debug)]
pub struct LegRecord {
    pub peer: Arc<str>,
    pub call_id: String,
    pub transport: Transport,
    pub remote: SocketAddr,
    pub tls: Option<Arc<TlsIdentity>>,
    pub mode: SecurityMode,
    /// The SRTP suite in use, where the media is protected.
    pub suite: Option<Suite>,
    /// Name of the first audio codec agreed, such as `PCMA/8000`.
    pub codec: Option<String>,
    /// The peer is a test client: the call is no user's.
    pub simulator: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleasedBy {
    Caller,
    Called,
    /// We ended it: policy, timer, silence, drain.
    Border,
}
