//! The simulated trunk: a caller that places one call over TCP or mutual TLS, speaks a tone, listens, holds if asked, and hangs up.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::media::control::{Protection, SrtpParameters};
use crate::sdp::crypto::{MasterKey, Suite};
use crate::simulator::connection::{Agreed, Connection, Identity, response};
use crate::simulator::description::{self, Own, Theirs};
use crate::simulator::voice::{Heard, Ports, Voice};
use crate::sip::{Builder, HeaderName, Message, Method};

#[derive(Clone)]
pub struct Settings {
    /// The border's listener, and the name its certificate must carry.
    pub border: SocketAddr,
    pub border_name: String,
    /// `None`: TCP and plain RTP.
    pub identity: Option<Identity>,
    pub media: IpAddr,
    pub caller: String,
    pub called: String,
    /// Written as the Diversion header, if any.
    pub diversion: Option<String>,
    /// The caller's tone and UM's, hertz.
    pub says: f64,
    pub listens: f64,
}

/// An answered call.
pub struct Call {
    connection: Connection,
    settings: Settings,
    call_id: String,
    to: String,
    target: String,
    seq: u32,
    own: Own,
    pub theirs: Theirs,
    voice: Voice,
    /// Every status the border sent before the 200.
    pub progress: Vec<u16>,
    pub tls: Option<Agreed>,
}

/// Why there was no call.
#[derive(Debug)]
pub enum Failure {
    Transport(io::Error),
    /// The border's final answer.
    Refused(u16),
    /// What it said makes no sense.
    Nonsense(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Transport(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Transport(error) => write!(f, "the connection to the border failed: {error}"),
            Failure::Refused(status) => write!(f, "the border answered {status}"),
            Failure::Nonsense(what) => write!(f, "the border's answer makes no sense: {what}"),
        }
    }
}

/// What a party's own key protects.
pub fn protection(key: &MasterKey) -> Protection {
    Protection::Srtp(SrtpParameters { suite: Suite::AesCm128HmacSha1_80, keys: vec![key.clone()] })
}

/// Places a call and waits until it is answered.
pub async fn call(settings: Settings) -> Result<Call, Failure> {
    let identity = settings.identity.clone();
    let mut connection = Connection::open(settings.border, identity.as_ref().map(|identity| (identity, &*settings.border_name))).await?;
    let ports = Ports::open(settings.media).await?;
    let key = identity.is_some().then(description::key);
    let own = Own { address: ports.address()?, key, direction: "sendrecv", version: 1 };
    let call_id = format!("{:016x}@trunk.simulator.invalid", own.address.port() as u64 * 7919 + u64::from(std::process::id()));
    let to = format!("<sip:{}@{}>", settings.called, settings.border);
    let target = format!("sip:{}@{};transport={}", settings.called, settings.border, transport(&settings));
    let mut invite = request(&settings, &connection, "INVITE", &target, &to, &call_id, 1);
    if let Some(diversion) = &settings.diversion {
        invite.header("Diversion", diversion);
    }
    invite.header("Supported", "timer, 100rel").header("User-Agent", "simulated trunk");
    invite.body("application/sdp", description::write(&own).as_bytes());
    connection.send(invite.finish()).await?;

    let mut progress = Vec::new();
    let answer = loop {
        let message = connection.next().await?.ok_or_else(|| Failure::Transport(io::ErrorKind::UnexpectedEof.into()))?;
        match message.status() {
            Some(status @ ..=199) => progress.push(status),
            Some(200..=299) => break message,
            Some(status) => {
                let to = text(&message, HeaderName::To);
                let ack = request(&settings, &connection, "ACK", &target, &to, &call_id, 1);
                connection.send(ack.finish()).await?;
                return Err(Failure::Refused(status));
            }
            None => {}
        }
    };
    let theirs = answer.sdp().and_then(description::read).ok_or_else(|| Failure::Nonsense("no usable session description in the 200".into()))?;
    let to = text(&answer, HeaderName::To);
    let contact = answer.contact().ok().flatten().map(|contact| contact.uri.to_owned());
    let target = contact.ok_or_else(|| Failure::Nonsense("no Contact in the 200".into()))?;
    let ack = request(&settings, &connection, "ACK", &target, &to, &call_id, 1);
    connection.send(ack.finish()).await?;
    let transmit = own.key.as_ref().map_or(Protection::Plain, protection);
    let voice = ports.speak(theirs.address, &transmit, &theirs.protection, settings.says, settings.listens)?;
    let tls = connection.tls.clone();
    Ok(Call { connection, settings, call_id, to, target, seq: 1, own, theirs, voice, progress, tls })
}

impl Call {
    /// Waits until the other side's tone is clear, at most `limit`.
    pub async fn hears(&self, limit: Duration) -> Heard {
        self.voice.hears(limit).await
    }

    pub fn heard(&self) -> Heard {
        self.voice.heard()
    }

    pub fn call_id(&self) -> &str {
        &self.call_id
    }

    /// Our own SRTP key, to compare with the other leg's.
    pub fn key(&self) -> Option<&MasterKey> {
        self.own.key.as_ref()
    }

    /// Puts the call on hold, or takes it off.
    pub async fn hold(&mut self, hold: bool) -> Result<(), Failure> {
        self.seq += 1;
        self.own.version += 1;
        self.own.direction = if hold { "sendonly" } else { "sendrecv" };
        let mut invite = request(&self.settings, &self.connection, "INVITE", &self.target, &self.to, &self.call_id, self.seq);
        invite.body("application/sdp", description::write(&self.own).as_bytes());
        self.connection.send(invite.finish()).await?;
        let answer = self.answer().await?;
        self.theirs = answer.sdp().and_then(description::read).ok_or_else(|| Failure::Nonsense("no usable answer to the hold".into()))?;
        let ack = request(&self.settings, &self.connection, "ACK", &self.target, &self.to, &self.call_id, self.seq);
        self.connection.send(ack.finish()).await?;
        Ok(())
    }

    /// BYE, and its answer.
    pub async fn hang_up(mut self) -> Result<Heard, Failure> {
        self.seq += 1;
        let bye = request(&self.settings, &self.connection, "BYE", &self.target, &self.to, &self.call_id, self.seq);
        self.connection.send(bye.finish()).await?;
        self.answer().await?;
        Ok(self.voice.stop().await)
    }

    /// Waits for the other side's BYE, at most `limit`; true if it came.
    pub async fn hung_up(mut self, limit: Duration) -> Result<bool, Failure> {
        let bye = async {
            loop {
                match self.connection.next().await? {
                    Some(message) if message.method() == Some(&Method::Bye) => {
                        self.connection.send(response(&message, 200, "trunk").finish()).await?;
                        return Ok::<bool, Failure>(true);
                    }
                    Some(_) => {}
                    None => return Ok(false),
                }
            }
        };
        tokio::time::timeout(limit, bye).await.unwrap_or(Ok(false))
    }

    async fn answer(&mut self) -> Result<Message, Failure> {
        loop {
            let message = self.connection.next().await?.ok_or_else(|| Failure::Transport(io::ErrorKind::UnexpectedEof.into()))?;
            match message.status() {
                Some(200..=299) => return Ok(message),
                Some(..=199) | None => {}
                Some(status) => return Err(Failure::Refused(status)),
            }
        }
    }
}

fn text(message: &Message, name: HeaderName) -> String {
    message.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

fn transport(settings: &Settings) -> &'static str {
    if settings.identity.is_some() { "tls" } else { "tcp" }
}

/// A request with everything but its own headers and body. The branch is made of the Call-ID and the number: unique enough for one caller.
fn request(settings: &Settings, connection: &Connection, method: &str, target: &str, to: &str, call_id: &str, seq: u32) -> Builder {
    let local = connection.local;
    let token = Method::parse(method).unwrap_or(Method::Options);
    let mut request = Builder::request(&token, target);
    let unique = call_id.split('@').next().unwrap_or_default();
    let number = if method == "ACK" { format!("{seq}a") } else { seq.to_string() };
    request.header_fmt("Via", format_args!("SIP/2.0/{} {local};branch=z9hG4bK{unique}.{number}", transport(settings).to_ascii_uppercase()));
    request.header("Max-Forwards", "70");
    request.header_fmt("From", format_args!("\"Simulated caller\" <sip:{}@{}>;tag={unique}", settings.caller, local.ip()));
    request.header("To", to).header("Call-ID", call_id).header_fmt("CSeq", format_args!("{seq} {method}"));
    request.header_fmt("Contact", format_args!("<sip:{}@{local};transport={}>", settings.caller, transport(settings)));
    request
}
