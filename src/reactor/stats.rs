//! Counters of what a reactor has done.

use std::fmt;
use std::time::Duration;

use crate::conn::shared::ConnCounts;
use crate::error::{CloseKind, CloseReason};
use crate::reactor::histogram::Histogram;
use crate::wire::Protocol;

/// What a reactor has done, as plain counts since it was made; a snapshot.
///
/// [`Display`](fmt::Display) shows the most telling of them on one line.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Connections now.
    pub connections: u64,
    /// The most connections at a time.
    pub connections_peak: u64,
    /// Connections accepted, without those refused.
    pub accepted: u64,
    /// Connections refused, by reason.
    pub refused: Refused,
    /// Connections that were dialed and made.
    pub dialed: u64,
    /// Connections that were dialed and not made.
    pub dials_failed: u64,
    /// Connections that are dialed and not made yet, now.
    pub dialing: u64,
    /// Times that accepting paused because the kernel had no descriptor or memory for another connection.
    pub accept_pauses: u64,
    /// Frames received whole.
    pub frames_in: u64,
    /// Frames queued.
    pub frames_out: u64,
    /// Frames that were to be sent and were not queued, by reason; each was reported to the handler as it happened.
    pub dropped: Dropped,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes that the buffers of all connections take now.
    pub buffered_bytes: u64,
    /// Bytes of buffers kept for reuse now.
    pub pooled_bytes: u64,
    /// Times that reading from a connection paused because its outbox had reached the high watermark.
    pub pauses: u64,
    /// Times that a connection stopped for the turn, its read budget spent and more to read.
    pub read_budgets_spent: u64,
    /// Times that a connection stopped for the turn, its write budget spent and more to write.
    pub write_budgets_spent: u64,
    /// Times that a connection stopped for the turn, its frame budget spent and more frames waiting.
    pub frame_budgets_spent: u64,
    /// Times that a turn's budget was spent and more connections waited for their next share.
    pub turn_budgets_spent: u64,
    /// The most bytes that one turn has read and written.
    pub turn_bytes_max: u64,
    /// Messages from other threads.
    pub messages: u64,
    /// Panics in callbacks of the handler. Each was caught, and logged as a warning with the callback's name and the
    /// connection that it was called for, as far as there are not too many lines.
    pub handler_panics: u64,
    /// Log lines about peers that were left out.
    pub log_lines_left_out: u64,
    /// `epoll_wait` and its like.
    pub polls: u64,
    /// `accept` and its like.
    pub accepts: Calls,
    /// `connect` and its like, those that only begin counted as done.
    pub dials: Calls,
    /// `recv` and its like.
    pub reads: Calls,
    /// `send` and its like.
    pub writes: Calls,
    /// `shutdown`.
    pub shutdowns: Calls,
    /// Registrations with the readiness queue: one in a connection's life.
    pub registrations: Calls,
    /// How long turns took, from the end of the poll to the end of the turn.
    pub turn_durations: Histogram,
    pub(crate) closed: [u64; CloseKind::ALL.len()],
    pub(crate) protocols: [u64; Protocol::ALL.len()],
}

/// Connections that were closed as soon as they were accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// Over the limit for all.
    pub max_connections: u64,
    /// Over the limit for one IP address.
    pub max_per_ip: u64,
    /// The readiness queue would not take it, or the handler panicked in `on_open`.
    pub failed: u64,
}

impl Refused {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.max_connections + self.max_per_ip + self.failed
    }
}

/// Frames that were to be sent and were not queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// The outbox had reached its high watermark ([`SendError::Full`](crate::SendError::Full)).
    pub full: u64,
    /// The memory limit had no room for it ([`SendError::NoMemory`](crate::SendError::NoMemory)).
    pub no_memory: u64,
    /// The connection had ended, or was ending ([`SendError::Closed`](crate::SendError::Closed)).
    pub gone: u64,
}

impl Dropped {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.full + self.no_memory + self.gone
    }
}

/// System calls of one kind, by result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Did something.
    pub done: u64,
    /// `EAGAIN`: nothing to do for now.
    pub would_block: u64,
    /// `EINTR`: interrupted by a signal, and repeated.
    pub interrupted: u64,
    /// Another error.
    pub failed: u64,
}

impl Calls {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.done + self.would_block + self.interrupted + self.failed
    }

    #[inline]
    pub(crate) fn count<T>(&mut self, outcome: &std::io::Result<T>) {
        match outcome {
            Ok(_) => self.done += 1,
            Err(error) => match error.kind() {
                std::io::ErrorKind::WouldBlock => self.would_block += 1,
                std::io::ErrorKind::Interrupted => self.interrupted += 1,
                _ => self.failed += 1,
            },
        }
    }
}

impl Stats {
    /// How long the longest turn took, from the end of the poll to the end of the turn.
    #[must_use]
    pub fn turn_duration_max(&self) -> Duration {
        self.turn_durations.max()
    }

    /// Bytes read and written.
    pub(crate) fn bytes_moved(&self) -> u64 {
        self.bytes_in + self.bytes_out
    }

    /// Connections that have ended, by kind of reason, without the zeros.
    pub fn closed(&self) -> impl Iterator<Item = (CloseKind, u64)> + '_ {
        CloseKind::ALL.into_iter().zip(self.closed).filter(|(_, count)| *count > 0)
    }

    /// Connections that have ended.
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections that have ended for a reason of this kind.
    #[must_use]
    pub fn closed_by(&self, kind: CloseKind) -> u64 {
        self.closed[kind as usize]
    }

    /// Connections whose first bytes were of another protocol instead of a header: the protocol and a count, without the
    /// zeros.
    pub fn protocols(&self) -> impl Iterator<Item = (Protocol, u64)> + '_ {
        Protocol::ALL.into_iter().zip(self.protocols).filter(|(_, count)| *count > 0)
    }

    /// Connections whose first bytes were of this protocol instead of a header.
    #[must_use]
    pub fn looked_like(&self, protocol: Protocol) -> u64 {
        self.protocols[protocol as usize]
    }

    pub(crate) fn count_closed(&mut self, reason: &CloseReason) {
        self.closed[reason.kind() as usize] += 1;
        if let CloseReason::FrameTooLong(error) = reason
            && let Some(protocol) = error.looks_like
        {
            self.protocols[protocol as usize] += 1;
        }
    }

    pub(crate) fn take_over(&mut self, counts: &ConnCounts) {
        self.frames_in = counts.frames_in;
        self.frames_out = counts.frames_out;
        self.dropped =
            Dropped { full: counts.frames_full, no_memory: counts.frames_without_memory, gone: counts.frames_gone };
        self.handler_panics = counts.panics;
        self.pauses = counts.pauses;
        self.read_budgets_spent = counts.read_budgets_spent;
        self.write_budgets_spent = counts.write_budgets_spent;
        self.frame_budgets_spent = counts.frame_budgets_spent;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections {} (peak {}), accepted {}, refused {}, closed {}",
            self.connections,
            self.connections_peak,
            self.accepted,
            self.refused.total(),
            self.closed_total()
        )?;
        let mut opening = " (";
        for (kind, count) in self.closed() {
            write!(f, "{opening}{} {count}", kind.name())?;
            opening = ", ";
        }
        if opening == ", " {
            f.write_str(")")?;
        }
        write!(
            f,
            "; frames in {} out {} dropped {}; bytes in {} out {}, buffered {}; pauses {}; calls: poll {}, accept {}, read {} \
             ({} would block), write {} ({} would block); turns {}: p50 {:?}, p99 {:?}, max {:?}, max {} bytes",
            self.frames_in,
            self.frames_out,
            self.dropped.total(),
            self.bytes_in,
            self.bytes_out,
            self.buffered_bytes,
            self.pauses,
            self.polls,
            self.accepts.total(),
            self.reads.total(),
            self.reads.would_block,
            self.writes.total(),
            self.writes.would_block,
            self.turn_durations.count(),
            self.turn_durations.quantile(0.5),
            self.turn_durations.quantile(0.99),
            self.turn_durations.max(),
            self.turn_bytes_max
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_is_counted_by_its_reason_and_protocol() {
        let mut stats = Stats::default();
        let Err(error) = crate::wire::announced_len(b"GET ", 8) else { panic!("accepted") };
        stats.count_closed(&CloseReason::FrameTooLong(error));
        stats.count_closed(&CloseReason::Reset);
        assert_eq!(stats.closed().collect::<Vec<_>>(), [(CloseKind::Reset, 1), (CloseKind::FrameTooLong, 1)]);
        assert_eq!((stats.closed_total(), stats.looked_like(Protocol::Http)), (2, 1));
        assert_eq!(stats.protocols().collect::<Vec<_>>(), [(Protocol::Http, 1)]);
        assert!(stats.to_string().contains("closed 2 (reset 1, frame too long 1);"), "{stats}");
    }
}
