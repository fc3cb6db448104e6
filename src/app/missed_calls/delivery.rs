//! Notices go out one after the other, oldest first: the next one only when the last has been settled on disk. While nobody takes them they are tried
//! again, ever less often; when the WAN comes back, at once.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

use crate::adapters::store::{Notice, Number, Outcome, Store};
use crate::adapters::webhook::{self, Answer};
use crate::policy::branch::Wan;

/// Between attempts: at first, and at most.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A receiver that refuses for a reason that may be mended (its address, our token) is tried so often before the notice is put aside.
const DOUBTFUL: u32 = 8;

/// What came of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Carried {
    Taken,
    /// This notice will never be taken.
    Poison(String),
    /// It was refused, but perhaps not for its own sake.
    Doubtful(String),
    /// Nobody could take it now. The other end may say when to come again.
    Failed(String, Option<Duration>),
}

/// Brings notices to whoever is to have them.
pub trait Carrier: Send + 'static {
    fn carry(&self, notice: Notice) -> Pin<Box<dyn Future<Output = Carried> + Send + '_>>;
}

pub struct Webhook(pub webhook::Settings);

impl Carrier for Webhook {
    fn carry(&self, notice: Notice) -> Pin<Box<dyn Future<Output = Carried> + Send + '_>> {
        Box::pin(async move { judged(webhook::post(&self.0, &notice.id, &notice.body).await) })
    }
}

/// What an answer means for the notice.
///
/// | answer | the notice |
/// |---|---|
/// | 2xx | is delivered |
/// | 400, 406, 409, 411, 413, 414, 415, 422, 431, 451 | is parked: its content is refused, and it will not be another |
/// | 3xx, 401, 403, 404, 405, 407, 410 and other 4xx | is parked after [`DOUBTFUL`] attempts: address or token may be wrong |
/// | 408, 425, 429, 5xx, none | is tried again for as long as it takes |
fn judged(answer: Answer) -> Carried {
    let (status, retry_after, says) = match answer {
        Answer::Status { status, retry_after, says } => (status, retry_after, says),
        Answer::Failed(why) => return Carried::Failed(why, None),
    };
    let said = if says.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {says}") };
    match status {
        200..=299 => Carried::Taken,
        400 | 406 | 409 | 411 | 413 | 414 | 415 | 422 | 431 | 451 => Carried::Poison(said),
        408 | 425 | 429 => Carried::Failed(said, retry_after),
        300..=499 => Carried::Doubtful(said),
        _ => Carried::Failed(said, retry_after),
    }
}

/// For operators.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Of the notice that is first in the queue.
    pub attempts: u32,
    pub last_error: Option<String>,
}

/// Runs until it is told to stop: what is on its way then is still settled, so that a planned restart repeats nothing.
pub async fn run(store: Store, carrier: impl Carrier, mut wan: watch::Receiver<Wan>, progress: Arc<Mutex<Progress>>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        match store.first().await {
            Some((number, notice)) => deliver(&store, &carrier, &mut wan, &progress, &mut stop, number, notice).await,
            // One that arrived since is told of too; where the disk could not be read, it may be again.
            None => tokio::select! {
                () = store.arrived() => {}
                () = sleep(LONGEST) => {}
                () = told_to(&mut stop) => {}
            },
        }
    }
}

async fn told_to(stop: &mut watch::Receiver<bool>) {
    // Whoever could tell has gone: that is as good.
    let _ = stop.wait_for(|stop| *stop).await;
}

async fn deliver(
    store: &Store,
    carrier: &impl Carrier,
    wan: &mut watch::Receiver<Wan>,
    progress: &Mutex<Progress>,
    stop: &mut watch::Receiver<bool>,
    number: Number,
    notice: Notice,
) {
    let mut attempts = 0u32;
    let mut doubts = 0u32;
    let outcome = loop {
        attempts += 1;
        wan.mark_unchanged();
        let (why, retry_after) = match carrier.carry(notice.clone()).await {
            Carried::Taken => break Outcome::Delivered,
            Carried::Poison(why) => break Outcome::Parked { why },
            Carried::Doubtful(why) => {
                doubts += 1;
                if doubts >= DOUBTFUL {
                    break Outcome::Parked { why };
                }
                (why, None)
            }
            Carried::Failed(why, retry_after) => (why, retry_after),
        };
        tell(progress, attempts, &why, &notice);
        let pause = retry_after.unwrap_or_default().min(LONGEST).max(backoff(attempts));
        tokio::select! {
            () = sleep(pause) => {}
            () = back(wan) => {}
            // It stays where it is.
            () = told_to(stop) => return,
        }
    };
    match &outcome {
        Outcome::Delivered => tracing::info!(id = %notice.id, mailbox = %notice.mailbox, attempts, "missed call delivered"),
        Outcome::Parked { why } => {
            tracing::error!(id = %notice.id, mailbox = %notice.mailbox, attempts, %why, "missed call put aside: it is refused for good; see `portcullis show missed-calls`, \
                 mend the cause, then `portcullis retry-missed-calls`");
        }
    }
    // Until that is on disk nothing else goes out; the store tells of a disk that refuses.
    while store.settle(number, outcome.clone()).await.is_err() {
        sleep(FIRST).await;
    }
    *progress.lock().unwrap_or_else(PoisonError::into_inner) = Progress::default();
}

fn tell(progress: &Mutex<Progress>, attempts: u32, why: &str, notice: &Notice) {
    let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
    if progress.last_error.as_deref() != Some(why) {
        tracing::warn!(id = %notice.id, attempts, why, "missed calls are not taken: they stay queued and are tried again");
    }
    *progress = Progress { attempts, last_error: Some(why.to_owned()) };
}

fn backoff(attempts: u32) -> Duration {
    FIRST.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(LONGEST)
}

/// Returns when the WAN comes back; never, where nobody knows how it stands.
async fn back(wan: &mut watch::Receiver<Wan>) {
    loop {
        if wan.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        if *wan.borrow_and_update() == Wan::Up {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;
    use crate::adapters::store::Settings;

    type Script = dyn Fn(usize, &Notice) -> Carried + Send + Sync;

    /// Answers as written, and remembers what came when.
    #[derive(Clone)]
    struct Scripted {
        script: Arc<Script>,
        count: Arc<AtomicUsize>,
        seen: Arc<Mutex<Vec<(Duration, String)>>>,
        began: Instant,
    }

    impl Carrier for Scripted {
        fn carry(&self, notice: Notice) -> Pin<Box<dyn Future<Output = Carried> + Send + '_>> {
            let count = self.count.fetch_add(1, Ordering::SeqCst);
            self.seen.lock().unwrap().push((self.began.elapsed(), notice.id.clone()));
            Box::pin(async move {
                sleep(Duration::from_millis(1)).await;
                (self.script)(count, &notice)
            })
        }
    }

    fn notice(id: &str) -> Notice {
        Notice { id: id.into(), mailbox: "1000".into(), time: "2026-01-01T00:00:00.000Z".into(), body: "{}".into() }
    }

    /// The store of two notices, with a delivery that is answered as scripted.
    struct Stage {
        store: Store,
        wan: watch::Sender<Wan>,
        carrier: Scripted,
        progress: Arc<Mutex<Progress>>,
        stop: watch::Sender<bool>,
        running: tokio::task::JoinHandle<()>,
        _folder: tempfile::TempDir,
    }

    async fn stage(script: impl Fn(usize, &Notice) -> Carried + Send + Sync + 'static) -> Stage {
        stopped_by(watch::Sender::new(false), script).await
    }

    async fn stopped_by(stop: watch::Sender<bool>, script: impl Fn(usize, &Notice) -> Carried + Send + Sync + 'static) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&Settings { path: folder.path().join("missed.redb"), most: 100 }).unwrap();
        for id in ["a", "b"] {
            assert!(store.queue(notice(id)).await.unwrap());
        }
        let carrier = Scripted { script: Arc::new(script), count: Arc::default(), seen: Arc::default(), began: Instant::now() };
        let (wan, wan_in) = watch::channel(Wan::Unknown);
        let progress = Arc::default();
        let running = tokio::spawn(run(store.clone(), carrier.clone(), wan_in, Arc::clone(&progress), stop.subscribe()));
        Stage { store, wan, carrier, progress, stop, running, _folder: folder }
    }

    impl Stage {
        async fn until(&self, what: impl Fn(&Stage) -> bool) {
            for _ in 0..100_000 {
                if what(self) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
            panic!("it never happened: {:?} {:?}", self.store.status(), self.ids());
        }

        fn ids(&self) -> Vec<String> {
            self.carrier.seen.lock().unwrap().iter().map(|(_, id)| id.clone()).collect()
        }
    }

    #[tokio::test]
    async fn each_goes_once_and_in_order() {
        let stage = stage(|_, _| Carried::Taken).await;
        stage.until(|stage| stage.store.status().delivered == 2).await;
        assert!(stage.store.queue(notice("c")).await.unwrap());
        stage.until(|stage| stage.store.status().delivered == 3).await;
        assert_eq!(stage.ids(), ["a", "b", "c"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_tried_less_and_less_often_and_holds_up_the_rest() {
        let stage = stage(|count, _| if count < 9 { Carried::Failed("no".into(), None) } else { Carried::Taken }).await;
        stage.until(|stage| stage.store.status().delivered == 2).await;
        let seen = stage.carrier.seen.lock().unwrap().clone();
        let gaps: Vec<u64> = seen.windows(2).map(|pair| (pair[1].0 - pair[0].0).as_secs()).collect();
        assert_eq!(gaps[..9], [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(stage.ids()[..], [vec!["a"; 10], vec!["b"]].concat());
        assert_eq!(*stage.progress.lock().unwrap(), Progress::default());
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_wan_is_back_they_go_at_once() {
        let stage = stage(|count, _| if count < 7 { Carried::Failed("no".into(), None) } else { Carried::Taken }).await;
        stage.until(|stage| stage.ids().len() == 7).await;
        let before = stage.carrier.began.elapsed();
        stage.wan.send_replace(Wan::Down);
        stage.wan.send_replace(Wan::Up);
        stage.until(|stage| stage.store.status().delivered == 2).await;
        // Virtual time runs on while the disk works, so the attempt itself is looked at.
        let eighth = stage.carrier.seen.lock().unwrap()[7].0;
        assert!(eighth - before < Duration::from_secs(1), "after {:?}, not after a minute", eighth - before);
    }

    #[tokio::test(start_paused = true)]
    async fn poison_is_put_aside_at_once_and_the_doubtful_after_a_while() {
        let stage = stage(|_, notice| if notice.id == "a" { Carried::Poison("HTTP 422".into()) } else { Carried::Doubtful("HTTP 404".into()) }).await;
        stage.until(|stage| stage.store.status().parked == 2).await;
        assert_eq!(stage.ids().len(), 1 + DOUBTFUL as usize);
        let parked = stage.store.list(10).await.parked;
        assert_eq!(parked.iter().map(|held| (held.id.as_str(), held.why.as_deref())).collect::<Vec<_>>(), [("a", Some("HTTP 422")), ("b", Some("HTTP 404"))]);
    }

    #[tokio::test]
    async fn told_to_stop_it_settles_what_is_under_way_and_begins_nothing() {
        let stop = watch::Sender::new(false);
        let told = stop.clone();
        let stage = stopped_by(stop, move |_, _| {
            told.send_replace(true);
            Carried::Taken
        })
        .await;
        stage.running.await.unwrap();
        let status = stage.store.status();
        assert_eq!((status.delivered, status.queued), (1, 1), "{status:?}");
        // While it waits for another attempt it waits no longer.
        let stage = self::stage(|_, _| Carried::Failed("no".into(), Some(LONGEST))).await;
        stage.until(|stage| stage.progress.lock().unwrap().attempts == 1).await;
        stage.stop.send_replace(true);
        tokio::time::timeout(Duration::from_secs(10), stage.running).await.expect("at once").unwrap();
        assert_eq!(stage.store.status().queued, 2);
    }

    #[test]
    fn what_each_answer_means() {
        let of = |status: u16| judged(Answer::Status { status, retry_after: Some(Duration::from_secs(7)), says: String::new() });
        let said = |status: u16| format!("HTTP {status}");
        for status in [200, 201, 202, 204] {
            assert_eq!(of(status), Carried::Taken);
        }
        for status in [400, 409, 413, 415, 422] {
            assert_eq!(of(status), Carried::Poison(said(status)));
        }
        for status in [301, 302, 307, 401, 403, 404, 405, 410, 418] {
            assert_eq!(of(status), Carried::Doubtful(said(status)));
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert_eq!(of(status), Carried::Failed(said(status), Some(Duration::from_secs(7))));
        }
        assert_eq!(judged(Answer::Failed("x".into())), Carried::Failed("x".into(), None));
    }
}
