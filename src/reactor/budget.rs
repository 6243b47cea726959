//! The budget of one turn, which every path through a turn asks for admission.
//!
//! Rule: every read, write and call of the handler in a turn is admitted by its one [`TurnBudget`]. When that is spent, the rest
//! keeps its order and waits for the next turn.

use crate::config::{Config, TURN_BUDGET_MIN};
use crate::conn::chunk::CHUNK_LEN;

/// The minimum charge for a run of a connection, in bytes, because a run makes system calls even if it moves nothing. It bounds
/// the number of runs in a turn.
const RUN_COST: usize = TURN_BUDGET_MIN / 4;

/// The charge for a timer or a message, in bytes.
const CALLBACK_COST: usize = 128;

/// The smallest share of a connection that goes first, in bytes read and written: some small requests and their replies. With
/// more to do than its share, it waits behind the others.
const FIRST_RUN_BYTES: usize = 8 << 10;

/// The unspent budget of a turn, in bytes read and written.
///
/// Connections that became ready and are expected to have short runs go first, and leave a quarter of the budget to the queue.
/// Timers and messages have a quarter. So no path starves another, and all of them together stay within the budget.
#[derive(Debug)]
pub(crate) struct TurnBudget {
    left: usize,
    quarter: usize,
    /// The most that a connection moves in one run.
    share: usize,
    /// The queue has had a run in this turn.
    has_served_queue: bool,
}

impl TurnBudget {
    pub(crate) fn new(config: &Config) -> Self {
        let bytes = config.turn_budget;
        debug_assert!(bytes >= TURN_BUDGET_MIN);
        // A read and a write go up to the chunk that crosses the budget.
        let share = config.read_budget_bytes.saturating_add(config.write_budget_bytes).saturating_add(2 * CHUNK_LEN);
        Self { left: bytes, quarter: bytes / 4, share, has_served_queue: false }
    }

    /// Admits and charges another request of another thread.
    pub(crate) fn admit_request(&mut self) -> bool {
        self.admit_callback(3 * self.quarter + self.quarter / 2)
    }

    /// Admits and charges another timer.
    pub(crate) fn admit_timer(&mut self) -> bool {
        self.admit_callback(3 * self.quarter)
    }

    fn admit_callback(&mut self, reserved: usize) -> bool {
        let is_admitted = self.left > reserved;
        if is_admitted {
            self.left -= CALLBACK_COST.min(self.left - reserved);
        }
        is_admitted
    }

    /// Admits a connection that is expected to have a short run. Returns how many bytes it may move: an equal share for each
    /// of the `going_first` connections.
    pub(crate) fn admit_first(&self, going_first: usize, is_queue_waiting: bool) -> Option<usize> {
        let reserved = if is_queue_waiting { self.quarter } else { 0 };
        let left = self.left.saturating_sub(reserved);
        (left >= RUN_COST).then(|| left.min(FIRST_RUN_BYTES.max(left / going_first.max(1))))
    }

    /// Admits the next connection in the queue. Returns how many bytes it may move.
    ///
    /// A connection that recently had a long run gets a whole share, or none in this turn if others ran before it: a part of a
    /// share costs more calls for the same bytes. It gets a part if the budget is smaller than a share.
    pub(crate) fn admit_next(&mut self, is_long: bool) -> Option<usize> {
        let least = match (self.has_served_queue, is_long) {
            (false, _) => 1,
            (true, true) => self.share.min(3 * self.quarter),
            (true, false) => RUN_COST,
        };
        self.has_served_queue = true;
        (self.left >= least).then_some(self.left)
    }

    /// Charges a run that has moved `moved` bytes.
    pub(crate) fn charge(&mut self, moved: usize) {
        self.left = self.left.saturating_sub(moved.max(RUN_COST));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn budget_of(turn_budget: usize) -> TurnBudget {
        TurnBudget::new(&Config { turn_budget, ..Config::default() })
    }

    #[test]
    fn callbacks_use_at_most_a_quarter_of_the_budget() {
        for bytes in [TURN_BUDGET_MIN, 100_000, MIB] {
            let mut budget = budget_of(bytes);
            let count = |admit: &mut dyn FnMut() -> bool| (0..bytes).take_while(|_| admit()).count();
            let requests = count(&mut || budget.admit_request());
            let timers = count(&mut || budget.admit_timer());
            let quarter = bytes / 4 / CALLBACK_COST;
            assert!((quarter..=quarter + 2).contains(&(requests + timers)), "{requests}, {timers} of {quarter}");
            assert!(timers >= quarter / 2 && requests >= quarter / 2, "{requests}, {timers} of {quarter}");
            assert!(budget.admit_first(1, true).is_some() && budget.admit_next(true).is_some());
        }
    }

    #[test]
    fn short_runs_leave_a_quarter_to_a_queue_that_waits() {
        for bytes in [TURN_BUDGET_MIN, 100_000, MIB] {
            let mut budget = budget_of(bytes);
            let mut moved = 0;
            while let Some(allowance) = budget.admit_first(1_000, true) {
                budget.charge(allowance);
                moved += allowance;
            }
            assert!(moved <= bytes - bytes / 4 && moved > bytes / 4, "{moved} of {bytes}");
            assert!(budget.admit_next(true).is_some_and(|allowance| allowance >= bytes / 4), "of {bytes}");
        }
    }

    #[test]
    fn runs_that_use_all_they_may_move_exactly_the_budget() {
        for bytes in [TURN_BUDGET_MIN, 100_000, MIB] {
            for (run, is_long) in [(10, false), (70_000, false), (70_000, true), (usize::MAX, true)] {
                let mut budget = budget_of(bytes);
                let mut moved = 0;
                while let Some(allowance) = budget.admit_next(is_long) {
                    budget.charge(allowance.min(run));
                    moved += allowance.min(run);
                }
                assert!(moved <= bytes, "{moved} of {bytes}");
                assert!(run != usize::MAX || moved == bytes, "{moved} of {bytes}");
            }
        }
    }

    #[test]
    fn long_run_behind_others_gets_a_whole_share_or_none() {
        let mut budget = budget_of(MIB);
        let mut runs = 0;
        while let Some(allowance) = budget.admit_next(true) {
            assert!(allowance >= 3 * MIB / 4);
            budget.charge(100_000);
            runs += 1;
        }
        assert_eq!(runs, 3);
        assert!(budget.admit_next(false).is_some());
    }

    #[test]
    fn share_of_those_that_go_first_lets_all_of_them_run() {
        for count in [1, 3, 100, MIB / FIRST_RUN_BYTES] {
            let mut budget = budget_of(MIB);
            for left in (1..=count).rev() {
                let allowance = budget.admit_first(left, false).unwrap();
                assert!(allowance >= MIB / count, "{allowance}, {count}");
                budget.charge(allowance);
            }
        }
    }

    #[test]
    fn runs_that_move_nothing_are_bounded_too() {
        let mut budget = budget_of(MIB);
        let mut runs = 0;
        while budget.admit_first(1_000, false).is_some() {
            budget.charge(0);
            runs += 1;
        }
        assert_eq!(runs, MIB / RUN_COST);
    }
}
