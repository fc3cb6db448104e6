//! RTCP of our own for a peer that must not go without (Lync ends a call on which it has heard none for 30 s, on hold too): when none of the other side's
//! was relayed for a time, a receiver report with the source description RFC 3550 §6.1 asks for.
//!
//! A relay sends no media of its own, so it reports as a receiver, of the sources it has heard, under an SSRC of its own. It makes no sender reports in the
//! name of sources whose clocks it does not know. The interval is fixed and not drawn as in §6.3: it is a limit that the peer has set.

use std::time::Duration;

use crate::media::packet::{u16_at, u32_at};
use crate::media::quality::{Reception, SOURCES, Seen};
use crate::media::rtcp::{Block, RECEIVER_REPORT, SENDER_REPORT, SOURCE_DESCRIPTION, packets};
use crate::time::Time;

/// Report of each source, and the source description, without SRTCP's trailer. Bytes.
pub const LONGEST: usize = 8 + 24 * SOURCES + 20;

/// One side's due RTCP.
#[derive(Clone, Copy, Debug)]
pub struct Upkeep {
    every: Duration,
    ssrc: u32,
    /// RTCP last went to the side, the other's or ours; before that, when it was asked for.
    last: Time,
    /// What was reported last of each source, for the fraction lost since (A.3).
    before: [Option<(u32, Seen)>; SOURCES],
}

/// The middle of the last sender report's NTP time, and when it came (§6.4.1: LSR and DLSR).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastReport {
    ssrc: u32,
    middle: u32,
    at: Time,
}

impl LastReport {
    /// Of a compound that begins with a sender report.
    pub fn read(now: Time, compound: &[u8]) -> Option<LastReport> {
        let first = packets(compound).next()?.ok().filter(|packet| packet.kind == SENDER_REPORT && packet.body.len() >= 24)?;
        let middle = u32::from(u16_at(first.body, 6)) << 16 | u32::from(u16_at(first.body, 8));
        Some(LastReport { ssrc: u32_at(first.body, 0), middle, at: now })
    }
}

impl LastReport {
    pub fn source(&self) -> u32 {
        self.ssrc
    }

    /// How long it is from us to the one who answers this report with a block, and back: what passed since the report did, without the answerer's delay.
    /// `None`: the block answers another report, or claims a delay longer than that.
    pub fn round_trip(&self, now: Time, block: &Block) -> Option<Duration> {
        let answers = block.source == self.ssrc && block.last_report == self.middle && self.middle != 0;
        let delay = Duration::from_nanos((u128::from(block.delay) * 1_000_000_000 / 65_536) as u64);
        // DLSR has steps of 15 µs: on a short way it may seem longer than the way.
        let way = now.since(self.at);
        (answers && delay <= way + Duration::from_millis(1)).then(|| way.saturating_sub(delay))
    }
}

impl Upkeep {
    pub fn new(now: Time, every: Duration, ssrc: u32) -> Upkeep {
        Upkeep { every, ssrc, last: now, before: [None; SOURCES] }
    }

    /// The same, at another pace.
    pub fn paced(self, every: Duration) -> Upkeep {
        Upkeep { every, ..self }
    }

    pub fn relayed(&mut self, now: Time) {
        self.last = now;
    }

    pub fn due(&self) -> Time {
        self.last + self.every
    }

    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// Another SSRC while `is_taken` (RFC 3550 §8.2). The step is odd, so that every value comes once.
    pub fn avoid(&mut self, is_taken: impl Fn(u32) -> bool) {
        for _ in 0..=2 * SOURCES {
            if !is_taken(self.ssrc) {
                return;
            }
            self.ssrc = self.ssrc.wrapping_add(0x9e37_79b9);
        }
    }

    /// Writes the compound into `buffer`; its length. `reception` is what came from this side's peer, `reported` its last sender report.
    pub fn write(&mut self, now: Time, reception: &Reception, reported: Option<LastReport>, buffer: &mut [u8]) -> Option<usize> {
        let mut out = Writer { buffer: buffer.get_mut(..LONGEST)?, at: 0 };
        let count = reception.sources().count();
        out.put(&[0x80 | count as u8, RECEIVER_REPORT]);
        out.put(&(1 + 6 * count as u16).to_be_bytes());
        out.put(&self.ssrc.to_be_bytes());
        for (slot, (ssrc, seen)) in self.before.iter_mut().zip(reception.sources()) {
            let before = slot.filter(|(of, _)| *of == ssrc).map(|(_, seen)| seen);
            let (lsr, dlsr) = reported.filter(|reported| reported.ssrc == ssrc).map_or((0, 0), |reported| {
                let delay = now.since(reported.at).as_nanos() * 65_536 / 1_000_000_000;
                (reported.middle, u32::try_from(delay).unwrap_or(u32::MAX))
            });
            out.put(&ssrc.to_be_bytes());
            out.put(&(u32::from(seen.fraction_lost(before)) << 24 | seen.lost()).to_be_bytes());
            for word in [seen.highest(), seen.jitter(), lsr, dlsr] {
                out.put(&word.to_be_bytes());
            }
            *slot = Some((ssrc, seen));
        }
        // A CNAME that says nothing of us (RFC 7022): as in what is relayed, the SSRC in hexadecimal.
        out.put(&[0x81, SOURCE_DESCRIPTION, 0, 4]);
        out.put(&self.ssrc.to_be_bytes());
        out.put(&[1, 8]);
        for shift in (0..8).rev() {
            let digit = char::from_digit(self.ssrc >> (4 * shift) & 0xf, 16).map_or(b'0', |digit| digit as u8);
            out.put(&[digit]);
        }
        out.put(&[0, 0]);
        self.last = now;
        Some(out.at)
    }
}

/// Bytes after bytes; what does not fit is left out.
struct Writer<'a> {
    buffer: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(place) = self.buffer.get_mut(self.at..end) {
            place.copy_from_slice(bytes);
            self.at = end;
        }
    }
}
