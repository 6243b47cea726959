//! Lets few log lines through, and counts the others.
//!
//! What peers do can be logged a million times a second. Each place that logs about peers has a gate.

use std::time::{Duration, Instant};

use log::warn;

/// Lines are counted over this long.
const WINDOW: Duration = Duration::from_secs(1);

/// One gate for each place that logs about peers.
#[derive(Debug)]
pub(crate) struct Gates {
    pub(crate) refused: LogGate,
    pub(crate) accept_paused: LogGate,
    pub(crate) closed_abruptly: LogGate,
    pub(crate) panicked: LogGate,
}

impl Default for Gates {
    fn default() -> Self {
        Self {
            refused: LogGate::new(10),
            accept_paused: LogGate::new(1),
            closed_abruptly: LogGate::new(10),
            panicked: LogGate::new(10),
        }
    }
}

impl Gates {
    /// When [`tell_left_out`](Self::tell_left_out) will have something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        [&self.refused, &self.closed_abruptly, &self.panicked].into_iter().filter_map(LogGate::due).min()
    }

    /// Logs how many lines were left out, and returns it.
    ///
    /// Pauses of accepting are not told: one line a second says all there is to say, and they are counted.
    pub(crate) fn tell_left_out(&mut self, now: Instant) -> u64 {
        let places = [
            (&mut self.refused, "refused connections"),
            (&mut self.closed_abruptly, "connections that ended abruptly"),
            (&mut self.panicked, "handler panics"),
        ];
        let mut total = 0;
        for (gate, place) in places {
            if let Some(count) = gate.left_out(now) {
                total += count;
                warn!("{count} more lines about {place} were left out");
            }
        }
        total
    }
}

/// The gate of one place.
#[derive(Debug)]
pub(crate) struct LogGate {
    lines_max: u32,
    window_began: Option<Instant>,
    passed: u32,
    left_out: u64,
}

impl LogGate {
    /// Lets `lines_max` lines pass a second.
    pub(crate) const fn new(lines_max: u32) -> Self {
        Self { lines_max, window_began: None, passed: 0, left_out: 0 }
    }

    /// Whether a line may be written now; if not, it is counted.
    pub(crate) fn passes(&mut self, now: Instant) -> bool {
        if self.window_began.is_none_or(|began| now >= began + WINDOW) {
            self.window_began = Some(now);
            self.passed = 0;
        }
        let passes = self.passed < self.lines_max;
        if passes {
            self.passed += 1;
        } else {
            self.left_out += 1;
        }
        passes
    }

    /// How many lines were left out, once the window that they fell in is over; then the count begins again.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.left_out > 0 && self.due().is_some_and(|due| now >= due);
        is_due.then(|| std::mem::take(&mut self.left_out))
    }

    /// When [`left_out`](Self::left_out) will have something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.window_began.filter(|_| self.left_out > 0).map(|began| began + WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_pass_and_the_others_are_counted() {
        let begin = Instant::now();
        let mut gate = LogGate::new(10);
        let passed = (0..1_000).filter(|_| gate.passes(begin)).count();
        assert_eq!(passed, 10);
        assert_eq!(gate.left_out(begin), None);
        assert_eq!(gate.due(), Some(begin + WINDOW));
        assert_eq!(gate.left_out(begin + WINDOW), Some(990));
        assert_eq!((gate.left_out(begin + WINDOW), gate.due()), (None, None));
        assert!(gate.passes(begin + WINDOW));
    }
}
