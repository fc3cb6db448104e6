//! Telephone-events (RFC 4733): the payload (§2.3), DTMF digits (§3.2), and what a receiver makes of the packets of one event (§2.5.1, §2.6).

use std::fmt;
use std::time::Duration;

use crate::media::packet::u16_at;
use crate::time::Time;

/// Bytes of one event's report.
pub const REPORT: usize = 4;

/// The longest an event may last in one report, timestamp units; a longer one goes on in further segments (§2.5.1.3).
pub const LONGEST: u16 = u16::MAX;

/// No packet of an event for so long, and it is over: its end was lost (§2.6.2 leaves it to the receiver; three or four updates).
const LOST_END: Duration = Duration::from_millis(200);

/// What begins so much before the last event is another count of timestamps, not a late packet.
const LATE: Duration = Duration::from_secs(60);

/// One key of a telephone: 0 to 9, *, #, A to D. Never shown by `Debug`: it may be of a PIN.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digit(u8);

const KEYS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D'];

impl Digit {
    /// By its event code (§3.2, table 3). `None`: another event, such as a fax tone or a flash of the hook.
    pub fn of_event(code: u8) -> Option<Digit> {
        (code < 16).then_some(Digit(code))
    }

    /// As it is written.
    pub fn of_char(key: char) -> Option<Digit> {
        KEYS.iter().position(|known| *known == key.to_ascii_uppercase()).map(|code| Digit(code as u8))
    }

    pub fn event(self) -> u8 {
        self.0
    }

    pub fn char(self) -> char {
        KEYS.get(usize::from(self.0)).copied().unwrap_or('0')
    }
}

impl fmt::Debug for Digit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digit(_)")
    }
}

/// A digit's report as it stands in a packet, at a power of -10 dBm0. `lasted`: timestamp units from its start.
pub fn report(digit: Digit, is_end: bool, lasted: u16) -> [u8; REPORT] {
    let [high, low] = lasted.to_be_bytes();
    [digit.0, if is_end { 0x80 | 10 } else { 10 }, high, low]
}

/// What was heard of the events of one source, each told once however often its end comes, or if it never does.
#[derive(Clone, Copy, Default)]
pub struct Hearing {
    under_way: Option<UnderWay>,
    /// Source and start of the last one that is over: its end comes twice more.
    over: Option<(u32, u32)>,
}

#[derive(Clone, Copy)]
struct UnderWay {
    digit: Digit,
    source: u32,
    /// Of the segment under way.
    start: u32,
    /// Units of the segments before, and of this one.
    before: u32,
    lasted: u16,
    /// Hz.
    clock: u32,
    heard: Time,
}

/// A digit that is over, and how long it was.
pub type Pressed = (Digit, Duration);

impl Hearing {
    /// A packet of events: its SSRC and timestamp, the clock of its payload type in Hz, and its payload, which may report on several events one after the
    /// other (§2.3.5). `tell` hears of each digit that is over by it.
    pub fn packet(&mut self, now: Time, source: u32, timestamp: u32, clock: u32, payload: &[u8], mut tell: impl FnMut(Pressed)) {
        let mut start = timestamp;
        for report in payload.chunks_exact(REPORT) {
            let (code, is_end, lasted) = (report[0], report[1] & 0x80 != 0, u16_at(report, 2));
            if let Some(digit) = Digit::of_event(code) {
                self.report(UnderWay { digit, source, start, before: 0, lasted, clock, heard: now }, is_end, &mut tell);
            }
            start = start.wrapping_add(u32::from(lasted));
        }
    }

    fn report(&mut self, one: UnderWay, is_end: bool, tell: &mut impl FnMut(Pressed)) {
        match &mut self.under_way {
            Some(known) if known.source == one.source && known.start == one.start => {
                (known.lasted, known.heard) = (known.lasted.max(one.lasted), one.heard);
            }
            // §2.5.1.3: the next segment of the same event begins where the last had no more room.
            Some(known) if known.source == one.source && known.digit == one.digit && one.start.wrapping_sub(known.start) == u32::from(LONGEST) => {
                let before = known.before.saturating_add(u32::from(LONGEST));
                *known = UnderWay { before, ..one };
            }
            Some(known) if known.source == one.source && is_late(one.start, known.start, one.clock) => return,
            _ if self.over.is_some_and(|(source, start)| source == one.source && is_late(one.start, start, one.clock)) => return,
            _ => {
                self.end(tell);
                self.under_way = Some(one);
            }
        }
        if is_end {
            self.end(tell);
        }
    }

    /// When an event under way counts as over if nothing more is heard of it.
    pub fn due(&self) -> Option<Time> {
        self.under_way.map(|known| known.heard + LOST_END)
    }

    /// To be asked when that time has come.
    pub fn look(&mut self, now: Time, mut tell: impl FnMut(Pressed)) {
        if self.due().is_some_and(|due| due <= now) {
            self.end(&mut tell);
        }
    }

    fn end(&mut self, tell: &mut impl FnMut(Pressed)) {
        let Some(known) = self.under_way.take() else { return };
        self.over = Some((known.source, known.start));
        let units = u64::from(known.before) + u64::from(known.lasted);
        tell((known.digit, Duration::from_millis(units * 1_000 / u64::from(known.clock.max(1)))));
    }
}

/// Not after `last`, and not so long before it that the count has begun anew.
fn is_late(start: u32, last: u32, clock: u32) -> bool {
    let behind = last.wrapping_sub(start);
    u64::from(behind) <= u64::from(clock) * LATE.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ear(Hearing, Vec<(char, u64)>);

    impl Ear {
        fn new() -> Ear {
            Ear(Hearing::default(), Vec::new())
        }

        fn hear(&mut self, ms: u64, timestamp: u32, payload: &[u8]) {
            let told = &mut self.1;
            self.0.packet(Time::from_millis(ms), 7, timestamp, 8_000, payload, |(digit, lasted)| told.push((digit.char(), lasted.as_millis() as u64)));
        }

        fn look(&mut self, ms: u64) {
            let told = &mut self.1;
            self.0.look(Time::from_millis(ms), |(digit, lasted)| told.push((digit.char(), lasted.as_millis() as u64)));
        }
    }

    fn key(key: char) -> Digit {
        Digit::of_char(key).unwrap()
    }

    #[test]
    fn keys_and_their_codes() {
        for (code, name) in KEYS.iter().enumerate() {
            let digit = Digit::of_event(code as u8).unwrap();
            assert_eq!((digit.char(), Digit::of_char(*name)), (*name, Some(digit)));
        }
        assert_eq!((Digit::of_event(16), Digit::of_event(36), Digit::of_char('E'), Digit::of_char('b')), (None, None, None, Some(Digit(13))));
        assert_eq!(format!("{:?}", key('5')), "Digit(_)", "it may be of a PIN");
    }

    #[test]
    fn one_digit_is_told_once_though_its_end_comes_three_times() {
        let mut ear = Ear::new();
        for n in 1..=8u16 {
            ear.hear(u64::from(n) * 20, 1_000, &report(key('5'), false, n * 160));
        }
        assert_eq!(ear.1, [], "not before it is over");
        for _ in 0..3 {
            ear.hear(180, 1_000, &report(key('5'), true, 1_280));
        }
        assert_eq!(ear.1, [('5', 160)]);
        // The same key again, and one that is heard by its end alone.
        ear.hear(300, 3_000, &report(key('5'), true, 800));
        ear.hear(400, 4_000, &report(key('#'), true, 400));
        assert_eq!(ear.1, [('5', 160), ('5', 100), ('#', 50)]);
    }

    #[test]
    fn a_digit_whose_end_is_lost_is_over_with_the_next_or_when_nothing_more_comes() {
        let mut ear = Ear::new();
        ear.hear(0, 1_000, &report(key('1'), false, 320));
        ear.hear(100, 2_000, &report(key('2'), false, 160));
        assert_eq!(ear.1, [('1', 40)]);
        ear.hear(120, 1_000, &report(key('1'), true, 480));
        assert_eq!(ear.1, [('1', 40)], "its end after all, too late");
        assert_eq!(ear.0.due(), Some(Time::from_millis(300)));
        ear.look(299);
        assert_eq!(ear.1.len(), 1);
        ear.look(300);
        assert_eq!((ear.1.last(), ear.0.due()), (Some(&('2', 20)), None));
        ear.hear(310, 2_000, &report(key('2'), true, 800));
        assert_eq!(ear.1.len(), 2);
    }

    #[test]
    fn packets_out_of_order_shorten_nothing() {
        let mut ear = Ear::new();
        for lasted in [160, 640, 320, 480] {
            ear.hear(0, 1_000, &report(key('7'), false, lasted));
        }
        ear.hear(0, 1_000, &report(key('7'), true, 640));
        ear.hear(0, 1_000, &report(key('7'), false, 480));
        assert_eq!(ear.1, [('7', 80)]);
    }

    /// §2.5.1.3: 12 s at 8 kHz are two segments, the second of which begins 65,535 units later.
    #[test]
    fn a_digit_longer_than_one_report_can_say_is_one_digit() {
        let mut ear = Ear::new();
        let start = u32::MAX - 10;
        ear.hear(0, start, &report(key('0'), false, 65_000));
        ear.hear(10, start, &report(key('0'), false, LONGEST));
        ear.hear(20, start.wrapping_add(65_535), &report(key('0'), false, 160));
        ear.hear(30, start, &report(key('0'), false, LONGEST));
        ear.hear(40, start.wrapping_add(65_535), &report(key('0'), true, 30_465));
        assert_eq!(ear.1, [('0', 12_000)]);
    }

    #[test]
    fn several_reports_in_one_packet_are_events_one_after_the_other() {
        let mut ear = Ear::new();
        let both = [report(key('1'), true, 400), report(key('2'), true, 800)].concat();
        ear.hear(0, 1_000, &both);
        ear.hear(20, 1_000, &both);
        assert_eq!(ear.1, [('1', 50), ('2', 100)]);
    }

    #[test]
    fn what_is_no_digit_or_no_report_is_nothing() {
        let mut ear = Ear::new();
        for payload in [&b""[..], &b"\x05\x8a\x01"[..], &[36, 0x8a, 1, 0], &[255, 255, 255, 255]] {
            ear.hear(0, 1_000, payload);
        }
        assert_eq!((ear.1.len(), ear.0.due()), (0, None));
        // A sender that begins its timestamps anew is heard again.
        ear.hear(0, 3_000_000_000, &report(key('1'), true, 400));
        ear.hear(0, 5, &report(key('2'), true, 400));
        assert_eq!(ear.1, [('1', 50), ('2', 50)]);
    }
}
