//! What a response has to be.

use regex::bytes::Regex;

use crate::conn::frame::Frame;
use crate::load::fault::FaultKind;

/// Says what a response must be. Default: the request.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Check {
    /// The payload of the request, byte by byte. After another response the connection is aborted.
    #[default]
    Echo,
    /// As many bytes as the request.
    Len,
    /// Anything.
    Any,
    /// These bytes.
    Equals(Vec<u8>),
    /// Bytes that begin with these.
    Prefix(Vec<u8>),
    /// Bytes in which this pattern is found.
    Regex(Regex),
}

/// Patterns are compared by their text.
impl PartialEq for Check {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Echo, Self::Echo) | (Self::Len, Self::Len) | (Self::Any, Self::Any) => true,
            (Self::Equals(a), Self::Equals(b)) | (Self::Prefix(a), Self::Prefix(b)) => a == b,
            (Self::Regex(a), Self::Regex(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

/// Compares a payload with the bytes that are expected.
#[inline]
pub(crate) fn compare(expected: &[u8], received: &Frame<'_>) -> Result<(), FaultKind> {
    check_len(expected.len(), received)?;
    if received.whole_payload() == Some(expected) {
        return Ok(());
    }
    let mut at = 0;
    for piece in received.payload_chunks() {
        let wanted = &expected[at..at + piece.len()];
        if piece != wanted {
            return Err(difference(at, wanted, piece));
        }
        at += piece.len();
    }
    Ok(())
}

#[inline]
pub(crate) fn check_len(expected: usize, received: &Frame<'_>) -> Result<(), FaultKind> {
    match received.payload_len() {
        got if got == expected => Ok(()),
        got => Err(FaultKind::Length { expected, got }),
    }
}

pub(crate) fn check_prefix(prefix: &[u8], received: &Frame<'_>) -> Result<(), FaultKind> {
    let begin = received.payload_chunks().flatten().take(prefix.len());
    if begin.eq(prefix) { Ok(()) } else { Err(FaultKind::Prefix) }
}

pub(crate) fn check_pattern(pattern: &Regex, received: &Frame<'_>) -> Result<(), FaultKind> {
    if pattern.is_match(received.payload()) { Ok(()) } else { Err(FaultKind::Pattern) }
}

#[cold]
fn difference(at: usize, expected: &[u8], got: &[u8]) -> FaultKind {
    let offset = expected.iter().zip(got).position(|(a, b)| a != b).unwrap_or(0);
    FaultKind::Byte { offset: at + offset, expected: expected[offset], got: got[offset] }
}
