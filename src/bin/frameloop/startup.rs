//! What has to be seen before Rust's runtime starts.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

static STDOUT_IS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Whether the process was started without a stdout (`>&-`).
///
/// The runtime opens `/dev/null` in its place, before `main`, and writing to that succeeds.
pub(crate) fn stdout_is_closed() -> bool {
    STDOUT_IS_CLOSED.load(Ordering::Relaxed)
}

#[ctor::ctor]
fn look_at_stdout() {
    let is_closed = io::stdout().as_fd().try_clone_to_owned().is_err();
    STDOUT_IS_CLOSED.store(is_closed, Ordering::Relaxed);
}
