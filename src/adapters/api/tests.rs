//! The doors on real sockets: who is let in, who may do what, what is kept account of, and what a client cannot do to them.

use std::sync::Mutex;

use axum::Json;
use axum::extract::Extension;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::*;

/// Shows nothing, and believes certificates until told otherwise.
pub(super) struct Nobody(pub watch::Sender<u64>);

impl Default for Nobody {
    fn default() -> Nobody {
        Nobody(watch::Sender::new(0))
    }
}

impl Identities for Nobody {
    fn server(&self) -> Option<Arc<ServerConfig>> {
        None
    }

    fn names(&self, _: &[u8]) -> Vec<String> {
        Vec::new()
    }

    fn believes(&self, _: &[CertificateDer<'_>]) -> bool {
        *self.0.borrow() == 0
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// What reached the routes behind the door.
type Reached = Arc<Mutex<Vec<String>>>;

fn router(reached: &Reached) -> Router {
    let note = |reached: Reached, what: &'static str| {
        move |Extension(operator): Extension<Operator>| async move {
            reached.lock().unwrap().push(format!("{what} by {}", operator.name));
            Json(json!({ "by": &*operator.name }))
        }
    };
    let refuse = || async { Problem::new(StatusCode::CONFLICT, "sbc.key: this key does not belong to the certificate") };
    Router::new()
        .route("/v1/thing", get(note(Arc::clone(reached), "look")).post(note(Arc::clone(reached), "change")))
        .route("/v1/refused", post(refuse))
        .route("/v1/done", post(|| async { (Extension(Outcome("in force: set b, before it a".into())), "") }))
        .route("/v1/endless", get(endless))
        .route("/", get(|| async { "page" }))
}

/// As changes are told of: a beginning, and never an end.
async fn endless() -> axum::body::Body {
    let beginning = futures_util::stream::iter([Ok::<_, std::convert::Infallible>("it begins")]);
    axum::body::Body::from_stream(futures_util::StreamExt::chain(beginning, futures_util::stream::pending()))
}

fn needs(method: &Method, _: &str) -> Role {
    if method.is_safe() { Role::Read } else { Role::Operate }
}

struct Lab {
    folder: tempfile::TempDir,
    reached: Reached,
    audit: Audit,
    api: Api,
}

impl Lab {
    async fn new(listen: Option<Listen>) -> Lab {
        let folder = tempfile::tempdir().unwrap();
        let reached = Reached::default();
        let file = folder.path().join("audit.jsonl");
        let audit = Audit::open(Some(&file)).unwrap();
        let settings = Settings { socket: Some(folder.path().join("control.sock")), listen, audit: Some(file) };
        let api = Api::start(&settings, router(&reached), needs, Arc::new(Nobody::default()), audit.clone(), Start::InPlace).await.unwrap();
        Lab { folder, reached, audit, api }
    }

    fn socket(&self) -> PathBuf {
        self.api.socket().unwrap()
    }

    async fn get(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.api.bound().unwrap()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Listens to what has no end.
    async fn listens(&self, token: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.api.bound().unwrap()).await.unwrap();
        stream.write_all(request("GET /v1/endless", Some(token)).as_bytes()).await.unwrap();
        heard_until("it begins", &mut stream).await;
        stream
    }

    fn reached(&self) -> Vec<String> {
        self.reached.lock().unwrap().clone()
    }
}

fn tokens() -> Listen {
    let token = |name: &str, role, token: &str| Token { name: name.into(), role, digest: TokenDigest::of(token) };
    let tokens = vec![token("grafana", Role::Read, "look-1"), token("alice", Role::Operate, "do-1")];
    Listen { address: "127.0.0.1:0".parse().unwrap(), tls: None, tokens, certificates: Vec::new() }
}

fn request(line: &str, token: Option<&str>) -> String {
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    format!("{line} HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 0\r\nConnection: close\r\n\r\n")
}

#[tokio::test]
async fn the_kernel_knows_who_comes_by_the_socket_and_changes_are_accounted_for() {
    let lab = Lab::new(None).await;
    let me = ask(&lab.socket(), "GET", "/v1/thing", None).await.unwrap();
    assert_eq!(me.status, 200);
    let body = json!({ "source": "203.0.113.7" });
    assert_eq!(ask(&lab.socket(), "POST", "/v1/thing", Some(&body)).await.unwrap().status, 200);
    let refused = ask(&lab.socket(), "POST", "/v1/refused", None).await.unwrap();
    assert_eq!((refused.status, refused.body["detail"].as_str()), (409, Some("sbc.key: this key does not belong to the certificate")));
    let entries = lab.audit.entries();
    let told: Vec<_> = entries.iter().map(|entry| (entry.request.as_str(), entry.status, entry.asked.clone(), entry.detail.is_some())).collect();
    assert_eq!(told, [("POST /v1/refused", 409, None, true), ("POST /v1/thing", 200, Some(body), false)], "looking is no change");
    assert_eq!(Value::from(&*entries[0].operator), me.body["by"]);
    let file = std::fs::read_to_string(lab.folder.path().join("audit.jsonl")).unwrap();
    assert_eq!(file.lines().count(), 2);
    assert!(file.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test]
async fn a_token_is_needed_and_its_role_holds() {
    let lab = Lab::new(Some(tokens())).await;
    let answer = lab.get(&request("GET /v1/thing", None)).await;
    assert!(answer.starts_with("HTTP/1.1 401") && answer.to_ascii_lowercase().contains("www-authenticate: bearer"), "{answer}");
    assert!(lab.get(&request("GET /v1/thing", Some("look-2"))).await.starts_with("HTTP/1.1 401"));
    assert!(lab.get(&request("GET /v1/thing", Some(""))).await.starts_with("HTTP/1.1 401"));
    assert!(lab.reached().is_empty());
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    assert!(lab.get(&request("POST /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 403"));
    assert!(lab.get(&request("POST /v1/thing", Some("do-1"))).await.starts_with("HTTP/1.1 200"));
    assert_eq!(lab.reached(), ["look by grafana", "change by alice"]);
    let entries = lab.audit.entries();
    assert_eq!(entries.iter().map(|entry| (entry.operator.as_str(), entry.status)).collect::<Vec<_>>(), [("alice", 200), ("grafana", 403)]);
}

#[tokio::test]
async fn who_is_taken_out_is_out_at_once_and_who_is_put_in_is_in() {
    let lab = Lab::new(Some(tokens())).await;
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    let mut listen = tokens();
    listen.tokens = vec![Token { name: "bob".into(), role: Role::Operate, digest: TokenDigest::of("new-1") }];
    let running = Settings { listen: Some(tokens()), ..Settings::default() };
    let settings = Settings { listen: Some(listen), ..Settings::default() };
    assert!(running.same_door(&settings));
    lab.api.know(&settings);
    for (token, status) in [("look-1", "401"), ("do-1", "401"), ("new-1", "200")] {
        assert!(lab.get(&request("POST /v1/thing", Some(token))).await.starts_with(&format!("HTTP/1.1 {status}")), "{token}");
    }
}

async fn heard_until(text: &str, stream: &mut TcpStream) {
    let (mut heard, mut buffer) = (String::new(), [0; 1024]);
    while !heard.contains(text) {
        let read = tokio::time::timeout(PATIENCE, stream.read(&mut buffer)).await.expect("it is said in time").unwrap();
        assert!(read > 0, "it ended: {heard}");
        heard += &String::from_utf8_lossy(&buffer[..read]);
    }
}

/// Whether it breaks off: an end that belongs to HTTP would be that of a whole answer.
async fn breaks_off(stream: &mut TcpStream) -> bool {
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
    ended.is_ok() && !String::from_utf8_lossy(&rest).contains("0\r\n\r\n")
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

#[tokio::test]
async fn what_is_told_without_end_breaks_off_for_who_is_taken_out_or_made_another() {
    let mut listen = tokens();
    listen.tokens.push(Token { name: "carol".into(), role: Role::Operate, digest: TokenDigest::of("do-2") });
    let lab = Lab::new(Some(listen.clone())).await;
    let (mut stays, mut goes, mut reads_now) = (lab.listens("look-1").await, lab.listens("do-1").await, lab.listens("do-2").await);
    listen.tokens.retain(|token| token.name != "alice");
    listen.tokens[1].role = Role::Read;
    lab.api.know(&Settings { listen: Some(listen.clone()), ..Settings::default() });
    assert!(breaks_off(&mut goes).await, "a token that is known no more");
    assert!(breaks_off(&mut reads_now).await, "a token of another role");
    let told: Vec<_> = lab.audit.entries().iter().map(|entry| (entry.operator.clone(), entry.request.clone(), entry.status)).collect();
    for name in ["alice", "carol"] {
        assert!(told.contains(&(name.into(), "GET /v1/endless".into(), 401)), "{told:?}");
    }
    assert_eq!(told.len(), 2);
    assert!(lab.audit.entries().iter().all(|entry| entry.detail.as_deref().is_some_and(|detail| detail.starts_with("broken off: "))));
    // Nobody else notices anything, and whoever listens by the socket is who the kernel says.
    assert!(tokio::time::timeout(std::time::Duration::from_millis(300), stays.read_u8()).await.is_err());
    // Nobody may come by this door any more.
    lab.api.move_to(&Settings::default()).await.unwrap();
    lab.api.know(&Settings::default());
    assert!(breaks_off(&mut stays).await, "a door that is shut");
}

#[tokio::test]
async fn what_is_told_without_end_breaks_off_for_a_certificate_that_is_believed_no_more() {
    let identities = Arc::new(Nobody::default());
    let callers = Callers { tokens: Vec::new(), certificates: vec![("alice.example".into(), Role::Operate)] };
    let audit = Audit::default();
    let guard = access::Guard::new(needs, access::Known::of(callers), identities.clone(), audit.clone());
    let mut guarded = access::guarded(Router::new().route("/v1/endless", get(endless)), guard);
    let remote = "192.0.2.1:1".parse().unwrap();
    let operator = Operator { name: "alice.example".into(), role: Role::Operate, via: Via::Certificate { remote } };
    let mut ask = || {
        let client = access::Client::Holder { operator: operator.clone(), chain: Arc::from(Vec::new()) };
        let request = axum::extract::Request::builder().uri("/v1/endless").extension(client).body(axum::body::Body::empty()).unwrap();
        tower_service::Service::call(&mut guarded, request)
    };
    let mut told = ask().await.unwrap().into_body().into_data_stream();
    let mut next = async || tokio::time::timeout(PATIENCE, futures_util::StreamExt::next(&mut told)).await;
    assert_eq!(next().await.unwrap().unwrap().unwrap(), "it begins");
    // Another CA, by a rotation.
    identities.0.send_replace(1);
    assert!(next().await.unwrap().unwrap().unwrap_err().to_string().contains("believed"));
    assert!(next().await.unwrap().is_none());
    assert_eq!(audit.entries().iter().map(|entry| (entry.operator.as_str(), entry.status)).collect::<Vec<_>>(), [("alice.example", 401)]);
    assert_eq!(ask().await.unwrap().status(), StatusCode::UNAUTHORIZED, "a connection that is up asks in vain");
}

#[test]
fn a_door_that_stays_has_the_callers_of_the_new_set() {
    let running = Settings { listen: Some(tokens()), ..Settings::default() };
    let listen = Listen { address: "127.0.0.1:9".parse().unwrap(), tokens: Vec::new(), ..tokens() };
    let mut elsewhere = Settings { listen: Some(listen), ..Settings::default() };
    assert!(!running.same_door(&elsewhere) && !running.same_door(&Settings::default()) && !Settings::default().same_door(&running));
    elsewhere.with_door_of(&running);
    assert!(running.same_door(&elsewhere) && elsewhere.listen.is_some_and(|listen| listen.tokens.is_empty()));
}

#[tokio::test]
async fn the_door_moves_and_where_that_cannot_be_stays() {
    let lab = Lab::new(Some(tokens())).await;
    let first = lab.api.bound().unwrap();
    let to = |address: SocketAddr| Settings { listen: Some(Listen { address, ..tokens() }), ..Settings::default() };
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let second = free.local_addr().unwrap();
    assert!(lab.api.move_to(&to(second)).await.is_err(), "somebody is there");
    assert_eq!(lab.api.bound(), Some(first));
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    drop(free);
    lab.api.move_to(&to(second)).await.unwrap();
    assert_eq!(lab.api.bound(), Some(second));
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    assert!(TcpStream::connect(first).await.is_err(), "nobody is there any more");
    // Every address of the machine at the same port: one after the other.
    lab.api.move_to(&to(SocketAddr::from(([0, 0, 0, 0], second.port())))).await.unwrap();
    lab.api.move_to(&to(second)).await.unwrap();
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    lab.api.move_to(&Settings::default()).await.unwrap();
    assert_eq!(lab.api.bound(), None);
    assert!(TcpStream::connect(second).await.is_err());
}

#[tokio::test]
async fn the_page_needs_no_token_and_nothing_of_the_api_goes_without() {
    let lab = Lab::new(Some(tokens())).await;
    assert!(lab.get(&request("GET /", None)).await.ends_with("page"));
    assert!(lab.get(&request("GET /v1/nothing", None)).await.starts_with("HTTP/1.1 401"), "who is not let in learns not even what there is");
    assert!(lab.get(&request("POST /", None)).await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn a_body_too_long_is_refused_and_reaches_nobody() {
    let lab = Lab::new(Some(tokens())).await;
    let long = LONGEST_BODY + 1;
    let head = format!("POST /v1/thing HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer do-1\r\nContent-Length: {long}\r\nConnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(lab.api.bound().unwrap()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut from, mut to) = stream.into_split();
    let sending = tokio::spawn(async move {
        // Refused while it is still being sent.
        let _ = to.write_all(&vec![b' '; long]).await;
        to
    });
    let mut answer = vec![0; 12];
    from.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, b"HTTP/1.1 413");
    assert!(lab.reached().is_empty());
    sending.abort();
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
    let lab = Lab::new(None).await;
    let again = |path: PathBuf| async move {
        let settings = Settings { socket: Some(path), ..Settings::default() };
        Api::start(&settings, router(&Reached::default()), needs, Arc::new(Nobody::default()), Audit::default(), Start::InPlace).await
    };
    let taken = again(lab.socket()).await.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(taken.contains("another border"), "{taken}");
    let path = lab.folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let second = again(path.clone()).await.unwrap();
    assert_eq!(ask(&path, "GET", "/v1/thing", None).await.unwrap().status, 200);
    drop(second);
    assert!(!path.exists(), "the socket goes with the border");
}

#[tokio::test]
async fn two_processes_of_one_number_as_in_containers_keep_their_own_sockets() {
    let old = Lab::new(None).await;
    let place = old.socket();
    let settings = Settings { socket: Some(place.clone()), listen: None, audit: None };
    let reached = Reached::default();
    let new = Api::start(&settings, router(&reached), needs, Arc::new(Nobody::default()), Audit::open(None).unwrap(), Start::Aside { inherited: None })
        .await
        .unwrap();
    old.api.step_aside().unwrap();
    new.take_place().unwrap();
    assert_eq!(ask(&place, "GET", "/v1/thing", None).await.unwrap().status, 200);
    assert_eq!((old.reached().len(), reached.lock().unwrap().len()), (0, 1), "the place is the new one's");
    assert_eq!(ask(&aside(&place, std::process::id()), "GET", "/v1/thing", None).await.unwrap().status, 200);
    assert_eq!(old.reached().len(), 1, "the old one is asked aside");
    drop(old.api);
    assert_eq!(ask(&place, "GET", "/v1/thing", None).await.unwrap().status, 200);
}

#[tokio::test]
async fn only_its_owner_can_reach_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::new(None).await;
    assert_eq!(std::fs::metadata(lab.socket()).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_never_removed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("precious");
    std::fs::write(&path, "data").unwrap();
    let settings = Settings { socket: Some(path.clone()), ..Settings::default() };
    assert!(Api::start(&settings, router(&Reached::default()), needs, Arc::new(Nobody::default()), Audit::default(), Start::InPlace).await.is_err());
    assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
}

#[test]
fn a_digest_is_read_as_it_is_written() {
    let digest = TokenDigest::of("abc");
    assert_eq!(digest.to_string(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "FIPS 180-4's example");
    assert_eq!(TokenDigest::parse(&digest.to_string()), Some(digest));
    assert_eq!(TokenDigest::parse("ba78"), None);
    assert_eq!(TokenDigest::parse(&"zz".repeat(32)), None);
    assert_eq!(TokenDigest::parse(&"é".repeat(32)), None);
}

#[tokio::test]
async fn the_account_has_no_text_of_a_file_and_no_long_one() {
    let lab = Lab::new(None).await;
    let body = json!({ "files": { "border.toml": "password = \"s3cret\"" }, "overwrite": true, "reason": "x".repeat(300) });
    assert_eq!(ask(&lab.socket(), "POST", "/v1/thing", Some(&body)).await.unwrap().status, 200);
    let asked = lab.audit.entries()[0].asked.clone().unwrap();
    assert_eq!(asked, json!({ "files": { "border.toml": "19 bytes" }, "overwrite": true, "reason": "300 bytes" }));
    // Thousands of short texts are long as well.
    let body = json!({ "list": vec!["y"; 2000] });
    assert_eq!(ask(&lab.socket(), "POST", "/v1/thing", Some(&body)).await.unwrap().status, 200);
    assert_eq!(lab.audit.entries()[0].asked, None);
    let file = std::fs::read_to_string(lab.folder.path().join("audit.jsonl")).unwrap();
    assert!(!file.contains("s3cret") && file.lines().count() == 2, "{file}");
}

#[tokio::test]
async fn what_came_of_a_change_is_in_the_account() {
    let lab = Lab::new(None).await;
    assert_eq!(ask(&lab.socket(), "POST", "/v1/done", None).await.unwrap().status, 200);
    assert_eq!(lab.audit.entries()[0].detail.as_deref(), Some("in force: set b, before it a"));
}

#[tokio::test]
async fn who_is_not_known_is_counted_and_so_is_every_request() {
    let lab = Lab::new(Some(tokens())).await;
    for token in ["guess-1", "guess-2"] {
        assert!(lab.get(&request("GET /v1/thing", Some(token))).await.starts_with("HTTP/1.1 401"));
    }
    assert!(lab.get(&request("GET /v1/thing", None)).await.starts_with("HTTP/1.1 401"));
    assert!(lab.get(&request("GET /v1/thing", Some("look-1"))).await.starts_with("HTTP/1.1 200"));
    let counts = lab.audit.counts();
    assert_eq!((counts.unknown, counts.answered), (2, [0, 1, 0, 3, 0]));
}

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let lab = Lab::new(Some(tokens())).await;
    let from = |line: &str, site: &str| request(line, Some("do-1")).replace("Host: x", &format!("Host: x\r\nSec-Fetch-Site: {site}"));
    for site in ["cross-site", "same-site"] {
        assert!(lab.get(&from("POST /v1/thing", site)).await.starts_with("HTTP/1.1 403"), "{site}");
    }
    assert_eq!((lab.reached(), lab.audit.entries().len()), (Vec::new(), 2));
    for (line, site) in [("POST /v1/thing", "same-origin"), ("POST /v1/thing", "none"), ("GET /v1/thing", "cross-site")] {
        assert!(lab.get(&from(line, site)).await.starts_with("HTTP/1.1 200"), "{line} {site}");
    }
}
