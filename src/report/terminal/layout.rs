//! Lines, fields and tables of fixed width.

use std::fmt::Write as _;

use super::Style;
use crate::drill::format::printable;

/// Columns before a field's text.
const FIELD: usize = 9;
/// Columns before an item's lines and a table.
const INDENT: usize = 2;

/// What a colour underlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    Good,
    Doubt,
    Bad,
}

impl Tone {
    /// Parameters of the escape sequence (ECMA-48, SGR).
    const fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Good => Some("32"),
            Self::Doubt => Some("33"),
            Self::Bad => Some("31"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A text in the making.
#[derive(Debug)]
pub struct Page {
    style: Style,
    text: String,
}

impl Page {
    pub fn new(style: Style) -> Self {
        Self { style, text: String::with_capacity(4 << 10) }
    }

    pub fn finish(self) -> String {
        self.text
    }

    /// An empty line.
    pub fn gap(&mut self) {
        self.text.push('\n');
    }

    /// A word in its tone and a text beside it.
    pub fn headline(&mut self, word: &str, tone: Tone, text: &str) {
        let indent = word.chars().count() + 2;
        let lines = wrap(&printable(text), self.room(indent));
        for (index, line) in lines.iter().enumerate() {
            let before =
                if index == 0 { self.paint(word, tone, true) } else { " ".repeat(indent - 2) };
            self.push(&before, &format!("  {line}"));
        }
    }

    /// A name in the margin and its text; an empty name continues the field above.
    pub fn field(&mut self, name: &str, text: &str) {
        self.toned_field(name, text, Tone::Plain);
    }

    pub fn toned_field(&mut self, name: &str, text: &str, tone: Tone) {
        for (index, line) in wrap(&printable(text), self.room(FIELD)).iter().enumerate() {
            let name = if index == 0 { name } else { "" };
            let padding = " ".repeat(FIELD.saturating_sub(name.chars().count()));
            let name = self.paint(name, Tone::Plain, true);
            let line = self.paint(line, tone, false);
            self.push(&name, &format!("{padding}{line}"));
        }
    }

    /// The title of a section, after an empty line.
    pub fn title(&mut self, text: &str) {
        self.gap();
        let text = self.paint(text, Tone::Plain, true);
        self.push(&text, "");
    }

    /// One line in a section.
    pub fn line(&mut self, text: &str) {
        for line in wrap(&printable(text), self.room(INDENT)) {
            self.push(&" ".repeat(INDENT), &line);
        }
    }

    /// A step of a list, with its number.
    pub fn numbered(&mut self, number: usize, text: &str) {
        let head = format!("{number:>4}. ");
        for (index, line) in wrap(&printable(text), self.room(head.len())).iter().enumerate() {
            let before = if index == 0 { head.clone() } else { " ".repeat(head.len()) };
            self.push(&before, line);
        }
    }

    /// A line that is never broken, so that it can be copied.
    pub fn verbatim(&mut self, indent: usize, text: &str) {
        self.push(&" ".repeat(indent), &printable(text));
    }

    /// A line in its tone and others below it.
    pub fn item(&mut self, head: &str, tone: Tone, below: &[&str]) {
        for line in wrap(&printable(head), self.room(INDENT)) {
            let line = self.paint(&line, tone, false);
            self.push(&" ".repeat(INDENT), &line);
        }
        for text in below {
            for line in wrap(&printable(text), self.room(2 * INDENT)) {
                self.push(&" ".repeat(2 * INDENT), &line);
            }
        }
    }

    /// Aligned columns. The last one takes what is left of the width and wraps; the first one has
    /// the row's tone.
    pub fn table(
        &mut self,
        head: &[&str],
        aligns: &[Align],
        rows: impl Iterator<Item = (Vec<String>, Tone)>,
    ) {
        let mut all = vec![(head.iter().map(|h| (*h).to_owned()).collect(), Tone::Plain)];
        all.extend(rows.map(|(cells, tone)| {
            (cells.iter().map(|cell| printable(cell)).collect::<Vec<_>>(), tone)
        }));
        let last = head.len() - 1;
        let wide = |column: usize| {
            all.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..last).map(wide).collect();
        let before = INDENT + widths.iter().map(|w| w + 2).sum::<usize>();
        // Where the columns leave no room for sentences, the last one goes below.
        let below = self.style.width < before + 16 && wide(last) > 16;
        for (cells, tone) in &all {
            let mut line = " ".repeat(INDENT);
            for (column, width) in widths.iter().enumerate() {
                let padding = " ".repeat(width - cells[column].chars().count());
                let tone = if column == 0 { *tone } else { Tone::Plain };
                let cell = self.paint(&cells[column], tone, false);
                let _ = match aligns[column] {
                    Align::Left => write!(line, "{cell}{padding}  "),
                    Align::Right => write!(line, "{padding}{cell}  "),
                };
            }
            let indent = if below { 3 * INDENT } else { before };
            let mut wrapped = wrap(&cells[last], self.room(indent)).into_iter();
            if !below {
                line.push_str(&wrapped.next().unwrap_or_default());
            }
            self.push(&line, "");
            for more in wrapped.filter(|more| !more.is_empty()) {
                self.push(&" ".repeat(indent), &more);
            }
        }
    }

    fn room(&self, indent: usize) -> usize {
        self.style.width.saturating_sub(indent).max(20)
    }

    fn push(&mut self, a: &str, b: &str) {
        self.text.push_str(a);
        self.text.push_str(b);
        self.text.truncate(self.text.trim_end_matches(' ').len());
        self.text.push('\n');
    }

    fn paint(&self, text: &str, tone: Tone, bold: bool) -> String {
        if !self.style.color || text.is_empty() || (tone == Tone::Plain && !bold) {
            return text.to_owned();
        }
        let codes: Vec<&str> = bold.then_some("1").into_iter().chain(tone.code()).collect();
        format!("\u{1b}[{}m{text}\u{1b}[0m", codes.join(";"))
    }
}

/// Breaks between words; a word longer than a line stays whole, so that paths can be copied.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut columns = 0;
    for word in text.split(' ') {
        let wide = word.chars().count();
        if columns > 0 && columns + 1 + wide > width {
            lines.push(std::mem::take(&mut line));
            columns = 0;
        } else if columns > 0 || !line.is_empty() {
            line.push(' ');
            columns += 1;
        }
        line.push_str(word);
        columns += wide;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_between_words_and_keeps_long_ones() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("a /very/long/path b", 4), ["a", "/very/long/path", "b"]);
        assert_eq!(wrap("", 4), [""]);
    }
}
