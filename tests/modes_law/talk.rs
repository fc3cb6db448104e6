//! What parties say: requests and responses, written by hand from RFC 3261.

use std::sync::Arc;

use portcullis::policy::flow::Flow;

use crate::stage::{Sent, Stage};
use crate::world::Party;

pub const ALLOW: &str = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO\r\n";

/// One party's end of a dialog.
#[derive(Clone, Debug)]
pub struct Talk {
    pub party: Party,
    /// Over which it speaks.
    pub flow: Arc<Flow>,
    pub call_id: String,
    /// Its From, with its tag, and its To.
    pub local: String,
    pub remote: String,
    pub target: String,
    pub contact: String,
    pub cseq: u32,
    pub branch: String,
    /// Further headers of every message that can make or move a dialog.
    pub extra: String,
}

fn contact_of(flow: &Flow, party: Party) -> String {
    format!("<sip:{}@{}:{};transport={}>", party.name(), party.address(), flow.transport.default_port(), flow.transport.uri_token())
}

impl Talk {
    /// Before its INVITE.
    pub fn caller(stage: &mut Stage, flow: &Arc<Flow>, party: Party) -> Talk {
        let number = stage.number();
        Talk {
            party,
            flow: flow.clone(),
            call_id: format!("call{number}@{}", party.address()),
            local: format!("<sip:2001@{}>;tag=c{number}", party.address()),
            remote: "<sip:1000@192.0.2.1>".into(),
            target: "sip:1000@192.0.2.1".into(),
            contact: contact_of(flow, party),
            cseq: 0,
            branch: String::new(),
            extra: ALLOW.into(),
        }
    }

    /// Called by an INVITE of the border.
    pub fn callee(invite: &Sent, tag: &str) -> Talk {
        Talk {
            party: invite.to,
            flow: invite.flow.clone(),
            call_id: invite.field("Call-ID").into(),
            local: format!("{};tag={tag}", invite.field("To")),
            remote: invite.field("From").into(),
            target: uri_of(invite.field("Contact")),
            contact: contact_of(&invite.flow, invite.to),
            cseq: 0,
            branch: String::new(),
            extra: ALLOW.into(),
        }
    }

    /// Takes the To tag and the Contact of an answer.
    pub fn learn(&mut self, answer: &Sent) {
        self.remote = answer.field("To").into();
        if !answer.field("Contact").is_empty() {
            self.target = uri_of(answer.field("Contact"));
        }
    }

    /// The next request of this dialog, with a branch of its own unless it is about the last INVITE.
    pub fn request(&mut self, stage: &mut Stage, method: &str, extra: &str, body: &str) -> String {
        match method {
            "ACK" | "CANCEL" => {}
            _ => {
                self.cseq += 1;
                self.branch = format!("z9hG4bKm{}", stage.number());
            }
        }
        self.text(method, &self.branch.clone(), extra, body)
    }

    pub fn text(&self, method: &str, branch: &str, extra: &str, body: &str) -> String {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {} SIP/2.0\r\nVia: SIP/2.0/{} {}:{};branch={branch}\r\nMax-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: {}\r\n{}{extra}{kind}Content-Length: {}\r\n\r\n{body}",
            self.target,
            self.flow.transport.via_token(),
            self.party.address(),
            self.flow.transport.default_port(),
            self.local,
            self.remote,
            self.call_id,
            self.cseq,
            self.contact,
            self.extra,
            body.len()
        )
    }

    pub fn say(&mut self, stage: &mut Stage, method: &str, extra: &str, body: &str) {
        let text = self.request(stage, method, extra, body);
        stage.say(&self.flow.clone(), &text);
    }

    /// The ACK to a 2xx: a transaction of its own.
    pub fn ack(&mut self, stage: &mut Stage, body: &str) {
        let branch = format!("z9hG4bKm{}", stage.number());
        let text = self.text("ACK", &branch, "", body);
        stage.say(&self.flow.clone(), &text);
    }

    /// The ACK to a refusal.
    pub fn ack_refusal(&mut self, stage: &mut Stage, refusal: &Sent) {
        let to = std::mem::replace(&mut self.remote, refusal.field("To").into());
        self.say(stage, "ACK", "", "");
        self.remote = to;
    }

    /// Answers a request of the border in this dialog.
    pub fn reply(&self, stage: &mut Stage, request: &Sent, status: u16, extra: &str, body: &str) {
        let text = self.response(request, status, extra, body);
        stage.say(&request.flow.clone(), &text);
    }

    pub fn response(&self, request: &Sent, status: u16, extra: &str, body: &str) -> String {
        let tag = self.local.rsplit_once(";tag=").map_or("", |(_, tag)| tag);
        response(request, status, tag, &format!("Contact: {}\r\n{}{extra}", self.contact, self.extra), body)
    }
}

/// A response to a request of the border; `tag` is added to a To that has none.
pub fn response(request: &Sent, status: u16, tag: &str, extra: &str, body: &str) -> String {
    let to = request.field("To");
    let tag = if to.contains(";tag=") || tag.is_empty() { String::new() } else { format!(";tag={tag}") };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {status} X\r\nVia: {}\r\nFrom: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\n{extra}{kind}Content-Length: {}\r\n\r\n{body}",
        request.field("Via"),
        request.field("From"),
        request.field("Call-ID"),
        request.field("CSeq"),
        body.len()
    )
}

/// What stands between the angle brackets.
fn uri_of(address: &str) -> String {
    address.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map_or(address, |(uri, _)| uri).to_owned()
}
