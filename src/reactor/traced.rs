//! A stream whose reads and writes are counted, and logged at trace level. On a plain socket each is one system call; a layer on
//! top of it makes its own, which are not counted.

use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use log::trace;

use crate::conn::io::Transport;
use crate::id::ConnId;
use crate::reactor::log_limit::CONN;
use crate::reactor::stats::Stats;

/// One connection's stream during a run.
#[derive(Debug)]
pub(crate) struct Traced<'a, S> {
    pub(crate) stream: &'a mut S,
    pub(crate) id: ConnId,
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
        let drains = self.stream.short_read_drains();
        trace!(target: CONN, "[{}] recv({}) = {}", self.id, buf.len(), read_result(&outcome, buf.len(), drains));
        outcome
    }
}

impl<S: Write> Write for Traced<'_, S> {
    #[inline]
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let outcome = self.stream.write(buf);
        self.count_write(&outcome);
        trace!(target: CONN, "[{}] send({}) = {}", self.id, buf.len(), write_result(&outcome, buf.len()));
        outcome
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
        let len = pieces.iter().map(|piece| piece.len()).sum();
        trace!(target: CONN, "[{}] sendmsg({len} in {} pieces) = {}", self.id, pieces.len(), write_result(&outcome, len));
        outcome
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
        match &outcome {
            Ok(()) => trace!(target: CONN, "[{}] shutdown(SHUT_WR): FIN follows the output", self.id),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                trace!(target: CONN, "[{}] shutdown(SHUT_WR): the transport has something to send before FIN", self.id);
            }
            Err(error) => trace!(target: CONN, "[{}] shutdown(SHUT_WR) = {error}", self.id),
        }
        outcome
    }
}

fn read_result(outcome: &io::Result<usize>, asked: usize, drains: bool) -> String {
    match outcome {
        Ok(0) => "0: end of stream".into(),
        Ok(len) if *len < asked && drains => format!("{len}: short read, the socket is drained"),
        Ok(len) if *len < asked => format!("{len}: short read, there may be more"),
        Ok(len) => format!("{len}: the buffer is full, there may be more"),
        Err(error) => error_result(error),
    }
}

fn write_result(outcome: &io::Result<usize>, asked: usize) -> String {
    match outcome {
        Ok(len) if *len < asked => format!("{len}: short write, the rest waits for a writable event"),
        Ok(len) => format!("{len}: all sent"),
        Err(error) => error_result(error),
    }
}

fn error_result(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock => "EAGAIN: wait for the next event".into(),
        io::ErrorKind::Interrupted => "EINTR: the call is repeated".into(),
        _ => error.to_string(),
    }
}
