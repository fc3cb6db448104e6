//! A border in a branch: tells when the WAN to the centre goes and comes back, and of calls that nobody answered (`policy/branch` decides both).

use std::sync::Arc;

use crate::policy::branch::{self, Missed, Wan};
use crate::policy::reroute;
use crate::policy::screening::Admitted;
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Call, Rerouted, Stage};
use crate::signaling::border::Border;
use crate::signaling::fact::{CallId, What};
use crate::sip::Message;
use crate::time::Time;

/// A call a mailbox's owner is to be told of.
#[derive(Clone, PartialEq, Debug)]
pub struct MissedCall {
    /// Nobody else's, ever: what a receiver knows a repeat by.
    pub id: String,
    /// When it ended.
    pub at: Time,
    /// `None`: withheld.
    pub caller: Option<String>,
    /// The extension, or user part, that diverted the call.
    pub mailbox: String,
    pub plan: Arc<str>,
    pub missed: Missed,
    pub reason: Reason,
    pub call: CallId,
    /// The A leg's Call-ID.
    pub call_id: String,
}

/// What a notice will say of a call, kept while it goes on.
#[derive(Clone, PartialEq, Debug)]
pub struct Diverted {
    mailbox: String,
    caller: Option<String>,
}

/// Of a call that has just been let in; `None`: it makes no notice, whatever becomes of it.
pub fn diverted(border: &Border, admitted: &Admitted, invite: &Message) -> Option<Diverted> {
    let peer = &admitted.peer;
    let plan = admitted.plan.as_ref().filter(|_| border.set.missed_calls && !peer.kind.is_um())?;
    if border.set.branch.as_ref().is_some_and(|branch| admitted.pool.as_ref().is_none_or(|pool| pool.name != branch.um_pool)) {
        return None;
    }
    let mailbox = branch::plain(&reroute::mailbox(plan, peer, invite)?);
    (!mailbox.is_empty()).then(|| Diverted { mailbox, caller: branch::caller(plan, invite) })
}

/// A call is about to be over.
pub fn ended(border: &mut Border, now: Time, call: &mut Call, reason: Reason) {
    let Some(diverted) = call.diverted.take() else { return };
    let (answered, rerouted) = match &call.stage {
        Stage::Hunting(hunt) => (false, hunt.rerouted == Rerouted::Done),
        _ => (true, false),
    };
    let Some(missed) = branch::missed(answered || call.record.answered.is_some(), rerouted, reason) else { return };
    let plan = call.admitted.plan.as_ref().map(|plan| plan.name.clone()).unwrap_or_else(|| "".into());
    let missed = MissedCall {
        id: border.mint.call_id(),
        at: now,
        caller: diverted.caller,
        mailbox: diverted.mailbox,
        plan,
        missed,
        reason,
        call: call.id,
        call_id: branch::plain(&call.record.a.call_id),
    };
    border.fact(now, Some(call.id), What::CallMissed(Box::new(missed)));
}

/// Liveness may have changed: so may the WAN.
pub fn follow(border: &mut Border, now: Time) {
    let Some(branch) = &border.set.branch else {
        border.wan = Wan::Unknown;
        return;
    };
    let Some(pool) = border.set.um_pools.iter().find(|pool| pool.name == branch.um_pool) else { return };
    let state = branch::wan(&border.watch.board, pool, border.wan);
    if state != border.wan {
        let before = std::mem::replace(&mut border.wan, state);
        border.fact(now, None, What::Wan { pool: pool.name.clone(), state, before });
    }
}
