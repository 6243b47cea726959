//! What the connections of a reactor share: one read buffer, the pool, and the counters.

use std::time::Instant;

use crate::config::Config;
use crate::conn::Backlog;
use crate::conn::chunk::{CHUNK_LEN, Chunk, ChunkPool};
use crate::conn::outbox::Sent;

/// Lies under whichever connection runs; between runs it is empty.
///
/// ```text
///   0        run            at             len                capacity
///   +--------+==============+--------------+------------------+
///   | done   | to be echoed | undecoded    | read into        |
///   +--------+==============+--------------+------------------+
/// ```
#[derive(Debug)]
pub(crate) struct Workbench {
    /// The buffer that every read of a small frame goes to.
    pub(crate) work: Chunk,
    /// Frames that are answered with their own bytes, one after the other: written from where they lie.
    pub(crate) run: std::ops::Range<usize>,
    /// Where the undecoded bytes begin.
    pub(crate) at: usize,
    pub(crate) supplies: Supplies,
}

impl Workbench {
    pub(crate) fn new(config: Config, now: Instant) -> Self {
        let mut pool = ChunkPool::new(config.memory_bytes_max, config.pool_bytes_max);
        Self {
            work: pool.work_chunk(),
            run: 0..0,
            at: 0,
            supplies: Supplies {
                config,
                now,
                pool,
                allowance: usize::MAX,
                handed_over_bytes: 0,
                backlogs: Vec::new(),
                counts: ConnCounts::default(),
            },
        }
    }

    /// Forgets what was decoded; the undecoded bytes stay.
    pub(crate) fn forget_decoded(&mut self) {
        self.work.consume(self.at);
        self.at = 0;
        self.run = 0..0;
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.work.clear();
        self.at = 0;
        self.run = 0..0;
    }

    /// Room to read at most `len` bytes into, behind the undecoded ones.
    pub(crate) fn spare_mut(&mut self, len: usize) -> &mut [u8] {
        debug_assert_eq!(self.at, 0);
        if self.work.spare_len() < len {
            self.work.compact();
        }
        let spare = self.work.spare_mut();
        let len = len.min(spare.len());
        &mut spare[..len]
    }
}

/// What a connection may use while it runs, apart from the workbench's own bytes.
#[derive(Debug)]
pub(crate) struct Supplies {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) pool: ChunkPool,
    /// The most bytes, read and written, that the next run may move: the reactor's to set, by what is left of the turn.
    pub(crate) allowance: usize,
    /// Bytes of the chunks of the long frame that is with its handler.
    pub(crate) handed_over_bytes: usize,
    /// Empty backlogs, kept for reuse: the boxes are what is reused.
    #[allow(clippy::vec_box)]
    backlogs: Vec<Box<Backlog>>,
    pub(crate) counts: ConnCounts,
}

impl Supplies {
    /// The connection's backlog, which it gets now if it has none.
    pub(crate) fn backlog<'a>(&mut self, slot: &'a mut Option<Box<Backlog>>) -> &'a mut Backlog {
        slot.get_or_insert_with(|| self.backlogs.pop().unwrap_or_default())
    }

    /// Counts a frame that is not queued, and returns why.
    pub(crate) fn refuse(&mut self, why: Sent) -> Sent {
        match why {
            Sent::OverMark => self.counts.frames_full += 1,
            Sent::NoMemory => self.counts.frames_without_memory += 1,
            Sent::Gone => self.counts.frames_gone += 1,
            Sent::Queued | Sent::TooLong => {}
        }
        why
    }

    /// Takes an empty backlog back.
    pub(crate) fn shelve_backlog(&mut self, mut backlog: Box<Backlog>) {
        debug_assert!(backlog.is_empty());
        if self.backlogs.len() < BACKLOGS_MAX {
            backlog.reset();
            self.backlogs.push(backlog);
        }
    }

    /// Gives what a burst needed back to the allocator, over some calls.
    pub(crate) fn trim(&mut self) {
        self.pool.trim();
        self.backlogs.truncate(self.backlogs.len() / 2);
    }

    /// Whether anything is kept that [`trim`](Self::trim) would give back.
    pub(crate) fn has_idle(&self) -> bool {
        self.pool.idle_bytes() + self.pool.joined_bytes() > 0 || !self.backlogs.is_empty()
    }
}

/// How many empty backlogs are kept; each takes less than 300 bytes.
const BACKLOGS_MAX: usize = CHUNK_LEN / 300;

/// What all connections have done, as counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ConnCounts {
    pub(crate) frames_in: u64,
    pub(crate) frames_out: u64,
    pub(crate) frames_full: u64,
    pub(crate) frames_without_memory: u64,
    pub(crate) frames_gone: u64,
    pub(crate) panics: u64,
    pub(crate) pauses: u64,
    pub(crate) read_budgets_spent: u64,
    pub(crate) write_budgets_spent: u64,
    pub(crate) frame_budgets_spent: u64,
}

/// What one connection may still do in this turn.
///
/// Its own budgets, `read_bytes` and `write_bytes`, end a turn's work after the call that crosses them. What it may move at
/// most, `allowance`, is never crossed: a call is cut short for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) read_bytes: usize,
    pub(crate) write_bytes: usize,
    pub(crate) frames: usize,
    allowance: usize,
    /// Bytes read, and bytes written, so far.
    pub(crate) read: usize,
    pub(crate) written: usize,
}

impl Budget {
    pub(crate) fn new(supplies: &Supplies) -> Self {
        let config = &supplies.config;
        Self {
            read_bytes: config.read_budget_bytes,
            write_bytes: config.write_budget_bytes,
            frames: config.frame_budget,
            allowance: supplies.allowance,
            read: 0,
            written: 0,
        }
    }

    /// A budget for writing alone.
    #[cfg(any(test, feature = "fuzzing", feature = "micro"))]
    pub(crate) fn to_write(write_bytes: usize) -> Self {
        Self { read_bytes: 0, write_bytes, frames: 0, allowance: usize::MAX, read: 0, written: 0 }
    }

    pub(crate) fn may_read(&self) -> bool {
        self.read_bytes > 0 && self.allowance > 0
    }

    pub(crate) fn may_write(&self) -> bool {
        self.write_bytes > 0 && self.allowance > 0
    }

    /// The most bytes that one read may ask for: half of the allowance, so that what is read can be echoed within it.
    #[inline]
    pub(crate) fn read_len_max(&self) -> usize {
        self.allowance.div_ceil(2)
    }

    /// The most bytes that one write may hold.
    #[inline]
    pub(crate) fn write_len_max(&self) -> usize {
        self.allowance
    }

    #[inline]
    pub(crate) fn note_read(&mut self, len: usize) {
        self.read += len;
        self.read_bytes = self.read_bytes.saturating_sub(len);
        self.allowance = self.allowance.saturating_sub(len);
    }

    #[inline]
    pub(crate) fn note_written(&mut self, len: usize) {
        self.written += len;
        self.write_bytes = self.write_bytes.saturating_sub(len);
        self.allowance = self.allowance.saturating_sub(len);
    }
}
