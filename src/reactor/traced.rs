//! A stream whose reads and writes are counted and observed. On a plain socket each is one system call; a layer on
//! top of it makes its own, which are not counted.

use std::cell::Cell;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use crate::conn::io::Transport;
use crate::reactor::event::{CallError, ConnectionEvent};
use crate::reactor::observer::Observer;
use crate::stats::{Calls, Stats};

/// One connection's stream during a run.
#[derive(Debug)]
pub(crate) struct Traced<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) observer: Observer<'a>,
    pub(crate) counts: &'a SocketCounts,
}

impl<S: Transport> Read for Traced<'_, S> {
    #[inline]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let outcome = self.stream.read(buf);
        self.counts.count_read(&outcome);
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
        self.counts.count_write(&outcome);
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
        self.counts.count_write(&outcome);
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
        self.counts.count_shutdown(&outcome);
        self.observer.note(|| ConnectionEvent::ShutDown(outcome.as_ref().map_err(CallError::from).copied()));
        outcome
    }
}

fn moved(outcome: &io::Result<usize>) -> Result<usize, CallError> {
    outcome.as_ref().map_err(CallError::from).copied()
}

/// The calls on the sockets of all connections, and the bytes that they have moved. A connection counts while it runs, and its callbacks
/// may read the counts meanwhile: so they are cells.
#[derive(Debug, Default)]
pub(crate) struct SocketCounts {
    reads: Cell<Calls>,
    writes: Cell<Calls>,
    shutdowns: Cell<Calls>,
    bytes_in: Cell<u64>,
    bytes_out: Cell<u64>,
}

impl SocketCounts {
    #[inline]
    pub(crate) fn count_read(&self, outcome: &io::Result<usize>) {
        count(&self.reads, outcome);
        self.bytes_in.set(self.bytes_in.get() + moved_bytes(outcome));
    }

    #[inline]
    pub(crate) fn count_write(&self, outcome: &io::Result<usize>) {
        count(&self.writes, outcome);
        self.bytes_out.set(self.bytes_out.get() + moved_bytes(outcome));
    }

    pub(crate) fn count_shutdown(&self, outcome: &io::Result<()>) {
        count(&self.shutdowns, outcome);
    }

    /// Bytes read and written.
    pub(crate) fn bytes_moved(&self) -> u64 {
        self.bytes_in.get() + self.bytes_out.get()
    }

    /// Writes the counts to a snapshot.
    pub(crate) fn write_to(&self, stats: &mut Stats) {
        stats.reads = self.reads.get();
        stats.writes = self.writes.get();
        stats.shutdowns = self.shutdowns.get();
        stats.bytes_in = self.bytes_in.get();
        stats.bytes_out = self.bytes_out.get();
    }
}

#[inline]
fn count<T>(calls: &Cell<Calls>, outcome: &io::Result<T>) {
    let mut counted = calls.get();
    counted.count(outcome);
    calls.set(counted);
}

#[inline]
fn moved_bytes(outcome: &io::Result<usize>) -> u64 {
    outcome.as_ref().map_or(0, |len| *len as u64)
}
