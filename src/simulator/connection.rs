//! A SIP connection of a simulated party over TCP or mutual TLS, one message at a time.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::sip::{Builder, Frame, Framer, HeaderName, Limits, Message, phrase};

/// Longest wait for a connection, and for its handshake.
const REACH: Duration = Duration::from_secs(10);

/// A party's certificate and whom it trusts.
#[derive(Clone)]
pub struct Identity {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl Identity {
    /// From PEM files: own certificate chain and key, and the CA both sides come from. Clients must show a certificate of that CA.
    pub fn load(certificate: &Path, key: &Path, ca: &Path) -> io::Result<Identity> {
        let broken = |what: &str, error: &dyn std::fmt::Display| io::Error::other(format!("{what}: {error}"));
        let chain = |path: &Path| -> io::Result<Vec<CertificateDer<'static>>> {
            let certificates = CertificateDer::pem_file_iter(path).map_err(|error| broken("certificate", &error))?;
            certificates.collect::<Result<_, _>>().map_err(|error| broken("certificate", &error))
        };
        let key = || PrivateKeyDer::from_pem_file(key).map_err(|error| broken("key", &error));
        let mut roots = RootCertStore::empty();
        for root in chain(ca)? {
            roots.add(root).map_err(|error| broken("CA", &error))?;
        }
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone()).build().map_err(|error| broken("CA", &error))?;
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(|error| broken("TLS", &error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain(certificate)?, key()?)
            .map_err(|error| broken("certificate", &error))?;
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| broken("TLS", &error))?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain(certificate)?, key()?)
            .map_err(|error| broken("certificate", &error))?;
        Ok(Identity { server: Arc::new(server), client: Arc::new(client) })
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// The certificate the other end showed, as far as names go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The subject's.
    pub common_name: Option<String>,
    /// The subject alternative names that are DNS names, as written.
    pub names: Vec<String>,
}

impl Shown {
    /// `None`: nothing was shown, or it cannot be read.
    fn read(der: Option<&CertificateDer<'_>>) -> Option<Shown> {
        let (_, certificate) = X509Certificate::from_der(der?).ok()?;
        let common_name = certificate.subject().iter_common_name().find_map(|name| name.as_str().ok()).map(str::to_owned);
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let names = alternatives.map(|extension| &extension.value.general_names).into_iter().flatten();
        let dns = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some((*name).to_owned()),
            _ => None,
        };
        Some(Shown { common_name, names: names.filter_map(dns).collect() })
    }
}

/// What TLS agreed on; `None` over TCP.
#[derive(Clone, Debug, Default)]
pub struct Agreed {
    pub version: String,
    pub cipher: String,
}

pub struct Connection {
    stream: Box<dyn Stream>,
    framer: Framer,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub tls: Option<Agreed>,
    /// Over TLS: whom the other end says it is; the chain is verified.
    pub shown: Option<Shown>,
}

impl Connection {
    /// `name`: what the server's certificate must be good for; without an identity the connection is plain TCP.
    pub async fn open(to: SocketAddr, identity: Option<(&Identity, &str)>) -> io::Result<Connection> {
        let tcp = tokio::time::timeout(REACH, TcpStream::connect(to)).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tcp.set_nodelay(true)?;
        let (local, remote) = (tcp.local_addr()?, tcp.peer_addr()?);
        let Some((identity, name)) = identity else { return Ok(Connection::over(Box::new(tcp), local, remote, None, None)) };
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let handshake = TlsConnector::from(identity.client.clone()).connect(name, tcp);
        let stream = tokio::time::timeout(REACH, handshake).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (agreed, shown) = (agreed(stream.get_ref().1), shown(stream.get_ref().1));
        Ok(Connection::over(Box::new(stream), local, remote, Some(agreed), shown))
    }

    /// The other end of an accepted TCP connection.
    pub async fn accept(tcp: TcpStream, identity: Option<&Identity>) -> io::Result<Connection> {
        tcp.set_nodelay(true)?;
        let (local, remote) = (tcp.local_addr()?, tcp.peer_addr()?);
        let Some(identity) = identity else { return Ok(Connection::over(Box::new(tcp), local, remote, None, None)) };
        let handshake = TlsAcceptor::from(identity.server.clone()).accept(tcp);
        let stream = tokio::time::timeout(REACH, handshake).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        let (agreed, shown) = (agreed(stream.get_ref().1), shown(stream.get_ref().1));
        Ok(Connection::over(Box::new(stream), local, remote, Some(agreed), shown))
    }

    fn over(stream: Box<dyn Stream>, local: SocketAddr, remote: SocketAddr, tls: Option<Agreed>, shown: Option<Shown>) -> Connection {
        Connection { stream, framer: Framer::new(Limits::default()), local, remote, tls, shown }
    }

    pub async fn send(&mut self, message: Bytes) -> io::Result<()> {
        self.stream.write_all(&message).await?;
        self.stream.flush().await
    }

    /// The next message; `None` when the other end has closed. Cancel safe: nothing read is lost.
    pub async fn next(&mut self) -> io::Result<Option<Message>> {
        loop {
            match self.framer.next().map_err(|error| io::Error::other(format!("{error:?}")))? {
                Some(Frame::Message(bytes)) => return Message::parse(bytes, &Limits::default()).map(Some).map_err(io::Error::other),
                Some(Frame::Ping | Frame::Pong) => {}
                None => {
                    let mut buffer = [0; 8192];
                    let count = self.stream.read(&mut buffer).await?;
                    if count == 0 {
                        return Ok(None);
                    }
                    self.framer.push(buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }
}

fn shown(state: &rustls::CommonState) -> Option<Shown> {
    Shown::read(state.peer_certificates().and_then(<[_]>::first))
}

fn agreed(state: &rustls::CommonState) -> Agreed {
    let version = state.protocol_version().map(|version| format!("{version:?}").replace('_', ".")).unwrap_or_default();
    let cipher = state.negotiated_cipher_suite().map(|suite| format!("{:?}", suite.suite())).unwrap_or_default();
    Agreed { version, cipher }
}

/// Starts an answer: Via, From, To (with `tag` where it has none), Call-ID and CSeq are copied (RFC 3261 §8.2.6).
pub fn response(request: &Message, status: u16, tag: &str) -> Builder {
    let mut reply = Builder::response(status, phrase(status));
    for via in request.values(HeaderName::Via) {
        reply.header("Via", via);
    }
    for (name, header) in [("From", HeaderName::From), ("To", HeaderName::To), ("Call-ID", HeaderName::CallId), ("CSeq", HeaderName::CSeq)] {
        let value = request.first(header).unwrap_or_default();
        let untagged = header == HeaderName::To && status > 100 && request.to().is_ok_and(|to| to.tag().is_none());
        if untagged {
            reply.header(name, [value, b";tag=", tag.as_bytes()].concat())
        } else {
            reply.header(name, value)
        };
    }
    reply
}
