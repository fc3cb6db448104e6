//! A call that turns out to be a fax: what is told of it and stands in its record. The change to T.38 is a re-INVITE like any other (`reinvite`).

use crate::media::control::Side;
use crate::signaling::b2bua::call::Call;
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::time::Time;

/// The media plane has heard a calling fax in the telephone-events of `side`'s peer.
pub fn tone(border: &mut Border, now: Time, call: &mut Call, side: Side) {
    if call.record.fax.tone.is_none() {
        call.record.fax.tone = Some(side);
        border.fact(now, Some(call.id), What::FaxTone { side });
    }
}

/// The session has been agreed anew.
pub fn follow(border: &mut Border, now: Time, call: &mut Call) {
    let is_fax = call.media.is_fax();
    if std::mem::replace(&mut call.record.is_fax, is_fax) != is_fax {
        call.record.fax.t38 |= is_fax;
        border.fact(now, Some(call.id), What::FaxSwitched { t38: is_fax });
    }
}
