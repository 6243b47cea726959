//! The ids of connections, timers and watched descriptors.

use std::fmt;
use std::time::Instant;

/// Identifies a connection while it lives; afterwards the id is stale, and never names another connection.
///
/// It is displayed as the number of a slot and a generation, such as `7.1`. The slot of an ended connection is used again, with
/// the next generation. Generations repeat after 2^32 - 1 connections in the same slot (65,535 on 32-bit targets).
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

/// Identifies a descriptor that [`Reactor::watch`](crate::Reactor::watch) watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub(crate) u32);

/// Identifies a timer that [`Context::set_timer`](crate::Context::set_timer) has set. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TimerId {
    pub(crate) at: Instant,
    /// Distinguishes timers for the same instant.
    pub(crate) number: u64,
}

/// Identifies a listener of a reactor. It is never used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub(crate) u32);

impl fmt::Display for ListenerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
