//! The limit of open descriptors.

use log::warn;

use crate::logging;

/// Raises the soft limit of open descriptors to the hard one, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        warn!(target: logging::TARGET, "cannot raise the limit of open files: {error}; taking it for {DESCRIPTORS_ASSUMED}");
        DESCRIPTORS_ASSUMED
    })
}

/// How many connections `descriptors` suffice for in addition to `listeners`; at least one.
pub(crate) fn connections_within(descriptors: u64, listeners: usize) -> usize {
    let taken = DESCRIPTOR_RESERVE + listeners as u64;
    let room = descriptors.saturating_sub(taken).clamp(1, CONNECTIONS_MAX);
    usize::try_from(room).unwrap_or(usize::MAX)
}

/// How many descriptors `connections` and `listeners` need.
pub(crate) fn descriptors_for(connections: usize, listeners: usize) -> u64 {
    DESCRIPTOR_RESERVE + listeners as u64 + connections as u64
}

/// Descriptors for everything else: the standard streams, the readiness queue, the signals' sockets, a resolver.
const DESCRIPTOR_RESERVE: u64 = 32;

/// More than any machine can hold; the maximum where a platform has no limit.
const CONNECTIONS_MAX: u64 = i32::MAX as u64;

const DESCRIPTORS_ASSUMED: u64 = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_reserve_and_listeners() {
        assert_eq!(connections_within(1_024, 2), 990);
        assert_eq!(descriptors_for(990, 2), 1_024);
        assert_eq!(connections_within(16, 1), 1);
        assert_eq!(connections_within(u64::MAX, 1), i32::MAX as usize);
    }
}
