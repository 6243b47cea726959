//! The process that a socket belongs to, and which of its directions have ended.
//!
//! Rule: only the process that made a socket ends it. That process removes the path that it bound, and calls `shutdown(2)`
//! before `close(2)`, so that the peer sees the end even while a forked child holds a copy of the descriptor. It omits the
//! call where both directions have ended, and where the peer has finished and there was no fork: then `close(2)` sends our
//! FIN. Any other process only closes its copy.

use crate::net::kernel;

/// The process that accepted, dialed or bound a socket, and which of its directions have ended.
///
/// Three bytes, which a socket's descriptor leaves free in eight: 22 bits for the number of forks that led to the process,
/// and two for the directions. Forked processes that share a socket are one line of descent, and that number
/// distinguishes them, up to four million forks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner([u8; 3]);

/// Our FIN was sent.
const FINISHED: u8 = 0x40;
/// The peer's FIN was read.
const PEER_FINISHED: u8 = 0x80;

impl Owner {
    /// Counted by [`kernel::watch_forks`], which must have been called before the first socket was made.
    pub(crate) fn this_process() -> Self {
        Self::of(kernel::forks())
    }

    fn of(forks: u32) -> Self {
        Self([forks as u8, (forks >> 8) as u8, (forks >> 16) as u8 & !(FINISHED | PEER_FINISHED)])
    }

    pub(crate) fn is_this_process(self) -> bool {
        let Self([low, middle, high]) = self;
        Self([low, middle, high & !(FINISHED | PEER_FINISHED)]) == Self::this_process()
    }

    /// Our FIN was sent.
    pub(crate) fn note_finished(&mut self) {
        self.0[2] |= FINISHED;
    }

    /// The peer's FIN was read.
    pub(crate) fn note_peer_finished(&mut self) {
        self.0[2] |= PEER_FINISHED;
    }

    /// The connection was reset: both directions have ended.
    pub(crate) fn note_reset(&mut self) {
        self.0[2] |= FINISHED | PEER_FINISHED;
    }

    /// Whether `shutdown(2)` is needed for the peer to see the end.
    pub(crate) fn must_shut_down(self) -> bool {
        let is_finished_by_peer = self.0[2] & PEER_FINISHED != 0;
        let is_finished = self.0[2] & FINISHED != 0;
        !(is_finished_by_peer && (is_finished || !kernel::has_forked())) && self.is_this_process()
    }

    /// What a forked child sees of its parent.
    #[cfg(test)]
    pub(crate) fn another_process() -> Self {
        Self::of(kernel::forks().wrapping_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_stays_the_same_whatever_has_ended() {
        assert_eq!(kernel::fork(), 0);
        let notes: [fn(&mut Owner); 3] = [Owner::note_finished, Owner::note_peer_finished, Owner::note_reset];
        for (note, must_shut_down) in notes.into_iter().zip([true, true, false]) {
            let mut owner = Owner::this_process();
            note(&mut owner);
            assert!(owner.is_this_process());
            assert_eq!(owner.must_shut_down(), must_shut_down);
        }
        let mut owner = Owner::this_process();
        owner.note_finished();
        owner.note_peer_finished();
        assert!(owner.is_this_process() && !owner.must_shut_down());
        assert!(!Owner::another_process().must_shut_down());
    }
}
