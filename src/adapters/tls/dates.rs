//! Dates and spans as an operator reads them (RFC 3339, whole units).

use rustls::pki_types::UnixTime;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Such as `3 days`: the coarsest unit that still says something.
pub fn span(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7_199 => format!("{} minutes", seconds / 60),
        7_200..=172_799 => format!("{} hours", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Such as `3 days ago`, or `in 2 hours`.
pub fn from_now(moment: UnixTime, now: UnixTime) -> String {
    match moment.as_secs().checked_sub(now.as_secs()) {
        Some(ahead) => format!("in {}", span(ahead)),
        None => format!("{} ago", span(now.as_secs() - moment.as_secs())),
    }
}

/// Such as `2026-11-21T15:38:06Z`.
pub fn written(moment: UnixTime) -> String {
    let at = i64::try_from(moment.as_secs()).ok().and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    at.and_then(|at| at.format(&Rfc3339).ok()).unwrap_or_else(|| String::from("beyond any calendar"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    #[test]
    fn dates_read_as_an_operator_says_them() {
        assert_eq!(written(at(0)), "1970-01-01T00:00:00Z");
        assert_eq!(written(at(u64::MAX)), "beyond any calendar");
        assert_eq!(from_now(at(100), at(100)), "in 0 seconds");
        assert_eq!(from_now(at(100), at(100 + 3 * 86_400)), "3 days ago");
        assert_eq!(from_now(at(100 + 7_300), at(100)), "in 2 hours");
        assert_eq!(from_now(at(100), at(400)), "5 minutes ago");
    }
}
