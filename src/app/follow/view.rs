//! How the screen looks: the list, a ladder with the chosen message beside it where there is room, a message alone, and the keys.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Block, Borders, Paragraph, Row, Table, TableState};

use super::screen::{Asked, Listed, Open, Screen, View};
use crate::adapters::telemetry::ladder::{Class, Look, Mark, Passed, Stamp, clock};

/// From this width on, the message stands beside the ladder.
const BESIDE: u16 = 160;

const KEYS: &str = "\
\x20Up Down PgUp PgDn Home End   move; also k j g G and Space
 Enter                        the ladder of a call; the message of an arrow
 / or F3                      list: only calls with this number
                              ladder: find a word, then n for the next
 p or F7                      only calls of this peer
 x                            exchanges outside calls too (OPTIONS)
 r or F6                      the whole message, keys and credentials left out
 s or F2                      save: NAME.pcapng, NAME.svg, NAME.txt, NAME.json
 d                            session descriptions in short, or not
 t                            times of day, or milliseconds since the row before
 q or Esc                     back; from the list, leave";

pub fn draw(screen: &mut Screen, frame: &mut Frame<'_>) {
    let [top, body, bottom] = Layout::vertical([Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(Paragraph::new(title(screen)).style(Style::new().add_modifier(Modifier::REVERSED)), top);
    match &screen.view {
        _ if screen.keys => frame.render_widget(Paragraph::new(KEYS).wrap(ratatui::widgets::Wrap { trim: false }), body),
        View::Calls => calls(screen, frame, body),
        View::Ladder(_) => ladder(screen, frame, body),
    }
    frame.render_widget(Paragraph::new(foot(screen)), bottom);
}

fn title(screen: &Screen) -> String {
    match &screen.view {
        View::Calls => {
            let only = [("peer", &screen.peer), ("number", &screen.number)].into_iter().filter(|(_, value)| !value.is_empty());
            let only: String = only.map(|(what, value)| format!(", only {what} {}", plain(value))).collect();
            format!(" Portcullis: {} calls held, {} listed{only}", screen.held, screen.listed.len())
        }
        View::Ladder(open) => format!(" Portcullis: call {}{}", open.call, if open.gone { ", held no more by the border" } else { "" }),
    }
}

fn foot(screen: &Screen) -> String {
    if let Some(editing) = &screen.editing {
        let what = match editing.what {
            Asked::Peer => "only calls of peer (empty: all)",
            Asked::Number => "only calls with number (empty: all)",
            Asked::Find => "find",
            Asked::File => "save to (.pcapng .svg .txt .json)",
        };
        return format!(" {what}: {}_", editing.text);
    }
    if let Some(said) = screen.said.as_ref().or(screen.trouble.as_ref()) {
        return format!(" {}", plain(said));
    }
    match &screen.view {
        _ if screen.keys => " any key goes back".into(),
        View::Calls => " Enter ladder  / number  F7 peer  x exchanges  ? keys  q leave".into(),
        View::Ladder(open) if open.message.is_some() => " Up Down scroll  Esc back  F2 save".into(),
        View::Ladder(_) => " Enter message  / find  n next  d descriptions  t times  F2 save  Esc back".into(),
    }
}

fn calls(screen: &mut Screen, frame: &mut Frame<'_>, area: Rect) {
    screen.page = usize::from(area.height.saturating_sub(1)).max(1);
    if screen.listed.is_empty() {
        let words = if screen.peer.is_empty() && screen.number.is_empty() { " no call is held; they are listed as they come" } else { " no such call is held" };
        return frame.render_widget(Paragraph::new(words), area);
    }
    let widths = [
        Constraint::Length(8),
        Constraint::Length(9),
        Constraint::Length(13),
        Constraint::Fill(3),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Fill(2),
        Constraint::Fill(3),
        Constraint::Length(5),
    ];
    let rows = screen.listed.iter().map(|listed| Row::new(cells(listed)).style(colour(screen, state_colour(listed))));
    let head = Row::new(["CALL", "STATE", "BEGAN", "FROM", "TO", "A", "B", "REASON", "ROWS"]).style(Style::new().add_modifier(Modifier::BOLD));
    let table = Table::new(rows, widths).header(head).row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut state = TableState::new().with_selected(Some(screen.at()));
    frame.render_stateful_widget(table, area, &mut state);
}

fn cells(listed: &Listed) -> [String; 9] {
    let dash = |value: &Option<String>| value.as_deref().map_or_else(|| String::from("-"), plain);
    let time = listed.began.split_once('T').map_or(listed.began.as_str(), |(_, time)| time).trim_end_matches('Z');
    [
        listed.call.to_string(),
        plain(&listed.state),
        plain(time),
        plain(&listed.from),
        plain(&listed.to),
        dash(&listed.a),
        dash(&listed.b),
        dash(&listed.reason),
        listed.entries.to_string(),
    ]
}

fn state_colour(listed: &Listed) -> Color {
    match (listed.state.as_str(), listed.reason.as_deref()) {
        ("setup", _) => Color::Yellow,
        ("answered", _) => Color::Green,
        ("ended", Some("call.normal")) => Color::Reset,
        ("ended", _) => Color::Red,
        _ => Color::DarkGray,
    }
}

fn ladder(screen: &mut Screen, frame: &mut Frame<'_>, area: Rect) {
    let View::Ladder(open) = &screen.view else { return };
    let Some(drawing) = &open.drawing else {
        let words = if open.gone { " the signalling of this call is not held" } else { " asking the border" };
        return frame.render_widget(Paragraph::new(words), area);
    };
    if let Some(first) = open.message {
        let whole = match open.passed() {
            Some(passed) => Paragraph::new(message(passed, first)),
            None => Paragraph::new(said(open)).wrap(ratatui::widgets::Wrap { trim: true }),
        };
        screen.page = usize::from(area.height).max(1);
        return frame.render_widget(whole, area);
    }
    let [area, beside] = match area.width >= BESIDE {
        true => Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(area),
        false => [area, Rect::default()],
    };
    let stamp = if screen.clock { Stamp::Clock } else { Stamp::After };
    let look = Look { width: usize::from(area.width), stamp, descriptions: screen.descriptions };
    let head: Vec<Line<'_>> = drawing.head(&look).into_iter().map(Line::from).collect();
    let [above, below] = Layout::vertical([Constraint::Length(head.len().min(usize::from(area.height / 2)) as u16), Constraint::Min(1)]).areas(area);
    frame.render_widget(Paragraph::new(head).style(Style::new().add_modifier(Modifier::BOLD)), above);
    let lines = drawing.lines(&look);
    let height = usize::from(below.height).max(1);
    let chosen = lines.iter().position(|line| line.row >= open.row).unwrap_or(0);
    // The chosen row is kept in the middle, where the ladder is longer than the screen.
    let first = chosen.saturating_sub(height / 2).min(lines.len().saturating_sub(height));
    let shown = lines.into_iter().skip(first).take(height).map(|line| {
        let style = drawing.rows.get(line.row).map_or(Style::new(), |row| colour(screen, mark_colour(&row.mark)));
        let style = if line.row == open.row { style.add_modifier(Modifier::REVERSED) } else { style };
        Line::styled(line.text, style)
    });
    frame.render_widget(Paragraph::new(Text::from_iter(shown)), below);
    if beside.width > 0 {
        let block = Block::new().borders(Borders::LEFT);
        match open.passed() {
            Some(passed) => frame.render_widget(Paragraph::new(message(passed, 0)).block(block), beside),
            None => frame.render_widget(Paragraph::new(said(open)).block(block).wrap(ratatui::widgets::Wrap { trim: true }), beside),
        }
    }
    screen.page = height;
}

/// A row that is no message, in full.
fn said(open: &Open) -> String {
    let row = open.drawing.as_ref().and_then(|drawing| drawing.rows.get(open.row));
    row.and_then(|row| row.mark.words()).unwrap_or_default()
}

fn message(passed: &Passed, first: usize) -> Text<'static> {
    let about = format!("{} {} {} -> {}", clock(passed.at), passed.transport, passed.from, passed.to);
    let lines = passed.text.lines().skip(first).map(|line| Line::from(plain(line)));
    std::iter::once(Line::styled(about, Style::new().add_modifier(Modifier::BOLD))).chain(lines).collect()
}

fn mark_colour(mark: &Mark) -> Color {
    match mark {
        Mark::Arrow { class, .. } => match class {
            Class::Request => Color::Cyan,
            Class::Provisional => Color::DarkGray,
            Class::Success => Color::Green,
            Class::Redirection => Color::Yellow,
            Class::Refusal | Class::Failure | Class::Unreadable => Color::Red,
        },
        Mark::Decision { refused: Some(_), .. } | Mark::Note { trouble: true, .. } => Color::Red,
        Mark::Decision { .. } => Color::DarkGray,
        Mark::Note { .. } => Color::Reset,
        Mark::Media { .. } => Color::Green,
    }
}

fn colour(screen: &Screen, colour: Color) -> Style {
    if screen.colours { Style::new().fg(colour) } else { Style::new() }
}

/// What came from the network moves no cursor.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '?'
            } else {
                c
            }
        })
        .collect()
}
