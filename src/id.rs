//! What names a connection, a timer or a descriptor.

use std::fmt;
use std::time::Instant;

/// Names a connection for as long as it lives, and no other after it.
///
/// The slot of an ended connection is used again, and the generation distinguishes its connections: an id that is stale is never
/// taken for another connection. After 2^32 - 1 further connections (on targets of 32 bits 65,535) the generations begin
/// again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

/// Names a descriptor given to [`Reactor::watch`](crate::Reactor::watch).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub(crate) u32);

/// Names a timer set by [`Context::set_timer`](crate::Context::set_timer).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    pub(crate) at: Instant,
    /// Distinguishes timers of one instant.
    pub(crate) number: u64,
}
