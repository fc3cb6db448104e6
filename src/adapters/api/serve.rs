//! Connections of a door: so many at once and no more, a request's head within its time, HTTP/1.1 (RFC 9112).

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use super::access::Client;

/// Connections at once, of each door.
const CONNECTIONS: usize = 64;
/// A request's head must be there after so long; it is also how long an idle connection stays.
const HEAD: Duration = Duration::from_secs(15);
/// After a failed accept, mostly for want of file descriptors.
const BREATH: Duration = Duration::from_millis(100);

/// A place where connections come from.
pub(super) trait Door: Send + 'static {
    type Raw: Send + 'static;
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one; `Ok(None)`: it was turned away.
    fn accept(&mut self) -> impl Future<Output = io::Result<Option<Self::Raw>>> + Send;

    /// What it takes to know as much of who is there as the door can tell; bounded in time. `None`: it is turned away.
    fn open(&self, raw: Self::Raw) -> impl Future<Output = Option<(Self::Stream, Client)>> + Send + 'static;
}

/// `gate`: whether anybody is let in; whoever comes while it is shut waits in the system's queue.
pub(super) async fn forever<D: Door>(mut door: D, router: Router, mut gate: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // Whoever comes while all places are taken waits in the system's queue. The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        if gate.wait_for(|open| *open).await.is_err() {
            return;
        }
        let accepted = tokio::select! {
            accepted = door.accept() => accepted,
            _ = gate.wait_for(|open| !*open) => continue,
        };
        let raw = match accepted {
            Ok(Some(raw)) => raw,
            Ok(None) => continue,
            Err(_) => {
                tokio::time::sleep(BREATH).await;
                continue;
            }
        };
        let (opening, router) = (door.open(raw), router.clone());
        tokio::spawn(async move {
            if let Some((stream, client)) = opening.await {
                connection(stream, client, router).await;
            }
            drop(place);
        });
    }
}

async fn connection(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, client: Client, router: Router) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(client.clone());
        let mut router = router.clone();
        async move { Ok::<_, Infallible>(router.call(request).await.unwrap_or_else(|never| match never {})) }
    });
    let served = http1::Builder::new().timer(TokioTimer::new()).header_read_timeout(HEAD).serve_connection(TokioIo::new(stream), service).with_upgrades();
    // A client that breaks off is no news.
    let _ = served.await;
}
