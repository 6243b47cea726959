//! A socket in a script's hands, with the promises of edge-triggered readiness: whoever reads or writes without an edge that
//! promised something has made a needless system call, and whoever misses an edge waits for ever.

use std::io::{self, ErrorKind, Read, Write};

use crate::conn::io::{Readiness, SHORT_CALL_IS_LAST, Transport};

#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Everything that has arrived.
    pub(super) delivered: Vec<u8>,
    /// Everything that was taken.
    pub(super) written: Vec<u8>,
    /// How much more is taken.
    room: usize,
    pub(super) end: Option<End>,
    write_fault: Option<Fault>,
    fails_shutdown: bool,
    pub(super) interrupts: u8,
    pub(super) blocks: u8,
    pub(super) read_len_max: Option<u8>,
    pub(super) edge: Readiness,
    /// What was read of `delivered`.
    read: usize,
    is_shut_down: bool,
    // Invariant: a read waits for an edge unless it may find something that the last one did not.
    may_read: bool,
    waits_to_write: bool,
    knows_end: bool,
}

/// What lies behind the bytes that arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Fin,
    Failed(ErrorKind),
}

/// What becomes of the next write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Zero,
    Failed(ErrorKind),
}

impl Socket {
    pub(super) fn new(room: usize, fails_shutdown: bool) -> Self {
        Self { room, fails_shutdown, ..Self::default() }
    }

    pub(super) fn deliver(&mut self, bytes: &[u8]) {
        self.delivered.extend(bytes);
        self.edge.readable = true;
    }

    pub(super) fn make_room(&mut self, len: usize) {
        self.room = self.room.saturating_add(len);
        self.edge.writable = true;
    }

    pub(super) fn finish(&mut self, end: End) {
        if matches!(self.end, Some(End::Failed(_))) {
            return;
        }
        self.end = Some(end);
        self.edge.readable = true;
        self.edge.read_closed = true;
        self.edge.failed |= matches!(end, End::Failed(_));
    }

    pub(super) fn reset(&mut self) {
        self.finish(End::Failed(ErrorKind::ConnectionReset));
        self.fail_write(Fault::Failed(ErrorKind::BrokenPipe));
    }

    pub(super) fn fail_write(&mut self, fault: Fault) {
        self.write_fault = Some(fault);
        self.edge.writable = true;
    }

    /// Takes what is to be reported about these sides.
    pub(super) fn report(&mut self, readable: bool, writable: bool) -> Readiness {
        let told = Readiness {
            readable: self.edge.readable && readable,
            writable: self.edge.writable && writable,
            read_closed: self.edge.read_closed && readable,
            urgent: false,
            failed: self.edge.failed && (readable || writable),
        };
        self.edge.readable &= !readable;
        self.edge.read_closed &= !readable;
        self.edge.writable &= !writable;
        self.edge.failed &= !told.failed;
        self.tell(told);
        told
    }

    pub(super) fn tell(&mut self, edge: Readiness) {
        self.may_read |= edge.readable;
        self.waits_to_write &= !edge.writable;
        self.knows_end |= edge.read_closed;
    }

    /// The connection has a reason to read although no edge came.
    pub(super) fn excuse_read(&mut self) {
        self.may_read = true;
    }

    /// Whether a read would find nothing.
    pub(super) fn is_drained(&self) -> bool {
        self.read == self.delivered.len() && self.end.is_none()
    }

    /// Whether the next edge for writing is still to come.
    pub(super) fn waits_to_write(&self) -> bool {
        self.waits_to_write
    }

    pub(super) fn is_shut_down(&self) -> bool {
        self.is_shut_down
    }

    fn trouble(&mut self) -> Option<ErrorKind> {
        if self.interrupts > 0 {
            self.interrupts -= 1;
            return Some(ErrorKind::Interrupted);
        }
        if self.blocks > 0 {
            self.blocks -= 1;
            return Some(ErrorKind::WouldBlock);
        }
        None
    }
}

impl Read for Socket {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!buf.is_empty(), "a read of nothing looks like an end");
        assert!(self.may_read || self.knows_end || !SHORT_CALL_IS_LAST, "a read that no edge promised");
        if let Some(kind) = self.trouble() {
            if kind == ErrorKind::WouldBlock {
                self.may_read = false;
                self.edge.readable = true;
            }
            return Err(kind.into());
        }
        let unread = self.delivered.len() - self.read;
        let allowed = self.read_len_max.take().map_or(usize::MAX, |len| usize::from(len) + 1);
        let len = buf.len().min(unread).min(allowed);
        if len == 0 {
            self.may_read = false;
            return match self.end {
                Some(End::Fin) => Ok(0),
                Some(End::Failed(kind)) => Err(kind.into()),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        buf[..len].copy_from_slice(&self.delivered[self.read..self.read + len]);
        self.read += len;
        self.may_read = len == buf.len();
        // The rest came meanwhile: another edge.
        self.edge.readable |= len < unread && !self.may_read;
        Ok(len)
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "a write of nothing");
        assert!(!self.is_shut_down, "a write behind our FIN");
        assert!(!self.waits_to_write || !SHORT_CALL_IS_LAST, "a write that no edge promised");
        if let Some(kind) = self.trouble() {
            if kind == ErrorKind::WouldBlock {
                self.waits_to_write = true;
                self.edge.writable = true;
            }
            return Err(kind.into());
        }
        match self.write_fault {
            Some(Fault::Zero) => return Ok(0),
            Some(Fault::Failed(kind)) => return Err(kind.into()),
            None => {}
        }
        let len = bytes.len().min(self.room);
        self.waits_to_write = len < bytes.len();
        if len == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= len;
        self.written.extend(&bytes[..len]);
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
        if self.fails_shutdown { Err(ErrorKind::NotConnected.into()) } else { Ok(()) }
    }
}
