//! The two system calls that no safe crate has: all unsafe code of the library.
//!
//! Rule: `unsafe` stands in this file only, and each block is one call of the kernel with nothing but values and one pointer
//! to a local variable.

use std::io;
use std::os::fd::BorrowedFd;

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
