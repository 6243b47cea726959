//! Bugs that tests plant, to show that the campaign of chance finds them. Outside of tests there are none, at no cost.
//!
//! `on_close` cannot be called twice, so that is not in the list: the connection's state is moved into the first call.

/// One mistake that a reactor like this one could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    // Edges.
    /// A connection whose read budget is spent forgets that its socket is not drained.
    EdgeForgotten,
    /// A connection that wants to go on is not queued.
    WaitingNotQueued,
    /// An event queues a connection that waits in the queue already.
    QueuedTwice,
    /// The poll sleeps while connections wait in the queue.
    SleepsOnWork,
    /// `WouldBlock` does not use up the edge: the connection tries again, turn after turn.
    Spins,
    /// A short read counts as the last, although the peer has closed.
    ShortReadBeforeFin,
    /// A short read counts as the last, although it may have stopped at urgent or ancillary data.
    ShortReadAtMark,
    /// A read that a signal interrupts is taken for an error.
    InterruptedEnds,
    /// A message rings only once.
    BellStuck,

    // Output.
    /// What a short write left over is forgotten.
    ShortWriteDropsRest,
    /// A write that takes nothing is taken for one that would block.
    ZeroWriteIgnored,
    /// The high watermark is not there.
    WatermarkIgnored,
    /// The handler is not told that there is room again.
    LowWaterUntold,
    /// Buffers are counted when they are lent, and not when they come back.
    MemoryMiscounted,

    // Input.
    /// One byte more is allowed than the limit.
    LimitOffByOne,
    /// The frame budget does not end a fill.
    FrameBudgetIgnored,
    /// Frames are handed over although the handler has paused.
    PauseIgnored,

    // Ends.
    /// FIN ends a connection at once, whatever it is owed.
    FinDropsOutput,
    /// A connection is closed with input unread, which sends RST.
    LingerSkipped,
    /// RST behind FIN is not noticed.
    FailureUnseen,
    /// Slots are freed while there are others in the batch to run.
    FreedInMidBatch,
    /// A stale id finds the slot's next tenant.
    GenerationIgnored,

    // Deadlines.
    /// The wait for a frame is counted from its last byte.
    FrameClockRestarts,
    /// The wait for a peer to read is counted from its last sign of life.
    WriteClockRestarts,
    /// That a peer accepts output is seen only where the kernel reports room for more.
    AcceptedBytesUnseen,
    /// What moves on a connection does not put off its idle timeout.
    IdleClockStands,

    // Accepting.
    /// When descriptors run out, the listener's edge is forgotten.
    ExhaustionLosesEdge,
    /// When descriptors run out, the next accept is tried at once.
    ExhaustionSpins,
    /// When the accept budget is spent, the listener's edge is forgotten.
    AcceptBudgetLosesEdge,

    // The handler.
    /// A connection is dropped behind its `on_open`, and never was there.
    OpenUnpaired,
    /// `on_close` is not called.
    CloseUntold,
}

#[cfg(test)]
thread_local! {
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Plants a bug, for this thread.
#[cfg(test)]
pub(crate) fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Whether the bug is planted.
#[cfg(test)]
pub(crate) fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether the bug is planted: it is not.
#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}
