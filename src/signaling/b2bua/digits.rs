//! Digits between a leg whose peer says them by INFO (`application/dtmf-relay`, as Cisco has it, or `application/dtmf`) and one whose peer says them by
//! telephone-events (RFC 4733), which the media plane hears and makes.
//!
//! How many there were is told and recorded, never which: they may be a PIN.

use std::collections::VecDeque;
use std::time::Duration;

use crate::media::control::{Command, Digit, Side, StreamId};
use crate::policy::verdict::Reason;
use crate::signaling::b2bua::call::{Call, ClientOwner, ServerRequest};
use crate::signaling::b2bua::release;
use crate::signaling::border::Border;
use crate::signaling::fact::What;
use crate::sip::Method;
use crate::time::Time;

const RELAY: &str = "application/dtmf-relay";
const BARE: &str = "application/dtmf";

/// Of a digit whose INFO does not say.
const USUAL: Duration = Duration::from_millis(160);

/// What is said in an INFO: receivers know nothing shorter, and longer ones are mistakes. Milliseconds.
const SHORTEST: u64 = 40;
const LONGEST: u64 = 60_000;

/// Digits of one call that wait to be said; more at once nobody presses.
const WAITING: usize = 32;

/// Digits to be said by INFO, one after the other: the next when the last is answered (RFC 6086 leaves their order to us).
#[derive(Default)]
pub struct Digits {
    waiting: VecDeque<(Digit, Duration)>,
    under_way: bool,
    /// It was told that the peer refuses them.
    refusal_told: bool,
}

/// An INFO from `side`'s peer: if it is a digit for the other side's events it is answered here and pressed there. Gives back any other.
pub fn pressed(border: &mut Border, now: Time, call: &mut Call, side: Side, request: ServerRequest) -> Option<ServerRequest> {
    let converts = call.media.digits_by_info() == Some(side);
    let kind = request.message.content_type().filter(|_| converts);
    let read = kind.and_then(|kind| read(kind, request.message.body()));
    let (Some((digit, lasting)), Some(stream)) = (read, call.media.stream()) else { return Some(request) };
    border.reply(now, (&request.key, &request.message, &request.flow), 200, None, |_| {});
    call.record.digits.by_info = call.record.digits.by_info.saturating_add(1);
    let ssrc = border.mint.session_id() as u32;
    border.media(call.id, [Command::Digit { stream, side: side.other(), digit, lasting, ssrc }]);
    None
}

/// The media plane has heard a digit from `side`'s peer.
pub fn heard(border: &mut Border, now: Time, call: &mut Call, stream: StreamId, side: Side, pressed: (Digit, Duration)) {
    let digits = &mut call.record.digits;
    digits.by_events = digits.by_events.saturating_add(1);
    let is_meant = call.media.stream() == Some(stream) && call.media.digits_by_info() == Some(side.other());
    if !is_meant || call.digits.waiting.len() >= WAITING {
        digits.lost = digits.lost.saturating_add(1);
        return;
    }
    call.digits.waiting.push_back(pressed);
    say_next(border, now, call);
}

fn say_next(border: &mut Border, now: Time, call: &mut Call) {
    if call.digits.under_way || call.digits.waiting.is_empty() {
        return;
    }
    let (id, side) = (call.id, call.media.digits_by_info());
    let Some((digit, lasted)) = call.digits.waiting.pop_front() else { return };
    let Some((leg, _)) = side.and_then(|side| call.legs(side)) else { return forget(call, 1) };
    let owner = ClientOwner::Digit { call: id, side: leg.side };
    border.request(now, leg, Method::Info, owner, |info| {
        info.body(RELAY, write(digit, lasted).as_bytes());
    });
    call.digits.under_way = true;
}

/// The peer's answer to a digit of ours; 408 for none.
pub fn answered(border: &mut Border, now: Time, call: &mut Call, side: Side, status: u16) {
    if status < 200 || call.is_over() {
        return;
    }
    call.digits.under_way = false;
    if status >= 300 {
        call.record.digits.lost = call.record.digits.lost.saturating_add(1);
    }
    if status == 481 || status == 408 {
        return release::by_border(border, now, call, Reason::DialogGone);
    }
    if status >= 300 && !std::mem::replace(&mut call.digits.refusal_told, true) {
        border.fact(now, Some(call.id), What::DigitRefused { side, status });
    }
    say_next(border, now, call);
}

/// Whoever was to hear of the digits that wait is there no longer, nor will one say whether it has heard the last.
pub fn disowned(call: &mut Call) {
    forget(call, u32::from(call.digits.under_way));
}

fn forget(call: &mut Call, more: u32) {
    let waited = u32::try_from(std::mem::take(&mut call.digits).waiting.len()).unwrap_or(u32::MAX);
    call.record.digits.lost = call.record.digits.lost.saturating_add(waited.saturating_add(more));
}

/// The digit of an INFO and how long it is to last: `Signal=5` and `Duration=160` (ms), or the key alone. `None`: it holds no digit.
fn read(kind: &str, body: &[u8]) -> Option<(Digit, Duration)> {
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if ![RELAY, BARE].iter().any(|known| known.eq_ignore_ascii_case(kind)) {
        return None;
    }
    let text = std::str::from_utf8(body).ok()?.trim();
    if let Some(digit) = alone(text) {
        return Some((digit, USUAL));
    }
    let fields = || text.lines().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.trim(), value.trim()));
    let field = |wanted: &str| fields().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value);
    let lasting = field("Duration").and_then(|value| value.parse().ok()).map_or(USUAL, |ms: u64| Duration::from_millis(ms.clamp(SHORTEST, LONGEST)));
    Some((field("Signal").and_then(key)?, lasting))
}

/// `5`, `*`, or the number of the event: 10 is `*`, 11 is `#`, 12 to 15 are A to D.
fn key(text: &str) -> Option<Digit> {
    alone(text).or_else(|| ["10", "11", "12", "13", "14", "15"].contains(&text).then(|| text.parse().ok().and_then(Digit::of_event))?)
}

fn alone(text: &str) -> Option<Digit> {
    let mut characters = text.chars();
    characters.next().filter(|_| characters.next().is_none()).and_then(Digit::of_char)
}

fn write(digit: Digit, lasted: Duration) -> String {
    let ms = u64::try_from(lasted.as_millis()).unwrap_or(LONGEST).clamp(SHORTEST, LONGEST);
    format!("Signal={}\r\nDuration={ms}\r\n", digit.char())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(kind: &str, body: &str) -> Option<(char, u64)> {
        read(kind, body.as_bytes()).map(|(digit, lasting)| (digit.char(), lasting.as_millis() as u64))
    }

    #[test]
    fn digits_as_gateways_write_them() {
        assert_eq!(shown("application/dtmf-relay", "Signal=5\r\nDuration=160\r\n"), Some(('5', 160)));
        assert_eq!(shown("Application/DTMF-Relay;charset=x", "signal= # \nduration= 1"), Some(('#', 40)));
        assert_eq!(shown("application/dtmf-relay", "Signal=*"), Some(('*', 160)));
        assert_eq!(shown("application/dtmf-relay", "Duration=99999999999999999999\r\nSignal=11\r\n"), Some(('#', 160)));
        assert_eq!(shown("application/dtmf-relay", "Signal=d\r\nDuration=4000000000"), Some(('D', 60_000)));
        assert_eq!(shown("application/dtmf", "7"), Some(('7', 160)));
        assert_eq!(shown("application/dtmf", "Signal=7\r\nDuration=250\r\n"), Some(('7', 250)));
    }

    #[test]
    fn what_is_no_digit_is_none() {
        for body in
            ["", "Signal=", "Signal=16", "Signal=1x", "Signal=55", "Signal=!", "Signal=09", "Duration=100", "Signal 5", "12", "=", "\u{0}", "Signal=\u{665}"]
        {
            assert_eq!(shown("application/dtmf-relay", body), None, "{body:?}");
        }
        assert_eq!(shown("application/sdp", "5"), None);
        assert_eq!(read("application/dtmf", b"\xff"), None);
    }

    #[test]
    fn what_is_written_is_read() {
        for key in "0123456789*#ABCD".chars() {
            let digit = Digit::of_char(key).unwrap();
            assert_eq!(shown(RELAY, &write(digit, Duration::from_millis(70))), Some((key, 70)));
        }
        assert_eq!(write(Digit::of_char('1').unwrap(), Duration::ZERO), "Signal=1\r\nDuration=40\r\n");
    }
}
