//! The counters of a reactor.

use std::fmt;
use std::time::Duration;

use crate::conn::shared::Shared;
use crate::error::{CloseKind, CloseReason};
use crate::histogram::Histogram;
use crate::lint::Lint;
use crate::wire::Protocol;

/// Holds a snapshot of a reactor's counters.
///
/// Counters start at 0 when the reactor is created, and never reset; for a rate, subtract two snapshots. Fields marked "now" are
/// the current values. [`Display`](fmt::Display) writes the most important ones on one line.
///
/// # Examples
///
/// ```
/// use frameloop::{Config, Echo, Reactor};
///
/// let reactor = Reactor::new(Config::default(), Echo)?;
/// let stats = reactor.stats(); // on other threads: `Handle::stats`
/// assert_eq!((stats.connections, stats.accepted, stats.closed_total()), (0, 0, 0));
/// # Ok::<(), frameloop::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Established connections now, accepted and dialed.
    pub connections: u64,
    /// The largest number of established connections at a time.
    pub connections_peak: u64,
    /// Connections accepted or adopted, without those refused.
    pub accepted: u64,
    /// Connections refused: closed immediately after they were accepted, by reason.
    pub refused: Refused,
    /// Dialed connections that were established.
    pub dialed: u64,
    /// Dials that failed.
    pub dials_failed: u64,
    /// Dials in progress now.
    pub dialing: u64,
    /// Times that accepting paused because the kernel had no descriptor or memory for another connection.
    pub accept_pauses: u64,
    /// Complete frames received.
    pub frames_in: u64,
    /// Frames queued for sending.
    pub frames_out: u64,
    /// Frames that a handler wanted to send and that were not queued, by reason. Each was also reported to the handler.
    pub dropped: Dropped,
    /// Bytes read.
    pub bytes_in: u64,
    /// Bytes written.
    pub bytes_out: u64,
    /// Bytes of the buffers of all connections now; `memory` limits them.
    pub buffered_bytes: u64,
    /// Bytes of unused buffers that are kept for reuse now; `pool_bytes_max` limits them.
    pub pooled_bytes: u64,
    /// Times that reading from a connection paused because its pending output had reached the high-water mark.
    pub pauses: u64,
    /// Times that a connection had spent its read budget of a turn with more to read.
    pub read_budgets_spent: u64,
    /// Times that a connection had spent its write budget of a turn with more to write.
    pub write_budgets_spent: u64,
    /// Times that a connection had spent its frame budget of a turn with more frames to deliver.
    pub frame_budgets_spent: u64,
    /// Turns that had spent their budget with more connections to run.
    pub turn_budgets_spent: u64,
    /// The largest number of bytes that one turn has read and written.
    pub turn_bytes_max: u64,
    /// Messages from other threads that were delivered to the handler.
    pub messages: u64,
    /// Panics in callbacks. Each was caught, and logged as a warning unless too many lines were logged.
    pub handler_panics: u64,
    /// Log lines about peers that were suppressed, because there were too many similar ones.
    pub log_lines_left_out: u64,
    /// Calls that waited for events (`epoll_wait`, `kevent`).
    pub polls: u64,
    /// Calls that accepted connections (`accept4`).
    pub accepts: Calls,
    /// Calls that began to connect (`connect`); an attempt in progress counts as done.
    pub dials: Calls,
    /// Calls that read from connections (`recv`).
    pub reads: Calls,
    /// Calls that wrote to connections (`send`, `sendmsg`).
    pub writes: Calls,
    /// Calls that half-closed connections (`shutdown`).
    pub shutdowns: Calls,
    /// Registrations with the readiness queue, one for each connection (`epoll_ctl`, `kevent`).
    pub registrations: Calls,
    /// The durations of turns, from the return of the poll to the end of the turn.
    pub turn_durations: Histogram,
    pub(crate) closed: [u64; CloseKind::ALL.len()],
    pub(crate) protocols: [u64; Protocol::ALL.len()],
    pub(crate) lints: [u64; Lint::ALL.len()],
}

/// Counts connections that were closed immediately after they were accepted, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The limit `max_connections` of a listener was reached, or that of the reactor, and no connection had been idle for `reclaim_idle`.
    pub max_connections: u64,
    /// The limit `max_per_ip` was reached.
    pub max_per_ip: u64,
    /// The readiness queue refused the connection, or the handler panicked in `on_open`.
    pub failed: u64,
}

impl Refused {
    /// Returns the sum of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.max_connections + self.max_per_ip + self.failed
    }
}

/// Counts frames that a handler wanted to send and that were not queued, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped {
    /// Pending output had reached the high-water mark ([`SendError::Full`](crate::SendError::Full)).
    pub full: u64,
    /// The memory limit had no room for the frame ([`SendError::NoMemory`](crate::SendError::NoMemory)).
    pub no_memory: u64,
    /// The connection had ended or was closing ([`SendError::Closed`](crate::SendError::Closed)).
    pub gone: u64,
}

impl Dropped {
    /// Returns the sum of all reasons.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.full + self.no_memory + self.gone
    }
}

/// Counts system calls of one kind by result, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Calls {
    /// Calls that succeeded.
    pub done: u64,
    /// Calls that returned `EAGAIN`.
    pub would_block: u64,
    /// Calls that a signal interrupted (`EINTR`). Each was repeated.
    pub interrupted: u64,
    /// Calls that returned another error.
    pub failed: u64,
}

impl Calls {
    /// Returns the sum of all results.
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
    /// Returns the duration of the longest turn, from the return of the poll to the end of the turn.
    #[must_use]
    pub fn turn_duration_max(&self) -> Duration {
        self.turn_durations.max()
    }

    /// Returns how many connections have ended for each kind of reason. Kinds with a count of 0 are omitted.
    pub fn closed(&self) -> impl Iterator<Item = (CloseKind, u64)> + '_ {
        CloseKind::ALL.into_iter().zip(self.closed).filter(|(_, count)| *count > 0)
    }

    /// Returns how many connections have ended.
    #[must_use]
    pub fn closed_total(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Returns how many connections have ended for a reason of this kind.
    #[must_use]
    pub fn closed_by(&self, kind: CloseKind) -> u64 {
        self.closed[kind as usize]
    }

    /// Returns how many connections were closed because their bytes looked like another protocol, for each protocol.
    /// Protocols with a count of 0 are omitted.
    pub fn protocols(&self) -> impl Iterator<Item = (Protocol, u64)> + '_ {
        Protocol::ALL.into_iter().zip(self.protocols).filter(|(_, count)| *count > 0)
    }

    /// Returns how many connections were closed because their bytes looked like this protocol.
    #[must_use]
    pub fn looked_like(&self, protocol: Protocol) -> u64 {
        self.protocols[protocol as usize]
    }

    /// Returns how often the readiness lint has noticed each kind of mistake. Kinds with a count of 0 are omitted, so it is empty
    /// while [`ConfigBuilder::lint`](crate::ConfigBuilder::lint) is off.
    pub fn lints(&self) -> impl Iterator<Item = (Lint, u64)> + '_ {
        Lint::ALL.into_iter().zip(self.lints).filter(|(_, count)| *count > 0)
    }

    /// Returns how often the readiness lint has noticed this kind of mistake.
    #[must_use]
    pub fn lint(&self, lint: Lint) -> u64 {
        self.lints[lint as usize]
    }

    pub(crate) fn note_open(&mut self, is_dialed: bool) {
        *(if is_dialed { &mut self.dialed } else { &mut self.accepted }) += 1;
        self.connections += 1;
        self.connections_peak = self.connections_peak.max(self.connections);
    }

    pub(crate) fn count_closed(&mut self, reason: &CloseReason) {
        self.closed[reason.kind() as usize] += 1;
        if let CloseReason::FrameTooLong(error) = reason
            && let Some(protocol) = error.looks_like
        {
            self.protocols[protocol as usize] += 1;
        }
    }

    /// Adds what the connections have counted.
    pub(crate) fn take_over(&mut self, shared: &Shared) {
        let Shared { counts, pool, .. } = shared;
        self.frames_in = counts.frames_in;
        self.frames_out = counts.frames_out;
        self.dropped =
            Dropped { full: counts.frames_full, no_memory: counts.frames_without_memory, gone: counts.frames_gone };
        self.handler_panics = counts.panics;
        self.pauses = counts.pauses;
        self.read_budgets_spent = counts.read_budgets_spent;
        self.write_budgets_spent = counts.write_budgets_spent;
        self.frame_budgets_spent = counts.frame_budgets_spent;
        self.buffered_bytes = pool.used_bytes() as u64;
        self.pooled_bytes = (pool.free_bytes() + pool.joined_bytes()) as u64;
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
        )?;
        let mut separator = "; lints: ";
        for (lint, count) in self.lints() {
            write!(f, "{separator}{} {count}", lint.name())?;
            separator = ", ";
        }
        Ok(())
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
