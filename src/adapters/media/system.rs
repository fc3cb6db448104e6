//! The system calls of the packet path that the standard library does not have: epoll, eventfd, `recvmmsg`, `sendmmsg`.
//!
//! All of this adapter's `unsafe` is here. Two rules carry every safety argument below: a descriptor passed to the kernel is borrowed from a
//! value that lives through the call ([`BorrowedFd`]), and every pointer passed is made from a live slice just before the call and not kept
//! after it, with the length of that slice beside it.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::media::control::Icmp;
use crate::media::icmp;
use crate::media::relay::TAIL_ROOM;

/// Bytes one datagram's buffer has in all.
pub(super) const SLOT: usize = 2048;

/// The longest datagram taken; behind it there is room for what protection appends. Unit: bytes.
pub(super) const RECEIVE: usize = SLOT - TAIL_ROOM;

/// A readiness list (epoll(7)).
pub(super) struct Epoll(OwnedFd);

/// What [`Epoll::wait`] fills. Kept by the caller so that waiting allocates nothing.
pub(super) struct Ready(Box<[libc::epoll_event]>);

impl Ready {
    pub(super) fn new(capacity: usize) -> Ready {
        Ready(vec![libc::epoll_event { events: 0, u64: 0 }; capacity.max(1)].into_boxed_slice())
    }

    /// The token of the `i`th ready descriptor of the last wait.
    pub(super) fn token(&self, i: usize) -> Option<u64> {
        self.0.get(i).map(|event| event.u64)
    }

    /// Whether there is an error to be taken from it.
    pub(super) fn is_failed(&self, i: usize) -> bool {
        self.0.get(i).is_some_and(|event| event.events & libc::EPOLLERR as u32 != 0)
    }
}

impl Epoll {
    pub(super) fn new() -> io::Result<Epoll> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: `fd` is a fresh descriptor nobody else owns.
        Ok(Epoll(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Watches `fd` for input, level-triggered; it leaves the list by itself when it is closed.
    pub(super) fn add(&self, fd: BorrowedFd<'_>, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: both descriptors live through the call; `event` is a live local the kernel only reads.
        check(unsafe { libc::epoll_ctl(self.0.as_raw_fd(), libc::EPOLL_CTL_ADD, fd.as_raw_fd(), &mut event) })?;
        Ok(())
    }

    /// Waits for at most `timeout_ms` (-1: for ever) and says how many are ready; an interrupted wait is zero.
    pub(super) fn wait(&self, ready: &mut Ready, timeout_ms: i32) -> io::Result<usize> {
        let capacity = i32::try_from(ready.0.len()).unwrap_or(i32::MAX);
        // SAFETY: the pointer and the capacity describe the live slice in `ready`, borrowed mutably through the call.
        match check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), ready.0.as_mut_ptr(), capacity, timeout_ms) }) {
            Ok(count) => Ok(usize::try_from(count).unwrap_or(0)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(error),
        }
    }
}

/// A bell that ends another thread's wait (eventfd(2)).
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Bell> {
        // SAFETY: no pointers; the result is checked before it is owned.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        // SAFETY: `fd` is a fresh descriptor nobody else owns.
        Ok(Bell(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Never blocks: a counter that is full is already ringing.
    pub(super) fn ring(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the pointer and length describe a live local the kernel only reads; the descriptor lives as long as `self`.
        let _ = unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    pub(super) fn silence(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the pointer and length describe a live, exclusively borrowed local; the descriptor lives as long as `self`.
        let _ = unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for either family's socket address; the kernel is told its size, so it never writes past it.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Address {
    family: libc::sa_family_t,
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

const ADDRESS: libc::socklen_t = mem::size_of::<Address>() as libc::socklen_t;

impl Address {
    pub(super) fn unset() -> Address {
        // SAFETY: all variants are plain integers, for which zero is a value; `sockaddr_in6` is the largest, so every byte is set.
        Address { v6: unsafe { mem::zeroed() } }
    }

    fn read(&self) -> Option<SocketAddr> {
        // SAFETY: `unset` initialised every byte and the kernel only overwrites; every bit pattern is valid in integer fields, and `family`
        // sits first in each variant.
        unsafe {
            match i32::from(self.family) {
                libc::AF_INET => Some(SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(u32::from_be(self.v4.sin_addr.s_addr)), u16::from_be(self.v4.sin_port)))),
                libc::AF_INET6 => Some(SocketAddr::V6(SocketAddrV6::new(
                    Ipv6Addr::from(self.v6.sin6_addr.s6_addr),
                    u16::from_be(self.v6.sin6_port),
                    0,
                    self.v6.sin6_scope_id,
                ))),
                _ => None,
            }
        }
    }

    /// Writes `to` and says how many bytes of it count.
    pub(super) fn write(&mut self, to: SocketAddr) -> libc::socklen_t {
        match to {
            SocketAddr::V4(to) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: libc::AF_INET as libc::sa_family_t,
                    sin_port: to.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from(*to.ip()).to_be() },
                    sin_zero: [0; 8],
                };
                mem::size_of::<libc::sockaddr_in>() as libc::socklen_t
            }
            SocketAddr::V6(to) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as libc::sa_family_t,
                    sin6_port: to.port().to_be(),
                    sin6_flowinfo: 0,
                    sin6_addr: libc::in6_addr { s6_addr: to.ip().octets() },
                    sin6_scope_id: to.scope_id(),
                };
                mem::size_of::<libc::sockaddr_in6>() as libc::socklen_t
            }
        }
    }
}

/// Has the kernel keep ICMP errors for the socket, for [`returned`] to take (IP_RECVERR, ip(7)). The next call on the socket fails once for each.
pub(super) fn keep_errors(socket: BorrowedFd<'_>, v6: bool) -> io::Result<()> {
    let (level, name) = if v6 { (libc::SOL_IPV6, libc::IPV6_RECVERR) } else { (libc::SOL_IP, libc::IP_RECVERR) };
    let on: libc::c_int = 1;
    let size = mem::size_of_val(&on) as libc::socklen_t;
    // SAFETY: the pointer and size describe a live local the kernel only reads.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, std::ptr::from_ref(&on).cast(), size) }).map(drop)
}

/// An error the network answered one of our datagrams with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Returned {
    pub(super) icmp: Icmp,
    /// Where the datagram was going.
    pub(super) to: Option<SocketAddr>,
    /// Who says so.
    pub(super) by: Option<IpAddr>,
}

/// Takes the oldest error kept for the socket. `Err`: there are no more. `Ok(None)`: one that no ICMP message made.
pub(super) fn returned(socket: BorrowedFd<'_>) -> io::Result<Option<Returned>> {
    let (mut to, mut first, mut control) = (Address::unset(), [0u8; 8], [0u64; 64]);
    let mut part = libc::iovec { iov_base: first.as_mut_ptr().cast(), iov_len: first.len() };
    // SAFETY: the structure is integers and pointers, for which zero is a value.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    (header.msg_name, header.msg_namelen) = (std::ptr::from_mut(&mut to).cast(), ADDRESS);
    (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), mem::size_of_val(&control) as _);
    // SAFETY: everything the header points to is a live local of the size given beside it, borrowed by nobody else through the call.
    if unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has set `msg_controllen` to what it wrote into `control`, which is aligned for a header; the macro goes by that.
    let mut message = unsafe { libc::CMSG_FIRSTHDR(&header) };
    while !message.is_null() {
        // SAFETY: `message` is not null, so a whole header lies there inside `control`.
        let (level, kind, len) = unsafe { ((*message).cmsg_level, (*message).cmsg_type, (*message).cmsg_len as usize) };
        let least = mem::size_of::<libc::cmsghdr>() + mem::size_of::<libc::sock_extended_err>() + mem::size_of::<libc::sockaddr_in>();
        if matches!((level, kind), (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)) && len >= least {
            // SAFETY: the message's length says that the error is there, with an IPv4 address behind it at least.
            let error = unsafe { libc::CMSG_DATA(message).cast::<libc::sock_extended_err>().read_unaligned() };
            let mut by = Address::unset();
            let room = (len - (least - mem::size_of::<libc::sockaddr_in>())).min(mem::size_of::<Address>());
            // SAFETY: `room` bytes lie behind the error by the message's length, and no more than `by` has.
            unsafe {
                let behind = libc::CMSG_DATA(message).add(mem::size_of::<libc::sock_extended_err>());
                std::ptr::copy_nonoverlapping(behind, std::ptr::from_mut(&mut by).cast::<u8>(), room);
            }
            let icmp = match error.ee_origin {
                libc::SO_EE_ORIGIN_ICMP => icmp::of_v4(error.ee_type, error.ee_code),
                libc::SO_EE_ORIGIN_ICMP6 => icmp::of_v6(error.ee_type, error.ee_code),
                _ => return Ok(None),
            };
            return Ok(Some(Returned { icmp, to: to.read(), by: by.read().map(|by| by.ip()) }));
        }
        // SAFETY: both point into `control` as the kernel filled it; the macro stays inside `msg_controllen`.
        message = unsafe { libc::CMSG_NXTHDR(&header, message) };
    }
    Ok(None)
}

/// One received datagram in its slot.
pub(super) struct Datagram<'a> {
    /// `None`: of no family we know, which a UDP socket never yields.
    pub(super) from: Option<SocketAddr>,
    /// The whole slot: what was received, then tail room.
    pub(super) buffer: &'a mut [u8],
    pub(super) len: usize,
    /// It was longer than [`RECEIVE`]; the rest is gone.
    pub(super) oversized: bool,
}

/// How [`Batch::flush`] went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Flushed {
    pub(super) sent: usize,
    pub(super) failed: usize,
}

/// Buffers for the datagrams of one receive, and the headers the kernel wants around them. Made once per worker; a datagram is received into a
/// slot, rewritten there and sent from there.
pub(super) struct Batch {
    buffers: Box<[[u8; SLOT]]>,
    from: Box<[Address]>,
    to: Box<[Address]>,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Slot, length and address length of each datagram to send, in order.
    staged: Box<[(usize, usize, libc::socklen_t)]>,
    staged_count: usize,
}

// SAFETY: the raw pointers in `parts` and `headers` point into this value's own boxes and are only followed by the kernel during a call made
// with `&mut self`, which fills them anew first; what they hold between calls means nothing, on whichever thread.
unsafe impl Send for Batch {}

impl Batch {
    pub(super) fn new(slots: usize) -> Batch {
        let slots = slots.clamp(1, 64);
        // SAFETY: both structures are integers and pointers, for which zero is a value.
        let (part, header) = unsafe { (mem::zeroed::<libc::iovec>(), mem::zeroed::<libc::mmsghdr>()) };
        Batch {
            buffers: vec![[0; SLOT]; slots].into_boxed_slice(),
            from: vec![Address::unset(); slots].into_boxed_slice(),
            to: vec![Address::unset(); slots].into_boxed_slice(),
            parts: vec![part; slots].into_boxed_slice(),
            headers: vec![header; slots].into_boxed_slice(),
            staged: vec![(0, 0, 0); slots].into_boxed_slice(),
            staged_count: 0,
        }
    }

    /// Receives up to `limit` datagrams without waiting. `WouldBlock`: there was none. For one, `recvfrom` costs the kernel a tenth of the packet's
    /// whole way less than `recvmmsg`, which copies headers and asks for a second one.
    pub(super) fn receive(&mut self, socket: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
        self.staged_count = 0;
        match limit.clamp(1, self.buffers.len()) {
            1 => self.receive_one(socket),
            limit => self.receive_many(socket, limit),
        }
    }

    fn receive_one(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        let Some(((buffer, from), header)) = self.buffers.first_mut().zip(self.from.first_mut()).zip(self.headers.first_mut()) else { return Ok(0) };
        let mut length = ADDRESS;
        let (into, flags) = (buffer.as_mut_ptr().cast(), libc::MSG_DONTWAIT | libc::MSG_TRUNC);
        // SAFETY: `into` is a live slot borrowed mutably through the call, and `RECEIVE` is less than its size; `from` and `length` are live and
        // `length` holds the size of `from`.
        let len = unsafe { libc::recvfrom(socket.as_raw_fd(), into, RECEIVE, flags, std::ptr::from_mut(from).cast(), &mut length) };
        // With MSG_TRUNC the length is the datagram's own, even beyond the slot.
        let Ok(len) = usize::try_from(len) else { return Err(io::Error::last_os_error()) };
        header.msg_len = len.min(RECEIVE) as libc::c_uint;
        header.msg_hdr.msg_flags = if len > RECEIVE { libc::MSG_TRUNC } else { 0 };
        Ok(1)
    }

    fn receive_many(&mut self, socket: BorrowedFd<'_>, limit: usize) -> io::Result<usize> {
        for (((buffer, from), part), header) in
            self.buffers.iter_mut().zip(self.from.iter_mut()).zip(self.parts.iter_mut()).zip(self.headers.iter_mut()).take(limit)
        {
            part.iov_base = buffer.as_mut_ptr().cast();
            part.iov_len = RECEIVE;
            header.msg_hdr.msg_name = std::ptr::from_mut(from).cast();
            header.msg_hdr.msg_namelen = ADDRESS;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: the first `limit` headers, filled just above, point into slots, addresses and parts owned by `self` and borrowed mutably
        // through the call, each with its true size (`RECEIVE` is less than `SLOT`). No timeout is passed.
        let count =
            check(unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), limit as libc::c_uint, libc::MSG_DONTWAIT, std::ptr::null_mut()) })?;
        Ok(usize::try_from(count).unwrap_or(0).min(limit))
    }

    /// The `i`th datagram of the last receive; meaningful before the first [`Batch::flush`] after it.
    pub(super) fn datagram(&mut self, i: usize) -> Option<Datagram<'_>> {
        let header = self.headers.get(i)?;
        let len = usize::try_from(header.msg_len).unwrap_or(0).min(RECEIVE);
        let oversized = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        Some(Datagram { from: self.from.get(i)?.read(), buffer: self.buffers.get_mut(i)?, len, oversized })
    }

    /// The first slot, to write a datagram of our own into; between receives.
    pub(super) fn blank(&mut self) -> &mut [u8] {
        self.staged_count = 0;
        self.buffers.first_mut().map_or(&mut [], |buffer| buffer.as_mut_slice())
    }

    /// Puts slot `i`'s first `len` bytes on the list to send.
    pub(super) fn stage(&mut self, i: usize, len: usize, to: SocketAddr) {
        let Some((staged, address)) = self.staged.get_mut(self.staged_count).zip(self.to.get_mut(self.staged_count)) else { return };
        *staged = (i, len.min(SLOT), address.write(to));
        self.staged_count += 1;
    }

    /// Sends what is staged out of `socket`, in order, without waiting. A datagram the kernel refuses is skipped.
    pub(super) fn flush(&mut self, socket: BorrowedFd<'_>) -> Flushed {
        let count = mem::take(&mut self.staged_count);
        match count {
            0 => Flushed::default(),
            1 => self.send_one(socket),
            _ => self.send_many(socket, count),
        }
    }

    fn send_one(&mut self, socket: BorrowedFd<'_>) -> Flushed {
        let Some((&(slot, len, address_length), to)) = self.staged.first().zip(self.to.first()) else { return Flushed::default() };
        let Some(bytes) = self.buffers.get(slot).and_then(|buffer| buffer.get(..len)) else { return Flushed { sent: 0, failed: 1 } };
        let send = || {
            let (start, address) = (bytes.as_ptr().cast(), std::ptr::from_ref(to).cast());
            // SAFETY: pointers and lengths describe a live slice and a live address of which `address_length` bytes were written; the kernel only reads.
            unsafe { libc::sendto(socket.as_raw_fd(), start, bytes.len(), libc::MSG_DONTWAIT, address, address_length) }
        };
        let mut sent = send();
        if sent < 0 && is_of_another() {
            sent = send();
        }
        if sent < 0 { Flushed { sent: 0, failed: 1 } } else { Flushed { sent: 1, failed: 0 } }
    }

    fn send_many(&mut self, socket: BorrowedFd<'_>, count: usize) -> Flushed {
        let mut filled = 0;
        for (((&(slot, len, address_length), to), part), header) in
            self.staged.iter().zip(self.to.iter_mut()).zip(self.parts.iter_mut()).zip(self.headers.iter_mut()).take(count)
        {
            let Some(bytes) = self.buffers.get_mut(slot).and_then(|buffer| buffer.get_mut(..len)) else { continue };
            part.iov_base = bytes.as_mut_ptr().cast();
            part.iov_len = bytes.len();
            header.msg_hdr.msg_name = std::ptr::from_mut(to).cast();
            header.msg_hdr.msg_namelen = address_length;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_flags = 0;
            filled += 1;
        }
        let mut result = Flushed { sent: 0, failed: count - filled };
        let (mut at, mut again) = (0, true);
        while let Some(rest) = self.headers.get_mut(at..filled).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` is the part of the headers filled just above and not yet sent; they point into slots, addresses and parts owned
            // by `self` and borrowed through the call, each with its true size.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => {
                    result.sent += sent;
                    at += sent;
                }
                _ if mem::take(&mut again) && is_of_another() => {}
                _ => {
                    result.failed += 1;
                    at += 1;
                }
            }
        }
        result
    }
}

/// Whether the call that just failed may have done so for an ICMP error that an earlier datagram met, and not for its own: the kernel tells it once.
fn is_of_another() -> bool {
    io::Error::last_os_error().raw_os_error().is_some_and(may_be_of_another)
}

/// The same of an error's number.
pub(super) fn may_be_of_another(error: i32) -> bool {
    matches!(error, libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES | libc::EPROTO)
}

/// Raises the number of descriptors this process may have to the most it may raise it to: a stream takes four, and the usual 1,024 would end at
/// 250 calls. Where the kernel refuses, the old limit stays.
pub(super) fn raise_descriptor_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a live, exclusively borrowed local the kernel fills.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0 && limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the pointer is to a live local the kernel only reads.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) };
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
