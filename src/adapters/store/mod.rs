//! Notices that must outlive the process: a queue on disk, in order, that survives `kill -9` and loss of power.
//!
//! One thread owns the file ([`file`]). What is put in counts as queued when it has been synced to disk, and what is settled stays settled when
//! [`Store::settle`] returns: so what is delivered and settled one after the other reaches a receiver in order, each once, and after a crash at most
//! the last one twice, under the same id. The queue is bounded: what does not fit is lost and counted, and what is oldest stays.

mod file;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

pub use file::VERSION;
use file::{File, Put};

/// Notices on their way to the thread; above it they are lost and counted.
const WAITING: usize = 4096;

/// Notices that go to disk in one transaction.
const BATCH: usize = 256;

/// What could not be written is tried again after this.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub path: PathBuf,
    /// Notices held, queued and parked together.
    pub most: u64,
}

/// One notice as it will go out, byte for byte however often it is tried.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, serde::Deserialize)]
pub struct Notice {
    /// What a receiver knows a repeat by.
    pub id: String,
    /// For whom, for operators.
    pub mailbox: String,
    /// When it happened, RFC 3339.
    pub time: String,
    pub body: String,
}

/// Its place in the queue: later ones have higher numbers, also across restarts.
pub type Number = u64;

/// What became of a notice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    Delivered,
    /// It will never be taken: put aside for an operator to see, so that those after it can go.
    Parked {
        why: String,
    },
}

/// What operators see.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize, utoipa::ToSchema)]
#[schema(as = NoticesStatus)]
pub struct Status {
    pub queued: u64,
    pub parked: u64,
    /// Since the file was made: delivered, lost because the queue was full.
    pub delivered: u64,
    pub overflowed: u64,
    /// Of this process: lost because the disk was too slow for them, and such that wait for a disk that refuses.
    pub dropped: u64,
    pub unwritten: u64,
    /// What the disk last said, while it refuses.
    pub error: Option<String>,
}

/// One that is held, for operators.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = HeldNotice)]
pub struct Held {
    pub number: Number,
    pub id: String,
    pub mailbox: String,
    pub time: String,
    /// Of a parked one.
    pub why: Option<String>,
}

/// What is held, oldest first, no more than asked for of each.
#[derive(Clone, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Listing {
    pub queued: Vec<Held>,
    pub parked: Vec<Held>,
}

impl Listing {
    pub fn into_ids(self) -> impl Iterator<Item = String> {
        self.queued.into_iter().chain(self.parked).map(|held| held.id)
    }
}

enum Order {
    Queue(Notice, oneshot::Sender<bool>),
    First(oneshot::Sender<Option<(Number, Notice)>>),
    Settle(Number, Outcome, oneshot::Sender<io::Result<()>>),
    List(usize, oneshot::Sender<Listing>),
    /// Parked ones go back to where they were in the queue.
    Unpark(oneshot::Sender<io::Result<u64>>),
    /// The last one.
    Close(oneshot::Sender<Vec<Notice>>),
}

/// Cheap to clone; the thread ends, and the file is closed, when all are gone, or at [`Store::close`].
#[derive(Clone)]
pub struct Store {
    orders: SyncSender<Order>,
    status: Arc<Mutex<Status>>,
    arrived: Arc<Notify>,
}

impl Store {
    /// Opens the file, or makes it. Errors say what to do: another process has it, it is damaged, it was written by a newer version.
    pub fn open(settings: &Settings) -> io::Result<Store> {
        let file = File::open(settings)?;
        let (orders, orders_in) = sync_channel(WAITING);
        let status = Arc::new(Mutex::new(file.status()));
        let arrived = Arc::new(Notify::new());
        let mut keeper = Keeper { file, unwritten: VecDeque::new(), status: status.clone(), arrived: arrived.clone(), closing: None };
        std::thread::Builder::new().name("store".into()).spawn(move || keeper.run(&orders_in))?;
        Ok(Store { orders, status, arrived })
    }

    /// Never blocks. The receiver hears true once it is safe on disk, false if there was no room.
    pub fn queue(&self, notice: Notice) -> oneshot::Receiver<bool> {
        let (reply, queued) = oneshot::channel();
        if let Err(TrySendError::Full(Order::Queue(_, reply)) | TrySendError::Disconnected(Order::Queue(_, reply))) =
            self.orders.try_send(Order::Queue(notice, reply))
        {
            locked(&self.status).dropped += 1;
            // Whoever queued need not wait for the answer.
            let _ = reply.send(false);
        }
        queued
    }

    /// The oldest one queued.
    pub async fn first(&self) -> Option<(Number, Notice)> {
        self.ask(Order::First).await?
    }

    /// Durable when it returns; until then the next one must not go out.
    pub async fn settle(&self, number: Number, outcome: Outcome) -> io::Result<()> {
        self.ask(|reply| Order::Settle(number, outcome, reply)).await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }

    pub async fn list(&self, most: usize) -> Listing {
        self.ask(|reply| Order::List(most, reply)).await.unwrap_or_default()
    }

    /// How many parked ones are queued again.
    pub async fn unpark(&self) -> io::Result<u64> {
        self.ask(Order::Unpark).await.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into()))
    }

    /// Writes what waits and closes the file, so that another process can open it; whoever still has a clone is refused from then on. Returns what the disk did not take.
    pub async fn close(self) -> Vec<Notice> {
        self.ask(Order::Close).await.unwrap_or_default()
    }

    pub fn status(&self) -> Status {
        locked(&self.status).clone()
    }

    /// Returns once something was queued since it was last asked.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }

    /// The thread takes no more than a disk's moment for an order; an order that finds no room waits for one.
    async fn ask<T>(&self, order: impl FnOnce(oneshot::Sender<T>) -> Order) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let mut order = order(reply);
        loop {
            match self.orders.try_send(order) {
                Ok(()) => return answer.await.ok(),
                Err(TrySendError::Full(back)) => order = back,
                Err(TrySendError::Disconnected(_)) => return None,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn locked(status: &Mutex<Status>) -> MutexGuard<'_, Status> {
    status.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The thread that owns the file.
struct Keeper {
    file: File,
    /// What a disk that refuses has not taken yet.
    unwritten: VecDeque<(Notice, oneshot::Sender<bool>)>,
    status: Arc<Mutex<Status>>,
    arrived: Arc<Notify>,
    /// Whoever waits for the file to be closed.
    closing: Option<oneshot::Sender<Vec<Notice>>>,
}

impl Keeper {
    fn run(&mut self, orders: &Receiver<Order>) {
        loop {
            let first = match self.unwritten.is_empty() {
                true => orders.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => orders.recv_timeout(AGAIN),
            };
            match first {
                Ok(order) => self.take(order, orders),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.write();
            if let Some(closed) = self.closing.take() {
                let left = self.unwritten.drain(..).map(|(notice, _)| notice).collect();
                self.file.close();
                // Whoever asked may have gone: then these are lost, as with a process that ends.
                let _ = closed.send(left);
                return;
            }
        }
        self.write();
    }

    /// Carries an order out; of several notices that wait, as many as go to disk at once.
    fn take(&mut self, order: Order, orders: &Receiver<Order>) {
        let mut next = Some(order);
        while let Some(order) = next.take() {
            match order {
                Order::Queue(notice, reply) => {
                    self.keep(notice, reply);
                    if self.unwritten.len() < BATCH {
                        next = orders.try_recv().ok();
                    }
                }
                other => {
                    self.write();
                    self.answer(other);
                }
            }
        }
    }

    fn keep(&mut self, notice: Notice, reply: oneshot::Sender<bool>) {
        if self.unwritten.len() >= WAITING {
            locked(&self.status).dropped += 1;
            let _ = reply.send(false);
            return;
        }
        self.unwritten.push_back((notice, reply));
    }

    /// Whoever asked may have gone: their answer is then for nobody.
    fn answer(&mut self, order: Order) {
        match order {
            Order::Queue(notice, reply) => self.keep(notice, reply),
            Order::First(reply) => {
                let first = self.file.first();
                self.tell(first.as_ref().err());
                let _ = reply.send(first.unwrap_or_default());
            }
            Order::Settle(number, outcome, reply) => {
                let settled = self.file.settle(number, &outcome);
                self.tell(settled.as_ref().err());
                let _ = reply.send(settled);
            }
            Order::List(most, reply) => {
                let _ = reply.send(self.file.list(most).unwrap_or_default());
            }
            Order::Unpark(reply) => {
                let unparked = self.file.unpark();
                self.tell(unparked.as_ref().err());
                self.arrived.notify_one();
                let _ = reply.send(unparked);
            }
            Order::Close(reply) => self.closing = Some(reply),
        }
    }

    /// Writes what waits, all in one transaction; what the disk refuses waits on.
    fn write(&mut self) {
        while !self.unwritten.is_empty() {
            let batch: Vec<&Notice> = self.unwritten.iter().take(BATCH).map(|(notice, _)| notice).collect();
            let count = batch.len();
            let written = self.file.queue(&batch);
            self.tell(written.as_ref().err());
            let Ok(puts) = written else { return };
            for ((_, reply), put) in self.unwritten.drain(..count).zip(puts) {
                let _ = reply.send(put == Put::Queued);
            }
            self.arrived.notify_one();
            self.tell(None);
        }
    }

    fn tell(&mut self, error: Option<&io::Error>) {
        let mut status = locked(&self.status);
        let (dropped, before) = (status.dropped, status.error.take());
        // A disk that can be read does not yet take what waits.
        let still = before.clone().filter(|_| !self.unwritten.is_empty());
        *status = Status { dropped, unwritten: self.unwritten.len() as u64, error: error.map(ToString::to_string).or(still), ..self.file.status() };
        if let (Some(error), None) = (error, before) {
            tracing::error!(%error, waiting = self.unwritten.len(), "missed calls cannot be written to disk, they wait in memory and are tried every second: see to the disk of [missed_calls] store");
        }
    }
}

#[cfg(test)]
mod tests;
