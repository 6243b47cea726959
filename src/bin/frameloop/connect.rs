//! `frameloop connect [ADDR]`: a frame for each line, or one for a file.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueHint};
use frameloop::client::{Client, ClientError};
use frameloop::frame::PAYLOAD_LEN_MAX;
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::address::{self, Address};
use crate::failure::Failure;
use crate::output;
use crate::signals;
use crate::text::Form;
use crate::values;

/// Connect to a server and speak frames with it: from a prompt, a pipe or a file
///
/// On a terminal there is a prompt with line editing and the history of this session. Otherwise a line of stdin, without
/// its newline, is a frame, and each reply is a line of stdout. An empty line is a frame of no bytes.
///
/// `quit`, `exit`, the end of input, and Ctrl-D or Ctrl-C at the prompt leave. With --hex those words can be sent
/// (71756974, 65786974).
///
/// A reply of printable UTF-8 and tabs is shown as it is. Any other is shown escaped: \n, \r, \\ for a backslash, and
/// \xNN for each byte that is not printable. Where it matters which of the two it was, use --hex.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConnectArgs {
    /// The server: IP:PORT, NAME:PORT or unix:PATH
    #[arg(default_value = "127.0.0.1:7007", value_hint = ValueHint::Hostname)]
    addr: Address,
    /// Read and print hexadecimal: two digits a byte, blanks between bytes allowed
    #[arg(long, env = "FRAMELOOP_HEX", value_parser = BoolishValueParser::new())]
    hex: bool,
    /// Send a file as one frame, and write the reply's raw bytes to stdout
    #[arg(long, env = "FRAMELOOP_FILE", value_name = "PATH", value_hint = ValueHint::FilePath, conflicts_with = "hex")]
    file: Option<PathBuf>,
    /// How long to wait for the connection, and for each reply; 0 waits for ever
    ///
    /// A reply that keeps coming is waited for: what counts is how long not a byte of it came.
    #[arg(long, env = "FRAMELOOP_TIMEOUT", value_name = "DURATION", default_value = "5s")]
    #[arg(value_parser = values::duration)]
    timeout: Duration,
}

const EXAMPLES: &str = "\
Examples:
  frameloop connect                                a prompt, where a line is a frame
  frameloop connect [::1]:7007                     over IPv6
  frameloop connect unix:/run/frameloop.sock       over a Unix socket
  echo hello | frameloop connect                   one frame, its reply on stdout
  echo '00 ff' | frameloop connect --hex           bytes that are no text
  frameloop connect --file in.bin > out.bin        a file as one frame";

pub(crate) fn run(args: &ConnectArgs) -> Result<(), Failure> {
    let file = args.file.as_deref().map(read).transpose()?;
    let timeout = values::on(args.timeout);
    match &args.addr {
        Address::Tcp(text) => speak(Client::connect(&address::resolve(text)?[..], timeout)?, args, file),
        Address::Unix(path) => speak(Client::connect_unix(path, timeout)?, args, file),
    }
}

fn speak<S: Read + Write>(mut client: Client<S>, args: &ConnectArgs, file: Option<Vec<u8>>) -> Result<(), Failure> {
    if let Some(payload) = file {
        // An echo is as long as what it answers.
        client.set_payload_len_max(PAYLOAD_LEN_MAX);
        return output::bytes(&client.call(&payload)?);
    }
    let input = if io::stdin().is_terminal() && io::stdout().is_terminal() {
        Input::prompt(&args.addr)?
    } else {
        Input::Lines { number: 0 }
    };
    converse(client, input, if args.hex { Form::Hex } else { Form::Text })
}

/// Sends each line and shows its reply, until there is no more or a word says so.
fn converse<S: Read + Write>(mut client: Client<S>, mut input: Input, form: Form) -> Result<(), Failure> {
    while let Some(line) = input.next()? {
        if line == b"quit" || line == b"exit" {
            break;
        }
        match form.payload_of(line) {
            Ok(payload) => output::line(&form.line_of(&client.call(&payload)?))?,
            Err(refusal) => input.refuse(&refusal)?,
        }
    }
    Ok(())
}

/// Where the lines come from.
enum Input {
    /// A person at a terminal.
    Prompt { editor: Box<DefaultEditor>, prompt: String },
    /// A pipe or a file, with the number of the line that was read last.
    Lines { number: u64 },
}

impl Input {
    fn prompt(addr: &Address) -> Result<Self, Failure> {
        let config = rustyline::Config::builder().auto_add_history(true).build();
        let editor = DefaultEditor::with_config(config).map_err(Failure::run)?;
        signals::keep_terminal();
        let _ = writeln!(io::stderr(), "connected to {addr}: a line is a frame; quit, exit or Ctrl-D leaves");
        Ok(Self::Prompt { editor: Box::new(editor), prompt: format!("{addr}> ") })
    }

    /// The next line without its newline; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        match self {
            Self::Prompt { editor, prompt } => loop {
                match editor.readline(prompt) {
                    Ok(line) => return Ok(Some(line.into_bytes())),
                    Err(ReadlineError::Eof | ReadlineError::Interrupted) => return Ok(None),
                    Err(ReadlineError::Signal(_)) => {}
                    Err(error) => return Err(Failure::run(format_args!("cannot read the terminal: {error}"))),
                }
            },
            Self::Lines { number } => {
                *number += 1;
                next_line(&mut io::stdin().lock())
                    .map_err(|error| Failure::run(format_args!("cannot read stdin: {error}")))
            }
        }
    }

    /// Tells that the last line stands for no payload: a person may try again, a script has failed.
    fn refuse(&self, refusal: &str) -> Result<(), Failure> {
        match self {
            Self::Prompt { .. } => {
                let _ = writeln!(io::stderr(), "{refusal}");
                Ok(())
            }
            Self::Lines { number } => Err(Failure::run(format_args!("line {number}: {refusal}"))),
        }
    }
}

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

/// A file's bytes, unless they are too many for a frame; of those, not more are read than it takes to know.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let refusal = |error: &dyn std::fmt::Display| Failure::run(format_args!("cannot send {}: {error}", path.display()));
    let file = File::open(path).map_err(|error| refusal(&error))?;
    let len = file.metadata().map_or(0, |metadata| metadata.len());
    if let (true, Ok(len)) = (len > u64::from(PAYLOAD_LEN_MAX), usize::try_from(len)) {
        return Err(refusal(&ClientError::PayloadTooLong(len)));
    }
    let mut payload = Vec::new();
    file.take(u64::from(PAYLOAD_LEN_MAX) + 1).read_to_end(&mut payload).map_err(|error| refusal(&error))?;
    Ok(payload)
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
}
