//! The simulated Unified Messaging side: call router, UM service, worker (Exchange 2013 and 2016: two successive redirects).
//!
//! Strict where UM is strict: TCP or mutual TLS only; Request-URI, To and From carry digits or an anonymous caller; in mode Secured the offer is
//! RTP/SAVP with keys; ICE and rtcp-mux are refused. A refusal carries ms-diagnostics, which a border must keep to itself.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::media::control::Protection;
use crate::sdp::Description;
use crate::simulator::connection::{Connection, Identity, response};
use crate::simulator::description::{self, Own, Theirs};
use crate::simulator::voice::{Heard, Ports, Voice};
use crate::sip::{Builder, HeaderName, Message, Method, Uri};

#[derive(Clone)]
pub struct Settings {
    /// Call router, UM service and worker; port 0 lets the system choose.
    pub router: SocketAddr,
    pub service: SocketAddr,
    pub worker: SocketAddr,
    /// Of call router, UM service and worker; `None`: TCP, and plain RTP.
    pub identities: Option<[Identity; 3]>,
    pub media: IpAddr,
    /// The greeting's tone and the caller's, hertz.
    pub greeting: f64,
    pub listens: f64,
    /// How long it rings before UM answers.
    pub ring: Duration,
}

/// One call as the worker saw it, final once `ended`.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    pub call_id: String,
    pub called: String,
    pub caller: String,
    pub diversion: Option<String>,
    pub heard: Heard,
    pub protected: bool,
    /// Master key and salt UM sent with, and those it was offered.
    pub key: Option<Vec<u8>>,
    pub offered_key: Option<Vec<u8>>,
    pub ended: bool,
}

/// A running UM. Dropping it closes everything.
pub struct Um {
    pub router: SocketAddr,
    pub service: SocketAddr,
    pub worker: SocketAddr,
    taken: watch::Receiver<Vec<Taken>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Um {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[derive(Clone)]
enum Role {
    /// Answers INVITE with a redirect to this address.
    Redirects(SocketAddr),
    Works,
}

#[derive(Clone)]
struct Server {
    role: Role,
    identity: Option<Identity>,
    settings: Arc<Settings>,
    taken: watch::Sender<Vec<Taken>>,
}

impl Um {
    pub async fn start(settings: Settings) -> io::Result<Um> {
        let settings = Arc::new(settings);
        let (taken_in, taken) = watch::channel(Vec::new());
        let listeners = [TcpListener::bind(settings.router).await?, TcpListener::bind(settings.service).await?, TcpListener::bind(settings.worker).await?];
        let [router, service, worker] = [listeners[0].local_addr()?, listeners[1].local_addr()?, listeners[2].local_addr()?];
        let roles = [Role::Redirects(service), Role::Redirects(worker), Role::Works];
        let identities: [Option<Identity>; 3] = match &settings.identities {
            Some(identities) => identities.clone().map(Some),
            None => [None, None, None],
        };
        let server = |role, identity| Server { role, identity, settings: settings.clone(), taken: taken_in.clone() };
        let servers = roles.into_iter().zip(identities).map(|(role, identity)| server(role, identity));
        let tasks = listeners.into_iter().zip(servers).map(|(listener, server)| tokio::spawn(listen(listener, server))).collect();
        Ok(Um { router, service, worker, taken, tasks })
    }

    /// Calls the worker took, oldest first.
    pub fn taken(&self) -> Vec<Taken> {
        self.taken.borrow().clone()
    }

    /// Waits until the newest call satisfies `wanted`, at most `limit`.
    pub async fn until(&self, limit: Duration, wanted: impl Fn(&Taken) -> bool) -> Option<Taken> {
        let mut taken = self.taken.clone();
        let _ = tokio::time::timeout(limit, taken.wait_for(|calls| calls.last().is_some_and(&wanted))).await;
        self.taken.borrow().last().cloned()
    }
}

async fn listen(listener: TcpListener, server: Server) {
    while let Ok((tcp, _)) = listener.accept().await {
        let server = server.clone();
        tokio::spawn(async move {
            if let Ok(connection) = Connection::accept(tcp, server.identity.as_ref()).await {
                // The other end closing, or nonsense from it, ends the connection; its calls end with it.
                let _ = Worker { server, connection, calls: HashMap::new() }.serve().await;
            }
        });
    }
}

/// One connection and the calls on it.
struct Worker {
    server: Server,
    connection: Connection,
    calls: HashMap<String, Call>,
}

struct Call {
    index: usize,
    tag: String,
    voice: Option<Voice>,
    ports: Option<Ports>,
    own: Own,
    theirs: Theirs,
}

impl Worker {
    async fn serve(mut self) -> io::Result<()> {
        let mut clock = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                message = self.connection.next() => match message? {
                    Some(message) if message.is_request() => self.request(&message).await?,
                    Some(_) => {}
                    None => return Ok(()),
                },
                _ = clock.tick() => self.tell(),
            }
        }
    }

    fn tell(&self) {
        for call in self.calls.values() {
            if let Some(voice) = &call.voice {
                let heard = voice.heard();
                self.server.taken.send_if_modified(|taken| match taken.get_mut(call.index) {
                    Some(entry) if entry.heard != heard => {
                        entry.heard = heard;
                        true
                    }
                    _ => false,
                });
            }
        }
    }

    async fn request(&mut self, message: &Message) -> io::Result<()> {
        let call_id = message.call_id().unwrap_or_default().to_owned();
        match message.method() {
            Some(Method::Invite) => match self.server.role.clone() {
                Role::Redirects(to) => self.redirect(message, to).await,
                Role::Works if self.calls.contains_key(&call_id) => self.again(message, &call_id).await,
                Role::Works => self.invite(message, call_id).await,
            },
            Some(Method::Ack) => {
                self.acknowledged(&call_id);
                Ok(())
            }
            Some(Method::Bye) => self.bye(message, &call_id).await,
            Some(Method::Options) => self.connection.send(response(message, 200, "um-options").finish()).await,
            Some(Method::Cancel) | Some(Method::Prack) | Some(Method::Update) => self.connection.send(response(message, 200, "um").finish()).await,
            _ => self.connection.send(response(message, 405, "um").finish()).await,
        }
    }

    async fn redirect(&mut self, message: &Message, to: SocketAddr) -> io::Result<()> {
        if let Err((status, why)) = fits(message) {
            return self.refuse(message, status, why).await;
        }
        let user = message.request_uri().and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| uri.user).unwrap_or_default().to_owned();
        let transport = if self.server.identity.is_some() { "Tls" } else { "Tcp" };
        let mut reply = response(message, 302, "um-redirect");
        reply.header_fmt("CONTACT", format_args!("<sip:{user}@{to};transport={transport}>")).header("SERVER", PRODUCT);
        self.connection.send(reply.finish()).await
    }

    async fn invite(&mut self, message: &Message, call_id: String) -> io::Result<()> {
        let checked = fits(message).and_then(|()| self.offer(message));
        let theirs = match checked {
            Ok(theirs) => theirs,
            Err((status, why)) => return self.refuse(message, status, why).await,
        };
        let tag = format!("um{:x}", self.server.taken.borrow().len());
        self.connection.send(response(message, 100, "").finish()).await?;
        if !self.server.settings.ring.is_zero() {
            let mut ringing = response(message, 180, &tag);
            self.contact(&mut ringing);
            self.connection.send(ringing.finish()).await?;
            tokio::time::sleep(self.server.settings.ring).await;
        }
        let ports = Ports::open(self.server.settings.media).await?;
        let key = matches!(theirs.protection, Protection::Srtp(_)).then(description::key);
        let own = Own { address: ports.address()?, key, direction: "sendrecv", version: 1 };
        let index = self.note(message, &call_id, &theirs, &own);
        let call = Call { index, tag, voice: None, ports: Some(ports), own, theirs };
        self.answer(message, &call).await?;
        self.calls.insert(call_id, call);
        Ok(())
    }

    fn note(&self, message: &Message, call_id: &str, theirs: &Theirs, own: &Own) -> usize {
        let text = |name| message.first(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let entry = Taken {
            call_id: call_id.to_owned(),
            called: message.request_uri().unwrap_or_default().to_owned(),
            caller: text(HeaderName::From).unwrap_or_default(),
            diversion: text(HeaderName::Diversion),
            protected: matches!(theirs.protection, Protection::Srtp(_)),
            key: own.key.as_ref().map(|key| key.key_and_salt.clone()),
            offered_key: theirs.key().map(<[u8]>::to_vec),
            ..Taken::default()
        };
        let mut index = 0;
        self.server.taken.send_modify(|taken| {
            index = taken.len();
            taken.push(entry);
        });
        index
    }

    async fn answer(&mut self, message: &Message, call: &Call) -> io::Result<()> {
        let mut reply = response(message, 200, &call.tag);
        self.contact(&mut reply);
        reply.header("SUPPORTED", "Replaces,timer,100rel").header("Allow", "INVITE,ACK,CANCEL,BYE,PRACK,UPDATE,OPTIONS,NOTIFY");
        if message.supports("timer") {
            reply.header("Require", "timer").header("Session-Expires", "1800;refresher=uac").header("Min-SE", "1800");
        }
        reply.header("SERVER", PRODUCT).body("application/sdp", description::write(&call.own).as_bytes());
        self.connection.send(reply.finish()).await
    }

    /// A re-INVITE: hold, resume, or a refresh.
    async fn again(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        let offered = match message.sdp() {
            Some(sdp) => description::read(sdp),
            None => self.calls.get(call_id).map(|call| call.theirs.clone()),
        };
        let Some(theirs) = offered else { return self.refuse(message, 488, "the offer cannot be used").await };
        let Some(mut call) = self.calls.remove(call_id) else { return Ok(()) };
        call.own.version += 1;
        call.own.direction = match &*theirs.direction {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            "inactive" => "inactive",
            _ => "sendrecv",
        };
        call.theirs = theirs;
        let sent = self.answer(message, &call).await;
        self.calls.insert(call_id.to_owned(), call);
        sent
    }

    fn acknowledged(&mut self, call_id: &str) {
        let (says, listens) = (self.server.settings.greeting, self.server.settings.listens);
        let Some(call) = self.calls.get_mut(call_id) else { return };
        let Some(ports) = call.ports.take() else { return };
        let transmit = match &call.own.key {
            Some(key) => crate::simulator::trunk::protection(key),
            None => Protection::Plain,
        };
        call.voice = ports.speak(call.theirs.address, &transmit, &call.theirs.protection, says, listens).ok();
    }

    async fn bye(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        let Some(call) = self.calls.remove(call_id) else { return self.connection.send(response(message, 481, "um").finish()).await };
        let heard = match call.voice {
            Some(voice) => voice.stop().await,
            None => Heard::default(),
        };
        self.server.taken.send_modify(|taken| {
            if let Some(entry) = taken.get_mut(call.index) {
                (entry.heard, entry.ended) = (heard, true);
            }
        });
        self.connection.send(response(message, 200, &call.tag).finish()).await
    }

    fn offer(&self, message: &Message) -> Result<Theirs, (u16, &'static str)> {
        let sdp = message.sdp().ok_or((488, "an offer is needed"))?;
        let description = Description::parse(sdp).map_err(|_| (488, "the session description cannot be read"))?;
        let attributes = description.attributes.iter().chain(description.media.iter().flat_map(|media| &media.attributes));
        for attribute in attributes {
            if ["ice-ufrag", "ice-pwd", "candidate", "rtcp-mux"].iter().any(|name| attribute.is(name)) {
                return Err((488, "ICE and rtcp-mux are not taken"));
            }
        }
        let theirs = description::read(sdp).ok_or((488, "no usable audio"))?;
        let protected = matches!(theirs.protection, Protection::Srtp(_));
        if protected != self.server.identity.is_some() {
            return Err((488, "the media profile does not fit the dial plan's security"));
        }
        Ok(theirs)
    }

    async fn refuse(&mut self, message: &Message, status: u16, why: &str) -> io::Result<()> {
        let mut reply = response(message, status, "um-refuses");
        reply.header_fmt("ms-diagnostics", format_args!("15505;source=\"um.simulator.invalid\";reason=\"{why}\"")).header("SERVER", PRODUCT);
        self.connection.send(reply.finish()).await
    }

    fn contact(&self, reply: &mut Builder) {
        let transport = if self.server.identity.is_some() { "Tls" } else { "Tcp" };
        reply.header_fmt("CONTACT", format_args!("<sip:{};transport={transport}>;automata;text;audio", self.connection.local));
    }
}

const PRODUCT: &str = "RTCC/5.0.0.0 MSExchangeUM/15.01";

/// Exchange refuses a call whose URIs do not fit the dial plan (its event 1021): here an extension plan's.
fn fits(message: &Message) -> Result<(), (u16, &'static str)> {
    let digits = |user: &str| !user.is_empty() && user.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit());
    let called = message.request_uri().and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| uri.user).unwrap_or_default();
    if !digits(called) {
        return Err((403, "the Request-URI does not fit the dial plan"));
    }
    let user = |uri: &str| Uri::parse(uri).ok().and_then(|uri| uri.user.map(str::to_owned)).unwrap_or_default();
    let to = message.to().map(|to| user(to.uri)).unwrap_or_default();
    let from = message.from().map(|from| user(from.uri)).unwrap_or_default();
    if !digits(&to) || !(digits(&from) || from.eq_ignore_ascii_case("anonymous") || from.is_empty()) {
        return Err((403, "To or From does not fit the dial plan"));
    }
    for diversion in message.values(HeaderName::Diversion) {
        if diversion.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            return Err((400, "Invalid Diversion header: mismatched character"));
        }
    }
    Ok(())
}
