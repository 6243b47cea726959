//! What goes wrong in a simulated network.

use std::io;

/// How often which fault happens, in thousandths of the calls that it can happen to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// `EINTR` from a read, a write or an accept.
    pub interrupted: u16,
    /// `EAGAIN` from a read, a write or an accept that could go on; an edge follows.
    pub would_block: u16,
    /// A write takes only some of the bytes; an edge follows.
    pub short_write: u16,
    /// A read brings only some of the bytes; an edge follows.
    pub short_read: u16,
    /// A write takes nothing, and says so as 0.
    pub write_zero: u16,
    /// The connection is reset when the server reads or writes.
    pub reset: u16,
    /// What a peer sends, its FIN too, comes while a turn is under way: before or after one of the server's calls.
    pub late: u16,
    /// `ECONNABORTED` from an accept; the connection is lost.
    pub accept_aborted: u16,
    /// `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM` from an accept; the connection stays in the listen queue.
    pub accept_exhausted: u16,
    /// Nobody listens where a connection is dialed to (`ECONNREFUSED`).
    pub dial_refused: u16,
    /// Nobody answers a dial.
    pub dial_unanswered: u16,
    /// The readiness queue does not take a new connection.
    pub register: u16,
}

/// What the kernel answers when it has no descriptor or memory for another connection: `EMFILE`, `ENFILE`, `ENOMEM` and
/// `ENOBUFS` (`accept(2)`, "Errors").
pub(crate) const EXHAUSTIONS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];

/// `ENOSPC`: a user may watch no more descriptors (`epoll_ctl(2)`, "Errors").
pub(crate) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
