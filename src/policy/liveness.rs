//! How it stands with each address of the peers that are asked for signs of life (OPTIONS, RFC 3261 §11), and what that means for a new call.
//!
//! | state | of an address that | a new call |
//! |---|---|---|
//! | unwatched | is not asked | goes there in its order |
//! | probing, not known | has not answered yet | goes there in its order |
//! | up | answers | goes there in its order |
//! | probing, doubted | was up and has missed an answer or two | goes there in its order |
//! | probing, recovering | was down or draining and has begun to answer | goes there only if nothing of the above is left |
//! | draining | answered 503: it takes no new calls | the same, after those |
//! | down | has not answered, or could not be reached | the same, after those |
//! | disabled | is of a disabled peer and is not asked | never goes there |
//!
//! Nothing is ever refused because of these states: where all that is left is down, it is tried all the same, since an address that does not answer
//! OPTIONS may still take calls. `signaling/liveness` finds the states out; here they are compared.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::policy::verdict::Reason;
use crate::time::Time;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Liveness {
    /// Not asked: its peer has no `probe`, or the address is not in the peer table.
    Unwatched,
    Probing(Doubt),
    Up {
        since: Time,
    },
    /// It answered 503; it is asked again at `until`.
    Draining {
        since: Time,
        until: Time,
    },
    Down {
        since: Time,
        why: Reason,
    },
    Disabled,
}

/// Why it is neither up nor down.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Doubt {
    /// It never answered yet; so often it should have.
    NotKnown { failures: u32 },
    /// It was up; the last answers, so many, did not come.
    Doubted { since: Time, failures: u32, why: Reason },
    /// It was down or draining; the last answers, so many, came. `damped`: it changed so often that it must answer until then.
    Recovering { since: Time, answers: u32, damped: Option<Time> },
}

/// Which of two targets is tried first. The lower one is better.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Rank {
    Usable,
    Recovering,
    Draining,
    Down,
}

impl Liveness {
    /// The state in one word, as logs and metrics have it.
    pub const fn word(self) -> &'static str {
        match self {
            Liveness::Unwatched => "unwatched",
            Liveness::Probing(_) => "probing",
            Liveness::Up { .. } => "up",
            Liveness::Draining { .. } => "draining",
            Liveness::Down { .. } => "down",
            Liveness::Disabled => "disabled",
        }
    }

    /// The reason that goes with the state.
    pub const fn why(self) -> Reason {
        match self {
            Liveness::Unwatched => Reason::LivenessUnwatched,
            Liveness::Probing(Doubt::NotKnown { .. }) => Reason::LivenessUnknown,
            Liveness::Probing(Doubt::Recovering { damped: None, .. }) => Reason::LivenessRecovering,
            Liveness::Probing(Doubt::Recovering { damped: Some(_), .. }) => Reason::LivenessDamped,
            Liveness::Up { .. } => Reason::LivenessUp,
            Liveness::Draining { .. } => Reason::LivenessDraining,
            Liveness::Probing(Doubt::Doubted { why, .. }) | Liveness::Down { why, .. } => why,
            Liveness::Disabled => Reason::PeerDisabled,
        }
    }

    /// All words a watched address can have.
    pub const WORDS: [&'static str; 5] = ["up", "probing", "draining", "down", "disabled"];

    pub const fn rank(self) -> Rank {
        match self {
            Liveness::Unwatched | Liveness::Up { .. } | Liveness::Probing(Doubt::NotKnown { .. } | Doubt::Doubted { .. }) => Rank::Usable,
            Liveness::Probing(Doubt::Recovering { .. }) => Rank::Recovering,
            Liveness::Draining { .. } => Rank::Draining,
            Liveness::Down { .. } | Liveness::Disabled => Rank::Down,
        }
    }

    /// Whether new calls go there in their order, and not only when nothing else is left.
    pub const fn is_usable(self) -> bool {
        matches!(self.rank(), Rank::Usable)
    }
}

/// For decisions: the state, and why it is no better.
impl std::fmt::Display for Liveness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Liveness::Down { why, .. } => write!(f, "down ({why})"),
            Liveness::Probing(Doubt::NotKnown { .. }) => f.write_str("probing (not known yet)"),
            Liveness::Probing(Doubt::Doubted { why, .. }) => write!(f, "probing ({why})"),
            Liveness::Probing(Doubt::Recovering { damped: None, .. }) => f.write_str("probing (recovering)"),
            Liveness::Probing(Doubt::Recovering { damped: Some(_), .. }) => f.write_str("probing (recovering, damped)"),
            other => f.write_str(other.word()),
        }
    }
}

/// What is known of every watched address, by its peer. Empty: nobody is watched.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Board {
    peers: HashMap<Arc<str>, Vec<(SocketAddr, Liveness)>>,
}

impl Board {
    /// Of one address and port of a peer.
    pub fn at(&self, peer: &str, address: SocketAddr) -> Liveness {
        self.addresses(peer).iter().find(|(known, _)| *known == address).map_or(Liveness::Unwatched, |(_, state)| *state)
    }

    /// Of a peer: the state of its best address. `Unwatched` where none is watched.
    pub fn of(&self, peer: &str) -> Liveness {
        self.addresses(peer)
            .iter()
            .map(|(_, state)| *state)
            .min_by_key(|state| (state.rank(), !matches!(state, Liveness::Up { .. })))
            .unwrap_or(Liveness::Unwatched)
    }

    /// The watched addresses of a peer.
    pub fn addresses(&self, peer: &str) -> &[(SocketAddr, Liveness)] {
        self.peers.get(peer).map_or(&[], |addresses| addresses)
    }

    /// Notes the state of an address; `Unwatched` takes it off the board.
    pub fn set(&mut self, peer: &Arc<str>, address: SocketAddr, state: Liveness) {
        if state == Liveness::Unwatched {
            if let Some(addresses) = self.peers.get_mut(peer) {
                addresses.retain(|(known, _)| *known != address);
                if addresses.is_empty() {
                    self.peers.remove(peer);
                }
            }
            return;
        }
        let addresses = self.peers.entry(Arc::clone(peer)).or_default();
        match addresses.iter_mut().find(|(known, _)| *known == address) {
            Some((_, known)) => *known = state,
            None => addresses.push((address, state)),
        }
    }

    /// For a decision: each of these peers that is watched, with its state. Empty where none is.
    pub fn compared<'a>(&self, peers: impl IntoIterator<Item = &'a str>) -> String {
        let watched = peers.into_iter().map(|peer| (peer, self.of(peer))).filter(|(_, state)| *state != Liveness::Unwatched);
        watched.map(|(peer, state)| format!("{peer} {state}")).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Time = Time::ZERO;
    const UP: Liveness = Liveness::Up { since: AT };
    const DOWN: Liveness = Liveness::Down { since: AT, why: Reason::LivenessTimeout };

    fn address(last: u8) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, last], 5060))
    }

    #[test]
    fn a_peer_is_as_well_as_its_best_address() {
        let mut board = Board::default();
        let peer: Arc<str> = "um".into();
        assert_eq!(board.of("um"), Liveness::Unwatched);
        board.set(&peer, address(1), DOWN);
        assert_eq!(board.of("um"), DOWN);
        board.set(&peer, address(2), Liveness::Probing(Doubt::NotKnown { failures: 1 }));
        assert!(board.of("um").is_usable());
        board.set(&peer, address(3), UP);
        assert_eq!(board.of("um"), UP);
        assert_eq!((board.at("um", address(1)), board.at("um", address(9)), board.at("other", address(1))), (DOWN, Liveness::Unwatched, Liveness::Unwatched));
        for last in [1, 2, 3] {
            board.set(&peer, address(last), Liveness::Unwatched);
        }
        assert_eq!(board, Board::default(), "nothing is kept of what is not watched");
    }

    #[test]
    fn what_is_compared_names_the_watched_and_why() {
        let mut board = Board::default();
        board.set(&"a".into(), address(1), DOWN);
        board.set(&"c".into(), address(3), Liveness::Probing(Doubt::Recovering { since: AT, answers: 1, damped: Some(AT) }));
        assert_eq!(board.compared(["a", "b", "c"]), "a down (liveness.timeout), c probing (recovering, damped)");
        assert_eq!(board.compared(["b"]), "");
    }

    #[test]
    fn the_order_of_ranks_is_the_order_of_the_table() {
        let recovering = Liveness::Probing(Doubt::Recovering { since: AT, answers: 1, damped: None });
        let draining = Liveness::Draining { since: AT, until: AT };
        let mut states = [DOWN, draining, recovering, UP];
        states.sort_by_key(|state| state.rank());
        assert_eq!(states, [UP, recovering, draining, DOWN]);
        assert!(Liveness::Unwatched.is_usable() && !Liveness::Disabled.is_usable());
    }
}
