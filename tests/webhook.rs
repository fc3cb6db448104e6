//! Notices to a webhook over HTTPS: what is sent, who is believed, what is not followed, and that nothing is waited for or read without bound.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use portcullis::adapters::webhook::{Answer, Settings, Token, Url, post};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// A receiver that answers every request with one text, and remembers what came.
struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<String>>>,
    ca: PathBuf,
    _folder: tempfile::TempDir,
}

/// `tls`: with a certificate for this name.
async fn receiver(tls: Option<&str>, answer: impl Into<Vec<u8>>) -> Receiver {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let acceptor = tls.map(|name| {
        let signed = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(&ca, signed.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signed.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![CertificateDer::from(signed.cert.der().to_vec())], key).unwrap();
        TlsAcceptor::from(Arc::new(config))
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let (remembered, answer) = (seen.clone(), answer.into());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, remembered, answer) = (acceptor.clone(), remembered.clone(), answer.clone());
            tokio::spawn(async move {
                match acceptor {
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, &remembered, &answer).await;
                        }
                    }
                    None => serve(stream, &remembered, &answer).await,
                }
            });
        }
    });
    Receiver { address, seen, ca, _folder: folder }
}

async fn serve(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin, seen: &Mutex<Vec<String>>, answer: &[u8]) {
    let mut text = Vec::new();
    let mut buffer = [0; 4096];
    // Whole when the body has as much as the head says.
    loop {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { return };
        text.extend_from_slice(&buffer[..count]);
        let said = String::from_utf8_lossy(&text).into_owned();
        let Some((head, body)) = said.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ").map(|length| length.parse::<usize>().unwrap()));
        if body.len() >= length.unwrap_or(0) {
            seen.lock().unwrap().push(said);
            break;
        }
    }
    // Whoever asked may have gone.
    let _ = stream.write_all(answer).await;
    let _ = stream.shutdown().await;
}

const TAKEN: &str = "HTTP/1.1 204 No Content\r\n\r\n";

impl Receiver {
    fn settings(&self, scheme: &str, host: &str) -> Settings {
        let url = Url::parse(&format!("{scheme}://{host}:{}/missed?of=branch", self.address.port())).unwrap();
        let ca = (scheme == "https").then(|| self.ca.clone());
        Settings { url, ca, token: None, timeout: Duration::from_secs(10) }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn status(answer: &Answer) -> u16 {
    if let Answer::Status { status, .. } = answer { *status } else { 0 }
}

fn failure(answer: Answer) -> String {
    if let Answer::Failed(why) = answer { why } else { panic!("{answer:?}") }
}

#[tokio::test]
async fn a_notice_goes_out_over_tls_with_its_key_and_token() {
    let receiver = receiver(Some("localhost"), TAKEN).await;
    let settings = Settings { token: Some(Token::Text("s3cret".into())), ..receiver.settings("https", "localhost") };
    let answer = post(&settings, "id1", "{\"id\":\"id1\"}").await;
    assert_eq!(answer, Answer::Status { status: 204, retry_after: None, says: String::new() });
    let seen = receiver.seen();
    assert_eq!(seen.len(), 1);
    let head = seen[0].to_ascii_lowercase();
    assert!(head.starts_with("post /missed?of=branch http/1.1\r\n"), "{head}");
    for line in
        ["idempotency-key: \"id1\"", "content-type: application/json", "authorization: bearer s3cret", &format!("host: localhost:{}", receiver.address.port())]
    {
        assert!(head.contains(line), "{line} in\n{head}");
    }
    assert!(seen[0].ends_with("\r\n\r\n{\"id\":\"id1\"}"));
}

#[tokio::test]
async fn a_token_is_read_from_its_file_each_time() {
    let receiver = receiver(None, TAKEN).await;
    let file = receiver._folder.path().join("token");
    let settings = Settings { token: Some(Token::File(file.clone())), ..receiver.settings("http", "127.0.0.1") };
    assert!(failure(post(&settings, "a", "{}").await).contains("token_file"));
    for token in ["one", "two"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        assert_eq!(status(&post(&settings, "a", "{}").await), 204);
        assert!(receiver.seen().last().unwrap().contains(&format!("Bearer {token}\r\n")));
    }
    std::fs::write(&file, "a\r\nX-Evil: y").unwrap();
    assert!(failure(post(&settings, "a", "{}").await).contains("token"));
    assert_eq!(receiver.seen().len(), 2, "nothing went out without its token");
}

#[tokio::test]
async fn who_cannot_prove_the_name_gets_nothing() {
    let other = receiver(Some("other.example"), TAKEN).await;
    let why = failure(post(&other.settings("https", "localhost"), "a", "{}").await);
    assert!(why.contains("TLS"), "{why}");
    let stranger = receiver(Some("localhost"), TAKEN).await;
    let why = failure(post(&Settings { ca: Some(other.ca.clone()), ..stranger.settings("https", "localhost") }, "a", "{}").await);
    assert!(why.contains("TLS"), "{why}");
    let why = failure(post(&Settings { ca: Some("/nonexistent/ca.pem".into()), ..stranger.settings("https", "localhost") }, "a", "{}").await);
    assert!(why.contains("ca /nonexistent/ca.pem"), "{why}");
    assert!(other.seen().is_empty() && stranger.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_is_told_and_not_followed() {
    let elsewhere = receiver(None, TAKEN).await;
    let answer = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    let receiver = receiver(None, answer).await;
    assert_eq!(status(&post(&receiver.settings("http", "127.0.0.1"), "a", "{}").await), 307);
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_refusal_says_why_in_one_short_line() {
    let answer = "HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 25\r\nRetry-After: 7\r\n\r\nno such\r\nmailbox \u{1b}[2Jhere";
    let receiver = receiver(None, answer).await;
    let answer = post(&receiver.settings("http", "127.0.0.1"), "a", "{}").await;
    assert_eq!(answer, Answer::Status { status: 422, retry_after: Some(Duration::from_secs(7)), says: "no suchmailbox [2Jhere".into() });
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    // A body without end, and a head without end.
    let body = [
        b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
        b"1000\r\n".to_vec(),
        vec![b'x'; 4096],
        vec![b'\r', b'\n'],
        b"1000\r\n".to_vec(),
        vec![b'x'; 1 << 20],
    ]
    .concat();
    let endless = receiver(None, body).await;
    assert_eq!(status(&post(&endless.settings("http", "127.0.0.1"), "a", "{}").await), 500);
    let head = [b"HTTP/1.1 200 OK\r\nX: ".to_vec(), vec![b'x'; 1 << 20]].concat();
    let endless = receiver(None, head).await;
    failure(post(&endless.settings("http", "127.0.0.1"), "a", "{}").await);
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let settings = Settings { url, ca: None, token: None, timeout: Duration::from_secs(1) };
    let why = failure(post(&settings, "a", "{}").await);
    assert!(why.contains("within 1 s"), "{why}");
    drop(listener);
    let why = failure(post(&settings, "a", "{}").await);
    assert!(why.contains("could not be reached"), "{why}");
}
