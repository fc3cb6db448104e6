//! Copies of what passes to a HEP3 server (HOMER, heplify-server and their like), over UDP, TCP or TLS.
//!
//! [`Hep::put`] never waits: packets wait in a queue bounded by number and bytes, one thread sends them, and what finds the queue full is lost and
//! counted. A server that is away is asked again after a pause that grows; what waits then is what came first.

mod packet;
mod server;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

pub use packet::{Captured, Kind};

use self::packet::Sender;
use self::server::Server;

/// Packets that may wait, and their bytes.
pub const WAITING: usize = 8192;
const WAITING_BYTES: usize = 16 << 20;

/// Until a server that could not be reached is asked again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    Udp,
    Tcp,
    Tls,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Settings {
    /// An address without brackets, or a host name.
    pub host: String,
    pub port: u16,
    pub transport: Transport,
    /// PEM, for TLS: whose certificates the server's must chain to. Read for each connection, so that it may be changed at any time.
    pub ca: Option<PathBuf>,
    /// What the server knows this border by.
    pub capture_id: u32,
    pub password: Option<String>,
    /// How often the media of each call that is up is told; zero: only when it is over.
    pub reports: Duration,
}

/// Never the password itself.
impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Settings { host, port, transport, ca, capture_id, password, reports } = self;
        let password = password.as_ref().map(|_| "…");
        f.debug_struct("Settings")
            .field("host", host)
            .field("port", port)
            .field("transport", transport)
            .field("ca", ca)
            .field("capture_id", capture_id)
            .field("password", &password)
            .field("reports", reports)
            .finish()
    }
}

/// How it stands with the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Status {
    /// Packets handed to the network.
    pub sent: u64,
    /// Packets that found the queue full or that the network refused.
    pub lost: u64,
    /// The last one could be sent.
    pub up: bool,
    /// Packets that wait.
    pub waiting: u64,
}

/// Why a packet could not be sent, and when.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    pub at: SystemTime,
    pub why: String,
}

#[derive(Default)]
struct Counted {
    sent: AtomicU64,
    lost: AtomicU64,
    up: AtomicBool,
    bytes: AtomicUsize,
    waiting: AtomicU64,
    failure: Mutex<Option<Failure>>,
}

/// Cheap to clone. The thread ends when all have gone and what waited is sent; a server that takes none then is not waited for.
#[derive(Clone)]
pub struct Hep {
    queue: SyncSender<Vec<u8>>,
    counted: Arc<Counted>,
    server: Arc<str>,
    capture_id: u32,
    password: Option<Arc<str>>,
}

impl Hep {
    /// Starts the thread. A server that is away is no error, a file of CAs that cannot be used is: the text says what to do.
    pub fn start(settings: &Settings) -> Result<Hep, String> {
        let server = Server::new(settings)?;
        let name = Arc::from(server.name());
        let (queue, packets) = sync_channel(WAITING);
        let counted = Arc::<Counted>::default();
        let delivery = Delivery { server, counted: Arc::clone(&counted), pause: FIRST_PAUSE, told: None };
        let started = std::thread::Builder::new().name("hep".into()).spawn(move || delivery.run(&packets));
        started.map_err(|error| format!("no thread for [hep]: {error}"))?;
        Ok(Hep { queue, counted, server: name, capture_id: settings.capture_id, password: settings.password.as_deref().map(Arc::from) })
    }

    /// Never waits.
    pub fn put(&self, captured: &Captured<'_>) {
        let packet = packet::encode(captured, Sender { capture_id: self.capture_id, password: self.password.as_deref() });
        let length = packet.len();
        let held = self.counted.bytes.fetch_add(length, Ordering::Relaxed);
        self.counted.waiting.fetch_add(1, Ordering::Relaxed);
        if held.saturating_add(length) > WAITING_BYTES || self.queue.try_send(packet).is_err() {
            self.counted.bytes.fetch_sub(length, Ordering::Relaxed);
            self.counted.waiting.fetch_sub(1, Ordering::Relaxed);
            self.counted.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was put is sent, so long at most, and not at all for a server that is away. Blocks the thread.
    pub fn flush(&self, limit: Duration) {
        let until = Instant::now() + limit;
        // Bytes are held until a packet is sent, while one that is being sent waits no more.
        while self.counted.bytes.load(Ordering::Relaxed) > 0 && self.counted.up.load(Ordering::Relaxed) && Instant::now() < until {
            std::thread::sleep(GATHER);
        }
    }

    pub fn status(&self) -> Status {
        let Counted { sent, lost, up, waiting, .. } = &*self.counted;
        let [sent, lost, waiting] = [sent, lost, waiting].map(|count| count.load(Ordering::Relaxed));
        Status { sent, lost, up: up.load(Ordering::Relaxed), waiting }
    }

    /// Where the copies go.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The last packet that could not be sent, though others have been since. What only found the queue full is none.
    pub fn failure(&self) -> Option<Failure> {
        self.counted.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Packets may gather for so long: waking the thread for each cost more than sending it.
const GATHER: Duration = Duration::from_millis(5);

/// The thread's own.
struct Delivery {
    server: Server,
    counted: Arc<Counted>,
    pause: Duration,
    /// What the log last said: up or not. `None`: nothing yet.
    told: Option<bool>,
}

impl Delivery {
    fn run(mut self, packets: &Receiver<Vec<u8>>) {
        loop {
            let packet = match packets.try_recv() {
                Ok(packet) => packet,
                Err(TryRecvError::Disconnected) => return,
                Err(TryRecvError::Empty) => {
                    std::thread::sleep(GATHER);
                    let Ok(packet) = packets.recv() else { return };
                    packet
                }
            };
            self.counted.waiting.fetch_sub(1, Ordering::Relaxed);
            let sent = self.deliver(&packet);
            self.counted.bytes.fetch_sub(packet.len(), Ordering::Relaxed);
            if !sent {
                // Nobody is left who could put another: for what waits no pause is worth it.
                if Arc::strong_count(&self.counted) == 1 {
                    return;
                }
                std::thread::sleep(self.pause);
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
            }
        }
    }

    /// Whether it was sent: once more on a new connection where the one from before has gone meanwhile; then the packet is given up.
    fn deliver(&mut self, packet: &[u8]) -> bool {
        match self.server.send(packet).or_else(|_| self.server.send(packet)) {
            Ok(()) => {
                self.counted.sent.fetch_add(1, Ordering::Relaxed);
                self.tell(None);
                self.pause = FIRST_PAUSE;
                true
            }
            Err(why) => {
                self.counted.lost.fetch_add(1, Ordering::Relaxed);
                self.tell(Some(&why));
                false
            }
        }
    }

    /// One line for each change.
    fn tell(&mut self, failure: Option<&str>) {
        let up = failure.is_none();
        self.counted.up.store(up, Ordering::Relaxed);
        if let Some(why) = failure {
            let failure = Failure { at: SystemTime::now(), why: why.to_owned() };
            *self.counted.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
        }
        if self.told.replace(up) == Some(up) {
            return;
        }
        let server = self.server.name();
        match failure {
            None => tracing::info!(%server, "copies of SIP messages go to the HEP server"),
            Some(why) => tracing::warn!(%server, why, "the HEP server gets no copies of SIP messages; calls are not touched; see [hep] and whether it runs"),
        }
    }
}
