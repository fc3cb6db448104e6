//! Call records: one line of JSON per call, with both legs, appended to a file that rotation may move away at any time.
//!
//! Times are RFC 3339 in UTC with milliseconds, durations milliseconds. Keys stand in the same order in every record; what is not known is null.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::redact::cleaned;
use super::sound::{self, Direction, Told};
use super::wall::Anchor;
use crate::media::control::{Report, Side};
use crate::policy::flow::TlsBackend;
use crate::policy::settings::SecurityMode;
use crate::policy::transfer::Kind;
use crate::policy::verdict::{Fault, Reason};
use crate::sdp::crypto::Suite;
use crate::signaling::fact::{CallRecord, DigitRecord, FaxRecord, Hop, LegRecord, ReleasedBy, TransferRecord};
use crate::sip::Transport;

/// What a record takes, about, bytes.
const USUAL: usize = 3072;

/// The record as one line of JSON, without the newline.
pub fn line(record: &CallRecord, anchor: &Anchor) -> String {
    written(record, sound::of_record(record, anchor).as_ref(), anchor)
}

/// The same, with what was heard of it.
pub(super) fn written(record: &CallRecord, told: Option<&[Told; 2]>, anchor: &Anchor) -> String {
    let answered_for = record.answered.map(|answered| millis(record.ended.since(answered)));
    let line = Line {
        call: record.call.0,
        began: anchor.rfc3339(record.began),
        progressed: record.progressed.map(|at| anchor.rfc3339(at)),
        answered: record.answered.map(|at| anchor.rfc3339(at)),
        ended: anchor.rfc3339(record.ended),
        progress_ms: record.progressed.map(|at| millis(at.since(record.began))),
        setup_ms: record.answered.map(|at| millis(at.since(record.began))),
        talk_ms: answered_for,
        total_ms: millis(record.ended.since(record.began)),
        from: cleaned(&record.from),
        to: cleaned(&record.to),
        dial_plan: record.dial_plan.as_deref(),
        status: record.status,
        reason: record.reason,
        fault: record.reason.fault(),
        released_by: record.released_by,
        redirects: &record.redirects,
        transfers: record.transfers.iter().map(Transfer::of).collect(),
        a: Leg::of(&record.a),
        b: record.b.as_ref().map(Leg::of),
        keys: record.srtp_keys.map(|keys| keys.to_string()),
        fax: (record.fax != FaxRecord::default()).then_some(Fax { tone_from: record.fax.tone, t38: record.fax.t38 }),
        digits: Digits::of(record),
        media: record.media.as_ref().map(|report| Media::of(report, sound::codec_at_end(record), anchor)),
        audio: told.map(|[a_to_b, b_to_a]| Audio { a_to_b, b_to_a }),
    };
    let mut text = Vec::with_capacity(USUAL);
    // Nothing in a Line can fail to be JSON: every key is a string, every number finite.
    let _ = serde_json::to_writer(&mut text, &line);
    String::from_utf8(text).unwrap_or_default()
}

#[derive(Serialize)]
struct Line<'a> {
    call: u64,
    began: String,
    progressed: Option<String>,
    answered: Option<String>,
    ended: String,
    progress_ms: Option<u64>,
    setup_ms: Option<u64>,
    talk_ms: Option<u64>,
    total_ms: u64,
    from: Cow<'a, str>,
    to: Cow<'a, str>,
    dial_plan: Option<&'a str>,
    status: Option<u16>,
    reason: Reason,
    fault: Fault,
    released_by: ReleasedBy,
    redirects: &'a [Hop],
    transfers: Vec<Transfer<'a>>,
    a: Leg<'a>,
    b: Option<Leg<'a>>,
    /// Where both peers are for sharing SRTP keys: `shared`, or `apart` and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<String>,
    /// Only of a call that showed itself a fax.
    #[serde(skip_serializing_if = "Option::is_none")]
    fax: Option<Fax>,
    /// Only of a call with digits that were converted.
    #[serde(skip_serializing_if = "Option::is_none")]
    digits: Option<Digits>,
    media: Option<Media>,
    audio: Option<Audio<'a>>,
}

#[derive(Serialize)]
struct Fax {
    /// The leg whose peer sent the calling tone as a telephone-event.
    tone_from: Option<Side>,
    t38: bool,
}

#[derive(Serialize)]
struct Digits {
    by_info: u32,
    by_events: u32,
    lost: u64,
}

impl Digits {
    fn of(record: &CallRecord) -> Option<Digits> {
        let DigitRecord { by_info, by_events, .. } = record.digits;
        (record.digits != DigitRecord::default()).then(|| Digits { by_info, by_events, lost: digits_lost(record) })
    }
}

/// Digits of a call that were not converted after all: too many at once, on hold, refused.
pub(super) fn digits_lost(record: &CallRecord) -> u64 {
    let in_media = record.media.as_ref().map_or(0, |media| media.a.digits_lost + media.b.digits_lost);
    in_media + u64::from(record.digits.lost)
}

#[derive(Serialize)]
struct Transfer<'a> {
    side: Side,
    by: &'a str,
    to: Cow<'a, str>,
    kind: Kind,
    status: Option<u16>,
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "is_false")]
    relayed: bool,
    target: Option<Leg<'a>>,
}

impl Transfer<'_> {
    fn of(transfer: &TransferRecord) -> Transfer<'_> {
        Transfer {
            side: transfer.side,
            by: &transfer.by,
            to: cleaned(&transfer.to),
            kind: transfer.kind,
            status: transfer.status,
            reason: transfer.reason,
            relayed: transfer.relayed,
            target: transfer.target.as_ref().map(Leg::of),
        }
    }
}

#[derive(Serialize)]
struct Leg<'a> {
    peer: &'a str,
    call_id: Cow<'a, str>,
    transport: Transport,
    remote: SocketAddr,
    tls: Option<Tls<'a>>,
    mode: SecurityMode,
    srtp_suite: Option<Suite>,
    codec: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "is_false")]
    simulator: bool,
}

/// Left out where it says nothing.
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Leg<'_> {
    fn of(leg: &LegRecord) -> Leg<'_> {
        Leg {
            peer: &leg.peer,
            call_id: cleaned(&leg.call_id),
            transport: leg.transport,
            remote: leg.remote,
            tls: leg.tls.as_deref().map(|tls| Tls {
                version: &tls.version,
                cipher: &tls.cipher,
                backend: tls.backend,
                names: tls.names.iter().map(|name| cleaned(name)).collect(),
            }),
            mode: leg.mode,
            srtp_suite: leg.suite,
            codec: leg.codec.as_deref().map(cleaned),
            simulator: leg.simulator,
        }
    }
}

#[derive(Serialize)]
struct Tls<'a> {
    version: &'a str,
    cipher: &'a str,
    backend: TlsBackend,
    /// Of the other end's certificate.
    names: Vec<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Media {
    a_to_b: Direction,
    b_to_a: Direction,
}

impl Media {
    fn of(report: &Report, codec: Option<&str>, anchor: &Anchor) -> Media {
        Media { a_to_b: Direction::of(&report.a, &report.b, codec, anchor), b_to_a: Direction::of(&report.b, &report.a, codec, anchor) }
    }
}

/// The last thing a record says: one sentence for each direction.
#[derive(Serialize)]
struct Audio<'a> {
    a_to_b: &'a Told,
    b_to_a: &'a Told,
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
