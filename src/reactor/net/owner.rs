//! Which process a socket belongs to.
//!
//! Rule: only the process that made a socket ends it. That process removes the path that it bound, and calls `shutdown(2)`
//! before `close(2)`, so that the peer sees the end even while a forked child holds a copy of the descriptor. Any other
//! process only closes its copy.

/// The process that accepted, dialled or bound a socket.
///
/// Three bytes, which a socket's descriptor leaves free in eight: a process id has at most 22 bits on Linux
/// (`proc_sys_kernel(5)`, `pid_max`), and fewer on the BSDs and macOS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner([u8; 3]);

impl Owner {
    pub(crate) fn this_process() -> Self {
        let id = std::process::id();
        Self([id as u8, (id >> 8) as u8, (id >> 16) as u8])
    }

    pub(crate) fn is_this_process(self) -> bool {
        self == Self::this_process()
    }

    /// A process that made nothing: what a forked child sees of its parent.
    #[cfg(test)]
    pub(crate) fn another_process() -> Self {
        Self([0; 3])
    }
}
