//! Reception quality per source: losses (RFC 3550 A.1, A.3) and interarrival jitter (A.8). The relay adds nothing to what it counts: a source is
//! valid from its first packet, since the latch or the authentication tag has vouched for it, so A.1's probation is left out.

use std::time::Duration;

use crate::media::control::Clocks;
use crate::media::rtp::Header;
use crate::media::shortcut::{Carried, Pace};
use crate::time::Time;

/// Sources told apart at a time; of more, the one longest idle is folded into the sums.
pub const SOURCES: usize = 4;

const MAX_DROPOUT: u16 = 3_000;
const MAX_MISORDER: u16 = 100;
/// A step of the transit time by more than this is a new timeline, not jitter. Seconds.
const RESTART: u32 = 10;

/// A sender that goes on from another address has been silent for so long at the old one: whoever still speaks has not moved.
const FALLEN_SILENT: Duration = Duration::from_millis(400);
/// The same where the kernel carries packets, of which we hear only now and then.
const SILENT_IN_KERNEL: Duration = Duration::from_secs(5);
/// Packets that may be missing in between for each ms of that silence, and besides: one that went on has numbers not far ahead.
const MISSED_PER_MS: u128 = 1;
const MISSED: u128 = 50;

/// One source of RFC 3550 A.1.
#[derive(Clone, Copy, Debug)]
struct Source {
    ssrc: u32,
    base: u16,
    highest: u16,
    cycles: u32,
    /// The sequence number that would confirm a restart.
    suspect: Option<u16>,
    received: u32,
    timestamp: u32,
    transit: u32,
    /// Sixteen times the jitter, timestamp units.
    jitter: u32,
    last: Time,
    /// Runs of packets that were skipped.
    gaps: u32,
    /// Of the last packet with a static one.
    payload_type: Option<u8>,
    /// Timestamp units per second of the last packet.
    clock: u32,
}

impl Source {
    fn new(now: Time, header: &Header, clock: u32) -> Source {
        Source {
            ssrc: header.ssrc,
            base: header.sequence,
            highest: header.sequence,
            cycles: 0,
            suspect: None,
            received: 1,
            timestamp: header.timestamp,
            transit: transit(now, header, clock),
            jitter: 0,
            last: now,
            gaps: 0,
            payload_type: is_static(header).then_some(header.payload_type),
            clock,
        }
    }

    /// A.3, never below zero.
    fn lost(&self) -> u64 {
        let extended = (u64::from(self.cycles) << 16) + u64::from(self.highest);
        (extended + 1).saturating_sub(u64::from(self.base) + u64::from(self.received))
    }

    /// A.1 `update_seq`. False: the sender has started anew and the counts no longer fit.
    fn sequence(&mut self, sequence: u16) -> bool {
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead < MAX_DROPOUT {
            if sequence < self.highest {
                self.cycles = self.cycles.wrapping_add(1);
            }
            self.gaps = self.gaps.saturating_add(u32::from(ahead > 1));
            self.highest = sequence;
        } else if ahead <= u16::MAX - MAX_MISORDER {
            if self.suspect == Some(sequence) {
                return false;
            }
            self.suspect = Some(sequence.wrapping_add(1));
            return true;
        }
        self.received = self.received.saturating_add(1);
        true
    }

    /// A.8. Packets that share a timestamp (RFC 4733 events) say nothing about the network's pace and are passed over.
    fn pace(&mut self, now: Time, header: &Header, clock: u32) {
        if is_static(header) {
            self.payload_type = Some(header.payload_type);
        }
        if header.timestamp == self.timestamp {
            return;
        }
        let transit = transit(now, header, clock);
        if clock != self.clock {
            // Another codec, another timeline: nothing compares across it.
            self.jitter = (u64::from(self.jitter) * u64::from(clock) / u64::from(self.clock.max(1))) as u32;
            (self.clock, self.timestamp, self.transit) = (clock, header.timestamp, transit);
            return;
        }
        let step = (transit.wrapping_sub(self.transit) as i32).unsigned_abs();
        (self.timestamp, self.transit) = (header.timestamp, transit);
        if step < RESTART * clock {
            self.jitter = self.jitter + step - ((self.jitter + 8) >> 4);
        }
    }
}

/// Whether the payload type is one of RFC 3551's voice codecs.
fn is_static(header: &Header) -> bool {
    header.payload_type < 19 && header.payload_type != 13
}

/// Arrival minus timestamp, in timestamp units, modulo 2^32.
fn transit(now: Time, header: &Header, clock: u32) -> u32 {
    ((u128::from(now.as_nanos()) * u128::from(clock) / 1_000_000_000) as u32).wrapping_sub(header.timestamp)
}

/// What a report block says of a source (RFC 3550 §6.4.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    expected: u32,
    received: u32,
    highest: u32,
    jitter: u32,
}

impl Seen {
    /// Cumulative, in the 24 bits it has; never below zero.
    pub fn lost(&self) -> u32 {
        self.expected.saturating_sub(self.received).clamp(0, 0x7f_ffff)
    }

    /// In 256ths, of the packets expected since `before` (A.3).
    pub fn fraction_lost(&self, before: Option<Seen>) -> u8 {
        let (expected, received) = before.map_or((0, 0), |before| (before.expected, before.received));
        let expected = self.expected.wrapping_sub(expected);
        let lost = expected.saturating_sub(self.received.wrapping_sub(received));
        if expected == 0 { 0 } else { ((u64::from(lost) << 8) / u64::from(expected)).clamp(0, 255) as u8 }
    }

    /// Cycles and sequence number.
    pub fn highest(&self) -> u32 {
        self.highest
    }

    /// Timestamp units.
    pub fn jitter(&self) -> u32 {
        self.jitter
    }
}

/// What was received on one side.
#[derive(Clone, Debug, Default)]
pub struct Reception {
    sources: [Option<Source>; SOURCES],
    /// Losses of sources and runs that are over.
    lost: u64,
    gaps: u64,
    /// The slot of the last packet.
    current: u8,
}

impl Reception {
    /// `clocks`: of the payload types of this side.
    pub fn received(&mut self, now: Time, header: &Header, clocks: &Clocks) {
        let clock = clocks.of(header.payload_type);
        let known = self.sources.iter().position(|slot| slot.is_some_and(|source| source.ssrc == header.ssrc));
        let at = known.unwrap_or_else(|| self.longest_idle());
        let Some(slot) = self.sources.get_mut(at) else { return };
        self.current = at as u8;
        if let Some(source) = slot
            && known.is_some()
            && source.sequence(header.sequence)
        {
            source.pace(now, header, clock);
            source.last = now;
            return;
        }
        self.lost += slot.map_or(0, |source| source.lost());
        self.gaps += slot.map_or(0, |source| u64::from(source.gaps));
        *slot = Some(Source::new(now, header, clock));
    }

    /// Packets that never came, over all sources.
    pub fn lost(&self) -> u64 {
        self.sources.iter().flatten().map(Source::lost).sum::<u64>() + self.lost
    }

    /// Runs of packets that were skipped. One that came late after all is still counted: what it was to fill had to be played before.
    pub fn gaps(&self) -> u64 {
        self.sources.iter().flatten().map(|source| u64::from(source.gaps)).sum::<u64>() + self.gaps
    }

    /// When the last packet came.
    pub fn last(&self) -> Option<Time> {
        self.sources.iter().flatten().map(|source| source.last).max()
    }

    /// Jitter of the source heard last, µs.
    pub fn jitter_us(&self) -> u32 {
        let source = self.sources.get(usize::from(self.current)).copied().flatten();
        source.map_or(0, |source| u32::try_from(u64::from(source.jitter >> 4) * 1_000_000 / u64::from(source.clock.max(1))).unwrap_or(u32::MAX))
    }

    /// The static payload type of the source heard last.
    pub fn payload_type(&self) -> Option<u8> {
        self.sources.get(usize::from(self.current)).copied().flatten()?.payload_type
    }

    /// Whether a packet goes on where its source was: the source heard last, which has fallen silent, at a number not far ahead. `in_kernel`: some of its
    /// packets were carried there.
    pub fn goes_on(&self, now: Time, header: &Header, in_kernel: bool) -> bool {
        let Some(source) = self.sources.get(usize::from(self.current)).copied().flatten().filter(|source| source.ssrc == header.ssrc) else { return false };
        let silent = now.since(source.last);
        let ahead = header.sequence.wrapping_sub(source.highest);
        let most = (silent.as_millis() * MISSED_PER_MS + MISSED).min(u128::from(MAX_DROPOUT));
        let least = if in_kernel { SILENT_IN_KERNEL } else { FALLEN_SILENT };
        silent >= least && ahead > 0 && u128::from(ahead) <= most
    }

    /// Whether a packet is no newer than what was heard of its source: an old one, perhaps sent on by another.
    pub fn is_behind(&self, header: &Header) -> bool {
        let source = self.sources.iter().flatten().find(|source| source.ssrc == header.ssrc);
        source.is_some_and(|source| matches!(header.sequence.wrapping_sub(source.highest), 0 | 0x8000..))
    }

    /// Every source that is told apart, with what is known of it.
    pub fn sources(&self) -> impl Iterator<Item = (u32, Seen)> {
        self.sources.iter().flatten().map(|source| {
            let highest = source.cycles << 16 | u32::from(source.highest);
            let expected = highest.wrapping_sub(u32::from(source.base)).wrapping_add(1);
            (source.ssrc, Seen { expected, received: source.received, highest, jitter: source.jitter >> 4 })
        })
    }

    /// The source heard last.
    pub fn current(&self) -> Option<u32> {
        self.sources.get(usize::from(self.current)).copied().flatten().map(|source| source.ssrc)
    }

    /// The source heard last, and what is known of it.
    pub fn heard(&self) -> Option<(u32, Seen)> {
        let current = self.current()?;
        self.sources().find(|(ssrc, _)| *ssrc == current)
    }

    /// Timestamp units per second of the source heard last.
    pub fn clock(&self) -> u32 {
        self.sources.get(usize::from(self.current)).copied().flatten().map_or(8_000, |source| source.clock)
    }

    /// What counting a source elsewhere goes on from.
    pub fn pace_of(&self, ssrc: u32) -> Option<Pace> {
        let source = self.sources.iter().flatten().find(|source| source.ssrc == ssrc)?;
        let highest = source.cycles << 16 | u32::from(source.highest);
        Some(Pace { highest, timestamp: source.timestamp, transit: source.transit, jitter: source.jitter })
    }

    /// Packets of a known source that were counted elsewhere; of one that is unknown there is nothing to go on from.
    pub fn absorb(&mut self, ssrc: u32, carried: &Carried) {
        let Some(at) = self.sources.iter().position(|slot| slot.is_some_and(|source| source.ssrc == ssrc)) else { return };
        let Some(source) = self.sources.get_mut(at).and_then(Option::as_mut) else { return };
        let pace = &carried.pace;
        source.gaps = source.gaps.saturating_add(carried.gaps);
        source.received = source.received.saturating_add(u32::try_from(carried.packets).unwrap_or(u32::MAX));
        let known = source.cycles << 16 | u32::from(source.highest);
        // Some packets of the source may have come here meanwhile.
        if (pace.highest.wrapping_sub(known) as i32) > 0 {
            (source.cycles, source.highest) = (pace.highest >> 16, pace.highest as u16);
        }
        (source.timestamp, source.transit, source.jitter) = (pace.timestamp, pace.transit, pace.jitter);
        if carried.last >= source.last {
            source.last = carried.last;
            self.current = at as u8;
        }
    }

    fn longest_idle(&self) -> usize {
        let idle = |slot: &Option<Source>| slot.map(|source| source.last);
        self.sources.iter().enumerate().min_by_key(|(_, slot)| idle(slot)).map_or(0, |(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(ssrc: u32, sequence: u16, timestamp: u32) -> Header {
        Header { length: 12, padded: false, marker: false, payload_type: 0, sequence, timestamp, ssrc }
    }

    fn run(sequences: impl IntoIterator<Item = u16>) -> Reception {
        let mut reception = Reception::default();
        for sequence in sequences {
            reception.received(Time::from_millis(20), &header(1, sequence, 0), &Clocks::default());
        }
        reception
    }

    #[test]
    fn losses_are_gaps_in_the_sequence() {
        assert_eq!(run([10, 11, 14, 15]).lost(), 2);
        assert_eq!(run([10, 12, 11, 13]).lost(), 0, "reordered, not lost");
        assert_eq!(run([65_534, 65_535, 1, 2]).lost(), 1, "across the wrap");
        let gappy = run([65_530, 65_533, 0, 1, 5]);
        assert_eq!((gappy.lost(), gappy.gaps(), gappy.last()), (7, 3, Some(Time::from_millis(20))));
        assert_eq!(run([5, 5, 5]).lost(), 0, "duplicates never go below zero");
    }

    #[test]
    fn a_restart_needs_two_packets_in_a_row_and_keeps_the_old_losses() {
        let reception = run([10, 12, 40_000, 13]);
        assert_eq!(reception.lost(), 1, "one odd packet changes nothing");
        assert_eq!(run([10, 12, 40_000, 40_001, 40_002, 40_004]).lost(), 2);
    }

    #[test]
    fn a_new_source_starts_its_own_count() {
        let mut reception = Reception::default();
        for ssrc in 0..10 {
            let now = Time::from_millis(u64::from(ssrc));
            reception.received(now, &header(ssrc, 100, 0), &Clocks::default());
            reception.received(now, &header(ssrc, 102, 0), &Clocks::default());
        }
        assert_eq!(reception.lost(), 10, "also of those that were folded");
    }

    #[test]
    fn jitter_follows_rfc_3550_a8() {
        let mut reception = Reception::default();
        let mut now = Time::from_millis(1_000);
        for n in 0..400u32 {
            // Alternately 5 ms early and late around 20 ms: every step is 10 ms = 80 units.
            now = now + Duration::from_millis(if n % 2 == 0 { 30 } else { 10 });
            reception.received(now, &header(1, n as u16, n.wrapping_mul(160)), &Clocks::default());
        }
        assert!((9_000..=10_000).contains(&reception.jitter_us()), "{}", reception.jitter_us());
        let mut steady = Reception::default();
        for n in 0..400u32 {
            steady.received(Time::from_millis(20 * u64::from(n)), &header(1, n as u16, (n * 160).wrapping_sub(5_000)), &Clocks::default());
        }
        assert_eq!(steady.jitter_us(), 0);
    }

    /// 20 ms at 16 kHz are 320 units: taken for 8 kHz each would seem 20 ms late.
    #[test]
    fn jitter_is_reckoned_by_the_clock_of_the_codec() {
        let clocks = Clocks::of_payloads([(104, 16_000), (0, 8_000)]);
        let mut reception = Reception::default();
        let mut timestamp = 0;
        for n in 0..600u32 {
            let (payload_type, step) = if (200..300).contains(&n) { (0, 160) } else { (104, 320) };
            timestamp += step;
            let header = Header { payload_type, ..header(1, n as u16, timestamp) };
            reception.received(Time::from_millis(20 * u64::from(n)), &header, &clocks);
        }
        assert_eq!((reception.jitter_us(), reception.payload_type()), (0, Some(0)));
    }

    #[test]
    fn events_that_share_a_timestamp_are_no_jitter() {
        let mut reception = Reception::default();
        for n in 0..50u32 {
            let timestamp = if n < 25 { n * 160 } else { 25 * 160 };
            reception.received(Time::from_millis(20 * u64::from(n)), &header(1, n as u16, timestamp), &Clocks::default());
        }
        assert_eq!(reception.jitter_us(), 0);
    }
}
