//! Where bytes came from, as far as the border knows: addresses, transport, and who the certificate said it was (RFC 5922, RFC 5626's "flow").

use std::net::SocketAddr;
use std::sync::Arc;

use crate::sip::Transport;

/// Index of a listener in `signaling::Settings::listeners`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ListenerId(pub u16);

/// One connection, or one (listener, remote address) pair over UDP. Minted by `adapters/net`, never reused within a process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FlowId(pub u64);

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flow {
    pub id: FlowId,
    pub transport: Transport,
    pub listener: ListenerId,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Present on TLS only.
    pub tls: Option<Arc<TlsIdentity>>,
}

/// What a TLS handshake established about the other end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsIdentity {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// Names in the certificate's subjectAltName: DNS names and the hosts of `sip:` URIs (RFC 5922 §7.1), lower case, in order. IP addresses in
    /// their text form. Empty where the other end showed no certificate.
    pub names: Vec<String>,
    /// Peers (by name) to whose configured CA the certificate chained, with dates and EKU in order. Empty: unverified.
    pub trusted_for: Vec<Arc<str>>,
}
