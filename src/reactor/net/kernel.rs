//! The two system calls and the one library call that no safe crate has: all unsafe code of the library.
//!
//! Rule: `unsafe` stands in this file only, and each block is one call with nothing but values, one pointer to a local
//! variable, or one to a function that touches nothing but an atomic counter.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// How many forks lie between this process and the one that called [`count_forks`] first.
static FORKS: AtomicU32 = AtomicU32::new(0);

/// Counts forks from here on, in each child (`pthread_atfork(3)`).
///
/// # Errors
///
/// What the C library answered: there was no memory.
#[allow(unsafe_code)]
pub(super) fn count_forks() -> io::Result<()> {
    extern "C" fn note_forked() {
        FORKS.fetch_add(1, Ordering::Relaxed);
    }

    static OUTCOME: OnceLock<i32> = OnceLock::new();
    // SAFETY: the function lives as long as the program and is async-signal-safe, as a child of several threads requires:
    // it adds to an atomic counter. It is registered once.
    match OUTCOME.get_or_init(|| unsafe { libc::pthread_atfork(None, None, Some(note_forked)) }) {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(*error)),
    }
}

/// How many forks have led to this process. Two processes of one line of descent differ in it.
pub(super) fn forks() -> u32 {
    FORKS.load(Ordering::Relaxed)
}

/// Bytes written to a socket that its peer's kernel has not acknowledged (`SIOCOUTQ`, `tcp(7)`). On a Unix socket the kernel
/// counts buffers that the peer has not read to their end, with their overhead. `None`: not on this system.
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

/// Sends RST at once and frees what was written, also while another process holds the socket (`connect(2)` with
/// `AF_UNSPEC`).
///
/// # Errors
///
/// `Unsupported`: not on this system. Otherwise what the kernel answered.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(unsafe_code)]
    fn fork_is_counted_in_the_child_alone() {
        count_forks().unwrap();
        let before = forks();
        // SAFETY: the child calls nothing but `_exit(2)`, which is async-signal-safe, behind a load of an atomic counter.
        let status = unsafe {
            let child = libc::fork();
            if child == 0 {
                libc::_exit(i32::from(forks() != before + 1));
            }
            let mut status = 0;
            assert_eq!(libc::waitpid(child, &raw mut status, 0), child);
            status
        };
        assert_eq!((status, forks()), (0, before));
    }
}
