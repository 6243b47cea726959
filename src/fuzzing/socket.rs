//! A socket that plays a script, and behaves as a kernel's does with edge-triggered readiness: a read or a write without an
//! edge that promised something is a needless system call, and fails the test.

// The fuzzers use a part of it.
#![cfg_attr(not(test), allow(dead_code))]

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};

use crate::conn::io::{Readiness, SHORT_CALL_IS_LAST, Transport};

/// What comes from the peer. Each is one edge.
#[derive(Debug, Clone)]
pub(crate) enum Arrival {
    Bytes(Vec<u8>),
    /// An edge with nothing behind it: the read would block.
    Nothing,
    Eof,
    Reset,
    /// Reading fails with this error, writing does not fail.
    Fail(ErrorKind),
}

/// What the peer lets be written. Each is one edge.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Room {
    Bytes(usize),
    /// An edge with nothing behind it: the write would block.
    Nothing,
    /// The next write that finds no room takes zero bytes.
    Zero,
    /// The next write that finds no room fails with this error.
    Fail(ErrorKind),
}

/// What follows the bytes that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Fin,
    Failed(ErrorKind),
}

#[derive(Debug, Default)]
pub(crate) struct Socket {
    pub(crate) arrivals: VecDeque<Arrival>,
    pub(crate) rooms: VecDeque<Room>,
    /// Which calls, counted from 0 and reads and writes together, a signal interrupts.
    pub(crate) interrupted_calls: BTreeSet<usize>,
    /// How many of the next calls would block, and are reported ready again.
    pub(crate) blocks: u8,
    /// The next read gets at most one byte more than this, and another edge follows.
    pub(crate) read_len_max: Option<u8>,
    /// How much may be written now.
    pub(crate) room: usize,
    pub(crate) shutdown_error: Option<ErrorKind>,
    /// Everything that has arrived.
    pub(crate) delivered: Vec<u8>,
    /// How much of it was read.
    pub(crate) read_bytes: usize,
    pub(crate) written: Vec<u8>,
    pub(crate) is_shut_down: bool,
    pub(crate) reads: usize,
    pub(crate) writes: usize,
    /// What an event has still to report.
    pub(crate) edge: Readiness,
    pub(crate) end: Option<End>,
    is_end_read: bool,
    write_fault: Option<Room>,
    /// A read had reason to expect something: an edge, or that the last read was not short.
    may_read: bool,
    /// A write was short or would have blocked; only an edge permits another.
    write_waits: bool,
    /// An event has reported the end, so that the connection may look for it.
    is_end_reported: bool,
}

impl Socket {
    /// The peer reads `room` bytes, and sends nothing. A new socket is not read before its first event.
    pub(crate) fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    pub(crate) fn calls(&self) -> usize {
        self.reads + self.writes
    }

    /// Lets the next of the script come from the peer. Returns whether there was any.
    pub(crate) fn arrive(&mut self) -> bool {
        let Some(arrival) = self.arrivals.pop_front() else { return false };
        match arrival {
            Arrival::Bytes(bytes) => self.deliver(&bytes),
            Arrival::Nothing => {}
            Arrival::Eof => self.finish(End::Fin),
            Arrival::Fail(kind) => self.finish(End::Failed(kind)),
            Arrival::Reset => self.reset(),
        }
        self.edge.readable = true;
        self.edge.read_closed |= self.end.is_some();
        true
    }

    /// Bytes arrive, unless the end has come before.
    pub(crate) fn deliver(&mut self, bytes: &[u8]) {
        if self.end.is_none() {
            self.delivered.extend(bytes);
            self.edge.readable = true;
        }
    }

    /// The end arrives, if none has come before.
    pub(crate) fn finish(&mut self, end: End) {
        self.end.get_or_insert(end);
        self.edge.readable = true;
        self.edge.read_closed = true;
    }

    /// RST arrives. Behind a FIN it is reported by the event and by a write; a read returns the FIN, as in Linux.
    pub(crate) fn reset(&mut self) {
        if !matches!(self.end, Some(End::Failed(_))) {
            self.finish(End::Failed(ErrorKind::ConnectionReset));
            self.edge.failed = true;
            self.fail_write(Room::Fail(ErrorKind::BrokenPipe));
        }
    }

    /// Lets the peer read the next of the script. Returns whether there was any.
    pub(crate) fn make_room(&mut self) -> bool {
        let Some(room) = self.rooms.pop_front() else { return false };
        self.edge.writable = true;
        match room {
            _ if self.write_fault.is_some() => {}
            Room::Bytes(len) => self.room = self.room.saturating_add(len),
            Room::Nothing => {}
            fault @ (Room::Zero | Room::Fail(_)) => self.write_fault = Some(fault),
        }
        true
    }

    /// The next write fails, whatever room there was.
    pub(crate) fn fail_write(&mut self, fault: Room) {
        self.write_fault = Some(fault);
        self.room = 0;
        self.edge.writable = true;
    }

    /// The next `count` calls are interrupted.
    pub(crate) fn interrupt(&mut self, count: usize) {
        self.interrupted_calls.extend(self.calls()..self.calls() + count);
    }

    /// Takes what an event has to report about these sides.
    pub(crate) fn report(&mut self, readable: bool, writable: bool) -> Readiness {
        let edge = Readiness {
            readable: self.edge.readable && readable,
            writable: self.edge.writable && writable,
            read_closed: self.edge.read_closed && readable,
            urgent: self.edge.urgent && readable,
            failed: self.edge.failed && (readable || writable),
        };
        self.edge.readable &= !readable;
        self.edge.read_closed &= !readable;
        self.edge.urgent &= !readable;
        self.edge.writable &= !writable;
        self.edge.failed &= !edge.failed;
        self.note(edge);
        edge
    }

    /// An event has reported this.
    pub(crate) fn note(&mut self, edge: Readiness) {
        self.may_read |= edge.readable;
        self.write_waits &= !edge.writable;
        self.is_end_reported |= edge.read_closed;
    }

    /// The connection has reason to read although no edge came.
    pub(crate) fn excuse_read(&mut self) {
        self.may_read = true;
    }

    /// Whether a read would find nothing.
    pub(crate) fn is_drained(&self) -> bool {
        self.read_bytes == self.delivered.len() && self.end.is_none()
    }

    /// Whether the next edge for writing is still to come.
    pub(crate) fn is_blocked(&self) -> bool {
        self.write_waits
    }

    /// What a call fails with before it does anything.
    fn begin_call(&mut self, call: usize) -> io::Result<()> {
        if self.interrupted_calls.contains(&call) {
            return Err(ErrorKind::Interrupted.into());
        }
        if self.blocks > 0 {
            self.blocks -= 1;
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(())
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "a read of nothing looks like an end");
        assert!(self.may_read || self.is_end_reported || !SHORT_CALL_IS_LAST, "a read that no edge promised");
        self.reads += 1;
        if let Err(error) = self.begin_call(self.calls() - 1) {
            if error.kind() == ErrorKind::WouldBlock {
                self.may_read = false;
                self.edge.readable = true;
            }
            return Err(error);
        }
        let unread = self.delivered.len() - self.read_bytes;
        let allowed = self.read_len_max.take().map_or(usize::MAX, |len| usize::from(len) + 1);
        let len = buf.len().min(unread).min(allowed);
        if len > 0 {
            buf[..len].copy_from_slice(&self.delivered[self.read_bytes..][..len]);
            self.read_bytes += len;
            self.may_read = len == buf.len();
            // The rest came meanwhile: another edge.
            self.edge.readable |= len < unread && !self.may_read;
            return Ok(len);
        }
        assert!(!self.is_end_read || self.is_end_reported, "a read behind the end that no event asked for");
        self.is_end_read = self.end.is_some();
        self.may_read = false;
        match self.end {
            Some(End::Fin) => Ok(0),
            Some(End::Failed(kind)) => Err(kind.into()),
            None => Err(ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "a write of nothing");
        assert!(!self.is_shut_down, "a write behind our FIN");
        assert!(!self.write_waits || !SHORT_CALL_IS_LAST, "a write that no edge promised");
        self.writes += 1;
        if let Err(error) = self.begin_call(self.calls() - 1) {
            if error.kind() == ErrorKind::WouldBlock {
                self.write_waits = true;
                self.edge.writable = true;
            }
            return Err(error);
        }
        let len = bytes.len().min(self.room);
        match self.write_fault {
            Some(Room::Zero) if len == 0 => return Ok(0),
            Some(Room::Fail(kind)) if len == 0 => return Err(kind.into()),
            Some(_) | None => {}
        }
        self.write_waits = len < bytes.len();
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= len;
        self.written.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Transport for Socket {
    fn shutdown_write(&mut self) -> io::Result<()> {
        assert!(!self.is_shut_down, "a second FIN");
        self.is_shut_down = true;
        // What the peer still sends is looked for at once.
        self.may_read = true;
        self.shutdown_error.map_or(Ok(()), |kind| Err(kind.into()))
    }
}
