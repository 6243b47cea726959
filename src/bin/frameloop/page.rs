//! Text to read on a terminal of 80 columns, with color where there is one.

use std::env;
use std::fmt::Write;
use std::io::IsTerminal;

use anstream::adapter::strip_str;
use anstyle::{AnsiColor, Style};
use textwrap::{Options, WordSeparator, WordSplitter, WrapAlgorithm};

/// Whether an output has color.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Color {
    Never,
    Always,
}

impl Color {
    /// On a terminal, unless `NO_COLOR` says otherwise (<https://no-color.org>).
    pub(crate) fn of(stream: &impl IsTerminal) -> Self {
        let is_wanted = env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let can = env::var_os("TERM").is_none_or(|term| term != "dumb");
        if is_wanted && can && stream.is_terminal() { Self::Always } else { Self::Never }
    }

    /// A styled text, without its styles where there is no color.
    pub(crate) fn apply(self, styled: String) -> String {
        match self {
            Self::Never => strip_str(&styled).to_string(),
            Self::Always => styled,
        }
    }
}

/// A text in a style.
pub(crate) fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Lines, one below the other.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn line(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{}", text.replace(TIED, " ").trim_end());
    }

    /// Adds a text in lines of 80 columns, the first behind a label, and the others indented as far.
    pub(crate) fn wrapped(&mut self, label: &str, text: &str) {
        let indent = " ".repeat(label.chars().count());
        let options = Options::new(WIDTH)
            .initial_indent(label)
            .subsequent_indent(&indent)
            .break_words(false)
            .word_separator(WordSeparator::AsciiSpace)
            .word_splitter(WordSplitter::NoHyphenation)
            .wrap_algorithm(WrapAlgorithm::FirstFit);
        for line in textwrap::wrap(&with_tied_units(text), options) {
            self.line(&line);
        }
    }
}

/// Rows as lines: the first column to the left, the others to the right.
///
/// Rule: columns never touch. They have their usual widths, and more where a cell is longer.
pub(crate) fn aligned(rows: &[Vec<String>], usual: &[usize]) -> Vec<String> {
    let longest = |at: usize| rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.chars().count()).max();
    let gap = |at: usize| if at == 0 { 0 } else { 1 };
    let widths: Vec<usize> =
        usual.iter().enumerate().map(|(at, usual)| (*usual).max(longest(at).unwrap_or_default() + gap(at))).collect();
    let line = |row: &Vec<String>| -> String {
        let cells = row.iter().zip(&widths).enumerate();
        cells
            .map(|(at, (cell, width))| if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") })
            .collect()
    };
    rows.iter().map(line).collect()
}

/// Ties numbers to their units, so that no line is broken between them.
fn with_tied_units(text: &str) -> String {
    let mut tied = String::with_capacity(text.len());
    for word in text.split_ascii_whitespace() {
        let is_unit = word.trim_end_matches(|c: char| c.is_ascii_punctuation() && c != '%').chars().count() <= 3;
        let is_behind_number = tied.ends_with(|c: char| c.is_ascii_digit());
        if !tied.is_empty() {
            tied.push_str(if is_unit && is_behind_number { TIED } else { " " });
        }
        tied.push_str(word);
    }
    tied
}

/// A text from outside on one line, without control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// The most columns of a line.
pub(crate) const WIDTH: usize = 80;
/// A blank at which no line is broken; shown as any other.
pub(crate) const TIED: &str = "\u{a0}";
pub(crate) const BOLD: Style = Style::new().bold();
pub(crate) const RED: Style = AnsiColor::Red.on_default().bold();
pub(crate) const GREEN: Style = AnsiColor::Green.on_default();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_never_touch_however_long_a_cell_is() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let long = "9".repeat(40);
        let usual = [row(&["", "this", "ratio"]), row(&["rate", "1.00", "x2.00"])];
        assert_eq!(aligned(&usual, &[6, 8, 7]), ["          this  ratio", "rate      1.00  x2.00"]);
        for at in 0..3 {
            let mut cells = ["name", "1.00", "x2.00"];
            cells[at] = &long;
            let lines = aligned(&[row(&["a", "this", "ratio"]), row(&cells)], &[4, 8, 7]);
            assert_eq!(lines[1].split_whitespace().collect::<Vec<_>>(), cells);
            assert_eq!(lines[0].len(), lines[1].len());
        }
    }
}
