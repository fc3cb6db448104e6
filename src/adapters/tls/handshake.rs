//! One handshake, from the TCP connection to a proven identity or a refusal (RFC 8446, RFC 5246; RFC 5922 §7, §8).

use std::sync::Arc;

use bytes::Bytes;
use rustls::CommonState;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::{Acceptor, ClientHello};
use tokio::net::TcpStream;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector};

use super::refusal;
use super::store::CredentialStore;
use super::stream::Encrypted;
use super::verifier::Verifier;
use crate::policy::flow::{ListenerId, Presented, Proof, TlsIdentity, TlsRefusal};
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
        let config = credentials.server(listener, &candidates, Arc::clone(&verifier))?;
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(|error| refusal::of_handshake(&error))?;
        let offered = suites(&start.client_hello());
        let shaken = start.into_stream(config).await;
        let stream = shaken.map_err(|error| {
            let refusal = verifier.refusal().cloned().unwrap_or_else(|| refusal::of_handshake(&error));
            if refusal.reason == Reason::TlsNothingShared { refusal.comparing("suites offered", offered) } else { refusal }
        })?;
        Ok(secured(stream.get_ref().1, &verifier, candidates).around(Encrypted::new(stream)))
    }

    /// The client's side, towards the peer, listener and names of `to`. The caller limits the time.
    pub async fn connect(&self, to: &Connect, stream: TcpStream) -> Result<Secured, TlsRefusal> {
        let credentials = self.current();
        let verifier = Verifier::new(Arc::clone(&credentials), Proof::Server { peer: Arc::clone(&to.peer), names: to.names.clone() });
        let (config, name) = credentials.client(to, Arc::clone(&verifier))?;
        let shaken = TlsConnector::from(config).connect(name, stream).await;
        let stream = shaken.map_err(|error| verifier.refusal().cloned().unwrap_or_else(|| refusal::of_handshake(&error)))?;
        Ok(secured(stream.get_ref().1, &verifier, Vec::new()).around(Encrypted::new(stream)))
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

/// What a handshake established, still without its stream.
struct Established {
    identity: TlsIdentity,
    presented: Presented,
}

impl Established {
    fn around(self, stream: Encrypted) -> Secured {
        Secured { stream, identity: self.identity, presented: self.presented }
    }
}

fn secured(connection: &CommonState, verifier: &Verifier, mut candidates: Vec<Arc<Peer>>) -> Established {
    let proven = verifier.proven().cloned().unwrap_or_default();
    let identity = TlsIdentity {
        version: connection.protocol_version().and_then(|version| version.as_str()).unwrap_or("unknown").replace('_', "."),
        cipher: connection.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).unwrap_or("unknown").to_owned(),
        names: proven.names,
        trusted_for: proven.trusted_for,
    };
    let chain: Vec<Bytes> = connection.peer_certificates().unwrap_or_default().iter().map(|der| Bytes::copy_from_slice(der)).collect();
    let proves = match &verifier.proof {
        Proof::Client(_) => {
            candidates.retain(|peer| chain.is_empty() || proven.peers.contains(&peer.name));
            Proof::Client(candidates)
        }
        server => server.clone(),
    };
    Established { identity, presented: Presented { chain, proves } }
}

fn suites(hello: &ClientHello<'_>) -> String {
    let named = |suite: &rustls::CipherSuite| suite.as_str().map_or_else(|| format!("{:#06x}", u16::from(*suite)), str::to_owned);
    let mut told: Vec<String> = hello.cipher_suites().iter().take(SUITES_TOLD).map(named).collect();
    if hello.cipher_suites().len() > SUITES_TOLD {
        told.push(String::from("…"));
    }
    told.join(", ")
}
