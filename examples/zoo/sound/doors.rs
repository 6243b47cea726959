//! What to do when no connection can be accepted.

use std::io::{Error, ErrorKind};
use std::time::Duration;

/// What becomes of the listener after an error of `accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// It is asked again at once.
    Open,
    /// It is left alone for a while; who waits there waits in the kernel's listen queue.
    RestsFor(Duration),
    /// It is never asked again.
    Closed,
}

/// An error of `accept` is no connection's fault. One that was gone before it was accepted is that one's own
/// matter (accept(2)); most others are a lack of descriptors or memory, which passes.
pub(crate) fn sound(error: &Error) -> Door {
    match error.kind() {
        ErrorKind::ConnectionAborted | ErrorKind::Interrupted => Door::Open,
        _ => Door::RestsFor(REST),
    }
}

const REST: Duration = Duration::from_millis(100);
