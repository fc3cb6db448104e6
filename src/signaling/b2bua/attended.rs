//! Attended transfer (RFC 5589 §7): Refer-To has a Replaces that names another dialog with the border. Two calls become one.

use crate::media::control::Side;
use crate::policy::transfer::{Kind, Wanted};
use crate::policy::verdict::{Decision, Reason};
use crate::signaling::b2bua::call::{Call, ServerRequest};
use crate::signaling::b2bua::{subscription, transfer};
use crate::signaling::border::Border;
use crate::signaling::fact::{Back, TransferEvent, What};
use crate::time::Time;

/// REFER with Replaces.
pub fn requested(border: &mut Border, now: Time, call: &mut Call, side: Side, request: &ServerRequest, wanted: &Wanted, replaces: String) {
    transfer::accepted(border, now, call, side, request, wanted, Kind::Attended);
    let decision = Decision::refused("transfer", "the dialog to be replaced must be one with this peer", Reason::TransferDialog);
    border.decided(now, call.id, decision.comparing("Replaces", replaces));
    unfit(border, now, call, side, 481, Reason::TransferDialog);
}

/// The REFER was taken, but the two calls cannot become one.
pub fn unfit(border: &mut Border, now: Time, call: &mut Call, side: Side, status: u16, reason: Reason) {
    let id = call.id;
    if let Some(record) = call.record.transfers.last_mut() {
        (record.status, record.reason) = (Some(status), Some(reason));
    }
    if let Some(leg) = call.leg(side) {
        subscription::notify(border, now, id, leg, status);
    }
    border.fact(now, Some(id), What::Transfer(TransferEvent::Failed { side, status, reason, back: Back::Transferor }));
}
