//! Digits between telephone-events of one side (RFC 4733) and signalling of the other (INFO).
//!
//! What the side's peer presses is taken out of its packets and told. What is to be pressed towards it takes the place of the other side's sound while it
//! lasts: packet for packet, with the SSRC and the sequence numbers of the sound, so that SRTP's indices and RTCP stay right. Where no sound flows it goes
//! out at a pace and from a source of our own. A digit begun in the one way ends in that way: a listener would take the rest of it for another digit.

use std::time::Duration;

use super::{Channel, DropReason, Path, Stream, fax};
use crate::media::control::{Conversion, Side};
use crate::media::events::{self, Digit, Hearing, Pressed};
use crate::media::packet::View;
use crate::media::rtp::{self, Header};
use crate::time::Time;

/// Digits that wait to be sent, or to be told: more at once nobody presses.
const WAITING: usize = 32;
const UNTOLD: usize = 8;

/// Between packets of our own, and what each of them adds (RFC 4733 §2.5.1.2 has 50 ms as the longest).
const PACE: Duration = Duration::from_millis(20);

/// Without sound for so long, a digit is sent without it.
const NO_SOUND: Duration = Duration::from_millis(60);

/// Begun in a sound that stops, a digit counts as sent after this.
const STOPPED: Duration = Duration::from_secs(1);

/// Between digits, as a tone receiver needs it (ITU-T Q.24: 40 ms and less).
const REST: Duration = Duration::from_millis(60);

/// How often the end of a digit is sent (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;

/// As short, and as long, as a digit is made (Q.24: 40 ms are heard everywhere).
const SHORTEST: Duration = Duration::from_millis(40);
const LONGEST: Duration = Duration::from_secs(5);

/// Bytes of a packet of our own, without protection.
pub const PACKET: usize = rtp::FIXED + events::REPORT;

/// Of a stream whose sides say digits differently.
pub(super) struct Digits {
    /// Whose peer speaks events.
    side: Side,
    terms: Conversion,
    hearing: Hearing,
    untold: Ring<Pressed, UNTOLD>,
    waiting: Ring<Pressed, WAITING>,
    sending: Sending,
    /// When the last sound passed towards the side.
    sound: Option<Time>,
    /// No digit before.
    rest: Time,
    own: Source,
}

impl std::fmt::Debug for Digits {
    /// Not what was pressed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Digits").field("side", &self.side).field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// The source digits have where there is no sound.
#[derive(Clone, Copy, Default)]
struct Source {
    ssrc: u32,
    sequence: u16,
}

/// The digit under way.
#[derive(Clone, Copy)]
enum Sending {
    Nothing,
    /// In the place of the sound of `ssrc`. `start`: the timestamp of the packet it began with. `last`: when one was last replaced.
    InSound {
        event: Event,
        ssrc: u32,
        start: u32,
        last: Time,
    },
    /// By itself since `began`; the next packet at `next`.
    Alone {
        event: Event,
        start: u32,
        began: Time,
        next: Time,
    },
}

#[derive(Clone, Copy)]
struct Event {
    digit: Digit,
    payload_type: u8,
    /// Hz.
    clock: u32,
    /// Timestamp units it is to last, and those said last.
    wanted: u16,
    said: u16,
    /// Packets with the end bit so far.
    ends: u8,
}

impl Event {
    fn new((digit, lasting): Pressed, (payload_type, clock): (u8, u32)) -> Event {
        let wanted = units(lasting.clamp(SHORTEST, LONGEST), clock);
        Event { digit, payload_type, clock, wanted: wanted.min(u32::from(events::LONGEST)) as u16, said: 0, ends: 0 }
    }

    /// The payload of the packet that ends `elapsed` units after the start. Once it has ended it says the same until it has said so often enough.
    fn report(&mut self, elapsed: u32) -> [u8; events::REPORT] {
        self.said = self.said.max(elapsed.min(u32::from(self.wanted)) as u16);
        let is_end = self.said >= self.wanted;
        self.ends += u8::from(is_end);
        events::report(self.digit, is_end, self.said)
    }

    fn is_over(&self) -> bool {
        self.ends >= ENDS
    }
}

/// Timestamp units in a time.
fn units(time: Duration, clock: u32) -> u32 {
    (time.as_nanos() * u128::from(clock) / 1_000_000_000) as u32
}

/// What becomes of a packet.
pub(super) enum Judged {
    /// It goes on as it is.
    Passes,
    /// It goes on, so long, with a digit in it.
    Replaced(usize),
}

impl Digits {
    pub(super) fn new(side: Side, terms: Conversion) -> Digits {
        Digits {
            side,
            terms,
            hearing: Hearing::default(),
            untold: Ring::default(),
            waiting: Ring::default(),
            sending: Sending::Nothing,
            sound: None,
            rest: Time::ZERO,
            own: Source::default(),
        }
    }

    /// An accepted packet of RTP from `side`'s peer, not on hold, in `buffer[..len]`. `clock`: of its payload type.
    ///
    /// Errors: `DropReason::Digit` if it goes no further.
    pub(super) fn judge(&mut self, now: Time, side: Side, header: &Header, clock: u32, buffer: &mut [u8], len: usize) -> Result<Judged, DropReason> {
        if side != self.side {
            return self.sound(now, header, clock, buffer);
        }
        if self.terms.heard >> header.payload_type & 1 == 0 {
            return Ok(Judged::Passes);
        }
        let payload = buffer.get(header.length..len).unwrap_or_default();
        if payload.len() <= fax::LONGEST_EVENT {
            let untold = &mut self.untold;
            self.hearing.packet(now, header.ssrc, header.timestamp, clock, payload, |pressed| untold.push(pressed));
        }
        Err(DropReason::Digit)
    }

    /// A packet of sound towards the side.
    fn sound(&mut self, now: Time, header: &Header, clock: u32, buffer: &mut [u8]) -> Result<Judged, DropReason> {
        self.sound = Some(now);
        if let Sending::InSound { ssrc, last, .. } = self.sending
            && (ssrc != header.ssrc || now.since(last) > STOPPED)
        {
            self.over(now);
        }
        if matches!(self.sending, Sending::Nothing)
            && self.rest <= now
            && let Some(event) = self.next(Some(clock))
        {
            self.sending = Sending::InSound { event, ssrc: header.ssrc, start: header.timestamp, last: now };
        }
        let (event, start) = match &mut self.sending {
            Sending::Nothing => return Ok(Judged::Passes),
            // Two sources at once would confuse more than a moment without sound.
            Sending::Alone { .. } => return Err(DropReason::Digit),
            Sending::InSound { event, start, last, .. } => {
                *last = now;
                (event, *start)
            }
        };
        let since = header.timestamp.wrapping_sub(start);
        if since > i32::MAX as u32 {
            // From before it began, and late.
            return Ok(Judged::Passes);
        }
        let elapsed = u64::from(since) * u64::from(event.clock) / u64::from(clock.max(1));
        let is_first = event.said == 0;
        let report = event.report(u32::try_from(elapsed).unwrap_or(u32::MAX).saturating_add(units(PACE, event.clock)));
        let len = write(buffer, header.length, (event.payload_type, is_first), start, report).ok_or(DropReason::NoRoom)?;
        if event.is_over() {
            self.over(now);
        }
        Ok(Judged::Replaced(len))
    }

    /// The next digit that waits, under the number that goes with the clock of the sound.
    fn next(&mut self, clock: Option<u32>) -> Option<Event> {
        let number = self.terms.taken_at(clock)?;
        self.waiting.pop().map(|pressed| Event::new(pressed, number))
    }

    fn over(&mut self, now: Time) {
        self.sending = Sending::Nothing;
        self.rest = now + REST;
    }

    /// When there is something to do without a packet.
    fn due(&self) -> Option<Time> {
        let sending = match &self.sending {
            Sending::Nothing if self.waiting.is_empty() => None,
            Sending::Nothing => Some(self.rest.max(self.sound.map_or(Time::ZERO, |sound| sound + NO_SOUND))),
            Sending::InSound { last, .. } => Some(*last + STOPPED),
            Sending::Alone { next, .. } => Some(*next),
        };
        [sending, self.hearing.due()].into_iter().flatten().min()
    }

    /// A packet of our own, if one is due: into `buffer`.
    fn alone(&mut self, now: Time, buffer: &mut [u8]) -> Option<Header> {
        match self.sending {
            Sending::InSound { last, .. } if last + STOPPED <= now => self.over(now),
            Sending::Nothing if self.rest <= now && self.sound.is_none_or(|sound| sound + NO_SOUND <= now) => {
                let event = self.next(None)?;
                // One line of timestamps for all digits of the source: our own time at its clock, from a start nobody can tell.
                let line = (u128::from(now.as_nanos()) * u128::from(event.clock) / 1_000_000_000) as u32;
                self.sending = Sending::Alone { event, start: line.wrapping_add(self.own.ssrc.rotate_left(16)), began: now, next: now };
            }
            _ => {}
        }
        let Sending::Alone { event, start, began, next } = &mut self.sending else { return None };
        if *next > now {
            return None;
        }
        *next = now + PACE;
        let is_first = event.said == 0;
        let report = event.report(units(now.since(*began) + PACE, event.clock));
        let (number, start) = (event.payload_type, *start);
        if event.is_over() {
            self.over(now);
        }
        let Source { ssrc, sequence } = self.own;
        self.own.sequence = sequence.wrapping_add(1);
        let header = buffer.get_mut(..rtp::FIXED)?;
        header[0] = 0x80;
        header[2..4].copy_from_slice(&sequence.to_be_bytes());
        header[8..12].copy_from_slice(&ssrc.to_be_bytes());
        write(buffer, rtp::FIXED, (number, is_first), start, report)?;
        Header::parse(buffer.get(..PACKET)?).ok()
    }

    /// What waits cannot be sent now: how many digits that were.
    fn give_up(&mut self) -> u64 {
        let under_way = !matches!(self.sending, Sending::Nothing);
        self.sending = Sending::Nothing;
        let waited = std::iter::from_fn(|| self.waiting.pop()).count();
        waited as u64 + u64::from(under_way)
    }
}

/// A report behind `header` bytes, in the place of whatever was there: number, timestamp and no padding. The length of the packet then.
fn write(buffer: &mut [u8], header: usize, (number, is_first): (u8, bool), timestamp: u32, report: [u8; events::REPORT]) -> Option<usize> {
    let len = header + report.len();
    buffer.get_mut(header..len)?.copy_from_slice(&report);
    let fixed = buffer.first_chunk_mut::<{ rtp::FIXED }>()?;
    fixed[0] &= !0x20;
    fixed[1] = if is_first { 0x80 | number } else { number };
    fixed[4..8].copy_from_slice(&timestamp.to_be_bytes());
    Some(len)
}

impl Stream {
    /// Carries out `control::Configuration::digits` of a side.
    pub(super) fn convert_digits(&mut self, side: Side, terms: Option<Conversion>) {
        match (&mut self.digits, terms) {
            (Some(digits), Some(terms)) if digits.side == side => digits.terms = terms,
            (digits, Some(terms)) => *digits = Some(Box::new(Digits::new(side, terms))),
            (digits, None) => {
                let gone = digits.take_if(|digits| digits.side == side).map_or(0, |mut digits| digits.give_up());
                self.end_mut(side).counts.digits_gone(gone);
            }
        }
    }

    /// Carries out `control::Command::Digit`. What cannot be sent is counted.
    pub fn press(&mut self, side: Side, digit: Digit, lasting: Duration, ssrc: u32) {
        let taken = self.digits.as_deref_mut().filter(|digits| digits.side == side).is_some_and(|digits| {
            if digits.own.ssrc == 0 {
                // The first sequence number is to be as little foreseen as the source (RFC 3550 §5.1).
                digits.own = Source { ssrc, sequence: (ssrc >> 12) as u16 };
            }
            digits.waiting.push((digit, lasting));
            !std::mem::take(&mut digits.waiting.is_overrun)
        });
        let counts = &mut self.end_mut(side).counts;
        *if taken { &mut counts.digits_sent } else { &mut counts.digits_lost } += 1;
    }

    /// Digits are converted here: `take_digit` after each packet, and `digits_due`.
    #[inline]
    pub fn converts_digits(&self) -> bool {
        self.digits.is_some()
    }

    /// The next digit that a side's peer has pressed, with how long.
    #[cold]
    pub fn take_digit(&mut self) -> Option<(Side, Digit, Duration)> {
        let digits = self.digits.as_deref_mut()?;
        let counts = match digits.side {
            Side::A => &mut self.a.counts,
            Side::B => &mut self.b.counts,
        };
        counts.digits_lost += u64::from(std::mem::take(&mut digits.untold.is_overrun));
        let (digit, lasted) = digits.untold.pop()?;
        counts.digits_heard += 1;
        Some((digits.side, digit, lasted))
    }

    /// When `digit` is to be asked next.
    pub fn digits_due(&self) -> Option<Time> {
        self.digits.as_deref().and_then(Digits::due)
    }

    /// A packet of a digit of our own where one is due: written into `buffer`, which should have `PACKET` and `TAIL_ROOM`, under the side's protection. To be
    /// sent out of that side's socket for RTP. Ends what was heard of an event that nothing more came of.
    #[cold]
    pub fn digit(&mut self, now: Time, buffer: &mut [u8]) -> Option<(Side, std::net::SocketAddr, usize)> {
        let digits = self.digits.as_deref_mut()?;
        let untold = &mut digits.untold;
        digits.hearing.look(now, |pressed| untold.push(pressed));
        let side = digits.side;
        let (near, path): (_, &mut Path) = match side {
            Side::A => (&mut self.a, &mut self.from_b),
            Side::B => (&mut self.b, &mut self.from_a),
        };
        let to = near.latch.destination(Channel::Rtp).ok().filter(|_| path.is_open() && self.fax.t38.is_none());
        let Some(to) = to else {
            near.counts.digits_gone(digits.give_up());
            return None;
        };
        while path.reception.sources().any(|(source, _)| source == digits.own.ssrc) {
            digits.own.ssrc = digits.own.ssrc.wrapping_add(0x9e37_79b9);
        }
        let header = digits.alone(now, buffer)?;
        let len = (path.outbound.transformation().protect)(&mut path.outbound, now, &View::Rtp(header), buffer, PACKET).ok()?;
        near.counts.sent += 1;
        near.counts.first_sent.get_or_insert(now);
        near.counts.last_sent = Some(now);
        Some((side, to, len))
    }
}

/// The first so many, in order; one more overruns it.
struct Ring<T, const MOST: usize> {
    items: [Option<T>; MOST],
    first: usize,
    count: usize,
    /// One was left out.
    is_overrun: bool,
}

impl<T: Copy, const MOST: usize> Default for Ring<T, MOST> {
    fn default() -> Self {
        Ring { items: [None; MOST], first: 0, count: 0, is_overrun: false }
    }
}

impl<T: Copy, const MOST: usize> Ring<T, MOST> {
    fn push(&mut self, item: T) {
        match self.items.get_mut((self.first + self.count) % MOST).filter(|_| self.count < MOST) {
            Some(place) => {
                *place = Some(item);
                self.count += 1;
            }
            None => self.is_overrun = true,
        }
    }

    fn pop(&mut self) -> Option<T> {
        let item = self.items.get_mut(self.first)?.take()?;
        self.first = (self.first + 1) % MOST;
        self.count -= 1;
        Some(item)
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }
}
