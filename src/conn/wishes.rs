//! What a transport needs of its socket on its own account: a layer, such as TLS, holds bytes, and may need the direction that the
//! connection does not use.
//!
//! Rule: at the end of a turn, a transport that holds output has found the socket full, a transport that holds input is read in the next
//! turn, and a write that waited for input waits no longer than the input. A plain socket wants none of this, which is one condition at
//! the beginning of a turn and one at its end.

use std::io;

use crate::conn::Conn;
use crate::conn::io::{Readiness, Transport, reason_of};
use crate::conn::state::State;
use crate::error::CloseReason;

/// Follows over a turn whether a write waits for input.
///
/// Rule: a write that waits for input is repeated after each read, in this turn or the next: the read may have got what it waited for, or
/// a part of it, which the transport answers.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    /// A write has waited for input.
    has_waited: bool,
    /// There was something to read.
    was_readable: bool,
}

impl Wishes {
    /// Before the connection does anything: sends what the transport holds, and lets a write that waits for input try again.
    #[inline]
    pub(crate) fn begin(conn: &mut Conn, io: &mut impl Transport) -> Self {
        if !wants_any(io) || matches!(conn.state, State::Lingering { .. } | State::Closed(_)) {
            return Self { has_waited: false, was_readable: conn.readiness.readable };
        }
        let mut wishes = Self { has_waited: io.wants_read(), was_readable: false };
        conn.readiness.writable |= wishes.has_waited && conn.readiness.readable;
        wishes.flush(conn, io);
        wishes.was_readable = conn.readiness.readable;
        wishes
    }

    /// After a write.
    #[inline]
    pub(crate) fn has_written(&mut self, io: &impl Transport) {
        if io.wants_read() {
            self.has_waited = true;
        }
    }

    /// After the connection has read and written: sends what the transport holds by now.
    #[inline]
    pub(crate) fn end(&mut self, conn: &mut Conn, io: &mut impl Transport) {
        if !(self.has_waited || wants_any(io)) || matches!(conn.state, State::Lingering { .. } | State::Closed(_)) {
            return;
        }
        // A write that has waited may try again.
        let has_come = self.was_readable && !conn.readiness.readable;
        conn.readiness.writable |= self.has_waited && (has_come || !io.wants_read());
        self.flush(conn, io);
    }

    #[inline]
    fn flush(&mut self, conn: &mut Conn, io: &mut impl Transport) {
        if io.wants_write() {
            match conn.readiness.flush(io) {
                Ok(()) => self.has_written(io),
                Err(reason) => conn.state.failed(reason),
            }
        }
        conn.readiness.readable |= io.has_buffered_input();
    }

    /// Sends FIN, or what the transport has to send before, as far as that is possible now.
    pub(crate) fn shut_down(&mut self, conn: &mut Conn, io: &mut impl Transport) {
        let was_shutting_down = conn.state.is_shutting_down();
        // An end that was read already is read again.
        let looks = match conn.readiness.shut_down(io) {
            Ok(false) => {
                conn.state.fin_postponed();
                conn.state.is_shutting_down() && !was_shutting_down
            }
            outcome => {
                conn.state.fin_sent(outcome.is_ok());
                outcome.is_err() || conn.state.is_lingering()
            }
        };
        conn.readiness.readable |= looks || io.has_buffered_input();
        self.has_written(io);
        self.was_readable |= conn.readiness.readable;
    }
}

/// Whether the transport wants anything of its socket. The constant answers of a plain socket remove what depends on it.
#[inline]
fn wants_any(io: &impl Transport) -> bool {
    io.wants_read() || io.wants_write() || io.has_buffered_input()
}

impl Readiness {
    /// Flushes what the transport holds, if there may be room; repeats the call if a signal interrupts it.
    fn flush(&mut self, io: &mut impl Transport) -> Result<(), CloseReason> {
        while self.writable {
            match io.flush() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.writable = false,
                Err(error) => return Err(reason_of(&error)),
            }
        }
        Ok(())
    }

    /// Sends what is left before FIN, and FIN. Returns `Ok(false)` if something has to be sent or received before.
    fn shut_down(&mut self, io: &mut impl Transport) -> io::Result<bool> {
        loop {
            return match io.shutdown_write() {
                Ok(()) => Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(false)
                }
                Err(error) => Err(error),
            };
        }
    }
}
