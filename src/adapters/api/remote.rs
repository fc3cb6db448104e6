//! A border that is asked over the network: its `[api]` door, by a bearer token (RFC 6750) or a certificate of one's own, over TLS 1.3 unless it is on this machine.

use std::io;
use std::path::Path;
use std::sync::Arc;

use hyper::Uri;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use super::stream::Stream;

/// Where `[api] listen` stands without a port.
const PORT: u16 = 9161;

/// How a border's door is known, and how one is known to it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trust<'a> {
    /// The CAs of the door's certificate (PEM).
    pub ca: Option<&'a Path>,
    /// Ours, with its chain, and its key (PEM).
    pub own: Option<(&'a Path, &'a Path)>,
    pub token: Option<&'a str>,
}

#[derive(Clone)]
pub struct Remote {
    host: String,
    port: u16,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    pub(super) authorization: Option<String>,
}

impl Remote {
    /// Of `https://border.example:9161`, or `http://127.0.0.1:9161`. The error names the remedy.
    pub fn new(url: &str, trust: &Trust<'_>) -> Result<Remote, String> {
        let wrong = |what: &str| format!("{url}: {what}; write https://HOST:PORT, or http://127.0.0.1:PORT for this machine's own");
        let parsed: Uri = url.parse().map_err(|_| wrong("this is no URL"))?;
        let authority = parsed.authority().ok_or_else(|| wrong("this names no host"))?;
        if authority.as_str().contains('@') || !matches!(parsed.path(), "" | "/") || parsed.query().is_some() {
            return Err(wrong("only a host and a port belong here"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(PORT);
        let is_loopback = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        let tls = match parsed.scheme_str() {
            Some("https") => {
                let name = ServerName::try_from(host.clone()).map_err(|_| wrong("no certificate can be for such a host"))?;
                Some((Arc::new(configuration(trust)?), name))
            }
            Some("http") if is_loopback => None,
            Some("http") => return Err(wrong("a token would cross the network in the clear")),
            _ => return Err(wrong("this is neither https nor http")),
        };
        let authorization = trust.token.map(|token| format!("Bearer {}", token.trim()));
        if authorization.as_ref().is_some_and(|value| value.bytes().any(|byte| !(0x20..0x7f).contains(&byte))) {
            return Err(String::from("the token holds characters no token has; give the line that `portcullis token` printed, alone"));
        }
        Ok(Remote { host, port, tls, authorization })
    }

    pub(super) async fn connect(&self) -> io::Result<Stream<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => Ok(Stream::Plain(stream)),
            Some((configuration, name)) => {
                let connector = TlsConnector::from(Arc::clone(configuration));
                Ok(Stream::Tls(Box::new(connector.connect(name.clone(), stream).await?)))
            }
        }
    }
}

impl std::fmt::Display for Remote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        match self.host.contains(':') {
            true => write!(f, "{scheme}://[{}]:{}", self.host, self.port),
            false => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

fn configuration(trust: &Trust<'_>) -> Result<ClientConfig, String> {
    let ca = trust.ca.ok_or("https needs --ca FILE: the CA of the border's [api] certificate, so that no other border is asked by mistake")?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|error| format!("{}: {error}", ca.display()))?;
    }
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    let Some((chain, key)) = trust.own else { return Ok(builder.with_no_client_auth()) };
    let key_der = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("{}: {error}", key.display()))?;
    builder.with_client_auth_cert(certificates(chain)?, key_der).map_err(|error| format!("{}: {error}", chain.display()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|error| format!("{}: {error}", file.display()))?;
    if read.is_empty() { Err(format!("{}: no certificate in it; PEM is expected", file.display())) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str, trust: &Trust<'_>) -> String {
        Remote::new(url, trust).map(|remote| panic!("{url} was taken as {remote}")).unwrap_err()
    }

    #[test]
    fn what_cannot_be_asked_is_told_with_a_remedy() {
        let nothing = Trust::default();
        for (url, words) in [
            ("nonsense", "neither https nor http"),
            ("/v1", "names no host"),
            ("ftp://border", "neither https nor http"),
            ("http://192.0.2.1:9161", "in the clear"),
            ("https://border.example", "--ca FILE"),
            ("http://me:secret@127.0.0.1", "only a host and a port"),
            ("http://127.0.0.1/v1/calls", "only a host and a port"),
        ] {
            let told = refusal(url, &nothing);
            assert!(told.contains(words), "{url}: {told}");
        }
        assert!(refusal("http://127.0.0.1", &Trust { token: Some("a\u{e9}b"), ..nothing }).contains("no token has"));
        assert!(refusal("https://border", &Trust { ca: Some(Path::new("/nowhere.pem")), ..nothing }).contains("/nowhere.pem"));
    }

    #[test]
    fn this_machine_is_asked_without_tls() {
        for (url, shown) in
            [("http://127.0.0.1", "http://127.0.0.1:9161"), ("http://[::1]:80/", "http://[::1]:80"), ("http://localhost:9000", "http://localhost:9000")]
        {
            let remote = Remote::new(url, &Trust { token: Some("abc\n"), ..Trust::default() }).unwrap();
            assert_eq!((remote.to_string().as_str(), remote.authorization.as_deref()), (shown, Some("Bearer abc")));
        }
    }
}
