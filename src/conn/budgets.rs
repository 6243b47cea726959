//! The most that a connection may do in a turn.

use crate::config::Config;

/// The budgets of the [`Config`] for each connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    pub(crate) read_budget_bytes: usize,
    pub(crate) write_budget_bytes: usize,
    pub(crate) frame_budget: usize,
}

impl Budgets {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            read_budget_bytes: config.read_budget_bytes,
            write_budget_bytes: config.write_budget_bytes,
            frame_budget: config.frame_budget,
        }
    }
}
