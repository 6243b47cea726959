//! Measures how much of their output peers acknowledge, over windows of the write timeout.
//!
//! Rule: progress is measured in bytes that the peer's kernel has acknowledged, never in events of our socket. Output has a
//! deadline until it is acknowledged, whether it is queued or in the kernel.
//!
//! Rule: nothing is judged before its window is over. A look that comes earlier, for another deadline, only adds what was written.
//!
//! Output that was pending when a window began and still is when it ends was pending all the time, because bytes are
//! acknowledged in order. Only then does the window count.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::options::Limits;

/// The windows of the connections whose output is watched.
#[derive(Debug, Default)]
pub(crate) struct WriteProgress {
    // Invariant: one for each connection that is watched.
    windows: HashMap<u32, Window>,
}

/// One peer's window.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: Instant,
    /// Bytes written in it, as far as was noted.
    written: u64,
    /// Bytes written and not acknowledged when it began.
    unacknowledged: u64,
    /// Bytes queued and not written when it began.
    unsent: u64,
    /// By how many bytes the peer is behind.
    behind: u64,
}

/// The state of a connection's output.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    /// Bytes written and not acknowledged.
    pub(crate) unacknowledged: u64,
    /// Bytes queued and not written.
    pub(crate) unsent: u64,
    /// Bytes written since the window began, or since the last look.
    pub(crate) written: u64,
    /// Bytes of these that were written just now, which the peer had no time for.
    pub(crate) just_written: u64,
}

/// The result of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The window is not over.
    Early,
    /// The peer has accepted everything.
    Done,
    /// The peer has accepted all there was when the window began, or all that it could; another window begins.
    Fast,
    /// The peer accepts enough, and output was pending all the time; another window begins.
    Slow,
    /// The peer accepts too little.
    Behind,
}

impl WriteProgress {
    /// Begins the first window.
    pub(crate) fn begin(&mut self, slot: u32, now: Instant, unacknowledged: u64, unsent: u64) {
        self.windows.insert(slot, Window { since: now, written: 0, unacknowledged, unsent, behind: 0 });
    }

    /// Ends a window that is over, and begins another one unless it was the last.
    pub(crate) fn look(&mut self, slot: u32, now: Instant, limits: &Limits, look: Look) -> Shown {
        let pending = look.unacknowledged.saturating_add(look.unsent);
        let shown = match self.windows.get_mut(&slot) {
            _ if pending == 0 => Shown::Done,
            Some(window) if !window.is_over(now, limits.write_timeout) => {
                window.written = window.written.saturating_add(look.written);
                Shown::Early
            }
            Some(window) => window.end(now, look, due_in_a_window(limits)),
            None => {
                self.begin(slot, now, look.unacknowledged, look.unsent);
                Shown::Fast
            }
        };
        if matches!(shown, Shown::Done | Shown::Behind) {
            self.forget(slot);
        }
        shown
    }

    /// When the window of a connection began.
    pub(crate) fn since(&self, slot: u32) -> Option<Instant> {
        self.windows.get(&slot).map(|window| window.since)
    }

    /// Stops measuring a connection's output.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.windows.remove(&slot);
        // Frees the memory that a burst has used.
        if self.windows.len() < self.windows.capacity() / 8 {
            self.windows.shrink_to(2 * self.windows.len());
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.windows.len()
    }
}

/// The bytes that a peer has to accept in a window.
fn due_in_a_window(limits: &Limits) -> u64 {
    let window = limits.write_timeout.map_or(0.0, |timeout| timeout.as_secs_f64());
    // More than any number of bytes becomes the highest one.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let due = (window * limits.write_rate_min as f64) as u64;
    due
}

impl Window {
    fn is_over(&self, now: Instant, timeout: Option<Duration>) -> bool {
        timeout.is_none_or(|timeout| now.saturating_duration_since(self.since) >= timeout)
    }

    fn end(&mut self, now: Instant, look: Look, due: u64) -> Shown {
        let written = self.written.saturating_add(look.written);
        let accepted = (self.unacknowledged + written).checked_sub(look.unacknowledged);
        // If the kernel counts overhead, it may seem to hold more than was written: then nothing is known.
        let accepted = accepted.unwrap_or(due.max(1));
        let had_all = accepted >= self.unacknowledged.saturating_add(self.unsent);
        // A transport may accept nothing although its socket is empty, because its handshake is not complete.
        let is_refused = accepted == 0 && written == 0 && look.unsent > 0;
        let had_what_there_was = look.unacknowledged <= look.just_written && !is_refused;
        let behind = match had_all || had_what_there_was {
            true => 0,
            false => self.behind.saturating_add(due).saturating_sub(accepted),
        };
        let is_stuck = accepted == 0;
        *self = Self { since: now, written: 0, unacknowledged: look.unacknowledged, unsent: look.unsent, behind };
        // Reads become visible in steps, so a peer may seem to be behind by one step.
        match had_all || had_what_there_was {
            true => Shown::Fast,
            false if is_stuck || behind > due / 4 * 3 => Shown::Behind,
            false => Shown::Slow,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::net::mio::beginning;

    /// A peer with more pending output than it can read in 100 windows. It reads as a test says, and the kernel shows that
    /// in steps.
    fn windows_until_closed(timeout: u64, rate: usize, step: u64, reads: impl Fn(u64) -> u64) -> Option<u64> {
        const FULL: u64 = 4 << 20;
        let timeout = Duration::from_secs(timeout);
        let config = Config::builder().write_timeout(Some(timeout)).write_rate_min(rate).build().unwrap();
        let limits = Limits::of(&config);
        let mut write_progress = WriteProgress::default();
        let mut now = beginning();
        write_progress.begin(1, now, FULL, 64 << 10);
        let shown_by = |window: u64| (0..window).map(&reads).sum::<u64>() / step * step;
        (1..=100).find(|&window| {
            let written = shown_by(window) - shown_by(window - 1);
            let look = Look { unacknowledged: FULL, unsent: 64 << 10, written, just_written: 0 };
            now += timeout;
            write_progress.look(1, now, &limits, look) == Shown::Behind
        })
    }

    #[test]
    fn peer_that_reads_8_kib_per_timeout_is_behind_within_3_windows() {
        for timeout in [3, 5, 10, 30, 300] {
            let closed = windows_until_closed(timeout, 4 << 10, 1, |_| 8 << 10);
            assert!(closed.is_some_and(|windows| windows <= 3), "{timeout} s: {closed:?}");
        }
    }

    #[test]
    fn steady_peer_above_the_rate_is_never_behind() {
        for timeout in [3, 30] {
            for rate in [5_000, 10_000, 20_000, 100_000] {
                let per_window = rate * timeout;
                for step in [1, 4_096, per_window / 2, per_window * 3 / 4] {
                    let closed = windows_until_closed(timeout, 4 << 10, step, |_| per_window);
                    assert_eq!(closed, None, "{timeout} s, {rate} B/s in steps of {step}");
                }
            }
        }
    }

    #[test]
    fn stalled_peer_is_behind_after_one_window() {
        for rate in [0, 1, 4 << 10, usize::MAX] {
            assert_eq!(windows_until_closed(30, rate, 1, |_| 0), Some(1));
        }
        assert_eq!(windows_until_closed(30, 0, 1, |_| 1), None);
        // What it has read before does not help it.
        assert_eq!(windows_until_closed(30, 4 << 10, 1, |window| if window < 5 { 1 << 20 } else { 0 }), Some(6));
    }

    /// Looks at the ends of windows, or earlier.
    struct Looks {
        write_progress: WriteProgress,
        limits: Limits,
        now: Instant,
    }

    impl Looks {
        fn new() -> Self {
            let limits = Limits::of(&Config::default());
            Self { write_progress: WriteProgress::default(), limits, now: beginning() }
        }

        fn begin(&mut self, unacknowledged: u64, unsent: u64) {
            self.write_progress.begin(1, self.now, unacknowledged, unsent);
        }

        fn look(&mut self, look: Look) -> Shown {
            self.look_after(self.limits.write_timeout.unwrap(), look)
        }

        fn look_after(&mut self, duration: Duration, look: Look) -> Shown {
            self.now += duration;
            self.write_progress.look(1, self.now, &self.limits, look)
        }
    }

    #[test]
    fn output_that_the_transport_refuses_for_a_window_is_behind() {
        let mut looks = Looks::new();
        looks.begin(0, 100);
        let look = Look { unacknowledged: 0, unsent: 100, written: 0, just_written: 0 };
        assert_eq!(looks.look(look), Shown::Behind);
        // It was queued during the window.
        looks.begin(0, 0);
        assert_eq!(looks.look(look), Shown::Fast);
        assert_eq!(looks.look(look), Shown::Behind);
    }

    #[test]
    fn peer_that_catches_up_is_in_time_however_little_it_was() {
        let mut looks = Looks::new();
        looks.begin(100, 0);
        // 50 bytes more are pending since then.
        let look = Look { unacknowledged: 50, unsent: 0, written: 50, just_written: 0 };
        assert_eq!(looks.look(look), Shown::Fast);
        // What there was in the kernel was accepted; the rest was written only now.
        let look = Look { unacknowledged: 9_000, unsent: 10_000, written: 9_000, just_written: 9_000 };
        assert_eq!(looks.look(look), Shown::Fast);
        assert_eq!(looks.look(Look { unacknowledged: 0, unsent: 0, written: 0, just_written: 0 }), Shown::Done);
        assert_eq!(looks.write_progress.len(), 0);
    }

    #[test]
    fn early_look_judges_nothing_and_loses_no_progress() {
        let mut looks = Looks::new();
        looks.begin(100, 0);
        let began = looks.now;
        // The peer accepts the first 100 bytes, and 100 others are written.
        let look = Look { unacknowledged: 100, unsent: 0, written: 100, just_written: 0 };
        assert_eq!(looks.look_after(Duration::from_millis(1), look), Shown::Early);
        let idle = Look { written: 0, ..look };
        assert_eq!(looks.look_after(Duration::from_secs(28), idle), Shown::Early);
        assert_eq!(looks.write_progress.since(1), Some(began));
        assert_eq!(looks.look_after(Duration::from_millis(1_999), idle), Shown::Fast);
        assert_eq!(looks.look_after(Duration::from_millis(29_999), idle), Shown::Early);
        assert_eq!(looks.look_after(Duration::from_millis(1), idle), Shown::Behind);
    }
}
