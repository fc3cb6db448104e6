//! How a worker's sockets are waited for, read and written: by epoll with a call for each datagram or burst, or by io_uring with one for all.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::time::Time;

use super::path::{Io, Probe, Way};
use super::sockets::{Place, Sockets};
use super::streams::Streams;
use super::system::{Batch, Epoll, Ready};
use super::uring::{self, Ring};

/// Sockets served in one wake.
const READY: usize = 256;

/// Sockets ready in one wake from which on waiting for more gains nothing.
const ENOUGH: usize = 16;

/// Which of the two the settings ask for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum IoChoice {
    /// io_uring where it works, otherwise epoll.
    #[default]
    Auto,
    Epoll,
    IoUring,
}

/// The sockets of one worker.
pub(super) enum SocketIo {
    Epoll(Polled),
    Ring(Box<Ring>),
}

impl SocketIo {
    pub(super) fn new(io: Io, batch: usize) -> io::Result<SocketIo> {
        match io {
            Io::Epoll => Ok(SocketIo::Epoll(Polled { epoll: Epoll::new()?, ready: Ready::new(READY), batch: Batch::new(batch), limit: batch, count: 0 })),
            Io::IoUring => Ring::new().map(Box::new).map(SocketIo::Ring),
        }
    }

    pub(super) fn io(&self) -> Io {
        match self {
            SocketIo::Epoll(_) => Io::Epoll,
            SocketIo::Ring(_) => Io::IoUring,
        }
    }

    /// A descriptor that is not a stream's: `token` comes up while it is readable, if after each time [`SocketIo::again`] is called.
    pub(super) fn watch(&mut self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        match self {
            SocketIo::Epoll(polled) => polled.epoll.add(fd, token),
            SocketIo::Ring(ring) => {
                ring.watch(fd, token);
                Ok(())
            }
        }
    }

    pub(super) fn again(&mut self, token: u64) {
        if let SocketIo::Ring(ring) = self {
            ring.again(token);
        }
    }

    /// Listens to a stream's sockets.
    pub(super) fn admit(&mut self, slot: usize, sockets: &Sockets) -> io::Result<()> {
        match self {
            SocketIo::Epoll(polled) => Place::ALL.into_iter().try_for_each(|place| polled.epoll.add(sockets.at(place), (slot as u64) << 2 | place.bits())),
            SocketIo::Ring(ring) => {
                ring.admit(slot, sockets);
                Ok(())
            }
        }
    }

    /// Before a stream's sockets are closed.
    pub(super) fn forget(&mut self, slot: usize) {
        if let SocketIo::Ring(ring) = self {
            ring.forget(slot);
        }
    }

    /// Waits for at most `timeout_ms` (-1: for ever). `last`: how many were ready last time; `gather`: how long to wait for more than one.
    pub(super) fn wait(&mut self, timeout_ms: i32, last: usize, gather: Option<Duration>) -> io::Result<usize> {
        let gather = gather.filter(|_| (1..ENOUGH).contains(&last));
        match self {
            SocketIo::Epoll(polled) => {
                if let Some(gather) = gather.filter(|_| timeout_ms != 0) {
                    std::thread::sleep(gather);
                }
                polled.count = polled.epoll.wait(&mut polled.ready, timeout_ms)?;
                Ok(polled.count)
            }
            SocketIo::Ring(ring) => ring.wait(timeout_ms, gather.map(|gather| (ENOUGH, gather))),
        }
    }

    /// What the `i`th of the last wait is of. `None`: there were no more.
    pub(super) fn token(&self, i: usize) -> Option<u64> {
        match self {
            SocketIo::Epoll(polled) => polled.ready.token(i).filter(|_| i < polled.count),
            SocketIo::Ring(ring) => ring.token(i),
        }
    }

    /// Whose it is, if it is a stream's.
    pub(super) fn slot(&self, i: usize) -> usize {
        self.token(i).map_or(usize::MAX, uring::slot)
    }

    /// The turn of the `i`th of the last wait, a stream's.
    pub(super) fn serve(&mut self, now: Time, i: usize, streams: &mut Streams) {
        match self {
            SocketIo::Epoll(polled) => polled.serve(now, i, streams),
            SocketIo::Ring(ring) => ring.serve(now, i, streams),
        }
    }
}

/// By epoll, and one bounded turn for each socket that is ready.
pub(super) struct Polled {
    epoll: Epoll,
    ready: Ready,
    batch: Batch,
    limit: usize,
    /// How many were ready at the last wait.
    count: usize,
}

impl Polled {
    fn serve(&mut self, now: Time, i: usize, streams: &mut Streams) {
        let Some(token) = self.ready.token(i) else { return };
        let (slot, place) = ((token >> 2) as usize, Place::from_token(token));
        if self.ready.is_failed(i) {
            streams.failed(now, slot, place);
        }
        let Some(open) = streams.at(slot) else { return };
        let limit = open.expect(now, place, self.limit);
        let count = match self.batch.receive(open.sockets.at(place), limit) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => return streams.failed(now, slot, place),
        };
        let mut out = None;
        for i in 0..count {
            let Some(datagram) = self.batch.datagram(i) else { continue };
            if datagram.oversized {
                streams.oversized(slot, place);
                continue;
            }
            let Some(from) = datagram.from else { continue };
            let Some(departure) = streams.packet(now, slot, place, from, datagram.buffer, datagram.len) else { continue };
            // All of one turn leave by one socket; what answers to where it came from begins another.
            if let Some(before) = out.replace(departure.from).filter(|before| *before != departure.from) {
                self.flush(slot, before, streams);
            }
            self.batch.stage(i, departure.len, departure.to);
        }
        if let Some(place) = out {
            self.flush(slot, place, streams);
        }
    }

    /// Sends what is staged out of `place`'s socket.
    fn flush(&mut self, slot: usize, place: Place, streams: &mut Streams) {
        let Some(open) = streams.at(slot) else { return };
        let flushed = self.batch.flush(open.sockets.at(place));
        streams.counters.forwarded += (flushed.sent + flushed.failed) as u64;
        if flushed.failed > 0 {
            streams.send_failed(slot, place, flushed.failed as u64);
        }
    }
}

/// Which one is used here, and what there is to say of both. `Auto` is io_uring where all of it works: in runs of benches/relay in turn with epoll it
/// took less CPU per packet in each pair, plain and SRTP, by a twentieth and more.
pub(super) fn choose(choice: IoChoice) -> (Io, [Probe; 2]) {
    let (io, epoll, ring) = match choice {
        IoChoice::Epoll => (Io::Epoll, Ok("as [media] io asks".to_owned()), Err("not tried: [media] io = \"epoll\"".to_owned())),
        IoChoice::Auto | IoChoice::IoUring => match uring::probe() {
            Ok(found) => (Io::IoUring, Err("io_uring takes less CPU, and works here".to_owned()), Ok(found)),
            Err(why) => (Io::Epoll, Ok("io_uring cannot be had here, epoll can everywhere".to_owned()), Err(why)),
        },
    };
    let probe = |io, outcome| Probe { way: Way::Sockets(io), outcome };
    (io, [probe(Io::Epoll, epoll), probe(Io::IoUring, ring)])
}
