//! Figures, and what is made of many of them.

use serde::Deserialize;

/// One line of the load generator.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Figures {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
    pub(crate) seconds: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
    /// From when a frame was sent; the others count from when it was due, if there is a schedule.
    pub(crate) sent_p50_us: f64,
    pub(crate) errors: u64,
    pub(crate) closed: u64,
}

/// Median, least and greatest of some samples.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut samples: Vec<f64>) -> Self {
        samples.sort_by(f64::total_cmp);
        let at = |index: usize| samples.get(index).copied().unwrap_or(f64::NAN);
        let upper = samples.len() / 2;
        let lower = samples.len().saturating_sub(1) / 2;
        Self { median: (at(lower) + at(upper)) / 2.0, min: at(0), max: at(samples.len().saturating_sub(1)) }
    }
}
