//! Streams forwarded by nftables, where XDP cannot be had: a table of our own, and its elements.
//!
//! The table belongs to the socket that made it (Linux 5.12), so that nobody else changes it and it is gone when this process is, however it ends. It
//! needs no routing switched on. A next hop is asked of the kernel when an element is made; that hop's link address is the kernel's own concern.

mod message;
mod routes;

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};
use rustix::thread::CapabilitySet;

use crate::media::shortcut::{Shortcut, WhyNot};

use self::message::{Answer, Key, Layout, Talk, Value};
use self::routes::{Route, Routes};
use super::super::privilege;
use super::links::Link;

pub use self::message::Passed;

const TABLE: &str = "portcullis_media";

/// Elements of either family: one for each payload type of a direction.
const ROOM: u32 = 65_536;

/// Of one direction. What comes under more of them goes by the sockets.
const PAYLOAD_TYPES: usize = 8;

/// Those that are told apart without having been agreed on come first (RFC 3551 §6): G.711, G.722, G.729, G.723, GSM.
const USUAL: [u8; 6] = [0, 8, 9, 18, 4, 3];

/// Answers are there at once; one that got lost must not hold up anything.
const PATIENCE: Duration = Duration::from_millis(500);

/// A reply of the kernel to one direction's elements fits many times over.
const DATAGRAM: usize = 32 * 1024;

/// Our table in the kernel.
pub struct Table {
    socket: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
    routes: Routes,
    /// Packets leave by these only.
    interfaces: Vec<u32>,
    used: u32,
    /// The last talk was broken off: what it was answered may still come.
    is_behind: bool,
    /// Elements that could not be deleted.
    stuck: Vec<Vec<Key>>,
}

/// One direction's elements.
#[derive(Debug)]
pub struct Entry {
    keys: Vec<Key>,
    leaves: SocketAddr,
    to: SocketAddr,
    route: Route,
    /// Of each packet beside its payload. Unit: bytes.
    headers: u64,
}

impl Entry {
    /// Bytes of UDP payload among those that have passed.
    pub fn payload(&self, passed: Passed) -> u64 {
        passed.bytes.saturating_sub(self.headers.saturating_mul(passed.packets))
    }
}

impl Table {
    /// Makes it on all of `links`; says on which. The error is for the operator: what failed, and what can be done.
    pub fn build(links: &[&Link], dscp: u8) -> Result<(Table, String), String> {
        if let Some(link) = links.iter().find(|link| !link.is_ethernet) {
            return Err(format!("{} is no Ethernet; name others in [media] interfaces", link.name));
        }
        let open = || -> io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(NETFILTER))?;
            set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
            bind(&socket, &SocketAddrNetlink::new(0, 0))?;
            Ok(socket)
        };
        let socket = open().map_err(|error| format!("the kernel has no nftables: {error}"))?;
        let routes = Routes::open().map_err(|error| format!("the kernel's routes cannot be asked: {error}"))?;
        let interfaces = links.iter().map(|link| link.index).collect();
        let mut table = Table { socket, sequence: 0, buffer: vec![0; DATAGRAM], routes, interfaces, used: 0, is_behind: false, stuck: Vec::new() };
        let names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
        let mtu = links.iter().map(|link| link.mtu).min().unwrap_or(1500).min(u32::from(u16::MAX)) as u16;
        let layout = Layout { table: TABLE, interfaces: &names, mtu, dscp, room: ROOM };
        table.talk(true, |talk| talk.build(&layout)).map_err(|error| refused(&error))?;
        Ok((table, names.join(", ")))
    }

    /// Has packets that fit `shortcut` forwarded from `leaves`, our socket on the other side; `arrives` is where they come to.
    pub fn insert(&mut self, shortcut: &Shortcut, arrives: SocketAddr, leaves: SocketAddr) -> Result<Entry, WhyNot> {
        let (from, to) = (shortcut.from, shortcut.to);
        if from.is_ipv6() != to.is_ipv6() {
            return Err(WhyNot::OtherFamily);
        }
        self.sweep();
        let route = self.route(leaves, to).ok_or(WhyNot::Refused)?;
        let keys: Vec<Key> = payload_types(shortcut.payload_types).map(|payload_type| Key { from, ours: arrives, ssrc: shortcut.ssrc, payload_type }).collect();
        if self.used + keys.len() as u32 > ROOM {
            return Err(WhyNot::Full);
        }
        let value = Value { ours: leaves, to, interface: route.interface, next_hop: route.next_hop };
        self.talk(true, |talk| talk.add(TABLE, &keys, &value)).map_err(|_| WhyNot::Refused)?;
        self.used += keys.len() as u32;
        Ok(Entry { keys, leaves, to, route, headers: if to.is_ipv6() { 48 } else { 28 } })
    }

    /// What its elements have let pass in all. `None`: the kernel does not say.
    pub fn read(&mut self, entry: &Entry) -> Option<Passed> {
        self.talk(false, |talk| talk.count(TABLE, &entry.keys)).ok()
    }

    /// No packet goes by it any more; what it let pass in all, and whether the kernel has deleted it.
    pub fn remove(&mut self, entry: &Entry) -> (Option<Passed>, bool) {
        self.sweep();
        let (passed, is_gone) = self.delete(&entry.keys);
        if !is_gone {
            self.stuck.push(entry.keys.clone());
        }
        (passed, is_gone)
    }

    /// Three times asked.
    fn delete(&mut self, keys: &[Key]) -> (Option<Passed>, bool) {
        let mut said = Err(io::ErrorKind::Other.into());
        for _ in 0..3 {
            said = self.talk(true, |talk| talk.remove(TABLE, keys));
            if !matches!(&said, Err(error) if error.raw_os_error() != Some(Errno::NOENT.raw_os_error())) {
                // Deleted, if not now then by an earlier attempt whose answer was lost.
                self.used = self.used.saturating_sub(keys.len() as u32);
                return (said.ok(), true);
            }
        }
        (said.ok(), false)
    }

    /// Deletes what could not be deleted before.
    pub fn sweep(&mut self) {
        for keys in std::mem::take(&mut self.stuck) {
            if !self.delete(&keys).1 {
                self.stuck.push(keys);
            }
        }
    }

    /// Whether its packets still go the way the kernel would have them go.
    pub fn is_current(&mut self, entry: &Entry) -> bool {
        self.route(entry.leaves, entry.to) == Some(entry.route)
    }

    fn route(&mut self, leaves: SocketAddr, to: SocketAddr) -> Option<Route> {
        self.routes.find(leaves, to).filter(|route| self.interfaces.contains(&route.interface))
    }

    /// Says it and hears the answer: what the elements asked for or taken out have counted, together. Where this thread has the capability, but not in
    /// effect, it is put into effect.
    fn talk(&mut self, is_batch: bool, mut write: impl FnMut(&mut Talk)) -> io::Result<Passed> {
        let said = self.say(is_batch, &mut write);
        match said {
            Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                privilege::raise(CapabilitySet::NET_ADMIN);
                self.say(is_batch, &mut write)
            }
            other => other,
        }
    }

    fn say(&mut self, is_batch: bool, write: &mut impl FnMut(&mut Talk)) -> io::Result<Passed> {
        let first = self.sequence.wrapping_add(1);
        let mut talk = if is_batch { Talk::batch(first) } else { Talk::question(first) };
        write(&mut talk);
        let (bytes, after) = talk.finish();
        self.sequence = after;
        // The edges of a batch are acknowledged only where all of it fails.
        let edges = if is_batch { 2 } else { 0 };
        let asked = after.wrapping_sub(first).saturating_sub(edges);
        while self.is_behind {
            self.is_behind = recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC | RecvFlags::DONTWAIT).is_ok();
        }
        send(&self.socket, &bytes, SendFlags::empty())?;
        let heard = self.hear(first, asked, is_batch);
        self.is_behind = matches!(&heard, Err(error) if error.raw_os_error().is_none_or(|errno| errno == Errno::AGAIN.raw_os_error() || errno == Errno::NOBUFS.raw_os_error()));
        heard
    }

    /// `asked`: acknowledgements to come if nothing fails.
    fn hear(&mut self, first: u32, asked: u32, is_batch: bool) -> io::Result<Passed> {
        let (mut answered, mut failed, mut sum) = (0, None, Passed::default());
        while answered < asked {
            let length = match recv(&self.socket, &mut self.buffer[..], RecvFlags::TRUNC) {
                Ok((_, length)) => length,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let datagram = self.buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
            for answer in message::answers(datagram) {
                match answer {
                    Answer::Counted(passed) => {
                        sum.packets += passed.packets;
                        sum.bytes += passed.bytes;
                    }
                    Answer::Acknowledged { sequence, errno } => {
                        if errno != 0 {
                            failed.get_or_insert(errno);
                        }
                        answered = if is_batch && sequence == first { asked } else { answered + 1 };
                    }
                }
            }
        }
        failed.map_or(Ok(sum), |errno| Err(io::Error::from_raw_os_error(errno)))
    }
}

fn payload_types(bits: u128) -> impl Iterator<Item = u8> {
    let usual = USUAL.into_iter();
    usual.chain((0..128).filter(|number| !USUAL.contains(number))).filter(move |number| bits >> number & 1 == 1).take(PAYLOAD_TYPES)
}

fn refused(error: &io::Error) -> String {
    let remedy = match error.raw_os_error().map(Errno::from_raw_os_error) {
        // Of a table that is another socket's.
        Some(Errno::PERM | Errno::EXIST) => "it needs CAP_NET_ADMIN, and that no other Portcullis has it in this network namespace",
        _ => "it needs Linux 5.12 or newer, with nf_tables, nf_tables_netdev and nft_fwd_netdev",
    };
    format!("the kernel refuses the table netdev {TABLE}: {error}; {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_payload_types_the_usual_ones_are_taken() {
        assert_eq!(payload_types(1 << 111 | 1 << 8).collect::<Vec<_>>(), [8, 111]);
        assert_eq!(payload_types(u128::MAX).collect::<Vec<_>>(), [0, 8, 9, 18, 4, 3, 1, 2]);
    }

    #[test]
    fn payload_is_what_is_left_of_packets() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let route = Route { interface: 1, next_hop: at("10.2.0.2:0").ip() };
        let entry = Entry { keys: Vec::new(), leaves: at("10.2.0.1:2"), to: at("10.2.0.2:2"), route, headers: 28 };
        assert_eq!(entry.payload(Passed { packets: 50, bytes: 10_000 }), 8_600);
    }
}
