//! The search for the highest load that holds: double, then bisect, then confirm.
//!
//! Rule: a load has failed when it failed twice in a row, and has held only if it still does at the end, after the loads above it.

/// The steps of a search. A step that fails is made once more before it counts.
#[derive(Debug)]
pub(crate) struct Search {
    /// The load of the step under way.
    load: u64,
    max: u64,
    /// No lower load is tried.
    min: u64,
    /// Loads that held, ascending.
    held: Vec<u64>,
    /// The lowest load that failed.
    failed: Option<u64>,
    has_failed_once: bool,
    is_confirming: bool,
    steps: u32,
}

/// What a search has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// The highest load that held, and was confirmed.
    Highest(u64),
    /// No load held.
    Nothing,
}

/// The result is at most this part below a load that failed.
const RESOLUTION: u64 = 20;
/// The lowest load that is tried is the first one divided by this.
const LOWEST: u64 = 64;
/// Then a search is given up: the loads hold and fail without an order.
const STEPS_MAX: u32 = 80;

impl Search {
    /// Begins at `first`, and goes no higher than `max`.
    pub(crate) fn new(first: u64, max: u64) -> Self {
        let load = first.clamp(1, max);
        let min = (load / LOWEST).max(1);
        Self { load, min, max, held: Vec::new(), failed: None, has_failed_once: false, is_confirming: false, steps: 0 }
    }

    /// The load of the next step.
    pub(crate) fn load(&self) -> u64 {
        self.load
    }

    /// The step has ended. Returns the result at the end of the search.
    pub(crate) fn on_step(&mut self, holds: bool) -> Option<Found> {
        self.steps += 1;
        if self.steps == STEPS_MAX {
            return Some(Found::Nothing);
        }
        if !holds && !self.has_failed_once {
            self.has_failed_once = true;
            return None;
        }
        self.has_failed_once = false;
        match (self.is_confirming, holds) {
            (true, true) => return Some(Found::Highest(self.load)),
            (true, false) => {
                // It no longer holds, so the limit is lower.
                self.failed = Some(self.load);
                self.held.pop();
                self.is_confirming = false;
            }
            (false, true) => self.held.push(self.load),
            (false, false) => self.failed = Some(self.load),
        }
        match (self.held.last().copied(), self.failed) {
            (Some(held), None) if held >= self.max => self.confirm(held),
            (Some(held), None) => self.load = held.saturating_mul(2).min(self.max),
            (None, _) if self.load <= self.min => return Some(Found::Nothing),
            (None, _) => self.load = (self.load / 2).max(self.min),
            (Some(held), Some(failed)) if failed - held <= (failed / RESOLUTION).max(1) => self.confirm(held),
            (Some(held), Some(failed)) => self.load = held + (failed - held) / 2,
        }
        None
    }

    /// Puts the highest load on again that has held.
    fn confirm(&mut self, held: u64) {
        self.is_confirming = true;
        self.load = held;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Searches with what each step does; returns the loads of the steps, and the result.
    fn loads(first: u64, max: u64, mut holds: impl FnMut(u64, usize) -> bool) -> (Vec<u64>, Found) {
        let mut search = Search::new(first, max);
        let mut loads = Vec::new();
        loop {
            loads.push(search.load());
            let does_hold = holds(search.load(), loads.len());
            if let Some(found) = search.on_step(does_hold) {
                return (loads, found);
            }
        }
    }

    #[test]
    fn load_is_doubled_bisected_and_confirmed() {
        let (steps, found) = loads(1_000, u64::MAX, |load, _| load <= 5_300);
        assert_eq!(steps, [1_000, 2_000, 4_000, 8_000, 8_000, 6_000, 6_000, 5_000, 5_500, 5_500, 5_250, 5_250]);
        assert_eq!(found, Found::Highest(5_250));
    }

    #[test]
    fn result_is_within_the_resolution_of_any_limit() {
        for limit in (1..3_000).chain([10_007, 123_456_789]) {
            for first in [1, 64, limit.min(5_000), (64 * limit).min(5_000)] {
                let (steps, found) = loads(first, u64::MAX, |load, _| load <= limit);
                let Found::Highest(highest) = found else { panic!("{limit} from {first}: {steps:?}") };
                let next = highest + (highest / (RESOLUTION - 1)).max(1);
                assert!(highest <= limit && next >= limit, "{highest} of {limit} from {first}");
                assert!(steps.len() < 70, "{limit} from {first}: {}", steps.len());
            }
        }
    }

    #[test]
    fn load_that_fails_once_goes_on() {
        let (steps, found) = loads(100, 400, |_, step| step != 2);
        assert_eq!((steps, found), (vec![100, 200, 200, 400, 400], Found::Highest(400)));
    }

    #[test]
    fn load_that_no_longer_holds_gives_way_to_a_lower_one() {
        // From the ninth step on, only 4 holds.
        let (steps, found) = loads(4, u64::MAX, |load, step| load <= if step < 9 { 9 } else { 4 });
        assert_eq!(steps, [4, 8, 16, 16, 12, 12, 10, 10, 9, 9, 8, 8, 6, 6, 5, 5, 4]);
        assert_eq!(found, Found::Highest(4));
    }

    #[test]
    fn search_without_a_load_that_holds_finds_nothing() {
        let (steps, found) = loads(5, 100, |_, _| false);
        assert_eq!((steps, found), (vec![5, 5, 2, 2, 1, 1], Found::Nothing));
        assert_eq!(loads(6_400, 10_000, |_, _| false).0.last(), Some(&100));
        let (steps, found) = loads(5, 100, |_, step| step % 3 == 1);
        assert!(steps.len() <= STEPS_MAX as usize, "{found:?}");
    }

    #[test]
    fn first_load_beyond_the_most_is_the_most() {
        assert_eq!(loads(500, 100, |_, _| true), (vec![100, 100], Found::Highest(100)));
    }
}
