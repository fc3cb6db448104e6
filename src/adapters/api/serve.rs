//! Connections of a door: so many at once and no more, a request's head within its time, HTTP/1.1 (RFC 9112).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;
use tower_service::Service;

use super::access::Client;

/// Connections at once, of each door.
const CONNECTIONS: usize = 64;
/// A request's head must be there after so long; it is also how long an idle connection stays.
const HEAD: Duration = Duration::from_secs(15);
/// After a failed accept, mostly for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);
/// That a door is full is told so often at most.
const TELL: Duration = Duration::from_secs(60);
/// When the door is shut an answer under way may take so long still; a stream of events does not end by itself.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// How full a door is, and was.
#[derive(Default)]
pub(super) struct Crowd {
    /// Connections that are open.
    pub here: AtomicU64,
    /// Those that were closed to make room for others, since the start.
    pub made_room: AtomicU64,
}

/// A place where connections come from.
pub(super) trait Door: Send + 'static {
    type Raw: Send + 'static;
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one; `Ok(None)`: it was turned away.
    fn accept(&mut self) -> impl Future<Output = io::Result<Option<Self::Raw>>> + Send;

    /// What it takes to know as much of who is there as the door can tell; bounded in time. `None`: it is turned away.
    fn open(&self, raw: Self::Raw) -> impl Future<Output = Option<(Self::Stream, Client)>> + Send + 'static;
}

/// `gate`: whether anybody is let in; whoever comes while it is shut waits in the system's queue, and whoever is in has to leave then: behind the same door another
/// process may stand by now.
pub(super) async fn forever<D: Door>(mut door: D, router: Router, mut gate: watch::Receiver<bool>, crowd: Arc<Crowd>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let guests = Arc::new(Guests { here: Mutex::default(), crowd });
    loop {
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            shut = gate.wait_for(|open| !*open) => {
                if shut.is_err() {
                    return;
                }
                drop(shut);
                guests.all_leave();
                continue;
            }
        };
        let raw = match accepted {
            Ok(Some(raw)) => raw,
            Ok(None) => continue,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let place = match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => place,
            Err(_) => {
                guests.make_room();
                // Where each has a request under way, until one is done. The semaphore is never closed.
                let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
                place
            }
        };
        let (opening, router, guests) = (door.open(raw), router.clone(), Arc::clone(&guests));
        let (number, guest) = guests.enter();
        tokio::spawn(async move {
            let served = async {
                if let Some((stream, client)) = opening.await {
                    connection(stream, client, router, &guest).await;
                }
            };
            tokio::select! {
                () = served => {}
                () = guest.leaves.notified() => {}
            }
            guests.left(number);
            drop(place);
        });
    }
}

/// The connections of a door. Where all places are taken, the one without a request that has been so longest makes room: a client that says nothing keeps nobody out.
struct Guests {
    here: Mutex<Here>,
    crowd: Arc<Crowd>,
}

#[derive(Default)]
struct Here {
    next: u64,
    guests: BTreeMap<u64, Arc<Guest>>,
    /// Those that made room since it was last told, and when that was.
    gone: u64,
    told: Option<Instant>,
}

struct Guest {
    /// Requests whose answer is not sent whole.
    under_way: AtomicUsize,
    silent_since: Mutex<Instant>,
    leaves: Notify,
    /// It has to leave after what is under way.
    parts: Notify,
}

impl Guests {
    fn enter(&self) -> (u64, Arc<Guest>) {
        let guest = Arc::new(Guest { under_way: AtomicUsize::new(0), silent_since: Mutex::new(Instant::now()), leaves: Notify::new(), parts: Notify::new() });
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        self.crowd.here.fetch_add(1, Ordering::Relaxed);
        here.next += 1;
        let number = here.next;
        here.guests.insert(number, Arc::clone(&guest));
        (number, guest)
    }

    fn left(&self, number: u64) {
        self.crowd.here.fetch_sub(1, Ordering::Relaxed);
        self.here.lock().unwrap_or_else(PoisonError::into_inner).guests.remove(&number);
    }

    fn all_leave(&self) {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).guests.values().for_each(|guest| guest.parts.notify_one());
    }

    fn make_room(&self) {
        let mut here = self.here.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = here.guests.iter().filter(|(_, guest)| guest.under_way.load(Ordering::Relaxed) == 0);
        let longest = silent.min_by_key(|(_, guest)| *guest.silent_since.lock().unwrap_or_else(PoisonError::into_inner)).map(|(number, _)| *number);
        let Some(guest) = longest.and_then(|number| here.guests.remove(&number)) else { return };
        guest.leaves.notify_one();
        self.crowd.made_room.fetch_add(1, Ordering::Relaxed);
        here.gone += 1;
        if here.told.is_none_or(|told| told.elapsed() >= TELL) {
            tracing::warn!(
                closed = here.gone,
                "the operators' door is full ({CONNECTIONS} connections): those that were silent longest are closed to make room; see who holds them (ss -tn), and let only operators reach [api] listen"
            );
            (here.gone, here.told) = (0, Some(Instant::now()));
        }
    }
}

/// A request under way: dropped with the last of its answer.
struct UnderWay(Arc<Guest>);

impl UnderWay {
    fn of(guest: &Arc<Guest>) -> UnderWay {
        guest.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(Arc::clone(guest))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        *self.0.silent_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, client: Client, router: Router, guest: &Arc<Guest>) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(client.clone());
        let (mut router, under_way) = (router.clone(), UnderWay::of(guest));
        async move {
            let answer = router.call(request).await.unwrap_or_else(|never| match never {});
            Ok::<_, Infallible>(answer.map(|body| {
                axum::body::Body::new(body.map_frame(move |frame| {
                    let _until_the_last = &under_way;
                    frame
                }))
            }))
        }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut served = pin!(served);
    // A client that breaks off is no news.
    tokio::select! {
        _ = &mut served => {}
        () = guest.parts.notified() => {
            served.as_mut().graceful_shutdown();
            let _ = tokio::time::timeout(LAST_ANSWER, served).await;
        }
    }
}

#[cfg(test)]
mod tests {
    //! In virtual time, over pipes in memory: what a client that is slow, silent or one of many costs.

    use axum::routing::{get, post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::super::access::{Guard, Operator, Role, Via, guarded};
    use super::super::audit::Audit;
    use super::super::unread::{UNREAD, Unread};
    use super::*;

    /// Clients as they are handed in.
    struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

    impl Door for Pipes {
        type Raw = DuplexStream;
        type Stream = Unread<DuplexStream>;

        async fn accept(&mut self) -> io::Result<Option<DuplexStream>> {
            match self.0.recv().await {
                Some(stream) => Ok(Some(stream)),
                None => std::future::pending().await,
            }
        }

        fn open(&self, raw: DuplexStream) -> impl Future<Output = Option<(Self::Stream, Client)>> + Send + 'static {
            let operator = Operator { name: "test".into(), role: Role::Operate, via: Via::Socket { uid: 0, pid: None } };
            std::future::ready(Some((Unread::new(raw), Client::Known(operator))))
        }
    }

    /// A door, and where clients come in by it.
    fn door() -> mpsc::UnboundedSender<DuplexStream> {
        counted(Arc::default())
    }

    fn counted(crowd: Arc<Crowd>) -> mpsc::UnboundedSender<DuplexStream> {
        let (clients, open) = gated(crowd);
        // Never shut.
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(open);
        });
        clients
    }

    /// And what it is shut by.
    fn gated(crowd: Arc<Crowd>) -> (mpsc::UnboundedSender<DuplexStream>, watch::Sender<bool>) {
        // As changes are told of: a beginning, and never an end.
        let endless = || async {
            let beginning = futures_util::stream::iter([Ok::<_, Infallible>("x")]);
            axum::body::Body::from_stream(futures_util::StreamExt::chain(beginning, futures_util::stream::pending()))
        };
        let routes = Router::new()
            .route("/v1/long", get(|| async { "x".repeat(1 << 20) }))
            .route("/v1/endless", get(endless))
            .route("/v1/thing", post(|body: String| async { body }));
        gated_to(routes, crowd)
    }

    /// To these routes.
    fn gated_to(routes: Router, crowd: Arc<Crowd>) -> (mpsc::UnboundedSender<DuplexStream>, watch::Sender<bool>) {
        let guard = Guard::new(|_, _| Role::Read, Default::default(), Arc::new(super::super::tests::Nobody::default()), Audit::default());
        let (clients, pipes) = mpsc::unbounded_channel();
        let (open, gate) = watch::channel(true);
        tokio::spawn(forever(Pipes(pipes), guarded(routes, guard), gate, crowd));
        (clients, open)
    }

    fn comes(door: &mpsc::UnboundedSender<DuplexStream>) -> DuplexStream {
        let (ours, theirs) = duplex(4096);
        door.send(theirs).unwrap();
        ours
    }

    /// What is heard until the connection ends, and after how long it does.
    async fn until_it_ends(client: &mut DuplexStream) -> (String, Duration) {
        let (began, mut heard) = (Instant::now(), Vec::new());
        timeout(Duration::from_secs(600), client.read_to_end(&mut heard)).await.expect("the connection ends").unwrap();
        (String::from_utf8_lossy(&heard).into_owned(), began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_in_leaves_when_the_door_is_shut_with_the_answer_under_way() {
        let (door, open) = gated(Arc::default());
        let (mut idle, mut streaming) = (comes(&door), comes(&door));
        idle.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nall").await.unwrap();
        streaming.write_all(b"GET /v1/endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut buffer = [0; 4096];
        for client in [&mut idle, &mut streaming] {
            assert!(client.read(&mut buffer).await.unwrap() > 0);
        }
        open.send_replace(false);
        let (_, lasted) = until_it_ends(&mut idle).await;
        assert!(lasted < LAST_ANSWER, "{lasted:?}");
        let (_, lasted) = until_it_ends(&mut streaming).await;
        assert!(lasted <= LAST_ANSWER, "{lasted:?}");
        open.send_replace(true);
        let mut again = comes(&door);
        again.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nall").await.unwrap();
        assert!(until_it_ends(&mut again).await.0.contains("200 OK"));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_carried_out_for_one_who_has_left() {
        let carried_out = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&carried_out);
        let (door, _open) = gated_to(
            Router::new().route(
                "/v1/thing",
                post(move || {
                    let counted = Arc::clone(&counted);
                    async move { counted.fetch_add(1, Ordering::Relaxed).to_string() }
                }),
            ),
            Arc::default(),
        );
        for (request, stays, times) in [
            ("POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", false, 0),
            ("POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nall", false, 0),
            ("POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nConnection: close\r\n\r\nall", true, 1),
        ] {
            let mut client = comes(&door);
            client.write_all(request.as_bytes()).await.unwrap();
            if stays {
                assert!(until_it_ends(&mut client).await.0.starts_with("HTTP/1.1 200"));
            }
            drop(client);
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(carried_out.load(Ordering::Relaxed), times, "{request}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_never_ends_and_a_body_that_never_comes_end_in_their_time() {
        let door = door();
        for head in ["", "GET /v1/long HT", "GET /v1/long HTTP/1.1\r\nHost: x\r\n"] {
            let mut client = comes(&door);
            client.write_all(head.as_bytes()).await.unwrap();
            let (heard, lasted) = until_it_ends(&mut client).await;
            assert!(!heard.contains("200 OK") && lasted <= HEAD + Duration::from_secs(1), "{head:?}: {heard:?} after {lasted:?}");
        }
        let mut client = comes(&door);
        client.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nConnection: close\r\n\r\nhalf").await.unwrap();
        let (heard, lasted) = until_it_ends(&mut client).await;
        assert!(heard.starts_with("HTTP/1.1 408") && lasted <= Duration::from_secs(11), "{heard:?} after {lasted:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_not_waited_for() {
        let door = door();
        let mut client = comes(&door);
        client.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n").await.unwrap();
        let (mut hears, mut says) = tokio::io::split(client);
        let trickle = tokio::spawn(async move {
            while says.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let mut heard = [0; 12];
        timeout(Duration::from_secs(12), hears.read_exact(&mut heard)).await.expect("refused in time").unwrap();
        assert_eq!(&heard, b"HTTP/1.1 408");
        trickle.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_loses_its_connection() {
        let door = door();
        let mut client = comes(&door);
        client.write_all(b"GET /v1/long HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        tokio::time::sleep(UNREAD + Duration::from_secs(1)).await;
        let (heard, _) = until_it_ends(&mut client).await;
        assert!(heard.len() < 1 << 20, "what did not fit the pipe was not kept for it: {}", heard.len());
    }

    #[tokio::test(start_paused = true)]
    async fn many_silent_connections_keep_nobody_out() {
        let crowd = Arc::<Crowd>::default();
        let door = counted(Arc::clone(&crowd));
        let silent: Vec<DuplexStream> = (0..3 * CONNECTIONS).map(|_| comes(&door)).collect();
        let mut client = comes(&door);
        client.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await.unwrap();
        let (heard, lasted) = until_it_ends(&mut client).await;
        assert!(heard.starts_with("HTTP/1.1 200") && heard.ends_with("hi") && lasted < Duration::from_secs(1), "{heard:?} after {lasted:?}");
        let (here, made_room) = (crowd.here.load(Ordering::Relaxed), crowd.made_room.load(Ordering::Relaxed));
        assert!(here <= CONNECTIONS as u64 && made_room == 2 * CONNECTIONS as u64 + 1, "{here} are in, {made_room} made room");
        drop(silent);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(crowd.here.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_a_request_under_way_makes_no_room_and_there_are_never_more_than_may_be() {
        let door = door();
        let mut busy = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut client = comes(&door);
            client.write_all(b"GET /v1/endless HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
            client.read_u8().await.unwrap();
            busy.push(client);
        }
        let mut client = comes(&door);
        client.write_all(b"POST /v1/thing HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi").await.unwrap();
        assert!(timeout(Duration::from_secs(300), client.read_u8()).await.is_err(), "as many as may be are served, and no more");
        drop(busy.pop());
        let (heard, lasted) = until_it_ends(&mut client).await;
        assert!(heard.starts_with("HTTP/1.1 200") && lasted < Duration::from_secs(1), "{heard:?} after {lasted:?}");
    }
}
