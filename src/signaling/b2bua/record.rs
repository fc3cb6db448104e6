//! The call record while it is being written: one per call, with both legs, filed when the call is over.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::media::control::{Report, Side};
use crate::policy::flow::Flow;
use crate::policy::security_mode::MediaPlan;
use crate::policy::settings::Peer;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::ServerRequest;
use crate::signaling::fact::{CallId, CallRecord, DigitRecord, FaxRecord, Hop, LegRecord, ReleasedBy, TransferRecord, What};
use crate::signaling::session::offer_answer::SrtpKeys;
use crate::sip::Transport;
use crate::time::Time;

pub struct Draft {
    pub began: Time,
    pub progressed: Option<Time>,
    pub answered: Option<Time>,
    pub from: String,
    pub to: String,
    pub dial_plan: Option<Arc<str>>,
    pub a: LegRecord,
    pub b: Option<LegRecord>,
    pub redirects: Vec<Hop>,
    /// In their order; of one that is done the leg is the side's from then on.
    pub transfers: Vec<TransferRecord>,
    /// Final status on the A leg, once sent.
    pub status: Option<u16>,
    /// Who ended the call and why, once it ended.
    pub end: Option<(Time, ReleasedBy, Reason)>,
    pub fax: FaxRecord,
    /// How the SRTP keys of the legs stood, where both peers are for sharing them.
    pub srtp_keys: Option<SrtpKeys>,
    pub digits: DigitRecord,
    /// A fax over T.38 is under way.
    pub is_fax: bool,
    report: Option<Report>,
}

/// What a leg's record starts with.
pub fn leg(peer: &Peer, plan: &MediaPlan, call_id: &str, transport: Transport, remote: SocketAddr) -> LegRecord {
    LegRecord {
        peer: peer.name.clone(),
        call_id: call_id.to_owned(),
        transport,
        remote,
        tls: None,
        mode: plan.mode(),
        suite: None,
        codec: None,
        simulator: peer.simulator,
    }
}

/// The flow a leg's peer spoke over, with what TLS established.
pub fn seen(leg: &mut LegRecord, flow: &Flow) {
    (leg.transport, leg.remote, leg.tls) = (flow.transport, flow.remote, flow.tls.clone());
}

/// Tells of a leg that begins as this record does.
pub fn opened(side: Side, leg: &LegRecord) -> What {
    What::LegOpened { side, peer: leg.peer.clone(), mode: leg.mode, transport: leg.transport, remote: leg.remote }
}

/// The record of a leg whose INVITE was refused before anything was planned.
pub fn refused_leg(peer: &Peer, request: &ServerRequest) -> LegRecord {
    LegRecord {
        peer: peer.name.clone(),
        call_id: request.message.call_id().unwrap_or_default().to_owned(),
        transport: request.flow.transport,
        remote: request.flow.remote,
        tls: request.flow.tls.clone(),
        mode: peer.mode,
        suite: None,
        codec: None,
        simulator: peer.simulator,
    }
}

impl Draft {
    pub fn new(began: Time, from: String, to: String, dial_plan: Option<Arc<str>>, a: LegRecord) -> Draft {
        let fax = FaxRecord::default();
        Draft {
            began,
            progressed: None,
            answered: None,
            from,
            to,
            dial_plan,
            a,
            b: None,
            redirects: Vec::new(),
            fax,
            srtp_keys: None,
            digits: DigitRecord::default(),
            is_fax: false,
            transfers: Vec::new(),
            status: None,
            end: None,
            report: None,
        }
    }

    /// The first end counts; what follows from it does not.
    pub fn ended(&mut self, at: Time, by: ReleasedBy, reason: Reason) {
        self.end.get_or_insert((at, by, reason));
    }

    /// Several streams of one call add up to one report.
    pub fn media(&mut self, report: Report) {
        // One audio stream is relayed per call, so that the last report is the whole.
        self.report = Some(report);
    }

    /// The flow a leg's peer answered over, with what TLS established.
    pub fn seen_on(&mut self, side: Side, flow: &Flow) {
        if let Some(leg) = self.leg_mut(side) {
            seen(leg, flow);
        }
    }

    /// The record of the leg that is on a side now.
    pub fn leg_mut(&mut self, side: Side) -> Option<&mut LegRecord> {
        match self.transfers.iter().rposition(|transfer| transfer.side == side && transfer.is_done()) {
            Some(index) => self.transfers.get_mut(index).and_then(|transfer| transfer.target.as_mut()),
            None if side == Side::A => Some(&mut self.a),
            None => self.b.as_mut(),
        }
    }

    /// A target is asked; the record keeps the last.
    pub fn asked(&mut self, leg: LegRecord, is_transfer: bool) {
        match self.transfers.last_mut() {
            Some(transfer) if is_transfer => transfer.target = Some(leg),
            _ => self.b = Some(leg),
        }
    }

    /// The target of the transfer under way.
    pub fn target_mut(&mut self) -> Option<&mut LegRecord> {
        self.transfers.last_mut().and_then(|transfer| transfer.target.as_mut())
    }

    pub fn file(self, call: CallId, now: Time) -> CallRecord {
        let (ended, released_by, reason) = self.end.unwrap_or((now, ReleasedBy::Border, Reason::NormalClearing));
        CallRecord {
            call,
            began: self.began,
            progressed: self.progressed,
            answered: self.answered,
            ended,
            from: self.from,
            to: self.to,
            dial_plan: self.dial_plan,
            a: self.a,
            b: self.b,
            redirects: self.redirects,
            transfers: self.transfers,
            released_by,
            status: self.status,
            reason,
            fax: self.fax,
            srtp_keys: self.srtp_keys,
            digits: self.digits,
            media: self.report,
        }
    }
}
