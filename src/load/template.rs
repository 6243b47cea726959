//! Payloads that a user gives, with placeholders.
//!
//! Rule: a payload is a pure function of its connection's and its own number and of when it was sent, so none has to be stored to
//! compare a response with it. Each placeholder has a fixed width, so all payloads of a template have the same length.

use std::fmt;

use crate::load::payload::mix;

/// Holds a payload with placeholders: `{conn}`, `{seq}`, `{rand:N}` and `{now_ns}`.
///
/// | placeholder | becomes | width |
/// |---|---|---|
/// | `{conn}` | the number of the connection, from 0 | 8 digits |
/// | `{seq}` | the number of the request on its connection, from 0 | 10 digits |
/// | `{rand:N}` | random lower-case letters and digits | N, from 1 to 4,096 |
/// | `{now_ns}` | when it was sent, in nanoseconds since 1970 (UTC) | 19 digits |
///
/// A double brace, `{{conn}`, is the text itself. Other braces, as in JSON, are text too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The payload, with zeros where the placeholders are.
    bytes: Vec<u8>,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Field {
    at: usize,
    len: usize,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Connection,
    Sequence,
    Random,
    Now,
}

const RANDOM_LEN_MAX: usize = 4_096;

/// What a request is: its connection's number, its own number on that connection, and when it was sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) connection: u32,
    pub(crate) frame: u32,
    /// In nanoseconds since 1970.
    pub(crate) sent_ns: u64,
}

impl Template {
    /// Takes bytes without placeholders.
    #[must_use]
    pub fn literal(bytes: impl Into<Vec<u8>>) -> Self {
        Self { bytes: bytes.into(), fields: Vec::new() }
    }

    /// Parses a payload with placeholders.
    ///
    /// # Errors
    ///
    /// [`TemplateError`] for a word in braces that is no placeholder, and for a length that is out of its range.
    pub fn parse(text: &[u8]) -> Result<Self, TemplateError> {
        let mut template = Self::literal([]);
        let mut rest = text;
        while let Some(begin) = rest.iter().position(|byte| *byte == b'{') {
            template.bytes.extend_from_slice(&rest[..begin]);
            let after = &rest[begin + 1..];
            let word = word_in(after);
            rest = match (word, after.strip_prefix(b"{").and_then(word_in)) {
                (Some(word), _) => {
                    let (kind, len) = kind_of(word)?;
                    template.fields.push(Field { at: template.bytes.len(), len, kind });
                    template.bytes.resize(template.bytes.len() + len, b'0');
                    &after[word.len() + 1..]
                }
                // A double brace: one of them is text, and so is the word.
                (None, Some(_)) => {
                    template.bytes.push(b'{');
                    let end = after.iter().position(|byte| *byte == b'}').unwrap_or(after.len());
                    template.bytes.extend_from_slice(&after[1..end]);
                    &after[end..]
                }
                (None, None) => {
                    template.bytes.push(b'{');
                    after
                }
            };
        }
        template.bytes.extend_from_slice(rest);
        Ok(template)
    }

    /// Returns the length of each payload, in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Returns whether each payload is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The payload if it has no placeholders.
    pub(crate) fn constant(&self) -> Option<&[u8]> {
        self.fields.is_empty().then_some(&self.bytes)
    }

    /// Appends the payload of a request to `bytes`.
    pub(crate) fn write(&self, place: Place, bytes: &mut Vec<u8>) {
        let begin = bytes.len();
        bytes.extend_from_slice(&self.bytes);
        for (number, field) in self.fields.iter().enumerate() {
            let at = begin + field.at;
            field.write(number as u64, place, &mut bytes[at..at + field.len]);
        }
    }
}

impl Field {
    fn write(&self, number: u64, place: Place, bytes: &mut [u8]) {
        match self.kind {
            Kind::Connection => digits(place.connection.into(), bytes),
            Kind::Sequence => digits(place.frame.into(), bytes),
            Kind::Now => digits(place.sent_ns, bytes),
            Kind::Random => {
                let seed = mix(u64::from(place.connection) << 32 | u64::from(place.frame)) ^ number << 48;
                for (at, byte) in bytes.iter_mut().enumerate() {
                    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
                    *byte = ALPHABET[(mix(seed.wrapping_add(at as u64)) % 36) as usize];
                }
            }
        }
    }
}

/// Writes a number with leading zeros.
fn digits(mut number: u64, bytes: &mut [u8]) {
    for byte in bytes.iter_mut().rev() {
        *byte = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// The word in front of a closing brace, if there is one that looks like a placeholder.
fn word_in(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| !(byte.is_ascii_lowercase() || *byte == b'_'))?;
    let word = match bytes[end] {
        b':' => &bytes[..bytes.iter().position(|byte| *byte == b'}')?],
        _ => &bytes[..end],
    };
    (end > 0 && bytes.get(word.len()) == Some(&b'}')).then_some(word)
}

fn kind_of(word: &[u8]) -> Result<(Kind, usize), TemplateError> {
    match word {
        b"conn" => Ok((Kind::Connection, 8)),
        b"seq" => Ok((Kind::Sequence, 10)),
        b"now_ns" => Ok((Kind::Now, 19)),
        _ => word
            .strip_prefix(b"rand:")
            .and_then(|len| str::from_utf8(len).ok()?.parse().ok())
            .filter(|len| (1..=RANDOM_LEN_MAX).contains(len))
            .map(|len| (Kind::Random, len))
            .ok_or_else(|| TemplateError(String::from_utf8_lossy(word).into_owned())),
    }
}

/// Reports a word in braces that is no placeholder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateError(String);

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{{{}}} is no placeholder: write {{conn}}, {{seq}}, {{rand:N}} with N from 1 to {RANDOM_LEN_MAX}, or {{now_ns}}; for the \
             text itself, double the brace",
            self.0
        )
    }
}

impl std::error::Error for TemplateError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, connection: u32, frame: u32) -> String {
        let mut bytes = Vec::new();
        Template::parse(text.as_bytes())
            .unwrap()
            .write(Place { connection, frame, sent_ns: 1_700_000_000_000_000_007 }, &mut bytes);
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn placeholders_have_their_values_and_widths() {
        assert_eq!(written("SET k{conn} {seq}", 7, 42), "SET k00000007 0000000042");
        assert_eq!(written("{now_ns}", 0, 0), "1700000000000000007");
        assert_eq!(written("", 0, 0), "");
        let random = written("{rand:5}-{rand:5}", 1, 2);
        assert_eq!(random, written("{rand:5}-{rand:5}", 1, 2));
        assert_ne!(random, written("{rand:5}-{rand:5}", 1, 3));
        assert_ne!(random[..5], random[6..]);
        assert!(random.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }

    #[test]
    fn other_braces_are_text() {
        for text in [r#"{"a":{"b":[1,2]}}"#, "{", "}", "{}", "{ conn }", "{Conn}", "a{1}", "{conn", "{{", "{a b}"] {
            assert_eq!(written(text, 3, 4), text);
        }
        assert_eq!(written("{{conn} {{rand:9}", 3, 4), "{conn} {rand:9}");
        assert_eq!(written(r#"{"id":{seq}}"#, 3, 4), r#"{"id":0000000004}"#);
    }

    #[test]
    fn word_that_is_no_placeholder_is_refused() {
        for text in ["{foo}", "a {sequence}", "{rand}", "{rand:0}", "{rand:4097}", "{rand:x}", "{rand:}", "{conn:3}"] {
            let error = Template::parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains("is no placeholder: write {conn}, {seq}, {rand:N}"), "{text}: {error}");
        }
    }
}
