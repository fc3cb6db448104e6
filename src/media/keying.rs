//! What signalling and the media plane have to say to one another of DTLS-SRTP (RFC 5763, 5764) and ICE-lite (RFC 8445 §2.5); part of `control`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::media::control::Addresses;
use crate::sdp::crypto::Suite;
use crate::sdp::fingerprint::Fingerprint;
use crate::sdp::ice::Credentials;

/// Certificates of the border's that DTLS can show.
pub const IDENTITIES: usize = 2;

/// Where a peer is that names no address: only the checks of its ICE tell (RFC 8840 §4.1.1). Port 9 is the discard service's, so nothing was ever meant to go there.
pub const SOUGHT: Addresses = Addresses { rtp: NOWHERE, rtcp: NOWHERE };
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 9);

/// Which part we play in the handshake.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DtlsRole {
    /// We begin it, as the client.
    Active,
    /// The peer does.
    Passive,
}

/// How a side is keyed by DTLS on its RTP port. The same value again is the same association.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DtlsParameters {
    /// Another number is another association, also if everything else is the same.
    pub association: u32,
    /// Which of the border's certificates was announced.
    pub identity: usize,
    /// `None`: an offer has no answer yet, so nothing is settled with the peer.
    pub role: Option<DtlsRole>,
    /// Of the peer's certificate, one of which it must have. Empty as long as `role` is `None`.
    pub fingerprints: Vec<Fingerprint>,
    /// What policy lists for the peer.
    pub suites: Vec<Suite>,
    /// `None`: no ICE towards this peer.
    pub ice: Option<IceParameters>,
}

impl DtlsParameters {
    /// Whether keys of the one are keys of the other. ICE may begin anew under the same association (RFC 8445 §9).
    pub fn is_same_association(&self, other: &DtlsParameters) -> bool {
        (self.association, self.identity, self.role, &self.fingerprints) == (other.association, other.identity, other.role, &other.fingerprints)
    }

    /// Whether the suite the handshake chose may be used: one of policy's list, or an AEAD, which is never weaker than any of them. The DTLS library
    /// prefers these and cannot be told otherwise.
    pub fn permits(&self, suite: Suite) -> bool {
        self.suites.contains(&suite) || suite.is_aead()
    }
}

/// ICE towards one side's peer: ours is a lite agent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IceParameters {
    pub local: Credentials,
    /// The peer's user name fragment, once known.
    pub peer: Option<String>,
    /// The peer checks, so that it is to be found where its checks come from. A lite peer does not, and is where signalling says.
    pub is_checked: bool,
}

/// Why a side has no keys by DTLS. The call cannot have audio.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyingFailure {
    /// The peer's certificate is not the one its signalling announced: somebody else answered, or the peer is misconfigured.
    Fingerprint,
    /// The peer agreed to no SRTP profile of ours.
    NoProfile,
    /// Policy does not list the suite that was agreed.
    Suite(Suite),
    /// No handshake came to its end in time.
    TimedOut,
    /// In the words of the DTLS library.
    Handshake(String),
}

impl fmt::Display for KeyingFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyingFailure::Fingerprint => f.write_str("the certificate of its DTLS is not the one its signalling announced (a=fingerprint)"),
            KeyingFailure::NoProfile => f.write_str("its DTLS agreed to no SRTP profile (use_srtp)"),
            KeyingFailure::Suite(suite) => write!(f, "its DTLS chose {}, which its suites do not list", suite.name()),
            KeyingFailure::TimedOut => f.write_str("no DTLS handshake within 30 s"),
            KeyingFailure::Handshake(error) => write!(f, "its DTLS handshake failed: {error}"),
        }
    }
}
