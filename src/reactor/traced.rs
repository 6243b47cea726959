//! A stream whose reads and writes are counted and observed. On a plain socket each is one system call; a layer on
//! top of it makes its own, which are not counted.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use crate::conn::io::Transport;
use crate::reactor::event::{CallError, ConnectionEvent};
use crate::reactor::observer::Observer;
use crate::reactor::stats::Stats;

/// One connection's stream during a run.
#[derive(Debug)]
pub(crate) struct Traced<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) observer: Observer<'a>,
    pub(crate) stats: &'a mut Stats,
}

impl<S> Traced<'_, S> {
    #[inline]
    fn count_write(&mut self, outcome: &io::Result<usize>) {
        self.stats.writes.count(outcome);
        if let Ok(len) = outcome {
            self.stats.bytes_out += *len as u64;
        }
    }
}

impl<S: Transport> Read for Traced<'_, S> {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outcome = self.stream.read(buf);
        self.stats.reads.count(&outcome);
        if let Ok(len) = outcome {
            self.stats.bytes_in += len as u64;
        }
        self.observer.note_of(outcome, |outcome| {
            let drains = self.stream.short_read_drains();
            ConnectionEvent::Read { asked: buf.len(), outcome: moved(outcome), drains }
        })
    }
}

impl<S: Write> Write for Traced<'_, S> {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let outcome = self.stream.write(buf);
        self.count_write(&outcome);
        self.observer.note_of(outcome, |outcome| ConnectionEvent::Write {
            len: buf.len(),
            pieces: None,
            outcome: moved(outcome),
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: Transport> Transport for Traced<'_, S> {
    #[inline]
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let outcome = self.stream.write_pieces(pieces);
        self.count_write(&outcome);
        self.observer.note_of(outcome, |outcome| {
            let len = pieces.iter().map(|piece| piece.len()).sum();
            ConnectionEvent::Write { len, pieces: Some(pieces.len()), outcome: moved(outcome) }
        })
    }

    #[inline]
    fn short_read_drains(&self) -> bool {
        self.stream.short_read_drains()
    }

    #[inline]
    fn wants_read(&self) -> bool {
        self.stream.wants_read()
    }

    #[inline]
    fn wants_write(&self) -> bool {
        self.stream.wants_write()
    }

    #[inline]
    fn has_buffered_input(&self) -> bool {
        self.stream.has_buffered_input()
    }

    #[inline]
    fn has_closing_message(&self) -> bool {
        self.stream.has_closing_message()
    }

    fn local_addr(&self) -> Option<SocketAddr> {
        self.stream.local_addr()
    }

    fn has_input(&mut self) -> bool {
        self.stream.has_input()
    }

    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        self.stream.unacknowledged_bytes()
    }

    fn unacknowledged_bytes_max(&self) -> io::Result<Option<usize>> {
        self.stream.unacknowledged_bytes_max()
    }

    fn limit_unsent(&mut self, is_limited: bool) {
        self.stream.limit_unsent(is_limited);
    }

    fn reset(&mut self) {
        self.stream.reset();
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let outcome = self.stream.shutdown_write();
        self.stats.shutdowns.count(&outcome);
        self.observer.note(|| ConnectionEvent::ShutDown(outcome.as_ref().map_err(CallError::from).copied()));
        outcome
    }
}

fn moved(outcome: &io::Result<usize>) -> Result<usize, CallError> {
    outcome.as_ref().map_err(CallError::from).copied()
}
