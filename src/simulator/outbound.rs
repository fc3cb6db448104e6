//! What a simulated UM sends of its own: OPTIONS to its gateway, message waiting, Play on Phone.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::simulator::connection::{Connection, Identity};
use crate::simulator::log::Log;
use crate::simulator::trunk::{self, Failure, Manners, Stayed};
use crate::simulator::voice::Heard;
use crate::sip::{Builder, HeaderName, Message, Method};

/// How long any answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// A UM IP gateway as UM calls it.
#[derive(Clone)]
pub struct Gateway {
    pub address: SocketAddr,
    /// What its certificate must be good for; over TCP the name in URIs all the same.
    pub name: String,
    /// `None`: TCP.
    pub identity: Option<Identity>,
    /// As User-Agent.
    pub product: &'static str,
}

impl Gateway {
    async fn open(&self) -> io::Result<Connection> {
        Connection::open(self.address, self.identity.as_ref().map(|identity| (identity, &*self.name))).await
    }

    fn transport(&self) -> &'static str {
        if self.identity.is_some() { "Tls" } else { "Tcp" }
    }

    fn request(&self, connection: &Connection, method: &Method, uri: &str, from: &str, to: &str, seq: u32) -> Builder {
        let (local, transport) = (connection.local, self.transport());
        let unique = format!("um{}x{}x{}", local.port(), std::process::id(), method.as_str().to_ascii_lowercase());
        let mut request = Builder::request(method, uri);
        request.header_fmt("VIA", format_args!("SIP/2.0/{} {local};branch=z9hG4bK{unique}.{seq}", transport.to_ascii_uppercase()));
        request.header("MAX-FORWARDS", "70").header_fmt("FROM", format_args!("<{from}>;epid=0DE491BF79;tag={unique}")).header_fmt("TO", format_args!("<{to}>"));
        request.header_fmt("CALL-ID", format_args!("{unique}")).header_fmt("CSEQ", format_args!("{seq} {}", method.as_str()));
        request.header_fmt("CONTACT", format_args!("<sip:{local};transport={transport}>;automata")).header("USER-AGENT", self.product);
        request
    }

    /// OPTIONS on one connection at this interval, for as long as it is polled; what goes wrong is told.
    pub async fn watch(&self, every: Duration, log: &Log) {
        let mut connection: Option<Connection> = None;
        let mut seq = 0;
        let mut answered = None;
        loop {
            seq += 1;
            let outcome = tokio::time::timeout(PATIENCE, self.ask(&mut connection, seq)).await;
            let status = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            match &status {
                Ok(200) if answered != Some(true) => log.say(format!("OPTIONS: {} answers 200", self.address)),
                Ok(200) => {}
                Ok(status) => log.say(format!("OPTIONS: {} answers {status} (event 1400)", self.address)),
                Err(error) => log.say(format!("OPTIONS: {} does not answer: {error} (events 1088, 1400)", self.address)),
            }
            if status.is_err() {
                connection = None;
            }
            answered = Some(matches!(status, Ok(200)));
            tokio::time::sleep(every).await;
        }
    }

    async fn ask(&self, connection: &mut Option<Connection>, seq: u32) -> io::Result<u16> {
        let open = match connection.take() {
            Some(open) => open,
            None => self.open().await?,
        };
        let open = connection.insert(open);
        let uri = format!("sip:{}:{};transport={}", self.name, self.address.port(), self.transport());
        let from = format!("sip:{}", open.local);
        let options = self.request(open, &Method::Options, &uri, &from, &format!("sip:{}", self.name), seq);
        open.send(options.finish()).await?;
        final_status(open).await
    }

    /// An unsolicited NOTIFY of message waiting (RFC 3842 in Exchange's form); the status it was answered with.
    pub async fn message_waiting(&self, account: &str, new: u32, old: u32, log: &Log) -> io::Result<u16> {
        let mut connection = self.open().await?;
        let uri = format!("sip:{account}@{}:{};User=phone", self.name, self.address.port());
        let from = format!("sip:{};transport={};ms-opaque=4f1c0a2b", connection.local, self.transport());
        let mut notify = self.request(&connection, &Method::Notify, &uri, &from, &format!("sip:{account}@{}", self.name), 1);
        notify.header("EVENT", "message-summary").header("SUBSCRIPTION-STATE", "terminated");
        let waiting = if new > 0 { "yes" } else { "no" };
        let body = format!("Messages-Waiting: {waiting}\r\nMessage-Account: sip:{account}@{}\r\nVoice-Message: {new}/{old}\r\n", self.name);
        notify.body("application/simple-message-summary", body.as_bytes());
        connection.send(notify.finish()).await?;
        let status = tokio::time::timeout(PATIENCE, final_status(&mut connection)).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match &status {
            Ok(200..=299) => log.say(format!("message waiting for {account}: {waiting}, {new}/{old}: delivered")),
            Ok(status) => log.say(format!("message waiting for {account}: answered {status} (event 1344)")),
            Err(error) => log.say(format!("message waiting for {account}: {error} (event 1344)")),
        }
        status
    }

    /// Play on Phone: calls `number` through the gateway as `from` (an access number), plays for `lasting` and hangs up.
    pub async fn play_on_phone(&self, from: &str, number: &str, media: IpAddr, lasting: Duration, log: &Log) -> Result<Heard, Failure> {
        let settings = trunk::Settings {
            border: self.address,
            border_name: self.name.clone(),
            identity: self.identity.clone(),
            media,
            caller: from.into(),
            called: number.into(),
            diversion: None,
            says: 1000.0,
            listens: 440.0,
            manners: Manners { rtcp: Some(Duration::from_secs(5)), ..Manners::default() },
        };
        log.say(format!("Play on Phone: calls {number}"));
        let outcome = async {
            let mut call = trunk::call(settings).await?;
            log.say(format!("Play on Phone: {number} has answered"));
            match call.stay(lasting).await? {
                Stayed::Up => call.hang_up().await,
                _ => Ok(call.over().await),
            }
        }
        .await;
        match &outcome {
            Ok(heard) => log.say(format!("Play on Phone: over; heard {heard}")),
            Err(failure) => log.say(format!("Play on Phone: {number} was not reached: {failure}")),
        }
        outcome
    }
}

async fn final_status(connection: &mut Connection) -> io::Result<u16> {
    loop {
        let message: Message = connection.next().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        match message.status() {
            Some(status @ 200..) if message.first(HeaderName::CSeq).is_some() => return Ok(status),
            _ => {}
        }
    }
}
