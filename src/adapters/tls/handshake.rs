//! One handshake, from the TCP connection to a proven identity or a refusal (RFC 8446, RFC 5246; RFC 5922 §7, §8).

use std::sync::Arc;

use bytes::Bytes;
use rustls::CommonState;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::credentials::{Credentials, Proven};
use super::refusal;
use super::store::CredentialStore;
use super::stream::Encrypted;
use super::verifier::Verifier;
use crate::policy::flow::{ListenerId, Presented, Proof, TlsBackend, TlsIdentity, TlsRefusal};
use crate::policy::settings::Peer;
use crate::policy::verdict::Reason;
use crate::signaling::event::Connect;

/// Of a stranger's list, so many suites are told.
const SUITES_TOLD: usize = 24;

/// A connection that has come through its handshake.
pub struct Secured {
    pub stream: Encrypted,
    pub identity: TlsIdentity,
    pub presented: Presented,
}

impl CredentialStore {
    /// The server's side, towards an address where `candidates` live. The caller limits the time.
    pub async fn accept(&self, listener: ListenerId, candidates: Vec<Arc<Peer>>, stream: TcpStream) -> Result<Secured, TlsRefusal> {
        let credentials = self.current();
        let verifier = Verifier::new(Arc::clone(&credentials), Proof::Client(candidates.clone()));
        if credentials.backend_of_inbound(listener, &candidates) == TlsBackend::OpenSsl {
            return accept_legacy(&credentials, listener, &candidates, &verifier, stream).await;
        }
        let config = credentials.server(listener, &candidates, Arc::clone(&verifier))?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(|error| refusal::of_handshake(&error))?;
        let offered = suites(&start.client_hello());
        let stream = start.into_stream(config).await.map_err(|error| {
            let refusal = verifier.refusal().unwrap_or_else(|| refusal::of_handshake(&error));
            if refusal.reason == Reason::TlsNothingShared { refusal.comparing("suites offered", offered) } else { refusal }
        })?;
        let established = by_rustls(stream.get_ref().1, &verifier);
        Ok(established.around(Encrypted::new(stream)))
    }

    /// The client's side, towards the peer, listener and names of `to`. The caller limits the time.
    pub async fn connect(&self, to: &Connect, stream: TcpStream) -> Result<Secured, TlsRefusal> {
        let credentials = self.current();
        let verifier = Verifier::new(Arc::clone(&credentials), Proof::Server { peer: Arc::clone(&to.peer), names: to.names.clone() });
        if credentials.backend(&to.peer) == TlsBackend::OpenSsl {
            return connect_legacy(&credentials, to, &verifier, stream).await;
        }
        let (config, name) = credentials.client(to, Arc::clone(&verifier))?;
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        let stream = shaken.map_err(|error| verifier.refusal().unwrap_or_else(|| refusal::of_handshake(&error)))?;
        let established = by_rustls(stream.get_ref().1, &verifier);
        Ok(established.around(Encrypted::new(stream)))
    }

    /// Whether what was presented would still prove the same, by the credentials in force now and at this time.
    pub fn recheck(&self, presented: &Presented) -> Result<(), TlsRefusal> {
        if presented.chain.is_empty() {
            return Ok(()); // By its address alone, which the peer table vouches for.
        }
        let chain: Vec<CertificateDer<'_>> = presented.chain.iter().map(|der| CertificateDer::from(&der[..])).collect();
        let (credentials, now) = (self.current(), UnixTime::now());
        match &presented.proves {
            // Each, not any: the connection was taken for one of them, and must not go on by the credit of another.
            Proof::Client(peers) => {
                let mut each = peers.iter().map(|peer| credentials.prove(&chain, &Proof::Client(vec![Arc::clone(peer)]), now));
                each.try_for_each(|proven| proven.map(|_| ()))
            }
            Proof::Server { .. } => credentials.prove(&chain, &presented.proves, now).map(|_| ()),
        }
    }
}

#[cfg(feature = "legacy-tls")]
async fn accept_legacy(
    credentials: &Credentials,
    listener: ListenerId,
    candidates: &[Arc<Peer>],
    verifier: &Arc<Verifier>,
    stream: TcpStream,
) -> Result<Secured, TlsRefusal> {
    let own = credentials.shown_on(listener, candidates)?;
    let (stream, established) = super::legacy::accept(&own, verifier, stream).await?;
    Ok(established.around(Encrypted::new(stream)))
}

#[cfg(feature = "legacy-tls")]
async fn connect_legacy(credentials: &Credentials, to: &Connect, verifier: &Arc<Verifier>, stream: TcpStream) -> Result<Secured, TlsRefusal> {
    let (own, name) = credentials.shown_to(to)?;
    let (stream, established) = super::legacy::connect(&own, verifier, &name, stream).await?;
    Ok(established.around(Encrypted::new(stream)))
}

#[cfg(not(feature = "legacy-tls"))]
async fn accept_legacy(_: &Credentials, _: ListenerId, _: &[Arc<Peer>], _: &Arc<Verifier>, _: TcpStream) -> Result<Secured, TlsRefusal> {
    Err(not_built_in())
}

#[cfg(not(feature = "legacy-tls"))]
async fn connect_legacy(_: &Credentials, _: &Connect, _: &Arc<Verifier>, _: TcpStream) -> Result<Secured, TlsRefusal> {
    Err(not_built_in())
}

#[cfg(not(feature = "legacy-tls"))]
fn not_built_in() -> TlsRefusal {
    super::credentials::unprepared("its tls_backend is not built in: build with --features legacy-tls, or remove it")
}

/// What a handshake established, still without its stream.
pub struct Established {
    identity: TlsIdentity,
    presented: Presented,
}

impl Established {
    /// `chain`: as presented. `proven`: of it.
    pub(super) fn of(verifier: &Verifier, proven: Proven, chain: Vec<Bytes>, backend: TlsBackend, version: &str, cipher: &str) -> Established {
        let proves = match &verifier.proof {
            Proof::Client(candidates) => {
                let proven = |peer: &&Arc<Peer>| chain.is_empty() || proven.peers.contains(&peer.name);
                Proof::Client(candidates.iter().filter(proven).cloned().collect())
            }
            server => server.clone(),
        };
        let (version, cipher) = (version.to_owned(), cipher.to_owned());
        let identity = TlsIdentity { version, cipher, backend, names: proven.names, trusted_for: proven.trusted_for };
        Established { identity, presented: Presented { chain, proves } }
    }

    fn around(self, stream: Encrypted) -> Secured {
        Secured { stream, identity: self.identity, presented: self.presented }
    }
}

fn by_rustls(connection: &CommonState, verifier: &Verifier) -> Established {
    let version = connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown").replace('_', ".");
    let cipher = connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown");
    let chain = connection.peer_certificates().unwrap_or_default().iter().map(|der| Bytes::copy_from_slice(der)).collect();
    Established::of(verifier, verifier.proven().cloned().unwrap_or_default(), chain, TlsBackend::Rustls, &version, cipher)
}

fn suites(hello: &ClientHello<'_>) -> String {
    let named = |suite: &rustls::CipherSuite| suite.as_str().map_or_else(|| format!("{:#06x}", u16::from(*suite)), str::to_owned);
    let mut told: Vec<String> = hello.cipher_suites().iter().take(SUITES_TOLD).map(named).collect();
    if hello.cipher_suites().len() > SUITES_TOLD {
        told.push(String::from("…"));
    }
    told.join(", ")
}
