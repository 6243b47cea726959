//! Pending output.

use std::io::{ErrorKind, Result, Write};

/// Answers that the socket did not take yet.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl Outbox {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    pub(crate) fn append(&mut self, other: Self) {
        self.push(&other.bytes[other.taken..]);
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// So much output is pending that nothing more should be read from this peer.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= HIGH_WATER
    }

    /// Writes until all is taken or the socket takes no more. What it did not take stays.
    pub(crate) fn flush(&mut self, stream: &mut impl Write) -> Result<()> {
        while !self.is_empty() {
            match stream.write(&self.bytes[self.taken..]) {
                Ok(len) => self.taken += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.forget_taken();
        Ok(())
    }

    /// Moves what is left to the front once that is the smaller part: each byte is moved once at most.
    fn forget_taken(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        } else if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

/// More than any sensible client pipelines, and little compared with the memory of a machine.
const HIGH_WATER: usize = 8 << 20;
