//! The readiness lint: the mistakes that a reactor can notice, and what it does about them.

/// Sets whether a reactor looks for mistakes of its handler and its peers: the readiness lint.
///
/// While it is on, the clock is read four times per run of a connection, and twice per other callback; with [`Log`](Self::Log) also
/// once per frame. On the operating system's sockets, two system calls read the thread's times, at most once per millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LintMode {
    /// Nothing is looked for. It costs a branch per run and per turn.
    #[default]
    Off,
    /// Mistakes are counted, for [`Stats::lints`](crate::Stats::lints).
    Count,
    /// Mistakes are counted, and logged as warnings, at most 30 lines per second.
    Log,
}

impl LintMode {
    /// Returns whether mistakes are counted.
    #[must_use]
    pub const fn is_on(self) -> bool {
        matches!(self, Self::Count | Self::Log)
    }
}

/// Names a mistake that the readiness lint has noticed.
///
/// Each variant states what the reactor observes, with the threshold. A streak that goes on is counted again each time that it
/// reaches the threshold. [`LintMode`] turns the lint on, [`Stats::lints`](crate::Stats::lints) has the counts, and
/// `docs/OPERATIONS.md` explains what to do.
///
/// # Examples
///
/// ```
/// use frameloop::{Config, Echo, Lint, LintMode, Reactor};
///
/// let config = Config::builder().lint(LintMode::Count).build()?;
/// let reactor = Reactor::new(config, Echo)?;
/// assert_eq!(reactor.stats().lint(Lint::SlowCallback), 0);
/// assert_eq!(Lint::SlowCallback.name(), "slow callback");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Lint {
    /// A callback took more than 1 ms.
    ///
    /// With [`LintMode::Count`], the frames of a read are timed together. If several have taken more than 1 ms, each frame is timed for
    /// the next second.
    ///
    /// If the kernel has preempted the thread in this turn, or within 1 ms before, the time that the thread was off the processor does
    /// not count.
    SlowCallback,
    /// A connection waited in the run queue for more than 10 ms, and runs of other connections or callbacks of more than 2 ms
    /// each took more than half of that time.
    ///
    /// The wait begins with the turn whose poll reported the connection; if it was queued without an event, or left over from a
    /// turn, with the next turn. A fair queue that is long is no mistake, so runs of less than 2 ms do not count.
    StarvedNeighbor,
    /// 100 runs of a connection in a row moved nothing: no byte was read or written, no callback except
    /// [`on_wake`](crate::Handler::on_wake) was called, nothing was queued, and the connection's state did not change.
    ///
    /// A run counts if [`Context::wake`](crate::Context::wake) or an event has caused it. While input is paused, only a wake
    /// counts: the peer may cause any number of events then. A run for [room alone](Self::UnusedWriteInterest) ends the
    /// streak. Bytes of an incomplete record of a layer, such as TLS, are not seen.
    WakeWithoutProgress,
    /// Room to write was reported 100 times in a row, and nothing was there to be written.
    ///
    /// For a connection: 100 runs in a row, each after an event that reported room and nothing else, without pending output
    /// and without a wake, moved nothing. One such event is normal after a connection has opened, and some are on a Unix
    /// socket, where the kernel reports room again as the peer reads.
    ///
    /// For a descriptor of [`Reactor::watch`](crate::Reactor::watch): 100 reports in a row of room and nothing else, and after
    /// each the descriptor still had room when [`on_source`](crate::Handler::on_source) had returned (`poll(2)`). The reactor
    /// does not see your writes: a callback that writes until `EAGAIN` is not counted, one that writes less is.
    UnusedWriteInterest,
    /// In 50 runs in a row, a connection had spent its [`frame_budget`](crate::ConfigBuilder::frame_budget) with more frames to
    /// deliver.
    FrameBudgetSpent,
    /// The peer has sent FIN, and output was pending after that for 1 s without a break.
    StalledHalfClose,
}

impl Lint {
    /// Lists all kinds, in the order of their declaration.
    pub const ALL: [Self; 6] = [
        Self::SlowCallback,
        Self::StarvedNeighbor,
        Self::WakeWithoutProgress,
        Self::UnusedWriteInterest,
        Self::FrameBudgetSpent,
        Self::StalledHalfClose,
    ];

    /// Returns a short name for counters and logs, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowCallback => "slow callback",
            Self::StarvedNeighbor => "starved neighbor",
            Self::WakeWithoutProgress => "wake without progress",
            Self::UnusedWriteInterest => "unused write interest",
            Self::FrameBudgetSpent => "frame budget spent",
            Self::StalledHalfClose => "stalled half-close",
        }
    }

    /// Returns what it means and what to do, in one sentence that names the chapter of the book (`docs/study/`).
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::SlowCallback => {
                "every connection waits for a callback to return; move the work to a thread, see \"Waking the loop\""
            }
            Self::StarvedNeighbor => {
                "a ready connection waited for the long work of others; split that work, or move it to a thread, see \
                 \"Fairness\""
            }
            Self::WakeWithoutProgress => {
                "a run that moves nothing uses the processor for nothing; wake a connection when there is something to send, \
                 see \"Waking the loop\""
            }
            Self::UnusedWriteInterest => {
                "room to write is no news without pending output; ask for writable events only after EAGAIN, see \"Edges and \
                 levels\""
            }
            Self::FrameBudgetSpent => {
                "the peer sends frames faster than the handler takes them; let it send fewer and larger ones, see \"Fairness\""
            }
            Self::StalledHalfClose => {
                "the peer has finished and takes its output slowly or not at all; bound the wait with the write timeout, see \
                 \"Half-close\""
            }
        }
    }
}
