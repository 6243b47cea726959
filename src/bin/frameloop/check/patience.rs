//! How long the grader waits: for an answer, and in all.

use std::time::{Duration, Instant};

/// The waits of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    usual: Duration,
    until: Instant,
}

impl Patience {
    /// `usual` for an answer, `whole` for everything from now on.
    pub(crate) fn new(usual: Duration, whole: Duration) -> Self {
        Self { usual, until: Instant::now() + whole }
    }

    /// How long an answer may take.
    pub(crate) fn usual(self) -> Duration {
        self.at_most(self.usual)
    }

    /// How long one client may be delayed by another: a quarter of the usual.
    pub(crate) fn short(self) -> Duration {
        self.at_most(self.usual / 4)
    }

    /// How long a connect, or a lot of bytes, may take: twice the usual. A SYN that was dropped comes again after a second
    /// (RFC 6298, 2.1).
    pub(crate) fn long(self) -> Duration {
        self.at_most(self.usual * 2)
    }

    /// `wait`, if there is so much time.
    pub(crate) fn at_most(self, wait: Duration) -> Duration {
        wait.min(self.left()).max(Duration::from_millis(1))
    }

    /// What is left for everything.
    pub(crate) fn left(self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }
}
