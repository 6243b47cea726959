//! A socket that plays a script, and behaves as a kernel's does with edge-triggered readiness.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind, Read, Write};

use crate::conn::io::{Readiness, SHORT_CALL_IS_LAST, Transport};

/// What comes from the peer. Each is one edge.
#[derive(Debug, Clone)]
pub(super) enum Arrival {
    Bytes(Vec<u8>),
    /// An edge with nothing behind it: the read would block.
    Nothing,
    Eof,
    Reset,
    /// Reading fails so, writing does not.
    Fail(ErrorKind),
}

/// What the peer lets be written. Each is one edge.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    Bytes(usize),
    /// An edge with nothing behind it: the write would block.
    Nothing,
    /// The next write that finds no room takes zero bytes.
    Zero,
    /// The next write that finds no room fails so.
    Fail(ErrorKind),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Fin,
    Failed(ErrorKind),
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) arrivals: VecDeque<Arrival>,
    pub(super) rooms: VecDeque<Room>,
    /// Which calls, counted from 0 and reads and writes together, a signal interrupts.
    pub(super) interrupted_calls: BTreeSet<usize>,
    /// How much may be written now.
    pub(super) room: usize,
    pub(super) shutdown_error: Option<ErrorKind>,
    pub(super) written: Vec<u8>,
    pub(super) is_shut_down: bool,
    pub(super) reads: usize,
    pub(super) writes: usize,
    pub(super) read_bytes: usize,
    pub(super) edge: Readiness,
    unread: Vec<u8>,
    unread_at: usize,
    end: Option<End>,
    /// The end was read.
    is_end_read: bool,
    write_fault: Option<Room>,
    /// A read was short or would have blocked; only an edge permits another.
    read_waits: bool,
    /// A write was short or would have blocked; only an edge permits another.
    write_waits: bool,
    /// The connection knows that an end is to be read, and may look for it.
    read_closed_told: bool,
}

impl Socket {
    /// The peer reads all there is, and sends nothing.
    pub(super) fn new() -> Self {
        Self {
            arrivals: VecDeque::new(),
            rooms: VecDeque::new(),
            interrupted_calls: BTreeSet::new(),
            room: usize::MAX,
            shutdown_error: None,
            written: Vec::new(),
            is_shut_down: false,
            reads: 0,
            writes: 0,
            read_bytes: 0,
            edge: Readiness::default(),
            unread: Vec::new(),
            unread_at: 0,
            end: None,
            is_end_read: false,
            write_fault: None,
            // A new socket is not read before its first event, and is writable.
            read_waits: true,
            write_waits: false,
            read_closed_told: false,
        }
    }

    pub(super) fn calls(&self) -> usize {
        self.reads + self.writes
    }

    /// Lets the next of the script come from the peer. Returns whether there was any.
    pub(super) fn arrive(&mut self) -> bool {
        let Some(arrival) = self.arrivals.pop_front() else { return false };
        self.edge.readable = true;
        match arrival {
            // Nothing comes behind an end, but for a reset behind a FIN.
            Arrival::Reset if !self.has_failed() => self.reset(),
            _ if self.end.is_some() => {}
            Arrival::Bytes(bytes) => self.unread.extend(bytes),
            Arrival::Nothing => {}
            Arrival::Eof => self.end = Some(End::Fin),
            Arrival::Fail(kind) => self.end = Some(End::Failed(kind)),
            Arrival::Reset => {}
        }
        self.edge.read_closed |= self.end.is_some();
        self.edge.failed |= self.end == Some(End::Failed(ErrorKind::ConnectionReset));
        true
    }

    /// Lets the peer read the next of the script. Returns whether there was any.
    pub(super) fn make_room(&mut self) -> bool {
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

    /// The events that the kernel has, as one.
    pub(super) fn take_edge(&mut self) -> Readiness {
        let edge = std::mem::take(&mut self.edge);
        self.read_waits &= !edge.readable;
        self.write_waits &= !edge.writable;
        self.read_closed_told |= edge.read_closed;
        edge
    }

    /// The connection has reason to read although no edge came.
    pub(super) fn excuse_read(&mut self) {
        self.read_waits = false;
    }

    /// Whether nothing is left that a read would find.
    pub(super) fn is_drained(&self) -> bool {
        self.unread_len() == 0 && (self.end.is_none() || self.is_end_read)
    }

    /// Whether the next edge for writing is still to come.
    pub(super) fn is_blocked(&self) -> bool {
        self.write_waits
    }

    pub(super) fn unread_len(&self) -> usize {
        self.unread.len() - self.unread_at
    }

    /// Behind a FIN it is told by the event and by a write; a read tells of the FIN, as in Linux.
    fn reset(&mut self) {
        if self.end.is_none() {
            self.end = Some(End::Failed(ErrorKind::ConnectionReset));
        }
        self.edge.failed = true;
        self.write_fault = Some(Room::Fail(ErrorKind::BrokenPipe));
        self.room = 0;
        self.edge.writable = true;
    }

    fn has_failed(&self) -> bool {
        matches!(self.end, Some(End::Failed(_)))
    }

    fn interrupt(&mut self) -> io::Result<()> {
        let call = self.calls() - 1;
        if self.interrupted_calls.contains(&call) { Err(ErrorKind::Interrupted.into()) } else { Ok(()) }
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "a read of nothing looks like an end");
        assert!(!self.read_waits || self.read_closed_told || !SHORT_CALL_IS_LAST, "a read that no edge promised");
        self.reads += 1;
        self.interrupt()?;
        let len = buf.len().min(self.unread_len());
        if len > 0 {
            buf[..len].copy_from_slice(&self.unread[self.unread_at..self.unread_at + len]);
            self.unread_at += len;
            self.read_bytes += len;
            self.read_waits = len < buf.len();
            if self.unread_len() == 0 {
                self.unread.clear();
                self.unread_at = 0;
            }
            return Ok(len);
        }
        assert!(!self.is_end_read || self.read_closed_told, "a read behind the end that no event asked for");
        self.is_end_read = self.end.is_some();
        self.read_waits = true;
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
        self.interrupt()?;
        let len = bytes.len().min(self.room);
        if len == 0 {
            return match self.write_fault {
                Some(Room::Zero) => Ok(0),
                Some(Room::Fail(kind)) => Err(kind.into()),
                Some(Room::Bytes(_) | Room::Nothing) | None => {
                    self.write_waits = true;
                    Err(ErrorKind::WouldBlock.into())
                }
            };
        }
        self.room -= len;
        self.write_waits = len < bytes.len();
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
        self.read_waits = false;
        self.shutdown_error.map_or(Ok(()), |kind| Err(kind.into()))
    }
}
