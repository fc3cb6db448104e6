//! `portcullis ladder`: a call's signalling from a running border, on the page, as a file for a browser or a packet analyser, or live in the terminal.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ratatui::crossterm::terminal;

use super::ask::{Socket, ask, complain, unanswered};
use super::follow;
use crate::adapters::api::{self, Answer};
use crate::adapters::telemetry::ladder::Drawing;

/// Canvases are no narrower and no wider.
const COLUMNS: [usize; 2] = [80, 1000];

/// Draws the signalling of a call as a ladder: both legs, what was decided and by which rule.
#[derive(clap::Args, Clone, Debug)]
pub struct Ladder {
    /// By the number that log lines, `show calls` and `show records` give.
    #[arg(required_unless_present = "follow", value_parser = crate::app::show::call_number)]
    pub call: Option<u64>,
    /// Only what was kept with the call's record. Without this it is asked for where the call is no longer held in memory.
    #[arg(long, conflicts_with = "follow")]
    pub record: bool,
    /// Live, in the whole terminal: calls as they come, Enter for a ladder, ? for the keys.
    #[arg(long)]
    pub follow: bool,
    /// Write a capture file that Wireshark opens: every message as a packet, deciphered, with decisions as comments. Keys and credentials are blotted out, but for --keys.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["follow", "svg"])]
    pub pcapng: Option<PathBuf>,
    /// With the keys in it: only of a call that was traced (portcullis trace); needs the role operate, and is in the audit.
    #[arg(long, requires = "pcapng", conflicts_with = "record")]
    pub keys: bool,
    /// Write a picture (SVG).
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
    pub svg: Option<PathBuf>,
    #[command(flatten)]
    pub socket: Socket,
}

pub fn ladder(ladder: &Ladder, out: &mut dyn Write) -> io::Result<u8> {
    if ladder.follow {
        return follow::follow(&ladder.socket, ladder.call);
    }
    let number = ladder.call.unwrap_or_default();
    let path = if ladder.record { format!("/v1/records/{number}/ladder") } else { format!("/v1/calls/{number}/ladder") };
    match (&ladder.pcapng, &ladder.svg) {
        (Some(file), _) if ladder.keys => save(ladder, "POST", &format!("/v1/calls/{number}/keys"), file, out),
        (Some(file), _) => save(ladder, "GET", &format!("{path}?format=pcapng"), file, out),
        (None, Some(file)) => save(ladder, "GET", &format!("{path}?format=svg"), file, out),
        (None, None) => {
            let columns = if ladder.socket.json || !io::stdout().is_terminal() { None } else { columns(terminal::size()) };
            if let Some(done) = columns.map(|columns| fit(&ladder.socket, &path, columns, out)).transpose()?.flatten() {
                return Ok(done);
            }
            let form = if ladder.socket.json { "json" } else { "text" };
            ask(&ladder.socket, "GET", &format!("{path}?format={form}"), None, out, |answer| answer.as_str().unwrap_or_default().to_owned())
        }
    }
}

/// Of a terminal, for a canvas. A serial console that does not know its size says nought.
fn columns(size: io::Result<(u16, u16)>) -> Option<usize> {
    size.ok().map(|(columns, _)| usize::from(columns).clamp(COLUMNS[0], COLUMNS[1]))
}

/// Draws it in so many columns. `None`: it was kept as text, or is refused.
fn fit(socket: &Socket, path: &str, columns: usize, out: &mut dyn Write) -> io::Result<Option<u8>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    match runtime.block_on(api::ask(&place, "GET", &format!("{path}?format=json"), None)) {
        Ok(Answer { status: 200, body }) => {
            let Ok(drawing) = serde_json::from_value::<Drawing>(body) else { return Ok(None) };
            out.write_all(drawing.page_of(columns).as_bytes())?;
            Ok(Some(0))
        }
        Ok(_) => Ok(None),
        Err(error) => {
            complain(&unanswered(&place, &error));
            Ok(Some(1))
        }
    }
}

fn save(ladder: &Ladder, method: &str, path: &str, file: &Path, out: &mut dyn Write) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = ladder.socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    match runtime.block_on(api::fetch(&place, method, path)) {
        Ok((200, bytes)) => {
            keep(file, &bytes)?;
            writeln!(out, "{} bytes written to {}", bytes.len(), file.display())?;
            Ok(0)
        }
        Ok((_, refusal)) => {
            let refusal: serde_json::Value = serde_json::from_slice(&refusal).unwrap_or_default();
            writeln!(out, "refused: {}", refusal["detail"].as_str().unwrap_or("the border does not say why"))?;
            Ok(1)
        }
        Err(error) => {
            complain(&unanswered(&place, &error));
            Ok(1)
        }
    }
}

/// For its owner alone: it tells who called whom.
pub(super) fn keep(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}; name another file", file.display()));
    let mut written = File::options().create(true).write(true).truncate(true).mode(0o600).open(file).map_err(named)?;
    written.write_all(bytes).map_err(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canvas_is_as_wide_as_the_terminal_but_not_below_80() {
        let of = |width| columns(Ok((width, 40)));
        assert_eq!([of(0), of(40), of(80), of(137), of(u16::MAX)], [Some(80), Some(80), Some(80), Some(137), Some(1000)]);
        assert_eq!(columns(Err(io::ErrorKind::Unsupported.into())), None, "drawn as into a pipe");
    }
}
