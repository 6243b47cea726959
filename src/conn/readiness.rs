//! A connection's socket: what the kernel has reported of it, and the calls that use that up.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};

use crate::conn::workbench::Budget;
use crate::error::CloseReason;

/// A nonblocking byte stream in both directions.
pub trait Transport: Read + Write {
    /// Writes the bytes of all `pieces` in one call, as if they lay in one: in order, and as many as there is room for.
    ///
    /// That is also what happens by default, with a copy.
    ///
    /// # Errors
    ///
    /// What the socket answered.
    fn write_pieces(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let pieces: Vec<&[u8]> = pieces.iter().map(|piece| &**piece).collect();
        self.write(&pieces.concat())
    }

    /// Sends FIN: nothing more will be written.
    ///
    /// # Errors
    ///
    /// What the socket answered.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Whether a read would find something: bytes, an end or an error. Nothing is taken.
    ///
    /// By default it is assumed.
    fn has_input(&mut self) -> bool {
        true
    }

    /// Whether a read of fewer bytes than were asked for has drained the socket, unless the kernel has reported an end or
    /// urgent data.
    ///
    /// Not so on a Unix socket, where a read stops at ancillary data, behind which more may wait (`unix(7)`).
    fn short_read_drains(&self) -> bool {
        true
    }

    /// Bytes that were written and that the peer's kernel has not acknowledged; on a Unix socket, that the peer has not read.
    /// `None`, as by default: there is no way to tell.
    ///
    /// # Errors
    ///
    /// What the socket answered.
    fn unacknowledged_bytes(&self) -> io::Result<Option<usize>> {
        Ok(None)
    }

    /// At least as many bytes as [`unacknowledged_bytes`](Self::unacknowledged_bytes), where that costs less to find out. As
    /// many by default.
    ///
    /// # Errors
    ///
    /// What the socket answered.
    fn unacknowledged_bytes_max(&self) -> io::Result<Option<usize>> {
        self.unacknowledged_bytes()
    }

    /// Lets the kernel take little of what the peer does not read yet, or as much as it likes, as in the beginning.
    ///
    /// Nothing happens by default.
    fn limit_unsent(&mut self, is_limited: bool) {
        let _ = is_limited;
    }

    /// Closes the connection with a reset: what was written and not received is lost, and takes no memory any more. Nothing
    /// is read or written afterwards.
    ///
    /// Nothing happens by default.
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
    /// Urgent data has come: a read stops at its mark, behind which more may wait (`tcp(7)`).
    pub urgent: bool,
    /// The connection is broken: it was reset, or timed out. Where nothing is to be read or written, only this tells.
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

impl Readiness {
    /// One read of no more than the budget allows, repeated when a signal interrupts it. `Ok(None)` is `WouldBlock`,
    /// `Ok(Some(0))` the peer's FIN.
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
}

/// Whether a read or write of fewer bytes than were asked for has emptied or filled the socket, so that the next call
/// would block and the kernel will report the next edge (`epoll(7)`, "Questions and answers", 9; `kqueue(2)`).
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

/// Why a connection ends whose socket answered with `error`.
pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
    match error.kind() {
        io::ErrorKind::WriteZero => CloseReason::WriteZero,
        _ => CloseReason::from(error),
    }
}
