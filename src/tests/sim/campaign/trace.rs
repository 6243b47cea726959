//! What has happened, for the one who reads about a failure.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Instant;

use crate::sim::Sim;

/// The last things that happened, with the time on the simulated clock; shared by all who take part.
#[derive(Debug, Clone)]
pub(super) struct Trace {
    lines: Rc<RefCell<VecDeque<String>>>,
    lines_max: usize,
    sim: Sim,
    begun: Instant,
}

impl Trace {
    pub(super) fn new(sim: &Sim, lines_max: usize) -> Self {
        Self { lines: Rc::default(), lines_max, sim: sim.clone(), begun: sim.now() }
    }

    pub(super) fn note(&self, what: impl AsRef<str>) {
        let time = self.sim.now().saturating_duration_since(self.begun).as_secs_f64();
        let mut lines = self.lines.borrow_mut();
        if lines.len() == self.lines_max {
            lines.pop_front();
        }
        lines.push_back(format!("{time:>16.6} s  {}", what.as_ref()));
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.borrow().iter().cloned().collect()
    }
}
