//! The network interfaces of this namespace and the addresses they hold, as the kernel tells them (rtnetlink(7)).

use std::fs;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

const NEW_LINK: u16 = 16;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// REQUEST and DUMP.
const DUMP: u16 = 0x301;
const LOOPBACK: u32 = 0x8;
/// ARPHRD_ETHER.
const ETHERNET: u16 = 1;

const HEADER: usize = 16;

/// One interface.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Link {
    pub index: u32,
    pub name: String,
    /// Of a virtual one: "veth", "vlan", "bond" and the like; empty for hardware.
    pub kind: String,
    pub is_loopback: bool,
    pub is_ethernet: bool,
    /// The longest IP packet it takes. Unit: bytes.
    pub mtu: u32,
    pub addresses: Vec<IpAddr>,
}

impl Link {
    /// Whether the kernel routes what arrives here, without which it tells no program the way onwards; reads sysctl.
    pub fn routes(&self, ipv6: bool) -> bool {
        fs::read_to_string(format!("/proc/sys/{}", self.routing_key(ipv6))).is_ok_and(|text| text.trim() == "1")
    }

    /// The sysctl by which that is switched, with slashes.
    pub fn routing_key(&self, ipv6: bool) -> String {
        format!("net/{}/conf/{}/forwarding", if ipv6 { "ipv6" } else { "ipv4" }, self.name)
    }
}

/// All of them.
pub fn all() -> io::Result<Vec<Link>> {
    let mut links = Vec::new();
    dump(GET_LINK, NEW_LINK, &mut |message| links.extend(link(message)))?;
    dump(GET_ADDRESS, NEW_ADDRESS, &mut |message| {
        if let Some((index, address)) = held(message)
            && let Some(link) = links.iter_mut().find(|link| link.index == index)
        {
            link.addresses.push(address);
        }
    })?;
    Ok(links)
}

/// Asks for all there is of a kind and gives each answer's content to `take`.
fn dump(ask: u16, expect: u16, take: &mut dyn FnMut(&[u8])) -> io::Result<()> {
    // No protocol: the first one, NETLINK_ROUTE.
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_secs(2)))?;
    bind(&socket, &SocketAddrNetlink::new(0, 0))?;
    // The header, and room for the family (any) of either kind of question.
    let mut question = vec![0; HEADER + 16];
    let length = question.len() as u32;
    for (at, bytes) in [(0, &length.to_ne_bytes()[..]), (4, &ask.to_ne_bytes()), (6, &DUMP.to_ne_bytes()), (8, &1u32.to_ne_bytes())] {
        if let Some(place) = question.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }
    send(&socket, &question, SendFlags::empty())?;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let (_, length) = recv(&socket, &mut buffer[..], RecvFlags::TRUNC)?;
        let mut rest = buffer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        while let Some(length) = word(rest, 0) {
            let Some(message) = rest.get(..length as usize).filter(|message| message.len() >= HEADER) else { break };
            match half(message, 4) {
                Some(NLMSG_DONE) => return Ok(()),
                Some(NLMSG_ERROR) => {
                    let errno = word(message, HEADER).map_or(0, |number| (number as i32).saturating_neg());
                    return Err(io::Error::from_raw_os_error(errno));
                }
                Some(kind) if kind == expect => take(message.get(HEADER..).unwrap_or_default()),
                _ => {}
            }
            rest = rest.get((length as usize).next_multiple_of(4)..).unwrap_or_default();
        }
    }
}

fn link(message: &[u8]) -> Option<Link> {
    let (index, flags) = (word(message, 4)?, word(message, 8)?);
    let all = message.get(16..)?;
    let name = text(attribute(all, 3)?);
    let kind = attribute(all, 18).and_then(|nested| attribute(nested, 1)).map(text).unwrap_or_default();
    let is_ethernet = half(message, 2)? == ETHERNET;
    let mtu = attribute(all, 4).and_then(|value| word(value, 0)).unwrap_or_default();
    Some(Link { index, name, kind, is_loopback: flags & LOOPBACK != 0, is_ethernet, mtu, addresses: Vec::new() })
}

/// The address itself, not the other end's of a point-to-point link.
fn held(message: &[u8]) -> Option<(u32, IpAddr)> {
    let index = word(message, 4)?;
    let all = message.get(8..)?;
    let bytes = attribute(all, 2).or_else(|| attribute(all, 1))?;
    let four = <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
    Some((index, four.or_else(|| <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from))?))
}

/// The first attribute of a number (rtnetlink(3)).
pub fn attribute(mut rest: &[u8], number: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(half(rest, 0)?);
        let value = rest.get(4..length)?;
        // The upper two bits say how the value is made, not what it is.
        if half(rest, 2)? & 0x3fff == number {
            return Some(value);
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_end_matches('\0').to_owned()
}

pub fn half(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|field| u16::from_ne_bytes(*field))
}

pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|field| u32::from_ne_bytes(*field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_is_among_them() {
        let links = all().unwrap();
        let loopback = links.iter().find(|link| link.is_loopback).unwrap();
        assert_eq!((loopback.name.as_str(), loopback.index), ("lo", 1));
        assert!(loopback.addresses.contains(&"127.0.0.1".parse().unwrap()), "{links:?}");
    }

    #[test]
    fn a_message_cut_short_is_nothing() {
        let mut message = vec![0; 16];
        message.extend_from_slice(&[7, 0, 3, 0, b'e', b'0', 0, 0]);
        assert_eq!(link(&message).unwrap().name, "e0");
        for length in 0..message.len() - 1 {
            assert_eq!(link(&message[..length]), None, "{length}");
        }
        assert_eq!(attribute(&[0, 0, 3, 0], 3), None, "a length of nothing");
    }
}
