//! `portcullis drain --wait`: stays until the last call has ended, and tells how far that is: on a terminal in one line with a bar, elsewhere by a line
//! whenever there is news.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::adapters::api::{self, Answer, Place};

/// How often the border is asked.
const LOOK: Duration = Duration::from_secs(1);

/// The drain that was asked for takes effect a moment after the border has said yes, and until then it looks as if it had been taken back.
const TAKING_EFFECT: Duration = Duration::from_secs(5);
const AGAIN: Duration = Duration::from_millis(50);

/// Where nothing has changed, a line of a file says so as often as this.
const SIGN: Duration = Duration::from_secs(30);

/// Of the bar, characters.
const BAR: u64 = 24;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    pub calls: u64,
    /// How long the oldest of them has been answered, seconds; `None`: it has not been.
    pub oldest: Option<u64>,
    /// Until calls are ended by BYE, seconds; `None`: they end by themselves.
    pub release_in: Option<u64>,
}

/// Exit status: 0 no call is left, 1 the border takes calls again, or answers no more.
pub fn wait(place: &Place, out: &mut dyn Write) -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let is_terminal = io::stdout().is_terminal();
    let (began, mut at_first, mut told) = (Instant::now(), 0, None::<(Seen, Instant)>);
    loop {
        let Some(seen) = runtime.block_on(look(place))? else {
            if told.is_none() && began.elapsed() < TAKING_EFFECT {
                std::thread::sleep(AGAIN);
                continue;
            }
            writeln!(out, "new calls are taken again: the drain has been taken back")?;
            return Ok(1);
        };
        at_first = seen.calls.max(at_first);
        if seen.calls == 0 {
            let took = spell(began.elapsed().as_secs());
            let end = if is_terminal { "\x1b[2K\r" } else { "" };
            writeln!(out, "{end}no call is left, after {took}")?;
            return Ok(0);
        }
        let is_news = told.is_none_or(|(before, at)| before.calls != seen.calls || at.elapsed() >= SIGN);
        if is_terminal {
            let told = format!("{} {}", bar(at_first, seen.calls), line(at_first, seen, began.elapsed()));
            let width = ratatui::crossterm::terminal::size().map_or(80, |(columns, _)| usize::from(columns));
            write!(out, "\x1b[2K\r{}", cut(&told, width))?;
        } else if is_news {
            writeln!(out, "{}", line(at_first, seen, began.elapsed()))?;
        }
        if is_news {
            told = Some((seen, Instant::now()));
        }
        out.flush()?;
        std::thread::sleep(LOOK);
    }
}

/// `None`: the border takes calls.
async fn look(place: &Place) -> io::Result<Option<Seen>> {
    let asked = |path: &'static str| async move {
        let Answer { status, body } = api::ask(place, "GET", path, None).await?;
        if (200..300).contains(&status) {
            Ok(body)
        } else {
            Err(io::Error::other(format!("refused: {}", body["detail"].as_str().unwrap_or("it is not said why"))))
        }
    };
    let status: Value = asked("/v1/status").await?;
    if status["drain"].is_null() {
        return Ok(None);
    }
    let calls: Value = asked("/v1/calls?limit=1").await?;
    let first = &calls["calls"][0];
    // One of the process before is none that this drain waits for.
    let oldest = first["answered_seconds"].as_u64().filter(|_| first["process"].is_null());
    Ok(Some(Seen { calls: status["drain"]["calls"].as_u64().unwrap_or(0), oldest, release_in: status["drain"]["release_in_seconds"].as_u64() }))
}

/// One sentence for people.
fn line(at_first: u64, seen: Seen, elapsed: Duration) -> String {
    let mut text = format!("{} of {at_first} calls left", seen.calls);
    if let Some(oldest) = seen.oldest {
        text += &format!(", the longest for {}", spell(oldest));
    }
    let ended = at_first.saturating_sub(seen.calls);
    let at_this_rate = elapsed.as_secs().saturating_mul(seen.calls).checked_div(ended);
    match (at_this_rate, seen.release_in) {
        (Some(rate), Some(release)) if rate < release => text += &format!("; at this rate none in {}, at the latest in {}", spell(rate), spell(release)),
        (_, Some(release)) => text += &format!("; they are ended in {}", spell(release)),
        (Some(rate), None) => text += &format!("; at this rate none in {}", spell(rate)),
        (None, None) => {}
    }
    text
}

/// What would wrap is left out, since a line of two cannot be written over.
fn cut(text: &str, width: usize) -> &str {
    text.char_indices().nth(width.saturating_sub(1)).map_or(text, |(end, _)| &text[..end])
}

fn bar(at_first: u64, left: u64) -> String {
    let done = (at_first.saturating_sub(left) * BAR).checked_div(at_first).unwrap_or(BAR).min(BAR);
    format!("[{}{}]", "#".repeat(done as usize), ".".repeat((BAR - done) as usize))
}

fn spell(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds}s"),
        (0, minutes, seconds) => format!("{minutes}m {seconds:02}s"),
        (hours, minutes, _) => format!("{hours}h {minutes:02}m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_is_known_and_nothing_else() {
        let at = |calls, oldest, release_in| Seen { calls, oldest, release_in };
        let minute = Duration::from_secs(60);
        assert_eq!(line(40, at(40, None, None), minute), "40 of 40 calls left");
        assert_eq!(line(40, at(30, Some(250), None), minute), "30 of 40 calls left, the longest for 4m 10s; at this rate none in 3m 00s");
        assert_eq!(
            line(40, at(30, Some(7300), Some(600)), minute),
            "30 of 40 calls left, the longest for 2h 01m; at this rate none in 3m 00s, at the latest in 10m 00s"
        );
        assert_eq!(line(40, at(30, None, Some(59)), minute), "30 of 40 calls left; they are ended in 59s");
        assert_eq!(line(40, at(40, None, Some(59)), minute), "40 of 40 calls left; they are ended in 59s");
    }

    #[test]
    fn a_line_never_reaches_the_terminals_edge() {
        assert_eq!(cut("abcdef", 80), "abcdef");
        assert_eq!(cut("abcdef", 4), "abc");
        assert_eq!(cut("äöü", 3), "äö");
        assert_eq!(cut("abc", 0), "");
    }

    #[test]
    fn the_bar_is_empty_at_first_and_full_at_the_end() {
        assert_eq!(bar(40, 40), format!("[{}]", ".".repeat(24)));
        assert_eq!(bar(40, 20), format!("[{}{}]", "#".repeat(12), ".".repeat(12)));
        assert_eq!(bar(40, 0), format!("[{}]", "#".repeat(24)));
        assert_eq!(bar(0, 0).len(), 26);
    }
}
