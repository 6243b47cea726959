//! What is shown while generators run, on stderr: on a terminal a line that is updated, else a line per second.

use indicatif::ProgressBar;

use crate::live::{self, Part, fitted};
use crate::logging;
use crate::results::figures::{count, duration, latency, number};
use crate::results::follow::slots::Row;

pub(super) struct Display {
    bar: Option<ProgressBar>,
}

impl Display {
    pub(super) fn new() -> Self {
        Self { bar: live::bar() }
    }

    pub(super) fn show(&self, row: &Row) {
        match &self.bar {
            Some(bar) => {
                bar.set_message(fitted(&parts(row), live::columns()));
                bar.tick();
            }
            None => logging::say(&fitted(&parts(row), usize::MAX)),
        }
    }

    /// Writes a line that stays.
    pub(super) fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => logging::say(text),
        }
    }

    /// Restores the terminal.
    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The parts of the line, those that may be left out with the higher ranks.
fn parts(row: &Row) -> Vec<Part> {
    let rate = number(row.frames_per_s);
    let noun = if row.expected == 1 { "instance" } else { "instances" };
    let mut parts = vec![
        (0, duration(row.at)),
        (1, format!(" | {} of {} {noun}", row.reported, row.expected)),
        (3, format!(" | {rate}/s")),
    ];
    let histogram = row.latencies.histogram();
    if !histogram.is_empty() {
        for (rank, name, quantile) in [(5, "p50", 0.5), (4, "p99", 0.99), (6, "max", 1.0)] {
            parts.push((rank, format!(" {name} {}", latency(histogram.value_at_quantile(quantile) as f64))));
        }
    }
    let noun = if row.errors == 1 { "error" } else { "errors" };
    parts.push((2, format!(" | {} {noun}", count(row.errors))));
    parts
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn line_of_a_second_has_instances_rate_latencies_and_errors() {
        let mut row = Row {
            at: Duration::from_secs(12),
            reported: 2,
            expected: 3,
            frames_per_s: 1_234_567.0,
            latencies: [(97_700, 90), (4_630_000, 10)].into_iter().collect(),
            errors: 1,
        };
        let whole = fitted(&parts(&row), usize::MAX);
        assert_eq!(whole, "12.0 s | 2 of 3 instances | 1,234,567/s p50 97.7 us p99 4.63 ms max 4.63 ms | 1 error");
        assert_eq!(fitted(&parts(&row), 40), "12.0 s | 2 of 3 instances | 1 error");
        row.latencies = [].into_iter().collect();
        row.errors = 2_000;
        assert_eq!(fitted(&parts(&row), usize::MAX), "12.0 s | 2 of 3 instances | 1,234,567/s | 2,000 errors");
    }
}
