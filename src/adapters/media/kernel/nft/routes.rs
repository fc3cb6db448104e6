//! Where a packet of ours would go: the kernel's own answer (rtnetlink(7), RTM_GETROUTE), by its routes, rules and sockets' addresses.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with};

use super::super::links::{attribute, half, word};

const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const REQUEST: u16 = 1;
const UNICAST: u8 = 1;
const UDP: u8 = 17;
const HEADER: usize = 16;
/// After the header: family, lengths of prefixes and the like.
const FIXED: usize = 12;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    pub interface: u32,
    pub next_hop: IpAddr,
}

pub struct Routes {
    socket: OwnedFd,
    asked: u32,
}

impl Routes {
    pub fn open() -> io::Result<Routes> {
        // No protocol: the first one, NETLINK_ROUTE.
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(200)))?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Routes { socket, asked: 0 })
    }

    /// `None`: there is none, or it leads to this machine itself.
    pub fn find(&mut self, from: SocketAddr, to: SocketAddr) -> Option<Route> {
        self.asked = self.asked.wrapping_add(1);
        send(&self.socket, &question(self.asked, from, to), SendFlags::empty()).ok()?;
        let mut buffer = [0; 4096];
        // An answer whose end was not waited for may come first.
        for _ in 0..4 {
            let (_, length) = recv(&self.socket, &mut buffer[..], RecvFlags::TRUNC).ok()?;
            let message = buffer.get(..length)?;
            if word(message, 8)? == self.asked {
                return answer(message, to.ip());
            }
        }
        None
    }
}

fn question(sequence: u32, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    bytes.extend_from_slice(&GET_ROUTE.to_ne_bytes());
    bytes.extend_from_slice(&REQUEST.to_ne_bytes());
    bytes.extend_from_slice(&sequence.to_ne_bytes());
    bytes.extend_from_slice(&[0; 4]);
    let (family, bits) = if to.is_ipv6() { (10, 128) } else { (2, 32) };
    bytes.extend_from_slice(&[family, bits, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    let mut add = |number: u16, value: &[u8]| {
        bytes.extend_from_slice(&((value.len() + 4) as u16).to_ne_bytes());
        bytes.extend_from_slice(&number.to_ne_bytes());
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    };
    for (number, address) in [(1, to.ip()), (2, from.ip())] {
        match address {
            IpAddr::V4(address) => add(number, &address.octets()),
            IpAddr::V6(address) => add(number, &address.octets()),
        }
    }
    // What rules may look at besides.
    add(27, &[UDP]);
    add(28, &from.port().to_be_bytes());
    add(29, &to.port().to_be_bytes());
    let length = bytes.len() as u32;
    if let Some(place) = bytes.first_chunk_mut() {
        *place = length.to_ne_bytes();
    }
    bytes
}

fn answer(message: &[u8], to: IpAddr) -> Option<Route> {
    if half(message, 4)? != NEW_ROUTE || *message.get(HEADER + 7)? != UNICAST {
        return None;
    }
    let all = message.get(HEADER + FIXED..)?;
    // A next hop of the other family (RTA_VIA) is no case of ours.
    if attribute(all, 18).is_some() {
        return None;
    }
    let next_hop = match attribute(all, 5) {
        None => to,
        Some(gateway) => {
            let four = <[u8; 4]>::try_from(gateway).ok().map(IpAddr::from);
            four.or_else(|| <[u8; 16]>::try_from(gateway).ok().map(IpAddr::from)).filter(|gateway| gateway.is_ipv6() == to.is_ipv6())?
        }
    };
    Some(Route { interface: word(attribute(all, 4)?, 0)?, next_hop })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_ourselves_is_none() {
        let mut routes = Routes::open().unwrap();
        let at = |text: &str| text.parse().unwrap();
        assert_eq!(routes.find(at("127.0.0.1:4000"), at("127.0.0.1:4002")), None);
    }

    #[test]
    fn an_answer_cut_short_is_none() {
        let mut message = vec![0; HEADER + FIXED];
        message[4..6].copy_from_slice(&NEW_ROUTE.to_ne_bytes());
        message[HEADER + 7] = UNICAST;
        message.extend_from_slice(&[8, 0, 4, 0]);
        message.extend_from_slice(&3u32.to_ne_bytes());
        message.extend_from_slice(&[8, 0, 5, 0, 10, 2, 0, 254]);
        let to = "192.0.2.1".parse().unwrap();
        assert_eq!(answer(&message, to), Some(Route { interface: 3, next_hop: "10.2.0.254".parse().unwrap() }));
        for length in 0..HEADER + FIXED + 8 {
            assert_eq!(answer(&message[..length], to), None, "{length}");
        }
    }
}
