//! The system calls of the generator: batches of datagrams with the kernel's time of arrival, and pinning to a core.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;

pub const BATCH: usize = 32;
const SLOT: usize = 512;
const CONTROL: usize = 64;

/// Keeps this process on one core.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: a zeroed `cpu_set_t` is the empty set; both calls get a live local and its size.
    unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        if libc::sched_setaffinity(0, mem::size_of::<libc::cpu_set_t>(), &set) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Puts this process before all ordinary ones on its core; needs root.
pub fn realtime() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: 10 };
    // SAFETY: the pointer is to a live local the kernel only reads.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &priority) } < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
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
pub fn socket(port: u16) -> io::Result<UdpSocket> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    socket.set_recv_buffer_size(4 << 20)?;
    socket.set_send_buffer_size(4 << 20)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::LOCALHOST, port).into())?;
    let on: libc::c_int = 1;
    // SAFETY: pointer and length describe a live local.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), mem::size_of::<libc::c_int>() as libc::socklen_t)
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(socket.into()) }
}

/// Up to [`BATCH`] datagrams on their way in or out.
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
        unsafe {
            Datagrams {
                buffers: Box::new([[0; SLOT]; BATCH]),
                control: Box::new([[0; CONTROL / 8]; BATCH]),
                addresses: Box::new(mem::zeroed()),
                parts: Box::new(mem::zeroed()),
                headers: Box::new(mem::zeroed()),
                filled: 0,
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.filled == BATCH
    }

    pub fn len(&self) -> usize {
        self.filled
    }

    pub fn push(&mut self, bytes: &[u8], to: SocketAddrV4) {
        let i = self.filled;
        self.buffers[i][..bytes.len()].copy_from_slice(bytes);
        self.parts[i].iov_len = bytes.len();
        self.addresses[i].sin_family = libc::AF_INET as libc::sa_family_t;
        self.addresses[i].sin_port = to.port().to_be();
        self.addresses[i].sin_addr.s_addr = u32::from(*to.ip()).to_be();
        self.filled += 1;
    }

    fn link(&mut self, count: usize, control: usize) {
        for i in 0..count {
            self.parts[i].iov_base = self.buffers[i].as_mut_ptr().cast();
            let header = &mut self.headers[i].msg_hdr;
            header.msg_name = (&raw mut self.addresses[i]).cast();
            header.msg_namelen = mem::size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_iov = &raw mut self.parts[i];
            header.msg_iovlen = 1;
            header.msg_control = if control == 0 { std::ptr::null_mut() } else { self.control[i].as_mut_ptr().cast() };
            header.msg_controllen = control;
        }
    }

    /// Sends what was pushed; says how many went.
    pub fn send(&mut self, socket: &UdpSocket) -> usize {
        let count = mem::take(&mut self.filled);
        self.link(count, 0);
        // SAFETY: the first `count` headers were linked just above to live parts of `self`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as libc::c_uint, 0) };
        usize::try_from(sent).unwrap_or(0)
    }

    /// Receives what is there, without waiting.
    pub fn receive(&mut self, socket: &UdpSocket) -> usize {
        for part in self.parts.iter_mut() {
            part.iov_len = SLOT;
        }
        self.link(BATCH, CONTROL);
        // SAFETY: all headers were linked just above to live parts of `self`, each with its true size.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        usize::try_from(count).unwrap_or(0)
    }

    /// The `i`th received: its source port, its time of arrival (wall clock, ns), its bytes.
    pub fn get(&self, i: usize) -> (u16, u64, &[u8]) {
        let header = &self.headers[i];
        let len = (header.msg_len as usize).min(SLOT);
        let control = &self.control[i];
        // cmsg(3) on 64-bit: length, level and type in 16 bytes, then a timespec.
        let arrival = if header.msg_hdr.msg_controllen >= 32 { control[2] * 1_000_000_000 + control[3] } else { 0 };
        (u16::from_be(self.addresses[i].sin_port), arrival, &self.buffers[i][..len])
    }
}
