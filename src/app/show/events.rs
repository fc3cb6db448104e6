//! `show events`: what kind of thing changes in a running border, as it changes, a line each, until the border ends it.

use std::io::{self, Write};

use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::adapters::api::{self, Answer};
use crate::app::ask::{Socket, complain, unanswered};

/// The field of an event's kind (HTML Standard §9.2.6).
const KIND: &str = "event:";

pub(super) fn events(socket: &Socket, out: &mut dyn Write) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    let mut trouble = None;
    let tell = |line: &str| {
        let Some(kind) = line.strip_prefix(KIND).map(str::trim) else { return Ok(true) };
        let now = OffsetDateTime::now_utc();
        let time = now.replace_nanosecond(now.millisecond() as u32 * 1_000_000).unwrap_or(now).format(&Rfc3339).unwrap_or_default();
        let told = if socket.json { writeln!(out, "{}", json!({ "time": time, "changed": kind })) } else { writeln!(out, "{time:<24}  {kind}") };
        // Whoever reads it may wait for the next line for long.
        trouble = told.and_then(|()| out.flush()).err();
        Ok(trouble.is_none())
    };
    let heard = runtime.block_on(api::listen(&place, "/v1/events", tell));
    if let Some(trouble) = trouble {
        return Err(trouble);
    }
    match heard {
        Ok(Answer { status: 200..300, .. }) => complain(&"the border has ended it: it stops, or another process has taken over"),
        Ok(Answer { body, .. }) => complain(&format!("refused: {}", body["detail"].as_str().unwrap_or("the border does not say why"))),
        Err(error) => complain(&unanswered(&place, &error)),
    }
    Ok(1)
}
