//! What the connections of a reactor share.

use std::time::Instant;

use crate::config::Config;
use crate::conn::budgets::Budgets;
use crate::conn::buffers::Buffers;
use crate::conn::chunk::{CHUNK_LEN, ChunkPool};
use crate::conn::profile::Profiles;
use crate::error::SendError;
use crate::options::Limits;
use crate::wire::Framing;

#[derive(Debug)]
pub(crate) struct Shared {
    /// Against which limits are checked.
    pub(crate) config: Config,
    pub(crate) budgets: Budgets,
    pub(crate) profiles: Profiles,
    /// When this turn began. The reactor sets it once per turn.
    pub(crate) now: Instant,
    pub(crate) pool: ChunkPool,
    /// The most bytes, read and written, that the next connection may move, as the reactor's budget for the turn allows.
    pub(crate) allowance: usize,
    pub(crate) delivering: Delivering,
    /// Free buffers; the boxes are reused too.
    #[allow(clippy::vec_box)]
    free: Vec<Box<Buffers>>,
    pub(crate) counts: ConnCounts,
}

/// What the frames that are being delivered have in common.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivering {
    pub(crate) framing: Framing,
    /// The capacity of the chunks of a large frame, in bytes.
    pub(crate) capacity: usize,
}

/// How many free buffers are kept; each takes less than 300 bytes.
const FREE_MAX: usize = CHUNK_LEN / 300;

impl Shared {
    pub(crate) fn new(config: &Config, now: Instant) -> Self {
        Self {
            config: config.clone(),
            pool: ChunkPool::new(config.memory, config.pool_bytes_max),
            budgets: Budgets::new(config),
            profiles: Profiles::new(Limits::of(config)),
            now,
            allowance: usize::MAX,
            delivering: Delivering::default(),
            free: Vec::new(),
            counts: ConnCounts::default(),
        }
    }

    /// The buffers of a connection, which acquires them now if it has none.
    pub(crate) fn buffers<'a>(&mut self, slot: &'a mut Option<Box<Buffers>>) -> &'a mut Buffers {
        slot.get_or_insert_with(|| self.free.pop().unwrap_or_default())
    }

    /// Releases the buffers of a connection.
    pub(crate) fn release(&mut self, mut buffers: Box<Buffers>) {
        buffers.release(&mut self.pool);
        if self.free.len() < FREE_MAX {
            buffers.reset();
            self.free.push(buffers);
        }
    }

    /// Counts a frame that is not queued, and returns why.
    pub(crate) fn count_refused(&mut self, why: Result<(), SendError>) -> Result<(), SendError> {
        match why {
            Err(SendError::Full | SendError::ReplyUnfinished) => self.counts.frames_full += 1,
            Err(SendError::NoMemory) => self.counts.frames_without_memory += 1,
            Err(SendError::Closed) => self.counts.frames_gone += 1,
            Ok(()) | Err(SendError::TooLong { .. } | SendError::TooShort { .. }) => {}
        }
        why
    }

    /// Frees a part of the memory that a burst needed. Called repeatedly, it frees all of it.
    pub(crate) fn trim(&mut self) {
        self.pool.trim();
        self.free.truncate(self.free.len() / 2);
    }

    /// Whether there is memory that [`trim`](Self::trim) would free.
    pub(crate) fn has_idle(&self) -> bool {
        self.pool.free_bytes() + self.pool.joined_bytes() > 0 || !self.free.is_empty()
    }
}

/// Counters of all connections.
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
