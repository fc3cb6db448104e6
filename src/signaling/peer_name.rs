//! How it stands with a peer's host name in DNS (RFC 1034, 2308): its states, why it gave no addresses, what is odd about its answers.

use std::net::IpAddr;
use std::time::Duration;

use crate::policy::address_scope::AddressScope;

/// How it stands with a peer's host name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameState {
    /// Answered; the addresses differ from the last ones, or it was not fresh before.
    Fresh { addresses: Vec<IpAddr> },
    /// Not answered, or by half: the last good addresses, now `age` old, are kept for at most `grace` from now.
    Stale { error: NameError, age: Duration, grace: Duration },
    /// Without addresses: who comes from there is a stranger.
    Unresolved { error: NameError },
}

/// Why a name gave no addresses. In the order of what tells most, where several questions of one name failed in several ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NameError {
    /// The servers say that the name, or what is asked of it, does not exist.
    Absent,
    /// The peer's scope refuses every address of the answer.
    OutOfScope,
    /// DNSSEC: what should be signed is not, or the signature does not hold.
    Bogus,
    /// DNSSEC: the zone is not signed, and has to be.
    Unsigned,
    /// CNAME records lead in a circle, or too far.
    Loop,
    /// The answer did not fit a datagram, and TCP does not answer.
    Truncated,
    /// REFUSED, or NOTAUTH: the server is not there for this name.
    Refused,
    /// Names of other servers instead of an answer.
    Referral,
    /// FORMERR or NOTIMP: the server does not understand the question.
    NotUnderstood,
    /// SERVFAIL, or another code that is no answer.
    ServerFailed,
    /// What came is no DNS message.
    Unreadable,
    /// No answer in time.
    Timeout,
    /// No server could be asked: none is known, or the network is down.
    Unreachable,
}

impl NameOddity {
    /// Whether one who was told of `other` learns nothing from this.
    pub fn is_known_from(&self, other: &NameOddity) -> bool {
        match (self, other) {
            (NameOddity::Refused { .. }, NameOddity::Refused { .. }) => self == other,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl NameError {
    /// The stable word for it, in the log and in what `show` prints.
    pub const fn code(self) -> &'static str {
        match self {
            NameError::Absent => "absent",
            NameError::OutOfScope => "out_of_scope",
            NameError::Bogus => "bogus",
            NameError::Unsigned => "unsigned",
            NameError::Loop => "loop",
            NameError::Truncated => "truncated",
            NameError::Refused => "refused",
            NameError::Referral => "referral",
            NameError::NotUnderstood => "not_understood",
            NameError::ServerFailed => "server_failed",
            NameError::Unreadable => "unreadable",
            NameError::Timeout => "timeout",
            NameError::Unreachable => "unreachable",
        }
    }

    /// What it means and what to do.
    pub const fn meaning(self) -> &'static str {
        match self {
            NameError::Absent => "the name does not exist, or has no addresses: check its spelling in peers.toml and its zone",
            NameError::OutOfScope => {
                "every address of the answer is outside what the peer's `addresses` lets DNS say: if it is meant, write addresses = \"private\" or name the address itself in hosts"
            }
            NameError::Bogus => {
                "DNSSEC: the signatures do not hold: the answer is forged, or the zone is signed wrongly or too long ago; look at the zone, the trust anchor and this machine's clock"
            }
            NameError::Unsigned => {
                "DNSSEC: the zone is not signed and [dns] dnssec = \"require\": sign it, list it under unsigned, or write dnssec = \"validate\""
            }
            NameError::Loop => "its CNAME records lead in a circle or too far: whoever runs its zone must mend them",
            NameError::Truncated => "the answer is too long for a datagram and the name server does not answer over TCP: open TCP port 53 to it",
            NameError::Refused => "the name server refuses the question: allow it there, or write another under [dns] servers",
            NameError::Referral => "the name server only names other servers: allow recursion there, or write another under [dns] servers",
            NameError::NotUnderstood => {
                "the name server does not understand the question (FORMERR or NOTIMP): replace it, or write another under [dns] servers"
            }
            NameError::ServerFailed => "the name server fails (SERVFAIL): its log, or that of the zone's own servers, says why",
            NameError::Unreadable => "what the name server sends is no DNS message: look at what listens there",
            NameError::Timeout => "no name server answered in time: check that they run and can be reached",
            NameError::Unreachable => "no name server can be asked: write some under [dns] servers or in /etc/resolv.conf, or check the network",
        }
    }
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// What is odd about an answer of DNS of which the rest is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameOddity {
    /// More addresses, or hosts, than are looked at: the same `kept` each time.
    TooMany { given: usize, kept: usize },
    /// The answer may not be kept at all (TTL 0): it is kept for `floor` nevertheless.
    ZeroTtl { floor: Duration },
    /// Addresses that the peer's scope refuses, in order; the others hold.
    Refused { scope: AddressScope, addresses: Vec<IpAddr> },
    /// Records of other names than were asked for, `given` of them, were passed over.
    Unasked { given: usize },
}
