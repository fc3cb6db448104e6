//! A drawing as a picture: SVG 1.1 that stands alone, or goes into a page that has the style already and lets no other in. Whatever came from the network is
//! text and attribute values, escaped (XML 1.0 §2.2, §2.4).

use std::fmt::Write as _;

use super::canvas::{COLUMNS, wrapped};
use super::drawing::{Class, Drawing, Mark, Row};
use super::text::{clock, media};

/// Of the picture; a page that shows one brings it along.
pub const STYLE: &str = include_str!("picture.css");

/// Pixels. A character of the type is as wide as this at most.
const CHARACTER: usize = 8;
const GUTTER: usize = 192;
const MARGIN: usize = 12;
const LINE: usize = 17;
/// Between two lifelines, at least and at most.
const APART: [usize; 2] = [250, 400];

impl Drawing {
    /// `alone`: with its style in it, to be kept as a file.
    pub fn picture(&self, alone: bool) -> String {
        let longest = self.columns.iter().map(|label| label.chars().count()).max().unwrap_or(0);
        let apart = (longest * CHARACTER).clamp(APART[0], APART[1]);
        let mut picture = Picture { out: String::new(), y: MARGIN + LINE, apart, width: GUTTER + apart * self.columns.len().max(2) + MARGIN };
        self.legs.iter().for_each(|leg| picture.words(MARGIN, "leg", leg));
        picture.y += LINE + LINE / 2;
        for (index, label) in self.columns.iter().enumerate() {
            picture.text(picture.column(index), "column", label);
        }
        picture.y += LINE / 2;
        let top = picture.y;
        // The lifelines lie beneath what is drawn over them, and end where that ends.
        let head = std::mem::take(&mut picture.out);
        self.rows.iter().enumerate().for_each(|(index, row)| picture.row(index, row));
        if self.left_out > 0 {
            picture.y += LINE;
            picture.words(GUTTER, "note over trouble", &format!("! {} more messages and notes of this call were not kept", self.left_out));
        }
        let (rows, height, width) = (picture.out, picture.y + MARGIN, picture.width);
        let class = if alone { "ladder alone" } else { "ladder" };
        let style = if alone { format!("<style>{STYLE}</style>") } else { String::new() };
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"{class}\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\">{style}{head}"
        );
        for index in 0..self.columns.len() {
            let x = GUTTER + apart / 2 + index * apart;
            // Writing into a String does not fail.
            let _ = write!(out, "<line class=\"lifeline\" x1=\"{x}\" y1=\"{top}\" x2=\"{x}\" y2=\"{height}\"/>");
        }
        out + &rows + "</svg>\n"
    }
}

struct Picture {
    out: String,
    /// The base line of what comes next.
    y: usize,
    apart: usize,
    width: usize,
}

impl Picture {
    fn column(&self, index: usize) -> usize {
        GUTTER + self.apart / 2 + index.min(COLUMNS) * self.apart
    }

    fn row(&mut self, index: usize, row: &Row) {
        match &row.mark {
            Mark::Arrow { from, to, label, class, again, description, message } => {
                self.y += LINE * 2;
                let y = self.y;
                let class = format!("arrow {}{}", word(*class), if *again { " again" } else { "" });
                let _ = write!(self.out, "<g class=\"{class}\" data-message=\"{message}\" data-row=\"{index}\" tabindex=\"0\" role=\"button\">");
                let (left, right) = self.ends(*from, *to);
                let height = LINE * if description.is_some() { 3 } else { 2 };
                let top = y - LINE - 4;
                let _ = write!(self.out, "<rect class=\"hit\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{height}\"/>", right - left);
                self.stamp(row);
                let label = if *again { format!("{label} (again)") } else { label.clone() };
                self.text((left + right) / 2, "label over", &label);
                let (y, tip) = (y + 5, self.column(*to));
                let _ = write!(self.out, "<line x1=\"{}\" y1=\"{y}\" x2=\"{tip}\" y2=\"{y}\"/>", self.column(*from));
                let back = if to > from { tip.saturating_sub(8) } else { tip + 8 };
                let _ = write!(self.out, "<polygon points=\"{tip},{y} {back},{} {back},{}\"/>", y - 4, y + 4);
                self.y += 5;
                if let Some(text) = description {
                    self.y += LINE - 3;
                    self.text((left + right) / 2, "description over", text);
                }
                self.out.push_str("</g>");
            }
            Mark::Media { from, to, so_far, .. } => {
                self.y += LINE * 2;
                let _ = write!(self.out, "<g class=\"media{}\">", if *so_far { " live" } else { "" });
                self.stamp(row);
                let (left, right) = self.ends(*from, *to);
                let arrow = if to > from { "→" } else { "←" };
                self.text((left + right) / 2, "over", &format!("{arrow} {}", media(row).unwrap_or_default()));
                let _ = write!(self.out, "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"5\"/></g>", left + 1, self.y + 4, (right - left).saturating_sub(2));
                self.y += 9;
            }
            mark => {
                self.y += LINE + 2;
                self.stamp(row);
                let class = match mark {
                    Mark::Decision { refused: Some(_), .. } => "decision over trouble",
                    Mark::Decision { .. } => "decision over",
                    Mark::Note { trouble: true, .. } => "note over trouble",
                    _ => "note over",
                };
                self.y -= LINE;
                self.words(GUTTER, class, &mark.words().unwrap_or_default());
            }
        }
    }

    /// Left and right.
    fn ends(&self, from: usize, to: usize) -> (usize, usize) {
        (self.column(from.min(to)), self.column(from.max(to)))
    }

    fn stamp(&mut self, row: &Row) {
        let stamp = format!("{} {:>+9.1}", clock(row.at), row.after_us as f64 / 1e3);
        self.text(MARGIN, "stamp", &stamp);
    }

    /// On as many lines as it takes, each below the last.
    fn words(&mut self, x: usize, class: &str, words: &str) {
        for (index, piece) in wrapped(words, (self.width - x) / CHARACTER).into_iter().enumerate() {
            self.y += LINE;
            self.text(if index == 0 { x } else { x + 2 * CHARACTER }, class, &piece);
        }
    }

    fn text(&mut self, x: usize, class: &str, text: &str) {
        let _ = write!(self.out, "<text class=\"{class}\" x=\"{x}\" y=\"{}\">{}</text>", self.y, escaped(text));
    }
}

fn word(class: Class) -> &'static str {
    match class {
        Class::Request => "request",
        Class::Provisional => "provisional",
        Class::Success => "success",
        Class::Redirection => "redirection",
        Class::Refusal => "refusal",
        Class::Failure => "failure",
        Class::Unreadable => "unreadable",
    }
}

/// What XML has no place for is shown as a question mark.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\u{FFFE}' | '\u{FFFF}' => out.push('?'),
            c if c.is_control() => out.push('?'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::drawing::Compared;
    use super::*;

    const HOSTILE: &str = "</text><script>alert(1)</script>\"' onload='x' & \u{1}\u{FFFF}";

    #[test]
    fn what_callers_write_never_becomes_markup() {
        let arrow = |again| Mark::Arrow { from: 0, to: 1, label: HOSTILE.into(), class: Class::Request, again, description: Some(HOSTILE.into()), message: 0 };
        let decision = Mark::Decision {
            stage: "routing".into(),
            rule: HOSTILE.into(),
            refused: Some("routing.none".into()),
            meaning: None,
            values: vec![Compared { name: "to".into(), value: HOSTILE.into() }],
        };
        let marks = [
            arrow(false),
            arrow(true),
            decision,
            Mark::Note { text: HOSTILE.into(), trouble: true },
            Mark::Media { from: 1, to: 0, packets: 9, lost: Some(1), last: 5, so_far: true, far: Some(HOSTILE.into()) },
        ];
        let rows = marks.into_iter().map(|mark| Row { at: 0, after_us: 0, mark }).collect();
        let drawing =
            Drawing { legs: vec![HOSTILE.into()], columns: vec![HOSTILE.into(), "portcullis".into()], border: 1, rows, messages: Vec::new(), left_out: 3 };
        for alone in [false, true] {
            let picture = drawing.picture(alone);
            assert!(!picture.contains("<script") && !picture.contains("onload='") && !picture.contains('\u{1}') && !picture.contains('\u{FFFF}'), "{picture}");
            assert_eq!(picture.contains("<style>"), alone);
            assert!(!picture.contains(" style=") && picture.starts_with("<svg ") && picture.ends_with("</svg>\n"));
            assert_eq!(picture.matches("<g ").count(), picture.matches("</g>").count());
            assert_eq!(picture.matches("<text ").count(), picture.matches("</text>").count());
        }
        assert!(Drawing::default().picture(true).contains("</svg>"), "of nothing");
    }
}
