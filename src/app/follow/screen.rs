//! What the screen shows and what each key makes of it, without a terminal, a socket or a clock: a key and an answer of the border go in, a state comes out.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde::Deserialize;
use serde_json::Value;

use crate::adapters::telemetry::ladder::{Drawing, Mark};
use crate::app::show::encoded;

/// Calls listed at most: more nobody walks through.
const LISTED: usize = 500;

/// One call of the list, as `/v1/ladders` gives it.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
pub struct Listed {
    pub call: u64,
    pub state: String,
    pub began: String,
    pub from: String,
    pub to: String,
    pub a: Option<String>,
    pub b: Option<String>,
    pub reason: Option<String>,
    pub entries: usize,
}

/// What the border is to be asked for what is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    Calls { peer: String, number: String, exchanges: bool },
    Ladder(u64),
}

/// What it said.
#[derive(Clone, PartialEq, Debug)]
pub enum Answer {
    Calls { held: usize, listed: Vec<Listed> },
    Ladder { call: u64, drawing: Option<Box<Drawing>> },
    Failed(String),
}

/// What a key asks of whoever has the terminal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    Nothing,
    Leave,
    /// File and content.
    Save(String, Vec<u8>),
}

pub struct Screen {
    pub view: View,
    pub listed: Vec<Listed>,
    /// Calls the border holds in all.
    pub held: usize,
    /// Of the list: the call, so that it stays chosen while others come.
    pub chosen: Option<u64>,
    pub peer: String,
    pub number: String,
    pub exchanges: bool,
    /// Times of day instead of the time since the row before.
    pub clock: bool,
    pub descriptions: bool,
    pub colours: bool,
    /// The keys are shown over it all.
    pub keys: bool,
    pub editing: Option<Editing>,
    /// The last line.
    pub said: Option<String>,
    /// Why the last question had no answer.
    pub trouble: Option<String>,
    /// Lines that fit, known after drawing.
    pub page: usize,
}

pub enum View {
    Calls,
    Ladder(Open),
}

/// A ladder that is open.
pub struct Open {
    pub call: u64,
    pub drawing: Option<Drawing>,
    /// The border has it no more: what is shown is what was.
    pub gone: bool,
    /// Of the drawing's rows.
    pub row: usize,
    /// The whole message instead of the ladder, and its first line shown.
    pub message: Option<usize>,
    pub find: String,
}

/// A line being typed.
pub struct Editing {
    pub what: Asked,
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    Peer,
    Number,
    Find,
    File,
}

impl Question {
    pub fn path(&self) -> String {
        match self {
            Question::Calls { peer, number, exchanges } => {
                let mut path = format!("/v1/ladders?limit={LISTED}&exchanges={exchanges}");
                for (key, value) in [("peer", peer), ("number", number)] {
                    if !value.is_empty() {
                        path += &format!("&{key}={}", encoded(value));
                    }
                }
                path
            }
            Question::Ladder(call) => format!("/v1/calls/{call}/ladder?format=json"),
        }
    }

    pub fn answered(&self, status: u16, body: Value) -> Answer {
        let said = |body: &Value| body["detail"].as_str().unwrap_or("the border's answer cannot be read").to_owned();
        match (self, status) {
            (Question::Calls { .. }, 200) => match serde_json::from_value(body["ladders"].clone()) {
                Ok(listed) => Answer::Calls { held: body["calls"].as_u64().unwrap_or(0) as usize, listed },
                Err(_) => Answer::Failed(said(&body)),
            },
            (Question::Ladder(call), 200) => match serde_json::from_value(body) {
                Ok(drawing) => Answer::Ladder { call: *call, drawing: Some(Box::new(drawing)) },
                Err(error) => Answer::Failed(format!("the border's ladder cannot be read: {error}")),
            },
            (Question::Ladder(call), 404) => Answer::Ladder { call: *call, drawing: None },
            (_, _) => Answer::Failed(said(&body)),
        }
    }
}

impl Screen {
    /// `call`: whose ladder is open from the start.
    pub fn new(call: Option<u64>, colours: bool) -> Screen {
        let view = call.map_or(View::Calls, |call| View::Ladder(Open::new(call)));
        Screen {
            view,
            listed: Vec::new(),
            held: 0,
            chosen: call,
            peer: String::new(),
            number: String::new(),
            exchanges: false,
            clock: false,
            descriptions: true,
            colours,
            keys: false,
            editing: None,
            said: None,
            trouble: None,
            page: 20,
        }
    }

    pub fn question(&self) -> Question {
        match &self.view {
            View::Ladder(open) => Question::Ladder(open.call),
            View::Calls => Question::Calls { peer: self.peer.clone(), number: self.number.clone(), exchanges: self.exchanges },
        }
    }

    pub fn take(&mut self, answer: Answer) {
        self.trouble = None;
        match answer {
            Answer::Calls { held, listed } => {
                (self.held, self.listed) = (held, listed);
                if !self.listed.iter().any(|listed| Some(listed.call) == self.chosen) {
                    self.chosen = self.listed.first().map(|listed| listed.call);
                }
            }
            Answer::Ladder { call, drawing } => {
                if let View::Ladder(open) = &mut self.view
                    && open.call == call
                {
                    open.take(drawing.map(|drawing| *drawing));
                }
            }
            Answer::Failed(why) => self.trouble = Some(why),
        }
    }

    pub fn say(&mut self, said: String) {
        self.said = Some(said);
    }

    /// Where in the list the chosen call stands.
    pub fn at(&self) -> usize {
        self.listed.iter().position(|listed| Some(listed.call) == self.chosen).unwrap_or(0)
    }

    pub fn key(&mut self, key: KeyEvent) -> Effect {
        self.said = None;
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Effect::Leave;
        }
        if self.editing.is_some() {
            return self.typed(key);
        }
        if std::mem::take(&mut self.keys) {
            return Effect::Nothing;
        }
        match (key.code, &self.view) {
            (KeyCode::Char('t'), _) => self.clock = !self.clock,
            (KeyCode::Char('d'), _) => self.descriptions = !self.descriptions,
            (KeyCode::Char('?') | KeyCode::F(1), _) => self.keys = true,
            (_, View::Calls) => return self.key_in_list(key.code),
            (_, View::Ladder(_)) => return self.key_in_ladder(key.code),
        }
        Effect::Nothing
    }

    fn key_in_list(&mut self, code: KeyCode) -> Effect {
        match code {
            KeyCode::Char('q') | KeyCode::Esc => return Effect::Leave,
            KeyCode::Enter => {
                if let Some(call) = self.chosen {
                    self.view = View::Ladder(Open::new(call));
                }
            }
            KeyCode::F(3) | KeyCode::Char('/') => self.edit(Asked::Number, self.number.clone()),
            KeyCode::F(7) | KeyCode::Char('p') => self.edit(Asked::Peer, self.peer.clone()),
            KeyCode::Char('x') => self.exchanges = !self.exchanges,
            code => {
                let at = moved(self.at(), self.listed.len(), self.page, code);
                self.chosen = self.listed.get(at).map(|listed| listed.call);
            }
        }
        Effect::Nothing
    }

    fn key_in_ladder(&mut self, code: KeyCode) -> Effect {
        let page = self.page;
        let View::Ladder(open) = &mut self.view else { return Effect::Nothing };
        match (code, open.message) {
            (KeyCode::Char('q') | KeyCode::Esc | KeyCode::Left, Some(_)) => open.message = None,
            (KeyCode::Char('q') | KeyCode::Esc | KeyCode::Left, None) => self.view = View::Calls,
            (KeyCode::Enter | KeyCode::Right | KeyCode::F(6) | KeyCode::Char('r'), None) => open.message = open.drawing.as_ref().map(|_| 0),
            (KeyCode::F(6) | KeyCode::Char('r') | KeyCode::Enter, Some(_)) => open.message = None,
            (KeyCode::F(3) | KeyCode::Char('/'), _) => {
                let find = open.find.clone();
                self.edit(Asked::Find, find);
            }
            (KeyCode::Char('n'), _) => {
                if !open.find_next() {
                    self.say(format!("{} is nowhere in it", self.found_word()));
                }
            }
            (KeyCode::F(2) | KeyCode::Char('s'), _) => {
                let file = format!("call-{}.pcapng", open.call);
                self.edit(Asked::File, file);
            }
            (code, Some(line)) => open.message = Some(moved(line, open.message_lines(), page, code)),
            (code, None) => open.row = moved(open.row, open.drawing.as_ref().map_or(0, |drawing| drawing.rows.len()), page, code),
        }
        Effect::Nothing
    }

    fn found_word(&self) -> &str {
        if let View::Ladder(open) = &self.view { &open.find } else { "" }
    }

    fn edit(&mut self, what: Asked, text: String) {
        self.editing = Some(Editing { what, text });
    }

    fn typed(&mut self, key: KeyEvent) -> Effect {
        let Some(mut editing) = self.editing.take() else { return Effect::Nothing };
        match key.code {
            KeyCode::Char(c) if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) => match c {
                'u' => editing.text.clear(),
                'w' => {
                    let kept = editing.text.trim_end().rfind([' ', '.', '-', '/']).unwrap_or(0);
                    editing.text.truncate(kept);
                }
                _ => {}
            },
            KeyCode::Esc => return Effect::Nothing,
            KeyCode::Enter => return self.entered(editing.what, editing.text),
            KeyCode::Backspace => drop(editing.text.pop()),
            KeyCode::Char(c) if editing.text.chars().count() < 200 => editing.text.push(c),
            _ => {}
        }
        self.editing = Some(editing);
        Effect::Nothing
    }

    fn entered(&mut self, what: Asked, text: String) -> Effect {
        match (what, &mut self.view) {
            (Asked::Peer, _) => self.peer = text,
            (Asked::Number, _) => self.number = text,
            (Asked::Find, View::Ladder(open)) => {
                open.find = text;
                if !open.find_next() {
                    self.say(format!("{} is nowhere in it", self.found_word()));
                }
            }
            (Asked::File, View::Ladder(open)) if !text.is_empty() => match &open.drawing {
                Some(drawing) => match form(&text, drawing) {
                    Some(content) => return Effect::Save(text, content),
                    None => self.say(format!("{text} was not written: its name ends in none of .pcapng, .svg, .txt, .json")),
                },
                None => self.say("there is nothing to be saved yet".into()),
            },
            (Asked::Find | Asked::File, _) => {}
        }
        Effect::Nothing
    }
}

/// By the end of the file's name; `None`: that is none of those there are.
fn form(file: &str, drawing: &Drawing) -> Option<Vec<u8>> {
    match file.rsplit_once('.')?.1 {
        "pcapng" => Some(drawing.capture()),
        "svg" => Some(drawing.picture(true).into_bytes()),
        "txt" => Some(drawing.page().into_bytes()),
        "json" => Some(serde_json::to_vec_pretty(drawing).unwrap_or_default()),
        _ => None,
    }
}

impl Open {
    fn new(call: u64) -> Open {
        Open { call, drawing: None, gone: false, row: 0, message: None, find: String::new() }
    }

    fn take(&mut self, drawing: Option<Drawing>) {
        self.gone = drawing.is_none();
        let Some(drawing) = drawing else { return };
        // At the end of a ladder that goes on, what comes is followed.
        let at_end = self.drawing.as_ref().is_some_and(|before| !before.rows.is_empty() && self.row + 1 >= before.rows.len());
        let last = drawing.rows.len().saturating_sub(1);
        self.row = if at_end && self.message.is_none() { last } else { self.row.min(last) };
        self.drawing = Some(drawing);
    }

    /// The message of the row that is chosen.
    pub fn passed(&self) -> Option<&crate::adapters::telemetry::ladder::Passed> {
        let drawing = self.drawing.as_ref()?;
        let Mark::Arrow { message, .. } = &drawing.rows.get(self.row)?.mark else { return None };
        drawing.messages.get(*message)
    }

    fn message_lines(&self) -> usize {
        self.passed().map_or(0, |passed| passed.text.lines().count())
    }

    /// The next row, from the one after the chosen round to itself, that says what is looked for.
    fn find_next(&mut self) -> bool {
        let Some(drawing) = self.drawing.as_ref().filter(|_| !self.find.is_empty()) else { return true };
        let wanted = self.find.to_lowercase();
        let says = |row: &usize| {
            let mark = &drawing.rows[*row].mark;
            let words = match mark {
                Mark::Arrow { message, label, .. } => drawing.messages.get(*message).map(|passed| format!("{label}\n{}", passed.text)),
                mark => mark.words(),
            };
            words.is_some_and(|words| words.to_lowercase().contains(&wanted))
        };
        let rows = drawing.rows.len();
        let found = (1..=rows).map(|step| (self.row + step) % rows).find(says);
        if let Some(row) = found {
            (self.row, self.message) = (row, None);
        }
        found.is_some()
    }
}

/// Where a key leads from here, among so many.
fn moved(at: usize, many: usize, page: usize, code: KeyCode) -> usize {
    let to = match code {
        KeyCode::Up | KeyCode::Char('k') => at.saturating_sub(1),
        KeyCode::Down | KeyCode::Char('j') => at + 1,
        KeyCode::PageUp => at.saturating_sub(page),
        KeyCode::PageDown | KeyCode::Char(' ') => at + page,
        KeyCode::Home | KeyCode::Char('g') => 0,
        KeyCode::End | KeyCode::Char('G') => many,
        _ => at,
    };
    to.min(many.saturating_sub(1))
}
