//! One connection of a simulated UM role: what it redirects, and as a worker the calls it takes: greeting, recording, hold, fax, transfer.
//!
//! Answers look as Exchange's do: names partly in upper case, doubled Supported and Allow, feature tags on Contact, a label and `fmtp 0-16,36` in
//! the description, no `a=rtcp`.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::media::control::Protection;
use crate::policy::settings::SecurityMode;
use crate::sdp::Description;
use crate::simulator::connection::{Connection, response};
use crate::simulator::description::{self, Own, Theirs};
use crate::simulator::dialog::Dialog;
use crate::simulator::profile::Profile;
use crate::simulator::rules::{self, Refusal, Service};
use crate::simulator::trunk::protection;
use crate::simulator::um::{Role, Server, Taken};
use crate::simulator::voice::{Heard, Ports, Speech, Voice};
use crate::sip::{Builder, HeaderName, Message, Method, NameAddr, Uri};

/// Calls remembered; a simulator that has taken more refuses the rest.
const MAX_TAKEN: usize = 100_000;
/// Fax tone (ITU-T T.30 CNG), frames of 20 ms before it is believed.
const CNG_FRAMES: u64 = 15;

/// One connection and the calls on it.
pub(crate) struct Worker {
    server: Server,
    connection: Connection,
    calls: HashMap<String, Call>,
    /// INVITEs whose reliable 183 awaits its PRACK.
    early: HashMap<String, (Message, Call)>,
    /// Those that ring, the one that is answered first in front: all ring equally long.
    ringing: VecDeque<Ringing>,
    /// INVITEs so far, for tags.
    invites: u64,
}

/// A call that rings.
struct Ringing {
    until: tokio::time::Instant,
    invite: Message,
    call_id: String,
    service: Service,
    theirs: Theirs,
    dialog: Dialog,
}

struct Call {
    index: usize,
    dialog: Dialog,
    answered: Instant,
    voice: Option<Voice>,
    ports: Option<Ports>,
    own: Own,
    theirs: Theirs,
    transfer: Transfer,
}

/// How far UM is with handing the caller on.
#[derive(Clone, PartialEq, Debug)]
enum Transfer {
    None,
    /// After the ACK to the hold it will be asked for.
    AfterAck(String),
    Asked,
    Done,
}

impl Worker {
    pub(crate) fn new(server: Server, connection: Connection) -> Worker {
        Worker { server, connection, calls: HashMap::new(), early: HashMap::new(), ringing: VecDeque::new(), invites: 0 }
    }

    pub(crate) async fn serve(mut self) -> io::Result<()> {
        let mut clock = tokio::time::interval(Duration::from_millis(100));
        loop {
            let answer = self.ringing.front().map(|ringing| ringing.until);
            tokio::select! {
                message = self.connection.next() => match message? {
                    Some(message) if message.is_request() => self.request(&message).await?,
                    Some(message) => self.answered(&message).await?,
                    None => return Ok(()),
                },
                () = sleep_until(answer.unwrap_or_else(tokio::time::Instant::now)), if answer.is_some() => {
                    if let Some(ringing) = self.ringing.pop_front() {
                        self.take(ringing).await?;
                    }
                }
                _ = clock.tick() => self.tick().await?,
            }
        }
    }

    fn say(&self, what: impl AsRef<str>) {
        self.server.settings.log.say(format!("{}: {}", self.server.name, what.as_ref()));
    }

    async fn request(&mut self, message: &Message) -> io::Result<()> {
        let call_id = message.call_id().unwrap_or_default().to_owned();
        if message.method() != Some(&Method::Ack)
            && let Err(refusal) = self.server.settings.rules.source(self.connection.remote.ip(), self.connection.shown.as_ref())
        {
            return self.refuse(message, &refusal).await;
        }
        let inside = message.to().is_ok_and(|to| to.tag().is_some());
        match (message.method(), &self.server.role) {
            (Some(Method::Invite), Role::Redirects(to)) => {
                let to = *to.borrow();
                self.redirect(message, to).await
            }
            (Some(Method::Invite), Role::Works) if inside => self.again(message, &call_id).await,
            (Some(Method::Invite), Role::Works) => self.invite(message, call_id).await,
            (Some(Method::Ack), _) => self.acknowledged(&call_id).await,
            (Some(Method::Bye), _) => self.bye(message, &call_id).await,
            (Some(Method::Notify), Role::Works) if inside => self.notified(message, &call_id).await,
            (Some(Method::Prack), Role::Works) => {
                self.connection.send(response(message, 200, "um").finish()).await?;
                match self.early.remove(&call_id) {
                    Some((invite, call)) => self.picked_up(&invite, call_id, call).await,
                    None => Ok(()),
                }
            }
            (Some(Method::Cancel), Role::Works) => self.cancelled(message, &call_id).await,
            (Some(Method::Options | Method::Info | Method::Update | Method::Prack | Method::Cancel), _) => {
                let mut reply = response(message, 200, "um");
                allow(&mut reply);
                self.connection.send(reply.finish()).await
            }
            // UM sends REFER and takes none.
            _ => {
                let mut reply = response(message, 405, "um");
                allow(&mut reply);
                self.connection.send(reply.finish()).await
            }
        }
    }

    async fn redirect(&mut self, message: &Message, to: std::net::SocketAddr) -> io::Result<()> {
        if let Err(refusal) = self.server.settings.rules.invite(message) {
            return self.refuse(message, &refusal).await;
        }
        let user = message.request_uri().and_then(|uri| Uri::parse(uri).ok()).and_then(|uri| uri.user).unwrap_or_default().to_owned();
        let transport = self.transport();
        self.say(format!("redirected: {user} to {to}"));
        let mut reply = response(message, 302, "um-redirect");
        reply.header_fmt("CONTACT", format_args!("<sip:{user}@{to};transport={transport}>"));
        reply.header("SERVER", self.server.settings.rules.profile.product());
        self.connection.send(reply.finish()).await
    }

    async fn invite(&mut self, message: &Message, call_id: String) -> io::Result<()> {
        let service = match self.judged(message) {
            Ok(service) => service,
            Err(refusal) => return self.refuse(message, &refusal).await,
        };
        self.invites += 1;
        let Some((theirs, dialog)) = message.sdp().and_then(description::read).zip(self.dialog(message)) else {
            return self.refuse(message, &Refusal { status: 488, why: "the offer cannot be used".into(), event: None }).await;
        };
        self.connection.send(response(message, 100, "").finish()).await?;
        let ring = self.server.settings.ring;
        if !ring.is_zero() {
            let mut ringing = response(message, 180, &dialog.tag);
            self.contact(&mut ringing);
            self.connection.send(ringing.finish()).await?;
        }
        self.ringing.push_back(Ringing { until: tokio::time::Instant::now() + ring, invite: message.clone(), call_id, service, theirs, dialog });
        Ok(())
    }

    /// It has rung long enough.
    async fn take(&mut self, ringing: Ringing) -> io::Result<()> {
        let Ringing { invite, call_id, service, theirs, dialog, .. } = ringing;
        let message = &invite;
        let ports = Ports::open(self.server.settings.media).await?;
        let key = matches!(theirs.protection, Protection::Srtp(_)).then(description::key);
        let own = Own { law: theirs.law, tag: theirs.tag.unwrap_or(1), ..Own::new(ports.address()?, key) };
        let index = self.note(message, &call_id, &service, &theirs, &own);
        self.say(format!("takes the call to {} from {}: {service}", user(message.request_uri().unwrap_or_default()), caller(message)));
        let call = Call { index, dialog, answered: Instant::now(), voice: None, ports: Some(ports), own, theirs, transfer: Transfer::None };
        if self.server.settings.rules.profile != Profile::Mediation {
            return self.picked_up(message, call_id, call).await;
        }
        // A Mediation Server forks: one early dialog with media, another that answers.
        let reliable = message.supports("100rel");
        let mut progress = response(message, 183, &format!("{}e", call.dialog.tag));
        self.contact(&mut progress);
        if reliable {
            progress.header("Require", "100rel").header("RSeq", "1");
        }
        progress.body("application/sdp", description::write(&call.own).as_bytes());
        self.connection.send(progress.finish()).await?;
        if reliable {
            self.early.insert(call_id, (message.clone(), call));
            return Ok(());
        }
        self.picked_up(message, call_id, call).await
    }

    /// The caller has left before it was answered.
    async fn cancelled(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        self.connection.send(response(message, 200, "um").finish()).await?;
        let Some(index) = self.ringing.iter().position(|ringing| ringing.call_id == call_id) else { return Ok(()) };
        let Some(Ringing { invite, dialog, .. }) = self.ringing.remove(index) else { return Ok(()) };
        self.connection.send(response(&invite, 487, &dialog.tag).finish()).await
    }

    async fn picked_up(&mut self, message: &Message, call_id: String, call: Call) -> io::Result<()> {
        if self.server.settings.rules.profile == Profile::Mediation {
            let mut ringing = response(message, 180, &call.dialog.tag);
            self.contact(&mut ringing);
            self.connection.send(ringing.finish()).await?;
        }
        self.answer(message, &call, self.described(&call.own)).await?;
        self.calls.insert(call_id, call);
        Ok(())
    }

    fn described(&self, own: &Own) -> String {
        if self.server.settings.rules.is_strict() { description::write_as_um(own) } else { description::write(own) }
    }

    fn judged(&self, message: &Message) -> Result<Service, Refusal> {
        let rules = &self.server.settings.rules;
        let service = rules.invite(message)?;
        rules.offer(message.sdp())?;
        let taken = self.server.taken.borrow();
        let up = taken.iter().filter(|call| !call.ended).count() + self.ringing.len();
        if taken.len() >= MAX_TAKEN || self.server.settings.conduct.max_calls.is_some_and(|most| up >= most) {
            return Err(Refusal { status: 503, why: "the maximum number of calls has been reached".into(), event: None });
        }
        Ok(service)
    }

    fn dialog(&self, message: &Message) -> Option<Dialog> {
        let tag = format!("um{:x}-{:x}", self.server.taken.borrow().len(), self.invites);
        Dialog::of(message, &tag)
    }

    fn note(&self, message: &Message, call_id: &str, service: &Service, theirs: &Theirs, own: &Own) -> usize {
        let text = |name| message.first(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let entry = Taken {
            call_id: call_id.to_owned(),
            called: message.request_uri().unwrap_or_default().to_owned(),
            caller: text(HeaderName::From).unwrap_or_default(),
            diversion: text(HeaderName::Diversion),
            service: service.to_string(),
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

    /// A 200 as Exchange writes it.
    async fn answer(&mut self, message: &Message, call: &Call, sdp: String) -> io::Result<()> {
        let mut reply = response(message, 200, &call.dialog.tag);
        self.contact(&mut reply);
        reply.header("PRIORITY", "Normal").header("SUPPORTED", "Replaces").header("SUPPORTED", "timer").header("SUPPORTED", "100rel");
        allow(&mut reply);
        let to = message.to().map(|to| to.uri.to_owned()).unwrap_or_default();
        reply.header_fmt("P-ASSERTED-IDENTITY", format_args!("<{to}>"));
        reply.header("SERVER", self.server.settings.rules.profile.product());
        if message.supports("timer") {
            reply.header_fmt("Session-Expires", format_args!("{};refresher=uac", rules::MIN_SE)).header_fmt("Min-SE", format_args!("{}", rules::MIN_SE));
        }
        reply.body("application/sdp", sdp.as_bytes());
        self.connection.send(reply.finish()).await
    }

    /// A re-INVITE: hold, resume, a refresh, or a fax (T.38).
    async fn again(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        let Some(mut call) = self.calls.remove(call_id) else { return self.connection.send(response(message, 481, "um").finish()).await };
        let outcome = self.changed(message, &mut call).await;
        self.calls.insert(call_id.to_owned(), call);
        outcome
    }

    async fn changed(&mut self, message: &Message, call: &mut Call) -> io::Result<()> {
        call.own.version += 1;
        if let Some(held) = message.sdp().and_then(|sdp| held_fax(sdp, &call.own)) {
            match &self.server.settings.conduct.fax_server {
                Some(to) => call.transfer = Transfer::AfterAck(to.clone()),
                None => return self.refuse(message, &Refusal { status: 488, why: "a fax, and no partner fax server is set".into(), event: None }).await,
            }
            self.say("fax: a T.38 offer; the call is put on hold and will be referred");
            return self.answer(message, call, held).await;
        }
        let offered = match message.sdp() {
            Some(sdp) => description::read(sdp),
            None => Some(call.theirs.clone()),
        };
        let Some(theirs) = offered else {
            return self.refuse(message, &Refusal { status: 488, why: "the offer cannot be used".into(), event: None }).await;
        };
        call.own.direction = match &*theirs.direction {
            "sendonly" => "recvonly",
            "recvonly" => "sendonly",
            "inactive" => "inactive",
            _ => "sendrecv",
        };
        if let Some(voice) = &call.voice {
            voice.turn(theirs.towards());
        }
        call.theirs = theirs;
        self.answer(message, call, self.described(&call.own)).await
    }

    async fn acknowledged(&mut self, call_id: &str) -> io::Result<()> {
        let settings = self.server.settings.clone();
        let Some(call) = self.calls.get_mut(call_id) else { return Ok(()) };
        if let Some(ports) = call.ports.take() {
            let speech = Speech {
                towards: call.theirs.towards(),
                transmit: call.own.key.as_ref().map_or(Protection::Plain, protection),
                says: settings.greeting,
                listens: settings.listens,
                law: call.own.law,
                rtcp: settings.conduct.rtcp,
            };
            call.voice = ports.speak(speech).ok();
        }
        match call.transfer.clone() {
            Transfer::AfterAck(to) => self.refer(call_id, &to).await,
            _ => Ok(()),
        }
    }

    /// UM's transfer: REFER, and it leaves once the other end has arrived.
    async fn refer(&mut self, call_id: &str, to: &str) -> io::Result<()> {
        self.say(format!("refers the caller of {call_id} to {to} (event 1024)"));
        let (local, transport) = (self.connection.local, self.transport());
        let Some(call) = self.calls.get_mut(call_id) else { return Ok(()) };
        call.transfer = Transfer::Asked;
        let mut refer = call.dialog.request(&Method::Refer, local, transport);
        refer.header_fmt("REFER-TO", format_args!("<{to}>"));
        refer.header_fmt("REFERRED-BY", format_args!("<{}>", call.dialog.own_uri));
        refer.header_fmt("CONTACT", format_args!("<sip:{local};transport={transport}>;automata"));
        refer.header("USER-AGENT", self.server.settings.rules.profile.product());
        self.connection.send(refer.finish()).await
    }

    /// What came of a request of ours.
    async fn answered(&mut self, message: &Message) -> io::Result<()> {
        let (Some(status), Ok(call_id), Ok(cseq)) = (message.status(), message.call_id().map(str::to_owned), message.cseq()) else { return Ok(()) };
        if cseq.method == Method::Refer && status >= 300 {
            self.say(format!("the REFER of {call_id} was answered {status}: the transfer failed (event 1136); the caller stays"));
            self.transferred(&call_id, status);
        }
        Ok(())
    }

    fn transferred(&mut self, call_id: &str, status: u16) {
        let Some(call) = self.calls.get_mut(call_id) else { return };
        call.transfer = Transfer::Done;
        let index = call.index;
        self.server.taken.send_modify(|taken| {
            if let Some(entry) = taken.get_mut(index) {
                entry.referred = Some(status);
            }
        });
    }

    /// How the transfer goes: NOTIFY with a sipfrag (RFC 3515 §2.4.5).
    async fn notified(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        if !self.calls.contains_key(call_id) {
            return self.connection.send(response(message, 481, "um").finish()).await;
        }
        self.connection.send(response(message, 200, "um").finish()).await?;
        let fragment = String::from_utf8_lossy(message.body()).into_owned();
        let status: u16 = fragment.split_ascii_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        self.say(format!("the transfer of {call_id}: {}", fragment.lines().next().unwrap_or_default()));
        match status {
            200..=299 => {
                self.transferred(call_id, status);
                self.hang_up(call_id, "transferred (event 1026)").await
            }
            300.. => {
                self.say(format!("the transfer of {call_id} failed with {status} (event 1025); the caller stays"));
                self.transferred(call_id, status);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn hang_up(&mut self, call_id: &str, why: &str) -> io::Result<()> {
        let Some(mut call) = self.calls.remove(call_id) else { return Ok(()) };
        self.say(format!("hangs up {call_id}: {why}"));
        let bye = call.dialog.request(&Method::Bye, self.connection.local, self.transport());
        self.connection.send(bye.finish()).await?;
        self.ended(call).await;
        Ok(())
    }

    async fn bye(&mut self, message: &Message, call_id: &str) -> io::Result<()> {
        let Some(call) = self.calls.remove(call_id) else { return self.connection.send(response(message, 481, "um").finish()).await };
        let tag = call.dialog.tag.clone();
        self.ended(call).await;
        self.say(format!("the caller of {call_id} has hung up"));
        self.connection.send(response(message, 200, &tag).finish()).await
    }

    async fn ended(&mut self, call: Call) {
        let heard = match call.voice {
            Some(voice) => voice.stop().await,
            None => Heard::default(),
        };
        self.say(format!("recorded: {heard}"));
        self.server.taken.send_modify(|taken| {
            if let Some(entry) = taken.get_mut(call.index) {
                (entry.heard, entry.ended) = (heard, true);
            }
        });
    }

    /// What the calls have heard, and what is to be done about it.
    async fn tick(&mut self) -> io::Result<()> {
        let conduct = self.server.settings.conduct.clone();
        let mut refer = Vec::new();
        let mut done = Vec::new();
        for (call_id, call) in &self.calls {
            let Some(voice) = &call.voice else { continue };
            let heard = voice.heard();
            self.server.taken.send_if_modified(|taken| match taken.get_mut(call.index) {
                Some(entry) if entry.heard != heard => {
                    entry.heard = heard;
                    true
                }
                _ => false,
            });
            let age = call.answered.elapsed();
            if call.transfer == Transfer::None {
                let fax = heard.cng_events > 0 || heard.cng_frames >= CNG_FRAMES;
                let target = match &conduct {
                    c if fax && c.fax_server.is_some() => c.fax_server.clone(),
                    c if c.refers_on.as_ref().is_some_and(|(key, _)| heard.digits.contains(*key)) => c.refers_on.as_ref().map(|(_, to)| to.clone()),
                    c => c.refers.as_ref().filter(|(after, _)| age >= *after).map(|(_, to)| to.clone()),
                };
                refer.extend(target.map(|target| (call_id.clone(), target)));
            }
            if conduct.hangs_up.is_some_and(|after| age >= after) && call.transfer != Transfer::Asked {
                done.push(call_id.clone());
            }
        }
        for (call_id, target) in refer {
            self.refer(&call_id, &target).await?;
        }
        for call_id in done {
            self.hang_up(&call_id, "greeted and recorded").await?;
        }
        Ok(())
    }

    async fn refuse(&mut self, message: &Message, refusal: &Refusal) -> io::Result<()> {
        let event = refusal.event.map(|event| format!(" (event {event})")).unwrap_or_default();
        let method = message.method().map(Method::as_str).unwrap_or_default();
        self.say(format!("refused {method} with {}: {}{event}", refusal.status, refusal.why));
        let mut reply = response(message, refusal.status, "um-refuses");
        // Microsoft's numbers for these refusals are not published; 0 is none of them.
        reply.header_fmt("ms-diagnostics", format_args!("0;source=\"um.simulator.invalid\";reason=\"{}\"", refusal.why.replace('"', "'")));
        reply.header_fmt("ms-diagnostics-public", format_args!("0;reason=\"{}\"", refusal.why.replace('"', "'")));
        if refusal.status == 422 {
            reply.header_fmt("Min-SE", format_args!("{}", rules::MIN_SE));
        }
        reply.header("SERVER", self.server.settings.rules.profile.product());
        self.connection.send(reply.finish()).await
    }

    fn transport(&self) -> &'static str {
        if self.server.settings.rules.mode == SecurityMode::Unsecured { "Tcp" } else { "Tls" }
    }

    fn contact(&self, reply: &mut Builder) {
        let transport = self.transport();
        reply.header_fmt("CONTACT", format_args!("<sip:{};transport={transport}>;automata;text;audio;video;image", self.connection.local));
    }
}

fn allow(reply: &mut Builder) {
    reply.header("ALLOW", "ACK").header("Allow", "CANCEL,BYE,INVITE,MESSAGE,INFO,SERVICE,OPTIONS,BENOTIFY,NOTIFY,PRACK,UPDATE");
}

fn user(uri: &str) -> String {
    Uri::parse(uri).ok().and_then(|uri| uri.user.map(str::to_owned)).unwrap_or_default()
}

fn caller(message: &Message) -> String {
    message.first(HeaderName::From).and_then(|value| NameAddr::parse(value).ok()).map(|from| from.uri.to_owned()).unwrap_or_default()
}

/// If this is an offer of T.38: the answer that takes it and puts it on hold.
fn held_fax(sdp: &[u8], own: &Own) -> Option<String> {
    let description = Description::parse(sdp).ok()?;
    let is_fax = |media: &crate::sdp::Media| media.kind.eq_ignore_ascii_case("image") && media.port != 0;
    description.media.iter().find(|media| is_fax(media))?;
    let (address, port) = (own.address.ip(), own.address.port());
    let family = if address.is_ipv4() { "IP4" } else { "IP6" };
    let mut answer = format!("v=0\r\no=- 85 {} IN {family} {address}\r\ns=session\r\nc=IN {family} {address}\r\nt=0 0\r\n", own.version);
    for media in &description.media {
        let formats = media.formats.join(" ");
        let port = if is_fax(media) { port } else { 0 };
        answer.push_str(&format!("m={} {port} {} {formats}\r\n", media.kind, media.proto));
        if port != 0 {
            answer.push_str("a=inactive\r\n");
        }
    }
    Some(answer)
}
