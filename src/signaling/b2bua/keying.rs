//! What the media plane tells of the handshakes that key a leg's media (RFC 5763): with keys the record says which suite, without them there is no call.

use crate::media::control::{KeyingFailure, Side, StreamId};
use crate::policy::verdict::{Decision, Reason};
use crate::sdp::crypto::Suite;
use crate::signaling::b2bua::call::Call;
use crate::signaling::b2bua::{release, transfer};
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::time::Time;

/// `side`'s media is protected from now on.
pub fn keyed(border: &mut Border, now: Time, call: &mut Call, stream: StreamId, side: Side, suite: Suite) {
    match call.media.stream() == Some(stream) {
        true => {
            call.media.keyed(side, suite);
            call.note_media();
        }
        false => {
            if let Some(session) = call.target_session().filter(|session| session.stream() == Some(stream)) {
                session.keyed(side, suite);
            }
        }
    }
    border.fact(now, Some(call.id), What::MediaKeyed { side, suite });
}

/// No handshake with `side`'s peer came to keys: nothing of the stream can ever pass. As with a stream that could not be opened, a transfer fails and the
/// call goes on if it is the transfer's stream, and the call ends if it is its own.
pub fn failed(border: &mut Border, now: Time, call: &mut Call, stream: StreamId, side: Side, failure: KeyingFailure) {
    let decision = Decision::refused("media", "the handshake that keys the media", Reason::MediaKeying).comparing("leg", side.to_string());
    border.decided(now, call.id, decision.comparing("failure", failure.to_string()));
    match call.media.stream() == Some(stream) || call.transfer().is_none() {
        true => release::by_border(border, now, call, Reason::MediaKeying),
        false => transfer::failed(border, now, call, 488, Reason::MediaKeying),
    }
}
