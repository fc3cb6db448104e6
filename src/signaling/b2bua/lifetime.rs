//! The session timer of a leg as headers of its requests and answers (RFC 4028 §4, §5), between `session::session_timer` and the wire.

use crate::signaling::session::session_timer::{Answer, Asked, Reply, SessionExpiry};
use crate::sip::{Builder, Message, Refresher, SessionExpires};

/// Session-Expires and Min-SE of a request of ours.
pub fn write_request(request: &mut Builder, asked: &Asked) {
    write(request, &asked.session_expires);
    if let Some(min_se) = asked.min_se {
        request.header_fmt("Min-SE", format_args!("{min_se}"));
    }
}

/// Session-Expires of a 2xx of ours.
pub fn write_answer(reply: &mut Builder, answer: &Answer) {
    if let Some(agreed) = &answer.session_expires {
        write(reply, agreed);
    }
    if answer.require {
        reply.header("Require", "timer");
    }
}

fn write(message: &mut Builder, expires: &SessionExpires) {
    let refresher = match expires.refresher {
        Some(Refresher::Uac) => ";refresher=uac",
        Some(Refresher::Uas) => ";refresher=uas",
        None => "",
    };
    message.header_fmt("Session-Expires", format_args!("{}{refresher}", expires.seconds));
}

/// What an INVITE or UPDATE of the peer is to be answered with; the error is the Min-SE of a 422.
pub fn judge(timer: &mut SessionExpiry, request: &Message) -> Result<Answer, u32> {
    let asked = request.session_expires().ok().flatten();
    let min_se = request.min_se().ok().flatten();
    match timer.on_request(asked, min_se, request.supports("timer")) {
        Reply::TooSmall(min_se) => Err(min_se),
        Reply::Answer(answer) => Ok(answer),
    }
}
