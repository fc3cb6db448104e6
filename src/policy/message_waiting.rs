//! Message waiting (RFC 3842): which gateway is told of a mailbox, under which number, and what of UM's notice it is told.
//!
//! UM sends an unsolicited NOTIFY outside any dialog when a mailbox's messages change. Its mailbox is the Request-URI's user (To's where that has
//! none): an extension or a number, on SIP URI plans a user. It belongs to the first plan of the server's pool that it fits exactly, an extension by
//! the plan's digits, a number with `+` where the plan is E.164, a name where it is SIP URI; where it fits none so, to any of them. Told are the
//! plan's gateways, then the peers of its hunt groups: those with `mwi` whose `mwi_accounts` have the mailbox, in this order, the next one only
//! where one cannot be reached.
//!
//! The body is read and written anew: whether messages wait, and how many of each kind. Nothing else of it crosses.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::policy::dial_plan::subscriber;
use crate::policy::flow::Flow;
use crate::policy::mailboxes;
use crate::policy::number_pattern::compared;
use crate::policy::peer::PeerTable;
use crate::policy::security_mode::{self, interworks, leg_plan, mode_name};
use crate::policy::settings::{DialPlan, Peer, PeerStatus, PolicySet, UriType, number_of};
use crate::policy::verdict::{Decision, Reason};
use crate::sip::{Message, Uri};

/// The event package.
pub const PACKAGE: &str = "message-summary";
pub const CONTENT_TYPE: &str = "application/simple-message-summary";

/// Longest body looked at, in bytes: the lines that count take a few dozen.
const BODY_BYTES: usize = 8 * 1024;
/// Lines looked at.
const LINES: usize = 64;
/// Most messages of a kind; more are as good as this.
const MOST_MESSAGES: u32 = 99_999;

/// Kinds of messages (RFC 3458 §4), as they are written.
const KINDS: [&str; 6] = ["Voice-Message", "Fax-Message", "Video-Message", "Text-Message", "Pager-Message", "Multimedia-Message"];

/// Messages of one kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub new: u32,
    pub old: u32,
    /// Urgent ones among them, where they were given.
    pub urgent: Option<(u32, u32)>,
}

/// What a notice says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Summary {
    pub waiting: bool,
    /// By kind, in the order of RFC 3458; those not given are absent.
    pub counts: Vec<(&'static str, Counts)>,
}

impl Summary {
    /// RFC 3842 §5.2, read tolerantly: names in any case, LF line ends, any order, unknown lines passed over. An error says what is wrong.
    pub fn parse(body: &[u8]) -> Result<Summary, &'static str> {
        if body.len() > BODY_BYTES {
            return Err("the summary is longer than any real one");
        }
        let text = std::str::from_utf8(body).map_err(|_| "the summary is no text")?;
        let mut waiting = None;
        let mut counts = [None; KINDS.len()];
        for line in text.lines().take(LINES) {
            let Some((name, value)) = line.split_once(':') else { continue };
            let (name, value) = (name.trim(), value.trim());
            if name.eq_ignore_ascii_case("Messages-Waiting") {
                let said = match value {
                    _ if value.eq_ignore_ascii_case("yes") => true,
                    _ if value.eq_ignore_ascii_case("no") => false,
                    _ => return Err("Messages-Waiting is neither yes nor no"),
                };
                if waiting.is_some_and(|before| before != said) {
                    return Err("Messages-Waiting is there twice");
                }
                waiting = Some(said);
            } else if let Some(slot) = KINDS.iter().position(|kind| kind.eq_ignore_ascii_case(name)).and_then(|index| counts.get_mut(index)) {
                *slot = slot.or(read_counts(value));
            }
        }
        let waiting = waiting.ok_or("the summary has no Messages-Waiting")?;
        Ok(Summary { waiting, counts: KINDS.into_iter().zip(counts).filter_map(|(kind, counts)| Some((kind, counts?))).collect() })
    }

    /// The canonical form. `account`: a URI.
    pub fn render(&self, account: &str) -> String {
        let mut text = format!("Messages-Waiting: {}\r\nMessage-Account: {account}\r\n", if self.waiting { "yes" } else { "no" });
        for (kind, counts) in &self.counts {
            // Writing into a String does not fail.
            let _ = write!(text, "{kind}: {}/{}", counts.new, counts.old);
            if let Some((new, old)) = counts.urgent {
                let _ = write!(text, " ({new}/{old})");
            }
            text.push_str("\r\n");
        }
        text
    }
}

/// `1/2` or `1/2 (0/1)`.
fn read_counts(value: &str) -> Option<Counts> {
    let (all, urgent) = match value.split_once('(') {
        Some((all, urgent)) => (all, Some(urgent.trim().strip_suffix(')')?)),
        None => (value, None),
    };
    let pair = |text: &str| {
        let (new, old) = text.split_once('/')?;
        let number = |digits: &str| digits.trim().parse::<u32>().ok().map(|number| number.min(MOST_MESSAGES));
        Some((number(new)?, number(old)?))
    };
    let (new, old) = pair(all)?;
    Some(Counts { new, old, urgent: urgent.and_then(pair) })
}

/// The facts of the question.
#[derive(Clone, Copy)]
pub struct Notified<'a> {
    pub set: &'a PolicySet,
    pub table: &'a PeerTable,
    /// The UM server, and how it spoke.
    pub server: &'a Peer,
    pub flow: &'a Flow,
    /// The NOTIFY, outside any dialog.
    pub notify: &'a Message,
}

/// Whom to tell.
#[derive(Clone, PartialEq, Debug)]
pub struct Delivery {
    pub plan: Arc<DialPlan>,
    /// The mailbox as UM names it: a number without separators, or a user, decoded.
    pub account: String,
    /// Never empty, in the order in which they are tried.
    pub gateways: Vec<Arc<Peer>>,
    pub summary: Summary,
}

pub struct Judged {
    pub trail: Vec<Decision>,
    pub outcome: Result<Delivery, Reason>,
}

/// What becomes of a NOTIFY that access control has let in.
pub fn judge(notified: Notified<'_>) -> Judged {
    let mut trail = Vec::with_capacity(4);
    let outcome = deliberate(&notified, &mut trail);
    Judged { trail, outcome }
}

fn deliberate(notified: &Notified<'_>, trail: &mut Vec<Decision>) -> Result<Delivery, Reason> {
    let mut record = |decision: Decision| {
        let refused = decision.refused;
        trail.push(decision);
        refused.map_or(Ok(()), Err)
    };
    let refused = |rule: &'static str, reason| Decision::refused("message_waiting", rule, reason);
    let event = notified.notify.event().ok().flatten().map(|event| event.package);
    if event != Some(PACKAGE) {
        let decision = refused("outside a dialog only message-summary is taken", Reason::MwiEvent);
        record(decision.comparing("Event", String::from(event.unwrap_or("none"))))?;
    }
    if !notified.notify.is_content("application", "simple-message-summary") {
        let found = notified.notify.content_type().unwrap_or("none");
        record(refused("the body must be a simple-message-summary", Reason::MwiContentType).comparing("Content-Type", String::from(found)))?;
    }
    let summary = Summary::parse(notified.notify.body());
    if let Err(wrong) = summary {
        record(refused("the summary must be readable", Reason::MwiBody).comparing("found", wrong))?;
    }
    let summary = summary.unwrap_or_default();
    let account = account(notified.notify);
    if account.is_empty() {
        record(refused("the Request-URI or To must name a mailbox", Reason::MwiBody))?;
    }
    let of_server: Vec<Arc<DialPlan>> = mailboxes::plans_of(notified.set, &notified.server.name).collect();
    let plans: Vec<&Arc<DialPlan>> = of_server.iter().collect();
    let mut ranked = plans.clone();
    ranked.sort_by_key(|plan| !fits(plan, &account));
    let found = ranked.iter().map(|plan| (*plan, gateways(notified, plan, &account))).find(|(_, gateways)| !gateways.is_empty());
    let Some((plan, gateways)) = found else {
        let names: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
        let rule = if plans.is_empty() { "no plan's UM pool has this server" } else { "no gateway with mwi serves the mailbox" };
        return record(refused(rule, Reason::MwiNoGateway).comparing("mailbox", account).comparing("plans", names.join(", "))).and(Err(Reason::MwiNoGateway));
    };
    let here = leg_plan(plan.mode, notified.server);
    if !here.admits(notified.flow) {
        let decision = Decision::refused("security_mode", "the notice came below the plan's mode", Reason::ModeTransport);
        record(decision.comparing("mode", mode_name(here.mode())).comparing("transport", notified.flow.transport.via_token()))?;
    }
    let names: Vec<&str> = gateways.iter().map(|peer| &*peer.name).collect();
    record(
        Decision::passed("message_waiting", format!("dial plan \"{}\"", plan.name))
            .comparing("mailbox", account.clone())
            .comparing("gateways", names.join(", "))
            .comparing("waiting", if summary.waiting { "yes" } else { "no" }),
    )?;
    Ok(Delivery { plan: Arc::clone(plan), account, gateways, summary })
}

/// The mailbox: `613` of `sip:613@10.1.1.2:5060;User=phone`.
fn account(notify: &Message) -> String {
    let user = |uri: &Uri<'_>| {
        let user = uri.user_decoded();
        let user = subscriber(&user);
        number_of(user).unwrap_or_else(|| String::from(user.trim()))
    };
    let request_uri = notify.request_uri().and_then(|uri| Uri::parse(uri).ok()).map(|uri| user(&uri)).filter(|user| !user.is_empty());
    request_uri.or_else(|| notify.to().ok().and_then(|to| to.parsed_uri().ok().map(|uri| user(&uri)))).unwrap_or_default()
}

/// Whether a mailbox is written as the plan's are.
fn fits(plan: &DialPlan, account: &str) -> bool {
    let number = number_of(account);
    match plan.uri_type {
        UriType::Extension => number.is_some_and(|number| !number.starts_with('+') && number.len() == usize::from(plan.digits)),
        UriType::E164 => number.is_some_and(|number| number.starts_with('+')),
        UriType::SipUri => number.is_none(),
    }
}

/// Those of the plan that are told of this mailbox, in order.
fn gateways(notified: &Notified<'_>, plan: &DialPlan, account: &str) -> Vec<Arc<Peer>> {
    let of_groups = notified.set.hunt_groups.iter().filter(|group| group.plan.name == plan.name).map(|group| &group.peer);
    let key = compared(account);
    let mut found: Vec<Arc<Peer>> = Vec::new();
    for peer in plan.gateways.iter().chain(of_groups).filter_map(|name| notified.table.peer(name)) {
        let is_told = peer.mwi && peer.status == PeerStatus::Enabled && !peer.kind.is_um();
        let is_served = peer.mwi_accounts.is_empty() || peer.mwi_accounts.iter().any(|pattern| pattern.matches(&key));
        let is_strong = security_mode::between(peer.mode, plan.mode, interworks(&plan.interwork, &peer.name)).is_ok();
        if is_told && is_served && is_strong && !found.iter().any(|known| known.name == peer.name) {
            found.push(Arc::clone(peer));
        }
    }
    found
}

/// The status UM gets for a gateway's: those that are about our own request, or forbidden to what is no INVITE (RFC 4320 §4.1), become others. A 503
/// of the gateway must not look like one of ours, which would have UM shun us.
pub const fn status_towards_um(status: u16) -> u16 {
    match status {
        200..=299 => status,
        408 => 504,
        503 => 500,
        403 | 404 | 405 | 410 | 480 | 481 | 489 | 500 | 501 | 504 | 600 | 603 | 604 => status,
        400..=499 => 480,
        600..=699 => 603,
        _ => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_as_exchange_writes_it() {
        let body = b"Messages-Waiting: yes\r\nMessage-Account: sip:613@um1.corp.example\r\nVoice-Message: 1/0 (0/0)\r\n\r\n";
        let summary = Summary::parse(body).unwrap();
        assert_eq!(summary, Summary { waiting: true, counts: vec![("Voice-Message", Counts { new: 1, old: 0, urgent: Some((0, 0)) })] });
        assert_eq!(summary.render("sip:613@pbx"), "Messages-Waiting: yes\r\nMessage-Account: sip:613@pbx\r\nVoice-Message: 1/0 (0/0)\r\n");
    }

    #[test]
    fn what_is_unknown_or_hostile_does_not_cross() {
        let body = "voice-message: 2/8\nMESSAGES-WAITING:no\nX-Path: mbx1.corp.example\nFax-Message: -1/0\nvideo-message: 1\nText-Message: 7777777777/1\n\
                    Pager-Message: 100000/4 (1/\n\nTo: <sip:alice@corp.example>\nSubject: merger\nVoice-Message: 9/9\nnonsense";
        let summary = Summary::parse(body.as_bytes()).unwrap();
        assert_eq!(summary.render("sip:1@x"), "Messages-Waiting: no\r\nMessage-Account: sip:1@x\r\nVoice-Message: 2/8\r\n");
        for broken in ["", "Voice-Message: 1/0", "Messages-Waiting: maybe", "Messages-Waiting: yes\nMessages-Waiting: no", &"x".repeat(BODY_BYTES + 1)] {
            assert!(Summary::parse(broken.as_bytes()).is_err(), "{broken}");
        }
        assert!(Summary::parse(b"Messages-Waiting: yes\xff").is_err());
        let many = format!("Messages-Waiting: yes\nVoice-Message: 4000000000/0\n{}", "x: y\n".repeat(1000));
        assert_eq!(Summary::parse(many.as_bytes()).unwrap().counts, [("Voice-Message", Counts { new: MOST_MESSAGES, old: 0, urgent: None })]);
    }

    #[test]
    fn no_status_towards_um_is_one_it_would_take_for_ours() {
        for status in 100..=699 {
            let mapped = status_towards_um(status);
            assert!(![401, 407, 408, 503].contains(&mapped) && (200..=699).contains(&mapped) && !(300..400).contains(&mapped), "{status} {mapped}");
        }
        assert_eq!([200, 202, 405, 481, 408, 503, 302].map(status_towards_um), [200, 202, 405, 481, 504, 500, 500]);
    }
}
