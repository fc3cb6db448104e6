//! Asking a running border: one request over its control socket.

use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// A rotation may have to read many files.
const PATIENCE: Duration = Duration::from_secs(30);
/// Ten thousand peers with all their addresses stay well below.
const LONGEST: usize = 64 * 1024 * 1024;

/// `body` is null where the answer has none.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

/// Within a tokio runtime. An answer that refuses is an answer; an error means that there is none.
pub async fn ask(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
    timeout(PATIENCE, exchange(socket, method, path, body)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

async fn exchange(socket: &Path, method: &str, path: &str, body: Option<&Value>) -> io::Result<Answer> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let connection = tokio::spawn(connection);
    let text = body.map(Value::to_string).unwrap_or_default();
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "portcullis")
        .header("Content-Type", "application/json")
        .body(Full::new(Bytes::from(text)))
        .map_err(io::Error::other)?;
    let answer = sender.send_request(request).await.map_err(io::Error::other)?;
    let status = answer.status().as_u16();
    let bytes = Limited::new(answer.into_body(), LONGEST).collect().await.map_err(io::Error::other)?.to_bytes();
    connection.abort();
    let body = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes)? };
    Ok(Answer { status, body })
}
