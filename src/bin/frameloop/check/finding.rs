//! What is wrong with a server: what was sent, what was expected, and what came instead.

use std::fmt::Write;

use serde::Serialize;

use crate::check::wire::{Field, Shape, Wire};

/// Why a case fails.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) sent: String,
    pub(crate) expected: String,
    pub(crate) came: String,
    /// The likely mistake, where it shows in what came; else the case knows what it usually is.
    pub(crate) mistake: Option<String>,
}

impl Finding {
    pub(crate) fn new(sent: impl Into<String>, expected: impl Into<String>, came: impl Into<String>) -> Self {
        Self { sent: sent.into(), expected: expected.into(), came: came.into(), mistake: None }
    }

    /// The same with a mistake: that of the case, if none shows in what came.
    pub(crate) fn or_usual(mut self, mistake: &str) -> Self {
        self.mistake.get_or_insert_with(|| mistake.to_owned());
        self
    }

    /// What came differs from what was expected, or ended early as `end` says; before it, `before` bytes came as expected.
    pub(crate) fn different(wire: &Wire, sent: String, before: u64, expected: &[u8], came: &[u8], end: &str) -> Self {
        let at = expected.iter().zip(came).position(|(expected, came)| expected != came);
        let text = match at {
            Some(at) => {
                let (wanted, found) = (excerpt(&expected[at..]), excerpt(&came[at..]));
                format!("at offset {} of the answers {found} instead of {wanted}", before + at as u64)
            }
            None if before == 0 && came.is_empty() => end.into(),
            None => format!("{} as expected in all, then {end}", bytes((before + came.len() as u64) as usize)),
        };
        let mistake = mistake_in(wire, expected, came).map(str::to_owned);
        Self { sent, expected: described(expected), came: text, mistake }
    }
}

/// Mistakes that the bytes reveal.
fn mistake_in(wire: &Wire, expected: &[u8], came: &[u8]) -> Option<&'static str> {
    let delimiter = wire.delimiter();
    if !delimiter.is_empty() && expected.strip_suffix(delimiter) == Some(came) && !came.is_empty() {
        return Some("the payload comes back without its delimiter");
    }
    let (wanted, rest) = expected.split_at_checked(wire.head_len(expected)?)?;
    let swapped = wire.swapped(wanted).filter(|swapped| swapped != wanted);
    let is_length = wanted.iter().any(|byte| *byte != 0);
    if swapped.is_some_and(|swapped| came.starts_with(&swapped)) {
        match wire.shape() {
            Shape::Prefix(prefix) if matches!(prefix.field(), Field::Little(_)) => {
                Some("the answer's length has its highest byte first: it is big-endian, not little-endian")
            }
            _ => Some(
                "the answer's length has its lowest byte first: it is written in the machine's order, not big-endian",
            ),
        }
    } else if !rest.is_empty() && rest.starts_with(came) && !came.is_empty() && !wanted.starts_with(came) {
        Some("the payload comes back without its header")
    } else if is_length && came.strip_prefix(wanted).is_some_and(|came| came.starts_with(wanted)) {
        Some(
            "the header comes back inside the payload: the answer's length counts itself, or the header was kept in the buffer",
        )
    } else {
        None
    }
}

/// How many bytes these are, and how they begin.
pub(crate) fn described(data: &[u8]) -> String {
    match data.len() {
        0 => "nothing".into(),
        len => format!("{}: {}", bytes(len), excerpt(data)),
    }
}

/// The first bytes in hexadecimal.
pub(crate) fn excerpt(data: &[u8]) -> String {
    let mut text = String::new();
    for byte in data.iter().take(EXCERPT_LEN) {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x} ");
    }
    text.truncate(text.trim_end().len());
    if data.len() > EXCERPT_LEN {
        text += " …";
    }
    text
}

/// A number of bytes, as it is read.
pub(crate) fn bytes(len: usize) -> String {
    match len {
        1 => "1 byte".into(),
        len if len >= 1 << 20 && len.is_multiple_of(1 << 20) => format!("{} MiB", len >> 20),
        len => format!("{len} bytes"),
    }
}

const EXCERPT_LEN: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn found_with(framing: &str, expected: &[u8], came: &[u8]) -> Finding {
        Finding::different(&Wire::of(framing).unwrap(), "it".into(), 100, expected, came, "nothing for 2s")
    }

    fn found(expected: &[u8], came: &[u8]) -> Finding {
        found_with("u32be", expected, came)
    }

    #[test]
    fn first_different_byte_is_reported_with_its_offset() {
        let finding = found(b"\0\0\0\x03abc", b"\0\0\0\x03aXc");
        assert_eq!(finding.expected, "7 bytes: 00 00 00 03 61 62 63");
        assert_eq!(finding.came, "at offset 105 of the answers 58 63 instead of 62 63");
        assert_eq!(finding.mistake, None);
    }

    #[test]
    fn missing_bytes_are_reported_with_how_much_arrived() {
        assert_eq!(found(b"\0\0\0\x01a", b"").came, "100 bytes as expected in all, then nothing for 2s");
        assert_eq!(found(b"\0\0\0\x01a", b"\0\0").came, "102 bytes as expected in all, then nothing for 2s");
        let wire = Wire::of("u32be").unwrap();
        let first = Finding::different(&wire, "it".into(), 0, b"\0\0\0\0", b"", "the server's FIN");
        assert_eq!(first.came, "the server's FIN");
    }

    #[test]
    fn mistakes_are_recognized_from_the_bytes() {
        let mistake = |expected, came| found(expected, came).mistake.unwrap_or_default();
        assert!(mistake(b"\0\0\x01\x02abcd", b"\x02\x01\0\0abcd").contains("machine's order"));
        assert!(mistake(b"\0\0\0\x03abc", b"abc").contains("without its header"));
        assert!(mistake(b"\0\0\0\x05abcde", b"\0\0\0\x05\0\0\0\x05a").contains("inside the payload"));
    }

    #[test]
    fn mistakes_are_recognized_with_any_framing() {
        let mistake = |framing, expected, came| found_with(framing, expected, came).mistake.unwrap_or_default();
        assert!(mistake("u16le", b"\x03\0abc", b"\0\x03abc").contains("big-endian, not little-endian"));
        assert!(mistake("u8", b"\x03abc", b"abc").contains("without its header"));
        assert!(mistake("varint,offset=1", b"A\x03abc", b"A\x03A\x03a").contains("inside the payload"));
        assert!(mistake("crlf", b"abc\r\n", b"abc").contains("without its delimiter"));
        assert_eq!(mistake("u8", b"\x03abc", b"\x03abx"), "");
    }

    #[test]
    fn many_bytes_are_shown_by_their_first() {
        assert_eq!(described(&[0xab; 20]), format!("20 bytes: {} …", ["ab"; 12].join(" ")));
        assert_eq!((bytes(1), bytes(8 << 20)), ("1 byte".into(), "8 MiB".into()));
    }
}
