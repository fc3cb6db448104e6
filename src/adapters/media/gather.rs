//! How long a worker waits for more packets than one: not at all while it has time to spare, and the longer the fuller it is.
//!
//! A wake costs about as much as a packet, so packets that share one are cheaper; but each of them waits for the others. While the worker has time to
//! spare that saving is worth nothing to anybody and the delay is heard, so it is woken by the first packet. From [`EASE`] on its wakes are put off, up to
//! the bound the settings give at [`FULL`]. What saves time lowers the share it goes by, so the span finds a place between; the share is a mean over
//! [`MEMORY`], and the loop's gain is below one (the bound saves less of the share than lies between the two marks), so it does not swing.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::thread::set_current_timer_slack;
use rustix::time::{ClockId, clock_gettime};

use crate::time::Time;

/// Of the worker's time: up to here nothing is put off.
const EASE: f64 = 0.55;

/// From here on wakes are put off for as long as may be.
const FULL: f64 = 0.9;

/// How far back the mean share reaches.
const MEMORY: Duration = Duration::from_millis(80);

/// How often the kernel is asked how long the worker has run.
const EVERY: Duration = Duration::from_millis(10);

/// Less than this is no wait: the timer alone takes a good part of it.
const LEAST: Duration = Duration::from_micros(25);

/// How late a wait may end. The system's own, 50 µs, is a quarter of the longest wait.
const SLACK: Option<NonZeroU64> = NonZeroU64::new(5_000);

/// The share of its time in which a worker works, or would if it had the core.
#[derive(Clone, Copy, Debug, Default)]
struct Share(f64);

impl Share {
    /// Within the last `wall` it was busy for `busy`.
    fn weigh(&mut self, wall: Duration, busy: Duration) {
        let wall = wall.as_secs_f64().max(1e-9);
        let weight = (wall / MEMORY.as_secs_f64()).clamp(0.0, 1.0);
        let now = (busy.as_secs_f64() / wall).clamp(0.0, 1.0);
        self.0 += (now - self.0) * weight;
    }

    fn span(self, most: Duration) -> Option<Duration> {
        let part = ((self.0 - EASE) / (FULL - EASE)).clamp(0.0, 1.0);
        Some(most.mul_f64(part)).filter(|span| *span >= LEAST)
    }
}

/// Of one worker; to be made on its thread.
pub(super) struct Gathering {
    most: Duration,
    /// The kernel's account of this thread (proc(5), `schedstat`): how long it has run, and how long it could have but had no core.
    account: Option<File>,
    share: Share,
    /// When the kernel was last asked, and what it said.
    asked: Option<(Time, Duration)>,
}

impl Gathering {
    pub(super) fn new(most: Duration) -> Gathering {
        // Where it is refused waits are longer by up to 50 µs, and nothing else.
        let _ = set_current_timer_slack(SLACK);
        Gathering { most, account: File::open("/proc/thread-self/schedstat").ok(), share: Share::default(), asked: None }
    }

    /// Whether packets that come so long after one another may share a wake at all.
    pub(super) fn is_often(&self, since: Duration) -> bool {
        since < self.most * 2
    }

    /// How long to put off the next wake.
    pub(super) fn span(&mut self, now: Time) -> Option<Duration> {
        match self.asked {
            Some((at, _)) if now.since(at) < EVERY => {}
            before => {
                let busy = self.busy();
                if let Some((at, had)) = before {
                    self.share.weigh(now.since(at), busy.saturating_sub(had));
                }
                self.asked = Some((now, busy));
            }
        }
        self.share.span(self.most)
    }

    /// How long this thread has been busy so far. Without an account of the time it has waited for a core, only how long it has run.
    fn busy(&self) -> Duration {
        let mut text = [0; 64];
        let read = self.account.as_ref().and_then(|account| account.read_at(&mut text, 0).ok()).and_then(|len| text.get(..len));
        read.and_then(account).unwrap_or_else(|| {
            let ran = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(ran.tv_sec.unsigned_abs(), ran.tv_nsec as u32)
        })
    }
}

/// `schedstat`: nanoseconds run, nanoseconds waited for a core, and how often it was given one.
fn account(text: &[u8]) -> Option<Duration> {
    let mut fields = std::str::from_utf8(text).ok()?.split_ascii_whitespace().map(str::parse::<u64>);
    let (ran, waited) = (fields.next()?.ok()?, fields.next()?.ok()?);
    Some(Duration::from_nanos(ran.saturating_add(waited)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: Duration = Duration::from_micros(200);

    /// A worker that gets `rate` packets a second, each costing 5 µs and each wake 4 µs more: its spans, one for each 10 ms.
    fn spans(share: &mut Share, rate: f64, steps: usize) -> Vec<Duration> {
        let step = |share: &mut Share| {
            let span = share.span(MOST);
            // Wakes are as many as packets, or as the waits between them let be.
            let apart = (1.0 / rate).max(span.unwrap_or_default().as_secs_f64());
            let busy = rate * 5e-6 + 4e-6 / apart;
            share.weigh(EVERY, EVERY.mul_f64(busy.clamp(0.0, 1.0)));
            span.unwrap_or_default()
        };
        (0..steps).map(|_| step(share)).collect()
    }

    #[test]
    fn with_time_to_spare_nothing_is_put_off() {
        assert_eq!(spans(&mut Share::default(), 50_000.0, 200), vec![Duration::ZERO; 200]);
    }

    #[test]
    fn a_full_core_gathers_for_as_long_as_may_be_and_an_emptier_one_not_any_more() {
        let mut share = Share::default();
        assert!(spans(&mut share, 195_000.0, 200)[199] >= MOST.mul_f64(0.9));
        let after = spans(&mut share, 20_000.0, 200);
        assert_eq!(after[40..], vec![Duration::ZERO; 160]);
    }

    #[test]
    fn between_the_two_it_finds_its_place_and_stays() {
        for rate in (60..=190).map(|thousands| f64::from(thousands) * 1000.0) {
            let settled = &spans(&mut Share::default(), rate, 400)[300..];
            let (low, high) = (settled.iter().min().unwrap(), settled.iter().max().unwrap());
            assert!(*high - *low <= LEAST * 2, "{rate}: between {low:?} and {high:?}");
        }
    }

    #[test]
    fn an_idle_hour_outweighs_what_was_before() {
        let mut share = Share(1.0);
        share.weigh(Duration::from_secs(3600), Duration::from_millis(1));
        assert_eq!(share.span(MOST), None);
    }

    #[test]
    fn the_kernels_account_is_read() {
        assert_eq!(account(b"1500 500 7\n"), Some(Duration::from_nanos(2000)));
        assert_eq!(account(b"junk"), None);
        let mut gathering = Gathering::new(MOST);
        let before = gathering.busy();
        let mut sum = 0u64;
        while gathering.busy() < before + Duration::from_millis(2) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        gathering.account = None;
        assert!(gathering.busy() >= Duration::from_millis(1), "the thread's own time, where there is no account");
    }
}
