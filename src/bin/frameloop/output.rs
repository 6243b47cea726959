//! Stdout: whole, flushed, and without a panic when its reader has gone.
//!
//! Rule: what stdout does not take is a failure, unless its reader has gone; and that turns no failure into success.

use std::io::{self, Write};
use std::time::Duration;

use log::warn;

use crate::failure::Failure;
use crate::logging;
use crate::startup;
use crate::streams::{LineQueue, OnLoss, Stream};

/// Writes a line to stdout.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to stdout as they are, and waits for a reader that takes its time.
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    open().and_then(|mut stdout| stdout.write_all(bytes)).map_err(Failure::Stdout)
}

/// Stdout, for what is written piece by piece.
pub(crate) fn open() -> io::Result<Stream<io::Stdout>> {
    if startup::stdout_is_closed() {
        return Err(io::Error::new(io::ErrorKind::NotConnected, "it is closed"));
    }
    Ok(Stream(io::stdout()))
}

/// Lines that scripts wait for, written without waiting for their reader.
pub(crate) struct Announcements(Result<LineQueue, io::Error>);

impl Announcements {
    pub(crate) fn start() -> Self {
        let failed = |error: &io::Error| {
            if error.kind() != io::ErrorKind::BrokenPipe {
                warn!(target: logging::TARGET, "cannot write to stdout: {error}");
            }
        };
        let queue = open().and_then(|stdout| LineQueue::start("stdout", stdout, OnLoss { notice: |_| None, failed }));
        queue.as_ref().err().map(failed);
        Self(queue)
    }

    pub(crate) fn line(&self, text: &str) {
        if let Ok(queue) = &self.0 {
            queue.push(format!("{text}\n").as_bytes());
        }
    }

    /// Waits until all are written, at most for `patience`.
    pub(crate) fn finish(self, patience: Duration) -> Result<(), Failure> {
        self.0.and_then(|queue| queue.finish(patience)).map_err(Failure::Stdout)
    }
}
