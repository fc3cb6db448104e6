//! Message waiting indication (RFC 3842) from UM to the telephones' side, end to end: UM's NOTIFY is answered with what the gateway answered ours.
//!
//! Nothing here touches a call: whatever a gateway answers, a mailbox's lamp is all that is at stake. A notice that could not be delivered is told as
//! a fact of its own, Exchange's event 1344.

use std::sync::Arc;
use std::time::Duration;

use crate::policy::message_waiting::{self, CONTENT_TYPE, Delivery, Notified, PACKAGE, status_towards_um};
use crate::policy::numbering;
use crate::policy::settings::{Peer, PeerHost};
use crate::policy::topology_hiding;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::ServerRequest;
use crate::signaling::b2bua::errand::{self, Errand, ErrandOwner, Outcome, RequestUri};
use crate::signaling::b2bua::standalone;
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::sip::Method;
use crate::time::Time;

/// Notices taken in one second, of all servers together: a restart of UM tells of every mailbox at once.
const MOST_A_SECOND: u32 = 200;

/// How many notices have come in the second that is being counted.
#[derive(Default)]
pub struct Rate {
    second: Time,
    taken: u32,
}

impl Rate {
    fn admits(&mut self, now: Time) -> bool {
        if now.since(self.second) >= Duration::from_secs(1) {
            *self = Rate { second: now, taken: 0 };
        }
        self.taken = self.taken.saturating_add(1);
        self.taken <= MOST_A_SECOND
    }
}

/// A notice that is being delivered.
pub struct Notice {
    /// UM's NOTIFY, which waits for our answer.
    request: ServerRequest,
    server: Arc<str>,
    delivery: Delivery,
    /// Which of the gateways is being told.
    gateway: usize,
    by: Time,
}

/// UM's NOTIFY outside any dialog, which access control has let in.
pub fn requested(border: &mut Border, now: Time, request: ServerRequest, peer: &Arc<Peer>) {
    if !border.notices.admits(now) {
        // No 503: it would have UM shun us for a while, for its calls too.
        return standalone::refuse(border, now, &request, peer, Reason::MwiRate);
    }
    let (set, table) = (border.set.clone(), border.table.clone());
    let judged = message_waiting::judge(Notified { set: &set, table: &table, server: peer, flow: &request.flow, notify: &request.message });
    border.fact(now, None, What::Decided(judged.trail));
    match judged.outcome {
        Ok(delivery) => {
            let notice = Notice { request, server: peer.name.clone(), delivery, gateway: 0, by: now + errand::LONGEST };
            tell(border, now, notice);
        }
        Err(reason) => {
            if reason == Reason::MwiNoGateway {
                let what = What::MessageWaiting { server: peer.name.clone(), gateway: None, account: None, waiting: None, status: 404, reason };
                border.fact(now, None, what);
            }
            standalone::refuse(border, now, &request, peer, reason);
        }
    }
}

/// Sends the notice to the gateway whose turn it is.
fn tell(border: &mut Border, now: Time, notice: Notice) {
    let Notice { delivery, gateway, by, .. } = &notice;
    let Some(peer) = delivery.gateways.get(*gateway).cloned() else {
        return answer(border, now, notice, &Outcome { status: 503, reason: Reason::MwiNoGateway, target: None });
    };
    let by = *by;
    // The mailbox's number as the gateways of its plan know it.
    let (_, number) = numbering::outward(&delivery.plan, &delivery.account);
    let host = peer.hosts.iter().find_map(|host| match host {
        PeerHost::Address(address) => Some(address.to_string()),
        PeerHost::Name(name) => Some(name.to_string()),
        PeerHost::Network(_) => None,
    });
    let account = topology_hiding::to_value(&number, host.as_deref().unwrap_or_default());
    let body = delivery.summary.render(account.trim_matches(['<', '>']));
    let errand = Errand {
        peer,
        from_user: number.clone(),
        request_uri: RequestUri::User(number),
        method: Method::Notify,
        headers: vec![("Event", PACKAGE.into()), ("Subscription-State", "terminated".into())],
        body: Some((CONTENT_TYPE, body.into_bytes())),
        by,
        owner: ErrandOwner::MessageWaiting(Box::new(notice)),
    };
    errand::send(border, now, errand);
}

/// What became of the errand: the next gateway's turn where this one could not be reached, else UM's answer.
pub fn reported(border: &mut Border, now: Time, mut notice: Notice, outcome: &Outcome) {
    let unreached = outcome.reason != Reason::Answered && outcome.reason != Reason::RequestRefused && outcome.reason != Reason::Overload;
    if unreached && notice.gateway + 1 < notice.delivery.gateways.len() && now < notice.by {
        notice.gateway += 1;
        return tell(border, now, notice);
    }
    answer(border, now, notice, outcome);
}

fn answer(border: &mut Border, now: Time, notice: Notice, outcome: &Outcome) {
    let status = status_towards_um(outcome.status);
    let tag = border.mint.tag();
    let request = &notice.request;
    border.reply(now, (&request.key, &request.message, &request.flow), status, Some(&tag), |_| {});
    border.fact(
        now,
        None,
        What::MessageWaiting {
            server: notice.server.clone(),
            gateway: notice.delivery.gateways.get(notice.gateway).map(|peer| peer.name.clone()),
            account: Some(notice.delivery.account.as_str().into()),
            waiting: Some(notice.delivery.summary.waiting),
            status: outcome.status,
            reason: if outcome.is_success() { Reason::Answered } else { Reason::MwiUndelivered },
        },
    );
}
