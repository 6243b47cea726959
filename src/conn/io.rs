//! The socket of a connection: what it can do, what the kernel has reported, and one turn's budget for using that up.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use crate::conn::limits::Limits;
use crate::error::CloseReason;

/// A nonblocking byte stream in both directions.
pub trait Transport: Read + Write {
    /// Writes the bytes of all `pieces` in one call, in order, as many as the socket accepts.
    ///
    /// The default copies them into one buffer first.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        self.write(&pieces.concat())
    }

    /// Sends FIN: nothing more will be written.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Returns whether a read would return bytes, an end or an error. Consumes nothing.
    ///
    /// The default returns `true`.
    fn has_input(&mut self) -> bool {
        true
    }

    /// Returns whether a short read has drained the socket, unless the kernel has reported an end or urgent data.
    ///
    /// It has not on a Unix socket, where a read stops at ancillary data, and more may follow (`unix(7)`).
    fn short_read_drains(&self) -> bool {
        true
    }

    /// Returns how many written bytes the peer's kernel has not acknowledged; on a Unix socket, how many the peer has not
    /// read. `None`, which is the default, means that the platform does not report it.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// Returns an upper bound of [`unacknowledged_bytes`](Self::unacknowledged_bytes), where that is cheaper to find. The
    /// default returns the exact number.
    ///
    /// # Errors
    ///
    /// The error of the socket.
    fn unacknowledged_bytes_max(&self) -> io::Result<Option<usize>> {
        self.unacknowledged_bytes()
    }

    /// Limits how many bytes that the peer does not read the kernel accepts, or lifts that limit.
    ///
    /// The default does nothing.
    fn limit_unsent(&mut self, is_limited: bool) {
        let _ = is_limited;
    }

    /// Closes the connection with RST: bytes that were written and not received are lost, and use no memory any more.
    /// Nothing is read or written afterwards.
    ///
    /// The default does nothing.
    fn reset(&mut self) {}
}

/// What the kernel reports about a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Readiness {
    /// There may be something to read.
    pub readable: bool,
    /// There may be room to write.
    pub writable: bool,
    /// The peer's FIN or an error is waiting to be read: a short read is not the last one.
    pub read_closed: bool,
    /// Urgent data has come: a read stops at its mark, and more may follow (`tcp(7)`).
    pub urgent: bool,
    /// The connection was reset or timed out. If nothing is to be read or written, no call reports that.
    pub failed: bool,
}

impl std::ops::BitOrAssign for Readiness {
    #[inline]
    fn bitor_assign(&mut self, more: Self) {
        self.readable |= more.readable;
        self.writable |= more.writable;
        self.read_closed |= more.read_closed;
        self.urgent |= more.urgent;
        self.failed |= more.failed;
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            (self.readable, "readable"),
            (self.writable, "writable"),
            (self.read_closed, "read-closed"),
            (self.urgent, "urgent"),
            (self.failed, "failed"),
        ];
        let mut separator = "";
        for (_, word) in words.into_iter().filter(|(is_set, _)| *is_set) {
            write!(f, "{separator}{word}")?;
            separator = ", ";
        }
        Ok(())
    }
}

/// Whether a short read or write has emptied or filled the socket, so that the next call would return `EAGAIN` and the
/// kernel will report the next edge (`epoll(7)`, "Questions and answers", 9; `kqueue(2)`).
pub(crate) const SHORT_CALL_IS_LAST: bool = cfg!(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "freebsd",
    target_os = "dragonfly",
    target_os = "netbsd",
    target_os = "openbsd",
));

impl Readiness {
    /// Reads once, at most what the budget allows; repeats the call if a signal interrupts it. Returns `Ok(None)` on
    /// `EAGAIN`, and `Ok(Some(0))` on the peer's FIN.
    ///
    /// Rule: a short read uses up the edge only where nothing but an empty socket can shorten it. An end, urgent data and
    /// ancillary data can. Once urgent data was seen, no short read of the connection counts as the last.
    pub(crate) fn read(
        &mut self,
        io: &mut impl Transport,
        spare: &mut [u8],
        budget: &mut Budget,
    ) -> Result<Option<usize>, CloseReason> {
        let len = spare.len().min(budget.read_len_max());
        let spare = &mut spare[..len];
        loop {
            return match io.read(spare) {
                Ok(len) => {
                    let may_stop = self.urgent || !io.short_read_drains();
                    let may_be_last = SHORT_CALL_IS_LAST && !self.read_closed && !may_stop;
                    let is_last = len == 0 || (len < spare.len() && may_be_last);
                    self.readable = !is_last;
                    budget.note_read(len);
                    Ok(Some(len))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Ok(None)
                }
                Err(error) => Err(reason_of(&error)),
            };
        }
    }

    /// Writes once, at most what the budget allows; repeats the call if a signal interrupts it. Returns how many bytes the
    /// socket accepted: none on `EAGAIN`.
    #[inline]
    pub(crate) fn write(
        &mut self,
        io: &mut impl Transport,
        bytes: &[u8],
        budget: &mut Budget,
    ) -> Result<usize, CloseReason> {
        let asked = bytes.len().min(budget.write_len_max());
        self.write_with(asked, budget, || io.write(&bytes[..asked]))
    }

    /// Calls `write`, which writes `asked` bytes, in the same way.
    #[inline]
    pub(crate) fn write_with(
        &mut self,
        asked: usize,
        budget: &mut Budget,
        mut write: impl FnMut() -> io::Result<usize>,
    ) -> Result<usize, CloseReason> {
        loop {
            return match write() {
                Ok(0) => Err(CloseReason::WriteZero),
                Ok(len) => {
                    self.writable = len == asked || !SHORT_CALL_IS_LAST;
                    budget.note_written(len);
                    Ok(len)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(0)
                }
                Err(error) => Err(reason_of(&error)),
            };
        }
    }
}

fn reason_of(error: &io::Error) -> CloseReason {
    if error.kind() == io::ErrorKind::WriteZero { CloseReason::WriteZero } else { CloseReason::from(error) }
}

/// What one connection may still do in this turn.
///
/// Its own budgets, `read_bytes` and `write_bytes`, end its turn after the call that crosses them. The share of the reactor's
/// budget, `allowance`, is never crossed: a call asks for less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) read_bytes: usize,
    pub(crate) write_bytes: usize,
    pub(crate) frames: usize,
    allowance: usize,
    /// The half of the allowance that may be read, so that what is read can be echoed within the other half.
    read_allowance: usize,
    /// Bytes read so far.
    pub(crate) bytes_in: usize,
    /// Bytes written so far.
    pub(crate) bytes_out: usize,
}

impl Budget {
    pub(crate) fn new(limits: &Limits, allowance: usize) -> Self {
        Self {
            read_bytes: limits.read_budget_bytes,
            write_bytes: limits.write_budget_bytes,
            frames: limits.frame_budget,
            allowance,
            read_allowance: allowance.div_ceil(2),
            bytes_in: 0,
            bytes_out: 0,
        }
    }

    /// A budget for writes alone.
    #[cfg(any(test, feature = "micro"))]
    pub(crate) fn to_write(write_bytes: usize) -> Self {
        let allowance = usize::MAX;
        Self { read_bytes: 0, write_bytes, frames: 0, allowance, read_allowance: 0, bytes_in: 0, bytes_out: 0 }
    }

    pub(crate) fn may_read(&self) -> bool {
        self.read_bytes > 0 && self.read_len_max() > 0
    }

    pub(crate) fn may_write(&self) -> bool {
        self.write_bytes > 0 && self.allowance > 0
    }

    /// The most bytes that one read may ask for.
    #[inline]
    fn read_len_max(&self) -> usize {
        self.read_allowance.min(self.allowance)
    }

    /// The most bytes that one write may hold.
    #[inline]
    pub(crate) fn write_len_max(&self) -> usize {
        self.allowance
    }

    #[inline]
    fn note_read(&mut self, len: usize) {
        self.bytes_in += len;
        self.read_bytes = self.read_bytes.saturating_sub(len);
        self.read_allowance = self.read_allowance.saturating_sub(len);
        self.allowance = self.allowance.saturating_sub(len);
    }

    #[inline]
    fn note_written(&mut self, len: usize) {
        self.bytes_out += len;
        self.write_bytes = self.write_bytes.saturating_sub(len);
        self.allowance = self.allowance.saturating_sub(len);
    }
}
