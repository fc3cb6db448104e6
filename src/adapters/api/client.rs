//! Asking a running border: one request over its Unix socket, or over the network.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::HeaderMap;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::remote::Remote;

/// A rotation may have to read many files.
const PATIENCE: Duration = Duration::from_secs(30);
/// Whoever asks for somebody else keeps him waiting no longer.
const FOR_ANOTHER: Duration = Duration::from_secs(4);
/// Whoever does not take a connection within this time hangs.
const TAKEN: Duration = Duration::from_secs(5);
/// How often one that found no room is tried again.
const AGAIN: Duration = Duration::from_millis(50);
/// Ten thousand peers with all their addresses stay well below.
const LONGEST: usize = 64 * 1024 * 1024;
/// Of an answer without end.
const LONGEST_LINE: usize = 64 * 1024;

/// `body` is null where the answer has none, and a string where it is plain text.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Where a border is asked.
#[derive(Clone)]
pub enum Place {
    Socket(PathBuf),
    Network(Remote),
}

impl From<&Path> for Place {
    fn from(socket: &Path) -> Place {
        Place::Socket(socket.to_path_buf())
    }
}

impl From<&Place> for Place {
    fn from(place: &Place) -> Place {
        place.clone()
    }
}

impl From<&PathBuf> for Place {
    fn from(socket: &PathBuf) -> Place {
        Place::Socket(socket.clone())
    }
}

/// Within a tokio runtime. An answer that refuses is an answer; an error means that there is none.
pub async fn ask(place: impl Into<Place>, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
    let place = place.into();
    timeout(PATIENCE, exchange(&place, method, path, body)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Within a tokio runtime: whether somebody takes connections there. An error of kind `TimedOut`: somebody has the socket, but takes none.
pub async fn reach(socket: &Path) -> io::Result<()> {
    connect(socket).await.map(drop)
}

/// Where as many wait already as may, the system does not let another wait, but says so at once.
async fn connect(socket: &Path) -> io::Result<UnixStream> {
    let tried = async {
        loop {
            match UnixStream::connect(socket).await {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(AGAIN).await,
                result => return result,
            }
        }
    };
    timeout(TAKEN, tried).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// An answer as it came, for somebody else.
#[derive(Clone, Debug)]
pub struct Relayed {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Asks for somebody else, who waits for it and has no body to send.
pub async fn relay(place: &Place, method: &str, path: &str) -> io::Result<Relayed> {
    timeout(FOR_ANOTHER, exchanged(place, method, path, None)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// As `ask`, of what is neither JSON nor text: status and bytes. A refusal is still JSON.
pub async fn fetch(place: impl Into<Place>, method: &str, path: &str) -> io::Result<(u16, Bytes)> {
    let place = place.into();
    let fetched = timeout(PATIENCE, exchanged(&place, method, path, None)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    Ok((fetched.status, fetched.body))
}

/// As `ask`, of what has no end: each line as it comes, until there are no more, or `with` wants none. What refuses is an answer, and so is the end: it has no body.
pub async fn listen(place: impl Into<Place>, path: &str, mut with: impl FnMut(&str) -> io::Result<bool>) -> io::Result<Answer> {
    let asked = timeout(PATIENCE, sent(&place.into(), "GET", path, None)).await;
    let (answer, connection) = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    let _connection = Kept(connection);
    let status = answer.status().as_u16();
    let mut body = answer.into_body();
    if !(200..300).contains(&status) {
        let bytes = Limited::new(body, LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
        return Ok(Answer { status, body: serde_json::from_slice(&bytes)? });
    }
    let mut begun = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
        for line in data.split_inclusive(|octet| *octet == b'\n') {
            begun.extend_from_slice(line);
            if begun.len() > LONGEST_LINE {
                return Err(io::Error::other("a line of the answer has no end"));
            }
            if begun.ends_with(b"\n") && !with(String::from_utf8_lossy(&std::mem::take(&mut begun)).trim_end())? {
                return Ok(Answer { status, body: Value::Null });
            }
        }
    }
    Ok(Answer { status, body: Value::Null })
}

/// Ends with whoever asked.
struct Kept(JoinHandle<hyper::Result<()>>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(place: &Place, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
    let Relayed { status, headers, body: bytes } = exchanged(place, method, path, body).await?;
    let is_text = headers.get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/"));
    let body = match bytes.is_empty() {
        true => Value::Null,
        false if is_text => Value::String(String::from_utf8_lossy(&bytes).into_owned()),
        false => serde_json::from_slice(&bytes)?,
    };
    Ok(Answer { status, body })
}

async fn exchanged(place: &Place, method: &str, path: &str, body: Option<&Value>) -> io::Result<Relayed> {
    let (answer, connection) = sent(place, method, path, body).await?;
    let _connection = Kept(connection);
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    let body = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Relayed { status, headers, body })
}

/// The head of an answer, and the connection it comes over.
type Sent = (hyper::Response<Incoming>, JoinHandle<hyper::Result<()>>);

async fn sent(place: &Place, method: &str, path: &str, body: Option<&Value>) -> io::Result<Sent> {
    match place {
        Place::Socket(socket) => sent_over(connect(socket).await?, None, method, path, body).await,
        Place::Network(remote) => {
            let stream = timeout(TAKEN, remote.connect()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
            sent_over(stream, remote.authorization.as_deref(), method, path, body).await
        }
    }
}

async fn sent_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    authorization: Option<&str>,
    method: &str,
    path: &str,
    body: Option<&Value>,
) -> io::Result<Sent> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = hyper::Request::builder().method(method).uri(path).header("Host", "portcullis").header("Content-Type", "application/json");
    let request = authorization.into_iter().fold(request, |request, token| request.header("Authorization", token));
    let request = request.body(Full::new(Bytes::from(text))).map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    Ok((answer, connection))
}
