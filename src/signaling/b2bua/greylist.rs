//! Targets put off after a failure, for a time, whatever their answers to OPTIONS: a server may answer these and take no calls.
//!
//! An address that a call or an errand found silent, out of reach or answering 503 is tried last until its time is over, or until it takes a request
//! after all. Nothing is ever left out because of it. With it, what RFC 3263 §4.3 and Exchange's own dialling know as a bad address is remembered.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::time::Time;

/// Addresses remembered at once; peers have fewer.
const MOST: usize = 10_000;

#[derive(Default)]
pub struct Greylist {
    until: HashMap<(Arc<str>, SocketAddr), Time>,
}

impl Greylist {
    /// The address has just failed.
    pub fn put_off(&mut self, now: Time, peer: &Arc<str>, address: SocketAddr, span: Duration) {
        if span.is_zero() {
            return;
        }
        if self.until.len() >= MOST {
            self.until.retain(|_, until| *until > now);
        }
        if self.until.len() < MOST {
            self.until.insert((peer.clone(), address), now + span);
        }
    }

    /// The address has taken a request.
    pub fn forgive(&mut self, peer: &Arc<str>, address: SocketAddr) {
        if !self.until.is_empty() {
            self.until.remove(&(peer.clone(), address));
        }
    }

    /// How much longer an address is put off.
    pub fn left(&self, now: Time, peer: &Arc<str>, address: SocketAddr) -> Option<Duration> {
        if self.until.is_empty() {
            return None;
        }
        let until = self.until.get(&(peer.clone(), address))?;
        (*until > now).then(|| until.since(now))
    }

    /// Whether some port of this address of the peer is put off.
    pub fn has_host(&self, now: Time, peer: &Arc<str>, host: std::net::IpAddr) -> bool {
        self.until.iter().any(|((name, address), until)| name == peer && address.ip() == host && *until > now)
    }

    pub fn is_empty(&self) -> bool {
        self.until.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_put_off_until_its_time_is_over_or_it_is_forgiven() {
        let (mut list, peer, at) = (Greylist::default(), Arc::<str>::from("um"), Time::from_millis(1000));
        let address = SocketAddr::from(([192, 0, 2, 1], 5065));
        list.put_off(at, &peer, address, Duration::from_secs(32));
        assert_eq!(list.left(at + Duration::from_secs(2), &peer, address), Some(Duration::from_secs(30)));
        assert_eq!(list.left(at, &peer, SocketAddr::from(([192, 0, 2, 1], 5067))), None, "the other worker's port is another target");
        assert_eq!(list.left(at, &"other".into(), address), None);
        assert!(list.has_host(at, &peer, address.ip()));
        assert_eq!(list.left(at + Duration::from_secs(32), &peer, address), None);
        list.put_off(at, &peer, address, Duration::from_secs(32));
        list.forgive(&peer, address);
        assert_eq!(list.left(at, &peer, address), None);
        list.put_off(at, &peer, address, Duration::ZERO);
        assert!(list.is_empty(), "nobody is put off for no time");
    }

    #[test]
    fn it_never_holds_more_than_its_most() {
        let (mut list, peer) = (Greylist::default(), Arc::<str>::from("um"));
        for index in 0..(MOST as u32 + 500) {
            list.put_off(Time::ZERO, &peer, SocketAddr::from((index.to_be_bytes(), 5060)), Duration::from_secs(1));
        }
        assert_eq!(list.until.len(), MOST);
        list.put_off(Time::from_millis(2000), &peer, SocketAddr::from(([255, 255, 255, 255], 5060)), Duration::from_secs(1));
        assert_eq!(list.until.len(), 1, "what is over makes room");
    }
}
