//! Payloads as lines, and lines as payloads: as text, or as hexadecimal.

use std::fmt::Write;

/// How a line stands for a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The line's bytes are the payload.
    Text,
    /// Two hexadecimal digits a byte.
    Hex,
}

impl Form {
    /// The payload that a line stands for.
    pub(crate) fn payload_of(self, line: Vec<u8>) -> Result<Vec<u8>, String> {
        match self {
            Self::Text => Ok(line),
            Self::Hex => from_hex(&line),
        }
    }

    /// The line that stands for a payload, without its newline.
    pub(crate) fn line_of(self, payload: &[u8]) -> String {
        match self {
            Self::Text => match std::str::from_utf8(payload) {
                Ok(text) if text.chars().all(is_printable) => text.to_owned(),
                _ => escaped(payload),
            },
            Self::Hex => payload.iter().fold(String::with_capacity(2 * payload.len()), |mut line, byte| {
                // Writing to a string cannot fail.
                let _ = write!(line, "{byte:02x}");
                line
            }),
        }
    }
}

/// Shows a payload that comes piece by piece.
///
/// Rule: what showing a payload takes does not grow with it.
#[derive(Debug)]
pub(crate) struct Shown {
    form: Form,
    /// Whether it is too long to choose the form when all of it is there.
    is_long: bool,
    /// A short payload so far, or the bytes of a character that has not come to its end.
    held: Vec<u8>,
}

impl Shown {
    pub(crate) fn new(form: Form) -> Self {
        Self { form, is_long: false, held: Vec::new() }
    }

    /// What the next bytes add to the line.
    pub(crate) fn push(&mut self, piece: &[u8]) -> String {
        match self.form {
            Form::Hex => Form::Hex.line_of(piece),
            Form::Text => {
                self.held.extend_from_slice(piece);
                self.is_long |= self.held.len() > SHORT_BYTES;
                if !self.is_long {
                    return String::new();
                }
                let whole = whole_characters(&self.held);
                let line = escaped(&self.held[..whole]);
                self.held.drain(..whole);
                line
            }
        }
    }

    /// What the end adds to the line.
    pub(crate) fn finish(&mut self) -> String {
        let held = std::mem::take(&mut self.held);
        match self.form {
            Form::Hex => String::new(),
            Form::Text if self.is_long => escaped(&held),
            Form::Text => Form::Text.line_of(&held),
        }
    }
}

/// How many of the bytes are not the beginning of a character that may go on.
fn whole_characters(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3);
    // Only the last three bytes can be such a beginning.
    (tail..bytes.len())
        .find(|at| {
            std::str::from_utf8(&bytes[*at..])
                .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
        })
        .unwrap_or(bytes.len())
}

/// A text of up to so many bytes is shown as it is, if all of it is printable; a longer one is escaped while it comes.
const SHORT_BYTES: usize = 64 << 10;

/// Pairs of digits, of either case, with blanks between them where the reader likes.
pub(crate) fn from_hex(line: &[u8]) -> Result<Vec<u8>, String> {
    let mut payload = Vec::with_capacity(line.len() / 2);
    for group in line.split(u8::is_ascii_whitespace) {
        let pairs = group.chunks(2).map(|pair| match pair {
            [high, low] => Some((digit(*high)? << 4) | digit(*low)?),
            _ => None,
        });
        for byte in pairs {
            let refusal = || format!("expected two hexadecimal digits per byte, found {}", escaped(group));
            payload.push(byte.ok_or_else(refusal)?);
        }
    }
    Ok(payload)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Printable characters as they are, a backslash doubled, and everything else byte by byte: `\n`, `\r`, or `\xNN`.
fn escaped(payload: &[u8]) -> String {
    let mut line = String::with_capacity(payload.len());
    for chunk in payload.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => line.push_str("\\\\"),
                '\n' => line.push_str("\\n"),
                '\r' => line.push_str("\\r"),
                _ if is_printable(char) => line.push(char),
                _ => push_bytes(&mut line, char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_bytes(&mut line, chunk.invalid());
    }
    line
}

fn push_bytes(line: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(line, "\\x{byte:02x}");
    }
}

/// Whether a character shows as itself on a terminal and leaves its neighbors where they are.
///
/// A tab passes: columns of text stay what they were. What joins and composes characters (U+200C, U+200D, combining
/// marks) passes too.
fn is_printable(char: char) -> bool {
    let is_invisible = matches!(char,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' // soft hyphen, marks of direction
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' // separators; embedding, override and isolation of direction
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'); // byte order mark, annotations, tags
    char == '\t' || !(char.is_control() || is_invisible)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(payload: &[u8]) -> String {
        Form::Text.line_of(payload)
    }

    #[test]
    fn printable_utf_8_is_shown_as_it_is() {
        for line in ["", "hello", "grüße, 世界 👩‍💻", "a\tb", r#"{"path":"C:\\x\n"}"#, "e\u{301}"] {
            assert_eq!(text(line.as_bytes()), line);
            assert_eq!(Form::Text.payload_of(line.into()), Ok(line.into()));
        }
    }

    #[test]
    fn everything_else_is_escaped() {
        let cases: [(&[u8], &str); 6] = [
            (b"two\nlines\r\n", r"two\nlines\r\n"),
            (b"\0\x1b[31m", r"\x00\x1b[31m"),
            (b"\xff\xfeok", r"\xff\xfeok"),
            (b"back\\slash\n", r"back\\slash\n"),
            ("\u{202e}evil".as_bytes(), r"\xe2\x80\xaeevil"),
            (b"cut \xe2\x82", r"cut \xe2\x82"),
        ];
        for (payload, line) in cases {
            assert_eq!(text(payload), line);
        }
    }

    #[test]
    fn no_reply_takes_two_lines_or_moves_the_cursor() {
        for byte in 0..=255 {
            let line = text(&[b'a', byte, b'\\']);
            assert!(line.chars().all(is_printable), "{byte} is shown as {line:?}");
        }
    }

    #[test]
    fn pieces_show_the_same_as_the_whole() {
        let payload = "a\\b grüße 世界 👩‍💻\n"
            .as_bytes()
            .iter()
            .chain(b"\xe2\x82\xff\xf0\x9f\0\xe2\x82")
            .copied()
            .collect::<Vec<u8>>();
        let long = [&payload, vec![b'x'; SHORT_BYTES - payload.len()].as_slice(), &payload].concat();
        for form in [Form::Text, Form::Hex] {
            for size in 1..=payload.len() {
                for whole in [&payload, &long] {
                    let mut shown = Shown::new(form);
                    let mut line: String = whole.chunks(size).map(|piece| shown.push(piece)).collect();
                    assert!(shown.held.len() <= 3 || !shown.is_long);
                    line.push_str(&shown.finish());
                    assert!(line == form.line_of(whole), "{size} of {}", whole.len());
                }
            }
        }
    }

    #[test]
    fn long_text_doubles_backslashes_even_if_printable() {
        for (len, expected) in [(SHORT_BYTES, r"a\b"), (SHORT_BYTES + 1, r"a\\b")] {
            let mut payload = b"a\\b".to_vec();
            payload.resize(len, b'x');
            let mut shown = Shown::new(Form::Text);
            let line = shown.push(&payload) + &shown.finish();
            assert_eq!(line.trim_end_matches('x'), expected, "{len}");
        }
    }

    #[test]
    fn hexadecimal_goes_both_ways() {
        let every_byte: Vec<u8> = (0..=255).collect();
        let line = Form::Hex.line_of(&every_byte);
        assert_eq!(Form::Hex.payload_of(line.to_uppercase().into()), Ok(every_byte));
        assert_eq!(Form::Hex.payload_of(b" 00 0aFF\t".to_vec()), Ok(vec![0, 10, 255]));
        assert_eq!(Form::Hex.payload_of(Vec::new()), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_hexadecimal_is_shown() {
        for (line, found) in [("f", "f"), ("00 fff", "fff"), ("0x00", "0x00"), ("zz", "zz"), ("\u{1b}", r"\x1b")] {
            let expected = format!("expected two hexadecimal digits per byte, found {found}");
            assert_eq!(Form::Hex.payload_of(line.into()), Err(expected));
        }
    }
}
