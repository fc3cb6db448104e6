//! The netlink socket by which elements change: a transaction is one send, and what the kernel made of it is there to be read when the send
//! returns. All calls block, for microseconds; where another program holds the kernel's nftables lock, for as long as that takes.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use super::contents::{Element, Set};
use super::wire::{self, Answer, Batch};

/// Answers are there at once; a socket whose answers got lost must not hold up anything.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most the kernel puts into one datagram of a dump, with room.
const DATAGRAM: usize = 256 * 1024;

/// Room for a transaction of a hundred thousand elements, and for what comes back.
const BUFFERS: usize = 8 * 1024 * 1024;

/// How often a dump that was disturbed is begun anew.
const DUMPS: u32 = 5;

/// NFNLGRP_NFTABLES, as a bit.
const CHANGES: u32 = 1 << 6;

pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// What tells whether the structure of a table is still the one that was made: every chain with its policy, every rule, by the numbers the
/// kernel gave them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Structure {
    table: u64,
    /// Not zero: dormant, so nothing in it is asked.
    flags: u32,
    chains: Vec<(u64, Option<u32>)>,
    rules: Vec<u64>,
}

impl Structure {
    /// Whether it is the same table, whatever has become of its chains and rules.
    pub fn is_of_table(&self, other: &Structure) -> bool {
        self.table == other.table
    }
}

impl Netlink {
    /// Errors: the kernel has no netfilter netlink, or this process may not have it.
    pub fn open() -> io::Result<Netlink> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        // Beyond the system's limit only with CAP_NET_ADMIN, without which nothing here works anyway.
        let _ = set_socket_send_buffer_size_force(&socket, BUFFERS);
        let _ = set_socket_recv_buffer_size_force(&socket, BUFFERS);
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Netlink { socket, sequence: 0, buffer: vec![0; DATAGRAM] })
    }

    /// Makes all changes or none. Errors: the first errno the kernel gave, `ENOENT` for an element or table that is not there.
    pub fn commit(&mut self, changes: impl FnOnce(&mut Batch)) -> io::Result<()> {
        let first = self.sequence.wrapping_add(1);
        let mut batch = Batch::new(first);
        changes(&mut batch);
        let asked = batch.asked();
        if asked == 0 {
            return Ok(());
        }
        self.sequence = first.wrapping_add(asked + 1);
        send(&self.socket, &batch.finish(), SendFlags::empty())?;
        let (mut answered, mut failed) = (0, None);
        while answered < asked {
            let datagram = receive(self.socket.as_fd(), &mut self.buffer)?;
            for answer in wire::answers(datagram) {
                let Answer::Acknowledged { sequence, errno } = answer else { continue };
                // Answers of an earlier transaction, whose end was not waited for.
                let place = sequence.wrapping_sub(first);
                if place > asked {
                    continue;
                }
                if errno != 0 {
                    failed.get_or_insert(errno);
                }
                // The first message stands for the transaction as a whole: it failed, and no more will come.
                answered = if place == 0 { asked } else { answered + 1 };
            }
        }
        failed.map_or(Ok(()), |errno| Err(io::Error::from_raw_os_error(errno)))
    }

    /// A number that is another after every change of any table.
    pub fn generation(&mut self) -> io::Result<u32> {
        let mut generation = None;
        self.ask(wire::GET_GENERATION, false, &[], |attributes| generation = generation.or_else(|| wire::find(attributes, 1).and_then(wire::be32)))?;
        generation.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// `None`: there is no such table.
    pub fn structure(&mut self, table: &str) -> io::Result<Option<Structure>> {
        let mut structure = Structure::default();
        let number = |attributes: &[u8], at: u16| wire::find(attributes, at).and_then(wire::be64).unwrap_or_default();
        let asked = self.ask(wire::GET_TABLE, false, &[(1, table)], |attributes| {
            structure.table = number(attributes, 4);
            structure.flags = wire::find(attributes, 2).and_then(wire::be32).unwrap_or_default();
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => return Ok(None),
            other => other?,
        }
        let of_table = |attributes: &[u8]| wire::find(attributes, 1).is_some_and(|name| wire::text_of(name) == table);
        self.ask(wire::GET_CHAIN, true, &[(1, table)], |attributes| {
            if of_table(attributes) {
                structure.chains.push((number(attributes, 2), wire::find(attributes, 5).and_then(wire::be32)));
            }
        })?;
        self.ask(wire::GET_RULE, true, &[(1, table)], |attributes| {
            if of_table(attributes) {
                structure.rules.push(number(attributes, 3));
            }
        })?;
        Ok(Some(structure))
    }

    pub fn elements(&mut self, table: &str, set: Set) -> io::Result<Vec<Element>> {
        Ok(wire::elements(self.raw_elements(table, set)?, set.form()))
    }

    /// Elements of a set that the kernel fills, with the time until it takes them out.
    pub fn timed(&mut self, table: &str, set: Set) -> io::Result<Vec<(IpAddr, Duration)>> {
        let raw = self.raw_elements(table, set)?;
        Ok(raw.iter().filter_map(|raw| Some((wire::address(&raw.key)?, raw.left?))).collect())
    }

    fn raw_elements(&mut self, table: &str, set: Set) -> io::Result<Vec<wire::Raw>> {
        let mut raw = Vec::new();
        self.ask(wire::GET_ELEMENTS, true, &[(1, table), (2, set.name())], |attributes| raw.extend(wire::raw_elements(attributes)))?;
        Ok(raw)
    }

    /// Name and packets of each named counter of a table.
    pub fn counters(&mut self, table: &str) -> io::Result<Vec<(String, u64)>> {
        let mut counters = Vec::new();
        self.ask(wire::GET_OBJECT, true, &[(1, table)], |attributes| {
            let of_table = wire::find(attributes, 1).is_some_and(|name| wire::text_of(name) == table);
            let packets = wire::find(attributes, 4).and_then(|data| wire::find(data, 2)).and_then(wire::be64);
            if let (true, Some(name), Some(packets)) = (of_table, wire::find(attributes, 2), packets) {
                counters.push((wire::text_of(name).to_owned(), packets));
            }
        })?;
        Ok(counters)
    }

    /// Asks and gives every answer's attributes to `take`. A dump that was disturbed is an error after some attempts, since `take` has seen all of
    /// them: it is told of none but the last.
    fn ask(&mut self, kind: u16, dump: bool, texts: &[(u16, &str)], mut take: impl FnMut(&[u8])) -> io::Result<()> {
        for _ in 0..DUMPS {
            self.sequence = self.sequence.wrapping_add(1);
            let asked = self.sequence;
            send(&self.socket, &wire::question(kind, asked, dump, texts), SendFlags::empty())?;
            let (mut found, mut disturbed, mut over) = (Vec::new(), false, false);
            while !over {
                let datagram = receive(self.socket.as_fd(), &mut self.buffer)?;
                for answer in wire::answers(datagram) {
                    match answer {
                        Answer::Data { sequence, attributes, interrupted, .. } if sequence == asked => {
                            disturbed |= interrupted;
                            found.push(attributes.to_vec());
                            over |= !dump;
                        }
                        Answer::Acknowledged { sequence, errno } | Answer::Done { sequence, errno } if sequence == asked => {
                            if errno != 0 {
                                return Err(io::Error::from_raw_os_error(errno));
                            }
                            over = true;
                        }
                        _ => {}
                    }
                }
            }
            if !disturbed {
                found.iter().for_each(|attributes| take(attributes));
                return Ok(());
            }
        }
        Err(io::ErrorKind::Interrupted.into())
    }
}

fn receive<'b>(socket: rustix::fd::BorrowedFd<'_>, buffer: &'b mut [u8]) -> io::Result<&'b [u8]> {
    loop {
        match recv(socket, &mut *buffer, RecvFlags::TRUNC) {
            Ok((_, length)) => return buffer.get(..length).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A socket on which something is to be read whenever somebody has changed the structure of a table of this network namespace: tables, chains,
/// rules, sets, but not their elements, of which there may be very many.
pub fn watch() -> io::Result<socket2::Socket> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket2::Socket::from(socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?);
    socket.attach_filter(&structural())?;
    bind(&socket, &SocketAddrNetlink::new(0, CHANGES))?;
    Ok(socket)
}

/// Passes datagrams whose first message is not about an element or a generation. The kind of a message is the lower byte of its type, which
/// netlink writes in the host's order.
fn structural() -> [socket2::SockFilter; 6] {
    let place = if cfg!(target_endian = "little") { 4 } else { 5 };
    let load = (libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16;
    let equal = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let give = (libc::BPF_RET | libc::BPF_K) as u16;
    [
        socket2::SockFilter::new(load, 0, 0, place),
        socket2::SockFilter::new(equal, 3, 0, wire::NEW_ELEMENTS.into()),
        socket2::SockFilter::new(equal, 2, 0, wire::DEL_ELEMENTS.into()),
        socket2::SockFilter::new(equal, 1, 0, wire::NEW_GENERATION.into()),
        socket2::SockFilter::new(give, 0, 0, u32::MAX),
        socket2::SockFilter::new(give, 0, 0, 0),
    ]
}
