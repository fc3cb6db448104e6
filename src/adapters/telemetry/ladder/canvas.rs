//! Draws arrows between lifelines, and text across them, in plain characters.

/// Widest line.
pub(super) const WIDTH: usize = 140;
/// Time and delta stand left of the lifelines.
const GUTTER: usize = 24;
/// Lifelines at most; each is then 16 columns from the next.
pub(super) const COLUMNS: usize = 8;
/// Lifelines are no further apart than this.
const WIDEST: usize = 46;
/// Half a header stands left of the first and right of the last lifeline.
const MARGIN: usize = 11;

pub(super) enum Line {
    Arrow {
        from: usize,
        to: usize,
        label: String,
        again: bool,
    },
    /// Text under an arrow.
    Beneath {
        from: usize,
        to: usize,
        text: String,
    },
    Note(String),
}

pub(super) struct Canvas {
    columns: Vec<usize>,
    out: String,
    again: bool,
}

impl Canvas {
    /// `head`: stands above the lifelines' labels, a line each.
    pub fn new(head: &[String], labels: Vec<String>, border: usize) -> Canvas {
        let gaps = labels.len().saturating_sub(1).max(1);
        let apart = ((WIDTH - GUTTER - 2 * MARGIN) / gaps).min(WIDEST);
        let columns: Vec<usize> = (0..labels.len()).map(|index| GUTTER + MARGIN + index * apart).collect();
        let mut canvas = Canvas { columns, out: String::new(), again: false };
        for (index, piece) in head.iter().flat_map(|line| wrapped(line, WIDTH).into_iter().enumerate()) {
            canvas.push(format!("{}{piece}", if index == 0 { "" } else { "  " }).chars().collect());
        }
        canvas.header(&labels, border, apart);
        canvas
    }

    /// Labels too long for their place stand above, one each, in full; below them only their number.
    fn header(&mut self, labels: &[String], border: usize, apart: usize) {
        // Half of a label stands on either side of its lifeline: halfway to the next one, or to the edge.
        let room = |index: usize| 2 * (apart / 2).saturating_sub(1).min(WIDTH - self.columns[index]);
        let numbered: Vec<String> = labels
            .iter()
            .enumerate()
            .map(|(index, label)| {
                if label.chars().count() <= room(index) {
                    return label.clone();
                }
                let number = if index < border { format!("({})", index + 1) } else { format!("({index})") };
                self.out.push_str(&format!("{number} {label}\n"));
                number
            })
            .collect();
        let mut row = blank();
        for (column, label) in self.columns.iter().zip(&numbered) {
            let start = column.saturating_sub(label.chars().count() / 2);
            write(&mut row, start, label);
        }
        self.push(row);
    }

    /// `stamp` stands on the first of the lines.
    pub fn lines(&mut self, stamp: &str, lines: Vec<Line>) {
        let mut stamp = Some(stamp);
        for line in lines {
            match line {
                Line::Arrow { from, to, label, again } => {
                    let row = self.arrow(from, to, &label, again);
                    self.stamped(row, &mut stamp);
                }
                Line::Beneath { from, to, text } => {
                    let start = self.column(from.min(to)) + 3;
                    self.text(start, &text, &mut stamp);
                }
                Line::Note(text) => self.text(GUTTER, &text, &mut stamp),
            }
        }
    }

    fn arrow(&mut self, from: usize, to: usize, label: &str, again: bool) -> Vec<char> {
        let mut row = self.lifelines();
        let (left, right) = (self.column(from.min(to)), self.column(from.max(to)));
        if left + 4 > right {
            write(&mut row, left + 2, label);
            return row;
        }
        for (distance, place) in row[left + 1..right].iter_mut().enumerate() {
            *place = if again && distance % 2 == 1 { ' ' } else { '-' };
        }
        if from < to {
            row[right - 1] = '>'
        } else {
            row[left + 1] = '<'
        }
        self.again |= again;
        let label = if again { format!(" {label} (again) ") } else { format!(" {label} ") };
        let room = right - left - 3;
        let label: String = label.chars().take(room).collect();
        let start = left + 2 + (room - label.chars().count()) / 2;
        write(&mut row, start, &label);
        row
    }

    /// Text over the lifelines, in as many rows as it takes; moved left where it would not fit.
    fn text(&mut self, start: usize, text: &str, stamp: &mut Option<&str>) {
        let length = text.chars().count();
        let start = if start + length + 1 > WIDTH { (WIDTH - 1).saturating_sub(length).max(GUTTER) } else { start };
        for (index, piece) in wrapped(text, WIDTH - 1 - start).into_iter().enumerate() {
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
        self.columns.get(index).or(self.columns.last()).copied().unwrap_or(GUTTER)
    }

    fn lifelines(&self) -> Vec<char> {
        let mut row = blank();
        for column in &self.columns {
            row[*column] = '|';
        }
        row
    }

    fn push(&mut self, row: Vec<char>) {
        let line: String = row.into_iter().collect();
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }

    pub fn finish(mut self) -> String {
        if self.again {
            self.out.push_str("- - > sent or received again: a retransmission\n");
        }
        self.out
    }
}

fn blank() -> Vec<char> {
    vec![' '; WIDTH]
}

/// What does not fit is cut off.
fn write(row: &mut [char], start: usize, text: &str) {
    for (place, c) in row.iter_mut().skip(start).zip(text.chars()) {
        *place = c;
    }
}

/// Breaks at spaces where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
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
