//! Receiving datagrams by the batch: one `recvmmsg` for up to 32 of them. The only unsafe code of this folder.
//!
//! Each slot offers the system two pieces of memory: one that fits nearly every SIP message, which is handed on as it is, and a large one for the
//! rest of a longer datagram, which is kept. So a datagram of the common size is never copied, and what outlives the batch is no larger than needed.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;
use std::ptr;

use bytes::Bytes;

/// Datagrams per system call.
pub const BATCH: usize = 32;
/// Handed on without a copy up to here …
const COMMON: usize = 2_048;
/// … and copied below this, where the copy is cheaper than the memory kept.
const SHORT: usize = 768;
const LARGEST: usize = 65_536;

pub struct Batch {
    slots: Vec<Slot>,
    pub received: Vec<(SocketAddr, Bytes)>,
}

struct Slot {
    /// Empty, with capacity for `COMMON`.
    common: Vec<u8>,
    rest: Box<[u8]>,
}

impl Batch {
    pub fn new() -> Batch {
        let slot = || Slot { common: Vec::with_capacity(COMMON), rest: vec![0; LARGEST - COMMON].into_boxed_slice() };
        Batch { slots: (0..BATCH).map(|_| slot()).collect(), received: Vec::with_capacity(BATCH) }
    }

    /// Takes what has arrived into `received`, without waiting; `WouldBlock` if nothing has.
    pub fn receive(&mut self, socket: &impl AsRawFd) -> io::Result<()> {
        self.received.clear();
        // SAFETY: all-zero bytes are valid values of these C structures (integers and null pointers).
        let (mut from, mut headers): ([libc::sockaddr_storage; BATCH], [libc::mmsghdr; BATCH]) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut pieces = [[libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 }; 2]; BATCH];
        for (((slot, from), header), pieces) in self.slots.iter_mut().zip(&mut from).zip(&mut headers).zip(&mut pieces) {
            slot.common.clear();
            slot.common.reserve_exact(COMMON);
            pieces[0] = libc::iovec { iov_base: slot.common.as_mut_ptr().cast(), iov_len: COMMON };
            pieces[1] = libc::iovec { iov_base: slot.rest.as_mut_ptr().cast(), iov_len: slot.rest.len() };
            header.msg_hdr.msg_name = ptr::from_mut(from).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<libc::sockaddr_storage>() as libc::socklen_t;
            header.msg_hdr.msg_iov = pieces.as_mut_ptr();
            header.msg_hdr.msg_iovlen = pieces.len() as _;
        }
        // SAFETY: `headers` has `self.slots.len()` (= BATCH) initialised entries. Each points at an address buffer and at two pieces that live in this
        // frame, and these at memory of the stated lengths owned by the slot: `COMMON` bytes of reserved capacity, and all of `rest`. Nothing
        // touches any of them until the call returns, and no pointer is kept after it.
        let count = unsafe { libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), self.slots.len() as _, libc::MSG_DONTWAIT as _, ptr::null_mut()) };
        let Ok(count) = usize::try_from(count) else { return Err(io::Error::last_os_error()) };
        for ((slot, from), header) in self.slots.iter_mut().zip(&from).zip(&headers).take(count) {
            let length = (header.msg_len as usize).min(LARGEST);
            let Some(remote) = address(from) else { continue };
            // SAFETY: the system wrote the first min(length, COMMON) bytes of the reserved capacity.
            unsafe { slot.common.set_len(length.min(COMMON)) };
            self.received.push((remote, slot.take(length)));
        }
        Ok(())
    }
}

impl Slot {
    fn take(&mut self, length: usize) -> Bytes {
        match length {
            ..SHORT => Bytes::copy_from_slice(&self.common),
            SHORT..=COMMON => Bytes::from(mem::take(&mut self.common)),
            _ => {
                let mut whole = Vec::with_capacity(length);
                whole.extend_from_slice(&self.common);
                whole.extend_from_slice(self.rest.get(..length - COMMON).unwrap_or_default());
                Bytes::from(whole)
            }
        }
    }
}

fn address(from: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(from.ss_family) {
        libc::AF_INET => {
            // SAFETY: `sockaddr_storage` is large and aligned enough for every address family, and this one says it holds a `sockaddr_in`.
            let from = unsafe { &*ptr::from_ref(from).cast::<libc::sockaddr_in>() };
            Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::from(u32::from_be(from.sin_addr.s_addr))), u16::from_be(from.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a `sockaddr_in6`.
            let from = unsafe { &*ptr::from_ref(from).cast::<libc::sockaddr_in6>() };
            Some(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::from(from.sin6_addr.s6_addr), u16::from_be(from.sin6_port), 0, from.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn every_length_arrives_whole_with_its_source() {
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let (ours, theirs) = (UdpSocket::bind(host).unwrap(), UdpSocket::bind(host).unwrap());
            let mut batch = Batch::new();
            assert_eq!(batch.receive(&ours).unwrap_err().kind(), io::ErrorKind::WouldBlock);
            for round in 0..3u8 {
                let lengths = [0, 1, SHORT - 1, SHORT, 1_400, COMMON - 1, COMMON, COMMON + 1, 9_000, 65_507];
                for length in lengths {
                    let sent: Vec<u8> = (0..length).map(|n| (n % 251) as u8 ^ round).collect();
                    theirs.send_to(&sent, ours.local_addr().unwrap()).unwrap();
                    batch.receive(&ours).unwrap();
                    assert_eq!(batch.received.len(), 1);
                    assert_eq!(batch.received[0].0, theirs.local_addr().unwrap());
                    assert!(batch.received[0].1 == sent, "{length} bytes over {host}");
                }
            }
        }
    }

    #[test]
    fn one_call_drains_many() {
        let (ours, theirs) = (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        for n in 0..40u16 {
            theirs.send_to(&[n as u8; 1_000], ours.local_addr().unwrap()).unwrap();
        }
        let mut batch = Batch::new();
        batch.receive(&ours).unwrap();
        let first: Vec<_> = mem::take(&mut batch.received);
        assert_eq!(first.len(), BATCH);
        batch.receive(&ours).unwrap();
        assert_eq!(batch.received.len(), 8);
        for (n, (_, bytes)) in first.iter().chain(&batch.received).enumerate() {
            assert!(bytes.iter().all(|b| *b == n as u8) && bytes.len() == 1_000);
        }
    }
}
