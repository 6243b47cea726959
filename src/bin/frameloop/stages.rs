//! The steps that `--stages` lists.

use std::time::Duration;

/// The loads of steps, and their durations.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stages(pub(crate) Vec<(f64, Duration)>);
