//! The sockets by io_uring (io_uring(7)): one call per wake for all packets of all sockets. Each socket has one multishot `recvmsg` under way,
//! which takes its datagrams into cells of one provided ring of buffers; a datagram is rewritten in its cell, sent from there, and the cell offered
//! again once the kernel has taken the send.
//!
//! Sends carry MSG_DONTWAIT: the kernel carries such a request out, or fails it, while it takes it from the queue, and never keeps it for later. So
//! when the call that submits returns with the queue empty, every cell that was being sent from is ours again, and a send that went well needs no
//! completion. One that failed for what became of an earlier datagram (an ICMP error, told by the next call on the socket) is made once more, from the
//! same cell.
//!
//! A completion names what it is of in 64 bits ([`token`]): its stream's place and slot, the slot's generation, so that one that comes late is not taken
//! for the next stream's, and a send's cell.
//!
//! `unsafe` here rests on three things: the cells, the provided ring and the receive's header are boxes of this value, which give their
//! memory back only after the io_uring has been closed (they stand behind it in [`Ring`]); a cell's memory is written by the kernel only between
//! `offer` and the completion that names it, and read or written by us only between that completion and the next `offer`; every descriptor in a
//! request is of a socket that is open when the request is submitted, or the kernel answers EBADF.

use std::alloc::{self, Layout};
use std::collections::VecDeque;
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
use super::system::{Address, RECEIVE, SLOT, may_be_of_another};

/// Cells of one worker, a power of two: what may be under way in one wake. More would leave the processor's cache between two uses of one.
const CELLS: u16 = 256;

/// Before the datagram in its cell: the kernel's `io_uring_recvmsg_out` (four words) and the room asked for the sender's address.
const HEAD: usize = 16 + NAME;
const NAME: usize = 32;

/// One cell: head, datagram, room behind it; whole cache lines.
const CELL: usize = (HEAD + SLOT).next_multiple_of(64);

/// The group of buffers, of which a ring has one.
const GROUP: u16 = 0;

/// Completions the kernel keeps for us, all of which are taken in one wake: each that holds a packet has a cell, so they are few.
const DONE: usize = 4096;

/// Requests there is room for between two calls.
const QUEUE: u32 = 1024;

/// Bits of a token: two of place, then the slot, then the slot's generation, then a send's cell, then marks of what it is of.
const SLOT_BITS: u32 = 30;
const GENERATION_AT: u32 = 32;
const CELL_AT: u32 = 48;

/// A send; one that is made for the second time; a request to cancel a receive, or nothing any more. A send that failed and is being made again.
const SEND: u64 = 1 << 62;
const CANCEL: u64 = 1 << 61;
const AGAIN: u64 = 1 << 60;
const REPEATED: u64 = 1 << 59;

/// Waits of one cancellation: each ends as soon as something completes, so this is reached only by a kernel that does not answer.
const CANCEL_WAITS: usize = 1000;

/// Attempts to make room in a full queue.
const PUSHES: usize = 4;

#[derive(Clone, Copy)]
struct Done {
    token: u64,
    result: i32,
    flags: u32,
}

/// What is under way for the stream of one slot.
#[derive(Clone, Copy, Default)]
struct Receives {
    /// Of the streams that have had the slot.
    generation: u16,
    /// By [`Place`], while the stream is open.
    sockets: [RawFd; 4],
    /// One bit for each [`Place`] with a receive under way.
    armed: u8,
    /// Receives that end are not begun again.
    closing: bool,
}

/// A request that is still to be made: there was no room for it in the queue, or no cell it could have received into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Owed {
    Receive(usize, Place),
    Watch(u64),
}

pub(super) struct Ring {
    // First: it is closed before the memory below is given back.
    uring: IoUring,
    offers: Offers,
    cells: Box<[[u8; CELL]]>,
    /// Where each cell's datagram goes; the kernel copies it as it takes the send.
    to: Box<[Address]>,
    /// Each cell's last send: from which socket, and how much of the datagram and of the address counts.
    sent: Box<[(RawFd, u32, libc::socklen_t)]>,
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
    owed: VecDeque<Owed>,
    /// The kernel itself waits for several completions, but not long (6.12).
    gathers: bool,
}

impl Ring {
    /// To be made on the thread that uses it: the kernel binds it to that one, and interrupts the waits of the one that made it when it is closed.
    pub(super) fn new() -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag().setup_submit_all().setup_clamp().setup_cqsize(DONE as u32);
        let uring = builder.build(QUEUE)?;
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
            sent: vec![(-1, 0, 0); usize::from(CELLS)].into_boxed_slice(),
            header,
            lent: Vec::with_capacity(usize::from(CELLS)),
            done: Vec::with_capacity(DONE),
            served: 0,
            receives: Vec::new(),
            watched: Vec::new(),
            owed: VecDeque::with_capacity(usize::from(CELLS)),
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
        self.owed.push_front(Owed::Watch(token));
    }

    /// Begins to receive on the four sockets of the stream in `slot`.
    pub(super) fn admit(&mut self, slot: usize, sockets: &Sockets) {
        if self.receives.len() <= slot {
            self.receives.resize(slot + 1, Receives::default());
        }
        if let Some(receives) = self.receives.get_mut(slot) {
            let sockets = Place::ALL.map(|place| sockets.at(place).as_raw_fd());
            *receives = Receives { generation: receives.generation.wrapping_add(1), sockets, armed: 0, closing: false };
        }
        self.owed.extend(Place::ALL.map(|place| Owed::Receive(slot, place)));
    }

    /// Makes requests that are owed: as many receives as there are cells to receive into, since one that finds a datagram and no cell ends at once.
    fn pay(&mut self) {
        let mut room = usize::from(CELLS).saturating_sub(self.lent.len());
        while let Some(owed) = self.owed.front().copied() {
            let made = match owed {
                Owed::Watch(token) => self.poll(token),
                Owed::Receive(..) if room == 0 => return,
                Owed::Receive(slot, place) => {
                    room -= 1;
                    self.arm(slot, place)
                }
            };
            if !made {
                return;
            }
            self.owed.pop_front();
        }
    }

    fn poll(&mut self, token: u64) -> bool {
        let Some((token, fd)) = self.watched.iter().find(|(watched, _)| *watched == token).copied() else { return true };
        self.push(opcode::PollAdd::new(Fd(fd), libc::POLLIN as u32).build().user_data(token))
    }

    /// Begins a receive. False: there is no room for it in the queue.
    fn arm(&mut self, slot: usize, place: Place) -> bool {
        let Some(Receives { generation, sockets, closing: false, .. }) = self.receives.get(slot).copied() else { return true };
        let receive = opcode::RecvMsgMulti::new(Fd(sockets[place.index()]), &raw const *self.header, GROUP).flags(libc::MSG_TRUNC as u32);
        let made = self.push(receive.build().user_data(token(slot, generation, place)));
        if let Some(receives) = self.receives.get_mut(slot).filter(|_| made) {
            receives.armed |= 1 << place.index();
        }
        made
    }

    /// Ends what is under way on the sockets in `slot`, which are then nobody's but ours and may be closed. Other completions that come meanwhile
    /// stand behind those of the last wait and have their turn with them. From a kernel that does not answer, completions may come later: by their
    /// generation nobody takes them for another stream's.
    pub(super) fn forget(&mut self, slot: usize) {
        self.owed.retain(|owed| !matches!(owed, Owed::Receive(of, _) if *of == slot));
        let Some(receives) = self.receives.get_mut(slot) else { return };
        receives.closing = true;
        let Receives { armed, generation, .. } = *receives;
        let mut to_cancel: [bool; 4] = Place::ALL.map(|place| armed & 1 << place.index() != 0);
        for _ in 0..CANCEL_WAITS {
            for place in Place::ALL {
                let cancel = opcode::AsyncCancel2::new(CancelBuilder::user_data(token(slot, generation, place)));
                let waits = to_cancel[place.index()];
                to_cancel[place.index()] = waits && !self.push(cancel.build().user_data(CANCEL).flags(Flags::SKIP_SUCCESS));
            }
            // Once at least, whatever is armed: what was queued to be sent by its sockets leaves before they close.
            let is_over = self.receives.get(slot).is_none_or(|receives| receives.armed == 0);
            if self.enter(i32::from(!is_over), None).is_err() {
                return;
            }
            self.collect(slot, generation);
            if self.receives.get(slot).is_none_or(|receives| receives.armed == 0) {
                return;
            }
        }
    }

    /// Takes what the stream of a slot that is being left still gets out of what has completed and had no turn yet.
    fn collect(&mut self, slot: usize, generation: u16) {
        for i in self.served..self.done.len() {
            let of_it = |done: &&mut Done| done.token & (SEND | CANCEL) == 0 && token(slot, generation, Place::from_token(done.token)) == done.token;
            let Some(done) = self.done.get_mut(i).filter(of_it) else { continue };
            let Done { token, flags, .. } = std::mem::replace(done, Done { token: CANCEL, result: 0, flags: 0 });
            if let Some(cell) = cqueue::buffer_select(flags) {
                self.offer(cell);
            }
            if !cqueue::more(flags) {
                self.disarmed(token);
            }
        }
    }

    /// Shows the kernel what is queued and waits for at most `timeout_ms` (-1: for ever) for something to complete; with `gather`, so long for more
    /// than one. Says how many completions there are.
    pub(super) fn wait(&mut self, timeout_ms: i32, gather: Option<(usize, Duration)>) -> io::Result<usize> {
        self.done.clear();
        self.served = 0;
        self.pay();
        // What could not be begun for want of room or cells is begun next time, and that is now.
        let timeout_ms = if self.owed.is_empty() { timeout_ms } else { 0 };
        self.enter(timeout_ms, gather)?;
        Ok(self.done.len())
    }

    /// One call; what has completed is then behind what had before.
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
            Err(error) if !is_passing(&error) => return Err(error),
            _ => {}
        }
        let new = self.done.len();
        self.take();
        if self.uring.submission().is_empty() {
            self.settle(new);
        }
        Ok(())
    }

    fn take(&mut self) {
        let completions = self.uring.completion();
        self.done.extend(completions.map(|entry| Done { token: entry.user_data(), result: entry.result(), flags: entry.flags() }));
    }

    /// The kernel has carried out all sends: their cells are ours again, but for those of sends that are made once more. `new`: the completions of this call.
    fn settle(&mut self, new: usize) {
        // With completions left behind in the kernel a failure may be told of only when its cell holds something else.
        let all_told = !self.uring.submission().cq_overflow();
        let mut kept = 0;
        for i in new..self.done.len() {
            let Some(Done { token, result, .. }) = self.done.get(i).copied() else { break };
            if token & (SEND | CANCEL | AGAIN) != SEND || !may_be_of_another(-result) || !all_told {
                continue;
            }
            let cell = (token >> CELL_AT) as u16 & (CELLS - 1);
            // The cells of sends made again stand first.
            let Some(at) = self.lent.iter().skip(kept).position(|lent| *lent == cell).map(|at| at + kept) else { continue };
            if self.send(cell, token | AGAIN) {
                self.lent.swap(kept, at);
                kept += 1;
                if let Some(done) = self.done.get_mut(i) {
                    done.token |= REPEATED;
                }
            }
        }
        while self.lent.len() > kept {
            let Some(cell) = self.lent.pop() else { break };
            self.offer(cell);
        }
    }

    /// Queues the send of what lies in `cell`. False: there is no room for it.
    fn send(&mut self, cell: u16, token: u64) -> bool {
        let at = usize::from(cell);
        let Some(((bytes, to), (socket, len, length))) = self.cells.get(at).zip(self.to.get(at)).zip(self.sent.get(at).copied()) else { return false };
        let send =
            opcode::Send::new(Fd(socket), bytes[HEAD..].as_ptr(), len).flags(libc::MSG_DONTWAIT).dest_addr(std::ptr::from_ref(to).cast()).dest_addr_len(length);
        self.push(send.build().user_data(token).flags(Flags::SKIP_SUCCESS))
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
        let generation = (token >> GENERATION_AT) as u16;
        let is_current = self.receives.get(slot).is_some_and(|receives| receives.generation == generation && !receives.closing);
        if token & SEND != 0 {
            // Only failures are told of.
            let slot = if is_current { slot } else { usize::MAX };
            if token & REPEATED == 0 {
                streams.send_failed(slot, place, 1);
            }
            return streams.failed(now, slot, place);
        }
        if let Some(cell) = cqueue::buffer_select(flags) {
            if result >= 0 && is_current && streams.at(slot).is_some() {
                self.packet(now, (slot, place), cell, streams);
            } else {
                self.offer(cell);
            }
        } else if result < 0 && is_current && !matches!(-result, libc::ENOBUFS | libc::ECANCELED) {
            streams.failed(now, slot, place);
        }
        // A receive has ended: by an error of the socket, or for want of cells. The next one takes its place.
        if !cqueue::more(flags) && self.disarmed(token) {
            self.owed.push_back(Owed::Receive(slot, place));
        }
    }

    /// Notes that a receive has ended. Whether its socket is to go on receiving.
    fn disarmed(&mut self, token: u64) -> bool {
        let generation = (token >> GENERATION_AT) as u16;
        let Some(receives) = self.receives.get_mut(slot(token)).filter(|receives| receives.generation == generation) else { return false };
        receives.armed &= !(1 << Place::from_token(token).index());
        !receives.closing
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
        let Some(departure) = departure.filter(|departure| departure.len <= SLOT) else { return self.offer(cell) };
        let Some(receives) = self.receives.get(slot) else { return self.offer(cell) };
        let (socket, generation) = (receives.sockets[departure.from.index()], receives.generation);
        let Some((sent, to)) = self.sent.get_mut(usize::from(cell)).zip(self.to.get_mut(usize::from(cell))) else { return self.offer(cell) };
        *sent = (socket, departure.len as u32, to.write(departure.to));
        streams.counters.forwarded += 1;
        if self.send(cell, SEND | u64::from(cell) << CELL_AT | token(slot, generation, departure.from)) {
            self.lent.push(cell);
        } else {
            streams.send_failed(slot, departure.from, 1);
            self.offer(cell);
        }
    }

    /// Queues a request; the kernel is shown it by the next wait, or what is before it now if the queue is full. False: it stays full.
    fn push(&mut self, entry: Entry) -> bool {
        for _ in 0..PUSHES {
            // SAFETY: what the request points to (the header, a cell, an address) is owned by `self` and stays as it is until the kernel has taken the
            // request (`lent`) or, for a receive's cells, says that it is done with them.
            if unsafe { self.uring.submission().push(&entry) }.is_ok() {
                return true;
            }
            match self.uring.submit() {
                Err(error) if !is_passing(&error) => return false,
                // Full on the other end, maybe: what has completed stands behind what had before.
                _ => self.take(),
            }
        }
        false
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

/// Of a receive on `place` of the stream in `slot`.
fn token(slot: usize, generation: u16, place: Place) -> u64 {
    u64::from(generation) << GENERATION_AT | (slot as u64 & ((1 << SLOT_BITS) - 1)) << 2 | place.bits()
}

/// The slot of the stream a completion is of.
pub(super) fn slot(token: u64) -> usize {
    (token >> 2 & ((1 << SLOT_BITS) - 1)) as usize
}

/// An error that says nothing but "not now".
fn is_passing(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN))
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
        Some(libc::ENOSYS) => "this kernel has none (it takes Linux 6.1 or later), or a container's seccomp profile hides it".to_owned(),
        Some(libc::EINVAL) => "this kernel cannot (it takes Linux 6.1 or later)".to_owned(),
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

#[cfg(test)]
mod tests;
