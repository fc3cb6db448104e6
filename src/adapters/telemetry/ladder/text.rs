//! A drawing in plain characters: as a page, or line by line for a terminal that colours and moves through it.

use std::time::{Duration, UNIX_EPOCH};

use super::canvas::{Canvas, Line, Shaft, Size};
use super::drawing::{Drawing, Mark, Row};
use crate::adapters::telemetry::wall::clock_of;

/// Widest line of a page.
const WIDTH: usize = 140;
/// A page of fewer columns does without the time since the row before.
const ROOMY: usize = 110;
/// No canvas is narrower: what does not fit is cut off.
const NARROWEST: usize = 40;

/// How the lines of a terminal look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Look {
    pub width: usize,
    pub stamp: Stamp,
    /// Descriptions under arrows.
    pub descriptions: bool,
}

/// What stands left of the lifelines.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stamp {
    /// Time of day and milliseconds since the row before.
    Both,
    Clock,
    /// Milliseconds since the row before.
    After,
}

/// A line, and which of the drawing's rows it belongs to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Drawn {
    pub row: usize,
    pub text: String,
}

impl Drawing {
    /// As a page of at most 140 columns.
    pub fn page(&self) -> String {
        self.page_of(WIDTH)
    }

    /// As a page of at most so many columns, but no less than 40. A narrow one has the time of day alone: arrows need the room.
    pub fn page_of(&self, width: usize) -> String {
        let stamp = if width < ROOMY { Stamp::Clock } else { Stamp::Both };
        let look = Look { width, stamp, descriptions: true };
        let mut lines = self.head(&look);
        lines.extend(self.lines(&look).into_iter().map(|drawn| drawn.text));
        if self.rows.iter().any(|row| matches!(row.mark, Mark::Arrow { again: true, .. })) {
            lines.push("- - > sent or received again: a retransmission".to_owned());
        }
        if self.left_out > 0 {
            lines.push(format!("{} more messages and notes of this call were not kept", self.left_out));
        }
        lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect()
    }

    /// The legs, and who stands where.
    pub fn head(&self, look: &Look) -> Vec<String> {
        let mut canvas = Canvas::new(look.size(), self.columns.len());
        self.legs.iter().for_each(|leg| canvas.head(leg));
        canvas.labels(&self.columns);
        canvas.take()
    }

    /// All below the head.
    pub fn lines(&self, look: &Look) -> Vec<Drawn> {
        let mut canvas = Canvas::new(look.size(), self.columns.len());
        let mut before: Option<&Row> = None;
        let mut drawn = Vec::new();
        for (index, row) in self.rows.iter().enumerate() {
            // Several things said of one moment have its time once.
            let is_same = before.is_some_and(|before| row.after_us == 0 && row.mark.words().is_some() && before.mark.words().is_some());
            let stamp = if is_same { String::new() } else { look.stamp.of(row) };
            canvas.lines(&stamp, lines(row, look));
            drawn.extend(canvas.take().into_iter().map(|text| Drawn { row: index, text }));
            before = Some(row);
        }
        drawn
    }
}

impl Look {
    fn size(&self) -> Size {
        let gutter = match self.stamp {
            Stamp::Both => 24,
            Stamp::Clock => 14,
            Stamp::After => 11,
        };
        Size { width: self.width.max(NARROWEST), gutter }
    }
}

impl Stamp {
    fn of(self, row: &Row) -> String {
        let after = row.after_us as f64 / 1e3;
        match self {
            Stamp::Both => format!("{:>12} {after:>+9.1}", clock(row.at)),
            Stamp::Clock => clock(row.at),
            Stamp::After => format!("{after:>+9.1}"),
        }
    }
}

fn lines(row: &Row, look: &Look) -> Vec<Line> {
    match &row.mark {
        Mark::Arrow { from, to, label, again, description, .. } => {
            let shaft = if *again { Shaft::Again } else { Shaft::Message };
            let mut lines = vec![Line::Arrow { from: *from, to: *to, label: label.clone(), shaft }];
            if let Some(text) = description.as_ref().filter(|_| look.descriptions) {
                lines.push(Line::Beneath { from: *from, to: *to, text: text.clone() });
            }
            lines
        }
        Mark::Media { from, to, .. } => vec![Line::Arrow { from: *from, to: *to, label: media(row).unwrap_or_default(), shaft: Shaft::Media }],
        mark => mark.words().map(Line::Note).into_iter().collect(),
    }
}

/// Such as `RTP 399, 1 lost, 7.9 s`, and `so far` while the call is up; before it who sends or gets it, where the column does not say so.
pub(super) fn media(row: &Row) -> Option<String> {
    let Mark::Media { packets, lost, last, so_far, far, .. } = &row.mark else { return None };
    let lost = lost.filter(|lost| *lost > 0).map_or_else(String::new, |lost| format!(", {lost} lost"));
    let seconds = last.saturating_sub(row.at).max(0) as f64 / 1e6;
    let until = if *so_far { " so far" } else { "" };
    let far = far.as_ref().map_or_else(String::new, |far| format!("{far} "));
    Some(format!("{far}RTP {packets}{lost}, {seconds:.1} s{until}"))
}

/// The last moment with a year of four digits.
const LATEST: i64 = 253_402_300_799_999_999;

/// Time of day, UTC, of microseconds since 1970.
pub fn clock(at: i64) -> String {
    clock_of(UNIX_EPOCH + Duration::from_micros(at.clamp(0, LATEST).unsigned_abs()))
}
