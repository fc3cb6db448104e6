//! How many TLS handshakes go on at once, and how fast one source may begin them. A handshake is the dearest thing that somebody at a peer's address
//! can ask of us before he has proved to be that peer, so a source that asks too often is made to wait, and refused only when it has waited as long
//! as a handshake may take. It is slowed, never shut out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::Limits;

/// Sources kept apart; those beyond share one entry.
const SOURCES: usize = 4_096;
const ALL_OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// A source may begin so many seconds' worth of handshakes at once.
const BURST: u32 = 2;

/// A source that is slowed is told of so often.
const TELLING: Duration = Duration::from_secs(10);

pub struct Turnstile {
    at_once: Arc<Semaphore>,
    at_once_per_source: usize,
    /// Between two handshakes of one source, in the long run.
    interval: Duration,
    sources: Mutex<HashMap<IpAddr, Source>>,
}

struct Source {
    at_once: Arc<Semaphore>,
    /// When a source that used no more than its rate would be done with all it has begun (the "theoretical arrival time" of a token bucket).
    spent_until: Instant,
    told: Option<Instant>,
    since_told: Held,
}

/// What became of handshakes that came too fast.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Held {
    pub delayed: u64,
    pub refused: u64,
}

/// Leave for one handshake, given back when dropped.
pub struct Pass {
    _of_source: OwnedSemaphorePermit,
    _of_all: OwnedSemaphorePermit,
    /// It had to wait.
    pub delayed: bool,
}

impl Turnstile {
    pub fn new(limits: &Limits) -> Turnstile {
        Turnstile {
            at_once: Arc::new(Semaphore::new(limits.handshakes.min(Semaphore::MAX_PERMITS))),
            at_once_per_source: limits.handshakes_per_source.min(Semaphore::MAX_PERMITS),
            interval: Duration::from_secs(1) / limits.handshake_rate.max(1),
            sources: Mutex::default(),
        }
    }

    /// Waits for a handshake's turn, no longer than `patience`. `None`: it did not come.
    pub async fn enter(&self, source: IpAddr, patience: Duration) -> Option<Pass> {
        let now = Instant::now();
        let (turn, of_source) = self.reserve(now, source, patience)?;
        if turn > now {
            sleep_until(turn).await;
        }
        let free = of_source.available_permits() > 0 && self.at_once.available_permits() > 0;
        let limit = now + patience;
        let of_source = timeout_at(limit, of_source.acquire_owned()).await.ok()?.ok()?;
        let of_all = timeout_at(limit, Arc::clone(&self.at_once).acquire_owned()).await.ok()?.ok()?;
        Some(Pass { _of_source: of_source, _of_all: of_all, delayed: turn > now || !free })
    }

    /// When a handshake may begin, and among which of its source's own.
    fn reserve(&self, now: Instant, source: IpAddr, patience: Duration) -> Option<(Instant, Arc<Semaphore>)> {
        let mut sources = self.sources();
        let key = self.key(&mut sources, now, source);
        let source = self.source(&mut sources, now, key);
        let turn = source.spent_until.checked_sub(self.interval * self.burst()).unwrap_or(now).max(now);
        if turn > now + patience {
            return None;
        }
        source.spent_until = source.spent_until.max(now) + self.interval;
        Some((turn, Arc::clone(&source.at_once)))
    }

    /// Handshakes of a source that may begin at once before it has to keep to its rate.
    fn burst(&self) -> u32 {
        let a_second = (1.0 / self.interval.as_secs_f64()).round() as u32;
        a_second.saturating_mul(BURST).saturating_sub(1)
    }

    /// Notes that a handshake was delayed, or refused. What has been held up since it was last told, if it is time to tell.
    pub fn held(&self, now: Instant, source: IpAddr, refused: bool) -> Option<Held> {
        let mut sources = self.sources();
        let key = self.key(&mut sources, now, source);
        let source = self.source(&mut sources, now, key);
        if refused {
            source.since_told.refused += 1;
        } else {
            source.since_told.delayed += 1;
        }
        if source.told.is_some_and(|told| now < told + TELLING) {
            return None;
        }
        source.told = Some(now);
        Some(std::mem::take(&mut source.since_told))
    }

    fn source<'s>(&self, sources: &'s mut HashMap<IpAddr, Source>, now: Instant, key: IpAddr) -> &'s mut Source {
        sources.entry(key).or_insert_with(|| Source {
            at_once: Arc::new(Semaphore::new(self.at_once_per_source)),
            spent_until: now,
            told: None,
            since_told: Held::default(),
        })
    }

    /// Under which address a source is kept. Those that have been quiet make room.
    fn key(&self, sources: &mut HashMap<IpAddr, Source>, now: Instant, source: IpAddr) -> IpAddr {
        if sources.contains_key(&source) || sources.len() < SOURCES {
            return source;
        }
        sources.retain(|_, known| {
            let busy = known.at_once.available_permits() < self.at_once_per_source || Arc::strong_count(&known.at_once) > 1;
            busy || known.spent_until > now || known.told.is_some_and(|told| now < told + TELLING)
        });
        if sources.len() < SOURCES { source } else { ALL_OTHERS }
    }

    fn sources(&self) -> MutexGuard<'_, HashMap<IpAddr, Source>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
    const PATIENCE: Duration = Duration::from_secs(5);

    fn turnstile(handshakes: usize, per_source: usize, rate: u32) -> Turnstile {
        Turnstile::new(&Limits { handshakes, handshakes_per_source: per_source, handshake_rate: rate, ..Limits::default() })
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_begins_at_its_rate_once_its_burst_is_spent() {
        let turnstile = turnstile(1_000, 1_000, 10);
        let began = Instant::now();
        let mut at = Vec::new();
        for _ in 0..50 {
            let pass = turnstile.enter(PEER, PATIENCE).await.unwrap();
            at.push(began.elapsed().as_millis());
            assert_eq!(pass.delayed, at.len() > 20);
        }
        assert!(at[..20].iter().all(|at| *at == 0), "{at:?}");
        // Within the clock's grain of a tenth of a second each.
        assert!((2_900..3_100).contains(&at[49]), "{at:?}");
        // Nobody else has to wait for it.
        let before = Instant::now();
        assert!(!turnstile.enter(OTHER, PATIENCE).await.unwrap().delayed);
        assert_eq!(before.elapsed(), Duration::ZERO);
        // After a rest the burst is there again.
        tokio::time::sleep(Duration::from_secs(3)).await;
        let before = Instant::now();
        for _ in 0..20 {
            turnstile.enter(PEER, PATIENCE).await.unwrap();
        }
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_waits_in_a_bounded_line_and_the_rest_is_refused() {
        let turnstile = Arc::new(turnstile(1_000, 1_000, 10));
        let all: Vec<_> = (0..1_000)
            .map(|_| {
                let turnstile = turnstile.clone();
                tokio::spawn(async move { turnstile.enter(PEER, PATIENCE).await.map(|pass| pass.delayed) })
            })
            .collect();
        let mut counts = (0, 0, 0);
        for one in all {
            match one.await.unwrap() {
                Some(false) => counts.0 += 1,
                Some(true) => counts.1 += 1,
                None => counts.2 += 1,
            }
        }
        // Two seconds' worth at once, five seconds' worth in line.
        assert_eq!(counts, (20, 50, 930));
        // Its address still gets in, however long that went on: refused handshakes cost it nothing.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(turnstile.enter(PEER, PATIENCE).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn handshakes_at_once_are_bounded_for_each_source_and_in_all() {
        let turnstile = turnstile(3, 2, 1_000);
        let mut held = vec![turnstile.enter(PEER, PATIENCE).await.unwrap(), turnstile.enter(PEER, PATIENCE).await.unwrap()];
        assert!(turnstile.enter(PEER, PATIENCE).await.is_none(), "two of one source");
        held.push(turnstile.enter(OTHER, PATIENCE).await.unwrap());
        assert!(turnstile.enter(OTHER, PATIENCE).await.is_none(), "three in all");
        held.remove(0);
        assert!(turnstile.enter(OTHER, PATIENCE).await.is_some());
        assert!(turnstile.enter(PEER, PATIENCE).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_told_now_and_then_with_what_was_not_told() {
        let turnstile = turnstile(1, 1, 1);
        let told: Vec<Option<Held>> = (0..30).map(|n| turnstile.held(Instant::now(), PEER, n % 2 == 1)).collect();
        assert_eq!(told[0], Some(Held { delayed: 1, refused: 0 }));
        assert!(told[1..].iter().all(Option::is_none));
        tokio::time::sleep(TELLING).await;
        assert_eq!(turnstile.held(Instant::now(), PEER, true), Some(Held { delayed: 14, refused: 16 }));
    }

    #[tokio::test(start_paused = true)]
    async fn its_table_is_bounded() {
        let turnstile = turnstile(1_000_000, 10, 1);
        for n in 0..u32::try_from(SOURCES).unwrap() * 2 {
            turnstile.enter(IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + n)), Duration::ZERO).await;
        }
        assert!(turnstile.sources().len() <= SOURCES + 1);
        // The line for all others is short: those that come now share what one source may.
        assert!(turnstile.enter(PEER, Duration::ZERO).await.is_none());
        tokio::time::sleep(Duration::from_secs(60 * 60 * 3)).await;
        assert!(turnstile.enter(PEER, Duration::ZERO).await.is_some());
        assert_eq!(turnstile.sources().len(), 1);
    }
}
