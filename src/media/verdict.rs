//! Why there is no audio: the counters of one direction become one cause, and the cause one sentence.
//!
//! `explain` follows a packet's way and stops at the first thing that keeps it silent: what is agreed, then what is sent on but does not arrive, then what
//! keeps packets from being taken or sent on, then that none come. Where several things were refused, the one refused most often counts,
//! and of equals the likelier one, which is the order of `Cause`.

mod sentence;

use std::net::SocketAddr;
use std::time::Duration;

use crate::media::control::{Foreign, LatchPolicy, Rekeyed, Run, SideReport, Signalled, Unreachable, WrongType};
use crate::time::Time;

pub use sentence::{Clock, Names};

/// The call around the direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Talk {
    /// The 2xx; `None`: there was none (yet).
    pub answered: Option<Time>,
    /// Now, or when the call ended.
    pub until: Time,
}

/// A pause in speech is shorter than this, or filled with comfort noise.
pub const PAUSE: Duration = Duration::from_secs(5);
/// A call younger than this at its end tells nothing by its silence.
pub const TOO_SHORT: Duration = Duration::from_secs(2);
/// What a peer's RTCP said longer ago than this no longer counts: some report every 5 s, some at half that.
const TOLD: Duration = Duration::from_secs(20);
/// Loss from which on people complain, percent.
const POOR: f64 = 5.0;

/// Of what a side is, and whether it speaks or listens in this direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    From,
    To,
}

/// What became of a direction's sound, with what shows it. Those that explain silence stand in the order of their likelihood.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Cause {
    /// It passes.
    Heard {
        packets: u64,
        from: Option<SocketAddr>,
        last: Time,
        loss: f64,
    },
    /// It passes with holes. `beyond`: they come about on the far side of us, by the listener's RTCP.
    Poor {
        loss: f64,
        beyond: bool,
    },
    /// A T.38 fax instead of sound.
    Fax {
        datagrams: u64,
    },
    /// Not answered, and no early media.
    NotAnswered,
    /// Over, or begun, so shortly that nothing can be said.
    TooShort {
        lasted: Duration,
    },
    /// One side's description is missing.
    NotAgreed {
        missing: End,
    },
    /// The listener asked for hold.
    Hold {
        withheld: u64,
    },
    /// The speaker said that it sends nothing.
    SendsNone,
    /// Both: one of them asked, the other agreed.
    Inactive,
    /// Packets come from elsewhere than the rule allows.
    Elsewhere {
        signalled: Option<SocketAddr>,
        latched: Option<SocketAddr>,
        foreign: Foreign,
        latch: LatchPolicy,
    },
    /// Packets fail SRTP authentication.
    Unauthentic {
        run: Run,
        key: Option<Rekeyed>,
    },
    /// The network says that what we send does not arrive.
    Unreachable {
        what: Unreachable,
        destination: Option<SocketAddr>,
    },
    /// Nothing has ever come from where we send to.
    Unverified {
        destination: SocketAddr,
        packets: u64,
    },
    /// Nothing ever came.
    Nothing {
        signalled: Option<SocketAddr>,
    },
    /// RTP came until then.
    Stopped {
        from: Option<SocketAddr>,
        last: Time,
        rtcp: bool,
    },
    /// RTCP comes, RTP never did.
    RtcpOnly {
        reports: u64,
    },
    /// A payload type nobody agreed to.
    WrongType {
        what: WrongType,
    },
    /// It wants DTLS-SRTP, or ICE, or rtcp-mux, where none was agreed.
    Dtls {
        packets: u64,
    },
    Ice {
        packets: u64,
    },
    WrongPort {
        packets: u64,
    },
    /// A sender that began anew with old numbers under an old key, or a copy.
    Replayed {
        run: Run,
    },
    /// A key has protected all it may, or serves more sources than it may.
    KeySpent {
        packets: u64,
    },
    Oversized {
        packets: u64,
    },
    Malformed {
        packets: u64,
    },
    /// Packets came before the other side could take them, and none since.
    NotReady {
        packets: u64,
    },
    /// The listener's RTCP says that most of it is lost on the way there.
    LostBeyond {
        percent: f64,
    },
    /// This machine would not send.
    NotSent {
        packets: u64,
    },
}

impl Cause {
    /// For alarms and metrics: never given another meaning.
    pub const fn code(&self) -> &'static str {
        match self {
            Cause::Heard { .. } => "audio.heard",
            Cause::Poor { .. } => "audio.poor",
            Cause::Fax { .. } => "audio.fax",
            Cause::NotAnswered => "call.not_answered",
            Cause::TooShort { .. } => "call.too_short",
            Cause::NotAgreed { .. } => "call.not_agreed",
            Cause::Hold { .. } => "hold.listener",
            Cause::SendsNone => "hold.speaker",
            Cause::Inactive => "hold.both",
            Cause::Elsewhere { .. } => "source.elsewhere",
            Cause::Unauthentic { .. } => "srtp.authentication",
            Cause::Unreachable { .. } => "network.unreachable",
            Cause::Unverified { .. } => "latch.none",
            Cause::Nothing { .. } => "source.nothing",
            Cause::Stopped { .. } => "source.stopped",
            Cause::RtcpOnly { .. } => "source.rtcp_only",
            Cause::WrongType { .. } => "payload.type",
            Cause::Dtls { .. } => "payload.dtls",
            Cause::Ice { .. } => "payload.ice",
            Cause::WrongPort { .. } => "payload.port",
            Cause::Replayed { .. } => "srtp.replay",
            Cause::KeySpent { .. } => "srtp.key_spent",
            Cause::Oversized { .. } => "payload.oversized",
            Cause::Malformed { .. } => "payload.malformed",
            Cause::NotReady { .. } => "latch.not_ready",
            Cause::LostBeyond { .. } => "network.lost",
            Cause::NotSent { .. } => "network.not_sent",
        }
    }

    /// Whether somebody should look: the direction ought to be heard and is not, or not well. One that was heard, whose RTCP still comes, is taken for
    /// a speaker who says nothing: voicemail that records does just that.
    pub const fn is_fault(&self) -> bool {
        !matches!(self, Cause::Heard { .. } | Cause::Fax { .. } | Cause::NotAnswered | Cause::TooShort { .. } | Cause::Hold { .. } | Cause::SendsNone)
    }
}

/// Why the sound from `from`'s peer to `to`'s is heard, or is not. Total: any counters have a cause.
pub fn explain(from: &SideReport, to: &SideReport, talk: &Talk) -> Cause {
    let is_late = |at: Option<Time>, limit: Duration| at.is_some_and(|at| talk.until.since(at) <= limit);
    if from.fax_received > 0 && from.last_rtp <= from.last && !is_late(from.last_rtp, PAUSE) {
        return Cause::Fax { datagrams: from.fax_received };
    }
    match meant(from, to) {
        // Before an answer nobody owes a description.
        Some(Cause::NotAgreed { .. }) if talk.answered.is_none() => return Cause::NotAnswered,
        Some(cause) => return cause,
        None => {}
    }
    if is_late(to.last_sent, PAUSE) && to.sent > 0 {
        return sent_on(from, to, talk);
    }
    let Some(answered) = talk.answered else { return Cause::NotAnswered };
    let refused = refusals(from, to).into_iter().rev().max_by_key(|(count, _)| *count).filter(|(count, _)| *count > 0);
    if let Some((_, cause)) = refused {
        return cause;
    }
    let lasted = talk.until.since(answered);
    match from.last_rtp {
        _ if lasted < TOO_SHORT => Cause::TooShort { lasted },
        Some(last) => Cause::Stopped { from: from.latched, last, rtcp: is_late(from.last, PAUSE) },
        None if from.rtcp_received > 0 => Cause::RtcpOnly { reports: from.rtcp_received },
        None => Cause::Nothing { signalled: address(from.signalled) },
    }
}

/// Packets go out to the listener: what becomes of them there.
fn sent_on(from: &SideReport, to: &SideReport, talk: &Talk) -> Cause {
    let destination = to.latched.or(address(to.signalled));
    if let Some(what) = to.unreachable.filter(|what| talk.until.since(what.last) <= PAUSE && to.last.is_none_or(|last| last <= what.last)) {
        return Cause::Unreachable { what, destination };
    }
    if to.send_failed.saturating_mul(2) >= to.sent {
        return Cause::NotSent { packets: to.send_failed };
    }
    let beyond = to.told.filter(|told| talk.until.since(told.at) <= TOLD).map_or(0.0, |told| f64::from(told.fraction_lost) * 100.0 / 256.0);
    if beyond >= 50.0 {
        return Cause::LostBeyond { percent: beyond };
    }
    if let Some(what) = from.wrong_type.filter(|what| what.packets.saturating_mul(2) > from.received) {
        return Cause::WrongType { what };
    }
    let is_unheard = to.first.is_none() && to.rtcp_received == 0 && to.fax_received == 0;
    if let Some(destination) = destination.filter(|_| is_unheard && !to.sends_none && talk.answered.is_some_and(|at| talk.until.since(at) >= TOO_SHORT)) {
        return Cause::Unverified { destination, packets: to.sent };
    }
    let loss = 100.0 * from.lost as f64 / (from.received.saturating_add(from.lost)).max(1) as f64;
    if loss >= POOR || beyond >= POOR {
        return Cause::Poor { loss: loss.max(beyond), beyond: beyond > loss };
    }
    Cause::Heard { packets: to.sent, from: from.latched, last: to.last_sent.unwrap_or(talk.until), loss }
}

/// Silence by agreement, or before there is one.
fn meant(from: &SideReport, to: &SideReport) -> Option<Cause> {
    let nothing = |side: &SideReport| side.signalled == Signalled::Nothing;
    if to.takes_none && from.sends_none {
        Some(Cause::Inactive)
    } else if to.takes_none {
        Some(Cause::Hold { withheld: from.refused_on_hold })
    } else if from.sends_none || from.signalled == Signalled::Held {
        Some(Cause::SendsNone)
    } else if nothing(from) || nothing(to) {
        Some(Cause::NotAgreed { missing: if nothing(from) { End::From } else { End::To } })
    } else {
        None
    }
}

/// What was refused, how often, likeliest first. Where packets were taken before, only what was refused since counts, as far as that is known.
fn refusals(from: &SideReport, to: &SideReport) -> [(u64, Cause); 12] {
    let since = |run: Option<Run>| run.and_then(|run| run.unbroken(from.last_rtp));
    let count = |run: Option<Run>| run.map_or(0, |run| run.packets);
    let whole = |packets: u64| if from.last_rtp.is_none() { packets } else { 0 };
    let nowhere = Run { packets: 0, first: Time::ZERO, last: Time::ZERO };
    let foreign = from.foreign.filter(|foreign| foreign.run.unbroken(from.last_rtp).is_some());
    let elsewhere = foreign.map(|foreign| Cause::Elsewhere { signalled: address(from.signalled), latched: from.latched, foreign, latch: from.latch });
    let (failing, replaying) = (since(from.failing), since(from.replaying));
    let unanswered = to.last_sent.is_none_or(|sent| from.last_rtp.is_some_and(|last| last > sent));
    let not_ready = from.refused_not_ready.saturating_sub(from.refused_on_hold).saturating_sub(from.refused_key_spent);
    let named = [from.refused_dtls, from.refused_stun, from.refused_channel, from.refused_oversized].into_iter().fold(0, u64::saturating_add);
    let malformed = from.refused_malformed.saturating_sub(named);
    let wrong = from.wrong_type.filter(|what| from.last_rtp.is_none_or(|last| last <= what.last));
    let fallback = Cause::Nothing { signalled: address(from.signalled) };
    [
        (foreign.map_or(0, |foreign| foreign.run.packets), elsewhere.unwrap_or(fallback)),
        (count(failing), Cause::Unauthentic { run: failing.unwrap_or(nowhere), key: from.rekeyed }),
        (wrong.map_or(0, |what| what.packets), wrong.map_or(fallback, |what| Cause::WrongType { what })),
        (whole(from.refused_dtls), Cause::Dtls { packets: from.refused_dtls }),
        (whole(from.refused_stun), Cause::Ice { packets: from.refused_stun }),
        (whole(from.refused_channel), Cause::WrongPort { packets: from.refused_channel }),
        (count(replaying), Cause::Replayed { run: replaying.unwrap_or(nowhere) }),
        (if unanswered { from.refused_key_spent } else { 0 }, Cause::KeySpent { packets: from.refused_key_spent }),
        (whole(from.refused_oversized), Cause::Oversized { packets: from.refused_oversized }),
        (whole(malformed), Cause::Malformed { packets: malformed }),
        (if unanswered { not_ready } else { 0 }, Cause::NotReady { packets: not_ready }),
        (to.send_failed.saturating_sub(to.sent), Cause::NotSent { packets: to.send_failed }),
    ]
}

fn address(signalled: Signalled) -> Option<SocketAddr> {
    match signalled {
        Signalled::At(address) => Some(address),
        Signalled::Nothing | Signalled::Held => None,
    }
}

#[cfg(test)]
mod tests;
