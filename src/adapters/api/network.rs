//! The door over TCP, and over TLS 1.3 where the settings have a certificate: who shows one of a known name needs no token.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::server::TlsStream;

use super::Listen;
use super::access::{Callers, Client, Known, Operator, Via};
use super::serve;
use super::stream::Stream;
use super::unread::Unread;

/// A handshake must be done after so long.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What the border shows and believes at this door. Asked at every connection, so that new files take effect at once.
pub trait Identities: Send + Sync + 'static {
    fn server(&self) -> Option<Arc<ServerConfig>>;
    /// The names in a certificate that has been verified, in DER.
    fn names(&self, certificate: &[u8]) -> Vec<String>;
    /// Whether a chain that was verified once, leaf first, still would be: its CA is believed, and it is in date.
    fn believes(&self, chain: &[CertificateDer<'_>]) -> bool;
    /// Counts up when another answer may be had.
    fn changes(&self) -> watch::Receiver<u64>;
}

pub(super) struct Door {
    listener: TcpListener,
    is_tls: bool,
    known: Known,
    identities: Arc<dyn Identities>,
}

impl Door {
    pub async fn open(listen: &Listen, known: Known, identities: Arc<dyn Identities>, inherited: Option<OwnedFd>) -> io::Result<Door> {
        let address = listen.address;
        let listener = match inherited {
            Some(socket) => TcpListener::from_std(socket.into()),
            None => TcpListener::bind(address).await,
        };
        let listener = listener.map_err(|error| io::Error::new(error.kind(), format!("[api] listen {address} cannot be used: {error}")))?;
        Ok(Door { listener, is_tls: listen.tls.is_some(), known, identities })
    }

    /// The listening socket once more, for another process of this border.
    pub fn bequeath(&self) -> io::Result<OwnedFd> {
        self.listener.as_fd().try_clone_to_owned()
    }

    pub fn bound(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

impl serve::Door for Door {
    type Raw = (TcpStream, SocketAddr);
    type Stream = Unread<Stream<TlsStream<TcpStream>>>;

    async fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        self.listener.accept().await.map(Some)
    }

    fn open(&self, (stream, remote): (TcpStream, SocketAddr)) -> impl Future<Output = Option<(Self::Stream, Client)>> + Send + 'static {
        let (is_tls, known, identities) = (self.is_tls, self.known.clone(), Arc::clone(&self.identities));
        async move {
            if !is_tls {
                return Some((Unread::new(Stream::Plain(stream)), Client::At(remote)));
            }
            let acceptor = TlsAcceptor::from(identities.server()?);
            let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await.ok()?.ok()?;
            let client = holder(&stream, &known.callers(), &*identities, remote).unwrap_or(Client::At(remote));
            Some((Unread::new(Stream::Tls(Box::new(stream))), client))
        }
    }
}

/// Whoever holds the certificate shown, if the settings know one of its names. The strongest role of those counts.
fn holder(stream: &TlsStream<TcpStream>, callers: &Callers, identities: &dyn Identities, remote: SocketAddr) -> Option<Client> {
    let chain = stream.get_ref().1.peer_certificates()?;
    let names = identities.names(chain.first()?.as_ref());
    let known = callers.certificates.iter().filter(|(name, _)| names.iter().any(|shown| shown.eq_ignore_ascii_case(name)));
    let (name, role) = known.max_by_key(|(_, role)| *role)?;
    let operator = Operator { name: name.as_str().into(), role: *role, via: Via::Certificate { remote } };
    Some(Client::Holder { operator, chain: chain.iter().map(|der| der.clone().into_owned()).collect() })
}
