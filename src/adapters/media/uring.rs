//! The sockets by io_uring (io_uring(7)): one call per wake for all packets of all sockets. Each socket has one multishot `recvmsg` under way,
//! which takes its datagrams into cells of one provided ring of buffers; a datagram is rewritten in its cell, sent from there, and the cell offered
//! again once the kernel has taken the send.
//!
//! Sends carry MSG_DONTWAIT: the kernel carries such a request out, or fails it, while it takes it from the queue, and never keeps it for later. So
//! when the call that submits returns with the queue empty, every cell that was being sent from is ours again, and a send that went well needs no
//! completion.
//!
//! `unsafe` here rests on three things: the cells, the provided ring and the receive's header are boxes of this value, which give their
//! memory back only after the io_uring has been closed (they stand behind it in [`Ring`]); a cell's memory is written by the kernel only between
//! `offer` and the completion that names it, and read or written by us only between that completion and the next `offer`; every descriptor in a
//! request is of a socket that is open when the request is submitted, or the kernel answers EBADF.

use std::alloc::{self, Layout};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::types::{BufRingEntry, CancelBuilder, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};

use crate::time::Time;

use super::sockets::{Place, Sockets};
use super::streams::Streams;
use super::system::{Address, RECEIVE, SLOT};

/// Cells of one worker, a power of two: what may be under way in one wake. More would leave the processor's cache between two uses of one.
const CELLS: u16 = 256;

/// Before the datagram in its cell: the kernel's `io_uring_recvmsg_out` (four words) and the room asked for the sender's address.
const HEAD: usize = 16 + NAME;
const NAME: usize = 32;

/// One cell: head, datagram, room behind it; whole cache lines.
const CELL: usize = (HEAD + SLOT).next_multiple_of(64);

/// The group of buffers, of which a ring has one.
const GROUP: u16 = 0;

/// Completions taken in one wake.
const DONE: usize = 512;

/// Marks of what a completion is of, above any slot and place: a send, and a request to cancel a receive.
const SEND: u64 = 1 << 62;
const CANCEL: u64 = 1 << 61;

/// Waits of one cancellation: each ends as soon as something completes, so this is reached only by a kernel that does not answer.
const CANCEL_WAITS: usize = 1000;

#[derive(Clone, Copy)]
struct Done {
    token: u64,
    result: i32,
    flags: u32,
}

/// What is under way for the stream of one slot.
#[derive(Clone, Copy, Default)]
struct Receives {
    /// One bit for each [`Place`] with a receive under way.
    armed: u8,
    /// Receives that end are not begun again.
    closing: bool,
}

pub(super) struct Ring {
    // First: it is closed before the memory below is given back.
    uring: IoUring,
    offers: Offers,
    cells: Box<[[u8; CELL]]>,
    /// Where each cell's datagram goes; the kernel copies it as it takes the send.
    to: Box<[Address]>,
    /// What multishot receives are told of the address's room; read while a receive is begun.
    header: Box<libc::msghdr>,
    /// Cells being sent from by requests the kernel has not been shown yet.
    lent: Vec<u16>,
    done: Vec<Done>,
    /// How many of them had their turn.
    served: usize,
    /// By slot.
    receives: Vec<Receives>,
    watched: Vec<(u64, RawFd)>,
    /// The kernel itself waits for several completions, but not long (6.12).
    gathers: bool,
}

impl Ring {
    /// To be made on the thread that uses it: the kernel binds it to that one, and interrupts the waits of the one that made it when it is closed.
    pub(super) fn new() -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all().setup_clamp().setup_cqsize(4096);
        let uring = builder.build(1024)?;
        let parameters = uring.params();
        if !parameters.is_feature_ext_arg() || !parameters.is_feature_nodrop() || !parameters.is_feature_skip_cqe_on_success() {
            return Err(io::Error::from_raw_os_error(libc::ENOSYS));
        }
        let gathers = parameters.is_feature_min_timeout();
        let offers = Offers::new()?;
        // SAFETY: `offers` is page-aligned memory for `CELLS` entries, owned by the same value as the io_uring and given back after it.
        unsafe { uring.submitter().register_buf_ring_with_flags(offers.base.as_ptr() as u64, CELLS, GROUP, 0)? };
        // SAFETY: the structure is integers and pointers, for which zero is a value.
        let mut header: Box<libc::msghdr> = Box::new(unsafe { std::mem::zeroed() });
        header.msg_namelen = NAME as libc::socklen_t;
        let mut ring = Ring {
            uring,
            offers,
            cells: vec![[0; CELL]; usize::from(CELLS)].into_boxed_slice(),
            to: vec![Address::unset(); usize::from(CELLS)].into_boxed_slice(),
            header,
            lent: Vec::with_capacity(usize::from(CELLS)),
            done: Vec::with_capacity(DONE),
            served: 0,
            receives: Vec::new(),
            watched: Vec::new(),
            gathers,
        };
        for cell in 0..CELLS {
            ring.offer(cell);
        }
        Ok(ring)
    }

    /// `token` completes once `fd` is readable; to be asked for again by [`Ring::again`].
    pub(super) fn watch(&mut self, fd: BorrowedFd<'_>, token: u64) {
        self.watched.push((token, fd.as_raw_fd()));
        self.again(token);
    }

    pub(super) fn again(&mut self, token: u64) {
        if let Some((token, fd)) = self.watched.iter().find(|(watched, _)| *watched == token).copied() {
            self.push(opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).build().user_data(token));
        }
    }

    /// Begins to receive on the four sockets of the stream in `slot`.
    pub(super) fn admit(&mut self, slot: usize, sockets: &Sockets) {
        if self.receives.len() <= slot {
            self.receives.resize(slot + 1, Receives::default());
        }
        self.receives[slot] = Receives::default();
        for place in Place::ALL {
            self.arm(slot, place, sockets);
        }
    }

    fn arm(&mut self, slot: usize, place: Place, sockets: &Sockets) {
        let receive = opcode::RecvMsgMulti::new(Fd(sockets.at(place).as_raw_fd()), &raw const *self.header, GROUP).flags(libc::MSG_TRUNC as u32);
        self.push(receive.build().user_data((slot as u64) << 2 | place.bits()));
        if let Some(receives) = self.receives.get_mut(slot) {
            receives.armed |= 1 << place.index();
        }
    }

    /// Ends what is under way on the sockets in `slot`, which are then nobody's but ours and may be closed. Other completions that come meanwhile
    /// stand behind those of the last wait and have their turn with them.
    pub(super) fn forget(&mut self, slot: usize) {
        let Some(receives) = self.receives.get_mut(slot) else { return };
        receives.closing = true;
        let armed = receives.armed;
        for place in Place::ALL.into_iter().filter(|place| armed & 1 << place.index() != 0) {
            let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data((slot as u64) << 2 | place.bits()));
            self.push(cancel.build().user_data(CANCEL).flags(Flags::SKIP_SUCCESS));
        }
        for _ in 0..CANCEL_WAITS {
            for i in self.served..self.done.len() {
                let Some(done) = self.done.get_mut(i).filter(|done| done.token >> 2 == slot as u64) else { continue };
                let Done { token, flags, .. } = std::mem::replace(done, Done { token: CANCEL, result: 0, flags: 0 });
                if let Some(cell) = cqueue::buffer_select(flags) {
                    self.offer(cell);
                }
                if !cqueue::more(flags) {
                    self.disarmed(slot, Place::from_token(token));
                }
            }
            if self.receives.get(slot).is_none_or(|receives| receives.armed == 0) || self.enter(1, None).is_err() {
                return;
            }
            self.take(usize::MAX);
        }
    }

    /// Shows the kernel what is queued and waits for at most `timeout_ms` (-1: for ever) for something to complete; with `gather`, so long for more
    /// than one. Says how many completions there are.
    pub(super) fn wait(&mut self, timeout_ms: i32, gather: Option<(usize, Duration)>) -> io::Result<usize> {
        self.enter(timeout_ms, gather)?;
        self.done.clear();
        self.served = 0;
        self.take(DONE);
        Ok(self.done.len())
    }

    fn enter(&mut self, timeout_ms: i32, gather: Option<(usize, Duration)>) -> io::Result<()> {
        self.offers.publish();
        let patience = Timespec::from(Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0)));
        let mut arguments = SubmitArgs::new();
        if timeout_ms >= 0 {
            arguments = arguments.timespec(&patience);
        }
        let mut want = usize::from(timeout_ms != 0);
        match gather.filter(|_| want > 0) {
            Some((enough, within)) if self.gathers => {
                arguments = arguments.min_wait_usec(u32::try_from(within.as_micros()).unwrap_or(u32::MAX));
                want = enough;
            }
            Some((_, within)) => std::thread::sleep(within),
            None => {}
        }
        match self.uring.submitter().submit_with_args(want, &arguments) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN)) => return Err(error),
            _ => {}
        }
        if self.uring.submission().is_empty() {
            while let Some(cell) = self.lent.pop() {
                self.offer(cell);
            }
        }
        Ok(())
    }

    fn take(&mut self, most: usize) {
        let completions = self.uring.completion().take(most);
        self.done.extend(completions.map(|entry| Done { token: entry.user_data(), result: entry.result(), flags: entry.flags() }));
    }

    /// What the `i`th completion of the last wait is of.
    pub(super) fn token(&self, i: usize) -> Option<u64> {
        self.done.get(i).map(|done| done.token)
    }

    /// Carries the `i`th completion of the last wait.
    pub(super) fn serve(&mut self, now: Time, i: usize, streams: &mut Streams) {
        let Some(&Done { token, result, flags }) = self.done.get(i) else { return };
        self.served = i + 1;
        let (slot, place) = (slot(token), Place::from_token(token));
        if token & CANCEL != 0 {
            return;
        }
        if token & SEND != 0 {
            // Only failures are told of.
            streams.send_failed(slot, place, 1);
            streams.failed(now, slot, place);
            return;
        }
        if let Some(cell) = cqueue::buffer_select(flags) {
            if result >= 0 && streams.at(slot).is_some() {
                self.packet(now, (slot, place), cell, streams);
            } else {
                self.offer(cell);
            }
        } else if result < 0 && !matches!(-result, libc::ENOBUFS | libc::ECANCELED) {
            streams.failed(now, slot, place);
        }
        if !cqueue::more(flags) {
            self.ended(slot, place, streams);
        }
    }

    /// A receive has ended: by cancellation, an error of the socket, or for want of cells. The next one takes its place.
    fn ended(&mut self, slot: usize, place: Place, streams: &mut Streams) {
        if !self.disarmed(slot, place)
            && let Some(open) = streams.at(slot)
        {
            self.arm(slot, place, &open.sockets);
        }
    }

    /// Notes that a receive has ended. Whether its socket is about to be closed.
    fn disarmed(&mut self, slot: usize, place: Place) -> bool {
        let Some(receives) = self.receives.get_mut(slot) else { return true };
        receives.armed &= !(1 << place.index());
        receives.closing
    }

    /// The datagram in `cell`.
    fn packet(&mut self, now: Time, (slot, place): (usize, Place), cell: u16, streams: &mut Streams) {
        let Some(bytes) = self.cells.get_mut(usize::from(cell)) else { return };
        let (head, buffer) = bytes.split_at_mut(HEAD);
        let (from, len) = (sender(head), word(head, 8));
        let departure = match from {
            _ if len > RECEIVE => {
                streams.oversized(slot, place);
                None
            }
            Some(from) => streams.packet(now, slot, place, from, buffer, len),
            None => None,
        };
        let Some((departure, open)) = departure.and_then(|departure| Some((departure, streams.at(slot)?))) else { return self.offer(cell) };
        let Some((bytes, to)) = buffer.get(..departure.len).zip(self.to.get_mut(usize::from(cell))) else { return self.offer(cell) };
        let length = to.write(departure.to);
        let send = opcode::Send::new(Fd(open.sockets.at(departure.from).as_raw_fd()), bytes.as_ptr(), bytes.len() as u32)
            .flags(libc::MSG_DONTWAIT)
            .dest_addr(std::ptr::from_ref(to).cast())
            .dest_addr_len(length);
        self.push(send.build().user_data(SEND | (slot as u64) << 2 | departure.from.bits()).flags(Flags::SKIP_SUCCESS));
        self.lent.push(cell);
        streams.counters.forwarded += 1;
    }

    /// Queues a request; the kernel is shown it by the next wait, or now if the queue is full.
    fn push(&mut self, entry: Entry) {
        // SAFETY: what the request points to (the header, a cell, an address) is owned by `self` and stays as it is until the kernel has taken the
        // request (`lent`) or, for a receive's cells, says that it is done with them.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            if self.uring.submit().is_err() {
                return;
            }
        }
    }

    /// Gives a cell to the kernel to receive into.
    fn offer(&mut self, cell: u16) {
        if let Some(bytes) = self.cells.get_mut(usize::from(cell)) {
            self.offers.add(bytes.as_mut_ptr() as u64, (HEAD + RECEIVE) as u32, cell);
        }
    }
}

/// The provided ring: the cells the kernel may receive into (io_uring_register_buf_ring(3)).
struct Offers {
    base: NonNull<BufRingEntry>,
    tail: u16,
}

impl Offers {
    fn layout() -> io::Result<Layout> {
        Layout::array::<BufRingEntry>(usize::from(CELLS)).and_then(|layout| layout.align_to(4096)).map_err(io::Error::other)
    }

    fn new() -> io::Result<Offers> {
        // SAFETY: the layout is not empty; zero is a value of each entry, which is integers.
        let base = NonNull::new(unsafe { alloc::alloc_zeroed(Offers::layout()?) }).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Offers { base: base.cast(), tail: 0 })
    }

    fn add(&mut self, address: u64, len: u32, cell: u16) {
        let at = usize::from(self.tail & (CELLS - 1));
        // SAFETY: `at` is below `CELLS`, the number of entries behind `base`. The kernel reads an entry only after `publish` has moved the tail over
        // it, and there are never more than `CELLS` cells, so this entry has been read.
        let entry = unsafe { &mut *self.base.as_ptr().add(at) };
        entry.set_addr(address);
        entry.set_len(len);
        entry.set_bid(cell);
        self.tail = self.tail.wrapping_add(1);
    }

    fn publish(&mut self) {
        // SAFETY: the tail lies in the first entry, aligned as a u16, and is shared with the kernel, hence atomic.
        let tail = unsafe { &*BufRingEntry::tail(self.base.as_ptr()).cast::<AtomicU16>() };
        tail.store(self.tail, Ordering::Release);
    }
}

impl Drop for Offers {
    fn drop(&mut self) {
        if let Ok(layout) = Offers::layout() {
            // SAFETY: allocated in `new` with this layout; the io_uring that knew it is closed.
            unsafe { alloc::dealloc(self.base.as_ptr().cast(), layout) };
        }
    }
}

/// The slot of the stream a completion is of; one that does not exist for others.
pub(super) fn slot(token: u64) -> usize {
    ((token & !(SEND | CANCEL)) >> 2) as usize
}

/// A word of `io_uring_recvmsg_out`: 0 the address's length, 8 the datagram's own length.
fn word(head: &[u8], at: usize) -> usize {
    head.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, |bytes| u32::from_ne_bytes(bytes) as usize)
}

/// The sender's address, behind the four words.
fn sender(head: &[u8]) -> Option<SocketAddr> {
    let name: &[u8; NAME] = head.get(16..)?.try_into().ok()?;
    let port = u16::from_be_bytes([name[2], name[3]]);
    match i32::from(u16::from_ne_bytes([name[0], name[1]])) {
        libc::AF_INET => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(name[4], name[5], name[6], name[7])), port)),
        libc::AF_INET6 => {
            let ip: [u8; 16] = name[8..24].try_into().ok()?;
            let scope = u32::from_ne_bytes(name[24..28].try_into().ok()?);
            Some(SocketAddr::V6(std::net::SocketAddrV6::new(ip.into(), port, 0, scope)))
        }
        _ => None,
    }
}

/// Whether this kernel does all of it: a datagram is received into a cell and sent back from there. The answer is for the operator.
pub(super) fn probe() -> Result<String, String> {
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EPERM) => "forbidden here (kernel.io_uring_disabled, or the container's seccomp profile)".to_owned(),
        Some(libc::ENOSYS | libc::EINVAL) => "this kernel cannot (it takes Linux 6.1 or later)".to_owned(),
        _ => format!("cannot be set up: {error}"),
    };
    let attempt = || -> io::Result<bool> {
        let mut ring = Ring::new()?;
        let (ours, theirs) = (UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?, UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?);
        theirs.set_read_timeout(Some(Duration::from_millis(200)))?;
        let receive = opcode::RecvMsgMulti::new(Fd(ours.as_fd().as_raw_fd()), &raw const *ring.header, GROUP);
        ring.push(receive.build().user_data(0));
        ring.wait(0, None)?;
        theirs.send_to(b"probe", ours.local_addr()?)?;
        ring.wait(200, None)?;
        let Some(Done { result: 0.., flags, .. }) = ring.done.first().copied() else { return Ok(false) };
        let Some(cell) = cqueue::buffer_select(flags).map(usize::from).filter(|_| cqueue::more(flags)) else { return Ok(false) };
        let (Some(bytes), Some(to)) = (ring.cells.get(cell), ring.to.get_mut(cell)) else { return Ok(false) };
        let Some(from) = sender(&bytes[..HEAD]) else { return Ok(false) };
        let (length, len) = (to.write(from), word(bytes, 8).min(RECEIVE) as u32);
        let send = opcode::Send::new(Fd(ours.as_fd().as_raw_fd()), bytes[HEAD..].as_ptr(), len).flags(libc::MSG_DONTWAIT);
        let entry = send.dest_addr(std::ptr::from_ref(to).cast()).dest_addr_len(length).build().user_data(SEND).flags(Flags::SKIP_SUCCESS);
        ring.push(entry);
        ring.wait(0, None)?;
        let mut echo = [0; 16];
        Ok(theirs.recv(&mut echo).is_ok_and(|len| &echo[..len] == b"probe"))
    };
    let tried = std::thread::Builder::new().name("io_uring-probe".to_owned()).spawn(attempt);
    match tried.and_then(|thread| thread.join().unwrap_or_else(|_| Err(io::Error::other("the attempt panicked")))) {
        Ok(true) => Ok("one call per wake, buffers of our own".to_owned()),
        Ok(false) => Err("this kernel does not receive and send as it should (it takes Linux 6.1 or later)".to_owned()),
        Err(error) => Err(refused(error)),
    }
}
