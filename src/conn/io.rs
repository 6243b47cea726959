//! The socket of a connection: what it can do, what the kernel has reported, and one turn's budget for using that up.
//!
//! What a transport on top of a socket, such as TLS, needs beyond that is in [`wishes`](crate::conn::wishes).

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;

use crate::conn::budgets::Budgets;
use crate::error::CloseReason;

/// A nonblocking byte stream in both directions: a socket, or a layer on top of one, such as TLS.
///
/// Each connection owns one and makes all calls. `frameloop::sim::transport_contract` (feature `sim`) checks a transport
/// against the rules on this page, and [`Wrapped`](crate::net::Wrapped) puts it on the sockets of a [`Net`](crate::net::Net).
///
/// # Results
///
/// Events are edges (`epoll(7)`): one comes when something changes, not while something is true. So the connection goes on
/// without an event until a call has shown that the transport can do no more.
///
/// | call | result | what the connection does |
/// |---|---|---|
/// | `read` | as many bytes as were asked for | It reads again. |
/// | `read` | fewer bytes | If [`short_read_drains`](Self::short_read_drains) and not [`has_buffered_input`](Self::has_buffered_input), it waits for a readable event; otherwise it reads again. |
/// | `read` | `Ok(0)` | The peer has finished in order, and sends nothing more. Each further read returns `Ok(0)`. |
/// | `write`, [`write_pieces`](Self::write_pieces) | all bytes | It may write more. |
/// | `write`, `write_pieces` | fewer bytes | It keeps the rest, and waits for a writable event. |
/// | `write`, `write_pieces` | `Ok(0)` | It closes with [`CloseReason::WriteZero`](crate::CloseReason::WriteZero): no buffer of the connection is ever empty. |
/// | `flush` | `Ok(())` | Nothing is held inside any more, and [`wants_write`](Self::wants_write) is false. |
/// | [`shutdown_write`](Self::shutdown_write) | `Ok(())` | FIN follows everything that was written. |
/// | any | `WouldBlock` | It waits for an event in the direction of the call, or in the other one if the transport wants that; then it repeats the call. |
/// | any | `Interrupted` | It repeats the call immediately. A transport may also repeat the call of its socket itself. |
/// | any | another error | It closes with the [`CloseReason`](crate::CloseReason) of the error. Only [`reset`](Self::reset) and drop follow. |
///
/// Rule: a transport returns `WouldBlock`, or moves fewer bytes than asked for, only after its socket has done that in the same
/// call. That arms the next edge: without it, no event comes, and the connection waits forever. So a transport reads and writes
/// records until the socket would block, and a layer whose reads may leave something in the socket returns `false` from
/// `short_read_drains`.
///
/// # Bytes held inside
///
/// A layer may hold output: bytes that it has accepted in a `write` or made itself (a handshake, an alert, an answer to a key
/// update), and that the socket has not accepted. Then `wants_write` is true, and the connection calls `flush` on each writable
/// event, at the end of each turn in which the socket still has room, and before `shutdown_write`, also when the connection's
/// own output is empty. While a layer holds output, a `write` sends that first; bytes that it did not report as written, it
/// has forgotten, because the connection writes them again, perhaps together with others. So what is held stays below one record, or
/// whatever bound the transport states.
///
/// A layer may hold input: bytes that it has decoded and a short buffer had no room for, an end, or an error. Then
/// `has_buffered_input` is true, and the connection reads again without an event. An incomplete record is no input yet: `read`
/// returns `WouldBlock` for it, never `Ok(0)`.
///
/// # The opposite direction
///
/// - A `write`, a `flush` or a `shutdown_write` that has to receive something first, such as the peer's handshake, reads from the
///   socket itself, and returns `WouldBlock` while [`wants_read`](Self::wants_read) is true. The connection repeats it after
///   the next readable event, even if it does not read, because its handler has paused or backpressure has.
/// - A `read` that has to send something first returns `WouldBlock` while `wants_write` is true. Once the connection's `flush`
///   has succeeded, `has_buffered_input` is true if the read may go on.
///
/// # The end
///
/// 1. To close a connection, or to [finish](crate::Connection::finish) it, `shutdown_write` is called once no output is pending. It sends what is held, then the closing message if there is one
///    (`close_notify`, RFC 8446, section 6.1), then FIN. If it returns `WouldBlock`, it is repeated until it has succeeded.
/// 2. After that nothing is written or flushed.
/// 3. A connection that closes reads and discards input meanwhile, and after FIN until the end of the peer's stream. Each of the two
///    takes no longer than the [`linger_timeout`](crate::ConfigBuilder::linger_timeout). If it ends before FIN, the connection is reset,
///    with [`CloseReason::WriteTimeout`](crate::CloseReason::WriteTimeout).
/// 4. If the peer has finished first, the connection is closed without `shutdown_write`, unless the transport
///    [has a closing message](Self::has_closing_message) or wants to write.
/// 5. A deadline, an eviction or an abort calls neither `flush` nor `shutdown_write`. It calls `reset` if output would be lost.
/// 6. Drop closes the socket. It never blocks, and it needs not send anything.
///
/// A layer on top of one with a closing message reports the end of the stream after that one has: closing a socket with unread input
/// would reset the connection.
///
/// A layer that has a closing message returns `UnexpectedEof` from `read` if the socket's stream ends without one: otherwise an
/// attacker could truncate the stream. A reset of the socket is an error in each direction, `ConnectionReset` or `BrokenPipe`, also for a
/// layer.
///
/// # Deadlines
///
/// The idle timeout counts bytes that the connection reads and writes. What a layer exchanges on its own, such as a handshake,
/// is no activity: an idle timeout bounds it. With pending output, the write timeout bounds it as well.
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

    /// Sends FIN after everything that was written: nothing more will be written. A layer sends its closing message before.
    ///
    /// # Errors
    ///
    /// `WouldBlock` if something that goes before FIN is held inside, and has to wait; then it is called again. Otherwise the
    /// error of the socket, which ends the connection.
    fn shutdown_write(&mut self) -> io::Result<()>;

    /// Returns our address; a layer returns that of its socket. [`ConnectionInfo::local`](crate::ConnectionInfo::local) shows it.
    ///
    /// The default returns `None`.
    fn local_addr(&self) -> Option<SocketAddr> {
        None
    }

    /// Returns whether [`shutdown_write`](Self::shutdown_write) has a message to send before FIN. Then it is called in every orderly end,
    /// also after the peer has finished. It is false once that call has succeeded.
    ///
    /// The default returns `false`.
    #[inline]
    fn has_closing_message(&self) -> bool {
        false
    }

    /// Returns whether a write, a flush or a shutdown that would block waits for input: it is repeated after a readable event.
    ///
    /// The default returns `false`.
    #[inline]
    fn wants_read(&self) -> bool {
        false
    }

    /// Returns whether bytes for the socket are held inside: `flush` is called after a writable event. It is false after
    /// a flush that has succeeded, and after FIN.
    ///
    /// The default returns `false`.
    #[inline]
    fn wants_write(&self) -> bool {
        false
    }

    /// Returns whether a read may return something, bytes, an end or an error, although the socket reports no further edge.
    /// It is false after a read that would block, unless something was flushed since, and after a read that has returned 0.
    ///
    /// The default returns `false`.
    #[inline]
    fn has_buffered_input(&self) -> bool {
        false
    }

    /// Returns whether a read would return bytes, an end or an error. Consumes nothing.
    ///
    /// It is asked before the connection is closed in favor of another. The default returns `true`.
    fn has_input(&mut self) -> bool {
        true
    }

    /// Returns whether a short read has drained the socket, unless the kernel has reported an end or urgent data.
    ///
    /// It has not on a Unix socket, where a read stops at ancillary data, and more may follow (`unix(7)`). Nor has it on a layer
    /// that returns a record at a time. The default returns `true`.
    fn short_read_drains(&self) -> bool {
        true
    }

    /// Returns how many written bytes the peer's kernel has not acknowledged; on a Unix socket, how many the peer has not
    /// read. A layer adds what it holds. `None`, which is the default, means that the platform does not report it.
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
                    let may_stop = self.urgent || !io.short_read_drains() || io.has_buffered_input();
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

pub(crate) fn reason_of(error: &io::Error) -> CloseReason {
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
    pub(crate) fn new(budgets: &Budgets, allowance: usize) -> Self {
        Self {
            read_bytes: budgets.read_budget_bytes,
            write_bytes: budgets.write_budget_bytes,
            frames: budgets.frame_budget,
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
