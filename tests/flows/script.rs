//! What the parties of the laboratory say, written by hand: responses, descriptions, the caller's and the called side's dialogs.

use bytes::Bytes;
use portcullis::policy::settings::SecurityMode;
use portcullis::sip::{HeaderName, Message, Method, Transport};

use crate::lab::{Lab, Party, Sent};

pub fn response_text(request: &Message, party: Party, transport: Transport, status: u16, tag: &str, extra: &str, body: &str) -> String {
    let mut text = format!("SIP/2.0 {status} Whatever\n");
    for via in request.values(HeaderName::Via) {
        text.push_str(&format!("Via: {}\n", String::from_utf8_lossy(via)));
    }
    let value = |name| request.first(name).map(|value| String::from_utf8_lossy(value).into_owned()).unwrap_or_default();
    let to = value(HeaderName::To);
    let to = if tag.is_empty() || to.contains(";tag=") { to } else { format!("{to};tag={tag}") };
    text.push_str(&format!("From: {}\nTo: {to}\nCall-ID: {}\nCSeq: {}\n", value(HeaderName::From), value(HeaderName::CallId), value(HeaderName::CSeq)));
    if status > 100 && status < 300 {
        text.push_str(&format!("Contact: <sip:{}:5060;transport={}>\n", party.address(), transport.uri_token()));
    }
    text.push_str(extra);
    if !body.is_empty() {
        text.push_str("Content-Type: application/sdp\n");
    }
    text.push('\n');
    text.push_str(body);
    text
}

pub fn wire(text: &str) -> Bytes {
    let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
    let body = body.replace('\n', "\r\n");
    let head = head.replace('\n', "\r\n");
    Bytes::from(format!("{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
}

/// A plain audio description as a trunk or server at `party` writes it.
pub fn sdp(party: Party, port: u16) -> String {
    sdp_with(party, port, "RTP/AVP", "a=sendrecv\n")
}

/// A description as the mode wants it.
pub fn describe(mode: SecurityMode, party: Party, port: u16, attributes: &str) -> String {
    match mode {
        SecurityMode::Secured => sdp_with(party, port, "RTP/SAVP", &format!("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{}\n{attributes}", key_of(party, port))),
        SecurityMode::Unsecured | SecurityMode::SipSecured => sdp_with(party, port, "RTP/AVP", attributes),
    }
}

pub fn sdp_with(party: Party, port: u16, profile: &str, attributes: &str) -> String {
    let address = party.address();
    format!(
        "v=0\no=secretuser 71 1 IN IP4 {address}\ns=secret session\nc=IN IP4 {address}\nt=0 0\nm=audio {port} {profile} 8 0 101\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\na=rtpmap:101 telephone-event/8000\na=fmtp:101 0-15\na=ptime:20\n{attributes}"
    )
}

/// A caller: the trunk's side of one dialog, written by hand.
pub struct Caller {
    pub party: Party,
    pub call_id: String,
    pub tag: String,
    pub from: String,
    pub to: String,
    pub cseq: u32,
    pub branch: String,
    pub target: String,
    pub invite: String,
}

impl Caller {
    pub fn new(lab: &mut Lab, party: Party, called: &str) -> Caller {
        let branch = lab.branch();
        Caller {
            party,
            call_id: format!("call-{branch}@{}", party.address()),
            tag: format!("t{branch}"),
            from: "\"Alice\" <sip:2001@192.0.2.10>".into(),
            to: format!("<sip:{called}@192.0.2.1>"),
            cseq: 1,
            branch,
            target: format!("sip:{called}@192.0.2.1:5060"),
            invite: String::new(),
        }
    }

    pub fn request(&mut self, lab: &mut Lab, method: &str, extra: &str, body: &str) -> String {
        if method != "ACK" && method != "CANCEL" {
            self.branch = lab.branch();
        }
        self.text(lab, method, self.cseq, extra, body)
    }

    pub fn text(&self, lab: &Lab, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        let address = self.party.address();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        format!(
            "{method} {} SIP/2.0\nVia: SIP/2.0/{} {address}:5060;branch={}\nMax-Forwards: 70\nFrom: {};tag={}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:alice@{address}:5060;transport={}>\n{extra}{kind}\n{body}",
            self.target,
            lab.transport.via_token(),
            self.branch,
            self.from,
            self.tag,
            self.to,
            self.call_id,
            lab.transport.uri_token()
        )
    }

    pub fn invite(&mut self, lab: &mut Lab, extra: &str, body: &str) {
        self.invite = self.request(lab, "INVITE", extra, body);
        let invite = self.invite.clone();
        lab.receive(self.party, &invite);
    }

    /// Takes the To tag and the Contact of an answer for what follows.
    pub fn learn(&mut self, answer: &Sent) {
        self.to = answer.header(HeaderName::To);
        if let Ok(Some(contact)) = answer.message.contact() {
            self.target = contact.uri.to_owned();
        }
    }

    pub fn ack(&mut self, lab: &mut Lab, body: &str) {
        let branch = std::mem::replace(&mut self.branch, lab.branch());
        let ack = self.text(lab, "ACK", self.cseq, "", body);
        lab.receive(self.party, &ack);
        self.branch = branch;
    }

    pub fn cancel(&mut self, lab: &mut Lab) {
        let cancel = self.text(lab, "CANCEL", self.cseq, "", "");
        lab.receive(self.party, &cancel);
    }

    /// The ACK to a refusal, in the INVITE's own transaction.
    pub fn ack_refusal(&mut self, lab: &mut Lab) {
        let ack = self.text(lab, "ACK", self.cseq, "", "");
        lab.receive(self.party, &ack);
    }

    pub fn next(&mut self, lab: &mut Lab, method: &str, extra: &str, body: &str) {
        self.cseq += 1;
        let request = self.request(lab, method, extra, body);
        lab.receive(self.party, &request);
    }
}

/// A master key and salt that names its author.
pub fn key_of(party: Party, port: u16) -> String {
    use base64::Engine as _;
    let mut key = [party as u8 + 1; 30];
    key[..2].copy_from_slice(&port.to_be_bytes());
    base64::engine::general_purpose::STANDARD.encode(key)
}

/// The called side of one dialog, as made by the border's INVITE.
pub struct Callee {
    pub party: Party,
    pub invite: Sent,
    pub tag: String,
    pub cseq: u32,
    pub branch: String,
}

impl Callee {
    pub fn new(party: Party, invite: Sent, tag: &str) -> Callee {
        Callee { party, invite, tag: tag.into(), cseq: 0, branch: String::new() }
    }

    /// Answers the INVITE.
    pub fn answer(&self, lab: &mut Lab, status: u16, extra: &str, body: &str) {
        lab.answer(self.party, &self.invite, status, &self.tag, extra, body);
    }

    pub fn text(&self, lab: &Lab, method: &str, cseq: u32, extra: &str, body: &str) -> String {
        let address = self.party.address();
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\n" };
        let target = self.invite.message.contact().ok().flatten().map(|contact| contact.uri.to_owned()).expect("our INVITE has a Contact");
        format!(
            "{method} {target} SIP/2.0\nVia: SIP/2.0/{} {address}:5060;branch={}\nMax-Forwards: 70\nFrom: {};tag={}\nTo: {}\nCall-ID: {}\nCSeq: {cseq} {method}\nContact: <sip:{address}:5060;transport={}>\n{extra}{kind}\n{body}",
            lab.transport.via_token(),
            self.branch,
            self.invite.header(HeaderName::To),
            self.tag,
            self.invite.header(HeaderName::From),
            self.invite.header(HeaderName::CallId),
            lab.transport.uri_token()
        )
    }

    /// The next request in the dialog.
    pub fn next(&mut self, lab: &mut Lab, method: &str, extra: &str, body: &str) {
        self.cseq += 1;
        self.branch = lab.branch();
        let request = self.text(lab, method, self.cseq, extra, body);
        lab.receive(self.party, &request);
    }

    pub fn ack(&mut self, lab: &mut Lab, body: &str) {
        let branch = std::mem::replace(&mut self.branch, lab.branch());
        let ack = self.text(lab, "ACK", self.cseq, "", body);
        lab.receive(self.party, &ack);
        self.branch = branch;
    }

    pub fn ack_refusal(&mut self, lab: &mut Lab) {
        let ack = self.text(lab, "ACK", self.cseq, "", "");
        lab.receive(self.party, &ack);
    }
}

/// A call from the trunk that rings at the router: the caller has heard 100, the router holds the INVITE.
pub fn invited(lab: &mut Lab, extra: &str) -> (Caller, Callee) {
    let mut caller = Caller::new(lab, Party::Trunk, "1000");
    let offer = lab.sdp(Party::Trunk, 4000);
    caller.invite(lab, extra, &offer);
    lab.response_to(Party::Trunk, 100);
    let invite = lab.request_to(Party::Router, Method::Invite);
    (caller, Callee::new(Party::Router, invite, "um1"))
}

pub const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\n";

/// A call that is up, both sides taking UPDATE.
pub fn established(lab: &mut Lab) -> (Caller, Callee) {
    established_with(lab, ALLOW, ALLOW)
}

pub fn established_with(lab: &mut Lab, caller_says: &str, callee_says: &str) -> (Caller, Callee) {
    let (mut caller, callee) = invited(lab, caller_says);
    let answer = lab.sdp(Party::Router, 6000);
    callee.answer(lab, 200, callee_says, &answer);
    lab.request_to(Party::Router, Method::Ack);
    let answer = lab.response_to(Party::Trunk, 200);
    caller.learn(&answer);
    caller.ack(lab, "");
    lab.nothing_sent();
    (caller, callee)
}

/// Hangs up from the caller's side and lets everything come to rest.
pub fn hang_up(lab: &mut Lab, caller: &mut Caller, callee: &Callee) {
    caller.next(lab, "BYE", "", "");
    lab.response_to(Party::Trunk, 200);
    let bye = lab.request_to(callee.party, Method::Bye);
    lab.answer(callee.party, &bye, 200, "", "", "");
    lab.finish();
}
