//! Where bytes came from, as far as the border knows: addresses, transport, and who the certificate said it was (RFC 5922, RFC 5626's "flow").

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::policy::settings::Peer;
use crate::policy::verdict::Reason;
use crate::sip::Transport;

/// One transport and address of ours. Of a set that is read: its place among the listeners; of a running border: never another's, whatever is reloaded.
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

impl Flow {
    /// TLS, and the other end has proven by certificate who it is; whose certificate it is `peer::identify` finds out.
    pub fn is_mutual_tls(&self) -> bool {
        let proven = |identity: &TlsIdentity| !identity.names.is_empty() && !identity.trusted_for.is_empty();
        self.transport.is_encrypted() && self.tls.as_deref().is_some_and(proven)
    }
}

/// Which library carries a TLS connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TlsBackend {
    #[default]
    Rustls,
    /// For a UM server that shares no cipher suite with rustls; weaker suites, the same verification.
    OpenSsl,
}

/// What a TLS handshake established about the other end.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct TlsIdentity {
    /// Such as `TLSv1.3`.
    pub version: String,
    /// Such as `TLS13_AES_256_GCM_SHA384`.
    pub cipher: String,
    pub backend: TlsBackend,
    /// Names in the certificate's subjectAltName: DNS names and the hosts of `sip:` URIs (RFC 5922 §7.1), lower case, in order. IP addresses in
    /// their text form. Empty where the other end showed no certificate.
    pub names: Vec<String>,
    /// Peers (by name) to whose configured CA the certificate chained, with dates and EKU in order. Empty: unverified.
    pub trusted_for: Vec<Arc<str>>,
}

/// The certificates the other end of a TLS connection showed, and what they were to prove: enough to ask again later.
#[derive(Clone, PartialEq, Debug)]
pub struct Presented {
    /// DER, the end's own first. Empty where a client showed none.
    pub chain: Vec<Bytes>,
    pub proves: Proof,
}

/// What a certificate is to prove.
#[derive(Clone, PartialEq, Debug)]
pub enum Proof {
    /// That who called in is one of these.
    Client(Vec<Arc<Peer>>),
    /// That who was called is this peer, under one of these names.
    Server { peer: Arc<str>, names: Vec<Arc<str>> },
}

/// Why there is no TLS with the other end.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TlsRefusal {
    /// One of section `tls.`.
    pub reason: Reason,
    /// One sentence for the operator, without the peer's name: `its certificate expired 3 days ago; …`. Free of line ends and other controls.
    pub detail: String,
    /// The values that were compared: name and value, likewise clean.
    pub compared: Vec<(&'static str, Cow<'static, str>)>,
}

impl TlsRefusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> TlsRefusal {
        TlsRefusal { reason, detail: detail.into(), compared: Vec::new() }
    }

    /// Not finished within the limit.
    pub fn too_slow(limit: Duration) -> TlsRefusal {
        let what =
            format!("its handshake was not finished within {} s: see whether it speaks TLS there at all, and whether it is overloaded", limit.as_secs_f32());
        TlsRefusal::new(Reason::TlsTimeout, what)
    }

    pub fn comparing(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> TlsRefusal {
        self.compared.push((name, value.into()));
        self
    }
}

impl std::fmt::Display for TlsRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.detail, self.reason)
    }
}

impl std::error::Error for TlsRefusal {}
