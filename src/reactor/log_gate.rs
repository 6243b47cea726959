//! Lets few log lines through, and counts the others.
//!
//! What peers do can be logged a million times a second. Each place that logs about peers has a gate.

use std::collections::VecDeque;
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
    lines_max: usize,
    /// When the last lines passed. Invariant: at most `lines_max` of them.
    passed: VecDeque<Instant>,
    left_out: u64,
    // Invariant: set exactly if lines were left out that were not told.
    left_out_since: Option<Instant>,
}

impl LogGate {
    /// Lets `lines_max` lines pass in any second, wherever it begins.
    pub(crate) const fn new(lines_max: usize) -> Self {
        Self { lines_max, passed: VecDeque::new(), left_out: 0, left_out_since: None }
    }

    /// Whether a line may be written now; if not, it is counted.
    pub(crate) fn passes(&mut self, now: Instant) -> bool {
        while self.passed.front().is_some_and(|at| now >= *at + WINDOW) {
            self.passed.pop_front();
        }
        let passes = self.passed.len() < self.lines_max;
        if passes {
            self.passed.push_back(now);
        } else {
            self.left_out += 1;
            self.left_out_since.get_or_insert(now);
        }
        passes
    }

    /// How many lines were left out, a second after the first of them; then the count begins again.
    pub(crate) fn left_out(&mut self, now: Instant) -> Option<u64> {
        let is_due = self.due().is_some_and(|due| now >= due);
        is_due.then(|| {
            self.left_out_since = None;
            std::mem::take(&mut self.left_out)
        })
    }

    /// When [`left_out`](Self::left_out) will have something to tell.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.left_out_since.map(|since| since + WINDOW)
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

    #[test]
    fn no_second_has_more_than_ten_lines_wherever_it_begins() {
        let begin = Instant::now();
        // One line, nine at the end of its second, and then a flood.
        let early = [0].into_iter().chain([999; 9]).chain(1_000..5_000);
        let mut gate = LogGate::new(10);
        let passed: Vec<u64> = early.filter(|ms| gate.passes(begin + Duration::from_millis(*ms))).collect();
        assert!(passed.windows(11).all(|lines| lines[10] - lines[0] >= 1_000), "{passed:?}");
        // As many as there may be: ten in the first second, one when the first of them is a second old, and so on.
        assert_eq!(passed.len(), 10 + 1 + 3 * 10 + 1);
        assert_eq!(gate.left_out(begin + Duration::from_secs(5)), Some(10 + 4_000 - 42));
    }
}
