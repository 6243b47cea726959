//! The flags of `load` that say what is sent, and what has to come back.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use frameloop::load::{Check, Payload, Plan, Template};
use frameloop::wire::Framing;
use regex::bytes::Regex;

use crate::failure::Failure;
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct RequestArgs {
    /// Where a frame ends, such as u32be, varint, lines or raw
    ///
    /// As for serve. Random payloads avoid a delimiter, and get a header or a delimiter where the framing sends payloads unchanged. With
    /// raw, a response that is compared with its request is as long as that; otherwise it is what one read returns.
    #[arg(long, env = "FRAMELOOP_FRAMING", value_name = "SPEC", default_value = "u32be", help_heading = "Requests")]
    framing: Framing,
    /// Payload of each request, with placeholders
    ///
    /// {conn} is the connection's number (8 digits), {seq} the number of the request on its connection (10 digits), {rand:N} are N
    /// random letters and digits, and {now_ns} is the time in nanoseconds since 1970 (19 digits). {{conn} is the text itself.
    #[arg(long, env = "FRAMELOOP_PAYLOAD", value_name = "TEXT", help_heading = "Requests")]
    #[arg(conflicts_with_all = ["payload_hex", "payload_file", "payload_lines", "size"])]
    payload: Option<String>,
    /// Payload of each request, as two hexadecimal digits per byte
    #[arg(long, env = "FRAMELOOP_PAYLOAD_HEX", value_name = "HEX", help_heading = "Requests")]
    #[arg(conflicts_with_all = ["payload_file", "payload_lines", "size"])]
    payload_hex: Option<String>,
    /// File whose content is the payload, with placeholders (at most 256 MiB)
    #[arg(long, env = "FRAMELOOP_PAYLOAD_FILE", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with_all = ["payload_lines", "size"], help_heading = "Requests")]
    payload_file: Option<PathBuf>,
    /// File whose lines are the payloads, with placeholders
    ///
    /// Each connection sends them in their order, again and again.
    #[arg(long, env = "FRAMELOOP_PAYLOAD_LINES", value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(conflicts_with = "size", help_heading = "Requests")]
    payload_lines: Option<PathBuf>,
    /// Shuffle the lines of --payload-lines by this number
    ///
    /// Each connection begins somewhere else in the same order.
    #[arg(long, env = "FRAMELOOP_SHUFFLE", value_name = "SEED", requires = "payload_lines", help_heading = "Requests")]
    shuffle: Option<u64>,
    /// File whose content is sent first on each connection (repeatable)
    ///
    /// It is the payload of one frame; with lines and crlf, each line is, and with another delimiter what ends with it. A connection is
    /// established when each has had a response, within --connect-timeout after the last byte.
    #[arg(long, env = "FRAMELOOP_HELLO", value_name = "FILE", value_hint = ValueHint::FilePath, value_delimiter = ',')]
    #[arg(help_heading = "Requests")]
    hello: Vec<PathBuf>,
    /// Responses to each request (0 = send only)
    #[arg(long, env = "FRAMELOOP_REPLIES", value_name = "COUNT", default_value = "1", help_heading = "Requests")]
    replies: u16,
    /// What each response must be: echo, len, any, or what it is compared with
    ///
    /// echo is the request, byte by byte; len is its length; any is anything. equals:FILE is the content of a file, prefix:HEX are the first
    /// bytes, and regex:RE is found anywhere in the payload.
    #[arg(long, env = "FRAMELOOP_CHECK", value_name = "WHAT", default_value = "echo", help_heading = "Requests")]
    check: String,
}

/// The most bytes of a file with payloads.
const FILE_LEN_MAX: u64 = 256 << 20;

impl RequestArgs {
    /// Adds the requests to a plan.
    pub(crate) fn complete(&self, plan: Plan) -> Result<Plan, Failure> {
        let check = check(&self.check)?;
        let payload =
            self.templates()?.map_or(Payload::Random, |list| Payload::Templates { list, shuffle: self.shuffle });
        let hello = self.hello.iter().map(|path| self.hello_of(path)).collect::<Result<Vec<_>, _>>()?.concat();
        // Without responses there is nothing to compare.
        let check = if self.replies == 0 && check == Check::Echo { Check::Any } else { check };
        Ok(Plan { framing: self.framing, payload, hello, replies: self.replies, check, ..plan })
    }

    fn templates(&self) -> Result<Option<Vec<Template>>, Failure> {
        let one = |flag: &str, bytes: &[u8]| template(flag, bytes).map(|template| Some(vec![template]));
        if let Some(text) = &self.payload {
            return one("--payload", text.as_bytes());
        }
        if let Some(digits) = &self.payload_hex {
            let bytes = bytes_of_hex("--payload-hex", digits)?;
            return Ok(Some(vec![Template::literal(bytes)]));
        }
        if let Some(path) = &self.payload_file {
            return one("--payload-file", &read("--payload-file", path)?);
        }
        let Some(path) = &self.payload_lines else { return Ok(None) };
        let content = read("--payload-lines", path)?;
        let lines = lines(&content).enumerate();
        let list = lines.map(|(number, line)| template(&format!("--payload-lines, line {}", number + 1), line));
        list.collect::<Result<_, _>>().map(Some)
    }

    /// The payloads of a file that is sent first: with a delimiter, those that end with it, or the lines of a text.
    fn hello_of(&self, path: &Path) -> Result<Vec<Vec<u8>>, Failure> {
        let content = read("--hello", path)?;
        match self.framing {
            Framing::Delimiter(_) if self.framing == Framing::lines() || self.framing == Framing::crlf() => {
                Ok(lines(&content).map(<[u8]>::to_vec).collect())
            }
            Framing::Delimiter(_) => Ok(self.frames(&content)),
            _ => Ok(vec![content]),
        }
    }

    /// The payloads of all frames, and what follows the last delimiter.
    fn frames(&self, content: &[u8]) -> Vec<Vec<u8>> {
        let (mut rest, mut payloads) = (content, Vec::new());
        while let Ok(decoded) = self.framing.decode(rest, 0, u32::MAX)
            && let Some((frame_len, payload)) = decoded.frame()
        {
            payloads.push(rest[payload].to_vec());
            rest = &rest[frame_len..];
        }
        payloads.extend(Some(rest.to_vec()).filter(|rest| !rest.is_empty()));
        payloads
    }
}

fn template(flag: &str, bytes: &[u8]) -> Result<Template, Failure> {
    Template::parse(bytes).map_err(|error| Failure::usage(format!("{flag}: {error}")))
}

fn bytes_of_hex(flag: &str, digits: &str) -> Result<Vec<u8>, Failure> {
    let bytes = text::from_hex(digits.as_bytes()).map_err(|problem| Failure::usage(format!("{flag}: {problem}")))?;
    match bytes.is_empty() {
        true => Err(Failure::usage(format!("{flag} is empty: expected two hexadecimal digits per byte"))),
        false => Ok(bytes),
    }
}

/// The lines of a file, without their ends.
fn lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split_inclusive(|byte| *byte == b'\n');
    lines.map(|line| line.strip_suffix(b"\n").map_or(line, |line| line.strip_suffix(b"\r").unwrap_or(line)))
}

/// Reads a file that has something in it, and not too much.
fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    let name = path.display();
    let problem = |problem: &dyn std::fmt::Display| Failure::usage(format!("{flag}: {name}: {problem}"));
    let mut content = Vec::new();
    let file = File::open(path).map_err(|error| problem(&error))?;
    file.take(FILE_LEN_MAX + 1).read_to_end(&mut content).map_err(|error| problem(&error))?;
    match content.len() as u64 {
        0 => Err(problem(&"it is empty, and must have at least a byte")),
        len if len > FILE_LEN_MAX => Err(problem(&"it is longer than 256 MiB, the most that is allowed")),
        _ => Ok(content),
    }
}

fn check(text: &str) -> Result<Check, Failure> {
    match (text, text.split_once(':')) {
        ("echo", _) => Ok(Check::Echo),
        ("len", _) => Ok(Check::Len),
        ("any", _) => Ok(Check::Any),
        (_, Some(("equals", path))) => read("--check equals", Path::new(path)).map(Check::Equals),
        (_, Some(("prefix", digits))) => bytes_of_hex("--check prefix", digits).map(Check::Prefix),
        (_, Some(("regex", pattern))) => {
            let pattern = Regex::new(pattern);
            // The error of the crate draws a picture over several lines.
            pattern.map(Check::Regex).map_err(|error| {
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                Failure::usage(format!("--check regex: {last}"))
            })
        }
        _ => Err(Failure::usage(format!(
            "--check is {text:?}: expected echo, len, any, equals:FILE, prefix:HEX or regex:RE"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_have_no_ends() {
        let all: Vec<&[u8]> = lines(b"a\r\n\nb\rc\nd").collect();
        assert_eq!(all, [&b"a"[..], b"", b"b\rc", b"d"]);
        assert_eq!(lines(b"a\n").count(), 1);
    }

    #[test]
    fn what_must_come_back_is_read() {
        assert_eq!(check("echo").unwrap(), Check::Echo);
        assert_eq!(check("prefix:2b4f").unwrap(), Check::Prefix(b"+O".to_vec()));
        assert!(matches!(check("regex:^a:b$").unwrap(), Check::Regex(pattern) if pattern.as_str() == "^a:b$"));
        for wrong in ["", "ECHO", "prefix:", "prefix:1", "regex:(", "equals:/there/is/no/such/file", "equals:", "len:3"]
        {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
