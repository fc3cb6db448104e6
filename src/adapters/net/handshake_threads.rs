//! Threads on which TLS handshakes of inbound connections are made, so that their signatures hold up no call. Only the handshake runs there: the
//! socket stays registered where it was accepted, and what comes of it goes back to there.

use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// Dropping it ends the threads; handshakes under way are given up.
pub struct HandshakeThreads {
    runtime: Option<Runtime>,
}

impl HandshakeThreads {
    /// `count` 0: none, handshakes are made where they are awaited.
    pub fn start(count: usize) -> io::Result<HandshakeThreads> {
        if count == 0 {
            return Ok(HandshakeThreads { runtime: None });
        }
        let runtime = Builder::new_multi_thread().worker_threads(count).thread_name("handshakes").enable_all().build()?;
        Ok(HandshakeThreads { runtime: Some(runtime) })
    }

    /// Runs a handshake to its end, or until nobody waits for it any more. `None`: its thread is no more, or it panicked.
    pub async fn run<T: Send + 'static>(&self, handshake: impl Future<Output = T> + Send + 'static) -> Option<T> {
        match self.runtime.as_ref().map(Runtime::handle) {
            None => Some(handshake.await),
            Some(threads) => Running::on(threads, handshake).await,
        }
    }
}

impl Drop for HandshakeThreads {
    fn drop(&mut self) {
        // May be dropped where blocking is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Given up when dropped.
struct Running<T>(JoinHandle<T>);

impl<T: Send + 'static> Running<T> {
    async fn on(threads: &Handle, handshake: impl Future<Output = T> + Send + 'static) -> Option<T> {
        let mut running = Running(threads.spawn(handshake));
        (&mut running.0).await.ok()
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
