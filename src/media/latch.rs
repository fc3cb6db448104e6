//! From whom packets are taken and to whom they are sent: symmetric RTP (RFC 4961) with latching (RFC 7362 §5) inside what `LatchPolicy` allows.

use std::net::SocketAddr;

use crate::media::control::{Addresses, LatchPolicy, Signalled};
use crate::media::packet::Channel;

/// Where the peer of one side is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Remote {
    #[default]
    Unknown,
    /// On hold with an unspecified address: nothing is sent to it or taken from it.
    Held,
    At(Addresses),
}

/// Why the latch says no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    NotReady,
    OnHold,
    Source,
}

/// What a packet must still prove before it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admitted {
    /// From where this side is known to be or, before that, may be by the rule: nothing but to be well formed and authentic.
    Expected,
    /// From another port of the same host: that it is the same sender.
    Moved,
    /// From another host, which the rule allows: that it is the same sender, by a tag. What is in the clear proves nothing there, since whoever has overheard
    /// the call knows it all.
    Elsewhere,
    /// From another of the addresses where ICE has found the peer: nothing more, but nothing is sent there (RFC 8445 §12.2).
    Checked,
}

impl Admitted {
    /// It may be somebody else's.
    pub const fn is_to_be_proven(self) -> bool {
        matches!(self, Admitted::Moved | Admitted::Elsewhere)
    }
}

/// One side's latch, for both its channels.
#[derive(Clone, Debug, Default)]
pub struct Latch {
    policy: LatchPolicy,
    remote: Remote,
    /// Where packets were first accepted from; only these are taken from then on, and what we send goes there.
    rtp: Option<SocketAddr>,
    rtcp: Option<SocketAddr>,
}

impl Latch {
    /// `remote` as in `Command::Configure`. A remote or policy other than the present one opens the latch again.
    pub fn configure(&mut self, remote: Option<Option<Addresses>>, policy: LatchPolicy) {
        let remote = match remote {
            None => self.remote,
            Some(None) => Remote::Held,
            Some(Some(addresses)) if addresses.rtp.ip().is_unspecified() => Remote::Held,
            Some(Some(addresses)) => Remote::At(addresses),
        };
        if remote != self.remote || policy != self.policy {
            (self.rtp, self.rtcp) = (None, None);
        }
        (self.remote, self.policy) = (remote, policy);
    }

    /// Whether a packet from `from` may be looked at. Changes nothing: `settle` does, once the packet has proven itself.
    #[inline]
    pub fn admits(&self, channel: Channel, from: SocketAddr) -> Result<Admitted, Refused> {
        let (signalled, learnt, neighbour) = self.view(channel)?;
        let admitted = match (self.policy, learnt) {
            (_, Some(learnt)) if from == learnt => Some(Admitted::Expected),
            (LatchPolicy::Strict, Some(_)) => None,
            // A NAT or a host may have given its port up for another, in the middle of the call.
            (LatchPolicy::SignalledAddress, Some(_)) => (from.ip() == signalled.ip()).then_some(Admitted::Moved),
            (LatchPolicy::Nat, Some(learnt)) => Some(if from.ip() == learnt.ip() { Admitted::Moved } else { Admitted::Elsewhere }),
            (LatchPolicy::Strict, None) => (from == signalled).then_some(Admitted::Expected),
            (LatchPolicy::SignalledAddress, None) => (from.ip() == signalled.ip()).then_some(Admitted::Expected),
            // "Any address once", and it is RTP that says which: a report from a stranger must not keep the peer's voice out.
            (LatchPolicy::Nat, None) => neighbour.is_none_or(|other| channel == Channel::Rtp || other.ip() == from.ip()).then_some(Admitted::Expected),
        };
        admitted.ok_or(Refused::Source)
    }

    /// A packet from `from` was admitted, well formed and, under SRTP, authentic: from now on only its address is taken. True: it is another than before.
    #[inline]
    pub fn settle(&mut self, channel: Channel, from: SocketAddr) -> bool {
        let learnt = match channel {
            Channel::Rtp => &mut self.rtp,
            Channel::Rtcp => &mut self.rtcp,
        };
        let moved = learnt.is_some_and(|learnt| learnt != from);
        *learnt = Some(from);
        if channel == Channel::Rtp && self.policy == LatchPolicy::Nat && self.rtcp.is_some_and(|rtcp| rtcp.ip() != from.ip()) {
            // RTCP went the old way as well, or was a stranger's.
            self.rtcp = None;
        }
        moved
    }

    /// Where packets to this side go: the latched address, before that the signalled one.
    pub fn destination(&self, channel: Channel) -> Result<SocketAddr, Refused> {
        self.view(channel).map(|(signalled, learnt, _)| learnt.unwrap_or(signalled))
    }

    /// Where the peer is has yet to be found.
    pub fn seek(&mut self) {
        *self = Latch { policy: self.policy, ..Latch::default() };
    }

    /// Where the peer says it is.
    pub fn remote(&self) -> Remote {
        self.remote
    }

    pub fn is_ready(&self) -> bool {
        matches!(self.remote, Remote::At(_))
    }

    /// Where the peer says it is, and the rule its packets are taken by.
    pub fn terms(&self) -> (Signalled, LatchPolicy) {
        let signalled = match self.remote {
            Remote::Unknown => Signalled::Nothing,
            Remote::Held => Signalled::Held,
            Remote::At(addresses) => Signalled::At(addresses.rtp),
        };
        (signalled, self.policy)
    }

    /// The address RTP is accepted from, once known.
    pub fn latched(&self) -> Option<SocketAddr> {
        self.rtp
    }

    /// The signalled address, the learnt one, and the learnt one of the other channel.
    #[allow(clippy::type_complexity)]
    fn view(&self, channel: Channel) -> Result<(SocketAddr, Option<SocketAddr>, Option<SocketAddr>), Refused> {
        match (self.remote, channel) {
            (Remote::Unknown, _) => Err(Refused::NotReady),
            (Remote::Held, _) => Err(Refused::OnHold),
            (Remote::At(addresses), Channel::Rtp) => Ok((addresses.rtp, self.rtp, self.rtcp)),
            (Remote::At(addresses), Channel::Rtcp) => Ok((addresses.rtcp, self.rtcp, self.rtp)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn latch(policy: LatchPolicy) -> Latch {
        let mut latch = Latch::default();
        latch.configure(Some(Some(Addresses { rtp: at("192.0.2.1:4000"), rtcp: at("192.0.2.1:4001") })), policy);
        latch
    }

    #[test]
    fn strict_takes_the_signalled_address_and_port_only() {
        let mut latch = latch(LatchPolicy::Strict);
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.1:4002")), Err(Refused::Source));
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.2:4000")), Err(Refused::Source));
        assert_eq!(latch.admits(Channel::Rtcp, at("192.0.2.1:4000")), Err(Refused::Source));
        latch.admits(Channel::Rtp, at("192.0.2.1:4000")).unwrap();
        latch.settle(Channel::Rtp, at("192.0.2.1:4000"));
        latch.admits(Channel::Rtcp, at("192.0.2.1:4001")).unwrap();
    }

    #[test]
    fn signalled_address_learns_the_port_once() {
        let mut latch = latch(LatchPolicy::SignalledAddress);
        assert_eq!(latch.destination(Channel::Rtp), Ok(at("192.0.2.1:4000")));
        assert_eq!(latch.admits(Channel::Rtp, at("198.51.100.9:4000")), Err(Refused::Source));
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.1:7000")), Ok(Admitted::Expected));
        assert!(!latch.settle(Channel::Rtp, at("192.0.2.1:7000")), "learnt, not moved");
        assert_eq!(latch.destination(Channel::Rtp), Ok(at("192.0.2.1:7000")));
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.1:4000")), Ok(Admitted::Moved), "of the same host, to be proven");
        assert_eq!(latch.admits(Channel::Rtp, at("198.51.100.9:7000")), Err(Refused::Source));
        assert_eq!(latch.destination(Channel::Rtcp), Ok(at("192.0.2.1:4001")), "each channel learns its own port");
    }

    #[test]
    fn nat_takes_any_address_once_for_both_channels() {
        let mut latch = latch(LatchPolicy::Nat);
        latch.admits(Channel::Rtp, at("203.0.113.5:9000")).unwrap();
        latch.settle(Channel::Rtp, at("203.0.113.5:9000"));
        assert_eq!(latch.admits(Channel::Rtp, at("203.0.113.5:9002")), Ok(Admitted::Moved), "to be proven");
        assert_eq!(latch.admits(Channel::Rtp, at("203.0.113.6:9000")), Ok(Admitted::Elsewhere), "to be proven by a tag");
        assert_eq!(latch.admits(Channel::Rtcp, at("203.0.113.6:9001")), Err(Refused::Source));
        assert_eq!(latch.admits(Channel::Rtcp, at("203.0.113.5:1234")), Ok(Admitted::Expected));
        latch.settle(Channel::Rtcp, at("203.0.113.5:1234"));
        assert!(latch.settle(Channel::Rtp, at("203.0.113.6:9000")));
        assert_eq!(latch.admits(Channel::Rtcp, at("203.0.113.6:9001")), Ok(Admitted::Expected), "RTCP follows RTP");
        assert_eq!(latch.admits(Channel::Rtcp, at("203.0.113.5:1234")), Err(Refused::Source));
    }

    /// Under `nat` the RTCP port is open to anybody until RTP has come.
    #[test]
    fn a_report_that_came_first_does_not_keep_the_voice_out() {
        let mut latch = latch(LatchPolicy::Nat);
        latch.admits(Channel::Rtcp, at("198.51.100.9:66")).unwrap();
        latch.settle(Channel::Rtcp, at("198.51.100.9:66"));
        assert_eq!(latch.admits(Channel::Rtp, at("203.0.113.5:9000")), Ok(Admitted::Expected));
        latch.settle(Channel::Rtp, at("203.0.113.5:9000"));
        assert_eq!(latch.admits(Channel::Rtcp, at("198.51.100.9:66")), Err(Refused::Source));
        assert_eq!(latch.admits(Channel::Rtcp, at("203.0.113.5:9001")), Ok(Admitted::Expected));
    }

    #[test]
    fn asking_alone_never_latches() {
        let latch = latch(LatchPolicy::Nat);
        latch.admits(Channel::Rtp, at("203.0.113.5:9000")).unwrap();
        latch.admits(Channel::Rtp, at("203.0.113.6:9000")).unwrap();
        assert_eq!(latch.latched(), None);
    }

    #[test]
    fn a_new_remote_opens_it_again_the_same_does_not() {
        let mut latch = latch(LatchPolicy::SignalledAddress);
        latch.settle(Channel::Rtp, at("192.0.2.1:7000"));
        latch.configure(Some(Some(Addresses { rtp: at("192.0.2.1:4000"), rtcp: at("192.0.2.1:4001") })), LatchPolicy::SignalledAddress);
        latch.configure(None, LatchPolicy::SignalledAddress);
        assert_eq!(latch.latched(), Some(at("192.0.2.1:7000")));
        latch.configure(Some(Some(Addresses { rtp: at("192.0.2.8:4000"), rtcp: at("192.0.2.8:4001") })), LatchPolicy::SignalledAddress);
        assert_eq!(latch.latched(), None);
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.1:7000")), Err(Refused::Source));
    }

    #[test]
    fn on_hold_nothing_goes_either_way() {
        let mut latch = latch(LatchPolicy::Nat);
        latch.configure(Some(None), LatchPolicy::Nat);
        assert_eq!(latch.destination(Channel::Rtp), Err(Refused::OnHold));
        assert_eq!(latch.admits(Channel::Rtp, at("192.0.2.1:4000")), Err(Refused::OnHold));
        latch.configure(Some(Some(Addresses { rtp: at("0.0.0.0:4000"), rtcp: at("0.0.0.0:4001") })), LatchPolicy::Nat);
        assert_eq!(latch.destination(Channel::Rtp), Err(Refused::OnHold));
        assert_eq!(Latch::default().destination(Channel::Rtp), Err(Refused::NotReady));
    }
}
