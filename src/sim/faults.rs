//! The faults of a simulated network.

use std::io;

/// Sets how often each fault happens, in thousandths of the calls that it can affect. Default 0 for each: no faults.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// `EINTR` from a read, a write or an accept.
    pub interrupted: u16,
    /// `EAGAIN` from a read, a write or an accept that could succeed; an edge follows.
    pub would_block: u16,
    /// A write accepts only some of the bytes; an edge follows.
    pub short_write: u16,
    /// A read returns only some of the bytes; an edge follows.
    pub short_read: u16,
    /// A write returns 0.
    pub write_zero: u16,
    /// The connection is reset when the server reads or writes.
    pub reset: u16,
    /// Bytes or FIN of a peer arrive in the middle of a turn, before or after one of the server's calls.
    pub late: u16,
    /// `ECONNABORTED` from an accept; the connection is lost.
    pub accept_aborted: u16,
    /// `EMFILE`, `ENFILE`, `ENOBUFS` or `ENOMEM` from an accept; the connection stays in the listen queue.
    pub accept_exhausted: u16,
    /// A dial is refused (`ECONNREFUSED`).
    pub dial_refused: u16,
    /// A dial gets no answer.
    pub dial_unanswered: u16,
    /// The readiness queue refuses a new connection.
    pub register: u16,
}

/// The errors of a kernel without a descriptor or memory for another connection (`accept(2)`, "Errors").
pub(crate) const EXHAUSTIONS: [i32; 4] = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS];

/// `ENOSPC`: a user may watch no more descriptors (`epoll_ctl(2)`, "Errors").
pub(crate) fn no_space() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOSPC)
}
