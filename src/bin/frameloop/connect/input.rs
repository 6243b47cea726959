//! Where the lines come from: a prompt, or a pipe.
//!
//! Rule: every line that was typed, pasted or piped is a frame of its own, whenever it was.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};

use rustyline::error::ReadlineError;
use rustyline::{Cmd, Config, DefaultEditor, ExternalPrinter, KeyEvent};

use crate::address::Endpoint;
use crate::failure::Failure;
use crate::terminal;

pub(super) enum Input {
    /// A person at a terminal, and the lines that were pasted and are not taken yet.
    Prompt { editor: Box<DefaultEditor>, prompt: String, pasted: VecDeque<String> },
    /// A pipe or a file, with the number of the line that was read last.
    Lines { number: u64 },
}

/// Shows a text above the prompt.
pub(super) type Above = Box<dyn ExternalPrinter + Send>;

impl Input {
    /// A prompt, and what shows something above it, if the terminal can.
    pub(super) fn prompt(addr: &Endpoint) -> Result<(Self, Option<Above>), Failure> {
        terminal::keep(LEAVE);
        let mut editor = DefaultEditor::with_config(Config::builder().build()).map_err(Failure::run)?;
        // What Ctrl-D becomes that was typed while the terminal was not the editor's.
        editor.bind_sequence(KeyEvent::ctrl('@'), Cmd::EndOfFile);
        let above = editor.create_external_printer().ok().map(|printer| Box::new(printer) as Above);
        // Before the prompt, so not by the queue of the log.
        let _ = writeln!(io::stderr(), "connected to {addr}: a line is a frame; quit, exit or Ctrl-D leaves");
        let prompt = format!("{addr}> ");
        Ok((Self::Prompt { editor: Box::new(editor), prompt, pasted: VecDeque::new() }, above))
    }

    pub(super) fn pipe() -> Self {
        Self::Lines { number: 0 }
    }

    pub(super) fn is_prompt(&self) -> bool {
        matches!(self, Self::Prompt { .. })
    }

    /// The next line without its newline; `None` at the end, or if it says so.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let line = match self {
            Self::Prompt { editor, prompt, pasted } => loop {
                if let Some(line) = pasted.pop_front() {
                    break Some(line.into_bytes());
                }
                match editor.readline(prompt) {
                    Ok(text) => {
                        pasted.extend(lines_of(&text).map(str::to_owned));
                        for line in &*pasted {
                            // Without it there is no history, and everything else.
                            let _ = editor.add_history_entry(line);
                        }
                    }
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => break None,
                    Err(ReadlineError::Signal(_)) => {}
                    Err(error) => return Err(Failure::run(format_args!("cannot read the terminal: {error}"))),
                }
            },
            Self::Lines { number } => {
                *number += 1;
                next_line(&mut io::stdin().lock())
                    .map_err(|error| Failure::run(format_args!("cannot read stdin: {error}")))?
            }
        };
        Ok(line.filter(|line| !is_farewell(line)))
    }

    /// Reports that the last line stands for no payload: a person may try again, a script has failed.
    pub(super) fn refuse(&self, refusal: &str) -> Result<(), Failure> {
        match self {
            Self::Prompt { .. } => {
                let _ = writeln!(io::stderr(), "{refusal}");
                Ok(())
            }
            Self::Lines { number } => Err(Failure::run(format_args!("line {number}: {refusal}"))),
        }
    }
}

/// The lines of what was entered at once. A newline at its end begins no other line.
fn lines_of(text: &str) -> impl Iterator<Item = &str> {
    let whole = text.strip_suffix('\n').unwrap_or(text);
    whole.split('\n')
}

/// `quit` or `exit` alone on a line, whose end may be that of Windows.
fn is_farewell(line: &[u8]) -> bool {
    let word = line.strip_suffix(b"\r").unwrap_or(line);
    word == b"quit" || word == b"exit"
}

/// An editor has the terminal bracket what is pasted; what comes next begins a line.
const LEAVE: &[u8] = b"\x1b[?2004l\r\n";

fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_comes_without_its_newline() {
        let mut input: &[u8] = b"one\n\nthree\r\nfour";
        let lines: Vec<Vec<u8>> = std::iter::from_fn(|| next_line(&mut input).unwrap()).collect();
        assert_eq!(lines, [b"one".as_slice(), b"", b"three\r", b"four"]);
    }

    #[test]
    fn a_paste_is_a_line_for_each_of_its_lines() {
        let cases: [(&str, &[&str]); 5] = [
            ("", &[""]),
            ("one", &["one"]),
            ("one\ntwo\nthree", &["one", "two", "three"]),
            ("one\n", &["one"]),
            ("a\n\nb", &["a", "", "b"]),
        ];
        for (text, expected) in cases {
            assert_eq!(lines_of(text).collect::<Vec<_>>(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_farewell_is_a_word_alone_on_its_line() {
        for line in ["quit", "exit", "quit\r", "exit\r"] {
            assert!(is_farewell(line.as_bytes()), "{line:?}");
        }
        for line in ["", "\r", "quit ", " quit", "Quit", "quitter", "quit\r\r", "quit\n"] {
            assert!(!is_farewell(line.as_bytes()), "{line:?}");
        }
    }
}
