//! Who asks and what that one may do: before any route is asked, for as long as an answer goes on, and after it the account of what was changed.
//!
//! Bearer tokens (RFC 6750 §2.1) are 256 random bits, so their plain digest is safe to keep: there is nothing to guess that a slow hash would slow down.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use subtle::ConstantTimeEq;
use tokio::sync::watch;
use tokio_rustls::rustls::pki_types::CertificateDer;

use super::audit::{Audit, Entry};
use super::problem::Problem;
use super::{Identities, LONGEST_BODY, Listen, Needs};

/// A body must have come whole within this time.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Whoever shows a wrong token waits so long for the answer, with a connection taken.
const WRONG_TOKEN: Duration = Duration::from_millis(250);
/// Whoever is told of changes is asked about again after so long, since time alone ends certificates.
const RECHECK: Duration = Duration::from_secs(60);
/// Of the words of a refusal so much is passed on.
const LONGEST_WORDS: usize = 2048;

/// What somebody may do. `Operate` includes `Read`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Read,
    Operate,
}

/// SHA-256 of a token's characters.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenDigest(pub [u8; 32]);

impl TokenDigest {
    pub fn of(token: &str) -> TokenDigest {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
        let mut octets = [0; 32];
        octets.copy_from_slice(digest.as_ref());
        TokenDigest(octets)
    }

    /// 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<TokenDigest> {
        let mut octets = [0; 32];
        if text.len() != 64 || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
            *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(TokenDigest(octets))
    }
}

impl fmt::Display for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest")
    }
}

/// A token the settings know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Token {
    /// Whose it is, as the account names that one.
    pub name: String,
    pub role: Role,
    pub digest: TokenDigest,
}

/// By which door somebody came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Via {
    Socket { uid: u32, pid: Option<i32> },
    Token { remote: SocketAddr },
    Certificate { remote: SocketAddr },
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Operator {
    /// A user of this machine, a token's name, a name in a certificate.
    pub name: Arc<str>,
    pub role: Role,
    pub via: Via,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Via::Socket { uid, pid: Some(pid) } => write!(f, "socket, uid {uid}, pid {pid}"),
            Via::Socket { uid, pid: None } => write!(f, "socket, uid {uid}"),
            Via::Token { remote } => write!(f, "token, {remote}"),
            Via::Certificate { remote } => write!(f, "certificate, {remote}"),
        }
    }
}

/// Who is at the other end of a connection, as far as that is known before a request.
#[derive(Clone, Debug)]
pub(super) enum Client {
    /// The kernel has said it.
    Known(Operator),
    /// A certificate has, which was verified when the connection came; its chain, leaf first.
    Holder { operator: Operator, chain: Arc<[CertificateDer<'static>]> },
    /// A token may.
    At(SocketAddr),
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Client::Known(operator) | Client::Holder { operator, .. } => operator.via.fmt(f),
            Client::At(remote) => remote.fmt(f),
        }
    }
}

/// Who is let in from the network: tokens, and names in certificates of the CA with what their holders may do.
#[derive(Debug, Default)]
pub(super) struct Callers {
    pub tokens: Vec<Token>,
    pub certificates: Vec<(String, Role)>,
}

impl Callers {
    pub fn of(listen: Option<&Listen>) -> Callers {
        listen.map(|listen| Callers { tokens: listen.tokens.clone(), certificates: listen.certificates.clone() }).unwrap_or_default()
    }
}

/// Those of now: asked at every request, so that who is taken out is out at once. Cheap to clone: all clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(watch::Sender<Arc<Callers>>);

impl Known {
    pub fn of(callers: Callers) -> Known {
        Known(watch::Sender::new(Arc::new(callers)))
    }

    pub fn put(&self, callers: Callers) {
        self.0.send_replace(Arc::new(callers));
    }

    pub fn callers(&self) -> Arc<Callers> {
        Arc::clone(&self.0.borrow())
    }
}

pub(super) struct Guard {
    needs: Needs,
    known: Known,
    identities: Arc<dyn Identities>,
    audit: Audit,
}

impl Guard {
    pub fn new(needs: Needs, known: Known, identities: Arc<dyn Identities>, audit: Audit) -> Arc<Guard> {
        Arc::new(Guard { needs, known, identities, audit })
    }

    /// `Err`: the words of the refusal.
    fn identify(&self, client: &Client, authorization: Option<&HeaderValue>) -> Result<Operator, &'static str> {
        let known = self.known.callers();
        let remote = match client {
            // The connection outlives a reload that takes its holder's name out, or makes a reader of an operator, and a CA that is believed no more.
            Client::Holder { operator, chain } => {
                if !self.identities.believes(chain) {
                    return Err("this certificate has ended, or its CA is not believed here any more");
                }
                let role = known.certificates.iter().find(|(name, _)| **name == *operator.name).map(|(_, role)| *role);
                return role.map(|role| Operator { role, ..operator.clone() }).ok_or("this certificate is not known here any more");
            }
            Client::Known(operator) => return Ok(operator.clone()),
            Client::At(remote) => *remote,
        };
        let Some(written) = authorization else { return Err("show a bearer token, or a certificate that is known here") };
        let token = written.to_str().ok().and_then(|text| text.split_once(' ')).filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
        let Some((_, token)) = token else { return Err("the Authorization header is none of a bearer token") };
        let shown = TokenDigest::of(token.trim());
        let known = known.tokens.iter().find(|known| bool::from(known.digest.0.ct_eq(&shown.0)));
        let known = known.ok_or("this token is not known here")?;
        Ok(Operator { name: known.name.as_str().into(), role: known.role, via: Via::Token { remote } })
    }
}

/// The router behind the guard. Each request must carry its `Client` as an extension; handlers find an `Operator` there.
pub(super) fn guarded(router: Router, guard: Arc<Guard>) -> Router {
    router.layer(from_fn_with_state(guard, watch))
}

/// Returns why somebody is not any more who asked: the settings have changed, or a certificate's time is over.
async fn dismissed(guard: Arc<Guard>, asked: Asked) -> &'static str {
    let (mut callers, mut identities) = (guard.known.0.subscribe(), guard.identities.changes());
    loop {
        match guard.identify(&asked.client, asked.authorization.as_ref()) {
            Ok(operator) if operator == asked.operator => {}
            Ok(_) => return "who shows this may do something else from now on",
            Err(why) => return why,
        }
        tokio::select! {
            Ok(()) = callers.changed() => {}
            Ok(()) = identities.changed() => {}
            () = tokio::time::sleep(RECHECK) => {}
        }
    }
}

/// Who asked, as found when an answer began.
struct Asked {
    client: Client,
    authorization: Option<HeaderValue>,
    operator: Operator,
    method: Method,
    path: String,
}

/// An answer whose end is not known, such as one that tells of changes as they come, breaks off when whoever asked is not known any more: one that just ended
/// could be taken for a whole one.
fn while_known(guard: &Arc<Guard>, asked: Asked, answer: Response) -> Response {
    let lasts = answer.body().size_hint().exact().is_none() && !matches!(asked.client, Client::Known(_));
    if !lasts {
        return answer;
    }
    let guard = Arc::clone(guard);
    answer.map(|body| {
        let (operator, method, path) = (asked.operator.clone(), asked.method.clone(), asked.path.clone());
        let dismissed = Box::pin(dismissed(Arc::clone(&guard), asked));
        let broken_off = move |why: &str| {
            let refusal = Problem::new(StatusCode::UNAUTHORIZED, format!("broken off: {why}"));
            guard.audit.note(Entry::new(&operator, &method, &path, &Bytes::new(), &refusal.into_response()));
            axum::Error::new(std::io::Error::other(why.to_owned()))
        };
        Body::from_stream(unfold(Some((body.into_data_stream(), dismissed, broken_off)), async |going_on| {
            let (mut data, mut dismissed, broken_off) = going_on?;
            tokio::select! {
                biased;
                why = &mut dismissed => Some((Err(broken_off(why)), None)),
                next = data.next() => next.map(|next| (next, Some((data, dismissed, broken_off)))),
            }
        }))
    })
}

async fn watch(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    let response = answered(&guard, request, next).await;
    guard.audit.count(&response);
    response
}

async fn answered(guard: &Arc<Guard>, mut request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), String::from(request.uri().path()));
    let Some(client) = request.extensions().get::<Client>().cloned() else {
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "nobody knows who asks").into_response();
    };
    // The page and its parts are no secret, and a browser has no token before it has them.
    if is_open(&method, &path) {
        return closed(next.run(request).await);
    }
    let operator = match guard.identify(&client, request.headers().get(header::AUTHORIZATION)) {
        Ok(operator) => operator,
        Err(why) => {
            if request.headers().contains_key(header::AUTHORIZATION) {
                guard.audit.unknown(&client, &method, &path);
                tokio::time::sleep(WRONG_TOKEN).await;
            }
            let mut refusal = Problem::new(StatusCode::UNAUTHORIZED, why).into_response();
            refusal.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return closed(refusal);
        }
    };
    let needed = (guard.needs)(&method, &path);
    let changes = needed == Role::Operate;
    if operator.role < needed {
        let refusal = Problem::new(StatusCode::FORBIDDEN, format!("{} may look and not change anything; this needs the role operate", operator.name));
        guard.audit.note(Entry::new(&operator, &method, &path, &Bytes::new(), &refusal.clone().into_response()));
        return closed(refusal.into_response());
    }
    if changes && let Some(site) = another_site(request.headers()) {
        let refusal = Problem::new(StatusCode::FORBIDDEN, format!("a page of another site ({site}) had this browser ask: nothing is changed for it"));
        guard.audit.note(Entry::new(&operator, &method, &path, &Bytes::new(), &refusal.clone().into_response()));
        return closed(refusal.into_response());
    }
    let authorization = request.headers().get(header::AUTHORIZATION).cloned();
    let (head, body) = request.into_parts();
    let body = match gathered(body).await {
        Ok(body) => body,
        Err(refusal) => return closed(refusal.into_response()),
    };
    // Whoever asked while we hung may have left long ago: the connection looks whether it is still there while this waits, and is dropped with all that is here if not.
    tokio::task::yield_now().await;
    request = Request::from_parts(head, Body::from(body.clone()));
    request.extensions_mut().insert(operator.clone());
    let response = in_form(next.run(request).await).await;
    if changes {
        guard.audit.note(Entry::new(&operator, &method, &path, &body, &response));
    }
    closed(while_known(guard, Asked { client, authorization, operator, method, path }, response))
}

/// Where a browser says that the page that asks is not of this door (Fetch Metadata, `Sec-Fetch-Site`): it shows its user's certificate to whomever a page names,
/// unasked. A program says nothing of the kind.
fn another_site(headers: &HeaderMap) -> Option<&str> {
    let site = headers.get("sec-fetch-site")?.to_str().unwrap_or("not said");
    (site != "same-origin" && site != "none").then_some(site)
}

/// What anybody may have who reaches the door: the page that asks for a token.
fn is_open(method: &Method, path: &str) -> bool {
    (*method == Method::GET || *method == Method::HEAD) && !path.starts_with("/v1/")
}

/// Whole, within the limits.
async fn gathered(body: Body) -> Result<Bytes, Problem> {
    match tokio::time::timeout(BODY_TIME, Limited::new(body, LONGEST_BODY).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {LONGEST_BODY} bytes")))
        }
        Ok(Err(_)) => Err(Problem::new(StatusCode::BAD_REQUEST, "the body broke off")),
        Err(_) => Err(Problem::new(StatusCode::REQUEST_TIMEOUT, format!("the body did not come within {} s", BODY_TIME.as_secs()))),
    }
}

/// A refusal that was made before a route was asked has words, and gets the form all refusals have.
async fn in_form(response: Response) -> Response {
    let is_text = response.headers().get(header::CONTENT_TYPE).is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !(response.status().is_client_error() && is_text) {
        return response;
    }
    let status = response.status();
    let said = Limited::new(response.into_body(), LONGEST_WORDS).collect().await.map(|whole| whole.to_bytes()).unwrap_or_default();
    let said = String::from_utf8_lossy(&said).into_owned();
    let words = if said.is_empty() { String::from(status.canonical_reason().unwrap_or("refused")) } else { said };
    Problem::new(status, words).into_response()
}

/// What no browser and no proxy is to keep or to guess about.
fn closed(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
