//! Stdout: whole, flushed, and without a panic when nobody reads it any more.

use std::io::{self, Write};

use crate::failure::Failure;

/// Writes a line to stdout and flushes it.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to stdout as they are and flushes them.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(Failure::Stdout)
}
