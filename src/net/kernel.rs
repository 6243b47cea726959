//! The system calls and the library call that no safe crate has: all unsafe code of the library.
//!
//! Rule: `unsafe` is used in this file only, and each block is one call with nothing but values, one pointer to a local
//! variable, or pointers to functions that set nothing but atomics. One local variable is zeroed.

use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::net::seam::ThreadTime;

/// How many forks have led to this process since the first call of [`watch_forks`].
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Whether this process has forked, or was forked, since then.
static HAS_FORKED: AtomicBool = AtomicBool::new(false);

/// Notes forks from here on, in the parent and in the child (`pthread_atfork(3)`).
///
/// # Errors
///
/// The error of the C library: there was no memory.
#[allow(unsafe_code)]
pub(super) fn watch_forks() -> io::Result<()> {
    extern "C" fn in_parent() {
        HAS_FORKED.store(true, Ordering::Relaxed);
    }
    extern "C" fn in_child() {
        HAS_FORKED.store(true, Ordering::Relaxed);
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    static OUTCOME: OnceLock<i32> = OnceLock::new();
    // SAFETY: both functions live as long as the program and are async-signal-safe, as a child of several threads requires:
    // they set atomics. They are registered once.
    match OUTCOME.get_or_init(|| unsafe { libc::pthread_atfork(None, Some(in_parent), Some(in_child)) }) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(*error)),
    }
}

/// How many forks have led to this process. A process and its descendants differ in it.
pub(crate) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Whether another process may have copies of this one's descriptors.
pub(super) fn has_forked() -> bool {
    HAS_FORKED.load(Ordering::Relaxed)
}

/// Bytes written to a socket that its peer's kernel has not acknowledged (`SIOCOUTQ`, `tcp(7)`). On a Unix socket the kernel
/// counts buffers that the peer has not read to their end, with their overhead. `None` on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(super) fn unacknowledged_bytes(socket: BorrowedFd<'_>) -> io::Result<Option<usize>> {
    use std::os::fd::AsRawFd;

    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open while it is borrowed, and for this request the kernel writes one `int` to the pointer
    // (`SIOCOUTQ` is another name of `TIOCOUTQ`), which outlives the call.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(usize::try_from(bytes).ok()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn unacknowledged_bytes(_socket: BorrowedFd<'_>) -> io::Result<Option<usize>> {
    Ok(None)
}

/// Sends RST and frees unsent output, also while another process holds the socket (`connect(2)` with
/// `AF_UNSPEC`).
///
/// # Errors
///
/// `Unsupported` on other systems; otherwise the kernel's error.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(super) fn disconnect(socket: BorrowedFd<'_>) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let nowhere = libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let len = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the descriptor is open while it is borrowed, and the kernel reads `len` bytes of the address, which is that
    // long and outlives the call.
    let outcome = unsafe { libc::connect(socket.as_raw_fd(), &raw const nowhere, len) };
    if outcome == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn disconnect(_socket: BorrowedFd<'_>) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether a descriptor has room to write now (`poll(2)`). A closed one has none.
#[allow(unsafe_code)]
pub(super) fn has_room(fd: RawFd) -> bool {
    let mut asked = libc::pollfd { fd, events: libc::POLLOUT, revents: 0 };
    // SAFETY: the kernel reads and writes one `pollfd`, which outlives the call. A number that is no descriptor is reported there.
    let reported = unsafe { libc::poll(&raw mut asked, 1, 0) };
    reported == 1 && asked.revents & libc::POLLOUT != 0
}

/// How long this thread was on a processor, and how often it was preempted. `None` on other systems.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[allow(unsafe_code)]
pub(super) fn thread_time() -> Option<ThreadTime> {
    // SAFETY: a `rusage` is a struct of integers.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage` to the pointer, which outlives the call.
    if unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } == -1 {
        return None;
    }
    let mut running = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel writes one `timespec` to the pointer, which outlives the call.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut running) } == -1 {
        return None;
    }
    let running = Duration::new(u64::try_from(running.tv_sec).ok()?, u32::try_from(running.tv_nsec).ok()?);
    Some(ThreadTime { running, preemptions: u64::try_from(usage.ru_nivcsw).ok()? })
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn thread_time() -> Option<ThreadTime> {
    None
}

/// Forks a child, which ends with 0 if it is one fork further from the first process. Returns how it ended.
#[cfg(test)]
#[allow(unsafe_code)]
pub(crate) fn fork() -> i32 {
    watch_forks().unwrap();
    let before = forks();
    // SAFETY: the child calls nothing but `_exit(2)`, which is async-signal-safe, behind a load of an atomic.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::_exit(i32::from(forks() != before + 1));
        }
        let mut status = 0;
        assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
        status
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn time_of_a_thread_grows_while_it_runs_and_not_while_it_waits() {
        let first = thread_time().unwrap();
        while thread_time().unwrap().running < first.running + Duration::from_millis(5) {}
        let before = thread_time().unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert!(thread_time().unwrap().running < before.running + Duration::from_millis(50));
    }

    #[test]
    fn fork_is_counted_in_the_child_and_known_to_both() {
        let before = forks();
        assert_eq!(fork(), 0);
        assert_eq!((forks(), has_forked()), (before, true));
    }
}
