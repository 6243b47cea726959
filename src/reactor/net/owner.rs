//! Which process a socket belongs to, and what its peer knows of its end.
//!
//! Rule: only the process that made a socket ends it. That process removes the path that it bound, and calls `shutdown(2)`
//! before `close(2)` unless there is nothing left to tell, so that the peer sees the end even while a forked child holds a
//! copy of the descriptor. Any other process only closes its copy.

use std::cell::Cell;
use std::marker::PhantomData;

/// The process that accepted, dialled or bound a socket, and which of its directions have ended.
///
/// Three bytes, which a socket's descriptor leaves free in eight: a process id has at most 22 bits on Linux
/// (`proc_sys_kernel(5)`, `pid_max`), and fewer on the BSDs and macOS. Two bits are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner([u8; 3]);

/// Our FIN was sent.
const FINISHED: u8 = 0x40;
/// The peer's FIN was read.
const PEER_FINISHED: u8 = 0x80;

thread_local! {
    /// This process as far as it is known in this turn.
    static KNOWN: Cell<Known> = const { Cell::new(Known::NotInTurn) };
}

#[derive(Debug, Clone, Copy)]
enum Known {
    NotInTurn,
    NotYet,
    Is(Owner),
}

impl Owner {
    /// Costs a `getpid(2)`, but for the second and later times in a turn.
    pub(crate) fn this_process() -> Self {
        match KNOWN.get() {
            Known::Is(owner) => owner,
            Known::NotInTurn => Self::ask(),
            Known::NotYet => {
                let owner = Self::ask();
                KNOWN.set(Known::Is(owner));
                owner
            }
        }
    }

    fn ask() -> Self {
        let id = std::process::id();
        Self([id as u8, (id >> 8) as u8, (id >> 16) as u8 & !(FINISHED | PEER_FINISHED)])
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

    /// Whether both directions have ended, so that `shutdown(2)` would tell the peer nothing.
    pub(crate) fn has_ended(self) -> bool {
        self.0[2] & (FINISHED | PEER_FINISHED) == FINISHED | PEER_FINISHED
    }

    /// A process that made nothing: what a forked child sees of its parent.
    #[cfg(test)]
    pub(crate) fn another_process() -> Self {
        Self([0; 3])
    }
}

/// A turn of a reactor on this thread: while it lasts, the process id is asked for once, by the first socket that is made
/// or ended.
///
/// Between two turns it is forgotten: that is when the program may fork. A child has only the thread that forked, so that
/// no other thread's fork matters. A fork inside a callback counts for the child from its next turn on.
#[derive(Debug)]
pub(crate) struct OneProcess {
    // It is about its thread.
    not_send: PhantomData<*const ()>,
}

impl OneProcess {
    pub(crate) fn begin() -> Self {
        KNOWN.set(Known::NotYet);
        Self { not_send: PhantomData }
    }
}

impl Drop for OneProcess {
    fn drop(&mut self) {
        KNOWN.set(Known::NotInTurn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread knows of its process behind a fork that came at this point.
    fn fork() {
        if let Known::Is(_) = KNOWN.get() {
            KNOWN.set(Known::Is(Owner::another_process()));
        }
    }

    #[test]
    fn a_fork_between_turns_is_noticed_in_the_next_turn_and_outside_turns() {
        let turn = OneProcess::begin();
        assert!(Owner::this_process().is_this_process());
        fork();
        // Within a turn the answer stands.
        assert_eq!(Owner::this_process(), Owner::another_process());
        drop(turn);
        assert_eq!(Owner::this_process(), Owner::ask());
        let _turn = OneProcess::begin();
        assert_eq!(Owner::this_process(), Owner::ask());
    }

    #[test]
    fn an_owner_stays_the_same_whatever_has_ended() {
        let notes: [fn(&mut Owner); 3] = [Owner::note_finished, Owner::note_peer_finished, Owner::note_reset];
        for (note, ends) in notes.into_iter().zip([false, false, true]) {
            let mut owner = Owner::this_process();
            note(&mut owner);
            assert!(owner.is_this_process());
            assert_eq!(owner.has_ended(), ends);
        }
        let mut owner = Owner::this_process();
        owner.note_finished();
        owner.note_peer_finished();
        assert!(owner.is_this_process() && owner.has_ended());
    }
}
