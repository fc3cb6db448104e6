//! The decision itself, by the functions the core decides with: whom the flow belongs to, whether the message is well-formed, and of a new call what
//! screening says and what the first target would be sent.

use std::sync::Arc;

use bytes::Bytes;

use crate::config::Settings;
use crate::policy::access_control;
use crate::policy::delayed_source_party;
use crate::policy::flow::Flow;
use crate::policy::hosted;
use crate::policy::liveness::Board;
use crate::policy::message_waiting::{self, Notified};
use crate::policy::outcome::Outcome;
use crate::policy::peer::{PeerTable, identify};
use crate::policy::reroute;
use crate::policy::screening::{Admitted, Load, Question, screen};
use crate::policy::security_mode::{MediaPlan, mode_name};
use crate::policy::settings::{Peer, PeerHost};
use crate::policy::topology_hiding::{self, Carried, Crossing};
use crate::policy::verdict::{Decision, Reason};
use crate::sdp::Description;
use crate::signaling::b2bua::{lifetime, setup, standalone};
use crate::signaling::session::session_timer::SessionExpiry;
use crate::sip::{HeaderName, Limits, Message, Method, ParseError};

/// What is gone by: a policy set, who lives where, and who gives signs of life.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub settings: &'a Settings,
    pub table: &'a PeerTable,
    pub liveness: &'a Board,
}

pub enum Verdict {
    /// A new call, its legs planned.
    Admitted(Box<Admitted>),
    /// Not a new call: allowed, and the core's from here.
    Allowed(&'static str),
    Refused(Reason),
}

/// What was decided, by which rules, and what would be sent on.
pub struct Explanation {
    pub trail: Vec<Decision>,
    pub verdict: Verdict,
    /// Of a new call, what screening came to, before anything is rerouted.
    pub screened: Option<Outcome>,
    pub message: Option<Message>,
    pub carried: Option<Carried>,
    /// Names of headers that stay behind.
    pub behind: Vec<String>,
    pub preview: Vec<(&'static str, String)>,
}

impl Explanation {
    /// Whether whoever sent it hears nothing: nobody of ours, or too far from SIP.
    pub fn is_silence(&self) -> bool {
        self.message.is_none() && self.trail.len() == 1
    }
}

/// `bytes`: a message; `None`: nothing is known but where it came from.
pub fn decide(ground: &Ground<'_>, flow: &Flow, bytes: Option<&Bytes>) -> Explanation {
    let (decision, peer) = identify(ground.table, flow);
    let refused = decision.refused;
    let mut explanation = Explanation {
        trail: vec![decision],
        verdict: Verdict::Refused(refused.unwrap_or(Reason::StrangerAddress)),
        screened: None,
        message: None,
        carried: None,
        behind: Vec::new(),
        preview: Vec::new(),
    };
    let Some(peer) = peer else { return explanation };
    let Some(bytes) = bytes else {
        explanation.verdict = Verdict::Allowed("a trusted peer: what it sends is read");
        return explanation;
    };
    let message = match Message::parse(bytes.clone(), &Limits::default()) {
        Ok(message) => message,
        Err(error) => {
            let reason = malformed(&error);
            explanation.trail.push(Decision::refused("message", "the message must be well-formed", reason).comparing("found", error.to_string()));
            explanation.verdict = Verdict::Refused(reason);
            return explanation;
        }
    };
    if let Some((reason, detail)) = standalone::unusable(&message) {
        explanation.trail.push(Decision::refused("message", "a request has what a transaction can be made of", reason).comparing("found", detail));
        explanation.verdict = Verdict::Refused(reason);
        return explanation;
    }
    explanation.verdict = match message.method() {
        None => Verdict::Allowed("a response: matched with the transaction it answers, or dropped"),
        Some(Method::Invite) if !in_dialog(&message) => new_call(ground, flow, &peer, &message, &mut explanation),
        Some(method) => {
            let decision = access_control::method(&peer, method, in_dialog(&message));
            let mut refused = decision.refused;
            explanation.trail.push(decision);
            if refused.is_none() && *method == Method::Notify && !in_dialog(&message) {
                let notified = Notified { set: &ground.settings.policy, table: ground.table, server: &peer, flow, notify: &message };
                let judged = message_waiting::judge(notified);
                explanation.trail.extend(judged.trail);
                refused = judged.outcome.err();
            }
            refused.map_or(Verdict::Allowed("matched with its call or transaction, or answered by the border itself"), Verdict::Refused)
        }
    };
    explanation.message = Some(message);
    explanation
}

fn in_dialog(message: &Message) -> bool {
    message.to().is_ok_and(|to| to.tag().is_some())
}

const fn malformed(error: &ParseError) -> Reason {
    match error.status() {
        505 => Reason::UnsupportedVersion,
        513 => Reason::HeaderTooLarge,
        413 => Reason::BodyTooLarge,
        _ => Reason::Malformed,
    }
}

fn new_call(ground: &Ground<'_>, flow: &Flow, peer: &Arc<Peer>, invite: &Message, explanation: &mut Explanation) -> Verdict {
    let offer = match setup::readable(invite) {
        Ok(offer) => offer,
        Err(reason) => {
            explanation.trail.push(unreadable(invite, reason));
            return Verdict::Refused(reason);
        }
    };
    let question = Question {
        set: &ground.settings.policy,
        table: ground.table,
        liveness: ground.liveness,
        load: &Load::default(),
        flow,
        peer,
        invite,
        offer: offer.as_ref(),
    };
    let screening = screen(question);
    explanation.trail.extend(screening.trail);
    explanation.screened = Some(Outcome::of(screening.outcome.as_ref().map_err(|reason| *reason)));
    match screening.outcome {
        Ok(_) if lifetime::judge(&mut SessionExpiry::new(&ground.settings.signaling.session_timer), invite).is_err() => {
            let rule = "a session lasts as long as [timers] min_se says, or longer (RFC 4028 §6)";
            let asked = invite.first(HeaderName::SessionExpires).map(|value| String::from_utf8_lossy(value).into_owned());
            explanation.trail.push(Decision::refused("session_timer", rule, Reason::IntervalTooSmall).comparing("Session-Expires", asked.unwrap_or_default()));
            Verdict::Refused(Reason::IntervalTooSmall)
        }
        Ok(admitted) => {
            explanation.trail.extend(delayed_source_party::holds(peer, invite));
            let admitted = rerouted(ground, admitted, invite, explanation);
            preview(ground, &admitted, invite, explanation);
            Verdict::Admitted(Box::new(admitted))
        }
        Err(reason) => Verdict::Refused(reason),
    }
}

/// Why an INVITE is refused before policy is asked.
fn unreadable(invite: &Message, reason: Reason) -> Decision {
    match reason {
        Reason::ExtensionRequired => {
            Decision::refused("message", "extensions that are required are ones we know", reason).comparing("Require", standalone::unsupported(invite))
        }
        Reason::MediaType => Decision::refused("security_mode", "a body must be a session description", reason),
        _ => {
            let error = invite.sdp().and_then(|sdp| Description::parse(sdp).err()).map(|error| error.to_string());
            Decision::refused("security_mode", "the offer must be a session description", reason).comparing("found", error.unwrap_or_default())
        }
    }
}

/// The same call where it would go over the PSTN at once, since nothing in UM takes calls.
fn rerouted(ground: &Ground<'_>, admitted: Admitted, invite: &Message, explanation: &mut Explanation) -> Admitted {
    if !reroute::is_um_out(ground.liveness, &admitted) {
        return admitted;
    }
    let question = reroute::Question {
        set: &ground.settings.policy,
        table: ground.table,
        liveness: ground.liveness,
        admitted: &admitted,
        invite,
        failure: None,
        under_way: &|_| 0,
        bounced: &|_, _| false,
    };
    let Some(rerouting) = reroute::reroute(question) else { return admitted };
    explanation.trail.extend(rerouting.trail);
    // What may not be rerouted tries UM all the same.
    rerouting.outcome.map_or(admitted, |way| way.admitted)
}

/// What the first target would be sent, as far as policy decides it.
fn preview(ground: &Ground<'_>, admitted: &Admitted, invite: &Message, explanation: &mut Explanation) {
    let Some(target) = admitted.targets.first() else { return };
    let listeners = &ground.settings.signaling.listeners;
    let listener = listeners
        .iter()
        .find(|listener| target.listener.as_ref() == Some(&listener.name))
        .or(listeners.iter().find(|listener| listener.transport == target.transport));
    let advertised = listener.map_or("portcullis.invalid", |listener| &listener.advertised);
    let ours = advertised.rsplit_once(':').map_or(advertised, |(host, _)| host);
    let host = match target.hosts.first() {
        Some(PeerHost::Name(name)) => String::from(&**name),
        Some(PeerHost::Address(address)) => address.to_string(),
        Some(PeerHost::Network(_)) | None => String::from("(located when called)"),
    };
    let crossing = Crossing { from: &admitted.peer, to: target, ours, plan: admitted.plan.as_deref(), called: &admitted.called };
    let mut carried = topology_hiding::carry(&crossing, invite);
    explanation.trail.append(&mut carried.trail);
    explanation.preview = vec![
        ("Request-URI", hosted::request_uri(admitted.pool.as_deref(), &admitted.called, &host, target.port, target.transport)),
        ("From", topology_hiding::from_value(&crossing, invite, "…")),
        ("To", topology_hiding::to_value(&admitted.called, hosted::to_host(admitted.pool.as_deref(), &host))),
    ];
    explanation.behind = invite
        .fields()
        .map(|field| String::from(field.raw_name))
        .filter(|name| !carried.headers.iter().any(|(kept, _)| kept.as_str().eq_ignore_ascii_case(name)))
        .collect();
    explanation.behind.sort();
    explanation.behind.dedup();
    explanation.carried = Some(carried);
}

/// A leg in words.
pub fn leg(plan: &MediaPlan) -> String {
    let media = if plan.is_srtp() {
        let suites: Vec<&str> = plan.suites().iter().map(|suite| suite.name()).collect();
        let keyed = if plan.is_dtls() { " keyed by DTLS" } else { "" };
        format!("SRTP {}{keyed}", suites.join(", "))
    } else {
        String::from("RTP")
    };
    format!("{}, {media}", mode_name(plan.mode()))
}
