//! The wall clock, which appears only where facts are rendered (RFC 3339, UTC, milliseconds).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;

use crate::time::Time;

/// Ties the process's line of time to the wall clock.
#[derive(Clone, Copy, Debug)]
pub struct Anchor {
    pub time: Time,
    pub wall: SystemTime,
}

impl Anchor {
    /// The wall-clock time of a point on the process's line.
    pub fn wall(&self, at: Time) -> SystemTime {
        // Only one of the two differences is more than nothing.
        self.wall + at.since(self.time) - self.time.since(at)
    }

    /// Such as `2026-11-20T13:05:52.017Z`.
    pub fn rfc3339(&self, at: Time) -> String {
        let wall = OffsetDateTime::from(self.wall(at));
        let (year, month, day) = wall.to_calendar_date();
        let mut text = String::with_capacity(24);
        digits(&mut text, u32::try_from(year).unwrap_or(0), 1000);
        text.push('-');
        digits(&mut text, u8::from(month).into(), 10);
        text.push('-');
        digits(&mut text, day.into(), 10);
        text.push('T');
        clock(&mut text, wall);
        text.push('Z');
        text
    }

    /// Such as `13:05:52.017`.
    pub fn clock(&self, at: Time) -> String {
        clock_of(self.wall(at))
    }

    /// Microseconds since 1970.
    pub fn micros(&self, at: Time) -> i64 {
        let wall = self.wall(at);
        let span = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        wall.duration_since(UNIX_EPOCH).map_or_else(|before| -span(before.duration()), span)
    }
}

/// Such as `13:05:52.017`.
pub(super) fn clock_of(wall: SystemTime) -> String {
    let mut text = String::with_capacity(12);
    clock(&mut text, OffsetDateTime::from(wall));
    text
}

fn clock(text: &mut String, wall: OffsetDateTime) {
    let (hour, minute, second, milli) = wall.to_hms_milli();
    digits(text, hour.into(), 10);
    text.push(':');
    digits(text, minute.into(), 10);
    text.push(':');
    digits(text, second.into(), 10);
    text.push('.');
    digits(text, milli.into(), 100);
}

/// With leading noughts; `place`: what the first digit counts. A record has a dozen times, and formatting took longer than all else of them.
fn digits(text: &mut String, number: u32, mut place: u32) {
    while place > 0 {
        text.push(char::from(b'0' + (number / place % 10) as u8));
        place /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_before_and_after_the_anchor_have_wall_clock_times() {
        let anchor = Anchor { time: Time::from_millis(10_000), wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250) };
        assert_eq!(anchor.rfc3339(Time::from_millis(10_000)), "2023-11-14T22:13:20.250Z");
        assert_eq!(anchor.rfc3339(Time::from_millis(9_500)), "2023-11-14T22:13:19.750Z");
        assert_eq!(anchor.clock(Time::from_millis(10_001)), "22:13:20.251");
    }
}
