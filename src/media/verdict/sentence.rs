//! A cause as one sentence: what happened, to whom, what it means, what to do.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::{Cause, End};
use crate::media::control::{Foreign, Icmp, LatchPolicy, Rekeyed, Unreachable};
use crate::time::Time;

/// Who speaks and who listens, as operators name them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    pub from: &'a str,
    pub to: &'a str,
}

/// The time of day of a point on the process's line, such as `12:03:04`.
pub type Clock<'a> = &'a dyn Fn(Time) -> String;

impl Cause {
    /// One sentence without a line break, ended by its only full stop that a space could follow.
    pub fn sentence(&self, names: &Names, clock: Clock) -> String {
        let (from, to) = (plain(names.from), plain(names.to));
        format!("{from} -> {to}: {}.", self.body(&from, &to, clock))
    }

    fn body(&self, from: &str, to: &str, clock: Clock) -> String {
        match *self {
            Cause::Heard { packets, from: source, last, loss } => {
                let source = source.map_or(String::new(), |source| format!(" from {source}"));
                format!("heard, {packets} packets{source}, the last at {}, {loss:.1} % lost", clock(last))
            }
            Cause::Poor { loss, beyond: false } => {
                format!("heard with holes, {loss:.1} % of {from}'s packets are lost before they reach us; see the network on {from}'s side")
            }
            Cause::Poor { loss, beyond: true } => {
                format!("heard with holes, {loss:.1} % of what we send is lost by {to}'s own reports; see the network on {to}'s side")
            }
            Cause::Fax { datagrams } => format!("a T.38 fax instead of sound, {datagrams} datagrams came"),
            Cause::NotAnswered => String::from("no sound, the call is not answered"),
            Cause::TooShort { lasted } => format!("no sound, but {} ms after the answer that means nothing", lasted.as_millis()),
            Cause::NotAgreed { missing } => {
                let who = if missing == End::From { from } else { to };
                format!("no sound, {who} has not said yet where and how it takes media")
            }
            Cause::Hold { withheld: 0 } => format!("silent, {to} asked for hold"),
            Cause::Hold { withheld } => format!("silent, {to} asked for hold, {withheld} packets were withheld from it"),
            Cause::SendsNone => format!("silent, {from} said that it sends nothing for now (recvonly, inactive or an address of 0.0.0.0)"),
            Cause::Inactive => format!("silent, on hold, by what both say now {from} sends nothing and {to} takes nothing"),
            Cause::Elsewhere { signalled, latched, foreign, latch } => elsewhere(from, signalled, latched, foreign, latch, clock),
            Cause::Unauthentic { run, key } => {
                let key = key.map_or(String::from("the key it was to use"), |key| agreed(key, clock));
                format!("silent, {} packets failed SRTP authentication since {}; {key} is not what {from} sends with", run.packets, clock(run.first))
            }
            Cause::Unreachable { what, destination } => unreachable(to, what, destination, clock),
            Cause::Unverified { destination, packets } => unverified(to, destination, packets),
            Cause::Nothing { signalled: Some(signalled) } => {
                format!("silent, nothing ever came from {signalled}, where {from} said it sends from; it does not send, or a firewall on the way drops it")
            }
            Cause::Nothing { signalled: None } => format!("silent, nothing ever came from {from}"),
            Cause::Stopped { .. } | Cause::RtcpOnly { .. } => self.stopped(from, clock),
            _ => self.odd(from, to, clock),
        }
    }

    fn stopped(&self, from: &str, clock: Clock) -> String {
        match *self {
            Cause::Stopped { from: source, last, rtcp } => {
                let source = source.map_or(String::from(from), |source| source.to_string());
                let why = match rtcp {
                    true => "its RTCP still comes, so it is there and sends no sound: muted, on hold without saying so, or silence suppressed",
                    false => "it stopped sending, or something on the way stopped letting it through",
                };
                format!("silent since {}, when the last packet came from {source}; {why}", clock(last))
            }
            Cause::RtcpOnly { reports } => {
                format!(
                    "silent, {reports} packets of RTCP came from {from} but none of RTP; it is there and sends no sound, or a firewall lets only one port through"
                )
            }
            _ => String::new(),
        }
    }

    /// Packets come, but not such as can be taken, or they do not arrive.
    fn odd(&self, from: &str, to: &str, clock: Clock) -> String {
        match *self {
            Cause::WrongType { what } => {
                format!("not understood, {} packets came under payload type {}, which {from} and {to} did not agree on", what.packets, what.payload_type)
            }
            Cause::Dtls { packets } => format!("silent, {packets} DTLS handshakes came instead of media; {from} wants DTLS-SRTP, which was not agreed"),
            Cause::Ice { packets } => format!("silent, {packets} STUN requests came instead of media; {from} waits for ICE, which was not agreed"),
            Cause::WrongPort { packets } => {
                format!("silent, {packets} packets came to the wrong one of our two ports; {from} has confused RTP and RTCP, or multiplexes them unasked")
            }
            Cause::Replayed { run } => format!(
                "silent, {} packets since {} have numbers that were used before; {from} began anew under the same key, or somebody sends copies",
                run.packets,
                clock(run.first)
            ),
            Cause::KeySpent { packets } => {
                format!("silent, {packets} packets came under a master key that may protect no more, or from too many sources; {from} must agree on a new one")
            }
            Cause::Oversized { packets } => format!("silent, {packets} packets were longer than any we relay; see the packet time of {from}"),
            Cause::Malformed { packets } => format!("silent, {packets} packets were not RTP; see what {from} sends"),
            Cause::NotReady { packets } => format!("silent, {packets} packets came before {to} could take any, and none since"),
            Cause::LostBeyond { percent } => {
                format!("lost behind us, {to} reports that {percent:.0} % of what we send does not reach it; see the network on {to}'s side")
            }
            Cause::NotSent { packets } => format!("not sent, this machine refused to send {packets} packets to {to}; see its routes and its firewall"),
            _ => String::new(),
        }
    }
}

fn elsewhere(from: &str, signalled: Option<SocketAddr>, latched: Option<SocketAddr>, foreign: Foreign, latch: LatchPolicy, clock: Clock) -> String {
    let Foreign { from: source, run } = foreign;
    let expected = match (latched, signalled) {
        (Some(latched), _) => format!("nothing more came from {latched}, where {from} was heard"),
        (None, Some(signalled)) => format!("nothing came from {signalled}, signalled by {from}"),
        (None, None) => format!("nothing came from {from}"),
    };
    let same_host = latched.or(signalled).is_some_and(|expected| expected.ip() == source.ip());
    let remedy = match (latch, same_host, latched) {
        (LatchPolicy::Strict, true, None) => format!("if {from} sends from another port than it takes media at, write latch = \"signalled-address\" for it"),
        (LatchPolicy::Nat, _, _) | (_, _, Some(_)) => format!("if that is {from}, it must say so in a re-INVITE"),
        (LatchPolicy::Strict | LatchPolicy::SignalledAddress, _, None) => format!("if that is {from} behind a NAT, write latch = \"nat\" for it"),
    };
    format!("silent, {expected}; {} packets came from {source} since {} and were refused (latch: {}); {remedy}", run.packets, clock(run.first), rule(latch))
}

fn rule(latch: LatchPolicy) -> &'static str {
    match latch {
        LatchPolicy::Strict => "strict",
        LatchPolicy::SignalledAddress => "signalled-address",
        LatchPolicy::Nat => "nat",
    }
}

fn agreed(key: Rekeyed, clock: Clock) -> String {
    match key.number {
        0 | 1 => format!("the key agreed at {}", clock(key.at)),
        number => format!("the key agreed at {} (number {number} of this call)", clock(key.at)),
    }
}

fn unreachable(to: &str, what: Unreachable, destination: Option<SocketAddr>, clock: Clock) -> String {
    let (said, meaning) = match what.icmp {
        Icmp::Port => ("port unreachable", format!("{to} has closed its port, or never opened it")),
        Icmp::Host => ("host unreachable", format!("{to} is not there, or its network does not reach it")),
        Icmp::Network => ("network unreachable", format!("there is no route to {to}'s network")),
        Icmp::Prohibited => ("prohibited", format!("a firewall before {to} refuses our media")),
        Icmp::TooBig => ("packet too big", String::from("packets are longer than the way takes; see the packet time, and the MTU")),
        Icmp::Other { .. } => ("destination unreachable", format!("something before {to} refuses our media")),
    };
    let mut text = format!("not delivered, ICMP {said}");
    // Writing into a String does not fail.
    if let Icmp::Other { kind, code } = what.icmp {
        let _ = write!(text, " (type {kind}, code {code})");
    }
    if let Some(by) = what.by {
        let _ = write!(text, " from {by}");
    }
    if let Some(destination) = what.to.or(destination) {
        let _ = write!(text, " for {destination}");
    }
    let _ = write!(text, ", {} times since {}; {meaning}", what.errors, clock(what.first));
    text
}

fn unverified(to: &str, destination: SocketAddr, packets: u64) -> String {
    let private = match destination.ip() {
        IpAddr::V4(ip) => ip.is_private(),
        IpAddr::V6(ip) => ip.is_unique_local(),
    };
    let remedy = match private {
        true => format!("that is a private address, so if {to} is behind a NAT its description is wrong and it must send first, with latch = \"nat\""),
        false => format!("if {to} hears nothing, a firewall drops what we send, or {to} named a wrong address"),
    };
    format!("perhaps not heard, {packets} packets went to {destination} as {to} signalled, but nothing ever came from there; {remedy}")
}

/// A name that cannot end the sentence or break the line.
fn plain(name: &str) -> String {
    let kept: String = name.chars().take(64).map(|c| if c.is_control() || c.is_whitespace() { '_' } else { c }).collect();
    match kept.trim_end_matches('.') {
        "" => String::from("-"),
        kept => String::from(kept),
    }
}
