//! One stream connection from its first byte to its last (RFC 3261 §18.3, §18.4; RFC 5626 §3.5.1). Reading and writing go on at the same time, so
//! two ends that both write a lot cannot block each other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::NetEvent;
use super::counts::count;
use super::doors::{self, Part};
use super::listeners::Stage;
use super::outbox::{Outbox, Outgoing};
use super::shared::{Life, Shared};
use super::standing::{GLANCE, Party, refusal, told};
use super::under_way::{is_ending, is_request};
use crate::policy::flow::TlsRefusal;
use crate::signaling::event::TransportError;
use crate::sip::{Frame, Framer};

const READ: usize = 4 * 1024;
/// Messages waiting together go out in one write of up to so many bytes.
const COALESCED: usize = 32 * 1024;
/// For the answer to a message that could not be read, and for saying goodbye.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// For what is under way on a connection that does not wait for a pause any more.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// On a connection that we have closed, what its other end sent before it knew is read for so long, or until it closes too.
const LAST_HEARD: Duration = Duration::from_secs(2);

/// On a connection that is to be closed, nothing must have crossed for so long: the less, the sooner a busy one has its pause.
const QUIET: Duration = Duration::from_millis(20);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    Inbound,
    Outbound,
}

/// What is done with it when connections part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Parting {
    /// It can go to another process as it stands.
    Moves,
    Closes,
}

/// How it came to its end here.
pub enum Ended<S> {
    Over(TransportError),
    /// All that was to be sent is, and the outbox takes no more. `rest`: read, and no whole message yet.
    AtRest {
        stream: S,
        rest: Bytes,
    },
}

enum Stop {
    Over(TransportError),
    /// Between two messages, or two octets of one that is read.
    AtRest,
}

struct Connection<'a> {
    shared: &'a Shared,
    party: &'a Party,
    outbox: &'a Outbox,
    /// Of its listener.
    stage: watch::Receiver<Stage>,
    opened: Instant,
    /// When something was last received or sent, in milliseconds after `opened`.
    active: AtomicU64,
    parting: Parting,
    /// Nothing more is to be written than what waits.
    rests: AtomicBool,
    to_rest: Notify,
}

/// Carries messages until the connection ends here; says how it did. What the outbox still holds then is the caller's to report. `first`: read by whoever had it before.
pub async fn carry<S: AsyncRead + AsyncWrite + Unpin>(shared: &Shared, stream: S, party: &Party, outbox: &Outbox, first: &[u8], parting: Parting) -> Ended<S> {
    let (rests, to_rest) = (AtomicBool::new(false), Notify::new());
    let stage = shared.stage_of(party.flow.listener);
    let connection = Connection { shared, party, outbox, stage, opened: Instant::now(), active: AtomicU64::new(0), parting, rests, to_rest };
    let mut framer = Framer::new(shared.limits.message);
    framer.push(first);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let error = {
        let (reading, writing) = (connection.read(&mut reader, &mut framer), connection.write(&mut writer));
        let (over, wound_up, parted) = (shared.reached(Life::Over), connection.wind_up(), connection.part());
        let unused = connection.unused();
        tokio::pin!(reading, writing, over, wound_up, parted, unused);
        loop {
            let rests = connection.rests.load(Ordering::Relaxed);
            tokio::select! {
                stop = &mut reading, if !rests || parting == Parting::Closes => match stop {
                    Stop::Over(error) => break Some(error),
                    Stop::AtRest => connection.rest(),
                },
                stop = &mut writing => match (stop, parting) {
                    (Stop::Over(error), _) => break Some(error),
                    (Stop::AtRest, Parting::Moves) => break None,
                    (Stop::AtRest, Parting::Closes) => {
                        let _ = timeout(LAST_HEARD, &mut reading).await;
                        break Some(TransportError::Closed);
                    }
                },
                () = &mut over => break Some(TransportError::Closed),
                () = &mut wound_up => break Some(TransportError::Closed),
                () = &mut unused => break Some(TransportError::Closed),
                () = &mut parted, if !rests => connection.rest(),
            }
        }
    };
    if error.is_none() && !party.is_leaving() {
        return Ended::AtRest { stream: reader.unsplit(writer), rest: framer.into_rest() };
    }
    let _ = timeout(LAST_WORDS, writer.shutdown()).await;
    if party.is_leaving() {
        let _ = shared.events.send(NetEvent::Parted { party: told(party) }).await;
    }
    Ended::Over(error.unwrap_or(TransportError::Closed))
}

impl Connection<'_> {
    /// From here on what waits is written, and nothing else.
    fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
        self.to_rest.notify_one();
    }

    async fn read(&self, reader: &mut (impl AsyncRead + Unpin), framer: &mut Framer) -> Stop {
        let limits = &self.shared.limits;
        let mut buffer = vec![0; READ];
        if let Err(error) = self.frames(framer).await {
            return Stop::Over(error);
        }
        let mut partial_since = framer.is_partial().then(Instant::now);
        let moving = self.parts();
        tokio::pin!(moving);
        let clock = sleep_until(self.opened + limits.idle);
        tokio::pin!(clock);
        loop {
            let deadline = match partial_since {
                Some(since) => since + limits.partial_message,
                None => self.at(&self.active) + limits.idle,
            };
            // The clock is set back only when it would ring too late: most reads leave it alone.
            if deadline < clock.deadline() {
                clock.as_mut().reset(deadline);
            }
            let length = tokio::select! {
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return Stop::Over(TransportError::Closed),
                    Ok(length) => length,
                    Err(error) => return Stop::Over(fault(&error)),
                },
                () = &mut clock => {
                    let now = Instant::now();
                    if now < deadline {
                        clock.as_mut().reset(deadline);
                        continue;
                    }
                    if partial_since.is_some() {
                        count(&self.shared.counters.partial_messages);
                    }
                    return Stop::Over(TransportError::Closed);
                }
                () = &mut moving, if self.parting == Parting::Moves => return Stop::AtRest,
            };
            self.note(&self.active);
            self.outbox.heard();
            framer.push(buffer.get(..length).unwrap_or_default());
            match self.frames(framer).await {
                Ok(took_message) if took_message || !framer.is_partial() => partial_since = framer.is_partial().then(Instant::now),
                Ok(_) => partial_since = partial_since.or_else(|| Some(Instant::now())),
                Err(error) => return Stop::Over(error),
            }
        }
    }

    /// Passes on every whole message. `Ok(true)`: there was at least one.
    async fn frames(&self, framer: &mut Framer) -> Result<bool, TransportError> {
        let mut took_message = false;
        loop {
            match framer.next() {
                Ok(Some(Frame::Message(bytes))) => {
                    took_message = true;
                    count(&self.shared.counters.messages_received);
                    self.party.under_way.received(&bytes);
                    self.party.spoke();
                    self.take(bytes).await?;
                }
                Ok(Some(Frame::Ping)) => {
                    count(&self.shared.counters.keep_alives);
                    // No answer is how a flow is said to have failed (RFC 5626 §4.4.1): a connection that is leaving shall be left.
                    if !self.party.is_leaving() {
                        let _ = self.outbox.push(Outgoing { id: None, bytes: Bytes::from_static(b"\r\n") });
                    }
                }
                Ok(Some(Frame::Pong)) => count(&self.shared.counters.keep_alives),
                Ok(None) => return Ok(took_message),
                Err(broken) => {
                    count(&self.shared.counters.broken_streams);
                    // What was read of it goes on to be answered (400, 413, 513) if it can be; then the stream has no more sense.
                    if !broken.head.is_empty() {
                        self.pass(broken.head).await?;
                        tokio::time::sleep(LAST_WORDS).await;
                    }
                    return Err(TransportError::Closed);
                }
            }
        }
    }

    async fn pass(&self, bytes: Bytes) -> Result<(), TransportError> {
        let event = NetEvent::Received { flow: Arc::clone(&self.party.flow), bytes };
        self.shared.events.send(event).await.map_err(|_| TransportError::Closed)
    }

    /// On a connection that is leaving only what ends things goes on.
    async fn take(&self, bytes: Bytes) -> Result<(), TransportError> {
        if !self.party.is_leaving() || !is_request(&bytes) || is_ending(&bytes) {
            return self.pass(bytes).await;
        }
        count(&self.shared.counters.requests_while_leaving);
        if let Some(bytes) = refusal(bytes, &self.party.flow, &self.shared.limits.message) {
            let _ = self.outbox.push(Outgoing { id: None, bytes });
        }
        Ok(())
    }

    /// Resolves when the other end is no longer trusted and what was under way has come to its end, or to its limit.
    async fn wind_up(&self) {
        self.party.leaving().await;
        let limit = Instant::now() + self.shared.limits.leave;
        while Instant::now() < limit {
            if self.party.is_quiet(self.shared.limits.leave_quiet) {
                return;
            }
            sleep_until(limit.min(Instant::now() + GLANCE)).await;
        }
    }

    /// Resolves when all connections part, but for those of a listener that was taken out: another process has it not.
    async fn parts(&self) {
        doors::until(&self.shared.gates, &self.stage, |gates, stage| gates.part != Part::No && stage == Stage::Open).await;
    }

    /// Resolves when nothing uses its listener any more, which was taken out, and what was said last has gone out.
    async fn unused(&self) {
        doors::until(&self.shared.gates, &self.stage, |_, stage| stage == Stage::Over).await;
        let limit = Instant::now() + LAST_ANSWERS;
        while Instant::now() < limit && !self.party.is_quiet(QUIET) {
            sleep(QUIET / 2).await;
        }
    }

    /// Resolves when all connections are to be closed, and nothing is under way on this one, or it has had its time.
    async fn part(&self) {
        let gates = &self.shared.gates;
        match self.parting {
            Parting::Closes => self.parts().await,
            // Its reader knows when.
            Parting::Moves => std::future::pending().await,
        }
        let mut limit = None;
        while !self.party.is_quiet(QUIET) {
            if gates.borrow().part == Part::Now {
                let limit = *limit.get_or_insert_with(|| Instant::now() + LAST_ANSWERS);
                if self.party.under_way.nothing() || Instant::now() >= limit {
                    return;
                }
            }
            sleep(QUIET / 2).await;
        }
    }

    async fn write(&self, writer: &mut (impl AsyncWrite + Unpin)) -> Stop {
        let mut batch: Vec<Bytes> = Vec::new();
        let mut together = Vec::new();
        loop {
            while self.outbox.take(&mut batch, COALESCED) {
                let bytes: &[u8] = match batch.as_slice() {
                    [only] => only,
                    several => {
                        together.clear();
                        several.iter().for_each(|bytes| together.extend_from_slice(bytes));
                        &together
                    }
                };
                let writing = async {
                    writer.write_all(bytes).await?;
                    writer.flush().await
                };
                match timeout(self.shared.limits.write, writing).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Stop::Over(fault(&error)),
                    Err(_) => return Stop::Over(TransportError::TimedOut),
                }
                for message in batch.iter().filter(|message| message.len() > 2) {
                    self.party.under_way.sent(message);
                    self.party.spoke();
                }
                self.outbox.written();
                self.note(&self.active);
                self.shared.counters.messages_sent.fetch_add(batch.len() as u64, Ordering::Relaxed);
                batch.clear();
            }
            // An idle connection holds no buffer.
            together = Vec::new();
            if *self.shared.life.borrow() >= Life::Closing {
                return Stop::Over(TransportError::Closed);
            }
            if self.rests.load(Ordering::Relaxed) && self.outbox.end_if_empty() {
                if self.parting == Parting::Closes {
                    let _ = timeout(LAST_WORDS, writer.shutdown()).await;
                }
                return Stop::AtRest;
            }
            tokio::select! {
                () = self.outbox.filled() => {}
                () = self.to_rest.notified() => {}
                () = self.shared.reached(Life::Closing) => {}
            }
        }
    }

    fn note(&self, moment: &AtomicU64) {
        moment.store(self.opened.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    fn at(&self, moment: &AtomicU64) -> Instant {
        self.opened + Duration::from_millis(moment.load(Ordering::Relaxed))
    }
}

/// What an I/O error means to the signalling plane. TLS's own travel inside them.
pub fn fault(error: &io::Error) -> TransportError {
    let refusal = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsRefusal>());
    match (refusal, error.kind()) {
        (Some(refusal), _) => refusal.clone().into(),
        (None, io::ErrorKind::ConnectionRefused | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable) => TransportError::Refused,
        (None, io::ErrorKind::TimedOut) => TransportError::TimedOut,
        (None, io::ErrorKind::AddrNotAvailable | io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => TransportError::Socket,
        (None, _) => TransportError::Closed,
    }
}
