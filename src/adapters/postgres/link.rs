//! One connection to the server: how it is made, what proves the server, and what its refusals mean to an operator.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{ChannelBinding, NoTls, TlsConnect};
use tokio_postgres::{Client, Config, Connection};
use tokio_rustls::TlsConnector;

use super::{Kept, Server, Settings, Tls, schema};

const CONNECT: Duration = Duration::from_secs(5);
/// A password's file.
const LONGEST_PASSWORD: usize = 8 * 1024;

pub(super) struct Link {
    client: Client,
}

/// Why the server takes nothing, and what to do.
#[derive(Debug)]
pub(super) struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl Refused {
    pub fn new(why: impl Into<String>) -> Refused {
        Refused(why.into())
    }

    pub fn silent(patience: Duration) -> Refused {
        Refused(format!("no answer within {} s; see whether it is overloaded, or something on the way drops what is sent", patience.as_secs()))
    }

    /// The text never holds the password: the library leaves it out.
    pub fn of(error: &tokio_postgres::Error) -> Refused {
        let remedy = match error.code() {
            Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => "see user and password_file, and the server's pg_hba.conf",
            Some(&SqlState::INVALID_CATALOG_NAME) => "make the database, or name another",
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => "let the user make tables once, or make them by hand, and let it insert",
            Some(&SqlState::DISK_FULL) => "make room on the server's disk",
            Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => "name the primary server, this is a standby",
            Some(_) => "see the server's log",
            None => "see whether it runs and what it says in its log",
        };
        let said = match error.as_db_error() {
            Some(said) => format!("{}: {}", said.severity(), said.message()),
            None => chain(error),
        };
        Refused(format!("{said}; {remedy}"))
    }
}

impl Link {
    /// Connects, proves the server, and sees to it that the tables are there.
    pub async fn open(settings: &Settings) -> Result<Link, Refused> {
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database).application_name("portcullis");
        // For the server's own sake: what we have given up it gives up as well.
        config.options("-c statement_timeout=15000 -c idle_in_transaction_session_timeout=15000");
        if let Some(path) = &settings.password_file {
            config.password(password(path)?);
        }
        let mut link = match &settings.server {
            Server::Socket { folder, port } => {
                let path = folder.join(format!(".s.PGSQL.{port}"));
                let stream = UnixStream::connect(&path).await.map_err(|error| Refused(format!("{}: {error}; see whether it runs", path.display())))?;
                config.ssl_mode(SslMode::Disable);
                driven(config.connect_raw(stream, NoTls).await)?
            }
            Server::Network { host, port, tls: Tls::Off } => {
                config.ssl_mode(SslMode::Disable);
                driven(config.connect_raw(connect(host, *port).await?, NoTls).await)?
            }
            Server::Network { host, port, tls: Tls::Verified { ca } } => {
                config.ssl_mode(SslMode::Require);
                let name = ServerName::try_from(host.clone()).map_err(|_| Refused(format!("{host} is no name that a certificate can carry")))?;
                let connector = TlsConnector::from(Arc::new(trust(ca)?));
                driven(config.connect_raw(connect(host, *port).await?, Proving { connector, name }).await)?
            }
        };
        schema::prepare(&mut link.client).await?;
        Ok(link)
    }

    /// All in one statement; returns how many the server has. Those it takes for wrong are left out, one by one.
    pub async fn store(&mut self, border: &str, started: i64, records: &[Kept]) -> Result<u64, Refused> {
        let failed = match schema::insert(&self.client, border, started, records).await {
            Ok(()) => return Ok(records.len() as u64),
            Err(error) if is_ours(&error) => error,
            Err(error) => return Err(Refused::of(&error)),
        };
        let why = Refused::of(&failed);
        tracing::error!(%why, "PostgreSQL takes a call record for wrong; each is tried by itself");
        let mut stored = 0;
        for record in records {
            match schema::insert(&self.client, border, started, std::slice::from_ref(record)).await {
                Ok(()) => stored += 1,
                Err(error) if is_ours(&error) => {
                    tracing::error!(call = record.call, why = %Refused::of(&error), "a call record is lost: PostgreSQL takes it for wrong")
                }
                Err(error) => return Err(Refused::of(&error)),
            }
        }
        Ok(stored)
    }
}

/// With what lies beneath, which the library leaves out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut beneath = error.source();
    while let Some(error) = beneath {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        beneath = error.source();
    }
    said
}

/// The data's fault (classes 22 and 23 of the SQL standard), so that sending it again would change nothing.
fn is_ours(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("22") || code.code().starts_with("23"))
}

/// The connection runs by itself, and ends with its client.
fn driven<S, T>(made: Result<(Client, Connection<S, T>), tokio_postgres::Error>) -> Result<Link, Refused>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (client, connection) = made.map_err(|error| Refused::of(&error))?;
    // How it ended is told by the question that was under way.
    tokio::spawn(async move { drop(connection.await) });
    Ok(Link { client })
}

fn password(path: &Path) -> Result<String, Refused> {
    let text = std::fs::read_to_string(path).map_err(|error| Refused(format!("password_file {}: {error}", path.display())))?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() || text.len() > LONGEST_PASSWORD {
        return Err(Refused(format!("password_file {} holds no password", path.display())));
    }
    Ok(text.to_owned())
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, Refused> {
    let named = |error: &dyn std::fmt::Display| Refused(format!("{host}, port {port}: {error}; see whether it runs and listens there"));
    let places = timeout(CONNECT, lookup_host((host, port))).await.map_err(|_| named(&"its name is not answered"))?.map_err(|error| named(&error))?;
    let mut last = named(&"its name leads nowhere");
    for place in places {
        match timeout(CONNECT, TcpStream::connect(place)).await {
            Ok(Ok(stream)) => {
                let alive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30)).with_interval(Duration::from_secs(10));
                // A connection whose other end is gone would otherwise be noticed with the next record only.
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&alive);
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = named(&error),
            Err(_) => last = named(&"no connection within 5 s"),
        }
    }
    Err(last)
}

/// The CAs of the file, read for each connection, so that it may be changed at any time.
fn trust(ca: &Path) -> Result<ClientConfig, Refused> {
    let refused = |error: &dyn std::fmt::Display| Refused(format!("ca {}: {error}", ca.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(ca).map_err(|error| refused(&error))?.collect::<Result<Vec<_>, _>>().map_err(|error| refused(&error))?;
    if roots.add_parsable_certificates(certificates).0 == 0 {
        return Err(refused(&"it holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| refused(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// TLS as the library wants it.
struct Proving {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> TlsConnect<S> for Proving {
    type Stream = Proven<S>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Proven<S>>> + Send>>;

    fn connect(self, stream: S) -> Self::Future {
        Box::pin(async move {
            let Proving { connector, name } = self;
            let shown = name.to_str().into_owned();
            let proven = connector.connect(name, stream).await;
            let proven = proven.map_err(|error| io::Error::new(error.kind(), format!("no TLS with {shown}: {error}; see its certificate and the file ca")))?;
            Ok(Proven(proven))
        })
    }
}

struct Proven<S>(tokio_rustls::client::TlsStream<S>);

impl<S: AsyncRead + AsyncWrite + Unpin> tokio_postgres::tls::TlsStream for Proven<S> {
    /// The certificate has been held against the file of CAs and the server's name already.
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Proven<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Proven<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
