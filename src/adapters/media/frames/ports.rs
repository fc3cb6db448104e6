//! Whose a port of ours is: one table for each of our addresses, so that a packet's stream is found by one look.

use std::net::{IpAddr, SocketAddr};

use crate::adapters::media::sockets::Place;

/// For each port: nobody's (0), or slot and place, plus one.
#[derive(Default)]
pub struct Ports(Vec<(IpAddr, Box<[u32]>)>);

const PORTS: usize = 1 << 16;

impl Ports {
    pub fn set(&mut self, ours: SocketAddr, whose: Option<(usize, Place)>) {
        let cell = match self.0.iter().position(|(address, _)| *address == ours.ip()) {
            Some(at) => self.0.get_mut(at),
            None if whose.is_none() => return,
            None => {
                self.0.push((ours.ip(), vec![0; PORTS].into_boxed_slice()));
                self.0.last_mut()
            }
        };
        if let Some(cell) = cell.and_then(|(_, ports)| ports.get_mut(usize::from(ours.port()))) {
            *cell = whose.map_or(0, |(slot, place)| (slot as u32) << 2 | place.bits() as u32).wrapping_add(u32::from(whose.is_some()));
        }
    }

    pub fn at(&self, ours: SocketAddr) -> Option<(usize, Place)> {
        let (_, ports) = self.0.iter().find(|(address, _)| *address == ours.ip())?;
        let whose = ports.get(usize::from(ours.port()))?.checked_sub(1)?;
        Some(((whose >> 2) as usize, Place::from_token(u64::from(whose))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_its_streams_until_it_is_given_back() {
        let (mut ports, at) = (Ports::default(), |text: &str| text.parse::<SocketAddr>().unwrap());
        ports.set(at("192.0.2.1:20000"), None);
        ports.set(at("192.0.2.1:20000"), Some((0, Place::A_RTP)));
        ports.set(at("192.0.2.1:20002"), Some((9_999, Place::B_RTP)));
        ports.set(at("[2001:db8::1]:20000"), Some((7, Place::B_RTP)));
        assert_eq!(ports.at(at("192.0.2.1:20000")), Some((0, Place::A_RTP)));
        assert_eq!(ports.at(at("192.0.2.1:20002")), Some((9_999, Place::B_RTP)));
        assert_eq!(ports.at(at("[2001:db8::1]:20000")), Some((7, Place::B_RTP)));
        assert_eq!(ports.at(at("192.0.2.1:20001")), None);
        assert_eq!(ports.at(at("192.0.2.2:20000")), None);
        ports.set(at("192.0.2.1:20000"), None);
        assert_eq!(ports.at(at("192.0.2.1:20000")), None);
    }
}
