//! A lite ICE agent with one component and one candidate (RFC 8445 §2.5, §7.3): it checks nothing itself, answers the peer's checks, and takes the pair the
//! peer nominates. Its peer is always the controlling agent.

use std::net::SocketAddr;
use std::time::Duration;

use crate::media::stun::{Check, Key, Response};
use crate::sdp::ice::Credentials;
use crate::time::Time;

/// Addresses of the peer that are remembered as having proven themselves.
const REMEMBERED: usize = 8;

/// A nominated pair that has not been checked for so long gives way to any other: the peer asks every 5 s at least (RFC 7675 §5.1, RFC 8445 §11).
const STALE: Duration = Duration::from_secs(15);

/// A pair that was nominated or may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Pair {
    remote: SocketAddr,
    priority: u32,
    checked: Time,
}

/// What a check brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Send `buffer[..len]` back to where the check came from. `moved`: the peer is to be found at another address than before.
    Reply { len: usize, moved: bool },
    /// No check of the peer's: nothing is owed.
    Refused,
}

/// One side's agent.
#[derive(Debug)]
pub struct Lite {
    local: Credentials,
    /// The peer's fragment once it is known: before our offer is answered any will do, since only who has our password can ask.
    peer: Option<String>,
    key: Key,
    valid: Vec<SocketAddr>,
    selected: Option<Pair>,
    /// The selected pair was nominated, not merely the first that worked.
    is_nominated: bool,
}

impl Lite {
    pub fn new(local: Credentials, peer: Option<String>) -> Lite {
        let key = Key::new(&local.password);
        Lite { local, peer, key, valid: Vec::new(), selected: None, is_nominated: false }
    }

    /// The same agent goes on if our credentials are the same; the peer's fragment may have become known. False: this is another one (RFC 8445 §9, a restart).
    pub fn goes_on(&mut self, local: &Credentials, peer: Option<&String>) -> bool {
        let is_same = self.local == *local && (self.peer.is_none() || self.peer.as_ref() == peer);
        if is_same {
            self.peer = peer.cloned();
        }
        is_same
    }

    /// Where the peer is: the pair nominated, before that the first one that worked.
    pub fn selected(&self) -> Option<SocketAddr> {
        self.selected.map(|pair| pair.remote)
    }

    /// The address has proven that it knows our password.
    pub fn is_valid(&self, from: SocketAddr) -> bool {
        self.valid.contains(&from)
    }

    /// A STUN message in `buffer[..len]`, answered in place.
    pub fn message(&mut self, now: Time, from: SocketAddr, buffer: &mut [u8], len: usize) -> Outcome {
        let Some(check) = buffer.get(..len).and_then(|datagram| Check::read(datagram, &self.key)) else { return Outcome::Refused };
        let Check { transaction, priority, nominates, is_controlled, unknown, unknown_count, .. } = check;
        if !self.is_for_us(check.username) {
            return Outcome::Refused;
        }
        let (response, moved) = match unknown.get(..unknown_count) {
            Some(unknown) if !unknown.is_empty() => (Response::Unknown(unknown), false),
            _ if is_controlled => (Response::RoleConflict, false),
            _ => (Response::Success(from), self.take(now, Pair { remote: from, priority, checked: now }, nominates)),
        };
        match response.write(&transaction, &self.key, buffer) {
            Some(len) => Outcome::Reply { len, moved },
            None => Outcome::Refused,
        }
    }

    /// RFC 8445 §7.2.2: `ours:theirs`.
    fn is_for_us(&self, username: &[u8]) -> bool {
        let Some((ours, theirs)) = std::str::from_utf8(username).ok().and_then(|name| name.split_once(':')) else { return false };
        ours == self.local.ufrag && self.peer.as_ref().is_none_or(|peer| peer == theirs)
    }

    /// A check worked. Of several nominated pairs the one of the highest priority counts (RFC 5245 §8.1.1.2, for peers that nominate them all).
    fn take(&mut self, now: Time, pair: Pair, nominates: bool) -> bool {
        if !self.is_valid(pair.remote) {
            self.valid.truncate(REMEMBERED - 1);
            self.valid.insert(0, pair.remote);
        }
        let is_better = match &mut self.selected {
            None => true,
            Some(current) if current.remote == pair.remote => {
                current.checked = now;
                current.priority = current.priority.max(pair.priority);
                self.is_nominated |= nominates;
                false
            }
            Some(current) => {
                let is_stale = now.since(current.checked) >= STALE;
                nominates && (!self.is_nominated || pair.priority >= current.priority || is_stale)
            }
        };
        if is_better {
            self.selected = Some(pair);
            self.is_nominated = nominates;
        }
        is_better
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::stun::tests::{NOMINATES, check, priority};

    const PASSWORD: &str = "asd88fgpdd777uzjYhagZg";

    fn lite(peer: Option<&str>) -> Lite {
        Lite::new(Credentials { ufrag: "ours".into(), password: PASSWORD.into() }, peer.map(str::to_owned))
    }

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ask(agent: &mut Lite, millis: u64, from: &str, message: &[u8]) -> (Outcome, Vec<u8>) {
        let mut buffer = [0; 512];
        buffer[..message.len()].copy_from_slice(message);
        let outcome = agent.message(Time::from_millis(millis), at(from), &mut buffer, message.len());
        let len = if let Outcome::Reply { len, .. } = outcome { len } else { 0 };
        (outcome, buffer[..len].to_vec())
    }

    fn moves(outcome: Outcome) -> bool {
        matches!(outcome, Outcome::Reply { moved: true, .. })
    }

    #[test]
    fn the_first_that_works_is_used_until_one_is_nominated() {
        let mut agent = lite(Some("them"));
        let plain = check("ours:them", PASSWORD, &[priority(&[0, 0, 0, 9])]);
        let (outcome, reply) = ask(&mut agent, 0, "192.0.2.1:1000", &plain);
        assert!(moves(outcome));
        assert_eq!(reply[..2], [1, 1]);
        assert!(!moves(ask(&mut agent, 1, "192.0.2.2:2000", &plain).0), "a second one that works changes nothing");
        assert_eq!(agent.selected(), Some(at("192.0.2.1:1000")));
        let nominated = check("ours:them", PASSWORD, &[priority(&[0, 0, 0, 5]), NOMINATES]);
        assert!(moves(ask(&mut agent, 2, "192.0.2.2:2000", &nominated).0));
        assert_eq!(agent.selected(), Some(at("192.0.2.2:2000")));
        assert!(agent.is_valid(at("192.0.2.1:1000")) && !agent.is_valid(at("192.0.2.3:3000")));
    }

    #[test]
    fn of_several_nominated_the_highest_priority_counts_until_it_goes_stale() {
        let mut agent = lite(Some("them"));
        let low = check("ours:them", PASSWORD, &[priority(&[0, 0, 0, 1]), NOMINATES]);
        let high = check("ours:them", PASSWORD, &[priority(&[0, 0, 0, 2]), NOMINATES]);
        ask(&mut agent, 0, "192.0.2.1:1000", &high);
        assert!(!moves(ask(&mut agent, 1, "192.0.2.2:2000", &low).0));
        assert!(!moves(ask(&mut agent, 14_000, "192.0.2.2:2000", &low).0));
        assert!(moves(ask(&mut agent, 15_000, "192.0.2.2:2000", &low).0), "the peer has moved: a NAT took another port");
        assert!(moves(ask(&mut agent, 15_001, "192.0.2.1:1000", &high).0));
    }

    #[test]
    fn strangers_get_nothing() {
        let mut agent = lite(Some("them"));
        let nominated = |username: &str, password: &str| check(username, password, &[NOMINATES]);
        for bad in [
            nominated("ours:them", "asd88fgpdd777uzjYhagZh"),
            nominated("ours:they", PASSWORD),
            nominated("them:ours", PASSWORD),
            nominated("ours", PASSWORD),
            vec![0, 1, 0, 0],
            Vec::new(),
        ] {
            assert_eq!(ask(&mut agent, 0, "192.0.2.1:1000", &bad).0, Outcome::Refused);
        }
        assert_eq!((agent.selected(), agent.is_valid(at("192.0.2.1:1000"))), (None, false));
    }

    #[test]
    fn before_the_answer_our_password_is_enough() {
        let mut agent = lite(None);
        assert!(moves(ask(&mut agent, 0, "192.0.2.1:1000", &check("ours:anybody", PASSWORD, &[])).0));
        let ours = agent.local.clone();
        assert!(agent.goes_on(&ours, Some(&"them".to_owned())));
        assert_eq!(agent.selected(), Some(at("192.0.2.1:1000")));
        assert!(!agent.goes_on(&ours, Some(&"they".to_owned())), "another fragment is a restart");
        assert_eq!(ask(&mut agent, 0, "192.0.2.1:1000", &check("ours:anybody", PASSWORD, &[])).0, Outcome::Refused);
    }

    #[test]
    fn a_controlled_peer_is_told_to_control_and_strange_attributes_are_refused() {
        let mut agent = lite(Some("them"));
        let (outcome, reply) = ask(&mut agent, 0, "192.0.2.1:1000", &check("ours:them", PASSWORD, &[(0x8029, &[0; 8]), NOMINATES]));
        assert!(!moves(outcome));
        assert_eq!(reply[20..28], [0, 9, 0, 4, 0, 0, 4, 87]);
        let (outcome, reply) = ask(&mut agent, 0, "192.0.2.1:1000", &check("ours:them", PASSWORD, &[(0x7001, &[]), NOMINATES]));
        assert!(!moves(outcome));
        assert_eq!(reply[20..28], [0, 9, 0, 4, 0, 0, 4, 20]);
        assert_eq!(agent.selected(), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut agent = lite(None);
        for port in 1..=1000 {
            ask(&mut agent, 0, &format!("192.0.2.1:{port}"), &check("ours:them", PASSWORD, &[NOMINATES]));
        }
        assert_eq!(agent.valid.len(), REMEMBERED);
    }
}
