//! The four UDP sockets of one stream: RTP and RTCP (RFC 3550 §11) on each side, bound to the addresses signalling chose.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::media::control::{Addresses, Side};
use crate::media::relay::Channel;

use super::{Settings, system};

/// Between two attempts at an address in use.
const AGAIN: Duration = Duration::from_millis(5);
/// Of the descriptors that the process may have, those that media leaves to connections, operators and files: one in so many, but no more than this. Without
/// them one call too many would leave peers unanswered, and the operator who wants to know why.
const LEAVES: u64 = 16;
const LEAVES_AT_MOST: u64 = 512;

/// Which of a stream's four sockets: the low two bits of its epoll token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u8);

impl Place {
    pub(super) const ALL: [Place; 4] = [Place(0), Place(1), Place(2), Place(3)];

    pub(super) const A_RTP: Place = Place(0);
    pub(super) const A_RTCP: Place = Place(1);
    pub(super) const B_RTP: Place = Place(2);
    pub(super) const B_RTCP: Place = Place(3);

    pub(super) const fn of(side: Side, channel: Channel) -> Place {
        let side = if matches!(side, Side::A) { 0 } else { 2 };
        Place(side | if matches!(channel, Channel::Rtp) { 0 } else { 1 })
    }

    pub(super) const fn from_token(token: u64) -> Place {
        Place((token & 3) as u8)
    }

    pub(super) const fn bits(self) -> u64 {
        self.0 as u64
    }

    /// 0 to 3.
    pub(super) const fn index(self) -> usize {
        (self.0 & 3) as usize
    }

    pub(super) const fn side(self) -> Side {
        if self.0 & 2 == 0 { Side::A } else { Side::B }
    }

    pub(super) const fn channel(self) -> Channel {
        if self.0 & 1 == 0 { Channel::Rtp } else { Channel::Rtcp }
    }
}

/// A stream's sockets, by [`Place`].
pub(super) struct Sockets {
    descriptors: [OwnedFd; 4],
    a: Addresses,
    b: Addresses,
}

impl Sockets {
    /// Binds all four or none. The error names the address that could not be had. Until `patience` an address in use is tried again: the kernel
    /// lets go of what an io_uring held a little after its process, or the worker's run that made it, is gone.
    pub(super) fn open(a: Addresses, b: Addresses, settings: &Settings, patience: Instant) -> Result<Sockets, (SocketAddr, io::Error)> {
        let bind = |address| {
            loop {
                match bind(address, settings) {
                    Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < patience => std::thread::sleep(AGAIN),
                    outcome => return outcome.map_err(|error| (address, error)),
                }
            }
        };
        Ok(Sockets { descriptors: [bind(a.rtp)?, bind(a.rtcp)?, bind(b.rtp)?, bind(b.rtcp)?], a, b })
    }

    pub(super) fn at(&self, place: Place) -> BorrowedFd<'_> {
        // Two bits name four places, so the index is always inside.
        self.descriptors[place.index()].as_fd()
    }

    /// Where it was asked to be bound: ours, as the peer was told.
    pub(super) fn side(&self, side: Side) -> Addresses {
        match side {
            Side::A => self.a,
            Side::B => self.b,
        }
    }
}

/// SO_REUSEADDR stays off: two streams on one port would take each other's packets. IPv6 sockets are IPv6 only, so that no IPv4 peer appears
/// under a mapped address.
fn bind(address: SocketAddr, settings: &Settings) -> io::Result<OwnedFd> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    stay_within(&socket)?;
    let class = u32::from(settings.dscp.min(63)) << 2;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        socket.set_tclass_v6(class)?;
    } else {
        socket.set_tos_v4(class)?;
    }
    system::keep_errors(socket.as_fd(), address.is_ipv6())?;
    socket.set_recv_buffer_size(settings.receive_buffer)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The kernel gives the lowest number that is free: one this high says that all below are taken.
fn stay_within(socket: &Socket) -> io::Result<()> {
    let Some(most) = getrlimit(Resource::Nofile).current else { return Ok(()) };
    let left = (most / LEAVES).min(LEAVES_AT_MOST);
    if u64::try_from(socket.as_raw_fd()).is_ok_and(|number| number < most - left) {
        return Ok(());
    }
    let why = format!(
        "of {most} descriptors {left} are left to connections and operators, and all others are taken; raise LimitNOFILE (a container: --ulimit nofile)"
    );
    Err(io::Error::other(why))
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[test]
    fn sockets_carry_the_code_point_and_keep_their_port_to_themselves() {
        let addresses = |ip: &str| {
            let any: SocketAddr = SocketAddr::new(ip.parse().unwrap(), 0);
            Addresses { rtp: any, rtcp: any }
        };
        let sockets = Sockets::open(addresses("127.0.0.1"), addresses("::1"), &Settings::default(), Instant::now()).unwrap();
        for place in Place::ALL {
            let fd = sockets.at(place);
            let socket = SockRef::from(&fd);
            assert!(!socket.reuse_address().unwrap());
            assert!(socket.nonblocking().unwrap());
            // The kernel doubles what it is asked for (socket(7)).
            assert_eq!(socket.recv_buffer_size().unwrap(), 2 * Settings::default().receive_buffer);
            if place.side() == Side::A {
                assert_eq!(socket.tos_v4().unwrap(), 46 << 2);
            } else {
                assert_eq!(socket.tclass_v6().unwrap(), 46 << 2);
                assert!(socket.only_v6().unwrap());
            }
        }
    }

    #[test]
    fn a_place_is_two_bits_of_a_token() {
        for place in Place::ALL {
            assert_eq!(Place::from_token(77 << 2 | place.bits()), place);
            assert_eq!(Place::of(place.side(), place.channel()), place);
        }
    }
}
