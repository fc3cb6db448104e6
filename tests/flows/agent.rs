//! A user agent of the laboratory with transactions of its own: it repeats what is not answered, answers what is repeated, acknowledges what it must.
//! Written from RFC 3261's text, not from the core's code; the two share the message parser only.

use std::time::Duration;

use bytes::Bytes;
use portcullis::policy::settings::SecurityMode;
use portcullis::sip::{HeaderName, Message, Method, Transport};
use portcullis::time::Time;

use crate::lab::{Party, describe, wire};

const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(4);

/// What an agent does by itself, and when, counted from the call's beginning or its answer.
#[derive(Clone, Debug, Default)]
pub struct Script {
    pub ring: Option<Duration>,
    pub reliable: bool,
    pub reply: Reply,
    pub reply_after: Duration,
    pub cancel: Option<Duration>,
    pub delayed_offer: bool,
    /// After the answer.
    pub hold: Option<Duration>,
    pub update: Option<Duration>,
    pub info: Option<Duration>,
    pub hang_up: Option<Duration>,
}

#[derive(Clone, Debug, Default)]
pub enum Reply {
    #[default]
    Answer,
    Refuse(u16),
    Redirect(String),
    Silence,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    Early,
    Confirmed,
    Ended,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Deed {
    Ring,
    Reply,
    Cancel,
    Hold,
    Update,
    Info,
    HangUp,
}

/// One dialog, or a try at one.
#[derive(Debug)]
pub struct Leg {
    pub call_id: String,
    local: String,
    remote: String,
    target: String,
    cseq: u32,
    pub state: State,
    /// Ever confirmed, by a 2xx sent or received.
    pub was_up: bool,
    /// A BYE came or went.
    pub bye: bool,
    /// A BYE came.
    pub told: bool,
    /// What our BYE was answered with; 0: nothing.
    pub bye_status: u16,
    /// 2xx sent to INVITEs, and whether their ACK came.
    pub accepted: Vec<(u32, bool)>,
    cancelled: bool,
    last_rseq: u32,
    invite: Option<Message>,
    deeds: Vec<(Time, Deed)>,
    /// Without an SDP in our INVITE the ACK carries it.
    answer_in_ack: bool,
}

struct Client {
    branch: String,
    method: Method,
    leg: usize,
    text: String,
    next: Option<Time>,
    interval: Duration,
    end: Time,
    provisional: bool,
    done: bool,
    acked: Option<String>,
}

struct Server {
    branch: String,
    method: Method,
    leg: usize,
    cseq: u32,
    request: Message,
    reply: Option<String>,
    status: u16,
    next: Option<Time>,
    interval: Duration,
    end: Time,
}

pub struct Agent {
    pub party: Party,
    transport: Transport,
    mode: SecurityMode,
    pub script: Script,
    pub legs: Vec<Leg>,
    clients: Vec<Client>,
    servers: Vec<Server>,
    pub out: Vec<Bytes>,
    counter: u32,
}

fn text(message: &Message, name: HeaderName) -> String {
    message.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default()
}

impl Agent {
    pub fn new(party: Party, transport: Transport, mode: SecurityMode, script: Script) -> Agent {
        Agent { party, transport, mode, script, legs: Vec::new(), clients: Vec::new(), servers: Vec::new(), out: Vec::new(), counter: 0 }
    }

    fn sdp(&self, attributes: &str) -> String {
        describe(self.mode, self.party, 4000 + 100 * self.party as u16, attributes)
    }

    fn fresh(&mut self, prefix: &str) -> String {
        self.counter += 1;
        format!("{prefix}{}{}", self.party.name(), self.counter)
    }

    /// Places a call.
    pub fn call(&mut self, now: Time) {
        let call_id = self.fresh("call");
        let tag = self.fresh("t");
        let address = self.party.address();
        let script = self.script.clone();
        let mut deeds = Vec::new();
        deeds.extend(script.cancel.map(|after| (now + after, Deed::Cancel)));
        self.legs.push(Leg {
            call_id,
            local: format!("<sip:2001@{address}>;tag={tag}"),
            remote: "<sip:1000@192.0.2.1>".into(),
            target: "sip:1000@192.0.2.1:5060".into(),
            cseq: 0,
            state: State::Early,
            was_up: false,
            bye: false,
            told: false,
            bye_status: 0,
            accepted: Vec::new(),
            cancelled: false,
            last_rseq: 0,
            invite: None,
            deeds,
            answer_in_ack: script.delayed_offer,
        });
        let body = if script.delayed_offer { String::new() } else { self.sdp("a=sendrecv\n") };
        let extra = if script.reliable { "Supported: 100rel\n" } else { "" };
        self.request(now, self.legs.len() - 1, Method::Invite, extra, &body);
    }

    pub fn deadline(&self) -> Option<Time> {
        let clients = self.clients.iter().filter(|client| !client.done).map(|client| client.next.map_or(client.end, |next| next.min(client.end)));
        let servers = self.servers.iter().filter_map(|server| server.next.map(|next| next.min(server.end)));
        let deeds = self.legs.iter().flat_map(|leg| leg.deeds.iter().map(|(at, _)| *at));
        clients.chain(servers).chain(deeds).min()
    }

    pub fn tick(&mut self, now: Time) {
        for index in 0..self.clients.len() {
            self.tick_client(now, index);
        }
        for index in 0..self.servers.len() {
            self.tick_server(now, index);
        }
        for leg in 0..self.legs.len() {
            while let Some(due) = self.legs[leg].deeds.iter().position(|(at, _)| *at <= now) {
                let (_, deed) = self.legs[leg].deeds.remove(due);
                self.perform(now, leg, deed);
            }
        }
    }

    fn tick_client(&mut self, now: Time, index: usize) {
        let client = &mut self.clients[index];
        if client.done {
            return;
        }
        if now >= client.end {
            client.done = true;
            return;
        }
        if client.next.is_some_and(|next| next <= now) {
            client.interval = if client.method == Method::Invite { client.interval * 2 } else { (client.interval * 2).min(T2) };
            client.next = Some(now + client.interval);
            self.out.push(wire(&client.text));
        }
    }

    fn tick_server(&mut self, now: Time, index: usize) {
        let server = &mut self.servers[index];
        if server.next.is_none() {
            return;
        }
        if now >= server.end {
            server.next = None;
            // §13.3.1.4: no ACK to our 2xx: the session is to be ended.
            let (leg, accepted) = (server.leg, server.status < 300);
            if accepted && self.legs[leg].state == State::Confirmed {
                self.hang_up(now, leg);
            }
            return;
        }
        if server.next.is_some_and(|next| next <= now) {
            server.interval = (server.interval * 2).min(T2);
            server.next = Some(now + server.interval);
            self.out.extend(server.reply.as_deref().map(wire));
        }
    }

    fn perform(&mut self, now: Time, leg: usize, deed: Deed) {
        let state = self.legs[leg].state;
        match (deed, state) {
            (Deed::Ring, State::Early) => {
                let body = self.sdp("a=sendrecv\n");
                let has_offer = self.legs[leg].invite.as_ref().is_some_and(|invite| !invite.body().is_empty());
                let reliable = self.script.reliable && self.legs[leg].invite.as_ref().is_some_and(|invite| invite.supports("100rel"));
                let extra = if reliable { "Require: 100rel\nRSeq: 5\n" } else { "" };
                self.reply_invite(now, leg, 183, extra, if has_offer { &body } else { "" });
            }
            (Deed::Reply, State::Early) => self.decide(now, leg),
            (Deed::Cancel, State::Early) => self.cancel(leg, now),
            (Deed::Hold, State::Confirmed) => {
                let body = self.sdp("a=sendonly\n");
                self.request(now, leg, Method::Invite, "", &body);
            }
            (Deed::Update, State::Confirmed) => {
                let body = self.sdp("a=recvonly\n");
                self.request(now, leg, Method::Update, "", &body);
            }
            (Deed::Info, State::Confirmed) => self.request(now, leg, Method::Info, "", ""),
            (Deed::HangUp, State::Confirmed) => self.hang_up(now, leg),
            _ => {}
        }
    }

    fn decide(&mut self, now: Time, leg: usize) {
        match self.script.reply.clone() {
            Reply::Answer => {
                let body = self.sdp("a=sendrecv\n");
                self.reply_invite(now, leg, 200, "Allow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO\n", &body);
                self.up(now, leg);
            }
            Reply::Refuse(status) => {
                self.legs[leg].state = State::Ended;
                self.reply_invite(now, leg, status, "", "");
            }
            Reply::Redirect(contact) => {
                self.legs[leg].state = State::Ended;
                self.reply_invite(now, leg, 302, &format!("Contact: <{contact}>\n"), "");
            }
            Reply::Silence => {}
        }
    }

    fn up(&mut self, now: Time, leg: usize) {
        let script = self.script.clone();
        let leg = &mut self.legs[leg];
        if leg.was_up {
            return;
        }
        (leg.state, leg.was_up) = (State::Confirmed, true);
        let deeds = [(script.hold, Deed::Hold), (script.update, Deed::Update), (script.info, Deed::Info), (script.hang_up, Deed::HangUp)];
        leg.deeds.extend(deeds.into_iter().filter_map(|(after, deed)| Some((now + after?, deed))));
    }

    fn hang_up(&mut self, now: Time, leg: usize) {
        (self.legs[leg].state, self.legs[leg].bye) = (State::Ended, true);
        self.request(now, leg, Method::Bye, "", "");
    }

    fn cancel(&mut self, leg: usize, now: Time) {
        self.legs[leg].cancelled = true;
        let Some(invite) = self.clients.iter().find(|client| client.leg == leg && client.method == Method::Invite && !client.done) else { return };
        // §9.1: not before a provisional.
        if !invite.provisional {
            self.legs[leg].deeds.push((now + T1, Deed::Cancel));
            return;
        }
        let text = invite.text.split("\n\n").next().unwrap_or_default().replace("INVITE sip:", "CANCEL sip:").replace(" INVITE\n", " CANCEL\n");
        let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("Content-Type") && !line.starts_with("Supported")).collect();
        let branch = invite.branch.clone();
        self.send(now, leg, Method::Cancel, branch, format!("{}\n\n", text.join("\n")));
    }

    fn request(&mut self, now: Time, leg: usize, method: Method, extra: &str, body: &str) {
        self.legs[leg].cseq += 1;
        let branch = format!("z9hG4bK{}", self.fresh("b"));
        let text = self.compose(leg, &method, &branch, self.legs[leg].cseq, extra, body);
        self.send(now, leg, method, branch, text);
    }

    fn compose(&self, leg: usize, method: &Method, branch: &str, cseq: u32, extra: &str, body: &str) -> String {
        let (leg, address) = (&self.legs[leg], self.party.address());
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        let method = method.as_str();
        format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/{} {address}:5060;branch={branch}\nMax-Forwards: 70\nFrom: {}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:{address}:5060;transport={}>\nAllow: INVITE, ACK, BYE, CANCEL, UPDATE, PRACK, INFO\n{extra}{kind}\n{body}",
            leg.target,
            self.transport.via_token(),
            leg.local,
            leg.remote,
            leg.call_id,
            self.transport.uri_token()
        )
    }

    fn send(&mut self, now: Time, leg: usize, method: Method, branch: String, text: String) {
        self.out.push(wire(&text));
        let next = (!self.transport.is_reliable()).then(|| now + T1);
        self.clients.push(Client { branch, method, leg, text, next, interval: T1, end: now + T1 * 64, provisional: false, done: false, acked: None });
    }

    pub fn receive(&mut self, now: Time, bytes: &Bytes) {
        let message = Message::parse(bytes.clone(), &Default::default()).expect("the border wrote something that is not SIP");
        if message.is_request() { self.requested(now, message) } else { self.responded(now, &message) }
    }

    fn responded(&mut self, now: Time, message: &Message) {
        let status = message.status().unwrap_or(0);
        let branch = message.top_via().ok().and_then(|via| via.branch().map(String::from)).unwrap_or_default();
        let cseq = message.cseq().expect("a response has a CSeq");
        let Some(index) = self.clients.iter().position(|client| client.branch == branch && client.method == cseq.method) else { return };
        let leg = self.clients[index].leg;
        if self.clients[index].method == Method::Invite {
            return self.invite_responded(now, index, leg, message);
        }
        self.clients[index].done |= status >= 200;
        if cseq.method == Method::Bye {
            self.legs[leg].bye_status = status;
        }
    }

    fn invite_responded(&mut self, now: Time, index: usize, leg: usize, message: &Message) {
        let status = message.status().unwrap_or(0);
        self.clients[index].provisional = true;
        self.clients[index].next = None;
        let cseq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
        if status < 200 {
            self.clients[index].end = now + Duration::from_secs(600);
            if message.to().is_ok_and(|to| to.tag().is_some()) {
                self.legs[leg].remote = text(message, HeaderName::To);
                self.learn_target(leg, message);
            }
            if let Some(rseq) = message.rseq().ok().flatten().filter(|rseq| message.requires("100rel") && *rseq > self.legs[leg].last_rseq) {
                self.legs[leg].last_rseq = rseq;
                self.request(now, leg, Method::Prack, &format!("RAck: {rseq} {cseq} INVITE\n"), "");
            }
            return;
        }
        self.clients[index].done = true;
        if status >= 300 {
            let first_invite = !self.legs[leg].was_up;
            if first_invite {
                self.legs[leg].state = State::Ended;
            }
            let (method, branch) = (Method::Ack, self.clients[index].branch.clone());
            let to = text(message, HeaderName::To);
            let mut ack = self.compose(leg, &method, &branch, cseq, "", "");
            if first_invite {
                ack = ack.replace(&format!("To: {}\n", self.legs[leg].remote), &format!("To: {to}\n"));
                ack = ack.replacen(&self.legs[leg].target.clone(), "sip:1000@192.0.2.1:5060", 1);
            }
            return self.out.push(wire(&ack));
        }
        if self.clients[index].acked.is_none() {
            self.legs[leg].remote = text(message, HeaderName::To);
            self.learn_target(leg, message);
            let body = if self.legs[leg].answer_in_ack && !self.legs[leg].was_up { self.sdp("a=sendrecv\n") } else { String::new() };
            let branch = format!("z9hG4bK{}", self.fresh("b"));
            self.clients[index].acked = Some(self.compose(leg, &Method::Ack, &branch, cseq, "", &body));
        }
        let ack = self.clients[index].acked.clone().unwrap_or_default();
        self.out.push(wire(&ack));
        let was_up = self.legs[leg].was_up;
        self.up(now, leg);
        if !was_up && self.legs[leg].cancelled {
            self.hang_up(now, leg);
        }
    }

    fn learn_target(&mut self, leg: usize, message: &Message) {
        if let Ok(Some(contact)) = message.contact() {
            self.legs[leg].target = contact.uri.to_owned();
        }
    }

    fn requested(&mut self, now: Time, message: Message) {
        let method = message.method().cloned().expect("a request has a method");
        let branch = message.top_via().ok().and_then(|via| via.branch().map(String::from)).unwrap_or_default();
        let cseq = message.cseq().map(|cseq| cseq.number).unwrap_or(0);
        let call_id = message.call_id().unwrap_or_default().to_owned();
        if method == Method::Ack {
            return self.acknowledged(&branch, &call_id, cseq);
        }
        if let Some(known) = self.servers.iter().find(|server| server.branch == branch && server.method == method) {
            // A 2xx to INVITE is repeated by its own clock.
            if !(method == Method::Invite && (200..300).contains(&known.status)) {
                self.out.extend(known.reply.as_deref().map(wire));
            }
            return;
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        let leg = self
            .legs
            .iter()
            .position(|leg| leg.call_id == call_id && (in_dialog || method == Method::Cancel) && !(method == Method::Cancel && leg.invite.is_none()));
        let leg = match leg {
            // An agent may be asked twice in one call: redirects and failover.
            Some(_) if method == Method::Cancel => {
                self.servers.iter().find(|server| server.branch == branch && server.method == Method::Invite).map(|server| server.leg)
            }
            Some(leg) => self
                .legs
                .iter()
                .rposition(|leg| leg.call_id == call_id && message.to().is_ok_and(|to| leg.local.contains(to.tag().unwrap_or("-"))))
                .or(Some(leg)),
            None if method == Method::Invite && !in_dialog => Some(self.called(now, &message)),
            None => None,
        };
        let index = self.servers.len();
        self.servers.push(Server {
            branch,
            method: method.clone(),
            leg: leg.unwrap_or(0),
            cseq,
            request: message,
            reply: None,
            status: 0,
            next: None,
            interval: T1,
            end: now,
        });
        match (leg, &method) {
            (None, _) => self.reply(now, index, 481, "", ""),
            (Some(_), Method::Invite) if !in_dialog => self.reply(now, index, 100, "", ""),
            (Some(leg), Method::Invite) => self.reinvited(now, index, leg),
            (Some(leg), Method::Cancel) => {
                self.reply(now, index, 200, "", "");
                if self.legs[leg].state == State::Early {
                    self.legs[leg].state = State::Ended;
                    self.reply_invite(now, leg, 487, "", "");
                }
            }
            (Some(leg), Method::Bye) => {
                let leg = &mut self.legs[leg];
                (leg.state, leg.bye, leg.told) = (State::Ended, true, true);
                self.reply(now, index, 200, "", "");
            }
            (Some(_), Method::Update) if !self.servers[index].request.body().is_empty() => {
                let body = self.sdp("a=sendrecv\n");
                self.reply(now, index, 200, "", &body);
            }
            (Some(_), _) => self.reply(now, index, 200, "", ""),
        }
    }

    fn called(&mut self, now: Time, invite: &Message) -> usize {
        let tag = self.fresh("u");
        let script = self.script.clone();
        let mut deeds = vec![(now + script.reply_after, Deed::Reply)];
        deeds.extend(script.ring.map(|after| (now + after, Deed::Ring)));
        self.legs.push(Leg {
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            local: format!("{};tag={tag}", text(invite, HeaderName::To)),
            remote: text(invite, HeaderName::From),
            target: invite.contact().ok().flatten().map(|contact| contact.uri.to_owned()).unwrap_or_default(),
            cseq: 0,
            state: State::Early,
            was_up: false,
            bye: false,
            told: false,
            bye_status: 0,
            accepted: Vec::new(),
            cancelled: false,
            last_rseq: 0,
            invite: Some(invite.clone()),
            deeds,
            answer_in_ack: false,
        });
        self.legs.len() - 1
    }

    fn reinvited(&mut self, now: Time, index: usize, leg: usize) {
        let asking = self.clients.iter().any(|client| client.leg == leg && client.method == Method::Invite && !client.done);
        if self.legs[leg].state != State::Confirmed {
            return self.reply(now, index, 481, "", "");
        }
        if asking {
            return self.reply(now, index, 491, "", "");
        }
        let body = self.sdp("a=sendrecv\n");
        self.reply(now, index, 200, "", &body);
    }

    fn reply_invite(&mut self, now: Time, leg: usize, status: u16, extra: &str, body: &str) {
        if let Some(index) = self.servers.iter().rposition(|server| server.leg == leg && server.method == Method::Invite && server.status < 200) {
            self.reply(now, index, status, extra, body);
        }
    }

    fn reply(&mut self, now: Time, index: usize, status: u16, extra: &str, body: &str) {
        let server = &self.servers[index];
        let address = self.party.address();
        let mut reply = format!("SIP/2.0 {status} Reply\n");
        for via in server.request.values(HeaderName::Via) {
            reply.push_str(&format!("Via: {}\n", String::from_utf8_lossy(via)));
        }
        let to = text(&server.request, HeaderName::To);
        let to = if to.contains(";tag=") || status == 100 || self.legs.is_empty() { to } else { self.legs[server.leg].local.clone() };
        reply.push_str(&format!("From: {}\nTo: {to}\n", text(&server.request, HeaderName::From)));
        reply.push_str(&format!("Call-ID: {}\nCSeq: {}\n", text(&server.request, HeaderName::CallId), text(&server.request, HeaderName::CSeq)));
        if status < 300 {
            reply.push_str(&format!("Contact: <sip:{address}:5060;transport={}>\n", self.transport.uri_token()));
        }
        reply.push_str(extra);
        if !body.is_empty() {
            reply.push_str("Content-Type: application/sdp\n");
        }
        reply.push_str(&format!("\n{body}"));
        let is_invite = server.method == Method::Invite;
        let (leg, cseq) = (server.leg, server.cseq);
        self.out.push(wire(&reply));
        let server = &mut self.servers[index];
        server.reply = Some(reply);
        server.status = status;
        // A 2xx is repeated over any transport, a refusal over UDP, a reliable provisional is not: its loss is found by the next.
        let repeats = is_invite && (200..300).contains(&status) || (is_invite && status >= 300 && !self.transport.is_reliable());
        if repeats {
            (server.next, server.interval, server.end) = (Some(now + T1), T1, now + T1 * 64);
        }
        if is_invite && (200..300).contains(&status) {
            self.legs[leg].accepted.push((cseq, false));
        }
    }

    fn acknowledged(&mut self, branch: &str, call_id: &str, cseq: u32) {
        for server in self.servers.iter_mut().filter(|server| server.method == Method::Invite) {
            let refusal = server.branch == branch && server.status >= 300;
            let success = (200..300).contains(&server.status) && server.cseq == cseq && self.legs[server.leg].call_id == call_id;
            if refusal || success {
                server.next = None;
            }
            if success {
                self.legs[server.leg].accepted.iter_mut().filter(|(number, _)| *number == cseq).for_each(|(_, acked)| *acked = true);
            }
        }
    }
}
