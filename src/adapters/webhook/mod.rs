//! One document to an operator's own HTTPS receiver (RFC 9110): POST, `Idempotency-Key`, bearer token (RFC 6750), TLS held against one file of CAs.
//!
//! Bounded in everything: time to connect and in all, what is read of an answer. A redirect is an answer like any other: it is never followed, for a
//! token and a caller's number must not go where an answer says. Plain HTTP goes to this machine alone unless the settings say otherwise.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

const CONNECT: Duration = Duration::from_secs(5);
/// Head of an answer, and how much of its body is looked at for an operator.
const HEAD: usize = 16 * 1024;
const BODY: usize = 4 * 1024;
const TOLD: usize = 200;
const BODY_OF_TAKEN: Duration = Duration::from_millis(500);
/// A token's file.
const LONGEST_TOKEN: usize = 8 * 1024;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    pub url: Url,
    /// PEM, for https: whose certificates the receiver's must chain to.
    pub ca: Option<PathBuf>,
    pub token: Option<Token>,
    /// For one delivery in all.
    pub timeout: Duration,
}

#[derive(Clone, PartialEq, Eq)]
pub enum Token {
    Text(String),
    /// Read for each delivery, so that it may be changed at any time.
    File(PathBuf),
}

/// Never the token itself.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Token::Text(_) => f.write_str("Text(…)"),
            Token::File(path) => write!(f, "File({})", path.display()),
        }
    }
}

/// `https://host:port/path?query`, or `http` in place of `https`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    pub is_tls: bool,
    /// Without brackets.
    pub host: String,
    pub port: u16,
    /// With the query; begins with `/`.
    pub path: String,
}

impl Url {
    /// The error is a remedy.
    pub fn parse(text: &str) -> Result<Url, &'static str> {
        const REMEDY: &str = "write it as https://host/path";
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(REMEDY),
        };
        if rest.bytes().any(|byte| !byte.is_ascii_graphic()) || rest.contains(['#', '"', '<', '>', '\\']) {
            return Err("write it in ASCII without spaces, fragment or quotes");
        }
        let (authority, path) = rest.find(['/', '?']).map_or((rest, ""), |at| rest.split_at(at));
        if authority.contains('@') {
            return Err("write the token as token or token_file, no user in the address");
        }
        let (host, port) = match authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let port = if port.is_empty() { if is_tls { 443 } else { 80 } } else { port.parse().ok().filter(|port| *port > 0).ok_or(REMEDY)? };
        if host.is_empty() {
            return Err(REMEDY);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Url { is_tls, host: host.to_owned(), port, path })
    }

    /// It is this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == if self.is_tls { 443 } else { 80 } { host } else { format!("{host}:{}", self.port) }
    }
}

impl std::fmt::Display for Url {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}://{}{}", if self.is_tls { "https" } else { "http" }, self.authority(), self.path)
    }
}

/// What came of one delivery.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Status {
        status: u16,
        retry_after: Option<Duration>,
        /// The beginning of the body, in one line.
        says: String,
    },
    /// No answer: what went wrong, in the operator's terms.
    Failed(String),
}

/// What is sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document<'a> {
    /// Its media type.
    pub kind: &'static str,
    /// The same however often it is sent, so that a receiver can drop a repeat.
    pub id: Option<&'a str>,
    pub body: Bytes,
}

/// Sends one document of JSON.
pub async fn post(settings: &Settings, id: &str, body: &str) -> Answer {
    send(settings, Document { kind: "application/json", id: Some(id), body: Bytes::copy_from_slice(body.as_bytes()) }).await
}

/// Sends one document.
pub async fn send(settings: &Settings, document: Document<'_>) -> Answer {
    send_and_read(settings, document).await.0
}

/// The same, with the beginning of the answer's body, whatever its status; empty where none came soon.
pub async fn send_and_read(settings: &Settings, document: Document<'_>) -> (Answer, Bytes) {
    match timeout(settings.timeout, exchange(settings, document)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => (Answer::Failed(why), Bytes::new()),
        Err(_) => (Answer::Failed(format!("no answer came within {} s", settings.timeout.as_secs())), Bytes::new()),
    }
}

async fn exchange(settings: &Settings, document: Document<'_>) -> Result<(Answer, Bytes), String> {
    // Off the event loop, which carries calls: a file of CAs may be long, and a disk slow.
    let (of_files, files) = (settings.clone(), |error: tokio::task::JoinError| error.to_string());
    let (token, trust) = tokio::task::spawn_blocking(move || prepared(&of_files)).await.map_err(files)??;
    let request = request(settings, token.as_deref(), document)?;
    let stream = connect(&settings.url).await?;
    let Some(trust) = trust else { return spoken(stream, request).await };
    let name = ServerName::try_from(settings.url.host.clone()).map_err(|_| format!("{} is no name that a certificate can carry", settings.url.host))?;
    let connector = TlsConnector::from(Arc::new(trust));
    let stream =
        connector.connect(name, stream).await.map_err(|error| format!("no TLS with {}: {error}; see its certificate and the file ca", settings.url.host))?;
    spoken(stream, request).await
}

/// What stands in files: the token, and for TLS the CAs.
fn prepared(settings: &Settings) -> Result<(Option<String>, Option<ClientConfig>), String> {
    let token = settings.token.as_ref().map(read).transpose()?;
    let trust = settings.url.is_tls.then(|| trust(settings)).transpose()?;
    Ok((token, trust))
}

fn request(settings: &Settings, token: Option<&str>, document: Document<'_>) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::post(&*settings.url.path)
        .header(HOST, settings.url.authority())
        .header(CONTENT_TYPE, document.kind)
        .header(USER_AGENT, concat!("Portcullis/", env!("CARGO_PKG_VERSION")));
    if let Some(id) = document.id {
        let key = HeaderValue::from_str(&format!("\"{id}\"")).map_err(|_| String::from("the notice's id is no header value"))?;
        request = request.header("Idempotency-Key", key);
    }
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| String::from("the token holds what no header may hold"))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(Full::new(document.body)).map_err(|error| format!("the address makes no request ({error})"))
}

fn read(token: &Token) -> Result<String, String> {
    match token {
        Token::Text(text) => Ok(text.trim().to_owned()),
        Token::File(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| format!("token_file {}: {error}", path.display()))?;
            let text = text.trim();
            if text.is_empty() || text.len() > LONGEST_TOKEN { Err(format!("token_file {} holds no token", path.display())) } else { Ok(text.to_owned()) }
        }
    }
}

/// The CAs of the file, read for each delivery, so that it may be changed at any time.
fn trust(settings: &Settings) -> Result<ClientConfig, String> {
    let path = settings.ca.as_ref().ok_or("https without ca: no certificate could verify")?;
    let refused = |error: &dyn std::fmt::Display| format!("ca {}: {error}", path.display());
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| refused(&error))?.collect::<Result<Vec<_>, _>>().map_err(|error| refused(&error))?;
    let (good, _) = roots.add_parsable_certificates(certificates);
    if good == 0 {
        return Err(refused(&"it holds no certificate"));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| refused(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

async fn connect(url: &Url) -> Result<TcpStream, String> {
    let mut failure = format!("{} has no address", url.host);
    let found = lookup_host((&*url.host, url.port)).await.map_err(|error| format!("{} could not be resolved ({error})", url.host))?;
    for to in found.take(4) {
        match timeout(CONNECT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failure = format!("{to} could not be reached ({error})"),
            Err(_) => failure = format!("{to} did not answer within {} s", CONNECT.as_secs()),
        }
    }
    Err(failure)
}

async fn spoken(stream: impl AsyncRead + AsyncWrite + Unpin + Send, request: Request<Full<Bytes>>) -> Result<(Answer, Bytes), String> {
    let handshake = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| format!("HTTP failed ({error})"))?;
    let exchange = async move {
        let response = sender.send_request(request).await.map_err(|error| format!("no answer came ({error})"))?;
        Ok(answer(response).await)
    };
    tokio::pin!(exchange);
    // The connection is driven beside the exchange, and goes with it.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = connection => exchange.await,
    }
}

async fn answer(response: Response<hyper::body::Incoming>) -> (Answer, Bytes) {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok()).map(Duration::from_secs);
    // The status is the answer; of the body only as much as an operator may want to read of a refusal, and of what was taken only what comes at once.
    let body = Limited::new(response.into_body(), BODY).collect();
    let body = match status {
        200..=299 => timeout(BODY_OF_TAKEN, body).await.ok().and_then(Result::ok),
        _ => body.await.ok(),
    };
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    let says = match status {
        200..=299 => String::new(),
        _ => String::from_utf8_lossy(&body).chars().filter(|character| !character.is_control()).take(TOLD).collect(),
    };
    (Answer::Status { status, retry_after, says }, body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_nothing_else_is() {
        let url = |text: &str| Url::parse(text).map(|url| (url.is_tls, url.host.clone(), url.port, url.path.clone(), url.to_string()));
        assert_eq!(
            url("https://um.example.com/missed?x=1"),
            Ok((true, "um.example.com".into(), 443, "/missed?x=1".into(), "https://um.example.com/missed?x=1".into()))
        );
        assert_eq!(url("https://[2001:db8::1]:8443"), Ok((true, "2001:db8::1".into(), 8443, "/".into(), "https://[2001:db8::1]:8443/".into())));
        assert_eq!(url("http://127.0.0.1:9/?a"), Ok((false, "127.0.0.1".into(), 9, "/?a".into(), "http://127.0.0.1:9/?a".into())));
        for wrong in
            ["", "ftp://x/", "https://", "https://user:secret@x/", "https://x/a b", "https://x/\r\nX: y", "https://x:0/", "https://x:70000/", "https://x/#f"]
        {
            assert!(Url::parse(wrong).is_err(), "{wrong}");
        }
        assert!(Url::parse("http://localhost/").unwrap().is_loopback() && Url::parse("http://[::1]/").unwrap().is_loopback());
        assert!(!Url::parse("http://localhost.example.com/").unwrap().is_loopback() && !Url::parse("http://192.0.2.1/").unwrap().is_loopback());
    }

    #[test]
    fn a_token_is_never_printed() {
        let settings = Settings { url: Url::parse("https://x/").unwrap(), ca: None, token: Some(Token::Text("secret".into())), timeout: CONNECT };
        assert!(!format!("{settings:?}").contains("secret"));
    }
}
