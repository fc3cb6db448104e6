//! The network as the driver sees it: opened whole or not at all, sent to from any thread, closed gracefully.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::{Mutex, mpsc, watch};
use tokio::time::timeout;

use super::counts::Counts;
use super::doors::{Gates, Inherited};
use super::listeners::{Opened, Prepared};
use super::shared::{Ends, Life, Shared};
use super::standing::keep_asking;
use super::{BindError, Guard, Handshakes, NetEvent, Settings, Shaken, pool};
use crate::policy::flow::ListenerId;
use crate::policy::peer::PeerTable;
use crate::signaling::event::{Route, TransmitId, TransportError};

/// For what is queued to go out, and for the other ends to say goodbye.
const CLOSING: Duration = Duration::from_secs(3);

/// All listeners and connections of the border. Dropping it ends them where they stand; `close` does so gracefully.
pub struct Network {
    pub(super) shared: Arc<Shared>,
    /// No listener has had this number, nor a higher one.
    pub(super) next_listener: AtomicU32,
    pub(super) gates: watch::Sender<Gates>,
    life: watch::Sender<Life>,
    all_gone: Mutex<mpsc::Receiver<()>>,
}

impl Network {
    /// Opens every listener or none. Must be called within a tokio runtime with I/O and time, on which all tasks will run.
    pub async fn bind(
        settings: Settings,
        handshakes: Arc<dyn Handshakes>,
        table: Arc<ArcSwap<PeerTable>>,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Network, Vec<BindError>> {
        Network::bind_after(settings, handshakes, table, events, &mut Vec::new(), Gates::OPEN).await
    }

    /// The same, after another process of this border: what of its sockets can be used is taken out of `inherited`, and only the others are opened.
    pub async fn bind_after(
        settings: Settings,
        handshakes: Arc<dyn Handshakes>,
        table: Arc<ArcSwap<PeerTable>>,
        events: mpsc::Sender<NetEvent>,
        inherited: &mut Vec<Inherited>,
        at_first: Gates,
    ) -> Result<Network, Vec<BindError>> {
        let prepared = Prepared::open(&settings.listeners, inherited)?;
        let (shared, Ends { mut failures, all_gone, life, gates }) = Shared::new(settings.limits.bounded(), handshakes, table, events.clone());
        shared.start_handshake_threads(&settings.listeners).map_err(|error| vec![error])?;
        gates.send_replace(at_first);
        prepared.take_force(&shared);
        shared.spawn(keep_asking(Arc::clone(&shared)));
        // Not among the tasks that closing waits for: it ends when nobody is left to report a failure.
        tokio::spawn(async move {
            while let Some((id, error)) = failures.recv().await {
                if events.send(NetEvent::TransportFailed { id, error }).await.is_err() {
                    return;
                }
            }
        });
        let next = settings.listeners.iter().map(|listener| u32::from(listener.id.0) + 1).max().unwrap_or_default();
        Ok(Network { shared, next_listener: AtomicU32::new(next), gates, life, all_gone: Mutex::new(all_gone) })
    }

    /// Puts a guard at the doors, once.
    pub fn guarded_by(&self, guard: Arc<dyn Guard>) {
        let _ = self.shared.guard.set(guard);
    }

    /// The listening sockets once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<Vec<Inherited>> {
        self.shared.listeners.load().values().filter_map(|listener| listener.bequeath()).collect()
    }

    /// Where each listener really listens, those that leave included.
    pub fn bound(&self) -> Vec<(ListenerId, SocketAddr)> {
        self.shared.listeners.load().iter().map(|(id, listener)| (*id, listener.local)).collect()
    }

    pub fn handshakes(&self) -> Vec<Shaken> {
        self.shared.shaken.each()
    }

    pub fn counts(&self) -> Counts {
        self.shared.counters.snapshot()
    }

    /// Stream connections open or being opened.
    pub fn connections(&self) -> usize {
        self.shared.connections().flows.len()
    }

    /// The peer table, certificates, CAs or revocation lists have changed, or time has passed: every open connection is asked again whether its
    /// other end is still trusted. Returns at once.
    pub fn recheck(&self) {
        self.shared.recheck();
    }

    /// Sends, from any thread, without blocking. Whatever fails is reported once as `NetEvent::TransportFailed`.
    ///
    /// A message for a stream is reported too when its connection, one that we made, ends before anything more came back on it: whoever sent it
    /// would wait for an answer in vain (in TLS 1.3 that is also how we learn that our own certificate was refused).
    pub fn transmit(&self, id: TransmitId, route: Route, bytes: Bytes) {
        match route {
            Route::Datagram { listener, remote } => match self.shared.listeners.load().get(&listener).map(|listener| &listener.socket) {
                Some(Opened::Udp(datagrams)) => datagrams.send(&self.shared, id, remote, bytes),
                Some(Opened::Stream(_)) | None => self.shared.fail(id, TransportError::Socket),
            },
            Route::Flow { id: flow, otherwise } => pool::send_on_flow(&self.shared, id, flow, otherwise, bytes),
            Route::Connect(connect) => pool::send(&self.shared, id, connect, bytes),
        }
    }

    /// Stops listening, lets what is queued go out (for at most 3 s), closes every connection.
    pub async fn close(&self) {
        self.shared.refuse_tasks();
        self.life.send_replace(Life::Closing);
        let mut all_gone = self.all_gone.lock().await;
        if timeout(CLOSING, all_gone.recv()).await.is_err() {
            self.life.send_replace(Life::Over);
            let _ = timeout(CLOSING, all_gone.recv()).await;
        }
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.shared.refuse_tasks();
        self.life.send_replace(Life::Over);
    }
}
