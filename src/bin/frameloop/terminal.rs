//! The terminal's settings, and what is shown on it: restored whichever way the process ends.
//!
//! Rule: what restores the terminal waits for the output under way, but not forever, and nothing is shown afterwards.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

use crate::streams::Stream;

struct Kept {
    settings: Termios,
    /// What is written when the settings are restored.
    leave: &'static [u8],
}

static KEPT: Mutex<Option<Kept>> = Mutex::new(None);

/// Held while something is written.
static OUTPUT: Mutex<()> = Mutex::new(());

/// How long restoring waits for the output under way, and for room for its own.
const PATIENCE: Duration = Duration::from_millis(100);

/// From one look at the lock to the next.
const PAUSE: Duration = Duration::from_millis(1);

/// Keeps the terminal's settings, to be restored when the process ends, and `leave` to be written then.
pub(crate) fn keep(leave: &'static [u8]) {
    let settings = tcgetattr(io::stdin()).ok();
    *lock(&KEPT) = settings.map(|settings| Kept { settings, leave });
}

/// Writes to the terminal, unless its settings were restored.
#[cfg(feature = "tui")]
pub(crate) fn write(bytes: &[u8]) -> io::Result<()> {
    let _output = lock(&OUTPUT);
    if lock(&KEPT).is_none() {
        return Ok(());
    }
    Stream(io::stdout()).write_all(bytes)
}

/// Restores the settings, if they were kept, and leaves what is shown.
pub(crate) fn restore() {
    let Some(kept) = lock(&KEPT).take() else { return };
    let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &kept.settings);
    let output = output_within(PATIENCE);
    if output.is_some() && has_room() {
        let _ = Stream(io::stdout()).write_all(kept.leave);
    }
}

fn output_within(patience: Duration) -> Option<MutexGuard<'static, ()>> {
    let until = Instant::now() + patience;
    loop {
        match OUTPUT.try_lock() {
            Ok(output) => return Some(output),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < until => thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// Whether the terminal takes a few bytes: one that is stopped, or behind a link that has failed, does not.
fn has_room() -> bool {
    let stdout = io::stdout();
    let mut polled = [PollFd::new(stdout.as_fd(), PollFlags::POLLOUT)];
    let timeout = PollTimeout::try_from(PATIENCE).unwrap_or(PollTimeout::ZERO);
    poll(&mut polled, timeout).is_ok_and(|ready| ready > 0)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
