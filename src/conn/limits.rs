//! The limits of one connection.

use crate::config::Config;

/// The numbers of the [`Config`] that a connection reads.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_payload: u32,
    pub(crate) output_high_water: usize,
    pub(crate) output_low_water: usize,
    pub(crate) read_budget_bytes: usize,
    pub(crate) write_budget_bytes: usize,
    pub(crate) frame_budget: usize,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            max_payload: config.max_payload,
            output_high_water: config.output_high_water,
            output_low_water: config.output_low_water,
            read_budget_bytes: config.read_budget_bytes,
            write_budget_bytes: config.write_budget_bytes,
            frame_budget: config.frame_budget,
        }
    }
}
