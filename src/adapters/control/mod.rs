//! The operator's door on this machine: HTTP and JSON over a Unix socket, for `show`, `ban`, `unban` and rotation jobs.
//!
//! Whoever may use it is known by the kernel (`SO_PEERCRED`), not by a password: root, and the user the border runs as. Refusals are problem
//! documents (RFC 9457). What is asked for changes of the border is told in the log with the asker's user.
//!
//! | request | does |
//! |---|---|
//! | `GET /v1/missed-calls` | shows notices of missed calls, and what became of them |
//! | `POST /v1/missed-calls/retry` | queues parked ones again |
//! | `GET /v1/media`, `/v1/media/{call}` | shows the media of calls that are up, and why there is sound or none |
//! | `GET /v1/peers`, `/v1/bans`, `/v1/certs`, `/v1/firewall` | shows |
//! | `POST /v1/bans` `{"source", "seconds", "reason"}` | bans |
//! | `DELETE /v1/bans/{address}/{prefix length}` | lifts a ban |
//! | `POST /v1/certs/rotate` | loads the certificates anew |
//! | `POST /v1/reload` | loads the whole policy set anew |

mod client;
mod socket;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::connect_info::ConnectInfo;
use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use ipnet::IpNet;
use serde_json::{Value, json};
use tokio::task::AbortHandle;

pub use client::{Answer, ask, reach};
pub use socket::Operator;

/// The longest body a request may have.
const BODY: usize = 64 * 1024;

#[derive(Clone, Debug, PartialEq, Default)]
pub struct Settings {
    /// Where the socket lies; `None`: at [`DEFAULT`], if its folder is there.
    pub socket: Option<PathBuf>,
}

/// Where operators look for it. The folder is made by whoever starts the border: a service's `RuntimeDirectory=`, an image.
pub const DEFAULT: &str = "/run/portcullis/control.sock";

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Show {
    Peers,
    Bans,
    Certificates,
    Firewall,
}

/// What is asked of the border, beyond looking.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    Ban {
        source: IpNet,
        duration: Duration,
        reason: String,
    },
    Unban {
        source: IpNet,
    },
    /// Certificates, keys, CAs and CRLs anew; nothing else.
    Rotate,
    Reload,
    /// What is queued and parked: from disk, so asked for like this.
    MissedCalls,
    RetryMissedCalls,
    /// Of one call or of all: asked of the threads that carry it.
    Media {
        call: Option<u64>,
    },
}

/// Why something asked for was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    pub status: u16,
    pub detail: String,
}

pub type Done<'a> = Pin<Box<dyn Future<Output = Result<Value, Refused>> + Send + 'a>>;

/// The border behind the door.
pub trait Desk: Send + Sync + 'static {
    /// Must not block.
    fn show(&self, what: Show) -> Value;
    fn request(&self, operator: Operator, request: Request) -> Done<'_>;
}

/// Dropping it closes the door and removes the socket.
pub struct Control {
    path: PathBuf,
    task: AbortHandle,
}

impl Control {
    /// Inside a tokio runtime. `None`: no socket is written in the settings and the default's folder is not there.
    pub fn start(settings: &Settings, desk: Arc<dyn Desk>) -> io::Result<Option<Control>> {
        let path = match &settings.socket {
            Some(path) => path.clone(),
            None => PathBuf::from(DEFAULT),
        };
        if settings.socket.is_none() && !path.parent().is_some_and(std::path::Path::is_dir) {
            return Ok(None);
        }
        let listener = socket::Door::open(&path)?;
        let app = Router::new()
            .route("/v1/peers", get(async |desk| show(desk, Show::Peers)))
            .route("/v1/bans", get(async |desk| show(desk, Show::Bans)).post(ban))
            .route("/v1/bans/{address}/{length}", delete(unban))
            .route("/v1/certs", get(async |desk| show(desk, Show::Certificates)))
            .route("/v1/certs/rotate", post(rotate))
            .route("/v1/firewall", get(async |desk| show(desk, Show::Firewall)))
            .route("/v1/media", get(async |desk, operator| media(desk, operator, None).await))
            .route("/v1/media/{call}", get(async |desk, operator, Path(call): Path<u64>| media(desk, operator, Some(call)).await))
            .route("/v1/reload", post(reload))
            .route("/v1/missed-calls", get(missed_calls))
            .route("/v1/missed-calls/retry", post(retry_missed_calls))
            .fallback(async || problem(StatusCode::NOT_FOUND, "there is no such thing here"))
            .layer(DefaultBodyLimit::max(BODY))
            .with_state(desk);
        let service = app.into_make_service_with_connect_info::<Operator>();
        // Serving ends only with the task.
        let task = tokio::spawn(async move { drop(axum::serve(listener, service).await) }).abort_handle();
        Ok(Some(Control { path, task }))
    }

    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
        // Gone already, or another's by now: nothing to be done.
        let _ = std::fs::remove_file(&self.path);
    }
}

type Behind = State<Arc<dyn Desk>>;

fn show(State(desk): Behind, what: Show) -> Response {
    Json(desk.show(what)).into_response()
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Ban {
    source: String,
    seconds: u64,
    reason: String,
}

/// A ban nobody would live to see end is a mistyped one.
const LONGEST_BAN: u64 = 366 * 86_400;
const LONGEST_REASON: usize = 200;

async fn ban(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>, body: Result<Json<Ban>, JsonRejection>) -> Response {
    let Ban { source, seconds, reason } = match body {
        Ok(Json(ban)) => ban,
        Err(rejection) => return problem(StatusCode::BAD_REQUEST, &rejection.body_text()),
    };
    let Some(source) = network(&source) else {
        return problem(StatusCode::BAD_REQUEST, &format!("\"{source}\" is neither an address nor a network"));
    };
    if seconds == 0 || seconds > LONGEST_BAN {
        return problem(StatusCode::BAD_REQUEST, "a ban lasts from one second to 366 days");
    }
    if reason.chars().count() > LONGEST_REASON || reason.chars().any(char::is_control) {
        return problem(StatusCode::BAD_REQUEST, "a reason is one line of at most 200 characters");
    }
    let ban = Request::Ban { source, duration: Duration::from_secs(seconds), reason };
    done(desk.request(operator, ban).await)
}

async fn unban(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>, Path((address, length)): Path<(String, String)>) -> Response {
    match network(&format!("{address}/{length}")) {
        Some(source) => done(desk.request(operator, Request::Unban { source }).await),
        None => problem(StatusCode::BAD_REQUEST, "write the address and the prefix length of the ban"),
    }
}

async fn rotate(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>) -> Response {
    done(desk.request(operator, Request::Rotate).await)
}

async fn reload(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>) -> Response {
    done(desk.request(operator, Request::Reload).await)
}

async fn media(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>, call: Option<u64>) -> Response {
    done(desk.request(operator, Request::Media { call }).await)
}

async fn missed_calls(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>) -> Response {
    done(desk.request(operator, Request::MissedCalls).await)
}

async fn retry_missed_calls(State(desk): Behind, ConnectInfo(operator): ConnectInfo<Operator>) -> Response {
    done(desk.request(operator, Request::RetryMissedCalls).await)
}

fn done(outcome: Result<Value, Refused>) -> Response {
    match outcome {
        Ok(value) => Json(value).into_response(),
        Err(refused) => problem(StatusCode::from_u16(refused.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &refused.detail),
    }
}

/// RFC 9457.
fn problem(status: StatusCode, detail: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("refused");
    let body = json!({ "title": title, "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

/// An address alone is the network of itself; bits beyond the prefix are dropped.
pub fn network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
    address().or_else(|| text.parse::<IpNet>().ok().map(|net| net.trunc()))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Notes what it is asked.
    #[derive(Default)]
    struct Note {
        asked: Mutex<Vec<Request>>,
    }

    impl Desk for Note {
        fn show(&self, what: Show) -> Value {
            json!({ "shown": format!("{what:?}") })
        }

        fn request(&self, operator: Operator, request: Request) -> Done<'_> {
            self.asked.lock().unwrap().push(request.clone());
            Box::pin(async move {
                match request {
                    Request::Rotate => Err(Refused { status: 409, detail: "sbc.key: this key does not belong to the certificate".into() }),
                    _ => Ok(json!({ "by": operator.uid })),
                }
            })
        }
    }

    fn door() -> (tempfile::TempDir, Arc<Note>, Control) {
        let folder = tempfile::tempdir().unwrap();
        let desk = Arc::new(Note::default());
        let settings = Settings { socket: Some(folder.path().join("control.sock")) };
        let control = Control::start(&settings, desk.clone()).unwrap().unwrap();
        (folder, desk, control)
    }

    #[tokio::test]
    async fn shows_bans_and_passes_on_refusals() {
        let (_folder, desk, control) = door();
        let socket = control.path();
        assert_eq!(ask(socket, "GET", "/v1/peers", None).await.unwrap(), Answer { status: 200, body: json!({ "shown": "Peers" }) });
        let body = json!({ "source": "203.0.113.7", "seconds": 60, "reason": "scans" });
        assert_eq!(ask(socket, "POST", "/v1/bans", Some(&body)).await.unwrap().status, 200);
        assert_eq!(ask(socket, "DELETE", "/v1/bans/2001:db8::1/64", None).await.unwrap().status, 200);
        let refused = ask(socket, "POST", "/v1/certs/rotate", None).await.unwrap();
        assert_eq!((refused.status, refused.body["detail"].as_str()), (409, Some("sbc.key: this key does not belong to the certificate")));
        assert_eq!(ask(socket, "GET", "/v1/nonsense", None).await.unwrap().status, 404);
        let asked = desk.asked.lock().unwrap().clone();
        let net = |text: &str| network(text).unwrap();
        let ban = Request::Ban { source: net("203.0.113.7/32"), duration: Duration::from_secs(60), reason: "scans".into() };
        assert_eq!(asked, [ban, Request::Unban { source: net("2001:db8::/64") }, Request::Rotate]);
    }

    #[tokio::test]
    async fn what_cannot_be_meant_is_refused_with_the_cause_and_reaches_nobody() {
        let (_folder, desk, control) = door();
        let bans = [
            json!({ "source": "203.0.113.300", "seconds": 60, "reason": "" }),
            json!({ "source": "203.0.113.3", "seconds": 0, "reason": "" }),
            json!({ "source": "203.0.113.3", "seconds": 60, "reason": "two\nlines" }),
            json!({ "source": "203.0.113.3", "seconds": 60, "reason": "", "forever": true }),
            json!({ "source": "203.0.113.3" }),
        ];
        for body in bans {
            let answer = ask(control.path(), "POST", "/v1/bans", Some(&body)).await.unwrap();
            assert!(answer.status == 400 && answer.body["detail"].is_string(), "{body}: {answer:?}");
        }
        assert!(desk.asked.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let (folder, desk, control) = door();
        let settings = Settings { socket: Some(control.path().to_path_buf()) };
        let taken = Control::start(&settings, desk.clone()).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(taken.contains("another border"), "{taken}");
        let path = folder.path().join("left.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let second = Control::start(&Settings { socket: Some(path.clone()) }, desk).unwrap().unwrap();
        assert_eq!(ask(&path, "GET", "/v1/bans", None).await.unwrap().status, 200);
        drop(second);
        assert!(!path.exists(), "the socket goes with the border");
    }

    #[tokio::test]
    async fn only_its_owner_can_reach_the_socket() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, _desk, control) = door();
        assert_eq!(std::fs::metadata(control.path()).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();
        assert!(Control::start(&Settings { socket: Some(path.clone()) }, Arc::new(Note::default())).is_err());
        assert_eq!(std::fs::read_to_string(path).unwrap(), "data");
    }
}
