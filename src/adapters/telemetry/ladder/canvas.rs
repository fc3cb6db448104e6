//! Draws arrows between lifelines, and text across them, in plain characters.

/// Lifelines at most; each is then 13 columns from the next on a page of 140.
pub(super) const COLUMNS: usize = 8;
/// Lifelines are no further apart than this.
const WIDEST: usize = 46;
/// Half a header stands left of the first and right of the last lifeline.
const MARGIN: usize = 11;

/// How wide, and how much of that is for the time left of the lifelines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Size {
    pub width: usize,
    pub gutter: usize,
}

pub(super) enum Line {
    Arrow {
        from: usize,
        to: usize,
        label: String,
        shaft: Shaft,
    },
    /// Text under an arrow.
    Beneath {
        from: usize,
        to: usize,
        text: String,
    },
    Note(String),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shaft {
    Message,
    Again,
    Media,
}

pub(super) struct Canvas {
    size: Size,
    columns: Vec<usize>,
    apart: usize,
    lines: Vec<String>,
}

impl Canvas {
    pub fn new(size: Size, columns: usize) -> Canvas {
        let gaps = columns.saturating_sub(1).max(1);
        let room = size.width.saturating_sub(size.gutter + 2 * MARGIN);
        let apart = (room / gaps).min(WIDEST);
        let columns: Vec<usize> = (0..columns).map(|index| size.gutter + MARGIN + index * apart).collect();
        Canvas { size, columns, apart, lines: Vec::new() }
    }

    /// A line above the lifelines, in as many as it takes.
    pub fn head(&mut self, line: &str) {
        for (index, piece) in wrapped(line, self.size.width).into_iter().enumerate() {
            self.push(format!("{}{piece}", if index == 0 { "" } else { "  " }).chars().collect());
        }
    }

    /// Labels too long for their place stand above, one each, in full; below them only their number.
    pub fn labels(&mut self, labels: &[String]) {
        // Half of a label stands on either side of its lifeline: halfway to the next one, or to the edge.
        let room = |index: usize| 2 * (self.apart / 2).saturating_sub(1).min(self.size.width.saturating_sub(self.columns[index]));
        let numbered: Vec<(Option<String>, String)> = labels
            .iter()
            .enumerate()
            .map(|(index, label)| {
                if label.chars().count() <= room(index) {
                    return (None, label.clone());
                }
                let number = format!("({})", index + 1);
                (Some(format!("{number} {label}")), number)
            })
            .collect();
        let mut row = self.blank();
        for (column, (_, label)) in self.columns.iter().zip(&numbered) {
            let start = column.saturating_sub(label.chars().count() / 2);
            write(&mut row, start, label);
        }
        for above in numbered.into_iter().filter_map(|(above, _)| above) {
            self.lines.push(above);
        }
        self.push(row);
    }

    /// `stamp` stands on the first of the lines.
    pub fn lines(&mut self, stamp: &str, lines: Vec<Line>) {
        let mut stamp = Some(stamp);
        for line in lines {
            match line {
                Line::Arrow { from, to, label, shaft } => {
                    let row = self.arrow(from, to, &label, shaft);
                    self.stamped(row, &mut stamp);
                }
                Line::Beneath { from, to, text } => {
                    let start = self.column(from.min(to)) + 3;
                    self.text(start, &text, &mut stamp);
                }
                Line::Note(text) => self.text(self.size.gutter, &text, &mut stamp),
            }
        }
    }

    fn arrow(&self, from: usize, to: usize, label: &str, shaft: Shaft) -> Vec<char> {
        let mut row = self.lifelines();
        let (left, right) = (self.column(from.min(to)), self.column(from.max(to)));
        if left + 4 > right || right > row.len() {
            write(&mut row, left + 2, label);
            return row;
        }
        for (distance, place) in row[left + 1..right].iter_mut().enumerate() {
            *place = match shaft {
                Shaft::Again if distance % 2 == 1 => ' ',
                Shaft::Message | Shaft::Again => '-',
                Shaft::Media => '=',
            };
        }
        if from < to {
            row[right - 1] = '>'
        } else {
            row[left + 1] = '<'
        }
        let label = if shaft == Shaft::Again { format!(" {label} (again) ") } else { format!(" {label} ") };
        let room = right - left - 3;
        let label: String = label.chars().take(room).collect();
        let start = left + 2 + (room - label.chars().count()) / 2;
        write(&mut row, start, &label);
        row
    }

    /// Text over the lifelines, in as many rows as it takes; moved left where it would not fit.
    fn text(&mut self, start: usize, text: &str, stamp: &mut Option<&str>) {
        let (width, gutter) = (self.size.width, self.size.gutter);
        let length = text.chars().count();
        let start = if start + length + 1 > width { width.saturating_sub(1 + length).max(gutter) } else { start };
        for (index, piece) in wrapped(text, width.saturating_sub(1 + start)).into_iter().enumerate() {
            let indent = if index == 0 { 0 } else { 2 };
            let mut row = self.lifelines();
            write(&mut row, start.saturating_sub(1), " ");
            write(&mut row, start + indent, &format!("{piece} "));
            self.stamped(row, stamp);
        }
    }

    fn stamped(&mut self, mut row: Vec<char>, stamp: &mut Option<&str>) {
        if let Some(stamp) = stamp.take() {
            write(&mut row, 0, stamp);
        }
        self.push(row);
    }

    fn column(&self, index: usize) -> usize {
        self.columns.get(index).or(self.columns.last()).copied().unwrap_or(self.size.gutter)
    }

    fn lifelines(&self) -> Vec<char> {
        let mut row = self.blank();
        for column in &self.columns {
            if let Some(place) = row.get_mut(*column) {
                *place = '|';
            }
        }
        row
    }

    fn blank(&self) -> Vec<char> {
        vec![' '; self.size.width]
    }

    fn push(&mut self, row: Vec<char>) {
        let line: String = row.into_iter().collect();
        self.lines.push(line.trim_end().to_owned());
    }

    /// What was drawn since this was last asked.
    pub fn take(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

/// What does not fit is cut off.
fn write(row: &mut [char], start: usize, text: &str) {
    for (place, c) in row.iter_mut().skip(start).zip(text.chars()) {
        *place = c;
    }
}

/// Breaks at spaces where there are any.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let width = width.saturating_sub(2).max(16);
    let mut pieces = Vec::new();
    let mut piece = String::new();
    for word in text.split(' ') {
        let mut word = word;
        let length = |text: &str| text.chars().count();
        if !piece.is_empty() && length(&piece) + 1 + length(word) > width {
            pieces.push(std::mem::take(&mut piece));
        }
        while length(word) > width {
            let at = word.char_indices().nth(width).map_or(word.len(), |(at, _)| at);
            pieces.push(word[..at].to_owned());
            word = &word[at..];
        }
        if !piece.is_empty() {
            piece.push(' ');
        }
        piece.push_str(word);
    }
    pieces.push(piece);
    pieces
}
