//! The simulated trunk: a caller that places one call over TCP or mutual TLS, speaks a tone, listens, presses keys, holds, faxes or refers if asked,
//! and hangs up. With the manners of a Lync 2013 Mediation Server it offers three crypto lines, gives up after 10 s of silence and hangs up where
//! RTCP is missing.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::media::control::{Protection, SrtpParameters};
use crate::sdp::crypto::{MasterKey, Suite};
use crate::simulator::connection::{Agreed, Connection, Identity, response};
use crate::simulator::description::{self, Own, Theirs};
use crate::simulator::g711::Law;
use crate::simulator::voice::{Heard, Ports, Speech, Voice};
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
    pub manners: Manners,
}

/// What differs between callers.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    pub law: Law,
    /// Over TLS the media may all the same be plain (mode sip-secured).
    pub srtp: bool,
    /// Keys in three lines, as Lync offers them.
    pub three_lines: bool,
    /// How often it sends RTCP; `None`: never.
    pub rtcp: Option<Duration>,
    /// It hangs up where no RTCP has come for this long.
    pub expects_rtcp: Option<Duration>,
    /// It gives up when nothing but a 100 has come in this time.
    pub no_answer: Duration,
}

impl Default for Manners {
    fn default() -> Manners {
        Manners { law: Law::A, srtp: true, three_lines: false, rtcp: None, expects_rtcp: None, no_answer: Duration::from_secs(60) }
    }
}

impl Manners {
    /// Those of a Lync 2013 Mediation Server with its defaults: fast failover after 10 s, RTCP at least every 30 s.
    pub fn mediation() -> Manners {
        Manners {
            law: Law::Mu,
            three_lines: true,
            rtcp: Some(Duration::from_secs(5)),
            expects_rtcp: Some(Duration::from_secs(30)),
            no_answer: Duration::from_secs(10),
            ..Manners::default()
        }
    }
}

/// What came of waiting in a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stayed {
    /// The time is up, the call is too.
    Up,
    HungUp,
    /// No RTCP for too long; the caller has hung up.
    NoRtcp,
    /// It was referred there, and the other end is to hang up or has.
    Referred(u16),
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
    /// Nothing but a 100 for as long as the caller waits; it has cancelled.
    Silent,
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
            Failure::Silent => write!(f, "the border said nothing but 100 for too long"),
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
    let manners = settings.manners;
    let key = (identity.is_some() && manners.srtp).then(description::key);
    let own = Own { law: manners.law, three_lines: manners.three_lines, ..Own::new(ports.address()?, key) };
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
    let (answer, seq) = answer(&settings, &mut connection, &target, &call_id, &mut progress).await?;
    let theirs = answer.sdp().and_then(description::read).ok_or_else(|| Failure::Nonsense("no usable session description in the 200".into()))?;
    let to = text(&answer, HeaderName::To);
    let contact = answer.contact().ok().flatten().map(|contact| contact.uri.to_owned());
    let target = contact.ok_or_else(|| Failure::Nonsense("no Contact in the 200".into()))?;
    let ack = request(&settings, &connection, "ACK", &target, &to, &call_id, 1);
    connection.send(ack.finish()).await?;
    let transmit = match &own.key {
        // The answer's tag says which of the lines holds.
        Some(key) if own.three_lines => protection(&description::lync_key(key, theirs.tag)),
        Some(key) => protection(key),
        None => Protection::Plain,
    };
    let speech = Speech { towards: theirs.towards(), transmit, says: settings.says, listens: settings.listens, law: theirs.law, rtcp: manners.rtcp };
    let voice = ports.speak(speech)?;
    let tls = connection.tls.clone();
    Ok(Call { connection, settings, call_id, to, target, seq, own, theirs, voice, progress, tls })
}

/// Waits for the final answer, acknowledging what is provisional and reliable on the way (RFC 3262). With it comes the last CSeq number used.
async fn answer(settings: &Settings, connection: &mut Connection, target: &str, call_id: &str, progress: &mut Vec<u16>) -> Result<(Message, u32), Failure> {
    let mut seq = 1;
    let limit = tokio::time::Instant::now() + settings.manners.no_answer;
    loop {
        let silent = progress.iter().all(|status| *status == 100);
        let next = if silent { tokio::time::timeout_at(limit, connection.next()).await } else { Ok(connection.next().await) };
        let Ok(next) = next else {
            let to = format!("<sip:{}@{}>", settings.called, settings.border);
            // RFC 3261 §9.1: the branch is the INVITE's.
            let cancel = request(settings, connection, "CANCEL", target, &to, call_id, 1);
            connection.send(cancel.finish()).await?;
            return Err(Failure::Silent);
        };
        let message = next?.ok_or_else(|| Failure::Transport(io::ErrorKind::UnexpectedEof.into()))?;
        match message.status() {
            Some(status @ ..=199) => {
                progress.push(status);
                if let (true, Ok(Some(rseq))) = (message.requires("100rel"), message.rseq()) {
                    seq += 1;
                    let to = text(&message, HeaderName::To);
                    let contact = message.contact().ok().flatten().map(|contact| contact.uri.to_owned());
                    let mut prack = request(settings, connection, "PRACK", contact.as_deref().unwrap_or(target), &to, call_id, seq);
                    prack.header_fmt("RAck", format_args!("{rseq} 1 INVITE"));
                    connection.send(prack.finish()).await?;
                }
            }
            Some(_) if message.cseq().is_ok_and(|cseq| cseq.method != Method::Invite) => {}
            Some(200..=299) => return Ok((message, seq)),
            Some(status) => {
                let to = text(&message, HeaderName::To);
                let ack = request(settings, connection, "ACK", target, &to, call_id, 1);
                connection.send(ack.finish()).await?;
                return Err(Failure::Refused(status));
            }
            None => {}
        }
    }
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
        self.voice.turn(self.theirs.towards());
        let ack = request(&self.settings, &self.connection, "ACK", &self.target, &self.to, &self.call_id, self.seq);
        self.connection.send(ack.finish()).await?;
        Ok(())
    }

    /// Presses keys.
    pub fn dial(&self, keys: &str) {
        self.voice.dial(keys);
    }

    /// Offers T.38 in place of the voice, as a gateway that has heard a fax does; the direction of what UM answers.
    pub async fn fax(&mut self) -> Result<String, Failure> {
        self.seq += 1;
        self.own.version += 1;
        let mut invite = request(&self.settings, &self.connection, "INVITE", &self.target, &self.to, &self.call_id, self.seq);
        invite.body("application/sdp", description::write_fax(&self.own).as_bytes());
        self.connection.send(invite.finish()).await?;
        let answer = self.answer().await?;
        let ack = request(&self.settings, &self.connection, "ACK", &self.target, &self.to, &self.call_id, self.seq);
        self.connection.send(ack.finish()).await?;
        Ok(answer.sdp().map(|sdp| String::from_utf8_lossy(sdp).into_owned()).unwrap_or_default())
    }

    /// REFER: the border is to call this URI and give the call to it. What came of it [`Call::stay`] tells.
    pub async fn refer(&mut self, to: &str) -> Result<(), Failure> {
        self.seq += 1;
        let mut refer = request(&self.settings, &self.connection, "REFER", &self.target, &self.to, &self.call_id, self.seq);
        refer.header_fmt("Refer-To", format_args!("<{to}>"));
        refer.header_fmt("Referred-By", format_args!("<sip:{}@{}>", self.settings.caller, host(self.connection.local.ip())));
        self.connection.send(refer.finish()).await?;
        self.answer().await.map(|_| ())
    }

    /// Stays in the call for `limit` at most, answering what is asked in it.
    pub async fn stay(&mut self, limit: Duration) -> Result<Stayed, Failure> {
        let end = tokio::time::Instant::now() + limit;
        let mut clock = tokio::time::interval(Duration::from_millis(200));
        let mut reported = (self.voice.heard().reports, tokio::time::Instant::now());
        loop {
            tokio::select! {
                message = self.connection.next() => match message? {
                    Some(message) => if let Some(stayed) = self.asked(&message).await? {
                        return Ok(stayed);
                    },
                    None => return Err(Failure::Transport(io::ErrorKind::UnexpectedEof.into())),
                },
                _ = clock.tick() => {
                    let now = tokio::time::Instant::now();
                    let reports = self.voice.heard().reports;
                    if reports != reported.0 {
                        reported = (reports, now);
                    }
                    if self.settings.manners.expects_rtcp.is_some_and(|span| now - reported.1 > span) {
                        self.bye().await?;
                        return Ok(Stayed::NoRtcp);
                    }
                    if now >= end {
                        return Ok(Stayed::Up);
                    }
                }
            }
        }
    }

    /// Something came in the call. `Some`: it ends the waiting.
    async fn asked(&mut self, message: &Message) -> Result<Option<Stayed>, Failure> {
        let Some(method) = message.method().cloned() else { return Ok(None) };
        match method {
            Method::Ack => Ok(None),
            Method::Bye => {
                self.connection.send(response(message, 200, "trunk").finish()).await?;
                Ok(Some(Stayed::HungUp))
            }
            Method::Invite => {
                if let Some(theirs) = message.sdp().and_then(description::read) {
                    self.voice.turn(theirs.towards());
                    self.theirs = theirs;
                }
                self.own.version += 1;
                let mut reply = response(message, 200, "trunk");
                reply.header_fmt("Contact", format_args!("<sip:{};transport={}>", self.connection.local, transport(&self.settings)));
                reply.body("application/sdp", description::write(&self.own).as_bytes());
                self.connection.send(reply.finish()).await?;
                Ok(None)
            }
            Method::Notify => {
                self.connection.send(response(message, 200, "trunk").finish()).await?;
                let status = String::from_utf8_lossy(message.body()).split_ascii_whitespace().nth(1).and_then(|status| status.parse::<u16>().ok());
                Ok(status.filter(|status| *status >= 200).map(Stayed::Referred))
            }
            _ => {
                self.connection.send(response(message, 200, "trunk").finish()).await?;
                Ok(None)
            }
        }
    }

    async fn bye(&mut self) -> Result<(), Failure> {
        self.seq += 1;
        let bye = request(&self.settings, &self.connection, "BYE", &self.target, &self.to, &self.call_id, self.seq);
        self.connection.send(bye.finish()).await?;
        Ok(())
    }

    /// The call is over by somebody else's doing: what was heard.
    pub async fn over(self) -> Heard {
        self.voice.stop().await
    }

    /// BYE, and its answer.
    pub async fn hang_up(mut self) -> Result<Heard, Failure> {
        self.bye().await?;
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

/// As a URI has it: IPv6 in brackets.
pub fn host(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
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
    request.header_fmt("From", format_args!("\"Simulated caller\" <sip:{}@{}>;tag={unique}", settings.caller, host(local.ip())));
    request.header("To", to).header("Call-ID", call_id).header_fmt("CSeq", format_args!("{seq} {method}"));
    request.header_fmt("Contact", format_args!("<sip:{}@{local};transport={}>", settings.caller, transport(settings)));
    request
}
