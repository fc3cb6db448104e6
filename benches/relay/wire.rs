//! The system calls of the generator: batches of datagrams with the kernel's time of arrival, network namespaces, pinning to a core.

use std::fs::File;
use std::io;
use std::mem;
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

pub const BATCH: usize = 64;
pub const SLOT: usize = 512;
const CONTROL: usize = 64;
/// Room for half a second at a relay's limit: what the generator has not read yet must not count as lost. Unit: bytes.
const BUFFER: libc::c_int = 64 << 20;

/// Keeps this process on one core.
pub fn pin(core: usize) -> io::Result<()> {
    pin_process(0, core)
}

/// Keeps a process, or a thread of the kernel, on one core.
pub fn pin_process(process: i32, core: usize) -> io::Result<()> {
    // SAFETY: a zeroed `cpu_set_t` is the empty set; both calls get a live local and its size.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        if libc::sched_setaffinity(process, mem::size_of::<libc::cpu_set_t>(), &set) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// How many descriptors a process here may have.
pub fn descriptors() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a live local.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 { Err(io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

/// Puts this process before all ordinary ones on its core; needs root.
pub fn realtime() -> io::Result<()> {
    realtime_process(0, 10)
}

/// The same for a process, or a thread of the kernel.
pub fn realtime_process(process: i32, priority: libc::c_int) -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: priority };
    // SAFETY: the pointer is to a live local the kernel only reads.
    if unsafe { libc::sched_setscheduler(process, libc::SCHED_FIFO, &priority) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets this thread sleep as short as it asks for.
pub fn exact_sleeps() {
    // SAFETY: takes no pointer; what it does not know it refuses.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1u64, 0u64, 0u64, 0u64) };
}

/// Moves this thread into a network namespace (setns(2)).
pub fn enter(namespace: &File) -> io::Result<()> {
    // SAFETY: the descriptor is borrowed from a live file.
    if unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// The clock the kernel stamps datagrams with. Unit: ns.
pub fn wall() -> u64 {
    clock(libc::CLOCK_REALTIME)
}

/// Unit: ns.
pub fn monotonic() -> u64 {
    clock(libc::CLOCK_MONOTONIC)
}

fn clock(which: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a live local.
    unsafe { libc::clock_gettime(which, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A socket for very many flows: large buffers, arrival times on.
pub fn socket(at: SocketAddrV4) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    let set = |name: libc::c_int, value: libc::c_int| {
        // SAFETY: pointer and length describe a live local.
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, name, (&raw const value).cast(), mem::size_of::<libc::c_int>() as libc::socklen_t) }
    };
    // Beyond what the system allows everybody only with privilege.
    for (force, ask) in [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)] {
        if set(force, BUFFER) < 0 {
            set(ask, BUFFER);
        }
    }
    if set(libc::SO_TIMESTAMPNS, 1) < 0 {
        return Err(io::Error::last_os_error());
    }
    socket.bind(&at.into())?;
    Ok(socket.into())
}

/// Up to [`BATCH`] datagrams on their way in or out. The headers point into the boxes beside them, once and for all.
pub struct Datagrams {
    buffers: Box<[[u8; SLOT]; BATCH]>,
    control: Box<[[u64; CONTROL / 8]; BATCH]>,
    addresses: Box<[libc::sockaddr_in; BATCH]>,
    parts: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
    filled: usize,
}

impl Datagrams {
    pub fn new() -> Datagrams {
        // SAFETY: all of these are integers and pointers, for which zero is a value.
        let mut datagrams = unsafe {
            Datagrams {
                buffers: Box::new([[0; SLOT]; BATCH]),
                control: Box::new([[0; CONTROL / 8]; BATCH]),
                addresses: Box::new(mem::zeroed()),
                parts: Box::new(mem::zeroed()),
                headers: Box::new(mem::zeroed()),
                filled: 0,
            }
        };
        for i in 0..BATCH {
            datagrams.parts[i] = libc::iovec { iov_base: datagrams.buffers[i].as_mut_ptr().cast(), iov_len: SLOT };
            datagrams.addresses[i].sin_family = libc::AF_INET as libc::sa_family_t;
            let header = &mut datagrams.headers[i].msg_hdr;
            header.msg_name = (&raw mut datagrams.addresses[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut datagrams.parts[i];
            header.msg_iovlen = 1;
        }
        datagrams
    }

    pub fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    /// Where the next datagram is written, before [`Datagrams::push`].
    pub fn slot(&mut self) -> &mut [u8; SLOT] {
        &mut self.buffers[self.filled]
    }

    /// The slot holds a datagram of `len` bytes.
    pub fn push(&mut self, len: usize, to: SocketAddrV4) {
        let i = self.filled;
        self.parts[i].iov_len = len;
        self.addresses[i].sin_port = to.port().to_be();
        self.addresses[i].sin_addr.s_addr = u32::from(*to.ip()).to_be();
        self.filled += 1;
    }

    /// Sends what was pushed; says how many went.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        let count = mem::take(&mut self.filled);
        // SAFETY: the first `count` headers point to live boxes of `self`, each with its true size.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as libc::c_uint, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Receives what is there, without waiting.
    pub fn receive(&mut self, socket: &UdpSocket) -> usize {
        for i in 0..BATCH {
            self.parts[i].iov_len = SLOT;
            let header = &mut self.headers[i].msg_hdr;
            header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_control = self.control[i].as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
        }
        // SAFETY: all headers point to live boxes of `self`, each with its true size.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The `i`th received: its source (address, port), its time of arrival (wall clock, ns), its bytes.
    pub fn get(&mut self, i: usize) -> ((u32, u16), u64, &mut [u8]) {
        let header = &self.headers[i];
        let len = (header.msg_len as usize).min(SLOT);
        let control = &self.control[i];
        // cmsg(3) on 64-bit: length, level and type in 16 bytes, then a timespec.
        let arrival = if header.msg_hdr.msg_controllen >= 32 { control[2] * 1_000_000_000 + control[3] } else { 0 };
        let address = &self.addresses[i];
        ((u32::from_be(address.sin_addr.s_addr), u16::from_be(address.sin_port)), arrival, &mut self.buffers[i][..len])
    }
}
