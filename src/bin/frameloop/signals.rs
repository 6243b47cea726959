//! Signals, brought into the loop: what a handler of them does is set a flag and write a byte to a socket that the
//! reactor watches; everything else happens between two turns.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGUSR1};

/// The signals that the server answers.
#[derive(Debug)]
pub(crate) struct Signals {
    end: Channel,
    report: Channel,
}

impl Signals {
    /// Takes the signals over from their default actions.
    pub(crate) fn register() -> io::Result<Self> {
        Ok(Self { end: Channel::register(&[SIGINT, SIGTERM])?, report: Channel::register(&[SIGUSR1])? })
    }

    /// What becomes readable when a signal has come.
    pub(crate) fn sources(&self) -> [BorrowedFd<'_>; 2] {
        [self.end.readable.as_fd(), self.report.readable.as_fd()]
    }

    /// How many SIGINT and SIGTERM have come since the last call.
    pub(crate) fn take_ends(&mut self) -> usize {
        self.end.take()
    }

    /// Whether SIGUSR1 has come since the last call.
    pub(crate) fn take_report(&mut self) -> bool {
        self.report.take() > 0
    }
}

/// A flag, so that a turn without a signal costs no system call; and a socket that wakes the poll, with a byte for
/// each signal in it, so that two signals within one turn are still two.
#[derive(Debug)]
struct Channel {
    is_pending: Arc<AtomicBool>,
    readable: UnixStream,
}

impl Channel {
    fn register(signals: &[i32]) -> io::Result<Self> {
        let is_pending = Arc::new(AtomicBool::new(false));
        let (readable, written) = UnixStream::pair()?;
        readable.set_nonblocking(true)?;
        for signal in signals {
            // Actions run in the order of their registration: the flag is set when the byte wakes the poll.
            signal_hook::flag::register(*signal, Arc::clone(&is_pending))?;
            signal_hook::low_level::pipe::register(*signal, written.try_clone()?)?;
        }
        Ok(Self { is_pending, readable })
    }

    /// How many signals have come since the last call.
    ///
    /// A signal that comes while this runs is counted now or leaves its flag set; none is lost, as the one thread
    /// there is runs the handler to its end before it goes on here.
    fn take(&mut self) -> usize {
        if !self.is_pending.load(Ordering::Relaxed) {
            return 0;
        }
        self.is_pending.store(false, Ordering::SeqCst);

        let mut count = 0;
        let mut bytes = [0; 64];
        loop {
            match self.readable.read(&mut bytes) {
                Ok(0) => return count,
                Ok(len) => count += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return count,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use signal_hook::consts::SIGUSR2;
    use signal_hook::low_level::raise;

    use super::*;

    #[test]
    fn two_signals_between_two_looks_are_two() {
        let mut channel = Channel::register(&[SIGUSR2]).unwrap();
        assert_eq!(channel.take(), 0);
        for _ in 0..2 {
            raise(SIGUSR2).unwrap();
        }
        assert_eq!(channel.take(), 2);
        assert_eq!(channel.take(), 0);
    }

    #[test]
    fn without_a_signal_the_socket_is_not_read() {
        let (readable, mut written) = UnixStream::pair().unwrap();
        readable.set_nonblocking(true).unwrap();
        let mut channel = Channel { is_pending: Arc::default(), readable };
        written.write_all(b"X").unwrap();
        assert_eq!(channel.take(), 0);
        channel.is_pending.store(true, Ordering::SeqCst);
        assert_eq!(channel.take(), 1);
    }
}
