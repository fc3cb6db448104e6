//! The way to a HEP3 server: a datagram each, or one connection that is made again when it has gone.

use std::fs::File;
use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::{Settings, Transport};

const CONNECT: Duration = Duration::from_secs(3);
/// For one read or write: a server that takes nothing costs copies, and only those.
const STALLED: Duration = Duration::from_secs(5);
/// How long datagrams go where the name once led.
const LOOKED_UP: Duration = Duration::from_secs(60);
/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

pub struct Server {
    settings: Settings,
    way: Option<Way>,
}

enum Way {
    /// Until when: a name may lead elsewhere then.
    Datagrams(UdpSocket, Instant),
    Stream(Connection),
}

/// `socket`: the one beneath.
struct Connection {
    socket: TcpStream,
    stream: Box<dyn Stream>,
}

trait Stream: Read + Write + Send {}

impl<T: Read + Write + Send> Stream for T {}

impl Server {
    /// Fails where TLS is asked for and its CAs cannot be used.
    pub fn new(settings: &Settings) -> Result<Server, String> {
        if settings.transport == Transport::Tls {
            trust(settings.ca.as_deref())?;
        }
        Ok(Server { settings: settings.clone(), way: None })
    }

    /// For the operator.
    pub fn name(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port)
    }

    /// One packet, whole. After an error the next one goes a new way.
    pub fn send(&mut self, packet: &[u8]) -> Result<(), String> {
        let mut way = match self.way.take().and_then(Way::still_open) {
            Some(way) => way,
            None => self.connect()?,
        };
        way.send(packet).map_err(|error| format!("it took nothing: {error}"))?;
        self.way = Some(way);
        Ok(())
    }

    fn connect(&self) -> Result<Way, String> {
        let Settings { host, port, transport, .. } = &self.settings;
        let found = (&**host, *port).to_socket_addrs().map_err(|error| format!("its name could not be resolved: {error}"))?;
        let mut failure = String::from("its name has no address");
        for address in found.take(ADDRESSES) {
            let made = match transport {
                Transport::Udp => datagrams(address).map(|socket| Way::Datagrams(socket, Instant::now() + LOOKED_UP)),
                Transport::Tcp => connect(address).and_then(|socket| Ok(Way::Stream(Connection { stream: Box::new(socket.try_clone()?), socket }))),
                Transport::Tls => connect(address).and_then(|socket| self.handshake(socket)).map(Way::Stream),
            };
            match made {
                Ok(way) => return Ok(way),
                Err(error) => failure = format!("{address} could not be reached: {error}"),
            }
        }
        Err(failure)
    }

    fn handshake(&self, mut socket: TcpStream) -> io::Result<Connection> {
        let config = trust(self.settings.ca.as_deref()).map_err(io::Error::other)?;
        let name = ServerName::try_from(self.settings.host.clone()).map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let beneath = socket.try_clone()?;
        Ok(Connection { socket: beneath, stream: Box::new(StreamOwned::new(tls, socket)) })
    }
}

impl Way {
    /// As far as can be seen: the first write into a connection the other end has closed would seem to succeed.
    fn still_open(mut self) -> Option<Way> {
        let open = match &mut self {
            Way::Datagrams(_, until) => Instant::now() < *until,
            Way::Stream(connection) => connection.is_open(),
        };
        open.then_some(self)
    }

    fn send(&mut self, packet: &[u8]) -> io::Result<()> {
        match self {
            Way::Datagrams(socket, _) => socket.send(packet).map(drop),
            Way::Stream(connection) => {
                connection.stream.write_all(packet)?;
                connection.stream.flush()
            }
        }
    }
}

impl Connection {
    /// Takes what the server says, which is nothing to us but the end of the connection.
    fn is_open(&mut self) -> bool {
        if self.socket.set_nonblocking(true).is_err() {
            return false;
        }
        let open = match self.stream.read(&mut [0; 512]) {
            Ok(taken) => taken > 0,
            Err(error) => error.kind() == ErrorKind::WouldBlock,
        };
        self.socket.set_nonblocking(false).is_ok() && open
    }
}

fn datagrams(to: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if to.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_write_timeout(Some(STALLED))?;
    Ok(socket)
}

fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&to, CONNECT)?;
    socket.set_read_timeout(Some(STALLED))?;
    socket.set_write_timeout(Some(STALLED))?;
    socket.set_nodelay(true)?;
    Ok(socket)
}

/// The server's certificate must chain to one of the file's CAs and carry the name in the settings.
fn trust(ca: Option<&Path>) -> Result<ClientConfig, String> {
    let path = ca.ok_or("[hep] transport = \"tls\" without ca: no certificate could verify")?;
    let refused = |error: &dyn std::fmt::Display| format!("[hep] ca {}: {error}; write a PEM file of the CAs of the HEP server's certificate", path.display());
    let file = BufReader::new(File::open(path).map_err(|error| refused(&error))?);
    let certificates = CertificateDer::pem_reader_iter(file).collect::<Result<Vec<_>, _>>().map_err(|error| refused(&error))?;
    let mut roots = RootCertStore::empty();
    let (good, _) = roots.add_parsable_certificates(certificates);
    if good == 0 {
        return Err(refused(&"it holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| refused(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
