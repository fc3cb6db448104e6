//! `portcullis ladder --follow`: calls as they come, in the whole terminal. What a key does is in `screen`, how it looks in `view`; here is the terminal itself, which
//! is given back as it was whatever happens, the thread that asks the border, so that no key waits for an answer, and the one that waits for keys: where the terminal is gone
//! it never comes back from that, and the program ends without it.

mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use tokio::signal::unix::{SignalKind, signal};

use self::screen::{Answer, Effect, Question, Screen};
use super::ask::{Socket, complain, unanswered};
use super::ladder::keep;
use crate::adapters::api::{self, Place};

/// How often what is shown is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a key is waited for before answers are looked for.
const KEY: Duration = Duration::from_millis(100);

/// Exit status: 0 left as asked, 1 no border answers.
pub fn follow(socket: &Socket, call: Option<u64>) -> io::Result<u8> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "--follow needs a terminal; without one: portcullis ladder CALL, or GET /v1/ladders"));
    }
    // Before the terminal is taken: a border that does not answer is told in a line.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let place = socket.place().map_err(|trouble| io::Error::new(io::ErrorKind::InvalidInput, trouble))?;
    match runtime.block_on(api::ask(&place, "GET", "/v1/ladders?limit=1", None)) {
        Ok(answer) if answer.status == 200 => {}
        Ok(answer) => {
            complain(&format!("refused: {}", answer.body["detail"].as_str().unwrap_or("the border does not say why")));
            return Ok(1);
        }
        Err(error) => {
            complain(&unanswered(&place, &error));
            return Ok(1);
        }
    }
    let stop = Arc::<AtomicBool>::default();
    let (questions, asked) = tokio::sync::mpsc::unbounded_channel();
    let (answered, answers) = mpsc::channel();
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new().name("asking".into()).spawn(move || runtime.block_on(answer(place, asked, answered, stopped)))?;
    let mut terminal = ratatui::try_init()?;
    let screen = Screen::new(call, std::env::var_os("NO_COLOR").is_none());
    let (pressed, keys) = mpsc::channel();
    std::thread::Builder::new().name("keys".into()).spawn(move || {
        while let Ok(event) = event::read() {
            if pressed.send(event).is_err() {
                break;
            }
        }
    })?;
    let done = run(&mut terminal, screen, &Wires { questions, answers, keys, stop: &stop });
    if is_gone() {
        return Ok(0);
    }
    ratatui::restore();
    done.map(|()| 0)
}

/// The terminal was closed: nobody looks any more, and a key never comes.
fn is_gone() -> bool {
    !io::stdin().is_terminal()
}

/// What the screen is asked and told by.
struct Wires<'a> {
    questions: Questions,
    answers: mpsc::Receiver<Answer>,
    keys: mpsc::Receiver<Event>,
    stop: &'a AtomicBool,
}

type Questions = tokio::sync::mpsc::UnboundedSender<Question>;

fn run(terminal: &mut DefaultTerminal, mut screen: Screen, Wires { questions, answers, keys, stop }: &Wires<'_>) -> io::Result<()> {
    let mut asked: Option<(Question, Instant)> = None;
    // One question at a time: a slow border is not asked faster than it answers.
    let mut waiting = false;
    while !stop.load(Ordering::Relaxed) && !is_gone() {
        for answer in answers.try_iter() {
            waiting = false;
            screen.take(answer);
        }
        let question = screen.question();
        let due = asked.as_ref().is_none_or(|(last, at)| *last != question || at.elapsed() >= AGAIN);
        if due && !waiting && questions.send(question.clone()).is_ok() {
            (asked, waiting) = (Some((question, Instant::now())), true);
        }
        terminal.draw(|frame| view::draw(&mut screen, frame))?;
        let key = match keys.recv_timeout(KEY) {
            Ok(Event::Key(key)) => key,
            Ok(_) | Err(mpsc::RecvTimeoutError::Timeout) => continue,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok(()),
        };
        match if key.kind == KeyEventKind::Release { Effect::Nothing } else { screen.key(key) } {
            Effect::Nothing => {}
            Effect::Leave => return Ok(()),
            Effect::Save(file, content) => {
                let said = keep(&PathBuf::from(&file), &content).map_or_else(|error| error.to_string(), |()| format!("saved to {file}"));
                screen.say(said);
            }
        }
    }
    Ok(())
}

/// Answers questions until nobody asks; a signal that ends the program ends the screen instead, which then gives the terminal back.
async fn answer(place: Place, mut asked: tokio::sync::mpsc::UnboundedReceiver<Question>, answers: mpsc::Sender<Answer>, stop: Arc<AtomicBool>) {
    for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()] {
        let stop = Arc::clone(&stop);
        if let Ok(mut signal) = signal(kind) {
            tokio::spawn(async move {
                signal.recv().await;
                stop.store(true, Ordering::Relaxed);
            });
        }
    }
    while let Some(question) = asked.recv().await {
        let answer = match api::ask(&place, "GET", &question.path(), None).await {
            Ok(answer) => question.answered(answer.status, answer.body),
            Err(error) => Answer::Failed(format!("the border does not answer: {error}")),
        };
        if answers.send(answer).is_err() {
            break;
        }
    }
}
