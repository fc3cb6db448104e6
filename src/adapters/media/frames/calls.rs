//! The system calls of the shared sockets: `recvmmsg` that tells each datagram's destination, `sendmmsg` of whole packets (raw(7), ip(7), ipv6(7)).
//!
//! All of this way's `unsafe` is here. As in `adapters/media/system`, two rules carry every safety argument: a descriptor passed to the kernel is
//! borrowed from a value that lives through the call, and every pointer passed is made from a live slice just before the call, with its length beside
//! it, and not kept after it.

use std::io;
use std::mem;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use crate::media::relay::TAIL_ROOM;

use super::headers;

/// Datagrams of one receive.
pub const BATCH: usize = 64;

/// The longest datagram taken. Unit: bytes.
const RECEIVE: usize = 1_888;

const SLOT: usize = headers::ROOM + RECEIVE + TAIL_ROOM;

/// `sockaddr_in6` is the longest address asked for.
const ADDRESS: usize = mem::size_of::<libc::sockaddr_in6>();

const CONTROL: usize = 64;

/// Bytes the kernel reads or writes a structure in.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Aligned<const N: usize>([u8; N]);

/// One received datagram.
pub struct Arrival<'a> {
    pub from: SocketAddr,
    /// Where its sender aimed it.
    pub to: SocketAddr,
    /// What was received, then tail room.
    pub payload: &'a mut [u8],
    pub len: usize,
    /// It was longer than any we take; the rest is gone.
    pub is_oversized: bool,
}

/// What became of staged datagrams, in their order.
pub enum Outcome<'a> {
    Sent(usize),
    Failed,
    /// Longer than the link takes: the `nth` staged since the last receive, and its payload.
    TooLong(usize, &'a [u8]),
}

/// A packet ready to leave.
#[derive(Clone, Copy)]
struct Ready {
    exit: usize,
    slot: usize,
    start: usize,
    end: usize,
    to: (Aligned<ADDRESS>, libc::socklen_t),
}

/// Buffers for one receive and for what is sent from it. Made once; a datagram is received into a slot, rewritten there and sent from there.
pub struct Inbound {
    is_ipv6: bool,
    slots: Box<[[u8; SLOT]]>,
    from: Box<[Aligned<ADDRESS>]>,
    control: Box<[Aligned<CONTROL>]>,
    parts: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    ready: Box<[Ready]>,
    ready_count: usize,
}

// SAFETY: the raw pointers in `parts` and `headers` point into this value's own boxes and are only followed by the kernel during a call made
// with `&mut self`, which fills them anew first; what they hold between calls means nothing, on whichever thread.
unsafe impl Send for Inbound {}

impl Inbound {
    pub fn new(is_ipv6: bool) -> Inbound {
        // SAFETY: both structures are integers and pointers, for which zero is a value.
        let (part, header) = unsafe { (mem::zeroed::<libc::iovec>(), mem::zeroed::<libc::mmsghdr>()) };
        let ready = Ready { exit: 0, slot: 0, start: 0, end: 0, to: (Aligned([0; ADDRESS]), 0) };
        Inbound {
            is_ipv6,
            slots: vec![[0; SLOT]; BATCH].into_boxed_slice(),
            from: vec![Aligned([0; ADDRESS]); BATCH].into_boxed_slice(),
            control: vec![Aligned([0; CONTROL]); BATCH].into_boxed_slice(),
            parts: vec![part; BATCH].into_boxed_slice(),
            headers: vec![header; BATCH].into_boxed_slice(),
            ready: vec![ready; BATCH].into_boxed_slice(),
            ready_count: 0,
        }
    }

    /// Receives up to [`BATCH`] datagrams without waiting. `WouldBlock`: there was none.
    pub fn receive(&mut self, socket: BorrowedFd<'_>) -> io::Result<usize> {
        self.ready_count = 0;
        for ((((slot, from), control), part), header) in
            self.slots.iter_mut().zip(&mut self.from).zip(&mut self.control).zip(&mut self.parts).zip(&mut self.headers)
        {
            let Some(room) = slot.get_mut(headers::ROOM..headers::ROOM + RECEIVE) else { continue };
            *part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
            header.msg_hdr.msg_name = from.0.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = ADDRESS as libc::socklen_t;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header.msg_hdr.msg_flags = 0;
        }
        // SAFETY: every header, filled just above, points into slots, addresses, control buffers and parts owned by `self` and borrowed mutably
        // through the call, each with its true size. No timeout is passed.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), BATCH as libc::c_uint, libc::MSG_DONTWAIT, std::ptr::null_mut()) };
        usize::try_from(count).map_err(|_| io::Error::last_os_error()).map(|count| count.min(BATCH))
    }

    /// The `i`th datagram of the last receive, before anything is flushed. `None`: the kernel has not told where it was from or to.
    pub fn arrival(&mut self, i: usize) -> Option<Arrival<'_>> {
        let header = self.headers.get(i)?;
        let len = usize::try_from(header.msg_len).unwrap_or(0).min(RECEIVE);
        let is_oversized = header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0;
        let from = address(&self.from.get(i)?.0)?;
        let told = header.msg_hdr.msg_controllen.min(CONTROL);
        let to = destination(self.control.get(i)?.0.get(..told)?, self.is_ipv6)?;
        Some(Arrival { from, to, payload: self.slots.get_mut(i)?.get_mut(headers::ROOM..)?, len, is_oversized })
    }

    pub fn payload(&self, i: usize, len: usize) -> &[u8] {
        self.slots.get(i).and_then(|slot| slot.get(headers::ROOM..headers::ROOM + len)).unwrap_or_default()
    }

    /// Puts headers in front of the first `len` bytes of slot `i`'s payload, to be sent by the `exit`th raw socket. `None`: such a packet cannot be made.
    pub fn stage(&mut self, i: usize, exit: usize, from: SocketAddr, to: SocketAddr, len: usize, dscp: u8) -> Option<()> {
        let start = headers::write(self.slots.get_mut(i)?, len, from, to, dscp)?;
        let ready = self.ready.get_mut(self.ready_count)?;
        *ready = Ready { exit, slot: i, start, end: headers::ROOM + len, to: raw_address(to) };
        self.ready_count += 1;
        Some(())
    }

    /// Sends what is staged for one exit by its socket, without waiting; tells what became of each.
    pub fn flush(&mut self, exit: usize, socket: BorrowedFd<'_>, tell: &mut dyn FnMut(Outcome<'_>)) {
        // Which of the staged a header is for.
        let mut order = [0; BATCH];
        let mut count = 0;
        for (nth, ready) in self.ready.iter_mut().enumerate().take(self.ready_count).filter(|(_, ready)| ready.exit == exit) {
            let Some(bytes) = self.slots.get_mut(ready.slot).and_then(|slot| slot.get_mut(ready.start..ready.end)) else { continue };
            let Some(((part, header), place)) = self.parts.get_mut(count).zip(self.headers.get_mut(count)).zip(order.get_mut(count)) else { break };
            *part = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            header.msg_hdr.msg_name = ready.to.0.0.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = ready.to.1;
            header.msg_hdr.msg_iov = part;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = std::ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            header.msg_hdr.msg_flags = 0;
            *place = nth;
            count += 1;
        }
        let mut at = 0;
        while let Some(rest) = self.headers.get_mut(at..count).filter(|rest| !rest.is_empty()) {
            // SAFETY: `rest` is the part of the headers filled just above and not yet sent; they point into slots, addresses and parts owned by
            // `self` and borrowed through the call, each with its true size.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as libc::c_uint, libc::MSG_DONTWAIT) };
            match usize::try_from(sent) {
                Ok(sent) if sent > 0 => {
                    tell(Outcome::Sent(sent));
                    at += sent;
                }
                _ => {
                    let is_too_long = io::Error::last_os_error().raw_os_error() == Some(libc::EMSGSIZE);
                    let nth = order.get(at).copied().unwrap_or(0);
                    let ready = self.ready.get(nth).filter(|_| is_too_long);
                    let payload = ready.and_then(|ready| self.slots.get(ready.slot).and_then(|slot| slot.get(headers::ROOM..ready.end)));
                    tell(payload.map_or(Outcome::Failed, |payload| Outcome::TooLong(nth, payload)));
                    at += 1;
                }
            }
        }
    }
}

/// Has the kernel tell with each datagram where it was aimed at.
pub fn tell_destinations(socket: &impl AsFd, is_ipv6: bool) -> io::Result<()> {
    match is_ipv6 {
        true => set(socket.as_fd(), libc::SOL_IPV6, libc::IPV6_RECVORIGDSTADDR, 1),
        false => set(socket.as_fd(), libc::SOL_IP, libc::IP_RECVORIGDSTADDR, 1),
    }
}

/// Beyond the system's limit where CAP_NET_ADMIN allows it, else up to there.
pub fn receive_buffer(socket: &impl AsFd, bytes: usize) -> io::Result<()> {
    let bytes = i32::try_from(bytes).unwrap_or(i32::MAX);
    set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes).or_else(|_| set(socket.as_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, bytes))
}

fn set(socket: BorrowedFd<'_>, level: i32, option: i32, value: i32) -> io::Result<()> {
    let length = mem::size_of::<i32>() as libc::socklen_t;
    // SAFETY: the pointer and length describe a live local the kernel only reads; the descriptor is borrowed through the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&value).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Of a `sockaddr_in` or `sockaddr_in6`.
fn address(bytes: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*bytes.first_chunk()?);
    let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
    match i32::from(family) {
        libc::AF_INET => Some(SocketAddr::new(Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?).into(), port)),
        libc::AF_INET6 => {
            let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
            Some(std::net::SocketAddrV6::new(Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?), port, 0, scope).into())
        }
        _ => None,
    }
}

/// Of the control messages (cmsg(3)) the one that tells the destination.
fn destination(control: &[u8], is_ipv6: bool) -> Option<SocketAddr> {
    let (level, kind) = if is_ipv6 { (libc::SOL_IPV6, libc::IPV6_ORIGDSTADDR) } else { (libc::SOL_IP, libc::IP_ORIGDSTADDR) };
    const WORD: usize = mem::size_of::<usize>();
    let mut rest = control;
    loop {
        let length = usize::from_ne_bytes(*rest.first_chunk()?);
        let told = (i32::from_ne_bytes(*rest.get(WORD..)?.first_chunk()?), i32::from_ne_bytes(*rest.get(WORD + 4..)?.first_chunk()?));
        if told == (level, kind) {
            // Without scope: it is compared with where we are bound.
            return address(rest.get(WORD + 8..length)?).map(|to| SocketAddr::new(to.ip(), to.port()));
        }
        rest = rest.get(length.max(WORD).next_multiple_of(WORD)..)?;
    }
}

/// Where a raw socket is to send to. It has no ports; IPv6 would take one for a protocol.
fn raw_address(to: SocketAddr) -> (Aligned<ADDRESS>, libc::socklen_t) {
    let mut bytes = [0; ADDRESS];
    let mut put = |at: usize, value: &[u8]| {
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let length = match to {
        SocketAddr::V4(to) => {
            put(0, &(libc::AF_INET as u16).to_ne_bytes());
            put(4, &to.ip().octets());
            mem::size_of::<libc::sockaddr_in>()
        }
        SocketAddr::V6(to) => {
            put(0, &(libc::AF_INET6 as u16).to_ne_bytes());
            put(8, &to.ip().octets());
            put(24, &to.scope_id().to_ne_bytes());
            ADDRESS
        }
    };
    (Aligned(bytes), length as libc::socklen_t)
}
